#include "runtime/check.h"
#include "runtime/metrics.h"
#include "store/online/online_memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { USER = 1, ITEM = 2 };

static struct online *table_new(size_t bytes_max)
{
	struct online *t = online_create(&(struct online_config){ .bytes_max = bytes_max });
	assert_non_null(t);
	return t;
}

static enum online_result put(struct online *t, const char *id, uint32_t feature, const char *json, int64_t event_us,
			      uint64_t lsn, int64_t expires_us)
{
	struct value *v = value_create(str_from(json));
	struct online_write w = { .kind = USER,
				  .feature = feature,
				  .id = str_from(id),
				  .value = v,
				  .meta = { .event_time_us = event_us,
					    .lsn = lsn,
					    .written_us = event_us + 1,
					    .expires_us = expires_us,
					    .flags = ONLINE_PUSHED } };
	enum online_result result = online_put(t, &w);
	value_unref(v);
	return result;
}

static void assert_value(struct online *t, const char *id, uint32_t feature, int64_t now_us, const char *json)
{
	struct online_cell c;
	char text[64];
	size_t n;
	struct online_meta meta;
	bool found = online_get(t, USER, str_from(id), feature, now_us, &c);
	enum online_read copied = online_read_copy(t, (struct online_key[]){ online_key(USER, str_from(id)) }, feature,
						   now_us, text, sizeof text, &n, &meta);
	assert_int_equal(found, json != NULL);
	assert_int_equal(copied, json ? ONLINE_HIT : ONLINE_MISS);
	if (json == NULL) {
		assert_null(c.value);
		return;
	}
	assert_string_equal(c.value->json, json);
	assert_true(str_eq(str_of(text, n), str_from(json)));
	assert_true(meta.event_time_us == c.meta.event_time_us && meta.lsn == c.meta.lsn &&
		    meta.written_us == c.meta.written_us && meta.expires_us == c.meta.expires_us &&
		    meta.flags == c.meta.flags);
	value_unref(c.value);
}

static void test_put_get(void **state)
{
	struct online *t = table_new(0);
	struct online_cell c;
	(void)state;
	assert_value(t, "u1", 7, 0, NULL);
	assert_int_equal(put(t, "u1", 7, "\"gold\"", 100, 1, 0), ONLINE_APPLIED);
	assert_value(t, "u1", 7, 0, "\"gold\"");
	assert_value(t, "u1", 8, 0, NULL);
	assert_value(t, "u2", 7, 0, NULL);
	assert_value(t, "", 7, 0, NULL);
	assert_false(online_get(t, ITEM, STR("u1"), 7, 0, &c));
	assert_int_equal(put(t, "", 7, "0", 100, 2, 0), ONLINE_APPLIED);
	assert_value(t, "", 7, 0, "0");
	assert_true(online_get(t, USER, STR("u1"), 7, 0, &c));
	assert_true(c.meta.event_time_us == 100 && c.meta.lsn == 1 && c.meta.written_us == 101 &&
		    c.meta.expires_us == 0 && c.meta.flags == ONLINE_PUSHED);
	value_unref(c.value);
	online_destroy(t);
	online_destroy(NULL);
}

/* References outlive the cell, and even the table. */
static void test_reference(void **state)
{
	struct online *t = table_new(0);
	struct online_cell c;
	(void)state;
	put(t, "u1", 1, "1", 100, 1, 0);
	assert_true(online_get(t, USER, STR("u1"), 1, 0, &c));
	put(t, "u1", 1, "2", 101, 2, 0);
	assert_string_equal(c.value->json, "1");
	assert_value(t, "u1", 1, 0, "2");
	value_unref(c.value);
	assert_true(online_get(t, USER, STR("u1"), 1, 0, &c));
	online_destroy(t);
	assert_string_equal(c.value->json, "2");
	value_unref(c.value);
}

static void test_get_many(void **state)
{
	struct online *t = table_new(0);
	struct online_cell c[5];
	char json[16];
	(void)state;
	for (uint32_t f = 200; f-- > 0;) { /* falling, so that every insert moves the others */
		snprintf(json, sizeof json, "%u", f);
		assert_int_equal(put(t, "u1", f * 3, json, 100, 1, 0), ONLINE_APPLIED);
	}
	assert_int_equal(online_get_many(t, USER, STR("u1"), (uint32_t[]){ 597, 1, 0, 300, 598 }, 5, 0, c), 3);
	assert_string_equal(c[0].value->json, "199");
	assert_null(c[1].value);
	assert_string_equal(c[2].value->json, "0");
	assert_string_equal(c[3].value->json, "100");
	assert_null(c[4].value);
	for (int i = 0; i < 5; i++)
		value_unref(c[i].value);
	assert_int_equal(online_get_many(t, USER, STR("none"), (uint32_t[]){ 1, 2 }, 2, 0, c), 0);
	struct online_stats s;
	online_stats(t, &s);
	assert_true(s.rows == 1 && s.cells == 200 && s.hits == 3 && s.misses == 4 && s.puts == 200);
	online_destroy(t);
}

static void test_order(void **state)
{
	struct online *t = table_new(0);
	(void)state;
	assert_int_equal(put(t, "u1", 1, "\"new\"", 200, 5, 0), ONLINE_APPLIED);
	assert_int_equal(put(t, "u1", 1, "\"older\"", 199, 9, 0), ONLINE_STALE);
	assert_int_equal(put(t, "u1", 1, "\"same time, earlier\"", 200, 4, 0), ONLINE_STALE);
	assert_value(t, "u1", 1, 0, "\"new\"");
	assert_int_equal(put(t, "u1", 1, "\"same time, later\"", 200, 6, 0), ONLINE_APPLIED);
	assert_int_equal(put(t, "u1", 1, "\"same entry\"", 200, 6, 0), ONLINE_APPLIED);
	assert_value(t, "u1", 1, 0, "\"same entry\"");
	assert_int_equal(put(t, "u1", 1, "\"before 1970\"", -5, 7, 0), ONLINE_STALE);
	struct online_stats s;
	online_stats(t, &s);
	assert_true(s.stale == 3 && s.puts == 3 && s.cells == 1);
	online_destroy(t);
}

static void test_ttl(void **state)
{
	struct online *t = table_new(0);
	struct online_stats s;
	(void)state;
	put(t, "u1", 1, "1", 100, 1, 1000);
	put(t, "u1", 2, "2", 100, 1, 0);
	put(t, "u2", 1, "1", 100, 1, 500);
	assert_value(t, "u1", 1, 999, "1");
	assert_value(t, "u1", 1, 1000, NULL);
	assert_int_equal(put(t, "u1", 1, "0", 99, 1, 0), ONLINE_STALE); /* expired, not yet forgotten */
	assert_int_equal(online_sweep(t, 700, online_round(t)), 1);
	assert_int_equal(online_sweep(t, 2000, online_round(t)), 1);
	online_stats(t, &s);
	assert_true(s.rows == 1 && s.cells == 1 && s.expired_cells == 2);
	assert_value(t, "u1", 2, 2000, "2");
	online_destroy(t);
}

static void test_sweep_budget(void **state)
{
	struct online *t = table_new(1 << 20);
	char id[24];
	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof id, "u%d", i);
		put(t, id, 1, "1", 100, 1, 1000);
	}
	size_t freed = 0, parts = 16, most = 0;
	for (size_t i = 0; i < parts; i++) {
		size_t n = online_sweep(t, 1000, online_round(t) / parts);
		most = n > most ? n : most;
		freed += n;
	}
	assert_int_equal(freed, 1000); /* one whole round */
	assert_true(most < 200);       /* and no part of it did it all */
	online_destroy(t);
}

static void test_delete_cell(void **state)
{
	struct online *t = table_new(0);
	struct online_stats s;
	(void)state;
	put(t, "u1", 1, "1", 100, 1, 0);
	put(t, "u1", 2, "2", 100, 2, 0);
	assert_int_equal(online_delete_cell(t, USER, STR("u1"), 1, 99, 1, 0), ONLINE_STALE);
	assert_int_equal(online_delete_cell(t, USER, STR("u1"), 1, 150, 3, 0), ONLINE_APPLIED);
	assert_value(t, "u1", 1, 0, NULL);
	assert_value(t, "u1", 2, 0, "2");
	assert_int_equal(put(t, "u1", 1, "\"late\"", 149, 4, 0), ONLINE_STALE);
	assert_int_equal(put(t, "u1", 1, "\"replayed\"", 100, 1, 0), ONLINE_STALE);
	assert_int_equal(online_delete_cell(t, USER, STR("u1"), 1, 150, 3, 0), ONLINE_STALE);
	online_stats(t, &s);
	assert_true(s.cells == 1 && s.tombstones == 1);
	assert_int_equal(put(t, "u1", 1, "\"again\"", 151, 5, 0), ONLINE_APPLIED);
	assert_value(t, "u1", 1, 0, "\"again\"");
	online_stats(t, &s);
	assert_true(s.cells == 2 && s.tombstones == 0 && s.deletes == 1);
	/* of a row that was never there */
	assert_int_equal(online_delete_cell(t, USER, STR("u9"), 1, 150, 6, 0), ONLINE_APPLIED);
	assert_int_equal(put(t, "u9", 1, "1", 149, 7, 0), ONLINE_STALE);
	assert_int_equal(put(t, "u9", 2, "1", 149, 7, 0), ONLINE_APPLIED);
	online_destroy(t);
}

/* A value whose event lies ahead is deleted as any other, and leaves nothing that would refuse the next one. */
static void test_delete_what_lies_ahead(void **state)
{
	struct online *t = table_new(0);
	(void)state;
	put(t, "u1", 1, "1", 900, 1, 0);
	put(t, "u1", 2, "2", 900, 2, 0);
	assert_int_equal(online_delete_row(t, USER, STR("u1"), 200, 3, 0), ONLINE_APPLIED);
	assert_value(t, "u1", 1, 0, NULL);
	assert_value(t, "u1", 2, 0, NULL);
	assert_int_equal(put(t, "u1", 1, "\"replayed\"", 900, 1, 0), ONLINE_STALE);
	assert_int_equal(put(t, "u1", 1, "3", 201, 4, 0), ONLINE_APPLIED);
	/* A clock that went back: the delete is older in time, and removes what was written before it all the same. */
	assert_int_equal(online_delete_row(t, USER, STR("u1"), 100, 5, 0), ONLINE_APPLIED);
	assert_value(t, "u1", 1, 0, NULL);
	assert_int_equal(put(t, "u1", 1, "4", 199, 6, 0), ONLINE_STALE); /* the earlier delete still holds */
	assert_int_equal(put(t, "u1", 1, "5", 202, 7, 0), ONLINE_APPLIED);
	assert_int_equal(online_delete_cell(t, USER, STR("u1"), 1, 150, 8, 0), ONLINE_APPLIED);
	assert_value(t, "u1", 1, 0, NULL);
	/* A deleted cell that lies ahead is gone with its row, in whatever order the two come. */
	assert_int_equal(online_delete_cell(t, USER, STR("u2"), 1, 900, 10, 0), ONLINE_APPLIED);
	assert_int_equal(put(t, "u2", 1, "1", 899, 11, 0), ONLINE_STALE);
	assert_int_equal(online_delete_row(t, USER, STR("u2"), 200, 12, 0), ONLINE_APPLIED);
	assert_int_equal(online_delete_cell(t, USER, STR("u2"), 1, 900, 10, 0), ONLINE_STALE);
	assert_int_equal(put(t, "u2", 1, "2", 201, 13, 0), ONLINE_APPLIED);
	assert_value(t, "u2", 1, 0, "2");
	/* What a deleted row does not take: the cell that was deleted after it. */
	assert_int_equal(online_delete_cell(t, USER, STR("u2"), 1, 900, 14, 0), ONLINE_APPLIED);
	assert_int_equal(online_delete_row(t, USER, STR("u2"), 300, 13, 0), ONLINE_APPLIED);
	assert_int_equal(put(t, "u2", 1, "3", 899, 15, 0), ONLINE_STALE);
	online_destroy(t);
}

static void test_nanoseconds_order(void **state)
{
	struct online *t = table_new(0);
	struct value *v = value_create(STR("1"));
	struct online_write w = { USER, 1, STR("u1"), v, { .event_time_us = 5, .event_time_ns = 2, .lsn = 1 } };
	(void)state;
	assert_int_equal(online_put(t, &w), ONLINE_APPLIED);
	w.meta = (struct online_meta){ .event_time_us = 5, .event_time_ns = 1, .lsn = 2 };
	assert_int_equal(online_put(t, &w), ONLINE_STALE);
	w.meta.event_time_ns = 2;
	assert_int_equal(online_put(t, &w), ONLINE_APPLIED);
	w.meta = (struct online_meta){ .event_time_us = 5, .event_time_ns = 999, .lsn = 3 };
	assert_int_equal(online_put(t, &w), ONLINE_APPLIED);
	struct online_cell cell;
	assert_true(online_get(t, USER, STR("u1"), 1, 0, &cell));
	assert_int_equal(cell.meta.event_time_ns, 999);
	value_unref(cell.value);
	value_unref(v);
	online_destroy(t);
}

static void count_id(void *arg, struct str id)
{
	int *seen = arg;
	char text[24];
	snprintf(text, sizeof text, "%.*s", STR_ARG(id));
	seen[atoi(text + 1)]++;
}

/* All that are older and of the kind are met, however small the parts, while others come and the index grows. */
static void test_each_older(void **state)
{
	enum { N = 3000 };
	static int seen[2 * N];
	struct online *t = online_create(&(struct online_config){ .stripes = 4 });
	char id[24];
	(void)state;
	for (int i = 0; i < N; i++) {
		snprintf(id, sizeof id, "u%d", i);
		put(t, id, 1 + (uint32_t)(i % 5 == 0), "1", 100 + i % 2, 1, 0);
	}
	snprintf(id, sizeof id, "u%d", 3);
	online_delete_cell(t, USER, str_from(id), 1, 200, 2, 0);
	memset(seen, 0, sizeof seen);
	uint64_t cursor = 0;
	for (int i = N; online_each_older(t, USER, 1, 101, &cursor, 3, seen, count_id) == ONLINE_WALK_MORE; i++) {
		snprintf(id, sizeof id, "u%d", i);
		if (i < 2 * N)
			put(t, id, 1, "1", 500, 3, 0);
	}
	for (int i = 0; i < N; i++) {
		bool is_older = i % 2 == 0 && i % 5 != 0;
		if ((seen[i] > 0) != is_older)
			fail_msg("u%d was met %d times", i, seen[i]);
	}
	for (int i = N; i < 2 * N; i++)
		assert_int_equal(seen[i], 0);
	online_destroy(t);
}

static void test_delete_row(void **state)
{
	struct online *t = table_new(0);
	struct online_stats s;
	(void)state;
	for (uint32_t f = 0; f < 100; f++)
		put(t, "u1", f, "1", 100, f, 0);
	put(t, "u1", 100, "\"newer\"", 300, 210, 0);
	online_delete_cell(t, USER, STR("u1"), 5, 120, 201, 0);
	assert_int_equal(online_delete_row(t, USER, STR("u1"), 200, 202, 0), ONLINE_APPLIED);
	online_stats(t, &s);
	assert_true(s.rows == 1 && s.cells == 1 && s.tombstones == 1);
	assert_value(t, "u1", 1, 0, NULL);
	assert_value(t, "u1", 100, 0, "\"newer\"");
	assert_int_equal(put(t, "u1", 1, "0", 200, 202, 0), ONLINE_STALE);
	assert_int_equal(put(t, "u1", 777, "0", 199, 999, 0), ONLINE_STALE);
	assert_int_equal(online_delete_row(t, USER, STR("u1"), 199, 201, 0), ONLINE_STALE);
	assert_int_equal(put(t, "u1", 1, "1", 201, 203, 0), ONLINE_APPLIED);
	assert_value(t, "u1", 1, 0, "1");
	assert_value(t, "u1", UINT32_MAX, 0, NULL);
	assert_int_equal(online_delete_row(t, USER, STR("u2"), 200, 204, 0), ONLINE_APPLIED);
	assert_int_equal(put(t, "u2", 1, "1", 150, 205, 0), ONLINE_STALE);
	online_destroy(t);
}

/* Whoever asks the history hears of a delete for 90 days; the table must not say otherwise before. */
static void test_tombstones_are_kept_as_long_as_history(void **state)
{
	(void)state;
	static const int64_t day_us = 24 * 3600 * 1000000ll;
	struct online *t = online_create(&(struct online_config){ .bytes_max = 1 << 20 });
	online_delete_row(t, USER, STR("u1"), 150, 3, 1000);
	online_sweep(t, 89 * day_us, online_round(t));
	assert_int_equal(put(t, "u1", 1, "0", 149, 4, 0), ONLINE_STALE);
	assert_int_equal(online_sweep(t, 91 * day_us, online_round(t)), 1);
	online_destroy(t);
}

static void test_tombstones_end(void **state)
{
	struct online *t = online_create(
	    &(struct online_config){ .bytes_max = 1 << 20, .tombstone_keep_us = 50, .tombstones_max = 100 });
	struct online_stats s;
	char id[24];
	(void)state;
	online_delete_cell(t, USER, STR("u1"), 1, 150, 3, 1000);
	online_sweep(t, 1049, online_round(t));
	assert_int_equal(put(t, "u1", 1, "0", 149, 4, 0), ONLINE_STALE);
	assert_int_equal(online_sweep(t, 1050, online_round(t)), 1);
	assert_int_equal(put(t, "u1", 1, "0", 149, 4, 0), ONLINE_APPLIED);
	for (int i = 0; i < 2000; i++) {
		snprintf(id, sizeof id, "gone%d", i);
		online_delete_row(t, USER, str_from(id), 150, 3, 1000);
		online_stats(t, &s);
		assert_true(s.tombstones <= 100);
	}
	assert_true(s.tombstones > 80); /* a few go together, those of one look of the hand */
	assert_int_equal(s.tombstones_forgotten + s.tombstones, 2000);
	assert_value(t, "u1", 1, 0, "0"); /* a flood of deletes costs no value */
	online_destroy(t);
}

static void test_eviction(void **state)
{
	struct online *t = table_new(1 << 20);
	struct online_stats s;
	char id[24];
	(void)state;
	online_delete_cell(t, USER, STR("deleted"), 1, 150, 3, 1000);
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof id, "hot%d", i);
		put(t, id, 1, "\"hot\"", 100, 1, 0);
	}
	for (int i = 0; i < 30000; i++) {
		snprintf(id, sizeof id, "cold%d", i);
		assert_int_equal(put(t, id, 1, "\"a cold value\"", 100, 1, 0), ONLINE_APPLIED);
		if (i % 16 == 0) /* a write never evicts itself */
			assert_value(t, id, 1, 0, "\"a cold value\"");
		snprintf(id, sizeof id, "hot%d", i % 100);
		online_read_copy(t, (struct online_key[]){ online_key(USER, str_from(id)) }, 1, 0, id, 0,
				 &(size_t){ 0 }, &(struct online_meta){ 0 });
		online_stats(t, &s);
		assert_true(s.bytes <= s.bytes_max);
	}
	assert_true(s.bytes_max == 1 << 20);
	assert_true(s.bytes > s.bytes_max * 9 / 10);
	assert_true(s.evicted_cells > 20000);
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof id, "hot%d", i);
		assert_value(t, id, 1, 0, "\"hot\"");
	}
	assert_int_equal(put(t, "deleted", 1, "0", 149, 4, 0), ONLINE_STALE);
	online_destroy(t);
}

/* Having been read once, long ago, keeps nothing. */
static void test_second_chance(void **state)
{
	struct online *t = table_new(1 << 20);
	char id[24];
	int left = 0;
	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof id, "once%d", i);
		put(t, id, 1, "1", 100, 1, 0);
		assert_value(t, id, 1, 0, "1");
	}
	for (int i = 0; i < 60000; i++) {
		snprintf(id, sizeof id, "cold%d", i);
		put(t, id, 1, "2", 100, 1, 0);
	}
	for (int i = 0; i < 1000; i++) {
		struct online_cell c;
		snprintf(id, sizeof id, "once%d", i);
		left += online_get(t, USER, str_from(id), 1, 0, &c);
		value_unref(c.value);
	}
	assert_true(left < 200);
	online_destroy(t);
}

/* The index grows with the rows and loses none. */
static void test_growth(void **state)
{
	struct online *t = online_create(&(struct online_config){ .stripes = 4 });
	struct online_stats s;
	char id[24];
	(void)state;
	for (int i = 0; i < 40000; i++) {
		snprintf(id, sizeof id, "u%d", i);
		assert_int_equal(put(t, id, 1, id + 1, 100, 1, i % 2), ONLINE_APPLIED);
		if (i % 1000 == 0)
			for (int k = 0; k <= i; k += 7) {
				snprintf(id, sizeof id, "u%d", k);
				assert_value(t, id, 1, 0, id + 1);
			}
	}
	online_stats(t, &s);
	assert_int_equal(s.rows, 40000);
	assert_int_equal(online_sweep(t, 1, online_round(t)), 20000);
	online_destroy(t);
}

static void test_too_large(void **state)
{
	struct online *t = table_new(1 << 20);
	struct online_stats s;
	static char big[200 << 10];
	char id[ONLINE_ID_MAX + 2];
	char out[8];
	size_t n;
	struct online_meta meta;
	(void)state;
	memset(big, '1', sizeof big - 1);
	memset(id, 'i', sizeof id - 1);
	id[sizeof id - 1] = '\0';
	assert_int_equal(put(t, "u1", 1, big, 100, 1, 0), ONLINE_FULL);
	assert_int_equal(put(t, id, 1, "1", 100, 1, 0), ONLINE_FULL);
	assert_int_equal(online_delete_row(t, USER, str_from(id), 100, 1, 0), ONLINE_FULL);
	id[ONLINE_ID_MAX] = '\0';
	assert_int_equal(put(t, id, 1, "1", 100, 1, 0), ONLINE_APPLIED);
	for (int i = 0; i < 20; i++) { /* ten of these do not fit at a time */
		id[0] = (char)('a' + i);
		big[100 << 10] = '\0';
		assert_int_equal(put(t, id, 1, big, 100, 1, 0), ONLINE_APPLIED);
	}
	assert_int_equal(online_read_copy(t, (struct online_key[]){ online_key(USER, str_from(id)) }, 1, 0, big,
					  sizeof big, &n, &meta),
			 ONLINE_LARGE);
	put(t, "small", 1, "123456789", 100, 1, 0);
	assert_int_equal(online_read_copy(t, (struct online_key[]){ online_key(USER, STR("small")) }, 1, 0, out,
					  sizeof out, &n, &meta),
			 ONLINE_LARGE);
	for (uint32_t f = 0; f < ONLINE_CELLS_MAX; f++) /* the row grows past an eighth of the table */
		if (put(t, "wide", f, "1", 100, 1, 0) == ONLINE_FULL)
			break;
	online_stats(t, &s);
	assert_int_equal(s.full, 3);
	assert_true(s.bytes <= s.bytes_max);
	online_destroy(t);
}

static void assert_metric(const char *line)
{
	struct buf out = { 0 };
	metrics_render(&out);
	buf_append_char(&out, '\0');
	if (strstr(out.p, line) == NULL)
		fail_msg("no \"%s\" in:\n%s", line, out.p);
	buf_finish(&out);
}

static void test_publish(void **state)
{
	struct online *t = table_new(0);
	(void)state;
	put(t, "u1", 1, "1", 100, 1, 0);
	put(t, "u1", 1, "1", 99, 1, 0);
	assert_value(t, "u1", 1, 0, "1"); /* reads twice */
	online_publish(t);
	assert_metric("\nfabra_online_values 1\n");
	assert_metric("\nfabra_online_reads_total{outcome=\"hit\"} 2\n");
	assert_metric("\nfabra_online_writes_total{outcome=\"stale\"} 1\n");
	online_delete_cell(t, USER, STR("u1"), 1, 200, 2, 0);
	assert_value(t, "u1", 1, 0, NULL);
	online_publish(t); /* counters go on from what they were */
	assert_metric("\nfabra_online_values 0\n");
	assert_metric("\nfabra_online_tombstones 1\n");
	assert_metric("\nfabra_online_reads_total{outcome=\"hit\"} 2\n");
	assert_metric("\nfabra_online_reads_total{outcome=\"miss\"} 2\n");
	assert_metric("\nfabra_online_writes_total{outcome=\"deleted\"} 1\n");
	online_destroy(t);
}

/* ---- a model: the same rules over plain arrays, without a bound ---- */

enum { IDS = 7, FEATURES = 4, ROW = FEATURES, KEEP_US = 40 };

struct model_cell {
	enum { NOTHING, VALUE, TOMBSTONE } state;
	int value;
	int64_t event_us, expires_us;
	uint64_t lsn;
	uint16_t event_ns;
};
static struct model_cell model[2][IDS][FEATURES + 1]; /* the last: the row's tombstone */

static int64_t model_time(const struct model_cell *c)
{
	return c->event_us * 1000 + c->event_ns;
}

/* Written before the tombstone, or true before it, or both at once. */
static bool model_hides(const struct model_cell *t, const struct model_cell *c)
{
	return t->state == TOMBSTONE && (t->lsn > c->lsn || model_time(t) > model_time(c) ||
					 (t->lsn == c->lsn && model_time(t) == model_time(c)));
}

static bool model_covers(const struct model_cell *t, const struct model_cell *other)
{
	return t->state == TOMBSTONE && t->lsn >= other->lsn && model_time(t) >= model_time(other);
}

static enum online_result model_put(struct model_cell *row, int feature, struct model_cell new)
{
	const struct model_cell *old = &row[feature];
	if (model_hides(&row[ROW], &new) || model_hides(old, &new))
		return ONLINE_STALE;
	if (old->state == VALUE &&
	    (model_time(old) > model_time(&new) || (model_time(old) == model_time(&new) && old->lsn > new.lsn)))
		return ONLINE_STALE;
	row[feature] = new;
	return ONLINE_APPLIED;
}

static enum online_result model_delete(struct model_cell *row, int feature, struct model_cell new)
{
	struct model_cell *old = &row[feature];
	if (feature != ROW && row[ROW].state == TOMBSTONE && row[ROW].lsn >= new.lsn)
		return ONLINE_STALE;
	if (model_covers(old, &new))
		return ONLINE_STALE;
	if (old->state == VALUE && !model_hides(&new, old))
		return ONLINE_STALE;
	if (old->state == TOMBSTONE && model_time(old) > model_time(&new)) {
		new.event_us = old->event_us;
		new.event_ns = old->event_ns;
	}
	if (old->state == TOMBSTONE && old->lsn > new.lsn)
		new.lsn = old->lsn;
	for (int f = 0; feature == ROW && f < FEATURES; f++)
		if (row[f].state == VALUE ? model_hides(&new, &row[f]) : new.lsn >= row[f].lsn)
			row[f].state = NOTHING;
	row[feature] = new;
	return ONLINE_APPLIED;
}

static void model_sweep(int64_t now_us)
{
	for (struct model_cell *c = &model[0][0][0]; c < &model[0][0][0] + sizeof model / sizeof *c; c++)
		if (c->expires_us && now_us >= c->expires_us)
			c->state = NOTHING;
}

static void model_check(struct online *t, int64_t now_us)
{
	uint32_t features[FEATURES] = { 0, 1, 2, 3 };
	struct online_cell cells[FEATURES];
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < IDS; i++) {
			char id = (char)('a' + i);
			online_get_many(t, (uint32_t)k, str_of(&id, 1), features, FEATURES, now_us, cells);
			for (int f = 0; f < FEATURES; f++) {
				struct model_cell *m = &model[k][i][f];
				bool live = m->state == VALUE && !(m->expires_us && now_us >= m->expires_us);
				assert_int_equal(live, cells[f].value != NULL);
				if (!live)
					continue;
				assert_int_equal(atoi(cells[f].value->json), m->value);
				assert_true(cells[f].meta.lsn == m->lsn && cells[f].meta.event_time_us == m->event_us);
				value_unref(cells[f].value);
			}
		}
}

static void model_step(struct online *t, unsigned *seed, int n, int64_t now_us)
{
	int k = rand_r(seed) % 2, i = rand_r(seed) % IDS, f = rand_r(seed) % FEATURES, what = rand_r(seed) % 20;
	char id = (char)('a' + i);
	int64_t event_us = now_us - rand_r(seed) % 12;
	struct model_cell c = { VALUE,
				n,
				event_us,
				rand_r(seed) % 3 ? 0 : now_us + rand_r(seed) % 20,
				(uint64_t)(rand_r(seed) % 4 ? n : n - rand_r(seed) % 30),
				(uint16_t)(rand_r(seed) % 3) };
	if (what == 0) {
		online_sweep(t, now_us, online_round(t));
		model_sweep(now_us);
		return;
	}
	if (what > 5) {
		char json[16];
		snprintf(json, sizeof json, "%d", n);
		struct value *v = value_create(str_from(json));
		struct online_write w = { (uint32_t)k,
					  (uint32_t)f,
					  str_of(&id, 1),
					  v,
					  { event_us, c.lsn, now_us, c.expires_us, 0, c.event_ns, 0 } };
		assert_int_equal(online_put(t, &w), model_put(model[k][i], f, c));
		value_unref(v);
		return;
	}
	c.state = TOMBSTONE;
	c.event_ns = 0;
	c.expires_us = now_us + KEEP_US;
	bool row = what < 3;
	enum online_result got = row ? online_delete_row(t, (uint32_t)k, str_of(&id, 1), event_us, c.lsn, now_us)
				     : online_delete_cell(t, (uint32_t)k, str_of(&id, 1), (uint32_t)f, event_us, c.lsn,
							  now_us);
	assert_int_equal(got, model_delete(model[k][i], row ? ROW : f, c));
}

static void test_model(void **state)
{
	(void)state;
	for (unsigned round = 1; round <= 40; round++) {
		struct online *t = online_create(
		    &(struct online_config){ .bytes_max = 1 << 20, .tombstone_keep_us = KEEP_US, .stripes = 1 });
		unsigned seed = round;
		memset(model, 0, sizeof model);
		for (int n = 100; n < 1600; n++) {
			model_step(t, &seed, n, n / 4);
			if (n % 8 == 0)
				model_check(t, n / 4);
		}
		online_destroy(t);
	}
}

/* ---- several cells of a row ---- */

/* Each would be kept, all of them are too much: then none is, and what was there stays. */
static void test_change_row_without_room(void **state)
{
	(void)state;
	struct online *t = table_new(1 << 20);
	struct online_change changes[12];
	struct online_stats s;
	char *text = malloc(100000);
	memset(text, '1', 100000);
	struct value *large = value_create(str_of(text, 100000));
	free(text);
	put(t, "u1", 0, "0", 50, 5, 0);
	for (uint32_t i = 0; i < ARRAY_LEN(changes); i++)
		changes[i] = (struct online_change){ .feature = i,
						     .value = i == 5 ? NULL : large,
						     .meta = { .event_time_us = 100, .lsn = 10 } };
	online_change_row(t, USER, STR("u1"), changes, ARRAY_LEN(changes), 100);
	for (uint32_t i = 0; i < ARRAY_LEN(changes); i++)
		assert_int_equal(changes[i].result, ONLINE_FULL);
	online_stats(t, &s);
	assert_true(s.cells <= 1 && s.tombstones == 0);
	assert_int_equal(s.full, ARRAY_LEN(changes));
	online_change_row(t, USER, STR("u1"), changes, 3, 100); /* what was reserved is given back */
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(changes[i].result, ONLINE_APPLIED);
	value_unref(large);
	online_destroy(t); /* checks its count of bytes */
}

static void test_change_row(void **state)
{
	(void)state;
	struct online *t = table_new(1 << 20);
	struct value *v = value_create(STR("\"a text that does not fit into a cell\"")), *large = NULL;
	char *text = malloc(1 << 18);
	memset(text, '1', 1 << 18);
	large = value_create(str_of(text, 1 << 18));
	put(t, "u1", 2, "2", 500, 5, 0);
	struct online_change changes[] = {
		{ .feature = 3, .value = v, .meta = { .event_time_us = 100, .lsn = 10 } },
		{ .feature = 2,
		  .value = v,
		  .meta = { .event_time_us = 100, .lsn = 10 } }, /* older than what is there */
		{ .feature = 1, .value = v, .meta = { .event_time_us = 100, .lsn = 10 } },
		{ .feature = 4, .value = large, .meta = { .event_time_us = 100, .lsn = 10 } }, /* more than an eighth */
		{ .feature = 5, .value = NULL, .meta = { .event_time_us = 100, .lsn = 10 } },
		{ .feature = 3, .value = v, .meta = { .event_time_us = 99, .lsn = 10 } }, /* older than its neighbour */
	};
	static const enum online_result wanted[] = { ONLINE_APPLIED, ONLINE_STALE,   ONLINE_APPLIED,
						     ONLINE_FULL,    ONLINE_APPLIED, ONLINE_STALE };
	online_change_row(t, USER, STR("u1"), changes, ARRAY_LEN(changes), 100);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++)
		assert_int_equal(changes[i].result, wanted[i]);
	assert_value(t, "u1", 1, 100, v->json);
	assert_value(t, "u1", 2, 100, "2");
	assert_value(t, "u1", 3, 100, v->json);
	assert_value(t, "u1", 4, 100, NULL);
	assert_int_equal(put(t, "u1", 5, "5", 100, 9, 0), ONLINE_STALE); /* its tombstone */
	struct online_stats s;
	online_stats(t, &s);
	assert_true(s.cells == 3 && s.tombstones == 1 && s.rows == 1);
	struct online_cell cells[2];
	struct online_trace traces[2];
	assert_int_equal(online_see(t, USER, STR("u1"), (const uint32_t[]){ 1, 5 }, 2, 100, cells, traces), 1);
	assert_true(traces[0].is_live && traces[0].lsn == 10 && !traces[1].is_live && traces[1].is_known &&
		    traces[1].lsn == 10);
	value_unref(cells[0].value);
	online_delete_row(t, USER, STR("u1"), 1, 11, 100);
	assert_true(online_trace(t, USER, STR("u1"), 1, 100, traces) && traces[0].lsn == 11);
	value_unref(v);
	value_unref(large);
	free(text);
	online_destroy(t); /* counts every byte */
}

enum { TOGETHER = 200, ROUNDS = 3000 };

static void *write_together(void *arg)
{
	struct online_change changes[TOGETHER];
	for (int64_t round = 1; round <= ROUNDS; round++) {
		char text[32];
		struct value *v = value_create(
		    str_of(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)round)));
		for (uint32_t i = 0; i < TOGETHER; i++)
			changes[i] = (struct online_change){ .feature = i,
							     .value = v,
							     .meta = { .event_time_us = round, .lsn = 1 } };
		online_change_row(arg, USER, STR("u1"), changes, TOGETHER, round);
		value_unref(v);
	}
	return NULL;
}

static void test_together(void **state)
{
	(void)state;
	struct online *t = table_new(0);
	struct online_cell cells[TOGETHER];
	uint32_t features[TOGETHER];
	int64_t seen = 0;
	pthread_t writer;
	for (uint32_t i = 0; i < TOGETHER; i++)
		features[i] = i;
	assert_int_equal(pthread_create(&writer, NULL, write_together, t), 0);
	while (seen < ROUNDS) {
		size_t found = online_get_many(t, USER, STR("u1"), features, TOGETHER, 0, cells);
		assert_true(found == 0 || found == TOGETHER);
		for (uint32_t i = 0; i < found; i++) {
			assert_int_equal(cells[i].meta.event_time_us, cells[0].meta.event_time_us);
			value_unref(cells[i].value);
		}
		seen = found ? cells[0].meta.event_time_us : 0;
	}
	pthread_join(writer, NULL);
	online_destroy(t);
}

/* ---- threads ---- */

enum { THREADS = 3, STEPS = 30000, STRESS_IDS = 3000 };

static void check_text(struct str text, int id, uint32_t feature)
{
	char expected[32];
	int n = snprintf(expected, sizeof expected, "[%d,%u,", id, feature);
	assert_true(str_starts(text, str_of(expected, (size_t)n)));
	assert_true(text.p[text.n - 1] == ']');
}

static void stress_read(struct online *t, struct str id, int number, uint32_t feature, int64_t now_us)
{
	char out[128];
	size_t n;
	struct online_meta meta;
	struct online_cell c;
	if (online_read_copy(t, (struct online_key[]){ online_key(USER, id) }, feature, now_us, out, sizeof out, &n,
			     &meta) == ONLINE_HIT)
		check_text(str_of(out, n), number, feature);
	if (online_get(t, USER, id, feature, now_us, &c)) {
		check_text(value_json(c.value), number, feature);
		value_unref(c.value);
	}
}

static void stress_write(struct online *t, struct str id, int number, uint32_t feature, int step)
{
	char json[96];
	snprintf(json, sizeof json, "[%d,%u,%0*d]", number, feature, step % 60, step);
	struct value *v = value_create(str_from(json));
	struct online_write w = {
		USER, feature, id, v, { step, (uint64_t)step, step, step % 5 ? 0 : step + 50, 0, 0, 0 }
	};
	online_put(t, &w);
	value_unref(v);
}

static void *stress(void *arg)
{
	static atomic_uint seeds;
	struct online *t = arg;
	unsigned seed = atomic_fetch_add(&seeds, 1);
	for (int step = 0; step < STEPS; step++) {
		int number = rand_r(&seed) % STRESS_IDS;
		uint32_t feature = (uint32_t)rand_r(&seed) % 6;
		char id[24];
		struct str s = str_of(id, (size_t)snprintf(id, sizeof id, "user-%d", number));
		int what = rand_r(&seed) % 100;
		if (what < 50)
			stress_read(t, s, number, feature, step);
		else if (what < 90)
			stress_write(t, s, number, feature, step);
		else if (what < 94)
			online_delete_cell(t, USER, s, feature, step, (uint64_t)step, step);
		else if (what < 98)
			online_delete_row(t, USER, s, step, (uint64_t)step, step);
		else
			online_sweep(t, step, 256);
	}
	return NULL;
}

/* Threads write, read, delete, evict and sweep the same rows; afterwards the counts are exact, down to the
 * last byte. */
static void test_threads(void **state)
{
	struct online *t = online_create(&(struct online_config){ .bytes_max = 1 << 20, .tombstones_max = 500 });
	struct online_stats empty, s;
	pthread_t threads[THREADS];
	(void)state;
	online_stats(t, &empty);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, stress, t), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	online_stats(t, &s);
	assert_true(s.evicted_cells > 0 && s.expired_cells > 0 && s.tombstones_forgotten > 0 && s.hits > 0);
	for (int i = 0; i < STRESS_IDS; i++) {
		char id[24];
		snprintf(id, sizeof id, "user-%d", i);
		online_delete_row(t, USER, str_from(id), STEPS, UINT64_MAX, 0);
	}
	online_sweep(t, INT64_MAX, online_round(t));
	online_stats(t, &s);
	assert_true(s.rows == 0 && s.cells == 0 && s.tombstones == 0);
	assert_true(s.bytes == empty.bytes);
	online_destroy(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_get),
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_get_many),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_ttl),
		cmocka_unit_test(test_sweep_budget),
		cmocka_unit_test(test_delete_cell),
		cmocka_unit_test(test_delete_row),
		cmocka_unit_test(test_delete_what_lies_ahead),
		cmocka_unit_test(test_nanoseconds_order),
		cmocka_unit_test(test_each_older),
		cmocka_unit_test(test_tombstones_end),
		cmocka_unit_test(test_tombstones_are_kept_as_long_as_history),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_second_chance),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_change_row_without_room),
		cmocka_unit_test(test_change_row),
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
