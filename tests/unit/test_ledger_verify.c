/* Verify: a sound ledger passes, and every kind of tampering is named, even when the forger made the CRCs
 * right again. */
#include "store/text/bytes.h"
#include "store/ledger/ledger_crc.h"
#include "tests/unit/ledger_fixture.h"

enum { TINY_SEGMENT = 64 << 10 };
static char *dir;
static struct record_signer signer = {
	.key = "super-secret-key", .key_bytes = 16, .key_id = "k1", .mode = SIGNATURE_REQUIRED
};
static struct buf out;
static struct ledger_report report;

static struct ledger *open_signed(void)
{
	struct buf why = { 0 };
	struct ledger_config config = { .dir = dir, .segment_bytes = TINY_SEGMENT, .signer = &signer };
	struct ledger *l = ledger_open_on(&config, &faults.io, &why);
	assert_non_null(l);
	buf_finish(&why);
	return l;
}

static int set_up(void **state)
{
	(void)state;
	faults_reset();
	dir = fresh_dir();
	struct ledger *l = open_signed();
	for (unsigned i = 0; i < 90; i++)
		assert_int_equal(write_record(l, i, 400), RT_OK);
	assert_int_equal(write_one(l, make_event(1)), RT_OK);
	assert_int_equal(write_one(l, make_value("1")), RT_OK);
	ledger_close(l);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	drop_dir(dir);
	buf_finish(&out);
	return 0;
}

static int64_t verify(void)
{
	buf_clear(&out);
	return ledger_verify(dir, &signer, &report, &out);
}

static bool says(const char *text)
{
	return out.n > 0 && memmem(out.p, out.n, text, strlen(text)) != NULL;
}

/* Offset of the nth frame of a segment. */
static uint64_t frame_at(const char *path, unsigned nth)
{
	uint8_t head[LEDGER_FRAME_HEAD];
	uint64_t at = LEDGER_BLOCK;
	int fd = open(path, O_RDONLY);
	for (unsigned i = 0; i < nth; i++) {
		assert_int_equal(pread(fd, head, sizeof head, (off_t)at), sizeof head);
		at += ledger_frame_bytes(get_u32(head + 4));
	}
	close(fd);
	return at;
}

/* Changes bytes of a frame and makes its CRC right, as somebody would who means it. */
static void forge(const char *path, uint64_t frame, uint64_t at, const void *p, size_t n)
{
	uint8_t head[LEDGER_FRAME_HEAD], crc[4];
	poke(path, frame + at, p, n);
	int fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, head, sizeof head, (off_t)frame), sizeof head);
	size_t bytes = (size_t)ledger_frame_bytes(get_u32(head + 4));
	uint8_t *whole = malloc(bytes);
	assert_int_equal(pread(fd, whole, bytes, (off_t)frame), bytes);
	close(fd);
	put_u32(crc, ledger_crc32c(0, whole + 4, bytes - 4));
	poke(path, frame, crc, sizeof crc);
	free(whole);
}

static void a_sound_ledger_passes(void **state)
{
	(void)state;
	char id[41];
	assert_int_equal(verify(), 0);
	assert_int_equal(out.n, 0);
	assert_int_equal(report.frames, 92);
	assert_int_equal(report.records, 90);
	assert_int_equal(report.events, 1);
	assert_int_equal(report.values, 1);
	assert_int_equal(report.last_lsn, 92);
	assert_true(report.segments >= 3);
	id_of(89, id);
	assert_string_equal(report.last_context_id, id);
	struct ledger *l = open_signed(); /* and beside a running server */
	assert_int_equal(write_record(l, 90, 50), RT_OK);
	assert_int_equal(verify(), 0);
	assert_int_equal(report.records, 91);
	ledger_close(l);
}

static void a_flipped_bit_is_damage(void **state)
{
	(void)state;
	char path[600], offset[64];
	path_of(dir, 1, path);
	uint64_t at = frame_at(path, 4);
	flip(path, at + 300);
	assert_int_equal(verify(), 1);
	snprintf(offset, sizeof offset, "\"offset\":%llu,\"lsn\":5", (unsigned long long)at);
	assert_true(says("frame_damaged"));
	assert_true(says(offset));
	assert_true(says("0000000000000001.seg"));
}

static void a_forged_record_does_not_have_its_hash(void **state)
{
	(void)state;
	char path[600];
	path_of(dir, 1, path);
	uint64_t frame = frame_at(path, 3);
	forge(path, frame, LEDGER_FRAME_HEAD + LEDGER_RECORD_FIXED + 350, "X", 1);
	assert_true(verify() >= 1);
	assert_true(says("record_hash"));
}

static void a_forged_signature_is_seen_and_breaks_the_chain(void **state)
{
	(void)state;
	char path[600];
	path_of(dir, 1, path);
	uint64_t frame = frame_at(path, 3);
	forge(path, frame, LEDGER_FRAME_HEAD + 50, "XY", 2);
	assert_true(verify() >= 2);
	assert_true(says("\"signature\""));
	assert_true(says("frame_chain"));
}

static void a_forged_value_breaks_the_chain(void **state)
{
	(void)state;
	char path[600];
	uint64_t seq = 3;
	path_of(dir, seq, path);
	struct scanned s = scan_from(NULL, dir, 1);
	assert_int_equal(s.last_lsn, 92);
	unsigned nth = 0;
	uint8_t head[LEDGER_FRAME_HEAD];
	int fd = open(path, O_RDONLY);
	uint64_t at = LEDGER_BLOCK;
	while (pread(fd, head, sizeof head, (off_t)at) == sizeof head && get_u16(head + 8) != EVIDENCE_VALUES) {
		at += ledger_frame_bytes(get_u32(head + 4));
		assert_true(++nth < 100);
	}
	close(fd);
	forge(path, at, LEDGER_FRAME_HEAD + get_u32(head + 4) - 17, "2", 1); /* the value itself */
	assert_true(verify() >= 1);
	assert_true(says("frame_chain"));
}

static void a_swapped_segment_does_not_fit(void **state)
{
	(void)state;
	char path[600], block[LEDGER_BLOCK];
	struct ledger_segment_head head;
	path_of(dir, 2, path);
	int fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, block, sizeof block, 0), sizeof block);
	close(fd);
	assert_true(ledger_segment_head_read((uint8_t *)block, &head));
	head.before.chain[3] ^= 1;
	ledger_segment_head_write(&head, (uint8_t *)block);
	poke(path, 0, block, sizeof block);
	assert_true(verify() >= 1);
	assert_true(says("\"header\""));
}

static void a_pruned_segment_is_no_problem(void **state)
{
	(void)state;
	char path[600];
	struct ledger_segment_file f;
	struct ledger *l = open_signed();
	assert_int_equal(ledger_segment_look(&ledger_io_real, l->dir_fd, 1, &f), 0);
	assert_int_equal(ledger_gaps_add(&ledger_io_real, l->dir_fd, l->id, 1, f.foot.after.lsn), 0);
	ledger_close(l);
	path_of(dir, 1, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(verify(), 0);
	assert_true(report.first_lsn > 1);
	assert_int_equal(report.last_lsn, 92);
}

static void a_deleted_first_segment_is_missed(void **state)
{
	(void)state;
	char path[600];
	path_of(dir, 1, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(verify(), 1);
	assert_true(says("\"problem\":\"missing\""));
	assert_true(says("\"lsn\":1,"));
	assert_int_equal(report.last_lsn, 92);
}

static void a_lost_tail_is_missed(void **state)
{
	(void)state;
	char path[600];
	path_of(dir, 3, path);
	assert_int_equal(unlink(path), 0);
	assert_true(verify() >= 1);
	assert_true(says("\"missing\""));
}

static void a_damaged_header_and_index_are_named(void **state)
{
	(void)state;
	char path[600];
	struct ledger_segment_file f;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(ledger_segment_look(&ledger_io_real, fd, 1, &f), 0);
	close(fd);
	path_of(dir, 1, path);
	flip(path, f.foot.index_at + 9);
	assert_true(verify() >= 1);
	assert_true(says("\"index\""));
	flip(path, f.foot.index_at + 9);
	path_of(dir, 2, path);
	flip(path, 60);
	assert_true(verify() >= 1);
	assert_true(says("header is damaged"));
}

static void another_key_is_told_apart(void **state)
{
	(void)state;
	signer.key[0] ^= 1;
	assert_int_equal(verify(), 90);
	/* Where signatures are required, one that could not be checked is none. */
	strcpy(signer.key_id, "k2");
	assert_int_equal(verify(), 1);
	assert_true(says("{\"problem\":\"signatures_unchecked\",\"records\":90,\"detail\":\"signed by key k1"));
	signer.mode = SIGNATURE_OPTIONAL;
	assert_int_equal(verify(), 0);
	assert_int_equal(report.signatures_unchecked, 90);
	assert_true(says("{\"note\":\"signatures_unchecked\",\"records\":90,\"detail\":\"signed by key k1"));
	/* The same key under another name. */
	signer.key[0] ^= 1;
	assert_int_equal(verify(), 0);
	assert_int_equal(report.signatures_unchecked, 0);
	/* No key at all. */
	signer.key_bytes = 0;
	assert_int_equal(verify(), 0);
	assert_true(says("{\"note\":\"signatures_unchecked\",\"records\":90,"));
	signer.key_bytes = 16;
	signer.mode = SIGNATURE_REQUIRED;
	strcpy(signer.key_id, "k1");
}

static void nothing_there_is_an_error(void **state)
{
	(void)state;
	buf_clear(&out);
	assert_int_equal(ledger_verify("/nonexistent/ledger", NULL, &report, &out), -1);
	assert_true(says("no ledger"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_sound_ledger_passes),
		TEST(a_flipped_bit_is_damage),
		TEST(a_forged_record_does_not_have_its_hash),
		TEST(a_forged_signature_is_seen_and_breaks_the_chain),
		TEST(a_forged_value_breaks_the_chain),
		TEST(a_swapped_segment_does_not_fit),
		TEST(a_pruned_segment_is_no_problem),
		TEST(a_deleted_first_segment_is_missed),
		TEST(a_lost_tail_is_missed),
		TEST(a_damaged_header_and_index_are_named),
		TEST(another_key_is_told_apart),
		TEST(nothing_there_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
