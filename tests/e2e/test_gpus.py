"""`plimsoll gpus`: every quirk and event of the simulator as a user sees it. No daemon runs; none is started."""

import json
import time

import pytest
from conftest import BUILD, wait_until
from gpu_cases import CASES, GIB, HOLDERS, MIB, pick

# What only the helper process tells.
RAW_ONLY = ("processes", "driver_reserved_bytes", "clock_")


def gpus(box, *args):
    done = box.plimsoll("gpus", "--json", *args)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def in_gpus(path):
    return path != "gpus.0.vram" and not any(word in path for word in RAW_ONLY)


@pytest.mark.parametrize("name", CASES)
def test_quirk(simulated, name):
    given, expected = CASES[name]
    status, shown = gpus(simulated(scenario=given))
    for path, value in expected.items():
        if not in_gpus(path):
            continue
        found = pick(shown, "source" if path == "state" else path)
        good = value(found) if callable(value) else found == value
        assert good, f"{path} is {found!r}\n{json.dumps(shown, indent=1)}"
    well = shown["source"] == "ok" and all(gpu["health"] == "ok" for gpu in shown["gpus"])
    assert status == (0 if well else 1)


@pytest.mark.parametrize("name", HOLDERS)
def test_holders(simulated, name):
    _, shown = gpus(simulated(scenario=CASES[name][0]))
    first = shown["gpus"][0]
    found = sorted((h["name"], h["used_bytes"]) for h in first["holders"])
    assert found == sorted(HOLDERS[name])
    assert all(h["kind"] == "foreign" and len(h["pids"]) == 1 for h in first["holders"])
    # room = load line - what others use; a simtask of nobody's counts as that
    assert first["vram"]["room_bytes"] == first["vram"]["load_line_bytes"] - first["vram"]["foreign_bytes"]
    if first["vram"]["used_bytes"] is not None and "missing" not in name:
        assert first["vram"]["foreign_bytes"] >= sum(size or 0 for _, size in HOLDERS[name])


EVENTS = {
    "lost": ("{gpu: 0, event: lost, xid: 79}", "lost"),
    "lost with 999": ("{gpu: 0, event: lost, code: 999}", "lost"),
    "error": ("{gpu: 0, event: error, code: 16}", "needs-reset"),
}


@pytest.mark.parametrize("name", EVENTS)
def test_health_event(simulated, name):
    event, health = EVENTS[name]
    box = simulated(gpus="rtx-a5500,rtx-a400")
    assert [g["health"] for g in gpus(box)[1]["gpus"]] == ["ok", "ok"]
    box.run(BUILD / "plimsoll-sim", "inject", event, check=0)
    status, shown = gpus(box)
    assert status == 1
    assert [g["health"] for g in shown["gpus"]] == [health, "ok"]
    assert shown["gpus"][0]["health_text"]
    text = box.plimsoll("gpus")
    assert text.returncode == 1
    assert "RTX A400" in text.stdout


VALUES = {
    "temperature": ("{gpu: 0, event: temperature, celsius: 91}", "temperature_celsius", 91),
    "power": ("{gpu: 0, event: power, watts: 222}", "power_milliwatts", 222000),
    "utilization": ("{gpu: 0, event: utilization, percent: 77}", "utilization_percent", 77),
    "foreign": ("{gpu: 0, event: foreign, vram: 3G}", "vram.used_bytes", 3 * GIB),
    "fan": ("{gpu: 0, event: fan, percent: 100}", "health", "ok"),
    "speed": ("{gpu: 0, event: speed, factor: 0.5}", "health", "ok"),
    "slow": ("{gpu: 0, event: slow, delay: 2ms}", "health", "ok"),
    "xid": ("{gpu: 0, event: xid, xid: 31}", "health", "ok"),
}


@pytest.mark.parametrize("name", VALUES)
def test_value_event(simulated, name):
    event, path, value = VALUES[name]
    box = simulated(gpus="rtx-a5500,rtx-a400")
    box.run(BUILD / "plimsoll-sim", "inject", event, check=0)
    wait_until(lambda: pick(gpus(box)[1]["gpus"][0], path) == value, what=f"{path} to be {value}")


@pytest.mark.parametrize("event,source", [("mismatch", "mismatch"), ("no-driver", "no-driver")])
def test_driver_event(simulated, event, source):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    box.run(BUILD / "plimsoll-sim", "inject", "{event: %s}" % event, check=0)
    status, shown = gpus(box)
    assert (status, shown["source"], shown["gpus"]) == (1, source, [])
    box.run(BUILD / "plimsoll-sim", "inject", "{event: driver-ok}", check=0)
    status, shown = gpus(box)
    assert (status, shown["source"], len(shown["gpus"])) == (0, "ok", 2)


def test_hung_driver_is_stale_within_its_deadline(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    box.run(BUILD / "plimsoll-sim", "inject", "{event: hang}", check=0)
    began = time.monotonic()
    status, shown = gpus(box, "--deadline", "700ms")
    assert time.monotonic() - began < 5
    assert (status, shown["source"]) == (1, "stale")
    assert shown["stale_since"] and "has not answered for 0.7 s" in shown["text"]
    box.run(BUILD / "plimsoll-sim", "inject", "{event: unhang}", check=0)
    assert gpus(box)[1]["source"] == "ok"


def test_no_library(sandbox):
    done = sandbox.plimsoll("gpus")
    if "libnvidia-ml" not in done.stdout + done.stderr:
        pytest.skip("this machine has an NVIDIA library")
    assert done.returncode == 1


def test_reserve_and_line(simulated):
    """DESIGN 2: the reserve is 5 % of the total, at least 256 MiB; the load line is what is left."""
    _, shown = gpus(simulated(gpus="big:20G,small:2G"))
    for gpu, reserve in zip(shown["gpus"], (GIB, 256 * MIB)):
        assert gpu["vram"]["reserve_bytes"] == reserve
        assert gpu["vram"]["load_line_bytes"] == gpu["vram"]["total_bytes"] - reserve
