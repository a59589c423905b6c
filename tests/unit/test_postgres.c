/* Postgres under load, with a real server that is hurt: what was acknowledged is there, once; what was refused says why. The chains
 * are checked by tests/tools/postgres_chain.py, which knows nothing of this program's code. */
#include "tests/contract/evidence_entries.h"
#include "store/postgres/pg_schema.h"
#include "store/text/uuid.h"
#include "tests/unit/postgres_fixture.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/socket.h>

/* ---- a load: asks that follow each other, from the lane's own loop ---- */
enum { OPEN_ASKS = 48, ACKED_MAX = 400000 };
struct counting_hook {
	struct evidence_hook head;
	_Atomic unsigned *admits, *ends;
	bool is_admitted, has_ended;
};
struct load {
	struct actor base;
	struct load_state *s;
};
static struct load_state {
	struct actor_ref lane;
	_Atomic bool runs;
	_Atomic unsigned open;
	_Atomic uint64_t kept, failed;
	_Atomic unsigned admits, ends, twice;
	struct uuid7 ids;
	unsigned numbers;
	char (*records)[40]; /* acknowledged */
	size_t records_count;
	unsigned *values; /* likewise: their numbers */
	size_t values_count;
	struct pending {
		uint64_t op;
		unsigned number;
	} asks[OPEN_ASKS];
	char reason[160];
} load;

static struct actor_ref process_lane(void);

static bool hook_admit(struct evidence_hook *h, struct evidence_entry *e)
{
	struct counting_hook *c = (struct counting_hook *)h;
	(void)e;
	if (c->is_admitted)
		load.twice++;
	c->is_admitted = true;
	load.admits++;
	return true;
}

static void hook_ended(struct evidence_hook *h, const struct evidence_entry *e, int status, int64_t now_us)
{
	struct counting_hook *c = (struct counting_hook *)h;
	(void)now_us;
	if (c->has_ended || !c->is_admitted || (status == RT_OK) != (e->lsn != 0))
		load.twice++;
	c->has_ended = true;
	load.ends++;
}

static void hook_destroy(struct evidence_hook *h)
{
	free(h);
}

static struct evidence_entry *load_record(struct actor *a)
{
	char id[RECORD_ID_MAX + 1] = "ctx_", hash[RECORD_HASH_TEXT], content[2048];
	uuid7_text(&load.ids, loop_wall_us(a->loop), loop_random(a->loop), loop_random(a->loop), id + 4);
	for (size_t i = 0; i < sizeof content; i++)
		content[i] = "the quick brown fox jumps over it "[(i * 7 + load.numbers) % 34];
	struct record record = {
		.context_id = str_of(id, RECORD_ID_MAX),
		.created_at_us = loop_wall_us(a->loop),
		.environment = STR("test"),
		.schema_version = STR("1.0.0"),
		.context_function = STR("load"),
		.inputs_json = STR("{}"),
		.content = str_of(content, sizeof content),
		.assembly = { .max_tokens = -1, .freshness_sla_ms = -1 },
		.lineage = { .fabra_version = STR("2.3.2") },
		.integrity = { .record_hash = STR(""), .signed_at_us = -1 },
	};
	record_hash_text(record.content, hash);
	record.integrity.content_hash = str_of(hash, RECORD_HASH_TEXT);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD);
	CHECK(record_write_canonical(&record, &e->body, &e->previous_at));
	record_extras_write(&record, &(struct record_extras){ .version = STR("v1"), .evidence_mode = STR("required") },
			    &e->extras);
	memcpy(e->context_id, id, RECORD_ID_MAX);
	return e;
}

static void load_ask(struct actor *a)
{
	struct pending *p = load.asks;
	char id[32];
	while (p->op != 0)
		p++;
	p->number = ++load.numbers;
	snprintf(id, sizeof id, "load-%u", p->number);
	struct evidence_entry *e = p->number % 3 == 0 ? evidence_values(id, "1") : load_record(a);
	struct counting_hook *h = calloc(1, sizeof *h);
	CHECK(h != NULL);
	h->head = (struct evidence_hook){ hook_admit, hook_ended, hook_destroy };
	e->hook = &h->head;
	p->op = rt_ask(a, load.lane, &evidence_append_new(a->loop, e)->head, loop_mono_ns(a->loop) + 20000000000ull,
		       ACTOR_NONE);
	load.open++;
}

static void load_note(struct actor *a, struct msg *m)
{
	struct pending *p = load.asks;
	while (p < load.asks + OPEN_ASKS && p->op != m->op)
		p++;
	if (p == load.asks + OPEN_ASKS)
		return;
	const struct evidence_append *append = (const struct evidence_append *)m;
	p->op = 0;
	if (m->kind == EVIDENCE_APPENDED && m->status == RT_OK) {
		load.kept++;
		CHECK(load.records_count < ACKED_MAX && load.values_count < ACKED_MAX);
		if (append->entry->kind == EVIDENCE_RECORD)
			memcpy(load.records[load.records_count++], append->entry->context_id, 40);
		else
			load.values[load.values_count++] = p->number;
	} else {
		load.failed++;
		if (m->kind == EVIDENCE_APPENDED)
			snprintf(load.reason, sizeof load.reason, "%s", append->entry->reason);
	}
	if (atomic_load(&load.runs))
		load_ask(a);
	load.open--;
}

enum { LOAD_BEGIN = MSG_KIND(CLASS_TEST, 61), LOAD_TOGETHER = MSG_KIND(CLASS_TEST, 62) };

/* What two requests append in one turn: the actor itself stands for the one, the lane for the other. */
static struct together {
	uint64_t ops[6];
	int statuses[6];
	_Atomic unsigned ended;
} together;

static struct evidence_entry *values_of(const char *id, size_t n);

static void together_ask(struct actor *a)
{
	for (unsigned i = 0; i < 6; i++) {
		struct actor_ref request = i < 4 ? a->self : process_lane();
		struct evidence_entry *e = i == 1  ? values_of("no\0text", 7)
					   : i % 2 ? values_of("fine", 4)
						   : load_record(a);
		together.ops[i] = rt_ask(a, process_lane(), &evidence_append_new(a->loop, e)->head,
					 loop_mono_ns(a->loop) + 20000000000ull, request);
	}
}

static void together_note(const struct msg *m)
{
	for (unsigned i = 0; i < 6; i++) {
		if (m->op == 0 || together.ops[i] != m->op)
			continue;
		together.statuses[i] = m->kind == EVIDENCE_APPENDED ? m->status : 1;
		together.ended++;
	}
}

static void load_on_message(struct actor *a, struct msg *m)
{
	together_note(m);
	if (m->kind == RT_STOP)
		rt_stop(a);
	else if (m->kind == LOAD_TOGETHER)
		together_ask(a);
	else if (m->kind == LOAD_BEGIN)
		for (int i = 0; i < OPEN_ASKS; i++)
			load_ask(a);
	else
		load_note(a, m);
}
static const struct actor_class load_class = {
	.name = "load", .size = sizeof(struct load), .mailbox_len_max = 8, .on_message = load_on_message
};

/* ---- a process's part of it ---- */
static struct process {
	struct postgres *pg;
	struct loop *io, *blocking;
	struct actor_ref lane, reader, load;
	struct contract c;
} process;

static struct actor_ref process_lane(void)
{
	return process.lane;
}

static const struct postgres_config defaults = { .replica = "test", .pool_size = 2 };

static void process_begin(const struct postgres_config *config, const char *url)
{
	struct buf why = { 0 };
	struct postgres_config own = *config;
	own.url = url;
	process.pg = postgres_open(&own, &why);
	if (process.pg == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	process.io = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
	process.blocking = loop_create(&(struct loop_config){ .name = "names", .kind = LOOP_BLOCKING });
	assert_non_null(process.io);
	assert_true(postgres_spawn_resolver(process.pg, process.blocking));
	process.lane = postgres_spawn_lane(process.pg, process.io);
	process.reader = postgres_spawn_reader(process.pg, process.io);
	process.load = rt_spawn(process.io, &load_class, NULL);
	contract_begin(&process.c, NULL);
	assert_int_equal(loop_start(process.io), 0);
	assert_int_equal(loop_start(process.blocking), 0);
}

static void process_end(void)
{
	contract_stop(&process.c);
	loop_stop(process.io);
	loop_join(process.io);
	loop_stop(process.blocking);
	loop_join(process.blocking);
	contract_end(&process.c);
	loop_destroy(process.io);
	loop_destroy(process.blocking);
	postgres_close(process.pg);
}

static void migrate(const char *url)
{
	struct buf why = { 0 };
	struct postgres_config own = defaults;
	own.url = url;
	struct postgres *pg = postgres_open(&own, &why);
	if (pg == NULL || postgres_migrate(pg, POSTGRES_MIGRATE, NULL, NULL, &why) != RT_OK)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	postgres_close(pg);
}

static void load_begin(void)
{
	server_await_ready(process.pg);
	char(*records)[40] = load.records ? load.records : calloc(ACKED_MAX, 40);
	unsigned *values = load.values ? load.values : calloc(ACKED_MAX, sizeof *values);
	assert_true(records != NULL && values != NULL);
	unsigned numbers = load.numbers;
	load = (struct load_state){
		.lane = process.lane, .runs = true, .records = records, .values = values, .numbers = numbers
	};
	assert_true(loop_post(process.load, loop_msg_new(LOAD_BEGIN)));
}

static void wait_for_kept(uint64_t more)
{
	uint64_t until = atomic_load(&load.kept) + more;
	for (int i = 0; i < 6000 && atomic_load(&load.kept) < until; i++)
		usleep(10000);
	if (atomic_load(&load.kept) < until)
		fail_msg("nothing more is kept: %s", load.reason);
}

static void load_end(void)
{
	atomic_store(&load.runs, false);
	for (int i = 0; i < 6000 && atomic_load(&load.open) > 0; i++)
		usleep(10000);
	assert_int_equal(atomic_load(&load.open), 0);
	assert_int_equal(atomic_load(&load.twice), 0);
	assert_int_equal(atomic_load(&load.admits), atomic_load(&load.ends));
}

/* Every acknowledged one is there, and once. What is there beyond them was not acknowledged, and has to have failed. */
static void assert_all_there(const char *what)
{
	PGconn *c = PQconnectdb(server.url);
	PGresult *r =
	    PQexec(c,
		   "CREATE TEMP TABLE acked (id uuid); CREATE TEMP TABLE numbers (n integer); COPY acked FROM STDIN");
	PQclear(r);
	for (size_t i = 0; i < load.records_count; i++) {
		char line[48];
		int n = snprintf(line, sizeof line, "%.36s\n", load.records[i] + 4);
		assert_int_equal(PQputCopyData(c, line, n), 1);
	}
	assert_int_equal(PQputCopyEnd(c, NULL), 1);
	while ((r = PQgetResult(c)) != NULL)
		PQclear(r);
	PQclear(PQexec(c, "COPY numbers FROM STDIN"));
	for (size_t i = 0; i < load.values_count; i++) {
		char line[16];
		int n = snprintf(line, sizeof line, "%u\n", load.values[i]);
		assert_int_equal(PQputCopyData(c, line, n), 1);
	}
	assert_int_equal(PQputCopyEnd(c, NULL), 1);
	while ((r = PQgetResult(c)) != NULL)
		PQclear(r);
	r = PQexec(
	    c,
	    "SELECT (SELECT count(*) FROM acked a WHERE NOT EXISTS (SELECT FROM fabra.records r WHERE r.context_id = a.id)), (SELECT "
	    "count(*) FROM numbers n WHERE NOT EXISTS (SELECT FROM fabra.history h WHERE h.entity_id = 'load-' || n.n)), (SELECT count(*) "
	    "FROM (SELECT entity_id FROM fabra.history GROUP BY entity_id HAVING count(*) > 1) t), (SELECT count(*) FROM fabra.records WHERE "
	    "context_function = 'load') - (SELECT count(*) FROM acked), (SELECT count(*) FROM fabra.history) - (SELECT count(*) FROM numbers), "
	    "(SELECT count(*) FROM acked) - (SELECT count(DISTINCT id) FROM acked)");
	if (PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%s", PQerrorMessage(c));
	printf(
	    "%s: %llu kept, %llu failed; of the kept %s records and %s values are missing, %s values are there twice; beyond them %s records and "
	    "%s values are there\n",
	    what, (unsigned long long)load.kept, (unsigned long long)load.failed, PQgetvalue(r, 0, 0),
	    PQgetvalue(r, 0, 1), PQgetvalue(r, 0, 2), PQgetvalue(r, 0, 3), PQgetvalue(r, 0, 4));
	for (int i = 0; i < 3; i++)
		assert_string_equal(PQgetvalue(r, 0, i), "0");
	assert_string_equal(PQgetvalue(r, 0, 5), "0");
	assert_true(strtoull(PQgetvalue(r, 0, 3), NULL, 10) + strtoull(PQgetvalue(r, 0, 4), NULL, 10) <= load.failed);
	PQclear(r);
	PQfinish(c);
}

static void assert_chains(void)
{
	char command[768];
	server_sql("SELECT fabra.take_chain_heads()");
	snprintf(command, sizeof command, "python3 %s/tests/tools/postgres_chain.py %s/psql '%s' %zu", FABRA_SOURCE_DIR,
		 server.bin, server.url, load.records_count);
	fflush(stdout);
	assert_int_equal(system(command), 0);
}

static const struct evidence_append *ended(struct contract_ask *ask)
{
	struct msg *m = contract_wait(&process.c, ask);
	assert_int_equal(m->kind, EVIDENCE_APPENDED);
	return (const struct evidence_append *)m;
}

static struct contract_ask *append(struct evidence_entry *e)
{
	return contract_ask(&process.c, process.lane, &evidence_append_new(NULL, e)->head);
}

static struct contract_ask *find(const char id[static 40])
{
	return contract_ask(&process.c, process.reader, &evidence_find_new(NULL, str_of(id, 40), true)->head);
}

static int64_t kill_lanes(void)
{
	return server_sql(
	    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'fabra/test/%'");
}

static int setup(void **state)
{
	(void)state;
	server_clear();
	migrate(server.url);
	return 0;
}

/* ---- losing connections ---- */

static void survives_lost_backends(void **state)
{
	(void)state;
	process_begin(&defaults, server.url);
	load_begin();
	for (int i = 0; i < 14; i++) {
		wait_for_kept(20);
		usleep(300000);
		struct contract_ask *asks[8];
		for (size_t k = 0; k < ARRAY_LEN(asks); k++)
			asks[k] = find(load.records[0]);
		kill_lanes();
		for (size_t k = 0; k < ARRAY_LEN(asks); k++) /* it was kept, so it is never said to be absent */
			assert_int_equal(contract_wait(&process.c, asks[k])->status, RT_OK);
	}
	wait_for_kept(200);
	load_end();
	struct postgres_health health;
	postgres_health_read(process.pg, &health);
	process_end();
	assert_all_there("backends ended every 0.3 s");
	assert_int_equal(load.failed, 0); /* all were sent again */
	assert_true(health.reconnects >= 10);
	assert_int_equal(health.chains, 1);
	assert_chains();
}

static pid_t lane_backend(void)
{
	return (pid_t)server_sql(
	    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'fabra/test/%' AND application_name NOT LIKE "
	    "'fabra/test/read/%'");
}

static void waits_for_a_slow_backend(void **state)
{
	(void)state;
	process_begin(&defaults, server.url);
	load_begin();
	wait_for_kept(200);
	for (int i = 0; i < 2; i++) {
		pid_t pid = lane_backend();
		assert_int_equal(kill(pid, SIGSTOP), 0);
		usleep(1000000);
		assert_int_equal(kill(pid, SIGCONT), 0);
		wait_for_kept(200);
	}
	load_end();
	process_end();
	assert_all_there("a backend stopped for 1 s");
	assert_int_equal(load.failed, 0);
	assert_chains();
}

/* It is stopped for longer than an answer may take: the batch goes to another connection, and the old one may still commit it. */
static void goes_on_beside_a_frozen_backend(void **state)
{
	(void)state;
	struct postgres_config config = defaults;
	config.answer_ms = 300;
	config.give_up_ms = 1500;
	process_begin(&config, server.url);
	load_begin();
	for (int i = 0; i < 3; i++) {
		wait_for_kept(200);
		pid_t pid = lane_backend();
		assert_int_equal(kill(pid, SIGSTOP), 0);
		usleep(i == 1 ? 700000 : 3500000); /* one is resolved, the others are given up */
		assert_int_equal(kill(pid, SIGCONT), 0);
	}
	wait_for_kept(200);
	load_end();
	struct postgres_health health;
	postgres_health_read(process.pg, &health);
	process_end();
	assert_all_there("a backend frozen");
	printf("batches given up: %llu, chains: %llu\n", (unsigned long long)health.unknown_outcomes,
	       (unsigned long long)health.chains);
	assert_chains();
}

static void survives_a_crash_of_the_server(void **state)
{
	(void)state;
	struct postgres_config config = defaults;
	config.give_up_ms = 15000; /* a busy machine recovers slowly */
	process_begin(&config, server.url);
	load_begin();
	for (int i = 0; i < 3; i++) {
		wait_for_kept(300);
		server_stop(SIGQUIT);
		if (i == 1) { /* what was sent waits; what comes when nothing is queued any more is refused at once */
			const struct evidence_append *m = ended(append(evidence_values("late", "1")));
			assert_int_equal(m->head.status, RT_EIO);
			assert_non_null(strstr(m->entry->reason, "Postgres"));
			assert_int_equal(m->entry->lsn, 0);
		}
		server_start(NULL);
	}
	wait_for_kept(300);
	load_end();
	process_end();
	assert_all_there("the server crashed");
	assert_int_equal(server_sql("SELECT count(*) FROM fabra.history WHERE entity_id = 'late'"), 0);
	assert_int_equal(load.failed, 0);
	assert_chains();
}

/* ---- what cannot be kept ---- */

static struct evidence_entry *values_of(const char *id, size_t n)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	const struct entry_value v = { .entity_id = str_of(id, n),
				       .feature = STR("tier"),
				       .value_json = STR("1"),
				       .event_time_us = CONTRACT_T0_US };
	entry_values_write(&e->body, &(struct entry_values){
					 .entity = STR("User"), .source = ENTRY_PUSHED, .values = &v, .count = 1 });
	return e;
}

static void one_bad_entry_fails_alone(void **state)
{
	enum { N = 300 };
	(void)state;
	struct contract_ask *asks[N];
	process_begin(&defaults, server.url);
	server_await_ready(process.pg);
	for (unsigned i = 0; i < N; i++)
		asks[i] = append(i == 77    ? values_of("no\0text", 7)
				 : i == 200 ? values_of("no utf8 \xff", 9)
				 : i == 250 ? evidence_record(3, "chat") /* its id is there */
				 : i % 2    ? evidence_values("u1", "1")
					    : evidence_record(i, "chat"));
	asks[3] = append(evidence_record(3, "chat"));
	for (unsigned i = 0; i < N; i++) {
		int status = ended(asks[i])->head.status;
		assert_int_equal(status, i == 77 || i == 200 ? RT_EINVAL : i == 3 ? RT_EEXIST : RT_OK);
	}
	assert_non_null(strstr(ended(asks[77])->entry->reason, "Postgres"));
	assert_null(strstr(ended(asks[3])->entry->reason, "pkey")); /* names of ours are no cure */
	process_end();
	load.records_count = 0;
	assert_chains();
}

/* A record must not be there without what it used; what other requests appended in the same turn is. */
static void a_request_fails_from_its_failure_on(void **state)
{
	(void)state;
	process_begin(&defaults, server.url);
	server_await_ready(process.pg);
	together = (struct together){ .ended = 0 };
	assert_true(loop_post(process.load, loop_msg_new(LOAD_TOGETHER)));
	for (int i = 0; i < 3000 && atomic_load(&together.ended) < 6; i++)
		usleep(10000);
	process_end();
	static const int statuses[] = { RT_OK, RT_EINVAL, RT_EIO, RT_EIO, RT_OK, RT_OK };
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
		assert_int_equal(together.statuses[i], statuses[i]);
	assert_int_equal(server_sql("SELECT count(*) FROM fabra.records"), 2);
	assert_int_equal(server_sql("SELECT count(*) FROM fabra.history"), 1);
	load.records_count = 0;
	assert_chains();
}

static void values_of_any_size_are_kept(void **state)
{
	(void)state;
	process_begin(&defaults, server.url);
	server_await_ready(process.pg);
	static char json[300000];
	memset(json, '7', sizeof json - 1);
	json[0] = json[sizeof json - 2] = '"';
	assert_int_equal(ended(append(evidence_values("large", json)))->head.status, RT_OK);
	assert_int_equal(ended(append(evidence_values("small", "1e16")))->head.status, RT_OK);
	process_end();
	assert_int_equal(
	    server_sql("SELECT length(value_large) FROM fabra.history WHERE entity_id = 'large' AND value IS NULL"),
	    sizeof json - 1);
	assert_int_equal(server_sql("SELECT count(*) FROM fabra.history WHERE value = '1e16'"), 1);
}

/* A reader of Fabra's own tables finds records there, numbers and texts as they are, a NUL included. */
static void records_are_seen_in_fabras_shape(void **state)
{
	(void)state;
	process_begin(&defaults, server.url);
	server_await_ready(process.pg);
	assert_int_equal(ended(append(evidence_record(1, "chat")))->head.status, RT_OK);
	struct evidence_entry *e = evidence_import(2, "a NUL: \\u0000, a line");
	assert_int_equal(ended(append(e))->head.status, RT_OK);
	process_end();
	assert_int_equal(
	    server_sql(
		"SELECT token_count FROM context_records WHERE context_id = 'ctx_018f3a2b-7def-7abc-8901-000000000001' AND "
		"inputs ->> 'user_id' = 'u1' AND content = 'some text' AND integrity ->> 'record_hash' = record_hash AND "
		"lineage ->> 'fabra_version' = '2.3.2'"),
	    41);
	assert_int_equal(
	    server_sql("SELECT count(*) FROM context_log WHERE meta ->> 'name' = 'chat' AND content = 'some text'"), 1);
	assert_int_equal(server_sql("SELECT count(*) FROM context_records WHERE content LIKE 'a NUL: _, a line'"), 1);
	assert_int_equal(
	    server_sql(
		"SELECT count(*) FROM pg_class WHERE relname = 'context_log' AND relkind = 'v' AND relnamespace = "
		"'public'::regnamespace"),
	    1);
}

/* ---- what is wrong with the server, or with its name ---- */

static void assert_migrate_says(const char *url, enum postgres_migrate_mode mode, int status, const char *words)
{
	struct buf why = { 0 };
	struct postgres_config own = defaults;
	own.url = url;
	struct postgres *pg = postgres_open(&own, &why);
	assert_non_null(pg);
	assert_int_equal(postgres_migrate(pg, mode, NULL, NULL, &why), status);
	buf_append_char(&why, '\0');
	if (strstr(why.p, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", why.p, words);
	assert_null(strstr(why.p, server.dir)); /* no paths */
	assert_null(strstr(why.p, "secret"));   /* no passwords */
	buf_finish(&why);
	postgres_close(pg);
}

/* What an append is told, once nothing is queued any more. */
static void assert_append_says(const char *url, int status, const char *words)
{
	process_begin(&defaults, url);
	const struct evidence_append *m = ended(append(evidence_record(1, "chat")));
	struct postgres_health health;
	postgres_health_read(process.pg, &health);
	if (strstr(m->entry->reason, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", m->entry->reason, words);
	assert_null(strstr(m->entry->reason, server.dir));
	assert_int_equal(m->head.status, status);
	assert_false(health.is_ready);
	assert_true(health.reason[0] != '\0');
	process_end();
}

static const char *url_of(const char *user, const char *database)
{
	static char url[256];
	snprintf(url, sizeof url, "postgresql://%s@/%s?host=%s", user, database, server.dir);
	return url;
}

static void says_what_is_wrong(void **state)
{
	(void)state;
	char path[128];
	struct buf why = { 0 };
	assert_null(postgres_open(&(struct postgres_config){ .url = "postgresql://u:sec%ret@", .replica = "a" }, &why));
	assert_non_null(memmem(why.p, why.n, "FABRA_POSTGRES_URL", 18));
	assert_null(memmem(why.p, why.n, "ret@", 4));
	buf_clear(&why);
	assert_null(postgres_open(&(struct postgres_config){ .url = server.url, .replica = "a/b" }, &why));
	buf_finish(&why);

	server_sql(
	    "SET password_encryption = 'scram-sha-256'; CREATE ROLE asker LOGIN PASSWORD 'right'; CREATE ROLE poor LOGIN; CREATE ROLE "
	    "nobody_in NOLOGIN; CREATE ROLE crowded LOGIN CONNECTION LIMIT 0");
	server_sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
	server_sql("CREATE DATABASE standing TEMPLATE template0");
	server_sql("CREATE DATABASE empty TEMPLATE template0");
	server_sql("ALTER DATABASE standing SET default_transaction_read_only = on");
	snprintf(path, sizeof path, "%s/pg_hba.conf", server.data);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs("local all asker scram-sha-256\nlocal all outsider reject\nlocal all all trust\nhost all all all trust\n",
	      f);
	fclose(f);
	server_sql("SELECT pg_reload_conf()");
	for (int i = 0; i < 500 && server_sql("SELECT count(*) FROM pg_hba_file_rules") != 4; i++)
		usleep(10000);
	usleep(100000); /* the postmaster reads it by a signal */

	assert_migrate_says(url_of("asker:secret", "postgres"), POSTGRES_MIGRATE, RT_EINVAL, "password");
	assert_migrate_says(url_of("asker", "postgres"), POSTGRES_MIGRATE, RT_EINVAL, "password");
	assert_migrate_says(url_of("outsider", "postgres"), POSTGRES_MIGRATE, RT_EINVAL, "Postgres");
	assert_migrate_says(url_of("stranger", "postgres"), POSTGRES_MIGRATE, RT_EINVAL,
			    "user of FABRA_POSTGRES_URL does not exist");
	assert_migrate_says(url_of("fabra", "nowhere"), POSTGRES_MIGRATE, RT_EINVAL,
			    "database of FABRA_POSTGRES_URL does not exist");
	assert_migrate_says(url_of("nobody_in", "postgres"), POSTGRES_MIGRATE, RT_EINVAL, "LOGIN");
	assert_migrate_says(url_of("crowded", "postgres"), POSTGRES_MIGRATE, RT_EIO, "connection left");
	assert_migrate_says(url_of("fabra", "latin"), POSTGRES_MIGRATE, RT_EINVAL, "UTF8");
	assert_migrate_says(url_of("fabra", "standing"), POSTGRES_MIGRATE, RT_EINVAL, "primary");
	assert_migrate_says(url_of("poor", "empty"), POSTGRES_MIGRATE, RT_EINVAL, "right");
	assert_migrate_says("postgresql://fabra@/postgres?host=/nowhere/at/all", POSTGRES_MIGRATE, RT_EIO,
			    "cannot be reached");
	assert_migrate_says("postgresql://fabra@127.0.0.1:1/postgres", POSTGRES_MIGRATE, RT_EIO, "cannot be reached");

	assert_append_says(url_of("asker:secret", "postgres"), RT_EIO, "password");
	assert_append_says(url_of("fabra", "nowhere"), RT_EIO, "does not exist");
	assert_append_says(url_of("crowded", "postgres"), RT_EIO, "connection left");
	assert_append_says(url_of("fabra", "latin"), RT_EIO, "UTF8");
	assert_append_says(url_of("fabra", "standing"), RT_EREADONLY, "primary");
	assert_append_says(url_of("fabra", "empty"), RT_EIO, "fabra migrate");
	assert_append_says(url_of("poor", "postgres"), RT_EIO, "right");
	assert_append_says("postgresql://fabra@127.0.0.1:1/postgres", RT_EIO, "cannot be reached");
	assert_append_says("postgresql://fabra@no-such-host.invalid/postgres", RT_EIO, "address");
}

static void migrates_step_by_step(void **state)
{
	(void)state;
	server_clear();
	assert_migrate_says(server.url, POSTGRES_MIGRATE_NEVER, RT_EINVAL, "fabra migrate");
	assert_int_equal(server_sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'fabra'"), 0);
	migrate(server.url);
	migrate(server.url); /* nothing is left to do */
	assert_int_equal(server_sql("SELECT count(*) FROM fabra.migrations"), pg_schema_version);
	assert_migrate_says(server.url, POSTGRES_MIGRATE_NEVER, RT_OK, "");
	server_sql("INSERT INTO fabra.migrations (version, program) VALUES (1000, 'fabra 9')");
	assert_migrate_says(server.url, POSTGRES_MIGRATE, RT_EINVAL, "newer program");
	assert_migrate_says(server.url, POSTGRES_MIGRATE_NEVER, RT_EINVAL, "newer program");
}

static void *migrate_thread(void *arg)
{
	(void)arg;
	migrate(server.url);
	return NULL;
}

static void many_migrate_at_once(void **state)
{
	(void)state;
	pthread_t threads[6];
	server_clear();
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, migrate_thread, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(server_sql("SELECT count(*) FROM fabra.migrations"), pg_schema_version);
}

/* A disk of a few megabytes under the partitions of the records. */
static void a_full_disk_refuses_and_heals(void **state)
{
	(void)state;
	char path[96], sql[320];
	snprintf(path, sizeof path, "%s/small", server.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	if (mount("tmpfs", path, "tmpfs", 0, "size=6m") != 0) {
		fprintf(
		    stderr,
		    "SKIPPED: no file system may be mounted here, so a full disk is shown by the contract's trigger only\n");
		rmdir(path);
		skip();
	}
	assert_int_equal(chown(path, server.user.pw_uid, server.user.pw_gid), 0);
	snprintf(sql, sizeof sql, "CREATE TABLESPACE small LOCATION '%s'", path);
	server_sql(sql);
	server_sql(
	    "DO $$ DECLARE t record; BEGIN FOR t IN SELECT inhrelid::regclass AS name FROM pg_inherits WHERE inhparent = "
	    "'fabra.records'::regclass LOOP EXECUTE format('ALTER TABLE %s SET TABLESPACE small', t.name); END LOOP; END $$");
	process_begin(&defaults, server.url);
	load_begin();
	for (int i = 0; i < 6000 && atomic_load(&load.failed) == 0; i++)
		usleep(10000);
	assert_true(atomic_load(&load.failed) > 0);
	load_end();
	assert_non_null(strstr(load.reason, "disk of Postgres is full"));
	struct postgres_health health;
	postgres_health_read(process.pg, &health);
	assert_false(health.is_ready);
	assert_non_null(strstr(health.reason, "disk of Postgres is full"));
	assert_all_there("a full disk");
	assert_int_equal(mount("tmpfs", path, "tmpfs", MS_REMOUNT, "size=64m"), 0);
	const struct evidence_append *m = ended(append(evidence_record(900, "chat")));
	assert_int_equal(m->head.status, RT_OK); /* by itself */
	postgres_health_read(process.pg, &health);
	assert_true(health.is_ready);
	process_end();
	load.records_count = 0;
	assert_chains();
	server_clear();
	server_sql("DROP TABLESPACE small");
	assert_int_equal(umount(path), 0);
}

static int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	close(fd);
	return ntohs(a.sin_port);
}

/* By name over TCP, where the first of the hosts does not answer. */
static void connects_by_name(void **state)
{
	(void)state;
	char option[64], url[160];
	int port = free_port();
	server_stop(SIGINT);
	snprintf(option, sizeof option, "port=%d", port);
	char listens[] = "listen_addresses=localhost", socket_url[192];
	snprintf(socket_url, sizeof socket_url, "%s", server.url);
	snprintf(server.url, sizeof server.url, "postgresql://fabra@/postgres?host=%s&port=%d", server.dir, port);
	const char *args[] = { "postgres", "-D", server.data, "-c", listens, "-c", option, "-k", server.dir, NULL };
	server.pid = server_spawn("postgres", args);
	server_await();
	snprintf(url, sizeof url, "postgresql://fabra@localhost:1,localhost:%d/postgres", port);
	process_begin(&defaults, url);
	load_begin();
	wait_for_kept(100);
	kill_lanes();
	wait_for_kept(100);
	load_end();
	process_end();
	assert_all_there("by name");
	server_stop(SIGINT);
	snprintf(server.url, sizeof server.url, "%s", socket_url);
	server_start(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(survives_lost_backends, setup),
		cmocka_unit_test_setup(waits_for_a_slow_backend, setup),
		cmocka_unit_test_setup(goes_on_beside_a_frozen_backend, setup),
		cmocka_unit_test_setup(survives_a_crash_of_the_server, setup),
		cmocka_unit_test_setup(one_bad_entry_fails_alone, setup),
		cmocka_unit_test_setup(a_request_fails_from_its_failure_on, setup),
		cmocka_unit_test_setup(values_of_any_size_are_kept, setup),
		cmocka_unit_test_setup(records_are_seen_in_fabras_shape, setup),
		cmocka_unit_test_setup(connects_by_name, setup),
		cmocka_unit_test_setup(a_full_disk_refuses_and_heals, setup),
		cmocka_unit_test_setup(says_what_is_wrong, setup),
		cmocka_unit_test(migrates_step_by_step),
		cmocka_unit_test(many_migrate_at_once),
	};
	if (!server_create())
		return POSTGRES_SKIPPED;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	server_destroy();
	free(load.records);
	free(load.values);
	return failed;
}
