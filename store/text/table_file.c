#include "store/text/table_file.h"
#include "runtime/check.h"
#include <string.h>

const char table_file_endings[] = ".parquet, .csv, .tsv, .json, .jsonl or .ndjson (texts also with .gz)";

bool table_file_reads(const char *file, bool *ret_is_text)
{
	static const char *const endings[] = { ".parquet", ".csv",    ".tsv",     ".json",     ".jsonl",    ".ndjson",
					       ".csv.gz",  ".tsv.gz", ".json.gz", ".jsonl.gz", ".ndjson.gz" };
	size_t n = strlen(file);
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		size_t e = strlen(endings[i]);
		if (n > e && strcasecmp(file + n - e, endings[i]) == 0) {
			*ret_is_text = i > 0;
			return true;
		}
	}
	return false;
}
