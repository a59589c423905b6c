/* materializer.c -- SQL features into the online table.
 *
 *     For each feature: DUE --query--> READING a batch --append--> WRITING --durable--> publish, next batch
 *                                      last batch: IDLE until refresh is over (a tenth earlier at most, by chance)
 *
 * One feature is under way at a time: DuckDB has one thread. The event time of a run's values is its start, so that a
 * pushed or later value is never replaced by an older one. A batch that fails ends the run; the next one is at the next
 * refresh. Bounds: batches of at most 4096 rows; the deadline of a batch. */
#include "actors/materializer.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "store/entries.h"
#include "store/offline.h"
#include <stdatomic.h>
#include <stdlib.h>

enum { QUERY_TIMEOUT_MS = 300000, APPEND_TIMEOUT_MS = 30000, RETRY_MS = 5000 };
enum { MATERIALIZER_RUN_ALL = MSG_KIND(CLASS_MATERIALIZER, 1) }; /* tell: struct msg */
enum state { IDLE, READING, WRITING };

struct schedule {
	uint32_t feature;
	int64_t due_ms; /* on the loop's monotonic clock */
	bool done_once;
};

struct materializer {
	struct actor base;
	const struct node *node;
	enum state state;
	uint64_t op;
	struct schedule *schedules; /* owned */
	uint32_t schedules_count;
	struct schedule *current;
	int64_t started_us;
	uint64_t cursor;
	uint64_t rows;
	bool again; /* the feature under way is due again when it has ended */
	struct offline_batch *batch; /* taken; of the rows being written */
};

static _Atomic uint32_t progress_done, progress_total;

void materializer_progress(uint32_t *ret_done, uint32_t *ret_total)
{
	*ret_done = atomic_load_explicit(&progress_done, memory_order_relaxed);
	*ret_total = atomic_load_explicit(&progress_total, memory_order_relaxed);
}

static int64_t now_ms(const struct materializer *s)
{
	return (int64_t)(loop_mono_ns(s->base.loop) / 1000000);
}

static const struct def_feature *feature_of(const struct materializer *s)
{
	return &s->node->definitions->features[s->current->feature];
}

static void ask_batch(struct materializer *s)
{
	const struct def_feature *f = feature_of(s);
	struct offline_rows *m =
	    s->cursor ? offline_rows_next(s->base.loop, s->cursor)
		      : offline_rows_new(s->base.loop, f->sql, s->node->definitions->entities[f->entity].id, f->name);
	s->state = READING;
	s->op = rt_ask(&s->base, s->node->materialize_reader, &m->head,
		       loop_mono_ns(s->base.loop) + QUERY_TIMEOUT_MS * 1000000ull, ACTOR_NONE);
}

/* ---- scheduling ---- */

static void sleep_until_due(struct materializer *s)
{
	int64_t next = INT64_MAX;
	for (uint32_t i = 0; i < s->schedules_count; i++)
		if (s->schedules[i].due_ms < next)
			next = s->schedules[i].due_ms;
	if (next == INT64_MAX)
		return;
	int64_t wait = next - now_ms(s);
	rt_timer_start(&s->base, wait > 1 ? (uint64_t)wait : 1, 0);
}

static void start_due(struct materializer *s)
{
	s->state = IDLE;
	s->current = NULL;
	for (uint32_t i = 0; i < s->schedules_count; i++)
		if (s->schedules[i].due_ms <= now_ms(s) &&
		    (s->current == NULL || s->schedules[i].due_ms < s->current->due_ms))
			s->current = &s->schedules[i];
	if (s->current == NULL) {
		sleep_until_due(s);
		return;
	}
	s->started_us = loop_wall_us(s->base.loop);
	s->cursor = 0;
	s->rows = 0;
	ask_batch(s);
}

static void run_ended(struct materializer *s, bool ok)
{
	const struct def_feature *f = feature_of(s);
	int64_t refresh_ms = f->refresh_ms;
	if (ok && !s->current->done_once) {
		s->current->done_once = true;
		atomic_fetch_add_explicit(&progress_done, 1, memory_order_relaxed);
	}
	if (refresh_ms == 0)
		s->current->due_ms = ok ? INT64_MAX : now_ms(s) + RETRY_MS; /* once, then never again */
	else
		s->current->due_ms = now_ms(s) + refresh_ms - (int64_t)(loop_random(s->base.loop) % (uint64_t)(refresh_ms / 10 + 1));
	if (!ok && s->current->due_ms > now_ms(s) + RETRY_MS && !s->current->done_once)
		s->current->due_ms = now_ms(s) + RETRY_MS;
	if (s->again)
		s->current->due_ms = now_ms(s);
	s->again = false;
	start_due(s);
}

static void run_failed(struct materializer *s, struct str reason)
{
	metrics_add(s->node->metrics.features[s->current->feature].materialize_failures, 1);
	log_line(LOG_ERROR, "materializer", "feature could not be materialised", LOG_STR("feature", feature_of(s)->name),
		 LOG_STR("reason", reason));
	run_ended(s, false);
}

/* ---- READING ---- */

static void in_reading(struct materializer *s, struct msg *m)
{
	if (m->kind != OFFLINE_BATCH || m->status != RT_OK) {
		struct offline_batch *failed = (struct offline_batch *)m;
		if (m->kind == OFFLINE_BATCH && failed->error.n)
			run_failed(s, failed->error);
		else
			run_failed(s, m->kind == RT_DEADLINE ? STR("the query takes too long") : str_from(rt_error_text(m->status)));
		return;
	}
	struct offline_batch *batch = (struct offline_batch *)m;
	if (batch->count == 0) {
		run_ended(s, true);
		return;
	}
	const struct def_feature *f = feature_of(s);
	struct entry_value *values = calloc(batch->count, sizeof *values);
	CHECK(values != NULL);
	for (uint32_t i = 0; i < batch->count; i++)
		values[i] = (struct entry_value){ .entity_id = batch->rows[i].key, .feature = f->name,
						  .value_json = batch->rows[i].value_json, .event_time_us = s->started_us,
						  .ttl_ms = f->ttl_ms };
	struct ledger_entry *e = ledger_entry_new(LEDGER_VALUES);
	CHECK(e != NULL);
	entry_values_write(&e->body, &(struct entry_values){ .entity = s->node->definitions->entities[f->entity].name,
							      .source = ENTRY_MATERIALIZED, .values = values,
							      .count = batch->count });
	free(values);
	rt_msg_take(m);
	s->batch = batch;
	s->state = WRITING;
	s->op = rt_ask(&s->base, s->node->committer, &ledger_append_new(s->base.loop, e)->head,
		       loop_mono_ns(s->base.loop) + APPEND_TIMEOUT_MS * 1000000ull, ACTOR_NONE);
}

/* ---- WRITING ---- */

static void publish(struct materializer *s, uint64_t lsn)
{
	const struct def_feature *f = feature_of(s);
	int64_t now_us = loop_wall_us(s->base.loop);
	int64_t expires_us = f->ttl_ms ? s->started_us + f->ttl_ms * 1000 : 0;
	for (uint32_t i = 0; i < s->batch->count; i++) {
		struct value *v = value_create(s->batch->rows[i].value_json);
		if (v == NULL)
			continue;
		online_put(s->node->online, &(struct online_write){ .kind = f->entity, .id = s->batch->rows[i].key,
								     .feature = s->current->feature, .value = v,
								     .meta = { .event_time_us = s->started_us, .lsn = lsn,
									       .written_us = now_us,
									       .expires_us = expires_us,
									       .flags = ONLINE_MATERIALIZED } });
		value_unref(v);
	}
	s->rows += s->batch->count;
}

static void in_writing(struct materializer *s, struct msg *m)
{
	bool ok = m->kind == LEDGER_APPENDED && m->status == RT_OK;
	if (ok)
		publish(s, ((struct ledger_append *)m)->entry->lsn);
	bool last = s->batch->last;
	s->cursor = s->batch->cursor;
	rt_msg_free(s->base.loop, &s->batch->head);
	s->batch = NULL;
	if (!ok) {
		run_failed(s, m->kind == RT_DEADLINE ? STR("the ledger does not answer") : str_from(rt_error_text(m->status)));
		return;
	}
	if (!last) {
		ask_batch(s);
		return;
	}
	log_line(LOG_INFO, "materializer", "feature materialised", LOG_STR("feature", feature_of(s)->name),
		 LOG_INT("rows", (int64_t)s->rows), LOG_INT("duration_ms", (loop_wall_us(s->base.loop) - s->started_us) / 1000));
	run_ended(s, true);
}

/* A run that is under way may have read the old tables: its feature is due again behind it. */
static void on_run_all(struct materializer *s)
{
	for (uint32_t i = 0; i < s->schedules_count; i++)
		s->schedules[i].due_ms = now_ms(s);
	s->again = s->state != IDLE;
	if (s->state == IDLE)
		start_due(s);
}

/* ---- the actor ---- */

static void materializer_on_message(struct actor *a, struct msg *m)
{
	struct materializer *s = (struct materializer *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind == RT_TIMER) {
		if (s->state == IDLE)
			start_due(s);
		return;
	}
	if (m->kind == MATERIALIZER_RUN_ALL) {
		on_run_all(s);
		return;
	}
	if (m->op != s->op)
		return;
	switch (s->state) {
	case IDLE:
		return;
	case READING:
		in_reading(s, m);
		return;
	case WRITING:
		in_writing(s, m);
		return;
	}
}

void materializer_run_all(struct actor *from)
{
	struct msg *m = rt_msg_new(from->loop, MATERIALIZER_RUN_ALL);
	if (m)
		rt_send(from->loop, rt_named(from->loop, NAME_MATERIALIZER), m);
}

static int materializer_init(struct actor *a, void *arg)
{
	struct materializer *s = (struct materializer *)a;
	s->node = arg;
	const struct definitions *d = s->node->definitions;
	s->schedules = calloc(d->features_count + 1, sizeof *s->schedules);
	if (s->schedules == NULL)
		return RT_EFULL;
	for (uint32_t i = 0; i < d->features_count; i++)
		if (d->features[i].sql.p && d->features[i].materialize)
			s->schedules[s->schedules_count++] = (struct schedule){ .feature = i };
	atomic_store_explicit(&progress_done, 0, memory_order_relaxed);
	atomic_store_explicit(&progress_total, s->schedules_count, memory_order_relaxed);
	rt_timer_start(a, 1, 0);
	return 0;
}

static void materializer_finish(struct actor *a)
{
	struct materializer *s = (struct materializer *)a;
	if (s->batch)
		rt_msg_free(a->loop, &s->batch->head);
	free(s->schedules);
}

const struct actor_class materializer_class = {
	.name = "materializer",
	.size = sizeof(struct materializer),
	.mailbox_len_max = 16,
	.init = materializer_init,
	.on_message = materializer_on_message,
	.finish = materializer_finish,
};
