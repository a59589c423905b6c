#include "actors/script_state.h"
#include <stdlib.h>

/* AddressSanitizer sees more when each block is malloc's. */
#ifdef FABRA_ASAN
enum { SMALL_MAX = 0 };
#else
enum { SMALL_MAX = 256 };
#endif
enum { GRAIN = 16, CLASSES = 256 / GRAIN, CHUNK_BYTES = 32 << 10 };

struct free_block {
	struct free_block *next;
};

struct chunk {
	struct chunk *next;
	_Alignas(16) char data[CHUNK_BYTES];
};

struct script_blocks {
	struct free_block *free[CLASSES]; /* [i]: of (i + 1) * GRAIN bytes */
	struct chunk *chunks;
	size_t unused_bytes; /* at the end of the newest chunk */
	size_t chunks_bytes, chunks_bytes_max;
};

struct script_blocks *script_blocks_create(size_t chunks_bytes_max)
{
	struct script_blocks *b = calloc(1, sizeof *b);
	if (b)
		b->chunks_bytes_max = chunks_bytes_max;
	return b;
}

void script_blocks_destroy(struct script_blocks *b)
{
	if (b == NULL)
		return;
	for (struct chunk *c = b->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(b);
}

static size_t class_of(size_t bytes)
{
	return (bytes - 1) / GRAIN;
}

static void *take_small(struct script_blocks *b, size_t bytes)
{
	size_t class = class_of(bytes), whole = (class + 1) * GRAIN;
	struct free_block *block = b->free[class];
	if (block) {
		b->free[class] = block->next;
		return block;
	}
	if (b->unused_bytes < whole) {
		if (b->chunks_bytes + CHUNK_BYTES > b->chunks_bytes_max)
			return NULL;
		struct chunk *c = malloc(sizeof *c);
		if (c == NULL)
			return NULL;
		c->next = b->chunks;
		b->chunks = c;
		b->chunks_bytes += CHUNK_BYTES;
		b->unused_bytes = CHUNK_BYTES; /* up to 240 bytes of the last chunk are lost */
	}
	void *p = b->chunks->data + CHUNK_BYTES - b->unused_bytes;
	b->unused_bytes -= whole;
	return p;
}

static void *take(struct script_blocks *b, size_t bytes)
{
	return bytes <= SMALL_MAX ? take_small(b, bytes) : malloc(bytes);
}

static void give_back(struct script_blocks *b, void *block, size_t bytes)
{
	if (block == NULL)
		return;
	if (bytes > SMALL_MAX) {
		free(block);
		return;
	}
	struct free_block *small = block;
	small->next = b->free[class_of(bytes)];
	b->free[class_of(bytes)] = small;
}

void *script_blocks_realloc(struct script_blocks *b, void *block, size_t old_bytes, size_t bytes)
{
	if (bytes == 0) {
		give_back(b, block, old_bytes);
		return NULL;
	}
	if (block && old_bytes > SMALL_MAX && bytes > SMALL_MAX)
		return realloc(block, bytes);
	if (block && old_bytes <= SMALL_MAX && bytes <= SMALL_MAX && class_of(old_bytes) == class_of(bytes))
		return block;
	void *p = take(b, bytes);
	if (p && block) {
		memcpy(p, block, old_bytes < bytes ? old_bytes : bytes);
		give_back(b, block, old_bytes);
	}
	return p;
}
