/* retriever.c -- the answers of one retriever on one loop.
 *
 *     GET: cached, within cache_ttl, and what its run read is unchanged? -> answer now
 *          running already?             -> wait for that run
 *          else                         -> run            query: RUNNING --done--> KEPT (cache_ttl) or forgotten
 *                                                                 --fails--> everyone who waits gets the reason
 *                                                                 --all who wait have left--> the run is cancelled
 *
 * When something that a run read has changed before its end (of what SQL read of the ledger: when anything has taken effect),
 * whoever joined it meanwhile may have asked after the change: one more run, which begins after all of them have asked, serves them (ADR 17).
 *
 * The key of a query is its arguments as JSON with sorted names. Bounds: the mailbox, QUERIES_MAX queries running or kept; the
 * oldest kept one makes room. */
#include "actors/retriever.h"
#include "actors/computation.h"
#include "actors/reads.h"
#include "actors/values.h"
#include "runtime/hash.h"
#include "runtime/log.h"
#include <stdlib.h>

enum { QUERIES_MAX = 4096, BUCKETS = 1024, RUN_TIMEOUT_MS = 10000 };

struct waiter {
	struct waiter *next;
	struct msg *request;
};

struct query {
	struct query *next_in_bucket;
	struct query *older, *newer; /* of all queries, by age */
	uint64_t hash;
	uint64_t op; /* of the run; 0 = kept */
	uint64_t started_ns;
	int64_t started_us, expires_us;
	uint64_t position;           /* of the values when the run began */
	struct retrieved *retrieved; /* shares; NULL while running */
	struct waiter *waiters;      /* asked before the run began: it serves them whatever changes meanwhile */
	struct waiter *joined;       /* asked while it runs */
	size_t key_n;
	char key[];
};

struct retriever {
	struct actor base;
	struct node_loop *nl;
	uint32_t index;
	struct query *buckets[BUCKETS];
	struct query *oldest, *newest;
	uint32_t queries_count;
};

static const struct def_retriever *definition(const struct retriever *t)
{
	return &t->nl->node->definitions->retrievers[t->index];
}

/* ---- the table of queries ---- */

static struct query *query_find(struct retriever *t, struct str key, uint64_t hash)
{
	struct query *q = t->buckets[hash % BUCKETS];
	while (q && !(q->hash == hash && str_eq(str_of(q->key, q->key_n), key)))
		q = q->next_in_bucket;
	return q;
}

static struct query *query_by_op(struct retriever *t, uint64_t op)
{
	struct query *q = t->newest;
	while (q && q->op != op)
		q = q->older;
	return q;
}

static void query_forget(struct retriever *t, struct query *q)
{
	struct query **at = &t->buckets[q->hash % BUCKETS];
	while (*at != q)
		at = &(*at)->next_in_bucket;
	*at = q->next_in_bucket;
	*(q->older ? &q->older->newer : &t->oldest) = q->newer;
	*(q->newer ? &q->newer->older : &t->newest) = q->older;
	t->queries_count--;
	retrieved_unref(q->retrieved);
	free(q);
}

/* NULL: everything in the table is running. */
static struct query *query_add(struct retriever *t, struct str key, uint64_t hash)
{
	for (struct query *q = t->oldest, *newer; t->queries_count >= QUERIES_MAX && q; q = newer) {
		newer = q->newer;
		if (q->op == 0)
			query_forget(t, q);
	}
	struct query *q = t->queries_count < QUERIES_MAX ? calloc(1, sizeof *q + key.n) : NULL;
	if (q == NULL)
		return NULL;
	q->hash = hash;
	q->key_n = key.n;
	memcpy(q->key, key.p, key.n);
	q->next_in_bucket = t->buckets[hash % BUCKETS];
	t->buckets[hash % BUCKETS] = q;
	q->older = t->newest;
	*(t->newest ? &t->newest->newer : &t->oldest) = q;
	t->newest = q;
	t->queries_count++;
	return q;
}

/* ---- answers ---- */

static void run(struct retriever *t, struct query *q, struct waiter *waiters);

static bool is_current(const struct retriever *t, const struct query *q, const struct retrieved *r)
{
	return r->reads == NULL || reads_are_current(r->reads, t->nl->node, q->started_us, loop_wall_us(t->base.loop));
}

static void answer_waiters(struct retriever *t, struct waiter *w, struct retrieved *r, int status, const char *error)
{
	for (struct waiter *next; w; w = next) {
		next = w->next;
		rt_reply(&t->base, w->request, &retriever_got_new(t->base.loop, r, status, error)->head);
		free(w);
	}
}

static void refuse_waiters(struct retriever *t, struct waiter *w)
{
	for (struct waiter *next; w; w = next) {
		next = w->next;
		rt_refuse(&t->base, w->request, RT_EFULL);
		free(w);
	}
}

static void run_failed(struct retriever *t, struct query *q, int status, const char *error)
{
	struct waiter *waiters = q->waiters, *joined = q->joined;
	log_line(LOG_ERROR, "retriever", "retriever failed", LOG_STR("retriever", definition(t)->name),
		 LOG_CSTR("reason", error));
	query_forget(t, q);
	answer_waiters(t, waiters, NULL, status, error);
	answer_waiters(t, joined, NULL, status, error);
}

/* The chunks that a run gave. NULL: *ret_why. */
static struct retrieved *chunks_of(struct retriever *t, const struct query *q, const struct computation_job *job,
				   const char **ret_why)
{
	struct loop *loop = t->base.loop;
	double latency_ms = (double)(loop_mono_ns(loop) - q->started_ns) / 1e6;
	bool ok;
	struct reads *reads = computation_reads_of(job, t->nl->node->definitions, &ok);
	*ret_why = "the function reads too many features or retrievers";
	struct retrieved *r = ok ? retrieved_new(t->index, str_of(q->key, q->key_n), job->outcome.value_json,
						 definition(t)->top_k, loop_wall_us(loop), latency_ms, ret_why)
				 : NULL;
	if (r)
		retrieved_set_reads(r, reads);
	else
		reads_unref(reads);
	return r;
}

static void run_ended(struct retriever *t, struct query *q, const struct computation_job *job)
{
	const struct script_outcome *o = &job->outcome;
	if (o->error.p) {
		run_failed(t, q, o->error_kind == SCRIPT_ERROR_DEADLINE ? RT_EDEADLINE : RT_EIO, o->error.p);
		return;
	}
	const char *why;
	struct retrieved *r = chunks_of(t, q, job, &why);
	if (r == NULL) {
		char text[200];
		text_printf(text, sizeof text, "retriever '%.*s': %s", STR_ARG(definition(t)->name), why);
		run_failed(t, q, RT_EIO, text);
		return;
	}
	struct waiter *waiters = q->waiters, *joined = q->joined;
	bool current = is_current(t, q, r);
	q->op = 0;
	q->waiters = q->joined = NULL;
	answer_waiters(t, waiters, r, RT_OK, NULL);
	if (joined && (!current || reads_may_miss_writes(r->reads, t->nl->node, q->position))) {
		retrieved_unref(r);
		run(t, q, joined);
		return;
	}
	answer_waiters(t, joined, r, RT_OK, NULL);
	int64_t ttl_us = definition(t)->cache_ttl_ms * 1000;
	if (ttl_us && current && (r->reads == NULL || !reads_are_transient(r->reads))) {
		q->retrieved = r;
		q->expires_us = r->made_at_us + ttl_us;
	} else {
		retrieved_unref(r);
		query_forget(t, q);
	}
}

/* ---- requests ---- */

/* Begins a run of the query for those who wait. Without memory they are refused, and the query is gone. */
static void run(struct retriever *t, struct query *q, struct waiter *waiters)
{
	struct computation_job *job = computation_job_new(SCRIPT_RETRIEVE, t->index, str_of(q->key, q->key_n));
	if (job == NULL) {
		query_forget(t, q);
		refuse_waiters(t, waiters);
		return;
	}
	/* Shared by all who join it, so that it has no cancel token and a deadline of its own. */
	uint64_t latest_ns = loop_mono_ns(t->base.loop) + RUN_TIMEOUT_MS * 1000000ull;
	q->waiters = waiters;
	q->started_ns = loop_mono_ns(t->base.loop);
	q->started_us = loop_wall_us(t->base.loop);
	q->position = values_position(t->nl->node);
	q->op = computation_start(&t->base, t->nl, job, latest_ns, ACTOR_NONE);
}

/* Owns m. */
static void on_get(struct retriever *t, struct msg *m)
{
	struct str key = str_from(((struct retriever_get *)m)->args_json);
	uint64_t hash = hash64(key);
	struct query *q = query_find(t, key, hash);
	if (q && q->op == 0) {
		if (loop_wall_us(t->base.loop) < q->expires_us && is_current(t, q, q->retrieved)) {
			rt_reply(&t->base, m, &retriever_got_new(t->base.loop, q->retrieved, RT_OK, NULL)->head);
			return;
		}
		query_forget(t, q);
		q = NULL;
	}
	struct waiter *w = malloc(sizeof *w);
	struct query *added = q || w == NULL ? NULL : query_add(t, key, hash);
	if (w == NULL || (q == NULL && added == NULL)) {
		free(w);
		rt_refuse(&t->base, m, RT_EFULL);
		return;
	}
	*w = (struct waiter){ q ? q->joined : NULL, m };
	if (q)
		q->joined = w;
	else
		run(t, added, w);
}

/* Of a waiter who has left the list; true: it was in it. */
static bool waiter_drop(struct retriever *t, struct waiter **at, const struct rt_left *left)
{
	for (; *at; at = &(*at)->next) {
		struct waiter *w = *at;
		if (w->request->op != left->asked_op || !ref_eq(w->request->from, left->asker))
			continue;
		*at = w->next;
		rt_msg_free(t->base.loop, w->request);
		free(w);
		return true;
	}
	return false;
}

/* A run that nobody waits for any more ends. */
static void on_left(struct retriever *t, const struct rt_left *left)
{
	for (struct query *q = t->newest, *older; q; q = older) {
		older = q->older;
		if (q->op == 0 || (!waiter_drop(t, &q->waiters, left) && !waiter_drop(t, &q->joined, left)))
			continue;
		if (q->waiters == NULL && q->joined == NULL) {
			rt_ask_cancel(&t->base, q->op);
			query_forget(t, q);
		}
		return;
	}
}

static void retriever_on_message(struct actor *a, struct msg *m)
{
	struct retriever *t = (struct retriever *)a;
	if (m->kind == RETRIEVER_GET) {
		rt_msg_take(m);
		on_get(t, m);
		return;
	}
	if (m->kind == RT_LEFT) {
		on_left(t, (const struct rt_left *)m);
		return;
	}
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	struct query *q = m->op ? query_by_op(t, m->op) : NULL;
	if (q == NULL)
		return;
	if (m->kind == COMPUTATION_DONE) {
		run_ended(t, q, ((struct computation_run *)m)->job);
		return;
	}
	if (m->kind == RT_DEADLINE)
		run_failed(t, q, RT_EDEADLINE, "no answer before the deadline");
	else
		run_failed(t, q, m->status == RT_EFULL ? RT_EFULL : RT_EIO, rt_error_text(m->status));
}

static int retriever_init(struct actor *a, void *arg)
{
	struct retriever *t = (struct retriever *)a;
	t->nl = ((struct retriever_args *)arg)->nl;
	t->index = ((struct retriever_args *)arg)->retriever;
	return 0;
}

static void waiters_free(struct loop *loop, struct waiter *w)
{
	for (struct waiter *next; w; w = next) {
		next = w->next;
		rt_msg_free(loop, w->request);
		free(w);
	}
}

/* Whoever still waits gets RT_DOWN from the runtime. */
static void retriever_finish(struct actor *a)
{
	struct retriever *t = (struct retriever *)a;
	while (t->oldest) {
		waiters_free(a->loop, t->oldest->waiters);
		waiters_free(a->loop, t->oldest->joined);
		query_forget(t, t->oldest);
	}
}

const struct actor_class retriever_class = {
	.name = "retriever",
	.size = sizeof(struct retriever),
	.mailbox_len_max = 8192,
	.hears_leavers = true,
	.init = retriever_init,
	.on_message = retriever_on_message,
	.finish = retriever_finish,
};
