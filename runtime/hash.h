/* Keyed hashing for tables that outsiders can fill: SipHash-1-3 (64 bit; Aumasson and Bernstein 2012) for short keys, XXH3
 * (128 bit; libxxhash, with a secret of ours) for texts, where SipHash took a tenth of an I/O loop's time. The key is random
 * per process (fixed in a simulation), so that an outsider cannot prepare collisions; XXH3 is no cryptographic hash, and
 * makes no such promise to who knows the key. */
#pragma once
#include "runtime/str.h"
#include <stdint.h>

struct hash128 {
	uint64_t lo, hi;
};
uint64_t hash64(struct str s); /* keyed by the process key */
struct hash128 hash128(struct str s);
void hash_key_set(uint64_t k0, uint64_t k1); /* before any use; default: getrandom once */

/* For well-spread integers only (ids we made): Murmur3's 64-bit finaliser. */
static inline uint64_t hash_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}
