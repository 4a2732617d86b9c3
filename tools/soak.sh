#!/bin/bash
# make soak: what takes too long for every change: each fuzz target for five minutes, the end-to-end tests five times over,
# and the bare-root check. Hours, not minutes; ends at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
for round in 1 2 3 4 5; do
	echo "== round $round of 5"
	bash tools/test.sh quick
done
SECONDS_EACH=${SECONDS_EACH:-300} bash tools/fuzz.sh
bash tools/bare-root.sh
