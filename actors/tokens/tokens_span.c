/* Cuts, and totals of joined texts.
 *
 * Between the characters x and y of a text the split has a border, whatever stands before x or behind y, when
 *
 *   1. x is a letter and y is neither letter nor mark nor apostrophe: behind a letter a piece goes on with letters,
 *      marks or a contraction only;
 *   2. x is a number and y is none: no piece holds a number and anything else;
 *   3. x is not white space and y is white space other than a line end: behind such an x a piece never goes on with it
 *      (punctuation takes line ends only, letters take none).
 *
 * The text in front of the border is split as if it ended there: no branch looks further than the next character except
 * the contraction, which wants letters, and `\s+(?!\S)`, which wants white space before it. The text behind the border
 * is split as if it began there, because the patterns never look back. Both hold for the cased and the plain rules. */
#include "actors/tokens/tokens.h"
#include "runtime/check.h"

#define LETTERS (TOKENS_UPPER | TOKENS_LOWER | TOKENS_LETTER)

/* The class of the character at p, or 0 when it is not valid UTF-8: what follows the text could complete it. */
static unsigned valid_class(const uint8_t *p, const uint8_t *end, size_t *ret_n)
{
	enum tokens_class class = tokens_split_class(p, end, ret_n);
	return *p >= 0x80 && *ret_n == 1 ? 0 : class;
}

static bool is_cut(unsigned x, const uint8_t *y, unsigned y_class)
{
	if (x & LETTERS)
		return (y_class & (TOKENS_NUMBER | TOKENS_SPACE | TOKENS_NEWLINE | TOKENS_OTHER)) && *y != '\'';
	if (x == TOKENS_NUMBER)
		return y_class != 0 && y_class != TOKENS_NUMBER;
	return (x & (TOKENS_OTHER | TOKENS_MARK)) && y_class == TOKENS_SPACE;
}

/* The first cut at most max bytes behind p, or NULL. */
static const uint8_t *first_cut(const uint8_t *p, const uint8_t *end, size_t max)
{
	const uint8_t *stop = (size_t)(end - p) > max ? p + max : end;
	unsigned x = 0, y;
	for (size_t n; p < stop; p += n, x = y) {
		y = valid_class(p, end, &n);
		if (is_cut(x, p, y))
			return p;
	}
	return NULL;
}

/* The start of the character that ends at p > begin. */
static const uint8_t *character_before(const uint8_t *begin, const uint8_t *p)
{
	const uint8_t *at = p - 1;
	while (at > begin && p - at < 4 && *at >> 6 == 2)
		at--;
	return at;
}

/* The last cut behind `begin` and at most max bytes before the end, or NULL. */
static const uint8_t *last_cut(const uint8_t *begin, const uint8_t *end, size_t max)
{
	unsigned x, y = 0;
	for (const uint8_t *p = end, *at; p > begin && (size_t)(end - p) <= max; p = at, y = x) {
		size_t n;
		at = character_before(begin, p);
		x = valid_class(at, end, &n);
		if (x != 0 && at + n != p) { /* stray bytes */
			x = 0;
			at = p - 1;
		}
		if (p < end && is_cut(x, p, y))
			return p;
	}
	return NULL;
}

struct tokens_span tokens_span_of(const struct tokens *t, struct str text, size_t total)
{
	CHECK(text.n <= UINT32_MAX && total <= UINT32_MAX);
	const uint8_t *p = (const uint8_t *)(text.n ? text.p : ""), *end = p + text.n;
	struct tokens_span span = { .total = (uint32_t)total,
				    .head_bytes = (uint32_t)text.n,
				    .tail_bytes = (uint32_t)text.n };
	const uint8_t *first = first_cut(p, end, TOKENS_SEAM_BYTES);
	const uint8_t *last = first ? last_cut(p, end, TOKENS_SEAM_BYTES) : NULL;
	if (first == NULL || last == NULL)
		return span;
	span.has_cut = true;
	span.head_bytes = (uint32_t)(first - p);
	span.tail_bytes = (uint32_t)(end - last);
	size_t edges = tokens_count(t, str_of(text.p, span.head_bytes)) +
		       tokens_count(t, str_of((const char *)last, span.tail_bytes));
	CHECK(edges <= total);
	span.middle = (uint32_t)(total - edges);
	return span;
}

struct tokens_span tokens_span(const struct tokens *t, struct str text)
{
	return tokens_span_of(t, text, tokens_count(t, text));
}

/* The bytes from the last cut so far on. */
struct stretch {
	char bytes[TOKENS_SEAM_BYTES];
	size_t n;
};

static bool stretch_add(struct stretch *stretch, struct str text)
{
	if (text.n > sizeof stretch->bytes - stretch->n)
		return false;
	if (text.n > 0)
		memcpy(stretch->bytes + stretch->n, text.p, text.n);
	stretch->n += text.n;
	return true;
}

static size_t stretch_end(struct stretch *stretch, const struct tokens *t)
{
	size_t count = tokens_count(t, str_of(stretch->bytes, stretch->n));
	stretch->n = 0;
	return count;
}

bool tokens_joined(const struct tokens *t, const struct tokens_item *items, size_t n, struct str separator,
		   size_t *ret_count)
{
	struct stretch stretch;
	stretch.n = 0;
	size_t total = 0;
	for (size_t i = 0; i < n; i++) {
		struct str text = items[i].text;
		const struct tokens_span *span = &items[i].span;
		if (i > 0 && !stretch_add(&stretch, separator))
			return false;
		if (!stretch_add(&stretch, str_of(text.p, span->head_bytes)))
			return false;
		if (!span->has_cut)
			continue;
		total += stretch_end(&stretch, t) + span->middle;
		if (!stretch_add(&stretch, str_skip(text, text.n - span->tail_bytes)))
			return false;
	}
	*ret_count = total + stretch_end(&stretch, t);
	return true;
}
