/* UUIDs: version 7 (RFC 9562) for contexts, monotonic per generator; version 4 for events.
 *
 * The caller brings the time and the randomness, so that a simulation makes the same ids for the same
 * seed. Two loops never share a generator; their ids differ by 62 random bits. */
#pragma once
#include "runtime/str.h"
#include <stdint.h>

enum { UUID_TEXT = 36 };
struct uuid7 { /* one per loop; not shared; zeroed is ready */
	uint64_t last_ms;
	uint16_t counter; /* 12 bits: RFC 9562 section 6.2, method 1 */
};
/* The next one as two halves, which are ordered as the text is. */
void uuid7_next(struct uuid7 *g, int64_t now_us, uint64_t random_a, uint64_t random_b, uint64_t *ret_high,
		uint64_t *ret_low);
/* Lowercase. Later calls on one generator give greater ids, also when the clock stands still or goes back. */
void uuid7_text(struct uuid7 *g, int64_t now_us, uint64_t random_a, uint64_t random_b, char ret[static UUID_TEXT]);
void uuid4_text(uint64_t random_a, uint64_t random_b, char ret[static UUID_TEXT]);
bool uuid_is_text(struct str s); /* 8-4-4-4-12 hex digits, either case */
