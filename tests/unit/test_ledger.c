/* The ledger when nothing fails: what is written comes back, in order, by id and by hash, here and from
 * outside. */
#include "tests/unit/ledger_fixture.h"

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

static void records_come_back(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(write_record(l, i, 100), RT_OK);
	for (unsigned i = 0; i < 20; i++)
		assert_true(is_there(l, i));
	assert_false(is_there(l, 20));
	assert_int_equal(ledger_durable_lsn(l), 20);
	ledger_close(l);
	l = open_small(dir);
	for (unsigned i = 0; i < 20; i++)
		assert_true(is_there(l, i));
	assert_int_equal(ledger_durable_lsn(l), 20);
	ledger_close(l);
}

static void ids_are_found_in_every_spelling(void **state)
{
	(void)state;
	static const char *const spellings[] = {
		"ctx_018f3a2b-7def-7abc-8901-000000000007",
		"018f3a2b-7def-7abc-8901-000000000007",
		"018F3A2B-7DEF-7ABC-8901-000000000007",
	};
	struct ledger *l = open_small(dir);
	struct evidence_name name;
	struct evidence_record *r;
	char reason[160];
	write_record(l, 7, 10);
	for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
		assert_true(evidence_name_parse(str_from(spellings[i]), &name));
		assert_int_equal(ledger_find_record(l, &name, false, &r, reason), RT_OK);
		assert_int_equal(r->extras.n, 0);
		evidence_record_free(r);
	}
	assert_false(evidence_name_parse(STR(""), &name));
	assert_int_equal(ledger_find_record(l, &name, false, &r, reason), RT_ENOTFOUND);
	assert_false(
	    evidence_name_parse(STR("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeg"), &name));
	ledger_close(l);
}

static void the_chain_goes_from_record_to_record(void **state)
{
	(void)state;
	char id[41];
	struct ledger *l = open_small(dir);
	for (unsigned i = 0; i < 5; i++) {
		struct evidence_entry *e = make_record(i, 50);
		int status;
		ledger_write(l, &e, &status, 1, NOW_US);
		assert_int_equal(status, RT_OK);
		assert_int_equal(e->lsn, i + 1);
		id_of(i - 1, id);
		assert_string_equal(e->previous_context_id, i ? id : "");
		evidence_entry_free(e);
		if (i == 2) { /* across a restart too */
			ledger_close(l);
			l = open_small(dir);
		}
	}
	struct evidence_record *r;
	assert_int_equal(find_status(l, 4, &r), RT_OK);
	id_of(3, id);
	struct buf expected = { 0 };
	buf_printf(&expected, "\"previous_context_id\":\"%s\"", id);
	assert_non_null(memmem(r->canonical.p, r->canonical.n, expected.p, expected.n));
	buf_finish(&expected);
	evidence_record_free(r);
	ledger_close(l);
}

static void segments_follow_one_another(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	struct ledger_health health;
	for (unsigned i = 0; i < 10; i++)
		write_batch(l, i * 50, 50, 2000);
	ledger_health_read(l, &health);
	assert_true(health.segments >= 4);
	assert_int_equal(health.durable_lsn, 500);
	assert_true(health.writable);
	for (unsigned i = 0; i < 500; i++)
		assert_true(is_there(l, i));
	struct scanned s = scan_from(l, NULL, 1);
	assert_int_equal(s.frames, 500);
	assert_int_equal(s.corrupt, 0);
	ledger_close(l);
	l = open_small(dir);
	for (unsigned i = 0; i < 500; i += 7)
		assert_true(is_there(l, i));
	assert_int_equal(scan_from(l, NULL, 490).first_lsn, 490);
	assert_int_equal(scan_from(l, NULL, 490).frames, 11);
	ledger_close(l);
}

static void full_segments_are_sealed_while_it_runs(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	for (unsigned i = 0; i < 4; i++)
		write_batch(l, i * 50, 50, 2000);
	size_t sealed = 0;
	ledger_helper_stop(l); /* it finishes its jobs before it ends */
	ledger_maintain(l, NOW_US);
	for (size_t i = 0; i < l->set->count; i++)
		sealed += l->set->segments[i]->is_sealed;
	assert_true(sealed > 0);
	for (unsigned i = 0; i < 200; i++)
		assert_true(is_there(l, i));
	ledger_close(l);
}

static void a_scan_from_outside_sees_what_is_durable(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	write_batch(l, 0, 3, 100);
	assert_int_equal(scan_from(NULL, dir, 1).frames, 3);
	struct buf why = { 0 };
	struct log_source_entry f;
	struct ledger_scan *scan = ledger_scan_open(NULL, dir, 1, &why);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ledger_scan_next(scan, &f), LOG_SOURCE_ENTRY);
	assert_int_equal(ledger_scan_next(scan, &f), LOG_SOURCE_END);
	for (unsigned i = 0; i < 6; i++) /* it follows into segments that did not exist when it began */
		write_batch(l, 100 + i * 50, 50, 2000);
	for (int i = 0; i < 300; i++)
		assert_int_equal(ledger_scan_next(scan, &f), LOG_SOURCE_ENTRY);
	assert_int_equal(f.lsn, 303);
	assert_int_equal(ledger_scan_next(scan, &f), LOG_SOURCE_END);
	ledger_scan_close(scan);
	buf_finish(&why);
	ledger_close(l);
}

static void all_kinds_come_back_in_order(void **state)
{
	(void)state;
	static const enum evidence_kind kinds[] = { EVIDENCE_VALUES, EVIDENCE_EVENT, EVIDENCE_EVENT_APPLIED,
						    EVIDENCE_RECORD };
	struct ledger *l = open_small(dir);
	struct evidence_entry *entries[] = { make_value("\"gold\""), make_event(1), make_applied(2),
					     make_record(9, 33) };
	int statuses[4];
	struct log_source_entry f;
	struct buf why = { 0 };
	ledger_write(l, entries, statuses, 4, NOW_US);
	struct ledger_scan *scan = ledger_scan_open(l, NULL, 1, &why);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(statuses[i], RT_OK);
		assert_int_equal(ledger_scan_next(scan, &f), LOG_SOURCE_ENTRY);
		assert_int_equal(f.kind, kinds[i]);
		assert_int_equal(f.written_us, NOW_US);
		if (kinds[i] != EVIDENCE_RECORD)
			assert_true(str_eq(f.body, buf_str(&entries[i]->body)));
	}
	assert_true(str_eq(f.context_id, str_of(entries[3]->context_id, 40)));
	assert_true(str_eq(f.extras, STR("{\"n\":9}")));
	ledger_scan_close(scan);
	for (size_t i = 0; i < 4; i++)
		evidence_entry_free(entries[i]);
	buf_finish(&why);
	ledger_close(l);
}

static struct evidence_entry *make_import(unsigned n, const char *text)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD_IMPORTED);
	char id[41];
	id_of(n, id);
	memcpy(e->context_id, id, 40);
	buf_append_str(&e->body, str_from(text));
	record_hash_text(str_from(text), e->stamp.record_hash);
	return e;
}

static void imports_are_idempotent(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	struct evidence_entry *entries[] = { make_import(1, "{\"a\":1}"), make_import(1, "{\"a\":1}"),
					     make_import(1, "{\"a\":2}"), make_import(2, "{\"a\":2}") };
	static const int expected[] = { RT_OK, RT_OK, RT_EEXIST, RT_OK };
	int statuses[4];
	for (int restarts = 0; restarts < 2; restarts++) {
		ledger_write(l, entries, statuses, 4, NOW_US);
		assert_memory_equal(statuses, expected, sizeof statuses);
		assert_int_equal(entries[0]->already_there, restarts);
		assert_true(entries[1]->already_there);
		assert_int_equal(entries[1]->lsn, 1);
		assert_true(entries[2]->reason[0] != '\0');
		assert_int_equal(ledger_durable_lsn(l), 2);
		ledger_close(l);
		l = open_small(dir);
	}
	struct evidence_record *r;
	assert_int_equal(find_status(l, 1, &r), RT_OK);
	assert_true(r->imported);
	assert_true(str_eq(buf_str(&r->canonical), STR("{\"a\":1}")));
	evidence_record_free(r);
	struct evidence_entry *e = make_record(3, 10); /* imports stay out of the chain */
	ledger_write(l, &e, statuses, 1, NOW_US);
	assert_string_equal(e->previous_context_id, "");
	evidence_entry_free(e);
	for (size_t i = 0; i < 4; i++)
		evidence_entry_free(entries[i]);
	ledger_close(l);
}

static void what_cannot_be_written_is_refused_alone(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	struct evidence_entry *entries[] = { make_record(1, 10), make_record(2, SMALL_SEGMENT), make_record(3, 10),
					     make_import(4, "{}"), make_record(5, 10) };
	int statuses[5];
	entries[2]->previous_at = 3;
	entries[3]->stamp.record_hash[0] = 'x';
	ledger_write(l, entries, statuses, 5, NOW_US);
	assert_int_equal(statuses[0], RT_OK);
	assert_int_equal(statuses[1], RT_ETOOBIG);
	assert_int_equal(statuses[2], RT_EINVAL);
	assert_int_equal(statuses[3], RT_EINVAL);
	assert_int_equal(statuses[4], RT_OK);
	assert_int_equal(ledger_durable_lsn(l), 2);
	for (size_t i = 0; i < 5; i++)
		evidence_entry_free(entries[i]);
	ledger_close(l);
}

static void note_lsn(void *arg, const struct log_source_entry *f)
{
	uint64_t *lsns = arg;
	assert_int_equal(f->kind, EVIDENCE_EVENT);
	lsns[++lsns[0]] = f->lsn;
}

static void events_without_a_mark_are_pending(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	struct buf why = { 0 };
	uint64_t lsns[8] = { 0 };
	for (unsigned i = 1; i <= 5; i++)
		write_one(l, make_event(i)); /* lsn 1..5 */
	write_one(l, make_applied(1));
	write_one(l, make_applied(4));
	for (unsigned i = 0; i < 4; i++) /* the marks and the events come to stand in different segments */
		write_batch(l, i * 50, 50, 2000);
	write_one(l, make_applied(3));
	for (int restarts = 0; restarts < 3; restarts++) {
		assert_int_equal(ledger_events_from(l), 2);
		ledger_close(l);
		l = open_small(dir);
		lsns[0] = 0;
		assert_true(ledger_pending_events(l, lsns, note_lsn, &why));
		assert_int_equal(lsns[0], 2);
		assert_int_equal(lsns[1], 2);
		assert_int_equal(lsns[2], 5);
	}
	write_one(l, make_applied(2));
	write_one(l, make_applied(5));
	ledger_close(l);
	l = open_small(dir);
	lsns[0] = 0;
	assert_true(ledger_pending_events(l, lsns, note_lsn, &why));
	assert_int_equal(lsns[0], 0);
	assert_true(ledger_events_from(l) > 200); /* the next start begins behind all of it */
	buf_finish(&why);
	ledger_close(l);
}

/* The mark of event 2 cannot be read. Events before it may have been applied; the one behind it was not. */
static void events_whose_mark_may_be_lost_wait(void **state)
{
	(void)state;
	struct buf why = { 0 }, out = { 0 };
	struct log_source_entry f = { 0 };
	struct ledger_health health;
	uint64_t lsns[8] = { 0 };
	char path[600];
	struct ledger *l = open_small(dir);
	write_one(l, make_event(1)); /* lsn 1..2 */
	write_one(l, make_event(2));
	write_one(l, make_applied(2)); /* lsn 3 */
	write_one(l, make_event(3));   /* lsn 4 */
	write_batch(l, 0, 10, 20);
	struct ledger_scan *scan = ledger_scan_open(l, NULL, 3, &why);
	assert_int_equal(ledger_scan_next(scan, &f), LOG_SOURCE_ENTRY);
	assert_int_equal(f.kind, EVIDENCE_EVENT_APPLIED);
	uint64_t at = f.offset;
	ledger_scan_close(scan);
	ledger_close(l);
	path_of(dir, 1, path);
	flip(path, at + 40);
	for (int restarts = 0; restarts < 2; restarts++) {
		l = open_small(dir);
		lsns[0] = 0;
		assert_true(ledger_pending_events(l, lsns, note_lsn, &why));
		assert_int_equal(lsns[0], 1);
		assert_int_equal(lsns[1], 4);
		ledger_health_read(l, &health);
		assert_int_equal(health.doubtful_events, 2);
		assert_true(health.damage[0] != '\0');
		ledger_close(l);
	}
	assert_int_equal(ledger_accept_losses(dir, NULL, &out), 1);
	l = open_small(dir);
	lsns[0] = 0;
	assert_true(ledger_pending_events(l, lsns, note_lsn, &why));
	assert_int_equal(lsns[0], 3);
	ledger_health_read(l, &health);
	assert_int_equal(health.doubtful_events, 0);
	ledger_close(l);
	buf_finish(&out);
	buf_finish(&why);
}

/* Without `gaps`, as an earlier version left it: once, what is older than the oldest segment is retention's; never again. */
static void a_ledger_without_a_list_of_gaps_gets_one(void **state)
{
	(void)state;
	struct ledger_health health;
	char path[600], gaps[600];
	struct ledger *l = open_small(dir);
	snprintf(gaps, sizeof gaps, "%s/gaps", dir);
	assert_int_equal(access(gaps, F_OK), 0); /* also a new one has it */
	for (unsigned i = 0; i < 6; i++)
		write_batch(l, i * 50, 50, 2000);
	assert_true(atomic_load(&l->newest_seq) > 3);
	ledger_close(l);
	path_of(dir, 1, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(gaps), 0);
	for (uint64_t lost = 0; lost < 2; lost++) {
		l = open_small(dir);
		ledger_health_read(l, &health);
		assert_int_equal(health.lost_entries > 0, lost);
		assert_true(is_there(l, 299));
		ledger_close(l);
		path_of(dir, 2, path);
		assert_int_equal(unlink(path), lost ? -1 : 0);
	}
}

static void one_server_at_a_time(void **state)
{
	(void)state;
	struct buf why = { 0 };
	struct stat st;
	struct ledger *l = open_small(dir);
	struct ledger_config config = { .dir = dir };
	assert_null(ledger_open(&config, &why));
	assert_non_null(memmem(why.p, why.n, "in use by process", 17));
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	buf_finish(&why);
	ledger_close(l);
}

static void a_temporary_ledger_leaves_nothing(void **state)
{
	(void)state;
	struct buf why = { 0 };
	struct ledger_config config = { .temporary = true, .segment_bytes = SMALL_SEGMENT };
	struct ledger *l = ledger_open_on(&config, &faults.io, &why);
	assert_non_null(l);
	char *where = strdup(l->config.dir);
	assert_int_equal(write_record(l, 1, 100), RT_OK);
	ledger_close(l);
	assert_int_equal(access(where, F_OK), -1);
	free(where);
	buf_finish(&why);
}

static size_t count_files(const char *suffix)
{
	size_t n = 0;
	DIR *d = opendir(dir);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		size_t length = strlen(e->d_name);
		n += length >= strlen(suffix) && strcmp(e->d_name + length - strlen(suffix), suffix) == 0;
	}
	closedir(d);
	return n;
}

static void starts_without_writes_leave_no_segments(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		ledger_close(open_small(dir));
	assert_int_equal(count_files(".seg"), 0);
	struct ledger *l = open_small(dir);
	write_record(l, 1, 10);
	ledger_close(l);
	for (int i = 0; i < 5; i++)
		ledger_close(open_small(dir));
	assert_int_equal(count_files(".seg"), 1);
	char path[600];
	struct stat st;
	path_of(dir, 1, path);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size < 32 << 10); /* an unfilled segment gives its room back when it is sealed */
}

static void retention_drops_what_is_projected_and_old(void **state)
{
	(void)state;
	struct buf why = { 0 };
	struct ledger_config config = { .dir = dir, .segment_bytes = SMALL_SEGMENT, .record_keep_ms = 1000 };
	struct ledger *l = ledger_open_on(&config, &faults.io, &why);
	for (unsigned i = 0; i < 4; i++)
		write_batch(l, i * 50, 50, 2000);
	write_one(l, make_value("1")); /* values are kept for ever: the newest segment stays */
	ledger_close(l);
	l = ledger_open_on(&config, &faults.io, &why);
	struct ledger_health before, after;
	ledger_health_read(l, &before);
	ledger_maintain(l, NOW_US + 3600 * INT64_C(1000000));
	ledger_health_read(l, &after);
	assert_int_equal(after.segments, before.segments); /* not projected yet */
	ledger_set_projected_lsn(l, ledger_durable_lsn(l));
	l->writer.retired_us = 0;
	ledger_maintain(l, NOW_US + 500 * 1000);
	ledger_health_read(l, &after);
	assert_int_equal(after.segments, before.segments); /* not old enough */
	l->writer.retired_us = 0;
	ledger_maintain(l, NOW_US + 3600 * INT64_C(1000000));
	ledger_health_read(l, &after);
	assert_int_equal(after.segments, 1);
	assert_false(is_there(l, 0));
	assert_int_equal(write_record(l, 1000, 100), RT_OK);
	ledger_close(l);
	assert_int_equal(count_files(".seg"), 2);
	l = ledger_open_on(&config, &faults.io, &why);
	assert_true(is_there(l, 1000));
	assert_int_equal(ledger_durable_lsn(l), 202);
	struct scanned s = scan_from(l, NULL, 1); /* begins at the first that is left */
	assert_true(s.first_lsn > 1);
	assert_int_equal(s.corrupt, 0);
	assert_int_equal(s.last_lsn, 202);
	ledger_close(l);
	buf_finish(&why);
}

/* Reads of data, not of a header or a footer: how far the furthest went. */
static uint64_t data_end, read_end;

static ssize_t watched_pread(const struct ledger_io *io, int fd, void *p, size_t n, uint64_t at)
{
	if (at >= LEDGER_BLOCK && at < data_end && at + n > read_end)
		read_end = at + n;
	return ledger_io_real.pread(io, fd, p, n, at);
}

/* Files dropped from the page cache, by inode. */
static ino_t dropped[64];
static unsigned dropped_count;

static void watched_drop(const struct ledger_io *io, int fd)
{
	struct stat st;
	(void)io;
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(dropped_count < 64);
	dropped[dropped_count++] = st.st_ino;
}

static bool is_dropped(uint64_t seq)
{
	char path[600], name[LEDGER_SEGMENT_NAME];
	struct stat st;
	unsigned times = 0;
	ledger_segment_name(seq, name);
	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(stat(path, &st), 0);
	for (unsigned i = 0; i < dropped_count; i++)
		times += dropped[i] == st.st_ino;
	assert_true(times <= 1);
	return times == 1;
}

static void a_scan_beside_the_committer_drops_the_segments_it_has_read(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	struct ledger_health health;
	for (unsigned i = 0; i < 6; i++)
		write_batch(l, i * 50, 50, 2000);
	ledger_health_read(l, &health);
	assert_true(health.segments >= 3);
	dropped_count = 0;
	faults.io.drop_cached = watched_drop;
	assert_int_equal(scan_from(NULL, dir, 1).frames, 300);
	assert_int_equal(dropped_count, 0); /* from outside: the server may still want them */
	assert_int_equal(scan_from(l, NULL, 1).frames, 300);
	assert_int_equal(dropped_count, health.segments - 1);
	for (uint64_t seq = 1; seq < l->writer.open->head.seq; seq++)
		assert_true(is_dropped(seq));
	assert_false(is_dropped(l->writer.open->head.seq));
	ledger_close(l);
}

/* Behind it lie zeros that may be on disk only: docs/adr/0004. */
static void a_scan_beside_the_committer_ends_where_the_data_does(void **state)
{
	(void)state;
	struct ledger *l = open_small(dir);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(write_record(l, i, 500), RT_OK);
		data_end = l->writer.open->foot.data_end;
		read_end = 0;
		faults.io.pread = watched_pread;
		assert_int_equal(scan_from(l, NULL, 1).records, i + 1);
		assert_int_equal(read_end, data_end);
	}
	ledger_close(l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(records_come_back),
		TEST(ids_are_found_in_every_spelling),
		TEST(the_chain_goes_from_record_to_record),
		TEST(segments_follow_one_another),
		TEST(full_segments_are_sealed_while_it_runs),
		TEST(a_scan_from_outside_sees_what_is_durable),
		TEST(a_scan_beside_the_committer_ends_where_the_data_does),
		TEST(a_scan_beside_the_committer_drops_the_segments_it_has_read),
		TEST(all_kinds_come_back_in_order),
		TEST(imports_are_idempotent),
		TEST(what_cannot_be_written_is_refused_alone),
		TEST(events_without_a_mark_are_pending),
		TEST(events_whose_mark_may_be_lost_wait),
		TEST(a_ledger_without_a_list_of_gaps_gets_one),
		TEST(one_server_at_a_time),
		TEST(a_temporary_ledger_leaves_nothing),
		TEST(starts_without_writes_leave_no_segments),
		TEST(retention_drops_what_is_projected_and_old),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
