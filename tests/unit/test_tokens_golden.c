/* Counts and ids against the npm package tiktoken: tests/golden/tokens.txt is what it said about some 1,500 texts (made
 * by tests/golden/make_tokens.mjs). FABRA_TOKENS_GOLDEN names another such file; the live test makes a fresh one. */
#include "actors/tokens/tokens.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct golden {
	char *text; /* owned */
	size_t text_bytes;
	size_t count[2]; /* by enum tokens_encoding */
	uint64_t hash[2];
};

static struct tokens encodings[2];

static int open_tables(void **state)
{
	(void)state;
	struct buf errors = { 0 };
	for (int e = 0; e < 2; e++)
		if (tokens_open(&encodings[e], (enum tokens_encoding)e, NULL, &errors) < 0) {
			fprintf(stderr, "%.*s", STR_ARG(buf_str(&errors)));
			buf_finish(&errors);
			return -1;
		}
	return 0;
}

static int close_tables(void **state)
{
	(void)state;
	for (int e = 0; e < 2; e++)
		tokens_close(&encodings[e]);
	return 0;
}

static int base64_value(char c)
{
	const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = strchr(digits, c);
	return c && at ? (int)(at - digits) : -1;
}

/* Reads one line; false at the end of the file. */
static bool read_golden(FILE *f, char *line, size_t line_max, struct golden *g)
{
	if (fgets(line, (int)line_max, f) == NULL)
		return false;
	char *space = strchr(line, ' ');
	assert_non_null(space);
	assert_int_equal(sscanf(space, " %zu %lx %zu %lx", &g->count[TOKENS_O200K], &g->hash[TOKENS_O200K],
				&g->count[TOKENS_CL100K], &g->hash[TOKENS_CL100K]),
			 4);
	char decoded[1 << 16];
	size_t n = 0;
	uint32_t bits = 0, have = 0;
	for (char *c = line; c < space && base64_value(*c) >= 0; c++) {
		bits = bits << 6 | (uint32_t)base64_value(*c);
		if ((have += 6) >= 8)
			decoded[n++] = (char)(bits >> (have -= 8));
		assert_true(n < sizeof decoded);
	}
	/* A copy of exactly that length, so that AddressSanitizer sees a read behind its end. */
	g->text = malloc(n ? n : 1);
	assert_non_null(g->text);
	memcpy(g->text, decoded, n);
	g->text_bytes = n;
	return true;
}

static uint64_t fnv(const uint32_t *ids, size_t n)
{
	uint64_t hash = 0xcbf29ce484222325ull;
	for (size_t i = 0; i < n; i++)
		for (int shift = 0; shift < 32; shift += 8)
			hash = (hash ^ (ids[i] >> shift & 0xff)) * 0x100000001b3ull;
	return hash;
}

static void check_golden(const struct golden *g, int line)
{
	static uint32_t ids[1 << 16];
	for (int e = 0; e < 2; e++) {
		struct str text = str_of(g->text, g->text_bytes);
		size_t n = tokens_encode(&encodings[e], text, ids, 1 << 16);
		if (n != g->count[e] || fnv(ids, n) != g->hash[e] || tokens_count(&encodings[e], text) != n) {
			fprintf(stderr, "line %d, %s: %zu tokens, expected %zu; text:\n%.*s\n", line,
				tokens_encoding_name((enum tokens_encoding)e), n, g->count[e], STR_ARG(text));
			fail();
		}
	}
}

static void test_golden(void **state)
{
	(void)state;
	const char *path = getenv("FABRA_TOKENS_GOLDEN");
	FILE *f = fopen(path ? path : FABRA_SOURCE_DIR "/tests/golden/tokens.txt", "r");
	assert_non_null(f);
	static char line[1 << 18];
	struct golden g;
	int lines = 0;
	for (; read_golden(f, line, sizeof line, &g); free(g.text))
		check_golden(&g, ++lines);
	fclose(f);
	assert_true(lines >= 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_golden) };
	return cmocka_run_group_tests(tests, open_tables, close_tables);
}
