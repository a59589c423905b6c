/* A loop whose actors may block: it waits for messages and timers with poll(2) on its eventfd. */
#include "runtime/cpu.h"
#include "runtime/private.h"
#include <poll.h>

enum { SLEEP_MS_MAX = 3600 * 1000 };

static int sleep_ms(struct loop *loop)
{
	uint64_t due_ns = loop_due_ns(loop);
	if (due_ns == UINT64_MAX)
		return SLEEP_MS_MAX;
	loop_refresh_clock(loop);
	if (due_ns <= loop->mono_ns)
		return 0;
	uint64_t ms = (due_ns - loop->mono_ns + TICK_NS - 1) / TICK_NS;
	return ms < SLEEP_MS_MAX ? (int)ms : SLEEP_MS_MAX;
}

static bool turn(struct loop *loop, struct cpu_yielder *yielder)
{
	if (!loop->is_background)
		return loop_turn(loop);
	cpu_give_way();
	cpu_yielder_set(yielder, true);
	bool has_work = loop_turn(loop);
	cpu_yielder_set(yielder, false);
	return has_work;
}

static void run(struct loop *loop, struct cpu_yielder *yielder)
{
	for (;;) {
		bool has_work = turn(loop, yielder);
		if (loop_is_over(loop))
			return;
		int timeout_ms = has_work ? 0 : sleep_ms(loop);
		if (timeout_ms == 0 || !loop_try_sleep(loop))
			continue;
		struct pollfd wake = { .fd = loop->wake_fd, .events = POLLIN };
		if (poll(&wake, 1, timeout_ms) > 0)
			loop_wake_read(loop);
		atomic_store(&loop->sleeping, false);
	}
}

void loop_blocking_run(struct loop *loop)
{
	struct cpu_yielder yielder = { 0 };
	if (loop->is_background)
		cpu_yielder_init(&yielder);
	run(loop, &yielder);
	cpu_yielder_finish(&yielder);
}
