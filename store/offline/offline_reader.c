/* The reader: answers questions to the offline store, one at a time, on a blocking loop; slow ones in lanes beside it.
 *
 * A question that needs the projection waits in `waiting` until everything is applied that was durable when
 * it arrived; meanwhile the reader takes the projection's steps itself, one per message to itself, so that
 * other questions are answered in between. It also steps in when the projection falls behind for lack of CPU
 * time (LAG_HELP_MS). */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/metrics.h"
#include "store/offline/offline_answer.h"
#include "store/offline/offline_cursor.h"
#include "store/offline/offline_lane.h"
#include "store/offline/offline_newest_cursor.h"
#include "store/offline/offline_private.h"
#include "store/offline/offline_training.h"

enum { CONTINUE = MSG_KIND(CLASS_OFFLINE, 64) }; /* to itself */
enum { TIMER_TICK = 1, TIMER_RETRY = 2 };
enum {
	TICK_MS = 100,
	LAG_HELP_MS = 300,
	WAITING_MAX = 256,
};
struct waiting {
	struct msg *ask; /* taken */
	uint64_t lsn;
};

struct reader {
	struct actor base;
	struct offline *offline; /* borrows */
	struct offline_conn *conn;
	struct offline_cursors cursors;
	struct offline_newest_cursor newest;
	struct offline_trainings trainings;
	struct offline_lanes lanes;
	struct waiting waiting[WAITING_MAX]; /* in order of arrival */
	uint32_t waiting_len;
	bool is_stepping; /* a CONTINUE or a TIMER_RETRY is on its way */
};

/* ---- answers ---- */
static void answer_rows(struct reader *r, struct offline_rows *ask)
{
	struct offline_batch *batch = offline_batch_new(r->base.loop);
	offline_cursors_read(&r->cursors, ask, loop_mono_ns(r->base.loop),
			     offline_question_deadline(&r->base, &ask->head), batch);
	rt_reply(&r->base, &ask->head, &batch->head);
}

static void answer_newest(struct reader *r, struct offline_newest *ask)
{
	struct offline_values *values = offline_values_new(r->base.loop);
	offline_newest_read(&r->newest, ask, loop_mono_ns(r->base.loop),
			    offline_question_deadline(&r->base, &ask->head), values);
	rt_reply(&r->base, &ask->head, &values->head);
}

/* Here, or in a lane when it is not known to be quick, or turns out to be slow. */
static void answer(struct reader *r, struct msg *m)
{
	uint64_t deadline_ns = offline_question_deadline(&r->base, m);
	if (m->kind == OFFLINE_ROWS) {
		answer_rows(r, (struct offline_rows *)m);
		return;
	}
	if (m->kind == OFFLINE_NEWEST) {
		answer_newest(r, (struct offline_newest *)m);
		return;
	}
	if (m->kind == OFFLINE_TRAINING) {
		struct offline_past_cells *cells = offline_past_cells_new(r->base.loop);
		offline_trainings_read(&r->trainings, (struct offline_training *)m, loop_mono_ns(r->base.loop),
				       deadline_ns, cells);
		rt_reply(&r->base, m, &cells->head);
		return;
	}
	if (r->lanes.lanes_count > 0) {
		uint64_t quick_ns = clock_mono_ns() + OFFLINE_QUICK_MS * 1000000ull;
		if (!offline_lanes_leave_it(&r->lanes, m)) {
			offline_lanes_take(&r->lanes, m);
			return;
		}
		deadline_ns = quick_ns < deadline_ns ? quick_ns : deadline_ns;
	}
	if (!offline_answer(&r->base, r->conn, m, deadline_ns)) {
		offline_lanes_note_slow(&r->lanes, m);
		offline_lanes_take(&r->lanes, m);
	}
}

/* ---- waiting for the projection ---- */
/* The LSN a question must wait for; 0: none. */
static uint64_t wanted_lsn(const struct reader *r, const struct msg *m)
{
	if (r->offline->log == NULL || !offline_question_reads_ledger(m))
		return 0;
	if (atomic_load(&r->offline->projection.is_mismatched))
		return UINT64_MAX; /* never: the step that comes says why */
	uint64_t lsn = offline_durable_lsn(r->offline);
	return lsn > offline_applied_lsn(r->offline) ? lsn : 0;
}

static void go_on(struct reader *r)
{
	if (!r->is_stepping)
		rt_send(r->base.loop, r->base.self, rt_msg_new(r->base.loop, CONTINUE));
	r->is_stepping = true;
}

static void wait_for(struct reader *r, struct msg *m, uint64_t lsn)
{
	if (r->waiting_len == WAITING_MAX) {
		metrics_add(offline_metrics.refused, 1);
		offline_answer_fail(&r->base, m,
				    &(struct offline_error){
					RT_EFULL, "too many questions wait for the projection; ask again later" });
		return;
	}
	rt_msg_take(m);
	r->waiting[r->waiting_len++] = (struct waiting){ m, lsn };
	go_on(r);
}

/* Answers those that have waited long enough: for their LSN, or until their deadline. */
static void answer_waiting(struct reader *r, enum offline_step step)
{
	uint32_t kept = 0;
	uint64_t applied = offline_applied_lsn(r->offline);
	for (uint32_t i = 0; i < r->waiting_len; i++) {
		struct waiting w = r->waiting[i];
		if (!ref_is_none(w.ask->cancel) && !rt_alive(w.ask->cancel)) {
			rt_refuse(&r->base, w.ask, RT_ECANCELLED);
		} else if (w.lsn <= applied) {
			answer(r, w.ask);
		} else if (step == OFFLINE_STEP_PAUSED) {
			struct offline_error error = { .status = RT_EIO };
			offline_projection_error(r->offline, &error);
			offline_answer_fail(&r->base, w.ask, &error);
		} else if (w.ask->deadline_ns != 0 && w.ask->deadline_ns <= loop_mono_ns(r->base.loop)) {
			offline_answer_fail(&r->base, w.ask,
					    &(struct offline_error){
						RT_EDEADLINE, "the projection is behind the ledger; ask again later" });
		} else {
			r->waiting[kept++] = w;
		}
	}
	r->waiting_len = kept;
}

static void on_left(struct reader *r, const struct rt_left *left)
{
	for (uint32_t i = 0; i < r->waiting_len; i++) {
		struct msg *m = r->waiting[i].ask;
		if (m->op != left->asked_op || !ref_eq(m->from, left->asker))
			continue;
		memmove(&r->waiting[i], &r->waiting[i + 1], (r->waiting_len - i - 1) * sizeof r->waiting[0]);
		r->waiting_len--;
		rt_msg_free(r->base.loop, m);
		return;
	}
	offline_lanes_on_left(&r->lanes, r->offline->watch, left);
}

static void step(struct reader *r)
{
	r->is_stepping = false;
	enum offline_step did = offline_projection_step(r->offline);
	answer_waiting(r, did);
	bool is_needed = r->waiting_len > 0 || offline_projection_lag_ms(r->offline) > LAG_HELP_MS;
	if (did == OFFLINE_STEP_BUSY && r->waiting_len > 0) {
		offline_projection_hurry(r->offline);
		r->is_stepping = rt_timer_start(&r->base, 1, TIMER_RETRY) != 0;
	} else if (is_needed && (did == OFFLINE_STEP_MORE || did == OFFLINE_STEP_CAUGHT_UP)) {
		go_on(r);
	}
}

static void tick(struct reader *r)
{
	offline_cursors_expire(&r->cursors, loop_mono_ns(r->base.loop));
	offline_newest_expire(&r->newest, loop_mono_ns(r->base.loop));
	offline_trainings_expire(&r->trainings, loop_mono_ns(r->base.loop));
	offline_projection_checkpoint(r->offline);
	offline_lanes_end_left(&r->lanes, r->offline->watch);
	if (offline_projection_lag_ms(r->offline) > LAG_HELP_MS)
		go_on(r);
	rt_timer_start(&r->base, TICK_MS, TIMER_TICK);
}

/* ---- the actor ---- */
static void reader_on_message(struct actor *a, struct msg *m)
{
	struct reader *r = (struct reader *)a;
	uint64_t lsn;
	switch (m->kind) {
	case OFFLINE_QUERY:
	case EVIDENCE_LIST:
	case EVIDENCE_LEGACY:
	case OFFLINE_FEATURE:
	case OFFLINE_AS_OF:
	case OFFLINE_ROWS:
	case OFFLINE_NEWEST:
	case OFFLINE_TRAINING:
		lsn = wanted_lsn(r, m);
		if (lsn != 0)
			wait_for(r, m, lsn);
		else
			answer(r, m);
		return;
	case CONTINUE:
		step(r);
		return;
	case RT_LEFT:
		on_left(r, (const struct rt_left *)m);
		return;
	case RT_TIMER:
		if (m->op == TIMER_TICK)
			tick(r);
		else
			step(r);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		offline_lanes_on_reply(&r->lanes, m);
		return;
	}
}

struct reader_config {
	struct offline *offline;
	struct offline_lane lanes[OFFLINE_LANES_MAX];
	uint32_t lanes_count;
};

static int reader_init(struct actor *a, void *arg)
{
	struct reader *r = (struct reader *)a;
	struct offline_error error;
	const struct reader_config *config = arg;
	r->offline = config->offline;
	r->cursors.offline = config->offline;
	r->newest.offline = config->offline;
	r->trainings.offline = config->offline;
	r->lanes.reader = a;
	r->lanes.lanes_count = config->lanes_count;
	for (uint32_t i = 0; i < config->lanes_count; i++)
		r->lanes.lanes[i] = config->lanes[i];
	r->conn = offline_conn_open(config->offline, &error);
	if (r->conn == NULL)
		return error.status;
	rt_timer_start(a, TICK_MS, TIMER_TICK);
	return 0;
}

static void reader_finish(struct actor *a)
{
	struct reader *r = (struct reader *)a;
	for (uint32_t i = 0; i < r->waiting_len; i++)
		rt_msg_free(a->loop, r->waiting[i].ask); /* the runtime ends their asks */
	offline_lanes_finish(&r->lanes);
	offline_cursors_finish(&r->cursors);
	offline_newest_finish(&r->newest);
	offline_trainings_finish(&r->trainings);
	offline_conn_close(r->conn);
}

static const struct actor_class reader_class = {
	.name = "offline_reader",
	.size = sizeof(struct reader),
	.mailbox_len_max = 1024,
	.hears_leavers = true,
	.init = reader_init,
	.on_message = reader_on_message,
	.finish = reader_finish,
};

struct actor_ref offline_spawn_reader(struct offline *o, struct loop *loop, struct loop *const *lanes,
				      uint32_t lanes_count)
{
	struct reader_config config = { .offline = o, .lanes_count = lanes_count };
	CHECK(lanes_count <= OFFLINE_LANES_MAX);
	for (uint32_t i = 0; i < lanes_count; i++) {
		config.lanes[i].ref = offline_spawn_lane(o, lanes[i], &config.lanes[i].watched);
		if (ref_is_none(config.lanes[i].ref))
			return ACTOR_NONE;
	}
	return rt_spawn(loop, &reader_class, &config);
}
