/* The OpenAPI 3.1 document, made from the route table, so that it cannot say anything else than what is
 * served. A route may bring its parameters, requestBody and responses as JSON; what it does not say follows
 * from its template. */
#include "http/server_private.h"
#include <yyjson.h>

static yyjson_mut_val *object_under(yyjson_mut_doc *doc, yyjson_mut_val *parent, const char *key)
{
	yyjson_mut_val *found = yyjson_mut_obj_get(parent, key);
	if (found == NULL) {
		found = yyjson_mut_obj(doc);
		yyjson_mut_obj_add(parent, yyjson_mut_strcpy(doc, key), found);
	}
	return found;
}

static void add_path_parameters(yyjson_mut_doc *doc, yyjson_mut_val *operation, const char *path)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc);
	for (const char *open = strchr(path, '{'); open != NULL; open = strchr(open + 1, '{')) {
		const char *close = strchr(open, '}');
		yyjson_mut_val *p = yyjson_mut_arr_add_obj(doc, list);
		yyjson_mut_obj_add_strncpy(doc, p, "name", open + 1, (size_t)(close - open - 1));
		yyjson_mut_obj_add_str(doc, p, "in", "path");
		yyjson_mut_obj_add_bool(doc, p, "required", true);
		yyjson_mut_obj_add_str(doc, object_under(doc, p, "schema"), "type", "string");
	}
	if (yyjson_mut_arr_size(list) > 0)
		yyjson_mut_obj_add_val(doc, operation, "parameters", list);
}

/* "post_v1_features_name": unique, because method and path are. */
static void add_operation_id(yyjson_mut_doc *doc, yyjson_mut_val *operation, const struct route *r)
{
	struct buf id = { 0 };
	for (const char *p = r->method; *p != '\0'; p++)
		buf_append_char(&id, (char)(*p | 0x20));
	for (const char *p = r->path; *p != '\0'; p++) {
		bool is_word = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '_';
		if (is_word)
			buf_append_char(&id, *p);
		else if (id.n > 0 && id.p[id.n - 1] != '_')
			buf_append_char(&id, '_');
	}
	while (id.n > 0 && id.p[id.n - 1] == '_')
		id.n--;
	yyjson_mut_obj_add_strncpy(doc, operation, "operationId", id.p, id.n);
	buf_finish(&id);
}

/* The names of the query parameters, as http_server.query_names keeps them. */
static char *query_names(yyjson_val *operation)
{
	struct buf names = { 0 };
	size_t i, n;
	yyjson_val *p;
	yyjson_arr_foreach(yyjson_obj_get(operation, "parameters"), i, n, p) {
		const char *name = yyjson_get_str(yyjson_obj_get(p, "name"));
		if (name != NULL && yyjson_equals_str(yyjson_obj_get(p, "in"), "query"))
			buf_append(&names, name, strlen(name) + 1);
	}
	buf_append_char(&names, '\0');
	CHECK(!names.failed); /* of a table in the source */
	return buf_take(&names, NULL);
}

static bool add_given(yyjson_mut_doc *doc, yyjson_mut_val *operation, const struct route *r, char **ret_query_names,
		      struct buf *ret_why)
{
	if (r->openapi == NULL)
		return true;
	yyjson_read_err error;
	yyjson_doc *given = yyjson_read_opts((char *)r->openapi, strlen(r->openapi), 0, NULL, &error);
	if (given == NULL || !yyjson_is_obj(yyjson_doc_get_root(given))) {
		buf_printf(ret_why, "route %s %s: its OpenAPI text is not a JSON object: %s at byte %zu", r->method,
			   r->path, given == NULL ? error.msg : "another type", given == NULL ? error.pos : 0);
		yyjson_doc_free(given);
		return false;
	}
	size_t i, n;
	yyjson_val *key, *value;
	*ret_query_names = query_names(yyjson_doc_get_root(given));
	yyjson_obj_foreach(yyjson_doc_get_root(given), i, n, key, value)
		yyjson_mut_obj_add(operation, yyjson_val_mut_copy(doc, key), yyjson_val_mut_copy(doc, value));
	yyjson_doc_free(given);
	return true;
}

static bool add_route(yyjson_mut_doc *doc, yyjson_mut_val *paths, const struct route *r, char **ret_query_names,
		      struct buf *ret_why)
{
	char method[8] = "";
	for (size_t i = 0; r->method[i] != '\0' && i < sizeof method - 1; i++)
		method[i] = (char)(r->method[i] | 0x20);
	yyjson_mut_val *operation = object_under(doc, object_under(doc, paths, r->path), method);
	if (r->summary != NULL)
		yyjson_mut_obj_add_str(doc, operation, "summary", r->summary);
	add_operation_id(doc, operation, r);
	if (!add_given(doc, operation, r, ret_query_names, ret_why))
		return false;
	if (yyjson_mut_obj_get(operation, "parameters") == NULL)
		add_path_parameters(doc, operation, r->path);
	if (yyjson_mut_obj_get(operation, "responses") == NULL)
		yyjson_mut_obj_add_str(doc, object_under(doc, object_under(doc, operation, "responses"), "200"),
				       "description", "Success");
	if (!(r->flags & ROUTE_PUBLIC)) {
		yyjson_mut_val *needs = yyjson_mut_obj(doc);
		yyjson_mut_obj_add_val(doc, needs, "ApiKey", yyjson_mut_arr(doc));
		yyjson_mut_val *security = yyjson_mut_arr(doc);
		yyjson_mut_arr_append(security, needs);
		yyjson_mut_obj_add_val(doc, operation, "security", security);
	}
	return true;
}

static void add_frame(yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	yyjson_mut_obj_add_str(doc, root, "openapi", "3.1.0");
	yyjson_mut_val *info = object_under(doc, root, "info");
	yyjson_mut_obj_add_str(doc, info, "title", "Fabra Feature Store API");
	yyjson_mut_obj_add_str(doc, info, "version", "1");
	yyjson_mut_obj_add_str(doc, info, "description",
			       "Features and contexts, each context with a durable, verifiable record. Errors are "
			       "{\"detail\": text}; a request of the wrong shape is 422 with a list of what is wrong.");
	yyjson_mut_val *schemes = object_under(doc, object_under(doc, root, "components"), "securitySchemes");
	yyjson_mut_val *scheme = object_under(doc, schemes, "ApiKey");
	yyjson_mut_obj_add_str(doc, scheme, "type", "apiKey");
	yyjson_mut_obj_add_str(doc, scheme, "in", "header");
	yyjson_mut_obj_add_str(doc, scheme, "name", "X-API-Key");
}

bool openapi_make(struct http_server *s, struct buf *ret_why)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	CHECK(doc != NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	add_frame(doc, root);
	yyjson_mut_val *paths = object_under(doc, root, "paths");
	bool ok = true;
	for (size_t i = 0; i < s->routes_len && ok; i++)
		ok = add_route(doc, paths, &s->routes[i], &s->query_names[i], ret_why);
	if (ok) {
		size_t n;
		char *text = yyjson_mut_write(doc, 0, &n);
		CHECK(text != NULL);
		buf_append(&s->openapi, text, n);
		free(text);
	}
	yyjson_mut_doc_free(doc);
	return ok;
}
