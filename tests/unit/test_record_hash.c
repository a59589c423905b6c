#include "tests/unit/record_vectors.h"
#include <pthread.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect_hash(struct str bytes, const char *text)
{
	char hash[RECORD_HASH_TEXT + 1] = { 0 };
	record_hash_text(bytes, hash);
	assert_string_equal(hash, text);
}

static void test_hash(void **state)
{
	(void)state;
	expect_hash(STR(""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	expect_hash(STR("User tier: premium\nDocs: ..."),
		    "sha256:ca55c427a31e4378f53941b6d77ae8b1a133ea37cbfb48a85bdaa66436f6bba8");
	expect_hash(STR(VECTOR_CHAT_CANONICAL), VECTOR_CHAT_HASH);
	expect_hash(STR(VECTOR_RICH_CANONICAL), VECTOR_RICH_HASH);
}

static void test_canonical(void **state)
{
	struct record r = vector_rich();
	struct buf out = { 0 };
	size_t previous_at = 0;
	(void)state;
	buf_append_lit(&out, "before");
	assert_true(record_write_canonical(&r, &out, &previous_at));
	struct str text = str_skip(buf_str(&out), 6);
	assert_int_equal(text.n, 1394);
	assert_true(str_eq(text, STR(VECTOR_RICH_CANONICAL)));
	assert_true(str_starts(str_skip(text, previous_at), STR("null,\"record_hash\":\"\"")));
	buf_finish(&out);
}

/* The hash covers the predecessor; the signature's fields it does not. */
static void test_canonical_integrity(void **state)
{
	struct record r = vector_rich();
	struct buf out = { 0 };
	size_t previous_at;
	(void)state;
	r.integrity.record_hash = STR(VECTOR_RICH_HASH);
	r.integrity.signature = STR("hmac-sha256:00");
	r.integrity.signing_key_id = STR("k");
	r.integrity.signed_at_us = 1;
	assert_true(record_write_canonical(&r, &out, NULL));
	assert_true(str_eq(buf_str(&out), STR(VECTOR_RICH_CANONICAL)));
	buf_clear(&out);
	r.integrity.previous_context_id = STR("ctx_before");
	assert_true(record_write_canonical(&r, &out, &previous_at));
	assert_true(str_starts(str_skip(buf_str(&out), previous_at), STR("\"ctx_before\",\"record_hash\":\"\"")));
	buf_finish(&out);
}

static void expect_refused(const struct record *r)
{
	struct buf out = { 0 };
	assert_false(record_write_canonical(r, &out, NULL));
	buf_finish(&out);
}

static void test_canonical_refuses(void **state)
{
	struct record r = vector_rich();
	struct record_feature f = r.features[0];
	(void)state;
	r.inputs_json = STR("[1]");
	expect_refused(&r);
	r.inputs_json = STR("{\"a\":1,\"a\":2}");
	expect_refused(&r);
	r = vector_rich();
	r.content = STR("\xff");
	expect_refused(&r);
	r = vector_rich();
	r.lineage.assembly_latency_ms = strtod("nan", NULL);
	expect_refused(&r);
	r = vector_rich();
	f.value_json = STR("");
	r.features = &f;
	expect_refused(&r);
	r = vector_rich();
	struct buf small = { .max = 1000 };
	assert_false(record_write_canonical(&r, &small, NULL));
	buf_finish(&small);
}

static void expect_signature(const void *key, size_t key_bytes, struct str hash, const char *text)
{
	char signature[77] = { 0 };
	record_signature(key, key_bytes, hash, signature);
	assert_string_equal(signature, text);
}

static void test_signature(void **state)
{
	char hash[RECORD_HASH_TEXT], key[32];
	(void)state;
	memcpy(hash, "sha256:", 7);
	memset(hash + 7, 'a', 64);
	expect_signature("super-secret-key", 16, str_of(hash, sizeof hash),
			 "hmac-sha256:16e9ecde2160ed322fb4ee2d9f8a934dfd949973f74163ea08d3a9f5911d70b2");
	memset(key, 1, sizeof key);
	expect_signature(key, sizeof key, STR(VECTOR_RICH_HASH),
			 "hmac-sha256:f118d5dece7ba0ec5fdb109793b85ff3ced41ee7f4ed52a583432042fa63d727");
	expect_signature("super-secret-key", 16, str_of(hash, sizeof hash),
			 "hmac-sha256:16e9ecde2160ed322fb4ee2d9f8a934dfd949973f74163ea08d3a9f5911d70b2");
}

static void test_stamp(void **state)
{
	struct record_signer signer = { .key_bytes = 32, .key_id = "k1", .mode = SIGNATURE_OPTIONAL };
	struct record_stamp stamp;
	(void)state;
	memset(signer.key, 1, 32);
	record_stamp_make(STR(VECTOR_RICH_CANONICAL), &signer, 1739558551221000, &stamp);
	assert_memory_equal(stamp.record_hash, VECTOR_RICH_HASH, RECORD_HASH_TEXT);
	assert_true(stamp.has_signature);
	assert_memory_equal(stamp.signature,
			    "hmac-sha256:f118d5dece7ba0ec5fdb109793b85ff3ced41ee7f4ed52a583432042fa63d727", 76);
	assert_string_equal(stamp.signing_key_id, "k1");
	assert_int_equal(stamp.signed_at_us, 1739558551221000);
	record_stamp_make(STR(VECTOR_RICH_CANONICAL), NULL, 5, &stamp);
	assert_memory_equal(stamp.record_hash, VECTOR_RICH_HASH, RECORD_HASH_TEXT);
	assert_false(stamp.has_signature);
	assert_int_equal(stamp.signed_at_us, -1);
	signer.key_bytes = 0;
	record_stamp_make(STR(VECTOR_RICH_CANONICAL), &signer, 5, &stamp);
	assert_false(stamp.has_signature);
}

static void *hash_on_thread(void *arg)
{
	char hash[RECORD_HASH_TEXT], signature[76];
	for (int i = 0; i < 200; i++) {
		record_hash_text(STR(VECTOR_CHAT_CANONICAL), hash);
		record_signature((const unsigned char *)"k", 1, str_of(hash, sizeof hash), signature);
		if (memcmp(hash, VECTOR_CHAT_HASH, sizeof hash) != 0)
			return arg;
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];
	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hash_on_thread, threads), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_canonical_integrity),
		cmocka_unit_test(test_canonical_refuses),
		cmocka_unit_test(test_signature),
		cmocka_unit_test(test_stamp),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
