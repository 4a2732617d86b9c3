"""The night of wrong_requests.c at small scale, for real: daemon, supervisor and simulated GPUs, beside perfect requests.
Three of the kinds keep to the share they are told, as JAX and vLLM do, and say no more when they reach it than which step failed.

    /usr/bin/python3 tests/bench/wrong_requests_live.py [--tasks 60] [--seed 1]

Ends with 1 when a task does not end well, or a kind loses more than one attempt."""

import argparse
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from conftest import BUILD, Sandbox  # noqa: E402

KINDS = 10
KEEPING = (4, 5, 6)  # one declared too large, two too small
GPUS = "big:23.57G:1.0,small:8G:0.4"


def kinds_of(seed):
    """(name, GiB it holds, GiB it declares, seconds, utilisation) of each; every other one is declared too small."""
    luck = random.Random(seed)
    for number in range(KINDS):
        peak = luck.uniform(8, 14) if number < 2 else luck.uniform(0.8, 6.5)
        wrong = peak * (luck.uniform(0.4, 0.8) if number % 2 == 0 else luck.uniform(1.05, 1.5))
        yield f"kind-{number}", peak, wrong, luck.uniform(0.5, 2), luck.randint(15, 70)


def night(kinds, tasks, perfect):
    """Wall seconds, tasks that ended well, attempts lost by kind."""
    box = Sandbox()
    try:
        box.simulate(gpus=GPUS)
        rows = ["name,peak,tensor,vram,seconds,util,keep"]
        for number in range(tasks):
            name, peak, wrong, seconds, util = kinds[number % KINDS]
            keep = "--keep-fraction" if number % KINDS in KEEPING else "--"  # the end of the options
            rows.append(f"{name},{peak:.3f}G,{0.4 * peak:.3f}G,{peak * 1.05 if perfect else wrong:.3f}G,{seconds:.2f},{util},{keep}")
        box.file("rows.csv", "\n".join(rows) + "\n")
        box.json("gpus")
        begin = time.monotonic()
        box.plimsoll(
            "batch", "rows.csv", "-y", "--vram", "{vram}", "--kind", "{name}", "--", BUILD / "plimsoll-simtask", "--vram", "{peak}", "--tensor", "{tensor}",
            "--ramp", "0.3", "--seconds", "{seconds}", "--util", "{util}", "{keep}",
            timeout=1200,
        )  # fmt: skip
        wall = time.monotonic() - begin
        all_tasks = box.json("queue", "--all")["tasks"]
    finally:
        box.close()
    lost = dict.fromkeys((kind[0] for kind in kinds), 0)
    for task in all_tasks:
        lost[task["kind"]] += sum(attempt["outcome"] != "ok" for attempt in task["attempts"])
    return wall, sum(task["state"] == "done" for task in all_tasks), lost


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    kinds = list(kinds_of(options.seed))
    wall, done, lost = night(kinds, options.tasks, False)
    perfect, perfect_done, _ = night(kinds, options.tasks, True)
    most = max(lost.values())
    good = done == perfect_done == options.tasks and most <= 1
    print(f"live: {done} of {options.tasks} tasks ended well, {sum(lost.values())} attempts lost, at most {most} of a kind")
    print("      " + ", ".join(f"{name} {count}" for name, count in lost.items() if count))
    print(f"      {wall:.1f} s, with perfect requests {perfect:.1f} s ({100 * (wall / perfect - 1):+.0f} %)")
    print("PASS" if good else "FAIL")
    sys.exit(not good)


main()
