#include "tools/cli_client.h"
#include "runtime/config.h"
#include "tools/commands.h"
#include <stdlib.h>
#include <unistd.h>

long cli_number(const char *command, const char *option, const char *text, long min, long max)
{
	char *end;
	long v = strtol(text, &end, 10);
	if (*text && *end == '\0' && v >= min && v <= max)
		return v;
	fprintf(stderr, "fabra %s: %s must be a number from %ld to %ld, not '%s'\n", command, option, min, max, text);
	return -1;
}

int cli_client_option(struct cli_client *c, int option, const char *value)
{
	long port;
	switch (option) {
	case CLI_URL:
		c->url = value;
		return 1;
	case CLI_HOST:
		c->host = value;
		return 1;
	case CLI_PORT:
		port = cli_number(c->command, "--port", value, 1, 65535);
		c->port = (unsigned)port;
		return port < 0 ? -1 : 1;
	case CLI_CACERT:
		c->cacert = value;
		return 1;
	case CLI_INSECURE:
		c->insecure = true;
		return 1;
	case CLI_TIMEOUT:
		if (config_parse_duration(str_from(value), &c->timeout_ms) && c->timeout_ms > 0)
			return 1;
		fprintf(stderr, "fabra %s: --timeout must be a duration like 30s or 500ms, not '%s'\n", c->command,
			value);
		return -1;
	default:
		return 0;
	}
}

void cli_client_open(const struct cli_client *c, struct http_client *ret)
{
	http_client_init(ret, c->url, c->host, c->port);
	if (c->timeout_ms)
		ret->timeout_ms = (long)c->timeout_ms;
	ret->insecure = c->insecure;
	ret->ca_file = c->cacert;
}

/* The server's own words for an error: its "detail", or the first of a list of wrong values. */
static void print_detail(const struct http_answer *answer)
{
	yyjson_doc *doc = yyjson_read(answer->body.p ? answer->body.p : "", answer->body.n, 0);
	yyjson_val *detail = yyjson_obj_get(yyjson_doc_get_root(doc), "detail");
	if (yyjson_is_arr(detail))
		detail = yyjson_obj_get(yyjson_arr_get_first(detail), "msg");
	struct str text = json_str(detail);
	fprintf(stderr, "Error: HTTP %ld: %.*s\n", answer->status, STR_ARG(text.n ? text : STR("no detail")));
	yyjson_doc_free(doc);
}

bool cli_is_ok(const struct http_client *c, const struct http_answer *answer, const char *not_found)
{
	if (answer->status == 200)
		return true;
	if (answer->status == 0)
		fprintf(stderr, "Connection failed: %s: %.*s\n%s%s", c->url, STR_ARG(buf_str(&answer->body)),
			answer->cure, answer->cure[0] ? "\n" : "");
	else if (answer->status == 404 && not_found)
		fprintf(stderr, "Not Found: %s\n", not_found);
	else if (answer->status == 403)
		fputs("Error: HTTP 403: the server wants an API key; set FABRA_API_KEY.\n", stderr);
	else
		print_detail(answer);
	return false;
}

yyjson_doc *cli_json(struct str json, yyjson_type type, const char *what)
{
	yyjson_doc *doc = json.n ? yyjson_read(json.p, json.n, 0) : NULL;
	if (yyjson_get_type(yyjson_doc_get_root(doc)) == type)
		return doc;
	fprintf(stderr, "Error: the server's answer is no %s\n", what);
	yyjson_doc_free(doc);
	return NULL;
}

int cli_print_json(struct str json, yyjson_type type, const char *what)
{
	yyjson_doc *doc = cli_json(json, type, what);
	bool is_terminal = isatty(STDOUT_FILENO);
	char *pretty = doc && is_terminal ? yyjson_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL) : NULL;
	if (pretty) {
		puts(pretty);
	} else if (doc) {
		fwrite(json.p, 1, json.n, stdout);
		putchar('\n');
	}
	free(pretty);
	yyjson_doc_free(doc);
	return doc ? EXIT_OK : EXIT_ERROR;
}

void cli_path(struct buf *path, const char *prefix, const char *id, const char *suffix)
{
	buf_append_str(path, str_from(prefix));
	http_client_escape(path, id);
	buf_append_str(path, str_from(suffix));
	buf_append_char(path, '\0');
}

void cli_add_query(struct buf *path, const char *name, const char *value)
{
	if (value == NULL)
		return;
	buf_printf(path, "&%s=", name);
	http_client_escape(path, value);
}
