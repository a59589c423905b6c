/* The classes of messages: what has one is listed here, and a number that is used twice does not compile. */
#include "actors/assembler.h"
#include "actors/computation.h"
#include "actors/context_cache.h"
#include "actors/feature_request.h"
#include "actors/ingestor.h"
#include "actors/materializer.h"
#include "actors/publisher.h"
#include "actors/retrieved.h"
#include "actors/stored.h"
#include "actors/writer.h"
#include "http/server_private.h"
#include "store/ledger/ledger.h"
#include "store/offline/offline.h"
#include "store/online/online.h"
#include "store/postgres/pg_private.h"
#include "store/redis/redis_call.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *name_of(int class)
{
	switch (class) {
#define NAME(c)                                                                                                        \
	case c:                                                                                                        \
		return #c;
		NAME(CLASS_RT)
		NAME(CLASS_EVIDENCE)
		NAME(CLASS_OFFLINE)
		NAME(CLASS_ONLINE)
		NAME(CLASS_POSTGRES)
		NAME(CLASS_REDIS)
		NAME(CLASS_COMPUTATION)
		NAME(CLASS_RESOLVER)
		NAME(CLASS_RETRIEVER)
		NAME(CLASS_ASSEMBLER)
		NAME(CLASS_INGESTOR)
		NAME(CLASS_MATERIALIZER)
		NAME(CLASS_CONTEXT_CACHE)
		NAME(CLASS_WRITER)
		NAME(CLASS_PUBLISHER)
		NAME(CLASS_STORED)
		NAME(CLASS_HTTP)
		NAME(CLASS_TEST)
		NAME(CLASS_TEST2)
	default:
		return NULL;
	}
}

/* They fit the upper byte of a kind, and the runtime's own are apart. */
static void classes_have_their_own_numbers(void **state)
{
	(void)state;
	int count = 0;
	for (int class = 0; class < 256; class ++)
		if (name_of(class)) {
			count++;
			if (class < 32 && class != CLASS_RT)
				fail_msg("%s has a number of the runtime's", name_of(class));
		}
	assert_int_equal(count, 19);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(classes_have_their_own_numbers) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
