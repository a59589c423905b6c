/* Why a text is not the JSON we take, in the words of Python's json module: Fabra's clients know them. Runs
 * only after json_parse has refused; one pass, no recursion. */
#include "store/text/json_text.h"
#include "runtime/check.h"

struct scan {
	struct str text;
	size_t at;
	struct json_error error;                           /* what is NULL while all is well */
	unsigned long long is_object[JSON_DEPTH_MAX / 64]; /* one bit per open container */
	size_t depth;
};

static bool fail(struct scan *s, size_t at, const char *what)
{
	s->error = (struct json_error){ at, what };
	return false;
}

/* '\0' at the end: no JSON text has one outside of a string. */
static char peek(const struct scan *s)
{
	return s->at < s->text.n ? s->text.p[s->at] : '\0';
}

static void skip_space(struct scan *s)
{
	while (s->at < s->text.n && strchr(" \t\n\r", s->text.p[s->at]) && s->text.p[s->at])
		s->at++;
}

/* ---- strings ---- */

/* Python wants something behind the digits too: a text that ends there has a bad escape, no open string. */
static bool scan_hex4(const struct scan *s, size_t at, unsigned *ret)
{
	unsigned value = 0;
	if (s->text.n - at < 5)
		return false;
	for (size_t i = at; i < at + 4; i++) {
		char c = s->text.p[i], lower = (char)(c | 0x20);
		if (c >= '0' && c <= '9')
			value = value * 16 + (unsigned)(c - '0');
		else if (lower >= 'a' && lower <= 'f')
			value = value * 16 + (unsigned)(lower - 'a' + 10);
		else
			return false;
	}
	*ret = value;
	return true;
}

/* At the 'u' of an escape. */
static bool scan_unicode_escape(struct scan *s)
{
	size_t u_at = s->at;
	unsigned first, second;
	if (!scan_hex4(s, u_at + 1, &first))
		return fail(s, u_at, "Invalid \\uXXXX escape");
	s->at += 5;
	if (first < 0xd800 || first > 0xdfff)
		return true;
	bool paired = first < 0xdc00 && s->text.n - s->at >= 6 && s->text.p[s->at] == '\\' &&
		      s->text.p[s->at + 1] == 'u' && scan_hex4(s, s->at + 2, &second) && second >= 0xdc00 &&
		      second <= 0xdfff;
	if (!paired)
		return fail(s, u_at, "Unpaired surrogate in \\uXXXX escape");
	s->at += 6;
	return true;
}

static bool scan_escape(struct scan *s, size_t opening_at)
{
	size_t backslash_at = s->at++;
	if (s->at >= s->text.n)
		return fail(s, opening_at, "Unterminated string starting at");
	char c = peek(s);
	if (c == 'u')
		return scan_unicode_escape(s);
	if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
		return fail(s, backslash_at, "Invalid \\escape");
	s->at++;
	return true;
}

/* At the opening quote. */
static bool scan_string(struct scan *s)
{
	size_t opening_at = s->at++;
	while (s->at < s->text.n) {
		unsigned char c = (unsigned char)s->text.p[s->at];
		if (c == '"') {
			s->at++;
			return true;
		}
		if (c < 0x20)
			return fail(s, s->at, "Invalid control character at");
		if (c == '\\') {
			if (!scan_escape(s, opening_at))
				return false;
			continue;
		}
		size_t n = utf8_sequence((const unsigned char *)s->text.p + s->at, s->text.n - s->at);
		if (n == 0)
			return fail(s, s->at, "Invalid UTF-8");
		s->at += n;
	}
	return fail(s, opening_at, "Unterminated string starting at");
}

/* ---- numbers and words ---- */

static size_t digits_at(const struct scan *s, size_t at)
{
	size_t n = 0;
	while (at + n < s->text.n && s->text.p[at + n] >= '0' && s->text.p[at + n] <= '9')
		n++;
	return n;
}

/* The longest number from here, as Python's scanner sees it: what follows is the next token's problem. */
static bool scan_number(struct scan *s)
{
	size_t start = s->at, at = s->at;
	if (s->text.p[at] == '-')
		at++;
	size_t whole = digits_at(s, at);
	if (whole == 0)
		return fail(s, start, "Expecting value");
	at += s->text.p[at] == '0' ? 1 : whole;
	bool is_float = false;
	if (at < s->text.n && s->text.p[at] == '.' && digits_at(s, at + 1)) {
		at += 1 + digits_at(s, at + 1);
		is_float = true;
	}
	if (at < s->text.n && (s->text.p[at] | 0x20) == 'e') {
		size_t sign = at + 1 < s->text.n && (s->text.p[at + 1] == '+' || s->text.p[at + 1] == '-');
		size_t digits = digits_at(s, at + 1 + sign);
		if (digits) {
			at += 1 + sign + digits;
			is_float = true;
		}
	}
	if (!json_number_fits(str_of(s->text.p + start, at - start)))
		return fail(s, start, is_float ? "Number out of range" : "Integer beyond 64 bits");
	s->at = at;
	return true;
}

static bool scan_word(struct scan *s)
{
	static const struct str words[] = { { "true", 4 }, { "false", 5 }, { "null", 4 } };
	struct str rest = str_of(s->text.p + s->at, s->text.n - s->at);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_starts(rest, words[i])) {
			s->at += words[i].n;
			return true;
		}
	}
	return fail(s, s->at, "Expecting value");
}

/* ---- containers ---- */

static bool in_object(const struct scan *s)
{
	size_t top = s->depth - 1;
	return s->is_object[top / 64] >> (top % 64) & 1;
}

static bool open_container(struct scan *s, bool object)
{
	if (s->depth == JSON_DEPTH_MAX)
		return fail(s, s->at, "Nested too deeply");
	unsigned long long bit = 1ull << (s->depth % 64);
	if (object)
		s->is_object[s->depth / 64] |= bit;
	else
		s->is_object[s->depth / 64] &= ~bit;
	s->depth++;
	s->at++;
	skip_space(s);
	return true;
}

static bool scan_key(struct scan *s)
{
	if (peek(s) != '"')
		return fail(s, s->at, "Expecting property name enclosed in double quotes");
	if (!scan_string(s))
		return false;
	skip_space(s);
	if (peek(s) != ':')
		return fail(s, s->at, "Expecting ':' delimiter");
	s->at++;
	skip_space(s);
	return true;
}

/* One value, or the opening of a container with what must come before its first value. *ret_open: a value
 * is due next. */
static bool scan_value(struct scan *s, bool *ret_open)
{
	char c = peek(s);
	*ret_open = false;
	if (c == '{' || c == '[') {
		if (!open_container(s, c == '{'))
			return false;
		if (peek(s) == (c == '{' ? '}' : ']')) {
			s->at++;
			s->depth--;
			return true;
		}
		*ret_open = true;
		return c == '[' || scan_key(s);
	}
	if (c == '"')
		return scan_string(s);
	if (c == '-' || (c >= '0' && c <= '9'))
		return scan_number(s);
	return scan_word(s);
}

/* After a value: closes what closes here. *ret_more: a value is due next. */
static bool scan_after_value(struct scan *s, bool *ret_more)
{
	*ret_more = false;
	for (skip_space(s); s->depth; skip_space(s)) {
		bool object = in_object(s);
		char c = peek(s);
		if (c == ',') {
			s->at++;
			skip_space(s);
			*ret_more = true;
			return !object || scan_key(s);
		}
		if (c != (object ? '}' : ']'))
			return fail(s, s->at, "Expecting ',' delimiter");
		s->at++;
		s->depth--;
	}
	return true;
}

bool json_diagnose(struct str text, struct json_error *ret_error)
{
	struct scan s = { .text = text };
	if (str_starts(text, STR("\xef\xbb\xbf"))) {
		*ret_error = (struct json_error){ 0, "Unexpected UTF-8 BOM (decode using utf-8-sig)" };
		return true;
	}
	skip_space(&s);
	for (bool due = true; due;) {
		if (!scan_value(&s, &due) || (!due && !scan_after_value(&s, &due)))
			break;
	}
	if (s.error.what == NULL && s.at < text.n)
		fail(&s, s.at, "Extra data");
	if (s.error.what)
		*ret_error = s.error;
	return s.error.what != NULL;
}
