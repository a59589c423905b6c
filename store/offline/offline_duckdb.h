/* The offline store on DuckDB, and the projection that takes the log over into it. Record bytes stay in the log.
 *
 * offline_reader actors live on blocking loops, one connection each; they answer lists of contexts and what Fabra's Python program
 * left, too. The projection is an actor on a background loop that reads the log in paced batches; its applied LSN is committed in
 * the same transaction. A question that names schema fabra first waits until everything is applied that was durable when it
 * arrived; so does a list of contexts. */
#pragma once
#include "store/evidence/log_source.h"
#include "store/offline/offline.h"
#include "store/offline/offline_origin.h"

struct offline_config {
	const char *path;             /* FABRA_DUCKDB_PATH or ":memory:" */
	size_t memory_limit_bytes;    /* 0 = 512 MiB */
	int64_t history_keep_ms;      /* values that were superseded, deletes and events longer ago go; 0 = never */
	const struct log_source *log; /* what is projected; borrows; NULL: nothing */
};

/* Opens the file, makes schema `fabra` and adopts what Fabra's Python program left (context_records,
 * context_log stay untouched and are listed and readable). Blocking; start-up. NULL: *ret_why. */
struct offline *offline_open(const struct offline_config *config, struct buf *ret_why);
void offline_close(struct offline *o);
/* As in struct offline_store, which this fills but for the actors. */
void offline_store_fill(struct offline *o, struct offline_store *ret);
bool offline_load_table(struct offline *o, const struct offline_table *table, uint64_t *ret_rows, bool *ret_is_new,
			struct buf *ret_why);
bool offline_check_rows(struct offline *o, struct str sql, struct str key_column, struct str value_column,
			struct buf *ret_why);
/* lanes: blocking loops, at most 16, on which statements that take long are run; without any the reader runs all itself. */
struct actor_ref offline_spawn_reader(struct offline *o, struct loop *loop, struct loop *const *lanes,
				      uint32_t lanes_count);
struct actor_ref offline_spawn_projection(struct offline *o, struct loop *loop);
/* Of the open ledger; 0 while the file belongs to another one. Any thread. */
uint64_t offline_applied_lsn(const struct offline *o);

/* Why the rows of the file are not of the open log, and how that is cured; NULL: they are. Found by the open, and the same for
 * ever; borrows. Any thread. */
const char *offline_mismatch(const struct offline *o);

/* Removes history past its retention; the projection's actor does it once an hour. Blocking. false: it failed, was
 * logged, and nothing was removed. */
bool offline_prune(struct offline *o, int64_t now_us);

/* How the projection is doing, for /ready and /metrics. */
struct offline_health {
	bool paused;     /* the last transaction failed, or the file is another ledger's; it is tried again every
			    few seconds */
	char error[384]; /* why, for people; no paths. "" while all is well */
	uint64_t applied_lsn, lag_entries;
	int64_t lag_ms;           /* age of the oldest durable entry that is not applied; 0 = none */
	uint64_t missing_entries; /* that were damaged or gone in the ledger before they could be applied */
	uint64_t entries, transactions, corrupt_frames, reopened; /* since the start */
};
void offline_health_read(struct offline *o, struct offline_health *ret); /* any thread */
void offline_publish(struct offline *o);                                 /* the same as metrics; any thread */

/* struct offline_store.newest_values, without the applied LSN. */
bool offline_warm(struct offline *o, void *arg, bool (*each)(void *arg, const struct offline_value *v),
		  struct buf *ret_why);
/* A record that only Fabra's Python program knew, as JSON in declared order; for the importer. false: none,
 * or the file cannot be read. Blocking; any thread. */
bool offline_legacy_record(struct offline *o, struct str ref, struct buf *ret_json);
