/* Flights: computations of one (feature, id) under way, and how whoever asks finds one that may be joined. One table per resolver,
 * which alone uses it, on its loop. resolver.c says what becomes of a flight. */
#pragma once
#include "actors/feature_request.h"
#include "actors/node.h"

enum { FLIGHTS_MAX = 8192, FLIGHT_BUCKETS = 1024 };

struct get;
struct batch;
struct query;

struct waiter {
	struct waiter *next;
	struct get *get;
	uint32_t result; /* index into get->r->results */
	bool is_late;    /* the flight was under way when it joined */
};

enum flight_state { QUEUED, FLYING, LANDED, APPENDED };

struct flight {
	struct flight *next_by_key;
	struct flight *
	    next; /* QUEUED, LANDED: of the turn; FLYING: of its bucket in by_op, or of its query; APPENDED: of its batch */
	enum flight_state state;
	uint64_t op; /* of the ask that computes it; 0: it belongs to a query */
	uint64_t deadline_ns;
	uint64_t key_hash;
	uint32_t feature;
	int64_t started_us;
	/* When it began; earlier if it read a table whose new file cannot be loaded: since when that is so. */
	int64_t as_of_us;
	uint64_t position; /* of the values when it began */
	struct waiter *waiters;
	struct value *value; /* what it gave; NULL: nothing, or it failed with reason */
	char *reason;
	enum feature_state failure; /* with a reason: FAILED, TIMEOUT or REFUSED */
	struct reads *reads;        /* what it was computed from; NULL = nothing */
	bool is_refresh;            /* wanted, whoever waits for it */
	bool is_under_way;          /* who joins now has not seen its beginning */
	bool is_closed;             /* LANDED: nobody joins any more */
	bool has_row;               /* also when its value could not be kept */
	bool has_several;           /* more than one row: none of them is the value */
	bool is_expired;            /* its value is past its ttl: see as_of_us */
	struct query *query;        /* FLYING: the one that it belongs to, if any; weak */
	struct batch *batch;        /* LANDED: the one that it will belong to; weak */
	size_t id_n;
	char id[];
};

struct flights {
	struct node_loop *nl;
	uint32_t entity;
	uint32_t count, appended_count;
	struct flight *by_key[FLIGHT_BUCKETS], *by_op[FLIGHT_BUCKETS];
};

uint64_t flight_hash(uint32_t feature, struct str id);
bool flight_is_of(const struct flight *f, uint32_t feature, struct str id, uint64_t hash);
/* The newest that can be joined: it gives what someone may have who asks now. seen: what a look into the online store has just shown
 * of the cell; NULL: nobody has looked, and if the store is in memory that is done here. */
struct flight *flight_find(const struct flights *all, uint32_t feature, struct str id, uint64_t hash,
			   const struct online_trace *seen);
void flight_link(struct flights *all, struct flight *f);
/* FLYING: op computes it. */
void flight_await(struct flights *all, struct flight *f, uint64_t op);
struct flight *flight_take(struct flights *all, uint64_t op);
/* APPENDED. */
void flight_count_appended(struct flights *all, const struct flight *f, int change);
/* Out of the table, and freed. */
void flight_end(struct flights *all, struct flight *f);
void flight_free(struct flight *f);
