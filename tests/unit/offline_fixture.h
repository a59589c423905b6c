/* An offline store with a real ledger in a folder of its own, and questions to its actors from the test's
 * thread. */
#pragma once
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/evidence/entries.h"
#include "store/ledger/ledger_private.h"
#include "store/offline/offline_cursor.h"
#include "store/offline/offline_private.h"
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { T0 = 1700000000, OPEN_MAX = 128 };
#define T0_US (T0 * INT64_C(1000000))

struct rig {
	char dir[64], db_path[96], ledger_dir[112];
	struct ledger *ledger;
	struct offline *offline;
	struct loop *reader_loop, *projection_loop, *asker_loop;
	struct loop *lane_loops[4];
	uint32_t lanes; /* set before the start */
	struct actor_ref reader, projection, asker;
};

/* ---- the folder ---- */
static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void rig_make_folder(struct rig *r)
{
	*r = (struct rig){ 0 };
	strcpy(r->dir, "/tmp/fabra-offline-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->db_path, sizeof r->db_path, "%s/fabra.duckdb", r->dir);
	snprintf(r->ledger_dir, sizeof r->ledger_dir, "%s.ledger", r->db_path);
}

static inline void rig_remove_folder(struct rig *r)
{
	assert_int_equal(nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- the stores ---- */
static inline void rig_open(struct rig *r)
{
	struct buf why = { 0 };
	r->ledger = ledger_open(&(struct ledger_config){ .dir = r->ledger_dir, .segment_bytes = 4 << 20 }, &why);
	if (r->ledger == NULL)
		fail_msg("ledger: %.*s", STR_ARG(buf_str(&why)));
	r->offline = offline_open(&(struct offline_config){ .path = r->db_path, .log = ledger_log_source(r->ledger) },
				  &why);
	if (r->offline == NULL)
		fail_msg("offline: %.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
}

static inline void rig_close(struct rig *r)
{
	offline_close(r->offline);
	ledger_close(r->ledger);
	r->offline = NULL;
	r->ledger = NULL;
}

/* ---- the asker: sends what the test makes, and hands the answer back ---- */
enum { ASK_FOR = MSG_KIND(CLASS_TEST, 40), ASK_NO_MORE = MSG_KIND(CLASS_TEST, 41) };

struct answer {
	uint16_t kind;
	int status;
	char *text; /* owned: JSON or the error's line */
	uint32_t rows;
	uint64_t cursor;
	bool last;
};
struct order {
	struct msg *(*make)(struct loop *loop, const void *arg);
	const void *arg;
	struct actor_ref to;
	uint64_t timeout_ms;
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
	struct answer answer;
};
struct order_msg {
	struct msg head;
	struct order *order; /* borrows; the test waits for it */
};
struct asker {
	struct actor base;
	struct {
		uint64_t op;
		struct order *order;
	} open[OPEN_MAX];
};

static inline void order_finish(struct order *o, struct msg *m)
{
	struct answer a = { .kind = m->kind, .status = m->status };
	struct buf text = { 0 };
	if (m->kind == OFFLINE_RESULT) {
		const struct offline_result *r = (const struct offline_result *)m;
		buf_append_str(&text, buf_str(&r->json));
		a.rows = r->rows;
	} else if (m->kind == EVIDENCE_ANSWER) {
		const struct evidence_answer *r = (const struct evidence_answer *)m;
		buf_append_str(&text, buf_str(&r->json));
		a.rows = r->rows;
	} else if (m->kind == OFFLINE_BATCH) {
		const struct offline_batch *b = (const struct offline_batch *)m;
		a.rows = b->count;
		a.cursor = b->cursor;
		a.last = b->last;
		buf_append_str(&text, b->error);
		for (uint32_t i = 0; i < b->count; i++)
			buf_printf(&text, "%.*s=%.*s;", STR_ARG(b->rows[i].key), STR_ARG(b->rows[i].value_json));
	}
	if (m->kind == OFFLINE_PAST_CELLS) {
		const struct offline_past_cells *c = (const struct offline_past_cells *)m;
		a.rows = c->count;
		a.cursor = c->cursor;
		a.last = c->last;
		buf_append_str(&text, c->error);
		for (uint32_t i = 0; i < c->count; i++)
			buf_printf(&text, "%u/%u=%.*s@%lld.%03u;", c->cells[i].moment, c->cells[i].feature,
				   STR_ARG(c->cells[i].value_json), (long long)(c->cells[i].event_time_us - T0_US),
				   c->cells[i].event_time_ns);
	}
	buf_append_char(&text, '\0');
	a.text = text.p;
	pthread_mutex_lock(&o->lock);
	o->answer = a;
	o->is_done = true;
	pthread_cond_signal(&o->done);
	pthread_mutex_unlock(&o->lock);
}

static inline void asker_on_message(struct actor *a, struct msg *m)
{
	struct asker *s = (struct asker *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind == ASK_FOR) {
		struct order *o = ((struct order_msg *)m)->order;
		for (size_t i = 0; i < OPEN_MAX; i++) {
			if (s->open[i].order != NULL)
				continue;
			s->open[i].order = o;
			s->open[i].op = rt_ask(a, o->to, o->make(a->loop, o->arg),
					       loop_mono_ns(a->loop) + o->timeout_ms * 1000000, ACTOR_NONE);
			return;
		}
		abort();
	}
	for (size_t i = 0; m->kind == ASK_NO_MORE && i < OPEN_MAX; i++) {
		if (s->open[i].order != ((struct order_msg *)m)->order)
			continue;
		rt_ask_cancel(a, s->open[i].op);
		order_finish(s->open[i].order, m);
		s->open[i].order = NULL;
		return;
	}
	for (size_t i = 0; i < OPEN_MAX; i++) {
		if (s->open[i].order != NULL && s->open[i].op == m->op) {
			order_finish(s->open[i].order, m);
			s->open[i].order = NULL;
			return;
		}
	}
}

static inline const struct actor_class *asker_class(void)
{
	static const struct actor_class class = {
		.name = "asker",
		.size = sizeof(struct asker),
		.mailbox_len_max = 256,
		.on_message = asker_on_message,
	};
	return &class;
}

static inline struct loop *start_loop(const char *name, bool idle)
{
	struct loop *loop = loop_create(&(struct loop_config){
	    .name = name, .kind = LOOP_BLOCKING, .is_background = idle, .actors_max = 64, .asks_max = 1024 });
	assert_non_null(loop);
	return loop;
}

/* Starts the reader, and the projection too if wanted. */
static inline void rig_start(struct rig *r, bool with_projection, bool idle)
{
	r->asker_loop = start_loop("asker", false);
	r->reader_loop = start_loop("reader", false);
	r->asker = rt_spawn(r->asker_loop, asker_class(), NULL);
	for (uint32_t i = 0; i < r->lanes; i++)
		r->lane_loops[i] = start_loop("lane", false);
	r->reader = offline_spawn_reader(r->offline, r->reader_loop, r->lane_loops, r->lanes);
	assert_false(ref_is_none(r->reader));
	if (with_projection) {
		r->projection_loop = start_loop("projection", idle);
		r->projection = offline_spawn_projection(r->offline, r->projection_loop);
		assert_int_equal(loop_start(r->projection_loop), 0);
	}
	assert_int_equal(loop_start(r->asker_loop), 0);
	assert_int_equal(loop_start(r->reader_loop), 0);
	for (uint32_t i = 0; i < r->lanes; i++)
		assert_int_equal(loop_start(r->lane_loops[i]), 0);
}

/* No loop is destroyed while another one may still send to it. */
static inline void rig_stop(struct rig *r)
{
	struct loop **loops[] = { &r->asker_loop,    &r->projection_loop, &r->reader_loop,  &r->lane_loops[0],
				  &r->lane_loops[1], &r->lane_loops[2],   &r->lane_loops[3] };
	for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
		if (*loops[i] == NULL)
			continue;
		loop_stop(*loops[i]);
		loop_join(*loops[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
		if (*loops[i] != NULL)
			loop_destroy(*loops[i]);
		*loops[i] = NULL;
	}
}

static inline struct order *rig_ask(struct rig *r, struct msg *(*make)(struct loop *, const void *), const void *arg,
				    uint64_t timeout_ms)
{
	struct order *o = calloc(1, sizeof *o);
	*o = (struct order){ .make = make, .arg = arg, .to = r->reader, .timeout_ms = timeout_ms };
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->done, NULL);
	struct order_msg *m = loop_msg_new(ASK_FOR);
	m->order = o;
	assert_true(loop_post(r->asker, &m->head));
	return o;
}

/* The asker does not wait for it any more: rig_wait returns. */
static inline void rig_leave(struct rig *r, struct order *o)
{
	struct order_msg *m = loop_msg_new(ASK_NO_MORE);
	m->order = o;
	assert_true(loop_post(r->asker, &m->head));
}

/* The text belongs to the caller. */
static inline struct answer rig_wait(struct order *o)
{
	pthread_mutex_lock(&o->lock);
	while (!o->is_done)
		pthread_cond_wait(&o->done, &o->lock);
	pthread_mutex_unlock(&o->lock);
	struct answer a = o->answer;
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->done);
	free(o);
	return a;
}

struct query {
	const char *sql, *params;
};

static inline struct msg *make_query(struct loop *loop, const void *arg)
{
	const struct query *q = arg;
	struct offline_query *m = offline_query_new(loop, str_from(q->sql), str_from(q->params));
	return &m->head;
}

/* Asks and compares; the projection is waited for. */
static inline void assert_query(struct rig *r, const char *sql, const char *wanted)
{
	struct query q = { .sql = sql };
	struct answer a = rig_wait(rig_ask(r, make_query, &q, 20000));
	assert_string_equal(a.text, wanted);
	free(a.text);
}

/* ---- entries ---- */
static inline void rig_append(struct rig *r, struct evidence_entry *e, int64_t now_us)
{
	int status = -1;
	ledger_write(r->ledger, &e, &status, 1, now_us);
	assert_int_equal(status, RT_OK);
	evidence_entry_free(e);
}

#define INTERACTION_REF                                                                                                \
	"{\"mode\":\"voice\",\"call_id\":\"c1\",\"session_id\":\"s1\",\"turn_id\":\"t1\",\"turn_index\":3}"

static inline void id_of(unsigned i, char id[static 41])
{
	snprintf(id, 41, "ctx_018f3a2b-7def-7abc-8901-%012u", i);
}

/* Record i was created i seconds after T0. Without its row it is as from a ledger before rows. */
static inline void rig_append_record_and_row(struct rig *r, unsigned i, const char *name,
					     enum record_freshness freshness, bool with_row)
{
	char id[41];
	id_of(i, id);
	struct record record = {
		.context_id = str_from(id),
		.created_at_us = T0_US + i * INT64_C(1000000),
		.environment = STR("development"),
		.schema_version = STR("1.0.0"),
		.context_function = str_from(name),
		.inputs_json = STR("{\"user_id\":\"u1\",\"interaction_ref\":" INTERACTION_REF "}"),
		.content = STR("some text"),
		.token_count = 40 + i,
		.assembly = { .max_tokens = -1, .freshness_sla_ms = -1, .freshness_status = freshness },
		.lineage = { .fabra_version = STR("2.3.2") },
		.integrity = { .record_hash = STR(""), .signed_at_us = -1 },
	};
	char content_hash[RECORD_HASH_TEXT];
	record_hash_text(record.content, content_hash);
	record.integrity.content_hash = str_of(content_hash, RECORD_HASH_TEXT);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD);
	assert_true(record_write_canonical(&record, &e->body, &e->previous_at));
	record_extras_write(with_row ? &record : NULL,
			    &(struct record_extras){ .version = STR("v7"),
						     .interaction_ref_json = STR(INTERACTION_REF),
						     .evidence_mode = STR("required") },
			    &e->extras);
	memcpy(e->context_id, id, 40);
	rig_append(r, e, record.created_at_us);
}

static inline void rig_append_record(struct rig *r, unsigned i, const char *name, enum record_freshness freshness)
{
	rig_append_record_and_row(r, i, name, freshness, true);
}

static inline void rig_append_values(struct rig *r, const char *entity, const struct entry_value *values, size_t count)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	entry_values_write(&e->body,
			   &(struct entry_values){
			       .entity = str_from(entity), .source = ENTRY_PUSHED, .values = values, .count = count });
	assert_false(e->body.failed);
	rig_append(r, e, values[0].event_time_us + 5);
}

static inline void rig_append_value(struct rig *r, const char *id, const char *feature, const char *json,
				    int64_t event_us, int64_t ttl_ms)
{
	rig_append_values(r, "User",
			  &(struct entry_value){ .entity_id = str_from(id),
						 .feature = str_from(feature),
						 .value_json = str_from(json),
						 .event_time_us = event_us,
						 .ttl_ms = ttl_ms },
			  1);
}

static inline void rig_append_delete(struct rig *r, const char *id, int64_t event_us)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_DELETE);
	entry_delete_write(&e->body, &(struct entry_delete){
					 .entity = STR("User"), .entity_id = str_from(id), .event_time_us = event_us });
	rig_append(r, e, event_us + 5);
}
