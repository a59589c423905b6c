/* Segments in memory and the set of the live ones. */
#include "runtime/check.h"
#include "store/ledger/ledger_private.h"
#include <stdlib.h>

struct ledger_segment *ledger_segment_create(const struct ledger_segment_head *head)
{
	struct ledger_segment *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	atomic_init(&s->refs, 1);
	s->head = *head;
	s->foot = (struct ledger_segment_foot){ .seq = head->seq, .epoch = head->epoch, .data_end = LEDGER_BLOCK };
	s->foot.after = head->before;
	return s;
}

void ledger_segment_unref(struct ledger_segment *s)
{
	if (s == NULL || atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	ledger_index_finish(&s->index);
	ledger_fences_finish(&s->fences);
	free(s);
}

struct ledger_set *ledger_set_borrow(struct ledger *l)
{
	pthread_mutex_lock(&l->lock);
	struct ledger_set *set = l->set;
	atomic_fetch_add(&set->refs, 1);
	pthread_mutex_unlock(&l->lock);
	return set;
}

void ledger_set_unref(struct ledger_set *set)
{
	if (set == NULL || atomic_fetch_sub(&set->refs, 1) > 1)
		return;
	for (size_t i = 0; i < set->count; i++)
		ledger_segment_unref(set->segments[i]);
	free(set);
}

static void add(struct ledger_set *set, struct ledger_segment *s)
{
	atomic_fetch_add(&s->refs, 1);
	set->segments[set->count++] = s;
}

bool ledger_set_change(struct ledger *l, struct ledger_segment *leaving, struct ledger_segment *coming)
{
	struct ledger_set *old = l->set; /* only the caller's thread ever swaps it */
	size_t count = old ? old->count : 0;
	struct ledger_set *set = calloc(1, sizeof *set + (count + 1) * sizeof set->segments[0]);
	if (set == NULL)
		return false;
	atomic_init(&set->refs, 1);
	for (size_t i = 0; i < count; i++) {
		if (old->segments[i] != leaving)
			add(set, old->segments[i]);
		else if (coming != NULL)
			add(set, coming);
	}
	if (leaving == NULL && coming != NULL)
		add(set, coming);
	pthread_mutex_lock(&l->lock);
	l->set = set;
	pthread_mutex_unlock(&l->lock);
	ledger_set_unref(old);
	return true;
}
