#include "actors/tokens/tokens_cache.h"
#include "runtime/hash.h"
#include <stdlib.h>

enum { WAYS = 4, ENTRIES_DEFAULT = 65536 };

struct entry {
	struct hash128 key;
	struct tokens_span span;
	bool filled, used;
};

struct token_cache {
	size_t sets; /* a power of two */
	struct entry entries[];
};

struct token_cache *token_cache_create(size_t entries_max)
{
	size_t sets = 1;
	while (sets * 2 * WAYS <= (entries_max ? entries_max : ENTRIES_DEFAULT))
		sets *= 2;
	struct token_cache *c = calloc(1, sizeof *c + sets * WAYS * sizeof *c->entries);
	if (c)
		c->sets = sets;
	return c;
}

void token_cache_destroy(struct token_cache *c)
{
	free(c);
}

/* The same text counts differently in another encoding: the encoding is part of the key. */
static struct hash128 key_of(const struct tokens *t, struct str text)
{
	struct hash128 key = hash128(text);
	key.hi ^= hash_mix((uint64_t)t->encoding + 1);
	return key;
}

static struct entry *set_of(struct token_cache *c, struct hash128 key)
{
	return &c->entries[(key.lo & (c->sets - 1)) * WAYS];
}

static struct entry *find(struct token_cache *c, struct hash128 key)
{
	struct entry *set = set_of(c, key);
	for (int i = 0; i < WAYS; i++)
		if (set[i].filled && set[i].key.lo == key.lo && set[i].key.hi == key.hi)
			return &set[i];
	return NULL;
}

bool token_cache_get(struct token_cache *c, const struct tokens *t, struct str text, struct tokens_span *ret)
{
	struct entry *e = find(c, key_of(t, text));
	if (e == NULL)
		return false;
	if (!e->used)
		e->used = true;
	*ret = e->span;
	return true;
}

/* An empty place, else the first that was not used since the last time all were, which clears the marks on the way. */
static struct entry *place_in(struct entry *set)
{
	for (int i = 0; i < WAYS; i++)
		if (!set[i].filled)
			return &set[i];
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < WAYS; i++) {
			if (!set[i].used)
				return &set[i];
			set[i].used = false;
		}
	return set;
}

void token_cache_put(struct token_cache *c, const struct tokens *t, struct str text, const struct tokens_span *span)
{
	struct hash128 key = key_of(t, text);
	struct entry *e = find(c, key);
	if (e == NULL)
		e = place_in(set_of(c, key));
	*e = (struct entry){ .key = key, .span = *span, .filled = true };
}
