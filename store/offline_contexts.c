/* Lists of contexts, and what Fabra's Python program left in the file (tables and their shapes:
 * fabra-core 4.8). */
#include "runtime/check.h"
#include "store/json.h"
#include "store/offline_json.h"
#include "store/offline_private.h"
#include "store/timefmt.h"

enum { LIST_MAX = 10000 };

/* The JSON path of an object's member, as a JSON string. The caller has refused quotes and backslashes in the name. */
static void write_member_path(struct buf *params, const char *name)
{
	struct buf path = {0};
	buf_printf(&path, "$.\"%s\"", name);
	json_write_string(params, buf_str(&path));
	buf_finish(&path);
}

void offline_contexts_sql(const struct offline_contexts *ask, bool has_log, struct buf *sql,
			  struct buf *params)
{
	/* Fabra's defaults for what a stored meta lacks; an imported record is listed once. */
	static const char from_log[] =
	    " UNION ALL SELECT l.context_id, l.timestamp, coalesce(json_extract_string(l.meta, '$.name'), "
	    "'unknown'), "
	    "coalesce(TRY_CAST(json_extract_string(l.meta, '$.token_usage') AS BIGINT), 0), "
	    "coalesce(json_extract_string(l.meta, '$.freshness_status'), 'unknown'), l.version, CAST(NULL AS JSON) "
	    "FROM main.context_log l ANTI JOIN fabra.records r ON l.context_id = r.context_id";
	buf_append_str(sql, ask->with_inputs ? STR("SELECT *") : STR("SELECT * EXCLUDE (inputs)"));
	buf_append_lit(sql,
		       " FROM (SELECT context_id, created_at AS timestamp, context_function AS name, "
		       "token_count AS token_usage, freshness_status, version, inputs FROM fabra.records");
	if (has_log)
		buf_append_str(sql, str_from(from_log));
	buf_append_lit(sql, ") WHERE true");
	buf_append_char(params, '[');
	if (ask->start_us != INT64_MIN) {
		buf_append_lit(sql, " AND timestamp >= make_timestamp(?)");
		buf_printf(params, "%lld,", (long long)ask->start_us);
	}
	if (ask->end_us != INT64_MAX) {
		buf_append_lit(sql, " AND timestamp <= make_timestamp(?)");
		buf_printf(params, "%lld,", (long long)ask->end_us);
	}
	if (ask->name != NULL) {
		buf_append_lit(sql, " AND name = ?");
		json_write_string(params, str_from(ask->name));
		buf_append_char(params, ',');
	}
	if (ask->freshness_status != NULL) {
		buf_append_lit(sql, " AND freshness_status = ?");
		json_write_string(params, str_from(ask->freshness_status));
		buf_append_char(params, ',');
	}
	if (ask->id_prefix != NULL) {
		buf_append_lit(sql, " AND starts_with(context_id, ?)");
		json_write_string(params, str_from(ask->id_prefix));
		buf_append_char(params, ',');
	}
	if (ask->input != NULL) {
		buf_append_lit(sql, " AND json_extract_string(inputs, ?) = ?");
		write_member_path(params, ask->input);
		buf_append_char(params, ',');
		json_write_string(params, str_from(ask->input_value));
		buf_append_char(params, ',');
	}
	int32_t limit = ask->limit < 0 ? 0 : ask->limit < LIST_MAX ? ask->limit : LIST_MAX;
	buf_append_lit(sql, " ORDER BY timestamp DESC, context_id DESC LIMIT ?");
	buf_printf(params, "%d]", limit);
}

/* ---- one record ---- */
enum field_form { FIELD_TEXT, FIELD_TIME, FIELD_NUMBER, FIELD_OBJECT, FIELD_ARRAY };
/* In declared order. The JSON columns are Python's own texts and go out as they are: numbers keep their
 * spelling. */
static const struct {
	const char *name;
	enum field_form form;
} fields[] = {
    {"context_id", FIELD_TEXT},       {"created_at", FIELD_TIME},    {"environment", FIELD_TEXT},
    {"schema_version", FIELD_TEXT},   {"inputs", FIELD_OBJECT},      {"context_function", FIELD_TEXT},
    {"content", FIELD_TEXT},          {"token_count", FIELD_NUMBER}, {"features", FIELD_ARRAY},
    {"retrieved_items", FIELD_ARRAY}, {"assembly", FIELD_OBJECT},    {"lineage", FIELD_OBJECT},
    {"integrity", FIELD_OBJECT},
};

static const char record_sql[] =
    "SELECT context_id, epoch_us(created_at), environment, schema_version, CAST(inputs AS VARCHAR), "
    "context_function, "
    "content, CAST(token_count AS BIGINT), CAST(features AS VARCHAR), CAST(retrieved_items AS VARCHAR), "
    "CAST(assembly AS VARCHAR), CAST(lineage AS VARCHAR), CAST(integrity AS VARCHAR) FROM "
    "main.context_records WHERE ";

static void field_write(enum field_form form, duckdb_vector vector, struct buf *out)
{
	uint64_t *validity = duckdb_vector_get_validity(vector);
	bool is_null = validity != NULL && !duckdb_validity_row_is_valid(validity, 0);
	void *data = duckdb_vector_get_data(vector);
	struct str text = {0};
	if (!is_null && form != FIELD_TIME && form != FIELD_NUMBER)
		text = str_of(duckdb_string_t_data(data), duckdb_string_t_length(*(duckdb_string_t *)data));
	switch (form) {
	case FIELD_TEXT:
		json_write_string(out, text);
		return;
	case FIELD_TIME: /* naive in the file, UTC by Fabra's rule */
		buf_append_char(out, '"');
		time_write_z(out, is_null ? 0 : *(int64_t *)data);
		buf_append_char(out, '"');
		return;
	case FIELD_NUMBER:
		buf_append_i64(out, is_null ? 0 : *(int64_t *)data);
		return;
	case FIELD_OBJECT:
		buf_append_str(out, is_null ? STR("{}") : text);
		return;
	case FIELD_ARRAY:
		buf_append_str(out, is_null ? STR("[]") : text);
		return;
	}
}

static void record_write(duckdb_data_chunk chunk, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		buf_append_char(out, i == 0 ? '{' : ',');
		json_write_string(out, str_from(fields[i].name));
		buf_append_char(out, ':');
		field_write(fields[i].form, duckdb_data_chunk_get_vector(chunk, i), out);
	}
	buf_append_char(out, '}');
}

/* ["<the reference as the table has it>"]: by id, with the prefix that a bare UUID lacks, or by hash. */
static yyjson_doc *ref_param(struct str ref, bool is_hash)
{
	struct buf text = {0};
	buf_append_char(&text, '[');
	if (is_hash || str_starts(ref, STR("ctx_"))) {
		json_write_string(&text, ref);
	} else {
		struct buf id = {0};
		buf_append_lit(&id, "ctx_");
		buf_append_str(&id, ref);
		json_write_string(&text, buf_str(&id));
		buf_finish(&id);
	}
	buf_append_char(&text, ']');
	struct json_error ignored;
	yyjson_doc *doc = json_parse(buf_str(&text), NULL, &ignored); /* NULL: the reference is no UTF-8 */
	buf_finish(&text);
	return doc;
}

bool offline_foreign_read(struct offline_conn *c, struct str ref, uint64_t deadline_ns, struct buf *ret_json,
			  struct offline_error *error)
{
	bool is_hash = str_starts(ref, STR("sha256:"));
	yyjson_doc *param = ref_param(ref, is_hash);
	duckdb_data_chunk chunk = NULL;
	*error = (struct offline_error){0};
	if (param != NULL && atomic_load(&c->offline->has_context_records)) {
		struct buf sql = {0};
		buf_append_str(&sql, str_from(record_sql));
		buf_append_str(&sql, is_hash ? STR("record_hash = ?") : STR("context_id = ?"));
		if (offline_conn_select(c, buf_str(&sql), yyjson_doc_get_root(param), deadline_ns, error))
			chunk = offline_conn_fetch(c, error);
		buf_finish(&sql);
	}
	bool found = chunk != NULL && duckdb_data_chunk_get_size(chunk) > 0;
	if (found)
		record_write(chunk, ret_json);
	else if (error->status == 0)
		offline_error_text(error, RT_ENOTFOUND, "Record not found");
	if (chunk != NULL)
		duckdb_destroy_data_chunk(&chunk);
	offline_conn_end(c);
	yyjson_doc_free(param);
	return found && !ret_json->failed;
}

bool offline_foreign_record(struct offline *o, struct str ref, struct buf *ret_json)
{
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(o, &error);
	if (c == NULL)
		return false;
	bool found = offline_foreign_read(c, ref, UINT64_MAX, ret_json, &error);
	offline_admin_leave(o);
	return found;
}
