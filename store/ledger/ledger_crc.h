/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78; RFC 3720 appendix B.4), in hardware where the CPU has
 * SSE 4.2. */
#pragma once
#include <stddef.h>
#include <stdint.h>

uint32_t ledger_crc32c(uint32_t crc, const void *p, size_t n); /* crc: 0, or the result over the bytes
								  before */
uint32_t ledger_crc32c_portable(uint32_t crc, const void *p, size_t n);
