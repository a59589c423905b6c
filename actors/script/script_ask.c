/* Asks: fabra.feature_value, features, retrieve and sql start one through the host; await, all and try wait
 * for it. Also what else a running function may ask of the host: log and now. */
#include "actors/script/script_state.h"
#include "runtime/log.h"
#include <stdlib.h>

enum { NAMES_MAX = 200 };

struct ask_value {
	uint64_t serial; /* of the call */
	uint32_t id;
};

static struct script_call *running_call(lua_State *L, const char *what)
{
	struct script_call *call = script_of(L)->running;
	if (call == NULL)
		luaL_error(L,
			   "fabra.%s works only inside a compute, run or build function, not while the file is loaded",
			   what);
	return call;
}

/* Fills in ask->id, tells the host and pushes the ask. */
static int start(lua_State *L, struct script_call *call, struct script_ask *ask)
{
	if (call->asks_count >= SCRIPT_ASKS_MAX)
		return luaL_error(L, "too many asks: one call can start %d", SCRIPT_ASKS_MAX);
	if (call->asks_count == call->asks_cap) {
		uint32_t cap = call->asks_cap ? call->asks_cap * 2 : 8;
		struct script_open_ask *asks = realloc(call->asks, cap * sizeof *asks);
		if (asks == NULL)
			return luaL_error(L, "out of memory");
		call->asks = asks;
		call->asks_cap = cap;
	}
	struct ask_value *value = lua_newuserdatauv(L, sizeof *value, 0);
	luaL_setmetatable(L, SCRIPT_ASK);
	call->asks[call->asks_count++] = (struct script_open_ask){ .kind = ask->kind };
	ask->id = call->asks_count;
	*value = (struct ask_value){ .serial = call->serial, .id = ask->id };
	script_charge(L, 50);
	if (!call->host.ask(call->host_arg, call, ask))
		script_answer(call, ask->id, false, STR("refused: too many asks are waiting"));
	return 1;
}

static struct str check_name(lua_State *L, int arg)
{
	struct str name;
	name.p = luaL_checklstring(L, arg, &name.n);
	return name;
}

/* Raises "unknown feature 'x' (did you mean 'y'?)". */
static int unknown_name(lua_State *L, enum declare_kind kind, struct str name)
{
	static const char *const names[DECLARE_KINDS] = {
		[DECLARE_ENTITY] = "entity", [DECLARE_FEATURE] = "feature", [DECLARE_RETRIEVER] = "retriever"
	};
	struct buf *near = &script_of(L)->text;
	buf_clear(near);
	definitions_suggest_of_kind(script_of(L)->d, kind, name, near);
	buf_append_char(near, '\0');
	return luaL_error(L, "unknown %s '%s'%s", names[kind], name.p, near->failed ? "" : near->p);
}

static struct str check_id(lua_State *L, int arg)
{
	struct str id;
	luaL_argexpected(L, lua_type(L, arg) == LUA_TSTRING || lua_isinteger(L, arg), arg,
			 "an entity id (string or integer)");
	id.p = lua_tolstring(L, arg, &id.n);
	const char *why = entity_id_error(id);
	luaL_argcheck(L, why == NULL, arg, why);
	return id;
}

static int ask_feature_value(lua_State *L)
{
	struct script_call *call = running_call(L, "feature_value");
	struct script_ask ask = { .kind = SCRIPT_ASK_FEATURE };
	struct str name = check_name(L, 1);
	ask.feature = definitions_feature(call->s->d, name);
	if (ask.feature == DEF_NONE)
		return unknown_name(L, DECLARE_FEATURE, name);
	ask.entity = call->s->d->features[ask.feature].entity;
	ask.entity_id = check_id(L, 2);
	return start(L, call, &ask);
}

static struct str entity_name(lua_State *L, int arg)
{
	const struct script_handle *handle = luaL_testudata(L, arg, SCRIPT_HANDLE);
	return handle ? handle->name : check_name(L, arg);
}

static int ask_features(lua_State *L)
{
	struct script_call *call = running_call(L, "features");
	const struct definitions *d = call->s->d;
	struct str name = entity_name(L, 1);
	struct script_ask ask = { .kind = SCRIPT_ASK_FEATURES, .entity = definitions_entity(d, name) };
	if (ask.entity == DEF_NONE)
		return unknown_name(L, DECLARE_ENTITY, name);
	ask.entity_id = check_id(L, 2);
	luaL_checktype(L, 3, LUA_TTABLE);
	lua_Unsigned count = lua_rawlen(L, 3);
	luaL_argcheck(L, count >= 1 && count <= NAMES_MAX, 3, "a list of 1 to 200 feature names");
	uint32_t indexes[NAMES_MAX];
	for (lua_Unsigned i = 0; i < count; i++) {
		if (lua_rawgeti(L, 3, (lua_Integer)i + 1) != LUA_TSTRING)
			return luaL_argerror(L, 3, "a list of feature names");
		name = check_name(L, -1);
		indexes[i] = definitions_feature(d, name);
		if (indexes[i] == DEF_NONE)
			return unknown_name(L, DECLARE_FEATURE, name);
		if (d->features[indexes[i]].entity != ask.entity)
			return luaL_error(L, "feature '%s' belongs to entity '%s'", name.p,
					  d->entities[d->features[indexes[i]].entity].name.p);
		lua_pop(L, 1);
	}
	ask.features = indexes;
	ask.features_count = (uint32_t)count;
	return start(L, call, &ask);
}

/* The JSON of an optional table at arg in s->text: an object, or a list. */
static struct str table_json(lua_State *L, int arg, bool object)
{
	struct buf *out = &script_of(L)->text;
	buf_clear(out);
	if (!lua_isnoneornil(L, arg)) {
		luaL_checktype(L, arg, LUA_TTABLE);
		if (!script_json_write(L, arg))
			luaL_argerror(L, arg, lua_tostring(L, -1));
	}
	if (out->n <= 2)
		return object ? STR("{}") : STR("[]");
	luaL_argcheck(L, (out->p[0] == '{') == object, arg,
		      object ? "a table with named fields is needed" : "a list is needed");
	return buf_str(out);
}

static int ask_retrieve(lua_State *L)
{
	struct script_call *call = running_call(L, "retrieve");
	struct script_ask ask = { .kind = SCRIPT_ASK_RETRIEVE };
	struct str name = check_name(L, 1);
	ask.retriever = definitions_retriever(call->s->d, name);
	if (ask.retriever == DEF_NONE)
		return unknown_name(L, DECLARE_RETRIEVER, name);
	ask.args_json = table_json(L, 2, true);
	return start(L, call, &ask);
}

static int ask_sql(lua_State *L)
{
	struct script_call *call = running_call(L, "sql");
	struct script_ask ask = { .kind = SCRIPT_ASK_SQL, .sql = check_name(L, 1) };
	luaL_argcheck(L, ask.sql.n > 0 && json_utf8_valid(ask.sql), 1, "a query in valid UTF-8 is needed");
	ask.args_json = table_json(L, 2, false);
	return start(L, call, &ask);
}

enum wait_mode { WAIT_RAISE, WAIT_TRY };

static struct script_open_ask *check_ask(lua_State *L, struct script_call *call, int arg)
{
	const struct ask_value *value = luaL_checkudata(L, arg, SCRIPT_ASK);
	if (value->serial != call->serial)
		luaL_error(L, "an ask can be awaited only by the call that started it");
	return &call->asks[value->id - 1];
}

/* A column of a row that is null is nil: SQL says "there is none" so. A feature whose value is null is not one without a
 * value. */
static int nil_depth(enum script_ask_kind kind)
{
	return kind == SCRIPT_ASK_SQL ? 2 : -1;
}

static void push_answer(lua_State *L, const struct script_open_ask *ask)
{
	if (ask->is_nil)
		lua_pushnil(L);
	else
		script_json_push(L, ask->text, nil_depth(ask->kind));
}

static int wait_again(lua_State *L, int status, lua_KContext mode);

/* Stack: the asks. Returns their values, or yields until all are there or one has failed. */
static int wait_for(lua_State *L, enum wait_mode mode)
{
	struct script_call *call = running_call(L, "await");
	int count = lua_gettop(L);
	const struct script_open_ask *failed = NULL;
	bool open = false;
	for (uint32_t i = 0; i < call->asks_count; i++)
		call->asks[i].awaited = false;
	for (int arg = 1; arg <= count; arg++) {
		struct script_open_ask *ask = check_ask(L, call, arg);
		ask->awaited = true;
		open |= ask->state == ASK_OPEN;
		if (ask->state == ASK_FAILED && failed == NULL)
			failed = ask;
	}
	if (failed && mode == WAIT_TRY) {
		lua_pushnil(L);
		lua_pushlstring(L, failed->text.p, failed->text.n);
		return 2;
	}
	if (failed)
		return luaL_error(L, "%s", failed->text.p);
	if (open) {
		if (!lua_isyieldable(L))
			return luaL_error(L, "an ask cannot be awaited inside a sort comparison, a gsub function or a "
					     "metamethod; await it before");
		call->waiting = true;
		return lua_yieldk(L, 0, mode, wait_again);
	}
	luaL_checkstack(L, count + 8, "answers");
	for (int arg = 1; arg <= count; arg++)
		push_answer(L, check_ask(L, call, arg));
	if (mode == WAIT_RAISE)
		return count;
	const struct script_open_ask *tried = check_ask(L, call, 1);
	if (!tried->is_nil || tried->text.p == NULL)
		return count;
	lua_pushlstring(L, tried->text.p, tried->text.n);
	return 2;
}

static int wait_again(lua_State *L, int status, lua_KContext mode)
{
	(void)status;
	return wait_for(L, (enum wait_mode)mode);
}

static int fabra_await(lua_State *L)
{
	if (lua_gettop(L) > 1)
		return luaL_error(L, "fabra.await takes one ask; use fabra.all for several");
	luaL_checkudata(L, 1, SCRIPT_ASK);
	return wait_for(L, WAIT_RAISE);
}

static int fabra_all(lua_State *L)
{
	return wait_for(L, WAIT_RAISE);
}

static int fabra_try(lua_State *L)
{
	if (lua_gettop(L) > 1)
		return luaL_error(L, "fabra.try takes one ask");
	luaL_checkudata(L, 1, SCRIPT_ASK);
	return wait_for(L, WAIT_TRY);
}

static int fabra_log(lua_State *L)
{
	static const char *const levels[] = { "debug", "info", "warning", "error", NULL };
	static const int numbers[] = { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
	int level = numbers[luaL_checkoption(L, 1, NULL, levels)];
	struct str message;
	message.p = luaL_checklstring(L, 2, &message.n);
	struct str fields = table_json(L, 3, true);
	const struct script_call *call = script_of(L)->running;
	script_charge(L, 200 + message.n / 4);
	if (call)
		call->host.log(call->host_arg, level, message, fields);
	else
		log_line((enum log_level)level, "definitions", "log", LOG_STR("text", message),
			 LOG_RAW("fields", fields));
	return 0;
}

/* print writes to the log, as everything does here. */
int script_ask_print(lua_State *L)
{
	int count = lua_gettop(L);
	luaL_Buffer line;
	luaL_buffinit(L, &line);
	for (int arg = 1; arg <= count; arg++) {
		if (arg > 1)
			luaL_addchar(&line, '\t');
		luaL_tolstring(L, arg, NULL);
		luaL_addvalue(&line);
	}
	luaL_pushresult(&line);
	lua_replace(L, 1);
	lua_settop(L, 1);
	lua_pushliteral(L, "info");
	lua_insert(L, 1);
	return fabra_log(L);
}

static int fabra_now(lua_State *L)
{
	const struct script_call *call = running_call(L, "now");
	lua_pushnumber(L, (lua_Number)call->host.now_us(call->host_arg) / 1e6);
	return 1;
}

void script_ask_open(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "feature_value", ask_feature_value },
		{ "features", ask_features },
		{ "retrieve", ask_retrieve },
		{ "sql", ask_sql },
		{ "await", fabra_await },
		{ "all", fabra_all },
		{ "try", fabra_try },
		{ "log", fabra_log },
		{ "now", fabra_now },
		{ NULL, NULL },
	};
	luaL_setfuncs(L, functions, 0);
	luaL_newmetatable(L, SCRIPT_ASK);
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

void script_answer(struct script_call *call, uint32_t ask_id, bool ok, struct str json_or_reason)
{
	if (ask_id == 0 || ask_id > call->asks_count)
		return;
	struct script_open_ask *ask = &call->asks[ask_id - 1];
	if (ask->state != ASK_OPEN)
		return;
	if (ok && json_or_reason.p == NULL) {
		ask->state = ASK_ANSWERED;
		ask->is_nil = true;
		return;
	}
	ask->text = arena_dup(&call->arena, json_or_reason);
	ask->state = ok ? ASK_ANSWERED : ASK_FAILED;
	if (ask->text.p == NULL) {
		ask->state = ASK_FAILED;
		ask->text = STR("the answers of this call are too large");
	}
}

void script_answer_nil(struct script_call *call, uint32_t ask_id, struct str reason)
{
	script_answer(call, ask_id, true, (struct str){ 0 });
	if (reason.p && ask_id > 0 && ask_id <= call->asks_count && call->asks[ask_id - 1].is_nil)
		call->asks[ask_id - 1].text = arena_dup(&call->arena, reason);
}

bool script_ready(const struct script_call *call)
{
	if (!call->waiting)
		return true;
	bool open = false;
	for (uint32_t i = 0; i < call->asks_count; i++) {
		if (!call->asks[i].awaited)
			continue;
		if (call->asks[i].state == ASK_FAILED)
			return true;
		open |= call->asks[i].state == ASK_OPEN;
	}
	return !open;
}

void script_ask_cancel_open(struct script_call *call)
{
	for (uint32_t i = 0; i < call->asks_count; i++) {
		if (call->asks[i].state != ASK_OPEN)
			continue;
		call->asks[i].state = ASK_FAILED;
		call->asks[i].text = STR("cancelled");
		call->host.cancel(call->host_arg, call, i + 1);
	}
}
