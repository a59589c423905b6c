/* What the commands share that talk to a running server: where it is, how an answer fails, how JSON is shown. */
#pragma once
#include "store/text/json.h"
#include "tools/http_client.h"
#include <getopt.h>
#include <stdio.h>

/* For the array of getopt_long, and what teaches them in a command's help. */
enum { CLI_URL = 512, CLI_HOST, CLI_PORT, CLI_TIMEOUT, CLI_CACERT, CLI_INSECURE };
#define CLI_CLIENT_OPTIONS                                                                                             \
	{ "url", required_argument, NULL, CLI_URL }, { "host", required_argument, NULL, CLI_HOST },                    \
	    { "port", required_argument, NULL, CLI_PORT }, { "timeout", required_argument, NULL, CLI_TIMEOUT },        \
	    { "cacert", required_argument, NULL, CLI_CACERT },                                                         \
	{                                                                                                              \
		"insecure", no_argument, NULL, CLI_INSECURE                                                            \
	}
#define CLI_CLIENT_HELP                                                                                                \
	"where:\n"                                                                                                     \
	"  --url URL             the server, http:// or https:// (or set FABRA_URL; default http://127.0.0.1:8000)\n"  \
	"  --host, --port        the same in parts\n"                                                                  \
	"  --timeout DURATION    for a whole request (30s)\n"                                                          \
	"  --cacert FILE         certificates to trust, PEM\n"                                                         \
	"  --insecure            accept any certificate\n"                                                             \
	"  FABRA_API_KEY         is sent as X-API-Key\n"

struct cli_client {
	const char *command; /* "context", for messages; static */
	const char *url, *host, *cacert;
	unsigned port;
	int64_t timeout_ms;
	bool insecure;
};

/* A whole number within the bounds, or -1 after saying what is wrong. */
long cli_number(const char *command, const char *option, const char *text, long min, long max);
/* Takes one of CLI_CLIENT_OPTIONS. 1: taken; 0: another option; -1: wrong, and said. */
int cli_client_option(struct cli_client *c, int option, const char *value);
void cli_client_open(const struct cli_client *c, struct http_client *ret);

/* Status 200, or else says why not. not_found: what to say of a 404; NULL: the server's own words. */
bool cli_is_ok(const struct http_client *c, const struct http_answer *answer, const char *not_found);
/* An object or a list (YYJSON_TYPE_OBJ, YYJSON_TYPE_ARR); owned by the caller. Else NULL, and said: the answer "is no WHAT". The
 * other server that a wrong address names says 200 too. */
yyjson_doc *cli_json(struct str json, yyjson_type type, const char *what);
/* The same, printed: indented on a terminal, as it came for pipes. Returns the exit code. */
int cli_print_json(struct str json, yyjson_type type, const char *what);
/* "/v1/record/", the escaped id, "/suffix", and the NUL. */
void cli_path(struct buf *path, const char *prefix, const char *id, const char *suffix);
/* "&name=value", escaped; nothing when value is NULL. */
void cli_add_query(struct buf *path, const char *name, const char *value);
