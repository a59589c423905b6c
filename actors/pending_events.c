#include "actors/pending_events.h"
#include "actors/ingestor.h"
#include "runtime/log.h"
#include <stdlib.h>

static void keep(void *arg, const struct log_source_entry *f)
{
	struct pending_events *p = arg;
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	struct evidence_entry **grown = realloc(p->entries, (p->count + 1) * sizeof(struct evidence_entry *));
	if (grown)
		p->entries = grown;
	if (e == NULL || grown == NULL) {
		evidence_entry_free(e); /* it stays pending, for the next start */
		return;
	}
	e->lsn = f->lsn;
	buf_append_str(&e->body, f->body);
	p->entries[p->count++] = e;
}

bool pending_events_read(struct pending_events *p, const struct log_source *log, struct buf *ret_why)
{
	return log->pending_events(log->log, p, keep, ret_why);
}

void pending_events_redo(struct pending_events *p, const struct node *n)
{
	struct entry_event event;
	for (size_t i = 0; i < p->count; i++) {
		struct evidence_entry *e = p->entries[i];
		p->entries[i] = NULL;
		if (!entry_event_read(buf_str(&e->body), &event)) {
			evidence_entry_free(e);
			continue;
		}
		struct node_loop *owner = node_owner_of(n, event.entity_id);
		if (!loop_post(rt_named(owner->loop, NAME_INGESTOR), &ingest_event_post(INGEST_REDO, e)->head))
			log_line(LOG_ERROR, "serve", "a pending event waits for the next start: too many at once");
	}
	if (p->count)
		log_line(LOG_INFO, "serve", "pending events", LOG_INT("events", (int64_t)p->count));
}

void pending_events_finish(struct pending_events *p)
{
	for (size_t i = 0; i < p->count; i++)
		evidence_entry_free(p->entries[i]);
	free(p->entries);
	*p = (struct pending_events){ 0 };
}
