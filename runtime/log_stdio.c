#include "runtime/log_stdio.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 1024 };

/* The writer holds the lock of the stream while it formats a line. */
static struct caught {
	const char *name;
	FILE **variable, *before, *stream; /* stream NULL: not caught */
	char buffer[LINE_BYTES];
	char last[LINE_BYTES]; /* for the end of the process */
	atomic_size_t last_n;
} caught[] = { { .name = "stdout", .variable = &stdout }, { .name = "stderr", .variable = &stderr } };

static void put_line(struct caught *c, struct str line)
{
	if (line.n == 0)
		return;
	size_t n = line.n < sizeof c->last - 1 ? line.n : sizeof c->last - 1;
	memcpy(c->last, line.p, n);
	c->last[n] = '\n';
	atomic_store_explicit(&c->last_n, n + 1, memory_order_release); /* for on_abort, on this thread */
	log_line(LOG_WARNING, "library", "a library printed a line", LOG_CSTR("stream", c->name),
		 LOG_STR("text", line));
}

static ssize_t on_write(void *cookie, const char *bytes, size_t n)
{
	struct str left = { bytes, n };
	for (const char *lf; left.n > 0 && (lf = memchr(left.p, '\n', left.n)) != NULL;) {
		put_line(cookie, str_of(left.p, (size_t)(lf - left.p)));
		left = str_skip(left, (size_t)(lf - left.p) + 1);
	}
	put_line(cookie, left);
	return (ssize_t)n;
}

/* An assertion of a library prints and aborts, and the log thread does not run any more. */
static void on_abort(int number)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	(void)number;
	if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT))
		return;
	for (size_t i = 0; i < ARRAY_LEN(caught); i++)
		(void)!write(STDERR_FILENO, caught[i].last,
			     atomic_load_explicit(&caught[i].last_n, memory_order_acquire));
}

void log_stdio_catch(void)
{
	for (size_t i = 0; i < ARRAY_LEN(caught); i++) {
		struct caught *c = &caught[i];
		fflush(*c->variable);
		c->stream = fopencookie(c, "w", (cookie_io_functions_t){ .write = on_write });
		if (c->stream == NULL)
			continue; /* no memory: this stream is not caught */
		setvbuf(c->stream, c->buffer, _IOLBF, sizeof c->buffer);
		c->before = *c->variable;
		*c->variable = c->stream;
	}
	/* abort() raises the signal once more when this returns. */
	sigaction(SIGABRT, &(struct sigaction){ .sa_handler = on_abort, .sa_flags = (int)SA_RESETHAND }, NULL);
}

void log_stdio_release(void)
{
	for (size_t i = 0; i < ARRAY_LEN(caught); i++) {
		struct caught *c = &caught[i];
		if (c->stream == NULL)
			continue;
		*c->variable = c->before;
		fclose(c->stream);
		c->stream = NULL;
		signal(SIGABRT, SIG_DFL);
	}
}
