/* The contract of evidence, kept by Postgres: on a real server of its own. */
#include "tests/contract/evidence.h"
#include "tests/unit/postgres_fixture.h"

static struct pg_backend {
	struct postgres *pg;
	struct loop *io;
	bool is_there; /* the tables of this test */
} backend;

static const char legacy_ref[] = "ctx_00000000-0000-0000-0000-00000000000a";

/* What Fabra's Python program leaves: its table of contexts. */
static const char python_sql[] =
    "CREATE TABLE context_log (context_id VARCHAR(255) PRIMARY KEY, timestamp TIMESTAMPTZ NOT NULL, content TEXT NOT NULL, lineage JSONB "
    "NOT NULL, meta JSONB NOT NULL, version VARCHAR(10) DEFAULT 'v1'); INSERT INTO context_log VALUES "
    "('ctx_00000000-0000-0000-0000-00000000000a', '2020-01-01 00:00:00Z', 'text', '{}', '{\"name\": \"old\"}', 'v1')";

static void pg_open(struct contract_evidence *b)
{
	struct buf why = { 0 };
	if (!backend.is_there) {
		server_clear();
		server_sql(python_sql);
	}
	backend.pg =
	    postgres_open(&(struct postgres_config){ .url = server.url, .replica = "contract", .pool_size = 3 }, &why);
	if (backend.pg == NULL || postgres_migrate(backend.pg, POSTGRES_MIGRATE, NULL, NULL, &why) != 0)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	backend.is_there = true;
	backend.io = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
	assert_non_null(backend.io);
	b->store.append = postgres_spawn_lane(backend.pg, backend.io);
	b->store.find = b->store.list = b->store.legacy = postgres_spawn_reader(backend.pg, backend.io);
	contract_begin(&b->c, NULL);
	assert_int_equal(loop_start(backend.io), 0);
	server_await_ready(backend.pg);
}

static void pg_close(struct contract_evidence *b)
{
	contract_stop(&b->c);
	loop_stop(backend.io);
	loop_join(backend.io);
	contract_end(&b->c);
	loop_destroy(backend.io);
	postgres_close(backend.pg);
}

static void pg_forget(struct contract_evidence *b)
{
	(void)b;
	backend.is_there = false;
}

/* The server itself fails: a trigger raises what it raises when its disk does not write, or is full. */
static void pg_fail(struct contract_evidence *b, int status)
{
	(void)b;
	server_sql("DROP TRIGGER IF EXISTS fault ON fabra.records");
	if (status == 0)
		return;
	char sql[512];
	snprintf(
	    sql, sizeof sql,
	    "CREATE OR REPLACE FUNCTION fabra.fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'made by the test' "
	    "USING ERRCODE = '%s'; END $$; CREATE TRIGGER fault BEFORE INSERT ON fabra.records FOR EACH STATEMENT EXECUTE FUNCTION "
	    "fabra.fault()",
	    status == RT_EFULL ? "53100" : "58030");
	server_sql(sql);
}

static struct contract_evidence postgres = {
	.name = "Postgres",
	.lacks = CONTRACT_LACKS_LOG | CONTRACT_LACKS_NUMBERS | CONTRACT_LACKS_ONE_CHAIN,
	.open = pg_open,
	.close = pg_close,
	.forget = pg_forget,
	.set_fault = pg_fail,
	.legacy_ref = legacy_ref,
};

int main(void)
{
	const struct CMUnitTest tests[] = { CONTRACT_EVIDENCE_TESTS(&postgres) };
	if (!server_create())
		return POSTGRES_SKIPPED;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	server_destroy();
	return failed;
}
