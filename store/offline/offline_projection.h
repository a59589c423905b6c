/* The projection: what takes the ledger's entries over into DuckDB, step by step.
 *
 * A step is one transaction: up to STEP_ENTRIES_MAX entries or STEP_NS_MAX, with the LSN of the last one.
 * Whoever holds the lock may take it: the projection's own actor on a background loop, paced, or a reader
 * that waits for what was durable when it was asked, or finds the projection far behind. So a reader never
 * depends on a thread that a busy machine does not let run: it does the missing work itself. Only for a step
 * that the background thread has begun must it wait; offline_projection_hurry then gives that thread a normal
 * priority, where the system permits that. */
#pragma once
#include "store/evidence/log_source.h"
#include "store/offline/offline_apply.h"
#include "store/offline/offline_origin.h"
#include <pthread.h>
#include <stdatomic.h>

struct offline_conn;

struct offline_projection {
	pthread_mutex_t lock; /* held for a step; guards this group */
	struct offline_conn *conn;
	struct log_scan *scan;
	struct offline_apply apply;
	uint64_t retry_at_ns, retry_after_ms;
	uint64_t committed_ns, checkpoint_at_ns; /* the last commit; not before */
	bool is_stale; /* after a failure: the state must be read again, a commit may have got through */
	char ledger_id[LOG_SOURCE_ID_TEXT]; /* of the open one; never changes */

	pthread_mutex_t hurry_lock; /* never waited for by who hurries; guards this group */
	int stepping_tid;           /* of a nice thread in a step; 0 = none */
	int stepping_nice;
	bool was_hurried;

	_Atomic uint64_t applied_lsn, entries, transactions, corrupt_frames, missing_entries;
	_Atomic int64_t applied_us; /* everything written before is applied */
	_Atomic bool
	    is_mismatched; /* set by the start: the file's rows are not of the open ledger, and nothing is applied */
	_Atomic bool is_paused;
	pthread_mutex_t error_lock;
	char error[384]; /* under error_lock */
};

enum offline_step {
	OFFLINE_STEP_MORE, /* entries are left */
	OFFLINE_STEP_CAUGHT_UP,
	OFFLINE_STEP_BUSY,   /* another thread is in a step; ask again in a millisecond */
	OFFLINE_STEP_PAUSED, /* failed, or waits before it tries again: struct offline_health tells why */
};

struct offline;
bool offline_projection_init(struct offline *o, struct buf *ret_why);
uint64_t offline_durable_lsn(const struct offline *o); /* of the log; 0 without one. Any thread */
void offline_projection_finish(struct offline *o);
enum offline_step offline_projection_step(struct offline *o);
/* A checkpoint if one is due and nobody is in a query. For a reader's loop, never a background one: whoever comes
 * in the meantime waits for it. */
void offline_projection_checkpoint(struct offline *o);
void offline_projection_hurry(struct offline *o); /* any thread */
int64_t offline_projection_lag_ms(struct offline *o);
/* Why it is paused, as the error of a question that waited for it. */
void offline_projection_error(struct offline *o, struct offline_error *ret);
