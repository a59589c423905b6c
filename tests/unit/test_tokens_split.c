/* The split written out by hand against the published patterns run by PCRE2: equal pieces, not only equal ids, since
 * two different cuts often come to the same tokens. The alphabet leaves out what PCRE2's older Unicode classes
 * differently, and U+180E, which its \s takes and the reference's does not. */
#include "actors/tokens/tokens_split.h"
#include "runtime/check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

static const char *const patterns[] = {
	[TOKENS_RULES_CASED] = "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS
			       "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" CONTRACTIONS
			       "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|"
			       "\\s+(?!\\S)|\\s+",
	[TOKENS_RULES_PLAIN] = CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
					    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};

/* One or more of each class, ASCII and not, and what contractions are made of. */
static const char *const alphabet[] = {
	"a",
	"b",
	"s",
	"S",
	"t",
	"r",
	"e",
	"v",
	"m",
	"l",
	"L",
	"d",
	"A",
	"B",
	"Z",
	"'",
	"'",
	"'",
	" ",
	" ",
	" ",
	"\n",
	"\r",
	"\t",
	"/",
	".",
	"!",
	"(",
	"_",
	"1",
	"23",
	"\xc5\xbf",
	"\xe2\x84\xaa",
	"\xc2\xaa",
	"\xca\xb0",
	"\xc3\xa9",
	"\xc3\x89",
	"\xc7\x85",
	"\xcc\x81",
	"\xe4\xbd\xa0",
	"\xd9\xa3",
	"\xe2\x85\xa7",
	"\xc2\xa0",
	"\xe3\x80\x80",
	"\xc2\x85",
	"\xe2\x80\x99",
	"\xf0\x9f\x98\x80",
	"\xf0\x9d\x9f\x98",
	"\x01",
	"    ",
	"word",
	" Word",
};

/* What tokens_split_ends takes many pieces of at once, and a little of what stops it. */
static const char *const plain[] = {
	"a", "b",  "A", "BC", "word", "Words", "aB", " ", " ", " ", " ", "\n", "\r\n", ".",    ",",        "(",
	"-", "\"", "_", "~",  "@",    "[",     "`",  "{", "'", "/", "0", ":",  "\t",   "\x7f", "\xc3\xa9",
};

#define MAX_BYTES 512

static uint64_t seed = 3;

static uint32_t below(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((seed >> 33) % n);
}

static const char *random_unit(bool any)
{
	return any ? alphabet[below(ARRAY_LEN(alphabet))] : plain[below(below(4) ? 16 : ARRAY_LEN(plain))];
}

static size_t random_text(char *text, size_t max)
{
	size_t n = 0;
	bool any = below(2);
	for (uint32_t left = 1 + below(any ? 24 : 60); left > 0; left--) {
		const char *next = random_unit(any);
		for (uint32_t again = below(8) ? 1 : 1 + below(5); again > 0 && n + strlen(next) <= max; again--) {
			memcpy(text + n, next, strlen(next));
			n += strlen(next);
		}
	}
	return n;
}

static void fail_at(enum tokens_rules rules, size_t at, size_t ours, size_t theirs, const char *text, size_t n)
{
	fprintf(stderr, "rules %d, at %zu: a piece to %zu, the pattern's goes to %zu; text: \"%.*s\"\n", rules, at,
		ours, theirs, (int)n, text);
	fail();
}

/* Pieces that were found by tokens_split_ends. */
static size_t found_together;

/* stops[i]: the end of the piece that begins at i. */
static void check_ends(enum tokens_rules rules, const char *text, size_t n, const size_t *stops, size_t from)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t at = from;
	for (uint64_t ends = tokens_split_ends(rules, p + from, p + n); ends != 0; ends &= ends - 1) {
		size_t ours = from + (size_t)__builtin_ctzll(ends);
		if (ours != stops[at])
			fail_at(rules, at, ours, stops[at], text, n);
		at = ours;
		found_together++;
	}
}

static void check_split(pcre2_code *code, pcre2_match_data *match, enum tokens_rules rules, const char *text, size_t n)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + n;
	size_t stops[MAX_BYTES];
	for (size_t at = 0; at < n; at = stops[at]) {
		assert_true(pcre2_match(code, (PCRE2_SPTR)text, n, at, 0, match, NULL) > 0);
		const size_t *span = pcre2_get_ovector_pointer(match);
		size_t ours = (size_t)(tokens_split_next(rules, p + at, end) - p);
		if (span[0] != at || span[1] != ours)
			fail_at(rules, at, ours, span[1], text, n);
		stops[at] = ours;
	}
	for (size_t at = 0; at < n; at = stops[at])
		check_ends(rules, text, n, stops, at);
}

static void check_rules(enum tokens_rules rules)
{
	int error;
	size_t offset;
	char text[MAX_BYTES];
	found_together = 0;
	tokens_split_prepare();
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)patterns[rules], PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
					 &error, &offset, NULL);
	assert_non_null(code);
	pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
	pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
	for (int round = 0; round < 60000; round++)
		check_split(code, match, rules, text, random_text(text, sizeof text));
#ifdef __SSE2__
	assert_true(found_together > 500000);
#endif
	pcre2_match_data_free(match);
	pcre2_code_free(code);
}

static void test_cased(void **state)
{
	(void)state;
	check_rules(TOKENS_RULES_CASED);
}

static void test_plain(void **state)
{
	(void)state;
	check_rules(TOKENS_RULES_PLAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cased), cmocka_unit_test(test_plain) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
