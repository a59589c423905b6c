/* Two decimal digits at a time: halves the divisions of writing a number. */
#pragma once
#include <stdint.h>
#include <string.h>

static inline const char *digit_pair(unsigned v) /* 0..99 */
{
	static const char pairs[] =
	    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
	    "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
	    "9899";
	return pairs + 2 * v;
}

/* Writes v so that it ends before `end`; returns where it begins. 20 bytes are enough. */
static inline char *digits_before(char *end, uint64_t v)
{
	for (; v >= 100; v /= 100)
		memcpy(end -= 2, digit_pair((unsigned)(v % 100)), 2);
	if (v >= 10)
		return memcpy(end - 2, digit_pair((unsigned)v), 2);
	*--end = (char)('0' + v);
	return end;
}
