/* The OpenAPI 3.1 document, made from the route table, so that it cannot say anything else than what is
 * served. A route may bring its parameters, requestBody and responses; what it does not say follows from its
 * template, its flags and its functions. What only the application knows (names, arguments) it adds at the end. */
#include "http/server_private.h"
#include <yyjson.h>

/* Errors that several routes answer, by status. 500 has two forms: of the program, and of a store that is damaged. */
static const char components[] =
    "{'schemas':{"
    "'Error':{'type':'object','required':['detail'],'properties':{'detail':{'type':'string'}}},"
    "'Mistake':{'type':'object','required':['type','loc','msg','input'],'properties':{'type':{'type':'string'},'loc':"
    "{'type':'array','items':{'type':['string','integer']}},'msg':{'type':'string'},'input':{},'ctx':{'type':'object','additionalProperties':true}}},"
    "'Mistakes':{'type':'object','required':['detail'],'properties':{'detail':{'oneOf':[{'type':'string'},{'type':'array',"
    "'minItems':1,'items':{'$ref':'#/components/schemas/Mistake'}}]}}}},"
#define ERROR(status, text, schema)                                                                                    \
	"'" #status "':{'description':'" text                                                                          \
	"','content':{'application/json':{'schema':{'$ref':'#/components/schemas/" schema "'}}}}"
    /* The formatter would indent each call behind the one before. */
    /* clang-format off */
    "'responses':{"
    ERROR(400, "The request is malformed, or asks for what cannot be", "Error") ","
    ERROR(403, "The API key is missing or wrong", "Error") ","
    ERROR(404, "There is no such thing", "Error") ","
    ERROR(409, "It contradicts what is there, or what is under way", "Error") ","
    ERROR(413, "The body, or what would be made of it, is too large", "Error") ","
    ERROR(415, "The body is in a content coding other than identity", "Error") ","
    ERROR(422, "All that is wrong with the request", "Mistakes") ","
    ERROR(431, "The path and the headers are too large", "Error") ","
    "'500':{'description':'The program or a store failed','content':{'application/json':{'schema':{'$ref':"
    "'#/components/schemas/Error'}},'text/plain':{'schema':{'type':'string'}}}},"
    "'503':{'description':'A limit is reached, or the server is shutting down','headers':{'Retry-After':{'description':"
    "'seconds','schema':{'type':'integer'}}},'content':{'application/json':{'schema':{'$ref':"
    "'#/components/schemas/Error'}}}},"
    ERROR(504, "The deadline of the request has passed", "Error")
    "}}";
/* clang-format on */
#undef ERROR

/* ---- parts ---- */
static yyjson_mut_val *object_under(yyjson_mut_doc *doc, yyjson_mut_val *parent, const char *key)
{
	yyjson_mut_val *found = yyjson_mut_obj_get(parent, key);
	if (found == NULL) {
		found = yyjson_mut_obj(doc);
		yyjson_mut_obj_add(parent, yyjson_mut_strcpy(doc, key), found);
	}
	return found;
}

/* In the source ' stands for the double quote, which C would want escaped. */
static yyjson_doc *parse_quoted(const char *text, yyjson_read_err *ret_error)
{
	struct buf json = { 0 };
	for (const char *p = text; *p != '\0'; p++)
		buf_append_char(&json, *p == '\'' ? '"' : *p);
	CHECK(!json.failed);
	yyjson_doc *doc = yyjson_read_opts(json.p, json.n, 0, NULL, ret_error);
	buf_finish(&json);
	return doc;
}

/* ---- an operation ---- */
static bool has_parameter(yyjson_mut_val *list, struct str name)
{
	size_t i, n;
	yyjson_mut_val *p;
	yyjson_mut_arr_foreach(list, i, n, p)
	{
		yyjson_mut_val *given = yyjson_mut_obj_get(p, "name");
		if (yyjson_mut_equals_strn(given, name.p, name.n) &&
		    yyjson_mut_equals_str(yyjson_mut_obj_get(p, "in"), "path"))
			return true;
	}
	return false;
}

/* Those of the template that the route does not describe, before the others. */
static void add_path_parameters(yyjson_mut_doc *doc, yyjson_mut_val *operation, const char *path)
{
	yyjson_mut_val *list = yyjson_mut_obj_get(operation, "parameters");
	size_t at = 0;
	for (const char *open = strchr(path, '{'); open != NULL; open = strchr(open + 1, '{')) {
		struct str name = str_of(open + 1, (size_t)(strchr(open, '}') - open - 1));
		if (list == NULL) {
			list = yyjson_mut_arr(doc);
			yyjson_mut_obj_add_val(doc, operation, "parameters", list);
		}
		if (has_parameter(list, name))
			continue;
		yyjson_mut_val *p = yyjson_mut_obj(doc);
		yyjson_mut_arr_insert(list, p, at++);
		yyjson_mut_obj_add_strncpy(doc, p, "name", name.p, name.n);
		yyjson_mut_obj_add_str(doc, p, "in", "path");
		yyjson_mut_obj_add_bool(doc, p, "required", true);
		yyjson_mut_val *schema = object_under(doc, p, "schema");
		yyjson_mut_obj_add_str(doc, schema, "type", "string");
		yyjson_mut_obj_add_int(doc, schema, "minLength", 1);
	}
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

static void put_error(yyjson_mut_doc *doc, yyjson_mut_val *responses, const char *status)
{
	char ref[64];
	yyjson_mut_val *given = yyjson_mut_obj_get(responses, status);
	if (given != NULL && !yyjson_mut_is_null(given))
		return;
	snprintf(ref, sizeof ref, "#/components/responses/%s", status);
	yyjson_mut_val *error = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_strcpy(doc, error, "$ref", ref);
	yyjson_mut_obj_put(responses, yyjson_mut_strcpy(doc, status), error);
}

/* What the server answers for every route, and what a route says with null. */
static void add_responses(const struct http_server *s, yyjson_mut_doc *doc, yyjson_mut_val *operation,
			  const struct route *r)
{
	yyjson_mut_val *responses = object_under(doc, operation, "responses");
	bool may_wait = r->on_message != NULL, is_limited = !(r->flags & ROUTE_SYSTEM);
	if (yyjson_mut_obj_size(responses) == 0)
		yyjson_mut_obj_add_str(doc, object_under(doc, responses, "200"), "description", "Success");
	const struct {
		const char *status;
		bool is_answered;
	} all[] = { { "400", true },     { "403", s->api_key.n > 0 && !(r->flags & ROUTE_PUBLIC) },
		    { "404", false },    { "409", false },
		    { "413", true },     { "415", r->flags & ROUTE_BODY },
		    { "422", true },     { "431", true },
		    { "500", may_wait }, { "503", may_wait || is_limited },
		    { "504", may_wait } };
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i].is_answered || yyjson_mut_is_null(yyjson_mut_obj_get(responses, all[i].status)))
			put_error(doc, responses, all[i].status);
}

/* The names of the query parameters, as http_server.query_names keeps them. */
static char *query_names(yyjson_val *operation)
{
	enum { NAMES_MAX = 64 }; /* the exchange keeps a bit for each */
	struct buf names = { 0 };
	size_t i, n, count = 0;
	yyjson_val *p;
	yyjson_arr_foreach(yyjson_obj_get(operation, "parameters"), i, n, p) {
		const char *name = yyjson_get_str(yyjson_obj_get(p, "name"));
		if (name != NULL && yyjson_equals_str(yyjson_obj_get(p, "in"), "query")) {
			buf_append(&names, name, strlen(name) + 1);
			count++;
		}
	}
	buf_append_char(&names, '\0');
	CHECK(!names.failed && count <= NAMES_MAX); /* of a table in the source */
	return buf_take(&names, NULL);
}

static bool add_given(yyjson_mut_doc *doc, yyjson_mut_val *operation, const struct route *r, char **ret_query_names,
		      struct buf *ret_why)
{
	if (r->openapi == NULL)
		return true;
	yyjson_read_err error;
	yyjson_doc *given = parse_quoted(r->openapi, &error);
	if (given == NULL || !yyjson_is_obj(yyjson_doc_get_root(given))) {
		buf_printf(ret_why, "route %s %s: its OpenAPI text is not a JSON object: %s at byte %zu", r->method,
			   r->path, given == NULL ? error.msg : "another type", given == NULL ? error.pos : 0);
		yyjson_doc_free(given);
		return false;
	}
	size_t i, n;
	yyjson_val *key, *value;
	if (!(r->flags & ROUTE_PUBLIC))
		*ret_query_names = query_names(yyjson_doc_get_root(given));
	yyjson_obj_foreach(yyjson_doc_get_root(given), i, n, key, value)
		yyjson_mut_obj_add(operation, yyjson_val_mut_copy(doc, key), yyjson_val_mut_copy(doc, value));
	yyjson_doc_free(given);
	return true;
}

static void add_security(yyjson_mut_doc *doc, yyjson_mut_val *operation)
{
	yyjson_mut_val *needs = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_val(doc, needs, "ApiKey", yyjson_mut_arr(doc));
	yyjson_mut_val *security = yyjson_mut_arr(doc);
	yyjson_mut_arr_append(security, needs);
	yyjson_mut_obj_add_val(doc, operation, "security", security);
}

static bool add_route(struct http_server *s, yyjson_mut_doc *doc, yyjson_mut_val *paths, size_t route,
		      struct buf *ret_why)
{
	const struct route *r = &s->routes[route];
	char method[8] = "";
	if (r->flags & ROUTE_UNLISTED)
		return true;
	for (size_t i = 0; r->method[i] != '\0' && i < sizeof method - 1; i++)
		method[i] = (char)(r->method[i] | 0x20);
	yyjson_mut_val *operation = object_under(doc, object_under(doc, paths, r->path), method);
	if (r->summary != NULL)
		yyjson_mut_obj_add_str(doc, operation, "summary", r->summary);
	add_operation_id(doc, operation, r);
	if (!add_given(doc, operation, r, &s->query_names[route], ret_why))
		return false;
	add_path_parameters(doc, operation, r->path);
	add_responses(s, doc, operation, r);
	if (s->api_key.n > 0 && !(r->flags & ROUTE_PUBLIC))
		add_security(doc, operation);
	return true;
}

static void add_frame(const struct http_server *s, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	yyjson_mut_obj_add_str(doc, root, "openapi", "3.1.0");
	yyjson_mut_val *info = object_under(doc, root, "info");
	yyjson_mut_obj_add_str(doc, info, "title", "Fabra Feature Store API");
	yyjson_mut_obj_add_str(doc, info, "version", "1");
	yyjson_mut_obj_add_str(
	    doc, info, "description",
	    "Features and contexts, each context with a durable, verifiable record. Errors are "
	    "{\"detail\": text}; a request of the wrong shape is 422 with a list of what is wrong. Before "
	    "a route is found, a request may be answered 307 (slashes at the end), 404, 405, 413, 417 or 431.");
	yyjson_doc *shared = parse_quoted(components, NULL);
	CHECK(shared != NULL);
	yyjson_mut_obj_add_val(doc, root, "components", yyjson_val_mut_copy(doc, yyjson_doc_get_root(shared)));
	yyjson_doc_free(shared);
	if (s->api_key.n == 0)
		return;
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
	add_frame(s, doc, root);
	yyjson_mut_val *paths = object_under(doc, root, "paths");
	bool ok = true;
	for (size_t i = 0; i < s->routes_len && ok; i++) /* the application's first */
		ok = add_route(s, doc, paths, (i + system_routes_len) % s->routes_len, ret_why);
	if (ok) {
		size_t n;
		if (s->config.document != NULL)
			s->config.document(s->config.app, doc);
		char *text = yyjson_mut_write(doc, 0, &n);
		CHECK(text != NULL);
		buf_append(&s->openapi, text, n);
		free(text);
	}
	yyjson_mut_doc_free(doc);
	return ok;
}
