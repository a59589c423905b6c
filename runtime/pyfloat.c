/* How it works. A finite double is c * 2^q. All reals that round to it lie between its neighbours'
 * midpoints; scaled by 4 these are the integers 4c-2 (4c-1 below a power of two), 4c and 4c+2. With k =
 * floor(log10 of the interval's width), the interval holds at least one multiple of 10^k and at most a few
 * of 10^(k+1). Multiplying by 10^-k turns the question into comparing integers; 126 bits of 10^-k are
 * enough, provided that a lost remainder is kept as a sticky low bit. */
#include "runtime/pyfloat.h"
#include "runtime/check.h"
#include <pthread.h>
#include <stdint.h>

enum {
	POWER_MIN = -292, /* 10^p for every p that a double can ask for */
	POWER_MAX = 324,
	LIMBS = 19, /* 1216 bits: 2^1215 / 5^292 has 538 significant bits, 5^324 has 753 */
};

/* 10^p = g * 2^e with 2^127 <= g < 2^128, rounded up where it is not exact. */
struct power {
	uint64_t high, low;
};
static struct power powers[POWER_MAX - POWER_MIN + 1];
static pthread_once_t powers_once = PTHREAD_ONCE_INIT;

/* The top 128 bits of a little-endian number, rounded up. `inexact`: the number itself was cut off before. */
static struct power top_bits(const uint64_t n[static LIMBS], bool inexact)
{
	int top = LIMBS - 1;
	while (n[top] == 0)
		top--;
	int shift = __builtin_clzll(n[top]);
	uint64_t limb[3] = { 0 }; /* limb[0] is the most significant */
	for (int i = 0; i < 3; i++)
		limb[i] = top - i >= 0 ? n[top - i] : 0;
	struct power g = { limb[0], limb[1] };
	uint64_t cut = limb[2];
	if (shift) {
		g.high = limb[0] << shift | limb[1] >> (64 - shift);
		g.low = limb[1] << shift | limb[2] >> (64 - shift);
		cut = limb[2] << shift;
	}
	for (int i = 0; i < top - 2; i++)
		cut |= n[i];
	if (cut || inexact) {
		g.low++;
		g.high += g.low == 0;
	}
	return g;
}

/* 10^p and 5^p have the same leading bits. Upwards 5^p is exact; downwards a large power of two is divided
 * again and again, and the floor of a floor is the floor of the whole. */
static void powers_fill(void)
{
	uint64_t n[LIMBS] = { 1 };
	for (int p = 0; p <= POWER_MAX; p++) {
		powers[p - POWER_MIN] = top_bits(n, false);
		unsigned __int128 carry = 0;
		for (int i = 0; i < LIMBS; i++) {
			carry += (unsigned __int128)n[i] * 5;
			n[i] = (uint64_t)carry;
			carry >>= 64;
		}
	}
	memset(n, 0, sizeof n);
	n[LIMBS - 1] = 1ull << 63;
	for (int p = -1; p >= POWER_MIN; p--) {
		unsigned __int128 rest = 0;
		for (int i = LIMBS - 1; i >= 0; i--) {
			rest = rest << 64 | n[i];
			n[i] = (uint64_t)(rest / 5);
			rest %= 5;
		}
		powers[p - POWER_MIN] = top_bits(n, true);
	}
}

/* floor(log2(10^e)), and floor(log10(2^e)) or floor(log10(3/4 * 2^e)); exact for every e used here. */
static int log2_of_power10(int e)
{
	return e * 1741647 >> 19;
}

static int log10_of_power2(int e, bool three_quarters)
{
	return (e * 1262611 - (three_quarters ? 524031 : 0)) >> 22;
}

/* g * c / 2^128; a remainder is kept as a set lowest bit, so that comparisons stay right. */
static uint64_t scale_to_odd(struct power g, uint64_t c)
{
	unsigned __int128 low = (unsigned __int128)g.low * c;
	unsigned __int128 high = (unsigned __int128)g.high * c + (uint64_t)(low >> 64);
	return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

struct decimal { /* digits * 10^exponent */
	uint64_t digits;
	int exponent;
};

static struct decimal shortest(uint64_t fraction, int biased)
{
	uint64_t c = biased ? fraction | 1ull << 52 : fraction;
	int q = (biased ? biased : 1) - 1075;
	bool closer_below = fraction == 0 && biased > 1;
	bool even = (c & 1) == 0; /* then the midpoints themselves round to c */
	int k = log10_of_power2(q, closer_below);
	int shift = q + log2_of_power10(-k) + 1;
	struct power g = powers[-k - POWER_MIN];
	uint64_t below = scale_to_odd(g, (4 * c - 2 + closer_below) << shift);
	uint64_t value = scale_to_odd(g, 4 * c << shift);
	uint64_t above = scale_to_odd(g, (4 * c + 2) << shift);
	uint64_t lower = below + !even, upper = above - !even;

	uint64_t s = value / 4, tens = s / 10;
	if (s >= 10) {
		bool down_fits = lower <= 40 * tens, up_fits = 40 * tens + 40 <= upper;
		if (down_fits != up_fits)
			return (struct decimal){ tens + up_fits, k + 1 };
	}
	bool down_fits = lower <= 4 * s, up_fits = 4 * s + 4 <= upper;
	bool go_up = up_fits;
	if (down_fits == up_fits)
		go_up = value > 4 * s + 2 || (value == 4 * s + 2 && (s & 1));
	return (struct decimal){ s + go_up, k };
}

static int put_digits(uint64_t v, char ret[static 20])
{
	char reversed[20];
	int n = 0;
	do
		reversed[n++] = (char)('0' + v % 10);
	while (v /= 10);
	for (int i = 0; i < n; i++)
		ret[i] = reversed[n - 1 - i];
	return n;
}

static char *put_scientific(char *at, const char *digits, int n, int exp10)
{
	*at++ = digits[0];
	if (n > 1) {
		*at++ = '.';
		memcpy(at, digits + 1, (size_t)n - 1);
		at += n - 1;
	}
	*at++ = 'e';
	*at++ = exp10 < 0 ? '-' : '+';
	if (exp10 < 0)
		exp10 = -exp10;
	if (exp10 >= 100)
		*at++ = (char)('0' + exp10 / 100);
	*at++ = (char)('0' + exp10 / 10 % 10);
	*at++ = (char)('0' + exp10 % 10);
	return at;
}

static char *put_fixed(char *at, const char *digits, int n, int exp10)
{
	if (exp10 < 0) {
		*at++ = '0';
		*at++ = '.';
		for (int i = -1; i > exp10; i--)
			*at++ = '0';
		memcpy(at, digits, (size_t)n);
		return at + n;
	}
	for (int i = 0; i <= exp10 || i < n; i++) {
		if (i == exp10 + 1)
			*at++ = '.';
		*at++ = i < n ? digits[i] : '0';
	}
	if (n <= exp10 + 1) {
		*at++ = '.';
		*at++ = '0';
	}
	return at;
}

size_t pyfloat_text(double v, char ret[static PYFLOAT_TEXT_MAX])
{
	pthread_once(&powers_once, powers_fill);
	uint64_t bits;
	memcpy(&bits, &v, sizeof bits);
	uint64_t fraction = bits & ((1ull << 52) - 1);
	int biased = (int)(bits >> 52 & 0x7ff);
	CHECK(biased != 0x7ff);

	char *at = ret;
	if (bits >> 63)
		*at++ = '-';
	if (fraction == 0 && biased == 0) {
		memcpy(at, "0.0", 3);
		return (size_t)(at - ret) + 3;
	}
	struct decimal d = shortest(fraction, biased);
	while (d.digits % 10 == 0) {
		d.digits /= 10;
		d.exponent++;
	}
	char digits[20];
	int n = put_digits(d.digits, digits);
	int exp10 = d.exponent + n - 1;
	bool fixed = exp10 >= -4 && exp10 < 16;
	at = fixed ? put_fixed(at, digits, n, exp10) : put_scientific(at, digits, n, exp10);
	return (size_t)(at - ret);
}
