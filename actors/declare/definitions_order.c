/* The order of declarations: the same in each Lua state, and tables after what their SQL is made from. */
#include "actors/declare/definitions_private.h"
#include "actors/definitions/definitions_sql.h"
#include <stdlib.h>

/* Two declarations of one name and line (an error, which names both) stay as they were. */
static int compare(const void *a, const void *b)
{
	const struct declaration *x = a, *y = b;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	int by_name = str_cmp(x->name, y->name);
	return by_name ? by_name : (x->position > y->position) - (x->position < y->position);
}

static int compare_names(const void *a, const void *b)
{
	return definitions_sql_compare((*(const struct declaration *const *)a)->name,
				       (*(const struct declaration *const *)b)->name);
}

/* ---- tables behind those that they name ---- */

struct edge { /* `user` names `used`; positions in the list of tables */
	uint32_t user, used;
};

struct tables {
	struct declaration *list, *sorted; /* sorted: where the order grows */
	const struct declaration **by_name;
	uint32_t count, sorted_count;
	struct edge *edges;
	size_t edges_count, edges_cap;
	uint32_t *missing; /* by table: how many that it names are not in sorted yet */
};

static const struct declaration *find(const struct tables *t, struct str name)
{
	struct declaration wanted = { .name = name };
	const struct declaration *key = &wanted;
	const struct declaration **found = bsearch(&key, t->by_name, t->count, sizeof *t->by_name, compare_names);
	return found ? *found : NULL;
}

static bool add_edges(struct tables *t, uint32_t user)
{
	struct str sql = t->list[user].sql, word;
	struct sql_words words = { sql.p, sql.p + sql.n };
	while (sql.p && definitions_sql_word(&words, &word)) {
		const struct declaration *used = find(t, word);
		if (used == NULL || used == &t->list[user])
			continue; /* often a column of the same name */
		if (t->edges_count == t->edges_cap) {
			size_t cap = t->edges_cap ? 2 * t->edges_cap : 64;
			struct edge *edges = realloc(t->edges, cap * sizeof *edges);
			if (edges == NULL)
				return false;
			t->edges = edges;
			t->edges_cap = cap;
		}
		t->edges[t->edges_count++] = (struct edge){ user, (uint32_t)(used - t->list) };
		t->missing[user]++;
	}
	return true;
}

static int compare_edges(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;
	return x->used != y->used ? (x->used > y->used) - (x->used < y->used)
				  : (x->user > y->user) - (x->user < y->user);
}

static size_t first_edge(const struct tables *t, uint32_t used)
{
	size_t low = 0, high = t->edges_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (t->edges[middle].used < used)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Those that waited only for this one follow it at once. `queue` has room for all tables. */
static void place(struct tables *t, uint32_t index, uint32_t *queue)
{
	uint32_t queued = 0;
	queue[queued++] = index;
	t->missing[index] = UINT32_MAX;
	for (uint32_t i = 0; i < queued; i++) {
		uint32_t used = queue[i];
		t->sorted[t->sorted_count++] = t->list[used];
		for (size_t e = first_edge(t, used); e < t->edges_count && t->edges[e].used == used; e++) {
			uint32_t user = t->edges[e].user;
			if (t->missing[user] == UINT32_MAX || --t->missing[user] > 0)
				continue;
			t->missing[user] = UINT32_MAX;
			queue[queued++] = user;
		}
	}
}

static bool order_tables(struct tables *t, uint32_t *queue)
{
	for (uint32_t i = 0; i < t->count; i++)
		t->by_name[i] = &t->list[i];
	qsort(t->by_name, t->count, sizeof *t->by_name, compare_names);
	for (uint32_t i = 0; i < t->count; i++)
		if (!add_edges(t, i))
			return false;
	if (t->edges_count == 0)
		return true;
	qsort(t->edges, t->edges_count, sizeof *t->edges, compare_edges);
	for (uint32_t i = 0; i < t->count; i++)
		if (t->missing[i] == 0)
			place(t, i, queue);
	/* Two that name each other, if only as a column: the offline store will say which one is missing, if one is. */
	for (uint32_t i = 0; i < t->count; i++)
		if (t->missing[i] != UINT32_MAX)
			place(t, i, queue);
	memcpy(t->list, t->sorted, t->count * sizeof *t->list);
	return true;
}

bool definitions_order_declarations(struct declare *declare)
{
	struct tables t = { 0 };
	if (declare->count == 0)
		return true;
	qsort(declare->list, declare->count, sizeof *declare->list, compare);
	for (uint32_t i = 0; i < declare->count; i++) {
		if (declare->list[i].kind != DECLARE_TABLE)
			continue;
		if (t.count++ == 0)
			t.list = &declare->list[i];
	}
	if (t.count == 0)
		return true;
	t.sorted = calloc(t.count, sizeof *t.sorted);
	t.by_name = calloc(t.count, sizeof *t.by_name);
	t.missing = calloc(t.count, sizeof *t.missing);
	uint32_t *queue = calloc(t.count, sizeof *queue);
	bool good = t.sorted && t.by_name && t.missing && queue && order_tables(&t, queue);
	free(t.sorted);
	free(t.by_name);
	free(t.missing);
	free(t.edges);
	free(queue);
	return good;
}
