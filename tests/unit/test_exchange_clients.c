/* Clients that leave, flood, hang or come in crowds, and a server that is told to stop. After each test the
 * server is idle: every descriptor is closed, every route has seen its end, and no actor, ask or message is
 * left. */
#include "tests/tools/http_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <cmocka.h>

static unsigned ended(const struct http_fixture *f)
{
	return atomic_load(&f->app.ended);
}

static void finish(struct http_fixture *f)
{
	assert_true(fixture_is_idle(f));
	fixture_stop(f);
}

static bool still_serves(struct http_fixture *f)
{
	struct h1_answer a = h1_once(f->port, "GET", "/sync/x", "", (struct str){ 0 });
	buf_finish(&a.body);
	return a.status == 200;
}

static struct str no_body(void)
{
	return (struct str){ 0 };
}

/* The value of a counter, from /metrics. */
static long counter_of(struct http_fixture *f, const char *name, const char *labels)
{
	char line[128];
	snprintf(line, sizeof line, "\n%s_total%s ", name, labels);
	struct h1_answer a = h1_once(f->port, "GET", "/metrics", "", no_body());
	buf_append_char(&a.body, '\0');
	const char *at = strstr(a.body.p, line);
	long value = at != NULL ? strtol(at + strlen(line), NULL, 10) : -1;
	buf_finish(&a.body);
	return value;
}

static long counter(struct http_fixture *f, const char *name)
{
	return counter_of(f, name, "");
}

static long cuts(struct http_fixture *f, const char *kind)
{
	char labels[48];
	snprintf(labels, sizeof labels, "{kind=\"%s\"}", kind);
	return counter_of(f, "fabra_http_connections_cut", labels);
}

/* ---- clients that leave ---- */
static void test_http1_client_leaves_before_the_reply(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	struct h1_client c = h1_open(f->port);
	client_send_text(c.fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\nGET /sync/pipelined HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(still_serves(f));
	uint64_t before_ns = clock_mono_ns();
	h1_close(&c);
	assert_true(EVENTUALLY(ended(f) == 1));
	assert_true(clock_mono_ns() - before_ns < 2000000000u); /* well before its deadline of 5 s */
	finish(f);
}

static void test_http1_client_leaves_mid_body(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	for (int i = 0; i < 20; i++) {
		struct h1_client c = h1_open(f->port);
		client_send_text(c.fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n[1,2,");
		h1_close(&c);
	}
	assert_true(still_serves(f));
	finish(f);
}

static void test_clients_leave_mid_reply(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	char some[1000];
	for (int i = 0; i < 8; i++) {
		struct h1_client c = h1_open(f->port);
		client_send_text(c.fd,
				 i % 2 ? "GET /big?bytes=8000000 HTTP/1.1\r\nHost: x\r\n\r\n"
				       : "GET /big?bytes=8000000 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
		assert_true(recv(c.fd, some, sizeof some, 0) > 0);
		h1_close(&c);
		struct h2_client *h2 = h2_open(f->port, 65535);
		h2_submit(h2, "GET", "/big?bytes=8000000", i % 2 ? "accept-encoding" : "accept", "gzip", no_body(),
			  false);
		nghttp2_session_send(h2->session);
		assert_true(client_readable(h2->fd, CLIENT_WAIT_MS));
		h2_close(h2);
	}
	assert_true(still_serves(f));
	finish(f);
}

static void test_http2_streams_are_reset(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	struct h2_client *c = h2_open(f->port, 65535);
	for (int i = 0; i < 10; i++)
		h2_submit(c, "GET", "/never", NULL, NULL, no_body(), false);
	struct h2_stream *slow = h2_submit(c, "GET", "/slow?ms=200", NULL, NULL, no_body(), false);
	nghttp2_session_send(c->session);
	for (int i = 0; i < 10; i++)
		nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, c->streams[i].id, NGHTTP2_CANCEL);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	assert_int_equal(slow->status, 200);
	assert_true(EVENTUALLY(ended(f) == 11));
	h2_close(c);
	finish(f);
}

static void test_http2_connection_is_closed_with_open_streams(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	struct h2_client *c = h2_open(f->port, 65535);
	for (int i = 0; i < 30; i++)
		h2_submit(c, "GET", i % 2 ? "/never" : "/slow?ms=1", NULL, NULL, no_body(), false);
	h2_submit(c, "POST", "/echo", NULL, NULL, STR("[1,"), true);
	while (c->open > 16) /* the slow ones are answered, so the server has read all of them */
		h2_run(c, false, 5);
	h2_close(c);
	assert_true(EVENTUALLY(ended(f) == 30));
	finish(f);
}

/* The answer of the asked actor comes while the request ends by itself: it is late, dropped and counted,
 * nothing more. */
static void test_replies_race_with_resets(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 2);
	for (int round = 0; round < 20; round++) {
		struct h2_client *c = h2_open(f->port, 65535);
		for (int i = 0; i < 40; i++) {
			char target[32];
			snprintf(target, sizeof target, "/slow?ms=%d", i % 5);
			h2_submit(c, "GET", target, NULL, NULL, no_body(), false);
		}
		nghttp2_session_send(c->session);
		h2_run(c, false, round % 7);
		for (int i = 0; i < 40; i += 2)
			nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, c->streams[i].id, NGHTTP2_CANCEL);
		nghttp2_session_send(c->session);
		h2_run(c, false, round % 3);
		h2_close(c);
	}
	assert_true(still_serves(f));
	assert_true(ended(f) > 0);
	finish(f);
}

/* ---- requests that are answered together ---- */
static void cork(const struct h2_client *c, int on)
{
	assert_int_equal(setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on), 0);
}

static void test_gathered_requests(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ .in_flight_per_connection_max = 60 }, 1);
	struct h2_client *c = h2_open(f->port, 65535);
	cork(c, 1); /* more than are gathered at once, in one read */
	for (int i = 0; i < 100; i++) {
		char target[32];
		snprintf(target, sizeof target, i % 2 ? "/gathered?n=%d&ms=5" : "/gathered?n=%d", i);
		h2_submit(c, "GET", target, NULL, NULL, no_body(), false);
	}
	nghttp2_session_send(c->session);
	cork(c, 0);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	for (int i = 0; i < 100; i++) {
		char twice[16];
		snprintf(twice, sizeof twice, "%d", 2 * i);
		assert_int_equal(c->streams[i].status, i == 13 ? 400 : 200);
		if (i % 2 == 0)
			assert_int_equal(str_cmp(buf_str(&c->streams[i].body), str_from(twice)), 0);
	}
	assert_true(EVENTUALLY(ended(f) == 99));
	h2_close(c);
	finish(f);
}

/* Several connections in one turn, more than are gathered at once. */
static void test_gathered_requests_of_many(void **state)
{
	(void)state;
	enum { CLIENTS = 4, EACH = 45 };
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	struct h2_client *clients[CLIENTS];
	for (int c = 0; c < CLIENTS; c++) {
		clients[c] = h2_open(f->port, 65535);
		cork(clients[c], 1);
		for (int i = 0; i < EACH; i++)
			h2_submit(clients[c], "GET", i % 2 ? "/gathered?n=3&ms=5" : "/gathered?n=3", NULL, NULL,
				  no_body(), false);
		nghttp2_session_send(clients[c]->session);
	}
	for (int c = 0; c < CLIENTS; c++)
		cork(clients[c], 0);
	for (int c = 0; c < CLIENTS; c++) {
		assert_true(h2_run(clients[c], false, CLIENT_WAIT_MS));
		for (int i = 0; i < EACH; i++)
			assert_int_equal(clients[c]->streams[i].status, 200);
	}
	assert_true(EVENTUALLY(ended(f) == CLIENTS * EACH));
	for (int c = 0; c < CLIENTS; c++)
		h2_close(clients[c]);
	finish(f);
}

/* The reset comes with the request itself: its client is gone before the turn ends. */
static void test_gathered_requests_are_reset(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	struct h2_client *c = h2_open(f->port, 65535);
	long gone = counter(f, "fabra_http_clients_gone");
	cork(c, 1);
	for (int i = 0; i < 20; i++)
		h2_submit(c, "GET", i % 2 ? "/gathered?n=1&ms=1" : "/gathered?n=1", NULL, NULL, no_body(), false);
	nghttp2_session_send(c->session);
	for (int i = 0; i < 10; i++)
		nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, c->streams[i].id, NGHTTP2_CANCEL);
	nghttp2_session_send(c->session);
	cork(c, 0);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	for (int i = 10; i < 20; i++)
		assert_int_equal(c->streams[i].status, 200);
	assert_int_equal(counter(f, "fabra_http_clients_gone"), gone + 10);
	assert_int_equal(ended(f), 10);
	h2_close(c);
	finish(f);
}

/* All come in one read. Each is found when the reply before it has been written, after the turn: to wait for the next event
 * or the watch's look would take seconds. */
static void test_gathered_requests_are_pipelined(void **state)
{
	(void)state;
	enum { REQUESTS = 150, MS_MAX = 2000 };
	static const char request[] = "GET /gathered?n=1 HTTP/1.1\r\nHost: x\r\n\r\n";
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	struct h1_client c = h1_open(f->port);
	struct buf all = { 0 };
	for (int i = 0; i < REQUESTS; i++)
		buf_append_str(&all, str_from(request));
	buf_append_char(&all, '\0');
	uint64_t start_ns = clock_mono_ns();
	client_send_text(c.fd, all.p);
	for (int i = 0; i < REQUESTS; i++) {
		struct h1_answer a = h1_read_answer(&c, true);
		assert_int_equal(a.status, 200);
		buf_finish(&a.body);
	}
	assert_true(clock_mono_ns() - start_ns < MS_MAX * 1000000ull);
	buf_finish(&all);
	h1_close(&c);
	assert_true(EVENTUALLY(ended(f) == REQUESTS));
	finish(f);
}

/* ---- crowds and limits ---- */
static void count_statuses(const struct h2_client *c, int status, unsigned *ret_n)
{
	*ret_n = 0;
	for (unsigned i = 0; i < c->streams_len; i++)
		*ret_n += c->streams[i].status == status;
}

static void test_a_hundred_streams_at_once(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1); /* all that is advertised is taken */
	struct h2_client *c = h2_open(f->port, 65535);
	unsigned ok;
	for (int i = 0; i < 100; i++)
		h2_submit(c, "GET", "/slow?ms=50", NULL, NULL, no_body(), false);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	count_statuses(c, 200, &ok);
	assert_int_equal(ok, 100);
	h2_close(c);
	finish(f);
}

/* Rendering costs a millisecond: requests that come together share one. */
static void test_metrics_are_rendered_once_a_turn(void **state)
{
	(void)state;
	enum { REQUESTS = 50 };
	static const char labels[] = "{method=\"GET\",endpoint=\"/metrics\",status=\"200\"}";
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	struct h2_client *c = h2_open(f->port, 65535);
	counter(f, "fabra_http_clients_gone"); /* the series of /metrics itself exists */
	long before = counter_of(f, "fabra_request_count", labels);
	cork(c, 1); /* all in one read */
	for (int i = 0; i < REQUESTS; i++)
		h2_submit(c, "GET", "/metrics", NULL, NULL, no_body(), false);
	nghttp2_session_send(c->session);
	cork(c, 0);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	for (int i = 0; i < REQUESTS; i++) {
		assert_int_equal(c->streams[i].status, 200);
		assert_int_equal(str_cmp(buf_str(&c->streams[i].body), buf_str(&c->streams[0].body)), 0);
	}
	assert_int_equal(counter_of(f, "fabra_request_count", labels), before + 1 + REQUESTS);
	h2_close(c);
	finish(f);
}

static void test_in_flight_limits(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ .in_flight_max = 80,
								     .in_flight_per_connection_max = 64 },
					       1);
	struct h2_client *one = h2_open(f->port, 65535), *two = h2_open(f->port, 65535);
	unsigned ok_one, ok_two, refused;
	long refused_before = counter(f, "fabra_http_requests_refused");
	for (int i = 0; i < 100; i++)
		h2_submit(one, "GET", "/slow?ms=400", NULL, NULL, no_body(), false);
	nghttp2_session_send(one->session);
	assert_true(
	    EVENTUALLY(counter(f, "fabra_http_requests_refused") == refused_before + 36)); /* 64 of one connection */
	for (int i = 0; i < 50; i++)
		h2_submit(two, "GET", "/slow?ms=1", NULL, NULL, no_body(), false);
	assert_true(h2_run(two, false, CLIENT_WAIT_MS));
	assert_true(h2_run(one, false, CLIENT_WAIT_MS));
	count_statuses(one, 200, &ok_one);
	count_statuses(two, 200, &ok_two);
	count_statuses(two, 503, &refused);
	assert_int_equal(ok_one, 64);
	assert_true(ok_two >= 16 && refused == 50 - ok_two && refused > 0); /* 80 of the loop */
	struct h1_answer a = h1_once(f->port, "GET", "/health", "", no_body());
	assert_int_equal(a.status, 200);
	buf_finish(&a.body);
	h2_close(one);
	h2_close(two);
	finish(f);
}

static void test_connections_max(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ .connections_max = 8, .request_timeout_ms = 8000 },
					       2);
	struct h1_client busy[8];
	for (int i = 0; i < 8; i++) {
		busy[i] = h1_open(f->port);
		client_send_text(busy[i].fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	assert_true(EVENTUALLY(atomic_load(&f->app.never) == 8)); /* idle connections would make room */
	struct h1_client c = h1_open(f->port);
	struct h1_answer a = h1_read_answer(&c, true); /* before a request is sent */
	assert_int_equal(a.status, 503);
	assert_string_equal(h1_header(&a, "retry-after"), "1");
	buf_finish(&a.body);
	h1_close(&c);
	for (int i = 0; i < 8; i++)
		h1_close(&busy[i]);
	assert_true(EVENTUALLY(still_serves(f)));
	assert_true(counter(f, "fabra_http_connections_refused") > 0);
	finish(f);
}

static void test_connections_go_to_the_loop_with_the_fewest(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 4);
	struct h1_client first[8], later[6];
	for (int i = 0; i < 8; i++) { /* two on each loop, in order */
		first[i] = h1_open(f->port);
		assert_true(EVENTUALLY(fds_open() == f->fds_before + 2u * (unsigned)(i + 1)));
	}
	for (int i = 0; i < 8; i++)
		if (i % 4 != 0)
			h1_close(&first[i]);
	assert_true(EVENTUALLY(fds_open() == f->fds_before + 4));
	for (int i = 0; i < 6; i++) {
		later[i] = h1_open(f->port);
		client_send_text(later[i].fd, "GET /slow?ms=1 HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	for (int i = 0; i < 6; i++) {
		struct h1_answer a = h1_read_answer(&later[i], true);
		assert_int_equal(a.status, 200);
		buf_finish(&a.body);
		h1_close(&later[i]);
	}
	h1_close(&first[0]);
	h1_close(&first[4]);
	assert_true(fixture_is_idle(f));
	for (unsigned i = 0; i < f->loops_len; i++)
		loop_stop(f->loops[i]);
	for (unsigned i = 0; i < f->loops_len; i++) {
		struct loop_stats s;
		loop_join(f->loops[i]);
		loop_stats_read(f->loops[i], &s);
		/* The sleeper and the front; the first loop was full, the others got two requests each. */
		assert_int_equal(s.spawned, 2 + (i == 0 ? 0 : 2));
	}
	fixture_stop(f);
}

static void test_no_descriptors_left(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	struct rlimit before, tight;
	int fds[64], n = 0;
	getrlimit(RLIMIT_NOFILE, &before);
	tight = before;
	tight.rlim_cur = f->fds_before + 10;
	int waiting = client_connect(f->port); /* one that is served throughout */
	assert_true(EVENTUALLY(fds_open() == f->fds_before + 2));
	setrlimit(RLIMIT_NOFILE, &tight);
	while (n < 64 && (fds[n] = client_connect(f->port)) >= 0)
		n++;
	setrlimit(RLIMIT_NOFILE, &before);
	assert_true(n >= 3);
	client_send_text(waiting, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(client_readable(waiting, CLIENT_WAIT_MS));
	close(waiting);
	for (int i = 0; i < n; i++)
		close(fds[i]);
	assert_true(EVENTUALLY(still_serves(f)));
	finish(f);
}

static void test_bodies_of_the_whole_server_are_bounded(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ .buffered_bytes_max = 2 << 20 }, 2);
	char *half = malloc(600000);
	memset(half, ' ', 600000);
	long cut_before = cuts(f, "bodies");
	struct h1_client h1[6];
	for (int i = 0; i < 6; i++) {
		h1[i] = h1_open(f->port);
		client_send_text(h1[i].fd, "POST /bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
		client_send(h1[i].fd, half, 600000);
	}
	assert_true(EVENTUALLY(cuts(f, "bodies") >= cut_before + 3));
	for (int i = 0; i < 6; i++)
		h1_close(&h1[i]);
	assert_true(fixture_is_idle(f));
	cut_before = cuts(f, "bodies");

	struct h2_client *h2 = h2_open(f->port, 65535);
	for (int i = 0; i < 6; i++)
		h2_submit(h2, "POST", "/bytes", NULL, NULL, str_of(half, 600000), true);
	assert_true(h2_run(h2, true, CLIENT_WAIT_MS));
	assert_int_equal(cuts(f, "bodies"), cut_before + 1);
	h2_close(h2);
	free(half);
	assert_true(still_serves(f));
	finish(f);
}

/* Starting and dropping requests: the work in flight stays within the connection's bound, and the connection
 * ends. */
static void test_rapid_resets(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 1);
	long cut_before = cuts(f, "resets");
	struct h2_client *c = h2_open(f->port, 65535);
	nghttp2_nv headers[] = { h2_nv(":method", "GET"), h2_nv(":scheme", "http"), h2_nv(":authority", "x"),
				 h2_nv(":path", "/never") };
	for (int i = 0; i < 5000 && !c->is_over; i++) {
		int32_t id = nghttp2_submit_request(c->session, NULL, headers, 4, NULL, NULL);
		if (id < 0)
			break;
		nghttp2_session_send(c->session);
		nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
		nghttp2_session_send(c->session);
	}
	c->is_over = c->is_over || client_sees_end(c->fd);
	assert_true(c->is_over);
	h2_close(c);
	assert_int_equal(cuts(f, "resets"), cut_before + 1);
	assert_true(still_serves(f));
	finish(f);
}

/* ---- the server stops ---- */
static void test_drain_lets_requests_finish(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ .shutdown_grace_ms = 8000 }, 2);
	struct h1_client idle = h1_open(f->port), busy = h1_open(f->port);
	struct h2_client *h2 = h2_open(f->port, 65535);
	client_send_text(idle.fd, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
	struct h1_answer a = h1_read_answer(&idle, true);
	buf_finish(&a.body);
	client_send_text(busy.fd, "GET /slow?ms=300 HTTP/1.1\r\nHost: x\r\n\r\n");
	struct h2_stream *s = h2_submit(h2, "GET", "/slow?ms=300", NULL, NULL, no_body(), false);
	struct h2_stream *first = h2_submit(h2, "GET", "/sync/x", NULL, NULL, no_body(), false);
	while (!first->is_closed)
		h2_run(h2, false, 10);
	uint64_t before_ns = clock_mono_ns();
	http_server_drain(f->server, fixture_on_drained, f);
	assert_true(client_sees_end(idle.fd));
	a = h1_read_answer(&busy, true);
	assert_int_equal(a.status, 200);
	assert_string_equal(h1_header(&a, "connection"), "close");
	buf_finish(&a.body);
	assert_true(client_sees_end(busy.fd));
	assert_true(h2_run(h2, true, CLIENT_WAIT_MS));
	assert_int_equal(s->status, 200);
	assert_true(h2->goaways >= 1);
	assert_int_equal(client_connect(f->port), -1);
	assert_true(EVENTUALLY(atomic_load(&f->drained) == 1));
	assert_true(clock_mono_ns() - before_ns < 6000000000u); /* not the whole grace */
	h1_close(&idle);
	h1_close(&busy);
	h2_close(h2);
	fixture_stop(f);
}

static void test_drain_ends_what_outlasts_the_grace(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ .shutdown_grace_ms = 100,
								     .request_timeout_ms = 60000 },
					       2);
	struct h1_client busy = h1_open(f->port), half = h1_open(f->port);
	struct h2_client *h2 = h2_open(f->port, 0); /* a window that never opens */
	client_send_text(busy.fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	client_send_text(half.fd, "POST /bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
	struct h2_stream *s = h2_submit(h2, "GET", "/never", NULL, NULL, no_body(), false);
	h2_submit(h2, "GET", "/big?bytes=100000", NULL, NULL, no_body(), false);
	nghttp2_session_send(h2->session);
	assert_true(client_readable(h2->fd, CLIENT_WAIT_MS));
	assert_true(
	    EVENTUALLY(atomic_load(&f->app.never) == 2)); /* else a request that comes late is refused instead */
	assert_true(still_serves(f));
	http_server_drain(f->server, fixture_on_drained, f);
	struct h1_answer a = h1_read_answer(&busy, true);
	assert_int_equal(a.status, 503);
	buf_finish(&a.body);
	assert_true(h2_run(h2, true, CLIENT_WAIT_MS));
	assert_int_equal(s->status, 503);
	assert_true(client_sees_end(half.fd));
	assert_true(EVENTUALLY(atomic_load(&f->drained) == 1));
	assert_true(EVENTUALLY(ended(f) == 2)); /* drained: no connections; an exchange may outlive its own by a turn */
	h1_close(&busy);
	h1_close(&half);
	h2_close(h2);
	fixture_stop(f);
}

static void test_loops_stop_without_a_drain(void **state)
{
	(void)state;
	struct http_fixture *f = fixture_start((struct http_config){ 0 }, 2);
	struct h1_client busy = h1_open(f->port);
	struct h2_client *h2 = h2_open(f->port, 65535);
	client_send_text(busy.fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	h2_submit(h2, "GET", "/never", NULL, NULL, no_body(), false);
	nghttp2_session_send(h2->session);
	assert_true(still_serves(f));
	fixture_stop(f);
	assert_true(client_sees_end(busy.fd));
	h1_close(&busy);
	h2_close(h2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http1_client_leaves_before_the_reply),
		cmocka_unit_test(test_http1_client_leaves_mid_body),
		cmocka_unit_test(test_clients_leave_mid_reply),
		cmocka_unit_test(test_http2_streams_are_reset),
		cmocka_unit_test(test_http2_connection_is_closed_with_open_streams),
		cmocka_unit_test(test_replies_race_with_resets),
		cmocka_unit_test(test_gathered_requests),
		cmocka_unit_test(test_gathered_requests_of_many),
		cmocka_unit_test(test_gathered_requests_are_reset),
		cmocka_unit_test(test_gathered_requests_are_pipelined),
		cmocka_unit_test(test_a_hundred_streams_at_once),
		cmocka_unit_test(test_metrics_are_rendered_once_a_turn),
		cmocka_unit_test(test_in_flight_limits),
		cmocka_unit_test(test_connections_max),
		cmocka_unit_test(test_connections_go_to_the_loop_with_the_fewest),
		cmocka_unit_test(test_no_descriptors_left),
		cmocka_unit_test(test_bodies_of_the_whole_server_are_bounded),
		cmocka_unit_test(test_rapid_resets),
		cmocka_unit_test(test_drain_lets_requests_finish),
		cmocka_unit_test(test_drain_ends_what_outlasts_the_grace),
		cmocka_unit_test(test_loops_stop_without_a_drain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
