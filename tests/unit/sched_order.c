/* The order against a sorted array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched/order.h"
#include "sched/strings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 600

static int compare(const void *a, const void *b)
{
	const struct order_node *const *x = a, *const *y = b;

	return order_compare((*x)->rank, (*x)->id, (*y)->rank, (*y)->id);
}

static void check(const struct order *order, struct order_node *nodes, const int *in)
{
	struct order_node *sorted[N], *taken[N];
	size_t n = 0, k;

	for (size_t i = 0; i < N; i++) {
		if (in[i])
			sorted[n++] = &nodes[i];
	}
	qsort(sorted, n, sizeof *sorted, compare);
	assert_int_equal(order_size(order), n);
	assert_ptr_equal(order_first(order), n ? sorted[0] : NULL);
	k = order_take(order, taken, N);
	assert_int_equal(k, n);
	assert_memory_equal(taken, sorted, n * sizeof *taken);
	assert_int_equal(order_take(order, taken, 7), n < 7 ? n : 7);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(order_before(order, sorted[i]->rank, sorted[i]->id), i);
}

static void test_random(void **state)
{
	struct order_node nodes[N] = {};
	int in[N] = {};
	struct order order = {};
	uint64_t random = 42;

	(void)state;
	for (size_t i = 0; i < N; i++) {
		nodes[i].id = i + 1;
		nodes[i].rank = (int64_t)(i * 7919 % 5) - 2;
	}
	for (int step = 0; step < 4000; step++) {
		size_t i;

		random = random * 6364136223846793005ull + 1442695040888963407ull;
		i = (random >> 33) % N;
		if (in[i])
			order_remove(&order, &nodes[i]);
		else
			order_insert(&order, &nodes[i]);
		in[i] = !in[i];
		if (step % 100 == 0)
			check(&order, nodes, in);
	}
	for (size_t i = 0; i < N; i++) {
		if (in[i])
			order_remove(&order, &nodes[i]);
	}
	assert_null(order.root);
}

static void test_strings(void **state)
{
	struct string_pool pool = {};
	const char *names[300], *empty;
	char text[32];

	(void)state;
	empty = string_pool_get(&pool, NULL);
	assert_string_equal(empty, "");
	assert_ptr_equal(string_pool_get_again(&pool, empty), empty);
	string_pool_put(&pool, empty);
	for (int i = 0; i < 300; i++) {
		(void)snprintf(text, sizeof text, "kind %d", i);
		names[i] = string_pool_get(&pool, text);
		assert_ptr_equal(string_pool_get(&pool, text), names[i]);
	}
	for (int i = 0; i < 300; i++) {
		(void)snprintf(text, sizeof text, "kind %d", i);
		assert_string_equal(names[i], text);
		string_pool_put(&pool, names[i]);
		assert_string_equal(names[i], text); /* one reference is left */
		string_pool_put(&pool, names[i]);
	}
	string_pool_put(&pool, empty);
	string_pool_put(&pool, NULL);
	assert_int_equal(pool.n, 0);
	string_pool_finish(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
