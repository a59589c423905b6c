/* A Lua state with limits: the allocator, the hook and the stop. See script_state.h for how a stop works. */
#include "actors/script/script_state.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include <stdlib.h>

enum {
	STEP = 100,    /* instructions between two looks: the hook costs less than a tenth of them */
	STEP_BIG = 10, /* when big strings or tables exist, one instruction can cost a millisecond */
	BIG_BYTES = 64 << 10,
	BIG_STATE_BYTES = 8 << 20,
	BYTES_PER_UNIT = 16,  /* of a big allocation: filling it costs about that much */
	UNITS_PER_OBJECT = 4, /* to make, mark and free one */
	COLLECT_BYTES_PER_UNIT = 256,
	COLLECT_NS = 500000,    /* of one slice of a collection */
	COLLECT_STEPS = 100,    /* the same without a clock */
	COLLECT_STEP_LOG2 = 10, /* bytes between two looks at the clock; a step of Lua's own is */
	LUA_STEP_LOG2 = 13,     /* its default */
	SLOW_NS = 20000,       /* STEP instructions that take this long are charged by the clock; ten times the usual */
	VERY_SLOW_NS = 200000, /* after such a step every instruction is looked at */
	NS_PER_UNIT = 100,     /* ten times what an instruction costs, so that a slow machine changes nothing */
	HOST_RESERVE_BYTES = 1 << 20,
	LOAD_INSTRUCTIONS_FACTOR = 5,
};

/* The error of a stop where Lua cannot yield. A light value: raising it needs no memory. */
static const char stop_error;

static void on_count(lua_State *L, lua_Debug *ar);

static void set_step(lua_State *L, struct script_meter *m, int step)
{
	m->step = step;
	lua_sethook(L, on_count, LUA_MASKCOUNT, step);
}

static void note_place(lua_State *L, struct script_meter *m)
{
	lua_Debug ar;
	for (int level = 0; lua_getstack(L, level, &ar); level++) {
		lua_getinfo(L, "Sl", &ar);
		if (ar.currentline > 0) {
			snprintf(m->place, sizeof m->place, "%s:%d", ar.short_src, ar.currentline);
			return;
		}
	}
}

/* From here on every instruction looks at the meter. */
static void mark_stopped(lua_State *L, struct script_meter *m, enum script_stop stop)
{
	if (m->stop != STOP_NONE)
		return;
	m->stop = stop;
	note_place(L, m);
	set_step(L, m, 1);
}

static void charge(struct script_meter *m, uint64_t units)
{
	m->used += units;
	m->slice_used += units;
}

static bool is_used_up(const struct script_meter *m)
{
	return m->used > m->max || m->slice_used > m->unsliced_max;
}

/* One instruction can be slow without any call into our code: comparing long strings, a full collection. The
 * clock sees that. Only processor time counts, so that a busy machine does not stop calls. */
static void charge_time(lua_State *L, struct script_meter *m)
{
	uint64_t now_ns = clock_mono_ns();
	uint64_t passed_ns = now_ns - m->looked_ns;
	m->looked_at += m->step;
	/* Looks that are closer together time the same stretch, or none of them would ever be slow. */
	if (passed_ns < SLOW_NS && m->looked_at < STEP)
		return;
	m->looked_ns = now_ns;
	m->looked_at = 0;
	if (passed_ns < SLOW_NS)
		return;
	uint64_t cpu_ns = clock_thread_cpu_ns();
	uint64_t used_ns = m->slow_cpu_ns ? cpu_ns - m->slow_cpu_ns : 0;
	m->slow_cpu_ns = cpu_ns;
	if (used_ns > passed_ns)
		used_ns = passed_ns;
	charge(m, used_ns / NS_PER_UNIT);
	if (used_ns >= VERY_SLOW_NS && m->step > 1)
		set_step(L, m, 1);
}

static void on_count(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	struct script *s = script_of(L);
	struct script_meter *m = s->meter;
	if (m == NULL)
		return;
	charge(m, (uint64_t)m->step);
	if (!script_of(L)->limits.no_clock)
		charge_time(L, m);
	if (s->refused_bytes)
		mark_stopped(L, m, STOP_MEMORY);
	lua_Debug deep;
	if (lua_getstack(L, SCRIPT_CALLS_MAX,
			 &deep)) /* Lua itself would go on to 200,000, and copy and mark a stack of 16 MB */
		mark_stopped(L, m, STOP_DEPTH);
	if (is_used_up(m))
		mark_stopped(L, m, STOP_INSTRUCTIONS);
	bool can_yield = lua_isyieldable(L);
	if (m->stop != STOP_NONE && !can_yield) {
		lua_pushlightuserdata(L, (void *)&stop_error);
		lua_error(L);
	}
	if (can_yield && s->memory_bytes > s->collect_above)
		s->wants_collect = true;
	if (can_yield && (m->stop != STOP_NONE || m->slice_used >= m->slice_max || s->wants_collect))
		lua_yield(L, 0);
}

_Noreturn void script_stop(lua_State *L, enum script_stop stop)
{
	mark_stopped(L, script_of(L)->meter, stop);
	if (lua_isyieldable(L))
		lua_yield(L, 0);
	lua_pushlightuserdata(L, (void *)&stop_error);
	lua_error(L);
	UNREACHABLE();
}

void script_charge(lua_State *L, uint64_t units)
{
	struct script_meter *m = script_of(L)->meter;
	if (m == NULL)
		return;
	charge(m, units);
	if (m->stop != STOP_NONE || is_used_up(m))
		script_stop(L, STOP_INSTRUCTIONS);
}

uint64_t script_left(lua_State *L)
{
	const struct script_meter *m = script_of(L)->meter;
	if (m == NULL)
		return UINT64_MAX;
	if (m->stop != STOP_NONE || is_used_up(m))
		return 0;
	uint64_t left = m->max - m->used, unsliced_left = m->unsliced_max - m->slice_used;
	return left < unsliced_left ? left : unsliced_left;
}

/* Where memory ends. A state may hold `max`; from three quarters of it on a call waits while garbage is collected in slices
 * (collect_above). Who goes beyond max is stopped, but gets what was asked for: Lua would answer a refusal with a full
 * collection, in one stretch of 20 ms and more. Refused is only what is too large for one object, or for the reserve
 * behind max. */
static size_t memory_hard_max(const struct script *s)
{
	return s->limits.memory_bytes_max + s->limits.memory_bytes_max / 4;
}

/* Lua asks once more for the same after its collection; the second refusal is the end. Its string buffers do not ask again: a
 * refusal that is still there at the next instruction is the end too. */
static void refuse(struct script *s, size_t bytes)
{
	struct script_meter *m = s->meter;
	if (m == NULL)
		return;
	if (s->refused_bytes == bytes)
		mark_stopped(s->thread, m, STOP_MEMORY);
	s->refused_bytes = bytes;
	charge(m, s->memory_bytes / COLLECT_BYTES_PER_UNIT);
}

static bool may_grow(struct script *s, size_t old_bytes, size_t bytes, bool is_string)
{
	size_t max = s->limits.memory_bytes_max, after = s->memory_bytes + bytes - old_bytes;
	if (s->meter == NULL)
		return after <= memory_hard_max(s) + HOST_RESERVE_BYTES;
	/* A table that grows is built anew in one stretch: 20 ms at an eighth. Nobody waits while a file is loaded. */
	size_t object_max = s->meter->slice_max == UINT64_MAX && !is_string ? max / 4 : max / 16;
	/* A new block is mostly a map's: to fill that, 6 ns a byte, takes longer than the collection after a refusal. */
	bool is_map = old_bytes == 0 && !is_string;
	if (bytes > (is_map ? object_max : 2 * object_max) || after > memory_hard_max(s)) {
		refuse(s, bytes);
		return false;
	}
	if (after > max || bytes > object_max)
		mark_stopped(s->thread, s->meter, STOP_MEMORY);
	if (bytes == s->refused_bytes)
		s->refused_bytes = 0;
	if (bytes >= BIG_BYTES) {
		charge(s->meter, bytes / BYTES_PER_UNIT);
		if (s->meter->step > STEP_BIG)
			set_step(s->thread, s->meter, STEP_BIG);
	}
	return true;
}

static void *allocate(void *arg, void *block, size_t block_bytes, size_t bytes)
{
	struct script *s = arg;
	size_t old_bytes = block ? block_bytes : 0;
	if (bytes == 0) {
		script_blocks_realloc(s->blocks, block, old_bytes, 0);
		s->memory_bytes -= old_bytes;
		return NULL;
	}
	bool is_string = block == NULL && block_bytes == LUA_TSTRING;
	if (bytes > old_bytes && !may_grow(s, old_bytes, bytes, is_string))
		return NULL;
	/* Where a call cannot give way, it must not collect for long either. */
	if (old_bytes == 0 && s->running && s->thread && !lua_isyieldable(s->thread))
		charge(s->meter, UNITS_PER_OBJECT);
	void *p = script_blocks_realloc(s->blocks, block, old_bytes, bytes);
	if (p)
		s->memory_bytes += bytes - old_bytes;
	else
		refuse(s, bytes);
	return p;
}

static size_t collect_from(const struct script *s)
{
	return s->limits.memory_bytes_max - s->limits.memory_bytes_max / 4;
}

static int renew_landmark(lua_State *L)
{
	lua_createtable(L, 0, 0);
	lua_rawseti(L, LUA_REGISTRYINDEX, SLOT_LANDMARK);
	return 0;
}

/* Lua 5.4 begins to sweep with the newest object and frees, in one stretch, all garbage before the first that lives (its
 * sweeptolive): 600,000 tables of a call that has just been stopped take 20 ms. A landmark that lives and is newer than
 * they are ends that stretch at once. */
static void set_landmark(struct script *s)
{
	lua_pushcfunction(s->L, renew_landmark);
	if (lua_pcall(s->L, 0, 0, 0) != LUA_OK) /* no memory: then it takes longer */
		lua_pop(s->L, 1);
}

bool script_collect_slice(struct script *s, struct script_meter *m)
{
	set_landmark(s);
	uint64_t start_ns = clock_mono_ns();
	bool is_over = false;
	lua_gc(s->L, LUA_GCINC, 0, 0, COLLECT_STEP_LOG2);
	for (int steps = 0; !is_over; steps++) {
		if (s->limits.no_clock ? steps == COLLECT_STEPS : clock_mono_ns() - start_ns > COLLECT_NS)
			break;
		is_over = lua_gc(s->L, LUA_GCSTEP, 0);
	}
	lua_gc(s->L, LUA_GCINC, 0, 0, LUA_STEP_LOG2);
	if (!is_over)
		return false;
	if (m)
		charge(m, s->memory_bytes / COLLECT_BYTES_PER_UNIT);
	/* What lives cannot be collected again and again: the next time is an eighth of the limit later. */
	size_t next = s->memory_bytes + s->limits.memory_bytes_max / 8;
	s->collect_above = next > collect_from(s) ? next : collect_from(s);
	s->wants_collect = false;
	s->cycles_due -= s->cycles_due > 0;
	if (s->calls_open == 0)
		s->live_bytes = s->memory_bytes;
	return true;
}

static int on_panic(lua_State *L)
{
	const char *why = lua_tostring(L, -1);
	fprintf(stderr, "lua: error outside of a protected call: %s\n", why ? why : "?");
	return 0; /* Lua aborts */
}

static int open_state(lua_State *L)
{
	script_sandbox_open(L);
	return 0;
}

struct script *script_state_create(const struct script_limits *limits, bool unsafe_lua,
				   void (*open_declare)(lua_State *L), struct buf *ret_why)
{
	struct script *s = calloc(1, sizeof *s);
	if (s == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return NULL;
	}
	if (limits)
		s->limits = *limits;
	if (s->limits.instructions_max == 0)
		s->limits.instructions_max = 10000000;
	if (s->limits.memory_bytes_max == 0)
		s->limits.memory_bytes_max = 64 << 20;
	if (s->limits.slice_instructions == 0)
		s->limits.slice_instructions = 20000;
	s->unsafe_lua = unsafe_lua;
	s->open_declare = open_declare;
	s->collect_above = collect_from(s);
	s->blocks = script_blocks_create(2 * memory_hard_max(s));
	if (s->blocks)
		s->L = lua_newstate(allocate, s);
	if (s->L == NULL) {
		buf_append_lit(ret_why, "out of memory");
		script_state_destroy(s);
		return NULL;
	}
	*(struct script **)lua_getextraspace(s->L) = s;
	lua_atpanic(s->L, on_panic);
	lua_pushcfunction(s->L, open_state);
	if (lua_pcall(s->L, 0, 0, 0) != LUA_OK) {
		buf_printf(ret_why, "the Lua state cannot be set up: %s", luaL_tolstring(s->L, -1, NULL));
		script_state_destroy(s);
		return NULL;
	}
	return s;
}

void script_state_destroy(struct script *s)
{
	if (s == NULL)
		return;
	s->meter = NULL;
	if (s->L)
		lua_close(s->L);
	script_blocks_destroy(s->blocks);
	yyjson_doc_free(s->doc);
	free(s->doc_room);
	buf_finish(&s->text);
	free(s->keys);
	free(s);
}

void script_meter_start(struct script *s, struct script_meter *m, lua_State *thread)
{
	if (s->memory_bytes > BIG_STATE_BYTES)
		set_landmark(s);
	s->meter = m;
	s->thread = thread;
	s->refused_bytes = 0;
	m->slice_used = 0;
	m->looked_ns = clock_mono_ns();
	m->looked_at = 0;
	int step = s->memory_bytes > BIG_STATE_BYTES ? STEP_BIG : STEP;
	if (m->step == 0 || m->step > step)
		set_step(thread, m, step);
}

void script_meter_end(struct script *s)
{
	s->meter = NULL;
	s->thread = NULL;
	yyjson_doc_free(s->doc);
	s->doc = NULL;
	s->keys_count = 0;
}

void script_stop_text(const struct script *s, const struct script_meter *m, struct buf *out)
{
	if (m->stop == STOP_MEMORY)
		buf_printf(
		    out,
		    "stopped: the Lua state needs more than %zu bytes of memory, or one string or table more than %zu",
		    s->limits.memory_bytes_max, s->limits.memory_bytes_max / 16);
	else if (m->stop == STOP_DEPTH)
		buf_printf(out, "stopped: functions call each other more than %d deep (endless recursion?)",
			   SCRIPT_CALLS_MAX);
	else if (m->used <= m->max)
		buf_printf(
		    out,
		    "stopped: one call of a string, table or metamethod function takes more than %llu instructions",
		    (unsigned long long)m->unsliced_max);
	else
		buf_printf(out, "stopped: it takes more than %llu instructions (an endless loop?)",
			   (unsigned long long)m->max);
	if (m->place[0])
		buf_printf(out, " (%s)", m->place);
}

/* What Lua says of a file that did not run. Most of it begins with the place; what has none gets the file's name. */
static void write_load_error(lua_State *L, int status, const char *file, struct buf *out)
{
	const char *why = lua_tostring(L, -1);
	struct str text = why ? str_from(why) : STR("the file raised an error that is not a text");
	if (status == LUA_ERRMEM)
		text = STR("the file needs more memory than a Lua state may have");
	bool has_place = str_starts(text, str_from(file)) || str_starts(text, STR("...")); /* Lua shortens long names */
	if (!has_place)
		buf_printf(out, "%s: ", file);
	buf_append_str(out, text);
}

bool script_state_load(struct script *s, struct str source, const char *chunk_name, struct buf *ret_why)
{
	lua_State *L = s->L;
	struct script_meter m = { .max = s->limits.instructions_max * LOAD_INSTRUCTIONS_FACTOR,
				  .slice_max = UINT64_MAX,
				  .unsliced_max = UINT64_MAX };
	script_meter_start(s, &m, L);
	s->loading = chunk_name;
	int status = luaL_loadbufferx(L, source.p ? source.p : "", source.n, chunk_name, "t");
	if (status == LUA_OK)
		status = lua_pcall(L, 0, 0, 0);
	s->loading = NULL;
	script_meter_end(s);
	lua_sethook(L, NULL, 0, 0);
	if (m.stop != STOP_NONE) {
		buf_printf(ret_why, "%s: the file was ", m.place[0] ? m.place : chunk_name + 1);
		m.place[0] = '\0';
		script_stop_text(s, &m, ret_why);
	} else if (status != LUA_OK) {
		write_load_error(L, status, chunk_name + 1, ret_why);
	}
	lua_settop(L, 0);
	return status == LUA_OK && m.stop == STOP_NONE;
}
