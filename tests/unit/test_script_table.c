/* The table functions against Lua's own: the same calls must leave the same tables, results and errors. */
#include "tests/unit/script_fixture.h"
#include <lualib.h>
#include <lauxlib.h>

static const char harness[] =
    "local function show(v)\n"
    "  if type(v) ~= 'table' then return type(v) == 'function' and 'function' or tostring(v) end\n"
    "  local keys, parts = {}, {}\n"
    "  for k in next, v do keys[#keys + 1] = k end\n"
    "  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)\n"
    "  for i, k in ipairs(keys) do parts[i] = tostring(k) .. '=' .. show(v[k]) end\n"
    "  return '{' .. table.concat(parts, ',') .. '}'\n"
    "end\n"
    "local out = {}\n"
    "local function add(f, t, ...)\n"
    "  local r = { pcall(f, t, ...) }\n"
    "  out[#out + 1] = show(r):gsub('argument #%d', 'argument') .. show(t)\n"
    "end\n"
    "local function list() return { 10, 20, 30, 40 } end\n"
    "for p = -1, 6 do\n"
    "  add(table.insert, list(), p, 'x') add(table.remove, list(), p) add(table.remove, {}, p)\n"
    "  for q = -1, 6 do\n"
    "    add(table.concat, list(), '-', p, q) add(table.unpack, list(), p, q)\n"
    "    for d = -1, 6, 2 do add(table.move, list(), p, q, d) add(table.move, list(), p, q, d, { 'a', 'b' }) "
    "end\n"
    "  end\n"
    "end\n"
    "add(table.insert, list(), 'x') add(table.insert, list()) add(table.insert, list(), 1, 2, 3) "
    "add(table.insert, 5, 1)\n"
    "add(table.remove, list()) add(table.remove, {}) add(table.remove, list(), nil) add(table.remove, nil)\n"
    "add(table.concat, { 1, {}, 3 }) add(table.concat, {}) add(table.concat, { 1, 2.5, 'x' }, ', ')\n"
    "add(table.pack, 1, nil, 3) add(table.pack) add(table.unpack, {}, 1, 1e8) add(table.unpack, {}, "
    "math.mininteger, math.maxinteger)\n"
    "add(table.move, list(), 1, math.maxinteger, 2) add(table.move, list(), math.mininteger, 1, 2)\n"
    "add(table.sort, { 3, 1, 2 }) add(table.sort, { 'b', 'a' }, function(a, b) return a > b end) "
    "add(table.sort, { 1, 'x' })\n"
    "add(table.sort, { 2, 1 }, 5) add(table.sort, {}) add(table.sort, { 1 }) add(table.sort, nil)\n"
    "local many = {} for i = 1, 500 do many[i] = (i * 7919) % 1009 end add(table.sort, many)\n"
    "local proxy = setmetatable({}, { __len = function() return 3 end, __index = function(_, i) return i * 2 "
    "end })\n"
    "add(table.concat, proxy, '-') add(table.unpack, proxy)\n";

static char *theirs(void)
{
	lua_State *L = luaL_newstate();
	luaL_openlibs(L);
	struct buf text = { 0 };
	buf_append_lit(&text, "return (function() ");
	buf_append_str(&text, str_from(harness));
	buf_append_lit(&text, " return table.concat(out, '\\n') end)()");
	assert_int_equal(luaL_loadbuffer(L, text.p, text.n, "harness"), LUA_OK);
	assert_int_equal(lua_pcall(L, 0, 1, 0), LUA_OK);
	char *result = strdup(lua_tostring(L, -1));
	lua_close(L);
	buf_finish(&text);
	return result;
}

static void table_functions_are_luas(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct buf source = { 0 };
	struct script_outcome out;
	buf_printf(&source,
		   FIXTURE_HEAD
		   "fabra.context { name = 'c', build = function()\n%s return table.concat(out, '\\n') end }",
		   harness);
	buf_append_char(&source, '\0');
	fixture_start(&f, source.p, NULL);
	struct script_call *call = fixture_begin(&f, SCRIPT_BUILD, "{}");
	if (fixture_go(&f, call, &out) != SCRIPT_DONE)
		fail_msg("%.*s", STR_ARG(out.error));
	char *expected = theirs();
	const char *ours = out.items[0].content.p;
	size_t same = 0;
	while (ours[same] && ours[same] == expected[same])
		same++;
	if (ours[same] != expected[same])
		fail_msg("differs at %zu: ours '%.200s', Lua's '%.200s'", same, ours + (same > 60 ? same - 60 : 0),
			 expected + (same > 60 ? same - 60 : 0));
	free(expected);
	script_end(call);
	fixture_stop(&f);
	buf_finish(&source);
}

static void sort_is_stable_and_calm(void **state)
{
	(void)state;
	assert_string_equal(fixture_eval("local t = {} for i = 1, 100 do t[i] = { k = i % 3, i = i } end\n"
					 "table.sort(t, function(a, b) return a.k < b.k end)\n"
					 "for i = 2, 100 do if t[i - 1].k == t[i].k and t[i - 1].i > t[i].i "
					 "then return false end end\n"
					 "return true"),
			    "true");
	assert_string_equal(fixture_eval("local t = { 3, 1, 2 } table.sort(t, function() return true end) return #t"),
			    "3");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(table_functions_are_luas),
					    cmocka_unit_test(sort_is_stable_and_calm) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
