#include "http/frame_budget.h"
#include <stdbool.h>

enum {
	UNIT = 64,                /* of a frame */
	PAYLOAD_BYTES = UNIT,     /* this much payload makes a frame free */
	WRITTEN_BYTES = 512,      /* so many bytes of replies earn a frame: small windows need many updates */
	REQUEST_EARNS = 4 * UNIT, /* PRIORITY, an update of each window, and one to spare */
	REQUEST_EARNS_RESETS = UNIT / 2,
	RESETS_SHARE = 5, /* a fifth of the stock */
	REFILL_MS = 10000,
	ACK_BYTES = 64,   /* of a PING, in a record of TLS of its own */
	RESET_BYTES = 16, /* of a stream that has ended; bodies in pieces must leave more than this */
};

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { FLAG_END_STREAM = 0x01, FLAG_ACK = 0x01, FLAG_END_HEADERS = 0x04, FLAG_PADDED = 0x08 };

static int64_t at_most(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t stock_of(const struct frame_budget *b)
{
	return (int64_t)b->stock * UNIT;
}

void frame_budget_init(struct frame_budget *b, uint32_t stock, uint64_t now_ns)
{
	*b = (struct frame_budget){ .stock = stock, .refilled_ns = now_ns };
	b->left = stock_of(b);
	b->resets_left = stock_of(b) / RESETS_SHARE;
}

/* Only when a stock is empty: the clock and the bytes are not looked at for each frame. */
static void refill(struct frame_budget *b, uint64_t now_ns, uint64_t written)
{
	uint64_t ms = (now_ns - b->refilled_ns) / 1000000;
	int64_t units = (int64_t)(ms < REFILL_MS ? ms : REFILL_MS) * stock_of(b) / REFILL_MS;
	uint64_t frames = (written - b->written_seen) / WRITTEN_BYTES;
	b->refilled_ns += ms * 1000000;
	b->written_seen += frames * WRITTEN_BYTES;
	b->left = at_most(b->left + units + at_most((int64_t)frames, b->stock) * UNIT, stock_of(b));
	b->resets_left = at_most(b->resets_left + units / RESETS_SHARE, stock_of(b) / RESETS_SHARE);
}

static uint32_t bytes_without_padding(const struct frame *f)
{
	if (!(f->flags & FLAG_PADDED) || f->length == 0)
		return f->length;
	uint32_t padding = 1u + f->payload[0];
	return padding < f->length ? f->length - padding : 0;
}

static void earn_request(struct frame_budget *b, bool has_body)
{
	b->bodies += has_body;
	b->left = at_most(b->left + REQUEST_EARNS, stock_of(b));
	b->resets_left = at_most(b->resets_left + REQUEST_EARNS_RESETS, stock_of(b) / RESETS_SHARE);
}

static bool block_is_small(struct frame_budget *b, const struct frame *f)
{
	bool is_whole = f->flags & FLAG_END_HEADERS;
	b->block_bytes += f->length;
	bool is_small = b->block_bytes <= HEADER_BLOCK_BYTES_MAX;
	if (is_whole)
		b->block_bytes = 0;
	return is_small;
}

/* The end of a body may be empty. Of a request that has none it is answered each time. */
static int64_t cost_of_data(struct frame_budget *b, const struct frame *f)
{
	bool is_end = (f->flags & FLAG_END_STREAM) && b->bodies > 0;
	b->bodies -= is_end;
	return is_end ? 0 : UNIT - at_most(bytes_without_padding(f), PAYLOAD_BYTES);
}

static enum frame_verdict flood_of(uint8_t type)
{
	switch (type) {
	case DATA:
		return FRAME_DATA_FLOOD;
	case HEADERS:
	case CONTINUATION:
		return FRAME_CONTINUATION_FLOOD;
	case PING:
		return FRAME_PING_FLOOD;
	case SETTINGS:
		return FRAME_SETTINGS_FLOOD;
	case WINDOW_UPDATE:
		return FRAME_WINDOW_UPDATE_FLOOD;
	case PRIORITY:
		return FRAME_PRIORITY_FLOOD;
	case RST_STREAM:
		return FRAME_RESET_FLOOD;
	case GOAWAY:
		return FRAME_GOAWAY_FLOOD;
	default:
		return FRAME_UNKNOWN_FLOOD;
	}
}

enum frame_verdict frame_budget_take(struct frame_budget *b, const struct frame *f, uint64_t now_ns, uint64_t written)
{
	int64_t *stock = f->type == RST_STREAM ? &b->resets_left : &b->left;
	int64_t cost = UNIT;
	switch (f->type) {
	case DATA:
		cost = cost_of_data(b, f);
		break;
	case HEADERS:
	case CONTINUATION:
		if (!block_is_small(b, f))
			return FRAME_HEADERS_TOO_LARGE;
		if (f->type == HEADERS)
			earn_request(b, !(f->flags & FLAG_END_STREAM));
		cost -= f->type == HEADERS ? UNIT : at_most(f->length, PAYLOAD_BYTES);
		break;
	default:
		break;
	}
	*stock -= cost;
	if (*stock >= 0)
		return FRAME_FINE;
	refill(b, now_ns, written);
	return *stock >= 0 ? FRAME_FINE : flood_of(f->type);
}

unsigned frame_answer_bytes(const struct frame *f)
{
	switch (f->type) {
	case PING:
	case SETTINGS:
		return f->flags & FLAG_ACK ? 0 : ACK_BYTES;
	case DATA:
		return bytes_without_padding(f) < PAYLOAD_BYTES ? RESET_BYTES : 0;
	default:
		return 0;
	}
}

/* ---- HPACK (RFC 7541, 5 and 6), only as far as the ends of fields ---- */
/* An integer with a prefix of so many bits; true: *at is behind it. */
static bool take_integer(const uint8_t **at, const uint8_t *end, unsigned prefix_bits, size_t *ret)
{
	if (*at == end)
		return false;
	size_t full = (1u << prefix_bits) - 1, value = *(*at)++ & full;
	if (value == full)
		for (unsigned shift = 0;; shift += 7) {
			if (*at == end || shift > 28)
				return false;
			uint8_t byte = *(*at)++;
			value += (size_t)(byte & 0x7f) << shift;
			if (!(byte & 0x80))
				break;
		}
	*ret = value;
	return true;
}

static bool skip_string(const uint8_t **at, const uint8_t *end)
{
	size_t n;
	if (!take_integer(at, end, 7, &n) || n > (size_t)(end - *at))
		return false;
	*at += n;
	return true;
}

/* false: malformed. h2o says so when it decodes the block. */
static bool skip_field(const uint8_t **at, const uint8_t *end)
{
	size_t index;
	uint8_t first = **at;
	if (first & 0x80)
		return take_integer(at, end, 7, &index);
	if ((first & 0xe0) == 0x20) /* the table's size */
		return take_integer(at, end, 5, &index);
	return take_integer(at, end, first & 0x40 ? 6 : 4, &index) && (index != 0 || skip_string(at, end)) &&
	       skip_string(at, end);
}

enum frame_verdict frame_block_check(const uint8_t *block, size_t n)
{
	if (n <= HEADER_FIELDS_MAX)
		return FRAME_FINE; /* a field has a byte at least */
	if (n > HEADER_BLOCK_BYTES_MAX)
		return FRAME_HEADERS_TOO_LARGE;
	const uint8_t *at = block, *end = block + n;
	for (unsigned fields = 0; at < end && skip_field(&at, end);)
		if (++fields > HEADER_FIELDS_MAX)
			return FRAME_HEADERS_TOO_LARGE;
	return FRAME_FINE;
}

const char *frame_verdict_name(enum frame_verdict verdict)
{
	switch (verdict) {
	case FRAME_FINE:
	case FRAME_VERDICTS:
		break;
	case FRAME_DATA_FLOOD:
		return "data";
	case FRAME_CONTINUATION_FLOOD:
		return "continuation";
	case FRAME_PING_FLOOD:
		return "ping";
	case FRAME_SETTINGS_FLOOD:
		return "settings";
	case FRAME_WINDOW_UPDATE_FLOOD:
		return "window_update";
	case FRAME_PRIORITY_FLOOD:
		return "priority";
	case FRAME_RESET_FLOOD:
		return "resets";
	case FRAME_GOAWAY_FLOOD:
		return "goaway";
	case FRAME_UNKNOWN_FLOOD:
		return "unknown";
	case FRAME_HEADERS_TOO_LARGE:
		return "headers";
	}
	return "none";
}
