/* The contract of the offline store, kept by Postgres: on a real server of its own. And what is put around the user's SQL. */
#include "tests/contract/offline.h"
#include "store/postgres/pg_statement.h"
#include "tests/unit/postgres_fixture.h"

static struct pg_backend {
	struct postgres *pg;
	struct loop *io, *front, *background, *lanes[2];
	struct actor_ref lane;
} backend;

static struct loop *blocking(const char *name)
{
	struct loop *loop = loop_create(&(struct loop_config){ .name = name, .kind = LOOP_BLOCKING });
	assert_non_null(loop);
	return loop;
}

static void pg_open(struct contract_offline *b)
{
	struct buf why = { 0 };
	char sql[256];
	server_clear();
	for (size_t i = 0; i < ARRAY_LEN(offline_tables); i++) {
		snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS %s; CREATE TABLE %s AS %s", offline_tables[i].name,
			 offline_tables[i].name, offline_tables[i].sql);
		server_sql(sql);
	}
	backend.pg =
	    postgres_open(&(struct postgres_config){ .url = server.url, .replica = "contract", .pool_size = 1 }, &why);
	if (backend.pg == NULL || postgres_migrate(backend.pg, POSTGRES_MIGRATE, NULL, NULL, &why) != 0)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	backend.io = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
	backend.front = blocking("front");
	backend.background = blocking("background");
	backend.lanes[0] = blocking("lane-1");
	backend.lanes[1] = blocking("lane-2");
	backend.lane = postgres_spawn_lane(backend.pg, backend.io);
	b->store.requests = postgres_spawn_offline(backend.pg, backend.front, backend.lanes, 2);
	b->store.background = postgres_spawn_offline(backend.pg, backend.background, NULL, 0);
	contract_begin(&b->c, NULL);
	struct loop *loops[] = { backend.io, backend.front, backend.background, backend.lanes[0], backend.lanes[1] };
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		assert_int_equal(loop_start(loops[i]), 0);
	server_await_ready(backend.pg);
}

static void pg_close(struct contract_offline *b)
{
	struct loop *loops[] = { backend.front, backend.background, backend.lanes[0], backend.lanes[1], backend.io };
	contract_stop(&b->c);
	for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
		loop_stop(loops[i]);
		loop_join(loops[i]);
	}
	contract_end(&b->c);
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		loop_destroy(loops[i]);
	postgres_close(backend.pg);
}

static void pg_append(struct contract_offline *b, struct evidence_entry *e)
{
	struct msg *m = contract_wait(&b->c, contract_ask(&b->c, backend.lane, &evidence_append_new(NULL, e)->head));
	assert_int_equal(m->kind, EVIDENCE_APPENDED);
	assert_int_equal(m->status, RT_OK);
}

static struct contract_offline postgres = {
	.name = "Postgres",
	.lacks = CONTRACT_LACKS_CALLS | CONTRACT_LACKS_PAST,
	.open = pg_open,
	.close = pg_close,
	.append = pg_append,
	.slow_sql = "SELECT sum(a * b % 7) AS s FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
};

static void parameters_are_rewritten_outside_of_literals(void **state)
{
	(void)state;
	static const struct {
		const char *sql, *wanted;
		int count;
	} cases[] = {
		{ "SELECT ? + ?", "SELECT $1 + $2", 2 },
		{ "SELECT '?', \"?\", 'it''s ?', ?", "SELECT '?', \"?\", 'it''s ?', $1", 1 },
		{ "SELECT E'\\'?', ? -- ?\n, ?", "SELECT E'\\'?', $1 -- ?\n, $2", 2 },
		{ "SELECT /* ? /* ? */ ? */ ?", "SELECT /* ? /* ? */ ? */ $1", 1 },
		{ "SELECT $$ ? $$, $a$ ? $$ ? $a$, ?", "SELECT $$ ? $$, $a$ ? $$ ? $a$, $1", 1 },
		{ "SELECT a ?? 'x', ?", "SELECT a ? 'x', $1", 1 },
		{ "SELECT 'never ended ?", "SELECT 'never ended ?", 0 },
		{ "SELECT a$b$c, ?", "SELECT a$b$c, $1", 1 },
		{ "", "", 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out = { 0 };
		assert_int_equal(pg_statement_rewrite(str_from(cases[i].sql), &out), cases[i].count);
		buf_append_char(&out, '\0');
		assert_string_equal(out.p, cases[i].wanted);
		buf_finish(&out);
	}
}

/* Nothing that a client writes leaves its place inside the SELECT. */
static void nothing_is_changed(void **state)
{
	(void)state;
	static const char *const sql[] = {
		"SELECT 1) AS x; DROP TABLE prices; SELECT * FROM (SELECT 1",
		"SELECT 1; DROP TABLE prices",
		"DROP TABLE prices",
		"WITH gone AS (DELETE FROM prices RETURNING *) SELECT * FROM gone",
		"SELECT nextval('fabra.lanes_id_seq')",
		"SELECT 1 -- ",
		"SELECT 1;",
	};
	static const int statuses[] = { RT_EINVAL, RT_EINVAL, RT_EINVAL, RT_EINVAL, RT_EINVAL, RT_OK, RT_OK };
	pg_open(&postgres);
	for (size_t i = 0; i < ARRAY_LEN(sql); i++)
		assert_int_equal(offline_sql(&postgres, sql[i], NULL)->head.status, statuses[i]);
	assert_int_equal(offline_sql(&postgres, "SELECT * FROM prices", NULL)->rows, 3);
	assert_int_equal(offline_sql(&postgres, "SELECT ?::text AS a", "[null]")->head.status, RT_OK);
	assert_int_equal(offline_sql(&postgres, "SELECT ?::int AS a", "[\"x\"]")->head.status, RT_EINVAL);
	assert_int_equal(offline_sql(&postgres, "SELECT 1 AS a", "[1]")->head.status, RT_EINVAL);
	/* A connection that was ended while nobody used it is made again. */
	server_sql(
	    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'fabra/contract/sql'");
	assert_int_equal(offline_sql(&postgres, "SELECT * FROM prices", NULL)->rows, 3);
	assert_int_equal(offline_sql(&postgres, "SELECT * FROM prices", NULL)->rows, 3);
	struct buf why = { 0 };
	assert_true(postgres_check_feature(backend.pg, STR("SELECT id, v FROM prices"), STR("id"), STR("v"), &why));
	assert_false(postgres_check_feature(backend.pg, STR("SELECT id FROM prices"), STR("id"), STR("v"), &why));
	assert_true(why.n > 0);
	buf_finish(&why);
	pg_close(&postgres);
}

/* Postgres does not send what would be too much: neither many rows, nor one. */
static void answers_have_bounds(void **state)
{
	(void)state;
	pg_open(&postgres);
	assert_int_equal(
	    offline_sql(&postgres, "SELECT repeat('x', 1000000) AS a FROM generate_series(1, 15)", NULL)->rows, 15);
	static const char *const too_large[] = { "SELECT repeat('x', 1000000) AS a FROM generate_series(1, 500)",
						 "SELECT repeat('x', 100000000) AS a" };
	for (size_t i = 0; i < ARRAY_LEN(too_large); i++)
		assert_int_equal(offline_sql(&postgres, too_large[i], NULL)->head.status, RT_ETOOBIG);
	static const char *const ids[] = { "1", "2", "3", "4", "5", "6", "007" };
	const struct offline_batch *m;
	m = offline_ids(&postgres, "SELECT i AS id, repeat('x', 3000000) AS v FROM generate_series(1, 9) i", ids, 7);
	assert_int_equal(m->head.status, RT_ETOOBIG);
	m = offline_ids(&postgres, "SELECT i AS id, repeat('x', 3000000) AS v FROM generate_series(1, 9) i", ids, 4);
	assert_int_equal(m->count, 4);
	m = offline_ids(&postgres, "SELECT 1 AS id, repeat('x', 5000000) AS v", ids, 1);
	assert_int_equal(m->head.status, RT_ETOOBIG);
	m = offline_ids(&postgres, "SELECT 7 AS id, 1 AS v", ids, 7);
	assert_int_equal(m->count, 0); /* 007 is no id of it */
	struct loop *loop = contract_maker(&postgres.c);
	uint64_t cursor = 0, rows = 0;
	do {
		m = offline_batch_of(&postgres,
				     cursor == 0
					 ? &offline_rows_new(loop,
							     STR("SELECT i AS id, repeat('x', 100000) AS v FROM "
								 "generate_series(1, 400) i"),
							     STR("id"), STR("v"))
						->head
					 : &offline_rows_next(loop, cursor)->head);
		assert_int_equal(m->head.status, RT_OK);
		assert_true(m->texts->used < 20u << 20);
		rows += m->count;
		cursor = m->cursor;
	} while (!m->last);
	assert_int_equal(rows, 400);
	pg_close(&postgres);
}

int main(void)
{
	const struct CMUnitTest tests[] = { CONTRACT_OFFLINE_TESTS(&postgres),
					    cmocka_unit_test(parameters_are_rewritten_outside_of_literals),
					    cmocka_unit_test(nothing_is_changed),
					    cmocka_unit_test(answers_have_bounds) };
	if (!server_create())
		return POSTGRES_SKIPPED;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	server_destroy();
	return failed;
}
