/* TLS 1.2 and 1.3 for the server, with HTTP/2 and HTTP/1.1 offered by ALPN. */
#include "http/server_private.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *fails(SSL_CTX *ctx, struct buf *ret_why, const char *what, const char *file)
{
	char text[160];
	ERR_error_string_n(ERR_get_error(), text, sizeof text);
	buf_printf(ret_why, "%s %s: %s; both files must be PEM and belong together", what, file, text);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return NULL;
}

SSL_CTX *tls_create(const char *cert_file, const char *key_file, struct buf *ret_why)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	CHECK(ctx != NULL);
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	/* Forward secrecy and authenticated encryption only, also under TLS 1.2 (RFC 9113 forbids the rest
	 * for HTTP/2). */
	SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
		return fails(ctx, ret_why, "cannot use the certificate", cert_file);
	if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		return fails(ctx, ret_why, "cannot use the private key", key_file);
	h2o_ssl_register_alpn_protocols(ctx, h2o_alpn_protocols);
	return ctx;
}
