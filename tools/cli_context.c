/* cli_context.c -- `fabra context`: what a running server has assembled. */
#include "actors/definitions/definitions_near.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "store/record/record.h"
#include "store/text/timefmt.h"
#include "tools/cli_client.h"
#include "tools/commands.h"
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
    "usage: fabra context show ID [--lineage] [--json]\n"
    "       fabra context list [--name NAME] [--status STATUS] [--since AGE] [--input NAME=VALUE] [--limit N] [--json]\n"
    "       fabra context verify ID\n"
    "\n"
    "ID is a context id (ctx_...), its bare UUID, or any beginning of it (eight letters or more) that only one context has;\n"
    "for show and verify also a record hash (sha256:...).\n"
    "\n"
    "  show     what the model saw, what it was made of and how old that was; as JSON (CRS-001) when piped or with --json.\n"
    "           With --lineage, what went into the context, as JSON\n"
    "  list     a table, newest first; with --json, the server's list\n"
    "  verify   computes the content hash, the record hash and the signature anew; exit code 1 when one is wrong.\n"
    "           The signature needs FABRA_SIGNING_KEY; with FABRA_SIGNATURE_MODE=required it must be there and right\n"
    "\n"
    "which (list):\n"
    "  --name NAME           of this context function\n"
    "  --status STATUS       guaranteed or degraded\n"
    "  --since AGE           made within that time: 30m, 1h, 2d\n"
    "  --start, --end TIME   made between these: 2026-01-31T12:00:00Z, or an age like 1h\n"
    "  --input NAME=VALUE    called with this argument\n"
    "  -n, --limit N         at most so many (10)\n"
    "\n" CLI_CLIENT_HELP "\n"
    "examples:\n"
    "  fabra context list --since 1h --input user_id=u1\n"
    "  fabra context list --status degraded --limit 5\n"
    "  fabra context show 018f3a2b\n"
    "  fabra context show ctx_018f3a2b-7def-7abc-8901-234567890abc | jq .features\n"
    "  fabra context verify 018f3a2b-7def-7abc-8901-234567890abc && echo untouched\n";

struct arguments {
	struct cli_client client;
	const char *start, *end, *since, *name, *status, *input;
	long limit;
	bool lineage, json;
	const char *operands[2]; /* subcommand, id */
	int operands_count;
};

enum { OPT_NAME = 256, OPT_JSON, OPT_STATUS, OPT_SINCE, OPT_INPUT };

static bool is_age_or_time(const char *text)
{
	int64_t ignored;
	return config_parse_duration(str_from(text), &ignored) || time_parse(str_from(text), &ignored);
}

/* 0, EXIT_USAGE, or -1: help was printed. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		CLI_CLIENT_OPTIONS,
		{ "limit", required_argument, NULL, 'n' },
		{ "start", required_argument, NULL, 's' },
		{ "end", required_argument, NULL, 'e' },
		{ "since", required_argument, NULL, OPT_SINCE },
		{ "name", required_argument, NULL, OPT_NAME },
		{ "status", required_argument, NULL, OPT_STATUS },
		{ "input", required_argument, NULL, OPT_INPUT },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "lineage", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	*a = (struct arguments){ .client = { .command = "context" }, .limit = 10 };
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "n:s:e:lh", options, NULL)) != -1;) {
		int taken = cli_client_option(&a->client, c, optarg);
		if (taken < 0)
			return EXIT_USAGE;
		if (taken > 0)
			continue;
		switch (c) {
		case OPT_NAME:
			a->name = optarg;
			break;
		case OPT_STATUS:
			a->status = optarg;
			break;
		case OPT_SINCE:
			a->since = optarg;
			if (is_age_or_time(optarg))
				break;
			fprintf(stderr, "fabra context: --since must be an age such as 30m, 1h or 2d, not '%s'\n",
				optarg);
			return EXIT_USAGE;
		case OPT_INPUT:
			a->input = optarg;
			if (strchr(optarg, '=') > optarg)
				break;
			fprintf(stderr,
				"fabra context: --input must be NAME=VALUE, for instance user_id=u1, not '%s'\n",
				optarg);
			return EXIT_USAGE;
		case OPT_JSON:
			a->json = true;
			break;
		case 'n':
			if ((a->limit = cli_number("context", "--limit", optarg, 1, 1000)) < 0)
				return EXIT_USAGE;
			break;
		case 's':
			a->start = optarg;
			break;
		case 'e':
			a->end = optarg;
			break;
		case 'l':
			a->lineage = true;
			break;
		case 'h':
			fputs(help, stdout);
			return -1;
		default:
			fputs("try: fabra context --help\n", stderr);
			return EXIT_USAGE;
		}
	}
	while (optind < argc && a->operands_count < 2)
		a->operands[a->operands_count++] = argv[optind++];
	return optind < argc ? (fputs("fabra context: too many arguments\n", stderr), EXIT_USAGE) : 0;
}

static bool is_found(const struct http_client *c, const struct http_answer *answer, const char *id)
{
	char text[300];
	snprintf(text, sizeof text, "Context '%s' does not exist.", id);
	return cli_is_ok(c, answer, text);
}

/* ---- ids ---- */

static bool is_hex_or_dash(const char *text)
{
	return text[strspn(text, "0123456789abcdefABCDEF-")] == '\0';
}

/* The whole id of what may be its beginning. false: said why not. */
static bool complete_id(const struct http_client *c, const char *given, char ret[static 201])
{
	enum { BARE = 36, PREFIX_MIN = 8 };
	const char *bare = strncmp(given, "ctx_", 4) == 0 ? given + 4 : given;
	snprintf(ret, 201, "%s", given);
	if (strlen(bare) >= BARE || strlen(bare) < PREFIX_MIN || !is_hex_or_dash(bare))
		return true;
	struct buf path = { 0 };
	buf_printf(&path, "/v1/contexts?limit=3&id_prefix=ctx_%s", bare);
	buf_append_char(&path, '\0');
	struct http_answer answer;
	http_client_request(c, "GET", path.p, NULL, &answer);
	buf_finish(&path);
	bool ok = cli_is_ok(c, &answer, NULL);
	yyjson_doc *doc = ok ? yyjson_read(answer.body.p, answer.body.n, 0) : NULL;
	yyjson_val *rows = yyjson_doc_get_root(doc);
	if (ok && yyjson_arr_size(rows) == 1) {
		const char *id = yyjson_get_str(yyjson_obj_get(yyjson_arr_get_first(rows), "context_id"));
		snprintf(ret, 201, "%s", id ? id : given);
	} else if (ok && yyjson_arr_size(rows) > 1) {
		fprintf(stderr, "Error: several contexts begin with '%s'; give more of the id. The newest:\n", given);
		size_t i, n;
		yyjson_val *row;
		yyjson_arr_foreach(rows, i, n, row)
			fprintf(stderr, "  %.*s\n", STR_ARG(json_str(yyjson_obj_get(row, "context_id"))));
		ok = false;
	}
	yyjson_doc_free(doc);
	buf_finish(&answer.body);
	return ok; /* none: the server says so of the id itself */
}

/* ---- show ---- */

static struct str member(yyjson_val *object, const char *key)
{
	return json_str(yyjson_obj_get(object, key));
}

static int indent_of(const char *label)
{
	return printf("%-12s ", label);
}

/* A text over several lines, each one behind the label's column. */
static void print_block(const char *label, struct str text)
{
	int indent = indent_of(label);
	for (size_t i = 0; i < text.n; i++) {
		putchar(text.p[i]);
		if (text.p[i] == '\n' && i + 1 < text.n)
			printf("%*s", indent, "");
	}
	if (text.n == 0 || text.p[text.n - 1] != '\n')
		putchar('\n');
}

static void print_value(const char *label, yyjson_val *v)
{
	if (v == NULL || yyjson_is_null(v))
		return;
	char *text = yyjson_is_str(v) ? NULL : yyjson_val_write(v, 0, NULL);
	print_block(label, text ? str_from(text) : json_str(v));
	free(text);
}

static void print_age(yyjson_val *ms)
{
	double seconds = yyjson_get_num(ms) / 1000;
	if (seconds < 120)
		printf("%.1f s old", seconds);
	else if (seconds < 7200)
		printf("%.0f min old", seconds / 60);
	else
		printf("%.1f h old", seconds / 3600);
}

static void print_features(yyjson_val *features)
{
	size_t i, n;
	yyjson_val *f;
	yyjson_arr_foreach(features, i, n, f) {
		char *value = yyjson_val_write(yyjson_obj_get(f, "value"), 0, NULL);
		indent_of(i == 0 ? "features" : "");
		printf("%.*s(%.*s) = %s, %.*s, ", STR_ARG(member(f, "name")), STR_ARG(member(f, "entity_id")),
		       value ? value : "?", STR_ARG(member(f, "source")));
		print_age(yyjson_obj_get(f, "freshness_ms"));
		printf(", as of %.*s\n", STR_ARG(member(f, "as_of")));
		free(value);
	}
}

static void print_items(yyjson_val *items)
{
	size_t i, n;
	yyjson_val *item;
	yyjson_arr_foreach(items, i, n, item) {
		indent_of(i == 0 ? "chunks" : "");
		printf("%.*s from %.*s\n", STR_ARG(member(item, "chunk_id")), STR_ARG(member(item, "retriever")));
	}
}

static int print_record(struct str json)
{
	yyjson_doc *doc = cli_json(json, YYJSON_TYPE_OBJ, "record");
	yyjson_val *r = yyjson_doc_get_root(doc);
	if (r == NULL)
		return EXIT_ERROR;
	yyjson_val *assembly = yyjson_obj_get(r, "assembly"), *integrity = yyjson_obj_get(r, "integrity");
	print_value("context", yyjson_obj_get(r, "context_id"));
	print_value("function", yyjson_obj_get(r, "context_function"));
	print_value("created", yyjson_obj_get(r, "created_at"));
	print_value("inputs", yyjson_obj_get(r, "inputs"));
	print_value("freshness", yyjson_obj_get(assembly, "freshness_status"));
	if (yyjson_arr_size(yyjson_obj_get(assembly, "freshness_violations")) > 0)
		print_value("violations", yyjson_obj_get(assembly, "freshness_violations"));
	print_features(yyjson_obj_get(r, "features"));
	print_items(yyjson_obj_get(r, "retrieved_items"));
	if (yyjson_arr_size(yyjson_obj_get(assembly, "dropped_items")) > 0)
		print_value("dropped", yyjson_obj_get(assembly, "dropped_items"));
	print_value("tokens", yyjson_obj_get(r, "token_count"));
	print_value("record hash", yyjson_obj_get(integrity, "record_hash"));
	print_value("before it", yyjson_obj_get(integrity, "previous_context_id"));
	putchar('\n');
	print_block("content", member(r, "content"));
	yyjson_doc_free(doc);
	return EXIT_OK;
}

static int show(const struct http_client *c, const struct arguments *a, const char *id)
{
	if (a->lineage && strncmp(id, "sha256:", 7) == 0) {
		fputs("fabra context show: --lineage needs a context id, not a record hash\n", stderr);
		return EXIT_USAGE;
	}
	struct buf path = { 0 };
	cli_path(&path, a->lineage ? "/v1/context/" : "/v1/record/", id, a->lineage ? "/lineage" : "");
	struct http_answer answer;
	http_client_request(c, "GET", path.p, NULL, &answer);
	int status = EXIT_ERROR;
	if (is_found(c, &answer, id))
		status = a->lineage || a->json || !isatty(STDOUT_FILENO)
			     ? cli_print_json(buf_str(&answer.body), YYJSON_TYPE_OBJ, a->lineage ? "lineage" : "record")
			     : print_record(buf_str(&answer.body));
	buf_finish(&answer.body);
	buf_finish(&path);
	return status;
}

/* ---- list ---- */

static const char *text_of(yyjson_val *row, const char *key)
{
	const char *text = yyjson_get_str(yyjson_obj_get(row, key));
	return text ? text : "-";
}

static void print_table(yyjson_val *rows)
{
	printf("%-40s  %-27s  %7s  %-10s  %-24s  %s\n", "CONTEXT ID", "CREATED (UTC)", "TOKENS", "FRESHNESS", "NAME",
	       "INPUTS");
	size_t i, max;
	yyjson_val *row;
	yyjson_arr_foreach(rows, i, max, row) {
		char *inputs = yyjson_val_write(yyjson_obj_get(row, "inputs"), 0, NULL);
		printf("%-40s  %-27s  %7lld  %-10s  %-24s  %s\n", text_of(row, "context_id"), text_of(row, "timestamp"),
		       (long long)yyjson_get_sint(yyjson_obj_get(row, "token_usage")), text_of(row, "freshness_status"),
		       text_of(row, "name"), inputs && strcmp(inputs, "null") != 0 ? inputs : "-");
		free(inputs);
	}
	fflush(stdout);
	fprintf(stderr, "Total: %zu contexts\n", yyjson_arr_size(rows));
}

/* "1h" is an hour ago; a time goes to the server as it is. */
static const char *time_or_age(const char *text, char ret[static 48])
{
	int64_t ms;
	if (text == NULL || !config_parse_duration(str_from(text), &ms))
		return text;
	struct buf out = { 0 };
	time_write_z(&out, clock_wall_us() - ms * 1000);
	snprintf(ret, 48, "%.*s", STR_ARG(buf_str(&out)));
	buf_finish(&out);
	return ret;
}

/* ---- an empty list ---- */

struct near_name {
	struct str wanted, best;
	unsigned distance;
};

/* true: it is the name. Else it may be the nearest so far. */
static bool is_name(struct near_name *near, struct str name)
{
	unsigned distance = definitions_distance(name, near->wanted);
	if (distance < near->distance) {
		near->distance = distance;
		near->best = name;
	}
	return str_eq(name, near->wanted);
}

static void say_unknown(const char *what, const struct near_name *near)
{
	fprintf(stderr, "Error: no context is listed, and none that is declared %s '%.*s'", what,
		STR_ARG(near->wanted));
	if (near->best.p)
		fprintf(stderr, "; did you mean '%.*s'?", STR_ARG(near->best));
	fputc('\n', stderr);
}

/* A context that is declared without params can be called with any argument. */
static bool takes_argument(yyjson_val *context, struct near_name *near)
{
	yyjson_val *params = yyjson_obj_get(context, "params"), *param;
	bool takes = params == NULL;
	size_t i, n;
	yyjson_arr_foreach(params, i, n, param)
		takes |= is_name(near, member(param, "name"));
	return takes;
}

/* Nothing was listed: for names that nobody knows, because they were typed wrong. What was declared once and is listed no more
 * cannot be told from that. false: said. */
static bool names_are_known(yyjson_val *contexts, const struct arguments *a)
{
	struct near_name name = { .wanted = str_from(a->name ? a->name : ""), .distance = NEAR_FAR };
	struct near_name argument = { .wanted = a->input ? str_of(a->input, strcspn(a->input, "=")) : STR(""),
				      .distance = NEAR_FAR };
	bool is_declared = a->name == NULL, is_taken = a->input == NULL;
	size_t i, n;
	yyjson_val *context;
	yyjson_arr_foreach(contexts, i, n, context) {
		bool is_this = a->name == NULL || is_name(&name, member(context, "name"));
		is_declared |= is_this;
		is_taken |= is_this && takes_argument(context, &argument);
	}
	if (!is_declared)
		say_unknown("is called", &name);
	else if (!is_taken)
		say_unknown("takes an argument", &argument);
	return is_declared && is_taken;
}

static bool may_be_empty(const struct http_client *c, const struct arguments *a)
{
	struct http_answer answer;
	http_client_request(c, "GET", "/v1/definitions", NULL, &answer);
	bool ok = cli_is_ok(c, &answer, NULL);
	yyjson_doc *doc = ok ? cli_json(buf_str(&answer.body), YYJSON_TYPE_OBJ, "list of definitions") : NULL;
	ok = doc && names_are_known(yyjson_obj_get(yyjson_doc_get_root(doc), "contexts"), a);
	yyjson_doc_free(doc);
	buf_finish(&answer.body);
	return ok;
}

static int list(const struct http_client *c, const struct arguments *a)
{
	char start[48], end[48];
	struct buf path = { 0 };
	buf_printf(&path, "/v1/contexts?limit=%ld&detail=true", a->limit);
	cli_add_query(&path, "start", time_or_age(a->since ? a->since : a->start, start));
	cli_add_query(&path, "end", time_or_age(a->end, end));
	cli_add_query(&path, "name", a->name);
	cli_add_query(&path, "freshness_status", a->status);
	cli_add_query(&path, "input", a->input);
	buf_append_char(&path, '\0');
	struct http_answer answer;
	http_client_request(c, "GET", path.p, NULL, &answer);
	bool ok = cli_is_ok(c, &answer, NULL);
	yyjson_doc *doc = ok ? cli_json(buf_str(&answer.body), YYJSON_TYPE_ARR, "list") : NULL;
	yyjson_val *rows = yyjson_doc_get_root(doc);
	ok = doc && (yyjson_arr_size(rows) > 0 || (a->name == NULL && a->input == NULL) || may_be_empty(c, a));
	if (ok && a->json)
		ok = cli_print_json(buf_str(&answer.body), YYJSON_TYPE_ARR, "list") == EXIT_OK;
	else if (ok)
		print_table(rows);
	yyjson_doc_free(doc);
	buf_finish(&answer.body);
	buf_finish(&path);
	return ok ? EXIT_OK : EXIT_ERROR;
}

/* ---- verify ---- */

static void report(bool ok, const char *what, const char *computed)
{
	fprintf(stderr, "%s %s %s\n", ok ? "✓" : "✗", what, ok ? "matches" : "mismatch!");
	fprintf(stderr, "  %s: %.*s\n", ok ? "Hash" : "Computed", RECORD_HASH_TEXT, computed);
}

static bool report_signature(const struct record_verdict *v, const struct record_signer *signer)
{
	bool is_required = signer->mode == SIGNATURE_REQUIRED;
	if (!v->has_signature) {
		fputs(is_required ? "✗ Signature required but missing\n" : "- No signature\n", stderr);
		return !is_required;
	}
	if (!v->signature_checked) {
		struct buf key_id = { 0 };
		json_write_string(&key_id, str_from(v->signing_key_id));
		fprintf(stderr, "%s Signed by key %.*s, which is not at hand: ", is_required ? "✗" : "-",
			STR_ARG(buf_str(&key_id)));
		if (signer->key_bytes == 0)
			fputs("FABRA_SIGNING_KEY not set, so the signature cannot be verified\n", stderr);
		else
			fprintf(stderr, "FABRA_SIGNING_KEY is key %s, so the signature cannot be verified\n",
				signer->key_id);
		buf_finish(&key_id);
		return !is_required;
	}
	fputs(v->signature_ok ? "✓ Signature valid\n" : "✗ Signature invalid\n", stderr);
	return v->signature_ok;
}

/* A server could answer with another record, as whole as the one that was asked for. */
static bool is_asked_record(struct str json, const struct record_verdict *v, const char *id)
{
	if (strncmp(id, "sha256:", 7) == 0)
		return v->record_hash_ok && str_eq(str_of(v->record_hash, RECORD_HASH_TEXT), str_from(id));
	yyjson_doc *doc = yyjson_read(json.p, json.n, 0);
	struct str found = json_str(yyjson_obj_get(yyjson_doc_get_root(doc), "context_id"));
	bool same = str_eq(found, str_from(id)) ||
		    (str_starts(found, STR("ctx_")) && str_eq(str_skip(found, 4), str_from(id)));
	if (!same)
		fprintf(stderr, "✗ The server answered with another record: %.*s\n", STR_ARG(found));
	yyjson_doc_free(doc);
	return same;
}

static int verify_record(struct str json, const char *id)
{
	struct record_signer signer = { 0 };
	struct buf errors = { 0 };
	if (!record_signer_load(&signer, &errors) && signer.mode != SIGNATURE_REQUIRED) {
		fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&errors)));
		buf_finish(&errors);
		return EXIT_USAGE;
	}
	buf_finish(&errors);
	struct record_verdict v;
	const char *why;
	if (!record_verify(json, true, &signer, &v, &why)) {
		fprintf(stderr, "✗ This is no CRS-001 record: %s\n", why);
		return EXIT_ERROR;
	}
	report(v.content_hash_ok, "Content hash", v.content_hash);
	report(v.record_hash_ok, "Record hash", v.record_hash);
	bool is_whole = is_asked_record(json, &v, id) && v.content_hash_ok && v.record_hash_ok;
	bool ok = report_signature(&v, &signer) && is_whole;
	bool is_unchecked = v.has_signature && !v.signature_checked;
	fputs(!is_unchecked || !is_whole ? ok ? "Integrity verified\n" : "Integrity check failed\n"
	      : ok                       ? "Hashes verified, signature not checked\n"
					 : "Not verified: a signature is required, and this one cannot be checked\n",
	      stderr);
	printf("{\"id\":\"%s\",\"valid\":%s,\"content_hash_valid\":%s,\"record_hash_valid\":%s,\"signature\":\"%s\"}\n",
	       id, ok ? "true" : "false", v.content_hash_ok ? "true" : "false", v.record_hash_ok ? "true" : "false",
	       !v.has_signature       ? "none"
	       : !v.signature_checked ? "unchecked"
	       : v.signature_ok       ? "valid"
				      : "invalid");
	return ok ? EXIT_OK : EXIT_ERROR;
}

static int verify(const struct http_client *c, const char *id)
{
	fprintf(stderr, "Verifying record %s...\n", id);
	struct buf path = { 0 };
	cli_path(&path, "/v1/record/", id, "");
	struct http_answer answer;
	http_client_request(c, "GET", path.p, NULL, &answer);
	int status = is_found(c, &answer, id) ? verify_record(buf_str(&answer.body), id) : EXIT_ERROR;
	buf_finish(&answer.body);
	buf_finish(&path);
	return status;
}

static bool is_reference(const char *id)
{
	for (const char *p = id; *p; p++)
		if (strchr("\"\\", *p) || (unsigned char)*p < 0x21)
			return false;
	return *id != '\0' && strlen(id) <= 200;
}

int context_main(int argc, char **argv)
{
	struct arguments a;
	int status = read_arguments(argc, argv, &a);
	if (status)
		return status < 0 ? EXIT_OK : status;
	struct http_client c;
	cli_client_open(&a.client, &c);
	const char *sub = a.operands[0], *id = a.operands[1];
	if (sub && strcmp(sub, "list") == 0 && id == NULL)
		return list(&c, &a);
	bool is_show = sub && strcmp(sub, "show") == 0, is_verify = sub && strcmp(sub, "verify") == 0;
	if ((is_show || is_verify) && id && is_reference(id)) {
		char whole[201];
		if (!complete_id(&c, id, whole))
			return EXIT_ERROR;
		return is_show ? show(&c, &a, whole) : verify(&c, whole);
	}
	if (is_show || is_verify)
		fprintf(stderr, "fabra context %s: which context? For instance: fabra context %s ctx_...\n", sub, sub);
	else
		fputs("usage: fabra context show|list|verify ...; try: fabra context --help\n", stderr);
	return EXIT_USAGE;
}
