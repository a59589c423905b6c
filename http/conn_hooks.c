/* What h2o does with a connection, seen on the way: its reads, its frames, its header blocks and its end. The functions of
 * h2o's names stand in the place of its own (interpose.h); each does what h2o's does, and a little more. */
#include "http/interpose.h"
#include "http/server_private.h"
#include <h2o/http2.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
	ENHANCE_YOUR_CALM = -11, /* h2o's H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM */
	FLAG_END_STREAM = 1,
};

typedef int parse_headers(h2o_req_t *req, void *table, const uint8_t *src, size_t len, int *map, size_t *content_length,
			  void **digests, const char **err_desc);
typedef void encode_goaway(h2o_buffer_t **buf, uint32_t last_stream_id, int errnum, h2o_iovec_t text);
typedef int decode_data(struct h2o_data *data, const struct h2o_frame *frame, const char **err_desc);
parse_headers h2o_hpack_parse_headers; /* declared by h2o/http2_internal.h, see interpose.c */
decode_data h2o_http2_decode_data_payload;
encode_goaway h2o_http2_encode_goaway_frame;

static struct { /* h2o's own */
	void (*read_start)(h2o_socket_t *sock, h2o_socket_cb cb);
	void (*close)(h2o_socket_t *sock);
	parse_headers *parse_headers;
	encode_goaway *encode_goaway;
	decode_data *decode_data;
	void (*timeout_link)(h2o_loop_t *loop, h2o_timeout_t *timeout, h2o_timeout_entry_t *entry);
	void (*http2_accept)(h2o_accept_ctx_t *ctx, h2o_socket_t *sock, struct timeval connected_at);
} own;

static _Thread_local struct http_conn *reading; /* whose bytes h2o is looking at; NULL: nobody's */

void hooks_init(void)
{
	own.read_start = (void (*)(h2o_socket_t *, h2o_socket_cb))interpose_own("h2o_socket_read_start");
	own.close = (void (*)(h2o_socket_t *))interpose_own("h2o_socket_close");
	own.parse_headers = (parse_headers *)interpose_own("h2o_hpack_parse_headers");
	own.decode_data = (decode_data *)interpose_own("h2o_http2_decode_data_payload");
	own.timeout_link = (void (*)(h2o_loop_t *, h2o_timeout_t *, h2o_timeout_entry_t *))interpose_own(
	    "h2o_timeout_link");
	own.http2_accept = (void (*)(h2o_accept_ctx_t *, h2o_socket_t *, struct timeval))interpose_own(
	    "h2o_http2_accept");
	own.encode_goaway = (encode_goaway *)interpose_own("h2o_http2_encode_goaway_frame");
}

static struct http_conn *conn_of(const h2o_socket_t *sock)
{
	return sock->on_close.cb == conn_on_close ? sock->on_close.data : NULL;
}

/* ---- reads ---- */
/* What a client sent before it closed would still be worked off: a handshake costs a signature, and nobody waits for it. */
static bool is_gone(const struct http_conn *c)
{
	struct pollfd p = { .fd = h2o_socket_get_fd(c->sock), .events = POLLRDHUP };
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void on_read(h2o_socket_t *sock, const char *err)
{
	struct http_conn *c = sock->on_close.data, *outer = reading;
	c->bytes_in += sock->bytes_read;
	if (err == NULL && !c->has_shaken_hands && is_gone(c))
		err = h2o_socket_error_closed;
	reading = c;
	c->on_read(sock, err); /* may free c */
	reading = outer;
}

/* The first frames may have come with the end of TLS's handshake. */
void h2o_http2_accept(h2o_accept_ctx_t *ctx, h2o_socket_t *sock, struct timeval connected_at)
{
	struct http_conn *outer = reading;
	reading = conn_of(sock);
	own.http2_accept(ctx, sock, connected_at);
	reading = outer;
}

/* TLS reads with one function until the hands are shaken, and with others after that. */
static void see_handshake(struct http_conn *c, h2o_socket_cb cb)
{
	if (c->is_encrypted && c->on_first_read == NULL)
		c->on_first_read = cb;
	c->has_shaken_hands = !c->is_encrypted || cb != c->on_first_read;
}

void h2o_socket_read_start(h2o_socket_t *sock, h2o_socket_cb cb)
{
	struct http_conn *c = conn_of(sock);
	if (c == NULL) {
		own.read_start(sock, cb);
		return;
	}
	if (!c->has_shaken_hands)
		see_handshake(c, cb);
	c->on_read = cb;
	own.read_start(sock, on_read);
}

/* ---- idle connections ---- */
void h2o_timeout_link(h2o_loop_t *loop, h2o_timeout_t *timeout, h2o_timeout_entry_t *entry)
{
	if (reading != NULL && timeout == &reading->front->h2o.http2.idle_timeout)
		reading->idle_timer = entry;
	own.timeout_link(loop, timeout, entry);
}

/* h2o calls a connection idle whose request is still arriving. */
void hooks_put_off_idle(struct http_conn *c)
{
	h2o_timeout_entry_t *timer = c->idle_timer;
	if (timer == NULL || c->is_let_go || !h2o_timeout_is_linked(timer))
		return;
	h2o_timeout_unlink(timer);
	own.timeout_link(c->front->h2o.loop, &c->front->h2o.http2.idle_timeout, timer);
}

/* ---- frames and header blocks ---- */
static int calm(struct http_conn *c, enum frame_verdict verdict, const char **ret_why)
{
	if (c != NULL && c->ending_ns == 0)
		conn_count_cut(c, verdict);
	*ret_why = verdict == FRAME_HEADERS_TOO_LARGE ? "a header block has too many fields or bytes"
						      : "too many frames that carry nothing";
	return ENHANCE_YOUR_CALM;
}

int hooks_on_frame(const struct frame *frame, const char **ret_why)
{
	struct http_conn *c = reading;
	if (c == NULL)
		return 0;
	c->frames++;
	c->answer_bytes += frame_answer_bytes(frame);
	enum frame_verdict verdict = frame_budget_take(&c->budget, frame, loop_mono_ns(c->front->loop),
						       c->sock->bytes_written);
	return verdict == FRAME_FINE ? 0 : calm(c, verdict, ret_why);
}

int h2o_hpack_parse_headers(h2o_req_t *req, void *table, const uint8_t *src, size_t len, int *map,
			    size_t *content_length, void **digests, const char **err_desc)
{
	enum frame_verdict verdict = frame_block_check(src, len);
	if (verdict != FRAME_FINE)
		return calm(exchange_conn_of(req), verdict, err_desc);
	int error = own.parse_headers(req, table, src, len, map, content_length, digests, err_desc);
	/* h2o would compare it with what is kept of the body. */
	if (content_length != NULL && *content_length >= req->conn->ctx->globalconf->max_request_entity_size)
		*content_length = SIZE_MAX;
	return error;
}

/* ---- HTTP/2 bodies that are too large ----
 * h2o would end the stream with REFUSED_STREAM, by which clients understand that they should try again. So it sees no more
 * of a body than shows that it is too large; the client may send the rest, is told 413 then, and the windows stay right
 * because they count frames. */
struct conn_body {
	uint32_t stream_id; /* 0: a free place */
	uint64_t bytes;
};

void hooks_forget(struct http_conn *c)
{
	free(c->bodies);
	c->bodies = NULL;
}

/* When all places are taken, streams have ended without the end of their body: the oldest is likeliest. If it has not ended,
 * h2o's own limit ends it. */
static struct conn_body *body_place(struct http_conn *c, uint32_t stream_id)
{
	struct conn_body *best = &c->bodies[0];
	for (unsigned i = 0; i < STREAMS_MAX; i++) {
		if (c->bodies[i].stream_id == stream_id)
			return &c->bodies[i];
		if (c->bodies[i].stream_id < best->stream_id)
			best = &c->bodies[i];
	}
	*best = (struct conn_body){ .stream_id = stream_id };
	return best;
}

int h2o_http2_decode_data_payload(struct h2o_data *data, const struct h2o_frame *frame, const char **err_desc)
{
	int error = own.decode_data(data, frame, err_desc);
	struct http_conn *c = reading;
	if (error != 0 || c == NULL)
		return error;
	uint64_t kept_max = c->front->h2o.globalconf->max_request_entity_size, before = 0, all = data->length;
	bool is_last = frame->flags & FLAG_END_STREAM;
	if (c->bodies == NULL && !is_last)
		c->bodies = calloc(STREAMS_MAX, sizeof *c->bodies);
	if (c->bodies != NULL) {
		struct conn_body *body = body_place(c, frame->stream_id);
		before = body->bytes;
		all += before;
		body->bytes = all;
		if (is_last)
			body->stream_id = 0;
	}
	if (all > kept_max)
		data->length = before < kept_max ? kept_max - before : 0;
	if (all / DISCARD_FACTOR < kept_max)
		return 0;
	if (c->ending_ns == 0)
		conn_count_cut(c, CUT_BYTES);
	*err_desc = "a body is much too large";
	return ENHANCE_YOUR_CALM;
}

/* h2o ends a connection with an error: for what RFC 9113 forbids, and for PRIORITY on too many streams that do not exist. */
void h2o_http2_encode_goaway_frame(h2o_buffer_t **buf, uint32_t last_stream_id, int errnum, h2o_iovec_t text)
{
	if (errnum != 0 && reading != NULL && reading->ending_ns == 0)
		conn_count_cut(reading,
			       errnum == ENHANCE_YOUR_CALM ? (unsigned)FRAME_PRIORITY_FLOOD : (unsigned)CUT_PROTOCOL);
	own.encode_goaway(buf, last_stream_id, errnum, text);
}

/* ---- the end ---- */
static void never_written(h2o_socket_t *sock, const char *err)
{
	(void)sock;
	(void)err;
}

/* With a write callback set, h2o takes a write to be under way and frees the socket without TLS's close_notify. */
void hooks_close_at_once(h2o_socket_t *sock)
{
	if (sock->ssl != NULL)
		sock->_cb.write = never_written;
	own.close(sock);
}

static void discard(h2o_socket_t *sock, const char *err)
{
	struct http_conn *c = sock->on_close.data;
	c->discarded += sock->input->size;
	h2o_buffer_consume(&sock->input, sock->input->size);
	if (err != NULL || c->discarded / DISCARD_FACTOR > c->front->h2o.globalconf->max_request_entity_size)
		hooks_close_at_once(sock); /* frees c */
}

/* To close now would answer what the client still sends by a reset, which takes its answer away. The watch ends it in any
 * case. */
static void linger(struct http_conn *c)
{
	c->is_busy = false; /* so that others may have its place */
	shutdown(h2o_socket_get_fd(c->sock), SHUT_WR);
	h2o_buffer_consume(&c->sock->input, c->sock->input->size);
	own.read_start(c->sock, discard);
}

/* After a read that failed (a reset) libuv refuses to write; h2o does not look at what uv_write returns, and would wait for
 * TLS's close_notify for ever. Where the other side does not read, the watch ends the wait. */
void h2o_socket_close(h2o_socket_t *sock)
{
	struct http_conn *c = conn_of(sock);
	if (c != NULL) {
		c->is_let_go = true;
		if (c->ending_ns == 0)
			c->ending_ns = loop_mono_ns(c->front->loop);
		if (!uv_is_writable(c->stream)) {
			hooks_close_at_once(sock);
			return;
		}
		if (c->lingers && !c->is_cut) {
			linger(c);
			return;
		}
	}
	own.close(sock);
}
