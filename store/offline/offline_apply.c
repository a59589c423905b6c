#include "store/offline/offline_apply.h"
#include "runtime/check.h"
#include "runtime/msg.h"
#include "store/evidence/entries.h"
#include "store/record/record_row.h"

static const char *const table_names[OFFLINE_TABLES] = {
	[OFFLINE_TABLE_RECORDS] = "records",
	[OFFLINE_TABLE_HISTORY] = "feature_history",
	[OFFLINE_TABLE_DELETES] = "deletes",
	[OFFLINE_TABLE_EVENTS] = "events",
	[OFFLINE_TABLE_EVENTS_APPLIED] = "events_applied",
};

/* ---- appenders ---- */
void offline_apply_init(struct offline_apply *a, struct offline_conn *conn)
{
	*a = (struct offline_apply){ .conn = conn, .json = yyjson_alc_dyn_new() };
	CHECK(a->json != NULL);
}

void offline_apply_finish(struct offline_apply *a)
{
	offline_apply_drop(a);
	buf_finish(&a->text);
	if (a->json != NULL)
		yyjson_alc_dyn_free(a->json);
	a->json = NULL;
}

void offline_apply_drop(struct offline_apply *a)
{
	for (size_t i = 0; i < OFFLINE_TABLES; i++)
		if (a->appenders[i] != NULL)
			duckdb_appender_destroy(&a->appenders[i]);
	a->rows = 0;
}

static void take_error(struct offline_apply *a, duckdb_appender appender, struct offline_error *error)
{
	duckdb_error_data data = duckdb_appender_error_data(appender);
	offline_error_set(a->conn->offline, error, duckdb_error_data_error_type(data), duckdb_error_data_message(data));
	if (error->status == RT_EINVAL) /* an entry that DuckDB does not take is the store's trouble, not a caller's */
		error->status = RT_EIO;
	duckdb_destroy_error_data(&data);
}

static duckdb_appender appender_of(struct offline_apply *a, enum offline_table_id table, struct offline_error *error)
{
	duckdb_appender *appender = &a->appenders[table];
	if (*appender == NULL && duckdb_appender_create_ext(a->conn->handle, "offline", "fabra", table_names[table],
							    appender) != DuckDBSuccess) {
		take_error(a, *appender, error);
		duckdb_appender_destroy(appender);
		*appender = NULL;
	}
	return *appender;
}

bool offline_apply_flush(struct offline_apply *a, struct offline_error *error)
{
	bool ok = true;
	for (size_t i = 0; ok && i < OFFLINE_TABLES; i++) {
		if (a->appenders[i] == NULL)
			continue;
		ok = duckdb_appender_close(a->appenders[i]) == DuckDBSuccess;
		if (!ok)
			take_error(a, a->appenders[i], error);
	}
	offline_apply_drop(a);
	return ok;
}

/* An append fails only by a wrong type, which the end of the row reports. */
static void append_text(duckdb_appender appender, struct str s)
{
	if (s.p != NULL)
		duckdb_append_varchar_length(appender, s.p, s.n);
	else
		duckdb_append_null(appender);
}

static void append_time(duckdb_appender appender, int64_t us)
{
	duckdb_append_timestamp(appender, (duckdb_timestamp){ us });
}

static enum offline_applied end_row(struct offline_apply *a, duckdb_appender appender, struct offline_error *error)
{
	a->rows++;
	if (duckdb_appender_end_row(appender) == DuckDBSuccess)
		return OFFLINE_APPLIED;
	take_error(a, appender, error);
	return OFFLINE_FAILED;
}

/* ---- records ---- */
static struct str text_of(yyjson_val *object, const char *key)
{
	return json_str(yyjson_obj_get(object, key));
}

static void append_number(duckdb_appender appender, yyjson_val *v)
{
	if (yyjson_is_int(v))
		duckdb_append_int64(appender, yyjson_get_sint(v));
	else
		duckdb_append_null(appender);
}

/* The fields one searches records by: fabra-core 3.9. */
static void append_interaction(duckdb_appender appender, yyjson_val *ref)
{
	append_text(appender, text_of(ref, "mode"));
	append_text(appender, text_of(ref, "call_id"));
	append_text(appender, text_of(ref, "session_id"));
	append_text(appender, text_of(ref, "turn_id"));
	append_number(appender, yyjson_obj_get(ref, "turn_index"));
	append_text(appender, text_of(ref, "jurisdiction"));
	append_text(appender, text_of(ref, "consent_state"));
}

static void append_json(struct offline_apply *a, duckdb_appender appender, yyjson_val *v)
{
	buf_clear(&a->text);
	if (v != NULL)
		json_canonical_value(&a->text, v); /* the same text with a row beside the record and without */
	append_text(appender, v != NULL && !a->text.failed ? buf_str(&a->text) : (struct str){ 0 });
}

static struct str hash_of(const struct log_source_entry *frame, const struct record_row *row)
{
	const char *stamped = frame->stamp.record_hash;
	if (stamped[0] != '\0')
		return str_of(stamped, strnlen(stamped, RECORD_HASH_TEXT));
	return row->record_hash;
}

static enum offline_applied append_record(struct offline_apply *a, const struct log_source_entry *frame,
					  const struct record_row *row, struct offline_error *error)
{
	duckdb_appender appender = appender_of(a, OFFLINE_TABLE_RECORDS, error);
	if (appender == NULL)
		return OFFLINE_FAILED;
	append_text(appender, frame->context_id);
	duckdb_append_uint64(appender, frame->lsn);
	append_time(appender, row->created_at_us);
	append_text(appender, row->environment);
	append_text(appender, row->schema_version);
	append_text(appender, row->context_function);
	if (row->token_count == INT64_MIN)
		duckdb_append_null(appender);
	else
		duckdb_append_int64(appender, row->token_count);
	append_text(appender, hash_of(frame, row));
	append_text(appender, row->freshness_status);
	append_text(appender, row->version);
	duckdb_append_bool(appender, frame->kind == EVIDENCE_RECORD_IMPORTED);
	append_interaction(appender, row->interaction_ref);
	append_json(a, appender, row->inputs);
	return end_row(a, appender, error);
}

static enum offline_applied apply_record(struct offline_apply *a, const struct log_source_entry *frame,
					 struct offline_error *error)
{
	struct record_row row;
	struct str extras = frame->kind == EVIDENCE_RECORD ? frame->extras : (struct str){ 0 };
	if (frame->context_id.n == 0 || !record_row_read(frame->body, extras, a->json, &row))
		return OFFLINE_MALFORMED;
	enum offline_applied applied = append_record(a, frame, &row, error);
	record_row_finish(&row);
	return applied;
}

/* ---- values, deletes, events ---- */
struct values_writer {
	struct offline_apply *apply;
	const struct log_source_entry *frame;
	struct offline_error *error;
	enum offline_applied applied;
};

static void check_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	(void)head;
	bool *is_text = arg;
	*is_text &= json_utf8_valid(v->entity_id) && json_utf8_valid(v->feature) && json_utf8_valid(v->value_json) &&
		    json_utf8_valid(v->version);
}

static enum offline_applied append_delete(struct offline_apply *a, const struct log_source_entry *frame,
					  const struct entry_delete *d, struct str feature, struct offline_error *error)
{
	duckdb_appender appender = appender_of(a, OFFLINE_TABLE_DELETES, error);
	if (appender == NULL)
		return OFFLINE_FAILED;
	append_text(appender, d->entity);
	append_text(appender, d->entity_id);
	append_time(appender, d->event_time_us);
	append_time(appender, frame->written_us);
	duckdb_append_uint64(appender, frame->lsn);
	append_text(appender, feature);
	return end_row(a, appender, error);
}

static void append_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	struct values_writer *w = arg;
	if (w->applied != OFFLINE_APPLIED)
		return;
	if (v->value_json.p == NULL) {
		struct entry_delete d = { head->entity, v->entity_id, v->event_time_us };
		w->applied = append_delete(w->apply, w->frame, &d, v->feature, w->error);
		return;
	}
	duckdb_appender appender = appender_of(w->apply, OFFLINE_TABLE_HISTORY, w->error);
	if (appender == NULL) {
		w->applied = OFFLINE_FAILED;
		return;
	}
	append_text(appender, head->entity);
	append_text(appender, v->entity_id);
	append_text(appender, v->feature);
	append_text(appender, v->value_json);
	append_time(appender, v->event_time_us);
	append_time(appender, w->frame->written_us);
	duckdb_append_uint64(appender, w->frame->lsn);
	duckdb_append_int64(appender, v->ttl_ms);
	duckdb_append_uint8(appender, (uint8_t)head->source);
	append_text(appender, v->version.n ? v->version : (struct str){ 0 });
	duckdb_append_uint16(appender, v->event_time_ns);
	w->applied = end_row(w->apply, appender, w->error);
}

static enum offline_applied apply_values(struct offline_apply *a, const struct log_source_entry *frame,
					 struct offline_error *error)
{
	struct entry_values head;
	bool is_text = true;
	if (!entry_values_read(frame->body, &head, &is_text, check_value) || !is_text || !json_utf8_valid(head.entity))
		return OFFLINE_MALFORMED;
	struct values_writer w = { a, frame, error, OFFLINE_APPLIED };
	entry_values_read(frame->body, &head, &w, append_value);
	if (w.applied != OFFLINE_APPLIED || frame->kind != EVIDENCE_EVENT_APPLIED)
		return w.applied;
	duckdb_appender appender = appender_of(a, OFFLINE_TABLE_EVENTS_APPLIED, error);
	if (appender == NULL)
		return OFFLINE_FAILED;
	duckdb_append_uint64(appender, head.event_lsn);
	duckdb_append_uint64(appender, frame->lsn);
	append_time(appender, frame->written_us);
	return end_row(a, appender, error);
}

static enum offline_applied apply_delete(struct offline_apply *a, const struct log_source_entry *frame,
					 struct offline_error *error)
{
	struct entry_delete d;
	if (!entry_delete_read(frame->body, &d) || !json_utf8_valid(d.entity) || !json_utf8_valid(d.entity_id))
		return OFFLINE_MALFORMED;
	return append_delete(a, frame, &d, (struct str){ 0 }, error);
}

static enum offline_applied apply_event(struct offline_apply *a, const struct log_source_entry *frame,
					struct offline_error *error)
{
	struct entry_event e;
	if (!entry_event_read(frame->body, &e) || !json_utf8_valid(e.event_id) || !json_utf8_valid(e.event_type) ||
	    !json_utf8_valid(e.entity_id))
		return OFFLINE_MALFORMED;
	duckdb_appender appender = appender_of(a, OFFLINE_TABLE_EVENTS, error);
	if (appender == NULL)
		return OFFLINE_FAILED;
	duckdb_append_uint64(appender, frame->lsn);
	append_text(appender, e.event_id);
	append_text(appender, e.event_type);
	append_text(appender, e.entity_id);
	append_time(appender, e.event_time_us);
	append_time(appender, frame->written_us);
	return end_row(a, appender, error);
}

enum offline_applied offline_apply_frame(struct offline_apply *a, const struct log_source_entry *frame,
					 struct offline_error *error)
{
	switch (frame->kind) {
	case EVIDENCE_RECORD:
	case EVIDENCE_RECORD_IMPORTED:
		return apply_record(a, frame, error);
	case EVIDENCE_VALUES:
	case EVIDENCE_EVENT_APPLIED:
		return apply_values(a, frame, error);
	case EVIDENCE_DELETE:
		return apply_delete(a, frame, error);
	case EVIDENCE_EVENT:
		return apply_event(a, frame, error);
	case EVIDENCE_DOCUMENT:
	case EVIDENCE_DOCUMENT_DELETE:
		break; /* documents have no rows here */
	}
	return OFFLINE_APPLIED;
}
