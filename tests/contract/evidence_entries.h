/* Entries as the contract of evidence appends them; for other tests of a backend too. */
#pragma once
#include "store/evidence/entries.h"
#include "store/evidence/evidence.h"
#include "tests/contract/contract.h"

enum { CONTRACT_T0 = 1700000000 };
#define CONTRACT_T0_US (CONTRACT_T0 * INT64_C(1000000))

static inline struct str evidence_id(const struct evidence_entry *e)
{
	return str_of(e->context_id, strnlen(e->context_id, sizeof e->context_id));
}

/* Record number i was created i seconds after T0. */
static inline struct evidence_entry *evidence_record(unsigned i, const char *name)
{
	char id[RECORD_ID_MAX + 1], inputs[64], hash[RECORD_HASH_TEXT];
	snprintf(id, sizeof id, "ctx_018f3a2b-7def-7abc-8901-%012x", i);
	snprintf(inputs, sizeof inputs, "{\"user_id\":\"u%u\"}", i % 3);
	struct record record = {
		.context_id = str_from(id),
		.created_at_us = CONTRACT_T0_US + i * INT64_C(1000000),
		.environment = STR("test"),
		.schema_version = STR("1.0.0"),
		.context_function = str_from(name),
		.inputs_json = str_from(inputs),
		.content = STR("some text"),
		.token_count = 40 + i,
		.assembly = { .max_tokens = -1,
			      .freshness_sla_ms = -1,
			      .freshness_status = i % 2 ? RECORD_DEGRADED : RECORD_GUARANTEED },
		.lineage = { .fabra_version = STR("2.3.2") },
		.integrity = { .record_hash = STR(""), .signed_at_us = -1 },
	};
	record_hash_text(record.content, hash);
	record.integrity.content_hash = str_of(hash, RECORD_HASH_TEXT);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD);
	CHECK(record_write_canonical(&record, &e->body, &e->previous_at));
	record_extras_write(&record, &(struct record_extras){ .version = STR("v1"), .evidence_mode = STR("required") },
			    &e->extras);
	memcpy(e->context_id, id, RECORD_ID_MAX);
	return e;
}

static inline struct evidence_entry *evidence_import(unsigned i, const char *text)
{
	char id[RECORD_ID_MAX + 1];
	snprintf(id, sizeof id, "ctx_00000000-0000-7000-8000-%012x", i);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD_IMPORTED);
	memcpy(e->context_id, id, RECORD_ID_MAX);
	buf_printf(&e->body, "{\"context_id\":\"%s\",\"content\":\"%s\"}", id, text);
	record_hash_text(buf_str(&e->body), e->stamp.record_hash);
	return e;
}

static inline struct evidence_entry *evidence_values(const char *id, const char *json)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	const struct entry_value v = { .entity_id = str_from(id),
				       .feature = STR("tier"),
				       .value_json = str_from(json),
				       .event_time_us = CONTRACT_T0_US };
	entry_values_write(&e->body, &(struct entry_values){
					 .entity = STR("User"), .source = ENTRY_PUSHED, .values = &v, .count = 1 });
	return e;
}

static inline struct evidence_entry *evidence_event(const char *id)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = STR("018f3a2b-7def-7abc-8901-234567890abc"),
							   .event_type = STR("purchase"),
							   .entity_id = str_from(id),
							   .payload_json = STR("{}"),
							   .event_time_us = CONTRACT_T0_US });
	return e;
}

static inline struct evidence_entry *evidence_event_applied(uint64_t event_lsn)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT_APPLIED);
	entry_values_write(&e->body, &(struct entry_values){
					 .entity = STR("User"), .source = ENTRY_TRIGGERED, .event_lsn = event_lsn });
	return e;
}

static inline struct evidence_entry *evidence_any(unsigned i)
{
	switch (i % 4) {
	case 0:
		return evidence_record(i, "chat");
	case 1:
		return evidence_values("u1", "1");
	case 2:
		return evidence_event("u2");
	default:
		return evidence_import(i, "made elsewhere");
	}
}
