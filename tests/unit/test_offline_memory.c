/* What a statement makes is bounded, whatever function makes it: the statement ends with an error that says why, the process
 * stays, and the connection answers the next question. */
#include "tests/unit/offline_fixture.h"
#include "store/offline/offline_memory.h"

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	struct buf why = { 0 };
	rig_make_folder(&rig);
	rig.offline = offline_open(&(struct offline_config){ .path = rig.db_path }, &why);
	if (rig.offline == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
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

/* Each makes gigabytes, if it may: by a number, by large parameters, or by doubling. The parameters are two texts of
 * PARAM_BYTES. */
enum { PARAM_BYTES = 100000 };
static const char *const growing[] = {
	"SELECT length(replace($1, 'a', $2)) AS n",
	"SELECT length(regexp_replace($1, 'a', $2, 'g')) AS n",
	"SELECT length(regexp_replace($1, '(a)', '\\1\\1' || $2, 'g')) AS n",
	"SELECT length(repeat($1, 20000) || $2) AS n",
	"SELECT length(repeat('x', 3000000000)) AS n",
	"SELECT length(lpad($1, 2000000000, $2)) AS n",
	"SELECT length(rpad($1, 2000000000, $2)) AS n",
	"SELECT length(bitstring('1', 2000000000)) + length($1 || $2) AS n",
	"SELECT len(range(300000000)) + length($1 || $2) AS n",
	"SELECT len(generate_series(1, 300000000)) AS n",
	"SELECT len(list_resize([1], 300000000)) AS n",
	"SELECT length(printf('%2000000000d', 1)) AS n",
	"SELECT length(format('{:2000000000}', 1)) AS n",
	"SELECT length(list_reduce(range(40)::VARCHAR[], (a, b) -> a || a || 'x')) AS n",
	"SELECT len(list_reduce(list_transform(range(40), x -> [x]), (a, b) -> list_concat(a, a))) AS n",
	"SELECT length(array_to_string(list_transform(range(30000), x -> $1 || $2), ',')) AS n",
	"SELECT len(list_transform(range(30000), x -> $1 || $2 || x)) AS n",
	"SELECT length(list_transform(range(30000), x -> $1 || $2 || x)::VARCHAR) AS n",
	"SELECT length(to_json(list_transform(range(30000), x -> $1 || $2 || x))) AS n",
	"SELECT len(string_split(repeat('a,', 100000000), ',')) AS n",
	"SELECT len(regexp_split_to_array(repeat('a,', 100000000), ',')) AS n",
	"SELECT len(regexp_extract_all(repeat('a', 100000000), 'a')) AS n",
	"SELECT length(hex(repeat($1, 20000))) AS n",
	"SELECT length(translate(repeat($1, 20000), 'a', 'x')) AS n",
	"SELECT length(concat_ws($1, $2, range(20000)::VARCHAR[]::VARCHAR, repeat($2, 20000))) AS n",
	"WITH RECURSIVE t(s, n) AS (SELECT 'x', 0 UNION ALL SELECT s || s || 'y', n + 1 FROM t WHERE n < 40) "
	"SELECT max(length(s)) AS n FROM t",
	"WITH a AS (SELECT $1 || $2 AS s), b AS (SELECT s || s || s || s || s || s || s || s AS s FROM a), "
	"c AS (SELECT s || s || s || s || s || s || s || s AS s FROM b), d AS (SELECT s || s || s || s || s || s || s || s AS s FROM c), "
	"e AS (SELECT s || s || s || s || s || s || s || s AS s FROM d), f AS (SELECT s || s || s || s || s || s || s || s AS s FROM e) "
	"SELECT length(s) AS n FROM f",
	"SELECT max(length(replace($1, 'a', range::VARCHAR || $2))) AS n FROM range(5000)",
};

static char *params_of(const char *sql)
{
	struct buf text = { 0 };
	if (strchr(sql, '$') == NULL)
		return NULL;
	int count = strstr(sql, "$2") != NULL ? 2 : 1;
	buf_append_char(&text, '[');
	for (int i = 0; i < count; i++) {
		buf_append_str(&text, i > 0 ? STR(",\"") : STR("\""));
		for (int k = 0; k < PARAM_BYTES; k++)
			buf_append_char(&text, 'a');
		buf_append_char(&text, '"');
	}
	buf_append(&text, "]", 2);
	assert_false(text.failed);
	return text.p;
}

/* The largest that this process ever was. */
static size_t peak_bytes(void)
{
	char line[256];
	size_t kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "VmHWM: %zu", &kib) == 1)
			break;
	fclose(f);
	return kib << 10;
}

/* ---- through the reader, as a client asks ---- */

static struct msg *make_client_query(struct loop *loop, const void *arg)
{
	struct offline_query *m = (struct offline_query *)make_query(loop, arg);
	m->tables_only = true;
	return &m->head;
}

static void test_what_a_client_makes_is_bounded(void **state)
{
	(void)state;
	rig.lanes = 2;
	rig_start(&rig, false, false);
	size_t before = peak_bytes();
	for (size_t i = 0; i < ARRAY_LEN(growing); i++) {
		char *params = params_of(growing[i]);
		struct query q = { .sql = growing[i], .params = params };
		struct answer a = rig_wait(rig_ask(&rig, make_client_query, &q, 60000));
		if (a.kind != OFFLINE_RESULT || a.status != RT_ETOOBIG || strstr(a.text, "64 MiB together") == NULL)
			fail_msg("%s: kind %u status %d: %s", growing[i], a.kind, a.status, a.text);
		free(a.text);
		q = (struct query){ .sql = "SELECT 1 AS one" };
		a = rig_wait(rig_ask(&rig, make_client_query, &q, 60000));
		assert_string_equal(a.text, "[{\"one\":1}]");
		free(a.text);
		free(params);
	}
	size_t grown = peak_bytes() - before;
	print_message("%zu MiB more at the peak\n", grown >> 20);
#if !defined(FABRA_ASAN) && !defined(FABRA_TSAN) /* they keep what is freed for a while, and more for each byte */
	assert_true(grown < (size_t)400 << 20);
#endif
}

/* Those of the definitions may make more, and are bounded too. */
static void test_what_a_definition_makes_is_bounded(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	struct query q = { .sql = "SELECT length(repeat('x', 100000000)) AS n" };
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 60000));
	assert_string_equal(a.text, "[{\"n\":100000000}]");
	free(a.text);
	q.sql = "SELECT length(repeat('x', 1000000000)) AS n";
	a = rig_wait(rig_ask(&rig, make_query, &q, 60000));
	assert_int_equal(a.status, RT_ETOOBIG);
	assert_non_null(strstr(a.text, "256 MiB together"));
	free(a.text);
}

/* ---- wherever a block is refused, DuckDB goes on ---- */

static bool run_within(struct offline_conn *c, const char *sql, yyjson_val *params, size_t max, bool *ret_was_refused)
{
	struct offline_error error = { 0 };
	uint64_t deadline_ns = clock_mono_ns() + UINT64_C(60000000000);
	offline_memory_begin(max);
	bool ok = offline_conn_select(c, str_from(sql), params, deadline_ns, &error);
	for (duckdb_data_chunk chunk; ok && (chunk = offline_conn_fetch(c, &error)) != NULL;)
		duckdb_destroy_data_chunk(&chunk);
	ok = ok && error.status == 0;
	*ret_was_refused = offline_memory_end();
	offline_conn_end(c);
	return ok;
}

static void test_a_refusal_anywhere(void **state)
{
	(void)state;
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	assert_non_null(c);
	assert_true(offline_conn_run(c, "CREATE TABLE t AS SELECT range AS i, 'text ' || range AS s FROM range(20000)",
				     &error));
	static const char *const others[] = {
		"SELECT s, count(*) FROM t GROUP BY s ORDER BY s DESC",
		"SELECT a.i, b.s FROM t a JOIN t b ON a.s = b.s ORDER BY a.s",
		"SELECT list(i) OVER (ORDER BY i ROWS BETWEEN 500 PRECEDING AND CURRENT ROW) FROM t",
		"SELECT string_agg(s, ','), list(s), histogram(i % 7) FROM t",
	};
	unsigned refused = 0, whole = 0;
	for (size_t i = 0; i < ARRAY_LEN(growing) + ARRAY_LEN(others); i++) {
		const char *sql = i < ARRAY_LEN(growing) ? growing[i] : others[i - ARRAY_LEN(growing)];
		char *text = params_of(sql);
		yyjson_doc *params = text != NULL ? yyjson_read(text, strlen(text), 0) : NULL;
		for (size_t max = OFFLINE_MEMORY_COUNTED_MIN; max <= 16 << 20; max += max / 2) {
			bool was_refused;
			bool ok = run_within(c, sql, yyjson_doc_get_root(params), max, &was_refused);
			assert_true(ok || was_refused);
			refused += was_refused;
			whole += ok;
			/* The connection and the database are as before. */
			assert_true(offline_conn_select(c, STR("SELECT count(*), sum(i), max(s) FROM t"), NULL,
							UINT64_MAX, &error));
			duckdb_data_chunk chunk = offline_conn_fetch(c, &error);
			assert_non_null(chunk);
			int64_t *rows = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
			assert_int_equal(rows[0], 20000);
			duckdb_destroy_data_chunk(&chunk);
			offline_conn_end(c);
			assert_false(atomic_load(&rig.offline->is_broken));
		}
		yyjson_doc_free(params);
		free(text);
	}
	offline_admin_leave(rig.offline);
	print_message("%u refused, %u whole\n", refused, whole);
	assert_true(refused > 200 && whole > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_a_client_makes_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_a_definition_makes_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_refusal_anywhere, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
