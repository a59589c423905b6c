/* Structured logs: one JSON object per line on stderr, written by a thread of its own. A loop formats the line into its
 * ring and never waits: a full ring drops the line and counts it (the next line that fits says how many).
 *
 * Fields always: timestamp (UTC, ISO 8601, ms), level, logger, message. Others follow in call order.
 *
 *     log_line(LOG_INFO, "http.access", "request", LOG_STR("path", path), LOG_INT("status", 200));
 */
#pragma once
#include "runtime/str.h"
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct log_field {
	const char *name; /* NULL ends the list */
	enum { LOG_T_STR, LOG_T_INT, LOG_T_FLOAT, LOG_T_BOOL, LOG_T_RAW } type;
	union {
		struct str s; /* LOG_T_STR: any bytes, escaped (invalid UTF-8 becomes U+FFFD); LOG_T_RAW: JSON text */
		int64_t i;
		double f;
		bool b;
	};
};
#define LOG_STR(k, v)   ((struct log_field){ .name = (k), .type = LOG_T_STR, .s = (v) })
#define LOG_CSTR(k, v)  LOG_STR(k, str_from(v))
#define LOG_INT(k, v)   ((struct log_field){ .name = (k), .type = LOG_T_INT, .i = (v) })
#define LOG_FLOAT(k, v) ((struct log_field){ .name = (k), .type = LOG_T_FLOAT, .f = (v) })
#define LOG_BOOL(k, v)  ((struct log_field){ .name = (k), .type = LOG_T_BOOL, .b = (v) })
#define LOG_RAW(k, v)   ((struct log_field){ .name = (k), .type = LOG_T_RAW, .s = (v) })

#define log_line(level, logger, message, ...)                                                                          \
	do {                                                                                                           \
		if ((level) >= log_level_min())                                                                        \
			log_write((level), (logger), (message),                                                        \
				  (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ){ 0 } });                      \
	} while (0)

/* Any thread. Threads without a ring of their own share one behind a lock. */
void log_write(enum log_level level, const char *logger, const char *message, const struct log_field *fields);
/* For lines too many to be built slowly: the caller has the time (microseconds since 1970) and has written the members
 * behind it, `"level":"INFO","logger":...`, no more than LOG_TEXT_MAX bytes. */
void log_write_members(int64_t wall_us, struct str members);
enum log_level log_level_min(void);

int log_start(int fd, enum log_level min); /* starts the writer thread; before it, lines go out at once */
void log_attach(void);                     /* gives the calling thread a ring of its own (loops do) */
void log_stop(void);                       /* writes out all rings, ends the thread */
uint64_t log_dropped(void);
