/* The bound on the online table is in bytes that the allocator takes, and the program's is mimalloc. */
#include "runtime/check.h"
#include "store/online/online_row.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void *(*mi_malloc)(size_t n);
static size_t (*mi_usable_size)(const void *p);
static void (*mi_free)(void *p);

static bool find_mimalloc(void)
{
	void *library = dlopen("libmimalloc.so.2", RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		library = dlopen("libmimalloc.so.2.0", RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return false;
	*(void **)&mi_malloc = dlsym(library, "mi_malloc");
	*(void **)&mi_usable_size = dlsym(library, "mi_usable_size");
	*(void **)&mi_free = dlsym(library, "mi_free");
	return mi_malloc != NULL && mi_usable_size != NULL && mi_free != NULL;
}

static size_t taken(size_t n)
{
	void *p = mi_malloc(n);
	assert_non_null(p);
	size_t bytes = mi_usable_size(p);
	mi_free(p);
	return bytes;
}

static void test_bytes_are_those_of_the_allocator(void **state)
{
	(void)state;
	if (!find_mimalloc()) {
		fprintf(stderr, "SKIPPED: libmimalloc is not installed\n");
		skip();
	}
	for (size_t id_len = 0; id_len <= 512; id_len += 7)
		for (size_t cells = 1; cells <= 64; cells++)
			assert_int_equal(row_bytes(id_len, cells),
					 taken(row_cells_at(id_len) + cells * sizeof(struct cell)));
	for (uint32_t len = 64; len < 120000; len += len < 4000 ? 1 : 97) {
		struct value *v = calloc(1, sizeof *v + len + 1);
		assert_non_null(v);
		v->len = len;
		if (row_value_bytes(v) != 0) /* a short one lies in its row */
			assert_int_equal(row_value_bytes(v), taken(sizeof *v + len + 1));
		free(v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_are_those_of_the_allocator),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
