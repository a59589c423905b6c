/* What becomes of the rows of a retriever: ids, hashes and times by Fabra's lineage rules. */
#include "actors/retrieved.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { NOW = 1000000 };

static struct retrieved *parse(const char *rows, uint32_t top_k)
{
	const char *why = "none";
	struct retrieved *r = retrieved_new(3, STR("{\"k\":1,\"query\":\"cats\"}"), str_from(rows), top_k, NOW, 2.5,
					    &why);
	if (r == NULL)
		fail_msg("%s", why);
	return r;
}

static void assert_text(struct str got, const char *expected)
{
	if (!str_eq(got, str_from(expected)))
		fail_msg("'%.*s' instead of '%s'", STR_ARG(got), expected);
}

/* The ids of one row. */
static void check_ids(const char *row, const char *chunk_id, const char *document_id)
{
	char rows[256];
	snprintf(rows, sizeof rows, "[\"first\",%s]", row);
	struct retrieved *r = parse(rows, 0);
	assert_int_equal(r->chunks_count, 2);
	assert_text(r->chunks[1].chunk_id, chunk_id);
	assert_text(r->chunks[1].document_id, document_id);
	retrieved_unref(r);
}

static void test_ids(void **state)
{
	(void)state;
	check_ids("\"text\"", "chunk_1", "unknown");
	check_ids("{\"content\":\"t\"}", "chunk_1", "unknown");
	check_ids("{\"content\":\"t\",\"id\":7}", "chunk_1", "7");
	check_ids("{\"content\":\"t\",\"id\":-7}", "chunk_1", "-7");
	check_ids("{\"content\":\"t\",\"id\":\"doc\"}", "chunk_1", "doc");
	check_ids("{\"content\":\"t\",\"chunk_id\":\"c\",\"document_id\":\"d\",\"metadata\":{\"chunk_id\":\"x\"}}", "c",
		  "d");
	check_ids("{\"content\":\"t\",\"metadata\":{\"chunk_id\":\"mc\",\"document_id\":\"md\",\"source_id\":\"s\"}}",
		  "mc", "md");
	check_ids("{\"content\":\"t\",\"metadata\":{\"source_id\":\"s\"},\"id\":1}", "chunk_1", "s");
	check_ids("{\"content\":\"t\",\"chunk_id\":\"\",\"metadata\":7}", "chunk_1", "unknown");
}

static void test_hash_time_and_score(void **state)
{
	(void)state;
	struct retrieved *r = parse(
	    "[{\"content\":\"abc\",\"metadata\":{\"indexed_at\":\"1970-01-01T00:00:00.5Z\",\"n\":1}},"
	    "{\"content\":\"abc\",\"content_hash\":\"own\",\"indexed_at\":\"1970-01-01T00:00:02Z\",\"score\":0.5},"
	    "{\"content\":\"abc\",\"metadata\":{\"content_hash\":\"meta\",\"ingestion_timestamp\":4,\"created_at\":\"\"},"
	    "\"similarity_score\":1,\"url\":\"u\"},"
	    "{\"content\":\"abc\",\"metadata\":{\"created_at\":\"1970-01-01T00:00:03Z\",\"source_url\":\"mu\"}}]",
	    0);
	char hash[RECORD_HASH_TEXT];
	record_hash_text(STR("abc"), hash);
	assert_true(str_eq(r->chunks[0].content_hash, str_of(hash, sizeof hash)));
	assert_int_equal(r->chunks[0].indexed_at_us, 500000);
	assert_text(r->chunks[0].metadata_json, "{\"indexed_at\":\"1970-01-01T00:00:00.5Z\",\"n\":1}");
	assert_null(r->chunks[0].source_url.p);
	assert_text(r->chunks[1].content_hash, "own");
	assert_int_equal(r->chunks[1].indexed_at_us, 2000000);
	assert_true(r->chunks[1].score == 0.5 && r->chunks[1].metadata_json.p == NULL);
	assert_text(r->chunks[2].content_hash, "meta");
	assert_int_equal(r->chunks[2].indexed_at_us, 4000000); /* unix seconds */
	assert_true(r->chunks[2].score == 1.0);
	assert_text(r->chunks[2].source_url, "u");
	assert_int_equal(r->chunks[3].indexed_at_us, 3000000);
	assert_text(r->chunks[3].source_url, "mu");
	retrieved_unref(r);
}

static void test_times_of_chunks(void **state)
{
	(void)state;
	static const struct {
		const char *row;
		int64_t us;
	} good[] = {
		{ "\"text\"", NOW },
		{ "{\"content\":\"t\"}", NOW },
		{ "{\"content\":\"t\",\"indexed_at\":null,\"last_updated\":\"1970-01-01T00:00:07Z\"}", 7000000 },
		{ "{\"content\":\"t\",\"last_updated\":7.5}", 7500000 },
		{ "{\"content\":\"t\",\"metadata\":{\"last_updated\":8}}", 8000000 },
	};
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		char rows[200];
		snprintf(rows, sizeof rows, "[%s]", good[i].row);
		struct retrieved *r = parse(rows, 0);
		assert_int_equal(r->chunks[0].indexed_at_us, good[i].us);
		retrieved_unref(r);
	}
	/* An age that cannot be read is no age of zero. */
	static const char *const bad[] = { "\"indexed_at\":\"yesterday\"", "\"last_updated\":true",
					   "\"last_updated\":1e300", "\"metadata\":{\"created_at\":\"no time\"}",
					   "\"indexed_at\":[]" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char rows[200];
		const char *why = NULL;
		snprintf(rows, sizeof rows, "[{\"content\":\"t\",%s}]", bad[i]);
		assert_null(retrieved_new(3, STR("{}"), str_from(rows), 0, NOW, 0, &why));
		assert_non_null(strstr(why, "neither an ISO 8601 time nor unix seconds"));
	}
}

static void test_the_whole(void **state)
{
	(void)state;
	struct retrieved *r = parse("[\"a\",\"b\\n\",\"c\"]", 2);
	assert_int_equal(r->chunks_count, 2);
	assert_text(r->query, "cats");
	assert_text(r->args_json, "{\"k\":1,\"query\":\"cats\"}");
	assert_true(r->retriever == 3 && r->latency_ms == 2.5 && r->made_at_us == NOW);
	struct json_error error;
	yyjson_doc *seen = json_parse(r->chunks_json, NULL, &error);
	assert_int_equal(yyjson_arr_size(yyjson_doc_get_root(seen)), 2);
	yyjson_val *second = yyjson_arr_get(yyjson_doc_get_root(seen), 1);
	assert_text(json_str(yyjson_obj_get(second, "content")), "b\n");
	assert_text(json_str(yyjson_obj_get(second, "chunk_id")), "chunk_1");
	assert_text(json_str(yyjson_obj_get(second, "indexed_at")), "1970-01-01T00:00:01Z");
	yyjson_doc_free(seen);
	assert_ptr_equal(retrieved_ref(r), r);
	retrieved_unref(r);
	assert_int_equal(r->refs, 1);
	retrieved_unref(r);
	r = parse("[]", 5);
	assert_int_equal(r->chunks_count, 0);
	assert_text(r->chunks_json, "[]");
	retrieved_unref(r);
}

static void test_no_list(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "null", "{}", "\"text\"", "[1", "7" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const char *why = NULL;
		assert_null(retrieved_new(0, STR("{}"), str_from(bad[i]), 0, NOW, 0, &why));
		assert_string_equal(why, "the answer is not a list");
	}
	const char *why = NULL;
	assert_null(retrieved_new(0, STR("{}"), (struct str){ 0 }, 0, NOW, 0, &why)); /* the function returned nil */
	assert_string_equal(why, "the answer is not a list");
	retrieved_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ids), cmocka_unit_test(test_hash_time_and_score),
					    cmocka_unit_test(test_times_of_chunks), cmocka_unit_test(test_the_whole),
					    cmocka_unit_test(test_no_list) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
