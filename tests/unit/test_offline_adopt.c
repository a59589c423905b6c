/* A file that Fabra's Python program left: its tables stay as they are, its contexts are listed, its records
 * verify. */
#include "tests/unit/offline_fixture.h"
#include "tests/unit/record_vectors.h"

static struct rig rig;

/* The tables as Fabra 2.3 makes them, with the record of its own test fixture. */
static const char *const python_sql[] = {
	"CREATE TABLE main.context_records (context_id VARCHAR PRIMARY KEY, created_at TIMESTAMP NOT NULL, "
	"environment VARCHAR NOT NULL, schema_version VARCHAR NOT NULL, inputs JSON, context_function VARCHAR, "
	"content TEXT, "
	"token_count INTEGER, features JSON, retrieved_items JSON, assembly JSON, lineage JSON, integrity JSON, "
	"record_hash VARCHAR UNIQUE)",
	"CREATE TABLE main.context_log (context_id VARCHAR PRIMARY KEY, timestamp TIMESTAMP NOT NULL, content "
	"TEXT NOT NULL, "
	"lineage JSON NOT NULL, meta JSON NOT NULL, version VARCHAR DEFAULT 'v1')",
	"INSERT INTO main.context_records VALUES ('ctx_00000000-0000-0000-0000-000000000001', '2025-01-01 "
	"00:00:00', 'development', "
	"'1.0.0', '{\"user_id\": \"u1\", \"query\": \"test\"}', 'chat_context', 'User tier: premium' || chr(10) "
	"|| 'Docs: ...', 42, '[]', "
	"'[]', '{\"max_tokens\": 4000, \"tokens_used\": 42, \"items_provided\": 2, \"items_included\": 2, "
	"\"dropped_items\": [], "
	"\"required_items_included\": true, \"freshness_sla_ms\": 300000, \"freshness_status\": \"guaranteed\", "
	"\"freshness_violations\": []}', '{\"features_used\": [\"user_tier\"], \"retrievers_used\": "
	"[\"demo_docs\"], \"indexes_used\": [], "
	"\"code_version\": null, \"fabra_version\": \"2.1.2\", \"assembly_latency_ms\": 12.3, "
	"\"estimated_cost_usd\": 0.0001}', "
	"'{\"record_hash\": \"" VECTOR_CHAT_HASH "\", "
	"\"content_hash\": \"sha256:ca55c427a31e4378f53941b6d77ae8b1a133ea37cbfb48a85bdaa66436f6bba8\", "
	"\"previous_context_id\": null, \"signed_at\": null, \"signing_key_id\": null, \"signature\": null}', "
	"'" VECTOR_CHAT_HASH "')",
	"INSERT INTO main.context_log VALUES ('ctx_00000000-0000-0000-0000-000000000001', '2025-01-01 "
	"00:00:00.5', 'text', '{}', "
	"'{\"name\": \"chat_context\", \"token_usage\": 42, \"freshness_status\": \"guaranteed\"}', 'v1'), "
	"('old-id', '2024-06-01 12:00:00', 'text', '{}', '{}', 'v1')",
};

/* With one thread: ThreadSanitizer cannot see into the library, and takes its workers' atomics for races. */
static duckdb_database open_alone(const char *path)
{
	duckdb_database db;
	duckdb_config config;
	assert_int_equal(duckdb_create_config(&config), DuckDBSuccess);
	assert_int_equal(duckdb_set_config(config, "threads", "1"), DuckDBSuccess);
	assert_int_equal(duckdb_open_ext(path, &db, config, NULL), DuckDBSuccess);
	duckdb_destroy_config(&config);
	return db;
}

static void make_python_file(const char *path)
{
	duckdb_database db = open_alone(path);
	duckdb_connection connection;
	assert_int_equal(duckdb_connect(db, &connection), DuckDBSuccess);
	for (size_t i = 0; i < sizeof python_sql / sizeof python_sql[0]; i++) {
		duckdb_result result;
		if (duckdb_query(connection, python_sql[i], &result) != DuckDBSuccess)
			fail_msg("%s", duckdb_result_error(&result));
		duckdb_destroy_result(&result);
	}
	duckdb_disconnect(&connection);
	duckdb_close(&db);
}

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	make_python_file(rig.db_path);
	rig_open(&rig);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	rig_close(&rig);
	rig_remove_folder(&rig);
	return 0;
}

static struct msg *make_list(struct loop *loop, const void *name)
{
	struct evidence_list *m = evidence_list_new(loop);
	m->name = name != NULL ? strdup(name) : NULL;
	return &m->head;
}

#define PYTHON_NEW                                                                                                     \
	"{\"context_id\":\"ctx_00000000-0000-0000-0000-000000000001\",\"timestamp\":\"2025-01-01T00:00:00."            \
	"500000\","                                                                                                    \
	"\"name\":\"chat_context\",\"token_usage\":42,\"freshness_status\":\"guaranteed\",\"version\":"                \
	"\"v1\"}"
#define PYTHON_OLD                                                                                                     \
	"{\"context_id\":\"old-id\",\"timestamp\":\"2024-06-01T12:00:00\",\"name\":\"unknown\",\"token_"               \
	"usage\":0,"                                                                                                   \
	"\"freshness_status\":\"unknown\",\"version\":\"v1\"}"
#define OWN                                                                                                            \
	"{\"context_id\":\"ctx_018f3a2b-7def-7abc-8901-000000000001\",\"timestamp\":\"2023-11-14T22:13:"               \
	"21\",\"name\":\"chat\","                                                                                      \
	"\"token_usage\":41,\"freshness_status\":\"guaranteed\",\"version\":\"v7\"}"

static void test_contexts_of_both_are_listed(void **state)
{
	(void)state;
	rig_append_record(&rig, 1, "chat", RECORD_GUARANTEED);
	rig_start(&rig, true, false);
	struct answer a = rig_wait(rig_ask(&rig, make_list, NULL, 10000));
	assert_string_equal(a.text, "[" PYTHON_NEW "," PYTHON_OLD "," OWN "]");
	free(a.text);
	a = rig_wait(rig_ask(&rig, make_list, "unknown", 10000));
	assert_string_equal(a.text, "[" PYTHON_OLD "]");
	free(a.text);
}

/* Once it is in the ledger too, it is listed from there, once. */
static void test_an_imported_record_is_listed_once(void **state)
{
	(void)state;
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD_IMPORTED);
	assert_true(offline_legacy_record(rig.offline, STR("ctx_00000000-0000-0000-0000-000000000001"), &e->body));
	memcpy(e->context_id, "ctx_00000000-0000-0000-0000-000000000001", 40);
	memcpy(e->stamp.record_hash, VECTOR_CHAT_HASH, RECORD_HASH_TEXT);
	rig_append(&rig, e, T0_US);
	rig_start(&rig, true, false);
	struct answer a = rig_wait(rig_ask(&rig, make_list, "chat_context", 10000));
	assert_string_equal(a.text, "[{\"context_id\":\"ctx_00000000-0000-0000-0000-000000000001\","
				    "\"timestamp\":\"2025-01-01T00:00:00\","
				    "\"name\":\"chat_context\",\"token_usage\":42,\"freshness_status\":"
				    "\"guaranteed\",\"version\":\"v1\"}]");
	free(a.text);
	assert_query(&rig, "SELECT imported, record_hash FROM fabra.records",
		     "[{\"imported\":true,\"record_hash\":\"" VECTOR_CHAT_HASH "\"}]");
}

static struct msg *make_legacy(struct loop *loop, const void *ref)
{
	return &evidence_legacy_new(loop, str_from(ref), LEGACY_RECORD)->head;
}

static void test_records_verify(void **state)
{
	(void)state;
	static const char *const refs[] = { "ctx_00000000-0000-0000-0000-000000000001",
					    "00000000-0000-0000-0000-000000000001", VECTOR_CHAT_HASH };
	rig_start(&rig, false, false);
	for (size_t i = 0; i < sizeof refs / sizeof refs[0]; i++) {
		struct answer a = rig_wait(rig_ask(&rig, make_legacy, refs[i], 10000));
		assert_int_equal(a.status, RT_OK);
		struct record_verdict verdict;
		const char *why = NULL;
		assert_true(record_verify(str_from(a.text), true, NULL, &verdict, &why));
		assert_true(verdict.record_hash_ok);
		assert_true(verdict.content_hash_ok);
		assert_true(strncmp(a.text,
				    "{\"context_id\":\"ctx_00000000-0000-0000-0000-000000000001\","
				    "\"created_at\":\"2025-01-01T00:00:00Z\",\"environment\"",
				    90) == 0);
		free(a.text);
	}
	struct answer a = rig_wait(rig_ask(&rig, make_legacy, "ctx_00000000-0000-0000-0000-000000000009", 10000));
	assert_int_equal(a.status, RT_ENOTFOUND);
	free(a.text);
	a = rig_wait(rig_ask(&rig, make_legacy, "\xff", 10000));
	assert_int_equal(a.status, RT_ENOTFOUND);
	free(a.text);
}

static void test_nothing_of_it_is_changed(void **state)
{
	(void)state;
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n FROM main.context_log", "[{\"n\":2}]");
	assert_query(&rig, "SELECT count(*) AS n FROM main.context_records", "[{\"n\":1}]");
	rig_stop(&rig);
	rig_close(&rig);
	/* Python opens the file again as it did before. */
	duckdb_database db = open_alone(rig.db_path);
	duckdb_connection connection;
	duckdb_result result;
	assert_int_equal(duckdb_connect(db, &connection), DuckDBSuccess);
	assert_int_equal(
	    duckdb_query(connection,
			 "INSERT INTO context_log SELECT 'new-id', timestamp, content, lineage, meta, version "
			 "FROM context_log LIMIT 1",
			 &result),
	    DuckDBSuccess);
	duckdb_destroy_result(&result);
	duckdb_disconnect(&connection);
	duckdb_close(&db);
	rig_open(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_contexts_of_both_are_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_imported_record_is_listed_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_records_verify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_of_it_is_changed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
