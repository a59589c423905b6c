/* What a start finds after a crash: torn tails are cut, damage is reported and stepped over, stale bytes are
 * never read. */
#include "tests/unit/ledger_fixture.h"
#include "runtime/check.h"
#include <dlfcn.h>

enum { TINY_SEGMENT = 64 << 10 };
static char *dir, *image;

/* Stands before the C library's: a listing that breaks off, as on a disk error. */
static bool is_listing_broken;

struct dirent *readdir(DIR *d)
{
	struct dirent *(*next)(DIR *) = (struct dirent * (*)(DIR *)) dlsym(RTLD_NEXT, "readdir");
	if (!is_listing_broken)
		return next(d);
	errno = EIO;
	return NULL;
}

static int no_sync(const struct ledger_io *io, int fd)
{
	(void)io;
	(void)fd;
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	faults_reset();
	faults.io.fdatasync = faults.io.sync_dir = no_sync; /* the machine stays up here; only the process
							       "dies" */
	dir = fresh_dir();
	image = fresh_dir();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	drop_dir(dir);
	drop_dir(image);
	return 0;
}

/* Ten records, each a batch; the folder as a kill would leave it is copied to `image`. Returns where frames
 * begin. */
static void make_image(uint64_t ret_starts[11], bool is_closed)
{
	struct ledger *l = open_sized(dir, TINY_SEGMENT);
	for (unsigned i = 0; i < 10; i++) {
		ret_starts[i] = l->writer.open ? l->writer.open->foot.data_end : LEDGER_BLOCK;
		assert_int_equal(write_record(l, i, 20), RT_OK);
	}
	ret_starts[10] = l->writer.open->foot.data_end;
	if (!is_closed)
		copy_dir(dir, image);
	ledger_close(l);
	if (is_closed)
		copy_dir(dir, image);
}

static void forget_hint(void)
{
	char path[600];
	snprintf(path, sizeof path, "%s/durable", image);
	unlink(path);
}

static void a_killed_ledger_has_everything(void **state)
{
	(void)state;
	uint64_t starts[11];
	make_image(starts, false);
	struct ledger *l = open_sized(image, TINY_SEGMENT);
	for (unsigned i = 0; i < 10; i++)
		assert_true(is_there(l, i));
	assert_int_equal(write_record(l, 10, 20), RT_OK);
	assert_int_equal(l->writer.open->head.seq, 2); /* never continues in a segment that it found */
	assert_int_equal(ledger_durable_lsn(l), 11);
	assert_int_equal(scan_from(l, NULL, 1).frames, 11);
	ledger_close(l);
}

static void torn_tails_are_cut_at_every_byte(void **state)
{
	(void)state;
	uint64_t starts[11];
	char path[600];
	struct ledger_health health;
	static const uint8_t rests[2] = { 0x00, 0xa5 };
	make_image(starts, false);
	forget_hint();
	path_of(image, 1, path);
	static uint8_t whole[TINY_SEGMENT], torn[TINY_SEGMENT];
	int fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, whole, sizeof whole), sizeof whole);
	close(fd);
	/* The last two frames: batches of their own, but nobody knows the first of them to be durable once
	 * the second is torn. */
	for (uint64_t cut = starts[8]; cut < starts[10]; cut++) {
		memcpy(torn, whole, sizeof torn);
		memset(torn + cut, rests[cut % 2], starts[10] - cut);
		if (memcmp(torn, whole, sizeof torn) == 0)
			continue; /* the padding of the last frame is zeros anyway */
		remove_files(image);
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		assert_int_equal(write(fd, torn, sizeof torn), sizeof torn);
		close(fd);
		bool is_whole = memcmp(torn + starts[8], whole + starts[8], starts[9] - starts[8]) == 0;
		unsigned left = is_whole ? 9 : 8;
		struct ledger *l = open_sized(image, TINY_SEGMENT);
		ledger_health_read(l, &health);
		assert_int_equal(health.corrupt_frames, 0);
		assert_int_equal(health.durable_lsn, left);
		assert_true(is_there(l, left - 1));
		assert_false(is_there(l, left));
		assert_int_equal(write_record(l, 50, 20), RT_OK); /* takes the number and the predecessor of
								     the torn one */
		struct scanned s = scan_from(l, NULL, 1);
		assert_int_equal(s.corrupt, 0);
		assert_int_equal(s.frames, left + 1);
		assert_int_equal(s.last_lsn, left + 1);
		ledger_close(l);
	}
}

/* Flips one byte of record 4's frame (lsn 5) and looks at what is made of it. */
static void check_damage(uint64_t at, const uint64_t starts[11], bool is_closed)
{
	char path[600];
	struct stat before, after;
	struct evidence_record *r = NULL;
	path_of(image, 1, path);
	flip(path, at);
	stat(path, &before);
	struct ledger *l = open_sized(image, TINY_SEGMENT);
	for (unsigned i = 0; i < 10; i++) {
		if (i != 4)
			assert_true(is_there(l, i));
	}
	/* A sealed index leads to the place; without one, what is missing may be just this record. Nothing
	 * partial is returned in any case. */
	assert_int_equal(find_status(l, 4, &r), RT_EIO);
	struct scanned s = scan_from(l, NULL, 1);
	assert_int_equal(s.frames, 9);
	assert_int_equal(s.corrupt, 1);
	assert_int_equal(s.corrupt_at, starts[4]);
	assert_int_equal(s.corrupt_lsn, 5);
	struct ledger_health health;
	ledger_health_read(l, &health);
	if (!is_closed)
		assert_int_equal(health.corrupt_frames, 1);
	assert_int_equal(write_record(l, 60, 20), RT_OK);
	assert_int_equal(ledger_durable_lsn(l), 11);
	ledger_close(l);
	s = scan_from(NULL, image, 1);
	assert_int_equal(s.corrupt, 1);
	assert_int_equal(s.frames, 10);
	stat(path, &after);
	if (is_closed)
		assert_int_equal(before.st_size, after.st_size);
	flip(path, at); /* not a byte was lost: with the bit flipped back all is well again */
	assert_int_equal(scan_from(NULL, image, 1).frames, 11);
}

static void step_over_damage(bool is_closed)
{
	static const unsigned places[] = { 0, 4, 8, 12, 16, 24, 32, 40, 48, 80, 90, 170, 300, 500 };
	uint64_t starts[11];
	make_image(starts, is_closed);
	char *whole = image;
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		image = fresh_dir();
		copy_dir(whole, image);
		check_damage(starts[4] + places[i], starts, is_closed);
		drop_dir(image);
	}
	image = whole;
}

static void damage_is_stepped_over_after_a_kill(void **state)
{
	(void)state;
	step_over_damage(false);
}

static void damage_is_stepped_over_in_a_sealed_segment(void **state)
{
	(void)state;
	step_over_damage(true);
}

static void damage_in_the_last_batch_is_damage(void **state)
{
	(void)state;
	uint64_t starts[11];
	char path[600];
	struct ledger_health health;
	make_image(starts, false);
	path_of(image, 1, path);
	flip(path, starts[9] + 100);
	struct ledger *l = open_sized(image, TINY_SEGMENT); /* the `durable` file knows better than to call it
							       torn */
	ledger_health_read(l, &health);
	assert_int_equal(health.corrupt_frames, 1);
	assert_int_equal(health.durable_lsn, 10);
	assert_true(is_there(l, 8));
	assert_int_equal(write_record(l, 70, 20), RT_OK);
	assert_int_equal(ledger_durable_lsn(l), 11); /* the lost number is not used again */
	assert_int_equal(scan_from(l, NULL, 1).corrupt, 1);
	ledger_close(l);
	for (int restarts = 0; restarts < 2; restarts++) {
		l = open_sized(image, TINY_SEGMENT);
		struct scanned s = scan_from(l, NULL, 1);
		assert_int_equal(s.corrupt, 1);
		assert_int_equal(s.corrupt_at, starts[9]);
		assert_int_equal(s.frames, 10);
		assert_true(is_there(l, 70));
		ledger_close(l);
	}
}

static void stale_frames_of_a_recycled_segment_are_not_read(void **state)
{
	(void)state;
	char from[600], to[600];
	struct ledger *l = open_sized(dir, TINY_SEGMENT);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(write_record(l, i, 20), RT_OK);
	ledger_helper_stop(l);
	copy_dir(dir, image);
	ledger_close(l);
	remove_files(dir);
	path_of(image, 1, from);
	snprintf(to, sizeof to, "%s/reserve", dir);
	assert_int_equal(truncate(from, TINY_SEGMENT), 0);
	assert_int_equal(rename(from, to), 0); /* full of good frames of another epoch, LSN 1 among them */
	remove_files(image);
	l = open_sized(dir, TINY_SEGMENT);
	assert_int_equal(atomic_load(&l->helper.reserve), LEDGER_RESERVE_READY);
	assert_int_equal(write_record(l, 100, 20), RT_OK);
	copy_dir(dir, image);
	ledger_close(l);
	forget_hint();
	l = open_sized(image, TINY_SEGMENT);
	struct ledger_health health;
	ledger_health_read(l, &health);
	assert_int_equal(health.durable_lsn, 1);
	assert_int_equal(health.corrupt_frames, 0);
	assert_true(is_there(l, 100));
	for (unsigned i = 0; i < 40; i++)
		assert_false(is_there(l, i));
	assert_int_equal(scan_from(l, NULL, 1).frames, 1);
	ledger_close(l);
}

static void a_damaged_header_hides_one_segment_only(void **state)
{
	(void)state;
	char path[600];
	struct ledger *l = open_sized(dir, TINY_SEGMENT);
	for (unsigned i = 0; i < 150; i++)
		assert_int_equal(write_record(l, i, 20), RT_OK);
	ledger_close(l);
	path_of(dir, 2, path);
	flip(path, 100);
	l = open_sized(dir, TINY_SEGMENT);
	struct scanned s = scan_from(l, NULL, 1);
	assert_int_equal(s.corrupt, 1);
	assert_int_equal(s.last_lsn, 150);
	assert_true(s.frames > 80 && s.frames < 150);
	assert_true(is_there(l, 0));
	assert_true(is_there(l, 149));
	assert_int_equal(write_record(l, 200, 20), RT_OK);
	ledger_close(l);
	flip(path, 100);
	assert_int_equal(scan_from(NULL, dir, 1).frames, 151);
}

static void a_lost_footer_is_made_again(void **state)
{
	(void)state;
	uint64_t starts[11];
	char path[600];
	struct stat st;
	make_image(starts, true);
	path_of(image, 1, path);
	stat(path, &st);
	flip(path, (uint64_t)st.st_size - 100);
	struct ledger *l = open_sized(image, TINY_SEGMENT);
	assert_true(l->set->segments[0]->is_sealed);
	for (unsigned i = 0; i < 10; i++)
		assert_true(is_there(l, i));
	ledger_close(l);
}

static void a_damaged_index_is_said(void **state)
{
	(void)state;
	uint64_t starts[11];
	char path[600];
	struct evidence_record *r;
	make_image(starts, true);
	struct ledger *l = open_sized(image, TINY_SEGMENT);
	path_of(image, 1, path);
	flip(path, l->set->segments[0]->foot.index_at + 3);
	assert_int_equal(find_status(l, 4, &r), RT_EIO); /* and not "not found", which it cannot know */
	assert_int_equal(write_record(l, 80, 20), RT_OK);
	assert_true(is_there(l, 80));
	ledger_close(l);
}

static void another_ledgers_segment_is_refused(void **state)
{
	(void)state;
	uint64_t starts[11];
	char from[600], to[600];
	struct buf why = { 0 };
	make_image(starts, true);
	remove_files(dir);
	for (unsigned i = 0; i < 2; i++) {
		struct ledger *l = open_sized(dir, TINY_SEGMENT);
		write_record(l, i, 20);
		ledger_close(l);
	}
	path_of(dir, 2, from);
	path_of(image, 2, to);
	assert_int_equal(rename(from, to), 0);
	struct ledger_config config = { .dir = image, .segment_bytes = TINY_SEGMENT };
	assert_null(ledger_open_on(&config, &faults.io, &why));
	assert_non_null(memmem(why.p, why.n, "another ledger", 14));
	buf_finish(&why);
}

static void half_a_listing_is_not_a_shorter_log(void **state)
{
	(void)state;
	uint64_t starts[11];
	struct buf why = { 0 };
	make_image(starts, false);
	forget_hint();
	struct ledger_config config = { .dir = image, .segment_bytes = TINY_SEGMENT };
	is_listing_broken = true;
	struct ledger *l = ledger_open_on(&config, &faults.io, &why);
	is_listing_broken = false;
	assert_null(l);
	assert_non_null(memmem(why.p, why.n, "cannot read the segments of the ledger", 38));
	buf_finish(&why);
	l = open_sized(image, TINY_SEGMENT);
	assert_int_equal(ledger_durable_lsn(l), 10); /* and the refusal took nothing away */
	ledger_close(l);
}

/* A stray file: the number after it would be 0, and what is written there would be older than all. */
static void a_number_that_no_ledger_reaches_is_refused(void **state)
{
	(void)state;
	static const char *const names[] = { "ffffffffffffffff.seg", "fffffffffffffff0.seg", "4000000000000001.seg" };
	uint64_t starts[11];
	char path[600];
	make_image(starts, false);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct buf why = { 0 };
		struct ledger_config config = { .dir = image, .segment_bytes = TINY_SEGMENT };
		snprintf(path, sizeof path, "%s/%s", image, names[i]);
		close(open(path, O_CREAT | O_WRONLY, 0600));
		assert_null(ledger_open_on(&config, &faults.io, &why));
		assert_non_null(memmem(why.p, why.n, names[i], strlen(names[i])));
		assert_non_null(memmem(why.p, why.n, "move that file away", 19));
		buf_finish(&why);
		assert_int_equal(unlink(path), 0);
	}
	struct ledger *l = open_sized(image, TINY_SEGMENT); /* the refusals took nothing away */
	assert_int_equal(ledger_durable_lsn(l), 10);
	assert_int_equal(write_record(l, 11, 20), RT_OK);
	ledger_close(l);
	l = open_sized(image, TINY_SEGMENT);
	assert_int_equal(ledger_durable_lsn(l), 11);
	ledger_close(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_killed_ledger_has_everything),
		TEST(torn_tails_are_cut_at_every_byte),
		TEST(damage_is_stepped_over_after_a_kill),
		TEST(damage_is_stepped_over_in_a_sealed_segment),
		TEST(damage_in_the_last_batch_is_damage),
		TEST(stale_frames_of_a_recycled_segment_are_not_read),
		TEST(a_damaged_header_hides_one_segment_only),
		TEST(a_lost_footer_is_made_again),
		TEST(a_damaged_index_is_said),
		TEST(another_ledgers_segment_is_refused),
		TEST(half_a_listing_is_not_a_shorter_log),
		TEST(a_number_that_no_ledger_reaches_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
