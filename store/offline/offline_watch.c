#include "store/offline/offline_watch.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include <pthread.h>
#include <signal.h>
#include <time.h>

static const uint64_t TICK_NS = OFFLINE_WATCH_TICK_MS * 1000000ull;

struct offline_watch {
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below; held while interrupting, so that disarm means disarmed */
	pthread_cond_t wake;
	struct dlist armed;
	bool is_asleep, is_stopping;
	void (*slow)(void *arg);
	void *arg; /* borrows */
};

/* Returns when to look again. */
static uint64_t look(struct offline_watch *w, uint64_t now_ns)
{
	uint64_t next_ns = now_ns + TICK_NS;
	bool has_slow = false;
	for (struct dlist *at = w->armed.next; at != &w->armed; at = at->next) {
		struct offline_watched *q = CONTAINER_OF(at, struct offline_watched, link);
		has_slow |= now_ns - q->armed_ns >= TICK_NS;
		if (q->deadline_ns <= now_ns) {
			q->was_interrupted = true;
			duckdb_interrupt(q->connection);
		} else if (q->deadline_ns < next_ns) {
			next_ns = q->deadline_ns;
		}
	}
	if (has_slow)
		w->slow(w->arg);
	return next_ns;
}

static void *watch_main(void *arg)
{
	struct offline_watch *w = arg;
	pthread_mutex_lock(&w->lock);
	while (!w->is_stopping) {
		if (dlist_is_empty(&w->armed)) {
			w->is_asleep = true;
			pthread_cond_wait(&w->wake, &w->lock);
			w->is_asleep = false;
			continue;
		}
		uint64_t next_ns = look(w, clock_mono_ns());
		struct timespec next = { .tv_sec = (time_t)(next_ns / 1000000000),
					 .tv_nsec = (long)(next_ns % 1000000000) };
		pthread_cond_timedwait(&w->wake, &w->lock, &next);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

struct offline_watch *offline_watch_create(void (*slow)(void *arg), void *arg)
{
	struct offline_watch *w = calloc(1, sizeof *w);
	CHECK(w != NULL);
	w->slow = slow;
	w->arg = arg;
	dlist_init(&w->armed);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&w->lock, NULL);
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before); /* signals belong to the main thread */
	int error = pthread_create(&w->thread, NULL, watch_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error == 0) {
		pthread_setname_np(w->thread, "duckdb-watch");
		return w;
	}
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return NULL;
}

void offline_watch_destroy(struct offline_watch *w)
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	CHECK(dlist_is_empty(&w->armed));
	w->is_stopping = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void offline_watch_arm(struct offline_watch *w, struct offline_watched *q, duckdb_connection connection,
		       uint64_t deadline_ns)
{
	*q = (struct offline_watched){ .connection = connection,
				       .deadline_ns = deadline_ns,
				       .armed_ns = clock_mono_ns() };
	pthread_mutex_lock(&w->lock);
	dlist_append(&w->armed, &q->link);
	/* Awake, it looks within a tick anyway: many short queries cost no wake-up each. */
	if (w->is_asleep)
		pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

void offline_watch_end_now(struct offline_watch *w, const struct offline_watched *q)
{
	pthread_mutex_lock(&w->lock);
	for (struct dlist *at = w->armed.next; at != &w->armed; at = at->next) {
		if (CONTAINER_OF(at, struct offline_watched, link) != q)
			continue;
		CONTAINER_OF(at, struct offline_watched, link)->deadline_ns = 0;
		pthread_cond_signal(&w->wake);
	}
	pthread_mutex_unlock(&w->lock);
}

bool offline_watch_disarm(struct offline_watch *w, struct offline_watched *q)
{
	pthread_mutex_lock(&w->lock);
	dlist_remove(&q->link);
	pthread_mutex_unlock(&w->lock);
	return q->was_interrupted;
}
