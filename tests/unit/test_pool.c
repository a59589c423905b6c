#include "runtime/pool.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_blocks(void **state)
{
	(void)state;
	struct pool pool;
	pool_init(&pool, 100, 3);
	assert_int_equal(pool.block_bytes, 128);
	void *blocks[8];
	for (int i = 0; i < 8; i++) {
		blocks[i] = pool_get(&pool);
		assert_int_equal((uintptr_t)blocks[i] % POOL_ALIGN, 0);
		memset(blocks[i], i, pool.block_bytes);
		for (int j = 0; j < i; j++)
			assert_ptr_not_equal(blocks[i], blocks[j]);
	}
	for (int i = 0; i < 8; i++)
		pool_put(&pool, blocks[i]);
	assert_true(pool.free_len <= 3); /* the rest went back to malloc */
	pool_finish(&pool);
	assert_int_equal(pool.free_len, 0);
	pool_put(&pool, pool_get(&pool)); /* usable again */
	pool_finish(&pool);
}

/* A block may end in another pool than it came from, as messages between loops do. */
static void test_migration(void **state)
{
	(void)state;
	struct pool from, to;
	pool_init(&from, 64, 10);
	pool_init(&to, 64, 10);
	for (int i = 0; i < 100; i++)
		pool_put(&to, pool_get(&from));
	assert_int_equal(from.free_len, 0);
	assert_true(to.free_len <= 10);
	pool_finish(&from);
	pool_finish(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_blocks), cmocka_unit_test(test_migration) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
