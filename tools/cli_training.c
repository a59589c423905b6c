/* cli_training.c -- `fabra training-data`: a file of events, what a server's features were then, a file for training. */
#include "actors/definitions/definitions_near.h"
#include "runtime/clock.h"
#include "store/offline/offline_events.h"
#include "store/text/timefmt.h"
#include "tools/cli_client.h"
#include "tools/commands.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a question to the server: below its bounds for a body and the values in it. */
enum { BODY_BYTES = 900 << 10, BODY_VALUES = 120000, CELLS_MAX = 1000000 };
enum { FEATURES_MAX = 200, ID_BYTES_MAX = 256, MISTAKES_SHOWN = 10, TIMEOUT_MS = 150000, BAR = 30 };

static const char help[] =
    "usage: fabra training-data --events FILE --features NAME[,NAME...] --output FILE\n"
    "\n"
    "For each event (an id of each entity, and a time) the values that a read at that time would have got: no value that was\n"
    "written later, or whose ttl had passed (docs/training-data.md). Asks a running server, which goes on serving.\n"
    "\n"
    "  --events FILE      CSV, TSV, JSON lines or Parquet with the id column of each entity, as `user_id`, and a time in ISO 8601\n"
    "  --features NAMES   with commas between them\n"
    "  --output FILE      .csv or .parquet: the columns of the events, in their order, then one for each feature\n"
    "  --at COLUMN        the column that has the time (event_time)\n"
    "  --event-times      also a column NAME__event_time for each feature\n"
    "  --no-defaults      a missing value is null, even if the feature has a default\n"
    "  --json             a summary for programs on standard output\n"
    "\n" CLI_CLIENT_HELP "\n"
    "examples:\n"
    "  fabra training-data --events labels.csv --features user_tier,total_spent --output training.parquet\n";

struct wanted_feature {
	const char *name;
	size_t entity;  /* of columns */
	uint64_t nulls; /* in the answer */
};
struct job {
	struct cli_client client;
	struct http_client http;
	const char *events_file, *output, *at;
	char *names; /* owned; of features */
	bool event_times, no_defaults, json;
	struct wanted_feature features[FEATURES_MAX];
	size_t features_count;
	char *columns[FEATURES_MAX + 1]; /* owned: of ids, then the time */
	size_t ids_count;
	struct offline_events *events;
	struct buf why;
	/* the question that is being made, and its answer */
	struct buf lists[FEATURES_MAX + 1]; /* of each column */
	size_t bytes, rows_len, rows_cap, answered;
	uint64_t *rows; /* owned */
	uint64_t asked, mistakes;
	int64_t now_us;
	bool is_told; /* why it failed has been said */
};

static volatile sig_atomic_t is_interrupted;

static void on_signal(int number)
{
	(void)number;
	is_interrupted = 1;
}

/* ---- which features, and which columns they need ---- */
static struct str find_member(yyjson_val *list, struct str name, const char *member)
{
	size_t i, n;
	yyjson_val *v;
	yyjson_arr_foreach(list, i, n, v)
		if (str_eq(json_str(yyjson_obj_get(v, "name")), name))
			return json_str(yyjson_obj_get(v, member));
	return (struct str){ 0 };
}

static void say_unknown(yyjson_val *features, const char *name)
{
	const char **names = calloc(yyjson_arr_size(features) + 1, sizeof *names);
	size_t i, n, count = 0;
	yyjson_val *v;
	yyjson_arr_foreach(features, i, n, v)
		if (names != NULL && yyjson_is_str(yyjson_obj_get(v, "name")))
			names[count++] = yyjson_get_str(yyjson_obj_get(v, "name"));
	const char *near = names != NULL ? definitions_near(names, str_from(name)) : NULL;
	fprintf(stderr, "Error: the server has no feature '%s'", name);
	if (near != NULL)
		fprintf(stderr, "; did you mean '%s'?", near);
	fputc('\n', stderr);
	free(names);
}

static bool take_feature(struct job *j, yyjson_val *definitions, const char *name)
{
	yyjson_val *features = yyjson_obj_get(definitions, "features");
	struct str entity = find_member(features, str_from(name), "entity");
	struct str id = find_member(yyjson_obj_get(definitions, "entities"), entity, "id");
	if (id.n == 0) {
		say_unknown(features, name);
		return false;
	}
	for (size_t i = 0; i < j->features_count; i++)
		if (strcmp(j->features[i].name, name) == 0)
			return true;
	if (j->features_count == FEATURES_MAX) {
		fprintf(stderr, "Error: at most %d features at once\n", FEATURES_MAX);
		return false;
	}
	size_t column = 0;
	while (column < j->ids_count && !str_eq(str_from(j->columns[column]), id))
		column++;
	if (column == j->ids_count)
		j->columns[j->ids_count++] = strndup(id.p, id.n);
	j->features[j->features_count++] = (struct wanted_feature){ .name = name, .entity = column };
	return true;
}

static bool take_features(struct job *j)
{
	struct http_answer answer;
	http_client_request(&j->http, "GET", "/v1/definitions", NULL, &answer);
	bool ok = cli_is_ok(&j->http, &answer, NULL);
	yyjson_doc *doc = ok ? cli_json(buf_str(&answer.body), YYJSON_TYPE_OBJ, "description of what it serves") : NULL;
	ok = doc != NULL;
	char *rest = NULL;
	for (char *name = strtok_r(j->names, ",", &rest); ok && name != NULL; name = strtok_r(NULL, ",", &rest))
		ok = take_feature(j, yyjson_doc_get_root(doc), name);
	if (ok && j->features_count == 0) {
		fputs("Error: --features names none\n", stderr);
		ok = false;
	}
	yyjson_doc_free(doc);
	buf_finish(&answer.body);
	if (ok)
		j->columns[j->ids_count] = strdup(j->at);
	return ok;
}

/* ---- the events: all are looked at before the first is asked for ---- */
static const char *fault_of_id(struct str id)
{
	if (id.p == NULL || id.n == 0)
		return "is empty; it must have an id";
	if (id.n > ID_BYTES_MAX)
		return "is longer than 256 bytes";
	return memchr(id.p, '\0', id.n) ? "has a NUL byte" : NULL;
}

static const char *fault_of_time(const struct job *j, struct str text)
{
	int64_t us;
	if (text.p == NULL || text.n == 0)
		return "is empty; it must have a time";
	if (!time_parse(text, &us))
		return "is no time in ISO 8601, as 2026-01-31T12:00:00Z";
	return us > j->now_us + 5 * 60 * INT64_C(1000000) ? "lies in the future" : NULL;
}

static bool check_event(void *arg, uint64_t row, const struct str *texts)
{
	struct job *j = arg;
	for (size_t i = 0; i <= j->ids_count; i++) {
		const char *fault = i < j->ids_count ? fault_of_id(texts[i]) : fault_of_time(j, texts[i]);
		if (fault == NULL || j->mistakes++ >= MISTAKES_SHOWN)
			continue;
		struct buf place = { 0 };
		offline_events_place(j->events, row, &place);
		fprintf(stderr, "%s, %.*s, column %s: ", j->events_file, STR_ARG(buf_str(&place)), j->columns[i]);
		if (texts[i].n > 0)
			fprintf(stderr, "'%.*s' ", STR_ARG(str_first(texts[i], 60)));
		fprintf(stderr, "%s\n", fault);
		buf_finish(&place);
	}
	return !is_interrupted;
}

static bool check_names(const struct job *j)
{
	for (size_t i = 0; i < j->features_count; i++) {
		char name[300];
		snprintf(name, sizeof name, "%s__event_time", j->features[i].name);
		const char *taken = offline_events_has_column(j->events, j->features[i].name)      ? j->features[i].name
				    : j->event_times && offline_events_has_column(j->events, name) ? name
												   : NULL;
		if (taken == NULL)
			continue;
		fprintf(stderr, "%s: it has a column %s, which is what the answer calls a feature; rename it\n",
			j->events_file, taken);
		return false;
	}
	return true;
}

static bool open_events(struct job *j, const char *scratch)
{
	j->events = offline_events_open(j->events_file, scratch, (const char *const *)j->columns, j->ids_count + 1,
					&j->why);
	j->now_us = clock_wall_us();
	if (j->events == NULL)
		return false;
	if (offline_events_count(j->events) == 0) {
		buf_append_lit(&j->why, "it has no events");
		return false;
	}
	j->is_told = !check_names(j);
	if (j->is_told || !offline_events_read(j->events, j, check_event, &j->why))
		return false;
	if (j->mistakes > MISTAKES_SHOWN)
		fprintf(stderr, "%s: and %llu mistakes more\n", j->events_file,
			(unsigned long long)(j->mistakes - MISTAKES_SHOWN));
	j->is_told = j->mistakes > 0;
	return j->mistakes == 0;
}

/* ---- asking ---- */
static void show_progress(const struct job *j, bool is_end)
{
	uint64_t total = offline_events_count(j->events);
	if (!isatty(STDERR_FILENO))
		return;
	int full = (int)(j->asked * BAR / total);
	if (is_end)
		fputs("\r\033[K", stderr);
	else
		fprintf(stderr, "\r[%.*s%*s] %llu of %llu events", full, "##############################", BAR - full,
			"", (unsigned long long)j->asked, (unsigned long long)total);
	fflush(stderr);
}

static bool write_answer(struct job *j, uint64_t row, yyjson_val *line)
{
	struct buf texts[2 * FEATURES_MAX];
	struct str json[2 * FEATURES_MAX] = { { 0 } };
	size_t n = 0;
	for (size_t i = 0; i < j->features_count; i++)
		for (int k = 0; k <= j->event_times; k++, n++) {
			char name[300];
			snprintf(name, sizeof name, k ? "%s__event_time" : "%s", j->features[i].name);
			yyjson_val *v = yyjson_obj_get(line, name);
			texts[n] = (struct buf){ 0 };
			if (v != NULL)
				json_write_value(&texts[n], v);
			json[n] = buf_str(&texts[n]);
			j->features[i].nulls += k == 0 && yyjson_is_null(v);
		}
	bool ok = offline_events_add(j->events, row, json, &j->why);
	for (size_t i = 0; i < n; i++)
		buf_finish(&texts[i]);
	return ok;
}

static bool on_line(void *arg, struct str line)
{
	struct job *j = arg;
	struct json_error ignored;
	yyjson_doc *doc = json_parse(line, &(struct json_limits){ .bytes_max = line.n + 1 }, &ignored);
	bool ok = doc != NULL && j->answered < j->rows_len;
	if (!ok)
		buf_append_lit(&j->why, "the server's answer is no list of events");
	ok = ok && write_answer(j, j->rows[j->answered++], yyjson_doc_get_root(doc)) && !is_interrupted;
	yyjson_doc_free(doc);
	return ok;
}

static void write_question(const struct job *j, struct buf *body)
{
	buf_append_lit(body, "{\"features\":[");
	for (size_t i = 0; i < j->features_count; i++) {
		buf_append_str(body, i ? STR(",") : STR(""));
		json_write_string(body, str_from(j->features[i].name));
	}
	buf_printf(body, "],\"defaults\":%s,\"event_times\":%s,\"at\":", j->no_defaults ? "false" : "true",
		   j->event_times ? "true" : "false");
	json_write_string(body, str_from(j->at));
	buf_append_lit(body, ",\"events\":{");
	for (size_t i = 0; i <= j->ids_count; i++) {
		buf_append_str(body, i ? STR(",") : STR(""));
		json_write_string(body, str_from(j->columns[i]));
		buf_printf(body, ":[%.*s]", STR_ARG(buf_str(&j->lists[i])));
	}
	buf_append(body, "}}", 3);
}

static bool ask(struct job *j)
{
	struct buf body = { 0 };
	struct http_answer answer;
	if (j->rows_len == 0)
		return true;
	write_question(j, &body);
	j->answered = 0;
	struct http_client c = j->http;
	c.on_line = on_line;
	c.arg = j;
	http_client_request(&c, "POST", "/v1/training-data", body.p, &answer);
	bool ok = j->why.n == 0 && !is_interrupted;
	if (ok && !cli_is_ok(&c, &answer, NULL)) {
		j->is_told = true;
		ok = false;
	} else if (ok && j->answered < j->rows_len) {
		buf_append_lit(&j->why, "the server's answer is not whole");
		ok = false;
	}
	j->asked += j->rows_len;
	j->rows_len = j->bytes = 0;
	for (size_t i = 0; i <= j->ids_count; i++)
		buf_clear(&j->lists[i]);
	buf_finish(&answer.body);
	buf_finish(&body);
	if (ok)
		show_progress(j, false);
	return ok;
}

static bool add_event(void *arg, uint64_t row, const struct str *texts)
{
	struct job *j = arg;
	size_t columns = j->ids_count + 1, bytes = 0;
	for (size_t i = 0; i < columns; i++)
		bytes += texts[i].n + 8;
	bool is_full = j->bytes + bytes > BODY_BYTES || (j->rows_len + 1) * columns > BODY_VALUES ||
		       (j->rows_len + 1) * j->features_count > CELLS_MAX;
	if (is_interrupted || (is_full && !ask(j)))
		return false;
	if (j->rows_len == j->rows_cap) {
		j->rows_cap = j->rows_cap ? 2 * j->rows_cap : 4096;
		uint64_t *more = realloc(j->rows, j->rows_cap * sizeof *more);
		if (more == NULL) {
			buf_append_lit(&j->why, "out of memory");
			return false;
		}
		j->rows = more;
	}
	j->rows[j->rows_len++] = row;
	for (size_t i = 0; i < columns; i++) {
		size_t before = j->lists[i].n;
		if (before > 0)
			buf_append_char(&j->lists[i], ',');
		json_write_string(&j->lists[i], texts[i]);
		j->bytes += j->lists[i].n - before;
	}
	return true;
}

static bool begin_answers(struct job *j)
{
	char *names[2 * FEATURES_MAX];
	size_t n = 0;
	for (size_t i = 0; i < j->features_count; i++)
		for (int k = 0; k <= j->event_times; k++) {
			char name[300];
			snprintf(name, sizeof name, k ? "%s__event_time" : "%s", j->features[i].name);
			names[n++] = strdup(name);
		}
	bool ok = offline_events_begin(j->events, (const char *const *)names, n, &j->why);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	return ok;
}

static bool fetch_all(struct job *j)
{
	if (!begin_answers(j))
		return false;
	show_progress(j, false);
	bool ok = offline_events_read(j->events, j, add_event, &j->why) && j->why.n == 0 && !j->is_told &&
		  !is_interrupted && ask(j);
	show_progress(j, true);
	return ok;
}

/* ---- the output ---- */
/* By any name: renamed over its events, the output would be all that is left of them. */
static bool is_same_file(const char *a, const char *b)
{
	struct stat of_a, of_b;
	return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

/* A folder beside the output, on its disk, so that the finished file only has to be renamed. */
static bool make_scratch(const char *output, char *scratch, size_t cap)
{
	if ((size_t)snprintf(scratch, cap, "%s.XXXXXX", output) < cap && mkdtemp(scratch) != NULL)
		return true;
	fprintf(stderr, "Error: %s cannot be written: %s\n", output, strerror(errno));
	return false;
}

static void remove_scratch(const char *scratch)
{
	static const char *const names[] = { "scratch.duckdb", "scratch.duckdb.wal", "output.csv", "output.parquet" };
	char path[4200];
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", scratch, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof path, "%s/scratch.duckdb.tmp", scratch);
	rmdir(path);
	rmdir(scratch);
}

static bool write_output(struct job *j, const char *scratch)
{
	char path[4200];
	bool is_csv = strcasecmp(j->output + strlen(j->output) - 4, ".csv") == 0;
	snprintf(path, sizeof path, "%s/output.%s", scratch, is_csv ? "csv" : "parquet");
	if (!offline_events_write(j->events, path, &j->why))
		return false;
	if (rename(path, j->output) == 0)
		return true;
	buf_printf(&j->why, "%s cannot be written: %s", j->output, strerror(errno));
	return false;
}

static void print_summary(const struct job *j, double ms)
{
	uint64_t nulls = 0, events = offline_events_count(j->events);
	for (size_t i = 0; i < j->features_count; i++)
		nulls += j->features[i].nulls;
	if (!j->json) {
		fprintf(stderr, "%s: %llu events, %zu features, %llu of the values are null (%.1f s)\n", j->output,
			(unsigned long long)events, j->features_count, (unsigned long long)nulls, ms / 1000);
		return;
	}
	struct buf out = { 0 };
	buf_append_lit(&out, "{\"output\":");
	json_write_string(&out, str_from(j->output));
	buf_printf(&out, ",\"events\":%llu,\"features\":[", (unsigned long long)events);
	for (size_t i = 0; i < j->features_count; i++) {
		buf_append_str(&out, i ? STR(",{\"name\":") : STR("{\"name\":"));
		json_write_string(&out, str_from(j->features[i].name));
		buf_printf(&out, ",\"nulls\":%llu}", (unsigned long long)j->features[i].nulls);
	}
	buf_printf(&out, "],\"duration_ms\":%.0f}", ms);
	printf("%.*s\n", STR_ARG(buf_str(&out)));
	buf_finish(&out);
}

static int run(struct job *j)
{
	char scratch[4100];
	uint64_t began_ns = clock_mono_ns();
	if (!take_features(j) || !make_scratch(j->output, scratch, sizeof scratch))
		return EXIT_ERROR;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	bool ok = open_events(j, scratch) && fetch_all(j) && write_output(j, scratch);
	if (ok)
		print_summary(j, (double)(clock_mono_ns() - began_ns) / 1e6);
	else if (is_interrupted)
		fputs("stopped; nothing was written\n", stderr);
	else if (!j->is_told)
		fprintf(stderr, "Error: %s: %.*s\n", j->events_file, STR_ARG(buf_str(&j->why)));
	offline_events_close(j->events);
	remove_scratch(scratch);
	return ok ? EXIT_OK : EXIT_ERROR;
}

/* ---- arguments ---- */
static int read_arguments(int argc, char **argv, struct job *j)
{
	static const struct option options[] = {
		CLI_CLIENT_OPTIONS,
		{ "events", required_argument, NULL, 'e' },
		{ "features", required_argument, NULL, 'f' },
		{ "output", required_argument, NULL, 'o' },
		{ "at", required_argument, NULL, 'a' },
		{ "event-times", no_argument, NULL, 't' },
		{ "no-defaults", no_argument, NULL, 'd' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *features = NULL;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
		int taken = cli_client_option(&j->client, c, optarg);
		if (taken < 0)
			return EXIT_USAGE;
		if (taken > 0)
			continue;
		switch (c) {
		case 'e':
			j->events_file = optarg;
			break;
		case 'f':
			features = optarg;
			break;
		case 'o':
			j->output = optarg;
			break;
		case 'a':
			j->at = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return -1;
		case '?':
			fputs("try: fabra training-data --help\n", stderr);
			return EXIT_USAGE;
		default:
			j->event_times |= c == 't';
			j->no_defaults |= c == 'd';
			j->json |= c == 'j';
		}
	}
	if (j->events_file == NULL || features == NULL || j->output == NULL || optind < argc) {
		fputs(
		    "fabra training-data: which events, features and output? For instance: fabra training-data --events labels.csv "
		    "--features user_tier --output training.parquet\n",
		    stderr);
		return EXIT_USAGE;
	}
	if (!offline_events_can_write(j->output)) {
		fprintf(stderr, "fabra training-data: --output must end in .csv or .parquet, not '%s'\n", j->output);
		return EXIT_USAGE;
	}
	if (is_same_file(j->events_file, j->output)) {
		fprintf(stderr, "fabra training-data: --output is the file of the events, '%s'; name another\n",
			j->output);
		return EXIT_USAGE;
	}
	j->names = strdup(features);
	return j->names != NULL ? 0 : EXIT_ERROR;
}

int training_main(int argc, char **argv)
{
	struct job *j = calloc(1, sizeof *j);
	if (j == NULL)
		return EXIT_ERROR;
	j->client = (struct cli_client){ .command = "training-data", .timeout_ms = TIMEOUT_MS };
	j->at = "event_time";
	int status = read_arguments(argc, argv, j);
	if (status == 0) {
		cli_client_open(&j->client, &j->http);
		status = run(j);
	}
	for (size_t i = 0; i <= FEATURES_MAX; i++) {
		free(j->columns[i]);
		buf_finish(&j->lists[i]);
	}
	buf_finish(&j->why);
	free(j->rows);
	free(j->names);
	free(j);
	return status < 0 ? EXIT_OK : status;
}
