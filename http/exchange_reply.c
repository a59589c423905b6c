/* The one reply of an exchange: headers, compression, the error shapes, and the hand-over to h2o. */
#include "http/content_coding.h"
#include "http/interpose.h"
#include "http/server_private.h"
#include "runtime/log.h"
#include "store/text/json.h"

enum {
	/* A gzip stream costs 55 us to set up and 5 us per KiB at level 1 (measured), so below this size the set-up
	 * would cost more than the compression. */
	COMPRESS_BYTES_MIN = 8 << 10,
	/* One slice is what a loop may spend at once on compression (about 0.1 ms); the rest follows after
	 * the write. */
	COMPRESS_SLICE_BYTES = 16 << 10,
};

/* Feeds a large body to h2o's gzip filter piece by piece, so that one reply does not hold up its loop. */
struct slices {
	h2o_generator_t generator;
	char *p; /* in the request's pool */
	size_t n;
};

static const char *reason_of(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	case 307:
		return "Temporary Redirect";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 409:
		return "Conflict";
	case 413:
		return "Content Too Large";
	case 415:
		return "Unsupported Media Type";
	case 417:
		return "Expectation Failed";
	case 422:
		return "Unprocessable Content";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	default:
		return "Status";
	}
}

/* ---- sending ---- */
static void slices_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
	struct slices *s = (struct slices *)generator;
	size_t n = s->n < COMPRESS_SLICE_BYTES ? s->n : COMPRESS_SLICE_BYTES;
	h2o_iovec_t slice = { s->p, n };
	s->p += n;
	s->n -= n;
	h2o_send(req, &slice, 1, s->n > 0 ? H2O_SEND_STATE_IN_PROGRESS : H2O_SEND_STATE_FINAL);
}

static void send_in_slices(h2o_req_t *req, struct str body)
{
	struct slices *s = h2o_mem_alloc_pool(&req->pool, sizeof *s);
	*s = (struct slices){ { slices_proceed, NULL }, h2o_strdup(&req->pool, body.p, body.n).base, body.n };
	h2o_start_response(req, &s->generator);
	slices_proceed(&s->generator, req);
}

/* An answer, and then RST_STREAM with PROTOCOL_ERROR: for a request that HTTP/2 calls malformed (RFC 9113, 8.1.1). */
static void send_and_reset(h2o_req_t *req, struct str body, bool is_head)
{
	static h2o_generator_t generator;
	h2o_iovec_t copy = h2o_strdup(&req->pool, body.p, body.n);
	h2o_start_response(req, &generator);
	h2o_send(req, &copy, is_head ? 0 : 1, H2O_SEND_STATE_ERROR);
}

/* h2o's own function copies the name into the pool; ours are static. */
static void header_put(h2o_req_t *req, const h2o_iovec_t *name, struct str value)
{
	h2o_vector_reserve(&req->pool, &req->res.headers, req->res.headers.size + 1);
	req->res.headers.entries[req->res.headers.size++] = (h2o_header_t){ (h2o_iovec_t *)name,
									    NULL,
									    { (char *)value.p, value.n } };
}

static void headers_put(struct exchange *x, h2o_req_t *req, const char *content_type)
{
	if (content_type != NULL)
		header_put(req, &H2O_TOKEN_CONTENT_TYPE->buf, str_from(content_type));
	header_put(req, &interpose_request_id, str_of(x->request_id, x->request_id_len));
	if (req->res.status == 503)
		header_put(req, &H2O_TOKEN_RETRY_AFTER->buf, STR("1"));
	for (unsigned i = 0; i < x->reply_headers_len; i++) {
		const struct reply_header *h = &x->reply_headers[i];
		h2o_add_header_by_str(&req->pool, &req->res.headers, h->name, strlen(h->name), 1, NULL, h->value.p,
				      h->value.n);
	}
}

/* As h2o's filter would for GET; it leaves HEAD alone. The length is that of a body which is not made. */
static void describe_compressed(h2o_req_t *req)
{
	req->res.content_length = SIZE_MAX;
	header_put(req, &H2O_TOKEN_CONTENT_ENCODING->buf, STR("gzip"));
	header_put(req, &H2O_TOKEN_VARY->buf, STR("accept-encoding"));
	header_put(req, &H2O_TOKEN_ACCEPT_RANGES->buf, STR("none"));
}

void exchange_write_head(struct exchange *x, h2o_req_t *req, int status, const char *content_type,
			 size_t content_length)
{
	req->res.status = status;
	req->res.reason = reason_of(status);
	req->res.content_length = content_length;
	headers_put(x, req, content_type);
	/* HTTP/1.0 knows no chunks, so that what has no length ends where its connection does (RFC 9112, 6.3). */
	bool ends_with_connection = content_length == SIZE_MAX && req->version < 0x101;
	if (atomic_load_explicit(&x->front->server->draining, memory_order_relaxed) || x->ends_connection ||
	    ends_with_connection)
		req->http1_is_persistent = 0;
}

void exchange_reply(struct exchange *x, int status, const char *content_type, struct str body)
{
	struct http_server *s = x->front->server;
	h2o_req_t *req = x->req;
	if (req != NULL && x->stream != NULL) {
		exchange_stream_cut(x, status);
		return;
	}
	if (req == NULL) {
		metrics_add(s->counters.replies_dropped, 1);
		x->has_replied = true;
		return;
	}
	x->has_replied = true;
	exchange_detach(x);

	exchange_write_head(x, req, status, content_type, body.n);
	observe_reply(x, status, body.n);
	/* h2o's filter compresses nothing else. */
	bool may_be_compressed = body.n >= COMPRESS_BYTES_MIN && content_type != NULL && status == 200;
	bool is_compressed = may_be_compressed && req->version >= 0x101 && coding_takes_gzip(&req->headers);
	req->compress_hint = is_compressed && !x->is_head ? H2O_COMPRESS_HINT_ENABLE : H2O_COMPRESS_HINT_DISABLE;
	if (is_compressed && x->is_head)
		describe_compressed(req);
	else if (may_be_compressed && !is_compressed) /* a cache must not give it to clients that would get the other */
		header_put(req, &H2O_TOKEN_VARY->buf, STR("accept-encoding"));
	if (x->ends_connection && req->version >= 0x200)
		send_and_reset(req, body, x->is_head);
	else if (is_compressed && !x->is_head && body.n > COMPRESS_SLICE_BYTES)
		send_in_slices(req, body);
	else
		h2o_send_inline(req, body.n > 0 ? body.p : "", body.n);
}

void exchange_reply_json(struct exchange *x, int status, struct str json)
{
	exchange_reply(x, status, "application/json", json);
}

void exchange_header_add(struct exchange *x, const char *name, struct str value)
{
	struct str copy = arena_dup(&x->arena, value);
	CHECK(x->reply_headers_len < REPLY_HEADERS_MAX);
	if (copy.p != NULL)
		x->reply_headers[x->reply_headers_len++] = (struct reply_header){ name, copy };
}

/* ---- errors ---- */
void exchange_error(struct exchange *x, int status, const char *format, ...)
{
	char text[EXCHANGE_DETAIL_BYTES];
	va_list args;
	va_start(args, format);
	size_t length = text_vprintf(text, sizeof text, format, args);
	va_end(args);
	struct buf json = { 0 };
	buf_append_lit(&json, "{\"detail\":");
	json_write_string(&json, str_of(text, length));
	buf_append_char(&json, '}');
	exchange_reply_json(x, status, buf_str(&json));
	buf_finish(&json);
}

bool exchange_list_is_full(const struct exchange *x)
{
	return x->invalid.failed;
}

void exchange_invalid(struct exchange *x, const char *type, const char *loc_json, const char *msg,
		      struct str input_json, const char *ctx_json)
{
	struct buf *json = &x->invalid;
	size_t before = json->n;
	if (exchange_list_is_full(x))
		return;
	if (before == 0)
		buf_append_lit(json, "{\"detail\":[{\"type\":");
	else
		buf_append_lit(json, ",{\"type\":");
	json_write_string(json, str_from(type));
	buf_append_lit(json, ",\"loc\":");
	buf_append_str(json, str_from(loc_json));
	buf_append_lit(json, ",\"msg\":");
	json_write_string(json, str_from(msg));
	buf_append_lit(json, ",\"input\":");
	/* A larger one helps nobody to find the mistake, and each error would carry it. */
	buf_append_str(json, input_json.n <= EXCHANGE_INPUT_BYTES_MAX ? input_json : STR("null"));
	if (ctx_json != NULL) {
		buf_append_lit(json, ",\"ctx\":");
		buf_append_str(json, str_from(ctx_json));
	}
	buf_append_char(json, '}');
	if (json->failed)
		json->n = before;
}

void exchange_invalid_text(struct exchange *x, const char *type, const char *loc_json, const char *msg,
			   struct str input, const char *ctx_json)
{
	struct buf json = { .max = EXCHANGE_INPUT_BYTES_MAX + 2 };
	if (json_utf8_valid(input))
		json_write_string(&json, input);
	exchange_invalid(x, type, loc_json, msg, json.n > 0 && !json.failed ? buf_str(&json) : STR("null"), ctx_json);
	buf_finish(&json);
}

bool exchange_is_valid(const struct exchange *x)
{
	return x->invalid.n == 0 && !x->invalid.failed;
}

void exchange_reply_invalid(struct exchange *x)
{
	if (x->has_replied || exchange_is_valid(x))
		return;
	static const char more[] = "more is wrong with the request than can be listed";
	struct buf *json = &x->invalid;
	bool is_full = json->failed, is_empty = json->n == 0;
	json->max = 0; /* for the end */
	json->failed = false;
	if (is_full)
		buf_printf(json, ",{\"type\":\"too_many_errors\",\"loc\":[],\"msg\":\"%s\",\"input\":null}", more);
	buf_append_lit(json, "]}");
	if (is_empty || json->failed)
		exchange_error(x, 422, "%s", more);
	else
		exchange_reply_json(x, 422, buf_str(json));
}

static int status_of(int rt_error)
{
	switch (rt_error) {
	case RT_EINVAL:
		return 400;
	case RT_ENOTFOUND:
		return 404;
	case RT_EEXIST:
		return 409;
	case RT_ETOOBIG:
		return 413;
	case RT_EDEADLINE:
		return 504;
	case RT_EDEAD:
	case RT_EFULL:
	case RT_ECANCELLED:
	case RT_EREADONLY:
	case RT_ESHUTDOWN:
		return 503;
	default:
		return 500;
	}
}

void exchange_fail(struct exchange *x, int rt_error, const char *what)
{
	exchange_error(x, status_of(rt_error), "%s: %s", what, rt_error_text(rt_error));
}
