"""What the queue costs: starts, submits, memory, restart, listing, idling; each figure beside its target.

    /usr/bin/python3 tests/bench/queue_costs.py [starts] [queued] [idle] [--tasks 1000] [--queued 100000] [--window 20]

The method is in tests/bench/README.md. Ends with 1 when a target is missed; a tool that is not installed is left out
of the comparison and said so."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from api_link import Daemon  # noqa: E402
from conftest import BUILD, Sandbox, wait_until  # noqa: E402

ROUNDS = 3
AT_ONCE = 16
MIB = 2**20
TICKS = os.sysconf("SC_CLK_TCK")


class Table:
    def __init__(self):
        self.failed = False

    def section(self, title):
        print(f"\n{title}", flush=True)

    def row(self, name, value, unit, most=None, least=None):
        """`most`, `least`: the target, when there is one."""
        verdict = ""
        if most is not None or least is not None:
            good = value <= most if most is not None else value >= least
            self.failed |= not good
            target = f"<= {most:g}" if most is not None else f">= {least:g}"
            verdict = f"target {target:<10} {'PASS' if good else 'FAIL'}"
        print(f"  {name:<52} {value:>12,.3f} {unit:<10} {verdict}".rstrip(), flush=True)


# What processes use


def memory(pids):
    """Sums over the processes, in bytes: resident, and each shared page divided by its sharers."""
    rss = pss = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                rss += int(line.split()[1]) * 1024
            elif line.startswith("Pss:"):
                pss += int(line.split()[1]) * 1024
    return rss, pss


def peak_memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def cpu_seconds(pids):
    fields = [pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(f[11]) + int(f[12]) for f in fields) / TICKS


def name_of(pid):
    return pathlib.Path(os.readlink(f"/proc/{pid}/exe")).name


def ours(box, daemon):
    """The daemon, its supervisor and its NVML helper: no verb, no task, and not the simulator."""
    found = {"daemon": daemon.process.pid, "supervisor": daemon.supervisor_pid()}
    for pid in pathlib.Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split():
        if name_of(pid) == "plimsoll-nvml":
            found["NVML helper"] = int(pid)
    return found


# Starts


def timed(call):
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


def spawn_loop(n):
    done = subprocess.run([BUILD / "tests/bench/spawn_loop", str(n), str(AT_ONCE), "true"], capture_output=True, check=True)
    return float(done.stdout)


def gnu_parallel(box, n):
    lines = "\n".join(map(str, range(n)))
    return timed(lambda: box.run("parallel", f"-j{AT_ONCE}", "true #", input=lines, check=0))


def task_spooler(box, n):
    """One client a task, as its users do; the last -w waits in line behind all others."""
    box.env["TS_SOCKET"] = str(box.dir / "tsp.sock")
    box.env["TS_MAXFINISHED"] = "10"
    box.run("tsp", "-S", str(AT_ONCE), check=0)
    script = f"i=0; while [ $i -lt {n} ]; do tsp -n true >/dev/null; i=$((i+1)); done; tsp -w $(tsp -n true)"
    seconds = timed(lambda: box.run("sh", "-c", script, check=0, timeout=300))
    box.run("tsp", "-K")
    return seconds


def plimsoll_batch(box, n, *options):
    rows = box.file("rows.txt", "\n".join(map(str, range(n))) + "\n")
    seconds = timed(lambda: box.plimsoll("batch", rows, "--yes", *options, "--", "true", check=0, timeout=300))
    batch = box.json("queue", "--limit", "1")["tasks"][0]["batch"]
    ended = box.json("wait", f"b{batch}")["batch"]
    assert ended["done"] == n, ended
    return seconds


def least(call):
    return min(call() for _ in range(ROUNDS))


def put_by(daemon, folder):
    """Thousands of logs deleted now would slow the creation of the next ones: ext4 steps over fresh holes."""
    (daemon.state / "logs").rename(pathlib.Path(folder) / daemon.box.dir.name)


def measure_plimsoll(table, n, loop, later, title, gpus, *options):
    box = Sandbox()
    try:
        if gpus:
            box.simulate(gpus=gpus)
        daemon = Daemon(box)
        plimsoll_batch(box, 10, *options)  # the supervisor is started by the first task
        pids = ours(box, daemon).values()
        before = cpu_seconds(pids)
        seconds = least(lambda: plimsoll_batch(box, n, *options))
        cpu = (cpu_seconds(pids) - before) / ROUNDS
        daemon.stop()
        put_by(daemon, later)
    finally:
        box.close()
    table.row(f"plimsoll batch, {title}", seconds / n * 1e3, "ms a task")
    table.row("  over the spawn loop", (seconds - loop) / n * 1e3, "ms a task", most=1)
    table.row("  starts", n / seconds, "per s", least=1000)
    table.row("  CPU of our own processes", cpu / n * 1e3, "ms a task")


def starts(table, n):
    with tempfile.TemporaryDirectory() as later:
        compare_starts(table, n, later)


def compare_starts(table, n, later):
    table.section(f"`true` x {n}, {AT_ONCE} at a time, best of {ROUNDS}")
    loop = least(lambda: spawn_loop(n))
    table.row("posix_spawn + wait loop", loop / n * 1e3, "ms a task")
    table.row("  starts: what this machine can do at all", n / loop, "per s")
    for tool, run in (("parallel", gnu_parallel), ("tsp", task_spooler)):
        if not shutil.which(tool):
            print(f"  {tool} is not installed: sh tools/deps.sh bench")
            continue
        box = Sandbox()
        try:
            table.row(f"{'GNU parallel' if tool == 'parallel' else 'task-spooler'}", least(lambda: run(box, n)) / n * 1e3, "ms a task")
        finally:
            box.close()
    at_once = ("--threads", str(AT_ONCE))
    measure_plimsoll(table, n, loop, later, "no GPU, --cpu only", None, "--cpu", "only", *at_once)
    measure_plimsoll(table, n, loop, later, "no GPU, --cpu only, all at once", None, "--cpu", "only")
    measure_plimsoll(table, n, loop, later, "2 simulated GPUs, --cpu only", "rtx-3090,rtx-3070", "--cpu", "only", *at_once)
    measure_plimsoll(table, n, loop, later, "2 simulated GPUs, --vram 100M", "rtx-3090,rtx-3070", "--vram", "100M", *at_once)


# A long queue


def listing_seconds(box):
    """Until `plimsoll queue --json | head -c 1000` has ended."""
    return timed(lambda: box.run("sh", "-c", f"{BUILD}/plimsoll queue --limit 100000 --json | head -c 1000 >/dev/null"))


def restart_seconds(daemon, n):
    daemon.kill()
    begin = time.monotonic()
    with open(daemon.log, "a") as log:
        daemon.process = daemon.box.start(BUILD / "plimsoll", "serve", stderr=log)
    answer = wait_until(daemon.answers, what="the daemon")
    seconds = time.monotonic() - begin
    assert answer["queue"]["waiting"] + answer["queue"]["running"] + answer["queue"]["starting"] == n, answer
    return seconds


def queued(table, n):
    table.section(f"{n:,} tasks in one batch, one running, the rest waiting")
    box = Sandbox()
    try:
        daemon = Daemon(box)
        box.plimsoll("run", "--cpu", "only", "--", "true", check=0)
        rows = box.file("rows.txt", "".join(f"/data/recordings/{i:06}.wav\n" for i in range(n)))
        command = ["batch", rows, "--detach", "--cpu", "only", "--threads", "1", "--", "sh", "-c", "sleep 86400", "{line}"]
        empty = memory([daemon.process.pid])[0]
        before = cpu_seconds([daemon.process.pid])
        seconds = timed(lambda: box.plimsoll(*command, check=0, timeout=600))
        table.row("submit, client and daemon, durable", n / seconds, "tasks/s", least=20000)
        table.row("  CPU of the daemon", (cpu_seconds([daemon.process.pid]) - before) / n * 1e6, "us a task")
        wait_until(lambda: daemon.get("/v1/status")["queue"]["running"] == 1)
        full = memory([daemon.process.pid])[0]
        table.row("memory of the daemon after it", full / MIB, "MiB", most=100)
        table.row("  a queued task", (full - empty) / n, "bytes")
        table.row("  its peak, while the request was being read", peak_memory(daemon.process.pid) / MIB, "MiB")
        table.row("queue --json | head -c 1000", least(lambda: listing_seconds(box)), "s", most=0.5)
        restart = restart_seconds(daemon, n)
        table.row("restart until it answers", restart, "s", most=2)
        table.row("memory of the daemon after a restart", memory([daemon.process.pid])[0] / MIB, "MiB", most=100)
        table.row("  its peak, while it started", peak_memory(daemon.process.pid) / MIB, "MiB")
        daemon.stop()
    finally:
        box.close()


# Idling


def idle(table, window):
    table.section(f"idle: 8 simulated GPUs sampled each second, {window} s")
    box = Sandbox()
    try:
        box.simulate(gpus=",".join(["rtx-3090"] * 8))
        daemon = Daemon(box)
        box.plimsoll("run", "--cpu", "only", "--", "true", check=0)
        box.plimsoll("gpus", check=0)
        time.sleep(3)  # the quiet that is measured: nothing is waited for
        pids = ours(box, daemon)
        assert set(pids) == {"daemon", "supervisor", "NVML helper"}, pids
        before = {name: cpu_seconds([pid]) for name, pid in pids.items()}
        time.sleep(window)
        each = {name: cpu_seconds([pid]) - before[name] for name, pid in pids.items()}
        used = sum(each.values())
        for name, pid in pids.items():
            rss, pss = memory([pid])
            table.row(f"{name}: CPU", each[name] / window * 100, "% of a core")
            table.row(f"{name}: RSS", rss / MIB, "MiB")
            table.row(f"{name}: PSS, shared pages divided", pss / MIB, "MiB")
        rss, pss = memory(pids.values())
        table.row("CPU of all three", used / window * 100, "% of a core", most=0.5)
        table.row("RSS of all three, shared pages counted thrice", rss / MIB, "MiB", most=12)
        table.row("PSS of all three", pss / MIB, "MiB", most=12)
        daemon.stop()
    finally:
        box.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="*", help="starts, queued, idle; all of them when none is named")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--queued", type=int, default=100000)
    parser.add_argument("--window", type=float, default=20)
    given = parser.parse_args()
    table = Table()
    for name, measure, size in (("starts", starts, given.tasks), ("queued", queued, given.queued), ("idle", idle, given.window)):
        if not given.sections or name in given.sections:
            measure(table, size)
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
