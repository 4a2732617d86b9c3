/*
 * See order.h. A treap: the heap priority of a node is a hash of its id, so it needs no room, no
 * random numbers (the same calls give the same tree) and no rebalancing code worth the name. Depth
 * is O(log n) expected; recursion goes no deeper than the tree.
 */
#include "sched/order.h"

/* splitmix64's finaliser. */
static uint64_t weight(const struct order_node *node)
{
	uint64_t x = node->id + 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static int compare(const struct order_node *a, const struct order_node *b)
{
	return order_compare(a->rank, a->id, b->rank, b->id);
}

static void update(struct order_node *node)
{
	node->size =
	    1 + (node->left ? node->left->size : 0) + (node->right ? node->right->size : 0);
}

/* What is smaller than `at` and what is larger. */
static void split(struct order_node *tree, const struct order_node *at,
		  struct order_node **ret_left, struct order_node **ret_right)
{
	if (!tree) {
		*ret_left = *ret_right = NULL;
		return;
	}
	if (compare(tree, at) < 0) {
		split(tree->right, at, &tree->right, ret_right);
		*ret_left = tree;
	} else {
		split(tree->left, at, ret_left, &tree->left);
		*ret_right = tree;
	}
	update(tree);
}

static struct order_node *join(struct order_node *left, struct order_node *right)
{
	if (!left || !right)
		return left ? left : right;
	if (weight(left) > weight(right)) {
		left->right = join(left->right, right);
		update(left);
		return left;
	}
	right->left = join(left, right->left);
	update(right);
	return right;
}

void order_insert(struct order *order, struct order_node *node)
{
	struct order_node **slot = &order->root;

	while (*slot && weight(*slot) >= weight(node)) {
		(*slot)->size++;
		slot = compare(node, *slot) < 0 ? &(*slot)->left : &(*slot)->right;
	}
	split(*slot, node, &node->left, &node->right);
	update(node);
	*slot = node;
}

void order_remove(struct order *order, struct order_node *node)
{
	struct order_node **slot = &order->root;

	while (*slot != node) {
		(*slot)->size--;
		slot = compare(node, *slot) < 0 ? &(*slot)->left : &(*slot)->right;
	}
	*slot = join(node->left, node->right);
	node->left = node->right = NULL;
}

struct order_node *order_first(const struct order *order)
{
	struct order_node *node = order->root;

	while (node && node->left)
		node = node->left;
	return node;
}

size_t order_before(const struct order *order, int64_t rank, uint64_t id)
{
	size_t n = 0;

	for (const struct order_node *node = order->root; node;) {
		if (order_compare(node->rank, node->id, rank, id) < 0) {
			n += 1 + (node->left ? node->left->size : 0);
			node = node->right;
		} else {
			node = node->left;
		}
	}
	return n;
}

static size_t take(struct order_node *node, struct order_node **nodes, size_t n, size_t max)
{
	if (!node || n == max)
		return n;
	n = take(node->left, nodes, n, max);
	if (n < max)
		nodes[n++] = node;
	return take(node->right, nodes, n, max);
}

size_t order_take(const struct order *order, struct order_node **ret_nodes, size_t max)
{
	return take(order->root, ret_nodes, 0, max);
}
