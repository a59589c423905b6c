/* How many frames that carry nothing an HTTP/2 connection may send, and how large a block of headers may become.
 *
 * Each frame costs one unit; requests, their bodies and the replies earn units, so that what a client needs for its requests
 * (WINDOW_UPDATE, PRIORITY, the odd PING) is free, and the rest comes out of a stock that fills up again over ten seconds.
 * RST_STREAM has a stock of its own, a fifth as large, of which each request earns half a unit: a client may drop half of
 * its requests for ever, and all of them for a while. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum {
	HEADER_BLOCK_BYTES_MAX =
	    64 << 10,             /* as sent, of one request; four times what is answered otherwise than by 431 */
	HEADER_FIELDS_MAX = 1000, /* references to one entry cost the client a byte each */
};

/* What a connection was cut for; FRAME_FINE: nothing. */
enum frame_verdict {
	FRAME_FINE,
	FRAME_DATA_FLOOD,
	FRAME_CONTINUATION_FLOOD,
	FRAME_PING_FLOOD,
	FRAME_SETTINGS_FLOOD,
	FRAME_WINDOW_UPDATE_FLOOD,
	FRAME_PRIORITY_FLOOD,
	FRAME_RESET_FLOOD,
	FRAME_GOAWAY_FLOOD,
	FRAME_UNKNOWN_FLOOD,
	FRAME_HEADERS_TOO_LARGE,
	FRAME_VERDICTS
};

struct frame_budget {
	int64_t left, resets_left; /* in UNITs; below 0: none */
	uint64_t refilled_ns, written_seen;
	uint32_t stock;       /* of frames */
	uint32_t block_bytes; /* of the header block that is arriving; 0 = none */
	uint32_t bodies;      /* requests that were to have one, less the ends of bodies */
};

struct frame {
	uint32_t length;
	uint8_t type, flags;
	const uint8_t *payload;
};

/* stock: of frames at once. Times are of one monotonic clock. */
void frame_budget_init(struct frame_budget *b, uint32_t stock, uint64_t now_ns);
/* For each frame in order. written: bytes sent on the connection since its beginning. */
enum frame_verdict frame_budget_take(struct frame_budget *b, const struct frame *frame, uint64_t now_ns,
				     uint64_t written);
/* About how much is sent for a frame that is no request: it acknowledges, or tells of a stream that has ended. */
unsigned frame_answer_bytes(const struct frame *f);
/* For each complete header block before it is decoded: does it have too many bytes or fields? */
enum frame_verdict frame_block_check(const uint8_t *block, size_t n);
/* "ping", "resets", ...: the kind in the metrics. A literal. */
const char *frame_verdict_name(enum frame_verdict verdict);
