#include "store/redis/redis_wrap.h"
#include "store/text/json.h"
#include "store/text/timefmt.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

#define HEAD  "{\"__fabra_feature_value__\": true, \"value\": "
#define AS_OF ", \"as_of\": \""
#define OURS  ", \"fabra_n\": \""

enum {
	HEAD_LEN = sizeof HEAD - 1,
	AS_OF_LEN = sizeof AS_OF - 1,
	OURS_LEN = sizeof OURS - 1,
	/* Within the text of fabra_n. */
	AT_POSITION = REDIS_TIME_TEXT + 1,
	AT_WRITTEN = REDIS_ORDER_TEXT + 1,
	AT_EXPIRES = AT_WRITTEN + 17,
	AT_FLAGS = AT_EXPIRES + 17,
	AT_SUM = AT_FLAGS + 3,
	OURS_TEXT = AT_SUM + 8,
	TAIL_LEN = OURS_LEN + OURS_TEXT + 2, /* with the closing "} */
	SUMMED_BEHIND = 8 + 2,               /* bytes behind what is summed */
};
_Static_assert(HEAD_LEN + AS_OF_LEN + 32 + 1 + TAIL_LEN <= REDIS_WRAP_EXTRA_MAX, "room beside the value");

static void write_hex(char *out, unsigned digits, uint64_t v)
{
	static const char digit[] = "0123456789abcdef";
	for (unsigned i = digits; i > 0; i--, v >>= 4)
		out[i - 1] = digit[v & 15];
}

/* Lower-case digits only. */
static bool read_hex(const char *p, unsigned digits, uint64_t *ret)
{
	uint64_t v = 0;
	bool is_hex = true;
	for (unsigned i = 0; i < digits; i++) {
		unsigned char c = (unsigned char)p[i];
		is_hex = is_hex && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
		v = v << 4 | ((c & 15u) + (c >> 6) * 9u);
	}
	*ret = v;
	return is_hex;
}

/* As many digits make a word; the text is ours, so that all are digits. */
static uint64_t read_hex16(const char *p)
{
	uint64_t half[2];
	for (int i = 0; i < 2; i++) {
		uint64_t c;
		memcpy(&c, p + 8 * i, 8);
		c = __builtin_bswap64(c);
		c = (c & 0x0f0f0f0f0f0f0f0full) + ((c >> 6) & 0x0101010101010101ull) * 9; /* a digit a byte */
		c = (c | c >> 4) & 0x00ff00ff00ff00ffull;
		c = (c | c >> 8) & 0x0000ffff0000ffffull;
		half[i] = (c | c >> 16) & 0xffffffffull;
	}
	return half[0] << 32 | half[1];
}

/* ---- writing ---- */

void redis_order_write(const struct online_meta *when, char out[static REDIS_ORDER_TEXT])
{
	write_hex(out, 16, (uint64_t)when->event_time_us ^ 1ull << 63);
	write_hex(out + 16, 3, when->event_time_ns);
	out[REDIS_TIME_TEXT] = '.';
	write_hex(out + AT_POSITION, 16, when->lsn);
	write_hex(out + AT_POSITION + 16, 16, when->lsn_low);
}

void redis_wrap_write(struct buf *out, struct str json, const struct online_meta *meta)
{
	size_t begin = out->n;
	char ours[OURS_TEXT];
	if (!buf_reserve(out, json.n + REDIS_WRAP_EXTRA_MAX))
		return;
	buf_append_lit(out, HEAD);
	buf_append_str(out, json);
	buf_append_lit(out, AS_OF);
	time_write_offset(out, meta->event_time_us);
	buf_append_lit(out, "\"" OURS);
	redis_order_write(meta, ours);
	ours[AT_WRITTEN - 1] = ours[AT_EXPIRES - 1] = ours[AT_FLAGS - 1] = ours[AT_SUM - 1] = '.';
	write_hex(ours + AT_WRITTEN, 16, (uint64_t)meta->written_us);
	write_hex(ours + AT_EXPIRES, 16, (uint64_t)meta->expires_us);
	write_hex(ours + AT_FLAGS, 2, meta->flags);
	buf_append(out, ours, AT_SUM);
	write_hex(ours + AT_SUM, 8, XXH3_64bits(out->p + begin, out->n - begin));
	buf_append(out, ours + AT_SUM, 8);
	buf_append_lit(out, "\"}");
}

/* ---- reading what this program wrote ---- */

static bool has(struct str text, size_t at, const char *what, size_t n)
{
	return at + n <= text.n && memcmp(text.p + at, what, n) == 0;
}

/* Where the member as_of begins, in front of `end`: its text has two lengths. 0: nowhere. */
static size_t as_of_before(struct str text, size_t end)
{
	static const size_t lengths[] = { sizeof "2025-01-01T00:00:00.123456+00:00\"" - 1,
					  sizeof "2025-01-01T00:00:00+00:00\"" - 1 };
	for (size_t i = 0; i < 2; i++) {
		size_t n = AS_OF_LEN + lengths[i];
		if (end > HEAD_LEN + n && has(text, end - n, AS_OF, AS_OF_LEN))
			return end - n;
	}
	return 0;
}

/* The value's text; p NULL: the wrapper is not ours, or not whole. */
static struct str read_ours(struct str text, struct online_meta *ret)
{
	uint64_t sum;
	if (text.n < HEAD_LEN + TAIL_LEN || !has(text, text.n - TAIL_LEN, OURS, OURS_LEN) ||
	    !has(text, 0, HEAD, HEAD_LEN))
		return str_of(NULL, 0);
	const char *ours = text.p + text.n - TAIL_LEN + OURS_LEN;
	size_t value_end = as_of_before(text, text.n - TAIL_LEN);
	bool is_whole = value_end != 0 && read_hex(ours + AT_SUM, 8, &sum) &&
			sum == (XXH3_64bits(text.p, text.n - SUMMED_BEHIND) & 0xffffffffu);
	if (!is_whole)
		return str_of(NULL, 0);
	uint64_t ns, flags;
	read_hex(ours + 16, 3, &ns);
	read_hex(ours + AT_FLAGS, 2, &flags);
	*ret = (struct online_meta){ .event_time_us = (int64_t)(read_hex16(ours) ^ 1ull << 63),
				     .event_time_ns = (uint16_t)ns,
				     .lsn = read_hex16(ours + AT_POSITION),
				     .lsn_low = read_hex16(ours + AT_POSITION + 16),
				     .written_us = (int64_t)read_hex16(ours + AT_WRITTEN),
				     .expires_us = (int64_t)read_hex16(ours + AT_EXPIRES),
				     .flags = (uint32_t)flags };
	return str_of(text.p + HEAD_LEN, value_end - HEAD_LEN);
}

/* ---- reading what others wrote ---- */

static bool is_python_float(struct str text, size_t *ret_n)
{
	static const struct str words[] = { { "NaN", 3 }, { "Infinity", 8 }, { "-Infinity", 9 } };
	for (size_t i = 0; i < 3; i++)
		if (str_starts(text, words[i])) {
			*ret_n = words[i].n;
			return true;
		}
	return false;
}

/* Python writes numbers that JSON does not have, and its own server answers null for them. */
static bool without_python_float(struct str text, struct buf *out)
{
	size_t at = str_starts(text, STR(HEAD)) ? HEAD_LEN : 0, n;
	if (!is_python_float(str_skip(text, at), &n))
		return false;
	struct str rest = str_skip(text, at + n);
	if (at ? !str_starts(rest, STR(AS_OF)) : rest.n != 0)
		return false;
	buf_append(out, text.p, at);
	buf_append_lit(out, "null");
	buf_append_str(out, rest);
	return !out->failed;
}

/* A text that is no JSON is a string, as for Python. But one that was meant to be JSON must not become a string. */
static bool is_plain_text(struct str text)
{
	bool has_letter = false;
	if (text.n == 0 || text.p[0] == '{' || text.p[0] == '[' || !json_utf8_valid(text))
		return text.n == 0;
	for (size_t i = 0; i < text.n; i++)
		has_letter = has_letter || memchr("0123456789+-.eE", text.p[i], 15) == NULL;
	return has_letter;
}

static yyjson_doc *parse(struct str text)
{
	const struct json_limits limits = { .depth_max = 128, .bytes_max = text.n + 1 };
	struct json_error error;
	struct buf changed = { .max = text.n + 64 };
	yyjson_doc *doc = json_parse(text, &limits, &error);
	if (doc == NULL && without_python_float(text, &changed))
		doc = json_parse(buf_str(&changed), &limits, &error);
	buf_finish(&changed);
	return doc;
}

static void write_foreign(yyjson_val *root, struct buf *out, struct online_meta *meta)
{
	bool is_wrapper = yyjson_is_true(yyjson_obj_get(root, "__fabra_feature_value__"));
	yyjson_val *as_of = is_wrapper ? yyjson_obj_get(root, "as_of") : NULL;
	yyjson_val *value = is_wrapper ? yyjson_obj_get(root, "value") : root;
	if (as_of && yyjson_is_str(as_of) && time_parse_ns(json_str(as_of), &meta->event_time_us, &meta->event_time_ns))
		meta->flags &= ~(uint32_t)ONLINE_AGE_UNKNOWN;
	if (value)
		json_write_value(out, value);
	else
		buf_append_lit(out, "null");
}

static enum redis_wrapped read_foreign(struct str text, int64_t now_us, struct online_cell *ret)
{
	struct buf out = { .max = 8 * text.n + 64 };
	ret->meta = (struct online_meta){ .written_us = now_us, .flags = ONLINE_FOREIGN | ONLINE_AGE_UNKNOWN };
	yyjson_doc *doc = parse(text);
	if (doc)
		write_foreign(yyjson_doc_get_root(doc), &out, &ret->meta);
	else if (is_plain_text(text))
		json_write_string(&out, text);
	else
		return REDIS_WRAP_DAMAGED;
	yyjson_doc_free(doc);
	ret->value = out.failed ? NULL : value_create(buf_str(&out));
	buf_finish(&out);
	return ret->value ? REDIS_WRAP_FOREIGN : REDIS_WRAP_NO_MEMORY;
}

enum redis_wrapped redis_wrap_read(struct str text, int64_t now_us, struct online_cell *ret)
{
	struct str json = read_ours(text, &ret->meta);
	if (json.p == NULL)
		return read_foreign(text, now_us, ret);
	ret->value = value_create(json);
	return ret->value ? REDIS_WRAP_OURS : REDIS_WRAP_NO_MEMORY;
}

/* ---- deletes ---- */

static bool read_tombstone(struct str line, struct redis_tombstone *ret)
{
	uint64_t time, ns, high, low;
	const char *until_end = line.n > REDIS_ORDER_TEXT ? memchr(line.p, ' ', line.n) : NULL;
	if (until_end == NULL || line.p[REDIS_TIME_TEXT] != '.' || line.p[REDIS_ORDER_TEXT] != '.')
		return false;
	if (!read_hex(line.p, 16, &time) || !read_hex(line.p + 16, 3, &ns) ||
	    !read_hex(line.p + AT_POSITION, 16, &high) || !read_hex(line.p + AT_POSITION + 16, 16, &low))
		return false;
	ret->when = (struct online_meta){ .event_time_us = (int64_t)(time ^ 1ull << 63),
					  .event_time_ns = (uint16_t)ns,
					  .lsn = high,
					  .lsn_low = low };
	ret->feature = str_skip(line, (size_t)(until_end + 1 - line.p));
	return true;
}

bool redis_tombstone_next(struct str *text, struct redis_tombstone *ret)
{
	while (text->n) {
		const char *end = memchr(text->p, '\n', text->n);
		struct str line = str_of(text->p, end ? (size_t)(end - text->p) : text->n);
		*text = str_skip(*text, line.n + (end != NULL));
		if (read_tombstone(line, ret))
			return true;
	}
	return false;
}
