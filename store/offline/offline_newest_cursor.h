/* The history's newest values, read in batches over several messages, with a connection and a streamed result of its own. One
 * at a time: who begins closes the cursor of who read before. */
#pragma once
#include "store/offline/offline_private.h"

enum { OFFLINE_NEWEST_IDLE_MS = 60 * 1000 };

struct offline_newest_cursor {
	struct offline *offline; /* weak */
	uint64_t last_id, id;    /* id 0 = closed */
	struct offline_conn *conn;
	bool deleted;     /* the tombstones are being read, then the values */
	uint64_t row;     /* the next one of the chunk that the connection keeps */
	uint64_t used_ns; /* when it was asked last */
};

/* Opens or continues what ask wants and fills the batch; closes the cursor behind the last one and on failure. now_ns:
 * monotonic; deadline_ns: of this batch. */
void offline_newest_read(struct offline_newest_cursor *c, const struct offline_newest *ask, uint64_t now_ns,
			 uint64_t deadline_ns, struct offline_values *ret);
/* Closes it when nobody has asked for OFFLINE_NEWEST_IDLE_MS. */
void offline_newest_expire(struct offline_newest_cursor *c, uint64_t now_ns);
void offline_newest_finish(struct offline_newest_cursor *c);
