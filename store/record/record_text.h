/* The small writers that the canonical text and the JSON views share: keys come with their punctuation.
 * Private to store/record/record*.c. */
#pragma once
#include "store/record/record.h"

/* What a record's text may be, and what then is left for the JSON texts in it: a value lies three levels
 * deep, inputs one. So whatever can be written can be read back. */
#define RECORD_DEPTH_MAX 128
#define RECORD_BYTES_MAX ((size_t)BUF_MAX_DEFAULT)

static inline void record_put_int(struct buf *out, struct str key, int64_t value)
{
	buf_append_str(out, key);
	buf_append_i64(out, value);
}

static inline void record_put_int_or_null(struct buf *out, struct str key, int64_t value)
{
	buf_append_str(out, key);
	if (value < 0)
		buf_append_lit(out, "null");
	else
		buf_append_i64(out, value);
}

static inline void record_put_bool(struct buf *out, struct str key, bool value)
{
	buf_append_str(out, key);
	buf_append_str(out, value ? STR("true") : STR("false"));
}

static inline void record_put_time(struct buf *out, struct str key, int64_t us, int16_t zone_min)
{
	buf_append_str(out, key);
	buf_append_char(out, '"');
	time_write_zoned(out, us, zone_min);
	buf_append_char(out, '"');
}

/* Raw UTF-8. The key of an array ends with its opening bracket. */
void record_put_text_or_null(struct buf *out, struct str key, struct str value);
void record_put_texts(struct buf *out, struct str key, const struct str *texts, size_t count);

struct str record_source_name(enum record_source source);
struct str record_freshness_name(enum record_freshness status);
struct str record_reason_name(const struct record_dropped *d);
/* ,"missing_features":[...],"default_features":[...],"missing_retrievers":[...] */
void record_put_missing(struct buf *out, const struct record_extras *e);
