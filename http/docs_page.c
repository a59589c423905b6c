/* The page at /docs: every route with its parameters and a command to try, without scripts and without other
 * hosts. */
#include "http/server_private.h"
#include "store/text/json.h"
#include <yyjson.h>

static const char head[] =
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Fabra</title>"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>"
    ":root{color-scheme:light dark;--line:#8884;--soft:#8881}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
    "h2{font-size:1rem;margin:2.2rem 0 .3rem;font-family:ui-monospace,monospace;overflow-wrap:anywhere}"
    "h2 a{color:inherit;text-decoration:none}h2 b{display:inline-block;min-width:4.5rem}"
    ".GET{color:#1a7f37}.POST{color:#0969da}.PUT{color:#9a6700}.DELETE{color:#cf222e}"
    "pre{background:var(--soft);padding:.7rem;border-radius:6px;overflow-x:auto;margin:.5rem 0}"
    "table{border-collapse:collapse;font-size:.9rem}td,th{text-align:left;padding:.15rem 1rem .15rem 0;"
    "border-bottom:1px solid var(--line);vertical-align:top}p{margin:.2rem 0}small{opacity:.7}</style></head><body>"
    "<h1>Fabra</h1><p>JSON in and out, over HTTP/2 or HTTP/1.1. If a key is set, routes not marked <small>public</small> "
    "want it as <code>X-API-Key</code>. Every reply carries <code>x-request-id</code>. A request may "
    "lower its deadline with <code>x-request-timeout-ms</code>. The same in a form for programs: "
    "<a href=\"/openapi.json\">/openapi.json</a>.</p><p>The commands below expect <code>FABRA_URL</code>, for example "
    "<code>export FABRA_URL=http://127.0.0.1:8000</code>.</p>";

static void escape(struct buf *out, struct str text)
{
	for (size_t i = 0; i < text.n; i++)
		switch (text.p[i]) {
		case '<':
			buf_append_lit(out, "&lt;");
			break;
		case '>':
			buf_append_lit(out, "&gt;");
			break;
		case '&':
			buf_append_lit(out, "&amp;");
			break;
		case '"':
			buf_append_lit(out, "&quot;");
			break;
		default:
			buf_append_char(out, text.p[i]);
		}
}

static void escape_json_str(struct buf *out, yyjson_val *v)
{
	escape(out, str_of(yyjson_get_str(v), yyjson_get_len(v)));
}

/* "string", "a, b, c" of an enum, or nothing when all is allowed. */
static void write_type(struct buf *out, yyjson_val *schema)
{
	yyjson_val *type = yyjson_obj_get(schema, "type"), *names = yyjson_obj_get(schema, "enum"), *v;
	size_t i, n;
	if (names == NULL)
		names = yyjson_is_arr(type) ? type : NULL;
	if (names == NULL)
		escape_json_str(out, type);
	yyjson_arr_foreach(names, i, n, v) {
		buf_append_str(out, i > 0 ? STR(", ") : STR(""));
		escape_json_str(out, v);
	}
}

static void write_row(struct buf *out, yyjson_val *name, yyjson_val *in, bool is_required, yyjson_val *schema,
		      yyjson_val *description)
{
	yyjson_val *otherwise = yyjson_obj_get(schema, "default");
	buf_append_lit(out, "<tr><td><code>");
	escape_json_str(out, name);
	buf_append_lit(out, "</code><td>");
	if (in != NULL)
		escape_json_str(out, in);
	else
		buf_append_lit(out, "body");
	if (is_required)
		buf_append_lit(out, ", required");
	buf_append_lit(out, "<td>");
	write_type(out, schema);
	buf_append_lit(out, "<td>");
	escape_json_str(out, description);
	if (otherwise != NULL) {
		struct buf json = { 0 };
		json_write_value(&json, otherwise);
		buf_append_lit(out, " default ");
		escape(out, buf_str(&json));
		buf_finish(&json);
	}
}

static bool is_among(yyjson_val *list, yyjson_val *name)
{
	size_t i, n;
	yyjson_val *v;
	yyjson_arr_foreach(list, i, n, v)
		if (yyjson_equals(v, name))
			return true;
	return false;
}

static void write_members(struct buf *out, yyjson_val *schema)
{
	size_t i, n;
	yyjson_val *name, *member, *required = yyjson_obj_get(schema, "required");
	yyjson_obj_foreach(yyjson_obj_get(schema, "properties"), i, n, name, member)
		write_row(out, name, NULL, is_among(required, name), member, yyjson_obj_get(member, "description"));
}

static void write_parameters(struct buf *out, yyjson_val *operation)
{
	size_t i, n;
	yyjson_val *p, *parameters = yyjson_obj_get(operation, "parameters");
	yyjson_val *schema = yyjson_ptr_get(operation, "/requestBody/content/application~1json/schema");
	if (yyjson_arr_size(parameters) == 0 && yyjson_obj_get(schema, "properties") == NULL)
		return;
	buf_append_lit(out, "<table>");
	yyjson_arr_foreach(parameters, i, n, p)
		write_row(out, yyjson_obj_get(p, "name"), yyjson_obj_get(p, "in"),
			  yyjson_get_bool(yyjson_obj_get(p, "required")), yyjson_obj_get(p, "schema"),
			  yyjson_obj_get(p, "description"));
	write_members(out, schema);
	write_members(out, yyjson_ptr_get(schema, "/properties/values")); /* of a push: its features */
	buf_append_lit(out, "</table>");
}

/* In single quotes for the shell; a quote inside ends them, stands escaped, and opens them again. */
static void write_shell_quoted(struct buf *out, const char *text)
{
	buf_append_lit(out, " '");
	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '\'')
			buf_append_lit(out, "'\\''");
		else
			escape(out, str_of(p, 1));
	}
	buf_append_char(out, '\'');
}

/* The template with examples in the place of its parameters. */
static void write_path(struct buf *out, const char *path, yyjson_val *operation)
{
	for (const char *open; (open = strchr(path, '{')) != NULL;) {
		const char *close = strchr(open, '}');
		struct str name = str_of(open + 1, (size_t)(close - open - 1));
		yyjson_val *example = NULL, *p;
		size_t i, n;
		yyjson_arr_foreach(yyjson_obj_get(operation, "parameters"), i, n, p)
			if (yyjson_equals_strn(yyjson_obj_get(p, "name"), name.p, name.n))
				example = yyjson_obj_get(p, "example");
		escape(out, str_of(path, (size_t)(open - path)));
		if (example != NULL)
			escape_json_str(out, example);
		else
			escape(out, str_of(open, (size_t)(close + 1 - open)));
		path = close + 1;
	}
	escape(out, str_from(path));
}

static void write_command(struct buf *out, const char *path, const char *method, yyjson_val *operation)
{
	yyjson_val *body = yyjson_ptr_get(operation, "/requestBody/content/application~1json"), *p;
	buf_append_lit(out, "<pre>curl");
	if (strcmp(method, "GET") != 0)
		buf_printf(out, " -X %s", method);
	if (yyjson_obj_get(operation, "security") != NULL)
		buf_append_lit(out, " -H &quot;X-API-Key: $FABRA_API_KEY&quot;");
	if (body != NULL) {
		char *example = yyjson_val_write(yyjson_obj_get(body, "example"), 0, NULL);
		buf_append_lit(out, " \\\n  -d");
		write_shell_quoted(out, example != NULL ? example : "{}");
		free(example);
		buf_append_lit(out, " \\\n ");
	}
	buf_append_lit(out, " &quot;$FABRA_URL");
	write_path(out, path, operation);
	char before = '?';
	size_t i, n;
	yyjson_arr_foreach(yyjson_obj_get(operation, "parameters"), i, n, p) {
		yyjson_val *example = yyjson_obj_get(p, "example");
		if (!yyjson_equals_str(yyjson_obj_get(p, "in"), "query") ||
		    !yyjson_get_bool(yyjson_obj_get(p, "required")))
			continue;
		buf_append_str(out, before == '?' ? STR("?") : STR("&amp;"));
		escape_json_str(out, yyjson_obj_get(p, "name"));
		buf_append_char(out, '=');
		if (example != NULL)
			escape_json_str(out, example);
		else
			buf_append_lit(out, "...");
		before = '&';
	}
	buf_append_lit(out, "&quot;</pre>");
}

static void write_operation(struct buf *out, const char *path, const char *lower_method, yyjson_val *operation,
			    bool has_key)
{
	char method[8] = "";
	for (size_t i = 0; lower_method[i] != '\0' && i < sizeof method - 1; i++)
		method[i] = (char)(lower_method[i] & ~0x20);
	buf_append_lit(out, "<h2 id=\"");
	escape_json_str(out, yyjson_obj_get(operation, "operationId"));
	buf_append_lit(out, "\"><a href=\"#");
	escape_json_str(out, yyjson_obj_get(operation, "operationId"));
	buf_printf(out, "\"><b class=\"%s\">%s</b> ", method, method);
	escape(out, str_from(path));
	buf_append_lit(out, "</a>");
	if (has_key && yyjson_obj_get(operation, "security") == NULL)
		buf_append_lit(out, " <small>public</small>");
	buf_append_lit(out, "</h2><p>");
	escape_json_str(out, yyjson_obj_get(operation, "summary"));
	buf_append_lit(out, "</p>");
	write_parameters(out, operation);
	write_command(out, path, method, operation);
}

void docs_page_make(struct http_server *s)
{
	yyjson_doc *doc = yyjson_read(s->openapi.p, s->openapi.n, 0);
	yyjson_val *path, *item, *method, *operation;
	size_t i, n, k, methods;
	buf_append(&s->docs, head, sizeof head - 1);
	yyjson_obj_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "paths"), i, n, path, item)
		yyjson_obj_foreach(item, k, methods, method, operation)
			write_operation(&s->docs, yyjson_get_str(path), yyjson_get_str(method), operation,
					s->api_key.n > 0);
	buf_append_lit(&s->docs, "</body></html>\n");
	yyjson_doc_free(doc);
}
