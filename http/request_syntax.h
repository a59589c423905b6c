/* What a request must look like on the wire, more strictly than libh2o asks. HTTP/1 is read here, in the place of the parser
 * that is built into libh2o (docs/adr/0011), as RFC 9112 demands of a server behind which, or before which, another one
 * reads the same bytes: whatever two readers could understand in two ways is refused, and the connection closed.
 *
 * The refusal takes the way of a request, so that it is answered, counted and logged like any other: the parser gives h2o
 * a request whose target is an address of its own, and the exchange asks syntax_fault_of. */
#pragma once
#include "runtime/str.h"
#include <stddef.h>

enum syntax_fault {
	SYNTAX_SOUND,
	SYNTAX_PROTOCOL, /* a request line of another protocol than HTTP */
	SYNTAX_VERSION,  /* HTTP, but not 1.0 or 1.1 in this form */
	SYNTAX_REQUEST_LINE,
	SYNTAX_LINE_END, /* LF without CR */
	SYNTAX_FOLDED,   /* a header that goes on in the next line */
	SYNTAX_HEADER,
	SYNTAX_HOST,      /* none, several, or not the name of a host; HTTP/2: the same of :authority */
	SYNTAX_LENGTH,    /* Content-Length: several, or not a number */
	SYNTAX_ENCODING,  /* Transfer-Encoding: other than exactly "chunked", or beside a Content-Length */
	SYNTAX_TOO_LARGE, /* the head as a whole, or the number of its headers */
	SYNTAX_CHUNK,     /* a chunked body */
	SYNTAX_TARGET,    /* HTTP/2's :path: empty, or not a path. HTTP/1: a URL without a host */
	SYNTAX_METHOD,    /* HTTP/2's :method: not a word */
	SYNTAX_ESCAPE,    /* a % that two hexadecimal digits do not follow, in path or query */
	SYNTAX_FAULTS,
};

/* What is behind the authority of "http://host:80/path" (RFC 9112, 3.2.2), and the authority; p NULL: a target of another form,
 * which is returned as it is. */
struct str syntax_origin_form(struct str target, struct str *ret_authority);
/* Whether an HTTP/2 request's method is a word, and its authority, unless its p is NULL, the name of a host. */
enum syntax_fault syntax_check_http2(struct str method, struct str authority);
/* Once, before the first loop runs. */
void syntax_init(void);
/* The fault for which a request of h2o's stands: its target's address. */
enum syntax_fault syntax_fault_of(const char *target);
/* What the client is told: a sentence. A literal. */
const char *syntax_fault_text(enum syntax_fault fault);
/* Adds to fabra_http_malformed_requests_total{kind}. Any thread. */
void syntax_count(enum syntax_fault fault);
