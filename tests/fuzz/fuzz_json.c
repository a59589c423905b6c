/* Any bytes as JSON. What is accepted has no error to diagnose, and both written forms are fixed points; what is
 * refused has a diagnosis of its own, within the text. */
#include "runtime/check.h"
#include "store/text/json_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(struct str text, yyjson_doc *doc)
{
	const struct json_limits wide = { .bytes_max = BUF_MAX_DEFAULT };
	struct json_error error = { 0 };
	struct buf first = { 0 }, second = { 0 };
	CHECK(!json_diagnose(text, &error));
	for (int canonical = 0; canonical < 2; canonical++) {
		void (*write)(struct buf *, yyjson_val *) = canonical ? json_canonical_value : json_write_value;
		buf_clear(&first);
		buf_clear(&second);
		write(&first, yyjson_doc_get_root(doc));
		CHECK(!first.failed && json_utf8_valid(buf_str(&first)));
		for (size_t i = 0; canonical && i < first.n; i++)
			CHECK(first.p[i] >= 0x20 && first.p[i] < 0x7f);
		yyjson_doc *again = json_parse(buf_str(&first), &wide, &error);
		CHECK(again != NULL);
		write(&second, yyjson_doc_get_root(again));
		CHECK(str_eq(buf_str(&first), buf_str(&second)));
		yyjson_doc_free(again);
	}
	buf_finish(&first);
	buf_finish(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size };
	struct json_error error = { 0 };
	yyjson_doc *doc = json_parse(text, NULL, &error);
	if (doc) {
		check_accepted(text, doc);
		yyjson_doc_free(doc);
	} else {
		CHECK(error.what != NULL && error.at <= size);
		CHECK(strcmp(error.what, "Malformed JSON") != 0);
	}
	return 0;
}
