/* retriever.c -- the answers of one retriever on one loop.
 *
 *     GET: cached and within cache_ttl? -> answer now
 *          running already?             -> wait for that run
 *          else                         -> run            query: RUNNING --done--> KEPT (cache_ttl) or forgotten
 *                                                                 --fails--> everyone who waits gets the reason
 *
 * The key of a query is its arguments as JSON with sorted names. Bounds: the mailbox, QUERIES_MAX queries running or kept; the
 * oldest kept one makes room. */
#include "actors/retriever.h"
#include "actors/computation.h"
#include "runtime/hash.h"
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
	int64_t expires_us;
	struct retrieved *retrieved; /* shares; NULL while running */
	struct waiter *waiters;
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

static void answer(struct retriever *t, struct msg *request, struct retrieved *r, const char *error)
{
	rt_reply(&t->base, request, &retriever_got_new(t->base.loop, r, error)->head);
}

static void answer_waiters(struct retriever *t, struct query *q, struct retrieved *r, const char *error)
{
	for (struct waiter *w = q->waiters, *next; w; w = next) {
		next = w->next;
		answer(t, w->request, r, error);
		free(w);
	}
	q->waiters = NULL;
}

static void run_ended(struct retriever *t, struct query *q, const struct computation_job *job)
{
	struct loop *loop = t->base.loop;
	const struct def_retriever *d = definition(t);
	q->op = 0;
	const char *why = NULL;
	struct retrieved *r = NULL;
	if (job->outcome.error.p) {
		why = job->outcome.error.p; /* NUL-terminated: it is in an arena */
	} else {
		double latency_ms = (double)(loop_mono_ns(loop) - q->started_ns) / 1e6;
		r = retrieved_new(t->index, str_of(q->key, q->key_n), job->outcome.value_json, d->top_k,
				  loop_wall_us(loop), latency_ms, &why);
	}
	answer_waiters(t, q, r, r ? NULL : why);
	if (r && d->cache_ttl_ms) {
		q->retrieved = r;
		q->expires_us = r->made_at_us + d->cache_ttl_ms * 1000;
		return;
	}
	retrieved_unref(r);
	query_forget(t, q);
}

/* ---- requests ---- */

static void on_get(struct retriever *t, struct msg *m)
{
	struct str key = str_from(((struct retriever_get *)m)->args_json);
	uint64_t hash = hash64(key);
	struct query *q = query_find(t, key, hash);
	rt_msg_take(m);
	if (q && q->op == 0 && loop_wall_us(t->base.loop) < q->expires_us) {
		answer(t, m, q->retrieved, NULL);
		return;
	}
	if (q && q->op == 0) {
		query_forget(t, q);
		q = NULL;
	}
	if (q == NULL) {
		struct computation_job *job = computation_job_new(SCRIPT_RETRIEVE, t->index, key);
		q = job ? query_add(t, key, hash) : NULL;
		if (q == NULL) {
			computation_job_free(job);
			rt_refuse(&t->base, m, RT_EFULL);
			return;
		}
		/* The run serves everyone who joins it, so that it has no cancel token and a deadline of its own. */
		uint64_t latest_ns = loop_mono_ns(t->base.loop) + RUN_TIMEOUT_MS * 1000000ull;
		q->started_ns = loop_mono_ns(t->base.loop);
		q->op = computation_start(&t->base, t->nl, job, latest_ns, ACTOR_NONE);
	}
	struct waiter *w = malloc(sizeof *w);
	if (w == NULL) {
		rt_refuse(&t->base, m, RT_EFULL);
		return;
	}
	*w = (struct waiter){ q->waiters, m };
	q->waiters = w;
}

static void retriever_on_message(struct actor *a, struct msg *m)
{
	struct retriever *t = (struct retriever *)a;
	if (m->kind == RETRIEVER_GET) {
		on_get(t, m);
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
	answer_waiters(t, q, NULL, m->kind == RT_DEADLINE ? "no answer before the deadline" : rt_error_text(m->status));
	query_forget(t, q);
}

static int retriever_init(struct actor *a, void *arg)
{
	struct retriever *t = (struct retriever *)a;
	t->nl = ((struct retriever_args *)arg)->nl;
	t->index = ((struct retriever_args *)arg)->retriever;
	return 0;
}

static void retriever_finish(struct actor *a)
{
	struct retriever *t = (struct retriever *)a;
	while (t->oldest) {
		for (struct waiter *w = t->oldest->waiters, *next; w; w = next) {
			next = w->next;
			rt_msg_free(a->loop, w->request);
			free(w);
		}
		query_forget(t, t->oldest);
	}
}

const struct actor_class retriever_class = {
	.name = "retriever",
	.size = sizeof(struct retriever),
	.mailbox_len_max = 8192,
	.init = retriever_init,
	.on_message = retriever_on_message,
	.finish = retriever_finish,
};
