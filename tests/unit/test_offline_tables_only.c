/* SQL that a client sends: it reads tables, and nothing of the machine that the server runs on. */
#include "tests/unit/offline_fixture.h"

static struct rig rig;

static void open_with(size_t memory_limit_bytes)
{
	struct buf why = { 0 };
	rig_make_folder(&rig);
	rig.offline = offline_open(
	    &(struct offline_config){ .path = rig.db_path, .memory_limit_bytes = memory_limit_bytes }, &why);
	if (rig.offline == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	rig_start(&rig, false, false);
}

static int setup(void **state)
{
	(void)state;
	open_with(0);
	return 0;
}

static int setup_small(void **state)
{
	(void)state;
	open_with(16000000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	offline_close(rig.offline);
	rig_remove_folder(&rig);
	return 0;
}

static void run(const char *sql)
{
	struct offline_error error;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	assert_non_null(c);
	if (!offline_conn_run(c, sql, &error))
		fail_msg("%s: %s", sql, error.text);
	offline_admin_leave(rig.offline);
}

static struct msg *make_ask(struct loop *loop, const void *sql)
{
	struct offline_query *m = offline_query_new(loop, str_from(sql), (struct str){ 0 });
	m->tables_only = true;
	return &m->head;
}

static struct answer ask(const char *sql, uint64_t timeout_ms)
{
	return rig_wait(rig_ask(&rig, make_ask, sql, timeout_ms));
}

/* A SELECT of so many of the same. */
static char *many(const char *what, unsigned count)
{
	struct buf sql = { 0 };
	buf_append_lit(&sql, "SELECT ");
	for (unsigned i = 0; i < count; i++)
		buf_printf(&sql, "%s%s", i > 0 ? ", " : "", what);
	buf_append_char(&sql, '\0');
	assert_false(sql.failed);
	return sql.p;
}

/* ---- what looks at a statement is a question of its own, with a deadline and faults of its own ---- */
static void test_the_look_at_a_statement_ends_at_the_deadline(void **state)
{
	(void)state;
	run("CREATE TABLE main.\"a.b\"(id BIGINT)");
	char *sql = many("(SELECT max(id) FROM \"a.b\")", 10000);
	uint64_t start_ns = clock_mono_ns();
	struct answer a = ask(sql, 300);
	assert_true(a.kind == RT_DEADLINE || a.status == RT_EDEADLINE);
	free(a.text);
	a = ask("SELECT 1 AS n", 60000); /* the reader is free again */
	assert_string_equal(a.text, "[{\"n\":1}]");
	free(a.text);
	free(sql);
	uint64_t took_ms = (clock_mono_ns() - start_ns) / 1000000;
	print_message("%" PRIu64 " ms\n", took_ms);
	assert_true(took_ms < 3000);
}

static void test_a_lack_of_memory_is_no_mistake_of_the_statement(void **state)
{
	(void)state;
	char *sql = many("'0123456789012345678901234567890123456789'", 50000);
	struct answer a = ask(sql, 20000);
	print_message("%s\n", a.text);
	assert_int_equal(a.status, RT_ETOOBIG);
	free(a.text);
	free(sql);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_look_at_a_statement_ends_at_the_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_lack_of_memory_is_no_mistake_of_the_statement, setup_small, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
