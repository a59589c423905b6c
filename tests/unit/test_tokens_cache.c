#include "actors/tokens_cache.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* The cache looks at the encoding only. */
static const struct tokens o200k = { .encoding = TOKENS_O200K }, cl100k = { .encoding = TOKENS_CL100K };

static struct str numbered(char *buf, size_t n, int i)
{
	return str_of(buf, (size_t)snprintf(buf, n, "text %d", i));
}

static void test_what_was_put(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_create(64);
	struct tokens_span span = { .total = 7, .middle = 3, .head_bytes = 2, .tail_bytes = 4, .has_cut = true }, got;
	assert_false(token_cache_get(c, &o200k, STR("hello"), &got));
	token_cache_put(c, &o200k, STR("hello"), &span);
	assert_true(token_cache_get(c, &o200k, STR("hello"), &got));
	assert_true(got.total == 7 && got.middle == 3 && got.head_bytes == 2 && got.tail_bytes == 4 && got.has_cut);
	assert_false(token_cache_get(c, &o200k, STR("hello "), &got));
	assert_false(token_cache_get(c, &o200k, STR(""), &got));
	span.total = 9; /* the same text again: one entry */
	token_cache_put(c, &o200k, STR("hello"), &span);
	assert_true(token_cache_get(c, &o200k, STR("hello"), &got) && got.total == 9);
	token_cache_destroy(c);
}

static void test_encodings_apart(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_create(64);
	struct tokens_span one = { .total = 1 }, two = { .total = 2 }, got;
	token_cache_put(c, &o200k, STR("x"), &one);
	assert_false(token_cache_get(c, &cl100k, STR("x"), &got));
	token_cache_put(c, &cl100k, STR("x"), &two);
	assert_true(token_cache_get(c, &o200k, STR("x"), &got) && got.total == 1);
	assert_true(token_cache_get(c, &cl100k, STR("x"), &got) && got.total == 2);
	token_cache_destroy(c);
}

static void test_eviction(void **state)
{
	(void)state;
	enum { ENTRIES = 256, FAVOURITES = 16 };
	struct token_cache *c = token_cache_create(ENTRIES);
	struct tokens_span span = { 0 }, got;
	char text[32];
	for (int i = 0; i < 20000; i++) {
		span.total = (uint32_t)i;
		token_cache_put(c, &o200k, numbered(text, sizeof text, i), &span);
		for (int k = 0; k < FAVOURITES; k++) /* what is asked for all the time stays */
			if (i >= k && token_cache_get(c, &o200k, numbered(text, sizeof text, k), &got))
				assert_int_equal(got.total, k);
	}
	int favourites = 0, kept = 0;
	for (int i = 0; i < 20000; i++) {
		if (!token_cache_get(c, &o200k, numbered(text, sizeof text, i), &got))
			continue;
		assert_int_equal(got.total, i);
		kept++;
		favourites += i < FAVOURITES;
	}
	assert_in_range(kept, ENTRIES / 2, ENTRIES);
	assert_in_range(favourites, FAVOURITES - 2, FAVOURITES); /* more than four of them may share a set */
	token_cache_destroy(c);
	token_cache_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_what_was_put), cmocka_unit_test(test_encodings_apart),
					    cmocka_unit_test(test_eviction) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
