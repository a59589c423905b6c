#include "actors/feature_request.h"
#include "actors/reads.h"
#include <stdlib.h>

const char *feature_missing_reason(enum feature_state state)
{
	switch (state) {
	case FEATURE_EXPIRED:
		return "expired";
	case FEATURE_FAILED:
		return "failed";
	case FEATURE_TIMEOUT:
		return "timeout";
	case FEATURE_REFUSED:
		return "refused";
	case FEATURE_PENDING:
	case FEATURE_FOUND:
	case FEATURE_MISSING:
		break;
	}
	return "absent";
}

enum feature_state feature_failure_of(const struct msg *m)
{
	if (m->kind == RT_DEADLINE || m->status == RT_EDEADLINE)
		return FEATURE_TIMEOUT;
	return m->status == RT_EFULL ? FEATURE_REFUSED : FEATURE_FAILED;
}

struct str feature_failure_text(const struct msg *m)
{
	if (m->kind == RT_DEADLINE)
		return STR("no answer before the deadline");
	if (m->kind == RT_CANCELLED)
		return STR("the request was cancelled");
	return str_from(rt_error_text(m->status));
}

struct feature_request *feature_request_new(uint32_t entity, const struct str *ids, uint32_t ids_count,
					    const uint32_t *features, uint32_t features_count)
{
	struct feature_request *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->entity = entity;
	r->ids_count = ids_count;
	r->features_count = features_count;
	/* One more of each: an arena may give NULL for nothing. */
	r->ids = arena_alloc(&r->arena, (ids_count + 1ul) * sizeof *r->ids);
	r->features = arena_alloc(&r->arena, (features_count + 1ul) * sizeof *r->features);
	r->results = arena_zalloc(&r->arena, ((size_t)ids_count * features_count + 1) * sizeof *r->results);
	bool ok = r->ids && r->features && r->results;
	for (uint32_t i = 0; ok && i < ids_count; i++) {
		r->ids[i] = arena_dup(&r->arena, ids[i]);
		ok = r->ids[i].p != NULL;
	}
	if (!ok) {
		r->ids_count = 0;
		feature_request_free(r);
		return NULL;
	}
	if (features_count)
		memcpy(r->features, features, features_count * sizeof *features);
	return r;
}

void feature_request_free(struct feature_request *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < (size_t)r->ids_count * r->features_count; i++) {
		value_unref(r->results[i].value);
		reads_unref(r->results[i].reads);
	}
	arena_finish(&r->arena);
	free(r);
}

static void resolver_get_dispose(struct msg *m)
{
	feature_request_free(((struct resolver_get *)m)->request);
}

struct resolver_get *resolver_get_new(struct loop *loop, uint16_t kind, struct feature_request *request)
{
	struct resolver_get *m = rt_msg_new(loop, kind);
	m->head.dispose = resolver_get_dispose;
	m->request = request;
	return m;
}
MSG_SIZE_CHECK(resolver_get);
