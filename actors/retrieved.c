#include "actors/retrieved.h"
#include "actors/reads.h"
#include "runtime/check.h"
#include "store/text/timefmt.h"
#include <stdio.h>
#include <stdlib.h>

/* The first of the named members that is a non-empty string, in the row and then in its metadata. */
static struct str first_text(yyjson_val *row, yyjson_val *metadata, const char *const *row_names,
			     const char *const *metadata_names)
{
	for (; row && *row_names; row_names++) {
		struct str s = json_str(yyjson_obj_get(row, *row_names));
		if (s.n)
			return s;
	}
	for (; metadata && *metadata_names; metadata_names++) {
		struct str s = json_str(yyjson_obj_get(metadata, *metadata_names));
		if (s.n)
			return s;
	}
	return (struct str){ 0 };
}

#define NAMES(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static struct str text_or_number(struct arena *arena, yyjson_val *v)
{
	if (yyjson_is_str(v))
		return json_str(v);
	char digits[32];
	if (!yyjson_is_int(v))
		return (struct str){ 0 };
	int n = snprintf(digits, sizeof digits, "%lld", (long long)yyjson_get_sint(v));
	return arena_dup(arena, str_of(digits, (size_t)n));
}

/* NULL for JSON null. */
static yyjson_val *said(yyjson_val *v)
{
	return yyjson_is_null(v) ? NULL : v;
}

/* When the chunk was last right: an ISO 8601 time or unix seconds; the run's own time where nothing is said. false: something
 * is said that is no time. An age that cannot be read must not count as none. */
static bool read_when(yyjson_val *row, yyjson_val *metadata, int64_t now_us, int64_t *ret_us)
{
	static const char *const row_names[] = { "indexed_at", "last_updated" };
	static const char *const metadata_names[] = { "ingestion_timestamp", "indexed_at", "last_updated",
						      "created_at" };
	yyjson_val *when = NULL;
	for (size_t i = 0; when == NULL && i < ARRAY_LEN(row_names); i++)
		when = said(yyjson_obj_get(row, row_names[i]));
	for (size_t i = 0; when == NULL && i < ARRAY_LEN(metadata_names); i++)
		when = said(yyjson_obj_get(metadata, metadata_names[i]));
	*ret_us = now_us;
	if (when == NULL)
		return true;
	if (yyjson_is_str(when))
		return time_parse(json_str(when), ret_us);
	double seconds = yyjson_get_num(when);
	if (!yyjson_is_num(when) || !(seconds > -1e11 && seconds < 1e11))
		return false;
	*ret_us = (int64_t)(seconds * 1e6);
	return true;
}

static bool chunk_from_row(struct retrieved *r, yyjson_val *row, uint32_t position, struct chunk *c)
{
	struct arena *a = &r->arena;
	yyjson_val *object = yyjson_is_obj(row) ? row : NULL;
	yyjson_val *metadata = object ? yyjson_obj_get(object, "metadata") : NULL;
	struct str content = object ? json_str(yyjson_obj_get(object, "content")) : json_str(row);
	c->content = arena_dup(a, content);

	struct str id = first_text(object, metadata, NAMES("chunk_id"), NAMES("chunk_id"));
	char name[32];
	if (id.n == 0)
		id = str_of(name, (size_t)snprintf(name, sizeof name, "chunk_%u", position));
	c->chunk_id = arena_dup(a, id);

	struct str document = first_text(object, metadata, NAMES("document_id"), NAMES("document_id", "source_id"));
	if (document.n == 0 && object)
		document = text_or_number(a, yyjson_obj_get(object, "id"));
	c->document_id = arena_dup(a, document.n ? document : STR("unknown"));

	struct str hash = first_text(object, metadata, NAMES(NULL), NAMES("content_hash"));
	if (hash.n == 0)
		hash = first_text(object, NULL, NAMES("content_hash"), NAMES(NULL));
	char computed[RECORD_HASH_TEXT];
	if (hash.n == 0) {
		record_hash_text(content, computed);
		hash = str_of(computed, sizeof computed);
	}
	c->content_hash = arena_dup(a, hash);

	struct str url = first_text(object, metadata, NAMES("source_url", "url"), NAMES("source_url", "url"));
	if (url.n)
		c->source_url = arena_dup(a, url);

	if (!read_when(object, metadata, r->made_at_us, &c->indexed_at_us))
		return false;

	yyjson_val *score = object ? yyjson_obj_get(object, "score") : NULL;
	if (object && !yyjson_is_num(score))
		score = yyjson_obj_get(object, "similarity_score");
	c->score = yyjson_is_num(score) ? yyjson_get_num(score) : 0.0;

	if (yyjson_is_obj(metadata)) {
		struct buf text = { 0 };
		json_write_value(&text, metadata);
		c->metadata_json = arena_dup(a, buf_str(&text));
		buf_finish(&text);
	}
	return c->content.p && c->chunk_id.p && c->document_id.p && c->content_hash.p;
}

/* The chunk as the Lua code sees it. */
static void chunk_write(const struct chunk *c, struct buf *out)
{
	buf_append_lit(out, "{\"content\":");
	json_write_string(out, c->content);
	buf_append_lit(out, ",\"chunk_id\":");
	json_write_string(out, c->chunk_id);
	buf_append_lit(out, ",\"document_id\":");
	json_write_string(out, c->document_id);
	buf_append_lit(out, ",\"content_hash\":");
	json_write_string(out, c->content_hash);
	buf_append_lit(out, ",\"score\":");
	json_write_float(out, c->score);
	if (c->source_url.p) {
		buf_append_lit(out, ",\"source_url\":");
		json_write_string(out, c->source_url);
	}
	if (c->metadata_json.p) {
		buf_append_lit(out, ",\"metadata\":");
		buf_append_str(out, c->metadata_json);
	}
	buf_append_lit(out, ",\"indexed_at\":\"");
	time_write_z(out, c->indexed_at_us);
	buf_append_lit(out, "\"}");
}

static bool rows_read(struct retrieved *r, yyjson_val *rows, uint32_t top_k, const char **ret_why)
{
	size_t count = yyjson_arr_size(rows);
	if (top_k && count > top_k)
		count = top_k;
	r->chunks = arena_zalloc(&r->arena, (count + 1) * sizeof *r->chunks);
	*ret_why = "the answer is too large";
	if (r->chunks == NULL)
		return false;
	struct buf text = { 0 };
	buf_append_char(&text, '[');
	size_t i, max;
	yyjson_val *row;
	bool ok = true;
	yyjson_arr_foreach(rows, i, max, row) {
		if (i >= count || !ok)
			break;
		if (i)
			buf_append_char(&text, ',');
		ok = chunk_from_row(r, row, (uint32_t)i, &r->chunks[i]);
		if (!ok && r->chunks[i].content_hash.p)
			*ret_why =
			    "a chunk's time (indexed_at, last_updated) is neither an ISO 8601 time nor unix seconds";
		if (ok)
			chunk_write(&r->chunks[i], &text);
	}
	buf_append_char(&text, ']');
	r->chunks_count = (uint32_t)count;
	r->chunks_json = arena_dup(&r->arena, buf_str(&text));
	ok = ok && !text.failed && r->chunks_json.p;
	buf_finish(&text);
	return ok;
}

struct retrieved *retrieved_new(uint32_t retriever, struct str args_json, struct str rows_json, uint32_t top_k,
				int64_t now_us, double latency_ms, const char **ret_why)
{
	struct json_error error;
	yyjson_doc *rows = json_parse(rows_json, &(struct json_limits){ .bytes_max = 16u << 20 }, &error);
	if (rows == NULL || !yyjson_is_arr(yyjson_doc_get_root(rows))) {
		yyjson_doc_free(rows);
		*ret_why = "the answer is not a list";
		return NULL;
	}
	struct retrieved *r = calloc(1, sizeof *r);
	if (r == NULL) {
		yyjson_doc_free(rows);
		*ret_why = "out of memory";
		return NULL;
	}
	*r = (struct retrieved){ .retriever = retriever, .latency_ms = latency_ms, .made_at_us = now_us };
	atomic_init(&r->refs, 1);
	bool ok = rows_read(r, yyjson_doc_get_root(rows), top_k, ret_why);
	yyjson_doc_free(rows);

	r->args_json = arena_dup(&r->arena, args_json);
	yyjson_doc *args = json_parse(args_json, JSON_OWN, &error);
	struct str query = args ? json_str(yyjson_obj_get(yyjson_doc_get_root(args), "query")) : (struct str){ 0 };
	r->query = arena_dup(&r->arena, query);
	yyjson_doc_free(args);
	if (!ok || r->args_json.p == NULL || r->query.p == NULL) {
		retrieved_unref(r);
		return NULL;
	}
	return r;
}

void retrieved_set_reads(struct retrieved *r, struct reads *reads)
{
	reads_unref(r->reads);
	r->reads = reads;
}

size_t retrieved_bytes(const struct retrieved *r)
{
	return sizeof *r + r->arena.used + (r->reads ? r->reads->basis.bytes : 0);
}

struct retrieved *retrieved_ref(struct retrieved *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void retrieved_unref(struct retrieved *r)
{
	if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	reads_unref(r->reads);
	arena_finish(&r->arena);
	free(r);
}

static void get_dispose(struct msg *m)
{
	free(((struct retriever_get *)m)->args_json);
}

struct retriever_get *retriever_get_new(struct loop *loop, struct str args_json)
{
	struct retriever_get *m = rt_msg_new(loop, RETRIEVER_GET);
	m->head.dispose = get_dispose;
	m->args_json = strndup(args_json.p ? args_json.p : "", args_json.n);
	return m;
}

static void got_dispose(struct msg *m)
{
	struct retriever_got *got = (struct retriever_got *)m;
	retrieved_unref(got->retrieved);
	free(got->error);
}

struct retriever_got *retriever_got_new(struct loop *loop, struct retrieved *retrieved, int status, const char *error)
{
	struct retriever_got *m = rt_msg_new(loop, RETRIEVER_GOT);
	m->head.dispose = got_dispose;
	m->retrieved = retrieved ? retrieved_ref(retrieved) : NULL;
	m->error = error ? strdup(error) : NULL;
	m->head.status = retrieved ? RT_OK : status;
	return m;
}
MSG_SIZE_CHECK(retriever_get);
MSG_SIZE_CHECK(retriever_got);
