/* Messages to the offline store and their payloads. */
#include "runtime/check.h"
#include "store/offline/offline_private.h"

MSG_SIZE_CHECK(offline_query);
MSG_SIZE_CHECK(offline_rows);
MSG_SIZE_CHECK(offline_feature);
MSG_SIZE_CHECK(offline_result);
MSG_SIZE_CHECK(offline_batch);
MSG_SIZE_CHECK(offline_newest);
MSG_SIZE_CHECK(offline_values);
MSG_SIZE_CHECK(offline_as_of);
MSG_SIZE_CHECK(offline_training);
MSG_SIZE_CHECK(offline_past_cells);

static void *msg_new(struct loop *loop, uint16_t kind)
{
	return loop != NULL ? rt_msg_new(loop, kind) : loop_msg_new(kind);
}

/* NULL: no memory. What a request sends may be large. */
static char *try_copy(struct str s)
{
	char *text = malloc(s.n + 1);
	if (text == NULL)
		return NULL;
	if (s.n > 0)
		memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return text;
}

/* Of a name or a statement of the definitions. */
static char *copy(struct str s)
{
	char *text = try_copy(s);
	CHECK(text != NULL);
	return text;
}

static void query_dispose(struct msg *m)
{
	struct offline_query *q = (struct offline_query *)m;
	free(q->sql);
	free(q->params);
}

struct offline_query *offline_query_new(struct loop *loop, struct str sql, struct str params_json)
{
	struct offline_query *q = msg_new(loop, OFFLINE_QUERY);
	q->head.dispose = query_dispose;
	q->params = params_json.p != NULL ? try_copy(params_json) : NULL;
	q->sql = params_json.p == NULL || q->params != NULL ? try_copy(sql) : NULL;
	return q;
}

static void rows_dispose(struct msg *m)
{
	struct offline_rows *r = (struct offline_rows *)m;
	free(r->sql);
	free(r->key_column);
	free(r->value_column);
}

struct offline_rows *offline_rows_new(struct loop *loop, struct str sql, struct str key_column, struct str value_column)
{
	struct offline_rows *r = msg_new(loop, OFFLINE_ROWS);
	r->head.dispose = rows_dispose;
	r->sql = copy(sql);
	r->key_column = copy(key_column);
	r->value_column = copy(value_column);
	return r;
}

struct offline_rows *offline_rows_next(struct loop *loop, uint64_t cursor)
{
	struct offline_rows *r = msg_new(loop, OFFLINE_ROWS);
	r->cursor = cursor;
	return r;
}

static void feature_dispose(struct msg *m)
{
	struct offline_narrowed *what = ((struct offline_feature *)m)->what;
	if (what != NULL)
		arena_finish(&what->texts);
	free(what);
}

struct offline_feature *offline_feature_new(struct loop *loop, struct str sql, struct str key_column,
					    struct str value_column, uint32_t ids_cap)
{
	struct offline_feature *m = msg_new(loop, OFFLINE_FEATURE);
	struct offline_narrowed *what = calloc(1, sizeof *what);
	CHECK(what != NULL && ids_cap <= OFFLINE_IDS_MAX);
	m->head.dispose = feature_dispose;
	m->what = what;
	what->sql = arena_dup(&what->texts, sql);
	what->key_column = arena_dup(&what->texts, key_column);
	what->value_column = arena_dup(&what->texts, value_column);
	what->ids = arena_alloc(&what->texts, (ids_cap + 1ul) * sizeof *what->ids);
	what->ids_cap = ids_cap;
	CHECK(what->sql.p != NULL && what->key_column.p != NULL && what->value_column.p != NULL && what->ids != NULL);
	return m;
}

void offline_feature_add(struct offline_feature *m, struct str id)
{
	struct offline_narrowed *what = m->what;
	struct str copy = arena_dup(&what->texts, id);
	CHECK(what->ids_count < what->ids_cap && copy.p != NULL);
	what->ids[what->ids_count++] = copy;
}

/* ---- cells of the history ---- */
enum { CELLS_BYTES_MAX = 64 << 20 }; /* with an answer: one value is at most a ledger's entry */

static void as_of_dispose(struct msg *m)
{
	struct offline_cells *what = ((struct offline_as_of *)m)->what;
	if (what != NULL)
		arena_finish(&what->texts);
	free(what);
}

struct offline_as_of *offline_as_of_new(struct loop *loop, int64_t as_of_us)
{
	struct offline_cells *what = calloc(1, sizeof *what);
	if (what == NULL)
		return NULL;
	struct offline_as_of *m = msg_new(loop, OFFLINE_AS_OF);
	m->head.dispose = as_of_dispose;
	m->what = what;
	what->texts.max = CELLS_BYTES_MAX;
	what->as_of_us = as_of_us;
	return m;
}

bool offline_as_of_add(struct offline_as_of *m, struct str entity, struct str entity_id, struct str feature,
		       struct str version)
{
	struct offline_cells *what = m->what;
	struct offline_cell *cells = arena_array_grow(&what->texts, what->cells, what->count, &what->cap,
						      OFFLINE_CELLS_MAX, sizeof *cells);
	if (cells == NULL)
		return false;
	what->cells = cells;
	struct offline_cell *c = &cells[what->count];
	*c = (struct offline_cell){ .value = { .entity = arena_dup(&what->texts, entity),
					       .entity_id = arena_dup(&what->texts, entity_id),
					       .feature = arena_dup(&what->texts, feature) },
				    .is_of_any_version = version.p == NULL };
	if (version.p != NULL)
		c->value.version = arena_dup(&what->texts, version);
	if (c->value.entity.p == NULL || c->value.entity_id.p == NULL || c->value.feature.p == NULL ||
	    (version.p != NULL && c->value.version.p == NULL))
		return false;
	what->count++;
	return true;
}

struct offline_as_of *offline_cells_new(struct loop *loop, struct offline_as_of *request, int status, struct str error)
{
	struct offline_as_of *m = rt_msg_new(loop, OFFLINE_CELLS);
	m->head.dispose = as_of_dispose;
	m->head.status = status;
	m->what = request->what;
	request->what = NULL;
	if (status == RT_OK || m->what == NULL)
		return m;
	m->what->error = arena_dup(&m->what->texts, error);
	for (uint32_t i = 0; i < m->what->count; i++)
		m->what->cells[i].found = OFFLINE_NOTHING;
	return m;
}

/* ---- values of the past ---- */
static void training_dispose(struct msg *m)
{
	struct offline_past *what = ((struct offline_training *)m)->what;
	if (what != NULL)
		arena_finish(&what->texts);
	free(what);
}

static bool past_fill(struct offline_past *what, const struct str *entities, const struct offline_wanted *features)
{
	what->entities = arena_alloc(&what->texts, what->entities_count * sizeof *what->entities);
	what->features = arena_alloc(&what->texts, what->features_count * sizeof *what->features);
	what->moments = arena_alloc(&what->texts, (what->moments_cap + 1ul) * sizeof *what->moments);
	bool ok = what->entities != NULL && what->features != NULL && what->moments != NULL;
	for (uint32_t i = 0; ok && i < what->entities_count; i++) {
		what->entities[i] = arena_dup(&what->texts, entities[i]);
		ok = what->entities[i].p != NULL;
	}
	for (uint32_t i = 0; ok && i < what->features_count; i++) {
		what->features[i] = (struct offline_wanted){ features[i].entity,
							     arena_dup(&what->texts, features[i].name) };
		ok = what->features[i].name.p != NULL;
	}
	return ok;
}

struct offline_training *offline_training_new(struct loop *loop, const struct str *entities, uint32_t entities_count,
					      const struct offline_wanted *features, uint32_t features_count,
					      uint32_t moments_cap)
{
	struct offline_training *m = offline_training_next(loop, 0);
	m->what = calloc(1, sizeof *m->what);
	CHECK(m->what != NULL);
	m->what->texts.max = OFFLINE_PAST_BYTES_MAX;
	m->what->entities_count = entities_count;
	m->what->features_count = features_count;
	m->what->moments_cap = moments_cap;
	m->what->is_incomplete = !past_fill(m->what, entities, features);
	return m;
}

void offline_training_add(struct offline_training *m, const struct str *ids, int64_t time_us, uint16_t time_ns)
{
	struct offline_past *what = m->what;
	if (what->is_incomplete)
		return;
	DCHECK(what->moments_count < what->moments_cap);
	struct str *copies = arena_alloc(&what->texts, what->entities_count * sizeof *copies);
	what->is_incomplete = copies == NULL;
	for (uint32_t i = 0; !what->is_incomplete && i < what->entities_count; i++) {
		copies[i] = arena_dup(&what->texts, ids[i]);
		what->is_incomplete = copies[i].p == NULL;
	}
	what->moments[what->moments_count++] = (struct offline_moment){ copies, time_us, time_ns };
}

struct offline_training *offline_training_next(struct loop *loop, uint64_t cursor)
{
	struct offline_training *m = msg_new(loop, OFFLINE_TRAINING);
	m->head.dispose = training_dispose;
	m->cursor = cursor;
	return m;
}

static void result_dispose(struct msg *m)
{
	buf_finish(&((struct offline_result *)m)->json);
}

struct offline_result *offline_result_new(struct loop *loop)
{
	struct offline_result *r = rt_msg_new(loop, OFFLINE_RESULT);
	r->head.dispose = result_dispose;
	return r;
}

static void batch_dispose(struct msg *m)
{
	struct offline_batch *b = (struct offline_batch *)m;
	if (b->texts != NULL)
		arena_finish(b->texts);
	free(b->texts);
}

struct offline_batch *offline_batch_new(struct loop *loop)
{
	struct offline_batch *b = rt_msg_new(loop, OFFLINE_BATCH);
	b->head.dispose = batch_dispose;
	b->texts = calloc(1, sizeof *b->texts);
	CHECK(b->texts != NULL);
	return b;
}

static void cells_dispose(struct msg *m)
{
	struct offline_past_cells *c = (struct offline_past_cells *)m;
	if (c->texts != NULL)
		arena_finish(c->texts);
	free(c->texts);
}

struct offline_past_cells *offline_past_cells_new(struct loop *loop)
{
	struct offline_past_cells *c = rt_msg_new(loop, OFFLINE_PAST_CELLS);
	c->head.dispose = cells_dispose;
	c->texts = calloc(1, sizeof *c->texts);
	CHECK(c->texts != NULL);
	return c;
}

void offline_past_cells_fail(struct offline_past_cells *c, const struct offline_error *error)
{
	c->cells = NULL;
	c->count = 0;
	c->cursor = 0;
	c->last = true;
	c->error = arena_dup(c->texts, str_from(error->text));
	c->head.status = error->status;
}

void offline_result_fail(struct offline_result *r, const struct offline_error *error)
{
	buf_clear(&r->json);
	buf_append_str(&r->json, str_from(error->text));
	r->rows = 0;
	r->head.status = error->status;
}

void offline_batch_fail(struct offline_batch *b, const struct offline_error *error)
{
	b->rows = NULL;
	b->count = 0;
	b->cursor = 0;
	b->last = true;
	b->error = arena_dup(b->texts, str_from(error->text));
	b->head.status = error->status;
}

/* ---- the newest values ---- */
struct offline_newest *offline_newest_new(struct loop *loop, uint64_t cursor)
{
	struct offline_newest *m = msg_new(loop, OFFLINE_NEWEST);
	m->cursor = cursor;
	return m;
}

static void values_dispose(struct msg *m)
{
	struct offline_values *v = (struct offline_values *)m;
	if (v->texts != NULL)
		arena_finish(v->texts);
	free(v->texts);
}

struct offline_values *offline_values_new(struct loop *loop)
{
	struct offline_values *m = rt_msg_new(loop, OFFLINE_VALUES);
	m->head.dispose = values_dispose;
	m->texts = calloc(1, sizeof *m->texts);
	CHECK(m->texts != NULL);
	m->values = arena_alloc(m->texts, OFFLINE_VALUES_MAX * sizeof *m->values);
	CHECK(m->values != NULL);
	return m;
}

static bool copy_text(struct arena *texts, struct str *s)
{
	*s = arena_dup(texts, *s);
	return s->p != NULL;
}

bool offline_values_add(struct offline_values *m, const struct offline_value *v)
{
	struct offline_value *out = &m->values[m->count];
	CHECK(m->count < OFFLINE_VALUES_MAX);
	*out = *v;
	if (!copy_text(m->texts, &out->entity) || !copy_text(m->texts, &out->entity_id) ||
	    !copy_text(m->texts, &out->feature) || !copy_text(m->texts, &out->value_json) ||
	    !copy_text(m->texts, &out->version))
		return false;
	m->count++;
	return true;
}

void offline_values_fail(struct offline_values *m, const struct offline_error *error)
{
	m->values = NULL;
	m->count = 0;
	m->cursor = 0;
	m->last = true;
	m->error = arena_dup(m->texts, str_from(error->text));
	m->head.status = error->status;
}
