#include "http/router.h"
#include "http/uri.h"
#include "runtime/check.h"
#include "runtime/hash.h"

enum method { M_GET, M_HEAD, M_POST, M_PUT, M_DELETE, M_PATCH, M_OPTIONS, METHODS_MAX };
enum { NODE_ROOT = 0, NODE_NONE = UINT32_MAX, ROUTE_NONE = UINT16_MAX };

static const struct str method_names[METHODS_MAX] = {
	[M_GET] = { "GET", 3 },         [M_HEAD] = { "HEAD", 4 },     [M_POST] = { "POST", 4 },
	[M_PUT] = { "PUT", 3 },         [M_DELETE] = { "DELETE", 6 }, [M_PATCH] = { "PATCH", 5 },
	[M_OPTIONS] = { "OPTIONS", 7 },
};

struct node {
	uint32_t param_child; /* NODE_NONE: there is none */
	uint16_t methods;     /* bit per method that has a route here; HEAD's comes with GET's */
	uint16_t route[METHODS_MAX];
};

struct edge {
	uint32_t parent, child; /* child NODE_NONE: a free place */
	struct str name;        /* borrows the template */
};

struct router {
	struct node *nodes; /* owned */
	uint32_t nodes_len, nodes_cap;
	struct edge *edges;            /* owned; open addressing, at most half full */
	uint32_t edges_len, edges_cap; /* the capacity is a power of two */
};

struct segments {
	struct str at[ROUTER_SEGMENTS_MAX];
	unsigned len;
};

/* ---- building ---- */
static uint32_t node_new(struct router *r)
{
	if (r->nodes_len == r->nodes_cap) {
		r->nodes_cap = r->nodes_cap ? r->nodes_cap * 2 : 32;
		r->nodes = realloc(r->nodes, r->nodes_cap * sizeof *r->nodes);
		CHECK(r->nodes != NULL);
	}
	struct node *n = &r->nodes[r->nodes_len];
	n->param_child = NODE_NONE;
	n->methods = 0;
	for (int m = 0; m < METHODS_MAX; m++)
		n->route[m] = ROUTE_NONE;
	return r->nodes_len++;
}

/* The first and the last bytes and the length are hash enough, and unkeyed on purpose: only templates fill the table. */
static uint32_t edge_hash(uint32_t parent, struct str name)
{
	uint32_t first = 0, last = 0;
	if (name.n >= 4) {
		memcpy(&first, name.p, 4);
		memcpy(&last, name.p + name.n - 4, 4);
	} else if (name.n > 0) {
		first = (unsigned char)name.p[0] | (uint32_t)(unsigned char)name.p[name.n / 2] << 8 |
			(uint32_t)(unsigned char)name.p[name.n - 1] << 16;
	}
	uint64_t words = (uint64_t)last << 32 | first;
	return (uint32_t)hash_mix(words ^ (uint64_t)parent << 40 ^ (uint64_t)name.n << 24);
}

static struct edge *edge_place(const struct router *r, uint32_t parent, struct str name)
{
	uint32_t mask = r->edges_cap - 1, at = edge_hash(parent, name) & mask;
	for (;; at = (at + 1) & mask) {
		struct edge *e = &r->edges[at];
		if (e->child == NODE_NONE || (e->parent == parent && str_eq(e->name, name)))
			return e;
	}
}

static void edges_grow(struct router *r)
{
	struct edge *old = r->edges;
	uint32_t old_cap = r->edges_cap;
	r->edges_cap = old_cap ? old_cap * 2 : 64;
	r->edges = malloc(r->edges_cap * sizeof *r->edges);
	CHECK(r->edges != NULL);
	for (uint32_t i = 0; i < r->edges_cap; i++)
		r->edges[i].child = NODE_NONE;
	for (uint32_t i = 0; i < old_cap; i++)
		if (old[i].child != NODE_NONE)
			*edge_place(r, old[i].parent, old[i].name) = old[i];
	free(old);
}

static uint32_t child_of(struct router *r, uint32_t parent, struct str segment)
{
	if (segment.p[0] == '{') {
		if (r->nodes[parent].param_child == NODE_NONE) {
			uint32_t child = node_new(r);
			r->nodes[parent].param_child = child;
		}
		return r->nodes[parent].param_child;
	}
	struct edge *e = edge_place(r, parent, segment);
	if (e->child == NODE_NONE) {
		*e = (struct edge){ parent, node_new(r), segment };
		if (++r->edges_len * 2 > r->edges_cap) {
			uint32_t child = e->child;
			edges_grow(r);
			return child;
		}
	}
	return e->child;
}

struct router *router_create(void)
{
	struct router *r = calloc(1, sizeof *r);
	CHECK(r != NULL);
	edges_grow(r);
	node_new(r);
	return r;
}

void router_destroy(struct router *r)
{
	if (r == NULL)
		return;
	free(r->nodes);
	free(r->edges);
	free(r);
}

/* ---- paths and methods ---- */
static enum method method_parse(struct str name)
{
	for (int m = 0; m < METHODS_MAX; m++)
		if (str_eq(name, method_names[m]))
			return (enum method)m;
	return METHODS_MAX;
}

/* "/" has no segment. false: not absolute, or more segments than any template can have. */
static bool split(struct str path, struct segments *ret_segments)
{
	ret_segments->len = 0;
	if (path.n == 0 || path.p[0] != '/')
		return false;
	if (path.n == 1)
		return true;
	const char *p = path.p + 1, *end = path.p + path.n;
	for (;;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		const char *stop = slash ? slash : end;
		if (ret_segments->len == ROUTER_SEGMENTS_MAX)
			return false;
		ret_segments->at[ret_segments->len++] = str_of(p, (size_t)(stop - p));
		if (slash == NULL)
			return true;
		p = slash + 1;
	}
}

static bool add_fails(struct buf *ret_why, const char *method, const char *path, const char *what)
{
	buf_printf(ret_why, "route %s %s: %s", method, path, what);
	return false;
}

bool router_add(struct router *r, const char *method, const char *path, unsigned route, struct buf *ret_why)
{
	enum method m = method_parse(str_from(method));
	struct segments segments;
	if (m == METHODS_MAX)
		return add_fails(ret_why, method, path, "unknown method (GET HEAD POST PUT DELETE PATCH OPTIONS)");
	if (!split(str_from(path), &segments))
		return add_fails(ret_why, method, path, "the path must start with / and have at most 16 segments");
	CHECK(route < ROUTE_NONE);
	uint32_t at = NODE_ROOT;
	unsigned params = 0;
	for (unsigned i = 0; i < segments.len; i++) {
		struct str s = segments.at[i];
		if (s.n == 0)
			return add_fails(ret_why, method, path, "a segment is empty");
		if (s.p[0] == '{' && (s.n < 3 || s.p[s.n - 1] != '}'))
			return add_fails(ret_why, method, path, "a parameter is one whole segment: {name}");
		params += s.p[0] == '{';
		if (params > ROUTER_PARAMS_MAX)
			return add_fails(ret_why, method, path, "more than 8 parameters");
		at = child_of(r, at, s);
	}
	struct node *n = &r->nodes[at];
	if (n->route[m] != ROUTE_NONE)
		return add_fails(ret_why, method, path, "another route has this method and shape");
	n->route[m] = (uint16_t)route;
	n->methods |= (uint16_t)(1u << m);
	if (m == M_GET)
		n->methods |= 1u << M_HEAD;
	return true;
}

/* ---- finding ---- */
static unsigned route_of(const struct node *n, enum method m)
{
	if (m == METHODS_MAX)
		return ROUTE_NONE;
	return m == M_HEAD && n->route[M_HEAD] == ROUTE_NONE ? n->route[M_GET] : n->route[m];
}

/* Tries names first and goes back to a parameter where one was passed by. Visits each node of the trie at
 * most once, so the templates bound the work. took_param says how each segment was matched. */
static void walk(const struct router *r, const struct segments *path, enum method m, bool *took_param,
		 struct router_match *match)
{
	uint32_t nodes[ROUTER_SEGMENTS_MAX + 1] = { NODE_ROOT };
	unsigned level = 0;
	bool param_next = false;
	match->methods = 0;
	for (;;) {
		const struct node *n = &r->nodes[nodes[level]];
		uint32_t next = NODE_NONE;
		if (level == path->len) {
			match->route = route_of(n, m);
			match->methods |= n->methods;
			if (match->route != ROUTE_NONE)
				return;
		} else if (path->at[level].n > 0) {
			if (!param_next)
				next = edge_place(r, nodes[level], path->at[level])->child;
			took_param[level] = next == NODE_NONE;
			if (next == NODE_NONE)
				next = n->param_child;
		} else {
			took_param[level] = true;
		}
		param_next = false;
		if (next != NODE_NONE) {
			nodes[++level] = next;
			continue;
		}
		do {
			if (level == 0)
				return;
			level--;
		} while (took_param[level]);
		param_next = true;
	}
}

static void find_segments(const struct router *r, const struct segments *path, enum method m,
			  struct router_match *match)
{
	bool took_param[ROUTER_SEGMENTS_MAX];
	match->route = ROUTE_NONE;
	match->params_count = 0;
	walk(r, path, m, took_param, match);
	if (match->route == ROUTE_NONE) {
		match->result = match->methods ? ROUTER_WRONG_METHOD : ROUTER_NOT_FOUND;
		return;
	}
	match->result = ROUTER_FOUND;
	for (unsigned i = 0; i < path->len; i++)
		if (took_param[i])
			match->params[match->params_count++] = path->at[i];
}

void router_find(const struct router *r, struct str method, struct str path, struct arena *arena,
		 struct router_match *ret_match)
{
	struct segments segments;
	ret_match->result = ROUTER_NOT_FOUND;
	ret_match->path_bytes = path.n;
	if (!split(path, &segments))
		return;
	if (memchr(path.p, '%', path.n) != NULL)
		for (unsigned i = 0; i < segments.len; i++)
			segments.at[i] = uri_decode(arena, segments.at[i], false);
	enum method m = method_parse(method);
	find_segments(r, &segments, m, ret_match);
	if (ret_match->result != ROUTER_NOT_FOUND || segments.len < 2 || segments.at[segments.len - 1].n > 0)
		return;
	while (segments.len > 0 && segments.at[segments.len - 1].n == 0)
		segments.len--;
	if (segments.len == 0)
		return;
	while (ret_match->path_bytes > 1 && path.p[ret_match->path_bytes - 1] == '/')
		ret_match->path_bytes--;
	find_segments(r, &segments, m, ret_match);
	if (ret_match->result != ROUTER_NOT_FOUND)
		ret_match->result = ROUTER_REDIRECT;
}

void router_allow_text(unsigned methods, struct buf *out)
{
	const char *comma = "";
	for (int m = 0; m < METHODS_MAX; m++) {
		if (!(methods & 1u << m))
			continue;
		buf_printf(out, "%s%s", comma, method_names[m].p);
		comma = ", ";
	}
}
