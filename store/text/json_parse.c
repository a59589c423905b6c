#include "store/text/json_text.h"
#include <stdlib.h>

enum { DEPTH_DEFAULT = 64, BYTES_DEFAULT = 1 << 20, FEW_KEYS = 16, BLOCK = 64 };

/* ---- before building ---- */

/* '{' and '[' differ in one bit only. */
static bool opens(unsigned char c)
{
	return (c | 0x20) == '{';
}

static size_t count_opening(struct str text)
{
	const unsigned char *p = (const unsigned char *)text.p;
	size_t count = 0, i = 0;
	for (; i + BLOCK <= text.n; i += BLOCK) {
		unsigned char in_block = 0; /* a fixed trip count lets the compiler use vectors */
		for (int j = 0; j < BLOCK; j++)
			in_block = (unsigned char)(in_block + opens(p[i + (size_t)j]));
		count += in_block;
	}
	for (; i < text.n; i++)
		count += opens(p[i]);
	return count;
}

/* Offset of the bracket that goes too deep; text.n when none does. Needs no valid JSON. */
static size_t too_deep_at(struct str text, size_t depth_max)
{
	if (count_opening(text) <= depth_max)
		return text.n;
	size_t depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > depth_max)
				return i;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return text.n;
}

/* Each value but the first is behind one of these. */
static bool separates(unsigned char c)
{
	return opens(c) || c == ',' || c == ':';
}

static size_t count_separators(struct str text)
{
	const unsigned char *p = (const unsigned char *)text.p;
	size_t count = 0, i = 0;
	for (; i + BLOCK <= text.n; i += BLOCK) {
		unsigned char in_block = 0;
		for (int j = 0; j < BLOCK; j++)
			in_block = (unsigned char)(in_block + separates(p[i + (size_t)j]));
		count += in_block;
	}
	for (; i < text.n; i++)
		count += separates(p[i]);
	return count;
}

/* What is behind the string whose content begins at p; end when it does not end. */
static const char *behind_string(const char *p, const char *end)
{
	while (p < end && *p != '"')
		p += *p == '\\' ? 2 : 1;
	return p < end ? p + 1 : end;
}

bool json_has_more_values(struct str text, size_t max)
{
	if (count_separators(text) < max)
		return false;
	size_t count = 1;
	for (const char *p = text.p, *end = p + text.n; p < end && count <= max;) {
		if (*p == '"') {
			p = behind_string(p + 1, end);
			continue;
		}
		count += separates((unsigned char)*p++);
	}
	return count > max;
}

/* ---- after building ---- */

/* An object's pairs lie behind it as key, value, key, value; a value may be followed by its own content. */
static yyjson_val *next_key(yyjson_val *key)
{
	return unsafe_yyjson_get_next(key + 1);
}

static bool keys_ascend(yyjson_val *object)
{
	yyjson_val *key = unsafe_yyjson_get_first(object);
	for (size_t left = yyjson_obj_size(object); left > 1; left--) {
		yyjson_val *next = next_key(key);
		if (str_cmp(json_str(key), json_str(next)) >= 0)
			return false;
		key = next;
	}
	return true;
}

static yyjson_val *duplicate_among_few(yyjson_val *object)
{
	struct str seen[FEW_KEYS];
	yyjson_val *key = unsafe_yyjson_get_first(object);
	size_t n = yyjson_obj_size(object);
	for (size_t i = 0; i < n; i++, key = next_key(key)) {
		seen[i] = json_str(key);
		for (size_t j = 0; j < i; j++) {
			if (str_eq(seen[i], seen[j]))
				return key;
		}
	}
	return NULL;
}

static int compare_keys(const void *a, const void *b)
{
	yyjson_val *x = *(yyjson_val *const *)a, *y = *(yyjson_val *const *)b;
	int c = str_cmp(json_str(x), json_str(y));
	return c ? c : (x > y) - (x < y);
}

static yyjson_val *duplicate_among_many(yyjson_val *object, bool *ret_no_memory)
{
	size_t n = yyjson_obj_size(object);
	yyjson_val **keys = malloc(n * sizeof *keys);
	if (keys == NULL) {
		*ret_no_memory = true;
		return NULL;
	}
	yyjson_val *key = unsafe_yyjson_get_first(object), *first = NULL;
	for (size_t i = 0; i < n; i++, key = next_key(key))
		keys[i] = key;
	qsort(keys, n, sizeof *keys, compare_keys);
	for (size_t i = 1; i < n; i++) {
		if (str_eq(json_str(keys[i - 1]), json_str(keys[i])) && (first == NULL || keys[i] < first))
			first = keys[i];
	}
	free(keys);
	return first;
}

static yyjson_val *duplicate_key(yyjson_val *object, bool *ret_no_memory)
{
	if (keys_ascend(object))
		return NULL;
	return yyjson_obj_size(object) <= FEW_KEYS ? duplicate_among_few(object)
						   : duplicate_among_many(object, ret_no_memory);
}

static bool number_fits(yyjson_val *v)
{
	return !yyjson_is_raw(v) && !(yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX);
}

/* What yyjson accepts and we do not. A document's values lie in one array, in the order of the text. */
static bool check_values(yyjson_doc *doc, struct str text, struct json_error *ret_error)
{
	bool no_memory = false;
	yyjson_val *v = yyjson_doc_get_root(doc);
	for (yyjson_val *end = v + yyjson_doc_get_val_count(doc); v < end; v++) {
		if (!number_fits(v)) {
			if (!json_diagnose(text, ret_error))
				*ret_error = (struct json_error){ 0, "Number out of range" };
			return false;
		}
		yyjson_val *key = yyjson_obj_size(v) > 1 ? duplicate_key(v, &no_memory) : NULL;
		if (key) {
			/* Strings point into yyjson's copy of the text, one byte behind their quote. */
			size_t at = (size_t)(yyjson_get_str(key) - doc->str_pool);
			*ret_error = (struct json_error){ at ? at - 1 : 0, "Duplicate key" };
			return false;
		}
		if (no_memory) {
			*ret_error = (struct json_error){ 0, "Out of memory" };
			return false;
		}
	}
	return true;
}

/* yyjson writes to the text only when told to by YYJSON_READ_INSITU; for that its parameter is not const. */
static yyjson_doc *read_text(struct str text, yyjson_read_err *ret_error)
{
	char *p = (char *)(uintptr_t)text.p;
	return yyjson_read_opts(p, text.n, YYJSON_READ_BIGNUM_AS_RAW, NULL, ret_error);
}

bool json_number_fits(struct str token)
{
	yyjson_doc *doc = read_text(token, NULL);
	bool fits = doc && number_fits(yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	return fits;
}

/* ---- the public functions ---- */

yyjson_doc *json_parse(struct str text, const struct json_limits *limits, struct json_error *ret_error)
{
	size_t depth_max = limits && limits->depth_max ? limits->depth_max : DEPTH_DEFAULT;
	size_t bytes_max = limits && limits->bytes_max ? limits->bytes_max : BYTES_DEFAULT;
	if (depth_max > JSON_DEPTH_MAX)
		depth_max = JSON_DEPTH_MAX;
	if (text.n > bytes_max) {
		*ret_error = (struct json_error){ bytes_max, "Text too long" };
		return NULL;
	}
	size_t deep_at = too_deep_at(text, depth_max);
	if (deep_at < text.n) {
		*ret_error = (struct json_error){ deep_at, "Nested too deeply" };
		return NULL;
	}
	yyjson_read_err refused = { 0 };
	yyjson_doc *doc = read_text(text, &refused);
	if (doc == NULL) {
		if (refused.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
			*ret_error = (struct json_error){ 0, "Out of memory" };
		else if (!json_diagnose(text, ret_error))
			*ret_error = (struct json_error){ refused.pos, "Malformed JSON" };
		return NULL;
	}
	if (!check_values(doc, text, ret_error)) {
		yyjson_doc_free(doc);
		return NULL;
	}
	return doc;
}

bool json_normalise(struct str text, struct buf *out, struct json_error *ret_error)
{
	yyjson_doc *doc = json_parse(text, NULL, ret_error);
	if (doc == NULL)
		return false;
	json_write_value(out, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	if (out->failed)
		*ret_error = (struct json_error){ 0, "Out of memory" };
	return !out->failed;
}

bool json_utf8_valid(struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t i = 0;
	while (i < s.n) {
		if (i + 16 <= s.n) {
			size_t ascii = json_lanes_first((json_lanes)(json_lanes_load(p + i) >= 0x80));
			i += ascii;
			if (ascii == 16)
				continue;
		}
		size_t n = utf8_sequence(p + i, s.n - i);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}
