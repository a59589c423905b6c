/* Eviction is CLOCK over the buckets: a hand goes round, gives a row that was read since its last visit another round,
 * and takes the values of the others. The order of buckets is as good as random, so no list is kept and a read changes
 * at most one bit of its row. Rows start without the bit: a load of many rows that nobody reads displaces itself. */
#include "store/online_table.h"

/* Chunks without a find before visited rows are taken too: bounds what one write can be made to wait for. */
enum { PATIENCE = 64, DEAD_MAX = 64 };

enum reclaim {
	RECLAIM_EXPIRED,    /* only what has expired */
	RECLAIM_COLD,       /* also the values of rows without the bit */
	RECLAIM_ANY,        /* also the values of the others */
	RECLAIM_TOMBSTONES, /* tombstones, expired or not */
};

/* What a chunk lost, to be freed after its lock. */
struct dead {
	struct row *rows;
	struct value *values[DEAD_MAX];
	size_t values_len, bytes;
	size_t tombstones;                  /* taken out, as the values were */
	size_t expired, evicted, forgotten; /* why */
};

static void dead_free(struct online *t, struct dead *d)
{
	for (size_t i = 0; i < d->values_len; i++) {
		d->bytes += row_value_bytes(d->values[i]);
		value_unref(d->values[i]);
	}
	for (struct row *r = d->rows, *next; r; r = next) {
		next = r->next;
		d->bytes += row_destroy(r);
	}
	if (d->bytes)
		online_release(t, d->bytes);
	if (d->tombstones)
		atomic_fetch_sub_explicit(&t->tombstones, d->tombstones, memory_order_relaxed);
	if (d->forgotten)
		atomic_fetch_add_explicit(&t->tombstones_forgotten, d->forgotten, memory_order_relaxed);
}

static bool cell_goes(const struct cell *c, enum reclaim what, bool row_cold, int64_t now_us)
{
	if (cell_expired(c, now_us))
		return true;
	switch (what) {
	case RECLAIM_EXPIRED:
		return false;
	case RECLAIM_COLD:
	case RECLAIM_ANY:
		return row_cold && c->value;
	case RECLAIM_TOMBSTONES:
		return c->value == NULL;
	}
	return false;
}

/* Takes cells out of one row. false: the list of dead values is full, and the row is to be seen again. */
static bool reclaim_cells(struct row *r, enum reclaim what, int64_t now_us, struct dead *d)
{
	bool cold = what == RECLAIM_ANY || !r->visited;
	if (what == RECLAIM_COLD)
		r->visited = false;
	for (unsigned i = r->cells_len; i-- > 0;) {
		struct cell *c = row_cells(r) + i;
		if (!cell_goes(c, what, cold, now_us))
			continue;
		if (c->value && d->values_len == DEAD_MAX)
			return false;
		if (cell_expired(c, now_us))
			d->expired++;
		else if (c->value)
			d->evicted++;
		else
			d->forgotten++;
		if (c->value)
			d->values[d->values_len++] = c->value;
		else
			d->tombstones++;
		row_remove(r, c);
	}
	return true;
}

static size_t reclaim_chunk(struct online *t, size_t first, enum reclaim what, int64_t now_us)
{
	struct dead d = { 0 };
	struct stripe *s = online_stripe(t, first);
	size_t rows = 0;
	bool room = true;
	pthread_mutex_lock(&s->lock);
	for (size_t b = first; b < first + CHUNK && room; b++) {
		for (struct row **link = &t->buckets[b], *r; (r = *link) && room;) {
			room = reclaim_cells(r, what, now_us, &d);
			if (r->cells_len) {
				link = &r->next;
				continue;
			}
			*link = r->next;
			r->next = d.rows;
			d.rows = r;
			rows++;
		}
	}
	s->rows -= rows;
	s->cells -= d.values_len;
	s->expired_cells += d.expired;
	s->evicted_cells += d.evicted;
	pthread_mutex_unlock(&s->lock);
	dead_free(t, &d);
	return d.values_len + d.tombstones;
}

static size_t hand_next(const struct online *t, atomic_size_t *hand)
{
	return atomic_fetch_add_explicit(hand, CHUNK, memory_order_relaxed) & (t->buckets_len - 1);
}

static bool over(struct online *t)
{
	return atomic_load_explicit(&t->bytes, memory_order_relaxed) > t->bytes_max;
}

bool online_reserve(struct online *t, size_t n, int64_t now_us)
{
	if (n > t->bytes_max / 8)
		return false;
	if (atomic_fetch_add_explicit(&t->bytes, n, memory_order_relaxed) + n <= t->bytes_max)
		return true;
	size_t idle = 0;
	/* Once round after patience ends finds everything that there is to find. */
	while (over(t) && idle < PATIENCE + t->buckets_len / CHUNK) {
		enum reclaim what = idle < PATIENCE ? RECLAIM_COLD : RECLAIM_ANY;
		idle = reclaim_chunk(t, hand_next(t, &t->evict_hand), what, now_us) ? 0 : idle + 1;
	}
	if (!over(t))
		return true;
	online_release(t, n);
	return false;
}

void online_trim_tombstones(struct online *t)
{
	size_t chunks = t->buckets_len / CHUNK;
	while (atomic_load_explicit(&t->tombstones, memory_order_relaxed) > t->tombstones_max && chunks--)
		reclaim_chunk(t, hand_next(t, &t->evict_hand), RECLAIM_TOMBSTONES, 0);
}

size_t online_sweep(struct online *t, int64_t now_us, size_t budget)
{
	size_t freed = 0;
	for (size_t seen = 0; seen < budget; seen += CHUNK)
		freed += reclaim_chunk(t, hand_next(t, &t->sweep_hand), RECLAIM_EXPIRED, now_us);
	return freed;
}
