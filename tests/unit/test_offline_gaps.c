/* What the ledger does not hold any more, and where the projection stands among it: nothing that is readable is left out,
 * what is lost is counted once, and nobody waits for what will never come. */
#include "tests/unit/offline_fixture.h"
#include <fcntl.h>

static struct rig rig;
static char segment[200];

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	rig_open(&rig);
	snprintf(segment, sizeof segment, "%s/%016x.seg", rig.ledger_dir, 1);
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

static void project_all(void)
{
	enum offline_step did;
	while ((did = offline_projection_step(rig.offline)) == OFFLINE_STEP_MORE)
		;
	assert_int_equal(did, OFFLINE_STEP_CAUGHT_UP);
}

/* Record i, LSN i. Returns where its frame ends. */
static off_t append(unsigned i)
{
	rig_append_record(&rig, i, "chat", RECORD_GUARANTEED);
	return (off_t)rig.ledger->writer.open->foot.data_end;
}

/* In the frame that ends there. */
static void damage(off_t frame_end)
{
	int fd = open(segment, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "damage", 6, frame_end - 200), 6);
	close(fd);
}

static void accept_losses(int64_t wanted)
{
	struct buf out = { 0 };
	assert_int_equal(ledger_accept_losses(rig.ledger_dir, NULL, &out), wanted);
	buf_finish(&out);
}

static void assert_position(uint64_t applied, uint64_t missing)
{
	struct offline_health health;
	offline_health_read(rig.offline, &health);
	assert_int_equal(health.applied_lsn, applied);
	assert_int_equal(health.missing_entries, missing);
	assert_int_equal(health.lag_entries, 0);
}

/* Whoever waits for everything is answered, and not at its deadline. */
static void assert_rows(const char *wanted)
{
	struct query q = { .sql = "SELECT list(lsn ORDER BY lsn) AS l FROM fabra.records" };
	rig_start(&rig, false, false);
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 5000));
	assert_string_equal(a.text, wanted);
	free(a.text);
	rig_stop(&rig);
}

/* ---- the start looks at the entry that was applied last, and reads on from the next one ---- */
static void test_the_entry_behind_an_accepted_one_is_applied(void **state)
{
	(void)state;
	append(1), append(2);
	off_t third = append(3);
	project_all();
	append(4), append(5);
	rig_close(&rig);
	damage(third);
	accept_losses(1);
	rig_open(&rig);
	project_all();
	assert_position(5, 0);
	assert_rows("[{\"l\":[1,2,3,4,5]}]");
}

static void test_damage_from_the_applied_entry_on_is_counted(void **state)
{
	(void)state;
	append(1), append(2);
	off_t third = append(3);
	project_all();
	off_t fourth = append(4), fifth = append(5);
	append(6);
	rig_close(&rig);
	damage(third), damage(fourth), damage(fifth);
	rig_open(&rig);
	project_all();
	assert_position(6, 2); /* the third was applied before it was lost */
	assert_rows("[{\"l\":[1,2,3,6]}]");
}

/* ---- a gap at the end: no entry comes behind it, and the projection is at the end all the same ---- */
static void test_an_accepted_tail_is_not_waited_for(void **state)
{
	(void)state;
	append(1), append(2), append(3);
	project_all();
	off_t fourth = append(4), fifth = append(5);
	rig_close(&rig);
	damage(fourth), damage(fifth);
	accept_losses(2);
	rig_open(&rig);
	assert_rows("[{\"l\":[1,2,3]}]");
	assert_position(5, 0);
	assert_int_equal(atomic_load(&rig.ledger->projected_lsn), 5);
	rig_close(&rig);
	rig_open(&rig);
	assert_position(5, 0); /* kept */
	append(6);
	project_all();
	assert_rows("[{\"l\":[1,2,3,6]}]");
	assert_position(6, 0);
}

static void test_a_file_built_again_without_the_last_segments_is_at_the_end(void **state)
{
	(void)state;
	append(1), append(2), append(3);
	project_all();
	rig_close(&rig);
	assert_int_equal(unlink(rig.db_path), 0);
	assert_int_equal(unlink(segment), 0); /* as retention does: the list comes first, which is the same here */
	accept_losses(3);
	rig_open(&rig);
	assert_rows("[{\"l\":null}]");
	assert_position(3, 0);
	append(4);
	project_all();
	assert_rows("[{\"l\":[4]}]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_entry_behind_an_accepted_one_is_applied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage_from_the_applied_entry_on_is_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_accepted_tail_is_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_file_built_again_without_the_last_segments_is_at_the_end, setup,
						teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
