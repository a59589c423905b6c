/* What is stored of some rows: in the online store, and in the history where the online store has forgotten.
 *
 * Who has a store in memory (struct online_fast) looks there first, and asks only for what may be in the history (stored_may_be_lost);
 * without one all is asked. One actor per I/O loop answers: it sends what comes in a turn to the online store in one message,
 * and what that does not have to the history. What the history gives is put into the online store again, by its own event time and
 * position; that it has nothing is remembered for a moment. A value of a feature that is computed is not looked for in the history:
 * it is computed. */
#pragma once
#include "actors/feature_request.h"
#include "actors/node.h"

enum { CLASS_STORED = 73 };
enum stored_msg {
	STORED_READ = MSG_KIND(CLASS_STORED, 1), /* ask: struct stored_read */
	STORED_ROWS = MSG_KIND(CLASS_STORED, 2), /* reply: the same rows, each cell with its state; status 0 */
};
enum { STORED_ROWS_MAX = 1024, STORED_CELLS_MAX = 4096 }; /* of one STORED_READ */

enum stored_state {
	STORED_ABSENT, /* nobody has written it, it was deleted, or (of a computed one) it is to be computed */
	STORED_FOUND,
	STORED_EXPIRED, /* past its ttl */
	STORED_FAILED,  /* nobody knows: the history could not be asked. stored_rows says why */
};
struct stored_cell {
	uint32_t feature;
	uint32_t tag; /* the asker's own */
	enum stored_state state;
	/* The online store did not say, and others may have written what the history of this process does not have. FOUND: there may
	 * be a newer one. Never ABSENT or EXPIRED. */
	bool is_second_hand;
	struct online_cell cell;   /* FOUND: its reference is the message's; who takes it sets value to NULL */
	struct online_trace trace; /* what is known of the cell, from wherever it came */
};
struct stored_row {
	uint32_t entity, count;
	struct str id;
	struct stored_cell *cells;
};
struct stored_rows {
	struct arena arena; /* all that follows is in it */
	struct stored_row *rows;
	uint32_t count, cap, cells_count;
	enum feature_state failure; /* of the cells that are FAILED: FAILED, TIMEOUT or REFUSED */
	struct str reason;          /* likewise */
};
struct stored_read {
	struct msg head;          /* dispose frees what */
	struct stored_rows *what; /* owned; moves both ways */
};
/* NULL: no memory. */
struct stored_read *stored_read_new(struct loop *loop);
/* Adds a row of 1 to ONLINE_TOGETHER_MAX features and copies the id; the tags are 0. NULL: it does not fit any more, or there is
 * no memory; the message is as before. A row always fits an empty one. */
struct stored_row *stored_read_add(struct stored_read *m, uint32_t entity, struct str id, const uint32_t *features,
				   uint32_t n);

extern const struct actor_class stored_class; /* init argument: struct node_loop */
struct actor_ref node_stored(const struct node_loop *nl);

/* Whether the history has to be asked before this can be called absent. Any thread. */
static inline bool stored_may_be_lost(const struct definitions *d, uint32_t feature, const struct online_trace *trace)
{
	return trace->may_be_lost && !def_feature_is_computed(&d->features[feature]);
}
/* How a value of the history is kept in the online store: also for the warm start. */
struct online_meta stored_meta(const struct def_feature *f, const struct offline_value *v);
