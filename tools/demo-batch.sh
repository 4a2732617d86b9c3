#!/bin/sh
# demo-batch.sh COMMAND...: the part of the demo that one would type, on whatever GPUs there are (tools/demo.sh).
set -eu

show() {
	printf '\n$'
	for word in "$@"; do
		case $word in
		*[!A-Za-z0-9/._=:-]*) printf " '%s'" "$word" ;;
		*) printf ' %s' "$word" ;;
		esac
	done
	printf '\n'
	"$@"
}

# `gpus` ends with 1 when it has a fault to point at; a demo shows it and goes on.
show plimsoll gpus || [ $? -eq 1 ]
show plimsoll batch examples/assets.json --vram '{vram}' --kind '{model}' -y -- "$@"
