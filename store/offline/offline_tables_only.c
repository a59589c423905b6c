/* Whether a statement reads tables and nothing else. DuckDB's SELECT can read any file that the process may (read_text, a
 * file's name in the place of a table): a definitions file is trusted with that, a client is not. The statement is looked
 * at as DuckDB's own parser understands it (json_serialize_sql), never as text. */
#include "runtime/check.h"
#include "store/text/json.h"
#include "store/offline/offline_private.h"
#include <stdlib.h>
#include <strings.h>

enum { TREE_BYTES_MAX = 16 << 20, TREE_DEPTH_MAX = 1000 };

/* Table functions that make rows of their arguments or of the catalog. */
static const char *const harmless[] = {
	"range",  "generate_series", "unnest",        "json_each",      "json_tree",
	"repeat", "repeat_row",      "duckdb_tables", "duckdb_columns", "duckdb_views"
};

/* Of the functions that give one value nearly all work on their arguments alone. These are the others: they read settings, the
 * environment, files (a plan opens those that its statement names) or how the database is stored; or they change something,
 * which a SELECT is not to do. A test goes through all that DuckDB has, so that those of another version are looked at too. */
static const char *const refused[] = { "current_setting", "getenv",  "json_serialize_plan",
				       "get_block_size",  "nextval", "setseed",
				       "write_log" };

/* What SHOW TABLES and SHOW ALL TABLES are to the parser; they say what duckdb_tables and duckdb_columns say. */
static const char *const shown[] = { "\"tables\"", "__show_tables_expanded" };

static bool is_among(struct str name, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (name.n == strlen(list[i]) && strncasecmp(name.p, list[i], name.n) == 0)
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

/* The first name of a tree that is no table here. A table or view is taken if the catalog has it and it is not DuckDB's own:
 * those show settings, paths and secrets. A name without a schema finds DuckDB's own in two schemas, and a name with one before
 * it may mean the schema or the catalog. A name that WITH gives is taken where it cannot be another thing as well, because
 * this does not follow where in the statement it holds: neither a view of DuckDB's own nor a file. */
static const char unknown_sql[] =
    "WITH said AS (SELECT CAST($1 AS JSON) AS j), "
    "given AS (SELECT DISTINCT lower(w->>'$') AS w FROM (SELECT unnest(CAST(j->'with' AS JSON[])) AS w FROM said)), "
    "asked AS (SELECT DISTINCT t->>0 AS c, t->>1 AS s, t->>2 AS n FROM (SELECT unnest(CAST(j->'tables' AS JSON[])) AS t FROM said)), "
    "known AS (SELECT lower(database_name) AS kc, lower(schema_name) AS ks, lower(table_name) AS kn, internal FROM duckdb_tables() "
    "UNION ALL SELECT lower(database_name), lower(schema_name), lower(view_name), internal FROM duckdb_views()) "
    "SELECT '''' || n || '''' FROM asked LEFT JOIN known ON kn = lower(n) AND CASE "
    "WHEN c = '' AND s = '' THEN NOT internal OR ks IN ('main', 'pg_catalog') "
    "WHEN c = '' THEN ks = lower(s) OR (kc = lower(s) AND ks IN ('main', 'pg_catalog')) "
    "ELSE kc = lower(c) AND ks = lower(s) END "
    "GROUP BY c, s, n HAVING coalesce(bool_or(internal), NOT (c = '' AND s IN ('', 'recurring') AND "
    "lower(n) IN (SELECT w FROM given) AND NOT regexp_matches(n, '[./\\\\*?\\[:]'))) LIMIT 1";

/* What a statement names, gathered on the walk through its tree. */
struct names {
	yyjson_mut_doc *doc;
	yyjson_mut_val *tables, *with; /* [catalog, schema, name] each; names */
};

static bool are_tables(struct offline_conn *c, const struct names *names, uint64_t deadline_ns,
		       struct offline_error *error)
{
	struct buf unknown = { 0 };
	size_t n;
	if (yyjson_mut_arr_size(names->tables) == 0)
		return true;
	char *text = yyjson_mut_write(names->doc, 0, &n);
	bool ok = text != NULL && ask(c, str_from(unknown_sql), str_of(text, n), deadline_ns, &unknown, error);
	free(text);
	if (text == NULL)
		offline_error_text(error, RT_EFULL, "out of memory");
	else if (ok && (unknown.n > 0 || unknown.failed))
		offline_error_text(error, RT_EINVAL,
				   "%.*s is none of the tables here; files and DuckDB's own views cannot be read",
				   STR_ARG(str_first(buf_str(&unknown), 100)));
	ok = ok && unknown.n == 0 && !unknown.failed;
	buf_finish(&unknown);
	return ok;
}

static bool add_text(struct names *names, yyjson_mut_val *list, yyjson_val *text)
{
	return yyjson_mut_arr_add_strn(names->doc, list, yyjson_is_str(text) ? yyjson_get_str(text) : "",
				       yyjson_get_len(text));
}

static bool add_table(struct names *names, yyjson_val *v)
{
	yyjson_mut_val *table = yyjson_mut_arr_add_arr(names->doc, names->tables);
	return add_text(names, table, yyjson_obj_get(v, "catalog_name")) &&
	       add_text(names, table, yyjson_obj_get(v, "schema_name")) &&
	       add_text(names, table, yyjson_obj_get(v, "table_name"));
}

static bool add_with(struct names *names, yyjson_val *map)
{
	size_t i, n;
	yyjson_val *entry;
	yyjson_arr_foreach(map, i, n, entry)
		if (!add_text(names, names->with, yyjson_obj_get(entry, "key")))
			return false;
	return true;
}

static bool refuse_function(struct str name, const char *what, struct offline_error *error)
{
	offline_error_text(error, RT_EINVAL, "the %s %.*s is not available here", what, STR_ARG(str_first(name, 60)));
	return false;
}

/* One node of the tree, without what is in it. */
static bool look(yyjson_val *v, struct names *names, struct offline_error *error)
{
	yyjson_val *type = yyjson_obj_get(v, "type");
	struct str function = json_str(yyjson_obj_get(v, "function_name"));
	struct str table_function = json_str(yyjson_obj_get(yyjson_obj_get(v, "function"), "function_name"));
	bool ok = add_with(names, yyjson_obj_get(yyjson_obj_get(v, "cte_map"), "map"));
	if (yyjson_equals_str(type, "BASE_TABLE"))
		ok = ok && add_table(names, v);
	if (!ok)
		offline_error_text(error, RT_EFULL, "out of memory");
	else if (yyjson_equals_str(type, "TABLE_FUNCTION") && !is_among(table_function, harmless, ARRAY_LEN(harmless)))
		ok = refuse_function(table_function, "table function", error);
	else if (is_among(function, refused, ARRAY_LEN(refused)))
		ok = refuse_function(function, "function", error);
	else if (yyjson_equals_str(type, "SHOW_REF") && !yyjson_is_obj(yyjson_obj_get(v, "query")) &&
		 !is_among(json_str(yyjson_obj_get(v, "table_name")), shown, ARRAY_LEN(shown))) {
		offline_error_text(error, RT_EINVAL, "only tables can be shown here");
		ok = false;
	}
	return ok;
}

static bool walk(yyjson_val *v, int depth, struct names *names, struct offline_error *error)
{
	if (depth > TREE_DEPTH_MAX) {
		offline_error_text(error, RT_EINVAL, "the statement is nested too deeply");
		return false;
	}
	size_t i, n;
	yyjson_val *key, *child;
	yyjson_arr_foreach(v, i, n, child)
		if (!walk(child, depth + 1, names, error))
			return false;
	if (yyjson_is_obj(v) && !look(v, names, error))
		return false;
	yyjson_obj_foreach(v, i, n, key, child)
		if (!walk(child, depth + 1, names, error))
			return false;
	return true;
}

static bool reads_tables_only(struct offline_conn *c, yyjson_val *tree, uint64_t deadline_ns,
			      struct offline_error *error)
{
	struct names names = { .doc = yyjson_mut_doc_new(NULL) };
	yyjson_mut_val *root = yyjson_mut_obj(names.doc);
	yyjson_mut_doc_set_root(names.doc, root);
	names.tables = yyjson_mut_obj_add_arr(names.doc, root, "tables");
	names.with = yyjson_mut_obj_add_arr(names.doc, root, "with");
	bool ok = walk(tree, 0, &names, error) && are_tables(c, &names, deadline_ns, error);
	yyjson_mut_doc_free(names.doc);
	return ok;
}

bool offline_reads_tables_only(struct offline_conn *c, struct str sql, uint64_t deadline_ns,
			       struct offline_error *error)
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
		offline_error_text(error, RT_EINVAL, "%.*s", STR_ARG(str_first(message, 200)));
		ok = false;
	}
	ok = ok && reads_tables_only(c, root, deadline_ns, error);
	yyjson_doc_free(doc);
	buf_finish(&tree);
	return ok;
}
