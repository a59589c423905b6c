/* What Fabra's Python program left in the file: single records and contexts, as it would have answered them
 * (tables and their shapes: fabra-core 4.8). */
#include "runtime/check.h"
#include "store/evidence/legacy_view.h"
#include "store/offline/offline_json.h"
#include "store/offline/offline_private.h"

static struct str text_at(duckdb_data_chunk chunk, idx_t column)
{
	duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, column);
	uint64_t *validity = duckdb_vector_get_validity(vector);
	if (validity != NULL && !duckdb_validity_row_is_valid(validity, 0))
		return (struct str){ 0 };
	duckdb_string_t *s = duckdb_vector_get_data(vector);
	return str_of(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

static int64_t number_at(duckdb_data_chunk chunk, idx_t column)
{
	duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, column);
	uint64_t *validity = duckdb_vector_get_validity(vector);
	bool is_null = validity != NULL && !duckdb_validity_row_is_valid(validity, 0);
	return is_null ? 0 : *(int64_t *)duckdb_vector_get_data(vector);
}

static const char record_sql[] =
    "SELECT context_id, epoch_us(created_at), environment, schema_version, CAST(inputs AS VARCHAR), "
    "context_function, "
    "content, CAST(token_count AS BIGINT), CAST(features AS VARCHAR), CAST(retrieved_items AS VARCHAR), "
    "CAST(assembly AS VARCHAR), CAST(lineage AS VARCHAR), CAST(integrity AS VARCHAR) FROM "
    "main.context_records WHERE ";

static const char context_sql[] =
    "SELECT l.context_id, epoch_us(l.timestamp), l.content, CAST(l.lineage AS VARCHAR), CAST(l.meta AS VARCHAR), l.version, ";
static const char latency_sql[] =
    "CAST(json_extract(r.lineage, '$.assembly_latency_ms') AS VARCHAR) FROM main.context_log l LEFT JOIN "
    "main.context_records r ON r.context_id = l.context_id WHERE ";
static const char no_latency_sql[] = "CAST(NULL AS VARCHAR) FROM main.context_log l WHERE ";

static bool is_number(enum evidence_legacy_view view, size_t column)
{
	return view == LEGACY_RECORD ? column == LEGACY_CREATED_AT || column == LEGACY_TOKEN_COUNT
				     : column == LEGACY_LOG_TIME;
}

static void view_write(enum evidence_legacy_view view, duckdb_data_chunk chunk, struct str ref, struct buf *out)
{
	struct legacy_row row = { .numbers = { 0 } };
	idx_t columns = duckdb_data_chunk_get_column_count(chunk);
	for (size_t i = 0; i < columns && i < LEGACY_COLUMNS_MAX; i++) {
		if (is_number(view, i))
			row.numbers[i] = number_at(chunk, i);
		else
			row.texts[i] = text_at(chunk, i);
	}
	legacy_view_write(view, &row, ref, out);
}

/* ---- finding ---- */
/* Where is it? By hash, which only records have, or by id, as written or with the prefix that a bare UUID
 * lacks. false: the file cannot have it. */
static bool write_sql(const struct offline *o, enum evidence_legacy_view view, bool is_hash, struct buf *sql)
{
	bool has_records = atomic_load(&o->has_context_records), has_log = atomic_load(&o->has_context_log);
	if (view == LEGACY_RECORD) {
		buf_append_str(sql, str_from(record_sql));
		buf_append_str(sql, is_hash ? STR("record_hash = ?") : STR("context_id IN (?, ?)"));
		return has_records;
	}
	buf_append_str(sql, str_from(context_sql));
	buf_append_str(sql, str_from(has_records ? latency_sql : no_latency_sql));
	buf_append_str(sql, is_hash ? STR("r.record_hash = ?") : STR("l.context_id IN (?, ?)"));
	return has_log && (has_records || !is_hash);
}

static yyjson_doc *write_params(struct str ref, bool is_hash)
{
	struct buf text = { 0 }, id = { 0 };
	struct json_error ignored;
	buf_append_char(&text, '[');
	json_write_string(&text, ref);
	if (!is_hash) {
		buf_append_lit(&id, "ctx_");
		buf_append_str(&id, ref);
		buf_append_char(&text, ',');
		json_write_string(&text, buf_str(&id));
	}
	buf_append_char(&text, ']');
	yyjson_doc *doc = json_parse(buf_str(&text), NULL, &ignored); /* NULL: the reference is no UTF-8 */
	buf_finish(&text);
	buf_finish(&id);
	return doc;
}

bool offline_legacy_read(struct offline_conn *c, struct str ref, enum evidence_legacy_view view, uint64_t deadline_ns,
			 struct buf *ret_json, struct offline_error *error)
{
	bool is_hash = str_starts(ref, STR("sha256:"));
	yyjson_doc *params = write_params(ref, is_hash);
	duckdb_data_chunk chunk = NULL;
	struct buf sql = { 0 };
	*error = (struct offline_error){ 0 };
	if (write_sql(c->offline, view, is_hash, &sql) && params != NULL &&
	    offline_conn_select(c, buf_str(&sql), yyjson_doc_get_root(params), deadline_ns, error))
		chunk = offline_conn_fetch(c, error);
	bool found = chunk != NULL && duckdb_data_chunk_get_size(chunk) > 0;
	if (found)
		view_write(view, chunk, ref, ret_json);
	else if (error->status == 0)
		offline_error_text(error, RT_ENOTFOUND, "Record not found");
	if (chunk != NULL)
		duckdb_destroy_data_chunk(&chunk);
	offline_conn_end(c);
	buf_finish(&sql);
	yyjson_doc_free(params);
	return found && !ret_json->failed;
}

bool offline_legacy_record(struct offline *o, struct str ref, struct buf *ret_json)
{
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(o, &error);
	if (c == NULL)
		return false;
	bool found = offline_legacy_read(c, ref, LEGACY_RECORD, UINT64_MAX, ret_json, &error);
	offline_admin_leave(o);
	return found;
}
