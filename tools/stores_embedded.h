/* The stores of embedded mode: the ledger, DuckDB beside it, and the online table in memory or, with
 * FABRA_REDIS_URL, values in Redis.
 *
 * They have blocking loops of their own: ledger (the committer alone), records (reads by id), offline (SQL of requests), lane-1 to
 * lane-4 (those of them that take long), materialize (SQL of materialised features), projection (in the background). */
#pragma once
#include "tools/stores_process.h"

/* As stores_process_open. */
struct stores_process *stores_embedded_open(const struct serve_options *o, const struct definitions *d,
					    struct loop *const *io, unsigned io_count, struct buf *ret_why);
