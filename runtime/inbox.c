/* Messages between loops. A loop collects what it sends to another loop in an outbox and pushes the whole
 * batch with one compare-and-swap: at the end of its turn, or in a long one whenever the clock is read and the
 * receiver sleeps (docs/adr/0007). The receiver takes everything with one exchange.
 *
 * The wake-up protocol (tests/model/wake.pml proves it): the receiver sets `sleeping`, looks at the inbox
 * once more, then sleeps; the sender pushes, then looks at `sleeping`. Both pairs are sequentially
 * consistent, so one of the two always sees the other. The sender that clears `sleeping` writes the
 * eventfd: one wake-up per sleep.
 *
 * The end of a loop goes the same way: the loop sets `has_ended`, then empties its inbox a last time; the
 * sender pushes, then looks at `has_ended`. A sender that finds it set empties the inbox in the loop's
 * stead, so that what it sent is answered now and not at its deadline. */
#include "runtime/private.h"
#include <errno.h>
#include <unistd.h>

static void wake(struct loop *loop)
{
	uint64_t one = 1;
	while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

void loop_wake_read(struct loop *loop)
{
	uint64_t count;
	loop->stats.wakeups++;
	while (read(loop->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
		;
}

void inbox_push(struct loop *target, struct msg *newest, struct msg *oldest, uint32_t len)
{
	/* Relaxed: a bound, not a lock; the list itself carries the ordering. */
	atomic_fetch_add_explicit(&target->inbox_len, len, memory_order_relaxed);
	struct msg *head = atomic_load_explicit(&target->inbox, memory_order_relaxed);
	do
		oldest->next = head;
	while (!atomic_compare_exchange_weak(&target->inbox, &head, newest));
	/* Sequentially consistent with the exchange above: see the protocol. The load spares the write
	 * while it runs. */
	if (atomic_load(&target->sleeping) && atomic_exchange(&target->sleeping, false))
		wake(target);
}

bool loop_try_sleep(struct loop *loop)
{
	atomic_store(&loop->sleeping, true);
	bool has_come = atomic_load(&loop->inbox) != NULL || atomic_load(&loop->stop_asked) != loop->is_stopping;
	if (!has_come)
		return true;
	atomic_store(&loop->sleeping, false);
	return false;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop_asked, true);
	if (loop->kind == LOOP_SIM)
		return;
	atomic_store(&loop->sleeping, false);
	wake(loop);
}

/* ---- sending ---- */
int outbox_put(struct loop *loop, struct msg *m)
{
	unsigned id = ref_loop(m->to);
	struct loop *target = loop_by_id(id);
	if (target == NULL || atomic_load_explicit(&target->has_ended, memory_order_relaxed))
		return RT_EDEAD;
	if (!rt_alive(m->to))
		return RT_EDEAD;
	struct outbox *box = &loop->outboxes[id - 1];
	/* Replies always fit, as in a mailbox: the asker's own asks bound them. */
	if (!(m->flags & MSG_REPLY) &&
	    atomic_load_explicit(&target->inbox_len, memory_order_relaxed) + box->len >= target->inbox_max)
		return RT_EFULL;
	m->next = box->newest;
	box->newest = m;
	if (box->oldest == NULL)
		box->oldest = m;
	box->len++;
	loop->outbox_mask |= 1ull << (id - 1);
	loop->stats.messages_live--;
	return RT_OK;
}

bool loop_post(struct actor_ref to, struct msg *m)
{
	struct loop *target = loop_by_id(ref_loop(to));
	if (target == NULL || !rt_alive(to) ||
	    atomic_load_explicit(&target->inbox_len, memory_order_relaxed) >= target->inbox_max) {
		if (m->dispose != NULL)
			m->dispose(m);
		free(m);
		return false;
	}
	m->to = to;
	m->flags &= MSG_URGENT;
	inbox_push(target, m, m, 1);
	return true;
}

/* ---- receiving ---- */
static void receive(struct loop *loop, struct msg *m)
{
	loop->stats.messages_live++;
	int error = message_route(loop, m);
	if (error == RT_OK)
		return;
	if (error == RT_EFULL)
		loop->stats.refused_full++;
	else if (m->flags & MSG_REPLY)
		loop->stats.dropped_late_reply++;
	else
		loop->stats.dropped_dead++;
	message_drop(loop, m, error);
}

static struct msg *reverse(struct msg *from, uint32_t *ret_len)
{
	struct msg *to = NULL;
	uint32_t len = 0;
	for (; from != NULL; len++) {
		struct msg *next = from->next;
		from->next = to;
		to = from;
		from = next;
	}
	*ret_len = len;
	return to;
}

/* All that has come, oldest first. Any thread, once the loop has ended. */
static struct msg *take_all(struct loop *target)
{
	/* Acquire: pairs with the push, whose messages we now own. The look first spares the locked exchange; it
	 * is sequentially consistent for the sake of a loop's last one, behind `has_ended`. */
	if (atomic_load(&target->inbox) == NULL)
		return NULL;
	uint32_t len;
	struct msg *oldest = reverse(atomic_exchange_explicit(&target->inbox, NULL, memory_order_acquire), &len);
	atomic_fetch_sub_explicit(&target->inbox_len, len, memory_order_relaxed);
	return oldest;
}

void inbox_drain(struct loop *loop)
{
	struct msg *oldest = take_all(loop);
	while (oldest != NULL) {
		struct msg *m = oldest;
		oldest = m->next;
		receive(loop, m);
	}
}

/* ---- the batches for others ---- */
static void refuse_all(struct loop *loop, struct loop *ended)
{
	struct msg *oldest = take_all(ended);
	while (oldest != NULL) {
		struct msg *m = oldest;
		oldest = m->next;
		loop->stats.messages_live++;
		loop->stats.dropped_dead++;
		message_drop(loop, m, RT_EDEAD); /* may fill an outbox of ours */
	}
}

static void ship(struct loop *loop, struct loop *target, struct outbox *box)
{
	if (loop->sim != NULL) {
		sim_ship(loop, target, box);
		return;
	}
	inbox_push(target, box->newest, box->oldest, box->len);
	if (atomic_load(&target->has_ended))
		refuse_all(loop, target);
}

static void flush_to(struct loop *loop, unsigned at)
{
	struct outbox box = loop->outboxes[at];
	loop->outboxes[at] = (struct outbox){ 0 };
	loop->outbox_mask &= ~(1ull << at);
	ship(loop, loop_by_id(at + 1), &box);
}

void outbox_flush(struct loop *loop)
{
	while (loop->outbox_mask != 0)
		flush_to(loop, (unsigned)__builtin_ctzll(loop->outbox_mask));
}

void outbox_flush_to_sleepers(struct loop *loop)
{
	for (uint64_t left = loop->outbox_mask; left != 0; left &= left - 1) {
		unsigned at = (unsigned)__builtin_ctzll(left);
		/* Relaxed: a guess. Who is missed is flushed at the end of the turn. */
		if (atomic_load_explicit(&loop_by_id(at + 1)->sleeping, memory_order_relaxed))
			flush_to(loop, at);
	}
}
