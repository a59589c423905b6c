/* Values of the past: small histories by hand, and random ones beside an oracle that knows nothing of joins. */
#include "tests/unit/offline_fixture.h"

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_make_folder(&rig);
	rig_open(&rig);
	rig_start(&rig, false, false);
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

/* ---- asking ---- */
struct moment {
	const char *id;
	int64_t us; /* since T0 */
	uint16_t ns;
};
struct question {
	const char *const *features; /* of User */
	uint32_t features_count;
	const struct moment *moments;
	uint32_t moments_count;
	uint64_t cursor;
};

static struct msg *make_training(struct loop *loop, const void *arg)
{
	const struct question *q = arg;
	struct offline_wanted wanted[8];
	const struct str entity = STR("User");
	if (q->cursor != 0)
		return &offline_training_next(loop, q->cursor)->head;
	for (uint32_t i = 0; i < q->features_count; i++)
		wanted[i] = (struct offline_wanted){ 0, str_from(q->features[i]) };
	struct offline_training *m = offline_training_new(loop, &entity, 1, wanted, q->features_count,
							  q->moments_count);
	for (uint32_t i = 0; i < q->moments_count; i++) {
		struct str id = str_from(q->moments[i].id);
		offline_training_add(m, &id, T0_US + q->moments[i].us, q->moments[i].ns);
	}
	return &m->head;
}

/* All batches. */
static void ask_past(struct question q, struct buf *ret, unsigned *ret_batches)
{
	bool is_last = false;
	*ret_batches = 0;
	while (!is_last) {
		struct answer a = rig_wait(rig_ask(&rig, make_training, &q, 60000));
		assert_int_equal(a.kind, OFFLINE_PAST_CELLS);
		if (a.status != RT_OK)
			fail_msg("status %d: %s", a.status, a.text);
		buf_append_str(ret, str_from(a.text));
		is_last = a.last;
		q.cursor = a.cursor;
		++*ret_batches;
		free(a.text);
	}
	buf_append_char(ret, '\0');
}

static void assert_past(const char *feature, const struct moment *moments, uint32_t count, const char *wanted)
{
	struct buf text = { 0 };
	unsigned batches;
	ask_past((struct question){ .features = &feature,
				    .features_count = 1,
				    .moments = moments,
				    .moments_count = count },
		 &text, &batches);
	assert_string_equal(text.p, wanted);
	buf_finish(&text);
}
#define ASSERT_PAST(feature, wanted, ...)                                                                              \
	assert_past(feature, (const struct moment[]){ __VA_ARGS__ },                                                   \
		    sizeof((const struct moment[]){ __VA_ARGS__ }) / sizeof(struct moment), wanted)

/* ---- writing ---- */
struct write {
	const char *id, *feature, *json, *version; /* feature NULL: the delete of a row; json NULL: of a cell */
	int64_t us, written_us, ttl_ms;            /* since T0 */
	uint16_t ns;
};

static void write_one(const struct write *w)
{
	struct evidence_entry *e = evidence_entry_new(w->feature == NULL ? EVIDENCE_DELETE : EVIDENCE_VALUES);
	const struct entry_value v = { .entity_id = str_from(w->id),
				       .feature = str_from(w->feature),
				       .value_json = str_from(w->json),
				       .event_time_us = T0_US + w->us,
				       .event_time_ns = w->ns,
				       .ttl_ms = w->ttl_ms,
				       .version = str_from(w->version) };
	if (w->feature == NULL)
		entry_delete_write(&e->body, &(struct entry_delete){ .entity = STR("User"),
								     .entity_id = v.entity_id,
								     .event_time_us = v.event_time_us });
	else
		entry_values_write(&e->body,
				   &(struct entry_values){
				       .entity = STR("User"), .source = ENTRY_PUSHED, .values = &v, .count = 1 });
	assert_false(e->body.failed);
	rig_append(&rig, e, T0_US + w->written_us);
}
#define WRITE(...) write_one(&(const struct write){ __VA_ARGS__ })

/* ---- by hand ---- */
static void test_of_what_was_known_the_newest(void **state)
{
	(void)state;
	WRITE("u1", "tier", "1", .us = 100, .written_us = 100);
	WRITE("u1", "tier", "2", .us = 200, .written_us = 200, .ns = 7);
	WRITE("u1", "tier", "3", .us = 50, .written_us = 300);  /* late: changes nothing */
	WRITE("u1", "tier", "4", .us = 250, .written_us = 400); /* late, and newer */
	ASSERT_PAST("tier", "1/0=1@100.000;2/0=1@100.000;3/0=2@200.007;4/0=2@200.007;5/0=2@200.007;6/0=4@250.000;",
		    { "u1", 99, 999 }, { "u1", 100, 0 }, { "u1", 200, 6 }, { "u1", 200, 7 }, { "u1", 300, 0 },
		    { "u1", 399, 999 }, { "u1", 400, 0 }, { "u2", 400, 0 });
	ASSERT_PAST("other", "", { "u1", 1000, 0 });
}

static void test_an_event_ahead_waits_for_its_time(void **state)
{
	(void)state;
	WRITE("u1", "tier", "1", .us = 100, .written_us = 100);
	WRITE("u1", "tier", "2", .us = 500, .written_us = 110);
	WRITE("u1", "tier", "3", .us = 300, .written_us = 120);
	ASSERT_PAST("tier", "0/0=1@100.000;1/0=3@300.000;2/0=2@500.000;", { "u1", 200, 0 }, { "u1", 499, 0 },
		    { "u1", 500, 0 });
	/* Of equal times the later write, from when it was written. */
	WRITE("u1", "tier", "4", .us = 500, .written_us = 600);
	ASSERT_PAST("tier", "0/0=2@500.000;1/0=4@500.000;", { "u1", 599, 0 }, { "u1", 600, 0 });
}

/* The newest decides, and what has expired gives way to nothing older. */
static void test_the_ttl_that_a_value_was_written_with(void **state)
{
	(void)state;
	WRITE("u1", "tier", "1", .us = 0, .written_us = 0);
	WRITE("u1", "tier", "2", .us = 1000, .written_us = 1000, .ttl_ms = 2);
	WRITE("u1", "tier", "3", .us = 10000, .written_us = 20000, .ttl_ms = 2); /* had expired when it came */
	ASSERT_PAST("tier", "0/0=1@0.000;1/0=2@1000.000;", { "u1", 999, 0 }, { "u1", 2999, 999 }, { "u1", 3000, 0 },
		    { "u1", 20000, 0 });
}

static void test_tombstones(void **state)
{
	(void)state;
	WRITE("u1", "tier", "1", .us = 100, .written_us = 100);
	WRITE("u1", "city", "\"x\"", .us = 100, .written_us = 100);
	WRITE("u1", .us = 200, .written_us = 200);              /* the row */
	WRITE("u1", "tier", "2", .us = 150, .written_us = 250); /* of before it: refused */
	WRITE("u1", "tier", "3", .us = 300, .written_us = 300);
	WRITE("u1", "tier", NULL, .us = 900, .written_us = 400); /* the cell, ahead */
	WRITE("u1", "tier", "4", .us = 500, .written_us = 500);  /* refused */
	WRITE("u1", .us = 600, .written_us = 600);               /* takes the cell's tombstone */
	WRITE("u1", "tier", "5", .us = 700, .written_us = 700);
	ASSERT_PAST("tier", "0/0=1@100.000;3/0=3@300.000;6/0=5@700.000;", { "u1", 199, 999 }, { "u1", 200, 0 },
		    { "u1", 260, 0 }, { "u1", 399, 0 }, { "u1", 400, 0 }, { "u1", 550, 0 }, { "u1", 700, 0 });
	ASSERT_PAST("city", "0/0=\"x\"@100.000;", { "u1", 199, 0 }, { "u1", 200, 0 });
}

static void test_the_version_that_wrote_last(void **state)
{
	(void)state;
	WRITE("u1", "tier", "1", .us = 100, .written_us = 100, .version = "a");
	WRITE("u2", "tier", "2", .us = 100, .written_us = 110, .version = "a");
	WRITE("u2", "tier", "3", .us = 90, .written_us = 200,
	      .version = "b"); /* another id shows that the code has changed */
	WRITE("u1", "tier", "4", .us = 95, .written_us = 300, .version = "b"); /* older, and of the code in force */
	ASSERT_PAST("tier", "0/0=1@100.000;2/0=4@95.000;3/0=3@90.000;", { "u1", 199, 0 }, { "u1", 200, 0 },
		    { "u1", 300, 0 }, { "u2", 200, 0 });
	WRITE("u2", "tier", "5", .us = 400, .written_us = 400,
	      .version = "a"); /* it came back, and its values with it */
	ASSERT_PAST("tier", "0/0=4@95.000;1/0=1@100.000;2/0=5@400.000;", { "u1", 399, 0 }, { "u1", 400, 0 },
		    { "u2", 400, 0 });
}

static void test_far_times(void **state)
{
	(void)state;
	WRITE("u1", "tier", "1", .us = -T0_US - INT64_C(60000000000000000), .written_us = 100); /* the year 68 */
	ASSERT_PAST("tier", "0/0=1@-61700000000000000.000;1/0=1@-61700000000000000.000;", { "u1", 100, 0 },
		    { "u1", INT64_C(250000000000000000), 999 }); /* the year 9945 */
}

/* ---- the oracle ---- */
enum { WRITES = 400, IDS = 3, MOMENTS = 600 };
static const char *const feature_names[] = { "f0", "f1", "f2" };
static const char *const id_names[] = { "u0", "u1", "it's \"3\"", "nobody" };
static const char *const versions[] = { NULL, "a", "b" };
enum { FEATURES = ARRAY_LEN(feature_names) };
static struct write writes[WRITES];
static char values[WRITES][12];

static bool is_for(const struct write *w, const char *id, const char *feature)
{
	return w->id == id && (w->feature == NULL || w->feature == feature);
}

/* Whether tombstone d is one when write `at` comes: the delete of a row takes those of cells before it. */
static bool stands_at(size_t d, size_t at)
{
	if (writes[d].feature == NULL)
		return true;
	for (size_t i = d + 1; i < at; i++)
		if (writes[i].feature == NULL && writes[i].id == writes[d].id)
			return false;
	return true;
}

static const struct write *oracle(const char *id, const char *feature, int64_t us, uint16_t ns)
{
	const struct write *newest = NULL;
	const char *version = NULL;
	size_t known = 0;
	while (known < WRITES && writes[known].written_us <= us)
		known++;
	for (size_t i = 0; i < known; i++)
		if (writes[i].feature == feature && writes[i].json != NULL)
			version = writes[i].version;
	for (size_t i = 0; i < known; i++) {
		const struct write *w = &writes[i];
		bool is_alive = w->json != NULL && is_for(w, id, feature) && w->version == version &&
				(w->us < us || (w->us == us && w->ns <= ns));
		for (size_t d = 0; is_alive && d < known; d++)
			if (writes[d].json == NULL && is_for(&writes[d], id, feature))
				is_alive = d < i && !(stands_at(d, i) && writes[d].us > w->us);
		if (is_alive && (newest == NULL || w->us > newest->us || (w->us == newest->us && w->ns >= newest->ns)))
			newest = w;
	}
	bool has_expired = newest != NULL && newest->ttl_ms != 0 && newest->us + newest->ttl_ms * 1000 <= us;
	return has_expired ? NULL : newest;
}

static unsigned random_to(unsigned *seed, unsigned n)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % n;
}

static void make_history(unsigned *seed, bool with_tombstones, bool with_versions)
{
	int64_t written_us = 0;
	unsigned version = 0;
	for (unsigned i = 0; i < WRITES; i++) {
		struct write *w = &writes[i];
		written_us += random_to(seed, 3) * 500;
		if (with_versions && random_to(seed, 40) == 0)
			version = random_to(seed, ARRAY_LEN(versions));
		snprintf(values[i], sizeof values[i], "%u", i);
		*w = (struct write){ .id = id_names[random_to(seed, IDS)],
				     .feature = feature_names[random_to(seed, FEATURES)],
				     .json = values[i],
				     .version = versions[version],
				     .written_us = written_us,
				     .us = written_us,
				     .ttl_ms = random_to(seed, 3) ? 0 : 1 + random_to(seed, 20),
				     .ns = (uint16_t)(random_to(seed, 2) * random_to(seed, 3)) };
		if (random_to(seed, 3) == 0) /* late, or ahead */
			w->us += ((int64_t)random_to(seed, 60) - 50) * 500;
		if (!with_tombstones || random_to(seed, 12) != 0)
			continue;
		w->json = NULL;
		w->ttl_ms = w->ns = 0;
		if (random_to(seed, 2))
			w->feature = NULL;
	}
}

static void random_history(unsigned seed, bool with_tombstones, bool with_versions)
{
	struct moment moments[MOMENTS];
	struct buf wanted = { 0 }, text = { 0 };
	unsigned batches, state = seed;
	make_history(&state, with_tombstones, with_versions);
	for (size_t i = 0; i < WRITES; i++)
		write_one(&writes[i]);
	unsigned span = (unsigned)(writes[WRITES - 1].written_us / 500 + 10);
	for (unsigned i = 0; i < MOMENTS; i++) {
		struct moment *m = &moments[i];
		*m = (struct moment){ id_names[random_to(&state, ARRAY_LEN(id_names))],
				      (int64_t)random_to(&state, span) * 500 - random_to(&state, 2),
				      (uint16_t)random_to(&state, 4) };
		for (unsigned k = 0; k < FEATURES; k++) {
			const struct write *w = oracle(m->id, feature_names[k], m->us, m->ns);
			if (w != NULL)
				buf_printf(&wanted, "%u/%u=%s@%lld.%03u;", i, k, w->json, (long long)w->us, w->ns);
		}
	}
	buf_append_char(&wanted, '\0');
	ask_past((struct question){ feature_names, FEATURES, moments, MOMENTS, 0 }, &text, &batches);
	if (strcmp(text.p, wanted.p) != 0) {
		size_t at = 0;
		while (text.p[at] == wanted.p[at])
			at++;
		at = at > 60 ? at - 60 : 0;
		fail_msg("seed %u: ...%.120s... instead of ...%.120s...", seed, text.p + at, wanted.p + at);
	}
	assert_true(wanted.n > 1000);
	buf_finish(&wanted);
	buf_finish(&text);
}

static void test_random_histories(void **state)
{
	for (unsigned seed = 1; seed <= 16; seed++) {
		random_history(seed * 7919, seed & 1, seed & 2);
		teardown(state);
		setup(state);
	}
}

/* ---- batches and cursors ---- */
static struct buf *big_value(void)
{
	static struct buf big;
	if (big.n == 0) {
		buf_append_char(&big, '"');
		for (int i = 0; i < 300000; i++)
			buf_append_char(&big, 'x');
		buf_append(&big, "\"", 2);
	}
	return &big;
}

static void test_batches_are_bounded(void **state)
{
	(void)state;
	static struct moment moments[20];
	static const char *const feature = "tier";
	WRITE("u1", "tier", big_value()->p, .us = 1, .written_us = 1);
	for (unsigned i = 0; i < ARRAY_LEN(moments); i++)
		moments[i] = (struct moment){ "u1", 5, 0 };
	struct buf text = { 0 };
	unsigned batches;
	ask_past((struct question){ &feature, 1, moments, ARRAY_LEN(moments), 0 }, &text, &batches);
	assert_true(text.n > 20 * 300000);
	assert_in_range(batches, 4, 7); /* of about a MiB */
	/* More than may be open at once: the further ones are refused, and places are free again behind the last batch. */
	struct question q = { &feature, 1, moments, ARRAY_LEN(moments), 0 };
	uint64_t cursors[4];
	for (unsigned i = 0; i < ARRAY_LEN(cursors); i++) {
		struct answer a = rig_wait(rig_ask(&rig, make_training, &q, 60000));
		assert_int_equal(a.status, RT_OK);
		assert_false(a.last);
		cursors[i] = a.cursor;
		free(a.text);
	}
	struct answer refused = rig_wait(rig_ask(&rig, make_training, &q, 60000));
	assert_int_equal(refused.status, RT_EFULL);
	assert_non_null(strstr(refused.text, "ask again later"));
	free(refused.text);
	for (unsigned i = 0; i < ARRAY_LEN(cursors); i++) {
		bool is_last = false;
		q.cursor = cursors[i];
		while (!is_last) {
			struct answer a = rig_wait(rig_ask(&rig, make_training, &q, 60000));
			assert_int_equal(a.status, RT_OK);
			is_last = a.last;
			free(a.text);
		}
		struct answer closed = rig_wait(rig_ask(&rig, make_training, &q, 60000));
		assert_int_equal(closed.status, RT_EINVAL);
		free(closed.text);
	}
	buf_finish(&text);
	buf_finish(big_value());
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_of_what_was_known_the_newest),
		TEST(test_an_event_ahead_waits_for_its_time),
		TEST(test_the_ttl_that_a_value_was_written_with),
		TEST(test_tombstones),
		TEST(test_the_version_that_wrote_last),
		TEST(test_far_times),
		TEST(test_random_histories),
		TEST(test_batches_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
