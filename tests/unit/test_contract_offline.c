/* The contract of the offline store, kept by DuckDB and by the offline store of simulations. */
#include "tests/contract/offline.h"
#include "store/ledger/ledger_fake.h"
#include "store/offline/offline_fake.h"
#include "tests/unit/ledger_fixture.h"
#include "store/offline/offline_duckdb.h"
#include <ftw.h>

/* ---- DuckDB ---- */

static struct real {
	char dir[64], db_path[96], ledger_dir[112];
	struct ledger *ledger;
	struct offline *offline;
	struct loop *requests, *background;
	struct loop *lane;
} real;

static void real_open(struct contract_offline *b)
{
	struct real *r = &real;
	struct buf why = { 0 };
	strcpy(r->dir, "/tmp/fabra-contract-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->db_path, sizeof r->db_path, "%.40s/fabra.duckdb", r->dir);
	snprintf(r->ledger_dir, sizeof r->ledger_dir, "%.80s.ledger", r->db_path);
	faults_reset();
	r->ledger = open_small(r->ledger_dir);
	r->offline = offline_open(&(struct offline_config){ .path = r->db_path, .log = ledger_log_source(r->ledger) },
				  &why);
	if (r->offline == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	offline_store_fill(r->offline, &b->store);
	for (size_t i = 0; i < ARRAY_LEN(offline_tables); i++) {
		uint64_t rows;
		bool is_new;
		const struct offline_table t = { .name = offline_tables[i].name, .sql = offline_tables[i].sql };
		if (!b->store.load_table(b->store.store, &t, &rows, &is_new, &why))
			fail_msg("%.*s", STR_ARG(buf_str(&why)));
	}
	r->requests = loop_create(&(struct loop_config){ .name = "requests", .kind = LOOP_BLOCKING });
	r->background = loop_create(&(struct loop_config){ .name = "background", .kind = LOOP_BLOCKING });
	r->lane = loop_create(&(struct loop_config){ .name = "lane", .kind = LOOP_BLOCKING });
	b->store.requests = offline_spawn_reader(r->offline, r->requests, &r->lane, 1);
	b->store.background = offline_spawn_reader(r->offline, r->background, NULL, 0);
	contract_begin(&b->c, NULL);
	struct loop *loops[] = { r->requests, r->background, r->lane };
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		assert_int_equal(loop_start(loops[i]), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void real_close(struct contract_offline *b)
{
	struct real *r = &real;
	struct loop *loops[] = { r->requests, r->background, r->lane };
	contract_stop(&b->c);
	for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
		loop_stop(loops[i]);
		loop_join(loops[i]);
	}
	contract_end(&b->c);
	for (size_t i = 0; i < ARRAY_LEN(loops); i++)
		loop_destroy(loops[i]);
	offline_close(r->offline);
	ledger_close(r->ledger);
	assert_int_equal(nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void real_append(struct contract_offline *b, struct evidence_entry *e)
{
	int status = -1;
	(void)b;
	ledger_write(real.ledger, &e, &status, 1, NOW_US);
	assert_int_equal(status, RT_OK);
	evidence_entry_free(e);
}

static struct contract_offline duckdb = {
	.name = "DuckDB", .open = real_open, .close = real_close, .append = real_append, .written_us = NOW_US
};

/* ---- the fake ---- */

static struct sim *sim;
static uint64_t seed;
static struct ledger_fake *fake_ledger;
static struct actor_ref fake_appends;

static void fake_open(struct contract_offline *b)
{
	static const struct offline_fake_answer script[] = {
		{ "FROM prices", "[{\"id\":\"a\",\"v\":1},{\"id\":\"b\",\"v\":2},{\"id\":\"c\",\"v\":null}]", RT_OK },
		{ "FROM numbers", "[{\"id\":7,\"v\":\"x\"},{\"id\":8,\"v\":\"y\"}]", RT_OK },
		{ "FROM doubled",
		  "[{\"id\":\"a\",\"v\":1},{\"id\":\"a\",\"v\":2},{\"id\":\"a\",\"v\":3},{\"id\":\"b\",\"v\":4}]",
		  RT_OK },
		{ "FROM missing", "no such table", RT_EINVAL },
		{ "User", OFFLINE_PAST_SCRIPT, RT_OK },
	};
	sim = sim_create(&(struct sim_config){ .seed = ++seed, .loops = 2 });
	fake_ledger = ledger_fake_create(&(struct ledger_fake_config){ .delay_ms_max = 1 });
	fake_appends = ledger_fake_spawn(fake_ledger, sim_loop(sim, 1));
	const struct offline_fake_config config = { .answers = script,
						    .answers_count = ARRAY_LEN(script),
						    .log = ledger_fake_log_source(fake_ledger),
						    .batch_rows = 2,
						    .delay_ms_max = 5 };
	b->store.requests = b->store.background = offline_fake_spawn(sim_loop(sim, 1), &config);
	contract_begin(&b->c, sim);
}

static void fake_close(struct contract_offline *b)
{
	struct buf why = { 0 };
	sim_stop(sim);
	if (!sim_is_balanced(sim, &why))
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	contract_end(&b->c);
	sim_destroy(sim);
	ledger_fake_destroy(fake_ledger);
}

static void fake_append(struct contract_offline *b, struct evidence_entry *e)
{
	const struct msg *m = contract_wait(&b->c, contract_ask(&b->c, fake_appends,
								&evidence_append_new(contract_maker(&b->c), e)->head));
	assert_true(m->kind == EVIDENCE_APPENDED && m->status == RT_OK);
}

static struct contract_offline offline_fake = { .name = "offline_fake",
						.lacks = CONTRACT_LACKS_SQL | CONTRACT_LACKS_QUERIES_OF_LOG |
							 CONTRACT_LACKS_CALLS,
						.open = fake_open,
						.close = fake_close,
						.append = fake_append };

int main(void)
{
	const struct CMUnitTest tests[] = { CONTRACT_OFFLINE_TESTS(&duckdb), CONTRACT_OFFLINE_TESTS(&offline_fake) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
