/* Functions of libh2o that are ours (docs/adr/0010 and 0011). The library calls its own exported functions through its
 * linkage table, so that a function of the same name in the program is called in its place. Debian's library cannot be
 * patched, and offers nothing else at these places. request_syntax.c has two more, conn_hooks.c has seven, content_coding.c has
 * one.
 *
 *     h2o_hpack_flatten_response  encodes a reply's headers: x-request-id is kept out of HPACK's tables
 *     h2o_http2_decode_frame      reads a frame's head: each frame is charged to its connection (frame_budget.h); those of
 *                                 unknown types are counted, and h2o does not see them
 *     h2o_url_normalize_path      nothing here uses what it makes, and it prints paths to standard error */
#pragma once
#include <h2o.h>

/* As h2o/http2_internal.h has them. */
struct h2o_frame {
	uint32_t length;
	uint8_t type, flags;
	uint32_t stream_id;
	const uint8_t *payload;
};
struct h2o_data { /* of a DATA frame, without its padding */
	const uint8_t *data;
	size_t length;
};

/* The library's own function of that name. */
void *interpose_own(const char *symbol);

/* The name of the one reply header that is sent without entering a table: by its address. */
extern const h2o_iovec_t interpose_request_id;

/* Once, before the first loop runs. */
void interpose_init(void);
