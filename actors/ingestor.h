/* The ingestor: one actor per I/O loop. Makes events durable, then applies them to the features they trigger, in log
 * order for each entity and exactly once, with the previous value at hand. An entity's events all go to the ingestor of
 * one loop (node_owner_of). */
#pragma once
#include "actors/node.h"
#include "store/evidence/entries.h"
#include "store/evidence/idempotency.h"

enum { CLASS_INGESTOR = 68 };
enum ingestor_msg {
	INGEST_EVENT = MSG_KIND(CLASS_INGESTOR, 1), /* ask: struct ingest_event */
	/* reply: struct ingest_accepted; status as EVIDENCE_APPENDED. Of one with an idempotency key also RT_EINVAL: the key
	 * was used for another request; RT_EEXIST: the first one is under way; RT_EFULL: too many keys. */
	INGEST_ACCEPTED = MSG_KIND(CLASS_INGESTOR, 2),
	INGEST_REDO = MSG_KIND(CLASS_INGESTOR,
			       3), /* tell: struct ingest_event that is durable already (after a crash) */
};
struct ingest_event {
	struct msg head;              /* dispose frees entry */
	struct evidence_entry *entry; /* moves; EVIDENCE_EVENT */
};
struct ingest_accepted {
	struct msg head;
	bool is_repeat; /* nothing was done: `first` is of the request that had the key before */
	struct idempotency_first first;
};
extern const struct actor_class ingestor_class; /* init argument: struct node_loop */
struct ingest_event *ingest_event_new(struct loop *loop, uint16_t kind, struct evidence_entry *entry); /* moves entry */
/* The same from a thread that is no loop (start-up). */
struct ingest_event *ingest_event_post(uint16_t kind, struct evidence_entry *entry);
