/* Finds the route of a request: a trie of path segments, built once and then shared by all loops without
 * locks.
 *
 * A node has named children and at most one parameter child; a name beats a parameter, and when the named
 * branch does not lead to a route for this method the walk goes back and takes the parameter. All edges are
 * in one hash table, so a request costs one probe per segment whatever the number of routes. */
#pragma once
#include "runtime/arena.h"
#include "runtime/buf.h"

enum { ROUTER_SEGMENTS_MAX = 16, ROUTER_PARAMS_MAX = 8 };

struct router;

enum router_result {
	ROUTER_FOUND,
	ROUTER_NOT_FOUND,
	ROUTER_WRONG_METHOD, /* methods says which would do */
	ROUTER_REDIRECT,     /* the path without its trailing slashes has a route; path_bytes says where they start */
};

struct router_match {
	enum router_result result;
	unsigned route;   /* the number given to router_add */
	unsigned methods; /* bit per method; router_allow_text writes it */
	unsigned params_count;
	size_t path_bytes;
	struct str params[ROUTER_PARAMS_MAX]; /* percent-decoded; borrow the path or the arena */
};

struct router *router_create(void);
void router_destroy(struct router *r);

/* path is a template such as "/v1/features/{name}" and is borrowed for the router's life. false: *ret_why
 * names the mistake (unknown method, empty segment, the same method and shape twice). */
bool router_add(struct router *r, const char *method, const char *path, unsigned route, struct buf *ret_why);

/* path: raw, without the query. Decoded segments come from the arena, which is not touched when nothing is
 * encoded. HEAD finds the GET route when there is none of its own. Any thread. */
void router_find(const struct router *r, struct str method, struct str path, struct arena *arena,
		 struct router_match *ret_match);

/* "GET, HEAD, POST": the value of the Allow header. */
void router_allow_text(unsigned methods, struct buf *out);
