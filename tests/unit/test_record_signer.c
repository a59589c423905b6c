#include "store/record/record.h"
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void put_env(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

/* Loads with these; returns what was said about it. */
static struct str load(const char *key, const char *id, const char *mode, struct record_signer *ret, bool ok)
{
	static char said[512];
	struct buf errors = { 0 };
	put_env("FABRA_SIGNING_KEY", key);
	put_env("FABRA_SIGNING_KEY_ID", id);
	put_env("FABRA_SIGNATURE_MODE", mode);
	assert_int_equal(record_signer_load(ret, &errors), ok);
	size_t n = errors.n < sizeof said ? errors.n : sizeof said;
	if (n)
		memcpy(said, errors.p, n);
	assert_int_equal(ok, n == 0);
	buf_finish(&errors);
	return str_of(said, n);
}

static void test_keys(void **state)
{
	struct record_signer s;
	(void)state;
	load(NULL, NULL, NULL, &s, true);
	assert_int_equal(s.key_bytes, 0);
	assert_string_equal(s.key_id, "default");
	assert_int_equal(s.mode, SIGNATURE_OPTIONAL);
	load("  super-secret-key \n", " k7 ", NULL, &s, true);
	assert_int_equal(s.key_bytes, 16);
	assert_memory_equal(s.key, "super-secret-key", 16);
	assert_string_equal(s.key_id, "k7");
	load("base64:AQEBAQ==", "  ", NULL, &s, true);
	assert_int_equal(s.key_bytes, 4);
	assert_memory_equal(s.key, "\1\1\1\1", 4);
	assert_string_equal(s.key_id, "default");
	load("hex:00fF10", NULL, NULL, &s, true);
	assert_int_equal(s.key_bytes, 3);
	assert_memory_equal(s.key, "\x00\xff\x10", 3);
}

static void test_modes(void **state)
{
	static const struct {
		const char *text;
		int mode;
	} cases[] = {
		{ "off", SIGNATURE_OFF },           { "Disabled", SIGNATURE_OFF }, { "0", SIGNATURE_OFF },
		{ "REQUIRED", SIGNATURE_REQUIRED }, { " 1 ", SIGNATURE_REQUIRED }, { "optional", SIGNATURE_OPTIONAL },
		{ "Optional", SIGNATURE_OPTIONAL }, { " ", SIGNATURE_OPTIONAL },
	};
	struct record_signer s;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		load("k", NULL, cases[i].text, &s, true);
		assert_int_equal(s.mode, cases[i].mode);
		assert_int_equal(s.key_bytes, cases[i].mode == SIGNATURE_OFF ? 0 : 1);
	}
}

static void test_mistakes(void **state)
{
	char long_key[300] = { 0 }, long_hex[4 + 514 + 1] = "hex:";
	struct record_signer s;
	(void)state;
	assert_true(
	    str_starts(load("base64:abc", NULL, NULL, &s, false), STR("FABRA_SIGNING_KEY: what follows base64:")));
	assert_true(str_starts(load("hex:abc", NULL, NULL, &s, false), STR("FABRA_SIGNING_KEY: what follows hex:")));
	assert_true(str_starts(load("hex:", NULL, NULL, &s, false), STR("FABRA_SIGNING_KEY: no bytes")));
	memset(long_key, 'x', 257);
	assert_true(str_starts(load(long_key, NULL, NULL, &s, false), STR("FABRA_SIGNING_KEY: longer")));
	memset(long_hex + 4, '0', 514);
	assert_true(str_starts(load(long_hex, NULL, NULL, &s, false), STR("FABRA_SIGNING_KEY: longer")));
	long_key[256] = '\0';
	load(long_key, NULL, NULL, &s, true);
	assert_int_equal(s.key_bytes, 256);
	assert_true(str_starts(load("k", long_key, NULL, &s, false), STR("FABRA_SIGNING_KEY_ID: 256 bytes")));
	struct str said = load(NULL, NULL, "required", &s, false);
	assert_true(str_starts(said, STR("FABRA_SIGNATURE_MODE: required, but FABRA_SIGNING_KEY is not set")));
	/* What was meant and cannot be used is never passed over: records would stay unsigned. */
	assert_true(str_starts(load(" \n", NULL, NULL, &s, false), STR("FABRA_SIGNING_KEY: it is blank")));
	assert_true(str_starts(load(" ", NULL, "required", &s, false), STR("FABRA_SIGNING_KEY: it is blank")));
	load("", NULL, NULL, &s, true);
	assert_true(str_starts(load("k", NULL, "requird", &s, false), STR("FABRA_SIGNATURE_MODE: it is none of")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_mistakes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
