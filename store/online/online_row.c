#include "store/online/online_row.h"
#include "runtime/check.h"

static size_t round_up(size_t n, size_t step)
{
	return (n + step - 1) & ~(step - 1);
}

/* What mimalloc takes for n bytes: no header, four sizes for each power of two, and beyond 128 KiB whole slices. Known before
 * it is allocated, since room is made first. */
static size_t heap_bytes(size_t n)
{
	enum { SMALL = 64, LARGE = 128 << 10, SLICE = 64 << 10 };
	if (n > LARGE)
		return round_up(n, SLICE);
	if (n <= SMALL)
		return round_up(n, 16);
	size_t words = (n + 7) / 8 - 1;
	unsigned top = 63 - (unsigned)__builtin_clzll(words);
	return round_up(n, (size_t)8 << (top - 2));
}

size_t row_bytes(size_t id_len, size_t cells_cap)
{
	return heap_bytes(row_cells_at(id_len) + cells_cap * sizeof(struct cell));
}

size_t row_value_bytes(const struct value *v)
{
	return cell_is_shared(v) ? heap_bytes(sizeof *v + v->len + 1) + (v->basis ? v->basis->bytes : 0) : 0;
}

struct cell cell_make(uint32_t feature, struct value *v, const struct online_meta *meta)
{
	struct cell c = { .event_time_us = meta->event_time_us,
			  .lsn = meta->lsn,
			  .written_us = meta->written_us,
			  .expires_us = meta->expires_us,
			  .feature = feature,
			  .event_time_ns = meta->event_time_ns,
			  .flags = (uint8_t)meta->flags,
			  .form = CELL_TOMBSTONE };
	if (v && cell_is_shared(v)) {
		c.form = CELL_SHARED;
		c.value = value_ref(v);
	} else if (v) {
		c.form = (uint8_t)v->len;
		memcpy(c.text, v->json, v->len);
	}
	return c;
}

size_t cell_finish(const struct cell *c)
{
	if (c->form != CELL_SHARED)
		return 0;
	size_t bytes = row_value_bytes(c->value);
	value_unref(c->value);
	return bytes;
}

struct row *row_create(uint64_t hash, uint32_t kind, struct str id, unsigned cells_cap)
{
	struct row *r = malloc(row_cells_at(id.n) + cells_cap * sizeof(struct cell));
	if (r == NULL)
		return NULL;
	*r = (struct row){ .hash = hash, .kind = kind, .id_len = (uint16_t)id.n, .cells_cap = (uint16_t)cells_cap };
	if (id.n)
		memcpy(r->id, id.p, id.n);
	return r;
}

size_t row_destroy(struct row *r)
{
	size_t bytes = row_bytes(r->id_len, r->cells_cap);
	struct cell *cells = row_cells(r);
	for (unsigned i = 0; i < r->cells_len; i++)
		bytes += cell_finish(&cells[i]);
	free(r);
	return bytes;
}

unsigned row_cap_for(unsigned cells_len)
{
	unsigned cap = cells_len < 4 ? cells_len : cells_len + cells_len / 2;
	return cap < ONLINE_CELLS_MAX ? cap : ONLINE_CELLS_MAX;
}

/* The first cell whose feature is not below. */
static unsigned lower_bound(struct row *r, uint32_t feature)
{
	const struct cell *cells = row_cells(r);
	unsigned low = 0, high = r->cells_len;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (cells[middle].feature < feature)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct cell *row_find(struct row *r, uint32_t feature)
{
	unsigned i = lower_bound(r, feature);
	struct cell *c = row_cells(r) + i;
	return i < r->cells_len && c->feature == feature ? c : NULL;
}

void row_insert(struct row *r, const struct cell *c)
{
	CHECK(r->cells_len < r->cells_cap);
	unsigned i = lower_bound(r, c->feature);
	struct cell *at = row_cells(r) + i;
	memmove(at + 1, at, (r->cells_len - i) * sizeof *at);
	*at = *c;
	r->cells_len++;
}

void row_remove(struct row *r, struct cell *c)
{
	size_t i = (size_t)(c - row_cells(r));
	CHECK(i < r->cells_len);
	memmove(c, c + 1, (r->cells_len - i - 1) * sizeof *c);
	r->cells_len--;
}

static int order_in_time(const struct cell *a, const struct cell *b)
{
	if (a->event_time_us != b->event_time_us)
		return a->event_time_us < b->event_time_us ? -1 : 1;
	return (a->event_time_ns > b->event_time_ns) - (a->event_time_ns < b->event_time_ns);
}

static int order(const struct cell *a, const struct cell *b)
{
	int side = order_in_time(a, b);
	return side ? side : (a->lsn > b->lsn) - (a->lsn < b->lsn);
}

/* A value whose event lies ahead, and one that arrives late, are both gone: the one was written before the delete,
 * the other was true before it. Without an LSN (its history is missing) only the time tells. */
static bool hides(const struct cell *tombstone, const struct cell *c)
{
	return order(tombstone, c) >= 0 || (c->lsn != 0 && c->lsn < tombstone->lsn);
}

static bool covers(const struct cell *tombstone, const struct cell *other)
{
	return order_in_time(tombstone, other) >= 0 && tombstone->lsn >= other->lsn;
}

/* A delete of the row takes the tombstones of its cells as it takes their values: the one of an event that lay ahead would
 * refuse what is written after the delete. */
static bool takes(const struct cell *row_tombstone, const struct cell *c)
{
	return cell_is_tombstone(c) ? row_tombstone->lsn >= c->lsn : hides(row_tombstone, c);
}

bool row_refuses(struct row *r, const struct cell *new)
{
	const struct cell *last = row_cells(r) + r->cells_len - 1, *c = row_find(r, new->feature);
	const struct cell *of_row = r->cells_len && last->feature == ROW_TOMBSTONE ? last : NULL;
	if (of_row && of_row != c && takes(of_row, new))
		return true;
	if (cell_is_tombstone(new))
		return c && (cell_is_tombstone(c) ? covers(c, new) : !hides(new, c));
	return c && (cell_is_tombstone(c) ? hides(c, new) : order(c, new) > 0);
}

void row_merge_tombstone(struct row *r, struct cell *deleted)
{
	const struct cell *c = row_find(r, deleted->feature);
	if (c == NULL || !cell_is_tombstone(c))
		return;
	if (order_in_time(c, deleted) > 0) {
		deleted->event_time_us = c->event_time_us;
		deleted->event_time_ns = c->event_time_ns;
	}
	if (c->lsn > deleted->lsn)
		deleted->lsn = c->lsn;
}

unsigned row_move_newer(struct row *from, struct row *to, const struct cell *deleted)
{
	struct cell *cells = row_cells(from);
	unsigned newer = 0, kept = 0;
	for (unsigned i = 0; i < from->cells_len; i++) {
		if (!takes(deleted, &cells[i])) {
			newer++;
			if (to)
				row_cells(to)[to->cells_len++] = cells[i];
		} else if (to) {
			cells[kept++] = cells[i];
		}
	}
	if (to)
		from->cells_len = (uint16_t)kept;
	return newer;
}
