/* context_cache.c -- assembled contexts of one loop, by name and arguments.
 *
 * It keeps what PUT brings, and answers GET with it until it expires, or until a reader would find something else than what was read
 * for it. With an online store that is not in memory such a GET is CHECKED first: asked of `stored`, then answered.
 * Bounds: ENTRIES_MAX and BYTES_MAX, the oldest entries make room; CHECKS_MAX, beyond which nothing is found. */
#include "actors/context_cache.h"
#include "actors/stored.h"
#include "runtime/hash.h"
#include <stdlib.h>

enum { ENTRIES_MAX = 10000, BUCKETS = 4096, BYTES_MAX = 64 << 20, CHECKS_MAX = 4096, CHECK_BUCKETS = 256 };

struct cached {
	struct cached *next_in_bucket;
	struct cached *older, *newer;
	uint64_t hash;
	int64_t expires_us;
	struct material *material; /* shares */
	size_t bytes;
	char *key; /* owned */
};

struct check { /* a GET whose answer may be outdated */
	struct check *next;
	uint64_t op;
	struct msg *request;       /* taken */
	struct material *material; /* shares */
};

struct context_cache {
	struct actor base;
	const struct node *node;
	struct node_loop *nl;
	struct check *checks[CHECK_BUCKETS]; /* by op */
	uint32_t checks_count;
	struct cached *buckets[BUCKETS];
	struct cached *oldest, *newest;
	uint32_t entries;
	size_t bytes;
};

static struct cached *find(struct context_cache *s, const char *key, uint64_t hash)
{
	struct cached *c = s->buckets[hash % BUCKETS];
	while (c && !(c->hash == hash && strcmp(c->key, key) == 0))
		c = c->next_in_bucket;
	return c;
}

static void forget(struct context_cache *s, struct cached *c)
{
	struct cached **at = &s->buckets[c->hash % BUCKETS];
	while (*at != c)
		at = &(*at)->next_in_bucket;
	*at = c->next_in_bucket;
	*(c->older ? &c->older->newer : &s->oldest) = c->newer;
	*(c->newer ? &c->newer->older : &s->newest) = c->older;
	s->entries--;
	s->bytes -= c->bytes;
	material_unref(c->material);
	free(c->key);
	free(c);
}

/* ---- messages in ---- */

static void item_dispose(struct msg *m)
{
	struct context_cache_item *item = (struct context_cache_item *)m;
	free(item->key);
	material_unref(item->material);
}

static struct context_cache_item *item_new(struct loop *loop, uint16_t kind, struct material *material)
{
	struct context_cache_item *m = rt_msg_new(loop, kind);
	m->head.dispose = item_dispose;
	m->material = material ? material_ref(material) : NULL;
	return m;
}

static void answer(struct context_cache *s, struct msg *m, struct material *material)
{
	rt_reply(&s->base, m, &item_new(s->base.loop, CONTEXT_CACHE_GOT, material)->head);
}

/* ---- CHECKED ---- */

/* false: it cannot be asked now. */
static bool begin_check(struct context_cache *s, struct msg *m, struct material *material)
{
	struct check *check = s->checks_count < CHECKS_MAX ? malloc(sizeof *check) : NULL;
	struct stored_read *ask = check ? reads_ask_new(material->reads, s->node, s->base.loop) : NULL;
	if (ask == NULL) {
		free(check);
		return false;
	}
	uint64_t op = rt_ask(&s->base, node_stored(s->nl), &ask->head, m->deadline_ns, ACTOR_NONE);
	struct check **bucket = &s->checks[hash_mix(op) % CHECK_BUCKETS];
	*check = (struct check){ .next = *bucket, .op = op, .request = m, .material = material_ref(material) };
	*bucket = check;
	s->checks_count++;
	rt_msg_take(m);
	return true;
}

static struct check *take_check(struct context_cache *s, uint64_t op)
{
	struct check **at = &s->checks[hash_mix(op) % CHECK_BUCKETS];
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct check *check = *at;
	if (check) {
		*at = check->next;
		s->checks_count--;
	}
	return check;
}

static void on_checked(struct context_cache *s, const struct msg *m)
{
	struct check *check = m->op ? take_check(s, m->op) : NULL;
	if (check == NULL)
		return;
	struct material *material = check->material;
	const char *key = ((struct context_cache_get *)check->request)->key;
	bool current = reads_are_current_as(material->reads, s->node, material->made_at_us, m);
	struct cached *c = find(s, key, hash64(str_from(key)));
	if (!current && c && c->material == material)
		forget(s, c);
	answer(s, check->request, current ? material : NULL);
	material_unref(material);
	free(check);
}

static void on_get(struct context_cache *s, struct msg *m)
{
	const char *key = ((struct context_cache_get *)m)->key;
	struct cached *c = find(s, key, hash64(str_from(key)));
	int64_t now_us = loop_wall_us(s->base.loop);
	if (c && now_us < c->expires_us && reads_must_ask(c->material->reads, s->node)) {
		if (!begin_check(s, m, c->material))
			answer(s, m, NULL);
		return;
	}
	if (c && (now_us >= c->expires_us ||
		  !reads_are_current(c->material->reads, s->node, c->material->made_at_us, now_us))) {
		forget(s, c);
		c = NULL;
	}
	answer(s, m, c ? c->material : NULL);
}

static size_t material_bytes(const struct material *m)
{
	size_t bytes = sizeof *m + m->arena.used + sizeof *m->reads + m->reads->arena.used;
	for (uint32_t i = 0; i < m->reads->calls_count; i++)
		bytes += retrieved_bytes(m->reads->calls[i].retrieved);
	return bytes;
}

static void on_put(struct context_cache *s, struct context_cache_item *m)
{
	uint64_t hash = hash64(str_from(m->key));
	struct cached *old = find(s, m->key, hash);
	if (old)
		forget(s, old);
	size_t bytes = sizeof *old + strlen(m->key) + material_bytes(m->material);
	if (bytes > BYTES_MAX)
		return;
	while (s->oldest && (s->entries >= ENTRIES_MAX || s->bytes + bytes > BYTES_MAX))
		forget(s, s->oldest);
	struct cached *c = malloc(sizeof *c);
	if (c == NULL)
		return;
	*c = (struct cached){ .next_in_bucket = s->buckets[hash % BUCKETS],
			      .older = s->newest,
			      .hash = hash,
			      .expires_us = m->expires_us,
			      .material = m->material,
			      .bytes = bytes,
			      .key = m->key };
	m->material = NULL;
	m->key = NULL;
	s->buckets[hash % BUCKETS] = c;
	*(s->newest ? &s->newest->newer : &s->oldest) = c;
	s->newest = c;
	s->entries++;
	s->bytes += bytes;
}

static void context_cache_on_message(struct actor *a, struct msg *m)
{
	struct context_cache *s = (struct context_cache *)a;
	switch (m->kind) {
	case CONTEXT_CACHE_GET:
		on_get(s, m);
		return;
	case CONTEXT_CACHE_PUT:
		on_put(s, (struct context_cache_item *)m);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		on_checked(s, m);
		return;
	}
}

static int context_cache_init(struct actor *a, void *arg)
{
	struct context_cache *s = (struct context_cache *)a;
	s->nl = arg;
	s->node = s->nl->node;
	return 0;
}

static void context_cache_finish(struct actor *a)
{
	struct context_cache *s = (struct context_cache *)a;
	for (size_t b = 0; b < CHECK_BUCKETS; b++)
		for (struct check *check = s->checks[b], *next; check; check = next) {
			next = check->next;
			rt_msg_free(a->loop, check->request);
			material_unref(check->material);
			free(check);
		}
	while (s->oldest)
		forget(s, s->oldest);
}

const struct actor_class context_cache_class = {
	.name = "context_cache",
	.size = sizeof(struct context_cache),
	.mailbox_len_max = 65536,
	.init = context_cache_init,
	.on_message = context_cache_on_message,
	.finish = context_cache_finish,
};

/* ---- messages ---- */

static void get_dispose(struct msg *m)
{
	free(((struct context_cache_get *)m)->key);
}

struct msg *context_cache_get_new(struct loop *loop, const char *key)
{
	struct context_cache_get *m = rt_msg_new(loop, CONTEXT_CACHE_GET);
	m->head.dispose = get_dispose;
	m->key = strdup(key);
	return &m->head;
}

struct msg *context_cache_put_new(struct loop *loop, const char *key, struct material *material, int64_t expires_us)
{
	struct context_cache_item *m = item_new(loop, CONTEXT_CACHE_PUT, material);
	m->key = strdup(key);
	m->expires_us = expires_us;
	return &m->head;
}

MSG_SIZE_CHECK(context_cache_get);
MSG_SIZE_CHECK(context_cache_item);

/* ---- the key ---- */

static bool names_a_call(struct str name)
{
	static const struct str names[] = { { "call_id", 7 },
					    { "session_id", 10 },
					    { "turn_id", 7 },
					    { "turn_index", 10 },
					    { "interaction_ref", 15 } };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (str_eq(name, names[i]))
			return true;
	return false;
}

/* May the text depend on it? Items show declared parameters; a function gets all names that came. */
static bool is_seen(const struct def_context *context, struct str name)
{
	if (context->has_build)
		return true;
	for (uint32_t i = 0; i < context->params_count; i++)
		if (str_eq(context->params[i].name, name))
			return true;
	return false;
}

char *context_cache_key(const struct def_context *context, yyjson_val *args)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *kept = yyjson_mut_obj(doc);
	size_t i, max;
	yyjson_val *name, *value;
	yyjson_obj_foreach(args, i, max, name, value) {
		if (!names_a_call(json_str(name)) || is_seen(context, json_str(name)))
			yyjson_mut_obj_add(kept, yyjson_val_mut_copy(doc, name), yyjson_val_mut_copy(doc, value));
	}
	yyjson_mut_doc_set_root(doc, kept);
	yyjson_doc *plain = yyjson_mut_doc_imut_copy(doc, NULL);
	struct buf key = { 0 };
	buf_append_str(&key, context->name);
	buf_append_char(&key, ' ');
	json_canonical_value(&key, yyjson_doc_get_root(plain));
	buf_append_char(&key, '\0');
	yyjson_doc_free(plain);
	yyjson_mut_doc_free(doc);
	size_t n;
	char *text = key.failed ? NULL : buf_take(&key, &n);
	buf_finish(&key);
	return text;
}
