/* The materialiser: one actor per process, on a blocking loop. Runs the SQL of materialised features at start and every
 * `refresh`, and writes what comes of it to the ledger and then to the online table. */
#pragma once
#include "actors/node.h"

enum { CLASS_MATERIALIZER = 69 };
extern const struct actor_class materializer_class; /* init argument: struct node */
/* Every feature is due now: what their SQL reads has changed, or cannot be loaded any more. From an actor on the materialiser's loop. */
void materializer_run_all(struct actor *from);
/* What the last run of a materialised feature came to. Any thread, as the next ones. */
enum materialized_state materializer_state(const struct node *n, uint32_t feature);
/* How many features have been materialised by their last run, and how many there are. */
void materializer_progress(const struct node *n, uint32_t *ret_done, uint32_t *ret_total);
/* Whether there is nothing to serve of this feature because its first run has not ended. A run that failed has ended. */
bool materializer_is_awaited(const struct node *n, uint32_t feature);
