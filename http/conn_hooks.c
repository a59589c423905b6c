/* What h2o does with a connection, seen on the way: its reads, its frames, its header blocks and its end. The functions of
 * h2o's names stand in the place of its own (interpose.h); each does what h2o's does, and a little more. */
#include "http/server_private.h"
#include <dlfcn.h>
#include <h2o/http2.h>

enum { ENHANCE_YOUR_CALM = -11 }; /* h2o's H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM */

typedef int parse_headers(h2o_req_t *req, void *table, const uint8_t *src, size_t len, int *map, size_t *content_length,
			  void **digests, const char **err_desc);
typedef void encode_goaway(h2o_buffer_t **buf, uint32_t last_stream_id, int errnum, h2o_iovec_t text);
parse_headers h2o_hpack_parse_headers; /* declared by h2o/http2_internal.h, see interpose.c */
encode_goaway h2o_http2_encode_goaway_frame;

static struct { /* h2o's own */
	void (*read_start)(h2o_socket_t *sock, h2o_socket_cb cb);
	void (*close)(h2o_socket_t *sock);
	parse_headers *parse_headers;
	encode_goaway *encode_goaway;
	void (*http2_accept)(h2o_accept_ctx_t *ctx, h2o_socket_t *sock, struct timeval connected_at);
} own;

static _Thread_local struct http_conn *reading; /* whose bytes h2o is looking at; NULL: nobody's */

static void *of_library(const char *symbol)
{
	void *found = dlsym(RTLD_NEXT, symbol);
	CHECK(found != NULL);
	return found;
}

void hooks_init(void)
{
	own.read_start = (void (*)(h2o_socket_t *, h2o_socket_cb))of_library("h2o_socket_read_start");
	own.close = (void (*)(h2o_socket_t *))of_library("h2o_socket_close");
	own.parse_headers = (parse_headers *)of_library("h2o_hpack_parse_headers");
	own.http2_accept = (void (*)(h2o_accept_ctx_t *, h2o_socket_t *, struct timeval))of_library("h2o_http2_accept");
	own.encode_goaway = (encode_goaway *)of_library("h2o_http2_encode_goaway_frame");
}

static struct http_conn *conn_of(const h2o_socket_t *sock)
{
	return sock->on_close.cb == conn_on_close ? sock->on_close.data : NULL;
}

/* ---- reads ---- */
static void on_read(h2o_socket_t *sock, const char *err)
{
	struct http_conn *c = sock->on_close.data, *outer = reading;
	c->bytes_in += sock->bytes_read;
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
	return own.parse_headers(req, table, src, len, map, content_length, digests, err_desc);
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

/* h2o frees a socket without TLS's farewell when a write is under way, or seems to be. */
void hooks_close_at_once(h2o_socket_t *sock)
{
	if (sock->ssl != NULL)
		sock->_cb.write = never_written;
	own.close(sock);
}

/* After a read that failed (a reset) libuv refuses to write; h2o does not look at what uv_write returns, and would wait for
 * ever for the end of TLS's farewell. Where the other side does not read, the farewell may wait as well: the watch ends it. */
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
	}
	own.close(sock);
}
