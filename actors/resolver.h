/* The feature resolver: one actor per entity kind and I/O loop. Answers RESOLVER_GET (feature_request.h) from the online
 * table, then by computing, then by the default; one computation at a time per (feature, id), shared by all who ask. */
#pragma once
#include "actors/feature_request.h"
#include "actors/node.h"
#include "store/online.h"

extern const struct actor_class resolver_class; /* init argument: struct resolver_args */
/* Reads a live value from the online table without a message: the fast path of every read. false: ask the resolver (the value is
 * missing or expired, or the feature is computed at each read). *ret_refresh_due: the value can be used, and the resolver
 * should be sent RESOLVER_REFRESH. The cell's value is a new reference. Any thread. */
bool resolver_read_online(const struct node *n, uint32_t feature, struct str entity_id, int64_t now_us,
			  struct online_cell *ret, bool *ret_refresh_due);
/* The same for a small value, which is copied to out: no write to a reference count that other cores share. ONLINE_LARGE: use
 * resolver_read_online. */
enum online_read resolver_copy_online(const struct node *n, uint32_t feature, const struct online_key *key, int64_t now_us,
				      char *out, size_t cap, size_t *ret_n, struct online_meta *ret_meta,
				      bool *ret_refresh_due);
/* The answer without computing, for an asker whose time is over: the value in memory, the default, or failure. */
void resolver_answer_at_once(const struct node *n, uint32_t feature, struct str entity_id, int64_t now_us,
			     enum feature_state failure, struct feature_result *ret);
