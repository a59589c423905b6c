/* fabra.item, and turning what a function returned into the outcome of its call. */
#include "actors/definitions/definitions_near.h"
#include "actors/script/script_state.h"
#include "runtime/check.h"
#include "store/text/timefmt.h"
#include <math.h>

enum { ITEMS_MAX = 10000 };

static const char *const item_keys[] = { "content", "priority", "required", "source_id", "last_updated", NULL };

static _Noreturn void unknown_item_key(lua_State *L, struct str key)
{
	const char *near = definitions_near(item_keys, key);
	if (near)
		luaL_error(L, "fabra.item: unknown key '%s' (did you mean '%s'?)", key.p, near);
	luaL_error(L, "fabra.item: unknown key '%s' (known: content, priority, required, source_id, last_updated)",
		   key.p);
	UNREACHABLE();
}

/* The value is on top of the stack, in all of these. */
static struct str item_text(lua_State *L, const char *key)
{
	struct str text = { 0 };
	if (lua_type(L, -1) != LUA_TSTRING)
		luaL_error(L, "fabra.item: %s: a string is needed, got %s%s", key, luaL_typename(L, -1),
			   lua_istable(L, -1) ? "" : " (use tostring)");
	text.p = lua_tolstring(L, -1, &text.n);
	if (!json_utf8_valid(text))
		luaL_error(L, "fabra.item: %s is not valid UTF-8", key);
	return text;
}

static int64_t item_priority(lua_State *L)
{
	int is_integer = 0;
	int64_t priority = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : 0;
	if (!is_integer || priority < INT32_MIN || priority > INT32_MAX)
		luaL_error(L, "fabra.item: priority: an integer from %d to %d is needed (lower is more important)",
			   INT32_MIN, INT32_MAX);
	return priority;
}

static int64_t item_time(lua_State *L)
{
	const double year_10000_s = 253402300800.0;
	int64_t us = INT64_MIN;
	if (lua_type(L, -1) == LUA_TNUMBER && fabs(lua_tonumber(L, -1)) < year_10000_s)
		return (int64_t)llround(lua_tonumber(L, -1) * 1e6);
	struct str text = { 0 };
	if (lua_type(L, -1) == LUA_TSTRING)
		text.p = lua_tolstring(L, -1, &text.n);
	if (text.p == NULL || !time_parse(text, &us))
		luaL_error(L, "fabra.item: last_updated: an ISO 8601 time or unix seconds are needed");
	return us;
}

static void read_item_field(lua_State *L, struct str key, struct script_item *item)
{
	if (str_eq(key, STR("content"))) {
		item->content = item_text(L, "content");
	} else if (str_eq(key, STR("priority"))) {
		item->priority = item_priority(L);
	} else if (str_eq(key, STR("required"))) {
		if (!lua_isboolean(L, -1))
			luaL_error(L, "fabra.item: required: true or false is needed, got %s", luaL_typename(L, -1));
		item->required = lua_toboolean(L, -1);
	} else if (str_eq(key, STR("source_id"))) {
		item->source_id = item_text(L, "source_id");
	} else if (str_eq(key, STR("last_updated"))) {
		item->last_updated_us = item_time(L);
	} else {
		unknown_item_key(L, key);
	}
}

/* The texts stay in the table. Raises an error that names the field. */
static struct script_item read_item(lua_State *L, int index)
{
	struct script_item item = { .last_updated_us = INT64_MIN };
	lua_pushnil(L);
	while (lua_next(L, index)) {
		struct str key;
		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_error(L, "fabra.item: fields have names; did you mean fabra.item { content = ... }?");
		key.p = lua_tolstring(L, -2, &key.n);
		read_item_field(L, key, &item);
		lua_pop(L, 1);
	}
	if (item.content.p == NULL)
		luaL_error(L, "fabra.item: content: a string is needed, got nil");
	return item;
}

static int fabra_item(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (lua_getmetatable(L, 1))
		return luaL_argerror(L, 1, "a plain table is needed");
	read_item(L, 1);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_ITEM_META);
	lua_setmetatable(L, 1);
	return 1;
}

void script_item_open(lua_State *L)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_ITEM_META);
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	lua_pushliteral(L, "item");
	lua_setfield(L, -2, "__name");
	lua_pop(L, 1);
	lua_pushcfunction(L, fabra_item);
	lua_setfield(L, -2, "item");
}

static bool is_item(lua_State *L, int index)
{
	if (!lua_getmetatable(L, index))
		return false;
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_ITEM_META);
	bool same = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return same;
}

/* The item may have been changed since it was made: it is read again. */
static void keep_item(lua_State *L, struct script_call *call, int index)
{
	struct script_item item = read_item(L, index);
	item.content = arena_dup(&call->arena, item.content);
	if (item.source_id.p)
		item.source_id = arena_dup(&call->arena, item.source_id);
	if (item.content.p == NULL)
		luaL_error(L, "the items are too large together");
	call->outcome.items[call->outcome.items_count++] = item;
}

static void make_room(lua_State *L, struct script_call *call, size_t count)
{
	call->outcome.items = arena_alloc(&call->arena, (count ? count : 1) * sizeof *call->outcome.items);
	if (call->outcome.items == NULL)
		luaL_error(L, "out of memory");
}

#define BUILD_RULE "build returns a list of fabra.item{...}, one item or a string; "

static void take_item_list(lua_State *L, struct script_call *call)
{
	int list = lua_gettop(L);
	lua_Unsigned count = lua_rawlen(L, list);
	lua_Unsigned fields = 0;
	if (count > ITEMS_MAX)
		luaL_error(L, "build returned %I items; at most %d are taken", (LUAI_UACINT)count, ITEMS_MAX);
	make_room(L, call, count);
	for (lua_pushnil(L); lua_next(L, list); lua_pop(L, 1))
		if (++fields > count)
			luaL_error(L, BUILD_RULE "this table has other fields or holes");
	for (lua_Unsigned i = 1; i <= count; i++) {
		lua_rawgeti(L, list, (lua_Integer)i);
		if (!is_item(L, lua_gettop(L)))
			luaL_error(L, BUILD_RULE "entry %I is a %s", (LUAI_UACINT)i,
				   lua_istable(L, -1) ? "table that fabra.item did not make" : luaL_typename(L, -1));
		keep_item(L, call, lua_gettop(L));
		lua_pop(L, 1);
	}
	call->outcome.is_list = true;
}

static void take_build(lua_State *L, struct script_call *call)
{
	int top = lua_gettop(L);
	if (lua_type(L, top) == LUA_TSTRING) {
		struct script_item item = { .last_updated_us = INT64_MIN };
		item.content.p = lua_tolstring(L, top, &item.content.n);
		if (!json_utf8_valid(item.content))
			luaL_error(L, "the string that build returned is not valid UTF-8");
		make_room(L, call, 1);
		item.content = arena_dup(&call->arena, item.content);
		if (item.content.p == NULL)
			luaL_error(L, "the string that build returned is too large");
		call->outcome.items[call->outcome.items_count++] = item;
		call->outcome.is_string = true;
	} else if (is_item(L, top)) {
		make_room(L, call, 1);
		keep_item(L, call, top);
	} else if (lua_istable(L, top)) {
		take_item_list(L, call);
	} else {
		luaL_error(L, BUILD_RULE "it returned %s", lua_isnil(L, top) ? "nothing" : luaL_typename(L, top));
	}
}

static void write_or_raise(lua_State *L, int index, lua_Unsigned entry)
{
	if (script_json_write(L, index))
		return;
	if (entry)
		luaL_error(L, "entry %I of the result: %s", (LUAI_UACINT)entry, lua_tostring(L, -1));
	luaL_error(L, "the result is not a JSON value: %s", lua_tostring(L, -1));
}

#define RUN_RULE "run returns a list of strings or of tables { content = ... }; "

static void take_chunk(lua_State *L, lua_Unsigned entry)
{
	struct buf *out = &script_of(L)->text;
	int at = lua_gettop(L);
	if (lua_type(L, at) == LUA_TSTRING) {
		buf_append_lit(out, "{\"content\":");
		write_or_raise(L, at, entry);
		buf_append_char(out, '}');
		return;
	}
	if (!lua_istable(L, at))
		luaL_error(L, RUN_RULE "entry %I is a %s", (LUAI_UACINT)entry, luaL_typename(L, at));
	lua_pushliteral(L, "content");
	if (lua_rawget(L, at) != LUA_TSTRING)
		luaL_error(L, RUN_RULE "entry %I has no content (a string)", (LUAI_UACINT)entry);
	lua_pop(L, 1);
	write_or_raise(L, at, entry);
}

static void take_retrieved(lua_State *L, struct script_call *call)
{
	struct buf *out = &call->s->text;
	int list = lua_gettop(L);
	if (!lua_istable(L, list))
		luaL_error(L, RUN_RULE "it returned %s",
			   lua_isnil(L, list) ? "nothing (return {} for no result)" : luaL_typename(L, list));
	lua_Unsigned count = lua_rawlen(L, list), fields = 0;
	if (count > ITEMS_MAX)
		luaL_error(L, "run returned %I results; at most %d are taken", (LUAI_UACINT)count, ITEMS_MAX);
	for (lua_pushnil(L); lua_next(L, list); lua_pop(L, 1))
		if (++fields > count)
			luaL_error(L, RUN_RULE "this table has named fields or holes");
	buf_append_char(out, '[');
	for (lua_Unsigned i = 1; i <= count; i++) {
		if (i > 1)
			buf_append_char(out, ',');
		lua_rawgeti(L, list, (lua_Integer)i);
		take_chunk(L, i);
		lua_pop(L, 1);
	}
	buf_append_char(out, ']');
}

static void check_dtype(lua_State *L, enum def_dtype dtype, struct str json)
{
	if (!def_dtype_fits(dtype, json))
		luaL_error(L, "the result is not of dtype %s: it is a %s", def_dtype_name(dtype), luaL_typename(L, -1));
}

void script_result_take(lua_State *L, struct script_call *call)
{
	struct script *s = call->s;
	buf_clear(&s->text);
	switch (call->function) {
	case SCRIPT_BUILD:
		take_build(L, call);
		return;
	case SCRIPT_RETRIEVE:
		take_retrieved(L, call);
		break;
	case SCRIPT_COMPUTE:
		if (lua_isnil(L, -1))
			return; /* no value */
		write_or_raise(L, -1, 0);
		check_dtype(L, s->d->features[call->index].dtype, buf_str(&s->text));
		break;
	}
	if (s->text.failed)
		luaL_error(L, "the result is too large");
	buf_clear(&call->value);
	buf_append_str(&call->value, buf_str(&s->text));
	if (call->value.failed)
		luaL_error(L, "out of memory");
	call->outcome.value_json = buf_str(&call->value);
}
