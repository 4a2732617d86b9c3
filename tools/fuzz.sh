#!/bin/bash
# make fuzz [SECONDS=60]: each libFuzzer target for that long, from its committed corpus. What it finds is left in
# build-fuzz/found/ and is told at the end; new inputs that reach new code stay in build-fuzz/corpus/.
set -euo pipefail
cd "$(dirname "$0")/.."
sh tools/deps.sh build test lint
seconds=${SECONDS_EACH:-60}
[ -f build-fuzz/build.ninja ] ||
	CC=clang-14 meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
ninja -C build-fuzz
mkdir -p build-fuzz/found
failed=()
for target in build-fuzz/tests/fuzz/fuzz-*; do
	if [ ! -f "$target" ] || [ ! -x "$target" ]; then continue; fi
	name=${target##*/fuzz-}
	mkdir -p "build-fuzz/corpus/$name"
	printf '== %s, %d s\n' "$name" "$seconds"
	"$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
		-artifact_prefix="build-fuzz/found/$name-" "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name" \
		>"build-fuzz/found/$name.log" 2>&1 || failed+=("$name")
	grep -E 'number_of_executed_units|ERROR|SUMMARY' "build-fuzz/found/$name.log" || true
done
[ ${#failed[@]} -eq 0 ] || {
	echo "fuzz: findings in: ${failed[*]}; inputs and logs are in build-fuzz/found/"
	exit 1
}
echo "fuzz: no findings"
