/* A hierarchical timing wheel (Varghese and Lauck 1987): insert and remove in O(1), in ticks of the
 * caller's choice.
 *
 * Eleven levels of 64 slots, one level for each six bits of a 64-bit tick. A node sits at the level of the
 * highest bits in which its due tick differs from now. So everything on a lower level is due before
 * everything on a higher one, the lowest occupied slot of the lowest occupied level is always next, and a
 * slot is moved down when now reaches it. */
#pragma once
#include "runtime/list.h"
#include <stdint.h>

enum { WHEEL_LEVELS = 11, WHEEL_SLOTS = 64 };

struct wheel_node {
	struct dlist link;
	uint64_t due; /* tick */
};

struct wheel {
	uint64_t now;
	uint32_t levels;                 /* bit per level that has nodes */
	uint64_t occupied[WHEEL_LEVELS]; /* bit per slot that has nodes */
	struct dlist slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now);
/* A tick that has passed is due at the next advance. Nodes of one tick expire in the order they were
 * added. */
void wheel_add(struct wheel *w, struct wheel_node *node, uint64_t due);
void wheel_remove(struct wheel *w, struct wheel_node *node); /* a node that is in no wheel is left alone */
/* false: empty. Else a tick at which to advance: never later than the first due node. */
bool wheel_next(const struct wheel *w, uint64_t *ret_tick);
/* Unlinks each node with due <= now and passes it to fn, which may add and remove others. */
void wheel_advance(struct wheel *w, uint64_t now, void (*fn)(struct wheel_node *node, void *arg), void *arg);
