/* The ledger under the load of bench_raw_commit: N actors on one I/O loop each append a record and wait for
 * its durable answer; the committer stamps, chains, checks, writes, syncs, indexes.
 *
 *     bench_ledger [--writers 16] [--bytes 8600] [--seconds 2] [--dir .]
 *
 * Also says what the committer's thread used of the CPU per record, and how many records shared a sync. */
#include "bench/commit_load.h"
#include "runtime/check.h"
#include "store/ledger/ledger.h"
#include <semaphore.h>
#include <stdatomic.h>

static struct commit_load load;
static struct actor_ref committer;
static sem_t done;
static _Atomic uint64_t committer_cpu_ns;

struct writer {
	struct actor base;
	unsigned number;
	uint64_t sent, start_ns;
};

static struct evidence_entry *make_entry(const struct writer *w)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD);
	char id[41];
	snprintf(id, sizeof id, "ctx_00000000-0000-7000-%04x-%012llx", w->number, (unsigned long long)w->sent);
	memcpy(e->context_id, id, 40);
	buf_reserve(&e->body, load.bytes);
	buf_append_lit(&e->body, "{\"previous_context_id\":");
	e->previous_at = e->body.n;
	buf_append_lit(&e->body, "null,\"content\":\"");
	memset(e->body.p + e->body.n, 'x', load.bytes - e->body.n);
	e->body.n = load.bytes;
	return e;
}

static void ask(struct writer *w)
{
	struct loop *loop = w->base.loop;
	w->start_ns = clock_mono_ns();
	if (w->start_ns >= load.end_ns) {
		sem_post(&done);
		rt_stop(&w->base);
		return;
	}
	struct evidence_append *m = evidence_append_new(loop, make_entry(w));
	w->sent++;
	rt_ask(&w->base, committer, &m->head, loop_mono_ns(loop) + 30000000000ull, ACTOR_NONE);
}

static void writer_on_message(struct actor *a, struct msg *m)
{
	struct writer *w = (struct writer *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind != RT_TIMER) {
		CHECK(m->kind == EVIDENCE_APPENDED && m->status == RT_OK);
		commit_load_note(&load, clock_mono_ns() - w->start_ns);
	}
	ask(w);
}

static int writer_init(struct actor *a, void *arg)
{
	((struct writer *)a)->number = *(unsigned *)arg;
	rt_timer_start(a, 0, 1);
	return 0;
}

static const struct actor_class writer_class = {
	.name = "writer",
	.size = sizeof(struct writer),
	.mailbox_len_max = 8,
	.init = writer_init,
	.on_message = writer_on_message,
};

static void *committing_main(void *loop)
{
	loop_run(loop);
	atomic_store(&committer_cpu_ns, clock_thread_cpu_ns());
	return NULL;
}

/* A server that just started is not what is measured: its first segment may be slower than those behind
 * it. */
static void wait_for_reserve(const char *dir)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/reserve", dir);
	for (int tries = 0; tries < 1000 && access(path, F_OK) != 0; tries++)
		usleep(10 * 1000);
}

int main(int argc, char **argv)
{
	char dir[4096];
	struct buf why = { 0 };
	struct ledger_health health;
	pthread_t thread;
	load = commit_load_parse(argc, argv);
	snprintf(dir, sizeof dir, "%s/bench_ledger-XXXXXX", load.dir);
	CHECK(mkdtemp(dir) != NULL);
	struct ledger *l = ledger_open(&(struct ledger_config){ .dir = dir, .temporary = true }, &why);
	CHECK(l != NULL);
	wait_for_reserve(dir);
	struct loop *asking = loop_create(&(struct loop_config){ .name = "asking", .kind = LOOP_IO });
	struct loop *committing = loop_create(&(struct loop_config){ .name = "committing", .kind = LOOP_BLOCKING });
	committer = ledger_spawn_committer(l, committing);
	sem_init(&done, 0, 0);
	load.start_ns = clock_mono_ns();
	load.end_ns = load.start_ns + (uint64_t)(load.seconds * 1e9);
	for (unsigned i = 0; i < load.writers; i++)
		CHECK(!ref_is_none(rt_spawn(asking, &writer_class, &i)));
	CHECK(pthread_create(&thread, NULL, committing_main, committing) == 0 && loop_start(asking) == 0);
	for (unsigned i = 0; i < load.writers; i++) {
		while (sem_wait(&done) != 0)
			;
	}
	load.end_ns = clock_mono_ns();
	loop_stop(asking);
	loop_join(asking);
	loop_stop(committing);
	pthread_join(thread, NULL);
	ledger_health_read(l, &health);
	double records = (double)load.count;
	commit_load_print(&load, "ledger");
	printf("  committer %.1f us of CPU a record; %.1f records a sync; %llu segments\n",
	       (double)atomic_load(&committer_cpu_ns) / records / 1e3, records / (double)health.batches,
	       (unsigned long long)health.segments);
	loop_destroy(asking);
	loop_destroy(committing);
	ledger_close(l);
	return 0;
}
