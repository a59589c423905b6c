#include "runtime/hash.h"
#include "runtime/check.h"
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t process_key[2];
static unsigned char text_secret[XXH3_SECRET_DEFAULT_SIZE]; /* of hash128, derived from the key */

void hash_key_set(uint64_t k0, uint64_t k1)
{
	process_key[0] = k0;
	process_key[1] = k1;
	CHECK(XXH3_generateSecret(text_secret, sizeof text_secret, process_key, sizeof process_key) == XXH_OK);
}

/* Runs before main, so that hashing needs neither a lock nor a check. */
__attribute__((constructor)) static void hash_key_init(void)
{
	uint64_t key[2];
	CHECK(getrandom(key, sizeof key, 0) == sizeof key);
	hash_key_set(key[0], key[1]);
}

static inline uint64_t rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void round_once(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static inline uint64_t load_le(const char *p, size_t n)
{
	uint64_t v = 0;
	memcpy(&v, p, n);
	return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(v) : v;
}

/* All of the input, with the length in the last word's top byte as the algorithm wants it. */
uint64_t hash64(struct str text)
{
	struct sip s = { process_key[0] ^ 0x736f6d6570736575ull, process_key[1] ^ 0x646f72616e646f6dull,
			 process_key[0] ^ 0x6c7967656e657261ull, process_key[1] ^ 0x7465646279746573ull };
	size_t i = 0;
	for (; text.n - i >= 8; i += 8) {
		uint64_t word = load_le(text.p + i, 8);
		s.v3 ^= word;
		round_once(&s);
		s.v0 ^= word;
	}
	uint64_t last = (uint64_t)text.n << 56;
	if (text.n > i)
		last |= load_le(text.p + i, text.n - i);
	s.v3 ^= last;
	round_once(&s);
	s.v0 ^= last;
	s.v2 ^= 0xff;
	for (int k = 0; k < 3; k++)
		round_once(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

struct hash128 hash128(struct str text)
{
	XXH128_hash_t h = XXH3_128bits_withSecret(text.p, text.n, text_secret, sizeof text_secret);
	return (struct hash128){ h.low64, h.high64 };
}
