/* redis_conn.c -- one connection to Redis, of one I/O loop: hiredis's parser, buffers and TLS over a socket of ours.
 *
 *     DOWN --pause over--> LOOKING_UP --> CONNECTING --> SHAKING_HANDS --> GREETING --> READY
 *       ^                  (a name only)                 (TLS only)                      |
 *       +----------- any failure, a poll error, or a server that owes an answer and is silent
 *
 * A call waits, is sent, and is answered in the order of sending. What goes out in a turn goes out in one write at its end. What was
 * sent when the connection is lost fails: nobody knows what of it was done. What waits fails hold_ms after the loss, and what comes
 * later fails at once. Of hiredis only what needs no callback is used: its asynchronous context would stop the process at a reply
 * that nobody asked for. Bounds: calls_max, bytes_max, REDIS_REPLY_BYTES_MAX. */
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/metrics.h"
#include "store/redis/redis_private.h"
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	BACKOFF_MS_MIN = 20,
	WATCH_MS = 50,
	OUT_BYTES = 256 << 10, /* handed to hiredis at once, which moves what a socket did not take */
	READ_BYTES = 16 << 10, /* what hiredis reads at once */
	READS_MAX = 32,        /* of a turn */
	PENDING_BYTES_MAX = REDIS_REPLY_BYTES_MAX,
	ELEMENTS_MAX = 1 << 20,
};
enum timer { TIMER_PAUSE = 1, TIMER_CONNECT, TIMER_WATCH };

struct conn;
struct sock { /* on the heap: libuv has the handle until its close callback */
	uv_poll_t poll;
	struct conn *conn; /* NULL once given up */
	int events;
};
struct queue {
	struct redis_call *first, *last; /* owned */
};
struct conn {
	struct actor base;
	struct redis *redis; /* borrows */
	enum redis_state state;
	struct sock *sock;
	int fd;                /* -1; hiredis's once context is set */
	redisContext *context; /* owned; NULL until connected */
	SSL *ssl;              /* context's */
	struct queue waiting, sent;
	struct redis_call *sending; /* the last of sent, when only a part of it has been handed over */
	uint32_t calls;             /* of clients, in both */
	size_t bytes;
	uint64_t down_since_ns, heard_ns;
	uint32_t attempts; /* since the last READY */
	uint64_t pause_timer, connect_timer, watch_timer;
	uint64_t look_up_op;
	metric_id m_calls, m_failed, m_refused, m_lost, m_connects, m_seconds;
};

/* ---- queues and answers ---- */

static void push(struct queue *q, struct redis_call *c)
{
	c->next = NULL;
	if (q->last)
		q->last->next = c;
	else
		q->first = c;
	q->last = c;
}

static struct redis_call *pop(struct queue *q)
{
	struct redis_call *c = q->first;
	q->first = c->next;
	if (q->first == NULL)
		q->last = NULL;
	return c;
}

/* Moves call. */
static void end_call(struct conn *c, struct redis_call *call, int status, const char *why)
{
	struct msg *request = call->request;
	if (request == NULL) { /* the greeting */
		redis_call_free(call);
		return;
	}
	c->calls--;
	c->bytes -= call->commands.n;
	call->request = NULL;
	call->why = why;
	metrics_add(status == RT_OK ? c->m_calls : c->m_failed, 1);
	if (status == RT_OK)
		metrics_observe(c->m_seconds, (double)(c->heard_ns - call->sent_ns) / 1e9);
	struct redis_call_msg *reply = redis_call_msg_new(c->base.loop, REDIS_DONE, call);
	reply->head.status = status;
	rt_reply(&c->base, request, &reply->head);
}

static void end_all(struct conn *c, struct queue *q, const char *why)
{
	while (q->first)
		end_call(c, pop(q), RT_EIO, why);
}

/* ---- losing it ---- */

static void on_sock_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void close_sock(struct conn *c)
{
	if (c->sock) {
		c->sock->conn = NULL;
		uv_close((uv_handle_t *)&c->sock->poll,
			 on_sock_closed); /* before the descriptor: its number may come again */
	}
	if (c->context)
		redisFree(c->context);
	else if (c->fd >= 0)
		close(c->fd);
	c->sock = NULL;
	c->context = NULL;
	c->ssl = NULL;
	c->fd = -1;
}

static void stop_timer(struct conn *c, uint64_t *timer)
{
	if (*timer)
		rt_timer_stop(&c->base, *timer);
	*timer = 0;
}

static void set_state(struct conn *c, enum redis_state state, const char *reason)
{
	c->state = state;
	redis_note_state(c->redis, c->base.loop, state, reason);
}

static void start_watch(struct conn *c)
{
	if (c->watch_timer == 0)
		c->watch_timer = rt_timer_start(&c->base, WATCH_MS, TIMER_WATCH);
}

static void lose(struct conn *c, const char *reason)
{
	if (c->state == REDIS_DOWN)
		return;
	if (c->state == REDIS_READY) {
		c->down_since_ns = clock_mono_ns();
		metrics_add(c->m_lost, 1);
	}
	close_sock(c);
	rt_ask_cancel(&c->base, c->look_up_op);
	c->look_up_op = 0;
	stop_timer(c, &c->connect_timer);
	uint64_t pause_ms = BACKOFF_MS_MIN;
	for (uint32_t i = 0; i < c->attempts && pause_ms < c->redis->config.backoff_ms_max; i++)
		pause_ms *= 2;
	if (pause_ms > c->redis->config.backoff_ms_max)
		pause_ms = c->redis->config.backoff_ms_max;
	c->attempts++;
	pause_ms = pause_ms / 2 + loop_random(c->base.loop) % (pause_ms / 2 + 1);
	set_state(c, REDIS_DOWN, reason);
	c->sending = NULL;
	end_all(c, &c->sent, "the connection to Redis was lost");
	stop_timer(c, &c->pause_timer);
	c->pause_timer = rt_timer_start(&c->base, pause_ms, TIMER_PAUSE);
	start_watch(c);
}

static void lose_by_error(struct conn *c, const char *what, const char *error)
{
	char reason[240];
	text_printf(reason, sizeof reason, "%s: %s", what, error);
	lose(c, reason);
}

/* ---- writing ---- */

static void on_poll(uv_poll_t *handle, int status, int events);

static void want(struct conn *c, int events)
{
	if (c->sock->events == events)
		return;
	c->sock->events = events;
	uv_poll_start(&c->sock->poll, events, on_poll);
}

/* The next to be sent: in `sent` from its first byte on, since its first commands may be answered before its last are out. */
static void begin_next(struct conn *c, uint64_t now_ns)
{
	struct redis_call *call = pop(&c->waiting);
	if (call->request && call->request->deadline_ns && call->request->deadline_ns <= now_ns) {
		end_call(c, call, RT_EIO, "too late");
		return;
	}
	call->sent_ns = now_ns;
	push(&c->sent, call);
	c->sending = call;
}

/* Gives hiredis what fits, whole calls or parts of one. */
static bool hand_over(struct conn *c, size_t room)
{
	uint64_t now_ns = clock_mono_ns();
	while (room && (c->sending || c->waiting.first)) {
		if (c->sending == NULL) {
			begin_next(c, now_ns);
			continue;
		}
		struct redis_call *call = c->sending;
		size_t n = call->commands.n - call->sent < room ? call->commands.n - call->sent : room;
		if (redisAppendFormattedCommand(c->context, call->commands.p + call->sent, n) != REDIS_OK)
			return false;
		call->sent += n;
		room -= n;
		if (call->sent == call->commands.n)
			c->sending = NULL;
	}
	return true;
}

static bool has_more_to_send(const struct conn *c)
{
	return c->sending || c->waiting.first;
}

static void flush(struct conn *c)
{
	int is_done = 1;
	if (c->sent.first == NULL)
		c->heard_ns = clock_mono_ns(); /* silence counts from the first question */
	for (int i = 0; i < READS_MAX; i++) {
		size_t n = sdslen(c->context->obuf);
		if (!hand_over(c, n < OUT_BYTES ? OUT_BYTES - n : 0)) {
			lose(c, "out of memory");
			return;
		}
		ERR_clear_error(); /* of others on this thread */
		if (redisBufferWrite(c->context, &is_done) != REDIS_OK) {
			lose_by_error(c, "Redis takes nothing more", c->context->errstr);
			return;
		}
		if (!is_done || !has_more_to_send(c))
			break;
	}
	want(c, is_done && !has_more_to_send(c) ? UV_READABLE : UV_READABLE | UV_WRITABLE);
	start_watch(c);
}

/* ---- greeting ---- */

static void greet(struct conn *c)
{
	const struct redis_url *u = &c->redis->url;
	struct redis_call *g = redis_call_new();
	char number[16];
	if (g && u->password[0]) {
		redis_call_begin(g, u->user[0] ? 3 : 2);
		redis_call_arg(g, STR("AUTH"));
		if (u->user[0])
			redis_call_arg(g, str_from(u->user));
		redis_call_arg(g, str_from(u->password));
	}
	if (g && u->database) {
		redis_call_begin(g, 2);
		redis_call_arg(g, STR("SELECT"));
		redis_call_arg(g, str_of(number, text_printf(number, sizeof number, "%u", u->database)));
	}
	if (g) {
		redis_call_begin(g, 1);
		redis_call_arg(g, STR("PING"));
	}
	if (g == NULL || !redis_call_seal(g)) {
		redis_call_free(g);
		lose(c, "out of memory");
		return;
	}
	set_state(c, REDIS_GREETING, NULL);
	push(&c->sent, g); /* before what waits */
	g->sent_ns = clock_mono_ns();
	if (redisAppendFormattedCommand(c->context, g->commands.p, g->commands.n) != REDIS_OK) {
		lose(c, "out of memory");
		return;
	}
	g->sent = g->commands.n;
	c->heard_ns = g->sent_ns;
	int is_done;
	ERR_clear_error();
	if (redisBufferWrite(c->context, &is_done) != REDIS_OK) {
		lose_by_error(c, "Redis takes nothing", c->context->errstr);
		return;
	}
	want(c, is_done ? UV_READABLE : UV_READABLE | UV_WRITABLE);
}

static void on_greeted(struct conn *c, const struct redis_call *g)
{
	for (uint32_t i = 0; i < g->count; i++) {
		if (g->replies[i].type != REDIS_ERROR)
			continue;
		enum redis_trouble t = redis_trouble_of(g->replies[i].text);
		char reason[240];
		text_printf(reason, sizeof reason, "%s (%.*s)", redis_trouble_text(t),
			    (int)(g->replies[i].text.n < 80 ? g->replies[i].text.n : 80), g->replies[i].text.p);
		lose(c, reason);
		return;
	}
	stop_timer(c, &c->connect_timer);
	c->attempts = 0;
	metrics_add(c->m_connects, 1);
	set_state(c, REDIS_READY, NULL);
	flush(c);
}

/* ---- connecting ---- */

static void shake_hands(struct conn *c)
{
	ERR_clear_error();
	int done = SSL_do_handshake(c->ssl);
	int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, done);
	if (error == SSL_ERROR_NONE) {
		greet(c);
	} else if (error == SSL_ERROR_WANT_READ) {
		want(c, UV_READABLE);
	} else if (error == SSL_ERROR_WANT_WRITE) {
		want(c, UV_READABLE | UV_WRITABLE);
	} else {
		char why[240];
		redis_tls_why(c->ssl, why, sizeof why);
		lose(c, why);
	}
}

static void on_connected(struct conn *c)
{
	int on = 1;
	if (!c->redis->url.is_unix)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	c->context = redisConnectWithOptions(
	    &(redisOptions){ .type = REDIS_CONN_USERFD,
			     .options = REDIS_OPT_NONBLOCK | REDIS_OPT_NO_PUSH_AUTOFREE,
			     .endpoint.fd = c->fd });
	if (c->context == NULL) {
		lose(c, "out of memory");
		return;
	}
	c->context->reader->fn = &redis_reply_functions;
	c->context->reader->maxelements = ELEMENTS_MAX;
	if (c->redis->tls == NULL) {
		greet(c);
		return;
	}
	SSL *ssl = redis_tls_begin(c->redis);
	ERR_clear_error();
	if (ssl == NULL || redisInitiateSSL(c->context, ssl) != REDIS_OK) {
		char why[240] = "out of memory";
		if (ssl)
			redis_tls_why(ssl, why, sizeof why);
		SSL_free(ssl); /* on failure it is not the context's */
		lose(c, why);
		return;
	}
	c->ssl = ssl;
	set_state(c, REDIS_SHAKING_HANDS, NULL);
	shake_hands(c);
}

static void connect_to(struct conn *c, const struct redis_address *to)
{
	struct sock *s = calloc(1, sizeof *s);
	c->fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s == NULL || c->fd < 0 || (connect(c->fd, &to->any, to->len) != 0 && errno != EINPROGRESS) ||
	    uv_poll_init(loop_uv(c->base.loop), &s->poll, c->fd) != 0) {
		free(s);
		lose_by_error(c, "Redis cannot be reached", strerror(errno));
		return;
	}
	s->conn = c;
	s->poll.data = s;
	c->sock = s;
	set_state(c, REDIS_CONNECTING, NULL);
	want(c, UV_WRITABLE);
}

static void begin(struct conn *c)
{
	struct redis_address address;
	c->connect_timer = rt_timer_start(&c->base, c->redis->config.connect_ms, TIMER_CONNECT);
	if (redis_address_of(&c->redis->url, &address)) {
		c->state = REDIS_CONNECTING;
		connect_to(c, &address);
		return;
	}
	set_state(c, REDIS_LOOKING_UP, NULL);
	uint64_t until_ns = clock_mono_ns() + c->redis->config.connect_ms * 1000000ull;
	c->look_up_op = rt_ask(&c->base, c->redis->resolver, rt_msg_new(c->base.loop, REDIS_LOOK_UP), until_ns,
			       ACTOR_NONE);
}

static void on_found(struct conn *c, const struct msg *m)
{
	c->look_up_op = 0;
	const struct redis_addresses *found = m->kind == REDIS_FOUND ? ((const struct redis_look_up *)m)->found : NULL;
	if (found && found->count) /* another one at each attempt */
		connect_to(c, &found->all[c->attempts % found->count]);
	else
		lose_by_error(c, "the name of the Redis host cannot be looked up",
			      found ? found->why : "no answer in time");
}

/* ---- reading ---- */

static void take_replies(struct conn *c)
{
	const redisContext *context = c->context;
	while (c->context == context && c->sent.first) {
		struct redis_call *call = c->sent.first;
		void *reply = NULL;
		c->context->reader->privdata = call;
		if (redisGetReplyFromReader(c->context, &reply) != REDIS_OK) {
			lose_by_error(c, "Redis answers what is no answer", c->context->errstr);
			return;
		}
		if (reply == NULL)
			break;
		if (++call->answered < call->count)
			continue;
		if (call == c->sending) {
			lose(c, "Redis answers what nobody asked");
			return;
		}
		pop(&c->sent);
		if (call->request == NULL)
			on_greeted(c, call);
		end_call(c, call, RT_OK, NULL);
	}
	if (c->context != context)
		return;
	const redisReader *r = c->context->reader;
	if (c->sent.first == NULL && r->len > r->pos)
		lose(c, "Redis answers what nobody asked");
	else if (r->len - r->pos > PENDING_BYTES_MAX)
		lose(c, "Redis answers with a value that is too large");
}

static void on_readable(struct conn *c)
{
	const redisContext *context = c->context;
	for (int i = 0; i < READS_MAX && c->context == context; i++) {
		size_t before = c->context->reader->len;
		ERR_clear_error();
		if (redisBufferRead(c->context) != REDIS_OK) {
			lose_by_error(c, "Redis hung up", c->context->errstr);
			return;
		}
		size_t n = c->context->reader->len - before;
		if (n == 0)
			return;
		c->heard_ns = clock_mono_ns();
		take_replies(c);
		bool has_more = c->context == context && (n == READ_BYTES || (c->ssl && SSL_pending(c->ssl)));
		if (!has_more)
			return;
	}
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct conn *c = ((struct sock *)handle->data)->conn;
	if (c == NULL)
		return;
	int error = 0;
	socklen_t len = sizeof error;
	if (status < 0) { /* libuv says so once, and is silent then; what it was the socket knows */
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		lose_by_error(c,
			      c->state == REDIS_CONNECTING ? "Redis cannot be reached"
							   : "the connection to Redis broke",
			      error ? strerror(error) : uv_strerror(status));
		return;
	}
	switch (c->state) {
	case REDIS_CONNECTING:
		if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
			lose_by_error(c, "Redis cannot be reached", strerror(error));
		else
			on_connected(c);
		return;
	case REDIS_SHAKING_HANDS:
		shake_hands(c);
		return;
	case REDIS_GREETING:
	case REDIS_READY:
		if (events & UV_READABLE)
			on_readable(c);
		if ((events & UV_WRITABLE) && c->state == REDIS_READY)
			flush(c);
		return;
	case REDIS_ABSENT:
	case REDIS_DOWN:
	case REDIS_LOOKING_UP:
		return;
	}
}

/* ---- the actor ---- */

static bool is_holding(const struct conn *c)
{
	return c->state == REDIS_READY || clock_mono_ns() - c->down_since_ns < c->redis->config.hold_ms * 1000000ull;
}

static void on_call(struct conn *c, struct msg *m)
{
	struct redis_call *call = ((struct redis_call_msg *)m)->call;
	const struct redis_config *config = &c->redis->config;
	bool is_full = c->calls >= config->calls_max || (c->calls && c->bytes + call->commands.n > config->bytes_max);
	if (is_full || call->count == 0) {
		metrics_add(c->m_refused, 1);
		rt_refuse(&c->base, m, is_full ? RT_EFULL : RT_EINVAL);
		return;
	}
	((struct redis_call_msg *)m)->call = NULL;
	rt_msg_take(m);
	call->request = m;
	c->calls++;
	c->bytes += call->commands.n;
	if (is_holding(c))
		push(&c->waiting, call);
	else
		end_call(c, call, RT_EIO, "there is no connection to Redis");
}

static void on_watch(struct conn *c)
{
	uint64_t silent_ns = clock_mono_ns() - c->heard_ns;
	bool owes = c->sent.first || (c->context && sdslen(c->context->obuf));
	if (c->state == REDIS_READY && owes && silent_ns > c->redis->config.stall_ms * 1000000ull)
		lose(c, "Redis does not answer");
	if (!is_holding(c))
		end_all(c, &c->waiting, "there is no connection to Redis");
	if (c->waiting.first ||
	    (c->state == REDIS_READY && (c->sent.first || (c->context && sdslen(c->context->obuf)))))
		start_watch(c);
}

static void on_timer(struct conn *c, uint64_t op)
{
	switch ((enum timer)op) {
	case TIMER_PAUSE:
		c->pause_timer = 0;
		if (c->state == REDIS_DOWN)
			begin(c);
		return;
	case TIMER_CONNECT:
		c->connect_timer = 0;
		if (c->state != REDIS_READY && c->state != REDIS_DOWN)
			lose(c, "Redis does not answer in time to a new connection");
		return;
	case TIMER_WATCH:
		c->watch_timer = 0;
		on_watch(c);
		return;
	}
}

static void conn_on_message(struct actor *a, struct msg *m)
{
	struct conn *c = (struct conn *)a;
	if (c->look_up_op && m->op == c->look_up_op && m->kind != RT_TIMER) {
		on_found(c, m);
		return;
	}
	switch (m->kind) {
	case REDIS_CALL:
		on_call(c, m);
		return;
	case RT_TIMER:
		on_timer(c, m->op);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		return;
	}
}

static void conn_on_turn_end(struct actor *a)
{
	struct conn *c = (struct conn *)a;
	if (c->waiting.first == NULL)
		return;
	if (c->state == REDIS_READY)
		flush(c);
	else
		start_watch(c);
}

static metric_id counter(const char *name, const char *help)
{
	return metrics_series(metrics_family(METRIC_COUNTER, name, help, "", NULL), NULL);
}

static int conn_init(struct actor *a, void *arg)
{
	struct conn *c = (struct conn *)a;
	c->redis = arg;
	c->fd = -1;
	c->down_since_ns = clock_mono_ns();
	c->m_calls = counter("fabra_redis_calls", "Calls that Redis answered.");
	c->m_failed = counter("fabra_redis_calls_failed",
			      "Calls without an answer: the connection was lost, or there was none.");
	c->m_refused = counter("fabra_redis_calls_refused", "Calls refused since too many were under way.");
	c->m_lost = counter("fabra_redis_connections_lost", "Connections to Redis that were lost.");
	c->m_connects = counter("fabra_redis_connections_made", "Connections to Redis that were made.");
	c->m_seconds = metrics_series(metrics_family(METRIC_HISTOGRAM, "fabra_redis_call_seconds",
						     "From sending a call to its last reply.", "", NULL),
				      NULL);
	c->state = REDIS_DOWN;
	redis_note_state(c->redis, a->loop, REDIS_DOWN, NULL);
	c->pause_timer = rt_timer_start(a, 0, TIMER_PAUSE);
	return c->pause_timer ? 0 : -1;
}

static void free_all(struct conn *c, struct queue *q)
{
	while (q->first) {
		struct redis_call *call = pop(q);
		if (call->request)
			rt_msg_free(c->base.loop, call->request);
		redis_call_free(call);
	}
}

static void conn_finish(struct actor *a)
{
	struct conn *c = (struct conn *)a;
	close_sock(c);
	free_all(c, &c->sent);
	free_all(c, &c->waiting);
	redis_note_state(c->redis, a->loop, REDIS_ABSENT, NULL);
}

const struct actor_class redis_conn_class = {
	.name = "redis_conn",
	.size = sizeof(struct conn),
	.mailbox_len_max = 8192,
	.init = conn_init,
	.on_message = conn_on_message,
	.on_turn_end = conn_on_turn_end,
	.finish = conn_finish,
};
