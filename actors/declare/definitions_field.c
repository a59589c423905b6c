/* Reading one field of a declaration: its type, its form, and an error that says what to write instead. */
#include "actors/definitions/definitions_near.h"
#include "actors/declare/definitions_private.h"
#include "runtime/check.h"
#include <math.h>
#include <stdlib.h>

enum { TEXT_BYTES_MAX = 1 << 20 };

void definitions_field_error(const struct declare_reader *r, const char *key, const char *format, ...)
{
	struct buf text = { 0 };
	va_list args;
	va_start(args, format);
	char *what = NULL;
	if (vasprintf(&what, format, args) < 0)
		what = NULL;
	va_end(args);
	buf_append_str(&text, str_from(r->kind));
	if (r->name.p)
		buf_printf(&text, " '%.*s'", STR_ARG(r->name));
	buf_printf(&text, ": %s%s", r->prefix, key);
	if (*key || *r->prefix)
		buf_append_lit(&text, ": ");
	definitions_declare_error(r->declare, r->line, "%.*s%s", STR_ARG(buf_str(&text)),
				  what ? what : "out of memory");
	free(what);
	buf_finish(&text);
}

int definitions_field_push(const struct declare_reader *r, const char *key)
{
	luaL_checkstack(r->L, 8, "declarations");
	lua_pushstring(r->L, key);
	return lua_rawget(r->L, r->table);
}

void definitions_field_check_keys(const struct declare_reader *r, const char *const *keys)
{
	lua_State *L = r->L;
	lua_pushnil(L);
	while (lua_next(L, r->table)) {
		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING) {
			definitions_field_error(r, "", "an entry without a name: write key = value");
			lua_pop(L, 1);
			return;
		}
		struct str key = str_from(lua_tostring(L, -1));
		if (definitions_near_known(keys, key))
			continue;
		const char *near = definitions_near(keys, key);
		struct buf known = { 0 };
		if (near)
			buf_printf(&known, "did you mean '%s'?", near);
		else
			for (size_t i = 0; keys[i]; i++)
				buf_printf(&known, "%s%s", i ? ", " : "known: ", keys[i]);
		definitions_field_error(r, key.p, "unknown key (%.*s)", STR_ARG(buf_str(&known)));
		buf_finish(&known);
	}
}

struct str definitions_field_keep(const struct declare_reader *r, struct str s)
{
	struct str copy = arena_dup(&r->declare->d->arena, s);
	if (copy.p == NULL)
		luaL_error(r->L, "the definitions are too large");
	return copy;
}

void *definitions_field_alloc(const struct declare_reader *r, size_t bytes)
{
	void *p = arena_zalloc(&r->declare->d->arena, bytes ? bytes : 1);
	if (p == NULL)
		luaL_error(r->L, "the definitions are too large");
	return p;
}

/* Pops the value when it is not of the type; true leaves it on the stack. */
static bool is_type(const struct declare_reader *r, const char *key, int type, const char *needed)
{
	int got = definitions_field_push(r, key);
	if (got == type)
		return true;
	if (got != LUA_TNIL)
		definitions_field_error(r, key, "%s is needed, got a %s", needed, lua_typename(r->L, got));
	lua_pop(r->L, 1);
	return false;
}

bool definitions_field_text(const struct declare_reader *r, const char *key, struct str *ret)
{
	if (!is_type(r, key, LUA_TSTRING, "a string"))
		return false;
	struct str text;
	text.p = lua_tolstring(r->L, -1, &text.n);
	bool good = false;
	if (text.n > TEXT_BYTES_MAX)
		definitions_field_error(r, key, "longer than 1 MiB");
	else if (!json_utf8_valid(text) || memchr(text.p, '\0', text.n))
		definitions_field_error(r, key, "not valid UTF-8 text");
	else
		good = true;
	if (good)
		*ret = definitions_field_keep(r, text);
	lua_pop(r->L, 1);
	return good;
}

bool definitions_field_is_name(struct str s)
{
	if (s.n == 0 || s.n > DECLARE_NAME_BYTES_MAX || (s.p[0] >= '0' && s.p[0] <= '9') || s.p[0] == '.' ||
	    s.p[0] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		      c == '.' || c == '-'))
			return false;
	}
	return true;
}

bool definitions_field_identifier(const struct declare_reader *r, const char *key, struct str *ret)
{
	struct str text;
	if (!definitions_field_text(r, key, &text))
		return false;
	if (text.n > DECLARE_NAME_BYTES_MAX) {
		definitions_field_error(r, key, "longer than %d bytes", DECLARE_NAME_BYTES_MAX);
		return false;
	}
	if (!definitions_field_is_name(text)) {
		definitions_field_error(r, key, "'%.*s' is not a name: a letter or _, then letters, digits, _ . -",
					STR_ARG(text));
		return false;
	}
	*ret = text;
	return true;
}

bool definitions_field_name(struct declare_reader *r, struct str *ret)
{
	if (definitions_field_push(r, "name") == LUA_TNIL) {
		definitions_field_error(r, "name", "missing");
		lua_pop(r->L, 1);
		return false;
	}
	lua_pop(r->L, 1);
	if (!definitions_field_identifier(r, "name", ret))
		return false;
	r->name = *ret;
	return true;
}

/* "1.5h": digits, perhaps a fraction, one unit. */
static bool parse_duration(struct str text, int64_t *ret_ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = { { "ms", 1 }, { "s", 1e3 }, { "m", 60e3 }, { "h", 3600e3 }, { "d", 86400e3 } };
	size_t digits = strspn(text.p, "0123456789.");
	if (digits == 0 || digits > 15 || text.p[0] == '.')
		return false;
	char *end;
	double value = strtod(text.p, &end);
	if (end != text.p + digits || end[-1] == '.')
		return false;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(end, units[i].unit) != 0)
			continue;
		double ms = round(value * units[i].ms);
		if (ms < 1 || ms > 36500 * 86400e3)
			return false;
		*ret_ms = (int64_t)ms;
		return true;
	}
	return false;
}

bool definitions_field_duration(const struct declare_reader *r, const char *key, int64_t *ret_ms)
{
	static const char needed[] = "a duration is a string such as \"500ms\", \"30s\", \"5m\", \"1.5h\" or \"1d\"";
	if (definitions_field_push(r, key) == LUA_TNIL) {
		lua_pop(r->L, 1);
		return false;
	}
	bool good = lua_type(r->L, -1) == LUA_TSTRING && parse_duration(str_from(lua_tostring(r->L, -1)), ret_ms);
	if (!good && lua_type(r->L, -1) == LUA_TSTRING)
		definitions_field_error(r, key, "'%s' is not a duration: %s", lua_tostring(r->L, -1), needed);
	else if (!good)
		definitions_field_error(r, key, "%s, got a %s", needed, luaL_typename(r->L, -1));
	lua_pop(r->L, 1);
	return good;
}

bool definitions_field_bool(const struct declare_reader *r, const char *key, bool *ret)
{
	if (!is_type(r, key, LUA_TBOOLEAN, "true or false"))
		return false;
	*ret = lua_toboolean(r->L, -1);
	lua_pop(r->L, 1);
	return true;
}

bool definitions_field_integer(const struct declare_reader *r, const char *key, int64_t min, int64_t max, int64_t *ret)
{
	if (!is_type(r, key, LUA_TNUMBER, "an integer"))
		return false;
	int is_integer;
	int64_t value = lua_tointegerx(r->L, -1, &is_integer);
	bool good = is_integer && value >= min && value <= max;
	if (!good)
		definitions_field_error(r, key, "an integer from %lld to %lld is needed, got %s", (long long)min,
					(long long)max, luaL_tolstring(r->L, -1, NULL));
	lua_pop(r->L, good ? 1 : 2);
	if (good)
		*ret = value;
	return good;
}

bool definitions_field_json(const struct declare_reader *r, const char *key, struct str *ret)
{
	struct buf *out = &r->declare->s->text;
	int top = lua_gettop(r->L);
	bool good = false;
	buf_clear(out);
	if (definitions_field_push(r, key) != LUA_TNIL) {
		good = script_json_write(r->L, top + 1);
		if (!good)
			definitions_field_error(r, key, "not a JSON value: %s", lua_tostring(r->L, -1));
	}
	lua_settop(r->L, top);
	if (good)
		*ret = definitions_field_keep(r, buf_str(out));
	return good;
}

bool definitions_field_function(const struct declare_reader *r, const char *key, enum script_function function,
				uint32_t index)
{
	lua_State *L = r->L;
	if (!is_type(r, key, LUA_TFUNCTION, "a function"))
		return false;
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_FUNCTIONS);
	lua_rawgeti(L, -1, (lua_Integer)function + 1);
	lua_pushvalue(L, -3);
	lua_rawseti(L, -2, (lua_Integer)index + 1);
	lua_pop(L, 3);
	return true;
}
