#include "runtime/cpu.h"
#include "runtime/check.h"
#include "runtime/loop.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	YIELD_NS = 200000,
	FOREGROUND_SLICE_NS =
	    300000, /* shorter than the default of 0.7 to 2.8 ms, longer than the CPU time of a commit */
	BACKGROUND_SLICE_NS =
	    3000000, /* longer than the default, but not by much: a thread that yields loses the rest of one */
};

static _Atomic(int) loop_cpus[LOOPS_MAX]; /* the CPU's number + 1; 0: no loop */
static _Atomic(unsigned) moves;

static void note(unsigned loop_id, int cpu)
{
	_Atomic(int) *mine = &loop_cpus[loop_id - 1];
	if (atomic_load_explicit(mine, memory_order_relaxed) == cpu)
		return;
	atomic_store_explicit(mine, cpu, memory_order_relaxed);
	atomic_fetch_add_explicit(&moves, 1,
				  memory_order_release); /* release: a reader of the count also sees the CPU */
}

void cpu_note_loop(unsigned loop_id)
{
	note(loop_id, sched_getcpu() + 1);
}

void cpu_forget_loop(unsigned loop_id)
{
	note(loop_id, 0);
}

static _Thread_local volatile sig_atomic_t has_no_cpu_apart; /* I/O loops run on all it may use */

void cpu_give_way(void)
{
	static _Thread_local cpu_set_t allowed;
	static _Thread_local unsigned seen;
	sched_yield(); /* otherwise the scheduler may act only at the next tick, after up to 4 ms */
	unsigned now = atomic_load_explicit(&moves, memory_order_acquire);
	if (now == seen)
		return;
	if (seen == 0 && sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return; /* more CPUs than the mask has bits: then there are enough */
	seen = now;
	cpu_set_t left = allowed;
	for (unsigned i = 0; i < LOOPS_MAX; i++) {
		int cpu = atomic_load_explicit(&loop_cpus[i], memory_order_relaxed) - 1;
		if (cpu >= 0 && cpu < CPU_SETSIZE)
			CPU_CLR(cpu, &left);
	}
	has_no_cpu_apart = CPU_COUNT(&left) == 0;
	sched_setaffinity(0, sizeof left, has_no_cpu_apart ? &allowed : &left);
}

/* ---- priority ---- */
/* A thread with a short slice takes the CPU, when it wakes, from one whose slice is longer, instead of waiting for the end
 * of that slice. Linux 6.12 and later take it; older ones refuse it, and nothing is lost. */
static void ask_slices(uint64_t ns)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime_ns, deadline_ns, period_ns;
	} attributes = { .size = 48, .policy = SCHED_OTHER, .runtime_ns = ns };
	attributes.nice = getpriority(PRIO_PROCESS, (id_t)gettid());
	syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void cpu_become_foreground(void)
{
	ask_slices(FOREGROUND_SLICE_NS);
}

bool cpu_become_background(int nice)
{
	bool ok = setpriority(PRIO_PROCESS, (id_t)gettid(), nice) == 0; /* of this thread only */
	ask_slices(BACKGROUND_SLICE_NS);
	return ok;
}

/* ---- every 0.2 ms ---- */
static _Thread_local volatile sig_atomic_t is_boosted_here;

static void on_timer(int signo)
{
	(void)signo;
	int before = errno;
	if (!is_boosted_here && !has_no_cpu_apart && getpriority(PRIO_PROCESS, 0) > 0)
		cpu_give_way(); /* system calls only */
	errno = before;
}

void cpu_set_boost(bool is_boosted)
{
	is_boosted_here = is_boosted;
}

static void handle_timers(void)
{
	struct sigaction action = { .sa_handler = on_timer, .sa_flags = SA_RESTART };
	sigaction(SIGURG, &action, NULL);
}

void cpu_yielder_init(struct cpu_yielder *y)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, handle_timers);
	sigset_t mine;
	sigemptyset(&mine);
	sigaddset(&mine, SIGURG);
	pthread_sigmask(SIG_UNBLOCK, &mine, NULL);
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGURG };
	event._sigev_un._tid = gettid(); /* glibc 2.36 has no name for it */
	y->has_timer = timer_create(CLOCK_MONOTONIC, &event, &y->timer) == 0;
}

void cpu_yielder_set(struct cpu_yielder *y, bool on)
{
	struct timespec every = { .tv_nsec = on ? YIELD_NS : 0 };
	if (y->has_timer)
		timer_settime(y->timer, 0, &(struct itimerspec){ every, every }, NULL);
}

void cpu_yielder_finish(struct cpu_yielder *y)
{
	if (y->has_timer)
		timer_delete(y->timer);
	y->has_timer = false;
}
