/* A growable byte buffer on the heap, with a bound. A failed append (bound reached, no memory) sets `failed` and
 * leaves the content as it was; later appends do nothing, so a writer checks once at the end. */
#pragma once
#include "runtime/str.h"
#include <stdarg.h>
#include <stdint.h>

struct buf {
	char *p; /* owned; NULL while empty */
	size_t n, cap;
	size_t max; /* bytes; 0 means BUF_MAX_DEFAULT */
	bool failed;
};

#define BUF_MAX_DEFAULT (64u << 20)

/* `struct buf b = {0}` is a valid empty buffer. */
void buf_finish(struct buf *b);             /* frees; the buffer is empty and usable again */
bool buf_grow(struct buf *b, size_t extra); /* what buf_reserve does when there is no room yet */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* snprintf that never cuts a UTF-8 character in two. Returns the bytes in out, without the NUL. cap: at least 1. */
size_t text_printf(char *out, size_t cap, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t text_vprintf(char *out, size_t cap, const char *format, va_list args) __attribute__((format(printf, 3, 0)));
void buf_append_i64(struct buf *b, int64_t v);
void buf_append_u64(struct buf *b, uint64_t v);
/* Moves the bytes out: the caller frees the result with free(); NULL when empty. ret_n may be NULL. */
char *buf_take(struct buf *b, size_t *ret_n);

/* Room for `extra` more bytes; false sets failed. */
static inline bool buf_reserve(struct buf *b, size_t extra)
{
	return (b->cap - b->n >= extra && !b->failed) || buf_grow(b, extra);
}

static inline void buf_append(struct buf *b, const void *p, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static inline void buf_append_str(struct buf *b, struct str s)
{
	buf_append(b, s.p, s.n);
}

static inline void buf_append_char(struct buf *b, char c)
{
	if (b->n < b->cap && !b->failed)
		b->p[b->n++] = c;
	else
		buf_append(b, &c, 1);
}

#define buf_append_lit(b, literal) buf_append((b), "" literal "", sizeof(literal) - 1)

static inline void buf_clear(struct buf *b)
{
	b->n = 0;
	b->failed = false;
}

static inline struct str buf_str(const struct buf *b)
{
	return (struct str){ b->p, b->n };
}
