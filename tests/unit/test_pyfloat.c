#include "runtime/hash.h"
#include "runtime/pyfloat.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect(double v, const char *text)
{
	char got[PYFLOAT_TEXT_MAX + 1];
	got[pyfloat_text(v, got)] = '\0';
	assert_string_equal(got, text);
}

/* What Python 3 prints for repr(). */
static void test_golden(void **state)
{
	(void)state;
	expect(0.0, "0.0");
	expect(-0.0, "-0.0");
	expect(1.0, "1.0");
	expect(-1.5, "-1.5");
	expect(0.1, "0.1");
	expect(0.1 + 0.2, "0.30000000000000004");
	expect(1.0 / 3, "0.3333333333333333");
	expect(12.3, "12.3");
	expect(100000.0, "100000.0");
	expect(0.0001, "0.0001");
	expect(0.00001, "1e-05");
	expect(3.5e-05, "3.5e-05");
	expect(1e-07, "1e-07");
	expect(0.007615, "0.007615");
	expect(123456789012345.0, "123456789012345.0");
	expect(1234567890123456.0, "1234567890123456.0");
	expect(9999999999999998.0, "9999999999999998.0");
	expect(1e16, "1e+16");
	expect(12345678901234567.0, "1.2345678901234568e+16");
	expect(1e22, "1e+22");
	expect(1e23, "1e+23");
	expect(1.5e300, "1.5e+300");
	expect((double)0.7f, "0.699999988079071");
}

/* Where the interval is lopsided, where it is smallest, and the ends of the range. */
static void test_edges(void **state)
{
	(void)state;
	expect(DBL_TRUE_MIN, "5e-324");
	expect(DBL_MIN, "2.2250738585072014e-308");
	expect(nextafter(DBL_MIN, 0), "2.225073858507201e-308");
	expect(DBL_MAX, "1.7976931348623157e+308");
	expect(0x1p-44, "5.684341886080802e-14");
	expect(0x1p-1022, "2.2250738585072014e-308");
	expect(9007199254740992.0, "9007199254740992.0");
	expect(0x1p1023, "8.98846567431158e+307");
	expect(-DBL_MAX, "-1.7976931348623157e+308");
	expect(-2.2250738585072014e-308, "-2.2250738585072014e-308");
}

static int significant_digits(const char *text)
{
	int digits = 0, zeros = 0;
	for (; *text && *text != 'e'; text++) {
		if (*text == '0')
			zeros += digits > 0;
		else if (*text >= '1' && *text <= '9') {
			digits += zeros + 1;
			zeros = 0;
		}
	}
	return digits;
}

static double random_double(uint64_t n)
{
	uint64_t bits = hash_mix(n);
	double v;
	memcpy(&v, &bits, sizeof v);
	return v;
}

/* Reads back as the same double, and no text with fewer digits does. */
static void test_shortest_and_exact(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 200000; i++) {
		double v = i % 3 ? random_double(i) : (double)(hash_mix(i) % 2000000) / 1e6;
		if (!isfinite(v) || v == 0)
			continue;
		char text[PYFLOAT_TEXT_MAX + 1], shorter[40];
		text[pyfloat_text(v, text)] = '\0';
		if (strtod(text, NULL) != v)
			fail_msg("%s is not %.17g", text, v);
		int digits = significant_digits(text);
		if (digits == 1)
			continue;
		snprintf(shorter, sizeof shorter, "%.*e", digits - 2, v);
		if (strtod(shorter, NULL) == v)
			fail_msg("%s is longer than %s", text, shorter);
	}
}

#define SCRIPT_ENV "FABRA_PYFLOAT_FILE"

/* Against Python itself, when there is one: bits and our text in, the number of differences out. */
static void test_python(void **state)
{
	(void)state;
	if (system("python3 -c 'import struct' >/dev/null 2>&1") != 0)
		skip();
	char path[] = "/tmp/fabra-pyfloat-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	FILE *file = fdopen(fd, "w");
	assert_non_null(file);
	for (uint64_t i = 1; i <= 300000; i++) {
		double v = random_double(i ^ 0x5eedull << 32);
		if (i % 4 == 1)
			v = ldexp(1.0, (int)(i % 2097) - 1074);
		else if (i % 4 == 2)
			v = (double)(float)(v - floor(v));
		if (!isfinite(v))
			continue;
		uint64_t bits;
		memcpy(&bits, &v, sizeof bits);
		char text[PYFLOAT_TEXT_MAX + 1];
		text[pyfloat_text(v, text)] = '\0';
		fprintf(file, "%016llx %s\n", (unsigned long long)bits, text);
	}
	assert_int_equal(fclose(file), 0);
	setenv(SCRIPT_ENV, path, 1);
	int rc = system("python3 -c '\n"
			"import os, struct, sys\n"
			"n = 0\n"
			"for line in open(os.environ[\"" SCRIPT_ENV "\"]):\n"
			"    bits, text = line.split()\n"
			"    v = struct.unpack(\">d\", bytes.fromhex(bits))[0]\n"
			"    n += 1\n"
			"    if repr(v) != text: sys.exit(f\"{bits}: {text} is not {v!r}\")\n"
			"sys.exit(0 if n > 200000 else \"too few\")'");
	remove(path);
	assert_int_equal(rc, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_shortest_and_exact),
		cmocka_unit_test(test_python),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
