/* Events that wait for their mark: their LSNs, ascending. Marks come in nearly the order of their events, and often many at once
 * when a backlog drains, so taking one out must not move the rest: its place is marked, free places are dropped from the front
 * at once and from the midst when they are the half. */
#include "store/ledger/ledger_recover.h"
#include <stdlib.h>

enum { DONE = 1 }; /* lowest bit of a place; the LSN is above it */

static uint64_t lsn_at(const struct ledger_events *e, size_t i)
{
	return e->places[i] >> 1;
}

uint64_t ledger_events_at(const struct ledger_events *e, size_t i)
{
	return (e->places[i] & DONE) ? 0 : lsn_at(e, i);
}

uint64_t ledger_events_from(const struct ledger *l)
{
	const struct ledger_events *e = &l->writer.events;
	return e->waiting > 0 ? lsn_at(e, e->first) : l->writer.tip.lsn + 1;
}

static void compact(struct ledger_events *e)
{
	size_t kept = 0;
	for (size_t i = e->first; i < e->end; i++) {
		if (!(e->places[i] & DONE))
			e->places[kept++] = e->places[i];
	}
	e->first = 0;
	e->end = kept;
}

bool ledger_events_reserve(struct ledger_writer *w, size_t extra)
{
	struct ledger_events *e = &w->events;
	if (e->cap - e->end >= extra)
		return true;
	if (e->waiting * 2 <= e->end)
		compact(e);
	if (e->cap - e->end >= extra)
		return true;
	size_t cap = (e->end + extra) * 2;
	uint64_t *places = realloc(e->places, cap * sizeof *places);
	if (places == NULL)
		return false;
	e->places = places;
	e->cap = cap;
	return true;
}

bool ledger_events_add(struct ledger_writer *w, uint64_t lsn)
{
	if (!ledger_events_reserve(w, 1))
		return false;
	w->events.places[w->events.end++] = lsn << 1;
	w->events.waiting++;
	return true;
}

void ledger_events_remove(struct ledger_writer *w, uint64_t lsn)
{
	struct ledger_events *e = &w->events;
	size_t low = e->first, high = e->end;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (lsn_at(e, middle) < lsn)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == e->end || e->places[low] != lsn << 1)
		return;
	e->places[low] |= DONE;
	e->waiting--;
	while (e->first < e->end && (e->places[e->first] & DONE))
		e->first++;
	if (e->first == e->end)
		e->first = e->end = 0;
}
