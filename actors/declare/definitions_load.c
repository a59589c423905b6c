/* Runs the file, which notes its declarations, and then reads them: once for the definitions, once more for each loop's own
 * state. */
#include "actors/declare/definitions_load.h"
#include "actors/declare/definitions_private.h"
#include "runtime/check.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SOURCE_BYTES_MAX = 4 << 20 };

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
		if (str_starts(rest, STR("import ")) || str_starts(rest, STR("from ")) ||
		    str_starts(rest, STR("def ")) || str_starts(rest, STR("@")))
			return true;
		const char *end = memchr(rest.p, '\n', rest.n);
		rest = str_skip(rest, end ? (size_t)(end - rest.p) + 1 : rest.n);
	}
	return false;
}

static void refuse_python(const struct definitions *d, struct buf *ret_why)
{
	buf_clear(ret_why);
	buf_printf(
	    ret_why,
	    "%s: this is Python, and definitions are written in Lua here. Say the same in a file store.lua: what is "
	    "@entity, @feature, @retriever or @context there is fabra.entity { ... }, fabra.feature { ... } and so on "
	    "(docs/definitions.md, \"From Python\", has both side by side)",
	    d->file.p);
}

static bool declares_something(const struct definitions *d, struct buf *ret_why)
{
	if (d->features_count || d->contexts_count || d->retrievers_count || d->tables_count)
		return true;
	buf_printf(
	    ret_why,
	    "%s: declares nothing to serve: no call of fabra.feature, fabra.context, fabra.retriever or fabra.table "
	    "(docs/definitions.md begins with a whole file)",
	    d->file.p);
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
		declare.s = script_state_create(NULL, unsafe_lua, definitions_declare_open, ret_why);
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

static bool read_again(struct script *s, const struct definitions *d, struct buf *ret_why)
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

struct script *script_create(const struct definitions *d, const struct script_limits *limits, struct buf *ret_why)
{
	struct script *s = script_state_create(limits, d->unsafe_lua, definitions_declare_open, ret_why);
	if (s == NULL)
		return NULL;
	if (!read_again(s, d, ret_why) || !script_state_freeze(s, d, ret_why)) {
		script_destroy(s);
		return NULL;
	}
	return s;
}
