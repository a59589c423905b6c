/* TLS to Redis, by OpenSSL itself: hiredis's own context does not check whose certificate it is. */
#include "store/redis/redis_private.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>

static bool fail(struct buf *ret_why, const char *what, const char *file)
{
	unsigned long error = ERR_peek_last_error();
	const char *reason = error ? ERR_reason_error_string(error) : NULL;
	buf_printf(ret_why, "TLS to Redis: %s %s cannot be used: %s", what, file,
		   reason ? reason : "no reason is known");
	ERR_clear_error();
	return false;
}

static bool prepare(SSL_CTX *c, const struct redis_url *u, struct buf *ret_why)
{
	ERR_clear_error();
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION); /* so that writing never waits for reading */
	SSL_CTX_set_verify(c, u->takes_any_certificate ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	if (u->ca_file[0] ? SSL_CTX_load_verify_locations(c, u->ca_file, NULL) != 1
			  : SSL_CTX_set_default_verify_paths(c) != 1)
		return fail(ret_why, "the file of authorities", u->ca_file);
	if (u->cert_file[0] && SSL_CTX_use_certificate_chain_file(c, u->cert_file) != 1)
		return fail(ret_why, "the certificate", u->cert_file);
	if (u->key_file[0] && SSL_CTX_use_PrivateKey_file(c, u->key_file, SSL_FILETYPE_PEM) != 1)
		return fail(ret_why, "the key", u->key_file);
	return true;
}

SSL_CTX *redis_tls_create(const struct redis_url *url, struct buf *ret_why)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	if (c == NULL) {
		buf_append_lit(ret_why, "TLS to Redis: out of memory");
		return NULL;
	}
	if (prepare(c, url, ret_why))
		return c;
	SSL_CTX_free(c);
	return NULL;
}

SSL *redis_tls_begin(const struct redis *r)
{
	SSL *ssl = SSL_new(r->tls);
	if (ssl == NULL)
		return NULL;
	bool is_set = r->url.is_name
			  ? SSL_set1_host(ssl, r->url.host) == 1 && SSL_set_tlsext_host_name(ssl, r->url.host) == 1
			  : X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), r->url.host) == 1;
	if (is_set)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

void redis_tls_why(const SSL *ssl, char *out, size_t cap)
{
	long verified = SSL_get_verify_result(ssl);
	unsigned long error = ERR_peek_error();
	const char *reason = error ? ERR_reason_error_string(error) : NULL;
	if (verified != X509_V_OK)
		text_printf(
		    out, cap,
		    "the TLS certificate of Redis is refused (%s): correct ssl_ca_certs, or the host in the URL",
		    X509_verify_cert_error_string(verified));
	else
		text_printf(out, cap, "no TLS with Redis (%s): does the port speak TLS?",
			    reason ? reason : "it hung up");
	ERR_clear_error();
}
