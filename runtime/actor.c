/* Actors of one loop: slots, mailboxes, the two run queues, birth and death.
 *
 *     spawn --> idle <--> queued --> running --> idle ...
 *                 \----------\----------\--rt_stop / rt_fail--> dying --> reaped (finish; the slot is free)
 *
 * An actor is in the urgent queue while its urgent mailbox has messages, in the normal queue while the
 * other has; it may be in both. rt_stop ends the life at once for the rest of the world (the generation
 * moves on), and the struct after the present message. */
#include "runtime/private.h"
#include "runtime/buf.h"
#include "runtime/log.h"

/* ---- memory ---- */
static struct actor *actor_memory_new(struct loop *loop, size_t actor_bytes)
{
	size_t bytes = sizeof(struct actor_private) + actor_bytes;
	size_t class = (bytes + POOL_ALIGN - 1) / POOL_ALIGN;
	struct actor_private *p = class < ACTOR_CLASSES ? pool_get(&loop->actor_pools[class])
							: pool_block_new(class * POOL_ALIGN);
	memset(p, 0, bytes);
	p->actor = (struct actor *)(p + 1);
	p->actor->private = p;
	return p->actor;
}

static void actor_memory_free(struct loop *loop, struct actor *a)
{
	size_t class = (sizeof(struct actor_private) + a->class->size + POOL_ALIGN - 1) / POOL_ALIGN;
	if (class < ACTOR_CLASSES)
		pool_put(&loop->actor_pools[class], a->private);
	else
		free(a->private);
}

/* ---- slots ---- */
static bool slot_take(struct loop *loop, uint32_t *ret_slot)
{
	if (loop->slot_free != SLOT_NONE) {
		*ret_slot = loop->slot_free;
		loop->slot_free = loop->slots[*ret_slot].next_free;
		return true;
	}
	if (loop->slots_used == loop->actors_max)
		return false;
	*ret_slot = loop->slots_used++;
	atomic_store_explicit(&loop->slots[*ret_slot].generation, 1, memory_order_relaxed);
	return true;
}

static void slot_give(struct loop *loop, uint32_t slot)
{
	loop->slots[slot].actor = NULL;
	loop->slots[slot].next_free = loop->slot_free;
	loop->slot_free = slot;
}

bool rt_alive(struct actor_ref ref)
{
	struct loop *loop = loop_by_id(ref_loop(ref));
	if (loop == NULL || ref_slot(ref) >= loop->actors_max)
		return false;
	/* Relaxed: other loops get a hint, and the own loop wrote it itself. */
	return atomic_load_explicit(&loop->slots[ref_slot(ref)].generation, memory_order_relaxed) ==
	       ref_generation(ref);
}

/* ---- birth ---- */
static void send_stop(struct loop *loop, struct actor *a)
{
	struct msg *stop = rt_msg_new(loop, RT_STOP);
	stop->flags = MSG_URGENT;
	stop->to = a->self;
	if (message_route(loop, stop) != RT_OK)
		message_release(loop, stop);
}

struct actor_ref rt_spawn(struct loop *loop, const struct actor_class *class, void *arg)
{
	DCHECK(loop_current() == loop || loop_current() == NULL);
	CHECK(class->on_message != NULL && class->mailbox_len_max > 0 && class->size >= sizeof(struct actor));
	uint32_t slot;
	if (!slot_take(loop, &slot))
		return ACTOR_NONE;
	struct actor *a = actor_memory_new(loop, class->size);
	struct actor_private *p = a->private;
	uint32_t generation = atomic_load_explicit(&loop->slots[slot].generation, memory_order_relaxed);
	a->class = class;
	a->loop = loop;
	a->self.bits = (uint64_t)loop->id << 56 | (uint64_t)slot << 32 | generation;
	p->slot = slot;
	if (loop->running != NULL)
		p->parent = loop->running->self;
	loop->slots[slot].actor = a;
	loop->stats.spawned++;
	loop->stats.actors++;
	if (loop->is_stopping)
		send_stop(loop, a);
	if (class->init == NULL)
		return a->self;

	struct actor_ref self = a->self;
	struct actor *outer = loop->running;
	loop->running = a;
	int error = class->init(a, arg);
	loop->running = outer;
	if (error == 0)
		return self;
	log_line(LOG_WARNING, "runtime", "an actor could not start", LOG_CSTR("actor", class->name),
		 LOG_INT("error", error));
	rt_stop(a);
	return ACTOR_NONE;
}

/* ---- death ---- */
void rt_stop(struct actor *a)
{
	struct actor_private *p = a->private;
	struct loop *loop = a->loop;
	if (p->stopping)
		return;
	p->stopping = true;
	uint32_t next = ref_generation(a->self) + 1;
	/* Release: who sees the new generation sees what the actor did before; nobody else writes it. */
	atomic_store_explicit(&loop->slots[p->slot].generation, next ? next : 1, memory_order_release);
	dlist_append(&loop->dying, &p->dying);
}

void rt_fail(struct actor *a, const char *reason)
{
	struct actor_private *p = a->private;
	if (p->stopping)
		return;
	p->has_failed = true;
	text_printf(p->reason, sizeof p->reason, "%s", reason);
	log_line(LOG_ERROR, "runtime", "an actor failed", LOG_CSTR("actor", a->class->name),
		 LOG_CSTR("loop", a->loop->name), LOG_CSTR("reason", reason));
	a->loop->stats.failed++;
	rt_stop(a);
}

static void mailbox_refuse(struct loop *loop, struct mailbox *box)
{
	struct msg *m;
	while ((m = mailbox_pop(box)) != NULL)
		message_drop(loop, m, RT_EDEAD);
}

static void unlink_everywhere(struct actor_private *p)
{
	struct dlist *nodes[] = { &p->urgent_run, &p->normal_run, &p->ran };
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		if (dlist_is_linked(nodes[i]))
			dlist_remove(nodes[i]);
}

static void tell_parent(struct loop *loop, struct actor *a)
{
	struct actor_private *p = a->private;
	if (!p->has_failed || ref_is_none(p->parent))
		return;
	struct rt_child_down *down = rt_msg_new(loop, RT_CHILD_DOWN);
	down->head.to = p->parent;
	down->head.from = a->self;
	down->head.flags = MSG_URGENT;
	down->child = a->self;
	down->name = p->name;
	memcpy(down->reason, p->reason, sizeof down->reason);
	if (message_route(loop, &down->head) != RT_OK)
		message_release(loop, &down->head);
}

static void reap(struct loop *loop, struct actor *a)
{
	struct actor_private *p = a->private;
	struct actor *outer = loop->running;
	loop->running = a;
	if (a->class->finish != NULL)
		a->class->finish(a);
	loop->running = outer;

	unlink_everywhere(p);
	pending_forget_own(loop, a);
	asks_end_token(loop, a);
	mailbox_refuse(loop, &p->urgent);
	mailbox_refuse(loop, &p->normal);
	tell_parent(loop, a);
	uint32_t name = p->name;
	bool is_named = p->is_named, has_failed = p->has_failed;
	slot_give(loop, p->slot);
	actor_memory_free(loop, a);
	loop->stats.stopped++;
	loop->stats.actors--;
	if (is_named)
		supervisor_child_ended(loop, name, has_failed);
}

void actors_reap(struct loop *loop)
{
	while (!dlist_is_empty(&loop->dying)) {
		struct actor_private *p = CONTAINER_OF(loop->dying.next, struct actor_private, dying);
		dlist_remove(&p->dying);
		reap(loop, p->actor);
	}
}

/* ---- sending ---- */
static int mailbox_put(struct loop *loop, struct actor *a, struct msg *m)
{
	struct actor_private *p = a->private;
	bool is_urgent = m->flags & MSG_URGENT;
	/* Not counted: replies, which the receiver's open asks bound, and the runtime's own messages, which its timers and children
	 * bound. */
	if (!(m->flags & MSG_REPLY) && m->kind >> 8 != CLASS_RT) {
		if (p->requests_len >= a->class->mailbox_len_max)
			return RT_EFULL;
		p->requests_len++;
	}
	mailbox_push(is_urgent ? &p->urgent : &p->normal, m);
	loop->has_sent_itself |= a == loop->running;
	struct dlist *node = is_urgent ? &p->urgent_run : &p->normal_run;
	if (!dlist_is_linked(node))
		dlist_append(is_urgent ? &loop->urgent_queue : &loop->normal_queue, node);
	return RT_OK;
}

int message_route(struct loop *loop, struct msg *m)
{
	if (ref_loop(m->to) != loop->id) {
		int error = outbox_put(loop, m);
		loop->stats.sends_remote += error == RT_OK;
		return error;
	}
	struct actor *a = loop_actor(loop, m->to);
	if (__builtin_expect(a == NULL, 0))
		return RT_EDEAD;
	loop->stats.sends_local++;
	return mailbox_put(loop, a, m);
}

bool rt_send(struct loop *loop, struct actor_ref to, struct msg *m)
{
	DCHECK(loop_current() == loop || loop_current() == NULL);
	m->flags &= MSG_URGENT | MSG_ASK; /* an ask stays one when it is handed on */
	if (loop->current == m)
		loop->current = NULL;
	if (ref_is_none(m->from) && loop->running != NULL)
		m->from = loop->running->self;
	m->to = to;
	int error = message_route(loop, m);
	if (error == RT_OK)
		return true;
	if (error == RT_EFULL)
		loop->stats.refused_full++;
	else
		loop->stats.dropped_dead++;
	message_drop(loop, m, error);
	return false;
}

/* ---- running ---- */
/* The request that it was spawned for was dropped: nothing else would end it. */
static void end_unasked(struct actor *a)
{
	if (a->private->serves_one)
		rt_stop(a);
}

/* Is the message still worth handling? If not, it is disposed and counted. */
static bool admit(struct loop *loop, struct actor *a, struct msg *m)
{
	if (m->flags & MSG_REPLY) {
		bool is_due = m->kind == RT_TIMER ? timer_close(loop, a, (struct timer_msg *)m) : ask_close(loop, a, m);
		if (!is_due)
			message_release(loop, m);
		return is_due;
	}
	if (m->kind >> 8 != CLASS_RT)
		a->private->requests_len--;
	if (m->kind == RT_LEFT && !a->class->hears_leavers) {
		message_release(loop, m);
		return false;
	}
	if (m->deadline_ns != 0 && m->deadline_ns <= loop->mono_ns) {
		loop->stats.dropped_deadline++; /* the asker's loop sends it RT_DEADLINE */
		message_release(loop, m);
		end_unasked(a);
		return false;
	}
	if (!ref_is_none(m->cancel) && !ref_is_alive(loop, m->cancel)) {
		loop->stats.dropped_cancelled++;
		message_drop(loop, m, RT_ECANCELLED);
		end_unasked(a);
		return false;
	}
	return true;
}

static void deliver(struct loop *loop, struct actor *a, struct msg *m)
{
	if (!admit(loop, a, m))
		return;
	if (loop->sim != NULL)
		sim_trace_message(loop, m);
	loop->current = m;
	a->class->on_message(a, m);
	if (loop->current != m)
		return;
	loop->current = NULL;
	if (m->flags & MSG_ASK && !(m->flags & MSG_TAKEN))
		message_drop(loop, m, a->private->stopping ? RT_EDEAD : RT_EINVAL);
	else if (!(m->flags & MSG_TAKEN))
		message_release(loop, m);
}

/* The clock is read after `clock_stride` messages: 64 while they are short, each one while they are long.
 * What passed since the last reading is put down to the actor that ran last, which is exact once messages
 * have become long. */
__attribute__((noinline)) void actors_read_clock(struct loop *loop)
{
	uint64_t before = loop->mono_ns;
	loop_refresh_clock(loop);
	uint64_t took = loop->mono_ns - before;
	if (took > loop->slowest_ns) {
		loop->slowest_ns = took;
		loop->slowest_class = loop->last_class;
	}
	if (took > TURN_NS_MAX / 2)
		loop->clock_stride = 1;
	else if (took < TURN_NS_MAX / 16 && loop->clock_stride < ACTOR_BATCH_MAX)
		loop->clock_stride *= 2;
	loop->clock_countdown = loop->clock_stride;
}

/* Urgent first; the last place of a batch is for a waiting request, so that replies alone cannot starve
 * it. */
static inline struct msg *next_message(struct actor_private *p, bool urgent_only, bool is_last)
{
	if (urgent_only)
		return mailbox_pop(&p->urgent);
	bool is_normal = p->urgent.head == NULL || (is_last && p->normal.head != NULL);
	return mailbox_pop(is_normal ? &p->normal : &p->urgent);
}

static inline void run_one(struct loop *loop, struct actor_private *p, bool urgent_only)
{
	struct actor *a = p->actor;
	uint32_t left = loop->sim == NULL ? ACTOR_BATCH_MAX : sim_batch_max(loop);
	if (a->class->on_turn_end != NULL && !dlist_is_linked(&p->ran))
		dlist_append(&loop->ran, &p->ran);
	loop->running = a;
	loop->last_class = a->class;
	loop->has_sent_itself = false;
	struct msg *m;
	while (left > 0 && (m = next_message(p, urgent_only, left == 1)) != NULL) {
		bool was_urgent = m->flags & MSG_URGENT;
		left--;
		loop->turn_messages++;
		deliver(loop, a, m);
		if (--loop->clock_countdown == 0 || loop->has_sent_itself)
			actors_read_clock(loop); /* slices are long */
		/* Work in slices: the next slice is a message to itself, and waits until the others had their turn. */
		if (loop->has_sent_itself) {
			loop->has_sent_itself = false;
			left = was_urgent && !urgent_only && p->normal.head != NULL;
		}
		if (p->stopping)
			break;
	}
	loop->running = NULL;
	if (p->urgent.head != NULL && !dlist_is_linked(&p->urgent_run))
		dlist_append(&loop->urgent_queue, &p->urgent_run);
	if (p->normal.head != NULL && !dlist_is_linked(&p->normal_run))
		dlist_append(&loop->normal_queue, &p->normal_run);
	if (!dlist_is_empty(&loop->dying))
		actors_reap(loop);
}

/* Both queues have actors. Urgent first, but a normal actor's turn comes after URGENT_RUN_MAX of them. */
static bool urgent_wins(struct loop *loop)
{
	if (loop->sim != NULL)
		return sim_prefers_urgent(loop);
	if (loop->urgent_streak++ < URGENT_RUN_MAX)
		return true;
	loop->urgent_streak = 0;
	return false;
}

void actors_run(struct loop *loop)
{
	uint64_t turn_start = loop->mono_ns, flushed_ns = turn_start;
	loop->turn_messages = 0;
	actors_reap(loop); /* those that were stopped by I/O callbacks */
	while (loop->turn_messages < TURN_MESSAGES_MAX && loop->mono_ns - turn_start < TURN_NS_MAX) {
		bool has_normal = !dlist_is_empty(&loop->normal_queue);
		bool urgent = !dlist_is_empty(&loop->urgent_queue) && (!has_normal || urgent_wins(loop));
		if (!urgent && !has_normal)
			break;
		struct dlist *queue = urgent ? &loop->urgent_queue : &loop->normal_queue;
		struct dlist *node = loop->sim == NULL ? queue->next : sim_choose(loop, queue);
		dlist_remove(node);
		run_one(loop,
			urgent ? CONTAINER_OF(node, struct actor_private, urgent_run)
			       : CONTAINER_OF(node, struct actor_private, normal_run),
			urgent);
		if (loop->mono_ns != flushed_ns) { /* read every 20 to 150 us */
			outbox_flush_to_sleepers(loop);
			flushed_ns = loop->mono_ns;
		}
	}
	loop->stats.messages += loop->turn_messages;
}

void actors_end_turn(struct loop *loop)
{
	while (!dlist_is_empty(&loop->ran)) {
		struct actor_private *p = CONTAINER_OF(loop->ran.next, struct actor_private, ran);
		dlist_remove(&p->ran);
		loop->running = p->actor;
		p->actor->class->on_turn_end(p->actor);
		loop->running = NULL;
	}
	actors_reap(loop);
}

/* ---- the end of a loop ---- */
static struct actor *live_actor(struct loop *loop, uint32_t slot)
{
	struct actor *a = loop->slots[slot].actor;
	return a != NULL && !a->private->stopping ? a : NULL;
}

void actors_stop_all(struct loop *loop)
{
	for (uint32_t i = 0; i < loop->slots_used; i++) {
		struct actor *a = live_actor(loop, i);
		if (a != NULL)
			send_stop(loop, a);
	}
}

void actors_force_end(struct loop *loop)
{
	for (uint32_t i = 0; i < loop->slots_used; i++) {
		struct actor *a = live_actor(loop, i);
		if (a != NULL)
			rt_stop(a);
	}
	actors_reap(loop);
}
