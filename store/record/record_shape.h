/* JSON objects into structs by tables: what each member is called, what it may be, where it goes. The
 * coercions are those of pydantic's lax mode, because a record's hash is computed over what pydantic would
 * make of it. Private to store/record/record*.c. */
#pragma once
#include "runtime/check.h"
#include "store/text/json.h"

enum shape_kind {
	SHAPE_TEXT,         /* struct str */
	SHAPE_TEXT_OR_NULL, /* struct str; p NULL = null */
	SHAPE_INT,          /* int64_t; also an integral float or string, or a boolean */
	SHAPE_INT_OR_NULL,  /* int64_t from 0; -1 = null */
	SHAPE_COUNT,        /* size_t */
	SHAPE_FLOAT,        /* double, finite; also an integer, a numeric string or a boolean */
	SHAPE_BOOL,         /* bool; also 0, 1 and the usual words */
	SHAPE_TIME,         /* int64_t us; aside: int16_t zone. ISO 8601, or unix seconds (number, string) */
	SHAPE_TIME_OR_NULL, /* int64_t us, the zone is dropped; -1 = null */
	SHAPE_ENUM,         /* an enum whose constants are the places in names */
	SHAPE_EITHER,       /* bool: the second of two names */
	SHAPE_JSON,         /* struct str, compact JSON text */
	SHAPE_JSON_OBJECT,
	SHAPE_TEXTS,  /* const struct str *; aside: size_t count */
	SHAPE_PARTS,  /* const pointer to structs of `part`, zeroed first; aside: size_t count */
	SHAPE_INLINE, /* one level down in the JSON only: offsets of `part` are the outer ones */
};

struct shape;
struct shape_member {
	const char *name;
	enum shape_kind kind;
	bool required;
	size_t at, aside; /* offsets */
	const struct shape *part;
	const char *const *names; /* NULL-terminated */
	const char *why;          /* static: what it must be */
};
struct shape {
	const struct shape_member *members; /* at most 64 */
	size_t count;
	size_t size;         /* of the struct */
	const char *unknown; /* static: said of a member that is not in the table */
};
#define SHAPE(members_, type, unknown_)                                                                                \
	{                                                                                                              \
		.members = (members_), .count = ARRAY_LEN(members_), .size = sizeof(type), .unknown = (unknown_)       \
	}

/* Fills *ret, which has its initial values already. Texts and arrays go to the arena. strict: a member that
 * the table does not know is an error. false: *ret_why (static) says why. */
bool shape_read(const struct shape *shape, yyjson_val *object, bool strict, struct arena *arena, void *ret,
		const char **ret_why);
