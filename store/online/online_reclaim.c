/* Eviction is CLOCK over the buckets of one stripe after the other: a hand goes round, gives a row that was
 * read since its last visit another round, and takes the values of the others. The order of buckets is as
 * good as random, so no list is kept and a read changes at most one bit of its row. Rows start without the
 * bit: a load of many rows that nobody reads displaces itself. */
#include "store/online/online_table.h"

/* Bounds on what one write can be made to wait for. PATIENCE: chunks without a find before visited rows are
 * taken too. TRIM_MAX: chunks searched for tombstones. */
enum { PATIENCE = 64, TRIM_MAX = 4096, DEAD_MAX = 64 };

enum reclaim {
	RECLAIM_EXPIRED,    /* only what has expired */
	RECLAIM_COLD,       /* also the values of rows without the bit */
	RECLAIM_ANY,        /* also the values of the others */
	RECLAIM_TOMBSTONES, /* tombstones, expired or not */
};

/* What a chunk lost, to be freed after its lock. */
struct dead {
	struct row *rows;
	struct value *values[DEAD_MAX]; /* the long ones */
	size_t values_len;
	size_t cells, tombstones;           /* taken out */
	size_t expired, evicted, forgotten; /* why */
};

static void dead_free(struct online *t, struct dead *d)
{
	size_t bytes = 0;
	for (size_t i = 0; i < d->values_len; i++) {
		bytes += row_value_bytes(d->values[i]);
		value_unref(d->values[i]);
	}
	for (struct row *r = d->rows, *next; r; r = next) {
		next = r->next;
		bytes += row_destroy(r);
	}
	online_release(t, bytes);
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
		return row_cold && !cell_is_tombstone(c);
	case RECLAIM_TOMBSTONES:
		return cell_is_tombstone(c);
	}
	return false;
}

/* Takes cells out of one row. false: the list of long values is full, and the row is to be seen again. */
static bool reclaim_cells(struct row *r, enum reclaim what, int64_t now_us, struct dead *d)
{
	bool cold = what == RECLAIM_ANY || !r->visited;
	if (what == RECLAIM_COLD)
		r->visited = false;
	for (unsigned i = r->cells_len; i-- > 0;) {
		struct cell *c = row_cells(r) + i;
		if (!cell_goes(c, what, cold, now_us))
			continue;
		if (c->form == CELL_SHARED && d->values_len == DEAD_MAX)
			return false;
		if (c->form == CELL_SHARED)
			d->values[d->values_len++] = c->value;
		if (cell_expired(c, now_us))
			d->expired++;
		else if (cell_is_tombstone(c))
			d->forgotten++;
		else
			d->evicted++;
		if (cell_is_tombstone(c))
			d->tombstones++;
		else
			d->cells++;
		row_remove(r, c);
	}
	return true;
}

/* The next chunk of the next stripe. Returns the cells taken out. */
static size_t reclaim_chunk(struct online *t, enum reclaim what, int64_t now_us)
{
	atomic_size_t *turn = what == RECLAIM_EXPIRED ? &t->sweep_stripe : &t->evict_stripe;
	struct stripe *s = &t->stripes[atomic_fetch_add_explicit(turn, 1, memory_order_relaxed) & (t->stripes_len - 1)];
	struct dead d = { .rows = NULL };
	bool room = true;
	pthread_mutex_lock(&s->lock);
	uint32_t *hand = what == RECLAIM_EXPIRED ? &s->sweep_at : &s->evict_at;
	uint32_t first = *hand, end = first + CHUNK < s->len ? first + CHUNK : s->len;
	*hand = end < s->len ? end : 0;
	for (uint32_t b = first; b < end && room; b++) {
		for (struct row **link = &s->buckets[b], *r; room && (r = *link);) {
			room = reclaim_cells(r, what, now_us, &d);
			if (r->cells_len) {
				link = &r->next;
				continue;
			}
			*link = r->next;
			r->next = d.rows;
			d.rows = r;
			s->rows--;
		}
	}
	s->cells -= d.cells;
	s->expired_cells += d.expired;
	s->evicted_cells += d.evicted;
	s->forgotten += d.evicted + d.forgotten;
	if (d.evicted) /* under the lock: who does not find the value knows why */
		online_note_lost(t);
	pthread_mutex_unlock(&s->lock);
	dead_free(t, &d);
	return d.cells + d.tombstones;
}

/* Chunks that are sure to pass every row once: the hand visits the stripes in turn, and they differ in
 * length. */
static size_t chunks_of_a_round(struct online *t)
{
	uint32_t longest = 0;
	for (size_t i = 0; i < t->stripes_len; i++) {
		struct stripe *s = &t->stripes[i];
		pthread_mutex_lock(&s->lock);
		longest = s->len > longest ? s->len : longest;
		pthread_mutex_unlock(&s->lock);
	}
	return (longest + CHUNK - 1) / CHUNK * t->stripes_len;
}

size_t online_round(struct online *t)
{
	return chunks_of_a_round(t) * CHUNK;
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
	/* One round after patience has ended finds everything that there is to find. */
	size_t idle = 0, idle_max = 0;
	while (over(t)) {
		idle = reclaim_chunk(t, idle < PATIENCE ? RECLAIM_COLD : RECLAIM_ANY, now_us) ? 0 : idle + 1;
		if (idle == PATIENCE)
			idle_max = PATIENCE + chunks_of_a_round(t);
		else if (idle > PATIENCE && idle >= idle_max)
			break;
	}
	if (!over(t))
		return true;
	online_release(t, n);
	return false;
}

void online_trim_tombstones(struct online *t)
{
	unsigned chunks = TRIM_MAX; /* what is left over is for the next delete to trim */
	while (atomic_load_explicit(&t->tombstones, memory_order_relaxed) > t->tombstones_max && chunks--)
		reclaim_chunk(t, RECLAIM_TOMBSTONES, 0);
}

size_t online_sweep(struct online *t, int64_t now_us, size_t budget)
{
	size_t freed = 0;
	for (size_t seen = 0; seen < budget; seen += CHUNK)
		freed += reclaim_chunk(t, RECLAIM_EXPIRED, now_us);
	return freed;
}
