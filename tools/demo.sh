#!/bin/sh
# make demo: what is missing is installed, Plimsoll is built, and the 40 recordings of examples/assets.json go through it:
# on this machine's GPUs when an NVIDIA driver answers, else on two simulated ones. It has a daemon and folders of its
# own, which end with it; nothing of a Plimsoll already in use is touched.
set -eu
cd "$(dirname "$0")/.."
sh tools/deps.sh build
[ -f build/build.ninja ] || meson setup build
ninja -C build

own=$(mktemp -d /tmp/plimsoll-demo.XXXXXX)
export XDG_RUNTIME_DIR="$own/run" XDG_STATE_HOME="$own/state" XDG_CONFIG_HOME="$own/config"
PATH="$PWD/build:$PWD/build/examples:$PATH"

folders() {
	mkdir -p "$own"
	mkdir -m 700 "$XDG_RUNTIME_DIR" "$XDG_STATE_HOME" "$XDG_CONFIG_HOME"
}

# The daemon and whatever else of ours was started here: known by this demo's state folder in their environment.
finish() {
	for environ in /proc/[0-9]*/environ; do
		pid=${environ#/proc/}
		pid=${pid%/environ}
		case $(cat "/proc/$pid/comm" 2>/dev/null) in
		plimsoll*) ;;
		*) continue ;;
		esac
		if grep -qzxF "XDG_STATE_HOME=$own/state" "$environ" 2>/dev/null; then
			kill "$pid" 2>/dev/null || true
		fi
	done
	rm -rf "$own"
}
trap finish EXIT
trap 'exit 130' INT TERM

folders
if plimsoll gpus --json 2>/dev/null | grep -q '"uuid"'; then
	echo
	echo "== On the GPUs of this machine. Each recording is a CUDA program that fills and copies the VRAM it asks for."
	sh tools/demo-batch.sh cuda-task --vram '{vram}' --seconds '{seconds}' --device '{device}' '{file}'
else
	finish
	folders
	echo
	echo "== No NVIDIA driver answers here: on two SIMULATED GPUs, an RTX 5070 Ti (11.9 GB) and an RTX 2080 SUPER (8 GB)."
	echo "== Plimsoll is the same; below it lie a stand-in for NVIDIA's library and plimsoll-simtask for CUDA programs."
	plimsoll sim --gpus rtx-5070-ti,rtx-2080-super -- sh tools/demo-batch.sh plimsoll-simtask --vram '{vram}' \
		--seconds '{seconds}' --util '{util}' --device '{device}' '{file}'
fi
