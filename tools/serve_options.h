/* What `fabra serve` was told, by arguments and environment. */
#pragma once
#include "http/exchange.h"
#include "store/record/record.h"
#include "tools/paths.h"

struct serve_options {
	const char *file;
	const char *host;
	uint16_t port;
	unsigned loops;
	const char *tls_cert, *tls_key, *api_key;
	bool unsafe_lua, verbose;
	/* environment */
	struct str environment;
	const char *redis_url; /* NULL: values are in the memory of this process */
	bool evidence_required, include_content, access_log;
	uint32_t evidence_timeout_ms;
	uint64_t online_bytes, duckdb_bytes, segment_bytes, body_bytes;
	uint32_t request_timeout_ms, shutdown_grace_ms, connections_max, descriptors_max, in_flight_max,
	    idempotency_keys_max;
	uint32_t handshake_timeout_ms, read_timeout_ms, stall_timeout_ms, idle_timeout_ms, reply_rate_min,
	    control_frames_max;
	int64_t record_keep_ms, value_keep_ms, event_keep_ms, history_keep_ms;
	struct record_signer signer;
	struct paths paths;
};

/* serve_settings.c: the environment; a line for each thing that is wrong. Warnings go to stderr. */
void serve_settings_read(struct serve_options *o, struct buf *errors);
/* 0: go on; 1: help was printed; 2: wrong usage or configuration, said on stderr. */
int serve_options_read(int argc, char **argv, struct serve_options *ret);
