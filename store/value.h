/* A feature value: immutable JSON text that any number of holders on any thread share. */
#pragma once
#include "runtime/str.h"
#include <stdatomic.h>
#include <stdint.h>

struct value {
	atomic_uint refs;
	uint32_t len; /* bytes of json, without the NUL behind it */
	char json[];
};

/* A copy of json with one reference, the caller's. NULL: no memory, or more than UINT32_MAX - 64 bytes. */
struct value *value_create(struct str json);
/* One more reference for the caller, who already holds or borrows one. */
struct value *value_ref(struct value *v);
/* Gives one reference up; the last frees. NULL ok. */
void value_unref(struct value *v);

/* Borrows from v. */
static inline struct str value_json(const struct value *v)
{
	return str_of(v->json, v->len);
}
