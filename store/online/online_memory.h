/* The online table of embedded mode: the online store in this process's memory, shared by all loops. Its functions are those of
 * struct online_fast, and for who makes it and looks inside. Every function may be called on any thread. */
#pragma once
#include "store/online/online.h"

enum { ONLINE_CELLS_MAX = 4096 }; /* features of one row, tombstones included */

struct online_config {
	size_t bytes_max;          /* rows, values and the index; 0 = 256 MiB; at least 1 MiB */
	unsigned stripes;          /* locks, rounded up to a power of two; 0 = 256 */
	int64_t tombstone_keep_us; /* 0 = 90 days, which is how long history is kept by default */
	uint32_t tombstones_max;   /* 0 = one for each 2 KiB of bytes_max; beyond it, some are forgotten early */
};
struct online *online_create(const struct online_config *config); /* NULL: no memory */
void online_destroy(struct online *t);                            /* after every user; readers keep their references */

/* What online_store.fast is: borrows t. */
const struct online_fast *online_fast(const struct online *t);
/* Answers the messages of online.h from the table; on any loop, several may. */
struct actor_ref online_spawn(struct online *t, struct loop *loop);

/* ---- reading ---- */
/* false: no such value (any more); *ret then has value NULL. */
bool online_get(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		struct online_cell *ret);
/* Several features of one row, as they are at one moment (groups of ONLINE_TOGETHER_MAX are). Fills ret[0..n); returns how
 * many have a value. */
size_t online_get_many(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n,
		       int64_t now_us, struct online_cell *ret);

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
enum online_result online_put(struct online *t, const struct online_write *w);
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
/* The ids of this kind whose value of the feature has an event time before before_us: each is called with one, out
 * of any lock. Looks at `budget` buckets, about a row each, from *cursor on (0 at first) and moves it. A row that comes,
 * goes or moves meanwhile may be missed or met twice, one that stays put is met. */
enum online_walk online_each_older(struct online *t, uint32_t kind, uint32_t feature, int64_t before_us,
				   uint64_t *cursor, size_t budget, void *arg, void (*each)(void *arg, struct str id));

/* ---- upkeep ---- */
/* Frees what has expired in the next `budget` buckets, about a row each; the next call goes on from there.
 * Returns the cells freed. An actor calls it now and then with a part of online_round. */
size_t online_sweep(struct online *t, int64_t now_us, size_t budget);
/* Of struct online_fast: online_sweep and online_publish. */
void online_tidy(struct online *t, int64_t now_us, size_t budget);
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
