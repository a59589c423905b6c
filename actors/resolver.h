/* The feature resolver: one actor per entity kind and I/O loop. Answers RESOLVER_GET (feature_request.h) from the online
 * table, then by computing, then by the default; one computation at a time per (feature, id), shared by all who ask. */
#pragma once
#include "actors/feature_request.h"
#include "actors/node.h"

extern const struct actor_class resolver_class; /* init argument: struct resolver_args */
/* Copies a small live value from the online table to out without a message, and without a write to a reference count that other
 * cores share: the fast path of reads. Anything but ONLINE_HIT: ask the resolver (the value is missing, expired or large, or the
 * feature is computed at each read). *ret_refresh_due: the value can be used, and the resolver should be sent RESOLVER_REFRESH.
 * Any thread. */
enum online_read resolver_copy_online(const struct node *n, uint32_t feature, const struct online_key *key,
				      int64_t now_us, char *out, size_t cap, size_t *ret_n,
				      struct online_meta *ret_meta, bool *ret_refresh_due);
/* Whether this loop may have answered with a value of the row that is not in the table yet: then the resolver is asked, lest
 * somebody sees an older one than before. The loop's thread. */
static inline bool resolver_is_ahead(const struct node_loop *nl, const struct online_key *key)
{
	return nl->ahead[key->hash % NODE_AHEAD] != 0;
}
/* The answer without computing, for an asker whose time is over: the value in memory, the default, or failure. */
void resolver_answer_at_once(const struct node *n, uint32_t feature, struct str entity_id, int64_t now_us,
			     enum feature_state failure, struct feature_result *ret);
