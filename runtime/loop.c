/* A loop's life, its clock and its turn. */
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/log.h"
#include "runtime/private.h"
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

enum { BACKGROUND_NICE = 19 };

static _Atomic(struct loop *) registry[LOOPS_MAX];
static _Thread_local struct loop *current;

struct loop *loop_by_id(unsigned id)
{
	return id - 1u < LOOPS_MAX ? atomic_load_explicit(&registry[id - 1], memory_order_acquire) : NULL;
}

struct loop *loop_current(void)
{
	return current;
}

void loop_set_current(struct loop *loop)
{
	current = loop;
}

unsigned loop_id(const struct loop *loop)
{
	return loop->id;
}

const char *loop_name(const struct loop *loop)
{
	return loop->name;
}

bool loop_failed(const struct loop *loop)
{
	return atomic_load_explicit(&loop->has_failed, memory_order_relaxed);
}

void loop_stats_read(const struct loop *loop, struct loop_stats *ret_stats)
{
	*ret_stats = loop->stats;
}

/* ---- time and chance ---- */
void loop_refresh_clock(struct loop *loop)
{
	loop->mono_ns = loop->sim != NULL ? sim_clock_ns(loop) : clock_mono_ns();
	loop->clock_is_stale = !loop->is_running; /* outside loop_run, and in a simulation, each look is fresh */
	loop->clock_countdown = loop->clock_stride;
	if (loop->sim == NULL && loop->mono_ns - loop->wall_read_ns > 10u * TICK_NS) {
		loop->wall_offset_us = clock_wall_us() - (int64_t)(loop->mono_ns / 1000);
		loop->wall_read_ns = loop->mono_ns;
	}
}

/* The cache may be as old as the last sleep when I/O callbacks run; the first one to look refreshes it. */
static void freshen(const struct loop *loop)
{
	if (__builtin_expect(loop->clock_is_stale, 0))
		loop_refresh_clock((struct loop *)loop);
}

uint64_t loop_mono_ns(const struct loop *loop)
{
	freshen(loop);
	return loop->mono_ns;
}

int64_t loop_wall_us(const struct loop *loop)
{
	freshen(loop);
	return (int64_t)(loop->mono_ns / 1000) + loop->wall_offset_us;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t loop_random(struct loop *loop)
{
	uint64_t x = loop->random_state += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t loop_tick_now(const struct loop *loop)
{
	return (loop->mono_ns - loop->origin_ns) / TICK_NS;
}

uint64_t loop_tick_of(const struct loop *loop, uint64_t ns)
{
	if (ns <= loop->origin_ns)
		return 0;
	uint64_t since = ns - loop->origin_ns;
	return since / TICK_NS + (since % TICK_NS != 0);
}

uint64_t loop_due_ns(const struct loop *loop)
{
	uint64_t tick, due_ns = UINT64_MAX;
	if (wheel_next(&loop->wheel, &tick) && tick < (UINT64_MAX - loop->origin_ns) / TICK_NS)
		due_ns = loop->origin_ns + tick * TICK_NS;
	if (loop->is_stopping && loop->stop_by_ns < due_ns)
		due_ns = loop->stop_by_ns;
	return due_ns;
}

/* ---- birth and death ---- */
static bool register_loop(struct loop *loop)
{
	for (unsigned i = 0; i < LOOPS_MAX; i++) {
		struct loop *nobody = NULL;
		loop->id = i + 1;
		if (atomic_compare_exchange_strong(&registry[i], &nobody, loop))
			return true;
	}
	return false;
}

static void init_parts(struct loop *loop, const struct loop_config *config)
{
	loop->name = config->name;
	loop->kind = config->kind;
	loop->actors_max = config->actors_max ? config->actors_max : 65536;
	loop->asks_max = config->asks_max ? config->asks_max : 65536;
	loop->inbox_max = config->inbox_max ? config->inbox_max : 65536;
	loop->grace_ms = config->grace_ms ? config->grace_ms : 2000;
	loop->is_background = config->is_background;
	CHECK(loop->actors_max < SLOT_NONE && loop->asks_max < SLOT_NONE);
	loop->timers_max = loop->actors_max + loop->asks_max;
	loop->pending_max = loop->asks_max + loop->timers_max;
	loop->slot_free = SLOT_NONE;
	loop->clock_stride = 1;
	dlist_init(&loop->urgent_queue);
	dlist_init(&loop->normal_queue);
	dlist_init(&loop->ran);
	dlist_init(&loop->dying);
	pool_init(&loop->messages, MSG_BLOCK, 16384);
	for (size_t i = 1; i < ACTOR_CLASSES; i++)
		pool_init(&loop->actor_pools[i], i * POOL_ALIGN, 512);
	loop->mono_ns = clock_mono_ns();
	loop->clock_is_stale = true;
	loop->origin_ns = loop->mono_ns / TICK_NS * TICK_NS;
	loop->wall_offset_us = clock_wall_us() - (int64_t)(loop->mono_ns / 1000);
	wheel_init(&loop->wheel, 0);
	if (getrandom(&loop->random_state, sizeof loop->random_state, GRND_NONBLOCK) < 0)
		loop->random_state = loop->mono_ns;
}

struct loop *loop_create(const struct loop_config *config)
{
	struct loop *loop = aligned_alloc(alignof(struct loop), sizeof *loop);
	if (loop == NULL)
		return NULL;
	memset(loop, 0, sizeof *loop);
	init_parts(loop, config);
	loop->wake_fd = -1;
	loop->slots = calloc(loop->actors_max, sizeof *loop->slots);
	loop->pending_chunks = calloc(loop->pending_max / PENDING_CHUNK + 1, sizeof *loop->pending_chunks);
	bool ok = loop->slots != NULL && loop->pending_chunks != NULL;
	if (ok && loop->kind != LOOP_SIM)
		ok = (loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0;
	if (ok && loop->kind == LOOP_IO)
		ok = loop_io_init(loop) == 0;
	if (ok && register_loop(loop))
		return loop;
	if (ok && loop->kind == LOOP_IO)
		loop_io_finish(loop);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	free(loop->slots);
	free(loop->pending_chunks);
	free(loop);
	return NULL;
}

static void report_leaks(struct loop *loop)
{
	const struct loop_stats *s = &loop->stats;
	if (s->messages_live == 0 && s->asks_open == 0 && s->actors == 0)
		return;
	log_line(LOG_ERROR, "runtime", "a loop ended with something left over: who took a message must free it",
		 LOG_CSTR("loop", loop->name), LOG_INT("messages", s->messages_live), LOG_INT("asks", s->asks_open),
		 LOG_INT("actors", s->actors));
	DCHECK(s->messages_live == 0 && s->asks_open == 0 && s->actors == 0);
}

void loop_destroy(struct loop *loop)
{
	if (loop == NULL)
		return;
	CHECK(!loop->has_thread);
	actors_force_end(loop); /* of a loop that never ran */
	inbox_drain(loop);
	atomic_store(&registry[loop->id - 1], NULL);
	outbox_flush(loop);
	if (loop->kind == LOOP_IO)
		loop_io_finish(loop);
	report_leaks(loop);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	pending_finish(loop);
	pool_finish(&loop->messages);
	for (size_t i = 1; i < ACTOR_CLASSES; i++)
		pool_finish(&loop->actor_pools[i]);
	free(loop->slots);
	free(loop);
}

/* ---- running ---- */
static void *thread_main(void *arg)
{
	loop_run(arg);
	return NULL;
}

int loop_start(struct loop *loop)
{
	pthread_t thread;
	CHECK(!loop->has_thread && loop->kind != LOOP_SIM);
	loop->has_thread = true;
	int error = pthread_create(&thread, NULL, thread_main, loop);
	if (error != 0) {
		loop->has_thread = false;
		return -error;
	}
	loop->thread = thread;
	char name[16]; /* the kernel's limit */
	snprintf(name, sizeof name, "%s", loop->name);
	pthread_setname_np(thread, name);
	return 0;
}

void loop_join(struct loop *loop)
{
	if (!loop->has_thread)
		return;
	pthread_join(loop->thread, NULL);
	loop->has_thread = false;
}

static void take_priority(const struct loop *loop)
{
	if (!loop->is_background)
		cpu_become_foreground();
	else if (!cpu_become_background(BACKGROUND_NICE))
		log_line(LOG_WARNING, "runtime", "no low priority for this loop", LOG_CSTR("loop", loop->name),
			 LOG_INT("errno", errno));
}

void loop_run(struct loop *loop)
{
	CHECK(loop->kind != LOOP_SIM);
	current = loop;
	loop->is_running = true;
	log_attach();
	take_priority(loop);
	if (loop->kind == LOOP_IO) {
		loop_io_run(loop);
		cpu_forget_loop(loop->id);
	} else {
		loop_blocking_run(loop);
	}
	loop->is_running = false;
	loop_end(loop);
	current = NULL;
}

void loop_end(struct loop *loop)
{
	atomic_store(&loop->has_ended, true);
	inbox_drain(loop); /* no actor is left: asks are answered with RT_DOWN, other messages are disposed */
	outbox_flush(loop);
}

bool loop_has_work(const struct loop *loop)
{
	return !dlist_is_empty(&loop->urgent_queue) || !dlist_is_empty(&loop->normal_queue) ||
	       !dlist_is_empty(&loop->dying) || loop->outbox_mask != 0 || loop->wants_turn;
}

bool loop_is_over(struct loop *loop)
{
	if (!loop->is_stopping)
		return false;
	if (loop->stats.actors > 0 && loop->mono_ns >= loop->stop_by_ns) {
		log_line(LOG_WARNING, "runtime", "actors outlived the grace time and were ended",
			 LOG_CSTR("loop", loop->name), LOG_INT("actors", loop->stats.actors));
		actors_force_end(loop);
	}
	return loop->stats.actors == 0;
}

static void check_stop(struct loop *loop)
{
	if (loop->is_stopping || !atomic_load_explicit(&loop->stop_asked, memory_order_acquire))
		return;
	loop->is_stopping = true;
	loop->stop_by_ns = loop->mono_ns + loop->grace_ms * (uint64_t)TICK_NS;
	actors_stop_all(loop);
}

static void report_stall(struct loop *loop, uint64_t turn_ns)
{
	loop->stats.turns_over_5ms++;
	if (loop->mono_ns - loop->stall_logged_ns < 1000u * TICK_NS)
		return;
	loop->stall_logged_ns = loop->mono_ns;
	log_line(LOG_WARNING, "runtime",
		 "a long turn: slice the work, move it to a blocking loop, or see what kept the thread off the CPU",
		 LOG_CSTR("loop", loop->name), LOG_FLOAT("ms", (double)turn_ns / 1e6),
		 LOG_CSTR("actor", loop->slowest_class != NULL ? loop->slowest_class->name : "none"),
		 LOG_FLOAT("actor_ms", (double)loop->slowest_ns / 1e6));
}

bool loop_turn(struct loop *loop)
{
	loop_refresh_clock(loop);
	uint64_t start_ns = loop->mono_ns;
	loop->slowest_ns = 0;
	loop->slowest_class = NULL;
	loop->stats.turns++;
	if (loop->kind == LOOP_IO)
		cpu_note_loop(loop->id);
	inbox_drain(loop);
	wheel_advance(&loop->wheel, loop_tick_now(loop), pending_expire, loop);
	check_stop(loop);
	actors_run(loop);
	actors_end_turn(loop);
	loop->wants_turn = false;
	for (uint32_t i = 0; i < loop->hooks_len; i++)
		loop->hooks[i].fn(loop->hooks[i].arg);
	outbox_flush(loop);
	if (loop->kind == LOOP_IO && loop->turn_messages > 0) {
		actors_read_clock(loop);
		if (loop->mono_ns - start_ns > TURN_STALL_NS)
			report_stall(loop, loop->mono_ns - start_ns);
	}
	return loop_has_work(loop);
}

void loop_on_turn_end(struct loop *loop, void (*fn)(void *), void *arg)
{
	CHECK(loop->hooks_len < TURN_HOOKS_MAX);
	loop->hooks[loop->hooks_len++] = (struct turn_hook){ fn, arg };
}

void loop_want_turn(struct loop *loop)
{
	loop->wants_turn = true;
}
