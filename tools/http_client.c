#include "tools/http_client.h"
#include "runtime/check.h"
#include "runtime/config.h"
#include "tools/api_key.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

enum { BODY_MAX = 256 << 20, CONNECT_TIMEOUT_MS = 5000 };

void http_client_init(struct http_client *c, const char *url, const char *host, unsigned port)
{
	*c = (struct http_client){ .api_key = getenv("FABRA_API_KEY"), .timeout_ms = 30000 };
	if (c->api_key && c->api_key[0] == '\0')
		c->api_key = NULL;
	if (url == NULL && host == NULL && port == 0)
		url = config_str("FABRA_URL", NULL);
	if (host == NULL)
		host = "127.0.0.1";
	bool is_ipv6 = host[0] != '[' && strchr(host, ':') != strrchr(host, ':'); /* in a URL it stands in brackets */
	if (url)
		snprintf(c->url, sizeof c->url, "%s", url);
	else
		snprintf(c->url, sizeof c->url, is_ipv6 ? "http://[%s]:%u" : "http://%s:%u", host, port ? port : 8000);
	for (size_t n = strlen(c->url); n && c->url[n - 1] == '/'; n--)
		c->url[n - 1] = '\0';
}

void http_client_escape(struct buf *out, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	for (; *text; text++) {
		unsigned char ch = (unsigned char)*text;
		bool plain = (ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') ||
			     strchr("-._~:", ch);
		if (plain) {
			buf_append_char(out, (char)ch);
			continue;
		}
		buf_append_char(out, '%');
		buf_append_char(out, hex[ch >> 4]);
		buf_append_char(out, hex[ch & 15]);
	}
}

struct receiver {
	const struct http_client *client;
	CURL *curl;
	struct buf *body;
};

/* Hands on the lines that are whole and keeps the rest. */
static bool take_lines(const struct http_client *c, struct buf *body)
{
	size_t from = 0;
	for (char *end; (end = memchr(body->p + from, '\n', body->n - from)) != NULL;) {
		if (!c->on_line(c->arg, str_of(body->p + from, (size_t)(end - body->p) - from)))
			return false;
		from = (size_t)(end - body->p) + 1;
	}
	memmove(body->p, body->p + from, body->n - from);
	body->n -= from;
	return true;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct receiver *r = arg;
	long status = 0;
	buf_append(r->body, data, size * n);
	if (r->body->failed)
		return 0;
	if (r->client->on_line != NULL && r->body->n > 0 &&
	    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200 &&
	    !take_lines(r->client, r->body))
		return 0;
	return size * n;
}

static struct curl_slist *headers_of(const struct http_client *c, bool has_body)
{
	struct curl_slist *list = NULL;
	char line[sizeof "X-API-Key: " + API_KEY_BYTES_MAX];
	if (c->api_key) {
		snprintf(line, sizeof line, "X-API-Key: %s", c->api_key);
		list = curl_slist_append(list, line);
	}
	if (has_body)
		list = curl_slist_append(list, "Content-Type: application/json");
	return list;
}

static const char *cure_of(CURLcode code)
{
	static const struct {
		CURLcode code;
		const char *text;
	} cures[] = {
		{ CURLE_PEER_FAILED_VERIFICATION,
		  "Name the certificate to trust with --cacert FILE; for a test, --insecure trusts any." },
		{ CURLE_SSL_CACERT_BADFILE, "--cacert must name a readable file of PEM certificates." },
		{ CURLE_SSL_CONNECT_ERROR,
		  "Does the server speak TLS? If not, name it with http:// in --url or FABRA_URL." },
		{ CURLE_GOT_NOTHING, "Does the server speak TLS? Then name it with https:// in --url or FABRA_URL." },
		{ CURLE_RECV_ERROR, "Does the server speak TLS? Then name it with https:// in --url or FABRA_URL." },
		{ CURLE_OPERATION_TIMEDOUT, "The server's /ready says what it waits for; --timeout gives it longer." },
	};
	for (size_t i = 0; i < ARRAY_LEN(cures); i++)
		if (cures[i].code == code)
			return cures[i].text;
	return "Is the server running? Name it with --url or FABRA_URL.";
}

void http_client_request(const struct http_client *c, const char *method, const char *path, const char *body,
			 struct http_answer *ret)
{
	*ret = (struct http_answer){ .cure = "", .body = { .max = BODY_MAX } };
	char url[4096];
	if ((size_t)snprintf(url, sizeof url, "%s%s", c->url, path) >= sizeof url) {
		buf_append_lit(&ret->body, "the URL is too long");
		return;
	}
	const char *fault = c->api_key ? api_key_fault(c->api_key) : NULL;
	if (fault) {
		buf_printf(&ret->body, "FABRA_API_KEY %s", fault);
		ret->cure = "Set it to the server's key, as it is.";
		return;
	}
	CURL *curl = curl_easy_init();
	if (curl == NULL) {
		buf_append_lit(&ret->body, "out of memory");
		return;
	}
	struct curl_slist *headers = headers_of(c, body != NULL);
	char why[CURL_ERROR_SIZE] = "";
	struct receiver receiver = { c, curl, &ret->body };
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, c->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "fabra/" FABRA_VERSION);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &receiver);
	if (c->insecure) {
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (c->ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca_file);
	CURLcode code = curl_easy_perform(curl);
	if (code == CURLE_OK) {
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
	} else {
		buf_clear(&ret->body);
		ret->cure = cure_of(code);
		buf_printf(&ret->body, "%s", why[0] ? why : curl_easy_strerror(code));
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
}
