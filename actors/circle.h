/* Finds functions that wait for themselves: feature a asks for b, whose function asks for a of the same entity. Each would wait
 * for the other until its deadline; the ask that closes such a circle fails at once instead.
 *
 * One table per I/O loop, used by its computations on its thread, since runs are shared within a loop only. A run is in it from
 * its start to its end, with what it waits for. Only runs that others can join are in it: those of features without an event,
 * and of retrievers. An ask that is answered from memory waits for no run and is not noted. */
#pragma once
#include "actors/script/script.h"

enum { CIRCLE_BUCKETS = 256 };

/* What a run is found by. For a feature: key is the entity id; for a retriever: the arguments as JSON. */
struct circle_target {
	enum script_function function;
	uint32_t index;
	struct str key;
};
struct circle_wait {
	struct circle_target target; /* key: lent, until the run leaves */
	uint32_t ask_id;             /* of the script; 0 = answered */
};
struct circle_run {                /* embedded in the computation */
	struct circle_target self; /* key: lent, until it leaves */
	struct circle_run *next;   /* in its bucket */
	struct circle_wait *waits; /* owned */
	uint32_t waits_count, waits_cap;
	bool is_in;
	uint64_t seen; /* number of the search that found it last */
	struct circle_run *found_by, *next_found;
};
struct circle {
	struct circle_run *buckets[CIRCLE_BUCKETS];
	uint64_t searches;
};

void circle_enter(struct circle *c, struct circle_run *run);
void circle_leave(struct circle *c, struct circle_run *run); /* also when it never entered */
/* Notes that the run waits for the target. CIRCLE_CLOSED: it would wait for itself; nothing is noted, and *ret_why says
 * "'a' waits for itself: a -> b -> a". */
enum circle_result { CIRCLE_NOTED, CIRCLE_CLOSED, CIRCLE_NO_MEMORY };
enum circle_result circle_wait_for(struct circle *c, struct circle_run *run, const struct circle_target *target,
				   uint32_t ask_id, const struct definitions *d, struct buf *ret_why);
void circle_answered(struct circle_run *run, uint32_t ask_id);
