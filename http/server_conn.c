/* Connections of one loop, from an accepted descriptor to h2o's on_close. */
#include "http/server_private.h"
#include "runtime/log.h"
#include <stdlib.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ABANDONED_MIN = 100 };

static void count_connections(struct http_server *s)
{
	uint32_t n = 0;
	for (unsigned i = 0; i < s->fronts_len; i++)
		n += atomic_load_explicit(&s->fronts[i].connections, memory_order_relaxed);
	metrics_set(s->counters.connections, n);
}

void conn_release(struct http_conn *c)
{
	if (c->sock != NULL || c->in_flight > 0)
		return;
	hooks_forget(c);
	free(c);
}

/* Its place in the table is free as soon as it is cut, before h2o has closed it. */
static void slot_release(struct http_conn *c)
{
	if (!c->has_slot)
		return;
	c->has_slot = false;
	atomic_fetch_sub_explicit(&c->front->connections, 1, memory_order_relaxed);
	count_connections(c->front->server);
}

void conn_on_close(void *conn)
{
	struct http_conn *c = conn;
	struct http_front *f = c->front;
	conduct_forget(c);
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		f->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->sock = NULL;
	atomic_fetch_sub_explicit(&f->server->descriptors, 1, memory_order_relaxed);
	slot_release(c);
	conn_release(c);
}

static void on_handle_closed(uv_handle_t *handle)
{
	free(handle);
}

void conn_adopt(struct http_front *f, int fd)
{
	uv_tcp_t *tcp = h2o_mem_alloc(sizeof *tcp);
	struct http_conn *c = calloc(1, sizeof *c);
	CHECK(c != NULL);
	uv_tcp_init(loop_uv(f->loop), tcp);
	int error = uv_tcp_open(tcp, fd);
	if (error != 0) {
		log_line(LOG_WARNING, "http.server", "a connection could not be adopted",
			 LOG_CSTR("error", uv_strerror(error)));
		close(fd);
		atomic_fetch_sub_explicit(&f->server->descriptors, 1, memory_order_relaxed);
		atomic_fetch_sub_explicit(&f->connections, 1, memory_order_relaxed);
		uv_close((uv_handle_t *)tcp, on_handle_closed);
		free(c);
		return;
	}
	uv_tcp_nodelay(tcp, 1);
	c->front = f;
	c->has_slot = true;
	c->is_encrypted = f->server->tls != NULL;
	c->useful_ns = loop_mono_ns(f->loop);
	frame_budget_init(&c->budget, f->server->config.control_frames_max, c->useful_ns);
	c->stream = (uv_stream_t *)tcp;
	c->sock = h2o_uv_socket_create((uv_stream_t *)tcp, on_handle_closed);
	c->sock->on_close.cb = conn_on_close;
	c->sock->on_close.data = c;
	atomic_fetch_add_explicit(&f->evictable, 1, memory_order_relaxed);
	c->next = f->conns;
	if (c->next != NULL)
		c->next->prev = c;
	f->conns = c;
	count_connections(f->server);
	watch_start(f);
	h2o_accept(&f->accept_ctx, c->sock);
}

/* shutdown(2), never h2o_socket_close: h2o may be on the stack with this connection. It closes it when its next read or
 * write fails. */
void conn_cut(struct http_conn *c)
{
	if (c->sock == NULL || c->is_cut)
		return;
	c->is_cut = true;
	c->ending_ns = loop_mono_ns(c->front->loop);
	slot_release(c);
	shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
}

/* At most one line a second: a flood of connections must not become a flood of log lines. */
static void log_cut(struct http_conn *c, unsigned kind)
{
	struct http_front *f = c->front;
	uint64_t now_ns = loop_mono_ns(f->loop);
	if (f->cut_logged_ns != 0 && now_ns - f->cut_logged_ns < 1000000000u)
		return;
	f->cut_logged_ns = now_ns;
	log_line(LOG_WARNING, "http.server", "a connection was cut; more of a second are only counted",
		 LOG_CSTR("kind", observe_cut_name(kind)), LOG_INT("requests", c->requests),
		 LOG_INT("frames", c->frames), LOG_INT("held_bytes", (int64_t)c->held_bytes));
}

void conn_count_cut(struct http_conn *c, unsigned kind)
{
	metrics_add(c->front->server->counters.cut_connections[kind], 1);
	log_cut(c, kind);
	if (c->ending_ns == 0)
		c->ending_ns = loop_mono_ns(c->front->loop);
	slot_release(c);
}

/* Unread replies would stay in the kernel's send queue: close with a reset instead, which the client sees at once. */
static void drop_unread(const struct http_conn *c)
{
	struct linger none = { .l_onoff = 1 };
	int fd = h2o_socket_get_fd(c->sock), unread = 0;
	if (ioctl(fd, SIOCOUTQ, &unread) == 0 && unread > 0)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void conn_cut_for(struct http_conn *c, unsigned kind)
{
	if (c->sock == NULL || c->is_cut)
		return;
	drop_unread(c);
	if (c->ending_ns == 0)
		conn_count_cut(c, kind);
	conn_cut(c);
}

/* Rapid reset: over half of its deferred requests were cancelled. The limit of streams does not bound them, because a reset
 * frees its stream at once. */
void conn_abandoned(struct http_conn *c)
{
	c->abandoned++;
	if (c->abandoned >= ABANDONED_MIN && c->abandoned * 2 >= c->waited)
		conn_cut_for(c, FRAME_RESET_FLOOD);
}
