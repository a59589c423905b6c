#include "store/offline/offline_events.h"
#include "runtime/check.h"
#include "store/offline/offline_csv.h"
#include "store/offline/offline_private.h"
#include "store/text/json.h"
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

enum { COLUMNS_MAX = 1024, KEY_COLUMNS_MAX = 256, SCRATCH_MEMORY = 512 << 20 };

/* What the values of a column are, together. */
enum kind { KIND_INTEGER = 1, KIND_FLOAT = 2, KIND_BOOLEAN = 4, KIND_TEXT = 8, KIND_OTHER = 16 };

struct offline_events {
	struct offline *offline;           /* owned */
	struct offline_conn *conn, *adder; /* owned; one reads while the other adds */
	char *file;                        /* owned */
	struct buf names;                  /* owned: of the file's columns, each with its NUL */
	struct buf select;                 /* owned: what the rows are read by */
	size_t text_columns_count;
	uint64_t rows;
	bool is_entered;
	char **columns; /* owned, each too: of what was found */
	unsigned *kinds;
	size_t columns_count;
	duckdb_appender appender;
};

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && strcasecmp(text + n - m, end) == 0;
}

static bool failed(const struct offline_error *error, struct buf *ret_why)
{
	buf_append_str(ret_why, str_from(error->text));
	return false;
}

/* ---- opening ---- */
static struct str text_at(duckdb_data_chunk chunk, idx_t column, idx_t row)
{
	duckdb_vector v = duckdb_data_chunk_get_vector(chunk, column);
	uint64_t *validity = duckdb_vector_get_validity(v);
	if (validity != NULL && !duckdb_validity_row_is_valid(validity, row))
		return (struct str){ 0 };
	duckdb_string_t *s = (duckdb_string_t *)duckdb_vector_get_data(v) + row;
	return str_of(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

/* The names of the columns, and the SELECT of those that events are read by. */
static bool columns_read(struct offline_events *e, const char *const *wanted, size_t count, struct buf *ret_why)
{
	struct offline_error error = { 0 };
	bool has_zone[KEY_COLUMNS_MAX] = { false }, is_there[KEY_COLUMNS_MAX] = { false };
	bool ok = offline_conn_select(
	    e->conn,
	    STR("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'events' AND "
		"schema_name = 'main' ORDER BY column_index"),
	    NULL, UINT64_MAX, &error);
	for (duckdb_data_chunk chunk; ok && (chunk = offline_conn_fetch(e->conn, &error)) != NULL;) {
		for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk); row++) {
			struct str name = text_at(chunk, 0, row), type = text_at(chunk, 1, row);
			buf_append_str(&e->names, name);
			buf_append_char(&e->names, '\0');
			for (size_t i = 0; i < count; i++) {
				if (strlen(wanted[i]) != name.n || strncasecmp(wanted[i], name.p, name.n) != 0)
					continue;
				is_there[i] = true;
				has_zone[i] = str_eq(type, STR("TIMESTAMP WITH TIME ZONE"));
			}
		}
		duckdb_destroy_data_chunk(&chunk);
	}
	offline_conn_end(e->conn);
	if (!ok || error.status != 0)
		return failed(&error, ret_why);
	buf_append_lit(&e->select, "SELECT rowid::UBIGINT");
	for (size_t i = 0; i < count; i++) {
		if (!is_there[i]) {
			buf_printf(ret_why, "it has no column \"%s\"; its columns are", wanted[i]);
			for (size_t at = 0; at < e->names.n; at += strlen(e->names.p + at) + 1)
				buf_printf(ret_why, "%s %s", at ? "," : "", e->names.p + at);
			return false;
		}
		buf_append_lit(&e->select, ", CAST(");
		offline_append_quoted(&e->select, str_from(wanted[i]), '"');
		/* The session's zone is UTC. */
		buf_append_str(&e->select, has_zone[i] ? STR("::TIMESTAMP AS VARCHAR)") : STR(" AS VARCHAR)"));
	}
	buf_append_lit(&e->select, " FROM main.events ORDER BY ");
	for (size_t i = 0; i + 1 < count; i++) {
		offline_append_quoted(&e->select, str_from(wanted[i]), '"');
		buf_append_lit(&e->select, ", ");
	}
	buf_append_lit(&e->select, "rowid");
	return true;
}

static bool open_all(struct offline_events *e, const char *scratch_dir, const char *const *text_columns, size_t count,
		     struct buf *ret_why)
{
	struct offline_error error = { 0 };
	struct buf path = { 0 };
	bool is_new;
	buf_printf(&path, "%s/scratch.duckdb", scratch_dir);
	buf_append_char(&path, '\0');
	char *real = realpath(e->file, NULL);
	if (real == NULL) {
		buf_printf(ret_why, "it cannot be opened: %s", strerror(errno));
		buf_finish(&path);
		return false;
	}
	e->offline = offline_open(&(struct offline_config){ .path = path.p, .memory_limit_bytes = SCRATCH_MEMORY },
				  ret_why);
	const struct offline_table table = {
		.name = "events", .file = real, .id_columns = text_columns, .id_columns_count = count
	};
	bool ok = e->offline != NULL && offline_load_table(e->offline, &table, &e->rows, &is_new, ret_why);
	free(real);
	buf_finish(&path);
	if (!ok)
		return false;
	e->conn = offline_conn_open(e->offline, &error);
	e->adder = e->conn != NULL ? offline_conn_open(e->offline, &error) : NULL;
	e->is_entered = e->adder != NULL &&
			offline_conn_enter(e->conn, &error); /* until it is closed: nobody else has this file */
	return e->is_entered ? columns_read(e, text_columns, count, ret_why) : failed(&error, ret_why);
}

struct offline_events *offline_events_open(const char *file, const char *scratch_dir, const char *const *text_columns,
					   size_t text_columns_count, struct buf *ret_why)
{
	struct offline_events *e = calloc(1, sizeof *e);
	CHECK(e != NULL && text_columns_count <= KEY_COLUMNS_MAX);
	e->file = strdup(file);
	e->text_columns_count = text_columns_count;
	CHECK(e->file != NULL);
	if (open_all(e, scratch_dir, text_columns, text_columns_count, ret_why))
		return e;
	offline_events_close(e);
	return NULL;
}

void offline_events_close(struct offline_events *e)
{
	if (e == NULL)
		return;
	if (e->appender != NULL)
		duckdb_appender_destroy(&e->appender);
	if (e->is_entered)
		offline_conn_leave(e->conn);
	offline_conn_close(e->conn);
	offline_conn_close(e->adder);
	offline_close(e->offline);
	for (size_t i = 0; i < e->columns_count; i++)
		free(e->columns[i]);
	free(e->columns);
	free(e->kinds);
	free(e->file);
	buf_finish(&e->names);
	buf_finish(&e->select);
	free(e);
}

uint64_t offline_events_count(const struct offline_events *e)
{
	return e->rows;
}

bool offline_events_has_column(const struct offline_events *e, const char *name)
{
	for (size_t at = 0; at < e->names.n; at += strlen(e->names.p + at) + 1)
		if (strcasecmp(e->names.p + at, name) == 0)
			return true;
	return false;
}

void offline_events_place(const struct offline_events *e, uint64_t row, struct buf *out)
{
	size_t names = 0;
	for (size_t i = 0; i < e->names.n; i++)
		names += e->names.p[i] == '\0';
	bool is_csv = ends_with(e->file, ".csv") || ends_with(e->file, ".tsv") || ends_with(e->file, ".csv.gz") ||
		      ends_with(e->file, ".tsv.gz");
	struct csv_form form = { .quote = '"', .has_header = true, .has_one_column = names == 1 };
	uint64_t line = is_csv ? csv_line_of(e->file, form, row + 1) : 0;
	buf_printf(out, "%s %llu", line ? "line" : "row", (unsigned long long)(line ? line : row + 1));
}

/* ---- reading ---- */
bool offline_events_read(struct offline_events *e, void *arg,
			 bool (*each)(void *arg, uint64_t row, const struct str *texts), struct buf *ret_why)
{
	struct offline_error error = { 0 };
	struct str texts[KEY_COLUMNS_MAX];
	bool goes_on = true;
	bool ok = offline_conn_select(e->conn, buf_str(&e->select), NULL, UINT64_MAX, &error);
	for (duckdb_data_chunk chunk; ok && goes_on && (chunk = offline_conn_fetch(e->conn, &error)) != NULL;) {
		const uint64_t *rows = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
		for (idx_t row = 0; goes_on && row < duckdb_data_chunk_get_size(chunk); row++) {
			for (size_t i = 0; i < e->text_columns_count; i++)
				texts[i] = text_at(chunk, i + 1, row);
			goes_on = each(arg, rows[row], texts);
		}
		duckdb_destroy_data_chunk(&chunk);
	}
	offline_conn_end(e->conn);
	return (ok && error.status == 0) || failed(&error, ret_why);
}

/* ---- what was found ---- */
bool offline_events_begin(struct offline_events *e, const char *const *columns, size_t columns_count,
			  struct buf *ret_why)
{
	struct offline_error error = { 0 };
	struct buf sql = { 0 };
	CHECK(columns_count <= COLUMNS_MAX);
	e->columns = calloc(columns_count + 1, sizeof *e->columns);
	e->kinds = calloc(columns_count + 1, sizeof *e->kinds);
	CHECK(e->columns != NULL && e->kinds != NULL);
	buf_append_lit(&sql, "CREATE TABLE main.found(place UBIGINT");
	for (; e->columns_count < columns_count; e->columns_count++) {
		e->columns[e->columns_count] = strdup(columns[e->columns_count]);
		CHECK(e->columns[e->columns_count] != NULL);
		buf_printf(&sql, ", v%zu VARCHAR", e->columns_count);
	}
	buf_append(&sql, ")", 2);
	bool ok = offline_conn_run(e->adder, sql.p, &error);
	buf_finish(&sql);
	if (!ok)
		return failed(&error, ret_why);
	if (duckdb_appender_create_ext(e->adder->handle, "offline", "main", "found", &e->appender) == DuckDBSuccess)
		return true;
	buf_append_lit(ret_why, "the scratch file takes no rows");
	return false;
}

static unsigned kind_of(struct str json)
{
	if (json.p[0] == '"')
		return KIND_TEXT;
	if (json.p[0] == 't' || json.p[0] == 'f')
		return KIND_BOOLEAN;
	if (json.p[0] == '{' || json.p[0] == '[')
		return KIND_OTHER;
	for (size_t i = 0; i < json.n; i++)
		if (json.p[i] == '.' || json.p[i] == 'e' || json.p[i] == 'E')
			return KIND_FLOAT;
	return KIND_INTEGER;
}

bool offline_events_add(struct offline_events *e, uint64_t row, const struct str *json, struct buf *ret_why)
{
	duckdb_append_uint64(e->appender, row);
	for (size_t i = 0; i < e->columns_count; i++) {
		bool is_null = json[i].n == 0 || str_eq(json[i], STR("null"));
		if (is_null) {
			duckdb_append_null(e->appender);
			continue;
		}
		e->kinds[i] |= kind_of(json[i]);
		duckdb_append_varchar_length(e->appender, json[i].p, json[i].n);
	}
	if (duckdb_appender_end_row(e->appender) == DuckDBSuccess)
		return true;
	buf_append_lit(ret_why, "the scratch file takes no more rows; is its disk full?");
	return false;
}

bool offline_events_can_write(const char *path)
{
	return ends_with(path, ".parquet") || ends_with(path, ".csv");
}

static void column_write(const struct offline_events *e, size_t i, struct buf *sql)
{
	const char *form = "f.v%zu";
	if (e->kinds[i] == KIND_TEXT)
		form = "json_extract_string(f.v%zu, '$')";
	else if (e->kinds[i] == KIND_INTEGER)
		form = "CAST(f.v%zu AS BIGINT)";
	else if (e->kinds[i] == KIND_FLOAT || e->kinds[i] == (KIND_INTEGER | KIND_FLOAT))
		form = "CAST(f.v%zu AS DOUBLE)";
	else if (e->kinds[i] == KIND_BOOLEAN)
		form = "CAST(f.v%zu AS BOOLEAN)";
	const char *at = strstr(form, "%zu");
	buf_append_lit(sql, ", ");
	buf_append(sql, form, (size_t)(at - form));
	buf_append_u64(sql, i);
	buf_append_str(sql, str_from(at + 3));
	buf_append_lit(sql, " AS ");
	offline_append_quoted(sql, str_from(e->columns[i]), '"');
}

bool offline_events_write(struct offline_events *e, const char *path, struct buf *ret_why)
{
	struct offline_error error = { 0 };
	struct buf sql = { 0 };
	if (duckdb_appender_close(e->appender) != DuckDBSuccess) {
		buf_append_lit(ret_why, "the scratch file takes no more rows; is its disk full?");
		return false;
	}
	buf_append_lit(&sql, "COPY (SELECT e.*");
	for (size_t i = 0; i < e->columns_count; i++)
		column_write(e, i, &sql);
	buf_append_lit(&sql, " FROM main.events e JOIN main.found f ON f.place = e.rowid ORDER BY e.rowid) TO ");
	offline_append_quoted(&sql, str_from(path), '\'');
	if (ends_with(path, ".parquet"))
		buf_append(&sql, " (FORMAT parquet)", sizeof " (FORMAT parquet)");
	else
		buf_append(&sql, " (FORMAT csv, HEADER)", sizeof " (FORMAT csv, HEADER)");
	bool ok = offline_conn_run(e->adder, sql.p, &error);
	buf_finish(&sql);
	return ok || failed(&error, ret_why);
}
