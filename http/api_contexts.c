/* Assembling contexts, and listing them. */
#include "actors/assembler.h"
#include "http/api.h"
#include "store/offline.h"
#include "store/timefmt.h"
#include <stdlib.h>

/* ---- POST /v1/context/{name} ---- */

void api_context_post(struct exchange *x)
{
	const struct node *n = api_node(x);
	struct str name = exchange_param(x, 0);
	yyjson_val *args = api_body_object(x);
	if (!exchange_is_valid(x))
		return;
	uint32_t context = definitions_context(n->definitions, name);
	if (context == DEF_NONE) {
		exchange_error(x, 404, "Context '%.*s' not found", STR_ARG(name));
		return;
	}
	struct buf text = { 0 };
	json_write_value(&text, args);
	struct assembly_job *job = text.failed ? NULL : assembly_job_new(context, buf_str(&text), exchange_request_id(x));
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

/* Answers 400, as freshness_status does. */
static bool read_time(struct exchange *x, const char *name, int64_t fallback_us, int64_t *ret_us)
{
	struct str text;
	*ret_us = fallback_us;
	if (!exchange_query(x, name, &text) || text.n == 0)
		return true;
	if (api_time(text, ret_us))
		return true;
	exchange_error(x, 400, "Invalid %s: expected an ISO 8601 time such as 2026-01-31T12:00:00Z", name);
	return false;
}

static char *query_copy(struct exchange *x, const char *name)
{
	struct str text;
	return exchange_query(x, name, &text) && text.n ? strndup(text.p, text.n) : NULL;
}

/* "input=user_id=u1": contexts that were called with that argument. */
static bool read_input(struct exchange *x, char **ret_name, char **ret_value)
{
	struct str text;
	if (!exchange_query(x, "input", &text) || text.n == 0)
		return true;
	const char *equals = memchr(text.p, '=', text.n);
	size_t n = equals ? (size_t)(equals - text.p) : 0;
	if (n == 0 || memchr(text.p, '"', n) || memchr(text.p, '\\', n) || memchr(text.p, '\0', text.n)) {
		exchange_error(x, 400, "input must be NAME=VALUE, an argument of the context and its value");
		return false;
	}
	*ret_name = strndup(text.p, n);
	*ret_value = strndup(equals + 1, text.n - n - 1);
	return true;
}

void api_contexts_list(struct exchange *x)
{
	int64_t start_us, end_us;
	int32_t limit = 100;
	bool with_inputs;
	api_query_int(x, "limit", 0, API_LIST_MAX, &limit);
	api_query_flag(x, "detail", &with_inputs);
	if (!exchange_is_valid(x) || !read_time(x, "start", INT64_MIN, &start_us) ||
	    !read_time(x, "end", INT64_MAX, &end_us))
		return;
	char *status = query_copy(x, "freshness_status");
	if (status && strcmp(status, "guaranteed") != 0 && strcmp(status, "degraded") != 0) {
		free(status);
		exchange_error(x, 400, "freshness_status must be 'guaranteed' or 'degraded'");
		return;
	}
	char *input = NULL, *input_value = NULL;
	if (!read_input(x, &input, &input_value)) {
		free(status);
		return;
	}
	struct actor *a = exchange_actor(x);
	struct offline_contexts *m = offline_contexts_new(a->loop);
	m->with_inputs = with_inputs;
	m->input = input;
	m->input_value = input_value;
	m->id_prefix = query_copy(x, "id_prefix");
	m->start_us = start_us;
	m->end_us = end_us;
	m->limit = limit;
	m->name = query_copy(x, "name");
	m->freshness_status = status;
	rt_ask(a, api_node(x)->offline_reader, &m->head, exchange_deadline_ns(x), a->self);
}

void api_contexts_list_message(struct exchange *x, struct msg *m)
{
	const struct offline_result *result = (const struct offline_result *)m;
	char missing[24];
	if (m->kind != OFFLINE_RESULT) {
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
