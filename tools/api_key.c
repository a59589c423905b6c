#include "tools/api_key.h"
#include "runtime/str.h"

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Parsers of HTTP take blanks from both ends of a value, and refuse control characters within it. */
const char *api_key_fault(const char *key)
{
	struct str s = str_from(key);
	size_t blanks = 0;
	while (blanks < s.n && is_blank(s.p[blanks]))
		blanks++;
	if (blanks == s.n)
		return "is blank, which would leave the server open or locked for all";
	if (s.n > API_KEY_BYTES_MAX)
		return "is longer than 512 bytes";
	if (blanks > 0 || is_blank(s.p[s.n - 1]))
		return "begins or ends with a blank or a line's end, which no header can carry";
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return "has a control character, which no header can carry";
	return NULL;
}
