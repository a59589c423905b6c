/* The timing wheel against a plain sorted list, under random adds, removes and jumps of the clock. */
#include "runtime/check.h"
#include "runtime/wheel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 400 };

struct item {
	struct wheel_node node; /* first: the wheel hands it back */
	uint64_t due;
	bool is_set;
	int fired;
};

struct model {
	struct wheel wheel;
	struct item items[NODES];
	uint64_t now, last_due;
	int fired_now;
};
static struct model model;

static uint64_t random_state = 88172645463325252u;

static uint64_t draw(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void on_due(struct wheel_node *node, void *arg)
{
	struct model *m = arg;
	struct item *item = (struct item *)node;
	assert_true(item->is_set);
	assert_true(item->due <= m->now);
	assert_true(item->due >= m->last_due); /* in order of their ticks */
	m->last_due = item->due;
	item->is_set = false;
	item->fired++;
	m->fired_now++;
}

static void advance(struct model *m, uint64_t now)
{
	int due = 0;
	for (int i = 0; i < NODES; i++)
		due += m->items[i].is_set && m->items[i].due <= now;
	m->now = now;
	m->last_due = 0;
	m->fired_now = 0;
	wheel_advance(&m->wheel, now, on_due, m);
	assert_int_equal(m->fired_now, due);
}

static void check_next(struct model *m)
{
	uint64_t first = UINT64_MAX, next;
	for (int i = 0; i < NODES; i++)
		if (m->items[i].is_set && m->items[i].due < first)
			first = m->items[i].due;
	bool has_next = wheel_next(&m->wheel, &next);
	assert_int_equal(has_next, first != UINT64_MAX);
	if (!has_next)
		return;
	assert_true(next <= first || first <= m->now);
	/* A loop that sleeps until `next` again and again must get there in a few steps, not tick by tick. */
	if (first > m->now)
		assert_true(next > m->now || next == first);
}

static void random_run(uint64_t start, int steps, uint64_t reach)
{
	memset(&model, 0, sizeof model);
	wheel_init(&model.wheel, start);
	model.now = start;
	for (int step = 0; step < steps; step++) {
		struct item *item = &model.items[draw(NODES)];
		uint64_t kind = draw(10);
		if (kind < 6 && !item->is_set) {
			item->due = model.now + 1 + draw(draw(2) ? reach : 70);
			item->is_set = true;
			wheel_add(&model.wheel, &item->node, item->due);
		} else if (kind < 8) {
			wheel_remove(&model.wheel, &item->node);
			item->is_set = false;
		} else {
			advance(&model, model.now + draw(draw(3) ? 100 : reach));
		}
		check_next(&model);
	}
	advance(&model, model.now + reach + 100);
	for (int i = 0; i < NODES; i++)
		assert_false(model.items[i].is_set);
	assert_int_equal(model.wheel.levels, 0);
}

static void test_random(void **state)
{
	(void)state;
	random_run(0, 20000, 1000);
	random_run(0, 20000, 1000000);
	random_run(4095, 20000, 70000);
	random_run(1ull << 40, 20000, 1ull << 38);
}

static void test_far_and_past(void **state)
{
	(void)state;
	memset(&model, 0, sizeof model);
	wheel_init(&model.wheel, 1000);
	struct item *past = &model.items[0], *never = &model.items[1];
	past->due = 3;
	past->is_set = true;
	wheel_add(&model.wheel, &past->node, past->due);
	never->due = UINT64_MAX;
	never->is_set = true;
	wheel_add(&model.wheel, &never->node, never->due);
	advance(&model, 1000);
	assert_int_equal(past->fired, 1);
	assert_int_equal(never->fired, 0);
	wheel_remove(&model.wheel, &never->node);
	wheel_remove(&model.wheel, &never->node);
	uint64_t next;
	assert_false(wheel_next(&model.wheel, &next));
}

/* Sleeping until wheel_next each time visits a far node in at most one step per level. */
static void test_few_steps(void **state)
{
	(void)state;
	memset(&model, 0, sizeof model);
	wheel_init(&model.wheel, 12345);
	struct item *far = &model.items[0];
	far->due = 12345 + 987654321;
	far->is_set = true;
	wheel_add(&model.wheel, &far->node, far->due);
	int steps = 0;
	for (uint64_t next; wheel_next(&model.wheel, &next); steps++)
		advance(&model, next);
	assert_int_equal(far->fired, 1);
	assert_true(model.now == far->due);
	assert_true(steps <= WHEEL_LEVELS);
}

/* Nodes of one tick keep their order, also when they come down from a higher level. */
static uint64_t order[3];
static int order_len;

static void on_ordered(struct wheel_node *node, void *arg)
{
	(void)arg;
	order[order_len++] = (uint64_t)((struct item *)node - model.items);
}

static void test_order_in_a_tick(void **state)
{
	(void)state;
	memset(&model, 0, sizeof model);
	wheel_init(&model.wheel, 0);
	for (int i = 0; i < 3; i++)
		wheel_add(&model.wheel, &model.items[i].node, 5000);
	wheel_advance(&model.wheel, 6000, on_ordered, NULL);
	assert_int_equal(order_len, 3);
	for (uint64_t i = 0; i < 3; i++)
		assert_true(order[i] == i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_far_and_past),
		cmocka_unit_test(test_few_steps),
		cmocka_unit_test(test_order_in_a_tick),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
