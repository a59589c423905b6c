/* What Fabra's Python program left, told as it would have answered: a row of its tables (fabra-core 4.8) becomes JSON. Whoever
 * reads the row, from whichever database, gives its columns here. */
#pragma once
#include "store/evidence/evidence.h"

enum { LEGACY_COLUMNS_MAX = 13 };
struct legacy_row {
	struct str texts[LEGACY_COLUMNS_MAX]; /* borrow; p NULL: null */
	int64_t numbers[LEGACY_COLUMNS_MAX]; /* of the columns of times (microseconds since 1970) and counts; 0: null */
};

/* The columns of LEGACY_RECORD, in order: context_records. */
enum legacy_record_column {
	LEGACY_CONTEXT_ID,
	LEGACY_CREATED_AT, /* number */
	LEGACY_ENVIRONMENT,
	LEGACY_SCHEMA_VERSION,
	LEGACY_INPUTS,
	LEGACY_FUNCTION,
	LEGACY_CONTENT,
	LEGACY_TOKEN_COUNT, /* number */
	LEGACY_FEATURES,
	LEGACY_ITEMS,
	LEGACY_ASSEMBLY,
	LEGACY_RECORD_LINEAGE,
	LEGACY_INTEGRITY,
};
/* Those of the other views: context_log, and the assembly latency of its record. */
enum legacy_log_column {
	LEGACY_LOG_ID,
	LEGACY_LOG_TIME, /* number */
	LEGACY_LOG_CONTENT,
	LEGACY_LOG_LINEAGE,
	LEGACY_LOG_META,
	LEGACY_LOG_VERSION,
	LEGACY_LOG_LATENCY,
};

/* ref: as it was asked for. */
void legacy_view_write(enum evidence_legacy_view view, const struct legacy_row *row, struct str ref, struct buf *out);
