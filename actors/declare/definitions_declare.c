/* fabra.entity, feature, table, retriever, context: notes what is declared and where, and keeps the errors.
 */
#include "actors/declare/definitions_private.h"
#include "runtime/check.h"
#include <stdlib.h>

static const char *const kind_names[DECLARE_KINDS] = { "entity", "feature", "table", "retriever", "context" };

void definitions_declare_error(struct declare *declare, int line, const char *format, ...)
{
	if (declare->errors_count == DECLARE_ERRORS_MAX) {
		declare->errors_left_out++;
		return;
	}
	va_list args;
	va_start(args, format);
	char *text = NULL;
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	declare->errors[declare->errors_count++] = (struct declare_error){ line, text };
}

static int compare_errors(const void *a, const void *b)
{
	int x = ((const struct declare_error *)a)->line, y = ((const struct declare_error *)b)->line;
	return (x > y) - (x < y);
}

void definitions_declare_write_errors(struct declare *declare, struct buf *out)
{
	qsort(declare->errors, declare->errors_count, sizeof declare->errors[0], compare_errors);
	for (uint32_t i = 0; i < declare->errors_count; i++)
		buf_printf(out, "%s%.*s:%d: %s", i ? "\n" : "", STR_ARG(declare->d->file), declare->errors[i].line,
			   declare->errors[i].text ? declare->errors[i].text : "out of memory");
	if (declare->errors_left_out)
		buf_printf(out, "\n%.*s: and %u more", STR_ARG(declare->d->file), declare->errors_left_out);
}

void definitions_declare_finish(struct declare *declare)
{
	for (uint32_t i = 0; i < declare->errors_count; i++)
		free(declare->errors[i].text);
	free(declare->list);
}

static int current_line(lua_State *L)
{
	lua_Debug ar;
	for (int level = 1; lua_getstack(L, level, &ar); level++) {
		lua_getinfo(L, "l", &ar);
		if (ar.currentline > 0)
			return ar.currentline;
	}
	return 0;
}

static struct declare *loading(lua_State *L, const char *what)
{
	struct declare *declare = script_of(L)->declare;
	if (declare == NULL)
		luaL_error(L,
			   "fabra.%s declares: it works only while the file is loaded, not inside a function that "
			   "answers a request",
			   what);
	return declare;
}

static void note(lua_State *L, struct declare *declare, enum declare_kind kind)
{
	if (declare->count == DECLARE_MAX)
		luaL_error(L, "more than %d declarations", DECLARE_MAX);
	if (declare->count == declare->cap) {
		uint32_t cap = declare->cap ? declare->cap * 2 : 64;
		struct declaration *list = realloc(declare->list, cap * sizeof *list);
		if (list == NULL)
			luaL_error(L, "out of memory");
		declare->list = list;
		declare->cap = cap;
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_DECLARED);
	lua_pushvalue(L, 1);
	lua_rawseti(L, -2, (lua_Integer)declare->count + 1);
	lua_pop(L, 1);
	declare->list[declare->count] = (struct declaration){ .kind = kind,
							      .line = current_line(L),
							      .position = declare->count + 1 };
	declare->count++;
}

static int push_handle(lua_State *L, int kind, struct str name)
{
	struct script_handle *handle = lua_newuserdatauv(L, sizeof *handle + name.n + 1, 0);
	char *copy = (char *)(handle + 1);
	if (name.n)
		memcpy(copy, name.p, name.n);
	copy[name.n] = '\0';
	*handle = (struct script_handle){ kind, { copy, name.n } };
	luaL_setmetatable(L, SCRIPT_HANDLE);
	return 1;
}

static int declare_any(lua_State *L)
{
	enum declare_kind kind = (enum declare_kind)lua_tointeger(L, lua_upvalueindex(1));
	struct declare *declare = loading(L, kind_names[kind]);
	struct str name = { 0 };
	if (lua_gettop(L) != 1 || !lua_istable(L, 1)) {
		definitions_declare_error(declare, current_line(L), "%s: one table is needed: fabra.%s { name = ... }",
					  kind_names[kind], kind_names[kind]);
		return push_handle(L, (int)kind, name);
	}
	note(L, declare, kind);
	lua_pushliteral(L, "name");
	if (lua_rawget(L, 1) == LUA_TSTRING)
		name.p = lua_tolstring(L, -1, &name.n);
	return push_handle(L, (int)kind, name);
}

static int declare_index(lua_State *L)
{
	struct declare *declare = loading(L, "index");
	definitions_declare_error(
	    declare, current_line(L),
	    "index: fabra.index is not available yet: documents cannot be indexed by this version "
	    "(use a retriever with run = function(args) ... end)");
	return push_handle(L, DECLARE_KINDS, (struct str){ 0 });
}

void definitions_declare_open(lua_State *L)
{
	for (int kind = 0; kind < DECLARE_KINDS; kind++) {
		lua_pushinteger(L, kind);
		lua_pushcclosure(L, declare_any, 1);
		lua_setfield(L, -2, kind_names[kind]);
	}
	lua_pushcfunction(L, declare_index);
	lua_setfield(L, -2, "index");
	luaL_newmetatable(L, SCRIPT_HANDLE);
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}
