/* Where a Redis server is, and as whom to come, from a URL:
 *
 *     redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]     rediss:// the same with TLS
 *     unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE]
 *
 * and behind ? and &: db, username, password; for rediss ssl_ca_certs, ssl_certfile, ssl_keyfile (files) and
 * ssl_cert_reqs=required or none, as Python's client calls them. %XX stands for a byte. */
#pragma once
#include "runtime/buf.h"

enum { REDIS_URL_TEXT_MAX = 512 }; /* of each part, with its NUL */

struct redis_url {
	bool is_tls, is_unix, is_name; /* is_name: the host has to be looked up */
	bool takes_any_certificate;
	char host[REDIS_URL_TEXT_MAX]; /* or the path of the socket */
	uint16_t port;
	uint32_t database;
	char user[REDIS_URL_TEXT_MAX], password[REDIS_URL_TEXT_MAX]; /* empty: none */
	char ca_file[REDIS_URL_TEXT_MAX], cert_file[REDIS_URL_TEXT_MAX], key_file[REDIS_URL_TEXT_MAX];
};
/* false: *ret_why says what is wrong with it, and never has the password in it. */
bool redis_url_parse(const char *text, struct redis_url *ret, struct buf *ret_why);
/* HOST:PORT/DATABASE or the path, for people to read. */
void redis_url_write(const struct redis_url *url, struct buf *out);
