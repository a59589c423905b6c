/* The calls of a script state.
 *
 *     script_begin --> [ script_run ] --DONE, FAILED--> script_end
 *                        |  ^  |  ^
 *                     MORE  '--'  '-- script_answer ... WAITING
 *
 * A call is one coroutine that runs call_entry: push function and arguments, call, take the result. Finished
 * coroutines go back to a pool; one that failed outside of the call, or was stopped, is dropped and never
 * resumed. */
#include "actors/script/script_state.h"
#include "runtime/check.h"
#include <stdlib.h>

/* The part of all instructions that may run in one stretch where Lua cannot yield, such as in a pattern
 * match. */
enum { UNSLICED_PART = 10 };

/* What calls may leave behind in a state for Lua's own collector. */
enum { GARBAGE_BYTES_MAX = 8 << 20 };

static void call_free(struct script_call *call)
{
	arena_finish(&call->arena);
	buf_finish(&call->value);
	buf_finish(&call->error);
	free(call->asks);
	free(call);
}

static int freeze(lua_State *L)
{
	script_sandbox_freeze(L);
	return 0;
}

bool script_state_freeze(struct script *s, const struct definitions *d, struct buf *ret_why)
{
	lua_pushcfunction(s->L, freeze);
	if (lua_pcall(s->L, 0, 0, 0) != LUA_OK) {
		buf_printf(ret_why, "the Lua state cannot be frozen: %s", luaL_tolstring(s->L, -1, NULL));
		return false;
	}
	s->d = d;
	s->live_bytes = s->memory_bytes;
	return true;
}

void script_destroy(struct script *s)
{
	if (s == NULL)
		return;
	while (s->pool_count > 0)
		call_free(s->pool[--s->pool_count]);
	script_state_destroy(s);
}

/* Runs protected on the main thread: making a coroutine can run out of memory. */
static int new_thread(lua_State *L)
{
	struct script_call *call = lua_touserdata(L, 1);
	call->thread = lua_newthread(L);
	call->thread_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

static struct script_call *call_new(struct script *s)
{
	struct script_call *call = calloc(1, sizeof *call);
	if (call == NULL)
		return NULL;
	call->s = s;
	call->thread_ref = LUA_NOREF;
	lua_pushcfunction(s->L, new_thread);
	lua_pushlightuserdata(s->L, call);
	if (lua_pcall(s->L, 1, 0, 0) != LUA_OK) {
		lua_settop(s->L, 0);
		call_free(call);
		return NULL;
	}
	return call;
}

static void call_reset(struct script_call *call)
{
	arena_finish(&call->arena);
	*call = (struct script_call){ .s = call->s,
				      .thread = call->thread,
				      .thread_ref = call->thread_ref,
				      .asks = call->asks,
				      .asks_cap = call->asks_cap,
				      .value = call->value,
				      .error = call->error };
}

static bool keep(struct script_call *call, struct str *text, struct str from)
{
	if (from.p)
		*text = arena_dup(&call->arena, from);
	return from.p == NULL || text->p != NULL;
}

struct script_call *script_begin(struct script *s, enum script_function function, uint32_t index, struct str args,
				 struct str event_json, struct str previous_json, const struct script_host *host,
				 void *host_arg)
{
	struct script_call *call = s->pool_count > 0 ? s->pool[--s->pool_count] : call_new(s);
	if (call == NULL)
		return NULL;
	call_reset(call);
	s->calls_open++;
	call->serial = ++s->calls_begun;
	call->function = function;
	call->index = index;
	call->host = *host;
	call->host_arg = host_arg;
	call->meter.max = s->limits.instructions_max;
	call->meter.slice_max = s->limits.slice_instructions;
	call->meter.unsliced_max = s->limits.instructions_max / UNSLICED_PART;
	if (call->meter.unsliced_max < s->limits.slice_instructions)
		call->meter.unsliced_max = s->limits.slice_instructions;
	if (!keep(call, &call->args, args) || !keep(call, &call->event_json, event_json) ||
	    !keep(call, &call->previous_json, previous_json)) {
		script_end(call);
		return NULL;
	}
	return call;
}

static const char *kind_name(enum script_function function)
{
	switch (function) {
	case SCRIPT_COMPUTE:
		return "feature";
	case SCRIPT_RETRIEVE:
		return "retriever";
	case SCRIPT_BUILD:
		return "context";
	}
	UNREACHABLE();
}

void script_call_name(const struct script_call *call, struct buf *out)
{
	const struct definitions *d = call->s->d;
	struct str name = call->function == SCRIPT_COMPUTE    ? d->features[call->index].name
			  : call->function == SCRIPT_RETRIEVE ? d->retrievers[call->index].name
							      : d->contexts[call->index].name;
	buf_printf(out, "%s '%.*s'", kind_name(call->function), STR_ARG(name));
}

/* Starts the one line that the host shows. */
static void start_error(struct script_call *call, int kind)
{
	call->outcome.error_kind = kind;
	call->failed = true;
	buf_clear(&call->error);
	script_call_name(call, &call->error);
	buf_append_lit(&call->error, ": ");
}

static void add_one_line(struct buf *out, struct str text)
{
	enum { ERROR_BYTES_MAX = 500 };
	size_t n = str_first(text, ERROR_BYTES_MAX).n;
	for (size_t i = 0; i < n; i++)
		buf_append_char(out, (unsigned char)text.p[i] < 0x20 ? ' ' : text.p[i]);
	if (n < text.n)
		buf_append_lit(out, "...");
}

/* Any value can be raised; only texts are shown, and what a table says of itself in `message`. */
static void add_raised(struct script_call *call, lua_State *L)
{
	struct str text = { 0 };
	const char *type = luaL_typename(L, -1);
	if (lua_istable(L, -1)) {
		lua_pushliteral(L, "message");
		lua_rawget(L, -2);
	}
	if (lua_type(L, -1) == LUA_TSTRING)
		text.p = lua_tolstring(L, -1, &text.n);
	if (text.p)
		add_one_line(&call->error, text);
	else
		buf_printf(&call->error, "raised a %s instead of a text", type);
}

static int call_finish(lua_State *L, int status, lua_KContext ctx)
{
	(void)ctx;
	struct script_call *call = script_of(L)->running;
	if (status != LUA_OK && status != LUA_YIELD) {
		if (call->meter.stop != STOP_NONE || call->s->refused_bytes)
			script_stop(L, STOP_MEMORY); /* or what it was stopped for already */
		start_error(call, SCRIPT_ERROR_RUN);
		add_raised(call, L);
		return 0;
	}
	call->phase = PHASE_RESULT;
	luaL_checkstack(L, 16, "result");
	script_result_take(L, call);
	return 0;
}

/* Stack on return: the function's arguments. */
static int push_arguments(lua_State *L, struct script_call *call)
{
	if (call->function != SCRIPT_COMPUTE) {
		script_json_push(L, call->args, -1);
		return 1;
	}
	lua_pushlstring(L, call->args.p ? call->args.p : "", call->args.n);
	if (call->event_json.p == NULL)
		return 1;
	script_json_push(L, call->event_json, -1);
	if (call->previous_json.p)
		script_json_push(L, call->previous_json, 0);
	else
		lua_pushnil(L);
	return 3;
}

static int call_entry(lua_State *L)
{
	struct script_call *call = script_of(L)->running;
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_FUNCTIONS);
	lua_rawgeti(L, -1, (lua_Integer)call->function + 1);
	if (lua_rawgeti(L, -1, (lua_Integer)call->index + 1) != LUA_TFUNCTION)
		return luaL_error(L, "there is no function to run");
	lua_replace(L, 1);
	lua_settop(L, 1);
	int count = push_arguments(L, call);
	call->phase = PHASE_RUN;
	return call_finish(L, lua_pcallk(L, count, 1, 0, 0, call_finish), 0);
}

/* The coroutine is of no further use: whatever it still holds is collected without running any of it. */
static void drop_thread(struct script_call *call)
{
	luaL_unref(call->s->L, LUA_REGISTRYINDEX, call->thread_ref);
	call->thread = NULL;
	call->thread_ref = LUA_NOREF;
}

static void fail_stopped(struct script_call *call)
{
	start_error(call, SCRIPT_ERROR_LIMIT);
	script_stop_text(call->s, &call->meter, &call->error);
	drop_thread(call);
	call->s->wants_collect |= call->meter.stop == STOP_MEMORY; /* or the next call would meet the same limit */
}

/* An error outside of the function itself: in its arguments, in its result, or out of memory. */
static void fail_outside(struct script_call *call, lua_State *L)
{
	static const int kinds[] = { [PHASE_ARGUMENTS] = SCRIPT_ERROR_ARGUMENTS,
				     [PHASE_RUN] = SCRIPT_ERROR_RUN,
				     [PHASE_RESULT] = SCRIPT_ERROR_RESULT };
	start_error(call, kinds[call->phase]);
	add_raised(call, L);
	drop_thread(call);
}

static enum script_result conclude(struct script_call *call, int status)
{
	if (call->meter.stop != STOP_NONE) {
		fail_stopped(call);
	} else if (status == LUA_YIELD) {
		return call->waiting ? SCRIPT_WAITING : SCRIPT_MORE;
	} else if (status != LUA_OK) {
		fail_outside(call, call->thread);
	} else {
		lua_settop(call->thread, 0);
	}
	call->finished = true;
	script_ask_cancel_open(call);
	if (call->failed) /* the buffer may still hold what an earlier call of the pool said */
		call->outcome.error = buf_str(&call->error);
	return call->failed ? SCRIPT_FAILED : SCRIPT_DONE;
}

enum script_result script_run(struct script_call *call, struct script_outcome *ret)
{
	struct script *s = call->s;
	if (!call->finished && s->wants_collect && !script_collect_slice(s, &call->meter)) {
		*ret = call->outcome;
		return call->result = SCRIPT_MORE;
	}
	if (!call->finished && script_ready(call)) {
		int results;
		CHECK(s->running == NULL);
		s->running = call;
		call->waiting = false;
		size_t before_bytes = s->memory_bytes;
		script_meter_start(s, &call->meter, call->thread);
		if (!call->started)
			lua_pushcfunction(call->thread, call_entry);
		call->started = true;
		int status = lua_resume(call->thread, s->L, 0, &results);
		script_meter_end(s);
		s->running = NULL;
		call->taken_bytes += (ptrdiff_t)s->memory_bytes - (ptrdiff_t)before_bytes;
		call->result = conclude(call, status);
	}
	*ret = call->outcome;
	return call->result;
}

void script_end(struct script_call *call)
{
	if (call == NULL)
		return;
	struct script *s = call->s;
	s->calls_open--;
	if (!call->finished)
		script_ask_cancel_open(call);
	if (call->thread && call->started && !call->finished)
		drop_thread(call);
	/* However it ended: Lua itself would collect only when other calls have made as much again. What open calls hold is not
	 * collected again and again for calls that left little. */
	s->left_bytes += call->taken_bytes > 0 ? (size_t)call->taken_bytes : 0;
	if (s->left_bytes > GARBAGE_BYTES_MAX && s->memory_bytes > s->live_bytes + GARBAGE_BYTES_MAX) {
		s->cycles_due = 2; /* the one under way may have marked it as living already */
		s->left_bytes = 0;
	}
	if (call->thread == NULL || s->pool_count == SCRIPT_POOL_MAX) {
		if (call->thread)
			drop_thread(call);
		call_free(call);
		return;
	}
	call_reset(call);
	s->pool[s->pool_count++] = call;
}

size_t script_memory_bytes(const struct script *s)
{
	return s->memory_bytes;
}

bool script_collect(struct script *s)
{
	if (s->wants_collect || s->cycles_due > 0)
		script_collect_slice(s, NULL);
	return !s->wants_collect && s->cycles_due == 0;
}
