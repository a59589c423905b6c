/* Retention of the history: what is served, and what was true at any time since the horizon, is the same before and
 * after; what was superseded before it is gone. */
#include "tests/unit/offline_fixture.h"

static struct rig rig;
enum { DAY_S = 24 * 3600, KEEP_DAYS = 90, NOW_DAYS = 400 };
#define DAY_US (DAY_S * INT64_C(1000000))

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	rig_open(&rig);
	rig.offline->history_keep_ms = KEEP_DAYS * INT64_C(1000) * DAY_S;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_close(&rig);
	rig_remove_folder(&rig);
	return 0;
}

static bool note(void *arg, const struct offline_value *v)
{
	struct buf *out = arg;
	if (!v->deleted) /* tombstones before the horizon go, with what they hide */
		buf_printf(out, "%.*s/%.*s=%.*s@%lld\n", STR_ARG(v->entity_id), STR_ARG(v->feature),
			   STR_ARG(v->value_json), (long long)v->event_time_us);
	return true;
}

/* By a plain loop over all rows, newest last: what a question about a time would find. */
static void as_of(int64_t time_us, struct buf *out)
{
	char sql[1536];
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	struct buf json = { 0 };
	uint32_t rows;
	snprintf(
	    sql, sizeof sql,
	    "WITH known AS (SELECT * FROM fabra.deletes WHERE event_time <= make_timestamp(%lld)), rows AS (SELECT entity_id, "
	    "max(lsn) AS lsn FROM known WHERE feature IS NULL GROUP BY ALL), standing AS (SELECT k.* FROM known k LEFT JOIN rows r "
	    "USING (entity_id) WHERE k.feature IS NULL OR r.lsn IS NULL OR k.lsn > r.lsn) "
	    "SELECT entity_id, feature, arg_max(value, (event_time, lsn)) AS v FROM (SELECT * FROM fabra.feature_history h WHERE "
	    "event_time <= make_timestamp(%lld) AND NOT EXISTS (SELECT 1 FROM standing d WHERE d.entity_id = h.entity_id AND "
	    "(d.feature IS NULL OR d.feature = h.feature) AND (d.lsn > h.lsn OR d.event_time > "
	    "h.event_time))) GROUP BY ALL ORDER BY ALL",
	    (long long)time_us, (long long)time_us);
	assert_true(offline_conn_select(c, str_from(sql), NULL, UINT64_MAX, &error));
	assert_true(offline_rows_write(c, 10000, &json, &rows, &error));
	buf_append_str(out, buf_str(&json));
	buf_finish(&json);
	offline_admin_leave(rig.offline);
}

static struct buf look(void)
{
	struct buf out = { 0 }, why = { 0 };
	assert_true(offline_warm(rig.offline, &out, note, &why));
	for (int day = NOW_DAYS - KEEP_DAYS; day <= NOW_DAYS; day += 15)
		as_of(T0_US + day * DAY_US, &out);
	return out;
}

static uint64_t count_rows(void)
{
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	assert_true(offline_conn_select(
	    c,
	    STR("SELECT (SELECT count(*) FROM fabra.feature_history)::UBIGINT + (SELECT count(*) FROM "
		"fabra.deletes)::UBIGINT"),
	    NULL, UINT64_MAX, &error));
	duckdb_data_chunk chunk = offline_conn_fetch(c, &error);
	uint64_t n = *(uint64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
	duckdb_destroy_data_chunk(&chunk);
	offline_admin_leave(rig.offline);
	return n;
}

static void test_what_is_visible_stays(void **state)
{
	(void)state;
	char id[16], json[16];
	srand(3);
	for (int i = 0; i < 1500; i++) {
		/* Written one after the other; the event is some days older, or lies ahead a little. */
		int64_t at_us = T0_US + i * (NOW_DAYS * DAY_US / 1500) - (rand() % 5) * DAY_US +
				(rand() % 3 == 0 ? 4 * DAY_US / 1440 : 0);
		const char *feature = (const char *[]){ "tier", "city", "age" }[rand() % 3];
		snprintf(id, sizeof id, "u%d", rand() % 12);
		snprintf(json, sizeof json, "%d", i);
		if (rand() % 20 == 0)
			rig_append_delete(&rig, id, at_us);
		else
			rig_append_value(&rig, id, feature, rand() % 15 == 0 ? NULL : json, at_us,
					 0); /* NULL: of this feature only */
	}
	while (offline_projection_step(rig.offline) != OFFLINE_STEP_CAUGHT_UP)
		;
	struct buf before = look();
	uint64_t rows = count_rows();
	assert_int_equal(rows, 1500);
	assert_true(offline_prune(rig.offline, T0_US + NOW_DAYS * DAY_US));
	struct buf after = look();
	assert_true(before.n > 500);
	assert_true(str_eq(buf_str(&before), buf_str(&after)));
	assert_true(count_rows() < 450); /* a quarter is newer than the horizon */
	assert_true(offline_prune(rig.offline, T0_US + NOW_DAYS * DAY_US));
	buf_finish(&before);
	buf_finish(&after);
}

static void test_without_a_limit_all_stays(void **state)
{
	(void)state;
	rig.offline->history_keep_ms = 0;
	for (int i = 0; i < 5; i++)
		rig_append_value(&rig, "u1", "tier", "1", T0_US + i, 0);
	while (offline_projection_step(rig.offline) != OFFLINE_STEP_CAUGHT_UP)
		;
	assert_true(offline_prune(rig.offline, T0_US + NOW_DAYS * DAY_US));
	assert_int_equal(count_rows(), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_visible_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_a_limit_all_stays, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
