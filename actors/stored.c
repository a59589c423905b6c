/* stored.c -- what is stored of some rows, for the actors of one loop.
 *
 *     READ --the store is in memory--> looked up at once
 *          --else--> QUEUED --turn end: ONLINE_GET--> LOOKING --answered--> looked up; failed, late --> all may be lost
 *     looked up: of each cell FOUND, EXPIRED or ABSENT
 *                or it may be lost --> WANTED --turn end, no question under way: OFFLINE_AS_OF--> ASKED --answered--> settled
 *     all cells of a READ are settled --> ROWS
 *
 * One question to the history is under way at a time, and what comes meanwhile is asked together behind it: a history that is slow
 * gets fewer and larger questions. A question sees all that was durable when it was asked, so that who asks after a write
 * finds it.
 *
 * Absence is remembered in a table by hash, ABSENT_KEEP_MS long and until anything is written to the row. A value that is found
 * goes back into the online store, unless that has forgotten anything hereabouts since the look: it might have been a newer
 * one, and then nothing would refuse the older (struct online_change).
 * Bounds: the mailbox, WANTED_MAX, the table of absences. */
#include "actors/stored.h"
#include "actors/values.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "runtime/log.h"
#include "store/evidence/entries.h"
#include <stdatomic.h>
#include <stdlib.h>

enum { WANTED_MAX = 65536, ABSENT_MAX = 1024, ABSENT_KEEP_MS = 2000 };
enum { ONLINE_TIMEOUT_MS = 1000, HISTORY_TIMEOUT_MS = 10000 };
enum { SEEN_BUCKETS = 2 * OFFLINE_CELLS_MAX };
struct read { /* a STORED_READ that is not answered */
	struct read *next, *previous;
	struct msg *request; /* taken */
	struct stored_rows *rows;
	uint32_t open; /* cells that are not settled */
	uint32_t at;   /* QUEUED: rows that are in a message already */
	struct read *next_queued;
};

struct look { /* rows in an ONLINE_GET */
	struct look *next;
	uint64_t op;
	uint32_t count;
	struct looked {
		struct read *read;
		uint32_t row;
		bool is_behind;
	} rows[ONLINE_BATCH_ROWS_MAX];
};

struct want { /* a cell to ask the history for */
	struct want *next;
	struct read *read;
	struct stored_row *row;
	struct stored_cell *cell;
	uint32_t at;    /* in the question */
	uint64_t since; /* questions that had been asked: by another one it may have come meanwhile */
};

struct absent {
	uint64_t hash; /* of the cell */
	uint64_t position;
	int64_t until_us; /* 0: free place */
	enum stored_state state;
	struct online_trace trace;
};

struct stored {
	struct actor base;
	struct node_loop *nl;
	struct read *reads; /* all */
	struct read *queued, **queued_end;
	struct look *looks;
	struct want *wanted, **wanted_end;
	uint32_t wanted_count;
	struct want *asked; /* in the question under way */
	uint64_t question;  /* its op; 0 = none */
	uint64_t questions; /* asked so far */
	bool is_failing;    /* the last one failed */
	uint64_t position;  /* of the values before it */
	uint32_t cells_max; /* of the next */
	struct absent absent[ABSENT_MAX];
};

struct actor_ref node_stored(const struct node_loop *nl)
{
	return rt_named(nl->loop, NAME_STORED);
}

/* ---- the end of a read ---- */

static struct stored_read *rows_new(struct loop *loop, uint16_t kind, struct stored_rows *rows);

static void read_free(struct stored *s, struct read *r)
{
	if (r->previous)
		r->previous->next = r->next;
	else
		s->reads = r->next;
	if (r->next)
		r->next->previous = r->previous;
	free(r);
}

static void settled(struct stored *s, struct read *r, uint32_t cells)
{
	r->open -= cells;
	if (r->open)
		return;
	((struct stored_read *)r->request)->what = NULL;
	rt_reply(&s->base, r->request, &rows_new(s->base.loop, STORED_ROWS, r->rows)->head);
	read_free(s, r);
}

static void fail(struct read *r, struct stored_cell *c, enum feature_state failure, struct str reason)
{
	c->state = STORED_FAILED;
	if (r->rows->reason.p)
		return;
	r->rows->failure = failure;
	r->rows->reason = arena_dup(&r->rows->arena, reason);
}

/* ---- absences ---- */

static uint64_t cell_hash(uint32_t entity, struct str id, uint32_t feature)
{
	return hash_mix(online_key(entity, id).hash + feature);
}

static const struct def_feature *feature_of(const struct stored *s, const struct stored_cell *c)
{
	return &s->nl->node->definitions->features[c->feature];
}

/* Materialised values are written by rows of any id, and no mark says of which. */
static bool is_forgotten(const struct stored *s, const struct absent *a, const struct stored_row *row,
			 const struct stored_cell *c)
{
	const struct node *n = s->nl->node;
	return a->until_us <= loop_wall_us(s->base.loop) ||
	       values_row_was_written(n, row->entity, row->id, a->position) ||
	       (feature_of(s, c)->materialize && values_position(n) > a->position);
}

static bool is_known_absent(const struct stored *s, const struct stored_row *row, struct stored_cell *c)
{
	uint64_t hash = cell_hash(row->entity, row->id, c->feature);
	const struct absent *a = &s->absent[hash % ABSENT_MAX];
	if (a->hash != hash || is_forgotten(s, a, row, c))
		return false;
	c->state = a->state;
	c->trace = a->trace;
	return true;
}

static void remember_absence(struct stored *s, const struct stored_row *row, const struct stored_cell *c)
{
	uint64_t hash = cell_hash(row->entity, row->id, c->feature);
	s->absent[hash % ABSENT_MAX] = (struct absent){ .hash = hash,
							.position = s->position,
							.until_us = loop_wall_us(s->base.loop) +
								    ABSENT_KEEP_MS * 1000ll,
							.state = c->state,
							.trace = c->trace };
}

/* ---- looked up ---- */

/* The last run of its SQL did not give it, or gave another: see materializer.c. */
static bool is_outdated(const struct stored *s, uint32_t feature, int64_t event_time_us)
{
	const struct node *n = s->nl->node;
	return n->definitions->features[feature].materialize &&
	       event_time_us < atomic_load_explicit(&n->metrics.materialized_from_us[feature], memory_order_relaxed);
}

static void want(struct stored *s, struct read *r, struct stored_row *row, struct stored_cell *c)
{
	struct want *w = s->wanted_count < WANTED_MAX ? malloc(sizeof *w) : NULL;
	if (w == NULL) {
		fail(r, c, FEATURE_REFUSED, STR("too many values are being looked for in the history"));
		settled(s, r, 1);
		return;
	}
	*w = (struct want){ .read = r, .row = row, .cell = c, .since = s->questions };
	*s->wanted_end = w;
	s->wanted_end = &w->next;
	s->wanted_count++;
}

/* Takes what a look gave of a cell. */
static void looked_up(struct stored *s, struct read *r, struct stored_row *row, struct stored_cell *c)
{
	if (c->cell.value && is_outdated(s, c->feature, c->cell.meta.event_time_us)) {
		value_unref(c->cell.value);
		c->cell.value = NULL;
		c->trace.is_live = false;
	}
	c->state = c->cell.value ? STORED_FOUND : c->trace.is_expired ? STORED_EXPIRED : STORED_ABSENT;
	if (c->cell.value == NULL && c->trace.is_live)
		fail(r, c, FEATURE_FAILED, STR("out of memory")); /* it is there */
	else if (c->cell.value == NULL && stored_may_be_lost(s->nl->node->definitions, c->feature, &c->trace) &&
		 (c->is_second_hand || !is_known_absent(s, row, c))) {
		want(s, r, row, c);
		return;
	}
	settled(s, r, 1);
}

static void look(struct stored *s, struct stored_row *row)
{
	const struct online_fast *online = s->nl->node->stores->online.fast;
	uint32_t features[ONLINE_TOGETHER_MAX];
	struct online_cell cells[ONLINE_TOGETHER_MAX];
	struct online_trace traces[ONLINE_TOGETHER_MAX];
	CHECK(row->count <= ONLINE_TOGETHER_MAX); /* stored_read_add */
	for (uint32_t i = 0; i < row->count; i++)
		features[i] = row->cells[i].feature;
	online->see(online->table, row->entity, row->id, features, row->count, loop_wall_us(s->base.loop), cells,
		    traces);
	for (uint32_t i = 0; i < row->count; i++) {
		row->cells[i].cell = cells[i];
		row->cells[i].trace = traces[i];
	}
}

/* ---- QUEUED, LOOKING ---- */

/* Of a row that the store is behind with it is not believed, and the history is asked: judged when it is sent, for what is put
 * again meanwhile may come behind the reading and before its answer. */
static bool look_add(const struct stored *s, struct online_batch *m, struct look *l, struct read *r)
{
	uint32_t features[ONLINE_TOGETHER_MAX];
	const struct stored_row *row = &r->rows->rows[r->at];
	for (uint32_t i = 0; i < row->count; i++)
		features[i] = row->cells[i].feature;
	if (!online_batch_get(m, row->entity, row->id, features, row->count))
		return false;
	l->rows[l->count++] = (struct looked){ r, r->at, values_is_behind(s->nl->node, row->entity, row->id) };
	return true;
}

/* Into as few messages as possible. */
static void send_looks(struct stored *s)
{
	const struct online_store *online = &s->nl->node->stores->online;
	while (s->queued) {
		struct online_batch *m = online_batch_new(s->base.loop, ONLINE_GET);
		struct look *l = malloc(sizeof *l);
		CHECK(m != NULL && l != NULL);
		l->count = 0;
		while (s->queued && look_add(s, m, l, s->queued)) {
			struct read *r = s->queued;
			if (++r->at == r->rows->count)
				s->queued = r->next_queued;
		}
		CHECK(l->count > 0); /* a row fits an empty message */
		l->next = s->looks;
		s->looks = l;
		l->op = rt_ask(&s->base, online->per_loop[loop_id(s->base.loop) - 1], &m->head,
			       loop_mono_ns(s->base.loop) + ONLINE_TIMEOUT_MS * 1000000ull, ACTOR_NONE);
	}
	s->queued_end = &s->queued;
}

static struct look *take_look(struct stored *s, uint64_t op)
{
	struct look **at = &s->looks;
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct look *l = *at;
	if (l)
		*at = l->next;
	return l;
}

/* from NULL: the store did not say, or this process knows better. */
static void take_row(struct stored *s, struct looked *at, struct online_row_batch *from, bool is_second_hand)
{
	struct read *r = at->read;
	struct stored_row *row = &r->rows->rows[at->row];
	uint32_t count = row->count; /* with the last cell the read may end */
	for (uint32_t i = 0; i < count; i++) {
		struct stored_cell *c = &row->cells[i];
		if (from) {
			c->cell = from->gets[i].cell;
			c->trace = from->gets[i].trace;
			from->gets[i].cell.value = NULL;
		} else {
			c->trace = (struct online_trace){ .event_time_us = INT64_MIN,
							  .cell_time_us = INT64_MIN,
							  .may_be_lost = true };
			c->is_second_hand = is_second_hand;
		}
		looked_up(s, r, row, c);
	}
}

static void on_looked(struct stored *s, struct look *l, struct msg *m)
{
	struct online_rows *rows = m->kind == ONLINE_DONE && m->status == RT_OK ? ((struct online_batch *)m)->what
										: NULL;
	for (uint32_t i = 0; i < l->count; i++) {
		bool is_read = rows && rows->rows[i].result == ONLINE_APPLIED;
		take_row(s, &l->rows[i], is_read && !l->rows[i].is_behind ? &rows->rows[i] : NULL,
			 !is_read && !s->nl->node->stores->is_history_shared);
	}
	free(l);
}

static void on_read(struct stored *s, struct msg *m)
{
	struct stored_read *request = (struct stored_read *)m;
	struct read *r = calloc(1, sizeof *r);
	if (r == NULL) {
		rt_refuse(&s->base, m, RT_EFULL);
		return;
	}
	rt_msg_take(m);
	*r = (struct read){ .next = s->reads, .request = m, .rows = request->what, .open = request->what->cells_count };
	if (s->reads)
		s->reads->previous = r;
	s->reads = r;
	if (r->open == 0) {
		settled(s, r, 0);
		return;
	}
	if (s->nl->node->stores->online.fast == NULL) {
		*s->queued_end = r;
		s->queued_end = &r->next_queued;
		return;
	}
	struct stored_rows *rows = r->rows;
	r->open++; /* so that it does not end under this loop */
	for (struct stored_row *row = rows->rows; row < rows->rows + rows->count; row++) {
		look(s, row);
		for (uint32_t i = 0; i < row->count; i++)
			looked_up(s, r, row, &row->cells[i]);
	}
	settled(s, r, 1);
}

/* ---- WANTED ---- */

/* Cells that several want are asked for once. */
struct question {
	struct offline_as_of *m;
	uint16_t buckets[SEEN_BUCKETS]; /* by the cell's hash: position in the question + 1; 0 = free */
	const struct want *first[OFFLINE_CELLS_MAX];
};

static bool is_same(const struct want *a, const struct want *b)
{
	return a->cell->feature == b->cell->feature && a->row->entity == b->row->entity &&
	       str_eq(a->row->id, b->row->id);
}

/* false: no room. */
static bool question_add(struct stored *s, struct question *q, struct want *w)
{
	const struct definitions *d = s->nl->node->definitions;
	uint64_t at = cell_hash(w->row->entity, w->row->id, w->cell->feature) % SEEN_BUCKETS;
	while (q->buckets[at] && !is_same(q->first[q->buckets[at] - 1], w))
		at = (at + 1) % SEEN_BUCKETS;
	if (q->buckets[at]) {
		w->at = q->buckets[at] - 1u;
		return true;
	}
	const struct def_feature *f = &d->features[w->cell->feature];
	w->at = q->m->what->count;
	if (w->at >= s->cells_max || !offline_as_of_add(q->m, d->entities[w->row->entity].name, w->row->id, f->name,
							f->made_by.p ? f->made_by : STR("")))
		return false;
	q->first[w->at] = w;
	q->buckets[at] = (uint16_t)(w->at + 1);
	return true;
}

/* Whether another question has brought it. */
static bool has_come(struct stored *s, struct want *w)
{
	const struct online_fast *online = s->nl->node->stores->online.fast;
	struct stored_cell *c = w->cell;
	if (w->since == s->questions)
		return false;
	if (!c->is_second_hand && is_known_absent(s, w->row, c))
		return true;
	if (online == NULL || online->see(online->table, w->row->entity, w->row->id, &c->feature, 1,
					  loop_wall_us(s->base.loop), &c->cell, &c->trace) == 0)
		return false;
	c->state = STORED_FOUND;
	return true;
}

static struct want *take_wanted(struct stored *s)
{
	struct want *w = s->wanted;
	s->wanted = w->next;
	if (s->wanted == NULL)
		s->wanted_end = &s->wanted;
	s->wanted_count--;
	return w;
}

static void put_off(struct stored *s, struct want *w)
{
	w->next = s->wanted;
	if (s->wanted == NULL)
		s->wanted_end = &w->next;
	s->wanted = w;
	s->wanted_count++;
}

static void ask_history(struct stored *s)
{
	struct question *q = s->wanted ? calloc(1, sizeof *q) : NULL;
	if (q == NULL)
		return; /* at the end of another turn, if there is no memory */
	q->m = offline_as_of_new(s->base.loop, INT64_MAX);
	CHECK(q->m != NULL);
	s->position = values_position(s->nl->node);
	while (s->wanted) {
		struct want *w = take_wanted(s);
		if (has_come(s, w)) {
			settled(s, w->read, 1);
			free(w);
		} else if (question_add(s, q, w)) {
			w->next = s->asked;
			s->asked = w;
		} else {
			put_off(s, w);
			break;
		}
	}
	s->questions += s->asked != NULL;
	if (s->asked)
		s->question = rt_ask(&s->base, s->nl->node->stores->offline.requests, &q->m->head,
				     loop_mono_ns(s->base.loop) + HISTORY_TIMEOUT_MS * 1000000ull, ACTOR_NONE);
	else
		rt_msg_free(s->base.loop, &q->m->head);
	free(q);
}

/* ---- ASKED ---- */

#define NOT_SAID "the online store does not say, and this process has not written it"

/* Of the ttl that the value was written with and the feature's own, the shorter; 0 = none. */
static int64_t ttl_ms(const struct def_feature *f, const struct offline_value *v)
{
	if (f->ttl_ms == 0 || v->ttl_ms == 0)
		return f->ttl_ms + v->ttl_ms;
	return f->ttl_ms < v->ttl_ms ? f->ttl_ms : v->ttl_ms;
}

struct online_meta stored_meta(const struct def_feature *f, const struct offline_value *v)
{
	int64_t ttl = ttl_ms(f, v);
	return (struct online_meta){ .event_time_us = v->event_time_us,
				     .lsn = v->lsn,
				     /* a computed value is as old as the beginning of its making */
				     .written_us = v->source == ENTRY_COMPUTED ? v->event_time_us : v->written_us,
				     .expires_us = ttl ? v->event_time_us + ttl * 1000 : 0,
				     .flags = values_flags((enum entry_value_source)v->source),
				     .event_time_ns = v->event_time_ns };
}

static void take_trace(struct online_trace *t, const struct offline_cell *from, bool is_live, bool is_expired)
{
	const struct offline_value *v = &from->value;
	t->is_known = true;
	t->is_live = is_live;
	t->is_expired = is_expired;
	t->may_be_lost = false;
	if (v->event_time_us > t->event_time_us)
		t->event_time_us = v->event_time_us;
	if (v->lsn > t->lsn)
		t->lsn = v->lsn;
	if (!from->is_of_row && v->event_time_us >= t->cell_time_us) {
		t->cell_time_us = v->event_time_us;
		t->cell_time_ns = v->event_time_ns;
	}
}

static void put_by_message(struct stored *s, const struct stored_row *row, const struct online_change *change)
{
	struct online_batch *m = online_batch_new(s->base.loop, ONLINE_PUT);
	if (m == NULL)
		return;
	if (!online_batch_put(m, row->entity, row->id, change, 1)) {
		rt_msg_free(s->base.loop, &m->head);
		return;
	}
	/* Nobody waits for it: what is not put is found in the history again. */
	rt_ask(&s->base, s->nl->node->stores->online.per_loop[loop_id(s->base.loop) - 1], &m->head,
	       loop_mono_ns(s->base.loop) + ONLINE_TIMEOUT_MS * 1000000ull, ACTOR_NONE);
}

/* Puts the value that was found back. What has come into the table meanwhile and is newer stands in its place. */
static void put_back(struct stored *s, const struct stored_row *row, struct stored_cell *c, uint64_t forgotten)
{
	const struct online_fast *online = s->nl->node->stores->online.fast;
	int64_t now_us = loop_wall_us(s->base.loop);
	struct online_change change = { .feature = c->feature,
					.value = c->cell.value,
					.meta = c->cell.meta,
					.is_restored = true,
					.forgotten = forgotten };
	if (online == NULL) {
		put_by_message(s, row, &change);
		return;
	}
	change.result = ONLINE_FULL;
	if (online->fits(online->table, change.value))
		online->change_row(online->table, row->entity, row->id, &change, 1, now_us);
	if (change.result == ONLINE_APPLIED)
		return;
	struct online_cell now;
	struct online_trace trace;
	online->see(online->table, row->entity, row->id, &c->feature, 1, now_us, &now, &trace);
	bool is_newer = trace.is_known &&
			(trace.event_time_us > c->cell.meta.event_time_us || trace.lsn > c->cell.meta.lsn);
	if (!is_newer || (now.value == NULL && trace.is_live)) { /* the latter: no memory to read it */
		value_unref(now.value);
		return;
	}
	value_unref(c->cell.value);
	c->cell = now;
	c->trace = trace;
	c->state = now.value ? STORED_FOUND : trace.is_expired ? STORED_EXPIRED : STORED_ABSENT;
}

static void take_value(struct stored *s, struct want *w, const struct offline_cell *from)
{
	struct stored_cell *c = w->cell;
	uint64_t forgotten = c->trace.forgotten;
	struct online_meta meta = stored_meta(feature_of(s, c), &from->value);
	bool is_expired = meta.expires_us && meta.expires_us <= loop_wall_us(s->base.loop);
	take_trace(&c->trace, from, !is_expired, is_expired);
	if (is_expired && c->is_second_hand) {
		fail(w->read, c, FEATURE_FAILED, STR(NOT_SAID));
		return;
	}
	if (is_expired) {
		c->state = STORED_EXPIRED;
		remember_absence(s, w->row, c);
		return;
	}
	c->cell = (struct online_cell){ .value = value_create(from->value.value_json), .meta = meta };
	if (c->cell.value == NULL) {
		fail(w->read, c, FEATURE_FAILED, STR("out of memory"));
		return;
	}
	c->state = STORED_FOUND;
	put_back(s, w->row, c, forgotten);
}

static void take_answer(struct stored *s, struct want *w, const struct offline_cell *from)
{
	struct stored_cell *c = w->cell;
	/* What the store knows may be another process's delete, which a history of this one's own does not have. */
	bool is_hidden = c->trace.is_known && from->value.event_time_us < c->trace.event_time_us;
	bool is_value = from->found == OFFLINE_VALUE && !is_hidden;
	if (is_value && !is_outdated(s, c->feature, from->value.event_time_us)) {
		take_value(s, w, from);
		return;
	}
	if (c->is_second_hand) {
		fail(w->read, c, FEATURE_FAILED, STR(NOT_SAID));
		return;
	}
	c->state = STORED_ABSENT;
	if (from->found != OFFLINE_NOTHING && !is_hidden)
		take_trace(&c->trace, from, false, false);
	c->trace.may_be_lost = false;
	remember_absence(s, w->row, c);
}

static void fail_asked(struct stored *s, const struct msg *m)
{
	struct str reason = feature_failure_text(m);
	if (m->kind == OFFLINE_CELLS && ((const struct offline_as_of *)m)->what &&
	    ((const struct offline_as_of *)m)->what->error.n)
		reason = ((const struct offline_as_of *)m)->what->error;
	if (!s->is_failing)
		log_line(LOG_ERROR, "stored",
			 "values that are not online cannot be looked for in the history; reads of them fail",
			 LOG_STR("reason", reason));
	s->is_failing = true;
	for (struct want *w = s->asked, *next; w; w = next) {
		next = w->next;
		fail(w->read, w->cell, feature_failure_of(m), reason);
		metrics_add(s->nl->node->metrics.history_failed, 1);
		settled(s, w->read, 1);
		free(w);
	}
	s->asked = NULL;
}

static void on_history(struct stored *s, const struct msg *m)
{
	struct want *asked = s->asked;
	s->question = 0;
	if (m->kind == OFFLINE_CELLS && m->status == RT_ETOOBIG && s->cells_max > 1) {
		s->cells_max = (s->cells_max + 1) / 2;
		s->asked = NULL;
		for (struct want *next; asked; asked = next) {
			next = asked->next;
			put_off(s, asked);
		}
		return;
	}
	if (m->kind != OFFLINE_CELLS || m->status != RT_OK) {
		fail_asked(s, m);
		return;
	}
	const struct offline_cells *cells = ((const struct offline_as_of *)m)->what;
	if (s->is_failing)
		log_line(LOG_INFO, "stored", "the history answers again");
	s->is_failing = false;
	s->asked = NULL;
	s->cells_max = s->cells_max * 2 < OFFLINE_CELLS_MAX ? s->cells_max * 2 : OFFLINE_CELLS_MAX;
	for (struct want *next; asked; asked = next) {
		next = asked->next;
		take_answer(s, asked, &cells->cells[asked->at]);
		metrics_add(asked->cell->state == STORED_FOUND ? s->nl->node->metrics.history_found
							       : s->nl->node->metrics.history_absent,
			    1);
		settled(s, asked->read, 1);
		free(asked);
	}
}

/* ---- the actor ---- */

static void stored_on_turn_end(struct actor *a)
{
	struct stored *s = (struct stored *)a;
	send_looks(s);
	if (s->question == 0)
		ask_history(s);
}

static void stored_on_message(struct actor *a, struct msg *m)
{
	struct stored *s = (struct stored *)a;
	struct look *l;
	switch (m->kind) {
	case STORED_READ:
		on_read(s, m);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		break;
	}
	if (m->op && m->op == s->question)
		on_history(s, m);
	else if (m->op && (l = take_look(s, m->op)))
		on_looked(s, l, m);
}

static int stored_init(struct actor *a, void *arg)
{
	struct stored *s = (struct stored *)a;
	s->nl = arg;
	s->queued_end = &s->queued;
	s->wanted_end = &s->wanted;
	s->cells_max = OFFLINE_CELLS_MAX;
	return 0;
}

static void free_wants(struct want *w)
{
	for (struct want *next; w; w = next) {
		next = w->next;
		free(w);
	}
}

/* Whoever still waits gets RT_DOWN from the runtime. */
static void stored_finish(struct actor *a)
{
	struct stored *s = (struct stored *)a;
	free_wants(s->wanted);
	free_wants(s->asked);
	for (struct look *l = s->looks, *next; l; l = next) {
		next = l->next;
		free(l);
	}
	while (s->reads) {
		rt_msg_free(a->loop, s->reads->request);
		read_free(s, s->reads);
	}
}

const struct actor_class stored_class = {
	.name = "stored",
	.size = sizeof(struct stored),
	.mailbox_len_max = 8192,
	.init = stored_init,
	.on_message = stored_on_message,
	.on_turn_end = stored_on_turn_end,
	.finish = stored_finish,
};

/* ---- messages ---- */

MSG_SIZE_CHECK(stored_read);

static void read_dispose(struct msg *m)
{
	struct stored_rows *rows = ((struct stored_read *)m)->what;
	for (uint32_t i = 0; rows && i < rows->count; i++)
		for (uint32_t k = 0; k < rows->rows[i].count; k++)
			value_unref(rows->rows[i].cells[k].cell.value);
	if (rows)
		arena_finish(&rows->arena);
	free(rows);
}

static struct stored_read *rows_new(struct loop *loop, uint16_t kind, struct stored_rows *rows)
{
	struct stored_read *m = rt_msg_new(loop, kind);
	m->head.dispose = read_dispose;
	m->what = rows;
	return m;
}

struct stored_read *stored_read_new(struct loop *loop)
{
	struct stored_rows *rows = calloc(1, sizeof *rows);
	return rows ? rows_new(loop, STORED_READ, rows) : NULL;
}

struct stored_row *stored_read_add(struct stored_read *m, uint32_t entity, struct str id, const uint32_t *features,
				   uint32_t n)
{
	struct stored_rows *all = m->what;
	if (n == 0 || n > ONLINE_TOGETHER_MAX || all->cells_count + n > STORED_CELLS_MAX)
		return NULL;
	struct stored_row *rows = arena_array_grow(&all->arena, all->rows, all->count, &all->cap, STORED_ROWS_MAX,
						   sizeof *rows);
	if (rows == NULL)
		return NULL;
	all->rows = rows;
	struct stored_row *row = &rows[all->count];
	*row = (struct stored_row){ .entity = entity,
				    .count = n,
				    .id = arena_dup(&all->arena, id),
				    .cells = arena_zalloc(&all->arena, (n + 1ul) * sizeof *row->cells) };
	if (row->id.p == NULL || row->cells == NULL)
		return NULL;
	for (uint32_t i = 0; i < n; i++)
		row->cells[i].feature = features[i];
	all->count++;
	all->cells_count += n;
	return row;
}
