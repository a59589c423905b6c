#include "store/text/uuid.h"

enum { COUNTER_MAX = 0xfff, COUNTER_START_MASK = 0x7ff };

static void text_from_bits(uint64_t high, uint64_t low, char ret[static UUID_TEXT])
{
	static const char hex[] = "0123456789abcdef";
	char *at = ret;
	for (int i = 0; i < 32; i++) {
		if (i == 8 || i == 12 || i == 16 || i == 20)
			*at++ = '-';
		uint64_t half = i < 16 ? high : low;
		*at++ = hex[half >> (60 - 4 * (i & 15)) & 15];
	}
}

static uint64_t variant_bits(uint64_t random)
{
	return (random & 0x3fffffffffffffffull) | 0x8000000000000000ull;
}

void uuid7_next(struct uuid7 *g, int64_t now_us, uint64_t random_a, uint64_t random_b, uint64_t *ret_high,
		uint64_t *ret_low)
{
	uint64_t now_ms = now_us > 0 ? (uint64_t)now_us / 1000 : 0;
	if (now_ms > g->last_ms) {
		/* Starting in the lower half leaves room to count within the millisecond. */
		g->last_ms = now_ms;
		g->counter = (uint16_t)(random_a & COUNTER_START_MASK);
	} else if (g->counter < COUNTER_MAX) {
		g->counter++;
	} else {
		g->last_ms++;
		g->counter = (uint16_t)(random_a & COUNTER_START_MASK);
	}
	*ret_high = (g->last_ms & 0xffffffffffffull) << 16 | 0x7000 | g->counter;
	*ret_low = variant_bits(random_b);
}

void uuid7_text(struct uuid7 *g, int64_t now_us, uint64_t random_a, uint64_t random_b, char ret[static UUID_TEXT])
{
	uint64_t high, low;
	uuid7_next(g, now_us, random_a, random_b, &high, &low);
	text_from_bits(high, low, ret);
}

void uuid4_text(uint64_t random_a, uint64_t random_b, char ret[static UUID_TEXT])
{
	text_from_bits((random_a & ~0xf000ull) | 0x4000, variant_bits(random_b), ret);
}

bool uuid_is_text(struct str s)
{
	if (s.n != UUID_TEXT)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
		if (dash ? c != '-' : !is_hex)
			return false;
	}
	return true;
}
