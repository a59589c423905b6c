/* Lines travel from their thread to the writer through rings, one per attached thread plus one shared behind
 * a lock.
 *
 * The writer drains all rings every POLL_MS while there is traffic. After IDLE_POLLS empty rounds it raises
 * `sleeping`, looks once more, and waits on an eventfd without a timeout. A producer publishes its line, then
 * reads `sleeping`; both sides use sequentially consistent operations, so either the writer's last look sees
 * the line or the producer sees the flag. Only the producer that takes the flag down pays for the write to
 * the eventfd: once per quiet period. */
#include "runtime/log.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/log_line.h"
#include "runtime/msg.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

enum { RING_BYTES = 1 << 18, RINGS_MAX = 128, POLL_MS = 5, IDLE_POLLS = 20 };

/* Single producer, single consumer. head and tail count all bytes ever; the difference is what waits. Only
 * whole lines are published. */
struct ring {
	_Alignas(64) atomic_size_t head; /* written by the producer */
	size_t tail_seen;                /* the producer's last look at tail */
	uint64_t dropped;                /* lines since the last one that fitted; the producer's */
	_Alignas(64) atomic_size_t tail; /* written by the writer */
	_Alignas(64) atomic_bool attached;
	char bytes[RING_BYTES];
};

static struct ring shared_ring;
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;

/* Rings live as long as the process: a thread's end leaves its ring to the next thread that attaches. */
static struct ring *_Atomic rings[RINGS_MAX] = { &shared_ring };
static atomic_uint rings_len = 1;
static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t detach_once = PTHREAD_ONCE_INIT;
static pthread_key_t detach_key;
static _Thread_local struct ring *own_ring;

static atomic_int min_level = LOG_INFO;
static atomic_int out_fd = STDERR_FILENO;
static atomic_bool running, sleeping;
static atomic_uint_fast64_t dropped_total;
static pthread_t writer_thread;
static int wake_fd = -1;

enum log_level log_level_min(void)
{
	return (enum log_level)atomic_load_explicit(&min_level, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&dropped_total, memory_order_relaxed);
}

/* ---- producers ---- */

static bool ring_push(struct ring *r, const char *line, size_t n)
{
	size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	if (RING_BYTES - (head - r->tail_seen) < n) {
		/* acquire: the writer is done with the bytes before tail, which are about to be
		 * overwritten */
		r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
		if (RING_BYTES - (head - r->tail_seen) < n)
			return false;
	}
	size_t at = head % RING_BYTES, first = RING_BYTES - at < n ? RING_BYTES - at : n;
	memcpy(r->bytes + at, line, first);
	memcpy(r->bytes, line + first, n - first);
	atomic_store(&r->head, head + n);
	return true;
}

static void wake_writer(void)
{
	if (atomic_load(&sleeping) && atomic_exchange(&sleeping, false)) {
		uint64_t one = 1;
		while (write(wake_fd, &one, sizeof one) < 0 && errno == EINTR)
			;
	}
}

/* Blocks as the descriptor does: for the writer thread, and for lines before it runs. */
static bool write_all(int fd, struct iovec *v, int n)
{
	while (n > 0) {
		ssize_t done = writev(fd, v, n);
		if (done < 0 && errno == EAGAIN) {
			struct pollfd p = { .fd = fd, .events = POLLOUT };
			poll(&p, 1, 1000);
			continue;
		}
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		for (; n > 0 && (size_t)done >= v->iov_len; v++, n--)
			done -= (ssize_t)v->iov_len;
		if (n > 0) {
			v->iov_base = (char *)v->iov_base + done;
			v->iov_len -= (size_t)done;
		}
	}
	return true;
}

/* The ring is this thread's for the moment: its own, or the shared one under its lock. */
static void write_to_ring(struct ring *r, struct log_entry *entry)
{
	char line[LOG_LINE_MAX];
	entry->dropped = r->dropped;
	size_t n = log_line_format(line, entry);
	if (ring_push(r, line, n)) {
		r->dropped = 0;
		wake_writer();
	} else {
		r->dropped++;
		atomic_fetch_add_explicit(&dropped_total, 1, memory_order_relaxed);
	}
}

static void write_entry(struct log_entry *entry)
{
	if (!atomic_load_explicit(&running, memory_order_acquire)) {
		char line[LOG_LINE_MAX];
		struct iovec v = { line, log_line_format(line, entry) };
		if (!write_all(atomic_load(&out_fd), &v, 1))
			atomic_fetch_add_explicit(&dropped_total, 1, memory_order_relaxed);
	} else if (own_ring) {
		write_to_ring(own_ring, entry);
	} else {
		pthread_mutex_lock(&shared_lock);
		write_to_ring(&shared_ring, entry);
		pthread_mutex_unlock(&shared_lock);
	}
}

void log_write(enum log_level level, const char *logger, const char *message, const struct log_field *fields)
{
	write_entry(&(struct log_entry){
	    .level = level, .logger = logger, .message = message, .fields = fields, .wall_us = clock_wall_us() });
}

void log_write_members(int64_t wall_us, struct str members)
{
	write_entry(&(struct log_entry){ .members = members, .wall_us = wall_us });
}

/* ---- attaching ---- */

static void detach(void *ring)
{
	own_ring = NULL;
	/* release: the next owner takes over head and the producer's fields */
	atomic_store_explicit(&((struct ring *)ring)->attached, false, memory_order_release);
}

static void detach_init(void)
{
	CHECK(pthread_key_create(&detach_key, detach) == 0);
}

static struct ring *ring_take(void)
{
	unsigned n = atomic_load_explicit(&rings_len, memory_order_relaxed);
	for (unsigned i = 1; i < n; i++) {
		struct ring *r = atomic_load_explicit(&rings[i], memory_order_relaxed);
		if (!atomic_load_explicit(&r->attached, memory_order_acquire))
			return r;
	}
	struct ring *r = n < RINGS_MAX ? aligned_alloc(64, sizeof *r) : NULL;
	if (r == NULL)
		return NULL;
	memset(r, 0, offsetof(struct ring, bytes));
	atomic_store_explicit(&rings[n], r, memory_order_relaxed);
	/* release: the writer reads rings[n] and the ring once it sees the new length */
	atomic_store_explicit(&rings_len, n + 1, memory_order_release);
	return r;
}

void log_attach(void)
{
	if (own_ring)
		return;
	pthread_once(&detach_once, detach_init);
	pthread_mutex_lock(&attach_lock);
	struct ring *r = ring_take();
	if (r)
		atomic_store_explicit(&r->attached, true, memory_order_relaxed);
	pthread_mutex_unlock(&attach_lock);
	own_ring = r;
	if (r)
		pthread_setspecific(detach_key, r);
}

/* ---- the writer ---- */

/* Counts what a dead descriptor swallowed. */
static void count_lost(const struct iovec *v, int n)
{
	uint64_t lines = 0;
	for (int i = 0; i < n; i++)
		for (size_t k = 0; k < v[i].iov_len; k++)
			lines += ((const char *)v[i].iov_base)[k] == '\n';
	atomic_fetch_add_explicit(&dropped_total, lines, memory_order_relaxed);
}

/* One writev for all rings. Returns whether there was anything. */
static bool drain(void)
{
	struct iovec v[2 * RINGS_MAX], kept[2 * RINGS_MAX];
	size_t heads[RINGS_MAX];
	int n = 0;
	unsigned len = atomic_load_explicit(&rings_len, memory_order_acquire);
	for (unsigned i = 0; i < len; i++) {
		struct ring *r = rings[i];
		size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
		heads[i] = atomic_load(&r->head);
		size_t waiting = heads[i] - tail, at = tail % RING_BYTES;
		size_t first = RING_BYTES - at < waiting ? RING_BYTES - at : waiting;
		if (first)
			v[n++] = (struct iovec){ r->bytes + at, first };
		if (waiting > first)
			v[n++] = (struct iovec){ r->bytes, waiting - first };
	}
	if (n == 0)
		return false;
	memcpy(kept, v, sizeof *v * (size_t)n);
	if (!write_all(atomic_load(&out_fd), v, n))
		count_lost(kept, n);
	for (unsigned i = 0; i < len; i++) /* release: the bytes are read; the producer may reuse them */
		atomic_store_explicit(&rings[i]->tail, heads[i], memory_order_release);
	return true;
}

static void sleep_until_woken(void)
{
	struct pollfd p = { .fd = wake_fd, .events = POLLIN };
	uint64_t count;
	atomic_store(&sleeping, true);
	if (!drain() && atomic_load(&running))
		poll(&p, 1, -1);
	/* A producer that took the flag has written or is about to: a count that stays behind only ends the
	 * next sleep early. */
	atomic_store(&sleeping, false);
	(void)!read(wake_fd, &count, sizeof count);
}

static void *writer_main(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "fabra-log");
	unsigned idle = 0;
	while (atomic_load(&running)) {
		cpu_give_way();
		idle = drain() ? 0 : idle + 1;
		if (idle > IDLE_POLLS) {
			sleep_until_woken();
			idle = 0;
		} else {
			poll(NULL, 0, POLL_MS);
		}
	}
	return NULL;
}

int log_start(int fd, enum log_level min)
{
	sigset_t all, before;
	if (atomic_load(&running))
		return RT_EEXIST;
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake_fd < 0)
		return RT_EIO;
	atomic_store(&out_fd, fd);
	atomic_store(&min_level, (int)min);
	atomic_store(&running, true);
	sigfillset(&all); /* signals belong to the threads that expect them */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&writer_thread, NULL, writer_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error == 0)
		return 0;
	atomic_store(&running, false);
	close(wake_fd);
	return RT_EIO;
}

void log_stop(void)
{
	if (!atomic_exchange(&running, false))
		return;
	uint64_t one = 1;
	(void)!write(wake_fd, &one, sizeof one);
	pthread_join(writer_thread, NULL);
	while (drain())
		;
	close(wake_fd);
	wake_fd = -1;
}
