/* materializer.c -- SQL features into the online table.
 *
 *     For each feature: DUE --query--> READING a batch --append what is new--> WRITING --durable and published--> next batch
 *                       last batch: REMOVING the values of ids that have no row any more: append, durable, delete
 *                       all removed: IDLE until refresh is over (a tenth earlier at most, by chance)
 *
 * Into an online store elsewhere the publisher of an I/O loop puts what is durable, before WRITING and REMOVING go on.
 *
 * One feature is under way at a time: DuckDB has one thread. The event time of a run's values is its start, so that a
 * pushed or later value is never replaced by an older one. A value that is there already gets the new event time in
 * memory only; it is written again when half of its ttl has passed since it was, so that the history has it for as long
 * as it holds. After the last batch, whatever has an older event time than the run had no row in it.
 *
 * A feature over a table whose new file cannot be loaded is not run: over the old rows it would give its values an event time
 * that the data does not have. They age until the table is loaded again.
 *
 * A failure ends the run: what was published stays, nothing is removed, and the next run is at the next refresh, or
 * sooner until the first one has succeeded. Bounds: batches of the cursor's size; REMOVE_MAX; the deadline of a batch. */
#include "actors/materializer.h"
#include "actors/definitions/definitions_sql.h"
#include "actors/publisher.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "store/evidence/entries.h"
#include "store/offline/offline.h"
#include <stdatomic.h>
#include <stdlib.h>

enum { QUERY_TIMEOUT_MS = 300000, APPEND_TIMEOUT_MS = 30000, RETRY_MS = 5000, RETRY_MS_MAX = 300000 };
enum { REMOVE_MAX = 1024, REMOVE_LOOK = 256 /* buckets of the table at a time */ };
enum { MATERIALIZER_RUN_ALL = MSG_KIND(CLASS_MATERIALIZER, 1) }; /* tell: struct msg */
enum state { IDLE, READING, WRITING, REMOVING };

struct schedule {
	uint32_t feature;
	int64_t due_ms;   /* on the loop's monotonic clock */
	int64_t retry_ms; /* after the next failure; 0 = RETRY_MS */
	bool done_once;
	bool
	    is_unsure; /* an append was not answered: the history may know more than the table, so all is written again */
};

struct materializer {
	struct actor base;
	const struct node *node;
	enum state state;
	bool has_looked; /* for values of the last life */
	uint64_t op;
	bool is_publishing, is_durable; /* what was appended; see goes_on */
	struct schedule *schedules;     /* owned */
	uint32_t schedules_count;
	struct schedule *current;
	int64_t started_us;
	uint64_t cursor;
	uint64_t rows, written, removed;
	uint64_t refused;            /* by the online table */
	bool again;                  /* the feature under way is due again when it has ended */
	struct offline_batch *batch; /* taken; its rows are those being written */
	uint64_t remove_cursor;      /* of online_each_older */
	bool remove_is_at_end;
	struct arena gone_texts;
	struct str gone[2 * REMOVE_MAX]; /* ids being removed */
	uint32_t gone_count;
};

void materializer_progress(const struct node *n, uint32_t *ret_done, uint32_t *ret_total)
{
	*ret_done = *ret_total = 0;
	for (uint32_t i = 0; i < n->definitions->features_count; i++) {
		*ret_total += n->definitions->features[i].materialize;
		*ret_done += materializer_state(n, i) == MATERIALIZED_DONE;
	}
}

bool materializer_is_awaited(const struct node *n, uint32_t feature)
{
	return n->definitions->features[feature].materialize && materializer_state(n, feature) == MATERIALIZED_NOT_YET;
}

enum materialized_state materializer_state(const struct node *n, uint32_t feature)
{
	return atomic_load_explicit(&n->metrics.materialized[feature], memory_order_relaxed);
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
	struct offline_rows *m = s->cursor ? offline_rows_next(s->base.loop, s->cursor)
					   : offline_rows_new(s->base.loop, f->sql,
							      s->node->definitions->entities[f->entity].id, f->name);
	s->state = READING;
	s->op = rt_ask(&s->base, s->node->stores->offline.background, &m->head,
		       loop_mono_ns(s->base.loop) + QUERY_TIMEOUT_MS * 1000000ull, ACTOR_NONE);
}

/* ---- scheduling ---- */

static void note_any(void *arg, struct str id)
{
	(void)id;
	*(bool *)arg = true;
}

/* Before the first run: what the warm start has put into the table. A feature without a value is looked for in all of it. */
static void note_kept(struct materializer *s)
{
	const struct online_fast *online = s->node->stores->online.fast;
	s->has_looked = true;
	for (uint32_t i = 0; i < s->schedules_count; i++) {
		uint32_t feature = s->schedules[i].feature, entity = s->node->definitions->features[feature].entity;
		uint64_t cursor = 0;
		bool any = false;
		while (!any && online->each_older(online->table, entity, feature, INT64_MAX, &cursor, REMOVE_LOOK, &any,
						  note_any) == ONLINE_WALK_MORE)
			continue;
		if (any)
			atomic_store_explicit(&s->node->metrics.materialized[feature], MATERIALIZED_KEPT,
					      memory_order_relaxed);
	}
}

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

static void run_failed(struct materializer *s, struct str reason);

/* NULL: the tables that the SQL names are as their files are. */
static const struct def_table *failing_table(const struct materializer *s)
{
	const struct definitions *d = s->node->definitions;
	for (uint32_t i = 0; i < d->tables_count; i++)
		if (atomic_load_explicit(&s->node->metrics.tables_stale_since_us[i], memory_order_relaxed) &&
		    definitions_sql_names(feature_of(s)->sql, d->tables[i].name))
			return &d->tables[i];
	return NULL;
}

static void fail_for_table(struct materializer *s, const struct def_table *t)
{
	struct buf why = { 0 };
	buf_printf(&why, "table \"%.*s\" has old rows: its file cannot be loaded", STR_ARG(t->name));
	run_failed(s, buf_str(&why));
	buf_finish(&why);
}

static void start_due(struct materializer *s)
{
	s->state = IDLE;
	s->current = NULL;
	if (!s->has_looked)
		note_kept(s);
	for (uint32_t i = 0; i < s->schedules_count; i++)
		if (s->schedules[i].due_ms <= now_ms(s) &&
		    (s->current == NULL || s->schedules[i].due_ms < s->current->due_ms))
			s->current = &s->schedules[i];
	if (s->current == NULL) {
		sleep_until_due(s);
		return;
	}
	int64_t now_us = loop_wall_us(s->base.loop);
	s->started_us = now_us > s->started_us ? now_us : s->started_us + 1; /* runs differ, whatever the clock does */
	s->cursor = 0;
	s->rows = s->written = s->removed = s->refused = 0;
	const struct def_table *failing = failing_table(s);
	if (failing)
		fail_for_table(s, failing);
	else
		ask_batch(s);
}

static void note_state(struct materializer *s, enum materialized_state state)
{
	atomic_store_explicit(&s->node->metrics.materialized[s->current->feature], state, memory_order_relaxed);
}

static void run_ended(struct materializer *s, bool ok)
{
	struct schedule *c = s->current;
	int64_t refresh_ms = feature_of(s)->refresh_ms, next_ms = INT64_MAX;
	if (refresh_ms)
		next_ms = refresh_ms - (int64_t)(loop_random(s->base.loop) % (uint64_t)(refresh_ms / 10 + 1));
	if (ok)
		c->done_once = true;
	if (ok || c->done_once) {
		c->retry_ms = 0;
	} else { /* there is no value yet: sooner */
		c->retry_ms = c->retry_ms == 0                 ? RETRY_MS
			      : c->retry_ms * 2 < RETRY_MS_MAX ? c->retry_ms * 2
							       : RETRY_MS_MAX;
		next_ms = c->retry_ms < next_ms ? c->retry_ms : next_ms;
	}
	c->due_ms = next_ms == INT64_MAX ? INT64_MAX
					 : now_ms(s) + next_ms; /* without refresh: once, then never again */
	if (s->again)
		c->due_ms = now_ms(s);
	s->again = false;
	s->state = IDLE;
	rt_timer_start(&s->base, 1, 0); /* and not from here: one that fails at once would go deeper each time */
}

static void run_failed(struct materializer *s, struct str reason)
{
	metrics_add(s->node->metrics.features[s->current->feature].materialize_failures, 1);
	note_state(s, MATERIALIZED_FAILING);
	log_line(LOG_ERROR, "materializer", "feature could not be materialised",
		 LOG_STR("feature", feature_of(s)->name), LOG_STR("reason", reason));
	run_ended(s, false);
}

/* The history has what the table does not keep: running again sooner does not help. */
static void note_refused(struct materializer *s)
{
	metrics_add(s->node->metrics.features[s->current->feature].materialize_failures, 1);
	log_line(LOG_ERROR, "materializer", VALUES_NOT_KEPT, LOG_STR("feature", feature_of(s)->name),
		 LOG_INT("values", (int64_t)s->refused));
}

static void run_succeeded(struct materializer *s)
{
	note_state(s, s->refused ? MATERIALIZED_FAILING : MATERIALIZED_DONE);
	if (s->refused)
		note_refused(s);
	s->current->is_unsure = false;
	log_line(LOG_INFO, "materializer", "feature materialised", LOG_STR("feature", feature_of(s)->name),
		 LOG_INT("rows", (int64_t)s->rows), LOG_INT("written", (int64_t)s->written),
		 LOG_INT("removed", (int64_t)s->removed),
		 LOG_INT("duration_ms", (loop_wall_us(s->base.loop) - s->started_us) / 1000));
	run_ended(s, true);
}

static void append_values(struct materializer *s, enum state state, const struct values_cell *cells, uint32_t count)
{
	struct evidence_entry *e = values_entry_new(s->node, &(struct values_write){ .entity = feature_of(s)->entity,
										     .source = ENTRY_MATERIALIZED,
										     .cells = cells,
										     .count = count });
	CHECK(e != NULL);
	s->state = state;
	s->op = rt_ask(&s->base, evidence_appender(&s->node->stores->evidence, s->base.loop),
		       &evidence_append_new(s->base.loop, e)->head,
		       loop_mono_ns(s->base.loop) + APPEND_TIMEOUT_MS * 1000000ull, ACTOR_NONE);
}

static void append_failed(struct materializer *s, const struct msg *m)
{
	s->current->is_unsure = true;
	run_failed(s, m->kind == RT_DEADLINE ? STR("the ledger does not answer") : str_from(rt_error_text(m->status)));
}

/* true: it is durable and has still to be published; the answer comes again. false: is_durable says how it ended. */
static bool goes_on(struct materializer *s, struct msg *m)
{
	bool was_publishing = s->is_publishing;
	s->is_publishing = !was_publishing && publisher_takes(&s->base, s->node, m, 0, &s->op);
	s->is_durable = was_publishing || (m->kind == EVIDENCE_APPENDED && m->status == RT_OK);
	return s->is_publishing;
}

static size_t refused_in(const struct msg *m)
{
	return m->kind == EVIDENCE_APPENDED ? values_refused(((const struct evidence_append *)m)->entry) : 0;
}

/* ---- REMOVING ---- */

static void note_gone(void *arg, struct str id)
{
	struct materializer *s = arg;
	if (s->gone_count == ARRAY_LEN(s->gone))
		return; /* it is met again by the next run */
	struct str copy = arena_dup(&s->gone_texts, id);
	CHECK(copy.p != NULL);
	s->gone[s->gone_count++] = copy;
}

static void remove_next(struct materializer *s)
{
	const struct online_fast *online = s->node->stores->online.fast;
	uint32_t entity = feature_of(s)->entity;
	arena_finish(&s->gone_texts);
	s->gone_count = 0;
	while (!s->remove_is_at_end && s->gone_count < REMOVE_MAX) {
		enum online_walk walk = online->each_older(online->table, entity, s->current->feature, s->started_us,
							   &s->remove_cursor, REMOVE_LOOK, s, note_gone);
		if (walk == ONLINE_WALK_NO_MEMORY) {
			run_failed(s, STR("out of memory: what the query no longer gives is still there"));
			return;
		}
		s->remove_is_at_end = walk == ONLINE_WALK_END;
	}
	if (s->gone_count == 0) {
		run_succeeded(s);
		return;
	}
	struct values_cell *cells = calloc(s->gone_count, sizeof *cells);
	CHECK(cells != NULL);
	for (uint32_t i = 0; i < s->gone_count; i++)
		cells[i] = (struct values_cell){ .entity_id = s->gone[i],
						 .feature = s->current->feature,
						 .event_time_us = s->started_us };
	append_values(s, REMOVING, cells, s->gone_count);
	free(cells);
}

static void begin_removing(struct materializer *s)
{
	s->remove_cursor = 0;
	s->remove_is_at_end = false;
	remove_next(s);
}

static void in_removing(struct materializer *s, struct msg *m)
{
	if (goes_on(s, m))
		return;
	if (!s->is_durable) {
		append_failed(s, m);
		return;
	}
	s->removed += s->gone_count;
	s->refused += refused_in(m);
	remove_next(s);
}

/* ---- READING ---- */

/* The same value is there, and the history has it for a while yet. Then its event time is all that is new. */
static bool renew(struct materializer *s, const struct offline_row *row)
{
	const struct def_feature *f = feature_of(s);
	const struct online_fast *online = s->node->stores->online.fast;
	struct online_cell cell;
	if (s->current->is_unsure ||
	    online->see(online->table, f->entity, row->key, &s->current->feature, 1, s->started_us, &cell, NULL) == 0)
		return false;
	bool is_same = str_eq(value_json(cell.value), row->value_json) && cell.meta.lsn != 0 &&
		       (f->ttl_ms == 0 || s->started_us - cell.meta.written_us < f->ttl_ms * 1000 / 2);
	if (is_same)
		is_same = values_publish(s->node, f->entity,
					 &(struct values_cell){ .feature = s->current->feature,
								.entity_id = row->key,
								.value = cell.value,
								.event_time_us = s->started_us },
					 ENTRY_MATERIALIZED, cell.meta.lsn, cell.meta.written_us) != ONLINE_FULL;
	value_unref(cell.value);
	return is_same;
}

static void keep_new_rows(struct materializer *s)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < s->batch->count; i++)
		if (!renew(s, &s->batch->rows[i]))
			s->batch->rows[kept++] = s->batch->rows[i];
	s->batch->count = kept;
}

/* false: memory is out. */
static bool append_rows(struct materializer *s)
{
	struct values_cell *cells = calloc(s->batch->count, sizeof *cells);
	CHECK(cells != NULL);
	bool ok = true;
	for (uint32_t i = 0; ok && i < s->batch->count; i++) {
		cells[i] = (struct values_cell){ .entity_id = s->batch->rows[i].key,
						 .feature = s->current->feature,
						 .value = value_create(s->batch->rows[i].value_json),
						 .event_time_us = s->started_us };
		ok = cells[i].value != NULL;
	}
	if (ok)
		append_values(s, WRITING, cells, s->batch->count);
	for (uint32_t i = 0; i < s->batch->count; i++)
		value_unref(cells[i].value);
	free(cells);
	return ok;
}

static void drop_batch(struct materializer *s)
{
	rt_msg_free(s->base.loop, &s->batch->head);
	s->batch = NULL;
}

static void batch_ended(struct materializer *s)
{
	bool is_last = s->batch->last;
	s->cursor = s->batch->cursor;
	drop_batch(s);
	if (is_last)
		begin_removing(s);
	else
		ask_batch(s);
}

static void in_reading(struct materializer *s, struct msg *m)
{
	if (m->kind != OFFLINE_BATCH || m->status != RT_OK) {
		struct offline_batch *failed = (struct offline_batch *)m;
		if (m->kind == OFFLINE_BATCH && failed->error.n)
			run_failed(s, failed->error);
		else
			run_failed(s, m->kind == RT_DEADLINE ? STR("the query takes too long")
							     : str_from(rt_error_text(m->status)));
		return;
	}
	rt_msg_take(m);
	s->batch = (struct offline_batch *)m;
	s->rows += s->batch->count;
	keep_new_rows(s);
	if (s->batch->count == 0) {
		batch_ended(s);
	} else if (!append_rows(s)) {
		drop_batch(s);
		run_failed(s, STR("out of memory"));
	}
}

/* ---- WRITING ---- */

static void in_writing(struct materializer *s, struct msg *m)
{
	if (goes_on(s, m))
		return;
	if (!s->is_durable) {
		drop_batch(s);
		append_failed(s, m);
		return;
	}
	s->written += s->batch->count;
	s->refused += refused_in(m);
	batch_ended(s);
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
	case REMOVING:
		in_removing(s, m);
		return;
	}
}

void materializer_run_all(struct actor *from)
{
	rt_send(from->loop, rt_named(from->loop, NAME_MATERIALIZER), rt_msg_new(from->loop, MATERIALIZER_RUN_ALL));
}

static int materializer_init(struct actor *a, void *arg)
{
	struct materializer *s = (struct materializer *)a;
	s->node = arg;
	const struct definitions *d = s->node->definitions;
	s->schedules = calloc(d->features_count + 1, sizeof *s->schedules);
	if (s->schedules == NULL)
		return RT_EFULL;
	for (uint32_t i = 0; i < d->features_count; i++) {
		atomic_store_explicit(&s->node->metrics.materialized[i], MATERIALIZED_NOT_YET, memory_order_relaxed);
		if (d->features[i].sql.p && d->features[i].materialize)
			s->schedules[s->schedules_count++] = (struct schedule){ .feature = i };
	}
	rt_timer_start(a, 1, 0);
	return 0;
}

static void materializer_finish(struct actor *a)
{
	struct materializer *s = (struct materializer *)a;
	if (s->batch)
		rt_msg_free(a->loop, &s->batch->head);
	arena_finish(&s->gone_texts);
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
