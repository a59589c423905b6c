#include "runtime/wheel.h"
#include "runtime/check.h"

enum { LEVEL_BITS = 6 };

void wheel_init(struct wheel *w, uint64_t now)
{
	w->now = now;
	w->levels = 0;
	for (int level = 0; level < WHEEL_LEVELS; level++) {
		w->occupied[level] = 0;
		for (int slot = 0; slot < WHEEL_SLOTS; slot++)
			dlist_init(&w->slots[level][slot]);
	}
}

static void place(struct wheel *w, struct wheel_node *node)
{
	uint64_t due = node->due > w->now ? node->due : w->now;
	int level = (63 - __builtin_clzll((due ^ w->now) | 1)) / LEVEL_BITS;
	int slot = (int)(due >> (level * LEVEL_BITS) & (WHEEL_SLOTS - 1));
	dlist_append(&w->slots[level][slot], &node->link);
	w->occupied[level] |= 1ull << slot;
	w->levels |= 1u << level;
}

static void mark_empty(struct wheel *w, int level, int slot)
{
	w->occupied[level] &= ~(1ull << slot);
	if (w->occupied[level] == 0)
		w->levels &= ~(1u << level);
}

void wheel_add(struct wheel *w, struct wheel_node *node, uint64_t due)
{
	DCHECK(!dlist_is_linked(&node->link));
	node->due = due;
	place(w, node);
}

void wheel_remove(struct wheel *w, struct wheel_node *node)
{
	if (!dlist_is_linked(&node->link))
		return;
	struct dlist *head = node->link.next;
	dlist_remove(&node->link);
	if (dlist_is_empty(head)) {
		ptrdiff_t index = head - &w->slots[0][0];
		mark_empty(w, (int)(index / WHEEL_SLOTS), (int)(index % WHEEL_SLOTS));
	}
}

/* The first tick of the slot: the digits of now above the level, the slot's own digit, zeros below. */
static uint64_t slot_start(const struct wheel *w, int level, int slot)
{
	int shift = level * LEVEL_BITS;
	uint64_t above = shift + LEVEL_BITS >= 64 ? 0 : w->now >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
	return above | (uint64_t)slot << shift;
}

static bool first_slot(const struct wheel *w, int *ret_level, int *ret_slot)
{
	if (w->levels == 0)
		return false;
	*ret_level = __builtin_ctz(w->levels);
	*ret_slot = __builtin_ctzll(w->occupied[*ret_level]);
	return true;
}

bool wheel_next(const struct wheel *w, uint64_t *ret_tick)
{
	int level, slot;
	if (!first_slot(w, &level, &slot))
		return false;
	*ret_tick = slot_start(w, level, slot);
	return true;
}

/* Spreads a slot whose time has come over the levels below it. */
static void move_down(struct wheel *w, int level, int slot)
{
	struct dlist *head = &w->slots[level][slot];
	mark_empty(w, level, slot);
	while (!dlist_is_empty(head)) {
		struct wheel_node *node = (struct wheel_node *)head->next;
		dlist_remove(&node->link);
		place(w, node);
	}
}

void wheel_advance(struct wheel *w, uint64_t now, void (*fn)(struct wheel_node *node, void *arg), void *arg)
{
	int level, slot;
	while (first_slot(w, &level, &slot)) {
		uint64_t start = slot_start(w, level, slot);
		if (start > now)
			break;
		w->now = start;
		if (level > 0) {
			move_down(w, level, slot);
			continue;
		}
		struct wheel_node *node = (struct wheel_node *)w->slots[0][slot].next;
		wheel_remove(w, node);
		fn(node, arg);
	}
	if (now > w->now)
		w->now = now;
}
