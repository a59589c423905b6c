/* What meta, lineage and the offline store need beyond the record, or apart from it, as the compact JSON that a ledger entry keeps
 * beside it. */
#include "store/record/record_shape.h"
#include "store/record/record_text.h"

static void put_call(struct buf *out, const struct record_call *call)
{
	record_put_text_or_null(out, STR("{\"retriever\":"), call->retriever);
	record_put_text_or_null(out, STR(",\"query\":"), call->query);
	record_put_text_or_null(out, STR(",\"index_name\":"), call->index_name);
	buf_append_lit(out, ",\"latency_ms\":");
	json_write_float(out, call->latency_ms);
	record_put_int_or_null(out, STR(",\"max_age_ms\":"), call->max_age_ms);
	record_put_int(out, STR(",\"first_item\":"), (int64_t)call->first_item);
	record_put_int(out, STR(",\"items_count\":"), (int64_t)call->items_count);
	buf_append_char(out, '}');
}

/* Named and spelled as in the record, so that whoever reads a row reads a record in the same way. */
static void put_row(struct buf *out, const struct record *r)
{
	record_put_time(out, STR(",\"row\":{\"created_at\":"), r->created_at_us, r->created_at_zone_min);
	record_put_text_or_null(out, STR(",\"environment\":"), r->environment);
	record_put_text_or_null(out, STR(",\"schema_version\":"), r->schema_version);
	record_put_text_or_null(out, STR(",\"context_function\":"), r->context_function);
	record_put_int(out, STR(",\"token_count\":"), r->token_count);
	record_put_text_or_null(out, STR(",\"assembly\":{\"freshness_status\":"),
				record_freshness_name(r->assembly.freshness_status));
	buf_append_lit(out, "},\"inputs\":");
	buf_append_str(out, r->inputs_json);
	buf_append_char(out, '}');
}

static void put_missing(struct buf *out, struct str key, const struct record_missing *list, size_t count)
{
	buf_append_str(out, key);
	for (size_t i = 0; i < count; i++) {
		record_put_text_or_null(out, i ? STR(",{\"feature\":") : STR("{\"feature\":"), list[i].feature);
		record_put_text_or_null(out, STR(",\"entity_id\":"), list[i].entity_id);
		if (list[i].reason.p)
			record_put_text_or_null(out, STR(",\"reason\":"), list[i].reason);
		buf_append_char(out, '}');
	}
	buf_append_char(out, ']');
}

void record_put_missing(struct buf *out, const struct record_extras *e)
{
	put_missing(out, STR(",\"missing_features\":["), e->missing_features, e->missing_features_count);
	put_missing(out, STR(",\"default_features\":["), e->default_features, e->default_features_count);
	buf_append_lit(out, ",\"missing_retrievers\":[");
	for (size_t i = 0; i < e->missing_retrievers_count; i++) {
		record_put_text_or_null(out, i ? STR(",{\"retriever\":") : STR("{\"retriever\":"),
					e->missing_retrievers[i].retriever);
		record_put_text_or_null(out, STR(",\"reason\":"), e->missing_retrievers[i].reason);
		buf_append_char(out, '}');
	}
	buf_append_char(out, ']');
}

void record_extras_write(const struct record *row_of, const struct record_extras *e, struct buf *out)
{
	record_put_text_or_null(out, STR("{\"version\":"), e->version);
	if (row_of != NULL)
		put_row(out, row_of);
	record_put_texts(out, STR(",\"source_ids\":["), e->source_ids, e->source_ids_count);
	record_put_texts(out, STR(",\"stale_sources\":["), e->stale_sources, e->stale_sources_count);
	buf_append_lit(out, ",\"calls\":[");
	for (size_t i = 0; i < e->calls_count; i++) {
		if (i)
			buf_append_char(out, ',');
		put_call(out, &e->calls[i]);
	}
	buf_append_char(out, ']');
	if (e->interaction_ref_json.p) {
		buf_append_lit(out, ",\"interaction_ref\":");
		buf_append_str(out, e->interaction_ref_json);
	}
	record_put_text_or_null(out, STR(",\"evidence_mode\":"), e->evidence_mode);
	record_put_bool(out, STR(",\"budget_exceeded\":"), e->budget_exceeded);
	if (e->missing_features_count || e->default_features_count || e->missing_retrievers_count)
		record_put_missing(out, e);
	if (e->is_cached_response)
		buf_append_lit(out, ",\"cached\":true");
	buf_append_char(out, '}');
}

#define CALL(key, kind_, member)                                                                                       \
	{                                                                                                              \
		.name = key, .kind = kind_, .required = true, .at = offsetof(struct record_call, member)               \
	}
static const struct shape_member call_members[] = {
	CALL("retriever", SHAPE_TEXT_OR_NULL, retriever),   CALL("query", SHAPE_TEXT_OR_NULL, query),
	CALL("index_name", SHAPE_TEXT_OR_NULL, index_name), CALL("latency_ms", SHAPE_FLOAT, latency_ms),
	CALL("max_age_ms", SHAPE_INT_OR_NULL, max_age_ms),  CALL("first_item", SHAPE_COUNT, first_item),
	CALL("items_count", SHAPE_COUNT, items_count),
};
static const struct shape call_shape = SHAPE(call_members, struct record_call, NULL);

#define MISSING(key, kind_, member, type, ...)                                                                         \
	{                                                                                                              \
		.name = key, .kind = kind_, .at = offsetof(struct type, member), __VA_ARGS__                           \
	}
static const struct shape_member missing_members[] = {
	MISSING("feature", SHAPE_TEXT_OR_NULL, feature, record_missing, .required = true),
	MISSING("entity_id", SHAPE_TEXT_OR_NULL, entity_id, record_missing, .required = true),
	MISSING("reason", SHAPE_TEXT_OR_NULL, reason, record_missing),
};
static const struct shape missing_shape = SHAPE(missing_members, struct record_missing, NULL);
static const struct shape_member missing_retriever_members[] = {
	MISSING("retriever", SHAPE_TEXT_OR_NULL, retriever, record_missing_retriever, .required = true),
	MISSING("reason", SHAPE_TEXT_OR_NULL, reason, record_missing_retriever, .required = true),
};
static const struct shape missing_retriever_shape = SHAPE(missing_retriever_members, struct record_missing_retriever,
							  NULL);

#define EXTRA(key, kind_, member, ...)                                                                                 \
	{                                                                                                              \
		.name = key, .kind = kind_, .at = offsetof(struct record_extras, member), __VA_ARGS__                  \
	}
static const struct shape_member extras_members[] = {
	EXTRA("version", SHAPE_TEXT_OR_NULL, version, .required = true),
	EXTRA("source_ids", SHAPE_TEXTS, source_ids, .aside = offsetof(struct record_extras, source_ids_count)),
	EXTRA("stale_sources", SHAPE_TEXTS, stale_sources,
	      .aside = offsetof(struct record_extras, stale_sources_count)),
	EXTRA("calls", SHAPE_PARTS, calls, .aside = offsetof(struct record_extras, calls_count), .part = &call_shape),
	EXTRA("interaction_ref", SHAPE_JSON_OBJECT, interaction_ref_json),
	EXTRA("evidence_mode", SHAPE_TEXT_OR_NULL, evidence_mode, .required = true),
	EXTRA("budget_exceeded", SHAPE_BOOL, budget_exceeded, .required = true),
	EXTRA("missing_features", SHAPE_PARTS, missing_features,
	      .aside = offsetof(struct record_extras, missing_features_count), .part = &missing_shape),
	EXTRA("default_features", SHAPE_PARTS, default_features,
	      .aside = offsetof(struct record_extras, default_features_count), .part = &missing_shape),
	EXTRA("missing_retrievers", SHAPE_PARTS, missing_retrievers,
	      .aside = offsetof(struct record_extras, missing_retrievers_count), .part = &missing_retriever_shape),
	EXTRA("cached", SHAPE_BOOL, is_cached_response),
};
static const struct shape extras_shape = SHAPE(extras_members, struct record_extras, NULL);

/* Members that are not known come from a later version of this program; what is known still reads. */
bool record_extras_parse(struct str json, struct arena *arena, struct record_extras *ret)
{
	struct json_limits limits = { .depth_max = RECORD_DEPTH_MAX, .bytes_max = RECORD_BYTES_MAX };
	struct json_error error;
	const char *why;
	struct record_extras e = { 0 };
	yyjson_doc *doc = json_parse(json, &limits, &error);
	if (doc == NULL)
		return false;
	yyjson_val *root = yyjson_doc_get_root(doc);
	bool ok = yyjson_is_obj(root) && shape_read(&extras_shape, root, false, arena, &e, &why);
	if (ok)
		*ret = e;
	yyjson_doc_free(doc);
	return ok;
}
