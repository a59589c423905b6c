#include "store/postgres/pg_array.h"
#include "store/record/record.h"
#include "store/text/uuid.h"

enum { HEAD = 20, HAS_NULL_AT = 4, COUNT_AT = 12 };
#define EPOCH_US INT64_C(946684800000000) /* 2000-01-01 */

static void put_u32(struct buf *b, uint32_t v)
{
	v = htobe32(v);
	buf_append(b, &v, sizeof v);
}

static void put_u64(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	buf_append(b, &v, sizeof v);
}

/* One dimension, that may hold nulls, of so many elements, from 1 on. */
void pg_array_begin(struct buf *b, enum pg_type type)
{
	buf_clear(b);
	put_u32(b, 1);
	put_u32(b, 1);
	put_u32(b, type);
	put_u32(b, 0);
	put_u32(b, 1);
}

void pg_array_end(struct buf *b, uint32_t count)
{
	count = htobe32(count);
	if (b->n >= HEAD)
		memcpy(b->p + COUNT_AT, &count, sizeof count);
}

void pg_array_null(struct buf *b)
{
	put_u32(b, UINT32_MAX);
}

void pg_array_bytes(struct buf *b, struct str bytes)
{
	if (bytes.p == NULL) {
		pg_array_null(b);
		return;
	}
	put_u32(b, (uint32_t)bytes.n);
	buf_append_str(b, bytes);
}

void pg_array_i64(struct buf *b, int64_t v)
{
	put_u32(b, 8);
	put_u64(b, (uint64_t)v);
}

void pg_array_i16(struct buf *b, int16_t v)
{
	uint16_t u = htobe16((uint16_t)v);
	put_u32(b, 2);
	buf_append(b, &u, sizeof u);
}

void pg_array_time(struct buf *b, int64_t us)
{
	pg_array_i64(b, pg_time(us));
}

void pg_array_uuid(struct buf *b, struct pg_uuid v)
{
	put_u32(b, 16);
	put_u64(b, v.high);
	put_u64(b, v.low);
}

/* Postgres holds the years -4712 to 294276, and takes the two ends of int64 for its infinities. */
int64_t pg_time(int64_t us)
{
	const int64_t most = INT64_C(9223371331200000000) - EPOCH_US, least = -INT64_C(211813488000000000);
	us = us < INT64_MIN + EPOCH_US ? INT64_MIN : us - EPOCH_US;
	return us > most ? most : us < least ? least : us;
}

int64_t pg_time_back(int64_t us)
{
	return us > INT64_MAX - EPOCH_US ? INT64_MAX : us + EPOCH_US;
}

static unsigned digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a' + 10);
}

bool pg_uuid_parse(struct str text, struct pg_uuid *ret)
{
	text = record_id_bare(text);
	if (!uuid_is_text(text))
		return false;
	uint64_t halves[2] = { 0 };
	for (size_t i = 0, n = 0; i < text.n; i++)
		if (text.p[i] != '-') {
			halves[n / 16] = halves[n / 16] << 4 | digit(text.p[i]);
			n++;
		}
	*ret = (struct pg_uuid){ halves[0], halves[1] };
	return true;
}

void pg_uuid_text(struct pg_uuid id, char ret[static 36])
{
	static const char hex[] = "0123456789abcdef";
	char *at = ret;
	for (unsigned i = 0; i < 32; i++) {
		if (i == 8 || i == 12 || i == 16 || i == 20)
			*at++ = '-';
		*at++ = hex[(i < 16 ? id.high : id.low) >> (60 - 4 * (i & 15)) & 15];
	}
}

void pg_uuid_bytes(struct pg_uuid id, char ret[static 16])
{
	uint64_t high = htobe64(id.high), low = htobe64(id.low);
	memcpy(ret, &high, 8);
	memcpy(ret + 8, &low, 8);
}

struct pg_uuid pg_uuid_read(const char *bytes)
{
	return (struct pg_uuid){ pg_get_u64(bytes), pg_get_u64(bytes + 8) };
}
