/* What the JSON reader, its diagnosis and the writers share. Private to store/text/json*.c. */
#pragma once
#include "store/text/json.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a mask's first byte is found from its low end");

/* Length of the UTF-8 sequence at p, 0 when it is malformed, overlong, a surrogate or beyond U+10FFFF. left
 * >= 1. */
static inline size_t utf8_sequence(const unsigned char *p, size_t left)
{
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	size_t n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (left < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* Sixteen bytes at once: a byte of the mask is set where `bad` holds. */
typedef unsigned char json_lanes __attribute__((vector_size(16)));

static inline json_lanes json_lanes_load(const unsigned char *p)
{
	json_lanes v;
	memcpy(&v, p, sizeof v);
	return v;
}

/* Index of the first set byte, 16 when there is none. */
static inline size_t json_lanes_first(json_lanes mask)
{
	unsigned long long half[2];
	memcpy(half, &mask, sizeof half);
	if (half[0])
		return (size_t)__builtin_ctzll(half[0]) / 8;
	return half[1] ? 8 + (size_t)__builtin_ctzll(half[1]) / 8 : 16;
}

/* A number token as JSON spells it: does it fit int64 or a finite double? */
bool json_number_fits(struct str token);

/* The first error of a text that json_parse refused, in Python's words; its nesting is within
 * JSON_DEPTH_MAX. false: none found. */
bool json_diagnose(struct str text, struct json_error *ret_error);
