/* Keys are in a hash table by their fingerprint and in a queue by age: all are kept equally long, so the oldest are always
 * at its head. One lock for all; only requests with a key take it. */
#include "store/evidence/idempotency.h"
#include "runtime/check.h"
#include "runtime/list.h"
#include "store/evidence/entries.h"
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

enum { BUCKETS_MAX = 1 << 20 };
enum { EXPIRED_AT_ONCE = 2 }; /* more than come, so that the queue empties; few, because a loop waits */

struct known {
	struct known *next_in_bucket;
	struct dlist by_age;
	struct idempotency_id id;
	struct idempotency_first first; /* received_us: set from the beginning. lsn 0: under way */
};

struct idempotency {
	pthread_mutex_t lock;
	uint32_t count, keys_max, mask;
	struct dlist by_age; /* oldest first */
	struct known *buckets[];
};

struct idempotency *idempotency_create(uint32_t keys_max)
{
	uint32_t buckets = 1024;
	keys_max = keys_max ? keys_max : IDEMPOTENCY_KEYS_DEFAULT;
	while (buckets < keys_max && buckets < BUCKETS_MAX)
		buckets *= 2;
	struct idempotency *t = calloc(1, sizeof *t + buckets * sizeof t->buckets[0]);
	if (t == NULL)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->keys_max = keys_max;
	t->mask = buckets - 1;
	dlist_init(&t->by_age);
	return t;
}

void idempotency_destroy(struct idempotency *t)
{
	if (t == NULL)
		return;
	for (struct dlist *at = t->by_age.next, *next; at != &t->by_age; at = next) {
		next = at->next;
		free(CONTAINER_OF(at, struct known, by_age));
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

bool idempotency_fingerprint(const struct str *parts, size_t count, uint8_t ret[static IDEMPOTENCY_FINGERPRINT])
{
	struct buf text = { 0 };
	unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL);
	for (size_t i = 0; ok && i < count; i++) {
		buf_clear(&text);
		buf_printf(&text, "%zu:", parts[i].n);
		ok = !text.failed && EVP_DigestUpdate(c, text.p, text.n) &&
		     (parts[i].n == 0 || EVP_DigestUpdate(c, parts[i].p, parts[i].n));
	}
	ok = ok && EVP_DigestFinal_ex(c, digest, NULL);
	memcpy(ret, digest, IDEMPOTENCY_FINGERPRINT);
	EVP_MD_CTX_free(c);
	buf_finish(&text);
	return ok;
}

/* ---- under the lock ---- */

/* The link that holds the key, or the NULL at the end of its bucket. */
static struct known **find_link(struct idempotency *t, const struct idempotency_id *id)
{
	uint32_t hash;
	memcpy(&hash, id->key, sizeof hash); /* of a hash, as good as any */
	struct known **link = &t->buckets[hash & t->mask];
	while (*link && memcmp((*link)->id.key, id->key, sizeof id->key) != 0)
		link = &(*link)->next_in_bucket;
	return link;
}

static bool is_past(const struct known *k, int64_t now_us)
{
	return k->first.received_us <= now_us - IDEMPOTENCY_KEEP_US;
}

static void drop(struct idempotency *t, struct known **link)
{
	struct known *k = *link;
	*link = k->next_in_bucket;
	dlist_remove(&k->by_age);
	t->count--;
	free(k);
}

static void expire(struct idempotency *t, int64_t now_us)
{
	for (int i = 0; i < EXPIRED_AT_ONCE && !dlist_is_empty(&t->by_age); i++) {
		struct known *k = CONTAINER_OF(t->by_age.next, struct known, by_age);
		if (!is_past(k, now_us))
			return;
		drop(t, find_link(t, &k->id));
	}
}

static struct known *add(struct idempotency *t, struct known **link, const struct idempotency_id *id,
			 int64_t received_us)
{
	struct known *k = calloc(1, sizeof *k);
	if (k == NULL)
		return NULL;
	k->id = *id;
	k->first.received_us = received_us;
	*link = k;
	dlist_append(&t->by_age, &k->by_age);
	t->count++;
	return k;
}

/* ---- requests ---- */

static enum idempotency_result begin(struct idempotency *t, const struct idempotency_id *id, int64_t now_us,
				     struct idempotency_first *ret_first)
{
	struct known **link = find_link(t, id);
	if (*link) {
		*ret_first = (*link)->first;
		if (memcmp((*link)->id.request, id->request, sizeof id->request) != 0)
			return IDEMPOTENCY_OTHER;
		return (*link)->first.lsn ? IDEMPOTENCY_DONE : IDEMPOTENCY_UNDER_WAY;
	}
	if (t->count >= t->keys_max || add(t, link, id, now_us) == NULL)
		return IDEMPOTENCY_FULL;
	return IDEMPOTENCY_NEW;
}

enum idempotency_result idempotency_begin(struct idempotency *t, const struct idempotency_id *id, int64_t now_us,
					  struct idempotency_first *ret_first)
{
	pthread_mutex_lock(&t->lock);
	expire(t, now_us);
	struct known **link = find_link(t, id);
	if (*link && is_past(*link, now_us)) /* its turn in the queue has not come yet */
		drop(t, link);
	enum idempotency_result result = begin(t, id, now_us, ret_first);
	pthread_mutex_unlock(&t->lock);
	return result;
}

void idempotency_done(struct idempotency *t, const struct idempotency_id *id, const struct idempotency_first *first)
{
	pthread_mutex_lock(&t->lock);
	struct known *k = *find_link(t, id);
	if (k)
		k->first = *first;
	pthread_mutex_unlock(&t->lock);
}

void idempotency_abandon(struct idempotency *t, const struct idempotency_id *id)
{
	pthread_mutex_lock(&t->lock);
	struct known **link = find_link(t, id);
	if (*link)
		drop(t, link);
	pthread_mutex_unlock(&t->lock);
}

uint32_t idempotency_count(struct idempotency *t)
{
	pthread_mutex_lock(&t->lock);
	uint32_t count = t->count;
	pthread_mutex_unlock(&t->lock);
	return count;
}

/* ---- the start ---- */

static bool load_event(struct idempotency *t, const struct log_source_entry *frame, int64_t now_us)
{
	struct entry_event e;
	struct idempotency_id id;
	if (!entry_event_read(frame->body, &e) || e.idempotency.n != sizeof id ||
	    e.received_us <= now_us - IDEMPOTENCY_KEEP_US || e.event_id.n != UUID_TEXT)
		return true;
	memcpy(&id, e.idempotency.p, sizeof id);
	struct known **link = find_link(t, &id);
	if (*link)
		return true; /* the first was the one that was answered */
	struct known *k = add(t, link, &id, e.received_us);
	if (k == NULL)
		return false;
	k->first.lsn = frame->lsn;
	memcpy(k->first.event_id, e.event_id.p, UUID_TEXT);
	return true;
}

bool idempotency_load(struct idempotency *t, const struct log_source *log, int64_t now_us, struct buf *ret_why)
{
	struct log_source_entry frame;
	enum log_source_result r;
	struct log_scan *scan = log->open(log->log, log->lsn_at(log->log, now_us - IDEMPOTENCY_KEEP_US), ret_why);
	bool ok = scan != NULL;
	while (ok && ((r = scan->next(scan, &frame)) == LOG_SOURCE_ENTRY || r == LOG_SOURCE_CORRUPT)) {
		if (r == LOG_SOURCE_ENTRY && frame.kind == EVIDENCE_EVENT && !load_event(t, &frame, now_us)) {
			buf_append_lit(ret_why, "out of memory");
			ok = false;
		}
	}
	if (ok && r != LOG_SOURCE_END) {
		buf_append_lit(ret_why, "the ledger cannot be read");
		ok = false;
	}
	log_scan_close(scan);
	return ok;
}
