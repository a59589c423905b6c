/* greeter: greets one person at a time by the full name, which another actor knows.
 *
 *                 GREET                      FOUND: reply
 *     IDLE ------------------> FINDING ---------------------> IDLE
 *                                      UNKNOWN, DOWN, DEADLINE: refuse
 *
 *     RT_STOP in any state: the waiting ask is refused, the actor ends.
 *
 * Bounds: one request at a time; a GREET that comes while FINDING is refused with RT_EFULL. The names
 * actor has timeout_ms, but never longer than the asker's own deadline. */
#include "examples/first_actor/greeter.h"
#include "examples/first_actor/names.h"
#include "runtime/check.h"
#include "runtime/loop.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- states and events ---- */
enum greeter_state {
	GREETER_IDLE,    /* nothing to do */
	GREETER_FINDING, /* `request` is ours and `find_op` is open */
};

enum greeter_event {
	EV_GREET,
	EV_FOUND,
	EV_FAILED, /* the names actor refused, is gone, or was too slow */
	EV_STOP,
	EV_UNKNOWN,
};

struct greeter {
	struct actor base;
	enum greeter_state state;
	struct greeter_config config;
	struct msg *request; /* owned while FINDING */
	uint64_t find_op;
};

static void in_idle(struct greeter *g, enum greeter_event event, struct msg *m);
static void in_finding(struct greeter *g, enum greeter_event event, struct msg *m);

/* ---- classify: the only place that reads kinds ---- */
static enum greeter_event classify(const struct msg *m)
{
	switch (m->kind) {
	case GREETER_GREET:
		return EV_GREET;
	case NAMES_FOUND:
		return m->status == RT_OK ? EV_FOUND : EV_FAILED;
	case RT_DOWN:
	case RT_DEADLINE:
	case RT_CANCELLED:
		return EV_FAILED;
	case RT_STOP:
		return EV_STOP;
	default:
		return EV_UNKNOWN;
	}
}

/* ---- become: the only writer of `state` ---- */
static void become(struct greeter *g, enum greeter_state next)
{
	CHECK(g->state != next);
	CHECK((next == GREETER_FINDING) == (g->request != NULL));
	g->state = next;
}

static void greeter_on_message(struct actor *a, struct msg *m)
{
	struct greeter *g = (struct greeter *)a;
	enum greeter_event event = classify(m);
	if (event == EV_UNKNOWN)
		return; /* if it was an ask, the runtime refuses it */
	if (event == EV_STOP) {
		rt_stop(a);
		return;
	}
	switch (g->state) {
	case GREETER_IDLE:
		in_idle(g, event, m);
		return;
	case GREETER_FINDING:
		in_finding(g, event, m);
		return;
	}
}

/* ---- the states, in the order of the diagram ---- */
static uint64_t find_deadline_ns(const struct greeter *g, const struct msg *request)
{
	uint64_t own_ns = loop_mono_ns(g->base.loop) + g->config.timeout_ms * 1000000ull;
	return request->deadline_ns != 0 && request->deadline_ns < own_ns ? request->deadline_ns : own_ns;
}

static void in_idle(struct greeter *g, enum greeter_event event, struct msg *m)
{
	/* An ending without an ask cannot arrive: each ask has one ending, and we leave FINDING only by
	 * it. */
	CHECK(event == EV_GREET);
	struct names_find *find = rt_msg_new(g->base.loop, NAMES_FIND);
	memcpy(find->name, ((struct greeter_greet *)m)->name, sizeof find->name);
	rt_msg_take(m);
	g->request = m;
	g->find_op = rt_ask(&g->base, g->config.names, &find->head, find_deadline_ns(g, m), m->cancel);
	become(g, GREETER_FINDING);
}

static void greeted_dispose(struct msg *m)
{
	free(((struct greeter_greeted *)m)->text);
}

static void reply_greeting(struct greeter *g, struct msg *request, const char *full_name)
{
	struct greeter_greeted *greeted = rt_msg_new(g->base.loop, GREETER_GREETED);
	greeted->head.dispose = greeted_dispose;
	if (asprintf(&greeted->text, "Hello, %s!", full_name) < 0) {
		greeted->text = NULL;
		greeted->head.status = RT_EFULL;
	}
	rt_reply(&g->base, request, &greeted->head);
}

static void in_finding(struct greeter *g, enum greeter_event event, struct msg *m)
{
	if (event == EV_GREET) {
		rt_refuse(&g->base, m, RT_EFULL);
		return;
	}
	CHECK(m->op == g->find_op);
	struct msg *request = g->request;
	g->request = NULL;
	if (event == EV_FOUND)
		reply_greeting(g, request, ((struct names_found *)m)->full_name);
	else
		rt_refuse(&g->base, request, m->status);
	become(g, GREETER_IDLE);
}

/* ---- life ---- */
static int greeter_init(struct actor *a, void *arg)
{
	struct greeter *g = (struct greeter *)a;
	g->config = *(const struct greeter_config *)arg;
	return g->config.timeout_ms > 0 ? RT_OK : RT_EINVAL;
}

static void greeter_finish(struct actor *a)
{
	struct greeter *g = (struct greeter *)a;
	if (g->request != NULL)
		rt_msg_free(a->loop, g->request); /* its asker gets RT_DOWN */
}

const struct actor_class greeter_class = {
	.name = "greeter",
	.size = sizeof(struct greeter),
	.mailbox_len_max = 64,
	.init = greeter_init,
	.on_message = greeter_on_message,
	.finish = greeter_finish,
};
