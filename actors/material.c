#include "actors/material.h"
#include "actors/computation.h"
#include "runtime/check.h"
#include <stdlib.h>

struct material *material_new(uint32_t context, int64_t now_us)
{
	struct material *m = calloc(1, sizeof *m);
	struct reads *reads = reads_new();
	if (m == NULL || reads == NULL) {
		reads_unref(reads);
		free(m);
		return NULL;
	}
	*m = (struct material){ .refs = 1, .context = context, .made_at_us = now_us, .reads = reads };
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
	reads_unref(m->reads);
	arena_finish(&m->arena);
	free(m);
}

bool material_add_item(struct material *m, const struct material_item *item)
{
	struct material_item *items = arena_array_grow(&m->arena, m->items, m->items_count, &m->items_cap,
						       MATERIAL_ITEMS_MAX, sizeof *items);
	if (items == NULL)
		return false;
	m->items = items;
	struct material_item *added = &items[m->items_count];
	*added = *item;
	if (item->chunk != NULL) {
		m->items_count++;
		return true;
	}
	added->content = arena_dup(&m->arena, item->content);
	if (item->source_id.p)
		added->source_id = arena_dup(&m->arena, item->source_id);
	if (added->content.p == NULL)
		return false;
	m->items_count++;
	return true;
}

bool material_add_absent(struct material *m, const struct material_absent *item)
{
	struct material_absent *absent = arena_array_grow(&m->arena, m->absent, m->absent_count, &m->absent_cap,
							  MATERIAL_ITEMS_MAX, sizeof *absent);
	if (absent == NULL)
		return false;
	m->absent = absent;
	absent[m->absent_count] = *item;
	if (item->source_id.p)
		absent[m->absent_count].source_id = arena_dup(&m->arena, item->source_id);
	m->absent_count++;
	return true;
}

/* Makes room for the token counts of calls that are new in reads. */
static bool take_calls(struct material *m)
{
	while (m->calls_count < m->reads->calls_count) {
		const struct read_call *call = &m->reads->calls[m->calls_count];
		struct material_call *calls = arena_array_grow(&m->arena, m->calls, m->calls_count, &m->calls_cap,
							       MATERIAL_CALLS_MAX, sizeof *calls);
		int64_t *tokens = arena_zalloc(&m->arena, (call->retrieved->chunks_count + 1) * sizeof *tokens);
		if (calls == NULL || tokens == NULL)
			return false;
		m->calls = calls;
		m->calls[m->calls_count++] = (struct material_call){ call->retrieved, tokens, !call->is_settled };
	}
	return true;
}

bool material_add_feature(struct material *m, const struct definitions *d, uint32_t feature, struct str entity_id,
			  const struct feature_result *result)
{
	return reads_add_result(m->reads, d, feature, entity_id, result) && take_calls(m);
}

bool material_add_missing(struct material *m, uint32_t feature, struct str entity_id, enum feature_state state)
{
	return reads_add_missing(m->reads, feature, entity_id, state, (struct str){ 0 });
}

bool material_add_call(struct material *m, struct retrieved *retrieved)
{
	return reads_add_call(m->reads, retrieved) && take_calls(m);
}

bool material_add_failure(struct material *m, uint32_t retriever, enum feature_state state, struct str reason)
{
	return reads_add_failure(m->reads, retriever, state, reason);
}

bool material_add_reads_of(struct material *m, const struct computation_job *job, const struct definitions *d)
{
	return computation_reads(job, d, m->reads) && take_calls(m);
}

/* ---- counting ---- */

enum {
	SLICE_BYTES = 2 * TOKENS_SLICE_BYTES, /* of text that one slice counts or finds in the cache */
	PARTS_MAX = 256,                      /* items joined at once */
	NONE = UINT32_MAX,
};

static const struct str separator = { "\n", 1 };

void material_work_begin(struct material_work *w, struct material *m, const struct tokens *tokens,
			 struct token_cache *cache, int64_t max_tokens)
{
	*w = (struct material_work){ .material = m,
				     .tokens = tokens,
				     .cache = cache,
				     .max_tokens = max_tokens,
				     .unfit_drops = -1,
				     .fit_total = -1 };
}

void material_work_finish(struct material_work *w)
{
	buf_finish(&w->joined);
}

/* true: *ret is known; false: the slice is used up. */
static bool count_text(struct material_work *w, struct str text, struct tokens_span *ret)
{
	if (w->bytes > SLICE_BYTES)
		return false;
	if (!w->job_open) {
		if (token_cache_get(w->cache, w->tokens, text, ret)) {
			w->bytes += (uint32_t)text.n / 16; /* a cache hit costs about a sixteenth of counting */
			return true;
		}
		tokens_job_begin(&w->job, w->tokens, text);
		w->job_open = true;
	}
	if (!tokens_job_step(&w->job, TOKENS_SLICE_BYTES)) {
		w->bytes = UINT32_MAX;
		return false;
	}
	w->job_open = false;
	*ret = tokens_span_of(w->tokens, text, w->job.count);
	token_cache_put(w->cache, w->tokens, text, ret);
	w->bytes += (uint32_t)(text.n < TOKENS_SLICE_BYTES ? text.n : TOKENS_SLICE_BYTES);
	return true;
}

static bool count_chunk(struct material_work *w, struct chunk *c, struct tokens_span *ret)
{
	uint8_t as = (uint8_t)(w->tokens->encoding + 1);
	if (c->counted_as != as) {
		if (!count_text(w, c->content, &c->span))
			return false;
		c->counted_as = as;
	}
	*ret = c->span;
	return true;
}

static bool count_items(struct material_work *w)
{
	struct material *m = w->material;
	for (; w->item < m->items_count; w->item++) {
		struct material_item *item = &m->items[w->item];
		if (!(item->chunk ? count_chunk(w, item->chunk, &item->span)
				  : count_text(w, item->content, &item->span)))
			return false;
	}
	return true;
}

static bool count_chunks(struct material_work *w)
{
	struct material *m = w->material;
	for (; w->call < m->calls_count; w->call++, w->chunk = 0) {
		struct retrieved *r = m->calls[w->call].retrieved;
		for (; m->calls[w->call].is_counted && w->chunk < r->chunks_count; w->chunk++) {
			struct tokens_span span;
			if (!count_chunk(w, &r->chunks[w->chunk], &span))
				return false;
			m->calls[w->call].chunk_tokens[w->chunk] = span.total;
		}
	}
	return true;
}

/* ---- the total ---- */

/* The kept items form a linked list, so that dropped ones cost nothing later. */
static void link_items(struct material *m)
{
	for (uint32_t i = 0; i < m->items_count; i++) {
		m->items[i].before = i ? i - 1 : NONE;
		m->items[i].behind = i + 1 < m->items_count ? i + 1 : NONE;
	}
}

/* Bytes that are counted when the item stands in the middle of others. */
static uint32_t seam_bytes(const struct material_item *item)
{
	return item->span.has_cut ? item->span.head_bytes + item->span.tail_bytes : item->span.head_bytes;
}

/* The exact count of the kept items from..to joined. To compare the count with and without an item between them, name it: the
 * outer edges, which are the same both times, are then not counted. false: a seam is too long. */
static bool joined_count(struct material_work *w, uint32_t from, uint32_t to, uint32_t compared, bool with_it,
			 int64_t *ret)
{
	const struct material *m = w->material;
	struct tokens_item parts[PARTS_MAX];
	size_t n = 0, count;
	for (uint32_t i = from; i != NONE; i = i == to ? NONE : m->items[i].behind) {
		if (i == compared && !with_it)
			continue;
		if (n == PARTS_MAX)
			return false;
		parts[n++] = (struct tokens_item){ m->items[i].content, m->items[i].span };
		w->bytes += seam_bytes(&m->items[i]) + 16;
	}
	if (compared != NONE && from != compared && parts[0].span.has_cut)
		parts[0].span.head_bytes = 0;
	if (compared != NONE && to != compared && parts[n - 1].span.has_cut)
		parts[n - 1].span.tail_bytes = 0;
	if (!tokens_joined(w->tokens, parts, n, separator, &count))
		return false;
	*ret = (int64_t)count;
	return true;
}

/* A stretch of items ends where a slice is full and an item has a cut. false: too many items have none. */
static bool find_stretch(const struct material *m, uint32_t from, uint32_t *ret_to)
{
	uint32_t bytes = 0;
	for (uint32_t to = from + 1; to < m->items_count; to++) {
		bytes += seam_bytes(&m->items[to]) + 16;
		if (to - from == PARTS_MAX)
			return false;
		*ret_to = to;
		if (m->items[to].span.has_cut && (bytes > SLICE_BYTES || to - from > PARTS_MAX / 2))
			return true;
	}
	return true;
}

/* In stretches that join at an item with a cut: it is in both, and counted once. */
static void total_step(struct material_work *w)
{
	const struct material *m = w->material;
	w->state = WORK_DROP;
	while (m->items_count) {
		uint32_t to = w->item;
		int64_t part;
		if (!find_stretch(m, w->item, &to) || !joined_count(w, w->item, to, NONE, false, &part)) {
			w->state = WORK_RECOUNT;
			return;
		}
		w->total += part - (w->item ? m->items[w->item].span.total : 0);
		w->item = to;
		if (to + 1 == m->items_count)
			return;
		if (w->bytes > SLICE_BYTES) {
			w->state = WORK_TOTAL;
			return;
		}
	}
}

/* ---- the budget ---- */

static bool fits(const struct material_work *w, int64_t tokens)
{
	return w->max_tokens == 0 || tokens <= w->max_tokens;
}

/* The highest priority number first, and of equals the last item. */
static int compare_droppable(const void *x, const void *y, void *items)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
	int64_t first = ((struct material_item *)items)[a].priority,
		second = ((struct material_item *)items)[b].priority;
	if (first != second)
		return first > second ? -1 : 1;
	return a > b ? -1 : a < b;
}

static bool find_droppable(struct material *m)
{
	m->droppable = arena_alloc(&m->arena, m->items_count * sizeof *m->droppable);
	if (m->droppable == NULL)
		return false;
	for (uint32_t i = 0; i < m->items_count; i++)
		if (!m->items[i].required)
			m->droppable[m->droppable_count++] = i;
	qsort_r(m->droppable, m->droppable_count, sizeof *m->droppable, compare_droppable, m->items);
	return true;
}

static void drop_next(struct material *m)
{
	struct material_item *item = &m->items[m->droppable[m->dropped_count++]];
	item->dropped = true;
	if (item->before != NONE)
		m->items[item->before].behind = item->behind;
	if (item->behind != NONE)
		m->items[item->behind].before = item->before;
}

/* Links the item that was dropped last back in; it still has its neighbours. */
static void undo_drop(struct material *m)
{
	uint32_t index = m->droppable[--m->dropped_count];
	struct material_item *item = &m->items[index];
	item->dropped = false;
	if (item->before != NONE)
		m->items[item->before].behind = index;
	if (item->behind != NONE)
		m->items[item->behind].before = index;
}

/* An upper bound: a text has one separator fewer than items. */
static size_t joined_bytes(const struct material *m)
{
	size_t bytes = 1;
	for (uint32_t i = 0; i < m->items_count; i++)
		bytes += m->items[i].dropped ? 0 : m->items[i].content.n + separator.n;
	return bytes;
}

static struct str write_joined(const struct material *m, char *text)
{
	char *at = text;
	bool first = true;
	for (uint32_t i = 0; i < m->items_count; i++) {
		if (m->items[i].dropped)
			continue;
		if (!first)
			at = mempcpy(at, separator.p, separator.n);
		at = mempcpy(at, m->items[i].content.p, m->items[i].content.n);
		first = false;
	}
	return str_of(text, (size_t)(at - text));
}

static enum material_progress finish_text(struct material_work *w, int64_t total)
{
	struct material *m = w->material;
	m->tokens = total;
	m->budget_exceeded = !fits(w, total);
	char *text = arena_alloc(&m->arena, joined_bytes(m));
	if (text == NULL)
		return MATERIAL_NO_MEMORY;
	m->content = write_joined(m, text);
	record_hash_text(m->content, m->content_hash);
	return MATERIAL_DONE;
}

/* How many tokens go with the next one to be dropped: only what lies between the nearest kept neighbours that have a cut
 * can change. false: a seam is too long. */
static bool count_of_next(struct material_work *w, int64_t *ret)
{
	const struct material *m = w->material;
	uint32_t item = m->droppable[m->dropped_count], from = item, to = item;
	do {
		if (m->items[from].before == NONE)
			break;
		from = m->items[from].before;
	} while (!m->items[from].span.has_cut);
	do {
		if (m->items[to].behind == NONE)
			break;
		to = m->items[to].behind;
	} while (!m->items[to].span.has_cut);
	int64_t with, without;
	if (!joined_count(w, from, to, item, true, &with) || !joined_count(w, from, to, item, false, &without))
		return false;
	*ret = with - without;
	return true;
}

static enum material_progress drop_step(struct material_work *w)
{
	struct material *m = w->material;
	while (!fits(w, w->total)) {
		if (m->droppable == NULL && !find_droppable(m))
			return MATERIAL_NO_MEMORY;
		if (m->dropped_count == m->droppable_count)
			break;
		if (w->bytes > SLICE_BYTES)
			return MATERIAL_MORE;
		int64_t gone;
		w->unfit_drops = m->dropped_count;
		if (!count_of_next(w, &gone)) {
			w->state = WORK_RECOUNT;
			return MATERIAL_MORE;
		}
		drop_next(m);
		w->total -= gone;
	}
	return finish_text(w, w->total);
}

/* ---- counting the text itself ---- */

/* Drops by the items' own counts and their line ends. That may be too few or too many: the text is counted again. */
static void drop_by_estimate(struct material_work *w, int64_t total)
{
	struct material *m = w->material;
	do {
		total -= m->items[m->droppable[m->dropped_count]].span.total + 1;
		drop_next(m);
	} while (!fits(w, total) && m->dropped_count < m->droppable_count);
}

/* The text with this many drops has `total` tokens. Goes on until it fits and would not fit with one drop fewer. */
static enum material_progress recounted(struct material_work *w, int64_t total)
{
	struct material *m = w->material;
	if (fits(w, total)) {
		if (m->dropped_count == 0 || w->unfit_drops == (int64_t)m->dropped_count - 1)
			return finish_text(w, total);
		w->fit_total = total;
		undo_drop(m);
		return MATERIAL_MORE;
	}
	w->unfit_drops = m->dropped_count;
	if (w->fit_total >= 0) {
		drop_next(m);
		return finish_text(w, w->fit_total);
	}
	if (m->droppable == NULL && !find_droppable(m))
		return MATERIAL_NO_MEMORY;
	if (m->dropped_count == m->droppable_count)
		return finish_text(w, total);
	drop_by_estimate(w, total);
	return MATERIAL_MORE;
}

static enum material_progress recount_step(struct material_work *w)
{
	if (!w->job_open) {
		if (!buf_reserve(&w->joined, joined_bytes(w->material)))
			return MATERIAL_NO_MEMORY;
		tokens_job_begin(&w->job, w->tokens, write_joined(w->material, w->joined.p));
		w->job_open = true;
	}
	if (!tokens_job_step(&w->job, SLICE_BYTES))
		return MATERIAL_MORE;
	w->job_open = false;
	return recounted(w, (int64_t)w->job.count);
}

/* ---- */

enum material_progress material_work_step(struct material_work *w)
{
	w->bytes = 0;
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
		w->item = 0;
		link_items(w->material);
		/* fallthrough */
	case WORK_TOTAL:
		total_step(w);
		if (w->state != WORK_DROP)
			return MATERIAL_MORE;
		/* fallthrough */
	case WORK_DROP:
		return drop_step(w);
	case WORK_RECOUNT:
		return recount_step(w);
	}
	UNREACHABLE();
}
