/* Events: durable before accepted, applied in order and once, across failures and restarts. */
#include "actors/pending_events.h"
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'list', entity = User, trigger = 'add', compute = function(id, event, previous)\n"
    "  if event.payload.bad then error('bad event') end\n"
    "  if event.payload.slow then fabra.await(fabra.sql('SELECT slow', {})) end\n"
    "  local list = previous or fabra.array {} list[#list + 1] = event.payload.n return list end }\n"
    "fabra.feature { name = 'sum', entity = User, trigger = 'add', compute = function(id, event, previous)\n"
    "  return (previous or 0) + event.payload.n end }\n"
    "fabra.feature { name = 'brief', entity = User, trigger = 'brief', ttl = '1s', compute = function(id, event)\n"
    "  return { event.id, event.entity_id, event.timestamp } end }\n"
    "fabra.feature { name = 'balance', entity = User, trigger = 'pay', default = 'nothing', compute = function(id, event, previous)\n"
    "  if event.payload.bad then error('bad event') end\n"
    "  if event.payload.close then return nil end return (previous or 0) + 1 end }\n"
    "fabra.context { name = 'c', cache_ttl = '1h', build = function() return 'x' end }\n";

static uint64_t send_at(const char *type, const char *id, const char *payload, int64_t event_time_us)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = STR("e1"),
							   .event_type = str_from(type),
							   .entity_id = str_from(id),
							   .payload_json = str_from(payload),
							   .event_time_us = event_time_us });
	return rt_ask(&probe->base, rt_named(LOOP, NAME_INGESTOR), &ingest_event_new(LOOP, INGEST_EVENT, e)->head,
		      in_ms(1000), ACTOR_NONE);
}

static uint64_t send_n(const char *id, int n, const char *more)
{
	char payload[64];
	snprintf(payload, sizeof payload, "{\"n\":%d%s}", n, more);
	return send_at("add", id, payload, loop_wall_us(LOOP));
}

static void assert_accepted(uint64_t op, uint64_t lsn)
{
	const struct msg *m = wait_for(op);
	assert_int_equal(m->kind, INGEST_ACCEPTED);
	assert_int_equal(m->status, RT_OK);
	assert_int_equal(((const struct ingest_accepted *)m)->first.lsn, lsn);
	assert_int_equal(ledger_fake_at(ledger, lsn - 1)->kind, EVIDENCE_EVENT);
}

static void assert_holds(const char *name, const char *id, const char *json)
{
	struct online_cell cell;
	if (!online_get(fixture.online, 0, str_from(id), feature(name), loop_wall_us(LOOP), &cell))
		fail_msg("%s of %s is not there", name, id);
	if (!str_eq(value_json(cell.value), str_from(json)))
		fail_msg("%s instead of %s", cell.value->json, json);
	value_unref(cell.value);
}

static void warm(void *arg, const struct entry_values *head, const struct entry_value *v)
{
	(void)head;
	if (v->value_json.p == NULL) {
		online_delete_cell(fixture.online, 0, v->entity_id, definitions_feature(shared.definitions, v->feature),
				   v->event_time_us, *(uint64_t *)arg, loop_wall_us(LOOP));
		return;
	}
	struct value *value = value_create(v->value_json);
	online_put(fixture.online,
		   &(struct online_write){ .kind = 0,
					   .id = v->entity_id,
					   .value = value,
					   .feature = definitions_feature(shared.definitions, v->feature),
					   .meta = { .event_time_us = v->event_time_us, .lsn = *(uint64_t *)arg } });
	value_unref(value);
}

/* As the program starts: history into the table, then what was left undone. Returns how many events that were. */
static size_t restart(void)
{
	fixture_restart();
	for (size_t i = 0; i < ledger_fake_count(ledger); i++) {
		const struct evidence_entry *e = ledger_fake_at(ledger, i);
		uint64_t lsn = e->lsn;
		if (e->kind == EVIDENCE_EVENT_APPLIED)
			entry_values_read(buf_str(&e->body), NULL, &lsn, warm);
	}
	struct pending_events pending = { 0 };
	struct buf why = { 0 };
	assert_true(pending_events_read(&pending, ledger_fake_log_source(ledger), &why));
	size_t events = pending_events_redo(&pending, &fixture.node);
	pending_events_finish(&pending);
	return events;
}

static void test_applied_in_order(void **state)
{
	(void)state;
	for (int n = 1; n <= 20; n++)
		send_n(n % 2 ? "odd" : "even", n, n % 5 ? "" : ",\"slow\":true");
	run_ms(500);
	assert_holds("list", "odd", "[1,3,5,7,9,11,13,15,17,19]");
	assert_holds("list", "even", "[2,4,6,8,10,12,14,16,18,20]");
	assert_holds("sum", "odd", "100");
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 20);
}

static void test_accepted_once_durable(void **state)
{
	(void)state;
	assert_accepted(send_n("u1", 7, ""), 1);
	run_ms(20);
	/* Both values and the mark that the event is done are one frame. */
	assert_int_equal(ledger_fake_count(ledger), 2);
	struct entry_values head;
	assert_true(entry_values_read(buf_str(&ledger_fake_at(ledger, 1)->body), &head, NULL, NULL));
	assert_true(head.event_lsn == 1 && head.source == ENTRY_TRIGGERED && head.count == 2);
	ledger_config.refuse_permille = 1000;
	ledger_fake_set(ledger, &ledger_config);
	const struct msg *m = wait_for(send_n("u1", 8, ""));
	assert_true(m->kind == INGEST_ACCEPTED && m->status == RT_EIO);
	run_ms(20);
	assert_holds("list", "u1", "[7]");
}

static void test_the_function_sees(void **state)
{
	(void)state;
	assert_accepted(send_at("brief", "u1", "{}", 1700000000123456), 1);
	run_ms(20);
	assert_false(is_online("brief", "u1")); /* its ttl counts from its event time */
	assert_accepted(send_at("brief", "u1", "{}", 1767225599500000), 3);
	run_ms(20);
	assert_holds("brief", "u1", "[\"e1\",\"u1\",\"2025-12-31T23:59:59.500000Z\"]");
	run_ms(500);
	assert_false(is_online("brief", "u1"));
	assert_accepted(send_at("nobody", "u1", "{}", 1), 5); /* triggers nothing, and is done all the same */
	run_ms(20);
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 3);
}

static void test_failing_function(void **state)
{
	(void)state;
	send_n("u1", 1, "");
	send_n("u1", 2, ",\"bad\":true");
	send_n("u1", 3, "");
	run_ms(50);
	assert_holds("list", "u1", "[1,3]"); /* as it was before the bad one */
	assert_holds("sum", "u1", "6");      /* the other feature is not touched by it */
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 3);
}

/* Senders' clocks differ: an event that is accepted later counts, whatever its time. */
static void test_late_event(void **state)
{
	(void)state;
	int64_t now_us = loop_wall_us(LOOP);
	send_at("add", "u1", "{\"n\":1}", now_us);
	send_at("add", "u1", "{\"n\":2}", now_us - 5000000);
	send_at("add", "u1", "{\"n\":3}", now_us + 1);
	run_ms(50);
	assert_holds("list", "u1", "[1,2,3]");
	restart();
	assert_holds("list", "u1", "[1,2,3]");
}

static void test_lost_answer_of_the_commit(void **state)
{
	(void)state;
	assert_accepted(send_n("u1", 1, ""), 1);
	run_ms(20);
	uint64_t second = send_n("u1", 2, "");
	ledger_config.lose_answer_permille = 1000;
	while (entries_of(EVIDENCE_EVENT) < 2) { /* the event is accepted; then answers get lost */
		run_ms(1);
	}
	ledger_fake_set(ledger, &ledger_config);
	assert_accepted(second, 3);
	run_ms(1000);
	assert_holds("list", "u1", "[1,2]"); /* durable, though nobody has said so */
	ledger_config.lose_answer_permille = 0;
	ledger_fake_set(ledger, &ledger_config);
	uint64_t third = send_n("u1", 3, "");
	run_ms(100);
	assert_int_equal(((const struct msg *)wait_for(third))->status, RT_OK);
	assert_holds("list", "u1", "[1,2]"); /* waits behind the second */
	run_ms(40000);
	assert_holds("list", "u1", "[1,2,3]"); /* tried again, applied once */
	restart();
	run_ms(100);
	assert_holds("list", "u1", "[1,2,3]");
}

static void test_lost_answer_of_the_event(void **state)
{
	(void)state;
	ledger_config.lose_answer_permille = 1000;
	fixture_restart();
	assert_int_equal(wait_for(send_n("u1", 1, ""))->kind, RT_DEADLINE);
	ledger_config.lose_answer_permille = 0;
	restart();
	run_ms(50);
	assert_holds("list", "u1", "[1]");
	restart();
	run_ms(50);
	assert_holds("list", "u1", "[1]");
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 1);
}

/* A table whose memory for what it gives is out for a while. */
static int failing_reads;
static size_t see_without_memory(struct online *t, uint32_t kind, struct str id, const uint32_t *features, size_t n,
				 int64_t now_us, struct online_cell *ret, struct online_trace *ret_traces)
{
	size_t found = online_see(t, kind, id, features, n, now_us, ret, ret_traces);
	if (found == 0 || failing_reads == 0)
		return found;
	failing_reads--;
	value_unref(ret[0].value);
	ret[0].value = NULL;
	ret[0].is_lost = true;
	return found - 1;
}

static void test_a_previous_value_without_memory(void **state)
{
	(void)state;
	const struct online_fast *whole = fixture.stores.online.fast;
	struct online_fast failing = *whole;
	failing.see = see_without_memory;
	send_n("u1", 1, "");
	run_ms(50);
	assert_holds("list", "u1", "[1]");
	fixture.stores.online.fast = &failing;
	failing_reads = 2;
	send_n("u1", 2, "");
	send_n("u1", 3, "");
	run_ms(500);
	assert_holds("list", "u1", "[1]");
	run_ms(5000);
	assert_int_equal(failing_reads, 0);
	fixture.stores.online.fast = whole;
	assert_holds("list", "u1", "[1,2,3]");
	assert_holds("sum", "u1", "6");
}

/* An event that cannot be applied, whatever is tried, does not hold up those behind it for ever, and is not lost. */
static void test_an_event_is_given_up(void **state)
{
	(void)state;
	const struct online_fast *whole = fixture.stores.online.fast;
	struct online_fast failing = *whole;
	failing.see = see_without_memory;
	metric_id given_up = fixture.node.metrics.events_given_up, retries = fixture.node.metrics.event_retries;
	uint64_t given_up_before = metrics_counter_value(given_up), retries_before = metrics_counter_value(retries);
	send_n("u1", 1, "");
	run_ms(50);
	fixture.stores.online.fast = &failing;
	failing_reads = 12;
	send_n("u1", 2, "");
	send_n("u1", 3, "");
	run_ms(200000);
	assert_holds("list", "u1", "[1]"); /* still tried, ever later */
	assert_int_equal(metrics_counter_value(given_up), given_up_before);
	assert_in_range(metrics_counter_value(retries) - retries_before, 7, 10);
	run_ms(300000);
	assert_int_equal(failing_reads, 0);
	assert_int_equal(metrics_counter_value(given_up), given_up_before + 1);
	assert_int_equal(metrics_counter_value(retries), retries_before + 11);
	assert_holds("list", "u1", "[1,3]");
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 2);
	fixture.stores.online.fast = whole;
	assert_int_equal(restart(), 1);
	run_ms(50);
	assert_holds("list", "u1", "[1,3,2]");
	assert_int_equal(restart(), 0);
}

/* What concerns all events alike is said once for all of them. */
static void test_a_refusing_ledger_is_said_once(void **state)
{
	(void)state;
	int lines = 0;
	FILE *f = tmpfile();
	for (int n = 0; n < 50; n++) {
		char id[16];
		snprintf(id, sizeof id, "u%d", n);
		send_n(id, n, "");
	}
	while (entries_of(EVIDENCE_EVENT) < 50)
		run_ms(1);
	ledger_config.refuse_permille = 1000;
	ledger_fake_set(ledger, &ledger_config);
	log_stop();
	assert_int_equal(log_start(fileno(f), LOG_ERROR), 0);
	run_ms(4500);
	log_stop();
	log_to_nowhere();
	rewind(f);
	for (char line[4096]; fgets(line, sizeof line, f); lines++)
		assert_non_null(strstr(line, "could not be applied yet"));
	fclose(f);
	assert_in_range(lines, 2, 10); /* two a second */
}

/* Only what is handed over counts as such. */
static void test_an_event_that_cannot_be_read(void **state)
{
	(void)state;
	ledger_config.lose_answer_permille = 1000;
	fixture_restart();
	assert_int_equal(wait_for(send_n("u1", 1, ""))->kind, RT_DEADLINE);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	buf_append_lit(&e->body, "no event");
	assert_int_equal(wait_for(rt_ask(&probe->base, fixture.node.stores->evidence.append,
					 &evidence_append_new(LOOP, e)->head, in_ms(1000), ACTOR_NONE))
			     ->kind,
			 RT_DEADLINE);
	ledger_config.lose_answer_permille = 0;
	assert_int_equal(restart(), 1);
	run_ms(50);
	assert_holds("list", "u1", "[1]");
	assert_int_equal(restart(), 0); /* it is still there */
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 1);
}

static void test_refused_commit(void **state)
{
	(void)state;
	uint64_t op = send_n("u1", 1, ",\"slow\":true");
	assert_accepted(op, 1);
	ledger_config.refuse_permille = 1000;
	ledger_fake_set(ledger, &ledger_config);
	run_ms(5000);
	assert_false(is_online("list", "u1"));
	run_ms(3000000); /* for as long as the ledger takes nothing */
	ledger_config.refuse_permille = 0;
	ledger_fake_set(ledger, &ledger_config);
	run_ms(9100);
	assert_holds("list", "u1", "[1]");
	assert_int_equal(entries_of(EVIDENCE_EVENT_APPLIED), 1);
}

/* The process ends at any moment of an event's life. */
static void test_restarts(void **state)
{
	(void)state;
	char expected[256] = "[";
	for (int n = 1; n <= 40; n++) {
		send_n("u1", n, n % 3 ? "" : ",\"slow\":true");
		run_ms((uint64_t)(n % 9));
		while (entries_of(EVIDENCE_EVENT) < (size_t)n)
			run_ms(1);
		snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%d", n > 1 ? "," : "", n);
		restart();
	}
	run_ms(200);
	strcat(expected, "]");
	assert_holds("list", "u1", expected);
}

static void pay(const char *payload, int64_t event_time_us)
{
	wait_for(send_at("pay", "u1", payload, event_time_us));
	run_ms(100);
}

/* nil says that there is none: not what was there before, and not after a restart either. */
static void test_nil_is_none(void **state)
{
	(void)state;
	int64_t now_us = loop_wall_us(LOOP);
	pay("{}", now_us);
	pay("{}", now_us + 1);
	assert_holds("balance", "u1", "2");
	pay("{\"close\":true}", now_us + 2);
	assert_false(is_online("balance", "u1"));
	assert_value(get_feature("balance", "u1"), RECORD_FALLBACK, "\"nothing\"");
	pay("{\"bad\":true}", now_us + 3); /* what fails changes nothing */
	assert_false(is_online("balance", "u1"));
	restart();
	assert_false(is_online("balance", "u1"));
	pay("{}", now_us - 5); /* late: it builds on what there is, which is nothing */
	assert_holds("balance", "u1", "1");
	pay("{\"close\":true}", now_us - 9); /* late too */
	assert_false(is_online("balance", "u1"));
	pay("{\"close\":true}", now_us + 4); /* there is none already */
	assert_false(is_online("balance", "u1"));
	restart();
	assert_false(is_online("balance", "u1"));
	pay("{}", now_us + 5);
	assert_holds("balance", "u1", "1");
}

static void test_contexts_see_it(void **state)
{
	(void)state;
	struct material *m = material_new(0, loop_wall_us(LOOP));
	assert_true(material_add_feature(m, shared.definitions, feature("list"), STR("u1"),
					 &(struct feature_result){ .state = FEATURE_MISSING }));
	rt_send(LOOP, rt_named(LOOP, NAME_CONTEXT_CACHE), context_cache_put_new(LOOP, "k", m, INT64_MAX));
	material_unref(m);
	send_n("u1", 1, "");
	run_ms(50);
	const struct msg *got = wait_for(rt_ask(&probe->base, rt_named(LOOP, NAME_CONTEXT_CACHE),
						context_cache_get_new(LOOP, "k"), in_ms(1000), ACTOR_NONE));
	assert_null(((const struct context_cache_item *)got)->material);
}

static void test_stopped_with_events_everywhere(void **state)
{
	(void)state;
	for (int n = 1; n <= 200; n++) { /* appending, queued, applying and committing ones at once */
		char id[16];
		snprintf(id, sizeof id, "u%d", n % 23);
		send_n(id, n, n % 2 ? ",\"slow\":true" : "");
		if (n % 20 == 0)
			run_ms(1);
	}
	rt_send(LOOP, rt_named(LOOP, NAME_INGESTOR), rt_msg_new(LOOP, RT_STOP));
	run_ms(10);
	restart();
	run_ms(2000);
	struct online_cell cell;
	int64_t events = 0;
	for (int u = 0; u < 23; u++) {
		char id[16];
		snprintf(id, sizeof id, "u%d", u);
		if (!online_get(fixture.online, 0, str_from(id), feature("list"), loop_wall_us(LOOP), &cell))
			continue;
		yyjson_doc *list = yyjson_read(cell.value->json, cell.value->len, 0);
		events += (int64_t)yyjson_arr_size(yyjson_doc_get_root(list));
		yyjson_doc_free(list);
		value_unref(cell.value);
	}
	assert_int_equal(events, entries_of(EVIDENCE_EVENT));
	assert_true(events > 100);
}

/* ---- keyed requests ---- */

static struct msg *send_keyed(const char *key, const char *request, int n, const char *event_id)
{
	struct idempotency_id id;
	char payload[64];
	const struct str key_part = str_from(key), request_part = str_from(request);
	idempotency_fingerprint(&key_part, 1, id.key);
	idempotency_fingerprint(&request_part, 1, id.request);
	snprintf(payload, sizeof payload, "{\"n\":%d}", n);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = str_from(event_id),
							   .event_type = STR("add"),
							   .entity_id = STR("u1"),
							   .payload_json = str_from(payload),
							   .event_time_us = loop_wall_us(LOOP),
							   .idempotency = str_of((const char *)&id, sizeof id),
							   .received_us = loop_wall_us(LOOP) });
	uint64_t op = rt_ask(&probe->base, rt_named(LOOP, NAME_INGESTOR),
			     &ingest_event_new(LOOP, INGEST_EVENT, e)->head, in_ms(1000), ACTOR_NONE);
	return wait_for(op);
}

static const char *const first_id = "00000000-0000-4000-8000-000000000001", *const second_id =
										"00000000-0000-4000-8000-000000000002";

static void test_a_key_counts_once(void **state)
{
	(void)state;
	struct msg *m = send_keyed("k", "request", 1, first_id);
	struct idempotency_first first = ((struct ingest_accepted *)m)->first;
	assert_true(m->kind == INGEST_ACCEPTED && m->status == RT_OK && !((struct ingest_accepted *)m)->is_repeat);
	run_ms(20);
	m = send_keyed("k", "request", 1, second_id);
	assert_true(m->status == RT_OK && ((struct ingest_accepted *)m)->is_repeat);
	assert_memory_equal(&((struct ingest_accepted *)m)->first, &first, sizeof first); /* the first reply again */
	assert_memory_equal(first.event_id, first_id, UUID_TEXT);
	m = send_keyed("k", "another request", 2, second_id);
	assert_true(m->status == RT_EINVAL && ((struct ingest_accepted *)m)->is_repeat);
	m = send_keyed("another key", "request", 1, second_id);
	assert_true(m->status == RT_OK && !((struct ingest_accepted *)m)->is_repeat);
	run_ms(50);
	assert_holds("sum", "u1", "2");
	assert_int_equal(entries_of(EVIDENCE_EVENT), 2);
}

/* What is refused leaves its key free; what may have been written keeps it. */
static void test_a_key_and_failures(void **state)
{
	(void)state;
	ledger_config.refuse_permille = 1000;
	ledger_fake_set(ledger, &ledger_config);
	assert_int_equal(send_keyed("k", "request", 1, first_id)->status, RT_EIO);
	ledger_config.refuse_permille = 0;
	ledger_config.lose_answer_permille = 1000;
	ledger_fake_set(ledger, &ledger_config);
	assert_int_equal(send_keyed("k", "request", 1, first_id)->kind, RT_DEADLINE); /* the asker's */
	ledger_config.lose_answer_permille = 0;
	ledger_fake_set(ledger, &ledger_config);
	assert_int_equal(send_keyed("k", "request", 1, second_id)->status, RT_EEXIST);
	run_ms(700000); /* the ingestor gives up; nobody knows more than before */
	assert_int_equal(send_keyed("k", "request", 1, second_id)->status, RT_EEXIST);
	assert_int_equal(entries_of(EVIDENCE_EVENT), 1);
}

static void test_keys_have_a_bound(void **state)
{
	(void)state;
	char key[16];
	for (int i = 0; i < 16; i++) { /* as many as the fixture keeps */
		snprintf(key, sizeof key, "k%d", i);
		assert_int_equal(send_keyed(key, "request", 1, first_id)->status, RT_OK);
	}
	assert_int_equal(send_keyed("one more", "request", 1, first_id)->status, RT_EFULL);
	assert_int_equal(send_keyed("k0", "request", 1, first_id)->status, RT_OK); /* a repetition needs no room */
	assert_int_equal(wait_for(send_n("u1", 1, ""))->status, RT_OK); /* nor does a request without a key */
}

/* More than an entry may be: the asker is told, and nobody dies of it. */
static void test_too_large_to_encode(void **state)
{
	(void)state;
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	e->body.failed = true;
	const struct msg *m = wait_for(rt_ask(&probe->base, rt_named(LOOP, NAME_INGESTOR),
					      &ingest_event_new(LOOP, INGEST_EVENT, e)->head, in_ms(1000), ACTOR_NONE));
	assert_int_equal(m->status, RT_ETOOBIG);
	char *payload = malloc(40 << 20);
	memset(payload, ' ', 40 << 20);
	e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = STR("e"),
							   .event_type = STR("add"),
							   .entity_id = STR("u1"),
							   .payload_json = str_of(payload, 40 << 20) });
	free(payload);
	assert_false(e->body.failed);
	m = wait_for(rt_ask(&probe->base, rt_named(LOOP, NAME_INGESTOR), &ingest_event_new(LOOP, INGEST_EVENT, e)->head,
			    in_ms(1000), ACTOR_NONE));
	assert_int_equal(m->status, RT_ETOOBIG);
	assert_int_equal(entries_of(EVIDENCE_EVENT), 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		ACTOR_TEST(test_applied_in_order),
		ACTOR_TEST(test_accepted_once_durable),
		ACTOR_TEST(test_the_function_sees),
		ACTOR_TEST(test_failing_function),
		ACTOR_TEST(test_late_event),
		ACTOR_TEST(test_lost_answer_of_the_commit),
		ACTOR_TEST(test_lost_answer_of_the_event),
		ACTOR_TEST(test_a_previous_value_without_memory),
		ACTOR_TEST(test_a_refusing_ledger_is_said_once),
		ACTOR_TEST(test_an_event_is_given_up),
		ACTOR_TEST(test_an_event_that_cannot_be_read),
		ACTOR_TEST(test_refused_commit),
		ACTOR_TEST(test_restarts),
		ACTOR_TEST(test_nil_is_none),
		ACTOR_TEST(test_contexts_see_it),
		ACTOR_TEST(test_stopped_with_events_everywhere),
		ACTOR_TEST(test_a_key_counts_once),
		ACTOR_TEST(test_a_key_and_failures),
		ACTOR_TEST(test_keys_have_a_bound),
		ACTOR_TEST(test_too_large_to_encode),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
