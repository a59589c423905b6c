/* What is printed with stdio becomes log lines, never waits, and is not lost when the process aborts. */
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/log_stdio.h"
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Reads until the text is there or the other end is closed. */
static void read_until(int fd, const char *wanted, char *got, size_t max)
{
	size_t n = 0;
	got[0] = '\0';
	while (strstr(got, wanted) == NULL && n + 1 < max) {
		ssize_t more = read(fd, got + n, max - 1 - n);
		if (more <= 0)
			break;
		n += (size_t)more;
		got[n] = '\0';
	}
}

static void test_prints_become_log_lines(void **state)
{
	int fds[2];
	char got[8192];
	FILE *before = stderr;
	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(log_start(fds[1], LOG_INFO), 0);
	log_stdio_catch();
	fprintf(stderr, "skipping %s (type:%d)\nhalf ", "frame", 66);
	fprintf(stderr, "a line\n");
	perror("odd");
	puts("to stdout");
	fprintf(stderr, "%0*d\n", 3000, 7); /* longer than the buffer */
	log_stdio_release();
	assert_ptr_equal(stderr, before);
	log_stop();
	close(fds[1]);
	read_until(fds[0], "never", got, sizeof got);
	assert_non_null(strstr(got,
			       "\"logger\":\"library\",\"message\":\"a library printed a line\",\"stream\":\"stderr\","
			       "\"text\":\"skipping frame (type:66)\"}\n"));
	assert_non_null(strstr(got, "\"text\":\"half a line\"}\n"));
	assert_non_null(strstr(got, "\"text\":\"odd: "));
	assert_non_null(strstr(got, "\"stream\":\"stdout\",\"text\":\"to stdout\"}\n"));
	assert_non_null(strstr(got, "00007\"}\n"));
	close(fds[0]);
}

/* The log's reader has stopped; the one who prints must not notice. */
static void test_prints_never_wait(void **state)
{
	int fds[2];
	char got[256];
	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(log_start(fds[1], LOG_INFO), 0);
	log_stdio_catch();
	for (int i = 0; i < 100000; i++) /* many times what the pipe and the ring hold */
		fprintf(stderr, "line %d of many\n", i);
	assert_true(log_dropped() > 0);
	log_stdio_release();
	pid_t reader = fork(); /* so that the log can end */
	if (reader == 0) {
		close(fds[1]);
		while (read(fds[0], got, sizeof got) > 0)
			;
		_exit(0);
	}
	log_stop();
	close(fds[1]);
	close(fds[0]);
	assert_int_equal(waitpid(reader, NULL, 0), reader);
}

static void test_last_words(void **state)
{
	int fds[2], status;
	char got[8192];
	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid_t child = fork();
	if (child == 0) {
		int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		log_start(nowhere, LOG_INFO);
		log_stdio_catch();
		fprintf(stderr, "fatal: why it ended\n");
		abort();
	}
	close(fds[1]);
	read_until(fds[0], "fatal: why it ended\n", got, sizeof got);
	assert_non_null(strstr(got, "fatal: why it ended\n"));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_words), /* first: it forks, and there are no threads yet */
		cmocka_unit_test(test_prints_become_log_lines),
		cmocka_unit_test(test_prints_never_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
