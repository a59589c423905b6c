/* The committer and the reader on real loops and real files: each append ends once, and what it promises is
 * there. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "tests/unit/ledger_fixture.h"

enum { ASKERS = 24, APPENDS = 40 };
static char *dir;
static struct ledger *ledger;
static struct loop *asking, *committing, *reading;
static struct actor_ref committer, reader;
static sem_t done;

static struct outcome {
	atomic_uint ok, failed, down, late, found;
	atomic_bool is_acked[ASKERS * APPENDS];
} outcome;

/* Appends APPENDS records one after the other, reads each one back, then says it is done. */
struct asker {
	struct actor base;
	unsigned number, sent;
	uint64_t op;
};

static void asker_ask(struct asker *a)
{
	if (a->sent == APPENDS) {
		sem_post(&done);
		rt_stop(&a->base);
		return;
	}
	struct evidence_append *m = evidence_append_new(a->base.loop,
							make_record(a->number * APPENDS + a->sent++, 300));
	a->op = rt_ask(&a->base, committer, &m->head, loop_mono_ns(a->base.loop) + 20000000000ull, ACTOR_NONE);
}

static void asker_appended(struct asker *a, struct evidence_append *m)
{
	CHECK(m->entry != NULL);
	if (m->head.status != RT_OK) {
		CHECK(m->entry->reason[0] != '\0');
		atomic_fetch_add(&outcome.failed, 1);
		asker_ask(a);
		return;
	}
	atomic_fetch_add(&outcome.ok, 1);
	atomic_store(&outcome.is_acked[a->number * APPENDS + a->sent - 1], true);
	CHECK(m->entry->lsn <= ledger_durable_lsn(ledger));
	struct evidence_find *find = evidence_find_new(a->base.loop, str_of(m->entry->context_id, 40), true);
	a->op = rt_ask(&a->base, reader, &find->head, loop_mono_ns(a->base.loop) + 20000000000ull, ACTOR_NONE);
}

static void asker_on_message(struct actor *base, struct msg *m)
{
	struct asker *a = (struct asker *)base;
	if (m->kind == RT_TIMER) {
		asker_ask(a);
		return;
	}
	if (m->kind == RT_STOP) {
		rt_stop(base);
		return;
	}
	CHECK(m->op == a->op); /* one ending per ask, and the right one */
	a->op = 0;
	if (m->kind == EVIDENCE_APPENDED) {
		asker_appended(a, (struct evidence_append *)m);
	} else if (m->kind == EVIDENCE_FOUND) {
		CHECK(m->status == RT_OK && ((struct evidence_found *)m)->record->extras.n > 0);
		atomic_fetch_add(&outcome.found, 1);
		asker_ask(a);
	} else {
		CHECK(m->kind == RT_DOWN || m->kind == RT_DEADLINE);
		atomic_fetch_add(m->kind == RT_DOWN ? &outcome.down : &outcome.late, 1);
		asker_ask(a);
	}
}

static int asker_init(struct actor *base, void *arg)
{
	struct asker *a = (struct asker *)base;
	a->number = *(unsigned *)arg;
	rt_timer_start(base, 0, 1);
	return 0;
}

static const struct actor_class asker_class = {
	.name = "asker",
	.size = sizeof(struct asker),
	.mailbox_len_max = 16,
	.init = asker_init,
	.on_message = asker_on_message,
};

static int set_up(void **state)
{
	(void)state;
	faults_reset();
	memset(&outcome, 0, sizeof outcome);
	dir = fresh_dir();
	ledger = open_small(dir);
	sem_init(&done, 0, 0);
	asking = loop_create(&(struct loop_config){ .name = "asking", .kind = LOOP_IO });
	committing = loop_create(&(struct loop_config){ .name = "committing", .kind = LOOP_BLOCKING });
	reading = loop_create(&(struct loop_config){ .name = "reading", .kind = LOOP_BLOCKING });
	committer = ledger_spawn_committer(ledger, committing);
	reader = ledger_spawn_reader(ledger, reading);
	for (unsigned i = 0; i < ASKERS; i++)
		rt_spawn(asking, &asker_class, &i);
	return 0;
}

static void start(void)
{
	assert_int_equal(loop_start(committing), 0);
	assert_int_equal(loop_start(reading), 0);
	assert_int_equal(loop_start(asking), 0);
}

static int tear_down(void **state)
{
	(void)state;
	loop_stop(asking);
	loop_join(asking);
	loop_stop(committing);
	loop_stop(reading);
	loop_join(committing);
	loop_join(reading);
	/* It opens files: ThreadSanitizer takes a number that libuv has closed, which it does not see, for libuv's still. */
	ledger_helper_stop(ledger);
	loop_destroy(asking);
	loop_destroy(committing);
	loop_destroy(reading);
	ledger_close(ledger);
	sem_destroy(&done);
	drop_dir(dir);
	return 0;
}

static void wait_for_all(void)
{
	for (unsigned i = 0; i < ASKERS; i++) {
		while (sem_wait(&done) != 0)
			;
	}
}

static void check_files(void)
{
	struct ledger_report report;
	struct buf out = { 0 };
	int64_t problems = ledger_verify(dir, NULL, &report, &out);
	if (problems != 0)
		print_error("%.*s\n", STR_ARG(buf_str(&out)));
	assert_int_equal(problems, 0);
	for (unsigned i = 0; i < ASKERS * APPENDS; i++) {
		if (atomic_load(&outcome.is_acked[i]))
			assert_true(is_there(ledger, i));
	}
	buf_finish(&out);
}

static void every_append_is_answered_and_found(void **state)
{
	(void)state;
	struct ledger_health health;
	start();
	wait_for_all();
	assert_int_equal(atomic_load(&outcome.ok), ASKERS * APPENDS);
	assert_int_equal(atomic_load(&outcome.found), ASKERS * APPENDS);
	ledger_health_read(ledger, &health);
	assert_int_equal(health.entries, ASKERS * APPENDS);
	assert_true(health.batches < health.entries); /* several shared a sync */
	assert_true(health.segments > 3);
	check_files();
}

static void a_failing_disk_is_answered_too(void **state)
{
	(void)state;
	struct ledger_health health;
	ledger_helper_stop(ledger); /* it syncs too: the one that fails shall be the committer's */
	faults.once = true;
	faults.countdown[FAULT_FDATASYNC] = 6;
	start();
	wait_for_all();
	ledger_health_read(ledger, &health);
	assert_true(health.sync_failures + atomic_load(&outcome.failed) >= 1);
	assert_int_equal(atomic_load(&outcome.ok) + atomic_load(&outcome.failed), ASKERS * APPENDS);
	check_files();
}

static void a_full_disk_refuses_and_then_heals_by_itself(void **state)
{
	(void)state;
	struct ledger_health health;
	ledger_helper_stop(ledger); /* no reserve: the first batch meets the full disk */
	atomic_store(&ledger->helper.reserve, LEDGER_RESERVE_NONE);
	faults.error = ENOSPC;
	faults.countdown[FAULT_ALLOCATE] = 1;
	start();
	wait_for_all(); /* nobody waits for ever */
	assert_int_equal(atomic_load(&outcome.failed), ASKERS * APPENDS);
	ledger_health_read(ledger, &health);
	assert_false(health.writable);
	faults_end();
	uint64_t until_ns = clock_mono_ns() + 20000000000ull;
	do { /* its timer tries again; nothing else tells when */
		ledger_health_read(ledger, &health);
		sched_yield();
	} while (!health.writable && clock_mono_ns() < until_ns);
	assert_true(health.writable);
}

static void stopping_answers_what_waits(void **state)
{
	(void)state;
	start();
	while (atomic_load(&outcome.ok) < ASKERS)
		sched_yield();
	loop_stop(committing);
	loop_join(committing);
	wait_for_all();
	unsigned ended = atomic_load(&outcome.ok) + atomic_load(&outcome.failed) + atomic_load(&outcome.down);
	assert_int_equal(ended, ASKERS * APPENDS);
	assert_true(atomic_load(&outcome.down) > 0);
	check_files();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(every_append_is_answered_and_found),
		TEST(a_failing_disk_is_answered_too),
		TEST(a_full_disk_refuses_and_then_heals_by_itself),
		TEST(stopping_answers_what_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
