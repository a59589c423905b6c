/* greeter: what a greeter actor accepts and answers. */
#pragma once
#include "runtime/actor.h"

enum greeter_msg {
	GREETER_GREET = MSG_KIND(CLASS_TEST, 1),   /* an ask; struct greeter_greet */
	GREETER_GREETED = MSG_KIND(CLASS_TEST, 2), /* its reply; struct greeter_greeted */
};

struct greeter_greet {
	struct msg head;
	char name[32];
};
MSG_SIZE_CHECK(greeter_greet);

struct greeter_greeted {
	struct msg head;
	char *text; /* owned by the message; a receiver that keeps it sets this to NULL */
};
MSG_SIZE_CHECK(greeter_greeted);

struct greeter_config {
	struct actor_ref names; /* weak: knows the long form of a name (names.h) */
	uint32_t timeout_ms;    /* how long that may take */
};

/* rt_spawn or rt_supervise with a struct greeter_config, which must live as long as the actor may be
 * restarted. */
extern const struct actor_class greeter_class;
