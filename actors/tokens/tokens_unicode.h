/* Character classes of Unicode 16, as the reference tokeniser 1.0.22 has them: the split rules know no others. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* One bit each, so that a rule is a set. Every character has exactly one. */
enum tokens_class {
	TOKENS_UPPER = 0x01,   /* Lu, Lt */
	TOKENS_LOWER = 0x02,   /* Ll */
	TOKENS_LETTER = 0x04,  /* Lm, Lo: letters without case */
	TOKENS_MARK = 0x08,    /* M */
	TOKENS_NUMBER = 0x10,  /* N */
	TOKENS_SPACE = 0x20,   /* White_Space without the next */
	TOKENS_NEWLINE = 0x40, /* CR, LF */
	TOKENS_OTHER = 0x80,   /* all else; the table writes 0 */
};

/* First code point << 8 | class of each run of equal characters, ascending; the last run ends at U+10FFFF. */
extern const uint32_t tokens_unicode_runs[];
extern const size_t tokens_unicode_run_count;
