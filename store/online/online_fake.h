/* The online store of simulations: the messages, answered from a short list, with faults. It shares no code with the memory
 * table and passes tests/contract/online.h as that does.
 *
 * Under runtime/sim these faults happen with their chances, elsewhere never: "online.refuse" (RT_EIO, nothing is done),
 * "online.lose_answer" (done, but the asker never hears of it) and "online.lose_row" (ONLINE_FAILED for one row of a message,
 * which is not done), and "online.forget": before a row is done, a value of any row is forgotten. */
#pragma once
#include "store/online/online.h"

struct online_fake_config {
	uint32_t delay_ms_max; /* an answer takes 0..this, by the loop's chance; requests overtake each other */
	unsigned refuse_permille, lose_answer_permille, lose_row_permille, forget_permille;
};
struct online_fake;

struct online_fake *online_fake_create(const struct online_fake_config *config);
void online_fake_destroy(struct online_fake *s); /* after the loops; NULL is fine */
/* Chances from now on; for a test between two sim_run. */
void online_fake_set(struct online_fake *s, const struct online_fake_config *config);
struct actor_ref online_fake_spawn(struct online_fake *s, struct loop *loop);
