#include "store/record/record_shape.h"
#include "store/text/timefmt.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

struct reading {
	struct arena *arena;
	struct buf scratch; /* JSON texts on their way to the arena */
	bool strict;
	const char *why;
};

#define NO_MEMORY "Out of memory"

/* ---- scalars ---- */

static struct str trimmed(struct str s)
{
	while (s.n && strchr(" \t\n\r\f\v", s.p[0]) && s.p[0])
		s = str_skip(s, 1);
	while (s.n && strchr(" \t\n\r\f\v", s.p[s.n - 1]) && s.p[s.n - 1])
		s.n--;
	return s;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A number's text for the C library: characters from `allowed` only, single underscores between digits
 * removed. */
static bool plain_number(struct str s, const char *allowed, char ret[static 64])
{
	size_t n = 0;
	s = trimmed(s);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '_') {
			if (i == 0 || i + 1 == s.n || !is_digit(s.p[i - 1]) || !is_digit(s.p[i + 1]))
				return false;
			continue;
		}
		if (s.p[i] == '\0' || strchr(allowed, s.p[i]) == NULL || n == 63)
			return false;
		ret[n++] = s.p[i];
	}
	ret[n] = '\0';
	return n > 0;
}

/* "42", "+42", "4_2", "42.00"; not "42.", ".0" nor "1e3". */
static bool int_from_text(struct str s, int64_t *ret)
{
	char text[64], *end;
	if (!plain_number(s, "+-.0123456789", text))
		return false;
	const char *digits = text + (text[0] == '+' || text[0] == '-');
	if (!is_digit(digits[0]))
		return false;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno)
		return false;
	if (*end == '.') {
		if (end[1] == '\0' || strspn(end + 1, "0") != strlen(end + 1))
			return false;
	} else if (*end) {
		return false;
	}
	*ret = value;
	return true;
}

static bool int_from(yyjson_val *v, int64_t *ret)
{
	if (yyjson_is_int(v)) {
		*ret = yyjson_get_sint(v);
		return true;
	}
	if (yyjson_is_bool(v)) {
		*ret = yyjson_get_bool(v);
		return true;
	}
	if (yyjson_is_real(v)) {
		double real = yyjson_get_real(v);
		if (floor(real) != real || real < -0x1p63 || real >= 0x1p63)
			return false;
		*ret = (int64_t)real;
		return true;
	}
	return yyjson_is_str(v) && int_from_text(json_str(v), ret);
}

static bool float_from(yyjson_val *v, double *ret)
{
	if (yyjson_is_num(v)) {
		*ret = yyjson_get_num(v);
		return true;
	}
	if (yyjson_is_bool(v)) {
		*ret = yyjson_get_bool(v);
		return true;
	}
	char text[64], *end;
	if (!yyjson_is_str(v) || !plain_number(json_str(v), "+-.eE0123456789", text))
		return false;
	*ret = strtod(text, &end);
	return *end == '\0' && isfinite(*ret);
}

static bool bool_from(yyjson_val *v, bool *ret)
{
	static const char *const words[] = { "true", "t", "yes", "y", "on", "1", "false", "f", "no", "n", "off", "0" };
	if (yyjson_is_bool(v)) {
		*ret = yyjson_get_bool(v);
		return true;
	}
	if (yyjson_is_num(v)) {
		double number = yyjson_get_num(v);
		*ret = number == 1;
		return number == 0 || number == 1;
	}
	for (size_t i = 0; yyjson_is_str(v) && i < ARRAY_LEN(words); i++) {
		if (strlen(words[i]) == yyjson_get_len(v) &&
		    strncasecmp(words[i], yyjson_get_str(v), yyjson_get_len(v)) == 0) {
			*ret = i < ARRAY_LEN(words) / 2;
			return true;
		}
	}
	return false;
}

static bool time_from(yyjson_val *v, int64_t *ret_us, int16_t *ret_zone_min)
{
	double seconds;
	if (yyjson_is_str(v) && time_parse_zoned(json_str(v), ret_us, ret_zone_min))
		return true;
	if (yyjson_is_str(v)) {
		/* Unix seconds as text: digits, perhaps a fraction, nothing else. */
		struct str s = json_str(v);
		for (size_t i = 0; i < s.n; i++) {
			if (!is_digit(s.p[i]) && s.p[i] != '.' && !(i == 0 && s.p[i] == '-'))
				return false;
		}
		if (!float_from(v, &seconds))
			return false;
	} else if (yyjson_is_num(v)) {
		seconds = yyjson_get_num(v);
	} else {
		return false;
	}
	*ret_zone_min = 0;
	return time_from_unix(seconds, ret_us);
}

/* The place of v in names, -1 when it is none of them. */
static int place_among(yyjson_val *v, const char *const *names)
{
	for (int i = 0; yyjson_is_str(v) && names[i]; i++) {
		if (str_eq(json_str(v), str_from(names[i])))
			return i;
	}
	return -1;
}

/* ---- what needs memory ---- */

static bool keep_text(struct reading *r, struct str s, struct str *ret)
{
	*ret = arena_dup(r->arena, s);
	if (ret->p == NULL)
		r->why = NO_MEMORY;
	return ret->p != NULL;
}

static bool keep_json(struct reading *r, yyjson_val *v, struct str *ret)
{
	buf_clear(&r->scratch);
	json_write_value(&r->scratch, v);
	if (r->scratch.failed)
		r->why = NO_MEMORY;
	return !r->scratch.failed && keep_text(r, buf_str(&r->scratch), ret);
}

static bool keep_array(struct reading *r, size_t count, size_t size, void **ret)
{
	*ret = count <= SIZE_MAX / size ? arena_alloc(r->arena, count * size) : NULL;
	if (*ret == NULL)
		r->why = NO_MEMORY;
	return *ret != NULL;
}

static bool read_members(struct reading *r, const struct shape *shape, yyjson_val *object, void *into);

static bool read_texts(struct reading *r, const struct shape_member *m, yyjson_val *v, void *into)
{
	void *texts;
	size_t count = yyjson_arr_size(v), filled = 0;
	if (!yyjson_is_arr(v) || !keep_array(r, count, sizeof(struct str), &texts))
		return false;
	yyjson_arr_iter i = yyjson_arr_iter_with(v);
	for (yyjson_val *one; (one = yyjson_arr_iter_next(&i)); filled++) {
		if (!yyjson_is_str(one) || !keep_text(r, json_str(one), (struct str *)texts + filled))
			return false;
	}
	memcpy((char *)into + m->at, &texts, sizeof texts);
	memcpy((char *)into + m->aside, &count, sizeof count);
	return true;
}

static bool read_parts(struct reading *r, const struct shape_member *m, yyjson_val *v, void *into)
{
	void *parts;
	size_t count = yyjson_arr_size(v), size = m->part->size;
	if (!yyjson_is_arr(v) || !keep_array(r, count, size, &parts))
		return false;
	yyjson_arr_iter i = yyjson_arr_iter_with(v);
	char *part = parts;
	for (yyjson_val *one; (one = yyjson_arr_iter_next(&i)); part += size) {
		memset(part, 0, size);
		if (!yyjson_is_obj(one) || !read_members(r, m->part, one, part))
			return false;
	}
	memcpy((char *)into + m->at, &parts, sizeof parts);
	memcpy((char *)into + m->aside, &count, sizeof count);
	return true;
}

/* ---- members ---- */

static bool read_null(const struct shape_member *m, void *at)
{
	if (m->kind == SHAPE_TEXT_OR_NULL)
		*(struct str *)at = (struct str){ 0 };
	else if (m->kind == SHAPE_INT_OR_NULL || m->kind == SHAPE_TIME_OR_NULL)
		*(int64_t *)at = -1;
	else
		return false;
	return true;
}

static bool read_time(const struct shape_member *m, yyjson_val *v, void *into)
{
	int64_t us;
	int16_t zone_min;
	if (!time_from(v, &us, &zone_min))
		return false;
	memcpy((char *)into + m->at, &us, sizeof us);
	if (m->kind == SHAPE_TIME)
		memcpy((char *)into + m->aside, &zone_min, sizeof zone_min);
	return true;
}

static bool read_number(const struct shape_member *m, yyjson_val *v, void *at)
{
	int64_t value;
	if (!int_from(v, &value) || (value < 0 && m->kind != SHAPE_INT))
		return false;
	memcpy(at, &value, sizeof value);
	return true;
}

static bool read_name(const struct shape_member *m, yyjson_val *v, void *at)
{
	int place = place_among(v, m->names);
	if (place < 0)
		return false;
	if (m->kind == SHAPE_EITHER)
		*(bool *)at = place == 1;
	else
		memcpy(at, &place, sizeof place);
	return true;
}

static bool read_member(struct reading *r, const struct shape_member *m, yyjson_val *v, void *into)
{
	void *at = (char *)into + m->at;
	if (yyjson_is_null(v) && m->kind != SHAPE_JSON)
		return read_null(m, at);
	switch (m->kind) {
	case SHAPE_TEXT:
	case SHAPE_TEXT_OR_NULL:
		return yyjson_is_str(v) && keep_text(r, json_str(v), at);
	case SHAPE_INT:
	case SHAPE_INT_OR_NULL:
	case SHAPE_COUNT:
		return read_number(m, v, at);
	case SHAPE_FLOAT:
		return float_from(v, at);
	case SHAPE_BOOL:
		return bool_from(v, at);
	case SHAPE_TIME:
	case SHAPE_TIME_OR_NULL:
		return read_time(m, v, into);
	case SHAPE_ENUM:
	case SHAPE_EITHER:
		return read_name(m, v, at);
	case SHAPE_JSON:
		return keep_json(r, v, at);
	case SHAPE_JSON_OBJECT:
		return yyjson_is_obj(v) && keep_json(r, v, at);
	case SHAPE_TEXTS:
		return read_texts(r, m, v, into);
	case SHAPE_PARTS:
		return read_parts(r, m, v, into);
	case SHAPE_INLINE:
		return yyjson_is_obj(v) && read_members(r, m->part, v, into);
	}
	UNREACHABLE();
}

static const struct shape_member *member_named(const struct shape *shape, struct str name)
{
	for (size_t i = 0; i < shape->count; i++) {
		if (str_eq(name, str_from(shape->members[i].name)))
			return &shape->members[i];
	}
	return NULL;
}

/* Leaves the innermost reason in r->why. */
static bool refuse(struct reading *r, const char *why)
{
	if (r->why == NULL)
		r->why = why;
	return false;
}

static bool read_members(struct reading *r, const struct shape *shape, yyjson_val *object, void *into)
{
	uint64_t seen = 0;
	yyjson_obj_iter i = yyjson_obj_iter_with(object);
	for (yyjson_val *key; (key = yyjson_obj_iter_next(&i));) {
		const struct shape_member *m = member_named(shape, json_str(key));
		if (m == NULL) {
			if (r->strict)
				return refuse(r, shape->unknown);
			continue;
		}
		seen |= 1ull << (m - shape->members);
		if (!read_member(r, m, yyjson_obj_iter_get_val(key), into))
			return refuse(r, m->why);
	}
	for (size_t m = 0; m < shape->count; m++) {
		if (shape->members[m].required && !(seen >> m & 1))
			return refuse(r, shape->members[m].why);
	}
	return true;
}

bool shape_read(const struct shape *shape, yyjson_val *object, bool strict, struct arena *arena, void *ret,
		const char **ret_why)
{
	struct reading r = { .arena = arena, .strict = strict };
	bool ok = read_members(&r, shape, object, ret);
	if (!ok)
		*ret_why = r.why;
	buf_finish(&r.scratch);
	return ok;
}
