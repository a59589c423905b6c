/* cli_features.c -- `fabra features` and `fabra sql`: what a running server knows. */
#include "tools/cli_client.h"
#include "tools/commands.h"
#include <stdlib.h>
#include <unistd.h>

static const char features_help[] =
    "usage: fabra features list [--json]\n"
    "       fabra features get NAME ENTITY_ID [--json]\n"
    "\n"
    "  list   what the server serves: entities, features, tables, retrievers, contexts\n"
    "  get    one feature of one entity: its value, how old it is, and where it came from; as JSON when piped or with --json\n"
    "\n" CLI_CLIENT_HELP "\n"
    "examples:\n"
    "  fabra features get user_tier u1\n"
    "  fabra features get user_tier u1 --json | jq .value\n";

static const char sql_help[] =
    "usage: fabra sql STATEMENT [PARAMETER...] [--json]\n"
    "\n"
    "Runs one SELECT over the server's offline store: your tables, and in schema fabra the records, the feature history and\n"
    "the events (docs/offline.md). Read only; files cannot be read. Each ? in the statement takes a parameter: a number, true,\n"
    "false or null as such, anything else as text. A table on a terminal, JSON when piped or with --json.\n"
    "\n" CLI_CLIENT_HELP "\n"
    "examples:\n"
    "  fabra sql \"SELECT context_function, count(*) AS n FROM fabra.records GROUP BY ALL\"\n"
    "  fabra sql \"SELECT event_time, value FROM fabra.feature_history WHERE feature = ? AND entity_id = ?\" user_tier u1\n";

struct arguments {
	struct cli_client client;
	bool json;
	char **operands;
	int count;
};

/* 0, EXIT_USAGE, or -1: help was printed. */
static int read_arguments(int argc, char **argv, const char *command, const char *help, struct arguments *a)
{
	static const struct option options[] = {
		CLI_CLIENT_OPTIONS, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 }
	};
	*a = (struct arguments){ .client = { .command = command } };
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
		int taken = cli_client_option(&a->client, c, optarg);
		if (taken < 0)
			return EXIT_USAGE;
		if (taken > 0)
			continue;
		if (c == 'h') {
			fputs(help, stdout);
			return -1;
		}
		if (c == '?') {
			fprintf(stderr, "try: fabra %s --help\n", command);
			return EXIT_USAGE;
		}
		a->json |= c == 'j';
	}
	a->operands = argv + optind;
	a->count = argc - optind;
	return 0;
}

static bool wants_json(const struct arguments *a)
{
	return a->json || !isatty(STDOUT_FILENO);
}

/* ---- features ---- */

static int list(const struct http_client *c, const struct arguments *a)
{
	struct http_answer answer;
	http_client_request(c, "GET", "/v1/definitions", NULL, &answer);
	static const char what[] = "description of what it serves";
	bool ok = cli_is_ok(c, &answer, NULL);
	if (ok && wants_json(a)) {
		ok = cli_print_json(buf_str(&answer.body), YYJSON_TYPE_OBJ, what) == EXIT_OK;
	} else if (ok) {
		yyjson_doc *doc = cli_json(buf_str(&answer.body), YYJSON_TYPE_OBJ, what);
		ok = doc != NULL;
		if (ok)
			definitions_print(buf_str(&answer.body));
		yyjson_doc_free(doc);
	}
	buf_finish(&answer.body);
	return ok ? EXIT_OK : EXIT_ERROR;
}

static bool print_feature(struct str json, bool as_json)
{
	yyjson_doc *doc = cli_json(json, YYJSON_TYPE_OBJ, "feature");
	yyjson_val *root = yyjson_doc_get_root(doc), *v = yyjson_obj_get(root, "value");
	if (doc && v == NULL)
		fputs("Error: the server's answer is no feature: it has no value\n", stderr);
	if (v && as_json) {
		cli_print_json(json, YYJSON_TYPE_OBJ, "feature");
	} else if (v) {
		char *value = yyjson_val_write(v, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL);
		printf("%s\n", value ? value : "?");
		fflush(stdout);
		fprintf(stderr, "%.1f s old, from %.*s\n", yyjson_get_num(yyjson_obj_get(root, "freshness_ms")) / 1000,
			STR_ARG(json_str(yyjson_obj_get(root, "served_from"))));
		free(value);
	}
	yyjson_doc_free(doc);
	return v != NULL;
}

static int get(const struct http_client *c, const struct arguments *a, const char *name, const char *id)
{
	struct buf path = { 0 };
	cli_path(&path, "/v1/features/", name, "");
	path.n--; /* the NUL */
	buf_append_lit(&path, "?entity_id=");
	http_client_escape(&path, id);
	buf_append_char(&path, '\0');
	struct http_answer answer;
	http_client_request(c, "GET", path.p, NULL, &answer);
	bool ok = cli_is_ok(c, &answer, NULL) && print_feature(buf_str(&answer.body), wants_json(a));
	buf_finish(&answer.body);
	buf_finish(&path);
	return ok ? EXIT_OK : EXIT_ERROR;
}

int features_main(int argc, char **argv)
{
	struct arguments a;
	struct http_client c;
	int status = read_arguments(argc, argv, "features", features_help, &a);
	if (status)
		return status < 0 ? EXIT_OK : status;
	cli_client_open(&a.client, &c);
	if (a.count == 1 && strcmp(a.operands[0], "list") == 0)
		return list(&c, &a);
	if (a.count == 3 && strcmp(a.operands[0], "get") == 0)
		return get(&c, &a, a.operands[1], a.operands[2]);
	fputs(a.count > 0 && strcmp(a.operands[0], "get") == 0
		  ? "fabra features get: which feature of which entity? For instance: fabra features get user_tier u1\n"
		  : "usage: fabra features list|get ...; try: fabra features --help\n",
	      stderr);
	return EXIT_USAGE;
}

/* ---- sql ---- */

static void write_parameter(struct buf *out, const char *text)
{
	struct json_error ignored;
	yyjson_doc *doc = json_parse(str_from(text), NULL, &ignored);
	yyjson_val *v = yyjson_doc_get_root(doc);
	if (v && (yyjson_is_num(v) || yyjson_is_bool(v) || yyjson_is_null(v)))
		json_write_value(out, v);
	else
		json_write_string(out, str_from(text));
	yyjson_doc_free(doc);
}

static char *cell_text(yyjson_val *v)
{
	return yyjson_is_str(v) ? strdup(yyjson_get_str(v)) : yyjson_val_write(v, 0, NULL);
}

enum { COLUMNS_SHOWN = 64, WIDTH_MAX = 60 };

/* Characters, not bytes: what a terminal needs to align. */
static int width_of(const char *text)
{
	int n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *text, int width, bool is_last)
{
	printf("%s%*s", text, is_last ? 0 : width - width_of(text) + 2, "");
}

static void print_rows(yyjson_val *rows)
{
	int widths[COLUMNS_SHOWN] = { 0 };
	size_t i, n, k, m;
	yyjson_val *row, *name, *value;
	yyjson_arr_foreach(rows, i, n, row) {
		yyjson_obj_foreach(row, k, m, name, value) {
			char *text = k < COLUMNS_SHOWN ? cell_text(value) : NULL;
			int width = text ? width_of(text) : 0, head = width_of(yyjson_get_str(name));
			width = width > head ? width : head;
			if (text && width > widths[k])
				widths[k] = width < WIDTH_MAX ? width : WIDTH_MAX;
			free(text);
		}
	}
	yyjson_val *first = yyjson_arr_get_first(rows);
	yyjson_obj_foreach(first, k, m, name, value)
		if (k < COLUMNS_SHOWN)
			print_cell(yyjson_get_str(name), widths[k], k + 1 == m);
	if (first)
		putchar('\n');
	yyjson_arr_foreach(rows, i, n, row) {
		yyjson_obj_foreach(row, k, m, name, value) {
			char *text = k < COLUMNS_SHOWN ? cell_text(value) : NULL;
			if (text)
				print_cell(text, widths[k], k + 1 == m);
			free(text);
		}
		putchar('\n');
	}
	fflush(stdout);
	fprintf(stderr, "%zu rows\n", yyjson_arr_size(rows));
}

int sql_main(int argc, char **argv)
{
	struct arguments a;
	struct http_client c;
	int status = read_arguments(argc, argv, "sql", sql_help, &a);
	if (status)
		return status < 0 ? EXIT_OK : status;
	if (a.count == 0) {
		fputs(
		    "fabra sql: which statement? For instance: fabra sql \"SELECT count(*) AS n FROM fabra.records\"\n",
		    stderr);
		return EXIT_USAGE;
	}
	cli_client_open(&a.client, &c);
	struct buf body = { 0 };
	buf_append_lit(&body, "{\"sql\":");
	json_write_string(&body, str_from(a.operands[0]));
	buf_append_lit(&body, ",\"params\":[");
	for (int i = 1; i < a.count; i++) {
		buf_append_str(&body, i > 1 ? STR(",") : STR(""));
		write_parameter(&body, a.operands[i]);
	}
	buf_append_lit(&body, "]}");
	buf_append_char(&body, '\0');
	struct http_answer answer;
	http_client_request(&c, "POST", "/v1/sql", body.p, &answer);
	bool ok = cli_is_ok(&c, &answer, NULL);
	if (ok && wants_json(&a)) {
		ok = cli_print_json(buf_str(&answer.body), YYJSON_TYPE_ARR, "list of rows") == EXIT_OK;
	} else if (ok) {
		yyjson_doc *doc = cli_json(buf_str(&answer.body), YYJSON_TYPE_ARR, "list of rows");
		ok = doc != NULL;
		if (ok)
			print_rows(yyjson_doc_get_root(doc));
		yyjson_doc_free(doc);
	}
	buf_finish(&answer.body);
	buf_finish(&body);
	return ok ? EXIT_OK : EXIT_ERROR;
}
