/* Which keyed requests were done already: the first reply to each Idempotency-Key, for 24 hours.
 *
 * In memory. What it knows also stands in the ledger, in the entry of the event that the request made, so that the two are
 * durable together; a start reads it from there. Every function may be called on any thread; none blocks for longer than
 * another thread looks up one key. */
#pragma once
#include "store/evidence/log_source.h"
#include "store/text/uuid.h"

struct idempotency;

#define IDEMPOTENCY_KEEP_US (24 * 3600 * INT64_C(1000000))
enum { IDEMPOTENCY_FINGERPRINT = 16, IDEMPOTENCY_KEYS_DEFAULT = 1000000 };

/* The beginnings of two SHA-256: of the key with its scope, and of what was asked. As stored in the ledger. */
struct idempotency_id {
	uint8_t key[IDEMPOTENCY_FINGERPRINT], request[IDEMPOTENCY_FINGERPRINT];
};
struct idempotency_first { /* what the first reply is made of */
	char event_id[UUID_TEXT];
	uint64_t lsn;
	int64_t received_us;
};
enum idempotency_result {
	IDEMPOTENCY_NEW,  /* under way from now on: idempotency_done or idempotency_abandon must follow */
	IDEMPOTENCY_DONE, /* *ret_first */
	IDEMPOTENCY_UNDER_WAY,
	IDEMPOTENCY_OTHER, /* the key was used for another request */
	IDEMPOTENCY_FULL,  /* as many keys of the last 24 hours as are kept */
};

/* keys_max: 0 = the default; about 130 bytes each when used. NULL: no memory. */
struct idempotency *idempotency_create(uint32_t keys_max);
void idempotency_destroy(struct idempotency *t); /* NULL is ok */
/* Different lists of parts give different fingerprints. false: memory is out, and ret says nothing. */
bool idempotency_fingerprint(const struct str *parts, size_t count, uint8_t ret[static IDEMPOTENCY_FINGERPRINT]);
enum idempotency_result idempotency_begin(struct idempotency *t, const struct idempotency_id *id, int64_t now_us,
					  struct idempotency_first *ret_first);
/* The request is durable. */
void idempotency_done(struct idempotency *t, const struct idempotency_id *id, const struct idempotency_first *first);
/* Nothing of the request is durable: the key is free again. */
void idempotency_abandon(struct idempotency *t, const struct idempotency_id *id);
/* What the log has of the last 24 hours; also beyond keys_max. Start-up only; blocks. false: *ret_why. */
bool idempotency_load(struct idempotency *t, const struct log_source *log, int64_t now_us, struct buf *ret_why);
uint32_t idempotency_count(struct idempotency *t);
