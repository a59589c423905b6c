/* Events that were accepted and not applied when the process before this one ended: they are applied again, each once.
 *
 * They are read before anything is appended, and handed to the loops that own their entities before those run, in log order: no
 * new event can come before them. */
#pragma once
#include "actors/node.h"

struct pending_events {
	struct evidence_entry **entries; /* owned */
	size_t count;
};

/* What the log has of them. Blocks. false: *ret_why; what it took so far is in p. */
bool pending_events_read(struct pending_events *p, const struct log_source *log, struct buf *ret_why);
/* Hands all over and returns how many; those that cannot be read, or are too many at once, are logged and stay pending. After
 * the ingestors are there, before their loops run. */
size_t pending_events_redo(struct pending_events *p, const struct node *n);
void pending_events_finish(
    struct pending_events *p); /* those that were not handed over stay pending, for the next start */
