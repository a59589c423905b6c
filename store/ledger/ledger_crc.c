#include "store/ledger/ledger_crc.h"
#include "store/text/bytes.h"
#include <pthread.h>

/* "Slicing by 8": table[k][b] is the CRC of byte b followed by k zero bytes (Kounavis and Berry 2005). */
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_make(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
		table[0][b] = crc;
	}
	for (uint32_t b = 0; b < 256; b++) {
		for (int k = 1; k < 8; k++)
			table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
	}
}

uint32_t ledger_crc32c_portable(uint32_t crc, const void *data, size_t n)
{
	const uint8_t *p = data;
	pthread_once(&table_once, table_make);
	crc = ~crc;
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t v = get_u64(p) ^ crc;
		crc = table[7][v & 0xff] ^ table[6][v >> 8 & 0xff] ^ table[5][v >> 16 & 0xff] ^
		      table[4][v >> 24 & 0xff] ^ table[3][v >> 32 & 0xff] ^ table[2][v >> 40 & 0xff] ^
		      table[1][v >> 48 & 0xff] ^ table[0][v >> 56];
	}
	for (; n > 0; n--, p++)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)
/* The instruction gives a result after three cycles and starts another each cycle: three stretches of LANE bytes at once,
 * whose remainders are then joined. LANE zero bytes behind a remainder are a linear map, here by bytes of the remainder. */
enum { LANE = 1024 };
static uint32_t behind_lane[4][256];
static pthread_once_t behind_lane_once = PTHREAD_ONCE_INIT;

__attribute__((target("sse4.2"))) static void behind_lane_make(void)
{
	for (uint32_t bit = 0; bit < 32; bit++) {
		uint64_t c = 1u << bit;
		for (int i = 0; i < LANE; i += 8)
			c = __builtin_ia32_crc32di(c, 0);
		for (uint32_t b = 0; b < 256; b++)
			if (b >> bit % 8 & 1)
				behind_lane[bit / 8][b] ^= (uint32_t)c;
	}
}

static uint32_t skip_lane(uint64_t c)
{
	return behind_lane[0][c & 0xff] ^ behind_lane[1][c >> 8 & 0xff] ^ behind_lane[2][c >> 16 & 0xff] ^
	       behind_lane[3][c >> 24 & 0xff];
}

__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const void *data, size_t n)
{
	const uint8_t *p = data;
	uint64_t c = ~crc;
	pthread_once(&behind_lane_once, behind_lane_make);
	for (; n >= 3 * LANE; n -= 3 * LANE, p += 3 * LANE) {
		uint64_t second = 0, third = 0;
		for (size_t i = 0; i < LANE; i += 8) {
			c = __builtin_ia32_crc32di(c, get_u64(p + i));
			second = __builtin_ia32_crc32di(second, get_u64(p + LANE + i));
			third = __builtin_ia32_crc32di(third, get_u64(p + 2 * LANE + i));
		}
		c = skip_lane(skip_lane(c) ^ second) ^ third;
	}
	for (; n >= 8; n -= 8, p += 8)
		c = __builtin_ia32_crc32di(c, get_u64(p));
	for (; n > 0; n--, p++)
		c = __builtin_ia32_crc32qi((uint32_t)c, *p);
	return ~(uint32_t)c;
}

uint32_t ledger_crc32c(uint32_t crc, const void *p, size_t n)
{
	return __builtin_cpu_supports("sse4.2") ? crc_sse42(crc, p, n) : ledger_crc32c_portable(crc, p, n);
}
#else
uint32_t ledger_crc32c(uint32_t crc, const void *p, size_t n)
{
	return ledger_crc32c_portable(crc, p, n);
}
#endif
