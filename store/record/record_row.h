/* What a store that one searches keeps beside a record: the members that have columns. They are taken from the extras, where the
 * record's maker has put them (record_extras_write), or else from the record itself. */
#pragma once
#include "store/record/record.h"

struct record_row {
	int64_t created_at_us;
	struct str environment, schema_version, context_function, freshness_status, version; /* p NULL: not there */
	int64_t token_count;                                                                 /* INT64_MIN: not there */
	yyjson_val *inputs, *interaction_ref;                                                /* NULL: not there */
	struct str record_hash; /* as it stands in the record; p NULL unless the record was read */
	yyjson_doc *docs[2];    /* owned; all texts borrow them */
};
/* extras p NULL: there are none (an imported record). false: there is no row in it; *ret then holds nothing. alc: borrows. */
bool record_row_read(struct str record_json, struct str extras, const yyjson_alc *alc, struct record_row *ret);
void record_row_finish(struct record_row *r);
