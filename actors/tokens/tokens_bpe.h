/* Byte pair encoding of one piece: starting from its bytes, join the two neighbours whose joined bytes have the lowest
 * rank (the leftmost such pair first) until no pair is a token.
 *
 * A short piece is merged at once, in time that grows with the square of its length. A long one is merged in windows of
 * bounded length, each of which begins at a token boundary of the one before. Two facts make that exact:
 *
 *   1. Merges inside a stretch that no merge has crossed so far are those of the stretch alone, in the same order: the
 *      next merge of the whole is the lowest of all its stretches.
 *   2. Hence a row of tokens is the encoding of its bytes if and only if each two neighbours are the encoding of theirs.
 *      (If: take the first merge that crosses a boundary of the row; by 1. the two tokens at that boundary have been
 *      merged as they would be alone, where the same merge would then cross it too. Only if: no merge crosses.)
 *
 * So tokens found in a window stay when the pair at the seam of two windows passes that test; the last bytes of a window
 * are merged again, since what follows could change them. When a seam fails, the piece is begun again with a window of
 * twice the length; the longest dependency to the right is bounded by the vocabulary, not by the text. */
#pragma once
#include "actors/tokens/tokens_table.h"

#define TOKENS_WINDOW_BYTES 512u /* shortest window; also the longest piece that is merged at once */

/* Rows grow by this; NULL counts only. */
struct tokens_ids {
	uint32_t *p;   /* borrows; room for max */
	size_t n, max; /* n may exceed max: what did not fit is counted only */
};

struct tokens_bpe {
	const struct tokens_table *table; /* borrows */
	const uint8_t *start, *end;       /* the piece; borrows the text */
	const uint8_t *at;                /* first byte that has no final token yet */
	size_t last_bytes;                /* length of the final token before `at`; 0 at the start of the piece */
	size_t window_bytes;
	size_t count; /* final tokens */
};

/* The number of tokens of p[0..n), 1 <= n <= TOKENS_WINDOW_BYTES, by merges alone (no look at the whole piece). */
size_t tokens_bpe_merge(const struct tokens_table *t, const uint8_t *p, size_t n, struct tokens_ids *ids);

/* A longer piece: begin, then step until true; `count` is then its tokens. One step costs one window. */
void tokens_bpe_begin(struct tokens_bpe *b, const struct tokens_table *t, const uint8_t *p, size_t n,
		      size_t window_bytes);
bool tokens_bpe_step(struct tokens_bpe *b, struct tokens_ids *ids);
