#include "store/offline/offline_csv.h"
#include "runtime/check.h"
#include "runtime/msg.h"
#include "store/text/json.h"
#include <zlib.h>

enum { HEADER_BYTES_MAX = 256 << 10 };

/* ---- the first line ---- */

static bool first_line(const char *path, struct buf *ret, struct offline_error *error)
{
	gzFile f = gzopen(path, "rb");
	if (f == NULL) {
		offline_error_text(error, RT_EIO, "the file cannot be opened");
		return false;
	}
	int c;
	bool in_quotes = false;
	while ((c = gzgetc(f)) != -1 && (in_quotes || (c != '\n' && c != '\r')) && ret->n < HEADER_BYTES_MAX) {
		in_quotes ^= c == '"';
		buf_append_char(ret, (char)c);
	}
	int status = Z_OK;
	gzerror(f, &status);
	gzclose(f);
	if (status != Z_OK)
		offline_error_text(error, RT_EIO, "the file cannot be read");
	else if (ret->n == 0)
		offline_error_text(error, RT_EINVAL, "line 1 is empty; it must name the columns");
	else if (ret->n >= HEADER_BYTES_MAX || ret->failed)
		offline_error_text(error, RT_EINVAL,
				   "line 1 is too long to name columns, or a quote in it is not closed");
	else if (!json_utf8_valid(buf_str(ret)))
		offline_error_text(error, RT_EINVAL, "line 1 is not UTF-8; convert the file");
	else
		return true;
	return false;
}

/* The one that line 1 has most of, outside quotes. */
static char delimiter_of(struct str line)
{
	static const char candidates[] = { ',', ';', '\t', '|' };
	size_t seen[sizeof candidates] = { 0 }, best = 0;
	bool in_quotes = false;
	for (size_t i = 0; i < line.n; i++) {
		in_quotes ^= line.p[i] == '"';
		for (size_t k = 0; !in_quotes && k < sizeof candidates; k++)
			seen[k] += line.p[i] == candidates[k];
	}
	for (size_t k = 1; k < sizeof candidates; k++)
		if (seen[k] > seen[best])
			best = k;
	return candidates[best];
}

/* Takes one cell off the line: without its quotes, or without the blanks around it. */
static char *take_cell(struct str *line, char delimiter)
{
	struct buf cell = { 0 };
	size_t i = 0;
	if (line->n && line->p[0] == '"') {
		for (i = 1; i < line->n; i++) {
			if (line->p[i] == '"' && !(i + 1 < line->n && line->p[i + 1] == '"'))
				break;
			i += line->p[i] == '"';
			buf_append_char(&cell, line->p[i]);
		}
		while (i < line->n && line->p[i] != delimiter)
			i++;
	} else {
		size_t start = 0, end;
		while (i < line->n && line->p[i] != delimiter)
			i++;
		for (end = i; start < end && line->p[start] == ' ';)
			start++;
		while (end > start && line->p[end - 1] == ' ')
			end--;
		buf_append(&cell, line->p + start, end - start);
	}
	*line = i < line->n ? (struct str){ line->p + i + 1, line->n - i - 1 } : (struct str){ 0 };
	buf_append_char(&cell, '\0');
	return buf_take(&cell, NULL);
}

static bool is_number(const char *name)
{
	char *end;
	strtod(name, &end);
	return end != name && *end == '\0' && strpbrk(name, "0123456789"); /* "inf" and "nan" are names */
}

/* A first line of values would silently lose a record. */
static bool are_names(const struct csv_header *h, struct offline_error *error)
{
	for (size_t i = 0; i < h->count; i++) {
		if (h->names[i][0] == '\0' || is_number(h->names[i])) {
			offline_error_text(
			    error, RT_EINVAL,
			    "line 1 must name the columns, but its cell %zu is %s%.*s%s; put a line of names above it",
			    i + 1, h->names[i][0] ? "'" : "", SHOWN(h->names[i][0] ? h->names[i] : "empty"),
			    h->names[i][0] ? "'" : "");
			return false;
		}
		for (size_t k = 0; k < i; k++) {
			if (strcasecmp(h->names[i], h->names[k]) == 0) {
				offline_error_text(error, RT_EINVAL,
						   "line 1 names the columns %zu and %zu both '%.*s'; rename one",
						   k + 1, i + 1, SHOWN(h->names[i]));
				return false;
			}
		}
	}
	return true;
}

/* Behind a byte order mark DuckDB 1.4.4 takes the first quote for a part of the name: with another quote or a line break in that
 * cell all rows are lost, or one is made of the name's rest. */
static bool is_misread_behind_mark(struct str line)
{
	if (line.n == 0 || line.p[0] != '"')
		return false;
	for (size_t i = 1; i < line.n; i++) {
		if (line.p[i] == '\n' || line.p[i] == '\r')
			return true;
		if (line.p[i] == '"')
			return i + 1 < line.n && line.p[i + 1] == '"';
	}
	return false;
}

bool csv_header_read(const char *path, bool is_tsv, struct csv_header *ret, struct offline_error *error)
{
	*ret = (struct csv_header){ 0 };
	struct buf text = { 0 };
	if (!first_line(path, &text, error)) {
		buf_finish(&text);
		return false;
	}
	struct str line = buf_str(&text);
	if (line.n >= 3 && memcmp(line.p, "\xef\xbb\xbf", 3) == 0)
		line = (struct str){ line.p + 3, line.n - 3 };
	if (line.p != text.p && is_misread_behind_mark(line)) {
		offline_error_text(
		    error, RT_EINVAL,
		    "line 1 has a byte order mark before a name in quotes with a quote or a line break in it, "
		    "which DuckDB misreads; remove the mark, or rename the column");
		buf_finish(&text);
		return false;
	}
	ret->delimiter = is_tsv ? '\t' : delimiter_of(line);
	ret->names = calloc(CSV_COLUMNS_MAX, sizeof *ret->names);
	bool ok = ret->names != NULL;
	while (ok && line.p && ret->count < CSV_COLUMNS_MAX) {
		if (line.n == 0 &&
		    ret->count > 0) { /* a delimiter ends line 1: DuckDB skips the empty cells behind it */
			line.p = NULL;
			break;
		}
		ret->names[ret->count] = take_cell(&line, ret->delimiter);
		ok = ret->names[ret->count] != NULL;
		ret->count += ok;
	}
	buf_finish(&text);
	if (!ok)
		offline_error_text(error, RT_EFULL, "out of memory");
	else if (line.p)
		offline_error_text(error, RT_EINVAL, "line 1 names more than %d columns", CSV_COLUMNS_MAX);
	return ok && line.p == NULL && are_names(ret, error);
}

void csv_header_finish(struct csv_header *h)
{
	for (size_t i = 0; i < h->count; i++)
		free(h->names[i]);
	free(h->names);
	*h = (struct csv_header){ 0 };
}

/* ---- the line of a record ---- */

uint64_t csv_line_of(const char *path, struct csv_form form, uint64_t record)
{
	gzFile f = gzopen(path, "rb");
	if (f == NULL)
		return 0;
	uint64_t line = 1, begun = 0, wanted = record + form.has_header, found = 0;
	bool in_record = false, in_quotes = false;
	for (int c = gzgetc(f), next; c != -1 && found == 0; c = next) {
		next = gzgetc(f);
		bool ends_line = c == '\n' || (c == '\r' && next != '\n');
		bool is_blank = c == '\n' || c == '\r' || (!form.quote && (c == ' ' || c == '\t'));
		if (!in_record && (!is_blank || (form.has_one_column && ends_line))) {
			in_record = true;
			if (++begun == wanted)
				found = line;
		}
		in_quotes ^= form.quote && c == form.quote;
		if (ends_line) {
			line++;
			in_record = in_record && in_quotes;
		}
	}
	gzclose(f);
	return found;
}
