/* The offline store: the user's tables, and in schema `fabra` columns to query records by and the feature history. These are
 * its messages, and what of it is called at the start. The SQL that users write goes through as it is; nobody above this line
 * writes any.
 *
 * A question that names schema fabra sees all that was durable when it arrived. */
#pragma once
#include "store/evidence/evidence.h"

/* The makers of messages take the loop of whoever asks; NULL: on any thread, for loop_post. */
enum { CLASS_OFFLINE = 33 };
enum offline_msg {
	OFFLINE_QUERY = MSG_KIND(CLASS_OFFLINE, 1), /* ask: struct offline_query */
	/* Its reply: struct offline_result with status 0, RT_EINVAL (the SQL; the text
	 * says what), RT_EDEADLINE, RT_ETOOBIG, RT_EIO, RT_EFULL (too many wait for the projection, or for
	 * a lane). */
	OFFLINE_RESULT = MSG_KIND(CLASS_OFFLINE, 2),
	OFFLINE_ROWS = MSG_KIND(CLASS_OFFLINE, 3), /* ask: struct offline_rows, the materialiser's */
	/* Its reply: struct offline_batch; RT_EFULL: too many cursors. */
	OFFLINE_BATCH = MSG_KIND(CLASS_OFFLINE, 4),
	OFFLINE_FEATURE = MSG_KIND(CLASS_OFFLINE, 5), /* ask: struct offline_feature; the reply is OFFLINE_BATCH */
	/* What newest_values gives, in batches, with all that was durable when the first was asked for. Ask: struct
	 * offline_newest. Its reply: struct offline_values; RT_EINVAL: the cursor is closed, begin again. */
	OFFLINE_NEWEST = MSG_KIND(CLASS_OFFLINE, 16),
	OFFLINE_VALUES = MSG_KIND(CLASS_OFFLINE, 17),
	OFFLINE_AS_OF = MSG_KIND(CLASS_OFFLINE, 6), /* ask: struct offline_as_of: cells of the history */
	/* Its reply: the same cells, answered, with status 0; or none of them is, with a status as OFFLINE_RESULT has. RT_ETOOBIG:
	 * ask for fewer at once; one alone is never too big. Sees all that was durable when the question arrived. */
	OFFLINE_CELLS = MSG_KIND(CLASS_OFFLINE, 7),
	OFFLINE_TRAINING = MSG_KIND(CLASS_OFFLINE, 8), /* ask: struct offline_training */
	/* Its reply: struct offline_past_cells; RT_EINVAL: the cursor is closed. RT_EFULL: too many cursors, no memory. */
	OFFLINE_PAST_CELLS = MSG_KIND(CLASS_OFFLINE, 9),
};

enum {
	OFFLINE_VALUE_BYTES_MAX = 4 << 20, /* of a feature's value that SQL gives, as JSON */
	OFFLINE_IDS_MAX = 1024,            /* of one OFFLINE_FEATURE */
	OFFLINE_CELLS_MAX = 1024,          /* of one OFFLINE_AS_OF */
	OFFLINE_PAST_BYTES_MAX = 64 << 20, /* of what one OFFLINE_TRAINING asks */
};
/* SQL of a feature that gives several rows for one id is wrong, in both modes: none of them is the value. printf
 * arguments: the id column, the id. */
#define OFFLINE_SEVERAL_ROWS "several rows for %.*s '%.*s'; aggregate, or select one of them"

/* One SQL statement with positional parameters; rows come back as a JSON array of objects. docs/types.md says what
 * each type becomes. */
struct offline_query {
	struct msg head;   /* dispose frees the heap texts; the deadline interrupts the query */
	char *sql;         /* moves, NUL-terminated */
	char *params;      /* moves; JSON array or NULL */
	uint32_t rows_max; /* 0 = 10,000; more rows: RT_ETOOBIG */
	bool tables_only;  /* from a client: no files, no settings (RT_EINVAL) */
};
/* Copies. */
struct offline_query *offline_query_new(struct loop *loop, struct str sql, struct str params_json);
/* Whether a statement sees what the ledger says: does it name schema fabra? Any thread. */
bool offline_sql_reads_ledger(struct str sql);
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
	struct arena texts; /* all that follows is in it */
	struct str sql, key_column, value_column;
	struct str *ids; /* each once */
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

/* What reads would have given in the past: for each moment (an id of each entity, and a time) and each feature the value that a
 * read at that time was answered with, as far as it was kept. That is, with t for the time: of the values that were written at t or
 * before, and whose event time is not after t, the newest by (event time, position); unless its ttl had passed at t, or a tombstone of
 * the cell or the row that was written at t or before hides it. Of the versions of a feature's code the one counts that wrote
 * last before t, whatever the id. docs/training-data.md says why. */
struct offline_wanted {
	uint32_t entity; /* of offline_past.entities */
	struct str name;
};
struct offline_moment {
	const struct str *ids; /* one for each of the entities */
	int64_t time_us;
	uint16_t time_ns; /* beyond the microsecond */
};
struct offline_past {
	struct arena texts; /* all that follows is in it */
	struct str *entities;
	struct offline_wanted *features; /* each once */
	struct offline_moment *moments;
	uint32_t entities_count, features_count, moments_count, moments_cap;
	bool is_incomplete; /* there was no memory for all of it: the answer is RT_EFULL */
};
/* The answer comes in batches of about a MiB; ask again with the same cursor until last. The question is asked of the store once. A cursor is
 * closed when nobody has asked for a minute, or when its asker's cancel token has died and its place is wanted. */
struct offline_training {
	struct msg head;
	struct offline_past *what; /* owned; NULL to continue a cursor */
	uint64_t cursor;           /* 0 = new */
};
/* Copy the texts. */
struct offline_training *offline_training_new(struct loop *loop, const struct str *entities, uint32_t entities_count,
					      const struct offline_wanted *features, uint32_t features_count,
					      uint32_t moments_cap);
void offline_training_add(struct offline_training *m, const struct str *ids, int64_t time_us,
			  uint16_t time_ns); /* at most moments_cap times */
struct offline_training *offline_training_next(struct loop *loop, uint64_t cursor);
struct offline_past_cell {
	uint32_t moment, feature;
	struct str value_json;
	int64_t event_time_us;
	uint16_t event_time_ns;
};
struct offline_past_cells {
	struct msg head;
	struct arena *texts;             /* owned */
	struct offline_past_cell *cells; /* in texts; by moment, then feature: those that had a value */
	uint64_t cursor;
	struct str error; /* in texts: one line of text for people when head.status is not 0 */
	uint32_t count;
	bool last;
};

struct offline_column {
	const char *name, *type; /* the type as the store names it */
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

/* A value of the history, or a tombstone. Borrows its texts. */
struct offline_value {
	struct str entity, entity_id, feature, value_json;
	int64_t event_time_us, written_us, ttl_ms;
	uint64_t lsn;
	struct str version; /* see struct entry_value, as are the next two */
	uint16_t event_time_ns;
	uint8_t source; /* enum entry_value_source; 0 = a tombstone */
	bool deleted;   /* feature empty: all of the entity */
};

struct offline_newest {
	struct msg head;
	uint64_t
	    cursor; /* 0 = from the beginning, which closes any other. One that nobody asks for a minute is closed */
};
struct offline_newest *offline_newest_new(struct loop *loop, uint64_t cursor);
struct offline_values {
	struct msg head;
	struct arena *texts;          /* owned; NULL when there is nothing */
	struct offline_value *values; /* in texts, as all they borrow; at most OFFLINE_VALUES_MAX */
	uint64_t cursor;
	struct str error; /* in texts: one line of text for people when head.status is not 0 */
	uint32_t count;
	bool last;
};
enum { OFFLINE_VALUES_MAX = 4096, OFFLINE_VALUES_BYTES_MAX = 2 << 20 /* of a batch, about */ };
enum offline_found {
	OFFLINE_NOTHING,
	OFFLINE_VALUE,     /* the newest that no delete hides, also past its ttl: that is the asker's to judge */
	OFFLINE_TOMBSTONE, /* there is none from here on: of event time and LSN of the value */
};
struct offline_cell {
	/* By the asker: entity, entity_id, feature, and the version that counts, p NULL = any. Else by the answer. */
	struct offline_value value;
	enum offline_found found;
	bool is_of_row; /* TOMBSTONE: of the whole entity, and the feature has none of its own */
	bool is_of_any_version;
};
struct offline_cells {
	struct arena texts; /* all that follows is in it */
	struct offline_cell *cells;
	uint32_t count, cap;
	int64_t as_of_us; /* by event time; INT64_MAX: the newest */
	struct str error; /* one line of text for people when head.status is not 0 */
};
struct offline_as_of {
	struct msg head;
	struct offline_cells *what; /* owned; moves both ways */
};
/* NULL: no memory. */
struct offline_as_of *offline_as_of_new(struct loop *loop, int64_t as_of_us);
/* Copies. false: OFFLINE_CELLS_MAX are in it, or no memory. */
bool offline_as_of_add(struct offline_as_of *m, struct str entity, struct str entity_id, struct str feature,
		       struct str version);
/* For who answers: the reply that takes the request's cells with it, answered already, or (status not 0) not answered. */
struct offline_as_of *offline_cells_new(struct loop *loop, struct offline_as_of *request, int status, struct str error);

/* Who answers, and what is done at the start and when a table's file has changed: these calls block, any thread. */
struct offline_store {
	struct actor_ref requests;   /* answers OFFLINE_*, for requests */
	struct actor_ref background; /* the same, for the materialiser: its long statements hold back no request */
	void *store;                 /* borrows; the first argument of all below */
	/* Loads a fabra.table. What has not changed since the last load is kept: then *ret_is_new is false. false: *ret_why, and
	 * the table is as it was. */
	bool (*load_table)(void *store, const struct offline_table *table, uint64_t *ret_rows, bool *ret_is_new,
			   struct buf *ret_why);
	/* Whether the SQL of a feature can run and gives both columns. It does not run. After the tables. false: *ret_why. */
	bool (*check_feature)(void *store, struct str sql, struct str key_column, struct str value_column,
			      struct buf *ret_why);
	/* First the tombstones of each (entity, id) and (entity, id, feature), then the newest live value of each (entity, id,
	 * feature, version), newest event time first. What is behind *ret_applied_lsn the caller takes from the log. each
	 * returns false to stop. false: *ret_why. */
	bool (*newest_values)(void *store, void *arg, bool (*each)(void *arg, const struct offline_value *v),
			      uint64_t *ret_applied_lsn, struct buf *ret_why);
};

/* ---- replies; for who answers ---- */
struct offline_result *offline_result_new(struct loop *loop);
struct offline_batch *offline_batch_new(struct loop *loop); /* with an empty arena */
