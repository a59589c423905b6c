/* One DuckDB connection as the offline store uses it: prepared statements kept by their text, parameters from
 * JSON, streamed results, deadlines, and errors as one line for people.
 *
 * A connection belongs to one actor (or to whoever holds the lock around it) and is used between
 * offline_conn_enter and offline_conn_leave only: in between, the database cannot be reopened under it. After
 * a fatal error (a full disk in a commit, a broken file) DuckDB refuses everything until its database is
 * opened again; enter does that, and the connection's statements and its open result are gone then. */
#pragma once
#include "runtime/buf.h"
#include "store/offline/offline_watch.h"
#include <yyjson.h>

struct offline;

struct offline_error {
	int status;     /* RT_EINVAL: the statement; RT_EDEADLINE, RT_ETOOBIG, RT_EIO */
	char text[384]; /* one line, no absolute paths */
};

enum {
	OFFLINE_STATEMENTS_MAX = 32,
	/* Then it is prepared anew: DuckDB 1.4 keeps some 2 KB of each execution in the plan until that goes. */
	OFFLINE_STATEMENT_RUNS_MAX = 100,
};

struct offline_statement {
	char *sql; /* owned; NULL = free place */
	size_t sql_bytes;
	duckdb_prepared_statement handle;
	uint64_t used; /* the connection's count of uses at the last one */
	uint32_t runs;
};

struct offline_conn {
	struct offline *offline; /* weak */
	struct dlist link;       /* in the store's list of connections */
	duckdb_connection handle;
	struct offline_statement statements[OFFLINE_STATEMENTS_MAX];
	uint64_t uses, resets; /* resets: how often the database was opened again under this connection */
	duckdb_result result;
	bool has_result, is_armed;
	bool is_at_end;         /* the result has no more rows: DuckDB has ended its query */
	duckdb_data_chunk kept; /* of the result: rows for the next ask of a cursor; NULL = none */
	struct offline_watched watched;
};

/* NULL: *error. Blocking. */
struct offline_conn *offline_conn_open(struct offline *o, struct offline_error *error);
void offline_conn_close(struct offline_conn *c); /* NULL ok */

/* false: the database is broken and could not be opened again; *error. */
bool offline_conn_enter(struct offline_conn *c, struct offline_error *error);
void offline_conn_leave(struct offline_conn *c);

/* A statement without rows, not kept. */
bool offline_conn_run(struct offline_conn *c, const char *sql, struct offline_error *error);
/* A SELECT with positional parameters: params is a JSON array or NULL; deadline_ns is absolute (monotonic).
 * Then rows are fetched until NULL, and the query ended. */
bool offline_conn_select(struct offline_conn *c, struct str sql, yyjson_val *params, uint64_t deadline_ns,
			 struct offline_error *error);
/* The next rows, which the caller destroys. NULL: the end, or *error (status 0 = the end). */
duckdb_data_chunk offline_conn_fetch(struct offline_conn *c, struct offline_error *error);
/* The statement of this text is not wanted again: the next new one takes its place. */
void offline_conn_forget(struct offline_conn *c, struct str sql);
/* A stream whose rows are fetched in several goes: stops and starts the clock in between. */
void offline_conn_pause(struct offline_conn *c);
void offline_conn_resume(struct offline_conn *c, uint64_t deadline_ns);
void offline_conn_end(struct offline_conn *c); /* releases the result; nothing open is ok */

/* A kept statement with its bindings cleared, for code that binds by itself. NULL: *error. */
duckdb_prepared_statement offline_conn_prepare(struct offline_conn *c, struct str sql, struct offline_error *error);
/* The same for a statement that may only read. */
duckdb_prepared_statement offline_conn_prepare_select(struct offline_conn *c, struct str sql,
						      struct offline_error *error);
/* Runs it to the end and drops the result. */
bool offline_conn_execute(struct offline_conn *c, duckdb_prepared_statement statement, struct offline_error *error);

/* Makes one line without absolute paths of what DuckDB said, and its status; a fatal one marks the database
 * broken. */
void offline_error_set(struct offline *o, struct offline_error *error, duckdb_error_type type, const char *text);
void offline_error_text(struct offline_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The store's own: drops everything that keeps the old database alive, and connects to the new one. */
void offline_conn_drop(struct offline_conn *c);
bool offline_conn_connect(struct offline_conn *c, duckdb_database db);
