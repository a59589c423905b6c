/* Fills the online table at start with the values of the history and the log that the definitions as they are now would
 * serve. A value is left out when another version of the code made it, when it is past the ttl that it was written with or
 * the one that its feature has now, and when its feature is computed at each read. */
#pragma once
#include "actors/node.h"

struct warm_counts {
	uint64_t values;    /* that are in the table now */
	uint64_t refused;   /* values and deletes that the table has no room for */
	uint64_t malformed; /* entries of the log that cannot be read */
	uint64_t lost;      /* entries of the log that are missing */
};
/* The newest values of the history, then what the log has beyond it. Before the loops run; blocks. What is not whole is
 * counted and logged as an error; the start goes on. false: *ret_why.
 *
 * An online store that is not in this process's memory is not filled here: what it may lack is put there in the background once
 * the loops run (actors/repairer.h), and counts stays empty. */
bool warm_start(const struct node *n, struct warm_counts *ret, struct buf *ret_why);

/* ---- its parts ---- */
enum warm_change {
	WARM_NOTHING,    /* the definitions as they are now would not serve it */
	WARM_NO_MEMORY,  /* for its value */
	WARM_CELL,       /* *ret, which owns its value; without one it is a delete of the cell */
	WARM_ROW_DELETE, /* *ret has event time and LSN */
};
/* What a value of the history, or a tombstone, means for the online store. */
enum warm_change warm_start_change(const struct node *n, const struct offline_value *v, int64_t now_us,
				   uint32_t *ret_entity, struct online_change *ret);
/* They add to counts. */
void warm_start_value(const struct node *n, const struct offline_value *v, int64_t now_us, struct warm_counts *counts);
/* The values and tombstones of an entry of the log. */
void warm_start_frame(const struct node *n, const struct log_source_entry *f, int64_t now_us,
		      struct warm_counts *counts);
