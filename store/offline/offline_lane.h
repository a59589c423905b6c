/* Lanes: blocking loops beside the reader's, each with a connection of its own, for what may take long.
 *
 * The reader runs itself what it knows to be quick, for OFFLINE_QUICK_MS at most. One that is not done then is stopped and begins
 * again in a lane (all of them only read), and the reader remembers the statement: the next time it goes there at once. It is
 * known as quick again when a lane has found it so.
 *
 * What a statement takes before it runs (parsing, planning, computing its constants) cannot be stopped. So one that nobody
 * knows yet begins in a lane. When none is free, one of the definitions with a text of at most OFFLINE_TRIED_BYTES_MAX is
 * tried by the reader all the same, and a client's waits.
 *
 * A statement that took long in a lane too, and a client's that nobody knows, leave one lane to the others, as long as there is
 * more than one: a quick one must not wait behind those that run for seconds. Who finds no lane free waits in a queue that
 * refuses beyond OFFLINE_LANE_QUEUE_MAX. */
#pragma once
#include "store/offline/offline_duckdb.h"
#include "store/offline/offline_watch.h"

enum {
	OFFLINE_QUICK_MS = 25,
	OFFLINE_LANES_MAX = 16,
	OFFLINE_LANE_QUEUE_MAX = 64,
	OFFLINE_KNOWN_MAX = 128,         /* statements remembered */
	OFFLINE_TRIED_BYTES_MAX = 16384, /* of a text */
	OFFLINE_QUICK_PARAMS_BYTES =
	    4096, /* with more even a quick statement goes to a lane: one call may take their product */
};

struct offline_lane {
	struct actor_ref ref;
	struct offline_watched *watched; /* of its connection; weak: only compared */
	uint64_t op;                     /* of the ask that its actor answers when it is free again; 0 = free */
	uint64_t asked_op;               /* of the question that it has, and who asked it */
	struct actor_ref asker;
	bool was_left; /* nobody waits for it any more */
};
struct offline_known {
	uint64_t hash; /* of the statement; 0 = free place */
	uint64_t used;
	enum { OFFLINE_IS_QUICK, OFFLINE_IS_SLOW, OFFLINE_IS_LONG } speed; /* long: in a lane too */
};
struct offline_lanes {
	struct actor *reader; /* weak; the one who uses this */
	struct offline_lane lanes[OFFLINE_LANES_MAX];
	uint32_t lanes_count;
	struct msg *queue[OFFLINE_LANE_QUEUE_MAX]; /* taken; in order of arrival */
	uint32_t queue_len;
	struct offline_known known[OFFLINE_KNOWN_MAX];
	uint64_t uses;
};

/* An actor that answers what it gets, on a loop of its own. */
struct actor_ref offline_spawn_lane(struct offline *o, struct loop *loop, struct offline_watched **ret_watched);

/* Whether the reader runs it, and not a lane. */
bool offline_lanes_leave_it(struct offline_lanes *l, const struct msg *m);
/* It was not done in OFFLINE_QUICK_MS. */
void offline_lanes_note_slow(struct offline_lanes *l, const struct msg *m);
/* Hands the question on; refuses it when too many wait. m: borrowed or taken. */
void offline_lanes_take(struct offline_lanes *l, struct msg *m);
/* Nobody waits for the question any more: it leaves the queue, or is stopped in its lane. */
void offline_lanes_on_left(struct offline_lanes *l, struct offline_watch *watch, const struct rt_left *left);
/* The same again, from time to time: a lane may not have begun with it then, or be between two of its statements. */
void offline_lanes_end_left(struct offline_lanes *l, struct offline_watch *watch);
/* Gives the lane that sent m, a reply to one of ours, the next question. false: m is something else. */
bool offline_lanes_on_reply(struct offline_lanes *l, struct msg *m);
void offline_lanes_finish(struct offline_lanes *l);
