#include "store/record/record_text.h"
#include <openssl/crypto.h>

/* Arrays of empty strings are what grows most from text to structs: 3 bytes to 32. */
enum { ARENA_PER_BYTE = 16, ARENA_LEAST = 1 << 16 };

/* The key decides, not its id: who verifies may have the key under another name. */
enum record_signed record_signature_check(const struct record_signer *signer, struct str record_hash,
					  struct str signature, struct str key_id)
{
	char computed[76];
	if (signer == NULL || signer->key_bytes == 0)
		return RECORD_SIGNED_UNKEYED;
	record_signature(signer->key, signer->key_bytes, record_hash, computed);
	if (signature.n == sizeof computed && CRYPTO_memcmp(signature.p, computed, sizeof computed) == 0)
		return RECORD_SIGNED_RIGHT;
	return key_id.n == 0 || str_eq(key_id, str_from(signer->key_id)) ? RECORD_SIGNED_WRONG : RECORD_SIGNED_UNKEYED;
}

static void check_signature(const struct record *r, const struct record_signer *signer, struct record_verdict *ret)
{
	struct str signature = r->integrity.signature, key_id = r->integrity.signing_key_id;
	ret->has_signature = signature.n > 0;
	if (!ret->has_signature)
		return;
	struct str shown = str_first(key_id, sizeof ret->signing_key_id - 1);
	if (shown.n)
		memcpy(ret->signing_key_id, shown.p, shown.n);
	enum record_signed is_signed = record_signature_check(signer, str_of(ret->record_hash, RECORD_HASH_TEXT),
							      signature, key_id);
	ret->signature_checked = is_signed != RECORD_SIGNED_UNKEYED;
	ret->signature_ok = is_signed == RECORD_SIGNED_RIGHT;
}

bool record_verify(struct str record_json, bool strict, const struct record_signer *signer, struct record_verdict *ret,
		   const char **ret_why)
{
	struct arena arena = { .max = ARENA_LEAST + ARENA_PER_BYTE * record_json.n };
	struct buf canonical = { 0 };
	const struct record *r = record_parse(record_json, strict, &arena, ret_why);
	bool ok = r != NULL;
	if (ok && !record_write_canonical(r, &canonical, NULL)) {
		*ret_why = "the canonical text is longer than memory or bounds allow";
		ok = false;
	}
	if (ok) {
		*ret = (struct record_verdict){ 0 };
		record_hash_text(r->content, ret->content_hash);
		record_hash_text(buf_str(&canonical), ret->record_hash);
		struct str content_hash = str_of(ret->content_hash, RECORD_HASH_TEXT);
		struct str record_hash = str_of(ret->record_hash, RECORD_HASH_TEXT);
		ret->content_hash_ok = str_eq(r->integrity.content_hash, content_hash);
		ret->record_hash_ok = str_eq(r->integrity.record_hash, record_hash);
		check_signature(r, signer, ret);
	}
	buf_finish(&canonical);
	arena_finish(&arena);
	return ok;
}
