#include "store/offline/offline_json.h"
#include "runtime/check.h"
#include "runtime/encode.h"
#include "runtime/msg.h"
#include "store/text/json.h"
#include "store/text/timefmt.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

enum { DEPTH_MAX = 32, ENUM_WORDS_MAX = 65536, DATE_BYTES = 10 };

struct offline_column {
	struct str name; /* of the column or the struct's field; "" in lists */
	duckdb_type type;
	duckdb_type internal; /* how a DECIMAL or ENUM is stored */
	uint8_t scale;        /* DECIMAL */
	bool is_json;         /* VARCHAR with the alias JSON */
	uint64_t array_len;   /* ARRAY */
	struct str *words;    /* ENUM */
	struct offline_column *children;
	uint32_t children_count;
};

/* ---- types ---- */
static bool type_read(duckdb_logical_type type, struct arena *arena, int depth, struct offline_column *ret,
		      struct offline_error *error);

/* Takes the text and the type, which DuckDB allocated for us, over. */
static bool child_read(char *name, duckdb_logical_type type, struct arena *arena, int depth, struct offline_column *ret,
		       struct offline_error *error)
{
	ret->name = arena_dup(arena, str_from(name));
	bool ok = type_read(type, arena, depth, ret, error);
	duckdb_free(name);
	duckdb_destroy_logical_type(&type);
	return ok;
}

static bool enum_read(duckdb_logical_type type, struct arena *arena, struct offline_column *ret)
{
	uint32_t count = duckdb_enum_dictionary_size(type);
	ret->internal = duckdb_enum_internal_type(type);
	ret->words = count <= ENUM_WORDS_MAX ? arena_alloc(arena, count * sizeof *ret->words) : NULL;
	for (uint32_t i = 0; ret->words != NULL && i < count; i++) {
		char *word = duckdb_enum_dictionary_value(type, i);
		ret->words[i] = arena_dup(arena, str_from(word));
		duckdb_free(word);
		if (ret->words[i].p == NULL)
			return false;
	}
	return ret->words != NULL;
}

static uint32_t children_of(duckdb_logical_type type, duckdb_type id)
{
	switch ((int)id) {
	case DUCKDB_TYPE_LIST:
	case DUCKDB_TYPE_ARRAY:
		return 1;
	case DUCKDB_TYPE_MAP:
		return 2;
	case DUCKDB_TYPE_STRUCT:
		return (uint32_t)duckdb_struct_type_child_count(type);
	case DUCKDB_TYPE_UNION:
		return (uint32_t)duckdb_union_type_member_count(type);
	default:
		return 0;
	}
}

static bool children_read(duckdb_logical_type type, struct arena *arena, int depth, struct offline_column *ret,
			  struct offline_error *error)
{
	for (uint32_t i = 0; i < ret->children_count; i++) {
		char *name = NULL;
		duckdb_logical_type child = NULL;
		if (ret->type == DUCKDB_TYPE_LIST) {
			child = duckdb_list_type_child_type(type);
		} else if (ret->type == DUCKDB_TYPE_ARRAY) {
			child = duckdb_array_type_child_type(type);
		} else if (ret->type == DUCKDB_TYPE_MAP) {
			child = i == 0 ? duckdb_map_type_key_type(type) : duckdb_map_type_value_type(type);
		} else if (ret->type == DUCKDB_TYPE_UNION) {
			child = duckdb_union_type_member_type(type, i);
		} else {
			name = duckdb_struct_type_child_name(type, i);
			child = duckdb_struct_type_child_type(type, i);
		}
		if (!child_read(name, child, arena, depth + 1, &ret->children[i], error))
			return false;
	}
	return true;
}

static bool type_read(duckdb_logical_type type, struct arena *arena, int depth, struct offline_column *ret,
		      struct offline_error *error)
{
	ret->type = duckdb_get_type_id(type);
	ret->children_count = children_of(type, ret->type);
	if (depth > DEPTH_MAX) {
		offline_error_text(error, RT_EINVAL, "a column nests lists and structs deeper than %d levels",
				   DEPTH_MAX);
		return false;
	}
	bool ok = true;
	if (ret->type == DUCKDB_TYPE_DECIMAL) {
		ret->internal = duckdb_decimal_internal_type(type);
		ret->scale = duckdb_decimal_scale(type);
	} else if (ret->type == DUCKDB_TYPE_ENUM) {
		ok = enum_read(type, arena, ret);
	} else if (ret->type == DUCKDB_TYPE_ARRAY) {
		ret->array_len = duckdb_array_type_array_size(type);
	} else if (ret->type == DUCKDB_TYPE_VARCHAR) {
		char *alias = duckdb_logical_type_get_alias(type);
		ret->is_json = alias != NULL && strcmp(alias, "JSON") == 0;
		duckdb_free(alias);
	}
	if (ret->children_count > 0) {
		ret->children = arena_zalloc(arena, ret->children_count * sizeof *ret->children);
		ok = ret->children != NULL;
	}
	if (!ok) {
		offline_error_text(error, RT_ETOOBIG, "a column's type is too large to read");
		return false;
	}
	return children_read(type, arena, depth, ret, error);
}

bool offline_columns_read(duckdb_result *result, struct arena *arena, struct offline_columns *ret,
			  struct offline_error *error)
{
	idx_t count = duckdb_column_count(result);
	struct offline_column *columns = arena_zalloc(arena, count * sizeof *columns);
	if (columns == NULL) {
		offline_error_text(error, RT_ETOOBIG, "the rows have too many columns");
		return false;
	}
	for (idx_t i = 0; i < count; i++) {
		duckdb_logical_type type = duckdb_column_logical_type(result, i);
		bool ok = type_read(type, arena, 0, &columns[i], error);
		duckdb_destroy_logical_type(&type);
		columns[i].name = arena_dup(arena, str_from(duckdb_column_name(result, i)));
		if (!ok)
			return false;
		for (idx_t j = 0; j < i; j++) {
			if (!str_eq(columns[i].name, columns[j].name))
				continue;
			offline_error_text(error, RT_EINVAL, "two columns are called \"%.*s\"; name them apart with AS",
					   STR_ARG(columns[i].name));
			return false;
		}
	}
	*ret = (struct offline_columns){ columns, (uint32_t)count };
	return true;
}

int offline_columns_find(const struct offline_columns *columns, struct str name)
{
	int found = -1;
	for (uint32_t i = 0; i < columns->count; i++) {
		struct str have = columns->columns[i].name;
		if (str_eq(have, name))
			return (int)i;
		if (found < 0 && have.n == name.n && strncasecmp(have.p, name.p, name.n) == 0)
			found = (int)i;
	}
	return found;
}

/* ---- cells ---- */
struct cell_writer {
	struct buf *out;
	struct offline_error *error;
	struct str column; /* for error texts */
	bool failed;
};

static void cell_write(struct cell_writer *w, const struct offline_column *t, duckdb_vector vector, uint64_t row);

__attribute__((format(printf, 2, 3))) static void refuse(struct cell_writer *w, const char *format, ...)
{
	char what[160];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	if (!w->failed)
		offline_error_text(w->error, RT_EINVAL, "column \"%.*s\" %s", STR_ARG(w->column), what);
	w->failed = true;
}

static void append_digits(struct buf *out, unsigned __int128 v)
{
	char digits[40];
	size_t at = sizeof digits;
	do
		digits[--at] = (char)('0' + (int)(v % 10));
	while ((v /= 10) != 0);
	buf_append(out, digits + at, sizeof digits - at);
}

static void append_integer(struct buf *out, __int128 v)
{
	if (v < 0)
		buf_append_char(out, '-');
	append_digits(out, v < 0 ? -(unsigned __int128)v : (unsigned __int128)v);
}

/* What no JSON reader would keep exact is text, with all its digits. */
static void write_integer(struct cell_writer *w, __int128 v)
{
	bool fits = v >= INT64_MIN && v <= INT64_MAX;
	if (!fits)
		buf_append_char(w->out, '"');
	append_integer(w->out, v);
	if (!fits)
		buf_append_char(w->out, '"');
}

static unsigned __int128 unsigned_huge_value(duckdb_uhugeint v)
{
	return (unsigned __int128)v.upper << 64 | v.lower;
}

static void write_unsigned_huge(struct cell_writer *w, duckdb_uhugeint v)
{
	if (v.upper == 0 && v.lower <= INT64_MAX) {
		buf_append_u64(w->out, v.lower);
		return;
	}
	buf_append_char(w->out, '"');
	append_digits(w->out, unsigned_huge_value(v));
	buf_append_char(w->out, '"');
}

static __int128 huge_value(duckdb_hugeint v)
{
	return (__int128)((unsigned __int128)(uint64_t)v.upper << 64 | v.lower);
}

static __int128 stored_integer(duckdb_type type, const void *data, uint64_t row)
{
	switch ((int)type) {
	case DUCKDB_TYPE_TINYINT:
		return ((const int8_t *)data)[row];
	case DUCKDB_TYPE_UTINYINT:
		return ((const uint8_t *)data)[row];
	case DUCKDB_TYPE_SMALLINT:
		return ((const int16_t *)data)[row];
	case DUCKDB_TYPE_USMALLINT:
		return ((const uint16_t *)data)[row];
	case DUCKDB_TYPE_INTEGER:
		return ((const int32_t *)data)[row];
	case DUCKDB_TYPE_UINTEGER:
		return ((const uint32_t *)data)[row];
	case DUCKDB_TYPE_BIGINT:
		return ((const int64_t *)data)[row];
	case DUCKDB_TYPE_UBIGINT:
		return ((const uint64_t *)data)[row];
	case DUCKDB_TYPE_HUGEINT:
		return huge_value(((const duckdb_hugeint *)data)[row]);
	default:
		UNREACHABLE();
	}
}

/* All digits of unscaled / 10^scale, those behind the point too: 1.10. */
static void append_decimal(struct buf *out, __int128 unscaled, uint8_t scale)
{
	unsigned __int128 v = unscaled < 0 ? -(unsigned __int128)unscaled : (unsigned __int128)unscaled, unit = 1;
	for (uint8_t i = 0; i < scale; i++)
		unit *= 10;
	if (unscaled < 0)
		buf_append_char(out, '-');
	append_digits(out, v / unit);
	if (scale == 0)
		return;
	buf_append_char(out, '.');
	for (unsigned __int128 rest = v % unit; unit > 1; rest %= unit) {
		unit /= 10;
		buf_append_char(out, (char)('0' + (int)(rest / unit)));
	}
}

/* Without a fraction by its type: an integer. Up to 15 digits are a number, since a double gives each of them back;
 * more are text. Both the digits and the power of ten are then exact doubles, so that one division rounds once. */
static void write_decimal(struct cell_writer *w, __int128 unscaled, uint8_t scale)
{
	static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
					 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
	const __int128 exact = 1000000000000000;
	if (scale == 0) {
		write_integer(w, unscaled);
		return;
	}
	__int128 digits = unscaled;
	uint8_t places = scale;
	for (; places > 0 && digits % 10 == 0; places--)
		digits /= 10;
	if (digits < exact && digits > -exact && places < ARRAY_LEN(powers)) {
		json_write_float(w->out, (double)digits / powers[places]);
	} else if (digits < exact && digits > -exact) {
		char text[64];
		snprintf(text, sizeof text, "%llde-%u", (long long)digits, places);
		json_write_float(w->out, strtod(text, NULL));
	} else {
		buf_append_char(w->out, '"');
		append_decimal(w->out, unscaled, scale);
		buf_append_char(w->out, '"');
	}
}

/* The shortest text that gives the same float back, so that 1.111 is not 1.1109999418258667. */
static void write_float(struct buf *out, float v)
{
	char text[40];
	int digits = fabsf(v) < FLT_MIN ? 1 : 6; /* a normal float gives back whatever has six */
	for (; isfinite(v) && digits <= 9; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, (double)v);
		if (strtof(text, NULL) == v) {
			json_write_float(out, strtod(text, NULL));
			return;
		}
	}
	json_write_float(out, (double)v);
}

/* ---- times ---- */
static const int64_t DAY_US = 86400000000;
static const int64_t YEAR_1_US = -62135596800000000, YEAR_10000_US = 253402300800000000;

/* Microseconds since 1970 within the years that ISO 8601 texts have room for; infinities are written here. */
static bool has_text(struct cell_writer *w, int64_t us, int64_t minus_infinity, int64_t infinity)
{
	if (us == infinity || us == minus_infinity) {
		buf_append_str(w->out, us == infinity ? STR("\"infinity\"") : STR("\"-infinity\""));
		return false;
	}
	if (us >= YEAR_1_US && us < YEAR_10000_US)
		return true;
	refuse(w, "holds a time outside the years 1 to 9999; cast it to VARCHAR");
	return false;
}

static void write_timestamp(struct cell_writer *w, int64_t us, bool utc)
{
	if (!has_text(w, us, -INT64_MAX, INT64_MAX))
		return;
	buf_append_char(w->out, '"');
	if (utc)
		time_write_z(w->out, us);
	else
		time_write_naive(w->out, us);
	buf_append_char(w->out, '"');
}

/* units: how many there are in a second. */
static void write_timestamp_of(struct cell_writer *w, int64_t v, int64_t units)
{
	int64_t us;
	if (v == INT64_MAX || v == -INT64_MAX)
		us = v;
	else if (__builtin_mul_overflow(v, 1000000 / units, &us))
		us = INT64_MIN; /* outside all years */
	write_timestamp(w, us, false);
}

static void write_nanoseconds(struct cell_writer *w, int64_t ns)
{
	bool is_finite = ns != INT64_MAX && ns != -INT64_MAX;
	int64_t us = is_finite ? ns / 1000 : ns, rest = is_finite ? ns % 1000 : 0;
	if (rest < 0) {
		us--;
		rest += 1000;
	}
	if (rest == 0) {
		write_timestamp(w, us, false);
		return;
	}
	buf_append_char(w->out, '"');
	time_write_naive(w->out, us);
	if (us % 1000000 == 0)
		buf_append_lit(w->out, ".000000");
	buf_printf(w->out, "%03d\"", (int)rest);
}

static void write_date(struct cell_writer *w, int32_t days)
{
	int64_t us = days == INT32_MAX || days == -INT32_MAX ? days : days * DAY_US;
	if (!has_text(w, us, -INT32_MAX, INT32_MAX))
		return;
	buf_append_char(w->out, '"');
	size_t at = w->out->n;
	time_write_naive(w->out, us);
	if (!w->out->failed)
		w->out->n = at + DATE_BYTES;
	buf_append_char(w->out, '"');
}

static void write_clock(struct cell_writer *w, int64_t us)
{
	int64_t seconds = us / 1000000;
	buf_printf(w->out, "%02d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60), (int)(seconds % 60));
	if (us % 1000000 != 0)
		buf_printf(w->out, ".%06d", (int)(us % 1000000));
}

static void write_time(struct cell_writer *w, int64_t us, int64_t ns_rest)
{
	buf_append_char(w->out, '"');
	write_clock(w, us);
	if (ns_rest != 0)
		buf_printf(w->out, "%s%03d", us % 1000000 == 0 ? ".000000" : "", (int)ns_rest);
	buf_append_char(w->out, '"');
}

static void write_time_tz(struct cell_writer *w, duckdb_time_tz v)
{
	duckdb_time_tz_struct t = duckdb_from_time_tz(v);
	int offset = t.offset < 0 ? -t.offset : t.offset;
	buf_append_char(w->out, '"');
	write_clock(w, ((t.time.hour * 60 + t.time.min) * 60ll + t.time.sec) * 1000000 + t.time.micros);
	buf_printf(w->out, "%c%02d:%02d", t.offset < 0 ? '-' : '+', offset / 3600, offset / 60 % 60);
	if (offset % 60 != 0)
		buf_printf(w->out, ":%02d", offset % 60);
	buf_append_char(w->out, '"');
}

static void write_interval(struct cell_writer *w, duckdb_interval v)
{
	bool negative = v.micros < 0;
	uint64_t us = negative ? -(uint64_t)v.micros : (uint64_t)v.micros;
	buf_printf(w->out, "\"P%dM%dDT%s%" PRIu64, v.months, v.days, negative ? "-" : "", us / 1000000);
	if (us % 1000000 != 0)
		buf_printf(w->out, ".%06d", (int)(us % 1000000));
	buf_append_lit(w->out, "S\"");
}

/* ---- texts and bytes ---- */
static struct str cell_bytes(void *data, uint64_t row)
{
	duckdb_string_t *s = (duckdb_string_t *)data + row;
	return str_of(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

static void write_text(struct cell_writer *w, const struct offline_column *t, struct str s)
{
	if (t->is_json) {
		struct json_error error;
		size_t before = w->out->n;
		if (json_normalise(s, w->out, &error))
			return;
		w->out->n = before; /* what is no strict JSON stays readable as text */
	}
	json_write_string(w->out, s);
}

static void write_blob(struct cell_writer *w, struct str bytes)
{
	size_t n = encode_base64_len(bytes.n);
	buf_append_char(w->out, '"');
	if (buf_reserve(w->out, n)) {
		encode_base64(bytes.p, bytes.n, w->out->p + w->out->n);
		w->out->n += n;
	}
	buf_append_char(w->out, '"');
}

/* The first byte tells how many bits of the second one are padding. */
static void write_bits(struct cell_writer *w, struct str bytes)
{
	buf_append_char(w->out, '"');
	for (size_t bit = bytes.n > 0 ? (unsigned char)bytes.p[0] : 0; bytes.n > 1 && bit < (bytes.n - 1) * 8; bit++)
		buf_append_char(w->out, (unsigned char)bytes.p[1 + bit / 8] >> (7 - bit % 8) & 1 ? '1' : '0');
	buf_append_char(w->out, '"');
}

/* Stored with the top bit turned, so that it sorts as a signed number. */
static void write_uuid(struct cell_writer *w, duckdb_hugeint v)
{
	uint64_t high = (uint64_t)v.upper ^ 1ull << 63;
	buf_printf(w->out, "\"%08x-%04x-%04x-%04x-%012" PRIx64 "\"", (unsigned)(high >> 32),
		   (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff), (unsigned)(v.lower >> 48),
		   v.lower & 0xffffffffffff);
}

/* ---- nested ---- */
static void write_elements(struct cell_writer *w, const struct offline_column *t, duckdb_vector child, uint64_t from,
			   uint64_t count)
{
	buf_append_char(w->out, '[');
	for (uint64_t i = 0; i < count && !w->failed && !w->out->failed; i++) {
		if (i > 0)
			buf_append_char(w->out, ',');
		cell_write(w, &t->children[0], child, from + i);
	}
	buf_append_char(w->out, ']');
}

static void write_struct(struct cell_writer *w, const struct offline_column *t, duckdb_vector vector, uint64_t row)
{
	buf_append_char(w->out, '{');
	for (uint32_t i = 0; i < t->children_count && !w->failed; i++) {
		if (i > 0)
			buf_append_char(w->out, ',');
		json_write_string(w->out, t->children[i].name);
		buf_append_char(w->out, ':');
		cell_write(w, &t->children[i], duckdb_struct_vector_get_child(vector, i), row);
	}
	buf_append_char(w->out, '}');
}

/* A key that is not text becomes the text of its JSON. */
static void write_key(struct cell_writer *w, const struct offline_column *t, duckdb_vector vector, uint64_t row)
{
	struct buf key = { 0 };
	struct cell_writer inner = *w;
	inner.out = &key;
	cell_write(&inner, t, vector, row);
	w->failed |= inner.failed;
	if (key.n > 0 && key.p[0] == '"')
		buf_append_str(w->out, buf_str(&key));
	else
		json_write_string(w->out, buf_str(&key));
	w->out->failed |= key.failed;
	buf_finish(&key);
}

static void write_map(struct cell_writer *w, const struct offline_column *t, duckdb_vector vector, duckdb_list_entry e)
{
	duckdb_vector entries = duckdb_list_vector_get_child(vector);
	duckdb_vector keys = duckdb_struct_vector_get_child(entries, 0);
	duckdb_vector values = duckdb_struct_vector_get_child(entries, 1);
	buf_append_char(w->out, '{');
	for (uint64_t i = 0; i < e.length && !w->failed && !w->out->failed; i++) {
		if (i > 0)
			buf_append_char(w->out, ',');
		write_key(w, &t->children[0], keys, e.offset + i);
		buf_append_char(w->out, ':');
		cell_write(w, &t->children[1], values, e.offset + i);
	}
	buf_append_char(w->out, '}');
}

/* Stored as a struct whose first member tells which of the others counts. */
static void write_union(struct cell_writer *w, const struct offline_column *t, duckdb_vector vector, uint64_t row)
{
	const uint8_t *tags = duckdb_vector_get_data(duckdb_struct_vector_get_child(vector, 0));
	uint32_t tag = tags[row];
	if (tag < t->children_count)
		cell_write(w, &t->children[tag], duckdb_struct_vector_get_child(vector, tag + 1u), row);
	else
		refuse(w, "holds a UNION without a member");
}

static bool is_null(const struct offline_column *t, duckdb_vector vector, uint64_t row)
{
	uint64_t *validity = duckdb_vector_get_validity(vector);
	return t->type == DUCKDB_TYPE_SQLNULL || (validity != NULL && !duckdb_validity_row_is_valid(validity, row));
}

/* false: of another type. */
static bool time_written(struct cell_writer *w, const struct offline_column *t, void *data, uint64_t row)
{
	switch ((int)t->type) {
	case DUCKDB_TYPE_DATE:
		write_date(w, ((duckdb_date *)data)[row].days);
		return true;
	case DUCKDB_TYPE_TIME:
		write_time(w, ((duckdb_time *)data)[row].micros, 0);
		return true;
	case DUCKDB_TYPE_TIME_NS:
		write_time(w, ((duckdb_time_ns *)data)[row].nanos / 1000, ((duckdb_time_ns *)data)[row].nanos % 1000);
		return true;
	case DUCKDB_TYPE_TIME_TZ:
		write_time_tz(w, ((duckdb_time_tz *)data)[row]);
		return true;
	case DUCKDB_TYPE_TIMESTAMP:
		write_timestamp(w, ((int64_t *)data)[row], false);
		return true;
	case DUCKDB_TYPE_TIMESTAMP_TZ:
		write_timestamp(w, ((int64_t *)data)[row], true);
		return true;
	case DUCKDB_TYPE_TIMESTAMP_S:
		write_timestamp_of(w, ((int64_t *)data)[row], 1);
		return true;
	case DUCKDB_TYPE_TIMESTAMP_MS:
		write_timestamp_of(w, ((int64_t *)data)[row], 1000);
		return true;
	case DUCKDB_TYPE_TIMESTAMP_NS:
		write_nanoseconds(w, ((int64_t *)data)[row]);
		return true;
	case DUCKDB_TYPE_INTERVAL:
		write_interval(w, ((duckdb_interval *)data)[row]);
		return true;
	default:
		return false;
	}
}

/* false: of another type. */
static bool nested_written(struct cell_writer *w, const struct offline_column *t, duckdb_vector vector, uint64_t row)
{
	void *data = duckdb_vector_get_data(vector);
	switch ((int)t->type) {
	case DUCKDB_TYPE_LIST: {
		duckdb_list_entry e = ((duckdb_list_entry *)data)[row];
		write_elements(w, t, duckdb_list_vector_get_child(vector), e.offset, e.length);
		return true;
	}
	case DUCKDB_TYPE_ARRAY:
		write_elements(w, t, duckdb_array_vector_get_child(vector), row * t->array_len, t->array_len);
		return true;
	case DUCKDB_TYPE_STRUCT:
		write_struct(w, t, vector, row);
		return true;
	case DUCKDB_TYPE_MAP:
		write_map(w, t, vector, ((duckdb_list_entry *)data)[row]);
		return true;
	case DUCKDB_TYPE_UNION:
		write_union(w, t, vector, row);
		return true;
	default:
		return false;
	}
}

static void cell_write(struct cell_writer *w, const struct offline_column *t, duckdb_vector vector, uint64_t row)
{
	if (is_null(t, vector, row)) {
		buf_append_lit(w->out, "null");
		return;
	}
	void *data = duckdb_vector_get_data(vector);
	switch ((int)t->type) { /* int: what a later DuckDB adds is refused, too */
	case DUCKDB_TYPE_BOOLEAN:
		buf_append_str(w->out, ((bool *)data)[row] ? STR("true") : STR("false"));
		return;
	case DUCKDB_TYPE_TINYINT:
	case DUCKDB_TYPE_SMALLINT:
	case DUCKDB_TYPE_INTEGER:
	case DUCKDB_TYPE_BIGINT:
	case DUCKDB_TYPE_UTINYINT:
	case DUCKDB_TYPE_USMALLINT:
	case DUCKDB_TYPE_UINTEGER:
	case DUCKDB_TYPE_UBIGINT:
	case DUCKDB_TYPE_HUGEINT:
		write_integer(w, stored_integer(t->type, data, row));
		return;
	case DUCKDB_TYPE_UHUGEINT:
		write_unsigned_huge(w, ((duckdb_uhugeint *)data)[row]);
		return;
	case DUCKDB_TYPE_FLOAT:
		write_float(w->out, ((float *)data)[row]);
		return;
	case DUCKDB_TYPE_DOUBLE:
		json_write_float(w->out, ((double *)data)[row]);
		return;
	case DUCKDB_TYPE_DECIMAL:
		write_decimal(w, stored_integer(t->internal, data, row), t->scale);
		return;
	case DUCKDB_TYPE_VARCHAR:
		write_text(w, t, cell_bytes(data, row));
		return;
	case DUCKDB_TYPE_ENUM:
		json_write_string(w->out, t->words[(size_t)stored_integer(t->internal, data, row)]);
		return;
	case DUCKDB_TYPE_UUID:
		write_uuid(w, ((duckdb_hugeint *)data)[row]);
		return;
	case DUCKDB_TYPE_BLOB:
		write_blob(w, cell_bytes(data, row));
		return;
	case DUCKDB_TYPE_BIT:
		write_bits(w, cell_bytes(data, row));
		return;
	default:
		if (!time_written(w, t, data, row) && !nested_written(w, t, vector, row))
			refuse(w, "has a type without a JSON form; cast it to DOUBLE or VARCHAR");
	}
}

static bool too_big(const struct buf *out, struct offline_error *error)
{
	if (!out->failed)
		return false;
	size_t max = out->max ? out->max : BUF_MAX_DEFAULT;
	offline_error_text(error, RT_ETOOBIG, "the rows are larger than %zu MiB; select fewer rows or columns",
			   max >> 20);
	return true;
}

bool offline_cell_write(const struct offline_columns *columns, uint32_t column, duckdb_vector vector, uint64_t row,
			struct buf *out, struct offline_error *error)
{
	DCHECK(column < columns->count);
	const struct offline_column *t = &columns->columns[column];
	struct cell_writer w = { .out = out, .error = error, .column = t->name };
	cell_write(&w, t, vector, row);
	return !w.failed && !too_big(out, error);
}

const char *offline_key_type(duckdb_logical_type type, char *room, size_t room_bytes)
{
	switch ((int)duckdb_get_type_id(type)) { /* int: what a later DuckDB adds is refused, too */
	case DUCKDB_TYPE_VARCHAR:
	case DUCKDB_TYPE_ENUM:
	case DUCKDB_TYPE_STRING_LITERAL:
		return "VARCHAR";
	case DUCKDB_TYPE_BOOLEAN:
		return "BOOLEAN";
	case DUCKDB_TYPE_TINYINT:
		return "TINYINT";
	case DUCKDB_TYPE_SMALLINT:
		return "SMALLINT";
	case DUCKDB_TYPE_INTEGER:
		return "INTEGER";
	case DUCKDB_TYPE_BIGINT:
		return "BIGINT";
	case DUCKDB_TYPE_UTINYINT:
		return "UTINYINT";
	case DUCKDB_TYPE_USMALLINT:
		return "USMALLINT";
	case DUCKDB_TYPE_UINTEGER:
		return "UINTEGER";
	case DUCKDB_TYPE_UBIGINT:
		return "UBIGINT";
	case DUCKDB_TYPE_HUGEINT:
		return "HUGEINT";
	case DUCKDB_TYPE_UHUGEINT:
		return "UHUGEINT";
	case DUCKDB_TYPE_FLOAT:
		return "FLOAT";
	case DUCKDB_TYPE_DOUBLE:
		return "DOUBLE";
	case DUCKDB_TYPE_DECIMAL:
		snprintf(room, room_bytes, "DECIMAL(%u,%u)", duckdb_decimal_width(type), duckdb_decimal_scale(type));
		return room;
	case DUCKDB_TYPE_UUID:
		return "UUID";
	case DUCKDB_TYPE_DATE:
		return "DATE";
	case DUCKDB_TYPE_TIME:
		return "TIME";
	case DUCKDB_TYPE_TIMESTAMP:
		return "TIMESTAMP";
	case DUCKDB_TYPE_TIMESTAMP_S:
		return "TIMESTAMP_S";
	case DUCKDB_TYPE_TIMESTAMP_MS:
		return "TIMESTAMP_MS";
	case DUCKDB_TYPE_TIMESTAMP_NS:
		return "TIMESTAMP_NS";
	case DUCKDB_TYPE_TIMESTAMP_TZ:
		return "TIMESTAMPTZ";
	default:
		return NULL;
	}
}

bool offline_key_write(const struct offline_columns *columns, uint32_t column, duckdb_vector vector, uint64_t row,
		       struct buf *out, bool *ret_is_null, struct offline_error *error)
{
	DCHECK(column < columns->count);
	const struct offline_column *t = &columns->columns[column];
	void *data = duckdb_vector_get_data(vector);
	*ret_is_null = is_null(t, vector, row);
	if (*ret_is_null)
		return true;
	if (t->type == DUCKDB_TYPE_VARCHAR) {
		buf_append_str(out, cell_bytes(data, row));
	} else if (t->type == DUCKDB_TYPE_ENUM) {
		buf_append_str(out, t->words[(size_t)stored_integer(t->internal, data, row)]);
	} else if (t->type == DUCKDB_TYPE_DECIMAL) {
		append_decimal(out, stored_integer(t->internal, data, row), t->scale);
	} else {
		size_t at = out->n;
		if (!offline_cell_write(columns, column, vector, row, out, error))
			return false;
		*ret_is_null = str_eq(str_of(out->p + at, out->n - at), STR("null")); /* NaN and infinities */
		if (out->p[at] == '"') { /* a UUID or a time: nothing in it is escaped */
			memmove(out->p + at, out->p + at + 1, out->n - at - 2);
			out->n -= 2;
		}
	}
	return !too_big(out, error);
}

/* ---- rows ---- */
static bool chunk_write(const struct offline_columns *columns, duckdb_data_chunk chunk, struct buf *out,
			uint32_t rows_before, struct offline_error *error)
{
	idx_t rows = duckdb_data_chunk_get_size(chunk);
	for (idx_t row = 0; row < rows; row++) {
		buf_append_str(out, rows_before + row > 0 ? STR(",{") : STR("{"));
		for (uint32_t i = 0; i < columns->count; i++) {
			if (i > 0)
				buf_append_char(out, ',');
			json_write_string(out, columns->columns[i].name);
			buf_append_char(out, ':');
			if (!offline_cell_write(columns, i, duckdb_data_chunk_get_vector(chunk, i), row, out, error))
				return false;
		}
		buf_append_char(out, '}');
	}
	return !too_big(out, error);
}

bool offline_rows_write(struct offline_conn *c, uint32_t rows_max, struct buf *out, uint32_t *ret_rows,
			struct offline_error *error)
{
	struct arena arena = { 0 };
	struct offline_columns columns;
	uint32_t rows = 0;
	bool ok = offline_columns_read(&c->result, &arena, &columns, error);
	buf_append_char(out, '[');
	while (ok) {
		duckdb_data_chunk chunk = offline_conn_fetch(c, error);
		if (chunk == NULL) {
			ok = error->status == 0;
			break;
		}
		idx_t more = duckdb_data_chunk_get_size(chunk);
		if (more > rows_max - rows) {
			offline_error_text(error, RT_ETOOBIG, "more than %u rows; add a LIMIT or aggregate", rows_max);
			ok = false;
		} else {
			ok = chunk_write(&columns, chunk, out, rows, error);
			rows += (uint32_t)more;
		}
		duckdb_destroy_data_chunk(&chunk);
	}
	buf_append_char(out, ']');
	arena_finish(&arena);
	if (!ok || too_big(out, error))
		return false;
	*ret_rows = rows;
	return true;
}
