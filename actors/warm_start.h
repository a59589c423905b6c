/* Fills the online table at start with the values of the history and the log that the definitions as they are now would
 * serve. A value is left out when another version of the code made it, when it is past the ttl that it was written with or
 * the one that its feature has now, and when its feature is computed at each read. */
#pragma once
#include "actors/node.h"

/* The newest values of the history, then what the log has beyond it. Before the loops run; blocks. false: *ret_why. */
bool warm_start(const struct node *n, struct buf *ret_why);

/* ---- its parts ---- */
/* true: the value is in the table now. */
bool warm_start_value(const struct node *n, const struct offline_value *v, int64_t now_us);
/* The values and tombstones of an entry of the log; returns how many values are in the table now. */
uint32_t warm_start_frame(const struct node *n, const struct log_source_entry *f, int64_t now_us);
