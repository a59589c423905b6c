/* Random histories of writes, deletes, events, floods that evict everything, restarts and time against an oracle: what is read is what
 * was written last, whatever the online store has forgotten, and whether it is read in memory or by message.
 *
 *     sim_stored [--seeds N] [--seed FIRST]
 *
 * What must hold: a read that nothing overlaps gives what the oracle says; one that a write overlaps gives what was there before
 * or after it, and those behind it what was after. A history that fails gives failures, never absence. A counter loses no event. */
#include "actors/ingestor.h"
#include "actors/stored.h"
#include "actors/warm_start.h"
#include "store/evidence/entries.h"
#include "tests/sim/node_fixture.h"
#include "tests/sim/sim_main.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'a', entity = User }\n"
    "fabra.feature { name = 'b', entity = User }\n"
    "fabra.feature { name = 'c', entity = User, ttl = '700ms' }\n"
    "fabra.feature { name = 'n', entity = User, trigger = 'tick',\n"
    "  compute = function(id, event, previous) if event.payload.reset then return nil end return (previous or 0) + 1 end }\n"
    "fabra.feature { name = 'junk', entity = User }\n";

enum { USERS = 4, FEATURES = 4, JUNK = 4, STEPS = 150, LOOPS = 2 };
enum { N = 3 };
static const int64_t ttl_us[FEATURES] = { 0, 0, 700000, 0 };

struct truth {         /* of one cell */
	int64_t value; /* 0: none */
	int64_t event_time_us;
};

static struct node_fixture_shared shared;

static struct world {
	struct node_fixture f;
	struct ledger_fake *ledger;
	const struct online_fast *fast; /* what the node has of it at this moment is in f */
	bool is_by_message, fails;
	struct truth truth[USERS][FEATURES];
	int64_t next_value;
	uint64_t seed;
	unsigned long junk; /* ids made for floods */
	unsigned reads, found, failed;
} world;

static const struct str users[USERS] = { { "u0", 2 }, { "u1", 2 }, { "u2", 2 }, { "u3", 2 } };

static int64_t now_us(void)
{
	return loop_wall_us(world.f.loops[0].loop);
}

static bool is_there(const struct truth *t, unsigned feature)
{
	return t->value && (ttl_us[feature] == 0 || now_us() < t->event_time_us + ttl_us[feature]);
}

/* ---- an ask from a loop ---- */

struct ask {
	unsigned loop;
	struct msg *m; /* to be sent */
	struct actor_ref to;
	bool is_done;
	struct feature_request *answer; /* owned */
};

struct asker {
	struct actor base;
	struct ask *ask;
};

static void asker_on_message(struct actor *a, struct msg *m)
{
	struct ask *ask = ((struct asker *)a)->ask;
	switch (m->kind) {
	case RT_TIMER:
		rt_ask(a, ask->to, ask->m, loop_mono_ns(a->loop) + 20000000000, ACTOR_NONE);
		return;
	case RESOLVER_GOT:
		ask->answer = ((struct resolver_get *)m)->request;
		((struct resolver_get *)m)->request = NULL;
		break;
	case INGEST_ACCEPTED:
	case EVIDENCE_APPENDED:
		CHECK(m->status == RT_OK);
		break;
	default:
		CHECK(m->kind == RT_STOP);
		break;
	}
	ask->is_done = true;
	rt_stop(a);
}

static int asker_init(struct actor *a, void *arg)
{
	((struct asker *)a)->ask = arg;
	return rt_timer_start(a, 0, 1) ? 0 : RT_EFULL;
}

static const struct actor_class asker_class = { .name = "asker",
						.size = sizeof(struct asker),
						.mailbox_len_max = 8,
						.init = asker_init,
						.on_message = asker_on_message };

static void begin(struct ask *ask)
{
	CHECK(!ref_is_none(rt_spawn(sim_loop(world.f.sim, ask->loop), &asker_class, ask)));
}

static void finish(struct ask *ask)
{
	for (int ms = 0; ms < 25000 && !ask->is_done; ms++)
		sim_run(world.f.sim, 1);
	CHECK(ask->is_done);
}

/* ---- steps ---- */

/* What is published goes into the table on the path without messages, whichever way it is read. */
static void publish_in_memory(bool on)
{
	world.f.stores.online.fast = on || !world.is_by_message ? world.fast : NULL;
}

static void append(struct evidence_entry *e)
{
	struct ask ask = { .to = world.f.stores.evidence.append };
	CHECK(e != NULL);
	ask.m = &evidence_append_new(world.f.loops[0].loop, e)->head;
	publish_in_memory(true);
	begin(&ask);
	finish(&ask);
	publish_in_memory(false);
}

static void step_put(unsigned user, unsigned feature)
{
	int64_t late_us = sim_pick(world.f.sim, 3) ? 0 : (int64_t)sim_pick(world.f.sim, 900) * 1000;
	struct truth *t = &world.truth[user][feature];
	char json[24];
	int n = snprintf(json, sizeof json, "%lld", (long long)++world.next_value);
	struct values_cell cell = { .feature = feature,
				    .entity_id = users[user],
				    .value = value_create(str_of(json, (size_t)n)),
				    .event_time_us = now_us() - late_us };
	if (cell.event_time_us <
	    t->event_time_us) /* an older one that is not refused any more is what docs/online.md says */
		cell.event_time_us = t->event_time_us;
	append(values_entry_new(&world.f.node, &(struct values_write){
						   .entity = 0, .source = ENTRY_PUSHED, .cells = &cell, .count = 1 }));
	value_unref(cell.value);
	*t = (struct truth){ world.next_value, cell.event_time_us };
}

static void step_delete(unsigned user)
{
	int64_t event_time_us = now_us();
	append(values_delete_new(&world.f.node, 0, users[user], event_time_us));
	for (unsigned f = 0; f < FEATURES; f++)
		world.truth[user][f] = (struct truth){ 0, event_time_us };
	sim_run(world.f.sim, 1); /* what comes next is newer */
}

static void step_event(unsigned user)
{
	char id[24];
	int n = snprintf(id, sizeof id, "e%lld", (long long)++world.next_value);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	bool resets = sim_pick(world.f.sim, 4) == 0;
	int64_t event_time_us = now_us();
	entry_event_write(&e->body, &(struct entry_event){ .event_id = str_of(id, (size_t)n),
							   .event_type = STR("tick"),
							   .entity_id = users[user],
							   .payload_json = resets ? STR("{\"reset\":true}") : STR("{}"),
							   .event_time_us = event_time_us });
	struct loop *loop = world.f.loops[0].loop;
	struct ask ask = { .to = rt_named(node_owner_of(&world.f.node, users[user])->loop, NAME_INGESTOR),
			   .m = &ingest_event_new(loop, INGEST_EVENT, e)->head };
	begin(&ask);
	finish(&ask);
	sim_run(world.f.sim, world.fails ? 15000 : 300); /* accepted; now applied, if need be at the next try */
	struct truth *t = &world.truth[user][N];
	*t = (struct truth){ resets ? 0 : t->value + 1,
			     event_time_us > t->event_time_us ? event_time_us : t->event_time_us };
}

/* Everything that the table holds is evicted. */
static void step_flood(void)
{
	static char text[60001];
	memset(text, '7', 60000);
	struct value *v = value_create(str_of(text, 60000));
	for (int i = 0; i < 40; i++) {
		char id[32];
		int n = snprintf(id, sizeof id, "junk %lu", ++world.junk);
		online_put(world.f.online, &(struct online_write){ .kind = 0,
								   .id = str_of(id, (size_t)n),
								   .feature = JUNK,
								   .value = v,
								   .meta = { .event_time_us = 1, .lsn = 1 } });
	}
	value_unref(v);
}

static void life_begin(void)
{
	static struct offline_fake_config offline;
	offline = (struct offline_fake_config){ .log = ledger_fake_log_source(world.ledger),
						.delay_ms_max = 5,
						.error_permille = world.fails ? 200 : 0 };
	node_fixture_start(&world.f, &shared, world.seed++, LOOPS, world.ledger, &offline);
	node_fixture_spawn_all(&world.f);
	world.fast = world.f.stores.online.fast;
	struct actor_ref memory = online_spawn(world.f.online, world.f.store_loop);
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		world.f.stores.online.per_loop[i] = memory;
	publish_in_memory(false);
	sim_run(world.f.sim, 1);
}

static void life_end(void)
{
	struct buf why = { 0 };
	publish_in_memory(true);
	if (!node_fixture_stop(&world.f, &why))
		node_fixture_fail(&why);
}

/* From the log; what the bound does not let in is to be found all the same. */
static void step_restart(void)
{
	struct buf why = { 0 };
	struct warm_counts counts = { 0 };
	struct log_source_entry entry;
	int64_t began_us = now_us();
	life_end();
	life_begin();
	if (now_us() < began_us) /* the clock of a simulation begins anew */
		sim_run(world.f.sim, (uint64_t)(began_us - now_us()) / 1000 + 1);
	const struct log_source *log = ledger_fake_log_source(world.ledger);
	struct log_scan *scan = log->open(log->log, 1, &why);
	CHECK(scan != NULL);
	publish_in_memory(true);
	bool floods = sim_pick(world.f.sim, 2);
	while (scan->next(scan, &entry) == LOG_SOURCE_ENTRY) {
		warm_start_frame(&world.f.node, &entry, now_us(), &counts);
		if (floods && sim_pick(world.f.sim, 10) == 0)
			step_flood();
	}
	publish_in_memory(false);
	log_scan_close(scan);
}

/* ---- reads ---- */

static void begin_read(struct ask *ask)
{
	static const uint32_t features[FEATURES] = { 0, 1, 2, 3 };
	ask->loop = (unsigned)sim_pick(world.f.sim, LOOPS);
	struct node_loop *nl = &world.f.loops[ask->loop];
	struct feature_request *r = feature_request_new(0, users, USERS, features, FEATURES);
	CHECK(r != NULL);
	ask->to = node_resolver(nl, 0);
	ask->m = &resolver_get_new(nl->loop, RESOLVER_GET, r)->head;
	begin(ask);
}

static bool agrees(const struct feature_result *r, const struct truth *t, unsigned feature)
{
	char json[24];
	if (r->state != FEATURE_FOUND)
		return !is_there(t, feature) && (r->state == FEATURE_MISSING || r->state == FEATURE_EXPIRED);
	int n = snprintf(json, sizeof json, "%lld", (long long)t->value);
	return t->value && str_eq(value_json(r->value), str_of(json, (size_t)n)) && r->as_of_us == t->event_time_us;
}

/* before NULL: nothing was written meanwhile. */
static void end_read(struct ask *ask, struct truth before[USERS][FEATURES])
{
	int64_t began_us = now_us();
	finish(ask);
	for (unsigned u = 0; u < USERS; u++)
		for (unsigned f = 0; f < FEATURES; f++) {
			const struct feature_result *r = feature_request_result(ask->answer, u, f);
			const struct truth *t = &world.truth[u][f];
			bool is_right = agrees(r, t, f) || (before && agrees(r, &before[u][f], f));
			/* The ttl may have passed under way. */
			is_right = is_right || (ttl_us[f] && r->state != FEATURE_FOUND && now_us() - began_us > 0 &&
						t->value && now_us() + 2000 >= t->event_time_us + ttl_us[f]);
			world.reads++;
			world.found += r->state == FEATURE_FOUND;
			world.failed += r->state == FEATURE_FAILED;
			if (!is_right && !(world.fails && r->state == FEATURE_FAILED))
				fprintf(stderr, "user %u feature %u: state %d value %s, not %lld\n", u, f, r->state,
					r->value ? r->value->json : "none", (long long)t->value);
			CHECK(is_right || (world.fails && r->state == FEATURE_FAILED));
		}
	feature_request_free(ask->answer);
}

static void step_read(void)
{
	struct ask ask = { .loop = 0 };
	begin_read(&ask);
	end_read(&ask, NULL);
}

/* A write and a flood while reads are under way: none of them puts back what was there before the write. */
static void step_overlap(unsigned user)
{
	struct ask asks[3] = { { .loop = 0 }, { .loop = 0 }, { .loop = 0 } };
	struct truth before[USERS][FEATURES];
	memcpy(before, world.truth, sizeof before);
	for (unsigned i = 0; i < ARRAY_LEN(asks); i++) {
		begin_read(&asks[i]);
		sim_run(world.f.sim, sim_pick(world.f.sim, 3));
	}
	step_put(user, (unsigned)sim_pick(world.f.sim, 2));
	if (sim_pick(world.f.sim, 3))
		step_flood();
	for (unsigned i = 0; i < ARRAY_LEN(asks); i++)
		end_read(&asks[i], before);
	step_read();
}

static uint64_t run_seed(uint64_t seed)
{
	unsigned reads = world.reads, found = world.found, failed = world.failed;
	world = (struct world){ .ledger = ledger_fake_create(&(struct ledger_fake_config){ .delay_ms_max = 4 }),
				.is_by_message = seed % 3 == 0,
				.fails = seed % 4 == 0,
				.seed = seed * 1000,
				.reads = reads,
				.found = found,
				.failed = failed };
	life_begin();
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned user = (unsigned)sim_pick(world.f.sim, USERS), dice = (unsigned)sim_pick(world.f.sim, 100);
		if (dice < 20)
			step_put(user, (unsigned)sim_pick(world.f.sim, N));
		else if (dice < 25)
			step_delete(user);
		else if (dice < 32 && !world.is_by_message)
			step_event(user);
		else if (dice < 42)
			step_flood();
		else if (dice < 50)
			sim_run(world.f.sim, sim_pick(world.f.sim, 900));
		else if (dice < 52)
			step_restart();
		else if (dice < 65 && !world.is_by_message)
			step_overlap(user);
		else
			step_read();
	}
	uint64_t trace = sim_trace(world.f.sim);
	life_end();
	ledger_fake_destroy(world.ledger);
	return trace;
}

int main(int argc, char **argv)
{
	struct sim_seeds seeds = sim_main_begin(argc, argv);
	node_fixture_share(&shared, definitions);
	CHECK(definitions_feature(shared.definitions, STR("n")) == N &&
	      definitions_feature(shared.definitions, STR("junk")) == JUNK);
	SIM_MAIN_RUN(seeds, run_seed(sim_main.present))
	node_fixture_unshare(&shared);
	printf("%llu seeds: %u values read, %u found, %u failed\n", (unsigned long long)(seeds.end - seeds.first),
	       world.reads, world.found, world.failed);
	sim_main_end();
	return 0;
}
