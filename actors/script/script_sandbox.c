/* What a definitions file can reach. Everything that touches the machine, that could hide a stop or that
 * could change the state for other calls is absent, wrapped or read-only.
 *
 * _G itself stays empty: reads fall back on a table that no code can reach, so that writing can be refused.
 */
#include "actors/definitions/definitions_near.h"
#include "actors/script/script_state.h"
#include "runtime/check.h"
#include <lualib.h>
#include <stdlib.h>

/* Raised for a write to a frozen table; upvalue 1 is its name. Its address also marks frozen tables. */
static int refuse_write(lua_State *L)
{
	const char *table = lua_tostring(L, lua_upvalueindex(1));
	lua_settop(L, 2);
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
	if (table == NULL)
		return luaL_error(L,
				  "assignment to global '%s': globals are read-only once the file has loaded, because "
				  "each loop has a Lua state of its own (use a local, or keep the value in a feature)",
				  key);
	return luaL_error(L, "'%s.%s' cannot be set: library tables are read-only", table, key);
}

static bool is_frozen(lua_State *L, int index)
{
	if (!lua_getmetatable(L, index))
		return false;
	lua_pushliteral(L, "__newindex");
	lua_rawget(L, -2);
	bool frozen = lua_tocfunction(L, -1) == refuse_write;
	lua_pop(L, 2);
	return frozen;
}

/* Stack: table. Gives it a metatable that reads from the table at index `from` and refuses writes. */
static void freeze_onto(lua_State *L, int from, const char *name)
{
	from = lua_absindex(L, from);
	lua_createtable(L, 0, 3);
	lua_pushvalue(L, from);
	lua_setfield(L, -2, "__index");
	lua_pushstring(L, name);
	lua_pushcclosure(L, refuse_write, 1);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

void script_sandbox_proxy(lua_State *L, const char *name)
{
	lua_createtable(L, 0, 0);
	freeze_onto(L, -2, name);
	lua_remove(L, -2);
}

static int safe_rawset(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checkany(L, 2);
	luaL_checkany(L, 3);
	lua_settop(L, 3);
	if (is_frozen(L, 1))
		return luaL_error(L, "rawset: this table is read-only");
	lua_rawset(L, 1);
	return 1;
}

/* Lua runs finalizers with hooks off: nothing could stop one. */
static int safe_setmetatable(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_argexpected(L, lua_isnoneornil(L, 2) || lua_istable(L, 2), 2, "nil or table");
	lua_settop(L, 2);
	if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
		return luaL_error(L, "cannot change a protected metatable");
	if (lua_istable(L, 2)) {
		lua_pushliteral(L, "__gc");
		if (lua_rawget(L, 2) != LUA_TNIL)
			return luaL_error(L, "setmetatable: finalizers (__gc) are not available in a definitions file");
		lua_pop(L, 1);
	}
	lua_setmetatable(L, 1);
	return 1;
}

/* Text only: crafted bytecode can break the interpreter. A reader function would run outside of the limits of
 * yields. */
static int safe_load(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TSTRING)
		return luaL_argerror(L, 1, "load takes the text of a chunk here");
	size_t n;
	const char *text = lua_tolstring(L, 1, &n);
	const char *name = luaL_optstring(L, 2, text);
	if (strchr(luaL_optstring(L, 3, "t"), 't') == NULL)
		return luaL_argerror(L, 3, "only text chunks (\"t\") can be loaded");
	script_charge(L, 8 * (uint64_t)n);
	bool has_env = !lua_isnone(L, 4);
	if (luaL_loadbufferx(L, text, n, name, "t") != LUA_OK) {
		lua_pushnil(L);
		lua_insert(L, -2);
		return 2;
	}
	if (has_env) {
		lua_pushvalue(L, 4);
		if (lua_setupvalue(L, -2, 1) == NULL)
			lua_pop(L, 1);
	}
	return 1;
}

static int safe_collectgarbage(lua_State *L)
{
	static const char *const options[] = { "count", "collect", "step", NULL };
	if (luaL_checkoption(L, 1, "collect", options) == 0) {
		lua_pushnumber(L, (lua_Number)script_of(L)->memory_bytes / 1024);
		return 1;
	}
	lua_pushinteger(L, 0); /* the host collects; a script has nothing to steer */
	return 1;
}

static int safe_require(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	if (strcmp(name, "fabra") != 0)
		return luaL_error(L,
				  "require '%s': only \"fabra\" can be required; a definitions file loads no modules",
				  name);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_FABRA);
	return 1;
}

/* xpcall. Lua's own runs the handler at the place of the error; when that is the hook, it would run with
 * hooks off and nothing could stop it. Here the handler runs after unwinding, as an ordinary protected call.
 * Stack: the handler, then what the call left. */
static int handled(lua_State *L, int status, lua_KContext ctx)
{
	(void)status; /* an error of the handler takes the place of its result */
	(void)ctx;
	lua_pushboolean(L, false);
	lua_replace(L, 1);
	return lua_gettop(L);
}

static int after_xpcall(lua_State *L, int status, lua_KContext ctx)
{
	(void)ctx;
	if (status == LUA_OK || status == LUA_YIELD) {
		lua_pushboolean(L, true);
		lua_replace(L, 1);
		return lua_gettop(L);
	}
	lua_pushvalue(L, 1);
	lua_insert(L, -2);
	return handled(L, lua_pcallk(L, 1, LUA_MULTRET, 0, 0, handled), 0);
}

static int safe_xpcall(lua_State *L)
{
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_pushvalue(L, 1);
	lua_copy(L, 2, 1);
	lua_replace(L, 2); /* handler, function, arguments */
	return after_xpcall(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, after_xpcall), 0);
}

/* Formats the time; strftime's work grows with the format, so that is bounded. */
static int safe_date(lua_State *L)
{
	size_t n;
	luaL_optlstring(L, 1, "", &n);
	luaL_argcheck(L, n <= 256, 1, "a date format has at most 256 bytes");
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, 1);
	return 1;
}

/* The nearest of what the file could have meant; "" when nothing is near. Names of other languages first: Python's None is
 * not near to nil by its letters. */
static void push_near_global(lua_State *L, int builtins, struct str name)
{
	static const char *const words[] = { "true", "false", "nil", NULL };
	static const char *const others[] = { "None", "null", "NULL", "undefined", NULL };
	const char *best = definitions_near_known(others, name) ? "nil" : definitions_near(words, name);
	unsigned best_distance = best ? definitions_distance(str_from(best), name) : NEAR_FAR;
	lua_pushstring(L, best ? best : "");
	if (str_eq(name, STR("fabra"))) {
		lua_pushliteral(L, "local fabra = require \"fabra\"");
		lua_replace(L, -2);
		return;
	}
	lua_pushglobaltable(L);
	int tables[] = { builtins, lua_absindex(L, -1) }; /* what Lua has, and what the file has set so far */
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		lua_pushnil(L);
		while (lua_next(L, tables[i])) {
			lua_pop(L, 1);
			size_t n;
			const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
			unsigned distance = key ? definitions_distance((struct str){ key, n }, name) : NEAR_FAR;
			if (distance < best_distance) {
				best_distance = distance;
				lua_pushvalue(L, -1);
				lua_replace(L, tables[1] - 1);
			}
		}
	}
	lua_pop(L, 1);
}

/* Under --unsafe-lua, modules ask for names that only other versions of Lua have; only the file itself is held to its own. */
static bool is_read_by_file(lua_State *L)
{
	lua_Debug where;
	return !script_of(L)->unsafe_lua || (lua_getstack(L, 1, &where) && lua_getinfo(L, "S", &where) &&
					     strcmp(where.source, script_of(L)->loading) == 0);
}

/* A global that nobody has set. What is absent on purpose says so. While the file loads, a name that is not there is a
 * mistake that would make an option vanish (`materialize = True`); later it is nil as always, since a request must not
 * fail for a test such as `if cache then`. Stack: builtins, name. */
static int undefined_global(lua_State *L)
{
	static const char *const names[] = { "io", "debug", "coroutine", "package", "dofile", "loadfile", NULL };
	lua_settop(L, 2);
	if (lua_type(L, 2) == LUA_TSTRING) {
		const char *key = lua_tostring(L, 2);
		if (!script_of(L)->unsafe_lua && definitions_near_known(names, str_from(key)))
			return luaL_error(L,
					  "'%s' is not available in a definitions file "
					  "(fabra serve --unsafe-lua allows it)",
					  key);
		if (script_of(L)->loading && is_read_by_file(L)) {
			push_near_global(L, 1, str_from(key));
			const char *near = lua_tostring(L, -1);
			if (*near)
				return luaL_error(L, "undefined global '%s' (did you mean '%s'?)", key, near);
			return luaL_error(L, "undefined global '%s'", key);
		}
	}
	lua_pushnil(L);
	return 1;
}

/* Stack: builtins. */
static void watch_undefined(lua_State *L)
{
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, undefined_global);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
}

/* Stack: builtins. Copies fields of the table on top of it, then drops that table. */
static void copy_fields(lua_State *L, const char *const *names)
{
	for (; *names; names++) {
		lua_getfield(L, -1, *names);
		lua_setfield(L, -3, *names);
	}
	lua_pop(L, 1);
}

static void open_os(lua_State *L)
{
	static const char *const names[] = { "time", "clock", "difftime", NULL };
	lua_createtable(L, 0, 4);
	luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 0);
	lua_getfield(L, -1, "date");
	lua_pushcclosure(L, safe_date, 1);
	lua_setfield(L, -3, "date");
	copy_fields(L, names);
	script_sandbox_proxy(L, LUA_OSLIBNAME);
	lua_setfield(L, -2, LUA_OSLIBNAME);
}

static void open_library(lua_State *L, const char *name, lua_CFunction open, void (*change)(lua_State *))
{
	luaL_requiref(L, name, open, 0);
	if (change)
		change(L);
	script_sandbox_proxy(L, name);
	lua_setfield(L, -2, name);
}

static void open_base(lua_State *L)
{
	static const char *const names[] = { "assert",   "error",    "getmetatable", "ipairs", "next",   "pairs",
					     "pcall",    "rawequal", "rawget",       "rawlen", "select", "tonumber",
					     "tostring", "type",     "_VERSION",     NULL };
	static const luaL_Reg own[] = { { "rawset", safe_rawset },     { "setmetatable", safe_setmetatable },
					{ "load", safe_load },         { "collectgarbage", safe_collectgarbage },
					{ "require", safe_require },   { "xpcall", safe_xpcall },
					{ "print", script_ask_print }, { NULL, NULL } };
	luaL_requiref(L, LUA_GNAME, luaopen_base, 0);
	copy_fields(L, names);
	luaL_setfuncs(L, own, 0);
	open_library(L, LUA_STRLIBNAME, luaopen_string, script_string_open);
	open_library(L, LUA_TABLIBNAME, luaopen_table, script_table_open);
	open_library(L, LUA_MATHLIBNAME, luaopen_math, NULL);
	open_library(L, LUA_UTF8LIBNAME, luaopen_utf8, NULL);
	open_os(L);
}

/* --unsafe-lua: everything Lua has, the bounded string functions, and no promise. */
static void open_unsafe(lua_State *L)
{
	luaL_openlibs(L);
	lua_getglobal(L, LUA_STRLIBNAME);
	script_string_open(L);
	lua_pop(L, 1);
	lua_pushglobaltable(L);
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_settable(L, -5);
	}
	lua_pop(L, 1);
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "loaded");
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_FABRA);
	lua_setfield(L, -2, "fabra");
	lua_pop(L, 2);
}

static int unknown_in_fabra(lua_State *L)
{
	static const char *const names[] = { "entity", "feature",       "table",    "retriever", "context",
					     "item",   "feature_value", "features", "retrieve",  "sql",
					     "await",  "all",           "try",      "log",       "now",
					     "null",   "array",         "object",   "json",      NULL };
	const char *key = luaL_tolstring(L, 2, NULL);
	const char *near = definitions_near(names, str_from(key));
	if (strcmp(key, "http") == 0)
		return luaL_error(L, "fabra.http is not available yet");
	if (near)
		return luaL_error(L, "there is no fabra.%s (did you mean '%s'?)", key, near);
	return luaL_error(L, "there is no fabra.%s", key);
}

static void open_fabra(lua_State *L)
{
	lua_createtable(L, 0, 24);
	if (script_of(L)->open_declare)
		script_of(L)->open_declare(L);
	script_ask_open(L);
	script_item_open(L);
	script_json_open(L);
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, unknown_in_fabra);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	script_sandbox_proxy(L, "fabra");
	lua_rawseti(L, LUA_REGISTRYINDEX, SLOT_FABRA);
}

void script_sandbox_open(lua_State *L)
{
	for (int slot = SLOT_FUNCTIONS; slot <= SLOT_LAST; slot++) {
		lua_createtable(L, 0, 0);
		lua_rawseti(L, LUA_REGISTRYINDEX, slot);
	}
	open_fabra(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_BUILTINS);
	if (script_of(L)->unsafe_lua)
		open_unsafe(L);
	else
		open_base(L);
	watch_undefined(L);
	/* A fresh table of globals: the one that the libraries filled is out of reach. */
	lua_createtable(L, 0, 0);
	lua_createtable(L, 0, 2);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -1);
	lua_setfield(L, -3, LUA_GNAME);
	lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
	lua_pop(L, 1);
	/* A string's metatable is shared by all strings of the state. */
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 2);
}

void script_sandbox_freeze(lua_State *L)
{
	lua_pushglobaltable(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_BUILTINS);
	lua_pushnil(L);
	while (lua_next(L, -3)) {
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, -5); /* into the builtins */
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_pushnil(L);
		lua_rawset(L, -5); /* clearing a field is allowed while walking */
	}
	lua_pushvalue(L, -2);
	freeze_onto(L, -2, NULL);
	lua_pop(L, 3);
}
