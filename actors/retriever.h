/* A retriever: one actor per retriever and I/O loop. Answers RETRIEVER_GET (retrieved.h): result cache, one run per query
 * at a time, then the definitions file's own `run`. */
#pragma once
#include "actors/node.h"

extern const struct actor_class retriever_class; /* init argument: struct retriever_args */
