/* On few cores, keeps background threads out of the way of the others. However low its priority, a thread that the kernel has
 * given a CPU may keep it until the next tick (4 ms), although a thread with work to do waits there and another CPU idles:
 * docs/adr/0004 and 0007. So background threads stay off the CPUs that the I/O loops run on, and yield every 0.2 ms. The loops
 * stay free to move; the background follows, away from them. */
#pragma once
#include <stdbool.h>
#include <time.h>

void cpu_note_loop(unsigned loop_id);   /* notes the CPU of the calling I/O loop; once per turn, a few nanoseconds */
void cpu_forget_loop(unsigned loop_id); /* the loop has ended */

/* Priorities of the calling thread, by the means that need no privilege: niceness and the length of its time slices. Background
 * threads are nice, not SCHED_IDLE: a starved idle thread can hold a lock that others wait for, inside the file system above
 * all. The foreground asks for short slices, the background for long ones: a thread that wakes preempts the one with the
 * longer slice; this also holds for the kernel's own threads. false: not allowed (errno). */
void cpu_become_foreground(void);
bool cpu_become_background(int nice);

/* Yields this CPU, and restricts the thread to the CPUs of its mask that no I/O loop was last seen on, or to the whole mask if
 * none is left. 0.3 us, more when the set changes. */
void cpu_give_way(void);

/* Calls cpu_give_way every 0.2 ms, also inside a library (DuckDB), from a timer of the thread's own that sends it SIGURG. Not
 * while the thread is boosted, and not where every CPU runs an I/O loop: there a yield would only put the threads that wake
 * behind a running loop. System calls are restarted after the signal. Created, switched and finished by the thread itself, which
 * does not call cpu_give_way while it is on; without timers it does nothing. */
struct cpu_yielder {
	timer_t timer;
	bool has_timer;
};
void cpu_yielder_init(struct cpu_yielder *y);
void cpu_yielder_set(struct cpu_yielder *y, bool on); /* off before the thread waits for work: 0.3 us */
void cpu_yielder_finish(struct cpu_yielder *y);
/* A thread whose work is late does not give way: boosted is one with nice 0 or below (another thread may have set that), or one
 * that says so here. The calling thread only. */
void cpu_set_boost(bool is_boosted);
