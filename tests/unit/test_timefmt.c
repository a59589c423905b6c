#include "runtime/hash.h"
#include "store/text/timefmt.h"
#include <math.h>
#include <time.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define NEW_YEAR_2025 1735689600000000ll

static void expect_text(void (*write)(struct buf *, int64_t), int64_t us, const char *text)
{
	struct buf b = { 0 };
	write(&b, us);
	buf_append_char(&b, '\0');
	assert_string_equal(b.p, text);
	buf_finish(&b);
}

static void test_write(void **state)
{
	(void)state;
	expect_text(time_write_z, NEW_YEAR_2025, "2025-01-01T00:00:00Z");
	expect_text(time_write_z, 1739558551221000, "2025-02-14T18:42:31.221000Z");
	expect_text(time_write_z, NEW_YEAR_2025 + 500, "2025-01-01T00:00:00.000500Z");
	expect_text(time_write_z, 0, "1970-01-01T00:00:00Z");
	expect_text(time_write_z, -1, "1969-12-31T23:59:59.999999Z");
	expect_text(time_write_z, 951782400000000, "2000-02-29T00:00:00Z");
	expect_text(time_write_z, 4107542399000000, "2100-02-28T23:59:59Z");
	expect_text(time_write_z, 4107542400000000, "2100-03-01T00:00:00Z");
	expect_text(time_write_offset, 1739558551221000, "2025-02-14T18:42:31.221000+00:00");
	expect_text(time_write_offset, NEW_YEAR_2025, "2025-01-01T00:00:00+00:00");
	expect_text(time_write_naive, NEW_YEAR_2025 + 1, "2025-01-01T00:00:00.000001");
	expect_text(time_write_z, INT64_MAX, "9999-12-31T23:59:59.999999Z");
	expect_text(time_write_z, INT64_MIN, "0001-01-01T00:00:00Z");
}

static void test_parse_accepts(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} cases[] = {
		{ "2025-01-01T00:00:00Z", NEW_YEAR_2025 },
		{ "2025-01-01T00:00:00z", NEW_YEAR_2025 },
		{ "2025-01-01 00:00:00+00:00", NEW_YEAR_2025 },
		{ "2025-01-01T05:30:00+05:30", NEW_YEAR_2025 },
		{ "2025-01-01T05:30:00+0530", NEW_YEAR_2025 },
		{ "2024-12-31T18:30:00-05:30", NEW_YEAR_2025 },
		{ "2025-01-01T00:00:00", NEW_YEAR_2025 },
		{ "2025-01-01T00:00", NEW_YEAR_2025 },
		{ "2025-01-01", NEW_YEAR_2025 },
		{ "2025-01-01T00:00:00.5Z", NEW_YEAR_2025 + 500000 },
		{ "2025-01-01T00:00:00.000Z", NEW_YEAR_2025 },
		{ "2025-01-01T00:00:00,25Z", NEW_YEAR_2025 + 250000 },
		{ "2025-01-01T00:00:00.123456789Z", NEW_YEAR_2025 + 123456 },
		{ "2024-02-29T00:00:00Z", 1709164800000000 },
		{ "0001-01-01T00:00:00Z", -62135596800000000 },
		{ "9999-12-31T23:59:59.999999Z", 253402300799999999 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t us = 7;
		if (!time_parse(str_from(cases[i].text), &us) || us != cases[i].us)
			fail_msg("%s gave %lld", cases[i].text, (long long)us);
	}
}

static void test_parse_refuses(void **state)
{
	static const char *const cases[] = {
		"",
		"2025",
		"2025-1-1",
		"2025-13-01",
		"2025-00-01",
		"2025-01-00",
		"2025-02-29",
		"1900-02-29",
		"2025-01-01T",
		"2025-01-01T24:00:00Z",
		"2025-01-01T23:60:00Z",
		"2025-01-01T23:59:60Z",
		"2025-01-01T00:00:00.Z",
		"2025-01-01T00:00:00.1234567890Z",
		"2025-01-01T00:00:00+05",
		"2025-01-01T00:00:00+24:00",
		"2025-01-01T00:00:00+05:60",
		"2025-01-01T00:00:00 Z",
		"2025-01-01T00:00:00ZZ",
		" 2025-01-01",
		"0000-01-01T00:00:00Z",
		"0001-01-01T00:00:00+01:00",
		"9999-12-31T23:59:59-01:00",
		"2025-01-01T0a:00:00Z",
		"1735689600",
		"12025-01-01",
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t us = 7;
		if (time_parse(str_from(cases[i]), &us) || us != 7)
			fail_msg("%s was taken for %lld", cases[i], (long long)us);
	}
	int64_t us;
	assert_false(time_parse(str_of("2025-01-01\0", 11), &us));
}

static void test_zones(void **state)
{
	static const char *const same[] = {
		"2025-01-01T00:00:00Z",      "2025-01-01T00:00:00",
		"2025-01-01T05:30:00+05:30", "2025-01-01T00:00:00.000001-23:59",
		"0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.999999-01:00",
	};
	(void)state;
	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		int64_t us;
		int16_t zone_min;
		struct buf b = { 0 };
		assert_true(time_parse_zoned(str_from(same[i]), &us, &zone_min));
		time_write_zoned(&b, us, zone_min);
		assert_true(str_eq(buf_str(&b), str_from(same[i])));
		buf_finish(&b);
	}
	int64_t us;
	int16_t zone_min;
	assert_true(time_parse_zoned(STR("2025-01-01T00:00:00-00:00"), &us, &zone_min));
	assert_int_equal(zone_min, 0);
	assert_true(time_parse_zoned(STR("2025-01-01"), &us, &zone_min));
	assert_int_equal(zone_min, TIME_NAIVE);
}

static void test_unix(void **state)
{
	int64_t us;
	(void)state;
	assert_true(time_from_unix(1735689600, &us) && us == NEW_YEAR_2025);
	assert_true(time_from_unix(1735689600.5, &us) && us == NEW_YEAR_2025 + 500000);
	assert_true(time_from_unix(1735689600123, &us) && us == NEW_YEAR_2025 + 123000);
	assert_true(time_from_unix(-1.5, &us) && us == -1500000);
	assert_true(time_from_unix(2e10, &us) && us == 20000000000000000);
	assert_false(time_from_unix(1e18, &us));
	assert_false(time_from_unix((double)NAN, &us));
	assert_false(time_from_unix(-(double)INFINITY, &us));
}

/* The C library counts days in its own way. */
static void test_against_libc(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 20000; i++) {
		time_t seconds = (time_t)(hash_mix(i + 1) % 315537897600ull) - 62135596800;
		struct tm tm;
		assert_non_null(gmtime_r(&seconds, &tm));
		struct buf expected = { 0 }, got = { 0 };
		buf_printf(&expected, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
			   tm.tm_hour, tm.tm_min, tm.tm_sec);
		time_write_z(&got, (int64_t)seconds * 1000000);
		int64_t back;
		assert_true(str_eq(buf_str(&expected), buf_str(&got)));
		assert_true(time_parse(buf_str(&got), &back) && back == (int64_t)seconds * 1000000);
		buf_finish(&expected);
		buf_finish(&got);
	}
}

static void nanoseconds_beside_the_microseconds(void **state)
{
	(void)state;
	static const struct {
		const char *text, *again;
		uint16_t ns;
	} cases[] = {
		{ "2026-01-01T00:00:00.000000002Z", "2026-01-01T00:00:00.000000002Z", 2 },
		{ "2026-01-01T00:00:00.1234567+05:30", "2025-12-31T18:30:00.123456700Z", 700 },
		{ "2026-01-01 00:00:00,99999999", "2026-01-01T00:00:00.999999990Z", 990 },
		{ "1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z", 999 },
		{ "2026-01-01T00:00:00.123456-0500", "2026-01-01T05:00:00.123456Z", 0 },
		{ "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500000Z", 0 },
		{ "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 0 },
		{ "2026-01-01", "2026-01-01T00:00:00Z", 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int64_t us, wanted_us;
		uint16_t ns = 7;
		struct buf out = { 0 };
		assert_true(time_parse_ns(str_from(cases[i].text), &us, &ns));
		assert_true(time_parse(str_from(cases[i].text), &wanted_us));
		assert_true(us == wanted_us);
		assert_int_equal(ns, cases[i].ns);
		time_write_z_ns(&out, us, ns);
		buf_append_char(&out, '\0');
		assert_string_equal(out.p, cases[i].again);
		buf_finish(&out);
	}
	int64_t us;
	uint16_t ns;
	assert_false(time_parse_ns(STR("2026-01-01T00:00:00.1234567890Z"), &us, &ns));
	assert_false(time_parse_ns(STR("now"), &us, &ns));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nanoseconds_beside_the_microseconds),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_parse_accepts),
		cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_zones),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_against_libc),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
