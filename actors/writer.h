/* The writer: one actor per I/O loop. Takes what clients write: values of one id, and the removal of all that an id has. */
#pragma once
#include "actors/node.h"

enum { CLASS_WRITER = 71 };
enum writer_msg {
	WRITER_PUT = MSG_KIND(CLASS_WRITER, 1),    /* ask: struct writer_write */
	WRITER_DELETE = MSG_KIND(CLASS_WRITER, 2), /* ask: struct writer_write without cells */
	WRITER_WRITTEN = MSG_KIND(CLASS_WRITER,
				  3), /* reply: struct writer_write; status as EVIDENCE_APPENDED. RT_OK: durable, and
						       visible on every loop as far as the outcomes say, unless it
						       is_pending */
};

enum write_outcome {
	WRITE_DONE,
	WRITE_STALE,   /* in the history only: something newer is there, or its ttl is over */
	WRITE_NO_ROOM, /* in the history only: the online table has no room */
};

struct write { /* heap */
	uint32_t entity;
	struct str entity_id;  /* in the same block */
	bool is_timed;         /* the client said when. Else it is newer than what is there, and the writer says when */
	int64_t event_time_us; /* when not timed, in the answer: the latest that one of the cells got */
	uint16_t event_time_ns; /* beyond the microsecond */
	bool
	    is_pending; /* in the answer: durable, but the online store does not have all of it yet. It is put there when the
			    store takes it; until then reads may find what was there before */
	uint32_t count, cap;
	struct write_cell {
		uint32_t feature;
		struct value *value; /* owned */
		enum write_outcome outcome;
	} cells[];
};
/* Room for cap cells; the id is copied. NULL: no memory. */
struct write *write_new(uint32_t entity, struct str entity_id, uint32_t cap);
void write_free(struct write *w); /* NULL ok */

struct writer_write {
	struct msg head;     /* dispose frees write */
	struct write *write; /* moves both ways */
};
struct writer_write *writer_write_new(struct loop *loop, uint16_t kind, struct write *write); /* moves write */
extern const struct actor_class writer_class; /* init argument: struct node_loop */
