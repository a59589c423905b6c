/* A bump allocator for one request: many small allocations, one release. Bounded; not shared between threads. */
#pragma once
#include "runtime/str.h"
#include <stdint.h>

struct arena_block;

struct arena {
	struct arena_block *blocks; /* newest first; owned */
	char *at, *end;             /* free room in the newest block */
	size_t used, max;           /* bytes handed out and their bound; max 0 means ARENA_MAX_DEFAULT */
};

#define ARENA_MAX_DEFAULT (32u << 20)

/* `struct arena a = {0}` is a valid empty arena. */
void arena_finish(struct arena *a); /* frees everything; usable again */
/* 16-byte aligned, not zeroed. NULL when the bound is reached or memory is out. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);
/* Room for one more element behind `count`: the array itself, or a copy of twice the size, with *cap for what fits now. NULL:
 * there are max, or no memory; the array stays as it is. */
void *arena_array_grow(struct arena *a, void *array, uint32_t count, uint32_t *cap, uint32_t max, size_t element_bytes);
/* A NUL-terminated copy; .p is NULL on failure. */
struct str arena_dup(struct arena *a, struct str s);
