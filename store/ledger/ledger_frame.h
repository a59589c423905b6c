/* Frames: the unit of the log. Little-endian, 8-byte aligned, one after the other behind the segment's header
 * block.
 *
 *      0  u32 crc         CRC-32C of everything behind it, padding included
 *      4  u32 payload     bytes
 *      8  u16 kind        enum evidence_kind
 *     10  u16 version     1
 *     12  u32 covered     bytes at the start of the payload that the chain hashes
 *     16  u64 lsn
 *     24  u64 epoch       of this use of the segment, random: bytes of an earlier use are never taken for
 * frames
 *     32  u64 durable     the last LSN known to be on disk when this frame was written
 *     40  i64 written     microseconds since 1970, UTC
 *     48  u8[32] chain    SHA-256(chain of the frame before, bytes 4..47 of this header, covered part of the
 * payload)
 *     80  payload, then zeros up to a multiple of 8
 *
 * The chain does not hash a record's canonical text again: the covered part holds its record_hash, which is
 * the SHA-256 of just those bytes. Everything else is covered whole. */
#pragma once
#include "store/ledger/ledger.h"
#include <openssl/evp.h>

enum {
	LEDGER_FRAME_HEAD = 80,
	LEDGER_FRAME_VERSION = 1,
};

struct ledger_frame_head {
	uint32_t payload_bytes, covered_bytes;
	uint16_t kind;
	uint64_t lsn, epoch, durable_lsn;
	int64_t written_us;
	uint8_t chain[LOG_SOURCE_CHAIN];
};

static inline uint64_t ledger_frame_bytes(uint64_t payload_bytes)
{
	return (LEDGER_FRAME_HEAD + payload_bytes + 7) & ~7ull;
}

/* One hashing context, reused; not shared between threads. Never NULL. */
EVP_MD_CTX *ledger_hasher_create(void);
void ledger_hasher_destroy(EVP_MD_CTX *hasher);
void ledger_sha256(EVP_MD_CTX *hasher, struct str bytes, uint8_t ret[static 32]);

/* Completes a frame whose payload (and zeroed padding) is in place: header, chain, CRC. chain moves on to
 * this frame. */
void ledger_frame_finish(uint8_t *frame, const struct ledger_frame_head *head, EVP_MD_CTX *hasher,
			 uint8_t chain[static LOG_SOURCE_CHAIN]);
/* What the frame's chain must be after `before`. */
void ledger_frame_chain(const uint8_t *frame, EVP_MD_CTX *hasher, const uint8_t before[static LOG_SOURCE_CHAIN],
			uint8_t ret[static LOG_SOURCE_CHAIN]);
/* Reads a header of this epoch from LEDGER_FRAME_HEAD bytes; false: it cannot be one. The CRC is not checked
 * yet. */
bool ledger_frame_head_read(const uint8_t *frame, uint64_t epoch, struct ledger_frame_head *ret);
bool ledger_frame_crc_is_good(const uint8_t *frame, const struct ledger_frame_head *head);

/* ---- payload of EVIDENCE_RECORD and EVIDENCE_RECORD_IMPORTED ----
 *      0  u8 version (1), u8 id bytes, u8 has_signature, u8 0, u32 extras bytes
 *      8  i64 signed_at_us
 *     16  u8[32] record_hash, u8[32] signature (zeros when unsigned)
 *     80  u8[40] context id, u8[64] signing key id, both padded with zeros
 *    184  extras, then the canonical text (a record made here) or the record's own bytes (an imported one) */
enum { LEDGER_RECORD_FIXED = 184 };

struct ledger_payload {
	struct str id;
	struct str extras, canonical;
	struct record_stamp stamp;
	uint8_t hash[32];
};
void ledger_payload_write_fixed(uint8_t *p, const struct ledger_payload *r); /* all but extras and
										canonical */
/* Borrows bytes. false: malformed. */
bool ledger_payload_read(struct str bytes, struct ledger_payload *ret);
