/* How long a function of the definitions file can hold its loop: the longest stretch between two turns, for scripts that
 * try to. Limits are the server's.
 *
 *     build/release/bench/bench_stall [NAME]      prints a line per script: longest slice, total, slices, how it ended,
 *                                                 memory of the state afterwards, and the longest slice of a small call then
 */
#include "actors/declare/definitions_load.h"
#include "actors/script/script.h"
#include "bench/quiet_host.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name, *body;
} scripts[] = {
	{ "loop", "while true do end" },
	{ "linked list", "local n = nil while true do n = { n } end" },
	{ "tree", "local t = {} while true do t = { t, t } end" },
	{ "recursion", "local function f(n) return 1 + f(n + 1) end return f(1)" },
	{ "recursion, pcall", "local function f(n) pcall(f, n + 1) return 1 end return f(1)" },
	{ "recursion, varargs", "local function f(...) return 1 + f(1, ...) end return f(1)" },
	{ "pcall(error)", "::top:: pcall(error) goto top" },
	{ "pcall(error) with a table", "::top:: pcall(error, {}) goto top" },
	{ "pcall of recursion", "local function f() return 1 + f() end while true do pcall(f) end" },
	{ "strings", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end" },
	{ "long strings", "local t = {} while true do t[#t + 1] = ('x'):rep(4000000) end" },
	{ "long strings dropped", "while true do local s = ('x'):rep(4000000) end" },
	{ "list", "local t = {} while true do t[#t + 1] = 1 end" },
	{ "map", "local t, i = {}, 0 while true do i = i + 1 t['k' .. i] = i end" },
	{ "garbage", "while true do local t = { 1, 2, 3 } end" },
	{ "closures", "local t = {} while true do local x = 1 t[#t + 1] = function() return x end end" },
	{ "concat", "local s = 'x' while true do s = s .. s end" },
	{ "sort", "local t = {} for i = 1, 200000 do t[i] = (i * 7919) % 200003 end table.sort(t) while true do end" },
	{ "sort backwards", "local t = {} for i = 1, 500000 do t[i] = 500000 - i end table.sort(t) while true do end" },
	{ "json.decode", "local s = ('['):rep(1000000) while true do pcall(fabra.json.decode, s) end" },
	{ "json.decode wide",
	  "local s = '[' .. ('1,'):rep(400000) .. '1]' while true do pcall(fabra.json.decode, s) end" },
	{ "json.encode", "local t = {} for i = 1, 300000 do t[i] = i end while true do fabra.json.encode(t) end" },
	{ "gsub", "local s = ('a'):rep(1000000) while true do s:gsub('a', 'b') end" },
	{ "find", "local s = ('a'):rep(1000000) while true do s:find('a*b') end" },
	{ "metamethods", "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x" },
	{ "tostring", "local t = {} for i = 1, 100000 do t[i] = i .. 'x' end while true do table.concat(t, ',') end" },
	{ "unpack",
	  "local t = {} for i = 1, 100000 do t[i] = i end while true do pcall(function() return select('#', table.unpack(t)) end) end" },
	{ "load", "local s = 'return ' .. ('1+'):rep(200000) .. '1' while true do load(s) end" },
	{ "varargs that grow", "local function f(...) return f(1, ...) end return f()" },
	{ "chain of __index",
	  "local t = {} for i = 1, 1900 do t = setmetatable({}, { __index = t }) end while true do local _ = t.x end" },
	{ "error level",
	  "local function f(n) if n > 150 then while true do pcall(error, 'x', 150) end end return f(n + 1) + 1 end f(1)" },
	{ "error over 150 calls",
	  "local function f(n) if n == 0 then error('x') end return 1 + f(n - 1) end while true do pcall(f, 150) end" },
	{ "closing variables",
	  "local function f(n) local c <close> = setmetatable({}, { __close = function() end }) if n > 0 then return 1 + f(n - 1) end error('x') end while true do pcall(f, 150) end" },
	{ "weak keys",
	  "local t, k = setmetatable({}, { __mode = 'k' }), {} while true do local n = {} t[k] = n k = n end" },
	{ "format %q", "local s = ('\\0'):rep(900000) while true do ('%q'):format(s) end" },
	{ "json.decode objects",
	  "local s = '[' .. ('{\"a\":[1,2]},'):rep(80000) .. '1]' while true do fabra.json.decode(s) end" },
	{ "json.encode map",
	  "local all = {} for j = 1, 4 do local t = {} all[j] = t for i = 1, 30000 do t['k' .. i] = i end end while true do fabra.json.encode(all) end" },
	{ "sort, objects",
	  "local t, n = {} for i = 1, 20000 do t[i] = (i * 7919) % 20011 end table.sort(t, function(a, b) n = { n, a } return a < b end)" },
	{ "gsub, function", "local s = ('x'):rep(1000000) while true do s:gsub('x', function() return 'y' end) end" },
	{ "next",
	  "local t = {} for i = 1, 200000 do t[i] = i end for i = 1, 200000 do t[i] = nil end while true do next(t) end" },
	{ "number in a long text", "local s = (' '):rep(900000) .. '1' while true do local _ = s + 1 end" },
	{ "utf8",
	  "while true do utf8.char(table.unpack(setmetatable({}, { __index = function() return 65 end }), 1, 20000)) end" },
	{ "string.pack", "while true do string.pack('c3000000', '') end" },
	{ "load deep", "local s = 'return ' .. ('('):rep(190) .. '1' .. (')'):rep(190) while true do load(s) end" },
};
enum { SCRIPTS = sizeof scripts / sizeof scripts[0] };

static bool on_ask(void *host, struct script_call *call, const struct script_ask *ask)
{
	(void)host;
	(void)call;
	(void)ask;
	return false;
}
static const struct script_host host = { on_ask, on_cancel, on_log, on_now };

static enum script_result go(struct script *s, uint32_t feature, double *ret_slice_ms, double *ret_total_ms,
			     unsigned *ret_slices, char error[static 200])
{
	struct script_call *call = script_begin(s, SCRIPT_COMPUTE, feature, STR("u1"), (struct str){ 0 },
						(struct str){ 0 }, &host, NULL);
	struct script_outcome out = { 0 };
	enum script_result r = SCRIPT_FAILED;
	*ret_slice_ms = *ret_total_ms = 0;
	*ret_slices = 0;
	do {
		uint64_t start_ns = clock_thread_cpu_ns();
		r = call ? script_run(call, &out) : SCRIPT_FAILED;
		bool is_over = r != SCRIPT_MORE;
		snprintf(error, 200, "%.*s", STR_ARG(call ? out.error : STR("no memory for a call")));
		if (is_over)
			script_end(call);
		script_collect(s);
		double ms = (double)(clock_thread_cpu_ns() - start_ns) / 1e6;
		*ret_slice_ms = ms > *ret_slice_ms ? ms : *ret_slice_ms;
		*ret_total_ms += ms;
		++*ret_slices;
	} while (r == SCRIPT_MORE);
	return r;
}

static void run(const char *name, const char *body)
{
	struct buf source = { 0 }, why = { 0 };
	char folder[] = "/tmp/fabra-stall-XXXXXX", path[64], error[200], small_error[200];
	buf_printf(
	    &source,
	    "local fabra = require 'fabra'\nlocal User = fabra.entity { name = 'User', id = 'user_id' }\n"
	    "fabra.feature { name = 'x', entity = User, compute = function(id)\n%s\nend }\n"
	    "fabra.feature { name = 'small', entity = User, compute = function(id) local t = {} for i = 1, 3000 do t[i] = ('x'):rep(50) .. i end return table.concat(t) end }\n",
	    body);
	CHECK(mkdtemp(folder) != NULL);
	snprintf(path, sizeof path, "%s/s.lua", folder);
	FILE *f = fopen(path, "w");
	CHECK(f != NULL && fwrite(source.p, 1, source.n, f) == source.n && fclose(f) == 0);
	struct definitions *d = definitions_load(path, false, &why);
	struct script *s = d ? script_create(d, NULL, &why) : NULL;
	unlink(path);
	rmdir(folder);
	if (s == NULL) {
		fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&why)));
		exit(1);
	}
	double slice, total, small_slice, small_total;
	unsigned slices, small_slices;
	enum script_result r = go(s, 0, &slice, &total, &slices, error);
	enum script_result small = go(s, 1, &small_slice, &small_total, &small_slices, small_error);
	const char *ended = r == SCRIPT_DONE ? "done" : strstr(error, "stopped") ? strstr(error, "stopped") + 9 : error;
	printf("%-26s longest %7.2f ms, total %8.1f ms, %6u slices, %5.1f MiB kept; then %s, longest %5.2f ms; %.50s\n",
	       name, slice, total, slices, (double)script_memory_bytes(s) / 1048576,
	       small == SCRIPT_DONE ? "works" : "FAILS", small_slice, ended);
	if (small != SCRIPT_DONE)
		printf("%28s%.150s\n", "", small_error);
	script_destroy(s);
	definitions_free(d);
	buf_finish(&source);
	buf_finish(&why);
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < SCRIPTS; i++)
		if (argc < 2 || strcmp(argv[1], scripts[i].name) == 0)
			run(scripts[i].name, scripts[i].body);
	return 0;
}
