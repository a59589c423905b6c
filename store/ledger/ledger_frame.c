#include "store/ledger/ledger_frame.h"
#include "runtime/check.h"
#include "store/text/bytes.h"
#include "store/ledger/ledger_crc.h"

/* ---- hashing ---- */
static const EVP_MD *sha256_method(void)
{
	/* An explicit fetch, kept for the life of the process: an implicit one costs more than hashing a
	 * small frame. */
	static EVP_MD *volatile kept;
	EVP_MD *method = __atomic_load_n(&kept, __ATOMIC_ACQUIRE);
	if (method == NULL) {
		EVP_MD *fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
		CHECK(fetched != NULL);
		if (__atomic_compare_exchange_n(&kept, &method, fetched, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			method = fetched;
		else
			EVP_MD_free(fetched);
	}
	return method;
}

EVP_MD_CTX *ledger_hasher_create(void)
{
	EVP_MD_CTX *hasher = EVP_MD_CTX_new();
	CHECK(hasher != NULL && EVP_DigestInit_ex2(hasher, sha256_method(), NULL));
	return hasher;
}

void ledger_hasher_destroy(EVP_MD_CTX *hasher)
{
	EVP_MD_CTX_free(hasher);
}

static void hash_start(EVP_MD_CTX *hasher)
{
	CHECK(EVP_DigestInit_ex2(hasher, NULL, NULL));
}

static void hash_end(EVP_MD_CTX *hasher, uint8_t ret[static 32])
{
	unsigned n = 32;
	CHECK(EVP_DigestFinal_ex(hasher, ret, &n) && n == 32);
}

void ledger_sha256(EVP_MD_CTX *hasher, struct str bytes, uint8_t ret[static 32])
{
	hash_start(hasher);
	CHECK(EVP_DigestUpdate(hasher, bytes.p, bytes.n));
	hash_end(hasher, ret);
}

/* ---- frames ---- */
void ledger_frame_chain(const uint8_t *frame, EVP_MD_CTX *hasher, const uint8_t before[static LOG_SOURCE_CHAIN],
			uint8_t ret[static LOG_SOURCE_CHAIN])
{
	hash_start(hasher);
	CHECK(EVP_DigestUpdate(hasher, before, LOG_SOURCE_CHAIN));
	CHECK(EVP_DigestUpdate(hasher, frame + 4, 44));
	CHECK(EVP_DigestUpdate(hasher, frame + LEDGER_FRAME_HEAD, get_u32(frame + 12)));
	hash_end(hasher, ret);
}

void ledger_frame_finish(uint8_t *frame, const struct ledger_frame_head *head, EVP_MD_CTX *hasher,
			 uint8_t chain[static LOG_SOURCE_CHAIN])
{
	CHECK(head->covered_bytes <= head->payload_bytes);
	put_u32(frame + 4, head->payload_bytes);
	put_u16(frame + 8, head->kind);
	put_u16(frame + 10, LEDGER_FRAME_VERSION);
	put_u32(frame + 12, head->covered_bytes);
	put_u64(frame + 16, head->lsn);
	put_u64(frame + 24, head->epoch);
	put_u64(frame + 32, head->durable_lsn);
	put_u64(frame + 40, (uint64_t)head->written_us);
	ledger_frame_chain(frame, hasher, chain, chain);
	memcpy(frame + 48, chain, LOG_SOURCE_CHAIN);
	put_u32(frame, ledger_crc32c(0, frame + 4, ledger_frame_bytes(head->payload_bytes) - 4));
}

bool ledger_frame_head_read(const uint8_t *frame, uint64_t epoch, struct ledger_frame_head *ret)
{
	if (get_u64(frame + 24) != epoch || get_u16(frame + 10) != LEDGER_FRAME_VERSION)
		return false;
	ret->payload_bytes = get_u32(frame + 4);
	ret->kind = get_u16(frame + 8);
	ret->covered_bytes = get_u32(frame + 12);
	ret->lsn = get_u64(frame + 16);
	ret->epoch = epoch;
	ret->durable_lsn = get_u64(frame + 32);
	ret->written_us = (int64_t)get_u64(frame + 40);
	memcpy(ret->chain, frame + 48, LOG_SOURCE_CHAIN);
	return ret->covered_bytes <= ret->payload_bytes && ret->kind >= EVIDENCE_RECORD &&
	       ret->kind <= EVIDENCE_DOCUMENT_DELETE;
}

bool ledger_frame_crc_is_good(const uint8_t *frame, const struct ledger_frame_head *head)
{
	return get_u32(frame) == ledger_crc32c(0, frame + 4, ledger_frame_bytes(head->payload_bytes) - 4);
}

/* ---- record payloads ---- */
void ledger_payload_write_fixed(uint8_t *p, const struct ledger_payload *r)
{
	size_t key_id_n = strnlen(r->stamp.signing_key_id, sizeof r->stamp.signing_key_id);
	CHECK(r->id.n <= RECORD_ID_MAX && r->extras.n <= UINT32_MAX);
	memset(p, 0, LEDGER_RECORD_FIXED);
	p[0] = 1;
	p[1] = (uint8_t)r->id.n;
	p[2] = r->stamp.has_signature;
	put_u32(p + 4, (uint32_t)r->extras.n);
	put_u64(p + 8, (uint64_t)r->stamp.signed_at_us);
	memcpy(p + 16, r->hash, 32);
	if (r->stamp.has_signature)
		CHECK(record_digest_parse(str_of(r->stamp.signature, sizeof r->stamp.signature), STR("hmac-sha256:"),
					  p + 48));
	memcpy(p + 80, r->id.p, r->id.n);
	memcpy(p + 120, r->stamp.signing_key_id, key_id_n);
}

bool ledger_payload_read(struct str bytes, struct ledger_payload *ret)
{
	const uint8_t *p = (const uint8_t *)bytes.p;
	if (bytes.n < LEDGER_RECORD_FIXED || p[0] != 1 || p[1] > RECORD_ID_MAX || p[2] > 1 || p[183] != 0)
		return false;
	size_t extras_n = get_u32(p + 4);
	if (extras_n > bytes.n - LEDGER_RECORD_FIXED)
		return false;
	*ret = (struct ledger_payload){ .id = str_of(bytes.p + 80, p[1]) };
	ret->extras = str_of(bytes.p + LEDGER_RECORD_FIXED, extras_n);
	ret->canonical = str_skip(bytes, LEDGER_RECORD_FIXED + extras_n);
	memcpy(ret->hash, p + 16, 32);
	record_digest_text(ret->hash, STR("sha256:"), ret->stamp.record_hash);
	ret->stamp.has_signature = p[2];
	ret->stamp.signed_at_us = (int64_t)get_u64(p + 8);
	if (ret->stamp.has_signature)
		record_digest_text(p + 48, STR("hmac-sha256:"), ret->stamp.signature);
	memcpy(ret->stamp.signing_key_id, p + 120, sizeof ret->stamp.signing_key_id);
	return true;
}
