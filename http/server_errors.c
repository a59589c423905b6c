/* h2o answers some requests itself, before a handler sees them: broken framing, an oversized HTTP/1.1 body,
 * a strange Expect. This filter on its fallback path gives those pages the shape of our own errors. */
#include "http/interpose.h"
#include "http/server_private.h"

struct page {
	h2o_ostream_t super;
	h2o_iovec_t body;
};

static struct str page_body(struct http_front *f, h2o_req_t *req)
{
	switch (req->res.status) {
	case 400:
		return STR("{\"detail\":\"the request is not valid HTTP\"}");
	case 404:
		return STR("{\"detail\":\"Not Found\"}");
	case 413: {
		enum { BYTES_MAX = 80 };
		char *text = h2o_mem_alloc_pool(&req->pool, BYTES_MAX);
		return str_of(text, text_printf(text, BYTES_MAX, "{\"detail\":\"the body is larger than %llu bytes\"}",
						(unsigned long long)f->server->config.body_bytes_max));
	}
	case 417:
		return STR("{\"detail\":\"the expectation cannot be met\"}");
	default:
		return STR("{\"detail\":\"the request could not be handled\"}");
	}
}

static void send_page(h2o_ostream_t *stream, h2o_req_t *req, h2o_iovec_t *bufs, size_t bufs_len, h2o_send_state_t state)
{
	struct page *page = (struct page *)stream;
	(void)bufs;
	h2o_ostream_send_next(stream, req, &page->body, bufs_len > 0 ? 1 : 0, state);
}

/* The client's if it sent a sane one. */
static void request_id_add(struct http_front *f, h2o_req_t *req)
{
	h2o_iovec_t id = { h2o_mem_alloc_pool(&req->pool, REQUEST_ID_OWN), REQUEST_ID_OWN };
	ssize_t sent = h2o_find_header_by_str(&req->headers, H2O_STRLIT("x-request-id"), -1);
	if (sent >= 0 &&
	    exchange_id_is_sane(str_of(req->headers.entries[sent].value.base, req->headers.entries[sent].value.len)))
		id = req->headers.entries[sent].value;
	else
		exchange_id_make(f, id.base);
	h2o_vector_reserve(&req->pool, &req->res.headers, req->res.headers.size + 1);
	req->res.headers.entries[req->res.headers.size++] = (h2o_header_t){ (h2o_iovec_t *)&interpose_request_id, NULL,
									    id };
}

static void on_setup_ostream(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
	(void)filter;
	struct http_front *f = (struct http_front *)((char *)req->conn->ctx - offsetof(struct http_front, h2o));
	struct page *page = (struct page *)h2o_add_ostream(req, sizeof *page, slot);
	page->super.do_send = send_page;
	struct str body = page_body(f, req);
	struct http_conn *c = exchange_conn_of(req);
	if (c != NULL && req->version < 0x200)
		c->lingers = true; /* the rest of the request is not read */
	page->body = h2o_iovec_init(body.p, body.n);
	req->res.content_length = body.n;
	req->res.headers.size = 0;
	h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
	request_id_add(f, req);
	observe_library_error(f, req->res.status);
	h2o_setup_next_ostream(req, &page->super.next);
}

void library_errors_register(h2o_pathconf_t *path)
{
	h2o_create_filter(path, sizeof(h2o_filter_t))->on_setup_ostream = on_setup_ostream;
}
