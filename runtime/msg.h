/* Messages: the only way actors affect each other.
 *
 * A message is one 128-byte block from its loop's pool: a 64-byte header and up to 64 bytes of payload
 * that a typed struct adds (`struct thing { struct msg head; ... }`, checked by MSG_SIZE_CHECK). Larger
 * payloads hang off a pointer that the message owns; `dispose` releases it wherever the message ends:
 * delivered, refused, cancelled or late. A receiver that takes such a payload over sets its pointer to
 * NULL. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names one life of one actor: loop number, slot in that loop, generation of the slot. Never a pointer. A
 * message to a ref whose actor is gone is dropped and counted. 0 is "nobody". Compare with ref_eq. */
struct actor_ref {
	uint64_t bits; /* loop:8 | slot:24 | generation:32 */
};

#define ACTOR_NONE ((struct actor_ref){ 0 })

static inline bool ref_eq(struct actor_ref a, struct actor_ref b)
{
	return a.bits == b.bits;
}
static inline bool ref_is_none(struct actor_ref r)
{
	return r.bits == 0;
}
static inline unsigned ref_loop(struct actor_ref r)
{
	return (unsigned)(r.bits >> 56);
}

enum { MSG_BLOCK = 128 };

enum msg_flags {
	MSG_URGENT = 1 << 0, /* replies, deadlines, cancels, stops: run before new requests */
	MSG_ASK = 1 << 1,    /* `from` awaits exactly one reply that carries `op` */
	MSG_TAKEN = 1 << 2,  /* the receiver called rt_msg_take: the runtime does not free it */
	MSG_REPLY = 1 << 3,  /* the runtime's: ends the ask `op`; always fits the mailbox */
};

struct msg {
	struct msg *next;              /* the runtime's */
	void (*dispose)(struct msg *); /* releases what the payload owns; NULL when it owns nothing */
	struct actor_ref to, from;
	struct actor_ref cancel; /* the actor whose life this work serves (an exchange): once it is gone, the
	                                     message is dropped and a pending ask ends in RT_CANCELLED. none = never */
	uint64_t deadline_ns;    /* absolute, clock_mono_ns; 0 = none. Checked when the message is dequeued */
	uint64_t op;             /* names the ask a reply answers; 0 = not an ask */
	uint16_t kind;           /* MSG_KIND(class, n) */
	uint8_t flags;           /* enum msg_flags */
	int32_t status;          /* of a reply: 0 or a negative errno-like RT_E* */
};

_Static_assert(sizeof(struct msg) == 64, "the header is one cache line");
#define MSG_SIZE_CHECK(type) _Static_assert(sizeof(struct type) <= MSG_BLOCK, #type " does not fit a message block")

/* Kind numbers: class << 8 | n. A class is the messages of one actor; the header that lists them has its number, from 32 up.
 * tests/unit/test_msg_classes.c has all of them and does not compile with two that are the same. */
#define MSG_KIND(class, n) ((uint16_t)((class) << 8 | (n)))
enum {
	CLASS_RT = 1,
	CLASS_TEST = 127, /* of tests and examples, as the next one */
	CLASS_TEST2 = 128,
};

/* The runtime's own kinds. All are URGENT. */
enum rt_msg {
	RT_DEADLINE = MSG_KIND(CLASS_RT, 1),   /* the ask `op` of yours had no answer by its deadline */
	RT_DOWN = MSG_KIND(CLASS_RT, 2),       /* the ask `op` of yours: the callee is gone, or refused (status says) */
	RT_CANCELLED = MSG_KIND(CLASS_RT, 3),  /* the ask `op` of yours: its cancel token died */
	RT_TIMER = MSG_KIND(CLASS_RT, 4),      /* rt_timer_start(op) is due */
	RT_STOP = MSG_KIND(CLASS_RT, 5),       /* please finish: shutdown, or your supervisor's wish */
	RT_CHILD_DOWN = MSG_KIND(CLASS_RT, 6), /* to a supervisor: struct rt_child_down */
	RT_LEFT =
	    MSG_KIND(CLASS_RT,
		     7), /* struct rt_left: nobody waits for a request to you any more. Not urgent: it comes behind
	                                    the request. Only for classes that want it (`hears_leavers`) */
};

/* Why something did not happen. Negative, errno-like, one meaning each. */
enum rt_error {
	RT_OK = 0,
	RT_EDEAD = -1,     /* no such actor (any more) */
	RT_EFULL = -2,     /* mailbox, pool or table is full: refuse at the edge */
	RT_EDEADLINE = -3, /* too late */
	RT_ECANCELLED = -4,
	RT_EIO = -5, /* a store failed; the text says how */
	RT_EINVAL = -6,
	RT_ENOTFOUND = -7,
	RT_EEXIST = -8,
	RT_EREADONLY = -9, /* the ledger accepts no writes now */
	RT_ESHUTDOWN = -10,
	RT_ETOOBIG = -11,
	RT_ECONFLICT = -12, /* what it builds on has changed */
};
const char *rt_error_text(int error); /* borrows a static string */
