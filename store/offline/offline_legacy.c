/* What Fabra's Python program left in the file: single records and contexts, as it would have answered them
 * (tables and their shapes: fabra-core 4.8). */
#include "runtime/check.h"
#include "store/text/json.h"
#include "store/offline/offline_json.h"
#include "store/offline/offline_private.h"
#include "store/text/timefmt.h"

enum field_form { FIELD_TEXT, FIELD_TIME, FIELD_NUMBER, FIELD_OBJECT, FIELD_ARRAY };

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

static struct str or_else(struct str s, struct str otherwise)
{
	return s.p != NULL ? s : otherwise;
}

/* ---- a record ---- */
/* In declared order. The JSON columns are Python's own texts and go out as they are: numbers keep their
 * spelling. */
static const struct {
	const char *name;
	enum field_form form;
} fields[] = {
	{ "context_id", FIELD_TEXT },       { "created_at", FIELD_TIME },    { "environment", FIELD_TEXT },
	{ "schema_version", FIELD_TEXT },   { "inputs", FIELD_OBJECT },      { "context_function", FIELD_TEXT },
	{ "content", FIELD_TEXT },          { "token_count", FIELD_NUMBER }, { "features", FIELD_ARRAY },
	{ "retrieved_items", FIELD_ARRAY }, { "assembly", FIELD_OBJECT },    { "lineage", FIELD_OBJECT },
	{ "integrity", FIELD_OBJECT },
};

static const char record_sql[] =
    "SELECT context_id, epoch_us(created_at), environment, schema_version, CAST(inputs AS VARCHAR), "
    "context_function, "
    "content, CAST(token_count AS BIGINT), CAST(features AS VARCHAR), CAST(retrieved_items AS VARCHAR), "
    "CAST(assembly AS VARCHAR), CAST(lineage AS VARCHAR), CAST(integrity AS VARCHAR) FROM "
    "main.context_records WHERE ";

static void field_write(enum field_form form, duckdb_data_chunk chunk, idx_t column, struct buf *out)
{
	switch (form) {
	case FIELD_TEXT:
		json_write_string(out, text_at(chunk, column));
		return;
	case FIELD_TIME: /* naive in the file, UTC by Fabra's rule */
		buf_append_char(out, '"');
		time_write_z(out, number_at(chunk, column));
		buf_append_char(out, '"');
		return;
	case FIELD_NUMBER:
		buf_append_i64(out, number_at(chunk, column));
		return;
	case FIELD_OBJECT:
		buf_append_str(out, or_else(text_at(chunk, column), STR("{}")));
		return;
	case FIELD_ARRAY:
		buf_append_str(out, or_else(text_at(chunk, column), STR("[]")));
		return;
	}
}

static void record_write(duckdb_data_chunk chunk, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		buf_append_char(out, i == 0 ? '{' : ',');
		json_write_string(out, str_from(fields[i].name));
		buf_append_char(out, ':');
		field_write(fields[i].form, chunk, i, out);
	}
	buf_append_char(out, '}');
}

/* ---- a context: what Fabra calls its log, and of its record only how long it took ---- */
enum context_column { COL_ID, COL_TIME, COL_CONTENT, COL_LINEAGE, COL_META, COL_VERSION, COL_LATENCY };
static const char context_sql[] =
    "SELECT l.context_id, epoch_us(l.timestamp), l.content, CAST(l.lineage AS VARCHAR), CAST(l.meta AS VARCHAR), l.version, ";
static const char latency_sql[] =
    "CAST(json_extract(r.lineage, '$.assembly_latency_ms') AS VARCHAR) FROM main.context_log l LEFT JOIN "
    "main.context_records r ON r.context_id = l.context_id WHERE ";
static const char no_latency_sql[] = "CAST(NULL AS VARCHAR) FROM main.context_log l WHERE ";

static void context_write(duckdb_data_chunk chunk, struct buf *out)
{
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, text_at(chunk, COL_ID));
	buf_append_lit(out, ",\"content\":");
	json_write_string(out, text_at(chunk, COL_CONTENT));
	buf_append_lit(out, ",\"lineage\":");
	buf_append_str(out, or_else(text_at(chunk, COL_LINEAGE), STR("null")));
	buf_append_lit(out, ",\"meta\":");
	buf_append_str(out, or_else(text_at(chunk, COL_META), STR("{}")));
	buf_append_lit(out, ",\"version\":");
	json_write_string(out, or_else(text_at(chunk, COL_VERSION), STR("v1")));
	buf_append_char(out, '}');
}

static void lineage_write(duckdb_data_chunk chunk, struct str ref, struct buf *out)
{
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, ref); /* as it was asked for */
	buf_append_lit(out, ",\"lineage\":");
	buf_append_str(out, or_else(text_at(chunk, COL_LINEAGE), STR("null")));
	buf_append_char(out, '}');
}

static void put_member(struct buf *out, const char *name, yyjson_val *meta, const char *otherwise)
{
	yyjson_val *v = yyjson_obj_get(meta, name);
	buf_printf(out, ",\"%s\":", name);
	if (v != NULL)
		json_write_value(out, v);
	else
		buf_append_str(out, str_from(otherwise));
}

/* Python keeps a trace for a day and not in the file; what it would hold stands in meta. */
static void trace_write(duckdb_data_chunk chunk, struct buf *out)
{
	struct json_error ignored;
	yyjson_doc *doc = json_parse(or_else(text_at(chunk, COL_META), STR("{}")), NULL, &ignored);
	yyjson_val *meta = yyjson_doc_get_root(doc);
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, text_at(chunk, COL_ID));
	buf_append_lit(out, ",\"created_at\":\"");
	time_write_z(out, number_at(chunk, COL_TIME));
	buf_append_lit(out, "\",\"latency_ms\":");
	buf_append_str(out, or_else(text_at(chunk, COL_LATENCY), STR("null")));
	put_member(out, "token_usage", meta, "0");
	put_member(out, "cost_usd", meta, "null");
	put_member(out, "freshness_status", meta, "\"unknown\"");
	put_member(out, "stale_sources", meta, "[]");
	put_member(out, "source_ids", meta, "[]");
	buf_append_lit(out, ",\"cache_hit\":false,\"missing_features\":[],\"meta\":{}}");
	yyjson_doc_free(doc);
}

static void view_write(enum evidence_legacy_view view, duckdb_data_chunk chunk, struct str ref, struct buf *out)
{
	switch (view) {
	case LEGACY_RECORD:
		record_write(chunk, out);
		return;
	case LEGACY_CONTEXT:
		context_write(chunk, out);
		return;
	case LEGACY_LINEAGE:
		lineage_write(chunk, ref, out);
		return;
	case LEGACY_TRACE:
		trace_write(chunk, out);
		return;
	}
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
