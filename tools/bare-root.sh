#!/bin/bash
# bare-root.sh: does a fresh clone build, show its demo and pass its tests on a Debian 12 with nothing installed? Makes such
# a system with debootstrap, copies a clone of HEAD into it, and types what README.md opens with. As root; needs the
# network and a few GB under $TMPDIR; some 20 minutes. Run by hand and by `make soak`.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || {
	echo "bare-root.sh: debootstrap and chroot need root" >&2
	exit 3
}
command -v debootstrap >/dev/null || apt-get install -y -q --no-install-recommends debootstrap
root=$(mktemp -d "${TMPDIR:-/tmp}/plimsoll-bare.XXXXXX")
# mktemp makes it 0700, which as a root folder would lock everybody but root out of everything.
chmod 755 "$root"
mounted=()
# A mount of its own, as / is on any real system: the full-disk test makes mounts private from / on.
mount --bind "$root" "$root"
mount --make-private "$root"

finish() {
	for point in "${mounted[@]}"; do
		umount -l "$point" || true
	done
	umount -l "$root" || true
	rm -rf --one-file-system "$root"
}
trap finish EXIT

# The mirror this machine uses, so that the check works where only that one can be reached.
mirror=$(apt-get indextargets --format "\$(SITE)" 'Created-By: Packages' 2>/dev/null | grep -v security | head -1)
debootstrap --variant=minbase bookworm "$root" "${mirror:-http://deb.debian.org/debian}"
cp /etc/resolv.conf "$root/etc/resolv.conf"
for point in proc sys dev; do
	mount --rbind "/$point" "$root/$point"
	mount --make-rslave "$root/$point"
	mounted=("$root/$point" "${mounted[@]}")
done
git clone -q . "$root/plimsoll"
inside() {
	chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		TERM="${TERM:-dumb}" sh -c "cd /plimsoll && $1"
}

# Exactly the two commands that README.md opens with.
mapfile -t commands < <(awk '/^```/ { if (inside) exit; inside = 1; next } inside { sub(/ *#.*/, ""); print }' README.md)
[ "${#commands[@]}" -eq 2 ] || {
	echo "bare-root.sh: README.md does not open with two commands" >&2
	exit 1
}
for command in "${commands[@]}"; do
	printf '\n=== in a bare Debian 12: %s\n' "$command"
	started=$SECONDS
	inside "$command"
	printf '=== %s: %d s\n' "$command" $((SECONDS - started))
done
