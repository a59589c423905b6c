/* Reading features: one, several of one entity, several of many. */
#include "actors/feature_request.h"
#include "actors/resolver.h"
#include "http/api/api.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "store/text/json.h"
#include <stdlib.h>

/* How many (id, feature) cells one ask carries: what a resolver answers within a slice of its loop's time, and at least
 * one feature of all ids of a batch, so that its SQL is asked once. */
enum { CELLS_PER_ASK = API_BATCH_IDS_MAX };

/* The clock may have been set back since the value was written. */
static int64_t age_ms(int64_t now_us, int64_t event_time_us)
{
	return now_us > event_time_us ? (now_us - event_time_us) / 1000 : 0;
}

/* ---- GET /v1/features/{name} ---- */

static void reply_value(struct exchange *x, struct str value_json, int64_t freshness_ms, struct str served_from)
{
	struct buf out = { 0 };
	buf_reserve(&out, value_json.n + 96);
	buf_append_lit(&out, "{\"value\":");
	buf_append_str(&out, value_json);
	buf_append_lit(&out, ",\"freshness_ms\":");
	buf_append_i64(&out, freshness_ms);
	buf_append_lit(&out, ",\"served_from\":\"");
	buf_append_str(&out, served_from);
	buf_append_lit(&out, "\"}");
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

static void ask_resolver(struct exchange *x, struct feature_request *r)
{
	struct actor *a = exchange_actor(x);
	struct actor_ref resolver = node_resolver(node_here(api_node(x), a->loop), r->entity);
	rt_ask(a, resolver, &resolver_get_new(a->loop, RESOLVER_GET, r)->head, exchange_deadline_ns(x), a->self);
}

/* Nobody waits for a renewal: without an actor of its own. */
static void tell_refresh(struct exchange *x, uint32_t entity, struct str id, uint32_t feature)
{
	struct loop *loop = exchange_loop(x);
	struct feature_request *r = feature_request_new(entity, &id, 1, &feature, 1);
	if (r)
		rt_send(loop, node_resolver(node_here(api_node(x), loop), entity),
			&resolver_get_new(loop, RESOLVER_REFRESH, r)->head);
}

struct feature_get { /* in the exchange's scratch */
	struct online_key key;
	uint32_t feature;
};
_Static_assert(sizeof(struct feature_get) <= EXCHANGE_SCRATCH, "what a GET carries from arrival to answer");

/* A small value that is in memory is answered here and now: no actor, no allocation. */
static bool reply_from_memory(struct exchange *x, const struct feature_get *get)
{
	static const char before[] = "{\"value\":";
	enum { BEFORE = sizeof before - 1, AFTER = 64 };
	const struct node *n = api_node(x);
	int64_t now_us = loop_wall_us(exchange_loop(x));
	char text[BEFORE + ONLINE_COPY_MAX + AFTER];
	size_t value_n;
	struct online_meta meta;
	bool refresh_due;
	if (resolver_is_ahead(node_here(n, exchange_loop(x)), &get->key) ||
	    resolver_copy_online(n, get->feature, &get->key, now_us, text + BEFORE, ONLINE_COPY_MAX, &value_n, &meta,
				 &refresh_due) != ONLINE_HIT)
		return false;
	metrics_add(n->metrics.features[get->feature].hit, 1);
	if (refresh_due)
		tell_refresh(x, get->key.kind, get->key.id, get->feature);
	memcpy(text, before, BEFORE);
	struct buf out = { .p = text, .n = BEFORE + value_n, .cap = sizeof text, .max = sizeof text }; /* never grows */
	buf_append_lit(&out, ",\"freshness_ms\":");
	buf_append_i64(&out, age_ms(now_us, meta.event_time_us));
	buf_append_lit(&out, ",\"served_from\":\"online\"}");
	exchange_reply_json(x, 200, buf_str(&out));
	return true;
}

void api_feature_gather(struct exchange *x, bool is_last)
{
	const struct node *n = api_node(x);
	const struct online_fast *online = n->stores->online.fast;
	struct feature_get *get = exchange_scratch(x);
	if (is_last) {
		online->fetch_row(online->table, &get->key);
		return;
	}
	struct str name = exchange_param(x, 0), id;
	api_query_required(x, "entity_id", &id);
	get->feature = definitions_feature(n->definitions, name);
	if (get->feature == DEF_NONE)
		api_unknown_feature(x, name);
	if (get->feature == DEF_NONE || !exchange_is_valid(x))
		return;
	get->key = online_key(n->definitions->features[get->feature].entity, id);
	online->fetch_bucket(online->table, &get->key);
}

void api_feature_get(struct exchange *x)
{
	struct feature_get *get = exchange_scratch(x);
	if (reply_from_memory(x, get))
		return;
	struct feature_request *r = feature_request_new(get->key.kind, &get->key.id, 1, &get->feature, 1);
	if (r == NULL)
		exchange_fail(x, RT_EFULL, "out of memory");
	else
		ask_resolver(x, r);
}

static struct str served_from(enum record_source source)
{
	switch (source) {
	case RECORD_CACHE:
		return STR("online");
	case RECORD_COMPUTE:
		return STR("computed");
	case RECORD_FALLBACK:
		return STR("default");
	}
	return STR("");
}

void api_feature_get_message(struct exchange *x, struct msg *m)
{
	if (m->kind != RESOLVER_GOT) {
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the feature store");
		return;
	}
	const struct feature_request *r = ((struct resolver_get *)m)->request;
	const struct feature_result *f = &r->results[0];
	struct str name = api_node(x)->definitions->features[r->features[0]].name;
	switch (f->state) {
	case FEATURE_FOUND:
		reply_value(x, value_json(f->value), age_ms(loop_wall_us(exchange_loop(x)), f->as_of_us),
			    served_from(f->source));
		return;
	case FEATURE_FAILED: /* as in Fabra: nothing can answer. The log has the reason */
	case FEATURE_TIMEOUT:
		exchange_error(x, 404, "Feature '%.*s' not found for entity '%.*s': it could not be computed",
			       STR_ARG(name), STR_ARG(r->ids[0]));
		return;
	case FEATURE_REFUSED:
		exchange_error(
		    x, 503, "Feature '%.*s' was not computed for entity '%.*s': too many are being computed. Try again",
		    STR_ARG(name), STR_ARG(r->ids[0]));
		return;
	case FEATURE_MISSING:
	case FEATURE_EXPIRED:
	case FEATURE_PENDING:
		exchange_error(x, 404, "Feature '%.*s' not found for entity '%.*s'", STR_ARG(name), STR_ARG(r->ids[0]));
		return;
	}
}

/* ---- what the two POSTs share ---- */

/* The features that were asked for. */
struct asked {
	uint32_t features[API_FEATURES_MAX], features_count; /* those of the entity, each once */
	struct asked_name {
		struct str name;   /* borrows the request's JSON */
		uint32_t at;       /* in features; DEF_NONE: the entity has no such feature */
	} names[API_FEATURES_MAX]; /* in order, each once */
	uint32_t names_count;
	bool detail; /* ?detail=true */
};

static void take_name(const struct node *n, uint32_t entity, struct str name, struct asked *a)
{
	uint32_t f = definitions_feature(n->definitions, name), at = DEF_NONE;
	for (uint32_t i = 0; i < a->names_count; i++)
		if (str_eq(a->names[i].name, name))
			return;
	if (f != DEF_NONE && n->definitions->features[f].entity == entity) {
		at = a->features_count++;
		a->features[at] = f;
	} else {
		metrics_add(n->metrics.feature_unknown, 1);
	}
	a->names[a->names_count++] = (struct asked_name){ name, at };
}

/* Beside other mistakes unknown names are noted with them. */
static void note_names(struct exchange *x, uint32_t entity, yyjson_val *names)
{
	const struct definitions *d = api_node(x)->definitions;
	size_t i, max;
	yyjson_val *name;
	struct buf why = { 0 };
	yyjson_arr_foreach(names, i, max, name) {
		uint32_t f = definitions_feature(d, json_str(name));
		if (f == DEF_NONE || d->features[f].entity != entity)
			api_no_feature(d, entity, json_str(name), &why);
	}
	if (why.n)
		api_note_text(x, STR("[\"body\",\"features\"]"), buf_str(&why), names);
	buf_finish(&why);
}

/* DEF_NONE: replied, or something is wrong with the request. names: NULL ok. */
static uint32_t checked_entity(struct exchange *x, struct str name, const char *member, yyjson_val *names, bool detail)
{
	char loc[32];
	if (name.p == NULL)
		return DEF_NONE;
	snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", member);
	uint32_t entity = api_entity(x, name, loc);
	if (entity == DEF_NONE || exchange_is_valid(x))
		return entity;
	if (!detail)
		note_names(x, entity, names);
	return DEF_NONE;
}

/* An unknown name is 404, or in detail a status of its own. false: replied. */
static bool take_names(struct exchange *x, uint32_t entity, yyjson_val *names, struct asked *a)
{
	const struct node *n = api_node(x);
	size_t i, max;
	yyjson_val *name;
	yyjson_arr_foreach(names, i, max, name)
		take_name(n, entity, json_str(name), a);
	if (a->detail || a->features_count == a->names_count)
		return true;
	struct buf why = { 0 };
	for (uint32_t k = 0; k < a->names_count; k++)
		if (a->names[k].at == DEF_NONE)
			api_no_feature(n->definitions, entity, a->names[k].name, &why);
	exchange_error(x, 404, "%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	return false;
}

static void write_detail(struct buf *out, const char *status, struct str value_json, int64_t freshness_ms,
			 struct str source)
{
	buf_append_lit(out, "{\"value\":");
	buf_append_str(out, value_json.p ? value_json : STR("null"));
	buf_printf(out, ",\"status\":\"%s\",\"freshness_ms\":", status);
	if (source.p) {
		buf_append_i64(out, freshness_ms);
		buf_printf(out, ",\"served_from\":\"%.*s\"}", STR_ARG(source));
	} else {
		buf_append_lit(out, "null,\"served_from\":null}");
	}
}

static void write_result(int64_t now_us, const struct feature_result *r, struct buf *out)
{
	const struct str none = { 0 };
	switch (r->state) {
	case FEATURE_FOUND:
		write_detail(out, r->source == RECORD_FALLBACK ? "default" : "present", value_json(r->value),
			     age_ms(now_us, r->as_of_us), served_from(r->source));
		return;
	case FEATURE_FAILED:
	case FEATURE_TIMEOUT:
	case FEATURE_REFUSED:
		write_detail(out, "failed", none, 0, none);
		return;
	case FEATURE_EXPIRED:
		write_detail(out, "expired", none, 0, none);
		return;
	case FEATURE_MISSING:
	case FEATURE_PENDING:
		write_detail(out, "missing", none, 0, none);
		return;
	}
}

/* {"name": value}, or in detail {"name": {"value", "status", "freshness_ms", "served_from"}}. r: NULL when all are unknown. */
static void write_values(struct exchange *x, const struct asked *a, const struct feature_request *r, uint32_t id,
			 struct buf *out)
{
	int64_t now_us = loop_wall_us(exchange_loop(x));
	bool first = true;
	buf_append_char(out, '{');
	for (uint32_t k = 0; k < a->names_count; k++) {
		uint32_t at = a->names[k].at;
		const struct feature_result *result = r && at != DEF_NONE ? feature_request_result(r, id, at) : NULL;
		if (!a->detail && (result == NULL || result->state != FEATURE_FOUND))
			continue;
		if (!first)
			buf_append_char(out, ',');
		first = false;
		json_write_string(out, a->names[k].name);
		buf_append_char(out, ':');
		if (result == NULL)
			write_detail(out, "unknown", (struct str){ 0 }, 0, (struct str){ 0 });
		else if (a->detail)
			write_result(now_us, result, out);
		else
			buf_append_str(out, value_json(result->value));
	}
	buf_append_char(out, '}');
}

/* ---- POST /v1/features ---- */

static void reply_features(struct exchange *x, const struct asked *a, const struct feature_request *r)
{
	struct buf out = { 0 };
	write_values(x, a, r, 0, &out);
	if (out.failed)
		exchange_error(x, 413, "the values are too large to send; ask for fewer features at once");
	else
		exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

void api_features_post(struct exchange *x)
{
	static const char *const members[] = { "entity_name", "entity_id", "features", NULL };
	struct str entity_name, id;
	bool detail;
	api_query_flag(x, "detail", &detail);
	yyjson_val *body = api_body_model(x, members);
	if (!api_string(x, body, "entity_name", &entity_name))
		entity_name = (struct str){ 0 };
	api_string(x, body, "entity_id", &id);
	yyjson_val *names = api_list(x, body, "features", API_FEATURES_MAX);
	uint32_t entity = checked_entity(x, entity_name, "entity_name", names, detail);
	if (entity == DEF_NONE)
		return;
	struct asked *a = arena_zalloc(exchange_arena(x), sizeof *a);
	if (a == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return;
	}
	*exchange_data(x) = a;
	a->detail = detail;
	if (!take_names(x, entity, names, a))
		return;
	if (a->features_count == 0) {
		reply_features(x, a, NULL);
		return;
	}
	struct feature_request *r = feature_request_new(entity, &id, 1, a->features, a->features_count);
	if (r == NULL)
		exchange_fail(x, RT_EFULL, "out of memory");
	else
		ask_resolver(x, r);
}

void api_features_post_message(struct exchange *x, struct msg *m)
{
	if (m->kind != RESOLVER_GOT)
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the feature store");
	else
		reply_features(x, *exchange_data(x), ((struct resolver_get *)m)->request);
}

/* ---- POST /v1/features/batch ---- */

struct batch {
	uint32_t entity;
	struct asked asked;
	struct str ids[API_BATCH_IDS_MAX]; /* those that can be asked for; borrow the request's body */
	uint32_t ids_count, at;            /* at: the first id of the ask under way */
	uint32_t under_way;                /* ids in it */
	struct str seen_ids[API_BATCH_IDS_MAX];
	uint32_t seen_count;
	uint16_t seen[2 * 1024]; /* open addressing over seen_ids: position + 1; twice as many as ids */
	struct buf out;
};

static void batch_ask(struct exchange *x, struct batch *b)
{
	const struct asked *a = &b->asked;
	uint32_t cells = a->features_count ? a->features_count : 1;
	uint32_t ids = CELLS_PER_ASK / cells ? CELLS_PER_ASK / cells : 1;
	b->under_way = b->ids_count - b->at < ids ? b->ids_count - b->at : ids;
	struct feature_request *r = feature_request_new(b->entity, b->ids + b->at, b->under_way, a->features,
							a->features_count);
	if (r == NULL)
		exchange_fail(x, RT_EFULL, "out of memory");
	else
		ask_resolver(x, r);
}

static void batch_end(struct exchange *x, struct batch *b)
{
	buf_append_char(&b->out, '}');
	if (b->out.failed)
		exchange_error(x, 413, "the values are too large to send; ask for fewer ids or features at once");
	else
		exchange_reply_json(x, 200, buf_str(&b->out));
}

static void batch_id(struct batch *b, struct str id)
{
	if (b->out.n > 1)
		buf_append_char(&b->out, ',');
	json_write_string(&b->out, id);
	buf_append_char(&b->out, ':');
}

/* Whether the id comes for the first time: equal ids count once, as keys of one object. */
static bool batch_is_new(struct batch *b, struct str id)
{
	uint64_t slot = hash64(id) % ARRAY_LEN(b->seen);
	while (b->seen[slot] && !str_eq(b->seen_ids[b->seen[slot] - 1], id))
		slot = (slot + 1) % ARRAY_LEN(b->seen);
	if (b->seen[slot])
		return false;
	b->seen_ids[b->seen_count++] = id;
	b->seen[slot] = (uint16_t)b->seen_count;
	return true;
}

/* Ids that cannot be asked for answer at once. */
static void batch_take_ids(struct batch *b, yyjson_val *ids)
{
	size_t i, max;
	yyjson_val *v;
	yyjson_arr_foreach(ids, i, max, v) {
		struct str id = json_str(v);
		if (!batch_is_new(b, id))
			continue;
		if (api_id_is_fine(id)) {
			b->ids[b->ids_count++] = id;
			continue;
		}
		batch_id(b, id);
		buf_append_lit(&b->out, "{\"error\":\"an id has at most 256 bytes and no NUL\"}");
	}
}

void api_batch_post(struct exchange *x)
{
	static const char *const members[] = { "name", "ids", "features", NULL };
	struct str entity_name;
	bool detail;
	api_query_flag(x, "detail", &detail);
	yyjson_val *body = api_body_model(x, members);
	if (!api_string(x, body, "name", &entity_name))
		entity_name = (struct str){ 0 };
	yyjson_val *ids = api_list(x, body, "ids", API_BATCH_IDS_MAX);
	yyjson_val *names = api_list(x, body, "features", API_FEATURES_MAX);
	uint32_t entity = checked_entity(x, entity_name, "name", names, detail);
	if (entity == DEF_NONE)
		return;
	struct batch *b = calloc(1, sizeof *b);
	if (b == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return;
	}
	*exchange_data(x) = b;
	b->entity = entity;
	b->asked.detail = detail;
	if (!take_names(x, entity, names, &b->asked))
		return;
	buf_append_char(&b->out, '{');
	batch_take_ids(b, ids);
	if (b->ids_count)
		batch_ask(x, b);
	else
		batch_end(x, b);
}

void api_batch_message(struct exchange *x, struct msg *m)
{
	struct batch *b = *exchange_data(x);
	if (m->kind == RT_DEADLINE) {
		exchange_fail(x, RT_EDEADLINE, "the feature store");
		return;
	}
	for (uint32_t i = 0; i < b->under_way; i++) {
		batch_id(b, b->ids[b->at + i]);
		if (m->kind == RESOLVER_GOT)
			write_values(x, &b->asked, ((struct resolver_get *)m)->request, i, &b->out);
		else
			buf_printf(&b->out, "{\"error\":\"%s\"}", rt_error_text(m->status));
	}
	b->at += b->under_way;
	if (b->at < b->ids_count)
		batch_ask(x, b);
	else
		batch_end(x, b);
}

void api_batch_end(struct exchange *x)
{
	struct batch *b = *exchange_data(x);
	if (b == NULL)
		return;
	buf_finish(&b->out);
	free(b);
}
