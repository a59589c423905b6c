/* Percent-encoding and query strings, as Python's urllib reads them: '&' separates, a broken escape stays as
 * it is (requests with one are refused before they are read). */
#pragma once
#include "runtime/arena.h"

/* Decodes %XX, and '+' to a space when plus is set. Returns text itself when nothing is encoded, else a copy
 * in the arena; .p is NULL only when the arena is full. */
struct str uri_decode(struct arena *arena, struct str text, bool plus);

/* The first value of a name in a query string (without '?'), decoded. A name without '=' has an empty value.
 */
bool uri_query(struct arena *arena, struct str query, const char *name, struct str *ret_value);

/* Is each '%' followed by two hexadecimal digits? */
bool uri_escapes_are_sound(struct str text);

/* Takes the next pair off *query, both parts decoded; empty ones are passed over. false: there is none. */
bool uri_query_next(struct arena *arena, struct str *query, struct str *ret_name, struct str *ret_value);

/* Is the whole query string UTF-8 once it is decoded? false also when the arena is full. */
bool uri_query_is_utf8(struct arena *arena, struct str query);
