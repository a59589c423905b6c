/* The two functions at the end have the names and the types of picohttpparser, which libh2o contains: the linker lets h2o
 * call these instead.
 *
 *     phr_parse_request   reads the head of a request from its beginning each time more of it has arrived (it is bounded)
 *     phr_decode_chunked  decodes a chunked body in place, as far as it has arrived
 *
 *     size --CR--> size's LF --0--> trailer --CR--> its LF --> end
 *      | ;|            |n            | name --:--> value --CR--> LF --> trailer
 *      extension       data --n bytes--> CR --> LF --> size
 */
#include "http/request_syntax.h"
#include "http/server_private.h"
#include "runtime/encode.h"
#include <strings.h>

struct phr_header {
	const char *name;
	size_t name_len;
	const char *value;
	size_t value_len;
};
int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len, const char **path,
		      size_t *path_len, int *minor_version, struct phr_header *headers, size_t *num_headers,
		      size_t last_len);

/* h2o gives zeroed memory of the size of picohttpparser's own decoder and looks at none of it. */
struct phr_chunked_decoder {
	size_t left; /* of the chunk */
	char unused, digits;
	char state;       /* enum chunk_state */
	uint32_t ignored; /* bytes of extensions and trailers */
};
_Static_assert(sizeof(struct phr_chunked_decoder) == 16, "picohttpparser's has a size_t and three chars");
ssize_t phr_decode_chunked(struct phr_chunked_decoder *decoder, char *buf, size_t *bufsz);

enum {
	PARSE_REFUSED = -1, /* h2o looks whether it is HTTP/2's preface, else closes or answers 400 by itself */
	PARSE_INCOMPLETE = -2,
	HEAD_BYTES_MAX = HEADER_BYTES_MAX + 256, /* the exchange counts more exactly; this ends what never ends */
	CHUNK_DIGITS_MAX = 15,
	CHUNK_IGNORED_MAX = HEADER_BYTES_MAX,
};

/* ---- faults ---- */
static const struct {
	const char *kind, *text;
} faults[SYNTAX_FAULTS] = {
	[SYNTAX_SOUND] = { "", "" },
	[SYNTAX_PROTOCOL] = { "protocol", "" }, /* nobody is told: an answer in HTTP would be noise to the client */
	[SYNTAX_VERSION] = { "version", "the request line must end in HTTP/1.1 or HTTP/1.0" },
	[SYNTAX_REQUEST_LINE] = { "request_line",
				  "the request line must be a method, a target and HTTP/1.1, with one space between" },
	[SYNTAX_LINE_END] = { "line_end", "each line must end in CR LF" },
	[SYNTAX_FOLDED] = { "folded_header", "a header must be one line" },
	[SYNTAX_HEADER] = { "header",
			    "a header must be a name, a colon at once, and a value without control characters" },
	[SYNTAX_HOST] = { "host", "there must be one Host header (HTTP/2: :authority) with the name of a host" },
	[SYNTAX_LENGTH] = { "content_length", "there may be one Content-Length header, and it must be a number" },
	[SYNTAX_ENCODING] = { "transfer_encoding",
			      "Transfer-Encoding must be chunked, once, in HTTP/1.1, without Content-Length" },
	[SYNTAX_TOO_LARGE] = { "too_large", "the request's headers are larger than 16 KiB or more than 100" },
	[SYNTAX_CHUNK] = { "chunk", "the chunked body is broken" },
	[SYNTAX_TARGET] = { "target", "the target must be a path that begins with /, or an http URL with a host" },
	[SYNTAX_METHOD] = { "method", "the method must be a word" },
	[SYNTAX_ESCAPE] = { "escape", "each % of the path and the query must be followed by two hexadecimal digits" },
};
static char targets[SYNTAX_FAULTS][1]; /* only their addresses matter */
static metric_id counts[SYNTAX_FAULTS];

void syntax_init(void)
{
	uint32_t family = metrics_family(METRIC_COUNTER, "fabra_http_malformed_requests",
					 "Requests refused because of their form.", "kind", NULL);
	for (int i = SYNTAX_SOUND + 1; i < SYNTAX_FAULTS; i++)
		counts[i] = metrics_series(family, (const char *[]){ faults[i].kind });
}

enum syntax_fault syntax_fault_of(const char *target)
{
	uintptr_t at = (uintptr_t)target - (uintptr_t)targets;
	return at < sizeof targets ? (enum syntax_fault)at : SYNTAX_SOUND;
}

const char *syntax_fault_text(enum syntax_fault fault)
{
	return faults[fault].text;
}

void syntax_count(enum syntax_fault fault)
{
	metrics_add(counts[fault], 1);
}

/* ---- characters (RFC 9110, 5.6.2 and 5.5; RFC 3986, 3.2) ---- */
enum { TOKEN = 1, VALUE = 2, AUTHORITY = 4 };

static const unsigned char classes[256] = {
	['\t'] = VALUE,
	[' '] = VALUE,
	['"'] = VALUE,
	['/'] = VALUE,
	['<'] = VALUE,
	['>' ... '@'] = VALUE,
	['\\'] = VALUE,
	['{'] = VALUE,
	['}'] = VALUE,
	[0x80 ... 0xff] = VALUE,
	['#'] = VALUE | TOKEN,
	['^'] = VALUE | TOKEN,
	['`'] = VALUE | TOKEN,
	['|'] = VALUE | TOKEN,
	['('] = VALUE | AUTHORITY,
	[')'] = VALUE | AUTHORITY,
	[','] = VALUE | AUTHORITY,
	[':'] = VALUE | AUTHORITY,
	[';'] = VALUE | AUTHORITY,
	['='] = VALUE | AUTHORITY,
	['['] = VALUE | AUTHORITY,
	[']'] = VALUE | AUTHORITY,
	['!'] = VALUE | TOKEN | AUTHORITY,
	['$' ... '\''] = VALUE | TOKEN | AUTHORITY,
	['*' ... '+'] = VALUE | TOKEN | AUTHORITY,
	['-' ... '.'] = VALUE | TOKEN | AUTHORITY,
	['0' ... '9'] = VALUE | TOKEN | AUTHORITY,
	['A' ... 'Z'] = VALUE | TOKEN | AUTHORITY,
	['_'] = VALUE | TOKEN | AUTHORITY,
	['a' ... 'z'] = VALUE | TOKEN | AUTHORITY,
	['~'] = VALUE | TOKEN | AUTHORITY,
};

static bool is_in(char c, int class)
{
	return classes[(unsigned char)c] & class;
}

static bool all_in(struct str s, int class)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_in(s.p[i], class))
			return false;
	return true;
}

static bool equals_ignoring_case(struct str s, struct str lower)
{
	return s.n == lower.n && strncasecmp(s.p, lower.p, s.n) == 0;
}

/* ---- targets ---- */
struct str syntax_origin_form(struct str target, struct str *ret_authority)
{
	size_t n = target.n >= 8 && strncasecmp(target.p, "https://", 8) == 0  ? 8
		   : target.n >= 7 && strncasecmp(target.p, "http://", 7) == 0 ? 7
									       : 0;
	*ret_authority = (struct str){ 0 };
	if (n == 0)
		return target;
	struct str rest = str_skip(target, n);
	*ret_authority = str_of(rest.p, 0);
	while (rest.n > 0 && rest.p[0] != '/' && rest.p[0] != '?') {
		rest = str_skip(rest, 1);
		ret_authority->n++;
	}
	return rest;
}

/* "host" or "host:80"; not empty (RFC 9110, 4.2.1). */
static bool is_authority(struct str s)
{
	return s.n > 0 && s.p[0] != ':' && all_in(s, AUTHORITY);
}

enum syntax_fault syntax_check_http2(struct str method, struct str authority)
{
	if (method.n == 0 || !all_in(method, TOKEN))
		return SYNTAX_METHOD;
	return authority.p == NULL || is_authority(authority) ? SYNTAX_SOUND : SYNTAX_HOST;
}

/* ---- the head ---- */
struct head {
	struct str method, target;
	int minor_version;
	struct phr_header *headers;
	size_t headers_len, headers_max;
	const struct phr_header *request_id; /* the last one; NULL: none */
	struct str host, length, encoding;
	unsigned hosts, lengths, encodings;
};

/* The line at *at without its CR LF, and *at behind it. false: *ret_fault, or SYNTAX_SOUND when its end has not arrived. */
static bool take_line(const char **at, const char *end, struct str *ret_line, enum syntax_fault *ret_fault)
{
	const char *lf = memchr(*at, '\n', (size_t)(end - *at));
	*ret_fault = SYNTAX_SOUND;
	if (lf == NULL)
		return false;
	if (lf == *at || lf[-1] != '\r') {
		*ret_fault = SYNTAX_LINE_END;
		return false;
	}
	*ret_line = str_of(*at, (size_t)(lf - 1 - *at));
	*at = lf + 1;
	return true;
}

static enum syntax_fault read_version(struct str version, struct head *h)
{
	if (version.n < 5 || memcmp(version.p, "HTTP/", 5) != 0)
		return SYNTAX_PROTOCOL;
	if (version.n != 8 || memcmp(version.p, "HTTP/1.", 7) != 0 || version.p[7] < '0' || version.p[7] > '9')
		return SYNTAX_VERSION;
	h->minor_version = version.p[7] - '0';
	return SYNTAX_SOUND;
}

static enum syntax_fault read_request_line(struct str line, struct head *h)
{
	const char *end = line.p + line.n, *space = memchr(line.p, ' ', line.n);
	if (space == NULL || !all_in(line, VALUE) || memchr(line.p, '\t', line.n) != NULL)
		return SYNTAX_REQUEST_LINE;
	h->method = str_of(line.p, (size_t)(space - line.p));
	const char *target = space + 1;
	space = memchr(target, ' ', (size_t)(end - target));
	if (space == NULL || space == target || h->method.n == 0 || !all_in(h->method, TOKEN))
		return SYNTAX_REQUEST_LINE;
	h->target = str_of(target, (size_t)(space - target));
	return read_version(str_of(space + 1, (size_t)(end - space - 1)), h);
}

/* The names whose number or value decides where the request ends or for whom it is. */
static void note_header(struct head *h, const struct phr_header *header)
{
	struct str name = { header->name, header->name_len }, value = { header->value, header->value_len };
	switch (name.n) {
	case 4:
		if (equals_ignoring_case(name, STR("host"))) {
			h->hosts++;
			h->host = value;
		}
		break;
	case 12:
		if (equals_ignoring_case(name, STR("x-request-id")))
			h->request_id = header;
		break;
	case 14:
		if (equals_ignoring_case(name, STR("content-length"))) {
			h->lengths++;
			h->length = value;
		}
		break;
	case 17:
		if (equals_ignoring_case(name, STR("transfer-encoding"))) {
			h->encodings++;
			h->encoding = value;
		}
		break;
	default:
		break;
	}
}

static enum syntax_fault read_header(struct str line, struct head *h)
{
	if (line.p[0] == ' ' || line.p[0] == '\t')
		return SYNTAX_FOLDED;
	const char *colon = memchr(line.p, ':', line.n);
	if (colon == NULL || colon == line.p)
		return SYNTAX_HEADER;
	struct str name = { line.p, (size_t)(colon - line.p) }, value = { colon + 1, line.n - name.n - 1 };
	while (value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t'))
		value = str_skip(value, 1);
	while (value.n > 0 && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
		value.n--;
	if (!all_in(name, TOKEN) || !all_in(value, VALUE))
		return SYNTAX_HEADER;
	if (h->minor_version == 0 && equals_ignoring_case(name, STR("expect")))
		return SYNTAX_SOUND; /* h2o would answer 100, which is unknown to HTTP/1.0 (RFC 9110, 10.1.1 and 15.2) */
	if (h->headers_len == h->headers_max)
		return SYNTAX_TOO_LARGE;
	h->headers[h->headers_len] = (struct phr_header){ name.p, name.n, value.p, value.n };
	note_header(h, &h->headers[h->headers_len++]);
	return SYNTAX_SOUND;
}

static bool is_number(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0 && s.n < 20;
}

/* RFC 9112, 3.2, 6.1 and 6.3. Of two lengths none is believed, even when they are equal. */
static enum syntax_fault check_head(const struct head *h)
{
	bool is_http10 = h->minor_version == 0;
	struct str authority;
	syntax_origin_form(h->target, &authority);
	if (authority.p != NULL && !is_authority(authority))
		return SYNTAX_TARGET;
	if (h->hosts > 1 || (h->hosts == 0 && !is_http10) || !all_in(h->host, AUTHORITY))
		return SYNTAX_HOST;
	if (h->lengths > 1 || (h->lengths == 1 && !is_number(h->length)))
		return SYNTAX_LENGTH;
	if (h->encodings > 0 &&
	    (h->encodings > 1 || h->lengths > 0 || is_http10 || !equals_ignoring_case(h->encoding, STR("chunked"))))
		return SYNTAX_ENCODING;
	return SYNTAX_SOUND;
}

/* Returns the bytes of the head, or 0 with *ret_fault: SYNTAX_SOUND when it is sound as far as it has arrived. */
static size_t read_head(const char *buf, size_t len, struct head *h, enum syntax_fault *ret_fault)
{
	const char *at = buf, *end = buf + len;
	struct str line;
	if (len >= 2 && at[0] == '\r' && at[1] == '\n')
		at += 2; /* some clients end a body with it (RFC 9112, 2.2) */
	if (!take_line(&at, end, &line, ret_fault)) {
		size_t n = (size_t)(end - at);
		if (n > 0 && end[-1] == '\r')
			n--;
		if (*ret_fault == SYNTAX_SOUND && !all_in(str_of(at, n), VALUE))
			*ret_fault = SYNTAX_REQUEST_LINE; /* binary: its LF may never come */
		return 0;
	}
	*ret_fault = read_request_line(line, h);
	while (*ret_fault == SYNTAX_SOUND && take_line(&at, end, &line, ret_fault)) {
		if (line.n == 0) {
			*ret_fault = check_head(h);
			return *ret_fault == SYNTAX_SOUND ? (size_t)(at - buf) : 0;
		}
		*ret_fault = read_header(line, h);
	}
	return 0;
}

static bool is_http2_preface(const char *buf, size_t len)
{
	static const char begin[] = "PRI * HTTP/2";
	size_t n = len < sizeof begin - 1 ? len : sizeof begin - 1;
	return memcmp(buf, begin, n) == 0;
}

int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len, const char **path,
		      size_t *path_len, int *minor_version, struct phr_header *headers, size_t *num_headers,
		      size_t last_len)
{
	struct head h = { .headers = headers, .headers_max = *num_headers };
	enum syntax_fault fault;
	(void)last_len;
	*num_headers = 0;
	if (is_http2_preface(buf, len))
		return len < sizeof "PRI * HTTP/2" - 1 ? PARSE_INCOMPLETE : PARSE_REFUSED;
	size_t n = read_head(buf, len < HEAD_BYTES_MAX ? len : HEAD_BYTES_MAX, &h, &fault);
	if (fault == SYNTAX_SOUND && n == 0 && len >= HEAD_BYTES_MAX)
		fault = SYNTAX_TOO_LARGE;
	if (fault == SYNTAX_SOUND && n == 0)
		return PARSE_INCOMPLETE;
	if (fault != SYNTAX_SOUND) {
		if (h.request_id != NULL)
			headers[(*num_headers)++] = *h.request_id;
		h.method = STR("GET");
		h.target = str_of(targets[fault], 1);
		h.minor_version = 1;
		n = len; /* nothing behind it is read */
	} else {
		*num_headers = h.headers_len;
	}
	*method = h.method.p;
	*method_len = h.method.n;
	*path = h.target.p;
	*path_len = h.target.n;
	*minor_version = h.minor_version;
	return (int)n;
}

/* ---- chunked bodies (RFC 9112, 7.1) ---- */
enum chunk_state {
	CHUNK_SIZE, /* 0: as the memory comes */
	CHUNK_SPACE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_START,
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	CHUNK_END_LF,
	CHUNK_END,
	CHUNK_BROKEN,
};

static enum chunk_state after_size(struct phr_chunked_decoder *d, char c)
{
	int digit = encode_hex_value(c);
	if (digit >= 0 && d->digits < CHUNK_DIGITS_MAX) {
		d->left = d->left * 16 + (size_t)digit;
		d->digits++;
		return CHUNK_SIZE;
	}
	if (digit >= 0 || d->digits == 0)
		return CHUNK_BROKEN;
	switch (c) {
	case ' ':
	case '\t':
		return CHUNK_SPACE;
	case ';':
		return CHUNK_EXTENSION;
	case '\r':
		return CHUNK_SIZE_LF;
	default:
		return CHUNK_BROKEN;
	}
}

static enum chunk_state after_ignored(struct phr_chunked_decoder *d, bool is_sound, enum chunk_state next)
{
	return is_sound && ++d->ignored <= CHUNK_IGNORED_MAX ? next : CHUNK_BROKEN;
}

/* The state after one byte that is not data. */
static enum chunk_state after_byte(struct phr_chunked_decoder *d, char c)
{
	switch ((enum chunk_state)d->state) {
	case CHUNK_SIZE:
		return after_size(d, c);
	case CHUNK_SPACE:
		return after_ignored(d, c == ' ' || c == '\t' || c == ';', c == ';' ? CHUNK_EXTENSION : CHUNK_SPACE);
	case CHUNK_EXTENSION:
		return c == '\r' ? CHUNK_SIZE_LF : after_ignored(d, is_in(c, VALUE), CHUNK_EXTENSION);
	case CHUNK_SIZE_LF:
		d->digits = 0;
		return c != '\n' ? CHUNK_BROKEN : d->left > 0 ? CHUNK_DATA : TRAILER_START;
	case CHUNK_DATA_CR:
		return c == '\r' ? CHUNK_DATA_LF : CHUNK_BROKEN;
	case CHUNK_DATA_LF:
		return c == '\n' ? CHUNK_SIZE : CHUNK_BROKEN;
	case TRAILER_START:
		return c == '\r' ? CHUNK_END_LF : after_ignored(d, is_in(c, TOKEN), TRAILER_NAME);
	case TRAILER_NAME:
		return after_ignored(d, c == ':' || is_in(c, TOKEN), c == ':' ? TRAILER_VALUE : TRAILER_NAME);
	case TRAILER_VALUE:
		return c == '\r' ? TRAILER_LF : after_ignored(d, is_in(c, VALUE), TRAILER_VALUE);
	case TRAILER_LF:
		return c == '\n' ? TRAILER_START : CHUNK_BROKEN;
	case CHUNK_END_LF:
		return c == '\n' ? CHUNK_END : CHUNK_BROKEN;
	case CHUNK_DATA:
	case CHUNK_END:
	case CHUNK_BROKEN:
		break;
	}
	return CHUNK_BROKEN;
}

/* On return the decoded bytes are at the front, *bufsz of them. Returns the number of bytes behind the end of the body,
 * which follow the decoded ones; PARSE_INCOMPLETE; PARSE_REFUSED. */
ssize_t phr_decode_chunked(struct phr_chunked_decoder *d, char *buf, size_t *bufsz)
{
	size_t in = 0, out = 0, len = *bufsz;
	while (in < len && d->state != CHUNK_END && d->state != CHUNK_BROKEN) {
		if (d->state != CHUNK_DATA) {
			d->state = (char)after_byte(d, buf[in++]);
			continue;
		}
		size_t n = len - in < d->left ? len - in : d->left;
		memmove(buf + out, buf + in, n);
		in += n;
		out += n;
		d->left -= n;
		if (d->left == 0)
			d->state = CHUNK_DATA_CR;
	}
	memmove(buf + out, buf + in, len - in);
	*bufsz = out;
	if (d->state == CHUNK_END)
		return (ssize_t)(len - in);
	if (d->state != CHUNK_BROKEN)
		return PARSE_INCOMPLETE;
	syntax_count(SYNTAX_CHUNK);
	return PARSE_REFUSED;
}
