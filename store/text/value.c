#include "store/text/value.h"
#include <stdlib.h>

struct value *value_create(struct str json)
{
	return value_create_from(json, NULL);
}

struct value *value_create_from(struct str json, struct value_basis *basis)
{
	if (json.n > UINT32_MAX - 64)
		return NULL;
	struct value *v = malloc(sizeof *v + json.n + 1);
	if (v == NULL)
		return NULL;
	atomic_init(&v->refs, 1);
	v->len = (uint32_t)json.n;
	v->basis = value_basis_ref(basis);
	if (json.n)
		memcpy(v->json, json.p, json.n);
	v->json[json.n] = '\0';
	return v;
}

struct value *value_ref(struct value *v)
{
	/* relaxed: the caller's own reference keeps v alive, and the text never changes */
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	return v;
}

void value_unref(struct value *v)
{
	/* acq_rel: every other holder's reads come before the free */
	if (v == NULL || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
		return;
	value_basis_unref(v->basis);
	free(v);
}

struct value_basis *value_basis_ref(struct value_basis *b)
{
	if (b)
		atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void value_basis_unref(struct value_basis *b)
{
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
		b->destroy(b);
}
