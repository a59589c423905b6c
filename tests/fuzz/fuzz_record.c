/* Any bytes as a record or as extras. What parses can be written, its canonical text is a fixed point through both
 * readings, and every view of it is JSON. */
#include "runtime/check.h"
#include "store/record/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_json(const struct buf *b)
{
	const struct json_limits wide = { .depth_max = 256, .bytes_max = BUF_MAX_DEFAULT };
	struct json_error error;
	yyjson_doc *doc = json_parse(buf_str(b), &wide, &error);
	CHECK(doc != NULL);
	yyjson_doc_free(doc);
}

static void check_same(struct str json, struct str canonical, struct arena *arena)
{
	const char *why;
	struct buf again = { 0 };
	struct record *r = record_parse(json, true, arena, &why);
	CHECK(r != NULL && record_write_canonical(r, &again, NULL));
	CHECK(str_eq(buf_str(&again), canonical));
	buf_finish(&again);
}

static void check_views(const struct record *r, const struct record_extras *e)
{
	struct buf out = { 0 };
	record_write_meta(r, e, NULL, 0, STR("why"), &out);
	check_json(&out);
	buf_clear(&out);
	record_write_lineage(r, e, &out);
	check_json(&out);
	buf_finish(&out);
}

static void check_record(struct str text, const struct record_extras *e)
{
	struct arena arena = { 0 };
	struct buf canonical = { 0 }, json = { 0 };
	const char *why = NULL;
	struct record_verdict verdict;
	struct record *r = record_parse(text, false, &arena, &why);
	CHECK((r == NULL) == (why != NULL));
	CHECK(record_verify(text, false, NULL, &verdict, &why) == (r != NULL));
	if (r) {
		CHECK(record_write_canonical(r, &canonical, NULL));
		check_same(buf_str(&canonical), buf_str(&canonical), &arena);
		CHECK(record_write_json(r, NULL, &json));
		check_same(buf_str(&json), buf_str(&canonical), &arena);
		check_views(r, e);
	}
	buf_finish(&canonical);
	buf_finish(&json);
	arena_finish(&arena);
}

/* The input is a record, or extras and a record with a zero byte between. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size };
	struct arena arena = { 0 };
	struct record_extras extras = { .evidence_mode = STR("required") };
	const char *zero = size ? memchr(text.p, '\0', size) : NULL;
	if (zero) {
		struct buf written = { 0 };
		if (record_extras_parse(str_of(text.p, (size_t)(zero - text.p)), &arena, &extras)) {
			record_extras_write(NULL, &extras, &written);
			check_json(&written);
			CHECK(record_extras_parse(buf_str(&written), &arena, &extras));
		}
		buf_finish(&written);
		text = str_skip(text, (size_t)(zero - text.p) + 1);
	}
	check_record(text, &extras);
	arena_finish(&arena);
	return 0;
}
