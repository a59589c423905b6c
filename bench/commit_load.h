/* What bench_raw_commit and bench_ledger share: options, a folder, and the figures of acknowledgement
 * times. */
#pragma once
#include "runtime/clock.h"
#include "runtime/str.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct commit_load {
	unsigned writers, bytes; /* of one record */
	double seconds;
	const char *dir;
	uint32_t *times_ns; /* of acknowledgements; a ring of TIMES_MAX */
	uint64_t count;
	uint64_t start_ns, end_ns;
};
enum { TIMES_MAX = 4 << 20 };

/* --writers N --bytes B --seconds S --dir D (a folder on the disk to measure; the default is where one
 * stands). */
static inline struct commit_load commit_load_parse(int argc, char **argv)
{
	struct commit_load load = { .writers = 16, .bytes = 8600, .seconds = 2, .dir = "." };
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--writers") == 0)
			load.writers = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--bytes") == 0)
			load.bytes = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--seconds") == 0)
			load.seconds = atof(argv[i + 1]);
		else if (strcmp(argv[i], "--dir") == 0)
			load.dir = argv[i + 1];
	}
	if (load.writers == 0 || load.writers > 1024 || load.bytes < 64 || load.bytes > 1 << 20 || load.seconds <= 0) {
		fprintf(stderr, "usage: %s [--writers 1..1024] [--bytes 64..1048576] [--seconds S] [--dir D]\n",
			argv[0]);
		exit(2);
	}
	load.times_ns = malloc(sizeof *load.times_ns * TIMES_MAX);
	if (load.times_ns == NULL)
		abort();
	return load;
}

static inline void commit_load_note(struct commit_load *load, uint64_t took_ns)
{
	load->times_ns[load->count++ % TIMES_MAX] = took_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ns;
}

static inline int commit_load_compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static inline void commit_load_print(struct commit_load *load, const char *name)
{
	size_t n = load->count < TIMES_MAX ? (size_t)load->count : TIMES_MAX;
	if (n == 0)
		abort();
	qsort(load->times_ns, n, sizeof load->times_ns[0], commit_load_compare);
	printf("%s writers %u bytes %u: %.0f rec/s, ack p50 %.3f p99 %.3f p99.9 %.3f ms\n", name, load->writers,
	       load->bytes, (double)load->count * 1e9 / (double)(load->end_ns - load->start_ns),
	       load->times_ns[n / 2] / 1e6, load->times_ns[n * 99 / 100] / 1e6, load->times_ns[n * 999 / 1000] / 1e6);
	free(load->times_ns);
}
