#include "runtime/config.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct str trim(struct str s)
{
	while (s.n && is_blank(s.p[0]))
		s = str_skip(s, 1);
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool is_word(struct str s, const char *word)
{
	return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static bool is_digit(struct str s)
{
	return s.n && s.p[0] >= '0' && s.p[0] <= '9';
}

/* Moves *s past its leading digits. false: none, or more than fits. */
static bool take_number(struct str *s, uint64_t *ret_value)
{
	uint64_t v = 0;
	if (!is_digit(*s))
		return false;
	for (; is_digit(*s); *s = str_skip(*s, 1))
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(s->p[0] - '0'), &v))
			return false;
	*ret_value = v;
	return true;
}

struct unit {
	const char *name;
	uint64_t size;
};

static uint64_t unit_size(struct str name, const struct unit *units)
{
	for (const struct unit *u = units; u->name; u++)
		if (is_word(name, u->name))
			return u->size;
	return 0;
}

bool config_parse_duration(struct str text, int64_t *ret_ms)
{
	static const struct unit units[] = { { "ms", 1 },      { "s", 1000 },     { "m", 60000 },
					     { "h", 3600000 }, { "d", 86400000 }, { 0 } };
	struct str s = trim(text);
	uint64_t whole, fraction = 0, scale = 1, ms;
	if (!take_number(&s, &whole))
		return false;
	if (s.n && s.p[0] == '.') {
		s = str_skip(s, 1);
		if (!is_digit(s))
			return false;
		/* Nine digits are finer than a millisecond of a day; the rest cannot change the result. */
		for (; is_digit(s); s = str_skip(s, 1))
			if (scale < 1000000000) {
				fraction = fraction * 10 + (uint64_t)(s.p[0] - '0');
				scale *= 10;
			}
	}
	uint64_t unit = unit_size(s, units);
	if (unit == 0 || __builtin_mul_overflow(whole, unit, &ms) ||
	    __builtin_add_overflow(ms, fraction * unit / scale, &ms) || ms > INT64_MAX)
		return false;
	*ret_ms = (int64_t)ms;
	return true;
}

bool config_parse_bool(struct str text, bool *ret_value)
{
	static const char *const words[][6] = { { "0", "false", "f", "no", "n", "off" },
						{ "1", "true", "t", "yes", "y", "on" } };
	struct str s = trim(text);
	for (int value = 0; value < 2; value++)
		for (int i = 0; i < 6; i++)
			if (is_word(s, words[value][i])) {
				*ret_value = value;
				return true;
			}
	return false;
}

bool config_parse_bytes(struct str text, uint64_t *ret_bytes)
{
	static const struct unit units[] = {
		{ "", 1 }, { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 }, { 0 }
	};
	struct str s = trim(text);
	uint64_t n;
	if (!take_number(&s, &n))
		return false;
	uint64_t unit = unit_size(s, units);
	if (unit == 0 || __builtin_mul_overflow(n, unit, &n))
		return false;
	*ret_bytes = n;
	return true;
}

/* false: unset or blank. */
static bool variable(const char *name, struct str *ret_text)
{
	*ret_text = trim(str_from(getenv(name)));
	return ret_text->n > 0;
}

/* One line: the variable, its value (shortened, on one line), what is wrong and how to cure it. */
static void complain(struct buf *errors, const char *name, struct str value, const char *cure)
{
	enum { SHOWN_MAX = 80 };
	if (errors == NULL)
		return;
	buf_printf(errors, "%s=\"", name);
	struct str shown = str_first(value, SHOWN_MAX);
	for (size_t i = 0; i < shown.n; i++)
		buf_append_char(errors, (unsigned char)shown.p[i] < ' ' ? '?' : shown.p[i]);
	buf_printf(errors, "%s\" %s\n", shown.n < value.n ? "..." : "", cure);
}

const char *config_str(const char *name, const char *fallback)
{
	struct str text;
	return variable(name, &text) ? getenv(name) : fallback;
}

static bool parse_int(struct str s, int64_t *ret_value)
{
	bool negative = s.n && s.p[0] == '-';
	uint64_t magnitude;
	if (negative)
		s = str_skip(s, 1);
	if (!take_number(&s, &magnitude) || s.n || magnitude > (uint64_t)INT64_MAX + negative)
		return false;
	*ret_value = (int64_t)(negative ? 0 - magnitude : magnitude);
	return true;
}

int64_t config_int(const char *name, int64_t fallback, int64_t min, int64_t max, struct buf *errors)
{
	struct str text;
	int64_t v;
	if (!variable(name, &text))
		return fallback;
	if (parse_int(text, &v) && v >= min && v <= max)
		return v;
	char cure[160];
	snprintf(cure, sizeof cure,
		 "is not a whole number from %" PRId64 " to %" PRId64 "; set one, or unset it for %" PRId64, min, max,
		 fallback);
	complain(errors, name, text, cure);
	return fallback;
}

bool config_bool(const char *name, bool fallback, struct buf *errors)
{
	struct str text;
	bool v;
	if (!variable(name, &text))
		return fallback;
	if (config_parse_bool(text, &v))
		return v;
	complain(errors, name, text, "is neither true nor false; set 1, true, yes or on, or 0, false, no or off");
	return fallback;
}

int64_t config_duration_ms(const char *name, int64_t fallback_ms, struct buf *errors)
{
	struct str text;
	int64_t ms;
	if (!variable(name, &text))
		return fallback_ms;
	if (config_parse_duration(text, &ms))
		return ms;
	complain(errors, name, text,
		 "is not a duration; write a number and a unit, such as 500ms, 30s, 5m, 1.5h or 1d");
	return fallback_ms;
}

uint64_t config_bytes(const char *name, uint64_t fallback, struct buf *errors)
{
	struct str text;
	uint64_t n;
	if (!variable(name, &text))
		return fallback;
	if (config_parse_bytes(text, &n))
		return n;
	complain(errors, name, text, "is not a size; write bytes such as 1048576, or 64KiB, 1MiB or 2GiB");
	return fallback;
}
