/* The reads of a call of the definitions file: the features and retrievers that it asked for, and what those were made from, at
 * any depth. Who uses the result of the call has read all of that too. Written once, by the actor that ran the call; then
 * immutable and shared. The reads of a stored value are seen by every thread (struct value_basis). */
#pragma once
#include "actors/feature_request.h"
#include "actors/retrieved.h"

struct node;
struct stored_read;

/* Beyond these bounds the reads of a call are not known, so that its result cannot be called fresh: the call fails. */
enum { READS_FEATURES_MAX = 1024, READS_CALLS_MAX = 64 };

/* Settled: it was read for a value that was stored then. What changes afterwards does not change that value. */
struct read_feature {
	uint32_t feature;
	struct str entity_id;  /* "" : nobody was named */
	struct str value_json; /* p NULL: there was none, state says why */
	enum feature_state state;
	enum record_source source; /* RECORD_FALLBACK: the default */
	int64_t as_of_us;
	enum feature_state failure; /* FOUND: a default stands in for it; PENDING: it did not fail */
	struct str reason;          /* for the log: why it failed; p NULL = nothing to say */
	bool is_settled;
};

struct read_call {
	struct retrieved
	    *retrieved; /* shares; a settled one may belong to another loop: then its chunks must not be counted here */
	bool is_settled;
};

struct read_failure { /* a retriever that did not answer */
	uint32_t retriever;
	enum feature_state state;
	struct str reason; /* for the log; p NULL = none */
	bool is_settled;
};

struct reads {
	struct value_basis basis; /* first; the count of references */
	struct arena arena;
	struct read_feature *features;
	uint32_t features_count, features_cap;
	struct read_call *calls;
	uint32_t calls_count, calls_cap;
	struct read_failure *failures;
	uint32_t failures_count, failures_cap;
	bool has_lost_sql; /* a query of a function failed or was late; settled ones do not count */
	bool has_ledger;   /* SQL read what the ledger says, and nobody knows which of it; settled ones do not count */
	uint16_t *seen; /* hash set of the features that others were made from: position + 1; NULL until there is one */
};

struct reads *reads_new(void);            /* NULL: no memory; one reference */
struct reads *reads_ref(struct reads *r); /* NULL gives NULL */
void reads_unref(struct reads *r);
/* A copy in one block of the exact size, to be kept; one reference. NULL: no memory. */
struct reads *reads_pack(const struct reads *r);

/* Copy the texts, and what the answer itself was made from. false: a bound is reached, or no memory. */
bool reads_add_result(struct reads *r, const struct definitions *d, uint32_t feature, struct str entity_id,
		      const struct feature_result *result);
bool reads_add_missing(struct reads *r, uint32_t feature, struct str entity_id, enum feature_state state,
		       struct str reason);
bool reads_add_call(struct reads *r, struct retrieved *retrieved);
bool reads_add_failure(struct reads *r, uint32_t retriever, enum feature_state state, struct str reason);
void reads_add_lost_sql(struct reads *r);
void reads_add_ledger(struct reads *r);

/* Whether something failed, was late or refused, though a default may stand in for it: the next one to ask may see it. */
bool reads_are_transient(const struct reads *r);
/* Would a reader find the same in the online table now? A value that is computed at each read counts as unchanged while what
 * it was made from is. Age alone changes nothing here where a function would have to run again: a cache_ttl says how long such
 * results are kept. made_at_us: not later than the first read. */
/* Not of SQL: see reads_may_miss_writes. false of an online store that is not in memory, if anything was read that may change. */
bool reads_are_current(const struct reads *r, const struct node *n, int64_t made_at_us, int64_t now_us);
/* Whether only an ask can tell: the online store is not in memory. */
bool reads_must_ask(const struct reads *r, const struct node *n);
/* The ask, for node_stored. NULL: no memory. */
struct stored_read *reads_ask_new(const struct reads *r, const struct node *n, struct loop *loop);
/* Of the ask's ending; without an answer they are not current. */
bool reads_are_current_as(const struct reads *r, const struct node *n, int64_t made_at_us, const struct msg *answer);
/* Did its SQL read what the ledger says, and has anything taken effect since the position (values_position, taken before the
 * first read)? Then who has asked meanwhile may know more than it. r NULL: no. */
bool reads_may_miss_writes(const struct reads *r, const struct node *n, uint64_t position);
