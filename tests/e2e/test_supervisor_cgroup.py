"""Cgroups of attempts: who has left the session is found, ended and counted. Skipped where no cgroup may be made."""

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from supervisor_link import Supervisor, process_state, runs, wait_until  # noqa: E402


def own_cgroup():
    """The path of our own cgroup (v2), or None. A second way to find it: by the mount's options."""
    lines = dict(line.split(":", 2)[::2] for line in Path("/proc/self/cgroup").read_text().splitlines())
    for mount in Path("/proc/mounts").read_text().splitlines():
        kind = mount.split()[2]
        if kind == "cgroup2" and "0" in lines:
            return Path(mount.split()[1]) / lines["0"].lstrip("/")
    return None


def can_make_cgroups():
    probe = own_cgroup() and own_cgroup() / f"probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
        return True
    except (OSError, AttributeError):
        return False


pytestmark = pytest.mark.skipif(not can_make_cgroups(), reason="needs a cgroup v2 of its own")


def folder_of(supervisor):
    stat = supervisor.state.stat()
    return own_cgroup() / f"plimsoll.{stat.st_dev:x}.{stat.st_ino:x}"


# Forks twice, in a session of its own, with its output elsewhere: what a daemon does. Writes its pid.
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        {more}
        with open({pid!r} + ".new", "w") as file: file.write(str(os.getpid()))
        os.rename({pid!r} + ".new", {pid!r})
        time.sleep(60)
    os._exit(0)
os.wait()
while not os.path.exists({pid!r}): time.sleep(0.01)
time.sleep({stay})
"""


def start_daemon(link, path, stay=60, more="pass"):
    link.start("1.1", "/usr/bin/python3", "-c", DAEMON.format(pid=str(path), stay=stay, more=more))
    wait_until(path.exists, "the daemon's pid")
    return int(path.read_text())


def test_each_attempt_is_in_a_cgroup_of_its_own(supervisor, link):
    link.start("1.1", "sleep", "60")
    link.start("task/../2.1", "sleep", "60")
    pid, other = link.wait("started", "1.1")["pid"], link.wait("started", "task/../2.1")["pid"]
    folder = folder_of(supervisor)
    assert (folder / "task-1.1" / "cgroup.procs").read_text().split() == [str(pid)]
    names = [f.name for f in folder.iterdir() if f.is_dir()]
    assert len(names) == 2  # a strange id is one folder, nowhere else
    link.send(op="signal", attempt="task/../2.1", signal=9)
    assert link.wait("ended", "task/../2.1")["signal"] == 9
    assert not runs(other)
    link.send(op="signal", attempt="1.1", signal=15)
    assert link.wait("ended", "1.1")["signal"] == 15
    wait_until(lambda: not folder.exists(), "our folder goes with the last of them")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_of_the_task_ends_with_a_cancel(link, tmp_path, number):
    pid = start_daemon(link, tmp_path / "pid")
    link.send(op="signal", attempt="1.1", signal=int(number))
    assert link.wait("ended", "1.1")["signal"] == number
    assert not runs(pid)


def test_a_daemon_of_the_task_does_not_outlive_it(link, tmp_path):
    pid = start_daemon(link, tmp_path / "pid", stay=0)
    ended = link.wait("ended", "1.1")
    assert ended["exit_code"] == 0 and ended["stragglers"] == 1
    assert not runs(pid)


def test_one_that_is_deaf_and_stopped_is_killed(link, tmp_path):
    more = "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.kill(os.getpid(), signal.SIGSTOP) if os.fork() else None"
    start_daemon(link, tmp_path / "pid", more=more)
    link.send(op="signal", attempt="1.1", signal=9)
    link.wait("ended", "1.1")
    assert not runs(int((tmp_path / "pid").read_text()))


def test_one_that_never_stands_still(supervisor, link, tmp_path):
    """Each of them forks the next, in a session of its own, and leaves: no list of pids is true for long."""
    code = ("import os\n"
            "if os.fork() == 0:\n"
            "    while True:\n"
            "        os.setsid() if os.getpid() != os.getsid(0) else None\n"
            f"        open({str(tmp_path / 'runs')!r}, 'w').close()\n"
            "        if os.fork() != 0: os._exit(0)\n"
            "import time; time.sleep(60)\n")
    link.start("1.1", "/usr/bin/python3", "-c", code)
    wait_until((tmp_path / "runs").exists, "it runs")
    link.send(op="signal", attempt="1.1", signal=9)
    assert link.wait("ended", "1.1")["signal"] == 9
    wait_until(lambda: not folder_of(supervisor).exists(), "nobody is in its cgroup", 5)


def test_a_cgroup_below_its_own(supervisor, link, tmp_path):
    """A task may divide what it has; all of it ends, and all of it is cleared away."""
    if os.geteuid() != 0:
        pytest.skip("only root's cgroups are writable for a task of root")
    script = (f"cd {folder_of(supervisor)}/task-1.1 && mkdir -p a/b c && sleep 60 & "
              f"cd {folder_of(supervisor)}/task-1.1; while [ ! -d c ]; do sleep 0.01; done; "
              f"setsid sh -c 'echo $$ >a/b/cgroup.procs; echo $$ >{tmp_path}/pid; exec sleep 60' & "
              f"while [ ! -s {tmp_path}/pid ]; do sleep 0.01; done; exit 3")
    link.start("1.1", "sh", "-c", script)
    ended = link.wait("ended", "1.1")
    assert ended["exit_code"] == 3 and ended["stragglers"] >= 1
    assert not runs(int((tmp_path / "pid").read_text()))
    wait_until(lambda: not folder_of(supervisor).exists(), "all folders are gone")


def test_what_left_the_session_is_counted(supervisor, tmp_path):
    link = supervisor.link(usage=True)
    more = "hold = bytearray(80 << 20); end = time.process_time() + 0.5\n        while time.process_time() < end: pass"
    start_daemon(link, tmp_path / "pid", more=more)
    usage = link.until(lambda e: e["event"] == "usage" and e["attempts"][0]["cpu_seconds"] >= 0.4)["attempts"][0]
    assert usage["ram_bytes"] > 80 << 20 and usage["processes"] == 2
    link.send(op="signal", attempt="1.1", signal=9)
    ended = link.wait("ended", "1.1")
    assert ended["peak_ram_bytes"] > 80 << 20
    # The kernel's count has also those nobody has waited for.
    assert ended["cpu_seconds"] >= 0.4


def test_the_next_supervisor_finds_them(supervisor, link, tmp_path):
    pid = start_daemon(link, tmp_path / "pid")
    supervisor.kill()
    supervisor.spawn()
    again = supervisor.link()
    assert again.wait("started", "1.1")["adopted"] is True
    again.send(op="signal", attempt="1.1", signal=15)
    ended = again.wait("ended", "1.1")
    assert ended.get("signal") == 15 or ended.get("lost") is True
    assert not runs(pid)
    wait_until(lambda: not folder_of(supervisor).exists(), "nothing is left over")


def test_it_ended_while_nobody_was_there_but_left_one(supervisor, link, tmp_path):
    """The leader's pid is gone for good; its daemon is found by the cgroup alone."""
    pid = start_daemon(link, tmp_path / "pid")
    leader = link.wait("started", "1.1")["pid"]
    supervisor.kill()
    os.kill(leader, signal.SIGKILL)
    wait_until(lambda: process_state(leader) is None, "the leader is reaped", 30)
    assert runs(pid)
    supervisor.spawn()
    ended = supervisor.link().wait("ended", "1.1")
    assert ended["lost"] is True and ended["stragglers"] == 1
    assert not runs(pid)


def test_what_a_killed_supervisor_left_empty_is_cleared(supervisor, link, tmp_path):
    link.start("1.1", "sleep", "60")
    pid = link.wait("started", "1.1")["pid"]
    folder = folder_of(supervisor)
    supervisor.kill()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(pid), "the task is gone")
    other = Supervisor(tmp_path / "other")
    (tmp_path / "other").mkdir()
    other.spawn()
    try:
        wait_until(lambda: not folder.exists(), "another supervisor removes what is empty")
    finally:
        other.finish()
        supervisor.spawn()


def test_a_supervisor_started_by_a_task_leaves_its_cgroup(supervisor, link, tmp_path):
    """Else it would be ended with the task."""
    inner = Supervisor(tmp_path / "inner")
    (tmp_path / "inner").mkdir()
    command = [str(tmp_path / "run")]
    (tmp_path / "run").write_text(
        "#!/bin/sh\n"
        f"{sys.modules['supervisor_link'].BUILD}/plimsoll-supervisor --background --runtime-dir {inner.runtime} "
        f"--state-dir {inner.state}\n")
    (tmp_path / "run").chmod(0o755)
    link.start("1.1", *command)
    ended = link.wait("ended", "1.1")
    assert ended["exit_code"] == 0 and ended["stragglers"] == 0
    inner_link = inner.link()
    pid = int((inner.runtime / "supervisor.pid").read_text().split()[0])
    assert Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1].split(":")[2].find("plimsoll.") == -1
    inner_link.start("1.1", "true")
    assert inner_link.wait("ended", "1.1")["exit_code"] == 0
    os.kill(pid, signal.SIGKILL)
