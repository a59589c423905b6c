/* The materialiser: one actor per process, on a blocking loop. Runs the SQL of materialised features at start and every
 * `refresh`, and writes what comes of it to the ledger and then to the online table. */
#pragma once
#include "actors/node.h"

extern const struct actor_class materializer_class; /* init argument: struct node */
/* Every feature is due now: what their SQL reads has changed. From an actor on the materialiser's loop. */
void materializer_run_all(struct actor *from);
/* How many materialised features have been written at least once, and how many there are: for /ready. Any thread. */
void materializer_progress(uint32_t *ret_done, uint32_t *ret_total);
