/* Chunks: one run per query at a time, kept for cache_ttl, failures for everyone who waits and for nobody later. */
#include "actors/writer.h"
#include "tests/unit/actor_fixture.h"

/* Each run gives its number, so that a test sees who shared one. */
static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local runs = 0\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'p', entity = User }\n"
    "local function run(args) runs = runs + 1 return { { content = 'run ' .. runs, metadata = { q = args.query } } } end\n"
    "fabra.retriever { name = 'kept', cache_ttl = '1s', run = run }\n"
    "fabra.retriever { name = 'live', run = run }\n"
    "fabra.retriever { name = 'slow', cache_ttl = '1s', run = function(args)\n"
    "  fabra.await(fabra.sql('SELECT slow', {})) return run(args) end }\n"
    "fabra.retriever { name = 'many', top_k = 3, run = function() return { 'a', 'b', 'c', 'd' } end }\n"
    "fabra.retriever { name = 'bad', cache_ttl = '1s', run = function(args)\n"
    "  if args.ok then return { 'fine' } end error('index is broken') end }\n"
    "fabra.retriever { name = 'slow_bad', run = function() return fabra.await(fabra.sql('SELECT wrong', {})) end }\n"
    "fabra.retriever { name = 'no_list', run = function() return 7 end }\n"
    "fabra.retriever { name = 'over_p', cache_ttl = '1s', run = function(args)\n"
    "  fabra.await(fabra.feature_value('p', 'u1'))\n"
    "  for i = 1, 20 do fabra.await(fabra.sql('SELECT slow', {})) end return run(args) end }\n"
    "fabra.retriever { name = 'over_ledger', cache_ttl = '1s', run = function(args)\n"
    "  local mine = run(args) fabra.await(fabra.sql('SELECT slow FROM fabra.feature_history', {})) return mine end }\n"
    "fabra.retriever { name = 'nothing', run = function() return {} end }\n";

static const struct offline_fake_answer answers[] = { { "SELECT wrong", "no such table", RT_EINVAL } };

static int setup(void **state)
{
	fixture_setup(state);
	offline_config.answers = answers;
	offline_config.answers_count = ARRAY_LEN(answers);
	fixture_restart();
	return 0;
}

static uint64_t ask_until(const char *retriever, const char *args_json, uint64_t deadline_ns, struct actor_ref cancel)
{
	uint32_t index = definitions_retriever(shared.definitions, str_from(retriever));
	return rt_ask(&probe->base, node_retriever(NL, index), &retriever_get_new(LOOP, str_from(args_json))->head,
		      deadline_ns, cancel);
}

static uint64_t ask(const char *retriever, const char *args_json)
{
	return ask_until(retriever, args_json, in_ms(60000), ACTOR_NONE);
}

static const struct retriever_got *got(uint64_t op)
{
	const struct msg *m = wait_for(op);
	assert_int_equal(m->kind, RETRIEVER_GOT);
	return (const struct retriever_got *)m;
}

static const struct retrieved *chunks_of(uint64_t op)
{
	const struct retriever_got *m = got(op);
	if (m->retrieved == NULL)
		fail_msg("%s", m->error);
	assert_true(m->head.status == RT_OK && m->error == NULL);
	return m->retrieved;
}

static const char *first_text(uint64_t op)
{
	return chunks_of(op)->chunks[0].content.p;
}

static void test_cache(void **state)
{
	(void)state;
	const struct retrieved *first = chunks_of(ask("kept", "{\"query\":\"a\"}"));
	assert_string_equal(first->chunks[0].content.p, "run 1");
	assert_true(str_eq(first->query, STR("a")));
	run_ms(900);
	assert_ptr_equal(chunks_of(ask("kept", "{\"query\":\"a\"}")), first); /* the very same answer, shared */
	assert_string_equal(first_text(ask("kept", "{\"query\":\"b\"}")), "run 2");
	assert_string_equal(first_text(ask("kept", "{\"k\":1,\"query\":\"a\"}")), "run 3");
	run_ms(110);
	assert_string_equal(first_text(ask("kept", "{\"query\":\"a\"}")), "run 4");
	assert_string_equal(first_text(ask("live", "{\"query\":\"a\"}")), "run 5");
	assert_string_equal(first_text(ask("live", "{\"query\":\"a\"}")), "run 6");
}

static void test_single_flight(void **state)
{
	(void)state;
	uint64_t ops[100];
	for (int i = 0; i < 100; i++)
		ops[i] = ask("slow", i % 2 ? "{\"query\":\"a\"}" : "{\"query\":\"b\"}");
	const struct retrieved *even = chunks_of(ops[0]), *odd = chunks_of(ops[1]);
	assert_ptr_not_equal(even, odd);
	for (int i = 2; i < 100; i++)
		assert_ptr_equal(chunks_of(ops[i]), i % 2 ? odd : even);
	assert_string_equal(first_text(ask("live", "{}")), "run 3");
}

static void test_errors(void **state)
{
	(void)state;
	uint64_t one = ask("slow_bad", "{}"), two = ask("slow_bad", "{}");
	assert_non_null(strstr(got(one)->error, "no such table"));
	assert_non_null(strstr(got(two)->error, "no such table"));
	assert_int_equal(got(one)->head.status, RT_EIO);
	assert_non_null(strstr(got(ask("bad", "{}"))->error, "index is broken"));
	assert_non_null(got(ask("bad", "{}"))->error); /* tried again */
	assert_string_equal(first_text(ask("bad", "{\"ok\":true}")), "fine");
	assert_non_null(got(ask("no_list", "{}"))->error);
	assert_null(got(ask("no_list", "{}"))->retrieved);
}

static void test_top_k(void **state)
{
	(void)state;
	const struct retrieved *r = chunks_of(ask("many", "{}"));
	assert_int_equal(r->chunks_count, 3);
	assert_string_equal(r->chunks[2].content.p, "c");
	assert_int_equal(chunks_of(ask("nothing", "{}"))->chunks_count, 0);
}

static void test_deadline_and_cancel(void **state)
{
	(void)state;
	offline_config.delay_ms_max = 0;
	offline_config.lost_permille = 1000;
	fixture_restart();
	uint64_t start_ns = sim_now_ns(fixture.sim);
	struct actor_ref client = rt_spawn(LOOP, &token_class, NULL);
	uint64_t gone = ask_until("slow", "{}", in_ms(5000), client),
		 hurried = ask_until("slow", "{}", in_ms(50), ACTOR_NONE);
	uint64_t patient = ask("slow", "{}");
	rt_send(LOOP, client, rt_msg_new(LOOP, MSG_KIND(CLASS_TEST, 1)));
	assert_int_equal(wait_for(gone)->kind, RT_CANCELLED);
	assert_int_equal(wait_for(hurried)->kind, RT_DEADLINE);
	assert_non_null(strstr(got(patient)->error, "deadline"));
	assert_in_range(sim_now_ns(fixture.sim) - start_ns, 9900000000, 10200000000);
}

/* What a run read changes before its end, each time: who came meanwhile gets one more run, together. */
static void test_joiners_share_the_next_run(void **state)
{
	(void)state;
	uint64_t ops[9], asked_us = loop_wall_us(LOOP);
	push("p", "u1", "0", loop_wall_us(LOOP));
	ops[0] = ask("over_p", "{}");
	run_ms(1);
	for (size_t i = 1; i < ARRAY_LEN(ops); i++)
		ops[i] = ask("over_p", "{}");
	for (int ms = 0; ms < 2000 && answer_to(ops[ARRAY_LEN(ops) - 1]) == NULL; ms++) {
		push("p", "u1", "1", loop_wall_us(LOOP));
		run_ms(1);
	}
	assert_string_equal(first_text(ops[0]), "run 1");
	for (size_t i = 1; i < ARRAY_LEN(ops); i++)
		assert_string_equal(first_text(ops[i]), "run 2");
	assert_true(chunks_of(ops[1])->made_at_us > (int64_t)asked_us);
	run_ms(20);
	assert_string_equal(first_text(ask("over_p", "{}")), "run 3"); /* it was of a moment that is over */
}

/* Nobody knows what SQL over the ledger has read: any write that was acknowledged meanwhile may be missing in it. */
static void test_joiners_of_sql_over_the_ledger(void **state)
{
	(void)state;
	offline_config.delay_ms_max = 2000;
	fixture_restart();
	uint64_t first = ask("over_ledger", "{}");
	run_ms(1);
	assert_null(answer_to(first));
	uint32_t p = feature("p");
	struct write *w = write_new(shared.definitions->features[p].entity, STR("anyone"), 1);
	w->cells[w->count++] = (struct write_cell){ .feature = p, .value = value_create(STR("1")) };
	assert_int_equal(wait_for(rt_ask(&probe->base, rt_named(LOOP, NAME_WRITER),
					 &writer_write_new(LOOP, WRITER_PUT, w)->head, in_ms(1000), ACTOR_NONE))
			     ->status,
			 RT_OK);
	assert_null(answer_to(first));
	uint64_t late = ask("over_ledger", "{}");
	assert_string_equal(first_text(first), "run 1");
	assert_string_equal(first_text(late), "run 2");
	assert_string_equal(first_text(ask("over_ledger", "{}")), "run 2"); /* kept, as cache_ttl says */
}

static void test_bound(void **state)
{
	(void)state;
	char args[32];
	uint64_t first = ask("kept", "{\"query\":\"first\"}"), last = 0;
	for (int i = 0; i < 4200; i++) { /* more than are kept */
		snprintf(args, sizeof args, "{\"query\":%d}", i);
		last = ask("kept", args);
		if (i % 64 == 0)
			wait_for(last);
	}
	wait_for(last);
	assert_ptr_equal(chunks_of(ask("kept", args)), chunks_of(last));
	assert_ptr_not_equal(chunks_of(ask("kept", "{\"query\":\"first\"}")), chunks_of(first));
}

static void test_the_end_of_a_retriever(void **state)
{
	(void)state;
	uint64_t one = ask("slow", "{}"), two = ask("slow", "{}");
	uint32_t index = definitions_retriever(shared.definitions, STR("slow"));
	rt_send(LOOP, node_retriever(NL, index), rt_msg_new(LOOP, RT_STOP));
	assert_int_equal(wait_for(one)->kind, RT_DOWN);
	assert_int_equal(wait_for(two)->kind, RT_DOWN);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
		T(test_cache),
		T(test_single_flight),
		T(test_errors),
		T(test_top_k),
		T(test_deadline_and_cancel),
		T(test_joiners_share_the_next_run),
		T(test_joiners_of_sql_over_the_ledger),
		T(test_bound),
		T(test_the_end_of_a_retriever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
