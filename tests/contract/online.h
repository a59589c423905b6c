/* The contract of the online store: what every backend and every fake must do that answers the messages of store/online/online.h, and what
 * struct online_fast gives where there is one. A program gives a struct contract_online for each way in and runs
 * CONTRACT_ONLINE_TESTS; the last test asks two ways in the same at random, and compares all answers.
 *
 *     point                                    memory, by message   memory, by fast   online_fake
 *     order, ties, tombstones, row deletes,    yes                  yes               yes
 *     ttl, several features at one moment
 *     a message that is full, one ending       yes                  no messages       yes
 *     faults: refused, one row, no answer      cannot fail so       cannot fail so    yes
 */
#pragma once
#include "runtime/clock.h"
#include "store/online/online.h"
#include "tests/contract/contract.h"

enum contract_online_fault {
	CONTRACT_WELL,
	CONTRACT_REFUSES,      /* all with RT_EIO; nothing is done */
	CONTRACT_FAILS_ROWS,   /* each row; nothing is done */
	CONTRACT_IS_SILENT,    /* all is done, but nobody answers */
	CONTRACT_SOME_OF_EACH, /* by chance */
};

struct contract_online {
	const char *name;
	bool is_fast; /* asks are done by store.fast, without messages */
	void (*open)(struct contract_online *b);
	void (*close)(struct contract_online *b);
	void (*set_fault)(struct contract_online *b,
			  enum contract_online_fault fault); /* from now on; NULL: it has none */
	/* by open */
	struct contract c;
	struct online_store store;
};

enum { ONLINE_KIND = 3, ONLINE_OTHER_KIND = 4 };

/* ---- asking ---- */

static inline int64_t online_now_us(const struct contract_online *b)
{
	return b->c.sim ? loop_wall_us(b->c.loop) : clock_wall_us();
}

static inline void online_do_fast(const struct online_fast *o, struct online_batch *m, int64_t now_us)
{
	for (struct online_row_batch *r = m->what->rows; r < m->what->rows + m->what->count; r++) {
		uint32_t features[ONLINE_TOGETHER_MAX];
		struct online_cell cells[ONLINE_TOGETHER_MAX];
		struct online_trace traces[ONLINE_TOGETHER_MAX];
		r->result = ONLINE_APPLIED;
		if (m->head.kind == ONLINE_DELETE)
			r->result = o->delete_row(o->table, r->kind, r->id, r->when.event_time_us, r->when.lsn, now_us);
		if (m->head.kind == ONLINE_PUT)
			o->change_row(o->table, r->kind, r->id, r->changes, r->count, now_us);
		if (m->head.kind != ONLINE_GET)
			continue;
		for (uint32_t i = 0; i < r->count; i++)
			features[i] = r->gets[i].feature;
		o->see(o->table, r->kind, r->id, features, r->count, now_us, cells, traces);
		for (uint32_t i = 0; i < r->count; i++) {
			struct online_trace alone;
			o->trace(o->table, r->kind, r->id, features[i], now_us, &alone);
			assert_int_equal(alone.event_time_us, traces[i].event_time_us);
			assert_int_equal(alone.is_live, traces[i].is_live);
			r->gets[i].cell = cells[i];
			r->gets[i].trace = traces[i];
		}
	}
}

static inline struct online_batch *online_begin(struct contract_online *b, enum online_msg kind)
{
	struct online_batch *m = online_batch_new(contract_maker(&b->c), kind);
	assert_non_null(m);
	return m;
}

static inline struct contract_ask *online_send(struct contract_online *b, struct online_batch *m)
{
	return contract_ask(&b->c, b->store.per_loop[0], &m->head);
}

/* Moves m. Valid until the end of the test. */
static inline struct online_rows *online_do(struct contract_online *b, struct online_batch *m)
{
	if (b->is_fast) { /* the rows end as those of an answer do */
		struct contract_ask *kept = calloc(1, sizeof *kept);
		assert_non_null(kept);
		online_do_fast(b->store.fast, m, online_now_us(b));
		*kept = (struct contract_ask){ .ending = &m->head, .endings = 1, .op = UINT64_MAX };
		b->c.asks[b->c.count++] = kept;
		return m->what;
	}
	uint16_t kind = m->head.kind;
	struct msg *done = contract_wait(&b->c, online_send(b, m));
	if (done->kind != ONLINE_DONE || done->status != RT_OK)
		fail_msg("%s: ask %d ended with %d, status %d", b->name, kind, done->kind, done->status);
	return ((struct online_batch *)done)->what;
}

struct online_when {
	int64_t time_us;
	uint64_t lsn;
	uint16_t ns;
	int64_t expires_us;
};

/* text NULL: a delete of the cell. */
static inline enum online_result online_write(struct contract_online *b, const char *id, uint32_t feature,
					      const char *text, struct online_when when)
{
	struct value *v = text ? value_create(str_from(text)) : NULL;
	struct online_batch *m = online_begin(b, ONLINE_PUT);
	assert_true(online_batch_put(m, ONLINE_KIND, str_from(id),
				     &(struct online_change){ .feature = feature,
							      .value = v,
							      .meta = { .event_time_us = when.time_us,
									.event_time_ns = when.ns,
									.lsn = when.lsn,
									.written_us = 77,
									.expires_us = when.expires_us,
									.flags = ONLINE_PUSHED } },
				     1));
	value_unref(v);
	return online_do(b, m)->rows[0].changes[0].result;
}

static inline enum online_result online_remove(struct contract_online *b, const char *id, int64_t time_us, uint64_t lsn)
{
	struct online_batch *m = online_begin(b, ONLINE_DELETE);
	assert_true(online_batch_delete(m, ONLINE_KIND, str_from(id),
					&(struct online_meta){ .event_time_us = time_us, .lsn = lsn }));
	return online_do(b, m)->rows[0].result;
}

static inline const struct online_get *online_look(struct contract_online *b, const char *id, uint32_t feature)
{
	struct online_batch *m = online_begin(b, ONLINE_GET);
	assert_true(online_batch_get(m, ONLINE_KIND, str_from(id), &feature, 1));
	const struct online_rows *rows = online_do(b, m);
	assert_int_equal(rows->rows[0].result, ONLINE_APPLIED);
	return &rows->rows[0].gets[0];
}

/* text NULL: there is none. */
static inline void online_expect(struct contract_online *b, const char *id, uint32_t feature, const char *text)
{
	const struct online_get *g = online_look(b, id, feature);
	const char *found = g->cell.value ? g->cell.value->json : NULL;
	if ((found == NULL) != (text == NULL) || (found && strcmp(found, text) != 0))
		fail_msg("%s: %s[%u] is %s instead of %s", b->name, id, feature, found ? found : "not there",
			 text ? text : "nothing");
	assert_int_equal(g->trace.is_live, found != NULL);
}

static inline int online_setup(void **state)
{
	struct contract_online *b = *state;
	b->open(b);
	return 0;
}

static inline int online_teardown(void **state)
{
	struct contract_online *b = *state;
	if (b->set_fault)
		b->set_fault(b, CONTRACT_WELL);
	b->close(b);
	return 0;
}

/* ---- what it must do ---- */

#define AT(time_us, lsn)                                                                                               \
	(struct online_when)                                                                                           \
	{                                                                                                              \
		(time_us), (lsn), 0, 0                                                                                 \
	}

static void online_finds_what_was_put(void **state)
{
	struct contract_online *b = *state;
	char large[5000];
	memset(large, 'x', sizeof large);
	large[0] = large[sizeof large - 2] = '"';
	large[sizeof large - 1] = '\0';
	online_expect(b, "u", 1, NULL);
	assert_false(online_look(b, "u", 1)->trace.is_known);
	assert_int_equal(online_write(b, "u", 1, "12.5", (struct online_when){ 1000, 7, 300, 0 }), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 2, large, AT(1000, 7)), ONLINE_APPLIED);
	online_expect(b, "u", 1, "12.5");
	online_expect(b, "u", 2, large);
	online_expect(b, "u", 3, NULL);
	online_expect(b, "", 1, NULL);
	assert_int_equal(online_write(b, "", 1, "true", AT(1, 1)), ONLINE_APPLIED);
	online_expect(b, "", 1, "true");
	const struct online_get *g = online_look(b, "u", 1);
	assert_int_equal(g->cell.meta.event_time_us, 1000);
	assert_int_equal(g->cell.meta.event_time_ns, 300);
	assert_int_equal(g->cell.meta.lsn, 7);
	assert_int_equal(g->cell.meta.written_us, 77);
	assert_int_equal(g->cell.meta.expires_us, 0);
	assert_int_equal(g->cell.meta.flags, ONLINE_PUSHED);
	assert_true(g->trace.is_known);
	assert_int_equal(g->trace.event_time_us, 1000);
	assert_int_equal(g->trace.lsn, 7);
	/* Another kind has rows of its own. */
	struct online_batch *m = online_begin(b, ONLINE_GET);
	assert_true(online_batch_get(m, ONLINE_OTHER_KIND, STR("u"), &(uint32_t){ 1 }, 1));
	assert_null(online_do(b, m)->rows[0].gets[0].cell.value);
}

static void online_keeps_the_newer(void **state)
{
	struct contract_online *b = *state;
	assert_int_equal(online_write(b, "u", 1, "5", AT(50, 5)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 1, "4", AT(49, 9)), ONLINE_STALE); /* the time first */
	assert_int_equal(online_write(b, "u", 1, "4", AT(50, 4)), ONLINE_STALE); /* then the LSN */
	online_expect(b, "u", 1, "5");
	assert_int_equal(online_write(b, "u", 1, "6", AT(50, 6)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 1, "7", AT(50, 6)), ONLINE_APPLIED); /* of the same, what comes later */
	online_expect(b, "u", 1, "7");
	assert_int_equal(online_write(b, "u", 1, "8", (struct online_when){ 50, 1, 1, 0 }), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 1, "9", AT(50, 99)), ONLINE_STALE); /* nanoseconds are time */
	online_expect(b, "u", 1, "8");
}

static void online_deletes_a_cell(void **state)
{
	struct contract_online *b = *state;
	assert_int_equal(online_write(b, "u", 1, "5", AT(50, 5)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 2, "5", AT(50, 5)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 1, NULL, AT(40, 4)), ONLINE_STALE);
	assert_int_equal(online_write(b, "u", 1, NULL, AT(50, 5)), ONLINE_APPLIED); /* of a tie the delete wins */
	online_expect(b, "u", 1, NULL);
	online_expect(b, "u", 2, "5");
	const struct online_trace *t = &online_look(b, "u", 1)->trace;
	assert_true(t->is_known && !t->is_expired);
	assert_int_equal(t->event_time_us, 50);
	assert_int_equal(t->cell_time_us, 50);
	assert_int_equal(t->lsn, 5);
	assert_int_equal(online_write(b, "u", 1, "6", AT(50, 5)), ONLINE_STALE);
	assert_int_equal(online_write(b, "u", 1, "6", AT(60, 4)), ONLINE_STALE); /* written before it */
	assert_int_equal(online_write(b, "u", 1, "6", AT(49, 6)), ONLINE_STALE); /* true before it */
	assert_int_equal(online_write(b, "u", 1, NULL, AT(50, 5)), ONLINE_STALE);
	assert_int_equal(online_write(b, "u", 1, "6", AT(51, 6)), ONLINE_APPLIED);
	online_expect(b, "u", 1, "6");
	assert_int_equal(online_write(b, "new", 1, NULL, AT(10, 1)), ONLINE_APPLIED); /* before there is a row */
	assert_int_equal(online_write(b, "new", 1, "1", AT(9, 2)), ONLINE_STALE);
}

static void online_deletes_a_row(void **state)
{
	struct contract_online *b = *state;
	assert_int_equal(online_write(b, "u", 1, "1", AT(50, 5)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 2, "2", AT(90, 3)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 3, "3", AT(90, 9)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "w", 1, "1", AT(50, 5)), ONLINE_APPLIED);
	assert_int_equal(online_remove(b, "u", 60, 6), ONLINE_APPLIED);
	online_expect(b, "u", 1, NULL);
	online_expect(b, "u", 2, NULL); /* its time lies ahead, but it was written before */
	online_expect(b, "u", 3, "3");
	online_expect(b, "w", 1, "1");
	const struct online_trace *t = &online_look(b, "u", 7)->trace; /* also of a cell that never was */
	assert_true(t->is_known);
	assert_int_equal(t->event_time_us, 60);
	assert_int_equal(t->cell_time_us, INT64_MIN);
	assert_int_equal(t->lsn, 6);
	assert_int_equal(online_write(b, "u", 1, "4", AT(70, 5)), ONLINE_STALE);
	assert_int_equal(online_write(b, "u", 7, "4", AT(60, 7)), ONLINE_APPLIED); /* later in the log, at its time */
	assert_int_equal(online_remove(b, "u", 59, 6), ONLINE_STALE);
	assert_int_equal(online_write(b, "u", 1, "4", AT(61, 7)), ONLINE_APPLIED);
	online_expect(b, "u", 1, "4");
	assert_int_equal(online_remove(b, "nobody", 60, 6), ONLINE_APPLIED); /* remembers that too */
	assert_int_equal(online_write(b, "nobody", 1, "4", AT(59, 9)), ONLINE_STALE);
	/* It takes the deletes of cells that were written before it, and leaves the later ones. */
	assert_int_equal(online_write(b, "v", 1, NULL, AT(90, 1)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "v", 2, NULL, AT(90, 3)), ONLINE_APPLIED);
	assert_int_equal(online_remove(b, "v", 60, 2), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "v", 1, NULL, AT(90, 1)), ONLINE_STALE);
	assert_int_equal(online_write(b, "v", 1, "1", AT(61, 4)), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "v", 2, "2", AT(61, 4)), ONLINE_STALE);
}

static void online_forgets_what_has_expired(void **state)
{
	struct contract_online *b = *state;
	int64_t now_us = online_now_us(b);
	assert_int_equal(online_write(b, "u", 1, "1", (struct online_when){ 50, 5, 0, now_us - 1 }), ONLINE_APPLIED);
	assert_int_equal(online_write(b, "u", 2, "2", (struct online_when){ 50, 5, 0, now_us + 3600 * 1000000ll }),
			 ONLINE_APPLIED);
	online_expect(b, "u", 1, NULL);
	online_expect(b, "u", 2, "2");
	assert_true(online_look(b, "u", 2)->trace.is_live);
	const struct online_trace *t = &online_look(b, "u", 1)->trace;
	assert_true(t->is_expired || !t->is_known); /* who says more says this */
	assert_int_equal(online_write(b, "u", 1, "3", AT(51, 6)), ONLINE_APPLIED);
	online_expect(b, "u", 1, "3");
}

static void online_refuses_an_id_that_is_too_long(void **state)
{
	struct contract_online *b = *state;
	char id[ONLINE_ID_MAX + 2];
	memset(id, 'i', sizeof id);
	id[ONLINE_ID_MAX + 1] = '\0';
	assert_int_equal(online_write(b, id, 1, "1", AT(1, 1)), ONLINE_FULL);
	assert_int_equal(online_remove(b, id, 1, 1), ONLINE_FULL);
	online_expect(b, id, 1, NULL);
	id[ONLINE_ID_MAX] = '\0';
	assert_int_equal(online_write(b, id, 1, "1", AT(1, 1)), ONLINE_APPLIED);
	online_expect(b, id, 1, "1");
}

/* Many rows and many cells of one in one message: each has its own answer, in its place. */
static void online_answers_each_cell(void **state)
{
	enum { ROWS = 12 };
	struct contract_online *b = *state;
	struct online_change changes[ONLINE_TOGETHER_MAX];
	uint32_t features[ONLINE_TOGETHER_MAX];
	struct value *v = value_create(STR("\"a text that is longer than a cell has room for\""));
	assert_int_equal(online_write(b, "row3", 5, "0", AT(99, 9)), ONLINE_APPLIED);
	for (uint32_t i = 0; i < ONLINE_TOGETHER_MAX; i++) {
		features[i] = i;
		changes[i] = (struct online_change){ .feature = i,
						     .value = v,
						     .meta = { .event_time_us = 50, .lsn = 5 } };
	}
	struct online_batch *put = online_begin(b, ONLINE_PUT), *get = online_begin(b, ONLINE_GET);
	for (uint32_t i = 0; i < ROWS; i++) {
		char id[16];
		snprintf(id, sizeof id, "row%u", i);
		assert_true(online_batch_put(put, ONLINE_KIND, str_from(id), changes, ONLINE_TOGETHER_MAX));
		assert_true(online_batch_get(get, ONLINE_KIND, str_from(id), features, ONLINE_TOGETHER_MAX));
	}
	value_unref(v);
	const struct online_rows *rows = online_do(b, put), *found = online_do(b, get);
	assert_int_equal(rows->count, ROWS);
	for (uint32_t i = 0; i < ROWS; i++)
		for (uint32_t k = 0; k < ONLINE_TOGETHER_MAX; k++) {
			bool is_older = i == 3 && k == 5;
			assert_int_equal(rows->rows[i].changes[k].result, is_older ? ONLINE_STALE : ONLINE_APPLIED);
			assert_non_null(found->rows[i].gets[k].cell.value);
			assert_int_equal(found->rows[i].gets[k].cell.meta.event_time_us, is_older ? 99 : 50);
		}
}

/* A maker says when a message is full, and the message is whole. */
static void online_bounds_a_message(void **state)
{
	struct contract_online *b = *state;
	uint32_t features[ONLINE_TOGETHER_MAX + 1] = { 0 }, rows = 0;
	struct online_batch *m = online_begin(b, ONLINE_GET);
	assert_false(online_batch_get(m, ONLINE_KIND, STR("u"), features, ONLINE_TOGETHER_MAX + 1));
	for (; online_batch_get(m, ONLINE_KIND, STR("u"), features, ONLINE_TOGETHER_MAX); rows++)
		assert_true(rows < ONLINE_BATCH_CELLS_MAX / ONLINE_TOGETHER_MAX);
	assert_int_equal(rows, ONLINE_BATCH_CELLS_MAX / ONLINE_TOGETHER_MAX);
	assert_int_equal(online_do(b, m)->count, rows);
	m = online_begin(b, ONLINE_DELETE);
	const struct online_meta when = { .event_time_us = 1, .lsn = 1 };
	for (rows = 0; online_batch_delete(m, ONLINE_KIND, STR("u"), &when); rows++)
		assert_true(rows < ONLINE_BATCH_ROWS_MAX);
	assert_int_equal(rows, ONLINE_BATCH_ROWS_MAX);
	assert_int_equal(online_do(b, m)->rows[rows - 1].result, ONLINE_STALE); /* the first of them was as new */
	/* By bytes; a single value of any size fits. */
	struct buf text = { 0 };
	assert_true(buf_reserve(&text, ONLINE_BATCH_BYTES_MAX + 16));
	memset(text.p, '1', text.cap);
	struct online_change large = { .value = value_create(str_of(text.p, ONLINE_BATCH_BYTES_MAX + 1)) };
	assert_non_null(large.value);
	m = online_begin(b, ONLINE_PUT);
	assert_true(online_batch_put(m, ONLINE_KIND, STR("a"), &large, 1));
	assert_false(online_batch_put(m, ONLINE_KIND, STR("b"), &large, 1));
	assert_int_equal(m->what->count, 1);
	online_do(b, m);
	value_unref(large.value);
	buf_finish(&text);
}

/* All kinds at once, some with hardly any patience: each ends once. */
static void online_ends_each_ask_once(void **state)
{
	enum { N = 300 };
	struct contract_online *b = *state;
	struct contract_ask *asks[N];
	struct value *v = value_create(STR("1"));
	if (b->is_fast) {
		value_unref(v);
		skip();
	}
	if (b->set_fault)
		b->set_fault(b, CONTRACT_SOME_OF_EACH);
	for (uint32_t i = 0; i < N; i++) {
		static const enum online_msg kinds[] = { ONLINE_GET, ONLINE_PUT, ONLINE_DELETE };
		struct online_batch *m = online_begin(b, kinds[i % 3]);
		struct online_change change = { .value = v, .meta = { .event_time_us = i, .lsn = i } };
		if (i % 3 == 0)
			online_batch_get(m, ONLINE_KIND, STR("u"), &(uint32_t){ 0 }, 1);
		else if (i % 3 == 1)
			online_batch_put(m, ONLINE_KIND, STR("u"), &change, 1);
		else
			online_batch_delete(m, ONLINE_KIND, STR("u"), &change.meta);
		asks[i] = contract_ask_for(&b->c, b->store.per_loop[0], &m->head, i % 4 ? 5000 : 1);
	}
	value_unref(v);
	for (uint32_t i = 0; i < N; i++) {
		const struct msg *m = contract_wait(&b->c, asks[i]);
		assert_true(m->kind == ONLINE_DONE || m->kind == RT_DEADLINE);
	}
	contract_assert_one_ending_each(&b->c);
}

/* What was refused is not there, what nobody answered for may be, and both may be asked again. */
static void online_fails_cell_by_cell(void **state)
{
	struct contract_online *b = *state;
	if (b->set_fault == NULL)
		skip();
	struct value *v = value_create(STR("1"));
	const struct online_change change = { .feature = 1, .value = v, .meta = { .event_time_us = 50, .lsn = 5 } };
	static const enum contract_online_fault faults[] = { CONTRACT_REFUSES, CONTRACT_FAILS_ROWS,
							     CONTRACT_IS_SILENT };
	for (size_t i = 0; i < 3; i++) {
		struct online_batch *m = online_begin(b, ONLINE_PUT);
		assert_true(online_batch_put(m, ONLINE_KIND, STR("u"), &change, 1));
		b->set_fault(b, faults[i]);
		const struct msg *end = contract_wait(&b->c,
						      contract_ask_for(&b->c, b->store.per_loop[0], &m->head, 500));
		b->set_fault(b, CONTRACT_WELL);
		assert_int_equal(end->kind, faults[i] == CONTRACT_IS_SILENT ? RT_DEADLINE : ONLINE_DONE);
		if (end->kind == ONLINE_DONE) {
			assert_int_equal(end->status, faults[i] == CONTRACT_REFUSES ? RT_EIO : RT_OK);
			assert_int_equal(((const struct online_batch *)end)->what->rows[0].changes[0].result,
					 ONLINE_FAILED);
		}
		online_expect(b, "u", 1, faults[i] == CONTRACT_IS_SILENT ? "1" : NULL);
	}
	value_unref(v);
	assert_int_equal(online_write(b, "u", 1, "1", AT(50, 5)), ONLINE_APPLIED); /* the same again changes nothing */
	online_expect(b, "u", 1, "1");
	struct online_batch *m = online_begin(b, ONLINE_GET);
	assert_true(online_batch_get(m, ONLINE_KIND, STR("u"), &(uint32_t){ 1 }, 1));
	b->set_fault(b, CONTRACT_FAILS_ROWS);
	const struct online_row_batch *row = &online_do(b, m)->rows[0];
	assert_int_equal(row->result, ONLINE_FAILED); /* not: there is none */
	assert_null(row->gets[0].cell.value);
}

/* Two ways in, each with a store of its own, are asked the same: after each write the row answers the same. */
static inline void online_compare(struct contract_online *x, struct contract_online *y, uint64_t seed)
{
	enum { OPS = 400, FEATURES = 3 };
	struct contract_online *both[2] = { x, y };
	uint64_t chance = seed * 2654435761u + 1;
	for (int op = 0; op < OPS; op++) {
		char id[2] = { 'a', '\0' }, text[16];
		enum online_result results[2];
		const struct online_rows *rows[2];
		chance = chance * 6364136223846793005u + 1442695040888963407u;
		uint64_t r = chance >> 20;
		id[0] = (char)('a' + r % 3);
		uint32_t feature = (uint32_t)(r >> 4) % FEATURES;
		struct online_when when = { (int64_t)(r >> 8) % 12, (r >> 16) % 12 + 1, (r >> 24) % 2, 0 };
		bool is_row = (r >> 28) % 8 == 0, is_delete = (r >> 32) % 4 == 0;
		snprintf(text, sizeof text, "%d", op);
		for (int i = 0; i < 2; i++) {
			results[i] = is_row ? online_remove(both[i], id, when.time_us, when.lsn)
					    : online_write(both[i], id, feature, is_delete ? NULL : text, when);
			struct online_batch *m = online_begin(both[i], ONLINE_GET);
			assert_true(
			    online_batch_get(m, ONLINE_KIND, str_from(id), (const uint32_t[]){ 0, 1, 2 }, FEATURES));
			rows[i] = online_do(both[i], m);
		}
		if (results[0] != results[1])
			fail_msg("seed %d, write %d: %s says %d, %s says %d", (int)seed, op, x->name, results[0],
				 y->name, results[1]);
		for (uint32_t f = 0; f < FEATURES; f++) {
			const struct online_get *g = &rows[0]->rows[0].gets[f], *h = &rows[1]->rows[0].gets[f];
			const char *a = g->cell.value ? g->cell.value->json : "none";
			const char *c = h->cell.value ? h->cell.value->json : "none";
			bool is_same = strcmp(a, c) == 0 && g->trace.is_known == h->trace.is_known &&
				       g->trace.event_time_us == h->trace.event_time_us &&
				       g->trace.cell_time_us == h->trace.cell_time_us && g->trace.lsn == h->trace.lsn;
			if (!is_same)
				fail_msg("seed %d, write %d: %s[%u] is %s (%d, %d) by %s, %s (%d, %d) by %s", (int)seed,
					 op, id, f, a, (int)g->trace.event_time_us, (int)g->trace.lsn, x->name, c,
					 (int)h->trace.event_time_us, (int)h->trace.lsn, y->name);
		}
	}
}

#define ONLINE_TEST(f, b)                                                                                              \
	{                                                                                                              \
#b ": " #f, f, online_setup, online_teardown, (b)                                                      \
	}
/* For a static array of struct CMUnitTest: all of them with backend b. */
#define CONTRACT_ONLINE_TESTS(b)                                                                                       \
	ONLINE_TEST(online_finds_what_was_put, b), ONLINE_TEST(online_keeps_the_newer, b),                             \
	    ONLINE_TEST(online_deletes_a_cell, b), ONLINE_TEST(online_deletes_a_row, b),                               \
	    ONLINE_TEST(online_forgets_what_has_expired, b), ONLINE_TEST(online_refuses_an_id_that_is_too_long, b),    \
	    ONLINE_TEST(online_answers_each_cell, b), ONLINE_TEST(online_bounds_a_message, b),                         \
	    ONLINE_TEST(online_ends_each_ask_once, b), ONLINE_TEST(online_fails_cell_by_cell, b)
