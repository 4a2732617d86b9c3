"""Real NVML and real CUDA tasks beside what the simulator says. Skipped, with the reason, without a GPU."""

import json
import re
import shutil
import subprocess
import time

import pytest
from real_gpu import BUILD, make_sandbox, sample, wait_until

MIB = 1 << 20
GIB = 1 << 30
CUDA_ALLOC = BUILD / "tests" / "gpu" / "cuda-alloc"


def find(data, uuid):
    return next(g for g in data["gpus"] if g["uuid"] == uuid)


@pytest.fixture
def holder(real, gpu):
    """A function: holder("1G") is a real CUDA process on that GPU, ready, and what it told."""

    def start(size, *more):
        process = real.start(
            CUDA_ALLOC,
            size,
            *more,
            stdin=subprocess.PIPE,
            env={"CUDA_VISIBLE_DEVICES": gpu["uuid"], "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        )
        line = process.stdout.readline()
        if not line:
            status = process.wait()
            if status == 77:
                pytest.skip(process.stderr.read())
            pytest.fail(f"cuda-alloc ended with {status}: {process.stderr.read()}")
        return process, json.loads(line)

    return start


def test_sample_is_sane(real):
    found = sample(real)
    assert found["state"] == "ok" and found["text"] is None
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", found["driver_version"])
    assert found["cuda_version"] >= 10000
    assert len({g["index"] for g in found["gpus"]}) == len(found["gpus"])
    for gpu in found["gpus"]:
        assert re.fullmatch(r"(GPU|MIG)-[0-9a-f/-]{36,}", gpu["uuid"])
        assert re.fullmatch(r"[0-9A-F]{8}:[0-9A-F]{2}:[0-9A-F]{2}\.0", gpu["pci_bus_id"])
        assert gpu["name"] and (gpu["unified_memory"] or gpu["vram"]["total_bytes"] >= GIB)
        if gpu["vram"]["total_bytes"]:
            parts = [gpu["vram"][k] or 0 for k in ("used_bytes", "free_bytes", "driver_reserved_bytes")]
            assert abs(sum(parts) - gpu["vram"]["total_bytes"]) <= 64 * MIB
        if gpu["temperature_celsius"] is not None:
            assert 0 < gpu["temperature_celsius"] < 120
        if gpu["utilization_percent"] is not None:
            assert 0 <= gpu["utilization_percent"] <= 100
        for process in gpu["processes"] or []:
            assert process["pid"] > 0
            assert process["used_bytes"] is None or process["used_bytes"] <= gpu["vram"]["total_bytes"]


def test_agrees_with_nvidia_smi(real):
    if not shutil.which("nvidia-smi"):
        pytest.skip("nvidia-smi is not installed")
    columns = "uuid,name,memory.total,driver_version,pci.bus_id,compute_cap"
    done = real.run("nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader,nounits", check=0)
    found = sample(real)
    for row in done.stdout.splitlines():
        uuid, name, total, driver, pci, capability = (cell.strip() for cell in row.split(","))
        gpu = next((g for g in found["gpus"] if uuid in (g["uuid"], g["parent_uuid"])), None)
        assert gpu, f"{uuid} is missing"
        assert (found["driver_version"], gpu["pci_bus_id"]) == (driver, pci)
        assert gpu["compute_capability"] == capability
        if not gpu["parent_uuid"]:
            assert gpu["name"] == name
            if total.isdigit():
                assert gpu["vram"]["total_bytes"] // MIB == int(total)


def test_simulator_says_the_same_things(real, gpu):
    """Not the same numbers: the same fields, of the same kinds, as a real driver fills them."""
    other = make_sandbox()
    try:
        other.simulate(scenario={"gpus": [{"name": gpu["name"], "vram": f"{gpu['vram']['total_bytes'] // MIB}M"}]})
        simulated = sample(other)["gpus"][0]
    finally:
        other.close()
    assert set(simulated) == set(gpu)
    assert set(simulated["vram"]) == set(gpu["vram"])
    for key, value in gpu.items():
        if value is not None and simulated[key] is not None:
            assert type(simulated[key]) is type(value), key
    assert simulated["pci_bus_id"].count(":") == gpu["pci_bus_id"].count(":")


def test_cuda_memory_is_seen_and_given_back(real, gpu, holder):
    size = 512 * MIB
    before = find(sample(real), gpu["uuid"])["vram"]["used_bytes"]
    process, told = holder("512M")
    assert told["uuid"] == gpu["uuid"] and told["name"] == gpu["name"]

    def held():
        now = find(sample(real), gpu["uuid"])
        # With its context, which costs some hundred MiB.
        return now if size <= now["vram"]["used_bytes"] - before <= size + 2 * GIB else None

    now = wait_until(held, what="the memory to be seen")
    mine = [p for p in now["processes"] or [] if p["pid"] == process.pid]
    for entry in mine:  # in a container without the host's pids it is listed under another
        assert entry["start_time"] and entry["name"] == "cuda-alloc"
        assert entry["used_bytes"] is None or size <= entry["used_bytes"] <= size + 2 * GIB
    process.stdin.close()
    assert process.wait(timeout=30) == 0
    process.stdin = None
    wait_until(
        lambda: find(sample(real), gpu["uuid"])["vram"]["used_bytes"] <= before + 64 * MIB, what="the memory to be free"
    )


def test_two_holders_add_up(real, gpu, holder):
    before = find(sample(real), gpu["uuid"])["vram"]["used_bytes"]
    first, _ = holder("256M")
    second, _ = holder("768M")

    def both():
        now = find(sample(real), gpu["uuid"])
        return now if now["vram"]["used_bytes"] - before >= 1024 * MIB else None

    now = wait_until(both, what="both to be seen")
    used = {p["pid"]: p["used_bytes"] for p in now["processes"] or []}
    if used.get(first.pid) and used.get(second.pid):
        assert used[second.pid] - used[first.pid] == pytest.approx(512 * MIB, abs=64 * MIB)


def test_utilization_is_seen(real, gpu, holder):
    if gpu["utilization_percent"] is None:
        pytest.skip("this GPU does not tell its utilisation (a MIG instance?)")
    holder("256M", "--busy")
    wait_until(lambda: find(sample(real), gpu["uuid"])["utilization_percent"] >= 50, what="a busy GPU")


def test_sampling_is_quick(real):
    """Initialised once, a sample costs little: it is taken every second, for ever."""
    helper = real.start(BUILD / "plimsoll-nvml", stdin=subprocess.PIPE)
    times = []
    for number in range(20):
        began = time.monotonic()
        helper.stdin.write(f"sample {number}\n")
        helper.stdin.flush()
        assert json.loads(helper.stdout.readline())["list"]["state"] == "ok"
        times.append(time.monotonic() - began)
    warm = sorted(times[1:])
    print(f"first sample {times[0] * 1000:.0f} ms, then median {warm[9] * 1000:.1f} ms, worst {warm[-1] * 1000:.1f} ms")
    assert warm[9] < 0.5


def test_gpus_shows_a_real_task(real, gpu):
    """The whole way: `plimsoll run` puts a CUDA program on this GPU; `gpus` shows what it was given and uses."""
    task = real.start_plimsoll(
        "run", "--vram", "2G", "-d", gpu["uuid"], "--", CUDA_ALLOC, "512M", stdin=subprocess.PIPE
    )
    try:

        def seen():
            shown = find(real.json("gpus"), gpu["uuid"])
            tasks = [h for h in shown["holders"] if h["kind"] == "task"]
            return (shown, tasks) if tasks and shown["vram"]["used_bytes"] >= 512 * MIB else None

        shown, tasks = wait_until(seen, what="the task on its GPU")
        assert tasks[0]["allocated_bytes"] == 2 * GIB
        assert shown["vram"]["allocated_bytes"] == 2 * GIB
        assert shown["vram"]["room_bytes"] <= shown["vram"]["load_line_bytes"] - 2 * GIB
    finally:
        task.stdin.close()
        task.wait(timeout=60)
        task.stdin = None
