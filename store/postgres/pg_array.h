/* Parameters in Postgres's binary form: one array is one column of the rows of a batch, for `unnest`. Numbers are big-endian,
 * times are microseconds since 2000. An array of no element may be used again after pg_array_begin. */
#pragma once
#include "runtime/buf.h"
#include <endian.h>
#include <stdint.h>

enum pg_type {
	PG_BOOL = 16,
	PG_BYTEA = 17,
	PG_INT8 = 20,
	PG_INT2 = 21,
	PG_TEXT = 25,
	PG_TIMESTAMPTZ = 1184,
	PG_UUID = 2950,
};

struct pg_uuid { /* big-endian in the row: ordered as the text is */
	uint64_t high, low;
};

void pg_array_begin(struct buf *b, enum pg_type type);
void pg_array_end(struct buf *b, uint32_t count);

void pg_array_null(struct buf *b);
void pg_array_bytes(struct buf *b, struct str bytes); /* text or bytea; p NULL: null */
void pg_array_i64(struct buf *b, int64_t v);
void pg_array_i16(struct buf *b, int16_t v);
void pg_array_time(struct buf *b, int64_t us); /* since 1970 */
void pg_array_uuid(struct buf *b, struct pg_uuid v);

/* Single values. */
int64_t pg_time(int64_t us); /* from 1970 to 2000; clamped to what Postgres can hold */
int64_t pg_time_back(int64_t us);
bool pg_uuid_parse(struct str text, struct pg_uuid *ret);  /* with or without "ctx_", either case */
void pg_uuid_text(struct pg_uuid id, char ret[static 36]); /* lowercase */
void pg_uuid_bytes(struct pg_uuid id, char ret[static 16]);
struct pg_uuid pg_uuid_read(const char *bytes);

static inline uint64_t pg_get_u64(const char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return be64toh(v);
}
