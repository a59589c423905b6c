#include "store/evidence/legacy_view.h"

enum field_form { FIELD_TEXT, FIELD_TIME, FIELD_NUMBER, FIELD_OBJECT, FIELD_ARRAY };

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
	[LEGACY_CONTEXT_ID] = { "context_id", FIELD_TEXT },
	[LEGACY_CREATED_AT] = { "created_at", FIELD_TIME },
	[LEGACY_ENVIRONMENT] = { "environment", FIELD_TEXT },
	[LEGACY_SCHEMA_VERSION] = { "schema_version", FIELD_TEXT },
	[LEGACY_INPUTS] = { "inputs", FIELD_OBJECT },
	[LEGACY_FUNCTION] = { "context_function", FIELD_TEXT },
	[LEGACY_CONTENT] = { "content", FIELD_TEXT },
	[LEGACY_TOKEN_COUNT] = { "token_count", FIELD_NUMBER },
	[LEGACY_FEATURES] = { "features", FIELD_ARRAY },
	[LEGACY_ITEMS] = { "retrieved_items", FIELD_ARRAY },
	[LEGACY_ASSEMBLY] = { "assembly", FIELD_OBJECT },
	[LEGACY_RECORD_LINEAGE] = { "lineage", FIELD_OBJECT },
	[LEGACY_INTEGRITY] = { "integrity", FIELD_OBJECT },
};

static void write_time(struct buf *out, int64_t us)
{
	buf_append_char(out, '"');
	time_write_z(out, us);
	buf_append_char(out, '"');
}

static void field_write(enum field_form form, const struct legacy_row *row, size_t column, struct buf *out)
{
	switch (form) {
	case FIELD_TEXT:
		json_write_string(out, row->texts[column]);
		return;
	case FIELD_TIME: /* naive in a file, UTC by Fabra's rule */
		write_time(out, row->numbers[column]);
		return;
	case FIELD_NUMBER:
		buf_append_i64(out, row->numbers[column]);
		return;
	case FIELD_OBJECT:
		buf_append_str(out, or_else(row->texts[column], STR("{}")));
		return;
	case FIELD_ARRAY:
		buf_append_str(out, or_else(row->texts[column], STR("[]")));
		return;
	}
}

static void record_write(const struct legacy_row *row, struct buf *out)
{
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		buf_append_char(out, i == 0 ? '{' : ',');
		json_write_string(out, str_from(fields[i].name));
		buf_append_char(out, ':');
		field_write(fields[i].form, row, i, out);
	}
	buf_append_char(out, '}');
}

/* ---- a context: what Fabra calls its log, and of its record only how long it took ---- */
static void context_write(const struct legacy_row *row, struct buf *out)
{
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, row->texts[LEGACY_LOG_ID]);
	buf_append_lit(out, ",\"content\":");
	json_write_string(out, row->texts[LEGACY_LOG_CONTENT]);
	buf_append_lit(out, ",\"lineage\":");
	buf_append_str(out, or_else(row->texts[LEGACY_LOG_LINEAGE], STR("null")));
	buf_append_lit(out, ",\"meta\":");
	buf_append_str(out, or_else(row->texts[LEGACY_LOG_META], STR("{}")));
	buf_append_lit(out, ",\"version\":");
	json_write_string(out, or_else(row->texts[LEGACY_LOG_VERSION], STR("v1")));
	buf_append_char(out, '}');
}

static void lineage_write(const struct legacy_row *row, struct str ref, struct buf *out)
{
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, ref); /* as it was asked for */
	buf_append_lit(out, ",\"lineage\":");
	buf_append_str(out, or_else(row->texts[LEGACY_LOG_LINEAGE], STR("null")));
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

/* Python keeps a trace for a day and not in its tables; what it would hold stands in meta. */
static void trace_write(const struct legacy_row *row, struct buf *out)
{
	struct json_error ignored;
	yyjson_doc *doc = json_parse(or_else(row->texts[LEGACY_LOG_META], STR("{}")), NULL, &ignored);
	yyjson_val *meta = yyjson_doc_get_root(doc);
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, row->texts[LEGACY_LOG_ID]);
	buf_append_lit(out, ",\"created_at\":");
	write_time(out, row->numbers[LEGACY_LOG_TIME]);
	buf_append_lit(out, ",\"latency_ms\":");
	buf_append_str(out, or_else(row->texts[LEGACY_LOG_LATENCY], STR("null")));
	put_member(out, "token_usage", meta, "0");
	put_member(out, "cost_usd", meta, "null");
	put_member(out, "freshness_status", meta, "\"unknown\"");
	put_member(out, "stale_sources", meta, "[]");
	put_member(out, "source_ids", meta, "[]");
	buf_append_lit(out, ",\"cache_hit\":false,\"missing_features\":[],\"meta\":{}}");
	yyjson_doc_free(doc);
}

void legacy_view_write(enum evidence_legacy_view view, const struct legacy_row *row, struct str ref, struct buf *out)
{
	switch (view) {
	case LEGACY_RECORD:
		record_write(row, out);
		return;
	case LEGACY_CONTEXT:
		context_write(row, out);
		return;
	case LEGACY_LINEAGE:
		lineage_write(row, ref, out);
		return;
	case LEGACY_TRACE:
		trace_write(row, out);
		return;
	}
}
