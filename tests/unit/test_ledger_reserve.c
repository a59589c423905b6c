/* The files of zeros for segments to come: how they are made, who gets them, what a start finds. */
#include "tests/unit/ledger_fixture.h"
#include <sched.h>
#include <sys/vfs.h>
#include <time.h>

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

/* ---- one ---- */
/* Zeros are on disk, and paced, before a reserve counts as one. */
static uint64_t written_back;

static void watched_write_back(const struct ledger_io *io, int fd, uint64_t at, size_t n)
{
	(void)io, (void)fd;
	assert_int_equal(at, written_back);
	assert_true(n <= 128 << 10);
	written_back += n;
}

static void a_reserve_is_written_back_piece_by_piece(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	ledger_helper_stop(l); /* this thread is the helper now */
	written_back = 0;
	faults.io.write_back = watched_write_back;
	int syncs = atomic_load(&faults.calls[FAULT_FDATASYNC]);
	make_reserve(l);
	assert_int_equal(written_back, l->config.segment_bytes);
	assert_int_equal(atomic_load(&faults.calls[FAULT_FDATASYNC]), syncs + 1);
	ledger_close(l);
}

static ino_t inode_of(const char *name)
{
	char path[512];
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

/* Else a commit also writes the block of inodes that the zeros keep changing: docs/adr/0007. */
static void a_reserve_is_no_neighbour_of_the_open_segment(void **state)
{
	(void)state;
	enum { EXT4 = 0xEF53 };
	struct statfs fs;
	assert_int_equal(statfs(dir, &fs), 0);
	if (fs.f_type != EXT4) {
		print_message("SKIPPED: %s is not on ext4, whose blocks of inodes this is about\n", dir);
		skip();
	}
	struct ledger *l = open_small(dir);
	ledger_helper_stop(l); /* this thread is the helper now */
	for (unsigned i = 0; i < 4; i++) {
		char segment[LEDGER_SEGMENT_NAME];
		assert_int_equal(write_record(l, i, 20), RT_OK);
		ledger_segment_name(l->writer.open->head.seq, segment);
		make_reserve(l);
		int64_t reserve = (int64_t)inode_of("reserve");
		assert_true(llabs(reserve - (int64_t)inode_of(segment)) >= 32);
		assert_true(llabs(reserve - (int64_t)inode_of("durable")) >= 32);
		atomic_store(&l->helper.reserve, LEDGER_RESERVE_READY);
		for (uint64_t seq = l->writer.open->head.seq; l->writer.open->head.seq == seq;)
			assert_int_equal(write_record(l, i, 2000), RT_OK);
	}
	ledger_close(l);
}

/* ---- files behind the reserve ---- */
static bool has_file(const char *name)
{
	char path[600];
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return stat(path, &st) == 0;
}

static void fill_segment(struct ledger *l)
{
	static unsigned n;
	for (uint64_t seq = atomic_load(&l->newest_seq); atomic_load(&l->newest_seq) == seq; n++)
		assert_int_equal(write_record(l, n, 2000), RT_OK);
}

/* A ledger whose helper has ended, with a reserve. */
static struct ledger *open_alone(void)
{
	struct ledger *l = open_small(dir);
	ledger_helper_stop(l);
	if (atomic_load(&l->helper.reserve) == LEDGER_RESERVE_NONE)
		make_reserve(l);
	return l;
}

static void a_spare_becomes_the_reserve(void **state)
{
	(void)state;
	struct ledger *l = open_alone();
	make_reserve(l);
	make_reserve(l);
	assert_int_equal(l->helper.preallocated, 2);
	assert_true(has_file("reserve") && has_file("reserve.1") && has_file("reserve.2"));
	fill_segment(l);
	assert_int_equal(atomic_load(&l->helper.reserve), LEDGER_RESERVE_NONE);
	int allocated = atomic_load(&faults.calls[FAULT_ALLOCATE]);
	assert_true(ledger_reserve_use_preallocated(l));
	assert_int_equal(atomic_load(&l->helper.reserve), LEDGER_RESERVE_READY);
	assert_true(has_file("reserve") && has_file("reserve.1") && !has_file("reserve.2"));
	fill_segment(l);
	fill_segment(l); /* without any */
	assert_true(ledger_reserve_use_preallocated(l));
	assert_false(ledger_reserve_use_preallocated(l));
	assert_int_equal(atomic_load(&faults.calls[FAULT_ALLOCATE]), allocated + 1);
	uint64_t lsn = ledger_durable_lsn(l);
	ledger_close(l);
	struct ledger_report report;
	struct buf out = { 0 };
	assert_int_equal(ledger_verify(dir, NULL, &report, &out), 0);
	assert_int_equal(report.records, lsn);
	buf_finish(&out);
}

static void a_spare_that_cannot_be_made_or_used_leaves_nothing(void **state)
{
	(void)state;
	static const enum fault_point points[] = { FAULT_OPEN_NEW, FAULT_ALLOCATE, FAULT_PWRITE, FAULT_FDATASYNC,
						   FAULT_RENAME };
	struct ledger *l = open_alone();
	for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
		int error = 0;
		faults.countdown[points[i]] = 1;
		do
			error = ledger_reserve_make_piece(l);
		while (error == 0 && l->helper.zeros_fd >= 0);
		faults_end();
		assert_int_equal(error, -EIO);
		assert_int_equal(l->helper.preallocated, 0);
		assert_false(has_file("reserve.new") || has_file("reserve.1"));
	}
	make_reserve(l);
	fill_segment(l);
	faults.countdown[FAULT_RENAME] = 1;
	assert_false(ledger_reserve_use_preallocated(l));
	faults_end();
	assert_int_equal(atomic_load(&l->helper.reserve), LEDGER_RESERVE_NONE);
	make_reserve(l);
	assert_int_equal(atomic_load(&l->helper.reserve), LEDGER_RESERVE_READY);
	ledger_close(l);
}

static void put_file(const char *name, off_t bytes)
{
	char path[600];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	close(fd);
}

static void a_start_takes_the_spares_that_fit(void **state)
{
	(void)state;
	put_file("reserve.new", SMALL_SEGMENT);
	put_file("reserve", SMALL_SEGMENT);
	put_file("reserve.1", SMALL_SEGMENT / 2);
	put_file("reserve.2", SMALL_SEGMENT);
	put_file("reserve.4", SMALL_SEGMENT);
	struct ledger *l = open_alone();
	assert_int_equal(l->helper.preallocated, 2);
	assert_true(has_file("reserve.1") && has_file("reserve.2"));
	assert_false(has_file("reserve.4") || has_file("reserve.new"));
	ledger_close(l);
}

/* ---- when they are made; the helper's own thread ---- */
static sem_t reserve_is_there, spare_is_there;
static atomic_bool was_spare;

static int watched_rename(const struct ledger_io *io, int dir_fd, const char *from, const char *to)
{
	int error = ledger_io_real.rename(io, dir_fd, from, to);
	if (strcmp(to, "reserve") == 0) {
		atomic_store(&was_spare, strcmp(from, "reserve.1") == 0);
		sem_post(&reserve_is_there);
	}
	if (strcmp(to, "reserve.1") == 0)
		sem_post(&spare_is_there);
	return error;
}

static void wait_for(sem_t *sem)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	assert_int_equal(sem_timedwait(sem, &until), 0);
}

static void wait_for_reserve(struct ledger *l)
{
	wait_for(&reserve_is_there);
	while (atomic_load(&l->helper.reserve) != LEDGER_RESERVE_READY) /* its directory is being synced */
		sched_yield();
}

static void who_fills_segments_quickly_gets_spares(void **state)
{
	(void)state;
	sem_init(&reserve_is_there, 0, 0);
	sem_init(&spare_is_there, 0, 0);
	faults.io.rename = watched_rename;
	struct ledger *l = open_small(dir);
	wait_for_reserve(l);
	assert_false(has_file("reserve.1"));
	for (unsigned i = 0; i < 2; i++) { /* the second soon after the first */
		fill_segment(l);
		wait_for_reserve(l);
		assert_false(atomic_load(&was_spare));
	}
	wait_for(&spare_is_there);
	fill_segment(l);
	wait_for_reserve(l);
	assert_true(atomic_load(&was_spare));
	ledger_close(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_reserve_is_written_back_piece_by_piece),
		TEST(a_reserve_is_no_neighbour_of_the_open_segment),
		TEST(a_spare_becomes_the_reserve),
		TEST(a_spare_that_cannot_be_made_or_used_leaves_nothing),
		TEST(a_start_takes_the_spares_that_fit),
		TEST(who_fills_segments_quickly_gets_spares),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
