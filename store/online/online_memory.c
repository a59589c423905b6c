/* online_memory.c -- answers the messages of the online store from the table. One state: each request is done and answered at
 * once. The table has locks of its own, so that several of these may run beside who uses it without messages. */
#include "store/online/online_memory.h"
#include "runtime/check.h"

struct memory {
	struct actor base;
	struct online *table;
};

static void get_row(struct memory *s, struct online_row_batch *r, int64_t now_us)
{
	uint32_t features[ONLINE_TOGETHER_MAX];
	struct online_cell cells[ONLINE_TOGETHER_MAX];
	struct online_trace traces[ONLINE_TOGETHER_MAX];
	CHECK(r->count <= ONLINE_TOGETHER_MAX); /* online_batch_get */
	for (uint32_t i = 0; i < r->count; i++)
		features[i] = r->gets[i].feature;
	online_see(s->table, r->kind, r->id, features, r->count, now_us, cells, traces);
	r->result = ONLINE_APPLIED;
	for (uint32_t i = 0; i < r->count; i++) {
		r->gets[i].cell = cells[i];
		r->gets[i].trace = traces[i];
		if (cells[i].is_lost)
			r->result = ONLINE_FAILED;
	}
}

static void do_row(struct memory *s, uint16_t kind, struct online_row_batch *r)
{
	int64_t now_us = loop_wall_us(s->base.loop);
	if (kind == ONLINE_GET) {
		get_row(s, r, now_us);
	} else if (kind == ONLINE_PUT) {
		online_change_row(s->table, r->kind, r->id, r->changes, r->count, now_us);
		r->result = ONLINE_APPLIED;
	} else {
		r->result = online_delete_row(s->table, r->kind, r->id, r->when.event_time_us, r->when.lsn, now_us);
	}
}

static void memory_on_message(struct actor *a, struct msg *m)
{
	struct memory *s = (struct memory *)a;
	switch (m->kind) {
	case ONLINE_GET:
	case ONLINE_PUT:
	case ONLINE_DELETE: {
		struct online_batch *request = (struct online_batch *)m;
		for (uint32_t i = 0; i < request->what->count; i++)
			do_row(s, m->kind, &request->what->rows[i]);
		rt_reply(a, m, &online_done_new(a->loop, request, RT_OK)->head);
		return;
	}
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		return;
	}
}

static int memory_init(struct actor *a, void *arg)
{
	((struct memory *)a)->table = arg;
	return 0;
}

static const struct actor_class memory_class = {
	.name = "online_memory",
	.size = sizeof(struct memory),
	.mailbox_len_max = 8192,
	.init = memory_init,
	.on_message = memory_on_message,
};

struct actor_ref online_spawn(struct online *t, struct loop *loop)
{
	return rt_spawn(loop, &memory_class, t);
}
