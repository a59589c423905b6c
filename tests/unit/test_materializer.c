/* SQL features: everything at the start, again every refresh, in batches, durable before visible. */
#include "actors/materializer.h"
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'buys', entity = User, materialize = true, refresh = '10s', sql = 'SELECT user_id, buys FROM p' }\n"
    "fabra.feature { name = 'kept', entity = User, materialize = true, refresh = '10s', ttl = '60s', sql = 'SELECT kept' }\n"
    "fabra.feature { name = 'once', entity = User, materialize = true, ttl = '30s', sql = 'SELECT user_id, once FROM q' }\n"
    "fabra.feature { name = 'bad', entity = User, materialize = true, refresh = '1h', sql = 'SELECT wrong' }\n"
    "fabra.table { name = 'p', sql = 'SELECT 1 AS user_id' }\n"
    "fabra.feature { name = 'asked', entity = User, sql = 'SELECT user_id, asked FROM r' }\n";

#define BUYS                                                                                                                               \
	"[{\"user_id\":\"a\",\"buys\":1},{\"user_id\":7,\"buys\":2.0},{\"user_id\":\"c\",\"buys\":null},{\"user_id\":\"d\",\"buys\":[1]}," \
	"{\"user_id\":\"e\",\"buys\":\"x\"}]"
static struct offline_fake_answer answers[] = {
	{ "FROM p", BUYS, RT_OK },
	{ "FROM q", "[{\"user_id\":\"a\",\"once\":true}]", RT_OK },
	{ "SELECT wrong", "no such column", RT_EINVAL },
	{ "SELECT kept", "[{\"user_id\":\"a\",\"kept\":1},{\"user_id\":\"b\",\"kept\":2}]", RT_OK },
};

static void start(void)
{
	fixture_restart();
	rt_supervise(LOOP, NAME_MATERIALIZER, &materializer_class, &fixture.node, 10, 60000);
}

static int setup(void **state)
{
	fixture_setup(state);
	answers[0] = (struct offline_fake_answer){ "FROM p", BUYS, RT_OK };
	answers[2] = (struct offline_fake_answer){ "SELECT wrong", "no such column", RT_EINVAL };
	offline_config.answers = answers;
	offline_config.answers_count = ARRAY_LEN(answers);
	offline_config.batch_rows = 2;
	return 0;
}

static void assert_progress(uint32_t done, uint32_t total)
{
	uint32_t d, t;
	materializer_progress(&fixture.node, &d, &t);
	assert_int_equal(d, done);
	assert_int_equal(t, total);
}

static void test_first_run(void **state)
{
	(void)state;
	start();
	assert_progress(0, 4);
	int64_t before_us = loop_wall_us(LOOP);
	run_ms(200);
	assert_value(get_feature("buys", "a"), RECORD_CACHE, "1");
	assert_value(get_feature("buys", "7"), RECORD_CACHE, "2.0");
	assert_value(get_feature("buys", "c"), RECORD_CACHE, "null");
	assert_value(get_feature("buys", "e"), RECORD_CACHE, "\"x\"");
	assert_value(get_feature("once", "a"), RECORD_CACHE, "true");
	assert_int_equal(get_feature("buys", "z")->state, FEATURE_MISSING);
	assert_progress(3, 4);
	assert_int_equal(entries_of(EVIDENCE_VALUES), 5); /* 2 + 2 + 1 rows, one, and two */
	assert_int_equal(written("buys"), 5);
	/* True when the run began, so that what is written meanwhile is newer. */
	assert_true(get_feature("buys", "a")->as_of_us >= before_us &&
		    get_feature("buys", "a")->as_of_us < before_us + 200000);
	assert_int_equal(get_feature("buys", "a")->as_of_us, get_feature("buys", "e")->as_of_us);
}

/* What the online table does not keep is a failure that says so; it is not tried again sooner. */
static void test_a_value_that_the_table_refuses(void **state)
{
	(void)state;
	char *json = malloc(300100);
	int n = sprintf(json, "[{\"user_id\":\"a\",\"buys\":1},{\"user_id\":\"b\",\"buys\":\"");
	memset(json + n, 'x', 300000);
	strcpy(json + n + 300000, "\"}]");
	answers[0].json = json;
	start();
	metric_id failures = fixture.node.metrics.features[feature("buys")].materialize_failures;
	uint64_t before = metrics_counter_value(failures);
	run_ms(200);
	assert_true(is_online("buys", "a"));
	assert_false(is_online("buys", "b"));
	assert_int_equal(materializer_state(&fixture.node, feature("buys")), MATERIALIZED_FAILING);
	assert_int_equal(metrics_counter_value(failures) - before, 1);
	run_ms(8000);
	assert_int_equal(metrics_counter_value(failures) - before, 1);
	free(json);
}

static void test_refresh(void **state)
{
	(void)state;
	start();
	run_ms(8900); /* a tenth early at most */
	assert_int_equal(written("buys"), 5);
	answers[0].json = "[{\"user_id\":\"a\",\"buys\":9}]";
	run_ms(1600);
	assert_int_equal(written("buys"), 10); /* the new value, and that four have none */
	assert_value(get_feature("buys", "a"), RECORD_CACHE, "9");
	assert_int_equal(get_feature("buys", "e")->state, FEATURE_MISSING);
	run_ms(25000);
	assert_int_equal(written("buys"), 10); /* nothing has changed since */
	assert_int_equal(written("once"), 1);  /* without refresh: once */
	assert_false(is_online("once", "a"));
}

static bool is_awaited(const char *name)
{
	return materializer_is_awaited(&fixture.node, feature(name));
}

/* Who waits until the process is ready finds values: of the first run, or of the last life. */
static void test_first_run_is_awaited(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	fixture_restart();
	push("once", "u", "1", loop_wall_us(LOOP)); /* as the warm start would */
	rt_supervise(LOOP, NAME_MATERIALIZER, &materializer_class, &fixture.node, 10, 60000);
	run_ms(1000);
	assert_true(is_awaited("buys") && is_awaited("kept") && is_awaited("bad"));
	assert_false(is_awaited("once"));
	assert_false(is_awaited("asked")); /* computed when it is read */
	assert_progress(0, 4);
	offline_config.lost_permille = 0;
	start();
	run_ms(200);
	assert_false(is_awaited("buys") || is_awaited("once") || is_awaited("kept"));
	assert_false(is_awaited("bad")); /* it has failed: waiting for it would be for ever */
}

/* What stays the same is as fresh as the last run, but written only when half of its ttl has passed. */
static void test_unchanged_values_are_not_written_again(void **state)
{
	(void)state;
	start();
	run_ms(200);
	assert_int_equal(written("buys"), 5);
	assert_int_equal(written("kept"), 2);
	int64_t as_of_us = get_feature("buys", "a")->as_of_us;
	run_ms(10500);
	assert_int_equal(written("buys"), 5);
	assert_true(get_feature("buys", "a")->as_of_us >= as_of_us + 9000000);
	assert_int_equal(written("kept"), 2);
	for (int i = 0; i < 10; i++) {
		run_ms(10000);
		assert_true(is_online("kept", "a"));
	}
	assert_int_equal(written("buys"), 5);
	assert_in_range(written("kept"), 4, 8); /* 110 s, a ttl of 60 s: every 30 to 40 s, two values each */
}

static void test_several_rows_of_an_id(void **state)
{
	(void)state;
	start();
	run_ms(200);
	answers[0].json =
	    "[{\"user_id\":\"a\",\"buys\":8},{\"user_id\":\"c\",\"buys\":2},{\"user_id\":\"c\",\"buys\":3}]";
	run_ms(10500);
	assert_int_equal(materializer_state(&fixture.node, feature("buys")), MATERIALIZED_FAILING);
	assert_value(get_feature("buys", "a"), RECORD_CACHE, "1"); /* nothing of such a run */
	assert_value(get_feature("buys", "c"), RECORD_CACHE, "null");
	assert_value(get_feature("buys", "e"), RECORD_CACHE, "\"x\"");
	assert_int_equal(written("buys"), 5);
	answers[0].json = "[{\"user_id\":\"a\",\"buys\":8}]";
	run_ms(10500);
	assert_int_equal(materializer_state(&fixture.node, feature("buys")), MATERIALIZED_DONE);
	assert_value(get_feature("buys", "a"), RECORD_CACHE, "8");
	assert_int_equal(get_feature("buys", "c")->state, FEATURE_MISSING);
}

/* An entry may be durable though nobody said so. Then the history is ahead of the table, and the next run writes
 * everything: else a restart would bring back what that entry says. */
static void test_an_append_without_an_answer(void **state)
{
	(void)state;
	start();
	run_ms(200);
	ledger_config.lose_answer_permille = 1000;
	ledger_fake_set(ledger, &ledger_config);
	answers[0].json = "[{\"user_id\":\"a\",\"buys\":9}]";
	run_ms(10500);
	ledger_config.lose_answer_permille = 0;
	ledger_fake_set(ledger, &ledger_config);
	assert_value(get_feature("buys", "a"), RECORD_CACHE, "9"); /* durable, though nobody has said so */
	answers[0].json = BUYS;
	run_ms(50000);
	assert_value(get_feature("buys", "a"), RECORD_CACHE, "1");
	assert_int_equal(written("buys"), 5 + 1 + 5);
}

static void test_query_fails(void **state)
{
	(void)state;
	start();
	run_ms(200);
	assert_progress(3, 4);
	assert_int_equal(materializer_state(&fixture.node, feature("bad")), MATERIALIZED_FAILING);
	assert_int_equal(materializer_state(&fixture.node, feature("buys")), MATERIALIZED_DONE);
	answers[2] = (struct offline_fake_answer){ "SELECT wrong", "[{\"user_id\":\"a\",\"bad\":1}]", RT_OK };
	run_ms(5000); /* until it has been there once, it is tried again soon */
	assert_progress(4, 4);
	assert_value(get_feature("bad", "a"), RECORD_CACHE, "1");
}

/* Over old rows a run would say that they are as new as itself. */
static void test_a_table_that_cannot_be_loaded(void **state)
{
	(void)state;
	start();
	run_ms(200);
	int64_t as_of_us = get_feature("buys", "a")->as_of_us, kept_us = get_feature("kept", "a")->as_of_us;
	atomic_store(&fixture.node.metrics.tables_stale_since_us[0], 1);
	run_ms(30000);
	assert_int_equal(get_feature("buys", "a")->as_of_us, as_of_us);
	assert_int_equal(materializer_state(&fixture.node, feature("buys")), MATERIALIZED_FAILING);
	assert_true(get_feature("kept", "a")->as_of_us > kept_us); /* another table's */
	assert_int_equal(materializer_state(&fixture.node, feature("kept")), MATERIALIZED_DONE);
	atomic_store(&fixture.node.metrics.tables_stale_since_us[0], 0);
	run_ms(10500);
	assert_int_equal(materializer_state(&fixture.node, feature("buys")), MATERIALIZED_DONE);
	assert_true(get_feature("buys", "a")->as_of_us > as_of_us + 30000000);
}

static void test_ledger_fails(void **state)
{
	(void)state;
	ledger_config.refuse_permille = 1000;
	start();
	run_ms(200);
	assert_false(is_online("buys", "a")); /* not durable: not visible */
	assert_progress(0, 4);
	ledger_config.refuse_permille = 0;
	ledger_fake_set(ledger, &ledger_config);
	run_ms(6000);
	assert_true(is_online("buys", "a"));
	assert_progress(3, 4);
}

static void test_no_answer(void **state)
{
	(void)state;
	offline_config.lost_permille = 1000;
	start();
	run_ms(1000);
	assert_progress(0, 4);
	run_ms(400000); /* longer than a query may take */
	assert_progress(0, 4);
}

static void test_newer_value_stays(void **state)
{
	(void)state;
	start();
	push("buys", "a", "\"pushed later\"", loop_wall_us(LOOP) + 60000000);
	run_ms(200);
	assert_value(get_feature("buys", "a"), RECORD_CACHE, "\"pushed later\"");
	assert_value(get_feature("buys", "7"), RECORD_CACHE, "2.0");
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
		T(test_first_run),
		T(test_a_value_that_the_table_refuses),
		T(test_first_run_is_awaited),
		T(test_refresh),
		T(test_query_fails),
		T(test_unchanged_values_are_not_written_again),
		T(test_several_rows_of_an_id),
		T(test_an_append_without_an_answer),
		T(test_a_table_that_cannot_be_loaded),
		T(test_ledger_fails),
		T(test_no_answer),
		T(test_newer_value_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
