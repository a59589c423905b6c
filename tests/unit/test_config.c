#include "runtime/config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>

static void assert_duration(const char *text, int64_t expected)
{
	int64_t ms = -7;
	assert_true(config_parse_duration(str_from(text), &ms));
	assert_true(ms == expected);
}

static void test_durations(void **state)
{
	static const char *const bad[] = { "",
					   "5",
					   "s",
					   "-1s",
					   "+1s",
					   "1.s",
					   ".5s",
					   "1,5h",
					   "1 s",
					   "1ss",
					   "1w",
					   "0x1s",
					   "1e3s",
					   "1.5",
					   "ms",
					   "1 .5s",
					   "9223372036854775808ms",
					   "106751991168d",
					   "99999999999999999999s" };
	(void)state;
	assert_duration("500ms", 500);
	assert_duration("30s", 30000);
	assert_duration("5m", 300000);
	assert_duration("1.5h", 5400000);
	assert_duration("1d", 86400000);
	assert_duration(" 2D\n", 172800000);
	assert_duration("1.5MS", 1);
	assert_duration("0.25s", 250);
	assert_duration("0s", 0);
	assert_duration("0.123456789123s", 123);
	assert_duration("9223372036854775807ms", INT64_MAX);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t ms = -7;
		if (config_parse_duration(str_from(bad[i]), &ms))
			fail_msg("accepted \"%s\"", bad[i]);
		assert_true(ms == -7);
	}
	int64_t ms;
	assert_false(config_parse_duration(str_of("5m\0", 3), &ms));
}

static void test_bools(void **state)
{
	bool v = false;
	(void)state;
	assert_true(config_parse_bool(STR(" Yes "), &v) && v);
	assert_true(config_parse_bool(STR("ON"), &v) && v);
	assert_true(config_parse_bool(STR("1"), &v) && v);
	assert_true(config_parse_bool(STR("f"), &v) && !v);
	assert_true(config_parse_bool(STR("No"), &v) && !v);
	assert_false(config_parse_bool(STR("2"), &v));
	assert_false(config_parse_bool(STR(""), &v));
	assert_false(config_parse_bool(STR("tru"), &v));
	assert_false(config_parse_bool(STR("truest"), &v));
}

static void test_bytes(void **state)
{
	uint64_t n = 0;
	(void)state;
	assert_true(config_parse_bytes(STR("1048576"), &n) && n == 1048576);
	assert_true(config_parse_bytes(STR(" 64KiB"), &n) && n == 65536);
	assert_true(config_parse_bytes(STR("1mib"), &n) && n == 1 << 20);
	assert_true(config_parse_bytes(STR("2GiB"), &n) && n == 2ull << 30);
	assert_false(config_parse_bytes(STR("1KB"), &n));
	assert_false(config_parse_bytes(STR("-1"), &n));
	assert_false(config_parse_bytes(STR("1.5MiB"), &n));
	assert_false(config_parse_bytes(STR("17179869184GiB"), &n));
	assert_false(config_parse_bytes(STR(""), &n));
}

static void test_variables(void **state)
{
	struct buf errors = { 0 };
	(void)state;
	unsetenv("FABRA_T");
	assert_true(config_int("FABRA_T", 8, 1, 64, &errors) == 8);
	assert_string_equal(config_str("FABRA_T", "x"), "x");
	setenv("FABRA_T", "  ", 1);
	assert_true(config_int("FABRA_T", 8, 1, 64, &errors) == 8);
	assert_true(config_bool("FABRA_T", true, &errors));
	assert_string_equal(config_str("FABRA_T", "x"), "x");
	setenv("FABRA_T", " 64 ", 1);
	assert_true(config_int("FABRA_T", 8, 1, 64, &errors) == 64);
	assert_true(config_bytes("FABRA_T", 1, &errors) == 64);
	setenv("FABRA_T", "-9223372036854775808", 1);
	assert_true(config_int("FABRA_T", 8, INT64_MIN, 64, &errors) == INT64_MIN);
	setenv("FABRA_T", "2m", 1);
	assert_true(config_duration_ms("FABRA_T", 5, &errors) == 120000);
	setenv("FABRA_T", "off", 1);
	assert_false(config_bool("FABRA_T", true, &errors));
	assert_int_equal(errors.n, 0);
	buf_finish(&errors);
}

/* One line per error, with the variable, its value and the cure; the default is what comes back. */
static void assert_complaint(struct buf *errors, const char *const *parts)
{
	buf_append_char(errors, '\0');
	for (; *parts; parts++)
		if (strstr(errors->p, *parts) == NULL)
			fail_msg("\"%s\" lacks \"%s\"", errors->p, *parts);
	assert_ptr_equal(strchr(errors->p, '\n'), errors->p + errors->n - 2);
	buf_clear(errors);
}

static void test_complaints(void **state)
{
	struct buf errors = { 0 };
	(void)state;
	setenv("FABRA_T", "65", 1);
	assert_true(config_int("FABRA_T", 8, 1, 64, &errors) == 8);
	assert_complaint(&errors, (const char *const[]){ "FABRA_T=\"65\"", "1 to 64", "8", NULL });
	setenv("FABRA_T", "12x", 1);
	assert_true(config_int("FABRA_T", 8, 1, 64, &errors) == 8);
	assert_complaint(&errors, (const char *const[]){ "FABRA_T=\"12x\"", NULL });
	setenv("FABRA_T", "ma\nybe", 1);
	assert_true(config_bool("FABRA_T", true, &errors));
	assert_complaint(&errors, (const char *const[]){ "FABRA_T=\"ma?ybe\"", "true", NULL });
	setenv("FABRA_T", "90", 1);
	assert_true(config_duration_ms("FABRA_T", 7, &errors) == 7);
	assert_complaint(&errors, (const char *const[]){ "FABRA_T=\"90\"", "30s", NULL });
	setenv("FABRA_T", "1 gigabyte", 1);
	assert_true(config_bytes("FABRA_T", 7, &errors) == 7);
	assert_complaint(&errors, (const char *const[]){ "1 gigabyte", "2GiB", NULL });
	assert_true(config_bytes("FABRA_T", 7, NULL) == 7);
	buf_finish(&errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations), cmocka_unit_test(test_bools),      cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_variables), cmocka_unit_test(test_complaints),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
