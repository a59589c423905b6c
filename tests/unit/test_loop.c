/* Loops with real threads: an I/O loop and blocking loops exchange asks, timers fire, stop is orderly. Run
 * under ThreadSanitizer too. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/loop.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORK = MSG_KIND(CLASS_TEST, 1), DONE = MSG_KIND(CLASS_TEST, 2) };

/* ---- worker: answers ---- */
static void worker_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP)
		rt_stop(a);
	else if (m->kind == WORK)
		rt_reply(a, m, rt_msg_new(a->loop, DONE));
}

static const struct actor_class worker_class = {
	.name = "worker",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4096,
	.on_message = worker_on_message,
};

/* ---- driver: asks each worker again and again, `window` at a time ---- */
struct driver_config {
	struct actor_ref workers[3];
	int window, asks;
	_Atomic int replies, failures, drivers_left;
	struct loop *loops[3];
};
struct driver {
	struct actor base;
	struct driver_config *config; /* weak: the test's, outlives the loops */
	int asked, ended;
};

static void driver_ask(struct driver *d)
{
	struct driver_config *c = d->config;
	struct actor_ref to = c->workers[loop_random(d->base.loop) % 3];
	uint64_t deadline_ns = loop_mono_ns(d->base.loop) + 30000000000;
	rt_ask(&d->base, to, rt_msg_new(d->base.loop, WORK), deadline_ns, ACTOR_NONE);
	d->asked++;
}

static void driver_on_message(struct actor *a, struct msg *m)
{
	struct driver *d = (struct driver *)a;
	struct driver_config *c = d->config;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind == WORK) {
		while (d->asked < c->window)
			driver_ask(d);
		return;
	}
	atomic_fetch_add(m->kind == DONE ? &c->replies : &c->failures, 1);
	d->ended++;
	if (d->asked < c->asks)
		driver_ask(d);
	else if (d->ended == c->asks && atomic_fetch_sub(&c->drivers_left, 1) == 1)
		for (int i = 0; i < 3; i++)
			loop_stop(c->loops[i]);
}

static int driver_init(struct actor *a, void *arg)
{
	((struct driver *)a)->config = arg;
	return 0;
}

static const struct actor_class driver_class = {
	.name = "driver",
	.size = sizeof(struct driver),
	.mailbox_len_max = 16,
	.init = driver_init,
	.on_message = driver_on_message,
};

/* Three loops (two kinds), a driver and a worker on each, everybody asks everybody. */
static void run_mesh(int window, int asks)
{
	static const enum loop_kind kinds[3] = { LOOP_IO, LOOP_BLOCKING, LOOP_IO };
	struct driver_config config = { .window = window, .asks = asks, .drivers_left = 3 };
	struct actor_ref drivers[3];
	for (int i = 0; i < 3; i++) {
		config.loops[i] = loop_create(&(struct loop_config){ .name = "mesh", .kind = kinds[i] });
		assert_non_null(config.loops[i]);
		config.workers[i] = rt_spawn(config.loops[i], &worker_class, NULL);
		drivers[i] = rt_spawn(config.loops[i], &driver_class, &config);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_start(config.loops[i]), 0);
	for (int i = 0; i < 3; i++)
		assert_true(loop_post(drivers[i], loop_msg_new(WORK)));
	for (int i = 0; i < 3; i++)
		loop_join(config.loops[i]);
	assert_int_equal(atomic_load(&config.replies), 3 * asks);
	assert_int_equal(atomic_load(&config.failures), 0);
	for (int i = 0; i < 3; i++) {
		struct loop_stats s;
		loop_stats_read(config.loops[i], &s);
		assert_int_equal(s.actors, 0);
		assert_int_equal(s.asks_open, 0);
		assert_true(s.messages >= (uint64_t)asks && s.sends_remote > 0);
		assert_true(s.wakeups > 0 && s.wakeups <= s.turns);
	}
	for (int i = 0; i < 3; i++)
		loop_destroy(config.loops[i]);
}

static void test_mesh_busy(void **state)
{
	(void)state;
	run_mesh(64, 30000);
}

/* One ask at a time: the loops sleep between messages, so each hop goes through the wake-up protocol. */
static void test_mesh_sleepy(void **state)
{
	(void)state;
	run_mesh(1, 5000);
}

/* ---- chaos: short lives, short deadlines, dying tokens, small bounds, on three threads ---- */
enum { CHAOS_REQUESTS = 1500, CHAOS_ASKS = 4 };

struct chaos {
	struct loop *loops[3];
	struct actor_ref servants[3], masters[3];
	_Atomic long endings, expected, payloads;
	_Atomic int masters_left;
};
static struct chaos chaos;

struct parcel {
	struct msg head;
	char *text; /* owned */
};

static void parcel_dispose(struct msg *m)
{
	free(((struct parcel *)m)->text);
	atomic_fetch_sub(&chaos.payloads, 1);
}

static struct msg *parcel_new(struct loop *loop, uint16_t kind)
{
	struct parcel *p = rt_msg_new(loop, kind);
	p->text = strdup("a payload on the heap");
	p->head.dispose = parcel_dispose;
	atomic_fetch_add(&chaos.payloads, 1);
	return &p->head;
}

/* Answers, keeps, refuses, ignores, or ends for good. */
struct servant {
	struct actor base;
	struct msg *kept;
};

static void servant_on_message(struct actor *a, struct msg *m)
{
	struct servant *s = (struct servant *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	uint64_t dice = loop_random(a->loop) % 100;
	if (dice < 20 && s->kept == NULL) {
		rt_msg_take(m);
		s->kept = m;
	} else if (dice < 30) {
		rt_refuse(a, m, RT_EIO);
	} else if (loop_random(a->loop) % 4000 == 0) {
		rt_stop(a);
	} else if (dice < 90) {
		rt_reply(a, m, parcel_new(a->loop, DONE));
	}
	if (s->kept != NULL && dice >= 50) {
		rt_reply(a, s->kept, parcel_new(a->loop, DONE));
		s->kept = NULL;
	}
}

static void servant_finish(struct actor *a)
{
	struct servant *s = (struct servant *)a;
	if (s->kept != NULL)
		rt_msg_free(a->loop, s->kept);
}

static const struct actor_class servant_class = {
	.name = "servant",
	.size = sizeof(struct servant),
	.mailbox_len_max = 8,
	.on_message = servant_on_message,
	.finish = servant_finish,
};

/* One request: asks all servants, ends when all asks have ended, or earlier. */
struct errand {
	struct actor base;
	struct actor_ref master;
	int round, waiting;
	uint64_t open[CHAOS_ASKS];
};

/* Late endings of one round meet the asks of the next in the same entries. */
static void errand_ask(struct errand *e)
{
	struct loop *loop = e->base.loop;
	for (int i = 0; i < CHAOS_ASKS; i++) {
		struct actor_ref to = chaos.servants[loop_random(loop) % 3];
		uint64_t deadline = loop_mono_ns(loop) + loop_random(loop) % 3000000 + 1;
		struct actor_ref token = loop_random(loop) % 4 == 0 ? e->master : e->base.self;
		e->open[i] = rt_ask(&e->base, to, parcel_new(loop, WORK), deadline, token);
	}
	e->round++;
	e->waiting = CHAOS_ASKS;
	atomic_fetch_add(&chaos.expected, CHAOS_ASKS);
}

static void errand_done(struct errand *e)
{
	rt_send(e->base.loop, e->master, rt_msg_new(e->base.loop, DONE));
	rt_stop(&e->base);
}

static void errand_on_message(struct actor *a, struct msg *m)
{
	struct errand *e = (struct errand *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind == WORK) {
		e->master = m->from;
		errand_ask(e);
		return;
	}
	int i = 0;
	while (i < CHAOS_ASKS && e->open[i] != m->op)
		i++;
	CHECK(i < CHAOS_ASKS); /* an ending of an ask that has ended */
	e->open[i] = 0;
	atomic_fetch_add(&chaos.endings, 1);
	e->waiting--;
	if (loop_random(a->loop) % 20 == 0 && e->waiting > 0) {
		atomic_fetch_sub(&chaos.expected, e->waiting); /* gone: nobody hears the rest */
		errand_done(e);
	} else if (e->waiting == 0 && e->round < 3) {
		errand_ask(e);
	} else if (e->waiting == 0) {
		errand_done(e);
	}
}

static const struct actor_class errand_class = {
	.name = "errand",
	.size = sizeof(struct errand),
	.mailbox_len_max = 8,
	.on_message = errand_on_message,
};

/* Starts errands, a few at a time. */
struct master {
	struct actor base;
	int started, done;
};

static void master_start(struct master *x)
{
	struct loop *loop = x->base.loop;
	rt_send(loop, rt_spawn(loop, &errand_class, NULL), rt_msg_new(loop, WORK));
	x->started++;
}

static void master_on_message(struct actor *a, struct msg *m)
{
	struct master *x = (struct master *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind == DONE)
		x->done++;
	while (x->started < CHAOS_REQUESTS && x->started - x->done < 10)
		master_start(x);
	if (x->done == CHAOS_REQUESTS && atomic_fetch_sub(&chaos.masters_left, 1) == 1)
		for (int i = 0; i < 3; i++)
			loop_stop(chaos.loops[i]);
}

static const struct actor_class master_class = {
	.name = "master",
	.size = sizeof(struct master),
	.mailbox_len_max = 64,
	.on_message = master_on_message,
};

static void test_chaos(void **state)
{
	(void)state;
	static const enum loop_kind kinds[3] = { LOOP_IO, LOOP_BLOCKING, LOOP_IO };
	memset(&chaos, 0, sizeof chaos);
	chaos.masters_left = 3;
	for (int i = 0; i < 3; i++) {
		chaos.loops[i] = loop_create(&(struct loop_config){
		    .name = "chaos", .kind = kinds[i], .inbox_max = 24, .asks_max = 32, .is_background = i == 1 });
		chaos.servants[i] = rt_spawn(chaos.loops[i], &servant_class, NULL);
		chaos.masters[i] = rt_spawn(chaos.loops[i], &master_class, NULL);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_start(chaos.loops[i]), 0);
	for (int i = 0; i < 3; i++)
		assert_true(loop_post(chaos.masters[i], loop_msg_new(WORK)));
	for (int i = 0; i < 3; i++)
		loop_join(chaos.loops[i]);
	for (int i = 0; i < 3; i++)
		loop_destroy(chaos.loops[i]); /* checks the pools */
	assert_true(atomic_load(&chaos.endings) == atomic_load(&chaos.expected));
	assert_int_equal(atomic_load(&chaos.payloads), 0);
}

/* ---- a long turn is counted ---- */
static void slow_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	for (uint64_t end = clock_mono_ns() + 6000000; clock_mono_ns() < end;)
		;
	loop_stop(a->loop);
}

static const struct actor_class slow_class = {
	.name = "slow",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = slow_on_message,
};

static void count_call(void *arg)
{
	++*(int *)arg;
}

static void test_stall_and_hook(void **state)
{
	(void)state;
	int calls = 0;
	struct loop_stats s;
	struct loop *loop = loop_create(&(struct loop_config){ .name = "slow", .kind = LOOP_IO });
	loop_on_turn_end(loop, count_call, &calls);
	rt_send(loop, rt_spawn(loop, &slow_class, NULL), rt_msg_new(loop, WORK));
	loop_run(loop);
	loop_stats_read(loop, &s);
	loop_destroy(loop);
	assert_true(s.turns_over_5ms >= 1);
	assert_true(calls >= 1 && (uint64_t)calls == s.turns);
}

/* ---- work that is left to a hook between a turn and the sleep ---- */
struct left_over {
	struct loop *loop;
	bool is_left, is_late, was_late;
};

static void leave_to_the_hook(uv_timer_t *timer)
{
	struct left_over *l = timer->data;
	l->is_left = true;
	loop_want_turn(l->loop);
}

static void on_late(uv_timer_t *timer)
{
	((struct left_over *)timer->data)->is_late = true;
}

static void do_what_is_left(void *arg)
{
	struct left_over *l = arg;
	if (!l->is_left)
		return;
	l->was_late = l->is_late;
	loop_stop(l->loop);
}

static void test_a_wanted_turn_comes_before_the_sleep(void **state)
{
	(void)state;
	struct left_over l = { .loop = loop_create(&(struct loop_config){ .name = "left", .kind = LOOP_IO }) };
	uv_timer_t leaves, late;
	uv_timer_init(loop_uv(l.loop), &leaves);
	uv_timer_init(loop_uv(l.loop), &late);
	leaves.data = late.data = &l;
	uv_timer_start(&leaves, leave_to_the_hook, 1, 0);
	uv_timer_start(&late, on_late, 5000, 0);
	loop_on_turn_end(l.loop, do_what_is_left, &l);
	loop_run(l.loop);
	uv_close((uv_handle_t *)&leaves, NULL);
	uv_close((uv_handle_t *)&late, NULL);
	loop_destroy(l.loop);
	assert_true(l.is_left && !l.was_late);
}

/* ---- timers on real loops ---- */
struct ticker {
	struct actor base;
	uint64_t start_ns;
	int ticks;
};
static uint64_t tick_ns[5];

static void ticker_on_message(struct actor *a, struct msg *m)
{
	struct ticker *t = (struct ticker *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	tick_ns[t->ticks++] = clock_mono_ns() - t->start_ns;
	if (t->ticks == 5)
		loop_stop(a->loop);
}

static int ticker_init(struct actor *a, void *arg)
{
	(void)arg;
	struct ticker *t = (struct ticker *)a;
	t->start_ns = clock_mono_ns();
	static const uint64_t delays_ms[5] = { 70, 1, 30, 0, 5 };
	for (int i = 0; i < 5; i++)
		rt_timer_start(a, delays_ms[i], 1);
	return 0;
}

static const struct actor_class ticker_class = {
	.name = "ticker",
	.size = sizeof(struct ticker),
	.mailbox_len_max = 4,
	.init = ticker_init,
	.on_message = ticker_on_message,
};

static void test_timers(void **state)
{
	(void)state;
	for (enum loop_kind kind = LOOP_IO; kind <= LOOP_BLOCKING; kind++) {
		struct loop *loop = loop_create(&(struct loop_config){ .name = "timers", .kind = kind });
		rt_spawn(loop, &ticker_class, NULL);
		loop_run(loop);
		loop_destroy(loop);
		static const uint64_t least_ms[5] = { 0, 1, 5, 30, 70 };
		for (int i = 0; i < 5; i++)
			assert_true(tick_ns[i] + 100000 >= least_ms[i] * 1000000);
	}
}

/* ---- an actor that will not end is ended after the grace time ---- */
static void deaf_on_message(struct actor *a, struct msg *m)
{
	(void)a;
	(void)m;
}

static const struct actor_class deaf_class = {
	.name = "deaf",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = deaf_on_message,
};

static void test_grace(void **state)
{
	(void)state;
	for (enum loop_kind kind = LOOP_IO; kind <= LOOP_BLOCKING; kind++) {
		struct loop *loop = loop_create(&(struct loop_config){ .name = "deaf", .kind = kind, .grace_ms = 20 });
		struct actor_ref deaf = rt_spawn(loop, &deaf_class, NULL);
		uint64_t start = clock_mono_ns();
		loop_start(loop);
		loop_stop(loop);
		loop_join(loop);
		assert_true(clock_mono_ns() - start >= 20000000);
		assert_false(rt_alive(deaf));
		assert_false(loop_post(deaf, loop_msg_new(WORK)));
		loop_destroy(loop);
	}
}

/* ---- a cached clock must not be as old as the sleep before the I/O callback ---- */
static uint64_t seen_error_ns;

static void on_late_timer(uv_timer_t *timer)
{
	struct loop *loop = timer->data;
	uint64_t now = clock_mono_ns(), cached = loop_mono_ns(loop);
	seen_error_ns = now > cached ? now - cached : cached - now;
	uv_close((uv_handle_t *)timer, NULL);
	loop_stop(loop);
}

static void test_clock_in_callbacks(void **state)
{
	(void)state;
	struct loop *loop = loop_create(&(struct loop_config){ .name = "clock", .kind = LOOP_IO });
	uv_timer_t timer = { .data = loop };
	uv_timer_init(loop_uv(loop), &timer);
	uv_timer_start(&timer, on_late_timer, 50, 0);
	loop_run(loop);
	loop_destroy(loop);
	assert_true(seen_error_ns < 20000000);
}

int main(void)
{
	alarm(240); /* a lost wake-up must not hang the suite */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_grace),
		cmocka_unit_test(test_clock_in_callbacks),
		cmocka_unit_test(test_stall_and_hook),
		cmocka_unit_test(test_a_wanted_turn_comes_before_the_sleep),
		cmocka_unit_test(test_chaos),
		cmocka_unit_test(test_mesh_busy),
		cmocka_unit_test(test_mesh_sleepy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
