/* The reader: answers questions to the offline store, one at a time, on a blocking loop.
 *
 * A question that needs the projection waits in `waiting` until everything is applied that was durable when
 * it arrived; meanwhile the reader takes the projection's steps itself, one per message to itself, so that
 * other questions are answered in between. It also steps in when the projection falls behind for lack of CPU
 * time (LAG_HELP_MS). */
#include "runtime/check.h"
#include "store/json.h"
#include "store/offline_cursor.h"
#include "store/offline_feature.h"
#include "store/offline_private.h"

enum { CONTINUE = MSG_KIND(CLASS_OFFLINE, 64) }; /* to itself */
enum { TIMER_TICK = 1, TIMER_RETRY = 2 };
enum {
	TICK_MS = 100,
	LAG_HELP_MS = 300,
	WAITING_MAX = 256,
	ROWS_MAX_DEFAULT = 10000,
	RESULT_BYTES_MAX = 16 << 20,
};
static const uint64_t DEADLINE_NS_DEFAULT = 30000000000;

struct waiting {
	struct msg *ask; /* taken */
	uint64_t lsn;
};

struct reader {
	struct actor base;
	struct offline *offline; /* borrows */
	struct offline_conn *conn;
	struct offline_cursors cursors;
	struct waiting waiting[WAITING_MAX]; /* in order of arrival */
	uint32_t waiting_len;
	bool is_stepping; /* a CONTINUE or a TIMER_RETRY is on its way */
};

static uint64_t deadline_of(const struct reader *r, const struct msg *m)
{
	return m->deadline_ns != 0 ? m->deadline_ns : loop_mono_ns(r->base.loop) + DEADLINE_NS_DEFAULT;
}

/* ---- answers ---- */
static void fail(struct reader *r, struct msg *m, const struct offline_error *error)
{
	if (m->kind == OFFLINE_FEATURE) {
		struct offline_batch *batch = offline_batch_new(r->base.loop);
		offline_batch_fail(batch, error);
		rt_reply(&r->base, m, &batch->head);
		return;
	}
	struct offline_result *result = offline_result_new(r->base.loop);
	offline_result_fail(result, error);
	rt_reply(&r->base, m, &result->head);
}

/* Runs one statement; params_json may be NULL. */
static bool run_select(struct reader *r, struct str sql, struct str params_json, uint64_t deadline_ns,
		       uint32_t rows_max, struct offline_result *result, struct offline_error *error)
{
	struct json_error json_error;
	yyjson_doc *params = NULL;
	if (params_json.p != NULL) {
		params = json_parse(params_json, JSON_OWN,
				    &json_error);
		if (params == NULL || !yyjson_is_arr(yyjson_doc_get_root(params))) {
			offline_error_text(error, RT_EINVAL, "the parameters are no JSON array: %s",
					   params == NULL ? json_error.what : "another type");
			yyjson_doc_free(params);
			return false;
		}
	}
	bool ok = offline_conn_enter(r->conn, error);
	if (ok) {
		result->json.max = RESULT_BYTES_MAX;
		ok = offline_conn_select(r->conn, sql, yyjson_doc_get_root(params), deadline_ns, error) &&
		     offline_rows_write(r->conn, rows_max, &result->json, &result->rows, error);
		offline_conn_end(r->conn);
		offline_conn_leave(r->conn);
	}
	yyjson_doc_free(params);
	return ok;
}

static bool may_run(struct reader *r, struct str sql, uint64_t deadline_ns, struct offline_error *error)
{
	if (!offline_conn_enter(r->conn, error))
		return false;
	bool ok = offline_reads_tables_only(r->conn, sql, deadline_ns, error);
	offline_conn_leave(r->conn);
	return ok;
}

static bool answer_query(struct reader *r, struct offline_query *q, struct offline_result *result,
			 struct offline_error *error)
{
	struct str params = q->params != NULL ? str_from(q->params) : (struct str){0};
	uint32_t rows_max = q->rows_max != 0 ? q->rows_max : ROWS_MAX_DEFAULT;
	uint64_t deadline_ns = deadline_of(r, &q->head);
	if (q->sql == NULL) {
		offline_error_text(error, RT_EFULL, "out of memory");
		return false;
	}
	if (q->tables_only && !may_run(r, str_from(q->sql), deadline_ns, error))
		return false;
	return run_select(r, str_from(q->sql), params, deadline_ns, rows_max, result, error);
}

static bool answer_contexts(struct reader *r, struct offline_contexts *c, struct offline_result *result,
			    struct offline_error *error)
{
	struct buf sql = {0}, params = {0};
	offline_contexts_sql(c, atomic_load(&r->offline->has_context_log), &sql, &params);
	bool ok = run_select(r, buf_str(&sql), buf_str(&params), deadline_of(r, &c->head), ROWS_MAX_DEFAULT,
			     result, error);
	result->missing_entries = atomic_load(&r->offline->projection.missing_entries);
	buf_finish(&sql);
	buf_finish(&params);
	return ok;
}

static bool answer_legacy(struct reader *r, struct offline_legacy *f, struct offline_result *result,
			   struct offline_error *error)
{
	if (!offline_conn_enter(r->conn, error))
		return false;
	bool ok =
	    offline_legacy_read(r->conn, str_from(f->ref), f->view, deadline_of(r, &f->head), &result->json, error);
	offline_conn_leave(r->conn);
	result->rows = ok;
	return ok;
}

static void answer_rows(struct reader *r, struct offline_rows *ask)
{
	struct offline_batch *batch = offline_batch_new(r->base.loop);
	offline_cursors_read(&r->cursors, ask, loop_mono_ns(r->base.loop), deadline_of(r, &ask->head), batch);
	rt_reply(&r->base, &ask->head, &batch->head);
}

static void answer_feature(struct reader *r, struct offline_feature *ask)
{
	struct offline_batch *batch = offline_batch_new(r->base.loop);
	struct offline_error error = {0};
	if (offline_conn_enter(r->conn, &error)) {
		offline_feature_read(r->conn, ask->what, deadline_of(r, &ask->head), batch);
		offline_conn_leave(r->conn);
	} else {
		offline_batch_fail(batch, &error);
	}
	rt_reply(&r->base, &ask->head, &batch->head);
}

static void answer(struct reader *r, struct msg *m)
{
	if (m->kind == OFFLINE_FEATURE) {
		answer_feature(r, (struct offline_feature *)m);
		return;
	}
	struct offline_result *result = offline_result_new(r->base.loop);
	struct offline_error error = {0};
	bool ok;
	if (m->kind == OFFLINE_QUERY)
		ok = answer_query(r, (struct offline_query *)m, result, &error);
	else if (m->kind == OFFLINE_CONTEXTS)
		ok = answer_contexts(r, (struct offline_contexts *)m, result, &error);
	else
		ok = answer_legacy(r, (struct offline_legacy *)m, result, &error);
	if (!ok)
		offline_result_fail(result, &error);
	rt_reply(&r->base, m, &result->head);
}

/* ---- waiting for the projection ---- */
/* The LSN a question must wait for; 0: none. */
static uint64_t wanted_lsn(const struct reader *r, const struct msg *m)
{
	bool waits = m->kind == OFFLINE_CONTEXTS || m->kind == OFFLINE_FEATURE ||
		     (m->kind == OFFLINE_QUERY && ((struct offline_query *)m)->wait_projection);
	if (!waits || r->offline->ledger == NULL)
		return 0;
	if (atomic_load(&r->offline->projection.is_mismatched))
		return UINT64_MAX; /* never: the step that comes says why */
	uint64_t lsn = ledger_durable_lsn(r->offline->ledger);
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
		fail(r, m,
		     &(struct offline_error){RT_EFULL,
					     "too many questions wait for the projection; ask again later"});
		return;
	}
	rt_msg_take(m);
	r->waiting[r->waiting_len++] = (struct waiting){m, lsn};
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
			struct offline_error error = {.status = RT_EIO};
			offline_projection_error(r->offline, &error);
			fail(r, w.ask, &error);
		} else if (w.ask->deadline_ns != 0 && w.ask->deadline_ns <= loop_mono_ns(r->base.loop)) {
			fail(r, w.ask,
			     &(struct offline_error){RT_EDEADLINE,
						     "the projection is behind the ledger; ask again later"});
		} else {
			r->waiting[kept++] = w;
		}
	}
	r->waiting_len = kept;
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
	offline_projection_checkpoint(r->offline);
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
	case OFFLINE_CONTEXTS:
	case OFFLINE_LEGACY:
	case OFFLINE_FEATURE:
		lsn = wanted_lsn(r, m);
		if (lsn != 0)
			wait_for(r, m, lsn);
		else
			answer(r, m);
		return;
	case OFFLINE_ROWS:
		answer_rows(r, (struct offline_rows *)m);
		return;
	case CONTINUE:
		step(r);
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
		return;
	}
}

static int reader_init(struct actor *a, void *arg)
{
	struct reader *r = (struct reader *)a;
	struct offline_error error;
	r->offline = arg;
	r->cursors.offline = arg;
	r->conn = offline_conn_open(arg, &error);
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
	offline_cursors_finish(&r->cursors);
	offline_conn_close(r->conn);
}

static const struct actor_class reader_class = {
    .name = "offline_reader",
    .size = sizeof(struct reader),
    .mailbox_len_max = 1024,
    .init = reader_init,
    .on_message = reader_on_message,
    .finish = reader_finish,
};

struct actor_ref offline_spawn_reader(struct offline *o, struct loop *loop)
{
	return rt_spawn(loop, &reader_class, o);
}
