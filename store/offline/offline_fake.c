#include "store/offline/offline_fake.h"
#include "runtime/check.h"
#include "runtime/sim.h"
#include "store/evidence/entries.h"
#include "store/text/json.h"
#include "store/offline/offline_private.h"

enum { DELAYED_MAX = 64, CURSORS_MAX = 8, BATCH_ROWS = 4096 };

struct fake_cursor {
	uint64_t id;       /* 0 = free place */
	yyjson_doc *rows;  /* owned */
	char *key, *value; /* owned; the columns */
	size_t next;
};
struct fake {
	struct actor base;
	struct offline_fake_config config;
	struct msg *delayed[DELAYED_MAX]; /* taken; a timer's op is the place */
	bool is_lost[DELAYED_MAX];        /* never answered: dropped when its asker has given up */
	struct fake_cursor cursors[CURSORS_MAX];
	uint64_t last_cursor;
};

static struct str question_of(const struct msg *m)
{
	switch (m->kind) {
	case OFFLINE_QUERY:
		return str_from(((const struct offline_query *)m)->sql);
	case OFFLINE_ROWS:
		return str_from(((const struct offline_rows *)m)->sql);
	case EVIDENCE_LEGACY:
		return str_from(((const struct evidence_legacy *)m)->ref);
	case OFFLINE_FEATURE:
		return ((const struct offline_feature *)m)->what->sql;
	case OFFLINE_NEWEST:
		return STR("newest");
	case OFFLINE_TRAINING:
		return ((const struct offline_training *)m)->what != NULL
			   ? ((const struct offline_training *)m)->what->entities[0]
			   : (struct str){ 0 };
	default:
		return STR("contexts");
	}
}

static struct offline_fake_answer find_answer(const struct fake *f, const struct msg *m)
{
	struct str question = question_of(m);
	for (size_t i = 0; i < f->config.answers_count; i++)
		if (question.p != NULL && strstr(question.p, f->config.answers[i].contains) != NULL)
			return f->config.answers[i];
	if (m->kind == EVIDENCE_LEGACY)
		return (struct offline_fake_answer){ "", "Record not found", RT_ENOTFOUND };
	return (struct offline_fake_answer){ "", "[]", RT_OK };
}

/* ---- batches ---- */
static void cursor_close(struct fake_cursor *c)
{
	yyjson_doc_free(c->rows);
	free(c->key);
	free(c->value);
	*c = (struct fake_cursor){ 0 };
}

static struct fake_cursor *cursor_at(struct fake *f, uint64_t id)
{
	for (size_t i = 0; i < CURSORS_MAX; i++)
		if (f->cursors[i].id == id)
			return &f->cursors[i];
	return NULL;
}

static struct fake_cursor *cursor_open(struct fake *f, struct offline_rows *ask, const char *json)
{
	struct fake_cursor *c = cursor_at(f, 0);
	if (c == NULL)
		return NULL;
	struct json_error error;
	*c = (struct fake_cursor){ .id = ++f->last_cursor,
				   .rows = json_parse(str_from(json), NULL, &error),
				   .key = ask->key_column,
				   .value = ask->value_column };
	ask->key_column = ask->value_column = NULL;
	CHECK(c->rows != NULL); /* the script's own fault */
	return c;
}

static void write_row(struct offline_batch *batch, yyjson_val *key, yyjson_val *value)
{
	struct buf text = { 0 };
	struct offline_row *row = &batch->rows[batch->count++];
	if (!yyjson_is_str(key))
		json_write_value(&text, key);
	row->key = arena_dup(batch->texts, yyjson_is_str(key) ? json_str(key) : buf_str(&text));
	buf_clear(&text);
	json_write_value(&text, value);
	row->value_json = arena_dup(batch->texts, buf_str(&text));
	CHECK(row->key.p != NULL && row->value_json.p != NULL);
	buf_finish(&text);
}

static void read_batch(struct fake *f, struct fake_cursor *c, struct offline_batch *batch)
{
	uint32_t rows_max = f->config.batch_rows ? f->config.batch_rows : BATCH_ROWS;
	yyjson_val *rows = yyjson_doc_get_root(c->rows);
	batch->rows = arena_alloc(batch->texts, rows_max * sizeof *batch->rows);
	CHECK(batch->rows != NULL);
	for (; c->next < yyjson_arr_size(rows) && batch->count < rows_max; c->next++) {
		yyjson_val *row = yyjson_arr_get(rows, c->next);
		write_row(batch, yyjson_obj_get(row, c->key), yyjson_obj_get(row, c->value));
	}
	batch->cursor = c->id;
	batch->last = c->next == yyjson_arr_size(rows);
	if (batch->last)
		cursor_close(c);
}

static bool is_key(yyjson_val *v, struct str id)
{
	struct buf text = { 0 };
	if (!yyjson_is_str(v))
		json_write_value(&text, v);
	bool is = str_eq(yyjson_is_str(v) ? json_str(v) : buf_str(&text), id);
	buf_finish(&text);
	return is;
}

/* As the store: RT_EINVAL when a key has several rows. */
static bool keys_are_fine(const struct fake_cursor *c, struct offline_error *error)
{
	yyjson_val *rows = yyjson_doc_get_root(c->rows), *row, *other;
	size_t i, n, k, m;
	yyjson_arr_foreach(rows, i, n, row) {
		yyjson_val *key = yyjson_obj_get(row, c->key);
		struct buf text = { 0 };
		if (!yyjson_is_str(key))
			json_write_value(&text, key);
		struct str id = yyjson_is_str(key) ? json_str(key) : buf_str(&text);
		size_t count = 0;
		yyjson_arr_foreach(rows, k, m, other)
			count += is_key(yyjson_obj_get(other, c->key), id);
		if (count > 1)
			offline_error_text(error, RT_EINVAL, OFFLINE_SEVERAL_ROWS, STR_ARG(str_from(c->key)),
					   STR_ARG(id));
		buf_finish(&text);
		if (count > 1)
			return false;
	}
	return true;
}

/* Narrowed to the ids that are asked for: each has its first two rows. */
static void answer_feature(struct fake *f, struct offline_feature *ask)
{
	const struct offline_narrowed *what = ask->what;
	struct offline_batch *batch = offline_batch_new(f->base.loop);
	struct offline_error error = { 0 };
	struct json_error json_error;
	struct offline_fake_answer answer = find_answer(f, &ask->head);
	batch->last = true;
	if (f->config.ids_max && what->ids_count > f->config.ids_max)
		answer = (struct offline_fake_answer){ "", "too much at once", RT_ETOOBIG };
	if (answer.status != RT_OK) {
		offline_error_text(&error, answer.status, "%s", answer.json);
		offline_batch_fail(batch, &error);
		rt_reply(&f->base, &ask->head, &batch->head);
		return;
	}
	yyjson_doc *doc = json_parse(str_from(answer.json), &(struct json_limits){ .bytes_max = 16 << 20 },
				     &json_error);
	CHECK(doc != NULL); /* the script's own fault */
	batch->rows = arena_alloc(batch->texts, (2ul * what->ids_count + 1) * sizeof *batch->rows);
	CHECK(batch->rows != NULL);
	for (uint32_t i = 0; i < what->ids_count; i++) {
		yyjson_val *row;
		size_t k, n, found = 0;
		yyjson_arr_foreach(yyjson_doc_get_root(doc), k, n, row)
			if (is_key(yyjson_obj_getn(row, what->key_column.p, what->key_column.n), what->ids[i]) &&
			    found++ < 2)
				write_row(batch, yyjson_obj_getn(row, what->key_column.p, what->key_column.n),
					  yyjson_obj_getn(row, what->value_column.p, what->value_column.n));
	}
	yyjson_doc_free(doc);
	rt_reply(&f->base, &ask->head, &batch->head);
}

static void answer_rows(struct fake *f, struct offline_rows *ask)
{
	struct offline_batch *batch = offline_batch_new(f->base.loop);
	struct offline_error error = { 0 };
	struct fake_cursor *c = NULL;
	if (ask->cursor != 0) {
		c = cursor_at(f, ask->cursor);
		if (c == NULL)
			offline_error_text(&error, RT_EINVAL, "the cursor is closed");
	} else {
		struct offline_fake_answer answer = find_answer(f, &ask->head);
		if (answer.status != RT_OK)
			offline_error_text(&error, answer.status, "%s", answer.json);
		else if ((c = cursor_open(f, ask, answer.json)) == NULL)
			offline_error_text(&error, RT_EFULL, "too many cursors");
		else if (!keys_are_fine(c, &error)) {
			cursor_close(c);
			c = NULL;
		}
	}
	if (c != NULL)
		read_batch(f, c, batch);
	else
		offline_batch_fail(batch, &error);
	rt_reply(&f->base, &ask->head, &batch->head);
}

/* A cursor is one more than the number of the value that comes next. */
static void answer_newest(struct fake *f, struct offline_newest *ask)
{
	enum { AT_ONCE = 16 };
	struct offline_values *m = offline_values_new(f->base.loop);
	struct offline_value values[AT_ONCE];
	size_t max = f->config.batch_rows ? f->config.batch_rows : BATCH_ROWS, from = ask->cursor ? ask->cursor - 1 : 0;
	CHECK(max <= OFFLINE_VALUES_MAX);
	while (f->config.newest && m->count < max && !m->last) {
		size_t want = max - m->count < AT_ONCE ? max - m->count : AT_ONCE;
		size_t n = f->config.newest(f->config.newest_arg, from, values, want);
		for (size_t i = 0; i < n; i++)
			CHECK(offline_values_add(m, &values[i]));
		from += n;
		m->last = n < want;
	}
	m->last = m->last || f->config.newest == NULL;
	m->cursor = from + 1;
	rt_reply(&f->base, &ask->head, &m->head);
}

/* ---- the history: entry by entry, as they took effect ---- */
struct history {
	struct fake *fake;
	struct offline_cells *cells;
	const struct log_source_entry *entry;
	struct gone {
		int64_t row_us, own_us; /* the latest event time of the deletes that stand */
		uint64_t row_lsn, own_lsn;
	} gone[OFFLINE_CELLS_MAX];
};

static bool is_asked(const struct history *h, uint32_t i, struct str entity, struct str id, int64_t event_time_us)
{
	const struct offline_value *v = &h->cells->cells[i].value;
	return str_eq(v->entity, entity) && str_eq(v->entity_id, id) && event_time_us <= h->cells->as_of_us;
}

static void note_delete(struct history *h, uint32_t i, int64_t event_time_us, bool is_of_row)
{
	struct gone *g = &h->gone[i];
	int64_t *at_us = is_of_row ? &g->row_us : &g->own_us;
	*at_us = event_time_us > *at_us ? event_time_us : *at_us;
	*(is_of_row ? &g->row_lsn : &g->own_lsn) = h->entry->lsn;
	if (is_of_row) {
		g->own_us = INT64_MIN;
		g->own_lsn = 0;
	}
	h->cells->cells[i].found = OFFLINE_NOTHING; /* all that was written before it */
}

static void note_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	struct history *h = arg;
	for (uint32_t i = 0; i < h->cells->count; i++) {
		struct offline_cell *c = &h->cells->cells[i];
		const struct gone *g = &h->gone[i];
		if (!is_asked(h, i, head->entity, v->entity_id, v->event_time_us) ||
		    !str_eq(c->value.feature, v->feature))
			continue;
		if (v->value_json.p == NULL) {
			note_delete(h, i, v->event_time_us, false);
			continue;
		}
		bool is_hidden = v->event_time_us < g->row_us || v->event_time_us < g->own_us;
		bool is_older = c->found == OFFLINE_VALUE && (v->event_time_us < c->value.event_time_us ||
							      (v->event_time_us == c->value.event_time_us &&
							       v->event_time_ns < c->value.event_time_ns));
		if (is_hidden || is_older || (!c->is_of_any_version && !str_eq(c->value.version, v->version)))
			continue;
		struct arena *texts = &h->cells->texts;
		c->found = OFFLINE_VALUE;
		c->value.value_json = arena_dup(texts, v->value_json);
		c->value.event_time_us = v->event_time_us;
		c->value.event_time_ns = v->event_time_ns;
		c->value.written_us = h->entry->written_us;
		c->value.ttl_ms = v->ttl_ms;
		c->value.lsn = h->entry->lsn;
		c->value.source = (uint8_t)head->source;
		if (c->is_of_any_version)
			c->value.version = arena_dup(texts, v->version);
	}
}

static void note_entry(struct history *h, const struct log_source_entry *e)
{
	struct entry_delete d;
	h->entry = e;
	if (e->kind == EVIDENCE_VALUES || e->kind == EVIDENCE_EVENT_APPLIED)
		CHECK(entry_values_read(e->body, NULL, h, note_value));
	if (e->kind != EVIDENCE_DELETE)
		return;
	CHECK(entry_delete_read(e->body, &d));
	for (uint32_t i = 0; i < h->cells->count; i++)
		if (is_asked(h, i, d.entity, d.entity_id, d.event_time_us))
			note_delete(h, i, d.event_time_us, true);
}

/* At its arrival: what becomes durable before the answer is not in it. */
static void read_as_of(struct fake *f, struct offline_as_of *ask)
{
	struct history *h = calloc(1, sizeof *h);
	struct buf why = { 0 };
	CHECK(h != NULL);
	h->cells = ask->what;
	for (uint32_t i = 0; i < OFFLINE_CELLS_MAX; i++)
		h->gone[i] = (struct gone){ .row_us = INT64_MIN, .own_us = INT64_MIN };
	struct log_scan *scan = f->config.log ? f->config.log->open(f->config.log->log, 1, &why) : NULL;
	struct log_source_entry entry;
	while (scan != NULL && scan->next(scan, &entry) == LOG_SOURCE_ENTRY)
		note_entry(h, &entry);
	log_scan_close(scan);
	for (uint32_t i = 0; i < h->cells->count; i++) {
		struct offline_cell *c = &h->cells->cells[i];
		const struct gone *g = &h->gone[i];
		if (c->found == OFFLINE_VALUE || (g->own_lsn == 0 && g->row_lsn == 0))
			continue;
		c->found = OFFLINE_TOMBSTONE;
		c->is_of_row = g->own_lsn == 0;
		c->value.event_time_us = c->is_of_row ? g->row_us : g->own_us;
		c->value.lsn = c->is_of_row ? g->row_lsn : g->own_lsn;
		c->value.deleted = true;
	}
	free(h);
}

/* ---- values of the past ---- */
static bool is_of(yyjson_val *row, const struct offline_past *what, const struct offline_moment *m, uint32_t feature)
{
	const struct offline_wanted *w = &what->features[feature];
	int64_t from_us = yyjson_get_sint(yyjson_obj_get(row, "from_us"));
	return str_eq(json_str(yyjson_obj_get(row, "id")), m->ids[w->entity]) &&
	       str_eq(json_str(yyjson_obj_get(row, "feature")), w->name) && from_us <= m->time_us;
}

/* The last row of the script that was there by then. */
static void past_read(yyjson_val *rows, const struct offline_past *what, struct offline_past_cells *ret)
{
	ret->cells = arena_alloc(ret->texts,
				 (size_t)what->moments_count * what->features_count * sizeof *ret->cells + 1);
	CHECK(ret->cells != NULL);
	for (uint32_t i = 0; i < what->moments_count; i++)
		for (uint32_t k = 0; k < what->features_count; k++) {
			yyjson_val *row, *found = NULL;
			size_t at, n;
			yyjson_arr_foreach(rows, at, n, row)
				if (is_of(row, what, &what->moments[i], k))
					found = row;
			if (found == NULL)
				continue;
			struct buf text = { 0 };
			json_write_value(&text, yyjson_obj_get(found, "value"));
			ret->cells[ret->count] = (struct offline_past_cell){
				.moment = i,
				.feature = k,
				.value_json = arena_dup(ret->texts, buf_str(&text)),
				.event_time_us = yyjson_get_sint(yyjson_obj_get(found, "from_us")),
			};
			CHECK(ret->cells[ret->count++].value_json.p != NULL);
			buf_finish(&text);
		}
}

/* All at once: what comes in several batches is the stores' own. */
static void answer_training(struct fake *f, struct offline_training *ask)
{
	struct offline_past_cells *cells = offline_past_cells_new(f->base.loop);
	struct json_error json_error;
	struct offline_fake_answer answer = find_answer(f, &ask->head);
	if (ask->what == NULL)
		answer = (struct offline_fake_answer){ "", "the cursor is closed", RT_EINVAL };
	cells->last = true;
	if (answer.status == RT_OK) {
		yyjson_doc *doc = json_parse(str_from(answer.json), NULL, &json_error);
		CHECK(doc != NULL); /* the script's own fault */
		past_read(yyjson_doc_get_root(doc), ask->what, cells);
		yyjson_doc_free(doc);
	} else {
		struct offline_error error = { 0 };
		offline_error_text(&error, answer.status, "%s", answer.json);
		offline_past_cells_fail(cells, &error);
	}
	rt_reply(&f->base, &ask->head, &cells->head);
}

/* ---- answers ---- */
static void fail(struct fake *f, struct msg *m, const struct offline_error *error)
{
	if (m->kind == OFFLINE_ROWS || m->kind == OFFLINE_FEATURE) {
		struct offline_batch *batch = offline_batch_new(f->base.loop);
		offline_batch_fail(batch, error);
		rt_reply(&f->base, m, &batch->head);
		return;
	}
	if (m->kind == OFFLINE_NEWEST) {
		struct offline_values *values = offline_values_new(f->base.loop);
		offline_values_fail(values, error);
		rt_reply(&f->base, m, &values->head);
		return;
	}
	if (m->kind == OFFLINE_AS_OF) {
		rt_reply(&f->base, m,
			 &offline_cells_new(f->base.loop, (struct offline_as_of *)m, error->status,
					    str_from(error->text))
			      ->head);
		return;
	}
	if (m->kind == OFFLINE_TRAINING) {
		struct offline_past_cells *cells = offline_past_cells_new(f->base.loop);
		offline_past_cells_fail(cells, error);
		rt_reply(&f->base, m, &cells->head);
		return;
	}
	if (m->kind == EVIDENCE_LIST || m->kind == EVIDENCE_LEGACY) {
		struct evidence_answer *answer = evidence_answer_new(f->base.loop);
		evidence_answer_fail(answer, error->status, str_from(error->text));
		rt_reply(&f->base, m, &answer->head);
		return;
	}
	struct offline_result *result = offline_result_new(f->base.loop);
	offline_result_fail(result, error);
	rt_reply(&f->base, m, &result->head);
}

static uint32_t rows_of(const struct offline_fake_answer *answer)
{
	struct json_error error;
	yyjson_doc *doc = answer->status == RT_OK ? json_parse(str_from(answer->json), NULL, &error) : NULL;
	yyjson_val *root = yyjson_doc_get_root(doc);
	uint32_t rows = yyjson_is_arr(root) ? (uint32_t)yyjson_arr_size(root) : doc != NULL;
	yyjson_doc_free(doc);
	return rows;
}

static void answer_text(struct fake *f, struct msg *m)
{
	struct offline_fake_answer answer = find_answer(f, m);
	if (m->kind == OFFLINE_QUERY) {
		struct offline_result *result = offline_result_new(f->base.loop);
		buf_append_str(&result->json, str_from(answer.json));
		result->head.status = answer.status;
		result->rows = rows_of(&answer);
		rt_reply(&f->base, m, &result->head);
		return;
	}
	struct evidence_answer *reply = evidence_answer_new(f->base.loop);
	buf_append_str(&reply->json, str_from(answer.json));
	reply->head.status = answer.status;
	reply->rows = rows_of(&answer);
	rt_reply(&f->base, m, &reply->head);
}

static void answer(struct fake *f, struct msg *m)
{
	if (f->config.questions != NULL)
		++*f->config.questions;
	if (sim_fault(f->base.loop, "offline.error", f->config.error_permille))
		fail(f, m, &(struct offline_error){ RT_EIO, "the offline store is broken by the simulation" });
	else if (m->kind == OFFLINE_ROWS)
		answer_rows(f, (struct offline_rows *)m);
	else if (m->kind == OFFLINE_FEATURE)
		answer_feature(f, (struct offline_feature *)m);
	else if (m->kind == OFFLINE_NEWEST)
		answer_newest(f, (struct offline_newest *)m);
	else if (m->kind == OFFLINE_AS_OF)
		rt_reply(&f->base, m,
			 &offline_cells_new(f->base.loop, (struct offline_as_of *)m, RT_OK, (struct str){ 0 })->head);
	else if (m->kind == OFFLINE_TRAINING)
		answer_training(f, (struct offline_training *)m);
	else
		answer_text(f, m);
}

/* ---- the actor ---- */
/* false: no place is free. */
static bool keep(struct fake *f, struct msg *m, uint64_t delay_ms, bool is_lost)
{
	for (size_t i = 0; i < DELAYED_MAX; i++) {
		if (f->delayed[i] != NULL)
			continue;
		if (rt_timer_start(&f->base, delay_ms, i) == 0)
			return false;
		rt_msg_take(m);
		f->delayed[i] = m;
		f->is_lost[i] = is_lost;
		return true;
	}
	return false;
}

static void on_question(struct fake *f, struct msg *m)
{
	uint64_t now_ns = loop_mono_ns(f->base.loop);
	uint64_t delay_ms = loop_random(f->base.loop) % (f->config.delay_ms_max + 1ull);
	bool is_lost = m->deadline_ns > now_ns && sim_fault(f->base.loop, "offline.lost", f->config.lost_permille);
	if (m->kind == OFFLINE_AS_OF)
		read_as_of(f, (struct offline_as_of *)m);
	if (is_lost)
		delay_ms = (m->deadline_ns - now_ns) / 1000000 + 100;
	if (delay_ms == 0 || !keep(f, m, delay_ms, is_lost))
		answer(f, m);
}

static void on_due(struct fake *f, size_t place)
{
	struct msg *m = f->delayed[place];
	f->delayed[place] = NULL;
	if (f->is_lost[place])
		rt_msg_free(f->base.loop, m);
	else
		answer(f, m);
}

static void fake_on_message(struct actor *a, struct msg *m)
{
	struct fake *f = (struct fake *)a;
	switch (m->kind) {
	case OFFLINE_QUERY:
	case EVIDENCE_LIST:
	case OFFLINE_ROWS:
	case EVIDENCE_LEGACY:
	case OFFLINE_FEATURE:
	case OFFLINE_NEWEST:
	case OFFLINE_AS_OF:
	case OFFLINE_TRAINING:
		on_question(f, m);
		return;
	case RT_TIMER:
		on_due(f, (size_t)m->op);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		return;
	}
}

static int fake_init(struct actor *a, void *arg)
{
	((struct fake *)a)->config = *(const struct offline_fake_config *)arg;
	return 0;
}

static void fake_finish(struct actor *a)
{
	struct fake *f = (struct fake *)a;
	for (size_t i = 0; i < DELAYED_MAX; i++)
		if (f->delayed[i] != NULL)
			rt_msg_free(a->loop, f->delayed[i]);
	for (size_t i = 0; i < CURSORS_MAX; i++)
		cursor_close(&f->cursors[i]);
}

static const struct actor_class fake_class = {
	.name = "offline_fake",
	.size = sizeof(struct fake),
	.mailbox_len_max = 1024,
	.init = fake_init,
	.on_message = fake_on_message,
	.finish = fake_finish,
};

struct actor_ref offline_fake_spawn(struct loop *loop, const struct offline_fake_config *config)
{
	return rt_spawn(loop, &fake_class, (void *)(uintptr_t)config);
}
