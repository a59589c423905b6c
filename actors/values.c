/* values.c -- entries of values and deletes, and what becomes of them.
 *
 * An entry goes through: made on its asker's loop --append--> ADMITTED by the committer (it gets a position; what it must not
 * cover is looked for) --durable--> published; refused --> nothing.
 *
 * Positions count admitted entries, not LSNs: those are given out later, and again after a failed batch. For each slot of a
 * hash of cells and rows the newest position is kept. Two cells that share a slot only cost the one a second look, and for
 * an event not even that: a slot knows what its newest write was of. */
#include "actors/values.h"
#include "runtime/hash.h"
#include <stdatomic.h>
#include <stdlib.h>

enum { SLOTS = 16384 };

struct mark {
	_Atomic uint64_t position; /* of the newest write */
	/* The committer's: */
	uint64_t hash;   /* of what that write was of */
	uint64_t others; /* position of the newest write of anything else */
	int64_t time_us; /* the latest event time of those that are not settled yet */
};

struct values {
	uint64_t admitted;                     /* the committer's */
	_Alignas(64) _Atomic uint64_t settled; /* entries up to here are published, or refused */
	_Alignas(64) struct mark cells[SLOTS];
	struct mark deletes[SLOTS];
	_Atomic uint64_t writes[SLOTS]; /* rows: deletes too */
};

struct cell {
	uint32_t feature, id_n;
	const char *id; /* in the same block */
	struct value *value;
	int64_t event_time_us;
	uint64_t seen;
	uint16_t event_time_ns;
	bool is_left_out;
	enum online_result result;
};

/* What an entry publishes. */
struct publication {
	struct evidence_hook hook; /* first */
	const struct node *node;
	struct values_write write; /* without cells */
	uint64_t place;            /* its own position, once admitted */
	bool is_delete;            /* of the row of its one cell */
	size_t count;
	struct cell cells[]; /* the ids follow */
};

struct values *values_create(void)
{
	struct values *v = aligned_alloc(64, sizeof *v);
	if (v)
		memset(v, 0, sizeof *v);
	return v;
}

void values_destroy(struct values *v)
{
	free(v);
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
	return atomic_load_explicit(&n->values->settled, memory_order_acquire);
}

/* Relaxed is enough: a write that was answered before the question came with a message, which orders it. */
bool values_row_was_written(const struct node *n, uint32_t entity, struct str entity_id, uint64_t position)
{
	return position_of(&n->values->writes[row_slot(entity, entity_id)]) > position;
}

bool values_row_was_deleted(const struct node *n, uint32_t entity, struct str entity_id, uint64_t position)
{
	return position_of(&n->values->deletes[row_slot(entity, entity_id)].position) > position;
}

static void note(struct values *v, struct mark *m, uint64_t hash, uint64_t position, int64_t time_us)
{
	bool is_pending = position_of(&m->position) > position_of(&v->settled);
	m->time_us = is_pending && m->time_us > time_us ? m->time_us : time_us;
	if (m->hash != hash)
		m->others = position_of(&m->position);
	m->hash = hash;
	atomic_store_explicit(&m->position, position, memory_order_relaxed);
}

static void note_row(struct values *v, uint32_t entity, struct str id, uint64_t position)
{
	atomic_store_explicit(&v->writes[row_slot(entity, id)], position, memory_order_relaxed);
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

static void destroy(struct evidence_hook *h)
{
	struct publication *p = (struct publication *)h;
	for (size_t i = 0; i < p->count; i++)
		value_unref(p->cells[i].value);
	free(p);
}

/* time_us, or a moment behind what the table knows of the cell: a write without a time of its own is newer than what is there,
 * also when the clock has been set back since. Of the cell alone: a time that lies ahead is not handed on to the others. */
static int64_t behind_table(const struct publication *p, const struct cell *c, int64_t time_us)
{
	const struct online_fast *online = p->node->stores->online.fast;
	struct online_trace trace;
	bool is_known = online->trace(online->table, p->write.entity, id_of(c), c->feature, time_us, &trace);
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
					     .result = ONLINE_STALE };
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

/* ---- ADMITTED: on the committer's thread, in the order of the log ---- */

/* Of what has the hash; of something else only when two others were written in its place of the table since. */
static bool was_written(const struct mark *marks, uint64_t hash, uint64_t position)
{
	const struct mark *m = &marks[hash % SLOTS];
	return (m->hash == hash ? position_of(&m->position) : m->others) > position;
}

static bool is_overtaken(const struct values *v, const struct publication *p)
{
	uint32_t entity = p->write.entity;
	bool found = false;
	for (const struct cell *c = p->cells; !found && c < p->cells + p->count; c++)
		found = was_written(v->cells, cell_hash(entity, id_of(c), c->feature), p->write.seen) ||
			was_written(v->deletes, row_hash(entity, id_of(c)), p->write.seen);
	return found;
}

/* What has got its place since the event time was chosen, and is not older, would win: the marks know the times of what is
 * not settled yet, the table those of the rest. */
static bool move_behind(const struct values *v, struct publication *p)
{
	bool is_moved = false;
	for (struct cell *c = p->cells; c < p->cells + p->count; c++) {
		int64_t time_us = c->event_time_us;
		const struct mark *marks[2] = { &v->cells[cell_hash(p->write.entity, id_of(c), c->feature) % SLOTS],
						&v->deletes[row_slot(p->write.entity, id_of(c))] };
		for (size_t i = 0; i < 2; i++) {
			if (position_of(&marks[i]->position) <= p->write.seen)
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

static bool leave_out_deleted(struct publication *p)
{
	bool found = false;
	for (struct cell *c = p->cells; c < p->cells + p->count; c++) {
		c->is_left_out = values_row_was_deleted(p->node, p->write.entity, id_of(c), c->seen);
		found = found || c->is_left_out;
	}
	return found;
}

static void note_cells(struct values *v, const struct publication *p)
{
	for (const struct cell *c = p->cells; c < p->cells + p->count; c++) {
		uint64_t hash = cell_hash(p->write.entity, id_of(c), c->feature);
		note(v, &v->cells[hash % SLOTS], hash, p->place, c->event_time_us);
		note_row(v, p->write.entity, id_of(c), p->place);
	}
}

static void note_delete(struct values *v, const struct publication *p)
{
	uint64_t hash = row_hash(p->write.entity, id_of(p->cells));
	note(v, &v->deletes[hash % SLOTS], hash, p->place, p->cells[0].event_time_us);
	note_row(v, p->write.entity, id_of(p->cells), p->place);
}

static bool admit(struct evidence_hook *h, struct evidence_entry *e)
{
	struct publication *p = (struct publication *)h;
	struct values *v = p->node->values;
	bool is_changed = false;
	if (p->write.source == ENTRY_TRIGGERED && is_overtaken(v, p))
		return false;
	p->place = ++v->admitted;
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
	struct online_change change = change_of(n, cell, source, lsn, written_us);
	n->stores->online.fast->change_row(n->stores->online.fast->table, entity, cell->entity_id, &change, 1,
					   written_us);
	return change.result;
}
