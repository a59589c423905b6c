#include "store/postgres/pg_statement.h"
#include "store/postgres/pg_array.h"

enum { PG_INT4 = 23, PG_VARCHAR = 1043 };

/* ---- parameters ---- */
static size_t skip_quoted(struct str s, size_t at, char quote, bool has_escapes)
{
	for (at++; at < s.n; at++) {
		if (has_escapes && s.p[at] == '\\')
			at++;
		else if (s.p[at] == quote && at + 1 < s.n && s.p[at + 1] == quote)
			at++;
		else if (s.p[at] == quote)
			return at + 1;
	}
	return s.n;
}

static bool starts_at(struct str s, size_t at, struct str what)
{
	return str_starts(str_skip(s, at), what);
}

static size_t skip_block_comment(struct str s, size_t at)
{
	unsigned depth = 0; /* they nest */
	while (at < s.n) {
		if (starts_at(s, at, STR("/*"))) {
			depth++;
			at += 2;
		} else if (starts_at(s, at, STR("*/"))) {
			at += 2;
			if (--depth == 0)
				return at;
		} else {
			at++;
		}
	}
	return s.n;
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
	       (c & 0x80) != 0;
}

/* $tag$ .. $tag$; at: of the first $. Returns at + 1 where it is none. */
static size_t skip_dollars(struct str s, size_t at)
{
	size_t n = 1;
	while (at + n < s.n && is_name(s.p[at + n]))
		n++;
	if (at + n >= s.n || s.p[at + n] != '$' || (n > 1 && s.p[at + 1] >= '0' && s.p[at + 1] <= '9') ||
	    (at > 0 && is_name(s.p[at - 1])))
		return at + 1;
	struct str tag = str_of(s.p + at, n + 1);
	for (size_t i = at + tag.n; i + tag.n <= s.n; i++)
		if (starts_at(s, i, tag))
			return i + tag.n;
	return s.n;
}

/* What begins here is not read by the eye that looks for parameters; its end, or at when nothing does. */
static size_t skip(struct str s, size_t at)
{
	char c = s.p[at];
	bool is_escaped = at > 0 && (s.p[at - 1] == 'E' || s.p[at - 1] == 'e') && (at == 1 || !is_name(s.p[at - 2]));
	if (c == '\'')
		return skip_quoted(s, at, c, is_escaped);
	if (c == '"')
		return skip_quoted(s, at, c, false);
	if (c == '$')
		return skip_dollars(s, at);
	if (starts_at(s, at, STR("/*")))
		return skip_block_comment(s, at);
	if (starts_at(s, at, STR("--")))
		while (at < s.n && s.p[at] != '\n')
			at++;
	return at;
}

int pg_statement_rewrite(struct str sql, struct buf *out)
{
	int count = 0;
	for (size_t at = 0; at < sql.n;) {
		size_t next = skip(sql, at);
		if (next > at) {
			buf_append(out, sql.p + at, next - at);
			at = next;
		} else if (starts_at(sql, at, STR("??"))) {
			buf_append_char(out, '?');
			at += 2;
		} else if (sql.p[at] == '?') {
			buf_printf(out, "$%d", ++count);
			at++;
		} else {
			buf_append_char(out, sql.p[at++]);
		}
	}
	return count;
}

void pg_statement_name(struct buf *out, struct str name)
{
	buf_append_char(out, '"');
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] == '"')
			buf_append_char(out, '"');
		buf_append_char(out, name.p[i]);
	}
	buf_append_char(out, '"');
}

/* As the inside of a FROM; a semicolon at its end is forgiven, and a comment at its end ends there. */
static int append_inside(struct str sql, struct buf *out)
{
	while (sql.n > 0 && strchr("; \t\r\n", sql.p[sql.n - 1]) != NULL)
		sql.n--;
	buf_append_lit(out, "(\n");
	int count = pg_statement_rewrite(sql, out);
	buf_append_lit(out, "\n) AS fabra_row");
	return count;
}

static void column(struct buf *out, struct str name)
{
	buf_append_lit(out, "fabra_row.");
	pg_statement_name(out, name);
}

/* ---- statements ---- */
#define BYTES "16777216"
_Static_assert(PG_STATEMENT_BYTES == 16777216 && OFFLINE_VALUE_BYTES_MAX == 4194304, "as the statements say");

int pg_statement_query(struct str sql, uint32_t rows_max, struct buf *out)
{
	buf_append_lit(out,
		       "SELECT CASE WHEN octet_length(j) <= " BYTES " THEN j END, total > " BYTES
		       " FROM (SELECT j, sum(octet_length(j)) OVER (ROWS UNBOUNDED PRECEDING) AS total FROM (SELECT "
		       "row_to_json(fabra_row)::text AS j FROM ");
	int count = append_inside(sql, out);
	buf_printf(out, " LIMIT %llu) AS fabra_texts) AS fabra_sums WHERE total - octet_length(j) <= " BYTES "%c",
		   (unsigned long long)rows_max + 1, '\0');
	return count;
}

void pg_statement_columns(struct str sql, struct str key_column, struct str value_column, struct buf *out)
{
	buf_append_lit(out, "SELECT ");
	column(out, key_column);
	buf_append_lit(out, ", ");
	column(out, value_column);
	buf_append_lit(out, " FROM ");
	append_inside(sql, out);
	buf_append_lit(out, " LIMIT 0\0");
}

static const char *array_of(unsigned type)
{
	switch (type) {
	case PG_INT2:
	case PG_INT4:
	case PG_INT8:
		return "bigint[]";
	case PG_UUID:
		return "uuid[]";
	default:
		return "text[]";
	}
}

/* The key is compared in its own type where it has one in which an id can be written in one way only, so that an index serves. */
void pg_statement_feature(const struct offline_narrowed *what, unsigned key_type, struct buf *out)
{
	bool is_own = key_type == PG_TEXT || key_type == PG_VARCHAR || strcmp(array_of(key_type), "text[]") != 0;
	buf_append_lit(
	    out,
	    "SELECT k, CASE WHEN octet_length(v) > 4194304 THEN '' ELSE v END, total > " BYTES
	    " FROM (SELECT k, v, coalesce(sum(octet_length(v)) OVER (ROWS UNBOUNDED PRECEDING), 0) AS total FROM (SELECT (");
	column(out, what->key_column);
	buf_append_lit(out, ")::text AS k, to_json(");
	column(out, what->value_column);
	buf_append_lit(out, ")::text AS v, row_number() OVER (PARTITION BY ");
	column(out, what->key_column);
	buf_append_lit(out, ") AS n FROM ");
	append_inside(what->sql, out);
	buf_append_lit(out, " WHERE ");
	column(out, what->key_column);
	buf_printf(
	    out,
	    "%s = ANY ($1::%s)) AS fabra_rows WHERE n <= 2) AS fabra_sums WHERE total - coalesce(octet_length(v), 0) <= " BYTES
	    "%c",
	    is_own ? "" : "::text", array_of(key_type), '\0');
}

static bool is_canonical_int(struct str id)
{
	size_t digits = id.n > 0 && id.p[0] == '-' ? id.n - 1 : id.n;
	const char *p = id.p + (id.n - digits);
	if (digits == 0 || digits > 18 || (p[0] == '0' && (digits > 1 || id.n > 1)))
		return false;
	for (size_t i = 0; i < digits; i++)
		if (p[i] < '0' || p[i] > '9')
			return false;
	return true;
}

static bool can_be(struct str id, unsigned key_type)
{
	struct pg_uuid uuid;
	char text[36];
	if (strcmp(array_of(key_type), "bigint[]") == 0)
		return is_canonical_int(id);
	if (key_type == PG_UUID) {
		if (id.n != 36 || !pg_uuid_parse(id, &uuid))
			return false;
		pg_uuid_text(uuid, text);
		return memcmp(text, id.p, 36) == 0;
	}
	return json_utf8_valid(id) && memchr(id.p, '\0', id.n) == NULL;
}

void pg_statement_ids(const struct offline_narrowed *what, unsigned key_type, struct buf *out)
{
	bool is_first = true;
	buf_append_char(out, '{');
	for (uint32_t i = 0; i < what->ids_count; i++) {
		struct str id = what->ids[i];
		if (!can_be(id, key_type))
			continue;
		buf_append_str(out, is_first ? STR("\"") : STR(",\""));
		for (size_t k = 0; k < id.n; k++) {
			if (id.p[k] == '"' || id.p[k] == '\\')
				buf_append_char(out, '\\');
			buf_append_char(out, id.p[k]);
		}
		buf_append_char(out, '"');
		is_first = false;
	}
	buf_append(out, "}", 2);
}

void pg_statement_rows(struct str sql, struct str key_column, struct str value_column, struct buf *out)
{
	buf_append_lit(out, "CREATE TEMP TABLE fabra_rows ON COMMIT DROP AS SELECT (");
	column(out, key_column);
	buf_append_lit(out, ")::text AS k, to_json(");
	column(out, value_column);
	buf_append_lit(out, ")::text AS v FROM ");
	append_inside(sql, out);
	buf_append_lit(out, " WHERE ");
	column(out, key_column);
	buf_append_lit(out, " IS NOT NULL\0");
}
