/* An online store that is not in this process's memory: what is durable gets there, whatever the store does, within bounds. */
#include "tests/unit/actor_fixture.h"
#include "actors/materializer.h"
#include "actors/publisher.h"
#include "actors/repairer.h"
#include "actors/warm_start.h"
#include "actors/writer.h"
#include "store/online/online_fake.h"

enum { MANY = 100 };
enum { TEST_FAIL = MSG_KIND(CLASS_TEST, 20) };

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'base', entity = User }\n"
    "fabra.feature { name = 'brief', entity = User, ttl = '1s' }\n"
    "fabra.feature { name = 'one', entity = User, trigger = 'tick', compute = function(id, event, previous)\n"
    "  return (previous or 0) + 1 end }\n"
    "fabra.feature { name = 'made', entity = User, ttl = '1h', compute = function() return 1 end }\n"
    "fabra.feature { name = 'listed', entity = User, ttl = '1h', refresh = '1h', materialize = true,\n"
    "  sql = 'SELECT user_id, listed FROM t' }\n"
    "for i = 1, 100 do fabra.feature { name = 'f' .. i, entity = User } end\n";

/* ---- a node whose store is elsewhere ---- */

static struct online_fake_config store_config; /* of the next life */
static struct online_fake *store;
static bool is_in_memory; /* the store is the table of embedded mode, behind its messages */

/* Never answers, and does nothing. */
struct frozen {
	struct actor base;
	struct msg *kept[256];
	size_t count;
};

static void frozen_on_message(struct actor *a, struct msg *m)
{
	struct frozen *f = (struct frozen *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	CHECK(f->count < ARRAY_LEN(f->kept));
	rt_msg_take(m);
	f->kept[f->count++] = m;
}

static void frozen_finish(struct actor *a)
{
	struct frozen *f = (struct frozen *)a;
	for (size_t i = 0; i < f->count; i++)
		rt_msg_free(a->loop, f->kept[i]);
}
static const struct actor_class frozen_class = {
	.name = "frozen",
	.size = sizeof(struct frozen),
	.mailbox_len_max = 8192,
	.on_message = frozen_on_message,
	.finish = frozen_finish,
};

static struct actor_class failing_publisher; /* the publisher, which fails when it is told to */

static void failing_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == TEST_FAIL)
		rt_fail(a, "told to");
	else
		publisher_class.on_message(a, m);
}

static size_t history(void *arg, size_t from, struct offline_value *ret, size_t max);

static void ask_store_at(struct actor_ref ref)
{
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		fixture.stores.online.per_loop[i] = ref;
}

static struct actor_ref store_ref;
static bool is_whole_node; /* of the next life: all actors, and no publisher that fails when it is told to */

static void far_begin(uint64_t seed)
{
	struct buf why = { 0 };
	struct warm_counts counts;
	offline_config.newest = history;
	offline_config.log = ledger_fake_log_source(ledger);
	node_fixture_start(&fixture, &shared, seed, 1, ledger, &offline_config);
	fixture.stores.online.fast = NULL;
	fixture.stores.is_history_shared = true;
	store = online_fake_create(&store_config);
	store_ref = is_in_memory ? online_spawn(fixture.online, fixture.store_loop)
				 : online_fake_spawn(store, fixture.store_loop);
	ask_store_at(store_ref);
	CHECK(warm_start(&fixture.node, &counts, &why));
	failing_publisher = publisher_class;
	failing_publisher.on_message = failing_on_message;
	if (is_whole_node)
		node_fixture_spawn_all(&fixture);
	else
		CHECK(!ref_is_none(rt_supervise(LOOP, NAME_PUBLISHER, &failing_publisher, NL, 10, 60000)) &&
		      !ref_is_none(rt_supervise(LOOP, NAME_REPAIRER, &repairer_class, NL, 10, 60000)) &&
		      !ref_is_none(rt_supervise(LOOP, NAME_WRITER, &writer_class, NL, 10, 60000)));
	CHECK(!ref_is_none(rt_spawn(LOOP, &probe_class, &probe)));
	sim_run(fixture.sim, 1);
}

static void far_end(void)
{
	life_end();
	online_fake_destroy(store);
	store = NULL;
}

static int far_setup(void **state)
{
	(void)state;
	ledger_config = (struct ledger_fake_config){ .delay_ms_max = 1 };
	offline_config = (struct offline_fake_config){ .delay_ms_max = 5, .batch_rows = 7 };
	store_config = (struct online_fake_config){ .delay_ms_max = 1 };
	is_in_memory = is_whole_node = false;
	ledger = ledger_fake_create(&ledger_config);
	far_begin(1);
	run_ms(100); /* the repair of the start */
	return 0;
}

static int far_teardown(void **state)
{
	(void)state;
	far_end();
	ledger_fake_destroy(ledger);
	return 0;
}

static void far_restart(uint64_t seed)
{
	far_end();
	ledger_fake_set(ledger, &ledger_config);
	far_begin(seed);
}

static void set_store(struct online_fake_config config)
{
	store_config = config;
	online_fake_set(store, &config);
}

static void heal(void)
{
	set_store((struct online_fake_config){ 0 });
	ask_store_at(store_ref);
}

/* ---- the history: all that the log has, which is more than the newest ---- */

struct walk {
	size_t at, from, count, max;
	struct offline_value *ret;
	const struct evidence_entry *e;
};

static void walk_one(struct walk *w, const struct offline_value *v)
{
	if (w->at++ >= w->from && w->count < w->max)
		w->ret[w->count++] = *v;
}

static void walk_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	struct walk *w = arg;
	walk_one(w, &(struct offline_value){ .entity = head->entity,
					     .entity_id = v->entity_id,
					     .feature = v->feature,
					     .value_json = v->value_json,
					     .event_time_us = v->event_time_us,
					     .written_us = v->event_time_us,
					     .ttl_ms = v->ttl_ms,
					     .lsn = w->e->lsn,
					     .version = v->version,
					     .event_time_ns = v->event_time_ns,
					     .source = (uint8_t)head->source,
					     .deleted = v->value_json.p == NULL });
}

static size_t history(void *arg, size_t from, struct offline_value *ret, size_t max)
{
	struct walk w = { .from = from, .max = max, .ret = ret };
	struct entry_delete d;
	(void)arg;
	for (size_t i = 0; i < ledger_fake_count(ledger); i++) {
		w.e = ledger_fake_at(ledger, i);
		if (w.e->kind == EVIDENCE_VALUES || w.e->kind == EVIDENCE_EVENT_APPLIED)
			assert_true(entry_values_read(buf_str(&w.e->body), NULL, &w, walk_value));
		else if (w.e->kind == EVIDENCE_DELETE && entry_delete_read(buf_str(&w.e->body), &d))
			walk_one(&w, &(struct offline_value){ .entity = d.entity,
							      .entity_id = d.entity_id,
							      .event_time_us = d.event_time_us,
							      .lsn = w.e->lsn,
							      .deleted = true });
	}
	return w.count;
}

/* ---- asking ---- */

static uint64_t write_until(uint16_t kind, struct write *w, uint64_t deadline_ns)
{
	return rt_ask(&probe->base, rt_named(LOOP, NAME_WRITER), &writer_write_new(LOOP, kind, w)->head, deadline_ns,
		      ACTOR_NONE);
}

static struct write *write_of_one(const char *id, const char *name, const char *json, int64_t time_us)
{
	struct write *w = write_new(0, str_from(id), 1);
	w->is_timed = time_us != 0;
	w->event_time_us = time_us;
	w->cells[w->count++] = (struct write_cell){ .feature = feature(name), .value = value_create(str_from(json)) };
	return w;
}

static uint64_t put_at(const char *id, const char *name, const char *json, int64_t time_us)
{
	return write_until(WRITER_PUT, write_of_one(id, name, json, time_us), in_ms(5000));
}

static uint64_t put(const char *id, const char *name, const char *json)
{
	return put_at(id, name, json, 0);
}

static uint64_t remove_row(const char *id)
{
	return write_until(WRITER_DELETE, write_new(0, str_from(id), 0), in_ms(5000));
}

static const struct write *written_by(uint64_t op)
{
	const struct msg *m = wait_for(op);
	assert_int_equal(m->kind, WRITER_WRITTEN);
	assert_int_equal(m->status, RT_OK);
	return ((const struct writer_write *)m)->write;
}

static const struct write *answered(uint64_t op, bool is_pending)
{
	const struct write *w = written_by(op);
	assert_int_equal(w->is_pending, is_pending);
	return w;
}

/* What the store finds; the text lives until the end of the test. NULL: nothing. */
static const char *found(const char *id, const char *name)
{
	uint32_t f = feature(name);
	struct online_batch *m = online_batch_new(LOOP, ONLINE_GET);
	assert_true(online_batch_get(m, 0, str_from(id), &f, 1));
	const struct msg *done = wait_for(rt_ask(&probe->base, store_ref, &m->head, in_ms(60000), ACTOR_NONE));
	assert_true(done->kind == ONLINE_DONE && done->status == RT_OK);
	const struct value *v = ((const struct online_batch *)done)->what->rows[0].gets[0].cell.value;
	return v ? v->json : NULL;
}

static void assert_found(const char *id, const char *name, const char *json)
{
	const char *is = found(id, name);
	if ((is == NULL) != (json == NULL) || (is && strcmp(is, json) != 0))
		fail_msg("%s of %s is %s instead of %s", name, id, is ? is : "none", json ? json : "none");
}

static bool is_behind(const char *id)
{
	return values_is_behind(&fixture.node, 0, str_from(id));
}

static void wait_until_caught_up(const char *id)
{
	for (int ms = 0; ms < 20000 && is_behind(id); ms++)
		run_ms(1);
	assert_false(is_behind(id));
}

static uint64_t published(enum online_result result)
{
	return metrics_counter_value(fixture.node.metrics.published[result]);
}

/* ---- how it ends ---- */

/* The store takes its time: the answer waits for it. */
static void test_applied_before_the_answer(void **state)
{
	(void)state;
	set_store((struct online_fake_config){ .delay_ms_max = 400 });
	uint64_t applied = published(ONLINE_APPLIED);
	for (int i = 0; i < 20; i++) {
		char json[16];
		snprintf(json, sizeof json, "%d", i);
		uint64_t op = put("u1", "base", json);
		assert_int_equal(answered(op, false)->cells[0].outcome, WRITE_DONE);
		set_store((struct online_fake_config){ 0 });
		assert_found("u1", "base", json);
		set_store((struct online_fake_config){ .delay_ms_max = 400 });
	}
	assert_int_equal(published(ONLINE_APPLIED) - applied, 20);
	uint64_t op = remove_row("u1");
	answered(op, false);
	set_store((struct online_fake_config){ 0 });
	assert_found("u1", "base", NULL);
	assert_false(is_behind("u1"));
}

static void test_stale(void **state)
{
	(void)state;
	int64_t now_us = loop_wall_us(LOOP);
	answered(put_at("u1", "base", "2", now_us), false);
	uint64_t stale = published(ONLINE_STALE);
	assert_int_equal(answered(put_at("u1", "base", "1", now_us - 1000), false)->cells[0].outcome, WRITE_STALE);
	assert_found("u1", "base", "2");
	assert_int_equal(published(ONLINE_STALE) - stale, 1);
	/* One without a time is behind what lies ahead. */
	answered(put_at("u1", "base", "3", now_us + 60000000), false);
	assert_int_equal(answered(put("u1", "base", "4"), false)->cells[0].outcome, WRITE_DONE);
	assert_found("u1", "base", "4");
	assert_int_equal(answered(put_at("u1", "brief", "1", now_us - 2000000), false)->cells[0].outcome, WRITE_STALE);
}

/* It is durable, so the answer is well, and says so. */
static void assert_pending_then_there(const char *id)
{
	uint64_t pending = metrics_counter_value(fixture.node.metrics.writes_pending);
	assert_int_equal(answered(put(id, "base", "1"), true)->cells[0].outcome, WRITE_DONE);
	answered(put(id, "base", "2"), true);
	assert_true(is_behind(id));
	assert_int_equal(metrics_counter_value(fixture.node.metrics.writes_pending) - pending, 2);
	heal();
	wait_until_caught_up(id);
	assert_found(id, "base", "2");
	assert_int_equal(values_repair_due(&fixture.node), 0); /* it did not take one */
	answered(put(id, "base", "3"), false);
	assert_found(id, "base", "3");
}

static void test_rows_that_fail(void **state)
{
	(void)state;
	set_store((struct online_fake_config){ .lose_row_permille = 1000 });
	assert_pending_then_there("u1");
	set_store((struct online_fake_config){ .lose_row_permille = 1000 });
	answered(remove_row("u1"), true);
	assert_found("u2", "base", NULL);
	heal();
	wait_until_caught_up("u1");
	assert_found("u1", "base", NULL);
}

static void test_a_store_that_refuses(void **state)
{
	(void)state;
	set_store((struct online_fake_config){ .refuse_permille = 1000 });
	assert_pending_then_there("u1");
}

static void test_a_lost_answer(void **state)
{
	(void)state;
	set_store((struct online_fake_config){ .lose_answer_permille = 1000 });
	assert_pending_then_there("u1");
}

static void test_a_store_that_hangs(void **state)
{
	(void)state;
	ask_store_at(rt_spawn(fixture.store_loop, &frozen_class, NULL));
	uint64_t before_ns = sim_now_ns(fixture.sim);
	answered(put("u0", "base", "1"), true);
	assert_true(sim_now_ns(fixture.sim) - before_ns < (PUBLISHER_ANSWER_MS + 100) * 1000000ull);
	before_ns = sim_now_ns(fixture.sim);
	answered(put("u0", "base", "2"), true); /* it is known to be away */
	assert_true(sim_now_ns(fixture.sim) - before_ns < 100 * 1000000ull);
	assert_pending_then_there("u1");
	assert_found("u0", "base", "2");
	/* A client that waits for less than the store may take has its answer in time. */
	ask_store_at(rt_spawn(fixture.store_loop, &frozen_class, NULL));
	answered(write_until(WRITER_PUT, write_of_one("u2", "base", "1", 0), in_ms(200)), true);
	heal();
	wait_until_caught_up("u2");
	run_ms(3000);
	assert_found("u2", "base", "1");
}

static void test_the_publisher_restarts(void **state)
{
	(void)state;
	set_store((struct online_fake_config){ .lose_row_permille = 1000 });
	answered(put("u1", "base", "1"), true); /* kept */
	ask_store_at(rt_spawn(fixture.store_loop, &frozen_class, NULL));
	uint64_t op = put("u2", "base", "2"); /* under way */
	run_ms(100);
	assert_null(answer_to(op));
	rt_send(LOOP, rt_named(LOOP, NAME_PUBLISHER), rt_msg_new(LOOP, TEST_FAIL));
	answered(op, true);
	assert_true(values_repair_due(&fixture.node) != 0);
	assert_true(is_behind("u1") && is_behind("u2") && is_behind("anybody"));
	heal();
	wait_until_caught_up("u1");
	assert_found("u1", "base", "1");
	assert_found("u2", "base", "2");
	assert_false(is_behind("u2"));
	answered(put("u2", "base", "3"), false);
}

/* The ledger's answer did not come: nobody had the entry to publish it. */
static void test_an_entry_that_nobody_published(void **state)
{
	(void)state;
	ledger_config.delay_ms_max = 2000;
	ledger_fake_set(ledger, &ledger_config);
	struct msg *m = NULL;
	for (int i = 0; i < 20 && (m == NULL || m->kind != RT_DEADLINE); i++)
		m = wait_for(write_until(WRITER_PUT, write_of_one("u1", "base", "7", 0), in_ms(100)));
	assert_int_equal(m->kind, RT_DEADLINE);
	run_ms(5000);
	wait_until_caught_up("u1");
	assert_found("u1", "base", "7");
}

/* ---- bounds ---- */

static const struct write *put_many(const char *id, char fill)
{
	struct write *w = write_new(0, str_from(id), MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		char name[16], json[64];
		snprintf(name, sizeof name, "f%u", i + 1);
		snprintf(json, sizeof json, "\"%c%040u\"", fill, i);
		w->cells[w->count++] = (struct write_cell){ .feature = feature(name),
							    .value = value_create(str_from(json)) };
	}
	return answered(write_until(WRITER_PUT, w, in_ms(5000)), true);
}

static uint64_t kept_now(void)
{
	uint64_t now = values_fall_behind(&fixture.node, 0, STR("nobody")) - 1;
	values_catch_up(&fixture.node, 0, STR("nobody"), false);
	return now;
}

/* The store is away for long. */
static void test_what_is_kept_is_bounded(void **state)
{
	(void)state;
	offline_config.batch_rows = 1000;
	far_restart(2);
	run_ms(100);
	set_store((struct online_fake_config){ .refuse_permille = 1000 });
	for (int i = 0; i < 32; i++) /* of a hot row only the newest is kept */
		put_many("hot", (char)('a' + i % 26));
	assert_int_equal(kept_now(), MANY);
	assert_int_equal(values_repair_due(&fixture.node), 0);
	char id[16];
	uint64_t most = 0;
	for (int i = 0; i < 200; i++) {
		snprintf(id, sizeof id, "u%d", i);
		put_many(id, 'x');
		most = kept_now() > most ? kept_now() : most;
	}
	assert_true(most <= PUBLISHER_KEPT_MAX);
	assert_true(values_repair_due(&fixture.node) != 0);
	assert_true(is_behind("u0"));
	heal();
	wait_until_caught_up("u0");
	run_ms(3000);
	for (int i = 0; i < 200; i += 20) {
		snprintf(id, sizeof id, "u%d", i);
		assert_found(id, "f100", "\"x0000000000000000000000000000000000000099\"");
	}
	assert_found("hot", "f1", "\"f0000000000000000000000000000000000000000\"");
	assert_int_equal(kept_now(), 0);
}

static void test_bytes_that_are_kept_are_bounded(void **state)
{
	(void)state;
	set_store((struct online_fake_config){ .refuse_permille = 1000 });
	char *json = malloc(300001), id[16];
	assert_non_null(json);
	memset(json, '1', 300000);
	json[300000] = '\0';
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof id, "u%d", i);
		answered(put(id, "base", json), true);
		assert_true(kept_now() * 300000 <= PUBLISHER_KEPT_BYTES_MAX);
	}
	assert_true(values_repair_due(&fixture.node) != 0);
	heal();
	wait_until_caught_up("u0");
	assert_found("u0", "base", json);
	free(json);
}

/* ---- positions ---- */

static struct evidence_entry *entry_of(const char *id, const char *name, enum entry_value_source source, uint64_t seen)
{
	struct value *v = value_create(STR("1"));
	const struct values_cell cell = { .feature = feature(name),
					  .entity_id = str_from(id),
					  .value = v,
					  .event_time_us = loop_wall_us(LOOP),
					  .seen = seen };
	struct evidence_entry *e = values_entry_new(&fixture.node, &(struct values_write){ .entity = 0,
											   .source = source,
											   .event_lsn = 1,
											   .seen = seen,
											   .cells = &cell,
											   .count = 1 });
	value_unref(v);
	return e;
}

static struct evidence_append *appended(struct evidence_entry *e)
{
	struct msg *m = wait_for(rt_ask(&probe->base, fixture.stores.evidence.append,
					&evidence_append_new(LOOP, e)->head, in_ms(1000), ACTOR_NONE));
	assert_int_equal(m->kind, EVIDENCE_APPENDED);
	return (struct evidence_append *)m;
}

static struct evidence_append *published_of(struct evidence_append *m)
{
	uint64_t op;
	assert_true(publisher_takes(&probe->base, &fixture.node, &m->head, 0, &op));
	struct msg *done = wait_for(op);
	assert_int_equal(done->kind, EVIDENCE_APPENDED);
	assert_false(publisher_takes(&probe->base, &fixture.node, done, 0, &op)); /* once is enough */
	return (struct evidence_append *)done;
}

static int event_status(const char *id, uint64_t seen, bool *ret_is_sure)
{
	struct evidence_append *m = appended(entry_of(id, "one", ENTRY_TRIGGERED, seen));
	*ret_is_sure = values_was_overtaken(m->entry, 0);
	if (m->head.status == RT_OK)
		published_of(m);
	return m->head.status;
}

/* From the moment that a write has its place until it is published, a reader may not have seen it. */
static void test_an_event_covers_no_write(void **state)
{
	(void)state;
	bool is_sure;
	uint64_t before = values_position(&fixture.node);
	struct evidence_append *m = appended(entry_of("u1", "one", ENTRY_PUSHED, 0));
	uint64_t meanwhile = values_position(&fixture.node);
	assert_int_equal(event_status("u1", before, &is_sure), RT_ECONFLICT);
	assert_true(is_sure);
	assert_int_equal(event_status("u1", meanwhile, &is_sure), RT_ECONFLICT);
	assert_false(is_sure); /* whether it was read is not known */
	assert_int_equal(event_status("u2", meanwhile, &is_sure), RT_OK);
	assert_int_equal(values_result(published_of(m)->entry, 0), ONLINE_APPLIED);
	assert_int_equal(event_status("u1", meanwhile, &is_sure), RT_ECONFLICT);
	assert_true(is_sure);
	assert_int_equal(event_status("u1", values_position(&fixture.node), &is_sure), RT_OK);
	/* What the ledger refused stands in nobody's way. */
	ledger_config.refuse_permille = 1000;
	ledger_fake_set(ledger, &ledger_config);
	assert_int_equal(appended(entry_of("u1", "one", ENTRY_PUSHED, 0))->head.status, RT_EIO);
	ledger_config.refuse_permille = 0;
	ledger_fake_set(ledger, &ledger_config);
	assert_int_equal(event_status("u1", values_position(&fixture.node), &is_sure), RT_OK);
	/* A delete of its row likewise. */
	meanwhile = values_position(&fixture.node);
	answered(remove_row("u1"), false);
	assert_int_equal(event_status("u1", meanwhile, &is_sure), RT_ECONFLICT);
	assert_true(is_sure);
	assert_int_equal(event_status("u1", values_position(&fixture.node), &is_sure), RT_OK);
}

/* What is pending is read from the history, so an event may build on it. */
static void test_an_event_behind_a_pending_write(void **state)
{
	(void)state;
	bool is_sure;
	uint64_t before = values_position(&fixture.node);
	set_store((struct online_fake_config){ .refuse_permille = 1000 });
	answered(put("u1", "one", "5"), true);
	assert_int_equal(event_status("u1", before, &is_sure), RT_ECONFLICT);
	assert_true(is_sure && is_behind("u1"));
	uint64_t behind = values_position(&fixture.node);
	heal();
	wait_until_caught_up("u1");
	assert_int_equal(event_status("u1", behind, &is_sure), RT_OK);
	assert_found("u1", "one", "1");
	assert_true(
	    values_row_was_written(&fixture.node, 0, STR("u1"), behind)); /* nobody joins what read the store then */
}

static void test_a_computed_value_passes_no_delete(void **state)
{
	(void)state;
	struct evidence_append *gone = appended(values_delete_new(&fixture.node, 0, STR("u1"), loop_wall_us(LOOP)));
	uint64_t meanwhile = values_position(&fixture.node);
	struct evidence_append *m = appended(entry_of("u1", "made", ENTRY_COMPUTED, meanwhile));
	published_of(m);
	assert_found("u1", "made", NULL);
	published_of(gone);
	published_of(appended(entry_of("u1", "made", ENTRY_COMPUTED, meanwhile)));
	assert_found("u1", "made", NULL);
	assert_true(values_row_was_deleted(&fixture.node, 0, STR("u1"), meanwhile));
	run_ms(1);
	published_of(appended(entry_of("u1", "made", ENTRY_COMPUTED, values_position(&fixture.node))));
	assert_found("u1", "made", "1");
}

/* Another process has put something newer in the meantime: it stays. */
static void test_the_store_compares(void **state)
{
	(void)state;
	struct evidence_append *m = appended(entry_of("u1", "made", ENTRY_COMPUTED, values_position(&fixture.node)));
	struct online_batch *put_elsewhere = online_batch_new(LOOP, ONLINE_PUT);
	struct value *v = value_create(STR("9"));
	assert_true(
	    online_batch_put(put_elsewhere, 0, STR("u1"),
			     &(struct online_change){ .feature = feature("made"),
						      .value = v,
						      .meta = { .event_time_us = loop_wall_us(LOOP) + 1000000 } },
			     1));
	value_unref(v);
	wait_for(rt_ask(&probe->base, store_ref, &put_elsewhere->head, in_ms(1000), ACTOR_NONE));
	assert_int_equal(values_result(published_of(m)->entry, 0), ONLINE_STALE);
	assert_found("u1", "made", "9");
}

/* ---- the history warms the store, and mends it ---- */

static void test_a_start_fills_an_empty_store(void **state)
{
	(void)state;
	char id[16];
	for (int i = 0; i < 60; i++) {
		snprintf(id, sizeof id, "u%d", i);
		answered(put(id, "base", "1"), false);
	}
	answered(put("u3", "base", "2"), false);
	answered(remove_row("u4"), false);
	far_restart(2);
	uint64_t done = metrics_counter_value(fixture.node.metrics.repairs_done);
	assert_found("u1", "base", NULL); /* it serves before that */
	answered(put_at("u6", "base", "9", loop_wall_us(LOOP) + 60000000), false);
	wait_until_caught_up("u1");
	assert_int_equal(metrics_counter_value(fixture.node.metrics.repairs_done) - done, 1);
	assert_found("u1", "base", "1");
	assert_found("u3", "base", "2");
	assert_found("u4", "base", NULL);
	assert_found("u6", "base", "9"); /* what is newer stays */
	run_ms(5000);
	assert_int_equal(metrics_counter_value(fixture.node.metrics.repairs_done) - done, 1);
	values_repair(&fixture.node); /* the store was away */
	wait_until_caught_up("u1");
	assert_int_equal(metrics_counter_value(fixture.node.metrics.repairs_done) - done, 2);
}

/* It is not done before the store has taken what it can. */
static void test_a_repair_waits_for_the_store(void **state)
{
	(void)state;
	char id[16];
	for (int i = 0; i < 30; i++) {
		snprintf(id, sizeof id, "u%d", i);
		answered(put(id, "base", "1"), false);
	}
	store_config.refuse_permille = 1000;
	far_restart(2);
	run_ms(10000);
	assert_true(is_behind("u1"));
	ask_store_at(rt_spawn(fixture.store_loop, &frozen_class, NULL));
	run_ms(10000);
	assert_true(is_behind("u1"));
	heal();
	set_store((struct online_fake_config){ .lose_row_permille = 200 });
	run_ms(100);
	wait_until_caught_up("u1");
	heal();
	size_t there = 0;
	for (int i = 0; i < 30; i++) {
		snprintf(id, sizeof id, "u%d", i);
		there += found(id, "base") != NULL;
	}
	assert_true(there >= 25); /* a row that fails three times is left */
	/* A history that cannot be read: it is tried again. */
	offline_config.error_permille = 1000;
	far_restart(3);
	heal();
	uint64_t failed = metrics_counter_value(fixture.node.metrics.repairs_failed);
	run_ms(5000);
	assert_true(is_behind("u1"));
	assert_true(metrics_counter_value(fixture.node.metrics.repairs_failed) > failed);
}

/* ---- those who append ---- */

static void assert_is_what_the_log_says(uint64_t seed);

static struct offline_fake_answer rows[] = {
	{ "listed FROM t", "[{\"user_id\":\"u1\",\"listed\":7},{\"user_id\":\"u2\",\"listed\":8}]", RT_OK }
};

static void begin_whole_node(void)
{
	is_whole_node = true;
	offline_config.answers = rows;
	offline_config.answers_count = ARRAY_LEN(rows);
	far_restart(2);
	run_ms(2000);
}

static uint64_t tick(const char *id)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = STR("e"),
							   .event_type = STR("tick"),
							   .entity_id = str_from(id),
							   .payload_json = STR("{}"),
							   .event_time_us = loop_wall_us(LOOP) });
	return rt_ask(&probe->base, rt_named(LOOP, NAME_INGESTOR), &ingest_event_new(LOOP, INGEST_EVENT, e)->head,
		      in_ms(5000), ACTOR_NONE);
}

static void wait_until_applied(size_t count)
{
	for (int ms = 0; ms < 20000 && entries_of(EVIDENCE_EVENT_APPLIED) < count; ms++)
		run_ms(1);
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), count);
}

/* Each builds on what the one before gave, however long the store takes. */
static void test_events_follow_each_other(void **state)
{
	(void)state;
	begin_whole_node();
	set_store((struct online_fake_config){ .delay_ms_max = 50 });
	for (int i = 0; i < 10; i++)
		assert_int_equal(wait_for(tick("u1"))->kind, INGEST_ACCEPTED);
	wait_until_applied(10);
	run_ms(200);
	heal();
	assert_found("u1", "one", "10");
}

/* The store does not have the PUT, and the event builds on it all the same. */
static void test_an_event_sees_what_is_pending(void **state)
{
	(void)state;
	begin_whole_node();
	answered(put("u1", "one", "1"), false);
	set_store((struct online_fake_config){ .refuse_permille = 1000 });
	answered(put("u1", "one", "50"), true);
	assert_int_equal(wait_for(tick("u1"))->kind, INGEST_ACCEPTED);
	wait_until_applied(1);
	assert_int_equal(wait_for(tick("u1"))->kind, INGEST_ACCEPTED); /* and on an event's that is */
	wait_until_applied(2);
	heal();
	wait_until_caught_up("u1");
	assert_found("u1", "one", "52");
	/* The store answers again, and what is pending has not been put yet. */
	set_store((struct online_fake_config){ .refuse_permille = 1000 });
	answered(put("u1", "one", "70"), true);
	run_ms(8000); /* the pauses have become long */
	heal();
	assert_found("u1", "one", "52");
	assert_true(is_behind("u1"));
	assert_int_equal(wait_for(tick("u1"))->kind, INGEST_ACCEPTED);
	wait_until_applied(3);
	wait_until_caught_up("u1");
	run_ms(100);
	assert_found("u1", "one", "71");
}

/* Events and PUTs of one cell that meet while the store is slow and fails: of the log's order the last PUT stands, and each
 * event that was read behind it counts. */
static void test_events_and_writes_that_meet(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 130; seed++) {
		begin_whole_node();
		set_store((struct online_fake_config){ .delay_ms_max = 30,
						       .refuse_permille = seed % 2 ? 200 : 0,
						       .lose_answer_permille = seed % 3 ? 0 : 100,
						       .lose_row_permille = seed % 5 ? 0 : 200 });
		size_t before = entries_of(EVIDENCE_EVENT_APPLIED);
		for (int i = 0; i < 10; i++) {
			wait_for(tick("u1"));
			if (sim_chance(fixture.sim, 500)) {
				uint64_t op = put("u1", "one", "1000");
				if (sim_chance(fixture.sim, 500))
					wait_for(op);
			}
			run_ms(sim_pick(fixture.sim, 60));
		}
		wait_until_applied(before + 10);
		run_ms(3000);
		heal();
		wait_until_caught_up("u1");
		answered(put("u1", "one", "1000"), false); /* none under way is behind it */
		for (int i = 0; i < 3; i++)
			wait_for(tick("u1"));
		wait_until_applied(before + 13);
		run_ms(1000);
		assert_found("u1", "one", "1003");
		assert_is_what_the_log_says(seed);
	}
}

static void test_a_computed_value_gets_there(void **state)
{
	(void)state;
	begin_whole_node();
	assert_value(get_feature("made", "u1"), RECORD_COMPUTE, "1");
	run_ms(100);
	assert_found("u1", "made", "1");
	assert_value(get_feature("made", "u1"), RECORD_CACHE, "1");
	set_store((struct online_fake_config){ .lose_row_permille = 1000 });
	assert_int_equal(get_feature("made", "u2")->state, FEATURE_FOUND);
	run_ms(100);
	assert_true(is_behind("u2"));
	heal();
	wait_until_caught_up("u2");
	assert_found("u2", "made", "1");
}

static void test_materialised_values_get_there(void **state)
{
	(void)state;
	begin_whole_node();
	CHECK(!ref_is_none(
	    rt_supervise(fixture.store_loop, NAME_MATERIALIZER, &materializer_class, &fixture.node, 10, 60000)));
	run_ms(1000);
	assert_found("u1", "listed", "7");
	assert_found("u2", "listed", "8");
	assert_int_equal(materializer_state(&fixture.node, feature("listed")), MATERIALIZED_DONE);
}

/* ---- at random, against an oracle ---- */

static const char *const ids[] = { "u1", "u2", "u3", "u4" }, *const names[] = { "base", "one", "f1", "f2" };

static uint64_t write_at_random(struct sim *sim, int i)
{
	const char *id = ids[sim_pick(sim, ARRAY_LEN(ids))], *name = names[sim_pick(sim, ARRAY_LEN(names))];
	char json[16];
	snprintf(json, sizeof json, "%d", i);
	if (sim_chance(sim, 150))
		return remove_row(id);
	bool is_timed = sim_chance(sim, 400);
	int64_t time_us = is_timed ? loop_wall_us(LOOP) - 2000000 + (int64_t)sim_pick(sim, 3000000) : 0;
	uint64_t patience_ms = sim_chance(sim, 100) ? 5 : 5000; /* nobody is there when the ledger answers */
	return write_until(WRITER_PUT, write_of_one(id, name, json, time_us), in_ms(patience_ms));
}

/* What the embedded table holds when it has read the same log. */
static void assert_is_what_the_log_says(uint64_t seed)
{
	struct online *table = online_create(&(struct online_config){ .bytes_max = 1 << 20, .stripes = 4 });
	struct stores stores = { .online.fast = online_fast(table) };
	struct node n = { .definitions = shared.definitions, .stores = &stores };
	struct warm_counts counts = { 0 };
	struct log_source_entry entry;
	const struct log_source *log = ledger_fake_log_source(ledger);
	struct buf why = { 0 };
	struct log_scan *scan = log->open(log->log, 1, &why);
	while (scan->next(scan, &entry) == LOG_SOURCE_ENTRY)
		warm_start_frame(&n, &entry, loop_wall_us(LOOP), &counts);
	scan->close(scan);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		for (size_t k = 0; k < ARRAY_LEN(names); k++) {
			struct online_cell cell;
			online_get(table, 0, str_from(ids[i]), feature(names[k]), loop_wall_us(LOOP), &cell);
			const char *is = found(ids[i], names[k]), *wanted = cell.value ? cell.value->json : NULL;
			if ((is == NULL) != (wanted == NULL) || (is && strcmp(is, wanted) != 0))
				fail_msg("seed %d: %s of %s is %s instead of %s", (int)seed, names[k], ids[i],
					 is ? is : "none", wanted ? wanted : "none");
			value_unref(cell.value);
		}
	online_destroy(table);
}

static void one_life(uint64_t seed)
{
	struct sim *sim = fixture.sim;
	for (int round = 0; round < 4; round++) {
		set_store((struct online_fake_config){ .delay_ms_max = (uint32_t)sim_pick(sim, 50),
						       .refuse_permille = (unsigned)sim_pick(sim, 300),
						       .lose_answer_permille = (unsigned)sim_pick(sim, 300),
						       .lose_row_permille = (unsigned)sim_pick(sim, 300) });
		for (int i = 0; i < 15; i++) {
			uint64_t op = write_at_random(sim, round * 100 + i);
			if (sim_chance(sim, 100))
				rt_send(LOOP, rt_named(LOOP, NAME_PUBLISHER), rt_msg_new(LOOP, TEST_FAIL));
			if (sim_chance(sim, 700))
				wait_for(op);
			run_ms(sim_pick(sim, 20));
		}
		if (sim_chance(sim, 300))
			run_ms(sim_pick(sim, 5000));
	}
	heal();
	run_ms(10000);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		wait_until_caught_up(ids[i]);
	assert_is_what_the_log_says(seed);
	assert_int_equal(kept_now(), 0);
}

static void test_at_random(void **state)
{
	(void)state;
	for (uint64_t seed = 10; seed < 70; seed++) {
		ledger_config.delay_ms_max = seed % 2 ? 10 : 1;
		ledger_config.refuse_permille = seed % 2 ? 50 : 0;
		is_in_memory = seed % 5 == 0;
		offline_config.error_permille = seed % 3 ? 100 : 0;
		far_end();
		ledger_fake_destroy(ledger);
		ledger = ledger_fake_create(&ledger_config);
		far_begin(seed);
		one_life(seed);
		far_restart(seed + 1000); /* the store is empty */
		heal();
		wait_until_caught_up("u1");
		assert_is_what_the_log_says(seed);
	}
}

#define FAR_TEST(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)

static int run(void)
{
	const struct CMUnitTest tests[] = {
		FAR_TEST(test_applied_before_the_answer),
		FAR_TEST(test_stale),
		FAR_TEST(test_rows_that_fail),
		FAR_TEST(test_a_store_that_refuses),
		FAR_TEST(test_a_lost_answer),
		FAR_TEST(test_a_store_that_hangs),
		FAR_TEST(test_the_publisher_restarts),
		FAR_TEST(test_an_entry_that_nobody_published),
		FAR_TEST(test_what_is_kept_is_bounded),
		FAR_TEST(test_bytes_that_are_kept_are_bounded),
		FAR_TEST(test_an_event_covers_no_write),
		FAR_TEST(test_an_event_behind_a_pending_write),
		FAR_TEST(test_a_computed_value_passes_no_delete),
		FAR_TEST(test_the_store_compares),
		FAR_TEST(test_a_start_fills_an_empty_store),
		FAR_TEST(test_a_repair_waits_for_the_store),
		FAR_TEST(test_events_follow_each_other),
		FAR_TEST(test_an_event_sees_what_is_pending),
		FAR_TEST(test_events_and_writes_that_meet),
		FAR_TEST(test_a_computed_value_gets_there),
		FAR_TEST(test_materialised_values_get_there),
		FAR_TEST(test_at_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
