/* A whole node in a simulation: real definitions, scripts and actors on simulated I/O loops, and a last loop with the fake
 * ledger and the fake offline store. */
#pragma once
#include "actors/declare/definitions_load.h"
#include "actors/node.h"
#include "actors/values.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "runtime/sim.h"
#include "store/ledger/ledger_fake.h"
#include "store/offline/offline_fake.h"
#include "store/online/online_memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What every run of a process needs once; it costs more than a run. */
struct node_fixture_shared {
	struct definitions *definitions;
	struct pricing *pricing;
	struct node_metrics metrics;
	struct tokens encodings[2];
};

struct node_fixture {
	const struct node_fixture_shared *shared;
	struct sim *sim;
	struct loop *store_loop;
	struct ledger_fake *ledger; /* the test's: outlives restarts */
	struct online *online;
	struct stores stores;
	struct node node;
	struct node_loop loops[2];
};

static inline void node_fixture_fail(const struct buf *why)
{
	fprintf(stderr, "%.*s\n", STR_ARG(buf_str(why)));
	abort();
}

static inline struct definitions *node_fixture_definitions(const char *source)
{
	char folder[] = "/tmp/fabra-node-XXXXXX", path[64];
	struct buf why = { 0 };
	CHECK(mkdtemp(folder) != NULL);
	snprintf(path, sizeof path, "%s/store.lua", folder);
	FILE *file = fopen(path, "wb");
	CHECK(file != NULL && fputs(source, file) >= 0 && fclose(file) == 0);
	struct definitions *d = definitions_load(path, false, &why);
	unlink(path);
	rmdir(folder);
	if (d == NULL)
		node_fixture_fail(&why);
	return d;
}

static inline void node_fixture_share(struct node_fixture_shared *s, const char *source)
{
	struct buf why = { 0 };
	*s = (struct node_fixture_shared){ .definitions = node_fixture_definitions(source),
					   .pricing = pricing_create(NULL, &why) };
	CHECK(s->pricing && node_metrics_init(&s->metrics, s->definitions, true));
	for (int i = 0; i < 2; i++)
		if (tokens_open(&s->encodings[i], (enum tokens_encoding)i, NULL, &why) != 0)
			node_fixture_fail(&why);
}

static inline void node_fixture_unshare(struct node_fixture_shared *s)
{
	for (int i = 0; i < 2; i++)
		tokens_close(&s->encodings[i]);
	node_metrics_finish(&s->metrics);
	pricing_destroy(s->pricing);
	definitions_free(s->definitions);
}

/* Everything but the actors of the loops, which the test spawns: node_loop_spawn, or its own choice. */
static inline void node_fixture_start(struct node_fixture *f, const struct node_fixture_shared *shared, uint64_t seed,
				      unsigned io_loops, struct ledger_fake *ledger,
				      const struct offline_fake_config *offline)
{
	struct buf why = { 0 };
	struct node *n = &f->node;
	hash_key_set(1, 2);
	CHECK(io_loops <= ARRAY_LEN(f->loops));
	*f = (struct node_fixture){ .shared = shared, .ledger = ledger };
	f->sim = sim_create(&(struct sim_config){ .seed = seed, .loops = io_loops + 1 });
	f->store_loop = sim_loop(f->sim, io_loops);
	*n = (struct node){ .definitions = shared->definitions,
			    .pricing = shared->pricing,
			    .metrics = shared->metrics,
			    .encodings = { shared->encodings[0], shared->encodings[1] },
			    .environment = STR("test"),
			    .fabra_version = STR("2.3.2"),
			    .evidence_required = true,
			    .include_content = true,
			    .evidence_timeout_ms = 500,
			    .loops_count = io_loops };
	n->stores = &f->stores;
	n->values = values_create();
	f->online = online_create(&(struct online_config){ .bytes_max = 1 << 20, .stripes = 4 });
	f->stores.online.fast = online_fast(f->online);
	f->stores.idempotency = idempotency_create(16);
	f->stores.evidence.append = ledger_fake_spawn(ledger, f->store_loop);
	f->stores.offline.requests = f->stores.offline.background = offline_fake_spawn(f->store_loop, offline);
	f->stores.evidence.list = f->stores.evidence.legacy = f->stores.offline.requests;
	n->defaults = calloc(n->definitions->features_count + 1, sizeof(struct value *));
	CHECK(f->online && n->values && f->stores.idempotency && n->defaults);
	for (uint32_t i = 0; i < n->definitions->features_count; i++)
		if (n->definitions->features[i].default_json.p)
			n->defaults[i] = value_create(n->definitions->features[i].default_json);
	for (unsigned i = 0; i < io_loops; i++) {
		struct node_loop *nl = &f->loops[i];
		*nl = (struct node_loop){ .node = n,
					  .loop = sim_loop(f->sim, i),
					  .index = i,
					  .script = script_create(n->definitions,
								  &(struct script_limits){ .no_clock = true }, &why),
					  .tokens = token_cache_create(1024) };
		CHECK(nl->script && nl->tokens);
		n->loops[i] = nl;
		n->by_loop_id[loop_id(nl->loop)] = nl;
	}
}

static inline void node_fixture_spawn_all(struct node_fixture *f)
{
	struct buf why = { 0 };
	for (unsigned i = 0; i < f->node.loops_count; i++)
		CHECK(node_loop_spawn(&f->loops[i], &why));
}

/* Ends the loops and the process around them; the ledger stays. Says whether all pools were even. */
static inline bool node_fixture_stop(struct node_fixture *f, struct buf *why)
{
	sim_stop(f->sim);
	bool balanced = sim_is_balanced(f->sim, why);
	sim_destroy(f->sim);
	for (unsigned i = 0; i < f->node.loops_count; i++) {
		script_destroy(f->loops[i].script);
		token_cache_destroy(f->loops[i].tokens);
	}
	for (uint32_t i = 0; i < f->node.definitions->features_count; i++)
		value_unref(f->node.defaults[i]);
	free(f->node.defaults);
	values_destroy(f->node.values);
	online_destroy(f->online);
	idempotency_destroy(f->stores.idempotency);
	return balanced;
}
