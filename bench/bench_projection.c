/* The projection: how many entries a second it takes, what an entry costs, how far it is behind under a
 * steady load, and how long a warm start takes.
 *
 *     build/release/bench/bench_projection [records_per_second [seconds [history_rows]]]
 *
 * (a) 40,000 requests of one 8 KB record and three values, applied as fast as one thread can; (b) the same at
 * a steady rate (default 5,000 requests a second for 10 s) with the projection at idle priority as in the
 * server; (c) warm start from 5 million history rows of 1 million keys. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/evidence/entries.h"
#include "store/ledger/ledger_private.h"
#include "store/offline/offline_private.h"
#include <ftw.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BATCH = 64, REQUESTS = 40000, CONTENT_BYTES = 7000, KEYS = 1000000 };

struct bench {
	char dir[64], db[96], ledger_dir[112];
	struct ledger *ledger;
	struct offline *offline;
	char *content;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void bench_open(struct bench *b)
{
	struct buf why = { 0 };
	strcpy(b->dir, "/tmp/fabra-bench-XXXXXX");
	CHECK(mkdtemp(b->dir) != NULL);
	snprintf(b->db, sizeof b->db, "%s/fabra.duckdb", b->dir);
	snprintf(b->ledger_dir, sizeof b->ledger_dir, "%s.ledger", b->db);
	b->ledger = ledger_open(&(struct ledger_config){ .dir = b->ledger_dir }, &why);
	CHECK(b->ledger != NULL);
	b->offline = offline_open(&(struct offline_config){ .path = b->db, .log = ledger_log_source(b->ledger) }, &why);
	CHECK(b->offline != NULL);
	b->content = malloc(CONTENT_BYTES);
	CHECK(b->content != NULL);
	memset(b->content, 'x', CONTENT_BYTES);
}

static void bench_close(struct bench *b)
{
	offline_close(b->offline);
	ledger_close(b->ledger);
	nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(b->content);
}

/* ---- entries ---- */
static struct evidence_entry *make_record(const struct bench *b, unsigned i, int64_t now_us)
{
	char id[41];
	snprintf(id, sizeof id, "ctx_018f3a2b-7def-7abc-8901-%012u", i);
	struct record record = {
		.context_id = str_from(id),
		.created_at_us = now_us,
		.environment = STR("production"),
		.schema_version = STR("1.0.0"),
		.context_function = STR("chat_context"),
		.inputs_json = STR(
		    "{\"user_id\":\"u1\",\"query\":\"late flights\",\"interaction_ref\":{\"call_id\":\"c1\"}}"),
		.content = str_of(b->content, CONTENT_BYTES),
		.token_count = 1000,
		.assembly = { .max_tokens = 4000, .freshness_sla_ms = -1, .freshness_status = RECORD_GUARANTEED },
		.lineage = { .fabra_version = STR("2.3.2") },
		.integrity = { .content_hash = STR("sha256:"), .record_hash = STR(""), .signed_at_us = -1 },
	};
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD);
	CHECK(e != NULL && record_write_canonical(&record, &e->body, &e->previous_at));
	buf_append_lit(&e->extras, "{\"version\":\"v1\"}");
	memcpy(e->context_id, id, 40);
	return e;
}

static struct evidence_entry *make_values(unsigned i, int64_t now_us)
{
	char user[24];
	snprintf(user, sizeof user, "user_%u", i * 2654435761u % 100000);
	struct str id = str_from(user);
	struct entry_value values[] = {
		{ id, STR("user_tier"), STR("\"premium\""), now_us, 86400000, 0, STR("code:0123456789abcdef") },
		{ id, STR("open_tickets"), STR("3"), now_us, 30000, 0, STR("code:0123456789abcdef") },
		{ id, STR("total_spent"), STR("1234.5"), now_us, 0, 0, STR("") },
	};
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	CHECK(e != NULL);
	entry_values_write(&e->body,
			   &(struct entry_values){ STR("User"), ENTRY_COMPUTED, 0, values, ARRAY_LEN(values) });
	return e;
}

/* Requests first..first+count: two entries each, one ledger batch. */
static void append(struct bench *b, unsigned first, unsigned count)
{
	struct evidence_entry *entries[2 * BATCH];
	int statuses[2 * BATCH];
	int64_t now_us = clock_wall_us();
	CHECK(count <= BATCH);
	for (unsigned i = 0; i < count; i++) {
		entries[2 * i] = make_values(first + i, now_us);
		entries[2 * i + 1] = make_record(b, first + i, now_us);
	}
	ledger_write(b->ledger, entries, statuses, 2 * count, now_us);
	for (unsigned i = 0; i < 2 * count; i++) {
		CHECK(statuses[i] == RT_OK);
		evidence_entry_free(entries[i]);
	}
}

/* ---- (a) ---- */
static void bench_speed(void)
{
	struct bench b = { 0 };
	bench_open(&b);
	for (unsigned i = 0; i < REQUESTS; i += BATCH)
		append(&b, i, BATCH);
	uint64_t wall_ns = clock_mono_ns(), cpu_ns = clock_thread_cpu_ns();
	while (offline_projection_step(b.offline) == OFFLINE_STEP_MORE)
		;
	wall_ns = clock_mono_ns() - wall_ns;
	cpu_ns = clock_thread_cpu_ns() - cpu_ns;
	struct offline_health health;
	offline_health_read(b.offline, &health);
	CHECK(health.lag_entries == 0);
	printf("(a) as fast as it can   %8.0f entries/s   %5.1f us CPU an entry   %5.1f us a request (8 KB "
	       "record, 3 values)   "
	       "%llu transactions\n",
	       (double)health.entries * 1e9 / (double)wall_ns, (double)cpu_ns / 1e3 / (double)health.entries,
	       (double)cpu_ns / 1e3 / (REQUESTS / BATCH * BATCH), (unsigned long long)health.transactions);
	bench_close(&b);
}

/* ---- (b) ---- */
static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static struct loop *start(const char *name, bool idle)
{
	struct loop *loop = loop_create(
	    &(struct loop_config){ .name = name, .kind = LOOP_BLOCKING, .is_background = idle });
	CHECK(loop != NULL);
	return loop;
}

static void bench_load(unsigned rate, unsigned seconds)
{
	struct bench b = { 0 };
	bench_open(&b);
	struct loop *reader = start("reader", false), *projection = start("projection", true);
	offline_spawn_reader(b.offline, reader, NULL, 0);
	offline_spawn_projection(b.offline, projection);
	CHECK(loop_start(reader) == 0 && loop_start(projection) == 0);
	unsigned ticks = seconds * 100, done = 0;
	int64_t *lag_ms = calloc(ticks, sizeof *lag_ms);
	CHECK(lag_ms != NULL);
	uint64_t start_ns = clock_mono_ns();
	for (unsigned tick = 0; tick < ticks; tick++) {
		unsigned due = (unsigned)((uint64_t)rate * (tick + 1) / 100);
		for (; done < due; done += due - done < BATCH ? due - done : BATCH)
			append(&b, done, due - done < BATCH ? due - done : BATCH);
		lag_ms[tick] = offline_projection_lag_ms(b.offline);
		uint64_t next_ns = start_ns + (tick + 1) * 10000000ull, now_ns = clock_mono_ns();
		if (next_ns > now_ns)
			usleep((unsigned)((next_ns - now_ns) / 1000));
	}
	uint64_t took_ns = clock_mono_ns() - start_ns;
	int64_t last_ms = lag_ms[ticks - 1];
	qsort(lag_ms, ticks, sizeof *lag_ms, by_value);
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	printf("(b) %u requests/s for %u s (%.0f/s reached): lag p50 %lld p99 %lld max %lld ms, at the end "
	       "%lld ms; peak RSS %ld MB\n",
	       rate, seconds, done * 1e9 / (double)took_ns, (long long)lag_ms[ticks / 2],
	       (long long)lag_ms[ticks * 99 / 100], (long long)lag_ms[ticks - 1], (long long)last_ms,
	       usage.ru_maxrss / 1024);
	free(lag_ms);
	struct loop *loops[] = { reader, projection };
	for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
		loop_stop(loops[i]);
		loop_join(loops[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		loop_destroy(loops[i]);
	bench_close(&b);
}

/* ---- (c) ---- */
static bool count_one(void *arg, const struct offline_value *v)
{
	(void)v;
	++*(uint64_t *)arg;
	return true;
}

static void bench_warm(unsigned rows)
{
	struct bench b = { 0 };
	struct offline_error error = { 0 };
	struct buf sql = { 0 }, why = { 0 };
	bench_open(&b);
	buf_printf(&sql,
		   "INSERT INTO fabra.feature_history SELECT 'User', 'user_' || ((i * 2654435761) %% %u), "
		   "'feature_' || ((i // %u) %% 4), '{\"v\":' || i || '}', make_timestamp(1700000000000000 + i), "
		   "make_timestamp(1700000000000000 + i), i, 0, 1, 'code:0123456789abcdef', 0 FROM range(%u) t(i)",
		   KEYS / 4, KEYS / 4, rows);
	buf_append_char(&sql, '\0');
	struct offline_conn *c = offline_admin_enter(b.offline, &error);
	CHECK(c != NULL && offline_conn_run(c, sql.p, &error) && offline_conn_run(c, "CHECKPOINT", &error));
	offline_admin_leave(b.offline);
	uint64_t values = 0, wall_ns = clock_mono_ns(), cpu_ns = clock_thread_cpu_ns();
	CHECK(offline_warm(b.offline, &values, count_one, &why));
	wall_ns = clock_mono_ns() - wall_ns;
	cpu_ns = clock_thread_cpu_ns() - cpu_ns;
	printf("(c) warm start: %llu values out of %u rows in %.2f s (%.2f s CPU)\n", (unsigned long long)values, rows,
	       (double)wall_ns / 1e9, (double)cpu_ns / 1e9);
	buf_finish(&sql);
	buf_finish(&why);
	bench_close(&b);
}

int main(int argc, char **argv)
{
	int rate = argc > 1 ? atoi(argv[1]) : 5000, seconds = argc > 2 ? atoi(argv[2]) : 10;
	int rows = argc > 3 ? atoi(argv[3]) : 5 * KEYS;
	if (rate < 1 || rate > 100000 || seconds < 1 || seconds > 600 || rows < 1 || rows > 50000000) {
		fprintf(stderr, "usage: bench_projection [records_per_second 1..100000 [seconds 1..600 "
				"[history_rows]]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	bench_speed();
	bench_load((unsigned)rate, (unsigned)seconds);
	bench_warm((unsigned)rows);
	return 0;
}
