#include "actors/warm_start.h"
#include "actors/values.h"
#include "runtime/clock.h"
#include "runtime/log.h"

static bool delete (const struct node *n, uint32_t entity, const struct offline_value *v, int64_t now_us)
{
	const struct online_fast *online = n->stores->online.fast;
	uint32_t feature = definitions_feature(n->definitions, v->feature);
	if (v->feature.n == 0)
		online->delete_row(online->table, entity, v->entity_id, v->event_time_us, v->lsn, now_us);
	else if (feature != DEF_NONE && n->definitions->features[feature].entity == entity)
		online->change_row(online->table, entity, v->entity_id,
				   &(struct online_change){
				       .feature = feature,
				       .meta = { .event_time_us = v->event_time_us, .lsn = v->lsn } },
				   1, now_us);
	return false;
}

/* Of the ttl that the value was written with and the feature's own, the shorter; 0 = none. */
static int64_t ttl_ms(const struct def_feature *f, const struct offline_value *v)
{
	if (f->ttl_ms == 0 || v->ttl_ms == 0)
		return f->ttl_ms + v->ttl_ms;
	return f->ttl_ms < v->ttl_ms ? f->ttl_ms : v->ttl_ms;
}

bool warm_start_value(const struct node *n, const struct offline_value *v, int64_t now_us)
{
	uint32_t entity = definitions_entity(n->definitions, v->entity);
	uint32_t feature = definitions_feature(n->definitions, v->feature);
	if (entity == DEF_NONE)
		return false;
	if (v->deleted)
		return delete (n, entity, v, now_us);
	const struct def_feature *f = feature == DEF_NONE ? NULL : &n->definitions->features[feature];
	if (f == NULL || f->entity != entity || !str_eq(v->version, f->made_by) ||
	    def_feature_is_computed_at_each_read(f))
		return false;
	int64_t ttl = ttl_ms(f, v), expires_us = ttl ? v->event_time_us + ttl * 1000 : 0;
	if (ttl && expires_us <= now_us)
		return false;
	struct value *value = value_create(v->value_json);
	if (value == NULL)
		return false;
	struct online_change change = { .feature = feature,
					.value = value,
					.meta = { .event_time_us = v->event_time_us,
						  .lsn = v->lsn,
						  .written_us = v->written_us,
						  .expires_us = expires_us,
						  .flags = values_flags((enum entry_value_source)v->source),
						  .event_time_ns = v->event_time_ns } };
	n->stores->online.fast->change_row(n->stores->online.fast->table, entity, v->entity_id, &change, 1,
					   v->written_us);
	value_unref(value);
	return change.result == ONLINE_APPLIED;
}

struct frame_reader {
	const struct node *node;
	const struct log_source_entry *frame;
	int64_t now_us;
	uint32_t values;
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
	r->values += warm_start_value(r->node, &value, r->now_us);
}

uint32_t warm_start_frame(const struct node *n, const struct log_source_entry *f, int64_t now_us)
{
	struct frame_reader r = { .node = n, .frame = f, .now_us = now_us };
	struct entry_delete d;
	switch (f->kind) {
	case EVIDENCE_VALUES:
	case EVIDENCE_EVENT_APPLIED:
		entry_values_read(f->body, NULL, &r, read_value);
		return r.values;
	case EVIDENCE_DELETE:
		if (entry_delete_read(f->body, &d))
			warm_start_value(n,
					 &(struct offline_value){ .entity = d.entity,
								  .entity_id = d.entity_id,
								  .event_time_us = d.event_time_us,
								  .lsn = f->lsn,
								  .deleted = true },
					 now_us);
		return 0;
	case EVIDENCE_RECORD:
	case EVIDENCE_RECORD_IMPORTED:
	case EVIDENCE_EVENT:
	case EVIDENCE_DOCUMENT:
	case EVIDENCE_DOCUMENT_DELETE:
		return 0;
	}
	return 0;
}

/* ---- the start ---- */

struct warm {
	const struct node *node;
	uint32_t values; /* that are in the table now */
};

static bool take_value(void *arg, const struct offline_value *v)
{
	struct warm *w = arg;
	w->values += warm_start_value(w->node, v, clock_wall_us());
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
			w->values += warm_start_frame(w->node, &entry, clock_wall_us());
	scan->close(scan);
	if (r != LOG_SOURCE_END)
		buf_append_lit(ret_why, "the ledger cannot be read");
	return r == LOG_SOURCE_END;
}

bool warm_start(const struct node *n, struct buf *ret_why)
{
	struct warm w = { .node = n };
	uint64_t started_ns = clock_mono_ns(), applied_lsn = 0;
	if (!read_history(&w, &applied_lsn, ret_why) || !read_log(&w, applied_lsn + 1, ret_why))
		return false;
	log_line(LOG_INFO, "serve", "warm start", LOG_INT("values", w.values),
		 LOG_INT("duration_ms", (int64_t)((clock_mono_ns() - started_ns) / 1000000)));
	return true;
}
