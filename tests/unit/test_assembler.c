/* Contexts from request to record: every outcome, evidence in both modes, the cache, leaving clients. */
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'city', entity = User }\n"
    "fabra.feature { name = 'clock', entity = User, compute = function() return fabra.now() end }\n"
    "fabra.feature { name = 'lost', entity = User, compute = function() return fabra.await(fabra.sql('SELECT lost', {})) end }\n"
    "fabra.retriever { name = 'docs', run = function(args)\n"
    "  if args.q == 'bad' then error('index is broken') end return { 'about ' .. args.q, 'more' } end }\n"
    "local params = { user = 'string', q = 'string' }\n"
    "fabra.context { name = 'plain', params = params, max_tokens = 50, items = { { text = 'Hello.', required = true },\n"
    "  { text = 'City: {feature:city}', entity_id = '{user}' }, { retriever = 'docs', args = { q = '{q}' }, priority = 2 } } }\n"
    "fabra.context { name = 'needs_docs', params = params, items = { { text = 'Hello.' }, { retriever = 'docs', args = { q = '{q}' }, required = true } } }\n"
    "fabra.context { name = 'coded', build = function(args)\n"
    "  local docs = fabra.await(fabra.retrieve('docs', { q = args.q }))\n"
    "  return { fabra.item { content = docs[1].content }, fabra.item { content = 'at ' .. fabra.await(fabra.feature_value('clock', args.user)) } } end }\n"
    "fabra.context { name = 'text', build = function() return 'only text' end }\n"
    "fabra.context { name = 'wrong', build = function() return 7 end }\n"
    "fabra.context { name = 'broken', build = function(args) return args.a.b end }\n"
    "fabra.context { name = 'tight', max_tokens = 2, on_budget = 'fail', params = {}, items = { { text = 'one two three', required = true } } }\n"
    "fabra.context { name = 'over', max_tokens = 2, params = {}, items = { { text = 'one two three', required = true }, { text = 'four' } } }\n"
    "fabra.context { name = 'strict', freshness_sla = '1s', freshness_strict = true, params = params,\n"
    "  items = { { text = '{feature:city}', entity_id = '{user}' } } }\n"
    "fabra.context { name = 'cached', cache_ttl = '2s', freshness_sla = '1s', params = params, items = {\n"
    "  { text = 'City: {feature:city} at {feature:clock}', entity_id = '{user}' } } }\n"
    "fabra.context { name = 'cached_code', cache_ttl = '1h', build = function(args)\n"
    "  return args.q .. ' of ' .. args.session_id end }\n"
    "fabra.context { name = 'cached_strict', cache_ttl = '5s', freshness_sla = '1s', freshness_strict = true, params = params,\n"
    "  items = { { text = '{feature:clock}', entity_id = '{user}' } } }\n"
    "fabra.context { name = 'cached_stale', cache_ttl = '5s', max_staleness = '1s', params = params,\n"
    "  items = { { text = '{feature:clock}', entity_id = '{user}' } } }\n"
    "fabra.context { name = 'late', params = params, items = { { text = '{feature:lost}', entity_id = '{user}' } } }\n"
    "fabra.context { name = 'needs_late', params = params, items = { { text = '{feature:lost}', entity_id = '{user}', required = true } } }\n"
    "fabra.context { name = 'empty', params = {}, items = { { text = '' } } }\n";

#define ARGS "{\"user\":\"u1\",\"q\":\"cats\"}"

static uint64_t ask_until(const char *context, const char *args_json, uint64_t deadline_ns, struct actor_ref cancel)
{
	uint32_t index = definitions_context(shared.definitions, str_from(context));
	assert_true(index != DEF_NONE);
	return assembler_start(&probe->base, NL, assembly_job_new(index, str_from(args_json), (struct str){ 0 }),
			       deadline_ns, cancel);
}

static const struct assembly_job *assemble(const char *context, const char *args_json)
{
	const struct msg *m = wait_for(ask_until(context, args_json, in_ms(5000), ACTOR_NONE));
	assert_int_equal(m->kind, ASSEMBLER_DONE);
	return ((const struct assembler_run *)m)->job;
}

static const struct assembly_job *assemble_ok(const char *context, const char *args_json)
{
	const struct assembly_job *job = assemble(context, args_json);
	if (job->outcome != ASSEMBLY_OK)
		fail_msg("%s", job->error.p);
	return job;
}

static void assert_fails(const char *context, const char *args_json, enum assembly_outcome outcome, const char *error)
{
	const struct assembly_job *job = assemble(context, args_json);
	assert_int_equal(job->outcome, outcome);
	if (strstr(job->error.p, error) == NULL)
		fail_msg("'%s' does not say '%s'", job->error.p, error);
	assert_false(job->persisted);
	assert_int_equal(entries_of(EVIDENCE_RECORD), 0);
}

static const struct evidence_entry *record_of(const struct assembly_job *job)
{
	assert_true(job->persisted);
	const struct evidence_entry *e = ledger_fake_record(ledger, job->record.context_id);
	assert_non_null(e);
	assert_memory_equal(e->stamp.record_hash, job->stamp.record_hash, RECORD_HASH_TEXT);
	return e;
}

static void assert_text(struct str got, const char *expected)
{
	if (!str_eq(got, str_from(expected)))
		fail_msg("'%.*s' instead of '%s'", STR_ARG(got), expected);
}

static void test_declarative(void **state)
{
	(void)state;
	push("city", "u1", "\"Bern\"", loop_wall_us(LOOP) - 2000000);
	const struct assembly_job *job = assemble_ok("plain", ARGS);
	assert_text(assembly_content(job), "Hello.\nCity: Bern\nabout cats\nmore");
	const struct evidence_entry *e = record_of(job);
	struct arena arena = { 0 };
	const char *why;
	const struct record *r = record_parse(buf_str(&e->body), true, &arena, &why);
	assert_non_null(r);
	assert_text(r->content, "Hello.\nCity: Bern\nabout cats\nmore");
	assert_text(r->context_function, "plain");
	assert_true(r->features_count == 1 && r->features[0].freshness_ms >= 2000 &&
		    r->features[0].source == RECORD_CACHE);
	assert_true(r->items_count == 2 && r->items[1].priority == 1);
	assert_true(r->assembly.items_provided == 4 && r->assembly.freshness_status == RECORD_GUARANTEED);
	arena_finish(&arena);
	/* The second record names the first. */
	const struct assembly_job *second = assemble_ok("plain", ARGS);
	assert_true(str_eq(second->record.integrity.previous_context_id, job->record.context_id));
	assert_text(assembly_content(assemble_ok("empty", "{}")), "");
}

static void test_coded(void **state)
{
	(void)state;
	const struct assembly_job *job = assemble_ok("coded", ARGS);
	assert_true(str_starts(assembly_content(job), STR("about cats\nat 17672")));
	assert_true(job->record.features_count == 1 && job->record.features[0].source == RECORD_COMPUTE);
	assert_int_equal(job->record.items_count, 2);
	record_of(job);
	assert_text(assembly_content(assemble_ok("text", "{\"whatever\":1}")), "only text");
	/* The clock that the first context used is in the log before it. */
	assert_int_equal(ledger_fake_at(ledger, 0)->kind, EVIDENCE_VALUES);
	assert_int_equal(ledger_fake_at(ledger, 1)->kind, EVIDENCE_RECORD);
}

static void test_failures(void **state)
{
	(void)state;
	assert_fails("plain", "{\"user\":\"u1\"}", ASSEMBLY_BAD_ARGUMENTS,
		     "Invalid arguments for context 'plain': missing required argument 'q'");
	assert_fails("plain", "[]", ASSEMBLY_BAD_ARGUMENTS, "an object is needed");
	assert_fails("plain", "{\"user\":\"u\\u0000\",\"q\":\"cats\"}", ASSEMBLY_BAD_ARGUMENTS,
		     "Invalid arguments for context 'plain': an entity id has no NUL bytes");
	char long_id[300];
	snprintf(long_id, sizeof long_id, "{\"user\":\"%0257d\",\"q\":\"cats\"}", 1);
	assert_fails("plain", long_id, ASSEMBLY_BAD_ARGUMENTS, "an entity id has 1 to 256 bytes");
	assert_fails("needs_docs", "{\"user\":\"u1\",\"q\":\"bad\"}", ASSEMBLY_UNAVAILABLE,
		     "Context 'needs_docs' needs retriever 'docs', which is missing: failed");
	assert_fails("coded", "{\"user\":\"u1\",\"q\":\"bad\"}", ASSEMBLY_FAILED, "index is broken");
	assert_fails("wrong", "{}", ASSEMBLY_FAILED, "wrong");
	assert_fails("broken", "{}", ASSEMBLY_FAILED, "broken");
	assert_fails("tight", "{}", ASSEMBLY_OVER_BUDGET,
		     "Context 'tight' exceeds its token budget: required items need 3 tokens, max_tokens is 2");
	push("city", "u1", "1", loop_wall_us(LOOP) - 1002000);
	assert_fails("strict", ARGS, ASSEMBLY_FAILED, "Freshness SLA breached for 1 feature(s): city (100");
}

static void test_budget(void **state)
{
	(void)state;
	const struct assembly_job *job = assemble_ok("over", "{}");
	assert_text(assembly_content(job), "one two three");
	assert_true(job->extras.budget_exceeded && !job->record.assembly.required_items_included);
	assert_true(job->record.assembly.dropped_count == 1 && job->record.assembly.items_included == 1);
}

static void test_late(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	fixture_restart();
	/* What is late is missing; the answer still comes in time. */
	const struct msg *m = wait_for(ask_until("late", ARGS, in_ms(100), ACTOR_NONE));
	assert_int_equal(m->kind, ASSEMBLER_DONE);
	const struct assembly_job *job = ((const struct assembler_run *)m)->job;
	assert_int_equal(job->outcome, ASSEMBLY_OK);
	assert_int_equal(job->record.assembly.freshness_status, RECORD_DEGRADED);
	assert_text(job->extras.missing_features[0].reason, "timeout");
	m = wait_for(ask_until("needs_late", ARGS, in_ms(100), ACTOR_NONE));
	assert_int_equal(m->kind, ASSEMBLER_DONE);
	assert_int_equal(((const struct assembler_run *)m)->job->outcome, ASSEMBLY_LATE);
	run_ms(20000);
	assert_int_equal(entries_of(EVIDENCE_RECORD), 1);
}

static void test_gathering_ends(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	fixture_restart();
	uint64_t op = ask_until("late", ARGS, in_ms(5000), ACTOR_NONE);
	run_ms(10);
	rt_send(LOOP, node_resolver(NL, 0), rt_msg_new(LOOP, RT_STOP));
	const struct msg *m = wait_for(op);
	assert_int_equal(m->kind, ASSEMBLER_DONE);
	/* Nothing that the stopped one had under way comes back: the feature failed, and the context says so. */
	const struct assembly_job *job = ((const struct assembler_run *)m)->job;
	assert_int_equal(job->outcome, ASSEMBLY_OK);
	assert_text(job->extras.missing_features[0].reason, "failed");
}

static void test_client_leaves(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	fixture_restart();
	struct loop_stats before, after;
	loop_stats_read(LOOP, &before);
	struct actor_ref client = rt_spawn(LOOP, &token_class, NULL);
	uint64_t op = ask_until("late", ARGS, in_ms(5000), client);
	run_ms(10);
	rt_send(LOOP, client, rt_msg_new(LOOP, MSG_KIND(CLASS_TEST, 1)));
	assert_int_equal(wait_for(op)->kind, RT_CANCELLED);
	run_ms(15000); /* the flight of the feature ends by itself */
	loop_stats_read(LOOP, &after);
	assert_int_equal(after.actors, before.actors);
	assert_int_equal(after.asks_open, 0);
	assert_int_equal(entries_of(EVIDENCE_RECORD), 0);
}

/* Whoever asks and leaves, or is late, before the assembler's first message is looked at: it must not stay for ever. */
static void test_nobody_waits_from_the_start(void **state)
{
	(void)state;
	struct loop_stats before, after;
	loop_stats_read(LOOP, &before);
	for (int i = 0; i < 20; i++) {
		struct actor_ref client = rt_spawn(LOOP, &token_class, NULL);
		rt_send(LOOP, client, rt_msg_new(LOOP, MSG_KIND(CLASS_TEST, 1)));
		assert_int_equal(wait_for(ask_until("plain", ARGS, in_ms(5000), client))->kind, RT_CANCELLED);
		assert_int_equal(wait_for(ask_until("plain", ARGS, 1, ACTOR_NONE))->kind, RT_DEADLINE);
	}
	run_ms(100);
	loop_stats_read(LOOP, &after);
	assert_int_equal(after.actors, before.actors);
}

static void test_evidence_required(void **state)
{
	(void)state;
	ledger_config.refuse_permille = 1000;
	fixture_restart();
	assert_fails("text", "{}", ASSEMBLY_NO_EVIDENCE, "Failed to persist CRS-001 record: the disk failed");
	assert_fails("cached", ARGS, ASSEMBLY_NO_EVIDENCE, "the disk failed");
	ledger_config.refuse_permille = 0;
	ledger_fake_set(ledger, &ledger_config);
	assert_false(assemble_ok("cached", ARGS)->extras.is_cached_response); /* nothing was kept of the refused one */

	ledger_config.lose_answer_permille = 1000;
	fixture_restart();
	uint64_t start_ns = sim_now_ns(fixture.sim);
	const struct assembly_job *job = assemble("text", "{}");
	assert_int_equal(job->outcome, ASSEMBLY_LATE); /* nobody knows whether the record comes to be */
	assert_in_range(sim_now_ns(fixture.sim) - start_ns, 4900000000, 4999000000);
}

static void test_best_effort(void **state)
{
	(void)state;
	ledger_config.refuse_permille = 1000;
	fixture_restart();
	fixture.node.evidence_required = false;
	for (int i = 0; i < 2; i++) {
		const struct assembly_job *job = assemble_ok("cached", ARGS);
		assert_false(job->persisted);
		assert_text(job->evidence_error, "the disk failed");
		assert_false(job->extras.is_cached_response); /* what is not durable is not cached */
		assert_text(job->extras.evidence_mode, "best_effort");
	}
	ledger_config.refuse_permille = 0;
	ledger_config.lose_answer_permille = 1000;
	fixture_restart();
	fixture.node.evidence_required = false;
	uint64_t start_ns = sim_now_ns(fixture.sim);
	const struct assembly_job *job = assemble_ok("text", "{}");
	assert_false(job->persisted);
	assert_in_range(sim_now_ns(fixture.sim) - start_ns, 500000000, 520000000); /* FABRA_EVIDENCE_TIMEOUT */
	ledger_config.lose_answer_permille = 0;
	fixture_restart();
	fixture.node.evidence_required = false;
	record_of(assemble_ok("text", "{}"));
}

static void test_cache(void **state)
{
	(void)state;
	push("city", "u1", "\"Bern\"", loop_wall_us(LOOP));
	const struct assembly_job *first = assemble_ok("cached", "{\"user\":\"u1\",\"q\":\"x\",\"call_id\":\"1\"}");
	run_ms(1100);
	const struct assembly_job *again = assemble_ok("cached", "{\"call_id\":\"2\",\"q\":\"x\",\"user\":\"u1\"}");
	assert_true(!first->extras.is_cached_response && again->extras.is_cached_response);
	assert_true(str_eq(assembly_content(first), assembly_content(again)));
	/* A record of its own, with its own time, arguments and freshness. */
	assert_false(str_eq(first->record.context_id, again->record.context_id));
	assert_true(again->record.created_at_us >= first->record.created_at_us + 1100000);
	assert_int_equal(first->record.assembly.freshness_status, RECORD_GUARANTEED);
	assert_int_equal(again->record.assembly.freshness_status, RECORD_DEGRADED);
	assert_non_null(memmem(again->record.inputs_json.p, again->record.inputs_json.n, "\"2\"", 3));
	record_of(again);
	assert_false(assemble_ok("cached", "{\"user\":\"u1\",\"q\":\"y\"}")->extras.is_cached_response);
	push("city", "u1", "\"Basel\"", loop_wall_us(LOOP));
	const struct assembly_job *pushed = assemble_ok("cached", "{\"user\":\"u1\",\"q\":\"x\"}");
	assert_true(!pushed->extras.is_cached_response && str_starts(assembly_content(pushed), STR("City: Basel")));
	run_ms(2000);
	assert_false(assemble_ok("cached", "{\"user\":\"u1\",\"q\":\"x\"}")->extras.is_cached_response); /* its ttl */
}

/* A function may use the names of the call: what it said to one caller no other gets. */
static void test_cache_of_code_by_session(void **state)
{
	(void)state;
	static const char alice[] = "{\"q\":\"hi\",\"session_id\":\"alice\"}";
	assert_true(str_eq(assembly_content(assemble_ok("cached_code", alice)), STR("hi of alice")));
	assert_true(str_eq(assembly_content(assemble_ok("cached_code", "{\"q\":\"hi\",\"session_id\":\"bob\"}")),
			   STR("hi of bob")));
	assert_true(assemble_ok("cached_code", alice)->extras.is_cached_response);
}

static void test_cache_and_age(void **state)
{
	(void)state;
	assemble_ok("cached_strict", ARGS);
	assemble_ok("cached_stale", ARGS);
	run_ms(900);
	assert_true(assemble_ok("cached_strict", ARGS)->extras.is_cached_response);
	assert_true(assemble_ok("cached_stale", ARGS)->extras.is_cached_response);
	run_ms(200);
	assert_false(assemble_ok("cached_stale", ARGS)->extras.is_cached_response); /* too old to be used */
	const struct assembly_job *job = assemble("cached_strict", ARGS);
	assert_int_equal(job->outcome, ASSEMBLY_FAILED);
	assert_non_null(strstr(job->error.p, "Freshness SLA breached"));
}

static void test_privacy_keeps_nothing(void **state)
{
	(void)state;
	fixture.node.include_content = false;
	push("city", "u1", "\"Bern\"", loop_wall_us(LOOP));
	const struct assembly_job *job = assemble_ok("cached", ARGS);
	assert_int_equal(job->record.content.n, 0);
	assert_true(assembly_content(job).n > 0);
	assert_false(assemble_ok("cached", ARGS)->extras.is_cached_response);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		ACTOR_TEST(test_declarative),
		ACTOR_TEST(test_coded),
		ACTOR_TEST(test_failures),
		ACTOR_TEST(test_budget),
		ACTOR_TEST(test_late),
		ACTOR_TEST(test_gathering_ends),
		ACTOR_TEST(test_nobody_waits_from_the_start),
		ACTOR_TEST(test_client_leaves),
		ACTOR_TEST(test_evidence_required),
		ACTOR_TEST(test_best_effort),
		ACTOR_TEST(test_cache),
		ACTOR_TEST(test_cache_of_code_by_session),
		ACTOR_TEST(test_cache_and_age),
		ACTOR_TEST(test_privacy_keeps_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
