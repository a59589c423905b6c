/* resolver.c -- feature values of one entity kind on one loop.
 *
 *     GET: APPENDED, newer than what is online? -> answer with that
 *          online value? -> answer now
 *          a flight for it that may be joined? -> wait for it
 *          compute, or SQL on demand? -> start a flight
 *          default? -> answer with it; else missing
 *
 *     a flight: QUEUED --turn end: asked--> FLYING --lands--> LANDED
 *               LANDED --turn end: appended to the history, all who wait are answered--> APPENDED
 *               APPENDED --durable, or failed--> published, gone; an online store elsewhere: durable, then published, gone
 *               FLYING --fails--> all who wait get the default, or FAILED with the reason; gone
 *               QUEUED, FLYING --all who wait have left, and it is no refresh--> cancelled, gone
 *
 * A flight is one computation of one (feature, id), shared by all who ask for it meanwhile, unless it began before something
 * that the asker may know: a write of its row (is_joinable), or of another row that its function turns out to have read
 * (is_outdated: then those who came late wait for one more). A function runs for one id and starts at once; the SQL of a
 * feature is narrowed to all the ids of a turn and asked once, at the end of the turn. The values that land in a turn are
 * sent to the ledger at its end, in entries of bounded size, and the askers on this loop are answered after that send; nobody
 * waits for the commit. Other loops see a value in the online table, where it is put once it is durable. So a record always
 * comes after the values that it used, on every loop.
 * Since a flight is shared it has no cancel token, and its deadline is the later of FLIGHT_TIMEOUT_MS and its first asker's.
 * Bounds: the mailbox, FLIGHTS_MAX. */
#include "actors/resolver.h"
#include "actors/computation.h"
#include "actors/publisher.h"
#include "actors/reads.h"
#include "actors/table_loader.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "runtime/log.h"
#include "store/evidence/entries.h"
#include "store/offline/offline.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	FLIGHTS_MAX = 8192,
	FLIGHT_BUCKETS = 1024,
	GET_BUCKETS = 1024,
	APPEND_TIMEOUT_MS = 30000,
	FLIGHT_TIMEOUT_MS = 10000
};
enum { ENTRY_BYTES_MAX = 1 << 20 }; /* of values that are handed to the ledger together, if there are several */

struct get { /* a RESOLVER_GET that waits for flights */
	struct get *next_by_op;
	struct msg *request;       /* NULL: answered before all flights have landed, or the asker has left */
	struct feature_request *r; /* the request's; NULL with it */
	uint32_t pending;          /* flights still to come */
	uint64_t timer;            /* at r->answer_by_ns; 0 = none */
	bool has_left;             /* the asker: its flights need not land */
};

struct waiter {
	struct waiter *next;
	struct get *get;
	uint32_t result; /* index into get->r->results */
	bool is_late;    /* the flight was under way when it joined */
};

struct flight {
	struct flight *next_by_key;
	struct flight *
	    next; /* QUEUED, LANDED: of the turn; FLYING: of its bucket in by_op, or of its query; APPENDED: of its batch */
	enum { QUEUED, FLYING, LANDED, APPENDED } state;
	uint64_t op; /* of the ask that computes it; 0: it belongs to a query */
	uint64_t deadline_ns;
	uint64_t key_hash;
	uint32_t feature;
	int64_t started_us;
	int64_t
	    as_of_us; /* when it began; earlier if it read a table whose new file cannot be loaded: since when that is so */
	uint64_t position; /* of the values when it began */
	struct waiter *waiters;
	struct value *value; /* what it gave; NULL: nothing, or it failed with reason */
	char *reason;
	enum feature_state failure; /* with a reason: FAILED, TIMEOUT or REFUSED */
	struct reads *reads;        /* what it was computed from; NULL = nothing */
	bool is_refresh;            /* wanted, whoever waits for it */
	bool is_under_way;          /* who joins now has not seen its beginning */
	bool is_closed;             /* LANDED: nobody joins any more */
	bool has_row;               /* also when its value could not be kept */
	bool has_several;           /* more than one row: none of them is the value */
	bool is_expired;            /* its value is past its ttl: see as_of_us */
	struct query *query;        /* FLYING: the one that it belongs to, if any; weak */
	struct batch *batch;        /* LANDED: the one that it will belong to; weak */
	size_t id_n;
	char id[];
};

struct batch { /* values on their way to the disk */
	struct batch *next;
	uint64_t op;        /* of the append, then of the publisher */
	bool is_publishing; /* it is durable, whatever comes */
	struct flight *flights;
};

struct query { /* the SQL of one feature, narrowed to the ids of its flights */
	struct query *next;
	uint64_t op, deadline_ns;
	int64_t stale_since_us; /* of the tables that it names; 0: they are as their files are */
	uint32_t feature, count;
	struct flight *flights;
};

struct resolver {
	struct actor base;
	struct node_loop *nl;
	uint32_t entity;
	uint32_t flights_count, appended_count;
	struct flight *by_key[FLIGHT_BUCKETS], *by_op[FLIGHT_BUCKETS];
	struct get *gets[GET_BUCKETS];       /* those with a request, by its op */
	struct flight *queued, **queued_end; /* of this turn, in order of arrival */
	struct flight *landed, **landed_end; /* likewise */
	struct query *queries;
	struct batch *batches, **batches_end; /* in the order of their appends */
};

/* ---- reading ---- */

static bool is_refresh_due(const struct def_feature *f, struct str entity_id, int64_t written_us, int64_t now_us)
{
	if (f->refresh_ms == 0 || !f->has_compute || f->trigger.p)
		return false;
	/* Ids are renewed up to a tenth early, each at its own moment, so that they do not come due together. */
	int64_t refresh_us = f->refresh_ms * 1000;
	int64_t jitter_us = (int64_t)(hash64(entity_id) % (uint64_t)(refresh_us / 10 + 1));
	return now_us - written_us >= refresh_us - jitter_us;
}

enum online_read resolver_copy_online(const struct node *n, uint32_t feature, const struct online_key *key,
				      int64_t now_us, char *out, size_t cap, size_t *ret_n,
				      struct online_meta *ret_meta, bool *ret_refresh_due)
{
	const struct def_feature *f = &n->definitions->features[feature];
	*ret_refresh_due = false;
	if (def_feature_is_computed_at_each_read(f))
		return ONLINE_MISS;
	const struct online_fast *online = n->stores->online.fast;
	enum online_read r = online->copy(online->table, key, feature, now_us, out, cap, ret_n, ret_meta);
	if (r == ONLINE_HIT)
		*ret_refresh_due = is_refresh_due(f, key->id, ret_meta->written_us, now_us);
	return r;
}

/* What a default stands in for, if that is no absence. */
static enum feature_state failure_behind(enum feature_state why)
{
	return feature_has_failed(why) ? why : FEATURE_PENDING;
}

void resolver_answer_at_once(const struct node *n, uint32_t feature, struct str entity_id, int64_t now_us,
			     enum feature_state failure, struct feature_result *ret)
{
	struct online_cell cell = { 0 };
	const struct online_fast *online = n->stores->online.fast;
	const struct def_feature *f = &n->definitions->features[feature];
	*ret = (struct feature_result){ .state = def_feature_is_computed(f) ? failure : FEATURE_MISSING };
	if (!def_feature_is_computed_at_each_read(f) &&
	    online->see(online->table, f->entity, entity_id, &feature, 1, now_us, &cell, NULL) == 1)
		*ret = (struct feature_result){ .state = FEATURE_FOUND,
						.source = RECORD_CACHE,
						.value = cell.value,
						.as_of_us = cell.meta.event_time_us };
	else if (cell.is_lost)
		ret->state = FEATURE_FAILED;
	if (ret->state != FEATURE_FOUND && n->defaults[feature])
		*ret = (struct feature_result){ .state = FEATURE_FOUND,
						.source = RECORD_FALLBACK,
						.as_of_us = now_us,
						.value = value_ref(n->defaults[feature]),
						.failure = failure_behind(ret->state) };
}

/* ---- flights ---- */

static uint64_t flight_hash(uint32_t feature, struct str id)
{
	return hash_mix(hash64(id) + feature);
}

static int64_t ttl_us(const struct resolver *s, uint32_t feature)
{
	return s->nl->node->definitions->features[feature].ttl_ms * 1000;
}

/* Does it give what someone may have who asks now? Not if it began before something that the asker may know: a write of its
 * row, or a value that another loop made later, even one that has expired since. One that is not asked for yet has not
 * begun. */
static bool is_joinable(const struct resolver *s, const struct flight *f)
{
	const struct node *n = s->nl->node;
	struct str id = str_of(f->id, f->id_n);
	const struct online_fast *online = n->stores->online.fast;
	struct online_trace trace;
	switch (f->state) {
	case QUEUED:
		return true;
	case APPENDED:
		if (loop_wall_us(s->base.loop) >= f->as_of_us + ttl_us(s, f->feature) ||
		    values_row_was_deleted(n, s->entity, id, f->position))
			return false;
		break;
	case FLYING:
	case LANDED:
		if (f->is_closed || values_row_was_written(n, s->entity, id, f->position))
			return false;
		break;
	}
	return !online->trace(online->table, s->entity, id, f->feature, loop_wall_us(s->base.loop), &trace) ||
	       trace.event_time_us <= f->started_us;
}

static bool is_of(const struct flight *f, uint32_t feature, struct str id, uint64_t hash)
{
	return f->key_hash == hash && f->feature == feature && str_eq(str_of(f->id, f->id_n), id);
}

/* The newest that can be joined. */
static struct flight *flight_find(struct resolver *s, uint32_t feature, struct str id, uint64_t hash)
{
	struct flight *f = s->by_key[hash % FLIGHT_BUCKETS];
	while (f && !(is_of(f, feature, id, hash) && is_joinable(s, f)))
		f = f->next_by_key;
	return f;
}

static void flight_link(struct resolver *s, struct flight *f)
{
	struct flight **key = &s->by_key[f->key_hash % FLIGHT_BUCKETS];
	f->next_by_key = *key;
	*key = f;
	s->flights_count++;
}

static void await(struct resolver *s, struct flight *f, uint64_t op)
{
	struct flight **bucket = &s->by_op[hash_mix(op) % FLIGHT_BUCKETS];
	f->state = FLYING;
	f->op = op;
	f->next = *bucket;
	*bucket = f;
}

static void enqueue(struct resolver *s, struct flight *f)
{
	f->state = QUEUED;
	*s->queued_end = f;
	s->queued_end = &f->next;
}

static struct flight *take_by_op(struct resolver *s, uint64_t op)
{
	struct flight **at = &s->by_op[hash_mix(op) % FLIGHT_BUCKETS];
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct flight *f = *at;
	if (f)
		*at = f->next;
	return f;
}

static void flight_free(struct flight *f)
{
	value_unref(f->value);
	reads_unref(f->reads);
	free(f->reason);
	free(f);
}

/* For who reads the table without asking: see resolver_is_ahead. */
static void count_appended(struct resolver *s, const struct flight *f, int change)
{
	struct online_key key = online_key(s->entity, str_of(f->id, f->id_n));
	s->appended_count += (uint32_t)change;
	s->nl->ahead[key.hash % NODE_AHEAD] += (uint32_t)change;
}

static void flight_end(struct resolver *s, struct flight *f)
{
	struct flight **at = &s->by_key[f->key_hash % FLIGHT_BUCKETS];
	while (*at != f)
		at = &(*at)->next_by_key;
	*at = f->next_by_key;
	s->flights_count--;
	if (f->state == APPENDED)
		count_appended(s, f, -1);
	flight_free(f);
}

static uint64_t ask_compute(struct resolver *s, const struct flight *f)
{
	struct computation_job *job = computation_job_new(SCRIPT_COMPUTE, f->feature, str_of(f->id, f->id_n));
	return job ? computation_start(&s->base, s->nl, job, f->deadline_ns, ACTOR_NONE) : 0;
}

/* One that is on its way to the disk has been answered: nobody can wait for it any more. */
static struct flight *flight_under_way(struct resolver *s, uint32_t feature, struct str id, uint64_t hash)
{
	struct flight *f = flight_find(s, feature, id, hash);
	return f && f->state != APPENDED ? f : NULL;
}

/* The flight for this key: the one under way, or a new one for an asker who waits until then; 0: nobody does, it is a refresh. NULL:
 * the bound is reached. */
static struct flight *flight_join(struct resolver *s, uint32_t feature, struct str id, uint64_t asker_deadline_ns)
{
	uint64_t hash = flight_hash(feature, id);
	uint64_t deadline_ns = loop_mono_ns(s->base.loop) + FLIGHT_TIMEOUT_MS * 1000000ull;
	if (deadline_ns < asker_deadline_ns)
		deadline_ns = asker_deadline_ns;
	struct flight *f = flight_under_way(s, feature, id, hash);
	if (f) {
		f->is_under_way = f->state != QUEUED;
		f->is_refresh |= asker_deadline_ns == 0;
	}
	if (f || s->flights_count == FLIGHTS_MAX)
		return f;
	f = calloc(1, sizeof *f + id.n);
	if (f == NULL)
		return NULL;
	f->key_hash = hash;
	f->feature = feature;
	f->is_refresh = asker_deadline_ns == 0;
	f->as_of_us = f->started_us = loop_wall_us(s->base.loop);
	f->position = values_position(s->nl->node);
	f->deadline_ns = deadline_ns;
	f->id_n = id.n;
	memcpy(f->id, id.p, id.n);
	if (s->nl->node->definitions->features[feature].has_compute) {
		uint64_t op = ask_compute(s, f);
		if (op == 0) {
			free(f);
			return NULL;
		}
		await(s, f, op);
	} else {
		enqueue(s, f);
	}
	flight_link(s, f);
	return f;
}

/* ---- answers ---- */

static void result_found(struct feature_result *result, struct value *shared, enum record_source source,
			 int64_t as_of_us)
{
	result->state = FEATURE_FOUND;
	result->value = shared;
	result->source = source;
	result->as_of_us = as_of_us;
}

static void result_without_value(struct resolver *s, struct feature_request *r, struct feature_result *result,
				 uint32_t feature, enum feature_state why, struct str reason)
{
	const struct feature_metrics *metrics = &s->nl->node->metrics.features[feature];
	struct value *fallback = s->nl->node->defaults[feature];
	if (fallback) {
		result_found(result, value_ref(fallback), RECORD_FALLBACK, loop_wall_us(s->base.loop));
		result->failure = failure_behind(why);
		metrics_add(metrics->defaulted, 1);
		return;
	}
	result->state = why;
	if (reason.p) {
		result->reason = arena_dup(&r->arena, reason);
		metrics_add(metrics->error, 1);
	}
}

static void get_answer(struct resolver *s, struct msg *request, struct feature_request *r)
{
	struct resolver_get *reply = resolver_get_new(s->base.loop, RESOLVER_GOT, r);
	((struct resolver_get *)request)->request = NULL;
	rt_reply(&s->base, request, &reply->head);
}

static void get_link(struct resolver *s, struct get *get)
{
	struct get **bucket = &s->gets[hash_mix(get->request->op) % GET_BUCKETS];
	get->next_by_op = *bucket;
	*bucket = get;
}

/* Before its request goes. */
static void get_unlink(struct resolver *s, struct get *get)
{
	struct get **at = &s->gets[hash_mix(get->request->op) % GET_BUCKETS];
	while (*at != get)
		at = &(*at)->next_by_op;
	*at = get->next_by_op;
}

static void get_end(struct resolver *s, struct get *get)
{
	if (get->timer)
		rt_timer_stop(&s->base, get->timer);
	if (get->r) {
		get_unlink(s, get);
		get_answer(s, get->request, get->r);
	}
	free(get);
}

static void waiter_answer(struct resolver *s, struct waiter *w, const struct flight *f)
{
	struct feature_request *r = w->get->r;
	struct feature_result *result = r ? &r->results[w->result] : NULL;
	if (r && f->value) {
		result_found(result, value_ref(f->value), RECORD_COMPUTE, f->as_of_us);
	} else if (r) {
		result_without_value(s, r, result, f->feature,
				     f->reason       ? f->failure
				     : f->is_expired ? FEATURE_EXPIRED
						     : FEATURE_MISSING,
				     str_from(f->reason));
		result->reads = reads_ref(f->reads);
	}
	if (--w->get->pending == 0)
		get_end(s, w->get);
}

/* The asker's time is over: it gets what there is. */
static void get_late(struct resolver *s, struct get *get)
{
	struct feature_request *r = get->r;
	for (uint32_t i = 0; i < r->ids_count * r->features_count; i++)
		if (r->results[i].state == FEATURE_PENDING)
			result_without_value(s, r, &r->results[i], r->features[i % r->features_count], FEATURE_TIMEOUT,
					     STR("not computed before the deadline"));
	get_unlink(s, get);
	get_answer(s, get->request, r);
	get->request = NULL;
	get->r = NULL;
	get->timer = 0;
}

/* ---- what a flight gave ---- */

/* Whether something that it read has changed since; of what SQL read of the ledger: whether anything has. */
static bool is_outdated(const struct resolver *s, const struct flight *f)
{
	const struct node *n = s->nl->node;
	const struct reads *reads = f->value ? (const struct reads *)f->value->basis : f->reads;
	if (reads_may_miss_writes(reads, n, f->position) ||
	    (offline_sql_reads_ledger(n->definitions->features[f->feature].sql) && values_position(n) > f->position))
		return true;
	return reads && !reads_are_current(reads, n, f->started_us, loop_wall_us(s->base.loop));
}

/* Who came when the flight was under way may know of a change that it did not see: then it waits for one that begins now.
 * That happens once to a waiter. false: it is to be answered. */
static bool waiter_moves(struct resolver *s, struct waiter *w, const struct flight *f)
{
	struct flight *to = w->get->r ? flight_join(s, f->feature, str_of(f->id, f->id_n), w->get->request->deadline_ns)
				      : NULL;
	if (to == NULL)
		return false;
	w->is_late = false;
	w->next = to->waiters;
	to->waiters = w;
	return true;
}

static void flight_answer(struct resolver *s, struct flight *f)
{
	bool has_late = false;
	struct waiter *w = f->waiters;
	for (const struct waiter *at = w; at; at = at->next)
		has_late = has_late || at->is_late;
	has_late = has_late && is_outdated(s, f);
	f->waiters = NULL;
	f->is_closed = has_late;
	for (struct waiter *next; w; w = next) {
		next = w->next;
		if (has_late && w->is_late && waiter_moves(s, w, f))
			continue;
		waiter_answer(s, w, f);
		free(w);
	}
}

/* What was read of a table with old rows is as old as those: it ages as a materialised value does. */
static void flight_age(struct resolver *s, struct flight *f, int64_t stale_since_us)
{
	int64_t ttl = ttl_us(s, f->feature);
	if (stale_since_us == 0 || stale_since_us >= f->as_of_us)
		return;
	f->as_of_us = stale_since_us;
	if (f->value == NULL || ttl == 0 || f->as_of_us + ttl > loop_wall_us(s->base.loop))
		return;
	f->is_expired = true;
	value_unref(f->value);
	f->value = NULL;
}

/* Answers wait for the end of the turn: the ledger gets all values of the turn in one entry, before anybody uses them. */
static void flight_land(struct resolver *s, struct flight *f, struct value *value, struct str reason)
{
	f->value = value;
	f->reason = reason.p ? strndup(reason.p, reason.n) : NULL;
	f->failure = f->failure ? f->failure : FEATURE_FAILED;
	f->state = LANDED;
	f->next = NULL;
	*s->landed_end = f;
	s->landed_end = &f->next;
}

static void flight_measure(struct resolver *s, const struct flight *f)
{
	const struct feature_metrics *metrics = &s->nl->node->metrics.features[f->feature];
	metrics_observe(metrics->compute_seconds, (double)(loop_wall_us(s->base.loop) - f->started_us) / 1e6);
	if (f->value)
		metrics_add(metrics->compute_success, 1);
	if (f->reason == NULL)
		return;
	metrics_add(metrics->compute_failure, 1);
	log_line(LOG_WARNING, "resolver", "feature could not be computed",
		 LOG_STR("feature", s->nl->node->definitions->features[f->feature].name),
		 LOG_STR("entity_id", str_of(f->id, f->id_n)), LOG_CSTR("reason", f->reason));
}

static struct values_cell cell_of(const struct flight *f)
{
	return (struct values_cell){ .feature = f->feature,
				     .entity_id = str_of(f->id, f->id_n),
				     .value = f->value,
				     .event_time_us = f->as_of_us,
				     .seen = f->position };
}

/* What the ledger did not take. An online store elsewhere does not get it either. */
static void flight_publish(struct resolver *s, const struct flight *f)
{
	const struct values_cell cell = cell_of(f);
	if (!values_row_was_deleted(s->nl->node, s->entity, cell.entity_id, f->position))
		values_publish(s->nl->node, s->entity, &cell, ENTRY_COMPUTED, 0, f->started_us);
}

static void on_computed(struct resolver *s, struct flight *f, const struct computation_job *job)
{
	const struct script_outcome *o = &job->outcome;
	bool known;
	struct reads *reads = computation_reads_of(job, s->nl->node->definitions, &known);
	bool has_value = known && o->error.p == NULL && o->value_json.p;
	struct value *value = has_value ? value_create_from(o->value_json, reads ? &reads->basis : NULL) : NULL;
	if (o->error_kind == SCRIPT_ERROR_DEADLINE)
		f->failure = FEATURE_TIMEOUT;
	if (value == NULL)
		f->reads = reads_ref(reads);
	reads_unref(reads);
	if (!known)
		flight_land(s, f, NULL, STR("the function reads too many features or retrievers"));
	else if (has_value && value == NULL)
		flight_land(s, f, NULL, STR("out of memory"));
	else
		flight_land(s, f, value, o->error);
	flight_age(s, f, job->stale_since_us);
}

/* ---- queries ---- */

/* Asks for the flights of one feature, which belong to the query from here on. */
static void query_ask(struct resolver *s, uint32_t feature, struct flight *flights, uint32_t count)
{
	const struct definitions *d = s->nl->node->definitions;
	const struct def_feature *f = &d->features[feature];
	struct query *q = calloc(1, sizeof *q);
	CHECK(q != NULL);
	struct offline_feature *m = offline_feature_new(s->base.loop, f->sql, d->entities[f->entity].id, f->name,
							count);
	*q = (struct query){ .next = s->queries,
			     .feature = feature,
			     .count = count,
			     .flights = flights,
			     .stale_since_us = table_loader_stale_since_us(s->nl->node, f->sql) };
	for (struct flight *at = flights; at; at = at->next) {
		at->state = FLYING;
		at->query = q;
		at->position = values_position(s->nl->node);
		offline_feature_add(m, str_of(at->id, at->id_n));
		if (at->deadline_ns > q->deadline_ns)
			q->deadline_ns = at->deadline_ns;
	}
	s->queries = q;
	q->op = rt_ask(&s->base, s->nl->node->stores->offline.requests, &m->head, q->deadline_ns, ACTOR_NONE);
}

/* The first of the list and all others of its feature, in order, up to the bound of an ask. */
static struct flight *take_of_one_feature(struct flight **list, uint32_t *ret_count)
{
	struct flight *taken = NULL, **taken_end = &taken;
	uint32_t feature = (*list)->feature, count = 0;
	for (struct flight **at = list; *at && count < OFFLINE_IDS_MAX;) {
		struct flight *f = *at;
		if (f->feature != feature) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		f->next = NULL;
		*taken_end = f;
		taken_end = &f->next;
		count++;
	}
	*ret_count = count;
	return taken;
}

static void ask_queued(struct resolver *s)
{
	while (s->queued) {
		uint32_t count, feature = s->queued->feature;
		struct flight *flights = take_of_one_feature(&s->queued, &count);
		query_ask(s, feature, flights, count);
	}
	s->queued_end = &s->queued;
}

static struct query *take_query(struct resolver *s, uint64_t op)
{
	struct query **at = &s->queries;
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct query *q = *at;
	if (q)
		*at = q->next;
	return q;
}

/* The rows of all ids are too large for one answer: ask for each half. */
static void query_split(struct resolver *s, struct query *q)
{
	struct flight *first = q->flights, *last = first;
	for (uint32_t i = 1; i < q->count / 2; i++)
		last = last->next;
	struct flight *second = last->next;
	last->next = NULL;
	query_ask(s, q->feature, first, q->count / 2);
	query_ask(s, q->feature, second, q->count - q->count / 2);
}

static void query_failed(struct resolver *s, struct query *q, const struct msg *m)
{
	struct str reason = feature_failure_text(m);
	if (m->kind == OFFLINE_BATCH && ((const struct offline_batch *)m)->error.n)
		reason = ((const struct offline_batch *)m)->error;
	for (struct flight *f = q->flights, *next; f; f = next) {
		next = f->next;
		f->failure = feature_failure_of(m);
		flight_land(s, f, NULL, reason);
	}
}

static struct flight *flight_of_query(struct resolver *s, const struct query *q, struct str id)
{
	uint64_t hash = flight_hash(q->feature, id);
	struct flight *f = s->by_key[hash % FLIGHT_BUCKETS];
	while (f && !(f->state == FLYING && f->query == q && is_of(f, q->feature, id, hash)))
		f = f->next_by_key;
	return f;
}

static void take_rows(struct resolver *s, const struct query *q, const struct offline_batch *batch)
{
	for (uint32_t i = 0; i < batch->count; i++) {
		struct str id = batch->rows[i].key;
		struct flight *f = flight_of_query(s, q, id);
		if (f == NULL)
			continue; /* a row of an id that was not asked for */
		if (f->has_row)
			f->has_several = true;
		else
			f->value = value_create(batch->rows[i].value_json);
		f->has_row = true;
	}
}

static void on_rows(struct resolver *s, struct query *q, const struct msg *m)
{
	if (m->kind == OFFLINE_BATCH && m->status == RT_ETOOBIG && q->count > 1) {
		query_split(s, q);
		return;
	}
	if (m->kind != OFFLINE_BATCH || m->status != RT_OK) {
		query_failed(s, q, m);
		return;
	}
	take_rows(s, q, (const struct offline_batch *)m);
	const struct definitions *d = s->nl->node->definitions;
	for (struct flight *f = q->flights, *next; f; f = next) {
		next = f->next;
		if (!f->has_several) {
			bool is_lost = f->has_row && f->value == NULL;
			flight_land(s, f, f->value, is_lost ? STR("out of memory") : (struct str){ 0 });
			flight_age(s, f, q->stale_since_us);
			continue;
		}
		struct buf reason = { 0 };
		buf_printf(&reason, OFFLINE_SEVERAL_ROWS, STR_ARG(d->entities[s->entity].id), (int)f->id_n, f->id);
		value_unref(f->value);
		flight_land(s, f, NULL, buf_str(&reason));
		buf_finish(&reason);
	}
}

/* ---- requests ---- */

/* A value on its way to the ledger is newer for this loop's askers than what is in the table; whoever has seen it never sees
 * an older one again. */
static bool use_unpublished(struct resolver *s, uint32_t feature, struct str id, struct feature_result *result)
{
	struct flight *f = s->appended_count ? flight_find(s, feature, id, flight_hash(feature, id)) : NULL;
	if (f == NULL || f->state != APPENDED)
		return false;
	result_found(result, value_ref(f->value), RECORD_CACHE, f->as_of_us);
	metrics_add(s->nl->node->metrics.features[feature].hit, 1);
	return true;
}

/* Moves cell's value. true: answered already. */
static bool resolve_one(struct resolver *s, struct feature_request *r, uint32_t index, struct online_cell *cell,
			struct get **get, struct msg *m)
{
	struct str id = r->ids[index / r->features_count];
	uint32_t feature = r->features[index % r->features_count];
	struct feature_result *result = &r->results[index];
	const struct node *n = s->nl->node;
	const struct def_feature *d = &n->definitions->features[feature];
	if (use_unpublished(s, feature, id, result)) {
		value_unref(cell->value);
		return true;
	}
	if (cell->value) {
		result_found(result, cell->value, RECORD_CACHE, cell->meta.event_time_us);
		metrics_add(n->metrics.features[feature].hit, 1);
		if (is_refresh_due(d, id, cell->meta.written_us, loop_wall_us(s->base.loop)))
			flight_join(s, feature, id, 0);
		return true;
	}
	if (cell->is_lost) {
		result_without_value(s, r, result, feature, FEATURE_FAILED, STR("out of memory"));
		return true;
	}
	metrics_add(n->metrics.features[feature].miss, 1);
	if (!def_feature_is_computed(d)) {
		struct online_trace trace; /* it knows a value past its ttl until it is swept */
		const struct online_fast *online = n->stores->online.fast;
		bool has_expired = online->trace(online->table, s->entity, id, feature, loop_wall_us(s->base.loop),
						 &trace) &&
				   trace.is_expired;
		result_without_value(s, r, result, feature, has_expired ? FEATURE_EXPIRED : FEATURE_MISSING,
				     (struct str){ 0 });
		return true;
	}
	struct flight *f = flight_join(s, feature, id, m->deadline_ns);
	struct waiter *w = f ? malloc(sizeof *w) : NULL;
	if (*get == NULL && w)
		*get = calloc(1, sizeof **get);
	if (w == NULL || *get == NULL) {
		free(w);
		result_without_value(s, r, result, feature, FEATURE_REFUSED,
				     STR("too many computations are under way"));
		return true;
	}
	*w = (struct waiter){ .next = f->waiters, .get = *get, .result = index, .is_late = f->is_under_way };
	f->waiters = w;
	return false;
}

/* What is in the table of one id's features from `first` on, at one moment. Those that are computed at each read are not
 * looked for. Returns how many were. */
static uint32_t read_row(struct resolver *s, const struct feature_request *r, uint32_t id, uint32_t first,
			 struct online_cell cells[static ONLINE_TOGETHER_MAX])
{
	const struct node *n = s->nl->node;
	const struct online_fast *online = n->stores->online.fast;
	uint32_t features[ONLINE_TOGETHER_MAX], at[ONLINE_TOGETHER_MAX], stored = 0, count = 0;
	struct online_cell found[ONLINE_TOGETHER_MAX];
	for (; count < ONLINE_TOGETHER_MAX && first + count < r->features_count; count++) {
		uint32_t feature = r->features[first + count];
		cells[count] = (struct online_cell){ 0 };
		if (def_feature_is_computed_at_each_read(&n->definitions->features[feature]))
			continue;
		at[stored] = count;
		features[stored++] = feature;
	}
	if (stored)
		online->see(online->table, s->entity, r->ids[id], features, stored, loop_wall_us(s->base.loop), found,
			    NULL);
	for (uint32_t i = 0; i < stored; i++)
		cells[at[i]] = found[i];
	return count;
}

static uint32_t resolve_all(struct resolver *s, struct feature_request *r, struct get **get, struct msg *m)
{
	struct online_cell cells[ONLINE_TOGETHER_MAX];
	uint32_t pending = 0;
	for (uint32_t id = 0; id < r->ids_count; id++)
		for (uint32_t first = 0, count; first < r->features_count; first += count) {
			count = read_row(s, r, id, first, cells);
			for (uint32_t i = 0; i < count; i++)
				pending += !resolve_one(s, r, id * r->features_count + first + i, &cells[i], get, m);
		}
	return pending;
}

static void on_get(struct resolver *s, struct msg *m)
{
	struct feature_request *r = ((struct resolver_get *)m)->request;
	struct get *get = NULL;
	uint32_t pending = resolve_all(s, r, &get, m);
	rt_msg_take(m);
	if (pending == 0) {
		free(get);
		get_answer(s, m, r);
		return;
	}
	*get = (struct get){ .request = m, .r = r, .pending = pending };
	get_link(s, get);
	uint64_t now_ns = loop_mono_ns(s->base.loop);
	if (r->answer_by_ns)
		get->timer = rt_timer_start(&s->base,
					    r->answer_by_ns > now_ns ? (r->answer_by_ns - now_ns) / 1000000 : 0,
					    (uintptr_t)get);
}

/* ---- askers that have left ---- */

static bool flight_is_wanted(const struct flight *f)
{
	for (const struct waiter *w = f->waiters; w; w = w->next)
		if (!w->get->has_left)
			return true;
	return f->is_refresh;
}

/* Of a flight that is in no list but by_key any more. */
static void flight_drop(struct resolver *s, struct flight *f)
{
	for (struct waiter *w = f->waiters, *next; w; w = next) {
		next = w->next;
		if (--w->get->pending == 0)
			get_end(s, w->get);
		free(w);
	}
	f->waiters = NULL;
	flight_end(s, f);
}

static void queued_drop(struct resolver *s, struct flight *f)
{
	struct flight **at = &s->queued;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	if (s->queued_end == &f->next)
		s->queued_end = at;
	flight_drop(s, f);
}

/* The others of its statement may be wanted. */
static void query_drop_unwanted(struct resolver *s, struct query *q)
{
	for (const struct flight *f = q->flights; f; f = f->next)
		if (flight_is_wanted(f))
			return;
	take_query(s, q->op);
	rt_ask_cancel(&s->base, q->op);
	for (struct flight *f = q->flights, *next; f; f = next) {
		next = f->next;
		flight_drop(s, f);
	}
	free(q);
}

static void flight_drop_unwanted(struct resolver *s, struct flight *f)
{
	if (flight_is_wanted(f))
		return;
	switch (f->state) {
	case QUEUED:
		queued_drop(s, f);
		return;
	case FLYING:
		if (f->query) {
			query_drop_unwanted(s, f->query);
			return;
		}
		rt_ask_cancel(&s->base, f->op);
		take_by_op(s, f->op);
		flight_drop(s, f);
		return;
	case LANDED:
	case APPENDED: /* nobody waits for it any more: it is on its way */
		return;
	}
}

static bool waits_for(const struct get *get, const struct flight *f)
{
	for (const struct waiter *w = f->waiters; w; w = w->next)
		if (w->get == get)
			return true;
	return false;
}

static struct flight *flight_awaited_by(struct resolver *s, const struct get *get, uint32_t result)
{
	uint32_t feature = get->r->features[result % get->r->features_count];
	struct str id = get->r->ids[result / get->r->features_count];
	uint64_t hash = flight_hash(feature, id);
	struct flight *f = s->by_key[hash % FLIGHT_BUCKETS];
	while (f && !(is_of(f, feature, id, hash) && waits_for(get, f)))
		f = f->next_by_key;
	return f;
}

/* What only this asker waits for is cancelled. */
static void on_left(struct resolver *s, const struct rt_left *left)
{
	struct get *get = s->gets[hash_mix(left->asked_op) % GET_BUCKETS];
	while (get && !(get->request->op == left->asked_op && ref_eq(get->request->from, left->asker)))
		get = get->next_by_op;
	if (get == NULL)
		return;
	get_unlink(s, get);
	if (get->timer)
		rt_timer_stop(&s->base, get->timer);
	get->timer = 0;
	get->has_left = true;
	get->pending++; /* it stays until the end of this */
	for (uint32_t i = 0; i < get->r->ids_count * get->r->features_count; i++) {
		struct flight *f = get->r->results[i].state == FEATURE_PENDING ? flight_awaited_by(s, get, i) : NULL;
		if (f)
			flight_drop_unwanted(s, f);
	}
	rt_msg_free(s->base.loop, get->request); /* r too */
	get->request = NULL;
	get->r = NULL;
	if (--get->pending == 0)
		get_end(s, get);
}

static void on_refresh(struct resolver *s, struct msg *m)
{
	const struct feature_request *r = ((struct resolver_get *)m)->request;
	for (uint32_t i = 0; i < r->ids_count * r->features_count; i++) {
		uint32_t feature = r->features[i % r->features_count];
		struct str id = r->ids[i / r->features_count];
		if (def_feature_is_computed(&s->nl->node->definitions->features[feature]) &&
		    flight_find(s, feature, id, flight_hash(feature, id)) == NULL)
			flight_join(s, feature, id, 0);
	}
}

/* ---- history ---- */

static size_t entry_bytes(const struct flight *f)
{
	return f->value ? f->value->len + f->id_n + 128 : 0;
}

/* Of the flights from first up to, not including, end. Returns the op of the append. */
static uint64_t landed_append(struct resolver *s, struct flight *first, const struct flight *end, size_t values_count)
{
	struct loop *loop = s->base.loop;
	struct values_cell *cells = calloc(values_count, sizeof *cells);
	CHECK(cells != NULL);
	size_t count = 0;
	for (const struct flight *f = first; f != end; f = f->next)
		if (f->value)
			cells[count++] = cell_of(f);
	struct evidence_entry *e = values_entry_new(s->nl->node, &(struct values_write){ .entity = s->entity,
											 .source = ENTRY_COMPUTED,
											 .cells = cells,
											 .count = count });
	CHECK(e != NULL);
	free(cells);
	return rt_ask(&s->base, evidence_appender(&s->nl->node->stores->evidence, loop),
		      &evidence_append_new(loop, e)->head, loop_mono_ns(loop) + APPEND_TIMEOUT_MS * 1000000ull,
		      ACTOR_NONE);
}

static void batch_link(struct resolver *s, struct batch *batch)
{
	batch->next = NULL;
	*s->batches_end = batch;
	s->batches_end = &batch->next;
}

static struct batch *batch_new(struct resolver *s)
{
	struct batch *batch = calloc(1, sizeof *batch);
	CHECK(batch != NULL);
	batch_link(s, batch);
	return batch;
}

/* Sends all that has landed to the ledger, in entries of bounded size. */
static void append_landed(struct resolver *s)
{
	for (struct flight *first = s->landed, *end; first; first = end) {
		size_t bytes = 0, count = 0;
		for (end = first; end && (bytes == 0 || bytes + entry_bytes(end) <= ENTRY_BYTES_MAX); end = end->next) {
			bytes += entry_bytes(end);
			count += end->value != NULL;
		}
		if (count == 0)
			continue;
		struct batch *batch = batch_new(s);
		for (struct flight *f = first; f != end; f = f->next)
			f->batch = batch;
		batch->op = landed_append(s, first, end, count);
	}
}

static void resolver_on_turn_end(struct actor *a)
{
	struct resolver *s = (struct resolver *)a;
	append_landed(s);
	struct flight *f = s->landed;
	s->landed = NULL;
	s->landed_end = &s->landed;
	for (struct flight *next; f; f = next) {
		next = f->next;
		flight_measure(s, f);
		flight_answer(s, f);
		if (f->value == NULL || ttl_us(s, f->feature) == 0) {
			flight_end(s, f);
			continue;
		}
		f->state = APPENDED;
		count_appended(s, f, 1);
		f->next = f->batch->flights;
		f->batch->flights = f;
	}
	ask_queued(s);
}

static struct batch *take_batch(struct resolver *s, uint64_t op)
{
	struct batch **at = &s->batches;
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct batch *batch = *at;
	if (batch == NULL)
		return NULL;
	*at = batch->next;
	if (s->batches_end == &batch->next)
		s->batches_end = at;
	return batch;
}

static void note_unrecorded(const struct msg *m)
{
	struct str reason = m->kind == EVIDENCE_APPENDED ? str_from(((const struct evidence_append *)m)->entry->reason)
			    : m->kind == RT_DEADLINE     ? STR("the ledger does not answer")
							 : str_from(rt_error_text(m->status));
	log_line(LOG_ERROR, "resolver", "computed values are missing in the history", LOG_STR("reason", reason));
}

/* The values are used even when they are missing in the history: any write of their event time replaces them. */
static void batch_end(struct resolver *s, struct batch *batch, struct msg *m)
{
	if (publisher_takes(&s->base, s->nl->node, m, 0, &batch->op)) {
		batch->is_publishing = true;
		batch_link(s, batch);
		return;
	}
	bool is_answered = m->kind == EVIDENCE_APPENDED && m->status == RT_OK;
	bool is_recorded = is_answered || batch->is_publishing;
	if (!is_recorded)
		note_unrecorded(m);
	/* It is published too, but for what the table refused: that is computed at each read. */
	size_t refused = is_answered ? values_refused(((const struct evidence_append *)m)->entry) : 0;
	if (refused)
		log_line(LOG_WARNING, "resolver", VALUES_NOT_KEPT, LOG_INT("values", (int64_t)refused));
	for (struct flight *f = batch->flights, *next; f; f = next) {
		next = f->next;
		CHECK(f->waiters == NULL); /* all who waited were answered when it was appended */
		if (!is_recorded)
			flight_publish(s, f);
		flight_end(s, f);
	}
	free(batch);
}

/* ---- the actor ---- */

static void on_failure(struct resolver *s, struct flight *f, const struct msg *m)
{
	f->failure = feature_failure_of(m);
	flight_land(s, f, NULL, feature_failure_text(m));
}

static void resolver_on_message(struct actor *a, struct msg *m)
{
	struct resolver *s = (struct resolver *)a;
	switch (m->kind) {
	case RESOLVER_GET:
		on_get(s, m);
		return;
	case RESOLVER_REFRESH:
		on_refresh(s, m);
		return;
	case RT_LEFT:
		on_left(s, (const struct rt_left *)m);
		return;
	case RT_TIMER: /* a timer that was stopped does not arrive: the get is there */
		get_late(s, (struct get *)(uintptr_t)m->op);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		break;
	}
	struct batch *batch = take_batch(s, m->op);
	if (batch) {
		batch_end(s, batch, m);
		return;
	}
	struct query *query = take_query(s, m->op);
	if (query) {
		on_rows(s, query, m);
		free(query);
		return;
	}
	struct flight *f = take_by_op(s, m->op);
	if (f == NULL)
		return;
	if (m->kind == COMPUTATION_DONE)
		on_computed(s, f, ((struct computation_run *)m)->job);
	else
		on_failure(s, f, m);
}

static int resolver_init(struct actor *a, void *arg)
{
	struct resolver *s = (struct resolver *)a;
	s->nl = ((struct resolver_args *)arg)->nl;
	s->entity = ((struct resolver_args *)arg)->entity;
	s->queued_end = &s->queued;
	s->landed_end = &s->landed;
	s->batches_end = &s->batches;
	return 0;
}

static void flight_abandon(struct actor *a, struct flight *f)
{
	for (struct waiter *w = f->waiters, *next; w; w = next) {
		next = w->next;
		if (--w->get->pending == 0) {
			if (w->get->request)
				rt_msg_free(a->loop, w->get->request);
			free(w->get);
		}
		free(w);
	}
	flight_free(f);
}

/* Whoever still waits gets RT_DOWN from the runtime. */
static void resolver_finish(struct actor *a)
{
	struct resolver *s = (struct resolver *)a;
	for (size_t b = 0; b < FLIGHT_BUCKETS; b++) {
		for (struct flight *f = s->by_key[b], *next; f; f = next) {
			next = f->next_by_key;
			if (f->state == APPENDED)
				count_appended(s, f, -1);
			flight_abandon(a, f);
		}
	}
	for (struct batch *batch = s->batches, *next; batch; batch = next) {
		next = batch->next;
		free(batch);
	}
	for (struct query *q = s->queries, *next; q; q = next) {
		next = q->next;
		free(q);
	}
}

const struct actor_class resolver_class = {
	.name = "resolver",
	.size = sizeof(struct resolver),
	.mailbox_len_max = 8192,
	.hears_leavers = true,
	.init = resolver_init,
	.on_message = resolver_on_message,
	.on_turn_end = resolver_on_turn_end,
	.finish = resolver_finish,
};
