/* A server with the test routes, for tests and measurements that drive it from outside.
 *     http_test_server [--loops N] [--log] [--key K] [--tls CERT KEY] [--grace MS] [--connections N] [--buffered BYTES]
 * Prints "port N", drains on SIGTERM and then prints its counters as one JSON line: actors and asks must be
 * 0. */
#include "runtime/log.h"
#include "tests/tools/http_routes.h"
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static int drained_fds[2];

static void on_drained(void *arg)
{
	(void)arg;
	(void)!write(drained_fds[1], "d", 1);
}

static bool read_options(int argc, char **argv, struct http_config *config, unsigned *ret_loops)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
		if (strcmp(name, "--log") == 0) {
			config->access_log = true;
			continue;
		}
		i++;
		if (strcmp(name, "--loops") == 0)
			*ret_loops = (unsigned)atoi(value);
		else if (strcmp(name, "--key") == 0)
			config->api_key = value;
		else if (strcmp(name, "--grace") == 0)
			config->shutdown_grace_ms = (uint32_t)atoi(value);
		else if (strcmp(name, "--connections") == 0)
			config->connections_max = (uint32_t)atoi(value);
		else if (strcmp(name, "--buffered") == 0)
			config->buffered_bytes_max = (uint64_t)atoll(value);
		else if (strcmp(name, "--tls") == 0 && i + 1 < argc) {
			config->tls_cert_file = value;
			config->tls_key_file = argv[++i];
		} else {
			fprintf(stderr, "unknown option %s\n", name);
			return false;
		}
	}
	return *ret_loops > 0 && *ret_loops <= 16;
}

static void print_end(struct loop *const *loops, unsigned n, const struct test_app *app)
{
	struct loop_stats sum = { 0 };
	for (unsigned i = 0; i < n; i++) {
		struct loop_stats s;
		loop_stats_read(loops[i], &s);
		sum.actors += s.actors;
		sum.asks_open += s.asks_open;
		sum.messages_live += s.messages_live;
		sum.spawned += s.spawned;
	}
	printf("{\"actors\":%u,\"asks\":%u,\"messages\":%u,\"spawned\":%llu,\"ended\":%u}\n", sum.actors, sum.asks_open,
	       sum.messages_live, (unsigned long long)sum.spawned, atomic_load(&app->ended));
}

int main(int argc, char **argv)
{
	static struct test_app app;
	struct loop *loops[16];
	unsigned n = 1;
	struct http_config config = {
		.host = "127.0.0.1", .app = &app, .routes = test_routes, .routes_count = ARRAY_LEN(test_routes)
	};
	struct buf why = { 0 };
	sigset_t term;
	int got;
	if (!read_options(argc, argv, &config, &n) || pipe(drained_fds) != 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	log_start(STDERR_FILENO, LOG_INFO);
	for (unsigned i = 0; i < n; i++) {
		loops[i] = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
		test_app_spawn(&app, loops[i]);
	}
	struct http_server *server = http_server_create(&config, loops, n, &why);
	if (server == NULL) {
		fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&why)));
		return 1;
	}
	for (unsigned i = 0; i < n; i++)
		CHECK(loop_start(loops[i]) == 0);
	printf("port %u\n", http_server_port(server));
	fflush(stdout);
	sigwait(&term, &got);
	http_server_drain(server, on_drained, NULL);
	char done;
	CHECK(read(drained_fds[0], &done, 1) == 1);
	for (unsigned i = 0; i < n; i++)
		loop_stop(loops[i]);
	for (unsigned i = 0; i < n; i++)
		loop_join(loops[i]);
	http_server_destroy(server);
	print_end(loops, n, &app);
	for (unsigned i = 0; i < n; i++)
		loop_destroy(loops[i]);
	log_stop();
	return 0;
}
