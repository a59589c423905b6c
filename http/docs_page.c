/* The page at /docs: every route with its parameters and a command to try, without scripts and without other
 * hosts. */
#include "http/server_private.h"
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
	"<h1>Fabra</h1><p>JSON in and out, over HTTP/2 or HTTP/1.1. Where a key is set, send it as <code>X-API-Key</code>; "
	"the routes marked <small>public</small> need none. Every reply carries <code>x-request-id</code>. A request may "
	"lower its deadline with <code>x-request-timeout-ms</code>. The same in a form for programs: "
	"<a href=\"/openapi.json\">/openapi.json</a>.</p><p>The commands below expect <code>FABRA_URL</code>, for example "
	"<code>export FABRA_URL=http://127.0.0.1:8000</code>.</p>";

static void escape(struct buf *out, struct str text)
{
	for (size_t i = 0; i < text.n; i++)
		switch (text.p[i]) {
		case '<': buf_append_lit(out, "&lt;"); break;
		case '>': buf_append_lit(out, "&gt;"); break;
		case '&': buf_append_lit(out, "&amp;"); break;
		case '"': buf_append_lit(out, "&quot;"); break;
		default: buf_append_char(out, text.p[i]);
		}
}

static void escape_json_str(struct buf *out, yyjson_val *v)
{
	escape(out, str_of(yyjson_get_str(v), yyjson_get_len(v)));
}

static void write_parameters(struct buf *out, yyjson_val *parameters)
{
	size_t i, n;
	yyjson_val *p;
	if (yyjson_arr_size(parameters) == 0)
		return;
	buf_append_lit(out, "<table>");
	yyjson_arr_foreach(parameters, i, n, p) {
		buf_append_lit(out, "<tr><td><code>");
		escape_json_str(out, yyjson_obj_get(p, "name"));
		buf_append_lit(out, "</code><td>");
		escape_json_str(out, yyjson_obj_get(p, "in"));
		if (yyjson_get_bool(yyjson_obj_get(p, "required")))
			buf_append_lit(out, ", required");
		buf_append_lit(out, "<td>");
		escape_json_str(out, yyjson_obj_get(yyjson_obj_get(p, "schema"), "type"));
		buf_append_lit(out, "<td>");
		escape_json_str(out, yyjson_obj_get(p, "description"));
	}
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

static void write_command(struct buf *out, const struct route *r, yyjson_val *operation)
{
	buf_append_lit(out, "<pre>curl");
	if (strcmp(r->method, "GET") != 0)
		buf_printf(out, " -X %s", r->method);
	if (!(r->flags & ROUTE_PUBLIC))
		buf_append_lit(out, " -H &quot;X-API-Key: $FABRA_API_KEY&quot;");
	if (r->flags & ROUTE_BODY) {
		yyjson_val *content = yyjson_obj_get(yyjson_obj_get(operation, "requestBody"), "content");
		char *example = yyjson_val_write(
			yyjson_obj_get(yyjson_obj_get(content, "application/json"), "example"), 0, NULL);
		buf_append_lit(out, " \\\n  -d");
		write_shell_quoted(out, example != NULL ? example : "{}");
		free(example);
		buf_append_lit(out, " \\\n ");
	}
	buf_append_lit(out, " &quot;$FABRA_URL");
	escape(out, str_from(r->path));
	char before = '?';
	size_t i, n;
	yyjson_val *p;
	yyjson_arr_foreach(yyjson_obj_get(operation, "parameters"), i, n, p) {
		if (!yyjson_equals_str(yyjson_obj_get(p, "in"), "query") ||
		    !yyjson_get_bool(yyjson_obj_get(p, "required")))
			continue;
		buf_append_str(out, before == '?' ? STR("?") : STR("&amp;"));
		escape_json_str(out, yyjson_obj_get(p, "name"));
		buf_append_lit(out, "=...");
		before = '&';
	}
	buf_append_lit(out, "&quot;</pre>");
}

static void write_route(struct buf *out, const struct route *r, yyjson_val *paths)
{
	char method[8] = "";
	for (size_t i = 0; r->method[i] != '\0' && i < sizeof method - 1; i++)
		method[i] = (char)(r->method[i] | 0x20);
	yyjson_val *operation = yyjson_obj_get(yyjson_obj_get(paths, r->path), method);
	buf_append_lit(out, "<h2 id=\"");
	escape_json_str(out, yyjson_obj_get(operation, "operationId"));
	buf_append_lit(out, "\"><a href=\"#");
	escape_json_str(out, yyjson_obj_get(operation, "operationId"));
	buf_printf(out, "\"><b class=\"%s\">%s</b> ", r->method, r->method);
	escape(out, str_from(r->path));
	buf_append_lit(out, "</a>");
	if (r->flags & ROUTE_PUBLIC)
		buf_append_lit(out, " <small>public</small>");
	buf_append_lit(out, "</h2><p>");
	escape(out, str_from(r->summary));
	buf_append_lit(out, "</p>");
	write_parameters(out, yyjson_obj_get(operation, "parameters"));
	write_command(out, r, operation);
}

void docs_page_make(struct http_server *s)
{
	yyjson_doc *doc = yyjson_read(s->openapi.p, s->openapi.n, 0);
	yyjson_val *paths = yyjson_obj_get(yyjson_doc_get_root(doc), "paths");
	buf_append(&s->docs, head, sizeof head - 1);
	for (size_t i = system_routes_len; i < s->routes_len; i++)
		write_route(&s->docs, &s->routes[i], paths);
	for (size_t i = 0; i < system_routes_len; i++)
		write_route(&s->docs, &s->routes[i], paths);
	buf_append_lit(&s->docs, "</body></html>\n");
	yyjson_doc_free(doc);
}
