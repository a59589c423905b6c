/* Cells of a large history: what a read costs that the online table has forgotten.
 *
 *     build/release/bench/bench_as_of [rows [ids [rounds]]]
 *
 * A file with so many rows of history (each id has rows / ids of them, all of one feature), asked for the newest value of 1, 16, 256
 * and 1,024 ids at once, on one connection, as the reader does. Prints the median of the rounds. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/offline/offline_as_of.h"
#include "store/offline/offline_private.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(name);
}

static void run(struct offline_conn *c, const char *sql)
{
	struct offline_error error = { 0 };
	if (offline_conn_run(c, sql, &error))
		return;
	fprintf(stderr, "%s\n", error.text);
	abort();
}

static void fill(struct offline_conn *c, unsigned long rows, unsigned long ids)
{
	struct buf sql = { 0 };
	buf_printf(
	    &sql,
	    "INSERT INTO fabra.feature_history SELECT 'User', 'user-' || (hash(range) %% %lu), 'spent', "
	    "CAST(range AS VARCHAR), make_timestamp(range * 1000), make_timestamp(range * 1000), range, 0, 2, '', 0 FROM range(%lu)",
	    ids, rows);
	buf_append_char(&sql, '\0');
	run(c, sql.p);
	run(c, "CHECKPOINT");
	buf_finish(&sql);
}

static int by_time(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double ask(struct offline_conn *c, uint32_t count, unsigned long ids, unsigned long *ret_found)
{
	struct offline_as_of *m = offline_as_of_new(NULL, INT64_MAX);
	struct offline_error error = { 0 };
	char id[32];
	CHECK(m != NULL);
	for (uint32_t i = 0; i < count; i++) {
		int n = snprintf(id, sizeof id, "user-%lu", (unsigned long)rand() % ids);
		CHECK(offline_as_of_add(m, STR("User"), str_of(id, (size_t)n), STR("spent"), STR("")));
	}
	uint64_t began_ns = clock_mono_ns();
	CHECK(offline_as_of_read(c, m->what, UINT64_MAX, &error));
	double ms = (double)(clock_mono_ns() - began_ns) / 1e6;
	for (uint32_t i = 0; i < count; i++)
		*ret_found += m->what->cells[i].found == OFFLINE_VALUE;
	m->head.dispose(&m->head); /* its head goes with the program */
	return ms;
}

int main(int argc, char **argv)
{
	unsigned long rows = argc > 1 ? strtoul(argv[1], NULL, 10) : 2000000;
	unsigned long ids = argc > 2 ? strtoul(argv[2], NULL, 10) : 500000;
	unsigned rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 21;
	static const uint32_t counts[] = { 1, 16, 256, OFFLINE_CELLS_MAX };
	char dir[] = "/tmp/fabra-bench-XXXXXX", path[96];
	struct buf why = { 0 };
	struct offline_error error = { 0 };
	double *times = calloc(rounds, sizeof *times);
	CHECK(mkdtemp(dir) != NULL && times != NULL && rounds > 0);
	snprintf(path, sizeof path, "%s/fabra.duckdb", dir);
	struct offline *o = offline_open(&(struct offline_config){ .path = path }, &why);
	CHECK(o != NULL);
	struct offline_conn *c = offline_conn_open(o, &error);
	CHECK(c != NULL && offline_conn_enter(c, &error));
	fill(c, rows, ids);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		unsigned long found = 0;
		for (unsigned r = 0; r < rounds; r++)
			times[r] = ask(c, counts[i], ids, &found);
		qsort(times, rounds, sizeof *times, by_time);
		printf("%lu rows, %u ids: median %.2f ms, longest %.2f (%lu of %lu found)\n", rows, counts[i],
		       times[rounds / 2], times[rounds - 1], found, (unsigned long)rounds * counts[i]);
	}
	offline_conn_leave(c);
	offline_conn_close(c);
	offline_close(o);
	free(times);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
