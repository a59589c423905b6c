#include "store/redis/redis_call.h"
#include "runtime/digits.h"
#include <hiredis/read.h>
#include <stdlib.h>

MSG_SIZE_CHECK(redis_call_msg);

enum { COMMANDS_BYTES_MAX = 512 << 20 };

struct redis_call *redis_call_new(void)
{
	struct redis_call *c = calloc(1, sizeof *c);
	if (c) {
		c->commands.max = COMMANDS_BYTES_MAX;
		c->arena.max = REDIS_REPLY_BYTES_MAX;
	}
	return c;
}

void redis_call_free(struct redis_call *c)
{
	if (c == NULL)
		return;
	buf_finish(&c->commands);
	arena_finish(&c->arena);
	free(c);
}

static void append_count(struct redis_call *c, char sign, size_t n)
{
	char text[24], *end = text + sizeof text, *p = digits_before(end - 2, n);
	end[-2] = '\r';
	end[-1] = '\n';
	*--p = sign;
	buf_append(&c->commands, p, (size_t)(end - p));
}

void redis_call_begin(struct redis_call *c, uint32_t args)
{
	append_count(c, '*', args);
	c->count++;
}

void redis_call_arg(struct redis_call *c, struct str arg)
{
	append_count(c, '$', arg.n);
	buf_append_str(&c->commands, arg);
	buf_append_lit(&c->commands, "\r\n");
}

bool redis_call_seal(struct redis_call *c)
{
	c->replies = arena_alloc(&c->arena, (c->count + 1) * sizeof *c->replies);
	return c->replies && !c->commands.failed;
}

static void call_msg_dispose(struct msg *m)
{
	redis_call_free(((struct redis_call_msg *)m)->call);
}

struct redis_call_msg *redis_call_msg_new(struct loop *loop, enum redis_msg kind, struct redis_call *c)
{
	struct redis_call_msg *m = rt_msg_new(loop, (uint16_t)kind);
	m->head.dispose = call_msg_dispose;
	m->call = c;
	return m;
}

/* ---- replies ---- */

/* Where the reply goes; NULL: into one that had no room, so nowhere. */
static struct redis_reply *place(const redisReadTask *task, enum redis_type type)
{
	struct redis_call *c = task->privdata;
	struct redis_reply *r = &c->replies[c->answered];
	if (task->parent) {
		struct redis_reply *parent = task->parent->obj;
		if (parent->type == REDIS_TOO_LARGE)
			return NULL;
		r = &parent->items[task->idx];
	}
	*r = (struct redis_reply){ .type = type };
	return r;
}

static void *object_of(const redisReadTask *task, struct redis_reply *r)
{
	return r ? r : task->parent->obj;
}

static void *make_text(const redisReadTask *task, char *p, size_t n)
{
	struct redis_call *c = task->privdata;
	struct redis_reply *r = place(task, task->type == REDIS_REPLY_STATUS  ? REDIS_STATUS
					    : task->type == REDIS_REPLY_ERROR ? REDIS_ERROR
									      : REDIS_TEXT);
	if (r)
		r->text = arena_dup(&c->arena, str_of(p, n));
	if (r && r->text.p == NULL)
		r->type = REDIS_TOO_LARGE;
	return object_of(task, r);
}

static void *make_array(const redisReadTask *task, size_t count)
{
	struct redis_call *c = task->privdata;
	struct redis_reply *r = place(task, REDIS_ARRAY);
	if (r) {
		bool is_possible = count <= REDIS_REPLY_BYTES_MAX / sizeof *r;
		r->items = is_possible ? arena_zalloc(&c->arena, (count + 1) * sizeof *r) : NULL;
		r->count = (uint32_t)count;
		if (r->items == NULL)
			r->type = REDIS_TOO_LARGE;
	}
	return object_of(task, r);
}

static void *make_integer(const redisReadTask *task, long long v)
{
	struct redis_reply *r = place(task, REDIS_INTEGER);
	if (r)
		r->integer = v;
	return object_of(task, r);
}

static void *make_double(const redisReadTask *task, double v, char *p, size_t n)
{
	(void)v;
	return make_text(task, p, n);
}

static void *make_nil(const redisReadTask *task)
{
	return object_of(task, place(task, REDIS_NIL));
}

static void *make_bool(const redisReadTask *task, int v)
{
	return make_integer(task, v);
}

static void free_nothing(void *reply) /* the arena does */
{
	(void)reply;
}

struct redisReplyObjectFunctions redis_reply_functions = {
	make_text, make_array, make_integer, make_double, make_nil, make_bool, free_nothing,
};
