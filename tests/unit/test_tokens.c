/* Rules that hold for any text: totals of joined texts, counting in slices, merging in windows; and opening tables. */
#include "actors/tokens/tokens.h"
#include "runtime/check.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static struct tokens encodings[2];
static uint64_t seed = 1;

static uint32_t below(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((seed >> 33) % n);
}

static void append_code(struct buf *b, uint32_t code)
{
	uint8_t bytes[4];
	size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = n; i-- > 1; code >>= 6)
		bytes[i] = (uint8_t)(0x80 | (code & 0x3f));
	bytes[0] = (uint8_t)(n == 1 ? code : (0xf00u >> n & 0xff) | code);
	buf_append(b, bytes, n);
}

/* Stretches that meet the rules' borders often; now and then bytes that are not UTF-8. */
static void append_random(struct buf *b, uint32_t stretches)
{
	static const char *const words[] = {
		"the",
		" quick",
		"don't",
		"'S",
		"'re",
		" ",
		"  ",
		"\n",
		"\r\n",
		"/",
		".",
		"\t",
		"123",
		"4",
		"AB",
		"aB",
		"\xc5\xbf",
		"'\xc5\xbf",
		"\xc2\xaa",
		"\xca\xb0",
		"\xcc\x81",
		"\xc2\xa0",
		"\xe3\x80\x80",
		"\xe4\xbd\xa0",
		"\xf0\x9f\x98\x80",
		"'",
		"\xd9\xa3",
		"\xe2\x85\xa7",
		"!",
		" \n ",
		"    ",
		"x",
		"Z",
		"\xff",
		"\xe4\xbd",
		"\xc3",
	};
	while (stretches-- > 0) {
		uint32_t kind = below(12);
		if (kind < 7)
			buf_append_str(b, str_from(words[below(ARRAY_LEN(words))]));
		else if (kind < 9)
			append_code(b, below(0x80));
		else if (kind < 11)
			append_code(b, 0x80 + below(0xd800 - 0x80));
		else
			for (uint32_t n = below(20), c = "a Z='\n"[below(6)]; n > 0; n--)
				buf_append_char(b, (char)c);
	}
	assert_false(b->failed);
}

static int open_tables(void **state)
{
	(void)state;
	struct buf errors = { 0 };
	for (int e = 0; e < 2; e++)
		if (tokens_open(&encodings[e], (enum tokens_encoding)e, NULL, &errors) < 0) {
			fprintf(stderr, "%.*s", STR_ARG(buf_str(&errors)));
			buf_finish(&errors);
			return -1;
		}
	return 0;
}

static int close_tables(void **state)
{
	(void)state;
	for (int e = 0; e < 2; e++)
		tokens_close(&encodings[e]);
	return 0;
}

static void test_models(void **state)
{
	(void)state;
	static const char *const o200k[] = {
		"gpt-4o",
		"gpt-4o-mini-2024-07-18",
		"gpt-4.1-nano",
		"gpt-4.5-preview",
		"gpt-5",
		"gpt-5-pro",
		"o1",
		"o1-mini",
		"o3",
		"o4-mini",
		"chatgpt-4o-latest",
		"ft:gpt-4o:acme::1",
		"claude-4.5-opus",
		"command-r",
		"",
		"unknown",
	};
	static const char *const cl100k[] = {
		"gpt-4",
		"gpt-4-turbo",
		"gpt-4-0613",
		"gpt-3.5-turbo",
		"gpt-35-turbo",
		"ft:gpt-3.5-turbo",
		"text-embedding-3-small",
		"text-embedding-ada-002",
		"davinci-002",
	};
	for (size_t i = 0; i < ARRAY_LEN(o200k); i++)
		assert_int_equal(tokens_encoding_of(str_from(o200k[i])), TOKENS_O200K);
	for (size_t i = 0; i < ARRAY_LEN(cl100k); i++)
		assert_int_equal(tokens_encoding_of(str_from(cl100k[i])), TOKENS_CL100K);
}

static void test_known_ids(void **state)
{
	(void)state;
	uint32_t ids[8];
	assert_int_equal(tokens_encode(&encodings[TOKENS_CL100K], STR("hello world"), ids, 8), 2);
	assert_int_equal(ids[0], 15339);
	assert_int_equal(ids[1], 1917);
	assert_int_equal(tokens_count(&encodings[TOKENS_O200K], str_of(NULL, 0)), 0);
	/* Only what fits is written; the answer is still the whole count. */
	ids[1] = 7;
	assert_int_equal(tokens_encode(&encodings[TOKENS_CL100K], STR("hello world"), ids, 1), 2);
	assert_int_equal(ids[1], 7);
}

static void test_special_literals_are_text(void **state)
{
	(void)state;
	for (int e = 0; e < 2; e++)
		assert_true(tokens_count(&encodings[e], STR("<|endoftext|>")) > 1);
}

static void test_joined_is_concatenated(void **state)
{
	(void)state;
	struct buf texts[6] = { 0 }, joined = { 0 };
	static const struct str separators[] = { { "\n", 1 }, { "", 0 }, { "\n\n", 2 }, { " ", 1 } };
	size_t with_cut = 0;
	for (int round = 0; round < 20000; round++) {
		const struct tokens *t = &encodings[round & 1];
		struct str separator = separators[below(8) < 5 ? 0 : below(4)];
		struct tokens_item items[6];
		size_t n = 1 + below(6), total;
		buf_clear(&joined);
		for (size_t i = 0; i < n; i++) {
			buf_clear(&texts[i]);
			append_random(&texts[i], below(12));
			items[i] = (struct tokens_item){ buf_str(&texts[i]), tokens_span(t, buf_str(&texts[i])) };
			with_cut += items[i].span.has_cut;
			if (i > 0)
				buf_append_str(&joined, separator);
			buf_append_str(&joined, items[i].text);
		}
		assert_true(tokens_joined(t, items, n, separator, &total));
		if (total != tokens_count(t, buf_str(&joined))) {
			fprintf(stderr, "round %d: joined %zu, text:\n%.*s\n", round, total, STR_ARG(buf_str(&joined)));
			fail();
		}
	}
	assert_true(with_cut > 20000);
	for (int i = 0; i < 6; i++)
		buf_finish(&texts[i]);
	buf_finish(&joined);
}

static void test_joined_refuses_long_stretches(void **state)
{
	(void)state;
	const struct tokens *t = &encodings[TOKENS_O200K];
	struct buf text = { 0 };
	for (size_t i = 0; i < TOKENS_SEAM_BYTES; i++)
		buf_append_char(&text, 'a');
	struct tokens_item items[2] = { { buf_str(&text), tokens_span(t, buf_str(&text)) },
					{ STR("x y"), tokens_span(t, STR("x y")) } };
	size_t total = 99;
	assert_false(items[0].span.has_cut);
	assert_true(tokens_joined(t, items, 1, STR("\n"), &total));
	assert_int_equal(total, items[0].span.total);
	assert_false(tokens_joined(t, items, 2, STR("\n"), &total));
	buf_finish(&text);
}

static size_t count_in_slices(const struct tokens *t, struct str text, size_t slice)
{
	struct tokens_job job;
	size_t steps = 0;
	tokens_job_begin(&job, t, text);
	while (!tokens_job_step(&job, slice))
		assert_true(++steps <= 64 + text.n * 16 / slice + text.n);
	return job.count;
}

static void test_slices_count_the_same(void **state)
{
	(void)state;
	static const size_t slices[] = { 1, 7, 100, 600, TOKENS_SLICE_BYTES };
	struct buf text = { 0 };
	for (int round = 0; round < 300; round++) {
		const struct tokens *t = &encodings[round & 1];
		buf_clear(&text);
		for (uint32_t parts = 1 + below(6); parts > 0; parts--) {
			append_random(&text, below(60));
			/* Long pieces, also some that turn out short behind a long search. */
			const char *fill[] = { "a",  " ",   "\xf0\x9f\x98\x80", "A",  "=",
					       "\n", "\n ", "\302\252A",        "xq", "\xe4\xbd\xa0" };
			const char *unit = fill[below(ARRAY_LEN(fill))];
			for (uint32_t n = below(4) ? 0 : below(3000); n > 0; n--)
				buf_append_str(&text, str_from(unit));
		}
		size_t expected = tokens_count(t, buf_str(&text));
		for (size_t i = 0; i < ARRAY_LEN(slices); i++)
			assert_int_equal(count_in_slices(t, buf_str(&text), slices[i]), expected);
	}
	buf_finish(&text);
}

/* Windows far shorter than the tokens make seams fail, so that the way back is walked as well. */
static void test_windows_merge_the_same(void **state)
{
	(void)state;
	static const size_t windows[] = { 4, 8, 16, 48, 160 };
	static uint32_t whole[TOKENS_WINDOW_BYTES], parts[TOKENS_WINDOW_BYTES];
	struct buf text = { 0 };
	size_t begun_again = 0;
	for (int round = 0; round < 6000; round++) {
		const struct tokens_table *table = &encodings[round & 1].table;
		buf_clear(&text);
		append_random(&text, 1 + below(60));
		if (text.n == 0 || text.n > TOKENS_WINDOW_BYTES)
			continue;
		const uint8_t *p = (const uint8_t *)text.p;
		struct tokens_ids ids = { whole, 0, TOKENS_WINDOW_BYTES };
		size_t n = tokens_bpe_merge(table, p, text.n, &ids);
		size_t window = windows[below(ARRAY_LEN(windows))];
		struct tokens_bpe b;
		tokens_bpe_begin(&b, table, p, text.n, window);
		for (ids = (struct tokens_ids){ parts, 0, TOKENS_WINDOW_BYTES }; !tokens_bpe_step(&b, &ids);)
			;
		begun_again += b.window_bytes > window;
		assert_int_equal(b.count, n);
		assert_int_equal(ids.n, n);
		assert_memory_equal(whole, parts, n * sizeof whole[0]);
	}
	assert_true(begun_again > 100);
	buf_finish(&text);
}

static void test_splits_cover_the_text(void **state)
{
	(void)state;
	struct buf text = { 0 };
	for (int round = 0; round < 5000; round++) {
		const struct tokens *t = &encodings[round & 1];
		buf_clear(&text);
		for (uint32_t n = 1 + below(40); n > 0; n--)
			buf_append_char(&text, (char)below(256));
		const uint8_t *p = (const uint8_t *)text.p, *end = p + text.n;
		size_t total = 0;
		while (p < end) {
			const uint8_t *next = tokens_split_next(t->rules, p, end);
			assert_true(next > p && next <= end);
			total += tokens_piece(t, p, (size_t)(next - p), end, NULL);
			p = next;
		}
		assert_int_equal(total, tokens_count(t, buf_str(&text)));
	}
	buf_finish(&text);
}

static void write_table(const char *folder, const void *p, size_t n)
{
	char path[256];
	snprintf(path, sizeof path, "%s/cl100k_base.ranks", folder);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void expect_refused(const char *folder, int error, const char *word)
{
	struct tokens t;
	struct buf errors = { 0 };
	assert_int_equal(tokens_open(&t, TOKENS_CL100K, folder, &errors), error);
	buf_append_char(&errors, 0);
	assert_non_null(strstr(errors.p, word));
	assert_non_null(strstr(errors.p, "build or install again"));
	assert_non_null(strstr(errors.p, folder));
	buf_finish(&errors);
}

static void test_bad_tables_are_refused(void **state)
{
	(void)state;
	char folder[] = "/tmp/test_tokens.XXXXXX", path[256];
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/cl100k_base.ranks", folder);
	expect_refused(folder, -ENOENT, "No such file");

	const struct tokens_file_header *good = encodings[TOKENS_CL100K].table.header;
	uint8_t *copy = malloc(good->file_bytes);
	assert_non_null(copy);
	memcpy(copy, good, good->file_bytes);
	write_table(folder, copy, 100);
	expect_refused(folder, -EBADMSG, "not a rank table");
	write_table(folder, copy, good->file_bytes - 64);
	expect_refused(folder, -EBADMSG, "cut short");
	copy[good->buckets_at + 12345] ^= 1;
	write_table(folder, copy, good->file_bytes);
	expect_refused(folder, -EBADMSG, "checksum");
	copy[good->buckets_at + 12345] ^= 1;
	((struct tokens_file_header *)(void *)copy)->bucket_bits = 24;
	write_table(folder, copy, good->file_bytes);
	expect_refused(folder, -EBADMSG, "damaged header");
	write_table(folder, encodings[TOKENS_O200K].table.header, encodings[TOKENS_O200K].table.header->file_bytes);
	expect_refused(folder, -EBADMSG, "another encoding");
	free(copy);
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),
		cmocka_unit_test(test_known_ids),
		cmocka_unit_test(test_special_literals_are_text),
		cmocka_unit_test(test_joined_is_concatenated),
		cmocka_unit_test(test_joined_refuses_long_stretches),
		cmocka_unit_test(test_slices_count_the_same),
		cmocka_unit_test(test_windows_merge_the_same),
		cmocka_unit_test(test_splits_cover_the_text),
		cmocka_unit_test(test_bad_tables_are_refused),
	};
	return cmocka_run_group_tests(tests, open_tables, close_tables);
}
