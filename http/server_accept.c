/* The one listening socket. It is polled on the first loop, which hands each accepted descriptor to the loop
 * with the fewest connections; the count is raised before the hand-over and lowered when h2o closes the
 * connection, so a burst spreads evenly.
 *
 * A level-triggered poll would spin when accept4 cannot make a descriptor (EMFILE). One descriptor is kept
 * in reserve for that: it is closed, the waiting client is accepted and closed in its place, and the reserve
 * is taken again. When even that fails the poll pauses until the next watch. It should not come to that: a connection that is cut
 * gives its place in the table to another before it is closed, so descriptors are counted too, and when those that connections may
 * have are taken nobody is accepted until the next watch. The stores keep theirs. */
#include "http/server_private.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 64, BACKLOG = 4096 };

struct http_accepted {
	struct msg head;
	struct http_front *front; /* borrows; the server outlives its loops */
	int fd;                   /* owned until conn_adopt */
	bool takes_a_place;       /* the table was full: another connection of that loop must go */
};
MSG_SIZE_CHECK(http_accepted);

/* ---- opening ---- */
static int open_one(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol), on = 1;
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage address = { 0 };
	socklen_t n = sizeof address;
	getsockname(fd, (struct sockaddr *)&address, &n);
	return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
						   : ((struct sockaddr_in *)&address)->sin_port);
}

bool accept_open(struct http_server *s, struct buf *ret_why)
{
	const char *host = s->config.host;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
	char port[6];
	snprintf(port, sizeof port, "%u", s->config.port);
	int error = getaddrinfo(host, port, &hints, &found);
	if (error != 0) {
		buf_printf(ret_why, "cannot listen on %s: %s; give a numeric address or a name of this machine", host,
			   gai_strerror(error));
		return false;
	}
	s->listen_fd = -1;
	for (struct addrinfo *a = found; a != NULL && s->listen_fd < 0; a = a->ai_next)
		s->listen_fd = open_one(a);
	int why = errno;
	freeaddrinfo(found);
	if (s->listen_fd < 0) {
		buf_printf(ret_why, "cannot listen on %s port %s: %s%s", host, port, strerror(why),
			   why == EADDRINUSE ? "; another program has the port, choose one with --port" : "");
		return false;
	}
	s->port = port_of(s->listen_fd);
	s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return true;
}

/* ---- limits ---- */
void conn_refused(struct http_server *s, const char *why)
{
	static _Thread_local uint64_t logged_ns;
	metrics_add(s->counters.refused_connections, 1);
	uint64_t now_ns = clock_mono_ns();
	if (logged_ns != 0 && now_ns - logged_ns < 1000000000u)
		return;
	logged_ns = now_ns;
	log_line(LOG_WARNING, "http.server", "connections are refused", LOG_CSTR("reason", why));
}

static void close_accepted(struct http_server *s, int fd)
{
	close(fd);
	atomic_fetch_sub_explicit(&s->descriptors, 1, memory_order_relaxed);
}

/* A browser or curl shows this; an HTTP/2 or TLS client sees a protocol error and the end. */
static void refuse_with_503(struct http_server *s, int fd)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
				   "Retry-After: 1\r\nConnection: close\r\nContent-Length: 59\r\n\r\n"
				   "{\"detail\":\"the server is at its limit of open connections\"}";
	char ignored[4096];
	if (s->tls == NULL) {
		/* What the client has sent already would turn close() into a reset that eats the reply. */
		while (recv(fd, ignored, sizeof ignored, MSG_DONTWAIT) > 0)
			;
		(void)!send(fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
	}
	close_accepted(s, fd);
	conn_refused(s, "connections_max");
}

static uint32_t connections_of(const struct http_server *s)
{
	uint32_t n = 0;
	for (unsigned i = 0; i < s->fronts_len; i++)
		n += atomic_load_explicit(&s->fronts[i].connections, memory_order_relaxed);
	return n;
}

static void pause_listening(struct http_server *s)
{
	uv_poll_stop(&s->listen_poll);
	s->listen_paused = true;
	watch_start(&s->fronts[0]);
}

static bool make_room_for_one(struct http_server *s)
{
	if (s->reserve_fd < 0)
		return false;
	close(s->reserve_fd);
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	conn_refused(s, "no file descriptors left; raise the limit (ulimit -n) or lower connections_max");
	return fd >= 0 && s->reserve_fd >= 0;
}

/* ---- accepting ---- */
static struct http_front *least_loaded(struct http_server *s)
{
	struct http_front *best = NULL;
	uint32_t best_load = UINT32_MAX;
	unsigned first = s->accept_turn++; /* of loops with equal loads, another is the first each time */
	for (unsigned i = 0; i < s->fronts_len; i++) {
		struct http_front *f = &s->fronts[(first + i) % s->fronts_len];
		uint32_t load = atomic_load_explicit(&f->connections, memory_order_relaxed);
		if (load < best_load) {
			best = f;
			best_load = load;
		}
	}
	return best;
}

static void accepted_dispose(struct msg *m)
{
	struct http_accepted *a = (struct http_accepted *)m;
	close_accepted(a->front->server, a->fd);
	atomic_fetch_sub_explicit(&a->front->connections, 1, memory_order_relaxed);
}

static void take_in(struct http_front *f, int fd, bool takes_a_place)
{
	if (!takes_a_place || conduct_evict(f)) {
		conn_adopt(f, fd);
		return;
	}
	atomic_fetch_sub_explicit(&f->connections, 1, memory_order_relaxed);
	refuse_with_503(f->server, fd);
}

static void hand_over(struct http_front *f, int fd, bool takes_a_place)
{
	struct http_server *s = f->server;
	struct http_front *here = &s->fronts[0];
	atomic_fetch_add_explicit(&f->connections, 1, memory_order_relaxed);
	if (f == here) {
		take_in(f, fd, takes_a_place);
		return;
	}
	struct http_accepted *m = rt_msg_new(here->loop, HTTP_ACCEPTED);
	m->head.dispose = accepted_dispose;
	m->front = f;
	m->fd = fd;
	m->takes_a_place = takes_a_place;
	if (!rt_send(here->loop, f->ref, &m->head))
		conn_refused(s, "a loop takes no messages");
}

void accept_received(struct http_front *f, struct msg *m)
{
	struct http_accepted *a = (struct http_accepted *)m;
	m->dispose = NULL;
	take_in(f, a->fd, a->takes_a_place);
}

/* The table is full: the loop with most connections that can be spared takes the new one for one of them. */
static void replace_one(struct http_server *s, int fd)
{
	struct http_front *best = NULL;
	uint32_t most = 0;
	for (unsigned i = 0; i < s->fronts_len; i++) {
		uint32_t n = atomic_load_explicit(&s->fronts[i].evictable, memory_order_relaxed);
		if (n > most) {
			best = &s->fronts[i];
			most = n;
		}
	}
	if (best == NULL) {
		refuse_with_503(s, fd);
		return;
	}
	/* An estimate, written here by the acceptor only; the loop counts anew at its next look. */
	atomic_store_explicit(&best->evictable, most - 1, memory_order_relaxed);
	hand_over(best, fd, true);
}

static void on_listen_readable(uv_poll_t *handle, int status, int events)
{
	struct http_server *s = handle->data;
	(void)events;
	for (int i = 0; i < ACCEPT_BATCH && status == 0 && s->is_listening; i++) {
		if (atomic_load_explicit(&s->descriptors, memory_order_relaxed) >= s->config.descriptors_max) {
			pause_listening(s); /* those that are cut are closed meanwhile; who waits is in the backlog */
			return;
		}
		int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			atomic_fetch_add_explicit(&s->descriptors, 1, memory_order_relaxed);
			if (connections_of(s) >= s->config.connections_max)
				replace_one(s, fd);
			else
				hand_over(least_loaded(s), fd, false);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
			continue;
		if (errno != EMFILE && errno != ENFILE)
			log_line(LOG_ERROR, "http.server", "accept failed", LOG_CSTR("error", strerror(errno)));
		else if (make_room_for_one(s))
			continue;
		pause_listening(s);
		return;
	}
}

void accept_start(struct http_server *s)
{
	CHECK(uv_poll_init(loop_uv(s->fronts[0].loop), &s->listen_poll, s->listen_fd) == 0);
	s->listen_poll.data = s;
	s->is_listening = true;
	uv_poll_start(&s->listen_poll, UV_READABLE, on_listen_readable);
}

void accept_resume(struct http_server *s)
{
	if (!s->listen_paused || !s->is_listening)
		return;
	if (s->reserve_fd < 0)
		s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (s->reserve_fd < 0)
		return; /* still none; the watch comes again */
	s->listen_paused = false;
	uv_poll_start(&s->listen_poll, UV_READABLE, on_listen_readable);
}

void accept_stop(struct http_server *s)
{
	if (!s->is_listening)
		return;
	s->is_listening = false;
	uv_close((uv_handle_t *)&s->listen_poll, NULL);
	close(s->listen_fd);
	if (s->reserve_fd >= 0)
		close(s->reserve_fd);
	s->listen_fd = s->reserve_fd = -1;
}
