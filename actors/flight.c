#include "actors/flight.h"
#include "actors/reads.h"
#include "actors/values.h"
#include "runtime/hash.h"
#include <stdlib.h>

uint64_t flight_hash(uint32_t feature, struct str id)
{
	return hash_mix(hash64(id) + feature);
}

/* Does it give what someone may have who asks now? Not if it began before something that the asker may know: a write of its
 * row, or a value that another loop made later, even one that has expired since. One that is not asked for yet has not
 * begun. */
static bool is_joinable(const struct flights *all, const struct flight *f, const struct online_trace *seen)
{
	const struct node *n = all->nl->node;
	struct str id = str_of(f->id, f->id_n);
	const struct online_fast *online = n->stores->online.fast;
	struct online_trace trace;
	switch (f->state) {
	case QUEUED:
		return true;
	case APPENDED:
		if (loop_wall_us(all->nl->loop) >= f->as_of_us + n->definitions->features[f->feature].ttl_ms * 1000 ||
		    values_row_was_deleted(n, all->entity, id, f->position))
			return false;
		break;
	case FLYING:
	case LANDED:
		if (f->is_closed || values_row_was_written(n, all->entity, id, f->position))
			return false;
		break;
	}
	if (seen == NULL && online == NULL)
		return true;
	if (seen == NULL) {
		online->trace(online->table, all->entity, id, f->feature, loop_wall_us(all->nl->loop), &trace);
		seen = &trace;
	}
	return !seen->is_known || seen->event_time_us <= f->started_us;
}

bool flight_is_of(const struct flight *f, uint32_t feature, struct str id, uint64_t hash)
{
	return f->key_hash == hash && f->feature == feature && str_eq(str_of(f->id, f->id_n), id);
}

/* The newest that can be joined. */
struct flight *flight_find(const struct flights *all, uint32_t feature, struct str id, uint64_t hash,
			   const struct online_trace *seen)
{
	struct flight *f = all->by_key[hash % FLIGHT_BUCKETS];
	while (f && !(flight_is_of(f, feature, id, hash) && is_joinable(all, f, seen)))
		f = f->next_by_key;
	return f;
}

void flight_link(struct flights *all, struct flight *f)
{
	struct flight **key = &all->by_key[f->key_hash % FLIGHT_BUCKETS];
	f->next_by_key = *key;
	*key = f;
	all->count++;
}

void flight_await(struct flights *all, struct flight *f, uint64_t op)
{
	struct flight **bucket = &all->by_op[hash_mix(op) % FLIGHT_BUCKETS];
	f->state = FLYING;
	f->op = op;
	f->next = *bucket;
	*bucket = f;
}

struct flight *flight_take(struct flights *all, uint64_t op)
{
	struct flight **at = &all->by_op[hash_mix(op) % FLIGHT_BUCKETS];
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct flight *f = *at;
	if (f)
		*at = f->next;
	return f;
}

void flight_free(struct flight *f)
{
	value_unref(f->value);
	reads_unref(f->reads);
	free(f->reason);
	free(f);
}

/* For who reads the table without asking: see resolver_is_ahead. */
void flight_count_appended(struct flights *all, const struct flight *f, int change)
{
	struct online_key key = online_key(all->entity, str_of(f->id, f->id_n));
	all->appended_count += (uint32_t)change;
	all->nl->ahead[key.hash % NODE_AHEAD] += (uint32_t)change;
}

void flight_end(struct flights *all, struct flight *f)
{
	struct flight **at = &all->by_key[f->key_hash % FLIGHT_BUCKETS];
	while (*at != f)
		at = &(*at)->next_by_key;
	*at = f->next_by_key;
	all->count--;
	if (f->state == APPENDED)
		flight_count_appended(all, f, -1);
	flight_free(f);
}
