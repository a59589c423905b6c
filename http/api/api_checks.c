/* What several routes check of a request. Each check notes what is wrong and goes on, so that a client learns of all its
 * mistakes at once. */
#include "actors/definitions/definitions_near.h"
#include "actors/feature_request.h"
#include "http/api/api.h"
#include "runtime/config.h"
#include "store/text/json.h"
#include "store/text/timefmt.h"
#include <stdlib.h>

static void note_with(struct exchange *x, const char *type, struct str loc_json, const char *msg, yyjson_val *input,
		      const char *ctx)
{
	struct buf loc = { 0 }, text = { .max = EXCHANGE_INPUT_BYTES_MAX };
	if (exchange_list_is_full(x))
		return;
	if (input)
		json_write_value(&text, input);
	else
		buf_append_lit(&text, "null");
	buf_append_str(&loc, loc_json);
	buf_append_char(&loc, '\0');
	exchange_invalid(x, type, loc.failed ? "[\"body\"]" : loc.p, msg, text.failed ? STR("null") : buf_str(&text),
			 ctx);
	buf_finish(&loc);
	buf_finish(&text);
}

void api_note(struct exchange *x, const char *type, struct str loc_json, const char *msg, yyjson_val *input)
{
	note_with(x, type, loc_json, msg, input, NULL);
}

void api_note_member(struct exchange *x, struct str name, const char *type, const char *msg, yyjson_val *input)
{
	struct buf loc = { 0 };
	buf_append_lit(&loc, "[\"body\",");
	json_write_string(&loc, name);
	buf_append_char(&loc, ']');
	api_note(x, type, buf_str(&loc), msg, input);
	buf_finish(&loc);
}

/* ---- the body ---- */

static yyjson_val *body_of_type(struct exchange *x, const char *type, const char *msg)
{
	struct yyjson_doc *doc = exchange_json(x);
	yyjson_val *body = doc ? yyjson_doc_get_root(doc) : NULL;
	if (yyjson_is_obj(body))
		return body;
	if (body)
		api_note(x, type, STR("[\"body\"]"), msg, body);
	else
		api_note(x, "missing", STR("[\"body\"]"), "Field required", NULL);
	return NULL;
}

static bool is_one_of(struct str name, const char *const *names)
{
	while (*names && !str_eq(name, str_from(*names)))
		names++;
	return *names != NULL;
}

yyjson_val *api_body_model(struct exchange *x, const char *const *members)
{
	yyjson_val *body = body_of_type(x, "model_attributes_type",
					"Input should be a valid dictionary or object to extract fields from");
	size_t i, max;
	yyjson_val *name, *value;
	yyjson_obj_foreach(body, i, max, name, value) {
		if (exchange_list_is_full(x))
			break;
		if (!is_one_of(json_str(name), members))
			api_note_member(x, json_str(name), "extra_forbidden", "Extra inputs are not permitted", value);
	}
	return body;
}

yyjson_val *api_body_object(struct exchange *x)
{
	return body_of_type(x, "dict_type", "Input should be a valid dictionary");
}

bool api_text(struct exchange *x, yyjson_val *body, const char *name, struct str *ret)
{
	yyjson_val *v = yyjson_obj_get(body, name);
	*ret = json_str(v);
	if (yyjson_is_str(v))
		return true;
	if (v)
		api_note_member(x, str_from(name), "string_type", "Input should be a valid string", v);
	else if (body)
		api_note_member(x, str_from(name), "missing", "Field required", body);
	return false;
}

bool api_string(struct exchange *x, yyjson_val *body, const char *name, struct str *ret)
{
	char loc[128];
	snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", name);
	return api_text(x, body, name, ret) && api_id(x, *ret, loc);
}

yyjson_val *api_list(struct exchange *x, yyjson_val *body, const char *name, size_t max)
{
	yyjson_val *v = yyjson_obj_get(body, name);
	if (!yyjson_is_arr(v)) {
		if (v)
			api_note_member(x, str_from(name), "list_type", "Input should be a valid list", v);
		else if (body)
			api_note_member(x, str_from(name), "missing", "Field required", body);
		return NULL;
	}
	char loc[160], text[96], ctx[96];
	if (yyjson_arr_size(v) > max) {
		snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", name);
		snprintf(text, sizeof text, "List should have at most %zu items after validation, not %zu", max,
			 yyjson_arr_size(v));
		snprintf(ctx, sizeof ctx, "{\"field_type\":\"List\",\"max_length\":%zu,\"actual_length\":%zu}", max,
			 yyjson_arr_size(v));
		note_with(x, "too_long", str_from(loc), text, v, ctx);
		return NULL;
	}
	size_t i, n;
	yyjson_val *item;
	bool are_texts = true;
	yyjson_arr_foreach(v, i, n, item) {
		if (yyjson_is_str(item))
			continue;
		are_texts = false;
		snprintf(loc, sizeof loc, "[\"body\",\"%s\",%zu]", name, i);
		api_note(x, "string_type", str_from(loc), "Input should be a valid string", item);
	}
	return are_texts ? v : NULL;
}

/* ---- ids ---- */

bool api_id_is_fine(struct str id)
{
	return id.n == 0 || entity_id_error(id) == NULL;
}

bool api_id(struct exchange *x, struct str id, const char *loc_json)
{
	if (api_id_is_fine(id))
		return true;
	if (id.n > API_NAME_BYTES_MAX)
		exchange_invalid_text(x, "string_too_long", loc_json, "String should have at most 256 bytes", id,
				      "{\"max_length\":256}");
	else
		exchange_invalid_text(x, "value_error", loc_json, "Value error, must be UTF-8 text without NUL", id,
				      NULL);
	return false;
}

/* ---- the query and the headers ---- */

static void note_query(struct exchange *x, const char *name, const char *type, const char *msg, struct str value,
		       const char *ctx)
{
	char loc[128];
	snprintf(loc, sizeof loc, "[\"query\",\"%s\"]", name);
	exchange_invalid_text(x, type, loc, msg, value, ctx);
}

bool api_query_required(struct exchange *x, const char *name, struct str *ret)
{
	char loc[128];
	bool is_there = exchange_query(x, name, ret);
	if (is_there && api_id_is_fine(*ret))
		return true; /* the short path writes no text */
	snprintf(loc, sizeof loc, "[\"query\",\"%s\"]", name);
	if (is_there)
		return api_id(x, *ret, loc);
	exchange_invalid(x, "missing", loc, "Field required", STR("null"), NULL);
	return false;
}

bool api_query_flag(struct exchange *x, const char *name, bool *ret)
{
	struct str text;
	*ret = false;
	if (!exchange_query(x, name, &text) || text.n == 0)
		return true;
	if (config_parse_bool(text, ret))
		return true;
	note_query(x, name, "bool_parsing", "Input should be a valid boolean, unable to interpret input", text, NULL);
	return false;
}

bool api_query_int(struct exchange *x, const char *name, int32_t min, int32_t max, int32_t *ret)
{
	struct str text;
	char digits[16] = "", *end = digits, msg[80], ctx[32];
	if (!exchange_query(x, name, &text))
		return true;
	if (text.n < sizeof digits)
		memcpy(digits, text.p, text.n);
	long v = strtol(digits, &end, 10);
	if (end == digits || (size_t)(end - digits) != text.n) {
		note_query(x, name, "int_parsing",
			   "Input should be a valid integer, unable to parse string as an integer", text, NULL);
		return false;
	}
	if (v >= min && v <= max) {
		*ret = (int32_t)v;
		return true;
	}
	bool is_low = v < min;
	snprintf(msg, sizeof msg, "Input should be %s than or equal to %d", is_low ? "greater" : "less",
		 is_low ? min : max);
	snprintf(ctx, sizeof ctx, "{\"%s\":%d}", is_low ? "ge" : "le", is_low ? min : max);
	note_query(x, name, is_low ? "greater_than_equal" : "less_than_equal", msg, text, ctx);
	return false;
}

bool api_time(struct str text, int64_t *ret_us)
{
	if (time_parse(text, ret_us))
		return true;
	/* "+02:00" arrives as " 02:00" from clients that do not encode the plus. */
	char fixed[64];
	if (text.n <= 6 || text.n >= sizeof fixed || text.p[text.n - 6] != ' ')
		return false;
	memcpy(fixed, text.p, text.n);
	fixed[text.n - 6] = '+';
	return time_parse(str_of(fixed, text.n), ret_us);
}

bool api_query_event_time(struct exchange *x, const char *name, int64_t *ret_us)
{
	struct str text;
	int64_t now_us = loop_wall_us(exchange_loop(x));
	*ret_us = now_us;
	if (!exchange_query(x, name, &text))
		return true;
	if (!api_time(text, ret_us))
		note_query(x, name, "datetime_parsing", "Input should be a valid datetime in ISO 8601", text, NULL);
	else if (*ret_us > now_us + API_FUTURE_US_MAX)
		note_query(x, name, "value_error", "Value error, more than 5 minutes in the future", text, NULL);
	else
		return true;
	return false;
}

/* ---- names of the definitions ---- */

void api_note_text(struct exchange *x, struct str loc_json, struct str msg, yyjson_val *input)
{
	char text[EXCHANGE_DETAIL_BYTES];
	text_printf(text, sizeof text, "Value error, %.*s", STR_ARG(msg));
	api_note(x, "value_error", loc_json, text, input);
}

/* A name that nobody knows, alone, is 400 or 404; beside other mistakes it is one of their list. */
static void unknown_name(struct exchange *x, int status, const char *loc_json, struct str name, struct str msg)
{
	char text[EXCHANGE_DETAIL_BYTES];
	if (exchange_is_valid(x)) {
		exchange_error(x, status, "%.*s", STR_ARG(msg));
		return;
	}
	text_printf(text, sizeof text, "Value error, %.*s", STR_ARG(msg));
	exchange_invalid_text(x, "value_error", loc_json, text, name, NULL);
}

void api_unknown_feature(struct exchange *x, struct str name)
{
	struct buf text = { 0 };
	api_no_feature(api_node(x)->definitions, DEF_NONE, name, &text);
	unknown_name(x, 404, "[\"path\",\"name\"]", name, buf_str(&text));
	buf_finish(&text);
}

uint32_t api_entity(struct exchange *x, struct str name, const char *loc_json)
{
	uint32_t entity = definitions_entity(api_node(x)->definitions, name);
	struct buf text = { 0 };
	if (entity != DEF_NONE)
		return entity;
	buf_printf(&text, "Entity '%.*s' not found", STR_ARG(name));
	unknown_name(x, 404, loc_json, name, buf_str(&text));
	buf_finish(&text);
	return DEF_NONE;
}

uint32_t api_context(struct exchange *x, struct str name)
{
	uint32_t context = definitions_context(api_node(x)->definitions, name);
	struct buf text = { 0 };
	if (context != DEF_NONE)
		return context;
	buf_printf(&text, "Context '%.*s' not found", STR_ARG(name));
	unknown_name(x, 404, "[\"path\",\"name\"]", name, buf_str(&text));
	buf_finish(&text);
	return DEF_NONE;
}

struct nearest {
	struct str name;
	unsigned distance;
};

static void offer(struct nearest *best, struct str name, struct str wanted)
{
	unsigned distance = definitions_distance(name, wanted);
	if (distance < best->distance)
		*best = (struct nearest){ name, distance };
}

static void did_you_mean(const struct nearest *best, struct buf *out)
{
	if (best->distance < NEAR_FAR)
		buf_printf(out, ". Did you mean: %.*s?", STR_ARG(best->name));
}

void api_no_feature(const struct definitions *d, uint32_t entity, struct str name, struct buf *out)
{
	struct nearest best = { .distance = NEAR_FAR };
	uint32_t other = definitions_feature(d, name);
	if (out->n >= EXCHANGE_DETAIL_BYTES)
		return;
	if (out->n)
		buf_append_lit(out, "; ");
	buf_printf(out, "Feature '%.*s' not found", STR_ARG(name));
	if (entity != DEF_NONE)
		buf_printf(out, " for entity '%.*s'", STR_ARG(d->entities[entity].name));
	if (other != DEF_NONE) {
		buf_printf(out, ": it is one of entity '%.*s'", STR_ARG(d->entities[d->features[other].entity].name));
		return;
	}
	for (uint32_t i = 0; i < d->features_count; i++)
		if (entity == DEF_NONE || d->features[i].entity == entity)
			offer(&best, d->features[i].name, name);
	did_you_mean(&best, out);
}

bool api_event_type(struct exchange *x, struct str type)
{
	const struct definitions *d = api_node(x)->definitions;
	static const char loc[] = "[\"path\",\"event_type\"]";
	struct nearest best = { .distance = NEAR_FAR };
	if (!definitions_is_event_type(type)) {
		unknown_name(x, 400, loc, type, STR("Event type must be alphanumeric (underscores allowed)"));
		return false;
	}
	for (uint32_t i = 0; i < d->features_count; i++)
		if (d->features[i].trigger.p != NULL && str_eq(d->features[i].trigger, type))
			return true;
	for (uint32_t i = 0; i < d->features_count; i++)
		if (d->features[i].trigger.p != NULL)
			offer(&best, d->features[i].trigger, type);
	struct buf text = { 0 };
	buf_printf(&text, "Event type '%.*s' not found: it triggers no feature", STR_ARG(type));
	did_you_mean(&best, &text);
	unknown_name(x, 404, loc, type, buf_str(&text));
	buf_finish(&text);
	return false;
}
