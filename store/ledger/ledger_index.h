/* From a record's id or hash to the place of its frame in one segment.
 *
 * Both names of a record are cut to 64-bit keys: the first bytes of its record_hash, and of the SHA-256 of
 * its id. An entry is a key and a place; whoever reads the frame compares the whole id or hash, so that equal
 * keys do no harm. Keys come from SHA-256, so nobody can prepare many equal ones.
 *
 * The open segment's index is a hash table in memory. A sealed segment has its entries sorted in the file, in
 * blocks of 256, and the first key and the CRC of each block (the "fences") in memory: one pread finds a
 * key. */
#pragma once
#include "store/ledger/ledger_segment.h"

struct ledger_index_entry {
	uint64_t key;
	uint64_t place;
};

/* A place is offset and length in one number, both in units of 8 bytes, so that one pread gets the frame. */
#define LEDGER_SEGMENT_MAX (16ull << 30)
static inline uint64_t ledger_place(uint64_t at, uint64_t frame_bytes)
{
	return at / 8 << 32 | frame_bytes / 8;
}
static inline uint64_t ledger_place_at(uint64_t place)
{
	return (place >> 32) * 8;
}
static inline uint64_t ledger_place_bytes(uint64_t place)
{
	return (place & UINT32_MAX) * 8;
}

struct ledger_index {
	struct ledger_index_entry *slots; /* owned; place 0 = free */
	size_t count, cap;                /* cap: a power of two */
};
void ledger_index_finish(struct ledger_index *x);
bool ledger_index_reserve(struct ledger_index *x, size_t extra); /* room for extra more; false: no memory */
/* The same into another one: *ret is a larger copy, or has no slots when x has room. Others may read x. */
bool ledger_index_grow(const struct ledger_index *x, size_t extra, struct ledger_index *ret);
void ledger_index_add(struct ledger_index *x, uint64_t key, uint64_t place); /* needs reserved room */

enum { LEDGER_HITS_MAX = 16 };
/* Places with this key, LEDGER_HITS_MAX at most. Returns how many. */
size_t ledger_index_find(const struct ledger_index *x, uint64_t key, uint64_t ret_places[static LEDGER_HITS_MAX]);

/* ---- sealed ---- */
enum { LEDGER_INDEX_ENTRY = 16, LEDGER_INDEX_FANOUT = 256 };
/* Bytes that an index of so many entries takes in the file, fences included, whole blocks. */
uint64_t ledger_index_disk_bytes(uint64_t entries);
/* The entries sorted, then the fences, as they stand in the file; appended to out. */
bool ledger_index_write(const struct ledger_index *x, struct buf *out);

struct ledger_fence {
	uint64_t key; /* the first of its block */
	uint32_t crc; /* of the block's entries */
};
struct ledger_fences {
	struct ledger_fence *blocks; /* owned */
	size_t count;
};
/* 0 or a negative errno; -EBADMSG: the fences do not match their CRC. */
int ledger_fences_load(const struct ledger_io *io, int fd, const struct ledger_segment_foot *foot,
		       struct ledger_fences *ret);
void ledger_fences_finish(struct ledger_fences *f);
/* As ledger_index_find, in the file. Returns the count or a negative errno; -EBADMSG: a damaged block. */
int ledger_fences_find(const struct ledger_fences *f, const struct ledger_io *io, int fd,
		       const struct ledger_segment_foot *foot, uint64_t key,
		       uint64_t ret_places[static LEDGER_HITS_MAX]);

uint64_t ledger_key_of_hash(const uint8_t hash[static 32]);
/* The id as text; "ctx_" in front and the case of letters do not matter. */
uint64_t ledger_key_of_id(EVP_MD_CTX *hasher, struct str id);
