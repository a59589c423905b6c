/* Times are int64 microseconds since 1970-01-01 UTC everywhere inside. These are the text forms on the wire. */
#pragma once
#include "runtime/buf.h"

/* 2025-02-14T18:42:31.221000Z: the fraction is omitted when zero, else six digits (pydantic). */
void time_write_z(struct buf *out, int64_t us);
/* The same with +00:00 (Python isoformat). */
void time_write_offset(struct buf *out, int64_t us);
/* Without a zone (DuckDB listing in Fabra). */
void time_write_naive(struct buf *out, int64_t us);
/* ISO 8601 with Z, +hh:mm or none (taken as UTC), "T" or " " between, 0 to 9 fraction digits (beyond six truncated).
 * Also unix seconds when `numbers` is set. false: not a time. Years 1 to 9999. */
bool time_parse(struct str text, int64_t *ret_us);
