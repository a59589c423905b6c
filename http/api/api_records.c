/* Reading what was recorded: the record itself, and the views that Fabra calls context, lineage and trace. */
#include "http/api/api.h"
#include "store/evidence/evidence.h"
#include "store/text/timefmt.h"
#include <stdlib.h>

/* ---- finding ----
 *
 * In the ledger; else in what Fabra's Python program left: its log of contexts, then its records. A part of the
 * ledger that cannot be read makes no "not found": then the answer is that error, unless the others have it. */

/* What a route answers from: a record that was found, whoever made it, with what is known beside it. */
struct found {
	struct record *record;
	struct record_extras extras;
	struct record_stamp stamp;
	struct str stored; /* imported or legacy: its own text, which is the answer where a record is asked for */
};
struct view {
	enum evidence_legacy_view legacy;
	const char *not_found;
	void (*write)(struct exchange *x, const struct found *f, struct buf *out);
};
struct lookup {
	const char *damage; /* in the exchange's arena; NULL: the ledger is sure that it has no such record */
	enum evidence_legacy_view asked;
};

static void find(struct exchange *x, bool want_view)
{
	struct actor *a = exchange_actor(x);
	struct evidence_find *m = evidence_find_new(a->loop, exchange_param(x, 0), want_view);
	rt_ask(a, api_node(x)->stores->evidence.find, &m->head, exchange_deadline_ns(x), a->self);
}

static void find_legacy(struct exchange *x, enum evidence_legacy_view view)
{
	struct actor *a = exchange_actor(x);
	struct lookup *lookup = *exchange_data(x);
	lookup->asked = view;
	rt_ask(a, api_node(x)->stores->evidence.legacy, &evidence_legacy_new(a->loop, exchange_param(x, 0), view)->head,
	       exchange_deadline_ns(x), a->self);
}

static void reply_view(struct exchange *x, const struct view *view, struct str canonical, struct found *f)
{
	const char *why = "it is no record";
	struct buf out = { 0 };
	f->record = record_parse(canonical, false, exchange_arena(x), &why);
	if (f->record == NULL) {
		exchange_error(x, 500, "the stored record cannot be read: %s", why);
		return;
	}
	view->write(x, f, &out);
	if (out.failed)
		exchange_fail(x, RT_EFULL, "out of memory");
	else
		exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

static void reply_own(struct exchange *x, const struct view *view, const struct evidence_record *r)
{
	struct found f = { .stamp = r->stamp, .extras = { .version = STR("v1"), .evidence_mode = STR("best_effort") } };
	if (r->imported)
		f.stored = buf_str(&r->canonical);
	if (r->extras.n)
		record_extras_parse(buf_str(&r->extras), exchange_arena(x), &f.extras);
	reply_view(x, view, buf_str(&r->canonical), &f);
}

/* From a record that has no context beside it. */
static void reply_legacy_record(struct exchange *x, const struct view *view, struct str json)
{
	struct found f = { .stored = json, .extras = { .version = STR("v1"), .evidence_mode = STR("best_effort") } };
	const char *why;
	struct record_verdict verdict;
	if (record_verify(json, false, NULL, &verdict, &why))
		memcpy(f.stamp.record_hash, verdict.record_hash, RECORD_HASH_TEXT);
	reply_view(x, view, json, &f);
}

static void on_ledger(struct exchange *x, const struct view *view, const struct evidence_found *m)
{
	if (m->head.status == RT_OK) {
		reply_own(x, view, m->record);
		return;
	}
	struct lookup *lookup = arena_alloc(exchange_arena(x), sizeof *lookup);
	if (lookup == NULL || (m->head.status != RT_ENOTFOUND && m->head.status != RT_EIO)) {
		exchange_fail(x, lookup == NULL ? RT_EFULL : m->head.status, "the ledger");
		return;
	}
	static const char unreadable[] = "a part of the ledger cannot be read";
	*lookup = (struct lookup){ 0 };
	if (m->head.status == RT_EIO)
		lookup->damage = m->reason ? arena_dup(exchange_arena(x), str_from(m->reason)).p : unreadable;
	if (m->head.status == RT_EIO && lookup->damage == NULL)
		lookup->damage = unreadable; /* no memory for the reason is no reason to call the record absent */
	*exchange_data(x) = lookup;
	find_legacy(x, view->legacy);
}

static void on_legacy(struct exchange *x, const struct view *view, const struct evidence_answer *m)
{
	const struct lookup *lookup = *exchange_data(x);
	if (m->head.status == RT_OK && lookup->asked == LEGACY_RECORD)
		reply_legacy_record(x, view, buf_str(&m->json));
	else if (m->head.status == RT_OK)
		exchange_reply_json(x, 200, buf_str(&m->json));
	else if (m->head.status == RT_ENOTFOUND && lookup->asked != LEGACY_RECORD)
		find_legacy(x, LEGACY_RECORD);
	else if (m->head.status == RT_ENOTFOUND && lookup->damage == NULL)
		exchange_error(x, 404, "%s", view->not_found);
	else if (m->head.status == RT_ENOTFOUND)
		exchange_error(x, 500, "the ledger: %s", lookup->damage);
	else if (m->head.status == RT_EIO) /* its text says what is wrong with the store, and what to do about it */
		exchange_error(x, 500, "the offline store: %.*s", STR_ARG(buf_str(&m->json)));
	else
		exchange_fail(x, m->head.status, "the offline store");
}

static void on_message(struct exchange *x, const struct msg *m, const struct view *view)
{
	if (m->kind == EVIDENCE_FOUND)
		on_ledger(x, view, (const struct evidence_found *)m);
	else if (m->kind == EVIDENCE_ANSWER)
		on_legacy(x, view, (const struct evidence_answer *)m);
	else
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the ledger");
}

/* ---- GET /v1/record/{ref} ---- */

void api_record_get(struct exchange *x)
{
	find(x, false);
}

static void write_record(struct exchange *x, const struct found *f, struct buf *out)
{
	(void)x;
	if (f->stored.p)
		buf_append_str(out, f->stored);
	else
		record_write_json(f->record, &f->stamp, out);
}

void api_record_get_message(struct exchange *x, struct msg *m)
{
	static const struct view view = { LEGACY_RECORD, "Record not found", write_record };
	on_message(x, m, &view);
}

/* ---- POST /v1/record ---- */

static struct evidence_entry *import_entry(const struct record *r, struct str body)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD_IMPORTED);
	if (e == NULL)
		return NULL;
	memcpy(e->context_id, r->context_id.p, r->context_id.n);
	memcpy(e->stamp.record_hash, r->integrity.record_hash.p, RECORD_HASH_TEXT);
	buf_append_str(&e->body, body);
	return e;
}

void api_record_post(struct exchange *x)
{
	yyjson_val *json = api_body_object(x), *integrity = yyjson_obj_get(json, "integrity");
	if (!exchange_is_valid(x))
		return;
	struct str body = exchange_body(x);
	const char *why;
	struct record *r = record_parse(body, true, exchange_arena(x), &why);
	struct record_verdict verdict;
	if (r == NULL || !record_verify(body, true, NULL, &verdict, &why)) {
		api_note(x, "value_error", STR("[\"body\"]"), why, json);
		return;
	}
	static const char mismatch[] = "Value error, the hash does not match the record";
	if (!verdict.content_hash_ok)
		api_note(x, "value_error", STR("[\"body\",\"integrity\",\"content_hash\"]"), mismatch,
			 yyjson_obj_get(integrity, "content_hash"));
	if (!verdict.record_hash_ok)
		api_note(x, "value_error", STR("[\"body\",\"integrity\",\"record_hash\"]"), mismatch,
			 yyjson_obj_get(integrity, "record_hash"));
	struct str id = r->context_id;
	if (!str_starts(id, STR("ctx_")) || !uuid_is_text(str_skip(id, 4)))
		api_note_member(x, STR("context_id"), "value_error", "Value error, expected ctx_ and a UUID",
				yyjson_obj_get(json, "context_id"));
	if (!exchange_is_valid(x))
		return;
	struct evidence_entry *e = import_entry(r, body);
	if (e == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return;
	}
	struct actor *a = exchange_actor(x);
	rt_ask(a, evidence_appender(&api_node(x)->stores->evidence, a->loop), &evidence_append_new(a->loop, e)->head,
	       exchange_deadline_ns(x), ACTOR_NONE);
}

void api_record_post_message(struct exchange *x, struct msg *m)
{
	if (m->kind != EVIDENCE_APPENDED) {
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the ledger");
		return;
	}
	const struct evidence_entry *e = ((struct evidence_append *)m)->entry;
	if (m->status == RT_EEXIST) {
		exchange_error(x, 409,
			       "Context Record immutability violation: record already exists with a different hash");
		return;
	}
	if (m->status != RT_OK) {
		exchange_fail(x, m->status, "the ledger");
		return;
	}
	struct buf out = { 0 };
	buf_printf(&out, "{\"context_id\":\"%.40s\",\"record_hash\":\"%.71s\",\"status\":\"%s\"}", e->context_id,
		   e->stamp.record_hash, e->already_there ? "exists" : "stored");
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

/* ---- GET /v1/context/{id} ---- */

void api_context_get(struct exchange *x)
{
	find(x, true);
}

static void write_context(struct exchange *x, const struct found *f, struct buf *out)
{
	(void)x;
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, f->record->context_id);
	buf_append_lit(out, ",\"content\":");
	json_write_string(out, f->record->content);
	buf_append_lit(out, ",\"lineage\":");
	record_write_lineage(f->record, &f->extras, out);
	buf_append_lit(out, ",\"meta\":");
	record_write_meta(f->record, &f->extras, &f->stamp, -1, (struct str){ 0 }, out);
	buf_append_lit(out, ",\"version\":");
	json_write_string(out, f->extras.version);
	buf_append_char(out, '}');
}

void api_context_get_message(struct exchange *x, struct msg *m)
{
	static const struct view view = { LEGACY_CONTEXT, "Context not found", write_context };
	on_message(x, m, &view);
}

/* ---- GET /v1/context/{id}/lineage ---- */

void api_lineage_get(struct exchange *x)
{
	find(x, true);
}

static void write_lineage(struct exchange *x, const struct found *f, struct buf *out)
{
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, exchange_param(x, 0));
	buf_append_lit(out, ",\"lineage\":");
	record_write_lineage(f->record, &f->extras, out);
	buf_append_char(out, '}');
}

void api_lineage_get_message(struct exchange *x, struct msg *m)
{
	static const struct view view = { LEGACY_LINEAGE, "Context not found", write_lineage };
	on_message(x, m, &view);
}

/* ---- GET /v1/context/{id}/explain ---- */

static void write_names(struct buf *out, const struct str *names, size_t count)
{
	buf_append_char(out, '[');
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_append_char(out, ',');
		json_write_string(out, names[i]);
	}
	buf_append_char(out, ']');
}

void api_explain_get(struct exchange *x)
{
	find(x, true);
}

static void write_trace(struct exchange *x, const struct found *f, struct buf *out)
{
	static const char *const status[] = { "guaranteed", "degraded", "unknown" };
	const struct record *r = f->record;
	(void)x;
	buf_append_lit(out, "{\"context_id\":");
	json_write_string(out, r->context_id);
	buf_append_lit(out, ",\"created_at\":\"");
	time_write_z(out, r->created_at_us);
	buf_append_lit(out, "\",\"latency_ms\":");
	json_write_float(out, r->lineage.assembly_latency_ms);
	buf_append_lit(out, ",\"token_usage\":");
	buf_append_i64(out, r->token_count);
	buf_append_lit(out, ",\"cost_usd\":");
	json_write_float(out, r->lineage.estimated_cost_usd);
	buf_printf(out, ",\"freshness_status\":\"%s\",\"stale_sources\":", status[r->assembly.freshness_status]);
	write_names(out, f->extras.stale_sources, f->extras.stale_sources_count);
	buf_append_lit(out, ",\"source_ids\":");
	write_names(out, f->extras.source_ids, f->extras.source_ids_count);
	buf_printf(out, ",\"cache_hit\":%s,\"missing_features\":[", f->extras.is_cached_response ? "true" : "false");
	for (size_t i = 0; i < f->extras.missing_features_count; i++) {
		buf_append_str(out, i ? STR(",") : STR(""));
		json_write_string(out, f->extras.missing_features[i].feature);
	}
	buf_append_lit(out, "],\"meta\":");
	record_write_meta(r, &f->extras, NULL, -1, (struct str){ 0 }, out);
	buf_append_char(out, '}');
}

void api_explain_get_message(struct exchange *x, struct msg *m)
{
	static const struct view view = { LEGACY_TRACE, "Context trace not found", write_trace };
	on_message(x, m, &view);
}
