#include "store/record/record_row.h"

static yyjson_doc *parse(struct str text, const yyjson_alc *alc)
{
	return text.p != NULL ? yyjson_read_opts((char *)(uintptr_t)text.p, text.n, YYJSON_READ_NOFLAG, alc, NULL)
			      : NULL;
}

static struct str text_of(yyjson_val *object, const char *key)
{
	return json_str(yyjson_obj_get(object, key));
}

static struct str or_else(struct str s, struct str otherwise)
{
	return s.p != NULL ? s : otherwise;
}

bool record_row_read(struct str record_json, struct str extras, const yyjson_alc *alc, struct record_row *ret)
{
	*ret = (struct record_row){ .docs = { parse(extras, alc), NULL } };
	yyjson_val *beside = yyjson_doc_get_root(ret->docs[0]), *members = yyjson_obj_get(beside, "row");
	if (members != NULL) {
		ret->interaction_ref = yyjson_obj_get(beside, "interaction_ref");
	} else {
		ret->docs[1] = parse(record_json, alc);
		members = yyjson_doc_get_root(ret->docs[1]);
		ret->interaction_ref = yyjson_obj_get(yyjson_obj_get(members, "inputs"), "interaction_ref");
		ret->record_hash = text_of(yyjson_obj_get(members, "integrity"), "record_hash");
	}
	struct str created = text_of(members, "created_at");
	if (created.p == NULL || !time_parse(created, &ret->created_at_us)) {
		record_row_finish(ret);
		return false;
	}
	yyjson_val *tokens = yyjson_obj_get(members, "token_count");
	ret->environment = text_of(members, "environment");
	ret->schema_version = text_of(members, "schema_version");
	ret->context_function = text_of(members, "context_function");
	ret->token_count = yyjson_is_int(tokens) ? yyjson_get_sint(tokens) : INT64_MIN;
	ret->freshness_status = or_else(text_of(yyjson_obj_get(members, "assembly"), "freshness_status"),
					STR("unknown"));
	ret->version = or_else(text_of(beside, "version"), STR("v1"));
	ret->inputs = yyjson_obj_get(members, "inputs");
	return true;
}

void record_row_finish(struct record_row *r)
{
	yyjson_doc_free(r->docs[0]);
	yyjson_doc_free(r->docs[1]);
	*r = (struct record_row){ .docs = { NULL, NULL } };
}
