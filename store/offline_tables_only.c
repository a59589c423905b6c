/* Whether a statement reads tables and nothing else. DuckDB's SELECT can read any file that the process may (read_text, a
 * file's name in the place of a table): a definitions file is trusted with that, a client is not. The statement is looked
 * at as DuckDB's own parser understands it (json_serialize_sql), never as text. */
#include "runtime/check.h"
#include "store/json.h"
#include "store/offline_private.h"

enum { TREE_BYTES_MAX = 16 << 20, TREE_DEPTH_MAX = 1000 };

/* Table functions that make rows of their arguments or of the catalog. */
static const char *const harmless[] = { "range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row",
					"duckdb_tables", "duckdb_columns", "duckdb_views" };

static bool is_harmless(struct str function)
{
	for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
		if (str_eq(function, str_from(harmless[i])))
			return true;
	return false;
}

static yyjson_doc *list_of_one(struct str text)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *list = yyjson_mut_arr(doc);
	bool ok = yyjson_mut_arr_add_strn(doc, list, text.p, text.n);
	yyjson_mut_doc_set_root(doc, list);
	yyjson_doc *ret = ok ? yyjson_mut_doc_imut_copy(doc, NULL) : NULL;
	yyjson_mut_doc_free(doc);
	return ret;
}

static void take_first(duckdb_data_chunk chunk, struct buf *ret)
{
	duckdb_vector texts = duckdb_data_chunk_get_vector(chunk, 0);
	uint64_t *validity = duckdb_vector_get_validity(texts);
	duckdb_string_t *text = duckdb_vector_get_data(texts);
	if (duckdb_data_chunk_get_size(chunk) > 0 && (validity == NULL || duckdb_validity_row_is_valid(validity, 0)))
		buf_append_str(ret, str_of(duckdb_string_t_data(text), duckdb_string_t_length(*text)));
}

/* The first row's first text of a statement with one text parameter; without rows nothing. A query like any other: with
 * its deadline, and with faults that need not be the client's. false: *error. */
static bool ask(struct offline_conn *c, struct str sql, struct str param, uint64_t deadline_ns, struct buf *ret,
		struct offline_error *error)
{
	yyjson_doc *params = list_of_one(param);
	if (params == NULL) {
		offline_error_text(error, RT_EFULL, "out of memory");
		return false;
	}
	bool ok = offline_conn_select(c, sql, yyjson_doc_get_root(params), deadline_ns, error);
	for (duckdb_data_chunk chunk; ok && (chunk = offline_conn_fetch(c, error)) != NULL;) {
		if (ret->n == 0)
			take_first(chunk, ret);
		duckdb_destroy_data_chunk(&chunk);
	}
	ok = ok && error->status == 0;
	offline_conn_end(c);
	yyjson_doc_free(params);
	return ok;
}

/* A name that is no table of the catalog is taken for a file's when it looks like one. */
static bool is_table(struct offline_conn *c, struct str name, uint64_t deadline_ns, struct offline_error *error)
{
	struct buf found = { 0 };
	bool looks_like_a_file = false;
	for (size_t i = 0; i < name.n; i++)
		looks_like_a_file |= strchr("./\\*?[:", name.p[i]) != NULL;
	if (!looks_like_a_file)
		return true;
	bool ok = ask(c,
		      STR("SELECT CAST(count(*) > 0 AS VARCHAR) FROM (SELECT table_name AS n FROM duckdb_tables() UNION ALL "
			  "SELECT view_name FROM duckdb_views()) WHERE lower(n) = lower($1)"),
		      name, deadline_ns, &found, error);
	bool is_known = str_eq(buf_str(&found), STR("true"));
	buf_finish(&found);
	if (ok && !is_known)
		offline_error_text(error, RT_EINVAL, "'%.*s' is no table; files cannot be read here", (int)(name.n < 100 ? name.n : 100),
				   name.p);
	return ok && is_known;
}

static bool walk(struct offline_conn *c, yyjson_val *v, int depth, uint64_t deadline_ns, struct offline_error *error)
{
	if (depth > TREE_DEPTH_MAX) {
		offline_error_text(error, RT_EINVAL, "the statement is nested too deeply");
		return false;
	}
	size_t i, n;
	yyjson_val *key, *child;
	if (yyjson_is_arr(v)) {
		yyjson_arr_foreach(v, i, n, child)
			if (!walk(c, child, depth + 1, deadline_ns, error))
				return false;
		return true;
	}
	if (!yyjson_is_obj(v))
		return true;
	yyjson_val *type = yyjson_obj_get(v, "type"), *name = yyjson_obj_get(v, "table_name");
	if (yyjson_equals_str(type, "BASE_TABLE") && yyjson_is_str(name) && !is_table(c, json_str(name), deadline_ns, error))
		return false;
	struct str function = json_str(yyjson_obj_get(yyjson_obj_get(v, "function"), "function_name"));
	if (yyjson_equals_str(type, "TABLE_FUNCTION") && !is_harmless(function)) {
		offline_error_text(error, RT_EINVAL, "the table function %.*s is not available here; only tables are",
				   (int)(function.n < 60 ? function.n : 60), function.p ? function.p : "");
		return false;
	}
	yyjson_obj_foreach(v, i, n, key, child)
		if (!walk(c, child, depth + 1, deadline_ns, error))
			return false;
	return true;
}

bool offline_reads_tables_only(struct offline_conn *c, struct str sql, uint64_t deadline_ns, struct offline_error *error)
{
	struct buf tree = { .max = TREE_BYTES_MAX };
	bool ok = ask(c, STR("SELECT json_serialize_sql(CAST($1 AS VARCHAR))"), sql, deadline_ns, &tree, error);
	yyjson_doc *doc = ok && !tree.failed ? yyjson_read(tree.p, tree.n, 0) : NULL;
	yyjson_val *root = yyjson_doc_get_root(doc);
	if (ok && root == NULL) {
		offline_error_text(error, RT_EINVAL, "the statement is too large");
		ok = false;
	} else if (ok && yyjson_get_bool(yyjson_obj_get(root, "error"))) {
		struct str message = json_str(yyjson_obj_get(root, "error_message"));
		bool is_other = message.n >= 4 && memcmp(message.p, "Only", 4) == 0;
		if (is_other)
			message = STR("only SELECT runs here");
		offline_error_text(error, RT_EINVAL, "%.*s", (int)(message.n < 200 ? message.n : 200), message.p ? message.p : "");
		ok = false;
	}
	ok = ok && walk(c, root, 0, deadline_ns, error);
	yyjson_doc_free(doc);
	buf_finish(&tree);
	return ok;
}
