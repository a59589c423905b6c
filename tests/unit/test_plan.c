/* Declarative contexts: what they ask for and the items that come of the answers. */
#include "actors/plan.h"
#include "tests/unit/script_fixture.h"

static struct definitions *definitions;

struct planned {
	struct arena arena;
	yyjson_doc *args;
	struct plan *plan;
	struct material *material;
	struct buf why;
};

static void plan_it(struct planned *p, const char *context, const char *args_json)
{
	struct json_error error;
	*p = (struct planned){ .args = json_parse(str_from(args_json), NULL, &error) };
	uint32_t index = definitions_context(definitions, str_from(context));
	assert_true(p->args && index != DEF_NONE);
	p->plan = plan_new(definitions, &definitions->contexts[index], yyjson_doc_get_root(p->args), &p->arena);
	p->material = material_new(index, 1);
	assert_non_null(p->material);
}

/* json NULL: the feature is missing. */
static void answer_group(struct plan_group *g, const char *const *json)
{
	g->answer = feature_request_new(g->entity, &g->entity_id, 1, g->features, g->features_count);
	for (uint32_t i = 0; i < g->features_count; i++) {
		struct feature_result *r = &g->answer->results[i];
		r->state = json[i] ? FEATURE_FOUND : FEATURE_MISSING;
		r->value = json[i] ? value_create(str_from(json[i])) : NULL;
		r->as_of_us = 10 + i;
	}
}

static void plan_end(struct planned *p)
{
	plan_finish(p->plan);
	material_unref(p->material);
	yyjson_doc_free(p->args);
	arena_finish(&p->arena);
	buf_finish(&p->why);
}

static void assert_text(struct str got, const char *expected)
{
	if (!str_eq(got, str_from(expected)))
		fail_msg("'%.*s' instead of '%s'", STR_ARG(got), expected);
}

static void assert_content(const struct planned *p, uint32_t item, const char *expected)
{
	assert_true(item < p->material->items_count);
	assert_text(p->material->items[item].content, expected);
}

static void test_templates(void **state)
{
	(void)state;
	struct planned p;
	plan_it(&p, "texts", "{\"s\":\"{i}\",\"i\":-7,\"n\":1.0,\"b\":true,\"any\":{\"k\":[1,null]}}");
	assert_int_equal(p.plan->groups_count + p.plan->calls_count, 0);
	assert_true(plan_fill(p.plan, definitions, p.material, &p.why) == PLAN_FILLED);
	assert_content(&p, 0, "{braces} stay");
	assert_content(&p, 1, "s={i}"); /* what a caller sends is never expanded */
	assert_content(&p, 2, "i=-7 n=1.0 b=true");
	assert_content(&p, 3, "any={\"k\":[1,null]}");
	assert_true(p.material->items[0].required && p.material->items[0].priority == 9);
	assert_null(p.material->items[0].source_id.p);
	assert_text(p.material->items[1].source_id, "mine");
	plan_end(&p);
	plan_it(&p, "texts", "{\"s\":\"\"}"); /* defaults; nothing for what has none */
	assert_true(plan_fill(p.plan, definitions, p.material, &p.why) == PLAN_FILLED);
	assert_content(&p, 1, "s=");
	assert_content(&p, 2, "i=5 n= b=false");
	plan_end(&p);
}

static void test_features(void **state)
{
	(void)state;
	struct planned p;
	plan_it(&p, "reads", "{\"user\":\"u1\",\"shop\":\"u1\"}");
	/* All features of one entity and id are one group, also when several items name them. */
	assert_int_equal(p.plan->groups_count, 3);
	assert_int_equal(p.plan->groups[0].features_count, 2);
	assert_text(p.plan->groups[0].entity_id, "u1");
	assert_true(p.plan->groups[0].entity != p.plan->groups[1].entity); /* the same id of another kind */
	assert_text(p.plan->groups[2].entity_id, "x-u1");
	answer_group(&p.plan->groups[0], (const char *const[]){ "\"a \\\"quoted\\\" text\"", NULL });
	answer_group(&p.plan->groups[1], (const char *const[]){ "[1,2.5]" });
	answer_group(&p.plan->groups[2], (const char *const[]){ "null" });
	assert_true(plan_fill(p.plan, definitions, p.material, &p.why) == PLAN_FILLED);
	assert_content(&p, 0, "tier: a \"quoted\" text, again a \"quoted\" text");
	assert_content(&p, 1, "size: [1,2.5]");
	assert_content(&p, 2, "other: ");
	/* What needs a missing one is left out, in its place. */
	assert_int_equal(p.material->absent_count, 1);
	assert_text(p.material->absent[0].source_id, "city");
	assert_int_equal(p.material->absent[0].position, 1);
	assert_text(p.material->items[0].source_id, "tier");
	/* Each read is recorded where it stands, also a missing one. */
	assert_int_equal(p.material->reads->features_count, 5);
	assert_text(p.material->reads->features[1].value_json, "\"a \\\"quoted\\\" text\"");
	assert_null(p.material->reads->features[2].value_json.p);
	assert_int_equal(p.material->reads->features[2].state, FEATURE_MISSING);
	assert_text(p.material->reads->features[3].value_json, "[1,2.5]");
	assert_text(p.material->reads->features[4].entity_id, "x-u1");
	plan_end(&p);
}

static void test_no_id(void **state)
{
	(void)state;
	struct planned p;
	plan_it(&p, "reads", "{\"user\":\"\",\"shop\":\"s\"}");
	assert_int_equal(p.plan->groups_count, 2); /* nobody is asked about nobody */
	answer_group(&p.plan->groups[0], (const char *const[]){ "1" });
	answer_group(&p.plan->groups[1], (const char *const[]){ "2" });
	assert_true(plan_fill(p.plan, definitions, p.material, &p.why) == PLAN_FILLED);
	assert_text(p.material->absent[0].source_id, "tier");
	assert_int_equal(p.material->reads->features[0].state, FEATURE_MISSING);
	assert_text(p.material->reads->features[0].entity_id, "");
	plan_end(&p);
}

static void test_retriever_args(void **state)
{
	(void)state;
	struct planned p;
	plan_it(&p, "retrieves", "{\"q\":\"a\\\"b\",\"k\":3,\"list\":[1,{}]}");
	assert_int_equal(p.plan->calls_count, 2);
	assert_text(
	    p.plan->calls[0].args_json,
	    "{\"const\":{\"x\":[true]},\"k\":3,\"list\":[1,{}],\"opt\":7,\"query\":\"about a\\\"b and 3\",\"t\":\"a\\\"b\"}");
	assert_text(p.plan->calls[1].args_json, "{}");
	plan_end(&p);
	plan_it(&p, "retrieves",
		"{\"q\":\"x\",\"k\":1.0,\"opt\":null}"); /* what is not given and has no default is left out */
	assert_text(p.plan->calls[0].args_json,
		    "{\"const\":{\"x\":[true]},\"k\":1.0,\"opt\":null,\"query\":\"about x and 1.0\",\"t\":\"x\"}");
	const char *why;
	p.plan->calls[0].answer = retrieved_new(0, STR("{}"),
						STR("[{\"content\":\"one\",\"chunk_id\":\"c1\"},\"two\"]"), 0, 5, 0,
						&why);
	p.plan->calls[1].answer = retrieved_new(0, STR("{}"), STR("[]"), 0, 5, 0, &why);
	assert_true(plan_fill(p.plan, definitions, p.material, &p.why) == PLAN_FILLED);
	assert_int_equal(p.material->items_count, 3);
	assert_content(&p, 0, "before");
	assert_content(&p, 1, "one");
	assert_text(p.material->items[1].source_id, "c1");
	assert_content(&p, 2, "two");
	assert_int_equal(p.material->items[2].last_updated_us, 5);
	assert_int_equal(p.material->items[2].priority, 4);
	assert_int_equal(p.material->calls_count, 2);
	plan_end(&p);
}

static void test_bounds(void **state)
{
	(void)state;
	struct planned p;
	plan_it(&p, "wide", "{\"user\":\"u\"}");
	assert_non_null(p.plan);
	assert_int_equal(p.plan->groups[0].features_count, 100);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(p.plan->groups[0].features[i], definitions_feature(definitions, STR("f1")) + i);
	plan_end(&p);
	/* More features of one id than one ask has room for. */
	plan_it(&p, "wider", "{\"user\":\"u\"}");
	assert_non_null(p.plan);
	assert_int_equal(p.plan->groups_count, 3);
	assert_int_equal(p.plan->groups[0].features_count + p.plan->groups[1].features_count, 256);
	const char *json[128];
	for (size_t i = 0; i < 128; i++)
		json[i] = "7";
	for (uint32_t g = 0; g < 3; g++)
		answer_group(&p.plan->groups[g], json);
	assert_int_equal(plan_fill(p.plan, definitions, p.material, &p.why), PLAN_FILLED);
	assert_int_equal(p.material->items[0].content.n, 300);
	plan_end(&p);
}

static void write_wide(struct buf *source)
{
	for (int i = 1; i <= 300; i++)
		buf_printf(source, "fabra.feature { name = 'f%d', entity = User }\n", i);
	buf_append_lit(
	    source,
	    "local function text(n) local t = '' for i = 1, n do t = t .. '{feature:f' .. i .. '}' end return t end\n"
	    "fabra.context { name = 'wide', params = { user = 'string' },"
	    " items = { { text = text(100), entity_id = '{user}' } } }\n"
	    "fabra.context { name = 'wider', params = { user = 'string' },"
	    " items = { { text = text(300), entity_id = '{user}' } } }\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_templates), cmocka_unit_test(test_features),
					    cmocka_unit_test(test_no_id), cmocka_unit_test(test_retriever_args),
					    cmocka_unit_test(test_bounds) };
	struct fixture f = { 0 };
	struct buf source = { 0 };
	buf_append_lit(
	    &source, FIXTURE_HEAD
	    "local Shop = fabra.entity { name = 'Shop', id = 'shop_id' }\n"
	    "fabra.feature { name = 'tier', entity = User }\nfabra.feature { name = 'city', entity = User }\n"
	    "fabra.feature { name = 'size', entity = Shop }\n"
	    "fabra.retriever { name = 'docs', run = function(args) return {} end }\n"
	    "fabra.context { name = 'texts', params = { s = 'string', i = { type = 'integer', default = 5 },\n"
	    "    n = { type = 'number', required = false }, b = { type = 'boolean', default = false },\n"
	    "    any = { type = 'any', required = false } }, items = {\n"
	    "  { text = '{{braces}} stay', required = true, priority = 9 }, { text = 's={s}', source_id = 'mine' },\n"
	    "  { text = 'i={i} n={n} b={b}' }, { text = 'any={any}' } } }\n"
	    "fabra.context { name = 'reads', params = { user = 'string', shop = 'string' }, items = {\n"
	    "  { text = 'tier: {feature:tier}, again {feature:tier}', entity_id = '{user}' },\n"
	    "  { text = 'city: {feature:city}', entity_id = '{user}' }, { text = 'size: {feature:size}', entity_id = '{shop}' },\n"
	    "  { text = 'other: {feature:tier}', entity_id = 'x-{user}' } } }\n"
	    "fabra.context { name = 'retrieves', params = { q = 'string', k = 'number', opt = { type = 'integer', default = 7 },\n"
	    "    list = { type = 'any', required = false } }, items = { { text = 'before' },\n"
	    "  { retriever = 'docs', priority = 4, args = { query = 'about {q} and {k}', k = '{k}', opt = '{opt}', t = '{q}',\n"
	    "    list = '{list}', const = { x = { true } } } }, { retriever = 'docs' } } }\n");
	write_wide(&source);
	buf_append_char(&source, '\0');
	fixture_start(&f, source.p, NULL);
	definitions = f.d;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_stop(&f);
	buf_finish(&source);
	return failed;
}
