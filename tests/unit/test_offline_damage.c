/* The DuckDB file damaged at random, as a stop and as a kill leave it: then the start is refused with a reason, or the
 * projection or the question fails aloud, or every entry of the ledger is there. Each round runs in a child of its own,
 * because DuckDB may not survive what it reads. */
#include "tests/unit/offline_fixture.h"
#include <sys/wait.h>

#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 30 };
#else
enum { ROUNDS = 160 };
#endif
enum { RECORDS = 400 };
enum act { FLIP, CUT, DELETE, FOLDER, OTHER, OLDER, ZEROED, ACTS };
static const char *const act_names[] = {
	"flipped", "cut", "deleted", "a folder", "another ledger's", "older", "zeroed"
};
enum verdict { WHOLE, REFUSED, FAILED_ALOUD, SILENT };
enum { LOOKED = 40 }; /* plus the verdict: the child's exit code, which no sanitizer's is */

static struct rig rig;
static char images[4][96]; /* stopped, killed, another ledger's, older */
enum { STOPPED, KILLED, ANOTHER, OLD };

static uint64_t rng;

static uint32_t pick(uint32_t below)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rng >> 33) % below;
}

static void copy_folder(const char *from, const char *to)
{
	char command[700];
	snprintf(command, sizeof command, "rm -rf %s && cp -a %s %s", to, from, to);
	assert_int_equal(system(command), 0);
}

static void project_all(void)
{
	while (offline_projection_step(rig.offline) == OFFLINE_STEP_MORE)
		;
}

static void make_images(void)
{
	rig_make_folder(&rig);
	for (int i = 0; i < 4; i++)
		snprintf(images[i], sizeof images[i], "%s-image-%d", rig.dir, i);
	rig_open(&rig);
	for (unsigned i = 0; i < RECORDS / 2; i++)
		rig_append_record(&rig, i, "chat", RECORD_GUARANTEED);
	project_all();
	rig_close(&rig);
	copy_folder(rig.dir, images[OLD]);
	rig_open(&rig);
	for (unsigned i = RECORDS / 2; i < RECORDS; i++)
		rig_append_record(&rig, i, "chat", RECORD_GUARANTEED);
	project_all();
	copy_folder(rig.dir, images[KILLED]);
	rig_close(&rig);
	copy_folder(rig.dir, images[STOPPED]);
	rig_remove_folder(&rig);
	assert_int_equal(mkdir(rig.dir, 0700), 0);
	rig_open(&rig);
	for (unsigned i = 0; i < RECORDS; i++)
		rig_append_record(&rig, i, "other", RECORD_GUARANTEED);
	project_all();
	rig_close(&rig);
	copy_folder(rig.dir, images[ANOTHER]);
}

static void put_from(int image, const char *path)
{
	char command[700];
	snprintf(command, sizeof command, "cp -a %s/%s %s 2>/dev/null", images[image], strrchr(path, '/') + 1, path);
	if (system(command) != 0)
		assert_true(unlink(path) == 0); /* it has no such file */
}

static void damage(const char *path, enum act act)
{
	static const char zeros[4096];
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	off_t at = st.st_size > 0 ? (off_t)pick((uint32_t)st.st_size) : 0;
	if (pick(3) == 0)
		at %= 12288; /* its headers */
	int fd = open(path, O_RDWR);
	uint8_t byte = 0;
	switch (act) {
	case FLIP:
		if (pread(fd, &byte, 1, at) == 1) {
			byte ^= (uint8_t)(1 << pick(8));
			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		}
		break;
	case CUT:
		assert_int_equal(ftruncate(fd, at), 0);
		break;
	case DELETE:
		unlink(path);
		break;
	case FOLDER:
		unlink(path);
		mkdir(path, 0700);
		break;
	case OTHER:
		put_from(ANOTHER, path);
		break;
	case OLDER:
		put_from(OLD, path);
		break;
	case ZEROED:
		assert_int_equal(pwrite(fd, zeros, sizeof zeros, at / 4096 * 4096), sizeof zeros);
		break;
	case ACTS:
		break;
	}
	close(fd);
}

/* In the child. */
static enum verdict look(void)
{
	struct buf why = { 0 }, json = { 0 };
	struct offline_error error = { 0 };
	struct offline_health health;
	uint32_t rows;
	rig.ledger = ledger_open(&(struct ledger_config){ .dir = rig.ledger_dir, .segment_bytes = 4 << 20 }, &why);
	if (rig.ledger == NULL)
		return SILENT; /* it was not touched */
	rig.offline = offline_open(&(struct offline_config){ .path = rig.db_path,
							     .log = ledger_log_source(rig.ledger) },
				   &why);
	if (rig.offline == NULL)
		return why.n > 0 ? REFUSED : SILENT;
	project_all();
	offline_health_read(rig.offline, &health);
	if (health.paused)
		return health.error[0] != '\0' ? FAILED_ALOUD : SILENT;
	struct offline_conn *c = offline_admin_enter(rig.offline, &error);
	if (c == NULL)
		return FAILED_ALOUD;
	static const char sql[] =
	    "SELECT count(*) AS n, count(DISTINCT lsn) AS lsns, count(DISTINCT context_id) AS ids, sum(lsn) AS s, "
	    "sum(token_count) AS t, count(*) FILTER (context_function = 'chat') AS chats FROM fabra.records";
	if (!offline_conn_select(c, str_from(sql), NULL, UINT64_MAX, &error) ||
	    !offline_rows_write(c, 10, &json, &rows, &error))
		return error.text[0] != '\0' ? FAILED_ALOUD : SILENT;
	static const char wanted[] = "[{\"n\":400,\"lsns\":400,\"ids\":400,\"s\":80200,\"t\":95800,\"chats\":400}]";
	if (str_eq(buf_str(&json), str_from(wanted)))
		return WHOLE;
	print_error("%.*s\n", STR_ARG(buf_str(&json)));
	return SILENT;
}

static int look_in_a_child(void)
{
	fflush(NULL);
	pid_t child = fork();
	if (child == 0)
		_exit(LOOKED + (int)look());
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_nothing_is_missing_in_silence(void **state)
{
	(void)state;
	unsigned counts[4] = { 0 }, deaths = 0;
	make_images();
	for (unsigned round = 0; round < ROUNDS; round++) {
		char wal[112];
		rng = round * 104729 + 3;
		int image = (int)pick(2);
		enum act act = pick(ACTS);
		copy_folder(images[image], rig.dir);
		snprintf(wal, sizeof wal, "%s.wal", rig.db_path);
		const char *path = access(wal, F_OK) == 0 && pick(2) == 0 ? wal : rig.db_path;
		damage(path, act);
		int code = look_in_a_child();
		if (code < 0) {
			deaths++;
			print_message("round %u: %s is %s: killed by signal %d\n", round, path, act_names[act], -code);
			continue;
		}
		int verdict = code - LOOKED;
		if (verdict < WHOLE || verdict > SILENT)
			fail_msg("round %u: %s is %s: the child ended with status %d", round, path, act_names[act],
				 code);
		if (verdict == SILENT)
			fail_msg("round %u: %s is %s, and nothing says so", round, path, act_names[act]);
		counts[verdict]++;
	}
	print_message("%u whole, %u refused, %u failed aloud, %u deaths\n", counts[WHOLE], counts[REFUSED],
		      counts[FAILED_ALOUD], deaths);
	assert_true(counts[WHOLE] > 0 && counts[REFUSED] > 0);
	assert_int_equal(deaths, 0);
	for (int i = 0; i < 4; i++) {
		char command[700];
		snprintf(command, sizeof command, "rm -rf %s", images[i]);
		assert_int_equal(system(command), 0);
	}
	rig_remove_folder(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_missing_in_silence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
