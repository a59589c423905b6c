/* On few cores, keeps background threads out of the way of the others. However low its priority, a thread that the kernel has
 * given a CPU may keep it until the next tick (4 ms), although a thread with work to do waits there and another CPU idles:
 * docs/adr/0004 and 0007. So background threads stay off the CPUs that the I/O loops run on, and yield every 0.2 ms. The loops
 * stay free to move; the background follows, away from them. */
#pragma once
#include <stdbool.h>
#include <time.h>

void cpu_note_loop(unsigned loop_id);   /* an I/O loop, once per turn: where it runs now. A few nanoseconds */
void cpu_forget_loop(unsigned loop_id); /* its last turn is over */

/* Whom the scheduler runs first, in the only terms that need no privilege. Background is nice, not idle-class: a starved idle
 * thread can hold what others wait for, inside the file system above all. The foreground asks for short slices, the
 * background for long ones: who wakes takes the CPU from the longer slice, the kernel's own threads too. The calling thread
 * only; false: not allowed (errno). */
void cpu_become_foreground(void);
bool cpu_become_background(int nice);

/* Lets whoever waits for this CPU go first, and moves to the CPUs of the thread's own mask that no I/O loop was last seen on,
 * or back to the whole mask if none is left. 0.3 us, more when something changed. */
void cpu_give_way(void);

/* cpu_give_way every 0.2 ms, also inside code of others (DuckDB), unless the thread is in a hurry, or has no CPU apart from the I/O
 * loops, where a yield only puts those who wake behind a loop that runs: a timer of its own sends it SIGURG. System calls go on
 * after it. Made, switched and finished by the thread itself, which does not call cpu_give_way while it is on; without timers it
 * does nothing. */
struct cpu_yielder {
	timer_t timer;
	bool has_timer;
};
void cpu_yielder_init(struct cpu_yielder *y);
void cpu_yielder_set(struct cpu_yielder *y, bool on); /* off before the thread waits for work: 0.3 us */
void cpu_yielder_finish(struct cpu_yielder *y);
/* In a hurry is who is nice 0 or below (another thread may have made it so), or says so: its work is late. */
void cpu_set_hurry(bool in_hurry);
