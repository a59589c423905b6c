#include "tools/stores_redis.h"
#include "store/redis/redis.h"
#include <stdlib.h>

struct stores_redis {
	const struct definitions *definitions;
	struct redis *redis;
	struct redis_online *online;
};

/* ---- names ---- */

static struct str kind_name(void *arg, uint32_t kind)
{
	const struct definitions *d = ((struct stores_redis *)arg)->definitions;
	return kind < d->entities_count ? d->entities[kind].name : (struct str){ 0 };
}

static struct str feature_name(void *arg, uint32_t feature)
{
	const struct definitions *d = ((struct stores_redis *)arg)->definitions;
	return feature < d->features_count ? d->features[feature].name : (struct str){ 0 };
}

static bool is_lasting(void *arg, uint32_t kind)
{
	const struct definitions *d = ((struct stores_redis *)arg)->definitions;
	for (uint32_t i = 0; i < d->features_count; i++) {
		const struct def_feature *f = &d->features[i];
		if (f->entity == kind && f->ttl_ms == 0 && !def_feature_is_computed_at_each_read(f))
			return true;
	}
	return false;
}

/* ---- life ---- */

static bool spawn(struct stores_redis *r, struct loop *const *io, unsigned io_count, struct online_store *ret)
{
	struct redis_online_config config = {
		.redis = r->redis,
		.names = { .arg = r, .kind = kind_name, .feature = feature_name, .is_lasting = is_lasting }
	};
	r->online = redis_online_create(&config);
	if (r->online == NULL)
		return false;
	for (unsigned i = 0; i < io_count; i++)
		if (!redis_spawn(r->redis, io[i]) || !redis_online_spawn(r->online, io[i], ret))
			return false;
	struct actor_ref first = ret->per_loop[loop_id(io[0]) - 1];
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		if (ref_is_none(ret->per_loop[i]))
			ret->per_loop[i] = first;
	return true;
}

struct stores_redis *stores_redis_open(const char *url, const struct definitions *d, struct loop *const *io,
				       unsigned io_count, struct loop *blocking, struct online_store *ret,
				       struct buf *ret_why)
{
	struct stores_redis *r = calloc(1, sizeof *r);
	if (r == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return NULL;
	}
	r->definitions = d;
	r->redis = redis_create(&(struct redis_config){ .url = url, .blocking = blocking }, ret_why);
	if (r->redis && spawn(r, io, io_count, ret))
		return r;
	if (r->redis)
		buf_append_lit(ret_why, "out of memory");
	stores_redis_close(r);
	return NULL;
}

bool stores_redis_health(const struct stores_redis *r, struct buf *members)
{
	return redis_health(r->redis, members);
}

void stores_redis_close(struct stores_redis *r)
{
	if (r == NULL)
		return;
	redis_online_destroy(r->online);
	redis_destroy(r->redis);
	free(r);
}
