#include "runtime/log_line.h"
#include "runtime/digits.h"
#include <math.h>
#include <stdio.h>
#include <time.h>

/* Bytes kept free for what closes a line: the dropped and truncated fields, the brace and the newline. */
enum { TAIL_ROOM = 64 };

struct out {
	char *at, *end;
	bool full; /* the field being written did not fit */
};

static inline void put(struct out *o, const char *p, size_t n)
{
	if ((size_t)(o->end - o->at) < n) {
		o->full = true;
		return;
	}
	memcpy(o->at, p, n);
	o->at += n;
}

static inline void put_str(struct out *o, struct str s)
{
	if (s.n)
		put(o, s.p, s.n);
}

static void put_u64(struct out *o, uint64_t v)
{
	char digits[20], *end = digits + sizeof digits, *at = digits_before(end, v);
	put(o, at, (size_t)(end - at));
}

static void put_i64(struct out *o, int64_t v)
{
	if (v < 0)
		put(o, "-", 1);
	put_u64(o, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* Six decimals, without trailing zeros; what that cannot show goes the slow way. JSON has no NaN and no
 * infinity. */
static void put_float(struct out *o, double v)
{
	double size = fabs(v);
	if (!isfinite(v)) {
		put(o, "null", 4);
		return;
	}
	if (size > 1e12 || (size < 1e-3 && size > 0)) {
		char text[32];
		put(o, text, (size_t)snprintf(text, sizeof text, "%.9g", v));
		return;
	}
	uint64_t micros = (uint64_t)(size * 1e6 + 0.5);
	if (v < 0)
		put(o, "-", 1);
	put_u64(o, micros / 1000000);
	uint64_t part = micros % 1000000;
	if (part == 0)
		return;
	char text[7] = ".";
	size_t n = 7;
	for (size_t i = 6; i > 0; i--, part /= 10)
		text[i] = (char)('0' + part % 10);
	while (text[n - 1] == '0')
		n--;
	put(o, text, n);
}

/* Length of the well-formed UTF-8 sequence at p, 0 when it is none (Unicode 15, table 3-7: no overlong forms,
 * no surrogates, nothing above U+10FFFF). p[0] is 0x80 or more. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] < 0xc2 || p[0] > 0xf4 || n < len)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Zero-byte tests on a word (Mycroft 1987). A byte that is plain may be taken for one that is not, not the other way. */
static bool are_plain(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101ull, tops = ones << 7;
	uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
	return !((w | (w - ones * 0x20) | (quote - ones) | (slash - ones)) & tops);
}

/* Fewer than 8 bytes as a word, some twice where they are few; never reads behind them. */
static uint64_t up_to_8(const unsigned char *p, size_t n)
{
	uint32_t low, high;
	if (n == 0)
		return 0x2020202020202020ull;
	if (n < 4)
		return 0x2020202020000000ull | p[0] | (uint64_t)p[n / 2] << 8 | (uint64_t)p[n - 1] << 16;
	memcpy(&low, p, 4);
	memcpy(&high, p + n - 4, 4);
	return (uint64_t)high << 32 | low;
}

/* How many of the first bytes need no escape. */
static size_t plain_run(const unsigned char *p, size_t n)
{
	size_t i = 0;
	for (; n - i >= 8; i += 8) {
		uint64_t w;
		memcpy(&w, p + i, 8);
		if (!are_plain(w))
			break;
	}
	if (n - i < 8 && are_plain(up_to_8(p + i, n - i)))
		return n;
	while (i < n && is_plain(p[i]))
		i++;
	return i;
}

/* One byte or sequence that is not plain; returns the bytes it used. */
static size_t put_escaped(struct out *o, const unsigned char *p, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	if (p[0] >= 0x80) {
		size_t len = utf8_sequence(p, n);
		put(o, len ? (const char *)p : "\xef\xbf\xbd", len ? len : 3);
		return len ? len : 1;
	}
	char code[6] = { '\\', 'u', '0', '0', hex[p[0] >> 4], hex[p[0] & 15] };
	const char *at = p[0] == '"' || p[0] == '\\' ? (const char *)p : NULL;
	if (at || p[0] == '\n' || p[0] == '\t' || p[0] == '\r') {
		code[1] = at ? *at : p[0] == '\n' ? 'n' : p[0] == '\t' ? 't' : 'r';
		put(o, code, 2);
	} else {
		put(o, code, sizeof code);
	}
	return 1;
}

/* A text that outgrows its share of the line is cut between characters and ends in three dots. */
static void put_text(struct out *o, struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	char *line_end = o->end;
	if (line_end - o->at < 16) {
		o->full = true;
		return;
	}
	if (s.n < LOG_TEXT_MAX / 2 && (size_t)(line_end - o->at) > s.n + 2 && plain_run(p, s.n) == s.n) {
		put(o, "\"", 1);
		put_str(o, s);
		put(o, "\"", 1);
		return;
	}
	put(o, "\"", 1);
	o->end = (line_end - o->at > LOG_TEXT_MAX ? o->at + LOG_TEXT_MAX : line_end) - 4;
	for (size_t i = 0; i < s.n && !o->full;) {
		size_t run = plain_run(p + i, s.n - i), room = (size_t)(o->end - o->at);
		put(o, (const char *)p + i, run < room ? run : room);
		o->full = run > room;
		i += run;
		if (i < s.n && !o->full)
			i += put_escaped(o, p + i, s.n - i);
	}
	o->end = line_end;
	if (o->full)
		put(o, "...", 3);
	o->full = false;
	put(o, "\"", 1);
}

static void put_2(char *p, int v)
{
	memcpy(p, digit_pair((unsigned)v), 2);
}

/* The calendar is worked out once a second and thread. */
static void put_time(struct out *o, int64_t wall_us)
{
	static _Thread_local int64_t cached = INT64_MIN;
	static _Thread_local char text[] = "YYYY-MM-DDThh:mm:ss.mmmZ";
	int64_t second = wall_us / 1000000;
	if (second != cached) {
		time_t t = second;
		struct tm tm;
		gmtime_r(&t, &tm);
		put_2(text, (tm.tm_year + 1900) / 100);
		put_2(text + 2, tm.tm_year % 100);
		put_2(text + 5, tm.tm_mon + 1);
		put_2(text + 8, tm.tm_mday);
		put_2(text + 11, tm.tm_hour);
		put_2(text + 14, tm.tm_min);
		put_2(text + 17, tm.tm_sec);
		cached = second;
	}
	int ms = (int)(wall_us / 1000 % 1000);
	text[20] = (char)('0' + ms / 100);
	put_2(text + 21, ms % 100);
	put(o, text, sizeof text - 1);
}

static void put_value(struct out *o, const struct log_field *f)
{
	switch (f->type) {
	case LOG_T_STR:
		put_text(o, f->s);
		break;
	case LOG_T_INT:
		put_i64(o, f->i);
		break;
	case LOG_T_FLOAT:
		put_float(o, f->f);
		break;
	case LOG_T_BOOL:
		put_str(o, f->b ? STR("true") : STR("false"));
		break;
	case LOG_T_RAW:
		put_str(o, f->s.n ? f->s : STR("null"));
		break;
	}
}

static void put_name(struct out *o, const char *name)
{
	put(o, ",\"", 2);
	put_str(o, str_from(name));
	put(o, "\":", 2);
}

/* Returns whether a field was left out. */
static bool put_fields(struct out *o, const struct log_entry *entry)
{
	static const char *const levels[] = { "DEBUG", "INFO", "WARNING", "ERROR" };
	put_str(o, STR("\"level\":\""));
	put_str(o, str_from(levels[entry->level]));
	put_str(o, STR("\",\"logger\":"));
	put_text(o, str_from(entry->logger));
	put_str(o, STR(",\"message\":"));
	put_text(o, str_from(entry->message));
	bool cut = false;
	for (const struct log_field *f = entry->fields; f && f->name; f++) {
		char *before = o->at;
		put_name(o, f->name);
		put_value(o, f);
		if (o->full) { /* this one does not fit; a shorter one after it may */
			o->at = before;
			o->full = false;
			cut = true;
		}
	}
	return cut;
}

size_t log_line_format(char line[LOG_LINE_MAX], const struct log_entry *entry)
{
	struct out o = { line, line + LOG_LINE_MAX - TAIL_ROOM, false };
	bool cut = false;
	put_str(&o, STR("{\"timestamp\":\""));
	put_time(&o, entry->wall_us);
	put_str(&o, STR("\","));
	if (entry->members.p != NULL)
		put_str(&o, entry->members);
	else
		cut = put_fields(&o, entry);
	o.end = line + LOG_LINE_MAX;
	if (cut)
		put_str(&o, STR(",\"truncated\":true"));
	if (entry->dropped) {
		put_name(&o, "dropped");
		put_u64(&o, entry->dropped);
	}
	put(&o, "}\n", 2);
	return (size_t)(o.at - line);
}
