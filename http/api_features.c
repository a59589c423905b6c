/* Reading features: one, several of one entity, several of many. */
#include "actors/feature_request.h"
#include "actors/resolver.h"
#include "http/api.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "store/json.h"
#include <stdlib.h>

/* How many (id, feature) cells one ask carries: what a resolver answers within a slice of its loop's time. */
enum { CELLS_PER_ASK = 512 };

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
	if (resolver_copy_online(n, get->feature, &get->key, now_us, text + BEFORE, ONLINE_COPY_MAX, &value_n, &meta,
				 &refresh_due) != ONLINE_HIT)
		return false;
	metrics_add(n->metrics.features[get->feature].hit, 1);
	if (refresh_due)
		tell_refresh(x, get->key.kind, get->key.id, get->feature);
	memcpy(text, before, BEFORE);
	struct buf out = { .p = text, .n = BEFORE + value_n, .cap = sizeof text, .max = sizeof text }; /* never grows */
	buf_append_lit(&out, ",\"freshness_ms\":");
	buf_append_i64(&out, (now_us - meta.event_time_us) / 1000);
	buf_append_lit(&out, ",\"served_from\":\"online\"}");
	exchange_reply_json(x, 200, buf_str(&out));
	return true;
}

void api_feature_gather(struct exchange *x, bool is_last)
{
	const struct node *n = api_node(x);
	struct feature_get *get = exchange_scratch(x);
	if (is_last) {
		online_fetch_row(n->online, &get->key);
		return;
	}
	struct str name = exchange_param(x, 0), id;
	if (!api_query_required(x, "entity_id", &id))
		return;
	get->feature = definitions_feature(n->definitions, name);
	if (get->feature == DEF_NONE) {
		exchange_error(x, 404, "Feature '%.*s' not found", STR_ARG(name));
		return;
	}
	get->key = online_key(n->definitions->features[get->feature].entity, id);
	online_fetch_bucket(n->online, &get->key);
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
	case FEATURE_FOUND: {
		int64_t age_us = loop_wall_us(exchange_loop(x)) - f->as_of_us;
		reply_value(x, str_of(f->value->json, f->value->len), age_us / 1000, served_from(f->source));
		return;
	}
	case FEATURE_FAILED:
		exchange_error(x, 500, "Feature '%.*s' could not be computed for entity '%.*s'", STR_ARG(name),
			       STR_ARG(r->ids[0]));
		return;
	case FEATURE_REFUSED:
		exchange_error(x, 503, "Feature '%.*s' was not computed for entity '%.*s': too many are being computed. Try again",
			       STR_ARG(name), STR_ARG(r->ids[0]));
		return;
	case FEATURE_MISSING:
	case FEATURE_PENDING:
		exchange_error(x, 404, "Feature '%.*s' not found for entity '%.*s'", STR_ARG(name), STR_ARG(r->ids[0]));
		return;
	}
}

/* ---- what the two POSTs share ---- */

/* The known features of this entity among the names, in order, each once; others are counted and left out. */
static uint32_t known_features(const struct node *n, uint32_t entity, yyjson_val *names, uint32_t *out)
{
	uint32_t count = 0;
	size_t i, max;
	yyjson_val *name;
	yyjson_arr_foreach(names, i, max, name) {
		uint32_t f = definitions_feature(n->definitions, json_str(name));
		bool is_new = f != DEF_NONE && n->definitions->features[f].entity == entity;
		for (uint32_t k = 0; is_new && k < count; k++)
			is_new = out[k] != f;
		if (is_new)
			out[count++] = f;
		else if (f == DEF_NONE)
			metrics_add(n->metrics.feature_unknown, 1);
	}
	return count;
}

static void write_values(const struct node *n, const struct feature_request *r, uint32_t id, struct buf *out)
{
	bool first = true;
	buf_append_char(out, '{');
	for (uint32_t f = 0; f < r->features_count; f++) {
		const struct feature_result *result = feature_request_result(r, id, f);
		if (result->state != FEATURE_FOUND)
			continue;
		if (!first)
			buf_append_char(out, ',');
		first = false;
		json_write_string(out, n->definitions->features[r->features[f]].name);
		buf_append_char(out, ':');
		buf_append(out, result->value->json, result->value->len);
	}
	buf_append_char(out, '}');
}

/* ---- POST /v1/features ---- */

void api_features_post(struct exchange *x)
{
	const struct node *n = api_node(x);
	struct str entity_name, id;
	yyjson_val *names, *body = api_body_model(x);
	if (body == NULL || !api_string(x, body, "entity_name", &entity_name) || !api_string(x, body, "entity_id", &id) ||
	    (names = api_list(x, body, "features", API_FEATURES_MAX)) == NULL)
		return;
	uint32_t entity = api_entity(x, entity_name);
	if (entity == DEF_NONE)
		return;
	uint32_t features[API_FEATURES_MAX];
	uint32_t count = known_features(n, entity, names, features);
	if (count == 0) {
		exchange_reply_json(x, 200, STR("{}"));
		return;
	}
	struct feature_request *r = feature_request_new(entity, &id, 1, features, count);
	if (r == NULL)
		exchange_fail(x, RT_EFULL, "out of memory");
	else
		ask_resolver(x, r);
}

void api_features_post_message(struct exchange *x, struct msg *m)
{
	if (m->kind != RESOLVER_GOT) {
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the feature store");
		return;
	}
	struct buf out = { 0 };
	write_values(api_node(x), ((struct resolver_get *)m)->request, 0, &out);
	if (out.failed)
		exchange_error(x, 500, "the values are too large to send");
	else
		exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

/* ---- POST /v1/features/batch ---- */

struct batch {
	uint32_t entity;
	uint32_t features[API_FEATURES_MAX], features_count;
	struct str ids[API_BATCH_IDS_MAX]; /* borrow the request's body */
	uint32_t ids_count, at;            /* at: the first id of the ask under way */
	uint32_t asked;                    /* ids in it */
	uint16_t seen[2 * 1024];           /* open addressing over ids: position + 1; twice as many as ids */
	struct buf out;
};

static void batch_ask(struct exchange *x, struct batch *b)
{
	uint32_t cells = b->features_count ? b->features_count : 1;
	uint32_t ids = CELLS_PER_ASK / cells ? CELLS_PER_ASK / cells : 1;
	b->asked = b->ids_count - b->at < ids ? b->ids_count - b->at : ids;
	struct feature_request *r = feature_request_new(b->entity, b->ids + b->at, b->asked, b->features, b->features_count);
	if (r == NULL)
		exchange_fail(x, RT_EFULL, "out of memory");
	else
		ask_resolver(x, r);
}

static void batch_end(struct exchange *x, struct batch *b)
{
	buf_append_char(&b->out, '}');
	if (b->out.failed)
		exchange_error(x, 500, "the values are too large to send; ask for fewer ids or features at once");
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

/* Ids that cannot be asked for answer at once; equal ids count once, as keys of one object. */
static void batch_take_ids(struct batch *b, yyjson_val *ids)
{
	size_t i, max;
	yyjson_val *v;
	yyjson_arr_foreach(ids, i, max, v) {
		struct str id = json_str(v);
		uint64_t slot = hash64(id) % ARRAY_LEN(b->seen);
		while (b->seen[slot] && !str_eq(b->ids[b->seen[slot] - 1], id))
			slot = (slot + 1) % ARRAY_LEN(b->seen);
		if (b->seen[slot])
			continue;
		if (api_id_is_fine(id)) {
			b->ids[b->ids_count++] = id;
			b->seen[slot] = (uint16_t)b->ids_count;
			continue;
		}
		batch_id(b, id);
		buf_append_lit(&b->out, "{\"error\":\"an id has at most 256 bytes and no NUL\"}");
	}
}

void api_batch_post(struct exchange *x)
{
	const struct node *n = api_node(x);
	struct str entity_name;
	yyjson_val *names, *ids, *body = api_body_model(x);
	if (body == NULL || !api_string(x, body, "name", &entity_name) ||
	    (ids = api_list(x, body, "ids", API_BATCH_IDS_MAX)) == NULL ||
	    (names = api_list(x, body, "features", API_FEATURES_MAX)) == NULL)
		return;
	uint32_t entity = api_entity(x, entity_name);
	if (entity == DEF_NONE)
		return;
	struct batch *b = calloc(1, sizeof *b);
	if (b == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return;
	}
	*exchange_data(x) = b;
	b->entity = entity;
	b->features_count = known_features(n, entity, names, b->features);
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
	for (uint32_t i = 0; i < b->asked; i++) {
		batch_id(b, b->ids[b->at + i]);
		if (m->kind == RESOLVER_GOT)
			write_values(api_node(x), ((struct resolver_get *)m)->request, i, &b->out);
		else
			buf_printf(&b->out, "{\"error\":\"%s\"}", rt_error_text(m->status));
	}
	b->at += b->asked;
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
