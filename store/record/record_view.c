/* What clients see of a record: its JSON in declared order, the reply's meta, the context log's lineage.
 * Raw UTF-8. */
#include "store/record/record_text.h"

static void put_text(struct buf *out, struct str key, struct str value)
{
	buf_append_str(out, key);
	json_write_string(out, value);
}

static void put_float(struct buf *out, struct str key, double value)
{
	buf_append_str(out, key);
	json_write_float(out, value);
}

static void put_json(struct buf *out, struct str key, struct str json)
{
	buf_append_str(out, key);
	buf_append_str(out, json);
}

static void put_dropped(struct buf *out, struct str key, const struct record *r)
{
	buf_append_str(out, key);
	for (size_t i = 0; i < r->assembly.dropped_count; i++) {
		const struct record_dropped *d = &r->assembly.dropped[i];
		if (i)
			buf_append_char(out, ',');
		put_text(out, STR("{\"source_id\":"), d->source_id);
		record_put_int(out, STR(",\"priority\":"), d->priority);
		record_put_int(out, STR(",\"token_count\":"), d->token_count);
		put_text(out, STR(",\"reason\":"), record_reason_name(d));
		buf_append_char(out, '}');
	}
	buf_append_char(out, ']');
}

/* ---- the record ---- */

static void put_feature(struct buf *out, const struct record_feature *f)
{
	put_text(out, STR("{\"name\":"), f->name);
	put_text(out, STR(",\"entity_id\":"), f->entity_id);
	put_json(out, STR(",\"value\":"), f->value_json);
	put_text(out, STR(",\"source\":"), record_source_name(f->source));
	record_put_time(out, STR(",\"as_of\":"), f->as_of_us, f->as_of_zone_min);
	record_put_int(out, STR(",\"freshness_ms\":"), f->freshness_ms);
	buf_append_char(out, '}');
}

static void put_item(struct buf *out, const struct record_item *item)
{
	put_text(out, STR("{\"retriever\":"), item->retriever);
	put_text(out, STR(",\"chunk_id\":"), item->chunk_id);
	put_text(out, STR(",\"document_id\":"), item->document_id);
	put_text(out, STR(",\"content_hash\":"), item->content_hash);
	record_put_text_or_null(out, STR(",\"content\":"), item->content);
	record_put_int(out, STR(",\"token_count\":"), item->token_count);
	record_put_int(out, STR(",\"priority\":"), item->priority);
	put_float(out, STR(",\"similarity_score\":"), item->similarity_score);
	record_put_text_or_null(out, STR(",\"source_url\":"), item->source_url);
	record_put_time(out, STR(",\"as_of\":"), item->as_of_us, item->as_of_zone_min);
	record_put_int(out, STR(",\"freshness_ms\":"), item->freshness_ms);
	record_put_bool(out, STR(",\"is_stale\":"), item->is_stale);
	buf_append_char(out, '}');
}

static void put_assembly(struct buf *out, const struct record *r)
{
	record_put_int_or_null(out, STR(",\"assembly\":{\"max_tokens\":"), r->assembly.max_tokens);
	record_put_int(out, STR(",\"tokens_used\":"), r->assembly.tokens_used);
	record_put_int(out, STR(",\"items_provided\":"), r->assembly.items_provided);
	record_put_int(out, STR(",\"items_included\":"), r->assembly.items_included);
	put_dropped(out, STR(",\"dropped_items\":["), r);
	record_put_bool(out, STR(",\"required_items_included\":"), r->assembly.required_items_included);
	record_put_int_or_null(out, STR(",\"freshness_sla_ms\":"), r->assembly.freshness_sla_ms);
	put_text(out, STR(",\"freshness_status\":"), record_freshness_name(r->assembly.freshness_status));
	record_put_texts(out, STR(",\"freshness_violations\":["), r->assembly.freshness_violations,
			 r->assembly.freshness_violations_count);
	buf_append_char(out, '}');
}

static void put_lineage(struct buf *out, const struct record *r)
{
	record_put_texts(out, STR(",\"lineage\":{\"features_used\":["), r->lineage.features_used,
			 r->lineage.features_used_count);
	record_put_texts(out, STR(",\"retrievers_used\":["), r->lineage.retrievers_used,
			 r->lineage.retrievers_used_count);
	record_put_texts(out, STR(",\"indexes_used\":["), r->lineage.indexes_used, r->lineage.indexes_used_count);
	record_put_text_or_null(out, STR(",\"code_version\":"), r->lineage.code_version);
	put_text(out, STR(",\"fabra_version\":"), r->lineage.fabra_version);
	put_float(out, STR(",\"assembly_latency_ms\":"), r->lineage.assembly_latency_ms);
	put_float(out, STR(",\"estimated_cost_usd\":"), r->lineage.estimated_cost_usd);
	buf_append_char(out, '}');
}

static void put_integrity(struct buf *out, const struct record *r, const struct record_stamp *stamp)
{
	struct str hash = r->integrity.record_hash, key_id = r->integrity.signing_key_id;
	struct str signature = r->integrity.signature;
	int64_t signed_at_us = r->integrity.signed_at_us;
	if (stamp) {
		hash = str_of(stamp->record_hash, RECORD_HASH_TEXT);
		key_id = stamp->has_signature ? str_from(stamp->signing_key_id) : (struct str){ 0 };
		signature = stamp->has_signature ? str_of(stamp->signature, sizeof stamp->signature)
						 : (struct str){ 0 };
		signed_at_us = stamp->has_signature ? stamp->signed_at_us : -1;
	}
	put_text(out, STR(",\"integrity\":{\"record_hash\":"), hash);
	put_text(out, STR(",\"content_hash\":"), r->integrity.content_hash);
	record_put_text_or_null(out, STR(",\"previous_context_id\":"), r->integrity.previous_context_id);
	if (signed_at_us == -1)
		buf_append_lit(out, ",\"signed_at\":null");
	else
		record_put_time(out, STR(",\"signed_at\":"), signed_at_us, 0);
	record_put_text_or_null(out, STR(",\"signing_key_id\":"), key_id);
	record_put_text_or_null(out, STR(",\"signature\":"), signature);
	buf_append_char(out, '}');
}

bool record_write_json(const struct record *r, const struct record_stamp *stamp, struct buf *out)
{
	put_text(out, STR("{\"context_id\":"), r->context_id);
	record_put_time(out, STR(",\"created_at\":"), r->created_at_us, r->created_at_zone_min);
	put_text(out, STR(",\"environment\":"), r->environment);
	put_text(out, STR(",\"schema_version\":"), r->schema_version);
	put_json(out, STR(",\"inputs\":"), r->inputs_json);
	put_text(out, STR(",\"context_function\":"), r->context_function);
	put_text(out, STR(",\"content\":"), r->content);
	record_put_int(out, STR(",\"token_count\":"), r->token_count);
	buf_append_lit(out, ",\"features\":[");
	for (size_t i = 0; i < r->features_count; i++) {
		if (i)
			buf_append_char(out, ',');
		put_feature(out, &r->features[i]);
	}
	buf_append_lit(out, "],\"retrieved_items\":[");
	for (size_t i = 0; i < r->items_count; i++) {
		if (i)
			buf_append_char(out, ',');
		put_item(out, &r->items[i]);
	}
	buf_append_char(out, ']');
	put_assembly(out, r);
	put_lineage(out, r);
	put_integrity(out, r, stamp);
	buf_append_char(out, '}');
	return !out->failed;
}

/* ---- freshness violations, in meta and lineage ---- */

/* Extras come from a file beside the record; what they say of its items is checked against it. */
static struct record_call call_within(const struct record *r, struct record_call call)
{
	if (call.first_item > r->items_count)
		call.first_item = r->items_count;
	if (call.items_count > r->items_count - call.first_item)
		call.items_count = r->items_count - call.first_item;
	return call;
}

static void put_violation(struct buf *out, bool *first, struct str name, int64_t age_ms, int64_t bound_ms)
{
	put_text(out, *first ? STR("{\"feature\":") : STR(",{\"feature\":"), name);
	record_put_int(out, STR(",\"age_ms\":"), age_ms);
	record_put_int(out, STR(",\"sla_ms\":"), bound_ms);
	buf_append_char(out, '}');
	*first = false;
}

/* Features older than the context allows, in the order they were read; then each chunk older than its
 * retriever allows. */
static void put_violations(struct buf *out, const struct record *r, const struct record_extras *e)
{
	bool first = true;
	int64_t sla_ms = r->assembly.freshness_sla_ms;
	buf_append_lit(out, ",\"freshness_violations\":[");
	for (size_t i = 0; sla_ms >= 0 && i < r->features_count; i++) {
		if (r->features[i].freshness_ms > sla_ms)
			put_violation(out, &first, r->features[i].name, r->features[i].freshness_ms, sla_ms);
	}
	for (size_t c = 0; c < e->calls_count; c++) {
		struct record_call call = call_within(r, e->calls[c]);
		for (size_t i = 0; call.max_age_ms >= 0 && i < call.items_count; i++) {
			int64_t age_ms = r->items[call.first_item + i].freshness_ms;
			if (age_ms > call.max_age_ms)
				put_violation(out, &first, call.retriever, age_ms, call.max_age_ms);
		}
	}
	buf_append_char(out, ']');
}

/* ---- meta ---- */

void record_write_meta(const struct record *r, const struct record_extras *e, const struct record_stamp *stamp,
		       int persisted, struct str evidence_error, struct buf *out)
{
	buf_append_lit(out, "{\"timestamp\":\"");
	time_write_offset(out, r->created_at_us);
	put_text(out, STR("\",\"name\":"), r->context_function);
	buf_append_lit(out, ",\"status\":\"assembled\"");
	record_put_int(out, STR(",\"dropped_items\":"), (int64_t)r->assembly.dropped_count);
	record_put_texts(out, STR(",\"source_ids\":["), e->source_ids, e->source_ids_count);
	put_text(out, STR(",\"freshness_status\":"), record_freshness_name(r->assembly.freshness_status));
	put_violations(out, r, e);
	record_put_int_or_null(out, STR(",\"freshness_sla_ms\":"), r->assembly.freshness_sla_ms);
	record_put_texts(out, STR(",\"stale_sources\":["), e->stale_sources, e->stale_sources_count);
	record_put_bool(out, STR(",\"budget_exceeded\":"), e->budget_exceeded);
	put_float(out, STR(",\"cost_usd\":"), r->lineage.estimated_cost_usd);
	record_put_int(out, STR(",\"token_usage\":"), r->token_count);
	record_put_int_or_null(out, STR(",\"max_tokens\":"), r->assembly.max_tokens);
	put_text(out, STR(",\"evidence_mode\":"), e->evidence_mode);
	if (e->interaction_ref_json.p)
		put_json(out, STR(",\"interaction_ref\":"), e->interaction_ref_json);
	if (stamp) {
		put_text(out, STR(",\"record_hash\":"), str_of(stamp->record_hash, RECORD_HASH_TEXT));
		put_text(out, STR(",\"content_hash\":"), r->integrity.content_hash);
	}
	if (persisted >= 0) {
		record_put_bool(out, STR(",\"evidence_persisted\":"), persisted > 0);
		record_put_bool(out, STR(",\"context_log_persisted\":"), persisted > 0);
		if (evidence_error.p)
			put_text(out, STR(",\"evidence_error\":"), evidence_error);
	}
	if (e->is_cached_response && persisted >= 0)
		buf_append_lit(out, ",\"is_cached_response\":true");
	record_put_missing(out, e);
	buf_append_char(out, '}');
}

/* ---- lineage ---- */

static void put_feature_lineage(struct buf *out, const struct record_feature *f)
{
	put_text(out, STR("{\"feature_name\":"), f->name);
	put_text(out, STR(",\"entity_id\":"), f->entity_id);
	put_json(out, STR(",\"value\":"), f->value_json);
	record_put_time(out, STR(",\"timestamp\":"), f->as_of_us, f->as_of_zone_min);
	record_put_int(out, STR(",\"freshness_ms\":"), f->freshness_ms);
	put_text(out, STR(",\"source\":"), record_source_name(f->source));
	buf_append_char(out, '}');
}

static void put_chunk(struct buf *out, const struct record_item *item, size_t position)
{
	put_text(out, STR("{\"chunk_id\":"), item->chunk_id);
	put_text(out, STR(",\"document_id\":"), item->document_id);
	put_text(out, STR(",\"content_hash\":"), item->content_hash);
	record_put_text_or_null(out, STR(",\"source_url\":"), item->source_url);
	record_put_time(out, STR(",\"indexed_at\":"), item->as_of_us, item->as_of_zone_min);
	record_put_int(out, STR(",\"document_modified_at\":null,\"freshness_ms\":"), item->freshness_ms);
	record_put_bool(out, STR(",\"is_stale\":"), item->is_stale);
	put_float(out, STR(",\"similarity_score\":"), item->similarity_score);
	put_text(out, STR(",\"retriever_name\":"), item->retriever);
	record_put_int(out, STR(",\"position_in_results\":"), (int64_t)position);
	buf_append_char(out, '}');
}

static void put_call(struct buf *out, const struct record *r, struct record_call call)
{
	int64_t stale = 0, oldest_ms = 0;
	put_text(out, STR("{\"retriever_name\":"), call.retriever);
	record_put_text_or_null(out, STR(",\"query\":"), call.query);
	record_put_int(out, STR(",\"results_count\":"), (int64_t)call.items_count);
	put_float(out, STR(",\"latency_ms\":"), call.latency_ms);
	record_put_text_or_null(out, STR(",\"index_name\":"), call.index_name);
	buf_append_lit(out, ",\"chunks_returned\":[");
	for (size_t i = 0; i < call.items_count; i++) {
		const struct record_item *item = &r->items[call.first_item + i];
		if (i)
			buf_append_char(out, ',');
		put_chunk(out, item, i);
		stale += item->is_stale;
		if (item->freshness_ms > oldest_ms)
			oldest_ms = item->freshness_ms;
	}
	record_put_int(out, STR("],\"stale_chunks_count\":"), stale);
	record_put_int(out, STR(",\"oldest_chunk_ms\":"), oldest_ms);
	buf_append_char(out, '}');
}

void record_write_lineage(const struct record *r, const struct record_extras *e, struct buf *out)
{
	int64_t stalest_ms = 0;
	put_text(out, STR("{\"context_id\":"), r->context_id);
	record_put_time(out, STR(",\"timestamp\":"), r->created_at_us, r->created_at_zone_min);
	put_text(out, STR(",\"context_name\":"), r->context_function);
	put_json(out, STR(",\"context_args\":"), r->inputs_json);
	buf_append_lit(out, ",\"features_used\":[");
	for (size_t i = 0; i < r->features_count; i++) {
		if (i)
			buf_append_char(out, ',');
		put_feature_lineage(out, &r->features[i]);
		if (r->features[i].freshness_ms > stalest_ms)
			stalest_ms = r->features[i].freshness_ms;
	}
	buf_append_lit(out, "],\"retrievers_used\":[");
	for (size_t i = 0; i < e->calls_count; i++) {
		if (i)
			buf_append_char(out, ',');
		put_call(out, r, call_within(r, e->calls[i]));
	}
	record_put_int(out, STR("],\"items_provided\":"), r->assembly.items_provided);
	record_put_int(out, STR(",\"items_included\":"), r->assembly.items_included);
	record_put_int(out, STR(",\"items_dropped\":"), (int64_t)r->assembly.dropped_count);
	put_dropped(out, STR(",\"dropped_items_detail\":["), r);
	put_text(out, STR(",\"freshness_status\":"), record_freshness_name(r->assembly.freshness_status));
	record_put_int(out, STR(",\"stalest_feature_ms\":"), stalest_ms);
	put_violations(out, r, e);
	record_put_int(out, STR(",\"token_usage\":"), r->token_count);
	record_put_int_or_null(out, STR(",\"max_tokens\":"), r->assembly.max_tokens);
	put_float(out, STR(",\"estimated_cost_usd\":"), r->lineage.estimated_cost_usd);
	buf_append_char(out, '}');
}
