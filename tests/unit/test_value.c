#include "store/text/value.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>

enum { THREADS = 3, ROUNDS = 20000 };

static void test_copy(void **state)
{
	char text[] = "{\"a\":1}";
	(void)state;
	struct value *v = value_create(str_from(text));
	text[0] = 'x';
	assert_true(str_eq(value_json(v), STR("{\"a\":1}")));
	assert_string_equal(v->json, "{\"a\":1}");
	assert_ptr_equal(value_ref(v), v);
	value_unref(v);
	assert_int_equal(atomic_load(&v->refs), 1);
	value_unref(v);
	value_unref(NULL);
	assert_null(value_create(str_of("", (size_t)UINT32_MAX)));
}

static void *share(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct value *v = value_ref(arg);
		assert_int_equal(v->json[1], '2');
		value_unref(v);
	}
	value_unref(arg);
	return NULL;
}

/* Each thread ends with giving up a reference; the last one frees, whoever it is. */
static void test_threads(void **state)
{
	pthread_t threads[THREADS];
	(void)state;
	struct value *v = value_create(STR("[2]"));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, share, value_ref(v)), 0);
	value_unref(v);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_copy), cmocka_unit_test(test_threads) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
