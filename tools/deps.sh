#!/bin/sh
# deps.sh GROUP...: install the packages of these groups of packages.txt that are missing. Needs no
# network and no rights when nothing is. `a|b` in the list: either will do, a is installed.
set -eu
list=$(dirname "$0")/packages.txt

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The first alternative, unless one of them is there already.
missing_of() {
	for package in $(echo "$1" | tr '|' ' '); do
		installed "$package" && return 0
	done
	echo "${1%%|*}"
}

missing=
for group in "$@"; do
	packages=$(awk -v group="$group" '$1 == group { print $2 }' "$list")
	[ -n "$packages" ] || { echo "deps.sh: no group \"$group\" in $list" >&2; exit 2; }
	for alternatives in $packages; do
		missing="$missing $(missing_of "$alternatives")"
	done
done
# Word splitting drops the blanks of packages that are there.
# shellcheck disable=SC2086
set -- $missing
[ $# -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "deps.sh: not a Debian system (no apt-get); please install what corresponds to: $*" >&2
	exit 3
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null 2>&1 || {
		echo "deps.sh: neither root nor sudo; as root, run: apt-get install -y $*" >&2
		exit 3
	}
	as_root=sudo
fi

echo "deps.sh: installing $*"
export DEBIAN_FRONTEND=noninteractive
install() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}
# The package lists may be missing or old (a bare root): fetch them first, and go on with what there
# is when they cannot be had.
$as_root apt-get update -q || echo "deps.sh: package lists could not be refreshed; trying anyway" >&2
install "$@" || {
	echo "deps.sh: apt-get could not install: $*; is the network there?" >&2
	exit 3
}
