/* The stores of embedded mode: the ledger, DuckDB beside it, and the online table in memory.
 *
 * They have blocking loops of their own: ledger (the committer alone), records (reads by id), offline (SQL of requests), lane-1 to
 * lane-4 (those of them that take long), materialize (SQL of materialised features), projection (in the background). */
#pragma once
#include "runtime/loop.h"
#include "store/stores.h"
#include "tools/serve_options.h"

struct stores_embedded;

/* Opens the files and makes loops and actors, which do not run yet: what is read at the start is read before the first append.
 * NULL: *ret_why. */
struct stores_embedded *stores_embedded_open(const struct serve_options *o, struct buf *ret_why);
const struct stores *stores_embedded_get(const struct stores_embedded *e); /* borrows */
/* The loop of the long statements that no request waits for, and of the actors that ask them. */
struct loop *stores_embedded_background(const struct stores_embedded *e);
int stores_embedded_start(struct stores_embedded *e); /* 0, or the error of a thread that could not be made */
/* Those who ask must have ended. NULL is fine, also for stop. */
void stores_embedded_stop(struct stores_embedded *e);
void stores_embedded_close(struct stores_embedded *e);
