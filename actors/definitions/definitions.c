#include "actors/definitions/definitions.h"
#include "actors/definitions/definitions_near.h"
#include "runtime/check.h"
#include "store/text/json.h"
#include <stdlib.h>

enum { SUGGESTIONS = 3, EVENT_TYPE_BYTES_MAX = 256 };

/* Open addressing, made once, never more than half full. */
struct name_table {
	uint32_t *slots; /* index + 1; 0 = free */
	uint32_t mask;
};

/* FNV-1a (Fowler, Noll, Vo). The names in the table are the file's own, so nobody can prepare collisions. */
static uint64_t name_hash(struct str name)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < name.n; i++)
		h = (h ^ (unsigned char)name.p[i]) * 0x100000001b3u;
	return h ^ h >> 32;
}

uint32_t definitions_count(const struct definitions *d, enum declare_kind kind)
{
	const uint32_t counts[DECLARE_KINDS] = { d->entities_count, d->features_count, d->tables_count,
						 d->retrievers_count, d->contexts_count };
	return counts[kind];
}

struct str definitions_name(const struct definitions *d, enum declare_kind kind, uint32_t index)
{
	switch (kind) {
	case DECLARE_ENTITY:
		return d->entities[index].name;
	case DECLARE_FEATURE:
		return d->features[index].name;
	case DECLARE_TABLE:
		return d->tables[index].name;
	case DECLARE_RETRIEVER:
		return d->retrievers[index].name;
	case DECLARE_CONTEXT:
		return d->contexts[index].name;
	case DECLARE_KINDS:
		break;
	}
	UNREACHABLE();
}

bool definitions_make_lookup(struct definitions *d)
{
	struct name_table *tables = arena_zalloc(&d->arena, DECLARE_KINDS * sizeof *tables);
	for (int kind = 0; tables && kind < DECLARE_KINDS; kind++) {
		uint32_t size = 4;
		while (size < 2 * definitions_count(d, (enum declare_kind)kind))
			size *= 2;
		tables[kind].mask = size - 1;
		tables[kind].slots = arena_zalloc(&d->arena, size * sizeof(uint32_t));
		if (tables[kind].slots == NULL)
			return false;
	}
	d->lookup = tables;
	return tables != NULL;
}

/* The slot of the name, or the free one where it would go. */
static uint32_t *find_slot(const struct definitions *d, enum declare_kind kind, struct str name)
{
	const struct name_table *t = (const struct name_table *)d->lookup + kind;
	for (uint64_t at = name_hash(name);; at++) {
		uint32_t *slot = &t->slots[at & t->mask];
		if (*slot == 0 || str_eq(definitions_name(d, kind, *slot - 1), name))
			return slot;
	}
}

bool definitions_add_name(struct definitions *d, enum declare_kind kind, uint32_t index, uint32_t *ret_index)
{
	uint32_t *slot = find_slot(d, kind, definitions_name(d, kind, index));
	if (*slot != 0) {
		*ret_index = *slot - 1;
		return false;
	}
	*slot = index + 1;
	return true;
}

uint32_t definitions_find(const struct definitions *d, enum declare_kind kind, struct str name)
{
	uint32_t slot = *find_slot(d, kind, name);
	return slot ? slot - 1 : DEF_NONE;
}

uint32_t definitions_entity(const struct definitions *d, struct str name)
{
	return definitions_find(d, DECLARE_ENTITY, name);
}

uint32_t definitions_feature(const struct definitions *d, struct str name)
{
	return definitions_find(d, DECLARE_FEATURE, name);
}

bool definitions_is_event_type(struct str s)
{
	bool has_letter = false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0x80;
		if (!letter && c != '_')
			return false;
		has_letter = has_letter || letter;
	}
	return has_letter && s.n <= EVENT_TYPE_BYTES_MAX && json_utf8_valid(s);
}

uint32_t definitions_retriever(const struct definitions *d, struct str name)
{
	return definitions_find(d, DECLARE_RETRIEVER, name);
}

uint32_t definitions_context(const struct definitions *d, struct str name)
{
	return definitions_find(d, DECLARE_CONTEXT, name);
}

const char *def_dtype_name(enum def_dtype type)
{
	static const char *const names[] = {
		[DTYPE_ANY] = NULL,        [DTYPE_STRING] = "string",   [DTYPE_INTEGER] = "integer",
		[DTYPE_NUMBER] = "number", [DTYPE_BOOLEAN] = "boolean", [DTYPE_ARRAY] = "array",
		[DTYPE_OBJECT] = "object"
	};
	return names[type];
}

bool def_dtype_fits(enum def_dtype type, struct str json)
{
	char c = json.n ? json.p[0] : 'n';
	bool is_number = c == '-' || (c >= '0' && c <= '9');
	if (type == DTYPE_ANY || c == 'n')
		return true;
	switch (type) {
	case DTYPE_STRING:
		return c == '"';
	case DTYPE_INTEGER:
		return is_number && !memchr(json.p, '.', json.n) && !memchr(json.p, 'e', json.n) &&
		       !memchr(json.p, 'E', json.n);
	case DTYPE_NUMBER:
		return is_number;
	case DTYPE_BOOLEAN:
		return c == 't' || c == 'f';
	case DTYPE_ARRAY:
		return c == '[';
	case DTYPE_OBJECT:
		return c == '{';
	case DTYPE_ANY:
		break;
	}
	return true;
}

const char *entity_id_error(struct str id)
{
	if (id.n == 0 || id.n > ENTITY_ID_BYTES_MAX)
		return "an entity id has 1 to 256 bytes";
	if (memchr(id.p, '\0', id.n) != NULL)
		return "an entity id has no NUL bytes";
	return json_utf8_valid(id) ? NULL : "an entity id must be valid UTF-8";
}

struct near_name {
	struct str name;
	unsigned distance;
};

static void offer(struct near_name *best, struct str name, unsigned distance)
{
	struct near_name offered = { name, distance };
	for (int i = 0; i < SUGGESTIONS; i++) {
		if (best[i].distance <= offered.distance) {
			if (str_eq(best[i].name, offered.name))
				return;
			continue;
		}
		struct near_name out = best[i];
		best[i] = offered;
		offered = out;
	}
}

void definitions_suggest(const struct definitions *d, struct str name, struct buf *out)
{
	struct near_name best[SUGGESTIONS] = { { .distance = NEAR_FAR },
					       { .distance = NEAR_FAR },
					       { .distance = NEAR_FAR } };
	for (int kind = 0; kind < DECLARE_KINDS; kind++) {
		if (kind == DECLARE_TABLE)
			continue;
		uint32_t count = definitions_count(d, (enum declare_kind)kind);
		for (uint32_t i = 0; i < count; i++) {
			struct str other = definitions_name(d, (enum declare_kind)kind, i);
			if (!str_eq(other, name))
				offer(best, other, definitions_distance(other, name));
		}
	}
	for (int i = 0; i < SUGGESTIONS && best[i].distance < NEAR_FAR; i++)
		buf_printf(out, "%s%.*s", i ? ", " : "", STR_ARG(best[i].name));
}

void definitions_suggest_of_kind(const struct definitions *d, enum declare_kind kind, struct str name, struct buf *out)
{
	struct str best = { 0 };
	unsigned best_distance = NEAR_FAR;
	uint32_t count = definitions_count(d, kind);
	for (uint32_t i = 0; i < count; i++) {
		struct str other = definitions_name(d, kind, i);
		unsigned distance = definitions_distance(other, name);
		if (distance < best_distance) {
			best = other;
			best_distance = distance;
		}
	}
	if (best.p)
		buf_printf(out, " (did you mean '%.*s'?)", STR_ARG(best));
}

void definitions_free(struct definitions *d)
{
	if (d == NULL)
		return;
	arena_finish(&d->arena);
	free(d);
}
