/* What a route may ask about its request. Texts that borrow h2o's memory are empty once the request has been
 * answered or its client has gone. */
#include "http/server_private.h"
#include "http/uri.h"

struct str exchange_method(const struct exchange *x)
{
	return x->method;
}

struct str exchange_path(const struct exchange *x)
{
	return x->path;
}

struct str exchange_param(const struct exchange *x, unsigned index)
{
	return index < x->params_len ? x->params[index] : (struct str){ 0 };
}

bool exchange_query(struct exchange *x, const char *name, struct str *ret_value)
{
	return uri_query(&x->arena, x->query, name, ret_value);
}

struct str exchange_header(struct exchange *x, const char *lower_name)
{
	if (x->req == NULL)
		return (struct str){ 0 };
	struct str wanted = str_from(lower_name);
	for (size_t i = 0; i < x->req->headers.size; i++) {
		const h2o_header_t *h = &x->req->headers.entries[i];
		if (str_eq(str_of(h->name->base, h->name->len), wanted))
			return str_of(h->value.base, h->value.len);
	}
	return (struct str){ 0 };
}

struct str exchange_body(const struct exchange *x)
{
	return x->body;
}

struct yyjson_doc *exchange_json(struct exchange *x)
{
	return x->json;
}

struct str exchange_request_id(const struct exchange *x)
{
	return str_of(x->request_id, x->request_id_len);
}

void *exchange_scratch(struct exchange *x)
{
	return x->scratch;
}

struct loop *exchange_loop(struct exchange *x)
{
	return x->front->loop;
}

uint64_t exchange_deadline_ns(const struct exchange *x)
{
	return x->deadline_ns;
}

struct arena *exchange_arena(struct exchange *x)
{
	return &x->arena;
}

void **exchange_data(struct exchange *x)
{
	return &x->data;
}

void *exchange_app(struct exchange *x)
{
	return x->front->server->config.app;
}
