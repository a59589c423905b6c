#include "http/router.h"
#include "http/uri.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct table_row {
	const char *method, *path;
};

/* The routes of api.md that can be confused with one another. */
static const struct table_row table[] = {
	{ "GET", "/health" },
	{ "GET", "/v1/features/{name}" },
	{ "POST", "/v1/features" },
	{ "POST", "/v1/features/batch" },
	{ "PUT", "/v1/features/{entity}/{entity_id}" },
	{ "GET", "/v1/context/{id}" },
	{ "POST", "/v1/context/{name}" },
	{ "GET", "/v1/context/{id}/lineage" },
	{ "GET", "/v1/context/diff/{a}/{b}" },
	{ "GET", "/" },
	{ "DELETE", "/v1/cache/{entity}/{entity_id}" },
};

struct fixture {
	struct router *router;
	struct arena arena;
};

static int set_up(void **state)
{
	static struct fixture f;
	struct buf why = { 0 };
	f = (struct fixture){ .router = router_create() };
	for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++)
		assert_true(router_add(f.router, table[i].method, table[i].path, i, &why));
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	router_destroy(f->router);
	arena_finish(&f->arena);
	return 0;
}

static struct router_match find(struct fixture *f, const char *method, const char *path)
{
	struct router_match m;
	router_find(f->router, str_from(method), str_from(path), &f->arena, &m);
	return m;
}

static void expect(struct fixture *f, const char *method, const char *path, unsigned route, const char *first_param)
{
	struct router_match m = find(f, method, path);
	assert_int_equal(m.result, ROUTER_FOUND);
	assert_int_equal(m.route, route);
	if (first_param == NULL)
		assert_int_equal(m.params_count, 0);
	else
		assert_true(str_eq(m.params[0], str_from(first_param)));
}

static void expect_allow(struct fixture *f, const char *method, const char *path, const char *allow)
{
	struct router_match m = find(f, method, path);
	struct buf text = { 0 };
	assert_int_equal(m.result, ROUTER_WRONG_METHOD);
	router_allow_text(m.methods, &text);
	assert_true(str_eq(buf_str(&text), str_from(allow)));
	buf_finish(&text);
}

static void test_a_name_beats_a_parameter(void **state)
{
	struct fixture *f = *state;
	expect(f, "GET", "/health", 0, NULL);
	expect(f, "GET", "/", 9, NULL);
	expect(f, "GET", "/v1/features/user_tier", 1, "user_tier");
	expect(f, "POST", "/v1/features/batch", 3, NULL);
	expect(f, "GET", "/v1/context/diff/x/y", 8, "x");
}

static void test_the_walk_goes_back_to_the_parameter(void **state)
{
	struct fixture *f = *state;
	expect(f, "GET", "/v1/features/batch", 1, "batch");      /* the named branch has POST only */
	expect(f, "GET", "/v1/context/diff/lineage", 7, "diff"); /* the named branch is a segment longer */
	expect(f, "GET", "/v1/context/diff", 5, "diff");
	expect(f, "PUT", "/v1/features/batch/7", 4, "batch");
}

static void test_parameters_are_decoded_segments(void **state)
{
	struct fixture *f = *state;
	struct router_match m = find(f, "PUT", "/v1/features/u%20s/a%2Fb%zz%");
	assert_int_equal(m.result, ROUTER_FOUND);
	assert_int_equal(m.params_count, 2);
	assert_true(str_eq(m.params[0], STR("u s")));
	assert_true(str_eq(m.params[1], STR("a/b%zz%")));
	expect(f, "GET", "/v1/%66eatures/x", 1, "x");
	expect(f, "GET", "/v1/features/a+b", 1, "a+b");
}

static void test_what_is_not_there(void **state)
{
	struct fixture *f = *state;
	static const char *const paths[] = { "",
					     "health",
					     "/nothing",
					     "/v1",
					     "//",
					     "/v1//features",
					     "/v1/features//",
					     "/health/x",
					     "*",
					     "/v1/context//lineage",
					     "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a" };
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
		if (find(f, "GET", paths[i]).result == ROUTER_FOUND)
			fail_msg("%s was found", paths[i]);
	assert_int_equal(find(f, "GET", "/nothing").result, ROUTER_NOT_FOUND);
}

static void test_methods(void **state)
{
	struct fixture *f = *state;
	expect_allow(f, "POST", "/health", "GET, HEAD");
	expect_allow(f, "DELETE", "/v1/context/x", "GET, HEAD, POST");
	expect_allow(f, "BREW", "/health", "GET, HEAD");
	expect_allow(f, "PUT", "/v1/features/batch", "GET, HEAD, POST"); /* of both branches */
	expect(f, "HEAD", "/health", 0, NULL);
	assert_int_equal(find(f, "BREW", "/nothing").result, ROUTER_NOT_FOUND);
}

static void test_trailing_slashes(void **state)
{
	struct fixture *f = *state;
	struct router_match m = find(f, "GET", "/v1/features/x/");
	assert_int_equal(m.result, ROUTER_REDIRECT);
	assert_int_equal(m.path_bytes, strlen("/v1/features/x"));
	assert_int_equal(find(f, "GET", "/health///").path_bytes, strlen("/health"));
	assert_int_equal(find(f, "POST", "/health/").result, ROUTER_REDIRECT); /* then 405 */
	assert_int_equal(find(f, "GET", "/nothing/").result, ROUTER_NOT_FOUND);
	assert_int_equal(find(f, "GET", "//").result, ROUTER_NOT_FOUND);
}

static void test_mistakes_in_the_table(void **state)
{
	struct fixture *f = *state;
	static const struct table_row wrong[] = { { "BREW", "/x" },
						  { "GET", "x" },
						  { "GET", "/a//b" },
						  { "GET", "/a/" },
						  { "GET", "/{a" },
						  { "GET", "/{}" },
						  { "GET", "/health" },
						  { "GET", "/v1/context/{other}" },
						  { "GET", "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}" } };
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct buf why = { 0 };
		if (router_add(f->router, wrong[i].method, wrong[i].path, 99, &why))
			fail_msg("%s %s was taken", wrong[i].method, wrong[i].path);
		assert_non_null(memmem(why.p, why.n, wrong[i].path, strlen(wrong[i].path)));
		buf_finish(&why);
	}
}

/* Many routes: the table grows, and every one is still found with its own number. */
static void test_a_thousand_routes(void **state)
{
	static char paths[1000][32];
	struct fixture *f = *state;
	struct buf why = { 0 };
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(paths[i], sizeof paths[i], "/r%u/{a}/s%u", i % 40, i);
		assert_true(router_add(f->router, "GET", paths[i], 100 + i, &why));
	}
	for (unsigned i = 0; i < 1000; i++) {
		char path[40];
		snprintf(path, sizeof path, "/r%u/v%u/s%u", i % 40, i, i);
		struct router_match m = find(f, "GET", path);
		assert_int_equal(m.result, ROUTER_FOUND);
		assert_int_equal(m.route, 100 + i);
	}
}

static void test_query(void **state)
{
	struct fixture *f = *state;
	struct str v, q = STR("a=1&entity_id=u%2B1+x&b&a=2&=e&c=");
	assert_true(uri_query(&f->arena, q, "a", &v) && str_eq(v, STR("1")));
	assert_true(uri_query(&f->arena, q, "entity_id", &v) && str_eq(v, STR("u+1 x")));
	assert_true(uri_query(&f->arena, q, "b", &v) && v.n == 0);
	assert_true(uri_query(&f->arena, q, "c", &v) && v.n == 0);
	assert_false(uri_query(&f->arena, q, "entity", &v));
	assert_false(uri_query(&f->arena, (struct str){ 0 }, "a", &v));
	assert_true(uri_query(&f->arena, STR("%61=1"), "a", &v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_name_beats_a_parameter, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_walk_goes_back_to_the_parameter, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_parameters_are_decoded_segments, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_not_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_methods, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_trailing_slashes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mistakes_in_the_table, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_thousand_routes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_query, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
