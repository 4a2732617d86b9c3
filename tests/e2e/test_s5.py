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
    """Asks something over and over, and keeps what it was answered and when it had asked the time before."""

    def __init__(self, ask, pause):
        super().__init__(daemon=True)
        self.ask, self.pause, self.over, self.samples = ask, pause, threading.Event(), []

    def run(self):
        before = time.time()
        while not self.over.wait(self.pause):
            now = time.time()
            self.samples.append((before, self.ask()))
            before = now

    def finish(self):
        self.over.set()
        self.join()

    def since(self, at):
        return [(asked, used) for asked, used in self.samples if asked > at]


def seconds_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def first_ends_of(tasks):
    """When the first of each kind had ended well: from then on something of it is measured."""
    ends = {}
    for task in tasks:
        for attempt in task["attempts"]:
            if attempt["outcome"] == "ok":
                end = seconds_of(attempt["ended_at"])
                ends[task["kind"]] = min(ends.get(task["kind"], end), end)
    return ends


def learned_at(tasks):
    """The end of the last learning run: of those that started before their kind was measured."""
    ends = first_ends_of(tasks)
    assert len(ends) == 2, ends
    return max(
        seconds_of(attempt["ended_at"])
        for task in tasks
        for attempt in task["attempts"]
        if seconds_of(attempt["started_at"]) <= ends[task["kind"]]
    )


def test_after(simulated):
    sandbox = story(simulated)
    lines = [gpu["vram"]["load_line_bytes"] for gpu in sandbox.json("gpus")["gpus"]]  # a daemon, and its first sample

    def sampled():
        return [gpu["vram"]["used_bytes"] for gpu in sandbox.json("gpus")["gpus"]]

    def peaks():
        # The simulator misses nothing: the largest use between two questions.
        return [gpu["peak_used_bytes"] for gpu in sandbox.json("sim", "status", "--new-peaks")["gpus"]]

    samplers = [Sampler(sampled, 0.2), Sampler(peaks, 0.1)]
    for sampler in samplers:
        sampler.start()
    command = ["batch", "workers.csv", "-y", "--kind", "worker-{batch}", "--", "./worker.sh", "{batch}"]
    result = sandbox.json(*command)
    for sampler in samplers:
        sampler.finish()
    summary = result["summary"]
    assert (summary["done"], summary["failed"]) == (FULL + HALF, 0), summary
    # Both GPUs did work.
    by_gpu = {gpu["index"]: gpu["tasks"] for gpu in summary["gpus"]}
    assert by_gpu[0] >= FULL and by_gpu[1] > 0 and sum(by_gpu.values()) >= FULL + HALF, by_gpu
    tasks = sandbox.json("queue", "--all")["tasks"]
    lost = [(task["kind"], attempt) for task in tasks for attempt in task["attempts"] if attempt["outcome"] != "ok"]
    assert all(attempt["outcome"] == "oom" for _, attempt in lost)
    print(f"{len(lost)} attempts ran out of memory and were recovered; tasks by GPU: {by_gpu}")
    # Once a kind is measured none of it runs out of memory; until then one can, on the small card.
    ends = first_ends_of(tasks)
    late = [(kind, attempt) for kind, attempt in lost if seconds_of(attempt["started_at"]) > ends[kind]]
    assert late == [] and len(lost) <= 1, lost
    # And after the last run that started in ignorance nothing is above a load line.
    learned = learned_at(tasks)
    for sampler in samplers:
        samples = sampler.since(learned)
        above = [(asked - learned, used) for asked, used in samples if any(map(lambda use, line: use > line, used, lines))]
        assert above == [], (lines, above)
        assert len(samples) > 5, len(sampler.samples)
