/* The cache of assembled contexts: one actor per I/O loop, for contexts with cache_ttl only. It keeps material, never
 * records: a cached answer makes a record of its own. Entries are bounded in number and bytes; the oldest make room.
 * Writes do not invalidate it: before it answers it compares what was read with the online table (ADR 17), so that a write that
 * was acknowledged on another loop counts here too. */
#pragma once
#include "actors/material.h"

enum { CLASS_CONTEXT_CACHE = 70 };
enum context_cache_msg {
	CONTEXT_CACHE_GET = MSG_KIND(CLASS_CONTEXT_CACHE, 1), /* ask: struct context_cache_get */
	CONTEXT_CACHE_GOT = MSG_KIND(CLASS_CONTEXT_CACHE,
				     2), /* reply: struct context_cache_item; material NULL = miss */
	CONTEXT_CACHE_PUT = MSG_KIND(CLASS_CONTEXT_CACHE, 3), /* tell: struct context_cache_item */
};
struct context_cache_get {
	struct msg head; /* dispose frees key */
	char *key;       /* moves; see context_cache_key */
};
struct context_cache_item {
	struct msg head; /* dispose lets go of both */
	char *key;
	struct material *material; /* shares; this loop only */
	int64_t expires_us;
};
/* The context's name and the arguments as canonical JSON; heap. Of items without the names that identify a call (call, session
 * and turn ids), unless they are declared parameters, which the text may show. A build function may use all of them. */
char *context_cache_key(const struct def_context *context, yyjson_val *args);

extern const struct actor_class context_cache_class;                   /* init argument: struct node_loop */
struct msg *context_cache_get_new(struct loop *loop, const char *key); /* copies */
struct msg *context_cache_put_new(struct loop *loop, const char *key, struct material *m,
				  int64_t expires_us); /* copies, refs */
