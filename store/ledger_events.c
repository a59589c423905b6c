/* Events that wait for their mark: a sorted list of LSNs, as long as the work in flight. */
#include "store/ledger_recover.h"
#include <stdlib.h>

uint64_t ledger_events_from(const struct ledger *l)
{
	return l->writer.events_count > 0 ? l->writer.events[0] : l->writer.tip.lsn + 1;
}

bool ledger_events_reserve(struct ledger_writer *w, size_t extra)
{
	if (w->events_cap - w->events_count >= extra)
		return true;
	size_t cap = (w->events_count + extra) * 2;
	uint64_t *events = realloc(w->events, cap * sizeof *events);
	if (events == NULL)
		return false;
	w->events = events;
	w->events_cap = cap;
	return true;
}

bool ledger_events_add(struct ledger_writer *w, uint64_t lsn)
{
	if (!ledger_events_reserve(w, 1))
		return false;
	w->events[w->events_count++] = lsn;
	return true;
}

void ledger_events_remove(struct ledger_writer *w, uint64_t lsn)
{
	size_t low = 0, high = w->events_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (w->events[middle] < lsn)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == w->events_count || w->events[low] != lsn)
		return;
	memmove(w->events + low, w->events + low + 1, (--w->events_count - low) * sizeof *w->events);
}
