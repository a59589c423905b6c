/* The online store of a process on Redis: a connection and whoever answers, for each I/O loop. */
#pragma once
#include "actors/definitions/definitions.h"
#include "runtime/loop.h"
#include "store/online/online.h"

struct stores_redis;

/* Connects nowhere yet. What the definitions name lives as long as this. blocking: where host names are looked up. Loops without a
 * connection ask the first one's. NULL: *ret_why. */
struct stores_redis *stores_redis_open(const char *url, const struct definitions *d, struct loop *const *io,
				       unsigned io_count, struct loop *blocking, struct online_store *ret,
				       struct buf *ret_why);
/* Appends its member to struct stores_health. true: it answers. Any thread. */
bool stores_redis_health(const struct stores_redis *r, struct buf *members);
void stores_redis_close(struct stores_redis *r); /* after the loops; NULL is fine */
