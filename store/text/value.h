/* A feature value: immutable JSON text that any number of holders on any thread share. */
#pragma once
#include "runtime/str.h"
#include <stdatomic.h>
#include <stdint.h>

/* What a value was made from, in the terms of whoever makes values; shared as values are. */
struct value_basis {
	atomic_uint refs;
	uint32_t bytes; /* of heap that it keeps, for who bounds memory; does not change */
	void (*destroy)(struct value_basis *b);
};

struct value {
	atomic_uint refs;
	uint32_t len;              /* bytes of json, without the NUL behind it */
	struct value_basis *basis; /* shares; NULL: nothing but itself */
	char json[];
};

/* A copy of json with one reference, the caller's. NULL: no memory, or more than UINT32_MAX - 64 bytes. */
struct value *value_create(struct str json);
/* The same of a value that was made from others. Refs basis, which may be NULL. */
struct value *value_create_from(struct str json, struct value_basis *basis);
/* One more reference for the caller, who already holds or borrows one. */
struct value *value_ref(struct value *v);
/* Gives one reference up; the last frees. NULL ok. */
void value_unref(struct value *v);
/* The same for what values were made from; NULL ok for both. */
struct value_basis *value_basis_ref(struct value_basis *b);
void value_basis_unref(struct value_basis *b);

/* Borrows from v. */
static inline struct str value_json(const struct value *v)
{
	return str_of(v->json, v->len);
}
