/* assembler.c -- one context for one request.
 *
 *     IDLE --RUN--> LOOKING_UP --not in the cache--> GATHERING --all answers--> COUNTING --total--> RECORDING --durable--> answer
 *               |        |                               ^                                            ^
 *               |        +--in the cache--------------------------------------------------------------+
 *               +--no cache_ttl--------------------------+
 *
 *     GATHERING: what fails or is late is missing; each item says whether it is left out, kept without it, or ends the
 *     request.
 *
 *     Any state: a failure or the deadline is answered, once, and ends it. In RECORDING a record that is not durable is
 *     a 503 without an id (evidence required), or an answer without hashes that says so (best effort). A client that has
 *     gone ends it without an answer.
 *
 * GATHERING asks resolvers and retrievers by the plan of a declarative context, or runs the build function as a
 * computation. Bounds: PLAN_GROUPS_MAX + MATERIAL_CALLS_MAX asks; texts in arenas; counting in slices. */
#include "actors/assembler.h"
#include "actors/arguments.h"
#include "actors/computation.h"
#include "actors/context_cache.h"
#include "actors/plan.h"
#include "actors/recorder.h"
#include "actors/resolver.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <stdlib.h>

enum state {
	IDLE,       /* nothing was asked yet */
	LOOKING_UP, /* cache_op is open */
	GATHERING,  /* the asks of the plan are open, or build_op */
	COUNTING,   /* the next slice is on its way to itself */
	RECORDING,  /* ledger_op is open */
};

/* Kept of the time until the deadline, for writing the answer. */
enum { ANSWER_MARGIN_MS = 20 };

struct assembler {
	struct actor base;
	struct node_loop *nl;
	enum state state;
	struct msg *request; /* the ASSEMBLER_RUN, taken; NULL once answered */
	struct assembly_job *job;
	const struct def_context *context;
	yyjson_doc *args;
	char *cache_key; /* owned; NULL: not cached */
	struct str interaction_ref_json;
	uint64_t started_ns;
	bool from_cache;
	struct plan *plan; /* declarative: in the job's arena */
	uint32_t awaited;  /* answers still to come */
	uint64_t build_op; /* coded */
	uint64_t ledger_op;
	uint64_t cache_op;
	struct material_work work;
};

static void begin(struct assembler *s, struct msg *m);
static void in_looking_up(struct assembler *s, struct msg *m);
static void gather(struct assembler *s);
static void in_gathering(struct assembler *s, struct msg *m);
static void start_counting(struct assembler *s);
static void in_counting(struct assembler *s, struct msg *m);
static void record(struct assembler *s);
static void in_recording(struct assembler *s, struct msg *m);
static void answer(struct assembler *s);
static void fail(struct assembler *s, enum assembly_outcome outcome, struct str error);
static void fail_with(struct assembler *s, enum assembly_outcome outcome, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad_arguments(struct assembler *s, struct str why);

/* Only forward: no state is left for an earlier one. */
static void become(struct assembler *s, enum state next)
{
	CHECK(next > s->state && s->request != NULL);
	s->state = next;
}

static void assembler_on_message(struct actor *a, struct msg *m)
{
	struct assembler *s = (struct assembler *)a;
	if (m->kind == RT_STOP || m->kind == RT_CANCELLED) {
		rt_stop(a); /* the client is gone, or the loop ends: nobody waits for an answer */
		return;
	}
	if (m->kind == ASSEMBLER_RUN) {
		CHECK(s->state == IDLE);
		begin(s, m);
		return;
	}
	if (s->request == NULL)
		return;
	switch (s->state) {
	case IDLE:
		return;
	case LOOKING_UP:
		in_looking_up(s, m);
		return;
	case GATHERING:
		in_gathering(s, m);
		return;
	case COUNTING:
		in_counting(s, m);
		return;
	case RECORDING:
		in_recording(s, m);
		return;
	}
}

/* ---- IDLE ---- */

static void begin(struct assembler *s, struct msg *m)
{
	rt_msg_take(m);
	s->request = m;
	s->job = ((struct assembler_run *)m)->job;
	s->context = &s->nl->node->definitions->contexts[s->job->context];
	s->started_ns = loop_mono_ns(s->base.loop);
	struct json_error error;
	s->args = json_parse(s->job->args_json, JSON_OWN, &error);
	yyjson_val *args = yyjson_doc_get_root(s->args);
	struct buf why = { 0 };
	if (!yyjson_is_obj(args))
		buf_append_lit(&why, "an object is needed");
	if (why.n || !arguments_check(s->context, args, &why)) {
		bad_arguments(s, buf_str(&why));
		buf_finish(&why);
		return;
	}
	if (!recorder_interaction_ref(args, &s->job->arena, &s->interaction_ref_json)) {
		fail(s, ASSEMBLY_BUSY, STR("out of memory"));
		return;
	}
	if (s->context->cache_ttl_ms)
		s->cache_key = context_cache_key(s->context, args);
	if (s->cache_key == NULL) {
		gather(s);
		return;
	}
	become(s, LOOKING_UP);
	s->cache_op = rt_ask(&s->base, rt_named(s->base.loop, NAME_CONTEXT_CACHE),
			     context_cache_get_new(s->base.loop, s->cache_key), m->deadline_ns, m->cancel);
}

/* ---- LOOKING_UP ---- */

static bool is_too_stale(const struct assembler *s, const struct material *m)
{
	int64_t age_us = loop_wall_us(s->base.loop) - m->made_at_us;
	return s->context->max_staleness_ms && age_us / 1000 > s->context->max_staleness_ms;
}

static void in_looking_up(struct assembler *s, struct msg *m)
{
	if (m->op != s->cache_op)
		return;
	struct material *found = m->kind == CONTEXT_CACHE_GOT ? ((struct context_cache_item *)m)->material : NULL;
	if (found == NULL || is_too_stale(s, found)) {
		gather(s); /* a cache that does not answer costs speed, not the answer */
		return;
	}
	s->from_cache = true;
	s->job->material = material_ref(found);
	record(s);
}

/* ---- GATHERING: asking ---- */

static void plan_answered(struct assembler *s);

/* What is late is missing, and the rest must still be counted and recorded: a quarter of the time that is left, at most half
 * a second, is kept for that. Resolvers answer with what they have by then. */
static uint64_t gathering_deadline_ns(const struct assembler *s)
{
	enum { KEPT_NS_MAX = 500000000 };
	uint64_t now_ns = loop_mono_ns(s->base.loop), deadline_ns = s->request->deadline_ns;
	uint64_t kept_ns = deadline_ns > now_ns ? (deadline_ns - now_ns) / 4 : 0;
	return deadline_ns - (kept_ns < KEPT_NS_MAX ? kept_ns : KEPT_NS_MAX);
}

static void gather_by_plan(struct assembler *s)
{
	const struct definitions *d = s->nl->node->definitions;
	struct loop *loop = s->base.loop;
	s->plan = plan_new(d, s->context, yyjson_doc_get_root(s->args), &s->job->arena);
	if (s->plan == NULL) {
		fail(s, ASSEMBLY_BUSY, STR("out of memory"));
		return;
	}
	for (uint32_t i = 0; i < s->plan->groups_count; i++) {
		const char *why = entity_id_error(s->plan->groups[i].entity_id);
		if (why) {
			bad_arguments(s, str_from(why));
			return;
		}
	}
	s->awaited = s->plan->groups_count + s->plan->calls_count + 1;
	uint64_t latest_ns = gathering_deadline_ns(s);
	for (uint32_t i = 0; i < s->plan->groups_count; i++) {
		struct plan_group *g = &s->plan->groups[i];
		struct feature_request *r = feature_request_new(g->entity, &g->entity_id, 1, g->features,
								g->features_count);
		if (r == NULL) {
			fail(s, ASSEMBLY_BUSY, STR("out of memory"));
			return;
		}
		r->answer_by_ns = latest_ns;
		g->op = rt_ask(&s->base, node_resolver(s->nl, g->entity),
			       &resolver_get_new(loop, RESOLVER_GET, r)->head, s->request->deadline_ns,
			       s->request->cancel);
	}
	for (uint32_t i = 0; i < s->plan->calls_count; i++) {
		struct plan_call *c = &s->plan->calls[i];
		c->op = rt_ask(&s->base, node_retriever(s->nl, s->context->items[c->item].retriever),
			       &retriever_get_new(loop, c->args_json)->head, latest_ns, s->request->cancel);
	}
	plan_answered(s); /* the one that stands for sending the asks: a context may need none */
}

static void gather(struct assembler *s)
{
	become(s, GATHERING);
	s->job->material = material_new(s->job->context, loop_wall_us(s->base.loop));
	if (s->job->material == NULL) {
		fail(s, ASSEMBLY_BUSY, STR("out of memory"));
		return;
	}
	if (!s->context->has_build) {
		gather_by_plan(s);
		return;
	}
	struct buf filled = { 0 };
	bool has_defaults = arguments_fill(s->context, yyjson_doc_get_root(s->args), &filled);
	struct computation_job *build = filled.failed
					    ? NULL
					    : computation_job_new(SCRIPT_BUILD, s->job->context,
								  has_defaults ? buf_str(&filled) : s->job->args_json);
	buf_finish(&filled);
	if (build == NULL) {
		fail(s, ASSEMBLY_BUSY, STR("out of memory"));
		return;
	}
	build->asks_until_ns = gathering_deadline_ns(s);
	s->build_op = computation_start(&s->base, s->nl, build, s->request->deadline_ns, s->request->cancel);
}

/* ---- GATHERING: answers ---- */

static bool material_from_job(struct assembler *s, const struct computation_job *build)
{
	struct material *m = s->job->material;
	bool ok = material_add_reads_of(m, build, s->nl->node->definitions);
	for (uint32_t i = 0; ok && i < build->outcome.items_count; i++) {
		const struct script_item *item = &build->outcome.items[i];
		ok = material_add_item(m, &(struct material_item){
					      .content = item->content,
					      .priority = item->priority,
					      .required = item->required ||
							  build->outcome.is_string, /* a bare text is never cut */
					      .source_id = item->source_id,
					      .last_updated_us = item->last_updated_us });
	}
	return ok;
}

static void built(struct assembler *s, const struct computation_job *build)
{
	const struct script_outcome *o = &build->outcome;
	bool is_late = o->error_kind == SCRIPT_ERROR_DEADLINE;
	if (o->error.p && o->error_kind == SCRIPT_ERROR_ARGUMENTS)
		bad_arguments(s, o->error);
	else if (o->error.p)
		fail(s, is_late ? ASSEMBLY_LATE : ASSEMBLY_FAILED, o->error);
	else if (!material_from_job(s, build))
		fail(s, ASSEMBLY_TOO_LARGE, STR("the context has too many items or reads"));
	else
		start_counting(s);
}

/* Logs what the context does without, with the reasons, which its clients do not see. */
static void log_failures(const struct assembler *s)
{
	const struct definitions *d = s->nl->node->definitions;
	const struct reads *r = s->job->material->reads;
	for (uint32_t i = 0; i < r->failures_count; i++)
		log_line(LOG_WARNING, "assembler", "context without a retriever", LOG_STR("context", s->context->name),
			 LOG_STR("retriever", d->retrievers[r->failures[i].retriever].name),
			 LOG_STR("reason", r->failures[i].reason), LOG_STR("request_id", s->job->request_id));
	for (uint32_t i = 0; i < r->features_count; i++) {
		const struct read_feature *f = &r->features[i];
		if (f->reason.p)
			log_line(LOG_WARNING, "assembler", "context without a feature",
				 LOG_STR("context", s->context->name), LOG_STR("feature", d->features[f->feature].name),
				 LOG_STR("entity_id", f->entity_id), LOG_STR("reason", f->reason),
				 LOG_STR("request_id", s->job->request_id));
	}
}

static void plan_answered(struct assembler *s)
{
	if (--s->awaited)
		return;
	struct buf why = { 0 };
	enum plan_filled filled = plan_fill(s->plan, s->nl->node->definitions, s->job->material, &why);
	if (filled != PLAN_FILLED)
		log_failures(s);
	switch (filled) {
	case PLAN_FILLED:
		start_counting(s);
		break;
	case PLAN_TOO_LARGE:
		fail(s, ASSEMBLY_TOO_LARGE, STR("the context is too large"));
		break;
	case PLAN_ABSENT:
		fail(s, ASSEMBLY_ABSENT, buf_str(&why));
		break;
	case PLAN_FAILED:
		fail(s, ASSEMBLY_UNAVAILABLE, buf_str(&why));
		break;
	case PLAN_LATE:
		fail(s, ASSEMBLY_LATE, buf_str(&why));
		break;
	}
	buf_finish(&why);
}

static struct plan_call *plan_call_of(struct assembler *s, uint64_t op)
{
	for (uint32_t i = 0; i < s->plan->calls_count; i++)
		if (s->plan->calls[i].op == op)
			return &s->plan->calls[i];
	return NULL;
}

static struct plan_group *plan_group_of(struct assembler *s, uint64_t op)
{
	for (uint32_t i = 0; i < s->plan->groups_count; i++)
		if (s->plan->groups[i].op == op)
			return &s->plan->groups[i];
	return NULL;
}

/* The build function has no answer: the request is late, or a bound is reached. */
static void build_failed(struct assembler *s, const struct msg *m)
{
	if (m->kind == RT_DEADLINE)
		fail(s, ASSEMBLY_LATE, STR("the context's function did not answer before the deadline"));
	else
		fail_with(s, ASSEMBLY_BUSY, "the context's function: %s", rt_error_text(m->status));
}

/* The resolver did not answer: what is in memory, and defaults, can still be used. */
static void group_failed(struct assembler *s, struct plan_group *g, const struct msg *m)
{
	g->failure = feature_failure_of(m);
	g->answer = feature_request_new(g->entity, &g->entity_id, 1, g->features, g->features_count);
	for (uint32_t i = 0; g->answer && i < g->features_count; i++) {
		struct feature_result *result = feature_request_result(g->answer, 0, i);
		resolver_answer_at_once(s->nl->node, g->features[i], g->entity_id, loop_wall_us(s->base.loop),
					g->failure, result);
	}
}

static void in_gathering_plan(struct assembler *s, struct msg *m)
{
	struct plan_group *group = plan_group_of(s, m->op);
	struct plan_call *call = group ? NULL : plan_call_of(s, m->op);
	if (group && m->kind == RESOLVER_GOT) {
		group->answer = ((struct resolver_get *)m)->request;
		((struct resolver_get *)m)->request = NULL;
	} else if (group) {
		group_failed(s, group, m);
	} else if (call && m->kind == RETRIEVER_GOT) {
		struct retriever_got *got = (struct retriever_got *)m;
		call->answer = got->retrieved ? retrieved_ref(got->retrieved) : NULL;
		call->failure = got->retrieved ? FEATURE_PENDING : feature_failure_of(m);
		call->error = got->retrieved ? (struct str){ 0 } : arena_dup(&s->job->arena, str_from(got->error));
	} else if (call) {
		call->failure = feature_failure_of(m);
		call->error = feature_failure_text(m);
	} else {
		return;
	}
	plan_answered(s);
}

static void in_gathering(struct assembler *s, struct msg *m)
{
	if (s->plan) {
		in_gathering_plan(s, m);
		return;
	}
	if (m->op != s->build_op)
		return;
	if (m->kind == COMPUTATION_DONE)
		built(s, ((struct computation_run *)m)->job);
	else
		build_failed(s, m);
}

/* ---- COUNTING ---- */

static void count(struct assembler *s)
{
	switch (material_work_step(&s->work)) {
	case MATERIAL_MORE:
		rt_send(s->base.loop, s->base.self, rt_msg_new(s->base.loop, ASSEMBLER_MORE));
		return;
	case MATERIAL_NO_MEMORY:
		fail(s, ASSEMBLY_TOO_LARGE, STR("the context is too large"));
		return;
	case MATERIAL_DONE:
		break;
	}
	const struct material *m = s->job->material;
	if (m->budget_exceeded && s->context->budget_fail)
		fail_with(
		    s, ASSEMBLY_OVER_BUDGET,
		    "Context '%.*s' exceeds its token budget: required items need %lld tokens, max_tokens is %lld",
		    STR_ARG(s->context->name), (long long)m->tokens, (long long)s->context->max_tokens);
	else
		record(s);
}

static void start_counting(struct assembler *s)
{
	become(s, COUNTING);
	material_work_begin(&s->work, s->job->material, node_tokens(s->nl->node, s->context->model), s->nl->tokens,
			    s->context->max_tokens);
	count(s);
}

static void in_counting(struct assembler *s, struct msg *m)
{
	if (m->kind != ASSEMBLER_MORE)
		return;
	if (loop_mono_ns(s->base.loop) >= s->request->deadline_ns)
		fail(s, ASSEMBLY_LATE, STR("not assembled before the deadline"));
	else
		count(s);
}

/* ---- RECORDING ---- */

static void count_metrics(struct assembler *s)
{
	const struct context_metrics *metrics = &s->nl->node->metrics.contexts[s->job->context];
	const struct record *r = &s->job->record;
	int64_t stalest_ms = 0;
	for (size_t i = 0; i < r->features_count; i++)
		if (r->features[i].freshness_ms > stalest_ms)
			stalest_ms = r->features[i].freshness_ms;
	if (stalest_ms > 0)
		metrics_observe(metrics->stalest_seconds, (double)stalest_ms / 1000.0);
	for (size_t i = 0; i < r->assembly.freshness_violations_count; i++)
		metrics_add(node_metrics_violation(&s->nl->node->metrics, s->nl->node->definitions, s->job->context,
						   r->assembly.freshness_violations[i]),
			    1);
	metrics_add(r->assembly.freshness_status == RECORD_DEGRADED ? metrics->degraded : metrics->guaranteed, 1);
	metrics_add(metrics->tokens, (uint64_t)r->token_count);
	if (s->from_cache)
		metrics_add(metrics->cache_hit, 1);
}

static uint64_t evidence_deadline_ns(const struct assembler *s)
{
	const struct node *n = s->nl->node;
	uint64_t margin_ns = ANSWER_MARGIN_MS * 1000000ull;
	uint64_t latest = s->request->deadline_ns;
	latest = latest > margin_ns ? latest - margin_ns : latest;
	if (n->evidence_required)
		return latest;
	uint64_t patience = loop_mono_ns(s->base.loop) + n->evidence_timeout_ms * 1000000ull;
	return patience < latest ? patience : latest;
}

static void keep_in_cache(struct assembler *s)
{
	if (s->cache_key == NULL || s->from_cache || !s->nl->node->include_content ||
	    reads_are_transient(s->job->material->reads))
		return;
	int64_t expires_us = s->job->material->made_at_us + s->context->cache_ttl_ms * 1000;
	rt_send(s->base.loop, rt_named(s->base.loop, NAME_CONTEXT_CACHE),
		context_cache_put_new(s->base.loop, s->cache_key, s->job->material, expires_us));
}

static void record(struct assembler *s)
{
	struct assembly_job *job = s->job;
	struct recorder_request q = { .args_json = job->args_json,
				      .interaction_ref_json = s->interaction_ref_json,
				      .is_cached = s->from_cache,
				      .started_ns = s->started_ns };
	if (!recorder_fill(s->nl, job->material, &q, &job->arena, &job->record, &job->extras)) {
		fail(s, ASSEMBLY_TOO_LARGE, STR("the context is too large to record"));
		return;
	}
	count_metrics(s);
	if (!s->from_cache)
		log_failures(s);
	if (s->context->freshness_strict) {
		struct str why = recorder_freshness_error(s->nl->node, &job->record, &job->extras, &job->arena);
		if (why.p) {
			fail(s, ASSEMBLY_FAILED, why);
			return;
		}
	}
	struct evidence_entry *entry = recorder_entry(&job->record, &job->extras);
	if (entry == NULL) {
		fail(s, ASSEMBLY_TOO_LARGE, STR("the context is too large to record"));
		return;
	}
	become(s, RECORDING);
	s->ledger_op = rt_ask(&s->base, evidence_appender(&s->nl->node->stores->evidence, s->base.loop),
			      &evidence_append_new(s->base.loop, entry)->head, evidence_deadline_ns(s),
			      s->request->cancel);
}

static void recorded(struct assembler *s, struct evidence_entry *entry)
{
	metrics_add(s->nl->node->metrics.evidence_success, 1);
	s->job->stamp = entry->stamp;
	s->job->persisted = true;
	if (entry->previous_context_id[0])
		s->job->record.integrity.previous_context_id = arena_dup(&s->job->arena,
									 str_from(entry->previous_context_id));
	keep_in_cache(s);
	s->job->outcome = ASSEMBLY_OK;
	answer(s);
}

static void not_recorded(struct assembler *s, int status, struct str why)
{
	metrics_add(s->nl->node->metrics.evidence_failure, 1);
	log_line(LOG_ERROR, "assembler", "record is not durable", LOG_STR("context", s->context->name),
		 LOG_STR("reason", why), LOG_STR("request_id", s->job->request_id));
	if (s->nl->node->evidence_required) {
		/* What is late is said so whoever notices it first, this actor or its asker: the record may come to be. */
		enum assembly_outcome outcome = status == RT_ETOOBIG     ? ASSEMBLY_TOO_LARGE
						: status == RT_EDEADLINE ? ASSEMBLY_LATE
									 : ASSEMBLY_NO_EVIDENCE;
		fail_with(s, outcome, "Failed to persist CRS-001 record: %.*s", STR_ARG(why));
		return;
	}
	s->job->evidence_error = arena_dup(&s->job->arena, why);
	s->job->outcome = ASSEMBLY_OK;
	answer(s);
}

static struct str refusal_text(const struct msg *m)
{
	if (m->kind == RT_DEADLINE)
		return STR("the ledger did not confirm in time");
	return str_from(rt_error_text(m->status));
}

static void in_recording(struct assembler *s, struct msg *m)
{
	if (m->op != s->ledger_op)
		return;
	if (m->kind != EVIDENCE_APPENDED) {
		not_recorded(s, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, refusal_text(m));
		return;
	}
	struct evidence_entry *entry = ((struct evidence_append *)m)->entry;
	if (m->status == RT_OK)
		recorded(s, entry);
	else
		not_recorded(s, m->status,
			     entry->reason[0] ? str_from(entry->reason) : str_from(rt_error_text(m->status)));
}

/* ---- the end ---- */

static void answer(struct assembler *s)
{
	struct context_metrics *metrics = &s->nl->node->metrics.contexts[s->job->context];
	metrics_add(s->job->outcome == ASSEMBLY_OK ? metrics->success : metrics->failure, 1);
	metrics_observe(metrics->seconds, (double)(loop_mono_ns(s->base.loop) - s->started_ns) / 1e9);

	plan_finish(s->plan); /* it lives in the job's arena, which leaves now */
	s->plan = NULL;
	struct assembler_run *reply = rt_msg_new(s->base.loop, ASSEMBLER_DONE);
	struct msg *request = s->request;
	reply->head.dispose = request->dispose;
	reply->job = s->job;
	((struct assembler_run *)request)->job = NULL;
	s->request = NULL;
	s->job = NULL;
	rt_reply(&s->base, request, &reply->head);
	rt_stop(&s->base);
}

static void fail(struct assembler *s, enum assembly_outcome outcome, struct str error)
{
	s->job->outcome = outcome;
	s->job->error = arena_dup(&s->job->arena, error);
	if (s->job->error.p == NULL)
		s->job->error = STR("out of memory");
	if (outcome != ASSEMBLY_BAD_ARGUMENTS)
		log_line(LOG_WARNING, "assembler", "context failed", LOG_STR("context", s->context->name),
			 LOG_STR("reason", s->job->error), LOG_STR("request_id", s->job->request_id));
	answer(s);
}

static void fail_with(struct assembler *s, enum assembly_outcome outcome, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	size_t n = text_vprintf(text, sizeof text, format, args);
	va_end(args);
	fail(s, outcome, str_of(text, n));
}

static void bad_arguments(struct assembler *s, struct str why)
{
	fail_with(s, ASSEMBLY_BAD_ARGUMENTS, "Invalid arguments for context '%.*s': %.*s", STR_ARG(s->context->name),
		  STR_ARG(why));
}

static int assembler_init(struct actor *a, void *arg)
{
	((struct assembler *)a)->nl = arg;
	return 0;
}

static void assembler_finish(struct actor *a)
{
	struct assembler *s = (struct assembler *)a;
	plan_finish(s->plan);
	material_work_finish(&s->work);
	yyjson_doc_free(s->args);
	free(s->cache_key);
	if (s->request)
		rt_msg_free(a->loop, s->request);
}

static const struct actor_class assembler_class = {
	.name = "assembler",
	.size = sizeof(struct assembler),
	.mailbox_len_max = 8,
	.init = assembler_init,
	.on_message = assembler_on_message,
	.finish = assembler_finish,
};

/* ---- starting one ---- */

struct assembly_job *assembly_job_new(uint32_t context, struct str args_json, struct str request_id)
{
	struct assembly_job *job = calloc(1, sizeof *job);
	if (job == NULL)
		return NULL;
	job->context = context;
	job->args_json = arena_dup(&job->arena, args_json);
	if (request_id.p)
		job->request_id = arena_dup(&job->arena, request_id);
	if (job->args_json.p)
		return job;
	assembly_job_free(job);
	return NULL;
}

void assembly_job_free(struct assembly_job *job)
{
	if (job == NULL)
		return;
	material_unref(job->material);
	arena_finish(&job->arena);
	free(job);
}

struct str assembly_content(const struct assembly_job *job)
{
	return job->material->content;
}

static void run_dispose(struct msg *m)
{
	assembly_job_free(((struct assembler_run *)m)->job);
}

uint64_t assembler_start(struct actor *asker, struct node_loop *nl, struct assembly_job *job, uint64_t deadline_ns,
			 struct actor_ref cancel)
{
	struct assembler_run *m = rt_msg_new(asker->loop, ASSEMBLER_RUN);
	m->head.dispose = run_dispose;
	m->job = job;
	return rt_spawn_ask(asker, &assembler_class, nl, &m->head, deadline_ns, cancel);
}
MSG_SIZE_CHECK(assembler_run);
