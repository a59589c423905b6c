/* What one well-behaved client sees: routing, shapes of errors, keys, ids, bodies, deadlines; HTTP/1.1 and
 * HTTP/2. */
#include "tests/tools/http_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#ifdef FABRA_TSAN
enum { BYTES_ARE_SHADOWED = true };
#else
enum { BYTES_ARE_SHADOWED = false };
#endif

static struct http_fixture *open_server(void)
{
	return fixture_start((struct http_config){ .access_log = false }, 1);
}

static int set_up(void **state)
{
	*state = open_server();
	return 0;
}

static int tear_down(void **state)
{
	assert_true(fixture_is_idle(*state));
	fixture_stop(*state);
	return 0;
}

static int set_up_with_key(void **state)
{
	*state = fixture_start((struct http_config){ .api_key = "sesame-open" }, 1);
	return 0;
}

static void expect_h1(struct http_fixture *f, const char *method, const char *target, const char *headers,
		      const char *body, int status, const char *answer)
{
	struct h1_answer a = h1_once(f->port, method, target, headers, str_from(body));
	if (a.status != status || (answer != NULL && !str_eq(buf_str(&a.body), str_from(answer))))
		fail_msg("%s %s: %d %.*s", method, target, a.status, STR_ARG(buf_str(&a.body)));
	assert_non_null(h1_header(&a, "x-request-id"));
	buf_finish(&a.body);
}

/* Sends the request over HTTP/2 and compares status and body. */
static void expect_h2(struct http_fixture *f, const char *method, const char *target, const char *name,
		      const char *value, struct str body, int status, const char *answer)
{
	struct h2_client *c = h2_open(f->port, 1 << 20);
	struct h2_stream *s = h2_submit(c, method, target, name, value, body, false);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	if (s->status != status || (answer != NULL && !str_eq(buf_str(&s->body), str_from(answer))))
		fail_msg("%s %s: %d %.*s", method, target, s->status, STR_ARG(buf_str(&s->body)));
	assert_int_not_equal(strlen(s->request_id), 0);
	h2_close(c);
}

static void both(struct http_fixture *f, const char *method, const char *target, int status, const char *answer)
{
	expect_h1(f, method, target, "", NULL, status, answer);
	expect_h2(f, method, target, NULL, NULL, (struct str){ 0 }, status, answer);
}

static void test_routing(void **state)
{
	struct http_fixture *f = *state;
	both(f, "GET", "/health", 200, "{\"status\":\"ok\"}");
	both(f, "GET", "/sync/a%20b?q=%C3%A9+1&r=2", 200, "{\"name\":\"a b\",\"q\":\"\xc3\xa9 1\"}");
	both(f, "GET", "/sync/a%2Fb", 200, "{\"name\":\"a/b\"}");
	both(f, "GET", "/nothing", 404, "{\"detail\":\"Not Found\"}");
	both(f, "GET", "/../health", 404, "{\"detail\":\"Not Found\"}");
	both(f, "POST", "/health", 405, "{\"detail\":\"Method Not Allowed\"}");
	both(f, "BREW", "/health", 405, "{\"detail\":\"Method Not Allowed\"}");
	both(f, "GET", "/sync/x/?q=1", 307, "");
	both(f, "GET", "/sync/%ff", 400, "{\"detail\":\"the path is not UTF-8 once its %XX are decoded\"}");
	both(f, "GET", "/sync/x?q=%ff", 400, "{\"detail\":\"the query string is not UTF-8 once its %XX are decoded\"}");
	both(f, "GET", "/sync/nul%00?q=a%00b", 200, "{\"name\":\"nul\\u0000\",\"q\":\"a\\u0000b\"}");
}

static void test_repeated(void **state)
{
	struct http_fixture *f = *state;
	static const char q[] = "{\"detail\":\"the query parameter 'q' is given more than once\"}";
	static const char key[] = "{\"detail\":\"the header 'x-api-key' is given more than once\"}";
	both(f, "GET", "/sync/x?q=1&q=2", 400, q);
	both(f, "GET", "/sync/x?q=1&q=1", 400, q);
	both(f, "GET", "/sync/x?q&%71=2", 400, q); /* the same name, written in another way */
	both(f, "GET", "/sync/x?q=1&q", 400, q);
	both(f, "GET", "/sync/x?&q=1&&", 200, "{\"name\":\"x\",\"q\":\"1\"}");
	both(f, "GET", "/public?q=1&q=2", 200, NULL); /* it lets any query through */
	expect_h1(f, "GET", "/sync/x", "X-API-Key: a\r\nx-api-key: b\r\n", NULL, 400, key);
	expect_h1(f, "GET", "/sync/x", "X-API-Key: a\r\nx-api-key: a\r\n", NULL, 400, key);
	expect_h1(f, "GET", "/sync/x", "X-Request-Timeout-Ms: 5000\r\nX-Request-Timeout-Ms: 1\r\n", NULL, 400,
		  "{\"detail\":\"the header 'x-request-timeout-ms' is given more than once\"}");
	expect_h1(f, "POST", "/echo", "Idempotency-Key: a\r\nIdempotency-Key:\r\n", "{}", 400,
		  "{\"detail\":\"the header 'idempotency-key' is given more than once\"}");
	expect_h1(f, "GET", "/sync/x", "X-Request-Id: a\r\nX-Request-Id: b\r\n", NULL, 200, NULL);
}

static void test_headers_of_replies(void **state)
{
	struct http_fixture *f = *state;
	struct h1_answer a = h1_once(f->port, "POST", "/health", "", (struct str){ 0 });
	assert_string_equal(h1_header(&a, "allow"), "GET, HEAD");
	assert_string_equal(h1_header(&a, "content-type"), "application/json");
	buf_finish(&a.body);
	a = h1_once(f->port, "GET", "/sync/x/?q=1%2B", "", (struct str){ 0 });
	assert_string_equal(h1_header(&a, "location"), "/sync/x?q=1%2B");
	buf_finish(&a.body);
	a = h1_once(f->port, "GET", "/header", "X-Test: some text\r\n", (struct str){ 0 });
	assert_string_equal(h1_header(&a, "x-answer"), "some text");
	buf_finish(&a.body);
	a = h1_once(f->port, "HEAD", "/health", "", (struct str){ 0 });
	assert_int_equal(a.status, 200);
	assert_string_equal(h1_header(&a, "content-length"), "15");
	buf_finish(&a.body);
}

static void test_request_ids(void **state)
{
	struct http_fixture *f = *state;
	char headers[400], longest[130];
	memset(longest, 'a', 129);
	longest[129] = '\0';
	static const char *const kept[] = { "abc", "ctx_01-x/y:~!" }, *const replaced[] = { "a b", "", "\xc3\xa9" };
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		snprintf(headers, sizeof headers, "x-request-id: %s\r\n", kept[i]);
		struct h1_answer a = h1_once(f->port, "GET", "/health", headers, (struct str){ 0 });
		assert_string_equal(h1_header(&a, "x-request-id"), kept[i]);
		buf_finish(&a.body);
	}
	for (size_t i = 0; i <= ARRAY_LEN(replaced); i++) {
		snprintf(headers, sizeof headers, "x-request-id: %s\r\n",
			 i < ARRAY_LEN(replaced) ? replaced[i] : longest);
		struct h1_answer a = h1_once(f->port, "GET", "/health", headers, (struct str){ 0 });
		assert_int_equal(strlen(h1_header(&a, "x-request-id")), 16);
		buf_finish(&a.body);
	}
	snprintf(headers, sizeof headers, "x-request-id: %.128s\r\n", longest);
	struct h1_answer a = h1_once(f->port, "GET", "/nothing", headers, (struct str){ 0 });
	assert_int_equal(strlen(h1_header(&a, "x-request-id")), 128);
	buf_finish(&a.body);
}

static void test_json_bodies(void **state)
{
	struct http_fixture *f = *state;
	static const char broken[] =
	    "{\"detail\":[{\"type\":\"json_invalid\",\"loc\":[\"body\",5],\"msg\":\"JSON decode "
	    "error\",\"input\":{},\"ctx\":{\"error\":\"Expecting value\"}}]}";
	expect_h1(f, "POST", "/echo", "", "{\"a\":[1,2.5,\"x\"]}", 200, "{\"a\":[1,2.5,\"x\"]}");
	expect_h1(f, "POST", "/echo", "Content-Type: text/plain\r\n", "{\"a\":1}", 200, "{\"a\":1}");
	expect_h1(f, "POST", "/echo", "", "{\"a\":", 422, broken);
	/* The position counts characters, as Python's does. */
	expect_h1(f, "POST", "/echo", "", "[\"\xc3\xa9\",", 422, broken);
	expect_h2(f, "POST", "/echo", NULL, NULL, STR("{\"a\":"), 422, broken);
	expect_h1(f, "POST", "/echo", "", "\"\xff\"", 400,
		  "{\"detail\":\"There was an error parsing the body: it is not UTF-8\"}");
	expect_h1(f, "POST", "/echo", "", "", 422,
		  "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\"],\"msg\":\"Field required\",\"input\":null}]}");
}

static void test_encoded_bodies(void **state)
{
	struct http_fixture *f = *state;
	static const char refused[] =
	    "{\"detail\":\"the body must not be encoded: its Content-Encoding is not identity\"}";
	expect_h1(f, "POST", "/echo", "Content-Encoding: gzip\r\n", "{}", 415, refused);
	expect_h1(f, "POST", "/echo", "Content-Encoding: identity, BR\r\n", "{}", 415, refused);
	expect_h1(f, "POST", "/echo", "Content-Encoding: identity\r\nContent-Encoding: zstd\r\n", "{}", 415, refused);
	expect_h1(f, "POST", "/echo", "Content-Encoding: gzip\r\n", "\x1f\x8b\x08", 415, refused); /* not "not JSON" */
	expect_h2(f, "POST", "/echo", "content-encoding", "deflate", STR("{}"), 415, refused);
	expect_h1(f, "POST", "/echo", "Content-Encoding: Identity\r\n", "{}", 200, "{}");
	expect_h1(f, "POST", "/echo", "Content-Encoding:\r\n", "{}", 200, "{}");
	expect_h1(f, "GET", "/sync/x", "Content-Encoding: gzip\r\n", NULL, 200, NULL); /* nobody reads its body */
	struct h1_answer a = h1_once(f->port, "POST", "/echo", "Content-Encoding: gzip\r\n", STR("{}"));
	assert_string_equal(h1_header(&a, "accept-encoding"), "identity");
	buf_finish(&a.body);
}

static void test_keys(void **state)
{
	struct http_fixture *f = *state;
	static const char refused[] = "{\"detail\":\"Could not validate credentials\"}";
	expect_h1(f, "GET", "/sync/x", "X-API-Key: sesame-open\r\n", NULL, 200, NULL);
	expect_h2(f, "GET", "/sync/x", "x-api-key", "sesame-open", (struct str){ 0 }, 200, NULL);
	static const char *const wrong[] = { "",
					     "X-API-Key: \r\n",
					     "X-API-Key: sesame-opeN\r\n",
					     "X-API-Key: sesame-ope\r\n",
					     "X-API-Key: sesame-opensesame-open\r\n",
					     "X-API-Key: \xc3\xa9\xff\r\n" };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		expect_h1(f, "GET", "/sync/x", wrong[i], NULL, 403, refused);
	expect_h1(f, "GET", "/health", "", NULL, 200, NULL);
	expect_h1(f, "GET", "/public", "", NULL, 200, NULL);
	/* Routing and the body's JSON come before the key. */
	expect_h1(f, "GET", "/nothing", "", NULL, 404, NULL);
	expect_h1(f, "POST", "/echo", "", "{", 422, NULL);
	expect_h1(f, "POST", "/echo", "", "{}", 403, refused);
	expect_h1(f, "GET", "/sync/x?q=%ff", "", NULL, 403, refused);
}

static void test_asks_and_deadlines(void **state)
{
	struct http_fixture *f = *state;
	both(f, "GET", "/slow?ms=20", 200, "{\"slept\":true}");
	both(f, "GET", "/early", 200, "{\"early\":true}");
	both(f, "GET", "/fail", 500, "Internal Server Error");
	both(f, "GET", "/forgets", 500, "Internal Server Error");
	both(f, "GET", "/twice", 200, "1");
	uint64_t before_ns = clock_mono_ns();
	expect_h1(f, "GET", "/never", "x-request-timeout-ms: 60\r\n", NULL, 504,
		  "{\"detail\":\"the request's deadline has passed\"}");
	expect_h2(f, "GET", "/never", "x-request-timeout-ms", "60", (struct str){ 0 }, 504, NULL);
	assert_true(clock_mono_ns() - before_ns >= 120 * 1000000ull);
	static const char *const wrong[] = { "0", "x", "-1", "1.5", "" };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		char header[64];
		snprintf(header, sizeof header, "x-request-timeout-ms: %s\r\n", wrong[i]);
		expect_h1(f, "GET", "/slow?ms=1", header, NULL, 422, NULL);
	}
	expect_h1(f, "GET", "/slow?ms=1", "x-request-timeout-ms: 99999999999999999999\r\n", NULL, 200, NULL);
	assert_true(EVENTUALLY(atomic_load(&f->app.ended) == 9));
}

static void test_keep_alive_and_pipelining(void **state)
{
	struct http_fixture *f = *state;
	struct h1_client c = h1_open(f->port);
	for (int round = 0; round < 3; round++) {
		client_send_text(c.fd, "GET /slow?ms=5 HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\n"
				       "Content-Length: 2\r\n\r\n[]GET /sync/z HTTP/1.1\r\nHost: x\r\n\r\n");
		static const char *const expected[] = { "{\"slept\":true}", "[]", "{\"name\":\"z\"}" };
		for (size_t i = 0; i < 3; i++) {
			struct h1_answer a = h1_read_answer(&c, true);
			assert_int_equal(a.status, 200);
			assert_true(str_eq(buf_str(&a.body), str_from(expected[i])));
			buf_finish(&a.body);
		}
	}
	h1_close(&c);
}

static void test_body_limit(void **state)
{
	struct http_fixture *f = *state;
	size_t limit = 1 << 20;
	char *body = malloc(limit + 1);
	memset(body, 'x', limit + 1);
	struct h1_answer a = h1_once(f->port, "POST", "/bytes", "", str_of(body, limit));
	assert_true(a.status == 200 && str_eq(buf_str(&a.body), STR("{\"bytes\":1048576}")));
	buf_finish(&a.body);
	a = h1_once(f->port, "POST", "/bytes", "", str_of(body, limit + 1));
	assert_true(a.status == 413 &&
		    str_eq(buf_str(&a.body), STR("{\"detail\":\"the body is larger than 1048576 bytes\"}")));
	buf_finish(&a.body);
	expect_h2(f, "POST", "/bytes", NULL, NULL, str_of(body, limit), 200, "{\"bytes\":1048576}");
	expect_h2(f, "POST", "/bytes", NULL, NULL, str_of(body, limit + 1), 413, NULL);
	/* HTTP/1 announces it: the answer comes before the body does. */
	struct h1_client c = h1_open(f->port);
	client_send_text(c.fd, "POST /bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
	a = h1_read_answer(&c, true);
	assert_true(a.status == 413 &&
		    str_eq(buf_str(&a.body), STR("{\"detail\":\"the body is larger than 1048576 bytes\"}")));
	assert_non_null(h1_header(&a, "x-request-id"));
	buf_finish(&a.body);
	h1_close(&c);
	free(body);
}

static size_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long all = 0, resident = 0;
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &all, &resident), 2);
	fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Of a body that is too large no more is kept than shows it, however it is sent; who sends all of it reads the 413. */
static void test_bodies_that_are_much_too_large(void **state)
{
	struct http_fixture *f = *state;
	enum { MIB = 1 << 20, UPLOADS = 12 };
	struct str body = { malloc(15 * MIB), 15 * MIB };
	struct str why = STR("{\"detail\":\"the body is larger than 1048576 bytes\"}");
	struct h2_stream *uploads[UPLOADS];
	memset((char *)body.p, 'x', body.n);

	struct h1_answer a = h1_once(f->port, "POST", "/bytes", "", body);
	assert_true(a.status == 413 && str_eq(buf_str(&a.body), why));
	buf_finish(&a.body);
	struct h1_client c = h1_open(f->port);
	client_send_text(c.fd, "POST /bytes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n");
	client_send(c.fd, body.p, 0x400000);
	client_send_text(c.fd, "\r\n0\r\n\r\n");
	a = h1_read_answer(&c, true);
	assert_true(a.status == 413 && str_eq(buf_str(&a.body), why));
	buf_finish(&a.body);
	h1_close(&c);
	expect_h2(f, "POST", "/bytes", NULL, NULL, body, 413, why.p);
	expect_h2(f, "POST", "/bytes", "content-length", "15728640", body, 413, why.p);

	size_t before = resident_bytes(), most = 0;
	struct h2_client *h2 = h2_open(f->port, 1 << 20);
	for (int i = 0; i < UPLOADS; i++)
		uploads[i] = h2_submit(h2, "POST", "/bytes", NULL, NULL, body, true);
	for (size_t left = 1; left > 0;) {
		h2_run(h2, false, 10);
		left = 0;
		for (int i = 0; i < UPLOADS; i++)
			left += uploads[i]->upload.n;
		size_t now = resident_bytes();
		most = now > most ? now : most;
	}
	if (BYTES_ARE_SHADOWED)
		print_message("skipped: the memory of %d uploads, since ThreadSanitizer takes some for each byte\n",
			      UPLOADS);
	else if (most > before + 60 * MIB)
		fail_msg("%d uploads made %zu MiB out of %zu MiB", UPLOADS, most / MIB, before / MIB);
	/* At sixteen times the limit the connection ends. */
	assert_false(h2_run(h2, false, 50));
	uploads[0]->upload = str_first(body, 2 * MIB);
	nghttp2_session_resume_data(h2->session, uploads[0]->id);
	assert_true(h2_run(h2, true, CLIENT_WAIT_MS));
	h2_close(h2);
	free((char *)body.p);
}

/* A client of a later 1.x gets what it must understand: HTTP/1.1 (RFC 9110, 2.5). */
static void test_minor_versions(void **state)
{
	struct http_fixture *f = *state;
	struct h1_client c = h1_open(f->port);
	for (int minor = 1; minor <= 9; minor++) {
		char request[64];
		snprintf(request, sizeof request, "GET /sync/x HTTP/1.%d\r\nHost: x\r\n\r\n", minor);
		client_send_text(c.fd, request);
		struct h1_answer a = h1_read_answer(&c, true); /* on one connection */
		assert_int_equal(a.status, 200);
		assert_true(str_starts(str_from(a.head), STR("HTTP/1.1 200 OK\r\n")));
		assert_string_equal(h1_header(&a, "content-length"), "12");
		buf_finish(&a.body);
	}
	h1_close(&c);
}

static void test_chunked_body(void **state)
{
	struct http_fixture *f = *state;
	struct h1_client c = h1_open(f->port);
	client_send_text(c.fd,
			 "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n"
			 "0\r\n\r\n");
	struct h1_answer a = h1_read_answer(&c, true);
	assert_true(a.status == 200 && str_eq(buf_str(&a.body), STR("[1,2]")));
	buf_finish(&a.body);
	client_send_text(c.fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	a = h1_read_answer(&c, false);
	assert_int_equal(a.status, 100);
	client_send_text(c.fd, "{}");
	a = h1_read_answer(&c, true);
	assert_true(a.status == 200 && str_eq(buf_str(&a.body), STR("{}")));
	buf_finish(&a.body);
	h1_close(&c);
}

static void test_header_limit(void **state)
{
	struct http_fixture *f = *state;
	char *value = malloc(17000), *line = malloc(17100);
	memset(value, 'v', 16999);
	value[16999] = '\0';
	snprintf(line, 17100, "x-large: %s\r\n", value);
	expect_h1(f, "GET", "/sync/x", line, NULL, 431, NULL);
	expect_h2(f, "GET", "/sync/x", "x-large", value, (struct str){ 0 }, 431, NULL);
	value[15000] = '\0';
	snprintf(line, 17100, "x-large: %s\r\n", value);
	expect_h1(f, "GET", "/sync/x", line, NULL, 200, NULL);
	expect_h2(f, "GET", "/sync/x", "x-large", value, (struct str){ 0 }, 200, NULL);
	free(value);
	free(line);
}

static void test_compression(void **state)
{
	struct http_fixture *f = *state;
	static const struct {
		const char *target;
		const char *accept;
		bool is_compressed;
	} cases[] = {
		{ "/big?bytes=1000000", "gzip", true },
		{ "/big?bytes=9000", "br, gzip", true },
		{ "/big?bytes=1000000", "identity", false },
		{ "/big?bytes=8000", "gzip", false },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct h2_client *c = h2_open(f->port, 1 << 20);
		struct h2_stream *s = h2_submit(c, "GET", cases[i].target, "accept-encoding", cases[i].accept,
						(struct str){ 0 }, false);
		assert_true(h2_run(c, false, CLIENT_WAIT_MS));
		size_t full = strtoul(strchr(cases[i].target, '=') + 1, NULL, 10);
		assert_int_equal(s->status, 200);
		assert_string_equal(s->encoding, cases[i].is_compressed ? "gzip" : "");
		assert_true(cases[i].is_compressed ? s->body.n < full / 2 : s->body.n == full);
		h2_close(c);
	}
}

/* A cache that keeps the one form must not give it to who asks for the other (RFC 9110, 12.5.5). */
static void test_what_may_be_compressed_says_so(void **state)
{
	struct http_fixture *f = *state;
	static const struct {
		const char *target, *headers;
		bool varies;
	} cases[] = {
		{ "/big?bytes=9000", "Accept-Encoding: gzip\r\n", true },
		{ "/big?bytes=9000", "Accept-Encoding: identity\r\n", true },
		{ "/big?bytes=9000", "", true },
		{ "/big?bytes=8000", "Accept-Encoding: gzip\r\n", false },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct h1_answer a = h1_once(f->port, "GET", cases[i].target, cases[i].headers, (struct str){ 0 });
		assert_int_equal(a.status, 200);
		const char *found = strcasestr(a.head, "\r\nvary: accept-encoding\r\n");
		assert_true((found != NULL) == cases[i].varies);
		assert_true(found == NULL || strcasestr(found + 1, "\r\nvary:") == NULL);
		buf_finish(&a.body);
	}
}

/* RFC 9110, 12.5.3. */
static void test_accepted_codings(void **state)
{
	struct http_fixture *f = *state;
	static const struct {
		const char *accept;
		bool is_compressed;
	} cases[] = {
		{ "gzip;q=1.0", true },
		{ "br;q=1.0, gzip;q=0.8", true },
		{ "GZip ; Q=0.001", true },
		{ "x-gzip", true },
		{ "*", true },
		{ "br, *;q=0.1", true },
		{ "identity;q=0.5, gzip", true },
		{ "gzip\r\nAccept-Encoding: br", true },
		{ "br\r\nAccept-Encoding: gzip;q=1", true },
		{ ", ,gzip", true },
		{ "gzip;q=0", false },
		{ "gzip; q=0.000, *", false },
		{ "*;q=0", false },
		{ "*, gzip;q=0", false },
		{ "identity, gzip;q=0.5", false },
		{ "identity;q=1, *;q=0.5", false },
		{ "gzip;q=2", false },
		{ "gzip;q=", false },
		{ "gzip;q=0.5x", false },
		{ "gzip;level=1", false },
		{ "gzipped", false },
		{ "", false },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char headers[100];
		snprintf(headers, sizeof headers, "Accept-Encoding: %s\r\n", cases[i].accept);
		struct h1_answer a = h1_once(f->port, "GET", "/big?bytes=9000", headers, (struct str){ 0 });
		bool is_compressed = h1_header(&a, "content-encoding") != NULL;
		if (a.status != 200 || is_compressed != cases[i].is_compressed)
			fail_msg("%s: status %d", cases[i].accept, a.status);
		buf_finish(&a.body);
	}
}

/* HEAD has the headers of GET; a length only where that of GET is the same (RFC 9110, 8.6 and 9.3.2). */
static void test_head(void **state)
{
	struct http_fixture *f = *state;
	static const char *const targets[] = { "/big?bytes=100", "/big?bytes=9000", "/big?bytes=100000", "/nothing" };
	static const char *const accepts[] = { "", "Accept-Encoding: gzip\r\n", "Accept-Encoding: gzip;q=0\r\n" };
	static const char *const names[] = { "content-type", "content-encoding", "vary", "accept-ranges",
					     "content-length" };
	for (size_t i = 0; i < ARRAY_LEN(targets) * ARRAY_LEN(accepts); i++) {
		const char *target = targets[i / ARRAY_LEN(accepts)], *accept = accepts[i % ARRAY_LEN(accepts)];
		struct h1_answer get = h1_once(f->port, "GET", target, accept, (struct str){ 0 });
		struct h1_answer head = h1_once(f->port, "HEAD", target, accept, (struct str){ 0 });
		assert_int_equal(head.status, get.status);
		assert_int_equal(head.body.n, 0);
		for (size_t j = 0; j < ARRAY_LEN(names); j++) {
			char of_get[512], of_head[512];
			const char *value = h1_header(&get, names[j]);
			snprintf(of_get, sizeof of_get, "%s", value ? value : "(absent)");
			value = h1_header(&head, names[j]);
			snprintf(of_head, sizeof of_head, "%s", value ? value : "(absent)");
			if (strcmp(of_get, of_head) != 0)
				fail_msg("%s, %s: %s is '%s', not '%s'", target, accept, names[j], of_head, of_get);
		}
		buf_finish(&get.body);
		buf_finish(&head.body);
	}
}

static void test_documents(void **state)
{
	struct http_fixture *f = *state;
	struct h1_answer a = h1_once(f->port, "GET", "/openapi.json", "", (struct str){ 0 });
	yyjson_doc *doc = yyjson_read(a.body.p, a.body.n, 0);
	yyjson_val *paths = yyjson_obj_get(yyjson_doc_get_root(doc), "paths");
	for (size_t i = 0; i < ARRAY_LEN(test_routes); i++)
		assert_non_null(yyjson_obj_get(paths, test_routes[i].path));
	yyjson_val *feature = yyjson_obj_get(yyjson_obj_get(paths, "/v1/features/{name}"), "get");
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(feature, "parameters")), 1);
	yyjson_doc_free(doc);
	buf_finish(&a.body);

	a = h1_once(f->port, "GET", "/docs", "", (struct str){ 0 });
	buf_append_char(&a.body, '\0');
	assert_string_equal(h1_header(&a, "content-type"), "text/html; charset=utf-8");
	assert_non_null(strstr(a.body.p, "Echoes &lt;name&gt; &amp; q."));
	assert_non_null(strstr(a.body.p, "-d '{&quot;a&quot;:&quot;it'\\''s&quot;}'"));
	assert_non_null(strstr(a.body.p, "/sync/{name}?q=..."));
	assert_null(strstr(a.body.p, "src="));
	assert_null(strstr(a.body.p, "<script"));
	buf_finish(&a.body);

	a = h1_once(f->port, "GET", "/metrics", "", (struct str){ 0 });
	buf_append_char(&a.body, '\0');
	assert_string_equal(h1_header(&a, "content-type"), "text/plain; version=0.0.4; charset=utf-8");
	assert_non_null(
	    strstr(a.body.p, "fabra_request_count_total{method=\"GET\",endpoint=\"/docs\",status=\"200\"}"));
	assert_null(strstr(a.body.p, "endpoint=\"/nothing\""));
	buf_finish(&a.body);
}

/* ---- replies in pieces ---- */

/* Reads until the connection ends; *ret_is_whole: with the last, empty chunk. */
static void read_pieces(struct http_fixture *f, const char *target, struct buf *ret, bool *ret_is_whole)
{
	struct h1_client c = h1_open(f->port);
	struct buf out = { 0 };
	buf_printf(&out, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", target);
	client_send(c.fd, out.p, out.n);
	while (h1_more(&c))
		;
	buf_append_str(ret, buf_str(&c.in));
	buf_append_char(ret, '\0');
	*ret_is_whole = ret->n > 8 && strcmp(ret->p + ret->n - 8, "\r\n0\r\n\r\n") == 0;
	buf_finish(&out);
	h1_close(&c);
}

static void test_pieces_arrive_in_their_order(void **state)
{
	struct http_fixture *f = *state;
	struct buf text = { 0 };
	bool is_whole;
	read_pieces(f, "/pieces", &text, &is_whole);
	assert_true(is_whole);
	assert_non_null(strstr(text.p, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(text.p, "transfer-encoding: chunked\r\n"));
	assert_non_null(strstr(text.p, "\r\n\r\n4\r\nbbbb\r\n4\r\ncccc\r\n4\r\ndddd\r\n0\r\n\r\n"));
	expect_h2(f, "GET", "/pieces?n=2&bytes=3", NULL, NULL, (struct str){ 0 }, 200, "bbbccc");
	expect_h2(f, "GET", "/pieces?n=1", NULL, NULL, (struct str){ 0 }, 200, "bbbb");
	buf_finish(&text);
	struct h2_client *c = h2_open(f->port, 1 << 16);
	struct h2_stream *all[20];
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		all[i] = h2_submit(c, "GET", "/pieces?n=40&bytes=5000", NULL, NULL, (struct str){ 0 }, false);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		assert_int_equal(all[i]->body.n, 40 * 5000);
		for (size_t k = 0; k < all[i]->body.n; k++)
			if (all[i]->body.p[k] != (char)('a' + (k / 5000 + 1) % 26))
				fail_msg("byte %zu", k);
	}
	h2_close(c);
	assert_true(EVENTUALLY(atomic_load(&f->app.ended) == 23));
}

/* HTTP/1.0 knows no chunks: what has no length ends where the connection does (RFC 9112, 6.3). */
static void test_pieces_end_a_connection_of_http_1_0(void **state)
{
	struct http_fixture *f = *state;
	struct h1_client c = h1_open(f->port);
	uint64_t before_ns = clock_mono_ns();
	client_send_text(c.fd, "GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	while (h1_more(&c))
		;
	/* The end came, not the end of the wait. */
	assert_true(clock_mono_ns() - before_ns < CLIENT_WAIT_MS * 1000000ull);
	buf_append_char(&c.in, '\0');
	assert_non_null(strcasestr(c.in.p, "\r\nconnection: close\r\n"));
	assert_null(strcasestr(c.in.p, "keep-alive"));
	assert_null(strcasestr(c.in.p, "transfer-encoding"));
	assert_non_null(strstr(c.in.p, "\r\n\r\nbbbbccccdddd"));
	h1_close(&c);
	/* What has a length keeps it open. */
	c = h1_open(f->port);
	for (int i = 0; i < 2; i++) {
		client_send_text(c.fd, "GET /sync/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
		struct h1_answer a = h1_read_answer(&c, true);
		assert_string_equal(h1_header(&a, "connection"), "keep-alive");
		buf_finish(&a.body);
	}
	h1_close(&c);
}

static void test_a_reply_that_breaks_has_no_end(void **state)
{
	struct http_fixture *f = *state;
	struct buf text = { 0 };
	bool is_whole;
	both(f, "GET", "/pieces?fail=1", 500, "{\"detail\":\"it broke\"}"); /* nothing has been sent yet */
	read_pieces(f, "/pieces?fail=3", &text, &is_whole);
	assert_non_null(strstr(text.p, "cccc"));
	assert_false(is_whole);
	struct h2_client *c = h2_open(f->port, 1 << 20);
	struct h2_stream *s = h2_submit(c, "GET", "/pieces?fail=3", NULL, NULL, (struct str){ 0 }, false);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	assert_int_equal(s->status, 200);
	assert_int_not_equal(s->error, NGHTTP2_NO_ERROR);
	h2_close(c);
	/* The deadline, counted from the piece before. */
	c = h2_open(f->port, 1 << 20);
	s = h2_submit(c, "GET", "/pieces?hang=3", "x-request-timeout-ms", "80", (struct str){ 0 }, false);
	assert_true(h2_run(c, false, CLIENT_WAIT_MS));
	assert_true(str_eq(buf_str(&s->body), STR("bbbbcccc")));
	assert_int_not_equal(s->error, NGHTTP2_NO_ERROR);
	h2_close(c);
	buf_finish(&text);
}

/* Who does not read gets no more made, and who leaves ends it, over both protocols. */
static void test_who_does_not_read_slows_down_who_writes(void **state)
{
	struct http_fixture *f = *state;
	struct h2_client *c = h2_open(f->port, 70000);
	h2_submit(c, "GET", "/pieces?n=1000&bytes=30000", NULL, NULL, (struct str){ 0 }, false);
	nghttp2_session_send(c->session); /* and reads nothing: no window is given back */
	assert_true(EVENTUALLY(atomic_load(&f->app.pieces) >= 3));
	struct h1_client h1 = h1_open(f->port);
	client_send_text(h1.fd, "GET /pieces?n=1000&bytes=1000000 HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(EVENTUALLY(atomic_load(&f->app.pieces) >= 5));
	both(f, "GET", "/slow?ms=300", 200, "{\"slept\":true}"); /* time enough for many more */
	assert_in_range(atomic_load(&f->app.pieces), 5, 60);
	assert_int_equal(atomic_load(&f->app.ended), 2);
	h2_close(c);
	h1_close(&h1);
	assert_true(EVENTUALLY(atomic_load(&f->app.ended) == 4));
}

static void test_server_that_cannot_start(void **state)
{
	struct http_fixture *f = *state;
	static const struct route twice[] = { { .method = "GET", .path = "/health", .on_request = on_value } };
	static const struct route broken[] = {
		{ .method = "GET", .path = "/x", .on_request = on_value, .openapi = "{" }
	};
	const struct http_config wrong[] = {
		{ .host = "127.0.0.1", .port = f->port },
		{ .host = "256.0.0.1" },
		{ .tls_cert_file = "/nonexistent/cert.pem" },
		{ .tls_cert_file = "/nonexistent/cert.pem", .tls_key_file = "/nonexistent/key.pem" },
		{ .routes = twice, .routes_count = 1 },
		{ .routes = broken, .routes_count = 1 },
	};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct loop *loop = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
		struct buf why = { 0 };
		unsigned fds = fds_open();
		assert_null(http_server_create(&wrong[i], &loop, 1, &why));
		assert_true(why.n > 10);
		assert_int_equal(fds_open(), fds);
		buf_finish(&why);
		loop_destroy(loop);
	}
}

static void test_server_that_never_runs(void **state)
{
	(void)state;
	struct loop *loop = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
	struct buf why = { 0 };
	struct http_server *s = http_server_create(&(struct http_config){ 0 }, &loop, 1, &why);
	assert_non_null(s);
	http_server_destroy(s);
	loop_destroy(loop);
}

#define OPEN(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OPEN(test_routing),
		OPEN(test_repeated),
		OPEN(test_encoded_bodies),
		OPEN(test_headers_of_replies),
		OPEN(test_request_ids),
		OPEN(test_json_bodies),
		cmocka_unit_test_setup_teardown(test_keys, set_up_with_key, tear_down),
		OPEN(test_asks_and_deadlines),
		OPEN(test_keep_alive_and_pipelining),
		OPEN(test_minor_versions),
		OPEN(test_body_limit),
		OPEN(test_bodies_that_are_much_too_large),
		OPEN(test_chunked_body),
		OPEN(test_header_limit),
		OPEN(test_compression),
		OPEN(test_what_may_be_compressed_says_so),
		OPEN(test_accepted_codings),
		OPEN(test_head),
		OPEN(test_documents),
		OPEN(test_pieces_arrive_in_their_order),
		OPEN(test_pieces_end_a_connection_of_http_1_0),
		OPEN(test_a_reply_that_breaks_has_no_end),
		OPEN(test_who_does_not_read_slows_down_who_writes),
		OPEN(test_server_that_cannot_start),
		cmocka_unit_test(test_server_that_never_runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
