/* The helper thread, for background work: it seals, retires and preallocates.
 *
 * It runs at a low priority, not at idle priority: it needs 30 ms of CPU for 64 MiB of zeros, and on a busy
 * machine an idle thread does not get them before the open segment is full. */
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/log.h"
#include "store/ledger/ledger_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NICENESS = 10, CALM_NS = 50000000 };
static const uint64_t RETRY_NS = 1000000000, QUICK_NS = 10000000000;

/* ---- two stacks: any pusher, one taker who takes all ---- */
static void push(_Atomic(struct ledger_job *) *stack, struct ledger_job *job)
{
	job->next = atomic_load(stack);
	while (!atomic_compare_exchange_weak(stack, &job->next, job))
		;
}

static struct ledger_job *take_all(_Atomic(struct ledger_job *) *stack)
{
	struct ledger_job *newest = atomic_exchange(stack, NULL), *oldest = NULL;
	while (newest != NULL) {
		struct ledger_job *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

bool ledger_helper_push(struct ledger *l, int kind, struct ledger_segment *segment)
{
	struct ledger_job *job = calloc(1, sizeof *job);
	if (job == NULL)
		return false;
	atomic_fetch_add(&segment->refs, 1);
	job->kind = kind;
	job->segment = segment;
	push(&l->helper.todo, job);
	ledger_helper_wake(l);
	return true;
}

struct ledger_job *ledger_helper_collect(struct ledger *l)
{
	return take_all(&l->helper.done);
}

void ledger_helper_wake(struct ledger *l)
{
	sem_post(&l->helper.wake);
}

/* ---- work ---- */
static void log_failure(const char *what, uint64_t seq, int error)
{
	log_line(LOG_WARNING, "ledger", what, LOG_INT("segment", (int64_t)seq), LOG_CSTR("error", strerror(-error)));
}

static void run(struct ledger *l, struct ledger_job *job)
{
	struct ledger_segment *s = job->segment;
	int error = 0;
	switch (job->kind) {
	case LEDGER_JOB_SEAL:
		error = ledger_file_seal(l, s, &job->sealed);
		if (error != 0)
			log_failure(
			    "a full segment could not be sealed; its index stays in memory until the next start",
			    s->head.seq, error);
		break;
	case LEDGER_JOB_RETIRE:
		error = ledger_file_retire(l, s);
		if (error != 0)
			log_failure("a segment past its retention could not be removed; the next start tries again",
				    s->head.seq, error);
		break;
	}
	push(&l->helper.done, job);
}

static void run_all(struct ledger *l)
{
	for (struct ledger_job *job = take_all(&l->helper.todo), *next; job != NULL; job = next) {
		next = job->next;
		run(l, job);
	}
}

/* ---- zeros ---- */
/* What the helper thread knows of the log's pace. */
struct pace {
	bool had_reserve;
	uint64_t taken_ns; /* when the reserve was last taken */
	unsigned preallocated_wanted;
	uint64_t batches_seen, quiet_since_ns;
	uint64_t retry_ns; /* no room for a reserve: not before */
};

/* A reserve taken soon after the last one means a burst: files are preallocated for the next. */
static void look_at_reserve(struct ledger *l, struct pace *p)
{
	bool has_reserve = atomic_load(&l->helper.reserve) != LEDGER_RESERVE_NONE;
	if (p->had_reserve && !has_reserve) {
		uint64_t now_ns = clock_mono_ns();
		unsigned more = p->preallocated_wanted == 0 ? 1 : 2 * p->preallocated_wanted;
		if (p->taken_ns != 0 && now_ns - p->taken_ns < QUICK_NS)
			p->preallocated_wanted = more < LEDGER_PREALLOCATED_MAX ? more : LEDGER_PREALLOCATED_MAX;
		p->taken_ns = now_ns;
	}
	p->had_reserve = has_reserve;
}

static bool is_calm(struct ledger *l, struct pace *p)
{
	uint64_t batches = atomic_load(&l->batches), now_ns = clock_mono_ns();
	if (batches != p->batches_seen) {
		p->batches_seen = batches;
		p->quiet_since_ns = now_ns;
	}
	return now_ns - p->quiet_since_ns >= CALM_NS;
}

static void make_reserve(struct ledger *l, struct pace *p)
{
	struct ledger_helper *h = &l->helper;
	int error = ledger_reserve_make_piece(l);
	if (error != 0 && error != atomic_load(&h->reserve_error))
		log_line(LOG_WARNING, "ledger",
			 "no room for the next segment yet: free disk space before this one is full",
			 LOG_CSTR("error", strerror(-error)));
	atomic_store(&h->reserve_error, error);
	if (error != 0)
		p->retry_ns = clock_mono_ns() + RETRY_NS;
}

/* False: nothing to do, or not now. */
static bool make_zeros(struct ledger *l, struct pace *p)
{
	look_at_reserve(l, p);
	if (!p->had_reserve) {
		if (ledger_reserve_use_preallocated(l))
			return true;
		if (clock_mono_ns() < p->retry_ns)
			return false;
		make_reserve(l, p);
		return true;
	}
	if (l->helper.preallocated >= p->preallocated_wanted || !is_calm(l, p))
		return false;
	if (!ledger_reserve_has_room_to_preallocate(l) || ledger_reserve_make_piece(l) != 0)
		p->preallocated_wanted = 0;
	return true;
}

static void wait_for_work(struct ledger *l, const struct pace *p)
{
	struct ledger_helper *h = &l->helper;
	bool has_reserve = atomic_load(&h->reserve) != LEDGER_RESERVE_NONE;
	if (has_reserve && h->preallocated >= p->preallocated_wanted) {
		sem_wait(&h->wake);
		return;
	}
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += CALM_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	sem_timedwait(&h->wake, &until);
}

static void *helper_main(void *arg)
{
	struct ledger *l = arg;
	struct pace pace = { 0 };
	cpu_become_background(NICENESS);
	log_attach();
	struct cpu_yielder yielder;
	cpu_yielder_init(&yielder);
	for (;;) {
		bool is_last = atomic_load(&l->helper.is_stopping);
		if (atomic_load(&l->helper.todo) != NULL) {
			cpu_yielder_set(&yielder, true); /* sealing sorts */
			run_all(l);
			cpu_yielder_set(&yielder, false);
		}
		if (is_last)
			break;
		if (!make_zeros(l, &pace))
			wait_for_work(l, &pace);
	}
	cpu_yielder_finish(&yielder);
	return NULL;
}

int ledger_helper_start(struct ledger *l)
{
	int error = pthread_create(&l->helper.thread, NULL, helper_main, l);
	l->helper.has_thread = error == 0;
	if (error == 0)
		pthread_setname_np(l->helper.thread, "ledger-helper");
	return -error;
}

void ledger_helper_stop(struct ledger *l)
{
	struct ledger_helper *h = &l->helper;
	if (h->has_thread) {
		atomic_store(&h->is_stopping, true);
		ledger_helper_wake(l);
		pthread_join(h->thread, NULL);
		h->has_thread = false;
	}
	run_all(l); /* what came since */
	ledger_reserve_drop_unfinished(l);
}
