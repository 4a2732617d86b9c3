"""What plimsoll-nvml, the helper process that asks NVML, makes of every quirk and event of the simulator."""

import json
import os
import select
import shutil
import signal
import time

import pytest
from conftest import BUILD, PATIENCE, wait_until

MIB = 1 << 20
GIB = 1 << 30


class Helper:
    """A running plimsoll-nvml: a conversation over its pipes."""

    def __init__(self, box):
        import subprocess

        self.process = box.start(BUILD / "plimsoll-nvml", stdin=subprocess.PIPE)
        self.number = 0
        self.events = []
        self.buffer = b""

    def _line(self, deadline):
        fd = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                return None
            piece = os.read(fd, 65536)
            assert piece, "the helper ended"
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def ask(self, timeout=PATIENCE):
        """The next sample, or None when none came in time. Events on the way are kept."""
        self.number += 1
        self.process.stdin.write(f"sample {self.number}\n")
        self.process.stdin.flush()
        return self.wait(timeout)

    def wait(self, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while (line := self._line(deadline)) is not None:
            if "event" in line:
                self.events.append(line)
            elif line["sample"] == self.number:
                return line["list"]
        return None

    def until(self, condition, what):
        def attempt():
            sample = self.ask()
            return sample if sample and condition(sample) else None

        return wait_until(attempt, what=what)


def inject(box, event):
    box.run(BUILD / "plimsoll-sim", "inject", event, check=0)


def once(box):
    return json.loads(box.run(BUILD / "plimsoll-nvml", "--once", check=0).stdout)


def pick(data, path):
    for key in path.split("."):
        data = data[int(key)] if isinstance(data, list) else data[key]
    return data


TWO = [{"model": "rtx-a5500"}, {"model": "rtx-a400"}]


def scenario(gpu0=None, **top):
    """Two GPUs, quirks of the first, and what else."""
    first = {"model": "rtx-a5500", **({"quirks": gpu0} if gpu0 else {})}
    return {"gpus": [first, {"model": "rtx-a400"}], **top}


def foreign(*sizes, **more):
    return [
        {"at": "0s", "gpu": 0, "event": "foreign", "vram": size, "name": f"holder-{i}", **more}
        for i, size in enumerate(sizes)
    ]


HEALTHY = {"gpus.1.health": "ok", "gpus.1.vram.total_bytes": 4094 * MIB, "gpus.1.name": "NVIDIA RTX A400"}

# scenario, what the sample must hold (a callable is a condition)
CASES = {
    "healthy": (
        scenario(driver="570.86.15", cuda="12.8"),
        {
            **HEALTHY,
            "state": "ok",
            "text": None,
            "driver_version": "570.86.15",
            "cuda_version": 12080,
            "gpus.0.name": "NVIDIA RTX A5500",
            "gpus.0.compute_capability": "8.6",
            "gpus.0.uuid": lambda v: v.startswith("GPU-"),
            "gpus.0.pci_bus_id": lambda v: v.endswith(":00.0") and len(v) == 16,
            "gpus.0.vram.driver_reserved_bytes": lambda v: v > 0,
            "gpus.0.vram": lambda v: v["total_bytes"]
            == v["used_bytes"] + v["free_bytes"] + v["driver_reserved_bytes"],
            "gpus.0.utilization_percent": 0,
            "gpus.0.temperature_celsius": lambda v: 10 < v < 60,
            "gpus.0.power_milliwatts": lambda v: v > 1000,
            "gpus.0.power_limit_milliwatts": 230000,
            "gpus.0.clock_graphics_mhz": lambda v: v > 0,
            "gpus.0.processes": [],
            "sampled_at": lambda v: v is not None,
        },
    ),
    "holders": (
        scenario(timeline=foreign("2G", percent=40)),
        {
            "gpus.0.vram.used_bytes": 2 * GIB,
            "gpus.0.utilization_percent": 40,
            "gpus.0.processes.0.used_bytes": 2 * GIB,
            "gpus.0.processes.0.name": "holder-0",
            "gpus.0.processes.0.start_time": lambda v: v > 0,
            "gpus.0.processes.0.graphics": False,
            "gpus.1.processes": [],
        },
    ),
    "stride 32": (
        scenario(timeline=foreign("2G", "512M", "640M"), quirks={"process_stride": 32}),
        {
            "gpus.0.processes": lambda v: [(p["name"], p["used_bytes"]) for p in v]
            == [("holder-0", 2 * GIB), ("holder-1", 512 * MIB), ("holder-2", 640 * MIB)]
        },
    ),
    "stride 24": (
        scenario(timeline=foreign("2G", "512M", "640M"), quirks={"process_stride": 24}),
        {"gpus.0.processes": lambda v: [p["used_bytes"] for p in v] == [2 * GIB, 512 * MIB, 640 * MIB]},
    ),
    "v3 missing": (
        scenario(timeline=foreign("2G", "1G"), quirks={"missing_symbols": ["nvml*Processes_v3"]}),
        {"gpus.0.processes": lambda v: [p["used_bytes"] for p in v] == [2 * GIB, 1 * GIB]},
    ),
    "v3 and v2 missing": (
        scenario(timeline=foreign("2G", "1G"), quirks={"missing_symbols": ["nvml*Processes_v[23]"]}),
        {"gpus.0.processes": lambda v: [p["used_bytes"] for p in v] == [2 * GIB, 1 * GIB]},
    ),
    "no process list": (
        scenario(quirks={"missing_symbols": ["nvml*RunningProcesses*"]}),
        {"gpus.0.processes": None, "gpus.0.health": "ok", "gpus.0.vram.used_bytes": 0},
    ),
    "compute and graphics": (
        scenario(timeline=foreign("1G", kind="compute+graphics")),
        {"gpus.0.processes": lambda v: [(p["used_bytes"], p["graphics"]) for p in v] == [(GIB, False)]},
    ),
    "graphics only": (
        scenario(timeline=foreign("1G", kind="graphics")),
        {"gpus.0.processes": lambda v: [(p["used_bytes"], p["graphics"]) for p in v] == [(GIB, True)]},
    ),
    "MPS client": (
        scenario(timeline=foreign("1G", kind="mps")),
        {"gpus.0.processes": lambda v: [(p["used_bytes"], p["graphics"]) for p in v] == [(GIB, False)]},
    ),
    "process memory unknown": (
        scenario({"process_memory_unknown": True}, timeline=foreign("1G")),
        {"gpus.0.processes.0.used_bytes": None, "gpus.0.vram.used_bytes": GIB},
    ),
    "dead process": (
        scenario({"dead_processes": True}, timeline=foreign("1G")),
        {
            "gpus.0.processes": lambda v: any(p["name"] == "holder-0" and p["start_time"] for p in v)
            and any(p["start_time"] is None and p["name"] is None for p in v)
        },
    ),
    "stale samples": (
        scenario({"stale_samples": True}, timeline=foreign("1G")),
        {"gpus.0.health": "ok", "gpus.0.processes": lambda v: len(v) == 1},
    ),
    "list grows": (
        scenario({"list_grows": True}, timeline=foreign("1G", "1G", "1G")),
        {"gpus.0.processes": lambda v: len([p for p in v if p["name"]]) >= 3},
    ),
    "size always 100": (
        scenario({"size_always_100": True}, timeline=foreign("1G")),
        {"gpus.0.processes": lambda v: len(v) == 1},
    ),
    "memory v2 missing": (
        scenario(quirks={"memory_v2": "missing"}, timeline=foreign("1G")),
        {
            "gpus.0.vram.driver_reserved_bytes": None,
            # v1 counts the driver's reserve as used; free is the same number in both
            "gpus.0.vram": lambda v: v["used_bytes"] > GIB and v["used_bytes"] + v["free_bytes"] == v["total_bytes"],
        },
    ),
    "memory v2 refused": (
        scenario(quirks={"memory_v2": "refused"}),
        {"gpus.0.vram.driver_reserved_bytes": None, "gpus.0.vram.total_bytes": lambda v: v > 23 * GIB},
    ),
    "memory v2 lenient": (
        scenario(quirks={"memory_v2": "lenient"}),
        {"gpus.0.vram.driver_reserved_bytes": lambda v: v > 0},
    ),
    "unified memory": (
        scenario({"memory": "unsupported"}),
        {
            **HEALTHY,
            "gpus.0.health": "ok",
            "gpus.0.unified_memory": True,
            "gpus.0.vram": {k: None for k in ("total_bytes", "used_bytes", "free_bytes", "driver_reserved_bytes")},
            "gpus.1.unified_memory": False,
        },
    ),
    "total zero": (
        scenario({"memory": "zero"}),
        {"gpus.0.health": "ok", "gpus.0.unified_memory": True, "gpus.0.vram.total_bytes": None},
    ),
    "fields not supported": (
        scenario({"not_supported": ["utilization", "temperature", "power", "nvmlDeviceGet*Power*Limit", "clocks", "capability"]}),
        {
            "gpus.0.health": "ok",
            "gpus.0.utilization_percent": None,
            "gpus.0.temperature_celsius": None,
            "gpus.0.power_milliwatts": None,
            "gpus.0.power_limit_milliwatts": None,
            "gpus.0.clock_graphics_mhz": None,
            "gpus.0.compute_capability": None,
            "gpus.0.vram.used_bytes": 0,
            "gpus.1.utilization_percent": 0,
        },
    ),
    "processes not supported": (
        scenario({"not_supported": ["processes", "mig", "events"]}),
        {"gpus.0.health": "ok", "gpus.0.processes": None},
    ),
    "old library": (
        scenario(
            quirks={
                "missing_symbols": [
                    "nvmlDeviceGetCount_v2",
                    "nvmlDeviceGetHandleByIndex_v2",
                    "nvmlDeviceGetPciInfo_v3",
                    "nvmlSystemGetCudaDriverVersion_v2",
                    "nvmlDeviceGetMemoryInfo_v2",
                    "nvmlDeviceGetMigMode",
                    "nvmlDeviceGetEnforcedPowerLimit",
                    "nvml*Processes_v[23]",
                ]
            }
        ),
        {
            **HEALTHY,
            "gpus.0.health": "ok",
            "gpus.0.pci_bus_id": lambda v: v is not None,
            "gpus.0.power_limit_milliwatts": 230000,
            "cuda_version": lambda v: v is not None,
        },
    ),
    "newer temperature call": (
        scenario(quirks={"missing_symbols": ["nvmlDeviceGetTemperature"]}),
        {"gpus.0.temperature_celsius": lambda v: v is not None and v > 10},
    ),
    "function that fails": (
        scenario({"fail": {"nvmlDeviceGetUtilizationRates": "timeout"}}),
        {
            **HEALTHY,
            "gpus.0.health": "error",
            "gpus.0.health_text": lambda v: "GetUtilizationRates" in v and "NVML 10" in v,
            "gpus.0.vram.used_bytes": 0,
        },
    ),
    "lost, 15": (
        scenario({"lost": True}),
        {**HEALTHY, "state": "ok", "gpus.0.health": "lost", "gpus.0.health_text": lambda v: "NVML 15" in v},
    ),
    "lost, 999": (
        scenario({"lost": {"code": 999}}),
        {**HEALTHY, "gpus.0.health": "lost", "gpus.0.health_text": lambda v: "NVML 999" in v},
    ),
    "lost with a smaller count": (
        scenario({"lost": {"listing": "smaller"}}),
        {**HEALTHY, "gpus.0.health": "lost", "gpus.1.index": 1},
    ),
    "lost and renumbered": (
        scenario({"lost": {"listing": "renumber"}}),
        {"state": "ok", "gpus": lambda v: len(v) == 1 and v[0]["name"] == "NVIDIA RTX A400" and v[0]["index"] == 0},
    ),
    "needs reset": (
        scenario({"error": 16}),
        {
            **HEALTHY,
            "gpus.0.health": "needs-reset",
            "gpus.0.health_text": lambda v: "NVML 16" in v and "--gpu-reset" in v,
        },
    ),
    "error 10": (
        scenario({"error": 10}),
        {**HEALTHY, "gpus.0.health": "error", "gpus.0.health_text": lambda v: "NVML 10" in v},
    ),
    "error 999": (scenario({"error": 999}), {**HEALTHY, "gpus.0.health": "lost"}),
    "handle 16": (scenario({"handle_error": 16}), {**HEALTHY, "gpus.0.health": "needs-reset"}),
    "handle without permission": (
        scenario({"handle_error": 4}),
        {**HEALTHY, "gpus.0.health": "error", "gpus.0.health_text": lambda v: "/dev/nvidia" in v},
    ),
    "MIG with holes": (
        {
            "gpus": [
                {"model": "a100-80g", "mig": ["hole", {"vram": "10G"}, "hole", {"vram": "20G", "slices": 2}]},
                {"model": "rtx-a400"},
            ]
        },
        {
            "gpus": lambda v: [g["index"] for g in v] == [1, 1001, 1003],
            "gpus.1.parent_uuid": lambda v: v.startswith("GPU-"),
            "gpus.1.uuid": lambda v: v.startswith("MIG-"),
            "gpus.1.vram.total_bytes": 10 * GIB,
            "gpus.1.utilization_percent": None,
            "gpus.1.power_milliwatts": None,
            "gpus.1.temperature_celsius": lambda v: v is not None,
            "gpus.1.compute_capability": "8.0",
            "gpus.1.health": "ok",
            "gpus.2.vram.total_bytes": 20 * GIB,
            "gpus.0.parent_uuid": None,
        },
    ),
    "MIG without instances": (
        {"gpus": [{"model": "a100-80g", "mig": ["hole"]}]},
        {"gpus.0.health": "error", "gpus.0.health_text": lambda v: "MIG is on" in v, "gpus.0.index": 0},
    ),
    "no GPUs": ({"gpus": []}, {"state": "no-gpus", "gpus": [], "text": lambda v: "no GPU" in v}),
    "mismatch": (
        scenario(quirks={"init_error": 18}),
        {"state": "mismatch", "gpus": [], "text": lambda v: "NVML 18" in v and "Reboot" in v},
    ),
    "no driver": (
        scenario(quirks={"init_error": 9}),
        {"state": "no-driver", "text": lambda v: "modprobe nvidia" in v},
    ),
    "library missing": (scenario(quirks={"init_error": 12}), {"state": "no-library"}),
    "no permission": (
        scenario(quirks={"init_error": 4}),
        {"state": "error", "text": lambda v: "/dev/nvidia" in v},
    ),
    "blocked": (scenario(quirks={"init_error": 17}), {"state": "error", "text": lambda v: "NVML 17" in v}),
    "unknown error": (scenario(quirks={"init_error": 999}), {"state": "error", "text": lambda v: "NVML 999" in v}),
    "slow": (scenario(quirks={"delay": "5ms"}), {**HEALTHY, "state": "ok", "gpus.0.health": "ok"}),
    "slow GPU": (scenario({"delay": "5ms"}), {**HEALTHY, "gpus.0.health": "ok"}),
}


@pytest.mark.parametrize("name", CASES)
def test_quirk(simulated, name):
    given, expected = CASES[name]
    sample = once(simulated(scenario=given))
    for path, value in expected.items():
        found = pick(sample, path)
        good = value(found) if callable(value) else found == value
        assert good, f"{path} is {found!r}\n{json.dumps(sample, indent=1)}"


def test_every_quirk_is_covered(sandbox):
    """A new switch of the simulator needs a case here: it names its switches when it meets an unknown one."""
    used = {"hang"}  # test_hang_*
    for given, _ in CASES.values():
        used |= set(given.get("quirks", {}))
        for gpu in given["gpus"]:
            used |= set(gpu.get("quirks", {}))
    for text in ("{gpus: [], quirks: {nonsense: 1}}", "{gpus: [{model: rtx-a400, quirks: {nonsense: 1}}]}"):
        done = sandbox.run(BUILD / "plimsoll-sim", "check", sandbox.file("s.yaml", text))
        assert done.returncode == 2, done.stderr
        names = done.stderr.split(":")[-1].replace(";", ",").replace(" or ", ",").split(",")
        known = {name.strip().split()[-1] for name in names if name.strip()}
        assert len(known) >= 6, done.stderr
        assert known <= used, f"no case for {known - used}"


# ---- events: (what happens, what the sample must come to)

EVENTS = {
    "lost": ("{gpu: 0, event: lost}", lambda s: s["gpus"][0]["health"] == "lost"),
    "lost with 999": ("{gpu: 0, event: lost, code: 999}", lambda s: s["gpus"][0]["health"] == "lost"),
    "lost, smaller": (
        "{gpu: 0, event: lost, listing: smaller}",
        lambda s: [g["health"] for g in s["gpus"]] == ["lost", "ok"],
    ),
    "temperature": ("{gpu: 0, event: temperature, celsius: 91}", lambda s: s["gpus"][0]["temperature_celsius"] == 91),
    "power": ("{gpu: 0, event: power, watts: 222}", lambda s: s["gpus"][0]["power_milliwatts"] == 222000),
    "utilization": ("{gpu: 0, event: utilization, percent: 77}", lambda s: s["gpus"][0]["utilization_percent"] == 77),
    "error": ("{gpu: 0, event: error, code: 16}", lambda s: s["gpus"][0]["health"] == "needs-reset"),
    "foreign": ("{gpu: 0, event: foreign, vram: 3G}", lambda s: s["gpus"][0]["vram"]["used_bytes"] == 3 * GIB),
    "fan": ("{gpu: 0, event: fan, percent: 100}", lambda s: s["gpus"][0]["health"] == "ok"),
    "speed": ("{gpu: 0, event: speed, factor: 0.5}", lambda s: s["gpus"][0]["health"] == "ok"),
    "slow": ("{gpu: 0, event: slow, delay: 2ms}", lambda s: s["gpus"][0]["health"] == "ok"),
}


@pytest.mark.parametrize("name", EVENTS)
def test_event(simulated, name):
    event, condition = EVENTS[name]
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    before = helper.ask()
    assert [g["health"] for g in before["gpus"]] == ["ok", "ok"]
    inject(box, event)
    after = helper.until(condition, name)
    # Whatever happened to the first, it is named, and the second is as it was.
    assert [g["uuid"] for g in after["gpus"]] == [g["uuid"] for g in before["gpus"]]
    assert after["gpus"][0]["name"] == "NVIDIA RTX A5500"
    assert after["gpus"][0]["vram"]["total_bytes"] == before["gpus"][0]["vram"]["total_bytes"]
    assert after["gpus"][1]["health"] == "ok"


def test_renumbered_loss_is_named_and_comes_back(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    before = {g["uuid"]: g for g in helper.ask()["gpus"]}
    inject(box, "{gpu: 0, event: lost, listing: renumber}")
    after = helper.until(lambda s: any(g["health"] == "lost" for g in s["gpus"]), "the loss")
    assert {g["uuid"] for g in after["gpus"]} == set(before)
    lost = next(g for g in after["gpus"] if g["health"] == "lost")
    assert lost["name"] == "NVIDIA RTX A5500" and "it was GPU 0" in lost["health_text"]
    assert next(g for g in after["gpus"] if g["health"] == "ok")["index"] == 0
    inject(box, "{gpu: 0, event: back}")
    healed = helper.until(lambda s: all(g["health"] == "ok" for g in s["gpus"]), "its return")
    assert {g["uuid"]: g["index"] for g in healed["gpus"]} == {g["uuid"]: g["index"] for g in before.values()}


def test_driver_goes_and_comes(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    before = helper.ask()
    inject(box, "{event: no-driver}")
    gone = helper.ask()
    assert gone["state"] == "no-driver"
    # The GPUs are still known: what cannot be looked at is stale, not gone.
    assert [g["health"] for g in gone["gpus"]] == ["stale", "stale"]
    assert [g["uuid"] for g in gone["gpus"]] == [g["uuid"] for g in before["gpus"]]
    assert gone["gpus"][0]["stale_since"] is not None
    inject(box, "{event: driver-ok}")
    back = helper.until(lambda s: s["state"] == "ok", "the driver's return")
    assert [g["health"] for g in back["gpus"]] == ["ok", "ok"]


def test_mismatch_by_an_upgrade_underneath(simulated):
    """A session that was there before the upgrade goes on working; whatever starts now does not."""
    box = simulated(gpus="rtx-a5500,rtx-a400")
    assert once(box)["state"] == "ok"
    library = box.dir / "driver" / "libnvidia-ml.so.1"
    library.parent.mkdir()
    shutil.copy(BUILD / "libnvidia-ml.so.1", library)
    box.env["LD_LIBRARY_PATH"] = str(library.parent)
    helper = Helper(box)
    assert helper.ask()["state"] == "ok"
    inject(box, "{event: mismatch}")
    assert once(box)["state"] == "mismatch"
    assert helper.ask()["state"] == "ok"
    shutil.copy(library, box.dir / "newer")
    os.rename(box.dir / "newer", library)
    sample = helper.ask()
    assert sample["state"] == "mismatch" and "NVML 18" in sample["text"]
    assert [g["health"] for g in sample["gpus"]] == ["stale", "stale"]
    inject(box, "{event: driver-ok}")
    back = helper.until(lambda s: s["state"] == "ok", "the end of the mismatch")
    assert [g["health"] for g in back["gpus"]] == ["ok", "ok"]


def test_xids_are_told(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    uuid = helper.ask()["gpus"][1]["uuid"]
    inject(box, "{gpu: 1, event: xid, xid: 31}")
    helper.until(lambda s: helper.events, "the event")
    assert helper.events[0]["event"] == "xid"
    assert (helper.events[0]["uuid"], helper.events[0]["xid"]) == (uuid, 31)
    assert helper.events[0]["at"] is not None


def test_hang_of_one_gpu_and_its_end(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    assert helper.ask()["state"] == "ok"
    inject(box, "{gpu: 0, event: hang}")
    assert helper.ask(timeout=1) is None
    inject(box, "{gpu: 0, event: unhang}")
    assert helper.wait()["gpus"][0]["health"] == "ok"


@pytest.mark.parametrize("quirks", [{"quirks": {"hang": True}}, {"gpus": [{"model": "rtx-a400", "quirks": {"hang": True}}]}])
def test_hanging_helper_ends_with_its_input(simulated, quirks):
    """Whoever started it may be gone: it must not stay, though its calls never return."""
    box = simulated(scenario={"gpus": [{"model": "rtx-a400"}], **quirks})
    helper = Helper(box)
    assert helper.ask(timeout=0.5) is None
    helper.process.stdin.close()
    assert helper.process.wait(timeout=PATIENCE) == 0
    helper.process.stdin = None


def test_bad_command_ends_it(simulated):
    box = simulated(gpus="rtx-a400")
    for text in ("dance\n", "sample\n", "sample -1\n", "sample x\n", "x" * 4096):
        assert box.run(BUILD / "plimsoll-nvml", input=text).returncode == 2, text
    assert box.run(BUILD / "plimsoll-nvml", "--twice").returncode == 2


def test_no_library(sandbox):
    sample = once(sandbox)
    if sample["state"] == "no-library":
        assert "libnvidia-ml.so.1" in sample["text"] and sample["gpus"] == []
    else:
        pytest.skip(f"this machine has an NVIDIA library ({sample['state']})")


def test_reader_gone(simulated):
    """Nobody reads its output any more: it ends by itself, quietly."""
    box = simulated(gpus="rtx-a400")
    helper = Helper(box)
    helper.process.stdout.close()
    helper.process.stdin.write("sample 1\n")
    helper.process.stdin.flush()
    assert helper.process.wait(timeout=PATIENCE) == 0
    helper.process.stdout = None


def test_small(simulated):
    """The helper runs for as long as the daemon: it must stay small over many samples."""
    box = simulated(gpus=",".join(["rtx-3090"] * 8))
    helper = Helper(box)

    def resident():
        with open(f"/proc/{helper.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(50):
        assert len(helper.ask()["gpus"]) == 8
    first = resident()
    for _ in range(300):
        helper.ask()
    if "asan" not in BUILD.name:
        assert resident() < 8 * MIB
        assert resident() - first < MIB
    helper.process.send_signal(signal.SIGTERM)
