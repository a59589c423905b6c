/* ingestor.c -- events of the entities that this loop owns.
 *
 *     EVENT --append--> durable: accepted (the client has its 202) --> queued behind the entity's earlier events
 *     head of an entity's queue: READING: all that its features had, at one moment; what the online store may have forgotten is
 *                                  asked for, and without an answer the event is tried again
 *                                APPLYING: each triggered feature is computed with the previous value
 *                                COMMITTING: values and "applied" go to the ledger in one frame; durable --> published
 *                                  (into an online store elsewhere by PUBLISHING, which ends in any case: what the store does
 *                                  not take is pending)
 *                                  a PUT or a delete came between --> READING_AGAIN: what it wrote is left out, COMMITTING
 *                                then the next event of that entity
 *
 * An event takes effect where it was read: a PUT or a delete that has its place in the log behind that stays, and what the
 * event gave for its cells is void. Its other features keep what it gave.
 *
 * A feature function that fails changes nothing: the event still counts as applied, the failure is logged and counted. One
 * that returns nil says that there is no value from here on: a tombstone of that feature.
 * When the "applied" frame cannot be made durable the event stays pending and is tried again; nothing is published. The ledger
 * is waited for as long as it takes nothing, at most RETRY_STORES_MS between two attempts: no event behind would fare better. What
 * concerns the event itself (no memory, no room for its computation) is tried ATTEMPTS_MAX times, ever later; then the event is given
 * up, so that those behind it have their turn: it is in the ledger without its mark, and the next start tries it again.
 * Bounds: the mailbox, EVENTS_MAX events waiting or under way; more are refused before they are durable. */
#include "actors/ingestor.h"
#include "actors/computation.h"
#include "actors/publisher.h"
#include "actors/stored.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "runtime/log.h"
#include "store/text/timefmt.h"
#include <stdlib.h>

enum { EVENTS_MAX = 65536, BUCKETS = 4096 };
enum { RETRY_MS = 1000, RETRY_STORES_MS = 8000, RETRY_EVENT_MS = 64000, ATTEMPTS_MAX = 12 };
enum { ACCEPT_TIMEOUT_MS = 600000, APPEND_TIMEOUT_MS = 30000, COMPUTE_TIMEOUT_MS = 10000, READ_TIMEOUT_MS = 10000 };

enum event_state {
	EV_APPENDING,
	EV_QUEUED,
	EV_READING,
	EV_APPLYING,
	EV_COMMITTING,
	EV_READING_AGAIN,
	EV_PUBLISHING,
	EV_WAITING_TO_RETRY
};

struct event {
	struct event *next; /* in its entity's queue */
	struct event *next_by_op;
	uint64_t op;
	enum event_state state;
	struct evidence_entry *entry; /* owned; NULL while the ledger has it */
	struct msg *request;          /* of the asker; NULL once accepted, or for a redo */
	struct arena arena;
	struct entry_event data; /* texts in the arena */
	uint64_t lsn;
	uint64_t retry_at_ns;
	uint32_t refusals, attempts; /* by the stores, one after the other; that failed for another reason */
	uint32_t *features; /* triggered, in definition order, of one entity; in the arena, as the next seven */
	struct online_cell *previous; /* what each had when the event's turn came */
	struct online_trace *traces;  /* likewise */
	struct online_trace *now;     /* what each has after a conflict */
	uint64_t position;            /* from before they were read */
	bool is_read, is_overtaken;   /* the latter: what overtook it is not left out yet */
	struct value **values;        /* what each gave; NULL: it failed, or there is no value from here on */
	bool *ended;                  /* the latter */
	int64_t *times_us;  /* event time of each value: the event's, or its previous value's if that is later */
	uint16_t *times_ns; /* and beyond the microsecond */
	uint32_t features_count, at;
};

struct queue { /* of one entity id */
	struct queue *next_in_bucket;
	uint64_t hash;
	struct event *head, **tail;
	char *id; /* owned */
	size_t id_n;
};

struct ingestor {
	struct actor base;
	struct node_loop *nl;
	uint32_t events_count;
	struct queue *queues[BUCKETS];
	struct event *by_op[BUCKETS];
	struct event *retry;  /* chained by next_by_op */
	uint64_t retry_count; /* failures since the last look at them */
	bool retry_timer;
};

static void apply_next(struct ingestor *s, struct event *e);

/* ---- tables ---- */

static void await(struct ingestor *s, struct event *e, uint64_t op)
{
	struct event **bucket = &s->by_op[hash_mix(op) % BUCKETS];
	e->op = op;
	e->next_by_op = *bucket;
	*bucket = e;
}

static struct event *take_by_op(struct ingestor *s, uint64_t op)
{
	struct event **at = &s->by_op[hash_mix(op) % BUCKETS];
	while (*at && (*at)->op != op)
		at = &(*at)->next_by_op;
	struct event *e = *at;
	if (e)
		*at = e->next_by_op;
	return e;
}

static struct queue *queue_of(struct ingestor *s, struct str id, bool create)
{
	uint64_t hash = hash64(id);
	struct queue *q = s->queues[hash % BUCKETS];
	while (q && !(q->hash == hash && str_eq(str_of(q->id, q->id_n), id)))
		q = q->next_in_bucket;
	if (q || !create)
		return q;
	q = calloc(1, sizeof *q);
	CHECK(q != NULL);
	*q = (struct queue){
		.next_in_bucket = s->queues[hash % BUCKETS], .hash = hash, .id = strndup(id.p, id.n), .id_n = id.n
	};
	CHECK(q->id != NULL);
	q->tail = &q->head;
	s->queues[hash % BUCKETS] = q;
	return q;
}

static void queue_free(struct ingestor *s, struct queue *q)
{
	struct queue **at = &s->queues[q->hash % BUCKETS];
	while (*at != q)
		at = &(*at)->next_in_bucket;
	*at = q->next_in_bucket;
	free(q->id);
	free(q);
}

static void event_free(struct ingestor *s, struct event *e)
{
	for (uint32_t i = 0; e->values && i < e->features_count; i++) {
		value_unref(e->values[i]);
		value_unref(e->previous[i].value);
	}
	evidence_entry_free(e->entry);
	if (e->request)
		rt_msg_free(s->base.loop, e->request);
	arena_finish(&e->arena);
	free(e);
	s->events_count--;
}

/* ---- COMMITTING ---- */

/* The event leaves, and the next one of its entity has its turn. */
static void event_leave(struct ingestor *s, struct event *e)
{
	struct queue *q = queue_of(s, e->data.entity_id, false);
	CHECK(q && q->head == e);
	q->head = e->next;
	if (q->head == NULL)
		q->tail = &q->head;
	event_free(s, e);
	if (q->head)
		apply_next(s, q->head);
	else
		queue_free(s, q);
}

static void event_done(struct ingestor *s, struct event *e)
{
	metrics_add(s->nl->node->metrics.events_processed, 1);
	event_leave(s, e);
}

static uint32_t entity_of(const struct ingestor *s, const struct event *e)
{
	return e->features_count ? s->nl->node->definitions->features[e->features[0]].entity : DEF_NONE;
}

static bool has_outcome(const struct event *e, uint32_t i)
{
	return e->values[i] || e->ended[i];
}

static void commit(struct ingestor *s, struct event *e)
{
	struct values_cell *cells = calloc(e->features_count + 1, sizeof *cells);
	CHECK(cells != NULL);
	size_t count = 0;
	for (uint32_t i = 0; i < e->features_count; i++)
		if (has_outcome(e, i))
			cells[count++] = (struct values_cell){ .feature = e->features[i],
							       .entity_id = e->data.entity_id,
							       .value = e->values[i],
							       .event_time_us = e->times_us[i],
							       .event_time_ns = e->times_ns[i] };
	struct evidence_entry *entry = values_entry_new(s->nl->node, &(struct values_write){ .entity = entity_of(s, e),
											     .source = ENTRY_TRIGGERED,
											     .event_lsn = e->lsn,
											     .seen = e->position,
											     .cells = cells,
											     .count = count });
	free(cells);
	CHECK(entry != NULL);
	e->state = EV_COMMITTING;
	await(s, e,
	      rt_ask(&s->base, evidence_appender(&s->nl->node->stores->evidence, s->base.loop),
		     &evidence_append_new(s->base.loop, entry)->head,
		     loop_mono_ns(s->base.loop) + APPEND_TIMEOUT_MS * 1000000ull, ACTOR_NONE));
}

static void retry_at(struct ingestor *s, struct event *e, uint64_t delay_ms, const char *reason)
{
	if (s->retry_count++ == 0) /* a ledger that takes nothing concerns all alike */
		log_line(LOG_ERROR, "ingestor", "event could not be applied yet", LOG_STR("event_id", e->data.event_id),
			 LOG_CSTR("reason", reason));
	metrics_add(s->nl->node->metrics.event_retries, 1);
	e->state = EV_WAITING_TO_RETRY;
	e->retry_at_ns = loop_mono_ns(s->base.loop) + delay_ms * 1000000;
	e->next_by_op = s->retry;
	s->retry = e;
	if (!s->retry_timer)
		rt_timer_start(&s->base, RETRY_MS, 0);
	s->retry_timer = true;
}

/* RETRY_MS, doubled each time. */
static uint64_t delay_ms(uint32_t failures, uint64_t max_ms)
{
	uint64_t ms = (uint64_t)RETRY_MS << (failures < 16 ? failures : 16);
	return ms < max_ms ? ms : max_ms;
}

static void retry_when_stores_answer(struct ingestor *s, struct event *e, const char *reason)
{
	retry_at(s, e, delay_ms(e->refusals, RETRY_STORES_MS), reason);
	e->refusals++;
}

static void event_given_up(struct ingestor *s, struct event *e, const char *reason)
{
	metrics_add(s->nl->node->metrics.events_given_up, 1);
	log_line(LOG_ERROR, "ingestor",
		 "event is given up: it is in the ledger, is not applied, and the next start tries it again",
		 LOG_STR("event_id", e->data.event_id), LOG_STR("event_type", e->data.event_type),
		 LOG_STR("entity_id", e->data.entity_id), LOG_INT("lsn", (int64_t)e->lsn),
		 LOG_INT("attempts", (int64_t)e->attempts), LOG_CSTR("reason", reason));
	event_leave(s, e);
}

static void retry_later(struct ingestor *s, struct event *e, const char *reason)
{
	if (++e->attempts == ATTEMPTS_MAX)
		event_given_up(s, e, reason);
	else
		retry_at(s, e, delay_ms(e->attempts - 1, RETRY_EVENT_MS), reason);
}

/* ---- READING, READING_AGAIN ---- */

/* What is stored of the event's features, by message; false: no memory. */
static bool ask_stored(struct ingestor *s, struct event *e, enum event_state state)
{
	struct stored_read *m = stored_read_new(s->base.loop);
	bool ok = m;
	for (uint32_t at = 0, some; ok && at < e->features_count; at += some) {
		some = e->features_count - at < ONLINE_TOGETHER_MAX ? e->features_count - at : ONLINE_TOGETHER_MAX;
		ok = stored_read_add(m, entity_of(s, e), e->data.entity_id, e->features + at, some);
	}
	if (!ok) {
		if (m)
			rt_msg_free(s->base.loop, &m->head);
		return false;
	}
	e->state = state;
	await(s, e,
	      rt_ask(&s->base, node_stored(s->nl), &m->head, loop_mono_ns(s->base.loop) + READ_TIMEOUT_MS * 1000000ull,
		     ACTOR_NONE));
	return true;
}

/* Moves what was found, in the order of the event's features. false: it is not known of each; what may be older than another
 * process's write is no value to build upon. */
static bool take_stored(struct event *e, struct msg *m, struct online_cell *cells, struct online_trace *traces)
{
	uint32_t at = 0;
	struct stored_rows *rows = m->kind == STORED_ROWS ? ((struct stored_read *)m)->what : NULL;
	for (uint32_t i = 0; rows && i < rows->count; i++)
		for (uint32_t k = 0; k < rows->rows[i].count; k++)
			if (rows->rows[i].cells[k].state == STORED_FAILED || rows->rows[i].cells[k].is_second_hand)
				return false;
	for (uint32_t i = 0; rows && i < rows->count; i++)
		for (uint32_t k = 0; k < rows->rows[i].count; k++, at++) {
			struct stored_cell *c = &rows->rows[i].cells[k];
			traces[at] = c->trace;
			if (cells) {
				cells[at] = c->cell;
				c->cell.value = NULL;
			}
		}
	return rows && at == e->features_count;
}

static const char *why_not_read(const struct msg *m)
{
	return m->kind == STORED_ROWS || m->kind == RT_DEADLINE ? "what its features had cannot be read"
								: rt_error_text(m->status);
}

/* What was written behind its reading must be left out first. */
static void retry_overtaken(struct ingestor *s, struct event *e, const char *reason)
{
	e->is_overtaken = true;
	retry_when_stores_answer(s, e, reason);
}

/* Somebody else's cells may have refused the entry: then nothing is left out, and it is tried again from here on. */
static void leave_out(struct event *e, const struct online_trace *now)
{
	for (uint32_t i = 0; i < e->features_count; i++) {
		if (!now[i].is_known || now[i].lsn <= e->traces[i].lsn)
			continue;
		e->traces[i] = now[i];
		value_unref(e->values[i]);
		e->values[i] = NULL;
		e->ended[i] = false;
	}
}

static void leave_out_overtaken(struct ingestor *s, struct event *e)
{
	const struct node *n = s->nl->node;
	const struct online_fast *online = n->stores->online.fast;
	bool is_sure = online;
	e->position = values_position(n);
	for (uint32_t i = 0; is_sure && i < e->features_count; i++) {
		online->trace(online->table, entity_of(s, e), e->data.entity_id, e->features[i],
			      loop_wall_us(s->base.loop), &e->now[i]);
		is_sure = !stored_may_be_lost(n->definitions, e->features[i], &e->now[i]);
	}
	if (is_sure) {
		leave_out(e, e->now);
		commit(s, e);
	} else if (!ask_stored(s, e, EV_READING_AGAIN)) {
		retry_overtaken(s, e, "out of memory");
	}
}

static void in_reading_again(struct ingestor *s, struct event *e, struct msg *m)
{
	if (!take_stored(e, m, NULL, e->now)) {
		retry_overtaken(s, e, why_not_read(m));
		return;
	}
	leave_out(e, e->now);
	commit(s, e);
}

/* ---- COMMITTING ---- */

/* With a store elsewhere the entry itself knows. Where that is in doubt the event is read and computed again: steady writes of
 * its cells are never in doubt, so it ends. */
static void after_conflict(struct ingestor *s, struct event *e, const struct evidence_entry *entry)
{
	bool is_any = false;
	size_t cell = 0;
	for (uint32_t i = 0; i < e->features_count; i++) {
		if (!has_outcome(e, i) || !values_was_overtaken(entry, cell++))
			continue;
		is_any = true;
		value_unref(e->values[i]);
		e->values[i] = NULL;
		e->ended[i] = false;
	}
	if (is_any) {
		commit(s, e);
		return;
	}
	for (uint32_t i = 0; i < e->features_count; i++) {
		value_unref(e->values[i]);
		value_unref(e->previous[i].value);
		e->values[i] = e->previous[i].value = NULL;
		e->ended[i] = false;
	}
	e->at = 0;
	e->is_read = false;
	apply_next(s, e);
}

static void give_up_values(struct ingestor *s, struct event *e)
{
	metrics_add(s->nl->node->metrics.events_failed, 1);
	log_line(LOG_ERROR, "ingestor",
		 "the event's values are not kept: together they are larger than a ledger entry may be",
		 LOG_STR("event_id", e->data.event_id), LOG_STR("entity_id", e->data.entity_id));
	for (uint32_t i = 0; i < e->features_count; i++) {
		value_unref(e->values[i]);
		value_unref(e->previous[i].value);
	}
	e->features_count = 0;
}

/* They are in the history, and the event counts as applied; but nobody will read them. */
static void note_refused_values(struct ingestor *s, const struct event *e, const struct evidence_entry *entry)
{
	const struct node *n = s->nl->node;
	size_t cell = 0;
	for (uint32_t i = 0; i < e->features_count; i++) {
		if (!has_outcome(e, i) || values_result(entry, cell++) != ONLINE_FULL)
			continue;
		metrics_add(n->metrics.events_failed, 1);
		log_line(LOG_ERROR, "ingestor", VALUES_NOT_KEPT,
			 LOG_STR("feature", n->definitions->features[e->features[i]].name),
			 LOG_STR("event_id", e->data.event_id), LOG_STR("entity_id", e->data.entity_id));
	}
}

/* Trying again is safe even when the first frame did reach the disk: then its own values are what overtook it. */
static void in_committing(struct ingestor *s, struct event *e, struct msg *m)
{
	uint64_t op;
	if (publisher_takes(&s->base, s->nl->node, m, 0, &op)) {
		e->state = EV_PUBLISHING;
		await(s, e, op);
		return;
	}
	if (m->kind == EVIDENCE_APPENDED && m->status == RT_OK) {
		note_refused_values(s, e, ((const struct evidence_append *)m)->entry);
		event_done(s, e);
		return;
	}
	if (m->kind == EVIDENCE_APPENDED && m->status == RT_ECONFLICT) {
		metrics_add(s->nl->node->metrics.event_conflicts, 1);
		if (values_are_elsewhere(s->nl->node)) {
			after_conflict(s, e, ((const struct evidence_append *)m)->entry);
			return;
		}
		leave_out_overtaken(s, e);
		return;
	}
	if (m->kind == EVIDENCE_APPENDED && m->status == RT_ETOOBIG &&
	    e->features_count) { /* trying again does not help */
		give_up_values(s, e);
		commit(s, e);
		return;
	}
	retry_when_stores_answer(s, e,
				 m->kind == RT_DEADLINE ? "the ledger does not answer" : rt_error_text(m->status));
}

static void in_publishing(struct ingestor *s, struct event *e, const struct msg *m)
{
	if (m->kind == EVIDENCE_APPENDED)
		note_refused_values(s, e, ((const struct evidence_append *)m)->entry);
	event_done(s, e);
}

static void on_retry(struct ingestor *s)
{
	if (s->retry_count > 1)
		log_line(LOG_ERROR, "ingestor", "events could not be applied yet, and are tried again",
			 LOG_INT("events", (int64_t)s->retry_count));
	s->retry_timer = false;
	s->retry_count = 0;
	uint64_t now_ns = loop_mono_ns(s->base.loop);
	struct event *e = s->retry, *due = NULL;
	s->retry = NULL;
	for (struct event *next; e; e = next) {
		next = e->next_by_op;
		struct event **list = e->retry_at_ns <= now_ns ? &due : &s->retry;
		e->next_by_op = *list;
		*list = e;
	}
	for (struct event *next; due; due = next) {
		next = due->next_by_op;
		apply_next(s, due);
	}
	if (s->retry && !s->retry_timer) {
		rt_timer_start(&s->base, RETRY_MS, 0);
		s->retry_timer = true;
	}
}

/* ---- APPLYING ---- */

static void write_event_json(const struct entry_event *e, struct buf *out)
{
	buf_append_lit(out, "{\"id\":");
	json_write_string(out, e->event_id);
	buf_append_lit(out, ",\"event_type\":");
	json_write_string(out, e->event_type);
	buf_append_lit(out, ",\"entity_id\":");
	json_write_string(out, e->entity_id);
	buf_append_lit(out, ",\"payload\":");
	buf_append_str(out, e->payload_json);
	buf_append_lit(out, ",\"timestamp\":\"");
	time_write_z(out, e->event_time_us);
	buf_append_lit(out, "\"}");
}

/* The feature keeps what it had. */
static void not_computed(struct ingestor *s, struct event *e, struct str reason)
{
	const struct node *n = s->nl->node;
	uint32_t feature = e->features[e->at++];
	metrics_add(n->metrics.features[feature].compute_failure, 1);
	metrics_add(n->metrics.events_failed, 1);
	log_line(LOG_ERROR, "ingestor", "feature could not be computed from the event",
		 LOG_STR("feature", n->definitions->features[feature].name), LOG_STR("event_id", e->data.event_id),
		 LOG_STR("entity_id", e->data.entity_id), LOG_STR("reason", reason));
}

/* Computes the next triggered feature of the event; true: under way, false: none is left. */
static bool compute_next(struct ingestor *s, struct event *e)
{
	if (e->at == e->features_count)
		return false;
	uint32_t feature = e->features[e->at];
	struct computation_job *job = computation_job_new(SCRIPT_COMPUTE, feature, e->data.entity_id);
	if (job == NULL) {
		retry_later(s, e, "out of memory");
		return true;
	}
	struct buf event = { 0 };
	write_event_json(&e->data, &event);
	if (!event.failed)
		job->event_json = arena_dup(&job->arena, buf_str(&event));
	buf_finish(&event);
	bool is_whole = job->event_json.p != NULL;
	/* What comes of a late event is as new as what it builds on: else the older time would lose against it, and the
	 * event with it. */
	const struct online_cell *previous = &e->previous[e->at];
	e->times_us[e->at] = e->data.event_time_us;
	e->times_ns[e->at] = 0;
	if (previous->value) {
		job->previous_json = arena_dup(&job->arena, value_json(previous->value));
		is_whole = is_whole && job->previous_json.p != NULL;
		if (previous->meta.event_time_us >= e->data.event_time_us) {
			e->times_us[e->at] = previous->meta.event_time_us;
			e->times_ns[e->at] = previous->meta.event_time_ns;
		}
	} else if (e->traces[e->at].cell_time_us >= e->data.event_time_us) { /* none since then */
		e->times_us[e->at] = e->traces[e->at].cell_time_us;
		e->times_ns[e->at] = e->traces[e->at].cell_time_ns;
	}
	if (!is_whole) { /* without its previous value a function would begin anew */
		computation_job_free(job);
		not_computed(s, e, STR("the event and the previous value are too large"));
		return compute_next(s, e);
	}
	e->state = EV_APPLYING;
	await(s, e,
	      computation_start(&s->base, s->nl, job, loop_mono_ns(s->base.loop) + COMPUTE_TIMEOUT_MS * 1000000ull,
				ACTOR_NONE));
	return true;
}

/* All of them at one moment: what the event gives is of one state of its entity. Those that the table may have forgotten are
 * asked for, and nothing written meanwhile is covered: then there is a conflict. false: not now. */
static bool read_previous(struct ingestor *s, struct event *e)
{
	const struct node *n = s->nl->node;
	const struct online_fast *online = n->stores->online.fast;
	bool is_whole = online, is_lost = false;
	e->position = values_position(n);
	if (online)
		online->see(online->table, entity_of(s, e), e->data.entity_id, e->features, e->features_count,
			    loop_wall_us(s->base.loop), e->previous, e->traces);
	for (uint32_t i = 0; online && i < e->features_count; i++) {
		const struct online_trace *trace = &e->traces[i];
		is_lost = is_lost || e->previous[i].is_lost;
		is_whole = is_whole && !is_lost &&
			   (e->previous[i].value ||
			    (!trace->is_live && !stored_may_be_lost(n->definitions, e->features[i], trace)));
	}
	if (is_whole || e->features_count == 0) {
		e->is_read = true;
		return true;
	}
	for (uint32_t i = 0; i < e->features_count; i++) {
		value_unref(e->previous[i].value);
		e->previous[i].value = NULL;
	}
	if (is_lost || !ask_stored(s, e, EV_READING))
		retry_later(s, e, "out of memory");
	return false;
}

static void apply_next(struct ingestor *s, struct event *e)
{
	if (e->is_overtaken) {
		e->is_overtaken = false;
		leave_out_overtaken(s, e);
		return;
	}
	if (!e->is_read && !read_previous(s, e))
		return;
	if (!compute_next(s, e))
		commit(s, e);
}

static void in_reading(struct ingestor *s, struct event *e, struct msg *m)
{
	if (!take_stored(e, m, e->previous, e->traces)) {
		retry_when_stores_answer(s, e, why_not_read(m));
		return;
	}
	e->is_read = true;
	apply_next(s, e);
}

/* Returns why there is neither a value nor none; p NULL: all is well. */
static struct str take_value(struct ingestor *s, struct event *e, const struct computation_job *job)
{
	const struct script_outcome *o = &job->outcome;
	if (o->error.p)
		return o->error;
	if (o->value_json.p == NULL) {
		e->ended[e->at] = true;
		return (struct str){ 0 };
	}
	bool known;
	struct reads *reads = computation_reads_of(job, s->nl->node->definitions, &known);
	if (known)
		e->values[e->at] = value_create_from(o->value_json, reads ? &reads->basis : NULL);
	reads_unref(reads);
	if (!known)
		return STR("the function reads too many features or retrievers");
	return e->values[e->at] ? (struct str){ 0 } : STR("out of memory");
}

static void in_applying(struct ingestor *s, struct event *e, struct msg *m)
{
	const struct node *n = s->nl->node;
	uint32_t feature = e->features[e->at];
	struct str error = { 0 };
	if (m->kind == RT_DOWN) { /* not the function's fault: a bound is reached, or the loop ends */
		retry_later(s, e, rt_error_text(m->status));
		return;
	}
	if (m->kind == COMPUTATION_DONE)
		error = take_value(s, e, ((struct computation_run *)m)->job);
	else
		error = STR("no result before the deadline");
	if (error.p) {
		not_computed(s, e, error);
	} else {
		metrics_add(n->metrics.features[feature].compute_success, 1);
		e->at++;
	}
	apply_next(s, e);
}

static void find_triggered(struct ingestor *s, struct event *e)
{
	const struct definitions *d = s->nl->node->definitions;
	e->features = arena_alloc(&e->arena, (d->features_count + 1) * sizeof *e->features);
	e->values = arena_zalloc(&e->arena, (d->features_count + 1) * sizeof *e->values);
	e->ended = arena_zalloc(&e->arena, (d->features_count + 1) * sizeof *e->ended);
	e->previous = arena_zalloc(&e->arena, (d->features_count + 1) * sizeof *e->previous);
	e->now = arena_zalloc(&e->arena, (d->features_count + 1) * sizeof *e->now);
	e->traces = arena_zalloc(&e->arena, (d->features_count + 1) * sizeof *e->traces);
	e->times_us = arena_zalloc(&e->arena, (d->features_count + 1) * sizeof *e->times_us);
	e->times_ns = arena_zalloc(&e->arena, (d->features_count + 1) * sizeof *e->times_ns);
	CHECK(e->features && e->values && e->ended && e->previous && e->traces && e->now && e->times_us && e->times_ns);
	for (uint32_t i = 0; i < d->features_count; i++)
		if (d->features[i].trigger.p && str_eq(d->features[i].trigger, e->data.event_type))
			e->features[e->features_count++] = i;
}

/* The event is durable: behind the earlier ones of its entity. */
static void enqueue(struct ingestor *s, struct event *e)
{
	find_triggered(s, e);
	struct queue *q = queue_of(s, e->data.entity_id, true);
	bool is_first = q->head == NULL;
	e->state = EV_QUEUED;
	e->next = NULL;
	*q->tail = e;
	q->tail = &e->next;
	if (is_first)
		apply_next(s, e);
}

/* ---- EVENT ---- */

/* NULL: malformed, or too large. */
static struct event *event_new(struct ingestor *s, struct evidence_entry *entry)
{
	struct entry_event data;
	if (entry->body.failed || !entry_event_read(buf_str(&entry->body), &data))
		return NULL;
	struct event *e = calloc(1, sizeof *e);
	if (e == NULL)
		return NULL;
	e->data = (struct entry_event){ .event_id = arena_dup(&e->arena, data.event_id),
					.event_type = arena_dup(&e->arena, data.event_type),
					.entity_id = arena_dup(&e->arena, data.entity_id),
					.payload_json = arena_dup(&e->arena, data.payload_json),
					.idempotency = arena_dup(&e->arena, data.idempotency),
					.event_time_us = data.event_time_us,
					.received_us = data.received_us };
	e->lsn = entry->lsn;
	s->events_count++;
	const struct entry_event *d = &e->data;
	if (d->event_id.p && d->event_type.p && d->entity_id.p && d->payload_json.p && d->idempotency.p)
		return e;
	event_free(s, e);
	return NULL;
}

static const struct idempotency_id *id_of(const struct event *e)
{
	return e->data.idempotency.n == sizeof(struct idempotency_id)
		   ? (const struct idempotency_id *)e->data.idempotency.p
		   : NULL;
}

/* true: the request is answered; it has been done before, or cannot be done. */
static bool answer_repeated(struct ingestor *s, struct event *e)
{
	const struct idempotency_id *id = id_of(e);
	struct ingest_accepted *reply;
	struct idempotency_first first = { 0 };
	int status = RT_OK;
	if (id == NULL)
		return false;
	switch (idempotency_begin(s->nl->node->stores->idempotency, id, e->data.received_us, &first)) {
	case IDEMPOTENCY_NEW:
		return false;
	case IDEMPOTENCY_DONE:
		break;
	case IDEMPOTENCY_UNDER_WAY:
		status = RT_EEXIST;
		break;
	case IDEMPOTENCY_OTHER:
		status = RT_EINVAL;
		break;
	case IDEMPOTENCY_FULL:
		status = RT_EFULL;
		break;
	}
	reply = rt_msg_new(s->base.loop, INGEST_ACCEPTED);
	reply->head.status = status;
	reply->is_repeat = true;
	reply->first = first;
	rt_reply(&s->base, e->request, &reply->head);
	e->request = NULL;
	event_free(s, e);
	return true;
}

static void on_event(struct ingestor *s, struct msg *m)
{
	struct ingest_event *in = (struct ingest_event *)m;
	if (s->events_count >= EVENTS_MAX) {
		rt_refuse(&s->base, m, RT_EFULL);
		return;
	}
	struct event *e = event_new(s, in->entry);
	if (e == NULL) {
		rt_refuse(&s->base, m, RT_ETOOBIG);
		return;
	}
	rt_msg_take(m);
	e->request = m;
	if (answer_repeated(s, e))
		return;
	e->state = EV_APPENDING;
	/* Not the client's deadline: an event that becomes durable after the client has left has its turn all the same, before
	 * those behind it. */
	await(s, e,
	      rt_ask(&s->base, evidence_appender(&s->nl->node->stores->evidence, s->base.loop),
		     &evidence_append_new(s->base.loop, in->entry)->head,
		     loop_mono_ns(s->base.loop) + ACCEPT_TIMEOUT_MS * 1000000ull, ACTOR_NONE));
	in->entry = NULL;
}

static void on_redo(struct ingestor *s, struct msg *m)
{
	struct event *e = event_new(s, ((struct ingest_event *)m)->entry);
	if (e)
		enqueue(s, e);
	else
		log_line(LOG_ERROR, "ingestor", "a pending event cannot be read; it stays pending");
}

/* Whether the event may have become durable although nobody said so: then its key stays taken until the next start, which
 * finds out. */
static bool is_outcome_unknown(const struct msg *m)
{
	return m->kind == RT_DEADLINE || (m->kind == RT_DOWN && m->status == RT_EDEAD);
}

static void in_appending(struct ingestor *s, struct event *e, struct msg *m)
{
	struct msg *request = e->request;
	struct idempotency *known = s->nl->node->stores->idempotency;
	e->request = NULL;
	struct ingest_accepted *reply = rt_msg_new(s->base.loop, INGEST_ACCEPTED);
	if (m->kind == EVIDENCE_APPENDED && m->status == RT_OK) {
		e->lsn = reply->first.lsn = ((struct evidence_append *)m)->entry->lsn;
		reply->first.received_us = e->data.received_us ? e->data.received_us : loop_wall_us(s->base.loop);
		if (e->data.event_id.n == UUID_TEXT)
			memcpy(reply->first.event_id, e->data.event_id.p, UUID_TEXT);
		if (id_of(e))
			idempotency_done(known, id_of(e), &reply->first);
		rt_reply(&s->base, request, &reply->head);
		enqueue(s, e);
		return;
	}
	/* Not accepted. If the bytes reached the disk all the same, the restart finds the event pending and applies it. */
	reply->head.status = m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status;
	if (id_of(e) && !is_outcome_unknown(m))
		idempotency_abandon(known, id_of(e));
	rt_reply(&s->base, request, &reply->head);
	event_free(s, e);
}

/* ---- the actor ---- */

static void ingestor_on_message(struct actor *a, struct msg *m)
{
	struct ingestor *s = (struct ingestor *)a;
	switch (m->kind) {
	case INGEST_EVENT:
		on_event(s, m);
		return;
	case INGEST_REDO:
		on_redo(s, m);
		return;
	case RT_TIMER:
		on_retry(s);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		break;
	}
	struct event *e = m->op ? take_by_op(s, m->op) : NULL;
	if (e == NULL)
		return;
	switch (e->state) {
	case EV_APPENDING:
		in_appending(s, e, m);
		return;
	case EV_APPLYING:
		in_applying(s, e, m);
		return;
	case EV_READING:
		in_reading(s, e, m);
		return;
	case EV_READING_AGAIN:
		in_reading_again(s, e, m);
		return;
	case EV_COMMITTING:
		in_committing(s, e, m);
		return;
	case EV_PUBLISHING:
		in_publishing(s, e, m);
		return;
	case EV_QUEUED:
	case EV_WAITING_TO_RETRY:
		UNREACHABLE();
	}
}

static int ingestor_init(struct actor *a, void *arg)
{
	((struct ingestor *)a)->nl = arg;
	return 0;
}

/* What is durable but not applied is found again by the next start. */
static void ingestor_finish(struct actor *a)
{
	struct ingestor *s = (struct ingestor *)a;
	for (size_t b = 0; b < BUCKETS; b++) { /* the others are in queues, freed afterwards: these chains cross them */
		for (struct event *e = s->by_op[b], *next; e; e = next) {
			next = e->next_by_op;
			if (e->state == EV_APPENDING)
				event_free(s, e);
		}
	}
	for (size_t b = 0; b < BUCKETS; b++) {
		while (s->queues[b]) {
			struct queue *q = s->queues[b];
			for (struct event *e = q->head, *next; e; e = next) {
				next = e->next;
				event_free(s, e);
			}
			queue_free(s, q);
		}
	}
}

const struct actor_class ingestor_class = {
	.name = "ingestor",
	.size = sizeof(struct ingestor),
	.mailbox_len_max = EVENTS_MAX,
	.init = ingestor_init,
	.on_message = ingestor_on_message,
	.finish = ingestor_finish,
};

/* ---- messages ---- */

static void event_dispose(struct msg *m)
{
	evidence_entry_free(((struct ingest_event *)m)->entry);
}

static struct ingest_event *with_entry(struct ingest_event *m, struct evidence_entry *entry)
{
	m->head.dispose = event_dispose;
	m->entry = entry;
	return m;
}

struct ingest_event *ingest_event_new(struct loop *loop, uint16_t kind, struct evidence_entry *entry)
{
	return with_entry(rt_msg_new(loop, kind), entry);
}

struct ingest_event *ingest_event_post(uint16_t kind, struct evidence_entry *entry)
{
	return with_entry(loop_msg_new(kind), entry);
}
MSG_SIZE_CHECK(ingest_event);
MSG_SIZE_CHECK(ingest_accepted);
