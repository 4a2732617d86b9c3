/* Who may do what, what is shown of whose things, and whom a task runs as. */
#include "daemon/access.h"
#include "daemon/owner.h"
#include "own_limits.h"
#include "util/users.h"

#include <errno.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include <cmocka.h>

#define ALICE 4242
#define BOB   4343

static const struct api_peer alice = {.uid = ALICE, .gid = ALICE, .role = API_ROLE_OPERATE};
static const struct api_peer bob = {.uid = BOB, .gid = BOB, .role = API_ROLE_OPERATE};
static const struct api_peer root = {.role = API_ROLE_ADMIN};

static json_t *parse(const char *text)
{
	json_t *json = NULL;

	assert_int_equal(jsonx_parse(text, strlen(text), "test", &json, NULL), 0);
	return json;
}

/* `text` as the peer gets it; both are compared as objects. */
static void check_seen(const struct api_peer *peer, const char *text, const char *wanted)
{
	auto_json json_t *json = parse(text), *expected = parse(wanted);
	auto_free char *got = NULL;

	access_filter(NULL, peer, json);
	got = jsonx_dump(json);
	if (!json_equal(json, expected))
		fail_msg("%s\nbecame %s\nnot %s", text, got, wanted);
}

static const struct seen_case {
	const char *text;
	const char *seen; /* by somebody else; NULL: the same */
} SEEN_CASES[] = {
    {"{\"task\": {\"id\": 1, \"uid\": 4242, \"name\": \"n\", \"command\": [\"c\"], \"new\": 7}}",
     "{\"task\": {\"id\": 1, \"uid\": 4242, \"name\": \"n\", \"command\": null, \"new\": null}}"},
    {"{\"task\": {\"uid\": 4242, \"name\": \"n\", \"private\": true}}",
     "{\"task\": {\"uid\": 4242, \"name\": null, \"private\": true}}"},
    /* A list has both in it. */
    {"{\"tasks\": [{\"uid\": 4242, \"cwd\": \"/a\"}, {\"uid\": 4343, \"cwd\": \"/b\"}], \"total\": "
     "2}",
     "{\"tasks\": [{\"uid\": 4242, \"cwd\": null}, {\"uid\": 4343, \"cwd\": \"/b\"}], \"total\": "
     "2}"},
    {"{\"task\": {\"uid\": 4242, \"attempts\": [{\"number\": 1, \"exit_code\": 3, \"reason\": "
     "\"r\", "
     "\"device\": \"cpu\"}]}}",
     "{\"task\": {\"uid\": 4242, \"attempts\": [{\"number\": 1, \"exit_code\": null, \"reason\": "
     "null, \"device\": \"cpu\"}]}}"},
    {"{\"batch\": {\"uid\": 4242, \"name\": \"b\", \"total\": 3, \"eta_seconds\": 4}, \"summary\": "
     "{\"done\": 1}}",
     "{\"batch\": {\"uid\": 4242, \"name\": \"b\", \"total\": 3, \"eta_seconds\": null}, "
     "\"summary\": null}"},
    {"{\"batch\": {\"uid\": 4343, \"eta_seconds\": 4}, \"summary\": {\"done\": 1}}", NULL},
    /* Events. */
    {"{\"event\": \"start\", \"uid\": 4242, \"task\": 1, \"line\": \"l\", \"reason\": \"r\"}",
     "{\"event\": \"start\", \"uid\": 4242, \"task\": 1, \"line\": \"l\", \"reason\": null}"},
    {"{\"event\": \"task\", \"task\": {\"uid\": 4242, \"state\": \"done\", \"reason\": \"r\"}}",
     "{\"event\": \"task\", \"task\": {\"uid\": 4242, \"state\": \"done\", \"reason\": null}}"},
    {"{\"event\": \"gpus\", \"source\": \"ok\", \"text\": \"t\"}", NULL},
    /* How much somebody used decides who is next. */
    {"{\"users\": [{\"uid\": 4242, \"user\": \"a\", \"running\": 1, \"queued\": 2, "
     "\"usage_gpu_seconds\": 3, \"usage_share_percent\": 4}]}",
     NULL},
    /* What nobody has decided about is hidden; so is what is no user's number. */
    {"{\"thing\": {\"uid\": 4242, \"name\": \"n\"}}",
     "{\"thing\": {\"uid\": 4242, \"name\": null}}"},
    {"{\"deep\": [{\"er\": {\"uid\": 4242, \"x\": 1}}]}",
     "{\"deep\": [{\"er\": {\"uid\": 4242, \"x\": null}}]}"},
    {"{\"task\": {\"uid\": null, \"command\": [\"c\"]}}",
     "{\"task\": {\"uid\": null, \"command\": null}}"},
    {"{\"task\": {\"uid\": \"4343\", \"command\": [\"c\"]}}",
     "{\"task\": {\"uid\": \"4343\", \"command\": null}}"},
};

static void test_what_is_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(SEEN_CASES); i++) {
		const struct seen_case *c = &SEEN_CASES[i];

		check_seen(&bob, c->text, c->seen ? c->seen : c->text);
		check_seen(&root, c->text, c->text);
	}
	check_seen(&alice, SEEN_CASES[0].text, SEEN_CASES[0].text);
	check_seen(&alice, SEEN_CASES[1].text, SEEN_CASES[1].text);
}

static void test_who_may(void **state)
{
	static const char *const argv[] = {"true", NULL};
	struct sched_spec spec = {.name = "n",
				  .argv = argv,
				  .uid = ALICE,
				  .is_private = true,
				  .request = {.cpu = PLACE_CPU_ONLY}};
	static const struct api_route cancel = {
	    "POST", "/v1/tasks/{id}/cancel", API_ROLE_OPERATE, API_OWN_TASK, NULL, 0, NULL};
	static const struct api_route go_on = {
	    "POST", "/v1/batches/{id}/continue", API_ROLE_OPERATE, API_OWN_BATCH, NULL, 0, NULL};
	static const struct api_route forgotten = {
	    "POST", "/v1/new", API_ROLE_OPERATE, API_SCOPE_UNSET, NULL, 0, NULL};
	auto_sched struct sched *sched = sched_create(&(struct sched_options){});
	struct daemon daemon = {.sched = sched};
	uint64_t task, batch, first;
	struct error err = {};

	(void)state;
	assert_int_equal(sched_submit(sched, &spec, 1, &task, &err), 0);
	assert_int_equal(
	    sched_submit_batch(
		sched,
		&(struct sched_batch_spec){.name = "b", .uid = ALICE, .tasks = &spec, .n_tasks = 1},
		1, &batch, &first, &err),
	    0);
	assert_int_equal(access_admit(&daemon, &alice, &cancel, task, &err), 0);
	assert_int_equal(access_admit(&daemon, &alice, &go_on, batch, &err), 0);
	assert_int_equal(access_admit(&daemon, &bob, &cancel, task, &err), -EPERM);
	assert_string_equal(err.text, "task 1 is 4242's: only 4242 and root may cancel it");
	assert_int_equal(access_admit(&daemon, &bob, &go_on, batch, &err), -EPERM);
	assert_string_equal(err.text, "batch 1 is 4242's: only 4242 and root may continue it");
	assert_int_equal(access_admit(&daemon, &alice, &forgotten, task, &err), -EPERM);
	assert_false(access_sees_name(&bob, sched_find(sched, task)));
	assert_true(access_sees_name(&alice, sched_find(sched, task)));
	assert_true(access_sees_name(&root, sched_find(sched, task)));
}

static void test_whom_a_task_runs_as(void **state)
{
	const struct daemon own = {}, system = {.options = {.system = true}};
	struct sched_spec spec = {.uid = BOB, .gid = 7, .rlimits = "{\"nofile\":[10,20]}"};
	auto_owner_user struct owner_user user = {};
	bool has_user = true;
	struct error err = {};

	(void)state;
	assert_int_equal(owner_resolve(&own, &spec, &has_user, &user, &err), 0);
	assert_false(has_user);
	/* Never had an account: as he came. */
	assert_int_equal(owner_resolve(&system, &spec, &has_user, &user, &err), 0);
	assert_true(has_user && user.user.uid == BOB && user.user.gid == 7);
	assert_int_equal(user.user.n_groups, 0);
	assert_int_equal(user.user.limits.of[RLIMIT_NOFILE].soft, 10);
	/* Had one, and it is gone. */
	spec.has_account = true;
	assert_int_equal(owner_resolve(&system, &spec, &has_user, &user, &err), -ENOENT);
	assert_non_null(strstr(err.text, "account of user 4343"));
	/* A group that is not his (a set-group-id program's) is not kept: root's own is 0. */
	spec = (struct sched_spec){.uid = 0, .gid = 12345, .rlimits = "{}", .has_account = true};
	owner_user_finish(&user);
	assert_int_equal(owner_resolve(&system, &spec, &has_user, &user, &err), 0);
	assert_int_equal(user.user.gid, 0);
	assert_true(user.user.n_groups >= 1);
	/* What a daemon of another kind has left behind. */
	spec.rlimits = NULL;
	assert_int_equal(owner_resolve(&system, &spec, &has_user, &user, &err), -EPERM);
	spec.rlimits = "{\"nofile\":";
	assert_true(owner_resolve(&system, &spec, &has_user, &user, &err) < 0);
}

/* His log is opened in the group he runs in, which is not one lent to him once. */
static void test_with_whose_rights_a_log_is_opened(void **state)
{
	const struct daemon system = {.options = {.system = true}};
	const struct passwd *nobody = getpwnam("nobody");
	struct sched_spec spec = {.gid = 0, .log_path = "/tmp/log", .has_account = true};
	struct owner_rights rights;
	struct error err = {};
	uid_t uid;
	gid_t gid;

	(void)state;
	if (geteuid() != 0 || !nobody || nobody->pw_gid == 0)
		skip();
	spec.uid = nobody->pw_uid;
	assert_int_equal(owner_rights_begin(&system, &spec, &rights, &err), 0);
	uid = (uid_t)setfsuid((uid_t)-1);
	gid = (gid_t)setfsgid((gid_t)-1);
	owner_rights_end(&rights);
	assert_int_equal(uid, nobody->pw_uid);
	assert_int_equal(gid, nobody->pw_gid);
	assert_int_equal(setfsuid((uid_t)-1), 0);
	/* One whose account is gone opens nothing. */
	spec.uid = BOB;
	assert_int_equal(owner_rights_begin(&system, &spec, &rights, &err), -ENOENT);
	assert_false(rights.changed);
	assert_int_equal(setfsuid((uid_t)-1), 0);
}

static void test_who_a_sender_is(void **state)
{
	const struct daemon own = {}, system = {.options = {.system = true}};
	struct api_peer me = {.uid = geteuid(), .gid = getegid(), .pid = getpid()}, other = me;
	auto_owner struct owner owner = {};
	auto_json json_t *limits = NULL;
	struct limits mine;
	struct limits got;
	struct error err = {};

	(void)state;
	assert_int_equal(owner_identify(&own, &bob, &owner, &err), 0);
	assert_true(owner.uid == geteuid() && !owner.rlimits);
	assert_int_equal(owner_identify(&system, &me, &owner, &err), 0);
	assert_true(owner.uid == geteuid() && owner.rlimits);
	limits = parse(owner.rlimits);
	assert_int_equal(limits_decode(limits, &got, &err), 0);
	mine = own_limits();
	assert_memory_equal(&got, &mine, sizeof mine);
	/* The number of a process that ended, gone to another user's. */
	other.uid = BOB;
	assert_int_equal(owner_identify(&system, &other, &(struct owner){}, &err), -EPERM);
	assert_non_null(strstr(err.text, "another user's by now"));
	other.pid = 0;
	assert_int_equal(owner_identify(&system, &other, &(struct owner){}, &err), -EPERM);
	assert_non_null(strstr(err.text, "pid namespace"));
}

static void test_names_are_each_users_own(void **state)
{
	auto_free char *mine = owner_scoped(geteuid(), "k"), *his = owner_scoped(BOB, "k");

	(void)state;
	assert_string_equal(mine, "k");
	assert_string_equal(his, "4343/k");
	assert_null(owner_scoped(BOB, NULL));
}

static void test_accounts(void **state)
{
	struct user_account account = {};
	char name[USER_NAME_MAX];

	(void)state;
	assert_string_equal(user_name(0, name), "root");
	assert_string_equal(user_name(BOB, name), "4343");
	assert_int_equal(user_account_find(0, &account), 0);
	assert_int_equal(account.gid, 0);
	assert_true(account.n_groups >= 1);
	user_account_finish(&account);
	assert_int_equal(user_account_find(BOB, &account), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_is_seen),
	    cmocka_unit_test(test_who_may),
	    cmocka_unit_test(test_whom_a_task_runs_as),
	    cmocka_unit_test(test_with_whose_rights_a_log_is_opened),
	    cmocka_unit_test(test_who_a_sender_is),
	    cmocka_unit_test(test_names_are_each_users_own),
	    cmocka_unit_test(test_accounts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
