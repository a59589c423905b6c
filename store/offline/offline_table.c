/* fabra.table: the user's own data, from files or SQL, as tables of schema main.
 *
 * What a table was made from is kept in fabra.tables, so that an unchanged file is not read again at the next
 * start. A table made by SQL is made again when its SQL changed or when any file was loaded after it: `loads`
 * numbers all loads. */
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/msg.h"
#include "store/offline/offline_private.h"
#include "store/offline/offline_text.h"
#include "store/text/table_file.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

struct source {
	const struct offline_table *table;
	const char *base;  /* the file's name without folders; NULL: SQL */
	bool is_text;      /* else Parquet */
	struct buf recipe; /* how a text file becomes columns: another recipe, another table */
	int64_t file_bytes, file_mtime_ns;
	uint64_t file_inode; /* another file may have the size and the time of the one before it */
};

/* Counts changes of offline_text.c that give a file's columns other types. */
enum { TYPING_VERSION = 1 };

/* ---- the source ---- */
static void write_recipe(const struct offline_table *t, struct buf *out)
{
	buf_printf(out, "%d", TYPING_VERSION);
	for (size_t i = 0; i < t->id_columns_count; i++)
		buf_printf(out, " id %s", t->id_columns[i]);
	for (size_t i = 0; i < t->columns_count; i++)
		buf_printf(out, " column %s %s", t->columns[i].name, t->columns[i].type);
	buf_append_char(out, '\0');
}

static bool source_read(const struct offline_table *table, struct source *ret, struct offline_error *error)
{
	*ret = (struct source){ .table = table };
	if (table->file == NULL) {
		if (table->sql != NULL)
			return true;
		offline_error_text(error, RT_EINVAL, "it has neither file nor sql");
		return false;
	}
	const char *slash = strrchr(table->file, '/');
	ret->base = slash != NULL ? slash + 1 : table->file;
	if (!table_file_reads(ret->base, &ret->is_text)) {
		offline_error_text(error, RT_EINVAL, "the file's name must end in %s", table_file_endings);
		return false;
	}
	if (!ret->is_text && table->columns_count > 0) {
		offline_error_text(
		    error, RT_EINVAL,
		    "columns: a Parquet file has its own types; convert them in the sql of another table");
		return false;
	}
	if (ret->is_text)
		write_recipe(table, &ret->recipe);
	struct stat st;
	if (stat(table->file, &st) != 0 || !S_ISREG(st.st_mode)) {
		offline_error_text(error, RT_ENOTFOUND, "%s",
				   errno == EACCES ? "the file may not be read" : "there is no such file");
		return false;
	}
	ret->file_bytes = st.st_size;
	ret->file_mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
	ret->file_inode = st.st_ino;
	return true;
}

/* ---- what is there already ---- */
enum table_state { TABLE_MISSING, TABLE_CHANGED, TABLE_KEPT, TABLE_FOREIGN };

static bool bind_text(duckdb_prepared_statement s, idx_t at, const char *text)
{
	return (text != NULL ? duckdb_bind_varchar(s, at, text) : duckdb_bind_null(s, at)) == DuckDBSuccess;
}

/* The first row's first two columns, both BIGINT; false: *error. No row leaves them alone. */
static bool two_numbers(struct offline_conn *c, duckdb_prepared_statement s, int64_t ret[static 2],
			struct offline_error *error)
{
	duckdb_result result;
	bool ok = duckdb_execute_prepared(s, &result) == DuckDBSuccess;
	if (!ok)
		offline_error_set(c->offline, error, duckdb_result_error_type(&result), duckdb_result_error(&result));
	duckdb_data_chunk chunk = ok ? duckdb_fetch_chunk(result) : NULL;
	if (chunk != NULL && duckdb_data_chunk_get_size(chunk) > 0)
		for (idx_t i = 0; i < 2; i++)
			ret[i] = *(int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, i));
	if (chunk != NULL)
		duckdb_destroy_data_chunk(&chunk);
	duckdb_destroy_result(&result);
	return ok;
}

static const char state_sql[] =
    "SELECT CAST(CASE WHEN t.table_name IS NULL THEN 0 WHEN f.name IS NULL THEN 3 "
    "WHEN f.file IS NOT DISTINCT FROM $2 AND f.file_bytes IS NOT DISTINCT FROM $3 AND f.file_mtime_ns IS NOT "
    "DISTINCT FROM $4 "
    "AND f.file_inode IS NOT DISTINCT FROM $7 AND f.sql IS NOT DISTINCT FROM $5 AND f.recipe IS NOT DISTINCT FROM $6 AND (f.file IS NOT NULL OR f.loads >= "
    "(SELECT coalesce(max(loads), 0) FROM fabra.tables WHERE file IS NOT NULL)) THEN 2 ELSE 1 END AS "
    "BIGINT), "
    "CAST(coalesce(f.row_count, 0) AS BIGINT) FROM (SELECT CAST($1 AS VARCHAR) AS name) w "
    "LEFT JOIN (SELECT table_name FROM duckdb_tables() WHERE database_name = 'offline' AND schema_name = "
    "'main' "
    "UNION ALL SELECT view_name FROM duckdb_views() WHERE database_name = 'offline' AND schema_name = "
    "'main') t "
    "ON lower(t.table_name) = lower(w.name) LEFT JOIN fabra.tables f ON lower(f.name) = lower(w.name)";

static bool bind_source(duckdb_prepared_statement s, const struct source *from)
{
	bool is_file = from->base != NULL;
	return bind_text(s, 1, from->table->name) && bind_text(s, 2, from->table->file) &&
	       (is_file ? duckdb_bind_int64(s, 3, from->file_bytes) : duckdb_bind_null(s, 3)) == DuckDBSuccess &&
	       (is_file ? duckdb_bind_int64(s, 4, from->file_mtime_ns) : duckdb_bind_null(s, 4)) == DuckDBSuccess &&
	       bind_text(s, 5, is_file ? NULL : from->table->sql) && bind_text(s, 6, from->recipe.p) &&
	       (is_file ? duckdb_bind_uint64(s, 7, from->file_inode) : duckdb_bind_null(s, 7)) == DuckDBSuccess;
}

static bool state_read(struct offline_conn *c, const struct source *from, enum table_state *ret, uint64_t *ret_rows,
		       struct offline_error *error)
{
	int64_t answer[2] = { TABLE_MISSING, 0 };
	duckdb_prepared_statement s = offline_conn_prepare(c, str_from(state_sql), error);
	if (s == NULL)
		return false;
	if (!bind_source(s, from)) {
		offline_error_text(error, RT_EINVAL, "its name or SQL is no UTF-8 text");
		return false;
	}
	if (!two_numbers(c, s, answer, error))
		return false;
	*ret = (enum table_state)answer[0];
	*ret_rows = (uint64_t)answer[1];
	return true;
}

/* ---- loading ---- */
/* A Parquet file's columns as its schema lists them: each before what is in it. */
struct parquet_columns {
	const struct offline_table *table;
	char **names; /* owned; each too */
	size_t count, room;
	int64_t inside;  /* elements that still belong to the last column */
	bool has_warned; /* of the last column */
};

static bool add_column(struct parquet_columns *p, struct str name, struct offline_error *error)
{
	if (p->count == p->room) {
		p->room = p->room > 0 ? 2 * p->room : 64;
		p->names = realloc(p->names, p->room * sizeof *p->names);
		CHECK(p->names != NULL);
	}
	char *text = strndup(name.p, name.n);
	CHECK(text != NULL);
	p->names[p->count++] = text;
	p->has_warned = false;
	for (size_t i = 0; i + 1 < p->count; i++) {
		if (strcasecmp(p->names[i], text) == 0) {
			offline_error_text(error, RT_EINVAL,
					   "its columns %zu and %zu are both called '%.*s'; rename one", i + 1,
					   p->count, STR_ARG(str_first(name, 60)));
			return false;
		}
	}
	return true;
}

/* DuckDB would give other values than are there, and say nothing itself: a decimal of more digits than it has becomes some
 * DOUBLE, and of these times it keeps the microseconds. */
static bool look_at_element(struct parquet_columns *p, struct str name, int64_t children, int64_t digits, bool is_cut,
			    struct offline_error *error)
{
	enum { DIGITS_MAX = 38 };
	if (p->inside > 0)
		p->inside--;
	else if (!add_column(p, name, error))
		return false;
	p->inside += children;
	const char *column = p->names[p->count - 1];
	if (digits > DIGITS_MAX) {
		offline_error_text(error, RT_EINVAL,
				   "column '%.*s' is a decimal of %" PRId64
				   " digits, and a table holds %d; write it as a decimal of fewer digits, or as text",
				   STR_ARG(str_first(str_from(column), 60)), digits, DIGITS_MAX);
		return false;
	}
	if (is_cut && !p->has_warned)
		log_line(LOG_WARNING, "tables", "nanoseconds of this column are cut off",
			 LOG_CSTR("table", p->table->name), LOG_CSTR("column", column));
	p->has_warned |= is_cut;
	return true;
}

static bool look_at_chunk(struct parquet_columns *p, duckdb_data_chunk chunk, struct offline_error *error)
{
	duckdb_string_t *names = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
	int64_t *children = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
	int64_t *digits = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2));
	bool *is_cut = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 3));
	for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++) {
		struct str name = str_of(duckdb_string_t_data(&names[i]), duckdb_string_t_length(names[i]));
		if (!look_at_element(p, name, children[i], digits[i], is_cut[i], error))
			return false;
	}
	return true;
}

static bool look_at_parquet(struct offline_conn *c, const struct offline_table *table, struct offline_error *error)
{
	struct buf sql = { 0 };
	struct parquet_columns columns = { .table = table };
	buf_append_lit(
	    &sql,
	    "SELECT name, coalesce(num_children, 0)::BIGINT, coalesce(CASE WHEN converted_type = 'DECIMAL' OR logical_type "
	    "LIKE 'DecimalType%' THEN precision END, 0)::BIGINT, coalesce(type = 'INT96' OR logical_type LIKE "
	    "'TimeType%NANOS=NanoSeconds%' OR logical_type LIKE 'TimestampType(isAdjustedToUTC=1%NANOS=NanoSeconds%', false) "
	    "FROM parquet_schema(");
	offline_text_path(&sql, table->file);
	buf_append_lit(&sql, ") OFFSET 1"); /* the first element is the file itself */
	bool ok = offline_conn_select(c, buf_str(&sql), NULL, UINT64_MAX, error);
	for (duckdb_data_chunk chunk; ok && (chunk = offline_conn_fetch(c, error)) != NULL;) {
		ok = look_at_chunk(&columns, chunk, error);
		duckdb_destroy_data_chunk(&chunk);
	}
	ok = ok && error->status == 0;
	offline_conn_end(c);
	for (size_t i = 0; i < columns.count; i++)
		free(columns.names[i]);
	free(columns.names);
	buf_finish(&sql);
	return ok;
}

static bool create(struct offline_conn *c, const struct source *from, struct offline_error *error)
{
	struct buf sql = { 0 };
	buf_append_lit(&sql, "CREATE OR REPLACE TABLE main.");
	offline_append_quoted(&sql, str_from(from->table->name), '"');
	buf_append_lit(&sql, " AS ");
	bool ok = true;
	if (from->is_text) {
		ok = offline_text_select(c, from->table, &sql, error);
	} else if (from->base != NULL) {
		ok = look_at_parquet(c, from->table, error);
		buf_append_lit(&sql, "SELECT * FROM read_parquet(");
		offline_text_path(&sql, from->table->file);
		buf_append_lit(&sql, ", hive_partitioning = false)");
	} else {
		size_t n = strlen(from->table->sql);
		while (n > 0 && strchr(" \t\r\n;", from->table->sql[n - 1]) != NULL)
			n--;
		buf_append(&sql, from->table->sql, n);
	}
	/* Prepared, because that refuses a second statement behind the first. */
	duckdb_prepared_statement s = ok ? offline_conn_prepare(c, buf_str(&sql), error) : NULL;
	ok = s != NULL && offline_conn_execute(c, s, error);
	buf_finish(&sql);
	return ok;
}

static bool count(struct offline_conn *c, const char *name, uint64_t *ret_rows, struct offline_error *error)
{
	struct buf sql = { 0 };
	int64_t rows[2] = { 0, 0 };
	buf_append_lit(&sql, "SELECT count(*), 0::BIGINT FROM main.");
	offline_append_quoted(&sql, str_from(name), '"');
	duckdb_prepared_statement s = offline_conn_prepare(c, buf_str(&sql), error);
	bool ok = s != NULL && two_numbers(c, s, rows, error);
	buf_finish(&sql);
	*ret_rows = (uint64_t)rows[0];
	return ok;
}

static bool remember(struct offline_conn *c, const struct source *from, uint64_t rows, struct offline_error *error)
{
	duckdb_prepared_statement s = offline_conn_prepare(
	    c,
	    STR("INSERT INTO fabra.tables(name, file, file_bytes, file_mtime_ns, sql, recipe, file_inode, row_count, loads) "
		"SELECT $1, $2, $3, $4, $5, $6, $7, $8, (SELECT coalesce(max(loads), 0) + 1 FROM fabra.tables)"),
	    error);
	if (s == NULL || !bind_source(s, from) || duckdb_bind_uint64(s, 8, rows) != DuckDBSuccess ||
	    !offline_conn_execute(c, s, error))
		return false;
	s = offline_conn_prepare(c,
				 STR("DELETE FROM fabra.tables WHERE lower(name) = lower($1) "
				     "AND loads < (SELECT max(loads) FROM fabra.tables)"),
				 error);
	return s != NULL && bind_text(s, 1, from->table->name) && offline_conn_execute(c, s, error);
}

static bool load(struct offline_conn *c, const struct source *from, uint64_t *ret_rows, struct offline_error *error)
{
	struct offline_error ignored;
	if (!offline_conn_run(c, "BEGIN TRANSACTION", error))
		return false;
	if (create(c, from, error) && count(c, from->table->name, ret_rows, error) &&
	    remember(c, from, *ret_rows, error) && offline_conn_run(c, "COMMIT", error))
		return true;
	offline_conn_run(c, "ROLLBACK", &ignored);
	return false;
}

static bool is_reserved(const char *name)
{
	return strcasecmp(name, "context_log") == 0 || strcasecmp(name, "context_records") == 0;
}

static bool load_if_changed(struct offline_conn *c, const struct source *from, uint64_t *ret_rows, bool *ret_is_new,
			    struct offline_error *error)
{
	enum table_state state;
	if (is_reserved(from->table->name)) {
		offline_error_text(error, RT_EINVAL, "the name is reserved for the records of Fabra's Python program");
		return false;
	}
	if (!state_read(c, from, &state, ret_rows, error))
		return false;
	if (state == TABLE_FOREIGN) {
		offline_error_text(error, RT_EEXIST,
				   "the file of the offline store has a table of this name that fabra.table did not "
				   "make; choose another name");
		return false;
	}
	*ret_is_new = state != TABLE_KEPT;
	return state == TABLE_KEPT || load(c, from, ret_rows, error);
}

bool offline_load_table(struct offline *o, const struct offline_table *table, uint64_t *ret_rows, bool *ret_is_new,
			struct buf *ret_why)
{
	struct offline_error error = { 0 };
	struct source from;
	uint64_t rows = 0;
	bool ok = source_read(table, &from, &error);
	if (ok) {
		struct offline_conn *c = offline_admin_enter(o, &error);
		ok = c != NULL && load_if_changed(c, &from, &rows, ret_is_new, &error);
		if (c != NULL)
			offline_admin_leave(o);
	}
	if (ok)
		*ret_rows = rows;
	else if (table->file != NULL)
		buf_printf(ret_why, "table \"%s\" from %s: %s", table->name, from.base, error.text);
	else
		buf_printf(ret_why, "table \"%s\" from its sql: %s", table->name, error.text);
	buf_finish(&from.recipe);
	return ok;
}
