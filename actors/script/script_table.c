/* The table functions. Lua's own run loops whose length a script chooses (a __len of 2^62, a range of a
 * billion); these charge for every element. sort is a merge sort on a copy: stable, and at ease with any
 * comparison function. */
#include "actors/script/script_state.h"
#include <limits.h>

enum { UNITS_PER_ELEMENT = 4, CHARGE_EVERY = 1024 };

/* For loops: charges for a batch of elements before it is touched. */
static void charge_loop(lua_State *L, lua_Integer i)
{
	if ((i & (CHARGE_EVERY - 1)) == 0)
		script_charge(L, CHARGE_EVERY * UNITS_PER_ELEMENT);
}

static void check_table(lua_State *L, int arg)
{
	if (lua_type(L, arg) == LUA_TTABLE)
		return;
	if (luaL_getmetafield(L, arg, "__index") == LUA_TNIL)
		luaL_checktype(L, arg, LUA_TTABLE);
	lua_pop(L, 1);
}

/* Moves t[from..last] by one place up; from above, so that nothing is lost. */
static void shift_up(lua_State *L, lua_Integer from, lua_Integer last)
{
	for (lua_Integer i = last; i >= from; i--) {
		charge_loop(L, last - i);
		lua_geti(L, 1, i);
		lua_seti(L, 1, i + 1);
	}
}

static int table_insert(lua_State *L)
{
	check_table(L, 1);
	int count = lua_gettop(L);
	lua_Integer last = luaL_len(L, 1), place = (lua_Integer)((lua_Unsigned)last + 1);
	if (count == 3) {
		place = luaL_checkinteger(L, 2);
		luaL_argcheck(L, (lua_Unsigned)place - 1u < (lua_Unsigned)last + 1u, 2, "position out of bounds");
		shift_up(L, place, last);
	} else if (count != 2) {
		return luaL_error(L, "wrong number of arguments to 'insert'");
	}
	lua_pushvalue(L, count);
	lua_seti(L, 1, place);
	return 0;
}

static int table_remove(lua_State *L)
{
	check_table(L, 1);
	lua_Integer last = luaL_len(L, 1), place = luaL_optinteger(L, 2, last);
	if (place != last)
		luaL_argcheck(L, (lua_Unsigned)place - 1u <= (lua_Unsigned)last, 2, "position out of bounds");
	lua_geti(L, 1, place);
	for (; place < last; place++) {
		charge_loop(L, last - place);
		lua_geti(L, 1, place + 1);
		lua_seti(L, 1, place);
	}
	lua_pushnil(L);
	lua_seti(L, 1, place);
	return 1;
}

static int table_move(lua_State *L)
{
	lua_Integer from = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3), to = luaL_checkinteger(L, 4);
	int target = lua_isnoneornil(L, 5) ? 1 : 5;
	check_table(L, 1);
	check_table(L, target);
	if (last >= from) {
		luaL_argcheck(L, from > 0 || last < LUA_MAXINTEGER + from, 3, "too many elements to move");
		lua_Integer n = last - from + 1;
		luaL_argcheck(L, to <= LUA_MAXINTEGER - n + 1, 4, "destination wrap around");
		bool upwards = to > last || to <= from || (target != 1 && !lua_compare(L, 1, target, LUA_OPEQ));
		for (lua_Integer i = 0; i < n; i++) {
			lua_Integer at = upwards ? i : n - 1 - i;
			charge_loop(L, i);
			lua_geti(L, 1, from + at);
			lua_seti(L, target, to + at);
		}
	}
	lua_pushvalue(L, target);
	return 1;
}

static void add_element(lua_State *L, luaL_Buffer *out, lua_Integer i)
{
	lua_geti(L, 1, i);
	if (!lua_isstring(L, -1))
		luaL_error(L, "invalid value (%s) at index %I in table for 'concat'", luaL_typename(L, -1),
			   (LUAI_UACINT)i);
	luaL_addvalue(out);
}

static int table_concat(lua_State *L)
{
	check_table(L, 1);
	struct str between;
	between.p = luaL_optlstring(L, 2, "", &between.n);
	lua_Integer i = luaL_optinteger(L, 3, 1);
	lua_Integer last = lua_isnoneornil(L, 4) ? luaL_len(L, 1) : luaL_checkinteger(L, 4);
	luaL_Buffer out;
	luaL_buffinit(L, &out);
	for (; i < last; i++) {
		charge_loop(L, last - i);
		add_element(L, &out, i);
		luaL_addlstring(&out, between.p, between.n);
	}
	if (i == last)
		add_element(L, &out, i);
	luaL_pushresult(&out);
	return 1;
}

static int table_pack(lua_State *L)
{
	int count = lua_gettop(L);
	script_charge(L, (uint64_t)count);
	lua_createtable(L, count, 1);
	lua_insert(L, 1);
	for (int i = count; i >= 1; i--)
		lua_rawseti(L, 1, i);
	lua_pushinteger(L, count);
	lua_setfield(L, 1, "n");
	return 1;
}

static int table_unpack(lua_State *L)
{
	lua_Integer from = luaL_optinteger(L, 2, 1);
	lua_Integer last = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
	if (from > last)
		return 0;
	lua_Unsigned n = (lua_Unsigned)last - (lua_Unsigned)from;
	if (n >= (unsigned)INT_MAX || !lua_checkstack(L, (int)++n))
		return luaL_error(L, "too many results to unpack");
	script_charge(L, n);
	for (; from < last; from++)
		lua_geti(L, 1, from);
	lua_geti(L, 1, last);
	return (int)n;
}

/* Sorting: the elements are copied to a table (index 3), their places are sorted, then written back in order.
 */
static bool comes_before(lua_State *L, uint32_t a, uint32_t b)
{
	script_charge(L, UNITS_PER_ELEMENT);
	bool custom = !lua_isnil(L, 2);
	if (custom)
		lua_pushvalue(L, 2);
	lua_rawgeti(L, 3, a);
	lua_rawgeti(L, 3, b);
	bool before;
	if (custom) {
		lua_call(L, 2, 1);
		before = lua_toboolean(L, -1);
		lua_pop(L, 1);
	} else {
		before = lua_compare(L, -2, -1, LUA_OPLT);
		lua_pop(L, 2);
	}
	return before;
}

static void merge(lua_State *L, const uint32_t *from, uint32_t *to, uint32_t left, uint32_t middle, uint32_t end)
{
	uint32_t a = left, b = middle;
	for (uint32_t i = left; i < end; i++) {
		bool take_left = a < middle && (b >= end || !comes_before(L, from[b], from[a]));
		to[i] = take_left ? from[a++] : from[b++];
	}
}

static int table_sort(lua_State *L)
{
	check_table(L, 1);
	lua_Integer count = luaL_len(L, 1);
	if (count < 2)
		return 0;
	luaL_argcheck(L, count < INT_MAX / 8, 1, "array too big");
	if (!lua_isnoneornil(L, 2))
		luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	script_charge(L, (uint64_t)count * UNITS_PER_ELEMENT);
	lua_createtable(L, (int)count, 0);
	uint32_t *places = lua_newuserdatauv(L, (size_t)count * 2 * sizeof *places, 0);
	uint32_t *from = places, *to = places + count, n = (uint32_t)count;
	for (uint32_t i = 0; i < n; i++) {
		from[i] = i + 1;
		lua_geti(L, 1, i + 1);
		lua_rawseti(L, 3, i + 1);
	}
	for (uint32_t width = 1; width < n; width *= 2) {
		for (uint32_t left = 0; left < n; left += 2 * width) {
			uint32_t middle = left + width < n ? left + width : n;
			merge(L, from, to, left, middle, middle + width < n ? middle + width : n);
		}
		uint32_t *sorted = to;
		to = from;
		from = sorted;
	}
	for (uint32_t i = 0; i < n; i++) {
		lua_rawgeti(L, 3, from[i]);
		lua_seti(L, 1, i + 1);
	}
	return 0;
}

void script_table_open(lua_State *L)
{
	static const luaL_Reg functions[] = { { "insert", table_insert }, { "remove", table_remove },
					      { "move", table_move },     { "concat", table_concat },
					      { "pack", table_pack },     { "unpack", table_unpack },
					      { "sort", table_sort },     { NULL, NULL } };
	luaL_setfuncs(L, functions, 0);
}
