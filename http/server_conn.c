/* Connections of one loop, from an accepted descriptor to h2o's on_close. */
#include "http/server_private.h"
#include "runtime/log.h"
#include <stdlib.h>
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
	if (c->sock == NULL && c->in_flight == 0)
		free(c);
}

static void on_close(void *arg)
{
	struct http_conn *c = arg;
	struct http_front *f = c->front;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		f->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->sock = NULL;
	atomic_fetch_sub_explicit(&f->connections, 1, memory_order_relaxed);
	count_connections(f->server);
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
		atomic_fetch_sub_explicit(&f->connections, 1, memory_order_relaxed);
		uv_close((uv_handle_t *)tcp, on_handle_closed);
		free(c);
		return;
	}
	uv_tcp_nodelay(tcp, 1);
	c->front = f;
	c->sock = h2o_uv_socket_create((uv_stream_t *)tcp, on_handle_closed);
	c->sock->on_close.cb = on_close;
	c->sock->on_close.data = c;
	c->next = f->conns;
	if (c->next != NULL)
		c->next->prev = c;
	f->conns = c;
	count_connections(f->server);
	watch_start(f);
	h2o_accept(&f->accept_ctx, c->sock);
}

/* Never h2o_socket_close: h2o may be in the middle of this connection. It learns of the end by reading or
 * writing. */
void conn_cut(struct http_conn *c)
{
	if (c->sock == NULL || c->is_cut)
		return;
	c->is_cut = true;
	shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
}

/* A reset frees its stream at once, so the limit of streams does not bound the work a client can start and
 * drop. */
void conn_abandoned(struct http_conn *c)
{
	c->abandoned++;
	if (c->abandoned < ABANDONED_MIN || c->abandoned * 2 < c->waited || c->is_cut)
		return;
	metrics_add(c->front->server->counters.cut_connections, 1);
	log_line(LOG_WARNING, "http.server", "a connection was cut: it keeps starting requests and dropping them",
		 LOG_INT("requests", c->waited), LOG_INT("dropped", c->abandoned));
	conn_cut(c);
}
