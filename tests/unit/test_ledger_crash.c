/* Crashes: the process killed at any moment, and the power gone, which takes every write that no fdatasync
 * had covered. */
#include "tests/unit/ledger_fixture.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

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

static void check_clean(void)
{
	struct ledger_report report;
	struct buf out = { 0 };
	int64_t problems = ledger_verify(dir, NULL, &report, &out);
	if (problems != 0)
		print_error("%.*s\n", STR_ARG(buf_str(&out)));
	assert_int_equal(problems, 0);
	buf_finish(&out);
}

/* ---- power failure: a file system that remembers what was there before each write, until it is synced
 * ---- */
struct undo {
	struct undo *next;
	dev_t device;
	ino_t inode;
	uint64_t at;
	size_t n;
	uint8_t before[];
};
static struct undo *undos;                                     /* newest first */
static pthread_mutex_t undos_lock = PTHREAD_MUTEX_INITIALIZER; /* the committer and its helper both write */
static uint64_t chance;

static uint64_t next_chance(void)
{
	chance = chance * 6364136223846793005ull + 1442695040888963407ull;
	return chance >> 33;
}

static ssize_t remembering_pwrite(const struct ledger_io *io, int fd, const void *p, size_t n, uint64_t at)
{
	struct stat st;
	struct undo *u = calloc(1, sizeof *u + n);
	assert_int_equal(fstat(fd, &st), 0);
	ssize_t got = pread(fd, u->before, n, (off_t)at);
	assert_true(got >= 0);
	u->device = st.st_dev;
	u->inode = st.st_ino;
	u->at = at;
	u->n = n;
	pthread_mutex_lock(&undos_lock);
	u->next = undos;
	undos = u;
	pthread_mutex_unlock(&undos_lock);
	return ledger_io_real.pwrite(io, fd, p, n, at);
}

static int forgetting_fdatasync(const struct ledger_io *io, int fd)
{
	struct stat st;
	(void)io;
	assert_int_equal(fstat(fd, &st), 0);
	pthread_mutex_lock(&undos_lock);
	for (struct undo **at = &undos; *at != NULL;) {
		struct undo *u = *at;
		if (u->inode == st.st_ino && u->device == st.st_dev) {
			*at = u->next;
			free(u);
		} else {
			at = &u->next;
		}
	}
	pthread_mutex_unlock(&undos_lock);
	return 0;
}

static int no_sync_dir(const struct ledger_io *io, int dir_fd)
{
	(void)io;
	(void)dir_fd;
	return 0;
}

/* Every page of what was not synced may or may not have reached the disk. */
static void lose_power(const char *where)
{
	char path[600];
	DIR *d = opendir(where);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		struct stat st;
		snprintf(path, sizeof path, "%s/%s", where, e->d_name);
		if (e->d_name[0] == '.' || stat(path, &st) != 0)
			continue;
		for (struct undo *u = undos; u != NULL; u = u->next) {
			for (size_t from = 0; u->inode == st.st_ino && from < u->n;) {
				size_t n = 4096 - (u->at + from) % 4096;
				if (n > u->n - from)
					n = u->n - from;
				if (next_chance() % 2)
					poke(path, u->at + from, u->before + from, n);
				from += n;
			}
		}
	}
	closedir(d);
	while (undos != NULL) {
		struct undo *next = undos->next;
		free(undos);
		undos = next;
	}
}

/* The test of the promise itself: what was answered with 0 is there after the power was gone. */
static void acknowledged_records_survive_a_power_failure(void **state)
{
	(void)state;
	faults.io.pwrite = remembering_pwrite;
	faults.io.fdatasync = forgetting_fdatasync;
	faults.io.sync_dir = no_sync_dir;
	char *image = fresh_dir(), *old = dir;
	for (unsigned seed = 1; seed <= 60; seed++) {
		unsigned n = 0, batches = 1 + seed % 12;
		chance = seed;
		struct ledger *l = open_sized(dir, TINY_SEGMENT);
		ledger_helper_stop(l);
		for (unsigned b = 0; b < batches; b++) {
			unsigned count = 1 + (unsigned)(next_chance() % 6);
			write_batch(l, n, count, 200 + 300 * (seed % 5));
			n += count;
		}
		/* One more batch is on its way when the power goes. */
		struct evidence_entry *e = make_record(n, 700);
		int status;
		faults.io.fdatasync = no_sync_dir;
		ledger_write(l, &e, &status, 1, NOW_US);
		faults.io.fdatasync = forgetting_fdatasync;
		evidence_entry_free(e);
		lose_power(dir);
		copy_dir(dir, image);
		ledger_close(l);
		dir = image;
		l = open_sized(dir, TINY_SEGMENT);
		for (unsigned i = 0; i < n; i++)
			assert_true(is_there(l, i));
		is_there(l, n); /* it may be there, and then it is whole */
		assert_int_equal(write_record(l, 1000, 50), RT_OK);
		ledger_close(l);
		check_clean();
		lose_power(dir);
		remove_files(image);
		dir = old;
		remove_files(dir);
	}
	dir = old;
	drop_dir(image);
}

/* ---- kill -9 ---- */
/* Writes batches for ever; after each, tells the parent which records are durable. */
static void child_main(int out, unsigned first, unsigned seed)
{
	struct buf why = { 0 };
	struct ledger_config config = { .dir = dir, .segment_bytes = SMALL_SEGMENT };
	struct ledger *l = ledger_open(&config, &why);
	if (l == NULL)
		_exit(9);
	for (unsigned n = first;;) {
		struct evidence_entry *entries[8];
		int statuses[8];
		unsigned count = 1 + (n + seed) % 8;
		for (unsigned i = 0; i < count; i++)
			entries[i] = make_record(n + i, 100 + 977 * (n % 7));
		ledger_write(l, entries, statuses, count, NOW_US);
		for (unsigned i = 0; i < count; i++) {
			if (statuses[i] != RT_OK)
				_exit(8);
			evidence_entry_free(entries[i]);
		}
		ledger_maintain(l, NOW_US);
		n += count;
		if (write(out, &n, sizeof n) != sizeof n)
			_exit(7);
	}
}

static unsigned run_and_kill(unsigned first, unsigned acks, unsigned seed)
{
	int pipes[2], status;
	unsigned acked = first, got;
	assert_int_equal(pipe(pipes), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(pipes[0]);
		child_main(pipes[1], first, seed);
	}
	close(pipes[1]);
	for (unsigned i = 0; i < acks && read(pipes[0], &got, sizeof got) == sizeof got; i++)
		acked = got;
	kill(child, SIGKILL);
	while (read(pipes[0], &got, sizeof got) == sizeof got) /* said before it died: promised as well */
		acked = got;
	close(pipes[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return acked;
}

static void acknowledged_records_survive_kill_9(void **state)
{
	(void)state;
	unsigned acked = 0;
	for (unsigned round = 0; round < 12; round++) {
		unsigned from = acked;
		acked = run_and_kill(acked, 1 + round * 7 % 40, round);
		assert_true(acked > from);
		check_clean(); /* as it lies there, before anybody repairs it */
		struct ledger *l = open_small(dir);
		for (unsigned i = 0; i < acked; i++)
			assert_true(is_there(l, i));
		unsigned beyond = acked; /* what was written and not answered is whole, or not there */
		while (is_there(l, beyond))
			beyond++;
		acked = beyond;
		struct scanned s = scan_from(l, NULL, 1);
		assert_int_equal(s.corrupt, 0);
		assert_int_equal(s.frames, s.last_lsn);
		assert_int_equal(s.records, acked);
		ledger_close(l);
		check_clean();
	}
}

/* ---- events ---- */
static void applier_main(int out)
{
	struct buf why = { 0 };
	struct ledger_config config = { .dir = dir, .segment_bytes = SMALL_SEGMENT };
	struct ledger *l = ledger_open(&config, &why);
	if (l == NULL)
		_exit(9);
	/* First what the last run left, then new ones; a mark follows its event two entries later. */
	uint64_t waiting[3] = { 0 };
	while (l->writer.events.waiting > 0) {
		if (write_one(l, make_applied(ledger_events_from(l))) != RT_OK)
			_exit(8);
	}
	for (unsigned n = 0;; n++) {
		struct evidence_entry *e = make_event(n);
		int status;
		ledger_write(l, &e, &status, 1, NOW_US);
		if (status != RT_OK || write(out, &e->lsn, sizeof e->lsn) != sizeof e->lsn)
			_exit(7);
		if (n >= 2 && write_one(l, make_applied(waiting[n % 3])) != RT_OK)
			_exit(6);
		waiting[(n + 2) % 3] = e->lsn;
		evidence_entry_free(e);
	}
}

static void events_are_applied_exactly_once_across_kills(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 8; round++) {
		int pipes[2], status;
		uint64_t lsn;
		assert_int_equal(pipe(pipes), 0);
		pid_t child = fork();
		if (child == 0)
			applier_main(pipes[1]);
		close(pipes[1]);
		for (unsigned i = 0; i < 3 + round * 5; i++)
			assert_int_equal(read(pipes[0], &lsn, sizeof lsn), sizeof lsn);
		kill(child, SIGKILL);
		close(pipes[0]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
	}
	struct ledger *l = open_small(dir);
	static uint8_t state_of[1 << 16]; /* 1 = event, 2 = applied */
	memset(state_of, 0, sizeof state_of);
	struct buf why = { 0 };
	struct log_source_entry f;
	struct ledger_scan *scan = ledger_scan_open(l, NULL, 1, &why);
	uint64_t open_events = 0;
	while (ledger_scan_next(scan, &f) == LOG_SOURCE_ENTRY) {
		uint64_t event_lsn;
		assert_true(f.lsn < sizeof state_of);
		if (f.kind == EVIDENCE_EVENT) {
			state_of[f.lsn] = 1;
			open_events++;
		} else if (f.kind == EVIDENCE_EVENT_APPLIED) {
			assert_true(entry_values_event_lsn(f.body, &event_lsn));
			assert_int_equal(state_of[event_lsn], 1); /* not yet, and never again */
			state_of[event_lsn] = 2;
			open_events--;
		}
	}
	assert_int_equal(open_events, l->writer.events.waiting);
	assert_true(open_events <= 3);
	ledger_scan_close(scan);
	ledger_close(l);
	buf_finish(&why);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(acknowledged_records_survive_a_power_failure),
		TEST(acknowledged_records_survive_kill_9),
		TEST(events_are_applied_exactly_once_across_kills),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
