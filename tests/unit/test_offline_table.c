/* fabra.table: files and SQL become tables, once, and again when they change. */
#include "runtime/clock.h"
#include "tests/unit/offline_table_fixture.h"
#include <fcntl.h>

/* "" or why not; the row count goes to loaded_rows. */
static uint64_t loaded_rows;
static const char *load(const char *name, const char *base, const char *sql)
{
	static char text[512];
	struct buf why = { 0 };
	bool is_new;
	char path[256];
	if (base != NULL)
		strcpy(path, path_of(base));
	bool ok = offline_load_table(store,
				     &(struct offline_table){ .name = name, .file = base ? path : NULL, .sql = sql },
				     &loaded_rows, &is_new, &why);
	snprintf(text, sizeof text, "%.*s", ok ? 0 : (int)why.n, ok ? "" : why.p);
	buf_finish(&why);
	return text;
}

static void test_formats(void **state)
{
	(void)state;
	write_file("a.csv", "id,n\nx,1\ny,2\n");
	write_file("b.json", "[{\"id\":\"x\",\"tags\":[1,2]}]");
	write_file("c.jsonl", "{\"id\":\"x\"}\n{\"id\":\"y\"}\n");
	write_file("d.tsv", "id\tn\nx\t7\n");
	assert_string_equal(load("a", "a.csv", NULL), "");
	assert_int_equal(loaded_rows, 2);
	assert_string_equal(load("b", "b.json", NULL), "");
	assert_string_equal(load("c", "c.jsonl", NULL), "");
	assert_int_equal(loaded_rows, 2);
	assert_string_equal(load("d", "d.tsv", NULL), "");
	assert_string_equal(query("SELECT * FROM a ORDER BY id"), "[{\"id\":\"x\",\"n\":1},{\"id\":\"y\",\"n\":2}]");
	assert_string_equal(query("SELECT * FROM b"), "[{\"id\":\"x\",\"tags\":[1,2]}]");
	assert_string_equal(query("SELECT n FROM d"), "[{\"n\":7}]");
}

static void test_unchanged_is_kept_and_changed_is_replaced(void **state)
{
	(void)state;
	write_file("k.csv", "n\n1\n");
	assert_string_equal(load("k", "k.csv", NULL), "");
	assert_string_equal(query("SELECT loads FROM fabra.tables WHERE name = 'k'"), "[{\"loads\":1}]");
	offline_close(store);
	open_store();
	assert_string_equal(load("k", "k.csv", NULL), "");
	assert_int_equal(loaded_rows, 1);
	assert_string_equal(query("SELECT loads FROM fabra.tables WHERE name = 'k'"), "[{\"loads\":1}]");
	write_file("k.csv", "n\n1\n2\n");
	assert_string_equal(load("k", "k.csv", NULL), "");
	assert_int_equal(loaded_rows, 2);
	assert_string_equal(query("SELECT loads FROM fabra.tables WHERE name = 'k'"), "[{\"loads\":2}]");
	/* The same size with another time counts as changed. */
	struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	assert_int_equal(utimensat(AT_FDCWD, path_of("k.csv"), times, 0), 0);
	assert_string_equal(load("k", "k.csv", NULL), "");
	assert_string_equal(query("SELECT loads FROM fabra.tables WHERE name = 'k'"), "[{\"loads\":3}]");
}

/* What puts another file in the place of the old one may give it the old one's time; a build often does. */
static void test_another_file_of_the_same_size_and_time_is_read(void **state)
{
	(void)state;
	struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	char from[256];
	write_file("w.csv", "n\n1\n");
	write_file("w.new", "n\n2\n");
	assert_int_equal(utimensat(AT_FDCWD, path_of("w.csv"), times, 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of("w.new"), times, 0), 0);
	assert_string_equal(load("w", "w.csv", NULL), "");
	strcpy(from, path_of("w.new"));
	assert_int_equal(rename(from, path_of("w.csv")), 0);
	assert_string_equal(load("w", "w.csv", NULL), "");
	assert_string_equal(query("SELECT n FROM w"), "[{\"n\":2}]");
}

/* ---- Parquet files that DuckDB itself does not write ---- */

static void write_parquet(const char *base, const char *sql)
{
	char copy[512];
	struct offline_error error = { 0 };
	snprintf(copy, sizeof copy, "COPY (%s) TO '%s' (FORMAT parquet)", sql, path_of(base));
	struct offline_conn *c = offline_admin_enter(store, &error);
	assert_non_null(c);
	if (!offline_conn_run(c, copy, &error))
		fail_msg("%s", error.text);
	offline_admin_leave(store);
}

/* Every place of the file that has these bytes gets others. */
static void patch(const char *base, const char *from, const char *to, size_t n)
{
	static char bytes[8192];
	FILE *f = fopen(path_of(base), "r+b");
	assert_non_null(f);
	size_t size = fread(bytes, 1, sizeof bytes, f), found = 0;
	for (size_t i = 0; i + n <= size; i++) {
		if (memcmp(bytes + i, from, n) == 0) {
			memcpy(bytes + i, to, n);
			found++;
		}
	}
	assert_true(size < sizeof bytes && found > 0);
	rewind(f);
	assert_int_equal(fwrite(bytes, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
	static time_t second; /* the clock of the file system may stand still meanwhile */
	second++;
	struct timespec times[2] = { { .tv_sec = second }, { .tv_sec = second } };
	assert_int_equal(utimensat(AT_FDCWD, path_of(base), times, 0), 0);
}

static void test_a_parquet_file_that_would_become_other_values_is_refused(void **state)
{
	(void)state;
	write_parquet("d.parquet", "SELECT 'u' AS id, 1.10::DECIMAL(38,2) AS v, [{x: 2.5::DECIMAL(38,2)}] AS w");
	assert_string_equal(load("d", "d.parquet", NULL), "");
	/* A schema's element: its scale (field 7) 2, its precision (field 8) 38, which becomes 50. */
	patch("d.parquet", "\x15\x04\x15\x4c", "\x15\x04\x15\x64", 4);
	assert_string_equal(load("d", "d.parquet", NULL),
			    "table \"d\" from d.parquet: column 'v' is a decimal of 50 digits, and a table holds 38; "
			    "write it as a decimal of fewer digits, or as text");
	assert_string_equal(query("SELECT v FROM d"), "[{\"v\":1.1}]");
	write_parquet("d.parquet", "SELECT 'u' AS id, [{x: 2.5::DECIMAL(38,2)}] AS w");
	patch("d.parquet", "\x15\x04\x15\x4c", "\x15\x04\x15\x64", 4);
	assert_non_null(strstr(load("d", "d.parquet", NULL), "column 'w' is a decimal of 50 digits"));
	write_parquet("d.parquet", "SELECT 1 AS user_id, {n1: 1, n2: 2} AS n, 2 AS user_ix");
	assert_string_equal(load("d", "d.parquet", NULL), "");
	patch("d.parquet", "user_ix", "User_ID", 7);
	assert_string_equal(load("d", "d.parquet", NULL),
			    "table \"d\" from d.parquet: its columns 1 and 3 are both called 'User_ID'; rename one");
}

static void test_nanoseconds_are_cut_with_a_word(void **state)
{
	(void)state;
	write_parquet("z.parquet", "SELECT 'u' AS id, t AS whole, {t: t} AS s, [t] AS l FROM "
				   "(SELECT TIMESTAMP_NS '2026-01-01 00:00:00.123456789' AS t)");
	for (int has_zone = 0; has_zone < 2; has_zone++) {
		/* TIMESTAMP's isAdjustedToUTC, then its unit, NANOS. */
		if (has_zone)
			patch("z.parquet", "\x12\x1c\x3c", "\x11\x1c\x3c", 3);
		fflush(stderr);
		int before = dup(STDERR_FILENO), to = open(path_of("log"), O_CREAT | O_TRUNC | O_RDWR, 0600);
		assert_true(before >= 0 && to >= 0 && dup2(to, STDERR_FILENO) >= 0);
		const char *why = load("z", "z.parquet", NULL);
		dup2(before, STDERR_FILENO);
		close(before);
		static char text[4096];
		ssize_t n = pread(to, text, sizeof text - 1, 0);
		close(to);
		text[n > 0 ? n : 0] = '\0';
		assert_string_equal(why, "");
		static const char *const columns[] = { "\"whole\"", "\"s\"", "\"l\"" };
		for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
			if ((strstr(text, columns[i]) != NULL) != has_zone)
				fail_msg("%s: %s", columns[i], text);
	}
}

static void test_sql_tables_follow_their_files(void **state)
{
	(void)state;
	write_file("f.csv", "n\n1\n2\n");
	assert_string_equal(load("f", "f.csv", NULL), "");
	assert_string_equal(load("g", NULL, "SELECT sum(n) AS s FROM f ; \n"), "");
	assert_int_equal(loaded_rows, 1);
	assert_string_equal(load("g", NULL, "SELECT sum(n) AS s FROM f ; \n"), "");
	assert_string_equal(query("SELECT loads FROM fabra.tables WHERE name = 'g'"), "[{\"loads\":2}]");
	write_file("f.csv", "n\n10\n20\n30\n");
	assert_string_equal(load("f", "f.csv", NULL), "");
	assert_string_equal(load("g", NULL, "SELECT sum(n) AS s FROM f ; \n"), "");
	assert_string_equal(query("SELECT s FROM g"), "[{\"s\":60}]");
	assert_string_equal(load("g", NULL, "SELECT max(n) AS s FROM f"), "");
	assert_string_equal(query("SELECT s FROM g"), "[{\"s\":30}]");
}

static void test_errors_name_table_file_and_reason(void **state)
{
	(void)state;
	assert_string_equal(load("t", "missing.csv", NULL), "table \"t\" from missing.csv: there is no such file");
	write_file("t.txt", "x");
	assert_string_equal(
	    load("t", "t.txt", NULL),
	    "table \"t\" from t.txt: the file's name must end in .parquet, .csv, .tsv, .json, .jsonl or .ndjson (texts also with .gz)");
	write_file("t.parquet", "this is no parquet file");
	const char *why = load("t", "t.parquet", NULL);
	assert_true(strstr(why, "table \"t\" from t.parquet: ") == why);
	assert_null(strstr(why, folder));
	why = load("t", NULL, "SELECT nothing");
	assert_true(strstr(why, "table \"t\" from its sql: Binder Error") == why);
	assert_non_null(strstr(load("t", NULL, "SELECT 1 AS a; SELECT 2 AS b"), "multiple statements"));
	assert_string_equal(load("context_log", NULL, "SELECT 1 AS a"),
			    "table \"context_log\" from its sql: the name is reserved for the records of "
			    "Fabra's Python program");
	assert_string_equal(load("t", NULL, NULL), "table \"t\" from its sql: it has neither file nor sql");
}

static void test_a_failed_load_keeps_the_old_table(void **state)
{
	(void)state;
	write_file("p.json", "[{\"n\":1}]");
	assert_string_equal(load("p", "p.json", NULL), "");
	write_file("p.json", "[{\"n\":1},{\"n\":");
	assert_string_not_equal(load("p", "p.json", NULL), "");
	assert_string_equal(query("SELECT * FROM p"), "[{\"n\":1}]");
}

static void test_foreign_tables_are_not_replaced(void **state)
{
	(void)state;
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(store, &error);
	assert_true(offline_conn_run(c, "CREATE TABLE mine AS SELECT 42 AS n", &error));
	assert_true(offline_conn_run(c, "CREATE VIEW \"odd \"\"name\" AS SELECT 1 AS n", &error));
	offline_admin_leave(store);
	assert_non_null(strstr(load("Mine", NULL, "SELECT 1 AS n"), "choose another name"));
	assert_non_null(strstr(load("odd \"name", NULL, "SELECT 1 AS n"), "choose another name"));
	assert_string_equal(query("SELECT n FROM mine"), "[{\"n\":42}]");
	assert_string_equal(load("odd \"other'", NULL, "SELECT 1 AS n"), "");
	assert_string_equal(query("SELECT n FROM \"odd \"\"other'\""), "[{\"n\":1}]");
}

static const char *check(const char *sql)
{
	static char text[256];
	struct buf why = { 0 };
	bool ok = offline_check_rows(store, str_from(sql), STR("id"), STR("v"), &why);
	assert_int_equal(ok, why.n == 0);
	snprintf(text, sizeof text, "%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	return text;
}

static void test_sql_of_features_is_checked_without_running(void **state)
{
	(void)state;
	assert_string_equal(load("t", NULL, "SELECT 1 AS id, 2 AS v"), "");
	assert_string_equal(check("SELECT id, v FROM t"), "");
	assert_string_equal(check("SELECT ID, 1 / 0 AS V, 'more' AS w FROM t"), "");
	assert_string_equal(check("SELECT error('it ran') AS id, 2 AS v"), "");
	assert_string_equal(check("SELECT v FROM t"), "the SQL gives no column \"id\"");
	assert_string_equal(check("SELECT id FROM t"), "the SQL gives no column \"v\"");
	assert_string_equal(check("SELECT ? AS id, 2 AS v"), "the SQL has a parameter, and nothing gives it a value");
	assert_string_equal(check("SELECT id, id, v FROM t"), "two columns are called \"id\"; name them apart with AS");
	assert_string_equal(check("SELECT t.*, 1 AS w, 2 AS w FROM t"),
			    "two columns are called \"w\"; name them apart with AS");
	assert_non_null(strstr(check("SELECT id, v FROM nowhere"), "nowhere"));
	assert_non_null(strstr(check("SELEC 1"), "Parser Error"));
	/* What could have been meant, and where. */
	assert_non_null(strstr(check("SELECT idd AS id,\n 2 AS v FROM t"), "Candidate bindings: \"id\""));
	const char *why = check("SELECT id,\n  vv AS v\nFROM t");
	assert_non_null(strstr(why, "Candidate bindings: \"v\""));
	assert_non_null(strstr(why, "(line 2 of the statement)"));
	assert_null(strchr(why, '\n'));
	why = check("SELECT id, abss(v) AS v FROM t");
	assert_non_null(strstr(why, "Did you mean \"abs\""));
	assert_null(strstr(why, "(line"));
	assert_non_null(strstr(check("SELECT 1; SELECT 2"), "multiple statements"));
	assert_non_null(strstr(check("DELETE FROM t"), "only SELECT runs here"));
	assert_string_equal(query("SELECT count(*) AS n FROM t"), "[{\"n\":1}]");
}

static void test_flights(void **state)
{
	(void)state;
	char path[512];
	uint64_t rows = 0;
	bool is_new = false;
	struct buf why = { 0 };
	snprintf(path, sizeof path, "%s/data/flights-3m.parquet", FABRA_DEPS_DIR);
	if (access(path, R_OK) != 0)
		skip();
	uint64_t start_ns = clock_mono_ns();
	assert_true(offline_load_table(store, &(struct offline_table){ .name = "flights", .file = path }, &rows,
				       &is_new, &why));
	print_message("3 million flights: %.0f ms\n", (double)(clock_mono_ns() - start_ns) / 1e6);
	assert_int_equal(rows, 3000000);
	assert_string_equal(query("SELECT count(DISTINCT origin) AS origins, min(date) AS first FROM flights"),
			    "[{\"origins\":229,\"first\":\"2001-01-01T00:01:00\"}]");
	buf_finish(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unchanged_is_kept_and_changed_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_file_of_the_same_size_and_time_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_parquet_file_that_would_become_other_values_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nanoseconds_are_cut_with_a_word, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sql_tables_follow_their_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors_name_table_file_and_reason, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_failed_load_keeps_the_old_table, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_tables_are_not_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sql_of_features_is_checked_without_running, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flights, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
