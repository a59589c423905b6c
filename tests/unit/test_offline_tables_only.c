/* SQL that a client sends: it reads tables, and nothing of the machine that the server runs on. */
#include "tests/unit/offline_fixture.h"

static struct rig rig;

static void open_with(size_t memory_limit_bytes)
{
	struct buf why = { 0 };
	rig_make_folder(&rig);
	rig.offline = offline_open(&(struct offline_config){ .path = rig.db_path,
							     .memory_limit_bytes = memory_limit_bytes },
				   &why);
	if (rig.offline == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	rig_start(&rig, false, false);
}

static int setup(void **state)
{
	(void)state;
	open_with(0);
	return 0;
}

static int setup_small(void **state)
{
	(void)state;
	open_with(16000000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	offline_close(rig.offline);
	rig_remove_folder(&rig);
	return 0;
}

static void run(const char *sql)
{
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	assert_non_null(c);
	if (!offline_conn_run(c, sql, &error))
		fail_msg("%s: %s", sql, error.text);
	offline_admin_leave(rig.offline);
}

static struct msg *make_ask(struct loop *loop, const void *sql)
{
	struct offline_query *m = offline_query_new(loop, str_from(sql), (struct str){ 0 });
	m->tables_only = true;
	return &m->head;
}

static struct answer ask(const char *sql, uint64_t timeout_ms)
{
	return rig_wait(rig_ask(&rig, make_ask, sql, timeout_ms));
}

/* A SELECT of so many of the same. */
static char *many(const char *what, unsigned count)
{
	struct buf sql = { 0 };
	buf_append_lit(&sql, "SELECT ");
	for (unsigned i = 0; i < count; i++)
		buf_printf(&sql, "%s%s", i > 0 ? ", " : "", what);
	buf_append_char(&sql, '\0');
	assert_false(sql.failed);
	return sql.p;
}

/* ---- what looks at a statement is a question of its own, with a deadline and faults of its own ---- */
static void test_the_look_at_a_statement_ends_at_the_deadline(void **state)
{
	(void)state;
	run("CREATE TABLE main.\"a.b\"(id BIGINT)");
	char *sql = many("(SELECT max(id) FROM \"a.b\")", 4000);
	uint64_t start_ns = clock_mono_ns();
	struct answer a = ask(sql, 20);
	assert_true(a.kind == RT_DEADLINE || a.status == RT_EDEADLINE);
	free(a.text);
	a = ask("SELECT 1 AS n", 60000); /* the reader is free again */
	assert_string_equal(a.text, "[{\"n\":1}]");
	free(a.text);
	free(sql);
	uint64_t took_ms = (clock_mono_ns() - start_ns) / 1000000;
	print_message("%" PRIu64 " ms\n", took_ms);
	assert_true(took_ms < 3000);
}

static void test_a_lack_of_memory_is_no_mistake_of_the_statement(void **state)
{
	(void)state;
	char *sql = many("'0123456789012345678901234567890123456789'", 50000);
	struct answer a = ask(sql, 20000);
	print_message("%s\n", a.text);
	assert_int_equal(a.status, RT_ETOOBIG);
	free(a.text);
	free(sql);
}

/* ---- tables, and nothing else ---- */
static void refuse(const char *sql, const char *part)
{
	struct answer a = ask(sql, 20000);
	if (a.status != RT_EINVAL || strstr(a.text, part) == NULL)
		fail_msg("%s: %s", sql, a.text);
	free(a.text);
}

/* What is quoted of a statement is cut between characters. */
static void test_what_is_cut_is_still_text(void **state)
{
	(void)state;
	static const char *const around[][2] = { { "", "" },
						 { "x", "" },
						 { "SELECT * FROM \"", "\"" },
						 { "SELECT * FROM \"x", "\"" },
						 { "SELECT * FROM \"", "\"(1)" },
						 { "SELECT * FROM \"x", "\"(1)" } };
	for (size_t i = 0; i < ARRAY_LEN(around); i++) {
		struct buf sql = { 0 };
		buf_append_str(&sql, str_from(around[i][0]));
		for (int n = 0; n < 128; n++)
			buf_append_lit(&sql, "\xc3\xa4");
		buf_append(&sql, around[i][1], strlen(around[i][1]) + 1);
		struct answer a = ask(sql.p, 20000);
		if (a.status != RT_EINVAL || !json_utf8_valid(str_from(a.text)) || strstr(a.text, "\xc3\xa4") == NULL)
			fail_msg("%d %s", a.status, a.text);
		free(a.text);
		buf_finish(&sql);
	}
}

static void take(const char *sql, const char *wanted)
{
	struct answer a = ask(sql, 20000);
	if (a.status != RT_OK || strcmp(a.text, wanted) != 0)
		fail_msg("%s: %s", sql, a.text);
	free(a.text);
}

/* Each text that DuckDB answers with. */
static void for_each_text(const char *sql, void (*each)(const char *text))
{
	static char texts[400][80];
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	assert_non_null(c);
	assert_true(offline_conn_select(c, str_from(sql), NULL, UINT64_MAX, &error));
	size_t count = 0;
	for (duckdb_data_chunk chunk; (chunk = offline_conn_fetch(c, &error)) != NULL;
	     duckdb_destroy_data_chunk(&chunk)) {
		duckdb_string_t *found = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
		for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++, count++) {
			assert_true(count < ARRAY_LEN(texts));
			snprintf(texts[count], sizeof texts[count], "%.*s", (int)duckdb_string_t_length(found[i]),
				 duckdb_string_t_data(&found[i]));
		}
	}
	offline_admin_leave(rig.offline);
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++)
		each(texts[i]);
}

static void refuse_view(const char *name)
{
	char sql[200];
	static const char *const forms[] = { "FROM ", "SELECT 1 FROM orders, ", "TABLE ", "DESCRIBE " };
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		snprintf(sql, sizeof sql, "%s%s", forms[i], name);
		refuse(sql, "none of the tables");
	}
}

static void refuse_table_function(const char *name)
{
	char sql[200];
	snprintf(sql, sizeof sql, "SELECT * FROM \"%s\"()", name);
	refuse(sql, "is not available here");
}

static void make_tables(void)
{
	run("CREATE TABLE main.orders(id BIGINT, amount DOUBLE)");
	run("INSERT INTO main.orders VALUES (1, 2.5), (2, 4)");
	run("CREATE TABLE main.\"rich.users\"(id BIGINT)");
	run("CREATE TABLE main.tables(id BIGINT)");
	run("CREATE VIEW main.large AS SELECT * FROM main.orders WHERE amount > 3");
	run("CREATE SEQUENCE main.numbers");
}

static void test_the_views_of_duckdb_are_no_tables(void **state)
{
	(void)state;
	make_tables();
	/* Every one that there is, under each of its names. */
	for_each_text("SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE internal", refuse_view);
	for_each_text("SELECT 'system.' || schema_name || '.' || view_name FROM duckdb_views() WHERE internal",
		      refuse_view);
	for_each_text("SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'",
		      refuse_view);
	static const char *const others[] = { "duckdb_settings",
					      "duckdb_secrets",
					      "PG_Settings",
					      "\"pg_catalog\".\"pg_settings\"",
					      "offline.pg_catalog.pg_settings",
					      "offline.information_schema.tables",
					      "nothing",
					      "nowhere.orders",
					      "temp.orders" };
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		refuse_view(others[i]);
	refuse("SELECT (SELECT count(*) FROM pg_settings)", "none of the tables");
	refuse("SELECT 1 WHERE EXISTS (FROM pg_settings)", "none of the tables");
	refuse("WITH x AS (FROM pg_settings) FROM x", "none of the tables");
	/* A name that WITH gives does not open the way to another thing of that name. */
	refuse("WITH pg_settings AS (FROM pg_settings) FROM pg_settings", "none of the tables");
	refuse("SELECT * FROM pg_settings, (WITH pg_settings AS (SELECT 1) FROM pg_settings)", "none of the tables");
	refuse("SHOW DATABASES", "only tables");
	refuse("FROM (SHOW VARIABLES)", "only tables");
	refuse("FROM (SHOW TABLES FROM system)", "only tables");
}

static void refuse_file(const char *before, const char *name, const char *behind)
{
	char sql[300];
	snprintf(sql, sizeof sql, "%s%s/%s%s", before, rig.dir, name, behind);
	refuse(sql, "none of the tables");
}

static void test_files_are_no_tables(void **state)
{
	(void)state;
	char path[100], sql[400];
	make_tables();
	snprintf(path, sizeof path, "%s/secret.csv", rig.dir);
	FILE *f = fopen(path, "w");
	assert_true(f != NULL && fputs("secret\n1\n", f) > 0 && fclose(f) == 0);
	refuse_file("FROM '", "secret.csv", "'");
	refuse_file("FROM \"", "secret.csv", "\"");
	refuse_file("FROM \"", "secret", "\".csv"); /* DuckDB joins the parts of a name that is no table */
	refuse_file("DESCRIBE '", "secret.csv", "'");
	refuse_file("SUMMARIZE '", "secret.csv", "'");
	snprintf(sql, sizeof sql, "FROM '%s', (WITH \"%s\" AS (SELECT 1) FROM \"%s\")", path, path, path);
	refuse(sql, "none of the tables");
	snprintf(sql, sizeof sql, "SELECT json_serialize_plan('FROM ''%s''')", path);
	refuse(sql, "json_serialize_plan is not available here");
	for_each_text(
	    "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('table', 'pragma', 'table_macro') "
	    "AND function_name NOT IN ('range', 'generate_series', 'unnest', 'json_each', 'json_tree', 'repeat', "
	    "'repeat_row', 'duckdb_tables', 'duckdb_columns', 'duckdb_views')",
	    refuse_table_function);
}

static void test_functions_that_look_outside_or_change_something(void **state)
{
	(void)state;
	make_tables();
	static const char *const forms[] = {
		"SELECT current_setting('temp_directory')",
		"SELECT \"CURRENT_setting\"('temp_directory')",
		"SELECT system.main.current_setting('temp_directory')",
		"SELECT s.current_setting() FROM (SELECT 'temp_directory' AS s)",
		"SELECT 1 FROM orders WHERE id = length(current_setting('temp_directory'))",
		"SELECT 1 LIMIT length(current_setting('temp_directory'))",
		"SELECT id FROM orders ORDER BY current_setting('temp_directory')",
		"SELECT list_transform([1], x -> current_setting('temp_directory'))",
		"WITH x AS (SELECT current_setting('temp_directory')) FROM x",
		"SELECT getenv('HOME')",
		"SELECT get_block_size('offline')",
		"SELECT nextval('numbers')",
		"SELECT setseed(0.5)",
		"SELECT write_log('a line')",
	};
	for (size_t i = 0; i < ARRAY_LEN(forms); i++)
		refuse(forms[i], "is not available here");
	take("SELECT nextval IS NULL AS n FROM (SELECT NULL AS nextval)", "[{\"n\":true}]"); /* a name is no call */
}

static void compare_with_known(const char *hash)
{
	assert_string_equal(hash, "fa1f6d2e301c94bb61837036970ed78e");
}

/* The rule names what is refused. So whoever brings another DuckDB looks at what is new in it: does it reach beyond its
 * arguments, or change anything? Then it belongs into the list of offline_tables_only.c. */
static void test_every_function_was_looked_at(void **state)
{
	(void)state;
	for_each_text(
	    "SELECT md5(string_agg(DISTINCT function_name, ',' ORDER BY function_name)) FROM duckdb_functions() "
	    "WHERE function_type IN ('scalar', 'macro') AND internal AND function_name NOT LIKE 'icu_collate_%'",
	    compare_with_known);
}

static void test_tables_are_taken(void **state)
{
	(void)state;
	make_tables();
	take("SELECT sum(amount) AS s FROM orders", "[{\"s\":6.5}]");
	take("SELECT o.id FROM ORDERS o JOIN main.large USING (id) JOIN offline.main.orders x USING (id)",
	     "[{\"id\":2}]");
	take("SELECT count(*) AS n FROM offline.\"Large\"", "[{\"n\":1}]");
	take("SELECT count(*) AS n FROM \"rich.users\"", "[{\"n\":0}]");
	take("SELECT count(*) AS n FROM tables", "[{\"n\":0}]"); /* information_schema has one too, elsewhere */
	take("SELECT count(*) AS n FROM fabra.records, fabra.projection_state, fabra.tables", "[{\"n\":0}]");
	take("WITH x AS (SELECT 1 AS i), y AS MATERIALIZED (SELECT i + 1 AS i FROM x) SELECT x.i, y.i AS j FROM x, Y",
	     "[{\"i\":1,\"j\":2}]");
	take("WITH RECURSIVE x AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM x WHERE i < 3) SELECT max(i) AS m FROM x",
	     "[{\"m\":3}]");
	take("WITH RECURSIVE x(i, n) USING KEY (i) AS (SELECT 1, 1 UNION SELECT i, n + 1 FROM recurring.x WHERE n < 3) "
	     "SELECT max(n) AS m FROM x",
	     "[{\"m\":3}]");
	take("SELECT (SELECT max(v) FROM (VALUES (1), (2)) t(v)) AS m, (SELECT sum(range) FROM range(4))::BIGINT AS s",
	     "[{\"m\":2,\"s\":6}]");
	take("SELECT count(*) AS n FROM duckdb_tables() WHERE table_name = 'orders'", "[{\"n\":1}]");
	take("SELECT name FROM (SHOW TABLES) WHERE name = 'orders'", "[{\"name\":\"orders\"}]");
	take("SELECT column_name AS c FROM (DESCRIBE orders) LIMIT 1", "[{\"c\":\"id\"}]");
	take("SELECT count(*) AS n FROM orders PIVOT (sum(amount) FOR id IN (1, 2))", "[{\"n\":1}]");
	take("SELECT typeof(now()) <> '' AND random() < 1 AND length(uuid()::VARCHAR) = 36 AS b", "[{\"b\":true}]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_look_at_a_statement_ends_at_the_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_lack_of_memory_is_no_mistake_of_the_statement, setup_small,
						teardown),
		cmocka_unit_test_setup_teardown(test_what_is_cut_is_still_text, setup_small, teardown),
		cmocka_unit_test_setup_teardown(test_the_views_of_duckdb_are_no_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_are_no_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_functions_that_look_outside_or_change_something, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_function_was_looked_at, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tables_are_taken, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
