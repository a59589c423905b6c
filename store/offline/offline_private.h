/* What the offline store's own files share. Nobody else includes it.
 *
 * Locks, in the order they are taken: projection.lock (one step at a time), admin_lock (the connection of
 * start-up and blocking calls), gate (shared by everyone who uses a connection; alone by the one who opens
 * the database again), conns_lock (the list of connections). */
#pragma once
#include "store/offline/offline_duckdb.h"
#include "store/offline/offline_conn.h"
#include "store/offline/offline_projection.h"
#include <pthread.h>
#include <stdatomic.h>

struct offline {
	char *path; /* owned */
	bool in_memory;
	size_t memory_limit_bytes;
	int64_t history_keep_ms;
	const struct log_source *log; /* borrows; NULL: nothing to project */
	struct offline_watch *watch;

	pthread_rwlock_t gate;
	pthread_mutex_t conns_lock;
	duckdb_database db;            /* under the gate */
	struct dlist conns;            /* struct offline_conn; under conns_lock */
	_Atomic uint32_t open_results; /* of all connections; those of cursors stay open behind the gate */
	_Atomic bool is_broken;
	_Atomic uint64_t reopen_at_ns, reopened;

	pthread_mutex_t admin_lock;
	struct offline_conn *admin;
	_Atomic bool has_context_log, has_context_records; /* of Fabra's Python program */

	struct offline_projection projection;
};

/* ---- offline.c ---- */
struct offline_metrics {
	uint32_t refused; /* metric_id: questions refused because too many wait */
	uint32_t waiting; /* metric_id: questions that wait for a lane */
};
extern struct offline_metrics offline_metrics; /* set when a store is opened */
void offline_mark_broken(struct offline *o);
/* Holds the database open for the caller. false: it is broken; nothing is held. */
bool offline_gate_enter(struct offline *o);
void offline_gate_leave(struct offline *o);
/* Alone, with no result open anywhere, if that is so at this moment; ends with offline_gate_leave. */
bool offline_gate_try_alone(struct offline *o);
bool offline_add_conn(struct offline *o, struct offline_conn *c);
void offline_remove_conn(struct offline *o, struct offline_conn *c);
/* The connection of start-up and blocking calls, entered. NULL: *error. */
struct offline_conn *offline_admin_enter(struct offline *o, struct offline_error *error);
void offline_admin_leave(struct offline *o);
/* A name ("...") or a text ('...') of SQL; the quotes in it are doubled. */
void offline_append_quoted(struct buf *out, struct str text, char quote);

/* What one question may hold beside DuckDB's pool: a client's less than one of the definitions. Between begin and end the
 * calling thread is bound by it (offline_memory.h); if that was why the question failed, end says so in *error. */
void offline_question_begin(const struct offline *o, bool is_client);
void offline_question_end(bool ok, struct offline_error *error);

/* ---- offline_msg.c ---- */
struct offline_values *offline_values_new(struct loop *loop); /* with an empty arena */
/* Copies v and its texts into the batch. false: no memory. */
bool offline_values_add(struct offline_values *m, const struct offline_value *v);
void offline_values_fail(struct offline_values *m, const struct offline_error *error);
struct offline_past_cells *offline_past_cells_new(struct loop *loop); /* with an empty arena */
void offline_result_fail(struct offline_result *r, const struct offline_error *error);
void offline_batch_fail(struct offline_batch *b, const struct offline_error *error);
void offline_past_cells_fail(struct offline_past_cells *c, const struct offline_error *error);

/* ---- offline_warm.c ---- */
/* Begins to read tombstones or values; then offline_conn_fetch gives rows, and offline_warm_row each of them (borrows). */
bool offline_warm_select(struct offline_conn *c, bool deleted, uint64_t deadline_ns, struct offline_error *error);
void offline_warm_row(duckdb_data_chunk chunk, idx_t row, bool deleted, struct offline_value *ret);

/* ---- offline_tables_only.c ---- */
/* false: the statement is no SELECT, or reads files, settings or secrets (RT_EINVAL), or could not be looked at (any other
 * status); *error says which. */
bool offline_reads_tables_only(struct offline_conn *c, struct str sql, uint64_t deadline_ns,
			       struct offline_error *error);

/* ---- offline_contexts.c ---- */
/* The SQL and its parameters (a JSON array) for a list of contexts; with those of Fabra's Python program if
 * has_log. */
void offline_list_sql(const struct evidence_list *ask, bool has_log, struct buf *sql, struct buf *params);

/* ---- offline_legacy.c ---- */
/* What only Fabra's Python program knew, as JSON. RT_ENOTFOUND: nothing. */
bool offline_legacy_read(struct offline_conn *c, struct str ref, enum evidence_legacy_view view, uint64_t deadline_ns,
			 struct buf *ret_json, struct offline_error *error);
