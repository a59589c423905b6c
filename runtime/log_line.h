/* One log line as JSON in a fixed buffer. What log.c puts into its rings; pure but for the clock text that
 * each thread keeps for the current second. */
#pragma once
#include "runtime/log.h"

/* Bytes as written. A longer text is cut and ends in three dots; a field for which the line has no room left
 * is left out, and the line says "truncated":true. */
enum { LOG_LINE_MAX = 16384, LOG_TEXT_MAX = 4096 };

struct log_entry {
	struct str members; /* borrows; written already, in place of the four fields below; p NULL: not */
	enum log_level level;
	const char *logger, *message;   /* borrows */
	const struct log_field *fields; /* borrows */
	int64_t wall_us;                /* since 1970, UTC */
	uint64_t dropped;               /* lines lost before this one; 0 adds no field */
};

/* Writes one line with its newline; returns its length, at most LOG_LINE_MAX. */
size_t log_line_format(char out[LOG_LINE_MAX], const struct log_entry *entry);
