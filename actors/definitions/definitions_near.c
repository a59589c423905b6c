#include "actors/definitions/definitions_near.h"

enum { BYTES_MAX = 64 };

static unsigned char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

unsigned definitions_distance(struct str a, struct str b)
{
	if (a.n == 0 || b.n == 0 || a.n > BYTES_MAX || b.n > BYTES_MAX)
		return NEAR_FAR;
	unsigned rows[3][BYTES_MAX + 1]; /* of the current letter of a and the two before */
	unsigned *before = rows[0], *last = rows[1], *now = rows[2];
	for (size_t j = 0; j <= b.n; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			bool same = lower(a.p[i - 1]) == lower(b.p[j - 1]);
			now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + !same);
			bool swapped = i > 1 && j > 1 && lower(a.p[i - 1]) == lower(b.p[j - 2]) &&
				       lower(a.p[i - 2]) == lower(b.p[j - 1]);
			if (swapped && before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
		unsigned *free_row = before;
		before = last;
		last = now;
		now = free_row;
	}
	size_t longer = a.n > b.n ? a.n : b.n;
	unsigned bound = longer <= 3 ? 1 : (unsigned)(longer + 2) / 3;
	return last[b.n] <= bound ? last[b.n] : NEAR_FAR;
}

const char *definitions_near(const char *const *names, struct str name)
{
	const char *best = NULL;
	unsigned best_distance = NEAR_FAR;
	for (; *names; names++) {
		unsigned distance = definitions_distance(str_from(*names), name);
		if (distance < best_distance) {
			best = *names;
			best_distance = distance;
		}
	}
	return best;
}

bool definitions_near_known(const char *const *names, struct str name)
{
	for (; *names; names++)
		if (str_eq(str_from(*names), name))
			return true;
	return false;
}
