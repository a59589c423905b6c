/* What online.c (reads and writes) and online_reclaim.c (eviction, expiry) share: the stripes, their buckets
 * and counts.
 *
 * A stripe is a hash table of its own behind a lock. It grows by linear hashing (Litwin 1980): one bucket is
 * split for one row that comes, so the index is as small as its rows are few and is never rehashed under a
 * lock. The room for all the buckets that bytes_max can need is reserved at start; what is not used yet is
 * not in memory. Rows are linked and unlinked under the lock and freed after it. */
#pragma once
#include "runtime/buf.h"
#include "store/online/online_row.h"
#include <pthread.h>

/* CHUNK: buckets that a hand looks at under one lock. */
enum { CHUNK = 16, STRIPE_BUCKETS_MIN = 16 };

struct stripe {
	_Alignas(64) pthread_mutex_t lock;
	struct row **buckets;        /* borrows a part of the table's */
	uint32_t len, mask;          /* buckets in use; the smallest 2^n - 1 not below len */
	uint32_t evict_at, sweep_at; /* hands */
	uint64_t hits, misses, rows, cells;
	uint64_t puts, stale, deletes, evicted_cells, expired_cells;
	uint64_t forgotten; /* values evicted and tombstones forgotten early */
};

struct online {
	struct row **buckets; /* owned, with their rows */
	struct stripe *stripes;
	size_t stripes_len, stripe_buckets_max; /* powers of two */
	unsigned stripe_bits;
	size_t bytes_base; /* of the index at its largest */
	size_t bytes_max;  /* of rows and values */
	int64_t tombstone_keep_us;
	uint32_t tombstones_max;
	struct online_fast fast;       /* its table is this one */
	struct online_stats published; /* the publisher's: what the metrics have seen */
	/* Written by all threads, but not by reads. */
	_Alignas(64) atomic_size_t bytes; /* of rows and values, reserved before they are linked */
	atomic_size_t evict_stripe, sweep_stripe;
	atomic_uint_fast64_t tombstones, tombstones_forgotten, full;
	atomic_bool has_lost; /* values were evicted, or not kept */
};

/* Takes n bytes of the bound, evicting what is cold. false: they cannot be had. now_us tells what has
 * expired. */
bool online_reserve(struct online *t, size_t n, int64_t now_us);
static inline void online_release(struct online *t, size_t n)
{
	if (n)
		atomic_fetch_sub_explicit(&t->bytes, n, memory_order_relaxed);
}
/* Forgets tombstones until there are no more than allowed. */
void online_trim_tombstones(struct online *t);
