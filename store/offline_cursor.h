/* SQL of a materialised feature, read in batches over several messages: each open cursor has a connection and
 * a streamed result of its own, so that the statement runs once and its rows are never all in memory. */
#pragma once
#include "store/offline.h"
#include "store/offline_json.h"

enum { OFFLINE_CURSORS_MAX = 4, OFFLINE_BATCH_ROWS_MAX = 4096, OFFLINE_CURSOR_IDLE_MS = 60 * 1000 };

struct offline_cursor {
	uint64_t id; /* 0 = free place */
	struct offline_conn *conn;
	struct arena types; /* of columns */
	struct offline_columns columns;
	uint32_t key_column, value_column;
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
