/* Reads the declared tables of entities, features, tables and retrievers; contexts are in
 * definitions_context.c. */
#include "actors/declare/definitions_private.h"
#include "runtime/check.h"
#include "store/text/table_file.h"
#include <stdlib.h>
#include <unistd.h>

static const char *const kind_names[DECLARE_KINDS] = { "entity", "feature", "table", "retriever", "context" };

static int line_of(const struct declare *declare, enum declare_kind kind, uint32_t index)
{
	for (uint32_t i = 0; i < declare->count; i++)
		if (declare->list[i].kind == kind && index-- == 0)
			return declare->list[i].line;
	return 0;
}

void definitions_read_name(struct declare_reader *r, enum declare_kind kind, uint32_t index, struct str *ret)
{
	uint32_t taken;
	if (definitions_field_name(r, ret) && !definitions_add_name(r->declare->d, kind, index, &taken))
		definitions_field_error(r, "name", "already declared in line %d", line_of(r->declare, kind, taken));
}

static void read_entity(struct declare_reader *r, uint32_t index)
{
	static const char *const keys[] = { "name", "id", "description", NULL };
	struct def_entity *e = &r->declare->d->entities[index];
	definitions_read_name(r, DECLARE_ENTITY, index, &e->name);
	definitions_field_check_keys(r, keys);
	if (definitions_field_push(r, "id") == LUA_TNIL)
		definitions_field_error(r, "id", "missing: the column that holds the entity's id, such as \"user_id\"");
	lua_pop(r->L, 1);
	definitions_field_identifier(r, "id", &e->id);
	definitions_field_text(r, "description", &e->description);
}

static uint32_t read_entity_of(struct declare_reader *r)
{
	struct str name = { 0 };
	uint32_t index = DEF_NONE;
	int type = definitions_field_push(r, "entity");
	const struct script_handle *handle = luaL_testudata(r->L, -1, SCRIPT_HANDLE);
	if (handle && handle->kind == DECLARE_ENTITY)
		name = handle->name;
	else if (type == LUA_TSTRING)
		name.p = lua_tolstring(r->L, -1, &name.n);
	if (type == LUA_TNIL)
		definitions_field_error(r, "entity", "missing: what fabra.entity returned, or its name");
	else if (name.p == NULL)
		definitions_field_error(r, "entity",
					"an entity is needed (what fabra.entity returned, or its name), got a %s",
					handle ? "declaration of another kind" : lua_typename(r->L, type));
	if (name.n > 0) {
		index = definitions_find(r->declare->d, DECLARE_ENTITY, name);
		struct buf near = { 0 };
		if (index == DEF_NONE) {
			definitions_suggest_of_kind(r->declare->d, DECLARE_ENTITY, name, &near);
			definitions_field_error(r, "entity", "unknown entity '%.*s'%.*s", STR_ARG(name),
						STR_ARG(buf_str(&near)));
		}
		buf_finish(&near);
	}
	lua_pop(r->L, 1);
	return index;
}

static void read_tags(struct declare_reader *r, struct str *ret)
{
	lua_State *L = r->L;
	int type = definitions_field_push(r, "tags"), tags = lua_gettop(L);
	bool all_strings = type == LUA_TTABLE;
	for (lua_pushnil(L); all_strings && lua_next(L, tags); lua_pop(L, 1))
		all_strings = lua_type(L, -1) == LUA_TSTRING;
	lua_settop(L, tags - 1);
	if (type == LUA_TNIL)
		return;
	struct str json = { 0 };
	if (!all_strings || !definitions_field_json(r, "tags", &json) || json.p[0] != '[')
		definitions_field_error(r, "tags", "a list of strings is needed");
	else
		*ret = json;
}

/* The statement gives its columns their types; a second word for it could only disagree. */
static void read_dtype(struct declare_reader *r, struct def_feature *f)
{
	struct str text;
	if (!definitions_field_text(r, "dtype", &text))
		return;
	for (int type = DTYPE_STRING; type <= DTYPE_OBJECT && f->dtype == DTYPE_ANY; type++)
		if (str_eq(text, str_from(def_dtype_name((enum def_dtype)type))))
			f->dtype = (enum def_dtype)type;
	if (f->sql.p)
		definitions_field_error(r, "dtype", "sql gives its columns their types; write CAST in it");
	else if (f->dtype == DTYPE_ANY)
		definitions_field_error(
		    r, "dtype",
		    "\"string\", \"integer\", \"number\", \"boolean\", \"array\" or \"object\" is needed, not '%s'",
		    text.p);
	else if (f->default_json.p && !def_dtype_fits(f->dtype, f->default_json))
		definitions_field_error(r, "default", "%s is not of dtype %s", f->default_json.p, text.p);
}

/* What is never looked at is a mistake in what its author expects. */
static void check_refresh(struct declare_reader *r, const struct def_feature *f)
{
	if (f->refresh_ms == 0)
		return;
	if (!f->has_compute && f->sql.p == NULL)
		definitions_field_error(r, "refresh", "a pushed feature (without compute and sql) cannot be refreshed");
	else if (f->trigger.p)
		definitions_field_error(r, "refresh", "events renew a triggered feature; remove refresh");
	else if (f->has_compute && f->ttl_ms == 0)
		definitions_field_error(
		    r, "refresh",
		    "a feature without ttl is computed at each read; add a ttl that is longer than refresh, or remove it");
	else if (f->sql.p && !f->materialize)
		definitions_field_error(
		    r, "refresh",
		    "sql without materialize = true is run when it is asked for; remove refresh, or add it");
	else if (f->ttl_ms && f->ttl_ms < f->refresh_ms)
		definitions_field_error(
		    r, "refresh",
		    "longer than ttl, so that there would be no value between the two; make refresh the shorter one");
}

/* An event carries one entity id, and what it gives is written in one frame of one entity. */
static void check_trigger(struct declare_reader *r, const struct def_feature *f)
{
	const struct definitions *d = r->declare->d;
	if (!definitions_is_event_type(f->trigger)) {
		definitions_field_error(
		    r, "trigger", "'%.*s' is not an event type: letters, digits and underscores, not underscores alone",
		    STR_ARG(f->trigger));
		return;
	}
	for (const struct def_feature *other = d->features; other < f; other++) {
		if (other->trigger.p == NULL || !str_eq(other->trigger, f->trigger) || other->entity == f->entity ||
		    other->entity == DEF_NONE || f->entity == DEF_NONE)
			continue;
		definitions_field_error(r, "trigger",
					"'%.*s' already triggers feature '%.*s' of entity '%.*s', so it cannot trigger "
					"'%.*s' of entity '%.*s'; give each entity an event type of its own",
					STR_ARG(f->trigger), STR_ARG(other->name),
					STR_ARG(d->entities[other->entity].name), STR_ARG(f->name),
					STR_ARG(d->entities[f->entity].name));
		return;
	}
}

static void check_feature(struct declare_reader *r, const struct def_feature *f)
{
	if (f->has_compute && f->sql.p)
		definitions_field_error(r, "sql", "a feature has either compute or sql; remove one");
	if (f->materialize && f->sql.p == NULL)
		definitions_field_error(r, "materialize", "only a feature with sql can be materialised");
	if (f->trigger.p && !f->has_compute)
		definitions_field_error(r, "trigger",
					"a triggered feature needs compute = function(id, event, previous) ... end");
	if (f->trigger.p)
		check_trigger(r, f);
	check_refresh(r, f);
}

static bool is_word(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || (c & 0x80) != 0;
}

/* Behind the text that begins at i with a quote: '...', "..." or, with escapes, E'...'. */
static size_t after_quoted(struct str sql, size_t i)
{
	char quote = sql.p[i];
	bool has_escapes = quote == '\'' && i > 0 && (sql.p[i - 1] | 0x20) == 'e' && (i == 1 || !is_word(sql.p[i - 2]));
	for (i++; i < sql.n && sql.p[i] != quote; i++)
		i += has_escapes && sql.p[i] == '\\';
	return i + 1; /* a doubled quote begins the next text at once */
}

/* Behind $tag$...$tag$, or behind the $ of something else. */
static size_t after_dollar(struct str sql, size_t i)
{
	size_t tag = i + 1;
	while (tag < sql.n && is_word(sql.p[tag]))
		tag++;
	if (tag >= sql.n || sql.p[tag] != '$' || (i > 0 && is_word(sql.p[i - 1])))
		return i + 1;
	tag += 1 - i;
	for (size_t at = i + tag; at + tag <= sql.n; at++)
		if (memcmp(sql.p + at, sql.p + i, tag) == 0)
			return at + tag;
	return sql.n;
}

/* Behind the comment that begins at i; i when none does. */
static size_t after_comment(struct str sql, size_t i)
{
	if (i + 1 >= sql.n)
		return i;
	if (sql.p[i] == '-' && sql.p[i + 1] == '-') {
		while (i < sql.n && sql.p[i] != '\n' && sql.p[i] != '\r')
			i++;
		return i;
	}
	if (sql.p[i] != '/' || sql.p[i + 1] != '*')
		return i;
	size_t depth = 1;
	for (i += 2; i + 1 < sql.n && depth > 0; i++) {
		bool begins = sql.p[i] == '/' && sql.p[i + 1] == '*', ends = sql.p[i] == '*' && sql.p[i + 1] == '/';
		depth += begins;
		depth -= ends;
		i += begins || ends;
	}
	return depth > 0 ? sql.n : i;
}

/* It becomes part of another statement when one entity is asked for: without a semicolon that ends it, and what is behind. */
static void trim_statement(struct str *sql)
{
	size_t end = sql->n; /* of all but semicolons, blanks and comments */
	bool is_ended = false;
	for (size_t i = 0; i < sql->n;) {
		char c = sql->p[i];
		size_t next = after_comment(*sql, i);
		if (next == i)
			next = c == '\'' || c == '"' ? after_quoted(*sql, i) : c == '$' ? after_dollar(*sql, i) : i + 1;
		else
			c = ' ';
		if (c == ';' && !is_ended)
			end = i;
		if (c == ';')
			is_ended = true;
		else if (strchr(" \t\r\n\f\v", c) == NULL) {
			is_ended = false;
			end = sql->n;
		}
		i = next;
	}
	sql->n = end;
	while (sql->n > 0 && strchr("; \t\r\n", sql->p[sql->n - 1]) != NULL)
		sql->n--;
}

static void read_feature(struct declare_reader *r, uint32_t index)
{
	static const char *const keys[] = { "name",  "entity",      "compute", "sql",     "refresh",
					    "ttl",   "materialize", "default", "trigger", "description",
					    "dtype", "version",     "tags",    NULL };
	struct def_feature *f = &r->declare->d->features[index];
	f->line = (uint32_t)r->line;
	definitions_read_name(r, DECLARE_FEATURE, index, &f->name);
	definitions_field_check_keys(r, keys);
	f->entity = read_entity_of(r);
	f->has_compute = definitions_field_function(r, "compute", SCRIPT_COMPUTE, index);
	definitions_field_text(r, "sql", &f->sql);
	trim_statement(&f->sql);
	definitions_field_identifier(r, "trigger", &f->trigger);
	definitions_field_duration(r, "refresh", &f->refresh_ms);
	definitions_field_duration(r, "ttl", &f->ttl_ms);
	definitions_field_bool(r, "materialize", &f->materialize);
	definitions_field_json(r, "default", &f->default_json);
	definitions_field_text(r, "description", &f->description);
	read_dtype(r, f);
	definitions_field_text(r, "version", &f->version);
	read_tags(r, &f->tags_json);
	check_feature(r, f);
	f->made_by = definitions_made_by(r, f);
}

/* Relative to the definitions file, so that a folder can be moved as a whole. */
static struct str absolute_path(struct declare_reader *r, struct str file)
{
	struct buf path = { 0 };
	if (file.p[0] != '/') {
		char *real = realpath(r->declare->d->file.p, NULL);
		char *slash = real ? strrchr(real, '/') : NULL;
		if (slash)
			buf_append(&path, real, (size_t)(slash - real) + 1);
		free(real);
	}
	buf_append(&path, file.p, file.n + 1);
	struct str copy = arena_dup(&r->declare->d->arena, str_of(path.p, path.n - 1));
	buf_finish(&path);
	if (copy.p == NULL)
		luaL_error(r->L, "the definitions are too large");
	return copy;
}

static void read_file(struct declare_reader *r, struct def_table *t)
{
	struct str file;
	bool is_text;
	if (!definitions_field_text(r, "file", &file))
		return;
	t->file = absolute_path(r, file);
	if (!table_file_reads(file.p, &is_text))
		definitions_field_error(r, "file", "'%s' does not end in %s", file.p, table_file_endings);
	else if (!is_text && t->columns_count > 0)
		definitions_field_error(r, "columns",
					"a Parquet file has its own types; convert them in the sql of another table");
	else if (access(t->file.p, R_OK) != 0)
		definitions_field_error(r, "file", "'%s' cannot be read (paths are relative to the definitions file)",
					file.p);
}

static int by_column_name(const void *a, const void *b)
{
	return strcmp(((const struct def_column *)a)->name.p, ((const struct def_column *)b)->name.p);
}

/* columns = { amount = "DECIMAL(18,2)" }: Lua has no order of them, the table's recipe needs one. */
static void read_columns(struct declare_reader *r, struct def_table *t)
{
	enum { COLUMNS_MAX = 2000 };
	lua_State *L = r->L;
	int type = definitions_field_push(r, "columns");
	uint32_t count = 0;
	if (type != LUA_TTABLE && type != LUA_TNIL)
		definitions_field_error(r, "columns", "a table { column = \"TYPE\" } is needed, got a %s",
					lua_typename(L, type));
	for (lua_pushnil(L); type == LUA_TTABLE && lua_next(L, -2); lua_pop(L, 1))
		count++;
	if (count > COLUMNS_MAX) {
		definitions_field_error(r, "columns", "more than %d columns", COLUMNS_MAX);
		count = 0;
	}
	t->columns = definitions_field_alloc(r, count * sizeof *t->columns);
	if (count > 0)
		lua_pushnil(L);
	while (count > 0 && lua_next(L, -2)) {
		if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) > 0)
			t->columns[t->columns_count++] = (struct def_column){
				definitions_field_keep(r, str_from(lua_tostring(L, -2))),
				definitions_field_keep(r, str_from(lua_tostring(L, -1)))
			};
		else
			definitions_field_error(r, "columns",
						"write column = \"TYPE\", for example amount = \"DECIMAL(18,2)\"");
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	qsort(t->columns, t->columns_count, sizeof *t->columns, by_column_name);
}

static void read_table(struct declare_reader *r, uint32_t index)
{
	static const char *const keys[] = { "name", "file", "sql", "columns", NULL };
	struct def_table *t = &r->declare->d->tables[index];
	t->line = (uint32_t)r->line;
	definitions_read_name(r, DECLARE_TABLE, index, &t->name);
	definitions_field_check_keys(r, keys);
	bool has_file = definitions_field_push(r, "file") != LUA_TNIL;
	bool has_sql = definitions_field_push(r, "sql") != LUA_TNIL;
	lua_pop(r->L, 2);
	if (has_file == has_sql)
		definitions_field_error(r, "file",
					has_file ? "a table has either file or sql; remove one"
						 : "missing: file = \"data.parquet\" (or sql = \"SELECT ...\")");
	read_columns(r, t);
	read_file(r, t);
	definitions_field_text(r, "sql", &t->sql);
	if (has_sql && t->columns_count > 0)
		definitions_field_error(r, "columns", "sql gives its columns their types; write CAST in it");
}

static void read_retriever(struct declare_reader *r, uint32_t index)
{
	static const char *const keys[] = { "name", "index", "run", "top_k", "cache_ttl", "filter", "max_age", NULL };
	enum { TOP_K_DEFAULT = 5, TOP_K_MAX = 1000 };
	struct def_retriever *t = &r->declare->d->retrievers[index];
	int64_t top_k = TOP_K_DEFAULT;
	definitions_read_name(r, DECLARE_RETRIEVER, index, &t->name);
	definitions_field_check_keys(r, keys);
	bool has_index = definitions_field_push(r, "index") != LUA_TNIL;
	bool has_run = definitions_field_push(r, "run") != LUA_TNIL;
	lua_pop(r->L, 2);
	if (has_index)
		definitions_field_error(r, "index",
					"document indexes are not available yet (use run = function(args) ... end)");
	else if (!has_run)
		definitions_field_error(r, "run", "missing: run = function(args) return { { content = ... } } end");
	t->has_run = definitions_field_function(r, "run", SCRIPT_RETRIEVE, index);
	definitions_field_integer(r, "top_k", 1, TOP_K_MAX, &top_k);
	t->top_k = (uint32_t)top_k;
	definitions_field_duration(r, "cache_ttl", &t->cache_ttl_ms);
	definitions_field_duration(r, "max_age", &t->max_age_ms);
	if (definitions_field_push(r, "filter") != LUA_TNIL)
		definitions_field_error(
		    r, "filter", "a filter is of a document index, and those are not available yet; filter in run");
	lua_pop(r->L, 1);
}

static void make_arrays(struct declare_reader *r, struct definitions *d)
{
	uint32_t counts[DECLARE_KINDS] = { 0 };
	for (uint32_t i = 0; i < r->declare->count; i++)
		counts[r->declare->list[i].kind]++;
	d->entities = definitions_field_alloc(r, counts[DECLARE_ENTITY] * sizeof *d->entities);
	d->features = definitions_field_alloc(r, counts[DECLARE_FEATURE] * sizeof *d->features);
	d->tables = definitions_field_alloc(r, counts[DECLARE_TABLE] * sizeof *d->tables);
	d->retrievers = definitions_field_alloc(r, counts[DECLARE_RETRIEVER] * sizeof *d->retrievers);
	d->contexts = definitions_field_alloc(r, counts[DECLARE_CONTEXT] * sizeof *d->contexts);
	d->entities_count = counts[DECLARE_ENTITY];
	d->features_count = counts[DECLARE_FEATURE];
	d->tables_count = counts[DECLARE_TABLE];
	d->retrievers_count = counts[DECLARE_RETRIEVER];
	d->contexts_count = counts[DECLARE_CONTEXT];
	if (!definitions_make_lookup(d))
		luaL_error(r->L, "the definitions are too large");
}

static void read_one(struct declare_reader *r, enum declare_kind kind, uint32_t index)
{
	switch (kind) {
	case DECLARE_ENTITY:
		read_entity(r, index);
		return;
	case DECLARE_FEATURE:
		read_feature(r, index);
		return;
	case DECLARE_TABLE:
		read_table(r, index);
		return;
	case DECLARE_RETRIEVER:
		read_retriever(r, index);
		return;
	case DECLARE_CONTEXT:
		definitions_context_read(r, index);
		return;
	case DECLARE_KINDS:
		UNREACHABLE();
	}
}

static struct str lent_text(lua_State *L, const char *key)
{
	struct str text = { 0 };
	lua_pushstring(L, key);
	if (lua_rawget(L, -2) == LUA_TSTRING)
		text.p = lua_tolstring(L, -1, &text.n);
	lua_pop(L, 1);
	return text;
}

/* What the order of declarations depends on. */
static void note_texts(struct declare *declare, lua_State *L, int tables)
{
	for (uint32_t i = 0; i < declare->count; i++) {
		struct declaration *one = &declare->list[i];
		lua_rawgeti(L, tables, (lua_Integer)one->position);
		one->name = lent_text(L, "name");
		if (one->kind == DECLARE_TABLE)
			one->sql = lent_text(L, "sql");
		lua_pop(L, 1);
	}
}

static int read_protected(lua_State *L)
{
	struct declare *declare = lua_touserdata(L, 1);
	struct declare_reader r = { .declare = declare, .L = L };
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_FUNCTIONS);
	for (int function = SCRIPT_COMPUTE; function <= SCRIPT_BUILD; function++) {
		lua_createtable(L, 0, 0);
		lua_rawseti(L, -2, function + 1);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, SLOT_DECLARED);
	int tables = lua_gettop(L);
	note_texts(declare, L, tables);
	if (!definitions_order_declarations(declare))
		luaL_error(L, "out of memory");
	make_arrays(&r, declare->d);
	for (int kind = 0; kind < DECLARE_KINDS; kind++) {
		uint32_t index = 0;
		for (uint32_t i = 0; i < declare->count; i++) {
			if ((int)declare->list[i].kind != kind)
				continue;
			lua_settop(L, tables);
			lua_rawgeti(L, tables, (lua_Integer)declare->list[i].position);
			r = (struct declare_reader){ .declare = declare,
						     .L = L,
						     .table = tables + 1,
						     .line = declare->list[i].line,
						     .kind = kind_names[kind] };
			read_one(&r, (enum declare_kind)kind, index++);
		}
	}
	lua_createtable(L, 0, 0); /* the tables are read; let them be collected */
	lua_rawseti(L, LUA_REGISTRYINDEX, SLOT_DECLARED);
	return 0;
}

bool definitions_read_all(struct declare *declare)
{
	lua_State *L = declare->s->L;
	lua_pushcfunction(L, read_protected);
	lua_pushlightuserdata(L, declare);
	bool good = lua_pcall(L, 1, 0, 0) == LUA_OK;
	if (!good)
		definitions_declare_error(declare, 0, "%s", luaL_tolstring(L, -1, NULL));
	lua_settop(L, 0);
	return good;
}
