/* demo_command.c -- `fabra demo`: serves the built-in example and asks it something, so that the first record exists a
 * second after the first command. */
#include "demo_store.h" /* generated from examples/support/store.lua */
#include "store/text/json.h"
#include "tools/commands.h"
#include "tools/http_client.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
    "usage: fabra demo [-m context|features] [--port PORT] [--no-test]\n"
    "\n"
    "Serves examples/support (built in) and, unless --no-test, makes a request and shows the answer. Ctrl-C ends it.\n"
    "State is kept where `fabra serve` keeps it, so that the record is still there after a restart.\n"
    "\n"
    "  -m, --mode MODE   context (default): a support bot's context; features: one feature\n"
    "  --port PORT       0 takes any free one (8000)\n"
    "  --no-test         only serve\n";

struct demo {
	bool features, no_test;
	const char *port;
};

static void print_cut(struct str text)
{
	printf("%.*s%s\n", (int)(text.n > 500 ? 500 : text.n), text.p ? text.p : "", text.n > 500 ? "..." : "");
}

static int failed(const struct http_answer *answer)
{
	fprintf(stderr, "fabra demo: the request failed (HTTP %ld): %.*s\n", answer->status,
		STR_ARG(buf_str(&answer->body)));
	return EXIT_ERROR;
}

static int show_feature(const struct http_client *c)
{
	static const char path[] = "/v1/features/user_engagement?entity_id=user_123";
	struct http_answer answer;
	http_client_request(c, "GET", path, NULL, &answer);
	int status = answer.status == 200 ? -1 : failed(&answer);
	if (status < 0) {
		printf("$ curl '%s%s'\n", c->url, path);
		print_cut(buf_str(&answer.body));
		printf("\nFeature Store working!\n");
	}
	buf_finish(&answer.body);
	return status;
}

static void print_next(const struct http_client *c, struct str id)
{
	printf("\nContext Store working! Context ID: %.*s\n", STR_ARG(id));
	printf("\nReceipt (paste into a ticket): %.*s\n", STR_ARG(id));
	printf("\nNext, in another terminal:\n"
	       "  export FABRA_URL=%s\n"
	       "  fabra context show %.*s\n"
	       "  fabra context verify %.*s\n"
	       "  fabra context list\n"
	       "  fabra ledger verify\n",
	       c->url, STR_ARG(id), STR_ARG(id));
}

static int show_context(const struct http_client *c)
{
	static const char path[] = "/v1/context/chat_context";
	static const char body[] = "{\"user_id\":\"user_123\",\"query\":\"how do features work?\"}";
	struct http_answer answer;
	http_client_request(c, "POST", path, body, &answer);
	int status = answer.status == 200 ? -1 : failed(&answer);
	if (status < 0) {
		printf("$ curl -H 'Content-Type: application/json' -d '%s' %s%s\n", body, c->url, path);
		print_cut(buf_str(&answer.body));
		yyjson_doc *doc = yyjson_read(answer.body.p, answer.body.n, 0);
		print_next(c, json_str(yyjson_obj_get(yyjson_doc_get_root(doc), "id")));
		yyjson_doc_free(doc);
	}
	buf_finish(&answer.body);
	return status;
}

static int on_listening(void *arg, uint16_t port)
{
	const struct demo *d = arg;
	struct http_client c;
	http_client_init(&c, NULL, "127.0.0.1", port);
	printf("Fabra v" FABRA_VERSION " serves its example at %s (API: %s/docs)\n\n", c.url, c.url);
	int status = d->no_test ? -1 : d->features ? show_feature(&c) : show_context(&c);
	if (status < 0)
		printf("\nCtrl-C stops the server.\n");
	fflush(stdout);
	return status;
}

static bool read_arguments(int argc, char **argv, struct demo *d, int *ret_status)
{
	static const struct option options[] = { { "mode", required_argument, NULL, 'm' },
						 { "port", required_argument, NULL, 'p' },
						 { "no-test", no_argument, NULL, 't' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	*ret_status = EXIT_USAGE;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "m:h", options, NULL)) != -1;) {
		switch (c) {
		case 'm':
			d->features = strcmp(optarg, "features") == 0;
			if (d->features || strcmp(optarg, "context") == 0)
				break;
			fprintf(stderr, "fabra demo: --mode is context or features, not '%s'\n", optarg);
			*ret_status = EXIT_ERROR;
			return false;
		case 'p':
			d->port = optarg;
			break;
		case 't':
			d->no_test = true;
			break;
		case 'h':
			fputs(help, stdout);
			*ret_status = EXIT_OK;
			return false;
		default:
			fputs("try: fabra demo --help\n", stderr);
			return false;
		}
	}
	return true;
}

int demo_main(int argc, char **argv)
{
	struct demo d = { .port = "8000" };
	int status;
	if (!read_arguments(argc, argv, &d, &status))
		return status;
	char file[] = "/tmp/fabra-demo-XXXXXX.lua";
	int fd = mkstemps(file, 4);
	bool written = fd >= 0 && write(fd, demo_store, sizeof demo_store - 1) == (ssize_t)(sizeof demo_store - 1);
	if (fd >= 0)
		close(fd);
	if (!written) {
		fputs("fabra demo: cannot write to /tmp; make room there\n", stderr);
		if (fd >= 0)
			unlink(file);
		return EXIT_ERROR;
	}
	char serve[] = "serve", port_option[] = "--port", port[16];
	snprintf(port, sizeof port, "%s", d.port);
	char *arguments[] = { serve, file, port_option, port, NULL };
	status = serve_run(4, arguments, on_listening, &d);
	unlink(file);
	return status;
}
