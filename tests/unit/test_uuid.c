#include "runtime/hash.h"
#include "store/text/uuid.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* The example of RFC 9562, appendix A.6: its random bits, its instant. */
static void test_version_7(void **state)
{
	struct uuid7 g = { 0 };
	char text[UUID_TEXT];
	(void)state;
	uuid7_text(&g, 1645557742000 * 1000, 0x4c3, 0x18c4dc0c0c07398full, text);
	assert_memory_equal(text, "017f22e2-79b0-74c3-98c4-dc0c0c07398f", UUID_TEXT);
}

static void test_version_4(void **state)
{
	char text[UUID_TEXT];
	(void)state;
	uuid4_text(0x919108f752d1f320ull, 0xdbacf847db4148a8ull, text);
	assert_memory_equal(text, "919108f7-52d1-4320-9bac-f847db4148a8", UUID_TEXT);
	uuid4_text(UINT64_MAX, UINT64_MAX, text);
	assert_memory_equal(text, "ffffffff-ffff-4fff-bfff-ffffffffffff", UUID_TEXT);
}

/* The clock stands still for longer than the counter lasts, goes back, and goes on. */
static void test_monotonic(void **state)
{
	struct uuid7 g = { 0 };
	char before[UUID_TEXT], text[UUID_TEXT];
	int64_t now_us = 1739558551221000;
	(void)state;
	uuid7_text(&g, now_us, 1, 1, before);
	for (uint64_t i = 0; i < 20000; i++) {
		int64_t at = i < 10000 ? now_us : i < 12000 ? now_us - 3600000000ll : now_us + (int64_t)i * 100;
		uuid7_text(&g, at, hash_mix(i), hash_mix(~i), text);
		if (memcmp(before, text, UUID_TEXT) >= 0)
			fail_msg("%.36s does not follow %.36s", text, before);
		assert_true(uuid_is_text(str_of(text, UUID_TEXT)));
		memcpy(before, text, UUID_TEXT);
	}
}

static void test_is_text(void **state)
{
	(void)state;
	assert_true(uuid_is_text(STR("018f3a2b-7def-7abc-8901-234567890abc")));
	assert_true(uuid_is_text(STR("018F3A2B-7DEF-7ABC-8901-234567890ABC")));
	assert_false(uuid_is_text(STR("018f3a2b-7def-7abc-8901-234567890ab")));
	assert_false(uuid_is_text(STR("018f3a2b-7def-7abc-8901-234567890abcd")));
	assert_false(uuid_is_text(STR("018f3a2b07def-7abc-8901-234567890abc")));
	assert_false(uuid_is_text(STR("018f3a2b-7def-7abc-8901-23456789-abc")));
	assert_false(uuid_is_text(STR("018f3a2b-7def-7abc-8901-23456789gabc")));
	assert_false(uuid_is_text(STR("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version_7),
		cmocka_unit_test(test_version_4),
		cmocka_unit_test(test_monotonic),
		cmocka_unit_test(test_is_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
