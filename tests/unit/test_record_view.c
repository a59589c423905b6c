#include "tests/unit/record_vectors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PREVIOUS_HASH "sha256:f39a16553d854e98f942734e13f524a0e5edcf4ff3160a1a72fa1565899ffe50"

static void expect(struct buf *b, const char *text)
{
	buf_append_char(b, '\0');
	assert_string_equal(b->p, text);
	buf_clear(b);
}

static const struct str source_ids[] = { { "item_0", 6 }, { "item_1", 6 } };
static const struct record_call calls[] = {
	{ .retriever = { "docs", 4 },
	  .query = { "caf\xc3\xa9", 5 },
	  .index_name = { "kb", 2 },
	  .latency_ms = 1.5,
	  .max_age_ms = -1,
	  .first_item = 0,
	  .items_count = 1 },
};

static struct record_extras extras(void)
{
	return (struct record_extras){
		.version = STR("v1"),
		.source_ids = source_ids,
		.source_ids_count = 2,
		.calls = calls,
		.calls_count = 1,
		.evidence_mode = STR("required"),
	};
}

#define RECORD_HEAD                                                                                                    \
	"{\"context_id\":\"ctx_018f3a2b-7def-7abc-8901-234567890abc\",\"created_at\":\"2025-02-14T18:42:31.221000Z\"," \
	"\"environment\":\"production\",\"schema_version\":\"1.0.0\",\"inputs\":{\"user_id\":\"u1\","                  \
	"\"q\":\"caf\xc3\xa9 \xf0\x9f\x98\x80\",\"n\":3,\"x\":1.0,\"nested\":{\"b\":[1,2.5,true],\"a\":{}},"           \
	"\"none\":null},\"context_function\":\"chat\",\"content\":\"h\xc3\xa9llo\\n\\\"w\\\"\",\"token_count\":7,"     \
	"\"features\":[{\"name\":\"score\",\"entity_id\":\"u1\",\"value\":0.1,\"source\":\"compute\","                 \
	"\"as_of\":\"2025-02-14T18:42:30Z\",\"freshness_ms\":1221}],\"retrieved_items\":[{\"retriever\":\"docs\","     \
	"\"chunk_id\":\"chunk_0\",\"document_id\":\"d1\",\"content_hash\":\"abcd\",\"content\":null,"                  \
	"\"token_count\":0,\"priority\":0,\"similarity_score\":0.875,\"source_url\":null,"                             \
	"\"as_of\":\"2025-02-14T18:42:30.000500Z\",\"freshness_ms\":1,\"is_stale\":false}],\"assembly\":{"             \
	"\"max_tokens\":100,\"tokens_used\":7,\"items_provided\":2,\"items_included\":1,\"dropped_items\":[{"          \
	"\"source_id\":\"item_1\",\"priority\":5,\"token_count\":200,\"reason\":\"budget_exceeded\"}],"                \
	"\"required_items_included\":true,\"freshness_sla_ms\":null,\"freshness_status\":\"guaranteed\","              \
	"\"freshness_violations\":[]},\"lineage\":{\"features_used\":[\"score\"],\"retrievers_used\":[\"docs\"],"      \
	"\"indexes_used\":[\"kb\"],\"code_version\":null,\"fabra_version\":\"2.3.2\",\"assembly_latency_ms\":0.0,"     \
	"\"estimated_cost_usd\":3.5e-05},\"integrity\":{\"record_hash\":"

static void test_json(void **state)
{
	struct record r = vector_rich();
	struct record_signer signer = { .key_bytes = 32, .key_id = "k1" };
	struct record_stamp stamp;
	struct buf b = { 0 };
	(void)state;
	memset(signer.key, 1, 32);
	assert_true(record_write_json(&r, NULL, &b));
	expect(&b, RECORD_HEAD "\"\",\"content_hash\":\"" PREVIOUS_HASH "\",\"previous_context_id\":null,"
			       "\"signed_at\":null,\"signing_key_id\":null,\"signature\":null}}");
	record_stamp_make(STR(VECTOR_RICH_CANONICAL), &signer, 1739558551000000, &stamp);
	assert_true(record_write_json(&r, &stamp, &b));
	expect(&b, RECORD_HEAD "\"" VECTOR_RICH_HASH "\",\"content_hash\":\"" PREVIOUS_HASH "\","
			       "\"previous_context_id\":null,\"signed_at\":\"2025-02-14T18:42:31Z\","
			       "\"signing_key_id\":\"k1\",\"signature\":\"hmac-sha256:"
			       "f118d5dece7ba0ec5fdb109793b85ff3ced41ee7f4ed52a583432042fa63d727\"}}");
	record_stamp_make(STR(VECTOR_RICH_CANONICAL), NULL, 0, &stamp);
	assert_true(record_write_json(&r, &stamp, &b));
	expect(&b, RECORD_HEAD "\"" VECTOR_RICH_HASH "\",\"content_hash\":\"" PREVIOUS_HASH "\","
			       "\"previous_context_id\":null,\"signed_at\":null,\"signing_key_id\":null,"
			       "\"signature\":null}}");
	buf_finish(&b);
}

#define META_HEAD                                                                                                      \
	"{\"timestamp\":\"2025-02-14T18:42:31.221000+00:00\",\"name\":\"chat\",\"status\":\"assembled\","              \
	"\"dropped_items\":1,\"source_ids\":[\"item_0\",\"item_1\"],\"freshness_status\":\"guaranteed\","              \
	"\"freshness_violations\":[],\"freshness_sla_ms\":null,\"stale_sources\":[],\"budget_exceeded\":false,"        \
	"\"cost_usd\":3.5e-05,\"token_usage\":7,\"max_tokens\":100,\"evidence_mode\":"

#define NOTHING_MISSING ",\"missing_features\":[],\"default_features\":[],\"missing_retrievers\":[]}"

static void test_meta(void **state)
{
	struct record r = vector_rich();
	struct record_extras e = extras();
	struct record_stamp stamp;
	struct buf b = { 0 };
	(void)state;
	record_stamp_make(STR(VECTOR_RICH_CANONICAL), NULL, 0, &stamp);
	record_write_meta(&r, &e, &stamp, 1, (struct str){ 0 }, &b);
	expect(&b, META_HEAD "\"required\",\"record_hash\":\"" VECTOR_RICH_HASH "\",\"content_hash\":\"" PREVIOUS_HASH
			     "\",\"evidence_persisted\":true,\"context_log_persisted\":true" NOTHING_MISSING);
	record_write_meta(&r, &e, &stamp, -1, (struct str){ 0 }, &b);
	expect(&b, META_HEAD "\"required\",\"record_hash\":\"" VECTOR_RICH_HASH "\",\"content_hash\":\"" PREVIOUS_HASH
			     "\"" NOTHING_MISSING);
	e.evidence_mode = STR("best_effort");
	e.interaction_ref_json = STR("{\"call_id\":\"c9\"}");
	e.is_cached_response = true;
	const struct record_missing missing = { STR("tier"), STR("u1"), STR("failed") },
				    fallback = { STR("city"), STR("u1"), { 0 } };
	const struct record_missing_retriever late = { STR("docs"), STR("timeout") };
	e.missing_features = &missing;
	e.default_features = &fallback;
	e.missing_retrievers = &late;
	e.missing_features_count = e.default_features_count = e.missing_retrievers_count = 1;
	record_write_meta(&r, &e, NULL, 0, STR("disk full"), &b);
	expect(&b,
	       META_HEAD "\"best_effort\",\"interaction_ref\":{\"call_id\":\"c9\"},\"evidence_persisted\":false,"
			 "\"context_log_persisted\":false,\"evidence_error\":\"disk full\","
			 "\"is_cached_response\":true,\"missing_features\":[{\"feature\":\"tier\",\"entity_id\":\"u1\","
			 "\"reason\":\"failed\"}],\"default_features\":[{\"feature\":\"city\",\"entity_id\":\"u1\"}],"
			 "\"missing_retrievers\":[{\"retriever\":\"docs\",\"reason\":\"timeout\"}]}");
	buf_finish(&b);
}

#define LINEAGE_HEAD                                                                                                   \
	"{\"context_id\":\"ctx_018f3a2b-7def-7abc-8901-234567890abc\",\"timestamp\":\"2025-02-14T18:42:31.221000Z\","  \
	"\"context_name\":\"chat\",\"context_args\":{\"user_id\":\"u1\",\"q\":\"caf\xc3\xa9 \xf0\x9f\x98\x80\","       \
	"\"n\":3,\"x\":1.0,\"nested\":{\"b\":[1,2.5,true],\"a\":{}},\"none\":null},\"features_used\":[{"               \
	"\"feature_name\":\"score\",\"entity_id\":\"u1\",\"value\":0.1,\"timestamp\":\"2025-02-14T18:42:30Z\","        \
	"\"freshness_ms\":1221,\"source\":\"compute\"}],\"retrievers_used\":["
#define LINEAGE_MIDDLE                                                                                                 \
	"],\"items_provided\":2,\"items_included\":1,\"items_dropped\":1,\"dropped_items_detail\":[{"                  \
	"\"source_id\":\"item_1\",\"priority\":5,\"token_count\":200,\"reason\":\"budget_exceeded\"}],"                \
	"\"freshness_status\":\"guaranteed\",\"stalest_feature_ms\":1221,\"freshness_violations\":["
#define LINEAGE_TAIL "],\"token_usage\":7,\"max_tokens\":100,\"estimated_cost_usd\":3.5e-05}"
#define CHUNK                                                                                                          \
	"{\"chunk_id\":\"chunk_0\",\"document_id\":\"d1\",\"content_hash\":\"abcd\",\"source_url\":null,"              \
	"\"indexed_at\":\"2025-02-14T18:42:30.000500Z\",\"document_modified_at\":null,\"freshness_ms\":1,"             \
	"\"is_stale\":false,\"similarity_score\":0.875,\"retriever_name\":\"docs\",\"position_in_results\":0}"

static void test_lineage(void **state)
{
	struct record r = vector_rich();
	struct record_extras e = extras();
	struct record_call beyond = calls[0];
	struct buf b = { 0 };
	(void)state;
	record_write_lineage(&r, &e, &b);
	expect(&b, LINEAGE_HEAD "{\"retriever_name\":\"docs\",\"query\":\"caf\xc3\xa9\",\"results_count\":1,"
				"\"latency_ms\":1.5,\"index_name\":\"kb\",\"chunks_returned\":[" CHUNK "],"
				"\"stale_chunks_count\":0,\"oldest_chunk_ms\":1}" LINEAGE_MIDDLE LINEAGE_TAIL);
	/* A call that claims more items than the record has. */
	beyond.items_count = SIZE_MAX;
	beyond.first_item = 1;
	beyond.query = beyond.index_name = (struct str){ 0 };
	e.calls = &beyond;
	record_write_lineage(&r, &e, &b);
	expect(&b, LINEAGE_HEAD "{\"retriever_name\":\"docs\",\"query\":null,\"results_count\":0,\"latency_ms\":1.5,"
				"\"index_name\":null,\"chunks_returned\":[],\"stale_chunks_count\":0,"
				"\"oldest_chunk_ms\":0}" LINEAGE_MIDDLE LINEAGE_TAIL);
	buf_finish(&b);
}

/* At the bound is fresh, above it is not; features first, then one for each old chunk. */
static void test_violations(void **state)
{
	struct record r = vector_rich();
	struct record_feature features[] = { r.features[0], r.features[0], r.features[0] };
	struct record_item items[] = { r.items[0], r.items[0], r.items[0] };
	struct record_extras e = {
		.calls =
		    (struct record_call[]){
			{ .retriever = STR("docs"), .max_age_ms = 1000, .first_item = 0, .items_count = 2 },
			{ .retriever = STR("old"), .max_age_ms = -1, .first_item = 2, .items_count = 1 },
		    },
		.calls_count = 2
	};
	struct buf b = { 0 };
	(void)state;
	r.assembly.freshness_sla_ms = 1220;
	features[1].freshness_ms = 1220;
	features[2].name = STR("tier");
	features[2].freshness_ms = 9000;
	items[0].freshness_ms = 1000;
	items[1].freshness_ms = 1001;
	items[1].is_stale = true;
	items[2].freshness_ms = 5000;
	r.features = features;
	r.features_count = 3;
	r.items = items;
	r.items_count = 3;
	static const char violations[] =
	    "\"freshness_violations\":[{\"feature\":\"score\",\"age_ms\":1221,\"sla_ms\":1220},"
	    "{\"feature\":\"tier\",\"age_ms\":9000,\"sla_ms\":1220},"
	    "{\"feature\":\"docs\",\"age_ms\":1001,\"sla_ms\":1000}],\"";
	record_write_meta(&r, &e, NULL, -1, (struct str){ 0 }, &b);
	buf_append_char(&b, '\0');
	assert_non_null(strstr(b.p, violations));
	buf_clear(&b);
	record_write_lineage(&r, &e, &b);
	buf_append_char(&b, '\0');
	assert_non_null(strstr(b.p, violations));
	assert_non_null(strstr(b.p, "\"stale_chunks_count\":1,\"oldest_chunk_ms\":1001}"));
	assert_non_null(strstr(b.p, "\"stalest_feature_ms\":9000,"));
	buf_finish(&b);
}

static void test_extras(void **state)
{
	struct record_extras e = extras(), back = { 0 };
	struct arena arena = { 0 };
	struct buf b = { 0 }, again = { 0 };
	(void)state;
	e.stale_sources = source_ids + 1;
	e.stale_sources_count = 1;
	e.interaction_ref_json = STR("{\"turn_id\":\"t\",\"call_id\":\"c9\"}");
	e.budget_exceeded = true;
	record_extras_write(NULL, &e, &b);
	assert_true(record_extras_parse(buf_str(&b), &arena, &back));
	assert_true(str_eq(back.version, e.version));
	assert_int_equal(back.calls_count, 1);
	assert_true(str_eq(back.calls[0].query, calls[0].query));
	assert_int_equal(back.calls[0].max_age_ms, -1);
	assert_true(str_eq(back.interaction_ref_json, e.interaction_ref_json));
	record_extras_write(NULL, &back, &again);
	assert_true(str_eq(buf_str(&again), buf_str(&b)));
	buf_clear(&b);
	e = extras();
	record_extras_write(NULL, &e, &b);
	assert_true(record_extras_parse(buf_str(&b), &arena, &back));
	assert_null(back.interaction_ref_json.p);
	assert_false(record_extras_parse(STR("{}"), &arena, &back));
	assert_false(record_extras_parse(STR("[]"), &arena, &back));
	assert_false(record_extras_parse(STR("{\"version\":"), &arena, &back));
	assert_true(
	    record_extras_parse(STR("{\"version\":\"v1\",\"evidence_mode\":\"required\",\"budget_exceeded\":false,"
				    "\"later\":1}"),
				&arena, &back));
	assert_int_equal(back.calls_count, 0);
	assert_false(
	    record_extras_parse(STR("{\"version\":\"v1\",\"evidence_mode\":\"required\",\"budget_exceeded\":false,"
				    "\"calls\":[{\"first_item\":-1}]}"),
				&arena, &back));
	buf_finish(&b);
	buf_finish(&again);
	arena_finish(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json),       cmocka_unit_test(test_meta),   cmocka_unit_test(test_lineage),
		cmocka_unit_test(test_violations), cmocka_unit_test(test_extras),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
