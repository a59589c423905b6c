#include "http/uri.h"
#include "runtime/encode.h"
#include "store/text/json.h"

struct str uri_decode(struct arena *arena, struct str text, bool plus)
{
	if (text.n == 0 || (memchr(text.p, '%', text.n) == NULL && !(plus && memchr(text.p, '+', text.n) != NULL)))
		return text;
	char *out = arena_alloc(arena, text.n);
	if (out == NULL)
		return (struct str){ 0 };
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (c == '%' && i + 2 < text.n) {
			int high = encode_hex_value(text.p[i + 1]), low = encode_hex_value(text.p[i + 2]);
			if (high >= 0 && low >= 0) {
				c = (char)(high << 4 | low);
				i += 2;
			}
		} else if (c == '+' && plus) {
			c = ' ';
		}
		out[n++] = c;
	}
	return str_of(out, n);
}

bool uri_escapes_are_sound(struct str text)
{
	for (const char *p; text.n > 0 && (p = memchr(text.p, '%', text.n)) != NULL;) {
		text = str_skip(text, (size_t)(p - text.p) + 1);
		if (text.n < 2 || encode_hex_value(text.p[0]) < 0 || encode_hex_value(text.p[1]) < 0)
			return false;
	}
	return true;
}

bool uri_query(struct arena *arena, struct str query, const char *name, struct str *ret_value)
{
	if (query.n == 0)
		return false;
	struct str wanted = str_from(name);
	const char *p = query.p, *end = query.p + query.n;
	while (p < end) {
		/* As nearly all clients write it; any other spelling of the key is read below. */
		bool is_raw = (size_t)(end - p) > wanted.n && p[wanted.n] == '=' && memcmp(p, wanted.p, wanted.n) == 0;
		const char *amp = memchr(p, '&', (size_t)(end - p));
		const char *stop = amp ? amp : end;
		const char *equals = is_raw ? p + wanted.n : memchr(p, '=', (size_t)(stop - p));
		const char *key_end = equals ? equals : stop;
		if (is_raw || str_eq(uri_decode(arena, str_of(p, (size_t)(key_end - p)), true), wanted)) {
			const char *value = equals ? equals + 1 : stop;
			*ret_value = uri_decode(arena, str_of(value, (size_t)(stop - value)), true);
			return true;
		}
		p = stop + 1;
	}
	return false;
}

bool uri_query_next(struct arena *arena, struct str *query, struct str *ret_name, struct str *ret_value)
{
	while (query->n > 0 && query->p[0] == '&')
		*query = str_skip(*query, 1);
	if (query->n == 0)
		return false;
	const char *amp = memchr(query->p, '&', query->n);
	struct str pair = str_of(query->p, amp ? (size_t)(amp - query->p) : query->n);
	const char *equals = memchr(pair.p, '=', pair.n);
	size_t name_n = equals ? (size_t)(equals - pair.p) : pair.n;
	*query = str_skip(*query, pair.n);
	*ret_name = uri_decode(arena, str_of(pair.p, name_n), true);
	*ret_value = uri_decode(arena, str_skip(pair, equals ? name_n + 1 : name_n), true);
	return true;
}

/* Separators are ASCII, so a text is valid as a whole exactly when each of its parts is. */
bool uri_query_is_utf8(struct arena *arena, struct str query)
{
	struct str text = uri_decode(arena, query, true);
	return text.p != NULL && json_utf8_valid(text);
}
