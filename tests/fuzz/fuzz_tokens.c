/* Token counting of any bytes. The first byte chooses encoding, separator, slice and window; the rest is a row of texts,
 * each ended by a byte 0x1e. Pieces must cover a text, and its count must be the same in one go, by ids, in slices, in
 * short windows, and as a total from spans. */
#include "actors/tokens/tokens.h"
#include "runtime/check.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct tokens *encoding(int which)
{
	static struct tokens encodings[2];
	if (encodings[which].table.header == NULL) {
		struct buf errors = { 0 };
		int error = tokens_open(&encodings[which], (enum tokens_encoding)which, NULL, &errors);
		if (error < 0)
			fprintf(stderr, "%.*s", STR_ARG(buf_str(&errors)));
		CHECK(error == 0);
	}
	return &encodings[which];
}

static size_t count_in_windows(const struct tokens *t, const uint8_t *p, size_t n, size_t window)
{
	struct tokens_bpe b;
	tokens_bpe_begin(&b, &t->table, p, n, window);
	while (!tokens_bpe_step(&b, NULL))
		;
	return b.count;
}

static void check_pieces(const struct tokens *t, struct str text, size_t window)
{
	const uint8_t *p = (const uint8_t *)(text.n ? text.p : ""), *end = p + text.n;
	size_t total = 0;
	while (p < end) {
		struct tokens_split s;
		const uint8_t *next = tokens_split_next(t->rules, p, end);
		CHECK(next > p && next <= end);
		tokens_split_begin(&s, t->rules, p, end);
		while (!tokens_split_step(&s, t->rules, end, window))
			;
		CHECK(s.at == next);
		size_t n = (size_t)(next - p);
		total += tokens_piece(t, p, n, end, NULL);
		if (n <= TOKENS_WINDOW_BYTES)
			CHECK(count_in_windows(t, p, n, window) == tokens_bpe_merge(&t->table, p, n, NULL));
		p = next;
	}
	CHECK(total == tokens_count(t, text));
}

static void check_text(const struct tokens *t, struct str text, size_t slice)
{
	struct tokens_job job;
	size_t count = tokens_count(t, text);
	CHECK(tokens_encode(t, text, NULL, 0) == count);
	tokens_job_begin(&job, t, text);
	while (!tokens_job_step(&job, slice))
		;
	CHECK(job.count == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct str separators[] = { { "\n", 1 }, { "", 0 }, { "\n\n", 2 }, { " ", 1 } };
	struct tokens_item items[16];
	struct buf joined = { 0 };
	size_t n = 0, total;
	if (size == 0)
		return 0;
	uint8_t choice = *data++;
	const uint8_t *end = data + size - 1;
	const struct tokens *t = encoding(choice & 1);
	struct str separator = separators[choice >> 1 & 3];
	size_t step = 4ull << (choice >> 3 & 7);
	while (n < 16 && (data < end || n == 0)) {
		const uint8_t *stop = data < end ? memchr(data, 0x1e, (size_t)(end - data)) : NULL;
		struct str text = str_of((const char *)data, (size_t)((stop ? stop : end) - data));
		check_text(t, text, step);
		check_pieces(t, text, step);
		if (n > 0)
			buf_append_str(&joined, separator);
		buf_append_str(&joined, text);
		items[n++] = (struct tokens_item){ text, tokens_span(t, text) };
		data = stop ? stop + 1 : end;
	}
	if (tokens_joined(t, items, n, separator, &total))
		CHECK(total == tokens_count(t, buf_str(&joined)));
	else
		CHECK(joined.n > TOKENS_SEAM_BYTES);
	buf_finish(&joined);
	return 0;
}
