/* What must hold over the durable log of sim_contexts, however a run went. */
#pragma once
#include "store/evidence/entries.h"
#include "tests/sim/node_fixture.h"

/* Unpacks the record of an entry; the arena holds it. */
static inline struct record *oracle_record(const struct evidence_entry *e, struct arena *arena)
{
	const char *why = "";
	struct record *r = record_parse(buf_str(&e->body), true, arena, &why);
	if (r == NULL)
		fprintf(stderr, "record %.40s: %s\n", e->context_id, why);
	CHECK(r != NULL);
	return r;
}

/* Is there an earlier durable record of this context with this very text? */
static inline bool oracle_text_was_durable(const struct ledger_fake *l, uint64_t before_lsn, struct str name,
					   struct str content)
{
	for (size_t i = 0; i + 1 < before_lsn; i++) {
		const struct evidence_entry *e = ledger_fake_at(l, i);
		if (e->kind != EVIDENCE_RECORD)
			continue;
		struct arena arena = { 0 };
		const struct record *r = oracle_record(e, &arena);
		bool same = str_eq(r->context_function, name) && str_eq(r->content, content);
		arena_finish(&arena);
		if (same)
			return true;
	}
	return false;
}

/* ---- a record never precedes the values that it used ---- */

struct oracle_value {
	struct str entity_id, feature;
	int64_t event_time_us;
	uint64_t lsn;
};
struct oracle_values {
	struct oracle_value *p;
	size_t count, cap;
	uint64_t lsn; /* being read */
};

static inline void oracle_collect_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	struct oracle_values *values = arg;
	if (head->source != ENTRY_COMPUTED)
		return;
	if (values->count == values->cap) {
		values->cap = values->cap ? values->cap * 2 : 256;
		values->p = realloc(values->p, values->cap * sizeof *values->p);
		CHECK(values->p != NULL);
	}
	values->p[values->count++] = (struct oracle_value){ v->entity_id, v->feature, v->event_time_us, values->lsn };
}

/* Returns how many uses of computed values were checked. */
static inline unsigned oracle_check_uses(const struct oracle_values *values, const struct evidence_entry *e)
{
	struct arena arena = { 0 };
	unsigned checked = 0;
	const struct record *r = oracle_record(e, &arena);
	for (size_t f = 0; f < r->features_count; f++) {
		const struct record_feature *used = &r->features[f];
		if (used->source == RECORD_FALLBACK)
			continue; /* a default, or nothing: no value was used */
		uint64_t lsn = 0; /* the first one: two loops may compute a value in the same microsecond */
		for (size_t i = 0; i < values->count && lsn == 0; i++) {
			const struct oracle_value *v = &values->p[i];
			if (v->event_time_us == used->as_of_us && str_eq(v->feature, used->name) &&
			    str_eq(v->entity_id, used->entity_id))
				lsn = v->lsn;
		}
		CHECK(lsn < e->lsn);
		CHECK(lsn != 0 || used->source != RECORD_COMPUTE);
		checked += lsn != 0;
	}
	arena_finish(&arena);
	return checked;
}

/* Distinct ids, an unbroken chain; and when no value can have been lost, values before records. Returns the number of
 * uses that were checked. */
static inline unsigned oracle_check_log(const struct ledger_fake *l, bool values_are_safe)
{
	struct oracle_values values = { 0 };
	char last_id[41] = "";
	unsigned uses = 0;
	for (size_t i = 0; i < ledger_fake_count(l); i++) {
		const struct evidence_entry *e = ledger_fake_at(l, i);
		values.lsn = e->lsn;
		if (e->kind == EVIDENCE_VALUES)
			CHECK(entry_values_read(buf_str(&e->body), NULL, &values, oracle_collect_value));
	}
	for (size_t i = 0; i < ledger_fake_count(l); i++) {
		const struct evidence_entry *e = ledger_fake_at(l, i);
		if (e->kind != EVIDENCE_RECORD)
			continue;
		uses += values_are_safe ? oracle_check_uses(&values, e) : 0;
		CHECK(ledger_fake_record(l, str_of(e->context_id, 40)) == e); /* no id twice */
		CHECK(strcmp(e->previous_context_id, last_id) == 0);
		memcpy(last_id, e->context_id, 40);
	}
	free(values.p);
	return uses;
}

/* ---- events: exactly once, in order ---- */

struct oracle_event {
	int64_t n;
	bool bad, was_answered;
};

/* The durable events of an entity in log order. */
static inline size_t oracle_events(const struct ledger_fake *l, struct str entity_id, struct oracle_event *ret,
				   size_t max)
{
	size_t count = 0;
	for (size_t i = 0; i < ledger_fake_count(l); i++) {
		const struct evidence_entry *e = ledger_fake_at(l, i);
		struct entry_event event;
		if (e->kind != EVIDENCE_EVENT)
			continue;
		CHECK(entry_event_read(buf_str(&e->body), &event) && count < max);
		if (!str_eq(event.entity_id, entity_id))
			continue;
		yyjson_doc *payload = yyjson_read(event.payload_json.p, event.payload_json.n, 0);
		yyjson_val *root = yyjson_doc_get_root(payload);
		ret[count++] = (struct oracle_event){ yyjson_get_sint(yyjson_obj_get(root, "n")),
						      yyjson_get_bool(yyjson_obj_get(root, "bad")),
						      ledger_fake_was_answered(l, i) };
		yyjson_doc_free(payload);
	}
	return count;
}

/* list: what the appending feature holds. Every good event is in it once. Those whose acceptance was known are in log
 * order; one whose answer was lost has its turn at the next start, behind later ones. */
static inline void oracle_check_list(const struct oracle_event *events, size_t count, yyjson_val *list)
{
	size_t good = 0, last = 0;
	for (size_t i = 0; i < count; i++) {
		if (events[i].bad)
			continue;
		good++;
		size_t at, max, found = 0, place = 0;
		yyjson_val *n;
		yyjson_arr_foreach(list, at, max, n) {
			if (yyjson_get_sint(n) == events[i].n) {
				found++;
				place = at + 1;
			}
		}
		CHECK(found == 1);
		if (!events[i].was_answered)
			continue;
		CHECK(place > last);
		last = place;
	}
	CHECK(yyjson_arr_size(list) == good);
}
