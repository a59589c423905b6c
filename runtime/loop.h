/* Loops: one thread each. An I/O loop is a libuv loop that must never block; a blocking loop waits on its
 * eventfd and may block inside a message (DuckDB, fdatasync). Both run the same actors.
 *
 * A turn: I/O callbacks, then actors (FIFO; urgent before normal; at most 64 messages per actor, fewer when
 * it sends to itself; 256 messages or 0.3 ms per turn), then on_turn_end of the actors that ran, then the batches for other loops,
 * one wake-up each. */
#pragma once
#include "runtime/actor.h"
#include <uv.h>

struct loop;

enum loop_kind { LOOP_IO, LOOP_BLOCKING, LOOP_SIM };

struct loop_config {
	const char *name; /* thread name, log and metrics label; borrows a static string */
	enum loop_kind kind;
	uint32_t actors_max; /* 0 = 65536 */
	uint32_t asks_max;   /* 0 = 65536 */
	uint32_t inbox_max;  /* messages from other loops that may wait; more are refused; 0 = 65536 */
	bool is_background;  /* work that must not move the serving p99: nice 19, and off the I/O loops' CPUs */
	uint32_t grace_ms;   /* loop_stop: how long actors may take to end before they are ended; 0 = 2000 */
};

/* The process's loops have numbers 1..LOOPS_MAX; 0 is nobody's. */
enum { LOOPS_MAX = 64 };
struct loop *loop_create(const struct loop_config *config); /* NULL: no memory or LOOPS_MAX reached */
int loop_start(struct loop *loop);                          /* runs it on a new thread */
void loop_run(struct loop *loop);                           /* runs it on this thread until loop_stop */
/* RT_STOP to every actor; the loop ends once all are gone, and ends the rest itself after grace_ms. What
 * must be drained first (open requests) is drained by its owner before this. Any thread, signal handlers
 * too. */
void loop_stop(struct loop *loop);
void loop_join(struct loop *loop);
/* After all loops that sent to this one were joined. Every pool must balance: else it reports the leak and, in a debug
 * build, stops. */
void loop_destroy(struct loop *loop);

uv_loop_t *loop_uv(struct loop *loop); /* LOOP_IO only */
unsigned loop_id(const struct loop *loop);
struct loop *loop_by_id(unsigned id);
struct loop *loop_current(void); /* of this thread; NULL elsewhere */
const char *loop_name(const struct loop *loop);
bool loop_failed(const struct loop *loop); /* a supervised actor failed too often; stays true. Any thread */

/* Cached at the start of the turn and refreshed every 64 messages; use these in actors, never the system
 * clock. */
uint64_t loop_mono_ns(const struct loop *loop); /* monotonic */
int64_t loop_wall_us(const struct loop *loop);  /* microseconds since 1970, UTC */
uint64_t loop_random(struct loop *loop);        /* 64 bits, seeded per loop (by the seed in a simulation) */

/* Sends from a thread that is no loop (signal handling, tests). Moves m, which came from loop_msg_new;
 * false: refused and disposed. Any thread. */
bool loop_post(struct actor_ref to, struct msg *m);
void *loop_msg_new(uint16_t kind); /* any thread */

/* Runs once per turn after the actors, for code that is no actor (h2o flush hooks, metrics). LOOP_IO. */
void loop_on_turn_end(struct loop *loop, void (*fn)(void *), void *arg);
/* The loop does not sleep before its next turn has ended. For what leaves work to a hook of the turn's end: libuv calls some
 * callbacks (timers, ends of writes) between a turn and the sleep. Own thread. */
void loop_want_turn(struct loop *loop);

struct loop_stats { /* counters since start; read on the own loop or after join */
	uint64_t turns, messages, sends_local, sends_remote, wakeups;
	uint64_t dropped_dead, dropped_late_reply, dropped_deadline, dropped_cancelled, refused_full;
	uint64_t spawned, stopped, failed, restarts, turns_over_5ms;
	uint32_t actors, asks_open, messages_live;
};
void loop_stats_read(const struct loop *loop, struct loop_stats *ret_stats);
