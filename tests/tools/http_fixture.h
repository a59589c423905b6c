/* A server with the test routes on loops of its own, inside the test program. */
#pragma once
#include "tests/tools/http_client.h"
#include "tests/tools/http_routes.h"
#include <dirent.h>
#include <signal.h>

struct http_fixture {
	struct test_app app;
	struct loop *loops[4];
	unsigned loops_len;
	struct http_server *server;
	uint16_t port;
	unsigned fds_before;
	atomic_uint drained;
};

/* One descriptor for all calls, opened before there are threads. Opened for each, it took the numbers of those that libuv
 * has just closed by system call, of which ThreadSanitizer knows nothing: it reported a race. */
static inline unsigned fds_open(void)
{
	static DIR *d;
	unsigned n = 0;
	if (d == NULL)
		d = opendir("/proc/self/fd");
	rewinddir(d);
	while (readdir(d) != NULL)
		n++;
	return n;
}

/* Waits for a condition that another thread brings about; false after 10 s. */
#define EVENTUALLY(condition)                                                                                          \
	({                                                                                                             \
		uint64_t by_ns_ = clock_mono_ns() + CLIENT_WAIT_MS * 1000000ull;                                       \
		while (!(condition) && clock_mono_ns() < by_ns_)                                                       \
			poll(NULL, 0, 2);                                                                              \
		(condition);                                                                                           \
	})

static inline struct http_fixture *fixture_start(struct http_config config, unsigned loops_len)
{
	struct http_fixture *f = calloc(1, sizeof *f);
	struct buf why = { 0 };
	signal(SIGPIPE, SIG_IGN);
	f->loops_len = loops_len;
	for (unsigned i = 0; i < loops_len; i++) {
		f->loops[i] = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
		test_app_spawn(&f->app, f->loops[i]);
	}
	config.app = &f->app;
	config.routes = test_routes;
	config.routes_count = ARRAY_LEN(test_routes);
	f->server = http_server_create(&config, f->loops, loops_len, &why);
	if (f->server == NULL)
		fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&why)));
	CHECK(f->server != NULL);
	f->port = http_server_port(f->server);
	for (unsigned i = 0; i < loops_len; i++) { /* libuv opens a descriptor of its own with a loop's first stream */
		uv_tcp_t first;
		uv_tcp_init(loop_uv(f->loops[i]), &first);
		uv_close((uv_handle_t *)&first, NULL);
		uv_run(loop_uv(f->loops[i]), UV_RUN_NOWAIT);
	}
	f->fds_before = fds_open();
	for (unsigned i = 0; i < loops_len; i++)
		CHECK(loop_start(f->loops[i]) == 0);
	return f;
}

static inline void fixture_on_drained(void *arg)
{
	atomic_fetch_add(&((struct http_fixture *)arg)->drained, 1);
}

/* Ends everything; loop_destroy then checks that no actor, ask or message is left. */
static inline void fixture_stop(struct http_fixture *f)
{
	for (unsigned i = 0; i < f->loops_len; i++)
		loop_stop(f->loops[i]);
	for (unsigned i = 0; i < f->loops_len; i++)
		loop_join(f->loops[i]);
	http_server_destroy(f->server);
	for (unsigned i = 0; i < f->loops_len; i++) {
		struct loop_stats s;
		loop_stats_read(f->loops[i], &s);
		CHECK(s.actors == 0 && s.asks_open == 0 && s.messages_live == 0);
		loop_destroy(f->loops[i]);
	}
	free(f);
}

/* Every connection has been closed by both sides. */
static inline bool fixture_is_idle(struct http_fixture *f)
{
	return EVENTUALLY(fds_open() == f->fds_before);
}
