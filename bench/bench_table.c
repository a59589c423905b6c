/* Loading a CSV file: fabra.table, which reads every cell before it chooses types, beside DuckDB's own reader told to look
 * at every row (sample_size=-1).
 *
 *     build/release/bench/bench_table [rows [pairs]]      default: 500,000 rows, 7 pairs
 *
 * Each pair loads the same file once each way, one after the other, into a database file of its own with the settings of
 * the server (one thread, 512 MB). Printed: seconds of both, and the median of the ratios. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/offline/offline_private.h"
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAIRS_MAX = 101 };

static char dir[64], csv[96];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void write_csv(unsigned rows)
{
	FILE *f = fopen(csv, "w");
	uint64_t x = 88172645463325252u;
	CHECK(f != NULL);
	fputs("order_id,user_id,amount,quantity,ordered_at,day,paid,note\n", f);
	for (unsigned i = 0; i < rows; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		unsigned month = 1 + i % 12, day = 1 + i % 28;
		fprintf(f, "%u,u%u,%u.%02u,%u,2024-%02u-%02u %02u:%02u:00,2024-%02u-%02u,%s,some text %u\n", i,
			(unsigned)(x % 50000), (unsigned)(x >> 20) % 1000, (unsigned)(x >> 40) % 100,
			(unsigned)(x >> 30) % 20, month, day, i % 24, i % 60, month, day, i % 3 ? "true" : "false",
			i % 977);
	}
	CHECK(fclose(f) == 0);
}

static struct offline *open_store(void)
{
	char path[96];
	struct buf why = { 0 };
	snprintf(path, sizeof path, "%s/fabra.duckdb", dir);
	remove(path);
	snprintf(path, sizeof path, "%s/fabra.duckdb.wal", dir);
	remove(path);
	snprintf(path, sizeof path, "%s/fabra.duckdb", dir);
	struct offline *o = offline_open(&(struct offline_config){ .path = path }, &why);
	if (o == NULL)
		fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&why)));
	CHECK(o != NULL);
	return o;
}

static double load_fabra(void)
{
	struct offline *o = open_store();
	struct buf why = { 0 };
	uint64_t rows, started_ns = clock_mono_ns();
	bool is_new;
	bool ok = offline_load_table(o, &(struct offline_table){ .name = "t", .file = csv }, &rows, &is_new, &why);
	double seconds = (double)(clock_mono_ns() - started_ns) / 1e9;
	if (!ok)
		fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&why)));
	CHECK(ok);
	offline_close(o);
	return seconds;
}

static double load_bare(void)
{
	struct offline *o = open_store();
	struct offline_error error;
	struct buf sql = { 0 };
	buf_printf(&sql, "CREATE TABLE t AS SELECT * FROM read_csv('%s', sample_size = -1)", csv);
	buf_append_char(&sql, '\0');
	struct offline_conn *c = offline_admin_enter(o, &error);
	CHECK(c != NULL);
	uint64_t started_ns = clock_mono_ns();
	CHECK(offline_conn_run(c, sql.p, &error));
	double seconds = (double)(clock_mono_ns() - started_ns) / 1e9;
	offline_admin_leave(o);
	offline_close(o);
	buf_finish(&sql);
	return seconds;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	unsigned rows = argc > 1 ? (unsigned)atoi(argv[1]) : 500000;
	unsigned pairs = argc > 2 ? (unsigned)atoi(argv[2]) : 7;
	double ratios[PAIRS_MAX];
	pairs = pairs == 0 ? 1 : pairs > PAIRS_MAX ? PAIRS_MAX : pairs;
	strcpy(dir, "/tmp/fabra-bench-XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	snprintf(csv, sizeof csv, "%s/orders.csv", dir);
	write_csv(rows);
	for (unsigned i = 0; i < pairs; i++) {
		double bare = i % 2 ? load_bare() : 0, ours = load_fabra();
		bare = i % 2 ? bare : load_bare();
		ratios[i] = ours / bare;
		printf("%u rows: fabra.table %.2f s, DuckDB %.2f s, ratio %.2f\n", rows, ours, bare, ratios[i]);
	}
	qsort(ratios, pairs, sizeof ratios[0], by_value);
	printf("median ratio %.2f (bound 1.5)\n", ratios[pairs / 2]);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}
