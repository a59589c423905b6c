/* What the online table holds after a start: of what the history and the ledger say, that which the definitions of today
 * would serve. A value is left out when another version of the code made it, when it is past the ttl that it was written
 * with or the one that its feature has now, and when its feature is computed at each read. */
#pragma once
#include "actors/node.h"
#include "store/offline.h"

/* true: the value is in the table now. Before the loops run. */
bool warm_start_value(const struct node *n, const struct offline_value *v, int64_t now_us);
/* The values and tombstones of a frame of the ledger; returns how many values are in the table now. */
uint32_t warm_start_frame(const struct node *n, const struct log_source_entry *f, int64_t now_us);
