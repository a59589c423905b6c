#include "store/postgres/pg_rows.h"
#include "runtime/check.h"
#include "store/record/record_row.h"
#include <stdio.h>

enum record_column {
	R_CONTEXT_ID,
	R_POSITION,
	R_SEQ,
	R_PREVIOUS,
	R_CREATED,
	R_ENVIRONMENT,
	R_SCHEMA,
	R_FUNCTION,
	R_TOKENS,
	R_FRESHNESS,
	R_VERSION,
	R_HASH,
	R_SIGNATURE,
	R_SIGNED,
	R_KEY,
	R_CANONICAL,
	R_EXTRAS,
	R_COLUMNS,
};
enum history_column {
	H_ENTITY,
	H_ENTITY_ID,
	H_FEATURE,
	H_EVENT_TIME,
	H_EVENT_NS,
	H_TTL,
	H_SOURCE,
	H_POSITION,
	H_VERSION,
	H_VALUE,
	H_LARGE,
	H_COLUMNS,
};
enum delete_column { D_ENTITY, D_ENTITY_ID, D_FEATURE, D_EVENT_TIME, D_POSITION, D_COLUMNS };
enum event_column {
	E_POSITION,
	E_ID,
	E_TYPE,
	E_ENTITY_ID,
	E_PAYLOAD,
	E_EVENT_TIME,
	E_IDEMPOTENCY,
	E_RECEIVED,
	E_COLUMNS
};
enum applied_column { A_EVENT, A_POSITION, A_COLUMNS };

const int pg_rows_columns[PG_ROWS_TABLES] = {
	[PG_ROWS_RECORDS] = R_COLUMNS, [PG_ROWS_IMPORTS] = R_COLUMNS, [PG_ROWS_HISTORY] = H_COLUMNS,
	[PG_ROWS_DELETES] = D_COLUMNS, [PG_ROWS_EVENTS] = E_COLUMNS,  [PG_ROWS_APPLIED] = A_COLUMNS,
};

static const uint16_t record_types[R_COLUMNS] = {
	[R_CONTEXT_ID] = PG_UUID,     [R_POSITION] = PG_UUID,      [R_SEQ] = PG_INT8,     [R_PREVIOUS] = PG_UUID,
	[R_CREATED] = PG_TIMESTAMPTZ, [R_ENVIRONMENT] = PG_TEXT,   [R_SCHEMA] = PG_TEXT,  [R_FUNCTION] = PG_TEXT,
	[R_TOKENS] = PG_INT8,         [R_FRESHNESS] = PG_TEXT,     [R_VERSION] = PG_TEXT, [R_HASH] = PG_BYTEA,
	[R_SIGNATURE] = PG_TEXT,      [R_SIGNED] = PG_TIMESTAMPTZ, [R_KEY] = PG_TEXT,     [R_CANONICAL] = PG_BYTEA,
	[R_EXTRAS] = PG_BYTEA,
};
static const uint16_t history_types[H_COLUMNS] = {
	[H_ENTITY] = PG_TEXT,   [H_ENTITY_ID] = PG_TEXT, [H_FEATURE] = PG_TEXT, [H_EVENT_TIME] = PG_TIMESTAMPTZ,
	[H_EVENT_NS] = PG_INT2, [H_TTL] = PG_INT8,       [H_SOURCE] = PG_INT2,  [H_POSITION] = PG_UUID,
	[H_VERSION] = PG_TEXT,  [H_VALUE] = PG_TEXT,     [H_LARGE] = PG_TEXT,
};
static const uint16_t delete_types[D_COLUMNS] = {
	[D_ENTITY] = PG_TEXT,   [D_ENTITY_ID] = PG_TEXT, [D_FEATURE] = PG_TEXT, [D_EVENT_TIME] = PG_TIMESTAMPTZ,
	[D_POSITION] = PG_UUID,
};
static const uint16_t event_types[E_COLUMNS] = {
	[E_POSITION] = PG_UUID,     [E_ID] = PG_TEXT,
	[E_TYPE] = PG_TEXT,         [E_ENTITY_ID] = PG_TEXT,
	[E_PAYLOAD] = PG_BYTEA,     [E_EVENT_TIME] = PG_TIMESTAMPTZ,
	[E_IDEMPOTENCY] = PG_BYTEA, [E_RECEIVED] = PG_TIMESTAMPTZ,
};
static const uint16_t applied_types[A_COLUMNS] = { [A_EVENT] = PG_INT8, [A_POSITION] = PG_UUID };
static const uint16_t *const types[PG_ROWS_TABLES] = {
	[PG_ROWS_RECORDS] = record_types, [PG_ROWS_IMPORTS] = record_types, [PG_ROWS_HISTORY] = history_types,
	[PG_ROWS_DELETES] = delete_types, [PG_ROWS_EVENTS] = event_types,   [PG_ROWS_APPLIED] = applied_types,
};

/* Larger ones would not fit into an entry of the index. */
enum { VALUE_INDEXED_MAX = 1000 };
/* Of one entry: far below what Postgres takes for a value, and what a batch is made of. */
enum { ENTRY_BYTES_MAX = 8 << 20 };

/* ---- life ---- */
bool pg_rows_init(struct pg_rows *r)
{
	*r = (struct pg_rows){ .json = yyjson_alc_dyn_new() };
	for (size_t t = 0; t < PG_ROWS_TABLES; t++)
		for (size_t c = 0; c < PG_COLUMNS_MAX; c++)
			r->tables[t].columns[c].max = 256u << 20;
	return r->json != NULL;
}

void pg_rows_finish(struct pg_rows *r)
{
	for (size_t t = 0; t < PG_ROWS_TABLES; t++)
		for (size_t c = 0; c < PG_COLUMNS_MAX; c++)
			buf_finish(&r->tables[t].columns[c]);
	buf_finish(&r->canonical);
	if (r->json != NULL)
		yyjson_alc_dyn_free(r->json);
	r->json = NULL;
}

void pg_rows_begin(struct pg_rows *r, int64_t now_us)
{
	r->bytes = 0;
	r->now_us = now_us;
	for (size_t t = 0; t < PG_ROWS_TABLES; t++) {
		r->tables[t].count = 0;
		for (int c = 0; c < pg_rows_columns[t]; c++)
			pg_array_begin(&r->tables[t].columns[c], types[t][c]);
	}
}

bool pg_rows_end(struct pg_rows *r)
{
	bool ok = true;
	for (size_t t = 0; t < PG_ROWS_TABLES; t++)
		for (int c = 0; c < pg_rows_columns[t]; c++) {
			pg_array_end(&r->tables[t].columns[c], r->tables[t].count);
			ok = ok && !r->tables[t].columns[c].failed;
		}
	return ok;
}

/* ---- checking ---- */
static int refuse(struct evidence_entry *e, int status, const char *reason)
{
	text_printf(e->reason, sizeof e->reason, "%s", reason);
	return status;
}

static struct str id_of(const struct evidence_entry *e)
{
	return str_of(e->context_id, strnlen(e->context_id, sizeof e->context_id));
}

static struct record_draft draft_of(const struct evidence_entry *e)
{
	return (
	    struct record_draft){ .context_id = id_of(e), .text = buf_str(&e->body), .previous_at = e->previous_at };
}

static bool hash_of(const struct evidence_entry *e, uint8_t ret[static 32])
{
	return record_digest_parse(str_of(e->stamp.record_hash, RECORD_HASH_TEXT), STR("sha256:"), ret);
}

static int check_record(struct evidence_entry *e)
{
	struct pg_uuid id;
	uint8_t hash[32];
	if (!pg_uuid_parse(id_of(e), &id))
		return refuse(e, RT_EINVAL, "the record has no context id");
	struct record_draft draft = draft_of(e);
	if (e->kind == EVIDENCE_RECORD && !record_draft_is_sound(&draft))
		return refuse(e, RT_EINVAL, "the record has no place for its predecessor");
	if (e->kind == EVIDENCE_RECORD_IMPORTED && !hash_of(e, hash))
		return refuse(e, RT_EINVAL, "the imported record has no record hash");
	return RT_OK;
}

int pg_rows_check(struct evidence_entry *e)
{
	if (e->body.failed || e->extras.failed)
		return refuse(e, RT_ETOOBIG, "the entry could not be encoded: it is too big");
	if (e->body.n + e->extras.n > ENTRY_BYTES_MAX)
		return refuse(e, RT_ETOOBIG, "the entry is larger than 8 MiB");
	switch (e->kind) {
	case EVIDENCE_RECORD:
	case EVIDENCE_RECORD_IMPORTED:
		return check_record(e);
	case EVIDENCE_VALUES:
	case EVIDENCE_EVENT_APPLIED:
		return entry_values_read(buf_str(&e->body), NULL, NULL, NULL)
			   ? RT_OK
			   : refuse(e, RT_EINVAL, "the values of the entry are malformed");
	case EVIDENCE_DELETE: {
		struct entry_delete d;
		return entry_delete_read(buf_str(&e->body), &d) ? RT_OK
								: refuse(e, RT_EINVAL, "the delete is malformed");
	}
	case EVIDENCE_EVENT: {
		struct entry_event event;
		return entry_event_read(buf_str(&e->body), &event) ? RT_OK
								   : refuse(e, RT_EINVAL, "the event is malformed");
	}
	case EVIDENCE_DOCUMENT:
	case EVIDENCE_DOCUMENT_DELETE:
		break;
	}
	return refuse(e, RT_EINVAL, "entries of this kind are not kept in Postgres");
}

/* ---- records ---- */
static void append_stamp(struct buf *columns, const struct record_stamp *s)
{
	pg_array_bytes(&columns[R_SIGNATURE],
		       s->has_signature ? str_of(s->signature, sizeof s->signature) : (struct str){ 0 });
	if (s->has_signature)
		pg_array_time(&columns[R_SIGNED], s->signed_at_us);
	else
		pg_array_null(&columns[R_SIGNED]);
	pg_array_bytes(&columns[R_KEY], s->has_signature ? str_from(s->signing_key_id) : (struct str){ 0 });
}

static void append_row(struct buf *columns, const struct record_row *row)
{
	pg_array_time(&columns[R_CREATED], row->created_at_us);
	pg_array_bytes(&columns[R_ENVIRONMENT], row->environment);
	pg_array_bytes(&columns[R_SCHEMA], row->schema_version);
	pg_array_bytes(&columns[R_FUNCTION], row->context_function);
	if (row->token_count == INT64_MIN)
		pg_array_null(&columns[R_TOKENS]);
	else
		pg_array_i64(&columns[R_TOKENS], row->token_count);
	pg_array_bytes(&columns[R_FRESHNESS], row->freshness_status);
	pg_array_bytes(&columns[R_VERSION], row->version);
}

/* Stamps it; the final text is in r->canonical. */
static bool stamp(struct pg_rows *r, struct evidence_entry *e, struct record_chain *chain,
		  const struct record_signer *signer, struct pg_uuid *ret_previous)
{
	struct record_draft draft = draft_of(e);
	size_t n = record_chain_bytes(chain, &draft);
	*ret_previous = (struct pg_uuid){ 0 };
	pg_uuid_parse(str_from(chain->last_context_id), ret_previous);
	buf_clear(&r->canonical);
	if (!buf_reserve(&r->canonical, n))
		return false;
	snprintf(e->previous_context_id, sizeof e->previous_context_id, "%s", chain->last_context_id);
	record_chain_add(chain, &draft, signer, r->now_us, (uint8_t *)r->canonical.p, &e->stamp);
	r->canonical.n = n;
	return true;
}

static int add_record(struct pg_rows *r, struct evidence_entry *e, struct pg_uuid position, struct record_chain *chain,
		      const struct record_signer *signer)
{
	bool is_made_here = e->kind == EVIDENCE_RECORD;
	struct pg_table *t = &r->tables[is_made_here ? PG_ROWS_RECORDS : PG_ROWS_IMPORTS];
	struct record_row row;
	struct pg_uuid id, previous = { 0 };
	uint8_t hash[32];
	if (!record_row_read(buf_str(&e->body), is_made_here ? buf_str(&e->extras) : (struct str){ 0 }, r->json,
			     &row)) {
		if (is_made_here)
			return refuse(e, RT_EINVAL, "the record cannot be read: it has no time of creation");
		row = (struct record_row){ .created_at_us = r->now_us,
					   .token_count = INT64_MIN,
					   .version = STR("v1"),
					   .freshness_status = STR("unknown") };
	}
	if (is_made_here && !stamp(r, e, chain, signer, &previous)) {
		record_row_finish(&row);
		return refuse(e, RT_ETOOBIG, "there is no memory for the record");
	}
	CHECK(pg_uuid_parse(id_of(e), &id) && hash_of(e, hash)); /* pg_rows_check */
	pg_array_uuid(&t->columns[R_CONTEXT_ID], id);
	pg_array_uuid(&t->columns[R_POSITION], position);
	if (is_made_here)
		pg_array_i64(&t->columns[R_SEQ], (int64_t)chain->records);
	else
		pg_array_null(&t->columns[R_SEQ]);
	if (previous.high | previous.low)
		pg_array_uuid(&t->columns[R_PREVIOUS], previous);
	else
		pg_array_null(&t->columns[R_PREVIOUS]);
	append_row(t->columns, &row);
	pg_array_bytes(&t->columns[R_HASH], str_of((const char *)hash, sizeof hash));
	append_stamp(t->columns, is_made_here ? &e->stamp : &(struct record_stamp){ 0 });
	pg_array_bytes(&t->columns[R_CANONICAL], is_made_here ? buf_str(&r->canonical) : buf_str(&e->body));
	pg_array_bytes(&t->columns[R_EXTRAS], e->extras.n > 0 ? buf_str(&e->extras) : (struct str){ 0 });
	t->count++;
	record_row_finish(&row);
	return RT_OK;
}

/* ---- values, deletes, events ---- */
struct values_writer {
	struct pg_rows *rows;
	struct pg_uuid position;
};

static void add_delete(struct pg_rows *r, const struct entry_delete *d, struct str feature, struct pg_uuid position)
{
	struct pg_table *t = &r->tables[PG_ROWS_DELETES];
	pg_array_bytes(&t->columns[D_ENTITY], str_of(d->entity.p ? d->entity.p : "", d->entity.n));
	pg_array_bytes(&t->columns[D_ENTITY_ID], str_of(d->entity_id.p ? d->entity_id.p : "", d->entity_id.n));
	pg_array_bytes(&t->columns[D_FEATURE], feature);
	pg_array_time(&t->columns[D_EVENT_TIME], d->event_time_us);
	pg_array_uuid(&t->columns[D_POSITION], position);
	t->count++;
}

static void add_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	struct values_writer *w = arg;
	struct pg_table *t = &w->rows->tables[PG_ROWS_HISTORY];
	if (v->value_json.p == NULL) {
		struct entry_delete d = { head->entity, v->entity_id, v->event_time_us };
		add_delete(w->rows, &d, v->feature, w->position);
		return;
	}
	bool is_large = v->value_json.n > VALUE_INDEXED_MAX;
	pg_array_bytes(&t->columns[H_ENTITY], head->entity);
	pg_array_bytes(&t->columns[H_ENTITY_ID], v->entity_id);
	pg_array_bytes(&t->columns[H_FEATURE], v->feature);
	pg_array_time(&t->columns[H_EVENT_TIME], v->event_time_us);
	pg_array_i16(&t->columns[H_EVENT_NS], (int16_t)v->event_time_ns);
	pg_array_i64(&t->columns[H_TTL], v->ttl_ms);
	pg_array_i16(&t->columns[H_SOURCE], (int16_t)head->source);
	pg_array_uuid(&t->columns[H_POSITION], w->position);
	pg_array_bytes(&t->columns[H_VERSION], v->version.n > 0 ? v->version : (struct str){ 0 });
	pg_array_bytes(&t->columns[H_VALUE], is_large ? (struct str){ 0 } : v->value_json);
	pg_array_bytes(&t->columns[H_LARGE], is_large ? v->value_json : (struct str){ 0 });
	t->count++;
}

static void add_values(struct pg_rows *r, const struct evidence_entry *e, struct pg_uuid position)
{
	struct values_writer w = { r, position };
	struct entry_values head;
	entry_values_read(buf_str(&e->body), &head, &w, add_value);
	if (e->kind != EVIDENCE_EVENT_APPLIED)
		return;
	struct pg_table *t = &r->tables[PG_ROWS_APPLIED];
	pg_array_i64(&t->columns[A_EVENT], (int64_t)head.event_lsn);
	pg_array_uuid(&t->columns[A_POSITION], position);
	t->count++;
}

static void add_event(struct pg_rows *r, const struct evidence_entry *e, struct pg_uuid position)
{
	struct pg_table *t = &r->tables[PG_ROWS_EVENTS];
	struct entry_event event;
	entry_event_read(buf_str(&e->body), &event);
	pg_array_uuid(&t->columns[E_POSITION], position);
	pg_array_bytes(&t->columns[E_ID], event.event_id);
	pg_array_bytes(&t->columns[E_TYPE], event.event_type);
	pg_array_bytes(&t->columns[E_ENTITY_ID], event.entity_id);
	pg_array_bytes(&t->columns[E_PAYLOAD], event.payload_json);
	pg_array_time(&t->columns[E_EVENT_TIME], event.event_time_us);
	pg_array_bytes(&t->columns[E_IDEMPOTENCY], event.idempotency);
	if (event.idempotency.p != NULL)
		pg_array_time(&t->columns[E_RECEIVED], event.received_us);
	else
		pg_array_null(&t->columns[E_RECEIVED]);
	t->count++;
}

int pg_rows_add(struct pg_rows *r, struct evidence_entry *e, struct pg_uuid position, struct record_chain *chain,
		const struct record_signer *signer)
{
	struct entry_delete d;
	int status = RT_OK;
	switch (e->kind) {
	case EVIDENCE_RECORD:
	case EVIDENCE_RECORD_IMPORTED:
		status = add_record(r, e, position, chain, signer);
		break;
	case EVIDENCE_VALUES:
	case EVIDENCE_EVENT_APPLIED:
		add_values(r, e, position);
		break;
	case EVIDENCE_DELETE:
		entry_delete_read(buf_str(&e->body), &d);
		add_delete(r, &d, (struct str){ 0 }, position);
		break;
	case EVIDENCE_EVENT:
		add_event(r, e, position);
		break;
	case EVIDENCE_DOCUMENT:
	case EVIDENCE_DOCUMENT_DELETE:
		UNREACHABLE(); /* pg_rows_check */
	}
	r->bytes += e->body.n + e->extras.n + 128;
	return status;
}
