/* The watch: a timer of each front that looks every WATCH_MS, while there are connections, at what no handler sees:
 *
 * - bytes: h2o keeps bodies whole before it calls us, and replies until they are read. Their sum over the
 *   server is bounded by cutting the connections that hold most.
 * - conduct: what the connections do with their time (conn_conduct.c).
 * - HTTP/1.1 clients that left: h2o does not read while a reply is due, so the kernel is asked.
 * - draining: idle HTTP/1.1 connections are closed (h2o tells HTTP/2 clients itself), and after the grace
 *   all of them. */
#include "http/h2o_stream.h"
#include "http/server_private.h"
#include "runtime/log.h"
#include <poll.h>
#include <sys/socket.h>

enum { WATCH_MS = 50, PROBE_BATCH = 256, CUT_MS_MAX = 1000 };

/* ---- bytes ---- */
static size_t reply_bytes(const h2o_req_t *req)
{
	return req->res.content_length == SIZE_MAX ? exchange_stream_bytes(req) : req->res.content_length;
}

static int sum_http2(h2o_req_t *req, void *arg)
{
	const struct h2o_stream *stream = H2O_STRUCT_FROM_MEMBER(struct h2o_stream, req, req);
	struct http_conn *c = exchange_conn_of(req);
	if (c == NULL)
		return 0;
	size_t bytes = reply_bytes(req) + (stream->body != NULL ? stream->body->size : 0);
	conduct_on_http2(c, stream);
	c->held_bytes += bytes;
	*(uint64_t *)arg += bytes;
	return 0;
}

static int sum_http1(h2o_req_t *req, void *arg)
{
	struct http_conn *c = exchange_conn_of(req);
	if (c == NULL)
		return 0;
	size_t bytes = reply_bytes(req) + c->sock->input->size;
	conduct_on_http1(c, req);
	c->held_bytes += bytes;
	*(uint64_t *)arg += bytes;
	return 0;
}

static struct http_conn *largest(struct http_front *f)
{
	struct http_conn *most = NULL;
	for (struct http_conn *c = f->conns; c != NULL; c = c->next)
		if (!c->is_cut && c->held_bytes > 0 && (most == NULL || c->held_bytes > most->held_bytes))
			most = c;
	return most;
}

static void bound_bytes(struct http_front *f)
{
	struct http_server *s = f->server;
	uint64_t sum = 0;
	s->h2o.http1.callbacks.foreach_request(&f->h2o, sum_http1, &sum);
	s->h2o.http2.callbacks.foreach_request(&f->h2o, sum_http2, &sum);
	uint64_t total = atomic_fetch_add_explicit(&s->held_bytes, sum - f->held_bytes, memory_order_relaxed) +
			 (sum - f->held_bytes);
	f->held_bytes = sum;
	struct http_conn *c;
	while (total > s->config.buffered_bytes_max && (c = largest(f)) != NULL) {
		total -= c->held_bytes < total ? c->held_bytes : total;
		conn_cut_for(c, CUT_BYTES);
	}
}

/* ---- clients that left ---- */
/* A client that shuts down its sending half counts as gone: it cannot be told from one that closed. */
static void end_of_http1_client(struct exchange *x)
{
	h2o_req_t *req = x->req;
	struct http_conn *c = x->conn;
	struct exchange_stream *stream = x->stream;
	exchange_client_gone(x);
	conn_cut(c);
	if (stream != NULL) {
		exchange_stream_drop(stream);
		return;
	}
	/* h2o closes the connection when this fails to be written. */
	req->http1_is_persistent = 0;
	req->res.status = 499;
	req->res.content_length = 0;
	req->compress_hint = H2O_COMPRESS_HINT_DISABLE;
	h2o_send_inline(req, "", 0);
}

static void probe(struct exchange **waiting, struct pollfd *fds, nfds_t n)
{
	if (n == 0 || poll(fds, n, 0) <= 0)
		return;
	for (nfds_t i = 0; i < n; i++)
		if (fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR))
			end_of_http1_client(waiting[i]);
}

static void find_gone_clients(struct http_front *f)
{
	struct exchange *waiting[PROBE_BATCH];
	struct pollfd fds[PROBE_BATCH];
	nfds_t n = 0;
	for (struct exchange *x = f->waiting; x != NULL; x = x->next) {
		if (x->req == NULL || x->req->version >= 0x200)
			continue;
		waiting[n] = x;
		fds[n++] = (struct pollfd){ .fd = h2o_socket_get_fd(x->conn->sock), .events = POLLRDHUP };
		if (n == PROBE_BATCH) {
			probe(waiting, fds, n);
			n = 0;
		}
	}
	probe(waiting, fds, n);
}

/* ---- draining ---- */
static int close_idle_http1(h2o_req_t *req, void *arg)
{
	(void)arg;
	struct http_conn *c = exchange_conn_of(req);
	if (c != NULL && req->version == 0 && c->sock->input->size == 0)
		conn_cut(c);
	return 0;
}

static void close_without_tls(struct http_front *f)
{
	for (struct http_conn *c = f->conns; c != NULL; c = c->next)
		if (!c->has_shaken_hands)
			conn_cut(c);
}

static void drain_step(struct http_front *f)
{
	struct http_server *s = f->server;
	if (f->conns == NULL && atomic_load(&f->connections) == 0 && f->in_flight == 0) {
		front_drained(f);
		return;
	}
	uint64_t now_ns = loop_mono_ns(f->loop);
	if (now_ns < f->drain_by_ns) {
		s->h2o.http1.callbacks.foreach_request(&f->h2o, close_idle_http1, NULL);
		close_without_tls(f);
		return;
	}
	if (!f->drain_is_forced) {
		f->drain_is_forced = true; /* the 503s go out before the next step cuts the connections */
		exchange_end_waiting(f, 503, "the server is shutting down");
		return;
	}
	for (struct http_conn *c = f->conns; c != NULL; c = c->next)
		conn_cut(c);
	/* The end of the server does not wait for h2o. */
	if (now_ns - f->drain_by_ns >= CUT_MS_MAX * 1000000ull) {
		log_line(LOG_ERROR, "http.server", "connections were still open after they had been cut",
			 LOG_CSTR("loop", loop_name(f->loop)), LOG_INT("in_flight", f->in_flight));
		front_drained(f);
	}
}

static void on_watch(uv_timer_t *timer)
{
	struct http_front *f = timer->data;
	bool is_first = f == &f->server->fronts[0];
	conduct_begin_look(f);
	bound_bytes(f);
	conduct_end_look(f);
	find_gone_clients(f);
	if (is_first)
		accept_resume(f->server);
	if (f->drain_by_ns != 0 && !f->is_drained)
		drain_step(f);
	else if (f->conns == NULL && f->held_bytes == 0 && !(is_first && f->server->listen_paused))
		uv_timer_stop(timer);
}

void watch_init(struct http_front *f)
{
	uv_timer_init(loop_uv(f->loop), &f->watch);
	f->watch.data = f;
}

void watch_start(struct http_front *f)
{
	if (!uv_is_active((uv_handle_t *)&f->watch) && !uv_is_closing((uv_handle_t *)&f->watch))
		uv_timer_start(&f->watch, on_watch, WATCH_MS, WATCH_MS);
}

void watch_drain(struct http_front *f, uint32_t grace_ms)
{
	uint64_t by_ns = loop_mono_ns(f->loop) + grace_ms * 1000000ull;
	bool is_first = f->drain_by_ns == 0;
	if (is_first || by_ns < f->drain_by_ns)
		f->drain_by_ns = by_ns;
	if (is_first)
		h2o_context_request_shutdown(&f->h2o);
	uv_timer_start(&f->watch, on_watch, 0, WATCH_MS);
}
