/* sweeper.c -- one state: four times a second it sweeps a piece of the online table, if that is in this process's memory, and
 * publishes the counts of the stores. */
#include "actors/sweeper.h"

enum { PERIOD_MS = 250, ROWS_PER_SWEEP = 1000 };

struct sweeper {
	struct actor base;
	struct node_loop *nl;
};

static void sweeper_on_message(struct actor *a, struct msg *m)
{
	const struct sweeper *s = (struct sweeper *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind != RT_TIMER)
		return;
	const struct stores *stores = s->nl->node->stores;
	if (stores->online.fast)
		stores->online.fast->tidy(stores->online.fast->table, loop_wall_us(a->loop), ROWS_PER_SWEEP);
	if (stores->publish != NULL)
		stores->publish(stores);
	rt_timer_start(a, PERIOD_MS, 0);
}

static int sweeper_init(struct actor *a, void *arg)
{
	((struct sweeper *)a)->nl = arg;
	rt_timer_start(a, 1, 0); /* so that the first scrape finds the counts */
	return 0;
}

const struct actor_class sweeper_class = {
	.name = "sweeper",
	.size = sizeof(struct sweeper),
	.mailbox_len_max = 16,
	.init = sweeper_init,
	.on_message = sweeper_on_message,
};
