"""A supervisor in folders of its own, and a connection that speaks its protocol (src/run/protocol.h)."""

import json
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

BUILD = Path(os.environ.get("PLIMSOLL_BUILD", Path(__file__).resolve().parents[2] / "build"))
DEADLINE = 20


def wait_until(condition, what, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {deadline} s: {what}")


def open_way(folder):
    """Let everybody come as far as this folder of ours."""
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and above.stat().st_mode & 0o5 != 0o5:
            above.chmod(above.stat().st_mode | 0o55)
    folder.chmod(0o755)


def process_state(pid):
    """The state letter, or None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def runs(pid):
    return process_state(pid) not in (None, "Z", "X")


class Link:
    """One connection. Every event is kept, by kind and in order."""

    def __init__(self, path, hello=True, usage=False):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(str(path))
        self.buffer = b""
        self.events = []
        if hello:
            self.send(op="hello", version=1, usage=usage)
            self.until(lambda e: e["event"] == "synced")

    def send(self, **request):
        self.sock.sendall(json.dumps(request).encode() + b"\n")

    def raw(self, data):
        self.sock.sendall(data)

    def read(self, timeout=DEADLINE):
        """The next event, or None at the end of the connection."""
        end = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.sock], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"no event within {timeout} s; so far {self.events[-5:]}")
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        event = json.loads(line)
        self.events.append(event)
        return event

    def until(self, condition, timeout=DEADLINE):
        end = time.monotonic() + timeout
        while True:
            event = self.read(max(0.001, end - time.monotonic()))
            assert event is not None, "the supervisor closed the connection"
            if condition(event):
                return event

    def wait(self, kind, attempt=None):
        """The first event of this kind (for this attempt), seen already or still to come."""
        def fits(event):
            return event["event"] == kind and (attempt is None or event.get("attempt") == attempt)

        for event in self.events:
            if fits(event):
                return event
        return self.until(fits)

    def of(self, attempt):
        return [e for e in self.events if e.get("attempt") == attempt]

    def start(self, attempt, *argv, **more):
        request = {"op": "start", "attempt": attempt, "argv": list(argv), "cwd": "/",
                   "env": ["PATH=/usr/bin:/bin"]}
        request.update(more)
        self.send(**request)

    def list(self):
        self.send(op="list")
        return {a["attempt"]: a for a in self.until(lambda e: e["event"] == "list")["attempts"]}

    def close(self):
        self.sock.close()


class Supervisor:
    def __init__(self, folder):
        self.runtime = folder / "r"
        self.state = folder / "s"
        self.socket = self.runtime / "supervisor.sock"
        self.journal = self.state / "supervisor.journal"
        self.process = None

    def spawn(self, *options, **popen):
        """Start it in the foreground and wait until it answers."""
        self.process = subprocess.Popen(
            [BUILD / "plimsoll-supervisor", "--runtime-dir", self.runtime, "--state-dir", self.state,
             *options], **popen)
        wait_until(lambda: self.answers() or self.process.poll() is not None, "supervisor answers")
        assert self.process.poll() is None, f"supervisor left with {self.process.returncode}"
        return self

    def answers(self):
        """Not only connected: a child of one that was killed may hold its socket for a moment."""
        probe = socket.socket(socket.AF_UNIX)
        probe.settimeout(DEADLINE)
        try:
            probe.connect(str(self.socket))
            probe.sendall(b'{"op": "list"}\n')
            return probe.recv(1) == b"{"
        except OSError:
            return False
        finally:
            probe.close()

    def link(self, **options):
        return Link(self.socket, **options)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self):
        """End it and everything it still watches."""
        if self.process is None:
            return
        if self.process.poll() is None:
            try:
                link = self.link()
                for attempt in link.list():
                    link.send(op="signal", attempt=attempt, signal=9)
                link.list()
            except (OSError, AssertionError):
                pass
            self.kill()
