/* JSON to Lua and back. Numbers keep their kind (integer or float), null inside a value is fabra.null, an
 * empty object stays one. Objects are written with sorted keys, so that the same value always has the same
 * text. */
#include "actors/script/script_state.h"
#include <math.h>
#include <stdlib.h>

enum { UNITS_PER_TABLE = 8, UNITS_PER_KEY = 8, UNITS_PER_COMPARISON = 3 }; /* at some 10 ns */

bool script_json_is_null(lua_State *L, int index)
{
	return lua_type(L, index) == LUA_TUSERDATA && lua_touserdata(L, index) == script_of(L)->null_value;
}

/* fabra.null, kept as field of the object metatable's table to save a registry slot. */
static void push_null(lua_State *L)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_OBJECT_META);
	lua_rawgeti(L, -1, 1);
	lua_remove(L, -2);
}

static void push_value(lua_State *L, yyjson_val *v, int nil_depth, int depth);

static void push_array(lua_State *L, yyjson_val *v, int nil_depth, int depth)
{
	script_charge(L, UNITS_PER_TABLE);
	lua_createtable(L, (int)yyjson_arr_size(v), 0);
	yyjson_arr_iter it = yyjson_arr_iter_with(v);
	lua_Integer at = 0;
	for (yyjson_val *e; (e = yyjson_arr_iter_next(&it)) != NULL;) {
		push_value(L, e, nil_depth, depth);
		lua_rawseti(L, -2, ++at);
	}
}

static void push_object(lua_State *L, yyjson_val *v, int nil_depth, int depth)
{
	script_charge(L, UNITS_PER_TABLE);
	lua_createtable(L, 0, (int)yyjson_obj_size(v));
	yyjson_obj_iter it = yyjson_obj_iter_with(v);
	for (yyjson_val *key; (key = yyjson_obj_iter_next(&it)) != NULL;) {
		lua_pushlstring(L, yyjson_get_str(key), yyjson_get_len(key));
		push_value(L, yyjson_obj_iter_get_val(key), nil_depth, depth);
		lua_rawset(L, -3);
	}
	if (yyjson_obj_size(v) == 0) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_OBJECT_META);
		lua_setmetatable(L, -2);
	}
}

static void push_number(lua_State *L, yyjson_val *v)
{
	if (yyjson_is_raw(v) || (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX))
		luaL_error(L, "a JSON number does not fit in 64 bits");
	if (yyjson_is_real(v))
		lua_pushnumber(L, yyjson_get_real(v));
	else
		lua_pushinteger(L, yyjson_get_sint(v));
}

static void push_value(lua_State *L, yyjson_val *v, int nil_depth, int depth)
{
	if (depth > SCRIPT_DEPTH_MAX)
		luaL_error(L, "JSON is nested deeper than %d", SCRIPT_DEPTH_MAX);
	luaL_checkstack(L, 4, "JSON");
	script_charge(L, 4);
	switch (yyjson_get_type(v)) {
	case YYJSON_TYPE_NULL:
		if (nil_depth >= depth)
			lua_pushnil(L);
		else
			push_null(L);
		return;
	case YYJSON_TYPE_BOOL:
		lua_pushboolean(L, yyjson_get_bool(v));
		return;
	case YYJSON_TYPE_STR:
		lua_pushlstring(L, yyjson_get_str(v), yyjson_get_len(v));
		return;
	case YYJSON_TYPE_ARR:
		push_array(L, v, nil_depth, depth + 1);
		return;
	case YYJSON_TYPE_OBJ:
		push_object(L, v, nil_depth, depth + 1);
		return;
	default:
		push_number(L, v);
	}
}

/* A place for the document of a text of n bytes; NULL: malloc. */
static const yyjson_alc *doc_alloc(struct script *s, size_t n)
{
	enum { ROOM_BYTES_MAX = 4 << 20 };
	size_t needed = yyjson_read_max_memory_usage(n, YYJSON_READ_BIGNUM_AS_RAW);
	if (needed > ROOM_BYTES_MAX)
		return NULL;
	if (needed > s->doc_room_bytes) {
		char *room = realloc(s->doc_room, needed);
		if (room == NULL)
			return NULL;
		s->doc_room = room;
		s->doc_room_bytes = needed;
	}
	return yyjson_alc_pool_init(&s->doc_alloc, s->doc_room, s->doc_room_bytes) ? &s->doc_alloc : NULL;
}

/* Before megabytes are parsed: yyjson has no bound on depth. Small texts are parsed sooner than they are looked at. */
static bool is_too_deep(struct str text)
{
	enum { LOOK_BYTES = 4096 };
	int depth = 0;
	bool in_string = false;
	for (size_t i = 0; text.n > LOOK_BYTES && i < text.n; i++) {
		char c = text.p[i];
		if (c == '"')
			in_string = !in_string;
		else if (c == '\\')
			i += in_string;
		else if (!in_string && (c == '[' || c == '{') && ++depth > SCRIPT_DEPTH_MAX + 1)
			return true;
		else if (!in_string && (c == ']' || c == '}'))
			depth--;
	}
	return false;
}

void script_json_push(lua_State *L, struct str text, int nil_depth)
{
	struct script *s = script_of(L);
	if (is_too_deep(text))
		luaL_error(L, "JSON is nested deeper than %d", SCRIPT_DEPTH_MAX);
	yyjson_doc_free(s->doc);
	s->doc = NULL;
	script_charge(L, text.n / 8);
	yyjson_read_err error;
	s->doc = yyjson_read_opts((char *)(uintptr_t)text.p, text.n, YYJSON_READ_BIGNUM_AS_RAW, doc_alloc(s, text.n),
				  &error);
	if (s->doc == NULL)
		luaL_error(L, "not JSON: %s at byte %d", error.msg, (int)error.pos);
	push_value(L, yyjson_doc_get_root(s->doc), nil_depth, 0);
	yyjson_doc_free(s->doc);
	s->doc = NULL;
}

/* Writing. The reason of a failure is pushed as a text; `path` says where in the value it is. */
struct writer {
	lua_State *L;
	struct script *s;
	int depth;
	struct {
		struct str key; /* p NULL: a list entry */
		lua_Integer at;
	} path[SCRIPT_DEPTH_MAX + 1];
};

static bool write_value(struct writer *w, int index);

static bool fail(struct writer *w, const char *what)
{
	luaL_Buffer b;
	luaL_buffinit(w->L, &b);
	for (int i = 0; i < w->depth; i++) {
		if (w->path[i].key.p) {
			if (i > 0)
				luaL_addchar(&b, '.');
			luaL_addlstring(&b, w->path[i].key.p, w->path[i].key.n);
		} else {
			lua_pushfstring(w->L, "[%I]", (LUAI_UACINT)w->path[i].at);
			luaL_addvalue(&b);
		}
	}
	if (w->depth > 0)
		luaL_addstring(&b, ": ");
	luaL_addstring(&b, what);
	luaL_pushresult(&b);
	return false;
}

static bool write_text(struct writer *w, struct str text)
{
	script_charge(w->L, text.n / 16);
	if (!json_utf8_valid(text))
		return fail(w, "a text that is not valid UTF-8");
	json_write_string(&w->s->text, text);
	return true;
}

static bool write_list(struct writer *w, int index, lua_Integer count)
{
	buf_append_char(&w->s->text, '[');
	w->depth++;
	for (lua_Integer i = 1; i <= count; i++) {
		if (i > 1)
			buf_append_char(&w->s->text, ',');
		w->path[w->depth - 1].key.p = NULL;
		w->path[w->depth - 1].at = i;
		lua_rawgeti(w->L, index, i);
		if (lua_isnil(w->L, -1))
			return fail(w, "the list has a hole here (use fabra.null for an empty place)");
		if (!write_value(w, lua_gettop(w->L)))
			return false;
		lua_pop(w->L, 1);
	}
	w->depth--;
	buf_append_char(&w->s->text, ']');
	return true;
}

static int compare_keys(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool push_key(struct script *s, struct str key)
{
	if (s->keys_count == s->keys_cap) {
		size_t cap = s->keys_cap ? s->keys_cap * 2 : 64;
		struct str *keys = realloc(s->keys, cap * sizeof *keys);
		if (keys == NULL)
			return false;
		s->keys = keys;
		s->keys_cap = cap;
	}
	s->keys[s->keys_count++] = key;
	return true;
}

static bool write_object(struct writer *w, int index, size_t first)
{
	struct script *s = w->s;
	size_t count = s->keys_count - first;
	uint64_t rounds = 1;
	while (count >> rounds)
		rounds++;
	script_charge(w->L, count * (UNITS_PER_KEY + rounds * UNITS_PER_COMPARISON));
	if (count > 1)
		qsort(s->keys + first, count, sizeof *s->keys, compare_keys);
	buf_append_char(&s->text, '{');
	w->depth++;
	for (size_t i = 0; i < count; i++) {
		struct str key = s->keys[first + i];
		if (i > 0)
			buf_append_char(&s->text, ',');
		w->path[w->depth - 1].key = key;
		if (!write_text(w, key))
			return false;
		buf_append_char(&s->text, ':');
		lua_pushlstring(w->L, key.p, key.n);
		lua_rawget(w->L, index);
		if (!write_value(w, lua_gettop(w->L)))
			return false;
		lua_pop(w->L, 1);
	}
	w->depth--;
	s->keys_count = first;
	buf_append_char(&s->text, '}');
	return true;
}

enum table_kind { KIND_ANY, KIND_ARRAY, KIND_OBJECT };

static bool table_kind(struct writer *w, int index, enum table_kind *ret_kind)
{
	*ret_kind = KIND_ANY;
	if (!lua_getmetatable(w->L, index))
		return true;
	lua_rawgeti(w->L, LUA_REGISTRYINDEX, SLOT_ARRAY_META);
	lua_rawgeti(w->L, LUA_REGISTRYINDEX, SLOT_OBJECT_META);
	lua_rawgeti(w->L, LUA_REGISTRYINDEX, SLOT_ITEM_META);
	if (lua_rawequal(w->L, -4, -3))
		*ret_kind = KIND_ARRAY;
	else if (lua_rawequal(w->L, -4, -2))
		*ret_kind = KIND_OBJECT;
	else if (!lua_rawequal(w->L, -4, -1)) {
		lua_pop(w->L, 4);
		return fail(w, "a table with a metatable of its own is not a JSON value");
	}
	lua_pop(w->L, 4);
	return true;
}

/* Lists have the keys 1..n and nothing else; objects have text keys and nothing else. */
static bool write_table(struct writer *w, int index)
{
	lua_State *L = w->L;
	if (w->depth >= SCRIPT_DEPTH_MAX)
		return fail(w, "tables are nested deeper than 64 (does a table contain itself?)");
	if (!lua_checkstack(L, 12))
		return fail(w, "out of stack");
	enum table_kind kind;
	if (!table_kind(w, index, &kind))
		return false;
	size_t first = w->s->keys_count;
	lua_Integer list_count = 0, list_max = 0;
	lua_pushnil(L);
	while (lua_next(L, index)) {
		lua_pop(L, 1);
		script_charge(L, 8);
		if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1) {
			list_count++;
			if (lua_tointeger(L, -1) > list_max)
				list_max = lua_tointeger(L, -1);
		} else if (lua_type(L, -1) == LUA_TSTRING) {
			struct str key;
			key.p = lua_tolstring(L, -1, &key.n);
			if (!push_key(w->s, key))
				return fail(w, "out of memory");
		} else {
			lua_pushfstring(L, "a table key of type %s (keys are texts, or 1..n for a list)",
					luaL_typename(L, -1));
			return fail(w, lua_tostring(L, -1));
		}
	}
	size_t named_count = w->s->keys_count - first;
	if (list_count > 0 && named_count > 0)
		return fail(w, "a table with both list entries and named fields is neither a list nor an object");
	if (kind == KIND_ARRAY && named_count > 0)
		return fail(w, "fabra.array has named fields");
	if (kind == KIND_OBJECT && list_count > 0)
		return fail(w, "fabra.object has list entries (keys of an object are texts)");
	if (named_count > 0 || kind == KIND_OBJECT)
		return write_object(w, index, first);
	if (list_max > list_count) {
		lua_pushfstring(L,
				"a list with holes: %I entries, the last at %I (use fabra.null for an empty place, "
				"or texts as keys for an object)",
				(LUAI_UACINT)list_count, (LUAI_UACINT)list_max);
		return fail(w, lua_tostring(L, -1));
	}
	return write_list(w, index, list_count);
}

static bool write_value(struct writer *w, int index)
{
	lua_State *L = w->L;
	struct str text;
	script_charge(L, 4);
	switch (lua_type(L, index)) {
	case LUA_TNIL:
		buf_append_lit(&w->s->text, "null");
		return true;
	case LUA_TBOOLEAN:
		buf_append_str(&w->s->text, lua_toboolean(L, index) ? STR("true") : STR("false"));
		return true;
	case LUA_TNUMBER:
		if (lua_isinteger(L, index)) {
			buf_append_i64(&w->s->text, lua_tointeger(L, index));
			return true;
		}
		if (!isfinite(lua_tonumber(L, index)))
			return fail(w, isnan(lua_tonumber(L, index))
					   ? "the number is NaN, which JSON does not have"
					   : "the number is infinite, which JSON does not have");
		json_write_float(&w->s->text, lua_tonumber(L, index));
		return true;
	case LUA_TSTRING:
		text.p = lua_tolstring(L, index, &text.n);
		return write_text(w, text);
	case LUA_TTABLE:
		return write_table(w, index);
	default:
		if (script_json_is_null(L, index)) {
			buf_append_lit(&w->s->text, "null");
			return true;
		}
		lua_pushfstring(L, "a %s is not a JSON value%s", luaL_typename(L, index),
				luaL_testudata(L, index, SCRIPT_ASK) ? " (an ask: use fabra.await)" : "");
		return fail(w, lua_tostring(L, -1));
	}
}

bool script_json_write(lua_State *L, int index)
{
	struct script *s = script_of(L);
	struct writer w = { .L = L, .s = s };
	s->keys_count = 0;
	if (!lua_checkstack(L, 16))
		return fail(&w, "out of stack");
	if (!write_value(&w, lua_absindex(L, index)))
		return false;
	if (s->text.failed)
		return fail(&w, "the JSON text is too long");
	return true;
}

static int json_encode(lua_State *L)
{
	struct script *s = script_of(L);
	luaL_checkany(L, 1);
	buf_clear(&s->text);
	if (!script_json_write(L, 1))
		return luaL_error(L, "fabra.json.encode: %s", lua_tostring(L, -1));
	lua_pushlstring(L, s->text.p, s->text.n);
	return 1;
}

static int json_decode(lua_State *L)
{
	struct str text;
	text.p = luaL_checklstring(L, 1, &text.n);
	script_json_push(L, text, -1);
	return 1;
}

/* fabra.array{...} and fabra.object{...} say what an empty or computed table is. */
static int mark_table(lua_State *L)
{
	lua_settop(L, 1);
	if (lua_isnil(L, 1)) {
		lua_createtable(L, 0, 0);
		lua_replace(L, 1);
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	if (lua_getmetatable(L, 1))
		return luaL_argerror(L, 1, "a table without a metatable is needed");
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_setmetatable(L, 1);
	return 1;
}

static int null_to_text(lua_State *L)
{
	lua_pushliteral(L, "null");
	return 1;
}

static void open_null(lua_State *L)
{
	lua_newuserdatauv(L, 1, 0);
	script_of(L)->null_value = lua_touserdata(L, -1);
	lua_createtable(L, 0, 3);
	lua_pushcfunction(L, null_to_text);
	lua_setfield(L, -2, "__tostring");
	lua_pushliteral(L, "null");
	lua_setfield(L, -2, "__name");
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_OBJECT_META);
	lua_pushvalue(L, -2);
	lua_rawseti(L, -2, 1);
	lua_pop(L, 1);
	lua_setfield(L, -2, "null");
}

static void open_mark(lua_State *L, int slot, const char *name)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, slot);
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	lua_pushcclosure(L, mark_table, 1);
	lua_setfield(L, -2, name);
}

void script_json_open(lua_State *L)
{
	static const luaL_Reg functions[] = { { "encode", json_encode }, { "decode", json_decode }, { NULL, NULL } };
	open_null(L);
	open_mark(L, SLOT_ARRAY_META, "array");
	open_mark(L, SLOT_OBJECT_META, "object");
	lua_createtable(L, 0, 2);
	luaL_setfuncs(L, functions, 0);
	script_sandbox_proxy(L, "fabra.json");
	lua_setfield(L, -2, "json");
}
