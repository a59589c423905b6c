/* A loop whose actors may block: it waits for messages and timers with poll(2) on its eventfd. */
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

void loop_blocking_run(struct loop *loop)
{
	for (;;) {
		bool has_work = loop_turn(loop);
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
