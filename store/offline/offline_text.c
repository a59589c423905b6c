/* offline_text.c -- the types of a text file's columns.
 *
 *     columns and their raw types: the first line (CSV), the structure of all objects (JSON)
 *     -> the first rows say which types a column may have
 *     -> all rows confirm the narrowest of them; a column that they refute is tried with the others, once
 *     -> SELECT CAST(...) ... FROM the same reader
 *
 * A declared type (columns = { name = "TYPE" }) is confirmed in the same pass; a cell that it cannot hold is an error.
 */
#include "store/offline/offline_text.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/msg.h"
#include "store/text/json.h"
#include "store/offline/offline_csv.h"
#include "store/offline/offline_private.h"
#include "store/offline/offline_whole.h"
#include <stdlib.h>
#include <strings.h>

enum { SAMPLE_ROWS = 1000, CHECKS_PER_PASS = 400, STRUCT_FIELDS_MAX = 500, SHOWN_BYTES = 40 };

enum type { BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP, TEXT }; /* narrowest first */
static const char *const type_names[] = { "BOOLEAN", "BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR" };

struct column {
	char *name;
	char *raw;       /* JSON: the type that the reader gives, for arrays, objects and mixed cells; NULL: text */
	char *declared;  /* as DuckDB spells it; NULL: to be found */
	bool is_json_id; /* raw is JSON, so that a number shows as one */
	unsigned may;    /* bits of enum type: not refuted yet */
	enum type type, first;
};

struct text_file {
	struct offline_conn *conn;
	const struct offline_table *table;
	bool is_json;
	char delimiter;
	struct column *columns; /* owned */
	size_t count;
	struct buf reader; /* the table function, with every column as text or raw */
};

/* ---- asking DuckDB ---- */

/* What it says of a CSV file names the line, and what it would do about it; here it is what the owner of the file can do. */
static void csv_error(struct offline_error *error, const char *text)
{
	static const struct {
		const char *theirs, *ours;
	} words[] = {
		{ "unterminated quote", "a quote is not closed, or stands inside a cell" },
		{ "Maximum line size", "it is longer than 2 MB; is a quote not closed?" },
	};
	unsigned long long line = strtoull(strstr(text, "CSV Error on Line: ") + strlen("CSV Error on Line: "), NULL,
					   10);
	const char *counts = strstr(text, "Expected Number of Columns: ");
	const char *found = counts ? strstr(counts, "Found: ") : NULL;
	if (found) {
		offline_error_text(error, RT_EINVAL, "line %llu has %lu cells, but line 1 names %lu columns", line,
				   strtoul(found + strlen("Found: "), NULL, 10),
				   strtoul(counts + strlen("Expected Number of Columns: "), NULL, 10));
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strstr(text, words[i].theirs)) {
			offline_error_text(error, RT_EINVAL, "line %llu: %s", line, words[i].ours);
			return;
		}
	}
	offline_error_text(error, RT_EINVAL, "line %llu is not as RFC 4180 wants it", line);
}

void offline_text_error(struct offline *o, struct offline_error *error, duckdb_error_type type, const char *text)
{
	if (text && strstr(text, "CSV Error on Line: "))
		csv_error(error, text);
	else if (text && strstr(text, "state machine reached an invalid state"))
		offline_error_text(error, RT_EINVAL, "its lines end in different ways, or a quote is in a wrong place");
	else
		offline_error_set(o, error, type, text);
}

static bool ask(struct offline_conn *c, struct str sql, duckdb_result *ret, struct offline_error *error)
{
	char *text = strndup(sql.p, sql.n);
	CHECK(text != NULL);
	bool ok = duckdb_query(c->handle, text, ret) == DuckDBSuccess;
	if (!ok)
		offline_text_error(c->offline, error, duckdb_result_error_type(ret), duckdb_result_error(ret));
	free(text);
	return ok;
}

/* The first row's one text; nothing when there is no row. */
static bool one_text(struct offline_conn *c, struct str sql, struct buf *ret, struct offline_error *error)
{
	duckdb_result result;
	bool ok = ask(c, sql, &result, error);
	char *text = ok && duckdb_row_count(&result) > 0 ? duckdb_value_varchar(&result, 0, 0) : NULL;
	if (text)
		buf_append_str(ret, str_from(text));
	duckdb_free(text);
	duckdb_destroy_result(&result);
	return ok;
}

static bool numbers(struct offline_conn *c, struct str sql, uint64_t *ret, size_t n, struct offline_error *error)
{
	duckdb_result result;
	bool ok = ask(c, sql, &result, error);
	for (size_t i = 0; ok && i < n; i++)
		ret[i] = (uint64_t)duckdb_value_int64(&result, i, 0);
	duckdb_destroy_result(&result);
	return ok;
}

static bool has_ending(const char *name, const char *ending)
{
	size_t n = strlen(name), e = strlen(ending);
	return n >= e && strcasecmp(name + n - e, ending) == 0;
}

static bool is_tsv(const char *file)
{
	return has_ending(file, ".tsv") || has_ending(file, ".tsv.gz");
}

static bool is_lines(const char *file)
{
	return has_ending(file, ".jsonl") || has_ending(file, ".ndjson") || has_ending(file, ".jsonl.gz") ||
	       has_ending(file, ".ndjson.gz");
}

/* What is no JSON: DuckDB has counted the record when it fails, and so names the one behind it; and it does not count empty lines. */
static void malformed_error(const struct text_file *f, struct offline_error *error)
{
	static const char at[] = "\", at byte ", as_line[] = " in line ", as_record[] = " in record/value ";
	char *end = NULL, why[sizeof error->text];
	const char *found = NULL;
	for (const char *p = error->text; (p = strstr(p, at)) != NULL; p += strlen(at))
		found = p; /* the last one: a file may be called anything */
	if (found == NULL || strstr(error->text, "Malformed JSON in file ") == NULL)
		return;
	unsigned long long byte = strtoull(found + strlen(at), &end, 10);
	bool is_line = strncmp(end, as_line, strlen(as_line)) == 0;
	if (!is_line && strncmp(end, as_record, strlen(as_record)) != 0)
		return;
	uint64_t behind = strtoull(end + strlen(is_line ? as_line : as_record), &end, 10);
	uint64_t record = behind > 0 ? behind - 1 : 0;
	uint64_t line = is_line ? csv_line_of(f->table->file, (struct csv_form){ 0 }, record) : 0;
	snprintf(why, sizeof why, "%s", end + strspn(end, ": "));
	size_t n = strlen(why);
	while (n > 0 && strchr(". ", why[n - 1]) != NULL)
		why[--n] = '\0';
	offline_error_text(error, RT_EINVAL, "%s %llu is no JSON at byte %llu: %s", is_line ? "line" : "record",
			   (unsigned long long)(line ? line : record), byte, why);
}

/* ---- pieces of SQL ---- */

/* A file's name is a name, not a pattern. */
void offline_text_path(struct buf *out, const char *path)
{
	struct buf escaped = { 0 };
	for (; *path != '\0'; path++) {
		if (strchr("*?[", *path) != NULL)
			buf_printf(&escaped, "[%c]", *path);
		else
			buf_append_char(&escaped, *path);
	}
	buf_append_char(&escaped, '\0');
	offline_append_quoted(out, str_from(escaped.p), '\'');
	buf_finish(&escaped);
}

#define NUMBER_FORM "-?((0|[1-9][0-9]*)([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?"
#define TIME_FORM   "[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,%d})?)?)?"

/* Whether the cell v, a text, is the type's without loss. A text that a number's own spelling gives back has lost nothing;
 * a float of at most 15 significant digits has not either (IEEE 754 binary64). */
static void append_fits(struct buf *out, enum type type, const char *v)
{
	switch (type) {
	case BOOLEAN:
		buf_printf(out, "%s IN ('true', 'false', 'True', 'False', 'TRUE', 'FALSE')", v);
		return;
	case BIGINT:
		buf_printf(out, "CAST(TRY_CAST(%s AS BIGINT) AS VARCHAR) = %s", v, v);
		return;
	case DOUBLE:
		buf_printf(
		    out,
		    "isfinite(TRY_CAST(%s AS DOUBLE)) AND regexp_full_match(%s, '" NUMBER_FORM "') AND "
		    "(length(%s) <= 15 OR CAST(TRY_CAST(%s AS DOUBLE) AS VARCHAR) = %s OR "
		    "length(trim(replace(replace(split_part(lower(%s), 'e', 1), '-', ''), '.', ''), '0')) <= 15) AND "
		    "(TRY_CAST(%s AS DOUBLE) <> 0 OR NOT regexp_matches(split_part(lower(%s), 'e', 1), '[1-9]'))",
		    v, v, v, v, v, v, v, v);
		return;
	case DATE:
		buf_printf(out, "CAST(TRY_CAST(%s AS DATE) AS VARCHAR) = %s AND length(%s) = 10", v, v, v);
		return;
	case TIMESTAMP:
		buf_printf(out, "TRY_CAST(%s AS TIMESTAMP) IS NOT NULL AND regexp_full_match(%s, '" TIME_FORM "')", v,
			   v, 6);
		return;
	case TEXT:
		buf_append_lit(out, "true");
		return;
	}
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_text_type(const char *type)
{
	return strcmp(type, "VARCHAR") == 0;
}

/* "DECIMAL(18,2)"; a list of them is "DECIMAL(18,2)[]". */
static bool is_decimal(const char *type)
{
	return has_prefix(type, "DECIMAL(") && type[strlen(type) - 1] == ')';
}

/* The same for a declared type: what casting would round, cut or shift does not fit. */
static void append_fits_declared(struct buf *out, const char *type, const char *v)
{
	static const char *const integers[] = { "TINYINT",  "SMALLINT",  "INTEGER",  "BIGINT",  "HUGEINT",
						"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT" };
	buf_printf(out, "TRY_CAST(%s AS %s) IS NOT NULL", v, type);
	for (size_t i = 0; i < ARRAY_LEN(integers); i++)
		if (strcmp(type, integers[i]) == 0)
			buf_printf(out, " AND regexp_full_match(%s, '[+-]?[0-9]+')", v);
	if (is_decimal(type))
		buf_printf(out, " AND regexp_full_match(%s, '[+-]?[0-9]*[.]?[0-9]{0,%d}0*')", v,
			   atoi(strchr(type, ',') + 1));
	if (strcmp(type, "DATE") == 0)
		buf_printf(out, " AND regexp_full_match(%s, '[0-9]+-[0-9]+-[0-9]+')", v);
	if (strcmp(type, "TIMESTAMP") == 0 || strcmp(type, "TIMESTAMP_S") == 0 || strcmp(type, "TIMESTAMP_MS") == 0 ||
	    strcmp(type, "TIMESTAMP_NS") == 0) {
		int digits = type[9] == '\0' ? 6 : type[10] == 'S' ? 1 : type[10] == 'M' ? 3 : 9;
		buf_printf(out, " AND regexp_full_match(%s, '" TIME_FORM "')", v, digits);
	}
	if (strcmp(type, "TIMESTAMP WITH TIME ZONE") == 0)
		buf_printf(out, " AND NOT regexp_matches(%s, '[.][0-9]{7}')", v);
}

/* Counts the cells of the column that do not fit, and one more for a column without any: of all rows that is text. For a
 * declared type an empty cell, also in quotes, is null. */
static void append_misfits(struct buf *out, const struct column *col, enum type type, bool is_sample)
{
	struct buf v = { 0 };
	offline_append_quoted(&v, str_from(col->name), '"');
	buf_append_char(&v, '\0');
	buf_printf(out, "count(*) FILTER (%s IS NOT NULL AND (", v.p);
	if (col->declared)
		append_fits_declared(out, col->declared, v.p);
	else
		append_fits(out, type, v.p);
	buf_append_lit(out, ") IS NOT TRUE");
	if (col->declared)
		buf_printf(out, " AND %s <> ''", v.p);
	buf_append_char(out, ')');
	if (!is_sample && col->declared == NULL)
		buf_printf(out, " + CAST(count(%s) = 0 AS BIGINT)", v.p);
	buf_finish(&v);
}

/* ---- columns and their raw types ---- */

static void make_reader(struct text_file *f)
{
	struct buf *out = &f->reader;
	buf_append_str(out, f->is_json ? STR("read_json(") : STR("read_csv("));
	offline_text_path(out, f->table->file);
	buf_append_lit(out, ", hive_partitioning = false, auto_detect = false");
	if (f->is_json) {
		buf_printf(out, ", records = true, format = '%s'",
			   is_lines(f->table->file) ? "newline_delimited" : "auto");
	} else {
		char delimiter[2] = { f->delimiter, '\0' };
		buf_append_lit(out,
			       ", header = true, quote = '\"', escape = '\"', allow_quoted_nulls = false, delim = ");
		offline_append_quoted(out, str_from(delimiter), '\'');
	}
	buf_append_lit(out, ", columns = {");
	for (size_t i = 0; i < f->count; i++) {
		buf_append_str(out, i ? STR(", ") : STR(""));
		offline_append_quoted(out, str_from(f->columns[i].name), '\'');
		buf_append_lit(out, ": ");
		offline_append_quoted(out, str_from(f->columns[i].raw ? f->columns[i].raw : "VARCHAR"), '\'');
	}
	buf_append_lit(out, "})");
}

/* 0: line 1 cannot be read; csv_columns says why, when the file is known to be whole. */
static char delimiter_of(const char *file)
{
	struct csv_header header;
	struct offline_error ignored;
	char ret = csv_header_read(file, is_tsv(file), &header, &ignored) ? header.delimiter : '\0';
	csv_header_finish(&header);
	return ret;
}

static bool csv_columns(struct text_file *f, struct offline_error *error)
{
	struct csv_header header;
	bool ok = csv_header_read(f->table->file, is_tsv(f->table->file), &header, error);
	if (ok) {
		f->delimiter = header.delimiter;
		f->columns = calloc(header.count, sizeof *f->columns);
		CHECK(f->columns != NULL);
		f->count = header.count;
		for (size_t i = 0; i < header.count; i++) {
			f->columns[i] = (struct column){ .name = header.names[i], .may = (1u << TEXT) - 1 };
			header.names[i] = NULL;
		}
	}
	csv_header_finish(&header);
	return ok;
}

/* The type of what json_group_structure describes. A whole number is BIGINT: one that is larger fails loudly. */
static void append_structure(struct buf *out, yyjson_val *s)
{
	size_t i, n;
	yyjson_val *name, *field;
	if (yyjson_is_arr(s)) {
		append_structure(out, yyjson_arr_get_first(s));
		buf_append_lit(out, "[]");
	} else if (yyjson_is_obj(s) && yyjson_obj_size(s) > 0 && yyjson_obj_size(s) <= STRUCT_FIELDS_MAX) {
		buf_append_lit(out, "STRUCT(");
		yyjson_obj_foreach(s, i, n, name, field) {
			buf_append_str(out, i ? STR(", ") : STR(""));
			offline_append_quoted(out, str_from(yyjson_get_str(name)), '"');
			buf_append_char(out, ' ');
			append_structure(out, field);
		}
		buf_append_char(out, ')');
	} else if (yyjson_equals_str(s, "UBIGINT")) {
		buf_append_lit(out, "BIGINT");
	} else if (yyjson_is_str(s) && !yyjson_equals_str(s, "NULL")) {
		buf_append_str(out, json_str(s));
	} else {
		buf_append_lit(out, "JSON");
	}
}

static struct column json_column(yyjson_val *name, yyjson_val *structure)
{
	struct column c = { .name = strdup(yyjson_get_str(name)) };
	CHECK(c.name != NULL);
	if (yyjson_equals_str(structure, "VARCHAR"))
		c.may = 1u << DATE | 1u << TIMESTAMP;
	else if (yyjson_equals_str(structure, "BOOLEAN"))
		c.may = 1u << BOOLEAN;
	else if (yyjson_equals_str(structure, "BIGINT") || yyjson_equals_str(structure, "UBIGINT") ||
		 yyjson_equals_str(structure, "HUGEINT") || yyjson_equals_str(structure, "DOUBLE"))
		c.may = 1u << BIGINT | 1u << DOUBLE;
	else if (!yyjson_equals_str(structure, "NULL")) {
		struct buf raw = { 0 };
		append_structure(&raw, structure);
		buf_append_char(&raw, '\0');
		c.raw = buf_take(&raw, NULL);
		CHECK(c.raw != NULL);
	}
	return c;
}

static bool json_columns(struct text_file *f, struct offline_error *error)
{
	struct buf sql = { 0 }, text = { 0 };
	buf_append_lit(&sql, "SELECT json_group_structure(json) FROM read_json_objects(");
	offline_text_path(&sql, f->table->file);
	buf_printf(&sql, ", hive_partitioning = false, format = '%s')",
		   is_lines(f->table->file) ? "newline_delimited" : "auto");
	bool ok = one_text(f->conn, buf_str(&sql), &text, error);
	if (!ok)
		malformed_error(f, error);
	buf_finish(&sql);
	struct json_error ignored;
	yyjson_doc *doc = ok ? json_parse(buf_str(&text),
					  &(struct json_limits){ .depth_max = 256, .bytes_max = 64u << 20 }, &ignored)
			     : NULL;
	yyjson_val *root = yyjson_doc_get_root(doc);
	if (ok && (!yyjson_is_obj(root) || yyjson_obj_size(root) == 0 || yyjson_obj_size(root) > CSV_COLUMNS_MAX)) {
		offline_error_text(error, RT_EINVAL,
				   text.n == 0 ? "the file has no objects, so that its columns are not known"
					       : "the file must hold objects with the same members (at most 2000)");
		ok = false;
	}
	size_t i, n;
	yyjson_val *name, *structure;
	if (ok) {
		f->columns = calloc(yyjson_obj_size(root), sizeof *f->columns);
		CHECK(f->columns != NULL);
		yyjson_obj_foreach(root, i, n, name, structure)
			f->columns[f->count++] = json_column(name, structure);
	}
	yyjson_doc_free(doc);
	buf_finish(&text);
	return ok;
}

static struct column *find_column(struct text_file *f, const char *name)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcasecmp(f->columns[i].name, name) == 0)
			return &f->columns[i];
	return NULL;
}

/* A type as DuckDB spells it: "int" is INTEGER. */
static bool declared_type(struct text_file *f, const struct offline_column *declared, char **ret,
			  struct offline_error *error)
{
	struct buf sql = { 0 }, text = { 0 };
	buf_printf(&sql, "SELECT typeof(CAST(NULL AS %s))", declared->type);
	bool ok = strpbrk(declared->type, ";?'-") == NULL && one_text(f->conn, buf_str(&sql), &text, error);
	buf_append_char(&text, '\0');
	*ret = ok ? buf_take(&text, NULL) : NULL;
	buf_finish(&text);
	buf_finish(&sql);
	if (!ok)
		offline_error_text(error, RT_EINVAL,
				   "columns: %.*s = \"%.*s\" is no type; write for example BIGINT, "
				   "DECIMAL(18,2), TIMESTAMP or VARCHAR",
				   SHOWN(declared->name), SHOWN(declared->type));
	return ok;
}

static bool declare_columns(struct text_file *f, struct offline_error *error)
{
	for (size_t i = 0; i < f->table->id_columns_count; i++) {
		struct column *c = find_column(f, f->table->id_columns[i]);
		if (c) {
			c->may = 0;
			free(c->raw);
			c->raw = f->is_json ? strdup("JSON") : NULL;
			c->is_json_id = f->is_json;
			CHECK(c->raw != NULL || !f->is_json);
		}
	}
	for (size_t i = 0; i < f->table->columns_count; i++) {
		struct column *c = find_column(f, f->table->columns[i].name);
		if (c == NULL) {
			offline_error_text(error, RT_EINVAL,
					   "columns: the file has no column '%.*s'; its first is '%.*s'",
					   SHOWN(f->table->columns[i].name), SHOWN(f->columns[0].name));
			return false;
		}
		if (!declared_type(f, &f->table->columns[i], &c->declared, error))
			return false;
		/* What is no plain text in JSON is the reader's to convert. */
		bool is_nested = strpbrk(c->declared, "[(") != NULL && !is_decimal(c->declared);
		free(c->raw);
		c->is_json_id = false;
		c->raw = f->is_json && (is_nested || strcmp(c->declared, "JSON") == 0) ? c->declared : NULL;
		if (c->raw)
			c->declared = NULL;
		c->may = 0;
	}
	return true;
}

/* ---- one pass over the rows: how many cells do not fit ---- */

struct pass {
	struct text_file *file;
	bool is_sample;
	struct buf sql;
	uint64_t *misfits[CHECKS_PER_PASS]; /* where the counts go */
	size_t count;
	struct offline_error *error;
};

static bool pass_run(struct pass *p)
{
	uint64_t counts[CHECKS_PER_PASS];
	if (p->count == 0)
		return true;
	buf_append_lit(&p->sql, " FROM ");
	if (p->is_sample)
		buf_append_lit(&p->sql, "(FROM ");
	buf_append_str(&p->sql, buf_str(&p->file->reader));
	if (p->is_sample)
		buf_printf(&p->sql, " LIMIT %d)", SAMPLE_ROWS);
	bool ok = numbers(p->file->conn, buf_str(&p->sql), counts, p->count, p->error);
	for (size_t i = 0; ok && i < p->count; i++)
		*p->misfits[i] = counts[i];
	buf_clear(&p->sql);
	p->count = 0;
	return ok;
}

static bool pass_add(struct pass *p, const struct column *col, enum type type, uint64_t *ret_misfits)
{
	if (p->count == CHECKS_PER_PASS && !pass_run(p))
		return false;
	buf_append_str(&p->sql, p->count ? STR(", ") : STR("SELECT "));
	append_misfits(&p->sql, col, type, p->is_sample);
	p->misfits[p->count++] = ret_misfits;
	return true;
}

/* Every type that a column may still have is checked; those that some cell refutes are taken from it. */
static bool refute(struct text_file *f, bool is_sample, const bool *wanted, struct offline_error *error)
{
	struct pass p = { .file = f, .is_sample = is_sample, .error = error };
	uint64_t(*misfits)[TEXT] = calloc(f->count, sizeof *misfits);
	CHECK(misfits != NULL);
	bool ok = true;
	for (size_t i = 0; ok && i < f->count; i++)
		for (unsigned t = 0; ok && t < TEXT; t++)
			if (wanted[i] && (f->columns[i].may & 1u << t))
				ok = pass_add(&p, &f->columns[i], (enum type)t, &misfits[i][t]);
	ok = ok && pass_run(&p);
	buf_finish(&p.sql);
	for (size_t i = 0; ok && i < f->count; i++)
		for (unsigned t = 0; t < TEXT; t++)
			if (misfits[i][t] > 0)
				f->columns[i].may &= ~(1u << t);
	free(misfits);
	return ok;
}

static enum type narrowest(const struct column *c)
{
	return c->may ? (enum type)__builtin_ctz(c->may) : TEXT;
}

/* ---- where a cell does not fit ---- */

struct misfit {
	uint64_t line, record;
	char value[SHOWN_BYTES + 4];
};

/* The first cell of the column that is not the type's. */
static bool find_misfit(struct text_file *f, const struct column *col, enum type type, struct misfit *ret)
{
	struct buf sql = { 0 }, text = { 0 }, name = { 0 };
	struct offline_error ignored;
	offline_append_quoted(&name, str_from(col->name), '"');
	buf_append_char(&name, '\0');
	buf_append_lit(&sql,
		       "SELECT fabra_record || ' ' || fabra_value FROM (SELECT row_number() OVER () AS fabra_record, ");
	buf_printf(&sql, "%s AS fabra_value, (", name.p);
	if (col->declared)
		append_fits_declared(&sql, col->declared, name.p);
	else
		append_fits(&sql, type, name.p);
	buf_append_lit(&sql, ") IS NOT TRUE AS fabra_misfit FROM ");
	buf_append_str(&sql, buf_str(&f->reader));
	buf_printf(&sql, ") WHERE fabra_value IS NOT NULL AND fabra_misfit%s LIMIT 1",
		   col->declared ? " AND fabra_value <> ''" : "");
	bool ok = one_text(f->conn, buf_str(&sql), &text, &ignored) && text.n > 0;
	if (ok) {
		*ret = (struct misfit){ .record = strtoull(text.p, NULL, 10) };
		struct str value = buf_str(&text);
		const char *space = memchr(value.p, ' ', value.n);
		value = space ? (struct str){ space + 1, (size_t)(value.p + value.n - space - 1) } : (struct str){ 0 };
		struct str shown = str_first(value, SHOWN_BYTES);
		snprintf(ret->value, sizeof ret->value, "%.*s%s", STR_ARG(shown), shown.n < value.n ? "..." : "");
		if (!f->is_json)
			ret->line = csv_line_of(f->table->file,
						(struct csv_form){
						    .quote = '"', .has_header = true, .has_one_column = f->count == 1 },
						ret->record);
		else if (is_lines(f->table->file))
			ret->line = csv_line_of(f->table->file, (struct csv_form){ 0 }, ret->record);
	}
	buf_finish(&sql);
	buf_finish(&text);
	buf_finish(&name);
	return ok;
}

static void misfit_error(struct text_file *f, const struct column *col, struct offline_error *error)
{
	struct misfit m;
	if (!find_misfit(f, col, TEXT, &m))
		offline_error_text(error, RT_EINVAL, "column '%.*s' has a value that is no %.*s", SHOWN(col->name),
				   SHOWN(col->declared));
	else
		offline_error_text(error, RT_EINVAL,
				   "%s %llu, column '%.*s': '%s' is no %.*s without loss; mend the cell, or "
				   "declare the column as VARCHAR",
				   m.line ? "line" : "record", (unsigned long long)(m.line ? m.line : m.record),
				   SHOWN(col->name), m.value, SHOWN(col->declared));
}

/* A column that looks typed in its first rows and is not: whoever expects numbers should hear of it. */
static void say_refuted(struct text_file *f, const struct column *col)
{
	struct misfit m;
	if (find_misfit(f, col, col->first, &m))
		log_line(LOG_WARNING, "offline", "a column is text because of one cell or more",
			 LOG_CSTR("table", f->table->name), LOG_CSTR("column", col->name),
			 LOG_CSTR("not", type_names[col->first]), LOG_CSTR("value", m.value),
			 LOG_INT(m.line ? "line" : "record", (int64_t)(m.line ? m.line : m.record)));
}

/* ---- ids in JSON ---- */

/* An id is text, or a whole number with its digits. 1e3 and 1.10 are read as numbers before anybody sees how they were written, and
 * would be found as 1000.0 and 1.1, which nobody asks for. */
static bool ids_are_spelled(struct text_file *f, const struct column *c, struct offline_error *error)
{
	struct buf sql = { 0 }, text = { 0 };
	buf_append_lit(&sql,
		       "SELECT fabra_record || ' ' || fabra_id FROM (SELECT row_number() OVER () AS fabra_record, ");
	offline_append_quoted(&sql, str_from(c->name), '"');
	buf_append_lit(&sql, " AS fabra_id FROM ");
	buf_append_str(&sql, buf_str(&f->reader));
	buf_append_lit(&sql, ") WHERE json_type(fabra_id) = 'DOUBLE' LIMIT 1");
	bool ok = one_text(f->conn, buf_str(&sql), &text, error);
	if (ok && text.n > 0) {
		unsigned long long record, line = 0;
		char value[SHOWN_BYTES] = "";
		buf_append_char(&text, '\0');
		if (sscanf(text.p, "%llu %39s", &record, value) == 2 && is_lines(f->table->file))
			line = csv_line_of(f->table->file, (struct csv_form){ 0 }, record);
		offline_error_text(
		    error, RT_EINVAL,
		    "%s %llu, column '%.*s': an id is text or a whole number of at most 64 bits, and a number "
		    "that is read as %s is neither; write it in quotes",
		    line ? "line" : "record", line ? line : record, SHOWN(c->name), value);
		ok = false;
	}
	buf_finish(&sql);
	buf_finish(&text);
	return ok;
}

static bool check_json_ids(struct text_file *f, struct offline_error *error)
{
	bool ok = true;
	for (size_t i = 0; ok && i < f->count; i++)
		ok = !f->columns[i].is_json_id || ids_are_spelled(f, &f->columns[i], error);
	return ok;
}

/* ---- the types ---- */

static bool confirm_declared(struct text_file *f, struct offline_error *error)
{
	struct pass p = { .file = f, .error = error };
	uint64_t *misfits = calloc(f->count, sizeof *misfits);
	CHECK(misfits != NULL);
	bool ok = true;
	for (size_t i = 0; ok && i < f->count; i++)
		if (f->columns[i].declared && !is_text_type(f->columns[i].declared))
			ok = pass_add(&p, &f->columns[i], TEXT, &misfits[i]);
	ok = ok && pass_run(&p);
	buf_finish(&p.sql);
	for (size_t i = 0; ok && i < f->count; i++) {
		if (misfits[i] > 0) {
			misfit_error(f, &f->columns[i], error);
			ok = false;
		}
	}
	free(misfits);
	return ok;
}

static bool find_types(struct text_file *f, struct offline_error *error)
{
	bool *wanted = calloc(f->count, sizeof *wanted);
	unsigned *later = calloc(f->count, sizeof *later);
	CHECK(wanted != NULL && later != NULL);
	for (size_t i = 0; i < f->count; i++)
		wanted[i] = true;
	bool ok = refute(f, true, wanted, error);
	for (size_t i = 0; i < f->count; i++) { /* the narrowest first, alone */
		struct column *c = &f->columns[i];
		c->first = c->type = narrowest(c);
		later[i] = c->may & ~(1u << c->type);
		c->may &= 1u << c->type;
	}
	ok = ok && refute(f, false, wanted, error);
	for (size_t i = 0; i < f->count; i++) {
		wanted[i] = f->columns[i].may == 0 && later[i] != 0;
		f->columns[i].may |= wanted[i] ? later[i] : 0;
	}
	ok = ok && refute(f, false, wanted, error);
	for (size_t i = 0; ok && i < f->count; i++) {
		struct column *c = &f->columns[i];
		c->type = narrowest(c);
		if (c->type == TEXT && c->first != TEXT)
			say_refuted(f, c);
	}
	free(wanted);
	free(later);
	return ok;
}

static void append_select(const struct text_file *f, struct buf *out)
{
	buf_append_lit(out, "SELECT ");
	for (size_t i = 0; i < f->count; i++) {
		const struct column *c = &f->columns[i];
		const char *type = c->declared ? c->declared : c->type == TEXT ? NULL : type_names[c->type];
		buf_append_str(out, i ? STR(", ") : STR(""));
		if (type && !is_text_type(type)) {
			buf_append_str(out, c->declared ? STR("CAST(nullif(") : STR("CAST("));
			offline_append_quoted(out, str_from(c->name), '"');
			buf_printf(out, "%s AS %s) AS ", c->declared ? ", '')" : "", type);
		}
		offline_append_quoted(out, str_from(c->name), '"');
		if (c->is_json_id) {
			buf_append_lit(out, "->>'$' AS ");
			offline_append_quoted(out, str_from(c->name), '"');
		}
	}
	buf_append_lit(out, " FROM ");
	buf_append_str(out, buf_str(&f->reader));
}

bool offline_text_select(struct offline_conn *c, const struct offline_table *table, struct buf *ret_sql,
			 struct offline_error *error)
{
	struct text_file f = { .conn = c,
			       .table = table,
			       .is_json = has_ending(table->file, ".json") || is_lines(table->file) ||
					  has_ending(table->file, ".json.gz") };
	bool ok = offline_whole_check(table->file, f.is_json ? 0 : delimiter_of(table->file), error) &&
		  (f.is_json ? json_columns(&f, error) : csv_columns(&f, error));
	ok = ok && declare_columns(&f, error);
	if (ok)
		make_reader(&f);
	ok = ok && check_json_ids(&f, error) && confirm_declared(&f, error) && find_types(&f, error);
	if (ok)
		append_select(&f, ret_sql);
	for (size_t i = 0; i < f.count; i++) {
		free(f.columns[i].name);
		free(f.columns[i].raw);
		free(f.columns[i].declared);
	}
	free(f.columns);
	buf_finish(&f.reader);
	return ok;
}
