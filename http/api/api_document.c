/* What the definitions add to the OpenAPI document: the names that this server knows, and in the place of a template whose
 * body depends on a name one path for each: contexts with their arguments, events, the features that can be pushed. A
 * template for which there is no name is left out, because it would answer 404 to everything. */
#include "actors/arguments.h"
#include "http/api/api.h"
#include "runtime/check.h"
#include "store/text/json.h"

struct writer {
	const struct definitions *d;
	yyjson_mut_doc *doc;
	yyjson_mut_val *paths; /* the new ones */
};

static const char BODY_SCHEMA[] = "/requestBody/content/application~1json/schema";
static const char BODY[] = "/requestBody/content/application~1json";

/* ---- values ---- */
static yyjson_mut_val *text(const struct writer *w, struct str s)
{
	return yyjson_mut_strncpy(w->doc, s.p ? s.p : "", s.n);
}

static yyjson_mut_val *parsed(const struct writer *w, struct str json)
{
	yyjson_doc *doc = yyjson_read(json.p, json.n, 0);
	yyjson_mut_val *v = yyjson_val_mut_copy(w->doc, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	return v;
}

static void put(const struct writer *w, yyjson_mut_val *object, const char *key, yyjson_mut_val *value)
{
	yyjson_mut_obj_put(object, yyjson_mut_str(w->doc, key), value);
}

/* {"type":"string","enum":[...]} */
static yyjson_mut_val *one_of(const struct writer *w, yyjson_mut_val *names)
{
	yyjson_mut_val *schema = yyjson_mut_obj(w->doc);
	yyjson_mut_obj_add_str(w->doc, schema, "type", "string");
	yyjson_mut_obj_add_val(w->doc, schema, "enum", names);
	return schema;
}

static yyjson_mut_val *entity_names(const struct writer *w)
{
	yyjson_mut_val *names = yyjson_mut_arr(w->doc);
	for (uint32_t i = 0; i < w->d->entities_count; i++)
		yyjson_mut_arr_append(names, text(w, w->d->entities[i].name));
	return names;
}

static yyjson_mut_val *feature_names(const struct writer *w)
{
	yyjson_mut_val *names = yyjson_mut_arr(w->doc);
	for (uint32_t i = 0; i < w->d->features_count; i++)
		yyjson_mut_arr_append(names, text(w, w->d->features[i].name));
	return names;
}

/* ---- parameters ---- */
static yyjson_mut_val *parameter(yyjson_mut_val *operation, const char *name)
{
	size_t i, n;
	yyjson_mut_val *p;
	yyjson_mut_arr_foreach(yyjson_mut_obj_get(operation, "parameters"), i, n,
			       p) if (yyjson_mut_equals_str(yyjson_mut_obj_get(p, "name"), name)) return p;
	return NULL;
}

static void parameter_remove(yyjson_mut_val *operation, const char *name)
{
	size_t i, n;
	yyjson_mut_val *p, *list = yyjson_mut_obj_get(operation, "parameters");
	yyjson_mut_arr_foreach(list, i, n, p) if (yyjson_mut_equals_str(yyjson_mut_obj_get(p, "name"), name))
	{
		yyjson_mut_arr_remove(list, i);
		return;
	}
}

static void parameter_names(const struct writer *w, yyjson_mut_val *operation, const char *name, yyjson_mut_val *names,
			    struct str example)
{
	yyjson_mut_val *p = parameter(operation, name);
	put(w, p, "schema", one_of(w, names));
	put(w, p, "example", text(w, example));
}

static void parameter_example(const struct writer *w, yyjson_mut_val *operation, const char *name, const char *example)
{
	put(w, parameter(operation, name), "example", yyjson_mut_str(w->doc, example));
}

/* ---- paths ---- */
/* A copy of the template's path with the name in the place of its parameter; returns its operation. Names need no encoding:
 * they are letters, digits, _, . and - (docs/definitions.md). */
static yyjson_mut_val *path_of(const struct writer *w, const char *template, const char *method, yyjson_mut_val *item,
			       const char *param, struct str name)
{
	struct buf path = { 0 }, id = { 0 };
	yyjson_mut_val *copy = yyjson_mut_val_mut_copy(w->doc, item), *operation = yyjson_mut_obj_get(copy, method);
	const char *open = strchr(template, '{');
	buf_append(&path, template, (size_t)(open - template));
	buf_append_str(&path, name);
	buf_append_str(&path, str_from(strchr(open, '}') + 1));
	const char *id_of_template = yyjson_mut_get_str(yyjson_mut_obj_get(operation, "operationId"));
	buf_printf(&id, "%s.%.*s", id_of_template ? id_of_template : "", STR_ARG(name));
	put(w, operation, "operationId", text(w, buf_str(&id)));
	parameter_remove(operation, param);
	if (str_eq(str_from(open), str_of(open, strcspn(open, "}") + 1))) /* the name was all that can be unknown */
		yyjson_mut_obj_remove_key(yyjson_mut_obj_get(operation, "responses"), "404");
	yyjson_mut_obj_add(w->paths, text(w, buf_str(&path)), copy);
	buf_finish(&path);
	buf_finish(&id);
	return operation;
}

static void summary(const struct writer *w, yyjson_mut_val *operation, const char *what, struct str name,
		    struct str description)
{
	struct buf out = { 0 };
	buf_printf(&out, "%s %.*s", what, STR_ARG(name));
	if (description.n > 0)
		buf_printf(&out, ": %.*s", STR_ARG(description));
	put(w, operation, "summary", text(w, buf_str(&out)));
	buf_finish(&out);
}

/* ---- values that can be pushed ---- */
static bool can_be_pushed(const struct def_feature *f)
{
	return !((f->has_compute && f->trigger.p == NULL) || f->sql.p);
}

static yyjson_mut_val *value_example(const struct writer *w, enum def_dtype type)
{
	switch (type) {
	case DTYPE_STRING:
		return yyjson_mut_str(w->doc, "text");
	case DTYPE_NUMBER:
		return yyjson_mut_real(w->doc, 1.5);
	case DTYPE_BOOLEAN:
		return yyjson_mut_true(w->doc);
	case DTYPE_ARRAY:
		return yyjson_mut_arr(w->doc);
	case DTYPE_OBJECT:
		return yyjson_mut_obj(w->doc);
	case DTYPE_ANY:
	case DTYPE_INTEGER:
		break;
	}
	return yyjson_mut_int(w->doc, 1);
}

static yyjson_mut_val *value_schema(const struct writer *w, const struct def_feature *f)
{
	yyjson_mut_val *schema = yyjson_mut_obj(w->doc);
	if (f->dtype != DTYPE_ANY) {
		yyjson_mut_val *types = yyjson_mut_arr(w->doc);
		yyjson_mut_arr_append(types, yyjson_mut_str(w->doc, def_dtype_name(f->dtype)));
		yyjson_mut_arr_append(types, yyjson_mut_str(w->doc, "null"));
		put(w, schema, "type", types);
	}
	if (f->dtype == DTYPE_OBJECT)
		yyjson_mut_obj_add_bool(w->doc, schema, "additionalProperties", true);
	if (f->dtype == DTYPE_ARRAY)
		put(w, schema, "items", yyjson_mut_obj(w->doc));
	if (f->description.p)
		put(w, schema, "description", text(w, f->description));
	return schema;
}

static void add_pushes(const struct writer *w, const char *template, yyjson_mut_val *item)
{
	for (uint32_t e = 0; e < w->d->entities_count; e++) {
		yyjson_mut_val *properties = yyjson_mut_obj(w->doc), *values = yyjson_mut_obj(w->doc);
		for (uint32_t i = 0; i < w->d->features_count; i++) {
			const struct def_feature *f = &w->d->features[i];
			if (f->entity != e || !can_be_pushed(f))
				continue;
			yyjson_mut_obj_add(properties, text(w, f->name), value_schema(w, f));
			if (yyjson_mut_obj_size(values) == 0)
				yyjson_mut_obj_add(values, text(w, f->name), value_example(w, f->dtype));
		}
		if (yyjson_mut_obj_size(properties) == 0)
			continue;
		struct str name = w->d->entities[e].name;
		yyjson_mut_val *operation = path_of(w, template, "put", item, "entity", name),
			       *example = yyjson_mut_obj(w->doc);
		yyjson_mut_val *schema = yyjson_mut_ptr_get(yyjson_mut_ptr_get(operation, BODY_SCHEMA),
							    "/properties/values");
		summary(w, operation, "Push values of", name, w->d->entities[e].description);
		parameter_example(w, operation, "entity_id", "1");
		put(w, schema, "properties", properties);
		yyjson_mut_obj_add_bool(w->doc, schema, "additionalProperties", false);
		put(w, example, "values", values);
		put(w, yyjson_mut_ptr_get(operation, BODY), "example", example);
	}
}

/* ---- events ---- */
static bool is_named_before(const struct writer *w, uint32_t feature)
{
	for (uint32_t i = 0; i < feature; i++)
		if (w->d->features[i].trigger.p && str_eq(w->d->features[i].trigger, w->d->features[feature].trigger))
			return true;
	return false;
}

static void add_events(const struct writer *w, const char *template, yyjson_mut_val *item)
{
	for (uint32_t i = 0; i < w->d->features_count; i++) {
		struct str type = w->d->features[i].trigger;
		if (type.p == NULL || is_named_before(w, i))
			continue;
		struct buf updates = { 0 };
		for (uint32_t k = i; k < w->d->features_count; k++)
			if (w->d->features[k].trigger.p && str_eq(w->d->features[k].trigger, type))
				buf_printf(&updates, "%s%.*s", updates.n > 0 ? ", " : "updates ",
					   STR_ARG(w->d->features[k].name));
		yyjson_mut_val *operation = path_of(w, template, "post", item, "event_type", type);
		summary(w, operation, "Event", type, buf_str(&updates));
		put(w, yyjson_mut_ptr_get(operation, BODY), "example", yyjson_mut_obj(w->doc));
		buf_finish(&updates);
	}
}

/* ---- contexts ---- */
static bool is_an_id(const struct writer *w, struct str param)
{
	for (uint32_t i = 0; i < w->d->entities_count; i++)
		if (str_eq(w->d->entities[i].id, param))
			return true;
	return false;
}

static yyjson_mut_val *argument_example(const struct writer *w, const struct def_param *p)
{
	if (p->default_json.p)
		return parsed(w, p->default_json);
	switch (p->type) {
	case PARAM_INTEGER:
		return yyjson_mut_int(w->doc, 1);
	case PARAM_NUMBER:
		return yyjson_mut_real(w->doc, 1.5);
	case PARAM_BOOLEAN:
		return yyjson_mut_true(w->doc);
	case PARAM_STRING:
	case PARAM_ANY:
		break;
	}
	return yyjson_mut_str(w->doc, is_an_id(w, p->name) ? "1" : "text");
}

static yyjson_mut_val *argument_schema(const struct writer *w, const struct def_param *p)
{
	static const char *const types[] = { [PARAM_STRING] = "string",
					     [PARAM_INTEGER] = "integer",
					     [PARAM_NUMBER] = "number",
					     [PARAM_BOOLEAN] = "boolean",
					     [PARAM_ANY] = NULL };
	yyjson_mut_val *schema = yyjson_mut_obj(w->doc);
	if (types[p->type] != NULL)
		yyjson_mut_obj_add_str(w->doc, schema, "type", types[p->type]);
	if (p->default_json.p)
		put(w, schema, "default", parsed(w, p->default_json));
	return schema;
}

static void add_arguments(const struct writer *w, yyjson_mut_val *operation, const struct def_context *c)
{
	yyjson_mut_val *schema = yyjson_mut_ptr_get(operation, BODY_SCHEMA), *properties = yyjson_mut_obj(w->doc),
		       *required = yyjson_mut_arr(w->doc), *example = yyjson_mut_obj(w->doc);
	for (uint32_t i = 0; i < c->params_count; i++) {
		const struct def_param *p = &c->params[i];
		yyjson_mut_obj_add(properties, text(w, p->name), argument_schema(w, p));
		if (p->required)
			yyjson_mut_arr_append(required, text(w, p->name));
		if (p->required || p->default_json.p)
			yyjson_mut_obj_add(example, text(w, p->name), argument_example(w, p));
	}
	put(w, yyjson_mut_ptr_get(operation, BODY), "example", example);
	if (!c->params_declared)
		return;
	for (size_t i = 0; arguments_of_any_context[i] != NULL; i++) {
		const char *name = arguments_of_any_context[i];
		if (yyjson_mut_obj_get(properties, name) != NULL)
			continue;
		yyjson_mut_val *any = yyjson_mut_obj(w->doc);
		yyjson_mut_obj_add_str(w->doc, any, "description", "says which call this is");
		put(w, properties, name, any);
	}
	put(w, schema, "properties", properties);
	yyjson_mut_obj_remove_key(schema, "additionalProperties");
	if (yyjson_mut_arr_size(required) > 0)
		put(w, schema, "required", required);
	yyjson_mut_obj_add_bool(w->doc, schema, "additionalProperties", false);
}

static void add_contexts(const struct writer *w, const char *template, yyjson_mut_val *item)
{
	for (uint32_t i = 0; i < w->d->contexts_count; i++) {
		const struct def_context *c = &w->d->contexts[i];
		yyjson_mut_val *operation = path_of(w, template, "post", item, "name", c->name);
		summary(w, operation, "Assemble context", c->name, c->description);
		add_arguments(w, operation, c);
	}
}

/* ---- the templates that stay ---- */
/* One that has a value for any id, if there is one. */
static const struct def_feature *feature_to_show(const struct writer *w)
{
	for (uint32_t i = 0; i < w->d->features_count; i++)
		if (w->d->features[i].default_json.p || def_feature_is_computed(&w->d->features[i]))
			return &w->d->features[i];
	return &w->d->features[0];
}

static void show_features(const struct writer *w, yyjson_mut_val *operation, const char *entity_member, bool is_batch)
{
	const struct def_feature *f = feature_to_show(w);
	yyjson_mut_val *properties = yyjson_mut_ptr_get(yyjson_mut_ptr_get(operation, BODY_SCHEMA), "/properties");
	yyjson_mut_val *example = yyjson_mut_obj(w->doc), *names = yyjson_mut_arr(w->doc),
		       *ids = yyjson_mut_arr(w->doc);
	put(w, properties, entity_member, one_of(w, entity_names(w)));
	put(w, yyjson_mut_obj_get(properties, "features"), "items", one_of(w, feature_names(w)));
	yyjson_mut_arr_append(names, text(w, f->name));
	yyjson_mut_arr_append(ids, yyjson_mut_str(w->doc, "1"));
	put(w, example, entity_member, text(w, w->d->entities[f->entity].name));
	put(w, example, is_batch ? "ids" : "entity_id", is_batch ? ids : yyjson_mut_str(w->doc, "1"));
	put(w, example, "features", names);
	put(w, yyjson_mut_ptr_get(operation, BODY), "example", example);
}

static void show_training(const struct writer *w, yyjson_mut_val *operation)
{
	const struct def_feature *f = feature_to_show(w);
	yyjson_mut_val *properties = yyjson_mut_ptr_get(yyjson_mut_ptr_get(operation, BODY_SCHEMA), "/properties");
	yyjson_mut_val *example = yyjson_mut_obj(w->doc), *names = yyjson_mut_arr(w->doc),
		       *events = yyjson_mut_arr(w->doc), *event = yyjson_mut_obj(w->doc);
	put(w, yyjson_mut_obj_get(properties, "features"), "items", one_of(w, feature_names(w)));
	yyjson_mut_arr_append(names, text(w, f->name));
	yyjson_mut_obj_add(event, text(w, w->d->entities[f->entity].id), yyjson_mut_str(w->doc, "1"));
	put(w, event, "event_time", yyjson_mut_str(w->doc, "2026-01-31T12:00:00Z"));
	yyjson_mut_arr_append(events, event);
	put(w, example, "features", names);
	put(w, example, "events", events);
	put(w, yyjson_mut_ptr_get(operation, BODY), "example", example);
}

/* false: left out. */
static bool refine(const struct writer *w, const char *path, yyjson_mut_val *item)
{
	bool has_features = w->d->features_count > 0;
	if (strcmp(path, "/v1/features/{name}") == 0) {
		if (has_features)
			parameter_names(w, yyjson_mut_obj_get(item, "get"), "name", feature_names(w),
					feature_to_show(w)->name);
		return has_features;
	}
	if (strcmp(path, "/v1/features") == 0) {
		if (has_features)
			show_features(w, yyjson_mut_obj_get(item, "post"), "entity_name", false);
		return has_features;
	}
	if (strcmp(path, "/v1/features/batch") == 0) {
		if (has_features)
			show_features(w, yyjson_mut_obj_get(item, "post"), "name", true);
		return has_features;
	}
	if (strcmp(path, "/v1/training-data") == 0) {
		if (has_features)
			show_training(w, yyjson_mut_obj_get(item, "post"));
		return has_features;
	}
	if (strcmp(path, "/v1/cache/{entity}/{entity_id}") == 0 && w->d->entities_count > 0) {
		yyjson_mut_val *operation = yyjson_mut_obj_get(item, "delete");
		parameter_names(w, operation, "entity", entity_names(w), w->d->entities[0].name);
		parameter_example(w, operation, "entity_id", "1");
		return true;
	}
	return strcmp(path, "/v1/cache/{entity}/{entity_id}") != 0;
}

void api_document(void *app, struct yyjson_mut_doc *doc)
{
	static const struct {
		const char *template;
		void (*add)(const struct writer *w, const char *template, yyjson_mut_val *item);
	} by_name[] = { { "/v1/features/{entity}/{entity_id}", add_pushes },
			{ "/v1/ingest/{event_type}", add_events },
			{ "/v1/context/{name}", add_contexts } };
	struct writer w = { .d = ((const struct node *)app)->definitions, .doc = doc, .paths = yyjson_mut_obj(doc) };
	yyjson_mut_val *root = yyjson_mut_doc_get_root(doc), *key, *item;
	size_t i, n;
	yyjson_mut_obj_foreach(yyjson_mut_obj_get(root, "paths"), i, n, key, item)
	{
		const char *path = yyjson_mut_get_str(key);
		size_t k = 0;
		while (k < ARRAY_LEN(by_name) && strcmp(path, by_name[k].template) != 0)
			k++;
		yyjson_mut_val *copy = k == ARRAY_LEN(by_name) ? yyjson_mut_val_mut_copy(doc, item) : NULL;
		if (copy == NULL)
			by_name[k].add(&w, path, item);
		else if (refine(&w, path, copy))
			yyjson_mut_obj_add(w.paths, yyjson_mut_strcpy(doc, path), copy);
	}
	put(&w, root, "paths", w.paths);
}
