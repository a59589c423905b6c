/* Hexadecimal and base64 (RFC 4648) text for bytes. Pure functions on the caller's memory; any thread. */
#pragma once
#include "runtime/str.h"
#include <stdint.h>

/* Of a hexadecimal digit of either case; -1 for anything else. */
static inline int encode_hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
/* Writes 2 * n lower-case digits to out; no NUL. */
void encode_hex(const void *p, size_t n, char *out);
/* Reads hex.n digits of either case into hex.n / 2 bytes. false: an odd number of digits, or something that
 * is none; out then holds rubbish. */
bool encode_unhex(struct str hex, void *out);

static inline size_t encode_base64_len(size_t n)
{
	return (n + 2) / 3 * 4;
}
/* Writes encode_base64_len(n) characters of the standard alphabet, padded with '='; no NUL. */
void encode_base64(const void *p, size_t n, char *out);
/* out has room for text.n / 4 * 3 bytes. Strict: padding is required and unused bits must be zero, so that
 * one text is the only spelling of its bytes. false: anything else; *ret_n is then unchanged. */
bool encode_unbase64(struct str text, void *out, size_t *ret_n);
