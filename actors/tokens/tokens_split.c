#include "actors/tokens/tokens_split.h"
#include "runtime/check.h"
#include <pthread.h>
#include <string.h>

#define LETTERS  (TOKENS_UPPER | TOKENS_LOWER | TOKENS_LETTER)
#define CASELESS (TOKENS_LETTER | TOKENS_MARK)
#define WHITE    (TOKENS_SPACE | TOKENS_NEWLINE)

/* By code point. Unassigned stretches are never written, so their pages take no memory. */
static uint8_t classes[0x110000];
/* By byte: the class of an ASCII character, 0 for the bytes of longer ones. */
static uint8_t ascii[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void)
{
	for (size_t i = 0; i < tokens_unicode_run_count; i++) {
		uint32_t from = tokens_unicode_runs[i] >> 8, class = tokens_unicode_runs[i] & 0xff;
		uint32_t to = i + 1 < tokens_unicode_run_count ? tokens_unicode_runs[i + 1] >> 8 : sizeof classes;
		if (class != 0)
			memset(classes + from, (int)class, to - from);
	}
	for (int byte = 0; byte < 128; byte++)
		ascii[byte] = classes[byte] ? classes[byte] : TOKENS_OTHER;
}

void tokens_split_prepare(void)
{
	pthread_once(&once, prepare);
}

static bool continues(const uint8_t *p, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (p[i] >> 6 != 2)
			return false;
	return true;
}

/* Length of the UTF-8 character at p and its code point; length 0 if it is not valid (overlong, surrogate, cut). */
static size_t decode(const uint8_t *p, const uint8_t *end, uint32_t *ret_code)
{
	size_t n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (n == 0 || (size_t)(end - p) < n || !continues(p, n))
		return 0;
	uint32_t code = p[0] & (0x7f >> n);
	for (size_t i = 1; i < n; i++)
		code = code << 6 | (p[i] & 0x3f);
	if ((n == 3 && (code < 0x800 || code >> 11 == 0x1b)) || (n == 4 && (code < 0x10000 || code > 0x10ffff)))
		return 0;
	*ret_code = code;
	return n;
}

static enum tokens_class wide_class(const uint8_t *p, const uint8_t *end, size_t *ret_n)
{
	uint32_t code;
	*ret_n = decode(p, end, &code);
	if (*ret_n == 0) {
		*ret_n = 1;
		return TOKENS_OTHER;
	}
	return classes[code] ? classes[code] : TOKENS_OTHER;
}

enum tokens_class tokens_split_class(const uint8_t *p, const uint8_t *end, size_t *ret_n)
{
	*ret_n = 1;
	return ascii[*p] ? ascii[*p] : wide_class(p, end, ret_n);
}

/* The first character at or behind p that is not in the set, or somewhere at or behind `stop`. */
static inline const uint8_t *run(const uint8_t *p, const uint8_t *stop, const uint8_t *end, unsigned set)
{
	for (;;) {
		while (p < stop && ascii[*p] & set)
			p++;
		if (p >= stop || *p < 0x80)
			return p;
		size_t n;
		if (!(wide_class(p, end, &n) & set))
			return p;
		p += n;
	}
}

/* The end of a contraction ('s 't 're 've 'm 'll 'd in any case) at p, or p. The long s folds to s. */
static inline const uint8_t *contraction(const uint8_t *p, const uint8_t *end)
{
	if (end - p < 2 || *p != '\'')
		return p;
	uint8_t a = p[1] | 0x20, b = end - p > 2 ? p[2] | 0x20 : 0;
	if (a == 's' || a == 't' || a == 'm' || a == 'd')
		return p + 2;
	if (((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l'))
		return p + 3;
	if (p[1] == 0xc5 && end - p > 2 && p[2] == 0xbf)
		return p + 3;
	return p;
}

/* Up to three numbers. */
static inline const uint8_t *numbers(const uint8_t *p, const uint8_t *end)
{
	size_t n;
	for (int i = 0; i < 3 && p < end && tokens_split_class(p, end, &n) == TOKENS_NUMBER; i++)
		p += n;
	return p;
}

#ifdef __SSE2__
#include <emmintrin.h>

/* What the 64 bytes from a place on are, one bit each. */
struct kinds {
	uint64_t letters, small, spaces, newlines, others;
	uint64_t hard; /* none of those: not ASCII, numbers, other white space, what has rules of its own: ' and / */
};

static inline __m128i equal(__m128i bytes, char c)
{
	return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c));
}

/* The bytes in [low, low + count). */
static inline __m128i in_range(__m128i bytes, char low, int count)
{
	/* Shifted so that the range begins at the least signed byte, one signed comparison does. */
	__m128i shifted = _mm_add_epi8(bytes, _mm_set1_epi8((char)(-128 - low)));
	return _mm_cmplt_epi8(shifted, _mm_set1_epi8((char)(-128 + count)));
}

static inline uint64_t bits(__m128i bytes, int at)
{
	return (uint64_t)(unsigned)_mm_movemask_epi8(bytes) << at;
}

static inline struct kinds kinds_of(const uint8_t p[64])
{
	struct kinds k = { 0 };
	uint64_t visible = 0;
	for (int at = 0; at < 64; at += 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + at));
		k.letters |= bits(in_range(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 26), at);
		k.small |= bits(_mm_slli_epi16(bytes, 2), at); /* bit 5, if it is a letter */
		k.spaces |= bits(equal(bytes, ' '), at);
		k.newlines |= bits(_mm_or_si128(equal(bytes, '\n'), equal(bytes, '\r')), at);
		visible |= bits(in_range(bytes, '!', 94), at);
		k.hard |= bits(_mm_or_si128(equal(bytes, '\''), in_range(bytes, '/', 11)), at);
	}
	k.small &= k.letters;
	k.others = visible & ~(k.letters | k.hard);
	k.hard = ~(k.letters | k.spaces | k.newlines | k.others);
	return k;
}

uint64_t tokens_split_ends(enum tokens_rules rules, const uint8_t *p, const uint8_t *end)
{
	uint8_t tail[64];
	if (!(ascii[*p] & ~TOKENS_NUMBER))
		return 0;
	if (end - p < 64) { /* zeros are hard, so nothing ends at the end of the text */
		memset(tail, 0, sizeof tail);
		memcpy(tail, p, (size_t)(end - p));
		p = tail;
	}
	struct kinds k = kinds_of(p);
	/* Others that are the first of their run and no space takes along; a letter behind one belongs to its piece. */
	uint64_t first = k.others & ((k.letters | k.newlines) << 1 | 1);
	uint64_t starts = k.spaces | first | (k.newlines & k.letters << 1) |
			  (k.letters & (k.newlines | (k.others & ~first)) << 1);
	if (rules == TOKENS_RULES_CASED)
		starts |= k.letters & ~k.small & k.small << 1;
	/* Two bytes do not show where a run of white space with a space in it ends; the last byte has no next one. */
	uint64_t white = k.spaces & ((k.spaces | k.newlines) >> 1 | (k.newlines << 1 & k.hard >> 1));
	uint64_t hard = k.hard | white | 1ull << 63;
	return starts & ~1ull & ((hard & -hard) - 1);
}
#else
uint64_t tokens_split_ends(enum tokens_rules rules, const uint8_t *p, const uint8_t *end)
{
	(void)rules, (void)p, (void)end;
	return 0;
}
#endif

static inline void enter(struct tokens_split *s, enum tokens_phase phase, const uint8_t *at)
{
	s->phase = phase;
	s->at = at;
}

static inline void begin(struct tokens_split *s, enum tokens_rules rules, const uint8_t *p, const uint8_t *end)
{
	/* With the cased rules a mark counts as a letter wherever a letter may begin a word. */
	const unsigned word = rules == TOKENS_RULES_CASED ? LETTERS | TOKENS_MARK : LETTERS;
	const enum tokens_phase letters = rules == TOKENS_RULES_CASED ? TOKENS_PHASE_UPPER : TOKENS_PHASE_LETTERS;
	size_t n, next_n;
	enum tokens_class first = tokens_split_class(p, end, &n);
	s->start = s->last = p;
	s->mark = NULL;
	if (rules == TOKENS_RULES_PLAIN && *p == '\'') {
		const uint8_t *stop = contraction(p, end);
		if (stop != p) {
			enter(s, TOKENS_PHASE_DONE, stop);
			return;
		}
	}
	if (first & word) {
		enter(s, letters, p);
		return;
	}
	if (first == TOKENS_NUMBER) {
		enter(s, TOKENS_PHASE_DONE, numbers(p, end));
		return;
	}
	if (first == TOKENS_NEWLINE) {
		enter(s, TOKENS_PHASE_SPACES, p);
		return;
	}
	enum tokens_class next = p + n < end ? tokens_split_class(p + n, end, &next_n) : TOKENS_NEWLINE;
	if (next & word)
		enter(s, letters, p + n);
	else if (first != TOKENS_SPACE)
		enter(s, TOKENS_PHASE_OTHER, p);
	else if (*p == ' ' && next & (TOKENS_OTHER | TOKENS_MARK))
		enter(s, TOKENS_PHASE_OTHER, p + n);
	else
		enter(s, TOKENS_PHASE_SPACES, p);
}

/* Capitals and caseless letters. If no small letter follows, the pattern's first branch gives capitals back up to its
 * last caseless letter; without one the second branch takes them all. */
static inline void upper(struct tokens_split *s, const uint8_t *stop, const uint8_t *end)
{
	const uint8_t *p = s->at;
	for (;;) {
		while (p < stop && ascii[*p] & TOKENS_UPPER)
			p++;
		if (p >= stop || *p < 0x80)
			break;
		size_t n;
		enum tokens_class class = wide_class(p, end, &n);
		if (!(class & (TOKENS_UPPER | CASELESS)))
			break;
		p += n;
		if (class & CASELESS)
			s->mark = p;
	}
	s->at = p;
	if (p >= stop && p < end)
		return;
	size_t n;
	if (p < end && tokens_split_class(p, end, &n) == TOKENS_LOWER)
		enter(s, TOKENS_PHASE_LOWER, p);
	else
		enter(s, TOKENS_PHASE_DONE, contraction(s->mark ? s->mark : p, end));
}

/* White space up to its last line end if it has one; else all of it at the end of the text; else all but the last
 * character, which may belong to the next piece; else that character. */
static inline void spaces(struct tokens_split *s, const uint8_t *stop, const uint8_t *end)
{
	const uint8_t *p = s->at;
	size_t n;
	for (enum tokens_class class; p < stop && (class = tokens_split_class(p, end, &n)) & WHITE;) {
		s->last = p;
		p += n;
		if (class == TOKENS_NEWLINE)
			s->mark = p;
	}
	s->at = p;
	if (p >= stop && p < end)
		return;
	if (s->mark != NULL)
		p = s->mark;
	else if (p < end && s->last > s->start)
		p = s->last;
	enter(s, TOKENS_PHASE_DONE, p);
}

static inline bool step(struct tokens_split *s, enum tokens_rules rules, const uint8_t *stop, const uint8_t *end)
{
	for (;;) {
		enum tokens_phase phase = s->phase;
		switch (phase) {
		case TOKENS_PHASE_UPPER:
			upper(s, stop, end);
			break;
		case TOKENS_PHASE_LOWER:
			s->at = run(s->at, stop, end, TOKENS_LOWER | CASELESS);
			if (s->at < stop || s->at >= end)
				enter(s, TOKENS_PHASE_DONE, contraction(s->at, end));
			break;
		case TOKENS_PHASE_LETTERS:
			s->at = run(s->at, stop, end, LETTERS);
			if (s->at < stop || s->at >= end)
				s->phase = TOKENS_PHASE_DONE;
			break;
		case TOKENS_PHASE_OTHER:
			s->at = run(s->at, stop, end, TOKENS_OTHER | TOKENS_MARK);
			if (s->at < stop || s->at >= end)
				s->phase = TOKENS_PHASE_TAIL;
			break;
		case TOKENS_PHASE_TAIL:
			while (s->at < stop &&
			       (*s->at == '\r' || *s->at == '\n' || (*s->at == '/' && rules == TOKENS_RULES_CASED)))
				s->at++;
			if (s->at < stop || s->at >= end)
				s->phase = TOKENS_PHASE_DONE;
			break;
		case TOKENS_PHASE_SPACES:
			spaces(s, stop, end);
			break;
		case TOKENS_PHASE_DONE:
			return true;
		}
		if (s->phase == phase)
			return false;
	}
}

void tokens_split_begin(struct tokens_split *s, enum tokens_rules rules, const uint8_t *p, const uint8_t *end)
{
	begin(s, rules, p, end);
}

bool tokens_split_step(struct tokens_split *s, enum tokens_rules rules, const uint8_t *end, size_t max_bytes)
{
	const uint8_t *stop = (size_t)(end - s->at) > max_bytes ? s->at + max_bytes : end;
	return step(s, rules, stop, end);
}

const uint8_t *tokens_split_next(enum tokens_rules rules, const uint8_t *p, const uint8_t *end)
{
	struct tokens_split s;
	begin(&s, rules, p, end);
	bool done = step(&s, rules, end, end);
	DCHECK(done);
	(void)done;
	return s.at;
}
