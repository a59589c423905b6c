#include "tests/unit/record_vectors.h"
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* VECTOR_CHAT_JSON with one place changed; the caller frees. */
static char *mutated(const char *from, const char *to)
{
	const char *text = VECTOR_CHAT_JSON, *at = strstr(text, from);
	if (at == NULL)
		fail_msg("%s is not in the record", from);
	struct buf b = { 0 };
	size_t n;
	buf_append(&b, text, (size_t)(at - text));
	buf_append_str(&b, str_from(to));
	buf_append(&b, at + strlen(from), strlen(at) - strlen(from) + 1);
	return buf_take(&b, &n);
}

static void expect_verdict(const char *from, const char *to, bool record_ok, bool content_ok)
{
	char *json = mutated(from, to);
	struct record_verdict v;
	const char *why = NULL;
	if (!record_verify(str_from(json), false, NULL, &v, &why))
		fail_msg("%s -> %s: %s", from, to, why);
	if (v.record_hash_ok != record_ok || v.content_hash_ok != content_ok)
		fail_msg("%s -> %s: record %d, content %d", from, to, v.record_hash_ok, v.content_hash_ok);
	free(json);
}

static void expect_refused(const char *from, const char *to, bool strict, const char *reason)
{
	char *json = mutated(from, to);
	struct record_verdict v;
	const char *why = NULL;
	if (record_verify(str_from(json), strict, NULL, &v, &why))
		fail_msg("%s -> %s was accepted", from, to);
	assert_string_equal(why, reason);
	free(json);
}

static void test_verifies(void **state)
{
	struct record_verdict v;
	const char *why;
	(void)state;
	assert_true(record_verify(STR(VECTOR_CHAT_JSON), true, NULL, &v, &why));
	assert_true(v.record_hash_ok && v.content_hash_ok);
	assert_false(v.has_signature || v.signature_checked || v.signature_ok);
	assert_memory_equal(v.record_hash, VECTOR_CHAT_HASH, RECORD_HASH_TEXT);
}

/* What Fabra's verification says to each, run there. */
static void test_golden_mutations(void **state)
{
	static const char created[] = "2025-01-01T00:00:00Z";
	(void)state;
	expect_verdict("\"environment\"", "\"extra\": {\"a\": [1]}, \"environment\"", true, true);
	expect_verdict(created, "2025-01-01T00:00:00.000Z", true, true);
	expect_verdict(created, "2025-01-01T00:00:00+00:00", true, true);
	expect_verdict(created, "2025-01-01 00:00:00Z", true, true);
	expect_verdict("\"2025-01-01T00:00:00Z\"", "1735689600", true, true);
	expect_verdict(created, "2025-01-01T05:30:00+05:30", false, true);
	expect_verdict(created, "2025-01-01T00:00:00", false, true);
	expect_verdict(created, "2025-01-01T00:00:00.1234567Z", false, true);
	expect_verdict("\"token_count\": 42", "\"token_count\": \"42\"", true, true);
	expect_verdict("\"token_count\": 42", "\"token_count\": 42.0", true, true);
	expect_verdict("\"previous_context_id\": null", "\"previous_context_id\": \"ctx_x\"", false, true);
	expect_verdict("\"content_hash\": \"sha256:ca", "\"content_hash\": \"sha256:da", false, false);
	expect_verdict("\"signature\": null", "\"signature\": \"hmac-sha256:00\"", true, true);
	expect_verdict("\"signing_key_id\": null", "\"signing_key_id\": \"k\"", true, true);
	expect_verdict("\"signed_at\": null", "\"signed_at\": \"2025-01-02T00:00:00Z\"", true, true);
}

static void test_tampering(void **state)
{
	(void)state;
	expect_verdict("premium", "premiun", false, false);
	expect_verdict("User tier: premium\\nDocs: ...", "", false, false);
	expect_verdict("\"u1\"", "\"u2\"", false, true);
	expect_verdict("12.3", "12.4", false, true);
	expect_verdict("4000", "4001", false, true);
	expect_verdict("\"max_tokens\": 4000", "\"max_tokens\": null", false, true);
	expect_verdict("development", "production", false, true);
	expect_verdict("[\"user_tier\"]", "[\"user_tier\",\"user_tier\"]", false, true);
	expect_verdict("00000001", "00000002", false, true);
}

/* The same value in the forms that pydantic takes for it; each checked with pydantic 2.13. */
static void test_coercions(void **state)
{
	(void)state;
	expect_verdict("\"token_count\": 42", "\"token_count\": \" +4_2.00 \"", true, true);
	expect_verdict("\"items_provided\": 2", "\"items_provided\": 2e0", true, true);
	expect_verdict("12.3", "\"12.3\"", true, true);
	expect_verdict("0.0001", "1e-4", true, true);
	expect_verdict("0.0001", "\" 0.000_1 \"", true, true);
	expect_verdict("\"required_items_included\": true", "\"required_items_included\": 1", true, true);
	expect_verdict("\"required_items_included\": true", "\"required_items_included\": \"Yes\"", true, true);
	expect_verdict("\"required_items_included\": true", "\"required_items_included\": \"off\"", false, true);
	expect_verdict("\"2025-01-01T00:00:00Z\"", "\"1735689600\"", true, true);
	expect_verdict("\"2025-01-01T00:00:00Z\"", "1735689600000", true, true);
	expect_verdict("\"code_version\": null, ", "", true, true);
	expect_verdict("\"features\": [],", "", true, true);
	expect_verdict("\"signed_at\": null, \"signing_key_id\": null, \"signature\": null", "\"signed_at\": null",
		       true, true);
	expect_verdict("\"environment\": \"development\",", "", true, true);
}

static void test_refuses(void **state)
{
	(void)state;
	expect_refused("\"token_count\": 42", "\"token_count\": 42.5", false,
		       "token_count must be an integer of at most 64 bits");
	expect_refused("\"token_count\": 42", "\"token_count\": \"42.\"", false,
		       "token_count must be an integer of at most 64 bits");
	expect_refused("\"token_count\": 42", "\"token_count\": null", false,
		       "token_count must be an integer of at most 64 bits");
	expect_refused("\"token_count\": 42", "\"token_count\": 99999999999999999999", false, "Integer beyond 64 bits");
	expect_refused("\"environment\": \"development\"", "\"environment\": 1", false, "environment must be a string");
	expect_refused("12.3", "\"nan\"", false, "lineage.assembly_latency_ms must be a number");
	expect_refused("12.3", "\"0x1p3\"", false, "lineage.assembly_latency_ms must be a number");
	expect_refused("2025-01-01T00:00:00Z", "yesterday", false,
		       "created_at must be a time, such as 2025-01-01T00:00:00Z");
	expect_refused("\"guaranteed\"", "\"Guaranteed\"", false,
		       "assembly.freshness_status must be guaranteed, degraded or unknown");
	expect_refused("\"max_tokens\": 4000", "\"max_tokens\": -1", false,
		       "assembly.max_tokens must be null or an integer from 0");
	expect_refused("\"required_items_included\": true", "\"required_items_included\": 2", false,
		       "assembly.required_items_included must be true or false");
	expect_refused("\"fabra_version\": \"2.1.2\",", "", false, "lineage.fabra_version must be a string");
	expect_refused("\"inputs\": {", "\"inputs\": [], \"x\": {", false, "inputs must be an object");
	expect_refused("\"features\": []", "\"features\": [{\"name\": \"f\"}]", false,
		       "features[].entity_id must be a string");
	expect_refused("\"features\": []", "\"features\": {}", false, "features must be an array of objects");
	expect_refused("[\"user_tier\"]", "[1]", false, "lineage.features_used must be an array of strings");
	expect_refused("\"environment\"", "\"content\": \"\", \"environment\"", false, "Duplicate key");
	expect_refused("}\n}\n", "}", false, "Expecting ',' delimiter");
}

static void test_strict(void **state)
{
	struct record_verdict v;
	const char *why;
	(void)state;
	expect_refused("\"environment\"", "\"extra\": 1, \"environment\"", true, "unknown field");
	expect_refused("\"max_tokens\"", "\"extra\": 1, \"max_tokens\"", true, "assembly: unknown field");
	expect_refused("\"code_version\"", "\"extra\": 1, \"code_version\"", true, "lineage: unknown field");
	expect_refused("\"signature\"", "\"extra\": 1, \"signature\"", true, "integrity: unknown field");
	assert_true(record_verify(STR(VECTOR_RICH_CANONICAL), true, NULL, &v, &why));
	assert_false(record_verify(STR("[]"), true, NULL, &v, &why));
	assert_string_equal(why, "a record must be an object");
}

static void test_signature(void **state)
{
	struct record r = vector_rich();
	struct record_signer signer = { .key_bytes = 32, .key_id = "k1" };
	struct record_stamp stamp;
	struct record_verdict v;
	struct buf canonical = { 0 }, json = { 0 };
	const char *why;
	(void)state;
	memset(signer.key, 1, 32);
	assert_true(record_write_canonical(&r, &canonical, NULL));
	record_stamp_make(buf_str(&canonical), &signer, 1739558551221000, &stamp);
	assert_true(record_write_json(&r, &stamp, &json));
	assert_true(record_verify(buf_str(&json), true, &signer, &v, &why));
	assert_true(v.content_hash_ok && v.record_hash_ok && v.has_signature && v.signature_checked && v.signature_ok);
	assert_true(record_verify(buf_str(&json), true, NULL, &v, &why));
	assert_true(v.has_signature && !v.signature_checked && !v.signature_ok);
	signer.key[0] = 2;
	assert_true(record_verify(buf_str(&json), true, &signer, &v, &why));
	assert_true(v.record_hash_ok && v.signature_checked && !v.signature_ok);
	/* Another key with another id has nothing to say; the same key under another name has. */
	strcpy(signer.key_id, "k2");
	assert_true(record_verify(buf_str(&json), true, &signer, &v, &why));
	assert_true(v.record_hash_ok && v.has_signature && !v.signature_checked && !v.signature_ok);
	assert_string_equal(v.signing_key_id, "k1");
	signer.key[0] = 1;
	assert_true(record_verify(buf_str(&json), true, &signer, &v, &why));
	assert_true(v.signature_checked && v.signature_ok);
	buf_finish(&canonical);
	buf_finish(&json);
}

/* parse(canonical) writes the same canonical text, and so does what parse makes of the JSON view. */
static void expect_round_trip(struct str canonical)
{
	struct arena arena = { 0 };
	struct buf again = { 0 }, json = { 0 };
	const char *why = "";
	struct record *r = record_parse(canonical, true, &arena, &why);
	if (r == NULL)
		fail_msg("%s", why);
	assert_true(record_write_canonical(r, &again, NULL));
	assert_true(str_eq(buf_str(&again), canonical));
	assert_true(record_write_json(r, NULL, &json));
	r = record_parse(buf_str(&json), true, &arena, &why);
	if (r == NULL)
		fail_msg("%s", why);
	buf_clear(&again);
	assert_true(record_write_canonical(r, &again, NULL));
	assert_true(str_eq(buf_str(&again), canonical));
	buf_finish(&again);
	buf_finish(&json);
	arena_finish(&arena);
}

static void test_round_trip(void **state)
{
	struct record r = vector_rich();
	struct record_feature features[] = { r.features[0], r.features[0], r.features[0] };
	struct record_item items[] = { r.items[0], r.items[0] };
	struct buf b = { 0 };
	(void)state;
	expect_round_trip(STR(VECTOR_CHAT_CANONICAL));
	expect_round_trip(STR(VECTOR_RICH_CANONICAL));
	r.created_at_zone_min = -210;
	features[0].as_of_zone_min = TIME_NAIVE;
	features[0].value_json = STR("{\"z\":[1,1.0,-0.0,1e-7,true,null,\"\\u0000\\ud83d\\ude00\"],\"a\":{}}");
	features[1].value_json = STR("null");
	features[1].source = RECORD_FALLBACK;
	features[2].value_json = STR("-9223372036854775808");
	features[2].freshness_ms = -5;
	items[0].content = STR("text \x7f\t\xc3\xa9");
	items[0].source_url = STR("");
	items[1].similarity_score = -1e300;
	items[1].is_stale = true;
	items[1].as_of_zone_min = 60;
	r.features = features;
	r.features_count = 3;
	r.items = items;
	r.items_count = 2;
	r.content = STR("");
	r.assembly.max_tokens = 0;
	r.assembly.freshness_status = RECORD_UNKNOWN;
	r.lineage.code_version = STR("abc");
	r.integrity.previous_context_id = STR("ctx_1");
	assert_true(record_write_canonical(&r, &b, NULL));
	expect_round_trip(buf_str(&b));
	buf_finish(&b);
}

/* What can be written can be read, also at the deepest. */
static void test_depth(void **state)
{
	struct record r = vector_rich();
	struct record_feature f = r.features[0];
	struct buf value = { 0 }, canonical = { 0 };
	(void)state;
	r.features = &f;
	for (int depth = 120; depth < 132; depth++) {
		buf_clear(&value);
		buf_clear(&canonical);
		for (int i = 0; i < depth; i++)
			buf_append_char(&value, '[');
		for (int i = 0; i < depth; i++)
			buf_append_char(&value, ']');
		f.value_json = buf_str(&value);
		bool written = record_write_canonical(&r, &canonical, NULL);
		assert_int_equal(written, depth <= 125);
		if (written)
			expect_round_trip(buf_str(&canonical));
	}
	buf_finish(&value);
	buf_finish(&canonical);
}

static void test_memory_bound(void **state)
{
	struct arena arena = { .max = 4096 };
	struct buf b = { 0 };
	const char *why = NULL;
	(void)state;
	char *json = mutated("[\"user_tier\"]", "[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]");
	struct record_verdict v;
	assert_true(record_verify(str_from(json), true, NULL, &v, &why));
	free(json);
	buf_append_lit(&b, "[\"\"");
	for (int i = 0; i < 100000; i++)
		buf_append_lit(&b, ",\"\"");
	buf_append_lit(&b, "]");
	buf_append_char(&b, '\0');
	json = mutated("[\"user_tier\"]", b.p);
	assert_true(record_verify(str_from(json), true, NULL, &v, &why));
	assert_null(record_parse(str_from(json), true, &arena, &why));
	assert_string_equal(why, "Out of memory");
	free(json);
	buf_finish(&b);
	arena_finish(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verifies),  cmocka_unit_test(test_golden_mutations),
		cmocka_unit_test(test_tampering), cmocka_unit_test(test_coercions),
		cmocka_unit_test(test_refuses),   cmocka_unit_test(test_strict),
		cmocka_unit_test(test_signature), cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_depth),     cmocka_unit_test(test_memory_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
