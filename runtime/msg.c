#include "runtime/private.h"

const char *rt_error_text(int error)
{
	switch (error) {
	case RT_OK:
		return "ok";
	case RT_EDEAD:
		return "no such actor";
	case RT_EFULL:
		return "full: too much work is waiting";
	case RT_EDEADLINE:
		return "deadline passed";
	case RT_ECANCELLED:
		return "cancelled";
	case RT_EIO:
		return "a store failed";
	case RT_EINVAL:
		return "invalid request";
	case RT_ENOTFOUND:
		return "not found";
	case RT_EEXIST:
		return "exists already";
	case RT_EREADONLY:
		return "read-only: no writes are accepted now";
	case RT_ESHUTDOWN:
		return "shutting down";
	case RT_ECONFLICT:
		return "what it builds on has changed meanwhile";
	case RT_ETOOBIG:
		return "too big";
	default:
		return "unknown error";
	}
}

/* By vector stores, spelled out: memset and loops become `rep stos` at -O2, which takes longer than the
 * rest of a send. */
static inline void clear(struct msg *m)
{
	typedef uint64_t block __attribute__((vector_size(16), may_alias));
	block *at = (block *)m;
	_Static_assert(sizeof *at * 8 == MSG_BLOCK, "eight stores clear a message");
	at[0] = at[1] = at[2] = at[3] = at[4] = at[5] = at[6] = at[7] = (block){ 0 };
}

void *rt_msg_new(struct loop *loop, uint16_t kind)
{
	struct msg *m = pool_get(&loop->messages);
	clear(m);
	m->kind = kind;
	loop->stats.messages_live++;
	return m;
}

void *loop_msg_new(uint16_t kind)
{
	struct msg *m = pool_block_new(MSG_BLOCK);
	clear(m);
	m->kind = kind;
	return m;
}

static void answer_down(struct loop *loop, const struct msg *request, int status)
{
	uint16_t kind = status == RT_ECANCELLED ? RT_CANCELLED : RT_DOWN;
	if (ref_loop(request->from) == loop->id) {
		struct pending *ask = ask_find(loop, request->op);
		if (ask != NULL)
			ask_end(loop, ask, kind, status);
		return;
	}
	struct msg *end = rt_msg_new(loop, kind);
	end->to = request->from;
	end->from = request->to;
	end->op = request->op;
	end->status = status;
	end->flags = MSG_URGENT | MSG_REPLY;
	if (message_route(loop, end) != RT_OK)
		message_release(loop, end);
}

void message_drop(struct loop *loop, struct msg *m, int status)
{
	if (m->flags & MSG_ASK)
		answer_down(loop, m, status);
	message_release(loop, m);
}

void rt_msg_free(struct loop *loop, struct msg *m)
{
	bool is_dying = loop->running != NULL && loop->running->private->stopping;
	message_drop(loop, m, is_dying ? RT_EDEAD : RT_EINVAL);
}

void rt_msg_take(struct msg *m)
{
	m->flags |= MSG_TAKEN;
}
