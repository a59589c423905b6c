/* Any bytes as what lies in Redis. A value that is read is JSON; what this program writes it reads as it was. */
#include "runtime/check.h"
#include "store/redis/redis_wrap.h"
#include "store/text/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_own(struct str json, const struct online_meta *meta)
{
	struct buf out = { 0 };
	struct online_cell again = { 0 };
	redis_wrap_write(&out, json, meta);
	CHECK(redis_wrap_read(buf_str(&out), 1, &again) == REDIS_WRAP_OURS);
	CHECK(str_eq(value_json(again.value), json));
	CHECK(again.meta.event_time_us == meta->event_time_us && again.meta.event_time_ns == meta->event_time_ns);
	CHECK(again.meta.lsn == meta->lsn && again.meta.lsn_low == meta->lsn_low);
	CHECK(again.meta.written_us == meta->written_us && again.meta.expires_us == meta->expires_us);
	value_unref(again.value);
	out.p[out.n / 2] ^= 1; /* what is not whole is not ours */
	enum redis_wrapped how = redis_wrap_read(buf_str(&out), 1, &again);
	CHECK(how != REDIS_WRAP_OURS);
	if (how == REDIS_WRAP_FOREIGN)
		value_unref(again.value);
	buf_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size };
	struct online_cell cell = { 0 };
	struct redis_tombstone t;
	enum redis_wrapped how = redis_wrap_read(text, 1, &cell);
	if (how == REDIS_WRAP_FOREIGN) {
		const struct json_limits wide = { .depth_max = 200, .bytes_max = BUF_MAX_DEFAULT };
		yyjson_doc *doc = json_parse(value_json(cell.value), &wide, &(struct json_error){ 0 });
		CHECK(doc != NULL);
		yyjson_doc_free(doc);
	}
	if (how == REDIS_WRAP_FOREIGN || how == REDIS_WRAP_OURS) {
		struct online_meta meta = { .flags = 3 };
		memcpy(&meta, data, size < 40 ? size : 40);
		meta.flags &= 0xff;
		meta.event_time_ns = 999;
		check_own(value_json(cell.value), &meta);
		value_unref(cell.value);
	}
	while (redis_tombstone_next(&text, &t))
		CHECK(t.feature.n <= size);
	return 0;
}
