/* Connections for hostile tests: bytes and HTTP/2 frames by hand, over plain text or TLS. Every wait is bounded. */
#pragma once
#include "tests/tools/http_client.h"
#include <openssl/ssl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>

enum {
	FRAME_DATA,
	FRAME_HEADERS,
	FRAME_PRIORITY,
	FRAME_RST_STREAM,
	FRAME_SETTINGS,
	FRAME_PING = 6,
	FRAME_GOAWAY,
	FRAME_WINDOW_UPDATE,
	FRAME_CONTINUATION
};
enum { FLAG_END_STREAM = 1, FLAG_END_HEADERS = 4 };

struct raw_tls { /* a certificate for the server, and what its clients use */
	char cert[64], key[64];
	SSL_CTX *client;
};

struct raw {
	int fd;
	SSL *ssl; /* NULL: plain text */
};

/* ---- TLS ---- */
static inline void raw_pem_write(char path[static 64], const char *what, EVP_PKEY *key, X509 *cert)
{
	snprintf(path, 64, "/tmp/fabra_test_%s_XXXXXX", what);
	int fd = mkstemp(path);
	CHECK(fd >= 0);
	FILE *file = fdopen(fd, "w");
	CHECK(file != NULL);
	CHECK(cert != NULL ? PEM_write_X509(file, cert) : PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
	fclose(file);
}

static inline void raw_tls_init(struct raw_tls *t)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	CHECK(key != NULL && cert != NULL);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
				   -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	CHECK(X509_sign(cert, key, EVP_sha256()) > 0);
	raw_pem_write(t->cert, "cert", NULL, cert);
	raw_pem_write(t->key, "key", key, NULL);
	X509_free(cert);
	EVP_PKEY_free(key);
	t->client = SSL_CTX_new(TLS_client_method());
	CHECK(t->client != NULL);
}

static inline void raw_tls_finish(struct raw_tls *t)
{
	unlink(t->cert);
	unlink(t->key);
	SSL_CTX_free(t->client);
}

/* ---- connections ---- */
/* tls NULL: plain text. version: TLS1_2_VERSION, TLS1_3_VERSION or 0 for the newest. false: the server refused. */
static inline bool raw_try(struct raw *r, uint16_t port, const struct raw_tls *tls, bool is_http2, int version)
{
	static const unsigned char h2[] = "\2h2", h1[] = "\10http/1.1";
	struct timeval wait = { .tv_sec = CLIENT_WAIT_MS / 1000 };
	*r = (struct raw){ .fd = client_connect(port) };
	if (r->fd < 0)
		return false;
	setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	setsockopt(r->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	if (tls == NULL)
		return true;
	r->ssl = SSL_new(tls->client);
	SSL_set_alpn_protos(r->ssl, is_http2 ? h2 : h1, (unsigned)(is_http2 ? sizeof h2 : sizeof h1) - 1);
	if (version != 0)
		SSL_set_max_proto_version(r->ssl, version);
	SSL_set_fd(r->ssl, r->fd);
	return SSL_connect(r->ssl) == 1;
}

static inline void raw_close(struct raw *r)
{
	SSL_free(r->ssl);
	close(r->fd);
	*r = (struct raw){ .fd = -1 };
}

static inline void raw_reset(struct raw *r)
{
	struct linger now = { .l_onoff = 1 };
	setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	raw_close(r);
}

static inline bool raw_send(struct raw *r, const void *bytes, size_t n)
{
	if (r->ssl == NULL)
		return client_send(r->fd, bytes, n);
	return n == 0 || SSL_write(r->ssl, bytes, (int)n) == (int)n;
}

static inline bool raw_send_text(struct raw *r, const char *text)
{
	return raw_send(r, text, strlen(text));
}

/* 0: the server has ended the connection, or nothing came in time. */
static inline size_t raw_recv(struct raw *r, void *bytes, size_t n)
{
	ssize_t got = r->ssl != NULL ? SSL_read(r->ssl, bytes, (int)n) : recv(r->fd, bytes, n, 0);
	return got > 0 ? (size_t)got : 0;
}

/* Reads what is there, without waiting for more than wait_ms. false: the end. */
static inline bool raw_drain(struct raw *r, int wait_ms)
{
	char bytes[16384];
	for (; (r->ssl != NULL && SSL_pending(r->ssl) > 0) || client_readable(r->fd, wait_ms); wait_ms = 0)
		if (raw_recv(r, bytes, sizeof bytes) == 0)
			return false;
	return true;
}

/* Without reading: has the server closed, or reset? */
static inline bool raw_has_hung_up(const struct raw *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLRDHUP };
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* ---- HTTP/2 ---- */
static inline size_t raw_frame_write(uint8_t *out, unsigned type, unsigned flags, uint32_t stream, const void *payload,
				     size_t n)
{
	uint8_t head[9] = { (uint8_t)(n >> 16),      (uint8_t)(n >> 8),      (uint8_t)n,
			    (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
			    (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream };
	memcpy(out, head, sizeof head);
	if (n > 0)
		memcpy(out + sizeof head, payload, n);
	return sizeof head + n;
}

static inline bool raw_frame(struct raw *r, unsigned type, unsigned flags, uint32_t stream, const void *payload,
			     size_t n)
{
	uint8_t bytes[9 + 16384];
	CHECK(n <= 16384);
	return raw_send(r, bytes, raw_frame_write(bytes, type, flags, stream, payload, n));
}

/* The preface and SETTINGS with this initial window. */
static inline bool raw_preface(struct raw *r, uint32_t window)
{
	uint8_t setting[6] = {
		0, 4, (uint8_t)(window >> 24), (uint8_t)(window >> 16), (uint8_t)(window >> 8), (uint8_t)window
	};
	return raw_send_text(r, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") &&
	       raw_frame(r, FRAME_SETTINGS, 0, 0, setting, sizeof setting);
}

static inline size_t raw_head(uint8_t out[static 256], const char *method, const char *path)
{
	size_t n = 0, path_n = strlen(path);
	CHECK(path_n < 127);
	out[n++] = strcmp(method, "GET") == 0 ? 0x82 : 0x83;
	out[n++] = 0x86;
	out[n++] = 0x01; /* :authority, not indexed */
	out[n++] = 1;
	out[n++] = 'x';
	out[n++] = 0x04; /* :path, not indexed */
	out[n++] = (uint8_t)path_n;
	memcpy(out + n, path, path_n);
	return n + path_n;
}

static inline bool raw_request(struct raw *r, uint32_t stream, const char *method, const char *path, unsigned flags)
{
	uint8_t head[256];
	return raw_frame(r, FRAME_HEADERS, flags, stream, head, raw_head(head, method, path));
}
