/* Text files as tables: every cell decides a column's type, nothing is changed silently, a name is a name. */
#include "runtime/log.h"
#include "store/offline/offline_csv.h"
#include "runtime/check.h"
#include "tests/unit/offline_table_fixture.h"

/* "" or why not. */
static const char *load_as(const char *name, const char *base, const struct offline_column *columns, size_t n)
{
	static char text[512];
	static const char *const ids[] = { "user_id", "id" };
	struct buf why = { 0 };
	uint64_t rows;
	bool is_new;
	bool ok = offline_load_table(store,
				     &(struct offline_table){ .name = name,
							      .file = path_of(base),
							      .columns = columns,
							      .columns_count = n,
							      .id_columns = ids,
							      .id_columns_count = 2 },
				     &rows, &is_new, &why);
	snprintf(text, sizeof text, "%.*s", ok ? 0 : (int)why.n, ok ? "" : why.p);
	buf_finish(&why);
	return text;
}

static const char *load(const char *base)
{
	return load_as("t", base, NULL, 0);
}

/* The types of the table's columns, as "BIGINT DATE". */
static const char *types(void)
{
	static char text[512];
	const char *json = query("SELECT string_agg(data_type, ' ' ORDER BY column_index) AS t FROM duckdb_columns() "
				 "WHERE schema_name = 'main' AND table_name = 't'");
	snprintf(text, sizeof text, "%s", json + strlen("[{\"t\":\""));
	text[strlen(text) - strlen("\"}]")] = '\0';
	return text;
}

/* ---- every cell counts ---- */

/* One odd cell far behind the rows that a sample would look at. */
static void write_late(const char *odd, const char *usual, size_t rows)
{
	FILE *f = fopen(path_of("late.csv"), "w");
	assert_non_null(f);
	fputs("k,v\n", f);
	for (size_t i = 0; i < rows; i++)
		fprintf(f, "x,%s\n", usual);
	fprintf(f, "late,%s\n", odd);
	assert_int_equal(fclose(f), 0);
}

static void test_a_late_cell_decides(void **state)
{
	(void)state;
	static const struct {
		const char *usual, *odd, *types, *served;
	} cases[] = {
		{ "7", "12.75", "VARCHAR DOUBLE", "12.75" },
		{ "7", "01234", "VARCHAR VARCHAR", "\"01234\"" },
		{ "7", "1_000", "VARCHAR VARCHAR", "\"1_000\"" },
		{ "7", "0x10", "VARCHAR VARCHAR", "\"0x10\"" },
		{ "7", "+5", "VARCHAR VARCHAR", "\"+5\"" },
		{ "7", "1e3", "VARCHAR DOUBLE", "1000.0" },
		{ "7", "late", "VARCHAR VARCHAR", "\"late\"" },
		{ "7", "", "VARCHAR BIGINT", "null" },
		{ "7", "9007199254740993", "VARCHAR BIGINT", "9007199254740993" },
		{ "1.5", "9007199254740993", "VARCHAR VARCHAR", "\"9007199254740993\"" },
		{ "7", "9223372036854775808", "VARCHAR VARCHAR", "\"9223372036854775808\"" },
		{ "1.5", "0.1234567890123456789", "VARCHAR VARCHAR", "\"0.1234567890123456789\"" },
		{ "1.5", "1e999", "VARCHAR VARCHAR", "\"1e999\"" },
		{ "1.5", "1e-999", "VARCHAR VARCHAR", "\"1e-999\"" },
		{ "1.5", "nan", "VARCHAR VARCHAR", "\"nan\"" },
		{ "1.5", "123456.7890000000", "VARCHAR DOUBLE", "123456.789" },
		{ "true", "1", "VARCHAR VARCHAR", "\"1\"" },
		{ "true", "False", "VARCHAR BOOLEAN", "false" },
		{ "2024-02-03", "2024-02-03 10:20:30", "VARCHAR TIMESTAMP", "\"2024-02-03T10:20:30\"" },
		{ "2024-02-03", "2024-02-30", "VARCHAR VARCHAR", "\"2024-02-30\"" },
		{ "2024-02-03", "03/02/2024", "VARCHAR VARCHAR", "\"03/02/2024\"" },
		{ "2024-02-03 10:20:30", "2024-02-03 10:20:30+02:00", "VARCHAR VARCHAR",
		  "\"2024-02-03 10:20:30+02:00\"" },
		{ "2024-02-03 10:20:30", "2024-02-03T10:20:30Z", "VARCHAR VARCHAR", "\"2024-02-03T10:20:30Z\"" },
		{ "2024-02-03 10:20:30", "2024-02-03 10:20:30.1234567", "VARCHAR VARCHAR",
		  "\"2024-02-03 10:20:30.1234567\"" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char wanted[128];
		write_late(cases[i].odd, cases[i].usual, i < 8 ? 30000 : 1500);
		assert_string_equal(load("late.csv"), "");
		assert_string_equal(types(), cases[i].types);
		snprintf(wanted, sizeof wanted, "[{\"v\":%s}]", cases[i].served);
		assert_string_equal(query("SELECT v FROM t WHERE k = 'late'"), wanted);
	}
}

static void test_ids_are_text_as_written(void **state)
{
	(void)state;
	write_file("ids.csv", "User_ID,n\n007,1\n1.10,2\n0x1F,3\nTrue,4\n01/02/2024,5\n100000.7,6\n\"\",7\n");
	assert_string_equal(load("ids.csv"), "");
	assert_string_equal(types(), "VARCHAR BIGINT");
	assert_string_equal(query("SELECT string_agg(User_ID, '|' ORDER BY n) AS s FROM t"),
			    "[{\"s\":\"007|1.10|0x1F|True|01/02/2024|100000.7|\"}]");
	write_file("ids.jsonl",
		   "{\"id\":\"C0FFEE00-19B3-4000-8000-000000000001\",\"n\":1}\n{\"id\":\"25-11-2025\",\"n\":2}\n"
		   "{\"id\":18446744073709551614,\"n\":3}\n{\"id\":18446744073709551615,\"n\":12.75}\n");
	assert_string_equal(load("ids.jsonl"), "");
	assert_string_equal(types(), "VARCHAR DOUBLE");
	assert_string_equal(
	    query("SELECT id, n FROM t ORDER BY n"),
	    "[{\"id\":\"C0FFEE00-19B3-4000-8000-000000000001\",\"n\":1.0},{\"id\":\"25-11-2025\",\"n\":2.0},"
	    "{\"id\":\"18446744073709551614\",\"n\":3.0},{\"id\":\"18446744073709551615\",\"n\":12.75}]");
}

static void test_empty_text_is_not_null(void **state)
{
	(void)state;
	write_file("e.csv", "k,v,none\na,\"\",\nb,,\nc,x,\n");
	assert_string_equal(load("e.csv"), "");
	assert_string_equal(types(), "VARCHAR VARCHAR VARCHAR");
	assert_string_equal(query("SELECT v FROM t ORDER BY k"), "[{\"v\":\"\"},{\"v\":null},{\"v\":\"x\"}]");
}

/* A number that is not whole would be found under another spelling only, and nobody could say under which. */
static void test_ids_in_json_are_as_written_or_refused(void **state)
{
	(void)state;
	static const char *const refused[] = { "1e3", "1.10", "-0.5", "1E2", "1.0", "123456789012345678901234567890" };
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		char text[200];
		snprintf(text, sizeof text,
			 "{\"user_id\":\"1e3\",\"v\":1}\n{\"user_id\":7}\n{\"user_id\":%s,\"v\":1}\n", refused[i]);
		write_file("odd.jsonl", text);
		const char *why = load("odd.jsonl");
		if (strstr(why, "line 3, column 'user_id'") == NULL || strstr(why, "write it in quotes") == NULL)
			fail_msg("%s: '%s'", refused[i], why);
	}
	write_file("odd.json", "[{\"user_id\":1},{\"user_id\":2.5}]");
	assert_non_null(strstr(load("odd.json"), "record 2, column 'user_id'"));
	write_file("fine.json",
		   "[{\"user_id\":\"1e3\"},{\"user_id\":\"1.10\"},{\"user_id\":9007199254740993},{\"user_id\":-7},"
		   "{\"user_id\":null},{\"user_id\":\"\\\"q\\u00e9\"}]");
	assert_string_equal(load("fine.json"), "");
	assert_string_equal(types(), "VARCHAR");
	assert_string_equal(query("SELECT string_agg(coalesce(user_id, 'none'), ' ') AS ids FROM t"),
			    "[{\"ids\":\"1e3 1.10 9007199254740993 -7 none \\\"q\303\251\"}]");
}

static void test_json_keeps_its_own_types(void **state)
{
	(void)state;
	write_file("j.json", "[{\"k\":1,\"t\":\"2024-01-02T03:04:05Z\",\"d\":\"2024-01-02\",\"b\":true,\"n\":\"5\","
			     "\"x\":{\"a\":1,\"b\":[1,2.5]},\"m\":1,\"none\":null},\n"
			     "{\"k\":2,\"m\":\"s\",\"x\":{\"a\":9007199254740993,\"b\":[]},\"late\":[1,2]}]");
	assert_string_equal(load("j.json"), "");
	assert_string_equal(types(),
			    "BIGINT VARCHAR DATE BOOLEAN VARCHAR STRUCT(a BIGINT, b DOUBLE[]) JSON VARCHAR BIGINT[]");
	assert_string_equal(query("SELECT * FROM t ORDER BY k LIMIT 1"),
			    "[{\"k\":1,\"t\":\"2024-01-02T03:04:05Z\",\"d\":\"2024-01-02\",\"b\":true,\"n\":\"5\","
			    "\"x\":{\"a\":1,\"b\":[1.0,2.5]},\"m\":1,\"none\":null,\"late\":null}]");
	assert_string_equal(query("SELECT x.a AS a, late[2] AS l FROM t WHERE k = 2"),
			    "[{\"a\":9007199254740993,\"l\":2}]");
}

/* ---- declared types ---- */

static void test_declared_types(void **state)
{
	(void)state;
	write_file("c.csv", "k,n,d,t\na,007,1.50,2024-01-02\nb,,\"\",2024-01-02 03:04\n");
	static const struct offline_column good[] = { { "N", "int" }, { "d", "DECIMAL(10,2)" }, { "t", "VARCHAR" } };
	assert_string_equal(load_as("t", "c.csv", good, 3), "");
	assert_string_equal(types(), "VARCHAR INTEGER DECIMAL(10,2) VARCHAR");
	assert_string_equal(query("SELECT n, t FROM t ORDER BY k"),
			    "[{\"n\":7,\"t\":\"2024-01-02\"},{\"n\":null,\"t\":\"2024-01-02 03:04\"}]");

	static const struct {
		struct offline_column column;
		const char *error;
	} bad[] = {
		{ { "d", "BIGINT" },
		  "line 2, column 'd': '1.50' is no BIGINT without loss; mend the cell, or declare the column as VARCHAR" },
		{ { "d", "DECIMAL(10,0)" }, "line 2, column 'd': '1.50' is no DECIMAL(10,0) without loss" },
		{ { "t", "DATE" }, "line 3, column 't': '2024-01-02 03:04' is no DATE without loss" },
		{ { "t", "TINYINT" }, "line 2, column 't': '2024-01-02' is no TINYINT" },
		{ { "zz", "DATE" }, "columns: the file has no column 'zz'; its first is 'k'" },
		{ { "t", "DAET" }, "columns: t = \"DAET\" is no type" },
		{ { "t", "DATE); DROP TABLE t; --" }, "is no type" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		const char *why = load_as("t", "c.csv", &bad[i].column, 1);
		if (strstr(why, bad[i].error) == NULL)
			fail_msg("%s: \"%s\" is not in: %s", bad[i].column.type, bad[i].error, why);
		assert_ptr_equal(strstr(why, "table \"t\" from c.csv: "), why);
	}
	/* The table of the last good load stays. */
	assert_string_equal(query("SELECT count(*) AS n FROM t"), "[{\"n\":2}]");

	write_file("l.csv", "k,l\na,\"[1.5, 2.25]\"\n");
	static const struct offline_column list = { "l", "DECIMAL(10,2)[]" };
	assert_string_equal(load_as("t", "l.csv", &list, 1), "");
	assert_string_equal(query("SELECT list_sum(l) AS s FROM t"), "[{\"s\":3.75}]");

	write_file("z.csv", "k,t\na,2024-01-02T03:04:05+02:00\n");
	static const struct offline_column shifted = { "t", "TIMESTAMP" }, zoned = { "t", "TIMESTAMPTZ" };
	assert_non_null(strstr(load_as("t", "z.csv", &shifted, 1), "is no TIMESTAMP without loss"));
	assert_string_equal(load_as("t", "z.csv", &zoned, 1), "");
	assert_string_equal(query("SELECT epoch(t) AS e FROM t"), "[{\"e\":1704157445.0}]");

	write_file("n.jsonl", "{\"k\":\"a\",\"x\":{\"a\":1}}\n\n{\"k\":\"b\",\"n\":1.5}\n");
	static const struct offline_column as_json = { "x", "JSON" }, whole = { "n", "BIGINT" };
	assert_string_equal(load_as("t", "n.jsonl", &as_json, 1), "");
	assert_string_equal(types(), "VARCHAR JSON DOUBLE");
	assert_non_null(strstr(load_as("t", "n.jsonl", &whole, 1), "line 3, column 'n': '1.5' is no BIGINT"));
}

/* The number that an editor shows, or of the element of a list; both count from 1. */
static void test_what_is_no_json_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *file, *text, *why;
	} cases[] = {
		{ "m.jsonl", "{\"k\":1}\n{\"k\" 2}\n{\"k\":3}\n", "m.jsonl: line 2 is no JSON at byte 6: unexpected" },
		{ "m.jsonl", "{\"k\":\n", "m.jsonl: line 1 is no JSON at byte 6: unexpected" },
		{ "m.jsonl", "{\"k\":1}\r\n\r\n{\"k\" 2}\r\n", "m.jsonl: line 3 is no JSON at byte 6: " },
		{ "m.jsonl", "{\"k\":1}\n  \n\t\n\n{\"k\" 2}", "m.jsonl: line 5 is no JSON at byte 6: " },
		{ "a\", at byte 7 in line 8.jsonl", "{\"k\":1}\n{\"k\" 2}\n",
		  "8.jsonl: line 2 is no JSON at byte 6: " },
		{ "m.json", "[{\"k\":1},\n{\"k\" 2},\n{\"k\":3}]", "m.json: record 2 is no JSON at byte 6: " },
		{ "m.json", "[{\"k\" 1}]", "m.json: record 1 is no JSON at byte 6: " },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		write_file(cases[i].file, cases[i].text);
		const char *why = load(cases[i].file);
		if (strstr(why, cases[i].why) == NULL)
			fail_msg("case %zu: '%s'", i, why);
	}
	/* Far behind what one buffer holds. */
	FILE *f = fopen(path_of("m.jsonl"), "w");
	assert_non_null(f);
	for (int i = 0; i < 1000000; i++)
		fputs("{\"k\":\"a text of some length\"}\n", f);
	fputs("{\"k\":}\n{\"k\":1}\n", f);
	assert_int_equal(fclose(f), 0);
	assert_non_null(strstr(load("m.jsonl"), "m.jsonl: line 1000001 is no JSON at byte 6: "));
}

static void test_another_recipe_loads_again(void **state)
{
	(void)state;
	write_file("r.csv", "k,n\na,1\n");
	assert_string_equal(load("r.csv"), "");
	assert_string_equal(types(), "VARCHAR BIGINT");
	static const struct offline_column text = { "n", "VARCHAR" };
	assert_string_equal(load_as("t", "r.csv", &text, 1), "");
	assert_string_equal(types(), "VARCHAR VARCHAR");
}

/* ---- the form of a CSV file ---- */

static void test_forms(void **state)
{
	(void)state;
	static const struct {
		const char *name, *text, *served;
	} good[] = {
		{ "f.csv", "\xef\xbb\xbfk;v\r\na;\"1;\r\n2\"\r\n\r\nb;3\r\n",
		  "[{\"k\":\"a\",\"v\":\"1;\\r\\n2\"},{\"k\":\"b\",\"v\":\"3\"}]" },
		{ "f.csv", "\"k \"\"q\"\"\", v \na,1", "[{\"k \\\"q\\\"\":\"a\",\"v\":1}]" },
		{ "f.csv", "k,v,\na,1,\n", "[{\"k\":\"a\",\"v\":1}]" },
		{ "f.csv", "k\nx\n", "[{\"k\":\"x\"}]" },
		{ "f.csv", "k,v\na,\"x, \"\"y\"\" \"\nb, x \n",
		  "[{\"k\":\"a\",\"v\":\"x, \\\"y\\\" \"},{\"k\":\"b\",\"v\":\" x \"}]" },
		{ "f.csv", "\xef\xbb\xbf\"k, x\",v\na,1\n", "[{\"k, x\":\"a\",\"v\":1}]" },
		{ "f.csv", "k|v\na|1\n", "[{\"k\":\"a\",\"v\":1}]" },
		{ "f.tsv", "k\tv,w\na\t1,5\n", "[{\"k\":\"a\",\"v,w\":\"1,5\"}]" },
		{ "f.csv", "k,v\n", "[]" },
		{ "f.csv", "k,v\na,NULL\nb,NA\n", "[{\"k\":\"a\",\"v\":\"NULL\"},{\"k\":\"b\",\"v\":\"NA\"}]" },
		{ "f.csv", "fabra_value,fabra_record\n1,a\n", "[{\"fabra_value\":1,\"fabra_record\":\"a\"}]" },
	};
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		write_file(good[i].name, good[i].text);
		assert_string_equal(load(good[i].name), "");
		assert_string_equal(query("SELECT * FROM t"), good[i].served);
	}
	static const struct {
		const char *text, *error;
	} bad[] = {
		{ "", "line 1 is empty; it must name the columns" },
		{ "1,2\n3,4\n", "line 1 must name the columns, but its cell 1 is '1'; put a line of names above it" },
		{ "k,,v\na,b,c\n", "line 1 must name the columns, but its cell 2 is empty" },
		{ "k,v,K\na,b,c\n", "line 1 names the columns 1 and 3 both 'K'" },
		{ "k,v\na,1\nb\n", "line 3 has 1 cells, but line 1 names 2 columns" },
		{ "k,v\na,1\nb,2,3\n", "line 3 has 3 cells, but line 1 names 2 columns" },
		{ "k,v\na,\"1\nb,2\n", "line 2: a quote is not closed" },
		{ "k,v\na, \"x\"\n", "line 2 has a blank between a delimiter and a quote" },
		{ "k,v\na,1\nb,\"x, y\" \n", "line 3 has a blank between a delimiter and a quote" },
		{ "k,v\n\"a\" ,1\n", "line 2 has a blank between a delimiter and a quote" },
		{ "k,v\na,\"1\n2\"\nb,\t\"x\"\n", "line 4 has a blank between a delimiter and a quote" },
		{ "k, \"v\"\na,1\n", "line 1 has a blank between a delimiter and a quote" },
		{ "k,v\na,caf\xe9\n", "line 2 is not UTF-8; convert the file" },
		{ "caf\xe9,v\na,1\n", "line 1 is not UTF-8; convert the file" },
		{ "k,v\na,1\r\nb,2\n", "its lines end in different ways" },
		{ "\xff\xfek", "the file is UTF-16; convert it to UTF-8" },
		{ "\xef\xbb\xbf\"k, \"\"q\"\"\",v\na,1\n", "line 1 has a byte order mark before a name in quotes" },
		{ "\xef\xbb\xbf\"k\nq\",v\na,1\n", "line 1 has a byte order mark before a name in quotes" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		write_file("f.csv", bad[i].text);
		const char *why = load("f.csv");
		if (strstr(why, bad[i].error) == NULL)
			fail_msg("%s\nis not in: %s", bad[i].error, why);
		assert_null(strstr(why, folder));
	}
}

static void test_gzip(void **state)
{
	(void)state;
	char command[512];
	write_file("g.csv", "k,v\na,1\nb,x\n");
	snprintf(command, sizeof command, "gzip -f %s", path_of("g.csv"));
	assert_int_equal(system(command), 0);
	assert_string_equal(load("g.csv.gz"), "");
	assert_string_equal(query("SELECT v FROM t ORDER BY k"), "[{\"v\":\"1\"},{\"v\":\"x\"}]");
	static const struct offline_column number = { "v", "BIGINT" };
	assert_non_null(strstr(load_as("t", "g.csv.gz", &number, 1), "line 3, column 'v': 'x' is no BIGINT"));
}

/* ---- what is not whole, or no text ---- */

static struct buf read_file(const char *base)
{
	struct buf bytes = { 0 };
	FILE *f = fopen(path_of(base), "rb");
	assert_non_null(f);
	for (int c; (c = getc(f)) != EOF;)
		buf_append_char(&bytes, (char)c);
	fclose(f);
	return bytes;
}

static void write_bytes(const char *base, const char *bytes, size_t n)
{
	FILE *f = fopen(path_of(base), "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void assert_refused(const char *base, const char *error)
{
	const char *why = load(base);
	if (strstr(why, error) == NULL)
		fail_msg("%s\nis not in: %s", error, why);
	assert_null(strstr(why, folder));
	assert_string_equal(query("SELECT count(*) AS n FROM t"), "[{\"n\":200}]");
}

static void test_a_gzip_file_is_whole(void **state)
{
	(void)state;
	static const struct {
		const char *plain, *packed;
	} files[] = { { "w.csv", "w.csv.gz" }, { "w.tsv", "w.tsv.gz" }, { "w.ndjson", "w.ndjson.gz" } };
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		struct buf text = { 0 };
		char command[512];
		bool is_json = strstr(files[i].plain, "json") != NULL;
		if (!is_json)
			buf_append_lit(&text, "k\n");
		for (unsigned row = 0; row < 200; row++)
			buf_printf(&text, is_json ? "{\"k\":\"u%u\"}\n" : "u%u\n", row * 7919);
		write_bytes(files[i].plain, text.p, text.n);
		snprintf(command, sizeof command, "gzip -f %s", path_of(files[i].plain));
		assert_int_equal(system(command), 0);
		assert_string_equal(load(files[i].packed), "");
		struct buf whole = read_file(files[i].packed);
		for (size_t n = 1; n < whole.n; n += n + 40 < whole.n ? 37 : 1) {
			write_bytes(files[i].packed, whole.p, n);
			assert_refused(files[i].packed, "the gzip file ends too early");
		}
		for (size_t at = whole.n - 8; at < whole.n; at += 4) { /* its CRC; its length */
			whole.p[at] ^= 1;
			write_bytes(files[i].packed, whole.p, whole.n);
			assert_refused(files[i].packed, "the gzip file is damaged");
			whole.p[at] ^= 1;
		}
		write_bytes(files[i].packed, text.p, text.n);
		assert_refused(files[i].packed, "the file is no gzip file");
		buf_append_lit(&whole, "more");
		write_bytes(files[i].packed, whole.p, whole.n);
		assert_refused(files[i].packed, "the gzip file has other bytes behind its end");
		buf_finish(&whole);
		buf_finish(&text);
	}
	char command[512]; /* two members, one behind the other, are one file */
	write_file("m.csv", "k\na\n");
	write_file("n.csv", "b\n");
	snprintf(command, sizeof command, "cd %s && gzip -f m.csv n.csv && cat n.csv.gz >> m.csv.gz", folder);
	assert_int_equal(system(command), 0);
	assert_string_equal(load("m.csv.gz"), "");
	assert_string_equal(query("SELECT k FROM t"), "[{\"k\":\"a\"},{\"k\":\"b\"}]");
}

static void test_a_text_is_utf8(void **state)
{
	(void)state;
	static const char *const names[] = { "u.csv", "u.tsv", "u.json", "u.ndjson" };
	static const char *const wrong[] = { "caf\xe9",          "\xc0\xaf", "\xed\xa0\x80",
					     "\xf4\x90\x80\x80", "\xe2\x82", "\xbf" };
	struct buf text = { 0 };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
			bool is_json = strstr(names[i], "json") != NULL;
			/* Rows enough that a block of them ends inside a character: each is three bytes long. */
			for (int late = 0; late < 2; late++) {
				unsigned rows = late ? 30000 : 1;
				buf_clear(&text);
				if (!is_json)
					buf_append_lit(&text, "k\r\n");
				for (unsigned row = 0; row < rows; row++)
					buf_printf(&text, "%s\xe2\x82\xac\xe2\x82\xac%s\r\n",
						   is_json ? "{\"k\":\"" : "", is_json ? "\"}" : "");
				size_t good = text.n;
				write_bytes(names[i], text.p, text.n);
				assert_string_equal(load(names[i]), "");
				buf_printf(&text, "%s%s%s\r\n", is_json ? "{\"k\":\"" : "", wrong[k],
					   is_json ? "\"}" : "");
				write_bytes(names[i], text.p, text.n);
				char expected[128];
				snprintf(expected, sizeof expected, "from %s: line %u is not UTF-8; convert the file",
					 names[i], rows + (is_json ? 1 : 2));
				const char *why = load(names[i]);
				if (strstr(why, expected) == NULL)
					fail_msg("%s\nis not in: %s", expected, why);
				/* A character that the file's end cuts. */
				text.n = good;
				buf_append_lit(&text, "x\xe2\x82");
				write_bytes(names[i], text.p, text.n);
				assert_non_null(strstr(load(names[i]), "is not UTF-8; convert the file"));
				assert_string_not_equal(query("SELECT count(*) AS n FROM t"), "[]");
			}
		}
	}
	buf_finish(&text);
	write_file("gz.csv", "k\ncaf\xe9\n");
	char command[512];
	snprintf(command, sizeof command, "gzip -f %s", path_of("gz.csv"));
	assert_int_equal(system(command), 0);
	assert_non_null(strstr(load("gz.csv.gz"), "line 2 is not UTF-8; convert the file"));
}

static void test_a_name_is_a_name(void **state)
{
	(void)state;
	assert_int_equal(mkdir(path_of("id=zz"), 0700), 0);
	assert_int_equal(mkdir(path_of("id=zz/env=[p]rod"), 0700), 0);
	static const char *const names[] = { "a[1].csv", "b*.csv",     "c?.csv",  "d[!x].csv",
					     "it's.csv", "e{1,2}.csv", "f%20.csv" };
	write_file("a1.csv", "k\nwrong\n");
	write_file("b1.csv", "k\nwrong\n");
	write_file("c1.csv", "k\nwrong\n");
	write_file("dy.csv", "k\nwrong\n");
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		write_file(names[i], "k\nright\n");
		assert_string_equal(load(names[i]), "");
		assert_string_equal(query("SELECT * FROM t"), "[{\"k\":\"right\"}]");
	}
	write_file("id=zz/env=[p]rod/x.csv", "id\nright\n");
	assert_string_equal(load("id=zz/env=[p]rod/x.csv"), "");
	assert_string_equal(query("SELECT * FROM t"), "[{\"id\":\"right\"}]");
	write_file("id=zz/env=[p]rod/x[1].json", "[{\"id\":\"right\"}]");
	assert_string_equal(load("id=zz/env=[p]rod/x[1].json"), "");
	assert_string_equal(query("SELECT * FROM t"), "[{\"id\":\"right\"}]");
	char sql[512];
	snprintf(sql, sizeof sql, "COPY (SELECT 'right' AS id) TO '%s' (FORMAT parquet)",
		 path_of("id=zz/y[1].parquet"));
	struct offline_error error = { 0 };
	struct offline_conn *c = offline_admin_enter(store, &error);
	assert_true(offline_conn_run(c, sql, &error));
	offline_admin_leave(store);
	assert_string_equal(load("id=zz/y[1].parquet"), "");
	assert_string_equal(query("SELECT * FROM t"), "[{\"id\":\"right\"}]");
}

static void test_lines_of_records(void **state)
{
	(void)state;
	write_file("l.csv", "k,v\r\na,\"x\r\ny\"\r\n\r\nb,1\rc,2\nd,3");
	const struct csv_form form = { .quote = '"', .has_header = true };
	assert_int_equal(csv_line_of(path_of("l.csv"), form, 1), 2);
	assert_int_equal(csv_line_of(path_of("l.csv"), form, 2), 5);
	assert_int_equal(csv_line_of(path_of("l.csv"), form, 3), 6);
	assert_int_equal(csv_line_of(path_of("l.csv"), form, 4), 7);
	assert_int_equal(csv_line_of(path_of("l.csv"), form, 5), 0);
	write_file("o.csv", "k\n\nx\n");
	assert_int_equal(csv_line_of(path_of("o.csv"),
				     (struct csv_form){ .quote = '"', .has_header = true, .has_one_column = true }, 2),
			 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_late_cell_decides, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids_are_text_as_written, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_text_is_not_null, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ids_in_json_are_as_written_or_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_json_keeps_its_own_types, setup, teardown),
		cmocka_unit_test_setup_teardown(test_declared_types, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_json_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_recipe_loads_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gzip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_gzip_file_is_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_text_is_utf8, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_name_is_a_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lines_of_records, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
