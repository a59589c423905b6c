#include "tools/serve_options.h"
#include "tools/cli_client.h"
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
    "usage: fabra serve FILE [options]\n"
    "\n"
    "Serves the features and contexts that FILE (Lua) defines, over HTTP/2 and HTTP/1.1. Every context leaves a durable,\n"
    "verifiable record. State is kept in ~/.fabra unless FABRA_HOME or FABRA_DUCKDB_PATH says otherwise.\n"
    "\n"
    "  --host ADDRESS        where to listen (127.0.0.1)\n"
    "  --port PORT           0 takes any free one (8000)\n"
    "  --loops N             I/O threads (all cores but one)\n"
    "  --tls-cert FILE       certificate chain in PEM; with --tls-key serves HTTPS\n"
    "  --tls-key FILE        its private key in PEM\n"
    "  --api-key KEY         require this X-API-Key (or set FABRA_API_KEY)\n"
    "  --unsafe-lua          give the definitions file io, os.execute, require and the like\n"
    "  -v, --verbose         log at DEBUG\n"
    "  -h, --help\n"
    "\n"
    "environment (see docs/configuration.md for all):\n"
    "  FABRA_EVIDENCE_MODE   required: no answer without a durable record; best_effort: say so in the answer\n"
    "  FABRA_SIGNING_KEY     signs records (HMAC-SHA256): hex:..., base64:... or the bytes themselves\n"
    "  FABRA_RECORD_INCLUDE_CONTENT=0   privacy mode: the text itself is never stored\n"
    "  FABRA_DUCKDB_PATH     the offline store; \":memory:\" keeps nothing\n"
    "\n"
    "examples:\n"
    "  fabra serve examples/support/store.lua\n"
    "  FABRA_EVIDENCE_MODE=required fabra serve store.lua --port 9000\n"
    "  curl 'http://127.0.0.1:8000/v1/features/user_tier?entity_id=user_123'\n";

enum { LOOPS_MOST = 32 };
enum { OPT_TLS_CERT = 256, OPT_TLS_KEY, OPT_API_KEY, OPT_UNSAFE_LUA, OPT_RELOAD };

static int read_arguments(int argc, char **argv, struct serve_options *o)
{
	static const struct option options[] = {
		{ "host", required_argument, NULL, 'H' },
		{ "port", required_argument, NULL, 'p' },
		{ "loops", required_argument, NULL, 'l' },
		{ "tls-cert", required_argument, NULL, OPT_TLS_CERT },
		{ "tls-key", required_argument, NULL, OPT_TLS_KEY },
		{ "api-key", required_argument, NULL, OPT_API_KEY },
		{ "unsafe-lua", no_argument, NULL, OPT_UNSAFE_LUA },
		{ "reload", no_argument, NULL, OPT_RELOAD },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	long number;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "vh", options, NULL)) != -1;) {
		switch (c) {
		case 'H':
			o->host = optarg;
			break;
		case 'p':
			if ((number = cli_number("serve", "--port", optarg, 0, 65535)) < 0)
				return 2;
			o->port = (uint16_t)number;
			break;
		case 'l':
			if ((number = cli_number("serve", "--loops", optarg, 1, LOOPS_MOST)) < 0)
				return 2;
			o->loops = (unsigned)number;
			break;
		case OPT_TLS_CERT:
			o->tls_cert = optarg;
			break;
		case OPT_TLS_KEY:
			o->tls_key = optarg;
			break;
		case OPT_API_KEY:
			o->api_key = optarg;
			break;
		case OPT_UNSAFE_LUA:
			o->unsafe_lua = true;
			break;
		case OPT_RELOAD: /* Fabra takes and ignores it */
			fprintf(stderr, "fabra serve: --reload is ignored; restart to load changed definitions\n");
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'h':
			fputs(help, stdout);
			return 1;
		default:
			fprintf(stderr, "try: fabra serve --help\n");
			return 2;
		}
	}
	if (optind != argc - 1) {
		fprintf(stderr, optind >= argc
				    ? "fabra serve: which definitions file? For instance: fabra serve store.lua\n"
				    : "fabra serve: one definitions file, please\n");
		return 2;
	}
	o->file = argv[optind];
	return 0;
}

/* All cores but one: the committer and the projection need that one, and loops that share it with them are slower (ADR 4). */
static unsigned loops_default(void)
{
	cpu_set_t allowed;
	int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : LOOPS_MOST + 1;
	return cores <= 2 ? 1 : cores > LOOPS_MOST ? LOOPS_MOST : (unsigned)cores - 1;
}

int serve_options_read(int argc, char **argv, struct serve_options *ret)
{
	*ret = (struct serve_options){ .host = "127.0.0.1", .port = 8000 };
	int status = read_arguments(argc, argv, ret);
	if (status)
		return status;
	if (ret->loops == 0)
		ret->loops = loops_default();
	struct buf errors = { 0 };
	serve_settings_read(ret, &errors);
	if (errors.n)
		fprintf(stderr, "fabra serve: the configuration is not usable:\n%.*s%s", STR_ARG(buf_str(&errors)),
			errors.p[errors.n - 1] == '\n' ? "" : "\n");
	status = errors.n ? 2 : 0;
	buf_finish(&errors);
	return status;
}
