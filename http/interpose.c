#include "http/interpose.h"
#include "http/server_private.h"
#include <dlfcn.h>

_Static_assert(H2O_VERSION_MAJOR == 2 && H2O_VERSION_MINOR == 2 && H2O_VERSION_PATCH == 5,
	       "compare the functions below with h2o's own before using another version");

/* h2o/http2_internal.h declares these, but needs a header that Debian does not ship. */
enum { FRAME_HEAD = 9, FRAME_SETTINGS = 4, FRAME_CONTINUATION = 9, FLAG_ACK = 1, FLAG_END_HEADERS = 4 };

typedef void flatten_response(h2o_buffer_t **buf, void *table, uint32_t stream_id, size_t frame_bytes_max,
			      h2o_res_t *res, h2o_timestamp_t *ts, const h2o_iovec_t *server_name,
			      size_t content_length);
typedef ssize_t decode_frame(struct h2o_frame *frame, const uint8_t *src, size_t len, const void *settings,
			     const char **err_desc);
flatten_response h2o_hpack_flatten_response;
decode_frame h2o_http2_decode_frame;
size_t h2o_hpack_encode_string(uint8_t *dst, const char *s, size_t len);

enum { ID_FIELD_MAX = 16 + 4 + REQUEST_ID_MAX };

static char name[] = "x-request-id";
const h2o_iovec_t interpose_request_id = { name, sizeof name - 1 };

static struct {
	flatten_response *flatten_response; /* h2o's own */
	decode_frame *decode_frame;         /* h2o's own */
	uint8_t id_head[16];                /* a literal field without indexing, and its name */
	size_t id_head_len;
	metric_id unknown_frames;
} own;

void *interpose_own(const char *symbol)
{
	void *found = dlsym(RTLD_NEXT, symbol);
	CHECK(found != NULL);
	return found;
}

void interpose_init(void)
{
	own.flatten_response = (flatten_response *)interpose_own("h2o_hpack_flatten_response");
	own.decode_frame = (decode_frame *)interpose_own("h2o_http2_decode_frame");
	own.id_head_len = 1 + h2o_hpack_encode_string(own.id_head + 1, name, sizeof name - 1);
	CHECK(own.id_head_len <= sizeof own.id_head);
	own.unknown_frames = metrics_series(metrics_family(METRIC_COUNTER, "fabra_http_unknown_frames",
							   "HTTP/2 frames of unknown types, ignored.", "", NULL),
					    NULL);
}

/* ---- x-request-id ---- */
/* RFC 7541, 6.2.2: 0x00, the name, the value. Neither end enters it into its table. */
static size_t id_field(uint8_t out[static ID_FIELD_MAX], h2o_iovec_t value)
{
	uint8_t *at = out;
	CHECK(value.len <= REQUEST_ID_MAX);
	memcpy(at, own.id_head, own.id_head_len);
	at += own.id_head_len;
	if (value.len < 127) {
		*at++ = (uint8_t)value.len;
	} else { /* RFC 7541, 5.1: what exceeds a prefix of seven bits follows, here always in one byte */
		*at++ = 127;
		*at++ = (uint8_t)(value.len - 127);
	}
	memcpy(at, value.base, value.len);
	return (size_t)(at - out) + value.len;
}

static void frame_head_write(uint8_t *at, size_t length, uint8_t type, uint8_t flags, uint32_t stream_id)
{
	uint8_t head[FRAME_HEAD] = { (uint8_t)(length >> 16),
				     (uint8_t)(length >> 8),
				     (uint8_t)length,
				     type,
				     flags,
				     (uint8_t)(stream_id >> 24),
				     (uint8_t)(stream_id >> 16),
				     (uint8_t)(stream_id >> 8),
				     (uint8_t)stream_id };
	memcpy(at, head, sizeof head);
}

static size_t frame_length(const uint8_t *head)
{
	return (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
}

/* Lengthens the block of headers that starts at `start` and ends the buffer; it is a HEADERS frame and perhaps others. */
static void block_append(h2o_buffer_t **buf, size_t start, uint32_t stream_id, size_t frame_bytes_max,
			 const uint8_t *field, size_t n)
{
	uint8_t *at = (uint8_t *)h2o_buffer_reserve(buf, n + FRAME_HEAD).base;
	uint8_t *last = (uint8_t *)(*buf)->bytes + start;
	while (last + FRAME_HEAD + frame_length(last) < at)
		last += FRAME_HEAD + frame_length(last);
	size_t length = frame_length(last) + n;
	if (length <= frame_bytes_max) {
		frame_head_write(last, length, last[3], last[4], stream_id);
	} else {
		last[4] &= (uint8_t)~FLAG_END_HEADERS;
		frame_head_write(at, n, FRAME_CONTINUATION, FLAG_END_HEADERS, stream_id);
		at += FRAME_HEAD;
		(*buf)->size += FRAME_HEAD;
	}
	memcpy(at, field, n);
	(*buf)->size += n;
}

void h2o_hpack_flatten_response(h2o_buffer_t **buf, void *table, uint32_t stream_id, size_t frame_bytes_max,
				h2o_res_t *res, h2o_timestamp_t *ts, const h2o_iovec_t *server_name,
				size_t content_length)
{
	size_t start = (*buf)->size, left = res->headers.size;
	uint8_t field[ID_FIELD_MAX];
	h2o_header_t *headers = res->headers.entries;
	while (left > 0 && headers[left - 1].name != &interpose_request_id)
		left--; /* it is the last, or before those of compression */
	if (left == 0) {
		own.flatten_response(buf, table, stream_id, frame_bytes_max, res, ts, server_name, content_length);
		return;
	}
	h2o_header_t id = headers[left - 1];
	size_t n = id_field(field, id.value);
	headers[left - 1] = headers[--res->headers.size];
	own.flatten_response(buf, table, stream_id, frame_bytes_max, res, ts, server_name, content_length);
	headers[res->headers.size++] = id;
	block_append(buf, start, stream_id, frame_bytes_max, field, n);
}

/* ---- frames ---- */
/* h2o writes a line to standard error for a frame of a type that it does not know, from the I/O loop. In its place it sees
 * the acknowledgement of its settings, which it ignores; in the middle of a header block it still sees an error. */
ssize_t h2o_http2_decode_frame(struct h2o_frame *frame, const uint8_t *src, size_t len, const void *settings,
			       const char **err_desc)
{
	ssize_t n = own.decode_frame(frame, src, len, settings, err_desc);
	if (n < 0)
		return n;
	struct frame seen = {
		.length = frame->length, .type = frame->type, .flags = frame->flags, .payload = frame->payload
	};
	int error = hooks_on_frame(&seen, err_desc);
	if (error != 0)
		return error;
	if (frame->type > FRAME_CONTINUATION) {
		metrics_add(own.unknown_frames, 1);
		*frame = (struct h2o_frame){ .type = FRAME_SETTINGS, .flags = FLAG_ACK, .payload = frame->payload };
	}
	return n;
}

/* ---- paths ---- */
/* Requests are routed by the path as it was sent (router.h). Only where the query starts is used. */
h2o_iovec_t h2o_url_normalize_path(h2o_mem_pool_t *pool, const char *path, size_t len, size_t *query_at,
				   size_t **norm_indexes)
{
	const char *query = memchr(path, '?', len);
	(void)pool;
	*query_at = query != NULL ? (size_t)(query - path) : SIZE_MAX;
	*norm_indexes = NULL;
	if (len == 0 || path[0] != '/')
		return h2o_iovec_init(H2O_STRLIT("/"));
	return h2o_iovec_init(path, query != NULL ? *query_at : len);
}
