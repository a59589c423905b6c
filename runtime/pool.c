#include "runtime/pool.h"

void *pool_block_new(size_t block_bytes)
{
	void *block = aligned_alloc(POOL_ALIGN, block_bytes);
	CHECK(block != NULL);
	return block;
}

void pool_finish(struct pool *p)
{
	while (p->free != NULL) {
		void *block = p->free;
		p->free = *(void **)block;
		free(block);
	}
	p->free_len = 0;
}
