#include "actors/circle.h"
#include "runtime/hash.h"
#include <stdlib.h>

enum { NAMES_MAX = 12 }; /* of a path; longer ones are shortened in the middle */

static bool is_same(const struct circle_target *a, const struct circle_target *b)
{
	return a->function == b->function && a->index == b->index && str_eq(a->key, b->key);
}

static struct circle_run **bucket_of(struct circle *c, const struct circle_target *t)
{
	uint64_t h = hash_mix(hash64(t->key) + 2 * (uint64_t)t->index + (t->function == SCRIPT_RETRIEVE));
	return &c->buckets[h % CIRCLE_BUCKETS];
}

/* Several runs can have the same target: a retriever runs again after its cached answer was dropped. Others join the newest. */
static struct circle_run *find(struct circle *c, const struct circle_target *t)
{
	struct circle_run *run = *bucket_of(c, t);
	while (run && !is_same(&run->self, t))
		run = run->next;
	return run;
}

void circle_enter(struct circle *c, struct circle_run *run)
{
	struct circle_run **bucket = bucket_of(c, &run->self);
	run->next = *bucket;
	*bucket = run;
	run->is_in = true;
}

void circle_leave(struct circle *c, struct circle_run *run)
{
	if (run->is_in) {
		struct circle_run **at = bucket_of(c, &run->self);
		while (*at != run)
			at = &(*at)->next;
		*at = run->next;
		run->is_in = false;
	}
	free(run->waits);
	run->waits = NULL;
	run->waits_count = run->waits_cap = 0;
}

/* Breadth first from `from`, so that the path is the shortest. Each run is looked at once. */
static bool reaches(struct circle *c, struct circle_run *from, const struct circle_run *to)
{
	uint64_t search = ++c->searches;
	struct circle_run *last = from;
	from->seen = search;
	from->found_by = from->next_found = NULL;
	for (struct circle_run *run = from; run; run = run->next_found) {
		if (run == to)
			return true;
		for (uint32_t i = 0; i < run->waits_count; i++) {
			struct circle_run *next = run->waits[i].ask_id ? find(c, &run->waits[i].target) : NULL;
			if (next == NULL || next->seen == search)
				continue;
			next->seen = search;
			next->found_by = run;
			next->next_found = NULL;
			last->next_found = next;
			last = next;
		}
	}
	return false;
}

static struct str name_of(const struct definitions *d, const struct circle_run *run)
{
	return run->self.function == SCRIPT_RETRIEVE ? d->retrievers[run->self.index].name
						     : d->features[run->self.index].name;
}

/* After a search that began at what `run` asks for and found `run`. */
static void write_path(const struct circle_run *run, const struct definitions *d, struct buf *out)
{
	const struct circle_run *names[NAMES_MAX]; /* backwards: run, the one that waits for it, and so on */
	uint32_t count = 0, left_out = 0;
	for (const struct circle_run *at = run; at; at = at->found_by) {
		if (count < NAMES_MAX)
			names[count++] = at;
		else
			left_out++, names[NAMES_MAX - 1] = at;
	}
	buf_printf(out, "'%.*s' waits for itself: %.*s", STR_ARG(name_of(d, run)), STR_ARG(name_of(d, run)));
	for (uint32_t i = count; i > 0; i--) {
		buf_printf(out, " -> %.*s", STR_ARG(name_of(d, names[i - 1])));
		if (i == count && left_out > 0)
			buf_printf(out, " -> (%u more)", left_out);
	}
}

enum circle_result circle_wait_for(struct circle *c, struct circle_run *run, const struct circle_target *target,
				   uint32_t ask_id, const struct definitions *d, struct buf *ret_why)
{
	struct circle_run *asked = find(c, target);
	if (asked && reaches(c, asked, run)) {
		write_path(run, d, ret_why);
		return CIRCLE_CLOSED;
	}
	if (run->waits_count == run->waits_cap) {
		uint32_t cap = run->waits_cap ? 2 * run->waits_cap : 4;
		struct circle_wait *waits = realloc(run->waits, cap * sizeof *waits);
		if (waits == NULL)
			return CIRCLE_NO_MEMORY;
		run->waits = waits;
		run->waits_cap = cap;
	}
	run->waits[run->waits_count++] = (struct circle_wait){ *target, ask_id };
	return CIRCLE_NOTED;
}

void circle_answered(struct circle_run *run, uint32_t ask_id)
{
	for (uint32_t i = 0; i < run->waits_count; i++)
		if (run->waits[i].ask_id == ask_id)
			run->waits[i].ask_id = 0;
}
