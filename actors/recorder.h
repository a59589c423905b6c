/* Makes the record of one request from a context's material, and the ledger entry that carries it. */
#pragma once
#include "actors/material.h"
#include "store/evidence/evidence.h"

struct recorder_request {
	struct str args_json;            /* compact object */
	struct str interaction_ref_json; /* p NULL = none */
	bool is_cached;
	uint64_t started_ns; /* for assembly_latency_ms */
};

/* Fills r and e; their texts live in the arena, the material and the definitions. false: no memory. */
bool recorder_fill(struct node_loop *nl, const struct material *m, const struct recorder_request *q,
		   struct arena *arena, struct record *r, struct record_extras *e);
/* Why a context with freshness_strict is refused; p NULL: nothing is too old or missing. In the arena, or static. */
struct str recorder_freshness_error(const struct node *n, const struct record *r, const struct record_extras *e,
				    struct arena *arena);
/* Moves to the caller; NULL: the record is no valid JSON or too large. */
struct evidence_entry *recorder_entry(const struct record *r, const struct record_extras *e);

/* The interaction reference as compact JSON in the arena; p NULL when the arguments make none. false: no memory. */
bool recorder_interaction_ref(yyjson_val *args, struct arena *arena, struct str *ret);
