/* Requests of all kinds against a whole node, seed by seed: contexts, features, pushes and events; faults of the ledger and
 * the offline store, clients that leave, short deadlines, actors that fail, processes that stop and start again.
 *
 *     sim_contexts [--seeds N] [--seed FIRST]
 *
 * What must hold: each request ends once; with evidence required no record is named that is not durable; a record never
 * precedes the values that it used; what comes from the cache was durable before, and is not older than an acknowledged
 * push; each event is applied once and in order; in the end every pool is even. */
#include "actors/assembler.h"
#include "actors/context_cache.h"
#include "actors/ingestor.h"
#include "actors/resolver.h"
#include "actors/retriever.h"
#include "runtime/log.h"
#include "tests/sim/contexts_oracle.h"
#include "tests/sim/sim_main.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "local Shop = fabra.entity { name = 'Shop', id = 'shop_id' }\n"
    "fabra.feature { name = 'tier', entity = User, ttl = '800ms', refresh = '300ms', default = 'free',\n"
    "  compute = function(id) if id == 'u3' then error('no tier') end return id .. tostring(fabra.now()) end }\n"
    "fabra.feature { name = 'clock', entity = User, compute = function(id) return fabra.now() end }\n"
    "fabra.feature { name = 'rows', entity = User, ttl = '500ms', compute = function(id)\n"
    "    local rows = fabra.await(fabra.sql('SELECT some', { id })) return { n = #rows, at = fabra.now() } end }\n"
    "fabra.feature { name = 'both', entity = User, ttl = '400ms', compute = function(id)\n"
    "    local a, b = fabra.all(fabra.feature_value('tier', id), fabra.feature_value('clock', id)) return { a, b } end }\n"
    "fabra.feature { name = 'tickets', entity = User, ttl = '300ms', sql = 'SELECT user_id, tickets FROM t' }\n"
    "fabra.feature { name = 'city', entity = User }\n"
    "fabra.feature { name = 'size', entity = Shop, ttl = '1s', compute = function(id) return #id end }\n"
    "fabra.feature { name = 'events', entity = User, trigger = 'purchase', compute = function(id, event, previous)\n"
    "    if event.payload.bad then error('bad event') end\n"
    "    local list = previous or fabra.array {} list[#list + 1] = event.payload.n return list end }\n"
    "fabra.feature { name = 'count', entity = User, trigger = 'purchase',\n"
    "  compute = function(id, event, previous) return (previous or 0) + 1 end }\n"
    "fabra.feature { name = 'looked_up', entity = User, trigger = 'purchase',\n"
    "  compute = function() return #fabra.await(fabra.sql('SELECT some', {})) end }\n"
    "fabra.retriever { name = 'docs', cache_ttl = '400ms', max_age = '30d', run = function(args)\n"
    "    if args.query == 'bad' then error('no index') end\n"
    "    return { { content = 'about ' .. args.query, id = 7 }, 'at ' .. tostring(fabra.now()) } end }\n"
    "fabra.retriever { name = 'slow', top_k = 2, run = function(args)\n"
    "    local rows = fabra.await(fabra.sql('SELECT some', {})) local out = {}\n"
    "    for i = 1, 5 do out[i] = 'row ' .. i .. ' of ' .. #rows end return out end }\n"
    "fabra.context { name = 'plain', params = { user = 'string', query = 'string' }, max_tokens = 60, freshness_sla = '200ms',\n"
    "  items = { { text = 'You help.', required = true }, { text = 'Tier: {feature:tier}', entity_id = '{user}', priority = 1 },\n"
    "    { text = 'Rows: {feature:rows} {feature:both}', entity_id = '{user}', priority = 3 },\n"
    "    { retriever = 'docs', args = { query = '{query}' }, priority = 2 }, { retriever = 'slow', priority = 4 } } }\n"
    "fabra.context { name = 'cached', params = { user = 'string', query = 'string' }, cache_ttl = '2s', items = {\n"
    "    { text = 'City: {feature:city}', entity_id = '{user}', on_missing = 'empty' }, { text = 'Clock: {feature:clock}', entity_id = '{user}' },\n"
    "    { text = 'Size: {feature:size}', entity_id = 's{user}' } } }\n"
    "fabra.context { name = 'coded', max_tokens = 40, build = function(args)\n"
    "    local tier, docs = fabra.all(fabra.feature_value('tier', args.user), fabra.retrieve('docs', { query = args.query }))\n"
    "    local rest = fabra.try(fabra.features('User', args.user, { 'clock', 'city', 'tickets', 'count' }))\n"
    "    fabra.retrieve('slow', {})\n"
    "    local items = { fabra.item { content = tostring(tier), required = true } }\n"
    "    for _, d in ipairs(docs) do items[#items + 1] = fabra.item { content = d.content, priority = 2, source_id = d.chunk_id } end\n"
    "    items[#items + 1] = fabra.item { content = fabra.json.encode(rest or 'none'), priority = 3 }\n"
    "    return items end }\n"
    "fabra.context { name = 'coded_cached', cache_ttl = '2s', build = function(args)\n"
    "    local city = fabra.await(fabra.feature_value('city', args.user))\n"
    "    return 'City: ' .. tostring(city or '') .. ' at ' .. fabra.await(fabra.feature_value('clock', args.user)) end }\n"
    "fabra.context { name = 'strict', params = { user = 'string', query = 'string' }, freshness_sla = '300ms',\n"
    "  freshness_strict = true, cache_ttl = '1s', items = { { text = '{feature:tier} {query}', entity_id = '{user}' } } }\n"
    "fabra.context { name = 'tight', params = { user = 'string', query = 'string' }, max_tokens = 3, on_budget = 'fail',\n"
    "  items = { { text = 'one two three four {query}', required = true } } }\n"
    "fabra.context { name = 'busy', build = function(args)\n"
    "    local n = 0 for i = 1, 60000 do n = n + i end return 'n ' .. n .. ' ' .. fabra.now() end }\n";

enum { PLAIN, CACHED, CODED, CODED_CACHED, STRICT, TIGHT, BUSY, CONTEXTS };
enum { USERS = 5, CLIENTS_MAX = 120, EVENTS_MAX = 4 * CLIENTS_MAX };
enum { ASK_CONTEXT, ASK_FEATURES, ASK_PUSH, ASK_EVENT };

struct visit { /* one client and its one request */
	unsigned loop, ask, user, context, query;
	uint32_t start_ms, deadline_ms, leave_ms; /* leave 0 = stays */
	enum { COMING, ANSWERED, LEFT, SHUT_OUT } end;
	int64_t n; /* of an event; its number in all lives */
};

struct totals {
	uint64_t messages;
	unsigned outcomes[ASSEMBLY_LATE + 1], cached, unpersisted, left, no_answer, events, uses, failures;
};

static struct world {
	struct node_fixture f;
	struct ledger_fake *ledger;
	bool calm;         /* no faults, nobody leaves: everything must go well */
	uint64_t clock_ns; /* where the next life begins */
	struct visit visits[CLIENTS_MAX];
	unsigned visits_count;
	int64_t events_asked;
	int64_t accepted[EVENTS_MAX]; /* by n: the LSN that its client was told, or 0 */
	int64_t city_us[USERS];       /* newest acknowledged push */
	struct totals *totals;
} world;

/* ---- one client ---- */

struct client {
	struct actor base;
	struct visit *v;
	struct node_loop *nl;
	uint64_t op, started_ns;
	struct online_write push;
	int64_t city_floor_us; /* what the answer may not be older than */
};

static struct str user_name(const struct visit *v, char buf[static 8])
{
	return str_of(buf, (size_t)snprintf(buf, 8, "u%u", v->user));
}

static uint64_t deadline_ns(const struct client *c)
{
	return loop_mono_ns(c->base.loop) + c->v->deadline_ms * 1000000ull;
}

static void ask_context(struct client *c)
{
	static const char *const queries[] = { "cats", "dogs", "bad" };
	char args[128];
	int n = snprintf(args, sizeof args, "{\"user\":\"u%u\",\"query\":\"%s\",\"call_id\":\"c%u\"%s}", c->v->user,
			 queries[c->v->query], (unsigned)(c->v - world.visits),
			 c->v->context == PLAIN && c->v->user == 4 && c->v->query == 2 ? ",\"more\":1" : "");
	c->city_floor_us = world.city_us[c->v->user]; /* acknowledged, whether here or on the other loop */
	struct assembly_job *job = assembly_job_new(c->v->context, str_of(args, (size_t)n), (struct str){ 0 });
	CHECK(job != NULL);
	c->op = assembler_start(&c->base, c->nl, job, deadline_ns(c), c->base.self);
}

static void ask_features(struct client *c)
{
	const struct definitions *d = c->nl->node->definitions;
	char name[8];
	struct str ids[2] = { user_name(c->v, name), STR("u0") };
	uint32_t features[5], count = 0;
	static const char *const names[] = { "tier", "clock", "rows", "tickets", "city" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (loop_random(c->base.loop) % 2)
			features[count++] = definitions_feature(d, str_from(names[i]));
	struct feature_request *r = feature_request_new(0, ids, 1 + c->v->query % 2, features, count);
	CHECK(r != NULL);
	c->op = rt_ask(&c->base, node_resolver(c->nl, 0), &resolver_get_new(c->base.loop, RESOLVER_GET, r)->head,
		       deadline_ns(c), c->base.self);
}

static void ask_push(struct client *c)
{
	char name[8], json[32];
	int64_t now_us = loop_wall_us(c->base.loop);
	struct str id = user_name(c->v, name);
	struct str value = str_of(json, (size_t)snprintf(json, sizeof json, "%lld", (long long)now_us));
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	entry_values_write(&e->body,
			   &(struct entry_values){ .entity = STR("User"),
						   .source = ENTRY_PUSHED,
						   .count = 1,
						   .values = &(struct entry_value){ .entity_id = id,
										    .feature = STR("city"),
										    .value_json = value,
										    .event_time_us = now_us } });
	c->push = (struct online_write){ .kind = 0,
					 .feature = definitions_feature(c->nl->node->definitions, STR("city")),
					 .value = value_create(value),
					 .meta = { .event_time_us = now_us, .written_us = now_us } };
	c->op = rt_ask(&c->base, c->nl->node->stores->evidence.append, &evidence_append_new(c->base.loop, e)->head,
		       deadline_ns(c), ACTOR_NONE);
}

static void ask_event(struct client *c)
{
	char name[8], payload[48], event_id[24];
	struct str id = user_name(c->v, name);
	snprintf(payload, sizeof payload, "{\"n\":%lld%s}", (long long)c->v->n,
		 c->v->n % 5 == 0 ? ",\"bad\":true" : "");
	snprintf(event_id, sizeof event_id, "e%lld", (long long)c->v->n);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	/* Times are out of order now and then, as those of several senders are. */
	int64_t when_us = loop_wall_us(c->base.loop) - (int64_t)(loop_random(c->base.loop) % 3) * 1000000;
	entry_event_write(&e->body, &(struct entry_event){ .event_id = str_from(event_id),
							   .event_type = STR("purchase"),
							   .entity_id = id,
							   .payload_json = str_from(payload),
							   .event_time_us = when_us });
	struct node_loop *owner = node_owner_of(c->nl->node, id);
	c->op = rt_ask(&c->base, rt_named(owner->loop, NAME_INGESTOR),
		       &ingest_event_new(c->base.loop, INGEST_EVENT, e)->head, deadline_ns(c), ACTOR_NONE);
}

static void start(struct client *c)
{
	c->started_ns = loop_mono_ns(c->base.loop);
	switch (c->v->ask) {
	case ASK_CONTEXT:
		ask_context(c);
		return;
	case ASK_FEATURES:
		ask_features(c);
		return;
	case ASK_PUSH:
		ask_push(c);
		return;
	case ASK_EVENT:
		ask_event(c);
		return;
	}
}

/* ---- what comes back ---- */

static void check_persisted(const struct assembly_job *job)
{
	const struct evidence_entry *e = ledger_fake_record(world.ledger, job->record.context_id);
	CHECK(e != NULL);
	CHECK(memcmp(e->stamp.record_hash, job->stamp.record_hash, RECORD_HASH_TEXT) == 0);
	struct arena arena = { 0 };
	const struct record *r = oracle_record(e, &arena);
	CHECK(str_eq(r->content, assembly_content(job)));
	CHECK(r->token_count == job->record.token_count && r->features_count == job->record.features_count);
	arena_finish(&arena);
	char hash[RECORD_HASH_TEXT];
	record_hash_text(buf_str(&e->body), hash);
	CHECK(memcmp(hash, e->stamp.record_hash, sizeof hash) == 0);
	if (job->extras.is_cached_response) {
		world.totals->cached++;
		CHECK(
		    oracle_text_was_durable(world.ledger, e->lsn, job->record.context_function, assembly_content(job)));
	}
}

static void check_city(const struct client *c, const struct assembly_job *job)
{
	if (c->v->context != CACHED && c->v->context != CODED_CACHED)
		return;
	for (size_t i = 0; i < job->extras.missing_features_count; i++)
		if (str_eq(job->extras.missing_features[i].feature, STR("city")) &&
		    str_eq(job->extras.missing_features[i].reason, STR("failed")))
			return; /* its resolver did, and the context says so */
	struct str text = assembly_content(job);
	const char *city = strstr(text.p, "City: ");
	CHECK(city != NULL && strtoll(city + 6, NULL, 10) >= c->city_floor_us);
}

static void check_context(const struct client *c, const struct assembly_job *job)
{
	const struct node *n = c->nl->node;
	world.totals->outcomes[job->outcome]++;
	if (job->outcome != ASSEMBLY_OK) {
		CHECK(job->error.p != NULL && !job->persisted);
		return;
	}
	CHECK(job->persisted || (!n->evidence_required && job->evidence_error.p));
	world.totals->unpersisted += !job->persisted;
	if (job->persisted)
		check_persisted(job);
	check_city(c, job);
	const struct def_context *d = &n->definitions->contexts[job->context];
	CHECK(d->max_tokens == 0 || job->record.token_count <= d->max_tokens || job->material->budget_exceeded);
	CHECK(!d->freshness_strict ||
	      (job->record.assembly.freshness_violations_count == 0 && job->extras.missing_features_count == 0 &&
	       job->extras.missing_retrievers_count == 0));
	/* What is missing is said wherever it could be looked for. */
	CHECK((job->extras.missing_features_count == 0 && job->extras.missing_retrievers_count == 0) ||
	      job->record.assembly.freshness_status == RECORD_DEGRADED);
	CHECK(c->v->context != TIGHT);
}

static const struct assembly_job *job_of(const struct msg *m)
{
	return ((const struct assembler_run *)m)->job;
}

/* Nothing stands in the way: what was asked for is what comes. */
static void check_calm(const struct client *c, const struct msg *m)
{
	CHECK(m->status == RT_OK && m->kind != RT_DOWN && m->kind != RT_DEADLINE);
	if (m->kind != ASSEMBLER_DONE)
		return;
	enum assembly_outcome outcome = ((const struct assembler_run *)m)->job->outcome;
	bool is_bad = c->v->query == 2;
	if (c->v->context == PLAIN && is_bad && c->v->user == 4)
		CHECK(outcome == ASSEMBLY_BAD_ARGUMENTS);
	else if (c->v->context == TIGHT)
		CHECK(outcome == ASSEMBLY_OVER_BUDGET);
	else if (c->v->context == CODED && is_bad)
		CHECK(outcome == ASSEMBLY_FAILED);
	else if (c->v->context == PLAIN && is_bad) /* the retriever fails; its item is left out, and it is said */
		CHECK(outcome == ASSEMBLY_OK && job_of(m)->extras.missing_retrievers_count == 1 &&
		      job_of(m)->record.assembly.freshness_status == RECORD_DEGRADED);
	else
		CHECK(outcome == ASSEMBLY_OK || (outcome == ASSEMBLY_FAILED && c->v->context == STRICT));
}

static void check_features(const struct feature_request *r)
{
	for (uint32_t i = 0; i < r->ids_count * r->features_count; i++) {
		const struct feature_result *result = &r->results[i];
		CHECK(result->state != FEATURE_PENDING);
		CHECK((result->state == FEATURE_FOUND) == (result->value != NULL));
		bool has_failed = result->state == FEATURE_FAILED || result->state == FEATURE_TIMEOUT ||
				  result->state == FEATURE_REFUSED;
		CHECK(has_failed == (result->reason.p != NULL));
	}
}

static void pushed(struct client *c, const struct evidence_append *m)
{
	char name[8];
	if (m->head.status != RT_OK)
		return;
	c->push.id = user_name(c->v, name);
	c->push.meta.lsn = m->entry->lsn;
	online_put(c->nl->node->stores->online.fast->table, &c->push);
	if (c->push.meta.event_time_us > world.city_us[c->v->user])
		world.city_us[c->v->user] = c->push.meta.event_time_us;
}

static void answered(struct client *c, struct msg *m)
{
	CHECK(c->v->end == COMING);
	c->v->end = ANSWERED;
	if (world.calm)
		check_calm(c, m);
	switch (m->kind) {
	case ASSEMBLER_DONE:
		check_context(c, ((struct assembler_run *)m)->job);
		return;
	case RESOLVER_GOT:
		check_features(((struct resolver_get *)m)->request);
		return;
	case EVIDENCE_APPENDED:
		pushed(c, (struct evidence_append *)m);
		return;
	case INGEST_ACCEPTED:
		if (m->status == RT_OK)
			world.accepted[c->v->n] = (int64_t)((struct ingest_accepted *)m)->first.lsn;
		return;
	case RT_DEADLINE:
		CHECK(loop_mono_ns(c->base.loop) >= c->started_ns + c->v->deadline_ms * 1000000ull);
		world.totals->no_answer++;
		return;
	default:
		CHECK(m->kind == RT_DOWN && m->status != RT_OK);
		world.totals->no_answer++;
	}
}

enum { TIMER_START = 1, TIMER_LEAVE };

static void client_on_message(struct actor *a, struct msg *m)
{
	struct client *c = (struct client *)a;
	if (m->kind == RT_TIMER && m->op == TIMER_START) {
		start(c);
		return;
	}
	if (m->kind == RT_CHILD_DOWN)
		return;
	if (m->kind == RT_TIMER || m->kind == RT_STOP) {
		c->v->end = m->kind == RT_STOP ? SHUT_OUT : LEFT;
		world.totals->left += c->v->end == LEFT;
	} else {
		CHECK(m->op == c->op);
		answered(c, m);
	}
	rt_stop(a);
}

static int client_init(struct actor *a, void *arg)
{
	struct client *c = (struct client *)a;
	c->v = arg;
	c->nl = node_here(&world.f.node, a->loop);
	rt_timer_start(a, c->v->start_ms, TIMER_START);
	if (c->v->leave_ms)
		rt_timer_start(a, c->v->start_ms + c->v->leave_ms, TIMER_LEAVE);
	return 0;
}

static void client_finish(struct actor *a)
{
	value_unref(((struct client *)a)->push.value);
}

static const struct actor_class client_class = {
	.name = "client",
	.size = sizeof(struct client),
	.mailbox_len_max = 8,
	.init = client_init,
	.on_message = client_on_message,
	.finish = client_finish,
};

/* ---- actors that fail now and then ---- */

static void fail_or(const struct actor_class *class, struct actor *a, struct msg *m)
{
	if (!world.calm && sim_fault(a->loop, class->name, 2)) {
		world.totals->failures++;
		rt_fail(a, "the simulation wants it");
	} else {
		class->on_message(a, m);
	}
}

static void resolver_or_fail(struct actor *a, struct msg *m)
{
	fail_or(&resolver_class, a, m);
}

static void retriever_or_fail(struct actor *a, struct msg *m)
{
	fail_or(&retriever_class, a, m);
}

static void cache_or_fail(struct actor *a, struct msg *m)
{
	fail_or(&context_cache_class, a, m);
}

static struct actor_class weak_resolver, weak_retriever, weak_cache;

static void spawn_weak(struct node_loop *nl)
{
	const struct definitions *d = nl->node->definitions;
	weak_resolver = resolver_class;
	weak_retriever = retriever_class;
	weak_cache = context_cache_class;
	weak_resolver.on_message = resolver_or_fail;
	weak_retriever.on_message = retriever_or_fail;
	weak_cache.on_message = cache_or_fail;
	for (uint32_t i = 0; i < d->entities_count; i++) {
		nl->resolver_args[i] = (struct resolver_args){ nl, i };
		rt_supervise(nl->loop, NAME_RESOLVER + i, &weak_resolver, &nl->resolver_args[i], 1000, 1000);
	}
	for (uint32_t i = 0; i < d->retrievers_count; i++) {
		nl->retriever_args[i] = (struct retriever_args){ nl, i };
		rt_supervise(nl->loop, NAME_RETRIEVER + i, &weak_retriever, &nl->retriever_args[i], 1000, 1000);
	}
	rt_supervise(nl->loop, NAME_CONTEXT_CACHE, &weak_cache, nl, 1000, 1000);
	rt_supervise(nl->loop, NAME_INGESTOR, &ingestor_class, nl, 0, 1);
}

/* ---- one life of the process ---- */

/* Lets the clock go on where the life before ended. */
static void sleeper_on_message(struct actor *a, struct msg *m)
{
	(void)m;
	rt_stop(a);
}

static int sleeper_init(struct actor *a, void *arg)
{
	uint64_t wake_ns = *(const uint64_t *)arg, now_ns = loop_mono_ns(a->loop);
	rt_timer_start(a, wake_ns > now_ns ? (wake_ns - now_ns) / 1000000 + 1 : 1, 0);
	return 0;
}

static const struct actor_class sleeper_class = {
	.name = "sleeper",
	.size = sizeof(struct actor),
	.mailbox_len_max = 1,
	.init = sleeper_init,
	.on_message = sleeper_on_message,
};

static void warm_value(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	const struct evidence_entry *e = arg;
	const struct definitions *d = world.f.node.definitions;
	struct value *value = value_create(v->value_json);
	online_put(world.f.online, &(struct online_write){
				       .kind = definitions_entity(d, head->entity),
				       .feature = definitions_feature(d, v->feature),
				       .id = v->entity_id,
				       .value = value,
				       .meta = { .event_time_us = v->event_time_us,
						 .lsn = e->lsn,
						 .expires_us = v->ttl_ms ? v->event_time_us + v->ttl_ms * 1000 : 0 } });
	value_unref(value);
}

static void redo(void *arg, const struct evidence_entry *durable)
{
	(void)arg;
	struct entry_event event;
	CHECK(entry_event_read(buf_str(&durable->body), &event));
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	buf_append_str(&e->body, buf_str(&durable->body));
	e->lsn = durable->lsn;
	struct node_loop *owner = node_owner_of(&world.f.node, event.entity_id);
	CHECK(rt_send(owner->loop, rt_named(owner->loop, NAME_INGESTOR),
		      &ingest_event_new(owner->loop, INGEST_REDO, e)->head));
}

static void life_begin(const struct node_fixture_shared *shared, uint64_t seed, bool required)
{
#define TICKETS "[" T("u0") "," T("u1") "," T("u2") "," T("u3") "," T("u4") "," T("u5") "]"
#define T(id)   "{\"user_id\":\"" id "\",\"tickets\":3}"
	static const struct offline_fake_answer answers[] = {
		{ "SELECT user_id, tickets", TICKETS, RT_OK },
		{ "SELECT some", "[{\"n\":1},{\"n\":2}]", RT_OK },
	};
	struct offline_fake_config offline = { .answers = answers,
					       .answers_count = ARRAY_LEN(answers),
					       .delay_ms_max = 8,
					       .error_permille = world.calm ? 0 : 30,
					       .lost_permille = world.calm ? 0 : 15 };
	node_fixture_start(&world.f, shared, seed, 2, world.ledger, &offline);
	rt_spawn(sim_loop(world.f.sim, 0), &sleeper_class, &world.clock_ns);
	CHECK(sim_run(world.f.sim, 3600 * 1000) == SIM_QUIET);
	world.f.node.evidence_required = required;
	for (unsigned i = 0; i < 2; i++)
		spawn_weak(&world.f.loops[i]);
	for (size_t i = 0; i < ledger_fake_count(world.ledger); i++) {
		const struct evidence_entry *e = ledger_fake_at(world.ledger, i);
		if (e->kind == EVIDENCE_VALUES || e->kind == EVIDENCE_EVENT_APPLIED)
			entry_values_read(buf_str(&e->body), NULL, (void *)(uintptr_t)e, warm_value);
	}
	ledger_fake_pending_events(world.ledger, NULL, redo);
}

static void life_end(void)
{
	struct buf why = { 0 };
	world.totals->messages += sim_messages(world.f.sim);
	world.clock_ns = sim_now_ns(world.f.sim);
	if (!node_fixture_stop(&world.f, &why))
		node_fixture_fail(&why);
}

static void invite(unsigned n)
{
	struct sim *sim = world.f.sim;
	world.visits_count = n;
	for (unsigned i = 0; i < n; i++) {
		unsigned dice = (unsigned)sim_pick(sim, 100);
		struct visit *v = &world.visits[i];
		*v = (struct visit){ .loop = (unsigned)sim_pick(sim, 2),
				     .user = (unsigned)sim_pick(sim, USERS),
				     .ask = dice < 55   ? ASK_CONTEXT
					    : dice < 70 ? ASK_FEATURES
					    : dice < 80 ? ASK_PUSH
							: ASK_EVENT,
				     .context = (unsigned)sim_pick(sim, CONTEXTS),
				     .query = (unsigned)sim_pick(sim, 3),
				     .start_ms = (uint32_t)sim_pick(sim, 1500) };
		bool hurried = !world.calm && sim_chance(sim, 150);
		v->deadline_ms = hurried ? 1 + (uint32_t)sim_pick(sim, 40) : 2000 + (uint32_t)sim_pick(sim, 1000);
		if (!world.calm && sim_chance(sim, 120))
			v->leave_ms = 1 + (uint32_t)sim_pick(sim, 30);
		if (v->ask == ASK_EVENT)
			v->n = ++world.events_asked;
		CHECK(!ref_is_none(rt_spawn(sim_loop(sim, v->loop), &client_class, v)));
	}
}

static void life(const struct node_fixture_shared *shared, uint64_t seed, unsigned number)
{
	life_begin(shared, seed * 16 + number, seed / 2 % 2);
	invite(40 + (unsigned)sim_pick(world.f.sim, CLIENTS_MAX - 40));
	/* Mostly to the end of all deadlines, sometimes to any moment: then the process is gone. */
	bool whole = world.calm || sim_chance(world.f.sim, 700);
	sim_run(world.f.sim, whole ? 5000 + sim_pick(world.f.sim, 2) * 60000 : 10 + sim_pick(world.f.sim, 1600));
	for (unsigned i = 0; whole && i < world.visits_count; i++)
		CHECK(world.visits[i].end == ANSWERED || world.visits[i].end == LEFT);
}

static void check_events(void)
{
	const struct definitions *d = world.f.node.definitions;
	for (unsigned user = 0; user < USERS; user++) {
		char name[8];
		struct str id = user_name(&(struct visit){ .user = user }, name);
		struct oracle_event events[EVENTS_MAX];
		size_t count = oracle_events(world.ledger, id, events, EVENTS_MAX);
		struct online_cell list, total;
		int64_t now_us = loop_wall_us(world.f.loops[0].loop);
		online_get(world.f.online, 0, id, definitions_feature(d, STR("events")), now_us, &list);
		online_get(world.f.online, 0, id, definitions_feature(d, STR("count")), now_us, &total);
		yyjson_doc *doc = list.value ? yyjson_read(list.value->json, list.value->len, 0)
					     : yyjson_read("[]", 2, 0);
		oracle_check_list(events, count, yyjson_doc_get_root(doc));
		CHECK((total.value ? strtoull(total.value->json, NULL, 10) : 0) == count);
		yyjson_doc_free(doc);
		value_unref(list.value);
		value_unref(total.value);
		world.totals->events += (unsigned)count;
	}
	for (int64_t n = 1; n <= world.events_asked; n++) {
		if (world.accepted[n] == 0)
			continue;
		const struct evidence_entry *e = ledger_fake_at(world.ledger, (size_t)world.accepted[n] - 1);
		struct entry_event event;
		char expected[24];
		snprintf(expected, sizeof expected, "e%lld", (long long)n);
		CHECK(e->kind == EVIDENCE_EVENT && entry_event_read(buf_str(&e->body), &event));
		CHECK(str_eq(event.event_id, str_from(expected)));
	}
}

static uint64_t run_seed(const struct node_fixture_shared *shared, uint64_t seed, struct totals *totals)
{
	struct ledger_fake_config calm = { .delay_ms_max = 4 }, rough = calm;
	rough.values_are_safe = seed % 2;
	rough.refuse_permille = 30;
	rough.lose_answer_permille = rough.lose_entry_permille = 15;
	world = (struct world){ .calm = seed % 4 == 0, .totals = totals };
	world.ledger = ledger_fake_create(world.calm ? &calm : &rough);
	uint64_t trace = 0;
	for (unsigned number = 0; number < 1 + seed % 3; number++) {
		life(shared, seed, number);
		trace = trace * 31 + sim_trace(world.f.sim);
		life_end();
	}
	/* The last life is without faults and clients: what was left undone gets done. */
	world.calm = true;
	ledger_fake_set(world.ledger, &calm);
	life_begin(shared, seed * 16 + 15, true);
	sim_run(world.f.sim, 10000);
	check_events();
	trace = trace * 31 + sim_trace(world.f.sim);
	life_end();
	totals->uses += oracle_check_log(world.ledger, seed % 4 == 0 || rough.values_are_safe);
	ledger_fake_destroy(world.ledger);
	return trace;
}

int main(int argc, char **argv)
{
	struct sim_seeds seeds = sim_main_begin(argc, argv);
	struct node_fixture_shared shared;
	struct totals totals = { 0 };
	node_fixture_share(&shared, definitions);
	SIM_MAIN_RUN(seeds, run_seed(&shared, sim_main.present, &totals))
	node_fixture_unshare(&shared);
	printf(
	    "%llu seeds: %llu messages; contexts: %u ok (%u cached, %u not durable), %u bad arguments, %u over budget, "
	    "%u failed, %u without evidence, %u busy, %u late; %u left, %u without answer; %u events, %u uses, %u failures\n",
	    (unsigned long long)(seeds.end - seeds.first), (unsigned long long)totals.messages,
	    totals.outcomes[ASSEMBLY_OK], totals.cached, totals.unpersisted, totals.outcomes[ASSEMBLY_BAD_ARGUMENTS],
	    totals.outcomes[ASSEMBLY_OVER_BUDGET], totals.outcomes[ASSEMBLY_FAILED],
	    totals.outcomes[ASSEMBLY_NO_EVIDENCE], totals.outcomes[ASSEMBLY_BUSY], totals.outcomes[ASSEMBLY_LATE],
	    totals.left, totals.no_answer, totals.events, totals.uses, totals.failures);
	sim_main_end();
	return 0;
}
