/* What a turn promises: nobody starves, I/O gets its share, bounds hold between threads. */
#include "runtime/clock.h"
#include "runtime/loop.h"
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

enum { FLOOD = MSG_KIND(CLASS_TEST, 1), ONCE = MSG_KIND(CLASS_TEST, 2) };

/* ---- an actor that keeps itself busy for ever, urgently or not ---- */
struct flooder {
	struct actor base;
	uint8_t flags;
	uint64_t handled;
};
static struct flooder *flooder;
static uint64_t handled_before_once;

static void flooder_on_message(struct actor *a, struct msg *m)
{
	struct flooder *f = (struct flooder *)a;
	switch (m->kind) {
	case RT_STOP:
		rt_stop(a);
		return;
	case ONCE:
		handled_before_once = f->handled;
		loop_stop(a->loop);
		return;
	default:
		f->handled++;
		for (int i = f->handled == 1 ? 2 : 1; i > 0; i--) { /* always one more than is waiting */
			struct msg *again = rt_msg_new(a->loop, FLOOD);
			again->flags = f->flags;
			rt_send(a->loop, a->self, again);
		}
	}
}

static int flooder_init(struct actor *a, void *arg)
{
	flooder = (struct flooder *)a;
	flooder->flags = *(uint8_t *)arg;
	return 0;
}

static const struct actor_class flooder_class = {
	.name = "flooder", .size = sizeof(struct flooder), .mailbox_len_max = 16,
	.init = flooder_init, .on_message = flooder_on_message,
};

static struct actor_ref flood(struct loop *loop, uint8_t flags)
{
	struct actor_ref ref = rt_spawn(loop, &flooder_class, &flags);
	struct msg *m = rt_msg_new(loop, FLOOD);
	m->flags = flags;
	rt_send(loop, ref, m);
	return ref;
}

static struct loop *loop_of(enum loop_kind kind)
{
	return loop_create(&(struct loop_config){ .name = "turn", .kind = kind });
}

/* ---- another actor, with one plain request ---- */
static void bystander_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	handled_before_once = flooder->handled;
	loop_stop(a->loop);
}

static const struct actor_class bystander_class = {
	.name = "bystander", .size = sizeof(struct actor), .mailbox_len_max = 4, .on_message = bystander_on_message,
};

/* A flood of urgent messages to one actor does not starve another actor's request... */
static void test_bystander(void **state)
{
	(void)state;
	for (enum loop_kind kind = LOOP_IO; kind <= LOOP_BLOCKING; kind++) {
		struct loop *loop = loop_of(kind);
		flood(loop, MSG_URGENT);
		rt_send(loop, rt_spawn(loop, &bystander_class, NULL), rt_msg_new(loop, ONCE));
		loop_run(loop);
		loop_destroy(loop);
		assert_in_range(handled_before_once, 1, 64 * 10);
	}
}

/* ... nor a request to the same actor. */
static void test_own_request(void **state)
{
	(void)state;
	struct loop *loop = loop_of(LOOP_BLOCKING);
	struct actor_ref ref = flood(loop, MSG_URGENT);
	rt_send(loop, ref, rt_msg_new(loop, ONCE));
	loop_run(loop);
	loop_destroy(loop);
	assert_in_range(handled_before_once, 1, 64 * 10);
}

/* An actor that never runs out of messages leaves room for I/O. */
static void on_uv_timer(uv_timer_t *timer)
{
	uv_close((uv_handle_t *)timer, NULL);
	loop_stop(timer->data);
}

static void test_io_share(void **state)
{
	(void)state;
	struct loop *loop = loop_of(LOOP_IO);
	struct loop_stats s;
	uv_timer_t timer = { .data = loop };
	uv_timer_init(loop_uv(loop), &timer);
	uv_timer_start(&timer, on_uv_timer, 20, 0);
	flood(loop, 0);
	loop_run(loop);
	loop_stats_read(loop, &s);
	loop_destroy(loop);
	assert_true(s.messages / s.turns <= 256);
	assert_true(s.turns >= 10);
}

/* ---- bounds between threads ---- */
static void test_inbox_bound(void **state)
{
	(void)state;
	const struct loop_config config = { .name = "small", .kind = LOOP_BLOCKING, .inbox_max = 3 };
	struct loop *loop = loop_create(&config);
	struct actor_ref ref = rt_spawn(loop, &bystander_class, NULL);
	for (int i = 0; i < 3; i++)
		assert_true(loop_post(ref, loop_msg_new(ONCE)));
	assert_false(loop_post(ref, loop_msg_new(ONCE)));
	flooder = &(struct flooder){ .handled = 0 };
	loop_run(loop);
	assert_false(loop_post(ref, loop_msg_new(ONCE)));
	loop_destroy(loop);
}

static void test_loops_max(void **state)
{
	(void)state;
	struct loop *loops[LOOPS_MAX + 1];
	for (int i = 0; i <= LOOPS_MAX; i++)
		loops[i] = loop_create(&(struct loop_config){ .name = "many", .kind = LOOP_BLOCKING, .actors_max = 4 });
	for (int i = 0; i < LOOPS_MAX; i++) {
		assert_non_null(loops[i]);
		assert_ptr_equal(loop_by_id(loop_id(loops[i])), loops[i]);
	}
	assert_null(loops[LOOPS_MAX]);
	for (int i = 0; i <= LOOPS_MAX; i++)
		loop_destroy(loops[i]);
	assert_null(loop_by_id(1));
	assert_null(loop_by_id(0));
	assert_null(loop_by_id(LOOPS_MAX + 1));
}

/* ---- background loops ---- */
static int policy;

static void policy_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	policy = sched_getscheduler(0);
	assert_ptr_equal(loop_current(), a->loop);
	loop_stop(a->loop);
}

static const struct actor_class policy_class = {
	.name = "policy", .size = sizeof(struct actor), .mailbox_len_max = 4, .on_message = policy_on_message,
};

static void test_idle_priority(void **state)
{
	(void)state;
	const struct loop_config config = { .name = "idle", .kind = LOOP_BLOCKING, .idle_priority = true };
	struct loop *loop = loop_create(&config);
	rt_send(loop, rt_spawn(loop, &policy_class, NULL), rt_msg_new(loop, ONCE));
	assert_int_equal(loop_start(loop), 0);
	loop_join(loop);
	loop_destroy(loop);
	assert_int_equal(policy, SCHED_IDLE);
	assert_null(loop_current());
}

int main(void)
{
	alarm(120); /* starvation shows as a hang */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bystander),
		cmocka_unit_test(test_own_request),
		cmocka_unit_test(test_io_share),
		cmocka_unit_test(test_inbox_bound),
		cmocka_unit_test(test_loops_max),
		cmocka_unit_test(test_idle_priority),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
