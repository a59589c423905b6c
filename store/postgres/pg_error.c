#include "store/postgres/pg_error.h"
#include "runtime/msg.h"
#include "store/postgres/postgres.h"
#include <stdio.h>

void pg_trouble_set(struct pg_trouble *t, enum pg_trouble_kind kind, const char *text)
{
	*t = (struct pg_trouble){ .kind = kind };
	text_printf(t->text, sizeof t->text, "%s", text);
}

/* libpq keeps no SQLSTATE of a connection that failed: the server's words are all there is. A server that speaks another
 * language is told as it speaks. */
static const struct {
	const char *words;
	enum pg_trouble_kind kind;
	const char *text;
} connection_words[] = {
	{ "password authentication failed", PG_DENIED,
	  "Postgres refuses the password: correct the user and password in FABRA_POSTGRES_URL" },
	{ "no password supplied", PG_DENIED, "Postgres wants a password: put it into FABRA_POSTGRES_URL" },
	{ "no pg_hba.conf entry", PG_DENIED,
	  "Postgres does not admit this user from this machine: add a line to its pg_hba.conf, or correct FABRA_POSTGRES_URL" },
	{ "is not permitted to log in", PG_DENIED, "the user of FABRA_POSTGRES_URL may not log in: give it LOGIN" },
	{ "authentication failed", PG_DENIED,
	  "Postgres refuses the user: correct the user and password in FABRA_POSTGRES_URL" },
	{ "does not support SSL", PG_DENIED,
	  "Postgres does not speak TLS: turn it on there, or take sslmode out of FABRA_POSTGRES_URL" },
	{ "certificate verify failed", PG_DENIED,
	  "the certificate of Postgres is not trusted: correct sslrootcert in FABRA_POSTGRES_URL" },
	{ "server certificate for", PG_DENIED,
	  "the certificate of Postgres names another host: correct the host in FABRA_POSTGRES_URL" },
	{ "starting up", PG_STARTING, "Postgres is starting: it is tried again" },
	{ "not yet accepting connections", PG_STARTING, "Postgres is recovering: it is tried again" },
	{ "in recovery mode", PG_STARTING, "Postgres is recovering: it is tried again" },
	{ "shutting down", PG_STARTING, "Postgres is shutting down: it is tried again" },
	{ "terminating connection", PG_STARTING, "Postgres ended the connection: it is made again" },
	{ "too many clients already", PG_BUSY,
	  "Postgres has no connection left: raise max_connections there, or lower FABRA_PG_POOL_SIZE" },
	{ "remaining connection slots are reserved", PG_BUSY,
	  "Postgres has no connection left: raise max_connections there, or lower FABRA_PG_POOL_SIZE" },
	{ "too many connections for", PG_BUSY,
	  "Postgres has no connection left for this user or database: raise its CONNECTION LIMIT" },
	{ "session is read-only", PG_READONLY,
	  "no host of FABRA_POSTGRES_URL takes writes: one of them must be the primary" },
	{ "in hot standby mode", PG_READONLY,
	  "no host of FABRA_POSTGRES_URL takes writes: one of them must be the primary" },
	{ "No space left on device", PG_FULL, "the disk of Postgres is full: free space there" },
};

static void set_denied_name(struct pg_trouble *t, const char *message)
{
	if (strstr(message, "database \"") != NULL)
		pg_trouble_set(t, PG_DENIED,
			       "the database of FABRA_POSTGRES_URL does not exist: create it, or correct its name");
	else
		pg_trouble_set(t, PG_DENIED,
			       "the user of FABRA_POSTGRES_URL does not exist: create it, or correct its name");
}

void pg_trouble_of_connection(const PGconn *conn, struct pg_trouble *ret)
{
	const char *message = PQerrorMessage(conn);
	for (size_t i = 0; i < sizeof connection_words / sizeof connection_words[0]; i++) {
		if (strstr(message, connection_words[i].words) == NULL)
			continue;
		pg_trouble_set(ret, connection_words[i].kind, connection_words[i].text);
		return;
	}
	if (strstr(message, "does not exist") != NULL && strstr(message, "FATAL") != NULL)
		set_denied_name(ret, message);
	else if (strstr(message, "FATAL") != NULL)
		pg_trouble_set(ret, PG_OTHER, "Postgres refuses the connection; the log has its words");
	else
		pg_trouble_set(ret, PG_UNREACHABLE,
			       "Postgres cannot be reached: start it, or correct FABRA_POSTGRES_URL");
}

static enum pg_trouble_kind kind_of(const char *s)
{
	static const struct {
		const char *prefix;
		enum pg_trouble_kind kind;
	} kinds[] = {
		{ "23505", PG_EXISTS },    { "23", PG_CONTENT },      { "22", PG_CONTENT },   { "54", PG_CONTENT },
		{ "42501", PG_RIGHT },     { "42P01", PG_SCHEMA },    { "42703", PG_SCHEMA }, { "42883", PG_SCHEMA },
		{ "3F000", PG_SCHEMA },    { "25006", PG_READONLY },  { "53100", PG_FULL },   { "53300", PG_BUSY },
		{ "57014", PG_TRANSIENT }, { "55P03", PG_TRANSIENT }, { "40", PG_TRANSIENT }, { "57P", PG_STARTING },
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (strncmp(s, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return kinds[i].kind;
	return PG_OTHER;
}

static const char *cure_of(enum pg_trouble_kind kind)
{
	switch (kind) {
	case PG_SCHEMA:
		return "the tables are missing or older than this program: run `fabra migrate`";
	case PG_RIGHT:
		return "give the user of FABRA_POSTGRES_URL that right";
	case PG_READONLY:
		return "FABRA_POSTGRES_URL must name the primary";
	case PG_FULL:
		return "the disk of Postgres is full: free space there, it then goes on by itself";
	case PG_BUSY:
		return "raise max_connections of Postgres, or lower FABRA_PG_POOL_SIZE";
	case PG_TRANSIENT:
		return "Postgres was too slow, or a lock was in the way";
	case PG_STARTING:
		return "Postgres ended the connection: it is tried again";
	case PG_CONTENT:
		return "Postgres does not take this entry";
	case PG_EXISTS:
		return "an entry with this id is there already";
	case PG_FINE:
	case PG_UNREACHABLE:
	case PG_DENIED:
	case PG_VERSION:
	case PG_ENCODING:
	case PG_OTHER:
		break;
	}
	return "Postgres failed";
}

/* The server's words may name files of its own. */
static bool tells_words(enum pg_trouble_kind kind)
{
	return kind == PG_CONTENT || kind == PG_RIGHT || kind == PG_SCHEMA || kind == PG_TRANSIENT;
}

void pg_trouble_of_result(const PGresult *result, struct pg_trouble *ret)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	if (state == NULL) { /* libpq's own: the server said nothing */
		pg_trouble_set(ret, PG_UNREACHABLE, "the connection to Postgres broke: it is made again");
		return;
	}
	*ret = (struct pg_trouble){ .kind = kind_of(state) };
	text_printf(ret->sqlstate, sizeof ret->sqlstate, "%s", state);
	text_printf(ret->words, sizeof ret->words, "%s", words ? words : "");
	if (ret->kind == PG_OTHER)
		text_printf(ret->text, sizeof ret->text, "Postgres failed (SQLSTATE %s): its log says why", state);
	else if (tells_words(ret->kind) && words != NULL)
		text_printf(ret->text, sizeof ret->text, "%s (%s)", cure_of(ret->kind), words);
	else
		text_printf(ret->text, sizeof ret->text, "%s", cure_of(ret->kind));
}

int pg_trouble_status(const struct pg_trouble *t)
{
	switch (t->kind) {
	case PG_READONLY:
		return RT_EREADONLY;
	case PG_FULL:
		return RT_EFULL;
	case PG_CONTENT:
		return RT_EINVAL;
	case PG_EXISTS:
		return RT_EEXIST;
	case PG_FINE:
	case PG_UNREACHABLE:
	case PG_STARTING:
	case PG_BUSY:
	case PG_DENIED:
	case PG_VERSION:
	case PG_ENCODING:
	case PG_SCHEMA:
	case PG_RIGHT:
	case PG_TRANSIENT:
	case PG_OTHER:
		break;
	}
	return RT_EIO;
}

bool pg_trouble_passes(enum pg_trouble_kind kind)
{
	return kind == PG_UNREACHABLE || kind == PG_STARTING || kind == PG_BUSY || kind == PG_TRANSIENT;
}
