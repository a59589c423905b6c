/* The sweeper: one actor per process. Removes expired values and old tombstones from the online table, a bounded number of buckets
 * at a time. */
#pragma once
#include "actors/node.h"

extern const struct actor_class sweeper_class; /* init argument: struct node_loop */
