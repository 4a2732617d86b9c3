"""The whole, on a machine that is short of processes; and a daemon that one of its own tasks has started."""

import os
import pathlib
import subprocess

import pytest
from conftest import wait_until

LONELY = 61235  # a user with no process but those of these tests
AS_LONELY = {"user": LONELY, "group": LONELY, "extra_groups": []}


@pytest.fixture
def lonely(sandbox):
    """Everything in the sandbox as a user whose processes can be counted."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    for path in (sandbox.dir, *sandbox.dir.rglob("*")):
        os.chown(path, LONELY, LONELY)
    return sandbox


def supervisor_pid(sandbox):
    path = sandbox.dir / "run" / "plimsoll" / "supervisor.pid"
    return int(wait_until(lambda: path.exists() and path.read_text().split()[:1], what="the supervisor")[0])


def processes_allowed(pid, soft):
    code = (f"import resource as r; before, hard = r.prlimit({pid}, r.RLIMIT_NPROC); "
            f"r.prlimit({pid}, r.RLIMIT_NPROC, ({soft}, hard)); print(before)")
    return int(subprocess.run(["/usr/bin/python3", "-c", code], check=True, capture_output=True, **AS_LONELY).stdout)


def test_no_process_to_be_had_and_then_there_is(lonely):
    def plimsoll(*args, **options):
        return lonely.plimsoll(*args, **AS_LONELY, **options)

    def tasks(*ids):
        return [lonely.json("show", task, **AS_LONELY) for task in ids]

    first = plimsoll("submit", "--cpu", "only", "--", "sleep", "60", check=0).stdout.split()[-1]
    wait_until(lambda: tasks(first)[0]["state"] == "running", what="the first task runs")
    pid = supervisor_pid(lonely)
    before = processes_allowed(pid, 1)
    ids = [plimsoll("submit", "--cpu", "only", "--", "sh", "-c", "echo x >>count; exit 4", check=0).stdout.split()[-1]
           for _ in range(3)]
    wait_until(lambda: all("limit of processes" in (t["reason"] or "") for t in tasks(*ids)),
               what="the reason is told")
    assert {t["state"] for t in tasks(*ids)} <= {"waiting", "starting"}
    assert tasks(first)[0]["state"] == "running"
    processes_allowed(pid, before)
    wait_until(lambda: all(t["state"] == "failed" for t in tasks(*ids)), timeout=60, what="they have run")
    assert all(t["attempts"][-1]["exit_code"] == 4 for t in tasks(*ids))
    assert (lonely.dir / "count").read_text() == "x\n" * 3
    plimsoll("cancel", first, check=0)
    wait_until(lambda: tasks(first)[0]["state"] == "canceled", what="the first is over")


def test_a_daemon_started_by_a_task_outlives_it(sandbox):
    """A task that sends to another queue, or to its own after the daemon was killed."""
    other = {name: str(sandbox.dir / f"other-{name}") for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
    for folder in other.values():
        pathlib.Path(folder).mkdir(mode=0o700)
    pid_file = pathlib.Path(other["XDG_RUNTIME_DIR"]) / "plimsoll" / "daemon.pid"
    words = [f"{name}={value}" for name, value in other.items()]
    script = f"env {' '.join(words)} {sandbox.build}/plimsoll serve --background && cut -d ' ' -f 1 {pid_file}"
    pid = int(sandbox.plimsoll("run", "--cpu", "only", "--", "sh", "-c", script, check=0).stdout.split()[-1])
    try:
        assert "/plimsoll." not in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
        assert sandbox.json("queue", env=other)["tasks"] == []
        # Not another one, which this verb has started.
        assert int(pid_file.read_text().split()[0]) == pid
    finally:
        sandbox.plimsoll("serve", "--stop", env=other)
