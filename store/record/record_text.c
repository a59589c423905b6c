#include "store/record/record_text.h"
#include <strings.h>

void record_put_text_or_null(struct buf *out, struct str key, struct str value)
{
	buf_append_str(out, key);
	if (value.p)
		json_write_string(out, value);
	else
		buf_append_lit(out, "null");
}

void record_put_texts(struct buf *out, struct str key, const struct str *texts, size_t count)
{
	buf_append_str(out, key);
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_append_char(out, ',');
		json_write_string(out, texts[i]);
	}
	buf_append_char(out, ']');
}

struct str record_source_name(enum record_source source)
{
	switch (source) {
	case RECORD_CACHE:
		return STR("cache");
	case RECORD_COMPUTE:
		return STR("compute");
	case RECORD_FALLBACK:
		break;
	}
	return STR("fallback");
}

struct str record_freshness_name(enum record_freshness status)
{
	switch (status) {
	case RECORD_GUARANTEED:
		return STR("guaranteed");
	case RECORD_DEGRADED:
		return STR("degraded");
	case RECORD_UNKNOWN:
		break;
	}
	return STR("unknown");
}

struct str record_reason_name(const struct record_dropped *d)
{
	return d->priority_cutoff ? STR("priority_cutoff") : STR("budget_exceeded");
}

struct str record_id_bare(struct str id)
{
	return str_starts(id, STR("ctx_")) ? str_skip(id, 4) : id;
}

bool record_ids_match(struct str a, struct str b)
{
	a = record_id_bare(a);
	b = record_id_bare(b);
	return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}
