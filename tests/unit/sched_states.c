/* The transition table, against what is written here and in docs/states.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched/states.h"
#include "util/file.h"

#include <errno.h>
#include <string.h>

/* Every move there is; what is not here must be refused. */
static const struct {
	enum sched_state from;
	enum sched_event event;
	enum sched_state to;
	enum sched_effect effect;
} moves[] = {
    {SCHED_WAITING, SCHED_EV_PLACE, SCHED_STARTING, SCHED_DO_GRANT},
    {SCHED_WAITING, SCHED_EV_CANCEL, SCHED_CANCELED, SCHED_DO_DEQUEUE},
    {SCHED_WAITING, SCHED_EV_HOLD, SCHED_HELD, SCHED_DO_DEQUEUE},
    {SCHED_HELD, SCHED_EV_CANCEL, SCHED_CANCELED, SCHED_DO_NOTHING},
    {SCHED_HELD, SCHED_EV_RELEASE, SCHED_WAITING, SCHED_DO_ENQUEUE},
    {SCHED_STARTING, SCHED_EV_STARTED, SCHED_RUNNING, SCHED_DO_NOTHING},
    {SCHED_STARTING, SCHED_EV_OK, SCHED_DONE, SCHED_DO_FREE},
    {SCHED_STARTING, SCHED_EV_FAIL, SCHED_FAILED, SCHED_DO_FREE},
    {SCHED_STARTING, SCHED_EV_AGAIN, SCHED_WAITING, SCHED_DO_REPEAT},
    {SCHED_STARTING, SCHED_EV_STOPPED, SCHED_CANCELED, SCHED_DO_FREE},
    {SCHED_STARTING, SCHED_EV_VANISHED, SCHED_LOST, SCHED_DO_FREE},
    {SCHED_STARTING, SCHED_EV_CANCEL, SCHED_STARTING, SCHED_DO_STOP},
    {SCHED_RUNNING, SCHED_EV_OK, SCHED_DONE, SCHED_DO_FREE},
    {SCHED_RUNNING, SCHED_EV_FAIL, SCHED_FAILED, SCHED_DO_FREE},
    {SCHED_RUNNING, SCHED_EV_AGAIN, SCHED_WAITING, SCHED_DO_REPEAT},
    {SCHED_RUNNING, SCHED_EV_STOPPED, SCHED_CANCELED, SCHED_DO_FREE},
    {SCHED_RUNNING, SCHED_EV_VANISHED, SCHED_LOST, SCHED_DO_FREE},
    {SCHED_RUNNING, SCHED_EV_CANCEL, SCHED_RUNNING, SCHED_DO_STOP},
    {SCHED_FAILED, SCHED_EV_RETRY, SCHED_WAITING, SCHED_DO_ENQUEUE},
    {SCHED_CANCELED, SCHED_EV_RETRY, SCHED_WAITING, SCHED_DO_ENQUEUE},
    {SCHED_LOST, SCHED_EV_RETRY, SCHED_WAITING, SCHED_DO_ENQUEUE},
};

static void test_every_pair(void **state)
{
	(void)state;
	for (unsigned s = 0; s < SCHED_STATE_COUNT; s++) {
		for (unsigned e = 0; e < SCHED_EVENT_COUNT; e++) {
			struct sched_move move =
			    sched_move((enum sched_state)s, (enum sched_event)e);
			bool found = false;

			for (size_t i = 0; i < ARRAY_LEN(moves); i++) {
				if (moves[i].from != s || moves[i].event != e)
					continue;
				found = true;
				assert_true(move.allowed);
				assert_int_equal(move.next, moves[i].to);
				assert_int_equal(move.effect, moves[i].effect);
			}
			assert_int_equal(found, move.allowed);
		}
	}
}

/* What holds an allocation frees it exactly when it leaves STARTING and RUNNING. */
static void test_allocations_balance(void **state)
{
	(void)state;
	for (unsigned s = 0; s < SCHED_STATE_COUNT; s++) {
		for (unsigned e = 0; e < SCHED_EVENT_COUNT; e++) {
			struct sched_move move =
			    sched_move((enum sched_state)s, (enum sched_event)e);
			bool held = s == SCHED_STARTING || s == SCHED_RUNNING;
			bool holds = move.next == SCHED_STARTING || move.next == SCHED_RUNNING;

			if (!move.allowed)
				continue;
			assert_int_equal(!held && holds, move.effect == SCHED_DO_GRANT);
			assert_int_equal(held && !holds, move.effect == SCHED_DO_FREE ||
							     move.effect == SCHED_DO_REPEAT);
			assert_true(!sched_state_is_final((enum sched_state)s) ||
				    e == SCHED_EV_RETRY);
		}
	}
}

static void test_names(void **state)
{
	struct error err;

	(void)state;
	for (unsigned s = 0; s < SCHED_STATE_COUNT; s++) {
		enum sched_state back = SCHED_STATE_COUNT;

		assert_int_equal(
		    sched_state_parse(sched_state_name((enum sched_state)s), &back, &err), 0);
		assert_int_equal(back, s);
	}
	for (unsigned o = 0; o < SCHED_OUTCOME_COUNT; o++) {
		enum sched_outcome back = SCHED_OUTCOME_COUNT;

		assert_int_equal(
		    sched_outcome_parse(sched_outcome_name((enum sched_outcome)o), &back, &err), 0);
		assert_int_equal(back, o);
	}
	assert_int_equal(sched_state_parse("sleeping", &(enum sched_state){0}, &err), -EINVAL);
	assert_non_null(strstr(err.text, "sleeping"));
}

static void test_document(void **state)
{
	const char *root = getenv("PLIMSOLL_SOURCE");
	auto_free char *printed = NULL;
	auto_free char *path = NULL;
	auto_text struct text written = {};
	size_t size;
	FILE *out;
	struct error err;

	(void)state;
	if (!root)
		skip();
	out = open_memstream(&printed, &size);
	sched_table_print(out);
	assert_int_equal(fclose(out), 0);
	path = mem_printf("%s/docs/states.md", root);
	assert_int_equal(file_read(path, 1 << 20, false, &written, &err), 0);
	assert_string_equal(written.data, printed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_pair),
	    cmocka_unit_test(test_allocations_balance),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
