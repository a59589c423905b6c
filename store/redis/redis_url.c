#include "store/redis/redis_url.h"
#include "runtime/encode.h"
#include <arpa/inet.h>
#include <sys/un.h>

enum { PORT_DEFAULT = 6379, DATABASE_MAX = 1 << 20 };

static bool wrong(struct buf *ret_why, const char *what)
{
	buf_printf(ret_why,
		   "the Redis URL %s; it is redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, or "
		   "unix://PATH[?db=DATABASE]",
		   what);
	return false;
}

/* Undoes %XX. */
static bool decode(struct str s, char out[static REDIS_URL_TEXT_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '%' && (i + 2 >= s.n || !encode_unhex(str_of(s.p + i + 1, 2), &c)))
			return false;
		i += s.p[i] == '%' ? 2 : 0;
		if (c == '\0' || n + 1 == REDIS_URL_TEXT_MAX)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

static bool number(struct str s, uint32_t max, uint32_t *ret)
{
	uint64_t v = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || v > max)
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*ret = (uint32_t)v;
	return s.n > 0 && v <= max;
}

/* What is in front of the first c, if there is one; *s becomes what is behind it. Without one all of *s, and *s empty. */
static struct str cut(struct str *s, char c)
{
	const char *at = s->n ? memchr(s->p, c, s->n) : NULL;
	struct str front = str_of(s->p, at ? (size_t)(at - s->p) : s->n);
	*s = str_skip(*s, front.n + (at != NULL));
	return front;
}

static bool parse_parameter(struct redis_url *u, struct str name, struct str value, struct buf *ret_why)
{
	char *text = str_eq(name, STR("username"))       ? u->user
		     : str_eq(name, STR("password"))     ? u->password
		     : str_eq(name, STR("ssl_ca_certs")) ? u->ca_file
		     : str_eq(name, STR("ssl_certfile")) ? u->cert_file
		     : str_eq(name, STR("ssl_keyfile"))  ? u->key_file
							 : NULL;
	if (text)
		return decode(value, text) || wrong(ret_why, "has a parameter that is too long or has a wrong %XX");
	if (str_eq(name, STR("db")))
		return number(value, DATABASE_MAX, &u->database) || wrong(ret_why, "has a db that is no number");
	if (str_eq(name, STR("ssl_cert_reqs"))) {
		u->takes_any_certificate = str_eq(value, STR("none"));
		return u->takes_any_certificate || str_eq(value, STR("required")) ||
		       wrong(ret_why, "has an ssl_cert_reqs that is neither required nor none");
	}
	return wrong(ret_why,
		     "has a parameter other than db, username, password, ssl_ca_certs, ssl_certfile, ssl_keyfile, "
		     "ssl_cert_reqs");
}

static bool parse_parameters(struct redis_url *u, struct str rest, struct buf *ret_why)
{
	while (rest.n) {
		struct str value = cut(&rest, '&'), name = cut(&value, '=');
		if (!parse_parameter(u, name, value, ret_why))
			return false;
	}
	return true;
}

static bool parse_host(struct redis_url *u, struct str s, struct buf *ret_why)
{
	uint32_t port = PORT_DEFAULT;
	struct str rest = s, host;
	if (s.n && s.p[0] == '[') {
		rest = str_skip(s, 1);
		host = cut(&rest, ']');
		if (rest.n && rest.p[0] != ':')
			return wrong(ret_why, "has something behind the ] of its host");
		rest = str_skip(rest, rest.n != 0);
	} else {
		host = cut(&rest, ':');
	}
	bool has_port = host.n + (s.n && s.p[0] == '[' ? 2 : 0) < s.n;
	if (has_port && (!number(rest, UINT16_MAX, &port) || port == 0))
		return wrong(ret_why, "has a port that is no number from 1 to 65535");
	if (host.n == 0)
		host = STR("localhost");
	if (!decode(host, u->host))
		return wrong(ret_why, "has a host that is too long or has a wrong %XX");
	char address[sizeof(struct in6_addr)];
	u->is_name = inet_pton(AF_INET, u->host, address) != 1 && inet_pton(AF_INET6, u->host, address) != 1;
	u->port = (uint16_t)port;
	return true;
}

static bool parse_user(struct redis_url *u, struct str s, struct buf *ret_why)
{
	struct str password = s, user = cut(&password, ':');
	bool is_right = decode(user, u->user) && decode(password, u->password);
	return is_right || wrong(ret_why, "has a user or password that is too long or has a wrong %XX");
}

static bool parse_unix(struct redis_url *u, struct str s, struct buf *ret_why)
{
	u->is_unix = true;
	if (s.n == 0 || !decode(s, u->host))
		return wrong(ret_why, "has no path, or one that is too long");
	if (strlen(u->host) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return wrong(ret_why, "has a path that is longer than a socket's may be (107 bytes)");
	return true;
}

bool redis_url_parse(const char *text, struct redis_url *ret, struct buf *ret_why)
{
	struct str rest = str_from(text), scheme = cut(&rest, ':');
	*ret = (struct redis_url){ .is_tls = str_eq(scheme, STR("rediss")) };
	bool is_unix = str_eq(scheme, STR("unix"));
	if ((!ret->is_tls && !is_unix && !str_eq(scheme, STR("redis"))) || !str_starts(rest, STR("//")))
		return wrong(ret_why, "does not begin with redis://, rediss:// or unix://");
	struct str parameters = str_skip(rest, 2), place = cut(&parameters, '?');
	const char *at = place.n ? memrchr(place.p, '@', place.n) : NULL;
	if (at && !parse_user(ret, str_of(place.p, (size_t)(at - place.p)), ret_why))
		return false;
	if (at)
		place = str_skip(place, (size_t)(at + 1 - place.p));
	if (is_unix)
		return parse_unix(ret, place, ret_why) && parse_parameters(ret, parameters, ret_why);
	struct str database = place, host = cut(&database, '/');
	if (database.n && !number(database, DATABASE_MAX, &ret->database))
		return wrong(ret_why, "has a database that is no number");
	return parse_host(ret, host, ret_why) && parse_parameters(ret, parameters, ret_why);
}

void redis_url_write(const struct redis_url *url, struct buf *out)
{
	if (url->is_unix)
		buf_append_str(out, str_from(url->host));
	else
		buf_printf(out, strchr(url->host, ':') ? "[%s]:%u" : "%s:%u", url->host, url->port);
	buf_printf(out, "/%u", url->database);
}
