/* Slow statements beside quick ones: who waits for whom, what is refused, and that everybody is answered once. */
#include "tests/unit/offline_fixture.h"
#include "runtime/metrics.h"
#include "store/offline/offline_lane.h"

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	rig_open(&rig);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	rig_close(&rig);
	rig_remove_folder(&rig);
	return 0;
}

/* Runs until it is stopped. The number makes a statement of its own. */
static struct order *ask_endless(struct query *q, char *sql, size_t sql_bytes, int number, uint64_t timeout_ms)
{
	snprintf(sql, sql_bytes,
		 "SELECT sum(a.range * b.range %% 7 + %d) AS s FROM range(100000000) a, range(100000000) b", number);
	q->sql = sql;
	return rig_ask(&rig, make_query, q, timeout_ms);
}

static bool has_ended(struct order *o)
{
	pthread_mutex_lock(&o->lock);
	bool ret = o->is_done;
	pthread_mutex_unlock(&o->lock);
	return ret;
}

static void assert_quick_one(const char *wanted)
{
	struct query q = { .sql = "SELECT 1 AS one" };
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 20000));
	assert_string_equal(a.text, wanted);
	free(a.text);
}

/* LIMIT_MS: when endless statements are stopped. What is answered while they still run has not waited for them. */
#if defined(FABRA_ASAN) || defined(FABRA_TSAN)
enum { HEAVY = 12, LIMIT_MS = 12000 };
#else
enum { HEAVY = 12, LIMIT_MS = 3000 };
#endif

/* More statements than lanes, each new and none of which ever ends: the quick question waits for the first OFFLINE_QUICK_MS
 * of each of them at most, and not until they are stopped. Then for nothing at all, since they are known. */
static void test_a_quick_question_does_not_wait_for_slow_ones(void **state)
{
	(void)state;
	struct query queries[HEAVY] = { 0 };
	struct order *orders[HEAVY];
	char sql[HEAVY][160];
	rig.lanes = 2;
	rig_start(&rig, false, false);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < HEAVY; i++)
			orders[i] = ask_endless(&queries[i], sql[i], sizeof sql[i], i, LIMIT_MS);
		assert_quick_one("[{\"one\":1}]");
		assert_false(has_ended(orders[0])); /* they would have held it for 6 times LIMIT_MS */
		for (int i = 0; i < HEAVY; i++) {
			struct answer a = rig_wait(orders[i]);
			assert_true(a.kind == RT_DEADLINE || (a.kind == OFFLINE_RESULT && a.status == RT_EDEADLINE));
			free(a.text);
		}
	}
}

/* A statement that is not quick enough for the reader, though it does not take long, finds a lane that those that do have left
 * to it. */
static void test_a_lane_is_left(void **state)
{
	(void)state;
	struct query queries[4] = { 0 };
	struct order *orders[4];
	char sql[4][160];
	rig.lanes = 2;
	rig_start(&rig, false, false);
	for (int i = 0; i < 4; i++) /* from now on they are known */
		free(rig_wait(ask_endless(&queries[i], sql[i], sizeof sql[i], i, 300)).text);
	for (int i = 0; i < 4; i++)
		orders[i] = ask_endless(&queries[i], sql[i], sizeof sql[i], i, LIMIT_MS);
	struct query q = {
		.sql = "SELECT count(*) AS n FROM range(5000) a, range(5000) b WHERE a.range * b.range % 7 = 1"
	};
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 60000));
	assert_string_equal(a.text, "[{\"n\":3060205}]");
	free(a.text);
	assert_false(has_ended(orders[0]));
	for (int i = 0; i < 4; i++)
		free(rig_wait(orders[i]).text);
}

/* Begun again in a lane, a statement gives what it would have given: rows once, errors, and its own deadline. */
static void test_answers_from_a_lane(void **state)
{
	(void)state;
	rig.lanes = 1;
	rig_start(&rig, false, false);
	static const char *const slow[][2] = {
		{ "SELECT count(*) AS n FROM range(9000) a, range(9000) b WHERE a.range * b.range % 7 = 1", NULL },
		{ "SELECT a.range AS a FROM range(9000) a, range(9000) b WHERE (a.range * b.range + 1) % 80999999 = 0",
		  NULL },
		{ "SELECT CASE WHEN count(*) = 81000000 THEN error('no rows today') ELSE '' END AS e FROM range(9000) a, range(9000) b",
		  "no rows today" },
	};
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
			struct query q = { .sql = slow[i][0] };
			struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 60000));
			assert_int_equal(a.kind, OFFLINE_RESULT);
			assert_int_equal(a.status, slow[i][1] != NULL ? RT_EINVAL : RT_OK);
			if (slow[i][1] != NULL)
				assert_non_null(strstr(a.text, slow[i][1]));
			else if (i == 0)
				assert_string_equal(a.text, "[{\"n\":9917633}]");
			else
				assert_string_equal(a.text, "[]");
			free(a.text);
		}
		assert_quick_one("[{\"one\":1}]");
	}
}

/* The queue is bounded, and says so; those behind it are answered when a lane is free. */
static void test_a_full_queue_refuses(void **state)
{
	(void)state;
	enum { MANY = OFFLINE_LANE_QUEUE_MAX + 8 };
	static struct query queries[MANY];
	static struct order *orders[MANY];
	static char sql[MANY][160];
	rig.lanes = 1;
	rig_start(&rig, false, false);
	uint64_t refused_before = metrics_counter_value(offline_metrics.refused);
	/* The statement is known to be slow before the others come. */
	struct query first = { 0 };
	char first_sql[160];
	free(rig_wait(ask_endless(&first, first_sql, sizeof first_sql, 0, 200)).text);
	for (int i = 0; i < MANY; i++)
		orders[i] = ask_endless(&queries[i], sql[i], sizeof sql[i], 0, LIMIT_MS);
	int refused = 0, stopped = 0;
	for (int i = 0; i < MANY; i++) {
		struct answer a = rig_wait(orders[i]);
		bool is_full = a.kind == OFFLINE_RESULT && a.status == RT_EFULL;
		if (is_full)
			assert_string_equal(a.text, "too many slow statements wait already; ask again later");
		refused += is_full;
		stopped += a.kind == RT_DEADLINE || (a.kind == OFFLINE_RESULT && a.status == RT_EDEADLINE);
		free(a.text);
	}
	assert_int_equal(refused + stopped, MANY);
	assert_in_range(refused, MANY - OFFLINE_LANE_QUEUE_MAX - 2, MANY - OFFLINE_LANE_QUEUE_MAX);
	assert_int_equal(metrics_counter_value(offline_metrics.refused) - refused_before, refused);
	/* None of those is in the way of what comes now. */
	struct query q = {
		.sql = "SELECT count(*) AS n FROM range(9000) a, range(9000) b WHERE a.range * b.range % 7 = 1"
	};
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 60000));
	assert_string_equal(a.text, "[{\"n\":9917633}]");
	free(a.text);
}

/* A statement that was slow once, because of what it was asked with, does not stay in the lanes. */
static void test_a_statement_that_is_quick_again(void **state)
{
	(void)state;
	static const char text[] =
	    "SELECT count(*) AS n FROM range(?) a, range(9000) b WHERE a.range * b.range % 7 = 1";
	rig.lanes = 1;
	rig_start(&rig, false, false);
	struct query slow = { .sql = text, .params = "[9000]" }, quick = { .sql = text, .params = "[1]" };
	struct query endless = { 0 };
	char endless_sql[160];
	free(rig_wait(rig_ask(&rig, make_query, &slow, 60000)).text);
	for (int i = 0; i < 20;
	     i++) /* in the lane, where it is seen to be quick, unless the machine is busy just then */
		free(rig_wait(rig_ask(&rig, make_query, &quick, 60000)).text);
	/* While the only lane is taken, it is answered all the same. */
	struct order *taken = ask_endless(&endless, endless_sql, sizeof endless_sql, 1, LIMIT_MS);
	struct answer a = rig_wait(rig_ask(&rig, make_query, &quick, 60000));
	assert_string_equal(a.text, "[{\"n\":0}]");
	assert_false(has_ended(taken));
	free(a.text);
	free(rig_wait(taken).text);
}

static struct msg *make_client_query(struct loop *loop, const void *arg)
{
	struct offline_query *m = (struct offline_query *)make_query(loop, arg);
	m->tables_only = true;
	return &m->head;
}

/* It takes a large part of a second to plan, and more with a sanitizer, since its constant is computed then, and cannot be stopped. The number makes a statement of its
 * own. */
static void write_slow_to_plan(struct buf *sql, int number)
{
	enum { CHARS = 16000 };
	buf_printf(sql, "SELECT %d + levenshtein('", number);
	for (int i = 0; i < 2 * CHARS; i++) {
		if (i == CHARS)
			buf_append_lit(sql, "', '");
		buf_append_char(sql, i < CHARS ? 'a' : 'b');
	}
	buf_append(sql, "') AS n", 8);
	assert_false(sql->failed);
}

/* Neither one that is known, nor the first question of a feature, while clients send as many as there are lanes. */
static void test_nobody_waits_for_a_clients_plan(void **state)
{
	(void)state;
	enum { CLIENTS = 4 };
	struct buf sql[CLIENTS] = { 0 };
	struct query queries[CLIENTS] = { 0 };
	struct order *orders[CLIENTS];
	rig.lanes = 2;
	rig_start(&rig, false, false);
	assert_quick_one("[{\"one\":1}]");
	for (int i = 0; i < CLIENTS; i++) {
		write_slow_to_plan(&sql[i], i);
		queries[i].sql = sql[i].p;
		orders[i] = rig_ask(&rig, make_client_query, &queries[i], 120000);
	}
	assert_quick_one("[{\"one\":1}]");
	struct query q = { .sql = "SELECT 2 AS two" };
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 120000));
	assert_string_equal(a.text, "[{\"two\":2}]");
	free(a.text);
	for (int i = 0; i < CLIENTS; i++)
		assert_false(has_ended(orders[i]));
	for (int i = 0; i < CLIENTS; i++) {
		a = rig_wait(orders[i]);
		assert_int_equal(a.kind, OFFLINE_RESULT);
		assert_int_equal(a.status, RT_OK);
		free(a.text);
		buf_finish(&sql[i]);
	}
}

/* With large parameters even a statement that is known to be quick holds up nobody. */
static void test_nobody_waits_for_large_parameters(void **state)
{
	(void)state;
	static const char text[] = "SELECT levenshtein($1, $2) AS n";
	struct buf params = { 0 };
	buf_append_lit(&params, "[\"");
	for (int i = 0; i < 100000; i++) {
		if (i == 50000)
			buf_append_lit(&params, "\",\"");
		buf_append_char(&params, i < 50000 ? 'a' : 'b');
	}
	buf_append(&params, "\"]", 3);
	struct query small = { .sql = text, .params = "[\"a\",\"b\"]" }, large = { .sql = text, .params = params.p };
	rig.lanes = 2;
	rig_start(&rig, false, false);
	for (int i = 0; i < 3; i++)
		free(rig_wait(rig_ask(&rig, make_query, &small, 60000)).text);
	uint64_t begin_ns = clock_mono_ns();
	struct order *order = rig_ask(&rig, make_query, &large, 120000);
	assert_quick_one("[{\"one\":1}]");
	uint64_t quick_ns = clock_mono_ns() - begin_ns;
	struct answer a = rig_wait(order);
	assert_true(quick_ns < (clock_mono_ns() - begin_ns) / 4);
	assert_string_equal(a.text, "[{\"n\":50000}]");
	free(a.text);
	buf_finish(&params);
}

/* Not in its lane, and not in the queue. */
static void test_who_has_left_takes_no_lane(void **state)
{
	(void)state;
	enum { LONG_MS = 200000 };
	struct query queries[3] = { 0 };
	struct order *orders[3];
	char sql[3][160];
	rig.lanes = 1;
	rig_start(&rig, false, false);
	for (int round = 0; round < 3; round++) {
		uint64_t begin_ns = clock_mono_ns();
		for (int i = 0; i < 3; i++)
			orders[i] = ask_endless(&queries[i], sql[i], sizeof sql[i], i, LONG_MS);
		for (int i = 0; i < 3; i++)
			rig_leave(&rig, orders[round == 1 ? 2 - i : i]);
		struct query q = {
			.sql = "SELECT count(*) AS n FROM range(9000) a, range(9000) b WHERE a.range * b.range % 7 = 1"
		};
		struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 2 * LONG_MS));
		assert_string_equal(a.text, "[{\"n\":9917633}]");
		free(a.text);
		for (int i = 0; i < 3; i++)
			free(rig_wait(orders[i]).text);
		assert_true(clock_mono_ns() - begin_ns < LONG_MS * UINT64_C(1000000) / 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_quick_question_does_not_wait_for_slow_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_lane_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers_from_a_lane, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_full_queue_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_statement_that_is_quick_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_waits_for_a_clients_plan, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_has_left_takes_no_lane, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_waits_for_large_parameters, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
