/* Which code makes a feature's values: a short text that changes when they would, and stays when the file is only
 * moved about. Values carry it, so that after a change of the definitions those of the old code are not served.
 *
 * It is the feature's `version` where there is one. Else it is a hash of the SQL, or of what the function consists of:
 * the lines it stands in, and, of the locals and globals of the file that it can reach, the same and their plain
 * values. A trigger builds on its own earlier values, so that only a `version` makes it begin anew. */
#include "actors/declare/definitions_private.h"

enum { DEPTH_MAX = 24, NODES_MAX = 20000, VERSION_AS_IS_MAX = 64 };

struct walk {
	lua_State *L;
	struct declare *declare;
	const struct definitions *d;
	const void *path[DEPTH_MAX]; /* tables and functions that are being looked at */
	unsigned depth, nodes;
	bool is_too_large;
};

/* FNV-1a (Fowler, Noll, Vo), which is the same in every process. */
static uint64_t hash_more(uint64_t h, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
	return h;
}

static uint64_t hash_str(struct str s)
{
	return hash_more(0xcbf29ce484222325u, s.p, s.n);
}

static uint64_t hash_pair(uint64_t a, uint64_t b)
{
	return hash_more(hash_more(0xcbf29ce484222325u, &a, sizeof a), &b, sizeof b);
}

static uint64_t hash_value(struct walk *w, int index);

/* From line first to line last. A change of anything else in these lines counts too, which is harmless. */
static struct str lines_of(struct str source, int first, int last)
{
	const char *end = source.p + source.n, *from = source.p;
	for (int line = 1; line < first && from < end; line++) {
		const char *newline = memchr(from, '\n', (size_t)(end - from));
		from = newline ? newline + 1 : end;
	}
	const char *to = from;
	for (int line = first; line <= last && to < end; line++) {
		const char *newline = memchr(to, '\n', (size_t)(end - to));
		to = newline ? newline + 1 : end;
	}
	return str_of(from, (size_t)(to - from));
}

static uint64_t hash_function(struct walk *w, int index)
{
	lua_Debug ar;
	lua_pushvalue(w->L, index);
	lua_getinfo(w->L, ">S", &ar);
	if (*ar.what == 'C')
		return 1;
	/* What load() made has its own text as its source. */
	struct str text = *ar.source == '@' ? lines_of(w->d->source, ar.linedefined, ar.lastlinedefined)
					    : str_from(ar.source);
	uint64_t h = hash_str(text);
	for (int i = 1;; i++) {
		const char *name = lua_getupvalue(w->L, index, i);
		if (name == NULL)
			return h;
		h = hash_pair(h, hash_pair(hash_str(str_from(name)), hash_value(w, lua_gettop(w->L))));
		lua_pop(w->L, 1);
	}
}

/* The order in which Lua walks a table differs from run to run: entries are summed. */
static uint64_t hash_table(struct walk *w, int index)
{
	uint64_t sum = 2;
	lua_pushnil(w->L);
	while (lua_next(w->L, index)) {
		int value = lua_gettop(w->L);
		sum += hash_pair(hash_value(w, value - 1), hash_value(w, value));
		lua_pop(w->L, 1);
		if (w->is_too_large) {
			lua_pop(w->L, 1);
			return sum;
		}
	}
	return sum;
}

/* Libraries and the fabra module are the program's, not the file's. */
static bool is_builtin(lua_State *L, int index)
{
	bool found = false;
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_FABRA);
	found = lua_rawequal(L, index, -1);
	lua_pop(L, 1);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_BUILTINS);
	int builtins = lua_gettop(L);
	found = found || lua_rawequal(L, index, builtins);
	for (lua_pushnil(L); lua_istable(L, builtins) && lua_next(L, builtins); lua_pop(L, 1))
		found = found || lua_rawequal(L, index, -1);
	lua_settop(L, builtins - 1);
	return found;
}

static uint64_t hash_globals(struct walk *w, int index);

static uint64_t hash_reference(struct walk *w, int index)
{
	const void *self = lua_topointer(w->L, index);
	for (unsigned i = 0; i < w->depth; i++)
		if (w->path[i] == self)
			return 3; /* a circle: what is in it has been counted where it was entered */
	lua_rawgeti(w->L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
	bool is_globals = lua_rawequal(w->L, -1, index);
	lua_pop(w->L, 1);
	if (is_globals) /* before the next: _G is a builtin by name */
		return hash_globals(w, index);
	if (is_builtin(w->L, index))
		return 4;
	if (w->depth == DEPTH_MAX || ++w->nodes > NODES_MAX) {
		w->is_too_large = true;
		return 5;
	}
	w->path[w->depth++] = self;
	uint64_t h = lua_isfunction(w->L, index) ? hash_function(w, index) : hash_table(w, index);
	if (lua_istable(w->L, index) && lua_getmetatable(w->L, index)) {
		h = hash_pair(h, hash_value(w, lua_gettop(w->L)));
		lua_pop(w->L, 1);
	}
	w->depth--;
	return h;
}

/* Nearly every function can reach the globals, so they are looked at once for the file, and always from the same
 * place: what they reach must not depend on who asks first. */
static uint64_t hash_globals(struct walk *w, int index)
{
	struct declare *declare = w->declare;
	if (!declare->has_globals_hash) {
		struct walk own = { .L = w->L, .declare = declare, .d = w->d };
		own.path[own.depth++] = lua_topointer(w->L, index);
		declare->globals_hash = hash_table(&own, index);
		declare->has_globals_hash = true;
		declare->globals_too_large = own.is_too_large;
	}
	w->is_too_large |= declare->globals_too_large;
	return declare->globals_hash;
}

static uint64_t hash_value(struct walk *w, int index)
{
	lua_State *L = w->L;
	luaL_checkstack(L, 16, "definitions");
	uint64_t type = (uint64_t)lua_type(L, index);
	struct str text = { 0 };
	switch ((int)type) {
	case LUA_TSTRING:
		text.p = lua_tolstring(L, index, &text.n);
		return hash_pair(type, hash_str(text));
	case LUA_TNUMBER: {
		char number[64];
		int n = lua_isinteger(L, index)
			    ? snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, index))
			    : snprintf(number, sizeof number, "%a", lua_tonumber(L, index));
		return hash_pair(type, hash_str(str_of(number, (size_t)n)));
	}
	case LUA_TBOOLEAN:
		return hash_pair(type, (uint64_t)lua_toboolean(L, index));
	case LUA_TTABLE:
	case LUA_TFUNCTION:
		return hash_pair(type, hash_reference(w, index));
	default:
		return type;
	}
}

static struct str write_hash(const struct declare_reader *r, const char *what, uint64_t hash)
{
	char text[40];
	int n = snprintf(text, sizeof text, "%s:%016llx", what, (unsigned long long)hash);
	return definitions_field_keep(r, str_of(text, (size_t)n));
}

static struct str hash_compute(const struct declare_reader *r)
{
	struct walk w = { .L = r->L, .declare = r->declare, .d = r->declare->d };
	int top = lua_gettop(r->L);
	uint64_t hash = 0;
	if (definitions_field_push(r, "compute") == LUA_TFUNCTION)
		hash = hash_value(&w, top + 1);
	lua_settop(r->L, top);
	if (w.is_too_large) /* then any change of the file is one of the function */
		hash = hash_str(w.d->source);
	return write_hash(r, "code", hash);
}

struct str definitions_made_by(const struct declare_reader *r, const struct def_feature *f)
{
	/* A loop's own state reads the file again, for the functions alone: it has no code_version. */
	if ((!f->has_compute && f->sql.p == NULL) || *r->declare->d->code_version == '\0')
		return (struct str){ 0 };
	if (f->version.n > VERSION_AS_IS_MAX)
		return write_hash(r, "version", hash_str(f->version));
	if (f->version.n || f->trigger.p)
		return f->version;
	return f->sql.p ? write_hash(r, "sql", hash_str(f->sql)) : hash_compute(r);
}
