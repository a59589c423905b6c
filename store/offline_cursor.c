#include "store/offline_cursor.h"
#include "runtime/check.h"
#include "store/offline_private.h"
#include <inttypes.h>

static void cursor_close(struct offline_cursor *c)
{
	offline_conn_close(c->conn);
	arena_finish(&c->types);
	*c = (struct offline_cursor){0};
}

static bool find_column(const struct offline_columns *columns, const char *name, uint32_t *ret,
			struct offline_error *error)
{
	int at = offline_columns_find(columns, str_from(name));
	if (at < 0) {
		offline_error_text(error, RT_EINVAL, "the SQL gives no column \"%s\"", name);
		return false;
	}
	*ret = (uint32_t)at;
	return true;
}

static struct offline_cursor *cursor_open(struct offline_cursors *s, const struct offline_rows *ask,
					  uint64_t deadline_ns, struct offline_error *error)
{
	struct offline_cursor *c = NULL;
	for (size_t i = 0; c == NULL && i < OFFLINE_CURSORS_MAX; i++)
		if (s->cursors[i].id == 0)
			c = &s->cursors[i];
	if (c == NULL) {
		offline_error_text(error, RT_EFULL, "%d materialisations are running already",
				   OFFLINE_CURSORS_MAX);
		return NULL;
	}
	c->id = ++s->last_id;
	c->conn = offline_conn_open(s->offline, error);
	if (c->conn == NULL || !offline_conn_enter(c->conn, error)) {
		cursor_close(c);
		return NULL;
	}
	bool ok = offline_conn_select(c->conn, str_from(ask->sql), NULL, deadline_ns, error) &&
		  offline_columns_read(&c->conn->result, &c->types, &c->columns, error) &&
		  find_column(&c->columns, ask->key_column, &c->key_column, error) &&
		  find_column(&c->columns, ask->value_column, &c->value_column, error);
	offline_conn_pause(c->conn);
	offline_conn_leave(c->conn);
	if (ok)
		return c;
	cursor_close(c);
	return NULL;
}

static struct offline_cursor *cursor_find(struct offline_cursors *s, uint64_t id, struct offline_error *error)
{
	for (size_t i = 0; i < OFFLINE_CURSORS_MAX; i++)
		if (s->cursors[i].id == id)
			return &s->cursors[i];
	offline_error_text(error, RT_EINVAL, "the cursor is closed: it was idle for too long; start again");
	return NULL;
}

/* One row's texts into the batch. A row without a key belongs to no entity and is left out. */
static bool row_read(struct offline_cursor *c, duckdb_vector keys, duckdb_vector values, uint64_t row,
		     struct buf *text, struct offline_batch *ret, struct offline_error *error)
{
	bool is_null;
	buf_clear(text);
	if (!offline_key_write(&c->columns, c->key_column, keys, row, text, &is_null, error))
		return false;
	if (is_null)
		return true;
	struct offline_row *out = &ret->rows[ret->count];
	out->key = arena_dup(ret->texts, buf_str(text));
	buf_clear(text);
	if (!offline_cell_write(&c->columns, c->value_column, values, row, text, error))
		return false;
	out->value_json = arena_dup(ret->texts, buf_str(text));
	if (out->key.p == NULL || out->value_json.p == NULL) {
		offline_error_text(error, RT_ETOOBIG, "%d rows are larger than %u MiB",
				   OFFLINE_BATCH_ROWS_MAX, ARENA_MAX_DEFAULT >> 20);
		return false;
	}
	ret->count++;
	return true;
}

static bool chunk_read(struct offline_cursor *c, duckdb_data_chunk chunk, struct buf *text,
		       struct offline_batch *ret, struct offline_error *error)
{
	duckdb_vector keys = duckdb_data_chunk_get_vector(chunk, c->key_column);
	duckdb_vector values = duckdb_data_chunk_get_vector(chunk, c->value_column);
	idx_t rows = duckdb_data_chunk_get_size(chunk);
	for (idx_t row = 0; row < rows; row++)
		if (!row_read(c, keys, values, row, text, ret, error))
			return false;
	return true;
}

/* Whole chunks only, so that no chunk has to be kept between two asks. */
static bool batch_read(struct offline_cursor *c, struct offline_batch *ret, struct offline_error *error)
{
	const uint32_t chunk_rows_max = (uint32_t)duckdb_vector_size();
	struct buf text = {0};
	bool ok = true;
	ret->rows = arena_alloc(ret->texts, OFFLINE_BATCH_ROWS_MAX * sizeof *ret->rows);
	CHECK(ret->rows != NULL && chunk_rows_max <= OFFLINE_BATCH_ROWS_MAX);
	while (ok && !ret->last && ret->count + chunk_rows_max <= OFFLINE_BATCH_ROWS_MAX) {
		duckdb_data_chunk chunk = offline_conn_fetch(c->conn, error);
		if (chunk == NULL) {
			ok = error->status == 0;
			ret->last = true;
		} else {
			ok = chunk_read(c, chunk, &text, ret, error);
			duckdb_destroy_data_chunk(&chunk);
		}
	}
	buf_finish(&text);
	return ok;
}

static bool cursor_read(struct offline_cursor *c, uint64_t deadline_ns, struct offline_batch *ret,
			struct offline_error *error)
{
	if (!offline_conn_enter(c->conn, error))
		return false;
	bool ok = c->conn->has_result;
	if (ok) {
		offline_conn_resume(c->conn, deadline_ns);
		ok = batch_read(c, ret, error);
		offline_conn_pause(c->conn);
	} else {
		offline_error_text(error, RT_EIO, "the database was opened again in between; start again");
	}
	offline_conn_leave(c->conn);
	return ok;
}

void offline_cursors_read(struct offline_cursors *s, const struct offline_rows *ask, uint64_t now_ns,
			  uint64_t deadline_ns, struct offline_batch *ret)
{
	struct offline_error error = {0};
	struct offline_cursor *c =
	    ask->cursor == 0 ? cursor_open(s, ask, deadline_ns, &error) : cursor_find(s, ask->cursor, &error);
	bool ok = c != NULL && cursor_read(c, deadline_ns, ret, &error);
	if (ok) {
		c->used_ns = now_ns;
		ret->cursor = c->id;
	} else {
		offline_batch_fail(ret, &error);
	}
	if (c != NULL && (!ok || ret->last))
		cursor_close(c);
}

void offline_cursors_expire(struct offline_cursors *s, uint64_t now_ns)
{
	for (size_t i = 0; i < OFFLINE_CURSORS_MAX; i++) {
		struct offline_cursor *c = &s->cursors[i];
		if (c->id != 0 && now_ns - c->used_ns > OFFLINE_CURSOR_IDLE_MS * 1000000ull)
			cursor_close(c);
	}
}

void offline_cursors_finish(struct offline_cursors *s)
{
	for (size_t i = 0; i < OFFLINE_CURSORS_MAX; i++)
		if (s->cursors[i].id != 0)
			cursor_close(&s->cursors[i]);
}

/* ---- at the start ---- */
static bool gives_column(duckdb_prepared_statement statement, struct str name, struct offline_error *error)
{
	bool found = false;
	for (idx_t i = 0; !found && i < duckdb_prepared_statement_column_count(statement); i++) {
		const char *have = duckdb_prepared_statement_column_name(statement, i);
		found = have != NULL && strlen(have) == name.n && strncasecmp(have, name.p, name.n) == 0;
		duckdb_free((void *)(uintptr_t)have);
	}
	if (!found)
		offline_error_text(error, RT_EINVAL, "the SQL gives no column \"%.*s\"", STR_ARG(name));
	return found;
}

bool offline_check_rows(struct offline *o, struct str sql, struct str key_column, struct str value_column,
			struct buf *ret_why)
{
	struct offline_error error = {0};
	struct offline_conn *c = offline_admin_enter(o, &error);
	duckdb_prepared_statement statement = c != NULL ? offline_conn_prepare_select(c, sql, &error) : NULL;
	if (statement != NULL && duckdb_nparams(statement) > 0) {
		offline_error_text(&error, RT_EINVAL, "the SQL has a parameter, and nothing gives it a value");
		statement = NULL;
	}
	bool ok = statement != NULL && gives_column(statement, key_column, &error) &&
		  gives_column(statement, value_column, &error);
	if (c != NULL)
		offline_admin_leave(o);
	if (!ok)
		buf_printf(ret_why, "%s", error.text);
	return ok;
}
