#include "actors/tokens_bpe.h"
#include "runtime/check.h"
#include <stdlib.h>

/* The parts of a stretch while it is merged. rank[i] is that of parts i and i + 1 joined. */
struct parts {
	uint32_t *rank, *id;
	uint32_t *at; /* where part i begins; at[n] is the length of the stretch */
	size_t n;
};

#define PARTS_WORDS(bytes) (3 * ((bytes) + 1))

static inline void parts_place(struct parts *parts, uint32_t *room, size_t bytes)
{
	parts->rank = room;
	parts->id = room + bytes + 1;
	parts->at = room + 2 * (bytes + 1);
}

static void parts_start(struct parts *parts, const struct tokens_table *t, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		parts->at[i] = (uint32_t)i;
		parts->id[i] = t->singles[p[i]];
		parts->rank[i] = i + 1 < n ? t->pairs[p[i] << 8 | p[i + 1]] : TOKENS_NO_RANK;
	}
	parts->at[n] = (uint32_t)n;
	parts->n = n;
}

static inline size_t lowest(const uint32_t *rank, size_t n)
{
	uint32_t best_rank = rank[0];
	size_t best = 0;
	for (size_t i = 1; i < n; i++)
		if (rank[i] < best_rank) {
			best_rank = rank[i];
			best = i;
		}
	return best;
}

static inline uint32_t joined_rank(const struct parts *parts, const struct tokens_table *t, const uint8_t *p, size_t i,
				   const uint8_t *end)
{
	if (i + 2 > parts->n)
		return TOKENS_NO_RANK;
	return tokens_table_find(t, p + parts->at[i], parts->at[i + 2] - parts->at[i], end);
}

static void merge(struct parts *parts, const struct tokens_table *t, const uint8_t *p, size_t n, const uint8_t *end)
{
	parts_start(parts, t, p, n);
	while (parts->n > 1) {
		size_t i = lowest(parts->rank, parts->n - 1);
		if (parts->rank[i] == TOKENS_NO_RANK)
			return;
		size_t behind = parts->n - i - 2;
		parts->id[i] = parts->rank[i];
		memmove(parts->rank + i + 1, parts->rank + i + 2, behind * sizeof(uint32_t));
		memmove(parts->id + i + 1, parts->id + i + 2, behind * sizeof(uint32_t));
		memmove(parts->at + i + 1, parts->at + i + 2, (behind + 1) * sizeof(uint32_t));
		parts->n--;
		parts->rank[i] = joined_rank(parts, t, p, i, end);
		if (i > 0)
			parts->rank[i - 1] = joined_rank(parts, t, p, i - 1, end);
	}
}

static void emit(struct tokens_ids *ids, const uint32_t *id, size_t n)
{
	if (ids == NULL)
		return;
	for (size_t i = 0; i < n; i++, ids->n++)
		if (ids->n < ids->max)
			ids->p[ids->n] = id[i];
}

size_t tokens_bpe_merge(const struct tokens_table *t, const uint8_t *p, size_t n, const uint8_t *end,
			struct tokens_ids *ids)
{
	uint32_t room[PARTS_WORDS(TOKENS_WINDOW_BYTES)];
	struct parts parts;
	CHECK(n >= 1 && n <= TOKENS_WINDOW_BYTES);
	parts_place(&parts, room, n);
	merge(&parts, t, p, n, end);
	emit(ids, parts.id, parts.n);
	return parts.n;
}

void tokens_bpe_begin(struct tokens_bpe *b, const struct tokens_table *t, const uint8_t *p, size_t n, size_t window_bytes)
{
	CHECK(n >= 1 && window_bytes >= 4);
	*b = (struct tokens_bpe){ .table = t, .start = p, .end = p + n, .at = p, .window_bytes = window_bytes };
}

/* Whether the last final token and the `n` bytes at b->at stay apart when merged alone. */
static bool seam_holds(const struct tokens_bpe *b, size_t n)
{
	uint32_t room[PARTS_WORDS(2 * TOKENS_TOKEN_MAX)];
	struct parts parts;
	if (b->last_bytes == 0)
		return true;
	parts_place(&parts, room, b->last_bytes + n);
	merge(&parts, b->table, b->at - b->last_bytes, b->last_bytes + n, b->end);
	return parts.n == 2 && parts.at[1] == b->last_bytes;
}

static void begin_again(struct tokens_bpe *b, struct tokens_ids *ids)
{
	if (ids != NULL)
		ids->n -= b->count;
	b->at = b->start;
	b->last_bytes = b->count = 0;
	b->window_bytes *= 2;
}

/* How many tokens of the window are kept: those that end before its last quarter, or all at the end of the piece. */
static size_t kept(const struct parts *parts, size_t n, bool whole)
{
	size_t keep = parts->n;
	if (!whole)
		while (keep > 1 && parts->at[keep] > n - n / 4)
			keep--;
	return keep;
}

bool tokens_bpe_step(struct tokens_bpe *b, struct tokens_ids *ids)
{
	uint32_t fixed[PARTS_WORDS(TOKENS_WINDOW_BYTES)], *room = fixed;
	size_t left = (size_t)(b->end - b->at), n = left < b->window_bytes ? left : b->window_bytes;
	if (n > TOKENS_WINDOW_BYTES) {
		room = malloc(PARTS_WORDS(n) * sizeof *room);
		CHECK(room != NULL);
	}
	struct parts parts;
	parts_place(&parts, room, n);
	merge(&parts, b->table, b->at, n, b->end);
	if (seam_holds(b, parts.at[1])) {
		size_t keep = kept(&parts, n, n == left);
		emit(ids, parts.id, keep);
		b->count += keep;
		b->at += parts.at[keep];
		b->last_bytes = parts.at[keep] - parts.at[keep - 1];
	} else {
		begin_again(b, ids);
	}
	if (room != fixed)
		free(room);
	return b->at == b->end;
}
