#include "runtime/cpu.h"
#include "runtime/check.h"
#include "runtime/loop.h"
#include <sched.h>
#include <stdatomic.h>

static _Atomic(int) loop_cpus[LOOPS_MAX]; /* the CPU's number + 1; 0: no loop */
static _Atomic(unsigned) moves;

static void note(unsigned loop_id, int cpu)
{
	_Atomic(int) *mine = &loop_cpus[loop_id - 1];
	if (atomic_load_explicit(mine, memory_order_relaxed) == cpu)
		return;
	atomic_store_explicit(mine, cpu, memory_order_relaxed);
	atomic_fetch_add_explicit(&moves, 1, memory_order_release); /* who sees the count sees the CPU */
}

void cpu_note_loop(unsigned loop_id)
{
	note(loop_id, sched_getcpu() + 1);
}

void cpu_forget_loop(unsigned loop_id)
{
	note(loop_id, 0);
}

void cpu_give_way(void)
{
	static _Thread_local cpu_set_t allowed;
	static _Thread_local unsigned seen;
	sched_yield(); /* the kernel itself may look only at the next tick: 4 ms */
	unsigned now = atomic_load_explicit(&moves, memory_order_acquire);
	if (now == seen)
		return;
	if (seen == 0 && sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return; /* more CPUs than a mask of this size can name: no need to be careful with one */
	seen = now;
	cpu_set_t left = allowed;
	for (unsigned i = 0; i < LOOPS_MAX; i++) {
		int cpu = atomic_load_explicit(&loop_cpus[i], memory_order_relaxed) - 1;
		if (cpu >= 0 && cpu < CPU_SETSIZE)
			CPU_CLR(cpu, &left);
	}
	sched_setaffinity(0, sizeof left, CPU_COUNT(&left) > 0 ? &left : &allowed);
}
