/* DuckDB rows as JSON with exact types.
 *
 * | DuckDB | JSON |
 * |---|---|
 * | integers of all widths | integer; beyond 64 bit (signed) an error that names the column |
 * | DECIMAL, FLOAT, DOUBLE | float; NaN and infinities are null |
 * | VARCHAR, ENUM, UUID | string; a NUL byte is \u0000 |
 * | JSON | the value itself |
 * | DATE, TIME, TIMESTAMP | ISO 8601 text, without a zone; TIMESTAMP WITH TIME ZONE with Z; infinity as
 * "infinity" | | INTERVAL | ISO 8601 duration, P1M2DT3.5S | | BLOB, BIT | base64 text; text of 0 and 1 | |
 * LIST, ARRAY, STRUCT, MAP, UNION | array, array, object, object (keys as text), the member's value |
 *
 * BIGNUM and whatever a later DuckDB adds is an error that says how to cast. */
#pragma once
#include "runtime/arena.h"
#include "runtime/buf.h"
#include "store/offline_conn.h"

/* The types of a result's columns, read once. */
struct offline_column;
struct offline_columns {
	struct offline_column *columns; /* in the arena */
	uint32_t count;
};
/* Borrows result; keeps nothing of it. false: *error (two columns of one name, nested too deep, no memory).
 */
bool offline_columns_read(duckdb_result *result, struct arena *arena, struct offline_columns *ret,
			  struct offline_error *error);
/* The column called name, in any case if there is none in this case; -1: none. */
int offline_columns_find(const struct offline_columns *columns, struct str name);

/* One cell as JSON. false: *error, which names the column. */
bool offline_cell_write(const struct offline_columns *columns, uint32_t column, duckdb_vector vector,
			uint64_t row, struct buf *out, struct offline_error *error);
/* One cell as the text that names an entity: strings are their own bytes, other values the text of their
 * JSON. */
bool offline_key_write(const struct offline_columns *columns, uint32_t column, duckdb_vector vector,
		       uint64_t row, struct buf *out, bool *ret_is_null, struct offline_error *error);
/* Fetches all rows of the open query as an array of objects. false: *error. */
bool offline_rows_write(struct offline_conn *c, uint32_t rows_max, struct buf *out, uint32_t *ret_rows,
			struct offline_error *error);
