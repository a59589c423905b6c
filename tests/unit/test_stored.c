/* What the online store has forgotten is found in the history: by reads, contexts and events; and an online store that is asked by
 * message is read as one in memory. */
#include "actors/stored.h"
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'p', entity = User }\n"
    "fabra.feature { name = 'q', entity = User, default = 'none' }\n"
    "fabra.feature { name = 'brief', entity = User, ttl = '10s' }\n"
    "fabra.feature { name = 'made', entity = User, ttl = '1h', compute = function(id) return 'made of ' .. id end }\n"
    "fabra.feature { name = 'count', entity = User, trigger = 'tick', compute = function(id, event, previous)\n"
    "  if event.payload.slow then fabra.await(fabra.sql('SELECT slow', {})) end return (previous or 0) + 1 end }\n"
    "fabra.context { name = 'c', params = { u = 'string' }, cache_ttl = '1h', items = {\n"
    "  { text = 'p={feature:p};n={feature:count};', entity_id = '{u}', on_missing = 'empty' } } }\n"
    "local runs = 0\n"
    "fabra.retriever { name = 'r', cache_ttl = '1h', run = function(args)\n"
    "  runs = runs + 1 return { tostring(fabra.await(fabra.feature_value('p', args.u))) .. ' by run ' .. runs } end }\n"
    "fabra.context { name = 'd', params = { u = 'string' }, items = { { retriever = 'r', args = { u = '{u}' } } } }\n";

static size_t questions;
static const struct offline_fake_answer script[] = { { "SELECT slow", "[]", RT_OK } };

/* A history that knows what the ledger does. */
static void begin(void)
{
	questions = 0;
	offline_config = (struct offline_fake_config){ .answers = script,
						       .answers_count = ARRAY_LEN(script),
						       .log = ledger_fake_log_source(ledger),
						       .questions = &questions,
						       .delay_ms_max = 3 };
	fixture_restart();
}

static void by_message(void)
{
	struct actor_ref memory = online_spawn(fixture.online, fixture.store_loop);
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		fixture.stores.online.per_loop[i] = memory;
	fixture.stores.online.fast = NULL;
	fixture.stores.is_history_shared = true;
}

static void write_entry(struct evidence_entry *e)
{
	assert_non_null(e);
	const struct msg *m = wait_for(rt_ask(&probe->base, fixture.stores.evidence.append,
					      &evidence_append_new(LOOP, e)->head, in_ms(1000), ACTOR_NONE));
	assert_true(m->kind == EVIDENCE_APPENDED && m->status == RT_OK);
}

static void put(const char *name, const char *id, const char *json)
{
	struct value *v = value_create(str_from(json));
	const struct values_cell cell = {
		.feature = feature(name), .entity_id = str_from(id), .value = v, .event_time_us = loop_wall_us(LOOP)
	};
	write_entry(
	    values_entry_new(&fixture.node, &(struct values_write){
						.entity = 0, .source = ENTRY_PUSHED, .cells = &cell, .count = 1 }));
	value_unref(v);
	run_ms(1); /* what comes next is newer */
}

static void tick(const char *id, const char *payload)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = STR("e1"),
							   .event_type = STR("tick"),
							   .entity_id = str_from(id),
							   .payload_json = str_from(payload),
							   .event_time_us = loop_wall_us(LOOP) });
	const struct msg *m = wait_for(rt_ask(&probe->base, rt_named(LOOP, NAME_INGESTOR),
					      &ingest_event_new(LOOP, INGEST_EVENT, e)->head, in_ms(1000), ACTOR_NONE));
	assert_true(m->kind == INGEST_ACCEPTED && m->status == RT_OK);
}

/* Until the bound of the table has taken all that was there. */
static void evict_all(void)
{
	static unsigned long junk;
	char *text = malloc(60001);
	memset(text, '7', 60000);
	text[60000] = '\0';
	for (int i = 0; i < 60; i++) {
		char id[32];
		snprintf(id, sizeof id, "junk %lu", ++junk);
		push("p", id, text, 1);
	}
	free(text);
	assert_false(online_is_whole(fixture.online));
}

static void evict(const char *name, const char *id)
{
	evict_all();
	assert_false(is_online(name, id));
}

static void assert_state(const char *name, const char *id, enum feature_state state)
{
	assert_int_equal(get_feature(name, id)->state, state);
}

static void test_a_value_that_was_evicted(void **state)
{
	(void)state;
	begin();
	put("p", "u1", "1");
	put("brief", "u1", "2");
	int64_t as_of_us = get_feature("p", "u1")->as_of_us;
	assert_int_equal(questions, 0);
	evict("p", "u1");
	assert_value(get_feature("p", "u1"), RECORD_CACHE, "1");
	assert_int_equal(questions, 1);
	assert_true(is_online("p", "u1")); /* again */
	assert_int_equal(get_feature("p", "u1")->as_of_us, as_of_us);
	assert_value(get_feature("brief", "u1"), RECORD_CACHE, "2");
	assert_int_equal(questions, 2);
	run_ms(10000);
	assert_state("brief", "u1", FEATURE_EXPIRED);
	evict("brief", "u1");
	assert_state("brief", "u1", FEATURE_EXPIRED);
	/* What is computed is computed. */
	size_t before = questions;
	assert_value(get_feature("made", "u1"), RECORD_COMPUTE, "\"made of u1\"");
	assert_int_equal(questions, before);
}

static void test_a_counter_goes_on(void **state)
{
	(void)state;
	begin();
	for (int i = 0; i < 3; i++)
		tick("u1", "{}");
	run_ms(100);
	assert_value(get_feature("count", "u1"), RECORD_CACHE, "3");
	evict("count", "u1");
	tick("u1", "{}");
	run_ms(100);
	assert_value(get_feature("count", "u1"), RECORD_CACHE, "4");
	/* A PUT behind its reading stays, though it is forgotten at once. */
	evict("count", "u1");
	struct actor_ref well = fixture.stores.offline.requests;
	struct offline_fake_config lame = offline_config;
	lame.delay_ms_max = 1000;
	size_t before = questions;
	tick("u1", "{\"slow\":true}");
	fixture.stores.offline.requests = offline_fake_spawn(fixture.store_loop, &lame); /* of the function's SQL */
	while (questions == before)
		run_ms(1);
	run_ms(5); /* it has read 4 */
	fixture.stores.offline.requests = well;
	put("count", "u1", "40");
	evict("count", "u1");
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 4); /* not yet */
	run_ms(1500);
	assert_value(get_feature("count", "u1"), RECORD_CACHE, "40");
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 5);
}

/* ---- contexts ---- */

static const struct assembly_job *assemble(const char *context, const char *args_json)
{
	struct assembly_job *job = assembly_job_new(definitions_context(shared.definitions, str_from(context)),
						    str_from(args_json), STR(""));
	const struct msg *m = wait_for(assembler_start(&probe->base, NL, job, in_ms(5000), ACTOR_NONE));
	assert_int_equal(m->kind, ASSEMBLER_DONE);
	const struct assembly_job *done = ((const struct assembler_run *)m)->job;
	assert_int_equal(done->outcome, ASSEMBLY_OK);
	return done;
}

static void assert_context(const char *args_json, const char *wanted, bool is_degraded)
{
	const struct assembly_job *job = assemble("c", args_json);
	if (!str_eq(assembly_content(job), str_from(wanted)))
		fail_msg("%.*s instead of %s", STR_ARG(assembly_content(job)), wanted);
	assert_int_equal(job->record.assembly.freshness_status == RECORD_DEGRADED, is_degraded);
}

static void test_a_context_does_not_say_absent(void **state)
{
	(void)state;
	begin();
	put("p", "u1", "1");
	tick("u1", "{}");
	run_ms(100);
	evict("p", "u1");
	assert_context("{\"u\":\"u1\"}", "p=1;n=1;", false);
	assert_context("{\"u\":\"u2\"}", "p=;n=;", true);
	/* One that was kept while a value was absent does not outlive the value, forgotten or not. */
	put("p", "u2", "5");
	evict("p", "u2");
	assert_context("{\"u\":\"u2\"}", "p=5;n=;", true);
}

/* ---- absence ---- */

static void test_absence_is_remembered_for_a_moment(void **state)
{
	(void)state;
	begin();
	assert_state("p", "u1", FEATURE_MISSING);
	assert_int_equal(questions, 0); /* nothing was forgotten: it is absent */
	evict_all();
	assert_state("p", "u1", FEATURE_MISSING);
	assert_value(get_feature("q", "u1"), RECORD_FALLBACK, "\"none\"");
	assert_int_equal(questions, 2);
	for (int i = 0; i < 10; i++)
		assert_state("p", "u1", FEATURE_MISSING);
	assert_int_equal(questions, 2);
	put("p", "u1", "1");
	evict("p", "u1");
	assert_value(get_feature("p", "u1"), RECORD_CACHE, "1"); /* a write is not forgotten with the absence */
	write_entry(values_delete_new(&fixture.node, 0, STR("u1"), loop_wall_us(LOOP)));
	assert_state("p", "u1", FEATURE_MISSING);
	evict_all();
	assert_state("p", "u1", FEATURE_MISSING);
	run_ms(1);
	put("p", "u1", "2");
	evict("p", "u1");
	assert_value(get_feature("p", "u1"), RECORD_CACHE, "2");
	size_t before = questions;
	assert_state("p", "u2", FEATURE_MISSING);
	run_ms(3000);
	assert_state("p", "u2", FEATURE_MISSING);
	assert_int_equal(questions, before + 2);
}

/* Many at once are one question, also of the same. */
static void test_one_question_for_many(void **state)
{
	(void)state;
	begin();
	put("p", "u1", "1");
	put("p", "u2", "2");
	evict("p", "u1");
	uint64_t ops[200];
	for (int i = 0; i < 200; i++)
		ops[i] = ask_feature("p", i % 2 ? "u1" : "u2");
	for (int i = 0; i < 200; i++)
		assert_value(result_of(ops[i]), RECORD_CACHE, i % 2 ? "1" : "2");
	assert_true(questions <= 2);
}

/* ---- failure ---- */

static void test_a_history_that_fails(void **state)
{
	(void)state;
	begin();
	put("p", "u1", "1");
	tick("u1", "{}");
	run_ms(100);
	struct actor_ref well = fixture.stores.offline.requests;
	struct offline_fake_config broken = offline_config;
	broken.error_permille = 1000;
	fixture.stores.offline.requests = offline_fake_spawn(fixture.store_loop, &broken);
	evict_all();
	const struct feature_result *r = get_feature("p", "u1");
	assert_int_equal(r->state, FEATURE_FAILED);
	assert_true(r->reason.n > 0);
	r = get_feature("q", "u1");
	assert_value(r, RECORD_FALLBACK, "\"none\"");
	assert_int_equal(r->failure, FEATURE_FAILED);
	tick("u1", "{}");
	run_ms(3500);
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 1); /* it waits */
	fixture.stores.offline.requests = well;
	run_ms(8500); /* no longer is waited between two attempts */
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 2);
	assert_value(get_feature("count", "u1"), RECORD_CACHE, "2");
	assert_value(get_feature("p", "u1"), RECORD_CACHE, "1");
	/* One that never answers is a failure, too, and holds up nobody for ever. */
	broken.error_permille = 0;
	broken.lost_permille = 1000;
	fixture.stores.offline.requests = offline_fake_spawn(fixture.store_loop, &broken);
	evict("p", "u1");
	assert_state("p", "u1", FEATURE_TIMEOUT);
	fixture.stores.offline.requests = well;
	assert_value(get_feature("p", "u1"), RECORD_CACHE, "1");
}

/* ---- by message ---- */

static void test_by_message_as_in_memory(void **state)
{
	(void)state;
	enum { IDS = 1500, FEATURES = 4 };
	static const char *const names[FEATURES] = { "p", "q", "brief", "count" };
	struct str ids[IDS];
	static char texts[IDS][16];
	uint32_t features[FEATURES];
	uint64_t ops[2];
	begin();
	for (int f = 0; f < FEATURES; f++)
		features[f] = feature(names[f]);
	for (int i = 0; i < IDS; i++) {
		snprintf(texts[i], sizeof texts[i], "u%d", i);
		ids[i] = str_from(texts[i]);
		if (i % 3 && i % 7 < 3)
			push(names[i % 7], texts[i], "17", loop_wall_us(LOOP));
	}
	const struct online_fast *fast = fixture.stores.online.fast;
	for (int round = 0; round < 2; round++) {
		if (round)
			by_message();
		struct feature_request *r = feature_request_new(0, ids, IDS, features, FEATURES);
		ops[round] = rt_ask(&probe->base, node_resolver(NL, 0), &resolver_get_new(LOOP, RESOLVER_GET, r)->head,
				    in_ms(60000), ACTOR_NONE);
		wait_for(ops[round]);
	}
	const struct feature_request *a = ((const struct resolver_get *)answer_to(ops[0]))->request,
				     *b = ((const struct resolver_get *)answer_to(ops[1]))->request;
	size_t found = 0;
	for (int i = 0; i < IDS * FEATURES; i++) {
		assert_int_equal(a->results[i].state, b->results[i].state);
		assert_int_equal(a->results[i].source, b->results[i].source);
		if (a->results[i].state != FEATURE_FOUND)
			continue;
		assert_true(str_eq(value_json(a->results[i].value), value_json(b->results[i].value)));
		found += a->results[i].source == RECORD_CACHE;
	}
	assert_true(found > 100);
	fixture.stores.online.fast = fast;
}

/* What is published goes into the table on the path without messages. */
static void put_in_memory(const char *name, const char *id, const char *json)
{
	fixture.stores.online.fast = online_fast(fixture.online);
	put(name, id, json);
	fixture.stores.online.fast = NULL;
}

static void assert_assembled(const char *context, const char *wanted, bool is_cached)
{
	const struct assembly_job *job = assemble(context, "{\"u\":\"u1\"}");
	if (!str_eq(assembly_content(job), str_from(wanted)))
		fail_msg("%.*s instead of %s", STR_ARG(assembly_content(job)), wanted);
	assert_int_equal(job->extras.is_cached_response, is_cached);
}

/* Caches ask whether what they were made from is still there. */
static void test_caches_by_message(void **state)
{
	(void)state;
	begin();
	by_message();
	assert_assembled("c", "p=;n=;", false);
	assert_assembled("c", "p=;n=;", true);
	put_in_memory("p", "u1", "1");
	assert_assembled("c", "p=1;n=;", false);
	assert_assembled("c", "p=1;n=;", true);
	assert_assembled("d", "1 by run 1", false);
	assert_assembled("d", "1 by run 1", false); /* the context has no cache, the retriever has */
	put_in_memory("p", "u1", "2");
	assert_assembled("c", "p=2;n=;", false);
	assert_assembled("d", "2 by run 2", false);
	assert_assembled("d", "2 by run 2", false);
	/* Forgotten, and found again. */
	evict_all();
	assert_assembled("c", "p=2;n=;", true);
	assert_assembled("d", "2 by run 2", false);
	/* A store that does not answer proves nothing: the history is asked, and nothing is taken from a cache without it. */
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		fixture.stores.online.per_loop[i] = ACTOR_NONE;
	assert_value(get_feature("p", "u1"), RECORD_CACHE, "2");
	assert_assembled("c", "p=2;n=;", true);
	fixture.stores.offline.requests = ACTOR_NONE;
	assert_state("p", "u1", FEATURE_FAILED);
	assert_int_equal(assemble("c", "{\"u\":\"u1\"}")->extras.missing_features_count, 2);
	fixture.stores.online.fast = online_fast(fixture.online);
}

static const struct CMUnitTest tests[] = {
	ACTOR_TEST(test_a_value_that_was_evicted),      ACTOR_TEST(test_a_counter_goes_on),
	ACTOR_TEST(test_a_context_does_not_say_absent), ACTOR_TEST(test_absence_is_remembered_for_a_moment),
	ACTOR_TEST(test_one_question_for_many),         ACTOR_TEST(test_a_history_that_fails),
	ACTOR_TEST(test_by_message_as_in_memory),       ACTOR_TEST(test_caches_by_message),
};

static int run(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
