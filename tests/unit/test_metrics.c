#include "runtime/metrics.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 3, ROUNDS = 20000 };

static char *render(void)
{
	struct buf out = { 0 };
	size_t n;
	metrics_render(&out);
	buf_append_char(&out, '\0');
	assert_false(out.failed);
	return buf_take(&out, &n);
}

static void assert_line(const char *text, const char *line)
{
	size_t n = strlen(line);
	for (const char *p = text; (p = strstr(p, line)); p += n)
		if ((p == text || p[-1] == '\n') && p[n] == '\n')
			return;
	fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void test_counter(void **state)
{
	(void)state;
	uint32_t f = metrics_family(METRIC_COUNTER, "t_reads", "Reads.\nOf \\ all kinds", "feature,status", NULL);
	assert_int_equal(metrics_family(METRIC_COUNTER, "t_reads", "again", "feature,status", NULL), f);
	metric_id hit = metrics_series(f, (const char *const[]){ "tier", "hit" });
	metric_id odd = metrics_series(f, (const char *const[]){ "a\"b\\c\nd", "miss" });
	assert_int_equal(metrics_series(f, (const char *const[]){ "tier", "hit" }), hit);
	assert_int_not_equal(hit, odd);
	assert_int_not_equal(hit, metrics_series(f, (const char *const[]){ "tier", "other" }));
	metrics_add(hit, 3);
	metrics_add(hit, 4);
	metrics_add(odd, 1);
	metrics_add(0, 5);
	assert_int_equal(metrics_counter_value(hit), 7);
	assert_int_equal(metrics_counter_value(0), 0);
	char *text = render();
	assert_line(text, "# HELP t_reads_total Reads.\\nOf \\\\ all kinds");
	assert_line(text, "# TYPE t_reads_total counter");
	assert_line(text, "t_reads_total{feature=\"tier\",status=\"hit\"} 7");
	assert_line(text, "t_reads_total{feature=\"a\\\"b\\\\c\\nd\",status=\"miss\"} 1");
	free(text);
}

static void test_name_with_total(void **state)
{
	(void)state;
	uint32_t f = metrics_family(METRIC_COUNTER, "t_done_total", "Done.", "", NULL);
	metrics_add(metrics_series(f, NULL), 2);
	char *text = render();
	assert_line(text, "t_done_total 2");
	assert_null(strstr(text, "t_done_total_total"));
	free(text);
}

static void test_gauge(void **state)
{
	(void)state;
	uint32_t f = metrics_family(METRIC_GAUGE, "t_lag", "Lag.", "store", NULL);
	metric_id g = metrics_series(f, (const char *const[]){ "duckdb" });
	metrics_set(g, 1.5);
	metrics_set(g, 0.1);
	metrics_set(metrics_series(f, (const char *const[]){ "none" }), NAN);
	metrics_set(metrics_series(f, (const char *const[]){ "huge" }), -INFINITY);
	char *text = render();
	assert_line(text, "# TYPE t_lag gauge");
	assert_line(text, "t_lag{store=\"duckdb\"} 0.1");
	assert_line(text, "t_lag{store=\"none\"} NaN");
	assert_line(text, "t_lag{store=\"huge\"} -Inf");
	free(text);
}

static void test_histogram(void **state)
{
	static const double bounds[] = { .25, 1, 10, 0 };
	(void)state;
	uint32_t f = metrics_family(METRIC_HISTOGRAM, "t_latency_seconds", "Latency.", "name", bounds);
	metric_id h = metrics_series(f, (const char *const[]){ "x" });
	metrics_observe(h, .25); /* a bound belongs to its own bucket */
	metrics_observe(h, .5);
	metrics_observe(h, 10.5);
	metrics_observe(h, NAN);
	metrics_observe(0, 1);
	char *text = render();
	assert_line(text, "# TYPE t_latency_seconds histogram");
	assert_line(text, "t_latency_seconds_bucket{name=\"x\",le=\"0.25\"} 1");
	assert_line(text, "t_latency_seconds_bucket{name=\"x\",le=\"1\"} 2");
	assert_line(text, "t_latency_seconds_bucket{name=\"x\",le=\"10\"} 2");
	assert_line(text, "t_latency_seconds_bucket{name=\"x\",le=\"+Inf\"} 3");
	assert_line(text, "t_latency_seconds_sum{name=\"x\"} 11.25");
	assert_line(text, "t_latency_seconds_count{name=\"x\"} 3");
	free(text);
	uint32_t plain = metrics_family(METRIC_HISTOGRAM, "t_default_seconds", "Default.", "", NULL);
	metrics_observe(metrics_series(plain, NULL), .00004);
	text = render();
	assert_line(text, "t_default_seconds_bucket{le=\"5e-05\"} 1");
	assert_line(text, "t_default_seconds_bucket{le=\"+Inf\"} 1");
	free(text);
}

/* Sorted by family and labels, whatever the order of registration. */
static void test_order(void **state)
{
	(void)state;
	uint32_t b = metrics_family(METRIC_COUNTER, "t_order_b", "B.", "x", NULL);
	uint32_t a = metrics_family(METRIC_COUNTER, "t_order_a", "A.", "", NULL);
	metrics_series(b, (const char *const[]){ "2" });
	metrics_series(b, (const char *const[]){ "1" });
	metrics_series(a, NULL);
	char *text = render();
	const char *expected = "# HELP t_order_a_total A.\n# TYPE t_order_a_total counter\nt_order_a_total 0\n"
			       "# HELP t_order_b_total B.\n# TYPE t_order_b_total counter\n"
			       "t_order_b_total{x=\"1\"} 0\nt_order_b_total{x=\"2\"} 0\n";
	assert_non_null(strstr(text, expected));
	free(text);
}

static double sample(const char *text, const char *name)
{
	char start[64];
	snprintf(start, sizeof start, "\n%s ", name);
	const char *p = strstr(text, start);
	if (p == NULL)
		fail_msg("no sample of %s", name);
	return strtod(p + strlen(start), NULL);
}

static void test_process(void **state)
{
	(void)state;
	char *text = render();
	double fds = sample(text, "process_open_fds"), start = sample(text, "process_start_time_seconds");
	assert_true(sample(text, "process_resident_memory_bytes") > 100000);
	assert_true(sample(text, "process_virtual_memory_bytes") > sample(text, "process_resident_memory_bytes"));
	assert_true(sample(text, "process_cpu_seconds_total") > 0);
	assert_true(sample(text, "process_max_fds") >= fds);
	assert_true(fabs((double)time(NULL) - start) < 600);
	free(text);
	int more[5];
	for (int i = 0; i < 5; i++)
		more[i] = dup(1);
	text = render();
	assert_true(sample(text, "process_open_fds") == fds + 5);
	assert_true(sample(text, "process_start_time_seconds") == start);
	free(text);
	for (int i = 0; i < 5; i++)
		close(more[i]);
}

struct worker {
	uint32_t counters, histograms;
	metric_id gauge;
};

static void *work(void *arg)
{
	const struct worker *w = arg;
	metric_id c = metrics_series(w->counters, (const char *const[]){ "shared" });
	metric_id h = metrics_series(w->histograms, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		metrics_add(c, 1);
		metrics_observe(h, 1);
		if (i % 1024 == 0)
			metrics_set(w->gauge, i);
	}
	return NULL;
}

/* Threads write while another scrapes; nothing is lost, also not when a later thread takes over a slab. */
static void test_threads(void **state)
{
	(void)state;
	struct worker w = { metrics_family(METRIC_COUNTER, "t_shared", "S.", "x", NULL),
			    metrics_family(METRIC_HISTOGRAM, "t_shared_seconds", "S.", "", NULL),
			    metrics_series(metrics_family(METRIC_GAUGE, "t_shared_now", "S.", "", NULL), NULL) };
	for (int round = 0; round < 2; round++) {
		pthread_t threads[THREADS];
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, work, &w), 0);
		for (int i = 0; i < 20; i++)
			free(render());
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
	}
	metric_id c = metrics_series(w.counters, (const char *const[]){ "shared" });
	assert_int_equal(metrics_counter_value(c), 2 * THREADS * ROUNDS);
	char *text = render();
	assert_true(sample(text, "t_shared_seconds_sum") == 2 * THREADS * ROUNDS);
	assert_true(sample(text, "t_shared_seconds_count") == 2 * THREADS * ROUNDS);
	free(text);
}

/* Last: uses up all cells. */
static void test_overflow(void **state)
{
	(void)state;
	uint32_t f = metrics_family(METRIC_COUNTER, "t_many", "Many.", "x,y", NULL);
	metric_id last = 0, before = 0;
	for (int i = 0; i < METRICS_CELLS_MAX + 10; i++) {
		char name[16];
		snprintf(name, sizeof name, "n%d", i);
		before = last;
		last = metrics_series(f, (const char *const[]){ name, "y" });
	}
	assert_int_equal(last, before);
	assert_int_not_equal(last, 0);
	metrics_add(last, 6);
	assert_int_not_equal(metrics_series(f, (const char *const[]){ "n0", "y" }), last);
	metric_id homeless = metrics_series(metrics_family(METRIC_HISTOGRAM, "t_homeless", "L.", "z", NULL),
					    (const char *const[]){ "1" });
	assert_int_equal(homeless, 0);
	metrics_observe(homeless, 1);
	char *text = render();
	assert_line(text, "t_many_total{x=\"overflow\",y=\"overflow\"} 6");
	assert_line(text, "t_many_total{x=\"n0\",y=\"y\"} 0");
	assert_true(sample(text, "fabra_metrics_refused_total") > 10);
	assert_null(strstr(text, "t_homeless"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counter), cmocka_unit_test(test_name_with_total),
		cmocka_unit_test(test_gauge),   cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_order),   cmocka_unit_test(test_process),
		cmocka_unit_test(test_threads), cmocka_unit_test(test_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
