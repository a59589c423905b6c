/* The record's schema, as tables; declared order, as everywhere in Fabra. */
#include "store/record/record_shape.h"
#include "store/record/record_text.h"

#define MUST_TEXT   " must be a string"
#define MUST_INT    " must be an integer of at most 64 bits"
#define MUST_INT0   " must be null or an integer from 0"
#define MUST_FLOAT  " must be a number"
#define MUST_BOOL   " must be true or false"
#define MUST_TIME   " must be a time, such as 2025-01-01T00:00:00Z"
#define MUST_TEXTS  " must be an array of strings"
#define MUST_PARTS  " must be an array of objects"
#define MUST_OBJECT " must be an object"

#define MEMBER(path, key, kind_, type, member, must, ...)                                                              \
	{                                                                                                              \
		.name = key, .kind = kind_, .at = offsetof(type, member), .why = path key must, __VA_ARGS__            \
	}

static const char *const source_names[] = { "cache", "compute", "fallback", NULL };
static const char *const freshness_names[] = { "guaranteed", "degraded", "unknown", NULL };
static const char *const reason_names[] = { "budget_exceeded", "priority_cutoff", NULL };

#define FEATURE(key, kind, member, must, ...)                                                                          \
	MEMBER("features[].", key, kind, struct record_feature, member, must, .required = true, __VA_ARGS__)
static const struct shape_member feature_members[] = {
	FEATURE("name", SHAPE_TEXT, name, MUST_TEXT),
	FEATURE("entity_id", SHAPE_TEXT, entity_id, MUST_TEXT),
	FEATURE("value", SHAPE_JSON, value_json, " must be there"),
	FEATURE("source", SHAPE_ENUM, source, " must be cache, compute or fallback", .names = source_names),
	FEATURE("as_of", SHAPE_TIME, as_of_us, MUST_TIME, .aside = offsetof(struct record_feature, as_of_zone_min)),
	FEATURE("freshness_ms", SHAPE_INT, freshness_ms, MUST_INT),
};
static const struct shape feature_shape = SHAPE(feature_members, struct record_feature, "features[]: unknown field");

#define ITEM(key, kind, member, must, ...)                                                                             \
	MEMBER("retrieved_items[].", key, kind, struct record_item, member, must, __VA_ARGS__)
static const struct shape_member item_members[] = {
	ITEM("retriever", SHAPE_TEXT, retriever, MUST_TEXT, .required = true),
	ITEM("chunk_id", SHAPE_TEXT, chunk_id, MUST_TEXT, .required = true),
	ITEM("document_id", SHAPE_TEXT, document_id, MUST_TEXT, .required = true),
	ITEM("content_hash", SHAPE_TEXT, content_hash, MUST_TEXT, .required = true),
	ITEM("content", SHAPE_TEXT_OR_NULL, content, MUST_TEXT " or null"),
	ITEM("token_count", SHAPE_INT, token_count, MUST_INT),
	ITEM("priority", SHAPE_INT, priority, MUST_INT),
	ITEM("similarity_score", SHAPE_FLOAT, similarity_score, MUST_FLOAT),
	ITEM("source_url", SHAPE_TEXT_OR_NULL, source_url, MUST_TEXT " or null"),
	ITEM("as_of", SHAPE_TIME, as_of_us, MUST_TIME, .required = true,
	     .aside = offsetof(struct record_item, as_of_zone_min)),
	ITEM("freshness_ms", SHAPE_INT, freshness_ms, MUST_INT),
	ITEM("is_stale", SHAPE_BOOL, is_stale, MUST_BOOL),
};
static const struct shape item_shape = SHAPE(item_members, struct record_item, "retrieved_items[]: unknown field");

#define DROPPED(key, kind, member, must, ...)                                                                          \
	MEMBER("assembly.dropped_items[].", key, kind, struct record_dropped, member, must, .required = true,          \
	       __VA_ARGS__)
static const struct shape_member dropped_members[] = {
	DROPPED("source_id", SHAPE_TEXT, source_id, MUST_TEXT),
	DROPPED("priority", SHAPE_INT, priority, MUST_INT),
	DROPPED("token_count", SHAPE_INT, token_count, MUST_INT),
	DROPPED("reason", SHAPE_EITHER, priority_cutoff, " must be budget_exceeded or priority_cutoff",
		.names = reason_names),
};
static const struct shape dropped_shape = SHAPE(dropped_members, struct record_dropped,
						"assembly.dropped_items[]: unknown field");

#define ASSEMBLY(key, kind, member, must, ...)                                                                         \
	MEMBER("assembly.", key, kind, struct record, assembly.member, must, __VA_ARGS__)
static const struct shape_member assembly_members[] = {
	ASSEMBLY("max_tokens", SHAPE_INT_OR_NULL, max_tokens, MUST_INT0),
	ASSEMBLY("tokens_used", SHAPE_INT, tokens_used, MUST_INT),
	ASSEMBLY("items_provided", SHAPE_INT, items_provided, MUST_INT),
	ASSEMBLY("items_included", SHAPE_INT, items_included, MUST_INT),
	ASSEMBLY("dropped_items", SHAPE_PARTS, dropped, MUST_PARTS, .part = &dropped_shape,
		 .aside = offsetof(struct record, assembly.dropped_count)),
	ASSEMBLY("required_items_included", SHAPE_BOOL, required_items_included, MUST_BOOL),
	ASSEMBLY("freshness_sla_ms", SHAPE_INT_OR_NULL, freshness_sla_ms, MUST_INT0),
	ASSEMBLY("freshness_status", SHAPE_ENUM, freshness_status, " must be guaranteed, degraded or unknown",
		 .names = freshness_names),
	ASSEMBLY("freshness_violations", SHAPE_TEXTS, freshness_violations, MUST_TEXTS,
		 .aside = offsetof(struct record, assembly.freshness_violations_count)),
};
static const struct shape assembly_shape = SHAPE(assembly_members, struct record, "assembly: unknown field");

#define LINEAGE(key, kind, member, must, ...)                                                                          \
	MEMBER("lineage.", key, kind, struct record, lineage.member, must, __VA_ARGS__)
#define LINEAGE_TEXTS(key)                                                                                             \
	LINEAGE(#key, SHAPE_TEXTS, key, MUST_TEXTS, .aside = offsetof(struct record, lineage.key##_count))
static const struct shape_member lineage_members[] = {
	LINEAGE_TEXTS(features_used),
	LINEAGE_TEXTS(retrievers_used),
	LINEAGE_TEXTS(indexes_used),
	LINEAGE("code_version", SHAPE_TEXT_OR_NULL, code_version, MUST_TEXT " or null"),
	LINEAGE("fabra_version", SHAPE_TEXT, fabra_version, MUST_TEXT, .required = true),
	LINEAGE("assembly_latency_ms", SHAPE_FLOAT, assembly_latency_ms, MUST_FLOAT),
	LINEAGE("estimated_cost_usd", SHAPE_FLOAT, estimated_cost_usd, MUST_FLOAT),
};
static const struct shape lineage_shape = SHAPE(lineage_members, struct record, "lineage: unknown field");

#define INTEGRITY(key, kind, member, must, ...)                                                                        \
	MEMBER("integrity.", key, kind, struct record, integrity.member, must, __VA_ARGS__)
static const struct shape_member integrity_members[] = {
	INTEGRITY("record_hash", SHAPE_TEXT, record_hash, MUST_TEXT, .required = true),
	INTEGRITY("content_hash", SHAPE_TEXT, content_hash, MUST_TEXT, .required = true),
	INTEGRITY("previous_context_id", SHAPE_TEXT_OR_NULL, previous_context_id, MUST_TEXT " or null"),
	INTEGRITY("signed_at", SHAPE_TIME_OR_NULL, signed_at_us, MUST_TIME ", or null"),
	INTEGRITY("signing_key_id", SHAPE_TEXT_OR_NULL, signing_key_id, MUST_TEXT " or null"),
	INTEGRITY("signature", SHAPE_TEXT_OR_NULL, signature, MUST_TEXT " or null"),
};
static const struct shape integrity_shape = SHAPE(integrity_members, struct record, "integrity: unknown field");

#define TOP(key, kind, member, must, ...) MEMBER("", key, kind, struct record, member, must, __VA_ARGS__)
static const struct shape_member record_members[] = {
	TOP("context_id", SHAPE_TEXT, context_id, MUST_TEXT, .required = true),
	TOP("created_at", SHAPE_TIME, created_at_us, MUST_TIME, .required = true,
	    .aside = offsetof(struct record, created_at_zone_min)),
	TOP("environment", SHAPE_TEXT, environment, MUST_TEXT),
	TOP("schema_version", SHAPE_TEXT, schema_version, MUST_TEXT),
	TOP("inputs", SHAPE_JSON_OBJECT, inputs_json, MUST_OBJECT),
	TOP("context_function", SHAPE_TEXT, context_function, MUST_TEXT, .required = true),
	TOP("content", SHAPE_TEXT, content, MUST_TEXT, .required = true),
	TOP("token_count", SHAPE_INT, token_count, MUST_INT),
	TOP("features", SHAPE_PARTS, features, MUST_PARTS, .part = &feature_shape,
	    .aside = offsetof(struct record, features_count)),
	TOP("retrieved_items", SHAPE_PARTS, items, MUST_PARTS, .part = &item_shape,
	    .aside = offsetof(struct record, items_count)),
	TOP("assembly", SHAPE_INLINE, assembly, MUST_OBJECT, .part = &assembly_shape),
	TOP("lineage", SHAPE_INLINE, lineage, MUST_OBJECT, .part = &lineage_shape, .required = true),
	TOP("integrity", SHAPE_INLINE, integrity, MUST_OBJECT, .part = &integrity_shape, .required = true),
};
static const struct shape record_shape = SHAPE(record_members, struct record, "unknown field");

static const struct record record_initial = {
	.environment = { "development", 11 },
	.schema_version = { "1.0.0", 5 },
	.inputs_json = { "{}", 2 },
	.assembly = { .max_tokens = -1,
		      .required_items_included = true,
		      .freshness_sla_ms = -1,
		      .freshness_status = RECORD_UNKNOWN },
	.integrity = { .signed_at_us = -1 },
};

struct record *record_parse(struct str json, bool strict, struct arena *arena, const char **ret_why)
{
	struct json_limits limits = { .depth_max = RECORD_DEPTH_MAX, .bytes_max = RECORD_BYTES_MAX };
	struct json_error error;
	yyjson_doc *doc = json_parse(json, &limits, &error);
	if (doc == NULL) {
		*ret_why = error.what;
		return NULL;
	}
	struct record *r = NULL;
	if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
		*ret_why = "a record" MUST_OBJECT;
	} else if ((r = arena_alloc(arena, sizeof *r)) == NULL) {
		*ret_why = "Out of memory";
	} else {
		*r = record_initial;
		if (!shape_read(&record_shape, yyjson_doc_get_root(doc), strict, arena, r, ret_why))
			r = NULL;
	}
	yyjson_doc_free(doc);
	return r;
}
