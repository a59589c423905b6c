#include "runtime/buf.h"
#include "runtime/digits.h"
#include <stdio.h>
#include <stdlib.h>

void buf_finish(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ .max = b->max };
}

bool buf_grow(struct buf *b, size_t extra)
{
	if (b->failed)
		return false;
	size_t max = b->max ? b->max : BUF_MAX_DEFAULT;
	if (extra > max || b->n > max - extra) {
		b->failed = true;
		return false;
	}
	size_t cap = b->cap ? b->cap : 128;
	while (cap < b->n + extra)
		cap *= 2;
	if (cap > max)
		cap = max;
	char *p = realloc(b->p, cap);
	if (p == NULL) {
		b->failed = true;
		return false;
	}
	b->p = p;
	b->cap = cap;
	return true;
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
		vsnprintf(b->p + b->n, (size_t)n + 1, format, again);
		b->n += (size_t)n;
	}
	va_end(again);
}

size_t text_vprintf(char *out, size_t cap, const char *format, va_list args)
{
	int wanted = vsnprintf(out, cap, format, args);
	size_t n = wanted < 0 ? 0 : (size_t)wanted;
	if (n >= cap)
		n = str_whole(str_of(out, cap - 1)).n;
	out[n] = '\0';
	return n;
}

size_t text_printf(char *out, size_t cap, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	size_t n = text_vprintf(out, cap, format, args);
	va_end(args);
	return n;
}

void buf_append_u64(struct buf *b, uint64_t v)
{
	char digits[20], *end = digits + sizeof digits, *at = digits_before(end, v);
	buf_append(b, at, (size_t)(end - at));
}

void buf_append_i64(struct buf *b, int64_t v)
{
	if (v < 0)
		buf_append_char(b, '-');
	buf_append_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

char *buf_take(struct buf *b, size_t *ret_n)
{
	char *p = b->p;
	if (ret_n)
		*ret_n = b->n;
	*b = (struct buf){ .max = b->max };
	return p;
}
