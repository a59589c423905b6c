/* DuckDB rows as JSON, and the texts that name entities. docs/types.md has the table; nothing is ever lost without a
 * word: what JSON numbers do not keep exact is text. */
#pragma once
#include "runtime/arena.h"
#include "runtime/buf.h"
#include "store/offline/offline_conn.h"

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
bool offline_cell_write(const struct offline_columns *columns, uint32_t column, duckdb_vector vector, uint64_t row,
			struct buf *out, struct offline_error *error);
/* How SQL calls the type of a column that names entities (in room, or a literal); NULL: values of this type name
 * none, because their texts are no names. */
const char *offline_key_type(duckdb_logical_type type, char *room, size_t room_bytes);
/* One cell as the text that names an entity: strings are their own bytes, a DECIMAL has all its digits, other values
 * are the text of their JSON. NULL, NaN and infinities name nobody. */
bool offline_key_write(const struct offline_columns *columns, uint32_t column, duckdb_vector vector, uint64_t row,
		       struct buf *out, bool *ret_is_null, struct offline_error *error);
/* Fetches all rows of the open query as an array of objects. false: *error. */
bool offline_rows_write(struct offline_conn *c, uint32_t rows_max, struct buf *out, uint32_t *ret_rows,
			struct offline_error *error);
