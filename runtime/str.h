/* A borrowed run of bytes: not NUL-terminated, never owned. Text is UTF-8 unless a function says otherwise. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
	const char *p; /* borrows; may be NULL when n is 0 */
	size_t n;      /* bytes */
};

#define STR(literal) ((struct str){ "" literal "", sizeof(literal) - 1 })
#define STR_ARG(s)   (int)(s).n, (s).p ? (s).p : "" /* for "%.*s" */

static inline struct str str_from(const char *c_string)
{
	return (struct str){ c_string, c_string ? strlen(c_string) : 0 };
}

static inline struct str str_of(const char *p, size_t n)
{
	return (struct str){ p, n };
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline int str_cmp(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static inline bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* s without the first bytes of a UTF-8 character whose last bytes were cut off. For a text that had to be shortened:
 * what is left of it is still UTF-8. */
static inline struct str str_whole(struct str s)
{
	size_t back = 0;
	while (back < 3 && back < s.n && ((unsigned char)s.p[s.n - 1 - back] & 0xc0) == 0x80)
		back++;
	if (back == s.n)
		return s;
	unsigned char lead = (unsigned char)s.p[s.n - 1 - back];
	size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
	return back + 1 < len ? (struct str){ s.p, s.n - 1 - back } : s;
}

/* The first bytes of s, at most max, and whole characters only. */
static inline struct str str_first(struct str s, size_t max)
{
	return s.n <= max ? s : str_whole((struct str){ s.p, max });
}

static inline struct str str_skip(struct str s, size_t n)
{
	return n >= s.n ? (struct str){ s.p + s.n, 0 } : (struct str){ s.p + n, s.n - n };
}
