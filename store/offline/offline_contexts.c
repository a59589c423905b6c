/* Lists of contexts: the ledger's, and those of Fabra's Python program. */
#include "store/text/json.h"
#include "store/offline/offline_private.h"

enum { LIST_MAX = 10000 };

/* The JSON path of an object's member, as a JSON string. The caller has refused quotes and backslashes in the name. */
static void write_member_path(struct buf *params, const char *name)
{
	struct buf path = { 0 };
	buf_printf(&path, "$.\"%s\"", name);
	json_write_string(params, buf_str(&path));
	buf_finish(&path);
}

void offline_list_sql(const struct evidence_list *ask, bool has_log, struct buf *sql, struct buf *params)
{
	/* Fabra's defaults for what a stored meta lacks; an imported record is listed once. */
	static const char from_log[] =
	    " UNION ALL SELECT l.context_id, l.timestamp, coalesce(json_extract_string(l.meta, '$.name'), "
	    "'unknown'), "
	    "coalesce(TRY_CAST(json_extract_string(l.meta, '$.token_usage') AS BIGINT), 0), "
	    "coalesce(json_extract_string(l.meta, '$.freshness_status'), 'unknown'), l.version, CAST(NULL AS JSON) "
	    "FROM main.context_log l ANTI JOIN fabra.records r ON l.context_id = r.context_id";
	buf_append_str(sql, ask->with_inputs ? STR("SELECT *") : STR("SELECT * EXCLUDE (inputs)"));
	buf_append_lit(sql, " FROM (SELECT context_id, created_at AS timestamp, context_function AS name, "
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
