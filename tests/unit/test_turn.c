/* What a turn promises: nobody starves, I/O gets its share, bounds hold between threads. */
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/loop.h"
#include "runtime/private.h"
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
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
	.name = "flooder",
	.size = sizeof(struct flooder),
	.mailbox_len_max = 16,
	.init = flooder_init,
	.on_message = flooder_on_message,
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
	.name = "bystander",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = bystander_on_message,
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

/* ---- work in slices: each slice is a message to itself ---- */
enum { SLICES = 5 };
static struct slicer {
	struct actor base;
	unsigned done;
	uint64_t seen_ns; /* the loop's clock at the last slice */
} * slicer;

static void slicer_on_message(struct actor *a, struct msg *m)
{
	struct slicer *s = (struct slicer *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	uint64_t start_ns = clock_mono_ns();
	assert_true(s->done++ == 0 || loop_mono_ns(a->loop) - s->seen_ns >= 1000000);
	s->seen_ns = loop_mono_ns(a->loop);
	while (clock_mono_ns() - start_ns < 1000000)
		;
	if (s->done < SLICES)
		rt_send(a->loop, a->self, rt_msg_new(a->loop, FLOOD));
	else
		loop_stop(a->loop);
}

static int slicer_init(struct actor *a, void *arg)
{
	(void)arg;
	slicer = (struct slicer *)a;
	return 0;
}

static const struct actor_class slicer_class = {
	.name = "slicer",
	.size = sizeof(struct slicer),
	.mailbox_len_max = 4,
	.init = slicer_init,
	.on_message = slicer_on_message,
};

static unsigned done_before_other;
static uint64_t turn_of_first, turns_of_slices;

static void other_on_message(struct actor *a, struct msg *m)
{
	struct loop_stats stats;
	loop_stats_read(a->loop, &stats);
	if (m->kind == RT_STOP) {
		turns_of_slices = stats.turns - turn_of_first;
		rt_stop(a);
		return;
	}
	done_before_other = slicer->done;
	turn_of_first = stats.turns;
}

static const struct actor_class other_class = {
	.name = "other",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = other_on_message,
};

/* Others run between two slices, the clock goes on, and a turn ends after a slice that is longer than a turn may be. */
static void test_slices(void **state)
{
	(void)state;
	for (enum loop_kind kind = LOOP_IO; kind <= LOOP_BLOCKING; kind++) {
		struct loop *loop = loop_of(kind);
		rt_send(loop, rt_spawn(loop, &slicer_class, NULL), rt_msg_new(loop, FLOOD));
		rt_send(loop, rt_spawn(loop, &other_class, NULL), rt_msg_new(loop, ONCE));
		loop_run(loop);
		assert_int_equal(done_before_other, 1);
		assert_true(turns_of_slices >= SLICES - 1);
		loop_destroy(loop);
	}
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

/* An ask that was on its way when its loop ended is answered at once. */
static struct loop *ending;
static int how_it_ended;

static void late_asker_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind != ONCE) {
		how_it_ended = m->kind;
		assert_int_equal(m->status, RT_EDEAD);
		loop_stop(a->loop);
		return;
	}
	struct actor_ref there = *(struct actor_ref *)(m + 1);
	rt_ask(a, there, rt_msg_new(a->loop, FLOOD), loop_mono_ns(a->loop) + 5000000000ull, ACTOR_NONE);
	loop_stop(ending); /* the ask leaves at the end of this turn */
	loop_join(ending);
}

static const struct actor_class late_asker_class = {
	.name = "late asker",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = late_asker_on_message,
};

static void test_ask_to_an_ended_loop(void **state)
{
	(void)state;
	struct loop *loop = loop_of(LOOP_BLOCKING);
	ending = loop_of(LOOP_BLOCKING);
	struct actor_ref there = rt_spawn(ending, &other_class, NULL);
	assert_int_equal(loop_start(ending), 0);
	struct msg *m = rt_msg_new(loop, ONCE);
	*(struct actor_ref *)(m + 1) = there;
	rt_send(loop, rt_spawn(loop, &late_asker_class, NULL), m);
	loop_run(loop);
	assert_int_equal(how_it_ended, RT_DOWN);
	loop_destroy(loop);
	loop_destroy(ending);
}

/* What is for a loop that sleeps does not wait for the end of the turn, but for the clock to be read, which a new loop does after
 * the first message: the second actor of the turn waits until the receiver has it. */
static struct actor_ref sleeper;
static sem_t arrived;

static void arrival_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP)
		rt_stop(a);
	else
		sem_post(&arrived);
}

static void sender_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP)
		rt_stop(a);
	else
		rt_send(a->loop, sleeper, rt_msg_new(a->loop, ONCE));
}

static void waiter_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	while (sem_wait(&arrived) != 0)
		;
	loop_stop(a->loop);
}

static const struct actor_class arrival_class = {
	.name = "arrival",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = arrival_on_message,
};
static const struct actor_class sender_class = {
	.name = "sender",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = sender_on_message,
};
static const struct actor_class waiter_class = {
	.name = "waiter",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = waiter_on_message,
};

static void test_sleepers_get_theirs_at_once(void **state)
{
	(void)state;
	struct loop *there = loop_of(LOOP_BLOCKING), *here = loop_of(LOOP_BLOCKING);
	sem_init(&arrived, 0, 0);
	sleeper = rt_spawn(there, &arrival_class, NULL);
	assert_int_equal(loop_start(there), 0);
	while (!atomic_load(&there->sleeping))
		sched_yield();
	rt_send(here, rt_spawn(here, &sender_class, NULL), rt_msg_new(here, ONCE));
	rt_send(here, rt_spawn(here, &waiter_class, NULL), rt_msg_new(here, ONCE));
	loop_run(here);
	loop_stop(there);
	loop_join(there);
	loop_destroy(here);
	loop_destroy(there);
	sem_destroy(&arrived);
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
static int niceness;

static void nice_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	niceness = getpriority(PRIO_PROCESS, 0);
	assert_ptr_equal(loop_current(), a->loop);
	loop_stop(a->loop);
}

static const struct actor_class nice_class = {
	.name = "nice",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = nice_on_message,
};

static void test_background_is_nice(void **state)
{
	(void)state;
	const struct loop_config config = { .name = "background", .kind = LOOP_BLOCKING, .is_background = true };
	struct loop *loop = loop_create(&config);
	rt_send(loop, rt_spawn(loop, &nice_class, NULL), rt_msg_new(loop, ONCE));
	assert_int_equal(loop_start(loop), 0);
	loop_join(loop);
	loop_destroy(loop);
	assert_int_equal(niceness, 19);
	assert_null(loop_current());
}

/* An I/O loop that sits on the first CPU of the mask, and a background loop that is asked where it may run. */
enum { SPIN = MSG_KIND(CLASS_TEST, 3), READ = MSG_KIND(CLASS_TEST, 4) };
static cpu_set_t whole, given;
static int first_cpu, pipe_out;
static sem_t sat, looked, io_has_ended;

static void sit_on_message(struct actor *a, struct msg *m)
{
	cpu_set_t one;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	CPU_ZERO(&one);
	CPU_SET(first_cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	rt_timer_start(a, 1, 0); /* a turn that begins there */
	if (m->kind == RT_TIMER)
		sem_post(&sat);
}

static void look_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind == SPIN) { /* code that never gives way by itself: boosted it stays, then it is moved */
		cpu_set_t now;
		cpu_set_boost(true);
		sem_post(&looked);
		while (sem_wait(&io_has_ended) != 0)
			;
		raise(SIGURG);
		assert_int_equal(sched_getaffinity(0, sizeof now, &now), 0);
		assert_true(CPU_EQUAL(&now, &given));
		cpu_set_boost(false);
		do
			assert_int_equal(sched_getaffinity(0, sizeof now, &now), 0);
		while (CPU_EQUAL(&now, &given));
	}
	if (m->kind == READ) {
		char c;
		sem_post(&looked);
		assert_int_equal(read(pipe_out, &c, 1), 1); /* not interrupted */
	}
	assert_int_equal(sched_getaffinity(0, sizeof given, &given), 0);
	sem_post(&looked);
}

static const struct actor_class sit_class = {
	.name = "sit",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = sit_on_message,
};
static const struct actor_class look_class = {
	.name = "look",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.on_message = look_on_message,
};

static void begin(struct actor_ref looker, uint16_t kind)
{
	assert_true(loop_post(looker, loop_msg_new(kind)));
	sem_wait(&looked);
}

static void look(struct actor_ref looker)
{
	begin(looker, ONCE);
}

/* Across some of the timer's signals. */
static void read_a_pipe(struct actor_ref looker)
{
	int pipe_ends[2];
	assert_int_equal(pipe(pipe_ends), 0);
	pipe_out = pipe_ends[0];
	begin(looker, READ);
	for (uint64_t start_ns = clock_mono_ns(); clock_mono_ns() - start_ns < 3000000;)
		;
	assert_int_equal(write(pipe_ends[1], "x", 1), 1);
	sem_wait(&looked);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
}

static void test_background_gives_way(void **state)
{
	(void)state;
	struct loop *io = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
	struct loop *back = loop_create(
	    &(struct loop_config){ .name = "background", .kind = LOOP_BLOCKING, .is_background = true });
	assert_int_equal(sched_getaffinity(0, sizeof whole, &whole), 0);
	while (!CPU_ISSET(first_cpu, &whole))
		first_cpu++;
	sem_init(&sat, 0, 0);
	sem_init(&looked, 0, 0);
	sem_init(&io_has_ended, 0, 0);
	struct actor_ref looker = rt_spawn(back, &look_class, NULL);
	rt_send(io, rt_spawn(io, &sit_class, NULL), rt_msg_new(io, ONCE));
	assert_int_equal(loop_start(io), 0);
	sem_wait(&sat);
	assert_int_equal(loop_start(back), 0);
	look(looker);
	cpu_set_t rest = whole;
	CPU_CLR(first_cpu, &rest);
	assert_true(CPU_EQUAL(&given, CPU_COUNT(&rest) > 0 ? &rest : &whole));
	read_a_pipe(looker);

	bool can_move = CPU_COUNT(&rest) > 0;
	if (can_move)
		begin(looker, SPIN);
	else
		fprintf(stderr, "SKIPPED: that background work moves in the middle of a message (one CPU only)\n");
	loop_stop(io);
	loop_join(io);
	if (can_move) {
		sem_post(&io_has_ended);
		sem_wait(&looked);
	}
	look(looker);
	assert_true(CPU_EQUAL(&given, &whole));
	loop_stop(back);
	loop_join(back);
	loop_destroy(io);
	loop_destroy(back);
	sem_destroy(&sat);
	sem_destroy(&looked);
	sem_destroy(&io_has_ended);
}

int main(void)
{
	alarm(120); /* starvation shows as a hang */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bystander),
		cmocka_unit_test(test_own_request),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_io_share),
		cmocka_unit_test(test_inbox_bound),
		cmocka_unit_test(test_ask_to_an_ended_loop),
		cmocka_unit_test(test_sleepers_get_theirs_at_once),
		cmocka_unit_test(test_loops_max),
		cmocka_unit_test(test_background_is_nice),
		cmocka_unit_test(test_background_gives_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
