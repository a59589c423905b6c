/* The online store: the newest value of each feature of each entity. These are its messages, and what a store gives beside them
 * that is in this process's memory. docs/online.md says more.
 *
 * A row is one entity (kind, id), a cell one feature of it. Writes apply by (event time, position), in the store itself: an older
 * one never replaces a newer one, in whatever order they come, and a delete leaves a tombstone that refuses what was
 * written before it and what was true before it. A store may forget: what it does not find may be in the history. */
#pragma once
#include "runtime/arena.h"
#include "runtime/hash.h"
#include "runtime/loop.h"
#include "store/text/value.h"

enum {
	ONLINE_ID_MAX = 1024,      /* bytes of an entity's id */
	ONLINE_COPY_MAX = 4096,    /* bytes that are copied without a reference: struct online_fast */
	ONLINE_TOGETHER_MAX = 256, /* features of a row that are read, or written, at one moment */
};

enum online_flags { /* where a value came from; kept for the reader, not used by the table */
		    ONLINE_COMPUTED = 1 << 0,
		    ONLINE_PUSHED = 1 << 1,
		    ONLINE_MATERIALIZED = 1 << 2,
		    ONLINE_EVENT = 1 << 3,
		    /* Another program wrote it straight into the store: it has no position, and counts as written when it is
		     * read. */
		    ONLINE_FOREIGN = 1 << 4,
		    ONLINE_AGE_UNKNOWN = 1 << 5, /* nor an event time: that is 1970 */
};

struct online_meta {
	int64_t event_time_us; /* since 1970, UTC, as all times here */
	uint64_t lsn;
	int64_t written_us;
	int64_t expires_us;     /* 0 = never; from this moment on the cell is not found */
	uint32_t flags;         /* enum online_flags; 8 bits are kept */
	uint16_t event_time_ns; /* of the event time, beyond the microsecond: 0 to 999 */
	/* Of a 128-bit position (UUIDv7) lsn is the upper half and this the lower. A log's position has 0 here, and the stores in
	 * this process's memory, which are filled from a log, neither keep nor compare it. */
	uint64_t lsn_low;
};

struct online_cell {
	struct value *value; /* one reference, the caller's; NULL when there is none */
	struct online_meta meta;
	bool is_lost; /* there is one, and there was no memory for it: value is NULL, and that is no absence */
};
/* What is known of a cell, live or not. */
struct online_trace {
	int64_t event_time_us; /* of its value or of the delete, whichever is newer: a write must be newer than that */
	int64_t cell_time_us;  /* of its value or its own tombstone; INT64_MIN: it has none */
	uint16_t cell_time_ns; /* and beyond the microsecond */
	uint64_t lsn;     /* of what last changed it: value, tombstone or the row's; 0: of none that is in the log */
	uint64_t lsn_low; /* as in online_meta */
	bool is_known;
	bool is_live;
	bool is_expired; /* there was a value, its time has passed, and it has not been swept yet */
};
enum online_result {
	ONLINE_APPLIED,
	ONLINE_STALE, /* what is there, or a tombstone, is newer. Of equal (event time, LSN) the later call wins */
	ONLINE_FULL,  /* there is no room for it: the id, the value or the row is too large to keep, or memory is out */
	ONLINE_FAILED, /* by message: the store did not take it, or does not say whether it did */
};
struct online_change {
	uint32_t feature;
	struct value *value;       /* borrows; NULL: there is none from here on, as online_delete_cell */
	struct online_meta meta;   /* of a delete only event time and LSN */
	enum online_result result; /* filled */
};

/* ---- messages ---- */
/* The makers of messages take the loop of whoever asks; NULL: on any thread, for loop_post. */
enum { CLASS_ONLINE = 34 };
enum online_msg {
	ONLINE_GET = MSG_KIND(CLASS_ONLINE, 1),    /* ask: cells of rows */
	ONLINE_PUT = MSG_KIND(CLASS_ONLINE, 2),    /* ask: cells to write or, without a value, to delete */
	ONLINE_DELETE = MSG_KIND(CLASS_ONLINE, 3), /* ask: rows to delete */
	/* The reply to each: the same struct online_batch, answered row by row and cell by cell. Status 0, or RT_EIO or
	 * RT_EFULL: none of it was done, or nobody knows what was; it may be asked again, since a write that is there
	 * already changes nothing. */
	ONLINE_DONE = MSG_KIND(CLASS_ONLINE, 4),
};
/* Of one message. Who has more sends several; what comes in one turn goes into one. */
enum { ONLINE_BATCH_ROWS_MAX = 1024, ONLINE_BATCH_CELLS_MAX = 4096, ONLINE_BATCH_BYTES_MAX = 4 << 20 };

struct online_get { /* of ONLINE_GET; filled by the answer, together with the row's others at one moment */
	uint32_t feature;
	struct online_cell cell;   /* its reference is the message's: who takes it sets value to NULL */
	struct online_trace trace; /* as far as the store knows it */
};
struct online_row_batch {
	uint32_t kind, count; /* count: of gets or changes */
	struct str id;        /* in texts */
	struct online_get *gets;
	struct online_change *changes; /* ONLINE_PUT; their values have a reference that is the message's */
	struct online_meta when;       /* ONLINE_DELETE: event time and position */
	/* By the answer. ONLINE_GET: ONLINE_APPLIED, or ONLINE_FAILED: it could not be read, which is not absence. ONLINE_DELETE:
	 * as online_result says. ONLINE_PUT: each change has its own. */
	enum online_result result;
};
struct online_rows {
	struct arena texts; /* all that follows is in it */
	struct online_row_batch *rows;
	uint32_t count, cap, cells;
	size_t bytes; /* of ids and values */
};
struct online_batch {
	struct msg head;          /* dispose frees what */
	struct online_rows *what; /* owned; moves both ways */
};
/* kind: ONLINE_GET, ONLINE_PUT or ONLINE_DELETE. NULL: no memory. */
struct online_batch *online_batch_new(struct loop *loop, enum online_msg kind);
/* Each adds a row. false: it does not fit any more, or there is no memory; the message is as before. Something always fits
 * an empty one: up to ONLINE_TOGETHER_MAX cells, and one value of any size. Copy ids, ref values. */
bool online_batch_get(struct online_batch *m, uint32_t kind, struct str id, const uint32_t *features, uint32_t n);
bool online_batch_put(struct online_batch *m, uint32_t kind, struct str id, const struct online_change *changes,
		      uint32_t n);
/* when: event time and position. */
bool online_batch_delete(struct online_batch *m, uint32_t kind, struct str id, const struct online_meta *when);
/* For who answers: the reply that takes the request's rows with it. Failed as a whole, all its results are ONLINE_FAILED. */
struct online_batch *online_done_new(struct loop *loop, struct online_batch *request, int status);

/* ---- in this process's memory ---- */
enum online_read {
	ONLINE_MISS,
	ONLINE_HIT,
	ONLINE_LARGE, /* there is a value, but longer than cap or ONLINE_COPY_MAX: use online_get */
};
/* Where a row is looked for. */
struct online_key {
	uint64_t hash;
	uint32_t kind;
	struct str id; /* borrows */
};
static inline struct online_key online_key(uint32_t kind, struct str id)
{
	return (struct online_key){ hash_mix(hash64(id) + kind), kind, id };
}
enum online_walk {
	ONLINE_WALK_MORE,
	ONLINE_WALK_END,
	ONLINE_WALK_NO_MEMORY, /* nothing was called, and the cursor is where it was */
};

/* The path without messages: for a store in memory only. It gives at once what the messages would. Every function may be
 * called on any thread; none blocks for longer than another thread holds a lock, which is never across an allocation. */
struct online;
struct online_fast {
	struct online *table; /* borrows; the first argument of all */
	/* A row that nobody read for a while costs two misses of all caches, one after the other: the bucket, then the row. Who
	 * has several to read fetches all the buckets, then all the rows, then reads: the misses overlap. */
	void (*fetch_bucket)(struct online *t, const struct online_key *key);
	void (*fetch_row)(struct online *t, const struct online_key *key);
	/* Copies a small value's JSON text (no NUL) to out without touching its reference count, which other cores share. */
	enum online_read (*copy)(struct online *t, const struct online_key *key, uint32_t feature, int64_t now_us,
				 char *out, size_t cap, size_t *ret_n, struct online_meta *ret_meta);
	/* Several features of one row, as they are at one moment (groups of ONLINE_TOGETHER_MAX are). Fills ret[0..n) and, unless
	 * it is NULL, ret_traces; returns how many have a value. */
	size_t (*see)(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n,
		      int64_t now_us, struct online_cell *ret, struct online_trace *ret_traces);
	/* What is known of one cell; false: nothing. */
	bool (*trace)(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		      struct online_trace *ret);
	/* Is this very value, of that event time, what a read would find? */
	bool (*holds)(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		      int64_t event_time_us, struct str json);
	/* Whether a value of this size would be kept. */
	bool (*fits)(const struct online *t, const struct value *v);
	/* As ONLINE_PUT and ONLINE_DELETE of one row. A reader of several cells sees all of them or none (of groups of
	 * ONLINE_TOGETHER_MAX), but for those that are too large or stale by themselves. When memory is out, none is. */
	void (*change_row)(struct online *t, uint32_t kind, struct str id, struct online_change *changes, size_t n,
			   int64_t now_us);
	enum online_result (*delete_row)(struct online *t, uint32_t kind, struct str id, int64_t event_time_us,
					 uint64_t lsn, int64_t now_us);
	/* The ids of this kind whose value of the feature has an event time before before_us: each is called with one, out
	 * of any lock. Looks at about `budget` rows from *cursor on (0 at first) and moves it. A row that comes, goes or moves
	 * meanwhile may be missed or met twice, one that stays put is met. */
	enum online_walk (*each_older)(struct online *t, uint32_t kind, uint32_t feature, int64_t before_us,
				       uint64_t *cursor, size_t budget, void *arg,
				       void (*each)(void *arg, struct str id));
	/* Frees what has expired in about `budget` rows; the next call goes on from there. One thread also brings its metrics
	 * up to date by this. */
	void (*tidy)(struct online *t, int64_t now_us, size_t budget);
};

/* Who answers. */
struct online_store {
	struct actor_ref per_loop[LOOPS_MAX]; /* by loop_id - 1: whom that loop asks */
	const struct online_fast *fast;       /* NULL: the store is not in this process's memory */
};
