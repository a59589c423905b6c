#include "actors/script/script_pattern.h"
#include <ctype.h>
#include <stdio.h>

static const char *match(struct script_pattern *m, const char *at, const char *p);

static bool wrong(struct script_pattern *m, const char *error)
{
	m->end = PATTERN_WRONG;
	snprintf(m->error, sizeof m->error, "%s", error);
	return false;
}

/* Counts a step; false when the match has to end. */
static bool step(struct script_pattern *m)
{
	if (++m->work > m->work_max && m->end == PATTERN_FINE)
		m->end = PATTERN_EXHAUSTED;
	return m->end == PATTERN_FINE;
}

/* The end of the single-character item that starts at p; NULL when it is malformed. */
static const char *item_end(struct script_pattern *m, const char *p)
{
	if (*p == '%') {
		if (p + 1 == m->pattern_end) {
			wrong(m, "malformed pattern (ends with '%')");
			return NULL;
		}
		return p + 2;
	}
	if (*p != '[')
		return p + 1;
	p += p[1] == '^' ? 2 : 1;
	do { /* the first character of a set is never its end */
		if (p == m->pattern_end) {
			wrong(m, "malformed pattern (missing ']')");
			return NULL;
		}
		m->work++;
		if (*p++ == '%' && p < m->pattern_end)
			p++;
	} while (*p != ']');
	return p + 1;
}

static bool in_class(int c, int class)
{
	bool in;
	switch (tolower(class)) {
	case 'a':
		in = isalpha(c);
		break;
	case 'c':
		in = iscntrl(c);
		break;
	case 'd':
		in = isdigit(c);
		break;
	case 'g':
		in = isgraph(c);
		break;
	case 'l':
		in = islower(c);
		break;
	case 'p':
		in = ispunct(c);
		break;
	case 's':
		in = isspace(c);
		break;
	case 'u':
		in = isupper(c);
		break;
	case 'w':
		in = isalnum(c);
		break;
	case 'x':
		in = isxdigit(c);
		break;
	case 'z': /* of Lua 5.1, and still there */
		in = c == 0;
		break;
	default:
		return class == c;
	}
	return isupper(class) ? !in : in;
}

/* p is at '[', last at the ']' that ends the set. */
static bool in_set(struct script_pattern *m, int c, const char *p, const char *last)
{
	bool found = true;
	if (*++p == '^') {
		found = false;
		p++;
	}
	for (; p < last; p++) {
		m->work++;
		if (*p == '%') {
			if (in_class(c, (unsigned char)*++p))
				return found;
		} else if (p[1] == '-' && p + 2 < last) {
			if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
				return found;
			p += 2;
		} else if ((unsigned char)*p == c) {
			return found;
		}
	}
	return !found;
}

static bool matches_one(struct script_pattern *m, const char *at, const char *p, const char *p_end)
{
	if (at >= m->text_end)
		return false;
	int c = (unsigned char)*at;
	m->work++;
	switch (*p) {
	case '.':
		return true;
	case '%':
		return in_class(c, (unsigned char)p[1]);
	case '[':
		return in_set(m, c, p, p_end - 1);
	default:
		return (unsigned char)*p == c;
	}
}

/* %bxy; p is at x. */
static const char *match_balanced(struct script_pattern *m, const char *at, const char *p)
{
	if (p >= m->pattern_end - 1) {
		wrong(m, "malformed pattern (missing arguments to '%b')");
		return NULL;
	}
	if (*at != *p)
		return NULL;
	size_t open = 1;
	for (at++; at < m->text_end; at++) {
		m->work++;
		if (*at == p[1]) {
			if (--open == 0)
				return at + 1;
		} else if (*at == p[0]) {
			open++;
		}
	}
	return NULL;
}

/* %f[set] at p (after the f): true at the border into the set; *ret_p is after it. */
static bool match_frontier(struct script_pattern *m, const char *at, const char *p, const char **ret_p)
{
	if (*p != '[')
		return wrong(m, "missing '[' after '%f' in pattern");
	const char *end = item_end(m, p);
	if (end == NULL)
		return false;
	int before = at == m->text ? '\0' : (unsigned char)at[-1];
	*ret_p = end;
	return !in_set(m, before, p, end - 1) && in_set(m, (unsigned char)*at, p, end - 1);
}

/* The longest run first, then shorter ones. */
static const char *match_most(struct script_pattern *m, const char *at, const char *p, const char *p_end)
{
	ptrdiff_t n = 0;
	while (matches_one(m, at + n, p, p_end))
		n++;
	for (; n >= 0 && step(m); n--) {
		const char *end = match(m, at + n, p_end + 1);
		if (end || m->end != PATTERN_FINE)
			return end;
	}
	return NULL;
}

static const char *match_least(struct script_pattern *m, const char *at, const char *p, const char *p_end)
{
	while (step(m)) {
		const char *end = match(m, at, p_end + 1);
		if (end || m->end != PATTERN_FINE || !matches_one(m, at, p, p_end))
			return end;
		at++;
	}
	return NULL;
}

static const char *open_capture(struct script_pattern *m, const char *at, const char *p, ptrdiff_t what)
{
	if (m->captures_count >= SCRIPT_PATTERN_CAPTURES_MAX) {
		wrong(m, "too many captures");
		return NULL;
	}
	m->captures[m->captures_count++] = (struct script_capture){ at, what };
	const char *end = match(m, at, p);
	if (end == NULL)
		m->captures_count--;
	return end;
}

static const char *close_capture(struct script_pattern *m, const char *at, const char *p)
{
	int i = m->captures_count - 1;
	while (i >= 0 && m->captures[i].n != SCRIPT_CAPTURE_OPEN)
		i--;
	if (i < 0) {
		wrong(m, "invalid pattern capture");
		return NULL;
	}
	m->captures[i].n = at - m->captures[i].start;
	const char *end = match(m, at, p);
	if (end == NULL)
		m->captures[i].n = SCRIPT_CAPTURE_OPEN;
	return end;
}

/* %1 to %9: the text of a capture again. */
static const char *match_again(struct script_pattern *m, const char *at, int digit)
{
	int i = digit - '1';
	if (i < 0 || i >= m->captures_count || m->captures[i].n == SCRIPT_CAPTURE_OPEN) {
		m->end = PATTERN_WRONG;
		snprintf(m->error, sizeof m->error, "invalid capture index %%%d", i + 1);
		return NULL;
	}
	ptrdiff_t n = m->captures[i].n;
	if (n < 0 || m->text_end - at < n) /* a position capture has no text */
		return NULL;
	m->work += (uint64_t)n / 8;
	return memcmp(m->captures[i].start, at, (size_t)n) == 0 ? at + n : NULL;
}

/* One character item with its suffix. Returns true when the match goes on at *at, *p; else *ret is the
 * answer. */
static bool match_item(struct script_pattern *m, const char **at, const char **p, const char **ret)
{
	const char *end = item_end(m, *p);
	*ret = NULL;
	if (end == NULL)
		return false;
	char suffix = end < m->pattern_end ? *end : '\0';
	bool one = matches_one(m, *at, *p, end);
	switch (suffix) {
	case '?':
		if (one) {
			*ret = match(m, *at + 1, end + 1);
			if (*ret || m->end != PATTERN_FINE)
				return false;
		}
		*p = end + 1;
		return true;
	case '+':
		if (one)
			*ret = match_most(m, *at + 1, *p, end);
		return false;
	case '*':
		*ret = match_most(m, *at, *p, end);
		return false;
	case '-':
		*ret = match_least(m, *at, *p, end);
		return false;
	default:
		if (!one)
			return false;
		++*at;
		*p = end;
		return true;
	}
}

/* The items after a '%' that are more than a class. *ret_known false: it is an ordinary item. */
static const char *match_escape(struct script_pattern *m, const char *at, const char **p, bool *ret_known)
{
	char c = (*p)[1];
	*ret_known = true;
	if (c == 'b') {
		at = match_balanced(m, at, *p + 2);
		*p += 4;
		return at;
	}
	if (c == 'f')
		return match_frontier(m, at, *p + 2, p) ? at : NULL;
	if (isdigit((unsigned char)c)) {
		*p += 2;
		return match_again(m, at, c);
	}
	*ret_known = false;
	return at;
}

static const char *match_here(struct script_pattern *m, const char *at, const char *p)
{
	const char *ret;
	while (p != m->pattern_end) {
		if (!step(m))
			return NULL;
		if (*p == '(')
			return p[1] == ')' ? open_capture(m, at, p + 2, SCRIPT_CAPTURE_POSITION)
					   : open_capture(m, at, p + 1, SCRIPT_CAPTURE_OPEN);
		if (*p == ')')
			return close_capture(m, at, p + 1);
		if (*p == '$' && p + 1 == m->pattern_end)
			return at == m->text_end ? at : NULL;
		if (*p == '%') {
			bool known;
			const char *next = match_escape(m, at, &p, &known);
			if (next == NULL)
				return NULL;
			at = next;
			if (known)
				continue;
		}
		if (!match_item(m, &at, &p, &ret))
			return ret;
	}
	return at;
}

static const char *match(struct script_pattern *m, const char *at, const char *p)
{
	if (m->depth == 0) {
		wrong(m, "pattern too complex");
		return NULL;
	}
	m->depth--;
	const char *end = match_here(m, at, p);
	m->depth++;
	return end;
}

const char *script_pattern_match(struct script_pattern *m, const char *at)
{
	m->end = PATTERN_FINE;
	m->captures_count = 0;
	m->depth = SCRIPT_PATTERN_DEPTH_MAX;
	return match(m, at, m->pattern);
}

bool script_pattern_is_special(struct str pattern)
{
	for (size_t i = 0; i < pattern.n; i++)
		if (pattern.p[i] && strchr("^$*+?.([%-", pattern.p[i]))
			return true;
	return false;
}
