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

/* The first row's first text of a statement with one text parameter. false: *error. */
static bool ask(struct offline_conn *c, struct str sql, struct str param, struct buf *ret, struct offline_error *error)
{
	duckdb_prepared_statement s = offline_conn_prepare(c, sql, error);
	if (s == NULL)
		return false;
	duckdb_result result;
	bool ok = duckdb_bind_varchar_length(s, 1, param.p, param.n) == DuckDBSuccess &&
		  duckdb_execute_prepared(s, &result) == DuckDBSuccess;
	if (!ok) {
		offline_error_text(error, RT_EINVAL, "the statement cannot be read");
		return false;
	}
	char *text = duckdb_value_varchar(&result, 0, 0);
	if (text)
		buf_append_str(ret, str_from(text));
	duckdb_free(text);
	duckdb_destroy_result(&result);
	return true;
}

/* A name that is no table of the catalog is taken for a file's when it looks like one. */
static bool is_table(struct offline_conn *c, struct str name, struct offline_error *error)
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
		      name, &found, error) &&
		  str_eq(buf_str(&found), STR("true"));
	buf_finish(&found);
	if (!ok)
		offline_error_text(error, RT_EINVAL, "'%.*s' is no table; files cannot be read here", (int)(name.n < 100 ? name.n : 100),
				   name.p);
	return ok;
}

static bool walk(struct offline_conn *c, yyjson_val *v, int depth, struct offline_error *error)
{
	if (depth > TREE_DEPTH_MAX) {
		offline_error_text(error, RT_EINVAL, "the statement is nested too deeply");
		return false;
	}
	size_t i, n;
	yyjson_val *key, *child;
	if (yyjson_is_arr(v)) {
		yyjson_arr_foreach(v, i, n, child)
			if (!walk(c, child, depth + 1, error))
				return false;
		return true;
	}
	if (!yyjson_is_obj(v))
		return true;
	yyjson_val *type = yyjson_obj_get(v, "type"), *name = yyjson_obj_get(v, "table_name");
	if (yyjson_equals_str(type, "BASE_TABLE") && yyjson_is_str(name) && !is_table(c, json_str(name), error))
		return false;
	struct str function = json_str(yyjson_obj_get(yyjson_obj_get(v, "function"), "function_name"));
	if (yyjson_equals_str(type, "TABLE_FUNCTION") && !is_harmless(function)) {
		offline_error_text(error, RT_EINVAL, "the table function %.*s is not available here; only tables are",
				   (int)(function.n < 60 ? function.n : 60), function.p ? function.p : "");
		return false;
	}
	yyjson_obj_foreach(v, i, n, key, child)
		if (!walk(c, child, depth + 1, error))
			return false;
	return true;
}

bool offline_reads_tables_only(struct offline_conn *c, struct str sql, struct offline_error *error)
{
	struct buf tree = { 0 };
	bool ok = ask(c, STR("SELECT json_serialize_sql(CAST($1 AS VARCHAR))"), sql, &tree, error);
	yyjson_doc *doc = ok && tree.n <= TREE_BYTES_MAX ? yyjson_read(tree.p, tree.n, 0) : NULL;
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
	ok = ok && walk(c, root, 0, error);
	yyjson_doc_free(doc);
	buf_finish(&tree);
	return ok;
}
