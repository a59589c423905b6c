/* The offline store on DuckDB: the user's tables, and in schema `fabra` the projection of the ledger: columns
 * to query records by, the context list, the feature history. Record bytes stay in the ledger.
 *
 * offline_reader actors live on blocking loops, one connection each. The projection is an actor on a
 * background loop that tails the ledger in paced batches; its applied LSN is committed in the same
 * transaction. A question that names schema fabra first waits until everything is applied that was durable when
 * it arrived; so does a list of contexts. */
#pragma once
#include "store/log_source.h"

enum offline_msg {
	OFFLINE_QUERY = MSG_KIND(CLASS_OFFLINE, 1),    /* ask: struct offline_query */
	/* Its reply: struct offline_result with status 0, RT_EINVAL (the SQL; the text
	 * says what), RT_EDEADLINE, RT_ETOOBIG, RT_EIO, RT_EFULL (too many wait for the projection, or for
	 * a lane). */
	OFFLINE_RESULT = MSG_KIND(CLASS_OFFLINE, 2),
	OFFLINE_ROWS = MSG_KIND(CLASS_OFFLINE, 3), /* ask: struct offline_rows, the materialiser's */
	/* Its reply: struct offline_batch; RT_EFULL: too many cursors. */
	OFFLINE_BATCH = MSG_KIND(CLASS_OFFLINE, 4),
	OFFLINE_FEATURE = MSG_KIND(CLASS_OFFLINE, 5), /* ask: struct offline_feature; the reply is OFFLINE_BATCH */
};

enum {
	OFFLINE_VALUE_BYTES_MAX = 4 << 20, /* of a feature's value that SQL gives, as JSON */
	OFFLINE_IDS_MAX = 1024,            /* of one OFFLINE_FEATURE */
};
/* SQL of a feature that gives several rows for one id is wrong, in both modes: none of them is the value. printf
 * arguments: the id column, the id. */
#define OFFLINE_SEVERAL_ROWS "several rows for %.*s '%.*s'; aggregate, or select one of them"

/* One SQL statement with positional parameters; rows come back as a JSON array of objects. docs/types.md says what
 * each type of DuckDB becomes. */
struct offline_query {
	struct msg head;   /* dispose frees the heap texts; the deadline interrupts the query */
	char *sql;         /* moves, NUL-terminated */
	char *params;      /* moves; JSON array or NULL */
	uint32_t rows_max; /* 0 = 10,000; more rows: RT_ETOOBIG */
	bool tables_only; /* from a client: no files, no settings (RT_EINVAL) */
};
/* Copies. */
struct offline_query *offline_query_new(struct loop *loop, struct str sql, struct str params_json);
/* SQL of a materialised feature: (key column, value column) pairs in batches of at most 4096 rows and about a MiB;
 * ask again with the same cursor until last. Each key once: RT_EINVAL before the first row when one has several. The statement runs once. */
struct offline_rows {
	struct msg head;
	char *sql;                       /* moves; NULL to continue a cursor */
	char *key_column, *value_column; /* move */
	uint64_t cursor;                 /* 0 = new */
};
/* The first ask of a statement, and the following ones. Copy the texts. */
struct offline_rows *offline_rows_new(struct loop *loop, struct str sql, struct str key_column,
				      struct str value_column);
struct offline_rows *offline_rows_next(struct loop *loop, uint64_t cursor);
/* SQL of a feature, narrowed to some ids: the rows whose key column, as text, is one of them, in one statement. An id
 * has no row, or one, or at most two rows of several: then its value is not decided, and the asker says so. One batch,
 * all of it; RT_ETOOBIG: ask for fewer ids. */
struct offline_narrowed {
	struct arena texts;      /* all that follows is in it */
	struct str sql, key_column, value_column;
	struct str *ids;         /* each once */
	uint32_t ids_count, ids_cap;
};
struct offline_feature {
	struct msg head;
	struct offline_narrowed *what; /* owned */
};
struct offline_feature *offline_feature_new(struct loop *loop, struct str sql, struct str key_column,
					    struct str value_column, uint32_t ids_cap); /* copies */
void offline_feature_add(struct offline_feature *m, struct str id); /* copies; at most ids_cap times */
struct offline_result {
	struct msg head;
	struct buf json; /* a JSON array, or on failure one line of text for people without paths */
	uint32_t rows;
};
struct offline_row {
	struct str key, value_json;
};
struct offline_batch {
	struct msg head;
	struct arena *texts;      /* owned; NULL when there is nothing */
	struct offline_row *rows; /* in texts */
	uint64_t cursor;
	struct str error; /* in texts: one line of text for people when head.status is not 0 */
	uint32_t count;
	bool last;
};

struct offline_column {
	const char *name, *type; /* a type of DuckDB */
};
struct offline_table { /* fabra.table; borrows all */
	const char *name;
	const char *file; /* absolute path to CSV, TSV, JSON, JSON lines or Parquet; NULL = sql */
	const char *sql;
	const struct offline_column *columns; /* declared types of a text file's columns */
	size_t columns_count;
	const char *const *id_columns; /* names of declared ids: in a text file these columns are text as written */
	size_t id_columns_count;
};
/* Whether the name's ending is one that fabra.table reads; *ret_is_text: the file's columns need types. */
bool offline_table_reads(const char *file, bool *ret_is_text);
/* The endings, for messages. */
extern const char offline_table_endings[];
struct offline_config {
	const char *path;          /* FABRA_DUCKDB_PATH or ":memory:" */
	size_t memory_limit_bytes; /* 0 = 512 MiB */
	int64_t history_keep_ms;   /* values that were superseded, deletes and events longer ago go; 0 = never */
	const struct log_source *log; /* what is projected; borrows; NULL: nothing */
};

/* Opens the file, makes schema `fabra` and adopts what Fabra's Python program left (context_records,
 * context_log stay untouched and are listed and readable). Blocking; start-up. NULL: *ret_why. */
struct offline *offline_open(const struct offline_config *config, struct buf *ret_why);
void offline_close(struct offline *o);
/* Loads a fabra.table; blocking, any thread. What has not changed since the last load is kept: then *ret_is_new is false.
 * false: *ret_why, and the table is as it was. */
bool offline_load_table(struct offline *o, const struct offline_table *table, uint64_t *ret_rows, bool *ret_is_new,
			struct buf *ret_why);
/* Whether the SQL of a feature can run and gives both columns. It does not run; blocking, start-up, after the
 * tables. false: *ret_why. */
bool offline_check_rows(struct offline *o, struct str sql, struct str key_column, struct str value_column,
			struct buf *ret_why);
/* lanes: blocking loops, at most 16, on which statements that take long are run; without any the reader runs all itself. */
struct actor_ref offline_spawn_reader(struct offline *o, struct loop *loop, struct loop *const *lanes, uint32_t lanes_count);
struct actor_ref offline_spawn_projection(struct offline *o, struct loop *loop);
/* Of the open ledger; 0 while the file belongs to another one. Any thread. */
uint64_t offline_applied_lsn(const struct offline *o);

/* Removes history past its retention; the projection's actor does it once an hour. Blocking. false: it failed, was
 * logged, and nothing was removed. */
bool offline_prune(struct offline *o, int64_t now_us);

/* How the projection is doing, for /ready and /metrics. */
struct offline_health {
	bool paused;     /* the last transaction failed, or the file is another ledger's; it is tried again every
			    few seconds */
	char error[384]; /* why, for people; no paths. "" while all is well */
	uint64_t applied_lsn, lag_entries;
	int64_t lag_ms; /* age of the oldest durable entry that is not applied; 0 = none */
	uint64_t missing_entries; /* that were damaged or gone in the ledger before they could be applied */
	uint64_t entries, transactions, corrupt_frames, reopened; /* since the start */
};
void offline_health_read(struct offline *o, struct offline_health *ret); /* any thread */
void offline_publish(struct offline *o); /* the same as metrics; any thread */

/* Warm start: first the tombstones of each (entity, id) and (entity, id, feature), then the newest live value
 * of each (entity, id, feature, version) that the projection knows, newest event time first. What the projection does not know yet the
 * caller takes from the ledger: a scan from the applied LSN that it read before. each returns false to stop.
 * Blocking; any thread. */
struct offline_value {
	struct str entity, entity_id, feature, value_json;
	int64_t event_time_us, written_us, ttl_ms;
	uint64_t lsn;
	struct str version;     /* see struct entry_value, as are the next two */
	uint16_t event_time_ns;
	uint8_t source;         /* enum entry_value_source; 0 = a tombstone */
	bool deleted;           /* feature empty: all of the entity */
};
bool offline_warm(struct offline *o, void *arg, bool (*each)(void *arg, const struct offline_value *v),
		  struct buf *ret_why);
/* A record that only Fabra's Python program knew, as JSON in declared order; for the importer. false: none,
 * or the file cannot be read. Blocking; any thread. */
bool offline_legacy_record(struct offline *o, struct str ref, struct buf *ret_json);
