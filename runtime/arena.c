#include "runtime/arena.h"
#include <stdlib.h>

struct arena_block {
	struct arena_block *next;
	size_t size; /* of data */
	_Alignas(16) char data[];
};

enum { BLOCK_MIN = 4096, BLOCK_MAX = 1 << 18 };

void arena_finish(struct arena *a)
{
	for (struct arena_block *b = a->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	*a = (struct arena){ .max = a->max };
}

static bool arena_grow(struct arena *a, size_t n)
{
	size_t size = a->blocks ? a->blocks->size * 2 : BLOCK_MIN;
	if (size > BLOCK_MAX)
		size = BLOCK_MAX;
	if (size < n)
		size = n;
	struct arena_block *b = malloc(sizeof *b + size);
	if (b == NULL)
		return false;
	b->next = a->blocks;
	b->size = size;
	a->blocks = b;
	a->at = b->data;
	a->end = b->data + size;
	return true;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t max = a->max ? a->max : ARENA_MAX_DEFAULT;
	if (n > max)
		return NULL;
	n = (n + 15) & ~(size_t)15;
	if (n > max - a->used)
		return NULL;
	if ((size_t)(a->end - a->at) < n && !arena_grow(a, n))
		return NULL;
	void *p = a->at;
	a->at += n;
	a->used += n;
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);
	return p ? memset(p, 0, n) : NULL;
}

void *arena_array_grow(struct arena *a, void *array, uint32_t count, uint32_t *cap, uint32_t max, size_t element_bytes)
{
	if (count < *cap)
		return array;
	if (count >= max)
		return NULL;
	uint32_t grown = *cap ? *cap * 2 : 4;
	void *p = arena_alloc(a, grown * element_bytes);
	if (p == NULL)
		return NULL;
	if (count)
		memcpy(p, array, count * element_bytes);
	*cap = grown;
	return p;
}

struct str arena_dup(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);
	if (p == NULL)
		return (struct str){ 0 };
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return (struct str){ p, s.n };
}
