#include "store/record/record_chain.h"
#include "runtime/check.h"

static const char no_predecessor[] = "null";
enum { NO_PREDECESSOR = sizeof no_predecessor - 1 };

bool record_draft_is_sound(const struct record_draft *d)
{
	return d->text.n >= NO_PREDECESSOR && d->previous_at <= d->text.n - NO_PREDECESSOR &&
	       memcmp(d->text.p + d->previous_at, no_predecessor, NO_PREDECESSOR) == 0;
}

size_t record_chain_bytes(const struct record_chain *c, const struct record_draft *d)
{
	size_t previous_n = strlen(c->last_context_id);
	return previous_n > 0 ? d->text.n - NO_PREDECESSOR + previous_n + 2 : d->text.n;
}

static void write_text(const struct record_chain *c, const struct record_draft *d, uint8_t *out)
{
	size_t previous_n = strlen(c->last_context_id), tail_at = d->previous_at + NO_PREDECESSOR;
	memcpy(out, d->text.p, d->previous_at);
	out += d->previous_at;
	if (previous_n == 0) {
		memcpy(out, no_predecessor, NO_PREDECESSOR);
		out += NO_PREDECESSOR;
	} else {
		*out++ = '"';
		memcpy(out, c->last_context_id, previous_n);
		out[previous_n] = '"';
		out += previous_n + 1;
	}
	memcpy(out, d->text.p + tail_at, d->text.n - tail_at);
}

void record_chain_add(struct record_chain *c, const struct record_draft *d, const struct record_signer *signer,
		      int64_t now_us, uint8_t *out, struct record_stamp *ret)
{
	uint8_t hash[32];
	size_t n = record_chain_bytes(c, d);
	write_text(c, d, out);
	record_stamp_make(str_of((const char *)out, n), signer, now_us, ret);
	CHECK(record_digest_parse(str_of(ret->record_hash, RECORD_HASH_TEXT), STR("sha256:"), hash));
	record_chain_follow(c, d->context_id, hash);
	c->records++;
}

void record_chain_follow(struct record_chain *c, struct str context_id, const uint8_t hash[static 32])
{
	CHECK(context_id.n <= RECORD_ID_MAX);
	memset(c->last_context_id, 0, sizeof c->last_context_id);
	if (context_id.n > 0)
		memcpy(c->last_context_id, context_id.p, context_id.n);
	memcpy(c->last_hash, hash, sizeof c->last_hash);
}

bool record_chain_continues(const struct record_chain *c, struct str previous_context_id)
{
	return str_eq(previous_context_id, str_from(c->last_context_id));
}

bool record_chain_ends_alike(const struct record_chain *a, const struct record_chain *b)
{
	return strcmp(a->last_context_id, b->last_context_id) == 0 &&
	       memcmp(a->last_hash, b->last_hash, sizeof a->last_hash) == 0;
}
