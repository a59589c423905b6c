#include "store/text/json.h"
#include "runtime/pyfloat.h"
#include <math.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect_error(struct str text, size_t at, const char *what)
{
	struct json_error e = { 999, "none" };
	yyjson_doc *doc = json_parse(text, NULL, &e);
	if (doc != NULL || e.at != at || strcmp(e.what, what) != 0)
		fail_msg("%.*s: %s at %zu, not %s at %zu", STR_ARG(text), doc ? "accepted" : e.what, e.at, what, at);
}

static void expect_texts(const char *text, const char *compact, const char *canonical)
{
	struct json_error e = { 0 };
	struct buf one = { 0 }, two = { 0 };
	yyjson_doc *doc = json_parse(str_from(text), NULL, &e);
	if (doc == NULL)
		fail_msg("%s: %s at %zu", text, e.what, e.at);
	json_write_value(&one, yyjson_doc_get_root(doc));
	json_canonical_value(&two, yyjson_doc_get_root(doc));
	buf_append_char(&one, '\0');
	buf_append_char(&two, '\0');
	assert_string_equal(one.p, compact);
	assert_string_equal(two.p, canonical);
	buf_finish(&one);
	buf_finish(&two);
	yyjson_doc_free(doc);
}

/* Messages and positions as Python 3.11's json.loads gives them. */
static void test_python_messages(void **state)
{
	static const struct {
		const char *text;
		size_t at;
		const char *what;
	} cases[] = {
		{ "", 0, "Expecting value" },
		{ "  ", 2, "Expecting value" },
		{ "{", 1, "Expecting property name enclosed in double quotes" },
		{ "{a", 1, "Expecting property name enclosed in double quotes" },
		{ "{\"a\"", 4, "Expecting ':' delimiter" },
		{ "{\"a\" 1}", 5, "Expecting ':' delimiter" },
		{ "{\"a\":", 5, "Expecting value" },
		{ "{\"a\":1", 6, "Expecting ',' delimiter" },
		{ "{\"a\":1,", 7, "Expecting property name enclosed in double quotes" },
		{ "{\"a\":1,}", 7, "Expecting property name enclosed in double quotes" },
		{ "{\"a\":1]", 6, "Expecting ',' delimiter" },
		{ "{\"a\":1 \"b\":2}", 7, "Expecting ',' delimiter" },
		{ "{'a':1}", 1, "Expecting property name enclosed in double quotes" },
		{ "{1:2}", 1, "Expecting property name enclosed in double quotes" },
		{ "[", 1, "Expecting value" },
		{ "[1", 2, "Expecting ',' delimiter" },
		{ "[1,", 3, "Expecting value" },
		{ "[1,]", 3, "Expecting value" },
		{ "[1 2]", 3, "Expecting ',' delimiter" },
		{ "[1}", 2, "Expecting ',' delimiter" },
		{ "[[[1],[]],{\"a\":{}}", 18, "Expecting ',' delimiter" },
		{ "\"abc", 0, "Unterminated string starting at" },
		{ "\"abc\\", 0, "Unterminated string starting at" },
		{ "\"a\nb\"", 2, "Invalid control character at" },
		{ "\"\\x\"", 1, "Invalid \\escape" },
		{ "\"\\u12\"", 2, "Invalid \\uXXXX escape" },
		{ "\"\\u12g4\"", 2, "Invalid \\uXXXX escape" },
		{ "\"\\u1234", 2, "Invalid \\uXXXX escape" },
		{ "\"\\u1234x", 0, "Unterminated string starting at" },
		{ "tru", 0, "Expecting value" },
		{ "{\"a\":tru}", 5, "Expecting value" },
		{ "-", 0, "Expecting value" },
		{ "+1", 0, "Expecting value" },
		{ "01", 1, "Extra data" },
		{ "1.", 1, "Extra data" },
		{ "1e", 1, "Extra data" },
		{ "1 2", 2, "Extra data" },
		{ "1.5.5", 3, "Extra data" },
		{ "-01", 2, "Extra data" },
		{ "[] x", 3, "Extra data" },
		{ "\xef\xbb\xbf"
		  "1",
		  0, "Unexpected UTF-8 BOM (decode using utf-8-sig)" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		expect_error(str_from(cases[i].text), cases[i].at, cases[i].what);
	expect_error((struct str){ NULL, 0 }, 0, "Expecting value");
	expect_error(str_of("1\0", 2), 1, "Extra data");
	expect_error(str_of("\"a\0\"", 4), 2, "Invalid control character at");
}

/* Where we are stricter than Python. */
static void test_refused(void **state)
{
	(void)state;
	expect_error(STR("NaN"), 0, "Expecting value");
	expect_error(STR("[1,Infinity]"), 3, "Expecting value");
	expect_error(STR("-Infinity"), 0, "Expecting value");
	expect_error(STR("9223372036854775808"), 0, "Integer beyond 64 bits");
	expect_error(STR("[1, 18446744073709551615]"), 4, "Integer beyond 64 bits");
	expect_error(STR("{\"a\":-9223372036854775809}"), 5, "Integer beyond 64 bits");
	expect_error(STR("123456789012345678901234567890"), 0, "Integer beyond 64 bits");
	expect_error(STR("[1e400]"), 1, "Number out of range");
	expect_error(STR("-1e309"), 0, "Number out of range");
	expect_error(STR("{\"a\":1,\"a\":2}"), 7, "Duplicate key");
	expect_error(STR("[{\"b\":1,\"a\":2,\"\\u0062\":3}]"), 14, "Duplicate key");
	expect_error(STR("\"\\ud800\""), 2, "Unpaired surrogate in \\uXXXX escape");
	expect_error(STR("\"\\udc00\""), 2, "Unpaired surrogate in \\uXXXX escape");
	expect_error(STR("\"\\ud83d\\u0041\""), 2, "Unpaired surrogate in \\uXXXX escape");
	expect_error(STR("\"a\xff\""), 2, "Invalid UTF-8");
	expect_error(STR("\"\xc0\x80\""), 1, "Invalid UTF-8");
	expect_error(STR("\"\xed\xa0\x80\""), 1, "Invalid UTF-8");
	expect_error(STR("\"\xf4\x90\x80\x80\""), 1, "Invalid UTF-8");
	expect_error(STR("\"\xe2\x82\""), 1, "Invalid UTF-8");
}

static void test_many_keys(void **state)
{
	struct buf b = { 0 };
	struct json_error e;
	(void)state;
	buf_append_char(&b, '{');
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "\"k%d\":%d,", (i * 7919) % 1000, i);
	size_t unique_n = b.n;
	buf_append_lit(&b, "\"k\":0}");
	yyjson_doc *doc = json_parse(buf_str(&b), NULL, &e);
	assert_non_null(doc);
	struct buf canonical = { 0 };
	json_canonical_value(&canonical, yyjson_doc_get_root(doc));
	assert_true(str_starts(buf_str(&canonical), STR("{\"k\":0,\"k0\":0,\"k1\":")));
	buf_append_char(&canonical, '\0');
	assert_int_equal(strlen(strstr(canonical.p, ",\"k999\":")), strlen(",\"k999\":721}"));
	buf_finish(&canonical);
	yyjson_doc_free(doc);
	b.n = unique_n;
	buf_append_lit(&b, "\"k500\":0,\"k3\":1}");
	expect_error(buf_str(&b), unique_n, "Duplicate key");
	buf_finish(&b);
}

static void nested(struct buf *b, size_t depth)
{
	buf_clear(b);
	for (size_t i = 0; i < depth; i++)
		buf_append_str(b, i % 2 ? STR("{\"[\":") : STR("["));
	buf_append_char(b, '1');
	for (size_t i = depth; i > 0; i--)
		buf_append_char(b, (i - 1) % 2 ? '}' : ']');
}

static void test_depth(void **state)
{
	struct buf b = { 0 };
	struct json_error e;
	(void)state;
	nested(&b, 64);
	yyjson_doc *doc = json_parse(buf_str(&b), NULL, &e);
	assert_non_null(doc);
	yyjson_doc_free(doc);
	nested(&b, 65);
	expect_error(buf_str(&b), 32 + 32 * 5, "Nested too deeply");
	nested(&b, 100000);
	expect_error(buf_str(&b), 32 + 32 * 5, "Nested too deeply");
	struct json_limits deep = { .depth_max = UINT32_MAX };
	nested(&b, JSON_DEPTH_MAX);
	doc = json_parse(buf_str(&b), &deep, &e);
	assert_non_null(doc);
	struct buf out = { 0 };
	json_canonical_value(&out, yyjson_doc_get_root(doc));
	assert_true(str_eq(buf_str(&out), buf_str(&b)));
	buf_finish(&out);
	yyjson_doc_free(doc);
	nested(&b, JSON_DEPTH_MAX + 1);
	assert_null(json_parse(buf_str(&b), &deep, &e));
	assert_string_equal(e.what, "Nested too deeply");
	/* Brackets in strings do not count, nor do those side by side. */
	buf_clear(&b);
	buf_append_lit(&b, "[\"\\\"");
	for (int i = 0; i < 200; i++)
		buf_append_char(&b, '[');
	buf_append_char(&b, '"');
	for (int i = 0; i < 200; i++)
		buf_append_lit(&b, ",[]");
	buf_append_char(&b, ']');
	doc = json_parse(buf_str(&b), NULL, &e);
	assert_non_null(doc);
	yyjson_doc_free(doc);
	buf_finish(&b);
}

static void test_bytes(void **state)
{
	struct json_limits limits = { .bytes_max = 8 };
	struct json_error e;
	(void)state;
	yyjson_doc *doc = json_parse(STR("[1,2,34]"), &limits, &e);
	assert_non_null(doc);
	yyjson_doc_free(doc);
	assert_null(json_parse(STR("[1,2,345]"), &limits, &e));
	assert_string_equal(e.what, "Text too long");
}

/* The right-hand texts are Python's: json.dumps(v, sort_keys=True, separators=(",", ":")). */
static void test_number_of_values(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t values;
	} cases[] = { { "1", 1 },
		      { "[1,2]", 3 },
		      { "{\"a\":1,\"b\":[2]}", 6 },
		      { "\"a,b:[{\\\",\\\\\"", 1 },
		      { "[\",,,,\",\"\\\"\"]", 3 },
		      { "[[[1]]]", 4 } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct str text = str_from(cases[i].text);
		assert_false(json_has_more_values(text, cases[i].values));
		assert_true(json_has_more_values(text, cases[i].values - 1));
	}
	assert_false(json_has_more_values(STR("\"never ends,,,,\\"), 1));
	/* Longer than a block, at the bound and one more. */
	struct buf list = { 0 };
	buf_append_lit(&list, "[\",[:{\"");
	for (int i = 0; i < 1000; i++)
		buf_append_lit(&list, ",1");
	buf_append_char(&list, ']');
	assert_false(json_has_more_values(buf_str(&list), 1002));
	assert_true(json_has_more_values(buf_str(&list), 1001));
	buf_finish(&list);
}

static void test_forms(void **state)
{
	(void)state;
	expect_texts("{}", "{}", "{}");
	expect_texts("[ ]", "[]", "[]");
	expect_texts(" [1, 1.0, -0, -0.0, 1E2, 1e-5, true, false, null] ", "[1,1.0,0,-0.0,100.0,1e-05,true,false,null]",
		     "[1,1.0,0,-0.0,100.0,1e-05,true,false,null]");
	expect_texts("[9223372036854775807,-9223372036854775808]", "[9223372036854775807,-9223372036854775808]",
		     "[9223372036854775807,-9223372036854775808]");
	expect_texts("{\"b\":1,\"a\":{\"d\":[],\"c\":2},\"\":0}", "{\"b\":1,\"a\":{\"d\":[],\"c\":2},\"\":0}",
		     "{\"\":0,\"a\":{\"c\":2,\"d\":[]},\"b\":1}");
	expect_texts("{\"\\ud83d\\ude00\":1,\"\\uffff\":2,\"\\u00e9\":3,\"z\":4}",
		     "{\"\xf0\x9f\x98\x80\":1,\"\xef\xbf\xbf\":2,\"\xc3\xa9\":3,\"z\":4}",
		     "{\"z\":4,\"\\u00e9\":3,\"\\uffff\":2,\"\\ud83d\\ude00\":1}");
	expect_texts("\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\\\/<>\\u007f\\u0080\"",
		     "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/<>\x7f\xc2\x80\"",
		     "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/<>\\u007f\\u0080\"");
}

static void surround(struct buf *out, struct str quote, struct str head, struct str middle, struct str tail)
{
	buf_append_str(out, quote);
	buf_append_str(out, head);
	buf_append_str(out, middle);
	buf_append_str(out, tail);
	buf_append_str(out, quote);
}

/* Each kind of special character at every place of the sixteen-byte steps, in texts of every length. */
static void test_escapes_everywhere(void **state)
{
	static const struct {
		struct str in, raw, canonical;
	} cases[] = {
		{ { "\n", 1 }, { "\\n", 2 }, { "\\n", 2 } },
		{ { "\x1f", 1 }, { "\\u001f", 6 }, { "\\u001f", 6 } },
		{ { "\"", 1 }, { "\\\"", 2 }, { "\\\"", 2 } },
		{ { "\\", 1 }, { "\\\\", 2 }, { "\\\\", 2 } },
		{ { "\0", 1 }, { "\\u0000", 6 }, { "\\u0000", 6 } },
		{ { "\x7f", 1 }, { "\x7f", 1 }, { "\\u007f", 6 } },
		{ { "~ !", 3 }, { "~ !", 3 }, { "~ !", 3 } },
		{ { "\xc2\x80", 2 }, { "\xc2\x80", 2 }, { "\\u0080", 6 } },
		{ { "\xf0\x9f\x98\x80", 4 }, { "\xf0\x9f\x98\x80", 4 }, { "\\ud83d\\ude00", 12 } },
	};
	static const char filler[] = "the quick brown fox jumps over the lazy dog, twice";
	(void)state;
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		for (size_t before = 0; before < 34; before++) {
			for (size_t after = 0; after < 34; after++) {
				struct buf in = { 0 }, raw = { 0 }, canonical = { 0 }, got = { 0 };
				struct str head = str_of(filler, before), tail = str_of(filler + 5, after);
				surround(&in, (struct str){ "", 0 }, head, cases[c].in, tail);
				surround(&raw, STR("\""), head, cases[c].raw, tail);
				surround(&canonical, STR("\""), head, cases[c].canonical, tail);
				json_write_string(&got, buf_str(&in));
				assert_true(str_eq(buf_str(&got), buf_str(&raw)));
				buf_clear(&got);
				json_canonical_string(&got, buf_str(&in));
				assert_true(str_eq(buf_str(&got), buf_str(&canonical)));
				buf_finish(&in);
				buf_finish(&raw);
				buf_finish(&canonical);
				buf_finish(&got);
			}
		}
	}
}

static void test_canonical_refuses_bad_utf8(void **state)
{
	struct buf b = { 0 };
	(void)state;
	json_canonical_string(&b, STR("plain text, then \xff"));
	assert_true(b.failed);
	buf_finish(&b);
}

static void test_utf8(void **state)
{
	static const char *const bad[] = { "\x80",
					   "\xc1\xbf",
					   "\xe0\x9f\xbf",
					   "\xed\xa0\x80",
					   "\xf0\x8f\xbf\xbf",
					   "\xf4\x90\x80\x80",
					   "\xf5\x80\x80\x80",
					   "\xe2\x82",
					   "\xc3",
					   "\xff" };
	static const char *const good[] = { "",
					    "a",
					    "\xc2\x80",
					    "\xdf\xbf",
					    "\xe0\xa0\x80",
					    "\xed\x9f\xbf",
					    "\xee\x80\x80",
					    "\xef\xbf\xbf",
					    "\xf0\x90\x80\x80",
					    "\xf4\x8f\xbf\xbf" };
	(void)state;
	for (size_t before = 0; before < 40; before++) {
		for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
			struct buf b = { 0 };
			for (size_t j = 0; j < before; j++)
				buf_append_char(&b, 'x');
			size_t at = b.n;
			buf_append_str(&b, str_from(bad[i]));
			assert_false(json_utf8_valid(buf_str(&b)));
			b.n = at;
			buf_append_str(&b, str_from(good[i]));
			buf_append_lit(&b, "tail");
			assert_true(json_utf8_valid(buf_str(&b)));
			buf_finish(&b);
		}
	}
	assert_true(json_utf8_valid((struct str){ NULL, 0 }));
}

static void test_normalise(void **state)
{
	struct buf b = { 0 };
	struct json_error e;
	(void)state;
	assert_true(json_normalise(STR(" {\"b\" : 1.50, \"a\":\"\\u00e9\"} "), &b, &e));
	assert_true(str_eq(buf_str(&b), STR("{\"b\":1.5,\"a\":\"\xc3\xa9\"}")));
	assert_false(json_normalise(STR("{"), &b, &e));
	assert_string_equal(e.what, "Expecting property name enclosed in double quotes");
	struct buf small = { .max = 4 };
	assert_false(json_normalise(STR("[1,2,3]"), &small, &e));
	buf_finish(&small);
	buf_finish(&b);
}

static void test_write_float(void **state)
{
	struct buf b = { 0 };
	(void)state;
	json_write_float(&b, 0.1);
	json_write_float(&b, strtod("nan", NULL));
	json_write_float(&b, strtod("-inf", NULL));
	assert_true(str_eq(buf_str(&b), STR("0.1nullnull")));
	buf_finish(&b);
}

/* The last texts are kept: places are used again by other numbers, and the same number comes back. */
static void test_floats_are_kept_right(void **state)
{
	(void)state;
	uint64_t bits = 0;
	struct buf b = { 0 };
	for (int i = 0; i < 20000; i++) {
		double v, values[2];
		memcpy(&values[0], &bits, sizeof bits);
		bits = bits * 6364136223846793005u + 1442695040888963407u;
		memcpy(&values[1], &bits, sizeof bits);
		for (int k = 0; k < 6; k++) {
			char text[PYFLOAT_TEXT_MAX];
			v = values[k % 2];
			if (!isfinite(v))
				continue;
			buf_clear(&b);
			json_write_float(&b, v);
			assert_int_equal(b.n, pyfloat_text(v, text));
			assert_memory_equal(b.p, text, b.n);
		}
	}
	buf_finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_python_messages),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_many_keys),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_number_of_values),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_escapes_everywhere),
		cmocka_unit_test(test_canonical_refuses_bad_utf8),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_normalise),
		cmocka_unit_test(test_write_float),
		cmocka_unit_test(test_floats_are_kept_right),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
