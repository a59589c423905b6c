/* The expected values are those of OpenSSL's SIPHASH (c- and d-rounds 1,3 and 2,4) for the key 00 01 .. 0f,
 * and of CPython's siphash13 for the zero key. */
#include "runtime/hash.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>

static void use_test_key(void)
{
	hash_key_set(0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull);
}

static void test_hash64(void **state)
{
	(void)state;
	use_test_key();
	assert_true(hash64(STR("")) == 0xabac0158050fc4dcull);
	assert_true(hash64(STR("a")) == 0x1c2697ab786a6237ull);
	assert_true(hash64(STR("abcdefgh")) == 0x12d8c08c2ee9e620ull);
	assert_true(hash64(str_of("\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16", 15)) == 0xd320d86d2a519956ull);
	hash_key_set(0, 0);
	assert_true(hash64(STR("abc")) == 0xc03bc3a0042630f2ull);
	assert_true(hash64(STR("hello-world-123456789")) == 0x3312bee439f73c59ull);
}

static void assert_hash128(struct str s, const char *hex)
{
	struct hash128 h = hash128(s);
	char text[33];
	for (int i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02X", (unsigned)((i < 8 ? h.lo : h.hi) >> (8 * (i % 8)) & 255));
	assert_string_equal(text, hex);
}

static void test_hash128(void **state)
{
	(void)state;
	use_test_key();
	assert_hash128(STR(""), "A3817F04BA25A8E66DF67214C7550293");
	assert_hash128(STR("a"), "0EA4F2FB02AD21D92D5FC91684F26426");
	assert_hash128(STR("abcdefgh"), "8C93E201AC8E8396897E3133E447EDA3");
	assert_hash128(str_of("\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16", 15), "5493E99933B0A8117E08EC0F97CFC3D9");
}

static void test_key_matters(void **state)
{
	(void)state;
	hash_key_set(1, 2);
	uint64_t first = hash64(STR("user:1"));
	hash_key_set(1, 3);
	assert_true(first != hash64(STR("user:1")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash64),
		cmocka_unit_test(test_hash128),
		cmocka_unit_test(test_key_matters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
