/* Deadlines of DuckDB queries. A query keeps its blocking loop's thread busy, so another thread has to stop
 * it: one watch per offline store, asleep while nothing runs, looking every WATCH_TICK_MS while something
 * does. A query that is over its deadline is interrupted at each look until it has ended, since DuckDB
 * forgets an interrupt that comes before the query has really begun. */
#pragma once
#include "runtime/list.h"
#include <duckdb.h>
#include <stdbool.h>
#include <stdint.h>

enum { OFFLINE_WATCH_TICK_MS = 20 };

struct offline_watch;

/* One running query; on the memory of whoever runs it. */
struct offline_watched {
	struct dlist link;
	duckdb_connection connection; /* borrows until disarmed */
	uint64_t deadline_ns, armed_ns;
	bool was_interrupted;
};

/* slow(arg) is called on the watch's thread at each look that finds a query older than one tick. NULL: out of
 * threads. */
struct offline_watch *offline_watch_create(void (*slow)(void *arg), void *arg);
void offline_watch_destroy(struct offline_watch *w); /* nothing may be armed; NULL ok */
void offline_watch_arm(struct offline_watch *w, struct offline_watched *q, duckdb_connection connection,
		       uint64_t deadline_ns);
/* If it is armed, its deadline is now. q is only compared. */
void offline_watch_end_now(struct offline_watch *w, const struct offline_watched *q);
/* After it returns the connection is not interrupted any more. true: it was, because the deadline had passed.
 */
bool offline_watch_disarm(struct offline_watch *w, struct offline_watched *q);
