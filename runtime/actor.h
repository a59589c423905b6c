/* Actors: a struct, a state and one function that receives messages. One file per actor, read top to
 * bottom.
 *
 * An actor lives on one loop and only that loop's thread touches it. It runs to completion for each
 * message; it never calls another actor and is never called by one. Everything here is for the owning
 * loop's thread unless it says so.
 *
 *     static void greeter_on_message(struct actor *a, struct msg *m) {...}
 *     const struct actor_class greeter_class = { .name = "greeter", .size = sizeof(struct greeter),
 *             .mailbox_len_max = 256, .on_message = greeter_on_message };
 *     struct actor_ref ref = rt_spawn(loop, &greeter_class, arg);
 */
#pragma once
#include "runtime/msg.h"

struct loop;
struct actor;

struct actor_class {
	const char *name;
	size_t size;              /* of the whole struct; its first member is `struct actor base` */
	uint32_t mailbox_len_max; /* bound on waiting requests; a full mailbox refuses the sender with RT_EFULL.
	                             Replies and runtime messages always fit: the asker's own asks bound them */
	bool hears_leavers;       /* gets RT_LEFT when whoever asked it cancels the ask or ends before the answer */
	int (*init)(struct actor *a, void *arg);            /* NULL ok; non-zero: the spawn fails, and finish releases
	                                                      what init had got. arg: borrows */
	void (*on_message)(struct actor *a, struct msg *m); /* borrows m; see rt_msg_take */
	void (*on_turn_end)(struct actor *a);               /* NULL ok; once per turn in which on_message ran */
	void (*finish)(struct actor *a);                    /* NULL ok; releases what the struct owns */
};

struct actor {
	const struct actor_class *class;
	struct loop *loop;
	struct actor_ref self;
	struct actor_private *private; /* the runtime's: mailbox, asks, flags */
};

/* ---- life ---- */
/* Returns ACTOR_NONE when the loop's actor table is full or init fails. Memory is zeroed before init. */
struct actor_ref rt_spawn(struct loop *loop, const struct actor_class *class, void *arg);
/* Ends after the current message. Waiting messages are disposed, waiting asks of others answered RT_DOWN,
 * own asks forgotten (late replies are dropped and counted). */
void rt_stop(struct actor *a);
/* The same, as a failure: logged with the reason, counted, and told to the supervisor, which starts a
 * fresh one. The actor that was running when this one was spawned, if any, gets RT_CHILD_DOWN. */
void rt_fail(struct actor *a, const char *reason);
/* Is this life still going? Exact on the owning loop, a hint on others (any thread). */
bool rt_alive(struct actor_ref ref);

/* ---- messages ---- */
/* A zeroed block with kind set; never NULL (a process without memory for 128 bytes stops). */
void *rt_msg_new(struct loop *loop, uint16_t kind);
/* Runs dispose. An ask that was taken and not answered ends in RT_DOWN: RT_EDEAD while its keeper ends,
 * else RT_EINVAL. */
void rt_msg_free(struct loop *loop, struct msg *m);
/* Moves m to the receiver, same loop or another. false: refused (full, dead); m is then disposed. Sends to
 * another loop leave in one batch at the end of the turn, in order. What an actor sends to itself it gets
 * after the others have run: that is how to work in slices. */
bool rt_send(struct loop *loop, struct actor_ref to, struct msg *m);
/* Keeps m beyond on_message; the actor must later (in `finish` at the latest) rt_msg_free, rt_reply or
 * rt_send it. A request that is handed on with rt_send stays an ask: the next actor answers the first
 * asker. An ask that on_message neither answers nor takes is refused with RT_EINVAL. */
void rt_msg_take(struct msg *m);

/* ---- asks ---- */
/* Sends m and opens an ask: exactly one message with the returned op comes back: the reply, RT_DEADLINE,
 * RT_DOWN or RT_CANCELLED (a refusal arrives as RT_DOWN, in the next turn, so there is one path for
 * failures). deadline_ns must not be 0. cancel may be ACTOR_NONE. Never 0. */
uint64_t rt_ask(struct actor *a, struct actor_ref to, struct msg *m, uint64_t deadline_ns, struct actor_ref cancel);
/* Spawns an actor for one request on this loop and asks it. A request that the new actor never sees (too late, its cancel token
 * gone, no room) ends it, as nothing else would; one that it has seen it ends by itself. */
uint64_t rt_spawn_ask(struct actor *a, const struct actor_class *class, void *arg, struct msg *m, uint64_t deadline_ns,
		      struct actor_ref cancel);
/* Forgets an own ask: its reply, when it comes, is dropped, and who was asked may stop (RT_LEFT). Unknown or ended ops are
 * ignored. */
void rt_ask_cancel(struct actor *a, uint64_t op);
/* Answers `request` (delivered to this actor, still borrowed or taken; it is freed or left to the runtime
 * as fits) with `reply`, which gets the request's op and flags. A request that was not an ask just
 * disposes the reply. */
void rt_reply(struct actor *a, struct msg *request, struct msg *reply);
/* Answers with RT_DOWN and this status. */
void rt_refuse(struct actor *a, struct msg *request, int status);

/* ---- timers ---- */
/* RT_TIMER with this op after delay; op is the actor's own number. Returns a handle for rt_timer_stop; 0:
 * the loop has no room (actors_max + asks_max timers). A stopped timer never arrives, even if it was due.
 * Timers die with the actor. Resolution 1 ms, never early. */
uint64_t rt_timer_start(struct actor *a, uint64_t delay_ms, uint64_t op);
void rt_timer_stop(struct actor *a, uint64_t timer);

/* ---- supervision and names ---- */
struct rt_child_down {
	struct msg head;
	struct actor_ref child;
	uint32_t name;
	char reason[40];
};
/* RT_LEFT */
struct rt_left {
	struct msg head;
	uint64_t asked_op; /* the request's op, and who sent it */
	struct actor_ref asker;
};
/* Spawns a named actor, and spawns it again whenever it fails, at most `restarts_max` times in `window_ms`; beyond that the
 * failure is the loop's: it is logged, and `loop_failed` turns readiness off. arg is passed to the init of each of them, so it
 * must live as long as the loop. Names are small numbers, one table per loop. */
struct actor_ref rt_supervise(struct loop *loop, uint32_t name, const struct actor_class *class, void *arg,
			      uint32_t restarts_max, uint32_t window_ms);
/* The current ref of a named actor of that loop, or ACTOR_NONE while it is restarting. Any thread, once the loop's names are
 * registered. */
struct actor_ref rt_named(struct loop *loop, uint32_t name);
enum { RT_NAMES_MAX = 1024 };
