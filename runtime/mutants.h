/* Mistakes that can be compiled in, one at a time, to prove that the tests see them. Each is 0 in every
 * normal build; the tests mutant/<name> (tests/extra.cmake) build the runtime with one of them set to 1
 * and pass only if a suite fails. */
#pragma once

#ifndef FABRA_MUTANT_NO_GENERATION_CHECK
#define FABRA_MUTANT_NO_GENERATION_CHECK 0 /* a ref finds whoever lives in its slot now */
#endif
#ifndef FABRA_MUTANT_NO_LATE_CHECK
#define FABRA_MUTANT_NO_LATE_CHECK 0 /* an ending closes whatever ask uses the entry now */
#endif
#ifndef FABRA_MUTANT_NO_DOWN
#define FABRA_MUTANT_NO_DOWN 0 /* a request that is freed unanswered tells nobody */
#endif
#ifndef FABRA_MUTANT_NO_CANCEL
#define FABRA_MUTANT_NO_CANCEL 0 /* asks outlive their cancel token */
#endif
#ifndef FABRA_MUTANT_NO_DEADLINE_CHECK
#define FABRA_MUTANT_NO_DEADLINE_CHECK 0 /* work whose deadline has passed is started */
#endif
#ifndef FABRA_MUTANT_NO_MAILBOX_BOUND
#define FABRA_MUTANT_NO_MAILBOX_BOUND 0
#endif
#ifndef FABRA_MUTANT_URGENT_ALWAYS
#define FABRA_MUTANT_URGENT_ALWAYS 0 /* requests wait as long as there is anything urgent */
#endif
#ifndef FABRA_MUTANT_REFUSED_LEAK
#define FABRA_MUTANT_REFUSED_LEAK 0 /* a refused message is not disposed */
#endif
#ifndef FABRA_MUTANT_STOPPED_TIMER_FIRES
#define FABRA_MUTANT_STOPPED_TIMER_FIRES 0 /* a timer that is stopped while its message waits */
#endif
#ifndef FABRA_MUTANT_NO_SLEEP_RECHECK
#define FABRA_MUTANT_NO_SLEEP_RECHECK 0 /* a loop sleeps without looking at its inbox again */
#endif
#ifndef FABRA_MUTANT_BATCH_REVERSED
#define FABRA_MUTANT_BATCH_REVERSED 0 /* messages from another loop arrive newest first */
#endif
#ifndef FABRA_MUTANT_ACK_BEFORE_SYNC
#define FABRA_MUTANT_ACK_BEFORE_SYNC 0 /* the ledger answers without waiting for fdatasync */
#endif
