/* A redis-server of a test's own, in a temporary folder, and an I/O loop with the online store on it. */
#pragma once
#include "runtime/log.h"
#include "store/redis/redis.h"
#include "tests/contract/online.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REDIS_TEST_PATIENCE_MS = 20000 };

struct redis_server {
	char dir[64], socket[80];
	const char *const *arguments; /* NULL-ended, of redis-server besides its own; NULL: none */
	pid_t pid;                    /* 0: does not run */
};

static inline bool redis_server_exists(void)
{
	return access("/usr/bin/redis-server", X_OK) == 0;
}

static inline bool redis_server_listens(const struct redis_server *s)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(to.sun_path, sizeof to.sun_path, "%s", s->socket);
	bool listens = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
	close(fd);
	return listens;
}

static inline void redis_server_start(struct redis_server *s)
{
	const char *args[32] = { "redis-server", "--port", "0",         "--unixsocket", s->socket,
				 "--save",       "",       "--logfile", "redis.log",    "--enable-debug-command",
				 "yes",          "--dir",  s->dir };
	size_t n = 13;
	for (size_t i = 0; s->arguments && s->arguments[i]; i++)
		args[n++] = s->arguments[i];
	unlink(s->socket);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		execv("/usr/bin/redis-server", (char *const *)(uintptr_t)args);
		_exit(127);
	}
	for (int ms = 0; !redis_server_listens(s); ms += 5) {
		if (ms > REDIS_TEST_PATIENCE_MS || waitpid(s->pid, NULL, WNOHANG) != 0)
			fail_msg("redis-server does not start; see %s/redis.log", s->dir);
		usleep(5000); /* it says nowhere that it listens */
	}
}

static inline void redis_server_create(struct redis_server *s, const char *const *arguments)
{
	*s = (struct redis_server){ .dir = "/tmp/fabra-test-redis-XXXXXX", .arguments = arguments };
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->socket, sizeof s->socket, "%s/s", s->dir);
	redis_server_start(s);
}

static inline void redis_server_kill(struct redis_server *s)
{
	if (s->pid == 0)
		return;
	kill(s->pid, SIGCONT);
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

static inline void redis_server_destroy(struct redis_server *s)
{
	char path[160];
	redis_server_kill(s);
	snprintf(path, sizeof path, "%s/redis.log", s->dir);
	unlink(path);
	unlink(s->socket);
	rmdir(s->dir);
}

/* redis-cli's answer to a command, without its last newline; valid until the next. */
static inline const char *redis_cli(const struct redis_server *s, const char *command)
{
	static char out[1 << 16];
	char line[4096];
	snprintf(line, sizeof line, "/usr/bin/redis-cli -s %s %s", s->socket, command);
	FILE *p = popen(line, "r");
	assert_non_null(p);
	size_t n = fread(out, 1, sizeof out - 1, p);
	pclose(p);
	out[n] = '\0';
	if (n && out[n - 1] == '\n')
		out[n - 1] = '\0';
	return out;
}

/* ---- the store ---- */

static inline struct str redis_test_kind(void *arg, uint32_t kind)
{
	(void)arg;
	return kind == ONLINE_KIND ? STR("user") : kind == ONLINE_OTHER_KIND ? STR("item") : str_of(NULL, 0);
}

static inline struct str redis_test_feature(void *arg, uint32_t feature)
{
	static char names[ONLINE_TOGETHER_MAX][8];
	(void)arg;
	assert_true(feature < ONLINE_TOGETHER_MAX);
	return str_from(names[feature][0]
			    ? names[feature]
			    : (snprintf(names[feature], sizeof names[feature], "f%u", feature), names[feature]));
}

static inline bool redis_test_is_lasting(void *arg, uint32_t kind)
{
	(void)arg;
	return kind == ONLINE_OTHER_KIND;
}

struct redis_rig {
	struct redis *redis;
	struct redis_online *online;
	struct loop *loop;
};

static inline void redis_rig_open(struct redis_rig *r, struct contract_online *b, const struct redis_config *config)
{
	struct buf why = { 0 };
	r->redis = redis_create(config, &why);
	if (r->redis == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	r->online = redis_online_create(&(struct redis_online_config){
	    .redis = r->redis, .names = { NULL, redis_test_kind, redis_test_feature, redis_test_is_lasting } });
	assert_non_null(r->online);
	r->loop = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
	assert_non_null(r->loop);
	assert_true(redis_spawn(r->redis, r->loop));
	struct online_store store = { 0 };
	assert_true(redis_online_spawn(r->online, r->loop, &store));
	b->store = (struct online_store){ .per_loop = {
					      store.per_loop[loop_id(r->loop) - 1] } }; /* as the suite asks */
	contract_begin(&b->c, NULL);
	assert_int_equal(loop_start(r->loop), 0);
}

static inline void redis_rig_close(struct redis_rig *r, struct contract_online *b)
{
	contract_stop(&b->c);
	loop_stop(r->loop);
	loop_join(r->loop);
	contract_end(&b->c);
	loop_destroy(r->loop);
	redis_online_destroy(r->online);
	redis_destroy(r->redis);
}
