/* Which tables an SQL text names, as far as its words tell. */
#pragma once
#include "runtime/str.h"

struct sql_words { /* of an SQL text; borrows it */
	const char *at, *end;
};

/* The next word, or name in double quotes; literals are left out. Words of comments are found too. false: there is none. */
bool definitions_sql_word(struct sql_words *w, struct str *ret);
/* As SQL compares names: the case of ASCII letters makes no difference. */
int definitions_sql_compare(struct str a, struct str b);
/* Whether one of its words is the name. */
bool definitions_sql_names(struct str sql, struct str name);
