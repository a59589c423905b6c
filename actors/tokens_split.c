#include "actors/tokens_split.h"
#include "runtime/check.h"
#include <pthread.h>
#include <string.h>

#define LETTERS   (TOKENS_UPPER | TOKENS_LOWER | TOKENS_LETTER)
#define CASELESS  (TOKENS_LETTER | TOKENS_MARK)
#define WHITE     (TOKENS_SPACE | TOKENS_NEWLINE)

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

/* Bit i: byte i of the 16 lies in [low, low + count). */
static inline unsigned in_range(__m128i bytes, char low, int count)
{
	/* Shifted so that the range begins at the least signed byte, one signed comparison does. */
	__m128i shifted = _mm_add_epi8(bytes, _mm_set1_epi8((char)(-128 - low)));
	return (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(shifted, _mm_set1_epi8((char)(-128 + count))));
}

/* Nearly all pieces of Latin text: at most one ASCII character and ASCII letters, or one mark of punctuation before a
 * space, or one line end before a letter; not at the very end of the text. All are tried at once, since neither the
 * lengths nor the kinds of pieces are what a branch could predict. The end of the piece; NULL: it is not that simple. */
static inline const uint8_t *simple(enum tokens_rules rules, const uint8_t *p, const uint8_t *end)
{
	if (end - p < 17)
		return NULL;
	__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
	unsigned small = in_range(bytes, 'a', 26), capital = in_range(bytes, 'A', 26), first = ascii[*p];
	/* Bit i: a word that holds byte i - 1 ends before byte i. What the loop over pieces waits for is only this chain
	 * from one piece to the next, so the first character is classified beside it and takes part at the end. */
	unsigned stops = ~(small | capital);
	if (rules == TOKENS_RULES_CASED)
		stops |= capital & small << 1;
	unsigned prefix = (first & (TOKENS_SPACE | TOKENS_OTHER)) != 0, newline = first == TOKENS_NEWLINE;
	unsigned n = (unsigned)__builtin_ctz((stops & ~(prefix | newline)) | newline << 1);
	bool word = (n > prefix) & (n < 16) & (newline == 0);
	bool single = ((first == TOKENS_OTHER) & (p[1] == ' ')) | (newline & ((small | capital) >> 1 & 1));
	/* A letter that is not ASCII may go on with the word; an apostrophe may begin a contraction. */
	if (!(word | single) | (p[n] >= 0x80) | (p[n] == '\'') | (*p == '\''))
		return NULL;
	return p + n;
}
#else
static inline const uint8_t *simple(enum tokens_rules rules, const uint8_t *p, const uint8_t *end)
{
	(void)rules, (void)p, (void)end;
	return NULL;
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
			while (s->at < stop && (*s->at == '\r' || *s->at == '\n' ||
						(*s->at == '/' && rules == TOKENS_RULES_CASED)))
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

static inline __attribute__((always_inline)) const uint8_t *next_piece(enum tokens_rules rules, const uint8_t *p,
								       const uint8_t *end)
{
	const uint8_t *after = simple(rules, p, end);
	if (after != NULL)
		return after;
	struct tokens_split s;
	begin(&s, rules, p, end);
	bool done = step(&s, rules, end, end);
	DCHECK(done);
	(void)done;
	return s.at;
}

const uint8_t *tokens_split_next(enum tokens_rules rules, const uint8_t *p, const uint8_t *end)
{
	/* Two copies, so that each knows its rules. */
	return rules == TOKENS_RULES_CASED ? next_piece(TOKENS_RULES_CASED, p, end)
					   : next_piece(TOKENS_RULES_PLAIN, p, end);
}
