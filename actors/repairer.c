/* repairer.c -- from the history into an online store elsewhere.
 *
 *     IDLE --a repair is due: the history is asked--> READING --a batch of values--> PUTTING, message by message
 *          --all of the batch is answered--> READING the next; behind the last one: done, IDLE
 *     PUTTING --the store fails--> PAUSING, longer each time --> PUTTING the same again
 *     READING --the history fails, or has closed the cursor--> IDLE: it is due still, and begins again
 *
 * A batch of the history and a message are under way at a time: that bounds memory, and leaves the store to those who wait. What
 * is asked for while a repair runs makes the next one due. A row that fails alone is put once more with its message, TRIES
 * times; then it is counted, logged and left. */
#include "actors/repairer.h"
#include "actors/warm_start.h"
#include "runtime/log.h"
#include "store/offline/offline.h"

enum { PAUSE_MS = 100, PAUSE_MS_MAX = 2000, TRIES = 3, PROGRESS_MS = 10000, ANSWER_MS = 5000 };
enum state { IDLE, READING, PUTTING, PAUSING };

struct repairer {
	struct actor base;
	struct node_loop *nl;
	enum state state;
	uint64_t due; /* what values_repair_due said at the beginning */
	uint64_t op, cursor, started_ns, logged_ns;
	uint64_t values, failed;      /* of this repair */
	struct offline_values *batch; /* taken; from here to there are in the message under way: */
	uint32_t at, end, tries;
	uint32_t pause_ms;
};

static void drop_batch(struct repairer *s)
{
	if (s->batch)
		rt_msg_free(s->base.loop, &s->batch->head);
	s->batch = NULL;
}

static void become_idle(struct repairer *s)
{
	drop_batch(s);
	s->state = IDLE;
	rt_timer_start(&s->base, REPAIRER_LOOK_MS, 0);
}

static int64_t lasted_ms(const struct repairer *s)
{
	return (int64_t)((loop_mono_ns(s->base.loop) - s->started_ns) / 1000000);
}

/* ---- READING ---- */

static void read_next(struct repairer *s)
{
	struct loop *loop = s->base.loop;
	s->state = READING;
	s->op = rt_ask(&s->base, s->nl->node->stores->offline.background, &offline_newest_new(loop, s->cursor)->head,
		       loop_mono_ns(loop) + REPAIRER_TIMEOUT_MS * 1000000ull, ACTOR_NONE);
}

/* ---- IDLE ---- */

static void look(struct repairer *s)
{
	s->due = values_repair_due(s->nl->node);
	metrics_set(s->nl->node->metrics.repair_due, s->due ? 1 : 0);
	if (s->due == 0) {
		become_idle(s);
		return;
	}
	s->cursor = s->values = s->failed = 0;
	s->started_ns = s->logged_ns = loop_mono_ns(s->base.loop);
	log_line(LOG_INFO, "repairer", "the online store is repaired from the history");
	read_next(s);
}

static void repair_ended(struct repairer *s)
{
	const struct node_metrics *m = &s->nl->node->metrics;
	values_repaired(s->nl->node, s->due);
	metrics_add(m->repairs_done, 1);
	metrics_set(m->repair_due, values_repair_due(s->nl->node) ? 1 : 0);
	if (s->failed)
		log_line(LOG_ERROR, "repairer", "the online store did not take values of the history",
			 LOG_INT("values", (int64_t)s->failed));
	log_line(LOG_INFO, "repairer", "the online store has what the history has",
		 LOG_INT("values", (int64_t)s->values), LOG_INT("duration_ms", lasted_ms(s)));
	become_idle(s);
}

static void repair_failed(struct repairer *s, struct str reason)
{
	metrics_add(s->nl->node->metrics.repairs_failed, 1);
	log_line(LOG_ERROR, "repairer", "the history cannot be read: the online store is repaired later",
		 LOG_STR("reason", reason));
	become_idle(s);
}

/* ---- PUTTING ---- */

/* The value at s->end, and those behind it that are of the same row. false: they do not fit into m, or there is no memory.
 * Cells and deletes of rows go in different messages. */
static bool add_row(struct repairer *s, struct online_batch *m)
{
	const struct offline_value *first = &s->batch->values[s->end];
	struct online_change changes[ONLINE_TOGETHER_MAX];
	uint32_t count = 0, entity = DEF_NONE, end = s->end;
	enum warm_change what = WARM_NOTHING;
	for (; end < s->batch->count && count < ONLINE_TOGETHER_MAX; end++) {
		const struct offline_value *v = &s->batch->values[end];
		if (!str_eq(v->entity_id, first->entity_id) || !str_eq(v->entity, first->entity))
			break;
		what = warm_start_change(s->nl->node, v, loop_wall_us(s->base.loop), &entity, &changes[count]);
		if (what == WARM_NO_MEMORY || what == WARM_ROW_DELETE)
			break;
		if (what == WARM_CELL && values_has_change(changes, count, changes[count].feature)) {
			value_unref(
			    changes[count].value); /* a delete of the cell, and its value: one after the other */
			break;
		}
		count += what == WARM_CELL;
	}
	bool is_added = end > s->end;
	if (count)
		is_added = m->head.kind == ONLINE_PUT && online_batch_put(m, entity, first->entity_id, changes, count);
	for (uint32_t i = 0; i < count; i++)
		value_unref(changes[i].value);
	if (end == s->end && what == WARM_ROW_DELETE) {
		is_added = m->head.kind == ONLINE_DELETE &&
			   online_batch_delete(m, entity, first->entity_id, &changes[0].meta);
		end++;
	}
	if (is_added)
		s->end = end;
	return is_added;
}

static bool begins_with_row_delete(const struct repairer *s)
{
	const struct offline_value *v = &s->batch->values[s->end];
	return v->deleted && v->feature.n == 0;
}

static void pause_and_put(struct repairer *s)
{
	s->state = PAUSING;
	rt_timer_start(&s->base, s->pause_ms, 0);
	s->pause_ms = s->pause_ms * 2 < PAUSE_MS_MAX ? s->pause_ms * 2 : PAUSE_MS_MAX;
}

static void batch_ended(struct repairer *s)
{
	bool is_last = s->batch->last;
	s->cursor = s->batch->cursor;
	drop_batch(s);
	if (is_last)
		repair_ended(s);
	else
		read_next(s);
}

/* What the next message holds; NULL: there is no memory, or nothing is left that the definitions would serve. */
static struct online_batch *fill_message(struct repairer *s)
{
	s->end = s->at;
	while (s->end < s->batch->count) {
		bool is_delete = begins_with_row_delete(s);
		struct online_batch *m = online_batch_new(s->base.loop, is_delete ? ONLINE_DELETE : ONLINE_PUT);
		uint32_t before = s->end;
		while (m && s->end < s->batch->count && add_row(s, m))
			continue;
		if (m && m->what->count)
			return m;
		if (m)
			rt_msg_free(s->base.loop, &m->head);
		if (s->end == before)
			return NULL;
		s->at = s->end; /* nothing of that is served */
	}
	return NULL;
}

static void put_next(struct repairer *s)
{
	struct loop *loop = s->base.loop;
	struct online_batch *m = fill_message(s);
	if (m == NULL && s->at == s->batch->count) {
		batch_ended(s);
		return;
	}
	if (m == NULL) {
		pause_and_put(s);
		return;
	}
	s->state = PUTTING;
	s->op = rt_ask(&s->base, s->nl->node->stores->online.per_loop[loop_id(loop) - 1], &m->head,
		       loop_mono_ns(loop) + ANSWER_MS * 1000000ull, ACTOR_NONE);
}

static void in_reading(struct repairer *s, struct msg *m)
{
	struct offline_values *batch = (struct offline_values *)m;
	if (m->kind != OFFLINE_VALUES || m->status != RT_OK) {
		repair_failed(s, m->kind == OFFLINE_VALUES && batch->error.n ? batch->error
				 : m->kind == RT_DEADLINE                    ? STR("it takes too long")
									     : str_from(rt_error_text(m->status)));
		return;
	}
	rt_msg_take(m);
	s->batch = batch;
	s->at = s->tries = 0;
	s->pause_ms = PAUSE_MS;
	put_next(s);
}

static uint64_t failed_in(const struct online_batch *done)
{
	uint64_t failed = 0;
	for (uint32_t i = 0; i < done->what->count; i++) {
		const struct online_row_batch *r = &done->what->rows[i];
		for (uint32_t k = 0; k < r->count; k++)
			failed += r->changes[k].result == ONLINE_FAILED;
		failed += r->changes == NULL && r->result == ONLINE_FAILED;
	}
	return failed;
}

static uint64_t cells_in(const struct online_batch *done)
{
	return done->what->cells ? done->what->cells : done->what->count; /* deletes of rows have none */
}

static void log_progress(struct repairer *s)
{
	uint64_t now_ns = loop_mono_ns(s->base.loop);
	metrics_set(s->nl->node->metrics.repair_values, (double)s->values);
	if (now_ns - s->logged_ns < PROGRESS_MS * 1000000ull)
		return;
	s->logged_ns = now_ns;
	log_line(LOG_INFO, "repairer", "the online store is repaired from the history",
		 LOG_INT("values", (int64_t)s->values), LOG_INT("duration_ms", lasted_ms(s)));
}

static void in_putting(struct repairer *s, const struct msg *m)
{
	bool is_done = m->kind == ONLINE_DONE && m->status == RT_OK;
	const struct online_batch *done = (const struct online_batch *)m;
	uint64_t failed = is_done ? failed_in(done) : 0;
	if (!is_done || (failed && ++s->tries < TRIES)) {
		pause_and_put(s);
		return;
	}
	s->values += cells_in(done);
	s->failed += failed;
	s->at = s->end;
	s->tries = 0;
	s->pause_ms = PAUSE_MS;
	log_progress(s);
	put_next(s);
}

/* ---- the actor ---- */

static void on_timer(struct repairer *s)
{
	if (s->state == PAUSING)
		put_next(s);
	else if (s->state == IDLE)
		look(s);
}

static void repairer_on_message(struct actor *a, struct msg *m)
{
	struct repairer *s = (struct repairer *)a;
	if (m->kind == RT_STOP)
		rt_stop(a);
	else if (m->kind == RT_TIMER)
		on_timer(s);
	else if (m->op && m->op == s->op && s->state == READING)
		in_reading(s, m);
	else if (m->op && m->op == s->op && s->state == PUTTING)
		in_putting(s, m);
}

static int repairer_init(struct actor *a, void *arg)
{
	struct repairer *s = (struct repairer *)a;
	s->nl = arg;
	s->pause_ms = PAUSE_MS;
	rt_timer_start(a, 1, 0);
	return 0;
}

static void repairer_finish(struct actor *a)
{
	drop_batch((struct repairer *)a);
}

const struct actor_class repairer_class = {
	.name = "repairer",
	.size = sizeof(struct repairer),
	.mailbox_len_max = 16,
	.init = repairer_init,
	.on_message = repairer_on_message,
	.finish = repairer_finish,
};
