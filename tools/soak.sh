#!/bin/bash
# make soak: what takes too long for every change: 2,000 tasks through 60 kills of each of our processes and through power
# cuts, hostile clients for longer, the planner on many more problems, each fuzz target for five minutes, the end-to-end tests five times over, and the
# bare-root check. Hours, not minutes; ends at the first that fails. CHAOS_SEEDS="1 2 3" repeats what a run has printed.
set -euo pipefail
cd "$(dirname "$0")/.."
for round in 1 2 3 4 5; do
	echo "== round $round of 5"
	bash tools/test.sh quick
done
pytest=(/usr/bin/python3 -m pytest -q -s -p no:cacheprovider)
for seed in ${CHAOS_SEEDS:-$RANDOM $RANDOM $RANDOM}; do
	echo "== chaos, seed $seed"
	PLIMSOLL_CHAOS_TASKS=2000 PLIMSOLL_CHAOS_KILLS=60 PLIMSOLL_CHAOS_CUTS=20 PLIMSOLL_CHAOS_SEED=$seed \
		"${pytest[@]}" tests/e2e/test_chaos.py
done
echo "== hostile clients"
PLIMSOLL_HOSTILE_TURNS=5 PLIMSOLL_HOSTILE_SECONDS=5 "${pytest[@]}" tests/e2e/test_hostile.py
echo "== overruns, 50 pairs"
PLIMSOLL_OVERRUN_ROUNDS=50 "${pytest[@]}" tests/e2e/test_overrun.py
echo "== the planner against all placements, and against GLPK"
PLAN_ROUNDS=20000 build/tests/unit/test-plan_properties
PLAN_ROUNDS=20000 build/tests/unit/test-plan_against_mip
SECONDS_EACH=${SECONDS_EACH:-300} bash tools/fuzz.sh
bash tools/bare-root.sh
