/* script_blocks.c -- small blocks for a Lua state, in slabs.
 *
 * A slab is 32 KiB, aligned to its size, and holds blocks of one size. A block finds its slab by its address. A slab whose
 * last block is freed serves any size again; beyond a few spare ones its pages go back to the system at once (an allocator
 * would keep them until its thread allocates again: an idle loop held 60 MB for ever). A class keeps its slabs with room in
 * a list, full ones in none. All slabs of a state lie in one mapping, of which only what is in use has memory. */
#include "actors/script/script_state.h"
#include <stdlib.h>
#include <sys/mman.h>

#ifdef FABRA_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_register_root_region(p, n)   ((void)(p), (void)(n))
#define __lsan_unregister_root_region(p, n) ((void)(p), (void)(n))
/* blocks look freed to AddressSanitizer while they are in a free list */
#define ASAN_POISON_MEMORY_REGION(p, n)     ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#endif

enum { SMALL_MAX = 256, GRAIN = 16, CLASSES = SMALL_MAX / GRAIN, SLAB_BYTES = 32 << 10, SPARE_MAX = 16 };

struct free_block {
	struct free_block *next;
};

struct slab {
	struct slab *next, *previous; /* of the class's slabs with room; of the spare ones only next */
	struct free_block *free;
	uint32_t used;         /* blocks handed out */
	uint32_t untouched_at; /* offset of the first byte that was never handed out */
	uint32_t class;
	bool is_listed;
};

struct script_blocks {
	struct slab *with_room[CLASSES];
	struct slab *spare;
	size_t spare_count;
	char *mapping, *first; /* first: the mapping from the first multiple of SLAB_BYTES on */
	size_t mapping_bytes;
	uint32_t slabs_max, untouched;          /* slabs from this index on have never been used */
	uint32_t *given_back, given_back_count; /* indexes of those without memory */
};

struct script_blocks *script_blocks_create(size_t bytes_max)
{
	struct script_blocks *b = calloc(1, sizeof *b);
	if (b == NULL)
		return NULL;
	b->slabs_max = (uint32_t)(bytes_max / SLAB_BYTES) + CLASSES;
	b->given_back = calloc(b->slabs_max, sizeof *b->given_back);
	b->mapping_bytes = ((size_t)b->slabs_max + 1) * SLAB_BYTES;
	b->mapping = mmap(NULL, b->mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);
	if (b->mapping == MAP_FAILED)
		b->mapping = NULL;
	if (b->mapping == NULL || b->given_back == NULL) {
		script_blocks_destroy(b);
		return NULL;
	}
	b->first = (char *)(((uintptr_t)b->mapping + SLAB_BYTES - 1) & ~(uintptr_t)(SLAB_BYTES - 1));
	madvise(b->mapping, b->mapping_bytes, MADV_NOHUGEPAGE);    /* or a state of 100 KB would have 2 MB */
	__lsan_register_root_region(b->mapping, b->mapping_bytes); /* larger blocks are known from here only */
	return b;
}

static void slab_free(struct script_blocks *b, struct slab *s)
{
	ASAN_UNPOISON_MEMORY_REGION(s, SLAB_BYTES);
	b->given_back[b->given_back_count++] = (uint32_t)(((char *)s - b->first) / SLAB_BYTES);
	madvise(s, SLAB_BYTES, MADV_DONTNEED);
}

void script_blocks_destroy(struct script_blocks *b)
{
	if (b == NULL)
		return;
	if (b->mapping) {
		__lsan_unregister_root_region(b->mapping, b->mapping_bytes);
		ASAN_UNPOISON_MEMORY_REGION(b->mapping, b->mapping_bytes);
		munmap(b->mapping, b->mapping_bytes);
	}
	free(b->given_back);
	free(b);
}

/* ---- a class's list of slabs with room ---- */

static void list(struct script_blocks *b, struct slab *s)
{
	s->next = b->with_room[s->class];
	s->previous = NULL;
	if (s->next)
		s->next->previous = s;
	b->with_room[s->class] = s;
	s->is_listed = true;
}

static void unlist(struct script_blocks *b, struct slab *s)
{
	if (s->previous)
		s->previous->next = s->next;
	else
		b->with_room[s->class] = s->next;
	if (s->next)
		s->next->previous = s->previous;
	s->is_listed = false;
}

/* ---- slabs ---- */

static struct slab *slab_of(void *block)
{
	return (struct slab *)((uintptr_t)block & ~(uintptr_t)(SLAB_BYTES - 1));
}

static size_t block_bytes(const struct slab *s)
{
	return ((size_t)s->class + 1) * GRAIN;
}

static struct slab *slab_new(struct script_blocks *b, size_t class)
{
	struct slab *s = b->spare;
	if (s) {
		b->spare = s->next;
		b->spare_count--;
	} else if (b->given_back_count > 0) {
		s = (struct slab *)(b->first + (size_t)b->given_back[--b->given_back_count] * SLAB_BYTES);
	} else if (b->untouched < b->slabs_max) {
		s = (struct slab *)(b->first + (size_t)b->untouched++ * SLAB_BYTES);
	} else {
		return NULL;
	}
	*s = (struct slab){ .class = (uint32_t) class,
			    .untouched_at = (sizeof *s + GRAIN - 1) & ~(uint32_t)(GRAIN - 1) };
	ASAN_POISON_MEMORY_REGION((char *)s + s->untouched_at, SLAB_BYTES - s->untouched_at);
	list(b, s);
	return s;
}

static bool has_room(const struct slab *s)
{
	return s->free || s->untouched_at + block_bytes(s) <= SLAB_BYTES;
}

static void *take_small(struct script_blocks *b, size_t bytes)
{
	size_t class = (bytes - 1) / GRAIN;
	struct slab *s = b->with_room[class];
	if (s == NULL && (s = slab_new(b, class)) == NULL)
		return NULL;
	void *block;
	if (s->free) {
		struct free_block *first = s->free;
		ASAN_UNPOISON_MEMORY_REGION(first, block_bytes(s));
		s->free = first->next;
		block = first;
	} else {
		block = (char *)s + s->untouched_at;
		ASAN_UNPOISON_MEMORY_REGION(block, block_bytes(s));
		s->untouched_at += (uint32_t)block_bytes(s);
	}
	s->used++;
	if (!has_room(s))
		unlist(b, s);
	return block;
}

static void give_small(struct script_blocks *b, void *block)
{
	struct slab *s = slab_of(block);
	struct free_block *freed = block;
	freed->next = s->free;
	s->free = freed;
	ASAN_POISON_MEMORY_REGION(block, block_bytes(s));
	s->used--;
	if (!s->is_listed)
		list(b, s);
	if (s->used > 0)
		return;
	unlist(b, s);
	if (b->spare_count == SPARE_MAX) {
		slab_free(b, s);
		return;
	}
	s->next = b->spare;
	b->spare = s;
	b->spare_count++;
}

/* ---- blocks of any size ---- */

static void *take(struct script_blocks *b, size_t bytes)
{
	return bytes <= SMALL_MAX ? take_small(b, bytes) : malloc(bytes);
}

static void give_back(struct script_blocks *b, void *block, size_t bytes)
{
	if (block == NULL)
		return;
	if (bytes > SMALL_MAX)
		free(block);
	else
		give_small(b, block);
}

void *script_blocks_realloc(struct script_blocks *b, void *block, size_t old_bytes, size_t bytes)
{
	if (bytes == 0) {
		give_back(b, block, old_bytes);
		return NULL;
	}
	if (block && old_bytes > SMALL_MAX && bytes > SMALL_MAX)
		return realloc(block, bytes);
	if (block && old_bytes <= SMALL_MAX && bytes <= SMALL_MAX && (old_bytes - 1) / GRAIN == (bytes - 1) / GRAIN)
		return block;
	void *p = take(b, bytes);
	if (p && block) {
		memcpy(p, block, old_bytes < bytes ? old_bytes : bytes);
		give_back(b, block, old_bytes);
	}
	return p;
}
