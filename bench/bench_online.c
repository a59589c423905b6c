/* The online table alone: cost of a read and a write on one thread and on two, memory per feature, and what
 * the eviction keeps of a skewed load. Usage: bench_online [ids]. The lines are stable: name, value, unit. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/online/online_memory.h"
#include <malloc.h>
#include <math.h>
#include <pthread.h>

enum { OPS = 10000, ROUNDS = 301, KIND = 1, FEATURE = 3, ID_BYTES = 12 };

struct work {
	struct online *t;
	char (*ids)[ID_BYTES];
	unsigned ids_len;
	uint64_t seed;
	uint64_t (*run)(struct work *w);
	uint64_t ns; /* out */
};

static uint32_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*seed >> 33);
}

static struct str pick(struct work *w)
{
	return str_of(w->ids[(uint64_t)next(&w->seed) * w->ids_len >> 31], ID_BYTES);
}

/* What the loop and the choice of ids cost without the table, to be subtracted in the reader's head. */
static uint64_t run_nothing(struct work *w)
{
	uint64_t sum = 0;
	for (int i = 0; i < OPS; i++)
		sum += (unsigned char)pick(w).p[0];
	return sum;
}

/* One miss of the caches: a table of as many lines as there are ids, read at random, each read waiting for
 * the last. */
static uint64_t run_miss(struct work *w)
{
	uint64_t sum = 1, *lines = calloc(w->ids_len, 64);
	CHECK(lines != NULL);
	for (size_t i = 0; i < w->ids_len; i++)
		lines[i * 8] = 1;
	uint64_t start = clock_mono_ns();
	for (int i = 0; i < OPS; i++) {
		w->seed += sum & 1;
		sum = lines[((uint64_t)next(&w->seed) * w->ids_len >> 31) * 8];
	}
	w->ns = clock_mono_ns() - start;
	free(lines);
	return sum;
}

static uint64_t run_copy(struct work *w)
{
	char out[64];
	size_t n;
	uint64_t found = 0;
	struct online_meta meta;
	for (int i = 0; i < OPS; i++)
		found += online_read_copy(w->t, (struct online_key[]){ online_key(KIND, pick(w)) }, FEATURE, 0, out,
					  sizeof out, &n, &meta) == ONLINE_HIT;
	return found;
}

static uint64_t run_get(struct work *w)
{
	uint64_t found = 0;
	struct online_cell c;
	for (int i = 0; i < OPS; i++) {
		found += online_get(w->t, KIND, pick(w), FEATURE, 0, &c);
		value_unref(c.value);
	}
	return found;
}

static uint64_t run_put(struct work *w)
{
	uint64_t done = 0;
	for (int i = 0; i < OPS; i++) {
		struct value *v = value_create(STR("\"premium customer\""));
		struct online_write write = { KIND, FEATURE, pick(w), v, { i, (uint64_t)i, i, 0, 0, 0, 0 } };
		done += online_put(w->t, &write) == ONLINE_APPLIED;
		value_unref(v);
	}
	return done;
}

static void *run_thread(void *arg)
{
	struct work *w = arg;
	uint64_t start = clock_mono_ns();
	CHECK(w->run(w) > 0);
	if (w->ns == 0) /* unless run timed a part of itself */
		w->ns = clock_mono_ns() - start;
	return NULL;
}

static uint64_t run_threads(struct work work, unsigned threads, unsigned round)
{
	struct work w[2] = { work, work };
	pthread_t id[2];
	uint64_t ns = 0;
	for (unsigned i = 0; i < threads; i++) {
		w[i].seed = round * 104729 + i * 7919;
		CHECK(pthread_create(&id[i], NULL, run_thread, &w[i]) == 0);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(id[i], NULL);
		ns += w[i].ns;
	}
	return ns / threads;
}

/* The best round says what the table costs, the middle one what it costs on a machine with other work. */
static void measure(const char *name, struct work work, uint64_t (*run)(struct work *), unsigned threads)
{
	uint64_t ns[ROUNDS];
	work.run = run;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned at = i;
		uint64_t took = run_threads(work, threads, i);
		for (; at > 0 && ns[at - 1] > took; at--)
			ns[at] = ns[at - 1];
		ns[at] = took;
	}
	printf("%-28s %8.1f ns best, %.1f ns median\n", name, (double)ns[0] / OPS, (double)ns[ROUNDS / 2] / OPS);
}

static void fill(struct online *t, char (*ids)[ID_BYTES], unsigned n, uint32_t features)
{
	for (unsigned i = 0; i < n; i++)
		for (uint32_t f = 0; f < features; f++) {
			struct value *v = value_create(STR("\"premium customer\""));
			struct online_write w = { KIND, FEATURE + f, str_of(ids[i], ID_BYTES), v, { 0 } };
			CHECK(online_put(t, &w) == ONLINE_APPLIED);
			value_unref(v);
		}
}

static void measure_memory(const char *name, char (*ids)[ID_BYTES], unsigned n, uint32_t features)
{
	struct online *t = online_create(&(struct online_config){ .bytes_max = 1u << 30 });
	struct online_stats empty, s;
	online_stats(t, &empty);
	size_t heap = mallinfo2().uordblks;
	fill(t, ids, n, features);
	online_stats(t, &s);
	printf("%-28s %8.1f bytes counted, %.1f by the allocator\n", name,
	       (double)(s.bytes - empty.bytes) / n / features, (double)(mallinfo2().uordblks - heap) / n / features);
	online_destroy(t);
}

/* Ids by Zipf's law over ten times what fits, read through: a miss puts. Prints the share of hits. */
static void measure_eviction(void)
{
	struct online *t = online_create(&(struct online_config){ .bytes_max = 4 << 20 });
	enum { UNIVERSE = 200000, READS = 1000000 };
	uint64_t seed = 5, hits = 0;
	struct online_stats s;
	for (int i = 0; i < READS; i++) {
		double u = (next(&seed) + 1.0) / 2147483649.0;
		uint32_t rank = (uint32_t)(pow((double)UNIVERSE, u) - 1); /* density 1/rank */
		struct str id = str_of((char *)&rank, sizeof rank);
		char out[64];
		size_t n;
		struct online_meta meta;
		if (online_read_copy(t, (struct online_key[]){ online_key(KIND, id) }, FEATURE, 0, out, sizeof out, &n,
				     &meta) == ONLINE_HIT) {
			hits += i >= READS / 2;
			continue;
		}
		struct value *v = value_create(STR("\"premium customer\""));
		struct online_write w = { KIND, FEATURE, id, v, { 0 } };
		online_put(t, &w);
		value_unref(v);
	}
	online_stats(t, &s);
	printf("%-28s %8.3f of reads; %.3f for a perfect choice of the %lu kept\n", "zipf hits",
	       (double)hits / (READS - READS / 2), log((double)s.rows) / log(UNIVERSE), (unsigned long)s.rows);
	online_destroy(t);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 100000;
	CHECK(n > 0);
	char(*ids)[ID_BYTES] = calloc(n, sizeof *ids);
	CHECK(ids != NULL);
	for (unsigned i = 0; i < n; i++) {
		char text[ID_BYTES + 1];
		snprintf(text, sizeof text, "user-%07u", i % 10000000);
		memcpy(ids[i], text, ID_BYTES);
	}
	struct online *t = online_create(&(struct online_config){ .bytes_max = 0 });
	struct work work = { .t = t, .ids = ids, .ids_len = n, .seed = 1 };
	fill(t, ids, n, 1);
	measure("nothing, 1 thread", work, run_nothing, 1);
	measure("one dependent miss", work, run_miss, 1);
	measure("read_copy, 1 thread", work, run_copy, 1);
	measure("read_copy, 2 threads", work, run_copy, 2);
	measure("get and unref, 1 thread", work, run_get, 1);
	measure("get and unref, 2 threads", work, run_get, 2);
	measure("put, 1 thread", work, run_put, 1);
	measure("put, 2 threads", work, run_put, 2);
	online_destroy(t);
	measure_memory("memory, 1 feature a row", ids, n, 1);
	measure_memory("memory, 10 features a row", ids, n, 10);
	measure_eviction();
	free(ids);
	return 0;
}
