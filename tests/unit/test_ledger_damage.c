/* Damage never looks like absence. A closed ledger is damaged at random in one of its files: bits flipped, cut,
 * deleted, replaced by a folder, by the file of another ledger or by another file of its own. The oracle knows
 * every entry that was acknowledged. Then either the ledger is refused with a reason, or each entry is there, or
 * is missed aloud: by the read, by the scan, by the health and by verify. The same again after another start. */
#include "tests/unit/ledger_fixture.h"

#ifdef __SANITIZE_THREAD__ /* twenty times slower */
enum { ROUNDS = 60 };
#else
enum { ROUNDS = 600 };
#endif
enum { TINY_SEGMENT = 64 << 10, RECORDS = 240, LSN_MAX = 2000 };
enum act { FLIP, CUT, DELETE, FOLDER, ANOTHERS, MISPLACED, ZEROED, ACTS };
static const char *const act_names[] = { "flipped",           "cut",   "deleted", "a folder", "another ledger's",
					 "another segment's", "zeroed" };

static char *sound, *other, *dir;
static bool is_retired[LSN_MAX + 1];
static uint64_t last_lsn;
static char file_names[64][32];
static unsigned files_count;

static uint64_t rng;

static uint32_t pick(uint32_t below)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rng >> 33) % below;
}

static int no_sync(const struct ledger_io *io, int fd)
{
	(void)io, (void)fd;
	return 0;
}

/* ---- the sound ledger: records, then a run of values that retention removes, then records and events ---- */
static struct ledger *open_keeping(const char *at)
{
	struct buf why = { 0 };
	struct ledger *l =
	    ledger_open_on(&(struct ledger_config){ .dir = at, .segment_bytes = TINY_SEGMENT, .value_keep_ms = 1000 },
			   &faults.io, &why);
	if (l == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	return l;
}

static void retire_values(struct ledger *l)
{
	ledger_set_projected_lsn(l, ledger_durable_lsn(l));
	l->writer.retired_us = 0;
	ledger_maintain(l, NOW_US + 100 * INT64_C(1000000));
	ledger_helper_stop(l);
	assert_int_equal(ledger_helper_start(l), 0);
}

static void make_ledger(const char *at)
{
	struct ledger *l = open_keeping(at);
	for (unsigned i = 0; i < RECORDS / 2; i++)
		assert_int_equal(write_record(l, i, 20), RT_OK);
	for (unsigned i = 0; i < 700; i++)
		assert_int_equal(write_one(l, make_value("\"a value that retention removes\"")), RT_OK);
	for (unsigned i = RECORDS / 2; i < RECORDS; i++)
		assert_int_equal(write_record(l, i, 20), RT_OK);
	assert_int_equal(write_one(l, make_event(1)), RT_OK);
	ledger_maintain(l, NOW_US); /* seals become known */
	ledger_helper_stop(l);
	assert_int_equal(ledger_helper_start(l), 0);
	ledger_maintain(l, NOW_US);
	retire_values(l);
	last_lsn = ledger_durable_lsn(l);
	assert_true(last_lsn < LSN_MAX);
	ledger_close(l);
}

static void list_files(void)
{
	DIR *d = opendir(sound);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] != '.' && files_count < 64)
			snprintf(file_names[files_count++], sizeof file_names[0], "%.31s", e->d_name);
	}
	closedir(d);
}

static int set_up(void **state)
{
	(void)state;
	struct ledger_ranges gaps;
	faults_reset();
	faults.io.fdatasync = faults.io.sync_dir = no_sync;
	sound = fresh_dir();
	other = fresh_dir();
	make_ledger(other);
	make_ledger(sound);
	list_files();
	struct ledger *l = open_keeping(sound);
	assert_int_equal(ledger_gaps_read(&ledger_io_real, l->dir_fd, l->id, &gaps), 0);
	assert_true(gaps.count > 0);
	for (size_t i = 0; i < gaps.count; i++)
		for (uint64_t lsn = gaps.items[i].first; lsn <= gaps.items[i].last; lsn++)
			is_retired[lsn] = true;
	ledger_ranges_finish(&gaps);
	ledger_close(l);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	drop_dir(sound);
	drop_dir(other);
	return 0;
}

/* ---- damage ---- */
static void copy_file(const char *from, const char *to)
{
	static char bytes[1 << 16];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	for (ssize_t n; in >= 0 && (n = read(in, bytes, sizeof bytes)) > 0;)
		assert_int_equal(write(out, bytes, (size_t)n), n);
	if (in >= 0)
		close(in);
	close(out);
}

static uint64_t a_place(uint64_t size)
{
	if (pick(4) == 0 && size > 2 * LEDGER_BLOCK)
		return LEDGER_BLOCK + pick(256); /* the first frame: cut there, the segment is empty */
	return pick(4) == 0 && size > LEDGER_BLOCK ? pick(256) : pick((uint32_t)size);
}

static void damage(const char *name, enum act act)
{
	static const char zeros[LEDGER_BLOCK];
	char path[600], from[600];
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(stat(path, &st), 0);
	uint64_t size = (uint64_t)st.st_size;
	switch (act) {
	case FLIP:
		if (size > 0)
			flip(path, a_place(size));
		return;
	case CUT:
		assert_int_equal(truncate(path, size > 0 ? (off_t)a_place(size) : 0), 0);
		return;
	case DELETE:
		assert_int_equal(unlink(path), 0);
		return;
	case FOLDER:
		assert_int_equal(unlink(path), 0);
		assert_int_equal(mkdir(path, 0700), 0);
		return;
	case ANOTHERS:
		snprintf(from, sizeof from, "%s/%s", other, name);
		copy_file(from, path);
		return;
	case MISPLACED:
		snprintf(from, sizeof from, "%s/%s", sound, file_names[pick(files_count)]);
		copy_file(from, path);
		return;
	case ZEROED:
		if (size > 0)
			poke(path, a_place(size) / LEDGER_BLOCK * LEDGER_BLOCK, zeros,
			     size < LEDGER_BLOCK ? (size_t)size : LEDGER_BLOCK);
		return;
	case ACTS:
		break;
	}
}

static void drop_copy(void)
{
	char path[600];
	for (unsigned i = 0; i < files_count; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, file_names[i]);
		rmdir(path); /* of a file that became a folder */
	}
	drop_dir(dir);
}

/* ---- the oracle ---- */
struct outcome {
	unsigned unreadable, absent; /* records */
	uint64_t missed, silent;     /* entries that the scan says are missing; that it says nothing of */
	bool is_refused, is_said;
};

static void scan_all(struct ledger *l, struct outcome *o)
{
	static bool seen[LSN_MAX + 1];
	struct buf why = { 0 };
	struct log_source_entry f;
	enum log_source_result result;
	memset(seen, 0, sizeof seen);
	struct ledger_scan *scan = ledger_scan_open(l, NULL, 1, &why);
	while ((result = ledger_scan_next(scan, &f)) != LOG_SOURCE_END) {
		assert_int_not_equal(result, LOG_SOURCE_ERROR);
		uint64_t last = result == LOG_SOURCE_CORRUPT ? f.lost_to : f.lsn;
		assert_true(f.lsn <= last && last <= LSN_MAX);
		o->missed += result == LOG_SOURCE_CORRUPT ? last - f.lsn + 1 : 0;
		for (uint64_t lsn = f.lsn; lsn <= last; lsn++)
			seen[lsn] = true;
	}
	ledger_scan_close(scan);
	for (uint64_t lsn = 1; lsn <= last_lsn; lsn++)
		o->silent += !seen[lsn] && !is_retired[lsn];
}

static struct outcome look(void)
{
	struct outcome o = { 0 };
	struct buf why = { 0 }, out = { 0 };
	struct ledger_report report;
	struct ledger_health health;
	struct ledger *l = ledger_open_on(&(struct ledger_config){ .dir = dir, .segment_bytes = TINY_SEGMENT },
					  &faults.io, &why);
	if (l == NULL) {
		o.is_refused = why.n > 0;
		buf_finish(&why);
		assert_true(o.is_refused);
		return o;
	}
	for (unsigned i = 0; i < RECORDS; i++) {
		struct evidence_record *r = NULL;
		int status = find_status(l, i, &r);
		o.unreadable += status == RT_EIO;
		o.absent += status == RT_ENOTFOUND;
		evidence_record_free(r);
	}
	scan_all(l, &o);
	ledger_health_read(l, &health);
	o.is_said = health.damage[0] != '\0';
	if (o.unreadable > 0 || health.lost_entries > 0)
		assert_true(o.is_said);
	/* Retention that keeps everything removes nothing, whatever the damage made of a segment. */
	ledger_set_projected_lsn(l, ledger_durable_lsn(l));
	l->writer.retired_us = 0;
	ledger_maintain(l, NOW_US + 100 * INT64_C(1000000));
	ledger_close(l);
	int64_t problems = ledger_verify(dir, NULL, &report, &out);
	if ((o.is_said || o.missed > 0) && problems <= 0)
		fail_msg("verify finds %lld problems; missed %llu, said: %s; %.*s", (long long)problems,
			 (unsigned long long)o.missed, health.damage, STR_ARG(buf_str(&out)));
	buf_finish(&out);
	return o;
}

static void a_sound_ledger_is_whole(void **state)
{
	(void)state;
	struct buf out = { 0 };
	struct ledger_report report;
	dir = fresh_dir();
	copy_dir(sound, dir);
	struct outcome o = look();
	assert_false(o.is_refused || o.is_said);
	assert_int_equal(o.unreadable + o.absent + o.missed + o.silent, 0);
	assert_int_equal(ledger_verify(dir, NULL, &report, &out), 0);
	buf_finish(&out);
	drop_copy();
}

/* What nobody can restore is accepted once, and then it is no damage any more; nothing else is. */
static void an_accepted_loss_is_no_damage(void **state)
{
	(void)state;
	unsigned accepted = 0;
	for (unsigned round = 0; round < ROUNDS / 5; round++) {
		struct buf out = { 0 };
		struct ledger_report report;
		rng = round * 15485863 + 5;
		dir = fresh_dir();
		copy_dir(sound, dir);
		damage(file_names[pick(files_count)], pick(ACTS));
		struct outcome before = look();
		if (!before.is_refused && ledger_accept_losses(dir, NULL, &out) > 0) {
			accepted++;
			buf_clear(&out);
			struct outcome after = look();
			assert_false(after.is_refused || after.is_said);
			assert_int_equal(after.missed, 0);
			assert_true(after.absent <= before.unreadable);
			if (ledger_verify(dir, NULL, &report, &out) != 0)
				fail_msg("round %u: %.*s", round, STR_ARG(buf_str(&out)));
		}
		buf_finish(&out);
		drop_copy();
	}
	print_message("%u losses were accepted\n", accepted);
	assert_true(accepted > ROUNDS / 5 / 4);
}

static void damage_never_looks_like_absence(void **state)
{
	(void)state;
	unsigned said = 0, refused = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		rng = round * 7919 + 1;
		dir = fresh_dir();
		copy_dir(sound, dir);
		const char *name = file_names[pick(files_count)];
		enum act act = pick(ACTS);
		damage(name, act);
		for (int starts = 0; starts < 2; starts++) {
			struct outcome o = look();
			if (o.absent > 0 || o.silent > 0)
				fail_msg(
				    "round %u, start %d: %s is %s: %u records are 'not found', %llu entries are missing in silence",
				    round, starts, name, act_names[act], o.absent, (unsigned long long)o.silent);
			said += o.is_said;
			refused += o.is_refused;
			if (o.is_refused)
				break;
		}
		drop_copy();
	}
	print_message("%u starts said the damage, %u were refused\n", said, refused);
	assert_true(said > ROUNDS / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_ledger_is_whole),
		cmocka_unit_test(damage_never_looks_like_absence),
		cmocka_unit_test(an_accepted_loss_is_no_damage),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
