#include "actors/tokens/tokens_cache.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static const struct tokens o200k = { .encoding = TOKENS_O200K }, cl100k = { .encoding = TOKENS_CL100K };

static struct str name(char text[16], int i)
{
	return str_of(text, (size_t)snprintf(text, 16, "text %d", i));
}

static void put(struct token_cache *c, int i)
{
	char text[16];
	struct tokens_span span = { .total = (uint32_t)i, .head_bytes = 1, .tail_bytes = 2, .has_cut = true };
	token_cache_put(c, &o200k, name(text, i), &span);
}

static bool has(struct token_cache *c, int i)
{
	char text[16];
	struct tokens_span span;
	if (!token_cache_get(c, &o200k, name(text, i), &span))
		return false;
	assert_int_equal(span.total, i);
	assert_true(span.has_cut);
	return true;
}

static void test_keeps_text_and_encoding_apart(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_create(64);
	assert_non_null(c);
	struct tokens_span span;
	assert_false(has(c, 7));
	put(c, 7);
	assert_true(has(c, 7));
	assert_false(has(c, 8));
	assert_false(token_cache_get(c, &cl100k, STR("text 7"), &span));
	token_cache_put(c, &cl100k, STR("text 7"), &(struct tokens_span){ .total = 99 });
	assert_true(token_cache_get(c, &cl100k, STR("text 7"), &span));
	assert_int_equal(span.total, 99);
	assert_true(has(c, 7));
	token_cache_destroy(c);
	token_cache_destroy(NULL);
}

static void test_is_bounded(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_create(64);
	int kept = 0;
	for (int i = 0; i < 10000; i++)
		put(c, i);
	for (int i = 0; i < 10000; i++)
		kept += has(c, i);
	assert_in_range(kept, 32, 64);
	token_cache_destroy(c);
}

/* One set of four: what is looked up between the others' arrivals outlives those that nobody asks for. */
static void test_keeps_what_is_used(void **state)
{
	(void)state;
	struct token_cache *c = token_cache_create(4);
	put(c, 1);
	for (int i = 100; i < 200; i++) {
		assert_true(has(c, 1));
		put(c, i);
	}
	assert_true(has(c, 1));
	assert_true(has(c, 199));
	assert_false(has(c, 100));
	token_cache_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_text_and_encoding_apart),
		cmocka_unit_test(test_is_bounded),
		cmocka_unit_test(test_keeps_what_is_used),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
