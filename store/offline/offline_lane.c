#include "store/offline/offline_lane.h"
#include "runtime/clock.h"
#include "runtime/metrics.h"
#include "store/offline/offline_answer.h"
#include "store/offline/offline_private.h"

enum { LANE_DONE = MSG_KIND(CLASS_OFFLINE, 65) }; /* ask: answered when all that was sent before is done */

/* A lane answers its question by then, or DuckDB does not let itself be stopped; what it gets after that waits in its mailbox. */
static const uint64_t DONE_TIMEOUT_NS = 600000000000;

struct lane_done {
	struct msg head;
	uint64_t hash; /* of the statement */
	bool was_quick;
};

/* ---- the actor ---- */
struct lane {
	struct actor base;
	struct offline_conn *conn;
	uint64_t took_ns; /* for the last question */
};

static void lane_answer(struct lane *l, struct msg *m)
{
	uint64_t began_ns = clock_mono_ns();
	offline_answer(&l->base, l->conn, m, offline_question_deadline(&l->base, m));
	l->took_ns = clock_mono_ns() - began_ns;
}

static void lane_on_message(struct actor *a, struct msg *m)
{
	struct lane *l = (struct lane *)a;
	switch (m->kind) {
	case OFFLINE_QUERY:
	case EVIDENCE_LIST:
	case EVIDENCE_LEGACY:
	case OFFLINE_FEATURE:
	case OFFLINE_AS_OF:
		lane_answer(l, m);
		return;
	case LANE_DONE: {
		struct lane_done *reply = rt_msg_new(a->loop, LANE_DONE);
		reply->hash = ((struct lane_done *)m)->hash;
		reply->was_quick = l->took_ns < OFFLINE_QUICK_MS * 1000000ull / 2;
		rt_reply(a, m, &reply->head);
		return;
	}
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		return;
	}
}

static int lane_init(struct actor *a, void *arg)
{
	struct lane *l = (struct lane *)a;
	struct offline_error error;
	l->conn = offline_conn_open(arg, &error);
	return l->conn != NULL ? 0 : error.status;
}

static void lane_finish(struct actor *a)
{
	offline_conn_close(((struct lane *)a)->conn);
}

static const struct actor_class lane_class = {
	.name = "offline_lane",
	.size = sizeof(struct lane),
	.mailbox_len_max = 16,
	.init = lane_init,
	.on_message = lane_on_message,
	.finish = lane_finish,
};

struct actor_ref offline_spawn_lane(struct offline *o, struct loop *loop)
{
	return rt_spawn(loop, &lane_class, o);
}

/* ---- statements that are known to be slow ---- */
static struct offline_slow *slow_find(struct offline_lanes *l, uint64_t hash)
{
	for (size_t i = 0; i < OFFLINE_SLOW_MAX; i++)
		if (l->slow[i].hash == hash)
			return &l->slow[i];
	return NULL;
}

/* 0 is a free place's. */
static uint64_t hash_of(const struct msg *m)
{
	return offline_question_hash(m) | 1;
}

bool offline_lanes_is_slow(struct offline_lanes *l, const struct msg *m)
{
	struct offline_slow *s = slow_find(l, hash_of(m));
	if (s != NULL)
		s->used = ++l->uses;
	return s != NULL;
}

void offline_lanes_note_slow(struct offline_lanes *l, const struct msg *m)
{
	struct offline_slow *oldest = &l->slow[0];
	for (size_t i = 1; i < OFFLINE_SLOW_MAX; i++)
		if (l->slow[i].used < oldest->used)
			oldest = &l->slow[i];
	*oldest = (struct offline_slow){ .hash = hash_of(m), .used = ++l->uses };
}

static void learn(struct offline_lanes *l, const struct lane_done *done)
{
	struct offline_slow *s = slow_find(l, done->hash);
	if (s != NULL && done->was_quick)
		*s = (struct offline_slow){ 0 };
	else if (s != NULL)
		s->is_long = true;
}

/* ---- handing on ---- */
static struct offline_lane *lane_with(struct offline_lanes *l, uint64_t op)
{
	for (uint32_t i = 0; i < l->lanes_count; i++)
		if (l->lanes[i].op == op)
			return &l->lanes[i];
	return NULL;
}

/* A lane for this question, now. NULL: it has to wait. */
static struct offline_lane *lane_for(struct offline_lanes *l, const struct msg *m)
{
	struct offline_lane *lane = lane_with(l, 0);
	uint32_t free_count = 0;
	for (uint32_t i = 0; i < l->lanes_count; i++)
		free_count += l->lanes[i].op == 0;
	const struct offline_slow *s = slow_find(l, hash_of(m));
	bool leaves_one = s != NULL && s->is_long && l->lanes_count > 1;
	return free_count > leaves_one ? lane : NULL;
}

static void hand_on(struct offline_lanes *l, struct offline_lane *lane, struct msg *m)
{
	struct actor *a = l->reader;
	struct lane_done *done = rt_msg_new(a->loop, LANE_DONE);
	done->hash = hash_of(m);
	rt_send(a->loop, lane->ref, m);
	lane->op = rt_ask(a, lane->ref, &done->head, clock_mono_ns() + DONE_TIMEOUT_NS, ACTOR_NONE);
}

/* Whether somebody still waits for the question; else it is ended. */
static bool is_wanted(struct offline_lanes *l, struct msg *m)
{
	if (!ref_is_none(m->cancel) && !rt_alive(m->cancel)) {
		rt_refuse(l->reader, m, RT_ECANCELLED);
		return false;
	}
	if (m->deadline_ns == 0 || m->deadline_ns > clock_mono_ns())
		return true;
	offline_answer_fail(l->reader, m,
			    &(struct offline_error){
				RT_EDEADLINE, "other slow statements took until the deadline; ask again later" });
	return false;
}

/* Hands on who can run now, in order of arrival; those whose askers have given up hold no place. */
static void queue_run(struct offline_lanes *l)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < l->queue_len; i++) {
		struct msg *m = l->queue[i];
		if (!is_wanted(l, m))
			continue;
		struct offline_lane *lane = lane_for(l, m);
		if (lane != NULL)
			hand_on(l, lane, m);
		else
			l->queue[kept++] = m;
	}
	l->queue_len = kept;
	metrics_set(offline_metrics.waiting, kept);
}

void offline_lanes_take(struct offline_lanes *l, struct msg *m)
{
	if (l->queue_len == OFFLINE_LANE_QUEUE_MAX)
		queue_run(l);
	struct offline_lane *lane = lane_for(l, m);
	if (lane != NULL) {
		hand_on(l, lane, m);
	} else if (l->queue_len < OFFLINE_LANE_QUEUE_MAX) {
		rt_msg_take(m);
		l->queue[l->queue_len++] = m;
		metrics_set(offline_metrics.waiting, l->queue_len);
	} else {
		metrics_add(offline_metrics.refused, 1);
		offline_answer_fail(l->reader, m,
				    &(struct offline_error){
					RT_EFULL, "too many slow statements wait already; ask again later" });
	}
}

bool offline_lanes_on_reply(struct offline_lanes *l, struct msg *m)
{
	struct offline_lane *lane = m->op != 0 ? lane_with(l, m->op) : NULL;
	if (lane == NULL)
		return false;
	lane->op = 0;
	if (m->kind == LANE_DONE)
		learn(l, (struct lane_done *)m);
	queue_run(l);
	return true;
}

void offline_lanes_finish(struct offline_lanes *l)
{
	for (uint32_t i = 0; i < l->queue_len; i++) /* the runtime ends their asks */
		rt_msg_free(l->reader->loop, l->queue[i]);
	l->queue_len = 0;
}
