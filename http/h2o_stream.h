/* The head of h2o 2.2.5's HTTP/2 stream. Its own header describes it (h2o/http2_internal.h, struct
 * st_h2o_http2_stream_t), but Debian does not ship the khash.h that this header needs. The watch wants two
 * fields of it: its state, and a body that is still arriving, can be seen nowhere else. */
#pragma once
#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_scheduler.h>

_Static_assert(H2O_VERSION_MAJOR == 2 && H2O_VERSION_MINOR == 2 && H2O_VERSION_PATCH == 5,
	       "compare struct h2o_stream with h2o's own before using another version");

/* enum_h2o_http2_stream_state_t */
enum { STREAM_IDLE, STREAM_RECV_HEADERS, STREAM_RECV_BODY, STREAM_REQ_PENDING, STREAM_SEND_HEADERS, STREAM_SEND_BODY };

struct h2o_stream {
	uint32_t stream_id;
	h2o_ostream_t final;
	int state;
	ssize_t output_window, input_window;
	h2o_http2_priority_t priority;
	h2o_buffer_t *body; /* NULL: the request has none */
	size_t expected_bytes;
	H2O_VECTOR(h2o_iovec_t) data;
	h2o_ostream_pull_cb pull;
	void *num_streams, *cache_digests;
	union {
		struct {
			uint32_t parent_stream_id;
			unsigned promise_sent : 1;
		} push;
	};
	struct {
		h2o_linklist_t link;
		h2o_http2_scheduler_openref_t scheduler;
	} refs;
	h2o_send_state_t send_state;
	h2o_req_t req;
};
