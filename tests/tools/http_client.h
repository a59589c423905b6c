/* Clients for tests: HTTP/1.1 by hand over a blocking socket, HTTP/2 by libnghttp2. Every wait is bounded. */
#pragma once
#include "runtime/buf.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include <arpa/inet.h>
#include <nghttp2/nghttp2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENT_WAIT_MS = 10000, H2_STREAMS_MAX = 256 };

static inline int client_connect(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline bool client_readable(int fd, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, wait_ms) > 0;
}

/* true: all sent; false: the server has closed. */
static inline bool client_send(int fd, const void *bytes, size_t n)
{
	for (const char *p = bytes; n > 0;) {
		ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
		if (done <= 0)
			return false;
		p += done;
		n -= (size_t)done;
	}
	return true;
}

static inline bool client_send_text(int fd, const char *text)
{
	return client_send(fd, text, strlen(text));
}

/* Did the server end the connection? Reads what is left. */
static inline bool client_sees_end(int fd)
{
	char bytes[65536];
	uint64_t by_ns = clock_mono_ns() + CLIENT_WAIT_MS * 1000000ull;
	while (clock_mono_ns() < by_ns) {
		if (!client_readable(fd, 100))
			continue;
		if (recv(fd, bytes, sizeof bytes, 0) <= 0)
			return true;
	}
	return false;
}

/* ---- HTTP/1.1 ---- */
struct h1_answer {
	int status; /* 0: none came */
	char head[8192];
	struct buf body; /* owned */
};

struct h1_client {
	int fd;
	struct buf in; /* read and not used yet */
};

static inline bool h1_more(struct h1_client *c)
{
	char bytes[65536];
	if (!client_readable(c->fd, CLIENT_WAIT_MS))
		return false;
	ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
	if (n <= 0)
		return false;
	buf_append(&c->in, bytes, (size_t)n);
	return true;
}

static inline const char *h1_header(const struct h1_answer *a, const char *name)
{
	static char value[512];
	size_t n = strlen(name);
	for (const char *line = a->head; (line = strstr(line, "\r\n")) != NULL;) {
		line += 2;
		if (strncasecmp(line, name, n) != 0 || line[n] != ':')
			continue;
		const char *p = line + n + 1;
		p += strspn(p, " ");
		size_t length = strcspn(p, "\r");
		snprintf(value, sizeof value, "%.*s", (int)length, p);
		return value;
	}
	return NULL;
}

static inline void h1_consume(struct h1_client *c, size_t n)
{
	memmove(c->in.p, c->in.p + n, c->in.n - n);
	c->in.n -= n;
}

/* Reads one answer with a Content-Length (or none). has_body false: the answer to HEAD. */
static inline struct h1_answer h1_read_answer(struct h1_client *c, bool has_body)
{
	struct h1_answer a = { 0 };
	char *end;
	while (c->in.n == 0 || (end = memmem(c->in.p, c->in.n, "\r\n\r\n", 4)) == NULL)
		if (!h1_more(c))
			return a;
	size_t head_bytes = (size_t)(end - c->in.p) + 4;
	CHECK(head_bytes < sizeof a.head);
	memcpy(a.head, c->in.p, head_bytes);
	h1_consume(c, head_bytes);
	const char *length = h1_header(&a, "content-length");
	size_t body_bytes = has_body && length != NULL ? strtoul(length, NULL, 10) : 0;
	while (c->in.n < body_bytes)
		if (!h1_more(c))
			return a;
	buf_append(&a.body, c->in.p, body_bytes);
	h1_consume(c, body_bytes);
	a.status = atoi(a.head + strlen("HTTP/1.1 "));
	return a;
}

static inline struct h1_client h1_open(uint16_t port)
{
	struct h1_client c = { .fd = client_connect(port) };
	CHECK(c.fd >= 0);
	return c;
}

static inline void h1_close(struct h1_client *c)
{
	close(c->fd);
	buf_finish(&c->in);
}

/* One request on a connection of its own. headers: lines, each ended by CR LF. */
static inline struct h1_answer h1_once(uint16_t port, const char *method, const char *target, const char *headers,
				       struct str body)
{
	struct h1_client c = h1_open(port);
	struct buf out = { 0 };
	buf_printf(&out, "%s %s HTTP/1.1\r\nHost: x\r\n%s", method, target, headers);
	if (body.p != NULL)
		buf_printf(&out, "Content-Length: %zu\r\n", body.n);
	buf_append_lit(&out, "\r\n");
	buf_append_str(&out, body);
	client_send(c.fd, out.p, out.n);
	buf_finish(&out);
	struct h1_answer a = h1_read_answer(&c, strcmp(method, "HEAD") != 0);
	h1_close(&c);
	return a;
}

/* ---- HTTP/2 ---- */
struct h2_stream {
	int32_t id;
	int status;
	uint32_t error;
	bool is_closed;
	char request_id[160], encoding[16];
	struct buf body;
	struct str upload; /* what is left to send */
	bool hold_upload;  /* send no END_STREAM */
};

struct h2_client {
	int fd;
	nghttp2_session *session;
	struct h2_stream streams[H2_STREAMS_MAX];
	unsigned streams_len, open;
	bool is_over; /* the connection */
	int goaways;
	int32_t goaway_last;
};

static inline struct h2_stream *h2_find(struct h2_client *c, int32_t id)
{
	for (unsigned i = 0; i < c->streams_len; i++)
		if (c->streams[i].id == id)
			return &c->streams[i];
	return NULL;
}

static inline ssize_t h2_on_send(nghttp2_session *session, const uint8_t *data, size_t n, int flags, void *arg)
{
	struct h2_client *c = arg;
	(void)session;
	(void)flags;
	if (!client_send(c->fd, data, n)) {
		c->is_over = true;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

static inline int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
			       const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct h2_stream *s = h2_find(arg, frame->hd.stream_id);
	struct str key = { (const char *)name, name_n };
	(void)session;
	(void)flags;
	if (s == NULL)
		return 0;
	if (str_eq(key, STR(":status")))
		s->status = atoi((const char *)value);
	else if (str_eq(key, STR("x-request-id")))
		snprintf(s->request_id, sizeof s->request_id, "%.*s", (int)value_n, value);
	else if (str_eq(key, STR("content-encoding")))
		snprintf(s->encoding, sizeof s->encoding, "%.*s", (int)value_n, value);
	return 0;
}

static inline int h2_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
			     void *arg)
{
	struct h2_stream *s = h2_find(arg, id);
	(void)session;
	(void)flags;
	if (s != NULL)
		buf_append(&s->body, data, n);
	return 0;
}

static inline int h2_on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	struct h2_client *c = arg;
	struct h2_stream *s = h2_find(c, id);
	(void)session;
	if (s != NULL && !s->is_closed) {
		s->is_closed = true;
		s->error = error;
		c->open--;
	}
	return 0;
}

static inline int h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_client *c = arg;
	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		c->goaways++;
		c->goaway_last = frame->goaway.last_stream_id;
	}
	return 0;
}

/* window: of each stream; 0 keeps the server from sending any body. */
static inline struct h2_client *h2_open(uint16_t port, uint32_t window)
{
	struct h2_client *c = calloc(1, sizeof *c);
	nghttp2_session_callbacks *callbacks;
	nghttp2_settings_entry settings = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window };
	CHECK(c != NULL);
	c->fd = client_connect(port);
	CHECK(c->fd >= 0);
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_send_callback(callbacks, h2_on_send);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, h2_on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, h2_on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, h2_on_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, h2_on_frame);
	nghttp2_session_client_new(&c->session, callbacks, c);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &settings, 1);
	nghttp2_session_send(c->session);
	return c;
}

static inline void h2_close(struct h2_client *c)
{
	close(c->fd);
	nghttp2_session_del(c->session);
	for (unsigned i = 0; i < c->streams_len; i++)
		buf_finish(&c->streams[i].body);
	free(c);
}

static inline ssize_t h2_read_upload(nghttp2_session *session, int32_t id, uint8_t *out, size_t n, uint32_t *flags,
				     nghttp2_data_source *source, void *arg)
{
	struct h2_stream *s = source->ptr;
	(void)session;
	(void)id;
	(void)arg;
	size_t take = s->upload.n < n ? s->upload.n : n;
	if (take == 0 && s->hold_upload)
		return NGHTTP2_ERR_DEFERRED;
	memcpy(out, s->upload.p, take);
	s->upload = str_skip(s->upload, take);
	if (s->upload.n == 0 && !s->hold_upload)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)take;
}

static inline nghttp2_nv h2_nv(const char *name, const char *value)
{
	return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0 };
}

/* body p NULL: none. name NULL: no further header. hold: the body never ends. The request is sent by h2_run.
 */
static inline struct h2_stream *h2_submit(struct h2_client *c, const char *method, const char *target, const char *name,
					  const char *value, struct str body, bool hold)
{
	CHECK(c->streams_len < H2_STREAMS_MAX);
	struct h2_stream *s = &c->streams[c->streams_len++];
	nghttp2_nv headers[] = { h2_nv(":method", method), h2_nv(":scheme", "http"), h2_nv(":authority", "x"),
				 h2_nv(":path", target), h2_nv(name != NULL ? name : "", value != NULL ? value : "") };
	nghttp2_data_provider provider = { .source.ptr = s, .read_callback = h2_read_upload };
	s->upload = body;
	s->hold_upload = hold;
	s->id = nghttp2_submit_request(c->session, NULL, headers, name != NULL ? 5 : 4,
				       body.p != NULL ? &provider : NULL, NULL);
	CHECK(s->id > 0);
	c->open++;
	return s;
}

/* Sends and receives until all streams are closed (or, with until_over, the connection) or wait_ms have
 * passed. */
static inline bool h2_run(struct h2_client *c, bool until_over, int wait_ms)
{
	static uint8_t bytes[65536];
	uint64_t by_ns = clock_mono_ns() + (uint64_t)wait_ms * 1000000u;
	while (!c->is_over && (until_over || c->open > 0)) {
		nghttp2_session_send(c->session);
		if (clock_mono_ns() >= by_ns)
			return false;
		if (!client_readable(c->fd, 20))
			continue;
		ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
		if (n <= 0 || nghttp2_session_mem_recv(c->session, bytes, (size_t)n) < 0)
			c->is_over = true;
	}
	nghttp2_session_send(c->session);
	return until_over ? c->is_over : c->open == 0;
}
