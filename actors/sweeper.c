/* sweeper.c -- one state: four times a second it sweeps a piece of the online table and publishes the counts of the
 * stores. */
#include "actors/sweeper.h"
#include "store/ledger.h"
#include "store/offline.h"

enum { PERIOD_MS = 250, BUCKETS_PER_SWEEP = 1000 };

struct sweeper {
	struct actor base;
	struct node_loop *nl;
};

/* Simulations have no ledger and no offline store, but actors that answer like them. */
static void publish(const struct node *n)
{
	online_publish(n->online);
	if (n->ledger != NULL)
		ledger_publish(n->ledger);
	if (n->offline != NULL)
		offline_publish(n->offline);
}

static void sweeper_on_message(struct actor *a, struct msg *m)
{
	struct sweeper *s = (struct sweeper *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind != RT_TIMER)
		return;
	online_sweep(s->nl->node->online, loop_wall_us(a->loop), BUCKETS_PER_SWEEP);
	publish(s->nl->node);
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
