/* Messages to the online store, and what they carry. */
#include "store/online/online.h"
#include <stdlib.h>

MSG_SIZE_CHECK(online_batch);

static void rows_free(struct online_rows *rows)
{
	for (uint32_t i = 0; rows && i < rows->count; i++) {
		const struct online_row_batch *r = &rows->rows[i];
		for (uint32_t k = 0; r->gets && k < r->count; k++)
			value_unref(r->gets[k].cell.value);
		for (uint32_t k = 0; r->changes && k < r->count; k++)
			value_unref(r->changes[k].value);
	}
	if (rows)
		arena_finish(&rows->texts);
	free(rows);
}

static void batch_dispose(struct msg *m)
{
	rows_free(((struct online_batch *)m)->what);
}

struct online_batch *online_batch_new(struct loop *loop, enum online_msg kind)
{
	struct online_rows *rows = calloc(1, sizeof *rows);
	if (rows == NULL)
		return NULL;
	struct online_batch *m = loop ? rt_msg_new(loop, (uint16_t)kind) : loop_msg_new((uint16_t)kind);
	m->head.dispose = batch_dispose;
	m->what = rows;
	return m;
}

/* Room for one more row of n cells. NULL: there is none. It counts once row_keep has been called. */
static struct online_row_batch *row_begin(struct online_rows *rows, struct str id, uint32_t n, size_t bytes)
{
	bool is_full = rows->count == ONLINE_BATCH_ROWS_MAX || n > ONLINE_TOGETHER_MAX ||
		       rows->cells + n > ONLINE_BATCH_CELLS_MAX ||
		       (rows->count && rows->bytes + id.n + bytes > ONLINE_BATCH_BYTES_MAX);
	if (is_full)
		return NULL;
	struct online_row_batch *all = arena_array_grow(&rows->texts, rows->rows, rows->count, &rows->cap,
							ONLINE_BATCH_ROWS_MAX, sizeof *all);
	if (all == NULL)
		return NULL;
	rows->rows = all;
	struct online_row_batch *r = &all[rows->count];
	*r = (struct online_row_batch){ .count = n, .id = arena_dup(&rows->texts, id), .result = ONLINE_FAILED };
	return r->id.p ? r : NULL;
}

static bool row_keep(struct online_rows *rows, const struct online_row_batch *r, size_t bytes)
{
	rows->count++;
	rows->cells += r->count;
	rows->bytes += r->id.n + bytes;
	return true;
}

bool online_batch_get(struct online_batch *m, uint32_t kind, struct str id, const uint32_t *features, uint32_t n)
{
	struct online_row_batch *r = row_begin(m->what, id, n, 0);
	if (r == NULL || (r->gets = arena_zalloc(&m->what->texts, n * sizeof *r->gets)) == NULL)
		return false;
	r->kind = kind;
	for (uint32_t i = 0; i < n; i++)
		r->gets[i].feature = features[i];
	return row_keep(m->what, r, 0);
}

bool online_batch_put(struct online_batch *m, uint32_t kind, struct str id, const struct online_change *changes,
		      uint32_t n)
{
	size_t bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		bytes += changes[i].value ? changes[i].value->len : 0;
	struct online_row_batch *r = row_begin(m->what, id, n, bytes);
	if (r == NULL || (r->changes = arena_alloc(&m->what->texts, n * sizeof *r->changes)) == NULL)
		return false;
	r->kind = kind;
	for (uint32_t i = 0; i < n; i++) {
		r->changes[i] = changes[i];
		r->changes[i].result = ONLINE_FAILED;
		if (changes[i].value)
			value_ref(changes[i].value);
	}
	return row_keep(m->what, r, bytes);
}

bool online_batch_delete(struct online_batch *m, uint32_t kind, struct str id, const struct online_meta *when)
{
	struct online_row_batch *r = row_begin(m->what, id, 0, 0);
	if (r == NULL)
		return false;
	r->kind = kind;
	r->when = *when;
	return row_keep(m->what, r, 0);
}

static void forget_answers(struct online_rows *rows)
{
	for (uint32_t i = 0; i < rows->count; i++) {
		struct online_row_batch *r = &rows->rows[i];
		r->result = ONLINE_FAILED;
		for (uint32_t k = 0; r->gets && k < r->count; k++) {
			value_unref(r->gets[k].cell.value);
			r->gets[k] = (struct online_get){ .feature = r->gets[k].feature };
		}
		for (uint32_t k = 0; r->changes && k < r->count; k++)
			r->changes[k].result = ONLINE_FAILED;
	}
}

struct online_batch *online_done_new(struct loop *loop, struct online_batch *request, int status)
{
	struct online_batch *m = rt_msg_new(loop, ONLINE_DONE);
	m->head.dispose = batch_dispose;
	m->head.status = status;
	m->what = request->what;
	request->what = NULL;
	if (status != RT_OK && m->what)
		forget_answers(m->what);
	return m;
}
