/* cli_check.c -- `fabra check`: a definitions file and its data, without serving them. */
#include "actors/definitions/definitions_describe.h"
#include "actors/declare/definitions_load.h"
#include "actors/feature_sql.h"
#include "actors/table_loader.h"
#include "runtime/log.h"
#include "store/text/json.h"
#include "store/offline/offline_duckdb.h"
#include "tools/commands.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
    "usage: fabra check FILE [--json] [--unsafe-lua]\n"
    "\n"
    "Loads the definitions file, reads its tables and looks at the SQL of its features, as `fabra serve` would, but keeps\n"
    "nothing and listens nowhere. Prints what is declared. Every mistake is a line \"file:line: what is wrong\" on stderr.\n"
    "\n"
    "  --json         what is declared as JSON (the same as GET /v1/definitions)\n"
    "  --unsafe-lua   as for serve\n"
    "\n"
    "exit codes: 0 all is well, 1 there are mistakes, 2 wrong usage\n"
    "\n"
    "examples:\n"
    "  fabra check store.lua\n"
    "  fabra check store.lua --json | jq -r '.features[].name'\n";

static void print_duration(const char *label, yyjson_val *ms)
{
	int64_t v = yyjson_get_sint(ms);
	if (v == 0)
		return;
	if (v % 86400000 == 0)
		printf(", %s %lldd", label, (long long)(v / 86400000));
	else if (v % 3600000 == 0)
		printf(", %s %lldh", label, (long long)(v / 3600000));
	else if (v % 60000 == 0)
		printf(", %s %lldm", label, (long long)(v / 60000));
	else if (v % 1000 == 0)
		printf(", %s %llds", label, (long long)(v / 1000));
	else
		printf(", %s %lldms", label, (long long)v);
}

/* One line for each declaration of a kind. */
static void print_kind(yyjson_val *root, const char *key, const char *label)
{
	size_t i, n;
	yyjson_val *v;
	yyjson_arr_foreach(yyjson_obj_get(root, key), i, n, v) {
		struct str kind = json_str(yyjson_obj_get(v, "kind")), entity = json_str(yyjson_obj_get(v, "entity"));
		printf("%-10s %.*s", i == 0 ? label : "", STR_ARG(json_str(yyjson_obj_get(v, "name"))));
		if (entity.p)
			printf(" of %.*s", STR_ARG(entity));
		if (kind.p)
			printf(", %.*s", STR_ARG(kind));
		if (yyjson_obj_get(v, "id"))
			printf(" (%.*s)", STR_ARG(json_str(yyjson_obj_get(v, "id"))));
		if (yyjson_obj_get(v, "made_from"))
			printf(" from its %.*s", STR_ARG(json_str(yyjson_obj_get(v, "made_from"))));
		print_duration("refresh", yyjson_obj_get(v, "refresh_ms"));
		print_duration("ttl", yyjson_obj_get(v, "ttl_ms"));
		print_duration("freshness SLA", yyjson_obj_get(v, "freshness_sla_ms"));
		print_duration("cached for", yyjson_obj_get(v, "cache_ttl_ms"));
		putchar('\n');
	}
}

void definitions_print(struct str json)
{
	yyjson_doc *doc = yyjson_read(json.p, json.n, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	print_kind(root, "entities", "entities");
	print_kind(root, "features", "features");
	print_kind(root, "tables", "tables");
	print_kind(root, "retrievers", "retrievers");
	print_kind(root, "contexts", "contexts");
	yyjson_doc_free(doc);
}

static bool check_data(const struct definitions *d, struct buf *why)
{
	struct offline *o = offline_open(&(struct offline_config){ .path = ":memory:" }, why);
	if (o == NULL)
		return false;
	struct stores stores = { 0 };
	struct node n = { .definitions = d, .stores = &stores };
	offline_store_fill(o, &stores.offline);
	bool ok = node_metrics_init(&n.metrics, d, false); /* where the loader marks tables */
	if (ok) {
		ok = table_loader_load_all(&n, why);
		if (why->n)
			buf_append_char(why, '\n');
		ok = feature_sql_check(d, &stores.offline, why) && ok;
		node_metrics_finish(&n.metrics);
	} else {
		buf_append_lit(why, "out of memory");
	}
	offline_close(o);
	return ok;
}

static int check(const char *file, bool unsafe_lua, bool as_json)
{
	struct buf why = { 0 }, out = { 0 };
	log_start(STDERR_FILENO, LOG_WARNING); /* a column that is text because of one cell is worth reading */
	struct definitions *d = definitions_load(file, unsafe_lua, &why);
	bool ok = d && check_data(d, &why);
	log_stop();
	if (!ok) {
		fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&why)));
	} else {
		definitions_describe(d, &out);
		if (as_json)
			printf("%.*s\n", STR_ARG(buf_str(&out)));
		else
			definitions_print(buf_str(&out));
		fflush(stdout);
		fprintf(stderr, "%s: no mistake found\n", file);
		if (d->features_count + d->contexts_count == 0)
			fprintf(
			    stderr,
			    "%s: it declares no feature and no context: its tables can be asked by SQL, and that is all\n",
			    file);
	}
	if (d)
		definitions_free(d);
	buf_finish(&why);
	buf_finish(&out);
	return ok ? EXIT_OK : EXIT_ERROR;
}

int check_main(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "unsafe-lua", no_argument, NULL, 'u' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	bool as_json = false, unsafe_lua = false;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (c == '?') {
			fputs("try: fabra check --help\n", stderr);
			return EXIT_USAGE;
		}
		as_json |= c == 'j';
		unsafe_lua |= c == 'u';
	}
	if (optind != argc - 1) {
		fputs("fabra check: one definitions file, please. For instance: fabra check store.lua\n", stderr);
		return EXIT_USAGE;
	}
	return check(argv[optind], unsafe_lua, as_json);
}
