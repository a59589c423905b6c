#include "actors/definitions/definitions_sql.h"
#include <ctype.h>

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* That words of comments count does no harm: a table waits for one more than it needs. */
bool definitions_sql_word(struct sql_words *w, struct str *ret)
{
	while (w->at < w->end) {
		const char *from = w->at;
		if (is_word(*from)) {
			while (w->at < w->end && is_word(*w->at))
				w->at++;
			*ret = str_of(from, (size_t)(w->at - from));
			return true;
		}
		w->at++;
		if (*from != '"' && *from != '\'')
			continue;
		const char *close = memchr(w->at, *from, (size_t)(w->end - w->at));
		struct str quoted = str_of(w->at, (size_t)((close ? close : w->end) - w->at));
		w->at = close ? close + 1 : w->end;
		if (*from == '"') {
			*ret = quoted;
			return true;
		}
	}
	return false;
}

int definitions_sql_compare(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	for (size_t i = 0; i < n; i++) {
		int x = tolower((unsigned char)a.p[i]), y = tolower((unsigned char)b.p[i]);
		if (x != y)
			return x < y ? -1 : 1;
	}
	return (a.n > b.n) - (a.n < b.n);
}

bool definitions_sql_names(struct str sql, struct str name)
{
	struct sql_words words = { sql.p, sql.p + sql.n };
	struct str word;
	while (sql.p && definitions_sql_word(&words, &word))
		if (definitions_sql_compare(word, name) == 0)
			return true;
	return false;
}
