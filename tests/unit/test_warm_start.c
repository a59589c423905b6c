/* What is served after a restart: the log is grown at random over several lives of a server, whose definitions change in
 * between, and every key is asked before and after each restart. An oracle answers from the list of what was written. */
#include "actors/declare/definitions_load.h"
#include "store/online/online_memory.h"
#include "actors/warm_start.h"
#include "tests/unit/offline_fixture.h"

enum { LIVES = 5, OPS = 60, IDS = 3, ENTRIES_MAX = LIVES * OPS };
enum { MINUTE_US = 60 * 1000000, HOUR_MS = 3600 * 1000 };

static const char *const feature_names[] = {
	"pushed", "held", "counted", "computed", "each", "stated", "asked", "gone"
};
enum { FEATURES = ARRAY_LEN(feature_names) };

/* What was written, in log order: lsn = index + 1. */
static struct written {
	enum { W_VALUE, W_NO_VALUE, W_DELETE } what;
	int id, feature;
	int64_t event_us, ttl_ms;
	uint16_t event_ns;
	char version[40];
} log_of[ENTRIES_MAX];
static size_t log_count;

static unsigned seed;

static int below(int n)
{
	return rand_r(&seed) % n;
}

/* The definitions of a life: each version is one of two, so that an old one comes back now and then. */
static struct definitions *definitions_of_life(struct rig *r, bool is_last)
{
	struct buf text = { 0 }, why = { 0 };
	char path[128];
	buf_append_lit(&text,
		       "local fabra = require 'fabra'\nlocal User = fabra.entity { name = 'User', id = 'user_id' }\n"
		       "fabra.feature { name = 'pushed', entity = User }\n"
		       "fabra.feature { name = 'held', entity = User, ttl = '1h' }\n");
	buf_printf(
	    &text,
	    "fabra.feature { name = 'counted', entity = User, trigger = 'e', compute = function() return %d end }\n",
	    below(100)); /* a trigger's code alone changes nothing */
	buf_printf(
	    &text,
	    "fabra.feature { name = 'computed', entity = User, ttl = '%dh', compute = function() return %d end }\n",
	    1 + below(2), below(2));
	buf_append_lit(&text, "fabra.feature { name = 'each', entity = User, compute = function() return 1 end }\n");
	buf_printf(
	    &text,
	    "fabra.feature { name = 'stated', entity = User, materialize = true, version = 'v%d', sql = 'SELECT 1' }\n",
	    below(2));
	buf_printf(&text, "fabra.feature { name = 'asked', entity = User%s, sql = 'SELECT %d' }\n",
		   below(2) ? ", ttl = '1h'" : "", below(2));
	if (!is_last)
		buf_append_lit(&text, "fabra.feature { name = 'gone', entity = User }\n");
	snprintf(path, sizeof path, "%s/store.lua", r->dir);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
	fclose(f);
	struct definitions *d = definitions_load(path, false, &why);
	if (d == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	unlink(path);
	buf_finish(&text);
	return d;
}

static const struct def_feature *feature_of(const struct definitions *d, int feature)
{
	uint32_t index = definitions_feature(d, str_from(feature_names[feature]));
	return index == DEF_NONE ? NULL : &d->features[index];
}

/* One random entry: to the log, to the list, and to what the running server has in memory. */
static void write_one(struct rig *r, const struct node *n, int64_t now_us)
{
	struct written *w = &log_of[log_count];
	char id[16], json[24];
	*w = (struct written){ .what = below(8) == 0   ? W_DELETE
				       : below(6) == 0 ? W_NO_VALUE
						       : W_VALUE,
			       .id = below(IDS),
			       .feature = below(FEATURES),
			       .event_us = now_us + (below(3) == 0 ? 4 * MINUTE_US : 0) - below(4) * MINUTE_US,
			       .event_ns = (uint16_t)below(3) };
	if (below(10) == 0)
		w->event_us -= 3ll * 3600 * 1000000; /* past every ttl */
	const struct def_feature *f = feature_of(n->definitions, w->feature);
	if (f == NULL)
		return;
	w->ttl_ms = f->ttl_ms;
	snprintf(w->version, sizeof w->version, "%.*s", STR_ARG(f->made_by));
	snprintf(id, sizeof id, "u%d", w->id);
	snprintf(json, sizeof json, "%zu", log_count);
	if (w->what != W_VALUE)
		w->event_ns = 0;
	if (w->what == W_DELETE) {
		rig_append_delete(r, id, w->event_us);
	} else {
		struct entry_value v = { .entity_id = str_from(id),
					 .feature = f->name,
					 .event_time_us = w->event_us,
					 .event_time_ns = w->event_ns,
					 .ttl_ms = w->ttl_ms,
					 .version = f->made_by };
		if (w->what == W_VALUE)
			v.value_json = str_from(json);
		rig_append_values(r, "User", &v, 1);
	}
	log_count++;
}

static bool hides(const struct written *t, uint64_t t_lsn, const struct written *v, uint64_t v_lsn)
{
	bool is_of_it = t->id == v->id && (t->what == W_DELETE || (t->what == W_NO_VALUE && t->feature == v->feature));
	return is_of_it && (v_lsn < t_lsn || v->event_us < t->event_us);
}

/* The delete of a row takes the tombstones of its features that were written before it. */
static bool is_taken(size_t tombstone)
{
	const struct written *t = &log_of[tombstone];
	bool found = false;
	for (size_t i = tombstone + 1; t->what == W_NO_VALUE && i < log_count; i++)
		found |= log_of[i].what == W_DELETE && log_of[i].id == t->id;
	return found;
}

static int64_t expiry(const struct written *v, const struct def_feature *f)
{
	int64_t ttl = v->ttl_ms == 0 || (f->ttl_ms && f->ttl_ms < v->ttl_ms) ? f->ttl_ms : v->ttl_ms;
	return ttl ? v->event_us + ttl * 1000 : INT64_MAX;
}

/* The entry that a read finds, or -1. */
static long oracle(const struct definitions *d, int id, int feature, int64_t now_us)
{
	const struct def_feature *f = feature_of(d, feature);
	bool is_never = f == NULL || strcmp(feature_names[feature], "each") == 0 ||
			(strcmp(feature_names[feature], "asked") == 0 && f->ttl_ms == 0);
	long best = -1;
	for (size_t i = 0; i < log_count && !is_never; i++) {
		const struct written *v = &log_of[i];
		if (v->what != W_VALUE || v->id != id || v->feature != feature ||
		    !str_eq(str_from(v->version), f->made_by) || expiry(v, f) <= now_us)
			continue;
		bool is_hidden = false;
		for (size_t t = 0; t < log_count; t++)
			is_hidden |= log_of[t].what != W_VALUE && hides(&log_of[t], t, v, i) && !is_taken(t);
		const struct written *b = best < 0 ? NULL : &log_of[best];
		if (!is_hidden && (b == NULL || v->event_us > b->event_us ||
				   (v->event_us == b->event_us && v->event_ns >= b->event_ns)))
			best = (long)i;
	}
	return best;
}

static void check_all(const struct node *n, int64_t now_us, const char *when)
{
	for (int id = 0; id < IDS; id++)
		for (int feature = 0; feature < (int)FEATURES; feature++) {
			char name[16];
			struct online_cell cell = { 0 };
			uint32_t index = definitions_feature(n->definitions, str_from(feature_names[feature]));
			long wanted = oracle(n->definitions, id, feature, now_us);
			snprintf(name, sizeof name, "u%d", id);
			bool found = index != DEF_NONE &&
				     online_get(n->stores->online.fast->table, 0, str_from(name), index, now_us, &cell);
			long got = found ? atol(cell.value->json) : -1;
			if (got != wanted)
				fail_msg("seed %u, %s: %s of u%d is entry %ld, not %ld (of %zu)", seed, when,
					 feature_names[feature], id, got, wanted, log_count);
			if (found) {
				assert_int_equal(cell.meta.lsn, wanted + 1);
				assert_int_equal(cell.meta.event_time_us, log_of[wanted].event_us);
				assert_int_equal(cell.meta.event_time_ns, log_of[wanted].event_ns);
			}
			value_unref(cell.value);
		}
}

static void take_frames(struct rig *r, const struct node *n, uint64_t from_lsn)
{
	struct buf why = { 0 };
	struct log_source_entry frame;
	struct ledger_scan *scan = ledger_scan_open(r->ledger, NULL, from_lsn, &why);
	assert_non_null(scan);
	while (ledger_scan_next(scan, &frame) == LOG_SOURCE_ENTRY)
		warm_start_frame(n, &frame, clock_wall_us());
	ledger_scan_close(scan);
}

static struct stores stores_of(struct rig *r)
{
	struct online *online = online_create(&(struct online_config){ .bytes_max = 1 << 20, .stripes = 4 });
	struct stores s = { .online.fast = online_fast(online), .log = ledger_log_source(r->ledger) };
	offline_store_fill(r->offline, &s.offline);
	return s;
}

static void one_life(struct rig *r, int life)
{
	struct buf why = { 0 };
	struct stores stores = stores_of(r);
	struct node n = { .definitions = definitions_of_life(r, life == LIVES - 1), .stores = &stores };
	if (below(2)) /* else all of it is beyond the projection */
		while (offline_projection_step(r->offline) != OFFLINE_STEP_CAUGHT_UP)
			;
	assert_true(warm_start(&n, &why));
	check_all(&n, clock_wall_us(), "after the restart");
	for (int op = 0; op < OPS; op++) {
		size_t before = log_count;
		write_one(r, &n, clock_wall_us());
		take_frames(r, &n, before + 1); /* what the server does when an entry is durable */
	}
	check_all(&n, clock_wall_us(), "before the restart");
	online_destroy(stores.online.fast->table);
	definitions_free((struct definitions *)(uintptr_t)n.definitions);
}

static void test_the_same_question_before_and_after(void **state)
{
	(void)state;
	for (unsigned round = 1; round <= 8; round++) {
		struct rig r;
		seed = round;
		log_count = 0;
		rig_make_folder(&r);
		for (int life = 0; life < LIVES; life++) {
			rig_open(&r);
			one_life(&r, life);
			rig_close(&r);
		}
		rig_remove_folder(&r);
	}
}

/* Files and ledgers from before values had a version: what code made is made again, everything else is as it was. */
static void test_values_without_a_version(void **state)
{
	(void)state;
	struct rig r;
	struct buf why = { 0 };
	seed = 1;
	rig_make_folder(&r);
	rig_open(&r);
	int64_t now_us = clock_wall_us();
	static const char *const names[] = { "pushed", "held", "counted", "computed", "each", "stated", "asked" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		/* Version 1 of the payload, byte by byte. */
		struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
		const struct str texts[] = { STR("u0"), str_from(names[i]), STR("1") };
		buf_append_char(&e->body, 1);
		buf_append_char(&e->body, ENTRY_PUSHED);
		buf_append(&e->body, &(uint64_t){ 0 }, 8);
		buf_append(&e->body, &(uint64_t){ 1 }, 8);
		buf_append(&e->body, &(uint32_t){ 4 }, 4);
		buf_append_lit(&e->body, "User");
		for (int k = 0; k < 3; k++) {
			buf_append(&e->body, &(uint32_t){ (uint32_t)texts[k].n }, 4);
			buf_append_str(&e->body, texts[k]);
		}
		buf_append(&e->body, &now_us, 8);
		buf_append(&e->body, &(int64_t){ 0 }, 8);
		rig_append(&r, e, now_us);
	}
	for (int projected = 0; projected < 2; projected++) {
		struct stores stores = stores_of(&r);
		struct node n = { .definitions = definitions_of_life(&r, true), .stores = &stores };
		assert_true(warm_start(&n, &why));
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			struct online_cell cell;
			uint32_t f = definitions_feature(n.definitions, str_from(names[i]));
			bool found = online_get(stores.online.fast->table, 0, STR("u0"), f, now_us, &cell);
			value_unref(cell.value);
			if (found != (i < 3))
				fail_msg("%s is %s", names[i], found ? "there" : "missing");
		}
		online_destroy(stores.online.fast->table);
		definitions_free((struct definitions *)(uintptr_t)n.definitions);
		while (offline_projection_step(r.offline) != OFFLINE_STEP_CAUGHT_UP)
			;
	}
	rig_close(&r);
	rig_remove_folder(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_same_question_before_and_after),
		cmocka_unit_test(test_values_without_a_version),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
