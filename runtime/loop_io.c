/* A loop on libuv. The turn hangs on four handles:
 *
 *     prepare: before the poll. Work left -> idle handle on, so that the poll does not block; else say
 *              `sleeping`, look at the inbox once more, and set the one uv timer to the wheel's next tick
 *     poll:    I/O callbacks of everybody; the eventfd's only clears itself
 *     check:   after the poll: the turn
 *     idle:    empty; its presence makes libuv poll with timeout 0 */
#include "runtime/log.h"
#include "runtime/private.h"

static void on_idle(uv_idle_t *handle)
{
	(void)handle;
}

static void on_timer(uv_timer_t *handle)
{
	struct loop *loop = handle->data;
	loop->uv_timer_by_ns = UINT64_MAX;
}

static void on_wake(uv_poll_t *handle, int status, int events)
{
	(void)status;
	(void)events;
	loop_wake_read(handle->data);
}

/* uv's clock and ours are CLOCK_MONOTONIC, uv's cut to milliseconds: so an absolute millisecond can be set
 * exactly. */
static void set_timer(struct loop *loop, uint64_t due_ns)
{
	if (loop->uv_timer_by_ns == due_ns)
		return;
	loop->uv_timer_by_ns = due_ns;
	if (due_ns == UINT64_MAX) {
		uv_timer_stop(&loop->uv_timer);
		return;
	}
	uint64_t due_ms = due_ns / TICK_NS + (due_ns % TICK_NS != 0), now_ms = uv_now(&loop->uv);
	uv_timer_start(&loop->uv_timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void on_prepare(uv_prepare_t *handle)
{
	struct loop *loop = handle->data;
	if (loop_has_work(loop) || !loop_try_sleep(loop)) {
		uv_idle_start(&loop->uv_idle, on_idle);
	} else {
		uv_idle_stop(&loop->uv_idle);
		set_timer(loop, loop_due_ns(loop));
	}
	loop->clock_is_stale = true;
}

static void on_check(uv_check_t *handle)
{
	struct loop *loop = handle->data;
	if (atomic_load_explicit(&loop->sleeping, memory_order_relaxed))
		atomic_store(&loop->sleeping, false);
	loop_turn(loop);
	if (loop_is_over(loop))
		uv_stop(&loop->uv);
}

uv_loop_t *loop_uv(struct loop *loop)
{
	CHECK(loop->kind == LOOP_IO);
	return &loop->uv;
}

int loop_io_init(struct loop *loop)
{
	int error = uv_loop_init(&loop->uv);
	if (error != 0)
		return error;
	loop->uv.data = loop;
	loop->uv_timer_by_ns = UINT64_MAX;
	error = uv_poll_init(&loop->uv, &loop->uv_wake, loop->wake_fd);
	CHECK(error == 0); /* an eventfd can always be polled */
	uv_prepare_init(&loop->uv, &loop->uv_prepare);
	uv_check_init(&loop->uv, &loop->uv_check);
	uv_idle_init(&loop->uv, &loop->uv_idle);
	uv_timer_init(&loop->uv, &loop->uv_timer);
	loop->uv_wake.data = loop->uv_prepare.data = loop->uv_check.data = loop->uv_timer.data = loop;
	uv_poll_start(&loop->uv_wake, UV_READABLE, on_wake);
	uv_prepare_start(&loop->uv_prepare, on_prepare);
	uv_check_start(&loop->uv_check, on_check);
	return 0;
}

void loop_io_run(struct loop *loop)
{
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	CHECK(loop->is_stopping); /* uv_run ends only by uv_stop: our own handles keep it alive */
}

static void count_open(uv_handle_t *handle, void *arg)
{
	*(int *)arg += !uv_is_closing(handle);
}

void loop_io_finish(struct loop *loop)
{
	uv_handle_t *own[] = { (uv_handle_t *)&loop->uv_wake, (uv_handle_t *)&loop->uv_prepare,
			       (uv_handle_t *)&loop->uv_check, (uv_handle_t *)&loop->uv_idle,
			       (uv_handle_t *)&loop->uv_timer };
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		uv_close(own[i], NULL);
	/* Other parts close their handles when their actors end; the callbacks run here. */
	for (int i = 0; i < 64 && uv_loop_close(&loop->uv) == UV_EBUSY; i++) {
		uv_run(&loop->uv, UV_RUN_NOWAIT);
		int open = 0;
		uv_walk(&loop->uv, count_open, &open);
		if (open > 0) {
			log_line(LOG_ERROR, "runtime", "libuv handles are still open: their owners must close them",
				 LOG_CSTR("loop", loop->name), LOG_INT("handles", open));
			DCHECK(open == 0);
			break;
		}
	}
}
