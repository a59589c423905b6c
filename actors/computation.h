/* A computation: one run of one function of the definitions file, as an actor of its own, so that a slow one holds back
 * no other. It asks resolvers, retrievers and the offline store on behalf of the Lua code and answers once. */
#pragma once
#include "actors/feature_request.h"
#include "actors/node.h"
#include "actors/retrieved.h"

enum computation_msg {
	COMPUTATION_RUN = MSG_KIND(CLASS_SCRIPT, 1),  /* ask: struct computation_run */
	COMPUTATION_DONE = MSG_KIND(CLASS_SCRIPT, 2), /* reply: the same struct */
	COMPUTATION_MORE = MSG_KIND(CLASS_SCRIPT, 3), /* to itself: the next slice */
};

enum { COMPUTATION_READS_MAX = 256 };

/* What the function read, in the order in which it asked. Either features or retrieved is set, or neither (SQL, failed). */
struct computation_read {
	struct feature_request *features; /* owned */
	struct retrieved *retrieved;      /* shares */
};

struct computation_job {
	struct arena arena;
	/* question */
	enum script_function function;
	uint32_t index;
	struct str args, event_json, previous_json; /* in the arena; p NULL = none */
	/* answer: error.p NULL means done */
	struct script_outcome outcome; /* copied into the arena */
	struct computation_read *reads; /* in the arena */
	uint32_t reads_count, reads_cap;
};
struct computation_run {
	struct msg head; /* dispose frees job */
	struct computation_job *job;
};

struct computation_job *computation_job_new(enum script_function function, uint32_t index, struct str args);
void computation_job_free(struct computation_job *job);
/* Spawns the computation and asks it; returns the op of the ask (see rt_ask). moves job. */
uint64_t computation_start(struct actor *asker, struct node_loop *nl, struct computation_job *job, uint64_t deadline_ns,
			   struct actor_ref cancel);
