"""S5 of DESIGN.md, replayed: 23.57 and 8 GiB, workers that want 8.84 GiB, nobody says how much anything needs."""

import datetime
import threading
import time

from conftest import BUILD

GPUS = "big:23.57G:1.0,small:8G:0.4"
# What a worker holds at a batch size; its last allocation is the one the story's error names.
WORKER = f"""#!/bin/sh
case $1 in 16) vram=8.84G ;; 8) vram=4.5G ;; esac
exec {BUILD}/plimsoll-simtask --vram $vram --ramp 0.2 --seconds 0.6 --util 30
"""
FULL, HALF = 28, 12


def story(simulated):
    sandbox = simulated(gpus=GPUS)
    sandbox.file("worker.sh", WORKER).chmod(0o755)
    # 40 workers. Those of the small card's node were started with half the batch: at 16 no worker fits there, ever.
    rows = [16] * FULL + [8] * HALF
    sandbox.file("workers.csv", "batch\n" + "".join(f"{batch}\n" for batch in rows))
    return sandbox


def test_before(simulated):
    """Round-robin, each worker where its turn comes, and nobody asks what is free."""
    sandbox = story(simulated)
    workers = [
        sandbox.start(sandbox.dir / "worker.sh", "16", env={"CUDA_VISIBLE_DEVICES": str(turn % 2), "PLIMSOLL_DEVICE": "cuda:0"})
        for turn in range(8)
    ]  # fmt: skip
    said = [worker.communicate(timeout=30)[1] for worker in workers]
    died = [turn for turn, worker in enumerate(workers) if worker.returncode != 0]
    assert set(died) >= {1, 3, 5, 7}, died  # on the small card all of them
    assert any(turn % 2 == 0 for turn in died), died  # and the big one has room for two of four
    assert all("out of memory" in said[turn].lower() for turn in died), said


class Sampler(threading.Thread):
    """What the daemon says of the GPUs, five times a second."""

    def __init__(self, sandbox):
        super().__init__(daemon=True)
        self.sandbox, self.over, self.samples = sandbox, threading.Event(), []

    def run(self):
        while not self.over.wait(0.2):
            gpus = self.sandbox.json("gpus")["gpus"]
            self.samples.append((time.time(), [(gpu["vram"]["used_bytes"], gpu["vram"]["load_line_bytes"]) for gpu in gpus]))

    def above(self, since):
        return [(at, index) for at, gpus in self.samples if at > since for index, (used, line) in enumerate(gpus) if used > line]


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_after(simulated):
    sandbox = story(simulated)
    sandbox.json("gpus")  # a daemon, and its first sample
    sampler = Sampler(sandbox)
    sampler.start()
    command = ["batch", "workers.csv", "-y", "--kind", "worker-{batch}", "--", "./worker.sh", "{batch}"]
    result = sandbox.json(*command)
    sampler.over.set()
    sampler.join()
    summary = result["summary"]
    assert (summary["done"], summary["failed"]) == (FULL + HALF, 0), summary
    # Both GPUs did work.
    by_gpu = {gpu["index"]: gpu["tasks"] for gpu in summary["gpus"]}
    assert by_gpu[0] >= FULL and by_gpu[1] > 0 and sum(by_gpu.values()) >= FULL + HALF, by_gpu
    tasks = sandbox.json("queue", "--all")["tasks"]
    lost = [attempt for task in tasks for attempt in task["attempts"] if attempt["outcome"] != "ok"]
    assert all(attempt["outcome"] == "oom" for attempt in lost)
    print(f"{len(lost)} attempts ran out of memory and were recovered; tasks by GPU: {by_gpu}")
    # Nothing is known of either kind until one of it has ended; from then on no sample is above a load line.
    first_ends = {}
    for task in tasks:
        for attempt in task["attempts"]:
            if attempt["outcome"] == "ok":
                end = seconds_of(attempt["ended_at"])
                first_ends[task["kind"]] = min(first_ends.get(task["kind"], end), end)
    learned = max(first_ends.values())
    assert len(first_ends) == 2 and sampler.above(learned) == [], (learned, sampler.above(learned))
    assert sum(at > learned for at, _ in sampler.samples) > 10
