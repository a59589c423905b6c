/* A context answers for everything below it: what its retrievers and features read at any depth, from whichever cache, and what
 * they asked for and did not get. */
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "local function get(name) return function(id) return fabra.await(fabra.feature_value(name, id)) end end\n"
    "fabra.feature { name = 'p', entity = User }\n"
    "fabra.feature { name = 'q', entity = User, ttl = '1s' }\n"
    "fabra.feature { name = 'preset', entity = User, default = 7 }\n"
    "fabra.feature { name = 'bad', entity = User, compute = function() error('down') end }\n"
    "fabra.feature { name = 'slow', entity = User, compute = function() return fabra.await(fabra.sql('SELECT lost', {})) end }\n"
    "fabra.feature { name = 'none', entity = User, compute = function() return nil end }\n"
    "fabra.feature { name = 'each', entity = User, compute = get('p') }\n"             /* made at each read */
    "fabra.feature { name = 'kept', entity = User, ttl = '1h', compute = get('p') }\n" /* made once, and stored */
    "fabra.feature { name = 'deep', entity = User, compute = get('each') }\n"
    "fabra.feature { name = 'diamond', entity = User, compute = function(id)\n"
    "  local a, b, c = fabra.all(fabra.feature_value('each', id), fabra.feature_value('deep', id), fabra.feature_value('p', id))\n"
    "  return { a, b, c } end }\n"
    "fabra.feature { name = 'built_on_bad', entity = User, compute = get('bad') }\n"
    "fabra.feature { name = 'set_on_bad', entity = User,\n"
    "  compute = function(id) return fabra.await(fabra.features('User', id, { 'p', 'bad' })) end }\n"
    "local function chunk(name) return function(args) return { tostring(fabra.await(fabra.feature_value(name, args.user))) } end end\n"
    "local runs = 0\n"
    "local function flaky() runs = runs + 1 if runs == 1 then error('down') end return runs end\n"
    "fabra.feature { name = 'flaky', entity = User, default = 7, compute = flaky }\n"
    "fabra.feature { name = 'flaky_sql', entity = User, default = 7, sql = 'SELECT user_id, flaky_sql' }\n"
    "fabra.retriever { name = 'facts', cache_ttl = '1h', run = function() return { 'a fact' } end }\n"
    "local function facts() return fabra.await(fabra.retrieve('facts'))[1].content end\n"
    "fabra.feature { name = 'kept_facts', entity = User, ttl = '1h', compute = facts }\n"
    "fabra.feature { name = 'each_facts', entity = User, compute = facts }\n"
    "fabra.retriever { name = 'reads_p', cache_ttl = '1h', run = chunk('p') }\n"
    "fabra.retriever { name = 'reads_flaky', cache_ttl = '1h', run = chunk('flaky') }\n"
    "fabra.retriever { name = 'reads_deep', cache_ttl = '1h', run = chunk('deep') }\n"
    "fabra.retriever { name = 'reads_kept', cache_ttl = '1h', run = chunk('kept') }\n"
    "fabra.retriever { name = 'old', max_age = '1m', run = function() return { { content = 'x', last_updated = fabra.now() - 120 } } end }\n"
    "fabra.retriever { name = 'over_old', cache_ttl = '1h', run = function() return fabra.await(fabra.retrieve('old')) end }\n"
    "fabra.retriever { name = 'broken', run = function() error('index is broken') end }\n"
    "fabra.retriever { name = 'lost', run = function() return fabra.await(fabra.sql('SELECT lost', {})) end }\n"
    "fabra.feature { name = 'summary', entity = User, compute = function() return #fabra.await(fabra.retrieve('old')) end }\n"
    "local function item(name, text, more)\n"
    "  local one = { text = text, entity_id = '{user}' }\n"
    "  for k, v in pairs(more or {}) do one[k] = v end\n"
    "  fabra.context { name = name, params = { user = 'string' }, cache_ttl = '1h', items = { { text = 'Hello.' }, one } } end\n"
    "for _, name in ipairs { 'p', 'q', 'preset', 'bad', 'none', 'each', 'kept', 'deep', 'summary', 'slow', 'diamond', 'flaky', 'flaky_sql' } do\n"
    "  item('of_' .. name, name .. ': {feature:' .. name .. '}')\n"
    "  item('needs_' .. name, name .. ': {feature:' .. name .. '}', { required = true })\n"
    "  fabra.context { name = 'strict_' .. name, params = { user = 'string' }, freshness_sla = '1h', freshness_strict = true,\n"
    "    items = { { text = 'x {feature:' .. name .. '}', entity_id = '{user}' } } } end\n"
    "item('two', '{feature:p} {feature:q}', { on_missing = 'empty' })\n"
    "for _, name in ipairs { 'reads_p', 'reads_flaky', 'reads_deep', 'reads_kept', 'over_old', 'broken', 'lost' } do\n"
    "  fabra.context { name = 'chunks_' .. name, params = { user = 'string' }, freshness_sla = '1s', cache_ttl = '1h',\n"
    "    items = { { text = 'Hello.' }, { retriever = name, args = { user = '{user}' } } } }\n"
    "  fabra.context { name = 'strict_' .. name, params = { user = 'string' }, freshness_sla = '1h', freshness_strict = true,\n"
    "    items = { { retriever = name, args = { user = '{user}' } } } } end\n"
    "fabra.context { name = 'needs_broken', params = { user = 'string' }, items = { { retriever = 'broken', required = true } } }\n"
    "fabra.context { name = 'coded', cache_ttl = '1h', build = function(args)\n"
    "  local one = fabra.await(fabra.feature_value(args.name, args.user))\n"
    "  local set = fabra.await(fabra.features('User', args.user, { args.name, 'p' }))\n"
    "  return tostring(one) .. ' ' .. tostring(set[args.name]) .. ' ' .. tostring(set.p) end }\n"
    "fabra.context { name = 'tries', build = function(args)\n"
    "  local value, why = fabra.try(fabra.feature_value(args.name, args.user)) return tostring(value) .. ' ' .. tostring(why) end }\n"
    "fabra.context { name = 'tries_chunks', build = function(args)\n"
    "  local chunks, why = fabra.try(fabra.retrieve('broken')) return tostring(chunks) .. ' ' .. why end }\n"
    "fabra.context { name = 'tries_sql', cache_ttl = '1h', build = function()\n"
    "  local rows, why = fabra.try(fabra.sql('SELECT tried', {})) return rows and 'rows ' .. rows[1].n or 'none' end }\n"
    "fabra.context { name = 'awaits_sql', build = function() return tostring(fabra.await(fabra.sql('SELECT lost', {}))) end }\n"
    "fabra.context { name = 'awaits_chunks', build = function() return tostring(fabra.await(fabra.retrieve('lost'))) end }\n"
    "fabra.context { name = 'both_facts', params = { user = 'string' },\n"
    "  items = { { text = '{feature:kept_facts} {feature:each_facts}', entity_id = '{user}' } } }\n"
    "fabra.context { name = 'defaults', params = { a = 'string', b = { type = 'integer', default = 3 }, c = { type = 'any', required = false } },\n"
    "  build = function(args) return args.a .. ' ' .. args.b .. ' ' .. tostring(args.c) end }\n";

#define USER "{\"user\":\"u1\"}"

static const struct assembly_job *assemble(const char *context, const char *args_json)
{
	uint32_t index = definitions_context(shared.definitions, str_from(context));
	assert_true(index != DEF_NONE);
	const struct msg *m = wait_for(assembler_start(&probe->base, NL,
						       assembly_job_new(index, str_from(args_json), STR("r")),
						       in_ms(5000), ACTOR_NONE));
	assert_int_equal(m->kind, ASSEMBLER_DONE);
	return ((const struct assembler_run *)m)->job;
}

static const struct assembly_job *assemble_ok(const char *context, const char *args_json)
{
	const struct assembly_job *job = assemble(context, args_json);
	if (job->outcome != ASSEMBLY_OK)
		fail_msg("%s: %s", context, job->error.p);
	return job;
}

static void assert_text(struct str got, const char *expected)
{
	if (!str_eq(got, str_from(expected)))
		fail_msg("'%.*s' instead of '%s'", STR_ARG(got), expected);
}

static void assert_content(const char *context, const char *expected, bool is_cached)
{
	const struct assembly_job *job = assemble_ok(context, USER);
	assert_text(assembly_content(job), expected);
	assert_int_equal(job->extras.is_cached_response, is_cached);
}

static void assert_refused(const char *context, enum assembly_outcome outcome, const char *error)
{
	size_t records = entries_of(EVIDENCE_RECORD);
	const struct assembly_job *job = assemble(context, USER);
	assert_int_equal(job->outcome, outcome);
	if (strstr(job->error.p, error) == NULL)
		fail_msg("'%s' does not say '%s'", job->error.p, error);
	assert_int_equal(entries_of(EVIDENCE_RECORD), records);
}

/* Is this feature among those of the record, and how? */
static const struct record_feature *read_of(const struct assembly_job *job, const char *name)
{
	const struct record_feature *found = NULL;
	for (size_t i = 0; i < job->record.features_count; i++)
		if (str_eq(job->record.features[i].name, str_from(name)))
			found = &job->record.features[i];
	if (found == NULL)
		fail_msg("%s is not in the record", name);
	return found;
}

static void push_now(const char *name, const char *json)
{
	push(name, "u1", json, loop_wall_us(LOOP));
}

/* Pushed just now, and true three hours ago. */
static void push_old(const char *name)
{
	push(name, "u1", "\"old\"", loop_wall_us(LOOP) - 3 * 3600 * 1000000ll);
}

static void delete_user(void)
{
	online_delete_row(fixture.online, 0, STR("u1"), loop_wall_us(LOOP), 9, loop_wall_us(LOOP));
}

/* What the record says is what the reply says, and its bytes hold. */
static void assert_missing(const struct assembly_job *job, const char *feature, const char *reason)
{
	assert_int_equal(job->record.assembly.freshness_status, RECORD_DEGRADED);
	assert_true(job->extras.missing_features_count >= 1);
	assert_text(job->extras.missing_features[0].feature, feature);
	assert_text(job->extras.missing_features[0].entity_id, "u1");
	assert_text(job->extras.missing_features[0].reason, reason);
	assert_text(job->record.assembly.freshness_violations[0], feature);

	const struct evidence_entry *e = ledger_fake_record(ledger, job->record.context_id);
	assert_non_null(e);
	struct arena arena = { 0 };
	const char *why;
	const struct record *r = record_parse(buf_str(&e->body), true, &arena, &why);
	assert_non_null(r);
	read_of(job, feature);
	const struct record_feature *f = NULL;
	for (size_t i = 0; i < r->features_count; i++)
		if (str_eq(r->features[i].name, str_from(feature)))
			f = &r->features[i];
	assert_non_null(f);
	assert_text(f->value_json, "null");
	assert_true(f->source == RECORD_FALLBACK && f->freshness_ms == 0 && f->as_of_us == r->created_at_us);
	struct buf stamped = { 0 };
	struct record_verdict verdict;
	assert_true(record_write_json(r, &e->stamp, &stamped));
	assert_true(record_verify(buf_str(&stamped), true, NULL, &verdict, &why));
	assert_true(verdict.record_hash_ok && verdict.content_hash_ok);
	buf_finish(&stamped);
	arena_finish(&arena);
}

static void test_missing_items(void **state)
{
	(void)state;
	static const struct {
		const char *feature, *reason;
		enum assembly_outcome required;
	} cases[] = {
		{ "p", "absent", ASSEMBLY_ABSENT },   { "none", "absent", ASSEMBLY_ABSENT },
		{ "q", "expired", ASSEMBLY_ABSENT },  { "bad", "failed", ASSEMBLY_UNAVAILABLE },
		{ "slow", "timeout", ASSEMBLY_LATE },
	};
	offline_config.lost_permille = 1000;
	fixture_restart();
	uint32_t q = feature("q");
	struct value *v = value_create(STR("1"));
	int64_t now_us = loop_wall_us(LOOP);
	online_put(fixture.online,
		   &(struct online_write){ .kind = 0,
					   .id = STR("u1"),
					   .feature = q,
					   .value = v,
					   .meta = { .event_time_us = now_us, .expires_us = now_us + 1000 } });
	value_unref(v);
	run_ms(5);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char context[32], error[64];
		snprintf(context, sizeof context, "of_%s", cases[i].feature);
		const struct assembly_job *job = assemble_ok(context, USER);
		assert_text(assembly_content(job), "Hello.");
		assert_missing(job, cases[i].feature, cases[i].reason);
		assert_int_equal(job->record.assembly.items_provided, 2);
		assert_int_equal(job->record.assembly.items_included, 1);
		assert_int_equal(job->record.assembly.dropped_count, 1);
		assert_true(job->record.assembly.dropped[0].priority_cutoff);
		assert_text(job->record.assembly.dropped[0].source_id, cases[i].feature);

		snprintf(context, sizeof context, "needs_%s", cases[i].feature);
		snprintf(error, sizeof error, "needs feature '%s' of 'u1'", cases[i].feature);
		assert_refused(context, cases[i].required, error);
		snprintf(context, sizeof context, "strict_%s", cases[i].feature);
		snprintf(error, sizeof error, "breached for 1 feature(s): %s (missing: %s)", cases[i].feature,
			 cases[i].reason);
		assert_refused(context, ASSEMBLY_FAILED, error);
	}
}

static void test_defaults_are_named(void **state)
{
	(void)state;
	const struct assembly_job *job = assemble_ok("strict_preset", USER);
	assert_text(assembly_content(job), "x 7");
	assert_int_equal(job->record.assembly.freshness_status, RECORD_GUARANTEED);
	assert_int_equal(job->extras.missing_features_count, 0);
	assert_int_equal(job->extras.default_features_count, 1);
	assert_text(job->extras.default_features[0].feature, "preset");
	assert_text(job->extras.default_features[0].entity_id, "u1");
	assert_true(read_of(job, "preset")->source == RECORD_FALLBACK);
	/* It has no age, from the cache neither. */
	assert_content("of_preset", "Hello.\npreset: 7", false);
	run_ms(10000);
	job = assemble_ok("of_preset", USER);
	assert_true(job->extras.is_cached_response && read_of(job, "preset")->freshness_ms == 0);
	assert_int_equal(job->extras.default_features_count, 1);
	push_now("preset", "8");
	assert_content("of_preset", "Hello.\npreset: 8", false);
}

static void test_absent_is_forgotten(void **state)
{
	(void)state;
	assert_content("of_p", "Hello.", false);
	assert_content("of_p", "Hello.", true);
	assert_content("two", "Hello.\n ", false);
	assert_content("two", "Hello.\n ", true);
	assert_content("chunks_reads_p", "Hello.\nnil", false);
	assert_content("chunks_reads_deep", "Hello.\nnil", false);
	assert_content("of_deep", "Hello.", false);
	assert_content("of_deep", "Hello.", true);
	const char *coded = "{\"name\":\"q\",\"user\":\"u1\"}";
	assert_text(assembly_content(assemble_ok("coded", coded)), "nil nil nil");
	assert_true(assemble_ok("coded", coded)->extras.is_cached_response);
	push_now("q", "2");
	assert_text(assembly_content(assemble_ok("coded", coded)), "2 2 nil");
	assert_content("of_p", "Hello.", true); /* another one has come */
	push_now("p", "1");
	assert_content("of_p", "Hello.\np: 1", false);
	assert_content("two", "Hello.\n1 2", false);
	assert_content("chunks_reads_p", "Hello.\n1", false);
	assert_content("chunks_reads_deep", "Hello.\n1", false);
	assert_content("of_deep", "Hello.\ndeep: 1", false);
	assert_text(assembly_content(assemble_ok("coded", coded)), "2 2 1");
	delete_user();
	assert_content("of_p", "Hello.", false);
	assert_content("chunks_reads_p", "Hello.\nnil", false);
	assert_content("chunks_reads_deep", "Hello.\nnil", false);
	assert_content("of_deep", "Hello.", false);
	assert_text(assembly_content(assemble_ok("coded", coded)), "nil nil nil");
}

static void test_below_a_retriever(void **state)
{
	(void)state;
	push_old("p");
	for (int i = 0; i < 2; i++) { /* the second time from the retriever's cache */
		assert_refused("strict_reads_p", ASSEMBLY_FAILED, "p (10800");
		assert_refused("strict_reads_deep", ASSEMBLY_FAILED, "p (10800");
	}
	const struct assembly_job *job = assemble_ok("chunks_reads_deep", USER);
	assert_text(assembly_content(job), "Hello.\nold");
	assert_int_equal(job->record.assembly.freshness_status, RECORD_DEGRADED);
	assert_true(read_of(job, "p")->freshness_ms >= 10800000);
	assert_int_equal(job->record.lineage.features_used_count, 3); /* deep, each, p */
	assert_content("chunks_reads_deep", "Hello.\nold", true);
	push_now("p", "\"new\"");
	job = assemble_ok("chunks_reads_deep", USER);
	assert_text(assembly_content(job), "Hello.\nnew");
	assert_int_equal(job->record.assembly.freshness_status, RECORD_GUARANTEED);
	assert_text(assembly_content(assemble_ok("strict_reads_p", USER)), "new");
}

static void test_below_a_feature(void **state)
{
	(void)state;
	push_old("p");
	for (int i = 0; i < 2; i++) { /* the second time 'kept' is read from memory */
		assert_refused("strict_each", ASSEMBLY_FAILED, "p (10800");
		assert_refused("strict_deep", ASSEMBLY_FAILED, "p (10800");
		assert_refused("strict_kept", ASSEMBLY_FAILED, "p (10800");
		assert_refused("strict_reads_kept", ASSEMBLY_FAILED, "p (10800");
		run_ms(50);
	}
	assert_true(is_online("kept", "u1"));
	const struct assembly_job *job = assemble_ok("of_kept", USER);
	assert_text(assembly_content(job), "Hello.\nkept: old");
	assert_true(read_of(job, "kept")->source == RECORD_CACHE && read_of(job, "p")->freshness_ms >= 10800000);
	/* What 'kept' was made from may change: 'kept' itself does not before its ttl, and so the context is kept too. */
	push_now("p", "\"new\"");
	assert_content("of_kept", "Hello.\nkept: old", true);
	delete_user();
	assert_content("of_kept", "Hello.", false);
}

/* Several ways lead to the same value; it is named for each read of the context itself, and once for all below. */
static void test_each_once(void **state)
{
	(void)state;
	push_now("p", "1");
	const struct assembly_job *job = assemble_ok("of_diamond", USER);
	assert_text(assembly_content(job), "Hello.\ndiamond: [1,1,1]");
	size_t p = 0;
	for (size_t i = 0; i < job->record.features_count; i++)
		p += str_eq(job->record.features[i].name, STR("p"));
	assert_int_equal(p, 1);
	assert_text(job->record.features[0].name, "diamond");
}

static void test_chunks_below(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_refused("strict_over_old", ASSEMBLY_FAILED, "old (12000");
		assert_refused("strict_summary", ASSEMBLY_FAILED, "old (12000");
	}
	const struct assembly_job *job = assemble_ok("of_summary", USER);
	assert_int_equal(job->record.items_count, 1);
	assert_text(job->record.items[0].retriever, "old");
	assert_true(job->record.items[0].is_stale);
	assert_int_equal(job->record.assembly.freshness_status, RECORD_DEGRADED);
}

static void test_missing_retrievers(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) { /* what failed is not kept */
		const struct assembly_job *job = assemble_ok("chunks_broken", USER);
		assert_text(assembly_content(job), "Hello.");
		assert_false(job->extras.is_cached_response);
		assert_int_equal(job->record.assembly.freshness_status, RECORD_DEGRADED);
		assert_int_equal(job->extras.missing_retrievers_count, 1);
		assert_text(job->extras.missing_retrievers[0].retriever, "broken");
		assert_text(job->extras.missing_retrievers[0].reason, "failed");
		assert_text(job->record.assembly.dropped[0].source_id, "item_1");
	}
	assert_refused("strict_broken", ASSEMBLY_FAILED, "broken (missing: failed)");
	assert_refused("needs_broken", ASSEMBLY_UNAVAILABLE, "needs retriever 'broken', which is missing: failed");
	const struct assembly_job *tried = assemble_ok("tries_chunks", "{}");
	assert_non_null(strstr(assembly_content(tried).p, "index is broken"));
	assert_int_equal(tried->extras.missing_retrievers_count, 1);
	offline_config.lost_permille = 1000;
	fixture_restart();
	const struct assembly_job *late = assemble_ok("chunks_lost", USER);
	assert_text(late->extras.missing_retrievers[0].reason, "timeout");
}

static void test_code(void **state)
{
	(void)state;
	const char *bad = "{\"name\":\"bad\",\"user\":\"u1\"}";
	const struct assembly_job *job = assemble_ok("coded", bad);
	assert_text(assembly_content(job), "nil nil nil");
	assert_missing(job, "bad", "failed");
	assert_int_equal(job->extras.missing_features_count, 2);            /* bad, which was read twice, and p */
	assert_false(assemble_ok("coded", bad)->extras.is_cached_response); /* a failure is not kept */
	assert_non_null(strstr(assembly_content(assemble_ok("tries", bad)).p, "down"));
	assert_text(assembly_content(assemble_ok("tries", "{\"name\":\"p\",\"user\":\"u1\"}")), "nil nil");
	/* What else is made of a failure is none: it would be stored. */
	assert_int_equal(get_feature("built_on_bad", "u1")->state, FEATURE_FAILED);
	assert_int_equal(get_feature("set_on_bad", "u1")->state, FEATURE_FAILED);
}

/* The default stands in for it now; the next one to ask may get the value. */
static void test_a_default_for_a_failure_is_not_kept(void **state)
{
	static struct offline_fake_answer answers[] = { { "flaky_sql", "busy", RT_EFULL } };
	(void)state;
	offline_config.answers = answers;
	offline_config.answers_count = ARRAY_LEN(answers);
	fixture_restart();
	const struct assembly_job *job = assemble_ok("of_flaky", USER);
	assert_text(assembly_content(job), "Hello.\nflaky: 7");
	assert_text(job->extras.default_features[0].feature, "flaky");
	assert_content("of_flaky", "Hello.\nflaky: 2", false);

	assert_content("of_flaky_sql", "Hello.\nflaky_sql: 7", false);
	answers[0] = (struct offline_fake_answer){ "flaky_sql", "[{\"user_id\":\"u1\",\"flaky_sql\":3}]", RT_OK };
	assert_content("of_flaky_sql", "Hello.\nflaky_sql: 3", false);
	answers[0] = (struct offline_fake_answer){ "flaky_sql", "[]", RT_OK };
	run_ms(10);

	fixture_restart(); /* the first run fails again */
	assert_content("chunks_reads_flaky", "Hello.\n7", false);
	assert_content("chunks_reads_flaky", "Hello.\n2", false);
	assert_content("chunks_reads_flaky", "Hello.\n2", true);
	assert_content("of_flaky_sql", "Hello.\nflaky_sql: 7", false);
	assert_content("of_flaky_sql", "Hello.\nflaky_sql: 7", true); /* there is none: that is no failure */
	offline_config.lost_permille = 1000;
	fixture_restart();
	assert_content("of_flaky_sql", "Hello.\nflaky_sql: 7", false); /* late */
	assert_content("of_flaky_sql", "Hello.\nflaky_sql: 7", false);
}

static void test_sql_of_code(void **state)
{
	static struct offline_fake_answer answers[] = { { "SELECT tried", "no such table", RT_EINVAL } };
	(void)state;
	offline_config.answers = answers;
	offline_config.answers_count = ARRAY_LEN(answers);
	fixture_restart();
	assert_text(assembly_content(assemble_ok("tries_sql", "{}")), "none");
	answers[0] = (struct offline_fake_answer){ "SELECT tried", "[{\"n\":1}]", RT_OK };
	assert_text(assembly_content(assemble_ok("tries_sql", "{}")), "rows 1");
	assert_true(assemble_ok("tries_sql", "{}")->extras.is_cached_response);
	offline_config.lost_permille = 1000;
	fixture_restart();
	for (int i = 0; i < 2; i++) { /* late, and there is time left to go without it */
		const struct assembly_job *job = assemble_ok("tries_sql", "{}");
		assert_text(assembly_content(job), "none");
		assert_false(job->extras.is_cached_response);
	}
	assert_int_equal(assemble("awaits_sql", "{}")->outcome, ASSEMBLY_LATE);
	assert_int_equal(assemble("awaits_chunks", "{}")->outcome, ASSEMBLY_LATE);
}

/* Chunks that are below a stored value and were also read now: those of now are the context's, with their tokens. */
static void test_chunks_below_and_beside(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		const struct assembly_job *job = assemble_ok("both_facts", USER);
		assert_text(assembly_content(job), "a fact a fact");
		int64_t tokens = 0;
		for (size_t item = 0; item < job->record.items_count; item++)
			tokens += job->record.items[item].token_count;
		assert_int_equal(tokens, 2);
		run_ms(10);
	}
}

static void test_params(void **state)
{
	(void)state;
	assert_text(assembly_content(assemble_ok("defaults", "{\"a\":\"x\"}")), "x 3 nil");
	assert_text(assembly_content(assemble_ok("defaults", "{\"a\":\"x\",\"b\":4,\"c\":true}")), "x 4 true");
	assert_text(assemble_ok("defaults", "{\"a\":\"x\"}")->record.inputs_json, "{\"a\":\"x\"}"); /* as it was sent */
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		ACTOR_TEST(test_missing_items),
		ACTOR_TEST(test_defaults_are_named),
		ACTOR_TEST(test_absent_is_forgotten),
		ACTOR_TEST(test_below_a_retriever),
		ACTOR_TEST(test_below_a_feature),
		ACTOR_TEST(test_each_once),
		ACTOR_TEST(test_chunks_below),
		ACTOR_TEST(test_missing_retrievers),
		ACTOR_TEST(test_code),
		ACTOR_TEST(test_params),
		ACTOR_TEST(test_sql_of_code),
		ACTOR_TEST(test_chunks_below_and_beside),
		ACTOR_TEST(test_a_default_for_a_failure_is_not_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
