/* Listing contexts: what GET /v1/contexts asks of the offline store, beside bare DuckDB over the same rows.
 *
 *     build/release/bench/bench_list [records [pairs]]
 *
 * A store of a million records, asked through the reader and its lanes; and a copy of its file, opened by DuckDB with its
 * own optimizers, one thread, asked with the statement as text. In turn; prints each pair and the median of the ratios. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/offline/offline_private.h"
#include <ftw.h>
#include <semaphore.h>
#include <unistd.h>

enum { PAIRS_MAX = 101, LANES = 4, LIMIT = 50 };

static char dir[64], path[96], copy[96];

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(name);
}

/* ---- who asks ---- */
enum { ASK = MSG_KIND(CLASS_TEST, 1) };

struct ask_msg {
	struct msg head;
	const char *name; /* of the contexts; NULL = any */
	struct actor_ref to;
};
struct asker {
	struct actor base;
};
static sem_t answered;
static uint32_t answered_rows;

static void asker_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
	} else if (m->kind == ASK) {
		const struct ask_msg *ask = (const struct ask_msg *)m;
		struct evidence_list *list = evidence_list_new(a->loop);
		list->limit = LIMIT;
		list->name = ask->name != NULL ? strdup(ask->name) : NULL;
		rt_ask(a, ask->to, &list->head, clock_mono_ns() + 60000000000, ACTOR_NONE);
	} else {
		answered_rows = m->kind == EVIDENCE_ANSWER && m->status == RT_OK ? ((struct evidence_answer *)m)->rows
										 : 0;
		sem_post(&answered);
	}
}

static const struct actor_class asker_class = {
	.name = "asker", .size = sizeof(struct asker), .mailbox_len_max = 16, .on_message = asker_on_message
};

static double ask_store(struct actor_ref asker, struct actor_ref reader, const char *name)
{
	uint64_t started_ns = clock_mono_ns();
	struct ask_msg *m = loop_msg_new(ASK);
	m->name = name;
	m->to = reader;
	CHECK(loop_post(asker, &m->head));
	while (sem_wait(&answered) != 0)
		continue;
	CHECK(answered_rows == LIMIT);
	return (double)(clock_mono_ns() - started_ns) / 1e6;
}

/* ---- bare ---- */
static duckdb_connection bare_open(duckdb_database *db)
{
	duckdb_config config;
	duckdb_connection c;
	duckdb_result result;
	char sql[160];
	CHECK(duckdb_create_config(&config) == DuckDBSuccess);
	CHECK(duckdb_set_config(config, "threads", "1") == DuckDBSuccess);
	CHECK(duckdb_set_config(config, "memory_limit", "512MB") == DuckDBSuccess);
	CHECK(duckdb_open_ext(":memory:", db, config, NULL) == DuckDBSuccess);
	duckdb_destroy_config(&config);
	CHECK(duckdb_connect(*db, &c) == DuckDBSuccess);
	snprintf(sql, sizeof sql, "ATTACH '%s' AS offline (READ_ONLY)", copy);
	CHECK(duckdb_query(c, sql, &result) == DuckDBSuccess);
	duckdb_destroy_result(&result);
	return c;
}

static double ask_bare(duckdb_connection c, const char *name)
{
	char sql[400];
	duckdb_result result;
	snprintf(sql, sizeof sql,
		 "SELECT context_id, created_at, context_function, token_count, freshness_status, version FROM "
		 "offline.fabra.records %s%s%s ORDER BY created_at DESC, context_id DESC LIMIT %d",
		 name != NULL ? "WHERE context_function = '" : "", name != NULL ? name : "", name != NULL ? "'" : "",
		 LIMIT);
	uint64_t started_ns = clock_mono_ns();
	CHECK(duckdb_query(c, sql, &result) == DuckDBSuccess);
	CHECK(duckdb_row_count(&result) == LIMIT);
	duckdb_destroy_result(&result);
	return (double)(clock_mono_ns() - started_ns) / 1e6;
}

/* ---- the rows ---- */
static void make_file(unsigned records)
{
	struct buf sql = { 0 }, why = { 0 };
	struct offline_error error = { 0 };
	struct offline *o = offline_open(&(struct offline_config){ .path = path }, &why);
	CHECK(o != NULL);
	buf_printf(
	    &sql,
	    "INSERT INTO fabra.records(context_id, lsn, created_at, environment, schema_version, context_function, "
	    "token_count, record_hash, freshness_status, version, imported) SELECT 'ctx_' || gen_random_uuid(), i + 1, "
	    "make_timestamp(1700000000000000 + i * 1000), 'development', '1.0.0', 'context_' || i %% 17, 100 + i * 7919 %% "
	    "3000, 'sha256:' || sha256(CAST(i AS VARCHAR)), CASE WHEN i %% 9 = 0 THEN 'degraded' ELSE 'guaranteed' END, 'v1', "
	    "false FROM range(%u) t(i)",
	    records);
	buf_append_char(&sql, '\0');
	struct offline_conn *c = offline_admin_enter(o, &error);
	CHECK(c != NULL && offline_conn_run(c, sql.p, &error) && offline_conn_run(c, "CHECKPOINT", &error));
	offline_admin_leave(o);
	offline_close(o);
	buf_finish(&sql);
	buf_finish(&why);
	char command[240];
	snprintf(command, sizeof command, "cp %s %s", path, copy);
	CHECK(system(command) == 0);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
	qsort(values, count, sizeof *values, by_value);
	return values[count / 2];
}

static void compare(struct actor_ref asker, struct actor_ref reader, duckdb_connection bare, const char *name,
		    unsigned pairs)
{
	double ours[PAIRS_MAX], theirs[PAIRS_MAX], ratios[PAIRS_MAX];
	for (int i = 0; i < 3;
	     i++) { /* the statement is known to be slow from then on, and both have the file in memory */
		ask_store(asker, reader, name);
		ask_bare(bare, name);
	}
	for (unsigned i = 0; i < pairs; i++) {
		theirs[i] = i % 2 ? ask_bare(bare, name) : 0;
		ours[i] = ask_store(asker, reader, name);
		theirs[i] = i % 2 ? theirs[i] : ask_bare(bare, name);
		ratios[i] = ours[i] / theirs[i];
	}
	double ratio = median(ratios, pairs);
	printf("newest %d%s%s: %.1f ms, bare DuckDB %.1f ms, median ratio of %u pairs %.2f (bound 2)\n", LIMIT,
	       name != NULL ? " of " : "", name != NULL ? name : "", median(ours, pairs), median(theirs, pairs), pairs,
	       ratio);
}

int main(int argc, char **argv)
{
	unsigned records = argc > 1 ? (unsigned)atoi(argv[1]) : 1000000,
		 pairs = argc > 2 ? (unsigned)atoi(argv[2]) : 15;
	if (records < 2000 || records > 50000000 || pairs < 1 || pairs > PAIRS_MAX) {
		fprintf(stderr, "usage: bench_list [records 2000..50000000 [pairs 1..%d]]\n", PAIRS_MAX);
		return 2;
	}
	strcpy(dir, "/tmp/fabra-bench-XXXXXX");
	CHECK(mkdtemp(dir) != NULL);
	snprintf(path, sizeof path, "%s/fabra.duckdb", dir);
	snprintf(copy, sizeof copy, "%s/copy.duckdb", dir);
	make_file(records);

	struct buf why = { 0 };
	struct offline *o = offline_open(&(struct offline_config){ .path = path }, &why);
	struct loop *loops[LANES + 2];
	CHECK(o != NULL && sem_init(&answered, 0, 0) == 0);
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		loops[i] = loop_create(
		    &(struct loop_config){ .name = "bench", .kind = LOOP_BLOCKING, .actors_max = 64 });
	struct actor_ref reader = offline_spawn_reader(o, loops[1], loops + 2, LANES);
	struct actor_ref asker = rt_spawn(loops[0], &asker_class, NULL);
	CHECK(!ref_is_none(reader) && !ref_is_none(asker));
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		CHECK(loop_start(loops[i]) == 0);

	duckdb_database db;
	duckdb_connection bare = bare_open(&db);
	printf("%u records\n", records);
	compare(asker, reader, bare, NULL, pairs);
	compare(asker, reader, bare, "context_3", pairs);

	duckdb_disconnect(&bare);
	duckdb_close(&db);
	for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
		loop_stop(loops[i]);
		loop_join(loops[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		loop_destroy(loops[i]);
	offline_close(o);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}
