#include "actors/arguments.h"

const char *const arguments_of_any_context[] = { "call_id",    "session_id",      "turn_id",
						 "turn_index", "interaction_ref", "interaction_mode",
						 "mode",       "jurisdiction",    "consent_state",
						 NULL };

static bool is_interaction_name(struct str name)
{
	for (size_t i = 0; arguments_of_any_context[i] != NULL; i++)
		if (str_eq(name, str_from(arguments_of_any_context[i])))
			return true;
	return false;
}

static const struct def_param *find_param(const struct def_context *context, struct str name)
{
	for (uint32_t i = 0; i < context->params_count; i++)
		if (str_eq(context->params[i].name, name))
			return &context->params[i];
	return NULL;
}

static bool has_type(yyjson_val *v, enum def_param_type type)
{
	switch (type) {
	case PARAM_STRING:
		return yyjson_is_str(v);
	case PARAM_INTEGER:
		return yyjson_is_int(v);
	case PARAM_NUMBER:
		return yyjson_is_num(v);
	case PARAM_BOOLEAN:
		return yyjson_is_bool(v);
	case PARAM_ANY:
		return true;
	}
	return false;
}

static const char *type_name(enum def_param_type type)
{
	static const char *const names[] = { "a string", "an integer", "a number", "a boolean", "any value" };
	return names[type];
}

static struct buf *one_more(struct buf *why, size_t before)
{
	if (why->n > before)
		buf_append_lit(why, "; ");
	return why;
}

/* Of the errors in a reply. Finding more of them in a large body would only take the loop's time. */
enum { WHY_BYTES = 400 };

bool arguments_check(const struct def_context *context, yyjson_val *args, struct buf *ret_why)
{
	size_t before = ret_why->n;
	if (!context->params_declared)
		return true;
	for (uint32_t i = 0; i < context->params_count; i++) {
		const struct def_param *p = &context->params[i];
		if (p->required && yyjson_obj_getn(args, p->name.p, p->name.n) == NULL)
			buf_printf(one_more(ret_why, before), "missing required argument '%.*s'", STR_ARG(p->name));
	}
	size_t i, max;
	yyjson_val *key, *value;
	yyjson_obj_foreach(args, i, max, key, value) {
		if (ret_why->n - before > WHY_BYTES)
			break;
		struct str name = json_str(key);
		const struct def_param *p = find_param(context, name);
		if (p == NULL && !is_interaction_name(name))
			buf_printf(one_more(ret_why, before), "got an unexpected argument '%.*s'", STR_ARG(name));
		else if (p && !has_type(value, p->type) && (p->required || !yyjson_is_null(value)))
			buf_printf(one_more(ret_why, before), "argument '%.*s' must be %s", STR_ARG(name),
				   type_name(p->type));
	}
	return ret_why->n == before && !ret_why->failed;
}

bool arguments_fill(const struct def_context *context, yyjson_val *args, struct buf *out)
{
	bool is_filled = false;
	for (uint32_t i = 0; i < context->params_count; i++) {
		const struct def_param *p = &context->params[i];
		if (p->default_json.p == NULL || yyjson_obj_getn(args, p->name.p, p->name.n))
			continue;
		if (!is_filled) {
			json_write_value(out, args);
			out->n -= out->n > 0; /* the brace */
		}
		if (out->n > 1)
			buf_append_char(out, ',');
		json_write_string(out, p->name);
		buf_append_char(out, ':');
		buf_append_str(out, p->default_json);
		is_filled = true;
	}
	if (is_filled)
		buf_append_char(out, '}');
	return is_filled;
}
