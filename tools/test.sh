#!/bin/bash
# test.sh [all|quick|asan]: build and run the tests. `all` (make test) is every test: unit tests, fuzz corpora
# and end to end with the ordinary build, then the same under ASan and UBSan. `quick` stops before the
# sanitizers, `asan` runs only them. The last line is "N passed, N failed[, N skipped]" over everything.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-all}
sh tools/deps.sh build test
export LC_ALL=C.UTF-8 NO_COLOR=1 PYTHONDONTWRITEBYTECODE=1
# The tests mostly wait for something: four files of them at a time keep two cores busy.
pytest=(/usr/bin/python3 -m pytest -q -p no:cacheprovider -o junit_family=xunit2 -n 4 --dist loadfile)
results=()
asan_build=

say() {
	printf '\n== %s (%d s)\n' "$1" "$SECONDS"
}

# build DIR [meson options]: exits when it does not build; nothing after it would mean anything.
build() {
	local dir=$1
	shift
	[ -f "$dir/build.ninja" ] || meson setup "$dir" -Dunit_tests=enabled "$@"
	# Configured by `make` or `make demo`, before cmocka and GLPK were there: ask again, and insist.
	grep -q test-plan_against_mip "$dir/build.ninja" || meson setup --reconfigure "$dir" -Dunit_tests=enabled "$@"
	ninja -C "$dir" || {
		echo "test.sh: $dir does not build"
		exit 1
	}
}

# Lines are enough for a sanitizer's report: with all of -g compiling takes a third longer.
build_asan() {
	build build-asan -Db_sanitize=address,undefined -Doptimization=1 -Dc_args=-g1
}

# note LABEL STATUS XML: what tools/count.py adds up.
note() {
	results+=("$1" "$2" "$3")
}

# unit LABEL DIR: the C tests and the fuzz corpora. Meson names the log after the wrapper.
unit() {
	local status=0
	rm -f "$2/meson-logs/testlog-tap.sh.junit.xml"
	meson test -C "$2" --no-rebuild --print-errorlogs --wrapper "$PWD/tools/tap.sh" || status=$?
	note "$1" "$status" "$2/meson-logs/testlog-tap.sh.junit.xml"
}

# black_box LABEL DIR TESTS: the tests of a folder against the binaries of DIR.
black_box() {
	local status=0
	rm -f "$2/$1.xml"
	PLIMSOLL_BUILD="$PWD/$2" "${pytest[@]}" --junitxml "$2/$1.xml" "$3" || status=$?
	note "$1" "$status" "$2/$1.xml"
}

if [ "$mode" != asan ]; then
	say "building"
	build build
	say "unit tests and fuzz corpora"
	unit unit build
	say "end to end, on simulated GPUs"
	if [ "$mode" = all ]; then
		# Compiles while the tests wait.
		(renice -n 19 "$BASHPID" >/dev/null && build_asan) >build/asan.log 2>&1 &
		asan_build=$!
	fi
	black_box e2e build tests/e2e
	say "on real GPUs, where there are any"
	black_box gpu build tests/gpu
fi
if [ "$mode" != quick ]; then
	say "building with ASan and UBSan"
	if [ -n "$asan_build" ]; then
		wait "$asan_build" || { cat build/asan.log; exit 1; }
		asan_build=
	fi
	build_asan
	# A finding ends the process that has it with 99, which no test takes for an expected failure.
	export ASAN_OPTIONS=detect_leaks=1:exitcode=99:abort_on_error=0
	export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:exitcode=99
	say "unit tests and fuzz corpora under ASan and UBSan"
	unit unit-asan build-asan
	say "end to end under ASan and UBSan"
	black_box e2e-asan build-asan tests/e2e
fi
say "done"
exec /usr/bin/python3 tools/count.py "${results[@]}"
