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
	case RT_ETOOBIG:
		return "too big";
	default:
		return "unknown error";
	}
}

void *rt_msg_new(struct loop *loop, uint16_t kind)
{
	struct msg *m = pool_get(&loop->messages);
	memset(m, 0, MSG_BLOCK);
	m->kind = kind;
	loop->stats.messages_live++;
	return m;
}

void *loop_msg_new(uint16_t kind)
{
	struct msg *m = pool_block_new(MSG_BLOCK);
	memset(m, 0, MSG_BLOCK);
	m->kind = kind;
	return m;
}

void message_release(struct loop *loop, struct msg *m)
{
	if (m->dispose != NULL)
		m->dispose(m);
	if (loop->current == m)
		loop->current = NULL;
	loop->stats.messages_live--;
	pool_put(&loop->messages, m);
}

void message_drop(struct loop *loop, struct msg *m, int status)
{
	if (m->flags & MSG_ASK) {
		m->flags &= (uint8_t)~MSG_ASK;
		uint16_t kind = status == RT_ECANCELLED ? RT_CANCELLED : RT_DOWN;
		if (ref_loop(m->from) == loop->id) {
			struct pending *ask = ask_find(loop, m->op);
			if (ask != NULL)
				ask_end(loop, ask, kind, status);
		} else {
			struct msg *end = rt_msg_new(loop, kind);
			end->to = m->from;
			end->from = m->to;
			end->op = m->op;
			end->status = status;
			end->flags = MSG_URGENT | MSG_REPLY;
			if (message_route(loop, end) != RT_OK)
				message_release(loop, end);
		}
	}
	message_release(loop, m);
}

void rt_msg_free(struct loop *loop, struct msg *m)
{
	message_drop(loop, m, RT_EINVAL);
}

void rt_msg_take(struct msg *m)
{
	m->flags |= MSG_TAKEN;
}
