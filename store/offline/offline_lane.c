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
	uint64_t took_ns;
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
		lane_answer(l, m);
		return;
	case LANE_DONE: {
		struct lane_done *reply = rt_msg_new(a->loop, LANE_DONE);
		reply->hash = ((struct lane_done *)m)->hash;
		reply->took_ns = l->took_ns;
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

struct lane_args {
	struct offline *offline;
	struct offline_watched *watched; /* out */
};

static int lane_init(struct actor *a, void *arg)
{
	struct lane *l = (struct lane *)a;
	struct lane_args *args = arg;
	struct offline_error error;
	l->conn = offline_conn_open(args->offline, &error);
	if (l->conn == NULL)
		return error.status;
	args->watched = &l->conn->watched;
	return 0;
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

struct actor_ref offline_spawn_lane(struct offline *o, struct loop *loop, struct offline_watched **ret_watched)
{
	struct lane_args args = { .offline = o };
	struct actor_ref ref = rt_spawn(loop, &lane_class, &args);
	*ret_watched = args.watched;
	return ref;
}

/* ---- statements that are known ---- */
static struct offline_known *known_find(struct offline_lanes *l, uint64_t hash)
{
	for (size_t i = 0; i < OFFLINE_KNOWN_MAX; i++)
		if (l->known[i].hash == hash)
			return &l->known[i];
	return NULL;
}

/* The place of the statement, or the one that was not used for longest. */
static struct offline_known *known_place(struct offline_lanes *l, uint64_t hash)
{
	struct offline_known *place = known_find(l, hash);
	if (place != NULL)
		return place;
	place = &l->known[0];
	for (size_t i = 1; i < OFFLINE_KNOWN_MAX; i++)
		if (l->known[i].used < place->used)
			place = &l->known[i];
	return place;
}

static void note(struct offline_lanes *l, uint64_t hash, int speed)
{
	*known_place(l, hash) = (struct offline_known){ .hash = hash, .used = ++l->uses, .speed = speed };
}

/* 0 is a free place's. */
static uint64_t hash_of(const struct msg *m)
{
	return offline_question_hash(m) | 1;
}

static bool is_of_client(const struct msg *m)
{
	return m->kind == OFFLINE_QUERY && ((const struct offline_query *)m)->tables_only;
}

static bool has_large_params(const struct msg *m)
{
	const char *params = m->kind == OFFLINE_QUERY ? ((const struct offline_query *)m)->params : NULL;
	return params != NULL && strnlen(params, OFFLINE_QUICK_PARAMS_BYTES + 1) > OFFLINE_QUICK_PARAMS_BYTES;
}

static bool has_large_text(const struct msg *m)
{
	const char *sql = m->kind == OFFLINE_QUERY ? ((const struct offline_query *)m)->sql : NULL;
	return sql != NULL && strnlen(sql, OFFLINE_TRIED_BYTES_MAX + 1) > OFFLINE_TRIED_BYTES_MAX;
}

static struct offline_lane *lane_for(struct offline_lanes *l, const struct msg *m);

bool offline_lanes_leave_it(struct offline_lanes *l, const struct msg *m)
{
	struct offline_known *k = known_find(l, hash_of(m));
	if (k != NULL)
		k->used = ++l->uses;
	if (k != NULL && k->speed != OFFLINE_IS_QUICK)
		return false;
	if (m->kind == EVIDENCE_LIST || m->kind == EVIDENCE_LEGACY) /* their texts are the program's own */
		return true;
	if (k != NULL)
		return !has_large_params(m);
	return !is_of_client(m) && !has_large_text(m) && !has_large_params(m) && lane_for(l, m) == NULL;
}

void offline_lanes_note_slow(struct offline_lanes *l, const struct msg *m)
{
	note(l, hash_of(m), OFFLINE_IS_SLOW);
}

/* Between the two times it stays what it was. */
static void learn(struct offline_lanes *l, const struct lane_done *done)
{
	const uint64_t quick_ns = OFFLINE_QUICK_MS * 1000000ull;
	const struct offline_known *k = known_find(l, done->hash);
	bool was_quick = k == NULL || k->speed == OFFLINE_IS_QUICK;
	note(l, done->hash, done->took_ns < (was_quick ? quick_ns : quick_ns / 2) ? OFFLINE_IS_QUICK : OFFLINE_IS_LONG);
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
	const struct offline_known *k = known_find(l, hash_of(m));
	bool may_be_long = k != NULL ? k->speed == OFFLINE_IS_LONG : is_of_client(m);
	return free_count > (may_be_long && l->lanes_count > 1) ? lane : NULL;
}

static void hand_on(struct offline_lanes *l, struct offline_lane *lane, struct msg *m)
{
	struct actor *a = l->reader;
	struct lane_done *done = rt_msg_new(a->loop, LANE_DONE);
	done->hash = hash_of(m);
	lane->asked_op = m->op;
	lane->asker = m->from;
	lane->was_left = false;
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

void offline_lanes_end_left(struct offline_lanes *l, struct offline_watch *watch)
{
	for (uint32_t i = 0; i < l->lanes_count; i++)
		if (l->lanes[i].op != 0 && l->lanes[i].was_left)
			offline_watch_end_now(watch, l->lanes[i].watched);
}

void offline_lanes_on_left(struct offline_lanes *l, struct offline_watch *watch, const struct rt_left *left)
{
	for (uint32_t i = 0; i < l->lanes_count; i++) {
		struct offline_lane *lane = &l->lanes[i];
		if (lane->op == 0 || lane->asked_op != left->asked_op || !ref_eq(lane->asker, left->asker))
			continue;
		lane->was_left = true;
		offline_lanes_end_left(l, watch);
		return;
	}
	for (uint32_t i = 0; i < l->queue_len; i++) {
		struct msg *m = l->queue[i];
		if (m->op != left->asked_op || !ref_eq(m->from, left->asker))
			continue;
		memmove(&l->queue[i], &l->queue[i + 1], (l->queue_len - i - 1) * sizeof(struct msg *));
		metrics_set(offline_metrics.waiting, --l->queue_len);
		rt_msg_free(l->reader->loop, m);
		return;
	}
}

bool offline_lanes_on_reply(struct offline_lanes *l, struct msg *m)
{
	struct offline_lane *lane = m->op != 0 ? lane_with(l, m->op) : NULL;
	if (lane == NULL)
		return false;
	lane->op = 0;
	if (m->kind == LANE_DONE && !lane->was_left)
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
