/* The chain of records: what it writes names what was before it, and goes on only from what was added. */
#include "store/record/record_chain.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "{\"before\":null,\"previous_context_id\":null,\"z\":1}";
enum { PREVIOUS_AT = 37 };

static struct record_draft draft(const char *id)
{
	return (struct record_draft){ .context_id = str_from(id), .text = str_from(text), .previous_at = PREVIOUS_AT };
}

static void add(struct record_chain *c, const char *id, const char *wanted, struct record_stamp *stamp)
{
	const struct record_draft d = draft(id);
	uint8_t out[128];
	char hash[RECORD_HASH_TEXT];
	size_t n = record_chain_bytes(c, &d);
	assert_true(record_draft_is_sound(&d));
	assert_int_equal(n, strlen(wanted));
	record_chain_add(c, &d, NULL, 0, out, stamp);
	assert_memory_equal(out, wanted, n);
	record_hash_text(str_from(wanted), hash);
	assert_memory_equal(stamp->record_hash, hash, sizeof hash);
	assert_false(stamp->has_signature);
}

static void each_names_the_one_before(void **state)
{
	(void)state;
	struct record_chain c = { 0 }, before;
	struct record_stamp stamp, first;
	uint8_t hash[32];
	assert_true(record_chain_continues(&c, (struct str){ 0 }));
	add(&c, "ctx_a", text, &first);
	assert_false(record_chain_continues(&c, (struct str){ 0 }));
	assert_true(record_chain_continues(&c, STR("ctx_a")));
	before = c;
	add(&c, "ctx_long_one", "{\"before\":null,\"previous_context_id\":\"ctx_a\",\"z\":1}", &stamp);
	assert_false(record_chain_ends_alike(&c, &before));
	c = before; /* its commit failed */
	add(&c, "ctx_b", "{\"before\":null,\"previous_context_id\":\"ctx_a\",\"z\":1}", &stamp);
	add(&c, "ctx_c", "{\"before\":null,\"previous_context_id\":\"ctx_b\",\"z\":1}", &stamp);
	assert_int_equal(c.records, 3);
	/* What was read again leads to the same end. */
	struct record_chain read = { 0 };
	assert_true(record_digest_parse(str_of(stamp.record_hash, RECORD_HASH_TEXT), STR("sha256:"), hash));
	record_chain_follow(&read, STR("ctx_c"), hash);
	assert_true(record_chain_ends_alike(&read, &c));
	hash[31] ^= 1;
	record_chain_follow(&read, STR("ctx_c"), hash);
	assert_false(record_chain_ends_alike(&read, &c));
}

static void a_draft_has_a_place_for_its_predecessor(void **state)
{
	(void)state;
	struct record_draft d = draft("ctx_a");
	for (size_t at = 0; at <= sizeof text + 4; at++) {
		d.previous_at = at;
		assert_int_equal(record_draft_is_sound(&d), at == PREVIOUS_AT || at == 10);
	}
	d.previous_at = SIZE_MAX - 1;
	assert_false(record_draft_is_sound(&d));
	d.text = STR("nul");
	d.previous_at = 0;
	assert_false(record_draft_is_sound(&d));
}

static void ids_of_full_length_fit(void **state)
{
	(void)state;
	struct record_chain c = { 0 };
	struct record_stamp stamp;
	static const char id[] = "ctx_018f3a2b-7def-7abc-8901-234567890abc";
	assert_int_equal(sizeof id - 1, RECORD_ID_MAX);
	add(&c, id, text, &stamp);
	assert_string_equal(c.last_context_id, id);
	add(&c, "x", "{\"before\":null,\"previous_context_id\":\"ctx_018f3a2b-7def-7abc-8901-234567890abc\",\"z\":1}",
	    &stamp);
	assert_string_equal(c.last_context_id, "x"); /* nothing of the longer one is left */
	assert_int_equal(c.last_context_id[2], 0);
}

static void ids_are_the_same_in_any_spelling(void **state)
{
	(void)state;
	assert_true(record_ids_match(STR("ctx_0aB"), STR("0Ab")));
	assert_true(record_ids_match(STR("0ab"), STR("0ab")));
	assert_false(record_ids_match(STR("ctx_0ab"), STR("0abc")));
	assert_false(record_ids_match(STR("ctx_ctx_0ab"), STR("0ab")));
	assert_true(record_ids_match(STR(""), STR("ctx_")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_names_the_one_before),
		cmocka_unit_test(a_draft_has_a_place_for_its_predecessor),
		cmocka_unit_test(ids_of_full_length_fit),
		cmocka_unit_test(ids_are_the_same_in_any_spelling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
