/* What connections do with their time. At each look of the watch a connection is one of these:
 *
 *     shaking hands   TLS has not begun                            cut after handshake_timeout
 *     idle            nothing is under way                         closed after idle_timeout; the first to be evicted
 *     arriving        a part of a request is there, and it is the  cut after read_timeout and what it has taken
 *                     client's turn                                to arrive at READ_RATE_MIN
 *     served          the server works on a request                the request's own deadline ends it; never evicted
 *     leaving         a part of a reply is there, and it is the    cut when it lasts longer than two stall_timeouts and what
 *                     client's turn                                the client has taken would at reply_rate_min, or when it
 *                                                                  has taken nothing more for a few stall_timeouts
 *     ending          cut, or closed by h2o                        freed by h2o; else closed here after ENDING_MS
 *
 * and over HTTP/2 several at once. Only bytes of requests and replies count: a PING keeps nothing alive that has begun, and
 * an idle connection only while there is room.
 *
 * When the table is full, the acceptor takes the place of the connection that can be spared best. Those that move a request or
 * a reply come last. Of the others, idle or with a request that does not get on, that goes which has been of no use for longest:
 * what a client holds open by half a request is worth no more than an idle connection. Connections that never had a request go
 * before those that had, but only while they are half of the table or more: so many that come and send nothing, or half of
 * something, never take all places from clients that keep theirs for the next request, and one that has just come has time to send
 * its first. */
#include "http/conn_tcp.h"
#include "http/h2o_stream.h"
#include "http/server_private.h"

enum {
	ENDING_MS = 1000,
	LINGERING_MS = 5000,      /* of a client that was answered before it had sent all */
	LOOKS_SMOOTHED = 64,      /* some three seconds */
	RATE_OF_MOVING = 2 << 10, /* bytes per second, smoothed: less is a trickle */
	NS_PER_MS = 1000000,
	HTTP1_KEY = 1,
	READ_RATE_MIN = 64 << 10,    /* bytes per second: large bodies may take longer than small ones */
	STALLS_WITHOUT_PROGRESS = 4, /* TCP acknowledges in steps, some of megabytes */
};

/* ---- what the walk over h2o's requests finds ---- */
void conduct_begin_look(struct http_front *f)
{
	for (struct http_conn *c = f->conns; c != NULL; c = c->next) {
		c->held_bytes = 0;
		c->is_http1 = c->is_arriving = false;
		c->leaving = c->arriving_id = 0;
	}
}

/* Each HTTP/1 connection has one request, parsed (it has a version then) or not. */
void conduct_on_http1(struct http_conn *c, const h2o_req_t *req)
{
	c->is_http1 = true;
	c->is_arriving = c->in_flight == 0 && !h2o_socket_is_writing(c->sock) &&
			 (req->version != 0 || c->sock->input->size > 0);
}

void conduct_on_http2(struct http_conn *c, const struct h2o_stream *stream)
{
	bool is_arriving = stream->state == STREAM_RECV_HEADERS || stream->state == STREAM_RECV_BODY;
	if (is_arriving && (c->arriving_id == 0 || stream->stream_id < c->arriving_id))
		c->arriving_id = stream->stream_id;
	c->leaving += stream->state >= STREAM_SEND_BODY;
}

/* ---- what it means ---- */
static uint64_t ms_since(uint64_t since_ns, uint64_t now_ns)
{
	return now_ns > since_ns ? (now_ns - since_ns) / NS_PER_MS : 0;
}

/* Has this been arriving for longer than the timeout and what has come of it would take at READ_RATE_MIN? */
static bool waits_too_long(const struct http_conn *c, struct conn_wait *w, uint64_t key, uint64_t now_ns)
{
	if (key == 0 || key != w->key)
		*w = (struct conn_wait){ .key = key, .since_ns = now_ns, .bytes_in = c->bytes_in };
	uint64_t allowed_ms = c->front->server->config.read_timeout_ms +
			      (c->bytes_in - w->bytes_in) * 1000 / READ_RATE_MIN;
	return key != 0 && ms_since(w->since_ns, now_ns) >= allowed_ms;
}

/* Bytes that the kernel has taken. Behind TLS the queue has more bytes than were written into it: only differences count. */
static int64_t bytes_out(const struct http_conn *c)
{
	return (int64_t)c->sock->bytes_written - (int64_t)uv_stream_get_write_queue_size(c->stream);
}

/* The oldest request that is incomplete. A request that ends makes the next one the oldest, whose time begins then. */
static uint64_t request_key(const struct http_conn *c)
{
	if (c->is_http1)
		return c->is_arriving ? HTTP1_KEY + (uint64_t)c->requests : 0;
	return c->arriving_id;
}

/* A frame, or HTTP/2's preface, of which a part is there. */
static uint64_t fragment_key(const struct http_conn *c)
{
	bool is_partial = !c->is_http1 && c->sock->input->size > 0 && h2o_socket_is_reading(c->sock);
	return is_partial ? 1 + (uint64_t)c->frames : 0;
}

static uint64_t bytes_acknowledged(const struct http_conn *c)
{
	return conn_bytes_acknowledged(h2o_socket_get_fd(c->sock));
}

/* Since the reply began, without what answers frames that are no requests: only of those, as the frames of a small request
 * are larger than its reply. */
static uint64_t taken_of_reply(const struct http_conn *c)
{
	uint64_t taken = bytes_acknowledged(c) - c->reply.acknowledged;
	uint64_t answers = c->answer_bytes - c->reply.answer_bytes;
	return taken > answers ? taken - answers : 0;
}

/* Replies that follow each other without a pause count as one. */
static bool reader_is_slow(struct http_conn *c, bool is_leaving, uint64_t now_ns)
{
	const struct http_config *config = &c->front->server->config;
	struct conn_reply *r = &c->reply;
	if (!is_leaving) {
		r->since_ns = 0;
		return false;
	}
	if (r->since_ns == 0) {
		*r = (struct conn_reply){ .since_ns = now_ns,
					  .acknowledged = bytes_acknowledged(c),
					  .answer_bytes = c->answer_bytes,
					  .look_at_ms = config->stall_timeout_ms };
		return false;
	}
	uint64_t ms = ms_since(r->since_ns, now_ns);
	if (ms < r->look_at_ms)
		return false;
	uint64_t taken = taken_of_reply(c), stall_ms = config->stall_timeout_ms;
	uint64_t allowed_ms = 2 * stall_ms + taken * 1000 / config->reply_rate_min;
	if (ms >= allowed_ms || (r->was_looked_at && taken <= r->taken))
		return true;
	uint64_t latest_ms = ms + STALLS_WITHOUT_PROGRESS * stall_ms;
	r->look_at_ms = allowed_ms < latest_ms ? allowed_ms : latest_ms;
	r->taken = taken;
	r->was_looked_at = true;
	return false;
}

static void measure_rate(struct http_conn *c, uint64_t elapsed_ms)
{
	int64_t moved = (int64_t)c->bytes_in + bytes_out(c), more = moved - c->moved;
	c->moved = moved;
	if (!c->was_looked_at) {
		c->was_looked_at = true;
	} else if (elapsed_ms > 0) {
		uint64_t now = more > 0 ? (uint64_t)more * 1000 / elapsed_ms : 0;
		c->rate = (c->rate * (LOOKS_SMOOTHED - 1) + now) / LOOKS_SMOOTHED;
	}
}

/* h2o has begun to close it and waits for a client that does not read: a close_notify or a GOAWAY that is never sent. */
static void hasten(struct http_conn *c, uint64_t now_ns)
{
	if (ms_since(c->ending_ns, now_ns) < (c->lingers && c->is_let_go ? LINGERING_MS : ENDING_MS))
		return;
	if (c->is_let_go)
		hooks_close_at_once(c->sock); /* frees c */
	else
		conn_cut(c);
}

static void look_at(struct http_conn *c, uint64_t now_ns, uint64_t elapsed_ms)
{
	const struct http_config *config = &c->front->server->config;
	if (c->ending_ns != 0) {
		hasten(c, now_ns);
		return;
	}
	uint64_t request = request_key(c), fragment = fragment_key(c);
	bool is_late = waits_too_long(c, &c->request, request, now_ns);
	is_late = waits_too_long(c, &c->fragment, fragment, now_ns) || is_late;
	bool is_leaving = c->leaving > 0 || h2o_socket_is_writing(c->sock),
	     is_slow = reader_is_slow(c, is_leaving, now_ns);
	measure_rate(c, elapsed_ms);
	c->is_busy = request != 0 || fragment != 0 || is_leaving;
	if (c->is_busy && !c->is_http1)
		hooks_put_off_idle(c);
	if (c->in_flight > 0 || is_leaving)
		c->useful_ns = now_ns;
	if (!c->has_shaken_hands) {
		if (ms_since(c->useful_ns, now_ns) >= config->handshake_timeout_ms)
			conn_cut_for(c, CUT_HANDSHAKE);
	} else if (is_late) {
		conn_cut_for(c, CUT_SLOW_REQUEST);
	} else if (is_slow) {
		conn_cut_for(c, CUT_SLOW_READER);
	} else if (c->is_http1 && !c->is_busy && ms_since(c->useful_ns, now_ns) >= config->idle_timeout_ms) {
		conn_cut(c);
	}
}

static bool can_be_spared(const struct http_conn *c)
{
	bool is_lingering = c->lingers && c->is_let_go && !c->is_cut;
	return (c->ending_ns == 0 || is_lingering) && c->in_flight == 0;
}

static void victims_clear(struct http_front *f)
{
	for (unsigned i = 0; i < f->victims_len; i++)
		f->victims[i]->is_victim = false;
	f->victims_len = 0;
}

void conduct_end_look(struct http_front *f)
{
	uint64_t now_ns = loop_mono_ns(f->loop), elapsed_ms = ms_since(f->looked_ns, now_ns);
	uint32_t evictable = 0;
	f->looked_ns = now_ns;
	victims_clear(f);
	for (struct http_conn *c = f->conns, *next; c != NULL; c = next) {
		next = c->next;
		look_at(c, now_ns, elapsed_ms);
	}
	for (struct http_conn *c = f->conns; c != NULL; c = c->next)
		evictable += can_be_spared(c);
	atomic_store_explicit(&f->evictable, evictable, memory_order_relaxed);
}

/* ---- eviction ---- */
static bool is_moving(const struct http_conn *c)
{
	return c->is_busy && c->rate >= RATE_OF_MOVING;
}

/* Is a spared before b? */
static bool is_before(const struct http_conn *a, const struct http_conn *b)
{
	if (is_moving(a) != is_moving(b))
		return is_moving(b);
	return is_moving(a) && a->rate != b->rate ? a->rate < b->rate : a->useful_ns < b->useful_ns;
}

/* Sorted, the best last; at most max. */
static void victims_insert(struct http_front *f, struct http_conn *c, unsigned max)
{
	if (f->victims_len == max) {
		if (!is_before(c, f->victims[0]))
			return;
		f->victims[0]->is_victim = false;
		memmove(f->victims, f->victims + 1, --f->victims_len * sizeof f->victims[0]);
	}
	unsigned at = f->victims_len++;
	for (; at > 0 && is_before(f->victims[at - 1], c); at--)
		f->victims[at] = f->victims[at - 1];
	f->victims[at] = c;
	c->is_victim = true;
}

/* Where connections that never had a request are too many, it is their turn alone; else so many go as make them too many. */
static void victims_find(struct http_front *f)
{
	unsigned all = 0, unproven = 0, max = VICTIMS_MAX;
	for (const struct http_conn *c = f->conns; c != NULL; c = c->next) {
		all += c->has_slot;
		unproven += c->has_slot && c->requests == 0 && can_be_spared(c);
	}
	bool are_too_many = unproven > 0 && unproven * 2 >= all;
	if (!are_too_many && all / 2 - unproven < max)
		max = all / 2 - unproven + 1;
	for (struct http_conn *c = f->conns; c != NULL; c = c->next)
		if (can_be_spared(c) && (!are_too_many || c->requests == 0))
			victims_insert(f, c, max);
}

bool conduct_evict(struct http_front *f)
{
	for (int pass = 0; pass < 2; pass++) {
		while (f->victims_len > 0) {
			struct http_conn *c = f->victims[--f->victims_len];
			c->is_victim = false;
			if (!can_be_spared(c))
				continue;
			conn_cut_for(c, CUT_EVICTED);
			return true;
		}
		if (pass == 0)
			victims_find(f);
	}
	return false;
}

void conduct_forget(struct http_conn *c)
{
	struct http_front *f = c->front;
	if (!c->is_victim)
		return;
	c->is_victim = false;
	unsigned at = 0;
	while (f->victims[at] != c)
		at++;
	memmove(f->victims + at, f->victims + at + 1, (--f->victims_len - at) * sizeof f->victims[0]);
}
