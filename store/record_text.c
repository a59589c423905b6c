#include "store/record_text.h"

struct str record_source_name(enum record_source source)
{
	switch (source) {
	case RECORD_CACHE:
		return STR("cache");
	case RECORD_COMPUTE:
		return STR("compute");
	case RECORD_FALLBACK:
		break;
	}
	return STR("fallback");
}

struct str record_freshness_name(enum record_freshness status)
{
	switch (status) {
	case RECORD_GUARANTEED:
		return STR("guaranteed");
	case RECORD_DEGRADED:
		return STR("degraded");
	case RECORD_UNKNOWN:
		break;
	}
	return STR("unknown");
}

struct str record_reason_name(const struct record_dropped *d)
{
	return d->priority_cutoff ? STR("priority_cutoff") : STR("budget_exceeded");
}
