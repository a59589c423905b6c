/* Calls of a script state: values in and out, asks, slices, limits of one call. */
#include "tests/unit/script_fixture.h"

static void values_keep_their_type(void **state)
{
	(void)state;
	assert_string_equal(fixture_eval("return 1"), "1");
	assert_string_equal(fixture_eval("return 1.0"), "1.0");
	assert_string_equal(fixture_eval("return math.maxinteger"), "9223372036854775807");
	assert_string_equal(fixture_eval("return id .. '!'"), "\"u1!\"");
	assert_string_equal(fixture_eval("return true"), "true");
	assert_string_equal(fixture_eval("return nil"), "nil");
	assert_string_equal(fixture_eval("return fabra.null"), "null");
	assert_string_equal(fixture_eval("return {}"), "[]");
	assert_string_equal(fixture_eval("return fabra.object{}"), "{}");
	assert_string_equal(fixture_eval("return fabra.array{}"), "[]");
	assert_string_equal(fixture_eval("return { b = 1, a = { 1, fabra.null, 'x' } }"), "{\"a\":[1,null,\"x\"],\"b\":1}");
	assert_string_equal(fixture_eval("return fabra.json.decode('{\"a\":{},\"b\":[1.50,2]}')"), "{\"a\":{},\"b\":[1.5,2]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(values_keep_their_type) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
