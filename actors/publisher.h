/* The publisher: one actor per I/O loop, when the online store is not in this process's memory. Whoever has appended an entry of
 * values or of a delete asks it, after the entry is durable and before it answers anybody, so that what one process has
 * acknowledged the others read at once.
 *
 * Publishing never fails an entry: it is in the history. What the store does not take is kept, within bounds, and put again; such
 * cells have the result ONLINE_FAILED, which says that they are pending. */
#pragma once
#include "actors/values.h"

enum { CLASS_PUBLISHER = 72 };
enum publisher_msg {
	/* ask: struct evidence_append with a durable entry. The reply is EVIDENCE_APPENDED again, with the same entry and its
	 * results; values_failed counts those that are pending. */
	PUBLISHER_PUBLISH = MSG_KIND(CLASS_PUBLISHER, 1),
};
enum {
	PUBLISHER_ANSWER_MS = 1000,  /* how long the store may take for a message */
	PUBLISHER_TIMEOUT_MS = 5000, /* how long an asker waits that has no deadline of its own */
	PUBLISHER_KEPT_MAX = 16384,  /* cells of one loop; beyond either, all are forgotten and a repair is due */
	PUBLISHER_KEPT_BYTES_MAX = 4 << 20,
	PUBLISHER_JOBS_MAX = 4096,
	PUBLISHER_JOBS_BYTES_MAX = 64 << 20, /* of the entries under way; beyond either, an entry is kept at once */
};

/* m is the answer of an append of values. true: it has still to be published, a asked for that and waits for *ret_op. Whatever
 * comes then (EVIDENCE_APPENDED, or RT_DEADLINE and RT_DOWN: nobody knows what is there, and it is seen to) the entry is
 * durable. false: there is nothing to publish, m is as it was. deadline_ns 0: PUBLISHER_TIMEOUT_MS from now on. */
bool publisher_takes(struct actor *a, const struct node *n, struct msg *m, uint64_t deadline_ns, uint64_t *ret_op);

extern const struct actor_class publisher_class; /* init argument: struct node_loop */
