#include "actors/plan.h"
#include "runtime/check.h"

/* A value as text inside a template: strings as they are, null as nothing, the rest as JSON. */
static void write_value(struct buf *out, yyjson_val *v)
{
	if (yyjson_is_str(v))
		buf_append_str(out, json_str(v));
	else if (v && !yyjson_is_null(v))
		json_write_value(out, v);
}

static yyjson_val *param_value(const struct plan *p, uint32_t index)
{
	struct str name = p->context->params[index].name;
	return yyjson_obj_getn(p->args, name.p, name.n);
}

/* An absent optional parameter has its default. */
static void write_param(const struct plan *p, uint32_t index, struct buf *out)
{
	yyjson_val *v = param_value(p, index);
	const struct def_param *d = &p->context->params[index];
	if (v || d->default_json.p == NULL) {
		write_value(out, v);
		return;
	}
	yyjson_doc *doc = yyjson_read(d->default_json.p, d->default_json.n, 0);
	write_value(out, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
}

/* The answer for this feature; NULL: there is none, and *ret_why_not says why. Without an entity id nothing was asked. */
static const struct feature_result *find_result(const struct plan *p, uint32_t entity, struct str entity_id,
						uint32_t feature, enum feature_state *ret_why_not)
{
	*ret_why_not = FEATURE_MISSING;
	for (uint32_t g = 0; g < p->groups_count; g++) {
		const struct plan_group *group = &p->groups[g];
		if (group->entity != entity || !str_eq(group->entity_id, entity_id))
			continue;
		for (uint32_t f = 0; f < group->features_count; f++) {
			if (group->features[f] != feature)
				continue;
			if (group->failure)
				*ret_why_not = group->failure;
			return group->answer ? feature_request_result(group->answer, 0, f) : NULL;
		}
	}
	return NULL;
}

static void write_feature(const struct feature_result *result, struct buf *out)
{
	if (result == NULL || result->state != FEATURE_FOUND)
		return;
	if (result->value->json[0] != '"') {
		if (!str_eq(str_of(result->value->json, result->value->len), STR("null")))
			buf_append(out, result->value->json, result->value->len);
		return;
	}
	yyjson_doc *doc = yyjson_read(result->value->json, result->value->len, 0);
	write_value(out, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
}

static void write_template(const struct plan *p, const struct definitions *d, const struct def_template *t,
			   struct str entity_id, struct buf *out)
{
	for (uint32_t i = 0; i < t->count; i++) {
		const struct def_piece *piece = &t->pieces[i];
		switch (piece->type) {
		case PIECE_TEXT:
			buf_append_str(out, piece->text);
			break;
		case PIECE_PARAM:
			write_param(p, piece->index, out);
			break;
		case PIECE_FEATURE: {
			enum feature_state why_not;
			write_feature(find_result(p, d->features[piece->index].entity, entity_id, piece->index,
						  &why_not),
				      out);
			break;
		}
		}
	}
}

/* ---- what to ask ---- */

static bool group_add(struct plan_group *group, uint32_t feature, struct arena *arena)
{
	uint32_t *features = arena_array_grow(arena, group->features, group->features_count, &group->features_cap,
					      PLAN_GROUP_FEATURES_MAX, sizeof *features);
	if (features == NULL)
		return false;
	group->features = features;
	features[group->features_count++] = feature;
	return true;
}

static bool need_feature(struct plan *p, uint32_t entity, struct str entity_id, uint32_t feature, struct arena *arena)
{
	struct plan_group *group = NULL; /* of this id, with room */
	for (uint32_t g = 0; g < p->groups_count; g++) {
		struct plan_group *at = &p->groups[g];
		if (at->entity != entity || !str_eq(at->entity_id, entity_id))
			continue;
		for (uint32_t f = 0; f < at->features_count; f++)
			if (at->features[f] == feature)
				return true;
		group = at->features_count < PLAN_GROUP_FEATURES_MAX ? at : group;
	}
	if (group == NULL) {
		if (p->groups_count == PLAN_GROUPS_MAX)
			return false;
		group = &p->groups[p->groups_count++];
		group->entity = entity;
		group->entity_id = entity_id;
	}
	return group_add(group, feature, arena);
}

/* "{k}" alone keeps the type of k. */
static uint32_t only_param(const struct def_template *t)
{
	return t->count == 1 && t->pieces[0].type == PIECE_PARAM ? t->pieces[0].index : DEF_NONE;
}

static bool is_given(const struct plan *p, const struct def_arg *arg)
{
	uint32_t param = only_param(&arg->text);
	return param == DEF_NONE || param_value(p, param) || p->context->params[param].default_json.p;
}

static void write_arg(const struct plan *p, const struct def_arg *arg, struct buf *out)
{
	const struct def_template *t = &arg->text;
	if (t->count == 0) {
		buf_append_str(out, arg->json);
		return;
	}
	uint32_t param = only_param(t);
	if (param != DEF_NONE) {
		yyjson_val *value = param_value(p, param);
		if (value)
			json_write_value(out, value);
		else
			buf_append_str(out, p->context->params[param].default_json);
		return;
	}
	struct buf text = { 0 };
	write_template(p, NULL, t, (struct str){ 0 }, &text);
	json_write_string(out, buf_str(&text));
	buf_finish(&text);
}

static bool need_call(struct plan *p, uint32_t item, struct arena *arena)
{
	const struct def_item *d = &p->context->items[item];
	if (p->calls_count == MATERIAL_CALLS_MAX)
		return false;
	struct buf args = { 0 };
	buf_append_char(&args, '{');
	for (uint32_t i = 0; i < d->args_count; i++) {
		if (!is_given(p, &d->args[i]))
			continue;
		if (args.n > 1)
			buf_append_char(&args, ',');
		json_write_string(&args, d->args[i].name);
		buf_append_char(&args, ':');
		write_arg(p, &d->args[i], &args);
	}
	buf_append_char(&args, '}');
	struct plan_call *call = &p->calls[p->calls_count++];
	call->item = item;
	call->args_json = arena_dup(arena, buf_str(&args));
	bool ok = !args.failed && call->args_json.p;
	buf_finish(&args);
	return ok;
}

static bool need_features_of(struct plan *p, const struct definitions *d, uint32_t item, struct arena *arena)
{
	const struct def_item *def = &p->context->items[item];
	struct buf id = { 0 };
	write_template(p, d, &def->entity_id, (struct str){ 0 }, &id);
	struct str entity_id = arena_dup(arena, buf_str(&id));
	bool ok = !id.failed && entity_id.p;
	buf_finish(&id);
	p->entity_ids[item] = entity_id;
	/* Without an entity id nothing can be asked: the features are missing. */
	for (uint32_t i = 0; ok && entity_id.n && i < def->text.count; i++)
		if (def->text.pieces[i].type == PIECE_FEATURE) {
			uint32_t feature = def->text.pieces[i].index;
			ok = need_feature(p, d->features[feature].entity, entity_id, feature, arena);
		}
	return ok;
}

struct plan *plan_new(const struct definitions *d, const struct def_context *context, yyjson_val *args,
		      struct arena *arena)
{
	struct plan *p = arena_zalloc(arena, sizeof *p);
	if (p == NULL)
		return NULL;
	p->context = context;
	p->args = args;
	uint32_t calls = context->items_count < MATERIAL_CALLS_MAX ? context->items_count : MATERIAL_CALLS_MAX;
	p->entity_ids = arena_zalloc(arena, context->items_count * sizeof *p->entity_ids);
	p->groups = arena_zalloc(arena, PLAN_GROUPS_MAX * sizeof *p->groups);
	p->calls = arena_zalloc(arena, calls * sizeof *p->calls);
	bool ok = p->entity_ids && p->groups && p->calls;
	for (uint32_t i = 0; ok && i < context->items_count; i++)
		ok = context->items[i].retriever == DEF_NONE ? need_features_of(p, d, i, arena)
							     : need_call(p, i, arena);
	return ok ? p : NULL;
}

void plan_finish(struct plan *p)
{
	if (p == NULL)
		return;
	for (uint32_t g = 0; g < p->groups_count; g++)
		feature_request_free(p->groups[g].answer);
	for (uint32_t c = 0; c < p->calls_count; c++)
		retrieved_unref(p->calls[c].answer);
	p->groups_count = p->calls_count = 0;
}

/* ---- from answers to items ---- */

static struct str derived_source(const struct definitions *d, const struct def_item *def)
{
	if (def->source_id.p)
		return def->source_id;
	for (uint32_t i = 0; i < def->text.count; i++)
		if (def->text.pieces[i].type == PIECE_FEATURE)
			return d->features[def->text.pieces[i].index].name;
	return (struct str){ 0 };
}

static enum plan_filled failed_by(enum feature_state state)
{
	if (state == FEATURE_TIMEOUT)
		return PLAN_LATE;
	return state == FEATURE_FAILED || state == FEATURE_REFUSED ? PLAN_FAILED : PLAN_ABSENT;
}

/* Adds the features that the text reads; the first missing one decides what becomes of the item. */
static bool add_reads(const struct plan *p, const struct definitions *d, uint32_t item, struct material *m,
		      enum feature_state *ret_missing, struct buf *ret_why)
{
	const struct def_item *def = &p->context->items[item];
	struct str id = p->entity_ids[item];
	bool ok = true;
	for (uint32_t i = 0; ok && i < def->text.count; i++) {
		if (def->text.pieces[i].type != PIECE_FEATURE)
			continue;
		uint32_t feature = def->text.pieces[i].index;
		enum feature_state state;
		const struct feature_result *result = find_result(p, d->features[feature].entity, id, feature, &state);
		ok = result ? material_add_feature(m, d, feature, id, result)
			    : material_add_missing(m, feature, id, state);
		state = result ? result->state : state;
		if (state == FEATURE_FOUND || *ret_missing)
			continue;
		*ret_missing = state;
		if (def->on_missing == ON_MISSING_FAIL)
			buf_printf(ret_why, "Context '%.*s' needs feature '%.*s' of '%.*s', which is missing: %s",
				   STR_ARG(p->context->name), STR_ARG(d->features[feature].name), STR_ARG(id),
				   feature_missing_reason(state));
	}
	return ok;
}

static enum plan_filled leave_out(const struct definitions *d, const struct def_item *def, uint32_t item,
				  struct material *m)
{
	const struct material_absent absent = { .source_id = derived_source(d, def),
						.position = item,
						.priority = def->priority,
						.required = def->required };
	return material_add_absent(m, &absent) ? PLAN_FILLED : PLAN_TOO_LARGE;
}

static enum plan_filled fill_text(const struct plan *p, const struct definitions *d, uint32_t item, struct material *m,
				  struct buf *ret_why)
{
	const struct def_item *def = &p->context->items[item];
	enum feature_state missing = FEATURE_PENDING;
	if (!add_reads(p, d, item, m, &missing, ret_why))
		return PLAN_TOO_LARGE;
	if (missing && def->on_missing == ON_MISSING_FAIL)
		return failed_by(missing);
	if (missing && def->on_missing == ON_MISSING_DROP)
		return leave_out(d, def, item, m);
	struct buf text = { 0 };
	write_template(p, d, &def->text, p->entity_ids[item], &text);
	bool ok = !text.failed && material_add_item(m, &(struct material_item){ .content = buf_str(&text),
										.priority = def->priority,
										.required = def->required,
										.source_id = derived_source(d, def),
										.last_updated_us = INT64_MIN });
	buf_finish(&text);
	return ok ? PLAN_FILLED : PLAN_TOO_LARGE;
}

static enum plan_filled without_answer(const struct plan *p, const struct definitions *d, const struct plan_call *call,
				       struct material *m, struct buf *ret_why)
{
	const struct def_item *def = &p->context->items[call->item];
	if (!material_add_failure(m, def->retriever, call->failure, call->error))
		return PLAN_TOO_LARGE;
	if (def->on_missing == ON_MISSING_EMPTY)
		return PLAN_FILLED; /* as if it had found nothing */
	if (def->on_missing == ON_MISSING_DROP)
		return leave_out(d, def, call->item, m);
	buf_printf(ret_why, "Context '%.*s' needs retriever '%.*s', which is missing: %s", STR_ARG(p->context->name),
		   STR_ARG(d->retrievers[def->retriever].name), feature_missing_reason(call->failure));
	return failed_by(call->failure);
}

static enum plan_filled fill_call(const struct plan *p, const struct definitions *d, const struct plan_call *call,
				  struct material *m, struct buf *ret_why)
{
	const struct def_item *def = &p->context->items[call->item];
	if (call->answer == NULL)
		return without_answer(p, d, call, m, ret_why);
	bool ok = material_add_call(m, call->answer);
	for (uint32_t i = 0; ok && i < call->answer->chunks_count; i++) {
		struct chunk *c = &call->answer->chunks[i];
		ok = material_add_item(m, &(struct material_item){ .content = c->content,
								   .chunk = c,
								   .priority = def->priority,
								   .required = def->required,
								   .source_id = c->chunk_id,
								   .last_updated_us = c->indexed_at_us });
	}
	return ok ? PLAN_FILLED : PLAN_TOO_LARGE;
}

enum plan_filled plan_fill(const struct plan *p, const struct definitions *d, struct material *m, struct buf *ret_why)
{
	uint32_t call = 0;
	enum plan_filled filled = PLAN_FILLED;
	for (uint32_t i = 0; filled == PLAN_FILLED && i < p->context->items_count; i++) {
		if (p->context->items[i].retriever == DEF_NONE) {
			filled = fill_text(p, d, i, m, ret_why);
			continue;
		}
		DCHECK(p->calls[call].item == i);
		filled = fill_call(p, d, &p->calls[call++], m, ret_why);
	}
	return filled;
}
