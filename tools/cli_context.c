/* cli_context.c -- `fabra context`: what a running server has assembled. */
#include "runtime/config.h"
#include "store/record.h"
#include "tools/commands.h"
#include "tools/http_client.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
    "usage: fabra context show ID [--lineage]\n"
    "       fabra context list [--limit N] [--start TIME] [--end TIME] [--name NAME] [--json]\n"
    "       fabra context verify ID\n"
    "\n"
    "ID is a context id (ctx_...), its bare UUID, or for show and verify a record hash (sha256:...).\n"
    "\n"
    "  show     prints the record (CRS-001) as JSON; with --lineage, what went into the context\n"
    "  list     prints a table, newest first; with --json, the server's list\n"
    "  verify   computes the content hash, the record hash and the signature anew; exit code 1 when one is wrong.\n"
    "           The signature needs FABRA_SIGNING_KEY; with FABRA_SIGNATURE_MODE=required it must be there and right\n"
    "\n"
    "where:\n"
    "  --url URL             the server, http:// or https:// (or set FABRA_URL; default http://127.0.0.1:8000)\n"
    "  --host, --port        the same in parts\n"
    "  --timeout DURATION    for a whole request (30s)\n"
    "  --cacert FILE         certificates to trust, PEM\n"
    "  --insecure            accept any certificate\n"
    "  FABRA_API_KEY         is sent as X-API-Key\n"
    "\n"
    "examples:\n"
    "  fabra context list --limit 5\n"
    "  fabra context show ctx_018f3a2b-7def-7abc-8901-234567890abc | jq .features\n"
    "  fabra context verify 018f3a2b-7def-7abc-8901-234567890abc && echo untouched\n";

struct arguments {
	const char *url, *host, *start, *end, *name, *cacert;
	unsigned port;
	long limit;
	int64_t timeout_ms;
	bool lineage, json, insecure;
	const char *operands[2]; /* subcommand, id */
	int operands_count;
};

enum { OPT_URL = 256, OPT_HOST, OPT_PORT, OPT_NAME, OPT_JSON, OPT_TIMEOUT, OPT_CACERT, OPT_INSECURE };

/* A whole number within the bounds, or -1 after saying what is wrong. */
static long read_number(const char *name, const char *text, long min, long max)
{
	char *end;
	long v = strtol(text, &end, 10);
	if (*text && *end == '\0' && v >= min && v <= max)
		return v;
	fprintf(stderr, "fabra context: %s must be a number from %ld to %ld, not '%s'\n", name, min, max, text);
	return -1;
}

/* 0, EXIT_USAGE, or -1: help was printed. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		{ "url", required_argument, NULL, OPT_URL },	   { "host", required_argument, NULL, OPT_HOST },
		{ "port", required_argument, NULL, OPT_PORT },	   { "limit", required_argument, NULL, 'n' },
		{ "start", required_argument, NULL, 's' },	   { "end", required_argument, NULL, 'e' },
		{ "name", required_argument, NULL, OPT_NAME },	   { "json", no_argument, NULL, OPT_JSON },
		{ "lineage", no_argument, NULL, 'l' },		   { "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "cacert", required_argument, NULL, OPT_CACERT }, { "insecure", no_argument, NULL, OPT_INSECURE },
		{ "help", no_argument, NULL, 'h' },		   { 0 },
	};
	*a = (struct arguments){ .limit = 10, .timeout_ms = 30000 };
	long number;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "n:s:e:lh", options, NULL)) != -1;) {
		switch (c) {
		case OPT_URL:
			a->url = optarg;
			break;
		case OPT_HOST:
			a->host = optarg;
			break;
		case OPT_PORT:
			if ((number = read_number("--port", optarg, 1, 65535)) < 0)
				return EXIT_USAGE;
			a->port = (unsigned)number;
			break;
		case OPT_NAME:
			a->name = optarg;
			break;
		case OPT_JSON:
			a->json = true;
			break;
		case OPT_CACERT:
			a->cacert = optarg;
			break;
		case OPT_INSECURE:
			a->insecure = true;
			break;
		case OPT_TIMEOUT:
			if (!config_parse_duration(str_from(optarg), &a->timeout_ms) || a->timeout_ms <= 0) {
				fprintf(stderr, "fabra context: --timeout must be a duration like 30s or 500ms, not '%s'\n", optarg);
				return EXIT_USAGE;
			}
			break;
		case 'n':
			if ((a->limit = read_number("--limit", optarg, 1, 1000000)) < 0)
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

/* ---- answers ---- */

/* The server's own words for an error: its "detail". */
static void print_detail(const struct http_answer *answer)
{
	yyjson_doc *doc = yyjson_read(answer->body.p ? answer->body.p : "", answer->body.n, 0);
	struct str detail = json_str(yyjson_obj_get(yyjson_doc_get_root(doc), "detail"));
	fprintf(stderr, "Error: HTTP %ld: %.*s\n", answer->status, STR_ARG(detail.n ? detail : STR("no detail")));
	yyjson_doc_free(doc);
}

static bool is_ok(const struct http_client *c, const struct http_answer *answer, const char *id)
{
	if (answer->status == 200)
		return true;
	if (answer->status == 0)
		fprintf(stderr, "Connection failed: %s: %.*s\n%s%s", c->url, STR_ARG(buf_str(&answer->body)),
			answer->cure, answer->cure[0] ? "\n" : "");
	else if (answer->status == 404 && id)
		fprintf(stderr, "Not Found: Context '%s' does not exist.\n", id);
	else if (answer->status == 403)
		fputs("Error: HTTP 403: the server wants an API key; set FABRA_API_KEY.\n", stderr);
	else
		print_detail(answer);
	return false;
}

/* Pretty for people, as it came for pipes. */
static int print_json(struct str json)
{
	if (!isatty(STDOUT_FILENO) && json.n) {
		fwrite(json.p, 1, json.n, stdout);
		fputc('\n', stdout);
		return EXIT_OK;
	}
	yyjson_doc *doc = yyjson_read(json.p, json.n, 0);
	size_t n;
	char *pretty = doc ? yyjson_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES, &n) : NULL;
	puts(pretty ? pretty : "the server's answer is no JSON");
	free(pretty);
	yyjson_doc_free(doc);
	return pretty ? EXIT_OK : EXIT_ERROR;
}

static void request_path(struct buf *path, const char *prefix, const char *id, const char *suffix)
{
	buf_append_str(path, str_from(prefix));
	http_client_escape(path, id);
	buf_append_str(path, str_from(suffix));
	buf_append_char(path, '\0');
}

/* ---- the subcommands ---- */

static int show(const struct http_client *c, const struct arguments *a, const char *id)
{
	if (a->lineage && strncmp(id, "sha256:", 7) == 0) {
		fputs("fabra context show: --lineage needs a context id, not a record hash\n", stderr);
		return EXIT_USAGE;
	}
	struct buf path = { 0 };
	request_path(&path, a->lineage ? "/v1/context/" : "/v1/record/", id, a->lineage ? "/lineage" : "");
	struct http_answer answer;
	http_client_request(c, "GET", path.p, NULL, &answer);
	int status = is_ok(c, &answer, id) ? print_json(buf_str(&answer.body)) : EXIT_ERROR;
	buf_finish(&answer.body);
	buf_finish(&path);
	return status;
}

static const char *text_of(yyjson_val *row, const char *key)
{
	const char *text = yyjson_get_str(yyjson_obj_get(row, key));
	return text ? text : "-";
}

static void print_table(yyjson_val *rows)
{
	printf("%-40s  %-26s  %7s  %-10s  %s\n", "CONTEXT ID", "TIMESTAMP", "TOKENS", "FRESHNESS", "NAME");
	size_t i, max;
	yyjson_val *row;
	yyjson_arr_foreach(rows, i, max, row) {
		printf("%-40s  %-26s  %7lld  %-10s  %s\n", text_of(row, "context_id"),
		       text_of(row, "timestamp"),
		       (long long)yyjson_get_sint(yyjson_obj_get(row, "token_usage")),
		       text_of(row, "freshness_status"),
		       text_of(row, "name"));
	}
	fflush(stdout);
	fprintf(stderr, "Total: %zu contexts\n", yyjson_arr_size(rows));
}

static void add_query(struct buf *path, const char *name, const char *value)
{
	if (value == NULL)
		return;
	buf_printf(path, "&%s=", name);
	http_client_escape(path, value);
}

static int list(const struct http_client *c, const struct arguments *a)
{
	struct buf path = { 0 };
	buf_printf(&path, "/v1/contexts?limit=%ld", a->limit);
	add_query(&path, "start", a->start);
	add_query(&path, "end", a->end);
	add_query(&path, "name", a->name);
	buf_append_char(&path, '\0');
	struct http_answer answer;
	http_client_request(c, "GET", path.p, NULL, &answer);
	int status = EXIT_ERROR;
	if (is_ok(c, &answer, NULL)) {
		yyjson_doc *doc = yyjson_read(answer.body.p, answer.body.n, 0);
		if (a->json)
			status = print_json(buf_str(&answer.body));
		else if (yyjson_is_arr(yyjson_doc_get_root(doc)))
			print_table(yyjson_doc_get_root(doc)), status = EXIT_OK;
		else
			fputs("Error: the server's answer is no list\n", stderr);
		yyjson_doc_free(doc);
	}
	buf_finish(&answer.body);
	buf_finish(&path);
	return status;
}

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
		fputs("- Signature present; FABRA_SIGNING_KEY not set, so it cannot be verified\n", stderr);
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
	bool ok = is_asked_record(json, &v, id);
	ok = report_signature(&v, &signer) && v.content_hash_ok && v.record_hash_ok && ok;
	fputs(ok ? "Integrity verified\n" : "Integrity check failed\n", stderr);
	printf("{\"id\":\"%s\",\"valid\":%s,\"content_hash_valid\":%s,\"record_hash_valid\":%s,\"signature\":\"%s\"}\n", id,
	       ok ? "true" : "false", v.content_hash_ok ? "true" : "false", v.record_hash_ok ? "true" : "false",
	       !v.has_signature ? "none" : !v.signature_checked ? "unchecked" : v.signature_ok ? "valid" : "invalid");
	return ok ? EXIT_OK : EXIT_ERROR;
}

static int verify(const struct http_client *c, const char *id)
{
	fprintf(stderr, "Verifying record %s...\n", id);
	struct buf path = { 0 };
	request_path(&path, "/v1/record/", id, "");
	struct http_answer answer;
	http_client_request(c, "GET", path.p, NULL, &answer);
	int status = is_ok(c, &answer, id) ? verify_record(buf_str(&answer.body), id) : EXIT_ERROR;
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
	http_client_init(&c, a.url, a.host, a.port);
	c.timeout_ms = (long)a.timeout_ms;
	c.insecure = a.insecure;
	c.ca_file = a.cacert;
	const char *sub = a.operands[0], *id = a.operands[1];
	if (sub && strcmp(sub, "list") == 0 && id == NULL)
		return list(&c, &a);
	bool is_show = sub && strcmp(sub, "show") == 0, is_verify = sub && strcmp(sub, "verify") == 0;
	if ((is_show || is_verify) && id && is_reference(id))
		return is_show ? show(&c, &a, id) : verify(&c, id);
	if (is_show || is_verify)
		fprintf(stderr, "fabra context %s: which context? For instance: fabra context %s ctx_...\n", sub, sub);
	else
		fputs("usage: fabra context show|list|verify ...; try: fabra context --help\n", stderr);
	return EXIT_USAGE;
}
