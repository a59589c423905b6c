/* A computation: one run of one function of the definitions file. Each is an actor of its own, so that a slow one delays no
 * other. It asks resolvers, retrievers and the offline store for the Lua code and answers once. */
#pragma once
#include "actors/feature_request.h"
#include "actors/node.h"
#include "actors/reads.h"
#include "actors/retrieved.h"

enum { CLASS_COMPUTATION = 64 };
enum computation_msg {
	COMPUTATION_RUN = MSG_KIND(CLASS_COMPUTATION, 1),  /* ask: struct computation_run */
	COMPUTATION_DONE = MSG_KIND(CLASS_COMPUTATION, 2), /* reply: the same struct */
	COMPUTATION_MORE = MSG_KIND(CLASS_COMPUTATION, 3), /* to itself: the next slice */
};

enum { COMPUTATION_READS_MAX = 256 };

/* One ask of the function: its answer is in features or retrieved, or in neither (SQL, failed, not awaited). */
struct computation_read {
	struct feature_request *features; /* owned */
	struct retrieved *retrieved;      /* shares */
	/* Why the ask as a whole failed; FEATURE_PENDING: it did not. */
	enum feature_state failure;
	uint32_t retriever;        /* DEF_NONE: of features, or SQL */
	bool is_sql, is_of_ledger; /* of_ledger: SQL that names schema fabra */
	struct str reason;         /* in the arena, as the next two; p NULL = none */
	struct str entity_id;
	uint32_t *asked; /* features */
	uint32_t asked_count;
};

struct computation_job {
	struct arena arena;
	/* question */
	enum script_function function;
	uint32_t index;
	struct str args, event_json, previous_json; /* in the arena; p NULL = none */
	uint64_t
	    asks_until_ns; /* deadline of its asks, so that it can go on without a late answer; 0 = that of the computation */
	/* answer: error.p NULL means done */
	int64_t stale_since_us;        /* fabra.sql read a table whose new file cannot be loaded: since when; 0: none */
	struct script_outcome outcome; /* copied into the arena */
	struct computation_read *reads; /* in the arena */
	uint32_t reads_count, reads_cap;
	bool has_lost_reads; /* no memory for one: what was read is not known */
};
struct computation_run {
	struct msg head; /* dispose frees job */
	struct computation_job *job;
};

struct computation_job *computation_job_new(enum script_function function, uint32_t index, struct str args);
void computation_job_free(struct computation_job *job);
/* Adds what the function read, in order, with what that was made from. false: a bound is reached. */
bool computation_reads(const struct computation_job *job, const struct definitions *d, struct reads *into);
/* The same, as new reads: one reference. NULL: nothing was read, or (*ret_ok false) a bound is reached. */
struct reads *computation_reads_of(const struct computation_job *job, const struct definitions *d, bool *ret_ok);
/* Spawns the computation and asks it; returns the op of the ask (see rt_ask). moves job. */
uint64_t computation_start(struct actor *asker, struct node_loop *nl, struct computation_job *job, uint64_t deadline_ns,
			   struct actor_ref cancel);
