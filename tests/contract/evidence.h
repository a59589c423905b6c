/* The contract of evidence: what every backend and every fake must do that answers the messages of store/evidence/evidence.h. A program
 * gives a struct contract_evidence for each and runs CONTRACT_EVIDENCE_TESTS.
 *
 *     point                                     ledger + DuckDB   ledger_fake   Postgres
 *     order, durable answers, imports,          yes               yes           yes
 *     refusals, faults, finding, one ending
 *     positions                                 1, 2, 3 ..        1, 2, 3 ..    of time: each greater than the one before
 *     chain                                     one for ever      likewise      a new one with each life of a lane
 *     reading in order, events that wait        yes               yes           no: several lanes have no common order; who wants
 *                                                                               to know asks the tables
 *     lists                                     yes               no: offline_  yes
 *                                                                 fake answers
 *                                                                 from a script
 *     what Fabra's Python program left          yes               no: likewise  yes
 *     a full disk                               yes               yes           yes
 */
#pragma once
#include "store/evidence/log_source.h"
#include "tests/contract/contract.h"
#include "tests/contract/evidence_entries.h"

enum contract_evidence_lacks {
	CONTRACT_LACKS_LISTS = 1 << 0,
	CONTRACT_LACKS_LEGACY = 1 << 1,
	CONTRACT_LACKS_LOG = 1 << 2,       /* log is NULL */
	CONTRACT_LACKS_NUMBERS = 1 << 3,   /* positions grow, and do not count */
	CONTRACT_LACKS_ONE_CHAIN = 1 << 4, /* each life begins one */
};

struct contract_evidence {
	const char *name;
	unsigned lacks;                              /* enum contract_evidence_lacks */
	void (*open)(struct contract_evidence *b);   /* also again after a close: what was durable is there */
	void (*close)(struct contract_evidence *b);  /* all loops and all that is not durable */
	void (*forget)(struct contract_evidence *b); /* removes it, after the last close */
	void (*set_fault)(struct contract_evidence *b,
			  int status); /* the next append ends in RT_EIO or RT_EFULL; 0: none does */
	const char *legacy_ref;        /* of a record that only Fabra's Python program has */
	/* by open */
	struct contract c;
	struct evidence_store store;
	const struct log_source *log; /* NULL with CONTRACT_LACKS_LOG */
};

static inline bool evidence_lacks(const struct contract_evidence *b, enum contract_evidence_lacks what)
{
	return b->lacks & (unsigned)what;
}

static inline void evidence_assert_durable(struct contract_evidence *b, uint64_t lsn)
{
	if (!evidence_lacks(b, CONTRACT_LACKS_LOG))
		assert_int_equal(b->log->durable_lsn(b->log->log), lsn);
}

/* What an entry got that came behind `last`, as number `number`. */
static inline void evidence_assert_position(struct contract_evidence *b, const struct evidence_entry *e,
					    uint64_t number, uint64_t *last)
{
	if (evidence_lacks(b, CONTRACT_LACKS_NUMBERS))
		assert_true(e->lsn > *last);
	else
		assert_int_equal(e->lsn, number);
	*last = e->lsn;
}

/* ---- asking ---- */

static inline struct contract_ask *evidence_send(struct contract_evidence *b, struct evidence_entry *e)
{
	return contract_ask(&b->c, b->store.append, &evidence_append_new(contract_maker(&b->c), e)->head);
}

static inline const struct evidence_append *evidence_ended(struct contract_evidence *b, struct contract_ask *ask)
{
	struct msg *m = contract_wait(&b->c, ask);
	assert_int_equal(m->kind, EVIDENCE_APPENDED);
	assert_non_null(((struct evidence_append *)m)->entry);
	return (const struct evidence_append *)m;
}

static inline const struct evidence_append *evidence_do(struct contract_evidence *b, struct evidence_entry *e)
{
	return evidence_ended(b, evidence_send(b, e));
}

static inline const struct evidence_entry *evidence_keep(struct contract_evidence *b, struct evidence_entry *e)
{
	const struct evidence_append *m = evidence_do(b, e);
	if (m->head.status != RT_OK)
		fail_msg("%s: refused with %d: %s", b->name, m->head.status, m->entry->reason);
	return m->entry;
}

static inline const struct evidence_found *evidence_look(struct contract_evidence *b, struct str ref)
{
	struct msg *m = contract_wait(&b->c, contract_ask(&b->c, b->store.find,
							  &evidence_find_new(contract_maker(&b->c), ref, true)->head));
	assert_int_equal(m->kind, EVIDENCE_FOUND);
	return (const struct evidence_found *)m;
}

/* ---- tests; *state is the backend ---- */

static inline int evidence_setup(void **state)
{
	struct contract_evidence *b = *state;
	b->open(b);
	return 0;
}

static inline int evidence_teardown(void **state)
{
	struct contract_evidence *b = *state;
	b->close(b);
	b->forget(b);
	return 0;
}

static inline void evidence_again(struct contract_evidence *b)
{
	b->close(b);
	b->open(b);
}

static void evidence_keeps_the_order(void **state)
{
	enum { N = 200 };
	struct contract_evidence *b = *state;
	struct contract_ask *asks[N];
	uint64_t last = 0;
	for (unsigned i = 0; i < N; i++)
		asks[i] = evidence_send(b, evidence_any(i));
	for (unsigned i = 0; i < N; i++) {
		const struct evidence_append *m = evidence_ended(b, asks[i]);
		assert_int_equal(m->head.status, RT_OK);
		evidence_assert_position(b, m->entry, i + 1, &last);
	}
}

static void evidence_answers_when_it_is_durable(void **state)
{
	enum { N = 12 };
	struct contract_evidence *b = *state;
	char ids[N][RECORD_ID_MAX + 1], hashes[N][RECORD_HASH_TEXT];
	uint64_t lsns[N], last = 0;
	for (unsigned i = 0; i < N; i++) {
		const struct evidence_entry *e = evidence_keep(b, evidence_record(i, "chat"));
		if (!evidence_lacks(b, CONTRACT_LACKS_LOG))
			assert_true(b->log->durable_lsn(b->log->log) >= e->lsn);
		evidence_assert_position(b, e, i + 1, &last);
		lsns[i] = e->lsn;
		snprintf(ids[i], sizeof ids[i], "%.*s", STR_ARG(evidence_id(e)));
		memcpy(hashes[i], e->stamp.record_hash, RECORD_HASH_TEXT);
		assert_int_equal(evidence_look(b, str_from(ids[i]))->head.status, RT_OK); /* at once */
	}
	evidence_again(b);
	evidence_assert_durable(b, N);
	for (unsigned i = 0; i < N; i++) {
		const struct evidence_found *by_id = evidence_look(b, str_from(ids[i]));
		const struct evidence_found *by_hash = evidence_look(b, str_of(hashes[i], RECORD_HASH_TEXT));
		assert_int_equal(by_id->head.status, RT_OK);
		assert_int_equal(by_hash->head.status, RT_OK);
		assert_int_equal(by_id->record->lsn, lsns[i]);
		assert_int_equal(by_hash->record->lsn, lsns[i]);
		assert_memory_equal(by_id->record->stamp.record_hash, hashes[i], RECORD_HASH_TEXT);
	}
}

static void evidence_finds_by_any_spelling(void **state)
{
	struct contract_evidence *b = *state;
	const struct evidence_entry *e = evidence_keep(b, evidence_record(0xabc, "chat"));
	struct str id = evidence_id(e);
	char upper[RECORD_ID_MAX + 1] = "ctx_";
	for (size_t i = 4; i < id.n; i++)
		upper[i] = id.p[i] >= 'a' && id.p[i] <= 'z' ? (char)(id.p[i] - 32) : id.p[i];
	const struct str there[] = { id, str_skip(id, 4), str_from(upper),
				     str_of(e->stamp.record_hash, RECORD_HASH_TEXT) };
	for (size_t i = 0; i < ARRAY_LEN(there); i++) {
		const struct evidence_found *f = evidence_look(b, there[i]);
		assert_int_equal(f->head.status, RT_OK);
		assert_false(f->record->imported);
		assert_true(f->record->extras.n > 0);
		char hash[RECORD_HASH_TEXT];
		record_hash_text(buf_str(&f->record->canonical), hash);
		assert_memory_equal(hash, e->stamp.record_hash, RECORD_HASH_TEXT);
	}
	const struct str absent[] = { STR("ctx_018f3a2b-7def-7abc-8901-000000000001"), STR("nothing"), STR(""),
				      STR("sha256:0000000000000000000000000000000000000000000000000000000000000000") };
	for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
		const struct evidence_found *f = evidence_look(b, absent[i]);
		assert_int_equal(f->head.status, RT_ENOTFOUND);
		assert_null(f->record);
	}
}

/* Each record names the one before it, whatever lies between them, over restarts too. */
static void evidence_chains_records(void **state)
{
	struct contract_evidence *b = *state;
	char last[RECORD_ID_MAX + 1] = "";
	for (unsigned i = 0; i < 24; i++) {
		if (i % 8 == 7) {
			evidence_again(b);
			if (evidence_lacks(b, CONTRACT_LACKS_ONE_CHAIN))
				last[0] = '\0';
		}
		const struct evidence_entry *e = evidence_keep(b, evidence_any(i));
		if (e->kind != EVIDENCE_RECORD)
			continue;
		assert_string_equal(e->previous_context_id, last);
		const struct evidence_found *f = evidence_look(b, evidence_id(e));
		assert_int_equal(f->head.status, RT_OK);
		struct arena arena = { 0 };
		const char *why = NULL;
		const struct record *r = record_parse(buf_str(&f->record->canonical), false, &arena, &why);
		assert_non_null(r);
		assert_true(str_eq(r->integrity.previous_context_id, str_from(last)));
		arena_finish(&arena);
		snprintf(last, sizeof last, "%.*s", STR_ARG(evidence_id(e)));
	}
}

static void evidence_takes_an_import_once(void **state)
{
	struct contract_evidence *b = *state;
	const struct evidence_entry *first = evidence_keep(b, evidence_import(1, "as it was"));
	assert_false(first->already_there);
	uint64_t lsn = first->lsn;
	for (int life = 0; life < 2; life++) {
		const struct evidence_entry *again = evidence_keep(b, evidence_import(1, "as it was"));
		assert_true(again->already_there);
		assert_int_equal(again->lsn, lsn);
		const struct evidence_append *other = evidence_do(b, evidence_import(1, "forged"));
		assert_int_equal(other->head.status, RT_EEXIST);
		assert_true(other->entry->reason[0] != '\0');
		evidence_assert_durable(b, 1);
		const struct evidence_found *f = evidence_look(b, evidence_id(again));
		assert_int_equal(f->head.status, RT_OK);
		assert_true(f->record->imported);
		assert_non_null(strstr(f->record->canonical.p, "as it was"));
		evidence_again(b);
	}
}

static void evidence_refuses_what_nobody_could_read(void **state)
{
	struct contract_evidence *b = *state;
	struct evidence_entry *wrong[5] = { evidence_record(1, "chat"), evidence_record(2, "chat"),
					    evidence_import(3, "x"), evidence_values("u1", "1"),
					    evidence_record(4, "chat") };
	static const int status[5] = { RT_EINVAL, RT_EINVAL, RT_EINVAL, RT_ETOOBIG, RT_EINVAL };
	wrong[0]->previous_at++;
	wrong[1]->context_id[0] = '\0';
	memset(wrong[2]->stamp.record_hash, 'x', RECORD_HASH_TEXT);
	wrong[3]->body.failed = true;
	wrong[4]->previous_at = wrong[4]->body.n;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		const struct evidence_append *m = evidence_do(b, wrong[i]);
		assert_int_equal(m->head.status, status[i]);
		assert_true(m->entry->reason[0] != '\0');
	}
	evidence_assert_durable(b, 0);
	uint64_t last = 0;
	struct msg *m = contract_wait(&b->c, contract_ask(&b->c, b->store.append,
							  &evidence_append_new(contract_maker(&b->c), NULL)->head));
	assert_int_equal(m->kind, RT_DOWN);
	evidence_assert_position(b, evidence_keep(b, evidence_record(5, "chat")), 1, &last);
}

/* Nothing of what failed is there, and what comes behind it goes on as if it had never been. */
static void evidence_forgets_what_failed(void **state)
{
	struct contract_evidence *b = *state;
	static const int statuses[] = { RT_EIO, RT_EFULL };
	char first[RECORD_ID_MAX + 1];
	const struct evidence_entry *e = evidence_keep(b, evidence_record(0, "chat"));
	uint64_t last = 0;
	evidence_assert_position(b, e, 1, &last);
	snprintf(first, sizeof first, "%.*s", STR_ARG(evidence_id(e)));
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		b->set_fault(b, statuses[i]);
		const struct evidence_append *m = evidence_do(b, evidence_record(100, "chat"));
		assert_int_equal(m->head.status, statuses[i]);
		assert_true(m->entry->reason[0] != '\0');
		assert_int_equal(m->entry->lsn, 0);
		struct str id = evidence_id(m->entry);
		assert_int_equal(evidence_look(b, id)->head.status, RT_ENOTFOUND);
		b->set_fault(b, 0);
	}
	e = evidence_keep(b, evidence_record(1, "chat"));
	evidence_assert_position(b, e, 2, &last);
	assert_string_equal(e->previous_context_id, first);
	evidence_again(b);
	evidence_assert_durable(b, 2);
	assert_int_equal(evidence_look(b, STR("ctx_018f3a2b-7def-7abc-8901-000000000064"))->head.status, RT_ENOTFOUND);
}

static inline struct log_scan *evidence_scan(struct contract_evidence *b, uint64_t from_lsn)
{
	struct buf why = { 0 };
	struct log_scan *s = b->log->open(b->log->log, from_lsn, &why);
	if (s == NULL)
		fail_msg("%s: %.*s", b->name, STR_ARG(buf_str(&why)));
	buf_finish(&why);
	return s;
}

/* A reader sees all that is durable, in order, as it was appended; at the end it goes on when more is there. */
static void evidence_is_read_in_order(void **state)
{
	enum { N = 16, FROM = 5 };
	struct contract_evidence *b = *state;
	if (evidence_lacks(b, CONTRACT_LACKS_LOG))
		skip();
	struct log_source_entry e;
	char id[LOG_SOURCE_ID_TEXT], id_again[LOG_SOURCE_ID_TEXT];
	uint8_t chains[N][LOG_SOURCE_CHAIN];
	b->log->id_text(b->log->log, id);
	struct log_scan *s = evidence_scan(b, 1);
	assert_int_equal(s->next(s, &e), LOG_SOURCE_END);
	for (unsigned i = 0; i < N; i++) {
		struct evidence_entry *made = evidence_any(i);
		enum evidence_kind kind = made->kind;
		const struct evidence_entry *kept = evidence_keep(b, made);
		assert_int_equal(s->next(s, &e), LOG_SOURCE_ENTRY);
		assert_int_equal(e.lsn, i + 1);
		assert_int_equal(e.kind, kind);
		assert_true(e.written_us > 0);
		memcpy(chains[i], e.chain, LOG_SOURCE_CHAIN);
		if (kind == EVIDENCE_RECORD) {
			assert_true(str_eq(e.context_id, evidence_id(kept)));
			assert_memory_equal(e.stamp.record_hash, kept->stamp.record_hash, RECORD_HASH_TEXT);
		} else {
			assert_true(str_eq(e.body, buf_str(&kept->body)));
		}
		assert_int_equal(s->next(s, &e), LOG_SOURCE_END);
	}
	log_scan_close(s);
	evidence_again(b);
	s = evidence_scan(b, FROM);
	for (unsigned i = FROM - 1; i < N; i++) {
		assert_int_equal(s->next(s, &e), LOG_SOURCE_ENTRY);
		assert_int_equal(e.lsn, i + 1);
		assert_memory_equal(e.chain, chains[i], LOG_SOURCE_CHAIN); /* what was read stays what it was */
		assert_true(i == 0 || memcmp(chains[i], chains[i - 1], LOG_SOURCE_CHAIN) != 0);
	}
	assert_int_equal(s->next(s, &e), LOG_SOURCE_END);
	log_scan_close(s);
	b->log->id_text(b->log->log, id_again);
	assert_memory_equal(id, id_again, sizeof id);
	assert_int_equal(b->log->lsn_at(b->log->log, INT64_MIN), 1);
	assert_true(b->log->lsn_at(b->log->log, INT64_MAX) <= N + 1);
	b->log->applied(b->log->log, N);
}

struct evidence_pending {
	uint64_t lsns[16];
	size_t count;
};

static inline void evidence_note_pending(void *arg, const struct log_source_entry *e)
{
	struct evidence_pending *p = arg;
	struct entry_event event;
	assert_int_equal(e->kind, EVIDENCE_EVENT);
	assert_true(entry_event_read(e->body, &event));
	assert_true(p->count < ARRAY_LEN(p->lsns));
	p->lsns[p->count++] = e->lsn;
}

static void evidence_tells_events_that_wait(void **state)
{
	struct contract_evidence *b = *state;
	struct buf why = { 0 };
	if (evidence_lacks(b, CONTRACT_LACKS_LOG))
		skip();
	for (unsigned i = 0; i < 6; i++) /* LSNs 1, 3, 5 ... are events */
		for (unsigned k = 0; k < 2; k++)
			evidence_keep(b, k == 0 ? evidence_event("u1") : evidence_values("u1", "1"));
	evidence_keep(b, evidence_event_applied(1));
	evidence_keep(b, evidence_event_applied(7));
	for (int life = 0; life < 2; life++) {
		evidence_again(b);
		static const uint64_t wanted[2][4] = { { 3, 5, 9, 11 }, { 3, 9, 11 } };
		struct evidence_pending p = { .count = 0 };
		assert_true(b->log->pending_events(b->log->log, &p, evidence_note_pending, &why));
		assert_int_equal(p.count, life == 0 ? 4 : 3);
		for (size_t i = 0; i < p.count; i++)
			assert_int_equal(p.lsns[i], wanted[life][i]);
		evidence_keep(b, evidence_event_applied(5));
	}
}

/* A stop in the midst of it: each ask ends once, and what was answered with 0 is there. */
static void evidence_ends_each_ask_once(void **state)
{
	enum { N = 600 };
	struct contract_evidence *b = *state;
	struct contract_ask *asks[N];
	for (unsigned i = 0; i < N; i++) {
		asks[i] = contract_ask_for(&b->c, b->store.append,
					   &evidence_append_new(contract_maker(&b->c), evidence_any(i))->head,
					   i % 3 ? 30000 : 1);
		if (i == N / 2)
			evidence_ended(b, asks[1]);
	}
	for (unsigned i = 0; i < N; i++)
		contract_wait(&b->c, asks[i]);
	uint64_t most = 0;
	size_t ok = 0, records = 0;
	char ids[N][RECORD_ID_MAX + 1];
	for (unsigned i = 0; i < N; i++) {
		const struct msg *m = asks[i]->ending;
		assert_true(m->kind == EVIDENCE_APPENDED || m->kind == RT_DEADLINE);
		if (m->kind != EVIDENCE_APPENDED || m->status != RT_OK)
			continue;
		const struct evidence_entry *e = ((const struct evidence_append *)m)->entry;
		ok++;
		most = e->lsn > most ? e->lsn : most;
		if (e->kind == EVIDENCE_RECORD)
			snprintf(ids[records++], sizeof ids[0], "%.*s", STR_ARG(evidence_id(e)));
	}
	assert_true(ok >= N / 2);
	contract_assert_one_ending_each(&b->c);
	evidence_again(b);
	if (!evidence_lacks(b, CONTRACT_LACKS_LOG))
		assert_true(b->log->durable_lsn(b->log->log) >= most);
	for (size_t i = 0; i < records; i++)
		assert_int_equal(evidence_look(b, str_from(ids[i]))->head.status, RT_OK);
}

static inline void evidence_assert_list(struct contract_evidence *b, struct evidence_list *ask, const char *wanted)
{
	struct msg *m = contract_wait(&b->c, contract_ask(&b->c, b->store.list, &ask->head));
	assert_int_equal(m->kind, EVIDENCE_ANSWER);
	const struct evidence_answer *answer = (const struct evidence_answer *)m;
	assert_int_equal(m->status, RT_OK);
	/* The numbers of the records, from the end of each id. */
	struct json_error error;
	yyjson_doc *doc = json_parse(buf_str(&answer->json), NULL, &error);
	struct buf got = { 0 };
	yyjson_val *row;
	size_t i, n;
	assert_true(yyjson_is_arr(yyjson_doc_get_root(doc)));
	yyjson_arr_foreach(yyjson_doc_get_root(doc), i, n, row) {
		struct str id = json_str(yyjson_obj_get(row, "context_id"));
		buf_printf(&got, "%.*s ", STR_ARG(str_skip(id, id.n - 1)));
	}
	buf_append_char(&got, '\0');
	assert_int_equal(answer->rows, n);
	assert_string_equal(got.p, wanted);
	buf_finish(&got);
	yyjson_doc_free(doc);
}

/* Newest first, by each filter and all of them, and never without what was appended before. */
static void evidence_lists(void **state)
{
	struct contract_evidence *b = *state;
	if (evidence_lacks(b, CONTRACT_LACKS_LISTS))
		skip();
	struct loop *loop = contract_maker(&b->c);
	for (unsigned i = 0; i < 6; i++) {
		evidence_keep(b, evidence_record(i, i < 4 ? "chat" : "mail"));
		evidence_keep(b, evidence_values("u1", "1"));
	}
	evidence_assert_list(b, evidence_list_new(loop), b->legacy_ref ? "5 4 3 2 1 0 a " : "5 4 3 2 1 0 ");
	struct evidence_list *m = evidence_list_new(loop);
	m->limit = 2;
	evidence_assert_list(b, m, "5 4 ");
	m = evidence_list_new(loop);
	m->name = strdup("chat");
	evidence_assert_list(b, m, "3 2 1 0 ");
	m = evidence_list_new(loop);
	m->freshness_status = strdup("degraded");
	evidence_assert_list(b, m, "5 3 1 ");
	m = evidence_list_new(loop);
	m->start_us = CONTRACT_T0_US + 1000000;
	m->end_us = CONTRACT_T0_US + 3000000;
	evidence_assert_list(b, m, "3 2 1 ");
	m = evidence_list_new(loop);
	m->id_prefix = strdup("ctx_018f3a2b-7def-7abc-8901-000000000002");
	evidence_assert_list(b, m, "2 ");
	m = evidence_list_new(loop);
	m->input = strdup("user_id");
	m->input_value = strdup("u1");
	evidence_assert_list(b, m, "4 1 ");
	m = evidence_list_new(loop);
	m->name = strdup("chat");
	m->freshness_status = strdup("guaranteed");
	m->end_us = CONTRACT_T0_US;
	evidence_assert_list(b, m, "0 ");
	for (unsigned i = 6; i < 9; i++) { /* each is in the list that is asked for when its append has been answered */
		char wanted[4];
		evidence_keep(b, evidence_record(i, "late"));
		snprintf(wanted, sizeof wanted, "%u ", i);
		m = evidence_list_new(loop);
		m->limit = 1;
		evidence_assert_list(b, m, wanted);
	}
	evidence_again(b);
	m = evidence_list_new(contract_maker(&b->c));
	m->limit = 3;
	evidence_assert_list(b, m, "8 7 6 ");
}

static inline const struct evidence_answer *evidence_old(struct contract_evidence *b, const char *ref,
							 enum evidence_legacy_view view)
{
	struct msg *m =
	    contract_wait(&b->c, contract_ask(&b->c, b->store.legacy,
					      &evidence_legacy_new(contract_maker(&b->c), str_from(ref), view)->head));
	assert_int_equal(m->kind, EVIDENCE_ANSWER);
	return (const struct evidence_answer *)m;
}

static void evidence_answers_for_what_others_left(void **state)
{
	struct contract_evidence *b = *state;
	for (enum evidence_legacy_view view = LEGACY_RECORD; view <= LEGACY_TRACE; view++) {
		assert_int_equal(evidence_old(b, "ctx_018f3a2b-7def-7abc-8901-00000000ffff", view)->head.status,
				 RT_ENOTFOUND);
		assert_int_equal(evidence_old(b, "\xff", view)->head.status, RT_ENOTFOUND);
	}
	if (evidence_lacks(b, CONTRACT_LACKS_LEGACY))
		return;
	const struct evidence_answer *m = evidence_old(b, b->legacy_ref, LEGACY_CONTEXT);
	assert_int_equal(m->head.status, RT_OK);
	assert_non_null(strstr(m->json.p, b->legacy_ref));
	evidence_keep(b, evidence_record(1, "chat"));
	assert_int_equal(evidence_old(b, "ctx_018f3a2b-7def-7abc-8901-000000000001", LEGACY_CONTEXT)->head.status,
			 RT_ENOTFOUND); /* it is nobody's but the log's */
}

/* For a static array of struct CMUnitTest: all of them with backend b. */
#define CONTRACT_EVIDENCE_TESTS(b)                                                                                     \
	EVIDENCE_TEST(evidence_keeps_the_order, b), EVIDENCE_TEST(evidence_answers_when_it_is_durable, b),             \
	    EVIDENCE_TEST(evidence_finds_by_any_spelling, b), EVIDENCE_TEST(evidence_chains_records, b),               \
	    EVIDENCE_TEST(evidence_takes_an_import_once, b),                                                           \
	    EVIDENCE_TEST(evidence_refuses_what_nobody_could_read, b), EVIDENCE_TEST(evidence_forgets_what_failed, b), \
	    EVIDENCE_TEST(evidence_is_read_in_order, b), EVIDENCE_TEST(evidence_tells_events_that_wait, b),            \
	    EVIDENCE_TEST(evidence_ends_each_ask_once, b), EVIDENCE_TEST(evidence_lists, b),                           \
	    EVIDENCE_TEST(evidence_answers_for_what_others_left, b)
#define EVIDENCE_TEST(f, b)                                                                                            \
	{                                                                                                              \
#b ": " #f, f, evidence_setup, evidence_teardown, (b)                                                  \
	}
