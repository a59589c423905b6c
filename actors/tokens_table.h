/* The vocabulary of one encoding as a file that is mapped, not parsed: bytes of a token -> its rank.
 *
 * tools/ranks/make_ranks.c writes the file at build time from the published rank list (base64 and rank per line), so
 * that opening costs a map and a checksum. Layout, native byte order, each part aligned to 64 bytes:
 *
 *     header | rank of each single byte | rank of each pair of bytes | buckets | bytes of the tokens above 12 bytes
 *
 * A bucket is one cache line of four slots. A token that finds its bucket full lies in the next one with room; a lookup
 * therefore stops at the first free slot. A token of at most TOKENS_KEY_MAX bytes is its own key, zero-padded; a longer
 * one is found by a 64-bit hash and then compared byte by byte, so the answer is exact for every length.
 *
 * Tables are immutable: any thread may read them. */
#pragma once
#include "runtime/buf.h"
#include <stdint.h>

#define TOKENS_KEY_MAX    12u                   /* bytes that fit in a slot */
#define TOKENS_TOKEN_MAX  255u                  /* bytes of the longest token that the format can hold */
#define TOKENS_RANK_BITS  18
#define TOKENS_NO_RANK    UINT32_MAX
#define TOKENS_FILE_MAGIC "FABRANK1"

struct tokens_slot {
	uint64_t a; /* bytes 0..7, or the hash of a long token */
	uint32_t b; /* bytes 8..11, or where a long token's bytes begin */
	uint32_t meta; /* length << TOKENS_RANK_BITS | rank; 0: the slot is free */
};

struct tokens_bucket {
	struct tokens_slot slots[4];
} __attribute__((aligned(64)));

struct tokens_file_header {
	char magic[8];
	uint32_t token_count, bucket_bits, token_bytes_max, reserved;
	uint64_t singles_at, pairs_at, buckets_at, bytes_at; /* offsets in the file */
	uint64_t file_bytes;
	uint64_t checksum; /* tokens_table_checksum of all that follows the header */
	char encoding[24];
	uint8_t source_sha256[32]; /* of the rank list it was made from */
};
_Static_assert(sizeof(struct tokens_file_header) % 64 == 0, "the parts behind the header are aligned to 64");

struct tokens_table {
	const struct tokens_file_header *header; /* owned map of the whole file */
	const uint32_t *singles;                 /* [256] */
	const uint32_t *pairs;                   /* [65536], index first << 8 | second */
	const struct tokens_bucket *buckets;
	uint32_t bucket_mask;
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

/* The zero-padded key of n <= TOKENS_KEY_MAX bytes; reads nothing at or behind `end`. */
static inline void tokens_key(const uint8_t *p, size_t n, const uint8_t *end, uint64_t *ret_a, uint32_t *ret_b)
{
	*ret_b = 0;
	if (n >= 8) {
		memcpy(ret_a, p, 8);
		if (n > 8) {
			uint32_t tail;
			memcpy(&tail, p + n - 4, 4);
			*ret_b = tail >> (32 - 8 * (n - 8)) ;
		}
	} else if (end - p >= 8) {
		memcpy(ret_a, p, 8);
		*ret_a &= (1ull << 8 * n) - 1;
	} else {
		*ret_a = 0;
		memcpy(ret_a, p, n);
	}
}

static inline uint32_t tokens_table_find_long(const struct tokens_table *t, const uint8_t *p, size_t n)
{
	uint64_t a = tokens_long_hash(p, n);
	for (uint32_t at = (uint32_t)(a >> 32) & t->bucket_mask;; at = (at + 1) & t->bucket_mask)
		for (const struct tokens_slot *s = t->buckets[at].slots, *stop = s + 4; s < stop; s++) {
			if (s->a == a && s->meta >> TOKENS_RANK_BITS == n && memcmp(t->bytes + s->b, p, n) == 0)
				return s->meta & ((1u << TOKENS_RANK_BITS) - 1);
			if (s->meta == 0)
				return TOKENS_NO_RANK;
		}
}

/* The rank of the token that is exactly p[0..n), n >= 1, or TOKENS_NO_RANK. `end` is the end of the readable text. */
static inline uint32_t tokens_table_find(const struct tokens_table *t, const uint8_t *p, size_t n, const uint8_t *end)
{
	if (n == 1)
		return t->singles[p[0]];
	if (n == 2)
		return t->pairs[p[0] << 8 | p[1]];
	if (n > TOKENS_KEY_MAX)
		return n > t->header->token_bytes_max ? TOKENS_NO_RANK : tokens_table_find_long(t, p, n);
	uint64_t a;
	uint32_t b;
	tokens_key(p, n, end, &a, &b);
	for (uint32_t at = (uint32_t)(tokens_key_hash(a, b, n) >> 32) & t->bucket_mask;; at = (at + 1) & t->bucket_mask)
		for (const struct tokens_slot *s = t->buckets[at].slots, *stop = s + 4; s < stop; s++) {
			if (s->a == a && s->b == b && s->meta >> TOKENS_RANK_BITS == n)
				return s->meta & ((1u << TOKENS_RANK_BITS) - 1);
			if (s->meta == 0)
				return TOKENS_NO_RANK;
		}
}
