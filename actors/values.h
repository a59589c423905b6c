/* Values on their way: the only place that makes ledger entries of values and of deletes, and that puts what they hold into
 * the online table.
 *
 * An entry carries what it will publish. The committer does that in the order of the log, before it answers any append of
 * the batch: whoever has the answer for position n of the log finds everything up to n in the table, on every loop. The
 * values of one row of an entry appear together.
 *
 * Who makes a value from others says what it has seen of the log (values_position, taken before the first read). What a
 * PUT or a delete has changed since then is never covered by it.
 *
 * An online store that is not in this process's memory (stores.online.fast is NULL) is written by messages, by the publisher of a
 * loop: whoever has appended an entry asks it (actors/publisher.h) before it goes on. What then holds is said below. */
#pragma once
#include "actors/node.h"
#include "store/evidence/entries.h"

/* The order in which entries take effect. One for all loops. */
struct values;
struct values *values_create(void); /* NULL: no memory */
void values_destroy(struct values *v);

/* How far the table is: everything that got its place in the log before this is in it. Any thread; one atomic load.
 *
 * Of a store elsewhere: all of this process whose publishing had ended before this is in it, but for rows of which
 * values_is_behind says otherwise: they are to be read from the history. A write that was still on its way counts as written
 * behind this position. Of other processes it says nothing: there a newer event time wins in the store, and what is read to be
 * written again has to be locked where the history is. */
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
	uint64_t seen; /* ENTRY_COMPUTED: position when it was begun. After a later delete of its row it is left out */
};
struct values_write {
	uint32_t entity;
	enum entry_value_source source;
	uint64_t event_lsn; /* ENTRY_TRIGGERED: as the next */
	uint64_t seen;  /* position when the event's reads began: a write of its cells since refuses it, RT_ECONFLICT */
	bool is_newest; /* ENTRY_PUSHED: the event time of each cell moves behind what is there of it; with a store
			   elsewhere, behind what this process wrote of it lately */
	const struct values_cell *cells;
	size_t count;
};
/* Copies and refs what w borrows. NULL: no memory. */
struct evidence_entry *values_entry_new(const struct node *n, const struct values_write *w);
struct evidence_entry *values_delete_new(const struct node *n, uint32_t entity, struct str entity_id,
					 int64_t event_time_us);

/* What is logged of a value with ONLINE_FULL. */
#define VALUES_NOT_KEPT                                                                                                \
	"the online table does not keep a value: it, its id or its row is too large, or memory is out; see FABRA_ONLINE_BYTES"

/* Of an entry that came back durable. */
enum online_result values_result(const struct evidence_entry *e, size_t cell);
size_t values_refused(const struct evidence_entry *e); /* how many of its cells are ONLINE_FULL */
int64_t values_event_time_us(const struct evidence_entry *e, size_t cell);
/* Of one that came back with RT_ECONFLICT: for sure this very cell, or its row by a delete, has got a later place. When that is
 * said of no cell, a write was under way, or something else has the same place in a table: read again. */
bool values_was_overtaken(const struct evidence_entry *e, size_t cell);

/* For values that have no entry: one that is in the log already (its LSN), or that the ledger did not take (0). A store
 * elsewhere does not get them (ONLINE_FAILED): what the history lacks nobody could repair. */
enum online_result values_publish(const struct node *n, uint32_t entity, const struct values_cell *cell,
				  enum entry_value_source source, uint64_t lsn, int64_t written_us);
/* The flags of the online table for what an entry's source is. */
uint32_t values_flags(enum entry_value_source source);

/* ---- a store that is not in this process's memory ---- */
bool values_are_elsewhere(const struct node *n);

/* For the publisher. One row of an entry. */
struct values_row {
	uint32_t entity;
	struct str id;                                     /* borrows from the entry */
	bool is_delete;                                    /* of the whole row; then there are no changes */
	struct online_meta when;                           /* of the delete */
	size_t cells[ONLINE_TOGETHER_MAX];                 /* which cells of the entry the changes are of */
	struct online_change changes[ONLINE_TOGETHER_MAX]; /* their values borrow */
	uint32_t count;                                    /* 0: nothing of it is stored */
	size_t next;                                       /* where the next row begins */
};
/* Is it durable and still to be published? Not of an entry without values. */
bool values_are_unpublished(const struct evidence_entry *e);
/* The row that begins with cell `at`, 0 at first. false: there is none. The same each time, but for now_us. */
bool values_row_at(const struct evidence_entry *e, size_t at, int64_t now_us, struct values_row *ret);
/* Is one of the changes of this feature? A row has each feature once. */
bool values_has_change(const struct online_change *changes, uint32_t count, uint32_t feature);
void values_note_result(struct evidence_entry *e, size_t cell, enum online_result result);
/* After the last result. Of what failed values_fall_behind was called before. An entry that is freed without this makes a
 * repair due. */
void values_published(struct evidence_entry *e);
/* How many of its cells failed: they are pending. Before it is published, all. */
size_t values_failed(const struct evidence_entry *e);

/* Something of the row is kept to be put again; and it is not kept any more. Both return how much is kept in all. Any thread. */
uint64_t values_fall_behind(const struct node *n, uint32_t entity, struct str entity_id);
uint64_t values_catch_up(const struct node *n, uint32_t entity, struct str entity_id, bool is_published);
/* May the store lack something of this row that this process wrote and answered for? The history has it. It may say so of a row
 * that only has the same place in a hash table. Any thread. */
bool values_is_behind(const struct node *n, uint32_t entity, struct str entity_id);
/* Asks for all of the history's newest values to be put again, in the background (actors/repairer.h): at the start, when the
 * store may have lost something (it is there again after an interruption), when too much is pending. Any thread; cheap. */
void values_repair(const struct node *n);
/* For the repairer: a number for what is due, 0: nothing is; and that all that was due at that number is done. */
uint64_t values_repair_due(const struct node *n);
void values_repaired(const struct node *n, uint64_t due);
