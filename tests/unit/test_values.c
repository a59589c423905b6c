/* Writes that meet: an entry takes effect where it stands in the log, whatever was read when, and on every cell or none. */
#include "tests/unit/actor_fixture.h"
#include "actors/values.h"
#include "actors/writer.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "local function count(id, event, previous)\n"
    "  fabra.await(fabra.sql('SELECT slow', {})) return (previous or 0) + 1 end\n"
    "fabra.feature { name = 'one', entity = User, trigger = 'tick', compute = count }\n"
    "fabra.feature { name = 'two', entity = User, trigger = 'tick', compute = count }\n"
    "fabra.feature { name = 'base', entity = User }\n"
    "fabra.feature { name = 'brief', entity = User, ttl = '1s' }\n"
    "fabra.feature { name = 'asked', entity = User, ttl = '1h', sql = 'SELECT user_id, 1 AS asked FROM t' }\n"
    "fabra.feature { name = 'made', entity = User, ttl = '1h', compute = function(id)\n"
    "  local base = fabra.await(fabra.feature_value('base', id))\n"
    "  fabra.await(fabra.sql('SELECT slow', {})) return base or 'none' end }\n"
    "local runs = 0\n"
    "fabra.feature { name = 'of_ledger', entity = User, compute = function(id) runs = runs + 1 local run = runs\n"
    "  fabra.await(fabra.sql('SELECT slow FROM fabra.feature_history', {})) return run end }\n"
    "fabra.feature { name = 'over_ledger', entity = User, compute = function(id)\n"
    "  return fabra.await(fabra.feature_value('of_ledger', id)) end }\n"
    "fabra.feature { name = 'asked_of_ledger', entity = User, sql = 'SELECT user_id, 1 AS asked_of_ledger FROM fabra.events' }\n"
    "fabra.feature { name = 'of_other', entity = User, ttl = '1h', compute = function(id)\n"
    "  local base = fabra.await(fabra.feature_value('base', 'other'))\n"
    "  fabra.await(fabra.sql('SELECT slow', {})) return base or 'none' end }\n";

static size_t questions;
static struct offline_fake_answer answers[] = {
	{ "SELECT slow", "[{\"n\":1}]", RT_OK },
	{ "1 AS asked_of_ledger", "[{\"user_id\":\"u1\",\"asked_of_ledger\":1}]", RT_OK },
	{ "SELECT user_id, 1 AS asked", "[{\"user_id\":\"u1\",\"asked\":1}]", RT_OK },
};

static int setup(void **state)
{
	fixture_setup(state);
	offline_config = (struct offline_fake_config){
		.delay_ms_max = 0, .answers = answers, .answers_count = ARRAY_LEN(answers), .questions = &questions
	};
	fixture_restart();
	return 0;
}

/* The SQL of a function takes so long from here on. */
static void sql_takes(uint32_t ms)
{
	offline_config.delay_ms_max = ms;
	fixture_restart();
}

static uint64_t put_at(const char *id, const char *const *names, const char *const *values, uint32_t count,
		       int64_t time_us)
{
	struct write *w = write_new(0, str_from(id), count);
	w->is_timed = time_us != 0;
	w->event_time_us = time_us;
	for (uint32_t i = 0; i < count; i++)
		w->cells[w->count++] = (struct write_cell){ .feature = feature(names[i]),
							    .value = value_create(str_from(values[i])) };
	return rt_ask(&probe->base, rt_named(LOOP, NAME_WRITER), &writer_write_new(LOOP, WRITER_PUT, w)->head,
		      in_ms(1000), ACTOR_NONE);
}

static uint64_t put(const char *id, const char *name, const char *value)
{
	return put_at(id, &name, &value, 1, 0);
}

static uint64_t delete (const char *id)
{
	return rt_ask(&probe->base, rt_named(LOOP, NAME_WRITER),
		      &writer_write_new(LOOP, WRITER_DELETE, write_new(0, str_from(id), 0))->head, in_ms(1000),
		      ACTOR_NONE);
}

static const struct write *written_by(uint64_t op)
{
	const struct msg *m = wait_for(op);
	assert_int_equal(m->kind, WRITER_WRITTEN);
	assert_int_equal(m->status, RT_OK);
	return ((const struct writer_write *)m)->write;
}

static uint64_t tick_at(const char *id, int64_t time_us)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = STR("e"),
							   .event_type = STR("tick"),
							   .entity_id = str_from(id),
							   .payload_json = STR("{}"),
							   .event_time_us = time_us });
	return rt_ask(&probe->base, rt_named(LOOP, NAME_INGESTOR), &ingest_event_new(LOOP, INGEST_EVENT, e)->head,
		      in_ms(1000), ACTOR_NONE);
}

/* json NULL: there must be none. */
static void assert_holds(const char *name, const char *id, const char *json)
{
	struct online_cell cell;
	bool found = online_get(fixture.online, 0, str_from(id), feature(name), loop_wall_us(LOOP), &cell);
	if (found != (json != NULL) || (found && !str_eq(value_json(cell.value), str_from(json))))
		fail_msg("%s of %s is %s instead of %s", name, id, found ? cell.value->json : "none",
			 json ? json : "none");
	value_unref(cell.value);
}

/* Until the event's function waits for its SQL; its values were read before that. */
static void wait_until_read(uint64_t op)
{
	assert_int_equal(wait_for(op)->kind, INGEST_ACCEPTED);
	run_ms(1);
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 0);
}

static void wait_until_applied(size_t count)
{
	for (int ms = 0; ms < 20000 && entries_of(EVIDENCE_EVENT_APPLIED) < count; ms++)
		run_ms(1);
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), count);
	run_ms(5);
}

static void test_a_put_behind_an_event_stays(void **state)
{
	(void)state;
	sql_takes(2000);
	static const char *const both[] = { "one", "two" }, *const thousand[] = { "1000", "1000" };
	written_by(put_at("u1", both, thousand, 2, 0));
	wait_until_read(tick_at("u1", loop_wall_us(LOOP) + 1000000)); /* however new the event says it is */
	written_by(put("u1", "one", "5000"));
	wait_until_applied(1);
	assert_holds("one", "u1", "5000");
	assert_holds("two", "u1", "1001"); /* nobody wrote it: the event's */
	wait_for(tick_at("u1", loop_wall_us(LOOP)));
	wait_until_applied(2);
	assert_holds("one", "u1", "5001");
	assert_holds("two", "u1", "1002");
}

static void test_a_delete_behind_an_event_stays(void **state)
{
	(void)state;
	sql_takes(2000);
	written_by(put("u1", "one", "1000"));
	wait_until_read(tick_at("u1", loop_wall_us(LOOP) + 1000000));
	written_by(delete ("u1"));
	wait_until_applied(1);
	assert_holds("one", "u1", NULL);
	assert_holds("two", "u1", NULL);
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 1); /* done all the same */
}

/* Both are in one batch: the committer alone knows which is first. */
static void test_a_put_is_newest_where_it_stands(void **state)
{
	(void)state;
	ledger_config.delay_ms_max = 20;
	fixture_restart();
	int64_t ahead_us = loop_wall_us(LOOP) + 60000000;
	const char *name = "base", *early = "1";
	uint64_t first = put_at("u1", &name, &early, 1, ahead_us), second = put("u1", "base", "2");
	assert_int_equal(written_by(first)->cells[0].outcome, WRITE_DONE);
	const struct write *w = written_by(second);
	assert_int_equal(w->cells[0].outcome, WRITE_DONE);
	assert_true(w->event_time_us > ahead_us);
	assert_holds("base", "u1", "2");
	struct entry_values head; /* the history says the same time */
	assert_true(entry_values_read(buf_str(&ledger_fake_at(ledger, 1)->body), &head, NULL, NULL));
	uint64_t third = put("u1", "base", "3"), gone = delete ("u1"), fourth = put("u1", "base", "4");
	written_by(third);
	written_by(gone);
	assert_int_equal(written_by(fourth)->cells[0].outcome, WRITE_DONE);
	assert_holds("base", "u1", "4");
}

/* A value that lies ahead moves what is written to its own cell, and nothing else: not in the table, and not on the way to it. */
static void test_a_time_ahead_is_of_its_cell(void **state)
{
	(void)state;
	static const char *const names[] = { "base", "brief" }, *const values[] = { "1", "2" };
	for (int is_under_way = 0; is_under_way < 2; is_under_way++) {
		const char *id = is_under_way ? "u2" : "u1";
		ledger_config.delay_ms_max = is_under_way ? 20 : 0;
		fixture_restart();
		int64_t ahead_us = loop_wall_us(LOOP) + 60000000;
		uint64_t ahead = put_at(id, names, values, 1, ahead_us);
		if (!is_under_way)
			written_by(ahead);
		const struct write *w = written_by(put_at(id, names, values, 2, 0));
		assert_true(w->cells[0].outcome == WRITE_DONE && w->cells[1].outcome == WRITE_DONE);
		assert_int_equal(w->event_time_us, ahead_us + 1); /* the latest of both */
		assert_holds("base", id, "1");
		assert_holds("brief", id, "2");
		run_ms(1000);
		assert_holds("base", id, "1");
		assert_holds("brief", id, NULL); /* its second is over */
	}
}

static void test_outcomes(void **state)
{
	(void)state;
	static const char *const names[] = { "base", "brief" }, *const values[] = { "1", "2" };
	const struct write *w = written_by(put_at("u1", names, values, 2, loop_wall_us(LOOP) - 2000000));
	assert_int_equal(w->cells[0].outcome, WRITE_DONE);
	assert_int_equal(w->cells[1].outcome, WRITE_STALE); /* its second is over */
	w = written_by(put_at("u1", names, values, 1, loop_wall_us(LOOP) - 3000000));
	assert_int_equal(w->cells[0].outcome, WRITE_STALE); /* older than what is there */
	ledger_config.refuse_permille = 1000;
	ledger_fake_set(ledger, &ledger_config);
	const struct msg *m = wait_for(put("u1", "base", "9"));
	assert_true(m->kind == WRITER_WRITTEN && m->status == RT_EIO);
	assert_holds("base", "u1", "1");
	ledger_config = (struct ledger_fake_config){ .lose_entry_permille = 1000 };
	ledger_fake_set(ledger, &ledger_config);
	assert_int_equal(wait_for(put("u1", "base", "9"))->kind, RT_DEADLINE);
	assert_holds("base", "u1", "1");
	ledger_config = (struct ledger_fake_config){ 0 };
	ledger_fake_set(ledger, &ledger_config);
	written_by(put("u1", "base", "9")); /* what was refused stands in nobody's way */
	assert_holds("base", "u1", "9");
	wait_for(tick_at("u1", loop_wall_us(LOOP)));
	wait_until_applied(1);
	assert_holds("one", "u1", "1");
}

/* What a function read before a delete is not handed out behind it, not now and not later. */
static void test_nothing_from_before_a_delete(void **state)
{
	(void)state;
	sql_takes(2000);
	written_by(put("u1", "base", "7"));
	uint64_t before = ask_feature("made", "u1");
	run_ms(2);
	assert_null(answer_to(before));
	written_by(delete ("u1"));
	uint64_t after = ask_feature("made", "u1");
	assert_value(result_of(before), RECORD_COMPUTE, "7"); /* it asked before */
	assert_value(result_of(after), RECORD_COMPUTE, "\"none\"");
	run_ms(5);
	assert_holds("made", "u1", "\"none\"");
}

/* The function has ended, its value is on its way to the ledger, and the delete is before it. */
static void test_a_delete_before_a_computed_value(void **state)
{
	(void)state;
	ledger_config.delay_ms_max = 20;
	fixture_restart();
	written_by(put("u1", "base", "7"));
	uint64_t gone = delete ("u1"), made = ask_feature("made", "u1");
	assert_value(result_of(made), RECORD_COMPUTE, "7");
	written_by(gone);
	run_ms(100);
	assert_holds("made", "u1", NULL);
	assert_int_equal(written("made"), 0); /* the history does not have it either: a restart brings nothing back */
}

static void test_joiners_of_a_changed_read(void **state)
{
	(void)state;
	sql_takes(2000);
	written_by(put("other", "base", "1"));
	uint64_t first = ask_feature("of_other", "u1");
	run_ms(2);
	assert_null(answer_to(first));
	written_by(put("other", "base", "2"));
	uint64_t late = ask_feature("of_other", "u1");
	assert_value(result_of(first), RECORD_COMPUTE, "1");
	assert_value(result_of(late), RECORD_COMPUTE, "2");
}

/* SQL over what the ledger says may read any row: who asks after the answer of a write gets what began behind it. */
static void test_joiners_of_sql_over_the_ledger(void **state)
{
	(void)state;
	static const char *const names[] = { "of_ledger", "over_ledger" };
	sql_takes(2000);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		uint64_t first = ask_feature(names[i], "u1"), joined = ask_feature(names[i], "u1");
		run_ms(2);
		assert_null(answer_to(first));
		written_by(put("other", "base", "1"));
		uint64_t late = ask_feature(names[i], "u1");
		assert_value(result_of(first), RECORD_COMPUTE, i ? "3" : "1");
		result_of(joined);
		assert_value(result_of(late), RECORD_COMPUTE, i ? "4" : "2");
	}
	questions = 0;
	uint64_t first = ask_feature("asked_of_ledger", "u1");
	run_ms(2);
	written_by(put("other", "base", "2"));
	uint64_t late = ask_feature("asked_of_ledger", "u1");
	assert_value(result_of(first), RECORD_COMPUTE, "1");
	assert_value(result_of(late), RECORD_COMPUTE, "1");
	assert_int_equal(questions, 2);
}

/* Nobody knows what SQL reads: a write of the id's own row is enough. */
static void test_sql_is_asked_again(void **state)
{
	(void)state;
	sql_takes(2000);
	questions = 0;
	uint64_t first = ask_feature("asked", "u1"), joined = ask_feature("asked", "u1");
	run_ms(2);
	assert_null(answer_to(first));
	written_by(put("u1", "base", "1"));
	uint64_t late = ask_feature("asked", "u1");
	assert_value(result_of(first), RECORD_COMPUTE, "1");
	assert_value(result_of(joined), RECORD_COMPUTE, "1");
	assert_value(result_of(late), RECORD_COMPUTE, "1");
	assert_int_equal(questions, 2);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
		T(test_a_put_behind_an_event_stays),
		T(test_a_delete_behind_an_event_stays),
		T(test_a_put_is_newest_where_it_stands),
		T(test_a_time_ahead_is_of_its_cell),
		T(test_outcomes),
		T(test_nothing_from_before_a_delete),
		T(test_a_delete_before_a_computed_value),
		T(test_joiners_of_a_changed_read),
		T(test_joiners_of_sql_over_the_ledger),
		T(test_sql_is_asked_again),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
