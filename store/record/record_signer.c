/* The signing key from the environment. The key's text never leaves this file. */
#include "runtime/encode.h"
#include "store/record/record.h"
#include <openssl/crypto.h>
#include <stdlib.h>
#include <strings.h>

enum { KEY_DECODED_MAX = 258 }; /* 344 characters of base64 hold 256 to 258 bytes */

static struct str trimmed(const char *c_string)
{
	struct str s = str_from(c_string);
	while (s.n && strchr(" \t\r\n", s.p[0]))
		s = str_skip(s, 1);
	while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool is_one_of(struct str s, const char *const *words)
{
	for (; *words; words++) {
		if (strlen(*words) == s.n && (s.n == 0 || strncasecmp(*words, s.p, s.n) == 0))
			return true;
	}
	return false;
}

#define KEY_CURE "use base64: and the output of: openssl rand -base64 32"

static bool load_key(struct record_signer *s, struct str text, struct buf *errors)
{
	const char *why = NULL;
	bool base64 = str_starts(text, STR("base64:")), hex = str_starts(text, STR("hex:"));
	struct str rest = str_skip(text, base64 ? 7 : hex ? 4 : 0);
	size_t bytes_at_most = base64 ? rest.n / 4 * 3 : hex ? rest.n / 2 : rest.n;
	unsigned char decoded[KEY_DECODED_MAX];
	size_t n = bytes_at_most;
	if (bytes_at_most > sizeof decoded)
		why = "longer than 256 bytes";
	else if (base64 && !encode_unbase64(rest, decoded, &n))
		why = "what follows base64: is not padded base64";
	else if (hex && !encode_unhex(rest, decoded))
		why = "what follows hex: is not pairs of hex digits";
	else if (n == 0 || n > sizeof s->key)
		why = n ? "longer than 256 bytes" : "no bytes behind the prefix";
	if (why) {
		buf_printf(errors, "FABRA_SIGNING_KEY: %s; " KEY_CURE "\n", why);
		return false;
	}
	memcpy(s->key, base64 || hex ? (const void *)decoded : rest.p, n);
	s->key_bytes = n;
	OPENSSL_cleanse(decoded, sizeof decoded);
	return true;
}

bool record_signer_load(struct record_signer *ret, struct buf *errors)
{
	static const char *const off[] = { "off", "disabled", "false", "0", NULL };
	static const char *const optional[] = { "", "optional", NULL };
	static const char *const required[] = { "required", "require", "true", "1", NULL };
	const char *key_text = getenv("FABRA_SIGNING_KEY");
	struct str key = trimmed(key_text);
	struct str id = trimmed(getenv("FABRA_SIGNING_KEY_ID"));
	struct str mode = trimmed(getenv("FABRA_SIGNATURE_MODE"));
	struct record_signer s = { .mode = is_one_of(mode, off)        ? SIGNATURE_OFF
					   : is_one_of(mode, required) ? SIGNATURE_REQUIRED
								       : SIGNATURE_OPTIONAL };
	bool ok = true;
	if (s.mode == SIGNATURE_OPTIONAL && !is_one_of(mode, optional)) {
		buf_append_lit(errors, "FABRA_SIGNATURE_MODE: it is none of off, optional and required\n");
		ok = false;
	}
	if (key.n == 0 && key_text && key_text[0]) {
		buf_append_lit(errors, "FABRA_SIGNING_KEY: it is blank; " KEY_CURE ", or unset it\n");
		ok = false;
	}
	if (id.n == 0)
		id = STR("default");
	if (id.n >= sizeof s.key_id) {
		buf_printf(errors, "FABRA_SIGNING_KEY_ID: %zu bytes, at most 63; use a shorter name\n", id.n);
		ok = false;
	} else {
		memcpy(s.key_id, id.p, id.n);
	}
	if (s.mode != SIGNATURE_OFF && key.n)
		ok = load_key(&s, key, errors) && ok;
	if (ok && s.mode == SIGNATURE_REQUIRED && key.n == 0) {
		buf_append_lit(errors, "FABRA_SIGNATURE_MODE: required, but FABRA_SIGNING_KEY is not set; " KEY_CURE
				       ", or make the mode optional\n");
		ok = false;
	}
	*ret = s;
	OPENSSL_cleanse(s.key, sizeof s.key);
	return ok;
}
