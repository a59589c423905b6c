/* JSON in and out, on top of yyjson.
 *
 * Reading is strict: what a client sends is refused, with a position and a reason, when it is malformed,
 * nested deeper than depth_max, not UTF-8, has duplicate keys, an integer beyond 64 bits, NaN or Infinity.
 * Writing comes in two forms: compact (raw UTF-8, as Fabra's replies) and canonical (Python's json.dumps
 * with sort_keys, separators "," and ":" and ensure_ascii, which CRS-001 hashes; source: fabra-core 2.3).
 * Numbers keep their type: an integer stays an integer, a float is written as Python's repr does. All
 * functions are pure; any thread. */
#pragma once
#include "runtime/arena.h"
#include "runtime/buf.h"
#include <yyjson.h>

enum { JSON_DEPTH_MAX = 1024 }; /* no limit may be larger: writers recurse once per level */

struct json_limits {
	uint32_t depth_max; /* containers within containers; 0 = 64, at most JSON_DEPTH_MAX */
	size_t bytes_max;   /* 0 = 1 MiB */
};

/* For a text that this program wrote from one that was within its limits: it may be longer, 1e9 becomes 1000000000.0. */
#define JSON_OWN (&(struct json_limits){ .depth_max = 128, .bytes_max = BUF_MAX_DEFAULT })

struct json_error {
	size_t at;        /* byte offset into the text */
	const char *what; /* static; Python's words where Fabra's clients see them ("Expecting value") */
};

/* NULL on failure. The document copies what it needs; free with yyjson_doc_free. limits NULL = defaults.
 * Every number of the document is an int64 (as yyjson's sint or uint) or a finite double; every string is
 * valid UTF-8. */
yyjson_doc *json_parse(struct str text, const struct json_limits *limits, struct json_error *ret_error);

/* Whether the text, if it is JSON, has more values than max, where a member counts as two. Looks at no more than it must:
 * building a document costs by the value, a hundred times as much. */
bool json_has_more_values(struct str text, size_t max);

void json_write_string(struct buf *out, struct str utf8); /* quoted; raw UTF-8, escapes what JSON demands */
void json_write_float(struct buf *out, double v);         /* Python repr; NaN and infinities become null */
void json_write_value(struct buf *out, yyjson_val *v);    /* compact; floats by json_write_float */

/* A text that is not UTF-8 sets out->failed: what is hashed is never silently altered. */
void json_canonical_string(struct buf *out, struct str utf8);
void json_canonical_value(struct buf *out, yyjson_val *v); /* keys sorted by code point at every level */

/* Parses and rewrites compactly: the stored form of a feature value. false: *ret_error says why. */
bool json_normalise(struct str text, struct buf *out, struct json_error *ret_error);

static inline struct str json_str(yyjson_val *v)
{
	return (struct str){ yyjson_get_str(v), yyjson_get_len(v) };
}
bool json_utf8_valid(struct str s);
