/* A Postgres of the test's own: a cluster in a temporary folder, as a user without rights, on a unix socket only. It ends with the
 * test's process, however that ends. */
#pragma once
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/postgres/postgres.h"
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { POSTGRES_SKIPPED = 77 };

static struct server {
	char bin[128], dir[64], data[96], url[192];
	pid_t pid;
	struct passwd user;
} server;

static inline bool server_find_bin(void)
{
	glob_t found = { 0 };
	const char *given = getenv("FABRA_PG_BIN");
	bool ok = false;
	if (given != NULL) {
		snprintf(server.bin, sizeof server.bin, "%s", given);
		ok = true;
	} else if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0) {
		const char *path = found.gl_pathv[found.gl_pathc - 1];
		snprintf(server.bin, sizeof server.bin, "%.*s", (int)(strlen(path) - strlen("/initdb")), path);
		ok = true;
	}
	globfree(&found);
	return ok;
}

/* Postgres refuses to run as root. */
static inline void server_become_user(void)
{
	if (geteuid() == 0) {
		CHECK(setgroups(0, NULL) == 0);
		CHECK(setgid(server.user.pw_gid) == 0);
		CHECK(setuid(server.user.pw_uid) == 0);
	}
	prctl(PR_SET_PDEATHSIG, SIGQUIT);
	int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	CHECK(log >= 0);
	dup2(log, 1);
	dup2(log, 2);
}

static inline pid_t server_spawn(const char *program, const char *const *args)
{
	char path[192];
	snprintf(path, sizeof path, "%s/%s", server.bin, program);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(chdir(server.dir) == 0);
		server_become_user();
		execv(path, (char *const *)(uintptr_t)args);
		_exit(127);
	}
	return pid;
}

static inline int server_wait(pid_t pid)
{
	int status = 0;
	while (waitpid(pid, &status, 0) < 0)
		;
	return status;
}

/* Ready to be asked, within 60 s. */
static inline void server_await(void)
{
	for (int i = 0; i < 6000; i++) {
		if (PQping(server.url) == PQPING_OK)
			return;
		usleep(10000);
	}
	fail_msg("Postgres does not start: see %s/log", server.dir);
}

static inline void server_start(const char *option)
{
	char socket[96];
	snprintf(socket, sizeof socket, "unix_socket_directories=%s", server.dir);
	const char *args[] = { "postgres",
			       "-D",
			       server.data,
			       "-c",
			       "listen_addresses=",
			       "-c",
			       socket,
			       "-c",
			       "max_wal_size=64MB",
			       "-c",
			       "max_connections=40",
			       "-c",
			       "shared_buffers=32MB",
			       "-c",
			       "log_min_messages=warning",
			       option ? "-c" : NULL,
			       option,
			       NULL };
	server.pid = server_spawn("postgres", args);
	server_await();
}

static inline void server_stop(int signal_number) /* SIGINT: fast; SIGQUIT: immediate, as a crash */
{
	kill(server.pid, signal_number);
	server_wait(server.pid);
	server.pid = 0;
}

static inline int server_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* false: Postgres is not installed, and that has been said. */
static inline bool server_create(void)
{
	const char *name = getpwnam("postgres") ? "postgres" : "nobody";
	if (!server_find_bin()) {
		fprintf(stderr,
			"SKIPPED: Postgres is not installed (no initdb); run tools/setup, or set FABRA_PG_BIN\n");
		return false;
	}
	server.user = *(geteuid() == 0 ? getpwnam(name) : getpwuid(geteuid()));
	strcpy(server.dir, "/tmp/fabra-postgres-XXXXXX");
	CHECK(mkdtemp(server.dir) != NULL);
	if (geteuid() == 0)
		CHECK(chown(server.dir, server.user.pw_uid, server.user.pw_gid) == 0);
	snprintf(server.data, sizeof server.data, "%s/data", server.dir);
	snprintf(server.url, sizeof server.url, "postgresql://fabra@/postgres?host=%s", server.dir);
	const char *args[] = { "initdb", "-D", server.data, "-U",         "fabra",     "-A",
			       "trust",  "-E", "UTF8",      "--locale=C", "--no-sync", NULL };
	if (server_wait(server_spawn("initdb", args)) != 0)
		fail_msg("initdb failed: see %s/log", server.dir);
	server_start(NULL);
	return true;
}

static inline void server_destroy(void)
{
	if (server.pid != 0)
		server_stop(SIGQUIT);
	nftw(server.dir, server_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Runs it as the cluster's owner; the first column of the first row as a number. */
static inline int64_t server_sql(const char *sql)
{
	PGconn *c = PQconnectdb(server.url);
	if (PQstatus(c) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(c));
	PGresult *r = PQexec(c, sql);
	ExecStatusType status = PQresultStatus(r);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(c));
	int64_t n = PQntuples(r) > 0 ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : 0;
	PQclear(r);
	PQfinish(c);
	return n;
}

static inline void server_await_ready(const struct postgres *pg)
{
	struct postgres_health health = { .is_ready = false };
	for (int i = 0; i < 3000 && !health.is_ready; i++) {
		postgres_health_read(pg, &health);
		usleep(10000);
	}
	if (!health.is_ready)
		fail_msg("not ready: %s", health.reason);
}

/* Nothing of ours is left in it. */
static inline void server_clear(void)
{
	server_sql(
	    "SET client_min_messages = error; DROP SCHEMA IF EXISTS fabra CASCADE; DROP TABLE IF EXISTS context_log, "
	    "context_records CASCADE");
}
