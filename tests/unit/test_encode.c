#include "runtime/encode.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_hex(void **state)
{
	(void)state;
	char text[8];
	uint8_t bytes[4];
	encode_hex("\x00\x7f\xab\xff", 4, text);
	assert_memory_equal(text, "007fabff", 8);
	assert_true(encode_unhex(STR("007fABfF"), bytes));
	assert_memory_equal(bytes, "\x00\x7f\xab\xff", 4);
	assert_true(encode_unhex(STR(""), bytes));
	assert_false(encode_unhex(STR("0"), bytes));
	assert_false(encode_unhex(STR("0g"), bytes));
	assert_false(encode_unhex(STR("@0"), bytes));
	assert_false(encode_unhex(STR(":0"), bytes));
}

/* RFC 4648 section 10. */
static void test_base64_vectors(void **state)
{
	static const char *const vectors[][2] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		struct str plain = str_from(vectors[i][0]), coded = str_from(vectors[i][1]);
		char text[16], back[16];
		size_t n = 99;
		encode_base64(plain.p, plain.n, text);
		assert_int_equal(encode_base64_len(plain.n), coded.n);
		assert_memory_equal(text, coded.p, coded.n);
		assert_true(encode_unbase64(coded, back, &n));
		assert_int_equal(n, plain.n);
		assert_memory_equal(back, plain.p, n);
	}
}

static void test_base64_all_bytes(void **state)
{
	(void)state;
	uint8_t bytes[256], back[258];
	char text[344];
	size_t n;
	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)(i * 167);
	for (size_t len = 250; len <= 256; len++) {
		encode_base64(bytes, len, text);
		assert_true(encode_unbase64(str_of(text, encode_base64_len(len)), back, &n));
		assert_int_equal(n, len);
		assert_memory_equal(back, bytes, len);
	}
}

static void test_base64_refuses(void **state)
{
	static const char *const bad[] = { "Z",
					   "Zg",
					   "Zg=",
					   "=g==",
					   "====",
					   "Zh==",
					   "Zm9=",
					   "Z===",
					   "Zg==Zg==",
					   "Zm9v\n",
					   "Zm-v",
					   "Zm9_",
					   ("Zm\xff"
					    "v") };
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char out[16];
		size_t n = 77;
		assert_false(encode_unbase64(str_from(bad[i]), out, &n));
		assert_int_equal(n, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_base64_vectors),
		cmocka_unit_test(test_base64_all_bytes),
		cmocka_unit_test(test_base64_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
