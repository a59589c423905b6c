/* The plan of a declarative context for one request: which features and retrievers its items need with these arguments, and
 * which items the answers make. No code of the definitions file runs. */
#pragma once
#include "actors/material.h"

enum { PLAN_GROUPS_MAX = 32, PLAN_GROUP_FEATURES_MAX = 128 };

/* Arrays are in the arena and as long as the context needs. */
struct plan_group { /* all features of one entity id: one ask */
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

/* args: the request's arguments, checked. Texts go to the arena. NULL: a bound is reached. */
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
