/* What the runtime's own files share: the loop, the actor's hidden half, pending asks and timers. Nobody
 * else includes it.
 *
 * Who writes what: the fields of struct loop are in three groups, one per writer, on cache lines of their
 * own. Everything that is not in the first two groups belongs to the loop's thread alone. */
#pragma once
#include "runtime/list.h"
#include "runtime/loop.h"
#include "runtime/pool.h"
#include "runtime/wheel.h"
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

enum {
	ACTOR_BATCH_MAX = 64, /* messages of one actor before the next one runs */
	TURN_MESSAGES_MAX = 256,
	TURN_NS_MAX = 300 * 1000,
	TURN_STALL_NS = 5 * 1000 * 1000,
	URGENT_RUN_MAX = 8, /* actors taken from the urgent queue while a normal one waits */
	ACTOR_CLASSES = 33, /* actor memory in steps of 64 bytes up to 2 KiB; larger ones come from malloc */
	PENDING_CHUNK = 256,
	SLOT_NONE = 0xffffff,
	TICK_NS = 1000 * 1000,
};

/* An ask that waits for its ending, or a timer. `op` = generation << 32 | index; it ends when its ending
 * is delivered, so that of a reply, a deadline, a down and a cancel, all perhaps in the mailbox, the first
 * wins and the others are late. */
struct pending {
	struct wheel_node timer; /* first: the wheel hands this back */
	struct hlist own_link;   /* in the asker's `own` */
	struct hlist token_link; /* in the local cancel token's `guarded` */
	struct actor *owner;     /* NULL: free */
	struct actor_ref to;     /* whom it asks */
	uint64_t user_op;        /* of a timer */
	uint32_t generation, index;
	bool is_timer, ending_sent; /* the runtime sends one ending at most */
};

struct timer_msg {
	struct msg head;
	uint64_t handle;
};
MSG_SIZE_CHECK(timer_msg);
MSG_SIZE_CHECK(rt_child_down);
MSG_SIZE_CHECK(rt_left);

struct mailbox {
	struct msg *head, *tail; /* owned */
};

struct actor_private {
	struct mailbox urgent, normal;
	uint32_t requests_len; /* waiting messages that count against mailbox_len_max */
	uint32_t slot;
	bool stopping, has_failed, is_named;
	bool serves_one; /* rt_spawn_ask: when its request is dropped it ends */
	uint32_t name;
	struct dlist urgent_run, normal_run; /* in the loop's run queues */
	struct dlist ran;                    /* on_turn_end is due */
	struct dlist dying;
	struct hlist *own;       /* struct pending: asks and timers of this actor */
	struct hlist *guarded;   /* struct pending of this loop whose cancel token is this actor */
	struct actor_ref parent; /* who ran when this one was spawned; learns of a failure */
	struct actor *actor;
	char reason[40];
};

struct slot {
	_Atomic uint32_t generation; /* of the present or next life; read by any thread */
	uint32_t next_free;
	struct actor *actor; /* NULL: free */
};

struct outbox {
	struct msg *newest, *oldest; /* linked newest first, as the inbox wants it */
	uint32_t len;
};

struct supervised {
	const struct actor_class *class; /* NULL: no such name */
	void *arg;
	_Atomic uint64_t ref_bits; /* written by the loop, read by any thread */
	uint32_t restarts_max, window_ms;
	uint32_t restarts; /* in the present window */
	uint64_t window_start_ns;
};

struct turn_hook {
	void (*fn)(void *);
	void *arg;
};
enum { TURN_HOOKS_MAX = 8 };

struct sim_port; /* a simulated loop's place in its simulation */

struct loop {
	/* Set by loop_create; read by any thread. */
	const char *name;
	enum loop_kind kind;
	unsigned id;
	uint32_t actors_max, asks_max, inbox_max, grace_ms;
	bool is_background;
	int wake_fd;
	struct slot *slots; /* owned; actors_max of them */

	/* Written by any thread. */
	alignas(64) _Atomic(struct msg *) inbox; /* newest first */
	_Atomic uint32_t inbox_len;
	_Atomic bool sleeping;
	_Atomic bool stop_asked, has_ended, has_failed;

	/* Written by the loop's thread. */
	alignas(64) uint64_t mono_ns;
	bool is_running;      /* inside loop_run */
	bool clock_is_stale;  /* the loop may have slept since mono_ns was read */
	bool has_sent_itself; /* the running actor, in this batch */
	struct actor *running;
	struct msg *current;                    /* what on_message is looking at; NULL once freed or moved */
	uint32_t clock_countdown, clock_stride; /* messages until the clock is read again, and between two reads */
	uint32_t turn_messages;
	struct dlist urgent_queue, normal_queue, ran, dying;
	uint32_t urgent_streak;
	struct pool messages;
	struct pool actor_pools[ACTOR_CLASSES];
	struct pending **pending_chunks;          /* owned, with the chunks */
	uint32_t pending_chunks_len, pending_max; /* pending_max = asks_max + timers_max */
	uint32_t timers, timers_max;
	uint64_t refused_ops;       /* asks that found the table full, for their ops */
	struct hlist *pending_free; /* through own_link */
	struct wheel wheel;
	uint64_t origin_ns;             /* tick 0 */
	uint32_t slots_used, slot_free; /* high-water mark; head of the free chain, SLOT_NONE when empty */
	uint64_t outbox_mask;           /* bit id-1 */
	struct outbox outboxes[LOOPS_MAX];
	int64_t wall_offset_us;
	uint64_t wall_read_ns;
	uint64_t random_state;
	struct supervised names[RT_NAMES_MAX];
	struct turn_hook hooks[TURN_HOOKS_MAX];
	uint32_t hooks_len;
	bool wants_turn; /* something is left to the hooks */
	bool is_stopping;
	uint64_t stop_by_ns;
	const struct actor_class *last_class, *slowest_class; /* of this turn; for the stall report */
	uint64_t slowest_ns, stall_logged_ns;
	struct loop_stats stats;
	struct sim_port *sim; /* weak; LOOP_SIM only */

	/* The thread and its libuv handles. */
	pthread_t thread;
	bool has_thread;
	uv_loop_t uv;
	uv_poll_t uv_wake;
	uv_prepare_t uv_prepare;
	uv_check_t uv_check;
	uv_idle_t uv_idle;
	uv_timer_t uv_timer;
	uint64_t uv_timer_by_ns; /* what uv_timer is set to; UINT64_MAX = not set */
};

/* Hidden: the compiler may then inline and call them directly in position-independent code. */
#pragma GCC visibility push(hidden)

/* ---- loop.c ---- */
bool loop_turn(struct loop *loop); /* true: work remains */
bool loop_has_work(const struct loop *loop);
bool loop_is_over(struct loop *loop); /* stopping, and the actors are gone, perhaps by force */
void loop_end(struct loop *loop);     /* last flush; no message is accepted from here on */
void loop_refresh_clock(struct loop *loop);
void loop_set_current(struct loop *loop);
uint64_t loop_tick_now(const struct loop *loop);
uint64_t loop_tick_of(const struct loop *loop, uint64_t ns); /* the first tick that is not before ns */
/* When the loop must run although nobody wakes it; UINT64_MAX = never. */
uint64_t loop_due_ns(const struct loop *loop);
bool loop_try_sleep(struct loop *loop); /* sets sleeping; false: something came, do not sleep */
void loop_wake_read(struct loop *loop); /* clears the eventfd */

/* ---- inbox.c ---- */
void outbox_flush(struct loop *loop);
void outbox_flush_to_sleepers(struct loop *loop); /* only what is for loops that wait for work */
void inbox_drain(struct loop *loop);
/* 0 moves m; RT_EDEAD and RT_EFULL leave it to the caller. */
int outbox_put(struct loop *loop, struct msg *m);
/* Moves the batch. Any thread. */
void inbox_push(struct loop *target, struct msg *newest, struct msg *oldest, uint32_t len);

/* ---- loop_io.c, loop_blocking.c ---- */
int loop_io_init(struct loop *loop);
void loop_io_run(struct loop *loop);
void loop_io_finish(struct loop *loop);
void loop_blocking_run(struct loop *loop);

/* ---- actor.c ---- */
/* 0 moves m; RT_EDEAD and RT_EFULL leave it to the caller. */
int message_route(struct loop *loop, struct msg *m);
/* Frees m; an ask that was not answered is answered with RT_DOWN (RT_CANCELLED for that status). */
void message_drop(struct loop *loop, struct msg *m, int status);
void actors_run(struct loop *loop);
void actors_end_turn(struct loop *loop);
void actors_read_clock(struct loop *loop);
void actors_reap(struct loop *loop);
void actors_stop_all(struct loop *loop); /* RT_STOP to each */
void actors_force_end(struct loop *loop);

/* ---- ask.c ---- */
void ask_end(struct loop *loop, struct pending *ask, uint16_t kind, int status);
bool ask_close(struct loop *loop, struct actor *a, const struct msg *reply); /* false: late */
struct pending *ask_find(struct loop *loop, uint64_t op);
bool timer_close(struct loop *loop, struct actor *a, const struct timer_msg *m); /* false: stopped */
void pending_expire(struct wheel_node *node, void *loop);
void pending_forget_own(struct loop *loop, struct actor *a);
void asks_end_token(struct loop *loop, struct actor *token);
void pending_finish(struct loop *loop);

/* ---- supervisor.c ---- */
void supervisor_child_ended(struct loop *loop, uint32_t name, bool has_failed);

/* ---- sim.c ---- */
struct dlist *sim_choose(struct loop *loop, struct dlist *queue); /* of a queue that is not empty */
uint32_t sim_batch_max(struct loop *loop);
bool sim_prefers_urgent(struct loop *loop);
void sim_ship(struct loop *from, struct loop *to, struct outbox *batch);
uint64_t sim_clock_ns(const struct loop *loop);
void sim_trace_message(struct loop *loop, const struct msg *m);

#pragma GCC visibility pop

/* ---- small and hot ---- */
static inline unsigned ref_slot(struct actor_ref r)
{
	return (unsigned)(r.bits >> 32) & 0xffffff;
}

static inline uint32_t ref_generation(struct actor_ref r)
{
	return (uint32_t)r.bits;
}

/* NULL: that life is over. Own loop only. */
static inline struct actor *loop_actor(struct loop *loop, struct actor_ref ref)
{
	uint32_t at = ref_slot(ref);
	if (at >= loop->slots_used)
		return NULL;
	struct slot *slot = &loop->slots[at];
	uint32_t generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
	return generation == ref_generation(ref) ? slot->actor : NULL;
}

/* rt_alive without the way over the registry for the loop's own actors. */
static inline bool ref_is_alive(struct loop *loop, struct actor_ref ref)
{
	return ref_loop(ref) == loop->id ? loop_actor(loop, ref) != NULL : rt_alive(ref);
}

/* Frees m, silently. */
static inline void message_release(struct loop *loop, struct msg *m)
{
	if (m->dispose != NULL)
		m->dispose(m);
	if (loop->current == m)
		loop->current = NULL;
	loop->stats.messages_live--;
	pool_put(&loop->messages, m);
}

static inline void mailbox_push(struct mailbox *box, struct msg *m)
{
	m->next = NULL;
	if (box->head == NULL)
		box->head = m;
	else
		box->tail->next = m;
	box->tail = m;
}

static inline struct msg *mailbox_pop(struct mailbox *box)
{
	struct msg *m = box->head;
	if (m != NULL)
		box->head = m->next;
	return m;
}
