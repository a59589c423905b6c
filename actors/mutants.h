/* Mistakes of the actors that can be compiled in; see runtime/mutants.h. */
#pragma once

#ifndef FABRA_MUTANT_APPEND_AFTER_PUBLISH
#define FABRA_MUTANT_APPEND_AFTER_PUBLISH 0 /* other loops see a computed value before the ledger has it */
#endif
#ifndef FABRA_MUTANT_CACHE_BEFORE_PERSIST
#define FABRA_MUTANT_CACHE_BEFORE_PERSIST 0 /* a context is cached before its record is durable */
#endif
#ifndef FABRA_MUTANT_CONTEXT_KEPT
#define FABRA_MUTANT_CONTEXT_KEPT 0 /* a cached context is used though something that was read for it has changed */
#endif
#ifndef FABRA_MUTANT_CHUNKS_KEPT
#define FABRA_MUTANT_CHUNKS_KEPT 0 /* the same of a retriever's answer */
#endif
#ifndef FABRA_MUTANT_ABSENT_IS_CURRENT
#define FABRA_MUTANT_ABSENT_IS_CURRENT 0 /* only what was found is compared */
#endif
#ifndef FABRA_MUTANT_READS_NOT_BELOW
#define FABRA_MUTANT_READS_NOT_BELOW 0 /* what a value or chunks were made from is not known */
#endif
#ifndef FABRA_MUTANT_ANSWER_BEFORE_APPEND
#define FABRA_MUTANT_ANSWER_BEFORE_APPEND 0 /* a computed value is used before it is on its way to the ledger */
#endif
