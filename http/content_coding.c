/* libh2o understands "gzip" only where no weight follows it, so its function is ours (interpose.h). */
#include "http/content_coding.h"
#include <stdbool.h>
#include <strings.h>

enum { WEIGHT_MAX = 1000, WEIGHT_NONE = -1 };

static struct str trimmed(struct str s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = str_skip(s, 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

static bool is(struct str s, struct str lower)
{
	return s.n == lower.n && strncasecmp(s.p, lower.p, s.n) == 0;
}

/* What is before the separator, and *rest behind it. */
static struct str take(struct str *rest, char separator)
{
	const char *at = rest->n > 0 ? memchr(rest->p, separator, rest->n) : NULL;
	struct str taken = str_of(rest->p, at != NULL ? (size_t)(at - rest->p) : rest->n);
	*rest = str_skip(*rest, taken.n + (at != NULL));
	return trimmed(taken);
}

/* "q=0.8" in thousandths; WEIGHT_NONE when it is something else. */
static int read_weight(struct str s)
{
	int weight = 0, unit = WEIGHT_MAX;
	if (s.n < 3 || s.n > 7 || (s.p[0] | 0x20) != 'q' || s.p[1] != '=')
		return WEIGHT_NONE;
	for (size_t i = 2; i < s.n; i++) {
		if (i == 3 && s.p[i] == '.')
			continue;
		if (i == 3 || s.p[i] < '0' || s.p[i] > '9')
			return WEIGHT_NONE;
		weight += (s.p[i] - '0') * unit;
		unit /= 10;
	}
	return weight <= WEIGHT_MAX ? weight : WEIGHT_NONE;
}

struct weights {
	int gzip, identity, others; /* WEIGHT_NONE: not named */
};

static void read_member(struct str member, struct weights *w)
{
	bool has_parameter = member.n > 0 && memchr(member.p, ';', member.n) != NULL;
	struct str name = take(&member, ';');
	int weight = has_parameter ? read_weight(trimmed(member)) : WEIGHT_MAX;
	if (weight == WEIGHT_NONE)
		return;
	if (is(name, STR("gzip")) || is(name, STR("x-gzip")))
		w->gzip = weight;
	else if (is(name, STR("identity")))
		w->identity = weight;
	else if (is(name, STR("*")))
		w->others = weight;
}

bool coding_takes_gzip(const h2o_headers_t *headers)
{
	struct weights w = { WEIGHT_NONE, WEIGHT_NONE, WEIGHT_NONE };
	for (size_t i = 0; i < headers->size; i++) {
		const h2o_header_t *h = &headers->entries[i];
		if (h->name != &H2O_TOKEN_ACCEPT_ENCODING->buf)
			continue;
		struct str rest = { h->value.base, h->value.len };
		while (rest.n > 0)
			read_member(take(&rest, ','), &w);
	}
	int gzip = w.gzip != WEIGHT_NONE ? w.gzip : w.others;
	return gzip > 0 && gzip >= w.identity;
}

bool coding_is_identity(struct str value)
{
	while (value.n > 0) {
		struct str coding = take(&value, ',');
		if (coding.n > 0 && !is(coding, STR("identity")))
			return false;
	}
	return true;
}

int h2o_get_compressible_types(const h2o_headers_t *headers)
{
	return coding_takes_gzip(headers) ? H2O_COMPRESSIBLE_GZIP : 0;
}
