/* Values on their way: the only place that makes ledger entries of values and of deletes, and that puts what they hold into
 * the online table.
 *
 * An entry carries what it will publish. The committer does that in the order of the log, before it answers any append of
 * the batch: whoever has the answer for position n of the log finds everything up to n in the table, on every loop. The
 * values of one row of an entry appear together.
 *
 * Who makes a value from others says what it has seen of the log (values_position, taken before the first read). What a
 * PUT or a delete has changed since then is never covered by it. */
#pragma once
#include "actors/node.h"
#include "store/evidence/entries.h"

/* The order in which entries take effect. One for all loops. */
struct values;
struct values *values_create(void); /* NULL: no memory */
void values_destroy(struct values *v);

/* How far the table is: everything that got its place in the log before this is in it. Any thread; one atomic load. */
uint64_t values_position(const struct node *n);
/* Has a PUT, an event or a delete taken its place since then in a row? And a delete? They may say so of a row that only has
 * the same place in a hash table. Any thread. */
bool values_row_was_written(const struct node *n, uint32_t entity, struct str entity_id, uint64_t position);
bool values_row_was_deleted(const struct node *n, uint32_t entity, struct str entity_id, uint64_t position);

struct values_cell {
	uint32_t feature;
	struct str entity_id; /* borrows */
	struct value *value;  /* borrows; NULL: from here on there is none */
	int64_t event_time_us;
	uint16_t event_time_ns;
	uint64_t position; /* ENTRY_COMPUTED: when its making began. After a later delete of its row it is left out */
};
struct values_write {
	uint32_t entity;
	enum entry_value_source source;
	uint64_t event_lsn; /* ENTRY_TRIGGERED: as the next */
	uint64_t
	    position; /* when the event's reads began: one of its cells written since then refuses the entry, RT_ECONFLICT */
	bool is_newest; /* ENTRY_PUSHED: the event time of each cell moves behind what is there of the cell */
	const struct values_cell *cells;
	size_t count;
};
/* Copies and refs what w borrows. NULL: no memory. */
struct evidence_entry *values_entry_new(const struct node *n, const struct values_write *w);
struct evidence_entry *values_delete_new(const struct node *n, uint32_t entity, struct str entity_id,
					 int64_t event_time_us);

/* Of an entry that came back durable. */
enum online_result values_result(const struct evidence_entry *e, size_t cell);
int64_t values_event_time_us(const struct evidence_entry *e, size_t cell);

/* For values that have no entry: one that is in the log already (its LSN), or that the ledger did not take (0). */
void values_publish(const struct node *n, uint32_t entity, const struct values_cell *cell,
		    enum entry_value_source source, uint64_t lsn, int64_t written_us);
/* The flags of the online table for what an entry's source is. */
uint32_t values_flags(enum entry_value_source source);
