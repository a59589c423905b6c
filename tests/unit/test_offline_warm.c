/* Warm start: the newest live values by (event time, LSN), tombstones first. */
#include "tests/unit/offline_fixture.h"

static struct rig rig;
static struct buf seen; /* one line per value */
static int seen_max;

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	rig_open(&rig);
	seen_max = 1000;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_finish(&seen);
	rig_close(&rig);
	rig_remove_folder(&rig);
	return 0;
}

static bool note(void *arg, const struct offline_value *v)
{
	(void)arg;
	buf_printf(&seen, "%s%.*s/%.*s/%.*s=%.*s@%lld#%llu\n", v->deleted ? "-" : "+", STR_ARG(v->entity),
		   STR_ARG(v->entity_id), STR_ARG(v->feature), STR_ARG(v->value_json),
		   (long long)(v->event_time_us - T0_US), (unsigned long long)v->lsn);
	return --seen_max > 0;
}

static void assert_warm(const char *wanted)
{
	struct buf why = { 0 };
	while (offline_projection_step(rig.offline) != OFFLINE_STEP_CAUGHT_UP)
		;
	buf_clear(&seen);
	if (!offline_warm(rig.offline, NULL, note, &why))
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	buf_append_char(&seen, '\0');
	assert_string_equal(seen.p, wanted);
	buf_finish(&why);
}

static void test_the_newest_event_time_wins(void **state)
{
	(void)state;
	assert_warm("");
	rig_append_value(&rig, "u1", "tier", "1", T0_US + 100, 0);
	rig_append_value(&rig, "u1", "tier", "2", T0_US + 50, 0); /* late: an older event */
	rig_append_value(&rig, "u2", "tier", "3", T0_US + 70, 0);
	rig_append_value(&rig, "u1", "city", "4", T0_US + 10, 0);
	assert_warm("+User/u1/tier=1@100#1\n+User/u2/tier=3@70#3\n+User/u1/city=4@10#4\n");
	/* The same event time: the later entry. */
	rig_append_value(&rig, "u1", "tier", "5", T0_US + 100, 0);
	assert_warm("+User/u1/tier=5@100#5\n+User/u2/tier=3@70#3\n+User/u1/city=4@10#4\n");
}

static void test_times_before_1970_count(void **state)
{
	(void)state;
	rig_append_value(&rig, "u1", "born", "1", -5000000, 0);
	rig_append_value(&rig, "u1", "born", "2", -4000000, 0);
	rig_append_value(&rig, "u1", "born", "3", -6000000, 0);
	struct buf wanted = { 0 };
	buf_printf(&wanted, "+User/u1/born=2@%lld#2\n", (long long)(-4000000 - T0_US));
	buf_append_char(&wanted, '\0');
	assert_warm(wanted.p);
	buf_finish(&wanted);
}

static void test_deletes_hide_what_is_older(void **state)
{
	(void)state;
	rig_append_value(&rig, "u1", "tier", "1", T0_US + 10, 0);
	rig_append_value(&rig, "u1", "city", "2", T0_US + 30, 0);
	rig_append_delete(&rig, "u1", T0_US + 20);
	rig_append_delete(&rig, "u1", T0_US + 15);
	rig_append_value(&rig, "u1", "late", "3", T0_US + 12, 0); /* arrives later, but happened before the delete */
	rig_append_value(&rig, "u1", "same", "4", T0_US + 20, 0); /* same time, later entry */
	/* The city's event lay ahead of the delete, but it was written before it. */
	assert_warm("-User/u1/=@20#4\n+User/u1/same=4@20#6\n");
	rig_append_value(&rig, "u1", "city", "5", T0_US + 25, 0); /* and does not stand in the way of a later one */
	assert_warm("-User/u1/=@20#4\n+User/u1/city=5@25#7\n+User/u1/same=4@20#6\n");
}

/* A value of nothing deletes one feature, and the entity's others stay. */
static void test_a_deleted_feature_leaves_the_others(void **state)
{
	(void)state;
	rig_append_value(&rig, "u1", "tier", "1", T0_US + 10, 0);
	rig_append_value(&rig, "u1", "city", "2", T0_US + 10, 0);
	rig_append_values(&rig, "User",
			  &(struct entry_value){
			      .entity_id = STR("u1"), .feature = STR("tier"), .event_time_us = T0_US + 20 },
			  1);
	assert_warm("-User/u1/tier=@20#3\n+User/u1/city=2@10#2\n");
	rig_append_value(&rig, "u1", "tier", "3", T0_US + 25, 0);
	assert_warm("-User/u1/tier=@20#3\n+User/u1/tier=3@25#4\n+User/u1/city=2@10#2\n");
}

/* The delete of a row takes the tombstones that its features had, also the one of an event that lay ahead. */
static void test_a_deleted_row_takes_the_tombstones_of_its_features(void **state)
{
	(void)state;
	const struct entry_value none = { .entity_id = STR("u1"),
					  .feature = STR("tier"),
					  .event_time_us = T0_US + 120 };
	rig_append_values(&rig, "User", &none, 1);
	assert_warm("-User/u1/tier=@120#1\n");
	rig_append_delete(&rig, "u1", T0_US + 20);
	assert_warm("-User/u1/=@20#2\n");
	rig_append_value(&rig, "u1", "tier", "1", T0_US + 25, 0);
	assert_warm("-User/u1/=@20#2\n+User/u1/tier=1@25#3\n");
	/* One that was written after it stays. */
	rig_append_values(&rig, "User", &none, 1);
	rig_append_value(&rig, "u1", "tier", "2", T0_US + 26, 0);
	rig_append_value(&rig, "u1", "tier", "3", T0_US + 121, 0);
	while (offline_projection_step(rig.offline) != OFFLINE_STEP_CAUGHT_UP)
		;
	struct buf why = { 0 };
	buf_clear(&seen);
	assert_true(offline_warm(rig.offline, NULL, note, &why));
	buf_append_char(&seen, '\0');
	assert_non_null(strstr(seen.p, "-User/u1/=@20#2\n"));
	assert_non_null(strstr(seen.p, "-User/u1/tier=@120#4\n"));
	assert_non_null(strstr(seen.p, "+User/u1/tier=3@121#6\n"));
	assert_null(strstr(seen.p, "tier=2"));
	buf_finish(&why);
}

static void test_expired_values_are_left_out(void **state)
{
	(void)state;
	int64_t now_us = clock_wall_us();
	rig_append_value(&rig, "u1", "old", "1", now_us - 10000000, 5000);
	rig_append_value(&rig, "u1", "live", "2", now_us - 10000000, 3600000);
	rig_append_value(&rig, "u1", "huge", "3", now_us - 20000000, INT64_MAX);
	assert_true(offline_projection_step(rig.offline) == OFFLINE_STEP_CAUGHT_UP);
	struct buf why = { 0 };
	assert_true(offline_warm(rig.offline, NULL, note, &why));
	buf_append_char(&seen, '\0');
	assert_null(strstr(seen.p, "old"));
	assert_non_null(strstr(seen.p, "live=2"));
	assert_non_null(strstr(seen.p, "huge=3"));
	buf_finish(&why);
}

static void test_the_reader_may_stop_it(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++)
		rig_append_value(&rig, "u1", (const char *[]){ "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" }[i],
				 "1", T0_US + i, 0);
	seen_max = 2;
	assert_warm("+User/u1/j=1@9#10\n+User/u1/i=1@8#9\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_newest_event_time_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_times_before_1970_count, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deletes_hide_what_is_older, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_deleted_feature_leaves_the_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_deleted_row_takes_the_tombstones_of_its_features, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_expired_values_are_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_reader_may_stop_it, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
