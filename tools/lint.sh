#!/bin/bash
# make lint: what a machine can check of STYLE and DESIGN. Runs every check and names those that found something.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 3
sh tools/deps.sh build test lint || exit 3
found=()

check() {
	local name=$1 output
	shift
	if output=$("$@" 2>&1); then
		printf 'ok    %s\n' "$name"
	else
		printf 'FOUND %s\n%s\n' "$name" "$output"
		found+=("$name")
	fi
}

c_files() {
	find src sim tests -name '*.[ch]' -print0
}

formatting() {
	c_files | xargs -0 clang-format-14 --dry-run -Werror
}

# Warnings are errors here and only here: a new compiler must not break a user's build.
warnings() {
	local dir=build-lint-$1
	[ -f "$dir/build.ninja" ] || CC=$2 meson setup "$dir" --werror || return 1
	# All of them in one go, without the lines of what is well.
	ninja -C "$dir" -k 0 >"$dir/log" 2>&1 || { grep -E '(warning|error): |^FAILED' "$dir/log"; return 1; }
}

shell_scripts() {
	local files
	mapfile -t files < <(find tools tests -name '*.sh'; echo make; echo .ci/run)
	shellcheck -e SC2043 "${files[@]}" # a loop over one file may get a second
}

check "formatting (clang-format-14)" formatting
check "include arrows (tools/arrows.txt)" python3 tools/lint_arrows.py
check "sizes of functions and files" python3 tools/lint_sizes.py
check "words" python3 tools/lint_words.py
check "shell scripts (shellcheck)" shell_scripts
man_pages() {
	local pages
	mapfile -t pages < <(find build-lint-gcc/man -name '*.1')
	[ ${#pages[@]} -gt 1 ] || { echo "no man pages in build-lint-gcc/man"; return 1; }
	mandoc -Tlint -W warning "${pages[@]}"
}

check "warnings, gcc" warnings gcc gcc
check "warnings, clang 14" warnings clang clang-14
check "purity of place/ and sched/ (tools/pure.txt)" python3 tools/lint_purity.py build-lint-gcc
check "what the product does not use (tools/unused.txt)" python3 tools/lint_unused.py build-lint-gcc
check "man pages, routes, states, links" python3 tools/lint_docs.py build-lint-gcc
check "man pages (mandoc)" man_pages
[ ${#found[@]} -eq 0 ] || { printf 'lint: %d checks found something\n' "${#found[@]}"; exit 1; }
echo "lint: clean"
