/* The servers that other tests have of their own: started, killed, frozen, ended. */
#include "tests/support/test_servers.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

/* A connection, or -1: nobody listens. */
static int connect_to(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* What comes back for the bytes, up to a line's end; empty: nothing within the time. */
static void ask(int fd, const void *bytes, size_t n, long wait_ms, char *reply, size_t size)
{
	struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
	if (n > 0)
		assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
	ssize_t got = recv(fd, reply, size - 1, 0);
	reply[got > 0 ? got : 0] = '\0';
}

static void assert_redis_says(int port, const char *line, const char *wanted)
{
	int fd = connect_to(port);
	assert_true(fd >= 0);
	char reply[64];
	ask(fd, line, strlen(line), 10000, reply, sizeof reply);
	close(fd);
	assert_string_equal(reply, wanted);
}

/* Postgres answers the request for encryption with one letter, from a process of its own. */
static void assert_postgres_says(int port, const char *wanted)
{
	int fd = connect_to(port);
	assert_true(fd >= 0);
	static const unsigned char ssl_request[8] = { 0, 0, 0, 8, 4, 210, 22, 47 };
	char reply[64];
	ask(fd, ssl_request, sizeof ssl_request, 10000, reply, sizeof reply);
	close(fd);
	assert_string_equal(reply, wanted);
}

static void a_redis_is_killed_and_comes_back_empty(void **state)
{
	(void)state;
	struct test_servers s;
	test_servers_start(&s, TEST_REDIS, "--redis", "maxmemory 10mb", NULL);
	assert_int_equal(s.postgres_port, 0);
	assert_string_equal(s.postgres_url, "");
	char url[64];
	snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", s.redis_port);
	assert_string_equal(s.redis_url, url);
	assert_redis_says(s.redis_port, "SET k v\r\n", "+OK\r\n");
	assert_redis_says(s.redis_port, "GET k\r\n", "$1\r\nv\r\n");

	test_servers_kill(&s, TEST_REDIS);
	assert_int_equal(connect_to(s.redis_port), -1);
	test_servers_start_again(&s, TEST_REDIS);
	assert_string_equal(s.redis_url, url);
	assert_redis_says(s.redis_port, "GET k\r\n", "$-1\r\n");
	assert_redis_says(s.redis_port, "CONFIG GET maxmemory\r\n", "*2\r\n$9\r\nmaxmemory\r\n$8\r\n10485760\r\n");

	test_servers_stop(&s);
	assert_int_equal(connect_to(s.redis_port), -1);
	struct stat st;
	assert_int_not_equal(stat(s.dir, &st), 0);
}

static void a_frozen_redis_keeps_its_connections_and_answers_later(void **state)
{
	(void)state;
	struct test_servers s;
	test_servers_start(&s, TEST_REDIS, NULL);
	int fd = connect_to(s.redis_port);
	assert_true(fd >= 0);
	test_servers_freeze(&s, TEST_REDIS);
	char reply[64];
	ask(fd, "PING\r\n", 6, 100, reply, sizeof reply);
	assert_string_equal(reply, "");
	test_servers_thaw(&s, TEST_REDIS);
	ask(fd, NULL, 0, 10000, reply, sizeof reply);
	assert_string_equal(reply, "+PONG\r\n");
	close(fd);
	test_servers_stop(&s);
}

static void a_postgres_is_killed_and_comes_back(void **state)
{
	(void)state;
	struct test_servers s;
	test_servers_start(&s, TEST_POSTGRES, "--tls", NULL);
	assert_string_equal(s.redis_url, "");
	char url[256];
	snprintf(url, sizeof url, "postgresql://fabra@127.0.0.1:%d/fabra", s.postgres_port);
	assert_string_equal(s.postgres_url, url);
	snprintf(url, sizeof url, "%s?sslmode=verify-full&sslrootcert=%s/ca.crt", s.postgres_url, s.dir);
	assert_string_equal(s.postgres_tls_url, url);
	assert_postgres_says(s.postgres_port, "S");
	test_servers_kill(&s, TEST_POSTGRES);
	assert_int_equal(connect_to(s.postgres_port), -1);
	test_servers_start_again(&s, TEST_POSTGRES);
	assert_postgres_says(s.postgres_port, "S");
	test_servers_stop(&s);
	assert_int_equal(connect_to(s.postgres_port), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_redis_is_killed_and_comes_back_empty),
		cmocka_unit_test(a_frozen_redis_keeps_its_connections_and_answers_later),
		cmocka_unit_test(a_postgres_is_killed_and_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
