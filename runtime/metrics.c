/* A series is a run of cells at the same place in every thread's slab: one cell for a counter or a gauge; for
 * a histogram one per bound, one for what lies above, and the sum (the bits of a double). A slab has one
 * writer, so adding is a load and a store; the scraper reads each cell whole and may see a sum that is one
 * observation behind.
 *
 * Families, series and slabs are only ever added, so a scrape needs the lock just to note how many there
 * are. */
#include "runtime/metrics.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "runtime/process_stats.h"
#include "runtime/pyfloat.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

enum { FAMILIES_MAX = 1024, INDEX_LEN = 2 * METRICS_CELLS_MAX, NAME_MAX_BYTES = 128 };

struct family {
	enum metric_type type;
	const char *name, *help, *labels; /* borrows for the life of the process */
	const double *buckets;            /* borrows likewise; ended by 0 */
	unsigned buckets_len, labels_len;
	metric_id overflow;    /* counts for series that found no room; the only series of a family without labels */
	char *overflow_labels; /* owned */
	bool overflowed;       /* it is shown only then */
};

struct series {
	uint32_t family;
	metric_id cell;
	char *labels; /* owned: a="x",b="y" with escapes; "" without labels */
};

struct slab {
	struct slab *next;
	atomic_bool taken;
	atomic_uint_fast64_t cells[METRICS_CELLS_MAX];
};

static const double default_buckets[] = { .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025,
					  .05,    .1,    .25,    .5,    1,    2.5,   5,    10,  0 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* families, series, index and the taking of slabs */
static struct family families[FAMILIES_MAX];
static uint32_t families_len;
static struct series series[METRICS_CELLS_MAX]; /* in order of registration */
static uint32_t series_len;
static uint32_t series_index[INDEX_LEN];        /* open addressing; 1 + place in series */
static uint32_t cells_len = 1;                  /* cell 0 is unused */
static uint64_t refused;                        /* registrations that found no room */
static uint16_t cell_family[METRICS_CELLS_MAX]; /* of a series' first cell */
static atomic_uint_fast64_t gauges[METRICS_CELLS_MAX];

static struct slab *_Atomic slabs;
static _Thread_local struct slab *own_slab;
static pthread_once_t release_once = PTHREAD_ONCE_INIT;
static pthread_key_t release_key;

/* ---- slabs ---- */

static void slab_release(void *slab)
{
	own_slab = NULL;
	/* release: the next owner goes on from these counts */
	atomic_store_explicit(&((struct slab *)slab)->taken, false, memory_order_release);
}

static void release_init(void)
{
	CHECK(pthread_key_create(&release_key, slab_release) == 0);
}

/* A finished thread's slab keeps its counts and goes to the next thread. */
static struct slab *slab_take(void)
{
	pthread_once(&release_once, release_init);
	pthread_mutex_lock(&lock);
	struct slab *s = atomic_load_explicit(&slabs, memory_order_relaxed);
	while (s && atomic_load_explicit(&s->taken, memory_order_acquire))
		s = s->next;
	if (s == NULL) {
		s = calloc(1, sizeof *s);
		CHECK(s != NULL);
		s->next = atomic_load_explicit(&slabs, memory_order_relaxed);
		/* release: a scraper that finds the slab sees its zeros and its successor */
		atomic_store_explicit(&slabs, s, memory_order_release);
	}
	atomic_store_explicit(&s->taken, true, memory_order_relaxed);
	pthread_mutex_unlock(&lock);
	pthread_setspecific(release_key, s);
	own_slab = s;
	return s;
}

static inline struct slab *slab_own(void)
{
	return own_slab ? own_slab : slab_take();
}

static inline uint64_t cell_read(atomic_uint_fast64_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

static inline void cell_write(atomic_uint_fast64_t *cell, uint64_t v)
{
	atomic_store_explicit(cell, v, memory_order_relaxed);
}

static inline double to_double(uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof v);
	return v;
}

static inline uint64_t to_bits(double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof bits);
	return bits;
}

static uint64_t sum_cells(uint32_t at)
{
	uint64_t sum = 0;
	for (struct slab *s = atomic_load_explicit(&slabs, memory_order_acquire); s; s = s->next)
		sum += cell_read(&s->cells[at]);
	return sum;
}

static double sum_double_cells(uint32_t at)
{
	double sum = 0;
	for (struct slab *s = atomic_load_explicit(&slabs, memory_order_acquire); s; s = s->next)
		sum += to_double(cell_read(&s->cells[at]));
	return sum;
}

/* ---- the hot path ---- */

void metrics_add(metric_id counter, uint64_t n)
{
	DCHECK(counter < METRICS_CELLS_MAX);
	atomic_uint_fast64_t *cell = &slab_own()->cells[counter];
	cell_write(cell, cell_read(cell) + n);
}

void metrics_set(metric_id gauge, double value)
{
	DCHECK(gauge < METRICS_CELLS_MAX);
	cell_write(&gauges[gauge], to_bits(value));
}

void metrics_observe(metric_id histogram, double v)
{
	DCHECK(histogram < METRICS_CELLS_MAX);
	if (histogram == 0 || isnan(v))
		return;
	const struct family *f = &families[cell_family[histogram]];
	DCHECK(f->type == METRIC_HISTOGRAM);
	atomic_uint_fast64_t *cells = &slab_own()->cells[histogram];
	unsigned i = 0;
	while (i < f->buckets_len && v > f->buckets[i])
		i++;
	cell_write(&cells[i], cell_read(&cells[i]) + 1);
	atomic_uint_fast64_t *sum = &cells[f->buckets_len + 1];
	cell_write(sum, to_bits(to_double(cell_read(sum)) + v));
}

uint64_t metrics_counter_value(metric_id counter)
{
	return counter ? sum_cells(counter) : 0;
}

/* ---- registration ---- */

/* 0 when there is no room. Under the lock. */
static metric_id cells_take(uint32_t family)
{
	const struct family *f = &families[family];
	uint32_t n = f->type == METRIC_HISTOGRAM ? f->buckets_len + 2 : 1;
	if (METRICS_CELLS_MAX - cells_len < n)
		return 0;
	metric_id at = cells_len;
	cells_len += n;
	cell_family[at] = (uint16_t)family;
	return at;
}

static void append_label_value(struct buf *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n')
			buf_append_lit(out, "\\n");
		else if (*value == '"' || *value == '\\')
			buf_printf(out, "\\%c", *value);
		else
			buf_append_char(out, *value);
	}
}

static void append_labels(struct buf *out, const struct family *f, const char *const *values)
{
	const char *name = f->labels;
	for (unsigned i = 0; i < f->labels_len; i++) {
		size_t n = strcspn(name, ",");
		buf_printf(out, "%s%.*s=\"", i ? "," : "", (int)n, name);
		append_label_value(out, values[i]);
		buf_append_char(out, '"');
		name += n + 1;
	}
	buf_append_char(out, '\0');
}

static char *overflow_labels(const struct family *f)
{
	static const char *const values[METRIC_LABELS_MAX] = { "overflow", "overflow", "overflow", "overflow" };
	struct buf labels = { 0 };
	size_t n;
	append_labels(&labels, f, values);
	CHECK(!labels.failed);
	return buf_take(&labels, &n);
}

static uint32_t family_find(const char *name)
{
	for (uint32_t i = 0; i < families_len; i++)
		if (strcmp(families[i].name, name) == 0)
			return i;
	return families_len;
}

uint32_t metrics_family(enum metric_type type, const char *name, const char *help, const char *labels,
			const double *buckets)
{
	pthread_mutex_lock(&lock);
	uint32_t at = family_find(name);
	if (at == families_len) {
		CHECK(families_len < FAMILIES_MAX); /* families are written in the source, not made from input */
		CHECK(strlen(name) < NAME_MAX_BYTES);
		struct family *f = &families[families_len++];
		*f = (struct family){ .type = type, .name = name, .help = help, .labels = labels };
		f->buckets = buckets ? buckets : default_buckets;
		while (f->buckets[f->buckets_len] > 0)
			f->buckets_len++;
		if (*labels)
			f->labels_len = 1;
		for (const char *p = labels; *p; p++)
			f->labels_len += *p == ',';
		CHECK(f->labels_len <= METRIC_LABELS_MAX);
		f->overflow = cells_take(at);
		f->overflow_labels = overflow_labels(f);
	}
	pthread_mutex_unlock(&lock);
	return at;
}

/* The slot of the index that holds this series, or the free one where it belongs. Under the lock. */
static uint32_t *index_find(uint32_t family, struct str labels)
{
	uint64_t h = hash_mix(hash64(labels) + family);
	for (uint64_t i = h % INDEX_LEN;; i = (i + 1) % INDEX_LEN) {
		uint32_t at = series_index[i];
		if (at == 0 || (series[at - 1].family == family && strcmp(series[at - 1].labels, labels.p) == 0))
			return &series_index[i];
	}
}

/* Moves labels; takes the family's overflow series when there is no room. Under the lock. */
static metric_id series_find_or_add(uint32_t family, struct buf *labels)
{
	size_t n;
	uint32_t *slot = labels->failed ? NULL : index_find(family, str_of(labels->p, labels->n - 1));
	if (slot && *slot)
		return series[*slot - 1].cell;
	metric_id cell = slot ? cells_take(family) : 0;
	if (cell == 0) {
		families[family].overflowed = true;
		refused++;
		return families[family].overflow;
	}
	series[series_len] = (struct series){ family, cell, buf_take(labels, &n) };
	*slot = ++series_len;
	return cell;
}

metric_id metrics_series(uint32_t family, const char *const *values)
{
	struct buf labels = { 0 };
	const struct family *f = &families[family];
	if (f->labels_len == 0)
		return f->overflow;
	append_labels(&labels, f, values);
	pthread_mutex_lock(&lock);
	metric_id cell = series_find_or_add(family, &labels);
	pthread_mutex_unlock(&lock);
	buf_finish(&labels);
	return cell;
}

/* ---- rendering ---- */

struct shown {
	const struct family *family;
	const char *labels; /* borrows */
	metric_id cell;
};

static int shown_cmp(const void *a, const void *b)
{
	const struct shown *x = a, *y = b;
	int c = strcmp(x->family->name, y->family->name);
	return c ? c : strcmp(x->labels, y->labels);
}

/* Notes what exists; the caller frees the result. Families and series never change once they are counted. */
static struct shown *snapshot(size_t *ret_n, uint64_t *ret_refused)
{
	size_t n = 0;
	pthread_mutex_lock(&lock);
	struct shown *all = malloc((series_len + families_len + 1) * sizeof *all);
	CHECK(all != NULL);
	for (uint32_t i = 0; i < series_len; i++)
		all[n++] = (struct shown){ &families[series[i].family], series[i].labels, series[i].cell };
	for (uint32_t i = 0; i < families_len; i++) {
		const struct family *f = &families[i];
		if (f->overflow && (f->labels_len == 0 || f->overflowed))
			all[n++] = (struct shown){ f, f->overflow_labels, f->overflow };
	}
	*ret_refused = refused;
	pthread_mutex_unlock(&lock);
	*ret_n = n;
	return all;
}

static void append_double(struct buf *out, double v)
{
	if (!isfinite(v)) {
		buf_append_str(out, isnan(v) ? STR("NaN") : v > 0 ? STR("+Inf") : STR("-Inf"));
		return;
	}
	char text[PYFLOAT_TEXT_MAX];
	size_t n = pyfloat_text(v, text);
	buf_append(out, text, n > 2 && text[n - 2] == '.' && text[n - 1] == '0' ? n - 2 : n); /* most are counts */
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);
	return n >= k && strcmp(name + n - k, suffix) == 0;
}

static const char *counter_suffix(const struct family *f)
{
	return f->type == METRIC_COUNTER && !has_suffix(f->name, "_total") ? "_total" : "";
}

static void append_head(struct buf *out, const struct family *f)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };
	const char *suffix = counter_suffix(f);
	buf_printf(out, "# HELP %s%s ", f->name, suffix);
	for (const char *p = f->help; *p; p++) {
		if (*p == '\n' || *p == '\\')
			buf_append_str(out, *p == '\n' ? STR("\\n") : STR("\\\\"));
		else
			buf_append_char(out, *p);
	}
	buf_printf(out, "\n# TYPE %s%s %s\n", f->name, suffix, types[f->type]);
}

static void append_sample(struct buf *out, const char *name, const char *suffix, const char *labels)
{
	buf_printf(out, "%s%s", name, suffix);
	if (*labels)
		buf_printf(out, "{%s}", labels);
	buf_append_char(out, ' ');
}

static void append_histogram(struct buf *out, const struct shown *s)
{
	const struct family *f = s->family;
	uint64_t count = 0;
	for (unsigned i = 0; i <= f->buckets_len; i++) {
		count += sum_cells(s->cell + i);
		buf_printf(out, "%s_bucket{%s%sle=\"", f->name, s->labels, *s->labels ? "," : "");
		append_double(out, i < f->buckets_len ? f->buckets[i] : INFINITY);
		buf_printf(out, "\"} ");
		buf_append_u64(out, count);
		buf_append_char(out, '\n');
	}
	append_sample(out, f->name, "_sum", s->labels);
	append_double(out, sum_double_cells(s->cell + f->buckets_len + 1));
	buf_append_char(out, '\n');
	append_sample(out, f->name, "_count", s->labels);
	buf_append_u64(out, count);
	buf_append_char(out, '\n');
}

static void append_series(struct buf *out, const struct shown *s)
{
	switch (s->family->type) {
	case METRIC_COUNTER:
		append_sample(out, s->family->name, counter_suffix(s->family), s->labels);
		buf_append_u64(out, sum_cells(s->cell));
		buf_append_char(out, '\n');
		break;
	case METRIC_GAUGE:
		append_sample(out, s->family->name, "", s->labels);
		append_double(out, to_double(cell_read(&gauges[s->cell])));
		buf_append_char(out, '\n');
		break;
	case METRIC_HISTOGRAM:
		append_histogram(out, s);
		break;
	}
}

static void append_process(struct buf *out, uint64_t series_refused)
{
	struct process_stats p = process_stats_read();
	const struct {
		const char *name, *help;
		double value;
		enum metric_type type;
	} rows[] = {
		{ "fabra_metrics_refused_total", "Registrations that found no room and share an overflow series.",
		  (double)series_refused, METRIC_COUNTER },
		{ "process_cpu_seconds_total", "User and system time of the process in seconds.", p.cpu_seconds,
		  METRIC_COUNTER },
		{ "process_max_fds", "Limit of open file descriptors.", p.fds_max, METRIC_GAUGE },
		{ "process_open_fds", "Open file descriptors.", p.fds_open, METRIC_GAUGE },
		{ "process_resident_memory_bytes", "Resident memory in bytes.", p.resident_bytes, METRIC_GAUGE },
		{ "process_start_time_seconds", "Start of the process in seconds since 1970, UTC.",
		  p.start_time_seconds, METRIC_GAUGE },
		{ "process_virtual_memory_bytes", "Virtual memory in bytes.", p.virtual_bytes, METRIC_GAUGE },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct family f = { .type = rows[i].type, .name = rows[i].name, .help = rows[i].help };
		append_head(out, &f);
		append_sample(out, f.name, "", "");
		append_double(out, rows[i].value);
		buf_append_char(out, '\n');
	}
}

void metrics_render(struct buf *out)
{
	size_t n;
	uint64_t series_refused;
	struct shown *all = snapshot(&n, &series_refused);
	qsort(all, n, sizeof *all, shown_cmp);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || all[i].family != all[i - 1].family)
			append_head(out, all[i].family);
		append_series(out, &all[i]);
	}
	free(all);
	append_process(out, series_refused);
}
