/* Assertions. CHECK stays on in release builds: it guards what would otherwise corrupt evidence. DCHECK is for hot
 * paths and vanishes with NDEBUG. Both stop the process and say where: a broken invariant is not an error to answer.
 * They are for what only a mistake in this program can bring about, and for small memory: nothing whose size or content a
 * request, a file or a setting decides is checked so. That is refused, with a reason. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (__builtin_expect(!(cond), 0)) {                                                                    \
			fprintf(stderr, "%s:%d: %s: CHECK failed: %s\n", __FILE__, __LINE__, __func__, #cond);         \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#ifdef NDEBUG
#define DCHECK(cond) ((void)sizeof(cond))
#else
#define DCHECK(cond) CHECK(cond)
#endif

#define UNREACHABLE()                                                                                                  \
	do {                                                                                                           \
		fprintf(stderr, "%s:%d: %s: reached the unreachable\n", __FILE__, __LINE__, __func__);                 \
		abort();                                                                                               \
	} while (0)

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
