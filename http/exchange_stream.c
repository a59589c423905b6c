/* A reply in pieces. h2o asks for the next one when its connection has taken the one before; the route learns of it by a message, and
 * so it is its turn to ask its store. Between two pieces nothing is held but what the route keeps. */
#include "http/server_private.h"

struct exchange_stream {
	h2o_generator_t generator; /* first: h2o gives it back */
	h2o_req_t *req;            /* whose pool this lies in */
	struct exchange *x;        /* NULL: it has ended, or let go */
	struct buf piece;          /* owned; being sent */
	uint64_t bytes, patience_ns;
	bool is_sending, is_cut;
};

static void on_dispose(void *memory)
{
	buf_finish(&((struct exchange_stream *)memory)->piece);
}

static void proceed(h2o_generator_t *generator, h2o_req_t *req)
{
	struct exchange_stream *s = (struct exchange_stream *)generator;
	struct exchange *x = s->x;
	s->is_sending = false;
	buf_finish(&s->piece);
	if (s->is_cut) {
		h2o_send(req, NULL, 0, H2O_SEND_STATE_ERROR);
		return;
	}
	struct loop *loop = x->front->loop;
	x->deadline_ns = loop_mono_ns(loop) + s->patience_ns;
	rt_send(loop, exchange_actor(x)->self, rt_msg_new(loop, EXCHANGE_TAKEN));
}

void exchange_stream_begin(struct exchange *x, const char *content_type)
{
	h2o_req_t *req = x->req;
	DCHECK(x->actor != NULL && x->stream == NULL);
	if (req == NULL)
		return;
	struct exchange_stream *s = h2o_mem_alloc_shared(&req->pool, sizeof *s, on_dispose);
	*s = (struct exchange_stream){
		.generator = { proceed, NULL }, .req = req, .x = x, .patience_ns = x->deadline_ns - x->started_ns
	};
	x->stream = s;
	exchange_write_head(x, req, 200, content_type, SIZE_MAX);
	req->compress_hint = H2O_COMPRESS_HINT_DISABLE;
	h2o_start_response(req, &s->generator);
}

bool exchange_stream_has_begun(const struct exchange *x)
{
	return x->stream != NULL;
}

void exchange_stream_send(struct exchange *x, struct buf *piece, bool is_last)
{
	struct exchange_stream *s = x->stream;
	if (s == NULL) { /* its client has gone */
		buf_finish(piece);
		return;
	}
	DCHECK(!s->is_sending && piece->n > 0);
	s->piece = *piece;
	*piece = (struct buf){ 0 };
	s->bytes += s->piece.n;
	s->is_sending = true;
	if (is_last) {
		observe_reply(x, 200, s->bytes);
		s->x = NULL;
		x->has_replied = true;
		exchange_detach(x);
	}
	h2o_iovec_t bytes = { s->piece.p, s->piece.n };
	h2o_send(s->req, &bytes, 1, is_last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

void exchange_stream_drop(struct exchange_stream *s)
{
	s->is_cut = true;
	s->x = NULL;
	if (!s->is_sending)
		h2o_send(s->req, NULL, 0, H2O_SEND_STATE_ERROR);
}

void exchange_stream_cut(struct exchange *x, int status)
{
	struct exchange_stream *s = x->stream;
	observe_reply(x, status, s->bytes);
	x->has_replied = true;
	exchange_detach(x);
	exchange_stream_drop(s);
}

/* While a piece is being sent it is the client's turn, whose patience is looked after elsewhere (conn_conduct.c). */
void exchange_stream_on_deadline(struct exchange *x, uint64_t op)
{
	const struct exchange_stream *s = x->stream;
	uint64_t now_ns = loop_mono_ns(x->front->loop);
	uint64_t until_ns = s->is_sending ? now_ns + s->patience_ns : x->deadline_ns;
	if (until_ns > now_ns)
		rt_timer_start(exchange_actor(x), (until_ns - now_ns) / 1000000u + 1, op);
	else
		exchange_error(x, 504, "the request's deadline has passed");
}

size_t exchange_stream_bytes(const h2o_req_t *req)
{
	const struct exchange_stream *s = (const struct exchange_stream *)req->_generator;
	return s != NULL && s->generator.proceed == proceed ? s->piece.n : 0;
}
