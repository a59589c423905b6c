/* Clients that hold, trickle, flood or vanish, by raw bytes and frames, over plain text and TLS. What is asked each time:
 * the connection ends and is counted by its kind, a new client is served meanwhile, every descriptor is closed afterwards. */
#include "tests/tools/http_fixture.h"
#include "tests/tools/http_raw.h"
#include "runtime/metrics.h"
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static struct raw_tls tls;

enum protocol { PLAIN, TLS };
static const char *const protocol_names[] = { "plain", "TLS" };

static struct http_fixture *start(enum protocol p, struct http_config config, unsigned loops)
{
	if (p == TLS) {
		config.tls_cert_file = tls.cert;
		config.tls_key_file = tls.key;
	}
	return fixture_start(config, loops);
}

static const struct raw_tls *tls_of(enum protocol p)
{
	return p == TLS ? &tls : NULL;
}

static struct raw open_one(struct http_fixture *f, enum protocol p, bool is_http2)
{
	struct raw r;
	bool is_open = raw_try(&r, f->port, tls_of(p), is_http2, 0);
	CHECK(is_open);
	return r;
}

/* The sum over all kinds, or of one. */
static long cuts(const char *kind)
{
	static const char name[] = "\nfabra_http_connections_cut_total";
	struct buf text = { 0 };
	char label[64];
	long sum = 0;
	metrics_render(&text);
	buf_append_char(&text, '\0');
	snprintf(label, sizeof label, "{kind=\"%s\"}", kind != NULL ? kind : "");
	for (const char *at = text.p; (at = strstr(at, name)) != NULL;) {
		at += strlen(name);
		if (kind == NULL || strncmp(at, label, strlen(label)) == 0)
			sum += strtol(strchr(at, ' '), NULL, 10);
	}
	buf_finish(&text);
	return sum;
}

/* One request on a new connection. */
static int status_of_new_client(struct http_fixture *f, enum protocol p)
{
	struct raw r;
	char answer[4096];
	int status = 0;
	if (raw_try(&r, f->port, tls_of(p), false, 0) && raw_send_text(&r, "GET /sync/x HTTP/1.1\r\nHost: x\r\n\r\n")) {
		size_t n = raw_recv(&r, answer, sizeof answer - 1);
		answer[n] = '\0';
		status = n > 12 ? atoi(answer + strlen("HTTP/1.1 ")) : 0;
	}
	raw_close(&r);
	return status;
}

static void finish(struct http_fixture *f)
{
	assert_true(fixture_is_idle(f));
	fixture_stop(f);
}

/* ---- resets: nobody reports them, and the connection must be freed all the same ---- */
static void reset_after(struct http_fixture *f, enum protocol p, int version, int step)
{
	struct raw r;
	char some[256];
	assert_true(raw_try(&r, f->port, tls_of(p), step >= 3, version));
	if (step == 1)
		raw_send_text(&r, "GET /sync/x HTTP/1.1\r\nHost: x\r\n\r\n");
	else if (step == 2)
		raw_send_text(&r, "POST /bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc");
	else if (step == 3)
		raw_preface(&r, 65535);
	else if (step == 4)
		raw_preface(&r, 1 << 20), raw_request(&r, 1, "GET", "/never", FLAG_END_STREAM | FLAG_END_HEADERS);
	if (step == 1 || step >= 3)
		assert_true(raw_recv(&r, some, sizeof some) > 0);
	raw_reset(&r);
}

static void test_resets_free_the_connection(void **state)
{
	(void)state;
	enum { EACH = 40 };
	static const struct {
		enum protocol p;
		int version;
	} how[] = { { PLAIN, 0 }, { TLS, TLS1_2_VERSION }, { TLS, TLS1_3_VERSION } };
	for (size_t h = 0; h < ARRAY_LEN(how); h++)
		for (int step = 0; step < 5; step++) {
			struct http_fixture *f = start(how[h].p, (struct http_config){ .connections_max = 100 }, 2);
			for (int i = 0; i < EACH; i++)
				reset_after(f, how[h].p, how[h].version, step);
			if (!fixture_is_idle(f))
				fail_msg("%s %x, step %d: %u descriptors are left", protocol_names[how[h].p],
					 (unsigned)how[h].version, step, fds_open() - f->fds_before);
			assert_int_equal(status_of_new_client(f, how[h].p), 200);
			finish(f);
		}
}

/* ---- holders ---- */
enum holder {
	SILENT,
	HALF_HANDSHAKE,
	HALF_HEAD,
	HALF_BODY,
	PINGS,
	HALF_PREFACE,
	HALF_FRAME,
	HALF_BLOCK,
	OPEN_BODY,
	ZERO_WINDOW,
	UNREAD,
	HOLDERS
};
static const char *const holder_names[] = { "silent",       "half a handshake", "half a head",    "half a body",
					    "pings",        "half a preface",   "half a frame",   "half a header block",
					    "an open body", "a window of 0",    "an unread reply" };

static bool is_possible(enum protocol p, enum holder h)
{
	return h == HALF_HANDSHAKE ? p == TLS : true;
}

static struct raw hold(struct http_fixture *f, enum protocol p, enum holder h)
{
	static const uint8_t hello[] = { 22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3 };
	struct raw r;
	uint8_t head[256];
	int small = 4096;
	if (h == HALF_HANDSHAKE) {
		CHECK(raw_try(&r, f->port, NULL, false, 0));
		raw_send(&r, hello, sizeof hello);
		return r;
	}
	r = open_one(f, p, h >= PINGS && h < UNREAD);
	switch (h) {
	case SILENT:
	case HALF_HANDSHAKE:
	case HOLDERS:
		break;
	case HALF_HEAD:
		raw_send_text(&r, "GET /sync/x HTTP/1.1\r\nHost: x\r\nx-long: ");
		break;
	case HALF_BODY:
		raw_send_text(&r, "POST /bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nabc");
		break;
	case HALF_PREFACE:
		raw_send_text(&r, "PRI * HTTP/2.0\r\n\r\nSM");
		break;
	case PINGS:
		raw_preface(&r, 65535);
		raw_frame(&r, FRAME_PING, 0, 0, "12345678", 8);
		break;
	case HALF_FRAME:
		raw_preface(&r, 65535);
		raw_send(&r,
			 "\0\100\0\0\0\0\0\0\1"
			 "1234",
			 13); /* DATA of 16 KB */
		break;
	case HALF_BLOCK:
		raw_preface(&r, 65535);
		raw_frame(&r, FRAME_HEADERS, FLAG_END_STREAM, 1, head, raw_head(head, "GET", "/sync/x"));
		break;
	case OPEN_BODY:
		raw_preface(&r, 65535);
		raw_request(&r, 1, "POST", "/bytes", FLAG_END_HEADERS);
		raw_frame(&r, FRAME_DATA, 0, 1, "abc", 3);
		break;
	case ZERO_WINDOW:
		raw_preface(&r, 0);
		for (uint32_t i = 0; i < 10; i++)
			raw_request(&r, 1 + 2 * i, "GET", "/big?bytes=300000", FLAG_END_STREAM | FLAG_END_HEADERS);
		break;
	case UNREAD:
		setsockopt(r.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
		raw_send_text(&r, "GET /big?bytes=16000000 HTTP/1.1\r\nHost: x\r\n\r\n");
		break;
	}
	return r;
}

/* A little more of what it has begun, never the end of it. false: the connection has ended. */
static bool trickle(struct raw *r, enum holder h)
{
	switch (h) {
	case HALF_HANDSHAKE:
	case HALF_HEAD:
	case HALF_BODY:
	case HALF_FRAME:
		return raw_send(r, "a", 1) && !raw_has_hung_up(r);
	case HALF_BLOCK:
		return raw_frame(r, FRAME_CONTINUATION, 0, 1, "\x82", 1);
	case OPEN_BODY:
		return raw_frame(r, FRAME_DATA, 0, 1, "d", 1);
	case ZERO_WINDOW:
	case PINGS:
		return raw_frame(r, FRAME_PING, 0, 0, "12345678", 8);
	case SILENT:
	case HALF_PREFACE:
	case UNREAD:
	case HOLDERS:
		break;
	}
	return !raw_has_hung_up(r);
}

/* When the table is full, the next client gets in at once, whatever holds it, on whichever loop. */
static void test_a_full_table_makes_room(void **state)
{
	(void)state;
	enum { MAX = 8, ROUNDS = 12 };
	for (int p = PLAIN; p <= TLS; p++)
		for (int h = 0; h < HOLDERS; h++) {
			if (!is_possible(p, h))
				continue;
			struct http_fixture *f = start(p, (struct http_config){ .connections_max = MAX },
						       1 + (unsigned)h % 2);
			struct raw held[MAX];
			long evicted = cuts("evicted");
			for (int i = 0; i < MAX; i++)
				held[i] = hold(f, p, h);
			assert_true(EVENTUALLY(fds_open() == f->fds_before + 2 * MAX));
			for (int i = 0; i < ROUNDS; i++) {
				int status = status_of_new_client(f, p);
				if (status != 200)
					fail_msg("%s, %s: new client %d got %d", protocol_names[p], holder_names[h], i,
						 status);
			}
			assert_true(cuts("evicted") > evicted);
			for (int i = 0; i < MAX; i++)
				raw_close(&held[i]);
			finish(f);
		}
}

/* Not the connections whose requests the server is working on: those are the last, and then it says 503. */
/* Who was told that its body is too large, and neither sends nor closes, takes no place from others. */
static void test_lingering_connections_make_room(void **state)
{
	(void)state;
	enum { PLACES = 4 };
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, (struct http_config){ .connections_max = PLACES }, 1);
		struct raw told[PLACES];
		char answer[4096];
		for (int i = 0; i < PLACES; i++) {
			told[i] = open_one(f, p, false);
			raw_send_text(&told[i], "POST /bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx");
			size_t n = raw_recv(&told[i], answer, sizeof answer);
			assert_true(n > 12 && memcmp(answer, "HTTP/1.1 413", 12) == 0);
		}
		for (int i = 0; i < 2 * PLACES; i++)
			assert_int_equal(status_of_new_client(f, p), 200);
		for (int i = 0; i < PLACES; i++)
			raw_close(&told[i]);
		finish(f);
	}
}

/* Those who send nothing, or half of something, and never had a request, do not drive out clients that keep their connection. */
static void test_clients_that_come_back_are_not_driven_out(void **state)
{
	(void)state;
	enum { MAX = 16, KEPT = 6, FLOOD = 80 };
	static const char request[] = "GET /sync/x HTTP/1.1\r\nHost: x\r\n\r\n";
	for (int h = SILENT; h <= HALF_BODY; h++) {
		if (h == HALF_HANDSHAKE)
			continue;
		struct http_fixture *f = start(PLAIN, (struct http_config){ .connections_max = MAX }, 1);
		struct h1_client kept[KEPT];
		struct raw flood[FLOOD];
		for (int i = 0; i < KEPT; i++) {
			kept[i] = h1_open(f->port);
			client_send_text(kept[i].fd, request);
			struct h1_answer a = h1_read_answer(&kept[i], true);
			assert_int_equal(a.status, 200);
			buf_finish(&a.body);
		}
		long before = cuts("evicted");
		for (int i = 0; i < FLOOD; i++)
			flood[i] = hold(f, PLAIN, (enum holder)h);
		assert_true(EVENTUALLY(cuts("evicted") - before >= FLOOD + KEPT - MAX));
		for (int i = 0; i < KEPT; i++) {
			client_send_text(kept[i].fd, request);
			struct h1_answer a = h1_read_answer(&kept[i], true);
			if (a.status != 200)
				fail_msg("%s: kept client %d got %d", holder_names[h], i, a.status);
			buf_finish(&a.body);
			h1_close(&kept[i]);
		}
		for (int i = 0; i < FLOOD; i++)
			raw_close(&flood[i]);
		finish(f);
	}
}

/* A client that has closed gets no handshake: the first flight of a server costs a signature. */
static void test_no_handshake_for_who_is_gone(void **state)
{
	(void)state;
	struct http_fixture *f = start(TLS, (struct http_config){ 0 }, 1);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	char hello[2048], answer[16];
	SSL_set_connect_state(ssl);
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_do_handshake(ssl);
	int n = BIO_read(SSL_get_wbio(ssl), hello, sizeof hello);
	assert_true(n > 0);
	for (int gone = 0; gone < 2; gone++) {
		int fd = client_connect(f->port);
		/* The end is there before the hello is looked at: both come in what the kernel holds back. */
		int cork = 1;
		if (gone)
			setsockopt(fd, IPPROTO_TCP, TCP_CORK, &cork, sizeof cork);
		assert_int_equal(send(fd, hello, (size_t)n, MSG_NOSIGNAL), n);
		if (gone)
			shutdown(fd, SHUT_WR);
		ssize_t got = recv(fd, answer, sizeof answer, 0);
		assert_true(gone ? got <= 0 : got > 0);
		close(fd);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	finish(f);
}

static void test_work_is_not_evicted(void **state)
{
	(void)state;
	struct http_fixture *f = start(PLAIN, (struct http_config){ .connections_max = 4, .request_timeout_ms = 4000 },
				       2);
	struct h1_client busy[4];
	long before = cuts("evicted");
	for (int i = 0; i < 4; i++) {
		busy[i] = h1_open(f->port);
		client_send_text(busy[i].fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	assert_true(EVENTUALLY(atomic_load(&f->app.never) == 4));
	assert_int_equal(status_of_new_client(f, PLAIN), 503);
	assert_int_equal(cuts("evicted"), before);
	for (int i = 0; i < 4; i++) {
		struct h1_answer a = h1_read_answer(&busy[i], true);
		assert_int_equal(a.status, 504);
		buf_finish(&a.body);
		h1_close(&busy[i]);
	}
	finish(f);
}

static const struct http_config impatient = { .handshake_timeout_ms = 300,
					      .read_timeout_ms = 300,
					      .stall_timeout_ms = 300 };

static void test_holders_are_cut_in_time(void **state)
{
	(void)state;
	static const struct {
		enum holder h;
		const char *kind;
	} all[] = {
		{ HALF_HANDSHAKE, "handshake" },  { HALF_HEAD, "slow_request" },  { HALF_BODY, "slow_request" },
		{ HALF_PREFACE, "slow_request" }, { HALF_FRAME, "slow_request" }, { HALF_BLOCK, "slow_request" },
		{ OPEN_BODY, "slow_request" },    { ZERO_WINDOW, "slow_reader" }, { UNREAD, "slow_reader" },
	};
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, impatient, 2);
		for (size_t i = 0; i < ARRAY_LEN(all); i++) {
			if (!is_possible(p, all[i].h))
				continue;
			long before = cuts(all[i].kind);
			struct raw r = hold(f, p, all[i].h);
			bool is_over = EVENTUALLY(raw_has_hung_up(&r) || !trickle(&r, all[i].h));
			if (!is_over || !EVENTUALLY(cuts(all[i].kind) == before + 1))
				fail_msg("%s, %s: over %d, cut as %s %ld times", protocol_names[p],
					 holder_names[all[i].h], is_over, all[i].kind, cuts(all[i].kind) - before);
			raw_close(&r);
		}
		assert_int_equal(status_of_new_client(f, p), 200);
		finish(f);
	}
}

static void test_idle_connections_are_closed(void **state)
{
	(void)state;
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, (struct http_config){ .idle_timeout_ms = 200 }, 1);
		long before = cuts(NULL);
		struct raw silent = open_one(f, p, false), used = open_one(f, p, false), http2 = open_one(f, p, true);
		raw_send_text(&used, "GET /sync/x HTTP/1.1\r\nHost: x\r\n\r\n");
		raw_preface(&http2, 65535);
		assert_true(EVENTUALLY(!raw_drain(&silent, 1)));
		assert_true(EVENTUALLY(!raw_drain(&used, 1)));
		assert_true(EVENTUALLY(!raw_drain(&http2, 1)));
		assert_int_equal(cuts(NULL), before); /* no fault of theirs */
		raw_close(&silent);
		raw_close(&used);
		raw_close(&http2);
		finish(f);
	}
}

/* ---- clients that are slow for a reason ---- */
/* An upload takes longer than an idle connection may last: it is not idle. */
static void test_a_slow_upload_is_not_idle(void **state)
{
	(void)state;
	static const char wanted[] = "{\"bytes\":3}";
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, (struct http_config){ .idle_timeout_ms = 200 }, 1);
		struct raw upload = open_one(f, p, true);
		char bytes[4096];
		bool is_answered = false;
		raw_preface(&upload, 65535);
		raw_request(&upload, 1, "POST", "/bytes", FLAG_END_HEADERS);
		for (int i = 0; i < 3; i++) {
			struct raw idle = open_one(f, p, true); /* a clock: it lasts as long as it may */
			raw_preface(&idle, 65535);
			assert_true(EVENTUALLY(!raw_drain(&idle, 1)));
			raw_close(&idle);
			raw_frame(&upload, FRAME_DATA, i == 2 ? FLAG_END_STREAM : 0, 1, "x", 1);
		}
		for (size_t n; !is_answered && (n = raw_recv(&upload, bytes, sizeof bytes)) > 0;)
			is_answered = memmem(bytes, n, wanted, sizeof wanted - 1) != NULL;
		assert_true(is_answered);
		raw_close(&upload);
		finish(f);
	}
}

static void test_patient_clients_are_not_cut(void **state)
{
	(void)state;
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, impatient, 1);
		long before = cuts(NULL);
		struct raw idle = open_one(f, p, false), ping = open_one(f, p, true), work = open_one(f, p, false);
		char bytes[4096];
		raw_send_text(&idle, "GET /sync/x HTTP/1.1\r\nHost: x\r\n\r\n");
		assert_true(raw_recv(&idle, bytes, sizeof bytes) > 0);
		raw_preface(&ping, 65535);
		raw_send_text(&work, "GET /slow?ms=1200 HTTP/1.1\r\nHost: x\r\n\r\n");
		/* Meanwhile another is cut three times: more time has passed than any of the bounds. */
		for (int i = 0; i < 3; i++) {
			struct raw r = hold(f, p, HALF_HEAD);
			assert_true(EVENTUALLY(raw_has_hung_up(&r)));
			raw_close(&r);
			raw_frame(&ping, FRAME_PING, 0, 0, "12345678", 8);
			assert_true(raw_drain(&ping, 0));
		}
		raw_send_text(&idle, "GET /sync/x HTTP/1.1\r\nHost: x\r\n\r\n");
		assert_true(raw_recv(&idle, bytes, sizeof bytes) > 0);
		assert_true(raw_recv(&work, bytes, sizeof bytes) > 0);
		assert_int_equal(cuts(NULL), before + 3);
		raw_close(&idle);
		raw_close(&ping);
		raw_close(&work);
		finish(f);
	}
}

/* 4 MB at about 3 MB/s: the bounds pass several times. */
static void test_a_steady_reader_is_not_cut(void **state)
{
	(void)state;
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, impatient, 1);
		static char bytes[16384];
		int small = 16384;
		size_t total = 0, n;
		long before = cuts(NULL);
		struct raw r;
		CHECK(raw_try(&r, f->port, tls_of(p), false, 0));
		setsockopt(r.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
		raw_send_text(&r, "GET /big?bytes=12000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
		for (size_t paused = 0; (n = raw_recv(&r, bytes, sizeof bytes)) > 0;) {
			total += n;
			if (total - paused >= 65536 && total < 4000000) {
				poll(NULL, 0, 20); /* the pace is what is tested */
				paused = total;
			}
		}
		if (total <= 12000000)
			fail_msg("%s: %zu bytes came, %ld cuts", protocol_names[p], total, cuts(NULL) - before);
		assert_int_equal(cuts(NULL), before);
		raw_close(&r);
		finish(f);
	}
}

/* One reply stays half read while others are fetched: what the client takes of those counts, and its requests, two frames
 * each and larger than their replies, are not taken off it. A loop that is busy shows the same without the half. */
static void test_a_busy_client_is_not_cut(void **state)
{
	(void)state;
	enum { ROUNDS = 4, BATCH = 20 };
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, impatient, 1);
		long before = cuts(NULL);
		struct raw busy = open_one(f, p, true);
		uint32_t stream = 1;
		raw_preface(&busy, 1000);
		raw_frame(&busy, FRAME_WINDOW_UPDATE, 0, 0, "\x3f\xff\0\0", 4);
		raw_request(&busy, stream, "GET", "/big?bytes=300000", FLAG_END_STREAM | FLAG_END_HEADERS);
		for (int i = 0; i < ROUNDS; i++) { /* each lasts longer than the bounds of those who take nothing */
			struct raw idle = hold(f, p, ZERO_WINDOW);
			while (!raw_has_hung_up(&idle)) {
				uint8_t bytes[BATCH * 64], head[256];
				size_t n = 0;
				for (int k = 0; k < BATCH; k++) {
					stream += 2;
					n += raw_frame_write(bytes + n, FRAME_HEADERS, FLAG_END_HEADERS, stream, head,
							     raw_head(head, "POST", "/bytes"));
					n += raw_frame_write(bytes + n, FRAME_DATA, FLAG_END_STREAM, stream, "[1]", 3);
				}
				if (!raw_send(&busy, bytes, n) || !raw_drain(&busy, CLIENT_WAIT_MS))
					fail_msg("%s: cut in round %d after %u requests, %ld as slow_reader",
						 protocol_names[p], i, stream / 2, cuts("slow_reader"));
			}
			raw_close(&idle);
		}
		assert_int_equal(cuts(NULL), before + ROUNDS);
		raw_close(&busy);
		finish(f);
	}
}

/* ---- floods ---- */
struct flood {
	const char *kind;
	unsigned type, flags, stream;
	const char *payload;
	size_t n;
	const char *opening; /* the request before it: "POST", "HEADERS" (a block that goes on), "GET" or none */
};

static const struct flood floods[] = {
	{ "ping", FRAME_PING, 0, 0, "12345678", 8, NULL },
	{ "ping", FRAME_PING, 1, 0, "12345678", 8, NULL },
	{ "settings", FRAME_SETTINGS, 0, 0, NULL, 0, NULL },
	{ "settings", FRAME_SETTINGS, 0, 0, "\0\4\0\0\1\0", 6, "GET" },
	{ "settings", FRAME_SETTINGS, 1, 0, NULL, 0, NULL },
	{ "window_update", FRAME_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4, NULL },
	{ "window_update", FRAME_WINDOW_UPDATE, 0, 1, "\0\0\0\1", 4, "GET" },
	{ "data", FRAME_DATA, 0, 1, NULL, 0, "POST" },
	{ "data", FRAME_DATA, 0, 1, "x", 1, "POST" },
	{ "data", FRAME_DATA, FLAG_END_STREAM, 1, NULL, 0, "GET" },
	{ "data", FRAME_DATA, 8, 1,
	  "\20"
	  "0123456789abcdef",
	  17, "POST" },
	{ "continuation", FRAME_CONTINUATION, 0, 1, NULL, 0, "HEADERS" },
	{ "priority", FRAME_PRIORITY, 0, 1, "\0\0\0\0\20", 5, "POST" },
	{ "protocol", FRAME_PING, 0, 0, "1234567", 7, NULL },
	{ "resets", FRAME_RST_STREAM, 0, 1, "\0\0\0\10", 4, "GET" },
	{ "unknown", 0x42, 0, 0, "abc", 3, NULL },
	{ "goaway", FRAME_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8, NULL },
};

/* Sends until the connection ends; the frames that were sent. */
static int send_flood(struct raw *r, const struct flood *flood, int frames_max)
{
	enum { BATCH = 50 };
	uint8_t batch[BATCH * 64];
	size_t n = 0;
	for (int i = 0; i < BATCH; i++)
		n += raw_frame_write(batch + n, flood->type, flood->flags, flood->stream, flood->payload, flood->n);
	for (int sent = 0; sent < frames_max; sent += BATCH)
		if (!raw_send(r, batch, n) || !raw_drain(r, 0))
			return sent;
	return EVENTUALLY(!raw_drain(r, 1)) ? frames_max : -1;
}

static void test_floods(void **state)
{
	(void)state;
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, (struct http_config){ .control_frames_max = 200 }, 1);
		for (size_t i = 0; i < ARRAY_LEN(floods); i++) {
			const struct flood *flood = &floods[i];
			uint8_t head[256];
			long before = cuts(flood->kind), all = cuts(NULL);
			struct raw r = open_one(f, p, true);
			raw_preface(&r, 65535);
			if (flood->opening != NULL && strcmp(flood->opening, "HEADERS") == 0)
				raw_frame(&r, FRAME_HEADERS, 0, 1, head, raw_head(head, "GET", "/sync/x"));
			else if (flood->opening != NULL)
				raw_request(&r, 1, flood->opening,
					    strcmp(flood->opening, "GET") == 0 ? "/never" : "/bytes",
					    FLAG_END_HEADERS |
						(strcmp(flood->opening, "GET") == 0 ? FLAG_END_STREAM : 0));
			int sent = send_flood(&r, flood, 20000);
			if (sent < 0 || !EVENTUALLY(cuts(flood->kind) == before + 1))
				fail_msg("%s, flood %zu: %d frames sent, cut as %s %ld times", protocol_names[p], i,
					 sent, flood->kind, cuts(flood->kind) - before);
			assert_int_equal(cuts(NULL), all + 1);
			raw_close(&r);
		}
		assert_int_equal(status_of_new_client(f, p), 200);
		finish(f);
	}
}

/* Requests that are answered at once and then reset: each cheap, all of them without end. */
static void test_requests_with_resets(void **state)
{
	(void)state;
	struct http_fixture *f = start(PLAIN, (struct http_config){ .control_frames_max = 200 }, 1);
	long before = cuts("resets");
	struct raw r = open_one(f, PLAIN, true);
	bool is_over = false;
	raw_preface(&r, 65535);
	for (uint32_t i = 0; i < 20000 && !is_over; i++) {
		uint8_t bytes[512], head[256];
		size_t n = raw_frame_write(bytes, FRAME_HEADERS, FLAG_END_STREAM | FLAG_END_HEADERS, 1 + 2 * i, head,
					   raw_head(head, "GET", "/sync/x"));
		n += raw_frame_write(bytes + n, FRAME_RST_STREAM, 0, 1 + 2 * i, "\0\0\0\10", 4);
		is_over = !raw_send(&r, bytes, n) || !raw_drain(&r, 0);
	}
	assert_true(is_over || EVENTUALLY(!raw_drain(&r, 1)));
	assert_true(EVENTUALLY(cuts("resets") == before + 1));
	raw_close(&r);
	finish(f);
}

/* The frames of a talkative but honest client: PRIORITY, two WINDOW_UPDATE and a PING for each of many requests. */
static void test_a_talkative_client_is_not_cut(void **state)
{
	(void)state;
	struct http_fixture *f = start(PLAIN, (struct http_config){ .control_frames_max = 200 }, 1);
	long before = cuts(NULL);
	struct h2_client *c = h2_open(f->port, 65535);
	nghttp2_priority_spec priority;
	nghttp2_priority_spec_init(&priority, 0, 16, 0);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 100; i++) {
			struct h2_stream *s = h2_submit(c, "GET", i % 10 ? "/sync/x" : "/big?bytes=60000", NULL, NULL,
							(struct str){ 0 }, false);
			nghttp2_session_send(c->session); /* else PRIORITY overtakes it */
			nghttp2_submit_priority(c->session, NGHTTP2_FLAG_NONE, s->id, &priority);
			nghttp2_submit_window_update(c->session, NGHTTP2_FLAG_NONE, s->id, 1);
			nghttp2_submit_window_update(c->session, NGHTTP2_FLAG_NONE, 0, 1);
			nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
		}
		assert_true(h2_run(c, false, CLIENT_WAIT_MS));
		for (unsigned i = 0; i < c->streams_len; i++) {
			assert_int_equal(c->streams[i].status, 200);
			buf_finish(&c->streams[i].body);
		}
		memset(c->streams, 0, sizeof c->streams);
		c->streams_len = 0;
	}
	h2_close(c);
	assert_int_equal(cuts(NULL), before);
	finish(f);
}

/* ---- header blocks that are small and become large ---- */
/* An entry of 4 KB in the table, and thousands of references to it. */
static void test_header_bombs(void **state)
{
	(void)state;
	enum { ENTRY = 3900, REFERENCES = 12000 };
	static uint8_t block[ENTRY + REFERENCES + 300];
	for (int p = PLAIN; p <= TLS; p++)
		for (int as_trailer = 0; as_trailer < 2; as_trailer++) {
			struct http_fixture *f = start(p, (struct http_config){ 0 }, 1);
			long before = cuts("headers");
			struct raw r = open_one(f, p, true);
			size_t n = 0;
			raw_preface(&r, 65535);
			if (as_trailer)
				raw_request(&r, 1, "POST", "/bytes", FLAG_END_HEADERS);
			else
				n = raw_head(block, "GET", "/sync/x");
			block[n++] = 0x40; /* a literal that enters the table */
			block[n++] = 1;
			block[n++] = 'a';
			block[n++] = 0x7f; /* its length: 127 and what follows */
			block[n++] = (uint8_t)(0x80 | ((ENTRY - 127) & 0x7f));
			block[n++] = (uint8_t)((ENTRY - 127) >> 7);
			memset(block + n, 'v', ENTRY);
			n += ENTRY;
			memset(block + n, 0xbe, REFERENCES); /* index 62 */
			n += REFERENCES;
			raw_frame(&r, FRAME_HEADERS, FLAG_END_STREAM | FLAG_END_HEADERS, 1, block, n);
			assert_true(EVENTUALLY(!raw_drain(&r, 1)));
			assert_true(EVENTUALLY(cuts("headers") == before + 1));
			raw_close(&r);
			finish(f);
		}
}

/* A block without end, in frames of the largest size. */
static void test_endless_header_blocks(void **state)
{
	(void)state;
	static const uint8_t literals[16384] = { 0 }; /* fields without name or value */
	struct http_fixture *f = start(PLAIN, (struct http_config){ 0 }, 1);
	long before = cuts("headers");
	struct raw r = open_one(f, PLAIN, true);
	uint8_t head[256];
	raw_preface(&r, 65535);
	raw_frame(&r, FRAME_HEADERS, FLAG_END_STREAM, 1, head, raw_head(head, "GET", "/sync/x"));
	for (int i = 0; i < 40 && raw_frame(&r, FRAME_CONTINUATION, 0, 1, literals, sizeof literals); i++)
		;
	assert_true(EVENTUALLY(!raw_drain(&r, 1)));
	assert_true(EVENTUALLY(cuts("headers") == before + 1));
	raw_close(&r);
	finish(f);
}

/* ---- the server stops ---- */
static void test_the_grace_does_not_depend_on_clients(void **state)
{
	(void)state;
	enum { EACH = 3 };
	for (int p = PLAIN; p <= TLS; p++) {
		struct http_fixture *f = start(p, (struct http_config){ .shutdown_grace_ms = 300 }, 2);
		struct raw held[HOLDERS * EACH];
		for (int i = 0; i < HOLDERS * EACH; i++)
			held[i] = is_possible(p, i / EACH) ? hold(f, p, i / EACH) : (struct raw){ .fd = -1 };
		for (int i = 0; i < 30; i++)
			reset_after(f, p, p == TLS ? TLS1_2_VERSION : 0, 0);
		assert_int_equal(status_of_new_client(f, p), 200);
		http_server_drain(f->server, fixture_on_drained, f);
		assert_true(EVENTUALLY(atomic_load(&f->drained) == 1));
		for (int i = 0; i < HOLDERS * EACH; i++)
			if (held[i].fd >= 0)
				raw_close(&held[i]);
		fixture_stop(f);
	}
}

/* Nor does a connection that has not begun keep the server for the whole grace. */
static void test_half_a_handshake_does_not_delay_the_end(void **state)
{
	(void)state;
	struct http_fixture *f = start(TLS, (struct http_config){ .shutdown_grace_ms = 6 * CLIENT_WAIT_MS }, 2);
	struct raw held[4];
	for (int i = 0; i < 4; i++)
		held[i] = hold(f, TLS, HALF_HANDSHAKE);
	assert_int_equal(status_of_new_client(f, TLS), 200);
	http_server_drain(f->server, fixture_on_drained, f);
	assert_true(EVENTUALLY(atomic_load(&f->drained) == 1));
	for (int i = 0; i < 4; i++)
		raw_close(&held[i]);
	fixture_stop(f);
}

static int begin(void **state)
{
	(void)state;
	raw_tls_init(&tls);
	return 0;
}

static int end(void **state)
{
	(void)state;
	raw_tls_finish(&tls);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resets_free_the_connection),
		cmocka_unit_test(test_a_full_table_makes_room),
		cmocka_unit_test(test_lingering_connections_make_room),
		cmocka_unit_test(test_work_is_not_evicted),
		cmocka_unit_test(test_clients_that_come_back_are_not_driven_out),
		cmocka_unit_test(test_no_handshake_for_who_is_gone),
		cmocka_unit_test(test_holders_are_cut_in_time),
		cmocka_unit_test(test_idle_connections_are_closed),
		cmocka_unit_test(test_a_slow_upload_is_not_idle),
		cmocka_unit_test(test_patient_clients_are_not_cut),
		cmocka_unit_test(test_a_steady_reader_is_not_cut),
		cmocka_unit_test(test_a_busy_client_is_not_cut),
		cmocka_unit_test(test_floods),
		cmocka_unit_test(test_requests_with_resets),
		cmocka_unit_test(test_a_talkative_client_is_not_cut),
		cmocka_unit_test(test_header_bombs),
		cmocka_unit_test(test_endless_header_blocks),
		cmocka_unit_test(test_the_grace_does_not_depend_on_clients),
		cmocka_unit_test(test_half_a_handshake_does_not_delay_the_end),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
