/* On few cores, keeps background threads off the CPUs that the I/O loops run on. However low its priority, a thread that
 * the kernel has given a CPU may keep it until the next tick (4 ms), and a loop that wakes there waits: docs/adr/0004. The
 * loops stay free to move; the background follows, away from them. */
#pragma once

void cpu_note_loop(unsigned loop_id);   /* an I/O loop, once per turn: where it runs now. A few nanoseconds */
void cpu_forget_loop(unsigned loop_id); /* its last turn is over */

/* A background thread, about every 0.1 ms of work: lets whoever waits for this CPU go first, and moves to the CPUs of its own
 * mask that no I/O loop was last seen on, or back to the whole mask if none is left. 0.3 us, more when something changed. */
void cpu_give_way(void);
