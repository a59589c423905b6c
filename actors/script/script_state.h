/* The inside of a script state. Only script*.c, what loads definitions, and tests include this.
 *
 * One Lua state is shared by all calls of a loop; each call is a coroutine. What runs has a meter:
 * instructions, and the work of C functions in the same unit, are charged to it. A meter that is used up (or
 * a state that is full) stops the call: the coroutine yields to the host and is never resumed, so no user
 * code, no pcall and no __close sees the stop. Where Lua cannot yield (inside a sort comparison, a gsub
 * callback, a metamethod called by C) an error is raised at every further instruction until a place is
 * reached that can. */
#pragma once
#include "actors/script/script.h"
#include <lauxlib.h>
#include <lua.h>

enum script_stop { STOP_NONE, STOP_INSTRUCTIONS, STOP_MEMORY, STOP_DEPTH };

struct script_meter {
	uint64_t used, max; /* units: one instruction, or about as much work in C */
	uint64_t slice_used, slice_max;
	uint64_t unsliced_max; /* what one slice may use where Lua cannot yield */
	int step;              /* instructions between two looks of the hook */
	enum script_stop stop;
	uint64_t looked_ns;   /* monotonic: when the stretch began that is being timed */
	int looked_at;        /* instructions of that stretch so far */
	uint64_t slow_cpu_ns; /* thread time at the last slow look; 0 = none yet */
	char place[96];       /* "file:line" where it was stopped; may be empty */
};

enum { SCRIPT_ASKS_MAX = 256, SCRIPT_DEPTH_MAX = 64, SCRIPT_POOL_MAX = 64 };
enum { SCRIPT_CALLS_MAX = 2000 }; /* of functions within functions */

struct script {
	lua_State *L;                       /* the main thread; runs only the file itself */
	const struct definitions *d;        /* shares; NULL until the file is loaded */
	struct declare *declare;            /* borrows; not NULL while the file runs; nothing to the state itself */
	void (*open_declare)(lua_State *L); /* adds to the fabra module what a file declares with */
	struct script_limits limits;        /* no zeroes */
	bool unsafe_lua;
	const char *loading; /* borrows the chunk name of the file while it runs; NULL before and after */

	struct script_meter *meter; /* of what runs now; NULL: the host's own work, not limited */
	lua_State *thread;          /* that runs now */
	struct script_call *running;

	size_t memory_bytes;  /* what the state holds */
	size_t collect_above; /* memory_bytes beyond which a call waits until garbage has been collected in slices */
	bool wants_collect;   /* that is due, or under way */
	unsigned cycles_due;  /* of collection: calls that have ended left some megabytes; nobody waits for it */
	size_t left_bytes;    /* what the calls that ended since then took and may have left */
	size_t live_bytes;    /* after the last collection without an open call: the file's own */
	unsigned calls_open;  /* between script_begin and script_end */
	size_t refused_bytes; /* the growth that was refused last; Lua collects and tries once more */

	yyjson_alc doc_alloc; /* hands out doc_room, which is kept from text to text */
	char *doc_room;
	size_t doc_room_bytes;
	yyjson_doc *doc;  /* being turned into Lua values; kept here because an error may jump over its free */
	struct buf text;  /* being written, for the same reason */
	struct str *keys; /* of the objects being written, innermost last */
	size_t keys_count, keys_cap;
	const void *null_value; /* identity of fabra.null */
	lua_CFunction stock_format;
	uint64_t calls_begun;

	struct script_blocks *blocks; /* script_blocks.c: where small objects come from */

	struct script_call *pool[SCRIPT_POOL_MAX]; /* finished calls with a coroutine that can be used again */
	unsigned pool_count;
};

/* Tables of the state, in its registry. */
enum script_slot {
	SLOT_FUNCTIONS = LUA_RIDX_LAST + 2, /* after luaL_ref's own; [function kind + 1][index + 1] = function */
	SLOT_FABRA,                         /* the module */
	SLOT_BUILTINS,                      /* what _G falls back on */
	SLOT_DECLARED,                      /* the tables given to fabra.entity{} ..., in order */
	SLOT_ARRAY_META,
	SLOT_OBJECT_META,
	SLOT_ITEM_META,
	SLOT_LANDMARK, /* an object that is newer than what earlier slices made */
	SLOT_LAST = SLOT_LANDMARK,
};

/* Metatables by name (luaL_newmetatable). */
#define SCRIPT_ASK    "fabra.ask"
#define SCRIPT_HANDLE "fabra.declared"

/* What fabra.entity and its like return. */
struct script_handle {
	int kind;        /* enum declare_kind */
	struct str name; /* the bytes follow the struct */
};

static inline struct script *script_of(lua_State *L)
{
	return *(struct script **)lua_getextraspace(L);
}

/* script_state.c */
/* open_declare: adds functions to the fabra module, which is on top of the stack; NULL = none. */
struct script *script_state_create(const struct script_limits *limits, bool unsafe_lua,
				   void (*open_declare)(lua_State *L), struct buf *ret_why);
void script_state_destroy(struct script *s);
void script_meter_start(struct script *s, struct script_meter *m, lua_State *thread);
void script_meter_end(struct script *s);
/* A bounded piece of the collection that wants_collect asks for. true: it is over. m: of the call that waits; may be NULL. */
bool script_collect_slice(struct script *s, struct script_meter *m);
/* Charges work done by a C function. Does not return when that was too much. */
void script_charge(lua_State *L, uint64_t units);
/* What is left before script_charge would not return. */
uint64_t script_left(lua_State *L);
_Noreturn void script_stop(lua_State *L, enum script_stop stop);
/* "more than 10000000 instructions (store.lua:12)". */
void script_stop_text(const struct script *s, const struct script_meter *m, struct buf *out);
/* Runs the text of a definitions file on the main thread, limited. false: *ret_line and why. */
bool script_state_load(struct script *s, struct str source, const char *chunk_name, struct buf *ret_why);

/* script_blocks.c: small blocks in slabs by size, since a call makes and drops hundreds of them; larger ones are malloc's.
 * A slab without blocks serves any size, or gives its memory back to the system. bytes_max: of all slabs. */
struct script_blocks *script_blocks_create(size_t bytes_max);
void script_blocks_destroy(struct script_blocks *b); /* larger blocks must have been freed */
/* As Lua's allocators: bytes 0 frees; a new block has block NULL. NULL: no memory, nothing changed. */
void *script_blocks_realloc(struct script_blocks *b, void *block, size_t old_bytes, size_t bytes);

/* script_sandbox.c */
void script_sandbox_open(lua_State *L);
void script_sandbox_freeze(lua_State *L); /* after the file has run: globals are read-only from here on */
void script_sandbox_proxy(lua_State *L, const char *name); /* replaces the table on top by a read-only view */

/* script_string.c, script_table.c: change or push the library table. */
void script_string_open(lua_State *L);
void script_table_open(lua_State *L);

/* script_json.c */
void script_json_open(lua_State *L); /* adds null, array, object and json to the table on top */
/* Pushes the value of a JSON text; raises an error. Nulls in the outermost nil_depth levels become nil (0 =
 * only the text itself, -1 = none), all others fabra.null. */
void script_json_push(lua_State *L, struct str text, int nil_depth);
/* Appends the JSON of the value at index to s->text. false: the reason is on the stack. */
bool script_json_write(lua_State *L, int index);
bool script_json_is_null(lua_State *L, int index);

/* script_ask.c */
void script_ask_open(lua_State *L);
int script_ask_print(lua_State *L); /* the global print */
void script_ask_cancel_open(struct script_call *call);

/* script_item.c */
void script_item_open(lua_State *L);

/* script_result.c: turns what the function returned (on top of the stack) into call->outcome; raises an
 * error. */
void script_result_take(lua_State *L, struct script_call *call);

/* script.c: the file has run and d was read from it; from here on its functions may be called and its globals are read-only. */
bool script_state_freeze(struct script *s, const struct definitions *d, struct buf *ret_why);

struct script_open_ask {
	enum { ASK_OPEN, ASK_ANSWERED, ASK_FAILED } state;
	enum script_ask_kind kind;
	bool awaited;
	bool is_nil;
	struct str text; /* the answer's JSON or the reason; owned */
};

struct script_call {
	struct script *s;
	lua_State *thread;
	int thread_ref;  /* in the registry */
	uint64_t serial; /* tells an ask of this call from a kept one */
	enum script_function function;
	uint32_t index;
	struct script_meter meter;
	ptrdiff_t taken_bytes; /* by which the state grew while it ran; collections of others' garbage make it less */
	enum script_result result; /* of the last run */
	enum { PHASE_ARGUMENTS, PHASE_RUN, PHASE_RESULT } phase;
	bool started, waiting, failed, finished;
	struct str args, event_json, previous_json; /* in arena */
	struct arena arena;
	struct script_host host;
	void *host_arg;
	struct script_open_ask *asks; /* id is the position + 1 */
	uint32_t asks_count, asks_cap;
	struct script_outcome outcome;
	struct buf value, error; /* behind outcome; kept from call to call */
};

/* "feature 'user_tier'": what the call runs, for messages. */
void script_call_name(const struct script_call *call, struct buf *out);
