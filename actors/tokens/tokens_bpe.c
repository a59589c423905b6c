#include "actors/tokens/tokens_bpe.h"
#include "runtime/check.h"
#include <stdlib.h>

/* The parts of a stretch while it is merged. The part that begins at byte i - 1 is part i; a part that was joined to
 * the one before it is no longer in the list. Parts 0 and n + 1 are the ends of the list and no parts.
 *
 * key[i] is the rank of part i joined with the next one, then i: the least key is the leftmost pair of the lowest rank.
 * least[b] is the least key of block b, so that finding the least of all looks at n / BLOCK keys and not at n. */
struct row {
	uint64_t *key, *least;
	uint32_t *id, *next, *prev;
	uint32_t n;
};

#define BLOCK        16u
#define NO_KEY       ((uint64_t)TOKENS_NO_RANK << 32) /* no pair: this or above */
#define BLOCKS(n)    (((n) + 2 + BLOCK - 1) / BLOCK)
#define ROW_WORDS(n) (BLOCKS(n) * (BLOCK + 1) + 3 * ((n) + 2) / 2 + 1)

static inline uint64_t key_of(uint32_t rank, uint32_t at)
{
	return (uint64_t)rank << 32 | at;
}

static inline uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline void refresh(struct row *row, uint32_t block)
{
	const uint64_t *key = row->key + (size_t)block * BLOCK;
	uint64_t even = key[0], odd = key[1];
	for (unsigned i = 2; i < BLOCK; i += 2) {
		even = lesser(even, key[i]);
		odd = lesser(odd, key[i + 1]);
	}
	row->least[block] = lesser(even, odd);
}

/* `room`: ROW_WORDS(n). */
static inline void row_start(struct row *row, uint64_t *room, const struct tokens_table *t, const uint8_t *p,
			     uint32_t n)
{
	uint32_t blocks = BLOCKS(n);
	row->n = n;
	row->key = room;
	row->least = room + (size_t)blocks * BLOCK;
	row->id = (uint32_t *)(row->least + blocks);
	row->next = row->id + n + 2;
	row->prev = row->next + n + 2;
	for (uint32_t i = 1; i <= n; i++) {
		row->id[i] = t->singles[p[i - 1]];
		row->key[i] = key_of(i < n ? t->pairs[p[i - 1] << 8 | p[i]] : TOKENS_NO_RANK, i);
		row->next[i] = i + 1;
		row->prev[i] = i - 1;
	}
	row->next[0] = 1;
	row->key[0] = NO_KEY;
	for (uint32_t i = n + 1; i < blocks * BLOCK; i++)
		row->key[i] = NO_KEY;
	for (uint32_t block = 0; block < blocks; block++)
		refresh(row, block);
}

/* Returns the number of tokens. */
static inline uint32_t row_merge(struct row *row, const struct tokens_table *t)
{
	const uint32_t blocks = BLOCKS(row->n);
	uint32_t tokens = row->n;
	for (;;) {
		uint64_t least = row->least[0];
		for (uint32_t block = 1; block < blocks; block++)
			least = lesser(least, row->least[block]);
		if (least >= NO_KEY)
			return tokens;
		uint32_t at = (uint32_t)least, joined = row->next[at], after = row->next[joined],
			 before = row->prev[at];
		row->id[at] = (uint32_t)(least >> 32);
		row->next[at] = after;
		row->prev[after] = at;
		row->key[joined] = NO_KEY;
		row->key[at] = after <= row->n ? key_of(tokens_table_merge(t, row->id[at], row->id[after]), at)
					       : NO_KEY;
		if (before > 0)
			row->key[before] = key_of(tokens_table_merge(t, row->id[before], row->id[at]), before);
		refresh(row, at / BLOCK);
		if (joined / BLOCK != at / BLOCK)
			refresh(row, joined / BLOCK);
		if (before / BLOCK != at / BLOCK)
			refresh(row, before / BLOCK);
		tokens--;
	}
}

static inline void emit(struct tokens_ids *ids, uint32_t id)
{
	if (ids->n < ids->max)
		ids->p[ids->n] = id;
	ids->n++;
}

/* Appends the ids of the first `count` tokens; returns the number of bytes they cover. */
static size_t row_take(const struct row *row, size_t count, struct tokens_ids *ids)
{
	uint32_t at = 1;
	for (size_t i = 0; i < count; i++, at = row->next[at])
		if (ids != NULL)
			emit(ids, row->id[at]);
	return at - 1;
}

/* A word: as above with one bit for each part that is left and keys of 32 bits. Half of the time on prose goes
 * here; counting it is 3 to 7 % faster than by rows. */
#define WORD_BYTES 63u
#define WORD_KEYS  64u
#define WORD_NONE  (TOKENS_NO_RANK * WORD_KEYS) /* no pair: this or above */

static inline uint32_t word_least(const uint32_t *key, unsigned n)
{
	uint32_t even = key[0], odd = TOKENS_NO_RANK;
	unsigned i = 1;
	for (; i + 1 < n; i += 2) {
		odd = key[i] < odd ? key[i] : odd;
		even = key[i + 1] < even ? key[i + 1] : even;
	}
	if (i < n && key[i] < odd)
		odd = key[i];
	return even < odd ? even : odd;
}

/* Bit i of the result: a token begins at byte i, and its id is id[i]. 2 <= n <= WORD_BYTES. */
static uint64_t word_merge(const struct tokens_table *t, const uint8_t *p, unsigned n, uint32_t id[WORD_KEYS])
{
	uint32_t key[WORD_KEYS];
	uint64_t starts = (2ull << n) - 1; /* bit n ends the word */
	for (unsigned i = 0; i + 1 < n; i++) {
		id[i] = t->singles[p[i]];
		key[i] = t->pairs[p[i] << 8 | p[i + 1]] * WORD_KEYS + i;
	}
	id[n - 1] = t->singles[p[n - 1]];
	for (uint32_t least; (least = word_least(key, n - 1)) < WORD_NONE;) {
		unsigned at = least % WORD_KEYS;
		uint64_t behind = starts & (~1ull << at), in_front = starts & ((1ull << at) - 1);
		key[__builtin_ctzll(behind)] = TOKENS_NO_RANK;
		starts ^= behind & -behind;
		unsigned after = (unsigned)__builtin_ctzll(behind & (behind - 1));
		id[at] = least / WORD_KEYS;
		key[at] = after < n ? tokens_table_merge(t, id[at], id[after]) * WORD_KEYS + at : TOKENS_NO_RANK;
		if (in_front != 0) {
			unsigned before = 63 - (unsigned)__builtin_clzll(in_front);
			key[before] = tokens_table_merge(t, id[before], id[at]) * WORD_KEYS + before;
		}
	}
	return starts ^ 1ull << n;
}

size_t tokens_bpe_merge(const struct tokens_table *t, const uint8_t *p, size_t n, struct tokens_ids *ids)
{
	CHECK(n >= 1 && n <= TOKENS_WINDOW_BYTES);
	if (n >= 2 && n <= WORD_BYTES) {
		uint32_t id[WORD_KEYS];
		size_t count = 0;
		for (uint64_t left = word_merge(t, p, (unsigned)n, id); left; left &= left - 1, count++)
			if (ids != NULL)
				emit(ids, id[__builtin_ctzll(left)]);
		return count;
	}
	uint64_t room[ROW_WORDS(TOKENS_WINDOW_BYTES)];
	struct row row;
	row_start(&row, room, t, p, (uint32_t)n);
	size_t count = row_merge(&row, t);
	if (ids != NULL)
		row_take(&row, count, ids);
	return count;
}

void tokens_bpe_begin(struct tokens_bpe *b, const struct tokens_table *t, const uint8_t *p, size_t n,
		      size_t window_bytes)
{
	CHECK(n >= 1 && window_bytes >= 4);
	*b = (struct tokens_bpe){ .table = t, .start = p, .end = p + n, .at = p, .window_bytes = window_bytes };
}

/* Whether the last final token and the `n` bytes at b->at stay apart when merged alone. */
static bool seam_holds(const struct tokens_bpe *b, size_t n)
{
	uint64_t room[ROW_WORDS(2 * TOKENS_TOKEN_MAX)];
	struct row row;
	if (b->last_bytes == 0)
		return true;
	row_start(&row, room, b->table, b->at - b->last_bytes, (uint32_t)(b->last_bytes + n));
	return row_merge(&row, b->table) == 2 && row.next[1] == b->last_bytes + 1;
}

static void begin_again(struct tokens_bpe *b, struct tokens_ids *ids)
{
	if (ids != NULL)
		ids->n -= b->count;
	b->at = b->start;
	b->last_bytes = b->count = 0;
	b->window_bytes *= 2;
}

/* Makes the tokens of the window final that end before its last quarter, at least one; all at the end of the piece. */
static void keep(struct tokens_bpe *b, const struct row *row, size_t tokens, bool whole, struct tokens_ids *ids)
{
	size_t count = tokens;
	if (!whole) {
		uint32_t at = row->next[1];
		for (count = 1; at <= row->n && row->next[at] - 1 <= row->n - row->n / 4; at = row->next[at])
			count++;
	}
	size_t covered = row_take(row, count, ids);
	b->count += count;
	b->at += covered;
	b->last_bytes = covered + 1 - row->prev[covered + 1];
}

bool tokens_bpe_step(struct tokens_bpe *b, struct tokens_ids *ids)
{
	uint64_t fixed[ROW_WORDS(TOKENS_WINDOW_BYTES)], *room = fixed;
	size_t left = (size_t)(b->end - b->at), n = left < b->window_bytes ? left : b->window_bytes;
	struct row row;
	if (n > TOKENS_WINDOW_BYTES) {
		CHECK(n < 1u << 31);
		room = malloc(ROW_WORDS(n) * sizeof *room);
		CHECK(room != NULL);
	}
	row_start(&row, room, b->table, b->at, (uint32_t)n);
	size_t tokens = row_merge(&row, b->table);
	if (seam_holds(b, row.next[1] - 1))
		keep(b, &row, tokens, n == left, ids);
	else
		begin_again(b, ids);
	if (room != fixed)
		free(room);
	return b->at == b->end;
}
