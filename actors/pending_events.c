#include "actors/pending_events.h"
#include "actors/ingestor.h"
#include "runtime/log.h"
#include <stdlib.h>

static void stays_pending(uint64_t lsn, const char *reason)
{
	log_line(LOG_ERROR, "serve", "a pending event is not applied, and stays pending", LOG_INT("lsn", (int64_t)lsn),
		 LOG_CSTR("reason", reason));
}

static void keep(void *arg, const struct log_source_entry *f)
{
	struct pending_events *p = arg;
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	struct evidence_entry **grown = realloc(p->entries, (p->count + 1) * sizeof(struct evidence_entry *));
	if (grown)
		p->entries = grown;
	if (e == NULL || grown == NULL) {
		evidence_entry_free(e);
		stays_pending(f->lsn, "out of memory");
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

size_t pending_events_redo(struct pending_events *p, const struct node *n)
{
	struct entry_event event;
	size_t handed_over = 0;
	for (size_t i = 0; i < p->count; i++) {
		struct evidence_entry *e = p->entries[i];
		uint64_t lsn = e->lsn;
		p->entries[i] = NULL;
		if (e->body.failed || !entry_event_read(buf_str(&e->body), &event)) {
			stays_pending(lsn, e->body.failed ? "out of memory" : "it is malformed");
			evidence_entry_free(e);
			continue;
		}
		struct node_loop *owner = node_owner_of(n, event.entity_id);
		if (loop_post(rt_named(owner->loop, NAME_INGESTOR), &ingest_event_post(INGEST_REDO, e)->head))
			handed_over++;
		else
			stays_pending(lsn, "too many at once");
	}
	if (p->count)
		log_line(LOG_INFO, "serve", "pending events", LOG_INT("events", (int64_t)handed_over),
			 LOG_INT("not_applied", (int64_t)(p->count - handed_over)));
	return handed_over;
}

void pending_events_finish(struct pending_events *p)
{
	for (size_t i = 0; i < p->count; i++)
		evidence_entry_free(p->entries[i]);
	free(p->entries);
	*p = (struct pending_events){ 0 };
}
