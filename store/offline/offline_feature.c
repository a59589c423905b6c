/* The SQL of a feature, narrowed to ids.
 *
 * The key column is compared in its own type, so that DuckDB can push the comparison down to the table and its
 * statistics. What a row is called is decided here, by the very function that names the rows of a materialised feature:
 * an id that only means the same value ("007" for 7) has no row. */
#include "store/offline/offline_feature.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "store/text/json.h"
#include "store/offline/offline_cursor.h"

enum { RESULT_BYTES_MAX = 16 << 20, IDS_BUCKETS = 2 * OFFLINE_IDS_MAX };

/* ---- the statement ---- */
/* One id is a parameter, so that the statement is the same for all; several are constants, among which DuckDB looks
 * a key up by a hash. */
static void statement_write(const struct offline_narrowed *ask, const char *type, struct buf *out)
{
	bool is_text = strcmp(type, "VARCHAR") == 0;
	buf_append_lit(out, "SELECT ");
	offline_append_quoted(out, ask->key_column, '"');
	buf_append_lit(out, " AS key, ");
	offline_append_quoted(out, ask->value_column, '"');
	buf_append_lit(out, " AS value FROM (");
	buf_append_str(out, ask->sql);
	buf_append_str(out, is_text ? STR("\n) WHERE CAST(") : STR("\n) WHERE ("));
	offline_append_quoted(out, ask->key_column, '"');
	buf_append_str(out, is_text ? STR(" AS VARCHAR) IN (") : STR(") IN ("));
	for (uint32_t i = 0; i < ask->ids_count; i++) {
		buf_append_str(out, i ? STR(",") : STR(""));
		if (!is_text)
			buf_append_lit(out, "TRY_CAST(");
		if (ask->ids_count == 1)
			buf_append_lit(out, "CAST(? AS VARCHAR)");
		else
			offline_append_quoted(out, ask->ids[i], '\'');
		if (!is_text)
			buf_printf(out, " AS %s)", type);
	}
	buf_append_char(out, ')');
}

/* ---- the rows ---- */
struct wanted {
	const struct offline_narrowed *ask;
	uint16_t buckets[IDS_BUCKETS]; /* position of an id + 1; 0 = free */
	uint8_t rows[OFFLINE_IDS_MAX]; /* of each id: 0, 1, or 2 for several */
};

/* Where the id is, or would go. */
static uint16_t *wanted_find(struct wanted *w, struct str id)
{
	uint64_t at = hash64(id) % IDS_BUCKETS;
	while (w->buckets[at] != 0 && !str_eq(w->ask->ids[w->buckets[at] - 1], id))
		at = (at + 1) % IDS_BUCKETS;
	return &w->buckets[at];
}

static bool row_read(struct wanted *w, const struct offline_columns *columns, duckdb_vector keys, duckdb_vector values,
		     uint64_t row, struct buf *text, struct offline_batch *ret, struct offline_error *error)
{
	bool is_null;
	buf_clear(text);
	if (!offline_key_write(columns, 0, keys, row, text, &is_null, error))
		return false;
	uint16_t place = is_null ? 0 : *wanted_find(w, buf_str(text));
	if (place == 0 || w->rows[place - 1] == 2)
		return true;
	w->rows[place - 1]++;
	struct offline_row *out = &ret->rows[ret->count];
	out->key = arena_dup(ret->texts, buf_str(text));
	if (out->key.p == NULL) {
		offline_error_text(error, RT_EFULL, "out of memory");
		return false;
	}
	if (!offline_value_read(columns, 1, values, row, out->key, text, error))
		return false;
	out->value_json = arena_dup(ret->texts, buf_str(text));
	if (out->value_json.p == NULL || ret->texts->used > RESULT_BYTES_MAX) {
		offline_error_text(error, RT_ETOOBIG, "the values are larger than %d MiB; ask for fewer ids at once",
				   RESULT_BYTES_MAX >> 20);
		return false;
	}
	ret->count++;
	return true;
}

static bool rows_read(struct offline_conn *c, struct wanted *w, struct offline_batch *ret, struct offline_error *error)
{
	struct arena types = { 0 };
	struct offline_columns columns;
	struct buf text = { 0 };
	bool ok = offline_columns_read(&c->result, &types, &columns, error);
	for (duckdb_data_chunk chunk; ok && (chunk = offline_conn_fetch(c, error)) != NULL;) {
		idx_t rows = duckdb_data_chunk_get_size(chunk);
		for (idx_t row = 0; ok && row < rows; row++)
			ok = row_read(w, &columns, duckdb_data_chunk_get_vector(chunk, 0),
				      duckdb_data_chunk_get_vector(chunk, 1), row, &text, ret, error);
		duckdb_destroy_data_chunk(&chunk);
	}
	buf_finish(&text);
	arena_finish(&types);
	return ok && error->status == 0;
}

static bool read_all(struct offline_conn *c, const struct offline_narrowed *ask, uint64_t deadline_ns,
		     struct offline_batch *ret, struct offline_error *error)
{
	char room[32];
	duckdb_prepared_statement statement = offline_conn_prepare_select(c, ask->sql, error);
	const char *type = statement == NULL
			       ? NULL
			       : offline_statement_key_type(statement, ask->key_column, room, sizeof room, error);
	if (type == NULL)
		return false;
	struct wanted w = { .ask = ask };
	for (uint32_t i = 0; i < ask->ids_count; i++)
		*wanted_find(&w, ask->ids[i]) = (uint16_t)(i + 1);
	struct buf sql = { 0 }, params = { 0 };
	struct json_error json_error;
	statement_write(ask, type, &sql);
	buf_append_char(&params, '[');
	if (ask->ids_count == 1)
		json_write_string(&params, ask->ids[0]);
	buf_append_char(&params, ']');
	yyjson_doc *list = json_parse(buf_str(&params), NULL, &json_error);
	ret->rows = arena_alloc(ret->texts, (2ul * ask->ids_count + 1) * sizeof *ret->rows);
	CHECK(list != NULL && !sql.failed && ret->rows != NULL); /* ids are short texts, and OFFLINE_IDS_MAX at most */
	bool ok = offline_conn_select(c, buf_str(&sql), yyjson_doc_get_root(list), deadline_ns, error) &&
		  rows_read(c, &w, ret, error);
	offline_conn_end(c);
	if (ask->ids_count > 1)
		offline_conn_forget(c, buf_str(&sql));
	yyjson_doc_free(list);
	buf_finish(&sql);
	buf_finish(&params);
	return ok;
}

void offline_feature_read(struct offline_conn *c, const struct offline_narrowed *ask, uint64_t deadline_ns,
			  struct offline_batch *ret)
{
	struct offline_error error = { 0 };
	ret->last = true;
	offline_question_begin(c->offline, false);
	bool ok = read_all(c, ask, deadline_ns, ret, &error);
	offline_question_end(ok, &error);
	if (!ok)
		offline_batch_fail(ret, &error);
}
