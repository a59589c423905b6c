/* The server as a whole: made before its loops run, drained while they run, destroyed after they have ended.
 */
#include "http/interpose.h"
#include "http/request_syntax.h"
#include "http/server_private.h"
#include "runtime/log.h"
#include <openssl/ssl.h>
#include <stdlib.h>

enum {
	FRONT_MAILBOX = 65536,
	/* The watch has its own timeouts, which tell an idle connection from a slow one and are counted. h2o's come later, as a
	 * last resort. */
	H2O_TIMEOUT_SLACK_MS = 60000,
};

/* Receives connections for its loop, and keeps the loop alive until they have gone. */
struct front_actor {
	struct actor base;
	struct http_front *front; /* NULL: the server has been destroyed before the loop ran */
};

#ifdef FABRA_ASAN
/* h2o keeps free buffers per thread and has no way to release them when a loop's thread ends. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:h2o_mem_alloc_recycle\n";
}
#endif

/* ---- one front's actor ---- */
static int front_init(struct actor *a, void *arg)
{
	struct front_actor *fa = (struct front_actor *)a;
	fa->front = arg;
	fa->front->actor = fa;
	return 0;
}

static void front_on_message(struct actor *a, struct msg *m)
{
	struct http_front *f = ((struct front_actor *)a)->front;
	switch (m->kind) {
	case HTTP_ACCEPTED:
		accept_received(f, m);
		break;
	case HTTP_DRAIN:
	case RT_STOP:
		if (f == &f->server->fronts[0])
			accept_stop(f->server);
		f->is_stopping = f->is_stopping || m->kind == RT_STOP;
		atomic_store(&f->server->draining, true);
		if (f->is_drained && f->is_stopping)
			rt_stop(a);
		else
			watch_drain(f, m->kind == RT_STOP ? 0 : f->server->config.shutdown_grace_ms);
		break;
	default:
		break;
	}
}

static void front_finish(struct actor *a)
{
	struct http_front *f = ((struct front_actor *)a)->front;
	if (f == NULL)
		return;
	f->actor = NULL;
	if (f == &f->server->fronts[0])
		accept_stop(f->server);
	uv_close((uv_handle_t *)&f->watch, NULL);
}

static const struct actor_class front_class = {
	.name = "http front",
	.size = sizeof(struct front_actor),
	.mailbox_len_max = FRONT_MAILBOX,
	.init = front_init,
	.on_message = front_on_message,
	.finish = front_finish,
};

void front_drained(struct http_front *f)
{
	struct http_server *s = f->server;
	if (!f->is_drained) {
		f->is_drained = true;
		bool is_last = atomic_fetch_sub(&s->undrained, 1) == 1;
		if (is_last && s->drained != NULL)
			s->drained(s->drained_arg);
	}
	if (f->is_stopping && f->actor != NULL)
		rt_stop(&f->actor->base);
}

/* ---- making ---- */
static void config_fill(struct http_server *s, const struct http_config *given)
{
	struct http_config *c = &s->config;
	*c = *given;
	c->body_bytes_max = c->body_bytes_max ? c->body_bytes_max : 1u << 20;
	c->buffered_bytes_max = c->buffered_bytes_max ? c->buffered_bytes_max : 256u << 20;
	c->connections_max = c->connections_max ? c->connections_max : 10000;
	c->descriptors_max = c->descriptors_max ? c->descriptors_max : c->connections_max + 256;
	c->in_flight_per_connection_max = c->in_flight_per_connection_max ? c->in_flight_per_connection_max
									  : STREAMS_MAX;
	c->in_flight_max = c->in_flight_max ? c->in_flight_max : 4096;
	c->request_timeout_ms = c->request_timeout_ms ? c->request_timeout_ms : 5000;
	c->shutdown_grace_ms = c->shutdown_grace_ms ? c->shutdown_grace_ms : 10000;
	c->handshake_timeout_ms = c->handshake_timeout_ms ? c->handshake_timeout_ms : 10000;
	c->read_timeout_ms = c->read_timeout_ms ? c->read_timeout_ms : 30000;
	c->stall_timeout_ms = c->stall_timeout_ms ? c->stall_timeout_ms : 15000;
	c->reply_rate_min = c->reply_rate_min ? c->reply_rate_min : 1024;
	c->idle_timeout_ms = c->idle_timeout_ms ? c->idle_timeout_ms : 60000;
	c->control_frames_max = c->control_frames_max ? c->control_frames_max : 1000;
	c->host = c->host != NULL && c->host[0] != '\0' ? c->host : "127.0.0.1";
	if (c->api_key != NULL && c->api_key[0] != '\0') {
		s->api_key = str_from(strdup(c->api_key));
		observe_key_name(s->api_key, s->api_key_name);
	}
}

static bool routes_make(struct http_server *s, struct buf *ret_why)
{
	s->routes_len = system_routes_len + s->config.routes_count;
	s->routes = calloc(s->routes_len, sizeof *s->routes);
	s->query_names = calloc(s->routes_len, sizeof *s->query_names);
	CHECK(s->routes != NULL && s->query_names != NULL);
	memcpy(s->routes, system_routes, system_routes_len * sizeof *s->routes);
	if (s->config.routes_count > 0)
		memcpy(s->routes + system_routes_len, s->config.routes, s->config.routes_count * sizeof *s->routes);
	s->router = router_create();
	for (size_t i = 0; i < s->routes_len; i++)
		if (!router_add(s->router, s->routes[i].method, s->routes[i].path, (unsigned)i, ret_why))
			return false;
	if (!openapi_make(s, ret_why))
		return false;
	docs_page_make(s);
	return true;
}

static bool tls_make(struct http_server *s, struct buf *ret_why)
{
	const char *cert = s->config.tls_cert_file, *key = s->config.tls_key_file;
	if (cert == NULL && key == NULL)
		return true;
	if (cert == NULL || key == NULL) {
		buf_printf(ret_why, "TLS needs both a certificate and a key; only the %s is given",
			   cert != NULL ? "certificate" : "key");
		return false;
	}
	s->tls = tls_create(cert, key, ret_why);
	return s->tls != NULL;
}

static void h2o_make(struct http_server *s)
{
	interpose_init();
	hooks_init();
	syntax_init();
	h2o_config_init(&s->h2o);
	s->h2o.server_name = h2o_iovec_init(NULL, 0);
	/* A byte too many shows that a body is too large. More of it is not kept (conn_hooks.c). */
	s->h2o.max_request_entity_size = s->config.body_bytes_max + 1;
	s->h2o.handshake_timeout = (uint64_t)s->config.handshake_timeout_ms + H2O_TIMEOUT_SLACK_MS;
	s->h2o.http1.req_timeout = (uint64_t)s->config.idle_timeout_ms + s->config.read_timeout_ms +
				   H2O_TIMEOUT_SLACK_MS +
				   (uint64_t)s->h2o.max_request_entity_size /
				       64;                     /* the watch allows a second for 64 KiB */
	s->h2o.http2.idle_timeout = s->config.idle_timeout_ms; /* h2o's own: only it can send GOAWAY */
	h2o_hostconf_t *host = h2o_config_register_host(&s->h2o, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
	h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = exchange_on_request;
	h2o_compress_args_t compress = { .min_size = 0, .gzip = { .quality = 1 }, .brotli = { .quality = -1 } };
	h2o_compress_register(path, &compress);
	library_errors_register(&host->fallback_path);
	/* h2o would write them to standard error, from the I/O loop. */
	path->error_log.emit_request_errors = host->fallback_path.error_log.emit_request_errors = 0;
}

static void front_make(struct http_server *s, struct http_front *f, struct loop *loop)
{
	f->server = s;
	f->loop = loop;
	f->id_next = loop_random(loop);
	f->metrics = observe_routes_create(s);
	h2o_context_init(&f->h2o, loop_uv(loop), &s->h2o);
	f->accept_ctx = (h2o_accept_ctx_t){ .ctx = &f->h2o, .hosts = s->h2o.hosts, .ssl_ctx = s->tls };
	watch_init(f);
	loop_on_turn_end(loop, exchange_run_gathered, f);
	f->ref = rt_spawn(loop, &front_class, f);
	CHECK(f->actor != NULL);
}

static void parts_free(struct http_server *s)
{
	router_destroy(s->router);
	for (size_t i = 0; s->query_names != NULL && i < s->routes_len; i++)
		free(s->query_names[i]);
	free(s->query_names);
	free(s->routes);
	buf_finish(&s->openapi);
	buf_finish(&s->docs);
	SSL_CTX_free(s->tls);
	free((char *)s->api_key.p);
	free(s->fronts);
	free(s);
}

struct http_server *http_server_create(const struct http_config *config, struct loop *const *loops,
				       unsigned loops_count, struct buf *ret_why)
{
	CHECK(loops_count > 0);
	struct http_server *s = calloc(1, sizeof *s);
	CHECK(s != NULL);
	config_fill(s, config);
	observe_init(s);
	if (!routes_make(s, ret_why) || !tls_make(s, ret_why) || !accept_open(s, ret_why)) {
		parts_free(s);
		return NULL;
	}
	h2o_make(s);
	s->fronts_len = loops_count;
	s->fronts = aligned_alloc(alignof(struct http_front), loops_count * sizeof *s->fronts);
	CHECK(s->fronts != NULL);
	memset(s->fronts, 0, loops_count * sizeof *s->fronts);
	atomic_store(&s->undrained, loops_count);
	for (unsigned i = 0; i < loops_count; i++)
		front_make(s, &s->fronts[i], loops[i]);
	accept_start(s);
	return s;
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

/* ---- the end ---- */
void http_server_drain(struct http_server *s, void (*done)(void *arg), void *arg)
{
	if (atomic_exchange(&s->draining, true))
		return;
	s->drained = done;
	s->drained_arg = arg;
	struct loop *here = loop_current();
	for (unsigned i = 0; i < s->fronts_len; i++) {
		struct http_front *f = &s->fronts[i];
		if (here != NULL)
			rt_send(here, f->ref, rt_msg_new(here, HTTP_DRAIN));
		else
			loop_post(f->ref, loop_msg_new(HTTP_DRAIN));
	}
}

static void close_what_h2o_let_go(struct http_front *f)
{
	for (struct http_conn *c = f->conns, *next; c != NULL; c = next) {
		next = c->next;
		if (c->is_let_go)
			hooks_close_at_once(c->sock);
	}
}

/* What a forced end of the loop left open is closed here, on the caller's thread: nobody else runs the loop
 * now. */
static void front_destroy(struct http_front *f)
{
	if (f->actor != NULL) {
		struct front_actor *fa = f->actor;
		front_finish(&fa->base);
		fa->front = NULL;
		rt_stop(&fa->base);
	}
	for (struct http_conn *c = f->conns; c != NULL; c = c->next)
		conn_cut(c);
	for (int i = 0; i < 1000 && f->conns != NULL; i++) {
		uv_run(loop_uv(f->loop), UV_RUN_NOWAIT);
		close_what_h2o_let_go(f);
	}
	/* The second GOAWAY would follow a second after the first; its timer may still be set. */
	if (h2o_timeout_is_linked(&f->h2o.http2._graceful_shutdown_timeout))
		h2o_timeout_unlink(&f->h2o.http2._graceful_shutdown_timeout);
	h2o_context_dispose(&f->h2o);
	exchange_pool_finish(f);
	buf_finish(&f->rendered);
	observe_routes_destroy(f->server, f->metrics);
}

void http_server_destroy(struct http_server *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < s->fronts_len; i++)
		front_destroy(&s->fronts[i]);
	h2o_config_dispose(&s->h2o);
	parts_free(s);
}
