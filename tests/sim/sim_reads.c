/* Random histories of pushes, deletes, events and time against an oracle: whatever a context reads, and through whichever
 * caches, is what is there. One step after the other, on two loops, so that the oracle is a table.
 *
 *     sim_reads [--seeds N] [--seed FIRST]
 *
 * What must hold: each text is what the table says, also when it comes from a cache, on either loop; what is missing is named;
 * the same question twice, with nothing between, is answered from the cache. */
#include "actors/assembler.h"
#include "actors/ingestor.h"
#include "runtime/log.h"
#include "store/evidence/entries.h"
#include "tests/sim/node_fixture.h"
#include "tests/sim/sim_main.h"

#define CONTEXT(name, items)                                                                                           \
	"fabra.context { name = '" name "', cache_ttl = '1h', params = { u = 'string' }, items = { " items " } }\n"
#define CODE(name, body)                                                                                               \
	"fabra.context { name = '" name                                                                                \
	"', cache_ttl = '1h', params = { u = 'string' }, build = function(args)\n" body " end }\n"

/* Each context writes "a=<a>;b=<b>;c=<c>;n=<n>;" with nothing for what is not there. */
static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "local names = { 'a', 'b', 'c', 'n' }\n"
    "local function one(name, id) return fabra.await(fabra.feature_value(name, id)) end\n"
    "local function text(get) local t = '' for _, k in ipairs(names) do t = t .. k .. '=' .. tostring(get(k) or '') .. ';' end return t end\n"
    "fabra.feature { name = 'a', entity = User }\n"
    "fabra.feature { name = 'b', entity = User }\n"
    "fabra.feature { name = 'c', entity = User, ttl = '700ms' }\n"
    "fabra.feature { name = 'n', entity = User, trigger = 'tick',\n"
    "  compute = function(id, event, previous) if event.payload.reset then return nil end return (previous or 0) + 1 end }\n"
    "fabra.feature { name = 'all_of', entity = User, compute = function(id) return text(function(k) return one(k, id) end) end }\n"
    "fabra.feature { name = 'over', entity = User, compute = function(id) return one('all_of', id) end }\n"
    "fabra.feature { name = 'copy_a', entity = User, compute = function(id) return one('a', id) end }\n" /* nil while there is no a */
    "fabra.retriever { name = 'chunks', cache_ttl = '1h', run = function(args)\n"
    "    local set = fabra.await(fabra.features('User', args.u, names)) return { text(function(k) return set[k] end) } end }\n"
    "fabra.retriever { name = 'outer', cache_ttl = '1h', run = function(args)\n"
    "    return { fabra.await(fabra.retrieve('chunks', { u = args.u }))[1].content } end }\n"
    "fabra.retriever { name = 'computed', cache_ttl = '1h', run = function(args) return { one('over', args.u) } end }\n" CONTEXT(
	"items",
	"{ text = 'a={feature:a};b={feature:b};c={feature:c};n={feature:n};', entity_id = '{u}', on_missing = 'empty' }")
	CONTEXT("nested", "{ text = '{feature:all_of}', entity_id = '{u}' }") CONTEXT(
	    "deeper",
	    "{ text = '{feature:over}', entity_id = '{u}' }") CONTEXT("retrieved",
								      "{ retriever = 'chunks', args = { u = '{u}' } }")
	    CONTEXT("twice", "{ retriever = 'outer', args = { u = '{u}' } }") CONTEXT(
		"chunks_of_features", "{ retriever = 'computed', args = { u = '{u}' } }")
		CODE("values", "return text(function(k) return one(k, args.u) end)") CODE(
		    "set",
		    "local set = fabra.await(fabra.features('User', args.u, names)) return text(function(k) return set[k] end)")
		    CODE("asks", "return fabra.await(fabra.retrieve('outer', { u = args.u }))[1].content") CODE(
			"mixed",
			"local set = fabra.await(fabra.features('User', args.u, { 'copy_a', 'b', 'c', 'n' })) set.a = set.copy_a\n"
			"return text(function(k) return set[k] end)");

enum { USERS = 3, FEATURES = 4, CONTEXTS = 10, STEPS = 120 };
enum { A, B, C, N };
static const char *const names[FEATURES] = { "a", "b", "c", "n" };
static const int64_t ttl_us[FEATURES] = { 0, 0, 700000, 0 };

struct truth {         /* of one cell */
	int64_t value; /* 0: none */
	int64_t event_time_us;
};

static struct world {
	struct node_fixture f;
	struct ledger_fake *ledger;
	struct truth truth[USERS][FEATURES];
	int64_t next_value;
	unsigned answers, cached;
} world;

static int64_t now_us(void)
{
	return loop_wall_us(world.f.loops[0].loop);
}

static struct str user_name(unsigned user)
{
	static const struct str users[USERS] = { { "u0", 2 }, { "u1", 2 }, { "u2", 2 } };
	return users[user];
}

static bool is_there(unsigned user, unsigned feature)
{
	const struct truth *t = &world.truth[user][feature];
	return t->value && (ttl_us[feature] == 0 || now_us() < t->event_time_us + ttl_us[feature]);
}

/* ---- an ask from a loop ---- */

struct ask {
	unsigned loop;
	struct assembly_job *job; /* or */
	struct evidence_entry *event;
	bool is_done, is_cached, names_missing;
	char text[200];
};

struct asker {
	struct actor base;
	struct ask *ask;
};

static void assembled(struct ask *ask, const struct assembly_job *job)
{
	if (job->outcome != ASSEMBLY_OK)
		fprintf(stderr, "%.*s\n", STR_ARG(job->error));
	CHECK(job->outcome == ASSEMBLY_OK && job->persisted);
	struct str text = assembly_content(job);
	CHECK(text.n < sizeof ask->text);
	memcpy(ask->text, text.p, text.n);
	ask->is_cached = job->extras.is_cached_response;
	for (size_t i = 0; i < job->extras.missing_features_count; i++)
		CHECK(job->extras.missing_features[i].reason.p[0] == 'a' ||
		      job->extras.missing_features[i].reason.p[0] == 'e');
	ask->names_missing = job->extras.missing_features_count > 0;
	CHECK(ask->names_missing == (job->record.assembly.freshness_status == RECORD_DEGRADED));
}

static void asker_on_message(struct actor *a, struct msg *m)
{
	struct ask *ask = ((struct asker *)a)->ask;
	struct node_loop *nl = node_here(&world.f.node, a->loop);
	uint64_t deadline_ns = loop_mono_ns(a->loop) + 5000000000;
	switch (m->kind) {
	case RT_TIMER:
		if (ask->job) {
			assembler_start(a, nl, ask->job, deadline_ns, ACTOR_NONE);
			ask->job = NULL;
			return;
		}
		rt_ask(a, rt_named(node_owner_of(&world.f.node, STR("u0"))->loop, NAME_INGESTOR),
		       &ingest_event_new(a->loop, INGEST_EVENT, ask->event)->head, deadline_ns, ACTOR_NONE);
		return;
	case ASSEMBLER_DONE:
		assembled(ask, ((struct assembler_run *)m)->job);
		break;
	case INGEST_ACCEPTED:
		CHECK(m->status == RT_OK);
		break;
	default:
		CHECK(m->kind == RT_CHILD_DOWN);
		return;
	}
	ask->is_done = true;
	rt_stop(a);
}

static int asker_init(struct actor *a, void *arg)
{
	((struct asker *)a)->ask = arg;
	rt_timer_start(a, 0, 1);
	return 0;
}

static const struct actor_class asker_class = { .name = "asker",
						.size = sizeof(struct asker),
						.mailbox_len_max = 8,
						.init = asker_init,
						.on_message = asker_on_message };

static void ask_and_wait(struct ask *ask)
{
	CHECK(!ref_is_none(rt_spawn(sim_loop(world.f.sim, ask->loop), &asker_class, ask)));
	for (int ms = 0; ms < 6000 && !ask->is_done; ms++)
		sim_run(world.f.sim, 1);
	CHECK(ask->is_done);
}

/* ---- steps ---- */

static void step_push(unsigned user)
{
	unsigned feature = (unsigned)sim_pick(world.f.sim, N);
	int64_t late_us = sim_pick(world.f.sim, 3) ? 0 : (int64_t)sim_pick(world.f.sim, 900) * 1000;
	int64_t event_time_us = now_us() - late_us;
	struct truth *t = &world.truth[user][feature];
	char json[24];
	int n = snprintf(json, sizeof json, "%lld", (long long)++world.next_value);
	struct value *v = value_create(str_of(json, (size_t)n));
	bool applied = online_put(world.f.online,
				  &(struct online_write){ .kind = 0,
							  .id = user_name(user),
							  .feature = feature,
							  .value = v,
							  .meta = { .event_time_us = event_time_us,
								    .lsn = ledger_fake_count(world.ledger),
								    .written_us = now_us(),
								    .expires_us = ttl_us[feature]
										      ? event_time_us + ttl_us[feature]
										      : 0 } }) == ONLINE_APPLIED;
	value_unref(v);
	if (applied)
		*t = (struct truth){ world.next_value, event_time_us };
}

static void step_delete(unsigned user)
{
	online_delete_row(world.f.online, 0, user_name(user), now_us(), ledger_fake_count(world.ledger), now_us());
	for (unsigned f = 0; f < FEATURES; f++)
		world.truth[user][f].value = 0;
	sim_run(world.f.sim, 1); /* what comes next is newer */
}

static void step_event(unsigned user)
{
	char id[24];
	int n = snprintf(id, sizeof id, "e%lld", (long long)++world.next_value);
	struct ask ask = { .loop = (unsigned)sim_pick(world.f.sim, 2), .event = evidence_entry_new(EVIDENCE_EVENT) };
	bool resets = sim_pick(world.f.sim, 4) == 0;
	entry_event_write(&ask.event->body,
			  &(struct entry_event){ .event_id = str_of(id, (size_t)n),
						 .event_type = STR("tick"),
						 .entity_id = user_name(user),
						 .payload_json = resets ? STR("{\"reset\":true}") : STR("{}"),
						 .event_time_us = now_us() });
	ask_and_wait(&ask);
	sim_run(world.f.sim, 200); /* accepted; now applied */
	world.truth[user][N].value = resets ? 0 : world.truth[user][N].value + 1;
}

static void expect(unsigned user, char *out, size_t cap)
{
	size_t n = 0;
	for (unsigned f = 0; f < FEATURES; f++)
		n += (size_t)(is_there(user, f) ? snprintf(out + n, cap - n, "%s=%lld;", names[f],
							   (long long)world.truth[user][f].value)
						: snprintf(out + n, cap - n, "%s=;", names[f]));
}

static void question(struct ask *ask, unsigned context, unsigned user)
{
	char args[32];
	int n = snprintf(args, sizeof args, "{\"u\":\"u%u\"}", user);
	*ask = (struct ask){ .loop = ask->loop, .job = assembly_job_new(context, str_of(args, (size_t)n), STR("")) };
	CHECK(ask->job != NULL);
	ask_and_wait(ask);
	world.answers++;
	world.cached += ask->is_cached;
}

static void step_ask(unsigned user)
{
	unsigned context = (unsigned)sim_pick(world.f.sim, CONTEXTS);
	char before[200], after[200];
	struct ask ask = { .loop = (unsigned)sim_pick(world.f.sim, 2) };
	expect(user, before, sizeof before);
	question(&ask, context, user);
	expect(user, after, sizeof after); /* time has gone on: the short ttl may have passed under way */
	if (strcmp(ask.text, before) != 0 && strcmp(ask.text, after) != 0)
		fprintf(stderr, "context %u of user %u on loop %u says '%s' (%s), not '%s'\n", context, user, ask.loop,
			ask.text, ask.is_cached ? "cached" : "gathered", before);
	CHECK(strcmp(ask.text, before) == 0 || strcmp(ask.text, after) == 0);
	if (strcmp(before, after) == 0)
		CHECK(ask.names_missing == (strstr(before, "=;") != NULL));
	if (sim_pick(world.f.sim, 3))
		return;
	question(&ask, context, user);
	expect(user, after, sizeof after);
	if (strcmp(before, after) == 0)
		CHECK(ask.is_cached && strcmp(ask.text, before) == 0);
}

static uint64_t run_seed(const struct node_fixture_shared *shared, uint64_t seed)
{
	static const struct offline_fake_config offline = { .delay_ms_max = 1 };
	struct buf why = { 0 };
	unsigned answers = world.answers, cached = world.cached;
	world = (struct world){ .ledger = ledger_fake_create(&(struct ledger_fake_config){ .delay_ms_max = 4 }),
				.answers = answers,
				.cached = cached };
	node_fixture_start(&world.f, shared, seed, 2, world.ledger, &offline);
	node_fixture_spawn_all(&world.f);
	sim_run(world.f.sim, 1);
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned user = (unsigned)sim_pick(world.f.sim, USERS), dice = (unsigned)sim_pick(world.f.sim, 100);
		if (dice < 18)
			step_push(user);
		else if (dice < 23)
			step_delete(user);
		else if (dice < 29)
			step_event(user);
		else if (dice < 36)
			sim_run(world.f.sim, sim_pick(world.f.sim, 900));
		else
			step_ask(user);
	}
	uint64_t trace = sim_trace(world.f.sim);
	if (!node_fixture_stop(&world.f, &why))
		node_fixture_fail(&why);
	ledger_fake_destroy(world.ledger);
	return trace;
}

int main(int argc, char **argv)
{
	struct sim_seeds seeds = sim_main_begin(argc, argv);
	struct node_fixture_shared shared;
	node_fixture_share(&shared, definitions);
	CHECK(shared.definitions->contexts_count == CONTEXTS);
	for (unsigned f = 0; f < FEATURES; f++)
		CHECK(definitions_feature(shared.definitions, str_from(names[f])) == f);
	SIM_MAIN_RUN(seeds, run_seed(&shared, sim_main.present))
	node_fixture_unshare(&shared);
	printf("%llu seeds: %u answers, %u of them cached\n", (unsigned long long)(seeds.end - seeds.first),
	       world.answers, world.cached);
	sim_main_end();
	return 0;
}
