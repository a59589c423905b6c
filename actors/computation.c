/* computation.c -- runs one Lua function to its end.
 *
 *     IDLE --RUN--> RUNNING --slice used up--> RUNNING (MORE, a later turn)
 *                     |  ^
 *       waits for asks|  | the last awaited answer came
 *                     v  |
 *                   WAITING            done, failed, deadline: reply once; stop, or nobody waits for it any more: end
 *                                      -> TIDYING, while ended calls have left much garbage: one for all of a loop -> end
 *
 * A feature or retriever that would wait for itself, over others or not, gets an error for the ask that closes the circle.
 *
 * Bounds: COMPUTATION_READS_MAX asks, the script's own limits, the deadline of the ask that started it. */
#include "actors/computation.h"
#include "actors/table_loader.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "store/offline/offline.h"
#include <stdio.h>
#include <stdlib.h>

enum state {
	IDLE,    /* nothing was asked yet */
	RUNNING, /* a slice is on its way to itself; answers may come */
	WAITING, /* the function goes on when the answers that it awaits are there */
	TIDYING, /* answered; a slice of the collection is on its way to itself */
};

struct pending {         /* one for each read of the job */
	uint64_t op;     /* of our ask; 0 = ended */
	uint32_t ask_id; /* of the script */
	enum script_ask_kind kind;
};

struct computation {
	struct actor base;
	struct node_loop *nl;
	enum state state;
	struct msg *request; /* the COMPUTATION_RUN, taken */
	struct computation_job *job;
	struct script_call *call;
	struct pending *pending; /* at [ask id - 1]; owned, as long as job->reads */
	struct circle_run circle_run;
};

static void begin(struct computation *c, struct msg *m);
static void step(struct computation *c);
static void in_running(struct computation *c, struct msg *m);
static void in_waiting(struct computation *c, struct msg *m);
static void finish_with(struct computation *c, const struct script_outcome *outcome);
static void tidy(struct computation *c);

/* TIDYING is the last; RUNNING and WAITING take turns. */
static void become(struct computation *c, enum state next)
{
	CHECK(c->state != TIDYING && next != IDLE && (next == TIDYING) == (c->request == NULL));
	c->state = next;
}

static void computation_on_message(struct actor *a, struct msg *m)
{
	struct computation *c = (struct computation *)a;
	/* RT_LEFT: nobody waits for it any more; what it has asked for ends with it. */
	if (m->kind == RT_STOP || (m->kind == RT_LEFT && c->state != TIDYING)) {
		rt_stop(a);
		return;
	}
	switch (c->state) {
	case IDLE:
		CHECK(m->kind == COMPUTATION_RUN);
		begin(c, m);
		return;
	case RUNNING:
		in_running(c, m);
		return;
	case WAITING:
		in_waiting(c, m);
		return;
	case TIDYING:
		if (m->kind == COMPUTATION_MORE)
			tidy(c);
		return;
	}
}

/* ---- IDLE ---- */

static const struct script_host script_hooks;

static void begin(struct computation *c, struct msg *m)
{
	rt_msg_take(m);
	c->request = m;
	c->job = ((struct computation_run *)m)->job;
	if (c->job->function == SCRIPT_RETRIEVE ||
	    (c->job->function == SCRIPT_COMPUTE && c->job->event_json.p == NULL)) {
		c->circle_run.self = (struct circle_target){ c->job->function, c->job->index, c->job->args };
		circle_enter(&c->nl->circle, &c->circle_run);
	}
	c->call = script_begin(c->nl->script, c->job->function, c->job->index, c->job->args, c->job->event_json,
			       c->job->previous_json, &script_hooks, c);
	if (c->call == NULL) {
		finish_with(c, &(struct script_outcome){ .error = STR("the script state has no memory left"),
							 .error_kind = SCRIPT_ERROR_LIMIT });
		return;
	}
	step(c);
}

/* ---- RUNNING ---- */

/* A function that ended because an ask of it was late has not failed by itself. */
static bool missed_its_deadline(const struct computation_job *job)
{
	for (uint32_t i = 0; i < job->reads_count; i++)
		if (job->reads[i].failure == FEATURE_TIMEOUT)
			return true;
	return false;
}

static void step(struct computation *c)
{
	struct script_outcome outcome = { 0 };
	switch (script_run(c->call, &outcome)) {
	case SCRIPT_FAILED:
		if (outcome.error_kind == SCRIPT_ERROR_RUN && missed_its_deadline(c->job))
			outcome.error_kind = SCRIPT_ERROR_DEADLINE;
		finish_with(c, &outcome);
		return;
	case SCRIPT_DONE:
		finish_with(c, &outcome);
		return;
	case SCRIPT_WAITING:
		become(c, WAITING);
		return;
	case SCRIPT_MORE:
		become(c, RUNNING);
		/* Others run first: a message to oneself goes to the end of the queue. */
		rt_send(c->base.loop, c->base.self, rt_msg_new(c->base.loop, COMPUTATION_MORE));
		return;
	}
	UNREACHABLE();
}

static void take_answer(struct computation *c, struct msg *m);

/* Answers that come between two slices wait in the call. */
static void in_running(struct computation *c, struct msg *m)
{
	if (m->kind != COMPUTATION_MORE)
		take_answer(c, m);
	else if (loop_mono_ns(c->base.loop) < c->request->deadline_ns)
		step(c);
	else
		finish_with(c, &(struct script_outcome){ .error = STR("stopped at its deadline"),
							 .error_kind = SCRIPT_ERROR_DEADLINE });
}

/* ---- RUNNING: what the function asks of its host ---- */

static uint64_t ask_features(struct computation *c, uint32_t entity, struct str entity_id, const uint32_t *features,
			     uint32_t count)
{
	struct feature_request *r = feature_request_new(entity, &entity_id, 1, features, count);
	if (r == NULL)
		return 0;
	r->answer_by_ns = c->job->asks_until_ns;
	struct resolver_get *m = resolver_get_new(c->base.loop, RESOLVER_GET, r);
	return rt_ask(&c->base, node_resolver(c->nl, entity), &m->head, c->request->deadline_ns, c->request->cancel);
}

static uint64_t asks_until_ns(const struct computation *c)
{
	return c->job->asks_until_ns ? c->job->asks_until_ns : c->request->deadline_ns;
}

static uint64_t ask_retriever(struct computation *c, uint32_t retriever, struct str args_json)
{
	return rt_ask(&c->base, node_retriever(c->nl, retriever), &retriever_get_new(c->base.loop, args_json)->head,
		      asks_until_ns(c), c->request->cancel);
}

static uint64_t ask_sql(struct computation *c, struct str sql, struct str params)
{
	struct offline_query *m = offline_query_new(c->base.loop, sql, params);
	int64_t stale_us = table_loader_stale_since_us(c->nl->node, sql);
	if (stale_us != 0 && (c->job->stale_since_us == 0 || stale_us < c->job->stale_since_us))
		c->job->stale_since_us = stale_us;
	return rt_ask(&c->base, c->nl->node->stores->offline.requests, &m->head, asks_until_ns(c), c->request->cancel);
}

/* Makes room for the read of this ask. Starts small, since most functions ask for little. */
static bool reserve_read(struct computation *c, uint32_t ask_id)
{
	struct computation_job *job = c->job;
	if (ask_id == 0 || ask_id > COMPUTATION_READS_MAX)
		return false;
	if (ask_id <= job->reads_cap)
		return true;
	uint32_t cap = job->reads_cap ? job->reads_cap : 4;
	while (cap < ask_id)
		cap *= 2;
	struct computation_read *reads = arena_zalloc(&job->arena, cap * sizeof *reads);
	struct pending *pending = reads ? realloc(c->pending, cap * sizeof *pending) : NULL;
	if (pending == NULL)
		return false;
	if (job->reads_count)
		memcpy(reads, job->reads, job->reads_count * sizeof *reads);
	memset(pending + job->reads_cap, 0, (cap - job->reads_cap) * sizeof *pending);
	c->pending = pending;
	job->reads = reads;
	job->reads_cap = cap;
	return true;
}

/* The ask is answered from memory, without a run, though a run may be computing a newer value at this moment. */
static bool is_live(const struct computation *c, uint32_t feature, struct str id)
{
	enum { MARGIN_US = 1000000 }; /* until the resolver looks */
	const struct node *n = c->nl->node;
	const struct def_feature *f = &n->definitions->features[feature];
	const struct online_fast *online = n->stores->online.fast;
	struct online_trace trace;
	return !def_feature_is_computed_at_each_read(f) && id.n &&
	       online->trace(online->table, f->entity, id, feature, loop_wall_us(c->base.loop) + MARGIN_US, &trace) &&
	       trace.is_live;
}

/* false: answered, with the reason. */
static bool note_targets(struct computation *c, const struct script_ask *ask, enum script_function function,
			 const uint32_t *indexes, uint32_t count, struct str key)
{
	if (!c->circle_run.is_in)
		return true;
	struct buf why = { 0 };
	enum circle_result result = CIRCLE_NOTED;
	struct circle_target target = { .function = function, .key = arena_dup(&c->job->arena, key) };
	if (target.key.p == NULL)
		result = CIRCLE_NO_MEMORY;
	for (uint32_t i = 0; result == CIRCLE_NOTED && i < count; i++) {
		if (function == SCRIPT_COMPUTE && is_live(c, indexes[i], key))
			continue;
		target.index = indexes[i];
		result = circle_wait_for(&c->nl->circle, &c->circle_run, &target, ask->id, c->nl->node->definitions,
					 &why);
	}
	if (result != CIRCLE_NOTED) {
		circle_answered(&c->circle_run, ask->id);
		script_answer(c->call, ask->id, false,
			      result == CIRCLE_CLOSED && !why.failed ? buf_str(&why) : STR("out of memory"));
	}
	buf_finish(&why);
	return result == CIRCLE_NOTED;
}

static bool note_wait(struct computation *c, const struct script_ask *ask)
{
	switch (ask->kind) {
	case SCRIPT_ASK_FEATURE:
		return note_targets(c, ask, SCRIPT_COMPUTE, &ask->feature, 1, ask->entity_id);
	case SCRIPT_ASK_FEATURES:
		return note_targets(c, ask, SCRIPT_COMPUTE, ask->features, ask->features_count, ask->entity_id);
	case SCRIPT_ASK_RETRIEVE:
		return note_targets(c, ask, SCRIPT_RETRIEVE, &ask->retriever, 1, ask->args_json);
	case SCRIPT_ASK_SQL:
		return true;
	}
	UNREACHABLE();
}

/* Keeps what was asked for, in case the ask fails as a whole: only an answer brings it back. false: no memory. */
static bool note_asked(struct computation *c, const struct script_ask *ask)
{
	struct arena *arena = &c->job->arena;
	struct computation_read *read = &c->job->reads[ask->id - 1];
	const uint32_t *features = ask->kind == SCRIPT_ASK_FEATURE ? &ask->feature : ask->features;
	uint32_t count = ask->kind == SCRIPT_ASK_FEATURE    ? 1
			 : ask->kind == SCRIPT_ASK_FEATURES ? ask->features_count
							    : 0;
	*read = (struct computation_read){ .retriever = ask->kind == SCRIPT_ASK_RETRIEVE ? ask->retriever : DEF_NONE,
					   .is_sql = ask->kind == SCRIPT_ASK_SQL,
					   .is_of_ledger = ask->kind == SCRIPT_ASK_SQL &&
							   offline_sql_reads_ledger(ask->sql) };
	if (ask->id > c->job->reads_count)
		c->job->reads_count = ask->id;
	if (count == 0)
		return true;
	read->entity_id = arena_dup(arena, ask->entity_id);
	read->asked = arena_alloc(arena, count * sizeof *read->asked);
	if (read->entity_id.p == NULL || read->asked == NULL)
		return false;
	memcpy(read->asked, features, count * sizeof *read->asked);
	read->asked_count = count;
	return true;
}

static bool on_script_ask(void *host, struct script_call *call, const struct script_ask *ask)
{
	(void)call;
	struct computation *c = host;
	if (!reserve_read(c, ask->id) || !note_asked(c, ask)) {
		c->job->has_lost_reads = true;
		return false;
	}
	if (!note_wait(c, ask)) {
		c->job->reads[ask->id - 1].failure = FEATURE_FAILED;
		return true;
	}
	uint64_t op = 0;
	const struct definitions *d = c->nl->node->definitions;
	switch (ask->kind) {
	case SCRIPT_ASK_FEATURE:
		op = ask_features(c, d->features[ask->feature].entity, ask->entity_id, &ask->feature, 1);
		break;
	case SCRIPT_ASK_FEATURES:
		op = ask_features(c, ask->entity, ask->entity_id, ask->features, ask->features_count);
		break;
	case SCRIPT_ASK_RETRIEVE:
		op = ask_retriever(c, ask->retriever, ask->args_json);
		break;
	case SCRIPT_ASK_SQL:
		op = ask_sql(c, ask->sql, ask->args_json);
		break;
	}
	c->pending[ask->id - 1] = (struct pending){ op, ask->id, ask->kind };
	if (op == 0)
		c->job->reads[ask->id - 1].failure = FEATURE_REFUSED;
	return op != 0;
}

static void on_script_cancel(void *host, struct script_call *call, uint32_t ask_id)
{
	(void)call;
	struct computation *c = host;
	struct pending *p = &c->pending[ask_id - 1];
	if (p->op)
		rt_ask_cancel(&c->base, p->op);
	p->op = 0;
	circle_answered(&c->circle_run, ask_id);
}

static void on_script_log(void *host, int level, struct str message, struct str fields_json)
{
	(void)host;
	char text[1024];
	text_printf(text, sizeof text, "%.*s", STR_ARG(message));
	if (fields_json.n)
		log_line((enum log_level)level, "definitions", text, LOG_RAW("fields", fields_json));
	else
		log_line((enum log_level)level, "definitions", text);
}

static int64_t on_script_now(void *host)
{
	return loop_wall_us(((struct computation *)host)->base.loop);
}

static const struct script_host script_hooks = {
	.ask = on_script_ask, .cancel = on_script_cancel, .log = on_script_log, .now_us = on_script_now
};

/* ---- RUNNING, WAITING: answers for the function ---- */

/* A context goes on without a feature, and reports that. What other functions return is stored, so a failure must not look like
 * an absence to them. */
static bool raises(const struct computation *c, const struct feature_result *f)
{
	return c->job->function != SCRIPT_BUILD && f->reason.p != NULL;
}

static void answer_feature(struct computation *c, const struct pending *p, const struct feature_result *f)
{
	if (f->state == FEATURE_FOUND)
		script_answer(c->call, p->ask_id, true, value_json(f->value));
	else if (raises(c, f))
		script_answer(c->call, p->ask_id, false, f->reason);
	else
		script_answer_nil(c->call, p->ask_id, f->reason);
}

static void answer_features(struct computation *c, const struct pending *p, const struct feature_request *r)
{
	const struct definitions *d = c->nl->node->definitions;
	struct buf object = { 0 };
	buf_append_char(&object, '{');
	for (uint32_t i = 0; i < r->features_count; i++) {
		if (raises(c, &r->results[i])) {
			script_answer(c->call, p->ask_id, false, r->results[i].reason);
			buf_finish(&object);
			return;
		}
		if (r->results[i].state != FEATURE_FOUND)
			continue;
		if (object.n > 1)
			buf_append_char(&object, ',');
		json_write_string(&object, d->features[r->features[i]].name);
		buf_append_char(&object, ':');
		buf_append(&object, r->results[i].value->json, r->results[i].value->len);
	}
	buf_append_char(&object, '}');
	script_answer(c->call, p->ask_id, !object.failed,
		      object.failed ? STR("the values are too large") : buf_str(&object));
	buf_finish(&object);
}

static struct pending *pending_of(struct computation *c, uint64_t op)
{
	for (uint32_t i = 0; op && i < c->job->reads_count; i++)
		if (c->pending[i].op == op)
			return &c->pending[i];
	return NULL;
}

static const char late_sql[] = "the statement of fabra.sql did not end before the deadline";

static void take_answer(struct computation *c, struct msg *m)
{
	struct pending *p = pending_of(c, m->op);
	if (p == NULL)
		return; /* cancelled meanwhile */
	struct computation_read *read = &c->job->reads[p->ask_id - 1];
	p->op = 0;
	circle_answered(&c->circle_run, p->ask_id);
	switch (m->kind) {
	case RESOLVER_GOT: {
		struct resolver_get *got = (struct resolver_get *)m;
		read->features = got->request;
		got->request = NULL;
		if (p->kind == SCRIPT_ASK_FEATURE)
			answer_feature(c, p, &read->features->results[0]);
		else
			answer_features(c, p, read->features);
		return;
	}
	case RETRIEVER_GOT: {
		struct retriever_got *got = (struct retriever_got *)m;
		if (got->retrieved == NULL) {
			read->failure = feature_failure_of(m);
			read->reason = arena_dup(&c->job->arena, str_from(got->error));
			script_answer(c->call, p->ask_id, false, str_from(got->error));
			return;
		}
		read->retrieved = retrieved_ref(got->retrieved);
		script_answer(c->call, p->ask_id, true, got->retrieved->chunks_json);
		return;
	}
	case OFFLINE_RESULT:
		if (m->status != RT_OK)
			read->failure = feature_failure_of(m);
		script_answer(c->call, p->ask_id, m->status == RT_OK,
			      m->status == RT_EDEADLINE ? str_from(late_sql)
							: buf_str(&((struct offline_result *)m)->json));
		return;
	default: {
		bool is_late_sql = p->kind == SCRIPT_ASK_SQL && m->kind == RT_DEADLINE;
		struct str why = is_late_sql ? str_from(late_sql) : feature_failure_text(m);
		read->failure = feature_failure_of(m);
		read->reason = arena_dup(&c->job->arena, why);
		script_answer(c->call, p->ask_id, false, why);
	}
	}
}

static void in_waiting(struct computation *c, struct msg *m)
{
	take_answer(c, m);
	if (script_ready(c->call))
		step(c);
}

/* ---- the end, TIDYING ---- */

static void outcome_keep(struct computation_job *job, const struct script_outcome *o)
{
	struct arena *a = &job->arena;
	job->outcome = *o;
	if (o->error.p)
		job->outcome.error = arena_dup(a, o->error);
	if (o->value_json.p)
		job->outcome.value_json = arena_dup(a, o->value_json);
	if (o->items_count == 0)
		return;
	struct script_item *items = arena_alloc(a, o->items_count * sizeof *items);
	bool ok = items != NULL;
	for (uint32_t i = 0; ok && i < o->items_count; i++) {
		items[i] = o->items[i];
		items[i].content = arena_dup(a, o->items[i].content);
		if (o->items[i].source_id.p)
			items[i].source_id = arena_dup(a, o->items[i].source_id);
		ok = items[i].content.p != NULL;
	}
	job->outcome.items = items;
	if (!ok)
		job->outcome = (struct script_outcome){ .error = STR("the result is too large"),
							.error_kind = SCRIPT_ERROR_LIMIT };
}

static void finish_with(struct computation *c, const struct script_outcome *outcome)
{
	outcome_keep(c->job, outcome);
	script_end(c->call);
	c->call = NULL;
	circle_leave(&c->nl->circle, &c->circle_run); /* while its texts, which are the job's, are there */
	struct computation_run *reply = rt_msg_new(c->base.loop, COMPUTATION_DONE);
	reply->head.dispose = c->request->dispose;
	reply->job = c->job;
	((struct computation_run *)c->request)->job = NULL;
	struct msg *request = c->request;
	c->request = NULL;
	c->job = NULL;
	rt_reply(&c->base, request, &reply->head);
	tidy(c);
}

/* Calls that took much memory leave garbage: the next one would have to wait for its collection, or it would stay. */
static void tidy(struct computation *c)
{
	if ((c->state != TIDYING && c->nl->is_tidying) || script_collect(c->nl->script)) {
		rt_stop(&c->base);
		return;
	}
	if (c->state != TIDYING)
		become(c, TIDYING);
	c->nl->is_tidying = true;
	rt_send(c->base.loop, c->base.self, rt_msg_new(c->base.loop, COMPUTATION_MORE));
}

static int computation_init(struct actor *a, void *arg)
{
	((struct computation *)a)->nl = arg;
	return 0;
}

/* A request that is still here was not answered: the runtime tells the asker RT_DOWN when the actor is gone. */
static void computation_finish(struct actor *a)
{
	struct computation *c = (struct computation *)a;
	script_end(c->call);
	if (c->state == TIDYING)
		c->nl->is_tidying = false;
	circle_leave(&c->nl->circle, &c->circle_run);
	free(c->pending);
	if (c->request)
		rt_msg_free(a->loop, c->request);
}

static const struct actor_class computation_class = {
	.name = "computation",
	.size = sizeof(struct computation),
	.mailbox_len_max = 8,
	.hears_leavers = true,
	.init = computation_init,
	.on_message = computation_on_message,
	.finish = computation_finish,
};

/* ---- what it read ---- */

bool computation_reads(const struct computation_job *job, const struct definitions *d, struct reads *into)
{
	bool ok = !job->has_lost_reads;
	for (uint32_t i = 0; ok && i < job->reads_count; i++) {
		const struct computation_read *read = &job->reads[i];
		const struct feature_request *r = read->features;
		if (read->retrieved)
			ok = reads_add_call(into, read->retrieved);
		for (uint32_t f = 0; ok && r && f < r->features_count; f++)
			ok = reads_add_result(into, d, r->features[f], r->ids[0], &r->results[f]);
		if (read->is_of_ledger)
			reads_add_ledger(into);
		if (read->failure == FEATURE_PENDING)
			continue;
		if (read->retriever != DEF_NONE)
			ok = ok && reads_add_failure(into, read->retriever, read->failure, read->reason);
		if (read->is_sql)
			reads_add_lost_sql(into);
		for (uint32_t f = 0; ok && f < read->asked_count; f++)
			ok = reads_add_missing(into, read->asked[f], read->entity_id, read->failure, read->reason);
	}
	return ok;
}

struct reads *computation_reads_of(const struct computation_job *job, const struct definitions *d, bool *ret_ok)
{
	*ret_ok = !job->has_lost_reads;
	if (job->reads_count == 0 || job->has_lost_reads)
		return NULL;
	struct reads *all = reads_new();
	*ret_ok = all && computation_reads(job, d, all);
	bool is_empty = *ret_ok && all->features_count + all->calls_count + all->failures_count == 0 &&
			!all->has_lost_sql && !all->has_ledger;
	struct reads *packed = *ret_ok && !is_empty ? reads_pack(all) : NULL;
	*ret_ok = packed || is_empty;
	reads_unref(all);
	return packed;
}

/* ---- starting one ---- */

struct computation_job *computation_job_new(enum script_function function, uint32_t index, struct str args)
{
	struct computation_job *job = calloc(1, sizeof *job);
	if (job == NULL)
		return NULL;
	job->function = function;
	job->index = index;
	job->args = arena_dup(&job->arena, args);
	if (job->args.p == NULL) {
		computation_job_free(job);
		return NULL;
	}
	return job;
}

void computation_job_free(struct computation_job *job)
{
	if (job == NULL)
		return;
	for (uint32_t i = 0; i < job->reads_count; i++) {
		feature_request_free(job->reads[i].features);
		retrieved_unref(job->reads[i].retrieved);
	}
	arena_finish(&job->arena);
	free(job);
}

static void run_dispose(struct msg *m)
{
	computation_job_free(((struct computation_run *)m)->job);
}

uint64_t computation_start(struct actor *asker, struct node_loop *nl, struct computation_job *job, uint64_t deadline_ns,
			   struct actor_ref cancel)
{
	struct computation_run *m = rt_msg_new(asker->loop, COMPUTATION_RUN);
	m->head.dispose = run_dispose;
	m->job = job;
	return rt_spawn_ask(asker, &computation_class, nl, &m->head, deadline_ns, cancel);
}
MSG_SIZE_CHECK(computation_run);
