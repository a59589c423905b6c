/* What online.c (reads and writes) and online_reclaim.c (eviction, expiry) share: the buckets, stripes and counts.
 *
 * The number of buckets is fixed by bytes_max, so nothing is ever rehashed under a lock. Neighbouring buckets belong to
 * one stripe. Rows are linked and unlinked under their stripe's lock and freed after it. */
#pragma once
#include "store/online_row.h"
#include <pthread.h>

/* Buckets that a hand looks at under one lock. */
enum { CHUNK = 16 };

struct stripe {
	_Alignas(64) pthread_mutex_t lock;
	uint64_t rows, cells;
	uint64_t hits, misses, puts, stale, deletes, evicted_cells, expired_cells;
};

struct online {
	struct row **buckets; /* owned, with their rows */
	struct stripe *stripes;
	size_t buckets_len, bytes_base; /* powers of two; bytes of the index */
	unsigned stripe_shift;          /* bucket >> stripe_shift is its stripe */
	size_t bytes_max;
	int64_t tombstone_keep_us;
	uint32_t tombstones_max;
	/* Written by all threads, but not by reads. */
	_Alignas(64) atomic_size_t bytes; /* of rows and values, reserved before they are linked */
	atomic_size_t evict_hand, sweep_hand;
	atomic_uint_fast64_t tombstones, tombstones_forgotten, full;
};

static inline struct stripe *online_stripe(struct online *t, size_t bucket)
{
	return &t->stripes[bucket >> t->stripe_shift];
}

/* Takes n bytes of the bound, evicting what is cold. false: they cannot be had. now_us tells what has expired. */
bool online_reserve(struct online *t, size_t n, int64_t now_us);
static inline void online_release(struct online *t, size_t n)
{
	atomic_fetch_sub_explicit(&t->bytes, n, memory_order_relaxed);
}
/* Forgets tombstones until there are no more than allowed. */
void online_trim_tombstones(struct online *t);
