/* What a cell is in Redis: Fabra's wrapper of a value, with one member of ours behind its own. A reader that knows only Fabra's
 * finds what it expects.
 *
 *     {"__fabra_feature_value__": true, "value": V, "as_of": "2025-01-01T00:00:00.123456+00:00", "fabra_n": "T.P.W.X.F.S"}
 *
 * as_of is the event time as Python writes it. In fabra_n, hexadecimal and of fixed width, so that two texts compare as their
 * numbers do: T event time (16 digits of microseconds since 1970 plus 2^63, 3 of nanoseconds), P position (32: a UUIDv7 without
 * its dashes, or an LSN and zeros), W time of writing, X of expiry (16 each, microseconds; 0 = never), F flags (2), S the check sum
 * of all before it (8). What has no valid fabra_n was written by another program.
 *
 * docs/redis.md says what is where. Pure functions; any thread. */
#pragma once
#include "runtime/buf.h"
#include "store/online/online.h"

enum {
	REDIS_TIME_TEXT = 19, /* T */
	REDIS_POSITION_TEXT = 32,
	REDIS_ORDER_TEXT = REDIS_TIME_TEXT + 1 + REDIS_POSITION_TEXT, /* "T.P" */
	REDIS_WRAP_EXTRA_MAX = 256,                                   /* bytes of a wrapper beside its value */
};

/* "T.P", by which writes apply. No NUL. */
void redis_order_write(const struct online_meta *when, char out[static REDIS_ORDER_TEXT]);
void redis_wrap_write(struct buf *out, struct str json, const struct online_meta *meta);

enum redis_wrapped {
	REDIS_WRAP_OURS,
	REDIS_WRAP_FOREIGN, /* of another program: its meta has ONLINE_FOREIGN, no position, and now_us as its time of writing */
	REDIS_WRAP_DAMAGED, /* meant to be JSON, and is none that this program can keep: a number too long, say */
	REDIS_WRAP_NO_MEMORY,
};
/* ret: filled when ours or foreign; the value's reference is the caller's. As Fabra does it takes a wrapper, any other JSON (a bare
 * value) and, since a person may write one with redis-cli, a text that is no JSON (a string). */
enum redis_wrapped redis_wrap_read(struct str text, int64_t now_us, struct online_cell *ret);

/* ---- deletes ---- */
/* The field of the hash that holds its tombstones, one a line: "T.P.U FEATURE\n", where U is the millisecond (decimal) up to
 * which it is kept; without a feature it is the row's. */
#define REDIS_DELETED_FIELD "__fabra_deleted__"
struct redis_tombstone {
	struct online_meta when; /* event time and position */
	struct str feature;      /* borrows; empty: the row's */
};
/* Takes the next off *text. false: there is none; lines that are not of this form are passed over. */
bool redis_tombstone_next(struct str *text, struct redis_tombstone *ret);
