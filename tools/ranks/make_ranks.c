/* Turns a published rank list ("base64 rank" per line) into the table that actors/tokens/tokens_table.h describes. Run by the
 * build: make_ranks ENCODING SHA256 INPUT OUTPUT. The list is refused unless it is the one that the encoding names. */
#include "actors/tokens/tokens_table.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct token {
	uint8_t bytes[TOKENS_TOKEN_MAX];
	uint32_t n;
};

struct image {
	struct tokens_file_header *header; /* owned; the file that grows up */
	uint64_t *filter, *merges;
	struct tokens_bucket *buckets;
	uint8_t *bytes;
	uint64_t bytes_n;
};

static void fail(const char *what, const char *path)
{
	fprintf(stderr, "make_ranks: %s: %s; run ./tools/setup to fetch the rank lists again\n", path, what);
	exit(1);
}

static char *read_file(const char *path, size_t *ret_n)
{
	FILE *f = fopen(path, "rb");
	if (f == NULL)
		fail("cannot be opened", path);
	size_t cap = 16u << 20;
	char *p = malloc(cap);
	if (p == NULL)
		fail("does not fit in memory", path);
	*ret_n = fread(p, 1, cap - 1, f);
	if (ferror(f) || !feof(f))
		fail("cannot be read, or is too long", path);
	fclose(f);
	p[*ret_n] = 0;
	return p;
}

static void check_sha256(const char *text, size_t n, const char *expected_hex, uint8_t ret_digest[32], const char *path)
{
	unsigned int digest_n;
	char hex[65];
	if (EVP_Digest(text, n, ret_digest, &digest_n, EVP_sha256(), NULL) != 1 || digest_n != 32)
		fail("SHA-256 is not available", path);
	for (size_t i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", ret_digest[i]);
	if (strcmp(hex, expected_hex) != 0)
		fail("is not the published list (its SHA-256 differs)", path);
}

/* "base64 rank\n": fills tokens[rank]. Returns the number of lines. */
static uint32_t parse(char *text, struct token *tokens, const char *path)
{
	uint32_t count = 0;
	for (char *line = text, *next; *line; line = next, count++) {
		next = strchr(line, '\n');
		char *space = strchr(line, ' ');
		if (next == NULL || space == NULL || space > next)
			fail("has a line that is not \"base64 rank\"", path);
		*space = *next++ = 0;
		unsigned long rank = strtoul(space + 1, NULL, 10);
		size_t encoded_n = (size_t)(space - line);
		uint8_t decoded[TOKENS_TOKEN_MAX + 3];
		if (rank >= 1u << TOKENS_RANK_BITS || tokens[rank].n != 0 || encoded_n % 4 != 0 || encoded_n == 0 ||
		    encoded_n / 4 * 3 > sizeof decoded)
			fail("has a rank or token that the table cannot hold", path);
		int n = EVP_DecodeBlock(decoded, (const unsigned char *)line, (int)encoded_n);
		n -= (space[-1] == '=') + (space[-2] == '=');
		if (n <= 0 || n > (int)TOKENS_TOKEN_MAX)
			fail("has a token that is not base64", path);
		memcpy(tokens[rank].bytes, decoded, (size_t)n);
		tokens[rank].n = (uint32_t)n;
	}
	return count;
}

static struct image image_create(uint32_t count, uint64_t long_bytes)
{
	/* At most half full: a miss then rarely walks past its own bucket. */
	uint32_t bucket_bits = 1, merge_bits = 1;
	while ((2ull << bucket_bits) < count)
		bucket_bits++;
	while ((1ull << merge_bits) / 5 * 4 < count)
		merge_bits++;
	struct tokens_file_header h = { .token_count = count, .bucket_bits = bucket_bits, .merge_bits = merge_bits };
	memcpy(h.magic, TOKENS_FILE_MAGIC, sizeof h.magic);
	h.singles_at = sizeof h;
	h.pairs_at = h.singles_at + 4 * 256;
	h.filter_at = h.pairs_at + 4 * 65536;
	h.merges_at = h.filter_at + (8ull << TOKENS_FILTER_BITS);
	h.buckets_at = h.merges_at + (8ull << merge_bits);
	h.bytes_at = h.buckets_at + (sizeof(struct tokens_bucket) << bucket_bits);
	h.file_bytes = (h.bytes_at + long_bytes + 63) / 64 * 64;
	char *p = aligned_alloc(64, h.file_bytes);
	if (p == NULL)
		abort();
	memset(p, 0, h.file_bytes);
	memset(p + h.singles_at, 0xff, h.filter_at - h.singles_at);
	memcpy(p, &h, sizeof h);
	return (struct image){ .header = (struct tokens_file_header *)(void *)p,
			       .filter = (uint64_t *)(void *)(p + h.filter_at),
			       .merges = (uint64_t *)(void *)(p + h.merges_at),
			       .buckets = (struct tokens_bucket *)(void *)(p + h.buckets_at),
			       .bytes = (uint8_t *)p + h.bytes_at };
}

static void image_add(struct image *image, const struct token *token, uint32_t rank)
{
	struct tokens_slot slot = { .meta = token->n << TOKENS_RANK_BITS | rank };
	uint64_t hash;
	if (token->n <= TOKENS_KEY_MAX) {
		tokens_key(token->bytes, token->n, token->bytes + token->n, &slot.a, &slot.b);
		hash = tokens_key_hash(slot.a, slot.b, token->n);
	} else {
		slot.a = hash = tokens_long_hash(token->bytes, token->n);
		slot.b = (uint32_t)image->bytes_n;
		memcpy(image->bytes + image->bytes_n, token->bytes, token->n);
		image->bytes_n += token->n;
	}
	uint32_t mask = (1u << image->header->bucket_bits) - 1;
	for (uint32_t at = tokens_bucket_of(hash, mask);; at = (at + 1) & mask)
		for (int i = 0; i < 4; i++)
			if (image->buckets[at].slots[i].meta == 0) {
				image->buckets[at].slots[i] = slot;
				return;
			}
}

/* Merges a token's bytes alone, by looking up bytes, up to its last two parts: the one way in which it can come about.
 * A token whose parts do not get that far is never made by merging. */
static void image_add_merge(struct image *image, const struct tokens_table *t, const struct token *token, uint32_t rank)
{
	uint32_t at[TOKENS_TOKEN_MAX + 1], n = token->n;
	const uint8_t *p = token->bytes, *end = p + sizeof token->bytes;
	for (uint32_t i = 0; i <= n; i++)
		at[i] = i;
	while (n > 2) {
		uint32_t best = TOKENS_NO_RANK, best_at = 0;
		for (uint32_t i = 0; i + 2 <= n; i++) {
			uint32_t joined = tokens_table_find(t, p + at[i], at[i + 2] - at[i], end);
			if (joined < best) {
				best = joined;
				best_at = i;
			}
		}
		if (best == TOKENS_NO_RANK)
			return;
		memmove(at + best_at + 1, at + best_at + 2, (n - best_at - 1) * sizeof at[0]);
		n--;
	}
	uint32_t left = tokens_table_find(t, p, at[1], end),
		 right = tokens_table_find(t, p + at[1], at[2] - at[1], end);
	uint64_t hash = tokens_merge_hash(left, right);
	uint32_t mask = (1u << image->header->merge_bits) - 1, slot = (uint32_t)(hash >> 32) & mask;
	image->filter[hash >> (64 - TOKENS_FILTER_BITS)] |= tokens_filter_bits(hash);
	while (image->merges[slot] != 0)
		slot = (slot + 1) & mask;
	image->merges[slot] = ((uint64_t)left << TOKENS_RANK_BITS | right) << TOKENS_RANK_BITS | rank;
}

static void image_fill(struct image *image, const struct token *tokens, const char *path)
{
	struct tokens_file_header *h = image->header;
	uint32_t *singles = (uint32_t *)(void *)((char *)h + h->singles_at);
	uint32_t *pairs = (uint32_t *)(void *)((char *)h + h->pairs_at);
	/* In order of rank: the most frequent tokens lie in their first slot. */
	for (uint32_t rank = 0; rank < 1u << TOKENS_RANK_BITS; rank++) {
		const struct token *token = &tokens[rank];
		if (token->n == 1)
			singles[token->bytes[0]] = rank;
		if (token->n == 2)
			pairs[token->bytes[0] << 8 | token->bytes[1]] = rank;
		if (token->n > 0)
			image_add(image, token, rank);
	}
	for (int byte = 0; byte < 256; byte++)
		if (singles[byte] == TOKENS_NO_RANK)
			fail("has no token for some single byte", path);
	struct tokens_table t = {
		.header = h, .buckets = image->buckets, .bucket_mask = (1u << h->bucket_bits) - 1, .bytes = image->bytes
	};
	for (uint32_t rank = 0; rank < 1u << TOKENS_RANK_BITS; rank++)
		if (tokens[rank].n >= 2)
			image_add_merge(image, &t, &tokens[rank], rank);
}

static void write_file(const struct image *image, const char *path)
{
	char temporary[4096];
	snprintf(temporary, sizeof temporary, "%s.part", path);
	FILE *f = fopen(temporary, "wb");
	if (f == NULL || fwrite(image->header, 1, image->header->file_bytes, f) != image->header->file_bytes ||
	    fclose(f) != 0 || rename(temporary, path) != 0) {
		perror(path);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: make_ranks ENCODING SHA256 INPUT OUTPUT\n");
		return 2;
	}
	const char *encoding = argv[1], *input = argv[3];
	uint8_t digest[32];
	size_t n;
	char *text = read_file(input, &n);
	check_sha256(text, n, argv[2], digest, input);
	struct token *tokens = calloc(1u << TOKENS_RANK_BITS, sizeof *tokens);
	if (tokens == NULL)
		abort();
	uint32_t count = parse(text, tokens, input), longest = 0;
	uint64_t long_bytes = 0;
	for (uint32_t rank = 0; rank < 1u << TOKENS_RANK_BITS; rank++) {
		longest = tokens[rank].n > longest ? tokens[rank].n : longest;
		long_bytes += tokens[rank].n > TOKENS_KEY_MAX ? tokens[rank].n : 0;
	}
	struct image image = image_create(count, long_bytes);
	struct tokens_file_header *h = image.header;
	h->token_bytes_max = longest;
	image_fill(&image, tokens, input);
	memcpy(h->source_sha256, digest, sizeof digest);
	snprintf(h->encoding, sizeof h->encoding, "%s", encoding);
	h->checksum = tokens_table_checksum(h + 1, h->file_bytes - sizeof *h);
	write_file(&image, argv[4]);
	free(h);
	free(tokens);
	free(text);
	return 0;
}
