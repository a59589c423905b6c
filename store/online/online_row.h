/* One row of the online table: its cells sorted by feature, in one block of memory. Nothing here locks. */
#pragma once
#include "store/online/online_memory.h"

/* The row's own tombstone is a cell too; it sorts behind all features. */
#define ROW_TOMBSTONE UINT32_MAX

enum { CELL_TEXT_MAX = 24, CELL_SHARED = 254, CELL_TOMBSTONE = 255 };

/* One cache line. Most values are a number, a flag or a word: such a text lies in the cell, so that a read
 * has one miss of the caches less, and no reference count moves between cores. */
struct cell {
	int64_t event_time_us;
	uint64_t lsn;
	int64_t written_us, expires_us; /* of a tombstone: how long it is kept */
	uint32_t feature;
	uint16_t event_time_ns;
	uint8_t flags;
	uint8_t form; /* CELL_SHARED, CELL_TOMBSTONE, or the length of text */
	union {
		char text[CELL_TEXT_MAX];
		struct value *value; /* shares; CELL_SHARED */
	};
};
_Static_assert(sizeof(struct cell) == 64, "a cell is one cache line");

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
	return c->expires_us != 0 && now_us >= c->expires_us;
}

static inline bool cell_is_tombstone(const struct cell *c)
{
	return c->form == CELL_TOMBSTONE;
}

/* Borrows from the cell or its value; not for tombstones. */
static inline struct str cell_json(const struct cell *c)
{
	return c->form == CELL_SHARED ? value_json(c->value) : str_of(c->text, c->form);
}

static inline struct online_meta cell_meta(const struct cell *c)
{
	return (struct online_meta){ .event_time_us = c->event_time_us,
				     .lsn = c->lsn,
				     .written_us = c->written_us,
				     .expires_us = c->expires_us,
				     .flags = c->flags,
				     .event_time_ns = c->event_time_ns };
}

/* Does a cell hold the value by reference? A short one is copied, unless something was made known of what it came from. */
static inline bool cell_is_shared(const struct value *v)
{
	return v->len > CELL_TEXT_MAX || v->basis != NULL;
}

/* v NULL: a tombstone. A shared value gets a reference of the cell's own. */
struct cell cell_make(uint32_t feature, struct value *v, const struct online_meta *meta);
/* Gives the reference up, if there is one; returns the bytes of the value that the table no longer counts. */
size_t cell_finish(const struct cell *c);

/* Heap bytes as the allocator counts them: of a row, and of a value outside its cell (else 0). */
size_t row_bytes(size_t id_len, size_t cells_cap);
size_t row_value_bytes(const struct value *v);

struct row *row_create(uint64_t hash, uint32_t kind, struct str id, unsigned cells_cap); /* NULL: no memory */
/* Frees the row and gives up the references of its cells. Returns the bytes that became free. */
size_t row_destroy(struct row *r);

/* Where a row with so many cells should grow to. */
unsigned row_cap_for(unsigned cells_len);

static inline bool row_is(const struct row *r, uint64_t hash, uint32_t kind, struct str id)
{
	return r->hash == hash && r->kind == kind && r->id_len == id.n && (id.n == 0 || memcmp(r->id, id.p, id.n) == 0);
}

struct cell *row_find(struct row *r, uint32_t feature); /* NULL: none */
/* There must be room, and none of the feature yet. */
void row_insert(struct row *r, const struct cell *c);
void row_remove(struct row *r, struct cell *c);

/* Is what is there newer than c, so that c must not apply? A tombstone also wins a tie. */
bool row_refuses(struct row *r, const struct cell *c);
/* A delete that comes where another one was: it keeps the later time and the later LSN of the two. */
void row_merge_tombstone(struct row *r, struct cell *deleted);
/* Moves the cells that a delete of the whole row leaves alone to the empty row `to`; the others stay in
 * `from`. With to NULL it only counts. Returns how many those are. */
unsigned row_move_newer(struct row *from, struct row *to, const struct cell *deleted);
