/* Reads contexts: their parameters and the plan of a declarative one. "{name}" in a text is a parameter,
 * "{feature:name}" a feature, doubled braces are literal; each text is cut into pieces here, so that what a
 * caller sends is never looked at for braces. */
#include "actors/declare/definitions_private.h"
#include "runtime/check.h"
#include <stdlib.h>

enum { ITEMS_MAX = 1000, PARAMS_MAX = 100, ARGS_MAX = 100 };

struct template_reader {
	struct declare_reader *r;
	const char *key;
	const struct def_context *context;
	bool features_allowed;
	uint32_t entity; /* of the features so far */
	struct def_template *out;
	struct buf literal;
};

static bool wrong(struct template_reader *t, const char *what, struct str detail)
{
	definitions_field_error(t->r, t->key, "%s '%.*s'", what, STR_ARG(detail));
	return false;
}

static void end_literal(struct template_reader *t, bool even_empty)
{
	if (t->literal.n == 0 && !even_empty)
		return;
	struct str text = definitions_field_keep(t->r, buf_str(&t->literal));
	t->out->pieces[t->out->count++] = (struct def_piece){ .type = PIECE_TEXT, .text = text };
	buf_clear(&t->literal);
}

static bool add_param(struct template_reader *t, struct str name)
{
	for (uint32_t i = 0; i < t->context->params_count; i++) {
		if (!str_eq(t->context->params[i].name, name))
			continue;
		end_literal(t, false);
		t->out->pieces[t->out->count++] = (struct def_piece){ .type = PIECE_PARAM, .index = i };
		return true;
	}
	if (!definitions_field_is_name(name))
		return wrong(t, "braces hold a parameter or feature:name (double them to write a brace), not", name);
	definitions_field_error(t->r, t->key,
				"parameter '%.*s' is not declared: add it to params = { %.*s = \"string\" }",
				STR_ARG(name), STR_ARG(name));
	return false;
}

static bool add_feature(struct template_reader *t, struct str name)
{
	const struct definitions *d = t->r->declare->d;
	uint32_t index = definitions_find(d, DECLARE_FEATURE, name);
	if (!t->features_allowed)
		return wrong(t, "only parameters can stand here, not the feature", name);
	if (index == DEF_NONE) {
		struct buf near = { 0 };
		definitions_suggest_of_kind(d, DECLARE_FEATURE, name, &near);
		definitions_field_error(t->r, t->key, "unknown feature '%.*s'%.*s", STR_ARG(name),
					STR_ARG(buf_str(&near)));
		buf_finish(&near);
		return false;
	}
	uint32_t entity = d->features[index].entity;
	if (t->entity != DEF_NONE && entity != DEF_NONE && t->entity != entity) {
		definitions_field_error(
		    t->r, t->key,
		    "feature '%.*s' belongs to entity '%.*s', the features before it to '%.*s': one text has one "
		    "entity_id, so make two items",
		    STR_ARG(name), STR_ARG(d->entities[entity].name), STR_ARG(d->entities[t->entity].name));
		return false;
	}
	t->entity = entity;
	end_literal(t, false);
	t->out->pieces[t->out->count++] = (struct def_piece){ .type = PIECE_FEATURE, .index = index };
	return true;
}

static bool add_braces(struct template_reader *t, struct str inside)
{
	struct str prefix = STR("feature:");
	return str_starts(inside, prefix) ? add_feature(t, str_skip(inside, prefix.n)) : add_param(t, inside);
}

static bool cut(struct template_reader *t, struct str text)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		bool doubled = i + 1 < text.n && text.p[i + 1] == c;
		if (c != '{' && c != '}') {
			buf_append_char(&t->literal, c);
		} else if (doubled) {
			buf_append_char(&t->literal, c);
			i++;
		} else if (c == '}') {
			definitions_field_error(t->r, t->key, "a single } at byte %zu (write }} for a brace)", i + 1);
			return false;
		} else {
			size_t n = strcspn(text.p + i + 1, "{}");
			if (i + 1 + n >= text.n || text.p[i + 1 + n] != '}') {
				definitions_field_error(t->r, t->key,
							"the { at byte %zu is not closed (write {{ for a brace)",
							i + 1);
				return false;
			}
			if (!add_braces(t, str_of(text.p + i + 1, n)))
				return false;
			i += n + 1;
		}
	}
	end_literal(t, t->out->count == 0);
	return true;
}

/* A good text has at least one piece. The text is NUL-terminated. */
static bool read_template(struct template_reader *t, struct str text)
{
	size_t braces = 0;
	for (size_t i = 0; i < text.n; i++)
		braces += text.p[i] == '{';
	t->out->pieces = definitions_field_alloc(t->r, (2 * braces + 1) * sizeof *t->out->pieces);
	t->out->count = 0;
	bool good = cut(t, text);
	buf_finish(&t->literal);
	return good;
}

static bool read_template_field(struct declare_reader *r, const char *key, const struct def_context *context,
				bool features_allowed, struct def_template *out, uint32_t *ret_entity)
{
	struct template_reader t = { .r = r,
				     .key = key,
				     .context = context,
				     .features_allowed = features_allowed,
				     .entity = DEF_NONE,
				     .out = out };
	struct str text;
	if (!definitions_field_text(r, key, &text))
		return false;
	bool good = read_template(&t, text);
	if (ret_entity)
		*ret_entity = t.entity;
	return good;
}

static const char *const type_names[] = { "string", "integer", "number", "boolean", "any" };

static bool param_type(const struct declare_reader *r, const char *key, const char *text, enum def_param_type *ret)
{
	for (size_t i = 0; text && i < ARRAY_LEN(type_names); i++) {
		if (strcmp(text, type_names[i]) == 0) {
			*ret = (enum def_param_type)i;
			return true;
		}
	}
	definitions_field_error(r, key,
				"a type is needed: \"string\", \"integer\", \"number\", \"boolean\" or \"any\"%s%s%s",
				text ? ", not '" : "", text ? text : "", text ? "'" : "");
	return false;
}

static bool default_fits(enum def_param_type type, struct str json)
{
	char c = json.p[0];
	bool number = c == '-' || (c >= '0' && c <= '9');
	switch (type) {
	case PARAM_STRING:
		return c == '"';
	case PARAM_INTEGER:
		return number && !memchr(json.p, '.', json.n) && !memchr(json.p, 'e', json.n);
	case PARAM_NUMBER:
		return number;
	case PARAM_BOOLEAN:
		return c == 't' || c == 'f';
	case PARAM_ANY:
		return true;
	}
	return true;
}

/* user_id = "string", or user_id = { type = "string", required = false, default = "u1" }. Value on top of the
 * stack. */
static void read_param(struct declare_reader *parent, struct def_param *p)
{
	static const char *const keys[] = { "type", "required", "default", NULL };
	p->required = true;
	if (!lua_istable(parent->L, -1)) {
		param_type(parent, p->name.p,
			   lua_type(parent->L, -1) == LUA_TSTRING ? lua_tostring(parent->L, -1) : NULL, &p->type);
		return;
	}
	struct declare_reader r = *parent;
	r.table = lua_gettop(r.L);
	text_printf(r.prefix, sizeof r.prefix, "params.%.*s.", STR_ARG(str_first(p->name, 40)));
	definitions_field_check_keys(&r, keys);
	struct str type = { 0 };
	definitions_field_text(&r, "type", &type);
	bool known = param_type(&r, "type", type.p, &p->type);
	if (definitions_field_json(&r, "default", &p->default_json)) {
		p->required = false;
		if (known && !default_fits(p->type, p->default_json))
			definitions_field_error(&r, "default", "%s is not of type %s", p->default_json.p,
						type_names[p->type]);
	}
	bool required;
	if (definitions_field_bool(&r, "required", &required)) {
		if (required && p->default_json.p)
			definitions_field_error(&r, "required", "a parameter with a default is not required");
		p->required = required;
	}
}

static int compare_params(const void *a, const void *b)
{
	return str_cmp(((const struct def_param *)a)->name, ((const struct def_param *)b)->name);
}

static void read_params(struct declare_reader *r, struct def_context *c)
{
	lua_State *L = r->L;
	int type = definitions_field_push(r, "params");
	int params = lua_gettop(L);
	c->params_declared = type == LUA_TTABLE;
	if (type != LUA_TTABLE && type != LUA_TNIL)
		definitions_field_error(r, "params", "a table is needed, such as { user_id = \"string\" }");
	if (type == LUA_TTABLE) {
		struct declare_reader inner = *r;
		snprintf(inner.prefix, sizeof inner.prefix, "params.");
		c->params = definitions_field_alloc(r, PARAMS_MAX * sizeof *c->params);
		for (lua_pushnil(L); lua_next(L, params); lua_settop(L, params + 1)) {
			struct str name = { 0 };
			if (lua_type(L, params + 1) == LUA_TSTRING)
				name.p = lua_tolstring(L, params + 1, &name.n);
			if (!definitions_field_is_name(name) || c->params_count == PARAMS_MAX) {
				definitions_field_error(r, "params",
							"up to %d named entries are needed: { user_id = \"string\" }",
							PARAMS_MAX);
				break;
			}
			struct def_param *p = &c->params[c->params_count++];
			p->name = definitions_field_keep(r, name);
			read_param(&inner, p);
		}
		qsort(c->params, c->params_count, sizeof *c->params, compare_params);
	}
	lua_settop(L, params - 1);
}

/* An argument: a string is a template, anything else a constant. */
static void read_arg(struct declare_reader *r, const struct def_context *c, struct def_arg *arg)
{
	int type = definitions_field_push(r, arg->name.p);
	lua_pop(r->L, 1);
	if (type != LUA_TSTRING) {
		definitions_field_json(r, arg->name.p, &arg->json);
		return;
	}
	if (!read_template_field(r, arg->name.p, c, false, &arg->text, NULL))
		return;
	if (arg->text.count == 1 && arg->text.pieces[0].type == PIECE_TEXT) {
		struct buf json = { 0 };
		json_write_string(&json, arg->text.pieces[0].text);
		arg->json = arena_dup(&r->declare->d->arena, buf_str(&json));
		buf_finish(&json);
		arg->text.count = 0;
	}
}

static int compare_args(const void *a, const void *b)
{
	return str_cmp(((const struct def_arg *)a)->name, ((const struct def_arg *)b)->name);
}

static void read_args(struct declare_reader *r, const struct def_context *c, struct def_item *item)
{
	lua_State *L = r->L;
	int type = definitions_field_push(r, "args");
	int args = lua_gettop(L);
	if (type != LUA_TNIL && type != LUA_TTABLE)
		definitions_field_error(r, "args", "a table is needed, such as { query = \"{query}\" }");
	if (type == LUA_TTABLE) {
		struct declare_reader inner = *r;
		inner.table = args;
		text_printf(inner.prefix, sizeof inner.prefix, "%.*sargs.",
			    STR_ARG(str_first(str_from(r->prefix), 40)));
		item->args = definitions_field_alloc(r, ARGS_MAX * sizeof *item->args);
		for (lua_pushnil(L); lua_next(L, args); lua_settop(L, args + 1)) {
			if (lua_type(L, args + 1) != LUA_TSTRING || item->args_count == ARGS_MAX) {
				definitions_field_error(r, "args", "up to %d named entries are needed", ARGS_MAX);
				break;
			}
			struct def_arg *arg = &item->args[item->args_count++];
			arg->name = definitions_field_keep(r, str_from(lua_tostring(L, args + 1)));
			read_arg(&inner, c, arg);
		}
		qsort(item->args, item->args_count, sizeof *item->args, compare_args);
	}
	lua_settop(L, args - 1);
}

static void read_retriever_of(struct declare_reader *r, struct def_item *item)
{
	const struct definitions *d = r->declare->d;
	struct str name = { 0 };
	int type = definitions_field_push(r, "retriever");
	const struct script_handle *handle = luaL_testudata(r->L, -1, SCRIPT_HANDLE);
	if (handle && handle->kind == DECLARE_RETRIEVER)
		name = handle->name;
	else if (type == LUA_TSTRING)
		name.p = lua_tolstring(r->L, -1, &name.n);
	item->retriever = definitions_find(d, DECLARE_RETRIEVER, name);
	if (name.p == NULL) {
		definitions_field_error(r, "retriever", "the name of a retriever is needed, got a %s",
					lua_typename(r->L, type));
	} else if (item->retriever == DEF_NONE) {
		struct buf near = { 0 };
		definitions_suggest_of_kind(d, DECLARE_RETRIEVER, name, &near);
		definitions_field_error(r, "retriever", "unknown retriever '%.*s'%.*s", STR_ARG(name),
					STR_ARG(buf_str(&near)));
		buf_finish(&near);
	}
	lua_pop(r->L, 1);
}

/* In text the ids of its features; of a retriever nothing is asked by an id. */
static void refuse_entity_id(struct declare_reader *r, const struct def_item *item, const char *why)
{
	if (item->entity_id.count > 0)
		definitions_field_error(r, "entity_id", "%s; remove it", why);
}

/* `entity_id = "user_id"` would ask for the features of an entity that is called user_id. */
static void refuse_bare_param(struct declare_reader *r, const struct def_context *c, const struct def_template *t)
{
	struct str text;
	if (t->count != 1 || definitions_field_push(r, "entity_id") != LUA_TSTRING)
		return;
	text.p = lua_tolstring(r->L, -1, &text.n);
	for (uint32_t i = 0; i < c->params_count; i++)
		if (str_eq(c->params[i].name, text))
			definitions_field_error(
			    r, "entity_id",
			    "the word '%.*s' would be the id itself; write \"{%.*s}\" for the parameter", STR_ARG(text),
			    STR_ARG(text));
}

static void read_text_item(struct declare_reader *r, const struct def_context *c, struct def_item *item)
{
	uint32_t entity = DEF_NONE;
	read_template_field(r, "text", c, true, &item->text, &entity);
	if (entity != DEF_NONE && item->entity_id.count == 0 && definitions_field_push(r, "entity_id") == LUA_TNIL) {
		struct str name = r->declare->d->entities[entity].id;
		definitions_field_error(r, "entity_id",
					"missing: the text has features of '%.*s'; add entity_id = \"{%.*s}\"",
					STR_ARG(r->declare->d->entities[entity].name), STR_ARG(name));
	}
	if (entity == DEF_NONE && item->text.count > 0)
		refuse_entity_id(r, item, "the text has no {feature:name}");
	if (definitions_field_push(r, "args") != LUA_TNIL)
		definitions_field_error(r, "args", "only an item with a retriever has args");
}

/* After required: what is required fails the request unless it says otherwise. */
static void read_on_missing(struct declare_reader *r, struct def_item *item)
{
	static const char *const words[] = { "drop", "empty", "fail" };
	struct str text;
	item->on_missing = item->required ? ON_MISSING_FAIL : ON_MISSING_DROP;
	if (!definitions_field_text(r, "on_missing", &text))
		return;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_eq(text, str_from(words[i]))) {
			item->on_missing = (enum def_on_missing)i;
			return;
		}
	}
	definitions_field_error(
	    r, "on_missing",
	    "\"drop\" (leave the item out), \"empty\" (keep it, with nothing in the place) or \"fail\" (refuse "
	    "the request) is needed, not '%s'",
	    text.p);
}

static void read_item(struct declare_reader *r, const struct def_context *c, struct def_item *item)
{
	static const char *const keys[] = { "text",     "retriever", "args",       "entity_id", "priority",
					    "required", "source_id", "on_missing", NULL };
	definitions_field_check_keys(r, keys);
	bool has_text = definitions_field_push(r, "text") != LUA_TNIL;
	bool has_retriever = definitions_field_push(r, "retriever") != LUA_TNIL;
	item->retriever = DEF_NONE;
	definitions_field_integer(r, "priority", INT32_MIN, INT32_MAX, &item->priority);
	definitions_field_bool(r, "required", &item->required);
	read_on_missing(r, item);
	definitions_field_text(r, "source_id", &item->source_id);
	read_template_field(r, "entity_id", c, false, &item->entity_id, NULL);
	refuse_bare_param(r, c, &item->entity_id);
	if (has_text == has_retriever) {
		definitions_field_error(r, "text",
					has_text ? "an item has either text or retriever; remove one"
						 : "missing: an item has text = \"...\" or retriever = \"name\"");
	} else if (has_text) {
		read_text_item(r, c, item);
	} else {
		read_retriever_of(r, item);
		read_args(r, c, item);
		refuse_entity_id(r, item, "a retriever gets what it needs in args");
	}
}

static void read_items(struct declare_reader *r, struct def_context *c)
{
	lua_State *L = r->L;
	int type = definitions_field_push(r, "items");
	int items = lua_gettop(L);
	lua_Unsigned count = type == LUA_TTABLE ? lua_rawlen(L, items) : 0, fields = 0;
	if (type == LUA_TTABLE)
		for (lua_pushnil(L); lua_next(L, items); lua_pop(L, 1))
			fields++;
	if (count == 0 || count > ITEMS_MAX || fields != count) {
		definitions_field_error(r, "items", "a list of 1 to %d items is needed: { { text = \"...\" }, ... }",
					ITEMS_MAX);
		count = 0;
	}
	c->items = definitions_field_alloc(r, count * sizeof *c->items);
	for (lua_Unsigned i = 1; i <= count; i++) {
		struct declare_reader inner = *r;
		lua_settop(L, items);
		inner.table = items + 1;
		snprintf(inner.prefix, sizeof inner.prefix, "items[%u].", (unsigned)i);
		if (lua_rawgeti(L, items, (lua_Integer)i) == LUA_TTABLE)
			read_item(&inner, c, &c->items[c->items_count++]);
		else
			definitions_field_error(r, "items", "entry %u is a %s; write { text = \"...\", priority = 0 }",
						(unsigned)i, luaL_typename(L, -1));
	}
	lua_settop(L, items - 1);
}

static void read_on_budget(struct declare_reader *r, struct def_context *c)
{
	struct str text;
	if (!definitions_field_text(r, "on_budget", &text))
		return;
	if (c->max_tokens == 0)
		definitions_field_error(r, "on_budget", "there is no budget without max_tokens");
	c->budget_fail = str_eq(text, STR("fail"));
	if (!c->budget_fail && !str_eq(text, STR("keep")))
		definitions_field_error(r, "on_budget",
					"\"fail\" (refuse) or \"keep\" (the default: keep what is required) is "
					"needed, not '%s'",
					text.p);
}

/* How old a value is served by its own declaration; 0: that depends on who writes it. */
static int64_t served_age_ms(const struct def_feature *f)
{
	bool is_made_here = f->sql.p || (f->has_compute && f->trigger.p == NULL);
	return !is_made_here ? 0 : f->refresh_ms ? f->refresh_ms : f->ttl_ms;
}

/* Such a context would be refused for a part of each period, though everything goes as declared. */
static void check_strict(struct declare_reader *r, const struct def_context *c)
{
	const struct definitions *d = r->declare->d;
	for (uint32_t i = 0; i < c->items_count; i++) {
		const struct def_template *text = &c->items[i].text;
		for (uint32_t p = 0; p < text->count; p++) {
			if (text->pieces[p].type != PIECE_FEATURE)
				continue;
			const struct def_feature *f = &d->features[text->pieces[p].index];
			if (served_age_ms(f) <= c->freshness_sla_ms)
				continue;
			definitions_field_error(
			    r, "freshness_sla",
			    "with freshness_strict it must not be shorter than the %s of feature '%.*s', which is "
			    "served until it is that old",
			    f->refresh_ms ? "refresh" : "ttl", STR_ARG(f->name));
			return;
		}
	}
}

static bool is_same_text(const struct def_template *a, const struct def_template *b)
{
	bool same = a->count == b->count;
	for (uint32_t i = 0; same && i < a->count; i++)
		same = a->pieces[i].type == b->pieces[i].type && a->pieces[i].index == b->pieces[i].index &&
		       str_eq(a->pieces[i].text, b->pieces[i].text);
	return same;
}

/* The entity of which an item reads features; DEF_NONE: it reads none. */
static uint32_t entity_read(const struct definitions *d, const struct def_item *item)
{
	for (uint32_t i = 0; i < item->text.count; i++)
		if (item->text.pieces[i].type == PIECE_FEATURE)
			return d->features[item->text.pieces[i].index].entity;
	return DEF_NONE;
}

/* How many features the context reads of the id of this item; 0 when an earlier item has this id. */
static uint32_t features_read(const struct definitions *d, const struct def_context *c, uint32_t first)
{
	const struct def_item *item = &c->items[first];
	uint32_t entity = entity_read(d, item), count = 0;
	bool *is_read = calloc(d->features_count + 1, sizeof *is_read);
	CHECK(is_read != NULL);
	for (uint32_t i = 0; entity != DEF_NONE && i < c->items_count; i++) {
		const struct def_item *other = &c->items[i];
		if (entity_read(d, other) != entity || !is_same_text(&other->entity_id, &item->entity_id))
			continue;
		if (i < first) {
			count = 0;
			break;
		}
		for (uint32_t k = 0; k < other->text.count; k++) {
			const struct def_piece *piece = &other->text.pieces[k];
			count += piece->type == PIECE_FEATURE && !is_read[piece->index];
			if (piece->type == PIECE_FEATURE)
				is_read[piece->index] = true;
		}
	}
	free(is_read);
	return count;
}

/* Each request would fail otherwise. Two ids may turn out to be one, which needs no more asks. */
static void check_reads(struct declare_reader *r, const struct def_context *c)
{
	uint32_t asks = 0, calls = 0, reads = 0;
	for (uint32_t i = 0; i < c->items_count; i++) {
		uint32_t features = features_read(r->declare->d, c, i);
		reads += features;
		asks += (features + DEF_ASK_FEATURES_MAX - 1) / DEF_ASK_FEATURES_MAX;
		calls += c->items[i].retriever != DEF_NONE;
	}
	if (reads > DEF_READS_MAX)
		definitions_field_error(r, "items", "they read %u features; at most %d are possible", reads,
					DEF_READS_MAX);
	else if (asks > DEF_ASKS_MAX)
		definitions_field_error(r, "items",
					"they read features of %u ids (%d features of one count as one); "
					"at most %d are possible",
					asks, DEF_ASK_FEATURES_MAX, DEF_ASKS_MAX);
	if (calls > DEF_CALLS_MAX)
		definitions_field_error(r, "items", "they call retrievers %u times; at most %d are possible", calls,
					DEF_CALLS_MAX);
}

void definitions_context_read(struct declare_reader *r, uint32_t index)
{
	static const char *const keys[] = { "name",          "build",     "items",         "params",
					    "max_tokens",    "on_budget", "freshness_sla", "freshness_strict",
					    "max_staleness", "model",     "cache_ttl",     "version",
					    "description",   NULL };
	struct def_context *c = &r->declare->d->contexts[index];
	definitions_read_name(r, DECLARE_CONTEXT, index, &c->name);
	definitions_field_check_keys(r, keys);
	definitions_field_integer(r, "max_tokens", 1, INT32_MAX, &c->max_tokens);
	read_on_budget(r, c);
	definitions_field_duration(r, "freshness_sla", &c->freshness_sla_ms);
	definitions_field_bool(r, "freshness_strict", &c->freshness_strict);
	definitions_field_duration(r, "max_staleness", &c->max_staleness_ms);
	definitions_field_text(r, "model", &c->model);
	definitions_field_duration(r, "cache_ttl", &c->cache_ttl_ms);
	definitions_field_text(r, "version", &c->version);
	definitions_field_text(r, "description", &c->description);
	read_params(r, c);
	bool has_items = definitions_field_push(r, "items") != LUA_TNIL;
	bool has_build = definitions_field_push(r, "build") != LUA_TNIL;
	lua_pop(r->L, 2);
	if (has_items == has_build)
		definitions_field_error(r, "build",
					has_build ? "a context has either build or items; remove one"
						  : "missing: build = function(args) ... end, or items = { ... }");
	c->has_build = definitions_field_function(r, "build", SCRIPT_BUILD, index);
	if (has_items)
		read_items(r, c);
	check_reads(r, c);
	if (c->freshness_strict && c->freshness_sla_ms)
		check_strict(r, c);
}
