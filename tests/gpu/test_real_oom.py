"""Out of memory for real: a CUDA program and PyTorch that are refused VRAM by the driver climb the ladder.

Each test is played three times: by a CUDA program and by PyTorch where there is a GPU (and PyTorch), and by that CUDA
program on a simulated GPU everywhere, so that what stands here is known to hold together before it meets a driver.
"""

import os
import pathlib
import subprocess
import sys

import pytest
from real_gpu import BUILD, make_sandbox, sample, wait_until

MIB, GIB = 1 << 20, 1 << 30
PROGRAM = pathlib.Path(__file__).with_name("cuda_program.py")
CONTEXT = 1024  # MiB: what a context and the libraries take beside what was asked for, generously
NEAR = 64 * MIB


class Machine:
    """A GPU, and how a program that takes N MiB of it is called."""

    def __init__(self, box, words):
        self.box, self.words = box, words
        self.pause = 0.02 if "PLIMSOLL_SIM_STATE" in box.env else 0.05
        known = [g for g in sample(box)["gpus"] if g["health"] == "ok" and g["vram"]["free_bytes"]]
        if not known:
            pytest.skip("no GPU here whose memory NVML reports")
        self.uuid = max(known, key=lambda g: g["vram"]["free_bytes"])["uuid"]
        if self.gpu()["vram"]["room_bytes"] < 6 * GIB:
            pytest.skip("less than 6 GiB of room on the GPU with the most of it")

    def program(self, size, *more):
        return [sys.executable, str(PROGRAM), *self.words, str(int(size)), *map(str, more)]

    def gpu(self):
        """As the daemon sees it, once it has seen it."""
        return wait_until(
            lambda: next(
                (g for g in self.box.json("gpus")["gpus"] if g["uuid"] == self.uuid and g["vram"]["room_bytes"] is not None), None
            ),
            what="the GPU",
        )

    def free_mib(self):
        return next(g for g in sample(self.box)["gpus"] if g["uuid"] == self.uuid)["vram"]["free_bytes"] // MIB

    def submit(self, *words):
        """PROGRAM's words after a `--`; the id."""
        return int(self.box.plimsoll("submit", "-d", self.uuid, *words, check=0).stdout.split()[0])

    def show(self, task):
        return self.box.json("show", str(task))

    def attempts(self, task):
        return self.show(task)["attempts"]

    def wait(self, task):
        wait_until(lambda: self.show(task)["state"] in ("done", "failed", "canceled"), timeout=300, what=f"task {task}")
        return self.show(task)

    def log(self, task):
        return self.box.plimsoll("logs", str(task), check=0).stdout


def has_torch():
    code = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.fixture(params=["simulated", "cuda", "torch"])
def machine(request):
    box = make_sandbox()
    try:
        if request.param == "simulated":
            if not (BUILD / "tests" / "gpu" / "libcuda.so.1").exists():
                pytest.skip("no simulated libcuda in a build with sanitizers")
            box.simulate(gpus="any:8G:1.0")
            box.env["LD_LIBRARY_PATH"] = f"{BUILD}/tests/gpu:{box.env.get('LD_LIBRARY_PATH', '')}"
        else:
            found = sample(box)
            if not any(gpu["health"] == "ok" for gpu in found["gpus"]):
                pytest.skip(f"no usable NVIDIA GPU here ({found['state']})")
        if request.param == "torch" and not has_torch():
            pytest.skip(f"{sys.executable} has no PyTorch that sees a GPU")
        yield Machine(box, ["--torch"] if request.param == "torch" else [])
    finally:
        box.close()


def is_drivers_word(text):
    return "CUDA_ERROR_OUT_OF_MEMORY: out of memory" in text or "CUDA out of memory" in text


def test_refused_by_the_driver_it_ends_well_once_there_is_room(machine):
    """A foreign process fills the GPU; a task that said too little asks the driver for more than is left."""
    reserve = machine.gpu()["vram"]["reserve_bytes"] // MIB
    command = machine.program(machine.free_mib() - reserve - 2 * CONTEXT - 2048, "--seconds", 600)
    foreign = machine.box.start(*command, env={"CUDA_VISIBLE_DEVICES": machine.uuid})
    assert foreign.stdout.readline().startswith("took "), foreign.stderr.read()
    need = machine.free_mib() + 512
    wait_until(lambda: machine.gpu()["vram"]["foreign_bytes"] > GIB, what="the foreign use")
    task = machine.submit("--vram", "1G", "--on-overrun", "warn", "--on-oom", "retry:10,alone", "--", *machine.program(need))
    wait_until(lambda: [a for a in machine.attempts(task) if a["outcome"] == "oom"], timeout=120, what="its first attempt")
    foreign.kill()
    ended = machine.wait(task)
    assert ended["state"] == "done" and ended["failures"] == 0, ended
    first, last = ended["attempts"][0], ended["attempts"][-1]
    assert first["outcome"] == "oom" and first["rung"] is None and first["gpus"][0]["vram_bytes"] == GIB
    assert last["outcome"] == "ok" and last["device"] == "cuda:0" and last["rung"].split(":")[0] in ("retry", "alone")
    assert f"took {need} MiB" in machine.log(task)


def test_what_never_fits_says_so(machine):
    more = machine.gpu()["vram"]["total_bytes"] // MIB + 1024
    task = machine.submit("--vram", "1G", "--on-overrun", "warn", "--on-oom", "retry,alone,fail", "--", *machine.program(more))
    ended = machine.wait(task)
    assert ended["state"] == "failed" and {a["outcome"] for a in ended["attempts"]} == {"oom"}, ended
    assert 2 <= len(ended["attempts"]) <= 3 and "no rung is left" in ended["reason"], ended["reason"]
    assert is_drivers_word(machine.log(task)), machine.log(task)


def test_what_never_fits_goes_to_the_cpu_if_it_may(machine):
    more = machine.gpu()["vram"]["total_bytes"] // MIB + 1024
    words = ("--vram", "1G", "--on-overrun", "warn", "--cpu", "fallback", "--on-oom", "retry,cpu")
    ended = machine.wait(machine.submit(*words, "--", *machine.program(more)))
    assert ended["state"] == "done", ended
    assert [a["outcome"] for a in ended["attempts"]] in (["oom", "oom", "ok"], ["oom", "ok"])
    assert ended["attempts"][-1]["device"] == "cpu" and ended["attempts"][-1]["rung"] == "cpu"
    assert "on the CPU" in machine.log(ended["id"])


def test_who_overruns_is_stopped_before_the_neighbour_fails(machine):
    """The neighbour comes for what it was promised once the other was stopped: it is there."""
    vram, go = machine.gpu()["vram"], machine.box.dir / "go"
    promised = vram["room_bytes"] // MIB // 2
    neighbour = machine.submit(
        "--vram", f"{promised}M", "--on-oom", "fail", "--",
        *machine.program(promised - CONTEXT, "--first", 256, "--when", go),
    )  # fmt: skip
    wait_until(lambda: machine.show(neighbour)["state"] == "running", what="the neighbour")
    step = max(vram["room_bytes"] // MIB // 200, 1)
    greedy = machine.submit(
        "--vram", "1G", "--on-oom", "fail", "--",
        *machine.program(vram["total_bytes"] // MIB, "--step", step, "--pause", machine.pause, "--seconds", 600),
    )  # fmt: skip
    stopped = machine.wait(greedy)
    last = stopped["attempts"][-1]
    assert last["outcome"] == "oom" and last["overrun"] is True, stopped
    assert "stopped: used" in stopped["reason"] and not is_drivers_word(machine.log(greedy)), stopped["reason"]
    assert last["peak_vram_bytes"] + promised * MIB <= vram["total_bytes"]
    go.touch()
    ended = machine.wait(neighbour)
    assert ended["state"] == "done" and len(ended["attempts"]) == 1, ended


def test_what_is_learned_is_what_nvml_measured(machine):
    """Three runs of a kind; the profile says what NVML said meanwhile, and the next asks for it and a margin."""
    seen = []

    def look(task):
        pids = {pid for h in machine.gpu()["holders"] if h["kind"] == "task" for pid in h["pids"]}
        gpu = next(g for g in sample(machine.box)["gpus"] if g["uuid"] == machine.uuid)
        seen.extend(p["used_bytes"] or 0 for p in gpu["processes"] or [] if p["pid"] in pids)
        return machine.show(task)["state"] == "done"

    for _ in range(3):
        task = machine.submit("--vram", "3G", "--kind", "measured", "--", *machine.program(1024, "--seconds", 1.5))
        wait_until(lambda: look(task), timeout=120, what="a run")
    if not any(seen):
        pytest.skip("NVML does not tell here what a process uses")
    profile = next(p for p in machine.box.json("profile", "list")["profiles"] if p["kind"] == "measured")
    peak = profile["need"]["max_vram_bytes"]
    assert abs(peak - max(seen)) <= NEAR and peak >= GIB, (peak, seen)
    last = machine.wait(machine.submit("--kind", "measured", "--", *machine.program(1024)))
    granted = last["attempts"][0]["gpus"][0]["vram_bytes"]
    assert last["state"] == "done" and peak < granted <= peak * 1.25 + 256 * MIB, (peak, granted)
