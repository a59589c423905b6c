/* Actors on simulated loops: the real runtime, but time and order are the test's. */
#include "runtime/sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { PING = MSG_KIND(CLASS_TEST, 1), PONG = MSG_KIND(CLASS_TEST, 2), GO = MSG_KIND(CLASS_TEST, 3) };

static struct sim *sim;
static int disposed; /* counts the payloads released; reset by each test */

static int setup(void **state)
{
	(void)state;
	sim = sim_create(&(struct sim_config){ .seed = 7, .loops = 2, .delay_max_us = 10 });
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	struct buf why = { 0 };
	sim_stop(sim);
	bool ok = sim_is_balanced(sim, &why);
	if (!ok)
		print_error("%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	sim_destroy(sim);
	return ok ? 0 : -1;
}

/* ---- a callee that does what the request's first payload word says ---- */
enum echo_mode { ECHO_REPLY, ECHO_KEEP, ECHO_STOP, ECHO_FAIL, ECHO_IGNORE, ECHO_REFUSE, ECHO_KEEP_AND_REPLY };
struct ping {
	struct msg head;
	enum echo_mode mode;
	int *counter;
};
struct echo {
	struct actor base;
	struct msg *kept[8];
	int kept_len;
};

static int echo_turn_ends, echo_finishes, echo_handled, echo_stops;

static void echo_on_message(struct actor *a, struct msg *m)
{
	struct echo *e = (struct echo *)a;
	if (m->kind == RT_STOP) {
		echo_stops++;
		rt_stop(a);
		return;
	}
	echo_handled++;
	switch (((struct ping *)m)->mode) {
	case ECHO_REPLY:
		rt_reply(a, m, rt_msg_new(a->loop, PONG));
		return;
	case ECHO_KEEP:
		rt_msg_take(m);
		e->kept[e->kept_len++] = m;
		return;
	case ECHO_STOP:
		rt_stop(a);
		return;
	case ECHO_FAIL:
		rt_fail(a, "told to");
		return;
	case ECHO_IGNORE:
		return;
	case ECHO_REFUSE:
		rt_refuse(a, m, RT_EREADONLY);
		return;
	case ECHO_KEEP_AND_REPLY:
		rt_msg_take(m);
		rt_reply(a, m, rt_msg_new(a->loop, PONG));
		return;
	}
}

static void echo_on_turn_end(struct actor *a)
{
	(void)a;
	echo_turn_ends++;
}

static void echo_finish(struct actor *a)
{
	struct echo *e = (struct echo *)a;
	echo_finishes++;
	while (e->kept_len > 0)
		rt_msg_free(a->loop, e->kept[--e->kept_len]);
}

static const struct actor_class echo_class = {
	.name = "echo",
	.size = sizeof(struct echo),
	.mailbox_len_max = 4,
	.on_message = echo_on_message,
	.on_turn_end = echo_on_turn_end,
	.finish = echo_finish,
};

/* ---- a caller that writes down what came back ---- */
struct caller {
	struct actor base;
	int endings;
	uint16_t kind;
	int status;
	uint64_t op;
	uint64_t at_ns;
	uint64_t ops[16]; /* of the first endings */
	int timers;
	uint64_t timer_ops[8];
	struct actor_ref child_down;
	char reason[40];
};

static void caller_on_message(struct actor *a, struct msg *m)
{
	struct caller *c = (struct caller *)a;
	switch (m->kind) {
	case RT_STOP:
		rt_stop(a);
		return;
	case RT_TIMER:
		c->timer_ops[c->timers++] = m->op;
		c->at_ns = loop_mono_ns(a->loop);
		return;
	case RT_CHILD_DOWN:
		c->child_down = ((struct rt_child_down *)m)->child;
		memcpy(c->reason, ((struct rt_child_down *)m)->reason, sizeof c->reason);
		return;
	default:
		if (c->endings < 16)
			c->ops[c->endings] = m->op;
		c->endings++;
		c->kind = m->kind;
		c->status = m->status;
		c->op = m->op;
		c->at_ns = loop_mono_ns(a->loop);
	}
}

static int caller_init(struct actor *a, void *arg)
{
	*(struct caller **)arg = (struct caller *)a;
	return 0;
}

static const struct actor_class caller_class = {
	.name = "caller",
	.size = sizeof(struct caller),
	.mailbox_len_max = 64,
	.init = caller_init,
	.on_message = caller_on_message,
};

static void ping_dispose(struct msg *m)
{
	struct ping *p = (struct ping *)m;
	if (p->counter != NULL)
		(*p->counter)++;
}

static struct msg *ping_new(struct loop *loop, enum echo_mode mode, int *counter)
{
	struct ping *p = rt_msg_new(loop, PING);
	p->mode = mode;
	p->counter = counter;
	p->head.dispose = ping_dispose;
	return &p->head;
}

static struct caller *caller_new(unsigned loop)
{
	struct caller *c = NULL;
	rt_spawn(sim_loop(sim, loop), &caller_class, &c);
	return c;
}

static struct actor_ref echo_new(unsigned loop)
{
	echo_turn_ends = echo_finishes = echo_handled = echo_stops = 0;
	return rt_spawn(sim_loop(sim, loop), &echo_class, NULL);
}

static uint64_t ask(struct caller *c, struct actor_ref to, enum echo_mode mode, int *counter)
{
	struct loop *loop = c->base.loop;
	return rt_ask(&c->base, to, ping_new(loop, mode, counter), loop_mono_ns(loop) + 100000000, ACTOR_NONE);
}

static struct loop_stats stats(unsigned loop)
{
	struct loop_stats s;
	loop_stats_read(sim_loop(sim, loop), &s);
	return s;
}

/* ---- tests ---- */
static void test_reply(void **state)
{
	(void)state;
	for (unsigned callee = 0; callee < 2; callee++) {
		for (enum echo_mode mode = ECHO_REPLY; mode <= ECHO_KEEP_AND_REPLY; mode += ECHO_KEEP_AND_REPLY) {
			struct caller *c = caller_new(0);
			struct actor_ref echo = echo_new(callee);
			disposed = 0;
			uint64_t op = ask(c, echo, mode, &disposed);
			assert_true(op != 0);
			sim_run(sim, 1000);
			assert_int_equal(c->endings, 1);
			assert_int_equal(c->kind, PONG);
			assert_true(c->op == op);
			assert_int_equal(disposed, 1);
			assert_int_equal(echo_turn_ends, 1);
			assert_int_equal(stats(0).asks_open, 0);
		}
	}
}

static void test_down(void **state)
{
	(void)state;
	static const struct {
		enum echo_mode mode;
		int status;
	} cases[] = {
		{ ECHO_STOP, RT_EDEAD },
		{ ECHO_FAIL, RT_EDEAD },
		{ ECHO_IGNORE, RT_EINVAL },
		{ ECHO_REFUSE, RT_EREADONLY },
	};
	for (unsigned callee = 0; callee < 2; callee++) {
		for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
			struct caller *c = caller_new(0);
			struct actor_ref echo = echo_new(callee);
			disposed = 0;
			uint64_t start = sim_now_ns(sim);
			ask(c, echo, cases[i].mode, &disposed);
			assert_int_equal(c->endings, 0); /* never inside rt_ask */
			sim_run(sim, 1000);
			assert_int_equal(c->endings, 1);
			assert_int_equal(c->kind, RT_DOWN);
			assert_int_equal(c->status, cases[i].status);
			assert_true(c->at_ns - start < 10000000);
			assert_int_equal(disposed, 1);
		}
	}
}

/* The callee has taken the request and dies later: the asker learns it at once, not at the deadline. */
static void test_down_of_taken(void **state)
{
	(void)state;
	for (unsigned callee = 0; callee < 2; callee++) {
		struct caller *c = caller_new(0);
		struct actor_ref echo = echo_new(callee);
		disposed = 0;
		ask(c, echo, ECHO_KEEP, &disposed);
		sim_run(sim, 50);
		assert_int_equal(c->endings, 0);
		assert_int_equal(disposed, 0);
		uint64_t start = sim_now_ns(sim);
		rt_send(sim_loop(sim, callee), echo, ping_new(sim_loop(sim, callee), ECHO_STOP, NULL));
		sim_run(sim, 1000);
		assert_int_equal(c->endings, 1);
		assert_int_equal(c->kind, RT_DOWN);
		assert_true(c->at_ns - start < 10000000);
		assert_int_equal(disposed, 1);
		assert_false(rt_alive(echo));
	}
}

static void test_dead_ref(void **state)
{
	(void)state;
	struct actor_ref first = echo_new(0);
	rt_send(sim_loop(sim, 0), first, ping_new(sim_loop(sim, 0), ECHO_STOP, NULL));
	sim_run(sim, 10);
	struct actor_ref second = echo_new(0); /* the same slot, the next generation */
	assert_false(ref_eq(first, second));
	assert_false(rt_alive(first));
	assert_true(rt_alive(second));
	disposed = 0;
	assert_false(rt_send(sim_loop(sim, 0), first, ping_new(sim_loop(sim, 0), ECHO_STOP, &disposed)));
	assert_int_equal(disposed, 1);
	assert_false(rt_send(sim_loop(sim, 1), first, ping_new(sim_loop(sim, 1), ECHO_STOP, &disposed)));
	assert_int_equal(disposed, 2);
	assert_false(rt_send(sim_loop(sim, 0), ACTOR_NONE, ping_new(sim_loop(sim, 0), ECHO_STOP, &disposed)));
	struct caller *c = caller_new(0);
	ask(c, first, ECHO_REPLY, &disposed);
	sim_run(sim, 10);
	assert_int_equal(c->kind, RT_DOWN);
	assert_int_equal(c->status, RT_EDEAD);
	assert_true(rt_alive(second));
	assert_int_equal(echo_handled, 0);
}

static void test_deadline_and_late_reply(void **state)
{
	(void)state;
	struct caller *c = caller_new(0);
	struct actor_ref echo = echo_new(0);
	uint64_t start = sim_now_ns(sim), late = stats(0).dropped_late_reply;
	ask(c, echo, ECHO_KEEP, NULL);
	sim_run(sim, 1000);
	assert_int_equal(c->endings, 1);
	assert_int_equal(c->kind, RT_DEADLINE);
	assert_in_range(c->at_ns - start, 100000000, 102000000);
	/* A reply after the deadline goes nowhere. */
	rt_ask_cancel(&c->base, c->op);
	uint64_t op = ask(c, echo, ECHO_REPLY, NULL);
	rt_ask_cancel(&c->base, op);
	sim_run(sim, 1000);
	assert_int_equal(c->endings, 1);
	assert_int_equal(stats(0).dropped_late_reply, late + 1);
}

/* A request that waits beyond its deadline is not handled any more. */
static void test_deadline_at_dequeue(void **state)
{
	(void)state;
	struct caller *c = caller_new(0);
	struct actor_ref echo = echo_new(0);
	disposed = 0;
	rt_ask(&c->base, echo, ping_new(c->base.loop, ECHO_REPLY, &disposed), 1, ACTOR_NONE);
	sim_run(sim, 10);
	assert_int_equal(c->endings, 1);
	assert_int_equal(c->kind, RT_DEADLINE);
	assert_int_equal(echo_handled, 0);
	assert_int_equal(disposed, 1);
	assert_int_equal(stats(0).dropped_deadline, 1);
}

static void test_cancel_token(void **state)
{
	(void)state;
	for (unsigned callee = 0; callee < 2; callee++) {
		struct caller *c = caller_new(0), *token = caller_new(0);
		struct actor_ref echo = echo_new(callee);
		disposed = 0;
		rt_ask(&c->base, echo, ping_new(c->base.loop, ECHO_KEEP, &disposed), UINT64_MAX, token->base.self);
		sim_run(sim, 10);
		rt_stop(&token->base);
		struct actor_ref dead = token->base.self;
		sim_run(sim, 10);
		assert_int_equal(c->endings, 1);
		assert_int_equal(c->kind, RT_CANCELLED);
		/* Work for a token that is gone is not started. */
		int handled = echo_handled;
		rt_ask(&c->base, echo, ping_new(c->base.loop, ECHO_KEEP, &disposed), UINT64_MAX, dead);
		sim_run(sim, 10);
		assert_int_equal(c->endings, 2);
		assert_int_equal(c->kind, RT_CANCELLED);
		assert_int_equal(echo_handled, handled);
	}
}

/* The token dies while the request is on its way to another loop. */
static void test_cancel_on_the_way(void **state)
{
	(void)state;
	struct caller *c = caller_new(0), *token = caller_new(0);
	struct actor_ref echo = echo_new(1);
	disposed = 0;
	rt_ask(&c->base, echo, ping_new(c->base.loop, ECHO_KEEP, &disposed), UINT64_MAX, token->base.self);
	rt_stop(&token->base);
	sim_run(sim, 10);
	assert_int_equal(c->endings, 1);
	assert_int_equal(c->kind, RT_CANCELLED);
	assert_int_equal(echo_handled, 0);
	assert_int_equal(disposed, 1);
	assert_int_equal(stats(1).dropped_cancelled, 1);
}

static void test_full_mailbox(void **state)
{
	(void)state;
	struct caller *c = caller_new(0);
	struct loop *loop = c->base.loop;
	struct actor_ref echo = echo_new(0);
	disposed = 0;
	for (int i = 0; i < 4; i++)
		assert_true(rt_send(loop, echo, ping_new(loop, ECHO_REPLY, &disposed)));
	assert_false(rt_send(loop, echo, ping_new(loop, ECHO_REPLY, &disposed)));
	ask(c, echo, ECHO_REPLY, &disposed);
	assert_int_equal(disposed, 2);
	sim_run(sim, 10);
	assert_int_equal(c->kind, RT_DOWN);
	assert_int_equal(c->status, RT_EFULL);
	assert_int_equal(echo_handled, 4);
	assert_int_equal(stats(0).refused_full, 2);
	/* From another loop the refusal comes back as the ending of the ask. */
	struct caller *far = caller_new(1);
	for (int i = 0; i < 5; i++)
		ask(far, echo, ECHO_REPLY, NULL);
	sim_run(sim, 10);
	assert_int_equal(far->endings, 5);
	assert_int_equal(stats(0).refused_full, 3);
}

static void test_full_ask_table(void **state)
{
	(void)state;
	sim_stop(sim);
	sim_destroy(sim);
	sim = sim_create(&(struct sim_config){ .seed = 1, .loops = 2, .asks_max = 2 });
	struct caller *c = caller_new(0);
	struct actor_ref echo = echo_new(0);
	ask(c, echo, ECHO_KEEP, NULL);
	ask(c, echo, ECHO_KEEP, NULL);
	uint64_t refused = ask(c, echo, ECHO_KEEP, NULL), forgotten = ask(c, echo, ECHO_KEEP, NULL);
	assert_true(refused != 0 && forgotten != 0 && refused != forgotten);
	rt_ask_cancel(&c->base, forgotten);
	sim_run(sim, 10);
	assert_int_equal(c->endings, 1);
	assert_true(c->op == refused);
	assert_int_equal(c->status, RT_EFULL);
}

/* An actor for one request does not outlive a request that it never saw. */
static void test_spawn_ask(void **state)
{
	(void)state;
	sim_stop(sim);
	sim_destroy(sim);
	sim = sim_create(&(struct sim_config){ .seed = 1, .loops = 2, .asks_max = 2 });
	struct caller *c = caller_new(0), *token = caller_new(0);
	struct loop *loop = c->base.loop;
	const struct actor_ref gone = token->base.self;
	uint32_t actors = stats(0).actors;
	echo_handled = 0;

	rt_spawn_ask(&c->base, &echo_class, NULL, ping_new(loop, ECHO_REPLY, NULL), 1, ACTOR_NONE); /* too late */
	sim_run(sim, 10);
	assert_int_equal(c->kind, RT_DEADLINE);
	rt_spawn_ask(&c->base, &echo_class, NULL, ping_new(loop, ECHO_REPLY, NULL), UINT64_MAX, gone);
	rt_stop(&token->base); /* on its way */
	sim_run(sim, 10);
	assert_int_equal(c->kind, RT_CANCELLED);
	rt_spawn_ask(&c->base, &echo_class, NULL, ping_new(loop, ECHO_REPLY, NULL), UINT64_MAX,
		     gone); /* before it is sent */
	sim_run(sim, 10);
	assert_int_equal(c->kind, RT_CANCELLED);
	assert_int_equal(echo_handled, 0);
	assert_int_equal(stats(0).actors, actors - 1);

	for (int i = 0; i < 3; i++) /* the third finds no room in the table of asks */
		rt_spawn_ask(&c->base, &echo_class, NULL, ping_new(loop, i ? ECHO_KEEP : ECHO_REPLY, NULL), UINT64_MAX,
			     ACTOR_NONE);
	sim_run(sim, 10);
	assert_int_equal(echo_handled, 2);
	assert_int_equal(c->endings, 5);
	assert_int_equal(stats(0).actors, actors - 1 + 2); /* those that saw it end when they like */
}

static void test_timers(void **state)
{
	(void)state;
	struct caller *c = caller_new(0);
	uint64_t start = sim_now_ns(sim);
	rt_timer_start(&c->base, 30, 3);
	uint64_t stopped = rt_timer_start(&c->base, 20, 2);
	rt_timer_start(&c->base, 10, 1);
	rt_timer_stop(&c->base, stopped);
	rt_timer_stop(&c->base, stopped);
	sim_run(sim, 1000);
	assert_int_equal(c->timers, 2);
	assert_int_equal(c->timer_ops[0], 1);
	assert_int_equal(c->timer_ops[1], 3);
	assert_in_range(c->at_ns - start, 30000000, 32000000);
	rt_timer_start(&c->base, 1000000, 9); /* dies with the actor */
	rt_stop(&c->base);
	assert_int_equal(sim_run(sim, 2000000), SIM_QUIET);
}

/* Replies run before requests that came first. */
static void test_urgent_first(void **state)
{
	(void)state;
	struct caller *c = caller_new(0);
	struct loop *loop = c->base.loop;
	for (int i = 0; i < 3; i++) {
		struct msg *m = rt_msg_new(loop, GO);
		assert_true(rt_send(loop, c->base.self, m));
	}
	struct msg *m = rt_msg_new(loop, PONG);
	m->flags = MSG_URGENT;
	m->op = 99;
	rt_send(loop, c->base.self, m);
	while (c->endings == 0)
		sim_run(sim, 1);
	sim_run(sim, 10);
	assert_int_equal(c->endings, 4);
	assert_int_equal(c->kind, GO); /* the last, not the urgent one */
}

/* What one actor sends to another arrives in that order, in one batch and over several. */
static void test_order_between_loops(void **state)
{
	(void)state;
	struct caller *c = caller_new(1);
	struct loop *loop = sim_loop(sim, 0);
	for (uint64_t i = 0; i < 12; i++) {
		struct msg *m = rt_msg_new(loop, GO);
		m->op = i;
		assert_true(rt_send(loop, c->base.self, m));
		if (i % 5 == 4)
			sim_run(sim, 1);
	}
	sim_run(sim, 10);
	assert_int_equal(c->endings, 12);
	for (uint64_t i = 0; i < 12; i++)
		assert_true(c->ops[i] == i);
}

static struct actor_ref forward_to;

static void forwarder_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	rt_msg_take(m);
	rt_send(a->loop, forward_to, m);
}

static const struct actor_class forwarder_class = {
	.name = "forwarder",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = forwarder_on_message,
};

/* A request that is handed on is answered by whoever has it in the end, or by its death there. */
static void test_forward(void **state)
{
	(void)state;
	static const enum echo_mode modes[] = { ECHO_REPLY, ECHO_STOP };
	static const uint16_t kinds[] = { PONG, RT_DOWN };
	for (unsigned far = 0; far < 2; far++) {
		for (int i = 0; i < 2; i++) {
			struct caller *c = caller_new(0);
			struct actor_ref forwarder = rt_spawn(sim_loop(sim, 1), &forwarder_class, NULL);
			forward_to = echo_new(far);
			disposed = 0;
			ask(c, forwarder, modes[i], &disposed);
			sim_run(sim, 50);
			assert_int_equal(c->endings, 1);
			assert_int_equal(c->kind, kinds[i]);
			assert_int_equal(disposed, 1);
		}
	}
}

static void test_supervision(void **state)
{
	(void)state;
	struct loop *loop = sim_loop(sim, 0);
	echo_finishes = 0;
	struct actor_ref first = rt_supervise(loop, 5, &echo_class, NULL, 2, 1000);
	assert_true(ref_eq(rt_named(loop, 5), first));
	struct actor_ref last = first;
	for (int i = 0; i < 2; i++) {
		rt_send(loop, rt_named(loop, 5), ping_new(loop, ECHO_FAIL, NULL));
		sim_run(sim, 10);
		assert_false(ref_is_none(rt_named(loop, 5)));
		assert_false(ref_eq(rt_named(loop, 5), last));
		last = rt_named(loop, 5);
	}
	assert_false(loop_failed(loop));
	sim_run(sim, 2000); /* no event: the clock stays, so the window is still open */
	rt_send(loop, rt_named(loop, 5), ping_new(loop, ECHO_FAIL, NULL));
	sim_run(sim, 10);
	assert_true(ref_is_none(rt_named(loop, 5)));
	assert_true(loop_failed(loop));
	assert_int_equal(stats(0).restarts, 2);
	assert_int_equal(echo_finishes, 3);
}

struct parent {
	struct caller caller;
};
static struct actor_ref parent_child;

static void parent_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == GO) {
		parent_child = rt_spawn(a->loop, &echo_class, NULL);
		rt_send(a->loop, parent_child, ping_new(a->loop, ECHO_FAIL, NULL));
		return;
	}
	caller_on_message(a, m);
}

static const struct actor_class parent_class = {
	.name = "parent",
	.size = sizeof(struct parent),
	.mailbox_len_max = 4,
	.init = caller_init,
	.on_message = parent_on_message,
};

static void test_child_down(void **state)
{
	(void)state;
	struct loop *loop = sim_loop(sim, 0);
	struct caller *p = NULL;
	struct actor_ref ref = rt_spawn(loop, &parent_class, &p);
	rt_send(loop, ref, rt_msg_new(loop, GO));
	sim_run(sim, 10);
	assert_true(ref_eq(p->child_down, parent_child));
	assert_string_equal(p->reason, "told to");
}

static void test_stop(void **state)
{
	(void)state;
	echo_new(0);
	for (int i = 0; i < 20; i++)
		rt_spawn(sim_loop(sim, i % 2), &echo_class, NULL);
	sim_stop(sim);
	assert_int_equal(echo_stops, 21);
	assert_int_equal(echo_finishes, 21);
	assert_int_equal(stats(0).actors + stats(1).actors, 0);
}

static int refuse_init(struct actor *a, void *arg)
{
	(void)arg;
	rt_timer_start(a, 5, 1);
	return RT_EIO;
}

static const struct actor_class refusing_class = {
	.name = "refusing",
	.size = sizeof(struct echo),
	.mailbox_len_max = 1,
	.init = refuse_init,
	.on_message = echo_on_message,
};

static void test_spawn_failures(void **state)
{
	(void)state;
	assert_true(ref_is_none(rt_spawn(sim_loop(sim, 0), &refusing_class, NULL)));
	sim_stop(sim);
	sim_destroy(sim);
	sim = sim_create(&(struct sim_config){ .seed = 1, .loops = 2, .actors_max = 2 });
	assert_false(ref_is_none(echo_new(0)));
	assert_false(ref_is_none(echo_new(0)));
	assert_true(ref_is_none(echo_new(0)));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_reply),
		CASE(test_down),
		CASE(test_down_of_taken),
		CASE(test_dead_ref),
		CASE(test_deadline_and_late_reply),
		CASE(test_deadline_at_dequeue),
		CASE(test_cancel_token),
		CASE(test_cancel_on_the_way),
		CASE(test_full_mailbox),
		CASE(test_full_ask_table),
		CASE(test_spawn_ask),
		CASE(test_timers),
		CASE(test_urgent_first),
		CASE(test_order_between_loops),
		CASE(test_forward),
		CASE(test_supervision),
		CASE(test_child_down),
		CASE(test_stop),
		CASE(test_spawn_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
