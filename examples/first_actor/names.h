/* names: an actor that knows the long form of a name. In this example it stands for a store: whoever
 * answers NAMES_FIND may take its place, as the test's fake does. */
#pragma once
#include "runtime/actor.h"

enum names_msg {
	NAMES_FIND = MSG_KIND(CLASS_TEST2, 1),  /* an ask; struct names_find */
	NAMES_FOUND = MSG_KIND(CLASS_TEST2, 2), /* its reply; struct names_found */
};

struct names_find {
	struct msg head;
	char name[32];
};
MSG_SIZE_CHECK(names_find);

struct names_found {
	struct msg head; /* status RT_ENOTFOUND: no such name */
	char full_name[48];
};
MSG_SIZE_CHECK(names_found);
