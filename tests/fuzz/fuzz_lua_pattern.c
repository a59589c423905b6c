/* find, match, gmatch, gsub and rep of the script state against Lua's own library: the same input must give
 * the same values or the same error. A match that is stopped for its work is not compared. */
#include "actors/script/script_state.h"
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

/* Gives everything a call returns as one text. */
static const char harness[] =
    "local s, p, r, n = ...\n"
    "local function show(...)\n"
    "  local t = { ... }\n"
    "  for i = 1, select('#', ...) do t[i] = math.type(t[i]) == 'integer' and 'i' .. t[i] or type(t[i]) .. tostring(t[i]) end\n"
    "  return table.concat(t, '|')\n"
    "end\n"
    "local function try(f, ...) return show(pcall(f, ...)) end\n"
    "local out = {}\n"
    "local function add(name, f, ...) out[#out + 1] = name .. ':' .. try(f, ...) end\n"
    "add('find', string.find, s, p) add('find', string.find, s, p, n) add('plain', string.find, s, p, n, true)\n"
    "add('match', string.match, s, p) add('match', string.match, s, p, n)\n"
    "add('gsub', string.gsub, s, p, r) add('gsub', string.gsub, s, p, r, n)\n"
    "add('gsub', string.gsub, s, p, function(a, b) return b or a end)\n"
    "add('gsub', string.gsub, s, p, function(a) return a == r end)\n"
    "add('gsub', string.gsub, s, p, { [r] = 'x', a = 1, b = false })\n"
    "add('gmatch', function() local t = {} for a, b in string.gmatch(s, p, n) do t[#t + 1] = show(a, b)\n"
    "  if #t > 50 then break end end return table.concat(t, ',') end)\n"
    "add('rep', function() return string.rep(s, n % 20, r) end)\n"
    "return table.concat(out, '\\n')\n";

static struct script *ours;
static lua_State *theirs;
static int our_ref, their_ref;

static void start(void)
{
	struct buf why = { 0 };
	struct script_limits limits = { .instructions_max = 2000000 };
	ours = script_state_create(&limits, false, NULL, &why);
	theirs = luaL_newstate();
	if (ours == NULL || theirs == NULL)
		abort();
	luaL_openlibs(theirs);
	if (luaL_loadstring(ours->L, harness) != LUA_OK || luaL_loadstring(theirs, harness) != LUA_OK)
		abort();
	our_ref = luaL_ref(ours->L, LUA_REGISTRYINDEX);
	their_ref = luaL_ref(theirs, LUA_REGISTRYINDEX);
}

static int run(lua_State *L, int ref, const struct str *parts, int position)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
	for (int i = 0; i < 3; i++)
		lua_pushlstring(L, parts[i].p, parts[i].n);
	lua_pushinteger(L, position);
	return lua_pcall(L, 4, 1, 0);
}

/* The first byte is a position, the rest is text, pattern and replacement, with a newline between. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > 200)
		return 0;
	if (ours == NULL)
		start();
	struct str rest = str_of((const char *)data + 1, size - 1), parts[3] = { 0 };
	for (int i = 0; i < 3; i++) {
		const char *line = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
		size_t n = line && i < 2 ? (size_t)(line - rest.p) : rest.n;
		parts[i] = str_of(n ? rest.p : "", n);
		rest = str_skip(rest, n + (line != NULL));
	}
	struct script_meter m = { .max = ours->limits.instructions_max,
				  .slice_max = UINT64_MAX,
				  .unsliced_max = UINT64_MAX };
	script_meter_start(ours, &m, ours->L);
	int our_status = run(ours->L, our_ref, parts, (int8_t)data[0]);
	script_meter_end(ours);
	if (m.stop == STOP_NONE) {
		int their_status = run(theirs, their_ref, parts, (int8_t)data[0]);
		const char *a = lua_tostring(ours->L, -1), *b = lua_tostring(theirs, -1);
		if (our_status != their_status || a == NULL || b == NULL || strcmp(a, b) != 0) {
			fprintf(stderr, "ours:\n%s\ntheirs:\n%s\n", a ? a : "?", b ? b : "?");
			abort();
		}
		lua_settop(theirs, 0);
	}
	lua_settop(ours->L, 0);
	return 0;
}
