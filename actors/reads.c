#include "actors/reads.h"
#include "actors/stored.h"
#include "actors/node.h"
#include "actors/values.h"
#include "runtime/hash.h"
#include "store/offline/offline.h"
#include <stdlib.h>

enum { SLOTS = 2 * READS_FEATURES_MAX };
_Static_assert(READS_FEATURES_MAX < UINT16_MAX, "positions are kept in 16 bits");

static void destroy(struct value_basis *b)
{
	struct reads *r = (struct reads *)b;
	for (uint32_t i = 0; i < r->calls_count; i++)
		retrieved_unref(r->calls[i].retrieved);
	arena_finish(&r->arena);
	free(r);
}

struct reads *reads_new(void)
{
	struct reads *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->basis.destroy = destroy;
	atomic_init(&r->basis.refs, 1);
	return r;
}

struct reads *reads_ref(struct reads *r)
{
	if (r)
		value_basis_ref(&r->basis);
	return r;
}

void reads_unref(struct reads *r)
{
	if (r)
		value_basis_unref(&r->basis);
}

/* ---- adding ---- */

static bool add(struct reads *r, const struct read_feature *f)
{
	struct read_feature *features = arena_array_grow(&r->arena, r->features, r->features_count, &r->features_cap,
							 READS_FEATURES_MAX, sizeof *features);
	if (features == NULL)
		return false;
	r->features = features;
	struct read_feature *added = &features[r->features_count];
	*added = *f;
	added->entity_id = arena_dup(&r->arena, f->entity_id);
	if (f->value_json.p)
		added->value_json = arena_dup(&r->arena, f->value_json);
	if (f->reason.p)
		added->reason = arena_dup(&r->arena, f->reason);
	if (added->entity_id.p == NULL || (f->value_json.p && added->value_json.p == NULL))
		return false;
	r->features_count++;
	return true;
}

static bool is_same(const struct read_feature *x, const struct read_feature *y)
{
	return x->feature == y->feature && x->state == y->state && x->failure == y->failure &&
	       x->as_of_us == y->as_of_us && x->is_settled == y->is_settled && str_eq(x->entity_id, y->entity_id) &&
	       str_eq(x->value_json, y->value_json);
}

/* Adds what another value was made from, unless it is there: several values may have been made from the same. */
static bool add_once(struct reads *r, const struct read_feature *f)
{
	if (r->seen == NULL && (r->seen = arena_zalloc(&r->arena, SLOTS * sizeof *r->seen)) == NULL)
		return false;
	uint64_t slot = hash_mix(hash64(f->entity_id) + f->feature) % SLOTS;
	for (; r->seen[slot]; slot = (slot + 1) % SLOTS)
		if (is_same(&r->features[r->seen[slot] - 1], f))
			return true;
	if (!add(r, f))
		return false;
	r->seen[slot] = (uint16_t)r->features_count;
	return true;
}

static bool add_call(struct reads *r, struct read_call call)
{
	struct read_call *calls = arena_array_grow(&r->arena, r->calls, r->calls_count, &r->calls_cap, READS_CALLS_MAX,
						   sizeof *calls);
	if (calls == NULL)
		return false;
	r->calls = calls;
	retrieved_ref(call.retrieved);
	r->calls[r->calls_count++] = call;
	return true;
}

static bool add_failure(struct reads *r, struct read_failure failure)
{
	struct read_failure *failures = arena_array_grow(&r->arena, r->failures, r->failures_count, &r->failures_cap,
							 READS_CALLS_MAX, sizeof *failures);
	if (failures == NULL)
		return false;
	r->failures = failures;
	if (failure.reason.p)
		failure.reason = arena_dup(&r->arena, failure.reason);
	r->failures[r->failures_count++] = failure;
	return true;
}

/* A settled one does not stand for one that is not: the chunks of that are the reader's own, and are counted. */
static bool has_call(const struct reads *r, const struct read_call *call)
{
	for (uint32_t i = 0; i < r->calls_count; i++)
		if (r->calls[i].retrieved == call->retrieved && (call->is_settled || !r->calls[i].is_settled))
			return true;
	return false;
}

static bool has_failure(const struct reads *r, const struct read_failure *f)
{
	for (uint32_t i = 0; i < r->failures_count; i++)
		if (r->failures[i].retriever == f->retriever && r->failures[i].is_settled == f->is_settled)
			return true;
	return false;
}

/* Adds what is in `from` and not yet in r. */
static bool merge(struct reads *r, const struct reads *from, bool is_settled)
{
	bool ok = true;
	for (uint32_t i = 0; ok && from && i < from->features_count; i++) {
		struct read_feature f = from->features[i];
		f.is_settled |= is_settled;
		ok = add_once(r, &f);
	}
	for (uint32_t i = 0; ok && from && i < from->calls_count; i++) {
		struct read_call c = from->calls[i];
		c.is_settled |= is_settled;
		ok = has_call(r, &c) || add_call(r, c);
	}
	for (uint32_t i = 0; ok && from && i < from->failures_count; i++) {
		struct read_failure f = from->failures[i];
		f.is_settled |= is_settled;
		ok = has_failure(r, &f) || add_failure(r, f);
	}
	r->has_lost_sql |= from && from->has_lost_sql && !is_settled;
	r->has_ledger |= from && from->has_ledger && !is_settled;
	return ok;
}

bool reads_add_missing(struct reads *r, uint32_t feature, struct str entity_id, enum feature_state state,
		       struct str reason)
{
	return add(r, &(struct read_feature){ .feature = feature,
					      .entity_id = entity_id,
					      .state = state,
					      .source = RECORD_FALLBACK,
					      .reason = reason });
}

bool reads_add_result(struct reads *r, const struct definitions *d, uint32_t feature, struct str entity_id,
		      const struct feature_result *result)
{
	if (result->state != FEATURE_FOUND)
		return reads_add_missing(r, feature, entity_id, result->state, result->reason) &&
		       merge(r, result->reads, false);
	const struct reads *below = result->reads ? result->reads : (const struct reads *)result->value->basis;
	bool is_stored = result->source != RECORD_FALLBACK &&
			 !def_feature_is_computed_at_each_read(&d->features[feature]);
	r->has_ledger |= !is_stored && offline_sql_reads_ledger(d->features[feature].sql);
	return add(r, &(struct read_feature){ .feature = feature,
					      .entity_id = entity_id,
					      .state = FEATURE_FOUND,
					      .value_json = value_json(result->value),
					      .source = result->source,
					      .as_of_us = result->as_of_us,
					      .failure = result->failure }) &&
	       merge(r, below, is_stored);
}

bool reads_add_call(struct reads *r, struct retrieved *retrieved)
{
	return add_call(r, (struct read_call){ .retrieved = retrieved }) && merge(r, retrieved->reads, false);
}

bool reads_add_failure(struct reads *r, uint32_t retriever, enum feature_state state, struct str reason)
{
	return add_failure(r, (struct read_failure){ .retriever = retriever, .state = state, .reason = reason });
}

void reads_add_lost_sql(struct reads *r)
{
	r->has_lost_sql = true;
}

void reads_add_ledger(struct reads *r)
{
	r->has_ledger = true;
}

/* ---- packing ---- */

/* Copies the array to *at, and moves *at behind it. */
static void *move_array(char **at, const void *array, size_t bytes)
{
	void *to = *at;
	if (bytes)
		memcpy(to, array, bytes);
	*at += (bytes + 7) & ~(size_t)7;
	return to;
}

static void move_text(char **at, struct str *text)
{
	if (text->p == NULL)
		return;
	if (text->n)
		memcpy(*at, text->p, text->n);
	text->p = *at;
	*at += text->n;
}

static size_t packed_bytes(const struct reads *r)
{
	size_t bytes = sizeof *r + 3 * 8 + r->features_count * sizeof *r->features + r->calls_count * sizeof *r->calls +
		       r->failures_count * sizeof *r->failures;
	for (uint32_t i = 0; i < r->features_count; i++)
		bytes += r->features[i].entity_id.n + r->features[i].value_json.n + r->features[i].reason.n;
	for (uint32_t i = 0; i < r->failures_count; i++)
		bytes += r->failures[i].reason.n;
	return bytes;
}

struct reads *reads_pack(const struct reads *r)
{
	size_t bytes = packed_bytes(r);
	struct reads *p = malloc(bytes);
	if (p == NULL)
		return NULL;
	*p = (struct reads){ .basis.destroy = destroy,
			     .features_count = r->features_count,
			     .calls_count = r->calls_count,
			     .failures_count = r->failures_count,
			     .has_lost_sql = r->has_lost_sql,
			     .has_ledger = r->has_ledger };
	atomic_init(&p->basis.refs, 1);
	char *at = (char *)(p + 1);
	p->features = move_array(&at, r->features, r->features_count * sizeof *r->features);
	p->calls = move_array(&at, r->calls, r->calls_count * sizeof *r->calls);
	p->failures = move_array(&at, r->failures, r->failures_count * sizeof *r->failures);
	for (uint32_t i = 0; i < p->features_count; i++) {
		move_text(&at, &p->features[i].entity_id);
		move_text(&at, &p->features[i].value_json);
		move_text(&at, &p->features[i].reason);
	}
	for (uint32_t i = 0; i < p->failures_count; i++)
		move_text(&at, &p->failures[i].reason);
	for (uint32_t i = 0; i < p->calls_count; i++)
		bytes += retrieved_bytes(retrieved_ref(p->calls[i].retrieved));
	p->basis.bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
	return p;
}

/* ---- is it still current? ---- */

bool reads_are_transient(const struct reads *r)
{
	bool found = r->has_lost_sql;
	for (uint32_t i = 0; !found && i < r->failures_count; i++)
		found = !r->failures[i].is_settled;
	for (uint32_t i = 0; !found && i < r->features_count; i++) {
		const struct read_feature *f = &r->features[i];
		found = !f->is_settled && (feature_has_failed(f->state) || feature_has_failed(f->failure));
	}
	return found;
}

/* Was it a value of the online store, or of the history behind it? */
static bool is_of_store(const struct read_feature *f, const struct definitions *d)
{
	return f->state == FEATURE_FOUND && f->source != RECORD_FALLBACK &&
	       !def_feature_is_computed_at_each_read(&d->features[f->feature]);
}

/* A computed value is put into the online table only once it is durable, and stays right when it has expired there: only a newer
 * value or a delete replaces it. Any other value is current if it is there: is_held, the very one. */
static bool is_current(const struct read_feature *f, const struct definitions *d, int64_t made_at_us, bool is_held,
		       const struct online_trace *trace)
{
	bool is_stored = is_of_store(f, d);
	if (is_stored && is_held)
		return true;
	if (!is_stored) /* nothing to compare with: has a value or a delete come since? */
		return (!trace->is_known || (!trace->is_live && trace->event_time_us < made_at_us)) &&
		       !stored_may_be_lost(d, f->feature, trace);
	if (!def_feature_is_computed(&d->features[f->feature]))
		return false;
	bool is_itself = trace->is_expired && trace->event_time_us == f->as_of_us;
	return !trace->is_known || trace->event_time_us < f->as_of_us || is_itself;
}

/* What cannot change: it was settled, or no entity was named. */
static bool is_fixed(const struct read_feature *f)
{
	return f->is_settled || f->entity_id.n == 0;
}

static bool is_current_in_memory(const struct read_feature *f, const struct node *n, int64_t made_at_us, int64_t now_us)
{
	const struct online_fast *online = n->stores->online.fast;
	const struct def_feature *d = &n->definitions->features[f->feature];
	struct online_trace trace = { .is_known = false };
	bool is_held = is_of_store(f, n->definitions) && online->holds(online->table, d->entity, f->entity_id,
								       f->feature, now_us, f->as_of_us, f->value_json);
	if (!is_held)
		online->trace(online->table, d->entity, f->entity_id, f->feature, now_us, &trace);
	return is_current(f, n->definitions, made_at_us, is_held, &trace);
}

bool reads_are_current(const struct reads *r, const struct node *n, int64_t made_at_us, int64_t now_us)
{
	bool current = true;
	for (uint32_t i = 0; current && i < r->features_count; i++)
		current = is_fixed(&r->features[i]) ||
			  (n->stores->online.fast && is_current_in_memory(&r->features[i], n, made_at_us, now_us));
	return current;
}

bool reads_must_ask(const struct reads *r, const struct node *n)
{
	bool found = false;
	for (uint32_t i = 0; !n->stores->online.fast && !found && i < r->features_count; i++)
		found = !is_fixed(&r->features[i]);
	return found;
}

struct stored_read *reads_ask_new(const struct reads *r, const struct node *n, struct loop *loop)
{
	struct stored_read *m = stored_read_new(loop);
	for (uint32_t i = 0; m && i < r->features_count; i++) {
		const struct read_feature *f = &r->features[i];
		if (is_fixed(f))
			continue;
		struct stored_row *row = stored_read_add(m, n->definitions->features[f->feature].entity, f->entity_id,
							 &f->feature, 1);
		if (row) {
			row->cells[0].tag = i;
			continue;
		}
		rt_msg_free(loop, &m->head);
		return NULL;
	}
	return m;
}

bool reads_are_current_as(const struct reads *r, const struct node *n, int64_t made_at_us, const struct msg *answer)
{
	if (answer->kind != STORED_ROWS)
		return false;
	const struct stored_rows *rows = ((const struct stored_read *)answer)->what;
	bool current = true;
	for (uint32_t i = 0; current && i < rows->count; i++) {
		const struct stored_cell *c = &rows->rows[i].cells[0];
		const struct read_feature *f = &r->features[c->tag];
		bool is_held = c->state == STORED_FOUND && c->cell.meta.event_time_us == f->as_of_us &&
			       str_eq(value_json(c->cell.value), f->value_json);
		current = c->state != STORED_FAILED && is_current(f, n->definitions, made_at_us, is_held, &c->trace);
	}
	return current;
}

bool reads_may_miss_writes(const struct reads *r, const struct node *n, uint64_t position)
{
	return r && r->has_ledger && values_position(n) > position;
}
