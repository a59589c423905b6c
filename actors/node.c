#include "actors/node.h"
#include "actors/context_cache.h"
#include "actors/ingestor.h"
#include "actors/publisher.h"
#include "actors/repairer.h"
#include "actors/resolver.h"
#include "actors/retriever.h"
#include "actors/sweeper.h"
#include "actors/writer.h"
#include "runtime/hash.h"

enum { RESTARTS_MAX = 10, RESTART_WINDOW_MS = 60000 };

struct actor_ref node_resolver(const struct node_loop *nl, uint32_t entity)
{
	return rt_named(nl->loop, NAME_RESOLVER + entity);
}

struct actor_ref node_retriever(const struct node_loop *nl, uint32_t retriever)
{
	return rt_named(nl->loop, NAME_RETRIEVER + retriever);
}

const struct tokens *node_tokens(const struct node *n, struct str model)
{
	return &n->encodings[tokens_encoding_of(model)];
}

struct node_loop *node_owner_of(const struct node *n, struct str entity_id)
{
	return n->loops[hash64(entity_id) % n->loops_count];
}

static bool supervise(struct node_loop *nl, uint32_t name, const struct actor_class *class, void *arg,
		      struct buf *ret_why)
{
	struct actor_ref ref = rt_supervise(nl->loop, name, class, arg, RESTARTS_MAX, RESTART_WINDOW_MS);
	if (ref_is_none(ref))
		buf_printf(ret_why, "cannot start the %s actor: out of memory", class->name);
	return !ref_is_none(ref);
}

bool node_loop_spawn(struct node_loop *nl, struct buf *ret_why)
{
	const struct definitions *d = nl->node->definitions;
	if (d->entities_count > NODE_ENTITIES_MAX || d->retrievers_count > NODE_RETRIEVERS_MAX) {
		buf_printf(ret_why,
			   "the definitions have %u entities and %u retrievers; at most %d and %d are possible",
			   d->entities_count, d->retrievers_count, NODE_ENTITIES_MAX, NODE_RETRIEVERS_MAX);
		return false;
	}
	if (nl->node->stores->online.fast == NULL) {
		buf_append_lit(ret_why, "the online store is not in this process's memory, where the actors read it");
		return false;
	}
	for (uint32_t i = 0; i < d->entities_count; i++) {
		nl->resolver_args[i] = (struct resolver_args){ nl, i };
		if (!supervise(nl, NAME_RESOLVER + i, &resolver_class, &nl->resolver_args[i], ret_why))
			return false;
	}
	for (uint32_t i = 0; i < d->retrievers_count; i++) {
		nl->retriever_args[i] = (struct retriever_args){ nl, i };
		if (!supervise(nl, NAME_RETRIEVER + i, &retriever_class, &nl->retriever_args[i], ret_why))
			return false;
	}
	if (values_are_elsewhere(nl->node) &&
	    (!supervise(nl, NAME_PUBLISHER, &publisher_class, nl, ret_why) ||
	     (nl->index == 0 && !supervise(nl, NAME_REPAIRER, &repairer_class, nl, ret_why))))
		return false;
	return supervise(nl, NAME_INGESTOR, &ingestor_class, nl, ret_why) &&
	       supervise(nl, NAME_WRITER, &writer_class, nl, ret_why) &&
	       supervise(nl, NAME_CONTEXT_CACHE, &context_cache_class, nl, ret_why) &&
	       (nl->index != 0 || supervise(nl, NAME_SWEEPER, &sweeper_class, nl, ret_why));
}
