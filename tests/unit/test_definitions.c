/* Loading a definitions file: what a good one gives, and what each mistake is called. */
#include "tests/unit/script_fixture.h"

#define AUTHORING FABRA_SOURCE_DIR "/tests/unit/lua/authoring.lua"

static struct definitions *authoring(void)
{
	struct buf why = { 0 };
	struct definitions *d = definitions_load(AUTHORING, false, &why);
	if (d == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	assert_int_equal(why.n, 0);
	return d;
}

#define assert_str(s, literal)                                                                                         \
	do {                                                                                                           \
		struct str got_str = (s);                                                                              \
		if (!str_eq(got_str, STR(literal)))                                                                    \
			fail_msg("'%.*s' is not '%s'", STR_ARG(got_str), literal);                                     \
	} while (0)

static void the_example_is_read_in_full(void **state)
{
	(void)state;
	struct definitions *d = authoring();
	assert_int_equal(d->entities_count, 1);
	assert_int_equal(d->features_count, 5);
	assert_int_equal(d->tables_count, 1);
	assert_int_equal(d->retrievers_count, 2);
	assert_int_equal(d->contexts_count, 2);
	assert_str(d->entities[0].id, "user_id");
	assert_str(d->entities[0].description, "a customer");
	const struct def_feature *tier = &d->features[definitions_feature(d, STR("user_tier"))];
	assert_true(tier->has_compute && tier->sql.p == NULL && tier->trigger.p == NULL);
	assert_int_equal(tier->refresh_ms, 3600000);
	assert_int_equal(tier->ttl_ms, 86400000);
	assert_str(tier->default_json, "\"free\"");
	const struct def_feature *count = &d->features[definitions_feature(d, STR("purchase_count"))];
	assert_true(count->materialize && count->sql.p && !count->has_compute && count->default_json.p == NULL);
	assert_str(d->features[definitions_feature(d, STR("total_spent"))].trigger, "purchase");
	assert_str(d->tables[0].file, FABRA_SOURCE_DIR "/tests/unit/lua/purchases.csv");
	const struct def_retriever *docs = &d->retrievers[definitions_retriever(d, STR("search_docs"))];
	assert_true(docs->has_run && docs->index.p == NULL);
	assert_int_equal(docs->top_k, 5);
	assert_int_equal(docs->max_age_ms, 30 * 86400000ll);
	assert_true(strncmp(d->code_version, "sha256:", 7) == 0 && strlen(d->code_version) == 71);
	assert_int_equal(definitions_feature(d, STR("nothing")), DEF_NONE);
	assert_int_equal(definitions_entity(d, STR("User")), 0);
	definitions_free(d);
}

/* made_by of a feature of this source; the text lives until the next call but one. */
static const char *made_by(const char *source, const char *feature)
{
	static char texts[2][300];
	static int turn;
	struct buf why = { 0 };
	char path[] = "/tmp/fabra-made-by-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0 && write(fd, source, strlen(source)) == (ssize_t)strlen(source));
	close(fd);
	struct definitions *d = definitions_load(path, false, &why);
	if (d == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	unlink(path);
	uint32_t f = definitions_feature(d, str_from(feature));
	assert_true(f != DEF_NONE);
	turn = !turn;
	snprintf(texts[turn], sizeof texts[turn], "%.*s", STR_ARG(d->features[f].made_by));
	definitions_free(d);
	return texts[turn];
}

#define MAKER_HEAD           "local fabra = require 'fabra'\nlocal U = fabra.entity { name = 'U', id = 'id' }\n"
#define MADE(lines)          made_by(MAKER_HEAD lines, "f")
#define assert_same(a, b)    assert_string_equal(MADE(a), MADE(b))
#define assert_differs(a, b) assert_true(strcmp(MADE(a), MADE(b)) != 0)

static void values_know_what_made_them(void **state)
{
	(void)state;
#define F "fabra.feature { name = 'f', entity = U, ttl = '1h',\n compute = function(id)\n return g(id) end }\n"
#define L "local t = { deep = { 1, 2, x = 'y' } }\nlocal function g(id) return #id + t.deep[1] end\n"
	assert_int_equal(strncmp(MADE(L F), "code:", 5), 0);
	for (int i = 0; i < 3; i++)
		assert_same(L F, L F);
	/* Only moved, or something else changed. */
	assert_same(L F, "\n\n-- a remark\n" L F);
	assert_same(L F, L "fabra.feature { name = 'other', entity = U }\n" F);
	assert_same(L F, L "local unrelated = function() return 5 end\n" F);
	assert_same("function g(id) return 1 end\n" F, "-- x\nfunction g(id) return 1 end\n" F);
	/* The function itself, a local function, what that one holds, a global one, a constant. */
	assert_differs(
	    L F, L
	    "fabra.feature { name = 'f', entity = U, ttl = '1h',\n compute = function(id)\n return g(id) + 1 end }\n");
	assert_differs(L F,
		       "local t = { deep = { 1, 2, x = 'y' } }\nlocal function g(id) return #id + t.deep[2] end\n" F);
	assert_differs(L F,
		       "local t = { deep = { 1, 2, x = 'z' } }\nlocal function g(id) return #id + t.deep[1] end\n" F);
	assert_differs("function g(id) return 1 end\n" F, "function g(id) return 2 end\n" F);
	assert_differs("c = 1 function g(id) return c end\n" F, "c = 2 function g(id) return c end\n" F);
	/* Circles end, and the order in which Lua walks tables makes no difference. */
#define CIRCLE                                                                                                         \
	"local a, b = { n = 1 }, { n = 2 } a.b, b.a, a.list = b, a, { a, b } local function g(id) return a, b, g end\n"
	for (int i = 0; i < 5; i++)
		assert_same(CIRCLE F, CIRCLE F);
	/* A version is the version, whatever the code. */
	assert_string_equal(
	    MADE("fabra.feature { name = 'f', entity = U, version = 'v7', compute = function() return 1 end }"), "v7");
	/* A statement, and its layout. */
#define SQL(text) "fabra.feature { name = 'f', entity = U, sql = '" text "' }"
	assert_same(SQL("SELECT 1"), SQL("SELECT 1 ;"));
	assert_differs(SQL("SELECT 1"), SQL("SELECT 2"));
	/* It becomes part of another one: what ends it, and what is behind its end, is no part of it. */
	assert_same(SQL("SELECT 1"), SQL("SELECT 1; -- bye"));
	assert_same(SQL("SELECT 1"), SQL("SELECT 1 ;; /* x; /* y */ */ ; "));
	assert_same(SQL("SELECT 1"), SQL("SELECT 1;\\n-- bye;\\n"));
	assert_differs(SQL("SELECT 1"), SQL("SELECT 1; SELECT 2"));
	assert_differs(SQL("SELECT 1 AS \"a; -- b\""), SQL("SELECT 1 AS \"a"));
	assert_differs(SQL("SELECT $$a; -- $$"), SQL("SELECT $$a"));
	assert_differs(SQL("SELECT $x$a$$; -- $x$"), SQL("SELECT $x$a$$"));
	assert_differs(SQL("SELECT \\'a; -- \\'"), SQL("SELECT \\'a"));
	assert_differs(SQL("SELECT e\\'a\\\\\\'; -- \\'"), SQL("SELECT e\\'a\\\\\\'"));
	/* A trigger's own values must not begin anew because of an edit; pushed values have no maker. */
	assert_string_equal(
	    MADE("fabra.feature { name = 'f', entity = U, trigger = 'e', compute = function() return 1 end }"), "");
	assert_string_equal(
	    MADE("fabra.feature { name = 'f', entity = U, trigger = 'e', version = '2', compute = function() end }"),
	    "2");
	assert_string_equal(MADE("fabra.feature { name = 'f', entity = U, version = '2' }"), "");
}

static void declarative_contexts_become_plans(void **state)
{
	(void)state;
	struct definitions *d = authoring();
	const struct def_context *c = &d->contexts[definitions_context(d, STR("chat_context"))];
	assert_false(c->has_build);
	assert_int_equal(c->max_tokens, 4000);
	assert_int_equal(c->freshness_sla_ms, 300000);
	assert_int_equal(c->cache_ttl_ms, 0);
	assert_int_equal(c->params_count, 2);
	assert_str(c->params[0].name, "query"); /* sorted */
	assert_true(c->params[1].type == PARAM_STRING && c->params[1].required);
	assert_int_equal(c->items_count, 3);
	assert_true(c->items[0].required && c->items[0].retriever == DEF_NONE && c->items[0].text.count == 1);
	assert_true(c->items[0].on_missing == ON_MISSING_FAIL && c->items[1].on_missing == ON_MISSING_DROP);
	const struct def_item *tier = &c->items[1];
	assert_int_equal(tier->text.count, 2);
	assert_str(tier->text.pieces[0].text, "User tier: ");
	assert_int_equal(tier->text.pieces[1].type, PIECE_FEATURE);
	assert_int_equal(tier->text.pieces[1].index, definitions_feature(d, STR("user_tier")));
	assert_int_equal(tier->entity_id.count, 1);
	assert_int_equal(tier->entity_id.pieces[0].type, PIECE_PARAM);
	assert_int_equal(tier->entity_id.pieces[0].index, 1);
	const struct def_item *docs = &c->items[2];
	assert_int_equal(docs->retriever, definitions_retriever(d, STR("search_docs")));
	assert_int_equal(docs->args_count, 2);
	assert_str(docs->args[0].name, "limit");
	assert_str(docs->args[0].json, "3");
	assert_int_equal(docs->args[1].text.count, 1);
	assert_true(d->contexts[definitions_context(d, STR("chat_context_code"))].has_build);
	definitions_free(d);
}

static const char *load_error(const char *source)
{
	static char text[8192];
	struct fixture f = { 0 };
	struct buf why = { 0 };
	if (fixture_load(&f, source, &why))
		fail_msg("loaded: %s", source);
	snprintf(text, sizeof text, "%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	return text;
}

#define HEAD FIXTURE_HEAD /* two lines */

static void each_mistake_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *source, *error;
	} cases[] = {
		{ "fabra.feature { name = 'f', entity = User, refrsh = '1h' }",
		  "store.lua:3: feature 'f': refrsh: unknown key (did you mean 'refresh'?)" },
		{ "fabra.feature { name = 'f', entity = User, qqqqqqqq = 1 }",
		  "qqqqqqqq: unknown key (known: name, entity," },
		{ "\n\nfabra.feature { entity = User }", "store.lua:5: feature: name: missing" },
		{ "fabra.feature { name = 5, entity = User }", "feature: name: a string is needed, got a number" },
		{ "fabra.feature { name = '5x', entity = User }", "'5x' is not a name: a letter or _" },
		{ "fabra.feature { name = '', entity = User }", "is not a name" },
		{ "fabra.feature { name = 'a b', entity = User }", "is not a name" },
		{ "fabra.feature { name = ('x'):rep(257), entity = User }", "longer than 256 bytes" },
		{ "fabra.feature { name = 'f\\0', entity = User }", "not valid UTF-8 text" },
		{ "fabra.feature { name = 'f', entity = User, description = '\\xff' }",
		  "description: not valid UTF-8" },
		{ "fabra.feature { name = 'f' }", "entity: missing" },
		{ "fabra.feature { name = 'f', entity = 7 }", "entity: an entity is needed" },
		{ "fabra.feature { name = 'f', entity = 'Usr' }",
		  "entity: unknown entity 'Usr' (did you mean 'User'?)" },
		{ "fabra.feature { name = 'f', entity = fabra.feature { name = 'g', entity = User } }",
		  "declaration of another kind" },
		{ "fabra.feature { name = 'f', entity = User }\nfabra.feature { name = 'f', entity = User }",
		  "store.lua:4: feature 'f': name: already declared in line 3" },
		{ "fabra.entity { name = 'User', id = 'x' }", "entity 'User': name: already declared in line 2" },
		{ "fabra.entity { name = 'Thing' }", "entity 'Thing': id: missing" },
		{ "fabra.feature { name = 'f', entity = User, ttl = '5 minutes' }",
		  "ttl: '5 minutes' is not a duration: a duration is" },
		{ "fabra.feature { name = 'f', entity = User, ttl = 5 }",
		  "ttl: a duration is a string such as \"500ms\"" },
		{ "fabra.feature { name = 'f', entity = User, ttl = '0s' }", "is not a duration" },
		{ "fabra.feature { name = 'f', entity = User, ttl = '-5s' }", "is not a duration" },
		{ "fabra.feature { name = 'f', entity = User, ttl = '1.5.5s' }", "is not a duration" },
		{ "fabra.feature { name = 'f', entity = User, ttl = '99999999999d' }", "is not a duration" },
		{ "fabra.feature { name = 'f', entity = User, compute = 'x' }",
		  "compute: a function is needed, got a string" },
		{ "fabra.feature { name = 'f', entity = User, compute = type, sql = 'SELECT 1' }",
		  "sql: a feature has either compute or sql" },
		{ "fabra.feature { name = 'f', entity = User, materialize = true }",
		  "materialize: only a feature with sql" },
		{ "fabra.feature { name = 'f', entity = User, materialize = 'yes', sql = 'x' }",
		  "materialize: true or false is needed" },
		{ "fabra.feature { name = 'f', entity = User, trigger = 'purchase' }",
		  "trigger: a triggered feature needs compute" },
		{ "fabra.feature { name = 'f', entity = User, trigger = 'it.ev-1', compute = type }",
		  "trigger: 'it.ev-1' is not an event type: letters, digits and underscores" },
		{ "fabra.feature { name = 'f', entity = User, trigger = '__', compute = type }",
		  "trigger: '__' is not an event type" },
		{ "local Shop = fabra.entity { name = 'Shop', id = 'shop_id' }\n"
		  "fabra.feature { name = 'f', entity = User, trigger = 'sale', compute = type }\n"
		  "fabra.feature { name = 'g', entity = Shop, trigger = 'sale', compute = type }",
		  "store.lua:5: feature 'g': trigger: 'sale' already triggers feature 'f' of entity 'User'" },
		{ "fabra.feature { name = 'f', entity = User, refresh = '1h' }", "refresh: a pushed feature" },
		{ "fabra.feature { name = 'f', entity = User, default = function() end }",
		  "default: not a JSON value: a function" },
		{ "fabra.feature { name = 'f', entity = User, default = 0/0 }", "NaN" },
		{ "fabra.feature { name = 'f', entity = User, default = { 1, a = 2 } }",
		  "neither a list nor an object" },
		{ "fabra.feature { name = 'f', entity = User, tags = 'x' }", "tags: a list of strings" },
		{ "fabra.feature { name = 'f', entity = User, tags = { 1 } }", "tags: a list of strings" },
		{ "fabra.feature { name = 'f', entity = User, tags = { 'a', 1 } }", "tags: a list of strings" },
		{ "fabra.feature 'f'", "feature: one table is needed: fabra.feature { name = ... }" },
		{ "fabra.feature(User, { name = 'f' })", "one table is needed" },
		{ "fabra.feature { 'f', entity = User }", "an entry without a name" },
		{ "fabra.table { name = 't' }", "table 't': file: missing" },
		{ "fabra.table { name = 't', file = 'a.csv', sql = 'x' }", "either file or sql" },
		{ "fabra.table { name = 't', file = 'nothing.csv' }", "file: 'nothing.csv' cannot be read" },
		{ "fabra.table { name = 't', file = 'a.xls' }", "does not end in .parquet, .csv" },
		{ "fabra.table { name = 't', sql = 'SELECT 1', columns = { n = 'INT' } }",
		  "columns: sql gives its columns their types" },
		{ "fabra.table { name = 't', file = 'a.parquet', columns = { n = 'INT' } }",
		  "columns: a Parquet file has its own types" },
		{ "fabra.table { name = 't', file = 'a.csv', columns = 'INT' }",
		  "columns: a table { column = \"TYPE\" } is needed" },
		{ "fabra.table { name = 't', file = 'a.csv', columns = { n = 5 } }",
		  "columns: write column = \"TYPE\"" },
		{ "fabra.table { name = 't', file = 'a.csv', columns = { 'INT' } }",
		  "columns: write column = \"TYPE\"" },
		{ "fabra.index { name = 'i' }", "store.lua:3: index: fabra.index is not available yet" },
		{ "fabra.retriever { name = 'r', index = 'i' }",
		  "retriever 'r': index: document indexes are not available yet" },
		{ "fabra.retriever { name = 'r' }", "retriever 'r': run: missing" },
		{ "fabra.retriever { name = 'r', run = type, top_k = 0 }",
		  "top_k: an integer from 1 to 1000 is needed, got 0" },
		{ "fabra.retriever { name = 'r', run = type, top_k = 1.5 }",
		  "top_k: an integer from 1 to 1000 is needed, got 1.5" },
		{ "fabra.retriever { name = 'r', run = type, filter = { lang = 'en' } }",
		  "filter: a filter is of a document index" },
		{ "fabra.feature { name = 'f', entity = User, trigger = 'e', compute = type, refresh = '1h' }",
		  "refresh: events renew a triggered feature" },
		{ "fabra.feature { name = 'f', entity = User, compute = type, refresh = '1h' }",
		  "refresh: a feature without ttl is computed at each read" },
		{ "fabra.feature { name = 'f', entity = User, sql = 'x', refresh = '1h', ttl = '2h' }",
		  "refresh: sql without materialize = true is run when it is asked for" },
		{ "fabra.feature { name = 'f', entity = User, compute = type, refresh = '1h', ttl = '59m' }",
		  "refresh: longer than ttl" },
		{ "fabra.feature { name = 'f', entity = User, sql = 'x', materialize = true, refresh = '1h', ttl = '1m' }",
		  "refresh: longer than ttl" },
		{ "fabra.feature { name = 'f', entity = User, dtype = 'double' }",
		  "dtype: \"string\", \"integer\", \"number\", \"boolean\", \"array\" or \"object\" is needed, not 'double'" },
		{ "fabra.feature { name = 'f', entity = User, dtype = 'integer', default = 1.5 }",
		  "default: 1.5 is not of dtype integer" },
		{ "fabra.feature { name = 'f', entity = User }\nlocal many = {}\n"
		  "for i = 1, 33 do many[i] = { text = '{feature:f}', entity_id = '{user}-' .. i } end\n"
		  "fabra.context { name = 'c', params = { user = 'string' }, items = many }",
		  "context 'c': items: they read features of 33 ids" },
		{ "local many, text = {}, ''\n"
		  "for i = 1, 1025 do fabra.feature { name = 'f' .. i, entity = User } text = text .. '{feature:f' .. i .. '}' end\n"
		  "fabra.context { name = 'c', params = { user = 'string' }, items = { { text = text, entity_id = '{user}' } } }",
		  "context 'c': items: they read 1025 features; at most 1024 are possible" },
		{ "fabra.retriever { name = 'r', run = type }\nlocal many = {}\n"
		  "for i = 1, 65 do many[i] = { retriever = 'r' } end\n"
		  "fabra.context { name = 'c', items = many }",
		  "context 'c': items: they call retrievers 65 times; at most 64 are possible" },
		{ "fabra.feature { name = 'f', entity = User, sql = 'x', dtype = 'integer' }",
		  "dtype: sql gives its columns their types" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char source[1024];
		snprintf(source, sizeof source, HEAD "%s\n", cases[i].source);
		assert_has(load_error(source), cases[i].error);
	}
}

#define FEATURES                                                                                                       \
	"local Shop = fabra.entity { name = 'Shop', id = 'shop_id' }\n"                                                \
	"fabra.feature { name = 'tier', entity = User }\nfabra.feature { name = 'city', entity = Shop }\n"             \
	"fabra.feature { name = 'age', entity = User, compute = type, ttl = '1h' }\n"                                  \
	"fabra.feature { name = 'score', entity = User, sql = 'x', materialize = true, refresh = '2m' }\n"             \
	"fabra.retriever { name = 'docs', run = function() return {} end }\n"

static void mistakes_in_contexts_are_named(void **state)
{
	(void)state;
	static const struct {
		const char *body, *error;
	} cases[] = {
		{ "", "context 'c': build: missing: build = function(args) ... end, or items = { ... }" },
		{ "build = type, items = { { text = 'x' } }", "build: a context has either build or items" },
		{ "items = {}", "items: a list of 1 to 1000 items" },
		{ "items = 'x'", "items: a list" },
		{ "items = { text = 'x' }", "items: a list" },
		{ "items = { 'x' }", "entry 1 is a string; write { text = " },
		{ "items = { { txt = 'x' } }", "items[1].txt: unknown key (did you mean 'text'?)" },
		{ "items = { { priority = 1 } }", "items[1].text: missing" },
		{ "items = { { text = 'x', retriever = 'docs' } }",
		  "items[1].text: an item has either text or retriever" },
		{ "items = { { text = 'x', priority = -2147483649 } }",
		  "items[1].priority: an integer from -2147483648" },
		{ "items = { { text = 'x', priority = 1.5 } }", "items[1].priority: an integer from -2147483648" },
		{ "items = { { text = 'x' }, { text = '{user_id}' } }",
		  "items[2].text: parameter 'user_id' is not declared: add it to params = { user_id = \"string\" }" },
		{ "params = { user_id = 'string' }, items = { { text = '{usr_id}' } }",
		  "parameter 'usr_id' is not declared" },
		{ "items = { { text = 'a { b' } }",
		  "items[1].text: the { at byte 3 is not closed (write {{ for a brace)" },
		{ "items = { { text = 'a {' } }", "the { at byte 3 is not closed" },
		{ "items = { { text = '{a{b}}' } }", "the { at byte 1 is not closed" },
		{ "items = { { text = 'a } b' } }", "a single } at byte 3 (write }} for a brace)" },
		{ "items = { { text = '{}' } }", "braces hold a parameter or feature:name" },
		{ "items = { { text = '{feature:teir}', entity_id = 'u' } }",
		  "unknown feature 'teir' (did you mean 'tier'?)" },
		{ "items = { { text = '{feature:}', entity_id = 'u' } }", "unknown feature ''" },
		{ "items = { { text = '{feature:tier}' } }",
		  "items[1].entity_id: missing: the text has features of 'User'; add "
		  "entity_id = \"{user_id}\"" },
		{ "items = { { text = '{feature:tier} {feature:city}', entity_id = 'u' } }",
		  "feature 'city' belongs to entity 'Shop', the features before it to 'User'" },
		{ "params = { user_id = 'string' }, items = { { text = '{feature:tier}', entity_id = 'user_id' } }",
		  "items[1].entity_id: the word 'user_id' would be the id itself; write \"{user_id}\"" },
		{ "items = { { text = '{feature:tier}', entity_id = '{feature:tier}' } }",
		  "only parameters can stand here" },
		{ "items = { { retriever = 'dosc' } }",
		  "items[1].retriever: unknown retriever 'dosc' (did you mean 'docs'?)" },
		{ "items = { { retriever = 5 } }", "items[1].retriever: the name of a retriever is needed" },
		{ "items = { { retriever = 'docs', args = 'x' } }", "items[1].args: a table is needed" },
		{ "items = { { retriever = 'docs', args = { q = '{query}' } } }",
		  "items[1].args.q: parameter 'query' is not declared" },
		{ "items = { { retriever = 'docs', args = { q = type } } }", "items[1].args.q: not a JSON value" },
		{ "items = { { text = 'x', entity_id = 'u' } }", "items[1].entity_id: the text has no {feature:name}" },
		{ "items = { { retriever = 'docs', entity_id = 'u' } }",
		  "items[1].entity_id: a retriever gets what it needs in args" },
		{ "items = { { text = 'x', args = {} } }", "items[1].args: only an item with a retriever" },
		{ "build = type, params = { 'user_id' }", "params: up to 100 named entries" },
		{ "build = type, params = 'x'", "params: a table is needed" },
		{ "build = type, params = { user_id = 'text' }",
		  "params.user_id: a type is needed: \"string\", \"integer\", \"number\"" },
		{ "build = type, params = { user_id = 5 }", "params.user_id: a type is needed" },
		{ "build = type, params = { n = { type = 'integer', default = 'x' } }",
		  "params.n.default: \"x\" is not of type integer" },
		{ "build = type, params = { n = { type = 'integer', default = 1.5 } }",
		  "params.n.default: 1.5 is not of type integer" },
		{ "build = type, params = { n = { type = 'integer', default = 1, required = true } }",
		  "params.n.required" },
		{ "build = type, params = { n = { typ = 'integer' } }",
		  "params.n.typ: unknown key (did you mean 'type'?)" },
		{ "build = type, max_tokens = 0", "max_tokens: an integer from 1" },
		{ "build = type, max_tokens = '4000'", "max_tokens: an integer is needed, got a string" },
		{ "build = type, max_tokens = 9, on_budget = 'refuse'", "on_budget: \"fail\"" },
		{ "items = { { text = 'x', on_missing = 'skip' } }",
		  "items[1].on_missing: \"drop\" (leave the item out), \"empty\"" },
		{ "items = { { text = 'x', on_missing = true } }", "items[1].on_missing: a string is needed" },
		{ "build = type, on_budget = 'fail'", "on_budget: there is no budget without max_tokens" },
		{ "items = { { text = '{feature:age} {feature:tier}', entity_id = 'u' } }, freshness_sla = '59m', freshness_strict = true",
		  "freshness_sla: with freshness_strict it must not be shorter than the ttl of feature 'age'" },
		{ "items = { { text = '{feature:city}', entity_id = 'u' }, { text = '{feature:score}', entity_id = 'u' } }, "
		  "freshness_sla = '1m', freshness_strict = true",
		  "freshness_sla: with freshness_strict it must not be shorter than the refresh of feature 'score'" },
		{ "build = type, freshness_sla = 300", "freshness_sla: a duration is a string" },
		{ "build = type, freshness_strict = 1", "freshness_strict: true or false" },
		{ "build = type, cache_tll = '1m'", "cache_tll: unknown key (did you mean 'cache_ttl'?)" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char source[2048];
		snprintf(source, sizeof source, HEAD FEATURES "fabra.context { name = 'c', %s }\n", cases[i].body);
		assert_has(load_error(source), cases[i].error);
		assert_has(load_error(source), "store.lua:9: context 'c': ");
	}
	assert_has(load_error(HEAD
			      "fabra.context { name = 'c', build = type }\nfabra.context { name = 'c', build = type }"),
		   "store.lua:4: context 'c': name: already declared in line 3");
}

static void braces_are_cut_once(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct buf why = { 0 };
	assert_non_null(fixture_load(
	    &f,
	    HEAD FEATURES
	    "fabra.context { name = 'c', params = { a = 'string', n = { type = 'integer', default = 3 }, o = { type = 'any', required = false } },\n"
	    "  items = { { text = '{{x}} {a}{{{n}}}{feature:tier}', entity_id = 'u-{a}' }, { text = '' },\n"
	    "            { retriever = 'docs', args = { q = 'plain {{}}', l = { '{a}' } } } } }\n",
	    &why));
	const struct def_context *c = &f.d->contexts[0];
	const struct def_template *t = &c->items[0].text;
	assert_int_equal(t->count, 6);
	assert_str(t->pieces[0].text, "{x} ");
	assert_int_equal(t->pieces[1].type, PIECE_PARAM);
	assert_str(t->pieces[2].text, "{");
	assert_int_equal(t->pieces[3].index, 1);
	assert_str(t->pieces[4].text, "}");
	assert_int_equal(t->pieces[5].type, PIECE_FEATURE);
	assert_int_equal(c->items[0].entity_id.count, 2);
	assert_int_equal(c->items[1].text.count, 1);
	assert_int_equal(c->items[1].text.pieces[0].text.n, 0);
	assert_str(c->items[2].args[0].json, "[\"{a}\"]"); /* only strings are templates, not what is inside a table */
	assert_str(c->items[2].args[1].json, "\"plain {}\"");
	assert_true(c->params[0].required && !c->params[1].required && !c->params[2].required);
	assert_str(c->params[1].default_json, "3");
	assert_int_equal(c->params[2].default_json.n, 0);
	fixture_stop(&f);
	buf_finish(&why);
}

/* `pairs` goes another way in each Lua state; functions must still be found under the names that the file gave them. */
static void declarations_in_a_pairs_loop_keep_their_functions(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		struct fixture f = { 0 };
		fixture_start(
		    &f,
		    HEAD
		    "local all = {}\n"
		    "for i = 1, 30 do all['feature_' .. i] = function(id) return 'feature_' .. i end end\n"
		    "for name, compute in pairs(all) do fabra.feature { name = name, entity = User, compute = compute } end\n",
		    NULL);
		assert_int_equal(f.d->features_count, 30);
		for (uint32_t i = 0; i < f.d->features_count; i++) {
			struct script_outcome out;
			struct script_call *call = script_begin(f.s, SCRIPT_COMPUTE, i, STR("u1"), (struct str){ 0 },
								(struct str){ 0 }, &fixture_host, &f);
			assert_non_null(call);
			assert_int_equal(fixture_go(&f, call, &out), SCRIPT_DONE);
			assert_int_equal(out.value_json.n, f.d->features[i].name.n + 2);
			assert_memory_equal(out.value_json.p + 1, f.d->features[i].name.p, f.d->features[i].name.n);
			script_end(call);
		}
		fixture_stop(&f);
	}
}

static void names_can_be_declared_later(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	fixture_start(&f,
		      "local fabra = require 'fabra'\n"
		      "fabra.context { name = 'c', params = { user_id = 'string' }, items = {\n"
		      "  { text = '{feature:tier}', entity_id = '{user_id}' }, { retriever = 'docs' } } }\n"
		      "fabra.feature { name = 'tier', entity = 'User', compute = function(id) return id end }\n"
		      "fabra.retriever { name = 'docs', run = function() return {} end }\n"
		      "fabra.entity { name = 'User', id = 'user_id' }\n",
		      NULL);
	assert_string_equal(fixture_compute(&f, "u1"), "\"u1\"");
	fixture_stop(&f);
}

static void assert_tables(const char *declarations, const char *names)
{
	struct fixture f = { 0 };
	struct buf why = { 0 }, got = { 0 }, source = { 0 };
	buf_printf(&source, "local fabra = require 'fabra'\n%s", declarations);
	buf_append_char(&source, '\0');
	if (fixture_load(&f, source.p, &why) == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	for (uint32_t i = 0; i < f.d->tables_count; i++)
		buf_printf(&got, "%s%.*s", i ? " " : "", STR_ARG(f.d->tables[i].name));
	buf_append_char(&got, '\0');
	assert_string_equal(got.p, names);
	buf_finish(&got);
	buf_finish(&source);
	buf_finish(&why);
	fixture_stop(&f);
}

static void tables_follow_those_that_their_sql_names(void **state)
{
	(void)state;
	assert_tables(
	    "fabra.table { name = 'x', sql = 'SELECT 1 AS a' }\nfabra.table { name = 'b', sql = 'SELECT 2 AS x' }",
	    "x b");
	assert_tables("fabra.table { name = 'c', sql = 'SELECT * FROM b' }\n"
		      "fabra.table { name = 'd', sql = 'SELECT 1 AS d' }\n"
		      "fabra.table { name = 'b', sql = 'SELECT * FROM \"A\" JOIN d USING (n)' }\n"
		      "fabra.table { name = 'a', sql = [[SELECT 'c', 1 AS n]] }",
		      "d a b c");
	/* They name each other as columns only, or themselves: the order of the file. */
	assert_tables(
	    "fabra.table { name = 'p', sql = 'SELECT 1 AS q, 2 AS p' }\nfabra.table { name = 'q', sql = 'SELECT 1 AS p' }",
	    "p q");
	assert_tables(
	    "for _, name in pairs { 'z', 'y', 'x' } do fabra.table { name = name, sql = 'SELECT 1 AS n' } end",
	    "x y z");
}

static void all_mistakes_are_reported_in_order(void **state)
{
	(void)state;
	const char *text = load_error(HEAD "fabra.context { name = 'c' }\nfabra.feature { name = 'f', entty = User }\n"
					   "fabra.retriever { name = 'r' }\nerror('and this')\n");
	const char *third = strstr(text, "store.lua:3: context 'c'"),
		   *fourth = strstr(text, "store.lua:4: feature 'f': entty"),
		   *fifth = strstr(text, "store.lua:5: retriever"), *sixth = strstr(text, "store.lua:6: and this");
	assert_true(third && fourth && fifth && sixth);
	assert_true(third < fourth && fourth < fifth && fifth < sixth);
	struct buf many = { 0 };
	buf_append_lit(&many, HEAD);
	for (int i = 0; i < 30; i++)
		buf_printf(&many, "fabra.retriever { name = 'r%d' }\n", i);
	buf_append_char(&many, '\0');
	text = load_error(many.p);
	assert_has(text, "r19'");
	assert_has(text, "and 10 more");
	assert_null(strstr(text, "r20'"));
	buf_finish(&many);
}

static void a_broken_file_is_named(void **state)
{
	(void)state;
	assert_has(load_error("local x = \n = 5"), "store.lua:2: unexpected symbol near '='");
	assert_has(load_error("x.y.z = 1"), "store.lua:1: undefined global 'x'");
	assert_has(load_error("\nwhile true do end"),
		   "store.lua:2: the file was stopped: it takes more than 50000000 instructions");
	assert_has(load_error("\npcall(function() while true do end end) x = 1"), "store.lua:2: the file was stopped");
	assert_has(load_error("local s = 'x' while true do s = s .. s end"), "bytes of memory");
	assert_has(load_error("error({})"), "not a text");
	assert_has(load_error("require 'socket'"), "store.lua:1: require 'socket': only \"fabra\" can be required");
	assert_has(load_error("local fabra = require 'fabra' fabra.feature_value('x', 'y')"),
		   "works only inside a compute");
	assert_has(load_error("local fabra = require 'fabra' fabra.await(1)"), "fabra.ask expected");
	assert_has(load_error("local fabra = require 'fabra' fabra.fature { name = 'x' }"),
		   "there is no fabra.fature (did you mean 'feature'?)");
	assert_has(load_error("\x1bLua"), "attempt to load a binary chunk");
	struct buf why = { 0 };
	assert_has(load_error("x = 1"), "store.lua: declares nothing to serve");
	assert_has(load_error(HEAD), "store.lua: declares nothing to serve");
	assert_has(load_error(""), "store.lua: declares nothing to serve");
	assert_has(load_error("# features\nfrom fabra.core import FeatureStore\n"), "store.lua: this is Python");
	assert_has(load_error("import json\n"), "store.lua: this is Python");
	assert_null(definitions_load("/nowhere/store.lua", false, &why));
	buf_append_char(&why, '\0');
	assert_has(why.p, "/nowhere/store.lua: cannot be read: No such file");
	buf_finish(&why);
}

static void near_names_are_suggested(void **state)
{
	(void)state;
	struct definitions *d = authoring();
	struct buf out = { 0 };
	definitions_suggest(d, STR("user_teir"), &out);
	assert_str(buf_str(&out), "user_tier");
	buf_clear(&out);
	definitions_suggest(d, STR("chat_contxt"), &out);
	assert_str(buf_str(&out), "chat_context, chat_context_code");
	buf_clear(&out);
	definitions_suggest(d, STR("user_tier"), &out); /* for one who looks for a retriever of that name */
	assert_null(memmem(out.p, out.n, "user_tier", 9));
	buf_clear(&out);
	definitions_suggest(d, STR("zzz"), &out);
	assert_int_equal(out.n, 0);
	buf_finish(&out);
	definitions_free(d);
}

static void functions_can_be_declared_by_helpers(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	fixture_start(
	    &f,
	    HEAD
	    "function double(n) return 2 * n end\n"
	    "for i = 1, 3 do fabra.feature { name = 'f' .. i, entity = 'User', compute = function() return double(i) end } end\n",
	    NULL);
	assert_int_equal(f.d->features_count, 3);
	struct script_outcome out;
	struct script_call *call = script_begin(f.s, SCRIPT_COMPUTE, 2, STR("u"), (struct str){ 0 }, (struct str){ 0 },
						&fixture_host, &f);
	assert_int_equal(fixture_go(&f, call, &out), SCRIPT_DONE);
	assert_str(out.value_json, "6");
	script_end(call);
	fixture_stop(&f);
}

static void a_file_that_changes_its_mind_is_refused(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct buf why = { 0 };
	assert_non_null(
	    fixture_load(&f, HEAD "fabra.feature { name = 'f' .. math.floor(os.clock() * 1e6), entity = User }", &why));
	assert_null(script_create(f.d, NULL, &why));
	buf_append_char(&why, '\0');
	assert_has(why.p, "other names each time");
	buf_finish(&why);
	fixture_stop(&f);
}

/* A name that is not there would read as nil, and the option beside it would vanish without a word. */
static void undefined_globals_are_mistakes_while_the_file_loads(void **state)
{
	(void)state;
	static const struct {
		const char *source, *error;
	} cases[] = {
		{ "fabra.feature { name = 'f', entity = User, materialize = True, sql = 'SELECT 1' }",
		  "store.lua:3: undefined global 'True' (did you mean 'true'?)" },
		{ "\nfabra.feature { name = 'f', entity = User, default = None }",
		  "store.lua:4: undefined global 'None' (did you mean 'nil'?)" },
		{ "fabra.feature { name = 'f', entity = User, default = null }", "'null' (did you mean 'nil'?)" },
		{ "fabra.feature { name = 'f', entity = User, refresh = ONE_HOUR }", "undefined global 'ONE_HOUR'" },
		{ "ONE_HOUR = '1h' fabra.feature { name = 'f', entity = User, refresh = ONE_HUOR }",
		  "undefined global 'ONE_HUOR' (did you mean 'ONE_HOUR'?)" },
		{ "local n = tonubmer('1')", "undefined global 'tonubmer' (did you mean 'tonumber'?)" },
		{ "local n = load('return Ture')()", "undefined global 'Ture' (did you mean 'true'?)" },
		{ "local n = _G.Flase", "undefined global 'Flase' (did you mean 'false'?)" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char source[1024];
		snprintf(source, sizeof source, "%s%s", HEAD, cases[i].source);
		assert_has(load_error(source), cases[i].error);
	}
	assert_has(load_error("fabra.entity { name = 'E', id = 'e' }"),
		   "did you mean 'local fabra = require \"fabra\"'?");
}

/* What the file sets is there from then on; afterwards, a function may ask for a name that nobody has set. */
static void globals_of_the_file_are_read(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	fixture_start(&f,
		      HEAD "hour, empty = '1h', false\nrawset(_G, 'raw', 1)\nassert(rawget(_G, 'nobody') == nil)\n"
			   "assert(hour == '1h' and empty == false and raw == 1)\n"
			   "fabra.feature { name = 'f', entity = User, ttl = hour,\n"
			   "compute = function() return tostring(nobody) .. tostring(later) .. hour end }\nlater = 2\n",
		      NULL);
	assert_int_equal(f.d->features[0].ttl_ms, 3600000);
	struct script_outcome out;
	struct script_call *call = script_begin(f.s, SCRIPT_COMPUTE, 0, STR("u"), (struct str){ 0 }, (struct str){ 0 },
						&fixture_host, &f);
	assert_int_equal(fixture_go(&f, call, &out), SCRIPT_DONE);
	assert_str(out.value_json, "\"nil21h\"");
	script_end(call);
	fixture_stop(&f);
}

/* NULL: the file loads. The text lives until the next call. */
static const char *unsafe_load_error(const char *source)
{
	static char text[500];
	struct buf why = { 0 };
	char path[] = "/tmp/fabra-unsafe-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0 && write(fd, source, strlen(source)) == (ssize_t)strlen(source));
	close(fd);
	struct definitions *d = definitions_load(path, true, &why);
	unlink(path);
	snprintf(text, sizeof text, "%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	definitions_free(d);
	return d ? NULL : text;
}

/* A module that asks which Lua it runs in is no mistake of the file. */
static void undefined_globals_are_mistakes_with_unsafe_lua_too(void **state)
{
	(void)state;
	assert_has(unsafe_load_error(HEAD "fabra.feature { name = 'f', entity = User, default = True }"),
		   ":3: undefined global 'True' (did you mean 'true'?)");
	assert_null(unsafe_load_error(
	    HEAD "package.preload.other = load('unpack = unpack or table.unpack return { jit = jit }', '=other')\n"
		 "assert(require('other').jit == nil and unpack)\n"
		 "fabra.feature { name = 'f', entity = User }"));
}

static void unsafe_lua_has_everything(void **state)
{
	(void)state;
	struct buf why = { 0 };
	char path[] = "/tmp/fabra-unsafe-XXXXXX";
	int fd = mkstemp(path);
	static const char source[] =
	    "local fabra = require 'fabra' assert(io.open and debug.traceback and coroutine.wrap and "
	    "os.getenv and dofile and package.loadlib)\n"
	    "fabra.entity { name = 'E', id = 'e' } fabra.feature { name = 'f', entity = 'E' }\n";
	assert_int_equal(write(fd, source, sizeof source - 1), sizeof source - 1);
	close(fd);
	struct definitions *d = definitions_load(path, true, &why);
	struct script *s = d ? script_create(d, NULL, &why) : NULL;
	unlink(path);
	if (s == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	script_destroy(s);
	definitions_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_is_read_in_full),
		cmocka_unit_test(declarative_contexts_become_plans),
		cmocka_unit_test(each_mistake_is_named),
		cmocka_unit_test(mistakes_in_contexts_are_named),
		cmocka_unit_test(values_know_what_made_them),
		cmocka_unit_test(braces_are_cut_once),
		cmocka_unit_test(declarations_in_a_pairs_loop_keep_their_functions),
		cmocka_unit_test(names_can_be_declared_later),
		cmocka_unit_test(tables_follow_those_that_their_sql_names),
		cmocka_unit_test(all_mistakes_are_reported_in_order),
		cmocka_unit_test(a_broken_file_is_named),
		cmocka_unit_test(near_names_are_suggested),
		cmocka_unit_test(functions_can_be_declared_by_helpers),
		cmocka_unit_test(a_file_that_changes_its_mind_is_refused),
		cmocka_unit_test(undefined_globals_are_mistakes_while_the_file_loads),
		cmocka_unit_test(globals_of_the_file_are_read),
		cmocka_unit_test(undefined_globals_are_mistakes_with_unsafe_lua_too),
		cmocka_unit_test(unsafe_lua_has_everything),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
