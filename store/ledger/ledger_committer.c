/* The committer: appends gather during a turn, are written and synced once at its end, and are then answered.
 *
 *     APPEND --> waiting --turn end, or full--> ledger_write (blocks) --> APPENDED to each
 *     TIMER  --> takes over what the helper thread did, retention, tries to become writable again
 *     STOP   --> what waits is written and answered, then it ends
 *
 * One state only. Bounds: WAITING_MAX in a batch, MAILBOX_MAX behind it; more are refused with RT_EFULL. It
 * has no deadlines of its own: an append whose asker gave up while it was in a batch exists, and its reply is
 * dropped. */
#include "runtime/check.h"
#include "store/ledger/ledger_private.h"
#include <stdlib.h>

enum { WAITING_MAX = 1024, MAILBOX_MAX = 16384, TICK_MS = 500 };

struct waiting {
	struct evidence_append *appends[WAITING_MAX]; /* taken */
	struct evidence_entry *entries[WAITING_MAX];  /* of the appends; NULL: not admitted */
	struct evidence_entry *admitted[WAITING_MAX]; /* without gaps, as their statuses */
	int statuses[WAITING_MAX];
	size_t count;
};
struct committer {
	struct actor base;
	struct ledger *l;        /* borrows: the ledger is closed after its loops */
	struct waiting *waiting; /* owned */
};

static void answer(struct committer *c, struct evidence_append *m, int status)
{
	struct evidence_entry *e = m->entry;
	m->entry = NULL; /* moves on with the reply */
	rt_reply(&c->base, &m->head, &evidence_appended_new(c->base.loop, e, status)->head);
}

static void flush(struct committer *c)
{
	struct waiting *w = c->waiting;
	size_t count = 0;
	if (w->count == 0)
		return;
	int64_t now_us = loop_wall_us(c->base.loop);
	for (size_t i = 0; i < w->count; i++) {
		struct evidence_hook *h = w->entries[i]->hook;
		if (h == NULL || h->admit(h, w->entries[i]))
			w->admitted[count++] = w->entries[i];
		else
			w->entries[i] = NULL;
	}
	ledger_write(c->l, w->admitted, w->statuses, count, now_us);
	now_us = loop_wall_us(c->base.loop);
	for (size_t i = 0; i < count; i++) {
		struct evidence_hook *h = w->admitted[i]->hook;
		if (h)
			h->ended(h, w->admitted[i], w->statuses[i], now_us);
	}
	for (size_t i = 0, at = 0; i < w->count; i++)
		answer(c, w->appends[i], w->entries[i] ? w->statuses[at++] : RT_ECONFLICT);
	w->count = 0;
}

static void on_append(struct committer *c, struct msg *m)
{
	struct evidence_append *append = (struct evidence_append *)m;
	struct waiting *w = c->waiting;
	if (append->entry == NULL) {
		rt_refuse(&c->base, m, RT_EINVAL);
		return;
	}
	if (w->count == WAITING_MAX)
		flush(c);
	rt_msg_take(m);
	w->appends[w->count] = append;
	w->entries[w->count++] = append->entry;
}

static void on_tick(struct committer *c)
{
	int64_t now_us = loop_wall_us(c->base.loop);
	ledger_maintain(c->l, now_us);
	ledger_reopen(c->l, now_us);
	rt_timer_start(&c->base, TICK_MS, 1);
}

static int committer_init(struct actor *a, void *arg)
{
	struct committer *c = (struct committer *)a;
	c->l = arg;
	c->waiting = calloc(1, sizeof *c->waiting);
	if (c->waiting == NULL)
		return RT_EFULL;
	rt_timer_start(a, TICK_MS, 1);
	return 0;
}

static void committer_on_message(struct actor *a, struct msg *m)
{
	struct committer *c = (struct committer *)a;
	switch (m->kind) {
	case EVIDENCE_APPEND:
		on_append(c, m);
		return;
	case RT_TIMER:
		on_tick(c);
		return;
	case RT_STOP:
		flush(c);
		rt_stop(a);
		return;
	default:
		return;
	}
}

static void committer_on_turn_end(struct actor *a)
{
	flush((struct committer *)a);
}

static void committer_finish(struct actor *a)
{
	struct committer *c = (struct committer *)a;
	for (size_t i = 0; c->waiting != NULL && i < c->waiting->count; i++)
		rt_refuse(a, &c->waiting->appends[i]->head, RT_ESHUTDOWN);
	free(c->waiting);
}

static const struct actor_class committer_class = {
	.name = "ledger_committer",
	.size = sizeof(struct committer),
	.mailbox_len_max = MAILBOX_MAX,
	.init = committer_init,
	.on_message = committer_on_message,
	.on_turn_end = committer_on_turn_end,
	.finish = committer_finish,
};

struct actor_ref ledger_spawn_committer(struct ledger *l, struct loop *loop)
{
	return rt_spawn(loop, &committer_class, l);
}
