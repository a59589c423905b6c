/* The plan of a declarative context for one request: which features and retrievers its items need with these arguments, and
 * which items the answers make. No code of the definitions file runs. */
#pragma once
#include "actors/material.h"

_Static_assert((int)DEF_CALLS_MAX == (int)MATERIAL_CALLS_MAX && (int)DEF_READS_MAX == (int)READS_FEATURES_MAX,
	       "what a file may declare, a request can ask for");
enum { PLAN_GROUPS_MAX = DEF_ASKS_MAX, PLAN_GROUP_FEATURES_MAX = DEF_ASK_FEATURES_MAX };

/* Arrays are in the arena and as long as the context needs. */
struct plan_group { /* features of one entity id: one ask; an id with more of them has several */
	uint32_t entity;
	struct str entity_id;
	uint32_t *features;
	uint32_t features_count, features_cap;
	uint64_t op;
	struct feature_request *answer; /* owned; NULL until it has come */
	enum feature_state failure;     /* why there is none; FEATURE_PENDING: there is, or it may still come */
};

struct plan_call { /* one retriever item: one ask */
	uint32_t item;
	struct str args_json;
	uint64_t op;
	struct retrieved *answer;   /* shares */
	enum feature_state failure; /* as in a group */
	struct str error;           /* in the arena; p NULL = none */
};

struct plan {
	const struct def_context *context;
	yyjson_val *args;       /* borrows */
	struct str *entity_ids; /* by item */
	struct plan_group *groups;
	uint32_t groups_count;
	struct plan_call *calls;
	uint32_t calls_count;
};

/* args: the request's arguments, checked. Texts go to the arena. NULL: out of memory; a context within the bounds of
 * definitions.h reaches no other. */
struct plan *plan_new(const struct definitions *d, const struct def_context *context, yyjson_val *args,
		      struct arena *arena);
void plan_finish(struct plan *p); /* releases the answers; the arena owns the struct. NULL is fine */
/* After all answers: adds items, features and calls in the order of the file. What is missing is treated as the item's
 * on_missing says. */
enum plan_filled {
	PLAN_FILLED,
	PLAN_TOO_LARGE,
	PLAN_ABSENT, /* an item with on_missing = "fail" needs a feature without a value; *ret_why names it */
	PLAN_FAILED, /* the same, of a feature or retriever that failed or was refused */
	PLAN_LATE,   /* the same, of one that was late */
};
enum plan_filled plan_fill(const struct plan *p, const struct definitions *d, struct material *m, struct buf *ret_why);
