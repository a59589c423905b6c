/* Commands for Redis and their replies, as one message there and back: what is asked for together goes out together.
 *
 *     struct redis_call *c = redis_call_new();
 *     redis_call_begin(c, 2); redis_call_arg(c, STR("GET")); redis_call_arg(c, key);
 *     rt_ask(self, redis_conn(redis, loop), &redis_call_msg_new(loop, c)->head, deadline_ns, ACTOR_NONE);
 *     REDIS_DONE: status 0: a reply to each command, in order, which may be an error. RT_EIO: nobody knows what of it was done;
 *     call->why says what happened. RT_EFULL: too much waits already; nothing was done.
 *
 * A call is one thread's: whoever has the message. */
#pragma once
#include "runtime/arena.h"
#include "runtime/buf.h"
#include "runtime/loop.h"

enum redis_type {
	REDIS_NIL,
	REDIS_TEXT,
	REDIS_STATUS, /* text, as REDIS_ERROR */
	REDIS_ERROR,
	REDIS_INTEGER,
	REDIS_ARRAY,
	REDIS_TOO_LARGE, /* there was a reply, but no room for it */
};
struct redis_reply {
	enum redis_type type;
	uint32_t count; /* of items */
	union {
		struct str text; /* in the call's arena */
		int64_t integer;
		struct redis_reply *items;
	};
};

struct redis_call {
	struct buf commands; /* as they go out */
	uint32_t count;      /* of commands */
	uint32_t answered;
	struct redis_reply *replies; /* `answered` of them, in arena */
	struct arena arena;
	const char *why; /* static; of a call that failed */
	/* The connection's. */
	struct redis_call *next;
	struct msg *request; /* taken */
	size_t sent;         /* bytes of commands */
	uint64_t sent_ns;
};

enum { REDIS_REPLY_BYTES_MAX = 64 << 20 }; /* of all replies of a call; what comes beyond is REDIS_TOO_LARGE */

struct redis_call *redis_call_new(void); /* NULL: no memory */
void redis_call_free(struct redis_call *c);
/* Begins a command of so many arguments, its name included, which redis_call_arg gives. No memory: commands.failed. */
void redis_call_begin(struct redis_call *c, uint32_t args);
void redis_call_arg(struct redis_call *c, struct str arg);
/* Room for the replies. false: no memory, now or when it was made. */
bool redis_call_seal(struct redis_call *c);

enum { CLASS_REDIS = 38 };
enum redis_msg {
	REDIS_CALL = MSG_KIND(CLASS_REDIS, 1), /* ask */
	REDIS_DONE = MSG_KIND(CLASS_REDIS, 2),
	REDIS_LOOK_UP = MSG_KIND(CLASS_REDIS, 3), /* the connection's own */
	REDIS_FOUND = MSG_KIND(CLASS_REDIS, 4),
};
struct redis_call_msg {
	struct msg head;         /* dispose frees call */
	struct redis_call *call; /* owned; moves both ways */
};
struct redis_call_msg *redis_call_msg_new(struct loop *loop, enum redis_msg kind, struct redis_call *c);

/* ---- for the connection ---- */
struct redisReplyObjectFunctions;
/* How hiredis makes replies: in the arena of the call that is the reader's privdata. */
extern struct redisReplyObjectFunctions redis_reply_functions;
