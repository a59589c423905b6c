/* The fake of simulations gives the scripted answers, in batches, late, and fails by the seed. */
#include "runtime/check.h"
#include "runtime/sim.h"
#include "store/offline/offline_fake.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const struct offline_fake_answer answers[] = {
	{ "FROM purchases", "[{\"id\":\"a\",\"v\":1},{\"id\":7,\"v\":[2]},{\"id\":\"c\",\"v\":null}]", RT_OK },
	{ "broken", "no such table", RT_EINVAL },
	{ "contexts", "[{\"context_id\":\"x\"}]", RT_OK },
	{ "ctx_1", "{\"context_id\":\"ctx_1\"}", RT_OK },
};

enum { GO = MSG_KIND(CLASS_TEST, 1), ENDINGS_MAX = 64 };

struct caller {
	struct actor base;
	struct actor_ref fake;
	int endings, errors, deadlines;
	uint32_t rows;
	char texts[512];
};
static struct caller *caller;

static void ask(struct caller *c, struct msg *m)
{
	rt_ask(&c->base, c->fake, m, loop_mono_ns(c->base.loop) + 1000000000, ACTOR_NONE);
}

static void note(struct caller *c, struct str text)
{
	size_t n = strlen(c->texts);
	snprintf(c->texts + n, sizeof c->texts - n, "%.*s|", STR_ARG(text));
}

static void caller_on_message(struct actor *a, struct msg *m)
{
	struct caller *c = (struct caller *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
	} else if (m->kind == GO) {
		ask(c, &offline_query_new(a->loop, STR("SELECT 1 FROM purchases"), STR("[1]"))->head);
		ask(c, &offline_query_new(a->loop, STR("broken"), (struct str){ 0 })->head);
		ask(c, &evidence_list_new(a->loop)->head);
		ask(c, &evidence_legacy_new(a->loop, STR("ctx_1"), LEGACY_RECORD)->head);
		ask(c, &evidence_legacy_new(a->loop, STR("ctx_2"), LEGACY_RECORD)->head);
		ask(c, &offline_rows_new(a->loop, STR("SELECT id, v FROM purchases"), STR("id"), STR("v"))->head);
	} else if (m->kind == OFFLINE_BATCH) {
		const struct offline_batch *b = (const struct offline_batch *)m;
		c->endings++;
		c->errors += m->status != RT_OK;
		c->rows += b->count;
		for (uint32_t i = 0; i < b->count; i++) {
			note(c, b->rows[i].key);
			note(c, b->rows[i].value_json);
		}
		if (!b->last)
			ask(c, &offline_rows_next(a->loop, b->cursor)->head);
	} else {
		c->endings++;
		c->errors += m->status != RT_OK;
		c->deadlines += m->kind == RT_DEADLINE;
		if (m->kind == OFFLINE_RESULT)
			note(c, buf_str(&((const struct offline_result *)m)->json));
		else if (m->kind == EVIDENCE_ANSWER)
			note(c, buf_str(&((const struct evidence_answer *)m)->json));
	}
}

static int caller_init(struct actor *a, void *arg)
{
	caller = (struct caller *)a;
	caller->fake = *(struct actor_ref *)arg;
	return 0;
}

static const struct actor_class caller_class = {
	.name = "caller",
	.size = sizeof(struct caller),
	.mailbox_len_max = 64,
	.init = caller_init,
	.on_message = caller_on_message,
};

/* Returns a copy of what the caller saw, and the trace. */
static struct caller run(uint64_t seed, struct offline_fake_config config, uint64_t *ret_trace)
{
	struct sim *sim = sim_create(&(struct sim_config){ .seed = seed, .loops = 2 });
	config.answers = answers;
	config.answers_count = ARRAY_LEN(answers);
	struct actor_ref fake = offline_fake_spawn(sim_loop(sim, 1), &config);
	struct actor_ref ref = rt_spawn(sim_loop(sim, 0), &caller_class, &fake);
	assert_true(rt_send(sim_loop(sim, 0), ref, rt_msg_new(sim_loop(sim, 0), GO)));
	assert_int_equal(sim_run(sim, 60000), SIM_QUIET);
	struct caller seen = *caller;
	*ret_trace = sim_trace(sim);
	sim_stop(sim);
	struct buf why = { 0 };
	if (!sim_is_balanced(sim, &why))
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	sim_destroy(sim);
	return seen;
}

static void test_scripted_answers(void **state)
{
	(void)state;
	uint64_t trace;
	struct caller seen = run(1, (struct offline_fake_config){ .batch_rows = 2 }, &trace);
	assert_int_equal(seen.endings, 7); /* five results and two batches */
	assert_int_equal(seen.rows, 3);
	assert_int_equal(seen.errors, 2);
	static const char *const parts[] = { "[{\"id\":\"a\",\"v\":1},",
					     "|no such table|",
					     "[{\"context_id\":\"x\"}]|",
					     "{\"context_id\":\"ctx_1\"}|",
					     "|Record not found|",
					     "a|1|",
					     "7|[2]|",
					     "c|null|" };
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		assert_non_null(strstr(seen.texts, parts[i]));
}

static void test_every_ask_ends_whatever_fails(void **state)
{
	(void)state;
	int errors = 0, deadlines = 0;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		uint64_t trace, again;
		struct offline_fake_config config = { .delay_ms_max = 50, .error_permille = 200, .lost_permille = 200 };
		struct caller seen = run(seed, config, &trace);
		assert_int_equal(seen.endings, 6);
		errors += seen.errors;
		deadlines += seen.deadlines;
		run(seed, config, &again);
		assert_int_equal(trace, again);
	}
	assert_true(errors > 110); /* 100 are scripted */
	assert_true(deadlines > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripted_answers),
		cmocka_unit_test(test_every_ask_ends_whatever_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
