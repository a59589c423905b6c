/* One run of a function: what it asks for, in slices, with an end in any case. */
#include "actors/computation.h"
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'tier', entity = User, default = 'free' }\n"
    "fabra.feature { name = 'city', entity = User }\n"
    "fabra.feature { name = 'bad', entity = User, compute = function() error('broken') end }\n"
    "fabra.feature { name = 'slow', entity = User, compute = function() return fabra.await(fabra.sql('SELECT slow', {}))[1].n end }\n"
    "fabra.retriever { name = 'docs', run = function(args) return { 'about ' .. args.q } end }\n"
    "local function feature(name, compute) fabra.feature { name = name, entity = User, compute = compute } end\n"
    "feature('plain', function(id) return { id, 1, 2.0 } end)\n"
    "feature('awaits', function(id) return fabra.await(fabra.feature_value('tier', id)) .. '!' end)\n"
    "feature('all', function(id)\n"
    "  local rows, tier, docs, both = fabra.all(fabra.sql('SELECT slow', {}), fabra.feature_value('tier', id),\n"
    "    fabra.retrieve('docs', { q = 'x' }), fabra.features(User, id, { 'tier', 'city' }))\n"
    "  return { rows[1].n, tier, docs[1].content, both.tier, both.city == nil } end)\n"
    "feature('fails', function(id) return fabra.await(fabra.feature_value('bad', id)) end)\n"
    "feature('tries', function(id) local v, why = fabra.try(fabra.feature_value('bad', id)) return { v == nil, why } end)\n"
    "feature('no_value', function(id) return fabra.await(fabra.feature_value('city', id)) == nil end)\n"
    "feature('long', function() local n = 0 for i = 1, 300000 do n = n + i end return n end)\n"
    "feature('endless', function() while true do end end)\n"
    "feature('waits', function() return fabra.await(fabra.sql('SELECT slow', {})) end)\n"
    "feature('tries_late', function() while true do fabra.try(fabra.sql('SELECT slow', {})) end end)\n"
    "feature('careless', function(id)\n"
    "  fabra.feature_value('slow', id) fabra.retrieve('docs', { q = 'y' }) fabra.sql('SELECT slow', {}) return 'done' end)\n"
    "feature('greedy', function(id) local last\n"
    "  for i = 1, 256 do last = fabra.feature_value('tier', id .. i) end return fabra.await(last) end)\n"
    "feature('too_greedy', function(id) for i = 1, 257 do fabra.feature_value('tier', id) end end)\n"
    "feature('hoards', function(id) local kept = {} for i = 1, 400000 do kept = { kept } end\n"
    "  fabra.await(fabra.sql('SELECT lost', {})) return kept ~= nil end)\n"
    "feature('lost', function() return fabra.await(fabra.sql('SELECT lost', {}))[1].n end)\n"
    "fabra.retriever { name = 'lost_docs', run = function() return fabra.await(fabra.sql('SELECT lost', {})) end }\n"
    "feature('waits_long', function(id) return fabra.await(fabra.feature_value('lost', id)) end)\n"
    "feature('gives_up', function(id) return fabra.all(fabra.feature_value('waits_long', id), fabra.feature_value('lost', id),\n"
    "  fabra.retrieve('lost_docs', {}), fabra.feature_value('bad', id)) end)\n"
    "feature('event', function(id, event, previous) return { event.payload.n, event.event_type, previous } end)\n";

static const struct offline_fake_answer answers[] = { { "SELECT slow", "[{\"n\":42}]", RT_OK } };

static int setup(void **state)
{
	fixture_setup(state);
	offline_config.answers = answers;
	offline_config.answers_count = ARRAY_LEN(answers);
	fixture_restart();
	return 0;
}

static uint64_t start_until(const char *name, uint64_t deadline_ns, struct actor_ref cancel)
{
	struct computation_job *job = computation_job_new(SCRIPT_COMPUTE, feature(name), STR("u1"));
	return computation_start(&probe->base, NL, job, deadline_ns, cancel);
}

static const struct computation_job *run_it(const char *name)
{
	const struct msg *m = wait_for(start_until(name, in_ms(60000), ACTOR_NONE));
	assert_int_equal(m->kind, COMPUTATION_DONE);
	return ((const struct computation_run *)m)->job;
}

static void assert_result(const char *name, const char *json)
{
	const struct computation_job *job = run_it(name);
	if (job->outcome.error.p)
		fail_msg("%s", job->outcome.error.p);
	if (!str_eq(job->outcome.value_json, str_from(json)))
		fail_msg("%s instead of %s", job->outcome.value_json.p, json);
}

static void assert_error(const char *name, const char *part)
{
	const struct computation_job *job = run_it(name);
	assert_non_null(job->outcome.error.p);
	if (strstr(job->outcome.error.p, part) == NULL)
		fail_msg("'%s' does not say '%s'", job->outcome.error.p, part);
}

static uint32_t actors_here(void)
{
	struct loop_stats stats;
	loop_stats_read(LOOP, &stats);
	return stats.actors;
}

static uint32_t asks_here(void)
{
	struct loop_stats stats;
	loop_stats_read(LOOP, &stats);
	return stats.asks_open;
}

static void test_awaits(void **state)
{
	(void)state;
	uint32_t actors = actors_here();
	assert_result("plain", "[\"u1\",1,2.0]");
	assert_result("awaits", "\"free!\"");
	assert_result("all", "[42,\"free\",\"about x\",\"free\",true]");
	assert_result("no_value", "true");
	run_ms(1);
	assert_int_equal(actors_here(), actors); /* each has ended */
	assert_int_equal(asks_here(), 0);
}

static void test_failures(void **state)
{
	(void)state;
	assert_error("fails", "broken");
	const struct computation_job *job = run_it("tries");
	assert_true(job->outcome.error.p == NULL && str_starts(job->outcome.value_json, STR("[true,\"")));
	assert_non_null(strstr(job->outcome.value_json.p, "broken"));
}

static void test_reads_in_order(void **state)
{
	(void)state;
	const struct computation_job *job = run_it("all");
	assert_int_equal(job->reads_count, 4);
	assert_true(job->reads[0].features == NULL && job->reads[0].retrieved == NULL); /* SQL */
	assert_int_equal(job->reads[1].features->features[0], feature("tier"));
	assert_true(str_eq(job->reads[2].retrieved->args_json, STR("{\"q\":\"x\"}")));
	assert_int_equal(job->reads[3].features->features_count, 2);
	assert_int_equal(job->reads[3].features->results[1].state, FEATURE_MISSING);
}

static void test_slices(void **state)
{
	(void)state;
	uint64_t longer = start_until("long", in_ms(60000), ACTOR_NONE);
	uint64_t quick = start_until("plain", in_ms(60000), ACTOR_NONE);
	wait_for(longer);
	wait_for(quick);
	size_t at[2] = { 0 };
	for (size_t i = 0; i < probe->count; i++)
		at[probe->answers[i]->op == quick] = i;
	assert_true(at[1] < at[0]); /* the one that began later was not held back */
	assert_result("long", "45000150000");
}

static void test_bounds(void **state)
{
	(void)state;
	assert_error("endless", "instructions");
	assert_result("greedy", "\"free\"");
	assert_int_equal(run_it("greedy")->reads_count, 256);
	assert_error("too_greedy", "too many asks");
	assert_int_equal(asks_here(), 0);
}

/* One call holds more than its share for long. Those that end meanwhile must not each stay to collect it again. */
static void test_one_collects(void **state)
{
	(void)state;
	struct loop_stats before, after;
	offline_config.lost_permille = 1000;
	fixture_restart();
	uint32_t actors = actors_here();
	struct actor_ref client = rt_spawn(LOOP, &token_class, NULL);
	uint64_t ops[100];
	start_until("hoards", in_ms(60000), client);
	for (int ms = 0; ms < 1000 && script_memory_bytes(NL->script) < 20 << 20; ms++)
		run_ms(1);
	assert_true(script_memory_bytes(NL->script) > 20 << 20);
	loop_stats_read(LOOP, &before);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		ops[i] = start_until("plain", in_ms(60000), ACTOR_NONE);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		wait_for(ops[i]);
	run_ms(200);
	loop_stats_read(LOOP, &after);
	assert_int_equal(after.actors, actors + 2); /* the client and its call */
	assert_in_range(after.messages - before.messages, 2 * ARRAY_LEN(ops), 2 * ARRAY_LEN(ops) + 10);
	/* What it held is given back when it ends, though it is the only one then. */
	rt_send(LOOP, client, rt_msg_new(LOOP, MSG_KIND(CLASS_TEST, 1)));
	run_ms(200);
	assert_int_equal(actors_here(), actors);
	assert_true(script_memory_bytes(NL->script) < 1 << 20);
}

static void test_asks_left_behind(void **state)
{
	(void)state;
	assert_result("careless", "\"done\"");
	run_ms(1);
	assert_int_equal(asks_here(), 0); /* what nobody awaited is cancelled, and what that had asked for */
}

/* What a function that has failed was still waiting for stops, and leaves room to others: features, retrievers, and what those
 * ask for themselves. */
static void test_the_calls_of_a_failed_function_stop(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	fixture_restart();
	uint32_t actors = actors_here();
	assert_error("gives_up", "broken"); /* three calls wait for SQL that never answers */
	run_ms(1);
	assert_int_equal(actors_here(), actors);
	assert_int_equal(asks_here(), 0);
	/* Who shares a call with it still gets the answer. */
	uint64_t other = start_until("waits_long", in_ms(60000), ACTOR_NONE);
	run_ms(1);
	uint32_t with_other = actors_here();
	assert_true(with_other > actors);
	assert_error("gives_up", "broken");
	run_ms(1);
	assert_int_equal(actors_here(), with_other);
	rt_ask_cancel(&probe->base, other);
	run_ms(1);
	assert_int_equal(actors_here(), actors);
	assert_int_equal(asks_here(), 0);
}

static void test_deadline(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	fixture_restart();
	uint32_t actors = actors_here();
	uint64_t start_ns = sim_now_ns(fixture.sim);
	uint64_t waits = start_until("waits", in_ms(100), ACTOR_NONE),
		 tries = start_until("tries_late", in_ms(100), ACTOR_NONE);
	assert_int_equal(wait_for(waits)->kind, RT_DEADLINE);
	wait_for(tries);
	assert_in_range(sim_now_ns(fixture.sim) - start_ns, 99000000, 110000000);
	run_ms(200); /* a function that tries again and again has its bounds too */
	assert_int_equal(actors_here(), actors);
	assert_int_equal(asks_here(), 0);
}

static void test_cancel(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	fixture_restart();
	uint32_t actors = actors_here();
	struct actor_ref client = rt_spawn(LOOP, &token_class, NULL);
	uint64_t op = start_until("waits", in_ms(60000), client);
	run_ms(5);
	rt_send(LOOP, client, rt_msg_new(LOOP, MSG_KIND(CLASS_TEST, 1)));
	assert_int_equal(wait_for(op)->kind, RT_CANCELLED);
	run_ms(5);
	assert_int_equal(actors_here(), actors);
}

static void test_events(void **state)
{
	(void)state;
	struct computation_job *job = computation_job_new(SCRIPT_COMPUTE, feature("event"), STR("u1"));
	job->event_json = STR(
	    "{\"id\":\"e\",\"event_type\":\"t\",\"entity_id\":\"u1\",\"payload\":{\"n\":5},\"timestamp\":\"x\"}");
	job->previous_json = STR("[7]");
	const struct msg *m = wait_for(computation_start(&probe->base, NL, job, in_ms(1000), ACTOR_NONE));
	assert_true(str_eq(((const struct computation_run *)m)->job->outcome.value_json, STR("[5,\"t\",[7]]")));
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
		T(test_awaits),
		T(test_failures),
		T(test_reads_in_order),
		T(test_slices),
		T(test_bounds),
		T(test_asks_left_behind),
		T(test_one_collects),
		T(test_deadline),
		T(test_cancel),
		T(test_events),
		T(test_the_calls_of_a_failed_function_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
