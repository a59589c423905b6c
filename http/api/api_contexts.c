/* Assembling contexts, and listing them. */
#include "actors/assembler.h"
#include "http/api/api.h"
#include "runtime/check.h"
#include "store/text/timefmt.h"
#include <stdlib.h>

/* ---- POST /v1/context/{name} ---- */

void api_context_post(struct exchange *x)
{
	const struct node *n = api_node(x);
	struct str name = exchange_param(x, 0);
	yyjson_val *args = api_body_object(x);
	uint32_t context = api_context(x, name);
	if (context == DEF_NONE || !exchange_is_valid(x))
		return;
	struct buf text = { 0 };
	json_write_value(&text, args);
	struct assembly_job *job = text.failed ? NULL
					       : assembly_job_new(context, buf_str(&text), exchange_request_id(x));
	buf_finish(&text);
	if (job == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return;
	}
	struct actor *a = exchange_actor(x);
	assembler_start(a, node_here(n, a->loop), job, exchange_deadline_ns(x), a->self);
}

static int status_of(enum assembly_outcome outcome)
{
	switch (outcome) {
	case ASSEMBLY_OK:
		return 200;
	case ASSEMBLY_BAD_ARGUMENTS:
		return 400;
	case ASSEMBLY_OVER_BUDGET:
	case ASSEMBLY_ABSENT:
		return 422;
	case ASSEMBLY_TOO_LARGE:
		return 413;
	case ASSEMBLY_FAILED:
		return 500;
	case ASSEMBLY_NO_EVIDENCE:
	case ASSEMBLY_BUSY:
	case ASSEMBLY_UNAVAILABLE:
		return 503;
	case ASSEMBLY_LATE:
		return 504;
	}
	return 500;
}

static void write_hashes(const struct assembly_job *job, struct buf *out)
{
	if (!job->persisted)
		return;
	buf_append_lit(out, ",\"record_hash\":\"");
	buf_append(out, job->stamp.record_hash, RECORD_HASH_TEXT);
	buf_append_lit(out, "\",\"content_hash\":\"");
	buf_append_str(out, job->record.integrity.content_hash);
	buf_append_char(out, '"');
}

/* The reply carries the text itself, also in privacy mode, where only the record goes without it. */
static void write_assembled(const struct assembly_job *job, struct str content, struct buf *out)
{
	buf_reserve(out, 4096 + content.n + content.n / 8 +
			     512 * (job->record.items_count + job->record.features_count)); /* an estimate */
	buf_append_lit(out, "{\"id\":");
	json_write_string(out, job->record.context_id);
	buf_append_lit(out, ",\"content\":");
	json_write_string(out, content);
	buf_append_lit(out, ",\"meta\":");
	record_write_meta(&job->record, &job->extras, job->persisted ? &job->stamp : NULL, job->persisted,
			  job->evidence_error, out);
	write_hashes(job, out);
	if (job->extras.interaction_ref_json.p) {
		buf_append_lit(out, ",\"interaction_ref\":");
		buf_append_str(out, job->extras.interaction_ref_json);
	}
	buf_append_lit(out, ",\"lineage\":");
	record_write_lineage(&job->record, &job->extras, out);
	buf_append_char(out, '}');
}

void api_context_post_message(struct exchange *x, struct msg *m)
{
	if (m->kind != ASSEMBLER_DONE) {
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the context");
		return;
	}
	const struct assembly_job *job = ((struct assembler_run *)m)->job;
	if (job->outcome != ASSEMBLY_OK) {
		exchange_error(x, status_of(job->outcome), "%.*s", STR_ARG(job->error));
		return;
	}
	struct buf out = { 0 };
	write_assembled(job, assembly_content(job), &out);
	if (out.failed)
		exchange_error(x, 500, "the context is too large to send");
	else
		exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

/* ---- GET /v1/contexts ---- */

/* What is wrong with a filter is 400, as Fabra's freshness_status; all that is wrong is said at once. */
struct wrong {
	const char *names[6];
	struct str inputs[6];
	char texts[6][96];
	unsigned count;
};

static void note_wrong(struct wrong *w, const char *name, struct str input, const char *text)
{
	CHECK(w->count < ARRAY_LEN(w->names));
	w->names[w->count] = name;
	w->inputs[w->count] = input;
	snprintf(w->texts[w->count++], sizeof w->texts[0], "%s", text);
}

/* Beside what the list form (422) says, it says these too. */
static void reply_wrong(struct exchange *x, const struct wrong *w)
{
	struct buf text = { 0 };
	bool is_listed = !exchange_is_valid(x);
	for (unsigned i = 0; i < w->count; i++) {
		char loc[64], msg[128];
		snprintf(loc, sizeof loc, "[\"query\",\"%s\"]", w->names[i]);
		snprintf(msg, sizeof msg, "Value error, %s", w->texts[i]);
		if (is_listed)
			exchange_invalid_text(x, "value_error", loc, msg, w->inputs[i], NULL);
		buf_printf(&text, "%s%s", i ? "; " : "", w->texts[i]);
	}
	if (!is_listed)
		exchange_error(x, 400, "%.*s", STR_ARG(buf_str(&text)));
	buf_finish(&text);
}

static void read_time(struct exchange *x, const char *name, int64_t fallback_us, int64_t *ret_us, struct wrong *w)
{
	struct str text;
	char msg[96];
	*ret_us = fallback_us;
	if (!exchange_query(x, name, &text) || text.n == 0 || api_time(text, ret_us))
		return;
	snprintf(msg, sizeof msg, "Invalid %s: expected an ISO 8601 time such as 2026-01-31T12:00:00Z", name);
	note_wrong(w, name, text, msg);
}

/* What the list is narrowed to; owned. NULL: all. */
struct filters {
	char *status, *input, *input_value, *id_prefix, *name;
	bool is_out_of_memory;
};

static void filters_finish(struct filters *f)
{
	free(f->status);
	free(f->input);
	free(f->input_value);
	free(f->id_prefix);
	free(f->name);
}

/* *ret stays NULL when there is none. A filter that is lost or cut at a NUL would list what was not asked for. */
static struct str query_copy(struct exchange *x, struct filters *f, const char *name, char **ret, struct wrong *w)
{
	struct str text;
	char msg[96];
	if (!exchange_query(x, name, &text) || (text.p != NULL && text.n == 0))
		return (struct str){ 0 };
	if (text.p != NULL && memchr(text.p, '\0', text.n) != NULL) {
		snprintf(msg, sizeof msg, "%s must be text without NUL", name);
		note_wrong(w, name, text, msg);
		return (struct str){ 0 };
	}
	*ret = text.p != NULL ? strndup(text.p, text.n) : NULL;
	f->is_out_of_memory = f->is_out_of_memory || *ret == NULL;
	return text;
}

/* "input=user_id=u1": contexts that were called with that argument. */
static void read_input(struct exchange *x, struct filters *f, struct wrong *w)
{
	struct str text = query_copy(x, f, "input", &f->input, w);
	if (f->input == NULL)
		return;
	size_t n = strcspn(f->input, "=\"\\");
	if (n == 0 || f->input[n] != '=') {
		note_wrong(w, "input", text, "input must be NAME=VALUE, an argument of the context and its value");
		return;
	}
	f->input[n] = '\0';
	f->input_value = strdup(f->input + n + 1);
	f->is_out_of_memory = f->is_out_of_memory || f->input_value == NULL;
}

static void read_filters(struct exchange *x, struct filters *f, struct wrong *w)
{
	struct str status = query_copy(x, f, "freshness_status", &f->status, w);
	if (f->status && strcmp(f->status, "guaranteed") != 0 && strcmp(f->status, "degraded") != 0)
		note_wrong(w, "freshness_status", status, "freshness_status must be 'guaranteed' or 'degraded'");
	read_input(x, f, w);
	query_copy(x, f, "id_prefix", &f->id_prefix, w);
	query_copy(x, f, "name", &f->name, w);
}

void api_contexts_list(struct exchange *x)
{
	int64_t start_us, end_us;
	int32_t limit = 100;
	bool with_inputs;
	struct filters f = { 0 };
	struct wrong wrong = { .count = 0 };
	api_query_int(x, "limit", 0, API_LIST_MAX, &limit);
	api_query_flag(x, "detail", &with_inputs);
	read_time(x, "start", INT64_MIN, &start_us, &wrong);
	read_time(x, "end", INT64_MAX, &end_us, &wrong);
	read_filters(x, &f, &wrong);
	if (f.is_out_of_memory)
		exchange_fail(x, RT_EFULL, "out of memory");
	else if (wrong.count)
		reply_wrong(x, &wrong);
	if (f.is_out_of_memory || wrong.count || !exchange_is_valid(x)) {
		filters_finish(&f);
		return;
	}
	struct actor *a = exchange_actor(x);
	struct evidence_list *m = evidence_list_new(a->loop);
	m->with_inputs = with_inputs;
	m->input = f.input;
	m->input_value = f.input_value;
	m->id_prefix = f.id_prefix;
	m->start_us = start_us;
	m->end_us = end_us;
	m->limit = limit;
	m->name = f.name;
	m->freshness_status = f.status;
	rt_ask(a, api_node(x)->stores->evidence.list, &m->head, exchange_deadline_ns(x), a->self);
}

void api_contexts_list_message(struct exchange *x, struct msg *m)
{
	const struct evidence_answer *result = (const struct evidence_answer *)m;
	char missing[24];
	if (m->kind != EVIDENCE_ANSWER) {
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the offline store");
	} else if (m->status == RT_EIO) { /* its text says what is wrong with the store, and what to do about it */
		exchange_error(x, 500, "the offline store: %.*s", STR_ARG(buf_str(&result->json)));
	} else if (m->status != RT_OK) {
		exchange_fail(x, m->status, "the offline store");
	} else {
		snprintf(missing, sizeof missing, "%llu", (unsigned long long)result->missing_entries);
		if (result->missing_entries > 0)
			exchange_header_add(x, "x-fabra-missing-entries", str_from(missing));
		exchange_reply_json(x, 200, buf_str(&result->json));
	}
}
