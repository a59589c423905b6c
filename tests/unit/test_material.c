/* Exact totals, and a budget that drops by priority and never more than needed, against an oracle that counts each text as a
 * whole. */
#include "actors/material.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct tokens tokens;
static uint64_t random_state = 88172645463325252ull;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % n;
}

static struct material *material_of(const struct material_item *items, size_t n)
{
	struct material *m = material_new(0, 1);
	assert_non_null(m);
	for (size_t i = 0; i < n; i++)
		assert_true(material_add_item(m, &items[i]));
	return m;
}

/* Returns how many slices it took. */
static unsigned count_with(struct material *m, struct token_cache *cache, int64_t max_tokens)
{
	struct material_work w;
	enum material_progress progress;
	unsigned slices = 0;
	material_work_begin(&w, m, &tokens, cache, max_tokens);
	while ((progress = material_work_step(&w)) == MATERIAL_MORE)
		slices++;
	assert_int_equal(progress, MATERIAL_DONE);
	material_work_finish(&w);
	return slices + 1;
}

static unsigned count(struct material *m, int64_t max_tokens)
{
	struct token_cache *cache = token_cache_create(4096);
	unsigned slices = count_with(m, cache, max_tokens);
	token_cache_destroy(cache);
	return slices;
}

/* ---- the oracle ---- */

static struct str join(const struct material_item *items, const bool *dropped, size_t n, struct buf *out)
{
	bool first = true;
	buf_clear(out);
	for (size_t i = 0; i < n; i++) {
		if (dropped[i])
			continue;
		if (!first)
			buf_append_char(out, '\n');
		buf_append_str(out, items[i].content);
		first = false;
	}
	return buf_str(out);
}

static size_t worst_of(const struct material_item *items, const bool *dropped, size_t n)
{
	size_t worst = n;
	for (size_t i = 0; i < n; i++)
		if (!dropped[i] && !items[i].required && (worst == n || items[i].priority >= items[worst].priority))
			worst = i;
	return worst;
}

/* One drop after the other, each total counted anew. */
static size_t oracle(const struct material_item *items, size_t n, size_t max_tokens, uint32_t *order,
		     size_t *ret_tokens)
{
	bool *dropped = calloc(n + 1, sizeof *dropped);
	struct buf text = { 0 };
	size_t drops = 0, worst;
	while ((*ret_tokens = tokens_count(&tokens, join(items, dropped, n, &text))) > max_tokens && max_tokens &&
	       (worst = worst_of(items, dropped, n)) != n) {
		order[drops++] = (uint32_t)worst;
		dropped[worst] = true;
	}
	buf_finish(&text);
	free(dropped);
	return drops;
}

static void check_against_oracle(const struct material_item *items, size_t n, size_t max_tokens)
{
	uint32_t *order = calloc(n + 1, sizeof *order);
	size_t expected_tokens;
	size_t drops = oracle(items, n, max_tokens, order, &expected_tokens);
	struct material *m = material_of(items, n);
	count(m, (int64_t)max_tokens);
	assert_int_equal(m->dropped_count, drops);
	for (size_t i = 0; i < drops; i++)
		assert_int_equal(m->droppable[i], order[i]);
	assert_int_equal(m->tokens, expected_tokens);
	assert_int_equal(tokens_count(&tokens, m->content), expected_tokens);
	assert_int_equal(m->budget_exceeded, max_tokens && expected_tokens > max_tokens);
	char hash[RECORD_HASH_TEXT];
	record_hash_text(m->content, hash);
	assert_memory_equal(hash, m->content_hash, sizeof hash);
	material_unref(m);
	free(order);
}

/* Texts with and without cuts, spaces and line ends at the borders, several scripts, markers, empty ones. */
static const char *const words[] = { "",
				     "a",
				     " ",
				     "\n",
				     "\n\n",
				     "  \n ",
				     "hello",
				     "Hello, world!",
				     "don't",
				     "'ll",
				     "12345",
				     "6",
				     "...",
				     "!?",
				     "/usr/",
				     "\xe4\xb8\xad\xe6\x96\x87",
				     "\xf0\x9f\x98\x80",
				     "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
				     "na\xc3\xafve",
				     "<|endoftext|>",
				     "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae",
				     "x = y;",
				     "\t",
				     "ABCdef",
				     "e\xcc\x81",
				     "{\"k\": [1,2]}" };

static struct str random_text(struct arena *arena, size_t words_max)
{
	struct buf text = { 0 };
	for (uint64_t n = random_below(words_max + 1); n > 0; n--) {
		buf_append_str(&text, str_from(words[random_below(sizeof words / sizeof *words)]));
		if (random_below(3) == 0)
			buf_append_char(&text, ' ');
	}
	struct str copy = arena_dup(arena, buf_str(&text));
	buf_finish(&text);
	return copy;
}

static void test_random_items(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 400; run++) {
		struct arena arena = { 0 };
		struct material_item items[40];
		size_t n = random_below(40), words_max = 1 + random_below(8);
		struct buf whole = { 0 };
		bool none[40] = { 0 };
		for (size_t i = 0; i < n; i++)
			items[i] = (struct material_item){ .content = random_text(&arena, words_max),
							   .priority = (int64_t)random_below(5) - 2,
							   .required = random_below(6) == 0,
							   .last_updated_us = INT64_MIN };
		size_t all = tokens_count(&tokens, join(items, none, n, &whole));
		check_against_oracle(items, n, 0);
		check_against_oracle(items, n, all + 1);
		check_against_oracle(items, n, all ? all : 1);
		check_against_oracle(items, n, 1 + random_below(all + 2));
		check_against_oracle(items, n, 1);
		buf_finish(&whole);
		arena_finish(&arena);
	}
}

static void test_priorities(void **state)
{
	(void)state;
	/* "x x x" is three tokens; the last of the highest number goes first, required ones stay. */
	struct material_item items[] = {
		{ .content = STR("one one one"), .priority = 1 },
		{ .content = STR("two two two"), .priority = 2 },
		{ .content = STR("six six six"), .priority = 2 },
		{ .content = STR("ten ten ten"), .priority = 9, .required = true },
	};
	struct material *m = material_of(items, 4);
	count(m, 11);
	assert_int_equal(m->tokens, 11);
	assert_int_equal(m->dropped_count, 1);
	assert_int_equal(m->droppable[0], 2);
	assert_true(str_eq(m->content, STR("one one one\ntwo two two\nten ten ten")));
	assert_false(m->budget_exceeded);
	material_unref(m);

	m = material_of(items, 4);
	count(m, 2);
	assert_int_equal(m->dropped_count, 3);
	assert_int_equal(m->droppable[1], 1);
	assert_int_equal(m->droppable[2], 0);
	assert_true(str_eq(m->content, STR("ten ten ten")));
	assert_true(m->budget_exceeded);
	material_unref(m);
}

static void test_nothing(void **state)
{
	(void)state;
	check_against_oracle(NULL, 0, 0);
	check_against_oracle(NULL, 0, 5);
	struct material_item empty[3] = { { .content = STR("") }, { .content = STR("") }, { .content = STR("") } };
	check_against_oracle(empty, 3, 0);
	check_against_oracle(empty, 3, 1);
}

/* More items than are joined at once, with and without cuts, in both ways of counting. */
static void test_many_items(void **state)
{
	(void)state;
	struct material_item items[700];
	struct arena arena = { 0 };
	for (size_t i = 0; i < 700; i++)
		items[i] = (struct material_item){ .content = random_text(&arena, 4),
						   .priority = (int64_t)random_below(4),
						   .required = random_below(20) == 0 };
	check_against_oracle(items, 700, 0);
	check_against_oracle(items, 700, 1500);
	for (size_t i = 0; i < 700; i++) /* none has a cut */
		items[i].content = i % 3 == 0 ? STR("") : i % 3 == 1 ? STR("aaaaaa") : STR("\xf0\x9f\x98\x80");
	check_against_oracle(items, 700, 0);
	check_against_oracle(items, 700, 1500);
	check_against_oracle(items, 700, 3);
	arena_finish(&arena);
}

/* Seams longer than what is counted apart: the text itself is counted, and still nothing goes that could stay. */
static void test_long_without_cut(void **state)
{
	(void)state;
	struct arena arena = { 0 };
	char *letters = arena_alloc(&arena, 9000);
	for (size_t i = 0; i < 9000; i++)
		letters[i] = "bcdfghjk"[random_below(8)];
	struct material_item items[12];
	for (size_t i = 0; i < 12; i++)
		items[i] = (struct material_item){ .content = i % 4 == 0 ? str_of(letters, 5000 + 300 * i)
									 : random_text(&arena, 6),
						   .priority = (int64_t)random_below(3) };
	struct buf whole = { 0 };
	bool none[12] = { 0 };
	size_t all = tokens_count(&tokens, join(items, none, 12, &whole));
	for (unsigned run = 0; run < 30; run++)
		check_against_oracle(items, 12, 1 + random_below(all));
	check_against_oracle(items, 12, 0);
	buf_finish(&whole);
	arena_finish(&arena);
}

/* A line end that joins what stands before and behind it ("!" and "/usr" share a piece) makes estimates too high. */
static void test_estimates_that_drop_too_many(void **state)
{
	(void)state;
	struct arena arena = { 0 };
	char *blank = arena_alloc(&arena, 6000);
	memset(blank, '=', 6000);
	struct material_item items[30] = { { .content = str_of(blank, 6000), .required = true } };
	for (size_t i = 1; i < 30; i++)
		items[i] = (struct material_item){ .content = i % 2 ? STR("!") : STR("/usr"), .priority = 1 };
	struct buf whole = { 0 };
	bool none[30] = { 0 };
	size_t all = tokens_count(&tokens, join(items, none, 30, &whole));
	for (size_t max = all > 40 ? all - 40 : 1; max <= all; max++)
		check_against_oracle(items, 30, max);
	buf_finish(&whole);
	arena_finish(&arena);
}

static void test_slices(void **state)
{
	(void)state;
	struct buf text = { 0 };
	while (text.n < 200000)
		buf_append_lit(&text, "The quick brown fox jumps over the lazy dog. ");
	struct material_item items[] = { { .content = buf_str(&text) }, { .content = STR("short") } };
	struct token_cache *cache = token_cache_create(64);
	struct material *m = material_of(items, 2);
	unsigned cold = count_with(m, cache, 0);
	assert_in_range(cold, 40, 60); /* 200,000 bytes in pieces of 4096 */
	int64_t tokens_cold = m->tokens;
	material_unref(m);
	m = material_of(items, 2);
	assert_in_range(count_with(m, cache, 0), 1, 3);
	assert_int_equal(m->tokens, tokens_cold);
	material_unref(m);
	token_cache_destroy(cache);
	buf_finish(&text);
}

static void test_bounds(void **state)
{
	(void)state;
	struct material *m = material_new(0, 1);
	struct material_item item = { .content = STR("x"), .last_updated_us = INT64_MIN };
	for (unsigned i = 0; i < MATERIAL_ITEMS_MAX; i++)
		assert_true(material_add_item(m, &item));
	assert_false(material_add_item(m, &item));
	assert_int_equal(m->items_count, MATERIAL_ITEMS_MAX);
	assert_true(count(m, 100) > 3); /* thousands of drops are not one slice */
	assert_int_equal(m->tokens, tokens_count(&tokens, m->content));
	assert_in_range(m->tokens, 90, 100);

	struct value *v = value_create(STR("1"));
	struct feature_result found = { .state = FEATURE_FOUND, .value = v };
	struct def_feature pushed[1] = { { .name = STR("f") } };
	const struct definitions d = { .features = pushed, .features_count = 1 };
	for (unsigned i = 0; i < READS_FEATURES_MAX; i++)
		assert_true(material_add_feature(m, &d, 0, STR("id"), &found));
	assert_false(material_add_feature(m, &d, 0, STR("id"), &found));
	value_unref(v);

	const char *why;
	struct retrieved *r = retrieved_new(0, STR("{}"), STR("[\"a b\",\"c\"]"), 0, 1, 0, &why);
	for (unsigned i = 0; i < MATERIAL_CALLS_MAX; i++)
		assert_true(material_add_call(m, r));
	assert_false(material_add_call(m, r));
	retrieved_unref(r);
	material_unref(m);
}

static void test_chunks_are_counted(void **state)
{
	(void)state;
	const char *why;
	struct retrieved *r = retrieved_new(0, STR("{}"), STR("[\"hello world\",\"\",\"one two three\"]"), 0, 1, 0,
					    &why);
	struct material *m = material_new(0, 1);
	assert_true(material_add_call(m, r));
	retrieved_unref(r);
	count(m, 0);
	assert_int_equal(m->calls[0].chunk_tokens[0], 2);
	assert_int_equal(m->calls[0].chunk_tokens[1], 0);
	assert_int_equal(m->calls[0].chunk_tokens[2], 3);
	assert_int_equal(m->tokens, 0); /* chunks that are no items are not in the text */
	material_unref(m);
}

/* What counting found stays with the chunk, for one vocabulary at a time. */
static void test_chunks_remember_their_count(void **state)
{
	(void)state;
	static const char text[] = "Überraschend lange Zusammensetzungen: Donaudampfschifffahrtsgesellschaft 12345";
	struct tokens both[2];
	struct buf why = { 0 }, rows = { 0 };
	assert_int_equal(tokens_open(&both[0], TOKENS_O200K, NULL, &why), 0);
	assert_int_equal(tokens_open(&both[1], TOKENS_CL100K, NULL, &why), 0);
	size_t expected[2] = { tokens_count(&both[0], str_from(text)), tokens_count(&both[1], str_from(text)) };
	assert_int_not_equal(expected[0], expected[1]);
	buf_printf(&rows, "[\"%s\"]", text);
	const char *no;
	struct retrieved *r = retrieved_new(0, STR("{}"), buf_str(&rows), 0, 1, 0, &no);
	for (int i = 0; i < 6; i++) {
		struct token_cache *cache = token_cache_create(16);
		struct material *m = material_new(0, 1);
		struct material_work w;
		const struct material_item item = { .content = r->chunks[0].content,
						    .chunk = &r->chunks[0],
						    .required = true };
		assert_true(material_add_call(m, r) && material_add_item(m, &item));
		assert_ptr_equal(m->items[0].content.p, r->chunks[0].content.p); /* not copied */
		material_work_begin(&w, m, &both[i / 2 % 2], cache, 0);
		while (material_work_step(&w) == MATERIAL_MORE)
			;
		material_work_finish(&w);
		assert_int_equal(m->calls[0].chunk_tokens[0], expected[i / 2 % 2]);
		assert_int_equal(m->tokens, expected[i / 2 % 2]);
		material_unref(m);
		token_cache_destroy(cache);
	}
	retrieved_unref(r);
	buf_finish(&rows);
	tokens_close(&both[0]);
	tokens_close(&both[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_items),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_many_items),
		cmocka_unit_test(test_long_without_cut),
		cmocka_unit_test(test_estimates_that_drop_too_many),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_chunks_are_counted),
		cmocka_unit_test(test_chunks_remember_their_count),
	};
	struct buf why = { 0 };
	if (tokens_open(&tokens, TOKENS_O200K, NULL, &why) != 0)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	tokens_close(&tokens);
	return failed;
}
