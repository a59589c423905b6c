/* OFFLINE_TRAINING: values of the past, read in batches over several messages. Each open cursor has a connection, temporary tables of what
 * was asked, and a streamed result of its own. */
#pragma once
#include "store/offline/offline.h"
#include "store/offline/offline_conn.h"

enum { OFFLINE_TRAININGS_MAX = 4, OFFLINE_PAST_CELLS_MAX = 16384, OFFLINE_CELLS_BYTES_MAX = 1 << 20 };
enum { OFFLINE_TRAINING_IDLE_MS = 60 * 1000 };

struct offline_training_cursor {
	uint64_t id; /* 0 = free place */
	struct offline_conn *conn;
	struct actor_ref asker; /* its asks' cancel token; once it is gone nobody goes on */
	uint64_t row;           /* the next one of the chunk that its connection keeps */
	uint64_t used_ns;       /* when it was asked last */
};

struct offline_trainings {
	struct offline *offline; /* weak */
	uint64_t last_id;
	struct offline_training_cursor cursors[OFFLINE_TRAININGS_MAX];
};

/* As offline_cursors_read. */
void offline_trainings_read(struct offline_trainings *s, const struct offline_training *ask, uint64_t now_ns,
			    uint64_t deadline_ns, struct offline_past_cells *ret);
void offline_trainings_expire(struct offline_trainings *s, uint64_t now_ns);
void offline_trainings_finish(struct offline_trainings *s);
