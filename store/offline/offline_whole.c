#include "store/offline/offline_whole.h"
#include "runtime/check.h"
#include "runtime/msg.h"
#include <stdio.h>
#include <strings.h>
#include <zlib.h>

enum { BLOCK_BYTES = 64 << 10 };

/* ---- the text ---- */

struct text {
	uint64_t line; /* from 1 */
	uint64_t bytes;
	uint8_t missing, low, high; /* of a character: bytes to come, and the range of the next */
	uint8_t before;             /* the last byte */
	uint8_t delimiter;          /* of a file with quotes; 0: none has a meaning */
	enum { CELL_BEGIN, CELL_BLANK, CELL_PLAIN, CELL_QUOTED, CELL_QUOTE, CELL_BEHIND } cell;
};

/* RFC 3629: no longer form than needed, no surrogates, nothing above U+10FFFF. */
static bool utf8_next(struct text *t, uint8_t byte)
{
	if (t->missing > 0) {
		bool ok = byte >= t->low && byte <= t->high;
		t->missing--;
		t->low = 0x80;
		t->high = 0xbf;
		return ok;
	}
	if (byte < 0x80)
		return true;
	t->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
	t->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
	t->missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
	return byte >= 0xc2 && byte <= 0xf4;
}

/* A cell in quotes has nothing around them: DuckDB would drop blanks there, which belong to the cell. CELL_QUOTE: a quote in
 * quotes, which ends them unless another follows; CELL_BEHIND: a blank behind. */
static bool quotes_next(struct text *t, uint8_t byte)
{
	bool is_end = byte == t->delimiter || byte == '\n' || byte == '\r';
	bool is_blank = !is_end && (byte == ' ' || byte == '\t');
	switch (t->cell) {
	case CELL_BEGIN: /* UTF-8 files may begin with a mark */
		if (t->line == 1 && (byte == 0xef || byte == 0xbb || byte == 0xbf))
			return true;
		/* fallthrough */
	case CELL_BLANK:
		if (byte == '"' && t->cell == CELL_BLANK)
			return false;
		t->cell = is_end ? CELL_BEGIN : byte == '"' ? CELL_QUOTED : is_blank ? CELL_BLANK : CELL_PLAIN;
		return true;
	case CELL_PLAIN:
		t->cell = is_end ? CELL_BEGIN : CELL_PLAIN;
		return true;
	case CELL_QUOTED:
		t->cell = byte == '"' ? CELL_QUOTE : CELL_QUOTED;
		return true;
	case CELL_QUOTE:
		t->cell = is_end ? CELL_BEGIN : is_blank ? CELL_BEHIND : CELL_QUOTED;
		return true;
	case CELL_BEHIND:
		return false;
	}
	return true;
}

static bool text_add(struct text *t, const uint8_t *p, size_t n, struct offline_error *error)
{
	if (t->bytes == 0 && n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff))) {
		offline_error_text(error, RT_EINVAL, "the file is UTF-16; convert it to UTF-8");
		return false;
	}
	t->bytes += n;
	for (size_t i = 0; i < n; i++) {
		if ((p[i] >= 0x80 || t->missing > 0) && !utf8_next(t, p[i])) {
			offline_error_text(error, RT_EINVAL, "line %llu is not UTF-8; convert the file",
					   (unsigned long long)t->line);
			return false;
		}
		if (t->delimiter != 0 && !quotes_next(t, p[i])) {
			offline_error_text(
			    error, RT_EINVAL,
			    "line %llu has a blank between a delimiter and a quote; remove it, or put the "
			    "blank into the quotes",
			    (unsigned long long)t->line);
			return false;
		}
		/* A line ends in LF, CR LF or CR. */
		t->line += p[i] == '\r' || (p[i] == '\n' && t->before != '\r');
		t->before = p[i];
	}
	return true;
}

static bool text_end(const struct text *t, struct offline_error *error)
{
	if (t->missing > 0)
		offline_error_text(error, RT_EINVAL, "line %llu is not UTF-8; convert the file",
				   (unsigned long long)t->line);
	return t->missing == 0;
}

/* ---- the file ---- */

struct blocks {
	uint8_t in[BLOCK_BYTES], out[BLOCK_BYTES];
};

static bool read_failed(FILE *f, struct offline_error *error)
{
	if (ferror(f))
		offline_error_text(error, RT_EIO, "the file cannot be read");
	return ferror(f) != 0;
}

static bool check_plain(FILE *f, struct blocks *b, struct text *t, struct offline_error *error)
{
	for (size_t n; (n = fread(b->in, 1, sizeof b->in, f)) > 0;)
		if (!text_add(t, b->in, n, error))
			return false;
	return !read_failed(f, error);
}

/* Of a member: what is in the input. Z_OK wants more, Z_STREAM_END ended it. */
static int inflate_block(z_stream *z, struct blocks *b, struct text *t, struct offline_error *error)
{
	int status;
	do {
		z->next_out = b->out;
		z->avail_out = sizeof b->out;
		status = inflate(z, Z_NO_FLUSH);
		if (!text_add(t, b->out, sizeof b->out - z->avail_out, error))
			return Z_ERRNO;
	} while (status == Z_OK && z->avail_out == 0);
	return status == Z_BUF_ERROR ? Z_OK : status; /* Z_BUF_ERROR: the input is used up, and that is all */
}

static bool check_gzip(FILE *f, z_stream *z, struct blocks *b, struct text *t, struct offline_error *error)
{
	uint64_t members = 0;
	bool is_at_end = false; /* of a member */
	for (size_t n; (n = fread(b->in, 1, sizeof b->in, f)) > 0;) {
		z->next_in = b->in;
		z->avail_in = (uInt)n;
		while (z->avail_in > 0) {
			if (is_at_end)
				CHECK(inflateReset(z) == Z_OK);
			is_at_end = false;
			uint64_t begun = z->total_out;
			int status = inflate_block(z, b, t, error);
			if (status == Z_ERRNO)
				return false;
			if (status == Z_STREAM_END) {
				is_at_end = true;
				members++;
			} else if (status == Z_MEM_ERROR) {
				offline_error_text(error, RT_EFULL, "out of memory");
				return false;
			} else if (status != Z_OK) {
				bool is_header = begun == 0 && z->total_out == 0 &&
						 (z->msg != NULL && strcmp(z->msg, "incorrect header check") == 0);
				offline_error_text(error, RT_EINVAL, "%s",
						   !is_header     ? "the gzip file is damaged; write it again"
						   : members == 0 ? "the file is no gzip file, which its name says"
								  : "the gzip file has other bytes behind its end");
				return false;
			}
		}
	}
	if (read_failed(f, error))
		return false;
	if (!is_at_end)
		offline_error_text(error, RT_EINVAL, "the gzip file ends too early; write it again");
	return is_at_end;
}

static bool is_gzip(const char *path)
{
	size_t n = strlen(path);
	return n >= 3 && strcasecmp(path + n - 3, ".gz") == 0;
}

bool offline_whole_check(const char *path, char delimiter, struct offline_error *error)
{
	struct text text = { .line = 1, .delimiter = (uint8_t)delimiter };
	z_stream z = { 0 };
	FILE *f = fopen(path, "rbe");
	if (f == NULL) {
		offline_error_text(error, RT_EIO, "the file cannot be opened");
		return false;
	}
	struct blocks *b = malloc(sizeof *b);
	CHECK(b != NULL);
	bool ok;
	if (!is_gzip(path)) {
		ok = check_plain(f, b, &text, error);
	} else if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) { /* 16: gzip, nothing else */
		offline_error_text(error, RT_EFULL, "out of memory");
		ok = false;
	} else {
		ok = check_gzip(f, &z, b, &text, error);
		inflateEnd(&z);
	}
	ok = ok && text_end(&text, error);
	free(b);
	fclose(f);
	return ok;
}
