#include "actors/recorder.h"
#include "actors/pricing.h"
#include "runtime/hash.h"
#include <stdio.h>

/* Never negative, also when the clock was set back. */
static int64_t age_ms(int64_t now_us, int64_t then_us)
{
	return now_us > then_us ? (now_us - then_us) / 1000 : 0;
}

/* ---- freshness ---- */

struct violations {
	struct str *names;
	size_t count, cap;
};

static void violated(struct violations *v, struct str name)
{
	if (v->count < v->cap)
		v->names[v->count++] = name;
}

static bool contains(const struct str *names, size_t count, struct str name)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(names[i], name))
			return true;
	return false;
}

/* ---- the parts of a record ---- */

/* A list without repetitions. */
struct once {
	struct record_missing *list;
	uint32_t *slots; /* open addressing: place in the list + 1; 0 = free */
	uint64_t mask;
};

static bool once_init(struct once *o, struct arena *arena, size_t max)
{
	uint64_t slots = 2;
	while (slots < 2 * max)
		slots *= 2;
	o->mask = slots - 1;
	o->list = arena_alloc(arena, (max + 1) * sizeof *o->list);
	o->slots = arena_zalloc(arena, slots * sizeof *o->slots);
	return o->list && o->slots;
}

static void add_once(struct once *o, size_t *count, struct record_missing m)
{
	uint64_t at = hash_mix(hash64(m.entity_id) ^ hash64(m.feature)) & o->mask;
	for (; o->slots[at]; at = (at + 1) & o->mask) {
		const struct record_missing *known = &o->list[o->slots[at] - 1];
		if (str_eq(known->feature, m.feature) && str_eq(known->entity_id, m.entity_id) &&
		    str_eq(known->reason, m.reason))
			return;
	}
	o->list[(*count)++] = m;
	o->slots[at] = (uint32_t)*count;
}

/* A default has no age. A missing feature is listed with the value null, and is a violation with any SLA. */
static bool fill_features(const struct node *n, const struct material *m, struct arena *arena, struct record *r,
			  struct record_extras *e, struct violations *too_old)
{
	const struct definitions *d = n->definitions;
	const struct reads *reads = m->reads;
	size_t count = reads->features_count;
	struct record_feature *features = arena_alloc(arena, (count + 1) * sizeof *features);
	struct str *names = arena_alloc(arena, (count + 1) * sizeof *names);
	struct once missing, defaults;
	if (features == NULL || names == NULL || !once_init(&missing, arena, count) ||
	    !once_init(&defaults, arena, count))
		return false;
	for (size_t i = 0; i < count; i++) {
		const struct read_feature *f = &reads->features[i];
		struct str name = d->features[f->feature].name;
		bool has_age = f->state == FEATURE_FOUND && f->source != RECORD_FALLBACK;
		int64_t age = has_age ? age_ms(r->created_at_us, f->as_of_us) : 0;
		features[i] = (struct record_feature){ .name = name,
						       .entity_id = f->entity_id,
						       .value_json = f->value_json.p ? f->value_json : STR("null"),
						       .source = f->source,
						       .freshness_ms = age,
						       .as_of_us = has_age ? f->as_of_us : r->created_at_us };
		names[i] = name;
		if (f->state != FEATURE_FOUND)
			add_once(&missing, &e->missing_features_count,
				 (struct record_missing){ name, f->entity_id,
							  str_from(feature_missing_reason(f->state)) });
		else if (!has_age)
			add_once(&defaults, &e->default_features_count,
				 (struct record_missing){ .feature = name, .entity_id = f->entity_id });
		bool is_too_old = r->assembly.freshness_sla_ms > 0 && age > r->assembly.freshness_sla_ms;
		if (is_too_old || f->state != FEATURE_FOUND)
			violated(too_old, name);
	}
	e->missing_features = missing.list;
	e->default_features = defaults.list;
	r->features = features;
	r->features_count = count;
	r->lineage.features_used = names;
	r->lineage.features_used_count = count;
	return true;
}

static bool fill_failures(const struct node *n, const struct material *m, struct arena *arena, struct record_extras *e)
{
	const struct reads *reads = m->reads;
	struct record_missing_retriever *missing = arena_alloc(arena, (reads->failures_count + 1ul) * sizeof *missing);
	if (missing == NULL)
		return false;
	for (uint32_t i = 0; i < reads->failures_count; i++)
		missing[i] = (struct record_missing_retriever){
			n->definitions->retrievers[reads->failures[i].retriever].name,
			str_from(feature_missing_reason(reads->failures[i].state))
		};
	e->missing_retrievers = missing;
	e->missing_retrievers_count = reads->failures_count;
	return true;
}

static size_t chunks_total(const struct material *m)
{
	size_t total = 0;
	for (uint32_t c = 0; c < m->calls_count; c++)
		total += m->calls[c].retrieved->chunks_count;
	return total;
}

static void fill_call_items(const struct node *n, const struct material_call *call, int64_t now_us,
			    struct record_item *out, struct violations *too_old)
{
	const struct retrieved *q = call->retrieved;
	const struct def_retriever *d = &n->definitions->retrievers[q->retriever];
	for (uint32_t i = 0; i < q->chunks_count; i++) {
		const struct chunk *c = &q->chunks[i];
		int64_t age = age_ms(now_us, c->indexed_at_us);
		bool is_stale = d->max_age_ms && age > d->max_age_ms;
		out[i] = (struct record_item){ .retriever = d->name,
					       .chunk_id = c->chunk_id,
					       .document_id = c->document_id,
					       .content_hash = c->content_hash,
					       .source_url = c->source_url,
					       .token_count = call->chunk_tokens[i],
					       .priority = i,
					       .similarity_score = c->score,
					       .as_of_us = c->indexed_at_us,
					       .freshness_ms = age,
					       .is_stale = is_stale };
		if (is_stale)
			violated(too_old, d->name);
	}
}

static bool fill_items(const struct node *n, const struct material *m, struct arena *arena, struct record *r,
		       struct record_extras *e, struct violations *too_old)
{
	size_t total = chunks_total(m);
	struct record_item *items = arena_alloc(arena, (total + 1) * sizeof *items);
	struct record_call *calls = arena_zalloc(arena, (m->calls_count + 1) * sizeof *calls);
	struct str *names = arena_alloc(arena, (m->calls_count + 1) * sizeof *names);
	struct str *indexes = arena_alloc(arena, (m->calls_count + 1) * sizeof *indexes);
	if (items == NULL || calls == NULL || names == NULL || indexes == NULL)
		return false;
	size_t at = 0, names_count = 0, indexes_count = 0;
	for (uint32_t c = 0; c < m->calls_count; c++) {
		const struct retrieved *q = m->calls[c].retrieved;
		const struct def_retriever *d = &n->definitions->retrievers[q->retriever];
		fill_call_items(n, &m->calls[c], r->created_at_us, items + at, too_old);
		calls[c] = (struct record_call){ .retriever = d->name,
						 .query = q->query,
						 .index_name = d->index,
						 .latency_ms = q->latency_ms,
						 .first_item = at,
						 .items_count = q->chunks_count,
						 .max_age_ms = d->max_age_ms ? d->max_age_ms : -1 };
		at += q->chunks_count;
		if (!contains(names, names_count, d->name))
			names[names_count++] = d->name;
		if (d->index.p && !contains(indexes, indexes_count, d->index))
			indexes[indexes_count++] = d->index;
	}
	r->items = items;
	r->items_count = total;
	r->lineage.retrievers_used = names;
	r->lineage.retrievers_used_count = names_count;
	r->lineage.indexes_used = indexes;
	r->lineage.indexes_used_count = indexes_count;
	e->calls = calls;
	e->calls_count = m->calls_count;
	return true;
}

static struct str position_name(uint32_t position, struct arena *arena)
{
	char name[24];
	int n = snprintf(name, sizeof name, "item_%u", position);
	return arena_dup(arena, str_of(name, (size_t)n));
}

static struct str item_name(const struct material *m, uint32_t item, struct arena *arena)
{
	if (m->items[item].source_id.p)
		return m->items[item].source_id;
	return position_name(item, arena);
}

static bool fill_assembly(const struct def_context *d, const struct material *m, struct arena *arena, struct record *r)
{
	struct record_dropped *dropped = arena_zalloc(arena,
						      (m->dropped_count + m->absent_count + 1ul) * sizeof *dropped);
	bool has_required = true;
	if (dropped == NULL)
		return false;
	for (uint32_t i = 0; i < m->dropped_count; i++) {
		const struct material_item *item = &m->items[m->droppable[i]];
		dropped[i] = (struct record_dropped){ .source_id = item_name(m, m->droppable[i], arena),
						      .priority = item->priority,
						      .token_count = item->span.total };
	}
	for (uint32_t i = 0; i < m->absent_count; i++) {
		const struct material_absent *item = &m->absent[i];
		dropped[m->dropped_count + i] = (struct record_dropped){
			.source_id = item->source_id.p ? item->source_id : position_name(item->position, arena),
			.priority = item->priority,
			.priority_cutoff = true
		};
		has_required = has_required && !item->required;
	}
	r->assembly.max_tokens = d->max_tokens ? d->max_tokens : -1;
	r->assembly.tokens_used = m->tokens;
	r->assembly.items_provided = m->items_count + m->absent_count;
	r->assembly.items_included = m->items_count - m->dropped_count;
	r->assembly.dropped = dropped;
	r->assembly.dropped_count = m->dropped_count + m->absent_count;
	r->assembly.required_items_included = !m->budget_exceeded && has_required;
	bool ok = true;
	for (size_t i = 0; i < r->assembly.dropped_count; i++)
		ok = ok && dropped[i].source_id.p;
	return ok;
}

/* stale_sources: items past max_staleness and features past the SLA, each once, as in Fabra. */
static bool fill_sources(const struct def_context *d, const struct material *m, struct arena *arena,
			 const struct record *r, struct record_extras *e)
{
	struct str *sources = arena_alloc(arena, (m->items_count + m->absent_count + 1ul) * sizeof *sources);
	struct str *stale = arena_alloc(arena, (m->items_count + r->features_count + 1) * sizeof *stale);
	if (sources == NULL || stale == NULL)
		return false;
	for (uint32_t i = 0; i < m->items_count; i++) {
		const struct material_item *item = &m->items[i];
		if (item->source_id.p)
			sources[e->source_ids_count++] = item->source_id;
		if (d->max_staleness_ms && item->last_updated_us != INT64_MIN &&
		    age_ms(r->created_at_us, item->last_updated_us) > d->max_staleness_ms)
			stale[e->stale_sources_count++] = item->source_id.p ? item->source_id : STR("unknown");
	}
	for (uint32_t i = 0; i < m->absent_count; i++)
		if (m->absent[i].source_id.p)
			sources[e->source_ids_count++] = m->absent[i].source_id;
	for (size_t i = 0; i < r->features_count; i++) {
		const struct record_feature *f = &r->features[i];
		if (r->assembly.freshness_sla_ms > 0 && f->freshness_ms > r->assembly.freshness_sla_ms &&
		    !contains(stale, e->stale_sources_count, f->name))
			stale[e->stale_sources_count++] = f->name;
	}
	e->source_ids = sources;
	e->stale_sources = stale;
	return true;
}

/* The arguments with the interaction reference added, when they do not carry one themselves. */
static struct str inputs_with(struct str args_json, struct str interaction_ref_json, struct arena *arena)
{
	if (interaction_ref_json.p == NULL)
		return args_json;
	struct json_error error;
	yyjson_doc *args = json_parse(args_json, JSON_OWN, &error);
	bool has_own = args && yyjson_obj_get(yyjson_doc_get_root(args), "interaction_ref");
	yyjson_doc_free(args);
	if (has_own)
		return args_json;
	struct buf out = { 0 };
	buf_append(&out, args_json.p, args_json.n - 1);
	if (args_json.n > 2)
		buf_append_char(&out, ',');
	buf_append_lit(&out, "\"interaction_ref\":");
	buf_append_str(&out, interaction_ref_json);
	buf_append_char(&out, '}');
	struct str inputs = out.failed ? (struct str){ 0 } : arena_dup(arena, buf_str(&out));
	buf_finish(&out);
	return inputs;
}

static struct str new_context_id(struct node_loop *nl, int64_t now_us, struct arena *arena)
{
	char id[4 + UUID_TEXT] = "ctx_";
	uuid7_text(&nl->ids, now_us, loop_random(nl->loop), loop_random(nl->loop), id + 4);
	return arena_dup(arena, str_of(id, sizeof id));
}

bool recorder_fill(struct node_loop *nl, const struct material *m, const struct recorder_request *q,
		   struct arena *arena, struct record *r, struct record_extras *e)
{
	const struct node *n = nl->node;
	const struct def_context *d = &n->definitions->contexts[m->context];
	int64_t now_us = loop_wall_us(nl->loop);
	*r = (struct record){
		.context_id = new_context_id(nl, now_us, arena),
		.created_at_us = now_us,
		.environment = n->environment,
		.schema_version = STR("1.0.0"),
		.context_function = d->name,
		.inputs_json = inputs_with(q->args_json, q->interaction_ref_json, arena),
		.content = n->include_content ? m->content : STR(""),
		.token_count = m->tokens,
		.integrity = { .signed_at_us = -1 },
	};
	*e = (struct record_extras){ .version = d->version.n ? d->version : STR("v1"),
				     .interaction_ref_json = q->interaction_ref_json,
				     .evidence_mode = n->evidence_required ? STR("required") : STR("best_effort"),
				     .is_cached_response = q->is_cached,
				     .budget_exceeded = m->budget_exceeded };
	r->assembly.freshness_sla_ms = d->freshness_sla_ms ? d->freshness_sla_ms : -1;
	struct violations too_old = { .cap = m->reads->features_count + chunks_total(m) };
	too_old.names = arena_alloc(arena, (too_old.cap + 1) * sizeof *too_old.names);
	bool ok = r->context_id.p && r->inputs_json.p && too_old.names && fill_features(n, m, arena, r, e, &too_old) &&
		  fill_failures(n, m, arena, e) && fill_items(n, m, arena, r, e, &too_old) &&
		  fill_assembly(d, m, arena, r) && fill_sources(d, m, arena, r, e);
	r->assembly.freshness_violations = too_old.names;
	r->assembly.freshness_violations_count = too_old.count;
	bool is_degraded = too_old.count || e->stale_sources_count || e->missing_retrievers_count;
	r->assembly.freshness_status = is_degraded ? RECORD_DEGRADED : RECORD_GUARANTEED;
	r->lineage.code_version = str_from(n->definitions->code_version);
	r->lineage.fabra_version = n->fabra_version;
	r->lineage.assembly_latency_ms = (double)((loop_mono_ns(nl->loop) - q->started_ns) / 1000) / 1000.0;
	r->lineage.estimated_cost_usd = pricing_cost_usd(n->pricing, d->model, (uint64_t)m->tokens, 0);
	char *hash = arena_alloc(arena, RECORD_HASH_TEXT);
	if (!ok || hash == NULL)
		return false;
	if (n->include_content)
		memcpy(hash, m->content_hash, RECORD_HASH_TEXT);
	else
		record_hash_text(STR(""), hash);
	r->integrity.content_hash = str_of(hash, RECORD_HASH_TEXT);
	return true;
}

struct str recorder_freshness_error(const struct node *n, const struct record *r, const struct record_extras *e,
				    struct arena *arena)
{
	if (r->assembly.freshness_violations_count == 0 && e->missing_retrievers_count == 0)
		return (struct str){ 0 };
	struct buf text = { 0 };
	buf_printf(&text, "Freshness SLA breached for %zu feature(s): ",
		   r->assembly.freshness_violations_count + e->missing_retrievers_count);
	const char *between = "";
	for (size_t i = 0; i < r->features_count; i++) {
		const struct record_feature *f = &r->features[i];
		if (r->assembly.freshness_sla_ms <= 0 || f->freshness_ms <= r->assembly.freshness_sla_ms)
			continue;
		buf_printf(&text, "%s%.*s (%lldms > %lldms)", between, STR_ARG(f->name), (long long)f->freshness_ms,
			   (long long)r->assembly.freshness_sla_ms);
		between = ", ";
	}
	for (size_t i = 0; i < r->items_count; i++) {
		const struct record_item *item = &r->items[i];
		uint32_t retriever = definitions_retriever(n->definitions, item->retriever);
		if (!item->is_stale || retriever == DEF_NONE)
			continue;
		buf_printf(&text, "%s%.*s (%lldms > %lldms)", between, STR_ARG(item->retriever),
			   (long long)item->freshness_ms, (long long)n->definitions->retrievers[retriever].max_age_ms);
		between = ", ";
	}
	for (size_t i = 0; i < e->missing_features_count; i++, between = ", ")
		buf_printf(&text, "%s%.*s (missing: %.*s)", between, STR_ARG(e->missing_features[i].feature),
			   STR_ARG(e->missing_features[i].reason));
	for (size_t i = 0; i < e->missing_retrievers_count; i++, between = ", ")
		buf_printf(&text, "%s%.*s (missing: %.*s)", between, STR_ARG(e->missing_retrievers[i].retriever),
			   STR_ARG(e->missing_retrievers[i].reason));
	struct str out = arena_dup(arena, buf_str(&text));
	bool is_whole = !text.failed && out.p;
	buf_finish(&text);
	return is_whole ? out
			: STR("Freshness SLA breached"); /* refused without the names, for which there is no memory */
}

struct evidence_entry *recorder_entry(const struct record *r, const struct record_extras *e)
{
	struct evidence_entry *entry = evidence_entry_new(EVIDENCE_RECORD);
	if (entry == NULL)
		return NULL;
	memcpy(entry->context_id, r->context_id.p, r->context_id.n);
	/* An estimate of the size: without it the buffer grows six times, with a copy each. */
	buf_reserve(&entry->body, 2048 + r->content.n + r->content.n / 16 + 512 * (r->items_count + r->features_count));
	bool ok = record_write_canonical(r, &entry->body, &entry->previous_at);
	record_extras_write(r, e, &entry->extras);
	if (ok && !entry->body.failed && !entry->extras.failed)
		return entry;
	evidence_entry_free(entry);
	return NULL;
}

/* ---- interaction references ---- */

static void write_text_member(struct buf *out, const char *name, yyjson_val *v)
{
	if (out->n > 1)
		buf_append_char(out, ',');
	json_write_string(out, str_from(name));
	buf_append_char(out, ':');
	struct buf text = { 0 };
	if (yyjson_is_str(v))
		buf_append_str(&text, json_str(v));
	else if (yyjson_is_bool(v)) /* str() of Python */
		buf_append_str(&text, yyjson_get_bool(v) ? STR("True") : STR("False"));
	else
		json_write_value(&text, v);
	json_write_string(out, buf_str(&text));
	out->failed |= text.failed;
	buf_finish(&text);
}

static bool is_given(yyjson_val *v)
{
	return v && !yyjson_is_null(v);
}

static bool is_text(yyjson_val *v)
{
	return yyjson_is_str(v) && yyjson_get_len(v) > 0;
}

static void write_parts(struct buf *out, yyjson_val *args)
{
	buf_append_char(out, '{');
	yyjson_val *mode = yyjson_obj_get(args, "interaction_mode");
	if (!is_text(mode))
		mode = yyjson_obj_get(args, "mode");
	if (is_text(mode))
		write_text_member(out, "mode", mode);
	static const char *const ids[] = { "call_id", "session_id", "turn_id" };
	for (size_t i = 0; i < 3; i++)
		if (is_given(yyjson_obj_get(args, ids[i])))
			write_text_member(out, ids[i], yyjson_obj_get(args, ids[i]));
	yyjson_val *index = yyjson_obj_get(args, "turn_index");
	if (yyjson_is_int(index) || yyjson_is_bool(index)) { /* a bool is an int to Python */
		buf_append_lit(out, ",\"turn_index\":");
		json_write_value(out, index);
	}
	static const char *const texts[] = { "jurisdiction", "consent_state" };
	for (size_t i = 0; i < 2; i++)
		if (is_text(yyjson_obj_get(args, texts[i])))
			write_text_member(out, texts[i], yyjson_obj_get(args, texts[i]));
	buf_append_char(out, '}');
}

bool recorder_interaction_ref(yyjson_val *args, struct arena *arena, struct str *ret)
{
	struct buf out = { 0 };
	yyjson_val *own = yyjson_obj_get(args, "interaction_ref");
	*ret = (struct str){ 0 };
	if (yyjson_is_obj(own) && yyjson_obj_size(own) > 0)
		json_write_value(&out, own);
	else if (is_given(yyjson_obj_get(args, "call_id")) || is_given(yyjson_obj_get(args, "session_id")) ||
		 is_given(yyjson_obj_get(args, "turn_id")))
		write_parts(&out, args);
	else
		return true;
	if (!out.failed)
		*ret = arena_dup(arena, buf_str(&out));
	buf_finish(&out);
	return ret->p != NULL;
}
