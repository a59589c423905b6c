/* Parts of the ledger that know no file format: ranges of LSNs, events without their mark, the growing index. */
#include "store/ledger/ledger_recover.h"
#include "tests/unit/ledger_fixture.h"
#include <time.h>

enum { LSNS = 300 };

/* ---- ranges ---- */
static void check_ranges(const struct ledger_ranges *r, const bool *in)
{
	uint64_t total = 0;
	for (size_t i = 0; i < r->count; i++) {
		assert_true(r->items[i].first <= r->items[i].last);
		assert_true(i == 0 || r->items[i - 1].last + 1 < r->items[i].first);
	}
	for (uint64_t lsn = 1; lsn < LSNS; lsn++) {
		struct ledger_range part;
		total += in[lsn];
		assert_int_equal(ledger_ranges_outside(r, lsn, lsn, &part), !in[lsn]);
	}
	assert_int_equal(ledger_ranges_total(r), total);
}

static void ranges_are_what_was_added(void **state)
{
	(void)state;
	srand(5);
	for (int round = 0; round < 200; round++) {
		struct ledger_ranges r = { 0 };
		bool in[LSNS] = { false };
		for (int i = 0; i < 12; i++) {
			uint64_t first = 1 + (uint64_t)rand() % (LSNS - 40), last = first + (uint64_t)rand() % 30;
			assert_true(ledger_ranges_add(&r, first, last));
			for (uint64_t lsn = first; lsn <= last; lsn++)
				in[lsn] = true;
			check_ranges(&r, in);
		}
		uint64_t next = 1, parts = 0;
		struct ledger_range part;
		while (next < LSNS && ledger_ranges_outside(&r, next, LSNS - 1, &part)) {
			for (uint64_t lsn = part.first; lsn <= part.last; lsn++) {
				assert_false(in[lsn]);
				parts++;
			}
			next = part.last + 1;
		}
		assert_int_equal(parts, LSNS - 1 - ledger_ranges_total(&r));
		ledger_ranges_finish(&r);
	}
}

static void gaps_come_back_and_a_damaged_list_is_not_written_over(void **state)
{
	(void)state;
	static const uint8_t id[16] = { 1, 2, 3 }, another[16] = { 9 };
	char *dir = fresh_dir(), path[600];
	int fd = open(dir, O_RDONLY | O_DIRECTORY);
	struct ledger_ranges r;
	assert_int_equal(ledger_gaps_read(&ledger_io_real, fd, id, &r), 0);
	assert_int_equal(r.count, 0);
	assert_int_equal(ledger_gaps_add(&ledger_io_real, fd, id, 5, 9), 0);
	assert_int_equal(ledger_gaps_add(&ledger_io_real, fd, id, 20, 20), 0);
	assert_int_equal(ledger_gaps_add(&ledger_io_real, fd, id, 10, 12), 0);
	assert_int_equal(ledger_gaps_read(&ledger_io_real, fd, id, &r), 0);
	assert_int_equal(r.count, 2);
	assert_int_equal(r.items[0].last, 12);
	ledger_ranges_finish(&r);
	assert_int_equal(ledger_gaps_read(&ledger_io_real, fd, another, &r), -EBADMSG);
	snprintf(path, sizeof path, "%s/gaps", dir);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	for (uint64_t at = 0; at < (uint64_t)st.st_size; at++) {
		flip(path, at);
		assert_int_equal(ledger_gaps_read(&ledger_io_real, fd, id, &r), -EBADMSG);
		assert_int_equal(ledger_gaps_add(&ledger_io_real, fd, id, 30, 31), -EBADMSG);
		flip(path, at);
	}
	assert_int_equal(ledger_gaps_read(&ledger_io_real, fd, id, &r), 0);
	ledger_ranges_finish(&r);
	close(fd);
	drop_dir(dir);
}

/* ---- events ---- */
static void events_are_those_without_a_mark(void **state)
{
	(void)state;
	static bool waits[20000];
	struct ledger l = { 0 };
	struct ledger_writer *w = &l.writer;
	srand(11);
	memset(waits, 0, sizeof waits);
	uint64_t next = 1, waiting = 0;
	for (int step = 0; step < 60000 && next < 19999; step++) {
		if (rand() % 5 < 2) {
			assert_true(ledger_events_add(w, next));
			waits[next++] = true;
			waiting++;
		} else {
			uint64_t from = next > 300 && rand() % 8 ? next - 300 : 1,
				 lsn = from + (uint64_t)rand() % (next - from + 1);
			ledger_events_remove(w, lsn); /* also of those that have it, and of none */
			waiting -= waits[lsn];
			waits[lsn] = false;
		}
		w->tip.lsn = next - 1;
		assert_int_equal(w->events.waiting, waiting);
		if (step % 100 == 0) {
			uint64_t oldest = 1;
			while (oldest < next && !waits[oldest])
				oldest++;
			assert_int_equal(ledger_events_from(&l), oldest);
		}
	}
	uint64_t seen = 0;
	for (size_t i = w->events.first; i < w->events.end; i++) {
		uint64_t lsn = ledger_events_at(&w->events, i);
		assert_true(lsn == 0 || waits[lsn]);
		seen += lsn != 0;
	}
	assert_int_equal(seen, waiting);
	free(w->events.places);
}

/* Moving the rest at each mark is 640 GB of copying here. */
static void a_backlog_of_events_drains_in_linear_time(void **state)
{
	(void)state;
	enum { EVENTS = 400000 };
	struct ledger l = { 0 };
	for (uint64_t lsn = 1; lsn <= EVENTS; lsn++)
		assert_true(ledger_events_add(&l.writer, lsn));
	size_t end = l.writer.events.end;
	for (uint64_t lsn = 2; lsn <= EVENTS; lsn++) { /* the first one stays, so that nothing goes from the front */
		ledger_events_remove(&l.writer, lsn);
		assert_int_equal(l.writer.events.end, end); /* the rest was not moved up */
	}
	ledger_events_remove(&l.writer, 1);
	assert_int_equal(l.writer.events.waiting, 0);
	free(l.writer.events.places);
}

/* ---- index ---- */
static void an_index_grows_beside_its_readers(void **state)
{
	(void)state;
	struct ledger_index x = { 0 }, larger;
	uint64_t places[LEDGER_HITS_MAX];
	for (uint64_t key = 1; key <= 5000; key++) {
		assert_true(ledger_index_grow(&x, 1, &larger));
		if (larger.slots != NULL) {
			assert_int_equal(larger.count, x.count);
			for (uint64_t old = 1; old < key;
			     old += 37) { /* the old one is whole while the new one is made */
				assert_int_equal(ledger_index_find(&x, old * 7919, places), 1);
				assert_int_equal(ledger_index_find(&larger, old * 7919, places), 1);
				assert_int_equal(places[0], old * 8);
			}
			ledger_index_finish(&x);
			x = larger;
		}
		ledger_index_add(&x, key * 7919, key * 8);
	}
	ledger_index_finish(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_are_what_was_added),
		cmocka_unit_test(gaps_come_back_and_a_damaged_list_is_not_written_over),
		cmocka_unit_test(events_are_those_without_a_mark),
		cmocka_unit_test(a_backlog_of_events_drains_in_linear_time),
		cmocka_unit_test(an_index_grows_beside_its_readers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
