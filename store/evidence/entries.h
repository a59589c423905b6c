/* Payloads of ledger entries that are not records: little-endian, length-prefixed, versioned by the entry
 * kind. The encoder is strict and the decoder trusts nothing. Entities, features and events go by name: ids
 * live in memory only. */
#pragma once
#include "runtime/buf.h"
#include <stdint.h>

enum entry_value_source { ENTRY_COMPUTED = 1, ENTRY_PUSHED = 2, ENTRY_MATERIALIZED = 3, ENTRY_TRIGGERED = 4 };

/* EVIDENCE_VALUES, and the tail of EVIDENCE_EVENT_APPLIED. One entity kind; any number of (id, feature,
 * value). */
struct entry_value {
	struct str entity_id, feature;
	struct str value_json; /* p NULL: from here on there is no value: a tombstone of this one feature */
	int64_t event_time_us;
	int64_t ttl_ms;         /* 0 = for ever */
	uint16_t event_time_ns; /* what the event time has beyond the microsecond: 0 to 999 */
	struct str version;     /* which code made it: def_feature's `made_by`; empty where no code did */
};
struct entry_values {
	struct str entity;
	enum entry_value_source source;
	uint64_t event_lsn; /* EVIDENCE_EVENT_APPLIED: which event; else 0 */
	const struct entry_value *values;
	size_t count;
};
/* The writers append to out; what cannot be encoded (unknown source, negative ttl, 1000 ns and more, a text beyond 4 GiB) sets
 * out->failed. */
void entry_values_write(struct buf *out, const struct entry_values *v);
/* Checks all of the payload, then calls each (may be NULL) with every value; texts borrow the payload.
 * ret_head may be NULL; its `values` stays NULL. false: malformed, nothing was called. */
bool entry_values_read(struct str payload, struct entry_values *ret_head, void *arg,
		       void (*each)(void *arg, const struct entry_values *head, const struct entry_value *value));
/* Only the head's event_lsn, for code that counts events off. false: malformed head. */
bool entry_values_event_lsn(struct str payload, uint64_t *ret_event_lsn);

/* EVIDENCE_DELETE: all online values of one id of an entity. */
struct entry_delete {
	struct str entity, entity_id;
	int64_t event_time_us;
};
void entry_delete_write(struct buf *out, const struct entry_delete *d);
bool entry_delete_read(struct str payload, struct entry_delete *ret);

/* EVIDENCE_EVENT */
struct entry_event {
	struct str event_id, event_type, entity_id;
	struct str payload_json;
	int64_t event_time_us;
	struct str idempotency; /* of a request with a key: struct idempotency_id; p NULL = none */
	int64_t received_us;    /* likewise: when it came */
};
void entry_event_write(struct buf *out, const struct entry_event *e);
bool entry_event_read(struct str payload, struct entry_event *ret);
