/* pg_migrate.c -- brings the schema to this program's version. Blocking; at the start or by a command, never for a request. */
#include "runtime/log.h"
#include "store/postgres/pg_private.h"
#include "store/postgres/pg_schema.h"
#include <stdio.h>
#include <stdlib.h>

struct migration {
	PGconn *conn;
	struct pg_trouble trouble;
};

static bool run(struct migration *m, const char *sql, int64_t *ret_number)
{
	PGresult *r = PQexec(m->conn, sql);
	ExecStatusType status = PQresultStatus(r);
	bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
	if (!ok) {
		pg_trouble_of_result(r, &m->trouble);
		if (m->trouble.kind == PG_TRANSIENT && strcmp(m->trouble.sqlstate, "55P03") == 0)
			pg_trouble_set(&m->trouble, PG_TRANSIENT,
				       "another process migrates, or holds a lock: it is tried again");
	} else if (ret_number != NULL) {
		*ret_number = PQntuples(r) > 0 ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : 0;
	}
	PQclear(r);
	return ok;
}

static bool connect_to(struct migration *m, const struct postgres *p)
{
	const char *keys[PG_PARAMS], *values[PG_PARAMS];
	pg_params(p, NULL, "fabra/migrate", true, keys, values);
	m->conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(m->conn) != CONNECTION_OK) {
		pg_trouble_of_connection(m->conn, &m->trouble);
		if (m->trouble.kind == PG_OTHER)
			log_line(LOG_WARNING, "postgres", "Postgres refuses",
				 LOG_CSTR("text", PQerrorMessage(m->conn)));
		return false;
	}
	pg_notices_to_log(m->conn);
	int version = PQserverVersion(m->conn) / 10000;
	const char *encoding = PQparameterStatus(m->conn, "server_encoding");
	if (version < POSTGRES_VERSION_MIN)
		pg_trouble_set(&m->trouble, PG_VERSION,
			       "this Postgres is too old: versions 13 to 17 are supported, 15 is the one tested");
	else if (encoding == NULL || strcmp(encoding, "UTF8") != 0)
		pg_trouble_set(&m->trouble, PG_ENCODING, "the database is not in UTF8: create it with ENCODING 'UTF8'");
	else if (version > POSTGRES_VERSION_MAX)
		log_line(LOG_WARNING, "postgres", "this Postgres is newer than those this program knows",
			 LOG_INT("version", version));
	return m->trouble.kind == PG_FINE;
}

static bool read_version(struct migration *m, int64_t *ret)
{
	int64_t has_table;
	*ret = 0;
	return run(m, "SELECT count(*) FROM pg_tables WHERE schemaname = 'fabra' AND tablename = 'migrations'",
		   &has_table) &&
	       (has_table == 0 || run(m, "SELECT coalesce(max(version), 0) FROM fabra.migrations", ret));
}

static bool apply(struct migration *m, int step)
{
	char note[160];
	snprintf(note, sizeof note, "INSERT INTO fabra.migrations (version, program) VALUES (%d, 'fabra %s')", step,
		 FABRA_VERSION);
	return run(m, "BEGIN", NULL) && run(m, pg_schema_steps[step - 1], NULL) && run(m, note, NULL) &&
	       run(m, "COMMIT", NULL);
}

static void set_trouble(struct migration *m, int64_t is, const char *cure)
{
	char text[200];
	snprintf(text, sizeof text, "the tables in Postgres are of version %lld, and this program's is %d: %s",
		 (long long)is, pg_schema_version, cure);
	pg_trouble_set(&m->trouble, PG_SCHEMA, text);
}

/* Under the lock: who waited for it may find the work done. */
static bool migrate(struct migration *m, enum postgres_migrate_mode mode, int64_t *is)
{
	if (!run(m, "SET lock_timeout = '10s'; SET client_min_messages = warning", NULL) ||
	    !run(m, "SELECT pg_advisory_lock(1717658213)", NULL) || !read_version(m, is))
		return false;
	if (*is > pg_schema_version) {
		set_trouble(m, *is, "run the newer program, or restore a backup of before");
		return false;
	}
	if (*is < pg_schema_version && mode == POSTGRES_MIGRATE_NEVER) {
		set_trouble(m, *is, "run `fabra migrate`; FABRA_MIGRATE=never keeps the start from it");
		return false;
	}
	if (*is == 0 && mode == POSTGRES_MIGRATE &&
	    !run(
		m,
		"CREATE SCHEMA IF NOT EXISTS fabra; CREATE TABLE IF NOT EXISTS fabra.migrations (version integer PRIMARY KEY, "
		"applied_at timestamptz NOT NULL DEFAULT now(), program text NOT NULL)",
		NULL))
		return false;
	while (*is < pg_schema_version) {
		if (!apply(m, (int)*is + 1))
			return false;
		++*is;
		log_line(LOG_INFO, "postgres", "the tables were brought up", LOG_INT("version", *is));
	}
	return true;
}

int postgres_migrate(struct postgres *p, enum postgres_migrate_mode mode, int *ret_from, int *ret_to,
		     struct buf *ret_why)
{
	struct migration m = { .trouble = { .kind = PG_FINE } };
	int64_t before = 0, is = 0;
	bool ok = connect_to(&m, p) && read_version(&m, &before) && migrate(&m, mode, &is);
	PQfinish(m.conn);
	if (ret_from != NULL)
		*ret_from = (int)before;
	if (ret_to != NULL)
		*ret_to = (int)is;
	if (ok)
		return RT_OK;
	buf_printf(ret_why, "%s", m.trouble.text);
	return pg_trouble_passes(m.trouble.kind) ? RT_EIO : RT_EINVAL;
}
