#include "store/online/online_table.h"
#include "runtime/check.h"
#include "runtime/hash.h"

enum { BYTES_MIN = 1 << 20, BYTES_DEFAULT = 256 << 20, STRIPES_DEFAULT = 256 };
enum { BYTES_PER_BUCKET = 256, BYTES_PER_TOMBSTONE = 2048 };
static const int64_t TOMBSTONE_KEEP_US = 90 * 24 * 3600 * 1000000ll;

static size_t power_of_two(size_t n)
{
	size_t p = 1;
	while (p < n)
		p *= 2;
	return p;
}

static void stripe_init(struct stripe *s, struct row **buckets)
{
	*s = (struct stripe){ .buckets = buckets, .len = STRIPE_BUCKETS_MIN, .mask = 2 * STRIPE_BUCKETS_MIN - 1 };
	CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
}

static bool online_init(struct online *t, const struct online_config *config)
{
	size_t bytes = config->bytes_max ? config->bytes_max : BYTES_DEFAULT;
	if (bytes < BYTES_MIN)
		bytes = BYTES_MIN;
	size_t buckets = power_of_two(bytes / BYTES_PER_BUCKET);
	t->stripes_len = power_of_two(config->stripes ? config->stripes : STRIPES_DEFAULT);
	if (t->stripes_len > buckets / STRIPE_BUCKETS_MIN)
		t->stripes_len = buckets / STRIPE_BUCKETS_MIN;
	t->stripe_bits = (unsigned)__builtin_ctzll(t->stripes_len);
	t->stripe_buckets_max = buckets / t->stripes_len;
	t->bytes_base = buckets * sizeof *t->buckets + t->stripes_len * sizeof *t->stripes;
	t->bytes_max = bytes - t->bytes_base;
	t->tombstone_keep_us = config->tombstone_keep_us ? config->tombstone_keep_us : TOMBSTONE_KEEP_US;
	t->tombstones_max = config->tombstones_max ? config->tombstones_max : (uint32_t)(bytes / BYTES_PER_TOMBSTONE);
	t->buckets = calloc(buckets, sizeof *t->buckets); /* large: pages come when they are touched */
	t->stripes = aligned_alloc(64, t->stripes_len * sizeof *t->stripes);
	if (t->buckets == NULL || t->stripes == NULL)
		return false;
	for (size_t i = 0; i < t->stripes_len; i++)
		stripe_init(&t->stripes[i], t->buckets + i * t->stripe_buckets_max);
	return true;
}

struct online *online_create(const struct online_config *config)
{
	struct online *t = aligned_alloc(64, sizeof *t);
	if (t == NULL)
		return NULL;
	memset(t, 0, sizeof *t);
	t->fast = (struct online_fast){ .table = t,
					.fetch_bucket = online_fetch_bucket,
					.fetch_row = online_fetch_row,
					.copy = online_read_copy,
					.see = online_see,
					.trace = online_trace,
					.holds = online_holds,
					.fits = online_fits,
					.change_row = online_change_row,
					.delete_row = online_delete_row,
					.each_older = online_each_older,
					.tidy = online_tidy };
	if (online_init(t, config))
		return t;
	free(t->buckets);
	free(t->stripes);
	free(t);
	return NULL;
}

void online_destroy(struct online *t)
{
	if (t == NULL)
		return;
	size_t bytes = 0;
	for (struct stripe *s = t->stripes; s < t->stripes + t->stripes_len; s++) {
		for (uint32_t b = 0; b < s->len; b++)
			for (struct row *r = s->buckets[b], *next; r; r = next) {
				next = r->next;
				bytes += row_destroy(r);
			}
		pthread_mutex_destroy(&s->lock);
	}
	CHECK(bytes == atomic_load(&t->bytes)); /* the bound is only as good as the count */
	free(t->buckets);
	free(t->stripes);
	free(t);
}

const struct online_fast *online_fast(const struct online *t)
{
	return &t->fast;
}

/* ---- finding ---- */

struct place {
	uint64_t hash; /* within the stripe */
	struct stripe *stripe;
	uint32_t kind;
	struct str id;
};

static struct place place_at(struct online *t, const struct online_key *key)
{
	struct stripe *s = &t->stripes[key->hash & (t->stripes_len - 1)];
	return (struct place){ key->hash >> t->stripe_bits, s, key->kind, key->id };
}

static struct place place_of(struct online *t, uint32_t kind, struct str id)
{
	struct online_key key = online_key(kind, id);
	return place_at(t, &key);
}

/* Under the lock. */
static struct row **bucket_of(const struct place *p)
{
	const struct stripe *s = p->stripe;
	uint64_t bucket = p->hash & s->mask;
	if (bucket >= s->len) /* not split off yet */
		bucket &= s->mask >> 1;
	return &s->buckets[bucket];
}

void online_fetch_bucket(struct online *t, const struct online_key *key)
{
	struct place p = place_at(t, key);
	pthread_mutex_lock(&p.stripe->lock);
	__builtin_prefetch(bucket_of(&p));
	pthread_mutex_unlock(&p.stripe->lock);
}

void online_fetch_row(struct online *t, const struct online_key *key)
{
	struct place p = place_at(t, key);
	pthread_mutex_lock(&p.stripe->lock);
	const char *row = (const char *)*bucket_of(&p);
	__builtin_prefetch(row);
	__builtin_prefetch(row + 64); /* its first cell; a fetch never faults */
	pthread_mutex_unlock(&p.stripe->lock);
}

/* The link that holds the row, or the NULL at the end of its bucket. Under the lock. */
static struct row **find_link(const struct place *p)
{
	struct row **link = bucket_of(p);
	while (*link && !row_is(*link, p->hash, p->kind, p->id))
		link = &(*link)->next;
	return link;
}

/* Adds a bucket and gives it the rows that it takes from one other. Under the lock. */
static void split_bucket(struct online *t, struct stripe *s)
{
	if (s->rows <= s->len || s->len == t->stripe_buckets_max)
		return;
	uint32_t new = s->len++;
	struct row **from = &s->buckets[new & s->mask >> 1], **to = &s->buckets[new];
	while (*from) {
		struct row *r = *from;
		if ((r->hash & s->mask) != new) {
			from = &r->next;
			continue;
		}
		*from = r->next;
		r->next = *to;
		*to = r;
	}
	if (s->len > s->mask)
		s->mask = 2 * s->mask + 1;
}

/* ---- reading ---- */

/* The live cell, counted as a hit, or NULL, counted as a miss. Under the lock. */
static struct cell *look_up(const struct place *p, struct row *r, uint32_t feature, int64_t now_us)
{
	struct cell *c = r && feature != ROW_TOMBSTONE ? row_find(r, feature) : NULL;
	if (c == NULL || cell_is_tombstone(c) || cell_expired(c, now_us)) {
		p->stripe->misses++;
		return NULL;
	}
	p->stripe->hits++;
	if (!r->visited) /* a read of a hot row writes nothing to it */
		r->visited = true;
	return c;
}

/* Under the lock. */
static struct online_trace trace_of(struct row *r, uint32_t feature, int64_t now_us)
{
	const struct cell *c = r ? row_find(r, feature) : NULL, *deleted = r ? row_find(r, ROW_TOMBSTONE) : NULL;
	bool is_value = c && !cell_is_tombstone(c);
	struct online_trace trace = { .event_time_us = c ? c->event_time_us : INT64_MIN,
				      .cell_time_us = c ? c->event_time_us : INT64_MIN,
				      .cell_time_ns = c ? c->event_time_ns : 0,
				      .lsn = c ? c->lsn : 0,
				      .is_known = c || deleted,
				      .is_live = is_value && !cell_expired(c, now_us),
				      .is_expired = is_value && cell_expired(c, now_us) };
	if (deleted && deleted->event_time_us > trace.event_time_us)
		trace.event_time_us = deleted->event_time_us;
	if (deleted && deleted->lsn > trace.lsn)
		trace.lsn = deleted->lsn;
	return trace;
}

/* At most ONLINE_TOGETHER_MAX features under one lock. Short values are copied there and become values of their own after
 * it. ret_traces may be NULL. */
static size_t get_some(const struct place *p, const uint32_t *features, size_t n, int64_t now_us,
		       struct online_cell *ret, struct online_trace *ret_traces)
{
	struct cell cells[ONLINE_TOGETHER_MAX];
	size_t found = 0;
	pthread_mutex_lock(&p->stripe->lock);
	struct row *r = *find_link(p);
	for (size_t i = 0; i < n; i++) {
		const struct cell *c = look_up(p, r, features[i], now_us);
		cells[i].form = CELL_TOMBSTONE;
		if (c)
			cells[i] = *c;
		if (c && c->form == CELL_SHARED)
			value_ref(c->value);
		if (ret_traces)
			ret_traces[i] = trace_of(r, features[i], now_us);
	}
	pthread_mutex_unlock(&p->stripe->lock);
	for (size_t i = 0; i < n; i++) {
		const struct cell *c = &cells[i];
		ret[i] = (struct online_cell){ 0 };
		if (cell_is_tombstone(c))
			continue;
		ret[i].value = c->form == CELL_SHARED ? c->value : value_create(cell_json(c));
		ret[i].meta = cell_meta(c);
		ret[i].is_lost = ret[i].value == NULL;
		found += ret[i].value != NULL;
	}
	return found;
}

size_t online_get_many(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n,
		       int64_t now_us, struct online_cell *ret)
{
	return online_see(t, kind, id, features, n, now_us, ret, NULL);
}

size_t online_see(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n, int64_t now_us,
		  struct online_cell *ret, struct online_trace *ret_traces)
{
	struct place p = place_of(t, kind, id);
	size_t found = 0;
	for (size_t i = 0, some; i < n; i += some) {
		some = n - i < ONLINE_TOGETHER_MAX ? n - i : ONLINE_TOGETHER_MAX;
		found += get_some(&p, features + i, some, now_us, ret + i, ret_traces ? ret_traces + i : NULL);
	}
	return found;
}

bool online_get(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		struct online_cell *ret)
{
	return online_get_many(t, kind, id, &feature, 1, now_us, ret) == 1;
}

bool online_trace(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		  struct online_trace *ret)
{
	struct place p = place_of(t, kind, id);
	pthread_mutex_lock(&p.stripe->lock);
	*ret = trace_of(*find_link(&p), feature, now_us);
	pthread_mutex_unlock(&p.stripe->lock);
	return ret->is_known;
}

bool online_fits(const struct online *t, const struct value *v)
{
	return row_value_bytes(v) <= t->bytes_max / 8;
}

bool online_holds(struct online *t, uint32_t kind, struct str id, uint32_t feature, int64_t now_us,
		  int64_t event_time_us, struct str json)
{
	struct place p = place_of(t, kind, id);
	pthread_mutex_lock(&p.stripe->lock);
	const struct cell *c = look_up(&p, *find_link(&p), feature, now_us);
	bool holds = c && c->event_time_us == event_time_us && str_eq(cell_json(c), json);
	pthread_mutex_unlock(&p.stripe->lock);
	return holds;
}

enum online_read online_read_copy(struct online *t, const struct online_key *key, uint32_t feature, int64_t now_us,
				  char *out, size_t cap, size_t *ret_n, struct online_meta *ret_meta)
{
	struct place p = place_at(t, key);
	enum online_read result = ONLINE_MISS;
	pthread_mutex_lock(&p.stripe->lock);
	const struct cell *c = look_up(&p, *find_link(&p), feature, now_us);
	if (c) {
		struct str json = cell_json(c);
		result = json.n <= cap && json.n <= ONLINE_COPY_MAX ? ONLINE_HIT : ONLINE_LARGE;
		if (result == ONLINE_HIT) {
			memcpy(out, json.p, json.n);
			*ret_n = json.n;
			*ret_meta = cell_meta(c);
		}
	}
	pthread_mutex_unlock(&p.stripe->lock);
	return result;
}

/* ---- writing ---- */

/* A write of one row in the making. The step under the lock says what memory it lacks; that is made without the lock,
 * and the step taken again, for the row may have changed. */
struct change {
	struct place at;
	struct cell *cells; /* of `count` features, each owned until it is in its row; or one of ROW_TOMBSTONE */
	struct cell *dead;  /* `count`: what they displaced, to be freed after the lock; zeros are fine */
	enum online_result *results; /* `count` */
	size_t count;
	struct row *spare;     /* owned; room for the row to grow into */
	unsigned cells_needed; /* of spare */
	struct row *dead_row;  /* displaced too; cells without a reference are fine */
};

/* Puts the spare row, which has its cells by now, in the place of r. */
static void replace_row(struct online *t, struct change *ch, struct row **link, struct row *r)
{
	ch->spare->next = r ? r->next : NULL;
	ch->spare->visited = r && r->visited;
	*link = ch->spare;
	ch->spare = NULL;
	ch->dead_row = r;
	if (r == NULL) {
		ch->at.stripe->rows++;
		split_bucket(t, ch->at.stripe);
	}
}

static bool lacks_room(struct change *ch, unsigned cells_needed)
{
	ch->cells_needed = cells_needed;
	return ch->spare == NULL || ch->spare->cells_cap < cells_needed;
}

enum step { STEP_DONE, STEP_NO_ROOM };

static void count_cell(struct online *t, struct stripe *s, const struct cell *old, const struct cell *new)
{
	bool was_value = old && !cell_is_tombstone(old), is_value = !cell_is_tombstone(new);
	bool was_tombstone = old && !was_value;
	s->cells += (uint64_t)is_value - (uint64_t)was_value;
	if (is_value == was_tombstone)
		atomic_fetch_add_explicit(&t->tombstones, is_value ? (uint64_t)-1 : 1, memory_order_relaxed);
}

/* How many cells of the change would be new in the row. */
static unsigned count_new(const struct change *ch, struct row *r)
{
	unsigned new = 0;
	for (size_t i = 0; i < ch->count; i++)
		new += r == NULL || (!row_refuses(r, &ch->cells[i]) && row_find(r, ch->cells[i].feature) == NULL);
	return new;
}

static void put_cell(struct online *t, struct change *ch, struct row *r, size_t i)
{
	struct stripe *s = ch->at.stripe;
	struct cell *new = &ch->cells[i];
	if (r->cells_len && row_refuses(r, new)) {
		ch->results[i] = ONLINE_STALE;
		s->stale++;
		return;
	}
	if (cell_is_tombstone(new)) {
		row_merge_tombstone(r, new);
		s->deletes++;
	} else {
		s->puts++;
	}
	struct cell *old = row_find(r, new->feature);
	count_cell(t, s, old, new);
	ch->results[i] = ONLINE_APPLIED;
	if (old == NULL) {
		row_insert(r, new);
		return;
	}
	ch->dead[i] = *old;
	*old = *new;
}

static enum step step_cells(struct online *t, struct change *ch)
{
	struct row **link = find_link(&ch->at), *r = *link;
	unsigned len = r ? r->cells_len : 0, new = count_new(ch, r);
	if (new && (r == NULL || len + new > r->cells_cap)) {
		if (lacks_room(ch, len + new))
			return STEP_NO_ROOM;
		struct row *grown = ch->spare;
		if (len)
			memcpy(row_cells(grown), row_cells(r), len * sizeof(struct cell));
		grown->cells_len = (uint16_t)len;
		if (r)
			r->cells_len = 0;
		replace_row(t, ch, link, r);
		r = grown;
	}
	for (size_t i = 0; r && i < ch->count; i++)
		put_cell(t, ch, r, i);
	return STEP_DONE;
}

static enum step step_row(struct online *t, struct change *ch)
{
	struct stripe *s = ch->at.stripe;
	struct cell *deleted = ch->cells;
	struct row **link = find_link(&ch->at), *r = *link;
	if (r && row_refuses(r, deleted)) {
		ch->results[0] = ONLINE_STALE;
		s->stale++;
		return STEP_DONE;
	}
	if (r)
		row_merge_tombstone(r, deleted);
	if (lacks_room(ch, (r ? row_move_newer(r, NULL, deleted) : 0) + 1))
		return STEP_NO_ROOM;
	if (r)
		row_move_newer(r, ch->spare, deleted);
	row_insert(ch->spare, deleted);
	uint64_t tombstones = 1;
	for (unsigned i = 0; r && i < r->cells_len; i++) {
		bool is_tombstone = cell_is_tombstone(row_cells(r) + i);
		s->cells -= !is_tombstone;
		tombstones -= is_tombstone;
	}
	atomic_fetch_add_explicit(&t->tombstones, tombstones, memory_order_relaxed);
	ch->results[0] = ONLINE_APPLIED;
	s->deletes++;
	replace_row(t, ch, link, r);
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

/* Cells whose result is not ONLINE_APPLIED are given back. */
static void change_clean_up(struct online *t, struct change *ch)
{
	size_t bytes = 0;
	for (size_t i = 0; i < ch->count; i++)
		bytes += cell_finish(ch->results[i] == ONLINE_APPLIED ? &ch->dead[i] : &ch->cells[i]);
	if (ch->dead_row)
		bytes += row_destroy(ch->dead_row);
	if (ch->spare)
		bytes += row_destroy(ch->spare);
	online_release(t, bytes);
}

static void apply(struct online *t, struct change *ch, int64_t now_us)
{
	struct stripe *s = ch->at.stripe;
	enum step step;
	do {
		pthread_mutex_lock(&s->lock);
		step = ch->cells[0].feature == ROW_TOMBSTONE ? step_row(t, ch) : step_cells(t, ch);
		pthread_mutex_unlock(&s->lock);
	} while (step == STEP_NO_ROOM && make_room(t, ch, now_us));
	for (size_t i = 0; step == STEP_NO_ROOM && i < ch->count; i++)
		ch->results[i] = ONLINE_FULL;
	if (step == STEP_NO_ROOM)
		atomic_fetch_add_explicit(&t->full, ch->count, memory_order_relaxed);
	change_clean_up(t, ch);
	if (atomic_load_explicit(&t->tombstones, memory_order_relaxed) > t->tombstones_max)
		online_trim_tombstones(t);
}

static struct cell tombstone_at(const struct online *t, uint32_t feature, const struct online_meta *when,
				int64_t now_us)
{
	struct online_meta meta = *when;
	meta.written_us = now_us;
	meta.expires_us = now_us + t->tombstone_keep_us;
	return cell_make(feature, NULL, &meta);
}

/* At most ONLINE_TOGETHER_MAX. */
static void change_some(struct online *t, const struct place *at, struct online_change *changes, size_t n,
			int64_t now_us)
{
	struct cell cells[ONLINE_TOGETHER_MAX], dead[ONLINE_TOGETHER_MAX];
	enum online_result results[ONLINE_TOGETHER_MAX];
	uint16_t from[ONLINE_TOGETHER_MAX]; /* in changes */
	struct change ch = { .at = *at, .cells = cells, .dead = dead, .results = results };
	bool has_room = true;
	for (size_t i = 0; i < n; i++) {
		struct online_change *c = &changes[i];
		DCHECK(c->feature != ROW_TOMBSTONE);
		c->result = ONLINE_FULL;
		bool can_be_kept = at->id.n <= ONLINE_ID_MAX && (c->value == NULL || online_fits(t, c->value));
		has_room = has_room &&
			   (!can_be_kept || c->value == NULL || online_reserve(t, row_value_bytes(c->value), now_us));
		if (!can_be_kept || !has_room) {
			atomic_fetch_add_explicit(&t->full, 1, memory_order_relaxed);
			continue;
		}
		dead[ch.count].form = CELL_TOMBSTONE;
		from[ch.count] = (uint16_t)i;
		cells[ch.count++] = c->value ? cell_make(c->feature, c->value, &c->meta)
					     : tombstone_at(t, c->feature, &c->meta, now_us);
	}
	if (ch.count == 0)
		return;
	if (!has_room) { /* nor have those that found some: they are seen together */
		for (size_t i = 0; i < ch.count; i++)
			results[i] = ONLINE_FULL;
		atomic_fetch_add_explicit(&t->full, ch.count, memory_order_relaxed);
		change_clean_up(t, &ch);
		return;
	}
	apply(t, &ch, now_us);
	for (size_t i = 0; i < ch.count; i++)
		changes[from[i]].result = results[i];
}

void online_change_row(struct online *t, uint32_t kind, struct str id, struct online_change *changes, size_t n,
		       int64_t now_us)
{
	struct place at = place_of(t, kind, id);
	for (size_t i = 0, some; i < n; i += some) {
		some = n - i < ONLINE_TOGETHER_MAX ? n - i : ONLINE_TOGETHER_MAX;
		change_some(t, &at, changes + i, some, now_us);
	}
}

enum online_result online_put(struct online *t, const struct online_write *w)
{
	DCHECK(w->value != NULL);
	struct online_change change = { .feature = w->feature, .value = w->value, .meta = w->meta };
	online_change_row(t, w->kind, w->id, &change, 1, w->meta.written_us);
	return change.result;
}

enum online_result online_delete_cell(struct online *t, uint32_t kind, struct str id, uint32_t feature,
				      int64_t event_time_us, uint64_t lsn, int64_t now_us)
{
	struct online_change change = { .feature = feature, .meta = { .event_time_us = event_time_us, .lsn = lsn } };
	online_change_row(t, kind, id, &change, 1, now_us);
	return change.result;
}

enum online_result online_delete_row(struct online *t, uint32_t kind, struct str id, int64_t event_time_us,
				     uint64_t lsn, int64_t now_us)
{
	struct online_meta when = { .event_time_us = event_time_us, .lsn = lsn };
	enum online_result result = ONLINE_FULL;
	if (id.n > ONLINE_ID_MAX)
		return result;
	struct cell deleted = tombstone_at(t, ROW_TOMBSTONE, &when, now_us), dead = { .form = CELL_TOMBSTONE };
	struct change ch = {
		.at = place_of(t, kind, id), .cells = &deleted, .dead = &dead, .results = &result, .count = 1
	};
	apply(t, &ch, now_us);
	return result;
}

/* ---- going through all rows ---- */

/* The ids of a bucket that are wanted, each behind its length, as far as there is room: nothing is allocated under the
 * lock. false: there was none. */
static bool note_older(struct row *r, uint32_t kind, uint32_t feature, int64_t before_us, struct buf *ids)
{
	for (; r; r = r->next) {
		const struct cell *c = r->kind == kind ? row_find(r, feature) : NULL;
		if (c == NULL || cell_is_tombstone(c) || c->event_time_us >= before_us)
			continue;
		if (ids->cap - ids->n < sizeof r->id_len + r->id_len)
			return false;
		buf_append(ids, &r->id_len, sizeof r->id_len);
		buf_append(ids, r->id, r->id_len);
	}
	return true;
}

/* The cursor is a stripe and a bucket in it. A split moves rows to a bucket further on, so that none is missed. */
enum online_walk online_each_older(struct online *t, uint32_t kind, uint32_t feature, int64_t before_us,
				   uint64_t *cursor, size_t budget, void *arg, void (*each)(void *arg, struct str id))
{
	uint64_t stripe = *cursor >> 32;
	uint32_t bucket = (uint32_t)*cursor;
	struct buf ids = { 0 };
	size_t room = 1 << 10;
	for (size_t seen = 0; seen < budget && stripe < t->stripes_len && buf_reserve(&ids, room); seen++) {
		struct stripe *s = &t->stripes[stripe];
		size_t before_n = ids.n;
		pthread_mutex_lock(&s->lock);
		bool has_room = note_older(s->buckets[bucket], kind, feature, before_us, &ids);
		bool is_last = has_room && bucket + 1 >= s->len;
		pthread_mutex_unlock(&s->lock);
		if (!has_room) { /* this bucket once more */
			ids.n = before_n;
			room *= 2;
			continue;
		}
		stripe += is_last;
		bucket = is_last ? 0 : bucket + 1;
	}
	if (ids.failed) {
		buf_finish(&ids);
		return ONLINE_WALK_NO_MEMORY;
	}
	*cursor = stripe << 32 | bucket;
	for (size_t at = 0; at < ids.n;) {
		uint16_t n;
		memcpy(&n, ids.p + at, sizeof n);
		each(arg, str_of(ids.p + at + sizeof n, n));
		at += sizeof n + n;
	}
	buf_finish(&ids);
	return stripe < t->stripes_len ? ONLINE_WALK_MORE : ONLINE_WALK_END;
}

/* ---- upkeep ---- */

void online_stats(struct online *t, struct online_stats *ret)
{
	struct online_stats sum = {
		.tombstones = atomic_load_explicit(&t->tombstones, memory_order_relaxed),
		.tombstones_forgotten = atomic_load_explicit(&t->tombstones_forgotten, memory_order_relaxed),
		.full = atomic_load_explicit(&t->full, memory_order_relaxed),
		.bytes = t->bytes_base + atomic_load_explicit(&t->bytes, memory_order_relaxed),
		.bytes_max = t->bytes_base + t->bytes_max,
	};
	for (size_t i = 0; i < t->stripes_len; i++) {
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

void online_tidy(struct online *t, int64_t now_us, size_t budget)
{
	online_sweep(t, now_us, budget);
	online_publish(t);
}
