#!/bin/sh
# `./make demo` on a Debian that has not even make: installs it, then hands everything to it.
set -eu
cd "$(dirname "$0")"
command -v make >/dev/null 2>&1 || sh tools/deps.sh make
exec make "$@"
