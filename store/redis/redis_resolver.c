/* redis_resolver.c -- looks up the name of the Redis host, on a loop that may block. One state: asked, answered. */
#include "store/redis/redis_private.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>

MSG_SIZE_CHECK(redis_look_up);

struct resolver {
	struct actor base;
	const struct redis *redis;
};

bool redis_address_of(const struct redis_url *url, struct redis_address *ret)
{
	*ret = (struct redis_address){ 0 };
	if (url->is_unix) {
		ret->path.sun_family = AF_UNIX;
		memcpy(ret->path.sun_path, url->host, strlen(url->host) + 1); /* redis_url_parse: it fits */
		ret->len = sizeof ret->path;
	} else if (inet_pton(AF_INET, url->host, &ret->v4.sin_addr) == 1) {
		ret->v4.sin_family = AF_INET;
		ret->v4.sin_port = htons(url->port);
		ret->len = sizeof ret->v4;
	} else if (inet_pton(AF_INET6, url->host, &ret->v6.sin6_addr) == 1) {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons(url->port);
		ret->len = sizeof ret->v6;
	}
	return ret->len != 0;
}

static void look_up(const struct redis_url *url, struct redis_addresses *ret)
{
	char port[8];
	struct addrinfo *all = NULL, hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC };
	text_printf(port, sizeof port, "%u", url->port);
	int error = getaddrinfo(url->host, port, &hints, &all);
	for (struct addrinfo *a = all; a && ret->count < REDIS_ADDRESSES_MAX; a = a->ai_next) {
		struct redis_address *to = &ret->all[ret->count];
		if (a->ai_addrlen > sizeof to->v6)
			continue;
		memcpy(&to->any, a->ai_addr, a->ai_addrlen);
		to->len = a->ai_addrlen;
		ret->count++;
	}
	if (all)
		freeaddrinfo(all);
	if (ret->count == 0)
		ret->why = error ? gai_strerror(error) : "the name has no address";
}

static void look_up_dispose(struct msg *m)
{
	free(((struct redis_look_up *)m)->found);
}

static void resolver_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP)
		rt_stop(a);
	if (m->kind != REDIS_LOOK_UP)
		return;
	struct redis_look_up *reply = rt_msg_new(a->loop, REDIS_FOUND);
	reply->head.dispose = look_up_dispose;
	reply->found = calloc(1, sizeof *reply->found);
	if (reply->found)
		look_up(&((struct resolver *)a)->redis->url, reply->found);
	rt_reply(a, m, &reply->head);
}

static int resolver_init(struct actor *a, void *arg)
{
	((struct resolver *)a)->redis = arg;
	return 0;
}

const struct actor_class redis_resolver_class = {
	.name = "redis_resolver",
	.size = sizeof(struct resolver),
	.mailbox_len_max = 256,
	.init = resolver_init,
	.on_message = resolver_on_message,
};
