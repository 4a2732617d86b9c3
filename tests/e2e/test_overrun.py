"""Who uses more VRAM than he was granted: stopped before a neighbour fails, let be while there is room.

PLIMSOLL_OVERRUN_ROUNDS=50 plays more of the pairs (`make soak` does).
"""

import datetime
import os
import random

import pytest
from api_link import SIMTASK, Daemon
from conftest import wait_until

GIB = 1 << 30
ROUNDS = int(os.environ.get("PLIMSOLL_OVERRUN_ROUNDS", "5"))
AT_ONCE = 5


def timestamp(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def attempt(daemon, task):
    """Its first one; None before that."""
    return next(iter(daemon.get(f"/v1/tasks/{task}")["task"]["attempts"]), None)


def play(daemon, gpu, luck):
    """A task that grows past its grant beside one that takes all it was promised late. (greedy, neighbour)"""
    rate, grant, promised = luck.uniform(0.4, 0.8), luck.uniform(0.8, 2), luck.uniform(3, 5)
    danger = (7.6 - promised) / rate  # when both together come to the load line
    grown, late = 7.8, max(0.5, danger * luck.uniform(0.5, 1.5))
    request = {"pin": str(gpu)}
    greedy = daemon.task(
        SIMTASK, "--vram", f"{grown}G", "--ramp", f"{grown / rate:.1f}", "--seconds", "60", "--util", "10",
        name="greedy", request={**request, "vram_bytes": int(grant * GIB)},
    )  # fmt: skip
    neighbour = daemon.task(
        "sh", "-c",
        f"{SIMTASK} --vram 400M --seconds {late:.2f} --util 10 && exec {SIMTASK} --vram {promised - 0.1:.2f}G --seconds 0.5",
        name="neighbour", request={**request, "vram_bytes": int(promised * GIB)},
    )  # fmt: skip
    return greedy, neighbour


def test_a_neighbour_gets_what_it_was_promised(simulated):
    luck = random.Random(int(os.environ.get("PLIMSOLL_SEED", "1")))
    daemon = Daemon(simulated(gpus=",".join(["any:8G:1.0"] * AT_ONCE)))
    good = stopped = 0
    for first in range(0, ROUNDS, AT_ONCE):
        pairs = [play(daemon, gpu, luck) for gpu in range(min(AT_ONCE, ROUNDS - first))]
        for greedy, neighbour in pairs:
            ended = daemon.wait(neighbour)
            good += ended["state"] == "done" and len(ended["attempts"]) == 1
            one = attempt(daemon, greedy)
            if one["outcome"]:
                assert one["outcome"] == "oom" and one["overrun"] is True, one
                stopped += 1
            daemon.ask("POST", f"/v1/tasks/{greedy}/cancel")
        for greedy, _ in pairs:
            daemon.wait(greedy)
    print(f"the neighbour got what it was promised {good} of {ROUNDS} times; {stopped} times the other was stopped for it")
    assert good == ROUNDS and stopped > ROUNDS // 3


def test_what_fits_is_only_said(two_gpus):
    daemon = Daemon(two_gpus)
    task = daemon.task(SIMTASK, "--vram", "4G", "--seconds", "2", "--util", "10", request={"vram_bytes": GIB, "pin": "0"})
    wait_until(lambda: (attempt(daemon, task) or {}).get("overrun"), what="its overrun")
    assert daemon.wait(task)["state"] == "done"
    assert f"task {task} uses 4 GiB of 1 GiB granted on GPU 0" in daemon.log.read_text()


@pytest.mark.parametrize("how", ["warn", "stop"])
def test_what_its_owner_wants(two_gpus, how):
    daemon = Daemon(two_gpus)
    terms = ("--vram", "1G", "--on-overrun", how, "--on-oom", "fail")
    two_gpus.plimsoll("submit", *terms, "--", SIMTASK, "--vram", "4G", "--seconds", "2.5", check=0)
    ended = daemon.wait(1)
    assert ended["on_overrun"] == how and ended["attempts"][0]["overrun"] is True
    if how == "warn":
        assert ended["state"] == "done" and ended["attempts"][0]["outcome"] == "ok"
    else:
        assert ended["attempts"][0]["outcome"] == "oom"
        assert 3 * GIB < ended["attempts"][0]["peak_vram_bytes"] <= 4 * GIB
        stopped = ended["attempts"][0]["stopped"]
        assert stopped.startswith("used ") and stopped.endswith(" of 1 GiB granted (--on-overrun stop)"), stopped
        queue, shown = (two_gpus.plimsoll(*verb, check=0).stdout for verb in (("queue", "--all"), ("show", 1)))
        assert f"stopped: {stopped}" in queue and f"stopped  {stopped}" in shown, queue + shown
        profile = two_gpus.plimsoll("profile", "show", ended["kind"], check=0).stdout
        assert ", more than it was granted" in profile and "ran out of memory" not in queue + shown + profile, profile


def test_ram_and_what_the_machine_wants(sandbox):
    """`overrun` of plimsoll.yaml is for who says nothing himself; RAM counts as VRAM does."""
    config = sandbox.dir / "config" / "plimsoll"
    config.mkdir()
    (config / "plimsoll.yaml").write_text("overrun: {on_overrun: stop}\n")
    daemon = Daemon(sandbox)
    hungry = (SIMTASK, "--device", "cpu", "--ram", "600M", "--cpu-seconds")
    request = {"cpu": "only", "ram_bytes": 200 << 20, "cpus": 0.1}
    silent = daemon.task(*hungry, 60, on_oom="fail", request=request)
    said = daemon.task(*hungry, 60, on_oom="fail", request=request, on_overrun="warn")
    ended = daemon.wait(silent)
    assert ended["on_overrun"] == "stop" and ended["attempts"][0]["outcome"] == "host-oom", ended
    assert "stopped: used " in ended["reason"] and "of 200 MiB of host memory granted, and --on-overrun is stop" in ended["reason"]
    wait_until(lambda: (attempt(daemon, said) or {}).get("overrun"), what="its overrun")
    warned = daemon.get(f"/v1/tasks/{said}")["task"]
    assert warned["on_overrun"] == "warn" and warned["state"] == "running", warned
    daemon.ask("POST", f"/v1/tasks/{said}/cancel")


def test_kinds_never_measured_do_not_start_in_a_crowd(two_gpus):
    """Four that would fit at once by their word: two run, the others when what those use has settled."""
    daemon = Daemon(two_gpus)
    tasks = [
        daemon.task(SIMTASK, "--vram", "2G", "--seconds", "6", "--util", "5", kind="new", request={"vram_bytes": 2 * GIB, "pin": "0"})
        for _ in range(4)
    ]
    wait_until(lambda: attempt(daemon, tasks[1]), what="the second")
    assert f"runs the first of its kind 'new' (task {tasks[0]}): it waits until that has shown" in str(daemon.get(f"/v1/tasks/{tasks[3]}/why"))
    ended = [daemon.wait(task)["attempts"] for task in tasks]
    started = [timestamp(one[0]["started_at"]) for one in ended]
    first_end = min(timestamp(one[0]["ended_at"]) for one in ended)
    assert all(len(one) == 1 for one in ended)
    assert started[1] - started[0] < 1 <= started[2] - started[0] + 0.1
    assert max(started) < first_end, "they wait until it has settled, not until it has ended"
    # From now on the kind is known.
    crowd = [
        daemon.task(SIMTASK, "--vram", "2G", "--seconds", "2", "--util", "5", kind="new", request={"vram_bytes": 2 * GIB, "pin": "0"})
        for _ in range(4)
    ]
    again = [timestamp(daemon.wait(task)["attempts"][0]["started_at"]) for task in crowd]
    assert max(again) - min(again) < 1
