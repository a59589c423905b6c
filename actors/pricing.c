#include "actors/pricing.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <yyjson.h>

enum { MODELS_MAX = 1024 };

struct price {
	char model[96];
	double input, output;
};

struct pricing {
	size_t count;
	struct price prices[];
};

static const struct price built_in[] = {
	{ "default", 5, 15 },
	{ "claude-4.5-opus", 5, 25 },
	{ "claude-4.5-sonnet", 3, 15 },
	{ "claude-4.5-haiku", 1, 5 },
	{ "command-a", 2.5, 10 },
	{ "command-r", .15, .60 },
	{ "embed-4", .12, 0 },
	{ "text-embedding-3-small", .02, 0 },
	{ "text-embedding-3-large", .13, 0 },
	{ "text-embedding-ada-002", .10, 0 },
	{ "gpt-4.1", 2, 8 },
	{ "gpt-4.1-mini", .4, 1.6 },
	{ "gpt-5", 1.25, 10 },
	{ "gpt-5-pro", 15, 120 },
	{ "gpt-4o", 2.5, 10 },
};
enum { BUILT_IN = sizeof built_in / sizeof built_in[0] };

static struct price *find(struct pricing *p, struct str model)
{
	for (size_t i = 0; i < p->count; i++)
		if (str_eq(str_from(p->prices[i].model), model))
			return &p->prices[i];
	return NULL;
}

static bool is_price(yyjson_val *v)
{
	return yyjson_is_num(v) && yyjson_get_num(v) >= 0;
}

static bool lay_over(struct pricing *p, yyjson_val *root, struct buf *ret_why)
{
	size_t i, max;
	yyjson_val *key, *value;
	yyjson_obj_foreach(root, i, max, key, value) {
		struct str model = { yyjson_get_str(key), yyjson_get_len(key) };
		yyjson_val *input = yyjson_obj_get(value, "input"), *output = yyjson_obj_get(value, "output");
		struct price *price = find(p, model);
		if (!is_price(input) || (output && !is_price(output)) || model.n >= sizeof price->model ||
		    (price == NULL && p->count == MODELS_MAX)) {
			buf_printf(ret_why,
				   "the entry of '%.*s' must be {\"input\": usd, \"output\": usd}, not below 0",
				   STR_ARG(model));
			return false;
		}
		if (price == NULL)
			price = &p->prices[p->count++];
		memcpy(price->model, model.p, model.n);
		price->model[model.n] = '\0';
		price->input = yyjson_get_num(input);
		price->output = output ? yyjson_get_num(output) : 0;
	}
	return true;
}

static bool read_file(struct pricing *p, const char *file, struct buf *ret_why)
{
	yyjson_read_err error;
	yyjson_doc *doc = yyjson_read_file(file, 0, NULL, &error);
	if (doc == NULL)
		buf_printf(ret_why, "FABRA_CUSTOM_PRICING_FILE: %s: %s", file, error.msg);
	else if (!yyjson_is_obj(yyjson_doc_get_root(doc)))
		buf_printf(ret_why, "FABRA_CUSTOM_PRICING_FILE: %s is no JSON object", file);
	bool ok = doc && yyjson_is_obj(yyjson_doc_get_root(doc)) && lay_over(p, yyjson_doc_get_root(doc), ret_why);
	yyjson_doc_free(doc);
	return ok;
}

struct pricing *pricing_create(const char *file, struct buf *ret_why)
{
	struct pricing *p = calloc(1, sizeof *p + MODELS_MAX * sizeof *p->prices);
	if (p == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return NULL;
	}
	memcpy(p->prices, built_in, sizeof built_in);
	p->count = BUILT_IN;
	if (file == NULL || *file == '\0' || read_file(p, file, ret_why))
		return p;
	pricing_destroy(p);
	return NULL;
}

void pricing_destroy(struct pricing *p)
{
	free(p);
}

/* As Python's round(usd, 6): the exact binary value is rounded, half to even. The product is rounded itself, but never past a
 * half; at one, what it lost decides. */
static double round_to_micros(double usd)
{
	double micros = usd * 1e6, lost = fma(usd, 1e6, -micros), down = floor(micros), over = micros - down - .5;
	if (micros >= 0x1p52)
		return usd;
	bool is_up = over > 0 || (over == 0 && (lost > 0 || (lost == 0 && fmod(down, 2) != 0)));
	return (down + is_up) / 1e6;
}

double pricing_cost_usd(const struct pricing *p, struct str model, uint64_t input_tokens, uint64_t output_tokens)
{
	const struct price *price = find((struct pricing *)p, model);
	if (price == NULL)
		price = find((struct pricing *)p, STR("default"));
	return round_to_micros((double)input_tokens / 1e6 * price->input + (double)output_tokens / 1e6 * price->output);
}
