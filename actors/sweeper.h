/* The sweeper: one actor per process. Takes expired values and old tombstones out of the online table, a bounded piece at
 * a time. */
#pragma once
#include "actors/node.h"

extern const struct actor_class sweeper_class; /* init argument: struct node_loop */
