/* Log lines before the log's writer exists: message only, to stderr. Weak, so that log.c replaces it. */
#include "runtime/log.h"
#include <stdio.h>

__attribute__((weak)) enum log_level log_level_min(void)
{
	return LOG_WARNING;
}

__attribute__((weak)) void log_write(enum log_level level, const char *logger, const char *message,
				     const struct log_field *fields)
{
	(void)level;
	fprintf(stderr, "%s: %s", logger, message);
	for (; fields->name != NULL; fields++)
		if (fields->type == LOG_T_STR)
			fprintf(stderr, " %s=%.*s", fields->name, STR_ARG(fields->s));
	fputc('\n', stderr);
}

__attribute__((weak)) void log_attach(void)
{
}
