/* The routes that every server has. They are public and answer under overload and while draining. */
#include "http/server_private.h"

static void health(struct exchange *x)
{
	exchange_reply_json(x, 200, STR("{\"status\":\"ok\"}"));
}

/* Rendering takes a millisecond, and nobody needs a key for it. So who asks in the same turn of the loop gets the same text:
 * one that was asked for later is never older. */
static void metrics(struct exchange *x)
{
	struct http_front *f = x->front;
	if (f->rendered_ns != x->started_ns) {
		buf_clear(&f->rendered);
		metrics_render(&f->rendered);
		f->rendered_ns = x->started_ns;
	}
	exchange_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&f->rendered));
}

static void openapi(struct exchange *x)
{
	exchange_reply_json(x, 200, buf_str(&x->front->server->openapi));
}

static void docs(struct exchange *x)
{
	exchange_reply(x, 200, "text/html; charset=utf-8", buf_str(&x->front->server->docs));
}

const struct route system_routes[] = {
	{ .method = "GET",
	  .path = "/health",
	  .flags = ROUTE_PUBLIC | ROUTE_SYSTEM,
	  .on_request = health,
	  .summary = "Is the process alive? Answers without looking at any store.",
	  .openapi =
	      "{'responses':{'200':{'description':'Success','content':{'application/json':{'schema':{'type':'object',"
	      "'required':['status'],'properties':{'status':{'const':'ok'}}}}}}}}" },
	{ .method = "GET",
	  .path = "/metrics",
	  .flags = ROUTE_PUBLIC | ROUTE_SYSTEM,
	  .on_request = metrics,
	  .summary = "Prometheus metrics of the whole process.",
	  .openapi =
	      "{'responses':{'200':{'description':'Success','content':{'text/plain':{'schema':{'type':'string'}}}}}}" },
	{ .method = "GET",
	  .path = "/openapi.json",
	  .flags = ROUTE_PUBLIC | ROUTE_SYSTEM,
	  .on_request = openapi,
	  .summary = "This interface as an OpenAPI 3.1 document.",
	  .openapi =
	      "{'responses':{'200':{'description':'Success','content':{'application/json':{'schema':{'type':'object','additionalProperties':true}}}}}}" },
	{ .method = "GET",
	  .path = "/docs",
	  .flags = ROUTE_PUBLIC | ROUTE_SYSTEM,
	  .on_request = docs,
	  .summary = "This interface as a page to read.",
	  .openapi =
	      "{'responses':{'200':{'description':'Success','content':{'text/html':{'schema':{'type':'string'}}}}}}" },
};
const size_t system_routes_len = ARRAY_LEN(system_routes);
