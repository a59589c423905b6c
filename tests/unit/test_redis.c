/* The online store on a redis-server that fails, is used by others, or is not as it should be. */
#include "store/redis/redis_error.h"
#include "store/redis/redis_url.h"
#include "store/redis/redis_wrap.h"
#include "store/text/json.h"
#include "tests/unit/redis_fixture.h"
#include <arpa/inet.h>

static struct redis_server server;
static struct redis_rig rig;
static struct contract_online on_redis = { .name = "Redis" };

/* The URL is in three parts, the middle the server's socket. */
static void open_with(const char *before, const char *after)
{
	char url[256];
	snprintf(url, sizeof url, "%s%s%s", before, server.socket, after);
	redis_rig_open(&rig, &on_redis, &(struct redis_config){ .url = url, .stall_ms = 300 });
}

/* ---- the contract once more, by TCP with a password and a database ---- */

static char tcp_url[128];

static unsigned free_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	close(fd);
	return ntohs(at.sin_port);
}

static void tcp_open(struct contract_online *b)
{
	char port[8];
	snprintf(port, sizeof port, "%u", free_port());
	const char *const arguments[] = { "--port", port, "--bind", "127.0.0.1", "--requirepass", "se cret", NULL };
	redis_server_create(&server, arguments);
	snprintf(tcp_url, sizeof tcp_url, "redis://default:se%%20cret@127.0.0.1:%s/7", port);
	redis_rig_open(&rig, b, &(struct redis_config){ .url = tcp_url, .hold_ms = REDIS_TEST_PATIENCE_MS });
}

static void tcp_close(struct contract_online *b)
{
	redis_rig_close(&rig, b);
	redis_server_destroy(&server);
}
static struct contract_online by_tcp = { .name = "Redis by TCP", .open = tcp_open, .close = tcp_close };

static int setup(void **state)
{
	(void)state;
	redis_server_create(&server, NULL);
	open_with("unix://", "");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	redis_rig_close(&rig, &on_redis);
	redis_server_destroy(&server);
	return 0;
}

/* The status of a PUT of u.f1, once it has ended; RT_EDEADLINE: by its deadline. */
static int try_put(const char *text, int64_t time_us, uint64_t patience_ms, enum online_result *ret)
{
	struct value *v = value_create(str_from(text));
	struct online_batch *m = online_begin(&on_redis, ONLINE_PUT);
	struct online_change change = { .feature = 1, .value = v, .meta = { .event_time_us = time_us, .lsn = 1 } };
	assert_true(online_batch_put(m, ONLINE_KIND, STR("u"), &change, 1));
	value_unref(v);
	const struct msg *end = contract_wait(&on_redis.c, contract_ask_for(&on_redis.c, on_redis.store.per_loop[0],
									    &m->head, patience_ms));
	if (end->kind == RT_DEADLINE)
		return RT_EDEADLINE;
	assert_int_equal(end->kind, ONLINE_DONE);
	*ret = ((const struct online_batch *)end)->what->rows[0].changes[0].result;
	return end->status;
}

/* Asks until Redis is there again; while it is not, each try is refused at once. */
static void put_until_it_works(const char *text, int64_t time_us)
{
	enum { PAUSE_MS = 20 };
	enum online_result result;
	for (int ms = 0; try_put(text, time_us, 200, &result) != RT_OK || result != ONLINE_APPLIED; ms += PAUSE_MS) {
		if (ms > REDIS_TEST_PATIENCE_MS)
			fail_msg("it does not come back");
		usleep(PAUSE_MS * 1000);
	}
}

static enum online_result row_result(const char *id, uint32_t feature)
{
	struct online_batch *m = online_begin(&on_redis, ONLINE_GET);
	assert_true(online_batch_get(m, ONLINE_KIND, str_from(id), &feature, 1));
	return online_do(&on_redis, m)->rows[0].result;
}

static bool health_says(const char *what)
{
	struct buf out = { 0 };
	redis_health(rig.redis, &out);
	buf_append_char(&out, '\0');
	bool says = strstr(out.p, what) != NULL;
	buf_finish(&out);
	return says;
}

/* ---- faults ---- */

static void a_frozen_server_keeps_nobody_beyond_the_deadline(void **state)
{
	(void)state;
	enum online_result result;
	put_until_it_works("1", 1);
	kill(server.pid, SIGSTOP);
	assert_int_not_equal(try_put("2", 2, 100, &result), RT_OK);
	for (int i = 0; !health_says("\"connected\":0"); i++) { /* given up */
		assert_true(i < 200);
		assert_int_not_equal(try_put("2", 2, 100, &result), RT_OK);
	}
	assert_true(health_says("does not answer"));
	kill(server.pid, SIGCONT);
	put_until_it_works("3", 3);
	online_expect(&on_redis, "u", 1, "3");
	assert_true(health_says("\"connected\":1}"));
}

static void a_killed_server_comes_back_empty(void **state)
{
	(void)state;
	enum online_result result;
	put_until_it_works("1", 10);
	redis_server_kill(&server);
	for (int i = 0; try_put("2", 20, 100, &result) != RT_EIO; i++)
		assert_true(i < 200);
	redis_server_start(&server);
	put_until_it_works("0", 5); /* older than what is forgotten, with a script that is forgotten */
	online_expect(&on_redis, "u", 1, "0");
}

static void a_killed_connection_is_made_again(void **state)
{
	(void)state;
	for (int i = 1; i < 20; i++) {
		put_until_it_works("1", i);
		redis_cli(&server, "CLIENT KILL TYPE normal SKIPME yes");
	}
	put_until_it_works("2", 100);
	online_expect(&on_redis, "u", 1, "2");
}

static void a_flushed_script_is_sent_again(void **state)
{
	(void)state;
	for (int i = 1; i < 5; i++) {
		redis_cli(&server, "SCRIPT FLUSH");
		assert_int_equal(online_write(&on_redis, "u", 1, "1", AT(i, 1)), ONLINE_APPLIED);
		redis_cli(&server, "SCRIPT FLUSH");
		assert_int_equal(online_remove(&on_redis, "u", i, 1), ONLINE_APPLIED);
		redis_cli(&server, "SCRIPT FLUSH");
		assert_int_equal(online_write(&on_redis, "u", 1, "1", AT(i - 1, 9)), ONLINE_STALE);
	}
}

static void a_slow_server_is_waited_for(void **state)
{
	(void)state;
	enum online_result result;
	put_until_it_works("1", 1);
	char line[256];
	snprintf(line, sizeof line, "redis-cli -s %s DEBUG SLEEP 0.15 >/dev/null 2>&1 &", server.socket);
	assert_int_equal(system(line), 0);
	for (int64_t i = 2; i < 200; i++)
		assert_int_equal(try_put("1", i, 5000, &result), RT_OK);
}

static void a_full_server_fails_writes_and_answers_reads(void **state)
{
	(void)state;
	enum online_result result;
	put_until_it_works("1", 1);
	redis_cli(&server, "CONFIG SET maxmemory 1");
	assert_int_equal(try_put("2", 2, 5000, &result), RT_OK);
	assert_int_equal(result, ONLINE_FAILED);
	assert_true(health_says("maxmemory"));
	online_expect(&on_redis, "u", 1, "1");
	redis_cli(&server, "CONFIG SET maxmemory 0");
	put_until_it_works("2", 2);
	online_expect(&on_redis, "u", 1, "2");
}

static void an_evicting_server_forgets_whole_entities(void **state)
{
	(void)state;
	char large[4000];
	memset(large, '7', sizeof large);
	large[0] = large[sizeof large - 2] = '"';
	large[sizeof large - 1] = '\0';
	put_until_it_works("1", 1);
	redis_cli(&server, "CONFIG SET maxmemory-policy allkeys-random");
	redis_cli(&server, "CONFIG SET maxmemory 3mb");
	for (int i = 0; i < 900; i++) {
		char id[16];
		snprintf(id, sizeof id, "e%d", i);
		assert_int_equal(online_write(&on_redis, id, 1, large, AT(1, 1)), ONLINE_APPLIED);
	}
	size_t found = 0;
	for (int i = 0; i < 900; i++) {
		char id[16];
		snprintf(id, sizeof id, "e%d", i);
		const struct online_get *g = online_look(&on_redis, id, 1);
		found += g->cell.value != NULL;
		assert_int_equal(g->trace.is_known, g->cell.value != NULL);
	}
	assert_true(found > 10 && found < 850);
}

static void a_foreign_type_at_a_key_fails_its_row_only(void **state)
{
	(void)state;
	put_until_it_works("1", 1);
	redis_cli(&server, "SET user:other text");
	assert_int_equal(row_result("other", 1), ONLINE_FAILED);
	assert_int_equal(online_write(&on_redis, "other", 1, "1", AT(1, 1)), ONLINE_FAILED);
	assert_false(health_says("no hash")); /* Redis is well */
	assert_int_equal(row_result("u", 1), ONLINE_APPLIED);
	assert_string_equal(redis_cli(&server, "GET user:other"), "text");
}

static void a_wrong_password_says_so(void **state)
{
	(void)state;
	enum online_result result;
	put_until_it_works("1", 1);
	redis_rig_close(&rig, &on_redis);
	redis_cli(&server, "CONFIG SET requirepass secret");
	open_with("unix://:wrong@", "");
	for (int i = 0; try_put("1", 1, 1000, &result) != RT_EIO; i++)
		assert_true(i < 100);
	assert_true(health_says("password"));
	assert_false(health_says("wrong@"));
	redis_rig_close(&rig, &on_redis);
	open_with("unix://:secret@", "?db=3");
	put_until_it_works("5", 5);
	assert_string_equal(redis_cli(&server, "-a secret --no-auth-warning -n 3 EXISTS user:u"), "1");
	redis_rig_close(&rig, &on_redis);
	open_with("unix://:secret@", "?db=99");
	for (int i = 0; try_put("1", 1, 1000, &result) != RT_EIO; i++)
		assert_true(i < 100);
	assert_true(health_says("database"));
}

/* ---- what is in Redis ---- */

static void python_reads_what_is_written(void **state)
{
	(void)state;
	assert_int_equal(online_write(&on_redis, "u", 1, "{\"a\":1}", AT(1735689600123456, 7)), ONLINE_APPLIED);
	const char *fabra = "{\"__fabra_feature_value__\": true, \"value\": {\"a\":1}, "
			    "\"as_of\": \"2025-01-01T00:00:00.123456+00:00\", \"fabra_n\": \"",
		   *text = redis_cli(&server, "--raw HGET user:u f1");
	assert_memory_equal(text, fabra, strlen(fabra));
	assert_string_equal(text + strlen(text) - 2, "\"}");
	yyjson_doc *doc = json_parse(str_from(text), NULL, &(struct json_error){ 0 });
	assert_non_null(doc);
	yyjson_doc_free(doc);
}

static void what_python_writes_is_read(void **state)
{
	(void)state;
	put_until_it_works("1", 1);
	redis_cli(
	    &server,
	    "HSET user:p f1 '{\"__fabra_feature_value__\": true, \"value\": {\"a\": [1.5, \"\\u00e9\"]}, \"as_of\": "
	    "\"2025-01-01T00:00:00.123456+00:00\"}' f2 '17' f3 'plain text' f4 '{\"__fabra_feature_value__\": true, "
	    "\"value\": NaN, \"as_of\": \"2025-01-01T00:00:00+00:00\"}'");
	const struct online_get *g = online_look(&on_redis, "p", 1);
	assert_non_null(g->cell.value);
	assert_string_equal(g->cell.value->json, "{\"a\":[1.5,\"\xc3\xa9\"]}");
	assert_int_equal(g->cell.meta.event_time_us, 1735689600123456);
	assert_int_equal(g->cell.meta.flags, ONLINE_FOREIGN);
	online_expect(&on_redis, "p", 2, "17");
	assert_int_equal(online_look(&on_redis, "p", 2)->cell.meta.flags, ONLINE_FOREIGN | ONLINE_AGE_UNKNOWN);
	online_expect(&on_redis, "p", 3, "\"plain text\"");
	online_expect(&on_redis, "p", 4, "null");
	/* It is ordered by as_of, and counts as written when it is read. Whatever has no age is older than all. */
	assert_int_equal(online_write(&on_redis, "p", 1, "2", AT(1735689600123455, 9)), ONLINE_STALE);
	assert_int_equal(online_write(&on_redis, "p", 1, "2", AT(1735689600123456, 9)), ONLINE_STALE);
	assert_int_equal(online_write(&on_redis, "p", 1, "2", AT(1735689600123457, 1)), ONLINE_APPLIED);
	assert_int_equal(online_write(&on_redis, "p", 2, "18", AT(1, 1)), ONLINE_APPLIED);
	assert_int_equal(online_remove(&on_redis, "p", 1735689600123456, 3), ONLINE_APPLIED);
	online_expect(&on_redis, "p", 3, NULL);
	online_expect(&on_redis, "p", 4, NULL);
	/* A delete stays in force for what is older, and not for what Python writes later. */
	redis_cli(&server, "HSET user:p f3 '\"new\"' f4 '{\"__fabra_feature_value__\": true, \"value\": 1, \"as_of\": "
			   "\"2024-12-31T23:59:59+00:00\"}'");
	online_expect(&on_redis, "p", 3, "\"new\"");
	online_expect(&on_redis, "p", 4, NULL);
	redis_cli(&server,
		  "HSET user:p f5 '{\"__fabra_feature_value__\": true, \"value\": 123456789012345678901234567890}'");
	assert_int_equal(row_result("p", 5), ONLINE_FAILED); /* not: absent */
}

static void the_lower_half_of_a_position_decides(void **state)
{
	(void)state;
	static const uint64_t lows[] = { 5, 4, UINT64_MAX, UINT64_MAX - 1 };
	static const enum online_result results[] = { ONLINE_APPLIED, ONLINE_STALE, ONLINE_APPLIED, ONLINE_STALE };
	struct value *v = value_create(STR("1"));
	for (size_t i = 0; i < 4; i++) {
		struct online_batch *m = online_begin(&on_redis, ONLINE_PUT);
		struct online_change change = { .feature = 1,
						.value = v,
						.meta = { .event_time_us = 5, .lsn = UINT64_MAX, .lsn_low = lows[i] } };
		assert_true(online_batch_put(m, ONLINE_KIND, STR("w"), &change, 1));
		assert_int_equal(online_do(&on_redis, m)->rows[0].changes[0].result, results[i]);
	}
	value_unref(v);
	assert_true(online_look(&on_redis, "w", 1)->trace.lsn_low == UINT64_MAX);
	struct online_batch *m = online_begin(&on_redis, ONLINE_DELETE);
	const struct online_meta when = { .event_time_us = 5, .lsn = UINT64_MAX, .lsn_low = UINT64_MAX };
	assert_true(online_batch_delete(m, ONLINE_KIND, STR("w"), &when));
	assert_int_equal(online_do(&on_redis, m)->rows[0].result, ONLINE_APPLIED);
	online_expect(&on_redis, "w", 1, NULL);
}

static long ttl_s(const char *key)
{
	char command[64];
	snprintf(command, sizeof command, "TTL %s", key);
	return strtol(redis_cli(&server, command), NULL, 10);
}

static void a_hash_lives_as_long_as_its_longest(void **state)
{
	(void)state;
	int64_t now_us = clock_wall_us();
	online_write(&on_redis, "t", 1, "1", (struct online_when){ 1, 1, 0, now_us + 1000 * 1000000ll });
	assert_in_range(ttl_s("user:t"), 990, 1000);
	online_write(&on_redis, "t", 2, "1", (struct online_when){ 1, 1, 0, now_us + 100 * 1000000ll });
	assert_in_range(ttl_s("user:t"), 990, 1000);
	online_write(&on_redis, "t", 3, "1", (struct online_when){ 1, 1, 0, now_us + 5000 * 1000000ll });
	assert_in_range(ttl_s("user:t"), 4990, 5000);
	online_write(&on_redis, "t", 4, "1", AT(1, 1));
	assert_int_equal(ttl_s("user:t"), -1);
	online_remove(&on_redis, "t", 9, 9);
	assert_in_range(ttl_s("user:t"), 86000, 86400); /* nothing but a tombstone */
	/* Of a kind with a feature that is kept for ever. */
	struct value *v = value_create(STR("1"));
	struct online_batch *m = online_begin(&on_redis, ONLINE_PUT);
	struct online_change change = { .feature = 1, .value = v, .meta = { .expires_us = now_us + 1000000000 } };
	assert_true(online_batch_put(m, ONLINE_OTHER_KIND, STR("t"), &change, 1));
	value_unref(v);
	assert_int_equal(online_do(&on_redis, m)->rows[0].changes[0].result, ONLINE_APPLIED);
	assert_int_equal(ttl_s("item:t"), -1);
}

static void a_value_that_is_too_large_is_refused_alone(void **state)
{
	(void)state;
	struct buf text = { 0 };
	assert_true(buf_reserve(&text, 3 << 20));
	memset(text.p, '1', 3 << 20);
	struct value *large = value_create(str_of(text.p, 3 << 20)), *v = value_create(STR("1"));
	struct online_change changes[] = { { .feature = 1, .value = large }, { .feature = 2, .value = v } };
	struct online_batch *m = online_begin(&on_redis, ONLINE_PUT);
	assert_true(online_batch_put(m, ONLINE_KIND, STR("l"), changes, 2));
	const struct online_rows *rows = online_do(&on_redis, m);
	assert_int_equal(rows->rows[0].changes[0].result, ONLINE_FULL);
	assert_int_equal(rows->rows[0].changes[1].result, ONLINE_APPLIED);
	online_expect(&on_redis, "l", 1, NULL);
	online_expect(&on_redis, "l", 2, "1");
	value_unref(large);
	value_unref(v);
	buf_finish(&text);
}

static void urls_are_read(void **state)
{
	(void)state;
	struct redis_url u;
	struct buf why = { 0 };
	assert_true(redis_url_parse("rediss://me:p%40ss@[::1]:7000/5?ssl_cert_reqs=none", &u, &why));
	assert_true(u.is_tls && !u.is_name && u.port == 7000 && u.database == 5 && u.takes_any_certificate);
	assert_string_equal(u.user, "me");
	assert_string_equal(u.password, "p@ss");
	assert_string_equal(u.host, "::1");
	assert_true(redis_url_parse("redis://cache.example", &u, &why));
	assert_true(u.is_name && u.port == 6379 && u.database == 0 && !u.password[0]);
	assert_true(redis_url_parse("unix://:pw@/tmp/s?db=2", &u, &why));
	assert_true(u.is_unix && u.database == 2);
	assert_string_equal(u.host, "/tmp/s");
	static const char *const wrong[] = { "",
					     "http://x",
					     "redis:/x",
					     "redis://x:0",
					     "redis://x:70000",
					     "redis://x/a",
					     "redis://x/1?y=2",
					     "unix://",
					     "redis://%zz@x",
					     "redis://x:1:2",
					     "redis://[::1]x:1",
					     "redis://x?db=-1",
					     "redis://x?ssl_cert_reqs=maybe" };
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		buf_clear(&why);
		if (redis_url_parse(wrong[i], &u, &why) || why.n == 0)
			fail_msg("'%s' is taken", wrong[i]);
	}
	buf_finish(&why);
}

/* ---- TLS, with an authority of the test's own ---- */

static void make_certificates(const char *dir)
{
	char line[1024];
	snprintf(
	    line, sizeof line,
	    "cd %s && { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt &&"
	    " openssl req -newkey rsa:2048 -nodes -subj /CN=redis -keyout s.key -out s.csr &&"
	    " printf 'subjectAltName=IP:127.0.0.1' >ext && openssl x509 -req -in s.csr -CA ca.crt -CAkey ca.key"
	    " -CAcreateserial -days 2 -extfile ext -out s.crt; } >openssl.log 2>&1",
	    dir);
	assert_int_equal(system(line), 0);
}

static void open_tls(unsigned port, const char *host, const char *parameters)
{
	char url[256];
	snprintf(url, sizeof url, "rediss://%s:%u/0?%s", host, port, parameters);
	redis_rig_open(&rig, &on_redis, &(struct redis_config){ .url = url });
}

static void expect_refusal(const char *what)
{
	enum online_result result;
	for (int i = 0; try_put("1", 1, 1000, &result) != RT_EIO; i++)
		assert_true(i < 100);
	assert_true(health_says(what));
	redis_rig_close(&rig, &on_redis);
}

static void tls_checks_whose_certificate_it_is(void **state)
{
	(void)state;
	char dir[] = "/tmp/fabra-test-tls-XXXXXX", port[8], files[4][64], line[128], ca[128];
	static const char *const names[] = { "s.crt", "s.key", "ca.crt" };
	assert_non_null(mkdtemp(dir));
	make_certificates(dir);
	for (size_t i = 0; i < 3; i++)
		snprintf(files[i], sizeof files[i], "%s/%s", dir, names[i]);
	unsigned at = free_port();
	snprintf(port, sizeof port, "%u", at);
	const char *const arguments[] = { "--tls-port",
					  port,
					  "--bind",
					  "127.0.0.1",
					  "--tls-cert-file",
					  files[0],
					  "--tls-key-file",
					  files[1],
					  "--tls-ca-cert-file",
					  files[2],
					  "--tls-auth-clients",
					  "no",
					  NULL };
	redis_server_create(&server, arguments);
	snprintf(ca, sizeof ca, "ssl_ca_certs=%s", files[2]);
	open_tls(at, "127.0.0.1", ca);
	put_until_it_works("1", 1);
	for (int64_t i = 2; i < 50; i++)
		put_until_it_works("\"a value\"", i);
	online_expect(&on_redis, "u", 1, "\"a value\"");
	redis_rig_close(&rig, &on_redis);
	open_tls(at, "127.0.0.1", ""); /* an authority that nobody knows */
	expect_refusal("certificate");
	open_tls(at, "127.0.0.2", "ssl_cert_reqs=none"); /* nobody is there */
	expect_refusal("cannot be reached");
	open_tls(at, "127.0.0.1", "ssl_cert_reqs=none");
	put_until_it_works("2", 100);
	redis_rig_close(&rig, &on_redis);
	redis_server_destroy(&server);
	snprintf(line, sizeof line, "rm -r %s", dir);
	assert_int_equal(system(line), 0);
}

#define ON_REDIS(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	if (!redis_server_exists()) {
		fprintf(stderr, "SKIPPED: redis-server is not installed; run tools/setup\n");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = { CONTRACT_ONLINE_TESTS(&by_tcp),
					    cmocka_unit_test(urls_are_read),
					    cmocka_unit_test(tls_checks_whose_certificate_it_is),
					    ON_REDIS(a_frozen_server_keeps_nobody_beyond_the_deadline),
					    ON_REDIS(a_killed_server_comes_back_empty),
					    ON_REDIS(a_killed_connection_is_made_again),
					    ON_REDIS(a_flushed_script_is_sent_again),
					    ON_REDIS(a_slow_server_is_waited_for),
					    ON_REDIS(a_full_server_fails_writes_and_answers_reads),
					    ON_REDIS(an_evicting_server_forgets_whole_entities),
					    ON_REDIS(a_foreign_type_at_a_key_fails_its_row_only),
					    ON_REDIS(a_wrong_password_says_so),
					    ON_REDIS(python_reads_what_is_written),
					    ON_REDIS(what_python_writes_is_read),
					    ON_REDIS(the_lower_half_of_a_position_decides),
					    ON_REDIS(a_hash_lives_as_long_as_its_longest),
					    ON_REDIS(a_value_that_is_too_large_is_refused_alone) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
