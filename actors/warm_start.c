#include "actors/warm_start.h"
#include "actors/values.h"
#include "runtime/clock.h"
#include "runtime/log.h"

/* Of the ttl that the value was written with and the feature's own, the shorter; 0 = none. */
static int64_t ttl_ms(const struct def_feature *f, const struct offline_value *v)
{
	if (f->ttl_ms == 0 || v->ttl_ms == 0)
		return f->ttl_ms + v->ttl_ms;
	return f->ttl_ms < v->ttl_ms ? f->ttl_ms : v->ttl_ms;
}

/* As it was when it was published: a computed value is as old as the beginning of its making. */
static int64_t written_us(const struct offline_value *v)
{
	return v->source == ENTRY_COMPUTED ? v->event_time_us : v->written_us;
}

static enum warm_change value_change(const struct def_feature *f, uint32_t feature, const struct offline_value *v,
				     int64_t now_us, struct online_change *ret)
{
	int64_t ttl = ttl_ms(f, v), expires_us = ttl ? v->event_time_us + ttl * 1000 : 0;
	if (!str_eq(v->version, f->made_by) || def_feature_is_computed_at_each_read(f) || (ttl && expires_us <= now_us))
		return WARM_NOTHING;
	struct value *value = value_create(v->value_json);
	*ret = (struct online_change){ .feature = feature,
				       .value = value,
				       .meta = { .event_time_us = v->event_time_us,
						 .lsn = v->lsn,
						 .written_us = written_us(v),
						 .expires_us = expires_us,
						 .flags = values_flags((enum entry_value_source)v->source),
						 .event_time_ns = v->event_time_ns } };
	return value ? WARM_CELL : WARM_NO_MEMORY;
}

enum warm_change warm_start_change(const struct node *n, const struct offline_value *v, int64_t now_us,
				   uint32_t *ret_entity, struct online_change *ret)
{
	uint32_t feature = definitions_feature(n->definitions, v->feature);
	const struct def_feature *f = feature == DEF_NONE ? NULL : &n->definitions->features[feature];
	*ret_entity = definitions_entity(n->definitions, v->entity);
	*ret = (struct online_change){ .feature = feature,
				       .meta = { .event_time_us = v->event_time_us, .lsn = v->lsn },
				       .result = ONLINE_STALE };
	if (*ret_entity == DEF_NONE)
		return WARM_NOTHING;
	if (v->deleted && v->feature.n == 0)
		return WARM_ROW_DELETE;
	if (f == NULL || f->entity != *ret_entity)
		return WARM_NOTHING;
	return v->deleted ? WARM_CELL : value_change(f, feature, v, now_us, ret);
}

void warm_start_value(const struct node *n, const struct offline_value *v, int64_t now_us, struct warm_counts *counts)
{
	const struct online_fast *online = n->stores->online.fast;
	struct online_change change;
	uint32_t entity;
	switch (warm_start_change(n, v, now_us, &entity, &change)) {
	case WARM_NOTHING:
		return;
	case WARM_NO_MEMORY:
		counts->refused++;
		return;
	case WARM_ROW_DELETE:
		change.result = online->delete_row(online->table, entity, v->entity_id, v->event_time_us, v->lsn,
						   now_us);
		break;
	case WARM_CELL:
		online->change_row(online->table, entity, v->entity_id, &change, 1,
				   v->deleted ? now_us : v->written_us);
		break;
	}
	value_unref(change.value);
	counts->values += !v->deleted && change.result == ONLINE_APPLIED;
	counts->refused += change.result == ONLINE_FULL;
}

struct frame_reader {
	const struct node *node;
	const struct log_source_entry *frame;
	int64_t now_us;
	struct warm_counts *counts;
};

static void read_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	struct frame_reader *r = arg;
	struct offline_value value = { .entity = head->entity,
				       .entity_id = v->entity_id,
				       .feature = v->feature,
				       .value_json = v->value_json,
				       .event_time_us = v->event_time_us,
				       .written_us = r->frame->written_us,
				       .ttl_ms = v->ttl_ms,
				       .lsn = r->frame->lsn,
				       .version = v->version,
				       .event_time_ns = v->event_time_ns,
				       .source = (uint8_t)head->source,
				       .deleted = v->value_json.p == NULL };
	warm_start_value(r->node, &value, r->now_us, r->counts);
}

void warm_start_frame(const struct node *n, const struct log_source_entry *f, int64_t now_us,
		      struct warm_counts *counts)
{
	struct frame_reader r = { .node = n, .frame = f, .now_us = now_us, .counts = counts };
	struct entry_delete d;
	switch (f->kind) {
	case EVIDENCE_VALUES:
	case EVIDENCE_EVENT_APPLIED:
		counts->malformed += !entry_values_read(f->body, NULL, &r, read_value);
		return;
	case EVIDENCE_DELETE:
		if (!entry_delete_read(f->body, &d))
			counts->malformed++;
		else
			warm_start_value(n,
					 &(struct offline_value){ .entity = d.entity,
								  .entity_id = d.entity_id,
								  .event_time_us = d.event_time_us,
								  .lsn = f->lsn,
								  .deleted = true },
					 now_us, counts);
		return;
	case EVIDENCE_RECORD:
	case EVIDENCE_RECORD_IMPORTED:
	case EVIDENCE_EVENT:
	case EVIDENCE_DOCUMENT:
	case EVIDENCE_DOCUMENT_DELETE:
		return;
	}
}

/* ---- the start ---- */

struct warm {
	const struct node *node;
	struct warm_counts *counts;
};

static bool take_value(void *arg, const struct offline_value *v)
{
	struct warm *w = arg;
	warm_start_value(w->node, v, clock_wall_us(), w->counts);
	return true;
}

static bool read_history(struct warm *w, uint64_t *ret_applied_lsn, struct buf *ret_why)
{
	const struct offline_store *o = &w->node->stores->offline;
	return o->newest_values(o->store, w, take_value, ret_applied_lsn, ret_why);
}

static bool read_log(struct warm *w, uint64_t from_lsn, struct buf *ret_why)
{
	const struct log_source *log = w->node->stores->log;
	struct log_scan *scan = log->open(log->log, from_lsn, ret_why);
	struct log_source_entry entry;
	enum log_source_result r;
	if (scan == NULL)
		return false;
	while ((r = scan->next(scan, &entry)) == LOG_SOURCE_ENTRY || r == LOG_SOURCE_CORRUPT)
		if (r == LOG_SOURCE_ENTRY)
			warm_start_frame(w->node, &entry, clock_wall_us(), w->counts);
		else
			w->counts->lost += entry.lost_to - entry.lsn + 1;
	scan->close(scan);
	if (r != LOG_SOURCE_END)
		buf_append_lit(ret_why, "the ledger cannot be read");
	return r == LOG_SOURCE_END;
}

bool warm_start(const struct node *n, struct warm_counts *ret, struct buf *ret_why)
{
	struct warm w = { .node = n, .counts = ret };
	*ret = (struct warm_counts){ 0 };
	if (values_are_elsewhere(n)) {
		values_repair(n);
		return true;
	}
	uint64_t started_ns = clock_mono_ns(), applied_lsn = 0;
	if (!read_history(&w, &applied_lsn, ret_why) || !read_log(&w, applied_lsn + 1, ret_why))
		return false;
	if (ret->refused || ret->malformed || ret->lost)
		log_line(LOG_ERROR, "serve", "warm start: values are missing in the online table",
			 LOG_INT("refused_values", (int64_t)ret->refused),
			 LOG_INT("malformed_entries", (int64_t)ret->malformed),
			 LOG_INT("lost_entries", (int64_t)ret->lost));
	log_line(LOG_INFO, "serve", "warm start", LOG_INT("values", (int64_t)ret->values),
		 LOG_INT("duration_ms", (int64_t)((clock_mono_ns() - started_ns) / 1000000)));
	return true;
}
