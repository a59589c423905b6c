#include "store/offline/offline_cursor.h"
#include "runtime/check.h"
#include "store/offline/offline_private.h"
#include <inttypes.h>

static void cursor_close(struct offline_cursor *c)
{
	offline_conn_close(c->conn);
	arena_finish(&c->types);
	*c = (struct offline_cursor){ 0 };
}

bool offline_find_column(const struct offline_columns *columns, struct str name, uint32_t *ret,
			 struct offline_error *error)
{
	int at = offline_columns_find(columns, name);
	if (at < 0) {
		offline_error_text(error, RT_EINVAL, "the SQL gives no column \"%.*s\"", STR_ARG(name));
		return false;
	}
	*ret = (uint32_t)at;
	return true;
}

bool offline_value_read(const struct offline_columns *columns, uint32_t column, duckdb_vector values, uint64_t row,
			struct str key, struct buf *text, struct offline_error *error)
{
	buf_clear(text);
	text->max = OFFLINE_VALUE_BYTES_MAX;
	if (offline_cell_write(columns, column, values, row, text, error))
		return true;
	if (text->failed)
		offline_error_text(error, RT_ETOOBIG, "the value of '%.*s' is larger than %d MiB",
				   STR_ARG(str_first(key, 64)), OFFLINE_VALUE_BYTES_MAX >> 20);
	return false;
}

/* Of keys with several rows the first one is named. Those that name nobody (NaN) are no mistake. */
static bool read_several(struct offline_conn *c, const struct offline_rows *ask, struct offline_error *error)
{
	struct arena types = { 0 };
	struct offline_columns columns;
	struct buf key = { 0 };
	bool ok = offline_columns_read(&c->result, &types, &columns, error);
	for (duckdb_data_chunk chunk; ok && (chunk = offline_conn_fetch(c, error)) != NULL;) {
		duckdb_vector keys = duckdb_data_chunk_get_vector(chunk, 0);
		idx_t rows = duckdb_data_chunk_get_size(chunk);
		for (idx_t row = 0; ok && row < rows; row++) {
			bool is_null;
			buf_clear(&key);
			ok = offline_key_write(&columns, 0, keys, row, &key, &is_null, error);
			if (!ok || is_null)
				continue;
			offline_error_text(error, RT_EINVAL, OFFLINE_SEVERAL_ROWS, STR_ARG(str_from(ask->key_column)),
					   STR_ARG(buf_str(&key)));
			ok = false;
		}
		duckdb_destroy_data_chunk(&chunk);
	}
	buf_finish(&key);
	arena_finish(&types);
	return ok && error->status == 0;
}

/* A statement of its own, so that a run that would give a key several values gives nothing, and the rows can be
 * streamed: to find out on the way would take all keys in memory, and come too late for those already given. */
static bool check_keys(struct offline_conn *c, const struct offline_rows *ask, uint64_t deadline_ns,
		       struct offline_error *error)
{
	struct buf sql = { 0 };
	buf_append_lit(&sql, "SELECT ");
	offline_append_quoted(&sql, str_from(ask->key_column), '"');
	buf_append_lit(&sql, " AS key FROM (");
	buf_append_str(&sql, str_from(ask->sql));
	buf_append_lit(&sql, "\n) GROUP BY 1 HAVING count(*) > 1 AND ");
	offline_append_quoted(&sql, str_from(ask->key_column), '"');
	buf_append_lit(&sql, " IS NOT NULL ORDER BY 1 LIMIT 3");
	bool ok = offline_conn_select(c, buf_str(&sql), NULL, deadline_ns, error) && read_several(c, ask, error);
	offline_conn_end(c);
	buf_finish(&sql);
	return ok;
}

static struct offline_cursor *cursor_open(struct offline_cursors *s, const struct offline_rows *ask,
					  uint64_t deadline_ns, struct offline_error *error)
{
	struct offline_cursor *c = NULL;
	for (size_t i = 0; c == NULL && i < OFFLINE_CURSORS_MAX; i++)
		if (s->cursors[i].id == 0)
			c = &s->cursors[i];
	if (c == NULL) {
		offline_error_text(error, RT_EFULL, "%d materialisations are running already", OFFLINE_CURSORS_MAX);
		return NULL;
	}
	c->id = ++s->last_id;
	c->conn = offline_conn_open(s->offline, error);
	if (c->conn == NULL || !offline_conn_enter(c->conn, error)) {
		cursor_close(c);
		return NULL;
	}
	offline_question_begin(s->offline, false);
	bool ok = check_keys(c->conn, ask, deadline_ns, error) &&
		  offline_conn_select(c->conn, str_from(ask->sql), NULL, deadline_ns, error) &&
		  offline_columns_read(&c->conn->result, &c->types, &c->columns, error) &&
		  offline_find_column(&c->columns, str_from(ask->key_column), &c->key_column, error) &&
		  offline_find_column(&c->columns, str_from(ask->value_column), &c->value_column, error);
	offline_question_end(ok, error);
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
static bool row_read(struct offline_cursor *c, duckdb_vector keys, duckdb_vector values, uint64_t row, struct buf *text,
		     struct offline_batch *ret, struct offline_error *error)
{
	bool is_null;
	buf_clear(text);
	if (!offline_key_write(&c->columns, c->key_column, keys, row, text, &is_null, error))
		return false;
	if (is_null)
		return true;
	struct offline_row *out = &ret->rows[ret->count];
	out->key = arena_dup(ret->texts, buf_str(text));
	if (!offline_value_read(&c->columns, c->value_column, values, row, out->key, text, error))
		return false;
	out->value_json = arena_dup(ret->texts, buf_str(text));
	if (out->key.p == NULL || out->value_json.p == NULL) {
		offline_error_text(error, RT_EFULL, "out of memory");
		return false;
	}
	ret->count++;
	return true;
}

static bool batch_has_room(const struct offline_batch *batch)
{
	return batch->count < OFFLINE_BATCH_ROWS_MAX && batch->texts->used < OFFLINE_BATCH_BYTES_MAX;
}

/* From the kept chunk, as far as the batch has room; what is left is kept for the next ask. */
static bool chunk_read(struct offline_cursor *c, struct buf *text, struct offline_batch *ret,
		       struct offline_error *error)
{
	duckdb_data_chunk chunk = c->conn->kept;
	duckdb_vector keys = duckdb_data_chunk_get_vector(chunk, c->key_column);
	duckdb_vector values = duckdb_data_chunk_get_vector(chunk, c->value_column);
	idx_t rows = duckdb_data_chunk_get_size(chunk);
	for (; c->row < rows && batch_has_room(ret); c->row++)
		if (!row_read(c, keys, values, c->row, text, ret, error))
			return false;
	if (c->row == rows)
		duckdb_destroy_data_chunk(&c->conn->kept);
	return true;
}

static bool batch_read(struct offline_cursor *c, struct offline_batch *ret, struct offline_error *error)
{
	struct buf text = { .max = OFFLINE_VALUE_BYTES_MAX }; /* keys too: a row is far below the arena's bound */
	bool ok = true;
	ret->rows = arena_alloc(ret->texts, OFFLINE_BATCH_ROWS_MAX * sizeof *ret->rows);
	CHECK(ret->rows != NULL);
	while (ok && !ret->last && batch_has_room(ret)) {
		if (c->conn->kept != NULL) {
			ok = chunk_read(c, &text, ret, error);
			continue;
		}
		c->row = 0;
		c->conn->kept = offline_conn_fetch(c->conn, error);
		ret->last = c->conn->kept == NULL;
		ok = !ret->last || error->status == 0;
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
		offline_question_begin(c->conn->offline, false);
		ok = batch_read(c, ret, error);
		offline_question_end(ok, error);
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
	struct offline_error error = { 0 };
	struct offline_cursor *c = ask->cursor == 0 ? cursor_open(s, ask, deadline_ns, &error)
						    : cursor_find(s, ask->cursor, &error);
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
static bool gives_column(duckdb_prepared_statement statement, struct str name, idx_t *ret, struct offline_error *error)
{
	bool found = false;
	for (idx_t i = 0; !found && i < duckdb_prepared_statement_column_count(statement); i++) {
		const char *have = duckdb_prepared_statement_column_name(statement, i);
		found = have != NULL && strlen(have) == name.n && strncasecmp(have, name.p, name.n) == 0;
		duckdb_free((void *)(uintptr_t)have);
		*ret = i;
	}
	if (!found)
		offline_error_text(error, RT_EINVAL, "the SQL gives no column \"%.*s\"", STR_ARG(name));
	return found;
}

/* Rows of a materialised feature need it, and which of two is meant nobody can know. */
static bool names_are_distinct(duckdb_prepared_statement statement, struct offline_error *error)
{
	idx_t count = duckdb_prepared_statement_column_count(statement);
	bool ok = true;
	const char **names = calloc(count + 1, sizeof *names);
	CHECK(names != NULL);
	for (idx_t i = 0; i < count; i++) {
		names[i] = duckdb_prepared_statement_column_name(statement, i);
		for (idx_t k = 0; ok && k < i; k++)
			ok = names[i] == NULL || names[k] == NULL || strcmp(names[i], names[k]) != 0;
		if (!ok) {
			offline_error_text(error, RT_EINVAL, "two columns are called \"%.*s\"; name them apart with AS",
					   STR_ARG(str_first(str_from(names[i]), 60)));
			break;
		}
	}
	for (idx_t i = 0; i < count; i++)
		duckdb_free((void *)(uintptr_t)names[i]);
	free(names);
	return ok;
}

const char *offline_statement_key_type(duckdb_prepared_statement statement, struct str name, char *room,
				       size_t room_bytes, struct offline_error *error)
{
	idx_t column;
	if (!gives_column(statement, name, &column, error))
		return NULL;
	duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(statement, column);
	const char *text = offline_key_type(type, room, room_bytes);
	duckdb_destroy_logical_type(&type);
	if (text == NULL)
		offline_error_text(
		    error, RT_EINVAL,
		    "the values of column \"%.*s\" have a type that cannot name an entity; cast it to VARCHAR",
		    STR_ARG(name));
	return text;
}

bool offline_check_rows(struct offline *o, struct str sql, struct str key_column, struct str value_column,
			struct buf *ret_why)
{
	struct offline_error error = { 0 };
	struct offline_conn *c = offline_admin_enter(o, &error);
	idx_t value;
	char room[32];
	duckdb_prepared_statement statement = c != NULL ? offline_conn_prepare_select(c, sql, &error) : NULL;
	if (statement != NULL && duckdb_nparams(statement) > 0) {
		offline_error_text(&error, RT_EINVAL, "the SQL has a parameter, and nothing gives it a value");
		statement = NULL;
	}
	bool ok = statement != NULL &&
		  offline_statement_key_type(statement, key_column, room, sizeof room, &error) != NULL &&
		  gives_column(statement, value_column, &value, &error) && names_are_distinct(statement, &error);
	if (c != NULL)
		offline_admin_leave(o);
	if (!ok)
		buf_printf(ret_why, "%s", error.text);
	return ok;
}
