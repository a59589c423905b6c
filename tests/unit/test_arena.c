#include "runtime/arena.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdint.h>

static void test_blocks(void **state)
{
	struct arena a = { 0 };
	char *blocks[200];
	(void)state;
	for (size_t i = 0; i < 200; i++) {
		size_t n = i * 37 + 1;
		blocks[i] = arena_alloc(&a, n);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % 16, 0);
		memset(blocks[i], (int)i, n);
	}
	for (size_t i = 0; i < 200; i++) /* later blocks do not overlap earlier ones */
		for (size_t k = 0; k < i * 37 + 1; k++)
			assert_int_equal((unsigned char)blocks[i][k], i);
	arena_finish(&a);
	assert_int_equal(a.used, 0);
}

static void test_large(void **state)
{
	struct arena a = { 0 };
	(void)state;
	char *p = arena_alloc(&a, 1 << 20); /* more than the largest ordinary block */
	assert_non_null(p);
	memset(p, 1, 1 << 20);
	char *z = arena_zalloc(&a, 1000);
	assert_non_null(z);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(z[i], 0);
	arena_finish(&a);
}

static void test_bound(void **state)
{
	struct arena a = { .max = 1024 };
	(void)state;
	assert_null(arena_alloc(&a, 1025));
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_non_null(arena_alloc(&a, 1000));
	assert_null(arena_zalloc(&a, 17));
	assert_non_null(arena_alloc(&a, 16));
	assert_null(arena_alloc(&a, 1));
	assert_null(arena_dup(&a, STR("x")).p);
	arena_finish(&a);
	assert_non_null(arena_alloc(&a, 1024));
	arena_finish(&a);
}

static void test_array(void **state)
{
	struct arena a = { 0 };
	uint32_t *array = NULL, count = 0, cap = 0;
	(void)state;
	for (; count < 100; count++) {
		array = arena_array_grow(&a, array, count, &cap, 100, sizeof *array);
		assert_non_null(array);
		assert_true(cap > count);
		array[count] = count;
	}
	cap = count; /* as if it were just full */
	assert_null(arena_array_grow(&a, array, count, &cap, 100, sizeof *array));
	assert_int_equal(cap, 100);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(array[i], i);
	arena_finish(&a);
}

static void test_dup(void **state)
{
	struct arena a = { 0 };
	char text[] = "text";
	(void)state;
	struct str s = arena_dup(&a, str_from(text));
	text[0] = 'n';
	assert_string_equal(s.p, "text");
	assert_int_equal(s.n, 4);
	s = arena_dup(&a, (struct str){ 0 });
	assert_string_equal(s.p, "");
	arena_finish(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks), cmocka_unit_test(test_large), cmocka_unit_test(test_bound),
		cmocka_unit_test(test_array),  cmocka_unit_test(test_dup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
