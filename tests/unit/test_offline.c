/* The reader's answers: queries, batches, lists of contexts, and all of it behind the projection. */
#include "tests/unit/offline_fixture.h"
#include <fcntl.h>

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	rig_open(&rig);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	rig_close(&rig);
	rig_remove_folder(&rig);
	return 0;
}

static struct answer ask_query(const char *sql, const char *params, uint64_t timeout_ms)
{
	struct query q = { .sql = sql, .params = params };
	return rig_wait(rig_ask(&rig, make_query, &q, timeout_ms));
}

static void test_queries(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	struct answer a = ask_query("SELECT ?::VARCHAR AS id, count(*) AS n FROM range(7)", "[\"u1\"]", 5000);
	assert_int_equal(a.kind, OFFLINE_RESULT);
	assert_int_equal(a.status, RT_OK);
	assert_int_equal(a.rows, 1);
	assert_string_equal(a.text, "[{\"id\":\"u1\",\"n\":7}]");
	free(a.text);
	a = ask_query("SELECT nothing", NULL, 5000);
	assert_int_equal(a.status, RT_EINVAL);
	assert_non_null(strstr(a.text, "Binder Error"));
	free(a.text);
	a = ask_query("SELECT 1 AS a", "{}", 5000);
	assert_int_equal(a.status, RT_EINVAL);
	free(a.text);
}

static void test_a_late_query_frees_its_reader(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	uint64_t start_ns = clock_mono_ns();
	struct answer a = ask_query("SELECT sum(a.range * b.range % 7) AS s FROM range(1000000) a, range(1000000) b",
				    NULL, 100);
	assert_true(a.kind == RT_DEADLINE || (a.kind == OFFLINE_RESULT && a.status == RT_EDEADLINE));
	free(a.text);
	a = ask_query("SELECT 1 AS a", NULL, 10000);
	assert_string_equal(a.text, "[{\"a\":1}]");
	free(a.text);
	assert_true(clock_mono_ns() - start_ns < 8000000000);
}

/* ---- batches ---- */
struct rows {
	const char *sql, *key, *value;
	uint64_t cursor;
};

static struct msg *make_rows(struct loop *loop, const void *arg)
{
	const struct rows *r = arg;
	if (r->cursor != 0)
		return &offline_rows_next(loop, r->cursor)->head;
	return &offline_rows_new(loop, str_from(r->sql), str_from(r->key), str_from(r->value))->head;
}

static struct answer ask_rows(const char *sql, uint64_t cursor)
{
	struct rows rows = { .sql = sql, .key = "id", .value = "v", .cursor = cursor };
	return rig_wait(rig_ask(&rig, make_rows, &rows, 10000));
}

static void test_batches(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	uint32_t rows = 0, batches = 0;
	uint64_t cursor = 0;
	bool last = false;
	while (!last) {
		struct answer a = ask_rows("SELECT i AS ID, i * 2 AS v FROM range(10000) t(i)", cursor);
		assert_int_equal(a.status, RT_OK);
		assert_true(a.rows <= OFFLINE_BATCH_ROWS_MAX);
		if (batches == 0)
			assert_true(strncmp(a.text, "0=0;1=2;2=4;", 12) == 0);
		rows += a.rows;
		cursor = a.cursor;
		last = a.last;
		batches++;
		free(a.text);
	}
	assert_int_equal(rows, 10000);
	assert_true(batches >= 3);
	/* The cursor is closed behind the last batch. */
	struct answer a = ask_rows(NULL, cursor);
	assert_int_equal(a.status, RT_EINVAL);
	free(a.text);
}

static void test_batch_keys_and_values(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	struct answer a = ask_rows("SELECT * FROM (VALUES ('x\"y', [1]), (NULL, [2]), ('', NULL)) t(id, v)", 0);
	assert_string_equal(a.text, "x\"y=[1];=null;");
	free(a.text);
	a = ask_rows("SELECT DATE '2025-01-02' AS id, 1.5::DOUBLE AS v", 0);
	assert_string_equal(a.text, "2025-01-02=1.5;");
	free(a.text);
	a = ask_rows("SELECT 1 AS id, 2 AS w", 0);
	assert_int_equal(a.status, RT_EINVAL);
	assert_string_equal(a.text, "the SQL gives no column \"v\"");
	free(a.text);
	a = ask_rows("SELECT 18446744073709551615::UBIGINT AS id, 9223372036854775808::HUGEINT AS v", 0);
	assert_string_equal(a.text, "18446744073709551615=\"9223372036854775808\";");
	free(a.text);
	a = ask_rows("SELECT repeat('k', 40000000) AS id, 1 AS v", 0); /* more than a batch's texts may take */
	assert_int_equal(a.status, RT_ETOOBIG);
	free(a.text);
}

/* A run that would give an id several values gives none at all, and says which id it is. */
static void test_a_key_has_one_row(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	struct answer a = ask_rows("SELECT * FROM (VALUES ('a', 1), ('b', 2), ('b', 2)) t(id, v)", 0);
	assert_int_equal(a.status, RT_EINVAL);
	assert_string_equal(a.text, "several rows for id 'b'; aggregate, or select one of them");
	free(a.text);
	a = ask_rows("SELECT i // 2 AS id, i AS v FROM range(20000) t(i) WHERE i <> 7", 0);
	assert_string_equal(a.text, "several rows for id '0'; aggregate, or select one of them");
	free(a.text);
	a = ask_rows(
	    "SELECT * FROM (VALUES (1.5, 1), ('nan'::DOUBLE, 2), ('nan'::DOUBLE, 3), (NULL, 4), (NULL, 5)) t(id, v)",
	    0);
	assert_string_equal(a.text, "1.5=1;"); /* what names nobody is nobody's second row */
	free(a.text);
	a = ask_rows("SELECT [1] AS id, 1 AS v", 0);
	assert_int_equal(a.status, RT_OK); /* types are looked at when the definitions are checked */
	free(a.text);
}

/* Values of any size up to the bound come in batches of about a MiB, each once and whole. */
static void test_batches_are_cut_by_bytes(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	struct answer a = ask_rows("SELECT i AS id, repeat('x', 3000 + i % 7) AS v FROM range(5000) t(i)", 0);
	uint32_t rows = 0, batches = 0;
	for (;;) {
		assert_int_equal(a.status, RT_OK);
		assert_true(strlen(a.text) < (1 << 20) + 8192);
		rows += a.rows;
		batches++;
		for (char *at = a.text; *at != '\0'; at = strchr(at, ';') + 1) {
			static uint64_t next;
			if (at == a.text && rows == a.rows)
				next = 0;
			assert_int_equal(strtoull(at, NULL, 10), next);
			assert_int_equal(strcspn(strchr(at, '=') + 2, "\""), 3000 + next % 7);
			next++;
		}
		if (a.last)
			break;
		uint64_t cursor = a.cursor;
		free(a.text);
		a = ask_rows(NULL, cursor);
	}
	free(a.text);
	assert_int_equal(rows, 5000);
	assert_true(batches >= 15);
	a = ask_rows("SELECT i AS id, repeat('x', 1000000 + i * 2000000) AS v FROM range(3) t(i)", 0);
	assert_int_equal(a.status, RT_OK);
	uint64_t rest = a.cursor;
	free(a.text);
	a = ask_rows(NULL, rest);
	assert_int_equal(a.rows, 1);
	free(a.text);
	a = ask_rows(NULL, rest);
	assert_int_equal(a.status, RT_ETOOBIG);
	assert_string_equal(a.text, "the value of '2' is larger than 4 MiB");
	free(a.text);
}

struct narrowed {
	const char *sql;
	const struct str *ids;
	uint32_t ids_count;
};

static struct msg *make_feature(struct loop *loop, const void *arg)
{
	const struct narrowed *n = arg;
	struct offline_feature *m = offline_feature_new(loop, str_from(n->sql), STR("id"), STR("v"), n->ids_count);
	for (uint32_t i = 0; i < n->ids_count; i++)
		offline_feature_add(m, n->ids[i]);
	return &m->head;
}

static struct answer ask_ids(const char *sql, const struct str *ids, uint32_t ids_count)
{
	struct narrowed n = { sql, ids, ids_count };
	return rig_wait(rig_ask(&rig, make_feature, &n, 10000));
}

static int compare_rows(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "a=1;b=2;" in the order of its rows. */
static void sort_rows(char *text)
{
	char *rows[64], copy[4096];
	size_t n = 0;
	snprintf(copy, sizeof copy, "%s", text);
	for (char *save, *at = strtok_r(copy, ";", &save); at && n < 64; at = strtok_r(NULL, ";", &save))
		rows[n++] = at;
	qsort(rows, n, sizeof rows[0], compare_rows);
	for (size_t i = 0; i < n; i++)
		text += sprintf(text, "%s;", rows[i]);
}

/* Whatever the type of the id column: each id that the whole statement gives is found by that text, alone and among
 * others, with that value; and by no other spelling. */
static void test_both_ways_of_reading_spell_ids_alike(void **state)
{
	(void)state;
	static const char *const columns[] = {
		"(VALUES ('a'), ('A'), ('it''s'), ('x\"y'), ('007'), ('7'), (' 7'), ('1.10'), ('null')) t(id)",
		"(VALUES (7), (-1), (0), (2147483647)) t(id)",
		"(VALUES (7::UTINYINT), (255::UTINYINT)) t(id)",
		"(VALUES (9223372036854775807), (-9223372036854775808)) t(id)",
		"(VALUES (18446744073709551614::UBIGINT), (18446744073709551615::UBIGINT), (0::UBIGINT)) t(id)",
		"(VALUES (170141183460469231731687303715884105727::HUGEINT), (-5::HUGEINT)) t(id)",
		"(VALUES (340282366920938463463374607431768211455::UHUGEINT), (5::UHUGEINT)) t(id)",
		"(VALUES (9007199254740993::DECIMAL(20,0)), (9007199254740992::DECIMAL(20,0)), (-3::DECIMAL(20,0))) t(id)",
		"(VALUES (1.10::DECIMAL(10,2)), (1.00::DECIMAL(10,2)), (-0.05::DECIMAL(10,2)), (12345678.99::DECIMAL(10,2))) t(id)",
		"(VALUES (0.1::DECIMAL(38,37)), (1::DECIMAL(38,37)), (-1.0000000000000000000000000000000000001::DECIMAL(38,37))) t(id)",
		"(VALUES (1.111::FLOAT), (0.1::FLOAT), (16777216::FLOAT), (1e30::FLOAT), ('nan'::FLOAT)) t(id)",
		"(VALUES (1.5::DOUBLE), (0.1::DOUBLE), (1e300::DOUBLE), (1e-7::DOUBLE), (100000.7::DOUBLE), ('inf'::DOUBLE)) t(id)",
		"(VALUES (true), (false)) t(id)",
		"(VALUES ('c0ffee00-19b3-4000-8000-aabbccddeeff'::UUID), ('ffffffff-4455-6677-8899-aabbccddeeff'::UUID)) t(id)",
		"(VALUES (DATE '2025-02-14'), (DATE '0001-01-01'), ('infinity'::DATE)) t(id)",
		"(VALUES (TIME '18:42:31.5'), (TIME '18:42:31')) t(id)",
		"(VALUES (TIMESTAMP '2025-02-14 18:42:31.221'), (TIMESTAMP '1969-12-31 23:59:59.999999'), (TIMESTAMP '2025-02-14')) t(id)",
		"(VALUES ('2025-02-14 18:42:31+02'::TIMESTAMPTZ), ('2025-02-14 18:42:31.5+00'::TIMESTAMPTZ)) t(id)",
		"(VALUES ('2025-02-14 18:42:31'::TIMESTAMP_S)) t(id)",
		"(VALUES ('2025-02-14 18:42:31.123'::TIMESTAMP_MS)) t(id)",
		"(VALUES ('2025-02-14 18:42:31.000000123'::TIMESTAMP_NS), ('2025-02-14 18:42:31.000000124'::TIMESTAMP_NS)) t(id)",
		"(VALUES ('b'::ENUM('a','b')), ('a'::ENUM('a','b'))) t(id)",
		"(VALUES ('{\"k\": 1}'::JSON), ('\"text\"'::JSON)) t(id)",
	};
	static const struct str others[] = { STR("007"),
					     STR("7.0"),
					     STR("+7"),
					     STR("1.1"),
					     STR("01"),
					     STR("TRUE"),
					     STR("1e0"),
					     STR("2025-02-14 18:42:31"),
					     STR("C0FFEE00-19B3-4000-8000-AABBCCDDEEFF"),
					     STR(""),
					     STR("'"),
					     STR("nan"),
					     STR("9007199254740993.0"),
					     STR("B") };
	rig_start(&rig, false, false);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		char sql[512];
		struct str ids[80];
		uint32_t count = 0;
		snprintf(sql, sizeof sql, "SELECT id, row_number() OVER () AS v FROM %s", columns[i]);
		struct answer whole = ask_rows(sql, 0);
		if (whole.status != RT_OK)
			fail_msg("%s: %s", columns[i], whole.text);
		for (char *at = whole.text; *at != '\0'; at = strchr(at, ';') + 1) {
			ids[count] = str_of(at, strcspn(at, "=;"));
			char row[128];
			snprintf(row, sizeof row, "%.*s", (int)strcspn(at, ";") + 1, at);
			struct answer one = ask_ids(sql, &ids[count++], 1);
			if (strcmp(one.text, row) != 0)
				fail_msg("%s: '%s' instead of '%s'", columns[i], one.text, row);
			free(one.text);
		}
		assert_int_equal(count, whole.rows);
		for (size_t k = 0; k < ARRAY_LEN(others); k++) {
			bool is_id = false;
			for (uint32_t j = 0; j < whole.rows; j++)
				is_id |= str_eq(ids[j], others[k]);
			if (is_id)
				continue;
			struct answer none = ask_ids(sql, &others[k], 1);
			if (none.status != RT_OK || none.rows != 0)
				fail_msg("%s: '%s' found %s", columns[i], others[k].p, none.text);
			free(none.text);
			ids[count++] = others[k];
		}
		struct answer all = ask_ids(sql, ids, count);
		sort_rows(all.text);
		sort_rows(whole.text);
		assert_string_equal(all.text, whole.text);
		free(all.text);
		free(whole.text);
	}
}

static void test_narrowed_to_ids(void **state)
{
	(void)state;
	const struct str two[] = { STR("a"), STR("b") };
	rig_start(&rig, false, false);
	struct answer a =
	    ask_ids("SELECT * FROM (VALUES ('a', 1), ('b', 2), ('b', 2), ('b', 3), ('c', 4), (NULL, 5)) t(id, v)", two,
		    2);
	assert_string_equal(a.text, "a=1;b=2;b=2;"); /* several: two of them, and the asker knows */
	free(a.text);
	a = ask_ids("SELECT 'a' AS ID, NULL AS V -- a remark", two, 1);
	assert_string_equal(a.text, "a=null;");
	free(a.text);
	a = ask_ids("SELECT [1] AS id, 1 AS v", two, 1);
	assert_int_equal(a.status, RT_EINVAL);
	assert_string_equal(a.text,
			    "the values of column \"id\" have a type that cannot name an entity; cast it to VARCHAR");
	free(a.text);
	a = ask_ids("SELECT 'a' AS id", two, 1);
	assert_int_equal(a.status, RT_EINVAL);
	free(a.text);
	a = ask_ids("SELECT wrong", two, 2);
	assert_int_equal(a.status, RT_EINVAL);
	free(a.text);
	/* 17 values of a MiB are too much for one answer, one is not. */
	struct str ids[17];
	char texts[17][4];
	for (int i = 0; i < 17; i++)
		ids[i] = str_of(texts[i], (size_t)snprintf(texts[i], sizeof texts[i], "%d", i));
	a = ask_ids("SELECT i AS id, repeat('x', 1000000) AS v FROM range(30) t(i)", ids, 17);
	assert_int_equal(a.status, RT_ETOOBIG);
	free(a.text);
	a = ask_ids("SELECT i AS id, repeat('x', 1000000) AS v FROM range(30) t(i)", ids, 1);
	assert_int_equal(a.rows, 1);
	free(a.text);
}

static void test_open_cursors_are_bounded(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	for (int i = 0; i < OFFLINE_CURSORS_MAX; i++) {
		struct answer a = ask_rows("SELECT i AS id, i AS v FROM range(10000) t(i)", 0);
		assert_int_equal(a.status, RT_OK);
		free(a.text);
	}
	struct answer a = ask_rows("SELECT i AS id, i AS v FROM range(10000) t(i)", 0);
	assert_int_equal(a.status, RT_EFULL);
	free(a.text);
}

/* ---- the projection ---- */
static void append_all_kinds(void)
{
	rig_append_record(&rig, 1, "chat", RECORD_GUARANTEED);
	rig_append_record(&rig, 2, "search", RECORD_DEGRADED);
	rig_append_value(&rig, "u1", "tier", "\"gold\"", T0_US, 0);
	rig_append_delete(&rig, "u1", T0_US + 10);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = STR("e1"),
							   .event_type = STR("purchase"),
							   .entity_id = STR("u1"),
							   .payload_json = STR("{}"),
							   .event_time_us = T0_US });
	rig_append(&rig, e, T0_US);
	e = evidence_entry_new(EVIDENCE_EVENT_APPLIED);
	struct entry_value v = { STR("u1"), STR("spent"), STR("12.5"), T0_US, 1000, 7, STR("v2") };
	entry_values_write(&e->body, &(struct entry_values){ STR("User"), ENTRY_TRIGGERED, 5, &v, 1 });
	rig_append(&rig, e, T0_US + 20);
}

static void test_every_kind_has_its_rows(void **state)
{
	(void)state;
	append_all_kinds();
	rig_start(&rig, true, false);
	assert_query(
	    &rig, "SELECT * EXCLUDE (record_hash) FROM fabra.records WHERE lsn = 1",
	    "[{\"context_id\":\"ctx_018f3a2b-7def-7abc-8901-000000000001\",\"lsn\":1,\"created_at\":"
	    "\"2023-11-14T22:13:21\","
	    "\"environment\":\"development\",\"schema_version\":\"1.0.0\",\"context_function\":"
	    "\"chat\",\"token_count\":41,"
	    "\"freshness_status\":\"guaranteed\",\"version\":\"v7\",\"imported\":false,\"mode\":"
	    "\"voice\",\"call_id\":\"c1\","
	    "\"session_id\":\"s1\",\"turn_id\":\"t1\",\"turn_index\":3,\"jurisdiction\":null,"
	    "\"consent_state\":null,\"inputs\":{\"interaction_ref\":{\"call_id\":\"c1\",\"mode\":\"voice\",\"session_id\":\"s1\",\"turn_id\":\"t1\",\"turn_index\":3},\"user_id\":\"u1\"}}]");
	assert_query(&rig,
		     "SELECT count(*) AS n FROM fabra.records WHERE record_hash LIKE 'sha256:%' AND "
		     "length(record_hash) = 71",
		     "[{\"n\":2}]");
	assert_query(&rig, "SELECT * FROM fabra.feature_history ORDER BY lsn",
		     "[{\"entity\":\"User\",\"entity_id\":\"u1\",\"feature\":\"tier\",\"value\":\"\\\"gold\\\"\","
		     "\"event_time\":\"2023-11-14T22:13:20\",\"written_at\":\"2023-11-14T22:13:20.000005\",\"lsn\":3,"
		     "\"ttl_ms\":0,\"source\":2,\"version\":null,\"event_time_ns\":0},"
		     "{\"entity\":\"User\",\"entity_id\":\"u1\",\"feature\":\"spent\",\"value\":\"12.5\","
		     "\"event_time\":\"2023-11-14T22:13:20\",\"written_at\":\"2023-11-14T22:13:20.000020\",\"lsn\":6,"
		     "\"ttl_ms\":1000,\"source\":4,\"version\":\"v2\",\"event_time_ns\":7}]");
	assert_query(&rig, "SELECT entity, entity_id, lsn FROM fabra.deletes",
		     "[{\"entity\":\"User\",\"entity_id\":\"u1\",\"lsn\":4}]");
	assert_query(&rig,
		     "SELECT event_id, event_type, a.lsn FROM fabra.events e JOIN fabra.events_applied a ON "
		     "a.event_lsn = e.lsn",
		     "[{\"event_id\":\"e1\",\"event_type\":\"purchase\",\"lsn\":6}]");
	assert_int_equal(offline_applied_lsn(rig.offline), 6);
}

static void test_a_record_has_one_row_with_and_without_a_row_beside_it(void **state)
{
	(void)state;
	rig_append_record_and_row(&rig, 1, "chat", RECORD_DEGRADED, true);
	rig_append_record_and_row(&rig, 1, "chat", RECORD_DEGRADED, false);
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":2}]");
	assert_query(
	    &rig, "SELECT DISTINCT * EXCLUDE (lsn, record_hash, context_id) FROM fabra.records",
	    "[{\"created_at\":\"2023-11-14T22:13:21\",\"environment\":\"development\","
	    "\"schema_version\":\"1.0.0\",\"context_function\":\"chat\",\"token_count\":41,"
	    "\"freshness_status\":\"degraded\",\"version\":\"v7\",\"imported\":false,\"mode\":"
	    "\"voice\",\"call_id\":\"c1\",\"session_id\":\"s1\",\"turn_id\":\"t1\","
	    "\"turn_index\":3,\"jurisdiction\":null,\"consent_state\":null,\"inputs\":{\"interaction_ref\":{\"call_id\":\"c1\",\"mode\":\"voice\",\"session_id\":\"s1\",\"turn_id\":\"t1\",\"turn_index\":3},\"user_id\":\"u1\"}}]");
}

static void test_a_record_with_a_row_beside_it_is_not_read(void **state)
{
	(void)state;
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD);
	memcpy(e->context_id, "ctx_018f3a2b-7def-7abc-8901-000000000001", 40);
	buf_append_lit(&e->body, "{\"previous_context_id\":null, and no more");
	e->previous_at = strlen("{\"previous_context_id\":");
	buf_append_lit(&e->extras, "{\"row\":{\"created_at\":\"2026-01-02T03:04:05Z\",\"token_count\":7}}");
	rig_append(&rig, e, T0_US);
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT token_count, environment, freshness_status FROM fabra.records",
		     "[{\"token_count\":7,\"environment\":null,\"freshness_status\":\"unknown\"}]");
}

/* Without the projection's own actor, the reader does the work it waits for. */
static void test_a_waiting_reader_helps_itself(void **state)
{
	(void)state;
	rig_start(&rig, false, false);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":0}]");
	for (unsigned i = 0; i < 4200; i++)
		rig_append_record(&rig, i, "chat", RECORD_GUARANTEED);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":4200}]");
	struct offline_health health;
	offline_health_read(rig.offline, &health);
	assert_int_equal(health.applied_lsn, 4200);
	assert_int_equal(health.lag_entries, 0);
	assert_true(health.transactions >= 3);
	assert_false(health.paused);
}

static void test_a_restart_goes_on_where_it_was(void **state)
{
	(void)state;
	append_all_kinds();
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":2}]");
	rig_stop(&rig);
	rig_close(&rig);
	rig_open(&rig);
	assert_int_equal(offline_applied_lsn(rig.offline), 6);
	rig_append_record(&rig, 3, "chat", RECORD_UNKNOWN);
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n, max(lsn) AS last FROM fabra.records", "[{\"n\":3,\"last\":7}]");
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.feature_history", "[{\"n\":2}]");
}

static void test_a_dropped_schema_is_built_again(void **state)
{
	(void)state;
	append_all_kinds();
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":2}]");
	rig_stop(&rig);
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	assert_true(offline_conn_run(c, "DROP SCHEMA fabra CASCADE", &error));
	offline_admin_leave(rig.offline);
	rig_close(&rig);
	rig_open(&rig);
	assert_int_equal(offline_applied_lsn(rig.offline), 0);
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":2}]");
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.feature_history", "[{\"n\":2}]");
}

static void test_malformed_entries_are_counted_and_passed(void **state)
{
	(void)state;
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	buf_append_lit(&e->body, "rubbish");
	int status;
	ledger_write(rig.ledger, &e, &status, 1, T0_US);
	evidence_entry_free(e);
	rig_append_value(&rig, "u\xff", "tier", "1", T0_US, 0);
	rig_append_value(&rig, "u1", "tier", "1", T0_US, 0);
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT entity_id FROM fabra.feature_history", "[{\"entity_id\":\"u1\"}]");
	struct offline_health health;
	offline_health_read(rig.offline, &health);
	assert_true(health.corrupt_frames >= 1);
	assert_int_equal(health.applied_lsn, ledger_durable_lsn(rig.ledger));
}

static void test_another_ledger_pauses_the_projection(void **state)
{
	(void)state;
	append_all_kinds();
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":2}]");
	rig_stop(&rig);
	rig_close(&rig);
	assert_int_equal(nftw(rig.ledger_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	rig_open(&rig);
	struct offline_health health;
	assert_int_equal(offline_projection_step(rig.offline), OFFLINE_STEP_PAUSED);
	offline_health_read(rig.offline, &health);
	assert_true(health.paused);
	assert_non_null(
	    strstr(health.error, "belongs to another ledger than the one beside it, which is new and empty"));
}

static void remove_ledger(void)
{
	assert_int_equal(nftw(rig.ledger_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void project_all(void)
{
	enum offline_step did;
	while ((did = offline_projection_step(rig.offline)) == OFFLINE_STEP_MORE)
		;
	assert_int_equal(did, OFFLINE_STEP_CAUGHT_UP);
}

static struct msg *make_legacy(struct loop *loop, const void *ref)
{
	return &evidence_legacy_new(loop, str_from(ref), LEGACY_RECORD)->head;
}

static void assert_mismatch(const char *part)
{
	struct offline_health health;
	assert_int_equal(offline_projection_step(rig.offline), OFFLINE_STEP_PAUSED);
	offline_health_read(rig.offline, &health);
	assert_true(health.paused);
	if (strstr(health.error, part) == NULL)
		fail_msg("%s", health.error);
	assert_non_null(strstr(health.error, "move the DuckDB file away"));
	assert_int_equal(offline_applied_lsn(rig.offline), 0); /* nothing of this ledger */
	struct buf why = { 0 };
	assert_true(offline_warm(rig.offline, NULL, NULL, &why)); /* gives nothing: no value is another ledger's */
	rig_start(&rig, true, false);
	struct query q = { .sql = "SELECT count(*) AS n FROM fabra.records" };
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 20000));
	assert_int_equal(a.status, RT_EIO);
	assert_non_null(strstr(a.text, part));
	free(a.text);
	/* Its ledger may have had the record: nobody can say that there is none. */
	a = rig_wait(rig_ask(&rig, make_legacy, "ctx_00000000-0000-0000-0000-000000000009", 20000));
	assert_int_equal(a.status, RT_EIO);
	assert_non_null(strstr(a.text, part));
	free(a.text);
	rig_stop(&rig);
}

/* By identity: a position that fits says nothing. */
static void test_another_ledger_with_more_entries_does_not_mix(void **state)
{
	(void)state;
	append_all_kinds();
	rig_append_value(&rig, "u1", "tier", "1", T0_US, 0);
	project_all();
	rig_close(&rig);
	remove_ledger();
	rig_open(&rig);
	for (unsigned i = 0; i < 20; i++)
		rig_append_record(&rig, 100 + i, "other", RECORD_GUARANTEED);
	rig_close(&rig);
	rig_open(&rig);
	assert_mismatch("belongs to another ledger");
}

static void test_an_older_copy_of_the_ledger_that_went_on_does_not_mix(void **state)
{
	(void)state;
	char copy[200], command[500];
	snprintf(copy, sizeof copy, "%s/copy", rig.dir);
	append_all_kinds();
	rig_close(&rig);
	snprintf(command, sizeof command, "cp -a %s %s", rig.ledger_dir, copy);
	assert_int_equal(system(command), 0);
	rig_open(&rig);
	rig_append_record(&rig, 50, "chat", RECORD_GUARANTEED);
	project_all();
	rig_close(&rig);
	remove_ledger();
	assert_int_equal(rename(copy, rig.ledger_dir), 0);
	rig_open(&rig);
	for (unsigned i = 0; i < 5; i++)
		rig_append_record(&rig, 60 + i, "chat", RECORD_GUARANTEED);
	rig_close(&rig);
	rig_open(&rig);
	assert_mismatch("put back from an older copy");
}

/* Who waits for entries that are damaged would wait for ever. */
static void test_a_damaged_tail_is_passed_and_counted(void **state)
{
	(void)state;
	char path[200];
	struct offline_health health;
	for (unsigned i = 0; i < 10; i++)
		rig_append_record(&rig, i, "chat", RECORD_GUARANTEED);
	uint64_t end = rig.ledger->writer.open->foot.data_end;
	snprintf(path, sizeof path, "%s/%016x.seg", rig.ledger_dir, 1);
	rig_close(&rig);
	int fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)end - 200), 6);
	close(fd);
	rig_open(&rig);
	project_all();
	offline_health_read(rig.offline, &health);
	assert_int_equal(health.applied_lsn, 10);
	assert_int_equal(health.lag_entries, 0);
	assert_int_equal(health.missing_entries, 1);
	rig_close(&rig);
	rig_open(&rig);
	offline_health_read(rig.offline, &health);
	assert_int_equal(health.missing_entries, 1); /* kept with the position */
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":9}]");
}

static off_t wal_bytes(void)
{
	char path[128];
	struct stat st;
	snprintf(path, sizeof path, "%s.wal", rig.db_path);
	return stat(path, &st) == 0 ? st.st_size : 0;
}

static void checkpoint_now(void)
{
	struct offline_projection *p = &rig.offline->projection;
	pthread_mutex_lock(&p->lock);
	p->checkpoint_at_ns = 0;
	p->committed_ns = 0;
	pthread_mutex_unlock(&p->lock);
	offline_projection_checkpoint(rig.offline);
	pthread_mutex_lock(&p->lock);
	p->checkpoint_at_ns = UINT64_MAX; /* the reader's own would come in between */
	pthread_mutex_unlock(&p->lock);
}

/* DuckDB would spin until the cursor is closed, and let nobody else read its table. */
static void test_a_checkpoint_does_not_wait_for_a_cursor(void **state)
{
	(void)state;
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	assert_true(offline_conn_run(c, "CREATE TABLE main.t(id BIGINT, v VARCHAR)", &error));
	assert_true(offline_conn_run(c, "CHECKPOINT", &error)); /* nothing holds a table open after the start */
	for (int i = 0; i < 20; i++)
		assert_true(
		    offline_conn_run(c,
				     "INSERT INTO main.t SELECT range, 'some text that fills a log ' || range "
				     "FROM (SELECT range + (SELECT count(*) FROM main.t) AS range FROM range(2000))",
				     &error));
	offline_admin_leave(rig.offline);
	rig.offline->projection.checkpoint_at_ns = UINT64_MAX;
	rig_start(&rig, false, false);
	struct answer a = ask_rows("SELECT * FROM t", 0);
	assert_int_equal(a.status, RT_OK);
	off_t before = wal_bytes();
	assert_true(before > 1 << 20);
	checkpoint_now();
	assert_int_equal(wal_bytes(), before);
	assert_query(&rig, "SELECT count(*) AS n FROM t", "[{\"n\":40000}]");
	while (!a.last) {
		free(a.text);
		a = ask_rows(NULL, a.cursor);
	}
	free(a.text);
	checkpoint_now();
	assert_true(wal_bytes() < before);
	/* A query that was given up half-way holds nothing either. */
	c = offline_admin_enter(rig.offline, &error);
	assert_true(offline_conn_select(c, STR("SELECT * FROM t"), NULL, UINT64_MAX, &error));
	duckdb_data_chunk chunk = offline_conn_fetch(c, &error);
	duckdb_destroy_data_chunk(&chunk);
	offline_conn_end(c);
	assert_true(offline_conn_run(rig.offline->projection.conn, "CHECKPOINT", &error));
	offline_admin_leave(rig.offline);
}

/* After a fatal error DuckDB refuses everything until its database is opened again: the next question does
 * that. */
static void test_a_broken_database_is_opened_again(void **state)
{
	(void)state;
	append_all_kinds();
	rig_start(&rig, true, false);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":2}]");
	struct answer a = ask_rows("SELECT i AS id, i AS v FROM range(10000) t(i)", 0);
	assert_int_equal(a.status, RT_OK);
	free(a.text);
	offline_mark_broken(rig.offline);
	rig_append_record(&rig, 3, "chat", RECORD_UNKNOWN);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.records", "[{\"n\":3}]");
	struct answer again = ask_rows(NULL, a.cursor);
	assert_int_equal(again.status, RT_EIO);
	assert_string_equal(again.text, "the database was opened again in between; start again");
	free(again.text);
	struct offline_health health;
	offline_health_read(rig.offline, &health);
	assert_int_equal(health.reopened, 1);
}

/* ---- lists ---- */
struct list {
	int64_t start_us, end_us;
	int32_t limit;
	const char *name, *freshness, *id_prefix, *input, *input_value;
	bool with_inputs;
};

static struct msg *make_list(struct loop *loop, const void *arg)
{
	const struct list *l = arg;
	struct evidence_list *m = evidence_list_new(loop);
	if (l->start_us != 0)
		m->start_us = l->start_us;
	if (l->end_us != 0)
		m->end_us = l->end_us;
	if (l->limit != 0)
		m->limit = l->limit;
	m->name = l->name != NULL ? strdup(l->name) : NULL;
	m->freshness_status = l->freshness != NULL ? strdup(l->freshness) : NULL;
	m->id_prefix = l->id_prefix != NULL ? strdup(l->id_prefix) : NULL;
	m->input = l->input != NULL ? strdup(l->input) : NULL;
	m->input_value = l->input_value != NULL ? strdup(l->input_value) : NULL;
	m->with_inputs = l->with_inputs;
	return &m->head;
}

static void assert_list(struct list list, const char *wanted)
{
	struct answer a = rig_wait(rig_ask(&rig, make_list, &list, 10000));
	assert_string_equal(a.text, wanted);
	free(a.text);
}

#define ITEM_1                                                                                                         \
	"{\"context_id\":\"ctx_018f3a2b-7def-7abc-8901-000000000001\",\"timestamp\":\"2023-11-14T22:13:"               \
	"21\","                                                                                                        \
	"\"name\":\"chat\",\"token_usage\":41,\"freshness_status\":\"guaranteed\",\"version\":\"v7\"}"
#define ITEM_2                                                                                                         \
	"{\"context_id\":\"ctx_018f3a2b-7def-7abc-8901-000000000002\",\"timestamp\":\"2023-11-14T22:13:"               \
	"22\","                                                                                                        \
	"\"name\":\"it's\",\"token_usage\":42,\"freshness_status\":\"degraded\",\"version\":\"v7\"}"

static void test_lists_of_contexts(void **state)
{
	(void)state;
	rig_append_record(&rig, 1, "chat", RECORD_GUARANTEED);
	rig_append_record(&rig, 2, "it's", RECORD_DEGRADED);
	rig_start(&rig, true, false);
	assert_list((struct list){ 0 }, "[" ITEM_2 "," ITEM_1 "]");
	assert_list((struct list){ .limit = 1 }, "[" ITEM_2 "]");
	assert_list((struct list){ .name = "it's" }, "[" ITEM_2 "]");
	assert_list((struct list){ .freshness = "guaranteed" }, "[" ITEM_1 "]");
	assert_list((struct list){ .start_us = T0_US + 2000000 }, "[" ITEM_2 "]");
	assert_list((struct list){ .end_us = T0_US + 1000000 }, "[" ITEM_1 "]");
	assert_list((struct list){ .end_us = T0_US + 999999 }, "[]");
	assert_list((struct list){ .limit = -1 }, "[]");
	assert_list((struct list){ .id_prefix = "ctx_018f3a2b-7def-7abc-8901-00000000000" }, "[" ITEM_2 "," ITEM_1 "]");
	assert_list((struct list){ .id_prefix = "ctx_018f3a2b-7def-7abc-8901-000000000002" }, "[" ITEM_2 "]");
	assert_list((struct list){ .id_prefix = "ctx_%" }, "[]");
	assert_list((struct list){ .input = "user_id", .input_value = "u1" }, "[" ITEM_2 "," ITEM_1 "]");
	assert_list((struct list){ .input = "user_id", .input_value = "u" }, "[]");
	assert_list((struct list){ .input = "user", .input_value = "u1" }, "[]");
	assert_list(
	    (struct list){ .limit = 1, .with_inputs = true },
	    "[{\"context_id\":\"ctx_018f3a2b-7def-7abc-8901-000000000002\",\"timestamp\":\"2023-11-14T22:13:22\","
	    "\"name\":\"it's\",\"token_usage\":42,\"freshness_status\":\"degraded\",\"version\":\"v7\",\"inputs\":{\"interaction_ref\":{\"call_id\":\"c1\",\"mode\":\"voice\",\"session_id\":\"s1\",\"turn_id\":\"t1\",\"turn_index\":3},\"user_id\":\"u1\"}}]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_queries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_late_query_frees_its_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_batches, setup, teardown),
		cmocka_unit_test_setup_teardown(test_batch_keys_and_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_key_has_one_row, setup, teardown),
		cmocka_unit_test_setup_teardown(test_batches_are_cut_by_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_both_ways_of_reading_spell_ids_alike, setup, teardown),
		cmocka_unit_test_setup_teardown(test_narrowed_to_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_cursors_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_kind_has_its_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_record_has_one_row_with_and_without_a_row_beside_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_record_with_a_row_beside_it_is_not_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_waiting_reader_helps_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_restart_goes_on_where_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_dropped_schema_is_built_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_malformed_entries_are_counted_and_passed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_ledger_pauses_the_projection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_ledger_with_more_entries_does_not_mix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_older_copy_of_the_ledger_that_went_on_does_not_mix, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_damaged_tail_is_passed_and_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_checkpoint_does_not_wait_for_a_cursor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_broken_database_is_opened_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lists_of_contexts, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
