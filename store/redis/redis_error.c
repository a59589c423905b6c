#include "store/redis/redis_error.h"
#include "runtime/check.h"

static const struct {
	const char *name, *text;
} troubles[REDIS_TROUBLES] = {
	[REDIS_NO_TROUBLE] = { "none", "" },
	[REDIS_AUTH] = { "auth", "Redis does not accept the user or password: correct them in the URL" },
	[REDIS_RIGHTS] = { "rights",
			   "the Redis user may not do this: allow it the commands and keys of docs/redis.md (ACL SETUSER)" },
	[REDIS_DATABASE] = { "database",
			     "Redis has no database of this number: correct the end of the URL, or `databases` in Redis" },
	[REDIS_READONLY] = { "readonly", "this Redis is a replica that takes no writes: give the URL of the primary" },
	[REDIS_OOM] = { "memory",
			"Redis is at maxmemory and evicts nothing: raise maxmemory, or set maxmemory-policy to allkeys-lru" },
	[REDIS_LOADING] = { "loading", "Redis is loading its data from disk: it answers when it has them" },
	[REDIS_BUSY] = { "busy", "a script of another client holds Redis: end it with SCRIPT KILL" },
	[REDIS_MISCONF] = { "misconf",
			    "Redis refuses writes since it cannot save to its disk: make room there, or set stop-writes-on-bgsave-error to no" },
	[REDIS_WRONG_TYPE] = { "type",
			       "the key of an entity holds something that is no hash: another program uses it; give Fabra a database of its own" },
	[REDIS_UNREADABLE] = { "value",
			       "a value in Redis is damaged: its entity cannot be read until the feature is written again; HDEL the field" },
	[REDIS_CLUSTER] = { "cluster",
			    "this Redis is part of a cluster, which is not supported: give the URL of a single server" },
	[REDIS_MASTER_DOWN] = { "master", "this Redis is a replica without its primary: give the URL of the primary" },
	[REDIS_CLIENTS] = { "clients", "Redis has no room for another client: raise maxclients" },
	[REDIS_NO_SCRIPT] = { "script", "Redis has lost the script: it is sent again" },
	[REDIS_OTHER] = { "other", "Redis answers with an error that Fabra does not know" },
};

/* Inside a script Redis 6 puts its own words in front. */
static const struct {
	struct str word;
	enum redis_trouble trouble;
	bool is_first; /* only at the beginning of the reply */
} words[] = {
	{ { "NOAUTH", 6 }, REDIS_AUTH, true },
	{ { "WRONGPASS", 9 }, REDIS_AUTH, true },
	{ { "ERR invalid password", 20 }, REDIS_AUTH, true },
	{ { "ERR Client sent AUTH, but no password", 37 }, REDIS_AUTH, true },
	{ { "ERR AUTH", 8 }, REDIS_AUTH, true },
	{ { "NOPERM", 6 }, REDIS_RIGHTS, false },
	{ { "ACL failure in script", 21 }, REDIS_RIGHTS, false },
	{ { "ERR DB index", 12 }, REDIS_DATABASE, true },
	{ { "ERR invalid DB index", 20 }, REDIS_DATABASE, true },
	{ { "ERR SELECT is not allowed in cluster mode", 41 }, REDIS_CLUSTER, true },
	{ { "ERR max number of clients reached", 33 }, REDIS_CLIENTS, true },
	{ { "NOSCRIPT", 8 }, REDIS_NO_SCRIPT, true },
	{ { "LOADING", 7 }, REDIS_LOADING, true },
	{ { "BUSY", 4 }, REDIS_BUSY, true },
	{ { "MOVED", 5 }, REDIS_CLUSTER, true },
	{ { "ASK ", 4 }, REDIS_CLUSTER, true },
	{ { "CLUSTERDOWN", 11 }, REDIS_CLUSTER, true },
	{ { "MASTERDOWN", 10 }, REDIS_MASTER_DOWN, true },
	{ { "READONLY", 8 }, REDIS_READONLY, false },
	{ { "OOM command not allowed", 23 }, REDIS_OOM, false },
	{ { "MISCONF", 7 }, REDIS_MISCONF, false },
	{ { "WRONGTYPE", 9 }, REDIS_WRONG_TYPE, false },
};

enum redis_trouble redis_trouble_of(struct str error_reply)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct str w = words[i].word;
		bool is_it = words[i].is_first ? str_starts(error_reply, w)
					       : error_reply.n >= w.n && memmem(error_reply.p, error_reply.n, w.p, w.n);
		if (is_it)
			return words[i].trouble;
	}
	return REDIS_OTHER;
}

bool redis_trouble_is_of_key(enum redis_trouble t)
{
	return t == REDIS_WRONG_TYPE || t == REDIS_UNREADABLE;
}

const char *redis_trouble_name(enum redis_trouble t)
{
	return troubles[t].name;
}

const char *redis_trouble_text(enum redis_trouble t)
{
	return troubles[t].text;
}
