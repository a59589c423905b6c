/* What each type of DuckDB becomes in JSON, and what parameters become in DuckDB. */
#include "runtime/clock.h"
#include "runtime/msg.h"
#include "store/text/json.h"
#include "store/offline/offline_json.h"
#include "store/offline/offline_private.h"
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct offline *store;
static struct offline_conn *conn;

static int setup(void **state)
{
	(void)state;
	struct buf why = { 0 };
	struct offline_error error;
	store = offline_open(&(struct offline_config){ .path = ":memory:" }, &why);
	conn = store != NULL ? offline_conn_open(store, &error) : NULL;
	buf_finish(&why);
	return conn != NULL && offline_conn_enter(conn, &error) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	offline_conn_leave(conn);
	offline_conn_close(conn);
	offline_close(store);
	return 0;
}

/* Runs and returns the JSON, or the error behind a '!'. The text lives until the next call. */
static const char *select_limited(const char *sql, const char *params, uint32_t rows_max, uint64_t timeout_ms)
{
	static struct buf out;
	struct offline_error error = { 0 };
	struct json_error json_error;
	uint32_t rows;
	yyjson_doc *doc = params != NULL ? json_parse(str_from(params), NULL, &json_error) : NULL;
	buf_finish(&out);
	bool ok = offline_conn_select(conn, str_from(sql), yyjson_doc_get_root(doc),
				      clock_mono_ns() + timeout_ms * 1000000, &error) &&
		  offline_rows_write(conn, rows_max, &out, &rows, &error);
	offline_conn_end(conn);
	yyjson_doc_free(doc);
	if (!ok) {
		buf_clear(&out);
		buf_printf(&out, "!%d %s", error.status, error.text);
	}
	buf_append_char(&out, '\0');
	static char text[65536];
	snprintf(text, sizeof text, "%s", out.p);
	buf_finish(&out);
	return text;
}

static const char *select_json(const char *sql)
{
	return select_limited(sql, NULL, 10000, 10000);
}

static void assert_value(const char *expression, const char *json)
{
	char sql[512], wanted[1024];
	snprintf(sql, sizeof sql, "SELECT %s AS v", expression);
	snprintf(wanted, sizeof wanted, "[{\"v\":%s}]", json);
	assert_string_equal(select_json(sql), wanted);
}

static void test_numbers(void **state)
{
	(void)state;
	assert_value("(-128)::TINYINT", "-128");
	assert_value("255::UTINYINT", "255");
	assert_value("(-32768)::SMALLINT", "-32768");
	assert_value("65535::USMALLINT", "65535");
	assert_value("4294967295::UINTEGER", "4294967295");
	assert_value("(-9223372036854775808)::BIGINT", "-9223372036854775808");
	assert_value("9223372036854775807::UBIGINT", "9223372036854775807");
	assert_value("(SELECT sum(x) FROM (SELECT 5::BIGINT AS x))", "5");
	assert_value("(-9223372036854775808)::HUGEINT", "-9223372036854775808");
	assert_value("7::UHUGEINT", "7");
	assert_value("1::DOUBLE", "1.0");
	assert_value("1e300::DOUBLE", "1e+300");
	assert_value("0.5::FLOAT", "0.5");
	assert_value("'nan'::DOUBLE", "null");
	assert_value("'-inf'::FLOAT", "null");
	assert_value("true", "true");
	assert_value("NULL", "null");
	assert_value("NULL::INTEGER", "null");
}

static void test_decimals(void **state)
{
	(void)state;
	assert_value("0.1::DECIMAL(4,1)", "0.1");
	assert_value("(-12345.678)::DECIMAL(9,3)", "-12345.678");
	assert_value("5.00::DECIMAL(18,2)", "5.0");
	assert_value("0.1::DECIMAL(38,37)", "0.1");
	assert_value("123456.0000000000::DECIMAL(38,10)", "123456.0");
	assert_value("999999999999.999::DECIMAL(19,3)", "999999999999.999");
	assert_value("0.00000000000000000000000001::DECIMAL(38,26)", "1e-26");
	/* Without a fraction: an integer. What a number does not hold: text. */
	assert_value("5::DECIMAL(18,0)", "5");
	assert_value("9007199254740993::DECIMAL(20,0)", "9007199254740993");
	assert_value("1234567890123456.789::DECIMAL(19,3)", "\"1234567890123456.789\"");
	assert_value("(-1234567890123456.7)::DECIMAL(19,3)", "\"-1234567890123456.700\"");
	assert_value("(-99999999999999999999999999999999999999)::DECIMAL(38,0)",
		     "\"-99999999999999999999999999999999999999\"");
}

/* The shortest text that gives the float back, and every float comes back. */
static void test_floats_of_32_bits(void **state)
{
	(void)state;
	assert_value("1.111::FLOAT", "1.111");
	assert_value("0.1::FLOAT", "0.1");
	assert_value("16777216::FLOAT", "16777216.0");
	assert_value("3.4028235e38::FLOAT", "3.4028235e+38");
	assert_value("1e-45::FLOAT", "1e-45");
	assert_value("[0.3::FLOAT]", "[0.3]");
	char sql[64];
	unsigned seed = 1;
	for (int i = 0; i < 500; i++) {
		uint32_t bits = (uint32_t)rand_r(&seed) << 8 ^ (uint32_t)rand_r(&seed);
		float v, back;
		memcpy(&v, &bits, sizeof v);
		if (!isfinite(v))
			continue;
		snprintf(sql, sizeof sql, "SELECT CAST('%.9g' AS FLOAT) AS v", (double)v);
		assert_int_equal(sscanf(select_json(sql), "[{\"v\":%f}]", &back), 1);
		assert_true(back == v);
	}
}

/* An integer of 64 bits is a number; a larger one is text with all its digits. */
static void test_wide_integers_are_text(void **state)
{
	(void)state;
	assert_value("9223372036854775808::HUGEINT", "\"9223372036854775808\"");
	assert_value("(-9223372036854775809)::HUGEINT", "\"-9223372036854775809\"");
	assert_value("18446744073709551615::UBIGINT", "\"18446744073709551615\"");
	assert_value("340282366920938463463374607431768211455::UHUGEINT",
		     "\"340282366920938463463374607431768211455\"");
	assert_value("(-170141183460469231731687303715884105728)::HUGEINT",
		     "\"-170141183460469231731687303715884105728\"");
	assert_value("[1::HUGEINT, 9223372036854775808::HUGEINT]", "[1,\"9223372036854775808\"]");
}

static void test_texts_and_bytes(void **state)
{
	(void)state;
	assert_value("'h\xc3\xa9llo \"w\"'", "\"h\xc3\xa9llo \\\"w\\\"\"");
	assert_value("'a' || chr(0) || 'b'", "\"a\\u0000b\"");
	assert_value("'a longer text than fits into a string''s prefix'",
		     "\"a longer text than fits into a string's prefix\"");
	assert_value("'\\x00\\xFF\\x10'::BLOB", "\"AP8Q\"");
	assert_value("'1011001110'::BIT", "\"1011001110\"");
	assert_value("'00112233-4455-6677-8899-aabbccddeeff'::UUID", "\"00112233-4455-6677-8899-aabbccddeeff\"");
	assert_value("'ffffffff-4455-6677-8899-aabbccddeeff'::UUID", "\"ffffffff-4455-6677-8899-aabbccddeeff\"");
	assert_value("'b'::ENUM('a','b')", "\"b\"");
	assert_value("'{\"a\": [1, 2.50]}'::JSON", "{\"a\":[1,2.5]}");
}

static void test_times(void **state)
{
	(void)state;
	assert_value("DATE '2025-02-14'", "\"2025-02-14\"");
	assert_value("DATE '0001-01-01'", "\"0001-01-01\"");
	assert_value("'infinity'::DATE", "\"infinity\"");
	assert_value("TIME '18:42:31.5'", "\"18:42:31.500000\"");
	assert_value("TIME '18:42:31'", "\"18:42:31\"");
	assert_value("'18:42:31+05:30'::TIMETZ", "\"18:42:31+05:30\"");
	assert_value("TIMESTAMP '2025-02-14 18:42:31.221'", "\"2025-02-14T18:42:31.221000\"");
	assert_value("TIMESTAMP '1969-12-31 23:59:59.999999'", "\"1969-12-31T23:59:59.999999\"");
	assert_value("'2025-02-14 18:42:31+02'::TIMESTAMPTZ", "\"2025-02-14T16:42:31Z\"");
	assert_value("'2025-02-14 18:42:31'::TIMESTAMP_S", "\"2025-02-14T18:42:31\"");
	assert_value("'2025-02-14 18:42:31.123'::TIMESTAMP_MS", "\"2025-02-14T18:42:31.123000\"");
	assert_value("'2025-02-14 18:42:31.000000123'::TIMESTAMP_NS", "\"2025-02-14T18:42:31.000000123\"");
	assert_value("'1969-12-31 23:59:59.999999999'::TIMESTAMP_NS", "\"1969-12-31T23:59:59.999999999\"");
	assert_value("'-infinity'::TIMESTAMP", "\"-infinity\"");
	assert_value("INTERVAL '14 months 3 days 4.5 seconds'", "\"P14M3DT4.500000S\"");
	assert_value("INTERVAL '-1 second'", "\"P0M0DT-1S\"");
	assert_string_equal(select_json("SELECT DATE '12000-01-01' AS v"),
			    "!-6 column \"v\" holds a time outside the years 1 to 9999; cast it to VARCHAR");
}

static void test_nested(void **state)
{
	(void)state;
	assert_value("[1, NULL, 3]", "[1,null,3]");
	assert_value("[]::INTEGER[]", "[]");
	assert_value("[[1], [2, 3]]", "[[1],[2,3]]");
	assert_value("[1.5, 2.5]::DOUBLE[2]", "[1.5,2.5]");
	assert_value("{'a': 1, 'b': {'c': 'x'}}", "{\"a\":1,\"b\":{\"c\":\"x\"}}");
	assert_value("MAP {'k': 1, 'l': 2}", "{\"k\":1,\"l\":2}");
	assert_value("MAP {7: [true]}", "{\"7\":[true]}");
	assert_value("union_value(num := 2)", "2");
	assert_value("[{'d': DATE '2025-01-01'}]", "[{\"d\":\"2025-01-01\"}]");
	assert_string_equal(select_json("SELECT [i, i + 1] AS v FROM range(3) t(i)"),
			    "[{\"v\":[0,1]},{\"v\":[1,2]},{\"v\":[2,3]}]");
	assert_string_equal(select_json("SELECT union_value(a := 1)::UNION(a INTEGER, b VARCHAR) AS v UNION ALL "
					"SELECT union_value(b := 'x')::UNION(a INTEGER, b VARCHAR)"),
			    "[{\"v\":1},{\"v\":\"x\"}]");
}

static void test_rows(void **state)
{
	(void)state;
	assert_string_equal(select_json("SELECT 1 AS a WHERE false"), "[]");
	assert_string_equal(select_json("SELECT i AS \"a b\", 'x' AS \"q\"\"q\" FROM range(2) t(i)"),
			    "[{\"a b\":0,\"q\\\"q\":\"x\"},{\"a b\":1,\"q\\\"q\":\"x\"}]");
	assert_string_equal(select_json("SELECT 1 AS a, 2 AS a"),
			    "!-6 two columns are called \"a\"; name them apart with AS");
	assert_string_equal(select_limited("SELECT * FROM range(5000)", NULL, 4999, 10000),
			    "!-11 more than 4999 rows; add a LIMIT or aggregate");
	/* Rows of the second chunk continue the array. */
	const char *json = select_limited("SELECT 1 AS a FROM range(5000)", NULL, 5000, 10000);
	assert_int_equal(strlen(json), 2 + 5000 * 8 - 1);
}

static void test_parameters(void **state)
{
	(void)state;
	assert_string_equal(select_limited("SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e",
					   "[9223372036854775807,1.5,true,\"x\\u0000y\",null]", 10, 1000),
			    "[{\"a\":9223372036854775807,\"b\":1.5,\"c\":true,\"d\":\"x\\u0000y\",\"e\":null}]");
	assert_string_equal(select_limited("SELECT i FROM range(10) t(i) WHERE i = ?", "[3]", 10, 1000), "[{\"i\":3}]");
	/* The same statement from the cache takes new values. */
	assert_string_equal(select_limited("SELECT i FROM range(10) t(i) WHERE i = ?", "[4]", 10, 1000), "[{\"i\":4}]");
	assert_string_equal(select_limited("SELECT ? AS a", "[\"'; DROP TABLE x; --\"]", 10, 1000),
			    "[{\"a\":\"'; DROP TABLE x; --\"}]");
	assert_string_equal(select_limited("SELECT ? AS a", "[[1]]", 10, 1000),
			    "!-6 parameter 1 is an array or an object; pass it as JSON text and read it in "
			    "SQL with from_json");
	assert_string_equal(select_limited("SELECT ? AS a", NULL, 10, 1000),
			    "!-6 the statement has 1 parameters, but 0 were given");
}

static void test_errors_are_one_line_without_paths(void **state)
{
	(void)state;
	assert_string_equal(select_json("SELECT nothing FROM nowhere"),
			    "!-6 Catalog Error: Table with name nowhere does not exist!");
	assert_string_equal(select_json("SELECT * FROM read_csv('/no/such/folder/x.csv')"),
			    "!-6 IO Error: No files found that match the pattern \"x.csv\"");
	assert_string_equal(select_json("CREATE TABLE t(a INTEGER)"),
			    "!-6 only SELECT runs here; fabra.table makes tables");
	assert_string_equal(select_json("SET threads = 4"), "!-6 only SELECT runs here; fabra.table makes tables");
	assert_non_null(strstr(select_json("SELECT 1; SELECT 2"), "multiple statements"));
	assert_non_null(strstr(select_json("SELECT 1/0::INTEGER AS a, CAST('x' AS INTEGER)"), "Conversion Error"));
}

static void test_deadline_interrupts(void **state)
{
	(void)state;
	uint64_t start_ns = clock_mono_ns();
	assert_string_equal(
	    select_limited("SELECT sum(a.range * b.range % 7) AS s FROM range(1000000) a, range(1000000) b", NULL, 10,
			   100),
	    "!-3 the query was stopped at its deadline");
	assert_true(clock_mono_ns() - start_ns < 5000000000);
	/* A stream that is stopped between its rows, and the connection works on. */
	assert_string_equal(select_limited("SELECT a.range AS a FROM range(100000000) a", NULL, UINT32_MAX, 30),
			    "!-3 the query was stopped at its deadline");
	assert_value("1", "1");
}

static void test_statements_are_kept_and_recycled(void **state)
{
	(void)state;
	char sql[64], wanted[64];
	for (int i = 0; i < OFFLINE_STATEMENTS_MAX * 2; i++) {
		snprintf(sql, sizeof sql, "SELECT %d AS a", i);
		snprintf(wanted, sizeof wanted, "[{\"a\":%d}]", i);
		assert_string_equal(select_json(sql), wanted);
	}
	size_t kept = 0;
	for (size_t i = 0; i < OFFLINE_STATEMENTS_MAX; i++)
		kept += conn->statements[i].sql != NULL;
	assert_int_equal(kept, OFFLINE_STATEMENTS_MAX);
	/* A table that is replaced under a kept statement is seen. */
	struct offline_error error;
	assert_true(offline_conn_run(conn, "CREATE TABLE changing AS SELECT 1 AS a", &error));
	assert_string_equal(select_json("SELECT * FROM changing"), "[{\"a\":1}]");
	assert_true(offline_conn_run(conn, "CREATE OR REPLACE TABLE changing AS SELECT 'x' AS b", &error));
	assert_string_equal(select_json("SELECT * FROM changing"), "[{\"b\":\"x\"}]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_decimals),
		cmocka_unit_test(test_floats_of_32_bits),
		cmocka_unit_test(test_wide_integers_are_text),
		cmocka_unit_test(test_texts_and_bytes),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_errors_are_one_line_without_paths),
		cmocka_unit_test(test_deadline_interrupts),
		cmocka_unit_test(test_statements_are_kept_and_recycled),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
