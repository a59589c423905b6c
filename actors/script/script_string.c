/* The string functions whose work is not bounded by the size of what they return: find, match, gmatch, gsub,
 * rep and format. They count their work against the call and stop with it. All others are Lua's own: the
 * allocator bounds them. */
#include "actors/script/script_pattern.h"
#include "actors/script/script_state.h"
#include <ctype.h>

static size_t start_position(lua_Integer position, size_t n)
{
	if (position > 0)
		return (size_t)position;
	if (position == 0 || position < -(lua_Integer)n)
		return 1;
	return n + (size_t)position + 1;
}

static struct str check_text(lua_State *L, int arg)
{
	struct str s;
	s.p = luaL_checklstring(L, arg, &s.n);
	return s;
}

static struct script_pattern prepare(lua_State *L, struct str text, struct str pattern)
{
	struct script_pattern m;
	m.text = text.p;
	m.text_end = text.p + text.n;
	m.pattern = pattern.p;
	m.pattern_end = pattern.p + pattern.n;
	m.work = 0;
	m.work_max = script_left(L);
	return m;
}

static void charge_work(lua_State *L, struct script_pattern *m)
{
	script_charge(L, m->work);
	m->work = 0;
	m->work_max = script_left(L);
}

/* Does not return when the pattern is wrong or took too much. */
static const char *match_at(lua_State *L, struct script_pattern *m, const char *at)
{
	const char *end = script_pattern_match(m, at);
	if (m->end == PATTERN_EXHAUSTED)
		script_stop(L, STOP_INSTRUCTIONS);
	if (m->end == PATTERN_WRONG)
		luaL_error(L, "%s", m->error);
	return end;
}

/* The text of capture i (the whole match when there are none), or its position pushed: then p is NULL. */
static struct str get_capture(lua_State *L, const struct script_pattern *m, int i, const char *start, const char *end)
{
	if (i >= m->captures_count) {
		if (i != 0)
			luaL_error(L, "invalid capture index %%%d", i + 1);
		return str_of(start, (size_t)(end - start));
	}
	const struct script_capture *c = &m->captures[i];
	if (c->n == SCRIPT_CAPTURE_OPEN)
		luaL_error(L, "unfinished capture");
	if (c->n == SCRIPT_CAPTURE_POSITION) {
		lua_pushinteger(L, c->start - m->text + 1);
		return (struct str){ 0 };
	}
	return str_of(c->start, (size_t)c->n);
}

static void push_capture(lua_State *L, const struct script_pattern *m, int i, const char *start, const char *end)
{
	struct str s = get_capture(L, m, i, start, end);
	if (s.p)
		lua_pushlstring(L, s.p, s.n);
}

/* start NULL: only captures, never the whole match. */
static int push_captures(lua_State *L, const struct script_pattern *m, const char *start, const char *end)
{
	int count = m->captures_count == 0 && start ? 1 : m->captures_count;
	luaL_checkstack(L, count, "too many captures");
	for (int i = 0; i < count; i++)
		push_capture(L, m, i, start, end);
	return count;
}

static int find_plain(lua_State *L, struct str text, struct str wanted, size_t start)
{
	script_charge(L, (text.n - start + wanted.n) / 8);
	const char *at = wanted.n == 0 ? text.p + start : memmem(text.p + start, text.n - start, wanted.p, wanted.n);
	if (at == NULL) {
		luaL_pushfail(L);
		return 1;
	}
	lua_pushinteger(L, at - text.p + 1);
	lua_pushinteger(L, at - text.p + (lua_Integer)wanted.n);
	return 2;
}

static int search(lua_State *L, bool find)
{
	struct str text = check_text(L, 1), pattern = check_text(L, 2);
	size_t start = start_position(luaL_optinteger(L, 3, 1), text.n) - 1;
	if (start > text.n) {
		luaL_pushfail(L);
		return 1;
	}
	if (find && (lua_toboolean(L, 4) || !script_pattern_is_special(pattern)))
		return find_plain(L, text, pattern, start);
	bool anchored = pattern.n > 0 && *pattern.p == '^';
	struct script_pattern m = prepare(L, text, str_skip(pattern, anchored));
	const char *at = text.p + start;
	do {
		const char *end = match_at(L, &m, at);
		if (end == NULL)
			continue;
		charge_work(L, &m);
		if (!find)
			return push_captures(L, &m, at, end);
		lua_pushinteger(L, at - text.p + 1);
		lua_pushinteger(L, end - text.p);
		return push_captures(L, &m, NULL, NULL) + 2;
	} while (at++ < m.text_end && !anchored);
	charge_work(L, &m);
	luaL_pushfail(L);
	return 1;
}

static int string_find(lua_State *L)
{
	return search(L, true);
}

static int string_match(lua_State *L)
{
	return search(L, false);
}

struct gmatch_state {
	size_t at;       /* where to look next */
	size_t last_end; /* of the last match, so that an empty one after it is passed over; SIZE_MAX: none
			    yet */
};

static int gmatch_next(lua_State *L)
{
	struct str text, pattern;
	text.p = lua_tolstring(L, lua_upvalueindex(1), &text.n);
	pattern.p = lua_tolstring(L, lua_upvalueindex(2), &pattern.n);
	struct gmatch_state *g = lua_touserdata(L, lua_upvalueindex(3));
	struct script_pattern m = prepare(L, text, pattern);
	for (; g->at <= text.n; g->at++) {
		const char *start = text.p + g->at;
		const char *end = match_at(L, &m, start);
		if (end == NULL || (size_t)(end - text.p) == g->last_end)
			continue;
		g->at = g->last_end = (size_t)(end - text.p);
		charge_work(L, &m);
		return push_captures(L, &m, start, end);
	}
	charge_work(L, &m);
	return 0;
}

static int string_gmatch(lua_State *L)
{
	struct str text = check_text(L, 1);
	check_text(L, 2);
	size_t start = start_position(luaL_optinteger(L, 3, 1), text.n) - 1;
	lua_settop(L, 2);
	struct gmatch_state *g = lua_newuserdatauv(L, sizeof *g, 0);
	*g = (struct gmatch_state){ start > text.n ? text.n + 1 : start, SIZE_MAX };
	lua_pushcclosure(L, gmatch_next, 3);
	return 1;
}

/* A replacement text, with %0 to %9 and %%. */
static void add_replacement(lua_State *L, const struct script_pattern *m, luaL_Buffer *out, struct str text,
			    const char *start, const char *end)
{
	const char *last = text.p + text.n;
	for (const char *p = text.p; p < last; p++) {
		const char *escape = memchr(p, '%', (size_t)(last - p));
		if (escape == NULL) {
			luaL_addlstring(out, p, (size_t)(last - p));
			return;
		}
		luaL_addlstring(out, p, (size_t)(escape - p));
		p = escape + 1; /* at the end: the zero byte */
		if (*p == '%') {
			luaL_addchar(out, '%');
		} else if (*p == '0') {
			luaL_addlstring(out, start, (size_t)(end - start));
		} else if (isdigit((unsigned char)*p)) {
			struct str s = get_capture(L, m, *p - '1', start, end);
			if (s.p)
				luaL_addlstring(out, s.p, s.n);
			else
				luaL_addvalue(out);
		} else {
			luaL_error(L, "invalid use of '%%' in replacement string");
		}
	}
}

/* Adds what stands for a match; true when that is not the match itself. */
static bool add_match(lua_State *L, const struct script_pattern *m, luaL_Buffer *out, int type, const char *start,
		      const char *end)
{
	if (type == LUA_TFUNCTION) {
		enum { UNITS_PER_CALL = 8 };
		script_charge(L, UNITS_PER_CALL);
		lua_pushvalue(L, 3);
		lua_call(L, push_captures(L, m, start, end), 1);
	} else if (type == LUA_TTABLE) {
		push_capture(L, m, 0, start, end);
		lua_gettable(L, 3);
	} else {
		struct str text;
		text.p = lua_tolstring(L, 3, &text.n);
		script_charge(L, text.n / 8);
		add_replacement(L, m, out, text, start, end);
		return true;
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		luaL_addlstring(out, start, (size_t)(end - start));
		return false;
	}
	if (!lua_isstring(L, -1))
		luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
	luaL_addvalue(out);
	return true;
}

static int string_gsub(lua_State *L)
{
	struct str text = check_text(L, 1), pattern = check_text(L, 2);
	int type = lua_type(L, 3);
	lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)text.n + 1), count = 0;
	luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE,
			 3, "string/function/table");
	bool anchored = pattern.n > 0 && *pattern.p == '^', changed = false;
	struct script_pattern m = prepare(L, text, str_skip(pattern, anchored));
	const char *at = text.p, *last_end = NULL;
	luaL_Buffer out;
	luaL_buffinit(L, &out);
	while (count < max) {
		const char *end = match_at(L, &m, at);
		if (end && end != last_end) {
			count++;
			charge_work(L, &m);
			changed |= add_match(L, &m, &out, type, at, end);
			m.work_max = script_left(L);
			at = last_end = end;
		} else if (at < m.text_end) {
			luaL_addchar(&out, *at);
			at++;
		} else {
			break;
		}
		if (anchored)
			break;
	}
	charge_work(L, &m);
	if (changed) {
		luaL_addlstring(&out, at, (size_t)(m.text_end - at));
		luaL_pushresult(&out);
	} else {
		lua_pushvalue(L, 1);
	}
	lua_pushinteger(L, count);
	return 2;
}

static int string_rep(lua_State *L)
{
	struct str text = check_text(L, 1);
	lua_Integer times = luaL_checkinteger(L, 2);
	struct str between = { "", 0 };
	if (!lua_isnoneornil(L, 3))
		between = check_text(L, 3);
	if (times <= 0 || text.n + between.n == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if ((uint64_t)times > script_of(L)->limits.memory_bytes_max / (text.n + between.n) && script_of(L)->meter)
		script_stop(L, STOP_MEMORY);
	size_t whole = (size_t)times * (text.n + between.n) - between.n;
	script_charge(L, whole / 8 + (uint64_t)times / 4);
	luaL_Buffer out;
	char *p = luaL_buffinitsize(L, &out, whole);
	for (lua_Integer i = 0; i < times; i++) {
		memcpy(p, text.p, text.n);
		p += text.n;
		if (between.n && i + 1 < times) {
			memcpy(p, between.p, between.n);
			p += between.n;
		}
	}
	luaL_pushresultsize(&out, whole);
	return 1;
}

/* %q writes a control character as a number of its own. */
static uint64_t quoting_units(struct str text)
{
	enum { UNITS_PER_NUMBER = 10 };
	uint64_t units = text.n;
	for (size_t i = 0; i < text.n; i++)
		units += (unsigned char)text.p[i] < 0x20 ? UNITS_PER_NUMBER : 0;
	return units;
}

static bool has_quoting(struct str format)
{
	for (size_t i = 0; i + 1 < format.n; i++)
		if (format.p[i] == '%' && format.p[++i] == 'q')
			return true;
	return false;
}

/* Lua's own format checks its directives and bounds each; here their number is charged for. */
static int string_format(lua_State *L)
{
	enum { UNITS_PER_ARGUMENT = 40 };
	struct str format = check_text(L, 1);
	script_charge(L, format.n + (uint64_t)lua_gettop(L) * UNITS_PER_ARGUMENT);
	for (int arg = 2; arg <= lua_gettop(L) && has_quoting(format); arg++)
		if (lua_type(L, arg) == LUA_TSTRING)
			script_charge(L, quoting_units(check_text(L, arg)));
	return script_of(L)->stock_format(L);
}

void script_string_open(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "find", string_find }, { "match", string_match }, { "gmatch", string_gmatch },
		{ "gsub", string_gsub }, { "rep", string_rep },     { "format", string_format },
		{ NULL, NULL }
	};
	lua_getfield(L, -1, "format");
	script_of(L)->stock_format = lua_tocfunction(L, -1);
	lua_pop(L, 1);
	luaL_setfuncs(L, functions, 0);
	if (!script_of(L)->unsafe_lua) {
		lua_pushnil(L);
		lua_setfield(L, -2, "dump"); /* it makes bytecode */
	}
}
