/* What the actors of one process share. Built at start; afterwards only the stores that it points to change. */
#pragma once
#include "actors/circle.h"
#include "actors/definitions/definitions.h"
#include "actors/node_metrics.h"
#include "actors/pricing.h"
#include "actors/script/script.h"
#include "actors/tokens/tokens.h"
#include "actors/tokens/tokens_cache.h"
#include "runtime/loop.h"
#include "store/stores.h"
#include "store/text/uuid.h"

/* Names of supervised actors, one table per loop. */
enum node_name {
	NAME_INGESTOR = 1,
	NAME_CONTEXT_CACHE = 2,
	NAME_MATERIALIZER = 3,
	NAME_SWEEPER = 4,
	NAME_TABLE_LOADER = 5,
	NAME_WRITER = 6,
	NAME_PUBLISHER = 7,
	NAME_REPAIRER = 8,
	NAME_RESOLVER = 16,   /* + entity */
	NAME_RETRIEVER = 512, /* + retriever */
	NODE_ENTITIES_MAX = NAME_RETRIEVER - NAME_RESOLVER,
	NODE_RETRIEVERS_MAX = RT_NAMES_MAX - NAME_RETRIEVER,
	NODE_AHEAD = 1024,
};

struct node_loop;
struct values;

/* Init arguments of the actors that exist once per entity or retriever; they outlive restarts. */
struct resolver_args {
	struct node_loop *nl;
	uint32_t entity;
};
struct retriever_args {
	struct node_loop *nl;
	uint32_t retriever;
};

struct node {
	const struct definitions *definitions;
	const struct stores *stores;
	struct values *values; /* the order in which entries take effect on the online table */
	const struct pricing *pricing;
	struct tokens encodings[2]; /* by enum tokens_encoding */
	struct str environment;     /* FABRA_ENV as written */
	struct str fabra_version;
	bool evidence_required;
	bool include_content;         /* false: privacy mode */
	uint32_t evidence_timeout_ms; /* how long a reply waits for its record */
	struct value **defaults;      /* by feature; NULL where there is none; owned */
	struct node_metrics metrics;
	struct node_loop *loops[LOOPS_MAX];
	unsigned loops_count; /* I/O loops */
	struct node_loop *by_loop_id[LOOPS_MAX + 1];
};

struct node_loop {
	struct node *node;
	struct loop *loop;
	struct script *script;      /* owned; this loop's state */
	struct token_cache *tokens; /* owned */
	struct circle circle;       /* of this loop's computations */
	bool is_tidying; /* a computation that has ended collects the garbage of all that have; one at a time */
	struct uuid7 ids;
	unsigned index; /* in node->loops */
	uint32_t ahead
	    [NODE_AHEAD]; /* by a row's hash: values that this loop has answered with before they are in the table */
	struct resolver_args resolver_args[NODE_ENTITIES_MAX];
	struct retriever_args retriever_args[NODE_RETRIEVERS_MAX];
};

static inline struct node_loop *node_here(const struct node *n, const struct loop *loop)
{
	return n->by_loop_id[loop_id(loop)];
}
struct actor_ref node_resolver(const struct node_loop *nl, uint32_t entity);
struct actor_ref node_retriever(const struct node_loop *nl, uint32_t retriever);
/* Spawns the actors that every I/O loop has. Before the loop runs, or on its thread. false: *ret_why. */
bool node_loop_spawn(struct node_loop *nl, struct buf *ret_why);
const struct tokens *node_tokens(const struct node *n, struct str model);
/* The loop whose ingestor owns an entity id: events of one entity are processed there, in order. */
struct node_loop *node_owner_of(const struct node *n, struct str entity_id);
