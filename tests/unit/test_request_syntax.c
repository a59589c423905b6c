/* The parser that stands in for libh2o's: whatever the pieces in which a request arrives, the outcome is the same. What
 * each fault looks like to a client is in tests/tools/http_refusals.py. */
#include "http/request_syntax.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <ctype.h>
#include <cmocka.h>

struct parsed {
	int result;
	const char *method, *path;
	size_t method_len, path_len, headers_len;
	int minor_version;
	struct phr_header headers[HEADERS_MAX];
};

static struct parsed parse(const char *text, size_t n, size_t last)
{
	struct parsed p = { .headers_len = HEADERS_MAX };
	char *copy = malloc(n ? n : 1); /* so that a sanitizer sees a read behind its end */
	memcpy(copy, text, n);
	p.result = phr_parse_request(copy, n, &p.method, &p.method_len, &p.path, &p.path_len, &p.minor_version,
				     p.headers, &p.headers_len, last);
	/* What is compared below must not point into the copy. */
	if (p.result > 0 && syntax_fault_of(p.path) == SYNTAX_SOUND) {
		p.path = text + (p.path - copy);
		p.method = text + (p.method - copy);
	}
	free(copy);
	return p;
}

static void test_a_sound_head(void **state)
{
	static const char text[] = "POST /a?b HTTP/1.1\r\nHost: x\r\nA:\t b c \r\nContent-Length: 3\r\nB:\r\n\r\nabc";
	size_t head = sizeof text - 1 - 3;
	(void)state;
	for (size_t n = 1; n < head; n++)
		assert_int_equal(parse(text, n, n - 1).result, PARSE_INCOMPLETE);
	for (size_t n = head; n < sizeof text; n++) {
		struct parsed p = parse(text, n, 0);
		assert_int_equal(p.result, head);
		assert_int_equal(p.minor_version, 1);
		assert_memory_equal(p.method, "POST", p.method_len);
		assert_int_equal(p.path_len, 4);
		assert_memory_equal(p.path, "/a?b", 4);
		assert_int_equal(p.headers_len, 4);
		assert_int_equal(p.headers[1].value_len, 3); /* without the blanks around it */
		assert_int_equal(p.headers[3].value_len, 0);
	}
}

/* A fault may show before the head is complete, but never turns into a request. */
static void test_faults_in_pieces(void **state)
{
	static const struct {
		const char *text;
		enum syntax_fault fault;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n\r\n", SYNTAX_HOST },
		{ "GET / HTTP/1.1\nHost: x\r\n\r\n", SYNTAX_LINE_END },
		{ "GET / HTTP/1.1\r\nHost: x\r\n\n", SYNTAX_LINE_END },
		{ "\n", SYNTAX_LINE_END },
		{ "\r\n\r\n", SYNTAX_REQUEST_LINE },
		{ "\x16\x03\x01", SYNTAX_REQUEST_LINE },
		{ "GET / HTTP/3.0\r\n\r\n", SYNTAX_VERSION },
		{ "PRIX * HTTP/2.0\r\n\r\n", SYNTAX_VERSION },
		{ "OPTIONS rtsp://x RTSP/1.0\r\n\r\n", SYNTAX_PROTOCOL },
		{ "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", SYNTAX_FOLDED },
		{ "GET / HTTP/1.1\r\nHost : x\r\n\r\n", SYNTAX_HEADER },
		{ "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n", SYNTAX_LENGTH },
		{ "GET / HTTP/1.1\r\nHost: x\r\ntransfer-Encoding: x\r\n\r\n", SYNTAX_ENCODING },
		{ "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
		  SYNTAX_ENCODING },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n, all = strlen(cases[i].text);
		for (n = 1; n < all && parse(cases[i].text, n, n - 1).result == PARSE_INCOMPLETE; n++)
			;
		for (; n <= all; n++) {
			struct parsed p = parse(cases[i].text, n, 0);
			assert_int_equal(p.result, n); /* all of it is taken: nothing behind it is read */
			assert_int_equal(syntax_fault_of(p.path), cases[i].fault);
		}
	}
}

static void test_http2_preface(void **state)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\n";
	(void)state;
	for (size_t n = 1; n < 12; n++)
		assert_int_equal(parse(preface, n, 0).result, PARSE_INCOMPLETE);
	for (size_t n = 12; n < sizeof preface; n++)
		assert_int_equal(parse(preface, n, 0).result, PARSE_REFUSED); /* h2o looks itself */
}

/* HEAD_BYTES_MAX bounds what is kept and what is read again with each piece. */
static void test_too_large(void **state)
{
	size_t n = 2 * HEAD_BYTES_MAX;
	char *text = malloc(n);
	(void)state;
	memset(text, 'a', n);
	memcpy(text, "GET /", 5);
	assert_int_equal(parse(text, HEAD_BYTES_MAX - 1, 0).result, PARSE_INCOMPLETE);
	assert_int_equal(syntax_fault_of(parse(text, HEAD_BYTES_MAX, 0).path), SYNTAX_TOO_LARGE);
	memcpy(text + n - 40, " HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 32);
	assert_int_equal(syntax_fault_of(parse(text, n, 0).path), SYNTAX_TOO_LARGE);
	free(text);
}

/* Decodes a body that arrives in pieces as h2o does it. Returns the last result; *ret_bytes of buf are decoded. */
static ssize_t decode(const char *text, size_t n, size_t piece, char *buf, size_t *ret_bytes)
{
	struct phr_chunked_decoder d = { 0 };
	size_t decoded = 0, at = 0;
	ssize_t result = PARSE_INCOMPLETE;
	while (at < n && result == PARSE_INCOMPLETE) {
		size_t take = n - at < piece ? n - at : piece;
		char *more = malloc(take);
		memcpy(more, text + at, take);
		at += take;
		size_t bytes = take;
		result = phr_decode_chunked(&d, more, &bytes);
		assert_true(bytes <= take);
		memcpy(buf + decoded, more, bytes);
		decoded += bytes;
		if (result > 0) /* what is behind the body follows the decoded bytes */
			memcpy(buf + decoded, more + bytes, (size_t)result);
		if (result >= 0)
			result += (ssize_t)(n - at); /* bytes that were not given to it */
		free(more);
	}
	*ret_bytes = decoded;
	return result;
}

static void test_chunks_in_pieces(void **state)
{
	static const char text[] = "3;a=\"b;c\"\r\nabc\r\n00c ;x\r\ndefghijklmno\r\n0\r\nT: \tu\r\nV:\r\n\r\nGET /";
	static const char body[] = "abcdefghijklmno";
	(void)state;
	for (size_t piece = 1; piece < sizeof text; piece++) {
		char buf[sizeof text] = "";
		size_t bytes;
		assert_int_equal(decode(text, sizeof text - 1, piece, buf, &bytes), 5);
		assert_int_equal(bytes, sizeof body - 1);
		assert_memory_equal(buf, body, bytes);
		if (piece == sizeof text - 1)
			assert_memory_equal(buf + bytes, "GET /", 5);
		assert_int_equal(decode(text, sizeof text - 1 - 7, piece, buf, &bytes), PARSE_INCOMPLETE);
	}
}

/* RFC 9112's grammar again, over a whole body: where the line is that starts at `at`, without its CR LF. */
static bool line_at(const char *text, size_t n, size_t at, size_t *ret_n)
{
	for (size_t i = at; i + 1 < n; i++) {
		if (text[i] == '\r' && text[i + 1] == '\n') {
			*ret_n = i - at;
			return true;
		}
		if (text[i] == '\r' || text[i] == '\n')
			return false;
	}
	return false;
}

static bool is_text(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)p[i] < ' ' && p[i] != '\t') || p[i] == 127)
			return false;
	return true;
}

/* Is it a complete body? Its data goes to buf. */
static bool oracle(const char *text, size_t n, char *buf, size_t *ret_bytes)
{
	size_t at = 0, line, size;
	*ret_bytes = 0;
	do {
		if (!line_at(text, n, at, &line))
			return false;
		size_t digits = 0, blanks;
		for (size = 0; digits < line && isxdigit((unsigned char)text[at + digits]); digits++)
			size = size * 16 + (size_t)strtol((char[]){ text[at + digits], '\0' }, NULL, 16);
		blanks = strspn(text + at + digits, " \t");
		if (digits == 0 || (digits < line && text[at + digits + blanks] != ';') || !is_text(text + at, line))
			return false;
		at += line + 2;
		if (size > 0 && (at + size + 2 > n || memcmp(text + at + size, "\r\n", 2) != 0))
			return false;
		memcpy(buf + *ret_bytes, text + at, size);
		*ret_bytes += size;
		at += size > 0 ? size + 2 : 0;
	} while (size > 0);
	for (;;) {
		if (!line_at(text, n, at, &line))
			return false;
		if (line == 0)
			return true;
		static const char token[] =
		    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
		size_t name = strspn(text + at, token);
		if (name == 0 || name >= line || text[at + name] != ':' || !is_text(text + at, line))
			return false;
		at += line + 2;
	}
}

static void test_chunks_with_wrong_bytes(void **state)
{
	static const char sound[] = "2\r\nab\r\n1;x\r\nc\r\n0\r\nT: u\r\n\r\n";
	static const char others[] = "\r\n\t ;:0123aAfFgGxX+-_\"\x01\x7f\x80";
	unsigned accepted = 0;
	(void)state;
	for (size_t at = 0; at < sizeof sound - 1; at++)
		for (size_t second = at; second < sizeof sound - 1; second++)
			for (size_t i = 0; i < sizeof others * sizeof others; i++) {
				char text[sizeof sound], got[sizeof sound], wanted[sizeof sound];
				size_t got_bytes, wanted_bytes;
				memcpy(text, sound, sizeof sound);
				text[at] = others[i % sizeof others];
				text[second] = others[i / sizeof others];
				bool is_sound = oracle(text, sizeof sound - 1, wanted, &wanted_bytes);
				ssize_t result = decode(text, sizeof sound - 1, 1 + i % 7, got, &got_bytes);
				assert_int_equal(is_sound, result >= 0);
				accepted += is_sound;
				if (is_sound) {
					assert_int_equal(got_bytes, wanted_bytes);
					assert_memory_equal(got, wanted, wanted_bytes);
				}
			}
	assert_true(accepted > 1000);
}

static void test_chunks_are_bounded(void **state)
{
	size_t n = 4 * CHUNK_IGNORED_MAX, bytes;
	char *text = malloc(n), *buf = malloc(n);
	(void)state;
	memset(text, 'x', n);
	memcpy(text, "1;", 2);
	assert_int_equal(decode(text, n, 1000, buf, &bytes), PARSE_REFUSED);
	static const char overflowing[] = "10000000000000001\r\nx\r\n0\r\n\r\n"; /* 2^64 + 1 */
	assert_int_equal(decode(overflowing, sizeof overflowing - 1, 1000, buf, &bytes), PARSE_REFUSED);
	memcpy(text, "0\r\nT:", 5);
	assert_int_equal(decode(text, n, 1000, buf, &bytes), PARSE_REFUSED);
	for (size_t i = 0; i + 8 <= n; i += 8)
		memcpy(text + i, "1;y\r\nb\r\n", 8); /* many small ones count together */
	assert_int_equal(decode(text, n, 1000, buf, &bytes), PARSE_INCOMPLETE);
	assert_int_equal(bytes, n / 8);
	free(text);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_sound_head),       cmocka_unit_test(test_faults_in_pieces),
		cmocka_unit_test(test_http2_preface),      cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_chunks_in_pieces),   cmocka_unit_test(test_chunks_with_wrong_bytes),
		cmocka_unit_test(test_chunks_are_bounded),
	};
	syntax_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
