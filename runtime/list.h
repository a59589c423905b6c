/* Intrusive lists. A dlist is circular and keeps order; an hlist has a one-pointer head, so zeroed memory
 * is empty. A node whose `next`/`at` is NULL is in no list. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct dlist {
	struct dlist *next, *prev;
};

static inline void dlist_init(struct dlist *head)
{
	head->next = head->prev = head;
}

static inline bool dlist_is_empty(const struct dlist *head)
{
	return head->next == head;
}

static inline bool dlist_is_linked(const struct dlist *node)
{
	return node->next != NULL;
}

static inline void dlist_append(struct dlist *head, struct dlist *node)
{
	node->next = head;
	node->prev = head->prev;
	head->prev->next = node;
	head->prev = node;
}

static inline void dlist_remove(struct dlist *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NULL;
}

struct hlist {
	struct hlist *next;
	struct hlist **at; /* what points to this node */
};

static inline void hlist_push(struct hlist **head, struct hlist *node)
{
	node->next = *head;
	if (node->next != NULL)
		node->next->at = &node->next;
	node->at = head;
	*head = node;
}

static inline void hlist_remove(struct hlist *node)
{
	if (node->at == NULL)
		return;
	*node->at = node->next;
	if (node->next != NULL)
		node->next->at = node->at;
	node->at = NULL;
}
