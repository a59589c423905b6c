/* Calls of a script state: values in and out, asks, results. */
#include "tests/unit/script_fixture.h"

static void values_keep_their_type(void **state)
{
	(void)state;
	static const struct {
		const char *body, *json;
	} cases[] = {
		{ "return 1", "1" },
		{ "return 1.0", "1.0" },
		{ "return 2^53", "9007199254740992.0" },
		{ "return 1e100", "1e+100" },
		{ "return -0.0", "-0.0" },
		{ "return 0.1", "0.1" },
		{ "return math.maxinteger", "9223372036854775807" },
		{ "return math.mininteger", "-9223372036854775808" },
		{ "return id .. '!'", "\"u1!\"" },
		{ "return true", "true" },
		{ "return", "nil" },
		{ "return nil", "nil" },
		{ "return fabra.null", "null" },
		{ "return {}", "[]" },
		{ "return fabra.object{}", "{}" },
		{ "return fabra.object()", "{}" },
		{ "return fabra.array{}", "[]" },
		{ "return { fabra.object{}, fabra.array{ 1 } }", "[{},[1]]" },
		{ "return { b = 1, a = { 1, fabra.null, 'x' }, ['ä'] = 2, [''] = 3 }",
		  "{\"\":3,\"a\":[1,null,\"x\"],\"b\":1,\"ä\":2}" },
		{ "return 'a\"\\n\\0\\u{1f600}'", "\"a\\\"\\n\\u0000\xf0\x9f\x98\x80\"" },
		{ "return fabra.json.decode('{\"a\":{},\"b\":[1.50,2,-3e0,null]}')",
		  "{\"a\":{},\"b\":[1.5,2,-3.0,null]}" },
		{ "return fabra.json.decode('9223372036854775807')", "9223372036854775807" },
		{ "return fabra.json.decode('null') == fabra.null", "true" },
		{ "return fabra.json.decode('{\"a\":null}').a == fabra.null", "true" },
		{ "return fabra.json.decode('{\"a\":1,\"b\":0,\"a\":2}').a", "2" }, /* the last of equal keys */
		{ "return tostring(fabra.null)", "\"null\"" },
		{ "return math.type(fabra.json.decode('1')) .. math.type(fabra.json.decode('1.0'))",
		  "\"integerfloat\"" },
		{ "return fabra.json.encode({ z = 1, a = {} })", "\"{\\\"a\\\":[],\\\"z\\\":1}\"" },
		{ "return #fabra.json.encode(('x'):rep(100000))", "100002" },
		{ "return select('#', fabra.json.decode('[]'))", "1" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(fixture_eval(cases[i].body), cases[i].json);
}

static void values_that_are_not_json_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *body, *error;
	} cases[] = {
		{ "return 0/0", "feature 'x': the result is not a JSON value: the number is NaN" },
		{ "return { a = { 1, 1/0 } }", "a[2]: the number is infinite" },
		{ "return -1/0", "infinite" },
		{ "return { a = 1, 2 }", "neither a list nor an object" },
		{ "return { 1, nil, 3 }", "a list with holes: 2 entries, the last at 3 (use fabra.null" },
		{ "return { [0] = 1 }", "a table key of type number (keys are texts, or 1..n" },
		{ "return { [1.5] = 1 }", "a table key of type number" },
		{ "return { [true] = 1 }", "a table key of type boolean" },
		{ "return { a = { b = type } }", "a.b: a function is not a JSON value" },
		{ "return fabra.feature_value('x', 'u')", "an ask: use fabra.await" },
		{ "return '\\xff'", "not valid UTF-8" },
		{ "return { ['\\xff'] = 1 }", "not valid UTF-8" },
		{ "return fabra.array{ a = 1 }", "fabra.array has named fields" },
		{ "return fabra.object{ 1 }", "fabra.object has list entries" },
		{ "return setmetatable({}, {})", "a metatable of its own" },
		{ "return fabra.json.encode(type)", "fabra.json.encode: a function" },
		{ "return fabra.json.encode()", "value expected" },
		{ "return fabra.json.decode('{')", "not JSON: " },
		{ "return fabra.json.decode('')", "not JSON: " },
		{ "return fabra.json.decode('NaN')", "not JSON: " },
		{ "return fabra.json.decode('\"\\xff\"')", "not JSON: " },
		{ "return fabra.json.decode('9223372036854775808')", "does not fit in 64 bits" },
		{ "return fabra.json.decode('-9223372036854775809')", "does not fit in 64 bits" },
		{ "return fabra.json.decode('1' .. ('0'):rep(30))", "does not fit in 64 bits" },
		{ "return fabra.json.decode('1e999')", "does not fit in 64 bits" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_has(fixture_eval(cases[i].body), cases[i].error);
}

static void errors_are_one_line_that_names_the_function(void **state)
{
	(void)state;
	assert_string_equal(fixture_eval("error('broken')"), "feature 'x': store.lua:4: broken");
	assert_string_equal(fixture_eval("error('two\\nlines', 0)"), "feature 'x': two lines");
	assert_string_equal(fixture_eval("error({ message = 'in a table' })"), "feature 'x': in a table");
	assert_string_equal(fixture_eval("error({})"), "feature 'x': raised a table instead of a text");
	assert_string_equal(fixture_eval("error()"), "feature 'x': raised a nil instead of a text");
	assert_string_equal(fixture_eval("return nil + 1"),
			    "feature 'x': store.lua:4: attempt to perform arithmetic on a nil value");
	assert_has(fixture_eval("error(('x'):rep(10000))"), "xxx...");
	assert_string_equal(fixture_eval("return pcall(error, 'caught')"), "false");
	assert_string_equal(fixture_eval("local ok, why = pcall(error, 'caught', 0) return why"), "\"caught\"");
	assert_string_equal(fixture_eval("return { xpcall(error, function(e) return e .. '!' end, 'caught') }"),
			    "[false,\"caught!\"]");
	assert_string_equal(fixture_eval("return { xpcall(function(...) return ... end, type, 1, 2) }"), "[true,1,2]");
	assert_string_equal(fixture_eval("return (select(2, xpcall(error, function() error('worse', 0) end)))"),
			    "\"worse\"");
}

static struct script_call *begin_event(struct fixture *f, const char *event, const char *previous)
{
	return script_begin(f->s, SCRIPT_COMPUTE, 0, STR("u1"), str_from(event), str_from(previous), &fixture_host, f);
}

static void assert_done(struct fixture *f, struct script_call *call, const char *json)
{
	struct script_outcome out;
	enum script_result result = fixture_go(f, call, &out);
	if (result != SCRIPT_DONE)
		fail_msg("%d: %.*s", (int)result, STR_ARG(out.error));
	if (!str_eq(out.value_json, str_from(json)))
		fail_msg("'%.*s' is not '%s'", STR_ARG(out.value_json), json);
	script_end(call);
}

static void assert_failed(struct fixture *f, struct script_call *call, int kind, const char *error)
{
	struct script_outcome out;
	assert_int_equal(fixture_go(f, call, &out), SCRIPT_FAILED);
	char text[1024];
	snprintf(text, sizeof text, "%.*s", STR_ARG(out.error));
	assert_has(text, error);
	assert_int_equal(out.error_kind, kind);
	script_end(call);
}

static void triggered_features_get_event_and_previous(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	fixture_start_body(&f, "return (previous or 0) + event.payload.amount", NULL);
	assert_done(&f, begin_event(&f, "{\"payload\":{\"amount\":5}}", "7"), "12");
	assert_done(&f, begin_event(&f, "{\"payload\":{\"amount\":5}}", "7.5"), "12.5");
	assert_done(&f, begin_event(&f, "{\"payload\":{\"amount\":5}}", NULL), "5");
	assert_done(&f, begin_event(&f, "{\"payload\":{\"amount\":5}}", "null"), "5");
	assert_failed(&f, begin_event(&f, "{\"payload\":{}}", NULL), SCRIPT_ERROR_RUN, "nil value (field 'amount')");
	assert_failed(&f, begin_event(&f, "{\"payload\":{\"amount\":null}}", NULL), SCRIPT_ERROR_RUN,
		      "null value (field 'amount')");
	assert_failed(&f, begin_event(&f, "{", NULL), SCRIPT_ERROR_ARGUMENTS, "not JSON");
	fixture_stop(&f);
}

static void asks_are_answered_later(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct script_outcome out;
	fixture_start_body(&f, "local v = fabra.await(fabra.feature_value('x', 'u2')) return { id, v }", NULL);
	struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
	assert_int_equal(script_run(call, &out), SCRIPT_WAITING);
	assert_false(script_ready(call));
	assert_int_equal(script_run(call, &out), SCRIPT_WAITING); /* too early: nothing happens */
	assert_int_equal(f.asks_count, 1);
	assert_int_equal(f.asks[0].ask.kind, SCRIPT_ASK_FEATURE);
	assert_int_equal(f.asks[0].ask.feature, 0);
	assert_string_equal(f.asks[0].id, "u2");
	script_answer(call, 99, true, STR("1")); /* an unknown ask: ignored */
	assert_false(script_ready(call));
	script_answer(call, 1, true, STR("{\"a\":[1,2.0]}"));
	script_answer(call, 1, false, STR("twice: ignored"));
	assert_true(script_ready(call));
	assert_done(&f, call, "[\"u1\",{\"a\":[1,2.0]}]");
	assert_false(f.asks[0].cancelled);
	fixture_stop(&f);
}

static void asks_of_each_kind_reach_the_host(void **state)
{
	(void)state;
	struct fixture f = { .answers = { "{\"x\":1,\"y\":null}", "[{\"content\":\"c\"}]", "[{\"n\":3,\"m\":null}]",
					  "[]" } };
	fixture_start(
	    &f,
	    FIXTURE_HEAD
	    "fabra.feature { name = 'x', entity = User, compute = function(id)\n"
	    "local f, r, rows, none = fabra.all(fabra.features(User, id, { 'x', 'y' }), fabra.retrieve('docs', { q = 'a', k = 3 }),\n"
	    "  fabra.sql('SELECT ?', { 1, 'b' }), fabra.sql('SELECT 1'))\n"
	    "return { f.x, f.y == nil, r[1].content, rows[1].n, rows[1].m == nil, #none, f.y == fabra.null, f.z == nil } end }\n"
	    "fabra.feature { name = 'y', entity = User }\n"
	    "fabra.retriever { name = 'docs', run = function() return {} end }",
	    NULL);
	assert_done(&f, fixture_begin(&f, SCRIPT_COMPUTE, "u1"), "[1,false,\"c\",3,true,0,true,true]");
	assert_int_equal(f.asks_count, 4);
	assert_int_equal(f.asks[0].ask.kind, SCRIPT_ASK_FEATURES);
	assert_int_equal(f.asks[0].ask.entity, 0);
	assert_int_equal(f.asks[0].ask.features_count, 2);
	assert_int_equal(f.asks[0].features[1], 1);
	assert_string_equal(f.asks[0].id, "u1");
	assert_int_equal(f.asks[1].ask.kind, SCRIPT_ASK_RETRIEVE);
	assert_string_equal(f.asks[1].args, "{\"k\":3,\"q\":\"a\"}");
	assert_int_equal(f.asks[2].ask.kind, SCRIPT_ASK_SQL);
	assert_string_equal(f.asks[2].sql, "SELECT ?");
	assert_string_equal(f.asks[2].args, "[1,\"b\"]");
	assert_string_equal(f.asks[3].args, "[]");
	fixture_stop(&f);
}

static void failed_asks_raise_or_are_tried(void **state)
{
	(void)state;
	static const char *const bodies[][2] = {
		{ "return fabra.await(fabra.feature_value('x', 'u'))", "feature 'x': store.lua:4: it timed out" },
		{ "return { pcall(fabra.await, fabra.feature_value('x', 'u')) }", "[false,\"it timed out\"]" },
		{ "local v, why = fabra.try(fabra.feature_value('x', 'u')) return { v == nil, why }",
		  "[true,\"it timed out\"]" },
		{ "local a = fabra.feature_value('x', 'u') fabra.try(a) return { fabra.try(a) == nil, (select(2, fabra.try(a))) }",
		  "[true,\"it timed out\"]" },
		{ "return (pcall(fabra.all, fabra.feature_value('x', 'u'), fabra.feature_value('x', 'v')))", "false" },
	};
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		struct fixture f = { .answers = { "!it timed out" } };
		fixture_start_body(&f, bodies[i][0], NULL);
		assert_string_equal(fixture_compute(&f, "u1"), bodies[i][1]);
		fixture_stop(&f);
	}
}

/* pcall around a wait, a wait in a loop, a wait in a metamethod called by Lua itself. */
static void waiting_works_where_lua_can_yield(void **state)
{
	(void)state;
	static const char *const bodies[][2] = {
		{ "local ok, v = pcall(function() return fabra.await(fabra.feature_value('x', 'a')) end) return v",
		  "5" },
		{ "local n = 0 for i = 1, 3 do n = n + fabra.await(fabra.feature_value('x', i)) end return n", "15" },
		{ "local t = setmetatable({}, { __index = function(_, k) return fabra.await(fabra.feature_value('x', k)) end }) return t.a",
		  "5" },
		{ "local ok, v = xpcall(function() return fabra.await(fabra.feature_value('x', 'a')) end, type) return v",
		  "5" },
		{ "for v in function(_, c) if not c then return fabra.await(fabra.feature_value('x', 'a')) end end do return v end",
		  "5" },
	};
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		struct fixture f = { 0 };
		struct script_outcome out;
		enum script_result result;
		fixture_start_body(&f, bodies[i][0], NULL);
		struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
		while ((result = script_run(call, &out)) == SCRIPT_WAITING)
			script_answer(call, f.asks_count, true, STR("5"));
		assert_int_equal(result, SCRIPT_DONE);
		assert_true(str_eq(out.value_json, str_from(bodies[i][1])));
		script_end(call);
		fixture_stop(&f);
	}
	assert_has(fixture_eval(
		       "table.sort({ 2, 1 }, function() return fabra.await(fabra.feature_value('x', 'a')) end)"),
		   "cannot be awaited inside a sort comparison");
}

static void asks_nobody_awaits_are_cancelled(void **state)
{
	(void)state;
	struct fixture f = { .answers = { NULL, "1" } };
	fixture_start_body(
	    &f, "local a, b = fabra.feature_value('x', 'a'), fabra.feature_value('x', 'b') return fabra.await(b)",
	    NULL);
	assert_string_equal(fixture_compute(&f, "u1"), "1");
	assert_true(f.asks[0].cancelled);
	assert_false(f.asks[1].cancelled);
	fixture_stop(&f);
}

/* One failed ask of several is enough: the others are cancelled when the call ends. */
static void all_fails_early(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct script_outcome out;
	fixture_start_body(&f, "return fabra.all(fabra.feature_value('x', 'a'), fabra.feature_value('x', 'b'))", NULL);
	struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
	assert_int_equal(script_run(call, &out), SCRIPT_WAITING);
	script_answer(call, 2, false, STR("gone"));
	assert_true(script_ready(call));
	assert_failed(&f, call, SCRIPT_ERROR_RUN, "gone");
	assert_true(f.asks[0].cancelled);
	fixture_stop(&f);
}

static void nil_answers_are_nil(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct script_outcome out;
	fixture_start_body(&f, "return fabra.await(fabra.feature_value('x', 'a')) == nil", NULL);
	struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
	assert_int_equal(script_run(call, &out), SCRIPT_WAITING);
	script_answer(call, 1, true, (struct str){ 0 });
	assert_done(&f, call, "true");
	fixture_stop(&f);
	f = (struct fixture){ .answers = { "null" } };
	fixture_start_body(&f, "return fabra.await(fabra.feature_value('x', 'a')) == fabra.null", NULL);
	assert_string_equal(fixture_compute(&f, "u1"), "true"); /* a value, and it is null */
	fixture_stop(&f);
}

static void a_dtype_is_kept(void **state)
{
	(void)state;
	static const char *const cases[][3] = {
		{ "integer", "return 1", "1" },
		{ "integer", "return 1.5", "feature 'x': the result is not of dtype integer: it is a number" },
		{ "integer", "return 1e300", "not of dtype integer" },
		{ "number", "return 1", "1" },
		{ "number", "return 1.5", "1.5" },
		{ "number", "return '1'", "not of dtype number: it is a string" },
		{ "string", "return 'a'", "\"a\"" },
		{ "string", "return 1", "not of dtype string" },
		{ "boolean", "return false", "false" },
		{ "boolean", "return 0", "not of dtype boolean" },
		{ "array", "return {}", "[]" },
		{ "array", "return { a = 1 }", "not of dtype array: it is a table" },
		{ "object", "return { a = 1 }", "{\"a\":1}" },
		{ "object", "return { 1 }", "not of dtype object" },
		{ "string", "return fabra.null", "null" },
		{ "string", "return nil", "nil" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct fixture f = { 0 };
		char source[512];
		snprintf(source, sizeof source,
			 FIXTURE_HEAD
			 "fabra.feature { name = 'x', entity = User, dtype = '%s', compute = function(id) %s end }\n",
			 cases[i][0], cases[i][1]);
		fixture_start(&f, source, NULL);
		assert_has(fixture_compute(&f, "u1"), cases[i][2]);
		fixture_stop(&f);
	}
}

static void wrong_asks_are_named(void **state)
{
	(void)state;
	static const struct {
		const char *body, *error;
	} cases[] = {
		{ "fabra.feature_value('xx', 'a')", "unknown feature 'xx' (did you mean 'x'?)" },
		{ "fabra.feature_value('nothing', 'a')", "unknown feature 'nothing'" },
		{ "fabra.feature_value('x')", "an entity id (string or integer) expected" },
		{ "fabra.feature_value('x', 1.5)", "an entity id (string or integer) expected" },
		{ "fabra.feature_value('x', '')", "an entity id has 1 to 256 bytes" },
		{ "fabra.feature_value('x', ('x'):rep(257))", "an entity id has 1 to 256 bytes" },
		{ "fabra.feature_value('x', '\\xff')", "valid UTF-8" },
		{ "fabra.feature_value('x', 'a\\0b')", "an entity id has no NUL bytes" },
		{ "fabra.features('Usr', 'a', { 'x' })", "unknown entity 'Usr' (did you mean 'User'?)" },
		{ "fabra.features(User, 'a', {})", "1 to 200 feature names" },
		{ "fabra.features(User, 'a', { 1 })", "a list of feature names" },
		{ "fabra.features(User, 'a', { 'y' })", "unknown feature 'y'" },
		{ "fabra.retrieve('docs')", "unknown retriever 'docs'" },
		{ "fabra.sql('')", "a query in valid UTF-8 is needed" },
		{ "fabra.sql('SELECT ?', { a = 1 })", "a list is needed" },
		{ "fabra.sql('SELECT ?', { type })", "[1]: a function is not a JSON value" },
		{ "fabra.await(5)", "fabra.ask expected" },
		{ "local a = fabra.feature_value('x', 'a') fabra.await(a, a)", "use fabra.all for several" },
		{ "for i = 1, 300 do fabra.feature_value('x', i) end", "too many asks: one call can start 256" },
		{ "fabra.log('loud', 'x')", "invalid option 'loud'" },
		{ "fabra.feature { name = 'z' }", "fabra.feature declares: it works only while the file is loaded" },
		{ "fabra.index {}", "works only while the file is loaded" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_has(fixture_eval(cases[i].body), cases[i].error);
	struct fixture f = { .refuse = true };
	fixture_start_body(&f, "return fabra.await(fabra.feature_value('x', 'a'))", NULL);
	assert_has(fixture_compute(&f, "u1"), "refused: too many asks are waiting");
	fixture_stop(&f);
	/* The feature of that name is no suggestion. */
	assert_string_equal(fixture_eval("fabra.retrieve('x')"), "feature 'x': store.lua:4: unknown retriever 'x'");
}

static void an_ask_belongs_to_its_call(void **state)
{
	(void)state;
	struct fixture f = { .answers = { "1" } };
	fixture_start(&f,
		      FIXTURE_HEAD "local kept\nfabra.feature { name = 'x', entity = User, compute = function(id)\n"
				   "kept = kept or fabra.feature_value('x', id) return fabra.await(kept) end }",
		      NULL);
	assert_string_equal(fixture_compute(&f, "u1"), "1");
	assert_has(fixture_compute(&f, "u1"), "only by the call that started it");
	fixture_stop(&f);
}

static void log_and_now_reach_the_host(void **state)
{
	(void)state;
	struct fixture f = { .now_us = 1500000 };
	fixture_start_body(&f, "fabra.log('warning', 'hello', { b = 1, a = 'x' }) return fabra.now()", NULL);
	assert_string_equal(fixture_compute(&f, "u1"), "1.5");
	assert_string_equal(f.log, "2 hello {\"a\":\"x\",\"b\":1}");
	fixture_stop(&f);
	fixture_start_body(&f, "print('a', 1, fabra.null)", NULL);
	assert_string_equal(fixture_compute(&f, "u1"), "nil");
	assert_string_equal(f.log, "1 a\t1\tnull {}");
	fixture_stop(&f);
}

static void start_build(struct fixture *f, const char *body)
{
	char source[2048];
	snprintf(source, sizeof source, FIXTURE_HEAD "fabra.context { name = 'c', build = function(args)\n%s\nend }",
		 body);
	fixture_start(f, source, NULL);
}

static void build_returns_items(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct script_outcome out;
	start_build(&f,
		    "return { fabra.item { content = 'a' .. args.q, priority = 2, required = true, source_id = 's', "
		    "last_updated = '2025-02-14T18:42:31Z' }, fabra.item { content = '', last_updated = 1.5 } }");
	struct script_call *call = fixture_begin(&f, SCRIPT_BUILD, "{\"q\":\"!\"}");
	assert_int_equal(fixture_go(&f, call, &out), SCRIPT_DONE);
	assert_true(out.is_list && !out.is_string);
	assert_int_equal(out.items_count, 2);
	assert_true(str_eq(out.items[0].content, STR("a!")) && str_eq(out.items[0].source_id, STR("s")));
	assert_int_equal(out.items[0].priority, 2);
	assert_true(out.items[0].required && !out.items[1].required);
	assert_int_equal(out.items[0].last_updated_us, 1739558551000000);
	assert_int_equal(out.items[1].last_updated_us, 1500000);
	assert_null(out.items[1].source_id.p);
	script_end(call);
	fixture_stop(&f);

	start_build(&f, "return 'text'");
	call = fixture_begin(&f, SCRIPT_BUILD, "{}");
	assert_int_equal(fixture_go(&f, call, &out), SCRIPT_DONE);
	assert_true(out.is_string && !out.is_list && out.items_count == 1);
	assert_int_equal(out.items[0].last_updated_us, INT64_MIN);
	script_end(call);
	fixture_stop(&f);

	start_build(&f, "return fabra.item { content = 'one' }");
	call = fixture_begin(&f, SCRIPT_BUILD, "{}");
	assert_int_equal(fixture_go(&f, call, &out), SCRIPT_DONE);
	assert_true(!out.is_string && !out.is_list && out.items_count == 1);
	script_end(call);
	fixture_stop(&f);

	start_build(&f, "return {}");
	call = fixture_begin(&f, SCRIPT_BUILD, "{}");
	assert_int_equal(fixture_go(&f, call, &out), SCRIPT_DONE);
	assert_true(out.is_list && out.items_count == 0);
	script_end(call);
	fixture_stop(&f);
}

static void other_results_of_build_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *body, *error;
		int kind;
	} cases[] = {
		{ "", "context 'c': build returns a list of fabra.item{...}, one item or a string; it returned nothing",
		  SCRIPT_ERROR_RESULT },
		{ "return 5", "it returned number", SCRIPT_ERROR_RESULT },
		{ "return { 'a' }", "entry 1 is a string", SCRIPT_ERROR_RESULT },
		{ "return { { content = 'a' } }", "entry 1 is a table that fabra.item did not make",
		  SCRIPT_ERROR_RESULT },
		{ "return { content = 'a' }", "this table has other fields", SCRIPT_ERROR_RESULT },
		{ "return { [2] = fabra.item { content = 'a' } }", "holes", SCRIPT_ERROR_RESULT },
		{ "return '\\xff'", "not valid UTF-8", SCRIPT_ERROR_RESULT },
		{ "local i = fabra.item { content = 'a' } i.priority = 'x' return i",
		  "fabra.item: priority: an integer", SCRIPT_ERROR_RESULT },
		{ "return fabra.item {}", "store.lua:4: fabra.item: content: a string is needed, got nil",
		  SCRIPT_ERROR_RUN },
		{ "return fabra.item { content = 5 }", "content: a string is needed, got number (use tostring)",
		  SCRIPT_ERROR_RUN },
		{ "return fabra.item { content = 'a', priority = 1 << 31 }", "priority: an integer from -2147483648",
		  SCRIPT_ERROR_RUN },
		{ "return fabra.item { content = 'a', priority = 1.5 }", "priority: an integer from -2147483648",
		  SCRIPT_ERROR_RUN },
		{ "return fabra.item { content = 'a', required = 1 }", "required: true or false", SCRIPT_ERROR_RUN },
		{ "return fabra.item { content = 'a', prioriti = 1 }",
		  "unknown key 'prioriti' (did you mean 'priority'?)", SCRIPT_ERROR_RUN },
		{ "return fabra.item { content = 'a', last_updated = 'yesterday' }", "last_updated: an ISO 8601 time",
		  SCRIPT_ERROR_RUN },
		{ "return fabra.item { content = 'a', source_id = 7 }", "source_id: a string is needed",
		  SCRIPT_ERROR_RUN },
		{ "return fabra.item { 'a' }", "fields have names", SCRIPT_ERROR_RUN },
		{ "return fabra.item { content = '\\xff' }", "content is not valid UTF-8", SCRIPT_ERROR_RUN },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct fixture f = { 0 };
		start_build(&f, cases[i].body);
		assert_failed(&f, fixture_begin(&f, SCRIPT_BUILD, "{}"), cases[i].kind, cases[i].error);
		fixture_stop(&f);
	}
}

static const char *retrieved(const char *body)
{
	static char text[1024];
	struct fixture f = { 0 };
	struct script_outcome out;
	char source[1024];
	snprintf(source, sizeof source, FIXTURE_HEAD "fabra.retriever { name = 'r', run = function(args)\n%s\nend }",
		 body);
	fixture_start(&f, source, NULL);
	struct script_call *call = fixture_begin(&f, SCRIPT_RETRIEVE, "{\"q\":\"a\"}");
	bool done = fixture_go(&f, call, &out) == SCRIPT_DONE;
	snprintf(text, sizeof text, "%.*s", STR_ARG(done ? out.value_json : out.error));
	script_end(call);
	fixture_stop(&f);
	return text;
}

static void retrievers_return_chunks(void **state)
{
	(void)state;
	assert_string_equal(
	    retrieved("return { args.q, { content = 'b', score = 0.5, metadata = { source_id = 'x' } } }"),
	    "[{\"content\":\"a\"},{\"content\":\"b\",\"metadata\":{\"source_id\":\"x\"},\"score\":0.5}]");
	assert_string_equal(retrieved("return {}"), "[]");
	assert_has(retrieved("return"),
		   "retriever 'r': run returns a list of strings or of tables { content = ... }; it returned nothing");
	assert_has(retrieved("return 'a'"), "it returned string");
	assert_has(retrieved("return { 1 }"), "entry 1 is a number");
	assert_has(retrieved("return { {} }"), "entry 1 has no content (a string)");
	assert_has(retrieved("return { 'a', { content = 'b', score = 0/0 } }"),
		   "entry 2 of the result: score: the number is NaN");
	assert_has(retrieved("return { content = 'a' }"), "named fields or holes");
	assert_has(retrieved("return { '\\xff' }"), "not valid UTF-8");
}

/* The example of the documentation, from its file. */
static void the_example_runs(void **state)
{
	(void)state;
	struct fixture f = { .answers = { "\"premium\"",
					  "[{\"content\":\"one\",\"chunk_id\":\"c1\"},{\"content\":\"two\"}]" } };
	struct buf why = { 0 };
	struct script_outcome out;
	f.d = definitions_load(FABRA_SOURCE_DIR "/tests/unit/lua/authoring.lua", false, &why);
	assert_non_null(f.d);
	f.s = script_create(f.d, NULL, &why);
	assert_non_null(f.s);
	struct script_call *call = script_begin(f.s, SCRIPT_BUILD, definitions_context(f.d, STR("chat_context_code")),
						STR("{\"user_id\":\"p7\",\"query\":\"help\"}"), (struct str){ 0 },
						(struct str){ 0 }, &fixture_host, &f);
	assert_int_equal(fixture_go(&f, call, &out), SCRIPT_DONE);
	assert_int_equal(out.items_count, 4);
	assert_true(str_eq(out.items[1].content, STR("User tier: premium")));
	assert_true(str_eq(out.items[2].source_id, STR("c1")));
	assert_null(out.items[3].source_id.p);
	script_end(call);
	assert_string_equal(fixture_compute(&f, "p1"), "\"premium\"");
	assert_string_equal(fixture_compute(&f, "x1"), "\"free\"");
	fixture_stop(&f);
}

/* Many calls leave no memory behind. */
static void calls_do_not_leak(void **state)
{
	(void)state;
	struct fixture f = { .answers = { "[1,2,3]" } };
	fixture_start_body(&f,
			   "local t = {} for i = 1, 50 do t[i] = tostring(i) end\n"
			   "if id == 'fail' then error('x') end return fabra.await(fabra.feature_value('x', id))",
			   NULL);
	size_t before = 0;
	for (int i = 0; i < 3000; i++) {
		fixture_compute(&f, i % 3 ? "u1" : "fail");
		if (i == 1000)
			before = script_memory_bytes(f.s);
	}
	for (int i = 0; i < 100; i++)
		script_collect(f.s);
	assert_true(script_memory_bytes(f.s) < before + 200000);
	fixture_stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_keep_their_type),
		cmocka_unit_test(values_that_are_not_json_are_refused),
		cmocka_unit_test(errors_are_one_line_that_names_the_function),
		cmocka_unit_test(triggered_features_get_event_and_previous),
		cmocka_unit_test(asks_are_answered_later),
		cmocka_unit_test(asks_of_each_kind_reach_the_host),
		cmocka_unit_test(failed_asks_raise_or_are_tried),
		cmocka_unit_test(waiting_works_where_lua_can_yield),
		cmocka_unit_test(asks_nobody_awaits_are_cancelled),
		cmocka_unit_test(all_fails_early),
		cmocka_unit_test(nil_answers_are_nil),
		cmocka_unit_test(a_dtype_is_kept),
		cmocka_unit_test(wrong_asks_are_named),
		cmocka_unit_test(an_ask_belongs_to_its_call),
		cmocka_unit_test(log_and_now_reach_the_host),
		cmocka_unit_test(build_returns_items),
		cmocka_unit_test(other_results_of_build_are_refused),
		cmocka_unit_test(retrievers_return_chunks),
		cmocka_unit_test(the_example_runs),
		cmocka_unit_test(calls_do_not_leak),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
