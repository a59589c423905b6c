/* The assembler: one actor per context request. Gathers, counts, cuts to the budget, records, and answers when the record
 * is durable. */
#pragma once
#include "actors/node.h"
#include "store/record/record.h"

enum { CLASS_ASSEMBLER = 67 };
enum assembler_msg {
	ASSEMBLER_RUN = MSG_KIND(CLASS_ASSEMBLER, 1),  /* ask: struct assembler_run */
	ASSEMBLER_DONE = MSG_KIND(CLASS_ASSEMBLER, 2), /* reply: the same */
	ASSEMBLER_MORE = MSG_KIND(CLASS_ASSEMBLER, 3), /* to itself: the next slice of counting */
};

enum assembly_outcome {
	ASSEMBLY_OK,
	ASSEMBLY_BAD_ARGUMENTS, /* 400 */
	ASSEMBLY_OVER_BUDGET,   /* 422: on_budget = "fail" */
	ASSEMBLY_TOO_LARGE,     /* 413: for a bound of this program, so that trying again does not help */
	ASSEMBLY_FAILED,        /* 500: the context's code, a refused freshness */
	ASSEMBLY_NO_EVIDENCE,   /* 503: the record could not be made durable */
	ASSEMBLY_BUSY,          /* 503: a bound is reached */
	ASSEMBLY_ABSENT,        /* 422: an item needs what has no value */
	ASSEMBLY_UNAVAILABLE,   /* 503: an item needs what failed */
	ASSEMBLY_LATE,          /* 504 */
};

struct material;

struct assembly_job {
	struct arena arena;
	/* question */
	uint32_t context;
	struct str args_json;  /* compact object */
	struct str request_id; /* for the log; p NULL = none */
	/* answer */
	enum assembly_outcome outcome;
	struct str error;          /* p NULL when OK */
	struct material *material; /* shares; the texts of record point into it */
	struct record record;
	struct record_extras extras;
	struct record_stamp stamp; /* when persisted */
	bool persisted;
	struct str evidence_error; /* why not persisted */
};
struct assembler_run {
	struct msg head; /* dispose frees job */
	struct assembly_job *job;
};

struct assembly_job *assembly_job_new(uint32_t context, struct str args_json,
				      struct str request_id); /* copies; NULL: no memory */
void assembly_job_free(struct assembly_job *job);
/* Spawns an assembler and asks it; moves job. Returns the op, as rt_ask. */
uint64_t assembler_start(struct actor *asker, struct node_loop *nl, struct assembly_job *job, uint64_t deadline_ns,
			 struct actor_ref cancel);
/* The text as assembled, which the record lacks in privacy mode. Borrows from the job. */
struct str assembly_content(const struct assembly_job *job);
