/* The floor: group commit with nothing around it. N threads each hand over a record and wait until it is on
 * disk; one committer takes what is queued, writes it to a zero-filled file that it overwrites in turn, syncs
 * once, wakes them all. No format, no checksum, no index, no actors.
 *
 *     bench_raw_commit [--writers 16] [--bytes 8600] [--seconds 2] [--dir .] */
#include "bench/commit_load.h"
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { FILE_BYTES = 64 << 20, BATCH_MAX = 1024 };

struct writer {
	pthread_t thread;
	sem_t durable;
	char *record;
};
static struct queue {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct writer *waiting[BATCH_MAX];
	unsigned count;
	bool is_ending;
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER };
static struct commit_load load;
static atomic_bool is_over;

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	while (!atomic_load(&is_over)) {
		uint64_t start_ns = clock_mono_ns();
		pthread_mutex_lock(&queue.lock);
		queue.waiting[queue.count++] = w;
		pthread_cond_signal(&queue.filled);
		pthread_mutex_unlock(&queue.lock);
		while (sem_wait(&w->durable) != 0)
			;
		uint64_t took_ns = clock_mono_ns() - start_ns;
		pthread_mutex_lock(&queue.lock);
		commit_load_note(&load, took_ns);
		pthread_mutex_unlock(&queue.lock);
	}
	return NULL;
}

static void *committer_main(void *arg)
{
	int fd = *(int *)arg;
	struct writer *batch[BATCH_MAX];
	char *bytes = malloc((size_t)load.bytes * load.writers);
	size_t at = 0;
	for (;;) {
		pthread_mutex_lock(&queue.lock);
		while (queue.count == 0 && !queue.is_ending)
			pthread_cond_wait(&queue.filled, &queue.lock);
		unsigned count = queue.count;
		memcpy(batch, queue.waiting, count * sizeof batch[0]);
		queue.count = 0;
		pthread_mutex_unlock(&queue.lock);
		if (count == 0)
			break;
		size_t n = (size_t)load.bytes * count;
		for (unsigned i = 0; i < count; i++)
			memcpy(bytes + (size_t)i * load.bytes, batch[i]->record, load.bytes);
		if (at + n > FILE_BYTES)
			at = 0;
		if (pwrite(fd, bytes, n, (off_t)at) != (ssize_t)n || fdatasync(fd) != 0) {
			perror("write");
			exit(1);
		}
		at += n;
		for (unsigned i = 0; i < count; i++)
			sem_post(&batch[i]->durable);
	}
	free(bytes);
	return NULL;
}

static int make_file(const char *dir)
{
	char path[4096];
	static char zeros[1 << 20];
	snprintf(path, sizeof path, "%s/bench_raw_commit-XXXXXX", dir);
	int fd = mkstemp(path);
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	unlink(path);
	for (int i = 0; i < FILE_BYTES / (int)sizeof zeros; i++) {
		if (write(fd, zeros, sizeof zeros) != sizeof zeros) {
			perror(path);
			exit(1);
		}
	}
	fsync(fd);
	return fd;
}

int main(int argc, char **argv)
{
	pthread_t committer;
	load = commit_load_parse(argc, argv);
	int fd = make_file(load.dir);
	struct writer *writers = calloc(load.writers, sizeof *writers);
	load.start_ns = clock_mono_ns();
	pthread_create(&committer, NULL, committer_main, &fd);
	for (unsigned i = 0; i < load.writers; i++) {
		sem_init(&writers[i].durable, 0, 0);
		writers[i].record = malloc(load.bytes);
		memset(writers[i].record, 'a' + (int)i % 26, load.bytes);
		pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]);
	}
	usleep((useconds_t)(load.seconds * 1e6));
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < load.writers; i++) {
		pthread_join(writers[i].thread, NULL);
		free(writers[i].record);
	}
	load.end_ns = clock_mono_ns();
	pthread_mutex_lock(&queue.lock);
	queue.is_ending = true;
	pthread_cond_signal(&queue.filled);
	pthread_mutex_unlock(&queue.lock);
	pthread_join(committer, NULL);
	free(writers);
	close(fd);
	commit_load_print(&load, "raw");
	return 0;
}
