#include "runtime/check.h"
#include "runtime/encode.h"
#include "store/record/record.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <pthread.h>

enum { DIGEST = 32 };

#define HASH_PREFIX      "sha256:"
#define SIGNATURE_PREFIX "hmac-sha256:"
#define SIGNED_PREFIX    "fabra:crs-001:"

/* Fetching an algorithm searches OpenSSL's providers under locks; each thread keeps its contexts instead. */
struct contexts {
	EVP_MD_CTX *digest;
	EVP_MAC_CTX *mac;
};
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static pthread_key_t contexts_key;
static EVP_MD *sha256;
static EVP_MAC *hmac;
static _Thread_local struct contexts *thread_contexts;

static void contexts_free(void *arg)
{
	struct contexts *c = arg;
	EVP_MD_CTX_free(c->digest);
	EVP_MAC_CTX_free(c->mac);
	free(c);
}

static void fetch(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	CHECK(sha256 != NULL && hmac != NULL);
	CHECK(pthread_key_create(&contexts_key, contexts_free) == 0);
}

/* Out of memory here means no receipt can be made at all; that is no state to serve in. */
static struct contexts *contexts_here(void)
{
	if (thread_contexts)
		return thread_contexts;
	pthread_once(&fetch_once, fetch);
	struct contexts *c = calloc(1, sizeof *c);
	CHECK(c != NULL);
	c->digest = EVP_MD_CTX_new();
	c->mac = EVP_MAC_CTX_new(hmac);
	CHECK(c->digest != NULL && c->mac != NULL);
	CHECK(pthread_setspecific(contexts_key, c) == 0);
	return thread_contexts = c;
}

void record_hash_text(struct str bytes, char ret[static RECORD_HASH_TEXT])
{
	EVP_MD_CTX *context = contexts_here()->digest;
	unsigned char digest[DIGEST];
	CHECK(EVP_DigestInit_ex2(context, sha256, NULL) == 1);
	CHECK(EVP_DigestUpdate(context, bytes.p, bytes.n) == 1);
	CHECK(EVP_DigestFinal_ex(context, digest, NULL) == 1);
	memcpy(ret, HASH_PREFIX, sizeof HASH_PREFIX - 1);
	encode_hex(digest, sizeof digest, ret + sizeof HASH_PREFIX - 1);
}

void record_signature(const unsigned char *key, size_t key_bytes, struct str record_hash, char ret[static 76])
{
	static char name[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
				OSSL_PARAM_construct_end() };
	EVP_MAC_CTX *context = contexts_here()->mac;
	unsigned char digest[DIGEST];
	size_t digest_bytes;
	CHECK(EVP_MAC_init(context, key, key_bytes, params) == 1);
	CHECK(EVP_MAC_update(context, (const unsigned char *)SIGNED_PREFIX, sizeof SIGNED_PREFIX - 1) == 1);
	CHECK(EVP_MAC_update(context, (const unsigned char *)record_hash.p, record_hash.n) == 1);
	CHECK(EVP_MAC_final(context, digest, &digest_bytes, sizeof digest) == 1 && digest_bytes == DIGEST);
	memcpy(ret, SIGNATURE_PREFIX, sizeof SIGNATURE_PREFIX - 1);
	encode_hex(digest, sizeof digest, ret + sizeof SIGNATURE_PREFIX - 1);
}

void record_stamp_make(struct str canonical, const struct record_signer *signer, int64_t now_us,
		       struct record_stamp *ret)
{
	memset(ret, 0, sizeof *ret);
	record_hash_text(canonical, ret->record_hash);
	ret->signed_at_us = -1;
	if (signer == NULL || signer->key_bytes == 0)
		return;
	struct str hash = str_of(ret->record_hash, RECORD_HASH_TEXT);
	record_signature(signer->key, signer->key_bytes, hash, ret->signature);
	ret->has_signature = true;
	ret->signed_at_us = now_us;
	memcpy(ret->signing_key_id, signer->key_id, sizeof ret->signing_key_id);
}

/* ---- digests as text ---- */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool record_digest_parse(struct str text, struct str prefix, uint8_t ret[static 32])
{
	if (text.n != prefix.n + 64 || !str_starts(text, prefix))
		return false;
	for (size_t i = 0; i < 32; i++) {
		int high = hex_value(text.p[prefix.n + 2 * i]), low = hex_value(text.p[prefix.n + 2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void record_digest_text(const uint8_t digest[static 32], struct str prefix, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	memcpy(ret, prefix.p, prefix.n);
	for (size_t i = 0; i < 32; i++) {
		ret[prefix.n + 2 * i] = digits[digest[i] >> 4];
		ret[prefix.n + 2 * i + 1] = digits[digest[i] & 15];
	}
}
