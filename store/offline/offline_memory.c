/* The program's own definitions of operator new and delete and of DuckDB's default allocator come before those of the libraries:
 * this file is part of the executable. They are named as the C++ ABI names them; without a question they do what the others do. */
#include "store/offline/offline_memory.h"
#include "runtime/check.h"
#include <dlfcn.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What the pool takes, and counts itself: a block of a DuckDB file. Larger ones that it takes count twice, and may. */
enum { POOL_BLOCK_BYTES = 256 << 10 };

static _Thread_local struct {
	size_t held, max; /* max 0: no question */
	bool was_refused;
} question;

void offline_memory_begin(size_t bytes_max)
{
	DCHECK(question.max == 0 && bytes_max > 0);
	question.held = 0;
	question.max = bytes_max;
	question.was_refused = false;
}

size_t offline_memory_max(void)
{
	return question.max;
}

bool offline_memory_end(void)
{
	question.max = 0;
	return question.was_refused;
}

static inline bool is_refused(size_t bytes)
{
	if (question.max == 0 || bytes < OFFLINE_MEMORY_COUNTED_MIN ||
	    (bytes <= question.max && question.held <= question.max - bytes))
		return false;
	question.was_refused = true;
	return true;
}

static inline void note_taken(size_t bytes)
{
	if (question.max != 0 && bytes >= OFFLINE_MEMORY_COUNTED_MIN)
		question.held += bytes;
}

/* It may be of an earlier question, or of another thread's. */
static inline void note_given(size_t bytes)
{
	if (question.max != 0 && bytes >= OFFLINE_MEMORY_COUNTED_MIN)
		question.held -= bytes < question.held ? bytes : question.held;
}

/* The definition that would have been taken without this one. */
static void *next_definition(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	CHECK(found != NULL);
	return found;
}

/* ---- operator new and delete ---- */

static void *new_or_null(size_t bytes)
{
	if (is_refused(bytes))
		return NULL;
	void *p = malloc(bytes > 0 ? bytes : 1);
	if (p != NULL && question.max != 0)
		note_taken(malloc_usable_size(p));
	return p;
}

/* C++'s library is there because DuckDB needs it; nothing else here does, so it is not linked. */
static void throw_bad_alloc(void)
{
	void (*throw_it)(void);
	*(void **)&throw_it = next_definition("_ZSt17__throw_bad_allocv");
	throw_it();
}

static void *new_or_throw(size_t bytes)
{
	void *p = new_or_null(bytes);
	if (p == NULL)
		throw_bad_alloc();
	return p;
}

static void delete_any(void *p)
{
	if (question.max != 0 && p != NULL)
		note_given(malloc_usable_size(p));
	free(p);
}

void *operator_new(size_t bytes) __asm__("_Znwm");
void *operator_new_array(size_t bytes) __asm__("_Znam");
void *operator_new_nothrow(size_t bytes, const void *tag) __asm__("_ZnwmRKSt9nothrow_t");
void *operator_new_array_nothrow(size_t bytes, const void *tag) __asm__("_ZnamRKSt9nothrow_t");
void operator_delete(void *p) __asm__("_ZdlPv");
void operator_delete_array(void *p) __asm__("_ZdaPv");
void operator_delete_sized(void *p, size_t bytes) __asm__("_ZdlPvm");
void operator_delete_array_sized(void *p, size_t bytes) __asm__("_ZdaPvm");

void *operator_new(size_t bytes)
{
	return new_or_throw(bytes);
}

void *operator_new_array(size_t bytes)
{
	return new_or_throw(bytes);
}

void *operator_new_nothrow(size_t bytes, const void *tag)
{
	(void)tag;
	return new_or_null(bytes);
}

void *operator_new_array_nothrow(size_t bytes, const void *tag)
{
	(void)tag;
	return new_or_null(bytes);
}

void operator_delete(void *p)
{
	delete_any(p);
}

void operator_delete_array(void *p)
{
	delete_any(p);
}

void operator_delete_sized(void *p, size_t bytes)
{
	(void)bytes;
	delete_any(p);
}

void operator_delete_array_sized(void *p, size_t bytes)
{
	(void)bytes;
	delete_any(p);
}

/* ---- duckdb::Allocator::DefaultAllocate, DefaultFree, DefaultReallocate ---- */

#define ALLOCATE   "_ZN6duckdb9Allocator15DefaultAllocateEPNS_20PrivateAllocatorDataEm"
#define FREE       "_ZN6duckdb9Allocator11DefaultFreeEPNS_20PrivateAllocatorDataEPhm"
#define REALLOCATE "_ZN6duckdb9Allocator17DefaultReallocateEPNS_20PrivateAllocatorDataEPhmm"

typedef void *allocate_fn(void *data, size_t bytes);
typedef void free_fn(void *data, void *p, size_t bytes);
typedef void *reallocate_fn(void *data, void *p, size_t bytes_before, size_t bytes);

allocate_fn default_allocate __asm__(ALLOCATE);
free_fn default_free __asm__(FREE);
reallocate_fn default_reallocate __asm__(REALLOCATE);

/* DuckDB may come here before anything of ours has run. */
#define NEXT(type, name)                                                                                               \
	static _Atomic(type *) known;                                                                                  \
	type *next = atomic_load_explicit(&known, memory_order_relaxed);                                               \
	if (next == NULL) {                                                                                            \
		*(void **)&next = next_definition(name);                                                               \
		atomic_store_explicit(&known, next, memory_order_relaxed);                                             \
	}

/* NULL: DuckDB throws "failed to allocate". */
void *default_allocate(void *data, size_t bytes)
{
	NEXT(allocate_fn, ALLOCATE)
	bool is_counted = bytes != POOL_BLOCK_BYTES;
	if (is_counted && is_refused(bytes))
		return NULL;
	void *p = next(data, bytes);
	if (p != NULL && is_counted)
		note_taken(bytes);
	return p;
}

void default_free(void *data, void *p, size_t bytes)
{
	NEXT(free_fn, FREE)
	if (p != NULL && bytes != POOL_BLOCK_BYTES)
		note_given(bytes);
	next(data, p, bytes);
}

/* While it copies there are both. NULL: the block before is still there. */
void *default_reallocate(void *data, void *p, size_t bytes_before, size_t bytes)
{
	NEXT(reallocate_fn, REALLOCATE)
	if (bytes != POOL_BLOCK_BYTES && is_refused(bytes))
		return NULL;
	void *moved = next(data, p, bytes_before, bytes);
	if (moved == NULL)
		return NULL;
	if (bytes_before != POOL_BLOCK_BYTES)
		note_given(bytes_before);
	if (bytes != POOL_BLOCK_BYTES)
		note_taken(bytes);
	return moved;
}
