/* The ledger of simulations: the committer's messages, in memory, with faults.
 *
 * What is durable outlives the actor, so that a test can end all loops and start again from it. Entries are committed in
 * the order in which they came, in batches a moment later, with predecessors and stamps as the real committer makes
 * them; imports are idempotent as there. It passes tests/contract/evidence.h but for what that names: it answers no lists, and
 * knows nothing of Fabra's Python program. Under runtime/sim these faults happen with their chances, elsewhere never:
 * "ledger.refuse" (RT_EIO, nothing is written), "ledger.full" (RT_EFULL, likewise), "ledger.lose_answer" (durable, but the
 * asker never hears of it) and "ledger.lose_entry" (neither). */
#pragma once
#include "store/evidence/log_source.h"

struct ledger_fake_config {
	uint32_t delay_ms_max; /* a batch takes 0..this, by the loop's chance */
	unsigned refuse_permille, lose_answer_permille, lose_entry_permille, full_permille;
	bool values_are_safe;               /* EVIDENCE_VALUES meet no fault */
	const struct record_signer *signer; /* shares; may be NULL */
};
struct ledger_fake;

struct ledger_fake *ledger_fake_create(const struct ledger_fake_config *config);
void ledger_fake_destroy(struct ledger_fake *l); /* after the loops; NULL is fine */
/* Chances from now on; for a test between two sim_run. */
void ledger_fake_set(struct ledger_fake *l, const struct ledger_fake_config *config);
struct actor_ref ledger_fake_spawn(struct ledger_fake *l, struct loop *loop);
/* Answers EVIDENCE_FIND with what is durable. On a loop of the same thread (a simulation), for nothing here is locked. */
struct actor_ref ledger_fake_spawn_reader(struct ledger_fake *l, struct loop *loop);

/* What is durable, to read in order. On the simulation's thread. */
const struct log_source *ledger_fake_log_source(const struct ledger_fake *l);

/* What is durable, in log order; lsn = index + 1. A record's body is the final canonical text. Borrows from l. */
size_t ledger_fake_count(const struct ledger_fake *l);
const struct evidence_entry *ledger_fake_at(const struct ledger_fake *l, size_t index);
bool ledger_fake_was_answered(const struct ledger_fake *l, size_t index); /* false: the answer was lost */
/* The entry of a record made here, or NULL. */
const struct evidence_entry *ledger_fake_record(const struct ledger_fake *l, struct str context_id);
/* Durable events without a durable EVIDENCE_EVENT_APPLIED, in log order: what ledger_pending_events gives. */
void ledger_fake_pending_events(const struct ledger_fake *l, void *arg,
				void (*each)(void *arg, const struct evidence_entry *e));
