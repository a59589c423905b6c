/* One simulated I/O loop with a whole node, and a probe that asks its actors and keeps what comes back. */
#pragma once
#include "actors/assembler.h"
#include "actors/context_cache.h"
#include "actors/feature_request.h"
#include "actors/ingestor.h"
#include "runtime/log.h"
#include "store/evidence/entries.h"
#include "tests/sim/node_fixture.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { PROBE_ANSWERS_MAX = 8192 };

struct probe {
	struct actor base;
	struct msg *answers[PROBE_ANSWERS_MAX]; /* taken */
	size_t count;
};

static struct node_fixture_shared shared;
static struct node_fixture fixture;
static struct ledger_fake *ledger;
static struct probe *probe;
static struct ledger_fake_config ledger_config;   /* of the next fixture_begin */
static struct offline_fake_config offline_config; /* likewise */

#define NL   (&fixture.loops[0])
#define LOOP (fixture.loops[0].loop)

static inline void probe_on_message(struct actor *a, struct msg *m)
{
	struct probe *p = (struct probe *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->op == 0)
		return;
	CHECK(p->count < PROBE_ANSWERS_MAX);
	rt_msg_take(m);
	p->answers[p->count++] = m;
}

static inline int probe_init(struct actor *a, void *arg)
{
	*(struct probe **)arg = (struct probe *)a;
	return 0;
}

static inline void probe_finish(struct actor *a)
{
	struct probe *p = (struct probe *)a;
	for (size_t i = 0; i < p->count; i++)
		rt_msg_free(a->loop, p->answers[i]);
}

static const struct actor_class probe_class = {
	.name = "probe",
	.size = sizeof(struct probe),
	.mailbox_len_max = 16,
	.init = probe_init,
	.on_message = probe_on_message,
	.finish = probe_finish,
};

/* An actor that only lives: a client as a cancel token. */
static inline void token_on_message(struct actor *a, struct msg *m)
{
	(void)m;
	rt_stop(a);
}
static const struct actor_class token_class = {
	.name = "token",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = token_on_message,
};

/* A life of the process on the ledger that is there; the online table is empty. */
static inline void life_begin(uint64_t seed)
{
	node_fixture_start(&fixture, &shared, seed, 1, ledger, &offline_config);
	node_fixture_spawn_all(&fixture);
	CHECK(!ref_is_none(rt_spawn(LOOP, &probe_class, &probe)));
	sim_run(fixture.sim, 1); /* no two things of a test happen at the birth of the node */
}

static inline void life_end(void)
{
	struct buf why = { 0 };
	if (!node_fixture_stop(&fixture, &why))
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
}

static inline int fixture_setup(void **state)
{
	(void)state;
	ledger_config = (struct ledger_fake_config){ .delay_ms_max = 1 };
	offline_config = (struct offline_fake_config){ .delay_ms_max = 5 };
	ledger = ledger_fake_create(&ledger_config);
	life_begin(1);
	return 0;
}

static inline int fixture_teardown(void **state)
{
	(void)state;
	life_end();
	ledger_fake_destroy(ledger);
	return 0;
}

/* Begins anew with what the test has put into ledger_config and offline_config. */
static inline void fixture_restart(void)
{
	static uint64_t seed = 1; /* ids of two lives differ */
	life_end();
	ledger_fake_set(ledger, &ledger_config);
	life_begin(++seed);
}

static inline void run_ms(uint64_t ms)
{
	sim_run(fixture.sim, ms);
}

static inline uint64_t in_ms(uint64_t ms)
{
	return sim_now_ns(fixture.sim) + ms * 1000000;
}

static inline struct msg *answer_to(uint64_t op)
{
	for (size_t i = 0; i < probe->count; i++)
		if (probe->answers[i]->op == op)
			return probe->answers[i];
	return NULL;
}

/* Runs until the ask has ended; two minutes are enough for any. */
static inline struct msg *wait_for(uint64_t op)
{
	for (int ms = 0; ms < 120000 && answer_to(op) == NULL; ms++)
		run_ms(1);
	assert_non_null(answer_to(op));
	return answer_to(op);
}

static inline uint32_t feature(const char *name)
{
	uint32_t index = definitions_feature(shared.definitions, str_from(name));
	CHECK(index != DEF_NONE);
	return index;
}

static inline uint64_t ask_feature_until(const char *name, const char *id, uint64_t deadline_ns,
					 struct actor_ref cancel)
{
	uint32_t f = feature(name), entity = shared.definitions->features[f].entity;
	struct str ids = str_from(id);
	struct feature_request *r = feature_request_new(entity, &ids, 1, &f, 1);
	return rt_ask(&probe->base, node_resolver(NL, entity), &resolver_get_new(LOOP, RESOLVER_GET, r)->head,
		      deadline_ns, cancel);
}

static inline uint64_t ask_feature(const char *name, const char *id)
{
	return ask_feature_until(name, id, in_ms(60000), ACTOR_NONE);
}

static inline const struct feature_result *result_of(uint64_t op)
{
	const struct msg *m = wait_for(op);
	assert_int_equal(m->kind, RESOLVER_GOT);
	return &((const struct resolver_get *)m)->request->results[0];
}

static inline const struct feature_result *get_feature(const char *name, const char *id)
{
	return result_of(ask_feature(name, id));
}

static inline void assert_value(const struct feature_result *r, enum record_source source, const char *json)
{
	assert_int_equal(r->state, FEATURE_FOUND);
	assert_int_equal(r->source, source);
	if (!str_eq(value_json(r->value), str_from(json)))
		fail_msg("%s instead of %s", r->value->json, json);
}

static inline bool is_online(const char *name, const char *id)
{
	struct online_cell cell;
	uint32_t f = feature(name);
	bool found = online_get(fixture.online, shared.definitions->features[f].entity, str_from(id), f,
				loop_wall_us(LOOP), &cell);
	value_unref(cell.value);
	return found;
}

static inline void push(const char *name, const char *id, const char *json, int64_t event_time_us)
{
	uint32_t f = feature(name);
	struct value *v = value_create(str_from(json));
	online_put(fixture.online, &(struct online_write){ .kind = shared.definitions->features[f].entity,
							   .id = str_from(id),
							   .feature = f,
							   .value = v,
							   .meta = { .event_time_us = event_time_us, .lsn = 1 } });
	value_unref(v);
}

/* ---- what the durable log holds ---- */

struct value_count {
	const char *feature;
	size_t count;
};

static inline void count_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	struct value_count *c = arg;
	(void)head;
	c->count += str_eq(v->feature, str_from(c->feature));
}

/* How often a value of the feature was written: for a computed one, how often it was computed. */
static inline size_t written(const char *name)
{
	struct value_count c = { name, 0 };
	for (size_t i = 0; i < ledger_fake_count(ledger); i++) {
		const struct evidence_entry *e = ledger_fake_at(ledger, i);
		if (e->kind == EVIDENCE_VALUES || e->kind == EVIDENCE_EVENT_APPLIED)
			assert_true(entry_values_read(buf_str(&e->body), NULL, &c, count_value));
	}
	return c.count;
}

static inline size_t entries_of(enum evidence_kind kind)
{
	size_t count = 0;
	for (size_t i = 0; i < ledger_fake_count(ledger); i++)
		count += ledger_fake_at(ledger, i)->kind == kind;
	return count;
}

static int nowhere = -1;
static inline void log_to_nowhere(void)
{
	if (nowhere < 0)
		nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK(nowhere >= 0 && log_start(nowhere, LOG_ERROR) == 0);
}

static inline int run_actor_tests(const char *definitions, int (*run)(void))
{
	log_to_nowhere();
	node_fixture_share(&shared, definitions);
	int failed = run();
	node_fixture_unshare(&shared);
	log_stop();
	close(nowhere);
	return failed;
}
#define ACTOR_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
