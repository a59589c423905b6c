#include "store/offline/offline_newest_cursor.h"

void offline_newest_finish(struct offline_newest_cursor *c)
{
	offline_conn_close(c->conn);
	c->conn = NULL;
	c->id = 0;
}

static bool cursor_open(struct offline_newest_cursor *c, uint64_t deadline_ns, struct offline_error *error)
{
	offline_newest_finish(c); /* whoever had it begins again */
	c->id = ++c->last_id;
	c->deleted = true;
	c->conn = offline_conn_open(c->offline, error);
	if (c->conn == NULL || !offline_conn_enter(c->conn, error))
		return false;
	bool ok = offline_warm_select(c->conn, true, deadline_ns, error);
	offline_conn_pause(c->conn);
	offline_conn_leave(c->conn);
	return ok;
}

void offline_newest_expire(struct offline_newest_cursor *c, uint64_t now_ns)
{
	if (c->id && now_ns - c->used_ns > OFFLINE_NEWEST_IDLE_MS * 1000000ull)
		offline_newest_finish(c);
}

static bool has_room(const struct offline_values *m)
{
	return m->count < OFFLINE_VALUES_MAX && m->texts->used < OFFLINE_VALUES_BYTES_MAX;
}

/* From the kept chunk, as far as the batch has room; what is left is kept for the next ask. */
static bool chunk_read(struct offline_newest_cursor *c, struct offline_values *ret, struct offline_error *error)
{
	duckdb_data_chunk chunk = c->conn->kept;
	idx_t rows = duckdb_data_chunk_get_size(chunk);
	for (; c->row < rows && has_room(ret); c->row++) {
		struct offline_value v;
		offline_warm_row(chunk, c->row, c->deleted, &v);
		if (!offline_values_add(ret, &v)) {
			offline_error_text(error, RT_EFULL, "out of memory");
			return false;
		}
	}
	if (c->row == rows)
		duckdb_destroy_data_chunk(&c->conn->kept);
	return true;
}

/* Behind the tombstones come the values. */
static bool next_chunk(struct offline_newest_cursor *c, uint64_t deadline_ns, struct offline_values *ret,
		       struct offline_error *error)
{
	c->row = 0;
	c->conn->kept = offline_conn_fetch(c->conn, error);
	if (c->conn->kept != NULL)
		return true;
	if (error->status != 0)
		return false;
	if (!c->deleted) {
		ret->last = true;
		return true;
	}
	offline_conn_end(c->conn);
	c->deleted = false;
	return offline_warm_select(c->conn, false, deadline_ns, error);
}

static bool cursor_read(struct offline_newest_cursor *c, uint64_t deadline_ns, struct offline_values *ret,
			struct offline_error *error)
{
	if (!offline_conn_enter(c->conn, error))
		return false;
	bool ok = c->conn->has_result;
	if (ok)
		offline_conn_resume(c->conn, deadline_ns);
	else
		offline_error_text(error, RT_EIO, "the database was opened again in between; start again");
	while (ok && !ret->last && has_room(ret))
		ok = c->conn->kept != NULL ? chunk_read(c, ret, error) : next_chunk(c, deadline_ns, ret, error);
	offline_conn_pause(c->conn);
	offline_conn_leave(c->conn);
	return ok;
}

void offline_newest_read(struct offline_newest_cursor *c, const struct offline_newest *ask, uint64_t now_ns,
			 uint64_t deadline_ns, struct offline_values *ret)
{
	struct offline_error error = { 0 };
	bool is_mine = ask->cursor == 0 || ask->cursor == c->id, ok = true;
	if (atomic_load(&c->offline->projection.is_mismatched)) { /* another ledger's values */
		ret->last = true;
		return;
	}
	if (ask->cursor == 0)
		ok = cursor_open(c, deadline_ns, &error);
	else if (!is_mine)
		offline_error_text(&error, RT_EINVAL, "the cursor is closed: it was idle for too long; start again");
	ok = ok && is_mine && cursor_read(c, deadline_ns, ret, &error);
	if (ok) {
		c->used_ns = now_ns;
		ret->cursor = c->id;
	} else {
		offline_values_fail(ret, &error);
	}
	if (is_mine && (!ok || ret->last))
		offline_newest_finish(c);
}
