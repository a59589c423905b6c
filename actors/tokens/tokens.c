#include "actors/tokens/tokens.h"
#include "runtime/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A name stands for itself and for what follows it; the first match decides. */
static const struct {
	struct str prefix;
	enum tokens_encoding encoding;
} models[] = {
	{ { "gpt-4o", 6 }, TOKENS_O200K },
	{ { "gpt-4.1", 7 }, TOKENS_O200K },
	{ { "gpt-4.5", 7 }, TOKENS_O200K },
	{ { "gpt-4", 5 }, TOKENS_CL100K },
	{ { "gpt-3.5", 7 }, TOKENS_CL100K },
	{ { "gpt-35", 6 }, TOKENS_CL100K },
	{ { "text-embedding-", 15 }, TOKENS_CL100K },
	{ { "davinci-002", 11 }, TOKENS_CL100K },
	{ { "babbage-002", 11 }, TOKENS_CL100K },
};

enum tokens_encoding tokens_encoding_of(struct str model)
{
	if (str_starts(model, STR("ft:"))) /* a fine-tuned model is named by its base model */
		model = str_skip(model, 3);
	for (size_t i = 0; i < ARRAY_LEN(models); i++)
		if (str_starts(model, models[i].prefix))
			return models[i].encoding;
	return TOKENS_O200K;
}

const char *tokens_encoding_name(enum tokens_encoding encoding)
{
	switch (encoding) {
	case TOKENS_O200K:
		return "o200k_base";
	case TOKENS_CL100K:
		return "cl100k_base";
	}
	UNREACHABLE();
}

/* An installed tree may be moved, so that its program looks from its own place, and never into the build tree. A path that
 * does not fit is cut: the table is then not there, and the message has the path. */
static void find_data(char *ret, size_t size)
{
	static const char build_dir[] = FABRA_BUILD_DIR "/";
	const char *folder = getenv("FABRA_DATA_DIR");
	if (folder && *folder) {
		snprintf(ret, size, "%s", folder);
		return;
	}
	char program[4096];
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
	program[n > 0 ? n : 0] = '\0';
	char *name = strrchr(program, '/');
	if (name == NULL || strncmp(program, build_dir, sizeof build_dir - 1) == 0) {
		snprintf(ret, size, "%sdata", build_dir);
		return;
	}
	const char *rest = FABRA_BIN_TO_DATA;
	for (*name = '\0'; strncmp(rest, "../", 3) == 0 && (name = strrchr(program, '/')) != NULL; rest += 3)
		*name = '\0';
	snprintf(ret, size, "%s/%s", program, rest);
}

int tokens_open(struct tokens *t, enum tokens_encoding encoding, const char *folder, struct buf *errors)
{
	struct tokens opened = { .encoding = encoding,
				 .rules = encoding == TOKENS_O200K ? TOKENS_RULES_CASED : TOKENS_RULES_PLAIN };
	char found[4096 + sizeof FABRA_BIN_TO_DATA];
	find_data(found, sizeof found);
	int error = tokens_table_open(&opened.table, folder ? folder : found, tokens_encoding_name(encoding), errors);
	if (error < 0)
		return error;
	tokens_split_prepare();
	*t = opened;
	return 0;
}

void tokens_close(struct tokens *t)
{
	tokens_table_close(&t->table);
}

/* What short pieces that are no token came to: words recur, and a merge costs twenty times a look here. One thread's
 * own, so that no lock is needed; any entry may be replaced at any time. */
#define MEMO_BITS 14
struct memo {
	uint64_t a; /* the piece, as in a slot of the table */
	uint32_t b;
	uint8_t n, encoding, count, pad;
};
static _Thread_local struct memo memos[1 << MEMO_BITS];

static size_t merge_short(const struct tokens *t, const struct tokens_lookup *l)
{
	struct memo *known = &memos[tokens_key_hash(l->a, l->b, l->n) >> (64 - MEMO_BITS)];
	if (known->a == l->a && known->b == l->b && known->n == l->n && known->encoding == t->encoding)
		return known->count;
	size_t count = tokens_bpe_merge(&t->table, l->p, l->n, NULL);
	*known = (struct memo){
		.a = l->a, .b = l->b, .n = (uint8_t)l->n, .encoding = (uint8_t)t->encoding, .count = (uint8_t)count
	};
	return count;
}

static size_t merge_any(const struct tokens *t, const struct tokens_lookup *l, struct tokens_ids *ids)
{
	if (l->n <= TOKENS_KEY_MAX && ids == NULL)
		return merge_short(t, l);
	if (l->n <= TOKENS_WINDOW_BYTES)
		return tokens_bpe_merge(&t->table, l->p, l->n, ids);
	struct tokens_bpe b;
	tokens_bpe_begin(&b, &t->table, l->p, l->n, TOKENS_WINDOW_BYTES);
	while (!tokens_bpe_step(&b, ids))
		;
	return b.count;
}

/* Most pieces are one token, so that is tried first, as the reference does. */
static inline size_t piece(const struct tokens *t, const struct tokens_lookup *l, struct tokens_ids *ids)
{
	uint32_t rank = tokens_lookup_end(l, &t->table);
	if (rank == TOKENS_NO_RANK)
		return merge_any(t, l, ids);
	if (ids != NULL) {
		if (ids->n < ids->max)
			ids->p[ids->n] = rank;
		ids->n++;
	}
	return 1;
}

size_t tokens_piece(const struct tokens *t, const uint8_t *p, size_t n, const uint8_t *end, struct tokens_ids *ids)
{
	struct tokens_lookup l;
	tokens_lookup_begin(&l, &t->table, p, n, end);
	return piece(t, &l, ids);
}

/* Pieces whose table lines are fetched together, at least. */
#define BATCH 16

#define BATCH_MAX (BATCH + 63)

/* Returns the number of pieces; *at moves to the end of the last. */
static inline unsigned fill(struct tokens_lookup batch[BATCH_MAX], const struct tokens *t, const uint8_t **at,
			    const uint8_t *end)
{
	const uint8_t *p = *at, *next;
	unsigned n = 0;
	while (n < BATCH && p < end) {
		const uint8_t *from = p;
		uint64_t ends = tokens_split_ends(t->rules, p, end);
		if (ends == 0) {
			next = tokens_split_next(t->rules, p, end);
			tokens_lookup_begin(&batch[n++], &t->table, p, (size_t)(next - p), end);
			p = next;
		}
		for (; ends != 0; ends &= ends - 1, p = next) {
			next = from + __builtin_ctzll(ends);
			tokens_lookup_begin(&batch[n++], &t->table, p, (size_t)(next - p), end);
		}
	}
	*at = p;
	return n;
}

static inline size_t count(const struct tokens *t, struct str text, struct tokens_ids *ids)
{
	const uint8_t *p = (const uint8_t *)(text.n ? text.p : ""), *end = p + text.n;
	size_t total = 0;
	while (p < end) {
		struct tokens_lookup batch[BATCH_MAX];
		unsigned n = fill(batch, t, &p, end);
		for (unsigned i = 0; i < n; i++)
			total += piece(t, &batch[i], ids);
	}
	return total;
}

size_t tokens_count(const struct tokens *t, struct str text)
{
	return count(t, text, NULL);
}

size_t tokens_encode(const struct tokens *t, struct str text, uint32_t *ids, size_t max)
{
	struct tokens_ids row = { .p = ids, .max = max };
	return count(t, text, &row);
}
