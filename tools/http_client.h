/* A small HTTP client for the command line, on libcurl: HTTP/2 where the server speaks it, TLS, a deadline. */
#pragma once
#include "runtime/buf.h"

struct http_client {
	char url[1024];      /* base, without a slash at the end */
	const char *api_key; /* borrows; NULL = none */
	long timeout_ms;
	bool insecure;       /* accept any certificate */
	const char *ca_file; /* borrows; NULL = the system's */
	/* NULL, or what takes each whole line of an answer of status 200 as it comes, without its line end; false stops. The body
	 * of that answer is empty then. */
	bool (*on_line)(void *arg, struct str line);
	void *arg;
};

struct http_answer {
	long status;      /* 0: no answer; body then says why */
	const char *cure; /* static; a line on what to do about no answer; may be "" */
	struct buf body;
};

/* From FABRA_URL and FABRA_API_KEY; host and port (NULL/0 = not given) win over FABRA_URL, url wins over all. */
void http_client_init(struct http_client *c, const char *url, const char *host, unsigned port);
/* body NULL = GET. The caller finishes ret->body. */
void http_client_request(const struct http_client *c, const char *method, const char *path, const char *body,
			 struct http_answer *ret);
/* Percent-encodes one path or query part. */
void http_client_escape(struct buf *out, const char *text);
