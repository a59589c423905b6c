#include "tests/support/test_servers.h"
#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 32 };
extern char **environ;

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "test_servers: %s: %s\n", what, why);
	abort();
}

/* Runs tools/services with the arguments and --dir; gives what it printed. */
static void run(struct test_servers *s, const char *const *arguments, char *out, size_t out_size)
{
	const char *argv[ARGUMENTS_MAX + 4] = { FABRA_SOURCE_DIR "/tools/services" };
	size_t n = 1;
	for (; *arguments; arguments++) {
		if (n > ARGUMENTS_MAX)
			fail(argv[0], "too many arguments");
		argv[n++] = *arguments;
	}
	argv[n++] = "--dir";
	argv[n++] = s->dir;

	int pipe_fds[2];
	if (pipe(pipe_fds) != 0)
		fail("pipe", strerror(errno));
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, pipe_fds[0]);
	posix_spawn_file_actions_addclose(&actions, pipe_fds[1]);
	pid_t pid;
	int error = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_fds[1]);
	if (error != 0)
		fail(argv[0], strerror(error));

	size_t used = 0;
	for (;;) {
		ssize_t got = read(pipe_fds[0], out + used, out_size - 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	out[used] = '\0';
	close(pipe_fds[0]);
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid", strerror(errno));
	if (status != 0)
		fail(argv[1], "tools/services failed; what it said is above");
}

/* The value of NAME in lines "export NAME=value", where it is; quotes around it are the shell's. */
static void read_export(const char *text, const char *name, char *value, size_t size)
{
	char head[64];
	snprintf(head, sizeof head, "export %s=", name);
	const char *at = strstr(text, head);
	if (!at)
		return;
	at += strlen(head);
	at += *at == '\'';
	size_t n = strcspn(at, "'\n");
	if (n >= size)
		fail(name, "too long");
	memcpy(value, at, n);
	value[n] = '\0';
}

static int port_of(const char *url)
{
	const char *at = strstr(url, "127.0.0.1:");
	return at ? atoi(at + strlen("127.0.0.1:")) : 0;
}

static void start(struct test_servers *s, const char *const *arguments)
{
	char out[1024];
	run(s, arguments, out, sizeof out);
	read_export(out, "FABRA_REDIS_URL", s->redis_url, sizeof s->redis_url);
	read_export(out, "SERVICES_REDIS_TLS_URL", s->redis_tls_url, sizeof s->redis_tls_url);
	read_export(out, "FABRA_POSTGRES_URL", s->postgres_url, sizeof s->postgres_url);
	read_export(out, "SERVICES_POSTGRES_TLS_URL", s->postgres_tls_url, sizeof s->postgres_tls_url);
	s->redis_port = port_of(s->redis_url);
	s->postgres_port = port_of(s->postgres_url);
}

static const char *name_of(enum test_server which)
{
	return which == TEST_REDIS ? "redis" : "postgres";
}

void test_servers_start(struct test_servers *s, enum test_server which, ...)
{
	*s = (struct test_servers){ .dir = "/tmp/fabra-servers.XXXXXX" };
	if (!mkdtemp(s->dir))
		fail(s->dir, strerror(errno));
	char self[16];
	snprintf(self, sizeof self, "%d", (int)getpid());
	const char *arguments[ARGUMENTS_MAX + 1] = { "start", "--while", self };
	size_t n = 3;
	if (which != TEST_BOTH) {
		arguments[n++] = "--only";
		arguments[n++] = name_of(which);
	}
	va_list options;
	va_start(options, which);
	for (const char *o; (o = va_arg(options, const char *)) != NULL;) {
		if (n == ARGUMENTS_MAX)
			fail("test_servers_start", "too many options");
		arguments[n++] = o;
	}
	va_end(options);
	start(s, arguments);
}

void test_servers_start_again(struct test_servers *s, enum test_server which)
{
	int redis_port = s->redis_port, postgres_port = s->postgres_port;
	start(s, which == TEST_BOTH ? (const char *const[]){ "start", NULL }
				    : (const char *const[]){ "start", "--only", name_of(which), NULL });
	if (s->redis_port != redis_port || s->postgres_port != postgres_port)
		fail("test_servers_start_again", "the port was taken by somebody else in between");
}

static void command(struct test_servers *s, const char *what, enum test_server which)
{
	char out[256];
	run(s,
	    which == TEST_BOTH ? (const char *const[]){ what, NULL }
			       : (const char *const[]){ what, name_of(which), NULL },
	    out, sizeof out);
}

void test_servers_kill(struct test_servers *s, enum test_server which)
{
	command(s, "kill", which);
}

void test_servers_freeze(struct test_servers *s, enum test_server which)
{
	command(s, "freeze", which);
}

void test_servers_thaw(struct test_servers *s, enum test_server which)
{
	command(s, "thaw", which);
}

void test_servers_stop(struct test_servers *s)
{
	command(s, "stop", TEST_BOTH);
}
