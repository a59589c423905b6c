/* What a call of a Lua function costs, stage by stage: each case adds one thing to the case before.
 *
 *     build/release/bench/bench_script [rounds [context]]    prints a line per case: the median of `rounds`
 * (7)
 *
 * The host answers at once, so that only the script engine is measured. */
#include "actors/declare/definitions_load.h"
#include "actors/script/script.h"
#include "bench/quiet_host.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include <stdlib.h>
#include <unistd.h>

enum { CALLS = 20000, ROUNDS_MAX = 99 };

static const char source[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "fabra.feature { name = 'tier', entity = User, compute = function(id) return 'free' end }\n"
    "fabra.retriever { name = 'docs', run = function(args) return {} end }\n"
    "fabra.context { name = 'empty', build = function(args) return '' end }\n"
    "fabra.context { name = 'one_item', build = function(args) return { fabra.item { content = 'x', priority = 1 } } end }\n"
    "fabra.context { name = 'ten_items', build = function(args)\n"
    "  local items = {}\n"
    "  for i = 1, 10 do items[i] = fabra.item { content = 'some text', priority = i, source_id = 'abc' } end\n"
    "  return items end }\n"
    "fabra.context { name = 'one_ask', build = function(args)\n"
    "  return fabra.await(fabra.feature_value('tier', args.user_id)) end }\n"
    "fabra.context { name = 'two_asks', build = function(args)\n"
    "  local tier = fabra.await(fabra.feature_value('tier', args.user_id))\n"
    "  local docs = fabra.await(fabra.retrieve('docs', { query = args.query }))\n"
    "  return tier end }\n"
    "fabra.context { name = 'chat', build = function(args)\n"
    "  local tier = fabra.await(fabra.feature_value('tier', args.user_id))\n"
    "  local docs = fabra.await(fabra.retrieve('docs', { query = args.query }))\n"
    "  local items = { fabra.item { content = 'Tier: ' .. tier, priority = 0, required = true } }\n"
    "  for i, d in ipairs(docs) do\n"
    "    items[#items + 1] = fabra.item { content = d.content, priority = i, source_id = d.chunk_id }\n"
    "  end\n"
    "  return items end }\n"
    "fabra.context { name = 'instructions', build = function(args) local n = 0 for i = 1, 10000 do n = n + i end return '' end }\n";

static struct buf docs; /* ten chunks of about 100 tokens, as JSON */

static bool on_ask(void *host, struct script_call *call, const struct script_ask *ask)
{
	(void)host;
	(void)call;
	(void)ask;
	return true; /* answered below, so that each await suspends the coroutine */
}

static const struct script_host host = { on_ask, on_cancel, on_log, on_now };

static void call_once(struct script *s, enum script_function function, uint32_t index)
{
	struct script_outcome out;
	struct str args = function == SCRIPT_COMPUTE ? STR("u1")
						     : STR("{\"user_id\":\"u1\",\"query\":\"how do I reset it\"}");
	struct script_call *call = script_begin(s, function, index, args, (struct str){ 0 }, (struct str){ 0 }, &host,
						NULL);
	CHECK(call);
	enum script_result result;
	for (uint32_t ask = 1; (result = script_run(call, &out)) != SCRIPT_DONE; ask++) {
		CHECK(result == SCRIPT_WAITING || result == SCRIPT_MORE);
		if (result == SCRIPT_WAITING)
			script_answer(call, ask, true, ask == 1 ? STR("\"premium\"") : buf_str(&docs));
	}
	script_end(call);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure(struct script *s, const char *what, enum script_function function, uint32_t index, int rounds)
{
	double us[ROUNDS_MAX];
	CHECK(index != DEF_NONE);
	for (int round = 0; round < rounds; round++) {
		uint64_t start_ns = clock_thread_cpu_ns();
		for (int i = 0; i < CALLS; i++)
			call_once(s, function, index);
		us[round] = (double)(clock_thread_cpu_ns() - start_ns) / CALLS / 1e3;
	}
	qsort(us, (size_t)rounds, sizeof us[0], by_value);
	printf("%-40s %8.2f us  (%.2f-%.2f)\n", what, us[rounds / 2], us[0], us[rounds - 1]);
}

static void make_docs(void)
{
	buf_append_char(&docs, '[');
	for (int i = 0; i < 10; i++) {
		buf_printf(&docs, "%s{\"content\":\"", i ? "," : "");
		for (int word = 0; word < 80; word++)
			buf_printf(&docs, "word%d ", word);
		buf_printf(&docs, "\",\"chunk_id\":\"c%d\",\"score\":0.5,\"metadata\":{\"title\":\"t\",\"page\":%d}}",
			   i, i);
	}
	buf_append_char(&docs, ']');
}

static struct definitions *load(struct buf *why)
{
	char path[] = "/tmp/bench-script-XXXXXX";
	int fd = mkstemp(path);
	CHECK(fd >= 0 && write(fd, source, sizeof source - 1) == (ssize_t)sizeof source - 1);
	close(fd);
	struct definitions *d = definitions_load(path, false, why);
	unlink(path);
	return d;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *what, *context;
	} cases[] = {
		{ "build returns a string", "empty" },
		{ "one item", "one_item" },
		{ "ten items", "ten_items" },
		{ "one ask", "one_ask" },
		{ "two asks, ten chunks in (8 KB of JSON)", "two_asks" },
		{ "two asks, ten chunks in, eleven items out", "chat" },
		{ "10,000 loop iterations", "instructions" },
	};
	int rounds = argc > 1 ? atoi(argv[1]) : 7;
	const char *only = argc > 2 ? argv[2] : NULL;
	struct buf why = { 0 };
	if (rounds < 1 || rounds > ROUNDS_MAX)
		return fprintf(stderr, "usage: %s [rounds 1-%d [context]]\n", argv[0], ROUNDS_MAX), 2;
	uint64_t start_ns = clock_mono_ns();
	struct definitions *d = load(&why);
	uint64_t loaded_ns = clock_mono_ns();
	struct script *s = d ? script_create(d, NULL, &why) : NULL;
	if (s == NULL)
		return fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&why))), 1;
	printf("%-40s %8.0f us\n%-40s %8.0f us\n", "definitions_load", (double)(loaded_ns - start_ns) / 1e3,
	       "script_create", (double)(clock_mono_ns() - loaded_ns) / 1e3);
	make_docs();
	if (only == NULL)
		measure(s, "compute returns a constant", SCRIPT_COMPUTE, 0, rounds);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (only == NULL || strcmp(only, cases[i].context) == 0)
			measure(s, cases[i].what, SCRIPT_BUILD, definitions_context(d, str_from(cases[i].context)),
				rounds);
	printf("%-40s %8zu KB\n", "memory of the state", script_memory_bytes(s) / 1024);
	script_destroy(s);
	definitions_free(d);
	buf_finish(&docs);
	return 0;
}
