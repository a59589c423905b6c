/* The vocabulary of one encoding as a file that is mapped, not parsed.
 *
 * tools/ranks/make_ranks.c writes the file at build time from the published rank list (base64 and rank per line), so
 * that opening costs a map and a checksum. Layout, native byte order, each part aligned to 64 bytes:
 *
 *     header | singles | pairs | filter | merges | buckets | bytes of long tokens
 *
 * Two questions are asked. "Is this whole piece a token?" looks in the buckets. A bucket is one cache line of four
 * slots; a token that finds its bucket full lies in the next one with room, so a lookup stops at the first free slot. A
 * token of at most TOKENS_KEY_MAX bytes is its own key, zero-padded; a longer one is found by a 64-bit hash and then
 * compared byte by byte: the answer is exact for every length.
 *
 * "What do these two neighbours make?" is asked of `pairs` for single bytes and of `merges` for ids. A token can come
 * about in one way only, from the last two parts of its own bytes when they are merged alone (docs/tokens.md), so one
 * entry per token is enough. Most of these lookups are misses. The filter, a Bloom filter with two bits in one word,
 * answers them from the second-level cache, which the merges do not fit in.
 *
 * Tables are immutable: any thread may read them. */
#pragma once
#include "runtime/buf.h"
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TOKENS_KEY_MAX     12u  /* bytes that fit in a slot */
#define TOKENS_TOKEN_MAX   255u /* bytes of the longest token that the format can hold */
#define TOKENS_RANK_BITS   18
#define TOKENS_NO_RANK     UINT32_MAX
#define TOKENS_FILTER_BITS 15 /* log2 of the filter's words */
#define TOKENS_FILE_MAGIC  "FABRANK2"

struct tokens_slot {
	uint64_t a;    /* bytes 0..7, or the hash of a long token */
	uint32_t b;    /* bytes 8..11, or where a long token's bytes begin */
	uint32_t meta; /* length << TOKENS_RANK_BITS | rank; 0: the slot is free */
};

struct tokens_bucket {
	struct tokens_slot slots[4];
} __attribute__((aligned(64)));

struct tokens_file_header {
	char magic[8];
	uint32_t token_count, bucket_bits, merge_bits, token_bytes_max;
	uint64_t singles_at, pairs_at, filter_at, merges_at, buckets_at, bytes_at; /* offsets in the file */
	uint64_t file_bytes;
	uint64_t checksum; /* tokens_table_checksum of all that follows the header */
	char encoding[24];
	uint8_t source_sha256[32]; /* of the rank list it was made from */
	uint8_t pad[48];
};
_Static_assert(sizeof(struct tokens_file_header) % 64 == 0, "the parts behind the header are aligned to 64");

struct tokens_table {
	const struct tokens_file_header *header; /* owned map of the whole file */
	const uint32_t *singles;                 /* [256] rank of each byte */
	const uint32_t *pairs;                   /* [65536] rank of two bytes, index first << 8 | second */
	const uint64_t *filter;                  /* [1 << TOKENS_FILTER_BITS] */
	const uint64_t *merges;                  /* left id, right id, rank, TOKENS_RANK_BITS each; 0: free */
	uint32_t merge_mask;
	uint32_t bucket_mask;
	const struct tokens_bucket *buckets;
	const uint8_t *bytes;
};

/* Maps <folder>/<encoding>.ranks and checks magic, sizes and checksum. 0, or a negative errno with one line in *errors
 * (borrowed) that names the file and the cure. */
int tokens_table_open(struct tokens_table *t, const char *folder, const char *encoding, struct buf *errors);
void tokens_table_close(struct tokens_table *t);

/* Detects damage, not malice. */
uint64_t tokens_table_checksum(const void *p, size_t n);

static inline uint64_t tokens_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The full multiply spreads short keys over all bits; a plain FNV leaves them in clusters and made lookups 80 times
 * slower in a trial. */
static inline uint64_t tokens_key_hash(uint64_t a, uint32_t b, size_t n)
{
	return tokens_fold(a ^ 0x9e3779b97f4a7c15ull, ((uint64_t)b << 8 | n) ^ 0xd1b54a32d192ed03ull);
}

static inline uint64_t tokens_long_hash(const uint8_t *p, size_t n)
{
	uint64_t h = n * 0xff51afd7ed558ccdull, word;
	for (size_t i = 0; i + 8 < n; i += 8) {
		memcpy(&word, p + i, 8);
		h = tokens_fold(h ^ word, 0x9e3779b97f4a7c15ull);
	}
	memcpy(&word, p + n - 8, 8);
	return tokens_fold(h ^ word, 0xc4ceb9fe1a85ec53ull);
}

/* The zero-padded key of n <= TOKENS_KEY_MAX bytes; reads nothing at or behind `end`. The masks keep branches on the
 * length out of the way, since the lengths of words cannot be predicted. */
static inline void tokens_key(const uint8_t *p, size_t n, const uint8_t *end, uint64_t *ret_a, uint32_t *ret_b)
{
	static const uint8_t masks[2 * TOKENS_KEY_MAX] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 };
	uint64_t a, mask_a;
	uint32_t b, mask_b;
	if (__builtin_expect(end - p < (ptrdiff_t)TOKENS_KEY_MAX, 0)) {
		uint8_t copy[TOKENS_KEY_MAX] = { 0 };
		memcpy(copy, p, n);
		memcpy(ret_a, copy, 8);
		memcpy(ret_b, copy + 8, 4);
		return;
	}
	memcpy(&a, p, 8);
	memcpy(&b, p + 8, 4);
	memcpy(&mask_a, masks + TOKENS_KEY_MAX - n, 8);
	memcpy(&mask_b, masks + TOKENS_KEY_MAX - n + 8, 4);
	*ret_a = a & mask_a;
	*ret_b = b & mask_b;
}

/* The bucket that a hash begins at. */
static inline uint32_t tokens_bucket_of(uint64_t hash, uint32_t bucket_mask)
{
	return (uint32_t)(hash >> 20) & bucket_mask;
}

#define TOKENS_RANK_MASK ((1u << TOKENS_RANK_BITS) - 1)

/* For n > TOKENS_KEY_MAX. */
uint32_t tokens_table_find_long(const struct tokens_table *t, const uint8_t *p, size_t n);

/* A look-up in two halves, so that the cache lines of several can be on their way at once. */
struct tokens_lookup {
	const uint8_t *p; /* borrows */
	size_t n;
	uint64_t a;
	uint32_t b, bucket;
};

/* n >= 1; `end` is the end of the readable text. */
static inline void tokens_lookup_begin(struct tokens_lookup *l, const struct tokens_table *t, const uint8_t *p,
				       size_t n, const uint8_t *end)
{
	l->p = p;
	l->n = n;
	if (__builtin_expect(n > TOKENS_KEY_MAX, 0))
		return;
	tokens_key(p, n, end, &l->a, &l->b);
	l->bucket = tokens_bucket_of(tokens_key_hash(l->a, l->b, n), t->bucket_mask);
	__builtin_prefetch(&t->buckets[l->bucket]);
}

#ifdef __SSE2__
/* In each quarter all bits where slot and key are equal; the rank counts as equal. */
static inline __m128i tokens_slot_equal(const struct tokens_slot *s, __m128i key)
{
	const __m128i mask = _mm_set_epi32((int)~TOKENS_RANK_MASK, -1, -1, -1);
	return _mm_cmpeq_epi32(_mm_and_si128(_mm_load_si128((const __m128i *)(const void *)s), mask), key);
}

/* The slot of that short token in a bucket, or NULL. All four are compared at once: in which of them a word lies is not
 * what a branch could predict. */
static inline const struct tokens_slot *tokens_slot_of(const struct tokens_slot s[4], uint64_t a, uint32_t b, size_t n)
{
	__m128i key = _mm_set_epi64x((long long)((uint64_t)n << (32 + TOKENS_RANK_BITS) | b), (long long)a);
	__m128i low = _mm_packs_epi32(tokens_slot_equal(s, key), tokens_slot_equal(s + 1, key));
	__m128i high = _mm_packs_epi32(tokens_slot_equal(s + 2, key), tokens_slot_equal(s + 3, key));
	unsigned equal = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(low, high)); /* four bits for each slot */
	equal &= equal >> 1;
	equal &= equal >> 2 & 0x1111;
	return equal ? s + __builtin_ctz(equal) / 4 : NULL;
}
#else
static inline const struct tokens_slot *tokens_slot_of(const struct tokens_slot s[4], uint64_t a, uint32_t b, size_t n)
{
	for (int i = 0; i < 4; i++)
		if (s[i].a == a && s[i].b == b && s[i].meta >> TOKENS_RANK_BITS == n)
			return s + i;
	return NULL;
}
#endif

/* The rank of the token that is exactly those bytes, or TOKENS_NO_RANK. */
static inline uint32_t tokens_lookup_end(const struct tokens_lookup *l, const struct tokens_table *t)
{
	if (__builtin_expect(l->n > TOKENS_KEY_MAX, 0))
		return tokens_table_find_long(t, l->p, l->n);
	for (uint32_t at = l->bucket;; at = (at + 1) & t->bucket_mask) {
		const struct tokens_slot *slots = t->buckets[at].slots, *slot = tokens_slot_of(slots, l->a, l->b, l->n);
		if (slot != NULL)
			return slot->meta & TOKENS_RANK_MASK;
		if (slots[3].meta == 0) /* the bucket has room */
			return TOKENS_NO_RANK;
	}
}

static inline uint32_t tokens_table_find(const struct tokens_table *t, const uint8_t *p, size_t n, const uint8_t *end)
{
	struct tokens_lookup l;
	tokens_lookup_begin(&l, t, p, n, end);
	return tokens_lookup_end(&l, t);
}

/* The top bits of the hash choose the word of the filter and the slot of the merge. */
static inline uint64_t tokens_merge_hash(uint32_t left, uint32_t right)
{
	return tokens_fold(((uint64_t)left << TOKENS_RANK_BITS | right) ^ 0x9e3779b97f4a7c15ull, 0xd1b54a32d192ed03ull);
}

static inline uint64_t tokens_filter_bits(uint64_t hash)
{
	return 1ull << (hash & 63) | 1ull << (hash >> 6 & 63);
}

/* The rank of the token that two neighbouring tokens make, or TOKENS_NO_RANK. */
static inline uint32_t tokens_table_merge(const struct tokens_table *t, uint32_t left, uint32_t right)
{
	uint64_t hash = tokens_merge_hash(left, right), bits = tokens_filter_bits(hash);
	if ((t->filter[hash >> (64 - TOKENS_FILTER_BITS)] & bits) != bits)
		return TOKENS_NO_RANK;
	uint64_t key = (uint64_t)left << TOKENS_RANK_BITS | right;
	for (uint32_t at = (uint32_t)(hash >> 32) & t->merge_mask;; at = (at + 1) & t->merge_mask) {
		uint64_t merge = t->merges[at];
		if (merge >> TOKENS_RANK_BITS == key)
			return (uint32_t)merge & TOKENS_RANK_MASK;
		if (merge == 0)
			return TOKENS_NO_RANK;
	}
}
