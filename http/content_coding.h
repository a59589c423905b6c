/* Content codings (RFC 9110, 8.4.1 and 12.5.3): what a client takes, and what a request's body is in. */
#pragma once
#include "runtime/str.h"
#include <h2o.h>

/* Whether a reply should be compressed by gzip for who sent these headers: gzip (or "*") has a weight above 0, and identity,
 * when it is named, none above that. A member that cannot be understood counts as absent. */
bool coding_takes_gzip(const h2o_headers_t *headers);
/* Whether the value of a Content-Encoding names nothing but identity. */
bool coding_is_identity(struct str value);
