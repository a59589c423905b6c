/* Records whose canonical text and hash are known from Fabra's own Python code. */
#pragma once
#include "store/record/record.h"

#define VECTOR_CHAT_CANONICAL                                                                                          \
	"{\"assembly\":{\"dropped_items\":[],\"freshness_sla_ms\":300000,\"freshness_status\":\"guaranteed\","         \
	"\"freshness_violations\":[],\"items_included\":2,\"items_provided\":2,\"max_tokens\":4000,"                   \
	"\"required_items_included\":true,\"tokens_used\":42},\"content\":\"User tier: premium\\nDocs: ...\","         \
	"\"context_function\":\"chat_context\",\"context_id\":\"ctx_00000000-0000-0000-0000-000000000001\","           \
	"\"created_at\":\"2025-01-01T00:00:00Z\",\"environment\":\"development\",\"features\":[],"                     \
	"\"inputs\":{\"query\":\"test\",\"user_id\":\"u1\"},\"integrity\":{\"content_hash\":"                          \
	"\"sha256:ca55c427a31e4378f53941b6d77ae8b1a133ea37cbfb48a85bdaa66436f6bba8\","                                 \
	"\"previous_context_id\":null,\"record_hash\":\"\",\"signature\":null,\"signed_at\":null},"                    \
	"\"lineage\":{\"assembly_latency_ms\":12.3,\"code_version\":null,\"estimated_cost_usd\":0.0001,"               \
	"\"fabra_version\":\"2.1.2\",\"features_used\":[\"user_tier\"],\"indexes_used\":[],"                           \
	"\"retrievers_used\":[\"demo_docs\"]},\"retrieved_items\":[],\"schema_version\":\"1.0.0\",\"token_count\":42}"
#define VECTOR_CHAT_HASH "sha256:0458095710603457345836af128004d3b430d885ea137ac8fc8a5779e0d2c6ad"

#define VECTOR_RICH_CANONICAL                                                                                          \
	"{\"assembly\":{\"dropped_items\":[{\"priority\":5,\"reason\":\"budget_exceeded\",\"source_id\":\"item_1\","   \
	"\"token_count\":200}],\"freshness_sla_ms\":null,\"freshness_status\":\"guaranteed\","                         \
	"\"freshness_violations\":[],\"items_included\":1,\"items_provided\":2,\"max_tokens\":100,"                    \
	"\"required_items_included\":true,\"tokens_used\":7},\"content\":\"h\\u00e9llo\\n\\\"w\\\"\","                 \
	"\"context_function\":\"chat\",\"context_id\":\"ctx_018f3a2b-7def-7abc-8901-234567890abc\","                   \
	"\"created_at\":\"2025-02-14T18:42:31.221000Z\",\"environment\":\"production\",\"features\":[{"                \
	"\"as_of\":\"2025-02-14T18:42:30Z\",\"entity_id\":\"u1\",\"freshness_ms\":1221,\"name\":\"score\","            \
	"\"source\":\"compute\",\"value\":0.1}],\"inputs\":{\"n\":3,\"nested\":{\"a\":{},\"b\":[1,2.5,true]},"         \
	"\"none\":null,\"q\":\"caf\\u00e9 \\ud83d\\ude00\",\"user_id\":\"u1\",\"x\":1.0},\"integrity\":{"              \
	"\"content_hash\":\"sha256:f39a16553d854e98f942734e13f524a0e5edcf4ff3160a1a72fa1565899ffe50\","                \
	"\"previous_context_id\":null,\"record_hash\":\"\",\"signature\":null,\"signed_at\":null},"                    \
	"\"lineage\":{\"assembly_latency_ms\":0.0,\"code_version\":null,\"estimated_cost_usd\":3.5e-05,"               \
	"\"fabra_version\":\"2.3.2\",\"features_used\":[\"score\"],\"indexes_used\":[\"kb\"],"                         \
	"\"retrievers_used\":[\"docs\"]},\"retrieved_items\":[{\"as_of\":\"2025-02-14T18:42:30.000500Z\","             \
	"\"chunk_id\":\"chunk_0\",\"content\":null,\"content_hash\":\"abcd\",\"document_id\":\"d1\","                  \
	"\"freshness_ms\":1,\"is_stale\":false,\"priority\":0,\"retriever\":\"docs\",\"similarity_score\":0.875,"      \
	"\"source_url\":null,\"token_count\":0}],\"schema_version\":\"1.0.0\",\"token_count\":7}"
#define VECTOR_RICH_HASH "sha256:36197dff6d485c73d9614dfcd589a163e680f31ab69e9075ddfc4aa5eb6c124d"

/* The rich record as the recorder would fill it in: inputs in the order they came. */
static inline struct record vector_rich(void)
{
	static const struct record_feature features[] = { {
	    .name = { "score", 5 },
	    .entity_id = { "u1", 2 },
	    .value_json = { "0.1", 3 },
	    .source = RECORD_COMPUTE,
	    .as_of_us = 1739558550000000,
	    .freshness_ms = 1221,
	} };
	static const struct record_item items[] = { {
	    .retriever = { "docs", 4 },
	    .chunk_id = { "chunk_0", 7 },
	    .document_id = { "d1", 2 },
	    .content_hash = { "abcd", 4 },
	    .similarity_score = 0.875,
	    .as_of_us = 1739558550000500,
	    .freshness_ms = 1,
	} };
	static const struct record_dropped dropped[] = {
		{ .source_id = { "item_1", 6 }, .priority = 5, .token_count = 200 },
	};
	static const struct str features_used[] = { { "score", 5 } }, retrievers_used[] = { { "docs", 4 } },
				indexes_used[] = { { "kb", 2 } };
	return (struct record){
		.context_id = STR("ctx_018f3a2b-7def-7abc-8901-234567890abc"),
		.created_at_us = 1739558551221000,
		.environment = STR("production"),
		.schema_version = STR("1.0.0"),
		.context_function = STR("chat"),
		.inputs_json = STR("{\"user_id\":\"u1\",\"q\":\"caf\xc3\xa9 \xf0\x9f\x98\x80\",\"n\":3,\"x\":1.0,"
				   "\"nested\":{\"b\":[1,2.5,true],\"a\":{}},\"none\":null}"),
		.content = STR("h\xc3\xa9llo\n\"w\""),
		.token_count = 7,
		.features = features, .features_count = 1,
		.items = items, .items_count = 1,
		.assembly = {
			.max_tokens = 100, .tokens_used = 7, .items_provided = 2, .items_included = 1,
			.dropped = dropped, .dropped_count = 1, .required_items_included = true,
			.freshness_sla_ms = -1, .freshness_status = RECORD_GUARANTEED,
		},
		.lineage = {
			.features_used = features_used, .features_used_count = 1,
			.retrievers_used = retrievers_used, .retrievers_used_count = 1,
			.indexes_used = indexes_used, .indexes_used_count = 1,
			.fabra_version = STR("2.3.2"), .estimated_cost_usd = 3.5e-05,
		},
		.integrity = {
			.content_hash = STR("sha256:f39a16553d854e98f942734e13f524a0e5edcf4ff3160a1a72fa1565899ffe50"),
			.record_hash = STR(""), .signed_at_us = -1,
		},
	};
}

/* The chat record as Fabra's program writes it to a file: declared order, spaces, every field. */
#define VECTOR_CHAT_JSON                                                                                               \
	"{\n  \"context_id\": \"ctx_00000000-0000-0000-0000-000000000001\",\n"                                         \
	"  \"created_at\": \"2025-01-01T00:00:00Z\",\n  \"environment\": \"development\",\n"                           \
	"  \"schema_version\": \"1.0.0\",\n  \"inputs\": {\"user_id\": \"u1\", \"query\": \"test\"},\n"                \
	"  \"context_function\": \"chat_context\",\n  \"content\": \"User tier: premium\\nDocs: ...\",\n"              \
	"  \"token_count\": 42,\n  \"features\": [],\n  \"retrieved_items\": [],\n"                                    \
	"  \"assembly\": {\"max_tokens\": 4000, \"tokens_used\": 42, \"items_provided\": 2, \"items_included\": 2,\n"  \
	"    \"dropped_items\": [], \"required_items_included\": true, \"freshness_sla_ms\": 300000,\n"                \
	"    \"freshness_status\": \"guaranteed\", \"freshness_violations\": []},\n"                                   \
	"  \"lineage\": {\"features_used\": [\"user_tier\"], \"retrievers_used\": [\"demo_docs\"],\n"                  \
	"    \"indexes_used\": [], \"code_version\": null, \"fabra_version\": \"2.1.2\",\n"                            \
	"    \"assembly_latency_ms\": 12.3, \"estimated_cost_usd\": 0.0001},\n"                                        \
	"  \"integrity\": {\"record_hash\": \"" VECTOR_CHAT_HASH "\",\n"                                               \
	"    \"content_hash\": \"sha256:ca55c427a31e4378f53941b6d77ae8b1a133ea37cbfb48a85bdaa66436f6bba8\",\n"         \
	"    \"previous_context_id\": null, \"signed_at\": null, \"signing_key_id\": null, \"signature\": null}\n}\n"
