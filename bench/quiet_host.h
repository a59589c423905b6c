/* What a script's host does that is no part of a measurement: nothing. on_ask is the program's own. */
#pragma once
#include "actors/script/script.h"
#include "runtime/clock.h"

static void on_cancel(void *host, struct script_call *call, uint32_t ask_id)
{
	(void)host;
	(void)call;
	(void)ask_id;
}

static void on_log(void *host, int level, struct str message, struct str fields)
{
	(void)host;
	(void)level;
	(void)message;
	(void)fields;
}

static int64_t on_now(void *host)
{
	(void)host;
	return clock_wall_us();
}
