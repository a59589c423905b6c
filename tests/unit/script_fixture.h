/* Loads a definitions text and runs its functions, with a host that notes asks and answers them from a table.
 */
#pragma once
#include "actors/declare/definitions_load.h"
#include "actors/script/script.h"
#include "runtime/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURE_HEAD "local fabra = require 'fabra'\nlocal User = fabra.entity { name = 'User', id = 'user_id' }\n"

struct fixture {
	struct definitions *d;
	struct script *s;
	char folder[64];
	struct {
		struct script_ask ask; /* texts copied */
		char *id, *sql, *args;
		uint32_t features[8];
		bool cancelled;
	} asks[300];
	unsigned asks_count;
	bool refuse;
	const char *answers[16]; /* by order of ask: JSON at once, "!reason" at once, or NULL: later */
	char log[512];
	int64_t now_us;
	unsigned slices;       /* of the last run */
	uint64_t slice_ns_max; /* processor time */
	uint64_t *slices_ns; /* borrowed, may be NULL: the least time of each slice over all runs; 0 before the first */
	unsigned slices_ns_count;
};

static inline char *fixture_copy(struct str s)
{
	return s.p ? strndup(s.p, s.n) : NULL;
}

static inline bool fixture_ask(void *host, struct script_call *call, const struct script_ask *ask)
{
	struct fixture *f = host;
	if (f->refuse)
		return false;
	unsigned i = f->asks_count++;
	assert_true(i < 300);
	f->asks[i].ask = *ask;
	f->asks[i].id = fixture_copy(ask->entity_id);
	f->asks[i].sql = fixture_copy(ask->sql);
	f->asks[i].args = fixture_copy(ask->args_json);
	for (uint32_t k = 0; k < ask->features_count && k < 8; k++)
		f->asks[i].features[k] = ask->features[k];
	f->asks[i].cancelled = false;
	const char *answer = i < 16 ? f->answers[i] : NULL;
	if (answer && *answer == '!')
		script_answer(call, ask->id, false, str_from(answer + 1));
	else if (answer)
		script_answer(call, ask->id, true, str_from(answer));
	return true;
}

static inline void fixture_cancel(void *host, struct script_call *call, uint32_t ask_id)
{
	struct fixture *f = host;
	(void)call;
	for (unsigned i = 0; i < f->asks_count; i++)
		if (f->asks[i].ask.id == ask_id)
			f->asks[i].cancelled = true;
}

static inline void fixture_log(void *host, int level, struct str message, struct str fields)
{
	struct fixture *f = host;
	snprintf(f->log, sizeof f->log, "%d %.*s %.*s", level, STR_ARG(message), STR_ARG(fields));
}

static inline int64_t fixture_now(void *host)
{
	return ((struct fixture *)host)->now_us;
}

static const struct script_host fixture_host = { fixture_ask, fixture_cancel, fixture_log, fixture_now };

/* Writes the text to a folder of its own as store.lua and loads it. */
static inline struct definitions *fixture_load(struct fixture *f, const char *source, struct buf *why)
{
	char path[128];
	snprintf(f->folder, sizeof f->folder, "/tmp/fabra-script-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(path, sizeof path, "%s/store.lua", f->folder);
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(source, 1, strlen(source), file), strlen(source));
	fclose(file);
	f->d = definitions_load(path, false, why);
	unlink(path);
	rmdir(f->folder);
	return f->d;
}

static inline void fixture_start(struct fixture *f, const char *source, const struct script_limits *limits)
{
	struct buf why = { 0 };
	if (fixture_load(f, source, &why) == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	f->s = script_create(f->d, limits, &why);
	if (f->s == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
}

static inline void fixture_forget_asks(struct fixture *f)
{
	for (unsigned i = 0; i < f->asks_count; i++) {
		free(f->asks[i].id);
		free(f->asks[i].sql);
		free(f->asks[i].args);
	}
	f->asks_count = 0;
}

static inline void fixture_stop(struct fixture *f)
{
	fixture_forget_asks(f);
	script_destroy(f->s);
	definitions_free(f->d);
	f->s = NULL;
	f->d = NULL;
}

/* Runs until done, failed or waiting. */
static inline enum script_result fixture_go(struct fixture *f, struct script_call *call, struct script_outcome *ret)
{
	enum script_result result;
	f->slices = 0;
	f->slice_ns_max = 0;
	do {
		uint64_t start_ns = clock_thread_cpu_ns();
		result = script_run(call, ret);
		uint64_t ns = clock_thread_cpu_ns() - start_ns;
		f->slice_ns_max = ns > f->slice_ns_max ? ns : f->slice_ns_max;
		if (f->slices < f->slices_ns_count && (f->slices_ns[f->slices] == 0 || ns < f->slices_ns[f->slices]))
			f->slices_ns[f->slices] = ns;
		f->slices++;
	} while (result == SCRIPT_MORE);
	return result;
}

static inline struct script_call *fixture_begin(struct fixture *f, enum script_function function, const char *args)
{
	fixture_forget_asks(f);
	struct script_call *call = script_begin(f->s, function, 0, str_from(args), (struct str){ 0 }, (struct str){ 0 },
						&fixture_host, f);
	assert_non_null(call);
	return call;
}

/* The body of the one feature's compute(id): its JSON, "nil", or the error text; static storage. */
static inline const char *fixture_compute(struct fixture *f, const char *id)
{
	static char text[4096];
	struct script_outcome out;
	struct script_call *call = fixture_begin(f, SCRIPT_COMPUTE, id);
	enum script_result result = fixture_go(f, call, &out);
	if (result == SCRIPT_DONE)
		snprintf(text, sizeof text, "%.*s", out.value_json.p ? (int)out.value_json.n : 3,
			 out.value_json.p ? out.value_json.p : "nil");
	else if (result == SCRIPT_FAILED)
		snprintf(text, sizeof text, "%.*s", STR_ARG(out.error));
	else
		snprintf(text, sizeof text, "waiting");
	script_end(call);
	return text;
}

/* One feature 'x' with this compute body, in a fresh state. */
static inline void fixture_start_body(struct fixture *f, const char *body, const struct script_limits *limits)
{
	struct buf source = { 0 };
	buf_printf(&source,
		   FIXTURE_HEAD
		   "fabra.feature { name = 'x', entity = User, compute = function(id, event, previous)\n%s\nend }\n",
		   body);
	buf_append_char(&source, '\0');
	fixture_start(f, source.p, limits);
	buf_finish(&source);
}

/* Loads and runs one compute body; the result as fixture_compute gives it. */
static inline const char *fixture_eval(const char *body)
{
	struct fixture f = { 0 };
	fixture_start_body(&f, body, NULL);
	const char *text = fixture_compute(&f, "u1");
	fixture_stop(&f);
	return text;
}

#define assert_has(text, part)                                                                                         \
	do {                                                                                                           \
		const char *has_text = (text);                                                                         \
		if (strstr(has_text, (part)) == NULL)                                                                  \
			fail_msg("'%s' does not contain '%s'", has_text, (part));                                      \
	} while (0)
