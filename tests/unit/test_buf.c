#include "runtime/buf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>

static void test_append(void **state)
{
	struct buf b = { 0 };
	(void)state;
	assert_true(str_eq(buf_str(&b), STR("")));
	buf_append_lit(&b, "n=");
	buf_append_i64(&b, INT64_MIN);
	buf_append_char(&b, ' ');
	buf_append_u64(&b, UINT64_MAX);
	buf_append_str(&b, STR(""));
	buf_printf(&b, " %s-%05d", "x", 42);
	buf_append_i64(&b, 0);
	assert_true(str_eq(buf_str(&b), STR("n=-9223372036854775808 18446744073709551615 x-000420")));
	buf_clear(&b);
	assert_int_equal(b.n, 0);
	buf_finish(&b);
	assert_null(b.p);
}

static void test_growth(void **state)
{
	struct buf b = { 0 };
	(void)state;
	for (int i = 0; i < 100000; i++)
		buf_append_char(&b, (char)('a' + i % 26));
	assert_int_equal(b.n, 100000);
	for (int i = 0; i < 100000; i++)
		assert_true(b.p[i] == (char)('a' + i % 26));
	buf_finish(&b);
}

/* A failed append leaves the content, and nothing gets in afterwards, so that one check at the end is
 * enough. */
static void test_bound(void **state)
{
	struct buf b = { .max = 100 };
	char big[101] = { 0 };
	(void)state;
	buf_append(&b, big, 60);
	buf_append(&b, big, 40);
	assert_false(b.failed);
	assert_int_equal(b.n, 100);
	buf_append_char(&b, 'x');
	assert_true(b.failed);
	assert_int_equal(b.n, 100);
	buf_clear(&b);
	assert_false(b.failed);
	buf_append_lit(&b, "abc");
	buf_append(&b, big, 101);
	assert_true(b.failed);
	buf_append_lit(&b, "d");
	buf_append_char(&b, 'e');
	buf_printf(&b, "%d", 1);
	assert_true(str_eq(buf_str(&b), STR("abc")));
	assert_false(buf_reserve(&b, 1));
	buf_finish(&b);
	assert_false(b.failed);
	assert_int_equal(b.max, 100);
	assert_false(buf_reserve(&b, SIZE_MAX));
	buf_finish(&b);
}

static void test_take(void **state)
{
	struct buf b = { .max = 64 };
	size_t n = 7;
	(void)state;
	assert_null(buf_take(&b, &n));
	assert_int_equal(n, 0);
	buf_append_lit(&b, "moved");
	char *p = buf_take(&b, &n);
	assert_int_equal(n, 5);
	assert_memory_equal(p, "moved", 5);
	free(p);
	assert_null(b.p);
	assert_int_equal(b.max, 64);
	buf_append_lit(&b, "again");
	assert_int_equal(b.n, 5);
	buf_finish(&b);
}

static void test_whole_characters(void **state)
{
	(void)state;
	/* 1, 2, 3 and 4 bytes; any prefix ends before the character that it would cut. */
	static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
	static const size_t starts[] = { 0, 1, 3, 6, 10, 11 };
	for (size_t max = 0; max < sizeof text; max++) {
		size_t wanted = 0;
		for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
			if (starts[i] <= max)
				wanted = starts[i];
		assert_int_equal(str_first(str_from(text), max).n, wanted);
		char out[sizeof text];
		assert_int_equal(text_printf(out, max + 1, "%s", text), wanted);
		assert_int_equal(strlen(out), wanted);
		assert_memory_equal(out, text, wanted);
	}
	assert_int_equal(str_whole(STR("\x80\x80\x80\x80\x80")).n, 5); /* was no UTF-8 before it was cut either */
	assert_int_equal(str_whole((struct str){ 0 }).n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append), cmocka_unit_test(test_growth),           cmocka_unit_test(test_bound),
		cmocka_unit_test(test_take),   cmocka_unit_test(test_whole_characters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
