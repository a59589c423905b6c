/* What Redis answers instead of doing it: each with a cause and a cure, in words that a person who reads a log line understands. */
#pragma once
#include "runtime/str.h"

enum redis_trouble {
	REDIS_NO_TROUBLE,
	REDIS_AUTH,     /* NOAUTH, WRONGPASS */
	REDIS_RIGHTS,   /* NOPERM */
	REDIS_DATABASE, /* no such database */
	REDIS_READONLY,
	REDIS_OOM,
	REDIS_LOADING,
	REDIS_BUSY,       /* a script runs */
	REDIS_MISCONF,    /* it cannot save */
	REDIS_WRONG_TYPE, /* something else has the key */
	REDIS_UNREADABLE, /* a value at the key is not as anybody writes it */
	REDIS_CLUSTER,
	REDIS_MASTER_DOWN,
	REDIS_CLIENTS,
	REDIS_NO_SCRIPT,
	REDIS_OTHER, /* the reply's own text says more */
	REDIS_TROUBLES,
};
enum redis_trouble redis_trouble_of(struct str error_reply);
/* Whether it concerns one key and no other: Redis is well. */
bool redis_trouble_is_of_key(enum redis_trouble t);
const char *redis_trouble_name(enum redis_trouble t); /* one word, for metrics */
const char *redis_trouble_text(enum redis_trouble t); /* cause and cure; static */
