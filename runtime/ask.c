/* Asks and timers: one table of `struct pending`, whose deadlines are in the loop's timing wheel.
 *
 *     free --rt_ask / rt_timer_start--> open --ending delivered--> free
 *                                        |--rt_ask_cancel / rt_timer_stop / owner dies--> free
 *
 * A reply, RT_DEADLINE, RT_DOWN and RT_CANCELLED are messages in the asker's mailbox like any other. The
 * first of them that is dequeued closes the entry; the generation in the op makes the others late.
 *
 * Who answers when a callee dies? The request does: a message with MSG_ASK that is freed unanswered,
 * wherever that happens (mailbox of the dead, its finish, a refusal, another loop), sends RT_DOWN to its
 * asker; see message_drop. So nobody keeps a list of who waits for whom, and a request that was handed on
 * is still answered by whoever has it. */
#include "runtime/private.h"

/* ---- the table ---- */
enum { INDEX_REFUSED = 0xffffffff }; /* the op of an ask that found the table full */

static bool pending_grow(struct loop *loop)
{
	uint32_t chunks_max = (loop->pending_max + PENDING_CHUNK - 1) / PENDING_CHUNK;
	if (loop->pending_chunks_len == chunks_max)
		return false;
	struct pending *chunk = calloc(PENDING_CHUNK, sizeof *chunk);
	if (chunk == NULL)
		return false;
	uint32_t first = loop->pending_chunks_len * PENDING_CHUNK;
	for (uint32_t i = PENDING_CHUNK; i-- > 0;) {
		chunk[i].index = first + i;
		hlist_push(&loop->pending_free, &chunk[i].own_link);
	}
	loop->pending_chunks[loop->pending_chunks_len++] = chunk;
	return true;
}

static struct pending *pending_open(struct loop *loop, struct actor *owner)
{
	if (loop->pending_free == NULL && !pending_grow(loop))
		return NULL;
	struct pending *e = CONTAINER_OF(loop->pending_free, struct pending, own_link);
	hlist_remove(&e->own_link);
	e->generation = e->generation + 1 ? e->generation + 1 : 1;
	e->owner = owner;
	e->is_timer = false;
	e->ending_sent = false;
	hlist_push(&owner->private->own, &e->own_link);
	return e;
}

static void pending_close(struct loop *loop, struct pending *e)
{
	wheel_remove(&loop->wheel, &e->timer);
	hlist_remove(&e->own_link);
	hlist_remove(&e->token_link);
	e->owner = NULL;
	if (e->is_timer)
		loop->timers--;
	else
		loop->stats.asks_open--;
	hlist_push(&loop->pending_free, &e->own_link);
}

static uint64_t pending_op(const struct pending *e)
{
	return (uint64_t)e->generation << 32 | e->index;
}

static struct pending *pending_find(struct loop *loop, uint64_t op)
{
	uint32_t index = (uint32_t)op, chunk = index / PENDING_CHUNK;
	if (chunk >= loop->pending_chunks_len)
		return NULL;
	struct pending *e = &loop->pending_chunks[chunk][index % PENDING_CHUNK];
	return e->generation == op >> 32 && e->owner != NULL ? e : NULL;
}

struct pending *ask_find(struct loop *loop, uint64_t op)
{
	struct pending *e = pending_find(loop, op);
	return e != NULL && !e->is_timer ? e : NULL;
}

void pending_finish(struct loop *loop)
{
	for (uint32_t i = 0; i < loop->pending_chunks_len; i++)
		free(loop->pending_chunks[i]);
	free(loop->pending_chunks);
}

/* ---- endings ---- */
static void send_ending(struct loop *loop, struct actor *owner, uint64_t op, uint16_t kind, int status)
{
	struct msg *m = rt_msg_new(loop, kind);
	m->to = owner->self;
	m->op = op;
	m->status = status;
	m->flags = MSG_URGENT | MSG_REPLY;
	if (message_route(loop, m) != RT_OK)
		message_release(loop, m);
}

void ask_end(struct loop *loop, struct pending *ask, uint16_t kind, int status)
{
	if (ask->ending_sent)
		return;
	ask->ending_sent = true;
	wheel_remove(&loop->wheel, &ask->timer);
	send_ending(loop, ask->owner, pending_op(ask), kind, status);
}

bool ask_close(struct loop *loop, struct actor *a, const struct msg *reply)
{
	if ((uint32_t)reply->op == INDEX_REFUSED)
		return true;
	struct pending *e = ask_find(loop, reply->op);
	if (e != NULL && e->owner == a) {
		pending_close(loop, e);
		return true;
	}
	loop->stats.dropped_late_reply += reply->kind >> 8 != CLASS_RT;
	return false;
}

bool timer_close(struct loop *loop, struct actor *a, const struct timer_msg *m)
{
	struct pending *e = pending_find(loop, m->handle);
	if (e == NULL || e->owner != a)
		return false;
	pending_close(loop, e);
	return true;
}

void pending_expire(struct wheel_node *node, void *arg)
{
	struct loop *loop = arg;
	struct pending *e = (struct pending *)node;
	if (!e->is_timer) {
		ask_end(loop, e, RT_DEADLINE, RT_EDEADLINE);
		return;
	}
	struct timer_msg *m = rt_msg_new(loop, RT_TIMER);
	m->head.to = e->owner->self;
	m->head.op = e->user_op;
	m->head.flags = MSG_URGENT | MSG_REPLY;
	m->handle = pending_op(e);
	if (message_route(loop, &m->head) != RT_OK)
		message_release(loop, &m->head);
}

/* To whom it may concern; who has answered already finds nothing. */
static void tell_left(struct loop *loop, const struct pending *e)
{
	struct rt_left *m = rt_msg_new(loop, RT_LEFT);
	m->head.to = e->to;
	m->head.from = e->owner->self;
	m->asker = e->owner->self;
	m->asked_op = pending_op(e);
	if (message_route(loop, &m->head) != RT_OK)
		message_release(loop, &m->head);
}

void pending_forget_own(struct loop *loop, struct actor *a)
{
	while (a->private->own != NULL) {
		struct pending *e = CONTAINER_OF(a->private->own, struct pending, own_link);
		if (!e->is_timer)
			tell_left(loop, e);
		pending_close(loop, e);
	}
}

void asks_end_token(struct loop *loop, struct actor *token)
{
	while (token->private->guarded != NULL) {
		struct pending *e = CONTAINER_OF(token->private->guarded, struct pending, token_link);
		hlist_remove(&e->token_link);
		ask_end(loop, e, RT_CANCELLED, RT_ECANCELLED);
	}
}

/* ---- asking ---- */
/* The table is full: an op of its own kind, which only the ending carries. */
static uint64_t ask_refuse(struct loop *loop, struct actor *a, struct msg *m)
{
	uint64_t op = (++loop->refused_ops & 0xffffffff) << 32 | INDEX_REFUSED;
	loop->stats.refused_full++;
	message_release(loop, m);
	send_ending(loop, a, op, RT_DOWN, RT_EFULL);
	return op;
}

uint64_t rt_ask(struct actor *a, struct actor_ref to, struct msg *m, uint64_t deadline_ns, struct actor_ref cancel)
{
	struct loop *loop = a->loop;
	DCHECK(loop_current() == loop || loop_current() == NULL);
	CHECK(deadline_ns != 0 &&
	      !(m->flags & MSG_ASK)); /* a request that is still to be answered cannot be asked again */
	m->flags &= MSG_URGENT;
	if (loop->current == m)
		loop->current = NULL;
	struct pending *e = loop->stats.asks_open < loop->asks_max ? pending_open(loop, a) : NULL;
	if (e == NULL)
		return ask_refuse(loop, a, m);
	loop->stats.asks_open++;
	uint64_t op = pending_op(e);
	e->to = to;
	struct actor *token = ref_loop(cancel) == loop->id ? loop_actor(loop, cancel) : NULL;
	if (token != NULL)
		hlist_push(&token->private->guarded, &e->token_link);
	wheel_add(&loop->wheel, &e->timer, loop_tick_of(loop, deadline_ns));

	m->op = op;
	m->from = a->self;
	m->to = to;
	m->cancel = cancel;
	m->deadline_ns = deadline_ns;
	int error = RT_OK;
	if (!ref_is_none(cancel) && token == NULL && !rt_alive(cancel))
		error = RT_ECANCELLED;
	if (error == RT_OK) {
		m->flags |= MSG_ASK;
		error = message_route(loop, m);
	}
	if (error == RT_OK)
		return op;
	loop->stats.refused_full += error == RT_EFULL;
	loop->stats.dropped_dead += error == RT_EDEAD;
	loop->stats.dropped_cancelled += error == RT_ECANCELLED;
	m->flags |= MSG_ASK; /* so that dropping it answers us */
	message_drop(loop, m, error);
	return op;
}

uint64_t rt_spawn_ask(struct actor *a, const struct actor_class *class, void *arg, struct msg *m, uint64_t deadline_ns,
		      struct actor_ref cancel)
{
	struct actor_ref ref = rt_spawn(a->loop, class, arg);
	struct actor *spawned = loop_actor(a->loop, ref);
	if (spawned != NULL)
		spawned->private->serves_one = true;
	uint64_t op = rt_ask(a, ref, m, deadline_ns, cancel);
	if (spawned != NULL && spawned->private->requests_len == 0)
		rt_stop(spawned); /* the ask was refused before it was sent */
	return op;
}

void rt_ask_cancel(struct actor *a, uint64_t op)
{
	struct loop *loop = a->loop;
	if ((uint32_t)op != INDEX_REFUSED) {
		struct pending *e = ask_find(loop, op);
		if (e != NULL && e->owner == a) {
			tell_left(loop, e);
			pending_close(loop, e);
		}
		return;
	}
	for (struct msg *m = a->private->urgent.head; m != NULL; m = m->next)
		if (m->op == op && m->kind == RT_DOWN)
			m->op = (uint64_t)INDEX_REFUSED -
				1; /* an index beyond any table: the ending is dropped as late */
}

void rt_reply(struct actor *a, struct msg *request, struct msg *reply)
{
	struct loop *loop = a->loop;
	CHECK(!(reply->flags & MSG_ASK)); /* nor a reply */
	if (request->flags & MSG_ASK) {
		request->flags &= (uint8_t)~MSG_ASK;
		reply->op = request->op;
		reply->to = request->from;
		reply->from = a->self;
		reply->deadline_ns = 0;
		reply->cancel = ACTOR_NONE;
		reply->flags = MSG_URGENT | MSG_REPLY;
		if (message_route(loop, reply) != RT_OK) {
			loop->stats.dropped_late_reply++;
			message_release(loop, reply);
		}
	} else {
		message_release(loop, reply);
	}
	if (request->flags & MSG_TAKEN)
		message_release(loop, request);
}

void rt_refuse(struct actor *a, struct msg *request, int status)
{
	struct msg *down = rt_msg_new(a->loop, RT_DOWN);
	down->status = status;
	rt_reply(a, request, down);
}

/* ---- timers ---- */
uint64_t rt_timer_start(struct actor *a, uint64_t delay_ms, uint64_t op)
{
	struct loop *loop = a->loop;
	struct pending *e = loop->timers < loop->timers_max ? pending_open(loop, a) : NULL;
	if (e == NULL)
		return 0;
	loop->timers++;
	e->is_timer = true;
	e->user_op = op;
	uint64_t due_ns = loop_mono_ns(loop) + delay_ms * TICK_NS;
	wheel_add(&loop->wheel, &e->timer, loop_tick_of(loop, due_ns));
	return pending_op(e);
}

void rt_timer_stop(struct actor *a, uint64_t timer)
{
	struct pending *e = pending_find(a->loop, timer);
	if (e != NULL && e->is_timer && e->owner == a)
		pending_close(a->loop, e);
}
