/* Keys against a model, and across a restart of the ledger that they stand in. */
#include "store/evidence/idempotency.h"
#include "tests/unit/ledger_fixture.h"

#define DAY_US IDEMPOTENCY_KEEP_US

static struct idempotency_id fingerprints_of(const char *key, const char *request)
{
	struct idempotency_id id;
	const struct str k = str_from(key), r = str_from(request);
	idempotency_fingerprint(&k, 1, id.key);
	idempotency_fingerprint(&r, 1, id.request);
	return id;
}

static void test_fingerprints(void **state)
{
	(void)state;
	uint8_t a[IDEMPOTENCY_FINGERPRINT], b[IDEMPOTENCY_FINGERPRINT];
	const struct str lists[][3] = { { STR("ab"), STR("c"), STR("") },
					{ STR("a"), STR("bc"), STR("") },
					{ STR("abc"), STR(""), STR("") },
					{ STR(""), STR("abc"), STR("") },
					{ STR("2:ab1:c"), STR(""), STR("") } };
	for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
		for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++) {
			idempotency_fingerprint(lists[i], 3, a);
			idempotency_fingerprint(lists[k], 3, b);
			assert_true((memcmp(a, b, sizeof a) == 0) == (i == k));
		}
}

static void test_a_life(void **state)
{
	(void)state;
	struct idempotency *t = idempotency_create(2);
	struct idempotency_id one = fingerprints_of("1", "a"), other = fingerprints_of("1", "b"),
			      two = fingerprints_of("2", "a"), three = fingerprints_of("3", "a");
	struct idempotency_first first = { .lsn = 7, .received_us = NOW_US }, got;
	memset(first.event_id, 'e', UUID_TEXT);
	assert_int_equal(idempotency_begin(t, &one, NOW_US, &got), IDEMPOTENCY_NEW);
	assert_int_equal(idempotency_begin(t, &one, NOW_US, &got), IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(idempotency_begin(t, &other, NOW_US, &got), IDEMPOTENCY_OTHER);
	idempotency_done(t, &one, &first);
	assert_int_equal(idempotency_begin(t, &one, NOW_US + DAY_US - 1, &got), IDEMPOTENCY_DONE);
	assert_memory_equal(&got, &first, sizeof got);
	assert_int_equal(idempotency_begin(t, &other, NOW_US + DAY_US - 1, &got), IDEMPOTENCY_OTHER);
	/* At its bound; what is abandoned makes room. */
	assert_int_equal(idempotency_begin(t, &two, NOW_US + 1, &got), IDEMPOTENCY_NEW);
	assert_int_equal(idempotency_begin(t, &three, NOW_US + 1, &got), IDEMPOTENCY_FULL);
	assert_int_equal(idempotency_count(t), 2);
	idempotency_abandon(t, &two);
	assert_int_equal(idempotency_begin(t, &two, NOW_US + 1, &got), IDEMPOTENCY_NEW);
	/* A day later to the microsecond the first is free, the second is not. */
	assert_int_equal(idempotency_begin(t, &other, NOW_US + DAY_US, &got), IDEMPOTENCY_NEW);
	assert_int_equal(idempotency_begin(t, &two, NOW_US + DAY_US, &got), IDEMPOTENCY_UNDER_WAY);
	/* The clock back by an hour forgets nothing. */
	assert_int_equal(idempotency_begin(t, &other, NOW_US + DAY_US - 3600000000, &got), IDEMPOTENCY_UNDER_WAY);
	idempotency_destroy(t);
}

/* Ten thousand steps of an oracle that knows 40 keys in plain arrays. */
static void test_against_a_model(void **state)
{
	(void)state;
	enum { KEYS = 40, MAX = 25 };
	struct {
		bool is_there;
		uint64_t lsn;
		int64_t received_us;
	} model[KEYS] = { 0 };
	struct idempotency *t = idempotency_create(MAX);
	int64_t now_us = NOW_US;
	unsigned random = 12345, seen[IDEMPOTENCY_FULL + 1] = { 0 };
	for (uint64_t step = 1; step <= 10000; step++) {
		char key[16];
		random = random * 1103515245 + 12345;
		unsigned k = random / 65536 % KEYS;
		snprintf(key, sizeof key, "%u", k);
		struct idempotency_id id = fingerprints_of(key, "r");
		struct idempotency_first got, first = { .lsn = step, .received_us = now_us };
		now_us += random / 65536 % 1000 < 5 ? DAY_US / 2 : 60000000;
		unsigned live = 0;
		for (unsigned i = 0; i < KEYS; i++) {
			model[i].is_there = model[i].is_there && model[i].received_us > now_us - DAY_US;
			live += model[i].is_there;
		}
		/* The bound counts what has expired and was not yet dropped: two are with each request, so none is left here
		 * unless half a day passed at once. */
		enum idempotency_result r = idempotency_begin(t, &id, now_us, &got);
		seen[r]++;
		if (model[k].is_there) {
			assert_int_equal(r, model[k].lsn ? IDEMPOTENCY_DONE : IDEMPOTENCY_UNDER_WAY);
			assert_true(got.lsn == model[k].lsn && got.received_us == model[k].received_us);
			if (r == IDEMPOTENCY_UNDER_WAY && step % 3 == 0) {
				idempotency_abandon(t, &id);
				model[k].is_there = false;
			}
		} else if (r == IDEMPOTENCY_NEW) {
			model[k].is_there = true;
			model[k].received_us = now_us;
			model[k].lsn = 0;
			first.received_us = now_us;
			if (step % 4) {
				idempotency_done(t, &id, &first);
				model[k].lsn = step;
			}
			assert_true(live < MAX);
		} else {
			assert_int_equal(r, IDEMPOTENCY_FULL);
		}
		assert_true(idempotency_count(t) <= MAX);
	}
	assert_true(seen[IDEMPOTENCY_NEW] > 100 && seen[IDEMPOTENCY_DONE] > 100 && seen[IDEMPOTENCY_UNDER_WAY] > 100 &&
		    seen[IDEMPOTENCY_FULL] > 0);
	idempotency_destroy(t);
}

static struct evidence_entry *keyed_event(const char *key, const char *event_id, int64_t received_us)
{
	struct idempotency_id id = fingerprints_of(key, "r");
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = str_from(event_id),
							   .event_type = STR("t"),
							   .entity_id = STR("u"),
							   .payload_json = STR("{}"),
							   .event_time_us = received_us,
							   .received_us = received_us,
							   .idempotency = str_of((const char *)&id, sizeof id) });
	return e;
}

static void test_the_ledger_remembers(void **state)
{
	(void)state;
	static const char first_id[] = "00000000-0000-4000-8000-000000000001",
			  second_id[] = "00000000-0000-4000-8000-000000000002";
	char dir[] = "/tmp/fabra-idempotency-XXXXXX";
	struct buf why = { 0 };
	assert_non_null(mkdtemp(dir));
	struct ledger_config config = { .dir = dir, .segment_bytes = 64 << 10, .temporary = true };
	struct ledger *l = ledger_open(&config, &why);
	assert_non_null(l);
	int status;
	struct evidence_entry *old = keyed_event("old", first_id, NOW_US - DAY_US),
			      *young = keyed_event("young", first_id, NOW_US - DAY_US + 1),
			      *again = keyed_event("young", second_id, NOW_US), *plain = make_event(1);
	ledger_write(l, &old, &status, 1, NOW_US - DAY_US);
	assert_int_equal(status, 0);
	for (unsigned i = 0; i < 400; i++) { /* over several segments */
		struct evidence_entry *filler = make_event(i);
		buf_clear(&filler->body);
		char text[1000] = "";
		memset(text, 'x', sizeof text);
		entry_event_write(&filler->body, &(struct entry_event){ .event_id = STR("f"),
									.event_type = STR("t"),
									.entity_id = STR("u"),
									.payload_json = str_of(text, sizeof text) });
		ledger_write(l, &filler, &status, 1, NOW_US - DAY_US + 1);
		assert_int_equal(status, 0);
		evidence_entry_free(filler);
	}
	ledger_write(l, &young, &status, 1, NOW_US - DAY_US + 1);
	ledger_write(l, &again, &status, 1, NOW_US);
	ledger_write(l, &plain, &status, 1, NOW_US);
	uint64_t from = ledger_lsn_at(l, NOW_US - DAY_US + 1);
	assert_true(from <= young->lsn);
	assert_int_equal(ledger_lsn_at(l, INT64_MIN), 1);
	struct idempotency *t = idempotency_create(1);
	assert_true(idempotency_load(t, ledger_log_source(l), NOW_US, &why));
	assert_int_equal(idempotency_count(t), 1);
	struct idempotency_id id = fingerprints_of("young", "r");
	struct idempotency_first got;
	assert_int_equal(idempotency_begin(t, &id, NOW_US, &got), IDEMPOTENCY_DONE);
	assert_true(got.lsn == young->lsn && got.received_us == NOW_US - DAY_US + 1);
	assert_memory_equal(got.event_id, first_id, UUID_TEXT);
	idempotency_destroy(t);
	evidence_entry_free(old);
	evidence_entry_free(young);
	evidence_entry_free(again);
	evidence_entry_free(plain);
	ledger_close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fingerprints),
		cmocka_unit_test(test_a_life),
		cmocka_unit_test(test_against_a_model),
		cmocka_unit_test(test_the_ledger_remembers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
