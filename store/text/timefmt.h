/* Times are int64 microseconds since 1970-01-01 UTC everywhere inside. These are the text forms on the
 * wire.
 *
 * Writers clamp to the years 1 to 9999, which is all that the text forms can say. Pure functions; any
 * thread. */
#pragma once
#include "runtime/buf.h"

/* 2025-02-14T18:42:31.221000Z: the fraction is omitted when zero, else six digits (pydantic). */
void time_write_z(struct buf *out, int64_t us);
/* The same with +00:00 (Python isoformat). */
void time_write_offset(struct buf *out, int64_t us);
/* Without a zone (DuckDB listing in Fabra). */
void time_write_naive(struct buf *out, int64_t us);

/* ISO 8601: a date, then optionally "T" or " " and hh:mm[:ss[.fraction]], then Z, +hh:mm, +hhmm or nothing
 * (taken as UTC). 1 to 9 fraction digits, those beyond six are cut off. false: not a time. Years 1-9999. */
bool time_parse(struct str text, int64_t *ret_us);
/* The same, with what is beyond the microsecond: 0 to 999 nanoseconds. */
bool time_parse_ns(struct str text, int64_t *ret_us, uint16_t *ret_ns);
/* time_write_z with nine digits of the fraction when ns is not 0. */
void time_write_z_ns(struct buf *out, int64_t us, uint16_t ns);

/* A record made elsewhere keeps the zone its maker wrote, because its hash covers it: minutes east of UTC, or
 * TIME_NAIVE for none. The instant is in UTC all the same (a naive time is read as UTC). */
#define TIME_NAIVE INT16_MIN
bool time_parse_zoned(struct str text, int64_t *ret_us, int16_t *ret_zone_min);
void time_write_zoned(struct buf *out, int64_t us, int16_t zone_min); /* zone 0 is Z */

/* Unix seconds, or milliseconds when beyond 2e10 either way (pydantic's rule). false: outside of the years
 * 1 to 9999. */
bool time_from_unix(double seconds, int64_t *ret_us);
