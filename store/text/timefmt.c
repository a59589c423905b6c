#include "store/text/timefmt.h"
#include "runtime/digits.h"
#include <math.h>

#define US_PER_SECOND 1000000ll
#define US_PER_MINUTE (60 * US_PER_SECOND)
#define US_PER_DAY    (86400 * US_PER_SECOND)
#define US_FIRST      (-719162 * US_PER_DAY)     /* 0001-01-01T00:00:00 */
#define US_LAST       (2932897 * US_PER_DAY - 1) /* 9999-12-31T23:59:59.999999 */
#define ZONE_MIN_MAX  (24 * 60 - 1)

enum { TEXT_MAX = 40 };

/* Days and dates: the method of Howard Hinnant, "chrono-compatible low-level date algorithms". Years start
 * in March, so that the leap day is a year's last, and eras of 400 years repeat exactly. */
static int64_t days_from_civil(int year, int month, int day)
{
	year -= month <= 2;
	int era = (year >= 0 ? year : year - 399) / 400;
	int year_of_era = year - era * 400;
	int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return (int64_t)era * 146097 + day_of_era - 719468;
}

static void civil_from_days(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
	days += 719468;
	int era = (int)((days >= 0 ? days : days - 146096) / 146097);
	int day_of_era = (int)(days - (int64_t)era * 146097);
	int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int shifted = (5 * day_of_year + 2) / 153;
	*ret_day = day_of_year - (153 * shifted + 2) / 5 + 1;
	*ret_month = shifted < 10 ? shifted + 3 : shifted - 9;
	*ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

/* ---- writing ---- */

static char *put_pair(char *at, int value)
{
	memcpy(at, digit_pair((unsigned)value), 2);
	return at + 2;
}

static char *put_local(char *at, int64_t us)
{
	us = us < US_FIRST ? US_FIRST : us > US_LAST ? US_LAST : us;
	int64_t days = (us >= 0 ? us : us - (US_PER_DAY - 1)) / US_PER_DAY;
	int64_t rest = us - days * US_PER_DAY;
	int second = (int)(rest / US_PER_SECOND), fraction = (int)(rest % US_PER_SECOND);
	int year, month, day;
	civil_from_days(days, &year, &month, &day);
	at = put_pair(put_pair(at, year / 100), year % 100);
	*at++ = '-';
	at = put_pair(at, month);
	*at++ = '-';
	at = put_pair(at, day);
	*at++ = 'T';
	at = put_pair(at, second / 3600);
	*at++ = ':';
	at = put_pair(at, second / 60 % 60);
	*at++ = ':';
	at = put_pair(at, second % 60);
	if (fraction) {
		*at++ = '.';
		at = put_pair(put_pair(put_pair(at, fraction / 10000), fraction / 100 % 100), fraction % 100);
	}
	return at;
}

static void write_with_suffix(struct buf *out, int64_t us, struct str suffix)
{
	char text[TEXT_MAX];
	char *at = put_local(text, us);
	memcpy(at, suffix.p, suffix.n);
	buf_append(out, text, (size_t)(at - text) + suffix.n);
}

void time_write_z(struct buf *out, int64_t us)
{
	write_with_suffix(out, us, STR("Z"));
}

void time_write_offset(struct buf *out, int64_t us)
{
	write_with_suffix(out, us, STR("+00:00"));
}

void time_write_naive(struct buf *out, int64_t us)
{
	write_with_suffix(out, us, STR(""));
}

void time_write_zoned(struct buf *out, int64_t us, int16_t zone_min)
{
	if (zone_min == 0) {
		time_write_z(out, us);
		return;
	}
	if (zone_min == TIME_NAIVE) {
		time_write_naive(out, us);
		return;
	}
	int minutes = zone_min < 0 ? -zone_min : zone_min;
	char suffix[6] = { zone_min < 0 ? '-' : '+' };
	char *at = put_pair(suffix + 1, minutes / 60);
	*at++ = ':';
	put_pair(at, minutes % 60);
	write_with_suffix(out, us + zone_min * US_PER_MINUTE, str_of(suffix, sizeof suffix));
}

/* ---- reading ---- */

/* Exactly `digits` digits; false leaves *s as it was. */
static bool take_number(struct str *s, int digits, int *ret)
{
	int value = 0;
	if (s->n < (size_t)digits)
		return false;
	for (int i = 0; i < digits; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return false;
		value = value * 10 + (s->p[i] - '0');
	}
	*s = str_skip(*s, (size_t)digits);
	*ret = value;
	return true;
}

static bool take_char(struct str *s, const char *any_of)
{
	if (s->n == 0 || s->p[0] == '\0' || strchr(any_of, s->p[0]) == NULL)
		return false;
	*s = str_skip(*s, 1);
	return true;
}

static bool take_date(struct str *s, int64_t *ret_days)
{
	static const signed char month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year, month, day;
	if (!take_number(s, 4, &year) || !take_char(s, "-") || !take_number(s, 2, &month) || !take_char(s, "-") ||
	    !take_number(s, 2, &day))
		return false;
	if (year < 1 || month < 1 || month > 12 || day < 1)
		return false;
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	if (day > month_days[month - 1] + (month == 2 && leap))
		return false;
	*ret_days = days_from_civil(year, month, day);
	return true;
}

static bool take_fraction(struct str *s, int64_t *ret_us)
{
	int64_t us = 0;
	int digits = 0;
	for (int one; take_number(s, 1, &one); digits++) {
		if (digits < 6)
			us = us * 10 + one;
	}
	if (digits < 1 || digits > 9)
		return false;
	for (int i = digits; i < 6; i++)
		us *= 10;
	*ret_us = us;
	return true;
}

static bool take_clock(struct str *s, int64_t *ret_us)
{
	int hour, minute, second = 0;
	int64_t fraction_us = 0;
	if (!take_number(s, 2, &hour) || !take_char(s, ":") || !take_number(s, 2, &minute))
		return false;
	if (take_char(s, ":")) {
		if (!take_number(s, 2, &second))
			return false;
		if (take_char(s, ".,") && !take_fraction(s, &fraction_us))
			return false;
	}
	if (hour > 23 || minute > 59 || second > 59)
		return false;
	*ret_us = ((hour * 60 + minute) * 60 + second) * US_PER_SECOND + fraction_us;
	return true;
}

static bool take_zone(struct str *s, int16_t *ret_zone_min)
{
	if (s->n == 0) {
		*ret_zone_min = TIME_NAIVE;
		return true;
	}
	if (take_char(s, "Zz")) {
		*ret_zone_min = 0;
		return true;
	}
	bool west = s->p[0] == '-';
	int hour, minute;
	if (!take_char(s, "+-") || !take_number(s, 2, &hour))
		return false;
	take_char(s, ":");
	if (!take_number(s, 2, &minute) || minute > 59 || hour * 60 + minute > ZONE_MIN_MAX)
		return false;
	*ret_zone_min = (int16_t)(west ? -(hour * 60 + minute) : hour * 60 + minute);
	return true;
}

bool time_parse_zoned(struct str text, int64_t *ret_us, int16_t *ret_zone_min)
{
	int64_t days, clock_us = 0;
	int16_t zone_min = TIME_NAIVE;
	if (!take_date(&text, &days))
		return false;
	if (text.n && !(take_char(&text, "Tt _") && take_clock(&text, &clock_us) && take_zone(&text, &zone_min)))
		return false;
	if (text.n)
		return false;
	*ret_us = days * US_PER_DAY + clock_us - (zone_min == TIME_NAIVE ? 0 : zone_min * US_PER_MINUTE);
	*ret_zone_min = zone_min;
	return true;
}

bool time_parse(struct str text, int64_t *ret_us)
{
	int64_t us;
	int16_t zone_min;
	if (!time_parse_zoned(text, &us, &zone_min) || us < US_FIRST || us > US_LAST)
		return false;
	*ret_us = us;
	return true;
}

bool time_parse_ns(struct str text, int64_t *ret_us, uint16_t *ret_ns)
{
	if (!time_parse(text, ret_us))
		return false;
	size_t at = 0;
	while (at < text.n && text.p[at] != '.' && text.p[at] != ',')
		at++;
	unsigned ns = 0, digits = 0;
	for (size_t i = at + 1; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
		if (++digits > 6) /* what time_parse has cut off */
			ns = ns * 10 + (unsigned)(text.p[i] - '0');
	for (; digits > 6 && digits < 9; digits++)
		ns *= 10;
	*ret_ns = (uint16_t)ns;
	return true;
}

void time_write_z_ns(struct buf *out, int64_t us, uint16_t ns)
{
	time_write_z(out, us);
	if (ns == 0 || out->failed || out->n == 0)
		return;
	out->n--; /* the Z */
	buf_printf(out, "%s%03uZ", us % US_PER_SECOND ? "" : ".000000", (unsigned)ns);
}

bool time_from_unix(double seconds, int64_t *ret_us)
{
	if (fabs(seconds) > 2e10)
		seconds /= 1000;
	double first = (double)(US_FIRST / US_PER_SECOND), end = (double)((US_LAST + 1) / US_PER_SECOND);
	if (!(seconds >= first && seconds < end))
		return false;
	double whole = floor(seconds);
	*ret_us = (int64_t)whole * US_PER_SECOND + llround((seconds - whole) * (double)US_PER_SECOND);
	if (*ret_us > US_LAST)
		*ret_us = US_LAST;
	return true;
}
