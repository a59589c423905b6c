/* Running the functions of the definitions file: one Lua state per loop, one coroutine per call.
 *
 * A call runs until it is done, fails or waits for asks. Asks are reported to the host as they start (they run at the
 * same time); the host answers each with script_answer and then runs the call again with script_run. Instructions,
 * memory and the work of string functions are limited per call, and a stop cannot be caught by pcall. */
#pragma once
#include "actors/definitions/definitions.h"
#include "store/text/json.h"

struct script; /* of one loop */
struct script_call;

struct script_limits {             /* per call; 0 = default */
	uint64_t instructions_max; /* 10,000,000; string functions count their work in the same unit */
	size_t
	    memory_bytes_max; /* 64 MiB for the whole state; a call that hits it is stopped. A sixteenth of it for one
					string or table */
	bool no_clock;        /* charge no processor time, only counted work: a simulation must replay */
	uint32_t
	    slice_instructions; /* 20,000: a longer run returns SCRIPT_MORE so that the loop can breathe (about 0.2 ms) */
};

enum script_function { SCRIPT_COMPUTE, SCRIPT_RETRIEVE, SCRIPT_BUILD };

/* An ask that the Lua code started. Texts are borrowed for the call of the hook. */
enum script_ask_kind { SCRIPT_ASK_FEATURE, SCRIPT_ASK_FEATURES, SCRIPT_ASK_RETRIEVE, SCRIPT_ASK_SQL };
struct script_ask {
	uint32_t id; /* of the call, 1.. */
	enum script_ask_kind kind;
	uint32_t entity;          /* FEATURES */
	uint32_t feature;         /* FEATURE */
	const uint32_t *features; /* FEATURES */
	uint32_t features_count;
	uint32_t retriever;   /* RETRIEVE */
	struct str entity_id; /* FEATURE, FEATURES */
	struct str sql;       /* SQL */
	struct str args_json; /* RETRIEVE: object; SQL: array */
};
struct script_host {
	/* false: refused (too many asks: 256 per call); the ask fails in Lua with a reason. */
	bool (*ask)(void *host, struct script_call *call, const struct script_ask *ask);
	/* The function returned without awaiting this ask. */
	void (*cancel)(void *host, struct script_call *call, uint32_t ask_id);
	/* fabra.log and fabra.now. */
	void (*log)(void *host, int level, struct str message, struct str fields_json);
	int64_t (*now_us)(void *host);
};

enum script_result {
	SCRIPT_DONE,    /* ret->value_json or ret->items */
	SCRIPT_WAITING, /* for answers */
	SCRIPT_MORE,    /* slice used up: call script_run again in a later turn */
	SCRIPT_FAILED,  /* ret->error */
};

/* What `build` returned. Arrays and texts live in the call until script_end. */
struct script_item {
	struct str content;
	int64_t priority;
	bool required;
	struct str source_id;    /* p NULL = none */
	int64_t last_updated_us; /* INT64_MIN = none */
};
struct script_outcome {
	struct str value_json;     /* COMPUTE: the value; RETRIEVE: an array of {content, metadata?, score?, ...} */
	struct script_item *items; /* BUILD */
	uint32_t items_count;
	bool is_list; /* BUILD returned a list (of items); else one item or a string */
	bool is_string;
	struct str error; /* one line, names the function; no stack trace */
	enum {
		SCRIPT_ERROR_RUN,
		SCRIPT_ERROR_ARGUMENTS,
		SCRIPT_ERROR_LIMIT,
		SCRIPT_ERROR_RESULT,
		SCRIPT_ERROR_DEADLINE
	} error_kind;
};

/* script_create is in definitions_load.h, since it runs the file. */
void script_destroy(struct script *s);

/* COMPUTE: args = entity id text (event NULL), or with event_json {"id","event_type","entity_id","payload","timestamp"} and
 * previous_json (p NULL = nil). RETRIEVE and BUILD: args_json, an object. The call borrows nothing after this returns. */
struct script_call *script_begin(struct script *s, enum script_function function, uint32_t index, struct str args,
				 struct str event_json, struct str previous_json, const struct script_host *host,
				 void *host_arg);
enum script_result script_run(struct script_call *call, struct script_outcome *ret);
/* ok: json is the value, and p NULL is nil (there is none); not ok: a reason text (no JSON). Later script_run goes on once nothing awaited is missing:
 * script_ready says so. */
void script_answer(struct script_call *call, uint32_t ask_id, bool ok, struct str json_or_reason);
/* There is none, and why: what fabra.try returns as its reason (p NULL: nothing to say). fabra.await returns nil. */
void script_answer_nil(struct script_call *call, uint32_t ask_id, struct str reason);
bool script_ready(const struct script_call *call);
/* Ends the call at any point (deadline, cancel): kills the coroutine, cancels open asks through the host. */
void script_end(struct script_call *call);
size_t script_memory_bytes(const struct script *s);
/* A call that took much memory leaves garbage behind, however it ended; after the memory limit the next one would wait for its
 * collection. A bounded piece of that work; false: there is more. */
bool script_collect(struct script *s);
