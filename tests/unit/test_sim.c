/* The simulation itself: a seed is a run, the clock jumps, faults are drawn and can be switched off. */
#include "runtime/sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { TOKEN = MSG_KIND(CLASS_TEST, 1) };

/* ---- actors that pass tokens to random neighbours on all loops ---- */
enum { NEIGHBOURS = 6 };
static struct actor_ref neighbours[NEIGHBOURS];
static unsigned faults;

static void neighbour_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	faults += sim_fault(a->loop, "test.fault", 100);
	if (m->op == 0)
		return;
	struct msg *next = rt_msg_new(a->loop, TOKEN);
	next->op = m->op - 1;
	rt_send(a->loop, neighbours[loop_random(a->loop) % NEIGHBOURS], next);
}

static const struct actor_class neighbour_class = {
	.name = "neighbour",
	.size = sizeof(struct actor),
	.mailbox_len_max = 64,
	.on_message = neighbour_on_message,
};

struct outcome {
	uint64_t trace, messages, end_ns;
};

static struct outcome run(struct sim_config config)
{
	faults = 0;
	config.loops = 3;
	struct sim *sim = sim_create(&config);
	for (unsigned i = 0; i < NEIGHBOURS; i++)
		neighbours[i] = rt_spawn(sim_loop(sim, i % 3), &neighbour_class, NULL);
	for (unsigned i = 0; i < NEIGHBOURS; i++) {
		struct msg *m = rt_msg_new(sim_loop(sim, i % 3), TOKEN);
		m->op = 50;
		rt_send(sim_loop(sim, i % 3), neighbours[i], m);
	}
	assert_int_equal(sim_run(sim, 60 * 1000), SIM_QUIET);
	struct outcome outcome = { sim_trace(sim), sim_messages(sim), sim_now_ns(sim) };
	sim_stop(sim);
	sim_destroy(sim);
	return outcome;
}

static void test_a_seed_is_a_run(void **state)
{
	(void)state;
	struct outcome first[20];
	for (uint64_t seed = 0; seed < 20; seed++) {
		first[seed] = run((struct sim_config){ .seed = seed });
		assert_int_equal(first[seed].messages, NEIGHBOURS * 51);
		for (uint64_t other = 0; other < seed; other++)
			assert_true(first[other].trace != first[seed].trace);
	}
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct outcome again = run((struct sim_config){ .seed = seed });
		assert_true(again.trace == first[seed].trace && again.end_ns == first[seed].end_ns);
	}
}

static void test_faults(void **state)
{
	(void)state;
	run((struct sim_config){ .seed = 3 });
	assert_in_range(faults, 10, 70); /* of 306 at 10 % */
	run((struct sim_config){ .seed = 3, .faults_off = true });
	assert_int_equal(faults, 0);
	struct loop *real = loop_create(&(struct loop_config){ .name = "real", .kind = LOOP_BLOCKING });
	assert_false(sim_fault(real, "test.fault", 1000));
	assert_null(sim_of(real));
	loop_destroy(real);
}

/* ---- time ---- */
static void sleeper_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP)
		rt_stop(a);
	else if (m->kind == RT_TIMER && m->op > 0)
		rt_timer_start(a, 3600 * 1000, m->op - 1);
}

static int sleeper_init(struct actor *a, void *arg)
{
	rt_timer_start(a, 3600 * 1000, *(uint64_t *)arg);
	return 0;
}

static const struct actor_class sleeper_class = {
	.name = "sleeper",
	.size = sizeof(struct actor),
	.mailbox_len_max = 4,
	.init = sleeper_init,
	.on_message = sleeper_on_message,
};

static void test_clock(void **state)
{
	(void)state;
	struct sim *sim = sim_create(&(struct sim_config){ .seed = 1, .loops = 2 });
	struct loop *loop = sim_loop(sim, 1);
	assert_true(loop_mono_ns(loop) == 1000000000);
	assert_true(loop_wall_us(loop) == 1767225600000000);
	uint64_t more = 23;
	rt_spawn(loop, &sleeper_class, &more);
	uint64_t start = sim_now_ns(sim);
	assert_int_equal(sim_run(sim, 3600 * 1000 / 2), SIM_LIMIT);
	assert_true(sim_now_ns(sim) - start == 1800ull * 1000000000);
	assert_true(loop_mono_ns(loop) == sim_now_ns(sim));
	assert_int_equal(sim_run(sim, 48 * 3600 * 1000ull), SIM_QUIET); /* a day of timers in no time */
	assert_in_range((sim_now_ns(sim) - start) / 1000000000, 24 * 3600, 24 * 3600 + 2);
	assert_in_range((loop_wall_us(loop) - 1767225600000000) / 1000000, 24 * 3600, 24 * 3600 + 2);
	sim_stop(sim);
	sim_destroy(sim);
}

static void test_balance_is_told(void **state)
{
	(void)state;
	struct sim *sim = sim_create(&(struct sim_config){ .seed = 1, .loops = 1 });
	struct buf why = { 0 };
	struct msg *kept = rt_msg_new(sim_loop(sim, 0), TOKEN);
	sim_stop(sim);
	assert_false(sim_is_balanced(sim, &why));
	assert_true(str_starts(buf_str(&why), STR("loop 0: 1 messages, 0 asks, 0 actors left")));
	rt_msg_free(sim_loop(sim, 0), kept);
	buf_clear(&why);
	assert_true(sim_is_balanced(sim, &why));
	buf_finish(&why);
	sim_destroy(sim);
	sim_destroy(NULL);
}

static void test_pick(void **state)
{
	(void)state;
	struct sim *sim = sim_create(&(struct sim_config){ .seed = 5, .loops = 1 });
	unsigned counts[7] = { 0 }, often = 0;
	for (int i = 0; i < 7000; i++) {
		uint64_t n = sim_pick(sim, 7);
		assert_true(n < 7);
		counts[n]++;
		often += sim_chance(sim, 900);
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(counts[i], 850, 1150);
	assert_in_range(often, 6150, 6450);
	assert_false(sim_chance(sim, 0));
	assert_true(sim_chance(sim, 1000));
	sim_stop(sim);
	sim_destroy(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_seed_is_a_run), cmocka_unit_test(test_faults), cmocka_unit_test(test_clock),
		cmocka_unit_test(test_balance_is_told), cmocka_unit_test(test_pick),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
