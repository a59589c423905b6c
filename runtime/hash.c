#include "runtime/hash.h"
#include "runtime/check.h"
#include <sys/random.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t process_key[2];

/* Runs before main, so that hashing needs neither a lock nor a check. */
__attribute__((constructor)) static void hash_key_init(void)
{
	CHECK(getrandom(process_key, sizeof process_key, 0) == sizeof process_key);
}

void hash_key_set(uint64_t k0, uint64_t k1)
{
	process_key[0] = k0;
	process_key[1] = k1;
}

static inline uint64_t rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void rounds(struct sip *s, int n)
{
	while (n--) {
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
}

static inline uint64_t load_le(const char *p, size_t n)
{
	uint64_t v = 0;
	memcpy(&v, p, n);
	return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(v) : v;
}

/* All of the input, with the length in the last word's top byte as the algorithm wants it. */
static inline struct sip absorb(struct str text, int rounds_per_word)
{
	struct sip s = { process_key[0] ^ 0x736f6d6570736575ull, process_key[1] ^ 0x646f72616e646f6dull,
			 process_key[0] ^ 0x6c7967656e657261ull, process_key[1] ^ 0x7465646279746573ull };
	if (rounds_per_word == 2)
		s.v1 ^= 0xee; /* marks the 128-bit variant */
	size_t i = 0;
	for (; text.n - i >= 8; i += 8) {
		uint64_t word = load_le(text.p + i, 8);
		s.v3 ^= word;
		rounds(&s, rounds_per_word);
		s.v0 ^= word;
	}
	uint64_t last = (uint64_t)text.n << 56;
	if (text.n > i)
		last |= load_le(text.p + i, text.n - i);
	s.v3 ^= last;
	rounds(&s, rounds_per_word);
	s.v0 ^= last;
	return s;
}

uint64_t hash64(struct str text)
{
	struct sip s = absorb(text, 1);
	s.v2 ^= 0xff;
	rounds(&s, 3);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

struct hash128 hash128(struct str text)
{
	struct hash128 h;
	struct sip s = absorb(text, 2);
	s.v2 ^= 0xee;
	rounds(&s, 4);
	h.lo = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
	s.v1 ^= 0xdd;
	rounds(&s, 4);
	h.hi = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
	return h;
}
