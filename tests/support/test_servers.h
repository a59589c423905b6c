/* A Redis or a Postgres of one's own for a test: on loopback, in a folder of its own, by tools/services, which must be able to
 * start them (tools/setup installs them). They end with the process that started them, also when that is killed. A call that
 * fails ends the program with what tools/services said. Each call waits until what it asks for is so. Any thread; one at a
 * time for the same servers. */
#pragma once

enum test_server { TEST_REDIS = 1, TEST_POSTGRES = 2, TEST_BOTH = 3 };

struct test_servers {
	char dir[64];           /* has redis.sock, redis.log, .s.PGSQL.<port>, postgres.log, with "--tls" ca.crt */
	char redis_url[64];     /* redis://127.0.0.1:PORT/0; empty: not started */
	char redis_tls_url[64]; /* with "--tls" only, as the next but one */
	char postgres_url[96];  /* postgresql://fabra@127.0.0.1:PORT/fabra */
	char postgres_tls_url[192];
	int redis_port, postgres_port; /* 0: not started */
};

/* Fills *s; options of `tools/services start`, ended by NULL. */
void test_servers_start(struct test_servers *s, enum test_server which, ...);
/* kill -9, of all of its processes. */
void test_servers_kill(struct test_servers *s, enum test_server which);
/* What was killed, on the same port: Redis empty, Postgres with what was committed. */
void test_servers_start_again(struct test_servers *s, enum test_server which);
/* SIGSTOP and SIGCONT, of all of its processes: connections stay, nobody answers. */
void test_servers_freeze(struct test_servers *s, enum test_server which);
void test_servers_thaw(struct test_servers *s, enum test_server which);
/* Ends all, removes the folder. */
void test_servers_stop(struct test_servers *s);
