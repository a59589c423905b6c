/* From known material to the canonical record, byte for byte; freshness, privacy and interaction references. */
#include "actors/recorder.h"
#include "tests/sim/node_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct node_fixture_shared shared;
static struct node_fixture fixture;
static struct ledger_fake *ledger;
#define NL (&fixture.loops[0])

static int setup(void **state)
{
	(void)state;
	static const struct offline_fake_config offline = { .answers = NULL };
	ledger = ledger_fake_create(&(struct ledger_fake_config){ 0 });
	node_fixture_start(&fixture, &shared, 1, 1, ledger, &offline);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	struct buf why = { 0 };
	bool even = node_fixture_stop(&fixture, &why);
	buf_finish(&why);
	ledger_fake_destroy(ledger);
	return even ? 0 : -1;
}

static struct material *material_with(const char *context)
{
	struct material *m = material_new(definitions_context(shared.definitions, str_from(context)), 1);
	assert_true(m && m->context != DEF_NONE);
	return m;
}

static void add_feature(struct material *m, const char *name, const char *json, enum record_source source,
			int64_t age_ms)
{
	struct value *v = value_create(str_from(json));
	struct feature_result r = {
		.state = FEATURE_FOUND, .source = source, .value = v, .as_of_us = loop_wall_us(NL->loop) - age_ms * 1000
	};
	assert_true(material_add_feature(m, shared.definitions, definitions_feature(shared.definitions, str_from(name)),
					 STR("u1"), &r));
	value_unref(v);
}

static void add_call(struct material *m, const char *retriever, const char *rows)
{
	const char *why;
	struct retrieved *r = retrieved_new(definitions_retriever(shared.definitions, str_from(retriever)),
					    STR("{\"query\":\"cats\"}"), str_from(rows), 0, loop_wall_us(NL->loop), 3.5,
					    &why);
	assert_non_null(r);
	assert_true(material_add_call(m, r));
	retrieved_unref(r);
}

static void count(struct material *m, int64_t max_tokens)
{
	struct material_work w;
	material_work_begin(&w, m, &NL->node->encodings[0], NL->tokens, max_tokens);
	while (material_work_step(&w) == MATERIAL_MORE)
		;
	material_work_finish(&w);
}

struct made {
	struct arena arena;
	struct record r;
	struct record_extras e;
};

static void make(struct made *made, const struct material *m, const char *args_json)
{
	*made = (struct made){ 0 };
	struct json_error error;
	yyjson_doc *args = json_parse(str_from(args_json), NULL, &error);
	struct recorder_request q = { .args_json = str_from(args_json),
				      .started_ns = loop_mono_ns(NL->loop) - 1234567 };
	assert_true(recorder_interaction_ref(yyjson_doc_get_root(args), &made->arena, &q.interaction_ref_json));
	assert_true(recorder_fill(NL, m, &q, &made->arena, &made->r, &made->e));
	yyjson_doc_free(args);
}

static void test_golden(void **state)
{
	(void)state;
	struct material *m = material_with("chat");
	add_feature(m, "tier", "\"caf\xc3\xa9\"", RECORD_COMPUTE, 250);
	add_feature(m, "score", "0.5", RECORD_FALLBACK, 0);
	add_call(m, "docs",
		 "[{\"content\":\"hello world\",\"id\":7,\"score\":1,\"metadata\":{\"content_hash\":\"h\","
		 "\"indexed_at\":\"2025-12-31T23:59:59Z\",\"source_url\":\"s\"}}]");
	const struct material_item items[] = {
		{ .content = STR("hello world"), .priority = 1, .source_id = STR("c0"), .last_updated_us = INT64_MIN },
		{ .content = STR("one two three four"), .priority = 5, .last_updated_us = INT64_MIN },
	};
	assert_true(material_add_item(m, &items[0]) && material_add_item(m, &items[1]));
	count(m, 3);
	struct made made;
	make(&made, m, "{\"q\":\"x\",\"call_id\":\"k\"}");
	memcpy((char *)(uintptr_t)made.r.context_id.p, "ctx_00000000-0000-0000-0000-000000000001", 40);
	struct evidence_entry *e = recorder_entry(&made.r, &made.e);
	assert_non_null(e);
	buf_append_char(&e->body, '\0');
	char expected[4096], content_hash[RECORD_HASH_TEXT + 1] = { 0 };
	record_hash_text(STR("hello world"), content_hash);
	snprintf(
	    expected, sizeof expected,
	    "{\"assembly\":{\"dropped_items\":[{\"priority\":5,\"reason\":\"budget_exceeded\",\"source_id\":\"item_1\","
	    "\"token_count\":4}],\"freshness_sla_ms\":200,\"freshness_status\":\"degraded\",\"freshness_violations\":[\"tier\"],"
	    "\"items_included\":1,\"items_provided\":2,\"max_tokens\":3,\"required_items_included\":true,\"tokens_used\":2},"
	    "\"content\":\"hello world\",\"context_function\":\"chat\",\"context_id\":\"ctx_00000000-0000-0000-0000-000000000001\","
	    "\"created_at\":\"2026-01-01T00:00:00Z\",\"environment\":\"test\",\"features\":[{\"as_of\":\"2025-12-31T23:59:59.750000Z\","
	    "\"entity_id\":\"u1\",\"freshness_ms\":250,\"name\":\"tier\",\"source\":\"compute\",\"value\":\"caf\\u00e9\"},"
	    "{\"as_of\":\"2026-01-01T00:00:00Z\",\"entity_id\":\"u1\",\"freshness_ms\":0,\"name\":\"score\",\"source\":\"fallback\","
	    "\"value\":0.5}],\"inputs\":{\"call_id\":\"k\",\"interaction_ref\":{\"call_id\":\"k\"},\"q\":\"x\"},"
	    "\"integrity\":{\"content_hash\":\"%s\",\"previous_context_id\":null,\"record_hash\":\"\",\"signature\":null,"
	    "\"signed_at\":null},\"lineage\":{\"assembly_latency_ms\":1.234,\"code_version\":\"%s\",\"estimated_cost_usd\":5e-06,"
	    "\"fabra_version\":\"2.3.2\",\"features_used\":[\"tier\",\"score\"],\"indexes_used\":[],\"retrievers_used\":[\"docs\"]},"
	    "\"retrieved_items\":[{\"as_of\":\"2025-12-31T23:59:59Z\",\"chunk_id\":\"chunk_0\",\"content\":null,\"content_hash\":\"h\","
	    "\"document_id\":\"7\",\"freshness_ms\":1000,\"is_stale\":false,\"priority\":0,\"retriever\":\"docs\","
	    "\"similarity_score\":1.0,\"source_url\":\"s\",\"token_count\":2}],\"schema_version\":\"1.0.0\",\"token_count\":2}",
	    content_hash, shared.definitions->code_version);
	assert_string_equal(e->body.p, expected);
	assert_memory_equal(e->context_id, "ctx_00000000-0000-0000-0000-000000000001", 40);
	assert_memory_equal(e->body.p + e->previous_at, "null,\"record_hash\"", 18);
	evidence_entry_free(e);
	arena_finish(&made.arena);
	material_unref(m);
}

static void test_ids_differ(void **state)
{
	(void)state;
	struct material *m = material_with("chat");
	count(m, 0);
	struct made first, second;
	make(&first, m, "{}");
	make(&second, m, "{}");
	assert_true(str_starts(first.r.context_id, STR("ctx_")) && first.r.context_id.n == 40);
	assert_true(memcmp(first.r.context_id.p, second.r.context_id.p, 40) < 0);
	arena_finish(&first.arena);
	arena_finish(&second.arena);
	material_unref(m);
}

static void test_extras(void **state)
{
	(void)state;
	struct material *m = material_with("chat");
	add_call(m, "docs", "[\"a\",\"b\"]");
	add_call(m, "old", "[]");
	add_call(m, "docs", "[\"c\"]");
	const struct material_item items[] = {
		{ .content = STR("a"), .source_id = STR("s1"), .last_updated_us = loop_wall_us(NL->loop) - 3000000 },
		{ .content = STR("b"), .last_updated_us = loop_wall_us(NL->loop) - 3000000 },
		{ .content = STR("c"), .source_id = STR("s3"), .last_updated_us = loop_wall_us(NL->loop) },
	};
	for (int i = 0; i < 3; i++)
		assert_true(material_add_item(m, &items[i]));
	count(m, 0);
	struct made made;
	make(&made, m, "{}");
	assert_int_equal(made.e.source_ids_count, 2);
	assert_int_equal(made.e.stale_sources_count, 2); /* max_staleness 2s */
	assert_true(str_eq(made.e.stale_sources[0], STR("s1")) && str_eq(made.e.stale_sources[1], STR("unknown")));
	assert_int_equal(made.r.assembly.freshness_status, RECORD_DEGRADED);
	assert_int_equal(made.r.assembly.freshness_violations_count, 0);
	assert_int_equal(made.e.calls_count, 3);
	assert_true(made.e.calls[2].first_item == 2 && made.e.calls[2].items_count == 1);
	assert_true(made.e.calls[0].max_age_ms == -1 && made.e.calls[1].max_age_ms == 60000);
	assert_true(str_eq(made.e.calls[0].query, STR("cats")));
	assert_int_equal(made.r.lineage.retrievers_used_count, 2); /* each once */
	assert_true(str_eq(made.e.evidence_mode, STR("required")) && str_eq(made.e.version, STR("v1")));
	arena_finish(&made.arena);
	material_unref(m);
}

static void test_stale_chunks_and_strict_text(void **state)
{
	(void)state;
	struct material *m = material_with("chat");
	add_feature(m, "tier", "1", RECORD_CACHE, 200); /* exactly the SLA is no violation */
	add_feature(m, "score", "1", RECORD_CACHE, 201);
	add_feature(m, "tier", "1", RECORD_CACHE, 300);
	add_call(m, "old",
		 "[{\"content\":\"x\",\"indexed_at\":\"2025-12-31T23:58:59Z\"},"
		 "{\"content\":\"y\",\"indexed_at\":\"2025-12-31T23:59:00Z\"}]");
	count(m, 0);
	struct made made;
	make(&made, m, "{}");
	assert_int_equal(made.r.assembly.freshness_violations_count, 3);
	assert_true(str_eq(made.r.assembly.freshness_violations[2], STR("old")));
	assert_true(made.r.items[0].is_stale && !made.r.items[1].is_stale);
	struct str why = recorder_freshness_error(NL->node, &made.r, &made.e, &made.arena);
	assert_string_equal(why.p,
			    "Freshness SLA breached for 3 feature(s): score (201ms > 200ms), tier (300ms > 200ms), "
			    "old (61000ms > 60000ms)");
	arena_finish(&made.arena);
	material_unref(m);

	m = material_with("chat");
	add_feature(m, "tier", "1", RECORD_CACHE, 200);
	count(m, 0);
	make(&made, m, "{}");
	assert_null(recorder_freshness_error(NL->node, &made.r, &made.e, &made.arena).p);
	assert_int_equal(made.r.assembly.freshness_status, RECORD_GUARANTEED);
	arena_finish(&made.arena);
	material_unref(m);
}

/* No memory for the words is no reason to let anything pass, or to forget what was said. */
static void test_without_memory(void **state)
{
	(void)state;
	struct material *m = material_with("chat");
	add_feature(m, "tier", "1", RECORD_CACHE, 300);
	count(m, 0);
	struct made made;
	make(&made, m, "{}");
	made.arena.max = made.arena.used;
	assert_non_null(recorder_freshness_error(NL->node, &made.r, &made.e, &made.arena).p);
	arena_finish(&made.arena);
	struct json_error error;
	struct arena none = { .max = 1 };
	struct str ref;
	yyjson_doc *args = json_parse(STR("{\"call_id\":\"c\"}"), NULL, &error);
	assert_false(recorder_interaction_ref(yyjson_doc_get_root(args), &none, &ref));
	yyjson_doc_free(args);
	/* Nor is a record made of a part. */
	struct recorder_request q = { .args_json = STR("{}"), .started_ns = loop_mono_ns(NL->loop) };
	unsigned tries = 0, made_n = 0;
	for (size_t bytes = 16; bytes <= 4096; bytes += 16, tries++) {
		struct arena arena = { .max = bytes };
		struct record r;
		struct record_extras e;
		if (recorder_fill(NL, m, &q, &arena, &r, &e)) {
			made_n++;
			assert_true(r.features_count == 1 && r.assembly.freshness_violations_count == 1 &&
				    r.context_id.p && e.stale_sources_count == 1 && e.stale_sources[0].p);
		}
		arena_finish(&arena);
	}
	assert_true(made_n > 0 && made_n < tries);
	material_unref(m);
}

static void test_privacy(void **state)
{
	(void)state;
	struct material *m = material_with("chat");
	assert_true(
	    material_add_item(m, &(struct material_item){ .content = STR("a secret"), .last_updated_us = INT64_MIN }));
	count(m, 0);
	NL->node->include_content = false;
	struct made made;
	make(&made, m, "{}");
	NL->node->include_content = true;
	char hash[RECORD_HASH_TEXT];
	record_hash_text(STR(""), hash);
	assert_int_equal(made.r.content.n, 0);
	assert_true(str_eq(made.r.integrity.content_hash, str_of(hash, sizeof hash)));
	assert_int_equal(made.r.token_count, 2); /* what the model saw still counts */
	struct evidence_entry *e = recorder_entry(&made.r, &made.e);
	assert_null(memmem(e->body.p, e->body.n, "secret", 6));
	assert_null(memmem(e->extras.p, e->extras.n, "secret", 6));
	evidence_entry_free(e);
	arena_finish(&made.arena);
	material_unref(m);
}

static void check_ref(const char *args_json, const char *expected)
{
	struct json_error error;
	struct arena arena = { 0 };
	yyjson_doc *args = json_parse(str_from(args_json), NULL, &error);
	assert_non_null(args);
	struct str ref;
	assert_true(recorder_interaction_ref(yyjson_doc_get_root(args), &arena, &ref));
	if (expected == NULL ? ref.p != NULL : !str_eq(ref, str_from(expected)))
		fail_msg("%s gives %.*s", args_json, STR_ARG(ref));
	yyjson_doc_free(args);
	arena_finish(&arena);
}

static void test_interaction_ref(void **state)
{
	(void)state;
	check_ref("{}", NULL);
	check_ref("{\"turn_index\":3,\"mode\":\"chat\"}", NULL); /* these alone make none */
	check_ref("{\"call_id\":null}", NULL);
	check_ref("{\"call_id\":\"c\"}", "{\"call_id\":\"c\"}");
	check_ref("{\"turn_id\":7,\"session_id\":true,\"call_id\":1.0}",
		  "{\"call_id\":\"1.0\",\"session_id\":\"True\",\"turn_id\":\"7\"}");
	check_ref(
	    "{\"call_id\":\"\",\"interaction_mode\":\"voice\",\"mode\":\"chat\",\"turn_index\":2,\"jurisdiction\":\"EU\","
	    "\"consent_state\":\"\"}",
	    "{\"mode\":\"voice\",\"call_id\":\"\",\"turn_index\":2,\"jurisdiction\":\"EU\"}");
	check_ref("{\"call_id\":\"c\",\"interaction_mode\":\"\",\"mode\":\"chat\",\"turn_index\":true}",
		  "{\"mode\":\"chat\",\"call_id\":\"c\",\"turn_index\":true}");
	check_ref("{\"call_id\":\"c\",\"turn_index\":\"2\",\"jurisdiction\":5}", "{\"call_id\":\"c\"}");
	check_ref("{\"interaction_ref\":{\"x\":[1]},\"call_id\":\"c\"}", "{\"x\":[1]}");
	check_ref("{\"interaction_ref\":{},\"call_id\":\"c\"}", "{\"call_id\":\"c\"}");
	check_ref("{\"interaction_ref\":\"text\"}", NULL);
}

static void test_inputs(void **state)
{
	(void)state;
	struct material *m = material_with("chat");
	count(m, 0);
	struct made made;
	make(&made, m, "{\"interaction_ref\":{\"x\":1}}"); /* its own is not doubled */
	assert_true(str_eq(made.r.inputs_json, STR("{\"interaction_ref\":{\"x\":1}}")));
	arena_finish(&made.arena);
	make(&made, m, "{}");
	assert_true(str_eq(made.r.inputs_json, STR("{}")));
	assert_null(made.e.interaction_ref_json.p);
	arena_finish(&made.arena);
	material_unref(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_golden, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids_differ, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extras, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stale_chunks_and_strict_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_privacy, setup, teardown),
		cmocka_unit_test(test_interaction_ref),
		cmocka_unit_test_setup_teardown(test_inputs, setup, teardown),
	};
	node_fixture_share(
	    &shared, "local fabra = require 'fabra'\n"
		     "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
		     "fabra.feature { name = 'tier', entity = User }\nfabra.feature { name = 'score', entity = User }\n"
		     "fabra.retriever { name = 'docs', run = function() return {} end }\n"
		     "fabra.retriever { name = 'old', max_age = '1m', run = function() return {} end }\n"
		     "fabra.context { name = 'chat', max_tokens = 3, freshness_sla = '200ms', max_staleness = '2s',\n"
		     "  model = 'gpt-4o', build = function() return 'x' end }\n");
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	node_fixture_unshare(&shared);
	return failed;
}
