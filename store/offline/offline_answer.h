/* One question answered on one connection: what the reader and its lanes have in common. */
#pragma once
#include "store/offline/offline.h"
#include "store/offline/offline_conn.h"

/* Answers an OFFLINE_QUERY, OFFLINE_FEATURE, OFFLINE_AS_OF, EVIDENCE_LIST or EVIDENCE_LEGACY to whoever asked. Blocks until deadline_ns (monotonic) at
 * the latest. false: it was stopped there and is not answered, since its own deadline is later; nothing else is left of
 * it, and it can be asked again. m: borrowed or taken, as with rt_reply. c: not entered. */
bool offline_answer(struct actor *a, struct offline_conn *c, struct msg *m, uint64_t deadline_ns);
/* An error in the place of an answer. */
void offline_answer_fail(struct actor *a, struct msg *m, const struct offline_error *error);
/* The question's own deadline; 30 s from now if it has none. */
uint64_t offline_question_deadline(const struct actor *a, const struct msg *m);
/* What stands for all questions that run the same statement, whatever their parameters. */
uint64_t offline_question_hash(const struct msg *m);
/* Whether it sees what the ledger says, and so must see what was acknowledged before it: lists, and each statement that names
 * schema fabra. */
bool offline_question_reads_ledger(const struct msg *m);
