/* One row of the online table: its cells sorted by feature, in one block of memory. Nothing here locks. */
#pragma once
#include "store/online.h"

/* The row's own tombstone is a cell too; it sorts behind all features. */
#define ROW_TOMBSTONE UINT32_MAX

struct cell {
	struct value *value; /* shares; NULL: a tombstone, whose expires_us says how long it is kept */
	struct online_meta meta;
	uint32_t feature;
};

struct row {
	struct row *next; /* in its bucket */
	uint64_t hash;
	uint32_t kind;
	uint16_t id_len, cells_len, cells_cap;
	bool visited; /* read since the eviction hand last passed */
	char id[];    /* the cells follow, aligned */
};

static inline size_t row_cells_at(size_t id_len)
{
	return (offsetof(struct row, id) + id_len + _Alignof(struct cell) - 1) & ~(_Alignof(struct cell) - 1);
}

static inline struct cell *row_cells(struct row *r)
{
	return (struct cell *)((char *)r + row_cells_at(r->id_len));
}

static inline bool cell_expired(const struct cell *c, int64_t now_us)
{
	return c->meta.expires_us != 0 && now_us >= c->meta.expires_us;
}

/* Heap bytes of a row and of a value, as the allocator counts them. */
size_t row_bytes(size_t id_len, size_t cells_cap);
size_t row_value_bytes(const struct value *v);

struct row *row_create(uint64_t hash, uint32_t kind, struct str id, unsigned cells_cap); /* NULL: no memory */
/* Frees the row and gives up the references of its cells. Returns the bytes that became free. */
size_t row_destroy(struct row *r);

/* Where a row with so many cells should grow to. */
unsigned row_cap_for(unsigned cells_len);

static inline bool row_is(const struct row *r, uint64_t hash, uint32_t kind, struct str id)
{
	return r->hash == hash && r->kind == kind && r->id_len == id.n &&
	       (id.n == 0 || memcmp(r->id, id.p, id.n) == 0);
}

struct cell *row_find(struct row *r, uint32_t feature); /* NULL: none */
/* There must be room, and none of the feature yet. */
void row_insert(struct row *r, const struct cell *c);
void row_remove(struct row *r, struct cell *c);

/* Is what is there newer than (event time, LSN), so that a write must not apply? A tombstone also wins a tie. */
bool row_refuses(struct row *r, uint32_t feature, const struct online_meta *meta);
/* Moves the cells that a delete of the whole row leaves alone to the empty row `to`; the others stay in `from`. With
 * to NULL it only counts. Returns how many those are. */
unsigned row_move_newer(struct row *from, struct row *to, const struct online_meta *deleted);
