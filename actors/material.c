#include "actors/material.h"
#include "runtime/check.h"
#include <stdlib.h>

struct material *material_new(uint32_t context, int64_t now_us)
{
	struct material *m = calloc(1, sizeof *m);
	if (m)
		*m = (struct material){ .refs = 1, .context = context, .made_at_us = now_us };
	return m;
}

struct material *material_ref(struct material *m)
{
	m->refs++;
	return m;
}

void material_unref(struct material *m)
{
	if (m == NULL || --m->refs)
		return;
	for (uint32_t i = 0; i < m->calls_count; i++)
		retrieved_unref(m->calls[i].retrieved);
	arena_finish(&m->arena);
	free(m);
}

/* Room for one more element; arrays double inside the arena. NULL: the bound is reached. */
static void *array_grow(struct arena *a, void *array, uint32_t count, uint32_t *cap, uint32_t max, size_t size)
{
	if (count < *cap)
		return array;
	if (count >= max)
		return NULL;
	uint32_t grown = *cap ? *cap * 2 : 16;
	void *p = arena_alloc(a, grown * size);
	if (p == NULL)
		return NULL;
	if (count)
		memcpy(p, array, count * size);
	*cap = grown;
	return p;
}

bool material_add_item(struct material *m, const struct material_item *item)
{
	struct material_item *items =
	    array_grow(&m->arena, m->items, m->items_count, &m->items_cap, MATERIAL_ITEMS_MAX, sizeof *items);
	if (items == NULL)
		return false;
	m->items = items;
	struct material_item *added = &items[m->items_count];
	*added = *item;
	added->content = arena_dup(&m->arena, item->content);
	if (item->source_id.p)
		added->source_id = arena_dup(&m->arena, item->source_id);
	if (added->content.p == NULL)
		return false;
	m->items_count++;
	return true;
}

bool material_add_feature(struct material *m, uint32_t feature, struct str entity_id, const struct feature_result *result)
{
	struct material_feature *features = array_grow(&m->arena, m->features, m->features_count, &m->features_cap,
						       MATERIAL_FEATURES_MAX, sizeof *features);
	if (features == NULL)
		return false;
	m->features = features;
	struct material_feature *added = &features[m->features_count];
	*added = (struct material_feature){
		.feature = feature,
		.entity_id = arena_dup(&m->arena, entity_id),
		.value_json = arena_dup(&m->arena, str_of(result->value->json, result->value->len)),
		.source = result->source,
		.as_of_us = result->as_of_us,
	};
	if (added->entity_id.p == NULL || added->value_json.p == NULL)
		return false;
	m->features_count++;
	return true;
}

bool material_add_call(struct material *m, struct retrieved *retrieved)
{
	if (m->calls_count == MATERIAL_CALLS_MAX)
		return false;
	int64_t *tokens = arena_zalloc(&m->arena, (retrieved->chunks_count + 1) * sizeof *tokens);
	if (tokens == NULL)
		return false;
	m->calls[m->calls_count++] = (struct material_call){ retrieved_ref(retrieved), tokens };
	return true;
}

/* ---- counting ---- */

static const struct str separator = { "\n", 1 };

void material_work_begin(struct material_work *w, struct material *m, const struct tokens *tokens,
			 struct token_cache *cache, int64_t max_tokens)
{
	*w = (struct material_work){ .material = m, .tokens = tokens, .cache = cache, .max_tokens = max_tokens };
}

void material_work_finish(struct material_work *w)
{
	buf_finish(&w->joined);
}

/* true: *ret is known; false: the slice is used up. */
static bool count_text(struct material_work *w, struct str text, struct tokens_span *ret)
{
	if (!w->job_open) {
		if (token_cache_get(w->cache, w->tokens, text, ret))
			return true;
		tokens_job_begin(&w->job, w->tokens, text);
		w->job_open = true;
	}
	if (!tokens_job_step(&w->job, TOKENS_SLICE_BYTES))
		return false;
	w->job_open = false;
	*ret = tokens_span_of(w->tokens, text, w->job.count);
	token_cache_put(w->cache, w->tokens, text, ret);
	return true;
}

/* How many bytes of text one turn counts when nothing is cached. */
enum { TURN_BYTES = 2 * TOKENS_SLICE_BYTES };

static bool count_items(struct material_work *w)
{
	struct material *m = w->material;
	size_t bytes = 0;
	for (; w->item < m->items_count; w->item++) {
		struct material_item *item = &m->items[w->item];
		if (bytes > TURN_BYTES || !count_text(w, item->content, &item->span))
			return false;
		bytes += item->content.n;
	}
	return true;
}

static bool count_chunks(struct material_work *w)
{
	struct material *m = w->material;
	size_t bytes = 0;
	for (; w->call < m->calls_count; w->call++, w->chunk = 0) {
		const struct retrieved *r = m->calls[w->call].retrieved;
		for (; w->chunk < r->chunks_count; w->chunk++) {
			struct tokens_span span;
			struct str text = r->chunks[w->chunk].content;
			if (bytes > TURN_BYTES || !count_text(w, text, &span))
				return false;
			m->calls[w->call].chunk_tokens[w->chunk] = span.total;
			bytes += text.n;
		}
	}
	return true;
}

/* ---- the budget ---- */

static bool is_kept(const struct material_item *item)
{
	return !item->dropped;
}

/* The exact count of the kept items from..to joined, `without` left out. false: a seam is too long. */
static bool joined_count(const struct material_work *w, uint32_t from, uint32_t to, uint32_t without, size_t *ret)
{
	const struct material *m = w->material;
	struct tokens_item parts[256];
	size_t n = 0;
	for (uint32_t i = from; i <= to && i < m->items_count; i++) {
		if (!is_kept(&m->items[i]) || i == without)
			continue;
		if (n == ARRAY_LEN(parts))
			return false;
		parts[n++] = (struct tokens_item){ m->items[i].content, m->items[i].span };
	}
	return tokens_joined(w->tokens, parts, n, separator, ret);
}

/* The kept neighbours around `item` far enough out that they have a cut: beyond them nothing changes. */
static void window_around(const struct material *m, uint32_t item, uint32_t *ret_from, uint32_t *ret_to)
{
	uint32_t from = item, to = item;
	while (from > 0) {
		from--;
		if (is_kept(&m->items[from]) && m->items[from].span.has_cut)
			break;
	}
	while (to + 1 < m->items_count) {
		to++;
		if (is_kept(&m->items[to]) && m->items[to].span.has_cut)
			break;
	}
	*ret_from = from;
	*ret_to = to;
}

/* The next to go: the highest priority number, and of equals the last. UINT32_MAX: only required ones are left. */
static uint32_t next_to_drop(const struct material *m)
{
	uint32_t worst = UINT32_MAX;
	for (uint32_t i = 0; i < m->items_count; i++) {
		const struct material_item *item = &m->items[i];
		if (is_kept(item) && !item->required &&
		    (worst == UINT32_MAX || item->priority >= m->items[worst].priority))
			worst = i;
	}
	return worst;
}

static void drop(struct material *m, uint32_t item)
{
	m->items[item].dropped = true;
	m->dropped[m->dropped_count++] = item;
}

static bool fits(const struct material_work *w, int64_t tokens)
{
	return w->max_tokens == 0 || tokens <= w->max_tokens;
}

static bool join_text(const struct material *m, struct buf *out)
{
	bool first = true;
	for (uint32_t i = 0; i < m->items_count; i++) {
		if (!is_kept(&m->items[i]))
			continue;
		if (!first)
			buf_append_str(out, separator);
		buf_append_str(out, m->items[i].content);
		first = false;
	}
	return !out->failed;
}

/* Drops until it fits, keeping the total exact by counting anew only around what goes. false: a seam is too long. */
static bool drop_exactly(struct material_work *w, size_t *total)
{
	struct material *m = w->material;
	uint32_t item;
	while (!fits(w, (int64_t)*total) && (item = next_to_drop(m)) != UINT32_MAX) {
		uint32_t from, to;
		size_t with, without;
		window_around(m, item, &from, &to);
		if (!joined_count(w, from, to, UINT32_MAX, &with) || !joined_count(w, from, to, item, &without))
			return false;
		drop(m, item);
		*total = *total - with + without;
	}
	return true;
}

static bool total_exactly(const struct material_work *w, size_t *ret)
{
	const struct material *m = w->material;
	size_t total = 0;
	uint32_t from = 0;
	/* In stretches that join at an item with a cut: it is in both, and counted once. */
	while (from < m->items_count) {
		uint32_t to = from + 200 < m->items_count ? from + 200 : m->items_count - 1;
		while (to + 1 < m->items_count && to > from && !m->items[to].span.has_cut)
			to--;
		size_t part;
		if ((to == from && to + 1 < m->items_count) || !joined_count(w, from, to, UINT32_MAX, &part))
			return false;
		total += part;
		if (to + 1 == m->items_count)
			break;
		total -= m->items[to].span.total;
		from = to;
	}
	*ret = total;
	return true;
}

/* Without cuts near the borders: drop by the items' own counts, then count the text itself. */
static void drop_by_estimate(struct material_work *w, int64_t total)
{
	struct material *m = w->material;
	uint32_t item;
	while (!fits(w, total) && (item = next_to_drop(m)) != UINT32_MAX) {
		drop(m, item);
		total -= m->items[item].span.total + 1; /* its line end too; what this drops too few, the recount drops */
	}
}

static enum material_progress finish_text(struct material_work *w, int64_t total)
{
	struct material *m = w->material;
	m->tokens = total;
	m->budget_exceeded = !fits(w, total);
	buf_clear(&w->joined);
	bool ok = join_text(m, &w->joined);
	m->content = arena_dup(&m->arena, buf_str(&w->joined));
	if (!ok || m->content.p == NULL)
		return MATERIAL_NO_MEMORY;
	record_hash_text(m->content, m->content_hash);
	return MATERIAL_DONE;
}

static enum material_progress recount_step(struct material_work *w)
{
	if (!w->job_open) {
		buf_clear(&w->joined);
		if (!join_text(w->material, &w->joined))
			return MATERIAL_NO_MEMORY;
		tokens_job_begin(&w->job, w->tokens, buf_str(&w->joined));
		w->job_open = true;
	}
	if (!tokens_job_step(&w->job, TURN_BYTES))
		return MATERIAL_MORE;
	w->job_open = false;
	int64_t total = (int64_t)w->job.count;
	if (!fits(w, total) && next_to_drop(w->material) != UINT32_MAX) {
		drop_by_estimate(w, total);
		return MATERIAL_MORE;
	}
	return finish_text(w, total);
}

static enum material_progress total_step(struct material_work *w)
{
	struct material *m = w->material;
	m->dropped = arena_alloc(&m->arena, (m->items_count + 1) * sizeof *m->dropped);
	if (m->dropped == NULL)
		return MATERIAL_NO_MEMORY;
	size_t total;
	if (total_exactly(w, &total) && drop_exactly(w, &total))
		return finish_text(w, (int64_t)total);
	w->state = WORK_RECOUNT;
	return MATERIAL_MORE;
}

enum material_progress material_work_step(struct material_work *w)
{
	switch (w->state) {
	case WORK_ITEMS:
		if (!count_items(w))
			return MATERIAL_MORE;
		w->state = WORK_CHUNKS;
		/* fallthrough */
	case WORK_CHUNKS:
		if (!count_chunks(w))
			return MATERIAL_MORE;
		w->state = WORK_TOTAL;
		/* fallthrough */
	case WORK_TOTAL:
		return total_step(w);
	case WORK_RECOUNT:
		return recount_step(w);
	}
	UNREACHABLE();
}
