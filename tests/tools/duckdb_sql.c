/* duckdb_sql FILE: runs the statements of its standard input against a DuckDB file, as another program would that made or reads
 * it. For the integration tests. */
#include <duckdb.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	static char sql[1 << 16];
	duckdb_database db;
	duckdb_connection connection;
	duckdb_result result;
	if (argc != 2 || fread(sql, 1, sizeof sql - 1, stdin) == 0) {
		fputs("usage: duckdb_sql FILE <statements\n", stderr);
		return 2;
	}
	if (duckdb_open(argv[1], &db) != DuckDBSuccess || duckdb_connect(db, &connection) != DuckDBSuccess) {
		fprintf(stderr, "cannot open %s\n", argv[1]);
		return 1;
	}
	int status = duckdb_query(connection, sql, &result) != DuckDBSuccess;
	if (status != 0)
		fprintf(stderr, "%s\n", duckdb_result_error(&result));
	duckdb_destroy_result(&result);
	duckdb_disconnect(&connection);
	duckdb_close(&db);
	return status;
}
