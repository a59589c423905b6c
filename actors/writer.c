/* writer.c -- what clients write.
 *
 *     PUT, DELETE --append--> APPENDING --durable and published, or refused--> WRITTEN to the asker
 *                    an online store elsewhere: --durable--> PUBLISHING --published, or pending--> WRITTEN
 *
 * A write is not cancelled when its client leaves: it may be durable already. Bounds: the mailbox, WRITES_MAX
 * under way; more are refused. */
#include "actors/writer.h"
#include "actors/publisher.h"
#include "runtime/hash.h"
#include <stdlib.h>

enum { WRITES_MAX = 16384, BUCKETS = 1024 };
enum { ANSWER_NS = 20 * 1000 * 1000 }; /* what is left of the asker's time for the answer that its write is pending */

struct under_way {
	struct under_way *next;
	uint64_t op;
	struct msg *request; /* taken */
	bool is_publishing;  /* it is durable, whatever comes */
};

struct writer {
	struct actor base;
	struct node_loop *nl;
	uint32_t count;
	struct under_way *by_op[BUCKETS];
};

struct write *write_new(uint32_t entity, struct str entity_id, uint32_t cap)
{
	size_t cells = sizeof(struct write) + cap * sizeof(struct write_cell);
	struct write *w = malloc(cells + entity_id.n);
	if (w == NULL)
		return NULL;
	*w = (struct write){ .entity = entity, .entity_id = str_of((char *)w + cells, entity_id.n), .cap = cap };
	if (entity_id.n)
		memcpy((char *)w + cells, entity_id.p, entity_id.n);
	return w;
}

void write_free(struct write *w)
{
	for (uint32_t i = 0; w && i < w->count; i++)
		value_unref(w->cells[i].value);
	free(w);
}

static struct write *write_of(const struct msg *m)
{
	return ((const struct writer_write *)m)->write;
}

/* ---- PUT, DELETE ---- */

/* NULL: no memory. */
static struct evidence_entry *entry_of(const struct node *n, uint16_t kind, const struct write *w)
{
	if (kind == WRITER_DELETE)
		return values_delete_new(n, w->entity, w->entity_id, w->event_time_us);
	struct values_cell *cells = calloc(w->count + 1, sizeof *cells);
	if (cells == NULL)
		return NULL;
	for (uint32_t i = 0; i < w->count; i++)
		cells[i] = (struct values_cell){ .entity_id = w->entity_id,
						 .feature = w->cells[i].feature,
						 .value = w->cells[i].value,
						 .event_time_us = w->event_time_us,
						 .event_time_ns = w->event_time_ns };
	struct evidence_entry *e = values_entry_new(n, &(struct values_write){ .entity = w->entity,
									       .source = ENTRY_PUSHED,
									       .is_newest = !w->is_timed,
									       .cells = cells,
									       .count = w->count });
	free(cells);
	return e;
}

static void await(struct writer *s, struct under_way *u, uint64_t op)
{
	struct under_way **bucket = &s->by_op[hash_mix(op) % BUCKETS];
	u->op = op;
	u->next = *bucket;
	*bucket = u;
	s->count++;
}

static void on_write(struct writer *s, struct msg *m)
{
	struct write *w = write_of(m);
	if (!w->is_timed)
		w->event_time_us = loop_wall_us(s->base.loop);
	struct under_way *u = s->count < WRITES_MAX ? malloc(sizeof *u) : NULL;
	struct evidence_entry *e = u ? entry_of(s->nl->node, m->kind, w) : NULL;
	if (e == NULL) {
		free(u);
		rt_refuse(&s->base, m, RT_EFULL);
		return;
	}
	rt_msg_take(m);
	*u = (struct under_way){ .request = m };
	await(s, u,
	      rt_ask(&s->base, evidence_appender(&s->nl->node->stores->evidence, s->base.loop),
		     &evidence_append_new(s->base.loop, e)->head, m->deadline_ns, ACTOR_NONE));
}

/* ---- APPENDING ---- */

static enum write_outcome outcome_of(const struct node *n, const struct write_cell *c, enum online_result put,
				     int64_t event_time_us, int64_t now_us)
{
	int64_t ttl_us = n->definitions->features[c->feature].ttl_ms * 1000;
	if (put == ONLINE_FULL)
		return WRITE_NO_ROOM;
	/* One whose time has passed already will not be seen either. */
	return put == ONLINE_STALE || (ttl_us && event_time_us + ttl_us <= now_us) ? WRITE_STALE : WRITE_DONE;
}

static void note_outcomes(struct writer *s, const struct msg *request, const struct evidence_entry *e)
{
	struct write *w = write_of(request);
	w->is_pending = values_are_elsewhere(s->nl->node) && values_failed(e) > 0;
	if (request->kind == WRITER_DELETE)
		return;
	for (uint32_t i = 0; i < w->count; i++) {
		int64_t time_us = values_event_time_us(e, i);
		w->cells[i].outcome = outcome_of(s->nl->node, &w->cells[i], values_result(e, i), time_us,
						 loop_wall_us(s->base.loop));
		if (time_us > w->event_time_us)
			w->event_time_us = time_us;
	}
}

static void answer(struct writer *s, struct under_way *u, int status)
{
	struct write *w = write_of(u->request);
	if (status == RT_OK && w->is_pending)
		metrics_add(s->nl->node->metrics.writes_pending, 1);
	struct writer_write *reply = writer_write_new(s->base.loop, WRITER_WRITTEN, w);
	((struct writer_write *)u->request)->write = NULL;
	reply->head.status = status;
	rt_reply(&s->base, u->request, &reply->head);
	free(u);
}

static bool begin_publishing(struct writer *s, struct under_way *u, struct msg *m)
{
	uint64_t op, soon_ns = loop_mono_ns(s->base.loop) + ANSWER_NS, until_ns = u->request->deadline_ns - ANSWER_NS;
	if (!publisher_takes(&s->base, s->nl->node, m, until_ns > soon_ns ? until_ns : soon_ns, &op))
		return false;
	u->is_publishing = true;
	await(s, u, op);
	return true;
}

static void in_appending(struct writer *s, struct under_way *u, struct msg *m)
{
	int status = m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status;
	if (m->kind == EVIDENCE_APPENDED && status == RT_OK) {
		note_outcomes(s, u->request, ((const struct evidence_append *)m)->entry);
		if (begin_publishing(s, u, m))
			return;
	}
	answer(s, u, status);
}

/* Without an answer of the publisher it stays as it was noted when it was durable: pending. */
static void in_publishing(struct writer *s, struct under_way *u, const struct msg *m)
{
	if (m->kind == EVIDENCE_APPENDED)
		note_outcomes(s, u->request, ((const struct evidence_append *)m)->entry);
	answer(s, u, RT_OK);
}

/* ---- the actor ---- */

static struct under_way *take(struct writer *s, uint64_t op)
{
	struct under_way **at = &s->by_op[hash_mix(op) % BUCKETS];
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct under_way *u = *at;
	if (u == NULL)
		return NULL;
	*at = u->next;
	s->count--;
	return u;
}

static void writer_on_message(struct actor *a, struct msg *m)
{
	struct writer *s = (struct writer *)a;
	switch (m->kind) {
	case WRITER_PUT:
	case WRITER_DELETE:
		on_write(s, m);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		break;
	}
	struct under_way *u = m->op ? take(s, m->op) : NULL;
	if (u && u->is_publishing)
		in_publishing(s, u, m);
	else if (u)
		in_appending(s, u, m);
}

static int writer_init(struct actor *a, void *arg)
{
	((struct writer *)a)->nl = arg;
	return 0;
}

/* Whoever waits gets RT_DOWN from the runtime. */
static void writer_finish(struct actor *a)
{
	struct writer *s = (struct writer *)a;
	for (size_t b = 0; b < BUCKETS; b++) {
		for (struct under_way *u = s->by_op[b], *next; u; u = next) {
			next = u->next;
			rt_msg_free(a->loop, u->request);
			free(u);
		}
	}
}

const struct actor_class writer_class = {
	.name = "writer",
	.size = sizeof(struct writer),
	.mailbox_len_max = WRITES_MAX,
	.init = writer_init,
	.on_message = writer_on_message,
	.finish = writer_finish,
};

/* ---- messages ---- */

static void write_dispose(struct msg *m)
{
	write_free(((struct writer_write *)m)->write);
}

struct writer_write *writer_write_new(struct loop *loop, uint16_t kind, struct write *write)
{
	struct writer_write *m = rt_msg_new(loop, kind);
	m->head.dispose = write_dispose;
	m->write = write;
	return m;
}
MSG_SIZE_CHECK(writer_write);
