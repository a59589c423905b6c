#include "runtime/encode.h"

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void encode_hex(const void *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = p;
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
}

bool encode_unhex(struct str hex, void *out)
{
	uint8_t *bytes = out;
	if (hex.n % 2)
		return false;
	for (size_t i = 0; i < hex.n / 2; i++) {
		int high = encode_hex_value(hex.p[2 * i]), low = encode_hex_value(hex.p[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void encode_base64(const void *p, size_t n, char *out)
{
	const uint8_t *bytes = p;
	for (; n >= 3; n -= 3, bytes += 3, out += 4) {
		uint32_t v = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
		for (int i = 0; i < 4; i++)
			out[i] = BASE64[v >> (18 - 6 * i) & 63];
	}
	if (n == 0)
		return;
	uint32_t v = (uint32_t)bytes[0] << 16 | (n == 2 ? (uint32_t)bytes[1] << 8 : 0);
	out[0] = BASE64[v >> 18];
	out[1] = BASE64[v >> 12 & 63];
	out[2] = n == 2 ? BASE64[v >> 6 & 63] : '=';
	out[3] = '=';
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* n characters of one group (2 to 4) to n - 1 bytes. */
static bool unbase64_group(const char *p, size_t n, uint8_t *out)
{
	uint32_t v = 0;
	for (size_t i = 0; i < 4; i++) {
		int digit = i < n ? base64_value(p[i]) : 0;
		if (digit < 0)
			return false;
		v = v << 6 | (uint32_t)digit;
	}
	for (size_t i = 0; i < n - 1; i++)
		out[i] = (uint8_t)(v >> (16 - 8 * i));
	return n == 4 || (v & (n == 3 ? 0xff : 0xffff)) == 0;
}

bool encode_unbase64(struct str text, void *out, size_t *ret_n)
{
	uint8_t *bytes = out;
	if (text.n % 4)
		return false;
	for (size_t i = 0; i < text.n; i += 4) {
		size_t n = 4;
		if (i + 4 == text.n && text.p[i + 3] == '=')
			n = text.p[i + 2] == '=' ? 2 : 3;
		if (!unbase64_group(text.p + i, n, bytes))
			return false;
		bytes += n - 1;
	}
	*ret_n = (size_t)(bytes - (uint8_t *)out);
	return true;
}
