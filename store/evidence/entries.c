/* Layout of every payload: a version byte, fixed numbers, then texts as a 32-bit length and the bytes. A
 * decoder checks the whole payload before it hands out the first value, so that a damaged one has no effect
 * at all.
 *
 * Values have two versions: the first had neither nanoseconds, nor the version of the code, nor tombstones. It
 * is still read: ledgers keep it for as long as they keep values. */
#include "store/evidence/entries.h"
#include "store/text/bytes.h"

enum { ENTRY_VERSION = 1, EVENT_VERSION_KEYED = 2, VALUES_VERSION_PLAIN = 1, VALUES_VERSION = 2 };
enum { NS_PER_US = 1000 };

/* ---- writing ---- */
static void write_u8(struct buf *out, uint8_t v)
{
	buf_append_char(out, (char)v);
}

static void write_u16(struct buf *out, uint16_t v)
{
	uint8_t bytes[2];
	put_u16(bytes, v);
	buf_append(out, bytes, sizeof bytes);
}

static void write_u64(struct buf *out, uint64_t v)
{
	uint8_t bytes[8];
	put_u64(bytes, v);
	buf_append(out, bytes, sizeof bytes);
}

static void write_str(struct buf *out, struct str s)
{
	uint8_t bytes[4];
	if (s.n > UINT32_MAX) {
		out->failed = true;
		return;
	}
	put_u32(bytes, (uint32_t)s.n);
	buf_append(out, bytes, sizeof bytes);
	buf_append_str(out, s);
}

static bool source_is_known(unsigned source)
{
	return source >= ENTRY_COMPUTED && source <= ENTRY_TRIGGERED;
}

void entry_values_write(struct buf *out, const struct entry_values *v)
{
	if (!source_is_known(v->source) || v->count > UINT32_MAX) {
		out->failed = true;
		return;
	}
	write_u8(out, VALUES_VERSION);
	write_u8(out, (uint8_t)v->source);
	write_u64(out, v->event_lsn);
	write_u64(out, v->count);
	write_str(out, v->entity);
	for (size_t i = 0; i < v->count; i++) {
		const struct entry_value *value = &v->values[i];
		if (value->ttl_ms < 0 || value->event_time_ns >= NS_PER_US)
			out->failed = true;
		write_str(out, value->entity_id);
		write_str(out, value->feature);
		write_u8(out, value->value_json.p != NULL);
		write_str(out, value->value_json);
		write_u64(out, (uint64_t)value->event_time_us);
		write_u16(out, value->event_time_ns);
		write_u64(out, (uint64_t)value->ttl_ms);
		write_str(out, value->version);
	}
}

void entry_delete_write(struct buf *out, const struct entry_delete *d)
{
	write_u8(out, ENTRY_VERSION);
	write_u64(out, (uint64_t)d->event_time_us);
	write_str(out, d->entity);
	write_str(out, d->entity_id);
}

void entry_event_write(struct buf *out, const struct entry_event *e)
{
	bool is_keyed = e->idempotency.n > 0;
	write_u8(out, is_keyed ? EVENT_VERSION_KEYED : ENTRY_VERSION);
	write_u64(out, (uint64_t)e->event_time_us);
	write_str(out, e->event_id);
	write_str(out, e->event_type);
	write_str(out, e->entity_id);
	write_str(out, e->payload_json);
	if (!is_keyed)
		return;
	write_str(out, e->idempotency);
	write_u64(out, (uint64_t)e->received_us);
}

/* ---- reading ---- */
struct cursor {
	const uint8_t *p;
	size_t n;
	bool failed;
	uint8_t version; /* of the payload */
};

static const uint8_t *take(struct cursor *c, size_t n)
{
	if (c->failed || c->n < n) {
		c->failed = true;
		return NULL;
	}
	const uint8_t *p = c->p;
	c->p += n;
	c->n -= n;
	return p;
}

static uint8_t read_u8(struct cursor *c)
{
	const uint8_t *p = take(c, 1);
	return p ? *p : 0;
}

static uint16_t read_u16(struct cursor *c)
{
	const uint8_t *p = take(c, 2);
	return p ? get_u16(p) : 0;
}

static uint64_t read_u64(struct cursor *c)
{
	const uint8_t *p = take(c, 8);
	return p ? get_u64(p) : 0;
}

static struct str read_str(struct cursor *c)
{
	const uint8_t *length = take(c, 4);
	size_t n = length ? get_u32(length) : 0;
	const uint8_t *p = take(c, n);
	return p ? str_of((const char *)p, n) : (struct str){ 0 };
}

static struct cursor cursor_open(struct str payload)
{
	struct cursor c = { .p = (const uint8_t *)payload.p, .n = payload.n };
	if (read_u8(&c) != ENTRY_VERSION)
		c.failed = true;
	return c;
}

static bool cursor_is_at_end(const struct cursor *c)
{
	return !c->failed && c->n == 0;
}

static struct entry_value read_value(struct cursor *c)
{
	struct entry_value value = { 0 };
	bool is_plain = c->version == VALUES_VERSION_PLAIN;
	value.entity_id = read_str(c);
	value.feature = read_str(c);
	bool is_value = is_plain || read_u8(c) != 0;
	value.value_json = read_str(c);
	if (!is_value)
		value.value_json = (struct str){ 0 };
	value.event_time_us = (int64_t)read_u64(c);
	value.event_time_ns = is_plain ? 0 : read_u16(c);
	value.ttl_ms = (int64_t)read_u64(c);
	if (!is_plain)
		value.version = read_str(c);
	if (value.ttl_ms < 0 || value.event_time_ns >= NS_PER_US)
		c->failed = true;
	return value;
}

static struct cursor read_values_head(struct str payload, struct entry_values *ret_head)
{
	struct cursor c = { .p = (const uint8_t *)payload.p, .n = payload.n };
	c.version = read_u8(&c);
	if (c.version != VALUES_VERSION && c.version != VALUES_VERSION_PLAIN)
		c.failed = true;
	unsigned source = read_u8(&c);
	if (!source_is_known(source))
		c.failed = true;
	*ret_head = (struct entry_values){ .source = c.failed ? ENTRY_COMPUTED : source };
	ret_head->event_lsn = read_u64(&c);
	ret_head->count = read_u64(&c);
	ret_head->entity = read_str(&c);
	return c;
}

bool entry_values_read(struct str payload, struct entry_values *ret_head, void *arg,
		       void (*each)(void *arg, const struct entry_values *head, const struct entry_value *value))
{
	struct entry_values head;
	struct cursor values = read_values_head(payload, &head);
	struct cursor c = values;
	for (size_t i = 0; i < head.count && !c.failed; i++)
		read_value(&c);
	if (!cursor_is_at_end(&c))
		return false;
	if (ret_head)
		*ret_head = head;
	for (size_t i = 0; each && i < head.count; i++) {
		struct entry_value value = read_value(&values);
		each(arg, &head, &value);
	}
	return true;
}

bool entry_values_event_lsn(struct str payload, uint64_t *ret_event_lsn)
{
	struct entry_values head;
	struct cursor c = read_values_head(payload, &head);
	if (c.failed)
		return false;
	*ret_event_lsn = head.event_lsn;
	return true;
}

bool entry_delete_read(struct str payload, struct entry_delete *ret)
{
	struct cursor c = cursor_open(payload);
	struct entry_delete d;
	d.event_time_us = (int64_t)read_u64(&c);
	d.entity = read_str(&c);
	d.entity_id = read_str(&c);
	if (!cursor_is_at_end(&c))
		return false;
	*ret = d;
	return true;
}

bool entry_event_read(struct str payload, struct entry_event *ret)
{
	struct cursor c = { .p = (const uint8_t *)payload.p, .n = payload.n };
	struct entry_event e = { 0 };
	unsigned version = read_u8(&c);
	if (version != ENTRY_VERSION && version != EVENT_VERSION_KEYED)
		c.failed = true;
	e.event_time_us = (int64_t)read_u64(&c);
	e.event_id = read_str(&c);
	e.event_type = read_str(&c);
	e.entity_id = read_str(&c);
	e.payload_json = read_str(&c);
	if (version == EVENT_VERSION_KEYED) {
		e.idempotency = read_str(&c);
		e.received_us = (int64_t)read_u64(&c);
		if (e.idempotency.n == 0)
			c.failed = true;
	}
	if (!cursor_is_at_end(&c))
		return false;
	*ret = e;
	return true;
}
