/* The repairer: one actor per process, when the online store is not in this process's memory. Puts what the history has newest
 * into the store when values_repair has asked for it: at the start, which warms the store, and whenever it may lack something.
 * The newer of two wins in the store, so that this is safe beside all that is written meanwhile. */
#pragma once
#include "actors/values.h"

enum {
	REPAIRER_LOOK_MS = 1000,      /* how often it looks whether a repair is due */
	REPAIRER_TIMEOUT_MS = 300000, /* of a batch from the history */
};
extern const struct actor_class repairer_class; /* init argument: struct node_loop */
