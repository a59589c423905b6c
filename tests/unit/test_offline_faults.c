/* What must not lose or double an entry: kill -9, a full disk, a machine that does not let the projection
 * run. */
#include "tests/unit/offline_fixture.h"
#include <sys/resource.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	if (rig.offline != NULL)
		rig_close(&rig);
	rig_remove_folder(&rig);
	return 0;
}

static void append_values(unsigned first, size_t count)
{
	static char ids[512][24];
	static struct entry_value values[512];
	assert_true(count <= 512);
	for (size_t i = 0; i < count; i++) {
		snprintf(ids[i], sizeof ids[i], "user_%u", first + (unsigned)i);
		values[i] = (struct entry_value){
			.entity_id = str_from(ids[i]),
			.feature = STR("spent"),
			.event_time_us = T0_US,
			.value_json = STR("\"a value of some length, so that the log of DuckDB grows quickly\"")
		};
	}
	rig_append_values(&rig, "User", values, count);
}

static int64_t count_of(const char *sql)
{
	struct offline_error error = { 0 };
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	assert_non_null(c);
	assert_true(offline_conn_select(c, str_from(sql), NULL, UINT64_MAX, &error));
	duckdb_data_chunk chunk = offline_conn_fetch(c, &error);
	assert_non_null(chunk);
	int64_t n = *(int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
	duckdb_destroy_data_chunk(&chunk);
	offline_admin_leave(rig.offline);
	return n;
}

static void catch_up(void)
{
	enum offline_step did;
	do
		did = offline_projection_step(rig.offline);
	while (did == OFFLINE_STEP_MORE);
	assert_int_equal(did, OFFLINE_STEP_CAUGHT_UP);
}

/* ---- kill -9 ---- */
static _Noreturn void project_for_ever(int progress_fd)
{
	rig_open(&rig);
	for (unsigned i = (unsigned)ledger_durable_lsn(rig.ledger);; i += 3) {
		for (unsigned j = 0; j < 3; j++)
			rig_append_record(&rig, i + j, "chat", RECORD_GUARANTEED);
		if (offline_projection_step(rig.offline) == OFFLINE_STEP_PAUSED || write(progress_fd, "x", 1) != 1)
			_exit(1);
	}
}

static void test_kill_loses_and_doubles_nothing(void **state)
{
	(void)state;
	for (int round = 0; round < 4; round++) {
		int fds[2];
		assert_int_equal(pipe(fds), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			close(fds[0]);
			project_for_ever(fds[1]);
		}
		close(fds[1]);
		char c;
		for (int i = 0; i < 20 + 7 * round; i++)
			assert_int_equal(read(fds[0], &c, 1), 1);
		kill(child, SIGKILL);
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		close(fds[0]);
	}
	rig_open(&rig);
	catch_up();
	int64_t durable = (int64_t)ledger_durable_lsn(rig.ledger);
	assert_true(durable >= 3 * (20 + 27 + 34 + 41));
	assert_int_equal(count_of("SELECT count(*) FROM fabra.records"), durable);
	assert_int_equal(count_of("SELECT count(DISTINCT lsn) FROM fabra.records"), durable);
	assert_int_equal(count_of("SELECT count(DISTINCT context_id) FROM fabra.records"), durable);
}

/* ---- a full disk ---- */
static void limit_files(rlim_t bytes)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_full_disk_pauses_and_goes_on(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit then fails as on a full disk */
	rig_open(&rig);
	rig_start(&rig, false, false);
	limit_files(5 << 20); /* the ledger's segments are smaller */
	enum offline_step did = OFFLINE_STEP_CAUGHT_UP;
	unsigned written = 0;
	while (did != OFFLINE_STEP_PAUSED && written < 400000) {
		append_values(written, 512);
		written += 512;
		did = offline_projection_step(rig.offline);
		did = did == OFFLINE_STEP_BUSY ? OFFLINE_STEP_MORE : did;
	}
	assert_int_equal(did, OFFLINE_STEP_PAUSED);
	struct offline_health health;
	offline_health_read(rig.offline, &health);
	assert_true(health.paused);
	assert_true(health.error[0] != '\0');
	assert_null(strstr(health.error, rig.dir));
	/* The ledger goes on, and a question that needs it says why it has no answer. */
	append_values(written, 512);
	written += 512;
	struct query q = { .sql = "SELECT count(*) AS n FROM fabra.feature_history" };
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 10000));
	assert_int_equal(a.status, RT_EIO);
	free(a.text);
	limit_files(RLIM_INFINITY);
	do {
		atomic_store(&rig.offline->reopen_at_ns, 0);
		rig.offline->projection.retry_at_ns = 0;
		did = offline_projection_step(rig.offline);
	} while (did == OFFLINE_STEP_MORE || did == OFFLINE_STEP_BUSY);
	assert_int_equal(did, OFFLINE_STEP_CAUGHT_UP);
	offline_health_read(rig.offline, &health);
	assert_false(health.paused);
	assert_string_equal(health.error, "");
	char wanted[64];
	snprintf(wanted, sizeof wanted, "[{\"n\":%u}]", written);
	assert_query(&rig, "SELECT count(*) AS n FROM fabra.feature_history", wanted);
	assert_query(&rig, "SELECT count(DISTINCT entity_id) AS n FROM fabra.feature_history", wanted);
}

/* ---- a machine without time for the idle ---- */
static _Atomic bool spin_on;

static void *spin(void *arg)
{
	(void)arg;
	while (atomic_load_explicit(&spin_on, memory_order_relaxed))
		;
	return NULL;
}

enum { SPINNERS = 8 };
static void start_spinners(pthread_t threads[SPINNERS])
{
	atomic_store(&spin_on, true);
	for (int i = 0; i < SPINNERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spin, NULL), 0);
}

static void stop_spinners(pthread_t threads[SPINNERS])
{
	atomic_store(&spin_on, false);
	for (int i = 0; i < SPINNERS; i++)
		pthread_join(threads[i], NULL);
}

/* The ask's deadline is the bound: alone, the idle thread would get too little time to keep it. */
static void test_a_reader_does_not_wait_for_the_idle(void **state)
{
	(void)state;
	pthread_t threads[SPINNERS];
	rig_open(&rig);
	for (unsigned i = 0; i < 40; i++)
		append_values(i * 500, 500);
	rig_start(&rig, true, true);
	start_spinners(threads);
	uint64_t start_ns = clock_mono_ns();
	struct query q = { .sql = "SELECT count(*) AS n FROM fabra.feature_history" };
	struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 30000));
	stop_spinners(threads);
	print_message("20,000 values, all processors busy: %.0f ms\n", (double)(clock_mono_ns() - start_ns) / 1e6);
	assert_string_equal(a.text, "[{\"n\":20000}]");
	free(a.text);
}

/* ---- who hurries whom ---- */
static _Atomic int nice_tid;
static _Atomic bool nice_on;

static void *step_nicely(void *arg)
{
	CHECK(setpriority(PRIO_PROCESS, (id_t)gettid(), 19) == 0);
	atomic_store(&nice_tid, gettid());
	while (atomic_load(&nice_on)) {
		offline_projection_step(arg);
		/* However it went through its step, it is nice behind it. */
		CHECK(getpriority(PRIO_PROCESS, 0) == 19);
	}
	return NULL;
}

static void test_a_step_of_the_nice_is_hurried(void **state)
{
	(void)state;
	rig_open(&rig);
	for (unsigned i = 0; i < 20; i++)
		append_values(i * 500, 500);
	struct offline_projection *p = &rig.offline->projection;
	pthread_t thread;
	atomic_store(&nice_on, true);
	assert_int_equal(pthread_create(&thread, NULL, step_nicely, rig.offline), 0);
	bool was_hurried = false;
	uint64_t give_up_ns = clock_mono_ns() + 10000000000;
	while (!was_hurried && clock_mono_ns() < give_up_ns) {
		offline_projection_hurry(rig.offline);
		pthread_mutex_lock(&p->hurry_lock); /* keeps the step from ending */
		was_hurried = p->was_hurried;
		if (was_hurried && geteuid() == 0)
			assert_int_equal(getpriority(PRIO_PROCESS, (id_t)atomic_load(&nice_tid)), 0);
		pthread_mutex_unlock(&p->hurry_lock);
	}
	assert_true(was_hurried);
	atomic_store(&nice_on, false);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kill_loses_and_doubles_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_full_disk_pauses_and_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_reader_does_not_wait_for_the_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_step_of_the_nice_is_hurried, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
