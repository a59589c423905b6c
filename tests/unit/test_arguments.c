/* Arguments against declared parameters, in the words of Fabra's replies. */
#include "actors/arguments.h"
#include "tests/unit/script_fixture.h"

static struct definitions *definitions;

static void check(const char *context, const char *args_json, const char *expected)
{
	struct json_error error;
	struct buf why = { 0 };
	yyjson_doc *args = json_parse(str_from(args_json), NULL, &error);
	uint32_t index = definitions_context(definitions, str_from(context));
	assert_true(args && index != DEF_NONE);
	bool ok = arguments_check(&definitions->contexts[index], yyjson_doc_get_root(args), &why);
	if (expected == NULL ? !ok : ok || !str_eq(buf_str(&why), str_from(expected)))
		fail_msg("%s: %.*s", args_json, STR_ARG(buf_str(&why)));
	buf_finish(&why);
	yyjson_doc_free(args);
}

static void test_required_and_unknown(void **state)
{
	(void)state;
	check("declared", "{\"user_id\":\"u\",\"query\":\"q\"}", NULL);
	check("declared", "{\"query\":\"q\"}", "missing required argument 'user_id'");
	check("declared", "{}", "missing required argument 'query'; missing required argument 'user_id'"); /* by name */
	check("declared", "{\"user_id\":\"u\",\"query\":\"q\",\"extra\":1}", "got an unexpected argument 'extra'");
	check("free", "{\"anything\":[1,{}]}", NULL);
	check("none", "{\"a\":1}", "got an unexpected argument 'a'");
	check("none", "{}", NULL);
}

static void test_names_of_the_call(void **state)
{
	(void)state;
	check("none",
	      "{\"call_id\":\"c\",\"session_id\":1,\"turn_id\":null,\"turn_index\":3,\"interaction_ref\":{},"
	      "\"interaction_mode\":\"x\",\"mode\":\"y\",\"jurisdiction\":\"EU\",\"consent_state\":\"given\"}",
	      NULL);
}

static void test_types(void **state)
{
	(void)state;
	static const char base[] = "{\"user_id\":\"u\",\"query\":\"q\",%s}";
	static const struct {
		const char *member, *expected;
	} cases[] = {
		{ "\"i\":3", NULL },
		{ "\"i\":3.0", "argument 'i' must be an integer" },
		{ "\"i\":true", "argument 'i' must be an integer" },
		{ "\"i\":9223372036854775807", NULL },
		{ "\"n\":3", NULL },
		{ "\"n\":-2.5e3", NULL },
		{ "\"n\":\"3\"", "argument 'n' must be a number" },
		{ "\"b\":false", NULL },
		{ "\"b\":0", "argument 'b' must be a boolean" },
		{ "\"any\":[null]", NULL },
		{ "\"any\":null", NULL },
		{ "\"i\":null", NULL }, /* optional: as if absent */
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char args[128];
		snprintf(args, sizeof args, base, cases[i].member);
		check("declared", args, cases[i].expected);
	}
	check("declared", "{\"x\":1,\"i\":\"3\"}", /* all at once */
	      "missing required argument 'query'; missing required argument 'user_id'; got an unexpected argument 'x'; "
	      "argument 'i' must be an integer");
	check("declared", "{\"user_id\":null,\"query\":\"q\"}", "argument 'user_id' must be a string");
	check("declared", "{\"user_id\":7,\"query\":\"q\"}", "argument 'user_id' must be a string");
}

/* A body can have many thousand members that nobody declared; the reply shows some. */
static void test_a_long_list_ends(void **state)
{
	(void)state;
	struct json_error error;
	struct buf args = { 0 }, why = { 0 };
	buf_append_char(&args, '{');
	for (int i = 0; i < 20000; i++)
		buf_printf(&args, "%s\"k%d\":%d", i ? "," : "", i, i);
	buf_append_char(&args, '}');
	yyjson_doc *doc = json_parse(buf_str(&args), NULL, &error);
	assert_non_null(doc);
	uint32_t index = definitions_context(definitions, STR("none"));
	assert_false(arguments_check(&definitions->contexts[index], yyjson_doc_get_root(doc), &why));
	assert_non_null(memmem(why.p, why.n, "'k0'; got an unexpected argument 'k1'", 37));
	assert_in_range(why.n, 400, 1000);
	buf_finish(&args);
	buf_finish(&why);
	yyjson_doc_free(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_required_and_unknown),
					    cmocka_unit_test(test_a_long_list_ends),
					    cmocka_unit_test(test_names_of_the_call), cmocka_unit_test(test_types) };
	struct fixture f = { 0 };
	fixture_start(
	    &f,
	    FIXTURE_HEAD
	    "fabra.context { name = 'declared', items = { { text = 'x' } }, params = { user_id = 'string', query = 'string',\n"
	    "  i = { type = 'integer', default = 1 }, n = { type = 'number', default = 0.5 },\n"
	    "  b = { type = 'boolean', default = true }, any = { type = 'any', required = false } } }\n"
	    "fabra.context { name = 'none', items = { { text = 'x' } }, params = {} }\n"
	    "fabra.context { name = 'free', build = function(args) return 'x' end }\n",
	    NULL);
	definitions = f.d;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_stop(&f);
	return failed;
}
