#include "store/offline/offline_conn.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/msg.h"
#include "store/offline/offline_private.h"
#include <ctype.h>
#include <inttypes.h>

/* ---- errors ---- */
void offline_error_text(struct offline_error *error, int status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	error->status = status;
	text_vprintf(error->text, sizeof error->text, format, args);
	va_end(args);
}

static bool starts_path(const char *text, const char *at)
{
	bool is_start = at == text || strchr(" \"'(=,", at[-1]) != NULL;
	return is_start && (*at == '/' || (at[0] == '~' && at[1] == '/'));
}

/* Of an absolute path only the last part is kept. */
static size_t copy_line(char *out, size_t n, size_t out_bytes, const char *text)
{
	for (const char *at = text; *at != '\0' && *at != '\n' && n + 1 < out_bytes; at++) {
		if (starts_path(text, at)) {
			const char *last = at;
			for (size_t i = 0, path = strcspn(at, " \"'\n,"); i < path; i++)
				if (at[i] == '/')
					last = at + i;
			at = last;
			continue;
		}
		out[n++] = *at;
	}
	return n;
}

static bool names_what_is_meant(const char *line)
{
	static const char *const kept[] = { "Did you mean", "Candidate" };
	static const char *const own[] = { "pg_", "duckdb_", "pragma_", "sqlite_",
					   "information_schema" }; /* nobody's tables */
	size_t n = strcspn(line, "\n");
	bool is_kept = false;
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		is_kept = is_kept || strncmp(line, kept[i], strlen(kept[i])) == 0;
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		is_kept = is_kept && memmem(line, n, own[i], strlen(own[i])) == NULL;
	return is_kept;
}

/* The first line of what DuckDB says names the problem. Of the others, which quote the statement, those are kept that name what could
 * have been meant, and the number of the line if there are several. */
static void copy_text(char *out, size_t out_bytes, const char *text)
{
	size_t n = copy_line(out, 0, out_bytes, text);
	unsigned line;
	for (const char *at = text; (at = strchr(at, '\n')) != NULL;) {
		at++;
		if (names_what_is_meant(at))
			n = copy_line(out, copy_line(out, n, out_bytes, " "), out_bytes, at);
		if (strncmp(at, "LINE ", 5) == 0 && sscanf(at, "LINE %u:", &line) == 1 && line > 1) {
			char where[48];
			snprintf(where, sizeof where, " (line %u of the statement)", line);
			n = copy_line(out, n, out_bytes, where);
		}
	}
	out[str_whole(str_of(out, n)).n] = '\0';
}

void offline_error_set(struct offline *o, struct offline_error *error, duckdb_error_type type, const char *text)
{
	switch ((int)type) { /* int: most of DuckDB's many kinds mean the statement is wrong */
	case DUCKDB_ERROR_INTERRUPT:
		offline_error_text(error, RT_EDEADLINE, "the query was stopped at its deadline");
		return;
	case DUCKDB_ERROR_OUT_OF_MEMORY:
		error->status = RT_ETOOBIG;
		break;
	case DUCKDB_ERROR_FATAL:
		offline_mark_broken(o);
		error->status = RT_EIO;
		break;
	case DUCKDB_ERROR_IO:
	case DUCKDB_ERROR_INTERNAL:
	case DUCKDB_ERROR_CONNECTION:
	case DUCKDB_ERROR_SERIALIZATION:
	case DUCKDB_ERROR_TRANSACTION:
		error->status = RT_EIO;
		break;
	default:
		error->status = RT_EINVAL;
	}
	copy_text(error->text, sizeof error->text, text != NULL ? text : "DuckDB gave no reason");
}

/* ---- life ---- */
static void statement_drop(struct offline_statement *s)
{
	if (s->sql == NULL)
		return;
	duckdb_destroy_prepare(&s->handle);
	free(s->sql);
	*s = (struct offline_statement){ 0 };
}

void offline_conn_drop(struct offline_conn *c)
{
	offline_conn_end(c);
	for (size_t i = 0; i < OFFLINE_STATEMENTS_MAX; i++)
		statement_drop(&c->statements[i]);
	if (c->handle != NULL)
		duckdb_disconnect(&c->handle);
	c->handle = NULL;
}

bool offline_conn_connect(struct offline_conn *c, duckdb_database db)
{
	DCHECK(c->handle == NULL);
	if (duckdb_connect(db, &c->handle) == DuckDBSuccess)
		return true;
	c->handle = NULL;
	return false;
}

struct offline_conn *offline_conn_open(struct offline *o, struct offline_error *error)
{
	struct offline_conn *c = calloc(1, sizeof *c);
	CHECK(c != NULL);
	c->offline = o;
	if (!offline_add_conn(o, c)) {
		offline_error_text(error, RT_EIO, "the offline store does not accept another connection");
		free(c);
		return NULL;
	}
	return c;
}

void offline_conn_close(struct offline_conn *c)
{
	if (c == NULL)
		return;
	offline_remove_conn(c->offline, c);
	free(c);
}

bool offline_conn_enter(struct offline_conn *c, struct offline_error *error)
{
	if (offline_gate_enter(c->offline))
		return true;
	offline_error_text(error, RT_EIO,
			   "the offline store's file is broken or its disk is full; it is opened again soon");
	return false;
}

void offline_conn_leave(struct offline_conn *c)
{
	offline_gate_leave(c->offline);
}

/* ---- statements ---- */
bool offline_conn_run(struct offline_conn *c, const char *sql, struct offline_error *error)
{
	duckdb_result result;
	bool ok = duckdb_query(c->handle, sql, &result) == DuckDBSuccess;
	if (!ok)
		offline_error_set(c->offline, error, duckdb_result_error_type(&result), duckdb_result_error(&result));
	duckdb_destroy_result(&result);
	return ok;
}

/* The place of sql, or the one that was not used for longest. */
static struct offline_statement *statement_place(struct offline_conn *c, struct str sql)
{
	struct offline_statement *oldest = &c->statements[0];
	for (size_t i = 0; i < OFFLINE_STATEMENTS_MAX; i++) {
		struct offline_statement *s = &c->statements[i];
		if (s->sql != NULL && str_eq(sql, str_of(s->sql, s->sql_bytes))) {
			if (s->runs < OFFLINE_STATEMENT_RUNS_MAX)
				return s;
			oldest = s;
			break;
		}
		if (s->used < oldest->used)
			oldest = s;
	}
	statement_drop(oldest);
	return oldest;
}

/* A failed prepare has no error type, only a text that begins with it. */
static void prepare_failed(struct offline *o, struct offline_error *error, const char *text)
{
	static const struct {
		const char *begin;
		duckdb_error_type type;
	} types[] = { { "FATAL", DUCKDB_ERROR_FATAL },
		      { "INTERRUPT", DUCKDB_ERROR_INTERRUPT },
		      { "Out of Memory", DUCKDB_ERROR_OUT_OF_MEMORY } };
	duckdb_error_type type = DUCKDB_ERROR_SYNTAX;
	for (size_t i = 0; text != NULL && i < ARRAY_LEN(types); i++)
		if (strncmp(text, types[i].begin, strlen(types[i].begin)) == 0)
			type = types[i].type;
	offline_error_set(o, error, type, text);
}

duckdb_prepared_statement offline_conn_prepare(struct offline_conn *c, struct str sql, struct offline_error *error)
{
	struct offline_statement *s = statement_place(c, sql);
	if (s->sql == NULL) {
		char *text = strndup(sql.p, sql.n);
		duckdb_prepared_statement handle = NULL;
		if (text == NULL)
			offline_error_text(error, RT_EFULL, "out of memory");
		else if (strlen(text) != sql.n)
			offline_error_text(error, RT_EINVAL, "the SQL has a NUL byte");
		else if (duckdb_prepare(c->handle, text, &handle) == DuckDBSuccess)
			*s = (struct offline_statement){ .sql = text, .sql_bytes = sql.n, .handle = handle };
		else
			prepare_failed(c->offline, error, duckdb_prepare_error(handle));
		if (s->sql == NULL) {
			if (handle != NULL)
				duckdb_destroy_prepare(&handle);
			free(text);
			return NULL;
		}
	}
	s->used = ++c->uses;
	s->runs++;
	duckdb_clear_bindings(s->handle);
	return s->handle;
}

void offline_conn_forget(struct offline_conn *c, struct str sql)
{
	for (size_t i = 0; i < OFFLINE_STATEMENTS_MAX; i++)
		if (c->statements[i].sql != NULL &&
		    str_eq(sql, str_of(c->statements[i].sql, c->statements[i].sql_bytes)))
			c->statements[i].used = 0;
}

bool offline_conn_execute(struct offline_conn *c, duckdb_prepared_statement statement, struct offline_error *error)
{
	duckdb_result result;
	bool ok = duckdb_execute_prepared(statement, &result) == DuckDBSuccess;
	if (!ok)
		offline_error_set(c->offline, error, duckdb_result_error_type(&result), duckdb_result_error(&result));
	duckdb_destroy_result(&result);
	return ok;
}

/* ---- parameters ---- */
static bool bind_one(duckdb_prepared_statement statement, idx_t at, yyjson_val *v, struct offline_error *error)
{
	duckdb_state state = DuckDBError;
	switch (yyjson_get_type(v)) {
	case YYJSON_TYPE_NULL:
		state = duckdb_bind_null(statement, at);
		break;
	case YYJSON_TYPE_BOOL:
		state = duckdb_bind_boolean(statement, at, yyjson_get_bool(v));
		break;
	case YYJSON_TYPE_STR:
		state = duckdb_bind_varchar_length(statement, at, yyjson_get_str(v), yyjson_get_len(v));
		break;
	case YYJSON_TYPE_NUM:
		if (yyjson_is_real(v))
			state = duckdb_bind_double(statement, at, yyjson_get_real(v));
		else if (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX)
			state = duckdb_bind_uint64(statement, at, yyjson_get_uint(v));
		else
			state = duckdb_bind_int64(statement, at, yyjson_get_sint(v));
		break;
	case YYJSON_TYPE_ARR:
	case YYJSON_TYPE_OBJ:
		offline_error_text(error, RT_EINVAL,
				   "parameter %" PRIu64 " is an array or an object; pass it as JSON text and "
				   "read it in SQL with from_json",
				   at);
		return false;
	default:
		break;
	}
	if (state != DuckDBSuccess)
		offline_error_text(error, RT_EINVAL, "parameter %" PRIu64 " could not be bound", at);
	return state == DuckDBSuccess;
}

static bool bind_all(duckdb_prepared_statement statement, yyjson_val *params, struct offline_error *error)
{
	idx_t wanted = duckdb_nparams(statement), given = yyjson_arr_size(params);
	if (wanted != given) {
		offline_error_text(error, RT_EINVAL,
				   "the statement has %" PRIu64 " parameters, but %" PRIu64 " were given", wanted,
				   given);
		return false;
	}
	size_t i, n;
	yyjson_val *v;
	yyjson_arr_foreach(params, i, n, v) {
		if (!bind_one(statement, i + 1, v, error))
			return false;
	}
	return true;
}

/* ---- queries ---- */
void offline_conn_resume(struct offline_conn *c, uint64_t deadline_ns)
{
	DCHECK(!c->is_armed);
	offline_watch_arm(c->offline->watch, &c->watched, c->handle, deadline_ns);
	c->is_armed = true;
}

void offline_conn_pause(struct offline_conn *c)
{
	if (c->is_armed)
		offline_watch_disarm(c->offline->watch, &c->watched);
	c->is_armed = false;
}

/* Destroying a stream that has rows left does not end its query: its transaction and its locks live on until
 * the connection's next statement, and a checkpoint would spin on them for ever. */
static void end_query(struct offline_conn *c)
{
	duckdb_result result;
	duckdb_query(c->handle, "SELECT 1", &result);
	duckdb_destroy_result(&result);
}

void offline_conn_end(struct offline_conn *c)
{
	offline_conn_pause(c);
	if (!c->has_result)
		return;
	if (c->kept != NULL)
		duckdb_destroy_data_chunk(&c->kept);
	c->kept = NULL;
	duckdb_destroy_result(&c->result);
	c->has_result = false;
	atomic_fetch_sub(&c->offline->open_results, 1);
	if (!c->is_at_end)
		end_query(c);
}

duckdb_prepared_statement offline_conn_prepare_select(struct offline_conn *c, struct str sql,
						      struct offline_error *error)
{
	duckdb_prepared_statement statement = offline_conn_prepare(c, sql, error);
	if (statement == NULL)
		return NULL;
	duckdb_statement_type type = duckdb_prepared_statement_type(statement);
	if (type == DUCKDB_STATEMENT_TYPE_SELECT || type == DUCKDB_STATEMENT_TYPE_EXPLAIN)
		return statement;
	offline_error_text(error, RT_EINVAL, "only SELECT runs here; fabra.table makes tables");
	return NULL;
}

bool offline_conn_select(struct offline_conn *c, struct str sql, yyjson_val *params, uint64_t deadline_ns,
			 struct offline_error *error)
{
	offline_conn_end(c);
	/* The clock runs while the statement is planned, too. DuckDB does not look at it there, so it is looked at afterwards. */
	offline_conn_resume(c, deadline_ns);
	duckdb_prepared_statement statement = offline_conn_prepare_select(c, sql, error);
	bool ok = statement != NULL && bind_all(statement, params, error);
	if (ok && clock_mono_ns() >= deadline_ns) {
		offline_error_set(c->offline, error, DUCKDB_ERROR_INTERRUPT, NULL);
		ok = false;
	}
	if (!ok) {
		offline_conn_pause(c);
		return false;
	}
	c->has_result = true;
	c->is_at_end = false;
	atomic_fetch_add(&c->offline->open_results, 1);
	if (duckdb_execute_prepared_streaming(statement, &c->result) == DuckDBSuccess)
		return true;
	offline_error_set(c->offline, error, duckdb_result_error_type(&c->result), duckdb_result_error(&c->result));
	offline_conn_end(c);
	return false;
}

duckdb_data_chunk offline_conn_fetch(struct offline_conn *c, struct offline_error *error)
{
	error->status = 0;
	duckdb_data_chunk chunk = duckdb_fetch_chunk(c->result);
	if (chunk == NULL) {
		c->is_at_end = true;
		const char *text = duckdb_result_error(&c->result);
		if (text != NULL && *text != '\0')
			offline_error_set(c->offline, error, duckdb_result_error_type(&c->result), text);
	}
	return chunk;
}
