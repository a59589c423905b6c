/* The ledger's messages under seeds: writers on several loops append records and imports to a ledger that is
 * slow, fails, is full, loses entries and answers and ends, and read back what they were promised.
 *
 *     sim_ledger --seeds N [--seed S]     N seeds from S (default 1); prints the seed that fails
 *
 * Invariants:
 *   - an append that ends in 0 names a record that is durable at that moment and stays so, found by id and by
 * hash;
 *   - each ask ends exactly once; messages, asks and actors return to zero;
 *   - the log has every LSN once, each record names the record before it, and its bytes have its hash;
 *   - the same import twice is one record; another hash under its id is refused. */
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/sim.h"
#include "store/ledger/ledger_fake.h"
#include "tests/sim/sim_main.h"

enum { WRITERS = 6, APPENDS = 12 };

struct promise {
	uint64_t lsn;
	char id[40];
	char hash[RECORD_HASH_TEXT];
};
static struct world {
	struct sim *sim;
	struct ledger_fake *ledger;
	struct actor_ref committer, reader;
	unsigned open_asks, stopped, endings, ok, failed, down, late, read_back, existed, refused;
	struct promise promises[WRITERS * APPENDS * 2];
	unsigned promises_count;
} world;

struct writer {
	struct actor base;
	unsigned number, sent;
	uint64_t append_op, find_op;
};

static struct evidence_entry *make_entry(struct writer *w)
{
	bool is_import = w->sent % 4 == 3;
	unsigned n = is_import ? w->sent % 8 : w->sent; /* imports meet those of other writers: ids 3 and 7 */
	struct evidence_entry *e = evidence_entry_new(is_import ? EVIDENCE_RECORD_IMPORTED : EVIDENCE_RECORD);
	char id[41];
	snprintf(id, sizeof id, "ctx_00000000-0000-7000-8000-%04x%08x", is_import ? 0xffff : w->number, n);
	memcpy(e->context_id, id, 40);
	buf_printf(&e->body, "{\"id\":\"%s\",\"by\":%u,\"previous_context_id\":", id,
		   is_import ? w->number % 2 : w->number);
	e->previous_at = e->body.n;
	buf_append_lit(&e->body, "null}");
	if (is_import)
		record_hash_text(buf_str(&e->body), e->stamp.record_hash);
	return e;
}

static bool is_durable(uint64_t lsn, const char *id, const char *hash)
{
	const struct evidence_entry *e = ledger_fake_at(world.ledger, lsn - 1);
	return memcmp(e->context_id, id, sizeof e->context_id) == 0 &&
	       memcmp(e->stamp.record_hash, hash, RECORD_HASH_TEXT) == 0;
}

static void go_on(struct writer *w)
{
	struct loop *loop = w->base.loop;
	if (w->sent == APPENDS) {
		world.stopped++;
		rt_stop(&w->base);
		return;
	}
	rt_timer_start(&w->base, loop_random(loop) % 20, 1);
}

static void append(struct writer *w)
{
	struct loop *loop = w->base.loop;
	if (loop_random(loop) % 30 == 0)
		rt_send(loop, world.committer, rt_msg_new(loop, RT_STOP));
	uint64_t patience_ms = 1 + loop_random(loop) % 60;
	struct evidence_append *m = evidence_append_new(loop, make_entry(w));
	w->sent++;
	world.open_asks++;
	w->append_op = rt_ask(&w->base, world.committer, &m->head, loop_mono_ns(loop) + patience_ms * 1000000,
			      ACTOR_NONE);
}

static void on_appended(struct writer *w, struct evidence_append *m)
{
	const struct evidence_entry *e = m->entry;
	CHECK(e != NULL);
	if (m->head.status == RT_EEXIST) {
		CHECK(e->kind == EVIDENCE_RECORD_IMPORTED);
		world.existed++;
	}
	if (m->head.status != RT_OK) {
		world.failed++;
		go_on(w);
		return;
	}
	/* The promise. */
	CHECK(e->lsn > 0 && e->lsn <= ledger_fake_count(world.ledger));
	CHECK(is_durable(e->lsn, e->context_id, e->stamp.record_hash));
	struct promise *p = &world.promises[world.promises_count++];
	p->lsn = e->lsn;
	memcpy(p->id, e->context_id, sizeof p->id);
	memcpy(p->hash, e->stamp.record_hash, sizeof p->hash);
	world.ok++;
	struct str ref = w->sent % 2 ? str_of(p->id, sizeof p->id) : str_of(p->hash, sizeof p->hash);
	struct evidence_find *find = evidence_find_new(w->base.loop, ref, false);
	world.open_asks++;
	w->find_op = rt_ask(&w->base, world.reader, &find->head, loop_mono_ns(w->base.loop) + 1000000000ull,
			    ACTOR_NONE);
}

static void on_found(struct writer *w, struct evidence_found *m)
{
	CHECK(m->head.status == RT_OK && m->record != NULL);
	char hash[RECORD_HASH_TEXT];
	record_hash_text(buf_str(&m->record->canonical), hash);
	CHECK(memcmp(hash, m->record->stamp.record_hash, sizeof hash) == 0);
	world.read_back++;
	go_on(w);
}

static int writer_init(struct actor *a, void *arg)
{
	struct writer *w = (struct writer *)a;
	w->number = *(unsigned *)arg;
	go_on(w);
	return 0;
}

static void writer_on_message(struct actor *a, struct msg *m)
{
	struct writer *w = (struct writer *)a;
	if (m->kind == RT_TIMER) {
		append(w);
		return;
	}
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	CHECK(m->op != 0 && (m->op == w->append_op || m->op == w->find_op));
	bool is_append = m->op == w->append_op;
	if (is_append)
		w->append_op = 0; /* a second ending would find no op to match */
	else
		w->find_op = 0;
	world.open_asks--;
	world.endings++;
	if (m->kind == EVIDENCE_APPENDED) {
		on_appended(w, (struct evidence_append *)m);
	} else if (m->kind == EVIDENCE_FOUND) {
		on_found(w, (struct evidence_found *)m);
	} else {
		CHECK(m->kind == RT_DOWN || m->kind == RT_DEADLINE);
		world.down += m->kind == RT_DOWN;
		world.late += m->kind == RT_DEADLINE;
		go_on(w);
	}
}

static const struct actor_class writer_class = {
	.name = "writer",
	.size = sizeof(struct writer),
	.mailbox_len_max = 16,
	.init = writer_init,
	.on_message = writer_on_message,
};

static void check_log(void)
{
	char previous[48] = "null}", expected[96];
	for (size_t i = 0; i < ledger_fake_count(world.ledger); i++) {
		const struct evidence_entry *e = ledger_fake_at(world.ledger, i);
		char hash[RECORD_HASH_TEXT];
		CHECK(e->lsn == i + 1);
		record_hash_text(buf_str(&e->body), hash);
		CHECK(memcmp(hash, e->stamp.record_hash, sizeof hash) == 0);
		if (e->kind != EVIDENCE_RECORD)
			continue;
		size_t n = (size_t)snprintf(expected, sizeof expected, "\"previous_context_id\":%s", previous);
		CHECK(e->body.n > n && memcmp(e->body.p + e->body.n - n, expected, n) == 0);
		snprintf(previous, sizeof previous, "\"%.40s\"}", e->context_id);
	}
	for (unsigned i = 0; i < world.promises_count; i++)
		CHECK(is_durable(world.promises[i].lsn, world.promises[i].id, world.promises[i].hash));
}

static uint64_t run_seed(uint64_t seed)
{
	struct sim *sim = sim_create(&(struct sim_config){ .seed = seed, .loops = 3 });
	struct buf why = { 0 };
	struct ledger_fake_config config = {
		.delay_ms_max = (uint32_t)sim_pick(sim, 30),
		.refuse_permille = 50,
		.lose_answer_permille = 20,
		.lose_entry_permille = 20,
		.full_permille = 20,
	};
	world = (struct world){ .sim = sim, .ledger = ledger_fake_create(&config) };
	world.reader = ledger_fake_spawn_reader(world.ledger, sim_loop(sim, 1));
	for (unsigned i = 0; i < WRITERS; i++)
		CHECK(!ref_is_none(rt_spawn(sim_loop(sim, i % 3), &writer_class, &i)));
	for (unsigned slices = 0; slices < 1000 && (slices == 0 || world.stopped < WRITERS); slices++) {
		if (!rt_alive(world.committer))
			world.committer = ledger_fake_spawn(world.ledger, sim_loop(sim, 0));
		sim_run(sim, 20);
	}
	CHECK(world.stopped == WRITERS);
	CHECK(world.open_asks == 0);
	check_log();
	sim_stop(sim);
	bool is_balanced = sim_is_balanced(sim, &why);
	if (!is_balanced)
		fprintf(stderr, "%.*s", STR_ARG(buf_str(&why)));
	CHECK(is_balanced);
	buf_finish(&why);
	uint64_t trace = sim_trace(sim);
	ledger_fake_destroy(world.ledger);
	sim_destroy(sim);
	return trace;
}

int main(int argc, char **argv)
{
	unsigned totals[7] = { 0 };
	struct sim_seeds seeds = sim_main_begin(argc, argv);
	for (sim_main.present = seeds.first; sim_main.present < seeds.end; sim_main.present++) {
		uint64_t seed = sim_main.present;
		uint64_t trace = run_seed(seed);
		unsigned counts[7] = { world.ok,        world.failed,  world.down,   world.late,
				       world.read_back, world.existed, world.endings };
		for (size_t i = 0; i < 7; i++)
			totals[i] += counts[i];
		if (seed % 16 == 0)
			CHECK(run_seed(seed) == trace);
	}
	sim_main_end();
	printf("%llu seeds: %u acknowledged, %u failed, %u down, %u late, %u read back, %u refused imports\n",
	       (unsigned long long)(seeds.end - seeds.first), totals[0], totals[1], totals[2], totals[3], totals[4],
	       totals[5]);
	CHECK(seeds.end - seeds.first < 100 ||
	      (totals[0] && totals[1] && totals[2] && totals[3] && totals[4] && totals[5]));
	return 0;
}
