#include "store/text/json_text.h"
#include "runtime/pyfloat.h"
#include <math.h>
#include <stdlib.h>

enum { FEW_KEYS = 32 };

/* ---- strings ---- */

/* How many bytes from p on can be copied as they are. The canonical form keeps printable ASCII only. */
static inline __attribute__((always_inline)) size_t safe_run(const unsigned char *p, size_t n, bool ascii_only)
{
	size_t i = 0;
	for (; i + 16 <= n; i += 16) {
		json_lanes c = json_lanes_load(p + i);
		json_lanes bad = (json_lanes)((c < 0x20) | (c == '"') | (c == '\\'));
		if (ascii_only)
			bad |= (json_lanes)(c > 0x7e);
		size_t first = json_lanes_first(bad);
		if (first < 16)
			return i + first;
	}
	while (i < n && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && !(ascii_only && p[i] > 0x7e))
		i++;
	return i;
}

static void escape_unit(struct buf *out, unsigned unit)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = { '\\', 'u' };
	for (int i = 0; i < 4; i++)
		text[2 + i] = hex[unit >> (12 - 4 * i) & 15];
	buf_append(out, text, sizeof text);
}

/* For '"', '\\', control characters and DEL. */
static void escape_ascii(struct buf *out, unsigned char c)
{
	static const char short_form[0x80] = {
		['"'] = '"', ['\\'] = '\\', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['\f'] = 'f', ['\b'] = 'b',
	};
	if (short_form[c])
		buf_append(out, (char[]){ '\\', short_form[c] }, 2);
	else
		escape_unit(out, c);
}

/* Returns the bytes taken; 0 when they are not UTF-8. */
static size_t escape_sequence(struct buf *out, const unsigned char *p, size_t left)
{
	size_t n = utf8_sequence(p, left);
	if (n == 2) {
		escape_unit(out, (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu));
	} else if (n == 3) {
		escape_unit(out, (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu));
	} else if (n == 4) {
		unsigned point = (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
		escape_unit(out, 0xd800 + ((point - 0x10000) >> 10));
		escape_unit(out, 0xdc00 + ((point - 0x10000) & 0x3ff));
	}
	return n;
}

void json_write_string(struct buf *out, struct str utf8)
{
	const unsigned char *p = (const unsigned char *)utf8.p;
	buf_append_char(out, '"');
	for (size_t i = 0; i < utf8.n;) {
		size_t run = safe_run(p + i, utf8.n - i, false);
		buf_append(out, p + i, run);
		i += run;
		if (i < utf8.n)
			escape_ascii(out, p[i++]);
	}
	buf_append_char(out, '"');
}

void json_canonical_string(struct buf *out, struct str utf8)
{
	const unsigned char *p = (const unsigned char *)utf8.p;
	buf_append_char(out, '"');
	for (size_t i = 0; i < utf8.n;) {
		size_t run = safe_run(p + i, utf8.n - i, true);
		buf_append(out, p + i, run);
		i += run;
		if (i == utf8.n)
			break;
		if (p[i] < 0x80) {
			escape_ascii(out, p[i++]);
			continue;
		}
		size_t taken = escape_sequence(out, p + i, utf8.n - i);
		if (taken == 0) {
			out->failed = true;
			return;
		}
		i += taken;
	}
	buf_append_char(out, '"');
}

/* ---- numbers and containers ---- */

struct float_text {
	uint64_t bits;
	uint8_t n; /* 0 = empty */
	char text[PYFLOAT_TEXT_MAX];
};

/* A number is often written twice, a score in the record and in its lineage: the last texts are kept, by thread. */
static const struct float_text *text_of(double v)
{
	enum { KEPT_LOG2 = 8 };
	static _Thread_local struct float_text kept[1 << KEPT_LOG2];
	uint64_t bits;
	memcpy(&bits, &v, sizeof bits);
	struct float_text *t = &kept[bits * 0x9e3779b97f4a7c15u >> (64 - KEPT_LOG2)]; /* Fibonacci hashing (Knuth) */
	if (t->n == 0 || t->bits != bits) {
		t->bits = bits;
		t->n = (uint8_t)pyfloat_text(v, t->text);
	}
	return t;
}

void json_write_float(struct buf *out, double v)
{
	if (isfinite(v)) {
		const struct float_text *t = text_of(v);
		buf_append(out, t->text, t->n);
	} else {
		buf_append_lit(out, "null");
	}
}

static void write_scalar(struct buf *out, yyjson_val *v)
{
	if (yyjson_is_uint(v))
		buf_append_u64(out, yyjson_get_uint(v));
	else if (yyjson_is_sint(v))
		buf_append_i64(out, yyjson_get_sint(v));
	else if (yyjson_is_real(v))
		json_write_float(out, yyjson_get_real(v));
	else if (yyjson_is_bool(v))
		buf_append_str(out, yyjson_get_bool(v) ? STR("true") : STR("false"));
	else
		buf_append_lit(out, "null");
}

static void write_any(struct buf *out, yyjson_val *v, bool canonical);

static void write_pair(struct buf *out, yyjson_val *key, bool canonical)
{
	if (canonical)
		json_canonical_string(out, json_str(key));
	else
		json_write_string(out, json_str(key));
	buf_append_char(out, ':');
	write_any(out, yyjson_obj_iter_get_val(key), canonical);
}

static int compare_keys(const void *a, const void *b)
{
	return str_cmp(json_str(*(yyjson_val *const *)a), json_str(*(yyjson_val *const *)b));
}

static bool keys_ascend(yyjson_val *object)
{
	yyjson_obj_iter i = yyjson_obj_iter_with(object);
	struct str before = { 0 };
	for (yyjson_val *key; (key = yyjson_obj_iter_next(&i)); before = json_str(key)) {
		if (before.p && str_cmp(before, json_str(key)) > 0)
			return false;
	}
	return true;
}

/* A function of its own, so that a deep value costs the array only where keys are out of order. */
static __attribute__((noinline)) void write_sorted(struct buf *out, yyjson_val *object)
{
	yyjson_val *few[FEW_KEYS], **keys = few;
	size_t n = yyjson_obj_size(object), filled = 0;
	if (n > FEW_KEYS) {
		keys = malloc(n * sizeof *keys);
		if (keys == NULL) {
			out->failed = true;
			return;
		}
	}
	yyjson_obj_iter i = yyjson_obj_iter_with(object);
	for (yyjson_val *key; (key = yyjson_obj_iter_next(&i));)
		keys[filled++] = key;
	qsort(keys, n, sizeof *keys, compare_keys);
	for (size_t k = 0; k < n; k++) {
		if (k)
			buf_append_char(out, ',');
		write_pair(out, keys[k], true);
	}
	if (keys != few)
		free(keys);
}

static void write_object(struct buf *out, yyjson_val *object, bool canonical)
{
	buf_append_char(out, '{');
	if (canonical && !keys_ascend(object)) {
		write_sorted(out, object);
	} else {
		yyjson_obj_iter i = yyjson_obj_iter_with(object);
		bool first = true;
		for (yyjson_val *key; (key = yyjson_obj_iter_next(&i)); first = false) {
			if (!first)
				buf_append_char(out, ',');
			write_pair(out, key, canonical);
		}
	}
	buf_append_char(out, '}');
}

static void write_array(struct buf *out, yyjson_val *array, bool canonical)
{
	yyjson_arr_iter i = yyjson_arr_iter_with(array);
	bool first = true;
	buf_append_char(out, '[');
	for (yyjson_val *v; (v = yyjson_arr_iter_next(&i)); first = false) {
		if (!first)
			buf_append_char(out, ',');
		write_any(out, v, canonical);
	}
	buf_append_char(out, ']');
}

static void write_any(struct buf *out, yyjson_val *v, bool canonical)
{
	if (yyjson_is_obj(v))
		write_object(out, v, canonical);
	else if (yyjson_is_arr(v))
		write_array(out, v, canonical);
	else if (!yyjson_is_str(v))
		write_scalar(out, v);
	else if (canonical)
		json_canonical_string(out, json_str(v));
	else
		json_write_string(out, json_str(v));
}

void json_write_value(struct buf *out, yyjson_val *v)
{
	write_any(out, v, false);
}

void json_canonical_value(struct buf *out, yyjson_val *v)
{
	write_any(out, v, true);
}
