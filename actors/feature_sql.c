#include "actors/feature_sql.h"
#include "store/offline/offline.h"

bool feature_sql_check(const struct definitions *d, const struct offline_store *o, struct buf *ret_why)
{
	bool ok = true;
	for (uint32_t i = 0; i < d->features_count; i++) {
		const struct def_feature *f = &d->features[i];
		struct buf why = { 0 };
		if (f->sql.p && !o->check_feature(o->store, f->sql, d->entities[f->entity].id, f->name, &why)) {
			buf_printf(ret_why, "%s%.*s:%u: feature '%.*s': sql: %.*s", ok ? "" : "\n", STR_ARG(d->file),
				   f->line, STR_ARG(f->name), STR_ARG(buf_str(&why)));
			ok = false;
		}
		buf_finish(&why);
	}
	return ok;
}
