"""The supervisor is killed, the disk fills up, pids come again: nothing runs twice, nothing is lost."""

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from supervisor_link import BUILD, Supervisor, process_state, runs, wait_until  # noqa: E402


@pytest.fixture
def supervisor(tmp_path):
    one = Supervisor(tmp_path)
    yield one
    one.finish()


def kernel_tells_exits():
    """PIDFD_GET_INFO with the exit status came with Linux 6.15."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor.split("-")[0])) >= (6, 15)


def test_a_running_one_is_adopted(supervisor, tmp_path):
    link = supervisor.spawn().link()
    flag = tmp_path / "flag"
    link.start("1.1", "sh", "-c", f"while [ ! -e {flag} ]; do sleep 0.02; done; exit 5")
    pid = link.wait("started", "1.1")["pid"]
    supervisor.kill()
    assert runs(pid)
    link = supervisor.spawn().link()
    started = link.wait("started", "1.1")
    assert started["pid"] == pid and started["adopted"] is True
    link.start("1.1", "true")  # known: nothing is started
    flag.touch()
    ended = link.wait("ended", "1.1")
    if kernel_tells_exits():
        assert ended["exit_code"] == 5
    else:
        assert ended["lost"] is True
    assert "signal" not in ended and ended["ended_at"] > ended["started_at"]


def test_an_adopted_one_takes_signals(supervisor, tmp_path):
    link = supervisor.spawn().link()
    pids = tmp_path / "pids"
    link.start("1.1", "sh", "-c", f"sleep 60 & echo $! >{pids}; wait")
    pid = link.wait("started", "1.1")["pid"]
    wait_until(lambda: pids.exists() and pids.read_text().strip(), "its child")
    supervisor.kill()
    link = supervisor.spawn().link()
    link.send(op="signal", attempt="1.1", signal=9)
    ended = link.wait("ended", "1.1")
    assert ended.get("signal") == 9 or ended.get("lost") is True
    assert not runs(pid) and not runs(int(pids.read_text()))


def test_what_ended_meanwhile_is_lost_and_never_zero(supervisor):
    link = supervisor.spawn().link()
    link.start("1.1", "sleep", "60")
    pid = link.wait("started", "1.1")["pid"]
    supervisor.kill()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: process_state(pid) is None, "it is gone")
    link = supervisor.spawn().link()
    ended = link.wait("ended", "1.1")
    assert ended["lost"] is True and "exit_code" not in ended and "signal" not in ended
    assert ended["peak_ram_bytes"] is None
    link.send(op="ack", attempt="1.1")
    assert link.list() == {}


def test_ends_survive_a_kill(supervisor):
    link = supervisor.spawn().link()
    link.start("1.1", "sh", "-c", "exit 3")
    link.start("2.1", "no-such-command")
    link.start("3.1", "true")
    link.wait("ended", "1.1")
    link.wait("failed", "2.1")
    link.wait("ended", "3.1")
    link.send(op="ack", attempt="3.1")
    link.list()
    supervisor.kill()
    link = supervisor.spawn().link()
    assert link.wait("ended", "1.1")["exit_code"] == 3
    assert "not found" in link.wait("failed", "2.1")["text"]
    assert set(link.list()) == {"1.1", "2.1"}


def test_a_pid_that_came_again_is_left_alone(supervisor):
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    supervisor.state.mkdir(mode=0o700)
    supervisor.journal.write_text(
        json.dumps({"record": "open", "version": 1, "boot": boot}) + "\n" +
        json.dumps({"record": "start", "attempt": "1.1", "pid": bystander.pid, "start_time": 12345,
                    "started_at": 1}) + "\n")
    link = supervisor.spawn().link()
    assert link.wait("ended", "1.1")["lost"] is True
    link.send(op="signal", attempt="1.1", signal=9)
    link.list()
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


@pytest.mark.parametrize("opened_since", [False, True])
def test_nothing_of_an_earlier_boot_is_adopted(supervisor, opened_since):
    """The same pid and start time, but the machine was restarted in between."""
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    start_time = int(Path(f"/proc/{bystander.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    supervisor.state.mkdir(mode=0o700)
    supervisor.journal.write_text(
        json.dumps({"record": "open", "version": 1, "boot": "another"}) + "\n" +
        json.dumps({"record": "start", "attempt": "1.1", "pid": bystander.pid, "start_time": start_time,
                    "started_at": 1}) + "\n" +
        (json.dumps({"record": "open", "version": 1,
                     "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip()}) + "\n"
         if opened_since else ""))
    assert supervisor.spawn().link().wait("ended", "1.1")["lost"] is True
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_torn_last_line_and_a_bad_one(supervisor):
    link = supervisor.spawn("--idle-exit", "0s", stderr=subprocess.PIPE).link()
    link.start("1.1", "sh", "-c", "exit 3")
    link.wait("ended", "1.1")
    link.list()
    supervisor.kill()
    with supervisor.journal.open("ab") as journal:
        journal.write(b"\x00\x01 what is this\n")
        journal.write(b'{"record": "ack", "attempt": "1.1"')
    link = supervisor.spawn(stderr=subprocess.PIPE).link()
    assert link.wait("ended", "1.1")["exit_code"] == 3
    supervisor.process.send_signal(signal.SIGTERM)
    told = supervisor.process.communicate(timeout=20)[1].decode()
    assert "supervisor.journal:4: skipped" in told and told.count("skipped") == 1


def test_the_journal_does_not_grow_for_ever(supervisor, tmp_path):
    """4 MB of starts and ends, most of it the path of a log; what has ended and was acknowledged is not kept."""
    deep = tmp_path.joinpath(*["x" * 200] * 18)
    deep.mkdir(parents=True)
    link = supervisor.spawn().link()
    largest = written = 0
    for batch in range(8):
        for i in range(125):
            link.start(f"{batch}.{i}", "no-such-command", log=f"{deep}/log")
            written += len(str(deep))
        for _ in range(125):
            event = link.until(lambda e: e["event"] == "failed")
            assert "command not found" in event["text"]
            link.send(op="ack", attempt=event["attempt"])
        link.list()
        largest = max(largest, supervisor.journal.stat().st_size)
    assert largest < 3 << 20 < written
    supervisor.kill()
    assert supervisor.spawn().link().list() == {}
    assert supervisor.journal.stat().st_size < 1000


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "s"
    disk.mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", disk],
                      capture_output=True).returncode != 0:
        pytest.skip("cannot mount a small file system here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_refuses_starts_and_keeps_ends(supervisor, small_disk):
    link = supervisor.spawn().link()
    link.start("1.1", "sleep", "60")
    link.wait("started", "1.1")
    (small_disk / "ballast").write_bytes(b"x" * 100)
    with pytest.raises(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 512)
    # The journal's last block takes a few more lines; then it is full.
    for i in range(200):
        link.start(f"2.{i}", "sh", "-c", f"echo ran >{small_disk.parent}/ran-2.{i}; sleep 60")
        event = link.until(lambda e: e.get("attempt") == f"2.{i}")
        if event["event"] == "failed":
            break
    assert event["event"] == "failed" and "No space left" in event["text"]
    link.send(op="signal", attempt="1.1", signal=15)
    assert link.wait("ended", "1.1")["signal"] == 15
    (small_disk / "ballast").unlink()
    link.start("3.1", "true")
    assert link.wait("ended", "3.1")["exit_code"] == 0
    assert not (small_disk.parent / f"ran-2.{i}").exists()
    supervisor.kill()
    assert supervisor.spawn().link().wait("ended", "1.1")["signal"] == 15


@pytest.mark.parametrize("case", ["passed over", "opened", "no gates", "an older version"])
def test_one_gone_before_its_gate_was_opened_never_ran(supervisor, case):
    link = supervisor.spawn().link()
    link.start("1.1", "true")
    link.wait("ended", "1.1")
    supervisor.kill()
    gates = supervisor.state / "supervisor.gates"
    opened = max(number for (number,) in struct.iter_unpack("=Q", gates.read_bytes()[8:]))
    gone = subprocess.Popen(["true"])
    gone.wait()
    record = {"record": "start", "attempt": "2.1", "pid": gone.pid, "start_time": 7, "started_at": 1}
    if case != "an older version":
        record["gate"] = opened + (case != "opened")
    if case == "no gates":
        gates.unlink()
    with supervisor.journal.open("a") as journal:
        journal.write(json.dumps(record) + "\n")
    for _ in range(2):  # asked again, the answer is the same
        link = supervisor.spawn().link()
        if case == "passed over":
            assert link.wait("failed", "2.1")["never_ran"] is True
        else:
            assert link.wait("ended", "2.1")["lost"] is True
        supervisor.kill()
    # The number of the gate that stayed shut is not given again.
    link = supervisor.spawn().link()
    link.start("3.1", "true")
    assert link.wait("ended", "3.1")["exit_code"] == 0
    starts = [json.loads(line) for line in supervisor.journal.read_text().splitlines()]
    given = [s["gate"] for s in starts if s["record"] == "start"]
    assert given and min(given) > max(opened, record.get("gate", 0))


@pytest.mark.parametrize("moment, opened", [("fdatasync:supervisor.journal", False), ("pwrite:supervisor.gates", True)])
def test_killed_on_either_side_of_the_gates_opening(supervisor, tmp_path, moment, opened):
    once, marks = tmp_path / "once", tmp_path / "marks"
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    link = supervisor.spawn(env={**os.environ, "LD_PRELOAD": str(BUILD / "tests/unit/libdie-at.so"), "DIE_AT": moment,
                                 "DIE_ONCE": str(once), "ASAN_OPTIONS": asan}).link()
    once.touch()
    link.start("1.1", "sh", "-c", f"echo ran >>{marks}; sleep 0.3; exit 4")
    assert supervisor.process.wait(timeout=20) == -signal.SIGKILL and not once.exists()
    link = supervisor.spawn().link()
    if opened:
        ended = link.wait("ended", "1.1")
        assert ended.get("lost") or ended["exit_code"] == 4
        assert marks.read_text() == "ran\n"
    else:
        assert link.wait("failed", "1.1")["never_ran"] is True
        assert not marks.exists()
    # Known: asked for again, it is not started again.
    link.start("1.1", "sh", "-c", f"echo again >>{marks}")
    link.list()
    assert not marks.exists() or marks.read_text() == "ran\n"


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(supervisor, tmp_path, seed):
    """Every attempt is asked for until it is known, by a client that resends after each crash: each
    runs at most once, each has an end, and whether it ran is always known: only how one ended may be lost."""
    dice = random.Random(seed)
    marks = tmp_path / "marks"
    marks.mkdir()
    attempts = [f"{i}.1" for i in range(150)]
    ended, crashes, todo = {}, 0, list(attempts)
    link = supervisor.spawn().link()
    while len(ended) < len(attempts):
        kill_at = time.monotonic() + dice.uniform(0.0, 0.12) if crashes < 15 else None
        known = {e["attempt"] for e in link.events if "attempt" in e}
        try:
            for attempt in [a for a in attempts if a not in known and a not in ended][:40]:
                script = f"echo run >>{marks}/{attempt}; sleep {dice.choice(['0', '0.05', '0.2'])}; exit 7"
                link.start(attempt, "sh", "-c", script)
            while kill_at is None or time.monotonic() < kill_at:
                timeout = 0.3 if kill_at is None else max(0.001, kill_at - time.monotonic())
                try:
                    event = link.read(timeout)
                except AssertionError:
                    break
                if event and event["event"] in ("ended", "failed"):
                    ended.setdefault(event["attempt"], event)
                    link.send(op="ack", attempt=event["attempt"])
        except (BrokenPipeError, ConnectionResetError):
            pass
        if kill_at is not None:
            supervisor.kill()
            crashes += 1
            link = supervisor.spawn().link()
            for event in link.events:
                if event["event"] in ("ended", "failed"):
                    ended.setdefault(event["attempt"], event)
                    link.send(op="ack", attempt=event["attempt"])
        elif not todo:
            break
    assert set(ended) == set(attempts)
    for attempt, event in ended.items():
        mark = marks / attempt
        times = len(mark.read_text().splitlines()) if mark.exists() else 0
        assert times == (event["event"] == "ended"), f"{attempt} ran {times} times: {event}"
        if event["event"] == "failed":
            assert event["never_ran"] is True and "before the command could run" in event["text"]
        else:
            assert event.get("lost") or event["exit_code"] == 7
    assert link.list() == {}
