/* The contract of evidence, kept by the ledger with DuckDB beside it, and by the ledger of simulations. */
#include "tests/contract/evidence.h"
#include "store/ledger/ledger_fake.h"
#include "store/offline/offline_duckdb.h"
#include "store/offline/offline_fake.h"
#include "store/offline/offline_conn.h"
#include "tests/unit/ledger_fixture.h"
#include <ftw.h>

/* ---- the ledger and DuckDB ---- */

static struct embedded {
	char dir[64], db_path[96], ledger_dir[112];
	struct ledger *ledger;
	struct offline *offline;
	struct loop *committing, *reading, *listing;
} embedded;

static const char legacy_ref[] = "ctx_00000000-0000-0000-0000-00000000000a";

/* What Fabra's Python program leaves: its table of contexts. */
static void make_python_file(const char *path)
{
	static const char *const sql[] = {
		"CREATE TABLE context_log (context_id VARCHAR, timestamp TIMESTAMP, content VARCHAR, lineage JSON, meta JSON, version VARCHAR)",
		"INSERT INTO context_log VALUES ('ctx_00000000-0000-0000-0000-00000000000a', '2020-01-01 00:00:00', 'text', '{}', "
		"'{\"name\": \"old\"}', 'v1')"
	};
	struct buf why = { 0 };
	duckdb_database db;
	duckdb_connection connection;
	duckdb_config config;
	assert_int_equal(duckdb_create_config(&config), DuckDBSuccess);
	assert_int_equal(duckdb_set_config(config, "threads", "1"), DuckDBSuccess);
	assert_int_equal(duckdb_open_ext(path, &db, config, NULL), DuckDBSuccess);
	duckdb_destroy_config(&config);
	assert_int_equal(duckdb_connect(db, &connection), DuckDBSuccess);
	for (size_t i = 0; i < ARRAY_LEN(sql); i++)
		assert_int_equal(duckdb_query(connection, sql[i], NULL), DuckDBSuccess);
	duckdb_disconnect(&connection);
	duckdb_close(&db);
	buf_finish(&why);
}

static struct loop *start_loop(const char *name)
{
	struct loop *loop = loop_create(&(struct loop_config){ .name = name, .kind = LOOP_BLOCKING });
	assert_non_null(loop);
	return loop;
}

static void embedded_open(struct contract_evidence *b)
{
	struct embedded *e = &embedded;
	struct buf why = { 0 };
	if (e->dir[0] == '\0') {
		strcpy(e->dir, "/tmp/fabra-contract-XXXXXX");
		assert_non_null(mkdtemp(e->dir));
		snprintf(e->db_path, sizeof e->db_path, "%.40s/fabra.duckdb", e->dir);
		snprintf(e->ledger_dir, sizeof e->ledger_dir, "%.80s.ledger", e->db_path);
		make_python_file(e->db_path);
		faults_reset();
	}
	e->ledger = open_small(e->ledger_dir);
	e->offline = offline_open(&(struct offline_config){ .path = e->db_path, .log = ledger_log_source(e->ledger) },
				  &why);
	if (e->offline == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	e->committing = start_loop("committing");
	e->reading = start_loop("reading");
	e->listing = start_loop("listing");
	b->log = ledger_log_source(e->ledger);
	b->store.append = ledger_spawn_committer(e->ledger, e->committing);
	b->store.find = ledger_spawn_reader(e->ledger, e->reading);
	b->store.list = b->store.legacy = offline_spawn_reader(e->offline, e->listing, NULL, 0);
	contract_begin(&b->c, NULL);
	struct loop *loops[] = { e->committing, e->reading, e->listing };
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		assert_int_equal(loop_start(loops[i]), 0);
}

static void embedded_close(struct contract_evidence *b)
{
	struct embedded *e = &embedded;
	struct loop *loops[] = { e->listing, e->reading, e->committing };
	contract_stop(&b->c);
	for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
		loop_stop(loops[i]);
		loop_join(loops[i]);
	}
	contract_end(&b->c);
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		loop_destroy(loops[i]);
	offline_close(e->offline);
	ledger_close(e->ledger);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void embedded_forget(struct contract_evidence *b)
{
	(void)b;
	assert_int_equal(nftw(embedded.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	embedded.dir[0] = '\0';
}

/* The helper thread syncs too, so the fault stays until it is taken back; the committer then finds by itself that it can write
 * again, at its next tick. */
static void embedded_fail(struct contract_evidence *b, int status)
{
	struct ledger_health health;
	(void)b;
	atomic_store(&faults.error, status == RT_EFULL ? ENOSPC : EIO);
	atomic_store(&faults.countdown[FAULT_FDATASYNC], status != 0);
	int waits = 0;
	for (ledger_health_read(embedded.ledger, &health); status == 0 && !health.writable && waits < 20000; waits++) {
		usleep(1000);
		ledger_health_read(embedded.ledger, &health);
	}
	assert_true(waits < 20000);
}

static struct contract_evidence ledger_and_duckdb = {
	.name = "ledger and DuckDB",
	.open = embedded_open,
	.close = embedded_close,
	.forget = embedded_forget,
	.set_fault = embedded_fail,
	.legacy_ref = legacy_ref,
};

/* ---- the fakes ---- */

static struct fakes {
	struct ledger_fake *ledger;
	struct sim *sim;
	uint64_t seed;
} fakes;

static void fakes_open(struct contract_evidence *b)
{
	struct fakes *f = &fakes;
	if (f->ledger == NULL)
		f->ledger = ledger_fake_create(&(struct ledger_fake_config){ .delay_ms_max = 5 });
	f->sim = sim_create(&(struct sim_config){ .seed = ++f->seed, .loops = 2 });
	b->log = ledger_fake_log_source(f->ledger);
	b->store.append = ledger_fake_spawn(f->ledger, sim_loop(f->sim, 1));
	b->store.find = ledger_fake_spawn_reader(f->ledger, sim_loop(f->sim, 1));
	b->store.list = b->store.legacy = offline_fake_spawn(sim_loop(f->sim, 1),
							     &(struct offline_fake_config){ .delay_ms_max = 5 });
	contract_begin(&b->c, f->sim);
}

static void fakes_close(struct contract_evidence *b)
{
	struct buf why = { 0 };
	sim_stop(fakes.sim);
	if (!sim_is_balanced(fakes.sim, &why))
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	contract_end(&b->c);
	sim_destroy(fakes.sim);
}

static void fakes_forget(struct contract_evidence *b)
{
	(void)b;
	ledger_fake_destroy(fakes.ledger);
	fakes.ledger = NULL;
}

static void fakes_fail(struct contract_evidence *b, int status)
{
	(void)b;
	ledger_fake_set(fakes.ledger, &(struct ledger_fake_config){ .delay_ms_max = 5,
								    .refuse_permille = status == RT_EIO ? 1000 : 0,
								    .full_permille = status == RT_EFULL ? 1000 : 0 });
}

static struct contract_evidence ledger_fake = {
	.name = "ledger_fake",
	.lacks = CONTRACT_LACKS_LISTS | CONTRACT_LACKS_LEGACY,
	.open = fakes_open,
	.close = fakes_close,
	.forget = fakes_forget,
	.set_fault = fakes_fail,
};

int main(void)
{
	const struct CMUnitTest tests[] = { CONTRACT_EVIDENCE_TESTS(&ledger_and_duckdb),
					    CONTRACT_EVIDENCE_TESTS(&ledger_fake) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
