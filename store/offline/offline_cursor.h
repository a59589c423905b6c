/* SQL of a materialised feature, read in batches over several messages: each open cursor has a connection and
 * a streamed result of its own, so that the statement runs once and its rows are never all in memory. */
#pragma once
#include "store/offline/offline.h"
#include "store/offline/offline_json.h"

/* A batch is cut by rows and by bytes, so that what becomes of it (an entry of the ledger) has a bound too. */
enum { OFFLINE_CURSORS_MAX = 4, OFFLINE_BATCH_ROWS_MAX = 4096, OFFLINE_BATCH_BYTES_MAX = 1 << 20 };
enum { OFFLINE_CURSOR_IDLE_MS = 60 * 1000 };

struct offline_cursor {
	uint64_t id; /* 0 = free place */
	struct offline_conn *conn;
	struct arena types; /* of columns */
	struct offline_columns columns;
	uint32_t key_column, value_column;
	uint64_t row;     /* the next one of the chunk that its connection keeps */
	uint64_t used_ns; /* when it was asked last */
};

struct offline_cursors {
	struct offline *offline; /* weak */
	uint64_t last_id;
	struct offline_cursor cursors[OFFLINE_CURSORS_MAX];
};

/* Opens or continues what ask wants and fills the batch; closes the cursor behind the last one and on
 * failure. now_ns: monotonic; deadline_ns: of this batch. */
void offline_cursors_read(struct offline_cursors *s, const struct offline_rows *ask, uint64_t now_ns,
			  uint64_t deadline_ns, struct offline_batch *ret);
/* Closes those that nobody has asked for OFFLINE_CURSOR_IDLE_MS. */
void offline_cursors_expire(struct offline_cursors *s, uint64_t now_ns);
void offline_cursors_finish(struct offline_cursors *s);

/* For both ways of reading a feature's SQL. */
/* The column called name; false: *error. */
bool offline_find_column(const struct offline_columns *columns, struct str name, uint32_t *ret,
			 struct offline_error *error);
/* The SQL name of the type of a statement's key column, in room or a literal. NULL: *error, also when values of the
 * type name no entities. */
const char *offline_statement_key_type(duckdb_prepared_statement statement, struct str key_column, char *room,
				       size_t room_bytes, struct offline_error *error);
/* The value of the entity called key, at row: text is a buffer to write it in. false: *error, also when it is larger
 * than a value may be. */
bool offline_value_read(const struct offline_columns *columns, uint32_t column, duckdb_vector values, uint64_t row,
			struct str key, struct buf *text, struct offline_error *error);
