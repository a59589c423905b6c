/* Blocks of one size with a free list in front of malloc. One thread; a block may be returned to another
 * pool of the same size. The free list keeps at most `free_max` blocks, so a burst gives its memory back.
 * Under AddressSanitizer and ThreadSanitizer every block is a fresh malloc, so that a use after free is
 * seen. */
#pragma once
#include "runtime/check.h"
#include <stddef.h>
#include <stdint.h>

enum { POOL_ALIGN = 64 };

struct pool {
	void *free;         /* owned chain through the first word of each block */
	size_t block_bytes; /* multiple of POOL_ALIGN */
	uint32_t free_len, free_max;
};

static inline void pool_init(struct pool *p, size_t block_bytes, uint32_t free_max)
{
	size_t units = (block_bytes + POOL_ALIGN - 1) / POOL_ALIGN;
	*p = (struct pool){ .block_bytes = units * POOL_ALIGN, .free_max = free_max };
}

void pool_finish(struct pool *p);         /* frees the free list; blocks in use stay valid */
void *pool_block_new(size_t block_bytes); /* never NULL: without memory for one block the process stops. Any thread */

/* Not zeroed. */
static inline void *pool_get(struct pool *p)
{
	void *block = p->free;
	if (__builtin_expect(block == NULL, 0))
		return pool_block_new(p->block_bytes);
	p->free = *(void **)block;
	p->free_len--;
	return block;
}

/* Moves block. */
static inline void pool_put(struct pool *p, void *block)
{
#if defined(FABRA_ASAN) || defined(FABRA_TSAN)
	free(block);
	(void)p;
#else
	if (__builtin_expect(p->free_len == p->free_max, 0)) {
		free(block);
		return;
	}
	*(void **)block = p->free;
	p->free = block;
	p->free_len++;
#endif
}
