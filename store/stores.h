/* All stores of a process: whom actors ask, whichever backends answer. Made by the composition root, then read-only. */
#pragma once
#include "store/evidence/idempotency.h"
#include "store/evidence/log_source.h"
#include "store/offline/offline.h"
#include "store/online/online.h"

struct stores_health {
	bool is_ready;     /* the stores that this mode needs answer */
	struct buf stores; /* how each of them is, as members of a JSON object: "name":{...},"name":{...} */
	struct buf needs;  /* their names, as a JSON array */
};

struct stores {
	struct evidence_store evidence;
	struct offline_store offline;
	struct online_store online;
	/* The history has what every process that writes into the online store has written. Else only what this one has: where an
	 * online store elsewhere does not say, it cannot tell that a value is not there. */
	bool is_history_shared;
	struct idempotency *idempotency;
	const struct log_source *log; /* what the start reads */
	/* NULL, or why what is kept is not whole: then nothing is written, and nothing is answered whose absence nobody can know. With
	 * the cure; found when they are opened, and the same for ever. */
	const char *unfit;
	/* Fills *ret, whose texts the caller ends. Any thread. */
	void (*health)(const struct stores *s, struct stores_health *ret);
	/* Its figures as metrics; one thread. NULL: it has none. */
	void (*publish)(const struct stores *s);
};
