/* The yardstick for the HTTP front end: a libh2o server on libuv that does nothing but return one fixed JSON
 * reply. It sends the same bytes as ours, hence also an x-request-id that differs each time; one thread, no
 * log, no routes.
 *     bench_http_bare [BODY]    prints "port N"; on SIGTERM prints its CPU microseconds and requests. */
#include <h2o.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static struct {
	h2o_globalconf_t config;
	h2o_context_t context;
	h2o_accept_ctx_t accept;
	const char *body;
	size_t body_bytes;
	unsigned long requests;
} bare;

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
	(void)self;
	char *id = h2o_mem_alloc_pool(&req->pool, 16);
	unsigned long number = ++bare.requests * 0x9e3779b97f4a7c15ul;
	for (int i = 0; i < 16; i++, number >>= 4)
		id[i] = "0123456789abcdef"[number & 15];
	req->res.status = 200;
	req->res.reason = "OK";
	req->res.content_length = bare.body_bytes;
	h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
	h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-request-id"), 0, NULL, id, 16);
	h2o_send_inline(req, bare.body, bare.body_bytes);
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void on_connection(uv_stream_t *listener, int status)
{
	if (status != 0)
		return;
	uv_tcp_t *client = malloc(sizeof *client);
	uv_tcp_init(listener->loop, client);
	if (uv_accept(listener, (uv_stream_t *)client) != 0) {
		uv_close((uv_handle_t *)client, on_closed);
		return;
	}
	uv_tcp_nodelay(client, 1);
	h2o_accept(&bare.accept, h2o_uv_socket_create((uv_stream_t *)client, on_closed));
}

static void on_term(uv_signal_t *signal, int number)
{
	struct rusage use;
	(void)signal;
	(void)number;
	getrusage(RUSAGE_SELF, &use);
	printf("{\"cpu_us\":%lld,\"requests\":%lu}\n",
	       (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000ll + use.ru_utime.tv_usec + use.ru_stime.tv_usec,
	       bare.requests);
	exit(0);
}

int main(int argc, char **argv)
{
	uv_loop_t *loop = uv_default_loop();
	uv_tcp_t listener;
	uv_signal_t term;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int address_bytes = sizeof address;

	bare.body = argc > 1 ? argv[1] : "{\"value\":12.5,\"freshness_ms\":120,\"served_from\":\"online\"}";
	bare.body_bytes = strlen(bare.body);
	signal(SIGPIPE, SIG_IGN);
	h2o_config_init(&bare.config);
	bare.config.server_name = h2o_iovec_init(NULL, 0);
	h2o_hostconf_t *host = h2o_config_register_host(&bare.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
	h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_request;
	h2o_context_init(&bare.context, loop, &bare.config);
	bare.accept = (h2o_accept_ctx_t){ .ctx = &bare.context, .hosts = bare.config.hosts };

	uv_tcp_init(loop, &listener);
	if (uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) != 0 ||
	    uv_listen((uv_stream_t *)&listener, 1024, on_connection) != 0)
		return 1;
	uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &address_bytes);
	printf("port %u\n", ntohs(address.sin_port));
	fflush(stdout);
	uv_signal_init(loop, &term);
	uv_signal_start(&term, on_term, SIGTERM);
	return uv_run(loop, UV_RUN_DEFAULT);
}
