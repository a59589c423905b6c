/* The same statements over and over while the projection appends: a kept plan must not believe in the data that it was made
 * for. What row i holds is a function of i, so that each answer, which says how many rows it saw, can be checked here. */
#include "tests/unit/offline_fixture.h"
#include <inttypes.h>

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	rig_open(&rig);
	rig_start(&rig, true, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	rig_close(&rig);
	rig_remove_folder(&rig);
	return 0;
}

/* ---- the rows: one value each ---- */
/* Numbers take another byte every few rows, and come back to small ones. */
static int64_t ttl_of(unsigned i)
{
	return i % 3 == 0 ? (int64_t)(i % 50) : INT64_C(1) << (i % 44);
}

/* Texts grow over 12 bytes, where DuckDB begins to store them elsewhere, and shrink again. */
static void text_of_row(unsigned i, char text[static 64])
{
	memset(text, 'a' + (int)(i * 7 % 26), 1 + i * 11 % 40);
	text[1 + i * 11 % 40] = '\0';
}

static void append_row(unsigned i)
{
	char id[64], json[72];
	text_of_row(i, id);
	snprintf(json, sizeof json, "%u", i % (1 + i / 4));
	rig_append_value(&rig, id, "f", json, T0_US + i, ttl_of(i));
}

/* ---- the answers over the first n rows ---- */
static void expect_filter(unsigned n, char *out, size_t out_bytes)
{
	unsigned found = 0;
	for (unsigned i = 0; i < n; i++)
		found += ttl_of(i) > 5000;
	snprintf(out, out_bytes, "%u", found);
}

static void expect_max_text(unsigned n, char *out, size_t out_bytes)
{
	char best[64] = "", text[64];
	for (unsigned i = 0; i < n; i++) {
		text_of_row(i, text);
		if (strcmp(text, best) > 0)
			strcpy(best, text);
	}
	snprintf(out, out_bytes, "%s", best);
}

static void expect_widths(unsigned n, char *out, size_t out_bytes)
{
	bool seen[64] = { false };
	unsigned widths = 0;
	for (unsigned i = 0; i < n; i++) {
		widths += !seen[1 + i * 11 % 40];
		seen[1 + i * 11 % 40] = true;
	}
	snprintf(out, out_bytes, "%u", widths);
}

static void expect_largest(unsigned n, char *out, size_t out_bytes)
{
	int64_t largest = 0;
	for (unsigned i = 0; i < n; i++)
		largest = ttl_of(i) > largest ? ttl_of(i) : largest;
	snprintf(out, out_bytes, "%" PRId64, largest);
}

static void expect_groups(unsigned n, char *out, size_t out_bytes)
{
	unsigned groups = 0;
	for (unsigned i = 0; i < n; i++) {
		bool is_new = true;
		for (unsigned j = 0; j < i && is_new; j++)
			is_new = ttl_of(j) != ttl_of(i);
		groups += is_new;
	}
	snprintf(out, out_bytes, "%u", groups);
}

static void expect_pairs(unsigned n, char *out, size_t out_bytes)
{
	unsigned pairs = 0;
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < n; j++)
			pairs += ttl_of(i) == ttl_of(j);
	snprintf(out, out_bytes, "%u", pairs);
}

#define H                 "fabra.feature_history"
#define SHAPE(expression) "SELECT (SELECT count(*) FROM " H ") AS n, CAST((" expression ") AS VARCHAR) AS v"
static const struct {
	const char *sql;
	void (*expect)(unsigned n, char *out, size_t out_bytes);
} shapes[] = {
	{ SHAPE("SELECT count(*) FROM " H " WHERE ttl_ms > 5000"), expect_filter },
	{ SHAPE("SELECT count(*) FILTER (ttl_ms > 5000) FROM " H), expect_filter },
	{ SHAPE("SELECT max(entity_id) FROM " H), expect_max_text },
	{ SHAPE("SELECT entity_id FROM " H " ORDER BY entity_id DESC, ttl_ms LIMIT 1"), expect_max_text },
	{ SHAPE("SELECT last(e) FROM (SELECT entity_id AS e FROM " H " ORDER BY entity_id, ttl_ms, value)"),
	  expect_max_text },
	{ SHAPE("SELECT entity_id FROM (SELECT entity_id, row_number() OVER (ORDER BY entity_id DESC) AS r FROM " H
		") WHERE r = 1"),
	  expect_max_text },
	{ SHAPE("SELECT count(DISTINCT length(entity_id)) FROM " H), expect_widths },
	{ SHAPE("SELECT count(*) FROM (SELECT DISTINCT length(entity_id) AS w FROM " H " ORDER BY w)"), expect_widths },
	{ SHAPE("SELECT max(ttl_ms) FROM " H), expect_largest },
	{ SHAPE("SELECT t FROM (SELECT ttl_ms AS t FROM " H " ORDER BY ttl_ms DESC, entity_id)  LIMIT 1"),
	  expect_largest },
	{ SHAPE("SELECT max(t) FROM (SELECT ttl_ms AS t, count(*) AS c FROM " H " GROUP BY ttl_ms)"), expect_largest },
	{ SHAPE("SELECT count(*) FROM (SELECT ttl_ms FROM " H " GROUP BY ttl_ms)"), expect_groups },
	{ SHAPE("SELECT count(*) FROM " H " a JOIN " H " b ON a.ttl_ms = b.ttl_ms"), expect_pairs },
	{ SHAPE("SELECT sum(c * c) FROM (SELECT ttl_ms, count(*) AS c FROM " H " GROUP BY ttl_ms)"), expect_pairs },
};

/* Asks all and checks; *seen: rows that the answers saw, never fewer than before and at least those already appended. */
static void ask_all(unsigned appended)
{
	struct order *orders[ARRAY_LEN(shapes)];
	struct query queries[ARRAY_LEN(shapes)] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		queries[i].sql = shapes[i].sql;
		orders[i] = rig_ask(&rig, make_query, &queries[i], 30000);
	}
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		struct answer a = rig_wait(orders[i]);
		unsigned n = 0;
		char wanted[64], text[128];
		if (a.status != RT_OK || sscanf(a.text, "[{\"n\":%u", &n) != 1)
			fail_msg("%s: %s", shapes[i].sql, a.text != NULL ? a.text : "no answer");
		if (n < appended)
			fail_msg("%s: saw %u rows of %u that were acknowledged before", shapes[i].sql, n, appended);
		shapes[i].expect(n, wanted, sizeof wanted);
		snprintf(text, sizeof text, "[{\"n\":%u,\"v\":\"%s\"}]", n, wanted);
		if (strcmp(a.text, text) != 0)
			fail_msg("%s, %u rows:\n  got    %s\n  wanted %s", shapes[i].sql, n, a.text, text);
		free(a.text);
	}
}

static void test_answers_follow_appends(void **state)
{
	(void)state;
	unsigned appended = 0;
	append_row(appended++);
	for (int round = 0; round < 60; round++) {
		ask_all(appended);
		for (int i = 0; i < 1 + round % 5; i++)
			append_row(appended++);
	}
}

/* ---- while another thread appends: a plan made just before a commit and run just after it ---- */
enum { BESIDE_ROWS = 1500 };
static _Atomic unsigned appended_beside;
static _Atomic bool is_enough;

static void *append_beside(void *arg)
{
	(void)arg;
	for (unsigned i = 1; i < BESIDE_ROWS && !atomic_load(&is_enough); i++) {
		append_row(i);
		atomic_store(&appended_beside, i + 1);
	}
	return NULL;
}

static void test_answers_beside_appends(void **state)
{
	(void)state;
	pthread_t thread;
	append_row(0);
	atomic_store(&appended_beside, 1);
	ask_all(1);
	assert_int_equal(pthread_create(&thread, NULL, append_beside, NULL), 0);
	while (atomic_load(&appended_beside) < BESIDE_ROWS)
		ask_all(atomic_load(&appended_beside));
	atomic_store(&is_enough, true);
	pthread_join(thread, NULL);
	ask_all(BESIDE_ROWS);
}

/* DuckDB keeps something of each execution in the plan: a statement that is asked for ever must not grow for ever. */
static long resident_kb(void)
{
	long pages = 0, ignored;
	FILE *f = fopen("/proc/self/statm", "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &ignored, &pages), 2);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void ask_often(unsigned times)
{
	/* No table: what a sort allocates would hide what is looked for. */
	struct query q = { .sql = "SELECT 1 AS one" };
	for (unsigned i = 0; i < times; i++) {
		struct answer a = rig_wait(rig_ask(&rig, make_query, &q, 30000));
		assert_int_equal(a.status, RT_OK);
		free(a.text);
	}
}

static void test_a_kept_plan_does_not_grow(void **state)
{
	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* what the sanitizer keeps is more than what is looked for */
#endif
	ask_often(2000);
	long before_kb = resident_kb();
	ask_often(8000);
	long grown_kb = resident_kb() - before_kb;
	if (grown_kb > 6000) /* 16,000 without the limit on the runs of a statement */
		fail_msg("8,000 questions left %ld KB behind", grown_kb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers_follow_appends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers_beside_appends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_kept_plan_does_not_grow, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
