#include "actors/definitions.h"
#include "actors/definitions_near.h"
#include "actors/definitions_read.h"
#include "runtime/check.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SOURCE_BYTES_MAX = 4 << 20, SUGGESTIONS = 3 };

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
	static const char *const names[] = { [DTYPE_ANY] = NULL,	 [DTYPE_STRING] = "string",   [DTYPE_INTEGER] = "integer",
					     [DTYPE_NUMBER] = "number", [DTYPE_BOOLEAN] = "boolean", [DTYPE_ARRAY] = "array",
					     [DTYPE_OBJECT] = "object" };
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
		return is_number && !memchr(json.p, '.', json.n) && !memchr(json.p, 'e', json.n) && !memchr(json.p, 'E', json.n);
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

static bool read_source(struct definitions *d, struct buf *ret_why)
{
	FILE *f = fopen(d->file.p, "rb");
	if (f == NULL) {
		buf_printf(ret_why, "%s: cannot be read: %s", d->file.p, strerror(errno));
		return false;
	}
	struct buf text = { .max = SOURCE_BYTES_MAX };
	char part[4096];
	for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
		buf_append(&text, part, n);
	int error = ferror(f) ? errno : 0;
	fclose(f);
	if (error)
		buf_printf(ret_why, "%s: cannot be read: %s", d->file.p, strerror(error));
	else if (text.failed)
		buf_printf(ret_why, "%s: larger than %d bytes", d->file.p, SOURCE_BYTES_MAX);
	else
		d->source = arena_dup(&d->arena, buf_str(&text));
	buf_finish(&text);
	return d->source.p != NULL;
}

static void stamp_code_version(struct definitions *d)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	CHECK(EVP_Digest(d->source.p, d->source.n, digest, &n, EVP_sha256(), NULL) == 1);
	char *at = d->code_version + sprintf(d->code_version, "sha256:");
	for (unsigned i = 0; i < n; i++)
		at += sprintf(at, "%02x", digest[i]);
}

/* Messages of Lua name the file by its last part only: they can reach clients, which must not see local
 * paths. */
static struct str base_name(struct str file)
{
	const char *slash = strrchr(file.p, '/');
	return str_from(slash ? slash + 1 : file.p);
}

/* Runs the file in s and reads what it declares into declare->d. */
static bool collect(struct declare *declare, struct buf *ret_why)
{
	struct definitions *d = declare->d;
	struct script *s = declare->s;
	struct buf chunk = { 0 }, why = { 0 };
	struct str base = base_name(d->file);
	buf_append_char(&chunk, '@');
	buf_append(&chunk, base.p, base.n + 1);
	s->declare = declare;
	bool ran = script_state_load(s, d->source, chunk.p, &why);
	s->declare = NULL;
	bool good = definitions_read_all(declare) && ran && declare->errors_count == 0;
	if (declare->errors_count)
		definitions_declare_write_errors(declare, ret_why);
	if (!ran) {
		if (declare->errors_count)
			buf_append_char(ret_why, '\n');
		if (str_starts(buf_str(&why), base)) /* here the whole path helps */
			buf_append(ret_why, d->file.p, d->file.n - base.n);
		buf_append_str(ret_why, buf_str(&why));
	}
	buf_finish(&chunk);
	buf_finish(&why);
	return good;
}

/* Of a file that did not load. Fabra's own definitions are Python: by name, or by a line that begins as none of Lua does. */
static bool is_python(const struct definitions *d)
{
	size_t n = d->file.n;
	if (n > 3 && memcmp(d->file.p + n - 3, ".py", 3) == 0)
		return true;
	struct str rest = d->source;
	while (rest.n) {
		if (str_starts(rest, STR("import ")) || str_starts(rest, STR("from ")) || str_starts(rest, STR("def ")) ||
		    str_starts(rest, STR("@")))
			return true;
		const char *end = memchr(rest.p, '\n', rest.n);
		rest = str_skip(rest, end ? (size_t)(end - rest.p) + 1 : rest.n);
	}
	return false;
}

static void refuse_python(const struct definitions *d, struct buf *ret_why)
{
	buf_clear(ret_why);
	buf_printf(ret_why, "%s: this is Python, and definitions are written in Lua here. Say the same in a file store.lua: what is "
		   "@entity, @feature, @retriever or @context there is fabra.entity { ... }, fabra.feature { ... } and so on "
		   "(docs/definitions.md, \"From Python\", has both side by side)", d->file.p);
}

static bool declares_something(const struct definitions *d, struct buf *ret_why)
{
	if (d->features_count || d->contexts_count || d->retrievers_count || d->tables_count)
		return true;
	buf_printf(ret_why, "%s: declares nothing to serve: no call of fabra.feature, fabra.context, fabra.retriever or fabra.table "
		   "(docs/definitions.md begins with a whole file)", d->file.p);
	return false;
}

struct definitions *definitions_load(const char *path, bool unsafe_lua, struct buf *ret_why)
{
	struct definitions *d = calloc(1, sizeof *d);
	if (d == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return NULL;
	}
	struct declare declare = { .d = d };
	d->file = arena_dup(&d->arena, str_from(path));
	d->unsafe_lua = unsafe_lua;
	bool good = d->file.p && read_source(d, ret_why);
	if (good) {
		stamp_code_version(d);
		declare.s = script_state_create(NULL, unsafe_lua, ret_why);
		good = declare.s && collect(&declare, ret_why) && declares_something(d, ret_why);
		if (!good && is_python(d))
			refuse_python(d, ret_why);
	}
	definitions_declare_finish(&declare);
	script_state_destroy(declare.s);
	if (!good) {
		definitions_free(d);
		return NULL;
	}
	return d;
}

void definitions_free(struct definitions *d)
{
	if (d == NULL)
		return;
	arena_finish(&d->arena);
	free(d);
}

/* The file can look at the clock or at random numbers; then its functions would end up under other names. */
static bool same_names(const struct definitions *a, const struct definitions *b)
{
	for (int kind = 0; kind < DECLARE_KINDS; kind++) {
		uint32_t count = definitions_count(a, (enum declare_kind)kind);
		if (count != definitions_count(b, (enum declare_kind)kind))
			return false;
		for (uint32_t i = 0; i < count; i++)
			if (!str_eq(definitions_name(a, (enum declare_kind)kind, i),
				    definitions_name(b, (enum declare_kind)kind, i)))
				return false;
	}
	return true;
}

bool definitions_read_again(struct script *s, const struct definitions *d, struct buf *ret_why)
{
	struct definitions again = { .file = d->file, .source = d->source, .unsafe_lua = d->unsafe_lua };
	struct declare declare = { .d = &again, .s = s };
	bool good = collect(&declare, ret_why);
	if (good && !same_names(d, &again)) {
		buf_printf(ret_why, "%s: the file declares other names each time it runs", d->file.p);
		good = false;
	}
	definitions_declare_finish(&declare);
	arena_finish(&again.arena);
	return good;
}
