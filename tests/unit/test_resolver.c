/* Feature values: where each comes from, how often it is computed, what is written and when others see it. */
#include "actors/resolver.h"
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'tier', entity = User, ttl = '1s', compute = function(id) return 'tier of ' .. id end }\n"
    "fabra.feature { name = 'stamp', entity = User, ttl = '5s', refresh = '400ms', compute = function() return fabra.now() end }\n"
    "fabra.feature { name = 'slow', entity = User, ttl = '1h', compute = function(id)\n"
    "  return fabra.await(fabra.sql('SELECT slow', { id }))[1].n end }\n"
    "fabra.feature { name = 'each', entity = User, compute = function() fabra.await(fabra.sql('SELECT slow', {})) return 1 end }\n"
    "fabra.feature { name = 'bad', entity = User, ttl = '1s', compute = function() error('broken on purpose') end }\n"
    "fabra.feature { name = 'bad_default', entity = User, ttl = '1s', default = 'fallback', compute = function() error('x') end }\n"
    "fabra.feature { name = 'nothing', entity = User, ttl = '1s', compute = function() end }\n"
    "fabra.feature { name = 'nothing_null', entity = User, ttl = '1s', default = fabra.null, compute = function() end }\n"
    "fabra.feature { name = 'pushed', entity = User }\n"
    "fabra.feature { name = 'pushed_default', entity = User, default = { 1 } }\n"
    "fabra.feature { name = 'tickets', entity = User, ttl = '1s', sql = 'SELECT user_id, 3 AS tickets FROM t' }\n"
    "fabra.feature { name = 'no_rows', entity = User, sql = 'SELECT user_id, no_rows FROM empty' }\n"
    "fabra.feature { name = 'busy_sql', entity = User, sql = 'SELECT busy' }\n"
    "fabra.feature { name = 'bad_sql', entity = User, sql = 'SELECT wrong' }\n"
    "fabra.feature { name = 'several', entity = User, sql = 'SELECT user_id, several' }\n"
    "fabra.feature { name = 'large', entity = User, ttl = '1h', sql = 'SELECT user_id, large' }\n"
    "fabra.feature { name = 'event', entity = User, trigger = 'e', compute = function() return 1 end }\n"
    "fabra.feature { name = 'itself', entity = User, ttl = '1s', compute = function(id)\n"
    "  return fabra.await(fabra.feature_value('itself', id)) end }\n"
    "local function feature(name, compute) fabra.feature { name = name, entity = User, ttl = '1s', compute = compute } end\n"
    "for name, next in pairs { ring_a = 'ring_b', ring_b = 'ring_c', ring_c = 'ring_a' } do\n"
    "  feature(name, function(id) return fabra.await(fabra.feature_value(next, id)) end) end\n"
    "fabra.feature { name = 'grows', entity = User, ttl = '1h', refresh = '1s', compute = function(id)\n"
    "  return fabra.await(fabra.feature_value('over_grows', id)) + 1 end }\n"
    "fabra.feature { name = 'over_grows', entity = User, compute = function(id)\n"
    "  return fabra.await(fabra.feature_value('grows', id)) end }\n"
    "for i = 0, 13 do feature('l' .. i, function(id) return fabra.await(fabra.feature_value('l' .. (i + 1) % 14, id)) end) end\n"
    "feature('in_set', function(id) return fabra.await(fabra.features(User, id, { 'pushed', 'in_set' })) end)\n"
    "feature('ring_r', function(id) return fabra.await(fabra.retrieve('around', { id = id }))[1].content end)\n"
    "fabra.retriever { name = 'around', run = function(args) return { fabra.await(fabra.feature_value('ring_r', args.id)) } end }\n"
    "feature('tree', function(id) local n = tonumber(id) if n == 0 then return 0 end\n"
    "  return n + fabra.await(fabra.feature_value('tree', n - 1)) end)\n"
    "feature('left', function(id) return fabra.await(fabra.feature_value('tier', id)) end)\n"
    "feature('right', function(id) return fabra.await(fabra.feature_value('tier', id)) end)\n"
    "feature('diamond', function(id) local l, r = fabra.all(fabra.feature_value('left', id), fabra.feature_value('right', id))\n"
    "  return l .. r end)\n"
    "feature('tried', function(id) return (select(2, fabra.try(fabra.feature_value('tried', id)))) end)\n";

#define TICKETS                                                                                                        \
	"[{\"user_id\":\"u'1\",\"tickets\":3},{\"user_id\":\"u0\",\"tickets\":1},{\"user_id\":\"u1\",\"tickets\":2},"  \
	"{\"user_id\":7,\"tickets\":null}]"
static char large_rows[2 << 20]; /* of ids l0 to l9, each with a value of LARGE bytes */
enum { LARGE_IDS = 10, LARGE = 150000 };

static struct offline_fake_answer answers[] = {
	{ "SELECT slow", "[{\"n\":42}]", RT_OK },
	{ "SELECT user_id, 3 AS tickets FROM t", TICKETS, RT_OK },
	{ "SELECT user_id, several",
	  "[{\"user_id\":\"u1\",\"several\":1},{\"user_id\":\"u2\",\"several\":2},{\"user_id\":\"u1\",\"several\":1}]",
	  RT_OK },
	{ "SELECT user_id, large", large_rows, RT_OK },
	{ "SELECT wrong", "no such column", RT_EINVAL },
	{ "SELECT busy", "too many queries", RT_EFULL },
};

static int setup(void **state)
{
	fixture_setup(state);
	offline_config.answers = answers;
	offline_config.answers_count = ARRAY_LEN(answers);
	fixture_restart();
	return 0;
}

static void test_online(void **state)
{
	(void)state;
	push("pushed", "u1", "{\"k\":1}", 123);
	const struct feature_result *r = get_feature("pushed", "u1");
	assert_value(r, RECORD_CACHE, "{\"k\":1}");
	assert_int_equal(r->as_of_us, 123);
	push("tier", "u1", "\"pushed over\"", loop_wall_us(LOOP));
	assert_value(get_feature("tier", "u1"), RECORD_CACHE, "\"pushed over\"");
	run_ms(10);
	assert_int_equal(ledger_fake_count(ledger), 0); /* reading writes nothing */
}

static void test_computed_then_served(void **state)
{
	(void)state;
	ledger_config.delay_ms_max = 0;
	fixture_restart();
	const struct feature_result *r = get_feature("tier", "u1");
	assert_value(r, RECORD_COMPUTE, "\"tier of u1\"");
	run_ms(10);
	assert_int_equal(written("tier"), 1);
	assert_true(is_online("tier", "u1"));
	const struct feature_result *again = get_feature("tier", "u1");
	assert_value(again, RECORD_CACHE, "\"tier of u1\"");
	assert_int_equal(again->as_of_us, r->as_of_us);
	assert_value(get_feature("tier", "u2"), RECORD_COMPUTE, "\"tier of u2\"");
	run_ms(10);
	assert_int_equal(written("tier"), 2);
}

/* Nobody waits for the commit, yet nothing is in the table that other loops see before it. */
static void test_visible_once_durable(void **state)
{
	(void)state;
	ledger_config.lose_entry_permille = 1000;
	fixture_restart();
	assert_value(get_feature("tier", "u1"), RECORD_COMPUTE, "\"tier of u1\"");
	assert_value(get_feature("tier", "u1"), RECORD_CACHE, "\"tier of u1\""); /* from the flight */
	run_ms(500);
	assert_false(is_online("tier", "u1"));
	assert_int_equal(written("tier"), 0);
	run_ms(600);
	assert_value(get_feature("tier", "u1"), RECORD_COMPUTE, "\"tier of u1\""); /* its ttl is over, wherever it is */
	assert_value(get_feature("slow", "u1"), RECORD_COMPUTE, "42");
	run_ms(40000); /* the ledger never answers: after half a minute the value is used all the same */
	assert_true(is_online("slow", "u1"));
	ledger_config.lose_entry_permille = 0;
	ledger_config.lose_answer_permille = 1000; /* durable, and the answer is lost: the table has it all the same */
	fixture_restart();
	assert_value(get_feature("tier", "u1"), RECORD_COMPUTE, "\"tier of u1\"");
	run_ms(10);
	assert_int_equal(written("tier"), 1);
	assert_true(is_online("tier", "u1"));
}

static void test_ledger_refuses(void **state)
{
	(void)state;
	ledger_config.refuse_permille = 1000;
	fixture_restart();
	assert_value(get_feature("slow", "u1"), RECORD_COMPUTE, "42");
	run_ms(10);
	assert_int_equal(ledger_fake_count(ledger), 0);
	assert_true(is_online("slow", "u1"));
	assert_value(get_feature("slow", "u1"), RECORD_CACHE, "42");
}

static void test_single_flight(void **state)
{
	(void)state;
	uint64_t ops[100];
	for (int i = 0; i < 100; i++)
		ops[i] = ask_feature("slow", "u1");
	uint64_t other = ask_feature("slow", "u2");
	for (int i = 0; i < 100; i++)
		assert_value(result_of(ops[i]), RECORD_COMPUTE, "42");
	assert_value(result_of(other), RECORD_COMPUTE, "42");
	run_ms(10);
	assert_int_equal(written("slow"), 2);
}

static void test_computed_at_each_read(void **state)
{
	(void)state;
	uint64_t first = ask_feature("each", "u1"), joined = ask_feature("each", "u1");
	assert_value(result_of(first), RECORD_COMPUTE, "1");
	assert_value(result_of(joined), RECORD_COMPUTE, "1");
	run_ms(10);
	assert_int_equal(written("each"), 1); /* those at the same time share a run */
	assert_value(get_feature("each", "u1"), RECORD_COMPUTE, "1");
	run_ms(10);
	assert_int_equal(written("each"), 2);
	assert_false(is_online("each", "u1"));
}

static void test_ttl(void **state)
{
	(void)state;
	int64_t first_us = get_feature("tier", "u1")->as_of_us;
	run_ms(990);
	assert_value(get_feature("tier", "u1"), RECORD_CACHE, "\"tier of u1\"");
	run_ms(20);
	const struct feature_result *r = get_feature("tier", "u1");
	assert_value(r, RECORD_COMPUTE, "\"tier of u1\"");
	assert_true(r->as_of_us >= first_us + 1000000);
}

static void test_refresh_on_read(void **state)
{
	(void)state;
	int64_t first_us = get_feature("stamp", "u1")->as_of_us;
	run_ms(3000);
	assert_int_equal(written("stamp"), 1); /* nobody read it: nobody renews it */
	uint64_t ops[3];
	for (int i = 0; i < 3; i++)
		ops[i] = ask_feature("stamp", "u1");
	for (int i = 0; i < 3; i++) { /* nobody waits for the new one */
		assert_int_equal(result_of(ops[i])->source, RECORD_CACHE);
		assert_int_equal(result_of(ops[i])->as_of_us, first_us);
	}
	run_ms(50);
	assert_int_equal(written("stamp"), 2);
	const struct feature_result *r = get_feature("stamp", "u1");
	assert_int_equal(r->source, RECORD_CACHE);
	assert_true(r->as_of_us >= first_us + 3000000);
}

static void test_refresh_when_told(void **state)
{
	(void)state;
	get_feature("stamp", "u1");
	uint32_t features[2] = { feature("stamp"), feature("pushed") };
	struct str id = STR("u1");
	run_ms(10);
	struct feature_request *r = feature_request_new(0, &id, 1, features, 2);
	rt_send(LOOP, node_resolver(NL, 0), &resolver_get_new(LOOP, RESOLVER_REFRESH, r)->head);
	run_ms(10);
	assert_int_equal(written("stamp"), 2);
}

/* A table that has values, and no memory to give them. */
static size_t see_without_memory(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n,
				 int64_t now_us, struct online_cell *ret, struct online_trace *ret_traces)
{
	online_see(t, kind, id, features, n, now_us, ret, ret_traces);
	for (size_t i = 0; i < n; i++) {
		ret[i].is_lost = ret[i].value != NULL;
		value_unref(ret[i].value);
		ret[i].value = NULL;
	}
	return 0;
}

static void test_what_cannot_be_read_is_not_absent(void **state)
{
	(void)state;
	const struct online_fast *whole = fixture.stores.online.fast;
	struct online_fast failing = *whole;
	failing.see = see_without_memory;
	push("pushed", "u1", "1", loop_wall_us(LOOP));
	push("pushed_default", "u1", "2", loop_wall_us(LOOP));
	fixture.stores.online.fast = &failing;
	const struct feature_result *r = get_feature("pushed", "u1");
	assert_int_equal(r->state, FEATURE_FAILED);
	assert_string_equal(r->reason.p, "out of memory");
	r = get_feature("pushed_default", "u1");
	assert_value(r, RECORD_FALLBACK, "[1]");
	assert_int_equal(r->failure, FEATURE_FAILED);
	assert_int_equal(get_feature("pushed", "u2")->state, FEATURE_MISSING);
	struct feature_result at_once;
	resolver_answer_at_once(&fixture.node, feature("pushed"), STR("u1"), loop_wall_us(LOOP), FEATURE_TIMEOUT,
				&at_once);
	assert_int_equal(at_once.state, FEATURE_FAILED);
	fixture.stores.online.fast = whole;
	assert_value(get_feature("pushed", "u1"), RECORD_CACHE, "1");
}

static void test_without_value(void **state)
{
	(void)state;
	const struct feature_result *r = get_feature("bad", "u1");
	assert_int_equal(r->state, FEATURE_FAILED);
	assert_non_null(strstr(r->reason.p, "broken on purpose"));
	assert_value(get_feature("bad_default", "u1"), RECORD_FALLBACK, "\"fallback\"");
	assert_int_equal(get_feature("nothing", "u1")->state, FEATURE_MISSING);
	assert_value(get_feature("nothing_null", "u1"), RECORD_FALLBACK, "null");
	assert_int_equal(get_feature("pushed", "u1")->state, FEATURE_MISSING);
	assert_value(get_feature("pushed_default", "u1"), RECORD_FALLBACK, "[1]");
	assert_int_equal(get_feature("event", "u1")->state, FEATURE_MISSING); /* only events compute it */
	run_ms(10);
	assert_int_equal(ledger_fake_count(ledger), 0);
}

static void test_sql_on_demand(void **state)
{
	(void)state;
	assert_value(get_feature("tickets", "u'1"), RECORD_COMPUTE, "3");
	run_ms(10);
	assert_value(get_feature("tickets", "u'1"), RECORD_CACHE, "3");
	assert_int_equal(get_feature("no_rows", "u1")->state, FEATURE_MISSING);
	const struct feature_result *r = get_feature("bad_sql", "u1");
	assert_int_equal(r->state, FEATURE_FAILED);
	assert_string_equal(r->reason.p, "no such column");
	assert_value(get_feature("tickets", "7"), RECORD_COMPUTE, "null"); /* a row without a value, not no row */
	assert_int_equal(get_feature("tickets", "07")->state, FEATURE_MISSING);
}

static const struct feature_request *get_ids(const char *name, const struct str *ids, uint32_t count)
{
	uint32_t f = feature(name);
	struct feature_request *r = feature_request_new(0, ids, count, &f, 1);
	uint64_t op = rt_ask(&probe->base, node_resolver(NL, 0), &resolver_get_new(LOOP, RESOLVER_GET, r)->head,
			     in_ms(60000), ACTOR_NONE);
	return ((struct resolver_get *)wait_for(op))->request;
}

/* All ids of a turn are one statement, and each has its own answer. */
static void test_sql_of_many_ids(void **state)
{
	(void)state;
	static size_t questions;
	const struct str ids[] = { STR("u0"), STR("u1"), STR("u2"), STR("u0"), STR("u'1") };
	offline_config.questions = &questions;
	fixture_restart();
	questions = 0;
	const struct feature_request *got = get_ids("tickets", ids, ARRAY_LEN(ids));
	assert_int_equal(questions, 1);
	assert_value(&got->results[0], RECORD_COMPUTE, "1");
	assert_value(&got->results[1], RECORD_COMPUTE, "2");
	assert_int_equal(got->results[2].state, FEATURE_MISSING);
	assert_value(&got->results[3], RECORD_COMPUTE, "1");
	assert_value(&got->results[4], RECORD_COMPUTE, "3");
	run_ms(10);
	assert_int_equal(written("tickets"), 3);
	/* An answer that would be too large comes in parts. */
	offline_config.ids_max = 1;
	fixture_restart();
	questions = 0;
	got = get_ids("tickets", ids, ARRAY_LEN(ids));
	assert_int_equal(questions, 7); /* 4, 2, 1, 1, 2, 1, 1 */
	assert_value(&got->results[1], RECORD_COMPUTE, "2");
	assert_int_equal(got->results[2].state, FEATURE_MISSING);
	offline_config.questions = NULL;
}

/* Several rows are no value, neither the first nor the last, also when they say the same. The others have theirs. */
static void test_several_rows_of_an_id(void **state)
{
	(void)state;
	const struct str ids[] = { STR("u1"), STR("u2") };
	const struct feature_request *got = get_ids("several", ids, 2);
	assert_int_equal(got->results[0].state, FEATURE_FAILED);
	assert_string_equal(got->results[0].reason.p,
			    "several rows for user_id 'u1'; aggregate, or select one of them");
	assert_value(&got->results[1], RECORD_COMPUTE, "2");
}

/* Without ttl nothing but the statement answers, whatever the table has, for instance from before a restart. */
static void test_sql_without_ttl_is_never_from_memory(void **state)
{
	(void)state;
	push("several", "u2", "\"old\"", loop_wall_us(LOOP));
	push("each", "u2", "\"old\"", loop_wall_us(LOOP));
	assert_value(get_feature("several", "u2"), RECORD_COMPUTE, "2");
	assert_value(get_feature("each", "u2"), RECORD_COMPUTE, "1");
}

/* What lands together is handed over in entries that the ledger takes. */
static void test_entries_are_cut_by_bytes(void **state)
{
	(void)state;
	struct buf rows = { 0 };
	char texts[LARGE_IDS][4];
	struct str ids[LARGE_IDS];
	for (int i = 0; i < LARGE_IDS; i++) {
		ids[i] = str_of(texts[i], (size_t)snprintf(texts[i], sizeof texts[i], "l%d", i));
		buf_printf(&rows, "%s{\"user_id\":\"l%d\",\"large\":\"%0*d\"}", i ? "," : "[", i, LARGE, i);
	}
	buf_append_lit(&rows, "]\0");
	assert_true(rows.n < sizeof large_rows);
	memcpy(large_rows, rows.p, rows.n);
	buf_finish(&rows);
	const struct feature_request *got = get_ids("large", ids, LARGE_IDS);
	for (int i = 0; i < LARGE_IDS; i++)
		assert_int_equal(got->results[i].state, FEATURE_FOUND);
	run_ms(10);
	assert_int_equal(written("large"), LARGE_IDS);
	assert_int_equal(entries_of(EVIDENCE_VALUES), 2);
	for (size_t i = 0; i < ledger_fake_count(ledger); i++)
		assert_true(ledger_fake_at(ledger, i)->body.n <= (1 << 20));
}

static void test_many_at_once(void **state)
{
	(void)state;
	struct str ids[] = { STR("a"), STR("b"), STR("c") };
	uint32_t features[] = { feature("tier"), feature("pushed"), feature("slow"), feature("tier") };
	push("pushed", "b", "true", 1);
	struct feature_request *r = feature_request_new(0, ids, 3, features, 4);
	uint64_t op = rt_ask(&probe->base, node_resolver(NL, 0), &resolver_get_new(LOOP, RESOLVER_GET, r)->head,
			     in_ms(1000), ACTOR_NONE);
	const struct feature_request *got = ((struct resolver_get *)wait_for(op))->request;
	assert_value(feature_request_result(got, 2, 0), RECORD_COMPUTE, "\"tier of c\"");
	assert_int_equal(feature_request_result(got, 0, 1)->state, FEATURE_MISSING);
	assert_value(feature_request_result(got, 1, 1), RECORD_CACHE, "true");
	assert_value(feature_request_result(got, 1, 2), RECORD_COMPUTE, "42");
	assert_value(feature_request_result(got, 0, 3), RECORD_COMPUTE, "\"tier of a\"");
	run_ms(10);
	assert_int_equal(written("tier"), 3);
	struct feature_request *none = feature_request_new(0, NULL, 0, NULL, 0);
	op = rt_ask(&probe->base, node_resolver(NL, 0), &resolver_get_new(LOOP, RESOLVER_GET, none)->head, in_ms(1000),
		    ACTOR_NONE);
	assert_int_equal(wait_for(op)->kind, RESOLVER_GOT);
}

enum { IDS = 9000 };

static void ask_for_many(const char *name)
{
	static char texts[IDS][8];
	static struct str ids[IDS];
	uint32_t features[] = { feature(name) }, counts[FEATURE_REFUSED + 1] = { 0 };
	for (uint32_t i = 0; i < IDS; i++)
		ids[i] = str_of(texts[i], (size_t)snprintf(texts[i], sizeof texts[i], "u%u", i));
	struct feature_request *r = feature_request_new(0, ids, IDS, features, 1);
	uint64_t op = rt_ask(&probe->base, node_resolver(NL, 0), &resolver_get_new(LOOP, RESOLVER_GET, r)->head,
			     in_ms(60000), ACTOR_NONE);
	const struct feature_request *got = ((struct resolver_get *)wait_for(op))->request;
	for (uint32_t i = 0; i < IDS; i++)
		counts[got->results[i].state]++;
	assert_true(counts[FEATURE_FOUND] > 0 && counts[FEATURE_REFUSED] > 0);
	assert_int_equal(counts[FEATURE_FOUND] + counts[FEATURE_MISSING] + counts[FEATURE_REFUSED], IDS);
	assert_non_null(got->results[IDS - 1].reason.p);
}

/* More ids than may be computed at once: those beyond are refused, so that their askers may try again, and nobody fails. */
static void test_too_many_at_once(void **state)
{
	(void)state;
	ask_for_many("tier"); /* more than the resolver takes */
	run_ms(1000);         /* until it has written them */
	ask_for_many("tickets");
	assert_int_equal(get_feature("busy_sql", "u1")->state, FEATURE_REFUSED);
}

static void test_deadlines(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	fixture_restart();
	uint64_t start_ns = sim_now_ns(fixture.sim);
	uint64_t hurried = ask_feature_until("slow", "u1", in_ms(100), ACTOR_NONE);
	uint64_t patient = ask_feature("slow", "u1");
	assert_int_equal(wait_for(hurried)->kind, RT_DEADLINE);
	assert_in_range(sim_now_ns(fixture.sim) - start_ns, 99000000, 110000000);
	const struct feature_result *r = result_of(patient); /* the first asker's hurry is not the flight's */
	assert_int_equal(r->state, FEATURE_TIMEOUT);
	assert_non_null(strstr(r->reason.p, "deadline"));
	assert_in_range(sim_now_ns(fixture.sim) - start_ns, 9900000000, 10200000000);
}

/* At once, and with the path: nobody waits for a deadline that is an hour away. */
static void assert_circle(const char *name, const char *path)
{
	int64_t before_us = loop_wall_us(LOOP);
	const struct feature_result *r = result_of(ask_feature_until(name, "u1", in_ms(3600000), ACTOR_NONE));
	assert_int_equal(r->state, FEATURE_FAILED);
	if (memmem(r->reason.p, r->reason.n, path, strlen(path)) == NULL)
		fail_msg("'%.*s' does not say '%s'", STR_ARG(r->reason), path);
	assert_true(loop_wall_us(LOOP) - before_us < 1000000);
}

static void test_circles(void **state)
{
	(void)state;
	assert_circle("itself", "'itself' waits for itself: itself -> itself");
	assert_circle("ring_a", "'ring_c' waits for itself: ring_c -> ring_a -> ring_b -> ring_c");
	assert_circle("ring_b", "'ring_a' waits for itself: ring_a -> ring_b -> ring_c -> ring_a");
	assert_circle("in_set", "'in_set' waits for itself: in_set -> in_set");
	assert_circle("ring_r", "'around' waits for itself: around -> ring_r -> around");
	assert_circle("l0", "'l13' waits for itself: l13 -> l0 -> (2 more) -> l3 -> l4");
	/* Begun at two places at once, each waits for what the other has begun. */
	uint64_t a = ask_feature_until("ring_a", "u2", in_ms(3600000), ACTOR_NONE);
	uint64_t b = ask_feature_until("ring_b", "u2", in_ms(3600000), ACTOR_NONE);
	int64_t before_us = loop_wall_us(LOOP);
	assert_int_equal(result_of(a)->state, FEATURE_FAILED);
	assert_int_equal(result_of(b)->state, FEATURE_FAILED);
	assert_true(loop_wall_us(LOOP) - before_us < 1000000);
	/* The same function for another id, and two that ask for the same third, are no circle. */
	assert_value(get_feature("tree", "3"), RECORD_COMPUTE, "6");
	assert_value(get_feature("diamond", "u1"), RECORD_COMPUTE, "\"tier of u1tier of u1\"");
	/* A circle can be tried. */
	assert_value(get_feature("tried", "u1"), RECORD_COMPUTE, "\"'tried' waits for itself: tried -> tried\"");
}

/* A value that is served while it is renewed makes nobody wait, and so closes no circle. */
static void test_a_live_value_closes_no_circle(void **state)
{
	(void)state;
	assert_int_equal(get_feature("grows", "u1")->state, FEATURE_FAILED); /* without one it waits for itself */
	push("grows", "u1", "1", loop_wall_us(LOOP));
	run_ms(1200);
	assert_value(get_feature("grows", "u1"), RECORD_CACHE, "1"); /* renewed in the background */
	run_ms(100);
	assert_value(get_feature("grows", "u1"), RECORD_CACHE, "2");
}

static void test_cancel(void **state)
{
	(void)state;
	struct actor_ref client = rt_spawn(LOOP, &token_class, NULL);
	uint64_t gone = ask_feature_until("slow", "u1", in_ms(1000), client);
	uint64_t stays = ask_feature("slow", "u1");
	rt_send(LOOP, client, rt_msg_new(LOOP, MSG_KIND(CLASS_TEST, 1)));
	assert_int_equal(wait_for(gone)->kind, RT_CANCELLED);
	assert_value(result_of(stays), RECORD_COMPUTE, "42"); /* the run was everybody's */
}

static void test_the_end_of_a_resolver(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000; /* it is under way when its resolver ends, whatever the seed */
	fixture_restart();
	get_feature("tier", "u1");
	uint64_t flying = ask_feature("slow", "u1"), two = ask_feature("slow", "u1");
	rt_send(LOOP, node_resolver(NL, 0), rt_msg_new(LOOP, RT_STOP));
	assert_int_equal(wait_for(flying)->kind, RT_DOWN);
	assert_int_equal(wait_for(two)->kind, RT_DOWN);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
		T(test_online),
		T(test_computed_then_served),
		T(test_visible_once_durable),
		T(test_ledger_refuses),
		T(test_single_flight),
		T(test_computed_at_each_read),
		T(test_ttl),
		T(test_refresh_on_read),
		T(test_refresh_when_told),
		T(test_without_value),
		T(test_what_cannot_be_read_is_not_absent),
		T(test_sql_on_demand),
		T(test_sql_of_many_ids),
		T(test_several_rows_of_an_id),
		T(test_sql_without_ttl_is_never_from_memory),
		T(test_entries_are_cut_by_bytes),
		T(test_many_at_once),
		T(test_too_many_at_once),
		T(test_deadlines),
		T(test_circles),
		T(test_a_live_value_closes_no_circle),
		T(test_cancel),
		T(test_the_end_of_a_resolver),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
