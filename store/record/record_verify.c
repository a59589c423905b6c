#include "store/record/record_text.h"
#include <openssl/crypto.h>

/* Arrays of empty strings are what grows most from text to structs: 3 bytes to 32. */
enum { ARENA_PER_BYTE = 16, ARENA_LEAST = 1 << 16 };

static void check_signature(const struct record *r, const struct record_signer *signer, struct record_verdict *ret)
{
	char signature[76];
	struct str claimed = r->integrity.signature;
	ret->has_signature = claimed.n > 0;
	if (!ret->has_signature || signer == NULL || signer->key_bytes == 0)
		return;
	record_signature(signer->key, signer->key_bytes, str_of(ret->record_hash, RECORD_HASH_TEXT), signature);
	ret->signature_checked = true;
	ret->signature_ok = claimed.n == sizeof signature && CRYPTO_memcmp(claimed.p, signature, claimed.n) == 0;
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
