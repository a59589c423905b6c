/* The contract of the offline store: what every backend and every fake must do that answers the messages of store/offline/offline.h. A
 * program gives a struct contract_offline for each and runs CONTRACT_OFFLINE_TESTS. The statements are in offline_statements: a
 * fake has them in its script, a store runs them over its tables.
 *
 *     point                                          DuckDB   offline_fake                        Postgres
 *     queries, features by ids, rows in batches,     yes      yes                                 yes
 *     refused statements, lost cursors, one ending
 *     values of the past                             yes      ttl, tombstones, versions: no       no
 *     parameters, too many rows, a client's SQL      yes      no: it does not read SQL            yes
 *     a deadline stops a statement                   yes      yes (it answers late, or never)     yes
 *     what was durable when a question arrived       yes      no: it does not read SQL            yes
 *     cells of the history, now and as of a time     yes      yes                                 no
 *     tables, checks of SQL, the newest values       yes      no: it is an actor only             no: only checks of SQL
 *     the newest values in batches                   yes      from its script (actors' tests)     no
 */
#pragma once
#include "store/evidence/entries.h"
#include "store/offline/offline.h"
#include "tests/contract/contract.h"

enum contract_offline_lacks {
	CONTRACT_LACKS_SQL = 1,
	CONTRACT_LACKS_QUERIES_OF_LOG = 2,
	CONTRACT_LACKS_CALLS = 4,
	CONTRACT_LACKS_PAST = 8
};

struct contract_offline {
	const char *name;
	unsigned lacks;                           /* enum contract_offline_lacks */
	void (*open)(struct contract_offline *b); /* with the tables of offline_tables */
	void (*close)(struct contract_offline *b);
	/* Makes an entry durable, behind the store's back. */
	void (*append)(struct contract_offline *b, struct evidence_entry *e); /* moves e */
	int64_t written_us;                                                   /* which append says */
	const char *slow_sql; /* a statement that would take for ever; NULL: as DuckDB spells one */
	/* by open */
	struct contract c;
	struct offline_store store;
};

/* ---- what is in it ---- */

static const struct offline_statement {
	const char *name, *sql; /* of a table */
	const char *json;       /* its rows, in the order of its first column */
} offline_tables[] = {
	{ "prices", "SELECT * FROM (VALUES ('a', 1), ('b', 2), ('c', NULL)) t(id, v)",
	  "[{\"id\":\"a\",\"v\":1},{\"id\":\"b\",\"v\":2},{\"id\":\"c\",\"v\":null}]" },
	{ "numbers", "SELECT * FROM (VALUES (7, 'x'), (8, 'y')) t(id, v)",
	  "[{\"id\":7,\"v\":\"x\"},{\"id\":8,\"v\":\"y\"}]" },
	{ "doubled", "SELECT * FROM (VALUES ('a', 1), ('a', 2), ('a', 3), ('b', 4)) t(id, v)",
	  "[{\"id\":\"a\",\"v\":1},{\"id\":\"a\",\"v\":2},{\"id\":\"a\",\"v\":3},{\"id\":\"b\",\"v\":4}]" },
};

/* ---- asking ---- */

static inline const struct offline_result *offline_ask(struct contract_offline *b, struct offline_query *m)
{
	struct msg *answer = contract_wait(&b->c, contract_ask(&b->c, b->store.requests, &m->head));
	assert_int_equal(answer->kind, OFFLINE_RESULT);
	return (const struct offline_result *)answer;
}

static inline const struct offline_result *offline_sql(struct contract_offline *b, const char *sql, const char *params)
{
	return offline_ask(b, offline_query_new(contract_maker(&b->c), str_from(sql), str_from(params)));
}

static inline const struct offline_batch *offline_batch_of(struct contract_offline *b, struct msg *m)
{
	struct msg *answer = contract_wait(&b->c, contract_ask(&b->c, b->store.background, m));
	assert_int_equal(answer->kind, OFFLINE_BATCH);
	return (const struct offline_batch *)answer;
}

static inline const struct offline_batch *offline_ids(struct contract_offline *b, const char *sql,
						      const char *const *ids, uint32_t count)
{
	struct offline_feature *m = offline_feature_new(contract_maker(&b->c), str_from(sql), STR("id"), STR("v"),
							count);
	for (uint32_t i = 0; i < count; i++)
		offline_feature_add(m, str_from(ids[i]));
	return offline_batch_of(b, &m->head);
}

/* The rows as "key=value ", in the order of keys and values. */
static inline void offline_assert_rows(const struct offline_batch *m, const char *wanted)
{
	struct buf text = { 0 };
	bool *is_told = calloc(m->count + 1, sizeof *is_told);
	for (uint32_t n = 0; n < m->count; n++) {
		const struct offline_row *least = NULL;
		for (uint32_t i = 0; i < m->count; i++) {
			const struct offline_row *r = &m->rows[i];
			int order = least == NULL ? -1 : str_cmp(r->key, least->key);
			if (!is_told[i] && (order < 0 || (order == 0 && str_cmp(r->value_json, least->value_json) < 0)))
				least = r;
		}
		is_told[least - m->rows] = true;
		buf_printf(&text, "%.*s=%.*s ", STR_ARG(least->key), STR_ARG(least->value_json));
	}
	buf_append_char(&text, '\0');
	assert_int_equal(m->head.status, RT_OK);
	assert_string_equal(text.p, wanted);
	buf_finish(&text);
	free(is_told);
}

/* ---- tests; *state is the backend ---- */

static inline int offline_setup(void **state)
{
	struct contract_offline *b = *state;
	b->open(b);
	return 0;
}

static inline int offline_teardown(void **state)
{
	struct contract_offline *b = *state;
	b->close(b);
	return 0;
}

static void offline_answers_queries(void **state)
{
	struct contract_offline *b = *state;
	const struct offline_result *m = offline_sql(b, "SELECT id, v FROM prices ORDER BY id", NULL);
	assert_int_equal(m->head.status, RT_OK);
	assert_int_equal(m->rows, 3);
	assert_true(str_eq(buf_str(&m->json), str_from(offline_tables[0].json)));
	m = offline_sql(b, "SELECT id, v FROM missing", NULL);
	assert_int_equal(m->head.status, RT_EINVAL);
	assert_int_equal(m->rows, 0);
	assert_true(m->json.n > 0);
	assert_null(memchr(m->json.p, '\n', m->json.n)); /* one line, for people */
}

static void offline_reads_sql(void **state)
{
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_SQL)
		skip();
	const struct offline_result *m = offline_sql(b, "SELECT v FROM prices WHERE id = ?", "[\"b\"]");
	assert_true(str_eq(buf_str(&m->json), STR("[{\"v\":2}]")));
	assert_int_equal(offline_sql(b, "SELECT 1 AS a", "{}")->head.status, RT_EINVAL);
	struct offline_query *q = offline_query_new(contract_maker(&b->c), STR("SELECT id FROM prices"), STR("[]"));
	q->rows_max = 2;
	assert_int_equal(offline_ask(b, q)->head.status, RT_ETOOBIG);
	static const char *const of_no_client[] = { "SELECT * FROM read_text('/etc/hostname')", "SET threads = 1",
						    "INSERT INTO prices VALUES ('d', 4)", "SELECT 1; SELECT 2" };
	for (size_t i = 0; i < ARRAY_LEN(of_no_client); i++) {
		q = offline_query_new(contract_maker(&b->c), str_from(of_no_client[i]), STR("[]"));
		q->tables_only = true;
		assert_int_equal(offline_ask(b, q)->head.status, RT_EINVAL);
	}
	q = offline_query_new(contract_maker(&b->c), STR("SELECT id FROM prices WHERE id > 'b'"), STR("[]"));
	q->tables_only = true;
	assert_true(str_eq(buf_str(&offline_ask(b, q)->json), STR("[{\"id\":\"c\"}]")));
}

static void offline_narrows_features(void **state)
{
	struct contract_offline *b = *state;
	static const char *const letters[] = { "c", "zz", "a" }, *const digits[] = { "8", "9" },
				 *const twice[] = { "a", "b" };
	const struct offline_batch *m = offline_ids(b, "SELECT id, v FROM prices", letters, 3);
	offline_assert_rows(m, "a=1 c=null ");
	assert_true(m->last);
	offline_assert_rows(offline_ids(b, "SELECT id, v FROM numbers", digits, 2), "8=\"y\" "); /* an id is text */
	m = offline_ids(b, "SELECT id, v FROM doubled", twice, 2);
	assert_int_equal(m->head.status, RT_OK);
	assert_int_equal(m->count, 3); /* two of several say that there are several */
	m = offline_ids(b, "SELECT id, v FROM missing", letters, 3);
	assert_int_equal(m->head.status, RT_EINVAL);
	assert_true(m->error.n > 0);
	assert_int_equal(m->count, 0);
}

static void offline_gives_rows_in_batches(void **state)
{
	struct contract_offline *b = *state;
	struct loop *loop = contract_maker(&b->c);
	const struct str id = STR("id"), v = STR("v");
	struct buf seen[2] = { { 0 }, { 0 } };
	static const char *const sql[2] = { "SELECT id, v FROM prices ORDER BY id",
					    "SELECT id, v FROM numbers ORDER BY id" };
	const struct offline_batch *m[2];
	for (int i = 0; i < 2; i++)
		m[i] = offline_batch_of(b, &offline_rows_new(loop, str_from(sql[i]), id, v)->head);
	for (bool is_open = true; is_open;) { /* two at once */
		is_open = false;
		for (int i = 0; i < 2; i++) {
			if (m[i] == NULL)
				continue;
			assert_int_equal(m[i]->head.status, RT_OK);
			for (uint32_t n = 0; n < m[i]->count; n++)
				buf_printf(&seen[i], "%.*s=%.*s ", STR_ARG(m[i]->rows[n].key),
					   STR_ARG(m[i]->rows[n].value_json));
			m[i] = m[i]->last ? NULL : offline_batch_of(b, &offline_rows_next(loop, m[i]->cursor)->head);
			is_open |= m[i] != NULL;
		}
	}
	assert_true(str_eq(buf_str(&seen[0]), STR("a=1 b=2 c=null ")));
	assert_true(str_eq(buf_str(&seen[1]), STR("7=\"x\" 8=\"y\" ")));
	buf_finish(&seen[0]);
	buf_finish(&seen[1]);
	/* Not one row of a statement that gives a key twice. */
	const struct offline_batch *several =
	    offline_batch_of(b, &offline_rows_new(loop, STR("SELECT id, v FROM doubled"), id, v)->head);
	assert_int_equal(several->head.status, RT_EINVAL);
	assert_int_equal(several->count, 0);
	assert_true(several->last);
	assert_true(str_eq(several->error, STR("several rows for id 'a'; aggregate, or select one of them")));
	assert_int_equal(offline_batch_of(b, &offline_rows_next(loop, 123456)->head)->head.status, RT_EINVAL);
	assert_int_equal(offline_batch_of(b, &offline_rows_new(loop, STR("SELECT id, v FROM missing"), id, v)->head)
			     ->head.status,
			 RT_EINVAL);
}

/* All kinds at once, some with no patience: each ends once, and those that had the time have their answer. */
static void offline_ends_each_ask_once(void **state)
{
	enum { N = 120 };
	struct contract_offline *b = *state;
	struct loop *loop = contract_maker(&b->c);
	struct contract_ask *asks[N];
	for (unsigned i = 0; i < N; i++) {
		struct offline_feature *feature = NULL;
		struct msg *m;
		switch (i % 3) {
		case 0:
			m = &offline_query_new(loop, STR("SELECT id, v FROM prices ORDER BY id"), STR("[]"))->head;
			break;
		case 1:
			feature = offline_feature_new(loop, STR("SELECT id, v FROM prices"), STR("id"), STR("v"), 1);
			offline_feature_add(feature, STR("a"));
			m = &feature->head;
			break;
		default:
			m = &offline_rows_new(loop, STR("SELECT id, v FROM numbers"), STR("id"), STR("v"))->head;
		}
		asks[i] = contract_ask_for(&b->c, b->store.requests, m, i % 4 ? CONTRACT_PATIENCE_MS : 1);
	}
	for (unsigned i = 0; i < N; i++) {
		const struct msg *m = contract_wait(&b->c, asks[i]);
		if (i % 4)
			assert_int_equal(m->kind, i % 3 ? OFFLINE_BATCH : OFFLINE_RESULT);
		else
			assert_true(m->kind == OFFLINE_BATCH || m->kind == OFFLINE_RESULT || m->kind == RT_DEADLINE);
	}
	contract_assert_one_ending_each(&b->c);
}

/* A statement that would take for ever ends with its asker's patience, and holds up nobody for longer. */
static void offline_stops_at_the_deadline(void **state)
{
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_SQL)
		skip();
	struct offline_query *q = offline_query_new(
	    contract_maker(&b->c),
	    b->slow_sql ? str_from(b->slow_sql)
			: STR("SELECT sum(a.range * b.range % 7) AS s FROM range(10000000) a, range(10000000) b"),
	    (struct str){ 0 });
	const struct msg *m = contract_wait(&b->c, contract_ask_for(&b->c, b->store.requests, &q->head, 200));
	assert_true(m->kind == RT_DEADLINE || (m->kind == OFFLINE_RESULT && m->status == RT_EDEADLINE));
	assert_int_equal(offline_sql(b, "SELECT 1 AS a", NULL)->rows, 1);
}

static inline struct evidence_entry *offline_value_entry(const char *id, const char *json, int64_t time_us)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	const struct entry_value v = { .entity_id = str_from(id),
				       .feature = STR("tier"),
				       .value_json = str_from(json),
				       .event_time_us = time_us };
	entry_values_write(&e->body, &(struct entry_values){
					 .entity = STR("User"), .source = ENTRY_PUSHED, .values = &v, .count = 1 });
	return e;
}

/* A question over schema fabra sees every entry that was durable when it arrived. */
static void offline_sees_what_was_durable(void **state)
{
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_QUERIES_OF_LOG)
		skip();
	for (int i = 1; i <= 20; i++) {
		char wanted[32];
		b->append(b, offline_value_entry("u1", "1", 1700000000000000 + i));
		snprintf(wanted, sizeof wanted, "[{\"n\":%d}]", i);
		const struct offline_result *m = offline_sql(b, "SELECT count(*) AS n FROM fabra.feature_history",
							     NULL);
		assert_int_equal(m->head.status, RT_OK);
		assert_true(str_eq(buf_str(&m->json), str_from(wanted)));
	}
}

/* ---- cells of the history ---- */

static inline void offline_append_value(struct contract_offline *b, enum entry_value_source source, const char *id,
					const char *feature, const char *json, int64_t time_us, uint16_t time_ns,
					const char *version, int64_t ttl_ms)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	const struct entry_value v = { .entity_id = str_from(id),
				       .feature = str_from(feature),
				       .value_json = str_from(json),
				       .event_time_us = time_us,
				       .event_time_ns = time_ns,
				       .version = str_from(version),
				       .ttl_ms = ttl_ms };
	entry_values_write(&e->body,
			   &(struct entry_values){ .entity = STR("User"), .source = source, .values = &v, .count = 1 });
	b->append(b, e);
}

static inline void offline_append_delete(struct contract_offline *b, const char *id, int64_t time_us)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_DELETE);
	entry_delete_write(&e->body, &(struct entry_delete){ STR("User"), str_from(id), time_us });
	b->append(b, e);
}

/* The answer to one cell, as text; version NULL: of any. */
static inline void offline_expect_as_of(struct contract_offline *b, int64_t as_of_us, const char *id,
					const char *feature, const char *version, const char *wanted)
{
	struct offline_as_of *m = offline_as_of_new(contract_maker(&b->c), as_of_us);
	assert_non_null(m);
	assert_true(offline_as_of_add(m, STR("User"), str_from(id), str_from(feature), str_from(version)));
	const struct msg *answer = contract_wait(&b->c, contract_ask(&b->c, b->store.requests, &m->head));
	assert_int_equal(answer->kind, OFFLINE_CELLS);
	assert_int_equal(answer->status, RT_OK);
	const struct offline_cell *c = &((const struct offline_as_of *)answer)->what->cells[0];
	struct buf text = { 0 };
	if (c->found == OFFLINE_VALUE)
		buf_printf(&text, "%.*s at %lld.%u lsn %llu ttl %lld source %u of %.*s", STR_ARG(c->value.value_json),
			   (long long)c->value.event_time_us, c->value.event_time_ns, (unsigned long long)c->value.lsn,
			   (long long)c->value.ttl_ms, c->value.source, STR_ARG(c->value.version));
	else if (c->found == OFFLINE_TOMBSTONE)
		buf_printf(&text, "%s gone at %lld lsn %llu", c->is_of_row ? "row" : "cell",
			   (long long)c->value.event_time_us, (unsigned long long)c->value.lsn);
	else
		buf_append_lit(&text, "nothing");
	buf_append_char(&text, '\0');
	assert_string_equal(text.p, wanted);
	buf_finish(&text);
}

static void offline_knows_the_newest(void **state)
{
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_PAST)
		skip();
	const int64_t now = INT64_MAX;
	offline_expect_as_of(b, now, "u1", "tier", "", "nothing");
	offline_append_value(b, ENTRY_PUSHED, "u1", "tier", "1", 100, 5, "", 0);
	offline_expect_as_of(b, now, "u1", "tier", "", "1 at 100.5 lsn 1 ttl 0 source 2 of "); /* durable, so seen */
	offline_append_value(b, ENTRY_TRIGGERED, "u1", "tier", "2", 100, 6, "", 7000);
	offline_append_value(b, ENTRY_PUSHED, "u1", "tier", "\"late\"", 99, 0, "", 0);
	offline_expect_as_of(b, now, "u1", "tier", "", "2 at 100.6 lsn 2 ttl 7000 source 4 of ");
	offline_append_value(b, ENTRY_PUSHED, "u1", "tier", "4", 100, 6, "", 0); /* of a tie the later */
	offline_expect_as_of(b, now, "u1", "tier", "", "4 at 100.6 lsn 4 ttl 0 source 2 of ");
	offline_expect_as_of(b, now, "u1", "other", "", "nothing");
	offline_expect_as_of(b, now, "u2", "tier", "", "nothing");
	/* Each version for itself. */
	offline_append_value(b, ENTRY_TRIGGERED, "u1", "tier", "5", 90, 0, "v2", 0);
	offline_expect_as_of(b, now, "u1", "tier", "v2", "5 at 90.0 lsn 5 ttl 0 source 4 of v2");
	offline_expect_as_of(b, now, "u1", "tier", "v3", "nothing");
	offline_expect_as_of(b, now, "u1", "tier", NULL, "4 at 100.6 lsn 4 ttl 0 source 2 of ");
	/* As of a time: what was true then, by event time. */
	offline_expect_as_of(b, 99, "u1", "tier", "", "\"late\" at 99.0 lsn 3 ttl 0 source 2 of ");
	offline_expect_as_of(b, 98, "u1", "tier", "", "nothing");
	offline_expect_as_of(b, 98, "u1", "tier", NULL, "5 at 90.0 lsn 5 ttl 0 source 4 of v2");
}

static void offline_knows_what_is_gone(void **state)
{
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_PAST)
		skip();
	const int64_t now = INT64_MAX;
	offline_append_value(b, ENTRY_PUSHED, "u1", "a", "1", 100, 0, "", 0);
	offline_append_value(b, ENTRY_PUSHED, "u1", "b", "1", 500, 0, "", 0); /* ahead of its delete */
	offline_append_value(b, ENTRY_PUSHED, "u1", "a", NULL, 600, 0, "", 0);
	offline_expect_as_of(b, now, "u1", "a", "", "cell gone at 600 lsn 3");
	offline_append_value(b, ENTRY_PUSHED, "u1", "a", "2", 550, 0, "", 0); /* true before its tombstone */
	offline_expect_as_of(b, now, "u1", "a", "", "cell gone at 600 lsn 3");
	offline_append_delete(b, "u1", 300); /* takes both, and the tombstone of a that lies ahead */
	offline_expect_as_of(b, now, "u1", "a", "", "row gone at 300 lsn 5");
	offline_expect_as_of(b, now, "u1", "b", "", "row gone at 300 lsn 5");
	offline_expect_as_of(b, now, "u1", "c", "", "row gone at 300 lsn 5");
	offline_append_value(b, ENTRY_PUSHED, "u1", "a", "3", 299, 0, "", 0);
	offline_expect_as_of(b, now, "u1", "a", "", "row gone at 300 lsn 5");
	offline_append_value(b, ENTRY_PUSHED, "u1", "a", "4", 300, 0, "", 0);
	offline_expect_as_of(b, now, "u1", "a", "", "4 at 300.0 lsn 7 ttl 0 source 2 of ");
	offline_expect_as_of(b, 299, "u1", "a", "", "3 at 299.0 lsn 6 ttl 0 source 2 of ");
	offline_expect_as_of(b, 300, "u1", "b", "", "row gone at 300 lsn 5");
	offline_expect_as_of(b, now, "u2", "a", "", "nothing");
}

/* Many at once, of several rows, some twice; ids and names that are no plain words. */
static void offline_answers_many_cells(void **state)
{
	enum { IDS = 40 };
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_PAST)
		skip();
	static const char *const features[] = { "a", "it's", "nobody's" };
	for (int i = 0; i < IDS; i++) {
		char id[32], json[16];
		snprintf(id, sizeof id, "o'%d\"\xc3\xa4 ?$1", i);
		snprintf(json, sizeof json, "%d", i);
		offline_append_value(b, ENTRY_PUSHED, id, features[i % 2], json, 100 + i, 0, "", 0);
	}
	struct offline_as_of *m = offline_as_of_new(contract_maker(&b->c), INT64_MAX);
	assert_non_null(m);
	for (int i = 0; i < 2 * IDS; i++) {
		char id[32];
		snprintf(id, sizeof id, "o'%d\"\xc3\xa4 ?$1", i % IDS);
		for (int k = 0; k < 3; k++)
			assert_true(offline_as_of_add(m, STR("User"), str_from(id), str_from(features[k]), STR("")));
	}
	assert_true(offline_as_of_add(m, STR("Other"), STR("o'0\"\xc3\xa4 ?$1"), STR("a"), STR("")));
	const struct msg *answer = contract_wait(&b->c, contract_ask(&b->c, b->store.requests, &m->head));
	assert_int_equal(answer->kind, OFFLINE_CELLS);
	const struct offline_cells *cells = ((const struct offline_as_of *)answer)->what;
	assert_int_equal(cells->count, 6 * IDS + 1);
	for (int i = 0; i < 6 * IDS; i++) {
		const struct offline_cell *c = &cells->cells[i];
		int id = i / 3 % IDS;
		assert_int_equal(c->found, i % 3 == id % 2 ? OFFLINE_VALUE : OFFLINE_NOTHING);
		if (c->found == OFFLINE_VALUE)
			assert_int_equal(atoi(c->value.value_json.p), id);
	}
	assert_int_equal(cells->cells[6 * IDS].found, OFFLINE_NOTHING);
	m = offline_as_of_new(contract_maker(&b->c), INT64_MAX);
	for (int i = 0; i < OFFLINE_CELLS_MAX; i++)
		assert_true(offline_as_of_add(m, STR("User"), STR("u"), STR("a"), STR("")));
	assert_false(offline_as_of_add(m, STR("User"), STR("u"), STR("a"), STR("")));
	answer = contract_wait(&b->c, contract_ask(&b->c, b->store.requests, &m->head));
	assert_true(answer->kind == OFFLINE_CELLS && answer->status == RT_OK);
}

/* A fake has this history in its script, for the entity User. */
#define OFFLINE_PAST_TIME 1600000000000000
#define OFFLINE_PAST_SCRIPT                                                                                            \
	"[{\"id\":\"p1\",\"feature\":\"tier\",\"value\":1,\"from_us\":1600000000000001},"                              \
	"{\"id\":\"p1\",\"feature\":\"tier\",\"value\":\"x\",\"from_us\":1600000000000003}]"

/* Of each moment and feature what was there by then; in their order; nothing where there was nothing. */
static void offline_gives_values_of_the_past(void **state)
{
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_PAST)
		skip();
	const struct str entity = STR("User"), known = STR("p1"), unknown = STR("p2");
	const struct offline_wanted features[] = { { 0, STR("other") }, { 0, STR("tier") } };
	struct buf text = { 0 };
	if (!(b->lacks & CONTRACT_LACKS_QUERIES_OF_LOG)) {
		b->append(b, offline_value_entry("p1", "1", OFFLINE_PAST_TIME + 1));
		b->append(b, offline_value_entry("p1", "\"x\"", OFFLINE_PAST_TIME + 3));
	}
	/* They were written later than they were true, where that is told apart. */
	int64_t from_us = b->lacks & CONTRACT_LACKS_QUERIES_OF_LOG ? OFFLINE_PAST_TIME : b->written_us;
	const int64_t times_us[] = { from_us - 1, from_us + 3, from_us + 4 };
	struct offline_training *m = offline_training_new(contract_maker(&b->c), &entity, 1, features, 2, 4);
	for (size_t i = 0; i < ARRAY_LEN(times_us); i++)
		offline_training_add(m, &known, times_us[i], 0);
	offline_training_add(m, &unknown, from_us + 4, 0);
	const struct msg *answer = contract_wait(&b->c, contract_ask(&b->c, b->store.background, &m->head));
	assert_int_equal(answer->kind, OFFLINE_PAST_CELLS);
	const struct offline_past_cells *cells = (const struct offline_past_cells *)answer;
	assert_int_equal(cells->head.status, RT_OK);
	assert_true(cells->last);
	for (uint32_t i = 0; i < cells->count; i++)
		buf_printf(&text, "%u/%u=%.*s@%lld ", cells->cells[i].moment, cells->cells[i].feature,
			   STR_ARG(cells->cells[i].value_json),
			   (long long)(cells->cells[i].event_time_us - OFFLINE_PAST_TIME));
	assert_true(str_eq(buf_str(&text), STR("1/1=\"x\"@3 2/1=\"x\"@3 ")));
	buf_finish(&text);
	m = offline_training_next(contract_maker(&b->c), 123456);
	answer = contract_wait(&b->c, contract_ask(&b->c, b->store.background, &m->head));
	assert_int_equal(answer->kind, OFFLINE_PAST_CELLS);
	assert_int_equal(answer->status, RT_EINVAL);
	assert_true(((const struct offline_past_cells *)answer)->error.n > 0);
}

struct offline_noted {
	struct buf text;
	size_t most; /* then each has seen enough; 0 = all */
	size_t count;
};

static inline bool offline_note_value(void *arg, const struct offline_value *v)
{
	struct offline_noted *n = arg;
	buf_printf(&n->text, "%.*s=%.*s ", STR_ARG(v->entity_id), STR_ARG(v->deleted ? STR("gone") : v->value_json));
	return ++n->count != n->most;
}

static void offline_does_what_a_start_calls(void **state)
{
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_CALLS)
		skip();
	const struct offline_store *o = &b->store;
	struct buf why = { 0 };
	uint64_t rows = 0, applied = 0;
	bool is_new = false;
	struct offline_table table = { .name = "prices", .sql = "SELECT 'a' AS id, 5 AS v" };
	assert_true(o->load_table(o->store, &table, &rows, &is_new, &why));
	assert_int_equal(rows, 1);
	assert_true(is_new);
	table.sql = "SELECT nonsense";
	assert_false(o->load_table(o->store, &table, &rows, &is_new, &why));
	assert_true(why.n > 0);
	buf_clear(&why);
	assert_int_equal(offline_sql(b, "SELECT id FROM prices", NULL)->rows, 1); /* as it was */
	assert_true(o->check_feature(o->store, STR("SELECT id, v FROM prices"), STR("id"), STR("v"), &why));
	assert_false(o->check_feature(o->store, STR("SELECT id FROM prices"), STR("id"), STR("v"), &why));
	assert_true(why.n > 0);
	buf_clear(&why);
	/* Newest event time first; of one key only the newest. */
	b->append(b, offline_value_entry("u1", "1", 1700000000000001));
	b->append(b, offline_value_entry("u2", "2", 1700000000000003));
	b->append(b, offline_value_entry("u1", "3", 1700000000000002));
	assert_int_equal(offline_sql(b, "SELECT * FROM fabra.feature_history", NULL)->rows, 3);
	struct offline_noted all = { .count = 0 }, one = { .most = 1 };
	assert_true(o->newest_values(o->store, &all, offline_note_value, &applied, &why));
	assert_int_equal(applied, 3);
	assert_true(str_eq(buf_str(&all.text), STR("u2=2 u1=3 ")));
	assert_true(o->newest_values(o->store, &one, offline_note_value, &applied, &why));
	assert_int_equal(one.count, 1);
	buf_finish(&all.text);
	buf_finish(&one.text);
	buf_finish(&why);
}

/* What newest_values gives, by messages; from the beginning as often as one likes. */
static void offline_gives_the_newest_in_batches(void **state)
{
	struct contract_offline *b = *state;
	if (b->lacks & CONTRACT_LACKS_CALLS)
		skip();
	const struct offline_store *o = &b->store;
	enum { IDS = 9000 };
	struct buf why = { 0 };
	uint64_t applied;
	char id[16], value[16];
	for (int i = 0; i < IDS; i++) {
		snprintf(id, sizeof id, "u%d", i);
		snprintf(value, sizeof value, "%d", i);
		b->append(b, offline_value_entry(id, value, 1700000000000000 + i));
	}
	struct evidence_entry *gone = evidence_entry_new(EVIDENCE_DELETE);
	entry_delete_write(&gone->body, &(struct entry_delete){ .entity = STR("User"),
								.entity_id = STR("u7"),
								.event_time_us = 1700000001000000 });
	b->append(b, gone);
	struct offline_noted by_message = { .count = 0 }, by_call = { .count = 0 };
	uint64_t cursor = 0, first_cursor = 0;
	uint32_t batches = 0;
	for (bool is_last = false; !is_last; batches++) {
		struct msg *m = &offline_newest_new(contract_maker(&b->c), cursor)->head;
		struct msg *answer = contract_wait(&b->c, contract_ask(&b->c, o->background, m));
		const struct offline_values *values = (const struct offline_values *)answer;
		assert_int_equal(answer->kind, OFFLINE_VALUES);
		assert_int_equal(answer->status, RT_OK); /* and all that is durable is in it, though nothing waited */
		assert_true(values->count <= OFFLINE_VALUES_MAX);
		for (uint32_t i = 0; i < values->count; i++)
			offline_note_value(&by_message, &values->values[i]);
		is_last = values->last;
		cursor = values->cursor;
		first_cursor = first_cursor ? first_cursor : cursor;
	}
	assert_true(batches >= 3);
	assert_true(o->newest_values(o->store, &by_call, offline_note_value, &applied, &why));
	assert_int_equal(by_message.count, IDS); /* one is a tombstone */
	assert_true(str_eq(buf_str(&by_message.text), buf_str(&by_call.text)));
	struct msg *m = &offline_newest_new(contract_maker(&b->c), first_cursor)->head; /* it is closed */
	assert_int_equal(contract_wait(&b->c, contract_ask(&b->c, o->background, m))->status, RT_EINVAL);
	buf_finish(&by_message.text);
	buf_finish(&by_call.text);
	buf_finish(&why);
}

#define OFFLINE_TEST(f, b)                                                                                             \
	{                                                                                                              \
#b ": " #f, f, offline_setup, offline_teardown, (b)                                                    \
	}
/* For a static array of struct CMUnitTest: all of them with backend b. */
#define CONTRACT_OFFLINE_TESTS(b)                                                                                      \
	OFFLINE_TEST(offline_answers_queries, b), OFFLINE_TEST(offline_reads_sql, b),                                  \
	    OFFLINE_TEST(offline_narrows_features, b), OFFLINE_TEST(offline_gives_rows_in_batches, b),                 \
	    OFFLINE_TEST(offline_ends_each_ask_once, b), OFFLINE_TEST(offline_stops_at_the_deadline, b),               \
	    OFFLINE_TEST(offline_sees_what_was_durable, b), OFFLINE_TEST(offline_knows_the_newest, b),                 \
	    OFFLINE_TEST(offline_knows_what_is_gone, b), OFFLINE_TEST(offline_answers_many_cells, b),                  \
	    OFFLINE_TEST(offline_does_what_a_start_calls, b), OFFLINE_TEST(offline_gives_the_newest_in_batches, b),    \
	    OFFLINE_TEST(offline_gives_values_of_the_past, b)
