/* Writing: pushed values, deletes, events. Nothing is acknowledged before it is durable. */
#include "actors/ingestor.h"
#include "actors/writer.h"
#include "http/api/api.h"
#include "store/text/timefmt.h"
#include <stdlib.h>

/* Moves w. No cancel token: what was asked for is written, even when the client does not wait for the answer. */
static void ask_writer(struct exchange *x, uint16_t kind, struct write *w)
{
	struct actor *a = exchange_actor(x);
	rt_ask(a, rt_named(a->loop, NAME_WRITER), &writer_write_new(a->loop, kind, w)->head, exchange_deadline_ns(x),
	       ACTOR_NONE);
}

static void fail_write(struct exchange *x, const struct msg *m)
{
	if (m->kind == RT_DEADLINE)
		exchange_fail(x, RT_EDEADLINE, "the ledger");
	else
		exchange_fail(x, m->status, "the ledger");
}

/* ---- PUT /v1/features/{entity}/{entity_id} ---- */

static void read_timestamp(struct exchange *x, yyjson_val *body, struct write *w)
{
	int64_t now_us = loop_wall_us(exchange_loop(x));
	yyjson_val *v = yyjson_obj_get(body, "timestamp");
	w->is_timed = v != NULL && !yyjson_is_null(v);
	if (!w->is_timed)
		return;
	if (!yyjson_is_str(v) || !time_parse_ns(json_str(v), &w->event_time_us, &w->event_time_ns))
		api_note_member(x, STR("timestamp"), "datetime_parsing", "Input should be a valid datetime in ISO 8601",
				v);
	else if (w->event_time_us > now_us + API_FUTURE_US_MAX)
		api_note_member(x, STR("timestamp"), "value_error", "Value error, more than 5 minutes in the future",
				v);
}

static void note_value(struct exchange *x, struct str name, const char *msg, yyjson_val *value)
{
	struct buf loc = { 0 };
	buf_append_lit(&loc, "[\"body\",\"values\",");
	json_write_string(&loc, name);
	buf_append_char(&loc, ']');
	api_note(x, "value_error", buf_str(&loc), msg, value);
	buf_finish(&loc);
}

/* Which feature of the entity a value is for; DEF_NONE: noted, or said in *unknown. */
static uint32_t pushed_feature(struct exchange *x, uint32_t entity, struct str name, yyjson_val *value,
			       struct buf *unknown)
{
	const struct definitions *d = api_node(x)->definitions;
	uint32_t feature = definitions_feature(d, name);
	if (feature == DEF_NONE || d->features[feature].entity != entity) {
		api_no_feature(d, entity, name, unknown);
		return DEF_NONE;
	}
	const struct def_feature *f = &d->features[feature];
	bool is_computed = (f->has_compute && f->trigger.p == NULL) || f->sql.p;
	if (!is_computed)
		return feature;
	note_value(x, name, "Value error, the feature is computed from its definition and cannot be pushed", value);
	return DEF_NONE;
}

static void check_dtype(struct exchange *x, uint32_t feature, struct str name, yyjson_val *value)
{
	enum def_dtype dtype = api_node(x)->definitions->features[feature].dtype;
	struct buf text = { 0 };
	char msg[96];
	json_write_value(&text, value);
	if (!text.failed && !def_dtype_fits(dtype, buf_str(&text))) {
		snprintf(msg, sizeof msg, "Value error, the feature is declared with dtype '%s'",
			 def_dtype_name(dtype));
		note_value(x, name, msg, value);
	}
	buf_finish(&text);
}

/* false: replied. */
static bool take_value(struct exchange *x, struct write *w, uint32_t feature, yyjson_val *value)
{
	const struct online_fast *online = api_node(x)->stores->online.fast;
	struct str name = api_node(x)->definitions->features[feature].name;
	struct buf text = { 0 };
	json_write_value(&text, value);
	struct value *v = text.failed ? NULL : value_create(buf_str(&text));
	buf_finish(&text);
	if (v == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return false;
	}
	w->cells[w->count++] = (struct write_cell){ .feature = feature, .value = v };
	if (online == NULL || online->fits(online->table, v)) /* a store elsewhere says so itself */
		return true;
	exchange_error(x, 413,
		       "the value of '%.*s' is larger than the online table keeps: an eighth of FABRA_ONLINE_BYTES",
		       STR_ARG(name));
	return false;
}

/* The members that can be written. NULL: noted. */
static yyjson_val *read_values(struct exchange *x, yyjson_val *body)
{
	yyjson_val *values = yyjson_obj_get(body, "values");
	if (values == NULL) {
		if (body)
			api_note_member(x, STR("values"), "missing", "Field required", body);
		return NULL;
	}
	if (!yyjson_is_obj(values) || yyjson_obj_size(values) == 0) {
		api_note_member(x, STR("values"), "dict_type",
				"Input should be a valid dictionary with at least one value", values);
		return NULL;
	}
	if (yyjson_obj_size(values) > API_FEATURES_MAX) {
		api_note_member(x, STR("values"), "too_long", "at most 200 values can be written at once", values);
		return NULL;
	}
	return values;
}

/* false: replied or noted. */
static bool take_values(struct exchange *x, struct write *w, yyjson_val *values)
{
	size_t i, max;
	yyjson_val *name, *value;
	uint32_t features[API_FEATURES_MAX];
	struct buf unknown = { 0 };
	yyjson_obj_foreach(values, i, max, name, value) {
		features[i] = pushed_feature(x, w->entity, json_str(name), value, &unknown);
		if (features[i] != DEF_NONE && api_node(x)->definitions->features[features[i]].dtype != DTYPE_ANY)
			check_dtype(x, features[i], json_str(name), value);
	}
	bool are_known = unknown.n == 0;
	if (exchange_is_valid(x) && !are_known)
		exchange_error(x, 404, "%.*s", STR_ARG(buf_str(&unknown)));
	else if (!are_known) /* with what else is wrong */
		api_note_text(x, STR("[\"body\",\"values\"]"), buf_str(&unknown), values);
	buf_finish(&unknown);
	if (!exchange_is_valid(x) || !are_known)
		return false;
	yyjson_obj_foreach(values, i, max, name, value)
		if (!take_value(x, w, features[i], value))
			return false;
	return true;
}

void api_values_put(struct exchange *x)
{
	static const char *const members[] = { "values", "timestamp", NULL };
	struct str entity_name = exchange_param(x, 0), id = exchange_param(x, 1);
	uint32_t entity = definitions_entity(api_node(x)->definitions, entity_name);
	struct write *w = write_new(entity, id, API_FEATURES_MAX);
	*exchange_data(x) = w;
	if (w == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return;
	}
	api_id(x, id, "[\"path\",\"entity_id\"]");
	yyjson_val *body = api_body_model(x, members), *values = read_values(x, body);
	read_timestamp(x, body, w);
	if (entity == DEF_NONE) {
		api_entity(x, entity_name, "[\"path\",\"entity\"]");
		return;
	}
	if (values == NULL)
		return;
	if (!take_values(x, w, values))
		return;
	*exchange_data(x) = NULL;
	ask_writer(x, WRITER_PUT, w);
}

static void write_names(const struct definitions *d, const struct write *w, enum write_outcome wanted, struct buf *out)
{
	bool first = true;
	for (uint32_t i = 0; i < w->count; i++) {
		if (w->cells[i].outcome != wanted)
			continue;
		if (!first)
			buf_append_char(out, ',');
		first = false;
		json_write_string(out, d->features[w->cells[i].feature].name);
	}
}

/* Durable all the same: it is seen when the online store has taken it. */
static void write_pending(const struct write *w, struct buf *out)
{
	if (w->is_pending)
		buf_append_lit(out, ",\"online\":\"pending\"");
}

void api_values_put_message(struct exchange *x, struct msg *m)
{
	if (m->kind != WRITER_WRITTEN || m->status != RT_OK) {
		fail_write(x, m);
		return;
	}
	const struct definitions *d = api_node(x)->definitions;
	const struct write *w = ((struct writer_write *)m)->write;
	for (uint32_t i = 0; i < w->count; i++) {
		if (w->cells[i].outcome == WRITE_NO_ROOM) {
			exchange_error(
			    x, 503,
			    "the values are recorded, but the online table has no room for them; raise FABRA_ONLINE_BYTES");
			return;
		}
	}
	struct buf out = { 0 };
	buf_append_lit(&out, "{\"entity\":");
	json_write_string(&out, d->entities[w->entity].name);
	buf_append_lit(&out, ",\"entity_id\":");
	json_write_string(&out, w->entity_id);
	buf_append_lit(&out, ",\"timestamp\":\"");
	time_write_z_ns(&out, w->event_time_us, w->event_time_ns);
	buf_append_lit(&out, "\",\"written\":[");
	write_names(d, w, WRITE_DONE, &out);
	buf_append_lit(&out, "],\"stale\":[");
	write_names(d, w, WRITE_STALE, &out);
	buf_append_lit(&out, "]");
	write_pending(w, &out);
	buf_append_char(&out, '}');
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

/* Of a request that was not handed to the writer. */
void api_writes_end(struct exchange *x)
{
	write_free(*exchange_data(x));
}

/* ---- DELETE /v1/cache/{entity}/{entity_id} ---- */

void api_cache_delete(struct exchange *x)
{
	struct str id = exchange_param(x, 1);
	uint32_t entity;
	api_id(x, id, "[\"path\",\"entity_id\"]");
	entity = api_entity(x, exchange_param(x, 0), "[\"path\",\"entity\"]");
	if (entity == DEF_NONE || !exchange_is_valid(x))
		return;
	struct write *w = write_new(entity, id, 0);
	if (w == NULL)
		exchange_fail(x, RT_EFULL, "out of memory");
	else
		ask_writer(x, WRITER_DELETE, w);
}

void api_cache_delete_message(struct exchange *x, struct msg *m)
{
	if (m->kind != WRITER_WRITTEN || m->status != RT_OK) {
		fail_write(x, m);
		return;
	}
	const struct write *w = ((struct writer_write *)m)->write;
	struct buf out = { 0 }, key = { 0 };
	buf_printf(&key, "%.*s:%.*s", STR_ARG(api_node(x)->definitions->entities[w->entity].name),
		   STR_ARG(w->entity_id));
	buf_append_lit(&out, "{\"status\":\"invalidated\",\"key\":");
	json_write_string(&out, buf_str(&key));
	write_pending(w, &out);
	buf_append_char(&out, '}');
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
	buf_finish(&key);
}

/* ---- POST /v1/ingest/{event_type} ---- */

/* "Idempotency-Key": the scope is the API key and the route, not its parameters. One that cannot be is noted. false: answered. */
static bool read_idempotency(struct exchange *x, struct str id, struct idempotency_id *ret, bool *ret_is_keyed)
{
	struct str key = exchange_header(x, "idempotency-key"), event_time = { 0 };
	*ret_is_keyed = key.p != NULL;
	if (key.p == NULL)
		return true;
	if (key.n == 0 || key.n > API_KEY_BYTES_MAX || memchr(key.p, '\0', key.n) || !json_utf8_valid(key)) {
		exchange_invalid_text(x, "value_error", "[\"header\",\"idempotency-key\"]",
				      "Value error, must be 1 to 255 bytes of text", key, NULL);
		return true;
	}
	exchange_query(x, "event_time", &event_time);
	const struct str scope[] = { exchange_header(x, "x-api-key"), STR("POST /v1/ingest/{event_type}"), key };
	const struct str request[] = { exchange_param(x, 0), id, event_time, exchange_body(x) };
	if (!idempotency_fingerprint(scope, sizeof scope / sizeof scope[0], ret->key) ||
	    !idempotency_fingerprint(request, sizeof request / sizeof request[0], ret->request)) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return false;
	}
	return true;
}

static struct evidence_entry *event_entry(struct loop *loop, struct entry_event *e, yyjson_val *payload)
{
	char event_id[UUID_TEXT];
	struct buf text = { 0 };
	struct evidence_entry *entry = evidence_entry_new(EVIDENCE_EVENT);
	uuid4_text(loop_random(loop), loop_random(loop), event_id);
	e->event_id = str_of(event_id, UUID_TEXT);
	json_write_value(&text, payload);
	e->payload_json = buf_str(&text);
	if (!text.failed)
		entry_event_write(&entry->body, e);
	entry->body.failed = entry->body.failed || text.failed; /* too large: the ingestor says so */
	buf_finish(&text);
	return entry;
}

void api_ingest_post(struct exchange *x)
{
	struct str type = exchange_param(x, 0), id = { 0 };
	struct loop *loop = exchange_loop(x);
	struct entry_event e = { .event_type = type, .received_us = loop_wall_us(loop) };
	struct idempotency_id key;
	bool is_keyed;
	api_query_required(x, "entity_id", &id);
	api_query_event_time(x, "event_time", &e.event_time_us);
	if (!read_idempotency(x, id, &key, &is_keyed))
		return;
	yyjson_val *payload = api_body_object(x);
	if (!api_event_type(x, type) || !exchange_is_valid(x))
		return;
	e.entity_id = id;
	if (is_keyed)
		e.idempotency = str_of((const char *)&key, sizeof key);
	struct actor *a = exchange_actor(x);
	struct node_loop *owner = node_owner_of(api_node(x), id);
	rt_ask(a, rt_named(owner->loop, NAME_INGESTOR),
	       &ingest_event_new(loop, INGEST_EVENT, event_entry(loop, &e, payload))->head, exchange_deadline_ns(x),
	       ACTOR_NONE);
}

void api_ingest_message(struct exchange *x, struct msg *m)
{
	const struct ingest_accepted *accepted = (struct ingest_accepted *)m;
	bool is_repeat = m->kind == INGEST_ACCEPTED && accepted->is_repeat;
	if (is_repeat && m->status == RT_EINVAL) {
		exchange_error(x, 422, "this Idempotency-Key was used for another request");
		return;
	}
	if (is_repeat && m->status == RT_EEXIST) {
		exchange_error(x, 409, "the first request with this Idempotency-Key is still at work");
		return;
	}
	if (is_repeat && m->status == RT_EFULL) {
		exchange_error(
		    x, 503, "no more Idempotency-Keys can be kept: FABRA_IDEMPOTENCY_KEYS_MAX were used in 24 hours");
		return;
	}
	if (m->kind != INGEST_ACCEPTED || m->status != RT_OK) {
		fail_write(x, m);
		return;
	}
	struct buf out = { 0 };
	/* The form of a Redis stream id: milliseconds, then the place in the log. */
	buf_printf(&out, "{\"msg_id\":\"%lld-%llu\",\"event_id\":\"%.*s\"}",
		   (long long)(accepted->first.received_us / 1000), (unsigned long long)accepted->first.lsn, UUID_TEXT,
		   accepted->first.event_id);
	exchange_reply_json(x, 202, buf_str(&out));
	buf_finish(&out);
}
