/* Everything a definitions file can try to keep a loop busy, to outlive a stop, or to change the state for
 * others. */
#include "tests/unit/script_fixture.h"

static const struct script_limits small = { .instructions_max = 1000000,
					    .memory_bytes_max = 16 << 20,
					    .slice_instructions = 20000 };

enum { SLICE_NS_MAX = 500000000 }; /* hundred times what is measured, for sanitizers and busy machines */

/* Runs the body with small limits; then a second feature of the same state must still work. */
static const char *stopped_text(const char *body, enum script_result *ret)
{
	static char text[600];
	struct fixture f = { 0 };
	struct script_outcome out;
	struct buf source = { 0 };
	buf_printf(&source,
		   FIXTURE_HEAD "local marks = {}\n"
				"fabra.feature { name = 'x', entity = User, compute = function(id)\n%s\nend }\n"
				"fabra.feature { name = 'y', entity = User, compute = function(id)\n"
				"return { marks.ran or false, ('x'):rep(3), tostring(1), #{ 1, 2 } } end }\n",
		   body);
	buf_append_char(&source, '\0');
	fixture_start(&f, source.p, &small);
	struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
	*ret = fixture_go(&f, call, &out);
	assert_int_equal(*ret, SCRIPT_FAILED);
	assert_true(f.slice_ns_max < SLICE_NS_MAX);
	snprintf(text, sizeof text, "%.*s", STR_ARG(out.error));
	if (out.error_kind != SCRIPT_ERROR_LIMIT)
		fail_msg("<<%s>>: %s", body, text);
	assert_int_equal(script_run(call, &out), SCRIPT_FAILED); /* it stays failed */
	script_end(call);
	call = script_begin(f.s, SCRIPT_COMPUTE, 1, STR("u1"), (struct str){ 0 }, (struct str){ 0 }, &fixture_host, &f);
	if (fixture_go(&f, call, &out) != SCRIPT_DONE)
		fail_msg("after <<%s>>: %.*s", body, STR_ARG(out.error));
	if (!str_eq(out.value_json, STR("[false,\"xxx\",\"1\",2]")))
		fail_msg("after <<%s>>: %.*s", body, STR_ARG(out.value_json));
	script_end(call);
	fixture_stop(&f);
	buf_finish(&source);
	return text;
}

/* marks.ran = true must never be reached. */
static void assert_stopped(const char *body, const char *by)
{
	enum script_result result;
	const char *text = stopped_text(body, &result);
	assert_has(text, "feature 'x': stopped: ");
	assert_has(text, by);
}

static void loops_are_stopped(void **state)
{
	(void)state;
	assert_stopped("while true do end", "more than 1000000 instructions");
	assert_stopped("while true do end", "(store.lua:5)");
	assert_stopped("for i = 1, math.huge do end", "instructions");
	assert_stopped("::top:: goto top", "instructions");
	assert_stopped("local function f() return f() end return f()", "instructions");
	assert_stopped("for _ in function() return 1 end do end", "instructions");
	assert_stopped("repeat until load('return false')()", "instructions");
}

static void pcall_does_not_catch_a_stop(void **state)
{
	(void)state;
	assert_stopped("pcall(function() while true do end end) marks.ran = true", "instructions");
	assert_stopped("while true do pcall(function() while true do end end) marks.ran = true end", "instructions");
	assert_stopped("xpcall(function() while true do end end, function() marks.ran = true end) marks.ran = true",
		       "instructions");
	assert_stopped("pcall(pcall, pcall, function() while true do end end) marks.ran = true", "instructions");
	assert_stopped("local function again() pcall(again) marks.ran = nil again() end again()", "");
	assert_stopped("pcall(error, setmetatable({}, { __tostring = function() while true do end end })) "
		       "while true do end",
		       "instructions");
	assert_stopped("load('while true do end')() marks.ran = true", "instructions");
	assert_stopped("pcall(load('while true do end')) marks.ran = true", "instructions");
}

/* Where Lua cannot yield, an error is raised at each instruction until it can. */
static void places_that_cannot_yield_are_no_hiding_place(void **state)
{
	(void)state;
	assert_stopped("table.sort({ 3, 2, 1 }, function() while true do end end) marks.ran = true", "instructions");
	assert_stopped(
	    "table.sort({ 3, 2, 1 }, function() while true do pcall(function() while true do end end) end end)",
	    "instructions");
	assert_stopped("pcall(table.sort, { 3, 2, 1 }, function() while true do end end) marks.ran = true",
		       "instructions");
	assert_stopped("string.gsub('aaa', 'a', function() while true do end end) marks.ran = true", "instructions");
	assert_stopped(
	    "string.gsub('aaa', 'a', function() while true do pcall(function() while true do end end) end end)",
	    "instructions");
	assert_stopped("string.gsub('aaa', 'a', setmetatable({}, { __index = function() while true do end end }))",
		       "instructions");
	assert_stopped("tostring(setmetatable({}, { __tostring = function() while true do end end })) marks.ran = true",
		       "instructions");
	assert_stopped("string.format('%s', setmetatable({}, { __tostring = function() while true do end end }))",
		       "instructions");
	assert_stopped("table.concat(setmetatable({}, { __index = function() while true do end end }), '', 1, 2)",
		       "instructions");
	assert_stopped("table.concat(setmetatable({}, { __len = function() while true do end end }))", "instructions");
	assert_stopped("return #setmetatable({}, { __len = function() while true do end end })", "instructions");
	assert_stopped("return setmetatable({}, { __lt = function() while true do end end }) < 1", "instructions");
	assert_stopped("table.sort({ setmetatable({}, { __lt = function() while true do end end }), 1 })", "");
	assert_stopped("for k in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end",
		       "instructions");
	assert_stopped("pcall(string.rep, setmetatable({}, {})) while true do end", "instructions");
	assert_stopped("xpcall(function() table.sort({ 2, 1 }, function() while true do end end) end, "
		       "function() while true do end end) marks.ran = true",
		       "instructions");
}

static void closing_variables_run_nothing_after_a_stop(void **state)
{
	(void)state;
	assert_stopped(
	    "local c <close> = setmetatable({}, { __close = function() marks.ran = true end }) while true do end",
	    "instructions");
	assert_stopped(
	    "pcall(function() local c <close> = setmetatable({}, { __close = function() marks.ran = true end }) "
	    "while true do end end) marks.ran = true",
	    "instructions");
	assert_stopped("local c <close> = setmetatable({}, { __close = function() while true do end end })",
		       "instructions");
	assert_stopped("local c <close> = setmetatable({}, { __close = function() while true do end end }) error('x')",
		       "instructions");
	assert_stopped(
	    "pcall(function() local c <close> = setmetatable({}, { __close = function() while true do end end }) "
	    "error('x') end) marks.ran = true",
	    "instructions");
}

static void closing_variables_run_after_an_error(void **state)
{
	(void)state;
	assert_string_equal(
	    fixture_eval("local done = 0 "
			 "pcall(function() local c <close> = setmetatable({}, { __close = function() done = 1 end }) "
			 "error('x') end) return done"),
	    "1");
	assert_has(fixture_eval(
		       "local c <close> = setmetatable({}, { __close = function() error('in close') end }) return 1"),
		   "in close");
	assert_has(fixture_eval("local c <close> = setmetatable({}, { __close = function() error('second') end }) "
				"error('first')"),
		   "second");
}

static void bombs_hit_the_memory_limit(void **state)
{
	(void)state;
	assert_stopped("local s = 'x' while true do s = s .. s end", "bytes of memory");
	assert_stopped("pcall(function() local s = 'x' while true do s = s .. s end end) marks.ran = true",
		       "bytes of memory");
	assert_stopped("while true do pcall(function() local s = 'x' while true do s = s .. s end end) end",
		       "bytes of memory");
	assert_stopped("local t = {} for i = 1, 1e9 do t[i] = i end", "");
	assert_stopped("local t = {} for i = 1, 1e9 do t[i] = { i } end", "");
	assert_stopped("return ('x'):rep(1e9)", "bytes of memory");
	assert_stopped("return ('x'):rep(1 << 62, 'yy')", "bytes of memory");
	assert_stopped("return pcall(string.rep, 'x', 1e9)", "bytes of memory");
	assert_stopped("local s = ('x'):rep(500000) return s .. s .. s .. s .. s", "");
	assert_stopped("local t = {} for i = 1, 50 do t[i] = ('x'):rep(500000) .. i end return #t", "");
	assert_stopped("local function f(...) return f(1, ...) end return f()", "");
	assert_stopped("return string.pack('c1000000000', '')", "bytes of memory");
	assert_stopped("local s = ('x'):rep(1000000) return (s:gsub('x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyy'))", "");
	assert_stopped(
	    "return table.concat(setmetatable({}, { __index = function() return ('x'):rep(1000) end }), '', 1, 1e7)",
	    "");
	assert_stopped("local a = {} for i = 1, 60 do a = { a, a } end return fabra.json.encode(a)", "");
}

static void empty_strings_are_repeated_at_once(void **state)
{
	(void)state;
	assert_string_equal(fixture_eval("return (''):rep(math.maxinteger)"), "\"\"");
	assert_string_equal(fixture_eval("return ('x'):rep(0) .. ('x'):rep(-5)"), "\"\"");
	assert_string_equal(fixture_eval("return ('ab'):rep(3, '-')"), "\"ab-ab-ab\"");
}

static void c_functions_count_their_work(void **state)
{
	(void)state;
	assert_stopped("return string.find(('a'):rep(30), ('a?'):rep(30) .. ('a'):rep(30))", "instructions");
	assert_stopped("return pcall(string.find, ('a'):rep(30), ('a?'):rep(30) .. ('a'):rep(30))", "instructions");
	assert_stopped("return (('a'):rep(2000)):match('.-.-.-.-b')", "instructions");
	assert_stopped("for x in (('a'):rep(2000)):gmatch('.-.-.-.-b') do end", "instructions");
	assert_stopped("return (('a'):rep(2000)):gsub('.-.-.-.-b', '')", "instructions");
	assert_stopped("return (('x'):rep(900000)):find('[' .. ('y'):rep(10000) .. ']')", "instructions");
	assert_stopped("return (('('):rep(900000)):gsub('%b()', '')", "instructions");
	assert_stopped("return table.concat({}, '', 1, 0), table.move({}, 1, 1e9, 2)", "instructions");
	assert_stopped("table.insert(setmetatable({}, { __len = function() return 1 << 62 end }), 1, 1)",
		       "instructions");
	assert_stopped("table.remove(setmetatable({}, { __len = function() return 1 << 62 end }), 1)", "instructions");
	assert_stopped("local t = {} for i = 1, 100000 do t[i] = (i * 7919) % 100003 end table.sort(t) return 1", "");
	assert_stopped("local t = {} while true do table.insert(t, 1, 0) end", "");
	assert_stopped("local t = table.pack(table.unpack({}, 1, 200000)) while true do table.unpack(t, 1, 200000) end",
		       "");
	assert_stopped("local s = ('x'):rep(100000) while true do load(s) end", "instructions");
	assert_stopped("local f = ('%99.99f'):rep(20000) return f:format(table.unpack(setmetatable({}, "
		       "{ __index = function() return 1e300 end }), 1, 20000))",
		       "");
	assert_stopped("local s = '[' .. ('1,'):rep(200000) .. '1]' while true do fabra.json.decode(s) end", "");
}

static void time_in_c_is_charged(void **state)
{
	(void)state;
	uint64_t before = clock_mono_ns();
	assert_stopped("local s = (' '):rep(900000) .. '1' while true do local _ = s + 1 end", "instructions");
	assert_stopped(
	    "local a, b = ('x'):rep(900000) .. '1', ('x'):rep(900000) .. '2' while true do local _ = a < b end", "");
	assert_stopped("local t = {} for i = 1, 60000 do t[i] = i end for i = 1, 60000 do t[i] = nil end "
		       "while true do next(t) end",
		       "instructions");
	assert_true(clock_mono_ns() - before < 60000000000u);
}

static void slices_let_the_loop_breathe(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct script_limits limits = small;
	limits.instructions_max = 1000000;
	fixture_start_body(&f, "local n = 0 for i = 1, 100000 do n = n + i end return n", &limits);
	assert_string_equal(fixture_compute(&f, "u1"), "5000050000");
	assert_in_range(f.slices, 5, 60);
	fixture_stop(&f);
}

/* Two calls in one state, slice by slice. */
static void calls_run_side_by_side(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct script_outcome a, b;
	fixture_start_body(&f, "local n = 0 for i = 1, 100000 do n = n + #id end return n", NULL);
	struct script_call *first = fixture_begin(&f, SCRIPT_COMPUTE, "a");
	struct script_call *second = fixture_begin(&f, SCRIPT_COMPUTE, "bb");
	enum script_result of_first, of_second;
	do {
		of_first = script_run(first, &a);
		of_second = script_run(second, &b);
	} while (of_first == SCRIPT_MORE || of_second == SCRIPT_MORE);
	assert_int_equal(of_first, SCRIPT_DONE);
	assert_int_equal(of_second, SCRIPT_DONE);
	assert_true(str_eq(a.value_json, STR("100000")));
	assert_true(str_eq(b.value_json, STR("200000")));
	script_end(first);
	script_end(second);
	fixture_stop(&f);
}

/* A call that is killed while it waits or between slices leaves nothing behind. */
static void calls_end_at_any_point(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct script_outcome out;
	fixture_start_body(&f,
			   "local c <close> = setmetatable({}, { __close = function() error('never') end }) "
			   "if id == 'wait' then fabra.await(fabra.feature_value('x', 'u2')) end while true do end",
			   NULL);
	struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
	script_end(call); /* never run */
	for (int i = 0; i < 50; i++) {
		call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
		assert_int_equal(script_run(call, &out), SCRIPT_MORE);
		script_end(call);
		call = fixture_begin(&f, SCRIPT_COMPUTE, "wait");
		assert_int_equal(script_run(call, &out), SCRIPT_WAITING);
		script_end(call);
		assert_true(f.asks[0].cancelled);
	}
	for (int i = 0; i < 200; i++)
		script_collect(f.s);
	assert_true(script_memory_bytes(f.s) < 400000);
	fixture_stop(&f);
}

static void deep_recursion_is_an_error_or_a_stop(void **state)
{
	(void)state;
	assert_has(fixture_eval("local function f() return 1 + f() end return f()"), "endless recursion?");
	assert_has(fixture_eval("local function f() return 1 + f() end return pcall(f)"), "endless recursion?");
	assert_has(fixture_eval("local function f(a, b, c, d, e) return f(a, b, c, d, e) + 1 end return f()"), "");
	assert_has(fixture_eval(
		       "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k .. 'x'] end "
		       "return t.a"),
		   "");
	assert_has(fixture_eval("local function f() return pcall(f) end return f()"), "");
	assert_has(fixture_eval("local function f() return string.gsub('a', 'a', f) end return f()"), "overflow");
	assert_has(fixture_eval("return load(('('):rep(10000) .. '1' .. (')'):rep(10000))"), "");
	assert_has(fixture_eval("local a = {} for i = 1, 200 do a = { a } end return a"), "nested deeper than 64");
	assert_has(fixture_eval("local a = {} a.a = a return a"), "nested deeper than 64");
	assert_has(fixture_eval("return fabra.json.decode(('['):rep(100) .. (']'):rep(100))"), "nested deeper than 64");
	assert_has(fixture_eval("return ('x'):find(('('):rep(40) .. ('()'):rep(40))"), "too many captures");
	assert_has(fixture_eval("return (('a'):rep(300)):find(('a?'):rep(300))"), "pattern too complex");
	assert_has(fixture_eval("return select('#', table.unpack({}, 1, 1e7))"), "too many results");
	assert_has(fixture_eval("return string.format('%99999d', 1)"), "invalid conversion");
}

/* The same text after any number of calls that hit the limit, each filling the state with objects of another size. */
static void memory_is_given_back(void **state)
{
	(void)state;
	static const char *const hogs[] = {
		"local n = nil while true do n = { n } end",
		"local t = {} while true do t = { t, t } end",
		"local t = {} while true do t[#t + 1] = 'text ' .. #t end",
		"local t = {} while true do local x = #t t[x + 1] = function() return x end end",
		"local n = nil while true do n = { n, n, n, n, n, n } end",
		"local t = {} while true do t = { a = t, b = t, c = t, d = t } end",
		"local s = 'x' while true do s = s .. s end",
		"local t = {} while true do t[#t + 1] = ('x'):rep(100) .. #t end",
	};
	enum { HOGS = sizeof hogs / sizeof hogs[0] };
	struct fixture f = { 0 };
	struct script_outcome out;
	struct buf source = { 0 };
	buf_append_lit(&source, FIXTURE_HEAD);
	for (int i = 0; i < HOGS; i++)
		buf_printf(&source, "fabra.feature { name = 'h%d', entity = User, compute = function(id)\n%s\nend }\n",
			   i, hogs[i]);
	buf_append_lit(&source,
		       "fabra.feature { name = 'text', entity = User, compute = function(id)\n"
		       "local t = {} for i = 1, 4000 do t[i] = ('x'):rep(50) .. i end return #table.concat(t) end }\n");
	buf_append_char(&source, '\0');
	/* Enough instructions that memory is what ends. */
	fixture_start(&f, source.p,
		      &(struct script_limits){ .instructions_max = 50000000, .memory_bytes_max = 16 << 20 });
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < HOGS; i++) {
			struct script_call *call = script_begin(f.s, SCRIPT_COMPUTE, i, STR("u1"), (struct str){ 0 },
								(struct str){ 0 }, &fixture_host, &f);
			assert_non_null(call);
			assert_int_equal(fixture_go(&f, call, &out), SCRIPT_FAILED);
			if (memmem(out.error.p, out.error.n, "bytes of memory", 15) == NULL)
				fail_msg("<<%s>>: %.*s", hogs[i], STR_ARG(out.error));
			script_end(call);
			call = script_begin(f.s, SCRIPT_COMPUTE, HOGS, STR("u1"), (struct str){ 0 }, (struct str){ 0 },
					    &fixture_host, &f);
			assert_non_null(call);
			if (fixture_go(&f, call, &out) != SCRIPT_DONE)
				fail_msg("after <<%s>>: %.*s", hogs[i], STR_ARG(out.error));
			assert_true(str_eq(out.value_json, STR("214893")));
			script_end(call);
		}
	}
	/* Stopped by the limit; then ended from outside when it has as much, as at a deadline: in the slice in which it waits for
	 * a collection, or later. */
	for (int ended = 0; ended < 6; ended++) {
		struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
		if (ended)
			for (int more = 6 * ended; script_memory_bytes(f.s) < 11 << 20 || more > 0;) {
				assert_int_equal(script_run(call, &out), SCRIPT_MORE);
				more -= script_memory_bytes(f.s) >= 11 << 20;
			}
		else
			assert_int_equal(fixture_go(&f, call, &out), SCRIPT_FAILED);
		script_end(call);
		assert_true(script_memory_bytes(f.s) > 8 << 20);
		for (int i = 0; i < 10000 && !script_collect(f.s); i++)
			continue; /* what its actor does then */
		assert_true(script_memory_bytes(f.s) < 1 << 20);
	}
	fixture_stop(&f);
	buf_finish(&source);
}

/* What lives is kept, and garbage beside it does not end a call that needs three quarters of the limit. */
static void garbage_is_collected_before_the_limit(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct script_outcome out;
	fixture_start(
	    &f,
	    FIXTURE_HEAD
	    "fabra.feature { name = 'x', entity = User, compute = function(id)\n"
	    "local all = {} for k = 1, 4 do local kept = {} all[k] = kept for i = 1, 120000 do kept[i] = { i } end end\n"
	    "for i = 1, 1000000 do local dropped = { i, i } end\n"
	    "local sum = 0 for k = 1, 4 do for i = 1, #all[k] do sum = sum + all[k][i][1] end end return sum end }",
	    &(struct script_limits){ .instructions_max = 100000000 });
	for (int i = 0; i < 3; i++) {
		struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
		if (fixture_go(&f, call, &out) != SCRIPT_DONE)
			fail_msg("%.*s", STR_ARG(out.error));
		assert_true(str_eq(out.value_json, STR("28800240000")));
		script_end(call);
	}
	fixture_stop(&f);
}

static void depth_is_refused_early(void **state)
{
	(void)state;
	assert_stopped("local function f(n) return 1 + f(n + 1) end return f(1)",
		       "more than 2000 deep (endless recursion?)");
	assert_stopped("local function f() return 1 + f() end while true do pcall(f) end", "more than 2000 deep");
	assert_stopped(
	    "table.sort({ 2, 1 }, function() local function f() return 1 + f() end return f() end) marks.ran = true",
	    "more than 2000 deep");
	assert_string_equal(fixture_eval("local function f(n) return n == 0 and 0 or 1 + f(n - 1) end return f(1500)"),
			    "1500");
	assert_string_equal(fixture_eval(
				"local function f(n) if n == 0 then return 7 end return f(n - 1) end return f(100000)"),
			    "7");
	/* More text than is parsed before its depth is looked at. */
	assert_has(fixture_eval("return { pcall(fabra.json.decode, ('['):rep(1000000)) }"), "nested deeper than 64");
	assert_has(fixture_eval("return { pcall(fabra.json.decode, '\"' .. ('[\\\\\"'):rep(5000) .. '\"') }"), "true");
	assert_string_equal(fixture_eval("return #fabra.json.decode('[' .. ('[[1]],'):rep(5000) .. '1]')"), "5001");
}

/* Processor time of the longest slice. A busy machine makes some slices of every run long, each time others: so of each slice
 * the least time of some runs counts. */
static uint64_t longest_slice_ns(const char *body, uint64_t good_enough_ns)
{
	enum { SLICES_MAX = 1 << 16 };
	static uint64_t slices_ns[SLICES_MAX];
	memset(slices_ns, 0, sizeof slices_ns);
	uint64_t longest_ns = UINT64_MAX;
	for (int run = 0; run < 8 && longest_ns > good_enough_ns; run++) {
		struct fixture f = { .slices_ns = slices_ns, .slices_ns_count = SLICES_MAX };
		struct script_outcome out;
		fixture_start_body(&f, body, NULL);
		struct script_call *call = fixture_begin(&f, SCRIPT_COMPUTE, "u1");
		assert_int_equal(fixture_go(&f, call, &out), SCRIPT_FAILED);
		assert_true(f.slices > 0 && f.slices <= SLICES_MAX);
		longest_ns = 0;
		for (unsigned slice = 0; slice < f.slices; slice++)
			if (slices_ns[slice] > longest_ns)
				longest_ns = slices_ns[slice];
		script_end(call);
		fixture_stop(&f);
	}
	return longest_ns;
}

/* Work that instructions do not show is charged by processor time, 100 ns for an instruction: whatever the machine, it fills
 * a slice of 20,000 in 2 ms. A slice may be twice as long, or a small multiple where Lua cannot give way. */
static void no_slice_is_long(void **state)
{
	(void)state;
	enum { FULL_SLICE_NS = 2000000 };
#if defined(FABRA_ASAN) || defined(FABRA_TSAN)
	const unsigned slower = 10; /* our functions are; Lua's are not */
#else
	const unsigned slower = 1;
#endif
	static const struct {
		unsigned slices_max;
		const char *body;
	} cases[] = {
		{ 2, "local function f(...) return f(1, ...) end return f()" },
		{ 2,
		  "local t = {} for i = 1, 1900 do t = setmetatable({}, { __index = t }) end while true do local _ = t.x end" },
		{ 4, "local s = ('\\0'):rep(900000) while true do ('%q'):format(s) end" },
		{ 4,
		  "local all = {} for j = 1, 4 do local t = {} all[j] = t for i = 1, 30000 do t['k' .. i] = i end end "
		  "while true do fabra.json.encode(all) end" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint64_t max_ns = (uint64_t)cases[i].slices_max * FULL_SLICE_NS * slower;
		uint64_t ns = longest_slice_ns(cases[i].body, max_ns);
		if (ns > max_ns)
			fail_msg("<<%s>>: a slice took %.1f ms of processor time, %.1f at most", cases[i].body,
				 (double)ns / 1e6, (double)max_ns / 1e6);
	}
}

/* Garbage that is made where a call cannot give way is paid for there. */
static void objects_cost_more_than_an_instruction_where_lua_cannot_yield(void **state)
{
	(void)state;
	assert_string_equal(fixture_eval("local t = {} for i = 1, 5000 do t[i] = (i * 7919) % 5003 end\n"
					 "table.sort(t, function(a, b) return a < b end) return t[1]"),
			    "1");
	assert_has(fixture_eval("local t = {} for i = 1, 5000 do t[i] = (i * 7919) % 5003 end\n"
				"table.sort(t, function(a, b) local n = { a, b } return n[1] < n[2] end) return t[1]"),
		   "one call of a string, table or metamethod function takes more than 1000000 instructions");
}

static void what_is_absent_says_so(void **state)
{
	(void)state;
	static const char *const names[] = { "io", "debug", "coroutine", "package", "dofile", "loadfile" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char body[64], expected[64];
		snprintf(body, sizeof body, "return %s", names[i]);
		snprintf(expected, sizeof expected, "'%s' is not available", names[i]);
		assert_has(fixture_eval(body), expected);
	}
	assert_string_equal(fixture_eval("return tostring(os.execute) .. tostring(os.getenv) .. tostring(os.exit) .. "
					 "tostring(os.remove) .. tostring(string.dump)"),
			    "\"nilnilnilnilnil\"");
	assert_string_equal(fixture_eval("return type(os.time()) .. type(os.clock()) .. os.date('!%Y', 0)"),
			    "\"numbernumber1970\"");
	assert_has(fixture_eval("return os.date(('%c'):rep(1000))"), "at most 256 bytes");
	assert_has(fixture_eval("return os.date('%Ez', 0)"), "invalid conversion specifier");
	assert_has(fixture_eval("return select(2, load('\\27Lua'))"), "attempt to load a binary chunk");
	assert_string_equal(fixture_eval("return (load('\\27Lua'))"), "nil");
	assert_has(fixture_eval("return load('return 1', 'x', 'b')"), "only text chunks");
	assert_has(fixture_eval("return load(function() end)"), "takes the text");
	assert_string_equal(fixture_eval("return load('return ...', 'x', 't')(7)"), "7");
	assert_string_equal(fixture_eval("return load('return a', 'x', 't', { a = 5 })()"), "5");
	assert_has(fixture_eval("return require 'os'"), "only \"fabra\" can be required");
	assert_has(fixture_eval("return fabra.http { url = 'x' }"), "fabra.http is not available yet");
	assert_has(fixture_eval("return fabra.awiat"), "there is no fabra.awiat");
	assert_string_equal(fixture_eval("return collectgarbage('count') > 0 and collectgarbage() == 0"), "true");
	assert_has(fixture_eval("return collectgarbage('stop')"), "invalid option");
	assert_has(fixture_eval("return setmetatable({}, { __gc = function() end })"), "finalizers");
}

static void the_state_cannot_be_changed_for_others(void **state)
{
	(void)state;
	assert_has(fixture_eval("counter = 1"), "assignment to global 'counter'");
	assert_has(fixture_eval("_G.counter = 1"), "assignment to global");
	assert_has(fixture_eval("rawset(_G, 'pcall', 1)"), "read-only");
	assert_has(fixture_eval("string.format = 1"), "'string.format' cannot be set");
	assert_has(fixture_eval("rawset(string, 'format', 1)"), "read-only");
	assert_has(fixture_eval("fabra.await = 1"), "'fabra.await' cannot be set");
	assert_has(fixture_eval("fabra.json.encode = 1"), "'fabra.json.encode' cannot be set");
	assert_has(fixture_eval("os.time = 1"), "cannot be set");
	assert_has(fixture_eval("setmetatable(_G, {})"), "protected metatable");
	assert_has(fixture_eval("setmetatable(string, {})"), "protected metatable");
	assert_has(fixture_eval("table.insert(string, 1)"), "cannot be set");
	assert_has(fixture_eval("fabra.array(string)"), "without a metatable");
	assert_has(fixture_eval("fabra.item(_G)"), "plain table");
	assert_string_equal(fixture_eval("return tostring(getmetatable('')) .. tostring(getmetatable(_G)) .. "
					 "tostring(getmetatable(string)) .. tostring(getmetatable(fabra.null))"),
			    "\"falsefalsefalsefalse\"");
	assert_string_equal(fixture_eval("return next(string) == nil and next(_G) == nil"), "true");
	assert_string_equal(fixture_eval("return (('x'):rep(2)) .. _G.type(1)"), "\"xxnumber\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops_are_stopped),
		cmocka_unit_test(pcall_does_not_catch_a_stop),
		cmocka_unit_test(places_that_cannot_yield_are_no_hiding_place),
		cmocka_unit_test(closing_variables_run_nothing_after_a_stop),
		cmocka_unit_test(closing_variables_run_after_an_error),
		cmocka_unit_test(bombs_hit_the_memory_limit),
		cmocka_unit_test(empty_strings_are_repeated_at_once),
		cmocka_unit_test(c_functions_count_their_work),
		cmocka_unit_test(time_in_c_is_charged),
		cmocka_unit_test(slices_let_the_loop_breathe),
		cmocka_unit_test(calls_run_side_by_side),
		cmocka_unit_test(calls_end_at_any_point),
		cmocka_unit_test(deep_recursion_is_an_error_or_a_stop),
		cmocka_unit_test(memory_is_given_back),
		cmocka_unit_test(garbage_is_collected_before_the_limit),
		cmocka_unit_test(depth_is_refused_early),
		cmocka_unit_test(no_slice_is_long),
		cmocka_unit_test(objects_cost_more_than_an_instruction_where_lua_cannot_yield),
		cmocka_unit_test(what_is_absent_says_so),
		cmocka_unit_test(the_state_cannot_be_changed_for_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
