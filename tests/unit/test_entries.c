#include "store/evidence/entries.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

struct seen {
	size_t count;
	int64_t times;
	char last[32];
};

static void see(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	struct seen *s = arg;
	assert_true(str_eq(head->entity, STR("user")));
	s->count++;
	s->times += v->event_time_us;
	memcpy(s->last, v->value_json.p, v->value_json.n);
	s->last[v->value_json.n] = '\0';
}

static const struct entry_value two[] = {
	{ STR("u1"), STR("tier"), STR("\"gold\""), 1000, 0, 999, STR("v2") },
	{ STR("u2"), STR("score"), STR("9007199254740993"), -5, 60000, 0, { 0 } },
};

static void write_two(struct buf *b)
{
	entry_values_write(b, &(struct entry_values){ STR("user"), ENTRY_TRIGGERED, 77, two, 2 });
	assert_false(b->failed);
}

static void values_come_back(void **state)
{
	(void)state;
	struct buf b = { 0 };
	struct seen seen = { 0 };
	struct entry_values head;
	uint64_t lsn;
	write_two(&b);
	assert_true(entry_values_read(buf_str(&b), &head, &seen, see));
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.times, 995);
	assert_string_equal(seen.last, "9007199254740993");
	assert_int_equal(head.event_lsn, 77);
	assert_int_equal(head.source, ENTRY_TRIGGERED);
	assert_int_equal(head.count, 2);
	assert_true(entry_values_event_lsn(buf_str(&b), &lsn));
	assert_int_equal(lsn, 77);
	buf_finish(&b);
}

static void every_truncation_and_growth_is_refused(void **state)
{
	(void)state;
	struct buf b = { 0 };
	struct seen seen = { 0 };
	write_two(&b);
	for (size_t n = 0; n < b.n; n++) {
		char *copy = malloc(n ? n : 1); /* exact, so that AddressSanitizer sees an over-read */
		memcpy(copy, b.p, n);
		assert_false(entry_values_read(str_of(copy, n), NULL, &seen, see));
		free(copy);
	}
	buf_append_char(&b, 0);
	assert_false(entry_values_read(buf_str(&b), NULL, &seen, see));
	assert_int_equal(seen.count, 0);
	buf_finish(&b);
}

static void nonsense_is_refused(void **state)
{
	(void)state;
	struct buf b = { 0 };
	write_two(&b);
	b.p[0] = 3; /* version */
	assert_false(entry_values_read(buf_str(&b), NULL, NULL, NULL));
	b.p[0] = 2;
	b.p[1] = 9; /* source */
	assert_false(entry_values_read(buf_str(&b), NULL, NULL, NULL));
	b.p[1] = 1;
	memset(b.p + 10, 0xff, 8); /* count */
	assert_false(entry_values_read(buf_str(&b), NULL, NULL, NULL));
	buf_clear(&b);
	entry_values_write(&b, &(struct entry_values){ STR("user"), 0, 0, two, 2 });
	assert_true(b.failed);
	buf_finish(&b);
}

static void deletes_and_events_come_back(void **state)
{
	(void)state;
	struct buf b = { 0 };
	struct entry_delete d;
	struct entry_event e;
	entry_delete_write(&b, &(struct entry_delete){ STR("user"), STR("u\0x"), 42 });
	assert_true(entry_delete_read(buf_str(&b), &d));
	assert_true(str_eq(d.entity_id, STR("u\0x")));
	assert_int_equal(d.event_time_us, 42);
	assert_false(entry_event_read(buf_str(&b), &e));
	buf_clear(&b);
	struct entry_event plain = { .event_id = STR("id"),
				     .event_type = STR("order"),
				     .entity_id = STR("u1"),
				     .payload_json = STR("{\"a\":1}"),
				     .event_time_us = INT64_MIN };
	entry_event_write(&b, &plain);
	assert_true(entry_event_read(buf_str(&b), &e));
	assert_true(str_eq(e.event_type, STR("order")));
	assert_true(str_eq(e.payload_json, STR("{\"a\":1}")));
	assert_true(e.event_time_us == INT64_MIN);
	assert_true(e.idempotency.p == NULL && e.received_us == 0);
	for (size_t n = 0; n < b.n; n++)
		assert_false(entry_event_read(str_of(b.p, n), &e));
	size_t plain_n = b.n;
	buf_clear(&b);
	plain.idempotency = STR("key and request");
	plain.received_us = 7;
	entry_event_write(&b, &plain);
	assert_int_not_equal(b.n, plain_n);
	assert_true(entry_event_read(buf_str(&b), &e));
	assert_true(str_eq(e.idempotency, STR("key and request")) && e.received_us == 7 &&
		    e.event_time_us == INT64_MIN);
	for (size_t n = 0; n < b.n; n++)
		assert_false(entry_event_read(str_of(b.p, n), &e));
	buf_finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_back),
		cmocka_unit_test(every_truncation_and_growth_is_refused),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(deletes_and_events_come_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
