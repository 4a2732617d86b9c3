"""Starts per second of the supervisor: 1,000 x true, against a plain fork + exec loop of the same command.

    /usr/bin/python3 tests/bench/supervisor_starts.py [N]

Prints one line: starts/s, milliseconds per task beside the plain loop's, and the supervisor's RSS."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from supervisor_link import Supervisor  # noqa: E402

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1000


def plain_loop():
    """posix_spawn and wait, one after the other: what a shell loop costs at best."""
    begin = time.monotonic()
    for _ in range(COUNT):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return time.monotonic() - begin


def read_ends(sock, count):
    ended, rest = 0, b""
    while ended < count:
        data = rest + sock.recv(1 << 20)
        ended += data.count(b'"event":"ended"')
        rest = data[data.rfind(b"\n") + 1:]
        ended -= rest.count(b'"event":"ended"')
    return ended


def supervised(supervisor, window):
    """`window` 0: all are asked for at once; else that many are under way at a time."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(supervisor.socket))
    sock.sendall(b'{"op":"hello","version":1}\n')
    tag = f"{window}-{time.monotonic_ns()}"
    lines = [json.dumps({"op": "start", "attempt": f"{tag}.{i}", "argv": ["/bin/true"], "env": [], "cwd": "/"})
             .encode() + b"\n" for i in range(COUNT)]
    begin = time.monotonic()
    step = window or COUNT
    for at in range(0, COUNT, step):
        sock.sendall(b"".join(lines[at:at + step]))
        read_ends(sock, min(step, COUNT - at))
    seconds = time.monotonic() - begin
    sock.sendall(b"".join(b'{"op":"ack","attempt":"%s.%d"}\n' % (tag.encode(), i) for i in range(COUNT)))
    sock.close()
    return seconds


def main():
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(Path(folder)).spawn()
        plain = plain_loop()
        rows = [(name, supervised(supervisor, window)) for name, window in
                (("all at once", 0), ("16 at a time", 16), ("one by one", 1))]
        rss = int(Path(f"/proc/{supervisor.process.pid}/statm").read_text().split()[1]) * 4096
        supervisor.finish()
    print(f"plain spawn loop: {COUNT / plain:,.0f} starts/s, {plain / COUNT * 1e3:.2f} ms a task")
    for name, seconds in rows:
        print(f"supervisor, {name}: {COUNT / seconds:,.0f} starts/s, {seconds / COUNT * 1e3:.2f} ms a task "
              f"({(seconds - plain) / COUNT * 1e3:+.2f} ms over the loop)")
    print(f"supervisor RSS: {rss / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
