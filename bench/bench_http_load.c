/* Requests over h2c: connections x streams kept full until all are answered.
 *     bench_http_load PORT PATH [--ids 100000] [--requests 320000] [--connections 32] [--streams 10] [--all] [--body JSON]
 *                     [--log FILE]
 * GETs with an id at random appended to PATH (h2load gives each connection the same list of addresses from its start, so that all
 * ask for the same ids together); --ids 0 appends none; --all asks for each id once, in order. With --body they are POSTs. Prints
 * what a request took from its submission to its last byte; --log writes the two times of each, in ns of CLOCK_MONOTONIC, which perf
 * can use too. Exit 1 unless all were answered 200.
 *
 * It shares the machine with what it measures, and so does little: two system calls and one epoll_wait for all that is there, and of
 * HTTP/2 (RFC 9113) no more than a server needs that answers each request with 200. */
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

enum { STREAMS_MAX = 256, PATH_BYTES_MAX = 512, KEPT = 64, READ_BYTES = 1 << 16 };

struct conn {
	int fd;
	uint32_t next_stream, last_stream; /* last_stream: ends with what is being skipped; 0 = none */
	size_t skip;                       /* of a frame that has begun */
	size_t kept_n;
	uint8_t kept[KEPT]; /* a frame's beginning */
	nghttp2_hd_deflater *deflater;
	uint8_t block[PATH_BYTES_MAX + 64]; /* the headers of the last request */
	size_t block_n;
	int64_t room;                   /* of the server's window for bodies */
	uint32_t received;              /* since our window was widened last */
	uint64_t start_ns[STREAMS_MAX]; /* by stream, in turn */
};

static struct {
	const char *path, *body, *log;
	uint64_t ids, requests, started, answered, good, random_state;
	struct answer {
		uint64_t start_ns, took_ns;
	} * answers;
	int connections, streams, port;
	bool all;
} load = { .ids = 100000, .requests = 320000, .random_state = 7, .connections = 32, .streams = 10 };

static struct { /* what is to be sent on one connection */
	uint8_t bytes[1 << 17];
	size_t n;
} out;

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

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- frames out ---- */
enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

static void put(const void *bytes, size_t n)
{
	if (n > sizeof out.bytes - out.n) {
		errno = EMSGSIZE;
		die("requests");
	}
	memcpy(out.bytes + out.n, bytes, n);
	out.n += n;
}

static void put_frame(int type, int flags, uint32_t stream, const void *payload, size_t n)
{
	const uint8_t head[9] = { (uint8_t)(n >> 16),      (uint8_t)(n >> 8),      (uint8_t)n,
				  (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
				  (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream };
	put(head, sizeof head);
	put(payload, n);
}

#define HEADER(name, text, bytes)                                                                                      \
	{                                                                                                              \
		(uint8_t *)(name), (uint8_t *)(text), sizeof(name) - 1, (bytes), NGHTTP2_NV_FLAG_NONE                  \
	}

/* With nghttp2's compression, since a server's work depends on it. From the third on a connection's requests for one address are the
 * same bytes: all of it stands in the server's table. */
static void compress(struct conn *c)
{
	if (load.ids == 0 && c->next_stream > 2 * 2)
		return;
	char path[PATH_BYTES_MAX];
	size_t n = (size_t)(load.ids ? snprintf(path, sizeof path, "%sid%llu", load.path, (unsigned long long)next_id())
				     : snprintf(path, sizeof path, "%s", load.path));
	const nghttp2_nv headers[] = { load.body ? (nghttp2_nv)HEADER(":method", "POST", 4)
						 : (nghttp2_nv)HEADER(":method", "GET", 3),
				       HEADER(":scheme", "http", 4), HEADER(":authority", "127.0.0.1", 9),
				       HEADER(":path", path, n), HEADER("content-type", "application/json", 16) };
	ssize_t got = nghttp2_hd_deflate_hd(c->deflater, c->block, sizeof c->block, headers, load.body ? 5 : 4);
	if (got < 0)
		die("a request cannot be made");
	c->block_n = (size_t)got;
}

static void submit(struct conn *c)
{
	size_t body_n = load.body ? strlen(load.body) : 0;
	compress(c);
	load.started++;
	c->start_ns[c->next_stream / 2 % STREAMS_MAX] = now_ns();
	put_frame(HEADERS, END_HEADERS | (load.body ? 0 : END_STREAM), c->next_stream, c->block, c->block_n);
	if (load.body != NULL)
		put_frame(DATA, END_STREAM, c->next_stream, load.body, body_n);
	c->room -= (int64_t)body_n;
	if (c->room < 0) {
		errno = ENOBUFS;
		die("the server's window is full");
	}
	c->next_stream += 2;
}

static void send_all(struct conn *c)
{
	for (size_t at = 0; at < out.n;) {
		ssize_t sent = write(c->fd, out.bytes + at, out.n - at);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			die("write");
		at += sent > 0 ? (size_t)sent : 0;
	}
	out.n = 0;
}

/* ---- frames in ---- */
static void on_answer(struct conn *c, uint32_t stream)
{
	uint64_t start_ns = c->start_ns[stream / 2 % STREAMS_MAX];
	load.answers[load.answered++] = (struct answer){ start_ns, now_ns() - start_ns };
	if (load.started < load.requests)
		submit(c);
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

enum { WINDOW_MAX = INT32_MAX, WINDOW_DEFAULT = 65535 };

static void widen(uint32_t by)
{
	const uint8_t update[4] = { (uint8_t)(by >> 24), (uint8_t)(by >> 16), (uint8_t)(by >> 8), (uint8_t)by };
	put_frame(WINDOW_UPDATE, 0, 0, update, sizeof update);
}

/* What must be there of a payload before on_frame can look at it. */
static size_t needed(int type, size_t n)
{
	size_t most = type == DATA ? 0 : type == HEADERS ? 1 : KEPT - 9;
	return n < most ? n : most;
}

static void on_frame(struct conn *c, int type, int flags, uint32_t stream, const uint8_t *payload, size_t n)
{
	switch (type) {
	case DATA:
		c->received += (uint32_t)n;
		if (c->received > WINDOW_MAX / 2) {
			widen(c->received);
			c->received = 0;
		}
		break;
	case HEADERS:
		load.good += n > 0 && payload[0] == (128 | 8); /* :status 200, the static table's eighth */
		break;
	case SETTINGS:
		if (!(flags & ACK))
			put_frame(SETTINGS, ACK, 0, NULL, 0);
		break;
	case PING:
		if (!(flags & ACK) && n == 8)
			put_frame(PING, ACK, 0, payload, 8);
		break;
	case WINDOW_UPDATE:
		if (stream == 0 && n == 4)
			c->room += get_u32(payload);
		break;
	case RST_STREAM:
	case GOAWAY:
		errno = ECONNRESET;
		die("the server gave up");
	}
}

static const uint8_t *skip(struct conn *c, const uint8_t *at, const uint8_t *end)
{
	size_t n = (size_t)(end - at) < c->skip ? (size_t)(end - at) : c->skip;
	c->skip -= n;
	if (c->skip == 0 && c->last_stream != 0) {
		uint32_t stream = c->last_stream;
		c->last_stream = 0;
		on_answer(c, stream);
	}
	return at + n;
}

static void receive(struct conn *c)
{
	static uint8_t bytes[KEPT + READ_BYTES];
	memcpy(bytes, c->kept, c->kept_n);
	ssize_t got = read(c->fd, bytes + c->kept_n, READ_BYTES);
	if (got <= 0) {
		if (got < 0 && errno == EAGAIN)
			return;
		die("the server closed a connection");
	}
	const uint8_t *end = bytes + c->kept_n + got, *at = skip(c, bytes, end);
	while (end - at >= 9) {
		size_t n = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
		uint32_t stream = get_u32(at + 5) & INT32_MAX;
		if ((size_t)(end - at) - 9 < needed(at[3], n))
			break;
		on_frame(c, at[3], at[4], stream, at + 9, n);
		c->skip = n;
		c->last_stream = at[3] <= HEADERS && at[4] & END_STREAM ? stream : 0;
		at = skip(c, at + 9, end);
	}
	c->kept_n = (size_t)(end - at);
	memcpy(c->kept, at, c->kept_n);
	if (out.n > 0)
		send_all(c);
}

static void open_conn(struct conn *c, int epoll)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	static const uint8_t window[6] = {
		0, 4, 0x7f, 0xff, 0xff, 0xff
	}; /* INITIAL_WINDOW_SIZE, as large as it may be */
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)load.port) };
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*c = (struct conn){ .fd = socket(AF_INET, SOCK_STREAM, 0), .next_stream = 1, .room = WINDOW_DEFAULT };
	int one = 1;
	if (nghttp2_hd_deflate_new(&c->deflater, 4096) != 0)
		die("nghttp2");
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	put(preface, sizeof preface - 1);
	put_frame(SETTINGS, 0, 0, window, sizeof window);
	widen(WINDOW_MAX - WINDOW_DEFAULT);
	epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = c });
	for (int i = 0; i < load.streams && load.started < load.requests; i++)
		submit(c);
	send_all(c);
}

static void run(void)
{
	int epoll = epoll_create1(0);
	struct conn *conns = calloc((size_t)load.connections, sizeof *conns);
	if (epoll < 0 || conns == NULL)
		die("start");
	for (int i = 0; i < load.connections; i++)
		open_conn(&conns[i], epoll);
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
		nghttp2_hd_deflate_del(conns[i].deflater);
		close(conns[i].fd);
	}
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
	printf("%.0f requests/s, p50 %.3f p99 %.3f p99.9 %.3f ms\n", (double)n / seconds,
	       (double)a[n / 2].took_ns / 1e6, (double)a[n * 99 / 100].took_ns / 1e6,
	       (double)a[n * 999 / 1000].took_ns / 1e6);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "ids", required_argument, NULL, 'i' },
		{ "requests", required_argument, NULL, 'n' },
		{ "connections", required_argument, NULL, 'c' },
		{ "streams", required_argument, NULL, 'm' },
		{ "all", no_argument, NULL, 'a' },
		{ "body", required_argument, NULL, 'b' },
		{ "log", required_argument, NULL, 'l' },
		{ 0 },
	};
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case 'i':
			load.ids = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			load.requests = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			load.connections = atoi(optarg);
			break;
		case 'm':
			load.streams = atoi(optarg);
			break;
		case 'a':
			load.all = true;
			break;
		case 'b':
			load.body = optarg;
			break;
		case 'l':
			load.log = optarg;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: bench_http_load PORT PATH [options]\n");
		return 2;
	}
	load.port = atoi(argv[optind]);
	load.path = argv[optind + 1];
	if (load.streams < 1 || load.streams > STREAMS_MAX || strlen(load.path) + 24 > PATH_BYTES_MAX) {
		fprintf(stderr, "bench_http_load: 1 to %d streams, and a path of at most %d bytes\n", STREAMS_MAX,
			PATH_BYTES_MAX - 24);
		return 2;
	}
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
		fprintf(stderr, "%llu of %llu were 200\n", (unsigned long long)load.good,
			(unsigned long long)load.requests);
	return load.good == load.requests ? 0 : 1;
}
