/* Method, path and query from anywhere: the walk ends, its parameters lie in the path or the arena, and what it finds is
 * the route whose template fits, checked segment by segment. The first line is the method, the second the target. */
#include "http/router.h"
#include "http/uri.h"
#include "runtime/check.h"

static const char *const templates[] = { "/",
					 "/health",
					 "/v1/features/{name}",
					 "/v1/features/batch",
					 "/v1/context/{id}",
					 "/v1/context/{id}/lineage",
					 "/v1/context/diff/{a}/{b}",
					 "/v1/{x}/diff/{y}",
					 "/{a}/{b}/{c}/{d}/{e}" };

static struct router *router_of_templates(void)
{
	struct router *r = router_create();
	struct buf why = { 0 };
	for (unsigned i = 0; i < ARRAY_LEN(templates); i++)
		CHECK(router_add(r, i % 3 ? "GET" : "POST", templates[i], i, &why));
	return r;
}

static struct str next_segment(struct str *rest)
{
	const char *slash = memchr(rest->p, '/', rest->n);
	struct str segment = str_of(rest->p, slash ? (size_t)(slash - rest->p) : rest->n);
	*rest = str_skip(*rest, segment.n + 1);
	return segment;
}

static void check_fit(const char *template, struct str path, const struct router_match *m, struct arena *arena)
{
	struct str t = str_skip(str_from(template), 1), p = str_skip(path, 1);
	unsigned param = 0;
	while (t.n > 0 || p.n > 0) {
		struct str want = next_segment(&t), got = uri_decode(arena, next_segment(&p), false);
		CHECK(want.n > 0 && got.n > 0);
		if (want.p[0] == '{')
			CHECK(param < m->params_count && str_eq(m->params[param++], got));
		else
			CHECK(str_eq(want, got));
	}
	CHECK(param == m->params_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct router *router;
	if (router == NULL)
		router = router_of_templates();
	struct str text = { (const char *)data, size };
	const char *newline = memchr(text.p ? text.p : "", '\n', size);
	struct str method = str_of(text.p, newline ? (size_t)(newline - text.p) : size);
	struct str target = str_skip(text, method.n + 1);
	const char *mark = target.n > 0 ? memchr(target.p, '?', target.n) : NULL;
	struct str path = str_of(target.p, mark ? (size_t)(mark - target.p) : target.n), value;
	struct arena arena = { 0 };
	struct router_match match;
	router_find(router, method, path, &arena, &match);
	CHECK(match.path_bytes <= path.n);
	if (match.result == ROUTER_FOUND)
		check_fit(templates[match.route], path, &match, &arena);
	struct str query = str_skip(target, path.n + 1);
	if (uri_query(&arena, query, "id", &value))
		CHECK(value.n <= query.n);
	uri_query_is_utf8(&arena, query);
	arena_finish(&arena);
	return 0;
}
