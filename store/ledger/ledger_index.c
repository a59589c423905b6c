#include "store/ledger/ledger_index.h"
#include "runtime/check.h"
#include "store/text/bytes.h"
#include "store/ledger/ledger_crc.h"
#include <errno.h>
#include <stdlib.h>

/* ---- in memory ---- */
void ledger_index_finish(struct ledger_index *x)
{
	free(x->slots);
	*x = (struct ledger_index){ 0 };
}

static void put(struct ledger_index *x, uint64_t key, uint64_t place)
{
	size_t i = key & (x->cap - 1);
	while (x->slots[i].place != 0)
		i = (i + 1) & (x->cap - 1);
	x->slots[i] = (struct ledger_index_entry){ key, place };
}

bool ledger_index_grow(const struct ledger_index *x, size_t extra, struct ledger_index *ret)
{
	size_t cap = x->cap ? x->cap : 1024;
	*ret = (struct ledger_index){ 0 };
	while ((x->count + extra) * 2 > cap)
		cap *= 2;
	if (cap == x->cap)
		return true;
	struct ledger_index_entry *slots = calloc(cap, sizeof *slots);
	if (slots == NULL)
		return false;
	*ret = (struct ledger_index){ .slots = slots, .count = x->count, .cap = cap };
	for (size_t i = 0; i < x->cap; i++) {
		if (x->slots[i].place != 0)
			put(ret, x->slots[i].key, x->slots[i].place);
	}
	return true;
}

bool ledger_index_reserve(struct ledger_index *x, size_t extra)
{
	struct ledger_index larger;
	if (!ledger_index_grow(x, extra, &larger))
		return false;
	if (larger.slots != NULL) {
		free(x->slots);
		*x = larger;
	}
	return true;
}

void ledger_index_add(struct ledger_index *x, uint64_t key, uint64_t place)
{
	CHECK(place != 0 && (x->count + 1) * 2 <= x->cap);
	put(x, key, place);
	x->count++;
}

size_t ledger_index_find(const struct ledger_index *x, uint64_t key, uint64_t ret_places[static LEDGER_HITS_MAX])
{
	size_t hits = 0;
	if (x->count == 0)
		return 0;
	for (size_t i = key & (x->cap - 1); x->slots[i].place != 0 && hits < LEDGER_HITS_MAX;
	     i = (i + 1) & (x->cap - 1)) {
		if (x->slots[i].key == key)
			ret_places[hits++] = x->slots[i].place;
	}
	return hits;
}

/* ---- on disk: entries {u64 key, u64 place}; a fence {u64 first key, u32 crc} for each 256; u32 CRC of the
 * fences ---- */
enum { FENCE_BYTES = 12 };

static uint64_t fence_count(uint64_t entries)
{
	return (entries + LEDGER_INDEX_FANOUT - 1) / LEDGER_INDEX_FANOUT;
}

uint64_t ledger_index_disk_bytes(uint64_t entries)
{
	return align_up(entries * LEDGER_INDEX_ENTRY + fence_count(entries) * FENCE_BYTES + 4, LEDGER_BLOCK);
}

static int compare_entries(const void *a, const void *b)
{
	const struct ledger_index_entry *x = a, *y = b;
	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

static size_t block_bytes(uint64_t entries, size_t block)
{
	uint64_t left = entries - (uint64_t)block * LEDGER_INDEX_FANOUT;
	return (size_t)(left < LEDGER_INDEX_FANOUT ? left : LEDGER_INDEX_FANOUT) * LEDGER_INDEX_ENTRY;
}

static void write_sorted(const struct ledger_index_entry *sorted, size_t n, uint8_t *p)
{
	uint8_t *fences = p + n * LEDGER_INDEX_ENTRY;
	size_t count = (size_t)fence_count(n);
	for (size_t i = 0; i < n; i++) {
		put_u64(p + i * LEDGER_INDEX_ENTRY, sorted[i].key);
		put_u64(p + i * LEDGER_INDEX_ENTRY + 8, sorted[i].place);
	}
	for (size_t b = 0; b < count; b++) {
		const uint8_t *block = p + b * LEDGER_INDEX_FANOUT * LEDGER_INDEX_ENTRY;
		put_u64(fences + b * FENCE_BYTES, get_u64(block));
		put_u32(fences + b * FENCE_BYTES + 8, ledger_crc32c(0, block, block_bytes(n, b)));
	}
	put_u32(fences + count * FENCE_BYTES, ledger_crc32c(0, fences, count * FENCE_BYTES));
}

bool ledger_index_write(const struct ledger_index *x, struct buf *out)
{
	struct ledger_index_entry *sorted = malloc((x->count ? x->count : 1) * sizeof *sorted);
	size_t bytes = (size_t)ledger_index_disk_bytes(x->count), n = 0;
	if (sorted == NULL || !buf_reserve(out, bytes)) {
		free(sorted);
		return false;
	}
	for (size_t i = 0; i < x->cap; i++) {
		if (x->slots[i].place != 0)
			sorted[n++] = x->slots[i];
	}
	CHECK(n == x->count);
	qsort(sorted, n, sizeof *sorted, compare_entries);
	memset(out->p + out->n, 0, bytes);
	write_sorted(sorted, n, (uint8_t *)out->p + out->n);
	out->n += bytes;
	free(sorted);
	return true;
}

int ledger_fences_load(const struct ledger_io *io, int fd, const struct ledger_segment_foot *foot,
		       struct ledger_fences *ret)
{
	if (foot->index_entries > (1ull << 32))
		return -EBADMSG;
	size_t count = (size_t)fence_count(foot->index_entries), n = count * FENCE_BYTES + 4;
	uint8_t *bytes = malloc(n);
	struct ledger_fences f = { .blocks = malloc((count ? count : 1) * sizeof *f.blocks), .count = count };
	int error = bytes == NULL || f.blocks == NULL ? -ENOMEM : 0;
	if (error == 0) {
		uint64_t at = foot->index_at + foot->index_entries * LEDGER_INDEX_ENTRY;
		ssize_t got = ledger_io_read_all(io, fd, bytes, n, at);
		if (got < 0)
			error = (int)got;
		else if ((size_t)got != n || get_u32(bytes + n - 4) != ledger_crc32c(0, bytes, n - 4))
			error = -EBADMSG;
	}
	for (size_t b = 0; error == 0 && b < count; b++) {
		f.blocks[b].key = get_u64(bytes + b * FENCE_BYTES);
		f.blocks[b].crc = get_u32(bytes + b * FENCE_BYTES + 8);
	}
	free(bytes);
	if (error != 0)
		ledger_fences_finish(&f);
	else
		*ret = f;
	return error;
}

void ledger_fences_finish(struct ledger_fences *f)
{
	free(f->blocks);
	*f = (struct ledger_fences){ 0 };
}

int ledger_fences_find(const struct ledger_fences *f, const struct ledger_io *io, int fd,
		       const struct ledger_segment_foot *foot, uint64_t key,
		       uint64_t ret_places[static LEDGER_HITS_MAX])
{
	uint8_t block[LEDGER_INDEX_ENTRY * LEDGER_INDEX_FANOUT];
	size_t low = 0, high = f->count; /* the last fence below the key: equal keys may start in the block
					    before */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (f->blocks[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	size_t hits = 0;
	for (size_t b = low > 0 ? low - 1 : 0; b < f->count && f->blocks[b].key <= key; b++) {
		size_t n = block_bytes(foot->index_entries, b);
		ssize_t got = ledger_io_read_all(io, fd, block, n, foot->index_at + (uint64_t)b * sizeof block);
		if (got < 0)
			return (int)got;
		if ((size_t)got != n || ledger_crc32c(0, block, n) != f->blocks[b].crc)
			return -EBADMSG;
		for (size_t i = 0; i < n && hits < LEDGER_HITS_MAX; i += LEDGER_INDEX_ENTRY) {
			if (get_u64(block + i) == key)
				ret_places[hits++] = get_u64(block + i + 8);
		}
	}
	return (int)hits;
}

/* ---- keys ---- */
static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

uint64_t ledger_key_of_hash(const uint8_t hash[static 32])
{
	return get_u64(hash);
}

uint64_t ledger_key_of_id(EVP_MD_CTX *hasher, struct str id)
{
	char text[RECORD_ID_MAX];
	uint8_t digest[32];
	id = record_id_bare(id);
	CHECK(id.n <= sizeof text);
	for (size_t i = 0; i < id.n; i++)
		text[i] = lower(id.p[i]);
	ledger_sha256(hasher, str_of(text, id.n), digest);
	return get_u64(digest);
}
