/* Configuration from the environment, with errors that name the variable, the value and the cure. */
#pragma once
#include "runtime/buf.h"

/* "500ms" "30s" "5m" "1.5h" "1d" (trimmed, any case) to milliseconds. false: not of that form or beyond int64. */
bool config_parse_duration(struct str text, int64_t *ret_ms);
/* 1/true/t/yes/y/on and 0/false/f/no/n/off, any case. */
bool config_parse_bool(struct str text, bool *ret_value);
/* "1048576", "64KiB", "1MiB", "2GiB". */
bool config_parse_bytes(struct str text, uint64_t *ret_bytes);

/* Each returns the default when the variable is unset or blank; a bad value appends one line to *errors (borrowed, may
 * be NULL to ignore) and returns the default. */
const char *config_str(const char *name, const char *fallback);
int64_t config_int(const char *name, int64_t fallback, int64_t min, int64_t max, struct buf *errors);
bool config_bool(const char *name, bool fallback, struct buf *errors);
int64_t config_duration_ms(const char *name, int64_t fallback_ms, struct buf *errors);
uint64_t config_bytes(const char *name, uint64_t fallback, struct buf *errors);
