/* The chain of records: each names the one made before it, and is stamped (hash, signature) with that name in it.
 *
 * Whoever commits records keeps the end of a chain and adds to it in the order of the log. A record of which the commit failed
 * was never added: the caller goes on from a copy that he took before. Pure functions; any thread. */
#pragma once
#include "store/record/record.h"

struct record_chain {
	uint64_t records;                        /* made here, so far */
	uint8_t last_hash[32];                   /* record_hash of the last one */
	char last_context_id[RECORD_ID_MAX + 1]; /* "" = none */
};

/* A record before it is committed: its canonical text with null at previous_at, where the predecessor goes. */
struct record_draft {
	struct str context_id, text;
	size_t previous_at;
};
bool record_draft_is_sound(const struct record_draft *d); /* false: there is no null at previous_at */

/* How long the final text is. The draft must be sound, here and below. */
size_t record_chain_bytes(const struct record_chain *c, const struct record_draft *d);
/* Writes the final text to out (record_chain_bytes), stamps it (signer may be NULL), and makes it the end of the chain. */
void record_chain_add(struct record_chain *c, const struct record_draft *d, const struct record_signer *signer,
		      int64_t now_us, uint8_t *out, struct record_stamp *ret);

/* ---- reading it back ---- */
/* A record that was read becomes the end of the chain. context_id: at most RECORD_ID_MAX long. */
void record_chain_follow(struct record_chain *c, struct str context_id, const uint8_t hash[static 32]);
/* Whether a record that names this predecessor (p NULL = none) may come next. */
bool record_chain_continues(const struct record_chain *c, struct str previous_context_id);
bool record_chain_ends_alike(const struct record_chain *a, const struct record_chain *b);
