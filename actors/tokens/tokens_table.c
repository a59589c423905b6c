#include "actors/tokens/tokens_table.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Four lanes, because one multiply chain over five megabytes would take longer than the map itself. */
uint64_t tokens_table_checksum(const void *p, size_t n)
{
	uint64_t lanes[4] = { 1, 2, 3, 4 }, words[4];
	const uint8_t *at = p;
	size_t left = n;
	for (; left >= 32; left -= 32, at += 32) {
		memcpy(words, at, 32);
		for (int i = 0; i < 4; i++)
			lanes[i] = tokens_fold(lanes[i] ^ words[i], 0x9e3779b97f4a7c15ull + (uint64_t)i);
	}
	memset(words, 0, sizeof words);
	memcpy(words, at, left);
	uint64_t sum = n;
	for (int i = 0; i < 4; i++)
		sum = tokens_fold(sum ^ lanes[i] ^ words[i], 0xc4ceb9fe1a85ec53ull);
	return sum;
}

static bool part_fits(const struct tokens_file_header *h, uint64_t at, uint64_t bytes)
{
	return at % 64 == 0 && at >= sizeof *h && at <= h->file_bytes && bytes <= h->file_bytes - at;
}

static const char *header_fault(const struct tokens_file_header *h, size_t file_bytes, const char *encoding)
{
	if (file_bytes < sizeof *h || memcmp(h->magic, TOKENS_FILE_MAGIC, sizeof h->magic) != 0)
		return "is not a rank table of this version";
	if (h->file_bytes != file_bytes)
		return "is cut short";
	if (strncmp(h->encoding, encoding, sizeof h->encoding) != 0)
		return "is the table of another encoding";
	if (h->bucket_bits > 24 || h->token_bytes_max > TOKENS_TOKEN_MAX || !part_fits(h, h->singles_at, 4 * 256) ||
	    !part_fits(h, h->pairs_at, 4 * 65536) || !part_fits(h, h->filter_at, 8ull << TOKENS_FILTER_BITS) ||
	    h->merge_bits > 24 || !part_fits(h, h->merges_at, 8ull << h->merge_bits) ||
	    !part_fits(h, h->buckets_at, sizeof(struct tokens_bucket) << h->bucket_bits) ||
	    !part_fits(h, h->bytes_at, 0))
		return "has a damaged header";
	if (h->checksum != tokens_table_checksum(h + 1, file_bytes - sizeof *h))
		return "is damaged (the checksum does not match)";
	return NULL;
}

static int map_file(const char *path, void **ret_p, size_t *ret_n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct stat st;
	int error = fstat(fd, &st) < 0 ? -errno : st.st_size <= 0 ? -EINVAL : 0;
	void *p = MAP_FAILED;
	if (error == 0) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
		error = p == MAP_FAILED ? -errno : 0;
	}
	close(fd);
	if (error < 0)
		return error;
	*ret_p = p;
	*ret_n = (size_t)st.st_size;
	return 0;
}

int tokens_table_open(struct tokens_table *t, const char *folder, const char *encoding, struct buf *errors)
{
	const char *cure = "build or install again, or point FABRA_DATA_DIR at the folder with the tables";
	char path[4096];
	void *p = NULL;
	size_t n = 0;
	int length = snprintf(path, sizeof path, "%s/%s.ranks", folder, encoding);
	int error = length < 0 || (size_t)length >= sizeof path ? -ENAMETOOLONG : map_file(path, &p, &n);
	if (error < 0) {
		buf_printf(errors, "token table %s: %s; %s\n", path, strerror(-error), cure);
		return error;
	}
	const char *fault = header_fault(p, n, encoding);
	if (fault != NULL) {
		buf_printf(errors, "token table %s %s; %s\n", path, fault, cure);
		munmap(p, n);
		return -EBADMSG;
	}
	const struct tokens_file_header *h = p;
	const uint8_t *base = p;
	*t = (struct tokens_table){
		.header = h,
		.singles = (const uint32_t *)(const void *)(base + h->singles_at),
		.pairs = (const uint32_t *)(const void *)(base + h->pairs_at),
		.filter = (const uint64_t *)(const void *)(base + h->filter_at),
		.merges = (const uint64_t *)(const void *)(base + h->merges_at),
		.merge_mask = (1u << h->merge_bits) - 1,
		.buckets = (const struct tokens_bucket *)(const void *)(base + h->buckets_at),
		.bucket_mask = (1u << h->bucket_bits) - 1,
		.bytes = base + h->bytes_at,
	};
	return 0;
}

void tokens_table_close(struct tokens_table *t)
{
	if (t->header != NULL)
		munmap((void *)(uintptr_t)t->header, t->header->file_bytes);
	*t = (struct tokens_table){ 0 };
}

uint32_t tokens_table_find_long(const struct tokens_table *t, const uint8_t *p, size_t n)
{
	if (n > t->header->token_bytes_max)
		return TOKENS_NO_RANK;
	uint64_t hash = tokens_long_hash(p, n);
	for (uint32_t at = tokens_bucket_of(hash, t->bucket_mask);; at = (at + 1) & t->bucket_mask)
		for (const struct tokens_slot *s = t->buckets[at].slots, *stop = s + 4; s < stop; s++) {
			if (s->a == hash && s->meta >> TOKENS_RANK_BITS == n && memcmp(t->bytes + s->b, p, n) == 0)
				return s->meta & TOKENS_RANK_MASK;
			if (s->meta == 0)
				return TOKENS_NO_RANK;
		}
}
