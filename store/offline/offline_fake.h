/* The offline store of simulations: the messages of store/offline/offline.h, answered from a script, late, wrong or
 * never; OFFLINE_AS_OF from a log, by going through all of it.
 *
 * A question's text is its SQL, "contexts", the reference of EVIDENCE_LEGACY, or the first entity of OFFLINE_TRAINING (whose answer is
 * a list of {"id", "feature", "value", "from_us"}, oldest first). The first answer whose
 * `contains` is part of it is given; without one, EVIDENCE_LEGACY is not found and the others get no rows.
 * Under runtime/sim the faults "offline.error" and "offline.lost" happen with their chances; elsewhere never.
 */
#pragma once
#include "store/evidence/log_source.h"
#include "store/offline/offline.h"

struct offline_fake_answer {
	const char *contains;
	const char *json; /* status 0: an array of objects (EVIDENCE_LEGACY: one object); else a line of text */
	int status;
};
struct offline_fake_config {
	const struct offline_fake_answer *answers; /* borrows, for the actor's life */
	size_t answers_count;
	const struct log_source *log; /* the history of OFFLINE_AS_OF; borrows; NULL: it is empty */
	uint32_t batch_rows;          /* of OFFLINE_ROWS and OFFLINE_NEWEST; 0 = 4096 */
	uint32_t ids_max;             /* of OFFLINE_FEATURE, more are RT_ETOOBIG; 0 = any number */
	/* OFFLINE_NEWEST: fills ret with at most max values from number `from` on, which borrow until the next call, and returns how
	 * many. More than the newest is fine. NULL: there are none. */
	size_t (*newest)(void *arg, size_t from, struct offline_value *ret, size_t max);
	void *newest_arg;
	size_t *questions;     /* NULL, or what counts the questions that are answered; borrows */
	uint32_t delay_ms_max; /* each answer takes 0..this, by the loop's chance */
	unsigned error_permille, lost_permille;
};
struct actor_ref offline_fake_spawn(struct loop *loop, const struct offline_fake_config *config); /* copies config */
