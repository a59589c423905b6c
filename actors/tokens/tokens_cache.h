/* Token counts by content: one cache per loop, so that it needs no lock. The key is a 128-bit keyed hash of the text: by
 * chance two of 2^64 texts collide, and nobody outside knows the key. Sets of four entries with a used bit each: bounded,
 * one cache line or two per look-up, and what is used stays. */
#pragma once
#include "actors/tokens/tokens.h"

struct token_cache;

/* entries_max 0 = 65536, about 3 MiB. NULL: no memory. */
struct token_cache *token_cache_create(size_t entries_max);
void token_cache_destroy(struct token_cache *c);
bool token_cache_get(struct token_cache *c, const struct tokens *t, struct str text, struct tokens_span *ret);
void token_cache_put(struct token_cache *c, const struct tokens *t, struct str text, const struct tokens_span *span);
