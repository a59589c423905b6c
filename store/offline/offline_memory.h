/* How much memory one question may hold beside what DuckDB counts.
 *
 * DuckDB's memory_limit is for its pool of blocks: tables, sorts, hash tables. Texts and lists that functions make (replace,
 * ||, repeat, list_reduce, formats, whatever the next version brings) are taken from its allocator and from C++'s operator new,
 * and nothing bounds them; an operator new that finds no memory may end the process (mimalloc's does). So both are ours: between
 * begin and end the calling thread gets no block that would be too much for its question, DuckDB throws, as it does when there
 * is no memory, and the statement ends with an error. DuckDB runs a statement in the thread that asks (threads = 1), in planning
 * too, where constants are computed.
 *
 * Only blocks from OFFLINE_MEMORY_COUNTED_MIN on are counted and refused: one value that grows, or the growing room of many, is
 * made of those, and code that cannot stand an exception (destructors, clean-up) takes less at once. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { OFFLINE_MEMORY_COUNTED_MIN = 32 << 10 };

/* For the calling thread; they do not nest. */
void offline_memory_begin(size_t bytes_max);
size_t offline_memory_max(void); /* 0: not between begin and end */
/* Whether a block was refused since. */
bool offline_memory_end(void);
