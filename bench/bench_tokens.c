/* Token counting: speed on prose against the npm package tiktoken in the same run, the worst cases, the slices.
 *
 *     bench_tokens prose [PROSE_FILE [FOLDER_OF_tiktoken]]
 *     bench_tokens worst
 *
 * Prose: stretches of some 4 KB; every repeat takes stretches that no repeat before it has seen, so no cache of texts
 * could help, and both programs see the same ones, in turns. Before each timed pass a program counts other stretches of
 * the same book untimed: a program that has just waited for its peer begins with cold caches, a server does not. Times
 * are CPU times of the counting threads.
 * Without node or the package the peer's column is missing. */
#include "actors/tokens/tokens.h"
#include "runtime/check.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REPEATS       5
#define STRETCHES     48 /* of STRETCH_BYTES in each repeat */
#define STRETCH_BYTES 4096

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* CPU time of this thread: what other programs do on the machine would otherwise be most of the figure. */
static int64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof *values, by_value);
	return values[n / 2];
}

static bool read_file(const char *path, struct buf *b)
{
	FILE *f = fopen(path, "rb");
	if (f == NULL) {
		perror(path);
		return false;
	}
	char piece[65536];
	for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
		buf_append(b, piece, n);
	fclose(f);
	return !b->failed;
}

/* ---- The peer ------------------------------------------------------------------------------------------------------ */

struct peer {
	pid_t pid; /* 0: there is none */
	FILE *to, *from;
};

static void peer_start(struct peer *peer, const char *folder, const char *prose)
{
	int to[2], from[2];
	*peer = (struct peer){ 0 };
	CHECK(pipe(to) == 0 && pipe(from) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		close(to[1]);
		close(from[0]);
		execlp("node", "node", FABRA_BENCH_DIR "/tokens_peer.mjs", folder, prose, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	*peer = (struct peer){ pid, fdopen(to[1], "w"), fdopen(from[0], "r") };
}

/* Nanoseconds for the stretches; negative when the peer is gone. */
static double peer_count(struct peer *peer, const char *encoding, const struct str *stretches, const char *base,
			 size_t *ret_tokens)
{
	fprintf(peer->to, "%s", encoding);
	for (int i = 0; i < STRETCHES; i++)
		fprintf(peer->to, " %zu %zu", (size_t)(stretches[i].p - base), stretches[i].n);
	fprintf(peer->to, "\n");
	fflush(peer->to);
	double ns;
	return fscanf(peer->from, "%zu %lf", ret_tokens, &ns) == 2 ? ns : -1;
}

static void peer_stop(struct peer *peer)
{
	fclose(peer->to);
	fclose(peer->from);
	waitpid(peer->pid, NULL, 0);
}

/* ---- Prose --------------------------------------------------------------------------------------------------------- */

/* Takes the next stretches, each up to a space. */
static bool take(struct str *rest, struct str *stretches)
{
	for (int i = 0; i < STRETCHES; i++) {
		size_t n = STRETCH_BYTES;
		while (n < rest->n && rest->p[n] != ' ')
			n++;
		if (n >= rest->n)
			return false;
		stretches[i] = str_of(rest->p, n);
		*rest = str_skip(*rest, n);
	}
	return true;
}

static void bench_prose(const struct tokens *t, struct str text, struct peer *peer)
{
	struct str warm[STRETCHES], stretches[STRETCHES], rest = text;
	double ours[REPEATS], theirs[REPEATS];
	const char *name = tokens_encoding_name(t->encoding);
	size_t total = 0, ignored;
	bool enough = take(&rest, warm);
	for (int repeat = 0; repeat < REPEATS; repeat++) {
		size_t tokens = 0, peer_tokens = 0;
		if (!enough || !take(&rest, stretches)) {
			fprintf(stderr, "the prose file is too short: %d bytes are needed\n",
				(REPEATS + 1) * STRETCHES * (STRETCH_BYTES + 64));
			return;
		}
		double peer_ns = -1;
		if (peer->pid && peer_count(peer, name, warm, text.p, &ignored) > 0)
			peer_ns = peer_count(peer, name, stretches, text.p, &peer_tokens);
		for (int i = 0; i < STRETCHES; i++)
			tokens_count(t, warm[i]);
		int64_t start = cpu_ns();
		for (int i = 0; i < STRETCHES; i++)
			tokens += tokens_count(t, stretches[i]);
		int64_t ns = cpu_ns() - start;
		if (peer_ns > 0 && peer_tokens != tokens) {
			fprintf(stderr, "%s: %zu tokens, the peer says %zu\n", name, tokens, peer_tokens);
			exit(1);
		}
		total += tokens;
		ours[repeat] = (double)tokens / (double)ns * 1e3;
		theirs[repeat] = peer_ns > 0 ? (double)tokens / peer_ns * 1e3 : 0;
	}
	double us = median(ours, REPEATS), them = median(theirs, REPEATS);
	printf("%-12s %7.2f (%.2f-%.2f) Mtok per CPU second", name, us, ours[0], ours[REPEATS - 1]);
	if (them > 0)
		printf("   tiktoken %6.3f (%.3f-%.3f)   ratio %.1f, of the best repeats %.1f", them, theirs[0],
		       theirs[REPEATS - 1], us / them, ours[REPEATS - 1] / theirs[REPEATS - 1]);
	printf("   %zu tokens, median of %d\n", total, REPEATS);
}

/* ---- Worst cases --------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *unit; /* NULL: random letters */
} hostile[] = {
	{ "prose", "The quick brown fox jumps over the lazy dog, and then it rests. " },
	{ "one letter", "a" },
	{ "spaces", " " },
	{ "line ends", "\n" },
	{ "space, line end", " \n" },
	{ "emoji", "\xf0\x9f\x98\x80" },
	{ "digits", "7" },
	{ "equals signs", "=" },
	{ "combining marks", "\xcc\x81" },
	{ "caseless, capital", "\xc2\xaa"
			       "A" },
	{ "Chinese", "\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c" },
	{ "random letters", NULL },
	/* Each pair of letters has a lower rank than the one before it: what a merge depends on lies far to the right. */
	{ "falling ranks", "QEZHQNJVNWKCyxrkJEWNVLFrpkknbpdxCGRRCDSDFOPTESeyssoptrorer" },
	{ "stray bytes", "\xff\x80" },
};

static void fill(struct buf *b, const char *unit, size_t n)
{
	uint64_t seed = 42;
	buf_clear(b);
	while (b->n < n)
		if (unit != NULL) {
			buf_append_str(b, str_from(unit));
		} else {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			buf_append_char(b, (char)('a' + (seed >> 33) % 26));
		}
}

static double count_ms(const struct tokens *t, struct str text)
{
	double ms[3];
	for (int i = 0; i < 3; i++) {
		int64_t start = cpu_ns();
		volatile size_t count = tokens_count(t, text);
		(void)count;
		ms[i] = (double)(cpu_ns() - start) / 1e6;
	}
	return median(ms, 3);
}

/* The longest step of a job over the text, in microseconds: the best of five runs. */
static double longest_step_us(const struct tokens *t, struct str text)
{
	double best = 1e9;
	for (int run = 0; run < 5; run++) {
		struct tokens_job job;
		double longest = 0;
		tokens_job_begin(&job, t, text);
		for (bool done = false; !done;) {
			int64_t start = cpu_ns();
			done = tokens_job_step(&job, TOKENS_SLICE_BYTES);
			double us = (double)(cpu_ns() - start) / 1e3;
			longest = us > longest ? us : longest;
		}
		best = longest < best ? longest : best;
	}
	return best;
}

static void bench_hostile(const struct tokens *t)
{
	static const size_t sizes[] = { 4u << 10, 64u << 10, 1u << 20 };
	struct buf text = { 0 };
	printf("\n%s: ns per byte by size of the text; longest step of a job in slices of %u bytes\n",
	       tokens_encoding_name(t->encoding), TOKENS_SLICE_BYTES);
	printf("%-18s %8s %8s %8s %10s\n", "", "4 KiB", "64 KiB", "1 MiB", "step, us");
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		printf("%-18s", hostile[i].name);
		for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
			fill(&text, hostile[i].unit, sizes[s]);
			printf(" %8.1f", count_ms(t, buf_str(&text)) * 1e6 / (double)text.n);
		}
		fill(&text, hostile[i].unit, 1u << 20);
		printf(" %10.0f\n", longest_step_us(t, buf_str(&text)));
	}
	buf_finish(&text);
}

static void bench_joined(const struct tokens *t, struct str text)
{
	struct str stretches[STRETCHES], rest = text;
	struct tokens_item items[10];
	if (!take(&rest, stretches))
		return;
	for (int i = 0; i < 10; i++) {
		items[i].text = str_of(stretches[i].p, 450);
		items[i].span = tokens_span(t, items[i].text);
	}
	size_t total = 0;
	int64_t start = now_ns();
	for (int i = 0; i < 1000; i++)
		CHECK(tokens_joined(t, items, 10, STR("\n"), &total));
	printf("\nten items of 450 bytes (%zu tokens): exact total from their spans in %.2f us\n", total,
	       (double)(now_ns() - start) / 1e6);
}

static bool open_both(struct tokens encodings[2])
{
	struct buf errors = { 0 };
	for (int e = 0; e < 2; e++) {
		int64_t start = now_ns();
		if (tokens_open(&encodings[e], (enum tokens_encoding)e, NULL, &errors) < 0) {
			fprintf(stderr, "%.*s", STR_ARG(buf_str(&errors)));
			buf_finish(&errors);
			return false;
		}
		printf("open %-12s %.1f ms\n", tokens_encoding_name((enum tokens_encoding)e),
		       (double)(now_ns() - start) / 1e6);
	}
	return true;
}

static int run_prose(const struct tokens encodings[2], const char *prose, const char *package)
{
	struct buf text = { 0 };
	struct peer peer = { 0 };
	if (!read_file(prose, &text))
		return 1;
	if (access(package, R_OK) == 0)
		peer_start(&peer, package, prose);
	else
		printf("no peer: the npm package tiktoken is not in %s\n", package);
	for (int e = 0; e < 2; e++)
		bench_prose(&encodings[e], buf_str(&text), &peer);
	if (peer.pid)
		peer_stop(&peer);
	bench_joined(&encodings[TOKENS_O200K], buf_str(&text));
	buf_finish(&text);
	return 0;
}

int main(int argc, char **argv)
{
	struct tokens encodings[2];
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || (strcmp(argv[1], "prose") != 0 && strcmp(argv[1], "worst") != 0)) {
		fprintf(stderr, "usage: bench_tokens prose [PROSE_FILE [FOLDER_OF_tiktoken]] | worst\n");
		return 2;
	}
	if (!open_both(encodings))
		return 1;
	int status = 0;
	if (strcmp(argv[1], "prose") == 0)
		status = run_prose(encodings, argc > 2 ? argv[2] : FABRA_DEPS_DIR "/peers/moby-dick.txt",
				   argc > 3 ? argv[3] : FABRA_DEPS_DIR "/peers/node_modules/tiktoken");
	for (int e = 0; e < 2; e++) {
		if (strcmp(argv[1], "worst") == 0)
			bench_hostile(&encodings[e]);
		tokens_close(&encodings[e]);
	}
	return status;
}
