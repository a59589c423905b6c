/* Cuts text into the pieces within which BPE merges: what the published patterns of o200k_base and cl100k_base match,
 * written out by hand. A piece depends on the text behind its start only (the patterns never look back), and one look
 * at each character decides, so a split is linear in the text and can stop anywhere and go on.
 *
 * Patterns: the pat_str of the encodings in the npm package tiktoken 1.0.22 (MIT). How each phase follows from them is
 * in docs/tokens.md.
 *
 * A byte that is not part of valid UTF-8 is one character of class OTHER, as U+FFFD would be, and counts as itself. */
#pragma once
#include "actors/tokens/tokens_unicode.h"
#include <stdbool.h>

enum tokens_rules { TOKENS_RULES_CASED /* o200k_base */, TOKENS_RULES_PLAIN /* cl100k_base */ };

enum tokens_phase {
	TOKENS_PHASE_UPPER,   /* capitals, caseless letters, marks */
	TOKENS_PHASE_LOWER,   /* small letters, caseless letters, marks */
	TOKENS_PHASE_LETTERS, /* letters of any case, no marks (plain rules) */
	TOKENS_PHASE_OTHER,   /* punctuation, symbols, controls, marks */
	TOKENS_PHASE_TAIL,    /* line ends behind those */
	TOKENS_PHASE_SPACES,  /* white space and line ends */
	TOKENS_PHASE_DONE,    /* `at` is the end of the piece */
};

struct tokens_split {
	const uint8_t *start; /* of the piece; borrows the text */
	const uint8_t *at;    /* scanned so far; the end of the piece once DONE */
	const uint8_t *mark; /* the end if the phase ends badly: behind the last caseless letter or line end; or NULL */
	const uint8_t *last; /* SPACES: start of the last character */
	enum tokens_phase phase;
};

/* Once before all else, any thread: fills the table of character classes. */
void tokens_split_prepare(void);

/* p < end: begins the piece at p. */
void tokens_split_begin(struct tokens_split *s, enum tokens_rules rules, const uint8_t *p, const uint8_t *end);
/* Scans at most about max_bytes; true once the phase is DONE. */
bool tokens_split_step(struct tokens_split *s, enum tokens_rules rules, const uint8_t *end, size_t max_bytes);
/* begin and step in one: the end of the piece at p < end. */
const uint8_t *tokens_split_next(enum tokens_rules rules, const uint8_t *p, const uint8_t *end);
/* The ends of the next pieces together, as long as they are plain ASCII: bit i says that a piece ends before p[i], and
 * the first of them begins at p < end. 0: the next piece is not that simple; tokens_split_next finds its end. */
uint64_t tokens_split_ends(enum tokens_rules rules, const uint8_t *p, const uint8_t *end);

/* The class of the character at p < end and its length in bytes. */
enum tokens_class tokens_split_class(const uint8_t *p, const uint8_t *end, size_t *ret_n);
