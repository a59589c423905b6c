/* The online table of embedded mode: the newest value of each feature of each entity, in memory, shared by
 * all loops.
 *
 * A row is one entity (kind, id), a cell one feature of it. Writes apply by (event time, LSN): an older one
 * never replaces a newer one, in whatever order they come, and a delete leaves a tombstone that refuses what
 * was written before it and what was true before it. What is evicted or swept is forgotten whole, its order too. Every function may be called
 * on any thread; none blocks for longer than another thread holds a stripe, which is never across an
 * allocation or a free. docs/online.md says more. */
#pragma once
#include "store/text/value.h"

struct online;

enum {
	ONLINE_ID_MAX = 1024,      /* bytes of an entity's id */
	ONLINE_CELLS_MAX = 4096,   /* features of one row, tombstones included */
	ONLINE_COPY_MAX = 4096,    /* bytes that online_read_copy copies under a lock */
	ONLINE_TOGETHER_MAX = 256, /* features of a row that are read, or written, at one moment */
};

enum online_flags { /* where a value came from; kept for the reader, not used by the table */
		    ONLINE_COMPUTED = 1 << 0,
		    ONLINE_PUSHED = 1 << 1,
		    ONLINE_MATERIALIZED = 1 << 2,
		    ONLINE_EVENT = 1 << 3,
};

struct online_config {
	size_t bytes_max;          /* rows, values and the index; 0 = 256 MiB; at least 1 MiB */
	unsigned stripes;          /* locks, rounded up to a power of two; 0 = 256 */
	int64_t tombstone_keep_us; /* 0 = 24 hours */
	uint32_t tombstones_max;   /* 0 = one for each 2 KiB of bytes_max; beyond it, some are forgotten early */
};
struct online *online_create(const struct online_config *config); /* NULL: no memory */
void online_destroy(struct online *t);                            /* after every user; readers keep their references */

struct online_meta {
	int64_t event_time_us; /* since 1970, UTC, as all times here */
	uint64_t lsn;
	int64_t written_us;
	int64_t expires_us;     /* 0 = never; from this moment on the cell is not found */
	uint32_t flags;         /* enum online_flags; 8 bits are kept */
	uint16_t event_time_ns; /* of the event time, beyond the microsecond: 0 to 999 */
};

/* ---- reading ---- */
struct online_cell {
	struct value *value; /* one reference, the caller's; NULL when there is none */
	struct online_meta meta;
};
/* false: no such value (any more); *ret then has value NULL. */
bool online_get(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		struct online_cell *ret);
/* Several features of one row, as they are at one moment (groups of ONLINE_TOGETHER_MAX are). Fills ret[0..n); returns how
 * many have a value. */
size_t online_get_many(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n,
		       int64_t now_us, struct online_cell *ret);

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
struct online_key online_key(uint32_t kind, struct str id);
/* What is known of a cell, live or not. false: nothing. */
struct online_trace {
	int64_t event_time_us; /* of its value or of the delete, whichever is newer: a write must be newer than that */
	int64_t cell_time_us;  /* of its value or its own tombstone; INT64_MIN: it has none */
	uint64_t lsn; /* of what last changed it: value, tombstone or the row's; 0: of none that is in the log */
	bool is_known;
	bool is_live;
	bool is_expired; /* there was a value, its time has passed, and it has not been swept yet */
};
bool online_trace(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		  struct online_trace *ret);
/* online_get_many and online_trace at one moment. */
size_t online_see(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n, int64_t now_us,
		  struct online_cell *ret, struct online_trace *ret_traces);
/* Whether the table would keep a value of this size: at most an eighth of it. */
bool online_fits(const struct online *t, const struct value *v);
/* Is this very value, of that event time, what a read would find? */
bool online_holds(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		  int64_t event_time_us, struct str json);
/* A row that nobody read for a while costs two misses of all caches, one after the other: the bucket, then the row. Who has
 * several to read fetches all the buckets, then all the rows, then reads: the misses overlap. */
void online_fetch_bucket(struct online *t, const struct online_key *key);
void online_fetch_row(struct online *t, const struct online_key *key);
/* Copies a small value's JSON text (no NUL) to out without touching its reference count, which other cores
 * share. */
enum online_read online_read_copy(struct online *t, const struct online_key *key, uint32_t feature, int64_t now_us,
				  char *out, size_t cap, size_t *ret_n, struct online_meta *ret_meta);

/* ---- writing ---- */
struct online_write {
	uint32_t kind, feature; /* numbers of the definitions; UINT32_MAX is no feature */
	struct str id;          /* borrows */
	struct value *value;    /* borrows; the table takes a reference of its own */
	struct online_meta meta;
};
enum online_result {
	ONLINE_APPLIED,
	ONLINE_STALE, /* what is there, or a tombstone, is newer. Of equal (event time, LSN) the later call wins */
	ONLINE_FULL,  /* no memory, or the id, the value (an eighth of bytes_max) or the row is too large to keep */
};
enum online_result online_put(struct online *t, const struct online_write *w);
struct online_change {
	uint32_t feature;
	struct value *value;       /* borrows; NULL: there is none from here on, as online_delete_cell */
	struct online_meta meta;   /* of a delete only event time and LSN */
	enum online_result result; /* filled */
};
/* Several features of one row: a reader of several sees all of them or none (of groups of ONLINE_TOGETHER_MAX). */
void online_change_row(struct online *t, uint32_t kind, struct str id, struct online_change *changes, size_t n,
		       int64_t now_us);
/* Removes what was written before it (a smaller LSN, whatever its event time) or was true before it, and
 * remembers that. ONLINE_STALE: the cell, or another delete, is newer in both respects; a row's newer cells
 * stay and make no difference to the result. */
enum online_result online_delete_cell(struct online *t, uint32_t kind, struct str id, uint32_t feature,
				      int64_t event_time_us, uint64_t lsn, int64_t now_us);
enum online_result online_delete_row(struct online *t, uint32_t kind, struct str id, int64_t event_time_us,
				     uint64_t lsn, int64_t now_us);

/* ---- going through all rows ---- */
enum online_walk {
	ONLINE_WALK_MORE,
	ONLINE_WALK_END,
	ONLINE_WALK_NO_MEMORY, /* nothing was called, and the cursor is where it was */
};
/* The ids of this kind whose value of the feature has an event time before before_us: each is called with one, out
 * of any lock. Looks at `budget` buckets, about a row each, from *cursor on (0 at first) and moves it. A row that comes,
 * goes or moves meanwhile may be missed or met twice, one that stays put is met. */
enum online_walk online_each_older(struct online *t, uint32_t kind, uint32_t feature, int64_t before_us,
				   uint64_t *cursor, size_t budget, void *arg, void (*each)(void *arg, struct str id));

/* ---- upkeep ---- */
/* Frees what has expired in the next `budget` buckets, about a row each; the next call goes on from there.
 * Returns the cells freed. An actor calls it now and then with a part of online_round. */
size_t online_sweep(struct online *t, int64_t now_us, size_t budget);
/* The budget that is sure to see every row once. */
size_t online_round(struct online *t);

struct online_stats {
	uint64_t rows, cells, tombstones; /* cells: values, expired ones included until they are swept */
	uint64_t bytes, bytes_max;
	uint64_t hits, misses, puts, stale, full, deletes;
	uint64_t evicted_cells;        /* values lost to the bound */
	uint64_t expired_cells;        /* values and tombstones freed after their time */
	uint64_t tombstones_forgotten; /* before their time: more deletes than tombstones_max */
};
void online_stats(struct online *t, struct online_stats *ret); /* takes each stripe's lock in turn */
/* Brings the metrics fabra_online_* up to date. One thread only: the actor that sweeps. */
void online_publish(struct online *t);
