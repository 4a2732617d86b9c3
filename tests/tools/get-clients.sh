#!/bin/bash
# get-clients.sh [DIR]: fetch unmodified NVML clients for tests/e2e/test_conformance.py into DIR
# (default .cache/clients): root/ holds unpacked Debian packages, slurm/ a plugin directory for slurmd.
# Nothing is installed: apt runs with its own sources, lists and cache; packages are unpacked, not set up.
# What cannot be had is named on stderr and the rest goes on; exit 1 when nothing at all could be had.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$here/.cache/clients}
packages="nvtop gpustat python3-pynvml python3-blessed python3-psutil python3-wcwidth python3-six
  slurm-wlm-nvml-plugin slurmd slurm-wlm-basic-plugins libncurses6 libtinfo6
  libhwloc15 libudev1 libsystemd0 libevdev2 libdrm2 libjson-c5 libpmix2 libmunge2 libhttp-parser2.9
  liblz4-1 libyaml-0-2 libjwt0 libdbus-1-3 libnuma1 librrd8"
mkdir -p "$dir"/{apt/lists/partial,apt/cache/archives/partial,deb,root} || exit 1
dir=$(cd "$dir" && pwd)

# The mirror this machine already uses, with contrib beside main.
{
  for file in /etc/apt/sources.list.d/debian.sources; do
    [ -f "$file" ] || continue
    awk -v RS= '/debian\.org|Debian|deb\.debian/ {
      n = split($0, line, "\n"); uris = suites = signed = ""
      for (i = 1; i <= n; i++) {
        if (line[i] ~ /^URIs:/) uris = substr(line[i], 7)
        if (line[i] ~ /^Suites:/) suites = substr(line[i], 9)
        if (line[i] ~ /^Signed-By:/) signed = "[signed-by=" substr(line[i], 12) "] "
      }
      m = split(suites, suite, " ")
      for (i = 1; i <= m; i++) print "deb " signed uris " " suite[i] " main contrib"
    }' "$file"
  done
  [ -f /etc/apt/sources.list ] && sed -n 's/^\(deb .* main\).*/\1 contrib/p' /etc/apt/sources.list
} | sort -u > "$dir/apt/sources.list"
[ -s "$dir/apt/sources.list" ] || { echo "get-clients: no Debian mirror in /etc/apt" >&2; exit 1; }

apt="apt-get -qq -o Dir::Etc::SourceList=$dir/apt/sources.list -o Dir::Etc::SourceParts=/dev/null
  -o Dir::State::Lists=$dir/apt/lists -o Dir::Cache=$dir/apt/cache -o APT::Sandbox::User=root
  -o Acquire::Retries=2 -o Acquire::http::Timeout=20"
$apt update || { echo "get-clients: apt cannot read its mirror" >&2; exit 1; }
got=0
for package in $packages; do
  if ! ls "$dir/deb/${package}_"*.deb >/dev/null 2>&1; then
    (cd "$dir/deb" && $apt download "$package" >/dev/null 2>&1) || { echo "get-clients: no $package" >&2; continue; }
  fi
  dpkg -x "$dir/deb/${package}_"*.deb "$dir/root" && got=$((got + 1))
done

# slurmd looks for its plugins in one folder; the NVML plugin comes in a package of its own.
plugins=$(dirname "$(find "$dir/root" -name gres_gpu.so 2>/dev/null | head -1)" 2>/dev/null)
if [ -n "$plugins" ] && [ -d "$plugins" ]; then
  ln -sf slurmd-wlm "$dir/root/usr/sbin/slurmd" # by its name it knows that it is one
  rm -rf "$dir/slurm" && cp -aL "$plugins" "$dir/slurm"
  find "$dir/root" -name gpu_nvml.so -exec cp {} "$dir/slurm/" \;
fi

# nvitop is in no release this system follows; its wheel is pure Python.
if [ ! -d "$dir/nvitop/nvitop" ]; then
  /usr/bin/python3 -m pip --version >/dev/null 2>&1 && pip=(/usr/bin/python3 -m pip) || pip=(pip)
  rm -f "$dir/nvitop.why"
  "${pip[@]}" install -q --disable-pip-version-check --retries 1 --timeout 15 --no-compile --no-deps --target "$dir/nvitop" \
    nvitop==1.5.0 nvidia-ml-py==12.575.51 >/dev/null 2>"$dir/pip.log" || {
    why="pip could not install it, see .cache/clients/pip.log"
    command -v "${pip[0]}" >/dev/null || why="there is no pip"
    grep -qiE 'connection|network|resolve|timed out|No matching distribution' "$dir/pip.log" && why="PyPI cannot be reached"
    echo "$why" > "$dir/nvitop.why"
    echo "get-clients: no nvitop: $why" >&2
  }
fi
[ "$got" -gt 0 ]
