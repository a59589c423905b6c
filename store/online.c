#include "store/online_table.h"
#include "runtime/check.h"
#include "runtime/hash.h"

enum { BYTES_MIN = 1 << 20, BYTES_DEFAULT = 256 << 20, BYTES_PER_BUCKET = 256, BYTES_PER_TOMBSTONE = 2048 };
static const int64_t TOMBSTONE_KEEP_US = 24 * 3600 * 1000000ll;

static size_t power_of_two(size_t n)
{
	size_t p = 1;
	while (p < n)
		p *= 2;
	return p;
}

static bool online_init(struct online *t, const struct online_config *config)
{
	size_t bytes = config->bytes_max ? config->bytes_max : BYTES_DEFAULT;
	if (bytes < BYTES_MIN)
		bytes = BYTES_MIN;
	t->buckets_len = power_of_two(bytes / BYTES_PER_BUCKET);
	size_t stripes = power_of_two(config->stripes ? config->stripes : 256);
	if (stripes > t->buckets_len / CHUNK)
		stripes = t->buckets_len / CHUNK;
	t->stripe_shift = (unsigned)__builtin_ctzll(t->buckets_len / stripes);
	t->bytes_base = t->buckets_len * sizeof *t->buckets + stripes * sizeof *t->stripes;
	t->bytes_max = bytes - t->bytes_base;
	t->tombstone_keep_us = config->tombstone_keep_us ? config->tombstone_keep_us : TOMBSTONE_KEEP_US;
	t->tombstones_max = config->tombstones_max ? config->tombstones_max : (uint32_t)(bytes / BYTES_PER_TOMBSTONE);
	t->buckets = calloc(t->buckets_len, sizeof *t->buckets);
	t->stripes = aligned_alloc(64, stripes * sizeof *t->stripes);
	if (t->buckets == NULL || t->stripes == NULL)
		return false;
	memset(t->stripes, 0, stripes * sizeof *t->stripes);
	for (size_t i = 0; i < stripes; i++)
		CHECK(pthread_mutex_init(&t->stripes[i].lock, NULL) == 0);
	return true;
}

struct online *online_create(const struct online_config *config)
{
	struct online *t = aligned_alloc(64, sizeof *t);
	if (t == NULL)
		return NULL;
	memset(t, 0, sizeof *t);
	if (online_init(t, config))
		return t;
	online_destroy(t);
	return NULL;
}

void online_destroy(struct online *t)
{
	if (t == NULL)
		return;
	size_t bytes = 0;
	for (size_t b = 0; t->buckets && b < t->buckets_len; b++)
		for (struct row *r = t->buckets[b], *next; r; r = next) {
			next = r->next;
			bytes += row_destroy(r);
		}
	CHECK(bytes == atomic_load(&t->bytes)); /* the bound is only as good as the count */
	for (size_t i = 0; t->stripes && t->buckets && i < t->buckets_len >> t->stripe_shift; i++)
		pthread_mutex_destroy(&t->stripes[i].lock);
	free(t->buckets);
	free(t->stripes);
	free(t);
}

/* ---- finding ---- */

struct place {
	uint64_t hash;
	struct row **bucket;
	struct stripe *stripe;
	uint32_t kind;
	struct str id;
};

static struct place place_of(struct online *t, uint32_t kind, struct str id)
{
	uint64_t hash = hash_mix(hash64(id) + kind);
	size_t bucket = hash & (t->buckets_len - 1);
	__builtin_prefetch(&t->buckets[bucket]); /* on its way while the lock is taken */
	return (struct place){ hash, &t->buckets[bucket], online_stripe(t, bucket), kind, id };
}

/* The link that holds the row, or the NULL at the end of its bucket. Under the lock. */
static struct row **find_link(const struct place *p)
{
	struct row **link = p->bucket;
	while (*link && !row_is(*link, p->hash, p->kind, p->id))
		link = &(*link)->next;
	return link;
}

/* ---- reading ---- */

/* The live cell, counted as a hit, or NULL, counted as a miss. Under the lock. */
static struct cell *look_up(const struct place *p, struct row *r, uint32_t feature, int64_t now_us)
{
	struct cell *c = r && feature != ROW_TOMBSTONE ? row_find(r, feature) : NULL;
	if (c == NULL || c->value == NULL || cell_expired(c, now_us)) {
		p->stripe->misses++;
		return NULL;
	}
	p->stripe->hits++;
	if (!r->visited) /* a read of a hot row writes nothing to it */
		r->visited = true;
	return c;
}

size_t online_get_many(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n,
		       int64_t now_us, struct online_cell *ret)
{
	struct place p = place_of(t, kind, id);
	size_t found = 0;
	pthread_mutex_lock(&p.stripe->lock);
	struct row *r = *find_link(&p);
	for (size_t i = 0; i < n; i++) {
		const struct cell *c = look_up(&p, r, features[i], now_us);
		ret[i] = c ? (struct online_cell){ value_ref(c->value), c->meta } : (struct online_cell){ 0 };
		found += c != NULL;
	}
	pthread_mutex_unlock(&p.stripe->lock);
	return found;
}

bool online_get(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		struct online_cell *ret)
{
	return online_get_many(t, kind, id, &feature, 1, now_us, ret) == 1;
}

enum online_read online_read_copy(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
				  char *out, size_t cap, size_t *ret_n, struct online_meta *ret_meta)
{
	struct place p = place_of(t, kind, id);
	enum online_read result = ONLINE_MISS;
	pthread_mutex_lock(&p.stripe->lock);
	const struct cell *c = look_up(&p, *find_link(&p), feature, now_us);
	if (c) {
		result = c->value->len <= cap && c->value->len <= ONLINE_COPY_MAX ? ONLINE_HIT : ONLINE_LARGE;
		if (result == ONLINE_HIT) {
			memcpy(out, c->value->json, c->value->len);
			*ret_n = c->value->len;
			*ret_meta = c->meta;
		}
	}
	pthread_mutex_unlock(&p.stripe->lock);
	return result;
}

/* ---- writing ---- */

/* A write in the making. The step under the lock says what memory it lacks; that is made without the lock, and the step
 * taken again, for the row may have changed. */
struct change {
	struct place at;
	struct cell cell;       /* value NULL: a tombstone; feature ROW_TOMBSTONE: of the whole row */
	struct row *spare;      /* owned; room for the row to grow into */
	unsigned cells_needed;  /* of spare */
	struct row *dead_row;   /* to be freed after the lock */
	struct value *dead_value;
};

/* Puts the spare row, which has its cells by now, in the place of r. */
static void replace_row(struct change *ch, struct row **link, struct row *r)
{
	ch->spare->next = r ? r->next : NULL;
	ch->spare->visited = r && r->visited;
	*link = ch->spare;
	ch->spare = NULL;
	ch->dead_row = r;
	ch->at.stripe->rows += r == NULL;
}

static bool lacks_room(struct change *ch, unsigned cells_needed)
{
	ch->cells_needed = cells_needed;
	return ch->spare == NULL || ch->spare->cells_cap < cells_needed;
}

enum step { STEP_DONE, STEP_STALE, STEP_NO_ROOM };

static enum step step_cell(struct online *t, struct change *ch)
{
	struct row **link = find_link(&ch->at), *r = *link;
	if (r && row_refuses(r, ch->cell.feature, &ch->cell.meta))
		return STEP_STALE;
	struct cell *c = r ? row_find(r, ch->cell.feature) : NULL;
	if (c == NULL && (r == NULL || r->cells_len == r->cells_cap)) {
		if (lacks_room(ch, r ? r->cells_len + 1u : 1))
			return STEP_NO_ROOM;
		for (unsigned i = 0; r && i < r->cells_len; i++)
			row_cells(ch->spare)[ch->spare->cells_len++] = row_cells(r)[i];
		if (r)
			r->cells_len = 0;
		replace_row(ch, link, r);
		r = *link;
	}
	bool was_tombstone = c && c->value == NULL, is_tombstone = ch->cell.value == NULL;
	ch->at.stripe->cells += (uint64_t)!is_tombstone - (uint64_t)(c && !was_tombstone);
	if (is_tombstone != was_tombstone)
		atomic_fetch_add_explicit(&t->tombstones, is_tombstone ? 1 : (uint64_t)-1, memory_order_relaxed);
	if (c) {
		ch->dead_value = c->value;
		*c = ch->cell;
	} else {
		row_insert(r, &ch->cell);
	}
	return STEP_DONE;
}

static enum step step_row(struct online *t, struct change *ch)
{
	struct row **link = find_link(&ch->at), *r = *link;
	if (r && row_refuses(r, ROW_TOMBSTONE, &ch->cell.meta))
		return STEP_STALE;
	unsigned newer = r ? row_move_newer(r, NULL, &ch->cell.meta) : 0;
	if (lacks_room(ch, newer + 1))
		return STEP_NO_ROOM;
	if (r)
		row_move_newer(r, ch->spare, &ch->cell.meta);
	row_insert(ch->spare, &ch->cell);
	uint64_t tombstones = 1;
	for (unsigned i = 0; r && i < r->cells_len; i++) {
		ch->at.stripe->cells -= row_cells(r)[i].value != NULL;
		tombstones -= row_cells(r)[i].value == NULL;
	}
	atomic_fetch_add_explicit(&t->tombstones, tombstones, memory_order_relaxed);
	replace_row(ch, link, r);
	return STEP_DONE;
}

static bool make_room(struct online *t, struct change *ch, int64_t now_us)
{
	if (ch->spare)
		online_release(t, row_destroy(ch->spare));
	ch->spare = NULL;
	unsigned cap = row_cap_for(ch->cells_needed);
	size_t bytes = row_bytes(ch->at.id.n, cap);
	if (ch->cells_needed > ONLINE_CELLS_MAX || !online_reserve(t, bytes, now_us))
		return false;
	ch->spare = row_create(ch->at.hash, ch->at.kind, ch->at.id, cap);
	if (ch->spare == NULL)
		online_release(t, bytes);
	return ch->spare != NULL;
}

static void change_clean_up(struct online *t, struct change *ch)
{
	size_t bytes = row_value_bytes(ch->dead_value);
	value_unref(ch->dead_value);
	if (ch->dead_row)
		bytes += row_destroy(ch->dead_row);
	if (ch->spare)
		bytes += row_destroy(ch->spare);
	if (bytes)
		online_release(t, bytes);
}

/* The value's reference and bytes are the caller's until the result is ONLINE_APPLIED. */
static enum online_result apply(struct online *t, struct change *ch, int64_t now_us)
{
	struct stripe *s = ch->at.stripe;
	bool is_put = ch->cell.value != NULL;
	enum step step;
	do {
		pthread_mutex_lock(&s->lock);
		step = ch->cell.feature == ROW_TOMBSTONE ? step_row(t, ch) : step_cell(t, ch);
		s->stale += step == STEP_STALE;
		s->puts += step == STEP_DONE && is_put;
		s->deletes += step == STEP_DONE && !is_put;
		pthread_mutex_unlock(&s->lock);
	} while (step == STEP_NO_ROOM && make_room(t, ch, now_us));
	change_clean_up(t, ch);
	if (step == STEP_NO_ROOM) {
		atomic_fetch_add_explicit(&t->full, 1, memory_order_relaxed);
		return ONLINE_FULL;
	}
	return step == STEP_DONE ? ONLINE_APPLIED : ONLINE_STALE;
}

enum online_result online_put(struct online *t, const struct online_write *w)
{
	DCHECK(w->value != NULL);
	DCHECK(w->feature != ROW_TOMBSTONE);
	size_t bytes = row_value_bytes(w->value);
	if (w->id.n > ONLINE_ID_MAX || !online_reserve(t, bytes, w->meta.written_us)) {
		atomic_fetch_add_explicit(&t->full, 1, memory_order_relaxed);
		return ONLINE_FULL;
	}
	struct change ch = { .at = place_of(t, w->kind, w->id), .cell = { value_ref(w->value), w->meta, w->feature } };
	enum online_result result = apply(t, &ch, w->meta.written_us);
	if (result != ONLINE_APPLIED) {
		value_unref(w->value);
		online_release(t, bytes);
	}
	return result;
}

static enum online_result delete(struct online *t, uint32_t kind, struct str id, uint32_t feature,
				 int64_t event_time_us, uint64_t lsn, int64_t now_us)
{
	if (id.n > ONLINE_ID_MAX)
		return ONLINE_FULL;
	struct change ch = { .at = place_of(t, kind, id) };
	ch.cell.feature = feature;
	ch.cell.meta = (struct online_meta){ .event_time_us = event_time_us,
					     .lsn = lsn,
					     .written_us = now_us,
					     .expires_us = now_us + t->tombstone_keep_us };
	enum online_result result = apply(t, &ch, now_us);
	if (atomic_load_explicit(&t->tombstones, memory_order_relaxed) > t->tombstones_max)
		online_trim_tombstones(t);
	return result;
}

enum online_result online_delete_cell(struct online *t, uint32_t kind, struct str id, uint32_t feature,
				      int64_t event_time_us, uint64_t lsn, int64_t now_us)
{
	DCHECK(feature != ROW_TOMBSTONE);
	return delete(t, kind, id, feature, event_time_us, lsn, now_us);
}

enum online_result online_delete_row(struct online *t, uint32_t kind, struct str id, int64_t event_time_us,
				     uint64_t lsn, int64_t now_us)
{
	return delete(t, kind, id, ROW_TOMBSTONE, event_time_us, lsn, now_us);
}

void online_confirm(struct online *t, const struct online_write *w, uint64_t lsn)
{
	struct place p = place_of(t, w->kind, w->id);
	pthread_mutex_lock(&p.stripe->lock);
	struct row *r = *find_link(&p);
	struct cell *c = r ? row_find(r, w->feature) : NULL;
	if (c && c->value == w->value && c->meta.lsn == ONLINE_LSN_PENDING)
		c->meta.lsn = lsn;
	pthread_mutex_unlock(&p.stripe->lock);
}

/* ---- upkeep ---- */

size_t online_round(struct online *t)
{
	return t->buckets_len;
}

void online_stats(struct online *t, struct online_stats *ret)
{
	struct online_stats sum = {
		.tombstones = atomic_load_explicit(&t->tombstones, memory_order_relaxed),
		.tombstones_forgotten = atomic_load_explicit(&t->tombstones_forgotten, memory_order_relaxed),
		.full = atomic_load_explicit(&t->full, memory_order_relaxed),
		.bytes = t->bytes_base + atomic_load_explicit(&t->bytes, memory_order_relaxed),
		.bytes_max = t->bytes_base + t->bytes_max,
	};
	for (size_t i = 0; i < t->buckets_len >> t->stripe_shift; i++) {
		struct stripe *s = &t->stripes[i];
		pthread_mutex_lock(&s->lock);
		sum.rows += s->rows;
		sum.cells += s->cells;
		sum.hits += s->hits;
		sum.misses += s->misses;
		sum.puts += s->puts;
		sum.stale += s->stale;
		sum.deletes += s->deletes;
		sum.evicted_cells += s->evicted_cells;
		sum.expired_cells += s->expired_cells;
		pthread_mutex_unlock(&s->lock);
	}
	*ret = sum;
}
