#include "runtime/log_line.h"
#include "runtime/clock.h"
#include <yyjson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const int64_t WALL_US = 1700000000123456; /* 2023-11-14T22:13:20.123456Z */

static char line[LOG_LINE_MAX + 1];

static const char *format(const char *message, const struct log_field *fields)
{
	struct log_entry e = {
		.level = LOG_INFO, .logger = "http.access", .message = message, .fields = fields, .wall_us = WALL_US
	};
	size_t n = log_line_format(line, &e);
	assert_true(n <= LOG_LINE_MAX);
	line[n] = '\0';
	assert_true(line[n - 1] == '\n');
	return line;
}

#define FORMAT(...) format("m", (const struct log_field[]){ __VA_ARGS__, { 0 } })
#define HEAD                                                                                                           \
	"{\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"level\":\"INFO\",\"logger\":\"http.access\","                   \
	"\"message\":\"m\""

static void test_fields(void **state)
{
	(void)state;
	assert_string_equal(format("m", NULL), HEAD "}\n");
	assert_string_equal(FORMAT(LOG_CSTR("path", "/v1"), LOG_INT("status", 200), LOG_BOOL("ok", true),
				   LOG_RAW("list", STR("[1,2]")), LOG_RAW("none", STR(""))),
			    HEAD ",\"path\":\"/v1\",\"status\":200,\"ok\":true,\"list\":[1,2],\"none\":null}\n");
	assert_string_equal(FORMAT(LOG_INT("a", INT64_MIN), LOG_INT("b", 0), LOG_INT("c", -10)),
			    HEAD ",\"a\":-9223372036854775808,\"b\":0,\"c\":-10}\n");
}

static void test_floats(void **state)
{
	(void)state;
	assert_string_equal(FORMAT(LOG_FLOAT("a", 1.25), LOG_FLOAT("b", -0.001), LOG_FLOAT("c", 3),
				   LOG_FLOAT("d", 0.1234567), LOG_FLOAT("e", 0)),
			    HEAD ",\"a\":1.25,\"b\":-0.001,\"c\":3,\"d\":0.123457,\"e\":0}\n");
	assert_string_equal(FORMAT(LOG_FLOAT("a", 1e300), LOG_FLOAT("b", 0.0 / 0.0), LOG_FLOAT("c", 1e-9),
				   LOG_FLOAT("d", 0.9999999), LOG_FLOAT("e", -1.0 / 0.0)),
			    HEAD ",\"a\":1e+300,\"b\":null,\"c\":1e-09,\"d\":1,\"e\":null}\n");
}

static void test_escapes(void **state)
{
	(void)state;
	assert_string_equal(FORMAT(LOG_CSTR("s", "a\"b\\c\n\t\r\x01\x1f\x7f")),
			    HEAD ",\"s\":\"a\\\"b\\\\c\\n\\t\\r\\u0001\\u001f\x7f\"}\n");
	assert_string_equal(FORMAT(LOG_STR("s", str_of("nul\0x", 5))), HEAD ",\"s\":\"nul\\u0000x\"}\n");
	assert_string_equal(FORMAT(
				LOG_CSTR("s", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80 long enough to run")),
			    HEAD ",\"s\":\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80 long enough to run\"}\n");
}

#define FFFD "\xef\xbf\xbd"
static void test_invalid_utf8(void **state)
{
	(void)state;
	/* alone, overlong, surrogate, above U+10FFFF, cut short: one U+FFFD for each byte that starts
	 * nothing */
	assert_string_equal(FORMAT(LOG_CSTR("s", "a\x80z\xff")), HEAD ",\"s\":\"a" FFFD "z" FFFD "\"}\n");
	assert_string_equal(FORMAT(LOG_CSTR("s", "\xc0\xaf")), HEAD ",\"s\":\"" FFFD FFFD "\"}\n");
	assert_string_equal(FORMAT(LOG_CSTR("s", "\xed\xa0\x80")), HEAD ",\"s\":\"" FFFD FFFD FFFD "\"}\n");
	assert_string_equal(FORMAT(LOG_CSTR("s", "\xf4\x90\x80\x80")), HEAD ",\"s\":\"" FFFD FFFD FFFD FFFD "\"}\n");
	assert_string_equal(FORMAT(LOG_CSTR("s", "x\xe2\x82")), HEAD ",\"s\":\"x" FFFD FFFD "\"}\n");
}

/* Whatever the bytes, the line is JSON of bounded length. */
static void test_any_bytes(void **state)
{
	(void)state;
	static char bytes[20000];
	unsigned seed = 7;
	for (int round = 0; round < 400; round++) {
		size_t n = (size_t)rand_r(&seed) % (round % 8 ? 200 : sizeof bytes);
		for (size_t i = 0; i < n; i++)
			bytes[i] = (char)(round % 3 ? rand_r(&seed) : rand_r(&seed) % 32);
		struct str s = str_of(bytes, n);
		const char *text = FORMAT(LOG_STR("a", s), LOG_STR("b", s), LOG_STR("c", s), LOG_STR("d", s),
					  LOG_STR("e", s), LOG_INT("last", round));
		yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
		assert_non_null(doc);
		yyjson_doc_free(doc);
	}
}

static void test_bounds(void **state)
{
	(void)state;
	static char big[LOG_LINE_MAX];
	memset(big, 'x', sizeof big);
	struct str s = str_of(big, sizeof big);
	const char *text = FORMAT(LOG_STR("a", s));
	assert_true(strlen(text) < LOG_TEXT_MAX + 200);
	assert_non_null(strstr(text, "xxx...\"}"));
	assert_null(strstr(text, "truncated"));
	text = FORMAT(LOG_RAW("a", s), LOG_INT("after", 1));
	assert_null(strstr(text, "\"a\":"));
	assert_non_null(strstr(text, ",\"after\":1,\"truncated\":true}"));
}

static void test_dropped_field(void **state)
{
	(void)state;
	struct log_entry e = { .level = LOG_ERROR, .logger = "l", .message = "m", .wall_us = WALL_US, .dropped = 12 };
	size_t n = log_line_format(line, &e);
	line[n] = '\0';
	assert_non_null(strstr(line, "\"level\":\"ERROR\""));
	assert_non_null(strstr(line, ",\"dropped\":12}"));
}

static void test_members(void **state)
{
	(void)state;
	struct log_entry e = { .members = STR("\"level\":\"INFO\",\"a\":1"), .wall_us = WALL_US, .dropped = 3 };
	size_t n = log_line_format(line, &e);
	line[n] = '\0';
	assert_string_equal(line,
			    "{\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"level\":\"INFO\",\"a\":1,\"dropped\":3}\n");
}

/* ---- threads and the writer ---- */

enum { PRODUCERS = 3, LINES = 3000 };

static void *produce(void *arg)
{
	int id = (int)(intptr_t)arg;
	if (id > 0)
		log_attach(); /* producer 0 goes through the shared ring */
	for (int i = 0; i < LINES; i++)
		log_line(LOG_INFO, "test", "line", LOG_INT("producer", id), LOG_INT("n", i));
	return NULL;
}

/* Reads the file and checks that every line is whole, each producer's lines come in order, and lines and
 * drops add up. */
static void check_file(FILE *f, uint64_t dropped)
{
	static char text[LOG_LINE_MAX];
	int64_t next[PRODUCERS] = { 0 };
	uint64_t lines = 0, said = 0;
	rewind(f);
	while (fgets(text, sizeof text, f)) {
		yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
		assert_non_null(doc);
		yyjson_val *root = yyjson_doc_get_root(doc);
		int64_t id = yyjson_get_sint(yyjson_obj_get(root, "producer"));
		int64_t n = yyjson_get_sint(yyjson_obj_get(root, "n"));
		assert_true(n >= next[id]);
		next[id] = n + 1;
		lines++;
		said += yyjson_get_uint(yyjson_obj_get(root, "dropped"));
		yyjson_doc_free(doc);
	}
	assert_true(lines + dropped == PRODUCERS * LINES);
	assert_true(said <= log_dropped()); /* the last drops of a round are told in the next */
}

static void test_threads(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) { /* later rounds reuse the rings of finished threads */
		FILE *f = tmpfile();
		pthread_t threads[PRODUCERS];
		uint64_t before = log_dropped();
		assert_int_equal(log_start(fileno(f), LOG_INFO), 0);
		assert_int_not_equal(log_start(fileno(f), LOG_INFO), 0);
		for (int i = 0; i < PRODUCERS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, produce, (void *)(intptr_t)i), 0);
		for (int i = 0; i < PRODUCERS; i++)
			pthread_join(threads[i], NULL);
		log_stop();
		check_file(f, log_dropped() - before);
		fclose(f);
	}
}

static void read_until(int fd, const char *needle)
{
	static char text[1 << 20];
	size_t n = 0;
	while (n < sizeof text - 1) {
		ssize_t got = read(fd, text + n, sizeof text - 1 - n);
		assert_true(got > 0);
		n += (size_t)got;
		text[n] = '\0';
		if (strstr(text, needle))
			return;
	}
	fail_msg("no %s", needle);
}

/* The writer goes to sleep when nothing comes, and one line wakes it: no log_stop helps here. */
static void test_wakes(void **state)
{
	(void)state;
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(log_start(fds[1], LOG_INFO), 0);
	log_line(LOG_INFO, "test", "first");
	read_until(fds[0], "first");
	/* Longer than the writer polls, so that it is on its eventfd; on a slow machine this only tests
	 * less. */
	struct pollfd nothing = { .fd = fds[0], .events = POLLIN };
	assert_int_equal(poll(&nothing, 1, 400), 0);
	log_line(LOG_DEBUG, "test", "below the level");
	log_line(LOG_INFO, "test", "second");
	read_until(fds[0], "second");
	log_stop();
	close(fds[0]);
	close(fds[1]);
}

/* Nobody reads the pipe: the ring fills, the producer is never held up, drops are counted and then told. */
static void test_full_ring(void **state)
{
	(void)state;
	int fds[2];
	static char pad[2000];
	memset(pad, 'p', sizeof pad);
	assert_int_equal(pipe(fds), 0);
	uint64_t before = log_dropped();
	assert_int_equal(log_start(fds[1], LOG_INFO), 0);
	for (int i = 0; i < 1000; i++)
		log_line(LOG_INFO, "test", "flood", LOG_STR("pad", str_of(pad, sizeof pad)));
	assert_true(log_dropped() - before > 500);
	char sink[4096];
	uint64_t seen = 0;
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	do { /* empty the pipe until a line gets through */
		while (read(fds[0], sink, sizeof sink) > 0)
			;
		seen = log_dropped();
		log_line(LOG_INFO, "test", "after", LOG_INT("n", 1));
	} while (log_dropped() != seen);
	assert_int_equal(fcntl(fds[0], F_SETFL, 0), 0);
	read_until(fds[0], "\"dropped\":");
	log_stop();
	close(fds[0]);
	close(fds[1]);
}

static void test_line_cost(void **state)
{
	(void)state;
	enum { ROUNDS = 200000 };
	uint64_t start = clock_mono_ns();
	for (int i = 0; i < ROUNDS; i++)
		FORMAT(LOG_CSTR("method", "POST"), LOG_CSTR("path", "/v1/context/chat_context"), LOG_INT("status", 200),
		       LOG_FLOAT("duration_ms", 1.234 + i), LOG_INT("bytes_in", 120), LOG_INT("bytes_out", 5120 + i),
		       LOG_CSTR("request_id", "0192f0c1-2222-7abc-8def-0123456789ab"), LOG_CSTR("client", "127.0.0.1"));
	print_message("%.0f ns for a line of %zu bytes\n", (double)(clock_mono_ns() - start) / ROUNDS, strlen(line));
	assert_true(strlen(line) > 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),        cmocka_unit_test(test_floats),
		cmocka_unit_test(test_escapes),       cmocka_unit_test(test_invalid_utf8),
		cmocka_unit_test(test_any_bytes),     cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_dropped_field), cmocka_unit_test(test_members),
		cmocka_unit_test(test_threads),       cmocka_unit_test(test_wakes),
		cmocka_unit_test(test_full_ring),     cmocka_unit_test(test_line_cost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
