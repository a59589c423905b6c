/* A retriever: one actor per retriever and I/O loop. Answers RETRIEVER_GET (retrieved.h) from its cache, or by running the
 * definitions file's `run`, one run per query at a time. */
#pragma once
#include "actors/node.h"

extern const struct actor_class retriever_class; /* init argument: struct retriever_args */
