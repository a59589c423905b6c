/* The expected values are those of OpenSSL's SIPHASH (c- and d-rounds 1,3) for the key 00 01 .. 0f, and of CPython's
 * siphash13 for the zero key. */
#include "runtime/hash.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

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

static bool same(struct hash128 a, struct hash128 b)
{
	return a.lo == b.lo && a.hi == b.hi;
}

/* Lengths on both sides of every step of the algorithm (16, 128, 240, and a block of 1024 bytes). */
static void test_hash128(void **state)
{
	(void)state;
	static char text[2100];
	static struct hash128 of_length[sizeof text];
	use_test_key();
	for (size_t n = 0; n < sizeof text; n++)
		text[n] = (char)(n * 131 + n / 7);
	for (size_t n = 0; n < sizeof text; n++) {
		of_length[n] = hash128(str_of(text, n));
		assert_true(same(of_length[n], hash128(str_of(text, n))));
		for (size_t k = 0; k < n; k++)
			assert_true(of_length[n].lo != of_length[k].lo && of_length[n].hi != of_length[k].hi);
	}
	for (size_t bit = 0; bit < 8 * sizeof text; bit++) {
		text[bit / 8] ^= (char)(1 << bit % 8);
		struct hash128 h = hash128(str_of(text, sizeof text));
		text[bit / 8] ^= (char)(1 << bit % 8);
		assert_true(h.lo != hash128(str_of(text, sizeof text)).lo);
	}
}

static void test_key_matters(void **state)
{
	(void)state;
	hash_key_set(1, 2);
	uint64_t first = hash64(STR("user:1"));
	struct hash128 first128 = hash128(STR("user:1"));
	hash_key_set(1, 3);
	assert_true(first != hash64(STR("user:1")));
	assert_false(same(first128, hash128(STR("user:1"))));
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
