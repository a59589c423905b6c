/* values.c -- entries of values and deletes, and what becomes of them.
 *
 * An entry goes through: made on its asker's loop --append--> ADMITTED by the committer (it gets a position; what it must not
 * cover is looked for) --durable--> published; refused --> nothing.
 *
 * Into a table in this process's memory the committer publishes. To a store elsewhere the publisher does, some time after the
 * answer of the append: until then a reader may or may not find what the entry wrote. So an entry gets a second position when
 * its publishing has ended, and a write counts as behind a reader's position from its admission until that one is reached.
 * Then there may be several committers and publishers: the marks are under a lock.
 *
 * Positions count admitted entries, not LSNs: those are given out later, and again after a failed batch. For each slot of a
 * hash of cells and rows the newest position is kept. Two cells that share a slot only cost the one a second look, and for
 * an event not even that: a slot knows what its newest write was of. */
#include "actors/values.h"
#include "runtime/hash.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SLOTS = 16384 };

struct mark {
	_Atomic uint64_t position; /* of the newest write */
	/* The committer's; with a store elsewhere, under the lock: */
	uint64_t hash;      /* of what that write was of */
	uint64_t others;    /* position of the newest write of anything else */
	int64_t time_us;    /* the latest event time of those that are not settled yet; elsewhere: of this hash */
	uint32_t under_way; /* store elsewhere: writes in this place that are admitted and not settled */
};

struct values {
	uint64_t admitted;                     /* the committer's */
	_Alignas(64) _Atomic uint64_t settled; /* entries up to here are published, or refused */
	_Alignas(64) struct mark cells[SLOTS];
	struct mark deletes[SLOTS];
	_Atomic uint64_t writes[SLOTS], removals[SLOTS]; /* rows: positions of any write, and of deletes */
	/* With a store elsewhere: */
	pthread_mutex_t lock;           /* of the marks */
	_Atomic uint64_t ticks;         /* the last position that was given out */
	_Atomic uint32_t behind[SLOTS]; /* rows: what the publishers keep of them, because the store does not have it */
	_Atomic uint64_t behind_count;  /* of all */
	_Atomic uint64_t repairs_due, repairs_done; /* how often a repair was asked for; up to which that is done */
};

struct cell {
	uint32_t feature, id_n;
	const char *id; /* in the same block */
	struct value *value;
	int64_t event_time_us;
	uint64_t seen;
	uint16_t event_time_ns;
	bool is_left_out, is_overtaken;
	enum online_result result;
};

/* What an entry publishes. */
struct publication {
	struct evidence_hook hook; /* first */
	const struct node *node;
	struct values_write write;   /* without cells */
	uint64_t place;              /* its own position, once admitted */
	bool is_delete;              /* of the row of its one cell */
	bool is_durable, is_settled; /* with a store elsewhere */
	size_t count;
	struct cell cells[]; /* the ids follow */
};

struct values *values_create(void)
{
	struct values *v = aligned_alloc(64, sizeof *v);
	if (v == NULL)
		return NULL;
	memset(v, 0, sizeof *v);
	if (pthread_mutex_init(&v->lock, NULL) == 0)
		return v;
	free(v);
	return NULL;
}

void values_destroy(struct values *v)
{
	if (v)
		pthread_mutex_destroy(&v->lock);
	free(v);
}

bool values_are_elsewhere(const struct node *n)
{
	return n->stores->online.fast == NULL;
}

/* ---- positions ---- */

static uint64_t row_hash(uint32_t entity, struct str id)
{
	return online_key(entity, id).hash;
}

static size_t row_slot(uint32_t entity, struct str id)
{
	return row_hash(entity, id) % SLOTS;
}

static uint64_t cell_hash(uint32_t entity, struct str id, uint32_t feature)
{
	return hash_mix(row_hash(entity, id) + feature);
}

static uint64_t position_of(const _Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

/* Acquire: who reads the position sees in the table what was put there before it was raised. */
uint64_t values_position(const struct node *n)
{
	return atomic_load_explicit(values_are_elsewhere(n) ? &n->values->ticks : &n->values->settled,
				    memory_order_acquire);
}

/* Relaxed is enough: a write that was answered before the question came with a message, which orders it. */
bool values_row_was_written(const struct node *n, uint32_t entity, struct str entity_id, uint64_t position)
{
	return position_of(&n->values->writes[row_slot(entity, entity_id)]) > position;
}

bool values_row_was_deleted(const struct node *n, uint32_t entity, struct str entity_id, uint64_t position)
{
	return position_of(&n->values->removals[row_slot(entity, entity_id)]) > position;
}

static void note(const struct node *n, struct mark *m, uint64_t hash, uint64_t position, int64_t time_us)
{
	bool is_elsewhere = values_are_elsewhere(n);
	bool is_pending = is_elsewhere ? m->hash == hash : position_of(&m->position) > position_of(&n->values->settled);
	m->time_us = is_pending && m->time_us > time_us ? m->time_us : time_us;
	if (m->hash != hash)
		m->others = position_of(&m->position);
	m->hash = hash;
	m->under_way += is_elsewhere;
	atomic_store_explicit(&m->position, position, memory_order_relaxed);
}

static void note_row(struct values *v, uint32_t entity, struct str id, uint64_t position, bool is_delete)
{
	size_t slot = row_slot(entity, id);
	atomic_store_explicit(&v->writes[slot], position, memory_order_relaxed);
	if (is_delete)
		atomic_store_explicit(&v->removals[slot], position, memory_order_relaxed);
}

/* ---- the entry ---- */

static struct str id_of(const struct cell *c)
{
	return str_of(c->id, c->id_n);
}

/* false: no memory. */
static bool encode(const struct publication *p, struct buf *body)
{
	const struct definitions *d = p->node->definitions;
	struct entry_value *values = calloc(p->count + 1, sizeof *values);
	size_t count = 0;
	if (values == NULL)
		return false;
	for (const struct cell *c = p->cells; c < p->cells + p->count; c++) {
		const struct def_feature *f = &d->features[c->feature];
		if (!c->is_left_out)
			values[count++] = (struct entry_value){ .entity_id = id_of(c),
								.feature = f->name,
								.value_json = c->value ? value_json(c->value)
										       : (struct str){ 0 },
								.event_time_us = c->event_time_us,
								.event_time_ns = c->event_time_ns,
								.ttl_ms = c->value ? f->ttl_ms : 0,
								.version = f->made_by };
	}
	buf_clear(body);
	entry_values_write(body, &(struct entry_values){ .entity = p->write.entity == DEF_NONE
								       ? STR("")
								       : d->entities[p->write.entity].name,
							 .source = p->write.source,
							 .event_lsn = p->write.event_lsn,
							 .values = values,
							 .count = count });
	free(values);
	return true;
}

static void settle(struct publication *p, bool was_refused);

/* Nobody has published it: its asker did not wait for it, its loop has ended, or the log has let go of it without a word. */
static void destroy(struct evidence_hook *h)
{
	struct publication *p = (struct publication *)h;
	if (p->place && values_are_elsewhere(p->node) && !p->is_settled) {
		values_repair(p->node);
		settle(p, false);
	}
	for (size_t i = 0; i < p->count; i++)
		value_unref(p->cells[i].value);
	free(p);
}

/* time_us, or a moment behind what the table knows of the cell: a write without a time of its own is newer than what is there,
 * also when the clock has been set back since. Of the cell alone: a time that lies ahead is not handed on to the others.
 * Nobody asks a store elsewhere: the marks know what was written here, and the store itself says what is newer. */
static int64_t behind_table(const struct publication *p, const struct cell *c, int64_t time_us)
{
	const struct online_fast *online = p->node->stores->online.fast;
	struct online_trace trace;
	bool is_known = online && online->trace(online->table, p->write.entity, id_of(c), c->feature, time_us, &trace);
	return is_known && trace.event_time_us >= time_us ? trace.event_time_us + 1 : time_us;
}

static bool admit(struct evidence_hook *h, struct evidence_entry *e);
static void ended(struct evidence_hook *h, const struct evidence_entry *e, int status, int64_t now_us);

static struct publication *publication_new(const struct node *n, const struct values_write *w)
{
	size_t bytes = sizeof(struct publication) + w->count * sizeof(struct cell);
	for (size_t i = 0; i < w->count; i++)
		bytes += w->cells[i].entity_id.n;
	struct publication *p = malloc(bytes);
	if (p == NULL)
		return NULL;
	*p = (struct publication){ .hook = { admit, ended, destroy }, .node = n, .write = *w, .count = w->count };
	char *text = (char *)(p->cells + w->count);
	for (size_t i = 0; i < w->count; i++) {
		const struct values_cell *from = &w->cells[i];
		p->cells[i] = (struct cell){ .feature = from->feature,
					     .id = text,
					     .id_n = (uint32_t)from->entity_id.n,
					     .value = from->value ? value_ref(from->value) : NULL,
					     .event_time_us = from->event_time_us,
					     .event_time_ns = from->event_time_ns,
					     .seen = from->seen,
					     .result = values_are_elsewhere(n) ? ONLINE_FAILED : ONLINE_STALE };
		if (from->entity_id.n)
			memcpy(text, from->entity_id.p, from->entity_id.n);
		text += from->entity_id.n;
	}
	p->write.cells = NULL;
	return p;
}

struct evidence_entry *values_entry_new(const struct node *n, const struct values_write *w)
{
	struct values_write write = *w;
	if (w->is_newest)
		write.seen = values_position(n);
	struct publication *p = publication_new(n, &write);
	if (p == NULL)
		return NULL;
	for (struct cell *c = p->cells; w->is_newest && c < p->cells + p->count; c++)
		c->event_time_us = behind_table(p, c, c->event_time_us);
	struct evidence_entry *e = evidence_entry_new(w->source == ENTRY_TRIGGERED ? EVIDENCE_EVENT_APPLIED
										   : EVIDENCE_VALUES);
	e->hook = &p->hook;
	if (encode(p, &e->body))
		return e;
	evidence_entry_free(e);
	return NULL;
}

struct evidence_entry *values_delete_new(const struct node *n, uint32_t entity, struct str entity_id,
					 int64_t event_time_us)
{
	const struct values_cell row = { .entity_id = entity_id, .event_time_us = event_time_us };
	struct publication *p = publication_new(n,
						&(struct values_write){ .entity = entity, .cells = &row, .count = 1 });
	if (p == NULL)
		return NULL;
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_DELETE);
	p->is_delete = true;
	e->hook = &p->hook;
	entry_delete_write(&e->body, &(struct entry_delete){ .entity = n->definitions->entities[entity].name,
							     .entity_id = entity_id,
							     .event_time_us = event_time_us });
	return e;
}

enum online_result values_result(const struct evidence_entry *e, size_t cell)
{
	return ((const struct publication *)e->hook)->cells[cell].result;
}

size_t values_refused(const struct evidence_entry *e)
{
	const struct publication *p = (const struct publication *)e->hook;
	size_t refused = 0;
	for (const struct cell *c = p->cells; c < p->cells + p->count; c++)
		refused += c->result == ONLINE_FULL;
	return refused;
}

int64_t values_event_time_us(const struct evidence_entry *e, size_t cell)
{
	return ((const struct publication *)e->hook)->cells[cell].event_time_us;
}

bool values_was_overtaken(const struct evidence_entry *e, size_t cell)
{
	return ((const struct publication *)e->hook)->cells[cell].is_overtaken;
}

/* ---- ADMITTED: on the committer's thread, in the order of the log ---- */

/* Of what has the hash; of something else only when two others were written in its place of the table since. */
static bool was_written(const struct mark *marks, uint64_t hash, uint64_t position)
{
	const struct mark *m = &marks[hash % SLOTS];
	return (m->hash == hash ? position_of(&m->position) : m->others) > position || m->under_way;
}

/* Of nothing else, for sure. */
static bool was_written_itself(const struct mark *marks, uint64_t hash, uint64_t position)
{
	const struct mark *m = &marks[hash % SLOTS];
	return m->hash == hash && position_of(&m->position) > position;
}

static bool is_overtaken(const struct values *v, struct publication *p)
{
	uint32_t entity = p->write.entity;
	uint64_t seen = p->write.seen;
	bool found = false;
	for (struct cell *c = p->cells; c < p->cells + p->count; c++) {
		uint64_t hash = cell_hash(entity, id_of(c), c->feature), row = row_hash(entity, id_of(c));
		c->is_overtaken = was_written_itself(v->cells, hash, seen) || was_written_itself(v->deletes, row, seen);
		found = found || was_written(v->cells, hash, seen) || was_written(v->deletes, row, seen);
	}
	return found;
}

/* What has got its place since the event time was chosen, and is not older, would win: the marks know the times of what is
 * not settled yet, the table those of the rest. */
static bool move_behind(const struct values *v, struct publication *p)
{
	bool is_moved = false, is_elsewhere = values_are_elsewhere(p->node);
	for (struct cell *c = p->cells; c < p->cells + p->count; c++) {
		int64_t time_us = c->event_time_us;
		uint64_t hash = cell_hash(p->write.entity, id_of(c), c->feature);
		uint64_t row = row_hash(p->write.entity, id_of(c));
		const struct mark *marks[2] = { &v->cells[hash % SLOTS], &v->deletes[row % SLOTS] };
		const uint64_t hashes[2] = { hash, row };
		for (size_t i = 0; i < 2; i++) {
			if (is_elsewhere ? marks[i]->hash != hashes[i]
					 : position_of(&marks[i]->position) <= p->write.seen)
				continue;
			if (marks[i]->time_us >= time_us)
				time_us = marks[i]->time_us + 1;
			time_us = behind_table(p, c, time_us);
		}
		is_moved = is_moved || time_us != c->event_time_us;
		c->event_time_us = time_us;
	}
	return is_moved;
}

/* A delete that is not settled was perhaps not in the store when the value was begun. */
static bool leave_out_deleted(struct publication *p)
{
	bool found = false;
	for (struct cell *c = p->cells; c < p->cells + p->count; c++) {
		c->is_left_out = values_row_was_deleted(p->node, p->write.entity, id_of(c), c->seen) ||
				 p->node->values->deletes[row_slot(p->write.entity, id_of(c))].under_way;
		found = found || c->is_left_out;
	}
	return found;
}

static void note_cells(struct values *v, const struct publication *p)
{
	for (const struct cell *c = p->cells; c < p->cells + p->count; c++) {
		uint64_t hash = cell_hash(p->write.entity, id_of(c), c->feature);
		note(p->node, &v->cells[hash % SLOTS], hash, p->place, c->event_time_us);
		note_row(v, p->write.entity, id_of(c), p->place, false);
	}
}

static void note_delete(struct values *v, const struct publication *p)
{
	uint64_t hash = row_hash(p->write.entity, id_of(p->cells));
	note(p->node, &v->deletes[hash % SLOTS], hash, p->place, p->cells[0].event_time_us);
	note_row(v, p->write.entity, id_of(p->cells), p->place, true);
}

static uint64_t next_tick(struct values *v)
{
	return atomic_fetch_add_explicit(&v->ticks, 1, memory_order_acq_rel) + 1;
}

static bool take_place(struct publication *p, struct evidence_entry *e)
{
	struct values *v = p->node->values;
	bool is_changed = false;
	if (p->write.source == ENTRY_TRIGGERED && is_overtaken(v, p))
		return false;
	p->place = values_are_elsewhere(p->node) ? next_tick(v) : ++v->admitted;
	if (p->is_delete) {
		note_delete(v, p);
		return true;
	}
	switch (p->write.source) {
	case ENTRY_PUSHED:
		is_changed = p->write.is_newest && move_behind(v, p);
		note_cells(v, p);
		break;
	case ENTRY_TRIGGERED:
		note_cells(v, p);
		break;
	case ENTRY_COMPUTED:
		is_changed = leave_out_deleted(p);
		break;
	case ENTRY_MATERIALIZED:
		break;
	}
	if (is_changed && !encode(p, &e->body))
		e->body.failed = true; /* the ledger refuses it */
	return true;
}

static bool admit(struct evidence_hook *h, struct evidence_entry *e)
{
	struct publication *p = (struct publication *)h;
	if (!values_are_elsewhere(p->node))
		return take_place(p, e);
	pthread_mutex_lock(&p->node->values->lock);
	bool is_admitted = take_place(p, e);
	pthread_mutex_unlock(&p->node->values->lock);
	return is_admitted;
}

/* ---- published ---- */

uint32_t values_flags(enum entry_value_source source)
{
	switch (source) {
	case ENTRY_COMPUTED:
		return ONLINE_COMPUTED;
	case ENTRY_PUSHED:
		return ONLINE_PUSHED;
	case ENTRY_MATERIALIZED:
		return ONLINE_MATERIALIZED;
	case ENTRY_TRIGGERED:
		return ONLINE_EVENT;
	}
	return 0;
}

static struct online_change change_of(const struct node *n, const struct values_cell *c, enum entry_value_source source,
				      uint64_t lsn, int64_t written_us)
{
	int64_t ttl_us = n->definitions->features[c->feature].ttl_ms * 1000;
	return (struct online_change){ .feature = c->feature,
				       .value = c->value,
				       .meta = { .event_time_us = c->event_time_us,
						 .event_time_ns = c->event_time_ns,
						 .lsn = lsn,
						 .written_us = written_us,
						 .expires_us = ttl_us ? c->event_time_us + ttl_us : 0,
						 .flags = values_flags(source) } };
}

/* A computed value is as old as the beginning of its making, also for the next refresh. */
static int64_t written_us(const struct publication *p, const struct cell *c, int64_t now_us)
{
	return p->write.source == ENTRY_COMPUTED ? c->event_time_us : now_us;
}

static bool is_stored(const struct publication *p, const struct cell *c)
{
	return !c->is_left_out && !def_feature_is_computed_at_each_read(&p->node->definitions->features[c->feature]);
}

/* Of the cells from c on those of one row, up to a bound. Returns the one behind them. */
static struct cell *publish_row(struct publication *p, struct cell *c, uint64_t lsn, int64_t now_us)
{
	const struct online_fast *online = p->node->stores->online.fast;
	struct online_change changes[ONLINE_TOGETHER_MAX];
	struct cell *end = p->cells + p->count, *at[ONLINE_TOGETHER_MAX];
	struct str id = id_of(c);
	size_t count = 0;
	for (; c < end && count < ONLINE_TOGETHER_MAX && str_eq(id_of(c), id); c++) {
		if (!is_stored(p, c))
			continue;
		at[count] = c;
		changes[count++] = change_of(p->node,
					     &(struct values_cell){ .feature = c->feature,
								    .value = c->value,
								    .event_time_us = c->event_time_us,
								    .event_time_ns = c->event_time_ns },
					     p->write.source, lsn, written_us(p, c, now_us));
	}
	online->change_row(online->table, p->write.entity, id, changes, count, now_us);
	for (size_t i = 0; i < count; i++)
		at[i]->result = changes[i].result;
	return c;
}

static void ended(struct evidence_hook *h, const struct evidence_entry *e, int status, int64_t now_us)
{
	struct publication *p = (struct publication *)h;
	const struct online_fast *online = p->node->stores->online.fast;
	struct cell *c = p->cells, *end = c + p->count;
	if (online == NULL) {
		p->is_durable = status == RT_OK;
		if (!p->is_durable)
			settle(p, true);
		return;
	}
	if (status == RT_OK && p->is_delete)
		c->result = online->delete_row(online->table, p->write.entity, id_of(c), c->event_time_us, e->lsn,
					       now_us);
	while (status == RT_OK && !p->is_delete && c < end)
		c = publish_row(p, c, e->lsn, now_us);
	atomic_store_explicit(&p->node->values->settled, p->place, memory_order_release);
}

enum online_result values_publish(const struct node *n, uint32_t entity, const struct values_cell *cell,
				  enum entry_value_source source, uint64_t lsn, int64_t written_us)
{
	if (values_are_elsewhere(n))
		return ONLINE_FAILED;
	struct online_change change = change_of(n, cell, source, lsn, written_us);
	n->stores->online.fast->change_row(n->stores->online.fast->table, entity, cell->entity_id, &change, 1,
					   written_us);
	return change.result;
}

/* ---- published elsewhere ---- */

static void settle_mark(struct mark *m, uint64_t hash, uint64_t tick)
{
	m->under_way--;
	if (tick && m->hash == hash)
		atomic_store_explicit(&m->position, tick, memory_order_relaxed);
	else if (tick)
		m->others = tick;
}

/* From here on a reader finds what it wrote, or is told that the store is behind (values_is_behind). */
static void settle(struct publication *p, bool was_refused)
{
	struct values *v = p->node->values;
	bool is_noted = p->is_delete || p->write.source == ENTRY_PUSHED || p->write.source == ENTRY_TRIGGERED;
	p->is_settled = true;
	if (!is_noted)
		return;
	pthread_mutex_lock(&v->lock);
	uint64_t tick = was_refused ? 0 : next_tick(v);
	for (const struct cell *c = p->cells; c < p->cells + p->count; c++) {
		uint64_t row = row_hash(p->write.entity, id_of(c));
		uint64_t cell = cell_hash(p->write.entity, id_of(c), c->feature);
		struct mark *m = p->is_delete ? &v->deletes[row % SLOTS] : &v->cells[cell % SLOTS];
		settle_mark(m, p->is_delete ? row : cell, tick);
		if (tick)
			note_row(v, p->write.entity, id_of(c), tick, p->is_delete);
	}
	pthread_mutex_unlock(&v->lock);
}

bool values_are_unpublished(const struct evidence_entry *e)
{
	const struct publication *p = (const struct publication *)e->hook;
	return p && values_are_elsewhere(p->node) && p->is_durable && !p->is_settled;
}

bool values_row_at(const struct evidence_entry *e, size_t at, int64_t now_us, struct values_row *ret)
{
	const struct publication *p = (const struct publication *)e->hook;
	if (at == p->count)
		return false;
	const struct cell *c = p->cells + at, *end = p->cells + p->count;
	*ret = (struct values_row){ .entity = p->write.entity, .id = id_of(c), .is_delete = p->is_delete };
	if (p->is_delete) {
		ret->when = (struct online_meta){ .event_time_us = c->event_time_us, .lsn = e->lsn };
		ret->next = p->count;
		return true;
	}
	for (; c < end && ret->count < ONLINE_TOGETHER_MAX && str_eq(id_of(c), ret->id); c++) {
		if (!is_stored(p, c))
			continue;
		ret->cells[ret->count] = (size_t)(c - p->cells);
		ret->changes[ret->count++] = change_of(p->node,
						       &(struct values_cell){ .feature = c->feature,
									      .value = c->value,
									      .event_time_us = c->event_time_us,
									      .event_time_ns = c->event_time_ns },
						       p->write.source, e->lsn, written_us(p, c, now_us));
	}
	ret->next = (size_t)(c - p->cells);
	return true;
}

bool values_has_change(const struct online_change *changes, uint32_t count, uint32_t feature)
{
	uint32_t i = 0;
	while (i < count && changes[i].feature != feature)
		i++;
	return i < count;
}

void values_note_result(struct evidence_entry *e, size_t cell, enum online_result result)
{
	((struct publication *)e->hook)->cells[cell].result = result;
}

void values_published(struct evidence_entry *e)
{
	struct publication *p = (struct publication *)e->hook;
	for (struct cell *c = p->cells; !p->is_delete && c < p->cells + p->count; c++)
		if (!is_stored(p, c))
			c->result = ONLINE_STALE;
	settle(p, false);
}

size_t values_failed(const struct evidence_entry *e)
{
	const struct publication *p = (const struct publication *)e->hook;
	size_t failed = 0;
	for (const struct cell *c = p->cells; c < p->cells + p->count; c++)
		failed += c->result == ONLINE_FAILED;
	return failed;
}

/* ---- what a store elsewhere lacks ---- */

uint64_t values_fall_behind(const struct node *n, uint32_t entity, struct str entity_id)
{
	struct values *v = n->values;
	atomic_fetch_add(&v->behind[row_slot(entity, entity_id)], 1);
	return atomic_fetch_add(&v->behind_count, 1) + 1;
}

uint64_t values_catch_up(const struct node *n, uint32_t entity, struct str entity_id, bool is_published)
{
	struct values *v = n->values;
	if (is_published) {
		pthread_mutex_lock(&v->lock);
		note_row(v, entity, entity_id, next_tick(v), true);
		pthread_mutex_unlock(&v->lock);
	}
	atomic_fetch_sub(&v->behind[row_slot(entity, entity_id)], 1);
	return atomic_fetch_sub(&v->behind_count, 1) - 1;
}

bool values_is_behind(const struct node *n, uint32_t entity, struct str entity_id)
{
	const struct values *v = n->values;
	return atomic_load(&v->behind[row_slot(entity, entity_id)]) > 0 || values_repair_due(n) != 0;
}

void values_repair(const struct node *n)
{
	if (values_are_elsewhere(n))
		atomic_fetch_add(&n->values->repairs_due, 1);
}

uint64_t values_repair_due(const struct node *n)
{
	uint64_t due = atomic_load(&n->values->repairs_due);
	return due > atomic_load(&n->values->repairs_done) ? due : 0;
}

void values_repaired(const struct node *n, uint64_t due)
{
	atomic_store(&n->values->repairs_done, due);
}
