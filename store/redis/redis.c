/* What all connections of a process share: where the server is, how it is with it. */
#include "runtime/log.h"
#include "runtime/metrics.h"
#include "store/redis/redis_private.h"
#include "store/text/json.h"
#include <stdlib.h>

static void set_defaults(struct redis_config *c)
{
	static const struct redis_config defaults = { .connect_ms = 2000,
						      .stall_ms = 1000,
						      .hold_ms = 400,
						      .calls_max = 8192,
						      .bytes_max = 64 << 20,
						      .backoff_ms_max = 2000 };
	c->connect_ms = c->connect_ms ? c->connect_ms : defaults.connect_ms;
	c->stall_ms = c->stall_ms ? c->stall_ms : defaults.stall_ms;
	c->hold_ms = c->hold_ms ? c->hold_ms : defaults.hold_ms;
	c->calls_max = c->calls_max ? c->calls_max : defaults.calls_max;
	c->bytes_max = c->bytes_max ? c->bytes_max : defaults.bytes_max;
	c->backoff_ms_max = c->backoff_ms_max ? c->backoff_ms_max : defaults.backoff_ms_max;
}

static bool prepare(struct redis *r, struct buf *ret_why)
{
	if (!redis_url_parse(r->config.url, &r->url, ret_why))
		return false;
	if (r->url.is_name && !r->url.is_unix) {
		if (r->config.blocking)
			r->resolver = rt_spawn(r->config.blocking, &redis_resolver_class, r);
		if (ref_is_none(r->resolver)) {
			buf_append_lit(ret_why, "there is no loop that could look up the name of the Redis host");
			return false;
		}
	}
	r->tls = r->url.is_tls ? redis_tls_create(&r->url, ret_why) : NULL;
	return !r->url.is_tls || r->tls;
}

bool redis_check_url(const char *url, struct buf *ret_why)
{
	struct redis_url parsed;
	return redis_url_parse(url, &parsed, ret_why);
}

struct redis *redis_create(const struct redis_config *config, struct buf *ret_why)
{
	struct redis *r = calloc(1, sizeof *r);
	if (r == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return NULL;
	}
	r->config = *config;
	set_defaults(&r->config);
	pthread_mutex_init(&r->lock, NULL);
	if (prepare(r, ret_why))
		return r;
	redis_destroy(r);
	return NULL;
}

void redis_destroy(struct redis *r)
{
	if (r == NULL)
		return;
	SSL_CTX_free(r->tls);
	pthread_mutex_destroy(&r->lock);
	explicit_bzero(r->url.password, sizeof r->url.password);
	free(r);
}

bool redis_spawn(struct redis *r, struct loop *loop)
{
	struct actor_ref ref = rt_spawn(loop, &redis_conn_class, r);
	r->conns[loop_id(loop) - 1] = ref;
	return !ref_is_none(ref);
}

struct actor_ref redis_of(const struct redis *r, const struct loop *loop)
{
	return r->conns[loop_id(loop) - 1];
}

/* ---- how it is ---- */

void redis_note_state(struct redis *r, const struct loop *loop, enum redis_state state, const char *reason)
{
	struct redis_loop_health *h = &r->loops[loop_id(loop) - 1];
	bool is_new = false;
	pthread_mutex_lock(&r->lock);
	bool was_down = h->reason[0] != '\0';
	h->state = state;
	if (state == REDIS_READY)
		h->reason[0] = '\0';
	if (reason && strcmp(h->reason, reason) != 0) {
		text_printf(h->reason, sizeof h->reason, "%s", reason);
		is_new = true;
	}
	pthread_mutex_unlock(&r->lock);
	struct buf address = { 0 };
	if (is_new || (state == REDIS_READY && was_down))
		redis_url_write(&r->url, &address);
	if (is_new)
		log_line(LOG_WARNING, "redis", "no connection to Redis", LOG_CSTR("loop", loop_name(loop)),
			 LOG_STR("address", buf_str(&address)), LOG_CSTR("reason", reason));
	else if (state == REDIS_READY && was_down)
		log_line(LOG_INFO, "redis", "connected to Redis again", LOG_CSTR("loop", loop_name(loop)),
			 LOG_STR("address", buf_str(&address)));
	buf_finish(&address);
}

void redis_note_key(struct redis *r, const struct loop *loop, enum redis_trouble trouble, struct str key)
{
	struct redis_loop_health *h = &r->loops[loop_id(loop) - 1];
	uint64_t now_ns = loop_mono_ns(loop);
	pthread_mutex_lock(&r->lock);
	bool is_said = h->key_said_ns && now_ns - h->key_said_ns < 1000000000ull;
	if (!is_said)
		h->key_said_ns = now_ns;
	pthread_mutex_unlock(&r->lock);
	if (!is_said)
		log_line(LOG_WARNING, "redis", redis_trouble_text(trouble), LOG_CSTR("loop", loop_name(loop)),
			 LOG_STR("key", str_first(key, 300)));
}

void redis_note_trouble(struct redis *r, const struct loop *loop, enum redis_trouble trouble, struct str detail)
{
	struct redis_loop_health *h = &r->loops[loop_id(loop) - 1];
	pthread_mutex_lock(&r->lock);
	enum redis_trouble before = h->trouble;
	h->trouble = trouble;
	pthread_mutex_unlock(&r->lock);
	if (before == trouble)
		return;
	if (trouble == REDIS_NO_TROUBLE)
		log_line(LOG_INFO, "redis", "Redis does again what it is asked", LOG_CSTR("loop", loop_name(loop)));
	else
		log_line(LOG_WARNING, "redis", redis_trouble_text(trouble), LOG_CSTR("loop", loop_name(loop)),
			 LOG_STR("reply", str_first(detail, 300)));
}

bool redis_health(struct redis *r, struct buf *members)
{
	struct redis_loop_health all[LOOPS_MAX];
	unsigned loops = 0, ready = 0;
	const char *reason = NULL;
	enum redis_trouble trouble = REDIS_NO_TROUBLE;
	struct buf address = { 0 };
	pthread_mutex_lock(&r->lock);
	memcpy(all, r->loops, sizeof all);
	pthread_mutex_unlock(&r->lock);
	for (size_t i = 0; i < LOOPS_MAX; i++) {
		loops += all[i].state != REDIS_ABSENT;
		ready += all[i].state == REDIS_READY;
		reason = all[i].reason[0] ? all[i].reason : reason;
		trouble = all[i].trouble ? all[i].trouble : trouble;
	}
	if (trouble && reason == NULL)
		reason = redis_trouble_text(trouble);
	redis_url_write(&r->url, &address);
	buf_append_lit(members, "\"redis\":{\"address\":");
	json_write_string(members, buf_str(&address));
	buf_printf(members, ",\"connections\":%u,\"connected\":%u", loops, ready);
	if (reason) {
		buf_append_lit(members, ",\"reason\":");
		json_write_string(members, str_from(reason));
	}
	buf_append_char(members, '}');
	buf_finish(&address);
	return ready == loops && trouble == REDIS_NO_TROUBLE;
}
