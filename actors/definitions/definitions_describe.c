#include "actors/definitions/definitions_describe.h"
#include "store/text/json.h"

static void text(struct buf *out, const char *key, struct str value)
{
	if (value.p == NULL)
		return;
	buf_printf(out, "%s\"%s\":", out->p[out->n - 1] == '{' ? "" : ",", key);
	json_write_string(out, value);
}

static void number(struct buf *out, const char *key, int64_t value)
{
	if (value)
		buf_printf(out, ",\"%s\":%lld", key, (long long)value);
}

static void yes(struct buf *out, const char *key, bool value)
{
	if (value)
		buf_printf(out, ",\"%s\":true", key);
}

static void raw(struct buf *out, const char *key, struct str json)
{
	if (json.p)
		buf_printf(out, ",\"%s\":%.*s", key, STR_ARG(json));
}

static const char *kind_of(const struct def_feature *f)
{
	if (f->trigger.p)
		return "event";
	if (f->has_compute)
		return "computed";
	if (f->sql.p)
		return f->materialize ? "materialized" : "sql";
	return "pushed";
}

static void write_feature(const struct definitions *d, const struct def_feature *f, struct buf *out)
{
	buf_append_char(out, '{');
	text(out, "name", f->name);
	text(out, "entity", d->entities[f->entity].name);
	text(out, "kind", str_from(kind_of(f)));
	text(out, "trigger", f->trigger);
	number(out, "refresh_ms", f->refresh_ms);
	number(out, "ttl_ms", f->ttl_ms);
	raw(out, "default", f->default_json);
	if (f->dtype != DTYPE_ANY)
		text(out, "dtype", str_from(def_dtype_name(f->dtype)));
	text(out, "version", f->version);
	raw(out, "tags", f->tags_json);
	text(out, "description", f->description);
	buf_append_char(out, '}');
}

static const char *param_type(enum def_param_type type)
{
	static const char *const names[] = { [PARAM_STRING] = "string",
					     [PARAM_INTEGER] = "integer",
					     [PARAM_NUMBER] = "number",
					     [PARAM_BOOLEAN] = "boolean",
					     [PARAM_ANY] = "any" };
	return names[type];
}

static void write_context(const struct def_context *c, struct buf *out)
{
	buf_append_char(out, '{');
	text(out, "name", c->name);
	text(out, "kind", c->has_build ? STR("coded") : STR("declarative"));
	if (c->params_declared)
		buf_append_lit(out, ",\"params\":[");
	for (uint32_t i = 0; c->params_declared && i < c->params_count; i++) {
		const struct def_param *p = &c->params[i];
		buf_append_str(out, i ? STR(",{") : STR("{"));
		text(out, "name", p->name);
		text(out, "type", str_from(param_type(p->type)));
		yes(out, "required", p->required);
		raw(out, "default", p->default_json);
		buf_append_char(out, '}');
	}
	if (c->params_declared)
		buf_append_char(out, ']');
	number(out, "max_tokens", c->max_tokens);
	text(out, "model", c->model);
	number(out, "freshness_sla_ms", c->freshness_sla_ms);
	yes(out, "freshness_strict", c->freshness_strict);
	number(out, "cache_ttl_ms", c->cache_ttl_ms);
	text(out, "version", c->version);
	text(out, "description", c->description);
	buf_append_char(out, '}');
}

void definitions_describe(const struct definitions *d, struct buf *out)
{
	buf_append_char(out, '{');
	text(out, "code_version", str_from(d->code_version));
	buf_append_lit(out, ",\"entities\":[");
	for (uint32_t i = 0; i < d->entities_count; i++) {
		buf_append_str(out, i ? STR(",{") : STR("{"));
		text(out, "name", d->entities[i].name);
		text(out, "id", d->entities[i].id);
		text(out, "description", d->entities[i].description);
		buf_append_char(out, '}');
	}
	buf_append_lit(out, "],\"features\":[");
	for (uint32_t i = 0; i < d->features_count; i++) {
		buf_append_str(out, i ? STR(",") : STR(""));
		write_feature(d, &d->features[i], out);
	}
	buf_append_lit(out, "],\"tables\":[");
	for (uint32_t i = 0; i < d->tables_count; i++) {
		buf_append_str(out, i ? STR(",{") : STR("{"));
		text(out, "name", d->tables[i].name);
		text(out, "made_from", d->tables[i].file.p ? STR("file") : STR("sql"));
		buf_append_char(out, '}');
	}
	buf_append_lit(out, "],\"retrievers\":[");
	for (uint32_t i = 0; i < d->retrievers_count; i++) {
		const struct def_retriever *r = &d->retrievers[i];
		buf_append_str(out, i ? STR(",{") : STR("{"));
		text(out, "name", r->name);
		number(out, "top_k", r->top_k);
		number(out, "cache_ttl_ms", r->cache_ttl_ms);
		number(out, "max_age_ms", r->max_age_ms);
		buf_append_char(out, '}');
	}
	buf_append_lit(out, "],\"contexts\":[");
	for (uint32_t i = 0; i < d->contexts_count; i++) {
		buf_append_str(out, i ? STR(",") : STR(""));
		write_context(&d->contexts[i], out);
	}
	buf_append_lit(out, "]}");
}
