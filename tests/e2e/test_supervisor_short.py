"""A machine that is short of something: processes, descriptors. Nothing is lost, it goes on when the cause goes."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from supervisor_link import Supervisor, open_way, process_state, runs, wait_until  # noqa: E402

LONELY = 61234  # a user with no process but those of these tests
AS_LONELY = {"user": LONELY, "group": LONELY, "extra_groups": []}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


@pytest.fixture
def lonely(tmp_path):
    """A supervisor of a user whose processes can be counted."""
    open_way(tmp_path)
    folder = tmp_path / "s"
    folder.mkdir()
    os.chown(folder, LONELY, LONELY)
    one = Supervisor(folder).spawn(**AS_LONELY)
    yield one
    one.finish()


def limit(supervisor, which, soft, **user):
    """Set the soft limit of the running supervisor; returns what it was. As its own user: root may lack the right."""
    pid = supervisor.process.pid
    code = (f"import resource; before, hard = resource.prlimit({pid}, {which}); "
            f"resource.prlimit({pid}, {which}, ({soft}, hard)); print(before)")
    return int(subprocess.run(["/usr/bin/python3", "-c", code], check=True, capture_output=True, **user).stdout)


@needs_root
def test_no_more_processes(lonely):
    link = lonely.link()
    link.start("1.1", "sleep", "60")
    pid = link.wait("started", "1.1")["pid"]
    before = limit(lonely, resource.RLIMIT_NPROC, 2, **AS_LONELY)
    link.start("2.1", "true")
    failed = link.wait("failed", "2.1")
    assert failed["transient"] is True and "limit of processes" in failed["text"]
    assert failed["as_task"] is failed["never_ran"] is False
    assert runs(pid) and link.list()["1.1"]["state"] == "running"
    limit(lonely, resource.RLIMIT_NPROC, before, **AS_LONELY)
    link.start("2.2", "true")
    assert link.wait("ended", "2.2")["exit_code"] == 0
    link.send(op="signal", attempt="1.1", signal=15)
    assert link.wait("ended", "1.1")["signal"] == 15


@needs_root
def test_a_user_with_too_many_processes(link):
    """The supervisor is root and may fork; exec is refused once it is the user."""
    me = {"uid": LONELY, "gid": LONELY, "groups": [], "limits": {"nproc": [1, 1]}}
    # The kernel lets one more in than the limit says: it counts before the process has changed its user.
    for attempt in ("1.1", "3.1"):
        link.start(attempt, "sleep", "60", user=me)
        link.wait("started", attempt)
    link.start("2.1", "true", user=me)
    failed = link.wait("failed", "2.1")
    assert failed["transient"] is True and "as many processes as the limit" in failed["text"]
    assert failed["as_task"] is True and failed["never_ran"] is False
    for attempt in ("1.1", "3.1"):
        link.send(op="signal", attempt=attempt, signal=9)
        link.wait("ended", attempt)
    link.start("2.2", "true", user=me)
    assert link.wait("ended", "2.2")["exit_code"] == 0


def test_no_more_descriptors(supervisor, link):
    """Whichever of the descriptors a start needs is the one too many."""
    open_now = len(os.listdir(f"/proc/{supervisor.process.pid}/fd"))
    outcomes = set()
    for more in range(10):
        attempt = f"{more}.1"
        before = limit(supervisor, resource.RLIMIT_NOFILE, open_now + more)
        link.start(attempt, "sh", "-c", "exit 6")
        event = link.until(lambda e: e.get("attempt") == attempt and e["event"] in ("failed", "ended"))
        limit(supervisor, resource.RLIMIT_NOFILE, before)
        if event["event"] == "failed":
            assert event["transient"] is True and "open files" in event["text"], event
            assert event["as_task"] is False
        else:
            assert event["exit_code"] == 6
        outcomes.add(event["event"])
    assert outcomes == {"failed", "ended"}
    link.start("ok.1", "true")
    assert link.wait("ended", "ok.1")["exit_code"] == 0
    wait_until(lambda: len(os.listdir(f"/proc/{supervisor.process.pid}/fd")) <= open_now, "none is lost")


def test_more_tasks_to_adopt_than_descriptors(supervisor, link):
    """Those that cannot be followed at once run on, and none is said to have ended that has not."""
    pids = {}
    for i in range(60):
        link.start(f"{i}.1", "sleep", "60")
    for i in range(60):
        pids[f"{i}.1"] = link.wait("started", f"{i}.1")["pid"]
    supervisor.kill()
    supervisor.spawn(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    again = supervisor.link(usage=True)
    assert {again.wait("started", attempt)["pid"] for attempt in pids} == set(pids.values())
    again.until(lambda e: e["event"] == "usage")
    assert {a["state"] for a in again.list().values()} == {"running"}
    assert all(runs(pid) for pid in pids.values())
    # As descriptors become free, the others are followed; their ends are noticed in any case.
    for attempt in pids:
        again.send(op="signal", attempt=attempt, signal=15)
    for attempt in pids:
        ended = again.wait("ended", attempt)
        assert ended.get("lost") is True or ended["signal"] == 15


def test_the_task_has_the_usual_descriptors(tmp_path):
    """The supervisor takes all it may have, for itself."""
    def usual():
        resource.setrlimit(resource.RLIMIT_NOFILE, (777, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    one = Supervisor(tmp_path).spawn(preexec_fn=usual)
    try:
        soft, hard = resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard > 777
        link, log = one.link(), tmp_path / "log"
        link.start("1.1", "sh", "-c", "ulimit -Sn; ulimit -Hn", log=str(log))
        assert link.wait("ended", "1.1")["exit_code"] == 0
        assert log.read_text().split() == ["777", str(hard)]
    finally:
        one.finish()


@pytest.mark.parametrize("number, ended_by", [(signal.SIGKILL, signal.SIGKILL), (signal.SIGTERM, signal.SIGTERM)])
def test_a_stopped_task_ends(link, number, ended_by):
    """SIGTERM alone would wait in it until somebody lets it go on."""
    link.start("1.1", "sh", "-c", "sleep 60 & kill -STOP $!; kill -STOP $$; wait")
    pid = link.wait("started", "1.1")["pid"]
    wait_until(lambda: process_state(pid) == "T", "it is stopped")
    link.send(op="signal", attempt="1.1", signal=int(number))
    assert link.wait("ended", "1.1")["signal"] == ended_by


def test_output_and_errors_keep_their_order(link, tmp_path):
    """Both are one open file: nothing is overtaken, nothing overwritten, and it is appended to what is there."""
    log = tmp_path / "log"
    log.write_text("before\n")
    link.start("1.1", "sh", "-c", "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done",
               log=str(log))
    assert link.wait("ended", "1.1")["exit_code"] == 0
    wanted = [f"{word} {i}" for i in range(500) for word in ("out", "err")]
    assert log.read_text().splitlines() == ["before"] + wanted


def test_standard_input_is_at_its_end(link, tmp_path):
    log = tmp_path / "log"
    link.start("1.1", "sh", "-c", "cat; echo $?; wc -c", log=str(log))
    assert link.wait("ended", "1.1")["exit_code"] == 0
    assert log.read_text().split() == ["0", "0"]


def test_the_umask_of_the_log_is_not_the_tasks(link, tmp_path):
    """A log is for its owner even when the task's files are for everybody, and the other way round."""
    for mask, mode in ((0, 0o666), (0o777, 0)):
        log, made = tmp_path / f"log{mask}", tmp_path / f"made{mask}"
        link.start(f"{mask}.1", "sh", "-c", f": >{made}", umask=mask, log=str(log))
        assert link.wait("ended", f"{mask}.1")["exit_code"] == 0
        assert made.stat().st_mode & 0o777 == mode
        assert log.stat().st_mode & 0o777 == 0o600
