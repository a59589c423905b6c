/* The canonical text: keys in code point order, every field present. The order below is that order. */
#include "store/record/record_text.h"
#include <math.h>

static void put_text(struct buf *out, struct str key, struct str value)
{
	buf_append_str(out, key);
	json_canonical_string(out, value);
}

static void put_text_or_null(struct buf *out, struct str key, struct str value)
{
	buf_append_str(out, key);
	if (value.p)
		json_canonical_string(out, value);
	else
		buf_append_lit(out, "null");
}

/* A hash of null where the model holds a number would be a false statement. */
static void put_float(struct buf *out, struct str key, double value)
{
	buf_append_str(out, key);
	if (!isfinite(value))
		out->failed = true;
	json_write_float(out, value);
}

static void put_texts(struct buf *out, struct str key, const struct str *texts, size_t count)
{
	buf_append_str(out, key);
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_append_char(out, ',');
		json_canonical_string(out, texts[i]);
	}
	buf_append_char(out, ']');
}

/* JSON text from the model, in canonical form; at is the number of containers around it. */
static void put_json(struct buf *out, struct str key, struct str text, unsigned at, bool must_be_object)
{
	struct json_limits limits = { .depth_max = RECORD_DEPTH_MAX - at, .bytes_max = RECORD_BYTES_MAX };
	struct json_error error;
	buf_append_str(out, key);
	yyjson_doc *doc = json_parse(text, &limits, &error);
	if (doc == NULL || (must_be_object && !yyjson_is_obj(yyjson_doc_get_root(doc))))
		out->failed = true;
	else
		json_canonical_value(out, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
}

static void put_assembly(struct buf *out, const struct record *r)
{
	buf_append_lit(out, "{\"assembly\":{\"dropped_items\":[");
	for (size_t i = 0; i < r->assembly.dropped_count; i++) {
		const struct record_dropped *d = &r->assembly.dropped[i];
		if (i)
			buf_append_char(out, ',');
		record_put_int(out, STR("{\"priority\":"), d->priority);
		put_text(out, STR(",\"reason\":"), record_reason_name(d));
		put_text(out, STR(",\"source_id\":"), d->source_id);
		record_put_int(out, STR(",\"token_count\":"), d->token_count);
		buf_append_char(out, '}');
	}
	record_put_int_or_null(out, STR("],\"freshness_sla_ms\":"), r->assembly.freshness_sla_ms);
	put_text(out, STR(",\"freshness_status\":"), record_freshness_name(r->assembly.freshness_status));
	put_texts(out, STR(",\"freshness_violations\":["), r->assembly.freshness_violations,
		  r->assembly.freshness_violations_count);
	record_put_int(out, STR(",\"items_included\":"), r->assembly.items_included);
	record_put_int(out, STR(",\"items_provided\":"), r->assembly.items_provided);
	record_put_int_or_null(out, STR(",\"max_tokens\":"), r->assembly.max_tokens);
	record_put_bool(out, STR(",\"required_items_included\":"), r->assembly.required_items_included);
	record_put_int(out, STR(",\"tokens_used\":"), r->assembly.tokens_used);
	buf_append_char(out, '}');
}

static void put_feature(struct buf *out, const struct record_feature *f)
{
	record_put_time(out, STR("{\"as_of\":"), f->as_of_us, f->as_of_zone_min);
	put_text(out, STR(",\"entity_id\":"), f->entity_id);
	record_put_int(out, STR(",\"freshness_ms\":"), f->freshness_ms);
	put_text(out, STR(",\"name\":"), f->name);
	put_text(out, STR(",\"source\":"), record_source_name(f->source));
	put_json(out, STR(",\"value\":"), f->value_json, 3, false);
	buf_append_char(out, '}');
}

static void put_item(struct buf *out, const struct record_item *item)
{
	record_put_time(out, STR("{\"as_of\":"), item->as_of_us, item->as_of_zone_min);
	put_text(out, STR(",\"chunk_id\":"), item->chunk_id);
	put_text_or_null(out, STR(",\"content\":"), item->content);
	put_text(out, STR(",\"content_hash\":"), item->content_hash);
	put_text(out, STR(",\"document_id\":"), item->document_id);
	record_put_int(out, STR(",\"freshness_ms\":"), item->freshness_ms);
	record_put_bool(out, STR(",\"is_stale\":"), item->is_stale);
	record_put_int(out, STR(",\"priority\":"), item->priority);
	put_text(out, STR(",\"retriever\":"), item->retriever);
	put_float(out, STR(",\"similarity_score\":"), item->similarity_score);
	put_text_or_null(out, STR(",\"source_url\":"), item->source_url);
	record_put_int(out, STR(",\"token_count\":"), item->token_count);
	buf_append_char(out, '}');
}

/* The signature, its time and its key id are no part of what is signed; the hash cannot cover itself. */
static void put_integrity(struct buf *out, const struct record *r, size_t *ret_previous_at)
{
	put_text(out, STR(",\"integrity\":{\"content_hash\":"), r->integrity.content_hash);
	buf_append_lit(out, ",\"previous_context_id\":");
	*ret_previous_at = out->n;
	put_text_or_null(out, STR(""), r->integrity.previous_context_id);
	buf_append_lit(out, ",\"record_hash\":\"\",\"signature\":null,\"signed_at\":null}");
}

static void put_lineage(struct buf *out, const struct record *r)
{
	put_float(out, STR(",\"lineage\":{\"assembly_latency_ms\":"), r->lineage.assembly_latency_ms);
	put_text_or_null(out, STR(",\"code_version\":"), r->lineage.code_version);
	put_float(out, STR(",\"estimated_cost_usd\":"), r->lineage.estimated_cost_usd);
	put_text(out, STR(",\"fabra_version\":"), r->lineage.fabra_version);
	put_texts(out, STR(",\"features_used\":["), r->lineage.features_used, r->lineage.features_used_count);
	put_texts(out, STR(",\"indexes_used\":["), r->lineage.indexes_used, r->lineage.indexes_used_count);
	put_texts(out, STR(",\"retrievers_used\":["), r->lineage.retrievers_used, r->lineage.retrievers_used_count);
	buf_append_char(out, '}');
}

bool record_write_canonical(const struct record *r, struct buf *out, size_t *ret_previous_at)
{
	size_t start = out->n, previous_at;
	put_assembly(out, r);
	put_text(out, STR(",\"content\":"), r->content);
	put_text(out, STR(",\"context_function\":"), r->context_function);
	put_text(out, STR(",\"context_id\":"), r->context_id);
	record_put_time(out, STR(",\"created_at\":"), r->created_at_us, r->created_at_zone_min);
	put_text(out, STR(",\"environment\":"), r->environment);
	buf_append_lit(out, ",\"features\":[");
	for (size_t i = 0; i < r->features_count; i++) {
		if (i)
			buf_append_char(out, ',');
		put_feature(out, &r->features[i]);
	}
	put_json(out, STR("],\"inputs\":"), r->inputs_json, 1, true);
	put_integrity(out, r, &previous_at);
	put_lineage(out, r);
	buf_append_lit(out, ",\"retrieved_items\":[");
	for (size_t i = 0; i < r->items_count; i++) {
		if (i)
			buf_append_char(out, ',');
		put_item(out, &r->items[i]);
	}
	put_text(out, STR("],\"schema_version\":"), r->schema_version);
	record_put_int(out, STR(",\"token_count\":"), r->token_count);
	buf_append_char(out, '}');
	if (ret_previous_at)
		*ret_previous_at = previous_at - start;
	return !out->failed;
}
