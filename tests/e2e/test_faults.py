"""What the machine does to us: each is said clearly, nothing is lost, and all goes on when the cause goes."""

import contextlib
import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import time

import pytest
from api_link import CPU, Daemon, counter
from chaos_link import Witness, WITNESS
from conftest import BUILD, PATIENCE, SANITIZED, wait_until

HOUR_MS = 3600 * 1000
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Faults:
    """The preloaded library of tests/e2e/faults.c: faults that come and go while ours run."""

    def __init__(self, box):
        self.file = box.dir / "faults"
        self.file.write_bytes(bytes(64))
        self.env = {
            "LD_PRELOAD": str(BUILD / "tests/unit/libfaults.so"),
            "FAULTS": str(self.file),
            "FAULTS_FOLDER": box.env["XDG_STATE_HOME"],
            "ASAN_OPTIONS": box.env["ASAN_OPTIONS"] + ":verify_asan_link_order=0",
        }

    def set(self, shift_ms=0, write_errno=0, fork_errno=0, chdir_errno=0):
        # In place: it is mapped.
        with open(self.file, "r+b", buffering=0) as file:
            file.write(struct.pack("<qiii", shift_ms, write_errno, fork_errno, chdir_errno))


@pytest.fixture
def faults(sandbox):
    return Faults(sandbox)


def state(daemon, task):
    return daemon.get(f"/v1/tasks/{task}")["task"]["state"]


def submit_until_accepted(daemon, *command):
    def accepted():
        body = {"command": list(command), "request": CPU, "env": daemon.environment(), "cwd": "/"}
        status, answer = daemon.ask("POST", "/v1/tasks", body)
        assert status in (200, 503), answer
        return answer["task"]["id"] if status == 200 else None

    return wait_until(accepted, what="a submit to be accepted again")


# The clock


def seconds_between(attempt):
    def stamp(text):
        whole, rest = text.rstrip("Z").split(".")
        return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float("0." + rest)

    return stamp(attempt["ended_at"]) - stamp(attempt["started_at"])


def moment(in_ms):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + in_ms / 1000))


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_is_set_by_an_hour(sandbox, faults, hours):
    daemon = Daemon(sandbox, "--grace", "1s", env=faults.env)
    flag = sandbox.dir / "flag"
    runs = daemon.task("sh", "-c", f"while [ ! -e {flag} ]; do sleep 0.02; done", request=CPU)
    submitted = time.monotonic()
    wait_until(lambda: state(daemon, runs) == "running")
    faults.set(fork_errno=11)
    put_back = daemon.task("true", request=CPU)
    wait_until(lambda: len(daemon.get(f"/v1/tasks/{put_back}")["task"]["attempts"]) >= 1)
    faults.set(shift_ms=hours * HOUR_MS)
    # What waits for a moment does not wait an hour more, what is new runs at once, what runs ends.
    began = time.monotonic()
    assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"
    assert time.monotonic() - began < (10 if SANITIZED else 3)
    assert daemon.wait(put_back)["state"] == "done"
    stubborn = daemon.task("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done", request=CPU)
    wait_until(lambda: "up" in daemon.ask("GET", f"/v1/tasks/{stubborn}/log")[1])
    daemon.post(f"/v1/tasks/{stubborn}/cancel")
    faults.set(shift_ms=2 * hours * HOUR_MS)  # between its SIGTERM and its SIGKILL
    assert daemon.wait(stubborn)["state"] == "canceled"
    flag.touch()
    ended = daemon.wait(runs)
    assert ended["state"] == "done"
    # A step is noticed with the next look at the GPUs, once a second.
    took = time.monotonic() - submitted
    assert took - 4 < seconds_between(ended["attempts"][0]) <= took + 0.1, ended
    # Its own clock forgets nothing over a restart.
    daemon.kill()
    faults.set()
    daemon.start()
    assert {task["state"] for task in daemon.get("/v1/tasks")["tasks"]} == {"done", "canceled"}
    assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"


def test_a_limit_counts_time_that_passed(sandbox, faults):
    """The clock is set forward by two hours, a minute into a limit of one: while the daemon runs, and while it does not."""
    daemon = Daemon(sandbox, "--grace", "1s", env=faults.env)
    flag = sandbox.dir / "flag"
    runs = daemon.task(
        "sh", "-c", f"while [ ! -e {flag} ]; do sleep 0.02; done", request=CPU, time_limit_seconds=3600
    )
    submitted = time.monotonic()
    wait_until(lambda: state(daemon, runs) == "running")
    later = daemon.task("true", request=CPU, at=moment(HOUR_MS))

    def looked():
        """What comes now has been decided upon after the clock was set."""
        assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"
        assert state(daemon, runs) == "running"

    looked()
    faults.set(shift_ms=2 * HOUR_MS)
    looked()
    assert daemon.wait(later)["state"] == "done"  # a time of day is a time of day
    daemon.kill()
    faults.set(shift_ms=4 * HOUR_MS)
    daemon.start()
    looked()
    daemon.kill()
    faults.set(shift_ms=-4 * HOUR_MS)
    daemon.start()
    looked()
    flag.touch()
    ended = daemon.wait(runs)
    assert ended["state"] == "done"
    assert -1 < seconds_between(ended["attempts"][0]) <= time.monotonic() - submitted + 1, ended
    # The limit is there still, and is one of seconds.
    faults.set()
    short = daemon.task("sleep", "100", request=CPU, time_limit_seconds=1)
    wait_until(lambda: state(daemon, short) == "running")
    faults.set(shift_ms=-HOUR_MS)
    began = time.monotonic()
    assert "time limit" in daemon.wait(short)["reason"]
    assert time.monotonic() - began < (10 if SANITIZED else 4)


# Processes


@pytest.mark.parametrize("number", [errno.EINTR, errno.ESTALE])
def test_a_task_that_cannot_begin_is_tried_now_and_then(sandbox, faults, number):
    """Its process was there and could not enter its folder: neither the machine's fault, nor tried without a pause."""
    daemon = Daemon(sandbox, env=faults.env)
    assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"
    faults.set(chdir_errno=number)
    tasks = [daemon.task("true", request=CPU) for _ in range(2)]
    for task in tasks:
        wait_until(lambda: f"{os.strerror(number)}; tried again in" in daemon.get(f"/v1/tasks/{task}/why")["reason"],
                   what="its pause")
        assert daemon.get(f"/v1/tasks/{task}")["task"]["attempts"][-1]["outcome"] == "error"
    assert " of 40" in daemon.get(f"/v1/tasks/{tasks[0]}/why")["reason"]
    faults.set()
    assert [daemon.wait(task)["state"] for task in tasks] == ["done", "done"]


# The disk


@root_only
def test_a_disk_that_fills_up_and_is_emptied(sandbox):
    """All of it at once: the database, the journal, and the logs."""
    disk = sandbox.dir / "state"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "none", disk], check=True)
    try:
        daemon = Daemon(sandbox)
        command, notes = counter(sandbox)
        flag = sandbox.dir / "flag"
        runs = daemon.task("sh", "-c", f"while [ ! -e {flag} ]; do sleep 0.02; done; exit 4", request=CPU)
        batch = daemon.batch([command + ["0"]] * 30, CPU, threads=1, on_failure="continue")["batch"]["id"]
        wait_until(lambda: len(notes()) >= 3, what="progress")
        with pytest.raises(OSError), open(disk / "ballast", "wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        flag.touch()
        wait_until(lambda: "state cannot be written" in daemon.log.read_text(), what="the news")
        assert "full" in daemon.refused("POST", "/v1/tasks", {"command": ["true"], "request": CPU}, 503)
        daemon.kill()
        # To open the database takes a little room too: without it, it says so and leaves.
        daemon.launch()
        wait_until(lambda: daemon.process.poll() is not None or daemon.answers(), what="an answer or the end")
        if daemon.process.poll() is not None:
            assert daemon.process.returncode == 3 and "make room" in daemon.log.read_text()
        else:
            daemon.kill()
        (disk / "ballast").unlink()
        daemon.start()
        ended = daemon.wait_batch(batch)
        assert ended["batch"]["done"] == 30, [task["reason"] for task in ended["tasks"]]
        assert sorted(notes()) == sorted(f"{t['id']}.{t['attempts'][-1]['number']}" for t in ended["tasks"])
        assert daemon.wait(runs)["attempts"][0]["exit_code"] == 4
        daemon.stop()
    finally:
        for pid in sandbox.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("number, said", [(30, "read-only"), (28, "full"), (5, "I/O error")])
def test_state_that_cannot_be_written_for_a_while(sandbox, faults, number, said):
    daemon = Daemon(sandbox, env=faults.env)
    command, notes = counter(sandbox)
    flag = sandbox.dir / "flag"
    runs = daemon.task("sh", "-c", f"while [ ! -e {flag} ]; do sleep 0.02; done; exit 4", request=CPU)
    batch = daemon.batch([command + ["0.05"]] * 12, CPU, threads=2, on_failure="continue")["batch"]["id"]
    wait_until(lambda: len(notes()) >= 2, what="progress")
    faults.set(write_errno=number)
    flag.touch()
    assert said in daemon.refused("POST", "/v1/tasks", {"command": ["true"], "request": CPU}, 503)
    assert daemon.get("/v1/status")["queue"]
    before = len(notes())
    time.sleep(1)  # nothing that is not on record is started: there is nothing to wait for
    assert len(notes()) <= before + 2
    assert daemon.log.read_text().count("state cannot be written") == 1
    faults.set()
    ended = daemon.wait_batch(batch)
    assert ended["batch"]["done"] == 12, [task["reason"] for task in ended["tasks"]]
    assert len(notes()) == 12 and len({note.split(".")[0] for note in notes()}) == 12
    assert daemon.wait(runs)["attempts"][0]["exit_code"] == 4
    assert daemon.wait(submit_until_accepted(daemon, "true"))["state"] == "done"


@root_only
def test_a_state_folder_that_is_mounted_read_only(sandbox):
    """Files that are open stay writable, new ones (logs) cannot be made: nothing fails for it, and no daemon starts."""
    daemon = Daemon(sandbox)
    assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"
    folder = daemon.state
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        waits = submit_until_accepted(daemon, "true")
        wait_until(lambda: "ead-only" in (daemon.get(f"/v1/tasks/{waits}/why")["reason"] or ""), what="the reason")
        time.sleep(2)
        assert state(daemon, waits) in ("waiting", "starting"), daemon.get(f"/v1/tasks/{waits}")
        daemon.kill()
        started = sandbox.plimsoll("serve", check=3)
        assert "read-only" in started.stderr and str(folder) in started.stderr
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    daemon.start()
    assert daemon.wait(waits)["state"] == "done"


# Processes and descriptors


def supervisor_limit(daemon, what, soft):
    pid = wait_until(lambda: daemon.supervisor_pid(), what="the supervisor")
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    return lambda: resource.prlimit(pid, what, before)


@root_only
def test_no_more_processes_for_a_while(sandbox):
    """RLIMIT_NPROC, for a user of its own: nobody else's processes count."""
    user = 54321
    for path in (sandbox.dir, *sandbox.dir.iterdir()):
        os.chown(path, user, user)
    sandbox.env["PATH"] = f"{BUILD}:/usr/bin:/bin"
    daemon = Daemon(sandbox, user=user, group=user, extra_groups=[])
    command, notes = counter(sandbox)
    os.chmod(sandbox.dir / "notes", 0o666)
    first = daemon.task(*command, "0", request=CPU)
    assert daemon.wait(first)["state"] == "done"
    # Only that user may change the limits of its processes, where root has no CAP_SYS_RESOURCE.
    def limit(soft):
        subprocess.run(["prlimit", "--pid", str(daemon.supervisor_pid()), f"--nproc={soft}:"], check=True,
                       user=user, group=user, extra_groups=[])

    limit(1)
    tasks = [daemon.task(*command, "0", request=CPU) for _ in range(5)]
    wait_until(lambda: "limit of processes" in daemon.get(f"/v1/tasks/{tasks[0]}/why")["reason"], what="the reason")
    # Longer than the pauses of as many tries as a lost GPU gets (1 + 2 + 4 s): there is no last one.
    time.sleep(8)
    assert {state(daemon, task) for task in tasks} <= {"waiting", "starting"}
    limit(1000)
    assert {daemon.wait(task)["state"] for task in tasks} == {"done"}
    assert len(notes()) == 6


def test_no_more_descriptors_in_the_supervisor(sandbox):
    daemon = Daemon(sandbox)
    command, notes = counter(sandbox)
    assert daemon.wait(daemon.task(*command, "0", request=CPU))["state"] == "done"
    pid = daemon.supervisor_pid()
    restore = supervisor_limit(daemon, resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{pid}/fd")) + 1)
    tasks = [daemon.task(*command, "0", request=CPU) for _ in range(5)]
    wait_until(lambda: "open files" in daemon.get(f"/v1/tasks/{tasks[0]}/why")["reason"], what="the reason")
    restore()
    assert {daemon.wait(task)["state"] for task in tasks} == {"done"}
    assert len(notes()) == 6


def test_a_daemon_with_few_descriptors(sandbox):
    """A crowd takes them all: it is refused or waits, the daemon does not spin, and running goes on."""
    daemon = Daemon(sandbox, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    command, notes = counter(sandbox)
    batch = daemon.batch([command + ["0.05"]] * 20, CPU, threads=1)["batch"]["id"]
    with contextlib.ExitStack() as crowd:
        for _ in range(100):
            one = crowd.enter_context(socket.socket(socket.AF_UNIX))
            one.settimeout(1)
            with contextlib.suppress(OSError):
                one.connect(str(daemon.socket))
        at = cpu_seconds(daemon.process.pid)
        wait_until(lambda: len(notes()) == 20, what="the batch to run on")
        assert cpu_seconds(daemon.process.pid) - at < (3 if SANITIZED else 0.5)
        assert daemon.wait_batch(batch)["batch"]["done"] == 20
    assert daemon.wait_batch(batch)["batch"]["done"] == 20
    assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# The database


def test_somebody_else_holds_the_database(sandbox):
    daemon = Daemon(sandbox)
    flag = sandbox.dir / "flag"
    runs = daemon.task("sh", "-c", f"while [ ! -e {flag} ]; do sleep 0.02; done; exit 4", request=CPU)
    wait_until(lambda: state(daemon, runs) == "running")
    browser = sqlite3.connect(daemon.state / "state.db", isolation_level=None)
    browser.execute("BEGIN IMMEDIATE")
    flag.touch()
    assert "locked" in daemon.refused("POST", "/v1/tasks", {"command": ["true"], "request": CPU}, 503)
    # Meanwhile it answers whoever only asks.
    slowest = 0
    for _ in range(30):
        began = time.monotonic()
        daemon.get("/v1/status")
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.1)
    assert slowest < (2 if SANITIZED else 0.5), f"{slowest:.2f} s for a status"
    browser.execute("ROLLBACK")
    browser.close()
    assert daemon.wait(runs)["attempts"][0]["exit_code"] == 4
    assert daemon.wait(submit_until_accepted(daemon, "true"))["state"] == "done"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_corrupt_page(sandbox):
    """A page is overwritten in a copy, one after the other: the daemon refuses, says what to do, and changes nothing."""
    daemon = Daemon(sandbox)
    command = ["sh", "-c", "true", "x" * 500]
    done = daemon.batch([command] * 30, CPU, threads=8)["batch"]["id"]
    daemon.wait_batch(done)
    daemon.batch([["sleep", "60"]] + [command] * 40, CPU, threads=1)
    daemon.stop()
    whole = (daemon.state / "state.db").read_bytes()
    page = struct.unpack(">H", whole[16:18])[0]
    assert not (daemon.state / "state.db-wal").exists(), "all is in the one file"
    dice = random.Random(1)
    refused = 0
    pages = list(range(len(whole) // page))
    for number in pages if len(pages) < 12 else dice.sample(pages, 12):
        box = sandbox.dir / "copy"
        shutil.rmtree(box, ignore_errors=True)
        (box / "run").mkdir(parents=True, mode=0o700)
        (box / "plimsoll").mkdir(mode=0o700)
        broken = bytearray(whole)
        broken[number * page : (number + 1) * page] = dice.randbytes(page)
        database = box / "plimsoll/state.db"
        database.write_bytes(broken)
        before = digest(database)
        env = {"XDG_STATE_HOME": str(box), "XDG_RUNTIME_DIR": str(box / "run")}
        started = sandbox.run("timeout", "--signal=KILL", "10", BUILD / "plimsoll", "serve", env=env)
        assert started.returncode == 3, f"page {number}: {started}"
        assert "damaged" in started.stderr and ".recover" in started.stderr and str(database) in started.stderr
        assert digest(database) == before, f"page {number} was written over"
        refused += 1
    assert refused


# The supervisor's journal


@pytest.mark.parametrize("damage", ["emptied", "cut", "zeros", "noise", "gone"])
def test_a_damaged_journal(sandbox, damage):
    """What ran is lost (nobody can say how it ends) and, without being asked for, not started a second time."""
    daemon = Daemon(sandbox)
    witness = Witness(sandbox.dir / "witness")
    tasks = [daemon.task(WITNESS, witness.path, "1.5", "0", request=CPU, retries=1) for _ in range(6)]
    wait_until(lambda: len(witness.read()) == 6, what="all to run")
    daemon.kill()
    os.kill(daemon.supervisor_pid(), signal.SIGKILL)
    journal = daemon.state / "supervisor.journal"
    data, dice = journal.read_bytes(), random.Random(damage)
    if damage == "gone":
        journal.unlink()
    else:
        middle = len(data) // 2
        journal.write_bytes({"emptied": b"", "cut": data[:middle], "zeros": data[:middle] + bytes(len(data) - middle),
                             "noise": data[:middle] + dice.randbytes(len(data) - middle)}[damage])
    daemon.start()
    late = daemon.task("true", request=CPU)
    assert daemon.wait(late)["state"] == "done"
    for task in tasks:
        ended = daemon.wait(task)
        assert ended["state"] in ("done", "lost"), ended
    ran = witness.read()
    times = sorted((start, end, name) for name, all_runs in ran.items() for start, end, _ in all_runs)
    for task in tasks:
        own = [entry for entry in times if entry[2].startswith(f"{task}.")]
        assert all(a[1] is not None and a[1] <= b[0] for a, b in zip(own, own[1:])), f"twice at once: {own}"
