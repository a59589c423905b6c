#include "store/online_row.h"
#include "runtime/check.h"

/* glibc: 8 bytes of header, multiples of 16, at least 32. */
static size_t heap_bytes(size_t n)
{
	size_t rounded = (n + 8 + 15) & ~(size_t)15;
	return rounded < 32 ? 32 : rounded;
}

size_t row_bytes(size_t id_len, size_t cells_cap)
{
	return heap_bytes(row_cells_at(id_len) + cells_cap * sizeof(struct cell));
}

size_t row_value_bytes(const struct value *v)
{
	return cell_is_long(v) ? heap_bytes(sizeof *v + v->len + 1) : 0;
}

struct cell cell_make(uint32_t feature, struct value *v, const struct online_meta *meta)
{
	struct cell c = { .event_time_us = meta->event_time_us,
			  .lsn = meta->lsn,
			  .written_us = meta->written_us,
			  .expires_us = meta->expires_us,
			  .feature = feature,
			  .flags = (uint16_t)meta->flags,
			  .form = CELL_TOMBSTONE };
	if (v && cell_is_long(v)) {
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

static int order(const struct cell *a, const struct cell *b)
{
	if (a->event_time_us != b->event_time_us)
		return a->event_time_us < b->event_time_us ? -1 : 1;
	return (a->lsn > b->lsn) - (a->lsn < b->lsn);
}

bool row_refuses(struct row *r, const struct cell *new)
{
	const struct cell *last = row_cells(r) + r->cells_len - 1;
	if (r->cells_len && last->feature == ROW_TOMBSTONE && order(last, new) >= 0)
		return true;
	const struct cell *c = row_find(r, new->feature);
	int side = c ? order(c, new) : -1;
	return side > 0 || (side == 0 && cell_is_tombstone(c));
}

unsigned row_move_newer(struct row *from, struct row *to, const struct cell *deleted)
{
	struct cell *cells = row_cells(from);
	unsigned newer = 0, kept = 0;
	for (unsigned i = 0; i < from->cells_len; i++) {
		if (order(&cells[i], deleted) > 0) {
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
