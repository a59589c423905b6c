#include "actors/feature_request.h"
#include "http/api.h"
#include "store/json.h"

static yyjson_val *body_of_type(struct exchange *x, const char *type, const char *msg)
{
	struct yyjson_doc *doc = exchange_json(x);
	yyjson_val *body = doc ? yyjson_doc_get_root(doc) : NULL;
	if (yyjson_is_obj(body))
		return body;
	struct buf input = { 0 };
	if (body)
		json_write_value(&input, body);
	if (body)
		exchange_invalid(x, type, "[\"body\"]", msg, buf_str(&input), NULL);
	else
		exchange_invalid(x, "missing", "[\"body\"]", "Field required", STR("null"), NULL);
	buf_finish(&input);
	return NULL;
}

yyjson_val *api_body_model(struct exchange *x)
{
	return body_of_type(x, "model_attributes_type",
			    "Input should be a valid dictionary or object to extract fields from");
}

yyjson_val *api_body_object(struct exchange *x)
{
	return body_of_type(x, "dict_type", "Input should be a valid dictionary");
}

static void invalid_member(struct exchange *x, yyjson_val *body, const char *name, const char *type, const char *msg,
			   yyjson_val *value)
{
	char loc[128];
	snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", name);
	struct buf input = { 0 };
	json_write_value(&input, value ? value : body);
	exchange_invalid(x, value ? type : "missing", loc, value ? msg : "Field required", buf_str(&input), NULL);
	buf_finish(&input);
}

bool api_string(struct exchange *x, yyjson_val *body, const char *name, struct str *ret)
{
	yyjson_val *v = yyjson_obj_get(body, name);
	if (!yyjson_is_str(v)) {
		invalid_member(x, body, name, "string_type", "Input should be a valid string", v);
		return false;
	}
	*ret = json_str(v);
	char loc[128];
	snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", name);
	return api_id(x, *ret, loc);
}

yyjson_val *api_list(struct exchange *x, yyjson_val *body, const char *name, size_t max)
{
	yyjson_val *v = yyjson_obj_get(body, name);
	if (!yyjson_is_arr(v)) {
		invalid_member(x, body, name, "list_type", "Input should be a valid list", v);
		return NULL;
	}
	char loc[160], text[96], ctx[96];
	if (yyjson_arr_size(v) > max) {
		snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", name);
		snprintf(text, sizeof text, "List should have at most %zu items after validation, not %zu", max,
			 yyjson_arr_size(v));
		snprintf(ctx, sizeof ctx, "{\"field_type\":\"List\",\"max_length\":%zu,\"actual_length\":%zu}", max,
			 yyjson_arr_size(v));
		exchange_invalid(x, "too_long", loc, text, STR("null"), ctx);
		return NULL;
	}
	size_t i, n;
	yyjson_val *item;
	yyjson_arr_foreach(v, i, n, item) {
		snprintf(loc, sizeof loc, "[\"body\",\"%s\",%zu]", name, i);
		if (yyjson_is_str(item))
			continue;
		struct buf input = { 0 };
		json_write_value(&input, item);
		exchange_invalid(x, "string_type", loc, "Input should be a valid string", buf_str(&input), NULL);
		buf_finish(&input);
		return NULL;
	}
	return v;
}

bool api_id_is_fine(struct str id)
{
	return id.n == 0 || entity_id_error(id) == NULL;
}

bool api_id(struct exchange *x, struct str id, const char *loc_json)
{
	if (api_id_is_fine(id))
		return true;
	if (id.n > API_NAME_BYTES_MAX) {
		exchange_invalid(x, "string_too_long", loc_json, "String should have at most 256 bytes", STR("null"),
				 "{\"max_length\":256}");
		return false;
	}
	exchange_invalid(x, "value_error", loc_json, "Value error, must be UTF-8 text without NUL", STR("null"), NULL);
	return false;
}

bool api_query_required(struct exchange *x, const char *name, struct str *ret)
{
	char loc[128];
	bool is_there = exchange_query(x, name, ret);
	if (is_there && api_id_is_fine(*ret))
		return true; /* the short path writes no text */
	snprintf(loc, sizeof loc, "[\"query\",\"%s\"]", name);
	if (!is_there) {
		exchange_invalid(x, "missing", loc, "Field required", STR("null"), NULL);
		return false;
	}
	return api_id(x, *ret, loc);
}

uint32_t api_entity(struct exchange *x, struct str name)
{
	uint32_t entity = definitions_entity(api_node(x)->definitions, name);
	if (entity == DEF_NONE)
		exchange_error(x, 404, "Entity '%.*s' not found", STR_ARG(name));
	return entity;
}
