/* Reading what was recorded: the record itself, and the views that Fabra calls context, lineage and trace. */
#include "http/api.h"
#include "store/ledger.h"
#include "store/offline.h"
#include "store/timefmt.h"
#include <stdlib.h>

/* ---- finding ---- */

static void find(struct exchange *x, struct str ref, bool want_view)
{
	struct actor *a = exchange_actor(x);
	struct ledger_find *m = ledger_find_new(a->loop, ref, want_view);
	rt_ask(a, api_node(x)->ledger_reader, &m->head, exchange_deadline_ns(x), a->self);
}

/* The record that was found, or NULL after an error was answered. */
static const struct ledger_record *found(struct exchange *x, const struct msg *m, const char *not_found)
{
	if (m->kind == LEDGER_FOUND && m->status == RT_OK)
		return ((const struct ledger_found *)m)->record;
	if (m->kind == LEDGER_FOUND && m->status == RT_ENOTFOUND)
		exchange_error(x, 404, "%s", not_found);
	else
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the ledger");
	return NULL;
}

static struct record *parse(struct exchange *x, const struct ledger_record *found)
{
	const char *why;
	struct record *r = record_parse(buf_str(&found->canonical), false, exchange_arena(x), &why);
	if (r == NULL)
		exchange_error(x, 500, "the stored record cannot be read: %s", why);
	return r;
}

/* ---- GET /v1/record/{ref} ---- */

void api_record_get(struct exchange *x)
{
	find(x, exchange_param(x, 0), false);
}

static void reply_record(struct exchange *x, struct str record_json, const struct record_stamp *stamp)
{
	const char *why;
	struct record *r = record_parse(record_json, false, exchange_arena(x), &why);
	struct buf out = { 0 };
	if (r && record_write_json(r, stamp, &out))
		exchange_reply_json(x, 200, buf_str(&out));
	else
		exchange_error(x, 500, "the stored record cannot be read");
	buf_finish(&out);
}

/* Not in the ledger: it may be in a file that Fabra's Python program left. */
static void find_foreign(struct exchange *x)
{
	struct actor *a = exchange_actor(x);
	rt_ask(a, api_node(x)->offline_reader, &offline_foreign_new(a->loop, exchange_param(x, 0))->head,
	       exchange_deadline_ns(x), a->self);
}

void api_record_get_message(struct exchange *x, struct msg *m)
{
	if (m->kind == OFFLINE_RESULT) {
		struct offline_result *foreign = (struct offline_result *)m;
		if (m->status == RT_OK)
			exchange_reply_json(x, 200, buf_str(&foreign->json));
		else if (m->status == RT_ENOTFOUND)
			exchange_error(x, 404, "Record not found");
		else
			exchange_fail(x, m->status, "the offline store");
		return;
	}
	if (m->kind == LEDGER_FOUND && m->status == RT_ENOTFOUND) {
		find_foreign(x);
		return;
	}
	const struct ledger_record *r = found(x, m, "Record not found");
	if (r == NULL)
		return;
	if (r->imported)
		exchange_reply_json(x, 200, buf_str(&r->canonical));
	else
		reply_record(x, buf_str(&r->canonical), &r->stamp);
}

/* ---- POST /v1/record ---- */

static struct ledger_entry *import_entry(const struct record *r, struct str body)
{
	struct ledger_entry *e = ledger_entry_new(LEDGER_RECORD_IMPORTED);
	if (e == NULL)
		return NULL;
	memcpy(e->context_id, r->context_id.p, r->context_id.n);
	memcpy(e->stamp.record_hash, r->integrity.record_hash.p, RECORD_HASH_TEXT);
	buf_append_str(&e->body, body);
	return e;
}

void api_record_post(struct exchange *x)
{
	if (api_body_model(x) == NULL)
		return;
	struct str body = exchange_body(x);
	const char *why;
	struct record *r = record_parse(body, true, exchange_arena(x), &why);
	struct record_verdict verdict;
	if (r == NULL || !record_verify(body, true, NULL, &verdict, &why)) {
		exchange_invalid(x, "value_error", "[\"body\"]", why, STR("null"), NULL);
		return;
	}
	if (!verdict.content_hash_ok || !verdict.record_hash_ok) {
		exchange_invalid(x, "value_error",
				 verdict.content_hash_ok ? "[\"body\",\"integrity\",\"record_hash\"]"
							 : "[\"body\",\"integrity\",\"content_hash\"]",
				 "Value error, the hash does not match the record", STR("null"), NULL);
		return;
	}
	struct str id = r->context_id;
	if (!str_starts(id, STR("ctx_")) || !uuid_is_text(str_skip(id, 4))) {
		exchange_invalid(x, "value_error", "[\"body\",\"context_id\"]", "Value error, expected ctx_ and a UUID",
				 STR("null"), NULL);
		return;
	}
	struct ledger_entry *e = import_entry(r, body);
	if (e == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return;
	}
	struct actor *a = exchange_actor(x);
	rt_ask(a, api_node(x)->committer, &ledger_append_new(a->loop, e)->head, exchange_deadline_ns(x), ACTOR_NONE);
}

void api_record_post_message(struct exchange *x, struct msg *m)
{
	if (m->kind != LEDGER_APPENDED) {
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the ledger");
		return;
	}
	const struct ledger_entry *e = ((struct ledger_append *)m)->entry;
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

static bool parse_view(struct exchange *x, const struct msg *m, const char *not_found, struct record **ret_record,
		       struct record_extras *ret_extras, const struct ledger_record **ret_found)
{
	const struct ledger_record *f = found(x, m, not_found);
	if (f == NULL)
		return false;
	*ret_found = f;
	*ret_record = parse(x, f);
	*ret_extras = (struct record_extras){ .version = STR("v1"), .evidence_mode = STR("best_effort") };
	if (*ret_record && f->extras.n)
		record_extras_parse(buf_str(&f->extras), exchange_arena(x), ret_extras);
	return *ret_record != NULL;
}

void api_context_get(struct exchange *x)
{
	find(x, exchange_param(x, 0), true);
}

void api_context_get_message(struct exchange *x, struct msg *m)
{
	struct record *r;
	struct record_extras e;
	const struct ledger_record *f;
	if (!parse_view(x, m, "Context not found", &r, &e, &f))
		return;
	struct buf out = { 0 };
	buf_append_lit(&out, "{\"context_id\":");
	json_write_string(&out, r->context_id);
	buf_append_lit(&out, ",\"content\":");
	json_write_string(&out, r->content);
	buf_append_lit(&out, ",\"lineage\":");
	record_write_lineage(r, &e, &out);
	buf_append_lit(&out, ",\"meta\":");
	record_write_meta(r, &e, &f->stamp, -1, (struct str){ 0 }, &out);
	buf_append_lit(&out, ",\"version\":");
	json_write_string(&out, e.version);
	buf_append_char(&out, '}');
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

/* ---- GET /v1/context/{id}/lineage ---- */

void api_lineage_get(struct exchange *x)
{
	find(x, exchange_param(x, 0), true);
}

void api_lineage_get_message(struct exchange *x, struct msg *m)
{
	struct record *r;
	struct record_extras e;
	const struct ledger_record *f;
	if (!parse_view(x, m, "Context not found", &r, &e, &f))
		return;
	struct buf out = { 0 };
	buf_append_lit(&out, "{\"context_id\":");
	json_write_string(&out, exchange_param(x, 0));
	buf_append_lit(&out, ",\"lineage\":");
	record_write_lineage(r, &e, &out);
	buf_append_char(&out, '}');
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
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
	find(x, exchange_param(x, 0), true);
}

void api_explain_get_message(struct exchange *x, struct msg *m)
{
	static const char *const status[] = { "guaranteed", "degraded", "unknown" };
	struct record *r;
	struct record_extras e;
	const struct ledger_record *f;
	if (!parse_view(x, m, "Context trace not found", &r, &e, &f))
		return;
	struct buf out = { 0 };
	buf_append_lit(&out, "{\"context_id\":");
	json_write_string(&out, r->context_id);
	buf_append_lit(&out, ",\"created_at\":\"");
	time_write_z(&out, r->created_at_us);
	buf_append_lit(&out, "\",\"latency_ms\":");
	json_write_float(&out, r->lineage.assembly_latency_ms);
	buf_append_lit(&out, ",\"token_usage\":");
	buf_append_i64(&out, r->token_count);
	buf_append_lit(&out, ",\"cost_usd\":");
	json_write_float(&out, r->lineage.estimated_cost_usd);
	buf_printf(&out, ",\"freshness_status\":\"%s\",\"stale_sources\":", status[r->assembly.freshness_status]);
	write_names(&out, e.stale_sources, e.stale_sources_count);
	buf_append_lit(&out, ",\"source_ids\":");
	write_names(&out, e.source_ids, e.source_ids_count);
	buf_append_lit(&out, ",\"cache_hit\":false,\"missing_features\":[],\"meta\":{}}");
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}
