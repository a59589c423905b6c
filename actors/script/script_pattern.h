/* Matching of Lua patterns (Lua 5.4 reference manual, 6.4.1), with a bound on the work.
 *
 * The results and the errors are those of Lua 5.4's own library; what differs is that each step is counted,
 * and that a match that needs more steps than `work_max` ends. Pure C: no Lua state is involved. */
#pragma once
#include "runtime/str.h"
#include <stdint.h>

enum { SCRIPT_PATTERN_CAPTURES_MAX = 32, SCRIPT_PATTERN_DEPTH_MAX = 200 };
enum { SCRIPT_CAPTURE_OPEN = -1, SCRIPT_CAPTURE_POSITION = -2 };

struct script_capture {
	const char *start;
	ptrdiff_t n; /* bytes, or one of the two above */
};

enum script_pattern_end {
	PATTERN_FINE,
	PATTERN_WRONG,     /* `error` says why */
	PATTERN_EXHAUSTED, /* more than work_max steps */
};

struct script_pattern {
	const char *text, *text_end;       /* borrows; as all texts of Lua, a zero byte follows the end */
	const char *pattern, *pattern_end; /* borrows; the same */
	uint64_t work, work_max;           /* steps so far; grows over several matches */
	enum script_pattern_end end;
	char error[80];
	int depth;
	int captures_count;
	struct script_capture captures[SCRIPT_PATTERN_CAPTURES_MAX];
};

/* Where a match that starts at `at` ends; NULL: none, or `end` is not PATTERN_FINE. Captures of a former
 * match are forgotten. `pattern` is where the pattern begins (after an anchor). */
const char *script_pattern_match(struct script_pattern *m, const char *at);
/* False when the pattern is a plain text. */
bool script_pattern_is_special(struct str pattern);
