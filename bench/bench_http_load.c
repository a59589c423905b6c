/* Requests over h2c: connections x streams kept full until all are answered.
 *     bench_http_load PORT PATH [--ids 100000] [--requests 320000] [--connections 32] [--streams 10] [--all] [--body JSON]
 *                     [--log FILE]
 * GETs with an id at random appended to PATH (h2load gives each connection the same list of addresses from its start, so that all
 * ask for the same ids together); --ids 0 appends none; --all asks for each id once, in order. With --body they are POSTs. Prints
 * what a request took from its submission to its last byte; --log writes the two times of each, in ns of CLOCK_MONOTONIC, which perf
 * can use too. Exit 1 unless all were answered 200.
 *
 * It shares the machine with what it measures, and so does little: two system calls and one epoll_wait for all that is there. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

struct conn {
	nghttp2_session *session;
	int fd;
};

static struct {
	const char *path, *body, *log;
	uint64_t ids, requests, started, answered, good, random_state;
	struct answer {
		uint64_t start_ns, took_ns;
	} *answers;
	int connections, streams, port;
	bool all;
} load = { .ids = 100000, .requests = 320000, .random_state = 7, .connections = 32, .streams = 10 };

static void die(const char *what)
{
	fprintf(stderr, "bench_http_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t next_id(void)
{
	if (load.all)
		return load.started % load.ids;
	load.random_state = load.random_state * 6364136223846793005u + 1442695040888963407u; /* Knuth, MMIX */
	return (load.random_state >> 33) % load.ids;
}

#define HEADER(name, text, bytes) \
	{ (uint8_t *)(name), (uint8_t *)(text), sizeof(name) - 1, (bytes), NGHTTP2_NV_FLAG_NONE }

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
			 nghttp2_data_source *source, void *user)
{
	(void)session, (void)stream, (void)source, (void)user;
	size_t n = strlen(load.body);
	if (n > room)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	memcpy(to, load.body, n);
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static void submit(struct conn *c)
{
	char path[512];
	int n = load.ids ? snprintf(path, sizeof path, "%sid%llu", load.path, (unsigned long long)next_id())
			 : snprintf(path, sizeof path, "%s", load.path);
	const nghttp2_nv headers[] = { load.body ? (nghttp2_nv)HEADER(":method", "POST", 4) : (nghttp2_nv)HEADER(":method", "GET", 3),
				       HEADER(":scheme", "http", 4), HEADER(":authority", "127.0.0.1", 9),
				       HEADER(":path", path, (size_t)n), HEADER("content-type", "application/json", 16) };
	const nghttp2_data_provider body = { .read_callback = read_body };
	load.started++;
	if (nghttp2_submit_request(c->session, NULL, headers, load.body ? 5 : 4, load.body ? &body : NULL,
				   (void *)(uintptr_t)now_ns()) < 0)
		die("a request cannot be made");
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
		     const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
	(void)session, (void)frame, (void)flags, (void)user;
	load.good += name_n == 7 && memcmp(name, ":status", 7) == 0 && value_n == 3 && memcmp(value, "200", 3) == 0;
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user)
{
	(void)error;
	uint64_t start_ns = (uintptr_t)nghttp2_session_get_stream_user_data(session, stream);
	load.answers[load.answered++] = (struct answer){ start_ns, now_ns() - start_ns };
	if (load.started < load.requests)
		submit(user);
	return 0;
}

static void send_all(struct conn *c)
{
	static uint8_t bytes[1 << 16];
	const uint8_t *part;
	size_t n = 0;
	for (ssize_t got; (got = nghttp2_session_mem_send(c->session, &part)) > 0; n += (size_t)got) {
		if (n + (size_t)got > sizeof bytes) {
			errno = EMSGSIZE;
			die("requests");
		}
		memcpy(bytes + n, part, (size_t)got);
	}
	for (size_t at = 0; at < n;) {
		ssize_t put = write(c->fd, bytes + at, n - at);
		if (put < 0 && errno != EAGAIN && errno != EINTR)
			die("write");
		at += put > 0 ? (size_t)put : 0;
	}
}

static void receive(struct conn *c)
{
	uint8_t bytes[1 << 16];
	ssize_t n = read(c->fd, bytes, sizeof bytes);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		die("the server closed a connection");
	if (n > 0 && nghttp2_session_mem_recv(c->session, bytes, (size_t)n) < 0)
		die("not HTTP/2");
	send_all(c);
}

static void open_conn(struct conn *c, const nghttp2_session_callbacks *callbacks, int epoll)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)load.port) };
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	if (nghttp2_session_client_new(&c->session, callbacks, c) != 0)
		die("nghttp2");
	/* Windows as large as they may be: no updates of them between the answers. */
	const nghttp2_settings_entry window = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, INT32_MAX };
	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &window, 1);
	nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, INT32_MAX);
	epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = c });
	for (int i = 0; i < load.streams && load.started < load.requests; i++)
		submit(c);
	send_all(c);
}

static void run(void)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	int epoll = epoll_create1(0);
	struct conn *conns = calloc((size_t)load.connections, sizeof *conns);
	if (epoll < 0 || conns == NULL)
		die("start");
	for (int i = 0; i < load.connections; i++)
		open_conn(&conns[i], callbacks, epoll);
	while (load.answered < load.requests) {
		struct epoll_event events[64];
		int n = epoll_wait(epoll, events, 64, 10000);
		if (n == 0) {
			errno = ETIMEDOUT;
			die("no answer");
		}
		for (int i = 0; i < n; i++)
			receive(events[i].data.ptr);
	}
	for (int i = 0; i < load.connections; i++) {
		nghttp2_session_del(conns[i].session);
		close(conns[i].fd);
	}
	nghttp2_session_callbacks_del(callbacks);
	free(conns);
	close(epoll);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = ((const struct answer *)a)->took_ns, y = ((const struct answer *)b)->took_ns;
	return x < y ? -1 : x > y;
}

static void write_log(void)
{
	FILE *f = fopen(load.log, "w");
	if (f == NULL)
		die(load.log);
	for (uint64_t i = 0; i < load.answered; i++)
		fprintf(f, "%llu %llu\n", (unsigned long long)load.answers[i].start_ns,
			(unsigned long long)(load.answers[i].start_ns + load.answers[i].took_ns));
	if (fclose(f) != 0)
		die(load.log);
}

static void print(double seconds)
{
	uint64_t n = load.answered;
	const struct answer *a = load.answers;
	qsort(load.answers, n, sizeof *load.answers, compare);
	printf("%.0f requests/s, p50 %.3f p99 %.3f p99.9 %.3f ms\n", (double)n / seconds, (double)a[n / 2].took_ns / 1e6,
	       (double)a[n * 99 / 100].took_ns / 1e6, (double)a[n * 999 / 1000].took_ns / 1e6);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "ids", required_argument, NULL, 'i' },	 { "requests", required_argument, NULL, 'n' },
		{ "connections", required_argument, NULL, 'c' }, { "streams", required_argument, NULL, 'm' },
		{ "all", no_argument, NULL, 'a' },		 { "body", required_argument, NULL, 'b' },
		{ "log", required_argument, NULL, 'l' },	 { 0 },
	};
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case 'i': load.ids = strtoull(optarg, NULL, 10); break;
		case 'n': load.requests = strtoull(optarg, NULL, 10); break;
		case 'c': load.connections = atoi(optarg); break;
		case 'm': load.streams = atoi(optarg); break;
		case 'a': load.all = true; break;
		case 'b': load.body = optarg; break;
		case 'l': load.log = optarg; break;
		default: return 2;
		}
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: bench_http_load PORT PATH [options]\n");
		return 2;
	}
	load.port = atoi(argv[optind]);
	load.path = argv[optind + 1];
	if (load.all)
		load.requests = load.ids;
	load.answers = calloc(load.requests, sizeof *load.answers);
	if (load.answers == NULL)
		die("start");
	uint64_t start_ns = now_ns();
	run();
	double seconds = (double)(now_ns() - start_ns) / 1e9;
	if (load.log != NULL)
		write_log();
	print(seconds);
	if (load.good != load.requests)
		fprintf(stderr, "%llu of %llu were 200\n", (unsigned long long)load.good, (unsigned long long)load.requests);
	return load.good == load.requests ? 0 : 1;
}
