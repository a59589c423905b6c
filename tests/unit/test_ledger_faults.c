/* What fails, fails whole and says so; what was acknowledged stays; what comes back is used again. */
#include "tests/unit/ledger_fixture.h"

enum { TINY_SEGMENT = 64 << 10 };
static char *dir;

static int set_up(void **state)
{
	(void)state;
	faults_reset();
	dir = fresh_dir();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	drop_dir(dir);
	return 0;
}

/* A ledger whose helper has ended, so that every file operation from here on is the committer's. */
static struct ledger *open_alone(bool has_reserve)
{
	struct ledger *l = open_sized(dir, TINY_SEGMENT);
	ledger_helper_stop(l);
	if (has_reserve && atomic_load(&l->helper.reserve) == LEDGER_RESERVE_NONE)
		make_reserve(l);
	if (!has_reserve)
		atomic_store(&l->helper.reserve, LEDGER_RESERVE_NONE);
	return l;
}

static void check_clean(uint64_t frames)
{
	struct ledger_report report;
	struct buf out = { 0 };
	int64_t problems = ledger_verify(dir, NULL, &report, &out);
	if (problems != 0)
		print_error("%.*s\n", STR_ARG(buf_str(&out)));
	assert_int_equal(problems, 0);
	assert_int_equal(report.frames, frames);
	buf_finish(&out);
}

/* ---- a disk that hangs ---- */
static struct ledger *hanging;
static struct ledger_health while_short, while_long;

/* Looks at the ledger from inside a sync, as others do meanwhile; then as if it had begun 7 s ago. */
static int hanging_fdatasync(const struct ledger_io *io, int fd)
{
	ledger_health_read(hanging, &while_short);
	atomic_fetch_sub(&hanging->committing_since_ns, 7 * UINT64_C(1000000000));
	ledger_health_read(hanging, &while_long);
	return ledger_io_real.fdatasync(io, fd);
}

static void a_commit_that_hangs_makes_the_ledger_not_writable(void **state)
{
	(void)state;
	struct ledger_health health;
	struct ledger *l = hanging = open_alone(false);
	assert_int_equal(write_record(l, 1, 20), RT_OK);
	faults.io.fdatasync = hanging_fdatasync;
	assert_int_equal(write_record(l, 2, 20), RT_OK);
	assert_true(while_short.writable);
	assert_string_equal(while_short.reason, "");
	assert_false(while_long.writable);
	assert_non_null(strstr(while_long.reason, "a commit has been under way for 7 s"));
	ledger_health_read(l, &health);
	assert_true(health.writable);
	assert_string_equal(health.reason, "");
	ledger_close(l);
	check_clean(2);
}

static void a_failed_sync_fails_its_whole_batch(void **state)
{
	(void)state;
	char id[41];
	int statuses[3];
	struct ledger_health health;
	struct ledger *l = open_alone(false);
	assert_int_equal(write_record(l, 1, 20), RT_OK);
	struct evidence_entry *entries[] = { make_record(2, 20), make_event(1), make_record(3, 20) };
	int syncs = atomic_load(&faults.calls[FAULT_FDATASYNC]);
	faults.once = true;
	faults.countdown[FAULT_FDATASYNC] = 1;
	ledger_write(l, entries, statuses, 3, NOW_US);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(statuses[i], RT_EIO);
		assert_non_null(strstr(entries[i]->reason, "nothing was recorded"));
		evidence_entry_free(entries[i]);
	}
	/* One sync of the batch, never a second one; the other is that of the next segment's header. */
	assert_int_equal(atomic_load(&faults.calls[FAULT_FDATASYNC]) - syncs, 2);
	assert_int_equal(l->writer.open->head.seq, 2);
	assert_false(is_there(l, 2));
	assert_int_equal(ledger_events_from(l), 2); /* the event is not pending: it never was */
	struct evidence_entry *e = make_record(4, 20);
	ledger_write(l, &e, statuses, 1, NOW_US);
	id_of(1, id);
	assert_string_equal(e->previous_context_id, id); /* the stamps of the batch went with it */
	assert_int_equal(e->lsn, 2);
	evidence_entry_free(e);
	ledger_health_read(l, &health);
	assert_true(health.writable);
	assert_int_equal(health.sync_failures, 1);
	ledger_close(l);
	check_clean(2);
	l = open_alone(false);
	assert_true(is_there(l, 1) && is_there(l, 4));
	assert_false(is_there(l, 2) || is_there(l, 3));
	ledger_close(l);
}

static void frames_of_a_failed_batch_do_not_come_back(void **state)
{
	(void)state;
	struct ledger *l = open_alone(false);
	assert_int_equal(write_record(l, 1, 20), RT_OK);
	uint64_t end = l->writer.open->foot.data_end;
	char path[600], saved[4096];
	path_of(dir, 1, path);
	faults.once = true;
	faults.countdown[FAULT_FDATASYNC] = 1;
	struct evidence_entry *e = make_record(2, 20);
	int status;
	/* The disk may have kept the frame after all: put it back behind the ledger's back. */
	faults.countdown[FAULT_PWRITE] = 2; /* so that it cannot be wiped: the batch is the 1st write, the
					       wipe the 2nd */
	ledger_write(l, &e, &status, 1, NOW_US);
	assert_int_equal(status, RT_EIO);
	int fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, saved, sizeof saved, (off_t)end), sizeof saved);
	close(fd);
	struct ledger_frame_head head;
	assert_true(ledger_frame_head_read((uint8_t *)saved, l->set->segments[0]->head.epoch, &head)); /* it is there */
	faults_end();
	assert_true(ledger_reopen(l, NOW_US));
	assert_int_equal(write_record(l, 3, 20), RT_OK);
	evidence_entry_free(e);
	ledger_close(l);
	l = open_alone(false);
	assert_true(is_there(l, 3));
	assert_false(is_there(l, 2));
	ledger_close(l);
	check_clean(2);
}

static void a_dead_disk_makes_it_read_only_until_it_is_back(void **state)
{
	(void)state;
	struct ledger_health health;
	struct ledger *l = open_alone(false);
	assert_int_equal(write_record(l, 1, 20), RT_OK);
	faults.countdown[FAULT_FDATASYNC] = 1;
	assert_int_equal(write_record(l, 2, 20), RT_EIO);
	ledger_health_read(l, &health);
	assert_false(health.writable);
	assert_non_null(strstr(health.reason, "Input/output error"));
	int calls = atomic_load(&faults.calls[FAULT_PWRITE]);
	assert_int_equal(write_record(l, 3, 20), RT_EREADONLY);
	assert_int_equal(atomic_load(&faults.calls[FAULT_PWRITE]), calls); /* refused without touching the
									      disk */
	assert_true(is_there(l, 1));
	assert_int_equal(scan_from(l, NULL, 1).frames, 1);
	assert_false(ledger_reopen(l, NOW_US));
	faults_end();
	assert_true(ledger_reopen(l, NOW_US));
	assert_int_equal(write_record(l, 4, 20), RT_OK);
	ledger_health_read(l, &health);
	assert_true(health.writable);
	assert_string_equal(health.reason, "");
	ledger_close(l);
	check_clean(2);
}

static unsigned fill_segment(struct ledger *l, unsigned first)
{
	unsigned i = first;
	for (uint64_t seq = l->writer.newest_seq; l->writer.newest_seq == seq && i < first + 200; i++) {
		if (write_record(l, i, 1000) != RT_OK)
			break;
	}
	return i;
}

static void a_full_disk_is_met_with_the_reserve(void **state)
{
	(void)state;
	struct ledger_health health;
	struct ledger *l = open_alone(true);
	assert_int_equal(write_record(l, 0, 20), RT_OK); /* the first segment comes from the reserve */
	ledger_close(l);
	l = open_alone(true);
	assert_int_equal(write_record(l, 1, 20), RT_OK);
	make_reserve(l);
	faults.error = ENOSPC;
	faults.countdown[FAULT_ALLOCATE] = 1;
	unsigned n = fill_segment(l, 2); /* goes on in the reserve */
	assert_true(is_there(l, n - 1));
	n = fill_segment(l, n); /* and then there is nothing left */
	assert_false(is_there(l, n));
	ledger_health_read(l, &health);
	assert_false(health.writable);
	assert_non_null(strstr(health.reason, "free disk space"));
	assert_int_equal(write_record(l, n, 20), RT_EREADONLY);
	assert_true(is_there(l, n - 1)); /* reads go on */
	faults_end();
	assert_true(ledger_reopen(l, NOW_US));
	assert_int_equal(write_record(l, n, 20), RT_OK);
	ledger_close(l);
	check_clean(n + 1);
}

static void the_batch_that_meets_the_full_disk_says_so(void **state)
{
	(void)state;
	struct ledger *l = open_alone(false);
	faults.error = ENOSPC;
	faults.countdown[FAULT_ALLOCATE] = 1;
	struct evidence_entry *e = make_record(1, 20);
	int status;
	ledger_write(l, &e, &status, 1, NOW_US);
	assert_int_equal(status, RT_EFULL);
	assert_non_null(strstr(e->reason, "free disk space"));
	evidence_entry_free(e);
	ledger_close(l);
}

static void the_helper_heals_a_full_disk_by_itself(void **state)
{
	(void)state;
	faults.error = ENOSPC;
	faults.countdown[FAULT_ALLOCATE] = 1;
	struct ledger *l = open_sized(dir, TINY_SEGMENT);
	assert_int_equal(write_record(l, 1, 20), RT_EFULL);
	faults_end();
	ledger_helper_wake(l);
	assert_true(ledger_reopen(l, NOW_US));
	assert_int_equal(write_record(l, 1, 20), RT_OK);
	ledger_close(l);
	check_clean(1);
}

static void short_writes_are_continued(void **state)
{
	(void)state;
	faults.short_write = 1000;
	struct ledger *l = open_alone(false);
	write_batch(l, 0, 10, 500);
	for (unsigned i = 0; i < 10; i++)
		assert_true(is_there(l, i));
	ledger_close(l);
	check_clean(10);
}

/* One scenario, and in each round another call of one kind fails, once or from then on. Whatever happens,
 * what was acknowledged is there afterwards, what is there is whole, and the ledger can be used again. */
static void sweep(enum fault_point point, bool once, int nth)
{
	bool is_acked[64] = { false };
	struct buf why = { 0 };
	struct ledger_config config = { .dir = dir, .segment_bytes = TINY_SEGMENT };
	unsigned n = 0, acked = 0;
	faults.once = once;
	faults.countdown[point] = nth;
	for (int restarts = 0; restarts < 2; restarts++) {
		struct ledger *l = ledger_open_on(&config, &faults.io, &why);
		for (; l != NULL && n < 30u * (unsigned)(restarts + 1); n++) {
			is_acked[n] = write_record(l, n, 3000) == RT_OK;
			acked += is_acked[n];
			ledger_maintain(l, NOW_US);
			ledger_reopen(l, NOW_US);
		}
		ledger_close(l);
	}
	faults_end();
	struct ledger *l = open_sized(dir, TINY_SEGMENT);
	for (unsigned i = 0; i < n; i++) {
		bool is_here = is_there(l, i);
		assert_true(is_here || !is_acked[i]);
	}
	assert_int_equal(write_record(l, 100, 20), RT_OK);
	struct scanned s = scan_from(l, NULL, 1);
	assert_int_equal(s.corrupt, 0);
	assert_true(s.frames >= acked + 1);
	ledger_close(l);
	check_clean(s.frames);
	buf_finish(&why);
}

static void any_call_may_fail(void **state)
{
	(void)state;
	static const int last[FAULT_POINTS] = {
		[FAULT_PWRITE] = 24, [FAULT_FDATASYNC] = 24, [FAULT_ALLOCATE] = 4,
		[FAULT_RENAME] = 6,  [FAULT_SYNC_DIR] = 6,   [FAULT_OPEN_NEW] = 4,
	};
	for (int point = 0; point < FAULT_POINTS; point++) {
		for (int nth = 1; nth <= last[point]; nth++) {
			faults.error = nth % 2 ? EIO : ENOSPC;
			sweep((enum fault_point)point, nth % 3 != 0, nth);
			remove_files(dir);
		}
	}
}

static void a_folder_that_cannot_be_written_is_said_at_once(void **state)
{
	(void)state;
	struct buf why = { 0 };
	struct ledger_config config = { .dir = "/proc/fabra-ledger" };
	assert_null(ledger_open(&config, &why));
	assert_non_null(memmem(why.p, why.n, "cannot use the ledger directory", 31));
	buf_finish(&why);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_commit_that_hangs_makes_the_ledger_not_writable),
		TEST(a_failed_sync_fails_its_whole_batch),
		TEST(frames_of_a_failed_batch_do_not_come_back),
		TEST(a_dead_disk_makes_it_read_only_until_it_is_back),
		TEST(a_full_disk_is_met_with_the_reserve),
		TEST(the_batch_that_meets_the_full_disk_says_so),
		TEST(the_helper_heals_a_full_disk_by_itself),
		TEST(short_writes_are_continued),
		TEST(any_call_may_fail),
		TEST(a_folder_that_cannot_be_written_is_said_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
