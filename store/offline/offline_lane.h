/* Lanes: blocking loops beside the reader's, each with a connection of its own, for the questions that take long.
 *
 * The reader runs each statement itself for OFFLINE_QUICK_MS at most. One that is not done then is stopped and begins again
 * in a lane (all of them only read), and the reader remembers the statement: the next time it goes there at once. So a quick
 * question waits for others of its kind, and for each slow statement once.
 *
 * A statement that took long in a lane too leaves one lane to the others, as long as there is more than one: a quick one
 * that was only kept from the CPU for a moment must not wait behind those that run for seconds. It is forgotten as slow
 * when its lane has found it quick. Who finds no lane free waits in a queue that refuses beyond OFFLINE_LANE_QUEUE_MAX. */
#pragma once
#include "store/offline/offline_duckdb.h"

enum {
	OFFLINE_QUICK_MS = 25,
	OFFLINE_LANES_MAX = 16,
	OFFLINE_LANE_QUEUE_MAX = 64,
	OFFLINE_SLOW_MAX = 64, /* statements remembered */
};

struct offline_lane {
	struct actor_ref ref;
	uint64_t op; /* of the ask that its actor answers when it is free again; 0 = free */
};
struct offline_slow {
	uint64_t hash; /* of the statement; 0 = free place */
	uint64_t used;
	bool is_long; /* it took long in a lane too */
};
struct offline_lanes {
	struct actor *reader; /* weak; the one who uses this */
	struct offline_lane lanes[OFFLINE_LANES_MAX];
	uint32_t lanes_count;
	struct msg *queue[OFFLINE_LANE_QUEUE_MAX]; /* taken; in order of arrival */
	uint32_t queue_len;
	struct offline_slow slow[OFFLINE_SLOW_MAX];
	uint64_t uses;
};

/* An actor that answers what it gets, on a loop of its own. */
struct actor_ref offline_spawn_lane(struct offline *o, struct loop *loop);

bool offline_lanes_is_slow(struct offline_lanes *l, const struct msg *m);
void offline_lanes_note_slow(struct offline_lanes *l, const struct msg *m);
/* Hands the question on; refuses it when too many wait. m: borrowed or taken. */
void offline_lanes_take(struct offline_lanes *l, struct msg *m);
/* Gives the lane that sent m, a reply to one of ours, the next question. false: m is something else. */
bool offline_lanes_on_reply(struct offline_lanes *l, struct msg *m);
void offline_lanes_finish(struct offline_lanes *l);
